//! Records on their way from the lane's thread to a receiver, free of any transport: how they are told apart on the wire
//! is decided when they are written, since the next receiver may want it another way.

use std::ops::Range;

use super::target::Framing;
use crate::lane::Ticket;

/// Whole messages, one after the other. Its buffers go back to the lane's thread and are used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ticket: Option<Ticket>,
    pub(super) bytes: Vec<u8>,
    /// Where each message ends.
    pub(super) ends: Vec<usize>,
    /// Messages that were handed to the present connection.
    pub(super) written: usize,
    /// Messages at the beginning that a receiver has acknowledged; they are not sent again.
    pub(super) acknowledged: usize,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.ticket = None;
        self.bytes.clear();
        self.ends.clear();
        self.written = 0;
        self.acknowledged = 0;
    }

    pub(super) fn records(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.ends.len() - self.written
    }

    /// The connection is gone: what it did not acknowledge is to be written again.
    pub(super) fn forget_written(&mut self) {
        self.written = self.acknowledged;
    }

    pub(super) fn message(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// The messages that come next, at most so many.
    pub(super) fn next(&self, most: usize) -> Range<usize> {
        self.written..self.written + self.unwritten().min(most)
    }

    pub(super) fn frame(&self, messages: Range<usize>, framing: Framing, wire: &mut Vec<u8>) {
        for message in messages.map(|index| self.message(index)) {
            match framing {
                Framing::OctetCounting => {
                    wire.extend_from_slice(itoa::Buffer::new().format(message.len()).as_bytes());
                    wire.push(b' ');
                    wire.extend_from_slice(message);
                }
                Framing::Lf => {
                    wire.extend_from_slice(message);
                    wire.push(b'\n');
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_when_they_are_written() {
        let mut batch = Batch::default();
        for message in ["<1>a", "<1>bcdefghij"] {
            batch.bytes.extend_from_slice(message.as_bytes());
            batch.ends.push(batch.bytes.len());
        }
        let check = |batch: &Batch, most, framing, expected: &str| {
            let mut wire = Vec::new();
            batch.frame(batch.next(most), framing, &mut wire);
            assert_eq!(String::from_utf8(wire).unwrap(), expected);
        };
        check(&batch, 9, Framing::OctetCounting, "4 <1>a12 <1>bcdefghij");
        check(&batch, 1, Framing::Lf, "<1>a\n");
        batch.written = 2;
        batch.acknowledged = 1;
        check(&batch, 9, Framing::Lf, "");
        batch.forget_written();
        check(&batch, 9, Framing::Lf, "<1>bcdefghij\n");
    }
}

//! Records on their way from the lane's thread to a receiver, free of any transport: how they are told apart on the wire
//! is decided when they are written, since the next receiver may want it another way.

use std::ops::Range;

use super::target::Framing;
use crate::sink::siem::Seal;

/// Whole messages, one after the other. Its buffers go back to the lane's thread and are used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) seal: Seal,
    /// Records of flows in it.
    pub(super) flows: u64,
    /// It took over what a batch without records had to release.
    pub(super) carries: bool,
    /// The highest number of a record of our own in it that is made again until it is settled; 0: none is.
    pub(super) own: u64,
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
        self.seal = Seal::default();
        self.flows = 0;
        self.carries = false;
        self.own = 0;
        self.bytes.clear();
        self.ends.clear();
        self.written = 0;
        self.acknowledged = 0;
    }

    pub(super) fn records(&self) -> usize {
        self.ends.len()
    }

    /// Lines wait for it to be settled.
    pub(super) fn matters(&self) -> bool {
        self.seal.ticket.is_some() || self.flows > 0 || self.carries
    }

    /// Nobody misses it: the next heartbeat says more.
    pub(super) fn is_fleeting(&self) -> bool {
        !self.matters() && self.own == 0
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

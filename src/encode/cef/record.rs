//! One record under construction at the end of the caller's buffer: keys one by one, then the cap on the whole.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use super::keys::{COUNT, KEYS, Key, SEQUENCE, TRUNCATED};
use super::text::{Place, Writer};

/// The order in which keys leave a record that is too long.
const DROP_ORDER: [u8; COUNT] = {
    let mut order = [0; COUNT];
    let (mut rank, mut at) = (1, 0);
    while rank <= COUNT {
        let mut i = 0;
        while i < COUNT {
            if KEYS[i].drop as usize == rank {
                order[at] = i as u8;
                at += 1;
            }
            i += 1;
        }
        rank += 1;
    }
    order
};

/// ` TidegateTruncated=1` and ` TidegateSequence=2147483647`.
const TRUNCATED_LEN: usize = TRUNCATED.len() + 3;
const SEQUENCE_LEN: usize = SEQUENCE.len() + 12;

#[derive(Debug)]
pub(super) struct Record<'a> {
    out: &'a mut Vec<u8>,
    /// Where the keys begin, behind the header's last pipe.
    body: usize,
    /// Where each key stands with its label and the space before it; empty when it is not there.
    spans: [Range<usize>; COUNT],
    cut: bool,
    sanitised: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Finished {
    pub(super) truncated: bool,
    pub(super) sanitised: bool,
}

impl<'a> Record<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let body = out.len();
        Self { out, body, spans: [const { 0..0 }; COUNT], cut: false, sanitised: false }
    }

    pub(super) fn text(&mut self, key: Key, value: Option<&str>) {
        if let Some(value) = value {
            self.join(key, &[value]);
        }
    }

    /// A value of several pieces. An empty one leaves no key behind.
    pub(super) fn join(&mut self, key: Key, pieces: &[&str]) {
        self.join_all(key, pieces.iter().copied());
    }

    pub(super) fn join_all<'t>(&mut self, key: Key, pieces: impl IntoIterator<Item = &'t str>) {
        let start = self.open(key);
        let mut writer = Writer::new(self.out, Place::Value, key.spec().cut);
        for piece in pieces {
            writer.push(piece);
        }
        let written = writer.finish();
        self.cut |= written.cut;
        self.sanitised |= written.sanitised;
        if written.empty {
            self.out.truncate(start);
        } else {
            self.close(key, start);
        }
    }

    pub(super) fn number(&mut self, key: Key, value: Option<u64>) {
        if let Some(value) = value {
            let start = self.open(key);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            self.close(key, start);
        }
    }

    pub(super) fn address(&mut self, key: Key, value: IpAddr) {
        let start = self.open(key);
        let _ = write!(self.out, "{value}"); // A Vec takes everything.
        self.close(key, start);
    }

    /// Brings the record to `budget` octets counted from `start` by leaving out keys in their fixed order, marks it if
    /// anything is missing, and adds the sequence number. The keys that are never left out stay, whatever the budget.
    pub(super) fn finish(mut self, start: usize, budget: usize, sequence: Option<u32>) -> Finished {
        let room = budget.saturating_sub(if sequence.is_some() { SEQUENCE_LEN } else { 0 });
        let marked = if self.cut { TRUNCATED_LEN } else { 0 };
        if self.out.len() - start + marked > room {
            self.cut = true;
            self.shrink(room.saturating_sub(self.body - start + TRUNCATED_LEN));
        }
        if self.cut {
            self.own(TRUNCATED, 1);
        }
        if let Some(sequence) = sequence {
            self.own(SEQUENCE, sequence);
        }
        Finished { truncated: self.cut, sanitised: self.sanitised }
    }

    /// Leaves out keys until the rest has at most `room` octets, and closes the gaps.
    fn shrink(&mut self, room: usize) {
        let mut length = self.out.len() - self.body;
        for &index in &DROP_ORDER {
            if length <= room {
                break;
            }
            if KEYS[index as usize].drop > 0 {
                length -= self.spans[index as usize].len();
                self.spans[index as usize] = 0..0;
            }
        }
        let mut end = self.body;
        for span in &mut self.spans {
            // The first key stands without a space before it, and is never left out unless it was not there.
            self.out.copy_within(span.clone(), end);
            end += span.len();
        }
        self.out.truncate(end);
        if self.out.get(self.body) == Some(&b' ') {
            self.out.remove(self.body);
        }
    }

    fn open(&mut self, key: Key) -> usize {
        let start = self.out.len();
        let spec = key.spec();
        if start > self.body {
            self.out.push(b' ');
        }
        if let Some(label) = spec.label {
            self.out.extend_from_slice(spec.name.as_bytes());
            self.out.extend_from_slice(b"Label=");
            self.out.extend_from_slice(label.as_bytes());
            self.out.push(b' ');
        }
        self.out.extend_from_slice(spec.name.as_bytes());
        self.out.push(b'=');
        start
    }

    fn close(&mut self, key: Key, start: usize) {
        self.spans[key as usize] = start..self.out.len();
    }

    fn own(&mut self, name: &str, value: u32) {
        if self.out.len() > self.body {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

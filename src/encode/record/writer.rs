//! One record under construction at the end of the caller's buffer: facts one by one, then the cap on the whole.

use std::net::IpAddr;
use std::ops::Range;

use super::field::{COUNT, DROP_ORDER, FIELDS, Field};
use super::layout::Layout;
use super::tell::Tell;
use super::text::{Writer, ends_a_token, is_of_word};
use crate::encode::octets;

#[derive(Debug)]
pub struct Record<'a> {
    out: &'a mut Vec<u8>,
    layout: &'a Layout,
    /// Where the keys begin, behind the head.
    body: usize,
    /// Where each fact stands with its key and the separator before it; empty when it is not there.
    spans: Spans,
    cut: bool,
    sanitised: bool,
}

pub(super) type Spans = [Range<usize>; COUNT];

/// What a finished record was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) truncated: bool,
    pub(super) sanitised: bool,
}

/// Digits of the greatest sequence number, 2147483647.
const SEQUENCE_DIGITS: usize = 10;

impl<'a> Record<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, layout: &'a Layout) -> Self {
        let body = out.len();
        Self { out, layout, body, spans: [const { 0..0 }; COUNT], cut: false, sanitised: false }
    }

    /// Brings the record to `budget` octets counted from `start` by leaving out facts in their fixed order, marks it if
    /// anything is missing, and adds the sequence number. What is never left out stays, whatever the budget.
    pub(super) fn finish(&mut self, start: usize, budget: usize, sequence: Option<u32>) -> Finished {
        let room =
            budget.saturating_sub(if sequence.is_some() { self.cost(Field::Sequence, SEQUENCE_DIGITS) } else { 0 });
        let mark = self.cost(Field::Truncated, 1);
        if self.out.len() - start + if self.cut { mark } else { 0 } > room {
            self.cut = true;
            self.shrink(room.saturating_sub(self.body - start + mark));
        }
        self.number(Field::Truncated, self.cut.then_some(1));
        self.number(Field::Sequence, sequence.map(u64::from));
        Finished { truncated: self.cut, sanitised: self.sanitised }
    }

    pub(super) fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Octets of a fact with a value of so many.
    fn cost(&self, field: Field, value: usize) -> usize {
        match self.layout.prefix(field).as_bytes() {
            [] => 0,
            prefix => prefix.len() + value + self.layout.suffix.len(),
        }
    }

    /// Leaves out facts until the rest has at most `room` octets, and closes the gaps.
    fn shrink(&mut self, room: usize) {
        let mut length = self.out.len() - self.body;
        for &index in &DROP_ORDER {
            if length <= room {
                break;
            }
            if FIELDS[index as usize].drop > 0 {
                length -= self.spans[index as usize].len();
                self.spans[index as usize] = 0..0;
            }
        }
        let mut end = self.body;
        let leading = self.layout.leading;
        for span in self.spans.iter_mut().filter(|span| span.start < span.end) {
            // Whoever comes first now has had a separator before it.
            if end == self.body && !leading && span.start > self.body {
                span.start += 1;
            }
            self.out.copy_within(span.clone(), end);
            *span = end..end + span.len();
            end = span.end;
        }
        self.out.truncate(end);
    }

    /// Writes separator and key; `None` where the format has no such key.
    #[inline]
    fn open(&mut self, field: Field) -> Option<usize> {
        let start = self.out.len();
        let prefix = self.layout.prefix(field);
        if prefix.as_bytes().is_empty() {
            return None;
        }
        prefix.write(start == self.body && !self.layout.leading, self.out);
        Some(start)
    }

    /// Nearly all: pieces that may stand as they are, and whole up to `limit`. False: one does not, some may be written.
    #[inline]
    fn put_as_they_are<'t>(&mut self, pieces: impl IntoIterator<Item = &'t str>, limit: usize) -> bool {
        let (start, rules) = (self.out.len(), &self.layout.rules);
        for piece in pieces {
            let colon = || piece == ":" && rules.words && !ends_a_token(&self.out[start..]);
            if !(rules.lets_pass(piece) || colon()) || self.out.len() + piece.len() > limit {
                return false;
            }
            octets::put(self.out, piece.as_bytes());
        }
        true
    }

    fn put_looked_at<'t>(&mut self, field: Field, pieces: impl IntoIterator<Item = &'t str>) {
        let mut writer = Writer::new(self.out, &self.layout.rules, field.spec().cut);
        for piece in pieces {
            writer.push(piece);
        }
        let written = writer.finish();
        self.cut |= written.cut;
        self.sanitised |= written.sanitised;
    }

    #[inline]
    fn close(&mut self, field: Field, start: usize) {
        if !self.layout.suffix.is_empty() {
            self.out.extend_from_slice(self.layout.suffix);
        }
        self.spans[field as usize] = start..self.out.len();
    }
}

/// What [`Tell::word`] is given.
fn is_word(text: &str) -> bool {
    let colons = text.match_indices(':').all(|(at, _)| !ends_a_token(&text.as_bytes()[..at]));
    colons && text.bytes().all(|octet| octet == b':' || is_of_word(octet))
}

impl Tell for Record<'_> {
    fn word(&mut self, field: Field, value: Option<&str>) {
        match value {
            Some(word) if self.layout.rules.words && !word.is_empty() => {
                debug_assert!(is_word(word) && word.len() <= field.spec().cut, "{word}");
                if let Some(start) = self.open(field) {
                    octets::put(self.out, word.as_bytes());
                    self.close(field, start);
                }
            }
            _ => self.text(field, value),
        }
    }

    fn join<'t>(&mut self, field: Field, pieces: impl IntoIterator<Item = &'t str> + Clone) {
        let Some(start) = self.open(field) else { return };
        let value = self.out.len();
        if !self.put_as_they_are(pieces.clone(), value + field.spec().cut) {
            self.out.truncate(value);
            self.put_looked_at(field, pieces);
        }
        if self.out.len() == value {
            self.out.truncate(start);
        } else {
            self.close(field, start);
        }
    }

    fn number(&mut self, field: Field, value: Option<u64>) {
        if let Some(value) = value
            && let Some(start) = self.open(field)
        {
            octets::put(self.out, itoa::Buffer::new().format(value).as_bytes());
            self.close(field, start);
        }
    }

    fn address(&mut self, field: Field, value: IpAddr) {
        if let Some(start) = self.open(field) {
            octets::address(self.out, value);
            self.close(field, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::CLASSES;
    use super::*;
    use crate::model::net::Protocol;

    #[test]
    fn what_we_chose_are_words() {
        let keywords = (0..=255).filter_map(|number| Protocol(number).keyword());
        let of_classes =
            CLASSES.iter().flat_map(|class| [class.act, class.outcome, class.reason, Some(class.category)]);
        for word in keywords.chain(of_classes.flatten()) {
            assert!(is_word(word) && is_word(&word.to_ascii_uppercase()), "{word}");
        }
        for text in ["", "a b", "a=b", "a|b", "CEF:0", "a.leef:1", "é"] {
            assert_eq!(is_word(text), text.is_empty(), "{text}");
        }
    }
}

//! What is under way in a lane, in the order in which it was read.
//!
//! The bookmark follows the lowest unsettled place, not the order of the answers: a batch that is settled before an older
//! one waits here until the older one is settled too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Mark, Settled, Ticket};

/// Lines of a ticket by what became of them before the sink's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub delivered: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub dropped: u64,
}

/// A sealed batch, or a run of lines of which none stands in a batch (`settled`).
#[derive(Debug)]
pub struct Entry {
    pub ticket: Ticket,
    pub marks: Vec<Mark>,
    pub counts: Counts,
    /// Memory that it holds until it is settled.
    pub bytes: usize,
    pub read_at: Instant,
    /// The sink's note from when it was sealed.
    pub note: Option<Arc<str>>,
    pub settled: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Ledger {
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// The sink's answer. An unknown ticket is one from before a rewind.
    pub fn settle(&mut self, settled: &Settled) {
        let Ok(index) = self.entries.binary_search_by_key(&settled.ticket, |e| e.ticket) else { return };
        let entry = &mut self.entries[index];
        if entry.settled {
            return;
        }
        entry.settled = true;
        entry.counts.delivered += settled.delivered;
        entry.counts.rejected += settled.rejected;
        entry.counts.dropped += settled.dropped;
        self.bytes -= entry.bytes;
        entry.bytes = 0;
    }

    /// The oldest entry, if it is settled.
    pub fn pop(&mut self) -> Option<(Vec<Mark>, Counts)> {
        self.entries.pop_front_if(|e| e.settled).map(|e| (e.marks, e.counts))
    }

    /// Forgets everything (for a rewind) and says up to where it had come.
    pub fn clear(&mut self) -> Vec<Mark> {
        self.bytes = 0;
        self.entries.drain(..).flat_map(|e| e.marks).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory of the batches that are not settled.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn oldest(&self) -> Option<&Entry> {
        self.entries.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Tail;

    #[test]
    fn the_bookmark_waits_for_the_oldest() {
        let mut ledger = Ledger::default();
        let mark = |offset| Mark { file: 0, offset, tail: Tail::default() };
        for n in 1..=3 {
            ledger.push(Entry {
                ticket: Ticket(n),
                marks: vec![mark(n * 10)],
                counts: Counts { filtered: n, ..Counts::default() },
                bytes: 5,
                read_at: Instant::now(),
                note: None,
                settled: false,
            });
        }
        let settled = |n| Settled { ticket: Ticket(n), delivered: 1, rejected: 0, dropped: 0 };
        ledger.settle(&settled(2));
        assert!(ledger.pop().is_none());
        assert_eq!(ledger.bytes(), 10);
        ledger.settle(&settled(1));
        ledger.settle(&settled(1));
        ledger.settle(&settled(99));
        let offsets: Vec<_> = std::iter::from_fn(|| ledger.pop()).map(|(m, c)| (m[0].offset, c.delivered)).collect();
        assert_eq!(offsets, [(10, 1), (20, 1)]);
        assert!(!ledger.is_empty());
        assert_eq!(ledger.clear(), [mark(30)]);
        assert_eq!((ledger.bytes(), ledger.is_empty()), (0, true));
    }
}

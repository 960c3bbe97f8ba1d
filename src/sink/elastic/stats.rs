//! What the sink counts: plain atomics, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::outcome::Hold;
use crate::net::pace::Gate;
pub use crate::telemetry::Counter;

/// Classes of refused documents, as bounded metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A value does not fit the field's type.
    Mapping,
    IllegalArgument,
    TooLarge,
    Other,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Mapping, Self::IllegalArgument, Self::TooLarge, Self::Other];

    /// By the peer's `error.type`.
    pub fn of(kind: &str) -> Self {
        match kind {
            "document_parsing_exception" | "mapper_parsing_exception" | "strict_dynamic_mapping_exception" => {
                Self::Mapping
            }
            "illegal_argument_exception" => Self::IllegalArgument,
            "content_too_long" => Self::TooLarge,
            _ => Self::Other,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapping => "mapping",
            Self::IllegalArgument => "illegal_argument",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }
}

#[derive(Debug)]
pub struct Stats {
    /// Bulk requests that were begun.
    pub requests: Counter,
    /// Of these, those that left it unknown what was written.
    pub uncertain_requests: Counter,
    /// Requests answered 413.
    pub split_requests: Counter,
    /// Bytes of request bodies, as they go over the wire.
    pub sent_bytes: Counter,
    /// Documents written now, were there already, went into the failure store.
    pub created_documents: Counter,
    pub duplicate_documents: Counter,
    pub redirected_documents: Counter,
    /// Documents that had to be sent once more, each time.
    pub retried_documents: Counter,
    /// Questions about the data stream and about ids in older backing indices.
    pub lookup_requests: Counter,
    /// Documents that were found there, and so not sent again.
    pub found_documents: Counter,
    /// Documents that were sent again across a rollover without a look: each may stand there twice.
    pub possible_repeats: Counter,
    /// Second copies that were seen: the stream rolled over in the very moment.
    pub second_copies: Counter,
    /// Dead letters that gave way to newer ones, and their bytes. They were counted as rejected, and stay so.
    pub dead_letter_evicted_documents: Counter,
    pub dead_letter_evicted_bytes: Counter,
    /// Labels, unknown members, names and texts that documents hold less of than their lines, because they passed a limit.
    pub capped_values: Arc<Counter>,
    rejected: [Counter; Class::ALL.len()],
    holds: [AtomicU64; Hold::ALL.len()],
    gate: Arc<Gate>,
}

impl Stats {
    /// What the encoder caps is counted by whoever encodes.
    pub fn new(gate: Arc<Gate>, capped_values: Arc<Counter>) -> Arc<Self> {
        Arc::new(Self {
            requests: Counter::default(),
            uncertain_requests: Counter::default(),
            split_requests: Counter::default(),
            sent_bytes: Counter::default(),
            created_documents: Counter::default(),
            duplicate_documents: Counter::default(),
            redirected_documents: Counter::default(),
            retried_documents: Counter::default(),
            lookup_requests: Counter::default(),
            found_documents: Counter::default(),
            possible_repeats: Counter::default(),
            second_copies: Counter::default(),
            dead_letter_evicted_documents: Counter::default(),
            dead_letter_evicted_bytes: Counter::default(),
            capped_values,
            rejected: Default::default(),
            holds: Default::default(),
            gate,
        })
    }

    /// Documents of this class that stand in the dead letter.
    pub fn rejected(&self, class: Class) -> &Counter {
        &self.rejected[class as usize]
    }

    /// Batches that are being worked on, a pause included.
    pub fn in_flight_requests(&self) -> usize {
        self.gate.active()
    }

    /// How many may be, at present.
    pub fn request_limit(&self) -> usize {
        self.gate.limit()
    }

    /// Why nothing goes out, if something holds.
    pub fn held(&self) -> Option<Hold> {
        Hold::ALL.into_iter().find(|why| self.holds[*why as usize].load(Ordering::Relaxed) > 0)
    }
}

/// A batch is held for this reason while the guard lives.
#[derive(Debug)]
pub struct Holding {
    stats: Arc<Stats>,
    pub why: Hold,
}

impl Holding {
    pub fn new(stats: &Arc<Stats>, why: Hold) -> Self {
        stats.holds[why as usize].fetch_add(1, Ordering::Relaxed);
        Self { stats: Arc::clone(stats), why }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.stats.holds[self.why as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_lasts_as_long_as_its_last_batch() {
        let stats = Stats::new(Gate::new(2), Arc::default());
        assert_eq!(stats.held(), None);
        let one = Holding::new(&stats, Hold::Blocked);
        let two = Holding::new(&stats, Hold::Blocked);
        drop(one);
        assert_eq!(stats.held(), Some(Hold::Blocked));
        drop(two);
        assert_eq!(stats.held(), None);
    }

    #[test]
    fn every_refusal_has_a_class() {
        for (kind, class) in [("mapper_parsing_exception", "mapping"), ("content_too_long", "too_large"), ("", "other")]
        {
            assert_eq!(Class::of(kind).as_str(), class);
        }
    }
}

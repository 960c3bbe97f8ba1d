//! What a collector's lane did, for metrics and for people.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::outcome::Hold;
use crate::sink::siem;
use crate::telemetry::Counter;

/// What stands for it that a settled event was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The collector said that it is indexed.
    Acknowledged,
    /// The collector took it into its queue, and its token has no acknowledgements.
    Taken,
}

impl Proof {
    pub const ALL: [Self; 2] = [Self::Acknowledged, Self::Taken];

    /// Its label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Taken => "taken",
        }
    }
}

const NOBODY: usize = usize::MAX;

#[derive(Debug)]
pub struct Stats {
    /// Base URLs of the receivers, in order of preference.
    pub receivers: Vec<String>,
    /// Requests with events that were begun.
    pub requests: Counter,
    /// Of these, those that left it unknown what was taken.
    pub uncertain_requests: Counter,
    /// Of these, answered 413 and split.
    pub split_requests: Counter,
    /// Of these, answered that the collector is busy.
    pub busy_requests: Counter,
    /// Bytes of their bodies, as they go over the wire.
    pub sent_bytes: Counter,
    /// Events sent again that the collector may have taken before: each may stand there twice, under its one id.
    pub repeated_events: Counter,
    /// Questions for acknowledgements.
    pub ack_requests: Counter,
    /// Batches without an acknowledgement in time, or of which the collector forgot that it owes one.
    pub unacknowledged_batches: Counter,
    /// Channels begun.
    pub channels: Counter,
    /// Events refused for good.
    pub rejected_events: Counter,
    pub dead_letter_evicted_events: Counter,
    /// Times that another receiver than the one before got the events.
    pub switches: Counter,
    /// Events in which something was cut or left out, or a character replaced.
    pub truncated: AtomicU64,
    pub sanitised: AtomicU64,
    /// Taken, and waiting for their acknowledgement.
    pub waiting_events: AtomicUsize,
    /// Compressed, handed over and not through, with a little for each batch.
    pub held_bytes: AtomicUsize,
    pub siem: siem::Stats,
    settled: [Counter; Proof::ALL.len()],
    /// The last request with events was taken.
    takes: AtomicBool,
    /// The receiver that events go to, or [`NOBODY`].
    current: AtomicUsize,
    last: AtomicUsize,
    held: Mutex<Option<Hold>>,
}

impl Stats {
    pub(super) fn new(receivers: Vec<String>) -> Self {
        Self {
            receivers,
            requests: Counter::default(),
            uncertain_requests: Counter::default(),
            split_requests: Counter::default(),
            busy_requests: Counter::default(),
            sent_bytes: Counter::default(),
            repeated_events: Counter::default(),
            ack_requests: Counter::default(),
            unacknowledged_batches: Counter::default(),
            channels: Counter::default(),
            rejected_events: Counter::default(),
            dead_letter_evicted_events: Counter::default(),
            switches: Counter::default(),
            truncated: AtomicU64::new(0),
            sanitised: AtomicU64::new(0),
            waiting_events: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            siem: siem::Stats::default(),
            settled: Default::default(),
            takes: AtomicBool::new(false),
            current: AtomicUsize::new(NOBODY),
            last: AtomicUsize::new(NOBODY),
            held: Mutex::new(None),
        }
    }

    /// Events that were settled by this proof.
    pub fn settled_by(&self, proof: Proof) -> u64 {
        self.settled[proof as usize].get()
    }

    pub(super) fn settled(&self, proof: Proof, events: u64) {
        self.settled[proof as usize].add(events);
    }

    /// Whether the collector takes events now, as far as is known.
    pub fn takes_events(&self) -> bool {
        self.takes.load(Relaxed)
    }

    pub(super) fn starts_taking(&self) {
        self.takes.store(true, Relaxed);
    }

    /// True when it did take them until now.
    pub(super) fn stops_taking(&self) -> bool {
        self.takes.swap(false, Relaxed)
    }

    /// Place of the receiver that events go to; `None` while none can be had.
    pub fn current(&self) -> Option<usize> {
        Some(self.current.load(Relaxed)).filter(|receiver| *receiver != NOBODY)
    }

    pub(super) fn set_current(&self, receiver: Option<usize>) {
        self.current.store(receiver.unwrap_or(NOBODY), Relaxed);
        if let Some(receiver) = receiver {
            let last = self.last.swap(receiver, Relaxed);
            self.switches.add(u64::from(last != receiver && last != NOBODY));
        }
    }

    /// Why nothing goes out, if something holds.
    pub fn held(&self) -> Option<Hold> {
        *self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn set_held(&self, why: Option<Hold>) {
        *self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = why;
    }
}

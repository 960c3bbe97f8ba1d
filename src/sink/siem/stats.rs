//! What the lane's half of a SIEM's sink and its task tell each other, and metrics.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use crate::encode::record::own::Outage;
use crate::sink::rate::Why;

#[derive(Debug, Default)]
pub struct Stats {
    /// Lines that were held back on purpose; they count as filtered.
    suppressed: [AtomicU64; Why::ALL.len()],
    /// Windows of aggregation that are open.
    pub open_windows: AtomicU64,
    /// Of them, closed before their time, for want of room.
    pub early_windows: AtomicU64,
    /// Times that the lane was told to read again.
    pub rewinds: AtomicU64,
    /// Records that were made and never sent: the lane makes them again, or nobody misses them.
    pub(in crate::sink) discarded: AtomicU64,
    /// Highest number of a record of our own that is settled.
    pub(in crate::sink) own_settled: AtomicU64,
    /// Outages that ended and are not told yet.
    outages: Mutex<Vec<Outage>>,
}

impl Stats {
    /// Lines that were held back for this reason.
    pub fn suppressed_by(&self, why: Why) -> u64 {
        self.suppressed[why as usize].load(Relaxed)
    }

    pub(in crate::sink) fn suppressed(&self, why: Why) {
        self.suppressed[why as usize].fetch_add(1, Relaxed);
    }

    pub(in crate::sink) fn outage(&self, outage: Outage) {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).push(outage);
    }

    pub(in crate::sink) fn take_outages(&self) -> Vec<Outage> {
        std::mem::take(&mut *self.outages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

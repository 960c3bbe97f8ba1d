//! The numbers of one lane. They balance: `read = delivered + filtered + rejected + dropped + in flight`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::metrics::Sample;

/// Written by the lane's thread, read by whoever asks.
#[derive(Debug)]
pub struct LaneStats {
    name: String,
    pub read: AtomicU64,
    pub delivered: AtomicU64,
    pub filtered: AtomicU64,
    pub rejected: AtomicU64,
    pub dropped: AtomicU64,
    pub lag_bytes: AtomicU64,
    pub oldest_unsettled_ms: AtomicU64,
    /// Lines that were no flows; they are delivered as raw events.
    pub undecodable: AtomicU64,
    /// Lines that the scanner left to the other passes of the decoder: correct, and several times dearer.
    pub slow: AtomicU64,
    /// Flow fields that this build does not know; they are kept.
    pub unknown_fields: AtomicU64,
    pub rewinds: AtomicU64,
    pub checkpoint_failures: AtomicU64,
}

/// One consistent enough look at a lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneSnapshot {
    pub name: String,
    pub read: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub dropped: u64,
    pub in_flight: u64,
    pub lag_bytes: u64,
    pub oldest_unsettled_ms: u64,
    pub undecodable: u64,
}

impl LaneSnapshot {
    /// What has become of lines: `read` less what is in flight, when the numbers add up.
    pub const fn decided(&self) -> u64 {
        self.delivered + self.filtered + self.rejected + self.dropped
    }
}

impl LaneStats {
    pub fn new(name: &str) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            name: name.to_owned(),
            read: zero(),
            delivered: zero(),
            filtered: zero(),
            rejected: zero(),
            dropped: zero(),
            lag_bytes: zero(),
            oldest_unsettled_ms: zero(),
            undecodable: zero(),
            slow: zero(),
            unknown_fields: zero(),
            rewinds: zero(),
            checkpoint_failures: zero(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn snapshot(&self) -> LaneSnapshot {
        // What is decided is read before what was read, so that the difference is never negative.
        let (delivered, filtered) = (self.delivered.load(Relaxed), self.filtered.load(Relaxed));
        let (rejected, dropped) = (self.rejected.load(Relaxed), self.dropped.load(Relaxed));
        let read = self.read.load(Relaxed);
        LaneSnapshot {
            name: self.name.clone(),
            read,
            delivered,
            filtered,
            rejected,
            dropped,
            in_flight: read.saturating_sub(delivered + filtered + rejected + dropped),
            lag_bytes: self.lag_bytes.load(Relaxed),
            oldest_unsettled_ms: self.oldest_unsettled_ms.load(Relaxed),
            undecodable: self.undecodable.load(Relaxed),
        }
    }

    pub fn samples(&self) -> Vec<Sample> {
        let s = self.snapshot();
        let counter = |name, help, value| Sample::counter(name, help, value).label("lane", &s.name);
        let gauge = |name, help, value: f64| Sample::gauge(name, help, value).label("lane", &s.name);
        vec![
            counter("tidegate_lane_read_lines", "Lines read", s.read),
            counter("tidegate_lane_delivered_lines", "Lines delivered to the peer", s.delivered),
            counter("tidegate_lane_filtered_lines", "Lines that are not for this lane's peer", s.filtered),
            counter(
                "tidegate_lane_rejected_lines",
                "Lines refused for good by the peer and put into the dead letter, also if it gave them up since",
                s.rejected,
            ),
            counter(
                "tidegate_lane_dropped_lines",
                "Lines given up by rule: over-long, in a full spool under drop_oldest, or larger than the whole dead letter under it",
                s.dropped,
            ),
            gauge("tidegate_lane_in_flight_lines", "Lines read and not decided yet", s.in_flight as f64),
            gauge("tidegate_lane_lag_bytes", "Bytes on the disk that are not settled", s.lag_bytes as f64),
            gauge(
                "tidegate_lane_oldest_unsettled_seconds",
                "Time since the oldest line in flight was read",
                s.oldest_unsettled_ms as f64 / 1000.0,
            ),
            counter(
                "tidegate_lane_undecodable_lines",
                "Lines that are no flows, delivered as raw events",
                s.undecodable,
            ),
            counter(
                "tidegate_lane_slow_lines",
                "Lines too odd for the fast decoder, read by the general one",
                self.slow.load(Relaxed),
            ),
            counter(
                "tidegate_lane_unknown_fields",
                "Flow fields unknown to this build, kept",
                self.unknown_fields.load(Relaxed),
            ),
            counter(
                "tidegate_lane_rewinds",
                "Times the lane read again after a broken connection",
                self.rewinds.load(Relaxed),
            ),
            counter(
                "tidegate_lane_checkpoint_failures",
                "Failed writes of the checkpoint",
                self.checkpoint_failures.load(Relaxed),
            ),
        ]
    }
}

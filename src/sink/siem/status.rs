//! When Tidegate says something of itself: start, heartbeat, outage, stop.
//!
//! These records are made on the lane's thread like all others, so that they have their place in the sequence, and belong to
//! no line. A heartbeat is made only while there is a connection and never sent again: the next one says more. Start and
//! outage are made again after a break until they are settled, at most [`MOST_UNSETTLED`] of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::encode::record::own::{Numbers, Outage, What};

/// A connection that breaks again and again before anything is settled must not cost more and more.
const MOST_UNSETTLED: usize = 256;
/// How long no connection is an outage when there is no heartbeat.
const OUTAGE: Duration = Duration::from_secs(60);

/// What a destination is told of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Of the records, as is the node.
    pub cluster: String,
    pub node: String,
    /// Zero: no heartbeat; the other records are sent all the same.
    pub heartbeat: Duration,
}

impl Status {
    /// No connection for so long is an outage, and worth a record.
    fn outage_after(&self) -> Duration {
        if self.heartbeat.is_zero() { OUTAGE } else { self.heartbeat }
    }
}

/// A record to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sink) struct Due {
    /// Of those that are made again until they are settled, ascending from 1; 0: not one of them.
    pub(in crate::sink) number: u64,
    /// Unix milliseconds.
    pub(in crate::sink) time_ms: i64,
    pub(in crate::sink) what: What,
}

#[derive(Debug)]
pub(in crate::sink) struct Reporter {
    heartbeat: Duration,
    since_ms: i64,
    next_beat: Instant,
    next_number: u64,
    unsettled: VecDeque<Due>,
    /// Of the lane, when there was no connection last.
    lag_away: u64,
}

/// By the clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

impl Reporter {
    pub(in crate::sink) fn new(status: &Status, now: Instant, now_ms: i64) -> Self {
        Self {
            heartbeat: status.heartbeat,
            since_ms: now_ms,
            next_beat: now + status.heartbeat,
            next_number: 1,
            unsettled: VecDeque::new(),
            lag_away: 0,
        }
    }

    pub(in crate::sink) fn start(&mut self) -> Due {
        self.keep(self.since_ms, What::Start)
    }

    /// What is to be said now, if anything. `outages` are those that ended since the last call.
    pub(in crate::sink) fn due(
        &mut self,
        now: Instant,
        now_ms: i64,
        connected: bool,
        outages: Vec<Outage>,
        numbers: Numbers,
    ) -> Vec<Due> {
        let lag_bytes = self.lag_away.max(numbers.lag_bytes);
        let mut due: Vec<Due> = outages
            .into_iter()
            .map(|outage| self.keep(outage.until_ms, What::Outage(Outage { lag_bytes, ..outage })))
            .collect();
        if !connected {
            self.lag_away = numbers.lag_bytes;
            return due;
        }
        self.lag_away = 0;
        if !self.heartbeat.is_zero() && self.next_beat <= now {
            // After a while without a connection, or a machine that slept, one is enough.
            self.next_beat = (self.next_beat + self.heartbeat).max(now + self.heartbeat / 2);
            let what = What::Heartbeat { since_ms: self.since_ms, numbers };
            due.push(Due { number: 0, time_ms: now_ms, what });
        }
        due
    }

    /// Of the heartbeat, where there is one.
    pub(in crate::sink) fn next_beat(&self) -> Option<Instant> {
        (!self.heartbeat.is_zero()).then_some(self.next_beat)
    }

    pub(in crate::sink) fn stop(&self, now_ms: i64, numbers: Numbers) -> Due {
        Due { number: 0, time_ms: now_ms, what: What::Stop { since_ms: self.since_ms, numbers } }
    }

    /// What was made and may not have come, for a new connection. The next heartbeat is due at once.
    pub(in crate::sink) fn again(&mut self, settled: u64, now: Instant) -> Vec<Due> {
        self.forget(settled);
        self.next_beat = now;
        self.unsettled.iter().cloned().collect()
    }

    /// Those up to this number have come.
    pub(in crate::sink) fn forget(&mut self, settled: u64) {
        self.unsettled.retain(|due| due.number > settled);
    }

    /// A record that is made again until it is settled.
    pub(in crate::sink) fn keep(&mut self, time_ms: i64, what: What) -> Due {
        let due = Due { number: self.next_number, time_ms, what };
        self.next_number += 1;
        if self.unsettled.len() >= MOST_UNSETTLED {
            self.unsettled.pop_front();
        }
        self.unsettled.push_back(due.clone());
        due
    }
}

/// The time without a connection, if there is none. A moment between two that follow each other is as good as none.
#[derive(Debug, Default)]
pub(in crate::sink) struct Away {
    /// Unix milliseconds.
    since_ms: Option<i64>,
    /// Records that went out before and are not settled.
    repeated: u64,
}

impl Away {
    /// From the start of the process on.
    pub(in crate::sink) fn from_now() -> Self {
        Self { since_ms: Some(now_ms()), repeated: 0 }
    }

    pub(in crate::sink) fn begin(&mut self, repeated: u64) {
        self.since_ms.get_or_insert_with(now_ms);
        self.repeated += repeated;
    }

    /// There is one again; gives the time without, if it is worth a record.
    pub(in crate::sink) fn end(&mut self, status: Option<&Status>) -> Option<Outage> {
        let Self { since_ms, repeated } = std::mem::take(self);
        let outage = Outage { from_ms: since_ms?, until_ms: now_ms(), lag_bytes: 0, repeated };
        (outage.seconds() >= status?.outage_after().as_secs()).then_some(outage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(heartbeat: u64, now: Instant) -> Reporter {
        let heartbeat = Duration::from_secs(heartbeat);
        Reporter::new(&Status { cluster: "c".to_owned(), node: "n".to_owned(), heartbeat }, now, 1_000)
    }

    /// At these seconds, connected or not: at which is there a heartbeat?
    fn check(heartbeat: u64, looks: &[(u64, bool)], expected: &[u64]) {
        let begin = Instant::now();
        let mut reporter = reporter(heartbeat, begin);
        let mut beats = Vec::new();
        for &(second, connected) in looks {
            let now = begin + Duration::from_secs(second);
            let due = reporter.due(now, 0, connected, Vec::new(), Numbers::default());
            beats.extend(due.iter().map(|due| {
                assert_eq!(due.number, 0, "a heartbeat is not made again");
                second
            }));
        }
        assert_eq!(beats, expected, "{looks:?}");
    }

    #[test]
    fn heartbeats() {
        let steady: Vec<(u64, bool)> = (0..200).map(|second| (second, true)).collect();
        check(60, &steady, &[60, 120, 180]);
        check(0, &steady, &[]);
        // One after the gap, not one for each that was missed, and then again in their rhythm.
        check(10, &[(5, true), (10, false), (35, false), (41, true), (42, true), (46, true), (50, true)], &[41, 46]);
    }

    #[test]
    fn start_and_outage_come_again_until_they_are_settled() {
        let now = Instant::now();
        let mut reporter = reporter(60, now);
        assert_eq!(reporter.start(), Due { number: 1, time_ms: 1_000, what: What::Start });
        let lag = |lag_bytes| Numbers { lag_bytes, ..Numbers::default() };
        assert!(reporter.due(now, 2_000, false, Vec::new(), lag(700)).is_empty());
        let outage = Outage { from_ms: 10_000, until_ms: 95_500, lag_bytes: 0, repeated: 3 };
        let due = reporter.due(now, 96_000, true, vec![outage], lag(5));
        let expected = Due { number: 2, time_ms: 95_500, what: What::Outage(Outage { lag_bytes: 700, ..outage }) };
        assert_eq!(due, std::slice::from_ref(&expected), "the lag of the outage, not what is left of it by now");
        assert_eq!(reporter.again(0, now).len(), 2);
        assert_eq!(reporter.again(1, now), [expected]);
        assert!(reporter.again(2, now).is_empty());
        let beats = reporter.due(now, 97_000, true, Vec::new(), lag(0));
        assert!(matches!(beats[..], [Due { what: What::Heartbeat { since_ms: 1_000, .. }, .. }]), "{beats:?}");
        for _ in 0..MOST_UNSETTLED + 10 {
            reporter.due(now, 0, true, vec![outage], lag(0));
        }
        assert_eq!(reporter.again(0, now).len(), MOST_UNSETTLED);
    }
}

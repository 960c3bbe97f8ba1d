//! Which of several receivers is tried next, and when a preferred one is gone back to. Decisions only: whoever asks
//! connects and waits.
//!
//! The first receiver is the preferred one. A round of tries goes through all of them without a wait; between rounds the
//! wait grows. A link that broke before it was steady counts as a failed try: a load balancer with nothing behind it
//! takes every connection. From a less preferred receiver we go back when a better one answered twice, one failback
//! interval apart; if that link does not last, the interval doubles, so that a receiver that comes and goes does not
//! make records go to and fro.

use std::time::Duration;

use super::backoff::Backoff;

/// Probes in a row that a preferred receiver must answer.
const GOOD_PROBES: u32 = 2;
const LONGEST_FAILBACK: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct Receivers {
    count: usize,
    backoff: Backoff,
    next: usize,
    current: Option<usize>,
    failback: Failback,
}

#[derive(Debug)]
struct Failback {
    /// Zero: never.
    interval: Duration,
    /// The present link began as a return.
    returned: bool,
    /// Times that a return did not last.
    in_vain: u32,
    candidate: usize,
    good: u32,
}

impl Receivers {
    /// `count` of at least one, with the waits between rounds; `failback` zero: never by ourselves.
    pub fn new(count: usize, backoff: (Duration, Duration), failback: Duration) -> Self {
        let failback = Failback { interval: failback, returned: false, in_vain: 0, candidate: 0, good: 0 };
        Self { count, backoff: Backoff::new(backoff), next: 0, current: None, failback }
    }

    /// Whom to try, and after what wait. Ask once a try.
    pub fn next_try(&mut self) -> (usize, Duration) {
        let wait = if self.next == 0 { self.backoff.wait() } else { Duration::ZERO };
        (self.next, wait)
    }

    pub fn failed(&mut self, receiver: usize) {
        self.next = (receiver + 1) % self.count;
    }

    pub fn connected(&mut self, receiver: usize) {
        self.current = Some(receiver);
        self.failback.candidate = 0;
        self.failback.good = 0;
        self.failback.returned = false;
    }

    /// The link is gone, by an accident. `steady`: it was a good one before.
    pub fn lost(&mut self, steady: bool) {
        let Some(receiver) = self.current.take() else { return };
        if steady {
            self.failback.in_vain = 0;
            self.start_over();
            return;
        }
        self.failback.in_vain += u32::from(self.failback.returned);
        self.failed(receiver);
    }

    /// Without a wait, from the first.
    pub fn start_over(&mut self) {
        self.current = None;
        self.next = 0;
        self.backoff.reset();
    }

    /// A preferred receiver to probe, and after what wait; `None` while none is better than the present one. Ask once a
    /// probe.
    pub fn next_probe(&self) -> Option<(usize, Duration)> {
        let better = self.current.is_some_and(|current| current > 0) && !self.failback.interval.is_zero();
        better.then(|| (self.failback.candidate, self.failback.wait()))
    }

    /// Whether it is time to go back to the receiver that was probed.
    pub fn probed(&mut self, receiver: usize, answered: bool) -> bool {
        let failback = &mut self.failback;
        if answered {
            failback.good += 1;
            return failback.good >= GOOD_PROBES;
        }
        failback.good = 0;
        failback.candidate = (receiver + 1) % self.current.unwrap_or(1).max(1);
        false
    }

    /// We went back to it.
    pub fn returned(&mut self, receiver: usize) {
        self.connected(receiver);
        self.failback.returned = true;
    }
}

impl Failback {
    fn wait(&self) -> Duration {
        if self.candidate > 0 && self.good == 0 {
            return Duration::ZERO;
        }
        let interval = self.interval.saturating_mul(1 << self.in_vain.min(16));
        // Not all nodes at the same moment.
        interval.min(LONGEST_FAILBACK.max(self.interval)).mul_f64(0.75 + fastrand::f64() / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn receivers(count: usize) -> Receivers {
        Receivers::new(count, (SECOND, MINUTE), MINUTE)
    }

    #[track_caller]
    fn tries(receivers: &mut Receivers, expected: usize, waits: bool) {
        let (receiver, wait) = receivers.next_try();
        assert_eq!((receiver, !wait.is_zero()), (expected, waits));
    }

    #[track_caller]
    fn probes(receivers: &Receivers, expected: usize, about: Duration) {
        let (receiver, wait) = receivers.next_probe().expect("a probe");
        assert_eq!(receiver, expected);
        assert!(wait <= about && wait >= about * 3 / 4, "{wait:?} of {about:?}");
    }

    #[test]
    fn a_round_goes_through_all_and_only_rounds_wait() {
        let mut it = receivers(3);
        for (receiver, waits) in [(0, false), (1, false), (2, false), (0, true), (1, false), (2, false), (0, true)] {
            tries(&mut it, receiver, waits);
            it.failed(receiver);
        }
    }

    #[test]
    fn after_a_good_link_the_first_is_tried_at_once_and_after_a_bad_one_the_next() {
        let mut it = receivers(2);
        tries(&mut it, 0, false);
        it.connected(0);
        it.lost(false);
        tries(&mut it, 1, false);
        it.connected(1);
        it.lost(false);
        tries(&mut it, 0, true);
        it.connected(0);
        it.lost(true);
        tries(&mut it, 0, false);
    }

    #[test]
    fn one_receiver_waits_each_time_it_was_bad() {
        let mut it = receivers(1);
        tries(&mut it, 0, false);
        it.connected(0);
        assert_eq!(it.next_probe(), None);
        it.lost(false);
        tries(&mut it, 0, true);
    }

    #[test]
    fn a_better_receiver_must_answer_twice() {
        let mut it = receivers(3);
        it.connected(2);
        probes(&it, 0, MINUTE);
        assert!(!it.probed(0, false));
        probes(&it, 1, Duration::ZERO);
        assert!(!it.probed(1, true));
        probes(&it, 1, MINUTE);
        assert!(!it.probed(1, false), "once was an accident");
        probes(&it, 0, MINUTE);
        assert!(!it.probed(0, true));
        assert!(it.probed(0, true));
        it.returned(0);
        assert_eq!(it.next_probe(), None, "nothing is better");
    }

    #[test]
    fn a_return_that_does_not_last_makes_the_next_one_later() {
        let mut it = receivers(2);
        for times in [1, 2, 4, 8, 16, 32, 60, 60] {
            it.connected(1);
            probes(&it, 0, MINUTE * times);
            it.returned(0);
            it.lost(false);
        }
        it.connected(0);
        it.lost(true);
        it.connected(1);
        probes(&it, 0, MINUTE);
    }

    #[test]
    fn without_an_interval_nobody_goes_back() {
        let mut it = Receivers::new(2, (SECOND, MINUTE), Duration::ZERO);
        it.connected(1);
        assert_eq!(it.next_probe(), None);
    }
}

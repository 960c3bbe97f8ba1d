//! Waits between tries: doubling, jittered, bounded.

use std::time::Duration;

#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, next: Duration::ZERO }
    }

    /// The wait before the next try: none before the first one, then random between half of a doubling time and all of
    /// it, so that the nodes of a cluster do not come back in step.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).clamp(self.first, self.longest);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub fn reset(&mut self) {
        self.next = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound_and_starts_over() {
        let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(60)));
        for bound in [0, 1, 2, 4, 8, 16, 32, 60, 60] {
            let (wait, bound) = (backoff.wait(), Duration::from_secs(bound));
            assert!(wait <= bound && wait >= bound / 2, "{wait:?} of {bound:?}");
        }
        backoff.reset();
        assert_eq!(backoff.wait(), Duration::ZERO);
    }
}

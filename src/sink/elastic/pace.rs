//! How long to wait before the next try, and how many requests may run at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Waits between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After the first failure; doubles with each further one.
    pub retry_first: Duration,
    pub retry_max: Duration,
    /// While the cluster or our rights are wrong: somebody has to do something first.
    pub hold_first: Duration,
    pub hold_max: Duration,
    /// A server's or proxy's `Retry-After` is obeyed up to this.
    pub obey_max: Duration,
    /// The same hold is told in the log at most this often.
    pub tell_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            hold_first: Duration::from_secs(5),
            hold_max: Duration::from_secs(60),
            obey_max: Duration::from_secs(300),
            tell_every: Duration::from_secs(60),
        }
    }
}

impl Pace {
    /// Full jitter over an exponentially growing span: many nodes that failed together do not come back together.
    pub fn retry(&self, failures: u32) -> Duration {
        jitter(grown(self.retry_first, self.retry_max, failures), 0.1)
    }

    /// As [`Pace::retry`], never below half of the span: a hold is never hot.
    pub fn hold(&self, failures: u32) -> Duration {
        jitter(grown(self.hold_first, self.hold_max, failures), 0.5)
    }

    /// The peer's own wish, if it has one, with a little jitter on top of it.
    pub fn obey(&self, wish: Option<Duration>, own: Duration) -> Duration {
        wish.map_or(own, |wish| wish.min(self.obey_max) + own.min(self.retry_first) / 2)
    }
}

fn grown(first: Duration, max: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max)
}

/// Between `least` and all of `span`.
fn jitter(span: Duration, least: f64) -> Duration {
    span.mul_f64(least + (1.0 - least) * fastrand::f64())
}

/// Seconds or an HTTP date (RFC 9110 §10.2.3), from `now`. Dates that have passed mean no wait.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = jiff::fmt::rfc2822::parse(value).ok()?;
    let at = SystemTime::from(time.timestamp());
    Some(at.duration_since(now).unwrap_or_default())
}

/// A minute without a refusal adds one request.
const CLEAN: Duration = Duration::from_secs(60);

/// How many requests may run: halved when the server is busy, one more after each clean minute.
#[derive(Debug)]
pub struct Gate {
    most: usize,
    state: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug)]
struct Open {
    limit: usize,
    active: usize,
    changed: Instant,
}

/// Leave to run one request at a time; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Gate {
    pub fn new(most: usize) -> Arc<Self> {
        let most = most.max(1);
        let state = Mutex::new(Open { limit: most, active: 0, changed: Instant::now() });
        Arc::new(Self { most, state, freed: Notify::new() })
    }

    pub async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            if let Some(permit) = self.try_enter() {
                return permit;
            }
            freed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let mut open = self.open();
        (open.active < open.limit).then(|| {
            open.active += 1;
            Permit(Arc::clone(self))
        })
    }

    /// The server cannot keep up.
    pub fn slower(&self) {
        let mut open = self.open();
        open.limit = (open.limit / 2).max(1);
        open.changed = Instant::now();
    }

    /// A request went well.
    pub fn good(&self) {
        let mut open = self.open();
        if open.limit < self.most && open.changed.elapsed() >= CLEAN {
            open.limit += 1;
            open.changed = Instant::now();
            self.freed.notify_one();
        }
    }

    pub fn limit(&self) -> usize {
        self.open().limit
    }

    pub fn active(&self) -> usize {
        self.open().active
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open().active -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_are_never_hot() {
        let pace = Pace::default();
        for failures in [1, 2, 5, 10, u32::MAX] {
            let span = Duration::from_secs(1 << (failures.min(20) - 1)).min(pace.retry_max);
            for _ in 0..200 {
                let wait = pace.retry(failures);
                assert!(wait >= span.mul_f64(0.099) && wait <= span, "{failures}: {wait:?}");
                let hold = pace.hold(failures);
                assert!(hold >= pace.hold_first / 2 && hold <= pace.hold_max, "{failures}: {hold:?}");
            }
        }
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let rows = [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ];
        for (value, seconds) in rows {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_peers_wish_stands_above_our_own_wait_within_reason() {
        let pace = Pace::default();
        let own = Duration::from_millis(400);
        assert_eq!(pace.obey(None, own), own);
        assert_eq!(pace.obey(Some(Duration::from_secs(7)), own), Duration::from_millis(7_200));
        assert!(pace.obey(Some(Duration::from_secs(86_400)), own) <= pace.obey_max + own);
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_halves_at_once_and_opens_slowly() {
        let gate = Gate::new(4);
        let permits = [gate.enter().await, gate.enter().await, gate.enter().await, gate.enter().await];
        assert!(gate.try_enter().is_none());
        gate.slower();
        assert_eq!(gate.limit(), 2);
        drop(permits);
        let (_a, _b) = (gate.enter().await, gate.enter().await);
        assert!(gate.try_enter().is_none(), "two at a time now");
        gate.good();
        assert_eq!(gate.limit(), 2, "not before a minute is over");
        for expected in [3, 4, 4] {
            tokio::time::advance(CLEAN).await;
            gate.good();
            assert_eq!(gate.limit(), expected);
        }
        (0..9).for_each(|_| gate.slower());
        assert_eq!(gate.limit(), 1);
    }
}

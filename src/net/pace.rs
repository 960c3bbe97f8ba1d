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

/// Requests at a time to begin with: one is compressed and sent while the other is worked on.
const FIRST: usize = 2;
/// After a sign that the server is busy, so long without another before one request is added.
const CLEAN: Duration = Duration::from_secs(60);
/// Otherwise one is added no oftener than this, and no oftener than the server answers.
const STEP: Duration = Duration::from_secs(1);
/// An answer that took more than twice as long as the quickest of late, and this longer, is a sign that it is busy.
const SLACK: Duration = Duration::from_secs(1);
/// "Of late" is between one and two of these.
const WINDOW: Duration = Duration::from_secs(300);
/// Smaller requests say nothing about how fast the server is, in plain bytes.
const TELLING: u64 = 256 * 1024;

/// How many requests may run. One is added while all that may run do run and the answers are no slower than the quickest
/// of late (a server that always takes five seconds is far away, not busy); half of them go when the server refuses,
/// fails, or takes longer because there are more of them. What bounds memory is not this but the bytes in flight.
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
    grown: Instant,
    /// When the server was last seen to be busy.
    busy: Option<Instant>,
    /// The quickest answers of the present window and of the one before, and when the present one began.
    quickest: [Option<Duration>; 2],
    window: Instant,
}

impl Open {
    /// The quickest answer of late, this one included.
    fn baseline(&mut self, took: Duration) -> Duration {
        if self.window.elapsed() >= WINDOW {
            self.quickest = [None, self.quickest[0]];
            self.window = Instant::now();
        }
        let present = self.quickest[0].map_or(took, |quickest| quickest.min(took));
        self.quickest[0] = Some(present);
        self.quickest[1].map_or(present, |before| before.min(present))
    }

    fn halve(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.busy = Some(Instant::now());
    }

    fn may_grow(&self, baseline: Duration) -> bool {
        self.grown.elapsed() >= STEP.max(baseline) && self.busy.is_none_or(|busy| busy.elapsed() >= CLEAN)
    }
}

/// Leave to run one request at a time; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Gate {
    pub fn new(most: usize) -> Arc<Self> {
        let most = most.max(1);
        let now = Instant::now();
        let limit = most.min(FIRST);
        let state = Mutex::new(Open { limit, active: 0, grown: now, busy: None, quickest: [None; 2], window: now });
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
        self.open().halve();
    }

    /// A request of so many plain bytes went well, and took so long.
    pub fn good(&self, took: Duration, plain: u64) {
        let mut open = self.open();
        if plain < TELLING {
            return;
        }
        let baseline = open.baseline(took);
        if took > 2 * baseline + SLACK {
            // Once for all requests that ran at the same time.
            if open.busy.is_none_or(|busy| busy.elapsed() >= took) {
                open.halve();
            }
        } else if open.limit < self.most && open.active >= open.limit && open.may_grow(baseline) {
            open.limit += 1;
            open.grown = Instant::now();
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

    /// As many as may run, running.
    fn all(gate: &Arc<Gate>) -> Vec<Permit> {
        std::iter::from_fn(|| gate.try_enter()).collect()
    }

    /// A minute of full requests that each take so long.
    async fn minute(gate: &Arc<Gate>, took: Duration) -> usize {
        let mut spent = Duration::ZERO;
        while spent < Duration::from_secs(60) {
            let running = all(gate);
            tokio::time::advance(took).await;
            spent += took;
            running.iter().for_each(|_| gate.good(took, 1 << 20));
        }
        gate.limit()
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_halves_at_once_and_opens_slowly() {
        let gate = Gate::new(4);
        assert_eq!(minute(&gate, Duration::from_millis(50)).await, 4);
        gate.slower();
        assert_eq!(gate.limit(), 2);
        let (_a, _b) = (gate.enter().await, gate.enter().await);
        assert!(gate.try_enter().is_none(), "two at a time now");
        drop((_a, _b));
        tokio::time::advance(CLEAN - Duration::from_secs(1)).await;
        let running = all(&gate);
        gate.good(Duration::from_millis(50), 1 << 20);
        assert_eq!(gate.limit(), 2, "not before a minute is over");
        drop(running);
        assert_eq!(minute(&gate, Duration::from_millis(50)).await, 4);
        (0..9).for_each(|_| gate.slower());
        assert_eq!(gate.limit(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_always_slow_is_far_away_and_not_busy() {
        for seconds in [5, 20] {
            let gate = Gate::new(8);
            minute(&gate, Duration::from_secs(seconds)).await;
            minute(&gate, Duration::from_secs(seconds)).await;
            assert_eq!(minute(&gate, Duration::from_secs(seconds)).await, 8, "{seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_gets_slower_gets_less() {
        let gate = Gate::new(8);
        assert_eq!(minute(&gate, Duration::from_millis(100)).await, 8);
        // Two requests at a time is what it can do: each further one makes all slower.
        let mut limits = Vec::new();
        for _ in 0..600 {
            let running = all(&gate);
            let took = Duration::from_millis(700) * running.len() as u32;
            tokio::time::advance(took).await;
            running.iter().for_each(|_| gate.good(took, 1 << 20));
            limits.push(gate.limit());
        }
        let late = &limits[300..];
        assert!(late.iter().all(|limit| (1..=4).contains(limit)), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_stays_where_nothing_waits_and_small_requests_say_nothing() {
        let gate = Gate::new(8);
        for _ in 0..100 {
            let _one = gate.try_enter();
            tokio::time::advance(Duration::from_secs(2)).await;
            gate.good(Duration::from_millis(50), 1 << 20);
        }
        assert_eq!(gate.limit(), FIRST, "one at a time was enough");
        for _ in 0..100 {
            let _all = all(&gate);
            tokio::time::advance(Duration::from_secs(20)).await;
            gate.good(Duration::from_millis(1), TELLING - 1);
            gate.good(Duration::from_secs(20), TELLING - 1);
        }
        assert_eq!(gate.limit(), FIRST);
    }
}

//! Windows of event time, by key: aligned, tumbling, and closed when they are over.
//!
//! A window closes when an event has come that is later than its end and the grace; by the clock when it has been open for
//! its length and the grace, however slowly events come; and early when there are too many. So nothing stays open for longer
//! than that, and no more keys are kept than were asked for.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of event time.
    pub window: Duration,
    /// How late an event may come.
    pub grace: Duration,
    /// Keys that are kept at a time.
    pub most: usize,
}

#[derive(Debug)]
pub struct Windows<T> {
    span: Span,
    /// In boxes: a table keeps a half of its places free.
    open: HashMap<Box<[u8]>, Box<Open<T>>>,
    /// Begin of the window and number → key.
    by_begin: BTreeMap<(i64, u64), Box<[u8]>>,
    /// Number → begin of the window: in the order in which they were opened.
    by_age: BTreeMap<u64, i64>,
    /// The latest event's time.
    latest_ms: i64,
    next: u64,
    early: u64,
}

#[derive(Debug)]
struct Open<T> {
    number: u64,
    since: Instant,
    value: T,
}

/// A window that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed<T> {
    pub key: Box<[u8]>,
    /// Unix milliseconds.
    pub begin_ms: i64,
    pub value: T,
}

impl<T> Windows<T> {
    pub fn new(span: Span) -> Self {
        Self {
            span,
            open: HashMap::new(),
            by_begin: BTreeMap::new(),
            by_age: BTreeMap::new(),
            latest_ms: i64::MIN,
            next: 0,
            early: 0,
        }
    }

    fn millis(duration: Duration) -> i64 {
        i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
    }

    /// Begin of the window that a time belongs to.
    pub fn begin_of(&self, time_ms: i64) -> i64 {
        let window = Self::millis(self.span.window).max(1);
        time_ms.div_euclid(window).saturating_mul(window)
    }

    pub fn end_of(&self, begin_ms: i64) -> i64 {
        begin_ms.saturating_add(Self::millis(self.span.window))
    }

    /// An event of this time has come. One from the future must not close what is yet to come: it counts as of now.
    pub fn see(&mut self, time_ms: i64, now_ms: i64) {
        self.latest_ms = self.latest_ms.max(time_ms.min(now_ms));
    }

    pub fn get(&mut self, key: &[u8]) -> Option<&mut T> {
        self.open.get_mut(key).map(|open| &mut open.value)
    }

    pub fn is_full(&self) -> bool {
        self.open.len() >= self.span.most.max(1)
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Windows that closed before their time.
    pub fn early(&self) -> u64 {
        self.early
    }

    /// The key must be new, and there must be room.
    pub fn insert(&mut self, key: &[u8], begin_ms: i64, since: Instant, value: T) {
        let number = self.next;
        self.next += 1;
        let key: Box<[u8]> = key.into();
        self.by_begin.insert((begin_ms, number), key.clone());
        self.by_age.insert(number, begin_ms);
        self.open.insert(key, Box::new(Open { number, since, value }));
    }

    /// The one that was opened first of all that are open.
    pub fn oldest(&self) -> Option<&T> {
        let (number, begin) = self.by_age.first_key_value()?;
        self.open.get(self.by_begin.get(&(*begin, *number))?).map(|open| &open.value)
    }

    /// A window that is over, if there is one.
    pub fn pop_due(&mut self, now: Instant) -> Option<Closed<T>> {
        let whole = self.span.window + self.span.grace;
        if let Some((&(begin, number), _)) = self.by_begin.first_key_value()
            && begin.saturating_add(Self::millis(whole)) <= self.latest_ms
        {
            return self.pop(begin, number);
        }
        let (&number, &begin) = self.by_age.first_key_value()?;
        let since = self.open.get(self.by_begin.get(&(begin, number))?)?.since;
        if now.saturating_duration_since(since) < whole {
            return None;
        }
        self.pop(begin, number)
    }

    /// The oldest, since there is no room for another.
    pub fn pop_early(&mut self) -> Option<Closed<T>> {
        self.early += 1;
        self.pop_oldest()
    }

    /// The oldest, since all must go.
    pub fn pop_oldest(&mut self) -> Option<Closed<T>> {
        let (&number, &begin) = self.by_age.first_key_value()?;
        self.pop(begin, number)
    }

    fn pop(&mut self, begin: i64, number: u64) -> Option<Closed<T>> {
        let key = self.by_begin.remove(&(begin, number))?;
        self.by_age.remove(&number);
        let open = self.open.remove(&key)?;
        debug_assert_eq!(open.number, number);
        Some(Closed { key, begin_ms: begin, value: open.value })
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.by_begin.clear();
        self.by_age.clear();
    }

    pub fn each(&mut self) -> impl Iterator<Item = &mut T> {
        self.open.values_mut().map(|open| &mut open.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(most: usize) -> Windows<u32> {
        Windows::new(Span { window: Duration::from_secs(60), grace: Duration::from_secs(10), most })
    }

    /// Seconds of an event and of the clock → windows that are over then, by begin in seconds.
    fn check(steps: &[(i64, u64, &[i64])]) {
        let begin = Instant::now();
        let mut windows = windows(100);
        for &(event, clock, expected) in steps {
            let now = begin + Duration::from_secs(clock);
            let time = event * 1000;
            windows.see(time, i64::MAX);
            let start = windows.begin_of(time);
            let key = start.to_be_bytes();
            if windows.get(&key).is_none() {
                windows.insert(&key, start, now, 0);
            }
            let mut over = Vec::new();
            while let Some(closed) = windows.pop_due(now) {
                over.push(closed.begin_ms / 1000);
            }
            assert_eq!(over, expected, "at {event} s, {clock} s");
        }
    }

    #[test]
    fn over_by_event_time_and_by_the_clock() {
        // Late ones find their window open until the grace is over.
        check(&[(30, 0, &[]), (65, 0, &[]), (59, 0, &[]), (70, 0, &[0]), (130, 1, &[60])]);
        // Events of long ago, slowly: the clock alone closes.
        check(&[(30, 0, &[]), (31, 69, &[]), (31, 70, &[0])]);
        // Before 1970 windows are aligned alike.
        check(&[(-30, 0, &[]), (71, 0, &[-60])]);
    }

    #[test]
    fn one_from_the_future_closes_nothing() {
        let mut windows = windows(10);
        windows.insert(b"a", 60_000, Instant::now(), 1);
        windows.see(i64::MAX, 129_999);
        assert_eq!(windows.pop_due(Instant::now()), None);
        windows.see(i64::MAX, 130_000);
        assert!(windows.pop_due(Instant::now()).is_some());
    }

    #[test]
    fn at_the_bound_the_oldest_goes() {
        let mut windows = windows(2);
        let now = Instant::now();
        windows.insert(b"late", 600_000, now, 1);
        windows.insert(b"early", 0, now, 2);
        assert!(windows.is_full());
        assert_eq!(windows.oldest(), Some(&1), "by opening, not by event time");
        assert_eq!(windows.pop_early().map(|closed| closed.value), Some(1));
        assert_eq!((windows.len(), windows.early()), (1, 1));
    }
}

//! When a lane looks at its files, beside when its source is told to.
//!
//! Lines wait in the file as well as in a batch, so while few come the lane looks when it is told, and sends at once what it
//! finds. Where a look finds whole batches, it looks again soon.

use std::time::{Duration, Instant};

use super::LOOK;

/// A lane that fills a batch in so short a time looks this often, without waiting for a word.
const BUSY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Looks {
    /// The last one.
    at: Instant,
    /// The one before.
    before: Instant,
    /// The next one, where the source would have it later.
    early: Option<Instant>,
    /// Full batches since the last one.
    filled: u32,
    /// Anything was read since the last one.
    found: bool,
    /// The look before found nothing: how much comes is not known yet.
    fresh: bool,
    /// A batch was filled in each [`BUSY`].
    busy: bool,
}

impl Looks {
    /// What is there at the start may be of any age.
    pub fn new(now: Instant, batch_age: Duration) -> Self {
        let before = now.checked_sub(batch_age).unwrap_or(now);
        Self { at: before, before, early: None, filled: 0, found: false, fresh: true, busy: false }
    }

    pub fn last(&self) -> Instant {
        self.at
    }

    /// Nothing that was found by the last look was there then.
    pub fn before(&self) -> Instant {
        self.before
    }

    /// When to look again, where the source says `due`.
    pub fn next(&self, due: Instant) -> Instant {
        self.early.map_or(due, |early| early.min(due))
    }

    /// A look that reads on.
    pub fn look(&mut self, now: Instant) {
        (self.before, self.at) = (self.at, now);
        self.fresh = !self.found;
        (self.filled, self.found, self.early) = (0, false, None);
    }

    /// A look that only keeps what would be lost.
    pub fn tend(&mut self, now: Instant) {
        self.at = now;
    }

    pub fn read(&mut self) {
        self.found = true;
    }

    pub fn fill(&mut self) {
        self.filled += 1;
    }

    /// Everything is read that the last look found. Who sends sooner than there may be a word looks by itself while there is
    /// something to read.
    pub fn drained(&mut self, batch_age: Duration) {
        let spans = (self.at - self.before).as_millis() / BUSY.as_millis();
        // A look that came sooner, by a word, says nothing.
        if spans > 0 {
            self.busy = u128::from(self.filled) >= spans;
        }
        let pace = if self.busy || self.fresh { BUSY } else { batch_age.max(BUSY) };
        self.early = ((self.busy || self.found) && pace < LOOK).then(|| self.at + pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these milliseconds that fill so many batches: how long after the last one comes the next, if not by a word?
    fn check(batch_age: u64, looks: &[(u64, u32)], expected: Option<u64>) {
        let (start, age) = (Instant::now(), Duration::from_millis(batch_age));
        let mut state = Looks::new(start, age);
        assert!(state.last() <= start);
        state.look(start);
        state.read();
        state.drained(age);
        assert_eq!(state.next(start + LOOK), start + BUSY, "to see how much comes");
        for &(at, filled) in looks {
            state.look(start + Duration::from_millis(at));
            state.read();
            (0..filled).for_each(|_| state.fill());
            state.drained(age);
        }
        let due = state.last() + Duration::from_secs(10);
        let next = state.next(due);
        assert_eq!((next != due).then(|| (next - state.last()).as_millis() as u64), expected, "{looks:?}");
    }

    #[test]
    fn soon_again_where_batches_fill_up() {
        check(1000, &[(0, 0)], None);
        check(1000, &[(1000, 2)], None);
        check(1000, &[(1000, 5)], Some(200));
        check(1000, &[(1000, 5), (1205, 1)], Some(200));
        // A word comes in between.
        check(1000, &[(1000, 5), (1200, 1), (1210, 0)], Some(200));
        check(1000, &[(1000, 5), (1200, 1), (1210, 0), (1410, 0)], None);
    }

    #[test]
    fn soon_again_where_batches_are_sent_soon() {
        check(300, &[(1000, 0)], Some(300));
        check(10, &[(1000, 0)], Some(200));
        check(300, &[(1000, 5)], Some(200));
        check(5000, &[(1000, 0)], None);
        let mut nothing = Looks::new(Instant::now(), LOOK);
        nothing.drained(Duration::from_millis(10));
        assert_eq!(nothing.early, None, "nothing to read");
    }
}

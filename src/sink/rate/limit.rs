//! At most so many flows of a key in a window; of the rest one summary.

use std::time::{Duration, Instant};

use super::key::{put_all, text_of};
use super::windows::{Closed, Span, Windows};
use super::{Key, Why};
use crate::model::{Event, Flow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Flows of a key that pass in each window.
    pub per_key: u64,
    pub window: Duration,
    pub key: Vec<Key>,
    /// Keys that are counted at a time.
    pub max_keys: usize,
}

/// Flows that were held back, of one key in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    pub why: Why,
    pub key: Option<String>,
    /// Unix milliseconds: of the events of a limit, of the clock for a budget.
    pub from_ms: i64,
    pub until_ms: i64,
    pub flows: u64,
}

#[derive(Debug, Default)]
struct Count {
    passed: u64,
    suppressed: u64,
}

#[derive(Debug)]
pub struct Limiter {
    limit: Limit,
    windows: Windows<Count>,
    scratch: Vec<u8>,
    over: Vec<Suppressed>,
}

impl Limiter {
    pub fn new(limit: Limit) -> Self {
        let span = Span { window: limit.window, grace: Duration::ZERO, most: limit.max_keys };
        Self { windows: Windows::new(span), limit, scratch: Vec::new(), over: Vec::new() }
    }

    /// Whether the flow may pass.
    pub fn takes(&mut self, event: &Event<'_>, flow: &Flow<'_>, time_ms: i64, now: Instant, now_ms: i64) -> bool {
        let begin = self.windows.begin_of(time_ms);
        self.windows.see(time_ms, now_ms);
        self.scratch.clear();
        put_all(&self.limit.key, event, flow, &mut self.scratch);
        self.scratch.extend_from_slice(&begin.to_be_bytes());
        if self.windows.get(&self.scratch).is_none() {
            self.tend(now);
            if self.windows.is_full() {
                let closed = self.windows.pop_early();
                self.close(closed);
            }
            self.windows.insert(&self.scratch, begin, now, Count::default());
        }
        let Some(count) = self.windows.get(&self.scratch) else { return true };
        let passes = count.passed < self.limit.per_key;
        *(if passes { &mut count.passed } else { &mut count.suppressed }) += 1;
        passes
    }

    /// Closes what is over.
    pub fn tend(&mut self, now: Instant) {
        while let Some(closed) = self.windows.pop_due(now) {
            self.close(Some(closed));
        }
    }

    /// Summaries of windows that are over.
    pub fn take(&mut self) -> Vec<Suppressed> {
        std::mem::take(&mut self.over)
    }

    /// The end: every window is over.
    pub fn finish(&mut self) -> Vec<Suppressed> {
        while let Some(closed) = self.windows.pop_oldest() {
            self.close(Some(closed));
        }
        self.take()
    }

    /// What passed may not have come, and passes again. What was held back stays counted.
    pub fn forgive(&mut self) {
        self.windows.each().for_each(|count| count.passed = 0);
    }

    fn close(&mut self, closed: Option<Closed<Count>>) {
        let Some(closed) = closed.filter(|closed| closed.value.suppressed > 0) else { return };
        self.over.push(Suppressed {
            why: Why::Limit,
            key: Some(text_of(&self.limit.key, &closed.key)),
            from_ms: closed.begin_ms,
            until_ms: self.windows.end_of(closed.begin_ms),
            flows: closed.value.suppressed,
        });
    }
}

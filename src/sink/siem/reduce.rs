//! How many records become of the flows of a lane: what is held back, what is folded, and when a folded line is settled.
//!
//! A line that is folded into a window belongs to its ticket like any other. Its ticket is settled when the record of every
//! window that holds one of its lines is settled: each batch says up to which ticket that is so once it is settled itself
//! ([`Seal::release`](super::Seal)), and batches are settled in their order. So nothing is lost when the process
//! dies with open windows: their lines are read again. What may happen then is that a window which had been sent is built
//! again from those of its lines that were not settled: it comes a second time, with smaller sums.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{LaneHalf, RecordWriter, now_ms};
use crate::encode::record::own::{self, What};
use crate::encode::record::{Marks, event_time_ms};
use crate::lane::Taken;
use crate::model::{Event, Flow};
use crate::sink::rate::{Budget, Eps, Folded, Folder, Limiter, Rates, Suppressed, Why, is_plain_allow, is_sampled};

/// A budget's summary is sent this often, Unix milliseconds.
const SUMMARY_MS: i64 = 60_000;

/// What a budget of records a second is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Wall,
    /// Of logs that are read as fast as can be, to measure what they would have cost.
    Events,
}

#[derive(Debug)]
pub(super) struct Reducer {
    clock: Clock,
    sample: Option<u32>,
    limiter: Option<Limiter>,
    /// In a cell of its own: whether there is room is asked by whoever may not change anything.
    budget: Option<(Eps, std::sync::Mutex<Budget>)>,
    /// What the budget held back since its last summary.
    over_budget: Suppressed,
    folder: Option<Folder>,
}

impl Reducer {
    /// `None` when nothing is reduced.
    pub(super) fn new(rates: &Rates, clock: Clock) -> Option<Box<Self>> {
        let over_budget = Suppressed { why: Why::Budget, key: None, from_ms: 0, until_ms: 0, flows: 0 };
        // Measured logs do not wait: only what gives way changes a number.
        let eps = rates.eps.filter(|eps| clock == Clock::Wall || eps.suppress);
        (*rates != Rates::default()).then(|| {
            Box::new(Self {
                clock,
                sample: rates.sample.filter(|one_in| *one_in > 1),
                limiter: rates.limit.clone().map(Limiter::new),
                budget: eps.map(|eps| (eps, std::sync::Mutex::new(Budget::new(eps)))),
                over_budget,
                folder: rates.aggregate.clone().map(Folder::new),
            })
        })
    }

    /// Number of the earliest ticket of which a line is in an open window.
    pub(super) fn first_epoch(&self) -> Option<u64> {
        self.folder.as_ref().and_then(Folder::first_epoch)
    }

    /// Everything that is not settled is read again.
    pub(super) fn forget(&mut self) {
        if let Some(folder) = &mut self.folder {
            folder.clear();
        }
        if let Some(limiter) = &mut self.limiter {
            limiter.forgive();
        }
    }

    /// Whether the budget lets more be read; one whose flows give way never keeps the lane.
    pub(super) fn may_read(&self, now_ms: i64) -> bool {
        match &self.budget {
            Some((eps, _)) if eps.suppress => true,
            Some(_) => !self.is_used_up(now_ms),
            None => true,
        }
    }

    fn is_used_up(&self, now_ms: i64) -> bool {
        self.budget.as_ref().is_some_and(|(_, budget)| lock(budget).is_used_up(now_ms))
    }

    fn spend(&self) {
        if let Some((_, budget)) = &self.budget {
            lock(budget).spend(1);
        }
    }

    /// Why a flow gets no record, if it gets none.
    fn holds_back(&mut self, event: &Event<'_>, flow: &Flow<'_>, time_ms: i64, now: (Instant, i64)) -> Option<Why> {
        let allow = is_plain_allow(flow);
        if allow && self.sample.is_some_and(|one_in| !is_sampled(&event.origin.id, one_in)) {
            return Some(Why::Sample);
        }
        if let Some(limiter) = &mut self.limiter
            && !limiter.takes(event, flow, time_ms, now.0, now.1)
        {
            return Some(Why::Limit);
        }
        let clock = if self.clock == Clock::Wall { now.1 } else { time_ms };
        let gives_way = allow && self.budget.as_ref().is_some_and(|(eps, _)| eps.suppress);
        if gives_way && self.is_used_up(clock) {
            let held = &mut self.over_budget;
            held.from_ms = if held.flows == 0 { clock } else { held.from_ms };
            held.until_ms = clock;
            held.flows += 1;
            return Some(Why::Budget);
        }
        None
    }

    fn marks(&self, flow: &Flow<'_>, lines: u64) -> Marks {
        Marks { aggregated: lines > 1, sample_rate: self.sample.filter(|_| is_plain_allow(flow)) }
    }

    /// Summaries of what was held back, those of limits whose windows are over, and the budget's once a minute.
    fn summaries(&mut self, now: Option<(Instant, i64)>) -> Vec<Suppressed> {
        let limiter = self.limiter.as_mut();
        let mut all = match (limiter, now) {
            (Some(limiter), Some((now, _))) => {
                limiter.tend(now);
                limiter.take()
            }
            (Some(limiter), None) => limiter.finish(),
            (None, _) => Vec::new(),
        };
        let held = &mut self.over_budget;
        if held.flows > 0 && now.is_none_or(|(_, now_ms)| now_ms - held.from_ms >= SUMMARY_MS) {
            all.push(held.clone());
            held.flows = 0;
        }
        all
    }
}

fn lock(budget: &std::sync::Mutex<Budget>) -> std::sync::MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl<W: RecordWriter> LaneHalf<W> {
    /// What becomes of a flow that the filter takes.
    pub(super) fn reduce(&mut self, rates: &mut Reducer, event: &Event<'_>, flow: &Flow<'_>, class: usize) -> Taken {
        let now = (Instant::now(), now_ms());
        // Without a time of its own it is as good as of now.
        let time_ms = event_time_ms(event).unwrap_or(now.1);
        if let Some(why) = rates.holds_back(event, flow, time_ms, now) {
            self.writer.stats().suppressed(why);
            return Taken::Filtered;
        }
        self.lines += 1;
        let Some(folder) = &mut rates.folder else {
            self.write(event, flow, class, rates.marks(flow, 1), 1);
            rates.spend();
            return Taken::Kept;
        };
        let early = folder.add(event, flow, class, time_ms, now, self.epoch + 1);
        if let Some(early) = early {
            self.write_folded(rates, &early);
        }
        self.close_due(rates, now.0);
        Taken::Kept
    }

    fn write_folded(&mut self, rates: &Reducer, folded: &Folded) {
        folded.with(|event, flow| {
            self.write(event, flow, folded.class, rates.marks(flow, folded.lines), folded.lines);
        });
        rates.spend();
    }

    /// Writes windows that are over, as long as there is room for them.
    fn close_due(&mut self, rates: &mut Reducer, now: Instant) {
        while self.writer.has_room()
            && let Some(folded) = rates.folder.as_mut().and_then(|folder| folder.pop_due(now))
        {
            self.write_folded(rates, &folded);
            self.part(rates);
        }
        if let Some(folder) = &rates.folder {
            let stats = self.writer.stats();
            stats.open_windows.store(folder.open() as u64, Relaxed);
            stats.early_windows.store(folder.early(), Relaxed);
        }
    }

    /// Many windows may be over at once: a full batch goes without a ticket, which comes with the next one.
    fn part(&mut self, rates: &Reducer) {
        if self.writer.is_full() {
            self.hand_over_of(None, rates.first_epoch());
        }
    }

    pub(super) fn tend_rates(&mut self) {
        let Some(mut rates) = self.rates.take() else { return };
        let now = (Instant::now(), now_ms());
        self.close_due(&mut rates, now.0);
        let summaries = rates.summaries(Some(now));
        self.rates = Some(rates);
        self.tell_of(summaries);
    }

    /// Every window is over.
    pub(super) fn finish_rates(&mut self) {
        let Some(mut rates) = self.rates.take() else { return };
        while let Some(folded) = rates.folder.as_mut().and_then(Folder::pop) {
            self.write_folded(&rates, &folded);
            self.part(&rates);
        }
        let summaries = rates.summaries(None);
        self.rates = Some(rates);
        self.tell_of(summaries);
    }

    fn tell_of(&mut self, summaries: Vec<Suppressed>) {
        let mut due = Vec::new();
        if let Some((_, reporter)) = &mut self.told {
            due.extend(summaries.into_iter().map(|held| {
                let what = own::Suppressed {
                    from_ms: held.from_ms,
                    until_ms: held.until_ms,
                    flows: held.flows,
                    reason: held.why.as_str(),
                    alike: held.key,
                };
                reporter.keep(now_ms(), What::Suppressed(what))
            }));
        }
        self.say_all(due);
    }
}

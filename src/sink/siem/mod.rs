//! What every SIEM's lane does on its own thread, whatever the transport: which flows become records, how many records they
//! become, in which batch a record goes, and what Tidegate says of itself between them.
//!
//! [`LaneHalf`] decides, a [`RecordWriter`] encodes, collects and hands over to the destination's task. The task settles a
//! ticket once every batch is settled up to the one that releases it ([`Seal::release`]).

mod measure;
mod reduce;
mod stats;
mod status;

#[cfg(test)]
pub(in crate::sink) mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

pub use measure::{Amount, Measure, Measured, Tally, measured};
pub use stats::Stats;
pub(in crate::sink) use status::Away;
pub use status::{Status, now_ms};

use self::measure::Made;
use self::reduce::{Clock, Reducer};
use self::status::{Due, Reporter};
use super::rate::{Rates, Why};
use crate::encode::record::own::{Numbers, Report};
use crate::encode::record::{Class, Classes, Filter, Marks, Seen};
use crate::lane::{Before, Fill, LOOK, Memory, Sink, Taken, Ticket};
use crate::model::{Body, Event, Flow};
use crate::telemetry::{LaneSnapshot, LaneStats};

/// What a batch means to the lane, besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seal {
    /// `None`: records of our own, or of windows that closed, which belong to tickets of before.
    pub ticket: Option<Ticket>,
    /// Lines of the ticket. Those that are folded into a window that is still open have no record in this batch.
    pub lines: u64,
    /// Number of the ticket among those of the sink, from 1; 0 without one.
    pub epoch: u64,
    /// Once this batch and all before it are settled, so are the tickets up to this number: none of their lines is in an
    /// open window.
    pub release: u64,
}

/// How a destination's records are written, and how they reach its task. It never waits.
pub trait RecordWriter: Send {
    /// Puts the record of a flow, or of `lines` that were folded into one, behind what stands in the open batch. Gives the
    /// octets that the destination counts as its.
    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, marks: Marks, lines: u64) -> usize;

    /// Puts a record of our own there. `number`: of those that are made again until they are settled; 0: not one of them.
    fn say(&mut self, report: &Report<'_>, number: u64);

    /// Records in the open batch.
    fn records(&self) -> usize;

    /// The open batch has no room for the longest record.
    fn is_full(&self) -> bool;

    /// What was handed over and is not through leaves room for more.
    fn has_room(&self) -> bool;

    /// Hands the open batch over, and gives its octets.
    fn hand_over(&mut self, seal: Seal) -> usize;

    /// Forgets the open batch; the task is to know that what comes now is new.
    fn abandon(&mut self);

    /// Nothing comes any more, for now.
    fn finish(&mut self);

    /// The destination takes records now, as far as is known.
    fn is_connected(&self) -> bool;

    fn stats(&self) -> &Stats;
}

/// The lane thread's half of a SIEM's sink.
#[derive(Debug)]
pub struct LaneHalf<W> {
    filter: Filter,
    classes: Arc<Classes>,
    seen: Seen,
    /// Lines of the ticket that comes next, folded ones included.
    lines: u64,
    /// How many batches have had a ticket; the lines of now will have the next one.
    epoch: u64,
    rates: Option<Box<Reducer>>,
    /// Each record that was made of flows, for whoever measures.
    made_of: Option<Vec<Made>>,
    /// Records made by this process.
    made: u64,
    told: Option<(Status, Reporter)>,
    /// The lane's, when it was looked at last.
    lane: LaneSnapshot,
    pub(in crate::sink) writer: W,
}

impl<W: RecordWriter> LaneHalf<W> {
    pub fn of(writer: W, filter: Filter, classes: Arc<Classes>, rates: &Rates, status: Option<Status>) -> Self {
        let reporter = |status: Status| {
            let reporter = Reporter::new(&status, Instant::now(), now_ms());
            (status, reporter)
        };
        Self {
            filter,
            classes,
            seen: Seen::default(),
            lines: 0,
            epoch: 0,
            rates: Reducer::new(rates, Clock::Wall),
            made_of: None,
            made: 0,
            told: status.map(reporter),
            lane: LaneSnapshot::default(),
            writer,
        }
    }

    /// What writes, without anybody who decides.
    pub fn into_writer(self) -> W {
        self.writer
    }

    /// Of this process.
    fn numbers(&self) -> Numbers {
        let stats = self.writer.stats();
        Numbers {
            sent: self.made.saturating_sub(stats.discarded.load(Relaxed)),
            filtered: self.lane.filtered,
            suppressed: Why::ALL.iter().map(|why| stats.suppressed_by(*why)).sum(),
            dropped: self.lane.dropped,
            rewinds: stats.rewinds.load(Relaxed),
            lag_bytes: self.lane.lag_bytes,
            oldest_seconds: self.lane.oldest_unsettled_ms / 1000,
        }
    }

    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: usize, marks: Marks, lines: u64) {
        self.made += 1;
        let class = &self.classes.all()[class];
        let octets = self.writer.write(event, flow, class, marks, lines);
        if let Some(made) = &mut self.made_of {
            made.push(Made::new(event, class, octets));
        }
    }

    /// Says all this at once, unless there are lines that go in a moment anyway.
    fn say_all(&mut self, due: Vec<Due>) {
        if let Some((status, _)) = &self.told {
            for Due { number, time_ms, what } in due {
                self.made += 1;
                let report = Report { cluster: &status.cluster, node: &status.node, time_ms, what };
                self.writer.say(&report, number);
            }
        }
        if self.lines == 0 && self.writer.records() > 0 {
            self.hand_over(None);
        }
    }

    /// Hands the open batch over and gives its octets.
    fn hand_over(&mut self, ticket: Option<Ticket>) -> usize {
        let first = self.rates.as_ref().and_then(|rates| rates.first_epoch());
        self.hand_over_of(ticket, first)
    }

    /// `first`: number of the earliest ticket of which a line is in an open window.
    fn hand_over_of(&mut self, ticket: Option<Ticket>, first: Option<u64>) -> usize {
        let mut seal = Seal { ticket, ..Seal::default() };
        if ticket.is_some() {
            self.epoch += 1;
            seal.epoch = self.epoch;
            seal.lines = std::mem::take(&mut self.lines);
        }
        seal.release = first.map_or(self.epoch, |first| first - 1);
        self.writer.hand_over(seal)
    }
}

impl<W: RecordWriter> Sink for LaneHalf<W> {
    /// A receiver cannot be asked what it has: there is nothing to remember.
    fn recall(&mut self, _memory: Memory) {
        let start = self.told.as_mut().map(|(_, reporter)| reporter.start());
        self.say_all(start.into_iter().collect());
    }

    fn note(&self) -> Option<Arc<str>> {
        None
    }

    fn add(&mut self, event: &Event<'_>, _before: Before) -> Taken {
        let Body::Flow(flow) = event.body else { return Taken::Filtered };
        if !self.filter.takes(event) {
            return Taken::Filtered;
        }
        let Some(class) = self.classes.of(event) else { return Taken::Filtered };
        let class = class.index;
        if self.seen.is_another_trace(flow) {
            return Taken::Filtered;
        }
        match self.rates.take() {
            None => {
                self.write(event, flow, class, Marks::default(), 1);
                self.lines += 1;
                Taken::Kept
            }
            Some(mut rates) => {
                let taken = self.reduce(&mut rates, event, flow, class);
                self.rates = Some(rates);
                taken
            }
        }
    }

    fn fill(&self) -> Fill {
        let lines = usize::try_from(self.lines).unwrap_or(usize::MAX);
        Fill { lines, full: lines > 0 && self.writer.is_full() }
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        self.seen.clear();
        self.hand_over(Some(ticket))
    }

    fn abandon(&mut self) {
        self.seen.clear();
        self.lines = 0;
        if let Some(rates) = &mut self.rates {
            rates.forget();
        }
        let stats = self.writer.stats();
        stats.discarded.fetch_add(self.writer.records() as u64, Relaxed);
        let settled = stats.own_settled.load(Relaxed);
        self.writer.abandon();
        let again = self.told.as_mut().map(|(_, reporter)| reporter.again(settled, Instant::now()));
        self.say_all(again.unwrap_or_default());
    }

    fn tend(&mut self, numbers: &LaneStats) {
        self.lane = numbers.snapshot();
        self.tend_rates();
        let (connected, numbers) = (self.writer.is_connected(), self.numbers());
        let Some((_, reporter)) = &mut self.told else { return };
        let stats = self.writer.stats();
        reporter.forget(stats.own_settled.load(Relaxed));
        let due = reporter.due(Instant::now(), now_ms(), connected, stats.take_outages(), numbers);
        self.say_all(due);
    }

    /// Windows, budgets and the end of an outage are looked for once a second.
    fn due(&self) -> Option<Instant> {
        if self.rates.is_some() || !self.writer.is_connected() {
            return Some(Instant::now() + LOOK);
        }
        self.told.as_ref().and_then(|(_, reporter)| reporter.next_beat())
    }

    fn finish(&mut self) {
        self.finish_rates();
        let numbers = self.numbers();
        let stop = self.told.as_ref().map(|(_, reporter)| reporter.stop(now_ms(), numbers));
        self.say_all(stop.into_iter().collect());
        self.writer.finish();
    }

    /// What a destination takes costs memory until it is through, and the writer knows how much that is: so there is no
    /// other bound, but for a budget that lets everything wait.
    fn in_flight_limit(&self) -> usize {
        let in_budget = self.rates.as_ref().is_none_or(|rates| rates.may_read(now_ms()));
        if self.writer.has_room() && in_budget { usize::MAX } else { 0 }
    }
}

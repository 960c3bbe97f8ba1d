//! A SIEM destination that sends nothing and counts what it would: the lane's own half, with nobody behind it.
//!
//! Whatever the lane's half makes is counted where it is made, so that it does not matter of how many flows a record is. A
//! budget of records a second is counted over event time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reduce::{Clock, Reducer};
use super::{LaneHalf, RecordWriter};
use crate::encode::record::{Class, event_time_ms};
use crate::lane::{Before, Fill, Memory, Outcomes, Settled, Sink, Taken, Ticket};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::{Body, Event};
use crate::sink::rate::Rates;
use crate::telemetry::LaneStats;

/// Minutes of event time that are told apart: two years. Later ones still count in the sums.
const MINUTES: usize = 1 << 20;
const MINUTE_MS: i64 = 60_000;

/// Records, and their octets as the destination counts them: of syslog header and record, without the transport's framing;
/// of a Splunk collector the body of the event, without its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    pub records: u64,
    pub octets: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.octets += other.octets;
    }
}

/// What came by, and what would have been sent.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub flows: u64,
    pub sent: Amount,
    pub classes: BTreeMap<String, Amount>,
    /// By source zone, then destination zone.
    pub pairs: BTreeMap<String, BTreeMap<String, Amount>>,
    /// By the minute of Unix time.
    pub minutes: HashMap<i64, Amount>,
    /// From the earliest begin to the latest end of all flows, Unix milliseconds.
    pub span: Option<(i64, i64)>,
}

impl Tally {
    /// Begin in Unix milliseconds, and amount, of the minute with the most records.
    pub fn busiest_minute(&self) -> Option<(i64, Amount)> {
        // Of equal ones the first, so that the answer is always the same.
        let busiest = self.minutes.iter().max_by_key(|(minute, amount)| (amount.records, -**minute))?;
        Some((busiest.0 * MINUTE_MS, *busiest.1))
    }

    fn see(&mut self, event: &Event<'_>) {
        let Body::Flow(flow) = event.body else { return };
        self.flows += 1;
        let Some(end) = event_time_ms(event) else { return };
        let begin =
            flow.start_time.and_then(|seconds| seconds.checked_mul(1000)).filter(|begin| (1..=end).contains(begin));
        let (first, last) = self.span.unwrap_or((i64::MAX, i64::MIN));
        self.span = Some((first.min(begin.unwrap_or(end)), last.max(end)));
    }

    fn count(&mut self, made: &Made) {
        let new = Amount { records: 1, octets: made.octets };
        self.sent.add(new);
        amount_of(&mut self.classes, &made.class).add(new);
        let (from, to) = &made.zones;
        amount_of(self.pairs.entry(from.clone()).or_default(), to).add(new);
        let minute = made.time_ms.map(|time| time.div_euclid(MINUTE_MS));
        if let Some(minute) = minute.filter(|minute| self.minutes.len() < MINUTES || self.minutes.contains_key(minute))
        {
            self.minutes.entry(minute).or_default().add(new);
        }
    }
}

/// A record that was made of one flow or of several.
#[derive(Debug)]
pub(super) struct Made {
    class: String,
    zones: (String, String),
    time_ms: Option<i64>,
    octets: u64,
}

impl Made {
    pub(super) fn new(event: &Event<'_>, class: &Class, octets: usize) -> Self {
        let zones = event.zones.map_or((UNKNOWN_ZONE, UNKNOWN_ZONE), |zones| (zones.source, zones.dest));
        Self {
            class: class.id.to_string(),
            zones: (zones.0.to_owned(), zones.1.to_owned()),
            time_ms: event_time_ms(event),
            octets: octets as u64,
        }
    }
}

fn amount_of<'m>(map: &'m mut BTreeMap<String, Amount>, key: &str) -> &'m mut Amount {
    map.entry(key.to_owned()).or_default()
}

/// What others read while the lane runs.
#[derive(Debug, Clone, Default)]
pub struct Measure(Arc<Mutex<Tally>>);

impl Measure {
    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Measured<W> {
    inner: LaneHalf<W>,
    /// Takes what was handed over.
    drain: Box<dyn FnMut() + Send>,
    outcomes: Outcomes,
    measure: Measure,
}

/// The sink of a destination that is only measured, of a half with nobody behind it but `drain`. Nothing is opened: neither
/// a connection nor a certificate.
pub fn measured<W: RecordWriter>(
    mut inner: LaneHalf<W>,
    rates: &Rates,
    drain: Box<dyn FnMut() + Send>,
    outcomes: Outcomes,
) -> Measured<W> {
    inner.made_of = Some(Vec::new());
    inner.rates = Reducer::new(rates, Clock::Events);
    Measured { inner, drain, outcomes, measure: Measure::default() }
}

impl<W: RecordWriter> Measured<W> {
    pub fn measure(&self) -> Measure {
        self.measure.clone()
    }

    /// Counts what was made since, and takes what was handed over.
    fn look(&mut self) {
        let mut tally = self.measure.lock();
        for made in self.inner.made_of.iter_mut().flat_map(|made| made.drain(..)) {
            tally.count(&made);
        }
        drop(tally);
        (self.drain)();
    }
}

impl<W: RecordWriter> Sink for Measured<W> {
    fn recall(&mut self, memory: Memory) {
        self.inner.recall(memory);
    }

    fn note(&self) -> Option<Arc<str>> {
        self.inner.note()
    }

    fn add(&mut self, event: &Event<'_>, before: Before) -> Taken {
        let taken = self.inner.add(event, before);
        self.measure.lock().see(event);
        self.look();
        taken
    }

    fn fill(&self) -> Fill {
        self.inner.fill()
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        let delivered = self.inner.fill().lines as u64;
        let bytes = self.inner.seal(ticket);
        self.look();
        // A line in an open window is as good as settled: nothing is read a second time here.
        self.outcomes.settled(Settled { ticket, delivered, rejected: 0, dropped: 0 });
        bytes
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn tend(&mut self, numbers: &LaneStats) {
        self.inner.tend(numbers);
        self.look();
    }

    fn finish(&mut self) {
        self.inner.finish();
        self.look();
        self.outcomes.finished();
    }

    fn in_flight_limit(&self) -> usize {
        self.inner.in_flight_limit()
    }
}

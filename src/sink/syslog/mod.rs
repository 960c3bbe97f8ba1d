//! The SIEM: cross-zone flows as records over syslog, by UDP, TCP, TLS, RELP or a local daemon's socket.
//!
//! Two halves. [`Syslog`] lives on the lane's thread: it filters, encodes and collects messages in one buffer a batch. One
//! task on the I/O runtime ([`task`]) connects to one of the receivers, frames and writes, and reads all the time.
//!
//! Promises: a batch is settled by the strongest [`Proof`] that its transport gives. RELP acknowledges each record: what is
//! not acknowledged stays in memory and is written again, and nothing else. Plain syslog has no acknowledgement, so a
//! successful write proves nothing: a batch is settled when it has been written and its replay window has passed (so
//! many records, or so much time, after it), or at a clean end, once the peer has closed in answer to our close: it has
//! then read everything. When a connection breaks, the lane reads again from the lowest unsettled place, so that what may
//! be lost is sent twice rather than never; `externalId` lets the receiver tell. A TLS link is believed only after the peer
//! had time to refuse our certificate. Of several receivers one has the records at a time, and what was unsettled with
//! one is sent to the next. A receiver that is away costs at most [`UNSENT_LIMIT`] octets of memory; the lane then waits.
//!
//! Not here: what a record says and in which format (`encode::record`).

mod batch;
mod connect;
mod header;
mod link;
mod measure;
mod reduce;
mod relp;
mod stats;
mod status;
mod target;
mod task;
mod trial;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use connect::{ConnectError, ProbeReport, TlsReport, probe};
pub use header::HeaderWriter;
pub use measure::{Amount, Measure, Measured, Tally, measured};
pub use stats::{Proof, Stats};
pub use status::Status;
pub use target::{Framing, Target};
pub use trial::trial;

use self::batch::Batch;
use self::header::STATUS;
use self::measure::Made;
use self::reduce::{Clock, Reducer};
use self::status::{Due, Reporter, now_ms};
use self::task::Command;
use crate::encode::record::own::{Numbers, Report};
use crate::encode::record::{self, Classes, Encoder, Filter, Frame, Marks};
use crate::lane::{Before, Fill, Memory, Outcomes, Sink, Taken, Ticket};
use crate::model::{Body, Event, Flow};
use crate::net::tls::{self, TlsConfig, TlsError};
use crate::sink::dedupe::Seen;
use crate::sink::rate::{Rates, Why};
use crate::telemetry::{LaneSnapshot, LaneStats};

/// A batch is sealed when the longest record might not fit any more.
pub const BATCH_BYTES: usize = 64 << 10;
/// Octets that are sealed and not yet written (over RELP: acknowledged), at most; at this bound the lane stops reading.
pub const UNSENT_LIMIT: usize = 1 << 20;
/// RFC 5426: receivers should take so much in one datagram.
pub const MAX_DATAGRAM: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    #[default]
    Rfc5424,
    /// `Mmm dd hh:mm:ss HOST CEF:0|…`, no tag, as ArcSight and Microsoft's collectors expect it.
    Rfc3164,
    /// `Mmm dd hh:mm:ss HOST tidegate: CEF:0|…`: for receivers that take the first word for a tag.
    Rfc3164Tagged,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the receiver; the lane is `siem-<name>`.
    pub name: String,
    /// In order of preference: the first one that can be had gets the records.
    pub targets: Vec<Target>,
    pub header: Header,
    /// On plain streams. `None`: what the kind of receiver expects.
    pub framing: Option<Framing>,
    /// Number in RFC 5424 table 1, 0 to 23.
    pub facility: u8,
    /// HOSTNAME of the header: the node.
    pub hostname: String,
    /// For `tls` and `relp+tls`.
    pub tls: TlsConfig,
    /// A format that is an element of structured data needs the RFC 5424 header.
    pub record: record::Config,
    pub filter: Filter,
    /// A batch is settled when so many records were written after it …
    pub replay_records: u64,
    /// … or so much time has passed.
    pub replay_age: Duration,
    /// Of connecting (each address, with the handshake), of the peer's taking of one batch, and of the next
    /// acknowledgement.
    pub timeout: Duration,
    /// How many records it gets of how many flows.
    pub rates: Rates,
    /// Whether the destination is told of its sender, and how often. `None`: it gets records of flows and nothing else.
    pub status: Option<Status>,
    /// How often a preferred receiver is looked for while another has the records; it takes two good answers to go
    /// back. Zero: we stay until that one breaks.
    pub failback: Duration,
    /// Age at which a connection is closed in good order and made again. `None`: it stays.
    pub reconnect: Option<Duration>,
    /// How long the peer may take to close after we did.
    pub close_timeout: Duration,
    /// First and longest wait between tries to connect; each wait is random between half of it and all of it.
    pub backoff: (Duration, Duration),
}

impl Config {
    /// Defaults for everything that has one.
    pub fn new(name: impl Into<String>, target: Target, hostname: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            targets: vec![target],
            header: Header::default(),
            framing: None,
            facility: 16,
            hostname: hostname.into(),
            tls: TlsConfig::default(),
            record: record::Config::default(),
            filter: Filter::default(),
            replay_records: 10_000,
            replay_age: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            rates: Rates::default(),
            status: None,
            failback: Duration::from_secs(60),
            reconnect: None,
            close_timeout: Duration::from_secs(15),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }

    /// All of them in their order, for people and to tell one destination from another.
    pub fn receivers(&self) -> String {
        self.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What writes the header of each message.
    pub fn header_writer(&self) -> HeaderWriter {
        HeaderWriter::new(self.header, self.facility, &self.hostname, self.record.format.is_element())
    }

    /// Octets that a message may have, header included.
    pub fn max_message(&self) -> usize {
        let max = self.record.max_record.max(self.record.format.min_record());
        // Whichever receiver gets it.
        let udp = self.targets.iter().any(|target| matches!(target, Target::Udp { .. }));
        if udp { max.min(MAX_DATAGRAM) } else { max }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error("facility {0} is not one; RFC 5424 knows 0 to 23")]
    Facility(u8),
    #[error("no receiver is given")]
    NoReceiver,
    #[error("a record of structured data needs the RFC 5424 header")]
    NoPlaceForElements,
}

/// The sink of one SIEM lane. Its task ends when the sink is dropped. Certificates are read now, so that a mistake in
/// them is an error at the start, and again at every connection.
pub fn sink(config: Config, runtime: &tokio::runtime::Handle, outcomes: Outcomes) -> Result<Syslog, SyslogError> {
    if config.facility > 23 {
        return Err(SyslogError::Facility(config.facility));
    }
    if config.targets.is_empty() {
        return Err(SyslogError::NoReceiver);
    }
    if config.record.format.is_element() && config.header != Header::Rfc5424 {
        return Err(SyslogError::NoPlaceForElements);
    }
    for host in config.targets.iter().filter(|target| target.is_tls()).filter_map(Target::host) {
        tls::client_config(&config.tls)?;
        tls::server_name(&config.tls, host)?;
    }
    let stats = Arc::new(Stats::new(&config.name, &config.targets));
    let (commands, received) = mpsc::unbounded_channel();
    let (spares_back, spares) = std_mpsc::channel();
    let (alive, gone) = oneshot::channel();
    let syslog = Syslog::new(&config, commands, spares, Arc::clone(&stats), alive);
    let task = task::run(config, received, outcomes, stats, spares_back);
    crate::sink::task::spawn(runtime, task, gone);
    Ok(syslog)
}

/// The lane thread's half.
#[derive(Debug)]
pub struct Syslog {
    filter: Filter,
    classes: Arc<Classes>,
    encoder: Encoder,
    header: HeaderWriter,
    max_message: usize,
    /// Lines of the ticket that comes next, folded ones included.
    lines: u64,
    /// How many batches have had a ticket; the lines of now will have the next one.
    epoch: u64,
    rates: Option<Box<Reducer>>,
    /// Each record that was made of flows, for whoever measures.
    made_of: Option<Vec<Made>>,
    sequence: u32,
    /// Records made by this process.
    made: u64,
    reporter: Option<Reporter>,
    cluster: String,
    node: String,
    /// The lane's, when it was looked at last.
    lane: LaneSnapshot,
    open: Batch,
    seen: Seen,
    commands: mpsc::UnboundedSender<Command>,
    /// Buffers of batches that were written.
    spares: std_mpsc::Receiver<Batch>,
    stats: Arc<Stats>,
    /// Its drop tells the task that nobody is left.
    _alive: oneshot::Sender<()>,
}

/// RFC 5424 §7.3.1: `sequenceId` begins again with 1 after this.
const LAST_SEQUENCE: u32 = i32::MAX.unsigned_abs();

impl Syslog {
    fn new(
        config: &Config,
        commands: mpsc::UnboundedSender<Command>,
        spares: std_mpsc::Receiver<Batch>,
        stats: Arc<Stats>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        Self {
            filter: config.filter.clone(),
            classes: Arc::clone(&config.record.classes),
            encoder: Encoder::new(config.record.clone()),
            header: config.header_writer(),
            max_message: config.max_message(),
            lines: 0,
            epoch: 0,
            rates: Reducer::new(&config.rates, Clock::Wall),
            made_of: None,
            sequence: 0,
            made: 0,
            reporter: config.status.as_ref().map(|status| Reporter::new(status, Instant::now(), now_ms())),
            cluster: config.status.as_ref().map_or_else(String::new, |status| status.cluster.clone()),
            node: config.hostname.clone(),
            lane: LaneSnapshot::default(),
            open: Batch::default(),
            seen: Seen::default(),
            commands,
            spares,
            stats,
            _alive: alive,
        }
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = if self.sequence >= LAST_SEQUENCE { 1 } else { self.sequence + 1 };
        self.made += 1;
        self.sequence
    }

    /// Of this process.
    fn numbers(&self) -> Numbers {
        Numbers {
            sent: self.made.saturating_sub(self.stats.discarded.load(Relaxed)),
            filtered: self.lane.filtered,
            suppressed: Why::ALL.iter().map(|why| self.stats.suppressed_by(*why)).sum(),
            dropped: self.lane.dropped,
            rewinds: self.stats.rewinds.load(Relaxed),
            lag_bytes: self.lane.lag_bytes,
            oldest_seconds: self.lane.oldest_unsettled_ms / 1000,
        }
    }

    /// Puts the record of a flow behind what stands in the open batch.
    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: usize, marks: Marks) {
        let sequence = self.next_sequence();
        let class = &self.classes.all()[class];
        let batch = &mut self.open;
        let start = batch.bytes.len();
        let time = record::event_time_ms(event);
        let sequence = self.header.write(&mut batch.bytes, class.syslog_severity, time, sequence);
        let header = batch.bytes.len() - start;
        let frame = Frame { budget: self.max_message.saturating_sub(header), sequence };
        self.encoder.encode_marked(event, flow, class, frame, marks, &mut batch.bytes);
        batch.ends.push(batch.bytes.len());
        batch.flows += 1;
        if let Some(made) = &mut self.made_of {
            made.push(Made::new(event, class, batch.bytes.len() - start));
        }
    }

    /// Puts a record of our own behind what stands in the open batch.
    fn say(&mut self, due: Due) {
        let sequence = self.next_sequence();
        let batch = &mut self.open;
        let start = batch.bytes.len();
        let severity = self.encoder.severity_of(&due.what);
        let sequence = self.header.write_as(STATUS, &mut batch.bytes, severity, Some(due.time_ms), sequence);
        let budget = self.max_message.saturating_sub(batch.bytes.len() - start);
        let report = Report { cluster: &self.cluster, node: &self.node, time_ms: due.time_ms, what: due.what };
        self.encoder.write_own(&report, Frame { budget, sequence }, &mut batch.bytes);
        batch.ends.push(batch.bytes.len());
        batch.own = batch.own.max(due.number);
    }

    /// Says all this at once, unless there are lines that go in a moment anyway.
    fn say_all(&mut self, due: Vec<Due>) {
        for due in due {
            self.say(due);
        }
        if self.lines == 0 && self.open.records() > 0 {
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
        let mut batch = std::mem::replace(&mut self.open, self.spares.try_recv().unwrap_or_default());
        batch.ticket = ticket;
        if ticket.is_some() {
            self.epoch += 1;
            batch.epoch = self.epoch;
            batch.lines = std::mem::take(&mut self.lines);
        }
        batch.release = first.map_or(self.epoch, |first| first - 1);
        let bytes = batch.bytes.len();
        self.stats.unsent_bytes.fetch_add(bytes, Relaxed);
        self.tell(Command::Send(batch));
        bytes
    }

    /// A lane whose task has died settles nothing any more; the process ends by the task's own panic.
    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Sink for Syslog {
    /// A receiver cannot be asked what it has: there is nothing to remember.
    fn recall(&mut self, _memory: Memory) {
        let start = self.reporter.as_mut().map(Reporter::start);
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
                self.write(event, flow, class, Marks::default());
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
        Fill { lines, full: lines > 0 && self.open.bytes.len() + self.max_message > BATCH_BYTES }
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        self.seen.clear();
        self.stats.truncated.store(self.encoder.truncated(), Relaxed);
        self.stats.sanitised.store(self.encoder.sanitised(), Relaxed);
        self.hand_over(Some(ticket))
    }

    fn abandon(&mut self) {
        self.seen.clear();
        self.lines = 0;
        if let Some(rates) = &mut self.rates {
            rates.forget();
        }
        self.stats.discarded.fetch_add(self.open.records() as u64, Relaxed);
        self.open.clear();
        self.tell(Command::Abandon);
        let settled = self.stats.own_settled.load(Relaxed);
        let again = self.reporter.as_mut().map(|reporter| reporter.again(settled, Instant::now()));
        self.say_all(again.unwrap_or_default());
    }

    fn tend(&mut self, numbers: &LaneStats) {
        self.lane = numbers.snapshot();
        self.tend_rates();
        let (connected, numbers) = (self.stats.current().is_some(), self.numbers());
        let Some(reporter) = &mut self.reporter else { return };
        reporter.forget(self.stats.own_settled.load(Relaxed));
        let due = reporter.due(Instant::now(), now_ms(), connected, self.stats.take_outages(), numbers);
        self.say_all(due);
    }

    fn finish(&mut self) {
        self.finish_rates();
        let numbers = self.numbers();
        let stop = self.reporter.as_ref().map(|reporter| reporter.stop(now_ms(), numbers));
        self.say_all(stop.into_iter().collect());
        self.tell(Command::Finish);
    }

    /// What was written costs no memory any more, although it is settled only when its window has passed: so there is no
    /// bound on it, and all the more on what is not written.
    fn in_flight_limit(&self) -> usize {
        let room = self.stats.unsent_bytes.load(Relaxed) < UNSENT_LIMIT;
        let in_budget = self.rates.as_ref().is_none_or(|rates| rates.may_read());
        if room && in_budget { usize::MAX } else { 0 }
    }
}

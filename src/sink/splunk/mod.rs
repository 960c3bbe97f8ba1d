//! Splunk's HTTP Event Collector: cross-zone flows as events, over HTTP, with the indexer's acknowledgement.
//!
//! Two halves. [`Splunk`] lives on the lane's thread: it filters ([`siem`]), encodes and compresses ([`writer`], [`batch`],
//! [`event`]). One task on the I/O runtime ([`task`]) sends one batch at a time to one of the receivers, reads what the answer means ([`outcome`],
//! a pure function) and asks for acknowledgements ([`channel`]).
//!
//! Promises: where the token has indexer acknowledgement, an event is settled when the collector says that it is indexed,
//! and sent again, under the same id, when that is not said in time; where it has none, when the collector has taken it
//! into its queue, which a crash there can still lose ([`Proof`] says which it was). What the collector's set-up or our token
//! forbids is held and told once a minute; what is refused for good stands in the dead letter before it is settled. A
//! collector that is away costs at most [`Config::in_flight_bytes`] of memory; the lane then waits. Nothing but the
//! collector's own words counts as an answer: a proxy's page settles nothing.
//!
//! Not here: the raw endpoint, metrics to the metrics endpoint.

mod batch;
mod channel;
mod event;
mod outcome;
mod peer;
mod stats;
mod task;
mod trial;
mod verbatim;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub use event::{Encoder as EventEncoder, Format, Labels};
pub use outcome::Hold;
pub use stats::{Proof, Stats};
pub use trial::{ProbeReport, probe, trial};
pub use verbatim::Verbatim;
pub use writer::{Splunk, Writer};

use crate::encode::ecs;
use crate::encode::record;
use crate::lane::Outcomes;
use crate::net::auth::{Auth, Credentials};
use crate::net::http::{HostError, Http, HttpConfig, HttpError, base};
use crate::net::pace::Pace;
use crate::net::tls::TlsConfig;
use crate::sink::dead_letter;
use crate::sink::limits::Limits;
use crate::sink::rate::Rates;
use crate::sink::siem::{self, Measured, Status};
use crate::unit::SecretRef;
use peer::Peer;

/// What a sealed batch costs beside its body; it also bounds how many small batches may wait.
const BATCH_OVERHEAD: usize = 1024;

/// Whether events wait for the indexer's acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledgement {
    /// Where the token has it.
    #[default]
    Auto,
    /// Without it nothing is sent.
    Required,
    /// Never asked for.
    Off,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the destination; the lane is `siem-<name>`.
    pub name: String,
    /// Base URLs in order of preference: `https://HOST:8088`, perhaps with a path prefix.
    pub receivers: Vec<String>,
    pub token: SecretRef,
    pub tls: TlsConfig,
    pub format: Format,
    pub labels: Labels,
    pub ecs: ecs::Config,
    pub cef: record::Config,
    pub filter: record::Filter,
    /// How many events it gets of how many flows.
    pub rates: Rates,
    /// Whether the destination is told of its sender, and how often. `None`: it gets events of flows and nothing else.
    pub status: Option<Status>,
    pub acknowledgement: Acknowledgement,
    /// How long an acknowledgement may take before the batch is sent again.
    pub ack_timeout: Duration,
    /// The first wait before acknowledgements are asked for, and the longest between two questions.
    pub ack_poll: (Duration, Duration),
    /// gzip's level; 0 sends plain bodies.
    pub compression: u32,
    /// A batch is full at so many bytes before compression, or so many events.
    pub batch_bytes: usize,
    pub batch_events: usize,
    /// A batch is sent when its oldest line is this old.
    pub batch_age: Duration,
    /// Compressed bytes that may be unsettled at a time.
    pub in_flight_bytes: usize,
    /// Of a whole request.
    pub timeout: Duration,
    /// How often a preferred receiver is looked for while another one has the events.
    pub failback: Duration,
    /// First and longest wait between tries to reach a receiver.
    pub backoff: (Duration, Duration),
    pub pace: Pace,
    /// Whether it is the set-up that is suspected, and nothing rejected, while everything is refused.
    pub suspicious: bool,
    pub dead_letter: dead_letter::Config,
}

impl Config {
    /// Defaults for everything that has one.
    pub fn new(
        name: impl Into<String>,
        receivers: Vec<String>,
        token: SecretRef,
        dead_letter: dead_letter::Config,
    ) -> Self {
        Self {
            name: name.into(),
            receivers,
            token,
            tls: TlsConfig::default(),
            format: Format::default(),
            labels: Labels::default(),
            ecs: ecs::Config::default(),
            cef: record::Config::default(),
            filter: record::Filter::default(),
            rates: Rates::default(),
            status: None,
            acknowledgement: Acknowledgement::default(),
            ack_timeout: Duration::from_secs(120),
            ack_poll: (Duration::from_millis(250), Duration::from_secs(5)),
            compression: 1,
            batch_bytes: 512 << 10,
            batch_events: 1_000,
            batch_age: Duration::from_secs(1),
            in_flight_bytes: 8 << 20,
            timeout: Duration::from_secs(30),
            failback: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            pace: Pace::default(),
            suspicious: true,
            dead_letter,
        }
    }

    /// All of them in their order, for people and to tell one destination from another.
    pub fn receivers(&self) -> String {
        self.receivers.join(", ")
    }

    /// What writes its events.
    pub fn encoder(&self) -> EventEncoder {
        EventEncoder::new(self.format, &self.labels, self.ecs.clone(), self.cef.clone())
    }

    fn peer(&self) -> Result<Peer, SplunkError> {
        if self.receivers.is_empty() {
            return Err(SplunkError::NoReceiver);
        }
        let secure = self.receivers.iter().any(|host| host.starts_with("https"));
        let tls = secure.then(|| self.tls.clone());
        let connect_timeout = self.timeout.min(Duration::from_secs(10));
        let http = Http::new(HttpConfig { tls, connect_timeout, timeout: self.timeout })?;
        let bases = self.receivers.iter().map(|url| base(url)).collect::<Result<_, _>>()?;
        Ok(Peer::new(http, Credentials::new(Auth::Splunk(self.token.clone())), bases))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SplunkError {
    #[error("no receiver is given")]
    NoReceiver,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// The sink of one Splunk lane. Its task ends when the sink is dropped. Certificates are read now, so that a mistake in
/// them is an error at the start; the token may come later.
pub fn sink(config: Config, runtime: &Handle, outcomes: Outcomes) -> Result<Splunk, SplunkError> {
    let peer = Arc::new(config.peer()?);
    let stats = Arc::new(Stats::new(config.receivers.clone()));
    let limits = Limits::new(config.batch_bytes, config.batch_events);
    let (commands, received) = mpsc::unbounded_channel();
    let (alive, gone) = oneshot::channel();
    let splunk = Splunk::new(&config, Arc::clone(&limits), commands, Arc::clone(&stats), alive);
    let task = task::run(config, peer, limits, received, outcomes, stats);
    crate::sink::task::spawn(runtime, task, gone);
    Ok(splunk)
}

/// Sends event objects as they stand, those of dead letters: each is a raw line. What is refused again is refused for good,
/// although nothing else shows that the set-up is sound: it was when they came here.
pub fn verbatim(mut config: Config, runtime: &Handle, outcomes: Outcomes) -> Result<Verbatim, SplunkError> {
    (config.suspicious, config.status) = (false, None);
    let splunk = sink(config, runtime, outcomes)?;
    Ok(Verbatim::new(splunk.into_writer()))
}

/// A destination that is only measured.
pub fn measured(config: &Config, outcomes: Outcomes) -> Measured<Writer> {
    let stats = Arc::new(Stats::new(config.receivers.clone()));
    let (commands, mut received) = mpsc::unbounded_channel();
    let (alive, gone) = oneshot::channel();
    // Nothing is sent, so nothing is compressed.
    let config = Config { compression: 0, ..config.clone() };
    let limits = Limits::new(config.batch_bytes, config.batch_events);
    let half = Splunk::new(&config, limits, commands, Arc::clone(&stats), alive);
    let drain = move || {
        let _behind = &gone;
        while received.try_recv().is_ok() {}
        stats.held_bytes.store(0, Relaxed);
    };
    siem::measured(half, &config.rates, Box::new(drain), outcomes)
}

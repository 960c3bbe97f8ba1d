//! Elasticsearch and OpenSearch: every event becomes a document of the data stream `logs-calico.flow-<namespace>`.
//!
//! Two halves. The lane's thread encodes and compresses ([`batch`]); tasks on the I/O runtime send ([`peer`]), read what
//! the answer means ([`outcome`], a pure function) and work on a batch until each of its documents is decided
//! ([`deliver`]). Promises: only what needs it is sent again, always under the same ids; what may stand in an older backing
//! index is looked up before ([`lookup`]), and only then; what the cluster or our rights forbid is held and told, never
//! lost, never hot; what is refused for good stands in the dead letter before it is settled; the counts of a settlement
//! add up to the lines of its batch.
//!
//! Not here: the installation of templates (`setup`).

pub mod batch;
mod deliver;
mod hosts;
mod lookup;
pub mod outcome;
mod peer;
pub mod probe;
mod query;
pub mod stats;
mod stream;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

pub use crate::net::auth::Auth;
pub use crate::net::pace::Pace;
pub use stats::Stats;
pub use stream::Lookup;

use crate::encode::ecs;
use crate::lane::{Before, ExitOnPanic, Fill, Memory, Outcomes, Sink, Taken, Ticket};
use crate::model::Event;
use crate::net::auth::Credentials;
use crate::net::http::{HostError, Http, HttpConfig, HttpError};
use crate::net::pace::Gate;
use crate::net::tls::TlsConfig;
use crate::sink::dead_letter::{self, DeadLetter};
use crate::sink::limits::Limits;
use batch::{Builder, Sealed};
use deliver::Ship;
use hosts::Hosts;
use peer::Peer;
use stream::Stream;

/// What a sealed batch costs beside its body; it also bounds how many small batches may wait.
const BATCH_OVERHEAD: usize = 1024;
/// Sealed batches that may wait for a request to end: enough that the next one begins at once.
const MOST_WAITING: usize = 2;

#[derive(Debug, Clone)]
pub struct Config {
    /// The lane's name.
    pub name: String,
    /// One cluster's hosts, as URLs; a path prefix is kept.
    pub hosts: Vec<String>,
    pub auth: Auth,
    pub tls: TlsConfig,
    pub ecs: ecs::Config,
    /// gzip's level; 0 sends plain bodies.
    pub compression: u32,
    /// A batch is full at so many bytes before compression, or so many documents.
    pub batch_bytes: usize,
    pub batch_lines: usize,
    /// Compressed bytes that may be unsettled at a time.
    pub in_flight_bytes: usize,
    /// Requests at a time, at most; it begins with fewer ([`crate::net::pace`]).
    pub requests: usize,
    pub lookup: Lookup,
    pub connect_timeout: Duration,
    /// Of a whole request.
    pub timeout: Duration,
    pub dead_letter: dead_letter::Config,
    pub pace: Pace,
}

impl Config {
    /// Defaults for everything that has one.
    pub fn new(hosts: Vec<String>, dead_letter: dead_letter::Config) -> Self {
        Self {
            name: "elasticsearch".to_owned(),
            hosts,
            auth: Auth::None,
            tls: TlsConfig::default(),
            ecs: ecs::Config::default(),
            compression: 1,
            batch_bytes: 1 << 20,
            batch_lines: 2_000,
            in_flight_bytes: 8 << 20,
            requests: 8,
            lookup: Lookup::Auto,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
            dead_letter,
            pace: Pace::default(),
        }
    }

    fn http(&self) -> HttpConfig {
        let secure = self.hosts.iter().any(|host| host.starts_with("https"));
        let tls = secure.then(|| self.tls.clone());
        HttpConfig { tls, connect_timeout: self.connect_timeout, timeout: self.timeout }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(
        "namespace {0:?} cannot be part of a data stream's name; use lower-case letters, digits, _ and . (at most 100 bytes)"
    )]
    Namespace(String),
}

/// The sink of an Elasticsearch or OpenSearch lane, with the documents of [`ecs::Encoder`].
pub fn sink(
    config: Config,
    runtime: &Handle,
    outcomes: Outcomes,
) -> Result<ElasticSink<impl FnMut(&Event<'_>, &mut Vec<u8>) + Send + use<>>, Error> {
    let mut encoder = ecs::Encoder::new(config.ecs.clone());
    let capped = Arc::<stats::Counter>::default();
    let count = Arc::clone(&capped);
    build(config, runtime, outcomes, capped, move |event, out| {
        let before = encoder.capped();
        encoder.encode(event, out);
        if encoder.capped() > before {
            count.add(encoder.capped() - before);
        }
    })
}

/// As [`sink`], with another encoder: it appends one JSON object without a newline.
pub fn sink_of<E>(config: Config, runtime: &Handle, outcomes: Outcomes, encode: E) -> Result<ElasticSink<E>, Error>
where
    E: FnMut(&Event<'_>, &mut Vec<u8>) + Send,
{
    build(config, runtime, outcomes, Arc::default(), encode)
}

fn build<E>(
    config: Config,
    runtime: &Handle,
    outcomes: Outcomes,
    capped: Arc<stats::Counter>,
    encode: E,
) -> Result<ElasticSink<E>, Error>
where
    E: FnMut(&Event<'_>, &mut Vec<u8>) + Send,
{
    let stream = stream(&config.ecs)?;
    let limits = Limits::new(config.batch_bytes, config.batch_lines);
    let gate = Gate::new(config.requests);
    let stats = Stats::new(Arc::clone(&gate), capped);
    let hosts = Hosts::new(&config.hosts, config.pace)?;
    let credentials = Credentials::new(config.auth.clone());
    let path = format!("/{stream}/_bulk");
    let stream = Arc::new(Stream::new(stream, config.lookup));
    let peer = Peer::new(Http::new(config.http())?, hosts, credentials, path, Arc::clone(&stats));
    let (close, closing) = watch::channel(false);
    let ship = Arc::new(Ship {
        peer,
        stats: Arc::clone(&stats),
        limits: Arc::clone(&limits),
        gate,
        pace: config.pace,
        outcomes,
        dead_letter: Arc::new(Mutex::new(DeadLetter::new(config.dead_letter))),
        lane: config.name,
        stream: Arc::clone(&stream),
        quiet_at: Instant::now() + config.timeout,
        closing,
        parked: AtomicBool::new(false),
        taken: Mutex::default(),
        told: Mutex::default(),
    });
    let (batches, queue) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let task = runtime.spawn(dispatch(ship, queue, Arc::clone(&waiting)));
    let builder = Builder::new(config.compression, limits);
    let in_flight_limit = config.in_flight_bytes;
    let before = Before::Never;
    let batches = Some(batches);
    Ok(ElasticSink { encode, builder, before, stream, batches, waiting, close, task, stats, in_flight_limit })
}

/// The data stream's name.
fn stream(config: &ecs::Config) -> Result<String, Error> {
    let name = &config.namespace;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    if name.is_empty() || name.len() > 100 || !name.bytes().all(allowed) {
        return Err(Error::Namespace(name.clone()));
    }
    Ok(config.data_stream())
}

/// A sealed batch with what is known of its lines.
#[derive(Debug)]
pub struct Batch {
    pub sealed: Sealed,
    /// The most doubtful line's.
    pub before: Before,
}

/// The lane thread's half.
pub struct ElasticSink<E> {
    encode: E,
    builder: Builder,
    /// Of the lines in the open batch, the most doubtful one's.
    before: Before,
    stream: Arc<Stream>,
    /// Unbounded, because [`Sink::seal`] must not wait; what bounds it is [`Sink::in_flight_limit`], and that every
    /// batch counts for at least [`BATCH_OVERHEAD`]. `None` once no batch comes any more.
    batches: Option<mpsc::UnboundedSender<(Ticket, Batch)>>,
    /// Sealed, and not yet let through the gate.
    waiting: Arc<AtomicUsize>,
    close: watch::Sender<bool>,
    task: JoinHandle<()>,
    stats: Arc<Stats>,
    in_flight_limit: usize,
}

impl<E> ElasticSink<E> {
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }
}

impl<E: FnMut(&Event<'_>, &mut Vec<u8>) + Send> Sink for ElasticSink<E> {
    fn recall(&mut self, memory: Memory) {
        self.stream.recall(memory);
    }

    /// The write index.
    fn note(&self) -> Option<Arc<str>> {
        self.stream.write_index()
    }

    fn add(&mut self, event: &Event<'_>, before: Before) -> Taken {
        self.before = self.before.max(before);
        let encode = &mut self.encode;
        self.builder.add(event.origin.id.as_str(), |out| encode(event, out));
        Taken::Kept
    }

    fn fill(&self) -> Fill {
        Fill { lines: self.builder.documents() as usize, full: self.builder.is_full() }
    }

    /// The compressed length, and a little for the batch itself.
    fn seal(&mut self, ticket: Ticket) -> usize {
        let sealed = self.builder.seal();
        let held = sealed.body().len() + BATCH_OVERHEAD;
        if let Some(batches) = &self.batches {
            self.waiting.fetch_add(1, Relaxed);
            // It fails only when the task is gone, and so is everything else.
            let _ = batches.send((ticket, Batch { sealed, before: std::mem::take(&mut self.before) }));
        }
        held
    }

    fn abandon(&mut self) {
        self.builder.abandon();
        self.before = Before::Never;
    }

    fn finish(&mut self) {
        self.batches = None;
        self.close.send_replace(true);
    }

    /// Nothing more while batches wait for their turn: the file keeps the lines as well as memory would, and for nothing.
    fn in_flight_limit(&self) -> usize {
        if self.waiting.load(Relaxed) >= MOST_WAITING { 0 } else { self.in_flight_limit }
    }
}

/// A lane that is gone (its deadline passed, or it was replaced) leaves no request behind.
impl<E> Drop for ElasticSink<E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a worker for each batch, as many at a time as the gate lets through.
async fn dispatch(ship: Arc<Ship>, mut queue: mpsc::UnboundedReceiver<(Ticket, Batch)>, waiting: Arc<AtomicUsize>) {
    let _guard = ExitOnPanic;
    let mut workers = JoinSet::new();
    // The permit is taken for a batch that is there: an idle lane holds none that a parked batch waits for.
    while let Some((ticket, batch)) = queue.recv().await {
        let permit = ship.gate.enter().await;
        if waiting.fetch_sub(1, Relaxed) == MOST_WAITING {
            ship.outcomes.room();
        }
        workers.spawn(deliver::deliver(Arc::clone(&ship), ticket, batch, permit));
        while workers.try_join_next().is_some() {}
    }
    while workers.join_next().await.is_some() {}
    ship.outcomes.finished();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_make_valid_stream_names() {
        let name = |namespace: &str| {
            let config = ecs::Config { namespace: namespace.to_owned(), ..ecs::Config::default() };
            stream(&config).map_err(|error| error.to_string())
        };
        assert_eq!(name("prod_1").unwrap(), "logs-calico.flow-prod_1");
        for bad in ["", "Prod", "a-b", "a/b", "a b", "a*", &"x".repeat(101)] {
            assert!(name(bad).unwrap_err().contains("namespace"), "{bad}");
        }
    }
}

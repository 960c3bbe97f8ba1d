//! The running agent: lanes on their threads, one current-thread runtime for all network work, a server of metrics and
//! health, and the watch over files that change. The only file, with `cli`, `config` and `demo`, that names every room.

pub mod backfill;
mod certificates;
mod configured;
mod numbers;
pub mod replay;
mod supervise;

use certificates::Certificates;
pub use configured::configured;
pub use supervise::{Loaded, Origin, Signal, supervise};

use std::fs::File;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;

use crate::config;
use crate::lane::{Ended, ExitOnPanic, Lane, LaneConfig, Outcomes, PANIC_EXIT_CODE, Sink, Wake, Zones};
use crate::net::certificate::Watch;
use crate::serve;
use crate::sink::{elastic, splunk, syslog};
use crate::source::checkpoint::Store;
use crate::source::spool;
use crate::source::tail::{self, FileSource, SourceConfig};
use crate::source::watch::{self, Watched};
use crate::telemetry::{Health, LaneSnapshot, LaneStats, Metrics, Sample};
use crate::zone::Table;

/// What runs. Built by `config` from the user's file and flags.
#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: String,
    pub node: String,
    pub sources: Vec<SourceConfig>,
    pub state_dir: PathBuf,
    /// Where `/metrics`, `/livez` and `/readyz` are served; `None` serves nothing.
    pub listen: Option<SocketAddr>,
    pub deadline: Duration,
    /// A batch is sent when its oldest line is this old.
    pub batch_age: Duration,
    /// Read to the end, deliver, end; give up on a peer that decides nothing for so long.
    pub once: Option<Duration>,
    pub elasticsearch: Option<elastic::Config>,
    /// Of each lane: bytes on the disk, and what becomes of more.
    pub spool: (u64, spool::WhenFull),
    /// Each with its lane's name.
    pub siem: Vec<(String, syslog::Config)>,
    /// Each with its lane's name.
    pub splunk: Vec<(String, splunk::Config)>,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot use the state directory {path}: {source}; it must exist or be creatable, and be writable by this user", path = path.display())]
    StateDirectory { path: PathBuf, source: std::io::Error },
    #[error("the state directory {path} is in use by another process; give each agent its own --state-dir", path = path.display())]
    StateInUse { path: PathBuf },
    #[error("cannot listen on {address} for metrics and health: {source}; change `listen`")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Zones(String),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("sinks.elasticsearch: {0}")]
    Elasticsearch(#[from] elastic::Error),
    #[error("sinks.siem: {0}")]
    Siem(#[from] syslog::SyslogError),
    #[error("sinks.siem: {0}")]
    Splunk(#[from] splunk::SplunkError),
}

/// How one lane ended.
#[derive(Debug)]
pub struct LaneEnd {
    pub ended: Ended,
    pub numbers: LaneSnapshot,
}

struct Running {
    name: String,
    wake: Sender<Wake>,
    thread: JoinHandle<Ended>,
    stats: Arc<LaneStats>,
}

/// Lanes and what they need. Dropping it without [`Agent::stop`] leaves what is in flight for the next start.
pub struct Agent {
    lanes: Vec<Running>,
    runtime: Runtime,
    health: Health,
    metrics: Metrics,
    certificates: Certificates,
    watched: Watched,
    _lock: File,
}

impl Agent {
    /// Locks the state directory and starts every lane. A lane whose checkpoint is of an unknown version does not run;
    /// `/readyz` says so, and the others run.
    pub fn start(config: Config, zones: &Zones, metrics: Metrics, health: Health) -> Result<Self, AgentError> {
        let lock = lock(&config.state_dir)?;
        let runtime = Runtime::start()?;
        let (certificates, watched) = (Certificates::default(), Watched::default());
        let mut agent = Self { lanes: Vec::new(), runtime, health, metrics, certificates, watched, _lock: lock };
        if let Some(elasticsearch) = config.elasticsearch.clone() {
            agent.start_elasticsearch(&config, zones, elasticsearch)?;
        }
        for (name, siem) in config.siem.clone() {
            agent.start_siem(&name, &config, zones, siem)?;
        }
        for (name, splunk) in config.splunk.clone() {
            agent.start_splunk(&name, &config, zones, splunk)?;
        }
        agent.start_watch(&config)?;
        if let Some(address) = config.listen {
            agent.listen(address)?;
        }
        Ok(agent)
    }

    /// Looks on at a lane's connections, for its metric and its warnings.
    fn watch_certificates(&mut self, lane: &str) -> Watch {
        let watch = Watch::new();
        let (seen, name) = (watch.clone(), lane.to_owned());
        self.metrics.add(move || numbers::certificates(&name, &seen));
        self.certificates.add(lane, watch.clone());
        watch
    }

    fn start_elasticsearch(
        &mut self,
        config: &Config,
        zones: &Zones,
        mut sink: elastic::Config,
    ) -> Result<(), AgentError> {
        let (wake, wakes) = channel();
        let name = sink.name.clone();
        sink.tls.watch = self.watch_certificates(&name);
        let sink = elastic::sink(sink, &self.runtime.handle, Outcomes::new(wake.clone()))?;
        let stats = sink.stats();
        self.metrics.add(move || numbers::elastic(&stats));
        self.start_lane(&name, config, zones, sink, wake, wakes)
    }

    fn start_siem(
        &mut self,
        name: &str,
        config: &Config,
        zones: &Zones,
        mut sink: syslog::Config,
    ) -> Result<(), AgentError> {
        let (wake, wakes) = channel();
        sink.tls.watch = self.watch_certificates(name);
        let sink = syslog::sink(sink, &self.runtime.handle, Outcomes::new(wake.clone()))?;
        let (stats, lane) = (sink.stats(), name.to_owned());
        self.metrics.add(move || numbers::syslog(&lane, &stats));
        self.start_lane(name, config, zones, sink, wake, wakes)
    }

    fn start_splunk(
        &mut self,
        name: &str,
        config: &Config,
        zones: &Zones,
        mut sink: splunk::Config,
    ) -> Result<(), AgentError> {
        let (wake, wakes) = channel();
        sink.tls.watch = self.watch_certificates(name);
        let config = Config { batch_age: sink.batch_age, ..config.clone() };
        let sink = splunk::sink(sink, &self.runtime.handle, Outcomes::new(wake.clone()))?;
        let (stats, lane) = (sink.stats(), name.to_owned());
        self.metrics.add(move || numbers::splunk(&lane, &stats));
        self.start_lane(name, &config, zones, sink, wake, wakes)
    }

    fn start_lane(
        &mut self,
        name: &str,
        config: &Config,
        zones: &Zones,
        sink: impl Sink + 'static,
        wake: Sender<Wake>,
        wakes: std::sync::mpsc::Receiver<Wake>,
    ) -> Result<(), AgentError> {
        let tail = tail::Config {
            sources: config.sources.clone(),
            cluster: config.cluster.clone(),
            node: config.node.clone(),
            spool: spool::Config {
                dir: config.state_dir.join("spool").join(name),
                max_size: config.spool.0,
                when_full: config.spool.1,
            },
            watched: self.watched.clone(),
        };
        let source = match FileSource::open(tail, Store::new(&config.state_dir, name)) {
            Ok(source) => source,
            Err(error) => {
                tracing::error!(lane = name, %error, "this lane does not run; the others do");
                self.health.bad(name, error.to_string());
                return Ok(());
            }
        };
        let (files, lane) = (source.stats(), name.to_owned());
        self.metrics.add(move || numbers::source(&lane, &files));
        let stats = Arc::new(LaneStats::new(name));
        let lane = Lane {
            source,
            sink,
            config: LaneConfig {
                cluster: config.cluster.clone(),
                node: config.node.clone(),
                batch_age: config.batch_age,
                once: config.once,
                deadline: config.deadline,
            },
            zones: zones.clone(),
            wakes,
            stats: stats.clone(),
            health: self.health.clone(),
        };
        let numbers = stats.clone();
        self.metrics.add(move || numbers.samples());
        let run = move || {
            let _guard = ExitOnPanic;
            lane.run()
        };
        let thread = std::thread::Builder::new().name(format!("lane-{name}")).spawn(run).map_err(AgentError::Thread)?;
        self.lanes.push(Running { name: name.to_owned(), wake, thread, stats });
        Ok(())
    }

    fn start_watch(&self, config: &Config) -> Result<(), AgentError> {
        let sources = config.sources.clone();
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.wake.clone()).collect();
        let watched = self.watched.clone();
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || watch::watch(|| FileSource::directories(&sources), &lanes, watched))
            .map_err(AgentError::Thread)?;
        Ok(())
    }

    fn listen(&self, address: SocketAddr) -> Result<(), AgentError> {
        let fail = |source| AgentError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let _entered = self.runtime.handle.enter();
        let listener = TcpListener::from_std(listener).map_err(fail)?;
        tracing::info!(address = %listener.local_addr().unwrap_or(address), "serving /metrics, /livez and /readyz");
        self.runtime.handle.spawn(serve::serve(listener, self.metrics.clone(), self.health.clone()));
        Ok(())
    }

    /// The numbers of every lane now.
    pub fn lanes(&self) -> Vec<LaneSnapshot> {
        self.lanes.iter().map(|lane| lane.stats.snapshot()).collect()
    }

    /// Warns of what will need a person; to be called every few seconds.
    pub fn look(&mut self) {
        self.certificates.look();
    }

    /// Every lane has ended by itself (`once`).
    pub fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.thread.is_finished())
    }

    /// Stops reading, drains each lane up to the deadline, writes the checkpoints.
    pub fn stop(self) -> Vec<LaneEnd> {
        for lane in &self.lanes {
            // A lane that has ended needs no stop.
            let _ = lane.wake.send(Wake::Stop);
        }
        self.join()
    }

    /// Waits for lanes that end by themselves (`once`), or were told to stop.
    pub fn join(self) -> Vec<LaneEnd> {
        let ends = self.lanes.into_iter().map(|lane| {
            let ended = lane.thread.join().unwrap_or_else(|_| std::process::exit(PANIC_EXIT_CODE));
            let numbers = lane.stats.snapshot();
            tracing::info!(lane = lane.name, clean = ended.clean, read_lines = numbers.read,
                delivered_lines = numbers.delivered, filtered_lines = numbers.filtered,
                rejected_lines = numbers.rejected, dropped_lines = numbers.dropped,
                in_flight_lines = numbers.in_flight, "lane ended");
            for path in &ended.unterminated {
                tracing::info!(lane = lane.name, %path, "the last line has no newline yet; it is left for the next start");
            }
            LaneEnd { ended, numbers }
        });
        let ends = ends.collect();
        self.runtime.stop();
        ends
    }
}

/// One process per state directory.
fn lock(directory: &Path) -> Result<File, AgentError> {
    let fail = |source| AgentError::StateDirectory { path: directory.to_path_buf(), source };
    std::fs::create_dir_all(directory).map_err(fail)?;
    let file = File::options().create(true).truncate(false).write(true).open(directory.join("lock")).map_err(fail)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::StateInUse { path: directory.to_path_buf() }),
        Err(errno) => Err(fail(errno.into())),
    }
}

/// The I/O runtime on its own thread.
struct Runtime {
    handle: tokio::runtime::Handle,
    end: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Runtime {
    fn start() -> Result<Self, AgentError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Thread)?;
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let run = move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("io".into()).spawn(run).map_err(AgentError::Thread)?;
        Ok(Self { handle, end, thread })
    }

    fn stop(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// The build and what it runs as, for `/metrics`.
pub fn build_info(node: &str) -> Sample {
    Sample::gauge("tidegate_build_info", "Always 1; the labels say what runs", 1.0)
        .label("version", env!("CARGO_PKG_VERSION"))
        .label("node", node)
}

/// Reads the zone table; with problems the old one stays.
pub fn load_zones(path: &Path) -> Result<Table, String> {
    let (table, warnings) = on_another_heap(|| config::load_zones(path)).map_err(|problems| told(&problems))?;
    for warning in warnings {
        tracing::warn!(zones = %path.display(), problem = %warning.problem, "zones are loaded with a warning");
    }
    Ok(table)
}

/// What `make` gives, without the memory that it took to make it. That is many times as much, and lies between the pieces of
/// what it gives, so that the allocator cannot give it back to the system. A thread has a heap of its own: what is kept is a
/// copy on the caller's, and when the thread has freed the original its heap is empty.
fn on_another_heap<T: Clone + Send + Sync>(make: impl Fn() -> T + Sync) -> T {
    let (give, given) = mpsc::sync_channel(1);
    let (copied, is_copied) = mpsc::sync_channel::<()>(0);
    let make = &make;
    let there = move || {
        let lowest = small_pieces();
        // What a thread needs for its first waiting it keeps: low, too.
        let _ = is_copied.recv_timeout(Duration::ZERO);
        let made = Arc::new(make());
        // Nobody takes it when the caller has ended by a panic.
        let _ = give.send(Arc::clone(&made));
        // What the caller frees would stay in its own thread's store of free pieces.
        let _ = is_copied.recv();
        drop(made);
        keep_at_hand(lowest);
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("zones".to_owned());
        // Where the system has no thread for it, memory is the lesser worry.
        let Ok(thread) = thread.spawn_scoped(scope, there) else { return make() };
        let copy = given.recv().map(|made| T::clone(&made));
        drop(copied);
        let ended = thread.join();
        copy.unwrap_or_else(|_| std::panic::resume_unwind(ended.expect_err("it gives unless it panics")))
    })
}

/// Memory of each small size, as many pieces as glibc's allocator keeps at hand for a thread that frees them (seven each, up
/// to 1,032 octets, in the version that Debian 12 has).
///
/// It takes those for used, and gives back to the system only what lies above the highest used piece of a heap. When a thread
/// has freed all that it had, some that it keeps at hand may lie anywhere; let them be the lowest ones.
fn small_pieces() -> Vec<Vec<u8>> {
    (24..=1032).step_by(16).flat_map(|size| (0..7).map(move |_| black_box(Vec::with_capacity(size)))).collect()
}

fn keep_at_hand(lowest: Vec<Vec<u8>>) {
    let others = small_pieces();
    drop(lowest);
    drop(others);
    // A large piece that is freed makes the allocator look at the whole heap.
    drop(black_box(Vec::<u8>::with_capacity(100 << 10)));
}

fn told(problems: &[config::Located]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

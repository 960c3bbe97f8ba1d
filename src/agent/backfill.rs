//! Old files through the lanes: the same decoding, sinks and counts as the agent's, over a list of files that ends.
//!
//! Every line has the id that the live tail gives it, so that what an agent has sent meets itself. Nothing of the agent's
//! state is touched: progress and dead letters are a backfill's own, and both may be on another machine than the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{AgentError, LaneEnd, Runtime};
use crate::lane::{
    Before, ExitOnPanic, Fill, Lane, LaneConfig, Memory, Outcomes, PANIC_EXIT_CODE, Settled, Sink, Source as _, Taken,
    Ticket, Wake, Zones,
};
use crate::model::{Body, Event};
use crate::query::Query;
use crate::sink::{elastic, siem, splunk, syslog};
use crate::source::list::{self, FileList, Item, Progress, ProgressError, Reading};
use crate::telemetry::{Health, LaneSnapshot, LaneStats};

/// Lines of a batch that goes nowhere.
const DRY_BATCH: usize = 2_000;

/// Event times to take, Unix seconds: `from` and later, before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

impl Window {
    pub fn holds(self, time: i64) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: String,
    pub node: String,
    pub items: Vec<Item>,
    pub window: Window,
    /// Only flows for which it holds; every sink's own filter comes behind.
    pub filter: Option<Arc<Query>>,
    /// Lines a second and lane, at most.
    pub rate: Option<u32>,
    pub max_line: usize,
    pub batch_age: Duration,
    /// How long a peer may decide nothing.
    pub timeout: Duration,
    pub deadline: Duration,
    /// Send nothing, keep nothing; only count.
    pub dry_run: bool,
    /// With `dry_run`: read everything, whatever an earlier run has sent.
    pub fresh: bool,
    pub elasticsearch: Option<elastic::Config>,
    /// Each with its lane's name.
    pub siem: Vec<(String, syslog::Config)>,
    /// Each with its lane's name.
    pub splunk: Vec<(String, splunk::Config)>,
    /// Directory of the progress, and the beginning of its files' names.
    pub progress: (PathBuf, String),
    /// What the progress is for.
    pub purpose: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("cannot keep the progress in {path}: {source}; give --resume FILE or --state-dir DIR where this user may write", path = path.display())]
    Progress { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Kept(#[from] ProgressError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Event times met within the window, Unix seconds.
#[derive(Debug)]
pub struct Times {
    first: AtomicI64,
    last: AtomicI64,
    pub timeless: AtomicU64,
}

impl Times {
    fn new() -> Self {
        Self { first: AtomicI64::new(i64::MAX), last: AtomicI64::new(i64::MIN), timeless: AtomicU64::new(0) }
    }

    fn see(&self, time: i64) {
        self.first.fetch_min(time, Relaxed);
        self.last.fetch_max(time, Relaxed);
    }

    /// The first and the last, if there was any.
    pub fn range(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.first.load(Relaxed), self.last.load(Relaxed));
        (first <= last).then_some((first, last))
    }
}

/// One lane at work.
struct Running {
    name: String,
    wake: Sender<Wake>,
    thread: JoinHandle<crate::lane::Ended>,
    stats: Arc<LaneStats>,
    told: Told,
    reading: Arc<Reading>,
    times: Arc<Times>,
}

/// What a lane's sink tells besides the lane's own numbers.
enum Told {
    Nothing,
    Elastic(Arc<elastic::Stats>),
    Measure(siem::Measure),
}

/// What can be said of a lane at any moment.
pub struct Look {
    pub name: String,
    pub numbers: LaneSnapshot,
    /// Documents that were there already.
    pub duplicates: u64,
    /// Elasticsearch lanes only: why nothing is delivered, if so.
    pub held: Option<&'static str>,
    /// SIEM lanes of a dry run only: what would be sent.
    pub measure: Option<siem::Measure>,
    pub reading: Arc<Reading>,
    pub times: Arc<Times>,
}

pub struct Backfill {
    lanes: Vec<Running>,
    runtime: Runtime,
}

impl Backfill {
    pub fn start(config: Config, zones: &Zones) -> Result<Self, BackfillError> {
        let runtime = Runtime::start()?;
        let mut backfill = Self { lanes: Vec::new(), runtime };
        if let Some(elasticsearch) = config.elasticsearch.clone() {
            backfill.start_elasticsearch(&config, zones, elasticsearch)?;
        }
        for (name, siem) in config.siem.clone() {
            backfill.start_siem(name, &config, zones, siem)?;
        }
        for (name, splunk) in config.splunk.clone() {
            backfill.start_splunk(name, &config, zones, splunk)?;
        }
        Ok(backfill)
    }

    fn start_elasticsearch(
        &mut self,
        config: &Config,
        zones: &Zones,
        sink: elastic::Config,
    ) -> Result<(), BackfillError> {
        let (wake, wakes) = channel();
        let (name, outcomes) = (sink.name.clone(), Outcomes::new(wake.clone()));
        let source = source(config, &name, &sink.hosts.join(" "))?;
        if config.dry_run {
            let sink = DryRun { outcomes, lines: 0 };
            return self.start_lane(name, config, zones, (source, sink), Told::Nothing, (wake, wakes));
        }
        let sink = elastic::sink(sink, &self.runtime.handle, outcomes).map_err(AgentError::from)?;
        let stats = sink.stats();
        self.start_lane(name, config, zones, (source, sink), Told::Elastic(stats), (wake, wakes))
    }

    fn start_siem(
        &mut self,
        name: String,
        config: &Config,
        zones: &Zones,
        sink: syslog::Config,
    ) -> Result<(), BackfillError> {
        let (wake, wakes) = channel();
        let outcomes = Outcomes::new(wake.clone());
        let source = source(config, &name, &sink.receivers())?;
        if config.dry_run {
            let sink = syslog::measured(&sink, outcomes);
            let told = Told::Measure(sink.measure());
            return self.start_lane(name, config, zones, (source, sink), told, (wake, wakes));
        }
        let sink = syslog::sink(sink, &self.runtime.handle, outcomes).map_err(AgentError::from)?;
        self.start_lane(name, config, zones, (source, sink), Told::Nothing, (wake, wakes))
    }

    fn start_splunk(
        &mut self,
        name: String,
        config: &Config,
        zones: &Zones,
        sink: splunk::Config,
    ) -> Result<(), BackfillError> {
        let (wake, wakes) = channel();
        let outcomes = Outcomes::new(wake.clone());
        let source = source(config, &name, &sink.receivers())?;
        if config.dry_run {
            let sink = splunk::measured(&sink, outcomes);
            let told = Told::Measure(sink.measure());
            return self.start_lane(name, config, zones, (source, sink), told, (wake, wakes));
        }
        let sink = splunk::sink(sink, &self.runtime.handle, outcomes).map_err(AgentError::from)?;
        self.start_lane(name, config, zones, (source, sink), Told::Nothing, (wake, wakes))
    }

    fn start_lane(
        &mut self,
        name: String,
        config: &Config,
        zones: &Zones,
        (source, sink): (FileList, impl Sink + 'static),
        told: Told,
        (wake, wakes): (Sender<Wake>, std::sync::mpsc::Receiver<Wake>),
    ) -> Result<(), BackfillError> {
        let (reading, times) = (source.reading(), Arc::new(Times::new()));
        let sink =
            Windowed { inner: sink, window: config.window, filter: config.filter.clone(), times: Arc::clone(&times) };
        let stats = Arc::new(LaneStats::new(&name));
        let lane = Lane {
            source,
            sink,
            config: LaneConfig {
                cluster: config.cluster.clone(),
                node: config.node.clone(),
                batch_age: config.batch_age,
                once: Some(config.timeout),
                deadline: config.deadline,
            },
            zones: zones.clone(),
            wakes,
            stats: Arc::clone(&stats),
            health: Health::default(),
        };
        let run = move || {
            let _guard = ExitOnPanic;
            lane.run()
        };
        let thread = std::thread::Builder::new().name(format!("lane-{name}")).spawn(run).map_err(AgentError::Thread)?;
        self.lanes.push(Running { name, wake, thread, stats, told, reading, times });
        Ok(())
    }

    pub fn look(&self) -> Vec<Look> {
        self.lanes.iter().map(Running::look).collect()
    }

    pub fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.thread.is_finished())
    }

    /// Stops reading. The lanes deliver what they have, up to the deadline, and note how far they came.
    pub fn stop(&self) {
        for lane in &self.lanes {
            // A lane that has ended needs no stop.
            let _ = lane.wake.send(Wake::Stop);
        }
    }

    /// Waits for the end of every lane.
    pub fn join(self) -> Vec<(LaneEnd, Look)> {
        let ends = self.lanes.into_iter().map(|lane| {
            let Running { name, wake: _, thread, stats, told, reading, times } = lane;
            let ended = thread.join().unwrap_or_else(|_| std::process::exit(PANIC_EXIT_CODE));
            let look = look(name, &stats, &told, reading, times);
            (LaneEnd { ended, numbers: look.numbers.clone() }, look)
        });
        let ends = ends.collect();
        self.runtime.stop();
        ends
    }
}

impl Running {
    fn look(&self) -> Look {
        let (reading, times) = (Arc::clone(&self.reading), Arc::clone(&self.times));
        look(self.name.clone(), &self.stats, &self.told, reading, times)
    }
}

fn look(name: String, stats: &LaneStats, told: &Told, reading: Arc<Reading>, times: Arc<Times>) -> Look {
    let (elastic, measure) = match told {
        Told::Nothing => (None, None),
        Told::Elastic(stats) => (Some(stats), None),
        Told::Measure(measure) => (None, Some(measure.clone())),
    };
    let duplicates = elastic.map_or(0, |stats| stats.duplicate_documents.get());
    let held = elastic.and_then(|stats| stats.held()).map(elastic::outcome::Hold::as_str);
    Look { name, numbers: stats.snapshot(), duplicates, held, measure, reading, times }
}

/// `target` is the peer: what it has got says nothing of another one.
fn source(config: &Config, lane: &str, target: &str) -> Result<FileList, BackfillError> {
    let list = list::Config {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        max_line: config.max_line,
        rate: config.rate,
        purpose: format!("{}, to {target}", config.purpose),
    };
    if config.fresh {
        return Ok(FileList::open(list, config.items.clone(), None)?);
    }
    let progress = Progress::new(progress_file(config, lane));
    if config.dry_run {
        // It says what a run would do, and so goes on from where that would; it keeps nothing.
        let mut source = FileList::open(list, config.items.clone(), Some(progress))?;
        source.keep_nothing();
        return Ok(source);
    }
    let path = progress.path().to_path_buf();
    let fail = |source| BackfillError::Progress { path, source };
    if let Err(error) = std::fs::create_dir_all(&config.progress.0) {
        return Err(fail(error));
    }
    let mut source = FileList::open(list, config.items.clone(), Some(progress))?;
    // Better now than after an hour.
    let note = match source.memory() {
        Memory::Note(note) => note,
        Memory::Nothing => None,
    };
    match source.persist(note.as_deref()) {
        Ok(()) => Ok(source),
        Err(error) => Err(fail(std::io::Error::other(error.to_string()))),
    }
}

/// The files of a lane's progress.
pub fn progress_file(config: &Config, lane: &str) -> PathBuf {
    let (dir, stem) = &config.progress;
    dir.join(format!("{stem}.{lane}.json"))
}

/// A sink that gets only the events of a time for which a filter holds. Lines without a time are not known to be outside.
struct Windowed<K> {
    inner: K,
    window: Window,
    filter: Option<Arc<Query>>,
    times: Arc<Times>,
}

impl<K: Sink> Sink for Windowed<K> {
    fn recall(&mut self, memory: Memory) {
        self.inner.recall(memory);
    }

    fn note(&self) -> Option<Arc<str>> {
        self.inner.note()
    }

    fn add(&mut self, event: &Event<'_>, before: Before) -> Taken {
        let time = match event.body {
            Body::Flow(flow) => flow.end_time,
            Body::Raw(_) => None,
        };
        match time {
            Some(time) if !self.window.holds(time) => return Taken::Filtered,
            Some(time) => self.times.see(time),
            None => {
                self.times.timeless.fetch_add(1, Relaxed);
            }
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(event)) {
            return Taken::Filtered;
        }
        self.inner.add(event, before)
    }

    fn fill(&self) -> Fill {
        self.inner.fill()
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        self.inner.seal(ticket)
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn finish(&mut self) {
        self.inner.finish();
    }

    fn tend(&mut self, numbers: &LaneStats) {
        self.inner.tend(numbers);
    }

    fn in_flight_limit(&self) -> usize {
        self.inner.in_flight_limit()
    }
}

/// Counts what Elasticsearch would be sent: everything.
struct DryRun {
    outcomes: Outcomes,
    lines: usize,
}

impl Sink for DryRun {
    fn recall(&mut self, _memory: Memory) {}

    fn note(&self) -> Option<Arc<str>> {
        None
    }

    fn add(&mut self, _event: &Event<'_>, _before: Before) -> Taken {
        self.lines += 1;
        Taken::Kept
    }

    fn fill(&self) -> Fill {
        Fill { lines: self.lines, full: self.lines >= DRY_BATCH }
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        let delivered = std::mem::take(&mut self.lines) as u64;
        self.outcomes.settled(Settled { ticket, delivered, rejected: 0, dropped: 0 });
        0
    }

    fn abandon(&mut self) {
        self.lines = 0;
    }

    fn finish(&mut self) {
        self.outcomes.finished();
    }

    fn in_flight_limit(&self) -> usize {
        1 << 20
    }
}

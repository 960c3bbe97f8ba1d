//! The demo: traffic of a small shop, the real agent over it, receivers that check what they get, and a picture of it all.
//!
//! `tidegate demo` needs no server and leaves nothing behind. It writes flow logs into a temporary folder, starts the agent
//! with a configuration file as a user would write one, and answers its lanes on the loopback address. `--once` ends by
//! itself; otherwise Ctrl-C ends it. Both end in a summary whose numbers must add up, or the exit code says that
//! a check failed.
//!
//! It shows and checks; it does not measure. The limits of speed and memory are the benches' business.

mod agent;
#[cfg(test)]
mod fake;
mod feed;
mod folder;
mod peers;
pub mod picture;
pub mod receivers;
#[cfg(test)]
mod rooms;
mod screen;
mod summary;
pub mod traffic;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use agent::{RunningAgent, StartAgent};

use feed::Feed;
use folder::Folder;
use peers::Peers;
use picture::Snapshot;
use receivers::{BulkReceiver, SyslogReceiver};
use screen::Screen;
use summary::Summary;

use crate::telemetry::LaneSnapshot;

/// How often the agent is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Rates are of the last while.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// What the agent has to drain its lanes.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const NODE: &str = "demo-node";

/// What the user may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after `lines`, with a summary. Otherwise it runs until Ctrl-C.
    pub once: bool,
    /// Lines to write with `once`.
    pub lines: u64,
    /// Lines a second.
    pub rate: u32,
    pub seed: u64,
    /// A real Elasticsearch instead of the embedded one.
    pub elasticsearch: Option<String>,
    /// A real SIEM: `tls://HOST:PORT`, …
    pub siem: Option<String>,
    /// For the real peers: whom to trust, and the Elasticsearch API key.
    pub ca_file: Option<PathBuf>,
    pub api_key_file: Option<PathBuf>,
    /// Time between two rotations of the log.
    pub rotate_every: Duration,
    /// Rotated files that stay; more, while they are unread.
    pub keep: usize,
    /// The log is complete, but no lane moves: given up after this.
    pub stall: Duration,
    /// When a check failed, leave logs, configuration and state for a look.
    pub keep_failed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            once: false,
            lines: 20_000,
            rate: 2_500,
            seed: 7,
            elasticsearch: None,
            siem: None,
            ca_file: None,
            api_key_file: None,
            rotate_every: Duration::from_secs(3),
            keep: 3,
            stall: Duration::from_secs(30),
            keep_failed: true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot use the demo's folder {path}", path = path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot start the demo's receivers")]
    Receivers(#[source] io::Error),
    #[error("cannot write the demo's flow log")]
    Feed(#[source] io::Error),
    #[error("cannot start the agent: {0}")]
    Agent(String),
    #[error("the agent could not deliver everything ({0}); its own messages say why")]
    Unfinished(String),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Runs the demo to its end. True when everything that it checked is right.
pub fn run(options: &Options) -> Result<bool, DemoError> {
    let mut screen = Screen::stdout();
    let interrupted = Arc::new(AtomicBool::new(false));
    let summary = show(options, agent::start, &mut screen, &interrupted, Some(Arc::clone(&interrupted)))?;
    Ok(summary.passed())
}

/// The demo with any agent, on any screen. `interrupted` ends it; `signals` is what Ctrl-C and SIGTERM set.
fn show(
    options: &Options,
    start: StartAgent,
    screen: &mut Screen,
    interrupted: &AtomicBool,
    signals: Option<Arc<AtomicBool>>,
) -> Result<Summary, DemoError> {
    let mut folder = Folder::create()?;
    let peers = Peers::start(options, signals).map_err(DemoError::Receivers)?;
    let configuration = folder.fill(options, &peers)?;
    screen.print(&preface(options, &folder.path)).map_err(DemoError::Output)?;
    let mut agent = start(&configuration).map_err(DemoError::Agent)?;
    let feed = Feed {
        seed: options.seed,
        node: NODE.to_owned(),
        rate: options.rate,
        lines: options.once.then_some(options.lines),
        rotate_every: options.rotate_every,
        keep: options.keep,
    };
    let feed = feed.start(&folder.logs()).map_err(DemoError::Feed)?;
    watch(options, &feed, agent.as_ref(), &peers, screen, interrupted)?;
    feed.stop();
    let written = feed.join().map_err(DemoError::Feed)?;
    agent.stop(STOP_DEADLINE).map_err(DemoError::Unfinished)?;
    let outcome = peers.outcome(written, agent.lanes());
    let summary = Summary::new(&outcome);
    if let Some(last) = outcome.bulk.as_ref().and_then(|(seen, _)| seen.last.as_ref()).filter(|_| !screen.is_terminal())
    {
        screen.print(&["the last document:".to_owned()]).map_err(DemoError::Output)?;
        screen.print(&picture::document(last)).map_err(DemoError::Output)?;
    }
    screen.print(&summary.lines(screen.colour())).map_err(DemoError::Output)?;
    if !summary.passed() && options.keep_failed {
        folder.keep = true;
        screen
            .print(&[format!("Logs, configuration and state are kept in {}", folder.path.display())])
            .map_err(DemoError::Output)?;
    }
    Ok(summary)
}

fn preface(options: &Options, folder: &Path) -> Vec<String> {
    let to = |real: &Option<String>, own: &str| real.as_deref().map_or_else(|| own.to_owned(), picture::safe);
    let end =
        if options.once { format!("{} lines", picture::grouped(options.lines)) } else { "until Ctrl-C".to_owned() };
    vec![
        format!("Flow logs of a small shop in {}, {end}.", folder.display()),
        format!(
            "Every flow to {}; what crosses a zone to {}.",
            to(&options.elasticsearch, "an embedded Elasticsearch"),
            to(&options.siem, "an embedded SIEM")
        ),
        String::new(),
    ]
}

/// Draws until the log is complete and read, or nothing moves any more. The first interrupt completes the log.
fn watch(
    options: &Options,
    feed: &feed::Running,
    agent: &dyn RunningAgent,
    peers: &Peers,
    screen: &mut Screen,
    interrupted: &AtomicBool,
) -> Result<(), DemoError> {
    let begun = Instant::now();
    let mut shown: Option<Instant> = None;
    let mut rates = Rates::default();
    let mut moved = (Instant::now(), 0);
    loop {
        if interrupted.load(Ordering::Relaxed) {
            feed.stop();
        }
        // In this order: when the feed has ended, all that it wrote is counted.
        let complete = feed.is_finished();
        let written = feed.written();
        let lanes = agent.lanes();
        let unread = lanes.iter().map(|lane| lane.lag_bytes).max().unwrap_or(0);
        let unsettled = lanes.iter().map(|lane| lane.in_flight).max().unwrap_or(0);
        feed.behind(unread, unsettled);
        rates.add(written.lines, &lanes);
        let done = complete && lanes.iter().all(|lane| lane.read >= written.lines);
        if done || shown.is_none_or(|shown| shown.elapsed() >= screen.interval()) {
            screen.show(&rates.snapshot(begun.elapsed(), written, &lanes, peers)).map_err(DemoError::Output)?;
            shown = Some(Instant::now());
        }
        let progress = lanes.iter().map(|lane| lane.read + lane.decided()).sum::<u64>();
        if !complete || progress != moved.1 {
            moved = (Instant::now(), progress);
        }
        if done || moved.0.elapsed() > options.stall {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The last moments, for rates.
#[derive(Debug, Default)]
struct Rates(VecDeque<(Instant, Vec<u64>)>);

impl Rates {
    fn add(&mut self, written: u64, lanes: &[LaneSnapshot]) {
        let now = Instant::now();
        let counts = std::iter::once(written).chain(lanes.iter().map(LaneSnapshot::decided)).collect();
        self.0.push_back((now, counts));
        while self.0.len() > 2 && self.0.front().is_some_and(|(at, _)| now - *at > RATE_WINDOW) {
            self.0.pop_front();
        }
    }

    /// A second's worth of the count at `index`.
    fn of(&self, index: usize) -> u64 {
        let (Some((from, before)), Some((to, now))) = (self.0.front(), self.0.back()) else { return 0 };
        let millis = (*to - *from).as_millis().max(1);
        let counted = now.get(index).zip(before.get(index)).map_or(0, |(now, before)| now.saturating_sub(*before));
        u64::try_from(u128::from(counted) * 1000 / millis).unwrap_or(u64::MAX)
    }

    fn snapshot(
        &self,
        elapsed: Duration,
        written: traffic::Written,
        lanes: &[LaneSnapshot],
        peers: &Peers,
    ) -> Snapshot {
        let lanes = lanes.iter().enumerate().map(|(index, lane)| (lane.clone(), self.of(index + 1))).collect();
        Snapshot {
            elapsed,
            written,
            rate: self.of(0),
            lanes,
            bulk: peers.bulk.as_ref().map(BulkReceiver::seen),
            syslog: peers.syslog.as_ref().map(SyslogReceiver::seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fake::{Defect, FakeAgent};

    fn options() -> Options {
        // Nothing is deleted: the fake agent reads the log from its beginning again and again.
        Options {
            once: true,
            lines: 400,
            rate: 4_000,
            rotate_every: Duration::from_millis(30),
            keep: 1000,
            keep_failed: false,
            ..Options::default()
        }
    }

    fn start(options: &Options, start: StartAgent) -> Summary {
        let interrupted = AtomicBool::new(false);
        let mut screen = Screen::pipe(io::sink());
        show(options, start, &mut screen, &interrupted, None).expect("the demo runs")
    }

    /// Runs the demo with a defect and expects the checks that fail, by their beginnings.
    fn check(agent: StartAgent, failing: &[&str]) {
        let summary = start(&options(), agent);
        let failed: Vec<_> =
            summary.checks.iter().filter(|check| !check.passed).map(|check| check.text.clone()).collect();
        assert_eq!(failed.len(), failing.len(), "{failed:#?} {:#?}", summary.violations);
        for (found, expected) in failed.iter().zip(failing) {
            assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_good_agent_passes() {
        check(|path| Ok(Box::new(FakeAgent::new(path, Defect::None))), &[]);
    }

    #[test]
    fn lost_documents_and_records_are_found() {
        check(
            |path| Ok(Box::new(FakeAgent::new(path, Defect::LosesDocument))),
            &[
                "one document a flow: 39",
                "delivered to Elasticsearch is what it has",
                "records without their document: 1",
            ],
        );
        let lost = ["one record a cross-zone connection", "delivered to the SIEM", "records with something wrong: 1"];
        check(|path| Ok(Box::new(FakeAgent::new(path, Defect::LosesRecord))), &lost);
        check(|path| Ok(Box::new(FakeAgent::new(path, Defect::LosesCount))), &["siem-demo decided every line"]);
    }

    #[test]
    fn wrong_documents_and_records_are_found() {
        check(|path| Ok(Box::new(FakeAgent::new(path, Defect::SwapsZones))), &["documents with something wrong"]);
        check(|path| Ok(Box::new(FakeAgent::new(path, Defect::OwnIds))), &["records without their document"]);
    }

    #[test]
    fn an_agent_that_does_not_move_is_given_up() {
        let options = Options { stall: Duration::from_millis(50), ..options() };
        let summary = start(&options, |path| Ok(Box::new(FakeAgent::new(path, Defect::NeverReads))));
        assert!(
            summary.checks[0].text.starts_with("elasticsearch read every line: 0 instead of 400"),
            "{:?}",
            summary.checks
        );
    }

    /// A pipe that interrupts as soon as lines were written.
    struct Interrupter(Arc<AtomicBool>);

    impl io::Write for Interrupter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes);
            if text.contains("written=") && !text.contains("written=0 ") {
                self.0.store(true, Ordering::Relaxed);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_interrupt_ends_it_with_its_summary() {
        let options = Options { once: false, rate: 300, ..options() };
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut screen = Screen::pipe(Interrupter(Arc::clone(&interrupted)));
        let agent: StartAgent = |path| Ok(Box::new(FakeAgent::new(path, Defect::None)));
        let summary = show(&options, agent, &mut screen, &interrupted, None).expect("the demo runs");
        assert!(summary.passed(), "{:#?}", summary.checks);
        assert!(!summary.numbers[0].contains(" 0 lines"), "{:?}", summary.numbers);
    }
}

//! Sending dead letters again.
//!
//! The letters go through their lane's sink as they stand, under their ids: in Elasticsearch what was delivered otherwise
//! meets itself. One file of letters at a time: what is delivered leaves the file, what is refused again stays in
//! its place with the new reason and time. The sink puts refused ones into a folder of the replay's own first, from where
//! they come into the file with its next replacement. So at any moment a letter stands in its file, old or new, or is
//! delivered; a replay that was killed sends at most the letters of the last [`COMMIT_INTERVAL`] once more.
//!
//! Only letters that stood there at the start are sent: nothing that is refused again is tried twice by one replay. An
//! agent may run and write beside it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{AgentError, Runtime};
use crate::lane::{Before, ExitOnPanic, Memory, Outcomes, Sink, Ticket, Wake};
use crate::model::{Body, Event, LineId, Origin, RawLine};
use crate::sink::dead_letter::{self, DeadLetterError, Fate, Found, Line, Lock, Rewriting, Segment, WhenFull};
use crate::sink::{elastic, splunk};

/// Files are replaced this often while their letters are sent.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait without a look at what the caller wants.
const LOOK: Duration = Duration::from_millis(100);

/// Which letters. Each list that is not empty must hold the letter's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pick {
    /// The peer's `error.type`.
    pub kinds: Vec<String>,
    pub statuses: Vec<u16>,
    pub ids: Vec<String>,
}

impl Pick {
    pub fn takes(&self, letter: &Line<'_>) -> bool {
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        among(&self.kinds, &letter.kind)
            && among(&self.ids, &letter.id)
            && (self.statuses.is_empty() || self.statuses.contains(&letter.status))
    }
}

/// Whom letters go to, with the dead letter that they are taken from.
#[derive(Debug, Clone)]
pub enum Peer {
    Elastic(Box<elastic::Config>),
    Splunk(Box<splunk::Config>),
}

impl Peer {
    pub fn dead_letter(&self) -> &dead_letter::Config {
        match self {
            Self::Elastic(sink) => &sink.dead_letter,
            Self::Splunk(sink) => &sink.dead_letter,
        }
    }

    pub fn dead_letter_mut(&mut self) -> &mut dead_letter::Config {
        match self {
            Self::Elastic(sink) => &mut sink.dead_letter,
            Self::Splunk(sink) => &mut sink.dead_letter,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub peer: Peer,
    pub pick: Pick,
    /// How long the peer may decide nothing.
    pub timeout: Duration,
    /// How long a stop may wait for what is under way.
    pub deadline: Duration,
}

/// What became of letters. `picked = delivered + refused + unsendable + left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub picked: u64,
    pub picked_bytes: u64,
    pub delivered: u64,
    /// Of these, there already; `None`: the peer cannot say.
    pub duplicates: Option<u64>,
    /// Refused again: they stay, with the new reason.
    pub refused: u64,
    /// No JSON object, or no id of ours: they stay as they are.
    pub unsendable: u64,
    /// Of files that somebody took away meanwhile, or not reached.
    pub left: u64,
    /// Of `picked_bytes`, handed to the sink.
    pub sent_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    /// The caller stopped it.
    Stopped,
    /// The peer decided nothing for too long.
    Away,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("another replay of {dir} is at work; wait for it, or stop it", dir = dir.display())]
    Busy { dir: PathBuf },
    #[error("cannot use {path}: {source}", path = path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot read the dead letter: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
    #[error("sinks.elasticsearch: {0}")]
    Elastic(#[from] elastic::Error),
    #[error("sinks.siem: {0}")]
    Splunk(#[from] splunk::SplunkError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Counts what [`replay`] would send.
pub fn count(dir: &Path, pick: &Pick) -> Result<Counts, ReplayError> {
    let mut counts = Counts::default();
    for segment in list(dir)? {
        let Some(file) = Rewriting::open(dir, &segment)? else { continue };
        let counted = file.letters()?.each(|_, line, found| {
            if let Found::Letter(letter) = found
                && pick.takes(&letter)
            {
                counts.picked += 1;
                counts.picked_bytes += line.len() as u64;
                counts.unsendable += u64::from(sendable(&letter).is_none());
            }
            Ok::<(), std::io::Error>(())
        });
        counted.map_err(|source| ReplayError::Folder { path: segment.path, source })?;
    }
    counts.left = counts.picked - counts.unsendable;
    Ok(counts)
}

fn list(dir: &Path) -> Result<Vec<Segment>, ReplayError> {
    dead_letter::segments(dir).map_err(|source| ReplayError::Folder { path: dir.to_path_buf(), source })
}

fn sendable<'a>(letter: &'a Line<'_>) -> Option<(LineId, &'a str)> {
    Some((LineId::parse(&letter.id)?, letter.sendable()?))
}

/// Sends the letters. `look` is shown the numbers several times a second and says whether to stop.
pub fn replay(config: &Config, mut look: impl FnMut(&Counts) -> bool) -> Result<(End, Counts), ReplayError> {
    let dir = config.peer.dead_letter().dir.clone();
    let segments = list(&dir)?;
    if segments.is_empty() {
        return Ok((End::Done, Counts::default()));
    }
    let work = Work::open(&dir)?;
    let mut counts = count(&dir, &config.pick)?;
    // They are counted again as they are met.
    (counts.left, counts.unsendable) = (counts.picked, 0);
    let runtime = Runtime::start()?;
    let result = Replay::new(config, &work, &runtime, counts).and_then(|mut replay| {
        let end = replay.run(&segments, &mut look);
        replay.count();
        look(&replay.counts);
        // A stop that came when everything was under way has stopped nothing.
        end.map(|end| (if replay.counts.left == 0 { End::Done } else { end }, replay.counts))
    });
    runtime.stop();
    work.clear();
    result
}

/// The replay's own folder beside the letters, and the sign that a replay is at work.
struct Work {
    refused: PathBuf,
    _lock: Lock,
}

impl Work {
    fn open(dir: &Path) -> Result<Self, ReplayError> {
        let path = dead_letter::beside(dir, "replay");
        let fail = |source| ReplayError::Folder { path: path.clone(), source };
        // It holds what people logged, as the letters do.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(fail)?;
        let lock = Lock::try_take(&path.join("lock")).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => ReplayError::Busy { dir: dir.to_path_buf() },
            _ => fail(source),
        })?;
        let work = Self { refused: path.join("refused"), _lock: lock };
        // Of a replay that was killed: its letters stand in their files as well.
        work.clear();
        dead_letter::sweep(dir);
        Ok(work)
    }

    fn clear(&self) {
        // What stays is overwritten by nobody and read by nobody.
        let _ = std::fs::remove_dir_all(&self.refused);
    }

    /// The letters that were refused again, as lines by their id.
    fn refused(&self) -> Result<HashMap<String, Vec<u8>>, ReplayError> {
        let mut refused = HashMap::new();
        for segment in list(&self.refused)? {
            let fail = |source| ReplayError::Folder { path: segment.path.clone(), source };
            let file = std::fs::File::open(&segment.path).map_err(fail)?;
            let read = dead_letter::lines(&file, u64::MAX, |_, line, found| {
                if let Found::Letter(letter) = found {
                    refused.insert(letter.id.into_owned(), line.to_vec());
                }
                Ok::<(), std::io::Error>(())
            });
            read.map_err(fail)?;
        }
        Ok(refused)
    }
}

/// A batch under way.
struct Sent {
    ticket: Ticket,
    /// Offset in the file after its last letter.
    end: u64,
    bytes: usize,
    settled: bool,
}

/// The letter's own document.
fn as_it_stands(event: &Event<'_>, out: &mut Vec<u8>) {
    if let Body::Raw(raw) = event.body {
        out.extend_from_slice(raw.original.as_bytes());
    }
}

/// A sink, and where its peer says what it had.
type Opened = (Box<dyn Sink>, Option<Arc<elastic::Stats>>);

fn open(peer: Peer, runtime: &Runtime, outcomes: Outcomes) -> Result<Opened, ReplayError> {
    match peer {
        Peer::Elastic(config) => {
            let sink = elastic::sink_of(*config, &runtime.handle, outcomes, as_it_stands)?;
            let stats = sink.stats();
            Ok((Box::new(sink), Some(stats)))
        }
        Peer::Splunk(config) => Ok((Box::new(splunk::verbatim(*config, &runtime.handle, outcomes)?), None)),
    }
}

struct Replay<'a> {
    config: &'a Config,
    work: &'a Work,
    sink: Box<dyn Sink>,
    /// Where the peer says what it had.
    stats: Option<Arc<elastic::Stats>>,
    wakes: Receiver<Wake>,
    sent: VecDeque<Sent>,
    next: u64,
    counts: Counts,
    progress_at: Instant,
    stopping: Option<End>,
    finished: bool,
}

impl<'a> Replay<'a> {
    fn new(config: &'a Config, work: &'a Work, runtime: &Runtime, counts: Counts) -> Result<Self, ReplayError> {
        let (sender, wakes) = channel();
        let mut peer = config.peer.clone();
        let refused = peer.dead_letter_mut();
        refused.dir.clone_from(&work.refused);
        // No more than the letters of one file come there.
        (refused.max_size, refused.when_full) = (u64::MAX, WhenFull::Hold);
        let (mut sink, stats) = open(peer, runtime, Outcomes::new(sender))?;
        sink.recall(Memory::Nothing);
        Ok(Self {
            config,
            work,
            stats,
            sink,
            wakes,
            sent: VecDeque::new(),
            next: 0,
            counts,
            progress_at: Instant::now(),
            stopping: None,
            finished: false,
        })
    }

    fn run(&mut self, segments: &[Segment], look: &mut impl FnMut(&Counts) -> bool) -> Result<End, ReplayError> {
        let _guard = ExitOnPanic;
        let dir = self.config.peer.dead_letter().dir.clone();
        for segment in segments {
            if self.stopping.is_some() {
                break;
            }
            if let Some(mut file) = Rewriting::open(&dir, segment)? {
                self.send_file(&mut file, look)?;
            }
        }
        if self.stopping.is_none() {
            self.sink.finish();
            while !self.finished && self.stopping.is_none() {
                self.attend(look);
            }
        }
        Ok(self.stopping.unwrap_or(End::Done))
    }

    /// Sends the picked letters of one file and takes out of it what is decided.
    fn send_file(&mut self, file: &mut Rewriting, look: &mut impl FnMut(&Counts) -> bool) -> Result<(), ReplayError> {
        let mut commit = Commit { at: Instant::now(), settled: 0, unsendable: HashSet::new(), done: 0 };
        let mut upto = 0;
        file.letters()?.each(|offset, line, found| -> Result<(), ReplayError> {
            let Found::Letter(letter) = found else { return Ok(()) };
            if self.stopping.is_some() || !self.config.pick.takes(&letter) {
                return Ok(());
            }
            let Some((id, document)) = sendable(&letter) else {
                commit.unsendable.insert(offset);
                self.counts.unsendable += 1;
                return Ok(());
            };
            upto = offset + line.len() as u64;
            self.add(id, document);
            self.counts.sent_bytes += line.len() as u64;
            if self.sink.fill().full {
                self.seal(upto);
                self.wait_for_room(file, &mut commit, look)?;
            }
            Ok(())
        })?;
        self.seal(upto);
        self.wait_for_all(&mut commit, look);
        self.commit(file, &mut commit)?;
        self.work.clear();
        Ok(())
    }

    /// Until every batch is settled; after a stop not longer than the deadline.
    fn wait_for_all(&mut self, commit: &mut Commit, look: &mut impl FnMut(&Counts) -> bool) {
        let mut stopped_at = None;
        while !self.sent.is_empty() && self.stopping != Some(End::Away) {
            if self.stopping.is_some() && stopped_at.is_none() {
                // From now on the sink waits for nothing long.
                self.sink.finish();
                stopped_at = Some(Instant::now());
            }
            if stopped_at.is_some_and(|at| at.elapsed() > self.config.deadline) {
                break;
            }
            self.attend(look);
            self.take_settled(commit);
        }
        self.sent.clear();
    }

    fn add(&mut self, id: LineId, document: &str) {
        let raw = RawLine { original: document.into(), error_type: "", error_message: String::new() };
        let origin = Origin { cluster: "", node: "", path: None, offset: 0, id, read_at_ms: None };
        self.sink.add(&Event { origin, body: Body::Raw(&raw), zones: None }, Before::Unknown);
    }

    fn seal(&mut self, end: u64) {
        if self.sink.fill().lines == 0 {
            return;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        if self.sent.is_empty() {
            self.progress_at = Instant::now();
        }
        let bytes = self.sink.seal(ticket);
        self.sent.push_back(Sent { ticket, end, bytes, settled: false });
    }

    fn wait_for_room(
        &mut self,
        file: &mut Rewriting,
        commit: &mut Commit,
        look: &mut impl FnMut(&Counts) -> bool,
    ) -> Result<(), ReplayError> {
        loop {
            let bytes: usize = self.sent.iter().filter(|sent| !sent.settled).map(|sent| sent.bytes).sum();
            let room = bytes < self.sink.in_flight_limit();
            if room {
                self.take(Duration::ZERO);
            } else {
                self.attend(look);
            }
            self.take_settled(commit);
            if commit.at.elapsed() >= COMMIT_INTERVAL {
                self.commit(file, commit)?;
            }
            if room || self.stopping.is_some() {
                if look(&self.counts) {
                    self.stopping.get_or_insert(End::Stopped);
                }
                return Ok(());
            }
        }
    }

    /// Waits for an outcome, not for long.
    fn attend(&mut self, look: &mut impl FnMut(&Counts) -> bool) {
        self.take(LOOK);
        self.count();
        if look(&self.counts) && self.stopping.is_none() {
            self.stopping = Some(End::Stopped);
        }
        if self.progress_at.elapsed() > self.config.timeout {
            self.stopping = Some(End::Away);
        }
    }

    fn take(&mut self, wait: Duration) {
        let mut next = match wait.is_zero() {
            true => self.wakes.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            false => self.wakes.recv_timeout(wait),
        };
        while let Ok(wake) = next {
            match wake {
                Wake::Settled(settled) => {
                    self.progress_at = Instant::now();
                    self.counts.delivered += settled.delivered;
                    self.counts.refused += settled.rejected + settled.dropped;
                    if let Some(sent) = self.sent.iter_mut().find(|sent| sent.ticket == settled.ticket) {
                        sent.settled = true;
                    }
                }
                Wake::Finished => self.finished = true,
                // To be awake is all it takes.
                Wake::Room => {}
                // This sink needs neither, and a file of letters does not change under us.
                Wake::Rewind | Wake::Files | Wake::Stop => {}
            }
            next = self.wakes.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn take_settled(&mut self, commit: &mut Commit) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.settled) {
            commit.settled = sent.end;
        }
        self.count();
    }

    fn count(&mut self) {
        let counts = &mut self.counts;
        counts.duplicates = self.stats.as_ref().map(|stats| stats.duplicate_documents.get());
        counts.left = counts.picked.saturating_sub(counts.delivered + counts.refused + counts.unsendable);
    }

    /// Replaces the file: delivered letters go, refused ones come with their new reason.
    fn commit(&mut self, file: &mut Rewriting, commit: &mut Commit) -> Result<(), ReplayError> {
        commit.at = Instant::now();
        if commit.settled == commit.done {
            return Ok(());
        }
        let refused = self.work.refused()?;
        let mut written = HashSet::new();
        let pick = &self.config.pick;
        let replaced = file.replace(|offset, letter| {
            if offset >= commit.settled || commit.unsendable.contains(&offset) || !pick.takes(letter) {
                return Fate::Keep;
            }
            match refused.get_key_value(&*letter.id) {
                // The same letter stood there twice.
                Some((id, _)) if !written.insert(id.as_str()) => Fate::Gone,
                Some((_, line)) => Fate::Instead(line),
                None => Fate::Gone,
            }
        })?;
        if !replaced {
            tracing::warn!(path = %file.path().display(), "somebody took the file away while its letters were sent");
        }
        commit.done = commit.settled;
        Ok(())
    }
}

/// How far a file is decided, and how far it says so.
struct Commit {
    at: Instant,
    /// Every picked letter before this offset is decided.
    settled: u64,
    done: u64,
    /// Offsets of picked letters that cannot be sent.
    unsendable: HashSet<u64>,
}

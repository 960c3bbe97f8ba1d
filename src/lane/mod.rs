//! The loop of one lane: read, decode, classify, encode, send, settle, move the bookmark.
//!
//! A lane is one source-to-sink line with its own reader and its own checkpoint, run by one OS thread. Nothing is shared
//! with other lanes, so a dead SIEM cannot stop indexing. This room defines what the loop needs of both ends: [`Source`]
//! and [`Sink`]; the edges implement them, and so never meet.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

mod ledger;
mod looks;
mod run;

pub use run::{Ended, Lane, LaneConfig, UNPERSISTED_LIMIT, Zones};

use crate::model::{Event, FileKey};
use crate::telemetry::LaneStats;

/// Files are looked at this often without being woken, where nobody tells of every change.
pub const LOOK: Duration = Duration::from_secs(1);

/// Exit code after a panic on a data path: a restart is safe, going on might not be.
pub const PANIC_EXIT_CODE: i32 = 70;

/// Held by whoever carries data (a lane's thread, a sink's task): a panic there ends the process, after its message.
#[derive(Debug)]
pub struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(PANIC_EXIT_CODE);
        }
    }
}

/// Number of a sealed batch, unique within a lane, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of an event when it was offered to a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It stands in the open batch.
    Kept,
    /// It is not for this sink (not cross-zone, the other half, …).
    Filtered,
}

/// Whether a line may have been sent before this start. A sink that can look asks its peer before it repeats one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Before {
    /// It was written since, or stood behind everything that an earlier run can have read.
    #[default]
    Never,
    /// Perhaps, but not before the checkpoint was written that this run started from.
    SinceCheckpoint,
    /// Perhaps, and nobody knows when: there was no checkpoint, or the checkpoint does not know this file.
    Unknown,
}

/// What an earlier run left for this lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Memory {
    /// No checkpoint: a first start, or a lost one.
    #[default]
    Nothing,
    /// The note that stood in the checkpoint, if its sink had one.
    Note(Option<Arc<str>>),
}

/// How full the batch is that a sink is building.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Lines in it.
    pub lines: usize,
    /// It must be sealed before another event is offered.
    pub full: bool,
}

/// Where lines leave. This half lives on the lane's thread: it encodes, never waits and never fails. What it seals is
/// carried by a task on the I/O runtime, which answers through [`Outcomes`].
pub trait Sink: Send {
    /// What an earlier run left. Called once, before anything else.
    fn recall(&mut self, memory: Memory);

    /// What to remember for lines that are sealed from now on. It is opaque to everybody else, and reaches the
    /// checkpoint: what stands there is the note of the oldest batch that is not settled, or the present one.
    fn note(&self) -> Option<Arc<str>>;

    /// Encodes one event into the open batch.
    fn add(&mut self, event: &Event<'_>, before: Before) -> Taken;

    fn fill(&self) -> Fill;

    /// Hands the open batch over for sending. Exactly one [`Settled`] with this ticket follows, unless a
    /// [`Wake::Rewind`] comes first. Returns the bytes of memory that the batch holds until then.
    fn seal(&mut self, ticket: Ticket) -> usize;

    /// Forgets the open batch (after a rewind).
    fn abandon(&mut self);

    /// Nothing more to send for now: settle everything as soon as it can be, close, answer [`Wake::Finished`] (or
    /// [`Wake::Rewind`] when the connection broke first; the lane may then seal again, and finish again).
    fn finish(&mut self);

    /// Called about once a second while there is anything to do, and before [`Sink::finish`]: for what is due by time.
    fn tend(&mut self, _numbers: &LaneStats) {}

    /// When something will be due by time in a lane that rests: then it is called no sooner than this. `None`: nothing.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Bytes of sealed batches that may be unsettled at a time; at this bound the lane stops reading.
    fn in_flight_limit(&self) -> usize;
}

/// A batch is decided. The counts add up to the lines in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub ticket: Ticket,
    pub delivered: u64,
    /// Refused for good by the peer; each stands in the dead letter.
    pub rejected: u64,
    /// Given up by a rule that the user chose.
    pub dropped: u64,
}

/// What wakes a lane's thread.
#[derive(Debug)]
pub enum Wake {
    Settled(Settled),
    /// Batches that were handed over may be lost: forget all that are not settled and read again from the lowest
    /// unsettled place. A sink without acknowledgements says this when its connection breaks.
    Rewind,
    /// The sink is closed after [`Sink::finish`].
    Finished,
    /// Something changed in a directory that the source watches.
    Files,
    /// The sink's in-flight limit has risen again without anything being settled.
    Room,
    /// Stop reading, drain, write the checkpoint.
    Stop,
}

/// A sink's way back to its lane.
#[derive(Debug, Clone)]
pub struct Outcomes(Sender<Wake>);

impl Outcomes {
    pub fn new(sender: Sender<Wake>) -> Self {
        Self(sender)
    }

    pub fn settled(&self, settled: Settled) {
        self.send(Wake::Settled(settled));
    }

    pub fn rewind(&self) {
        self.send(Wake::Rewind);
    }

    pub fn finished(&self) {
        self.send(Wake::Finished);
    }

    /// See [`Wake::Room`].
    pub fn room(&self) {
        self.send(Wake::Room);
    }

    /// A lane that is gone (its deadline passed) wants no outcomes.
    fn send(&self, wake: Wake) {
        let _ = self.0.send(wake);
    }
}

/// Fingerprint of the last bytes before an offset: what must still stand there before a file is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// How many bytes were hashed, at most [`HISTORY`].
    pub len: u16,
    /// Their xxh3-64.
    pub hash: u64,
}

/// Bytes before an offset that its [`Tail`] covers.
pub const HISTORY: usize = 1024;

impl Tail {
    /// Of the last bytes of `before`.
    pub fn of(before: &[u8]) -> Self {
        let window = &before[before.len().saturating_sub(HISTORY)..];
        Self { len: window.len() as u16, hash: xxhash_rust::xxh3::xxh3_64(window) }
    }
}

/// A place in a file up to which everything is read (or settled).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which file, in the source's own numbering.
    pub file: u32,
    pub offset: u64,
    pub tail: Tail,
}

/// Whole lines of one file, as many as one read gave. The lane owns it and hands it back for the next read, so that its
/// buffer is used again.
#[derive(Debug, Default)]
pub struct Chunk {
    pub file: u32,
    pub key: FileKey,
    pub path: Arc<str>,
    /// Offset of the first line in the uncompressed file.
    pub offset: u64,
    /// A longer line is dropped and counted, in bytes.
    pub max_line: usize,
    /// Of every line in it.
    pub before: Before,
    /// Over-long lines that were skipped right before `offset`.
    pub skipped_lines: u64,
    /// History, then the lines.
    pub(crate) buffer: Vec<u8>,
    /// Where in `buffer` the lines stand.
    pub(crate) lines: std::ops::Range<usize>,
}

impl Chunk {
    /// The lines, each with its newline.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.lines.clone()]
    }

    /// The mark after the first `len` bytes of [`Chunk::bytes`].
    pub fn mark(&self, len: usize) -> Mark {
        let tail = Tail::of(&self.buffer[..self.lines.start + len]);
        Mark { file: self.file, offset: self.offset + len as u64, tail }
    }
}

/// Where lines enter. It is asked on the lane's thread and may block on a disk, never on a peer.
pub trait Source: Send {
    /// Fills `chunk` with lines that follow those of the last call. False when there is nothing to read now.
    fn next(&mut self, chunk: &mut Chunk) -> bool;

    /// Something may have changed: look at the files again before the next read.
    fn wake(&mut self);

    /// When to look again even if nothing wakes the lane, which looked last at `looked_at`.
    fn due(&self, looked_at: Instant) -> Instant {
        looked_at + LOOK
    }

    /// Called about once a second while the lane may not read (its peer is away, it ends), in place of the next read:
    /// what is about to be out of reach must be kept all the same.
    fn tend(&mut self);

    /// The process ends, with whatever is not settled: keep what the next start could not find. [`Source::persist`]
    /// follows.
    fn part(&mut self);

    /// Everything up to `mark` is settled.
    fn settle(&mut self, mark: Mark);

    /// Reads again from the lowest unsettled places.
    fn rewind(&mut self);

    /// What the checkpoint held that this source started from.
    fn memory(&self) -> Memory;

    /// Writes the checkpoint; after a success a restart begins at what was settled by now. `note` is the sink's.
    fn persist(&mut self, note: Option<&str>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Bytes that are not settled yet. Compressed files count as they lie on the disk.
    fn lag_bytes(&self) -> u64;

    /// Of them, those that were not handed out either.
    fn unread_bytes(&self) -> u64 {
        self.lag_bytes()
    }

    /// Ends of files without a newline, by path: what `--once` leaves unread.
    fn unterminated(&self) -> Vec<String>;
}

#[cfg(test)]
mod tests;

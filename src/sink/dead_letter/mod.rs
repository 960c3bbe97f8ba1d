//! What a peer refused for good, with its reason, in files that a person or `tidegate replay` can read.
//!
//! One JSON object a line ([`Line`]), in numbered files of one folder a lane. Promises: a document whose
//! [`DeadLetter::write`] has returned is on the disk (synced), and one whose write failed is not, as far as the disk lets
//! us take it back; the writer never lets the folder grow beyond `max_size`; files are readable by their owner alone, for
//! they hold what people logged. Half a line at the end of a file is what a crash cut off; readers skip and count it. A
//! batch that is written twice (a crash between writing and settling) stands there twice, under the same ids.
//!
//! Several processes may be at it: an agent writes, a replay rewrites ([`Rewriting`]), people look ([`lines`]). Whoever
//! changes the folder holds its [`Lock`] for that change.
//!
//! Not here: waiting for room. Who writes decides what to do when the answer is [`DeadLetterError::Full`]. Nor letters of
//! a SIEM: syslog refuses nothing.

mod line;
mod lock;
mod read;
mod rewrite;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use line::{Line, Origin, read as read_line};
pub use lock::{Lock, beside};
pub use read::{Found, Segment, count, lines, segments};
pub use rewrite::{Fate, Letters, Rewriting, sweep};

use crate::durable::{Disk, DurableError};

/// A folder is about this many files, so that little is lost when the oldest gives way …
const SEGMENTS: u64 = 4;
/// … and none is larger, so that little is written anew when letters are taken out of it.
const SEGMENT_LIMIT: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `<state_dir>/dead-letter/<lane>`; made when first needed.
    pub dir: PathBuf,
    pub lane: String,
    /// Bytes of all files together.
    pub max_size: u64,
    pub when_full: WhenFull,
}

/// 64 MiB.
pub const MAX_SIZE: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The lane waits until somebody makes room.
    #[default]
    Hold,
    /// The oldest file gives way. Its letters were counted as rejected when they were written and stay so; that they are
    /// gone is counted apart, in [`Written::evicted_letters`].
    DropOldest,
}

/// A refused document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub id: String,
    pub index: Option<String>,
    pub status: u16,
    /// The peer's `error.type`.
    pub kind: String,
    pub reason: String,
    /// JSON text.
    pub document: Vec<u8>,
}

/// What one write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Letters that are on the disk now.
    pub kept: u64,
    /// Letters larger than the whole dead letter may be; given up (under [`WhenFull::DropOldest`] only).
    pub dropped: u64,
    /// Letters of older files that gave way, and their bytes.
    pub evicted_letters: u64,
    pub evicted_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("the dead letter {dir} is full ({max_size} bytes); mend what is refused and run `tidegate replay`, or move files away", dir = dir.display())]
    Full { dir: PathBuf, max_size: u64 },
    #[error("the dead letter {dir} is locked by another process, which has not let go of it in time", dir = dir.display())]
    Locked { dir: PathBuf },
    #[error("dead letter: {0}")]
    Disk(#[from] DurableError),
    #[error("cannot {step} the dead letter {path}: {source}", path = path.display())]
    Io { step: &'static str, path: PathBuf, source: std::io::Error },
}

#[derive(Debug)]
pub struct DeadLetter {
    config: Config,
    disk: Disk,
    open: Option<Open>,
    /// Files that gave way to a write that failed afterwards: told with the next one.
    evicted: (u64, u64),
}

/// The file being written.
#[derive(Debug)]
struct Open {
    number: u64,
    size: u64,
    file: File,
}

/// What a failed write has to take back.
struct Undo {
    /// Number and size of the file that was open before.
    before: Option<(u64, u64)>,
    made: Vec<u64>,
}

impl DeadLetter {
    /// Touches nothing yet.
    pub fn new(config: Config) -> Self {
        Self::on(config, Disk::default())
    }

    fn on(config: Config, disk: Disk) -> Self {
        Self { config, disk, open: None, evicted: (0, 0) }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Writes and syncs all letters, or none when there is no room for them or the disk fails.
    pub fn write(&mut self, letters: &[Letter]) -> Result<Written, DeadLetterError> {
        let dir = self.config.dir.clone();
        self.disk.make_directory(&dir)?;
        let _lock = Lock::take(&dir).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => DeadLetterError::Locked { dir: dir.clone() },
            _ => io("lock", &dir, source),
        })?;
        self.look_at_open();
        let before = self.open.as_ref().map(|open| (open.number, open.size));
        let mut undo = Undo { before, made: Vec::new() };
        let result = self.try_write(letters, &mut undo);
        match result {
            Ok(mut written) => {
                (written.evicted_letters, written.evicted_bytes) = std::mem::take(&mut self.evicted);
                Ok(written)
            }
            Err(error) => {
                self.take_back(&undo);
                Err(error)
            }
        }
    }

    /// Somebody may have moved, replaced or deleted the file since: what went into it now would be lost.
    fn look_at_open(&mut self) {
        let Some(open) = &self.open else { return };
        let there = std::fs::metadata(self.path(open.number));
        let ours = open.file.metadata();
        let same = there.and_then(|there| Ok((there, ours?)));
        if !same.is_ok_and(|(a, b)| (a.dev(), a.ino(), a.len()) == (b.dev(), b.ino(), open.size)) {
            self.open = None;
        }
    }

    fn try_write(&mut self, letters: &[Letter], undo: &mut Undo) -> Result<Written, DeadLetterError> {
        let time = jiff::Timestamp::now();
        let lines = letters.iter().map(|letter| line::write(letter, &self.config.lane, time));
        let most = self.config.max_size;
        let (lines, too_large): (Vec<_>, Vec<_>) = lines.partition(|line| line.len() as u64 <= most);
        if self.config.when_full == WhenFull::Hold {
            let bytes: u64 = lines.iter().map(|line| line.len() as u64).sum();
            if !too_large.is_empty() || self.size()?.saturating_add(bytes) > most {
                return Err(self.full());
            }
        }
        for line in &lines {
            if self.config.when_full == WhenFull::DropOldest {
                self.evict(line.len() as u64)?;
            }
            self.append(line, undo)?;
        }
        self.sync()?;
        Ok(Written { kept: lines.len() as u64, dropped: too_large.len() as u64, ..Written::default() })
    }

    /// All files' bytes.
    pub fn size(&self) -> Result<u64, DeadLetterError> {
        Ok(self.segments()?.iter().map(|segment| segment.size).sum())
    }

    fn segments(&self) -> Result<Vec<Segment>, DeadLetterError> {
        segments(&self.config.dir).map_err(|source| io("list", &self.config.dir, source))
    }

    fn append(&mut self, line: &[u8], undo: &mut Undo) -> Result<(), DeadLetterError> {
        let segment = (self.config.max_size / SEGMENTS).clamp(1, SEGMENT_LIMIT);
        if self.open.as_ref().is_none_or(|open| open.size > 0 && open.size + line.len() as u64 > segment) {
            self.rotate(undo)?;
        }
        let Some(open) = &mut self.open else { return Err(self.full()) };
        self.disk.append(&open.file, &read::path(&self.config.dir, open.number), line)?;
        open.size += line.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DeadLetterError> {
        let Some(open) = &self.open else { return Ok(()) };
        Ok(self.disk.sync(&open.file, &self.path(open.number))?)
    }

    /// Begins the file after the newest.
    fn rotate(&mut self, undo: &mut Undo) -> Result<(), DeadLetterError> {
        self.sync()?;
        self.open = None;
        let number = self.segments()?.last().map_or(1, |segment| segment.number + 1);
        let path = self.path(number);
        let file = self.disk.create(&path)?;
        undo.made.push(number);
        // The first one's folder, and the one above it, may be new as well.
        let above = if number == 1 { 2 } else { 0 };
        let named = |path: &&Path| path.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
        for new in path.ancestors().take(1 + above).filter(named) {
            self.disk.sync_directory_of(new)?;
        }
        self.open = Some(Open { number, size: 0, file });
        Ok(())
    }

    /// Removes the oldest files until `room` bytes are free.
    fn evict(&mut self, room: u64) -> Result<(), DeadLetterError> {
        let mut segments = self.segments()?;
        let mut size: u64 = segments.iter().map(|segment| segment.size).sum();
        segments.reverse();
        while size.saturating_add(room) > self.config.max_size {
            let Some(oldest) = segments.pop() else { break };
            let letters = count(&oldest.path).unwrap_or_default();
            self.disk.remove(&oldest.path)?;
            if self.open.as_ref().is_some_and(|open| open.number == oldest.number) {
                self.open = None;
            }
            size -= oldest.size;
            self.evicted.0 += letters;
            self.evicted.1 += oldest.size;
        }
        Ok(())
    }

    /// A write failed in the middle: what stands of it is taken away again. Where even that fails, half a line or a
    /// repeat stays, which readers know; and the next write begins a new file.
    fn take_back(&mut self, undo: &Undo) {
        self.open = None;
        for number in &undo.made {
            let _ = self.disk.remove(&self.path(*number));
        }
        if let Some((number, size)) = undo.before
            && std::fs::metadata(self.path(number)).is_ok_and(|there| there.len() > size)
        {
            let _ = self.disk.truncate(&self.path(number), size);
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        read::path(&self.config.dir, number)
    }

    fn full(&self) -> DeadLetterError {
        DeadLetterError::Full { dir: self.config.dir.clone(), max_size: self.config.max_size }
    }
}

fn io(step: &'static str, path: &Path, source: std::io::Error) -> DeadLetterError {
    DeadLetterError::Io { step, path: path.to_path_buf(), source }
}

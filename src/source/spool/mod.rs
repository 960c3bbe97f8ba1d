//! What a lane has not settled of files that are out of its reach: compressed, bounded, on our own disk.
//!
//! The log file is the queue, as long as it has a name. Of one that is deleted before it is settled, the rest is copied
//! here, and read on from here, also after a restart: places are offsets in the log file, so ids stay what they were.
//!
//! A content's rest is a row of files, its *parts*, `<number>.spool`, each written beside its name, synced and renamed
//! ([`crate::durable`]), and removed as soon as all of it is settled. When the spool is full it says so and keeps what it
//! has; under `drop_oldest` the oldest part that is not being read gives way, and a note of how many lines it held takes
//! its place, so that the lane's numbers still add up when its turn comes.

mod frame;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{Disk, DurableError, is_unfinished};
use crate::lane::{Chunk, HISTORY, Tail};
use frame::{Header, Kind};

const VERSION: u32 = 1;
const SUFFIX: &str = ".spool";
/// The spool is at least so many parts, so that little gives way at a time …
const PARTS: u64 = 16;
/// … and none is larger than this, so that what is settled frees its space soon.
const PART_LIMIT: u64 = 8 << 20;
/// A part costs at least a block on the disk, however small it is. So their number is bounded too.
const BLOCK: u64 = 4 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `<state_dir>/spool/<lane>`; made when first needed.
    pub dir: PathBuf,
    /// Bytes of all parts together.
    pub max_size: u64,
    pub when_full: WhenFull,
}

/// 256 MiB.
pub const MAX_SIZE: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The deleted file stays open.
    #[default]
    Hold,
    /// The oldest part gives way.
    DropOldest,
}

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool {dir} is full ({max_size} bytes); its lane's peer must take something, or spool.max_size grow", dir = dir.display())]
    Full { dir: PathBuf, max_size: u64 },
    #[error("cannot read the log file: {0}")]
    Log(io::Error),
    #[error(transparent)]
    Write(#[from] DurableError),
    #[error("cannot read the spool file {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Whose rest a part holds: enough to find the checkpoint's record again, or to do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The content's number in the lane's checkpoint.
    pub id: u32,
    pub key: u64,
    pub head_len: u16,
    pub head_hash: u64,
    /// Where the file was, for people.
    pub path: String,
    pub max_line: usize,
}

#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    #[serde(flatten)]
    owner: Owner,
}

/// One spool file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u64,
    pub start: u64,
    pub end: u64,
    pub lines: u64,
    pub size: u64,
    /// Only a note of lines that gave way.
    pub given_up: bool,
    owner: u32,
}

/// What one [`Spool::write`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub part: Part,
    /// Fingerprint before the part's end.
    pub tail: Tail,
    /// The part was closed before the content's end.
    pub more: bool,
}

/// Where a part is being read.
#[derive(Debug)]
struct Reading {
    number: u64,
    file: File,
    size: u64,
    /// Of the frame that was read last, and the offset up to which the frames before it reach.
    at: u64,
    from: u64,
}

#[derive(Debug)]
pub struct Spool {
    config: Config,
    disk: Disk,
    parts: BTreeMap<u64, Part>,
    by_owner: HashMap<u32, VecDeque<u64>>,
    size: u64,
    next: u64,
    reading: Option<Reading>,
}

impl Spool {
    /// Looks at what an earlier run left. What cannot be read is said and left alone.
    pub fn open(config: Config, disk: Disk) -> (Self, Vec<(Owner, Vec<Part>)>) {
        let mut spool =
            Self { config, disk, parts: BTreeMap::new(), by_owner: HashMap::new(), size: 0, next: 1, reading: None };
        let mut owners: BTreeMap<u32, (Owner, Vec<Part>)> = BTreeMap::new();
        for number in spool.numbers() {
            spool.next = number + 1;
            let path = spool.path(number);
            match scan(&path, number) {
                Ok(Some((owner, part))) => {
                    spool.put(part.clone());
                    owners.entry(owner.id).or_insert_with(|| (owner, Vec::new())).1.push(part);
                }
                Ok(None) => tracing::error!(path = %path.display(), "a spool file is damaged; it is left alone"),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "cannot read a spool file; it is left alone")
                }
            }
        }
        (spool, owners.into_values().collect())
    }

    /// Numbers of the parts on the disk, ascending. Removes what a crash left unfinished.
    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.config.dir) else { return Vec::new() };
        let mut numbers = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if is_unfinished(&path) {
                let _ = std::fs::remove_file(&path);
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            numbers.extend(name.strip_suffix(SUFFIX).and_then(|n| n.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        numbers
    }

    fn path(&self, number: u64) -> PathBuf {
        self.config.dir.join(format!("{number:08}{SUFFIX}"))
    }

    fn put(&mut self, part: Part) {
        self.size += part.size.max(BLOCK);
        self.by_owner.entry(part.owner).or_default().push_back(part.number);
        self.parts.insert(part.number, part);
    }

    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The last part of a content.
    pub fn last(&self, owner: u32) -> Option<&Part> {
        self.parts.get(self.by_owner.get(&owner)?.back()?)
    }

    /// The first part of a content that ends behind `offset`.
    pub fn part_at(&self, owner: u32, offset: u64) -> Option<&Part> {
        self.by_owner.get(&owner)?.iter().filter_map(|number| self.parts.get(number)).find(|part| part.end > offset)
    }

    /// Bytes of a part are few enough that it is written anew with what has come, instead of another beside it.
    pub fn is_small(&self, part: &Part) -> bool {
        part.size < self.part_limit() / 8 && !part.given_up
    }

    fn part_limit(&self) -> u64 {
        (self.config.max_size / PARTS).min(PART_LIMIT)
    }

    /// Writes one part from `start` on: what `next` gives, chunk by chunk, until it gives none or the part is large.
    /// With `instead` it takes the place of that part. `None` when `next` gave nothing at all.
    ///
    /// `read` says up to where a content has been handed out: nothing before that gives way under `drop_oldest`.
    pub fn write(
        &mut self,
        owner: &Owner,
        start: u64,
        instead: Option<u64>,
        read: impl Fn(u32) -> u64,
        mut next: impl FnMut(&mut Chunk) -> io::Result<bool>,
    ) -> Result<Option<Written>, SpoolError> {
        let mut chunk = Chunk::default();
        if !next(&mut chunk).map_err(SpoolError::Log)? {
            return Ok(None);
        }
        let mut frame = frame::lines(&chunk).map_err(SpoolError::Log)?;
        let about = About { version: VERSION, owner: owner.clone() };
        let about = frame::about(start, &serde_json::to_vec(&about).unwrap_or_default());
        let limit = self.part_limit();
        if self.config.when_full == WhenFull::DropOldest {
            self.make_room(limit.max(about.len() as u64 + frame.0.size()), read)?;
        }
        let freed = instead.and_then(|number| self.parts.get(&number)).map_or(0, |part| part.size.max(BLOCK));
        let room = (self.config.max_size + freed).saturating_sub(self.size);
        if (about.len() as u64 + frame.0.size()).max(BLOCK) > room {
            return Err(self.full());
        }
        self.disk.make_directory(&self.config.dir)?;
        let number = instead.unwrap_or(self.next);
        let mut part = Part { number, start, end: start, lines: 0, size: 0, given_up: false, owner: owner.id };
        let (mut tail, mut more) = (Tail::default(), true);
        self.disk.replace(&self.path(number), |out| {
            out.write_all(&about)?;
            part.size = about.len() as u64;
            loop {
                let (header, packed) = &frame;
                out.write_all(&header.bytes())?;
                out.write_all(packed)?;
                part.size += header.size();
                part.end = header.end();
                part.lines += header.lines;
                tail = Tail::of(&chunk.buffer[..chunk.lines.end]);
                if part.size >= limit {
                    break;
                }
                match next(&mut chunk) {
                    Ok(true) => frame = frame::lines(&chunk)?,
                    Ok(false) => {
                        more = false;
                        break;
                    }
                    // The part is whole as it is; the next one begins with this error.
                    Err(_) => break,
                }
                if part.size + frame.0.size() > room {
                    break;
                }
            }
            Ok(())
        })?;
        if self.reading.as_ref().is_some_and(|reading| reading.number == number) {
            self.reading = None;
        }
        if instead.is_some() {
            self.take(number);
        }
        self.next = self.next.max(number + 1);
        self.put(part.clone());
        Ok(Some(Written { part, tail, more }))
    }

    fn full(&self) -> SpoolError {
        SpoolError::Full { dir: self.config.dir.clone(), max_size: self.config.max_size }
    }

    /// Lets the oldest parts give way until a whole one fits, or none is left that may.
    fn make_room(&mut self, room: u64, read: impl Fn(u32) -> u64) -> Result<(), SpoolError> {
        while self.size + room > self.config.max_size {
            let may_go = |part: &&Part| !part.given_up && part.size > BLOCK && part.start >= read(part.owner);
            let Some(part) = self.parts.values().find(may_go).cloned() else { return Ok(()) };
            self.give_up(&part)?;
        }
        Ok(())
    }

    /// Replaces a part by a note of how many lines it held.
    fn give_up(&mut self, part: &Part) -> Result<(), SpoolError> {
        let path = self.path(part.number);
        let fail = |source| SpoolError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let about = match Header::read(&file, 0, size).map_err(fail)? {
            Some(header) => header.payload(&file, 0).map_err(fail)?,
            None => return Err(fail(io::ErrorKind::InvalidData.into())),
        };
        let history = last_bytes(&file, size).map_err(fail)?;
        let (header, packed) = frame::given_up(part.end, &history, part.lines).map_err(fail)?;
        let about = frame::about(part.start, &about);
        self.disk.replace(&path, |out| {
            out.write_all(&about)?;
            out.write_all(&header.bytes())?;
            out.write_all(&packed)
        })?;
        tracing::error!(path = %path.display(), lines = part.lines,
            "the spool is full: its oldest part gave way; its lines count as dropped when their turn comes");
        let part = Part { size: about.len() as u64 + header.size(), given_up: true, ..part.clone() };
        if let Some(old) = self.parts.insert(part.number, part.clone()) {
            self.size = self.size - old.size.max(BLOCK) + part.size.max(BLOCK);
        }
        Ok(())
    }

    /// Lines given up by now, as notes that lie in the spool.
    pub fn given_up_lines(&self) -> u64 {
        self.parts.values().filter(|part| part.given_up).map(|part| part.lines).sum()
    }

    /// Fills `chunk` with the lines of a content from `offset` on, or with the count of those that are no more.
    /// Offset, lines, skipped lines and buffer are set. `false`: no part holds it.
    pub fn read(&mut self, owner: u32, offset: u64, chunk: &mut Chunk) -> Result<bool, SpoolError> {
        let Some(part) = self.part_at(owner, offset).cloned() else { return Ok(false) };
        let path = self.path(part.number);
        let fail = |source| SpoolError::Read { path: path.clone(), source };
        if self.reading.as_ref().is_none_or(|reading| reading.number != part.number) {
            let file = File::open(&path).map_err(fail)?;
            let size = file.metadata().map_err(fail)?.len();
            self.reading = Some(Reading { number: part.number, file, size, at: 0, from: 0 });
        }
        let Some(reading) = &mut self.reading else { return Ok(false) };
        let found = find(reading, offset).map_err(fail)?;
        let Some((at, header)) = found else { return Ok(false) };
        let unpacked = header.unpack(&reading.file, at, &mut chunk.buffer);
        let whole = (header.history + header.data) as usize;
        chunk.skipped_lines = 0;
        match unpacked {
            Err(error) => {
                tracing::error!(path = %path.display(), %error, lines = header.lines,
                    "a block of the spool is damaged; its lines count as dropped");
                chunk.buffer.clear();
                (chunk.offset, chunk.skipped_lines, chunk.lines) = (header.end(), header.lines, 0..0);
            }
            Ok(()) if header.kind == Kind::GivenUp => {
                (chunk.offset, chunk.skipped_lines, chunk.lines) = (header.end(), header.lines, whole..whole);
            }
            Ok(()) => {
                let inside = offset.saturating_sub(header.offset);
                chunk.offset = header.offset + inside;
                chunk.lines = header.history as usize + inside as usize..whole;
            }
        }
        Ok(true)
    }

    /// The fingerprint before `offset`, as far as the spool knows it.
    pub fn tail_at(&mut self, owner: u32, offset: u64) -> Option<Tail> {
        let mut chunk = Chunk::default();
        let last = self.last(owner)?;
        if offset == last.end {
            let file = File::open(self.path(last.number)).ok()?;
            let size = file.metadata().ok()?.len();
            return last_bytes(&file, size).ok().map(|bytes| Tail::of(&bytes));
        }
        let known = self.read(owner, offset, &mut chunk).ok()? && chunk.offset == offset;
        known.then(|| Tail::of(&chunk.buffer[..chunk.lines.start]))
    }

    /// Everything of a content before `offset` is settled: removes the parts before it. True when none is left.
    pub fn settle(&mut self, owner: u32, offset: u64) -> bool {
        while let Some(part) = self.by_owner.get(&owner).and_then(|numbers| self.parts.get(numbers.front()?)) {
            if part.end > offset {
                return false;
            }
            let number = part.number;
            if let Err(error) = self.disk.remove(&self.path(number)) {
                tracing::warn!(%error, "a settled spool file stays; it is read again after a restart, under the same ids");
            }
            self.take(number);
        }
        true
    }

    /// Forgets a part.
    fn take(&mut self, number: u64) {
        let Some(part) = self.parts.remove(&number) else { return };
        self.size -= part.size.max(BLOCK);
        if let Some(numbers) = self.by_owner.get_mut(&part.owner) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_owner.remove(&part.owner);
            }
        }
        if self.reading.as_ref().is_some_and(|reading| reading.number == number) {
            self.reading = None;
        }
    }

    /// A content got another number.
    pub fn rename(&mut self, from: u32, to: u32) {
        let Some(numbers) = self.by_owner.remove(&from) else { return };
        for number in &numbers {
            if let Some(part) = self.parts.get_mut(number) {
                part.owner = to;
            }
        }
        self.by_owner.insert(to, numbers);
    }
}

/// The frame that holds `offset`: the first that ends behind it. Going forward is free, going back starts over.
fn find(reading: &mut Reading, offset: u64) -> io::Result<Option<(u64, Header)>> {
    if offset < reading.from {
        (reading.at, reading.from) = (0, 0);
    }
    while let Some(header) = Header::read(&reading.file, reading.at, reading.size)? {
        let about = header.kind == Kind::About;
        if !about && header.end() > offset {
            return Ok(Some((reading.at, header)));
        }
        reading.from = if about { 0 } else { header.end() };
        reading.at += header.size();
    }
    Ok(None)
}

/// Reads what a part is of, and up to where it is whole. `None`: it is no spool file, or holds no line.
fn scan(path: &Path, number: u64) -> io::Result<Option<(Owner, Part)>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let Some(first) = Header::read(&file, 0, size)?.filter(|header| header.kind == Kind::About) else {
        return Ok(None);
    };
    let Ok(about) = serde_json::from_slice::<About>(&first.payload(&file, 0)?) else { return Ok(None) };
    if about.version != VERSION {
        return Err(io::Error::other(format!("version {} is not known to this build ({VERSION})", about.version)));
    }
    let (start, owner) = (first.offset, about.owner);
    let mut part = Part { number, start, end: start, lines: 0, size: first.size(), given_up: false, owner: owner.id };
    while let Some(header) = Header::read(&file, part.size, size)? {
        if header.kind == Kind::About || header.end() < part.end {
            break;
        }
        part.given_up = header.kind == Kind::GivenUp && part.end == start && header.size() + part.size == size;
        part.end = header.end();
        part.lines += header.lines;
        part.size += header.size();
    }
    if part.size < size {
        tracing::error!(path = %path.display(), whole_bytes = part.size, size_bytes = size,
            "a spool file is torn; what is whole is read");
    }
    Ok((part.end > start).then_some((owner, part)))
}

/// What stands before the end of the last whole frame, at most [`HISTORY`] bytes.
fn last_bytes(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let (mut at, mut last) = (0, None);
    while let Some(header) = Header::read(file, at, size)? {
        last = Some((at, header)).filter(|_| header.kind != Kind::About);
        at += header.size();
    }
    let mut bytes = Vec::new();
    if let Some((at, header)) = last {
        header.unpack(file, at, &mut bytes)?;
    }
    Ok(bytes.split_off(bytes.len().saturating_sub(HISTORY)))
}

#[cfg(test)]
mod tests;

//! Files that are read once, oldest first: for a backfill.
//!
//! Promises: every whole line of every file is handed out, with the offsets and the file key that the live tail gives it,
//! so that it has the same id; progress belongs to a content, so that a copy (compressed or not) of what was read is not
//! read again; a file that cannot be read on is told by name, and the others are read all the same. Memory does not grow
//! with the files' sizes. What it does not do: it waits for nothing to grow, and touches nothing of the agent's state.

mod progress;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use progress::{Progress, ProgressError};
use progress::{Record, Saved};

use super::tail::reader::Reader;
use crate::decode::decode;
use crate::lane::{Before, Chunk, HISTORY, Mark, Memory, Source, Tail};
use crate::model::{FileKey, filler};

/// Bytes of one read.
const READ: usize = 256 << 10;
/// How many times smaller a flow log is when it is packed, where nobody says.
const PACKED: u64 = 8;
/// A limited rate is kept in so many portions a second.
const PORTIONS: u32 = 10;

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub path: PathBuf,
    /// As it lies on the disk.
    pub size: u64,
    /// Unpacked, as far as can be known without unpacking it.
    unpacked: u64,
    device: u64,
    inode: u64,
    modified_ns: i64,
    /// Event time of its first line, Unix seconds; of a file whose first line has none, when it was modified.
    begins: i64,
}

/// What was found at the paths that a user gave.
#[derive(Debug, Default)]
pub struct Listing {
    /// Oldest first, each physical file once.
    pub items: Vec<Item>,
    /// Files in directories whose names are not those of logs.
    pub others: u64,
}

/// Finds the files: a file is taken whatever its name is, a directory with all that lies below it and has `.log` in its
/// name. Links to directories are not followed, hidden names not taken.
pub fn find(paths: &[PathBuf]) -> Result<Listing, Vec<(PathBuf, io::Error)>> {
    let (mut listing, mut errors) = (Listing::default(), Vec::new());
    let mut found = Vec::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, &mut found, &mut listing.others, &mut errors),
            Ok(_) => found.push(path.clone()),
            Err(error) => errors.push((path.clone(), error)),
        }
    }
    let mut seen = HashSet::new();
    for path in found {
        match Item::look(&path) {
            Ok(item) if seen.insert((item.device, item.inode)) => listing.items.push(item),
            Ok(_) => {}
            Err(error) => errors.push((path, error)),
        }
    }
    listing.items.sort_by(|a, b| (a.begins, a.modified_ns, &a.path).cmp(&(b.begins, b.modified_ns, &b.path)));
    if errors.is_empty() { Ok(listing) } else { Err(errors) }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>, others: &mut u64, errors: &mut Vec<(PathBuf, io::Error)>) {
    let entries = match std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return errors.push((dir.to_path_buf(), error)),
    };
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        // A link to a directory could lead back to where we came from.
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_file = || std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
        match () {
            () if name.as_encoded_bytes().starts_with(b".") => {}
            () if is_dir => walk(&path, found, others, errors),
            () if is_log(&name) && is_file() => found.push(path),
            () => *others += 1,
        }
    }
}

fn is_log(name: &OsStr) -> bool {
    memchr::memmem::find(name.as_encoded_bytes(), b".log").is_some()
}

impl Item {
    /// A file that cannot be opened now may be readable when its turn comes; only its order suffers.
    fn look(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = metadata.mtime();
        let mut reader = Reader::open(path).ok();
        let first = reader.as_mut().and_then(|reader| reader.first_line().ok().flatten());
        let begins = first.and_then(|line| decode(&line, &mut String::new()).ok().and_then(|flow| flow.end_time));
        let plain = reader.is_none_or(|reader| reader.is_plain());
        Ok(Self {
            path: path.to_path_buf(),
            size: metadata.len(),
            unpacked: if plain { metadata.len() } else { unpacked(path, metadata.len()) },
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: modified.saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            begins: begins.unwrap_or(modified),
        })
    }
}

/// Of a packed file: a gzip file ends in its length, unless it has several members or is larger than that can say.
fn unpacked(path: &Path, size: u64) -> u64 {
    let mut trailer = [0; 4];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut trailer, size.saturating_sub(4)));
    let said = u64::from(u32::from_le_bytes(trailer));
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    if gzip && read.is_ok() && said >= size { said } else { size.saturating_mul(PACKED) }
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Both are part of each file's key.
    pub cluster: String,
    pub node: String,
    /// Longest line in bytes; a longer one is skipped and counted.
    pub max_line: usize,
    /// Lines a second, at most.
    pub rate: Option<u32>,
    /// What the progress is for: another purpose does not go on from it.
    pub purpose: String,
}

/// How far it is, for whoever shows it.
#[derive(Debug, Default)]
pub struct Reading {
    /// Of all files, unpacked: of packed ones an estimate that is right in the end.
    pub done_bytes: AtomicU64,
    pub total_bytes: u64,
    /// Of all files as they lie on the disk.
    pub disk_bytes: u64,
    pub files: usize,
    pub files_done: AtomicU64,
    file: Mutex<Arc<str>>,
    failed: Mutex<Vec<(String, String)>>,
}

impl Reading {
    /// The file that is being read.
    pub fn file(&self) -> Arc<str> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Files that could not be read to their ends, and why.
    pub fn failed(&self) -> Vec<(String, String)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One file on its way.
#[derive(Debug)]
struct Entry {
    item: Item,
    name: Arc<str>,
    key: Option<FileKey>,
    /// Everything before is handed out, or was not ours to read.
    read: u64,
    read_tail: Tail,
    settled: u64,
    settled_tail: Tail,
    /// Of it a line was settled, or the checkpoint knows it: its progress says nothing of other files'.
    known: bool,
    finished: bool,
    unterminated: bool,
}

impl Entry {
    fn new(item: Item) -> Self {
        let tail = Tail::of(b"");
        Self {
            name: item.path.to_string_lossy().into(),
            item,
            key: None,
            read: 0,
            read_tail: tail,
            settled: 0,
            settled_tail: tail,
            known: false,
            finished: false,
            unterminated: false,
        }
    }

    fn record(&self) -> Option<Record> {
        let key = self.key.filter(|_| self.known)?;
        Some(Record {
            key: key.0,
            path: self.name.to_string(),
            size: self.item.size,
            modified_ns: self.item.modified_ns,
            offset: self.settled,
            tail_len: self.settled_tail.len,
            tail_hash: self.settled_tail.hash,
            finished: self.finished && self.settled == self.read,
        })
    }
}

/// Who came so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// This file, in this run.
    File(usize),
    /// An earlier run: the number of its record.
    Earlier(usize),
}

/// Progress in a content.
#[derive(Debug, Clone, Copy)]
struct Reached {
    by: By,
    offset: u64,
    tail: Tail,
}

/// Where the file at work is.
struct At {
    reader: Reader,
    /// The last bytes before the entry's `read`.
    history: Vec<u8>,
    /// Read and not handed out yet.
    carry: Vec<u8>,
    failed: Option<io::Error>,
    ended: bool,
}

pub struct FileList {
    config: Config,
    entries: Vec<Entry>,
    turn: usize,
    /// Unpacked bytes of the files before that one.
    before: u64,
    at: Option<At>,
    reached: HashMap<FileKey, Vec<Reached>>,
    /// What an earlier run noted; a record goes when a file goes on from it.
    earlier: Vec<Option<Record>>,
    progress: Option<Progress>,
    memory: Memory,
    changed: bool,
    noted: Option<String>,
    reading: Arc<Reading>,
    /// When the next portion may be handed out.
    due: Instant,
}

impl FileList {
    /// Goes on from `progress`; without one, none is kept.
    pub fn open(config: Config, items: Vec<Item>, progress: Option<Progress>) -> Result<Self, ProgressError> {
        let saved = match &progress {
            Some(progress) => progress.load(&config.purpose)?,
            None => None,
        };
        let total_bytes = items.iter().map(|item| item.unpacked).sum();
        let disk_bytes = items.iter().map(|item| item.size).sum();
        let reading = Reading { total_bytes, disk_bytes, files: items.len(), ..Reading::default() };
        let mut list = Self {
            config,
            entries: items.into_iter().map(Entry::new).collect(),
            turn: 0,
            before: 0,
            at: None,
            reached: HashMap::new(),
            earlier: Vec::new(),
            progress,
            memory: Memory::Nothing,
            changed: true,
            noted: None,
            reading: Arc::new(reading),
            due: Instant::now(),
        };
        if let Some(saved) = saved {
            list.go_on_from(saved);
        }
        Ok(list)
    }

    fn go_on_from(&mut self, saved: Saved) {
        self.memory = Memory::Note(saved.note.map(Arc::from));
        let by_path: HashMap<_, _> = (0..).zip(&saved.files).map(|(n, record)| (&*record.path, (n, record))).collect();
        let mut adopted = HashSet::new();
        for entry in &mut self.entries {
            let Some((number, record)) = by_path.get(&*entry.name) else { continue };
            // Read to its end, and not touched since: it need not be opened.
            if record.finished && (record.size, record.modified_ns) == (entry.item.size, entry.item.modified_ns) {
                (entry.key, entry.finished, entry.known) = (Some(FileKey(record.key)), true, true);
                (entry.read, entry.read_tail) = (record.offset, record.tail());
                (entry.settled, entry.settled_tail) = (record.offset, record.tail());
                adopted.insert(*number);
            }
        }
        for (number, record) in saved.files.into_iter().enumerate() {
            let reached = Reached { by: By::Earlier(number), offset: record.offset, tail: record.tail() };
            self.reached.entry(FileKey(record.key)).or_default().push(reached);
            self.earlier.push((!adopted.contains(&number)).then_some(record));
        }
    }

    /// From now on no progress is written.
    pub fn keep_nothing(&mut self) {
        self.progress = None;
    }

    pub fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.reading)
    }

    /// Opens the file whose turn it is. `None`: there is nothing to read in it.
    fn open_file(&mut self) -> io::Result<Option<At>> {
        let entry = &mut self.entries[self.turn];
        let mut reader = Reader::open(&entry.item.path)?;
        refuse_unknown_packing(&mut reader)?;
        if entry.key.is_none() {
            let Some(first) = reader.first_line()? else {
                entry.unterminated = entry.item.size > 0;
                return Ok(None);
            };
            let key = FileKey::new(&self.config.cluster, &self.config.node, &first);
            entry.key = Some(key);
            let mut candidates = self.reached.get(&key).cloned().unwrap_or_default();
            candidates.sort_by_key(|reached| std::cmp::Reverse(reached.offset));
            for reached in candidates {
                if reader.tail_before(reached.offset)? == Some(reached.tail) {
                    (entry.read, entry.read_tail) = (reached.offset, reached.tail);
                    (entry.settled, entry.settled_tail) = (reached.offset, reached.tail);
                    if let By::Earlier(number) = reached.by {
                        entry.known = true;
                        self.earlier[number] = None;
                    }
                    break;
                }
            }
        }
        if reader.tail_before(entry.read)? != Some(entry.read_tail) {
            return Err(io::Error::other("the file was changed while it was read"));
        }
        let mut history = vec![0; entry.read.min(HISTORY as u64) as usize];
        let from = entry.read - history.len() as u64;
        reader.fill(&mut history, from)?;
        Ok(Some(At { reader, history, carry: Vec::new(), failed: None, ended: false }))
    }

    /// Ends the work on a file, and goes on to the next.
    fn close(&mut self, error: Option<&io::Error>) {
        let entry = &mut self.entries[self.turn];
        if let Some(error) = error {
            tracing::error!(path = %entry.name, %error, offset_bytes = entry.read,
                "cannot read a file to its end; what is whole before was read, the other files are read on");
            let mut failed = self.reading.failed.lock().unwrap_or_else(PoisonError::into_inner);
            // After a rewind it is met once more.
            failed.retain(|(name, _)| **name != *entry.name);
            failed.push((entry.name.to_string(), error.to_string()));
        }
        entry.finished = error.is_none();
        if let Some(key) = entry.key {
            let reached = Reached { by: By::File(self.turn), offset: entry.read, tail: entry.read_tail };
            self.reached.entry(key).or_default().push(reached);
        }
        self.at = None;
        self.changed = true;
        self.turn_to(self.turn + 1);
    }

    fn turn_to(&mut self, turn: usize) {
        let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.item.unpacked).sum::<u64>();
        self.before = match turn >= self.turn {
            true => self.before + bytes(&self.entries[self.turn..turn]),
            false => bytes(&self.entries[..turn]),
        };
        self.turn = turn;
        self.tell();
    }

    fn tell(&self) {
        let here = match (&self.at, self.entries.get(self.turn)) {
            (Some(at), Some(entry)) if at.reader.is_plain() => entry.read.min(entry.item.size),
            (Some(at), Some(Entry { item, .. })) => {
                let taken = at.reader.taken().unwrap_or_default() as f64 / item.size.max(1) as f64;
                (item.unpacked as f64 * taken.min(1.0)) as u64
            }
            _ => 0,
        };
        self.reading.done_bytes.store(self.before + here, Relaxed);
        self.reading.files_done.store(self.turn as u64, Relaxed);
        if let Some(entry) = self.entries.get(self.turn) {
            let mut file = self.reading.file.lock().unwrap_or_else(PoisonError::into_inner);
            if *file != entry.name {
                file.clone_from(&entry.name);
            }
        }
    }

    /// Lines that may be handed out at once; waits until they may.
    fn portion(&mut self) -> usize {
        let Some(rate) = self.config.rate else { return usize::MAX };
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        (rate / PORTIONS).max(1) as usize
    }

    fn spent(&mut self, lines: usize) {
        if let Some(rate) = self.config.rate {
            let time = Duration::from_secs_f64(lines as f64 / f64::from(rate));
            self.due = self.due.max(Instant::now()) + time;
        }
    }

    /// What stands in the buffer up to `end` is behind us, `bytes` more of the file.
    fn advance(&mut self, chunk: &Chunk, end: usize, bytes: u64) {
        let entry = &mut self.entries[self.turn];
        entry.read += bytes;
        entry.read_tail = Tail::of(&chunk.buffer[..end]);
        if let Some(at) = &mut self.at {
            at.history.clear();
            at.history.extend_from_slice(&chunk.buffer[end.saturating_sub(HISTORY)..end]);
        }
        self.changed = true;
    }

    /// Leaves a hole behind.
    fn pass(&mut self, chunk: &Chunk, end: usize) {
        self.advance(chunk, end, (end - chunk.lines.start) as u64);
        self.tell();
    }

    fn hand_out(&mut self, chunk: &mut Chunk, filled: &Filled) {
        let entry = &mut self.entries[self.turn];
        chunk.file = self.turn as u32;
        chunk.key = entry.key.unwrap_or_default();
        chunk.path.clone_from(&entry.name);
        chunk.max_line = self.config.max_line;
        // Nobody knows what an agent, or an earlier backfill, has sent of it.
        chunk.before = Before::Unknown;
        chunk.skipped_lines = u64::from(matches!(filled, Filled::Skipped { .. }));
        let (end, consumed, skipped) = match filled {
            Filled::Lines { end, .. } | Filled::Hole { end } => (*end, (*end - chunk.lines.start) as u64, 0),
            Filled::Skipped { bytes } => (chunk.buffer.len(), *bytes, *bytes),
        };
        chunk.offset = entry.read + skipped;
        chunk.lines.end = end;
        self.advance(chunk, end, consumed);
    }
}

/// What a read gave.
enum Filled {
    /// Whole lines up to `end` in the chunk's buffer.
    Lines { end: usize, lines: usize },
    /// An over-long line of so many bytes; the chunk's buffer holds its end.
    Skipped { bytes: u64 },
    /// A hole that is larger than any line, up to `end` in the chunk's buffer. It is no line.
    Hole { end: usize },
}

/// Reads on until there are lines, at most `most` of them. `None` at the file's end.
fn fill(at: &mut At, chunk: &mut Chunk, read: u64, max_line: usize, most: usize) -> io::Result<Option<Filled>> {
    chunk.buffer.clear();
    chunk.buffer.extend_from_slice(&at.history);
    chunk.buffer.append(&mut at.carry);
    let start = at.history.len();
    chunk.lines = start..start;
    let mut searched = start;
    loop {
        if memchr::memchr(b'\n', &chunk.buffer[searched..]).is_some() {
            let (end, lines) = cut(&chunk.buffer, start, most);
            at.carry.extend_from_slice(&chunk.buffer[end..]);
            return Ok(Some(Filled::Lines { end, lines }));
        }
        searched = chunk.buffer.len();
        if searched - start > max_line {
            let hole = filler(&chunk.buffer[start..]);
            if hole > 0 {
                at.carry.extend_from_slice(&chunk.buffer[start + hole..]);
                return Ok(Some(Filled::Hole { end: start + hole }));
            }
            return skip(at, chunk, read, start).map(Some);
        }
        if !more(at, &mut chunk.buffer, read, start)? {
            at.carry.extend_from_slice(&chunk.buffer[start..]);
            return Ok(None);
        }
    }
}

/// After the last newline, or after the newline number `most`.
fn cut(buffer: &[u8], start: usize, most: usize) -> (usize, usize) {
    let (mut end, mut lines) = (start, 0);
    for newline in memchr::memchr_iter(b'\n', &buffer[start..]).take(most) {
        (end, lines) = (start + newline + 1, lines + 1);
    }
    (end, lines)
}

/// Appends what follows. False at the end of the file; an error comes once everything before it is handed out.
fn more(at: &mut At, buffer: &mut Vec<u8>, read: u64, start: usize) -> io::Result<bool> {
    if let Some(error) = at.failed.take() {
        return Err(error);
    }
    if at.ended {
        return Ok(false);
    }
    let have = buffer.len();
    let offset = read + (have - start) as u64;
    buffer.resize(have + READ, 0);
    let mut got = 0;
    while got < READ {
        match at.reader.read_at(&mut buffer[have + got..], offset + got as u64) {
            Ok(0) => {
                at.ended = true;
                break;
            }
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                at.failed = Some(error);
                break;
            }
        }
    }
    buffer.truncate(have + got);
    match (got, at.failed.take()) {
        (0, Some(error)) => Err(error),
        (got, failed) => {
            at.failed = failed;
            Ok(got > 0)
        }
    }
}

/// Reads on to the end of an over-long line.
fn skip(at: &mut At, chunk: &mut Chunk, read: u64, start: usize) -> io::Result<Filled> {
    // Of the line only what a mark is made of is kept.
    let mut passed = 0;
    let mut from = start;
    loop {
        if let Some(newline) = memchr::memchr(b'\n', &chunk.buffer[from..]) {
            let end = from + newline + 1;
            at.carry.extend_from_slice(&chunk.buffer[end..]);
            chunk.buffer.truncate(end);
            let bytes = passed + (end - start) as u64;
            let keep = end.saturating_sub(HISTORY);
            chunk.buffer.drain(..keep);
            let len = chunk.buffer.len();
            chunk.lines = len..len;
            return Ok(Filled::Skipped { bytes });
        }
        let gone = chunk.buffer.len().saturating_sub(start + HISTORY);
        chunk.buffer.drain(start..start + gone);
        passed += gone as u64;
        from = chunk.buffer.len();
        if !more(at, &mut chunk.buffer, read + passed, start)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within an over-long line"));
        }
    }
}

/// What is compressed and does not say so by its name would be read as garbage.
fn refuse_unknown_packing(reader: &mut Reader) -> io::Result<()> {
    let mut magic = [0; 4];
    if !reader.is_plain() || !reader.fill(&mut magic, 0)? {
        return Ok(());
    }
    let what = match magic {
        [0x1f, 0x8b, ..] => "it is compressed with gzip; give it a name that ends in .gz",
        [0x28, 0xb5, 0x2f, 0xfd] => "it is compressed with zstd; unpack it, or give it a name that ends in .zst",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

impl Source for FileList {
    fn next(&mut self, chunk: &mut Chunk) -> bool {
        while let Some(entry) = self.entries.get(self.turn) {
            if entry.finished {
                self.turn_to(self.turn + 1);
                continue;
            }
            if self.at.is_none() {
                match self.open_file() {
                    Ok(Some(at)) => self.at = Some(at),
                    Ok(None) => self.close(None),
                    Err(error) => self.close(Some(&error)),
                }
                continue;
            }
            let most = self.portion();
            let (read, max_line) = (self.entries[self.turn].read, self.config.max_line);
            let Some(at) = &mut self.at else { continue };
            match fill(at, chunk, read, max_line, most) {
                Ok(Some(Filled::Hole { end })) => self.pass(chunk, end),
                Ok(Some(filled)) => {
                    self.hand_out(chunk, &filled);
                    self.spent(if let Filled::Lines { lines, .. } = filled { lines } else { 1 });
                    self.tell();
                    return true;
                }
                Ok(None) => {
                    self.entries[self.turn].unterminated = !at.carry.is_empty();
                    self.close(None);
                }
                Err(error) => self.close(Some(&error)),
            }
        }
        false
    }

    fn wake(&mut self) {}

    /// The files are the user's own and stay where they are: nothing has to be kept.
    fn tend(&mut self) {}

    fn part(&mut self) {}

    fn settle(&mut self, mark: Mark) {
        let Some(entry) = self.entries.get_mut(mark.file as usize) else { return };
        if mark.offset > entry.settled {
            (entry.settled, entry.settled_tail) = (mark.offset, mark.tail);
        }
        entry.known = true;
        self.changed = true;
    }

    fn rewind(&mut self) {
        let unsettled = |entry: &Entry| entry.read != entry.settled;
        let Some(first) = self.entries.iter().position(unsettled) else { return };
        for entry in self.entries.iter_mut().filter(|entry| unsettled(entry)) {
            (entry.read, entry.read_tail, entry.finished) = (entry.settled, entry.settled_tail, false);
        }
        for reached in self.reached.values_mut() {
            reached.retain(|reached| !matches!(reached.by, By::File(by) if by >= first));
        }
        self.at = None;
        self.turn_to(first);
    }

    fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn persist(&mut self, note: Option<&str>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(progress) = &self.progress else { return Ok(()) };
        if self.changed || self.noted.as_deref() != note {
            let earlier = self.earlier.iter().flatten().cloned();
            let files = self.entries.iter().filter_map(Entry::record).chain(earlier).collect();
            progress.save(&Saved::new(self.config.purpose.clone(), note.map(str::to_owned), files))?;
            (self.noted, self.changed) = (note.map(str::to_owned), false);
        }
        Ok(())
    }

    fn lag_bytes(&self) -> u64 {
        self.reading.total_bytes.saturating_sub(self.reading.done_bytes.load(Relaxed))
    }

    fn unterminated(&self) -> Vec<String> {
        self.entries.iter().filter(|entry| entry.unterminated).map(|entry| entry.name.to_string()).collect()
    }
}

#[cfg(test)]
mod tests;

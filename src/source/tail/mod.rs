//! Files on the node as they are written, rotated, truncated, copied and compressed.
//!
//! Promises: every whole line of every file that the source names is handed out, oldest file first, once per run (again
//! after a rewind or a restart, from the lowest unsettled place); a line up to the limit is never cut; nothing waits on
//! anything but the disk; what is not settled of a file that is deleted while it is open goes into the spool. What it
//! does not do: it never deletes, locks or writes a log file, and it cannot bring back a file that was deleted before it
//! was opened: it says how much of that it knew.

mod content;
mod contents;
mod fill;
mod identify;
mod keep;
mod listing;
mod opened;
mod patterns;
mod quiet;
pub mod reader;
mod table;
mod zstd;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use content::{Content, Inode, Look};
use contents::Contents;
use keep::Hold;
use patterns::{Packing, Patterns, packing};
use quiet::Quiet;
use reader::Reader;
use table::{Set, Table};

use super::checkpoint::{Loaded, RECENT_LIMIT, Record, Store};
use super::spool::{self, Spool};
use super::stats::SourceStats;
use super::watch::{Directory, Watched};
use crate::lane::{Chunk, Mark, Memory, Source};
use crate::model::FileKey;

/// Bytes of one read.
const READ: usize = 256 << 10;
/// And of one where little is known to stand there: a file may have grown since it was looked at.
const LEAST_READ: usize = 32 << 10;
/// Files held open at a time: what is not read yet first, the oldest first, for these are deleted first. A file beyond is
/// opened when its turn comes.
const OPEN_LIMIT: usize = 64;
/// Of the files that are read to their end, so many that were written last are kept open.
const YOUNGEST: usize = 8;
/// A full listing at least this often, whatever the directories' times say.
const LISTING_INTERVAL: Duration = Duration::from_secs(10);
/// A directory time this young may hide a change in the same tick.
const DIRECTORY_GRAIN: Duration = Duration::from_secs(2);
/// One from the future (a clock was set back) stays young for long, and must not cost a listing at every wake.
const FUTURE_LISTING: Duration = Duration::from_secs(1);
/// Looks while the lane may not read are at least so far apart.
const TEND_INTERVAL: Duration = Duration::from_millis(100);
/// A drained file that lost its name stays open this long after it last grew: a writer may keep its old descriptor.
const LINGER: Duration = Duration::from_secs(600);
/// The same for one without any name, when such files hold much space on the disk; and how long a place may be lost before
/// what was not read there counts as lost.
const LINGER_DELETED: Duration = Duration::from_secs(10);
/// Listings after which a file that is shorter than its lost twin is taken for one of its own.
const WAIT_LISTINGS: u8 = 3;
/// Listings within one wake, when files lose their places while they are read.
const LOOKS: u8 = 4;
/// Reads of one file in a row while others wait.
const TURN: u32 = 64;
/// Progress in contents that are nowhere on the disk is remembered this long …
const REMEMBER_GONE_SECONDS: i64 = 24 * 3600;
/// … and for this many of them.
const REMEMBER_GONE: usize = 10_000;
/// A file that was last written so long before it appeared was put there by somebody, who may have sent it already.
const OLD_ON_ARRIVAL_SECONDS: i64 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// From the oldest line on the disk.
    #[default]
    Oldest,
    /// Only what is written from now on. Counts on the lane's first start alone.
    End,
}

/// One source: a live file with its siblings, or a glob.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Absolute.
    pub path: PathBuf,
    /// Patterns of rotated siblings, absolute too; `None` derives them.
    pub rotated: Option<Vec<String>>,
    pub start: Start,
    /// Longest line in bytes; a longer one is skipped and counted.
    pub max_line: usize,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub sources: Vec<SourceConfig>,
    /// The configured cluster and node: they are part of each file's key.
    pub cluster: String,
    pub node: String,
    pub spool: spool::Config,
    /// How far the kernel tells of changes.
    pub watched: Watched,
}

/// What a source says of each of its files.
#[derive(Debug, Clone, Copy)]
struct Rule {
    start: Start,
    max_line: usize,
}

/// What is known of a physical file.
#[derive(Debug)]
enum Known {
    /// It holds a content, which is read from it.
    Content(u32),
    /// It holds what another file holds as well.
    Alias(Box<Alias>),
    /// Its first line is not complete.
    Unripe(Box<Look>),
    /// Shorter than a content that begins the same and is nowhere else: a copy in the making? So many listings to go.
    /// It is held open: deleted before the time is up, it is one of its own.
    Waiting(Box<Waiting>),
    /// It cannot be read, and why; tried again at every listing.
    Bad(Box<str>),
}

#[derive(Debug)]
struct Alias {
    of: u32,
    path: PathBuf,
    look: Look,
}

#[derive(Debug)]
struct Waiting {
    listings: u8,
    path: PathBuf,
    rule: Rule,
    reader: Reader,
}

/// What a listing meets.
#[derive(Debug, Default)]
struct Listing {
    seen: Set<Inode>,
    directories: Vec<PathBuf>,
    unseen: BTreeMap<PathBuf, io::Error>,
    waiting: Vec<(PathBuf, Look, Rule)>,
    /// Of the directory that is listed now.
    device: u64,
    /// A file that can be written by a name elsewhere was among them.
    elsewhere: bool,
}

pub struct FileSource {
    config: Config,
    patterns: Arc<[(Patterns, Rule)]>,
    store: Store,
    memory: Memory,
    /// There was a checkpoint, and it is lost.
    lost_checkpoint: bool,
    started_at: SystemTime,
    first_start: bool,
    spool: Spool,
    hold: Hold,
    stats: Arc<SourceStats>,
    /// Has one owner more for each open file.
    open: Arc<()>,
    /// Contents that were opened; some may be closed again.
    opened: BTreeSet<u32>,
    contents: Contents,
    next_id: u32,
    by_key: BTreeSet<(FileKey, u32)>,
    by_inode: Table<Inode, Known>,
    /// Contents of the checkpoint that were not met yet, by the inode that they had.
    restored: Table<Inode, u32>,
    queue: VecDeque<u32>,
    turn: u32,
    dirty: bool,
    /// List before saying that there is nothing to read.
    listing_wanted: bool,
    /// List at the next wake.
    listing_at_wake: bool,
    listed_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// Further looks within one wake.
    looks_left: u8,
    directories: Vec<(PathBuf, Option<SystemTime>)>,
    changed: bool,
    /// What could not be looked at, at the last listing.
    unseen: HashSet<PathBuf>,
    quiet: Quiet,
    /// Contents whose progress is not in the checkpoint's archive.
    recent: Set<u32>,
    /// The note of the last checkpoint.
    noted: Option<String>,
    grown_at: Table<u32, Instant>,
}

/// What the checkpoint's records become.
#[derive(Default)]
struct Restored {
    contents: Contents,
    by_inode: Table<Inode, u32>,
    next_id: u32,
}

impl Restored {
    fn take(&mut self, record: Record) {
        let id = record.id;
        let content = Content::restore(record);
        self.by_inode.insert(content.last_look.inode, id);
        // A damaged checkpoint may name one twice: the last is right.
        self.contents.restore(id, content);
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}

impl FileSource {
    /// Reads the checkpoint from `store` and what lies in the spool; the first look at the files comes with the first read.
    pub fn open(config: Config, mut store: Store) -> Result<Self, super::checkpoint::CheckpointError> {
        let mut restored = Restored::default();
        let loaded = store.load(|record| restored.take(record))?;
        let lost_checkpoint = loaded == Loaded::Lost;
        let (recent, memory) = match loaded {
            Loaded::Saved(saved) => (saved.recent, Memory::Note(saved.note.map(Arc::from))),
            Loaded::Lost | Loaded::Nothing => {
                restored = Restored::default();
                (Vec::new(), Memory::Nothing)
            }
        };
        let Restored { contents, by_inode: restored, next_id } = restored;
        let by_key = contents.iter().map(|(id, content)| (content.key, id)).collect();
        let patterns = config
            .sources
            .iter()
            .map(|s| (Patterns::new(&s.path, s.rotated.as_deref()), Rule { start: s.start, max_line: s.max_line }))
            .collect();
        let (spool, kept) = Spool::open(config.spool.clone(), store.disk());
        let mut source = Self {
            config,
            patterns,
            store,
            lost_checkpoint,
            started_at: SystemTime::now(),
            // After a lost checkpoint nobody knows what was sent: everything is read.
            first_start: memory == Memory::Nothing && !lost_checkpoint,
            memory,
            spool,
            hold: Hold::default(),
            stats: Arc::default(),
            open: Arc::default(),
            opened: BTreeSet::new(),
            contents,
            next_id,
            by_key,
            by_inode: Table::with_capacity_and_hasher(restored.len(), Default::default()),
            restored,
            queue: VecDeque::new(),
            turn: 0,
            dirty: true,
            listing_wanted: true,
            listing_at_wake: false,
            listed_at: None,
            looked_at: None,
            looks_left: LOOKS,
            directories: Vec::new(),
            changed: false,
            unseen: HashSet::new(),
            quiet: Quiet::default(),
            recent: recent.into_iter().collect(),
            noted: None,
            grown_at: Table::default(),
        };
        let used = kept.iter().map(|(owner, _)| owner.id.saturating_add(1));
        source.next_id = used.max().map_or(next_id, |id| id.max(next_id));
        for (owner, parts) in kept {
            source.attach(&owner, &parts);
        }
        Ok(source)
    }

    /// The numbers of this lane's files.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.stats.clone()
    }

    /// This content's progress is to be written.
    fn touch(&mut self, id: u32) {
        self.changed = true;
        self.recent.insert(id);
    }

    fn add(&mut self, content: Content) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.by_key.insert((content.key, id));
        self.contents.insert(id, content);
        id
    }

    /// Oldest first: by modification time, the live files last among equals, then by name.
    fn queue_up(&mut self) {
        let live = |path: &PathBuf| self.config.sources.iter().any(|s| s.path == *path);
        let mut waiting: Vec<_> = self
            .contents
            .awake()
            .filter(|(_, c)| !c.drained)
            .filter_map(|(id, c)| match &c.place {
                Some(place) => Some((place.look.modified_ns, live(&place.path), Some(&place.path), id)),
                None => c.spooled.map(|_| (c.last_look.modified_ns, false, None, id)),
            })
            .collect();
        waiting.sort_unstable();
        let order: Vec<u32> = waiting.into_iter().map(|(.., id)| id).collect();
        self.queue = order.into();
        self.turn = 0;
    }

    /// A file is read to its end, or cannot be read on: it waits until a look shows a change.
    fn drain(&mut self, id: u32, error: Option<&io::Error>) {
        self.queue.pop_front();
        self.turn = 0;
        let Some(content) = self.contents.get_mut(id) else { return };
        content.drained = true;
        if let Some(error) = error {
            tracing::warn!(path = %content.name(), %error, offset_bytes = content.read,
                "cannot read on in a log file; what is whole was read, the rest is tried again when the file changes");
        }
        let Some(place) = &mut content.place else { return };
        let packed = place.reader.as_ref().is_some_and(|r| !r.is_plain());
        if packed && error.is_none() {
            content.finished = true;
        }
        if let Some(reader) = place.reader.as_mut().filter(|_| packed) {
            reader.restart();
            self.touch(id);
        }
        if self.open_files() > OPEN_LIMIT / 2 {
            self.close_oldest();
        }
    }

    /// The next in the queue has its turn after [`TURN`] reads. A packed file keeps its place: going on with one later
    /// is free only as long as its decoder lives, so plain ones are let before it, and other packed ones wait.
    fn rotate(&mut self) {
        let plain = |id: &u32| {
            let place = self.contents.get(*id).and_then(|c| c.place.as_ref());
            place.is_none_or(|p| packing(&p.path) == Packing::Plain)
        };
        let front_is_plain = self.queue.front().is_none_or(plain);
        let next = self.queue.iter().skip(1).position(plain).map(|at| at + 1);
        match next {
            Some(at) if !front_is_plain => {
                if let Some(id) = self.queue.remove(at) {
                    self.queue.push_front(id);
                }
            }
            _ if front_is_plain => self.queue.rotate_left(1),
            _ => {}
        }
        self.turn = 0;
    }

    /// The directories in which files of these sources can appear, and those on the way to them.
    pub fn directories(sources: &[SourceConfig]) -> Vec<Directory> {
        let mut all: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for (path, files) in sources.iter().flat_map(|s| Patterns::new(&s.path, s.rotated.as_deref()).directories()) {
            *all.entry(path).or_default() |= files;
        }
        all.into_iter().map(|(path, files)| Directory { path, files }).collect()
    }
}

impl Source for FileSource {
    fn next(&mut self, chunk: &mut Chunk) -> bool {
        if std::mem::take(&mut self.dirty) {
            self.look_and_judge();
        }
        while let Some(&id) = self.queue.front() {
            let result = self.read_from(id, chunk);
            match result {
                Ok(true) => {
                    self.turn += 1;
                    if self.turn >= TURN && self.queue.len() > 1 {
                        self.rotate();
                    }
                    return true;
                }
                Ok(false) => self.drain(id, None),
                Err(error) => self.drain(id, Some(&error)),
            }
        }
        // A place that was lost in this round may have moved: look once more before saying that there is nothing.
        if self.listing_wanted && self.looks_left > 0 {
            self.looks_left -= 1;
            self.look_again();
            return self.next(chunk);
        }
        false
    }

    fn wake(&mut self) {
        self.dirty = true;
        self.looks_left = LOOKS;
    }

    fn due(&self, looked_at: Instant) -> Instant {
        self.next_look(looked_at)
    }

    fn tend(&mut self) {
        if self.looked_at.is_none_or(|at| at.elapsed() >= TEND_INTERVAL) {
            self.look_again();
        }
    }

    fn settle(&mut self, mark: Mark) {
        let Some(content) = self.contents.get_mut(mark.file) else { return };
        content.settle(mark);
        let (settled, spooled) = (content.settled, content.spooled.is_some());
        self.touch(mark.file);
        if spooled && self.spool.settle(mark.file, settled) {
            self.leave_spool(mark.file);
        }
    }

    fn rewind(&mut self) {
        self.contents.values_mut().for_each(|content| content.rewind());
        self.listing_wanted = true;
        self.dirty = true;
    }

    fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn part(&mut self) {
        self.listing_wanted = true;
        self.look_again();
        self.keep_for_the_next_start();
    }

    fn persist(&mut self, note: Option<&str>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.changed || self.noted.as_deref() != note {
            if self.recent.len() > RECENT_LIMIT {
                self.store.archive(self.contents.iter().map(|(id, content)| content.record(id)))?;
                self.recent.clear();
            }
            let recent = self.recent.iter().filter_map(|id| Some(self.contents.get(*id)?.record(*id)));
            self.store.save(recent, note)?;
            self.noted = note.map(str::to_owned);
            self.changed = false;
        }
        Ok(())
    }

    fn lag_bytes(&self) -> u64 {
        self.contents.awake().map(|(_, content)| content.lag()).sum()
    }

    fn unread_bytes(&self) -> u64 {
        self.contents.awake().map(|(_, content)| content.unread()).sum()
    }

    fn unterminated(&self) -> Vec<String> {
        let partial = |c: &Content| c.place.is_some() && c.partial > 0;
        self.contents.values().filter(|c| partial(c)).map(|c| c.name().into_owned()).collect()
    }
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

#[cfg(test)]
mod tests;

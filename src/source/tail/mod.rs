//! Files on the node as they are written, rotated, truncated, copied and compressed.
//!
//! Promises: every whole line of every file that the source names is handed out, oldest file first, once per run (again
//! after a rewind or a restart, from the lowest unsettled place); a line up to the limit is never cut; nothing waits on
//! anything but the disk; what is not settled of a file that is deleted while it is open goes into the spool. What it
//! does not do: it never deletes, locks or writes a log file, and it cannot bring back a file that was deleted before it
//! was opened: it says how much of that it knew.

mod content;
mod contents;
mod keep;
mod patterns;
pub mod reader;
mod zstd;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use content::{Content, Holds, Inode, Look, Place};
use contents::Contents;
use keep::Hold;
use patterns::{Packing, Patterns, packing};
use reader::{Alike, Reader};

use super::checkpoint::{Loaded, RECENT_LIMIT, Record, Store};
use super::spool::{self, Spool};
use super::stats::SourceStats;
use crate::lane::{Before, Chunk, HISTORY, Mark, Memory, Source, Tail, UNPERSISTED_LIMIT};
use crate::model::{FileKey, filler};

/// Bytes of one read.
const READ: usize = 256 << 10;
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
    /// Patterns of rotated siblings, relative to the path's directory; `None` derives them.
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
    seen: HashSet<Inode>,
    directories: Vec<PathBuf>,
    unseen: BTreeMap<PathBuf, io::Error>,
    waiting: Vec<(PathBuf, Look, Rule)>,
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
    by_inode: HashMap<Inode, Known>,
    /// Contents of the checkpoint that were not met yet, by the inode that they had.
    restored: HashMap<Inode, u32>,
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
    /// Contents whose progress is not in the checkpoint's archive.
    recent: HashSet<u32>,
    /// The note of the last checkpoint.
    noted: Option<String>,
    grown_at: HashMap<u32, Instant>,
}

/// What the checkpoint's records become.
#[derive(Default)]
struct Restored {
    contents: Contents,
    by_key: BTreeSet<(FileKey, u32)>,
    by_inode: HashMap<Inode, u32>,
    next_id: u32,
}

impl Restored {
    fn take(&mut self, record: Record) {
        let id = record.id;
        let content = Content::restore(record);
        // A damaged checkpoint may name one twice: the last is right.
        if let Some(old) = self.contents.remove(id) {
            self.by_key.remove(&(old.key, id));
        }
        self.by_inode.insert(content.last_look.inode, id);
        self.by_key.insert((content.key, id));
        self.contents.insert(id, content);
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
        let Restored { contents, by_key, by_inode: restored, next_id } = restored;
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
            by_inode: HashMap::with_capacity(restored.len()),
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
            recent: recent.into_iter().collect(),
            noted: None,
            grown_at: HashMap::new(),
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

    /// Looks at the directories (when something may have changed there) and at every open file.
    fn look_again(&mut self) {
        if self.listing_due() {
            self.list();
        }
        self.look_at_open_files();
        self.keep();
        self.queue_up();
        self.contents.rest();
        self.looked_at = Some(Instant::now());
    }

    fn listing_due(&mut self) -> bool {
        let overdue = self.listed_at.is_none_or(|at| at.elapsed() >= LISTING_INTERVAL);
        let since = self.listed_at.map_or(Duration::MAX, |at| at.elapsed());
        let young = |time: &SystemTime| match time.elapsed() {
            Ok(age) => age < DIRECTORY_GRAIN,
            Err(_) => since >= FUTURE_LISTING,
        };
        let moved = self.directories.iter().any(|(path, seen)| {
            let now = modified(path);
            now != *seen || now.as_ref().is_none_or(young)
        });
        let wanted = std::mem::take(&mut self.listing_wanted) | std::mem::take(&mut self.listing_at_wake);
        wanted || overdue || moved
    }

    fn list(&mut self) {
        let first = self.listed_at.is_none();
        self.listed_at = Some(Instant::now());
        let mut listing = Listing::default();
        let patterns = Arc::clone(&self.patterns);
        for (patterns, rule) in patterns.iter() {
            for (directory, names) in patterns.places() {
                self.list_directory(&directory, &names, *rule, &mut listing);
                listing.directories.push(directory);
            }
        }
        let Listing { seen, directories, unseen, waiting } = listing;
        // What they were shorter than may have been found later in the same listing.
        for (path, look, rule) in waiting {
            self.by_inode.remove(&look.inode);
            self.examine(&path, look, rule);
        }
        self.say_unseen(unseen);
        self.directories = directories.into_iter().map(|d| (d.clone(), modified(&d))).collect();
        self.begin_gone(&seen);
        self.by_inode.retain(|inode, known| matches!(known, Known::Content(_)) || seen.contains(inode));
        self.unlist(&seen);
        if first {
            self.bound_sent();
        }
        self.open_unread();
        self.open_youngest();
        self.count_lost();
        self.forget_gone();
        self.first_start = false;
        let bad = self.by_inode.values().filter(|known| matches!(known, Known::Bad(_))).count() + self.unseen.len();
        self.stats.unreadable_files.store(bad as u64, Relaxed);
        self.stats.files.store(self.by_inode.len().saturating_sub(bad) as u64, Relaxed);
    }

    fn list_directory(&mut self, directory: &Path, patterns: &[&OsStr], rule: Rule, listing: &mut Listing) {
        use rustix::fs::{AtFlags, FileType, Mode, OFlags};
        // What vanished since it was named, or never was there, is none.
        let absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        let mut names = Vec::new();
        if let Err(error) = patterns::names(directory, patterns, &mut names)
            && !absent(error.kind())
        {
            listing.unseen.insert(directory.to_path_buf(), error);
        }
        // Looking up each name from the root costs as much as the look itself.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(handle) = rustix::fs::open(directory, flags, Mode::empty()) else { return };
        for name in names {
            let path = directory.join(&name);
            let stat = match rustix::fs::statat(&handle, &*name, AtFlags::empty()).map_err(io::Error::from) {
                Ok(stat) => stat,
                Err(error) => {
                    if !absent(error.kind()) {
                        listing.unseen.insert(path, error);
                    }
                    continue;
                }
            };
            let look = Look::of_stat(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || !listing.seen.insert(look.inode) {
                continue;
            }
            self.see(&path, look, rule);
            let known = self.by_inode.get(&look.inode);
            if matches!(known, Some(Known::Waiting(waiting)) if waiting.listings == WAIT_LISTINGS) {
                listing.waiting.push((path, look, rule));
            }
        }
    }

    /// Nothing that was written after this start can have been sent before it.
    fn bound_sent(&mut self) {
        for content in self.contents.values_mut() {
            let Some(place) = content.place.as_ref().filter(|p| packing(&p.path) == Packing::Plain) else { continue };
            content.sent.0 = content.sent.0.min(place.look.size);
        }
    }

    /// Files and directories that may not even be looked at, each said once.
    fn say_unseen(&mut self, unseen: BTreeMap<PathBuf, io::Error>) {
        for (path, error) in unseen.iter().filter(|(path, _)| !self.unseen.contains(*path)) {
            tracing::warn!(path = %path.display(), %error, "cannot look at a log file or its directory; it is tried again");
        }
        self.unseen = unseen.into_keys().collect();
    }

    /// Opens what is not read yet, the oldest first: of a file that is open nothing is lost when it is deleted.
    fn open_unread(&mut self) {
        let unread = |c: &Content| !c.drained && c.place.as_ref().is_some_and(|p| p.listed && p.reader.is_none());
        let mut waiting: Vec<_> = self
            .contents
            .awake()
            .filter(|(_, c)| unread(c))
            .filter_map(|(id, c)| c.place.as_ref().map(|p| (p.look.modified_ns, id)))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            if self.open_files() >= OPEN_LIMIT && !self.close_oldest() {
                return;
            }
            match self.open_one(id) {
                Ok(false) => self.lose_place(id),
                Ok(true) => self.rest_decoder(id),
                // It is tried again when its turn comes.
                Err(_) => {}
            }
        }
    }

    /// Of a packed file that waits for its turn only the descriptor is held: a decoder costs memory.
    fn rest_decoder(&mut self, id: u32) {
        if self.queue.front() == Some(&id) {
            return;
        }
        let place = self.contents.get_mut(id).and_then(|content| content.place.as_mut());
        if let Some(reader) = place.and_then(|place| place.reader.as_mut()) {
            reader.restart();
        }
    }

    /// Opens the files that were written last: whether a file grows is only seen at once in one that is open.
    fn open_youngest(&mut self) {
        let mut young: Vec<_> = self
            .contents
            .iter()
            .filter_map(|(id, c)| c.place.as_ref().map(|p| (std::cmp::Reverse(p.look.modified_ns), id, p)))
            .filter(|(.., place)| place.listed && packing(&place.path) == Packing::Plain)
            .map(|(age, id, place)| (age, id, place.reader.is_some()))
            .collect();
        if young.len() > YOUNGEST {
            young.select_nth_unstable(YOUNGEST);
            young.truncate(YOUNGEST);
        }
        young.sort_unstable();
        for (_, id, open) in young {
            if open || self.open_files() >= OPEN_LIMIT {
                continue;
            }
            if matches!(self.open_one(id), Ok(false)) {
                self.lose_place(id);
            }
        }
    }

    /// Files that vanished before they were read to their end, and that nobody has shown again since.
    fn count_lost(&mut self) {
        for (id, content) in self.contents.iter_mut().filter(|(_, c)| c.place.is_none() && c.spooled.is_none()) {
            let Some((bytes, _)) = content.missing.take_if(|(_, since)| since.elapsed() >= LINGER_DELETED) else {
                continue;
            };
            tracing::error!(path = %content.name(), offset_bytes = content.read, lost_bytes = bytes,
                "a log file was deleted or truncated before it was read to its end, and no copy of it is there");
            self.stats.lost_files.fetch_add(1, Relaxed);
            self.stats.lost_bytes.fetch_add(bytes, Relaxed);
            // Said once, whatever is started anew.
            content.gone_since.get_or_insert_with(unix_seconds);
            self.recent.insert(id);
            self.changed = true;
        }
    }

    /// One file of the listing.
    fn see(&mut self, path: &Path, look: Look, rule: Rule) {
        match self.by_inode.get_mut(&look.inode) {
            Some(Known::Content(id)) => {
                let id = *id;
                self.see_content(id, path, look);
            }
            Some(Known::Alias(alias)) if alias.look == look => {}
            Some(Known::Unripe(seen)) if **seen == look => {}
            Some(Known::Waiting(waiting)) if waiting.listings > 0 => {
                waiting.listings -= 1;
                self.listing_at_wake = true;
            }
            _ => self.examine(path, look, rule),
        }
    }

    fn see_content(&mut self, id: u32, path: &Path, look: Look) {
        let Some(place) = self.contents.get(id).and_then(|content| content.place.as_ref()) else { return };
        let (moved, changed) =
            (place.path != path, (place.look.size, place.look.modified_ns) != (look.size, look.modified_ns));
        // An open file is looked at itself.
        let changed = changed && place.reader.is_none();
        // Nearly all files are as they were, and must not be woken for that.
        if place.listed && !moved && !changed {
            return;
        }
        let Some(content) = self.contents.get_mut(id) else { return };
        let Some(place) = &mut content.place else { return };
        place.listed = true;
        if changed {
            content.drained = false;
            place.look = look;
            content.last_look = look;
        }
        if moved {
            place.path = path.to_path_buf();
            self.touch(id);
        }
    }

    /// A physical file that is not known yet, or no more what it was: what does it hold?
    fn examine(&mut self, path: &Path, look: Look, rule: Rule) {
        let forced = matches!(self.by_inode.get(&look.inode), Some(Known::Waiting(_)));
        let known = match self.identify(path, look, rule, forced) {
            Ok(known) => known,
            Err(error) => {
                let error = error.to_string();
                let said = matches!(self.by_inode.get(&look.inode), Some(Known::Bad(known)) if **known == *error);
                if !said {
                    tracing::warn!(path = %path.display(), %error, "cannot read a log file; it is tried again");
                }
                Known::Bad(error.into_boxed_str())
            }
        };
        self.by_inode.insert(look.inode, known);
    }

    fn identify(&mut self, path: &Path, look: Look, rule: Rule, forced: bool) -> io::Result<Known> {
        if let Some(id) = self.untouched(look) {
            self.adopt(id, path, look, rule, None);
            return Ok(Known::Content(id));
        }
        let mut reader = Reader::open(path)?;
        let Some(first) = reader.first_line()? else { return Ok(Known::Unripe(Box::new(look))) };
        let key = FileKey::new(&self.config.cluster, &self.config.node, &first);
        let mut shorter = false;
        for id in self.candidates(key) {
            if self.has_good_place(id) {
                match self.alike(id, &mut reader)? {
                    Alike::No => continue,
                    Alike::Yes => return Ok(self.alias(id, path.to_path_buf(), look)),
                    Alike::Longer => {
                        self.move_to_copy(id, path, look, rule, reader);
                        return Ok(Known::Content(id));
                    }
                }
            }
            let Some(content) = self.contents.get(id) else { continue };
            match content.is_held_by(&mut reader)? {
                Holds::Yes => {
                    self.adopt(id, path, look, rule, Some(reader));
                    return Ok(Known::Content(id));
                }
                Holds::Shorter => shorter = true,
                Holds::No => {}
            }
        }
        if shorter && !forced {
            self.listing_at_wake = true;
            reader.count_in(&self.open);
            let path = path.to_path_buf();
            return Ok(Known::Waiting(Box::new(Waiting { listings: WAIT_LISTINGS, path, rule, reader })));
        }
        self.begin(key, path, look, rule, reader)
    }

    /// Contents with this key: first those that lie on the disk, then those of which most was read.
    fn candidates(&self, key: FileKey) -> Vec<u32> {
        let mut ids = self.with_key(key);
        ids.sort_by_key(|id| {
            let content = self.contents.get(*id);
            std::cmp::Reverse(content.map(|c| (c.place.is_some() || c.spooled.is_some(), c.read)))
        });
        ids
    }

    fn alias(&mut self, of: u32, path: PathBuf, look: Look) -> Known {
        if let Some(content) = self.contents.get_mut(of) {
            content.aliased = true;
        }
        Known::Alias(Box::new(Alias { of, path, look }))
    }

    /// By their ids.
    fn with_key(&self, key: FileKey) -> Vec<u32> {
        self.by_key.range((key, 0)..=(key, u32::MAX)).map(|(_, id)| *id).collect()
    }

    /// A content that was not known before.
    fn begin(&mut self, key: FileKey, path: &Path, look: Look, rule: Rule, mut reader: Reader) -> io::Result<Known> {
        let mut content = Content::new(key, look);
        content.sent = self.may_have_been_sent(&reader, look);
        if self.first_start && rule.start == Start::End {
            skip_to_end(&mut content, &mut reader, look)?;
        }
        let reader = (!content.finished).then_some(reader);
        let id = self.add(content);
        self.adopt(id, path, look, rule, reader);
        Ok(Known::Content(id))
    }

    /// Files that lost their names while they were waited for.
    fn begin_gone(&mut self, seen: &HashSet<Inode>) {
        let gone = |inode: &Inode, known: &mut Known| matches!(known, Known::Waiting(_)) && !seen.contains(inode);
        let gone: Vec<_> = self.by_inode.extract_if(gone).collect();
        for (inode, known) in gone {
            let Known::Waiting(waiting) = known else { continue };
            let Waiting { path, rule, mut reader, .. } = *waiting;
            let Ok(Some(first)) = reader.first_line() else { continue };
            let Ok(look) = reader.metadata().map(|m| Look::of(&m)) else { continue };
            let key = FileKey::new(&self.config.cluster, &self.config.node, &first);
            if let Ok(known) = self.begin(key, &path, look, rule, reader) {
                self.by_inode.insert(inode, known);
            }
        }
    }

    /// Up to where a content that no checkpoint knows may have been sent before. What is written from now on was not.
    fn may_have_been_sent(&self, reader: &Reader, look: Look) -> (u64, Before) {
        let size = if reader.is_plain() { look.size } else { u64::MAX };
        let born = reader.metadata().and_then(|m| m.created()).ok();
        let old = born.is_none_or(|at| at < self.started_at);
        // Put in its place by somebody: what a running agent reads of its own node is young.
        let aged = unix_seconds() - look.modified_ns / 1_000_000_000 > OLD_ON_ARRIVAL_SECONDS;
        match &self.memory {
            Memory::Nothing if old || self.lost_checkpoint => (size, Before::Unknown),
            Memory::Note(_) if old => (UNPERSISTED_LIMIT.min(size), Before::SinceCheckpoint),
            _ if aged => (size, Before::Unknown),
            _ => (0, Before::Never),
        }
    }

    /// As [`FileSource::may_have_been_sent`], of what lay in the spool and no checkpoint knows.
    fn before_without_record(&self) -> Before {
        match self.memory {
            Memory::Nothing => Before::Unknown,
            Memory::Note(_) => Before::SinceCheckpoint,
        }
    }

    /// A content of the checkpoint whose file shows no change since it was read to its end: it need not be opened.
    fn untouched(&self, look: Look) -> Option<u32> {
        let id = *self.restored.get(&look.inode)?;
        let content = self.contents.get(id)?;
        let same = content.last_look.size == look.size && content.last_look.modified_ns == look.modified_ns;
        let whole = content.finished || content.read == look.size;
        (content.place.is_none() && content.spooled.is_none() && same && whole).then_some(id)
    }

    /// Whether a file holds the same as the one that the content is read from, as far as both go. What was read proves
    /// nothing here: of two files that begin alike and are not read yet, each would be taken for the other's copy.
    fn alike(&mut self, id: u32, reader: &mut Reader) -> io::Result<Alike> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(Alike::No) };
        let Some(place) = &mut content.place else {
            return self.alike_in_spool(id, reader);
        };
        let mut opened = None;
        let twin = match &mut place.reader {
            Some(twin) => &mut **twin,
            None => opened.insert(Reader::open(&place.path)?),
        };
        reader::compare(twin, reader)
    }

    /// The same with what the spool holds of it.
    fn alike_in_spool(&mut self, id: u32, reader: &mut Reader) -> io::Result<Alike> {
        let Some(spooled) = self.contents.get(id).and_then(|content| content.spooled) else { return Ok(Alike::No) };
        Ok(match reader.tail_before(spooled.end)? {
            Some(tail) if tail != spooled.end_tail => Alike::No,
            Some(_) if reader.fill(&mut [0], spooled.end)? => Alike::Longer,
            Some(_) => Alike::Yes,
            None => {
                let end = reader.length()?;
                let tail = reader.tail_before(end)?;
                if tail.is_some() && self.spool.tail_at(id, end) == tail { Alike::Yes } else { Alike::No }
            }
        })
    }

    /// Of two files with the same content the longer one is read, and one that is longer than what the spool has: it
    /// holds all.
    fn move_to_copy(&mut self, id: u32, path: &Path, look: Look, rule: Rule, reader: Reader) {
        let old = self.contents.get_mut(id).and_then(|content| content.place.take());
        if let Some(old) = old {
            let alias = self.alias(id, old.path, old.look);
            self.by_inode.insert(old.look.inode, alias);
        }
        self.adopt(id, path, look, rule, Some(reader));
    }

    /// The content can still be read where it was; otherwise the place is given up.
    fn has_good_place(&mut self, id: u32) -> bool {
        let Some(content) = self.contents.get_mut(id) else { return false };
        let Some(mut place) = content.place.take() else { return content.spooled.is_some() };
        let good = match &mut place.reader {
            // One that shrank was truncated: what is there now proves nothing.
            Some(reader) => {
                reader.metadata().is_ok_and(|m| m.len() >= place.look.size)
                    && content.is_held_by(reader).is_ok_and(|h| h == Holds::Yes)
            }
            None => std::fs::metadata(&place.path)
                .is_ok_and(|m| Look::of(&m).inode == place.look.inode && m.len() >= place.look.size),
        };
        content.place = Some(place);
        if !good {
            self.lose_place(id);
        }
        // The spool may have it still.
        good || self.contents.get(id).is_some_and(|content| content.spooled.is_some())
    }

    fn adopt(&mut self, id: u32, path: &Path, look: Look, rule: Rule, reader: Option<Reader>) {
        let open = self.open_files();
        let Some(content) = self.contents.get_mut(id) else { return };
        // An untouched file (no reader given) has nothing to read.
        content.drained = reader.is_none();
        content.max_line = rule.max_line;
        content.finished &= reader.is_none();
        content.name = Box::default();
        content.gone_since = None;
        content.missing = None;
        content.last_look = look;
        let mut reader = reader.filter(|_| open < OPEN_LIMIT);
        if let Some(reader) = &mut reader {
            reader.restart();
            reader.count_in(&self.open);
            self.grown_at.insert(id, Instant::now());
            self.opened.insert(id);
        }
        content.place = Some(Place { path: path.to_path_buf(), look, reader: reader.map(Box::new), listed: true });
        // A file that is as the checkpoint has it stands there already.
        let as_saved = self.restored.remove(&look.inode) == Some(id);
        if !content.drained || !as_saved {
            self.touch(id);
        }
    }

    /// The file does not hold the content any more (truncated, replaced, deleted). Whoever else holds it takes over: the
    /// spool, or another file.
    fn lose_place(&mut self, id: u32) {
        let Some(content) = self.contents.get_mut(id) else { return };
        let Some(place) = content.place.take() else { return };
        content.name = place.path.to_string_lossy().into();
        content.skipping = None;
        content.partial = 0;
        self.by_inode.remove(&place.look.inode);
        self.grown_at.remove(&id);
        self.touch(id);
        let Some(content) = self.contents.get_mut(id) else { return };
        let reach = content.spooled.map_or(content.read, |spooled| spooled.end.max(content.read));
        let unread = place.look.size.saturating_sub(reach);
        content.missing = (packing(&place.path) == Packing::Plain && unread > 0).then(|| (unread, Instant::now()));
        if content.spooled.is_some() {
            content.drained = false;
            return;
        }
        content.gone_since = Some(unix_seconds());
        self.drop_aliases(id);
        self.listing_wanted = true;
    }

    /// What held the same is looked at anew.
    fn drop_aliases(&mut self, id: u32) {
        // A folder may lose all of its files at once.
        let aliased = self.contents.get_mut(id).is_some_and(|content| std::mem::take(&mut content.aliased));
        if aliased {
            self.by_inode.retain(|_, known| !matches!(known, Known::Alias(alias) if alias.of == id));
        }
    }

    /// Files that the listing did not show any more.
    fn unlist(&mut self, seen: &HashSet<Inode>) {
        let mut lost = Vec::new();
        for (id, content) in self.contents.iter_mut() {
            let Some(place) = &mut content.place else { continue };
            place.listed = seen.contains(&place.look.inode);
            if !place.listed && place.reader.is_none() {
                lost.push(id);
            }
        }
        for id in lost {
            self.lose_place(id);
        }
    }

    fn look_at_open_files(&mut self) {
        let mut lost = Vec::new();
        for id in self.contents.awake_ids() {
            let Some(content) = self.contents.get_mut(id) else { continue };
            let Some(place) = &mut content.place else { continue };
            let Some(reader) = &mut place.reader else { continue };
            let Ok(metadata) = reader.metadata() else { continue };
            let look = Look::of(&metadata);
            if look.size != place.look.size || look.modified_ns != place.look.modified_ns {
                content.drained = false;
                self.grown_at.insert(id, Instant::now());
                if !reader.is_plain() && look.size != place.look.size {
                    reader.restart();
                    content.finished = false;
                }
                if content.has_another_head().unwrap_or(false) {
                    lost.push(id);
                    continue;
                }
            }
            let Some(place) = &mut content.place else { continue };
            place.look = look;
            content.last_look = look;
            // Deleted files have limits of their own.
            let quiet = look.links > 0 && self.grown_at.get(&id).is_none_or(|at| at.elapsed() > LINGER);
            if !place.listed && content.drained && content.settled == content.read && quiet {
                lost.push(id);
            }
        }
        for id in lost {
            self.lose_place(id);
        }
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

    /// One read of one file. `Ok(false)`: nothing more there now.
    fn read_from(&mut self, id: u32, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        if content.place.is_none() && content.spooled.is_some() {
            return self.read_from_spool(id, chunk);
        }
        if !self.open_one(id)? {
            self.lose_place(id);
            return Ok(false);
        }
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        chunk.file = id;
        chunk.key = content.key;
        chunk.skipped_lines = 0;
        say_path(chunk, content);
        chunk.max_line = content.max_line;
        chunk.before = content.before(content.read);
        match fill(content, chunk)? {
            Filled::Lines | Filled::Skipped => {
                self.touch(id);
                Ok(true)
            }
            Filled::Nothing => Ok(false),
            Filled::Changed => {
                self.lose_place(id);
                Ok(false)
            }
        }
    }

    fn read_from_spool(&mut self, id: u32, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        chunk.file = id;
        chunk.key = content.key;
        say_path(chunk, content);
        chunk.max_line = content.max_line;
        chunk.before = content.before(content.read);
        if !self.spool.read(id, content.read, chunk).map_err(io::Error::other)? {
            return Ok(false);
        }
        content.read = chunk.offset + chunk.lines.len() as u64;
        content.read_tail = Tail::of(&chunk.buffer[..chunk.lines.end]);
        content.handed_out = content.handed_out.max(content.read);
        self.touch(id);
        Ok(true)
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

    /// Makes sure that the content's file is open and still the same inode.
    fn open_one(&mut self, id: u32) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        self.opened.insert(id);
        open_place(content, &self.open)
    }

    fn open_files(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// Closes the drained file that was modified longest ago. False when there is none.
    fn close_oldest(&mut self) -> bool {
        let contents = &self.contents;
        let place = |id: u32| contents.get(id).and_then(|c| c.place.as_ref()).filter(|p| p.reader.is_some());
        self.opened.retain(|id| place(*id).is_some());
        let drained = self.opened.iter().filter(|id| contents.get(**id).is_some_and(|c| c.drained));
        let oldest = drained.filter_map(|id| Some((place(*id).filter(|p| p.listed)?.look.modified_ns, *id))).min();
        let place = oldest.and_then(|(_, id)| self.contents.get_mut(id)?.place.as_mut());
        place.is_some_and(|place| place.reader.take().is_some())
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

    /// Forgets progress in contents that nobody will show again.
    fn forget_gone(&mut self) {
        let now = unix_seconds();
        let done = Content::is_over;
        for content in self.contents.values_mut().filter(|c| done(c)) {
            content.gone_since.get_or_insert(now);
        }
        let mut gone: Vec<_> =
            self.contents.iter().filter(|(_, c)| done(c)).map(|(id, c)| (c.gone_since.unwrap_or(now), id)).collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(REMEMBER_GONE);
        for (index, (since, id)) in gone.into_iter().enumerate() {
            if index < surplus || now - since > REMEMBER_GONE_SECONDS {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: u32) {
        let Some(content) = self.contents.remove(id) else { return };
        self.by_key.remove(&(content.key, id));
        self.grown_at.remove(&id);
        if self.restored.get(&content.last_look.inode) == Some(&id) {
            self.restored.remove(&content.last_look.inode);
        }
        self.recent.remove(&id);
        self.changed = true;
    }

    /// The directories in which files of this source can appear.
    pub fn directories(sources: &[SourceConfig]) -> Vec<PathBuf> {
        let mut all: Vec<_> =
            sources.iter().flat_map(|s| Patterns::new(&s.path, s.rotated.as_deref()).directories()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Source for FileSource {
    fn next(&mut self, chunk: &mut Chunk) -> bool {
        if std::mem::take(&mut self.dirty) {
            self.look_again();
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

    fn unterminated(&self) -> Vec<String> {
        let partial = |c: &Content| c.place.is_some() && c.partial > 0;
        self.contents.values().filter(|c| partial(c)).map(|c| c.name().into_owned()).collect()
    }
}

enum Filled {
    Lines,
    /// Only an over-long line, which was skipped.
    Skipped,
    Nothing,
    /// The bytes before the offset are not those that were read: another content.
    Changed,
}

/// See [`FileSource::open_one`].
fn open_place(content: &mut Content, open: &Arc<()>) -> io::Result<bool> {
    let Some(place) = &mut content.place else { return Ok(false) };
    if place.reader.is_none() {
        let mut reader = match Reader::open(&place.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if Look::of(&reader.metadata()?).inode != place.look.inode {
            return Ok(false);
        }
        let holds = content.is_held_by(&mut reader)? == Holds::Yes;
        reader.count_in(open);
        if let Some(place) = &mut content.place {
            place.reader = Some(Box::new(reader));
        }
        return Ok(holds);
    }
    Ok(true)
}

fn say_path(chunk: &mut Chunk, content: &Content) {
    let name = content.name();
    if *chunk.path != *name {
        chunk.path = name.into();
    }
}

/// How many bytes before the read offset are looked at, and where they begin.
fn before(content: &Content) -> (usize, u64) {
    let history = content.read.min(HISTORY as u64) as usize;
    (history, content.read - history as u64)
}

/// Reads the next lines of a content into the chunk and moves its read offset behind them.
fn fill(content: &mut Content, chunk: &mut Chunk) -> io::Result<Filled> {
    if content.skipping.is_some() {
        return skip_line(content, chunk);
    }
    let (mut history, mut from) = before(content);
    let mut capacity = history + READ;
    loop {
        let (have, failed) = read_block(content, chunk, from, capacity);
        if have < history || Tail::of(&chunk.buffer[..history]) != content.read_tail {
            return failed.map_or(Ok(Filled::Changed), Err);
        }
        let data = &chunk.buffer[history..have];
        let hole = filler(data);
        if hole > 0 && (hole < data.len() || have == capacity) {
            // A hole may be larger than any line.
            content.read += hole as u64;
            content.read_tail = Tail::of(&chunk.buffer[..history + hole]);
            (history, from) = before(content);
            capacity = history + READ;
            continue;
        }
        if let Some(end) = memchr::memrchr(b'\n', data) {
            let at_end = have < capacity;
            let partial = if at_end { data.len() - end - 1 } else { 0 };
            return Ok(hand_out(content, chunk, history..history + end + 1, partial as u64));
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if data.len() > content.max_line {
            content.skipping = Some(content.read + data.len() as u64);
            return skip_line(content, chunk);
        }
        if have < capacity {
            content.partial = data.len() as u64;
            return Ok(Filled::Nothing);
        }
        capacity = (history + content.max_line + 1).min(history + data.len() * 4);
    }
}

/// Fills the chunk's buffer up to `capacity` bytes from `from`. What was read before an error counts.
fn read_block(content: &mut Content, chunk: &mut Chunk, from: u64, capacity: usize) -> (usize, Option<io::Error>) {
    chunk.buffer.resize(capacity, 0);
    let Some(reader) = content.place.as_mut().and_then(|p| p.reader.as_mut()) else { return (0, None) };
    let mut have = 0;
    while have < capacity {
        match reader.read_at(&mut chunk.buffer[have..], from + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (have, Some(e)),
        }
    }
    (have, None)
}

fn hand_out(content: &mut Content, chunk: &mut Chunk, lines: std::ops::Range<usize>, partial: u64) -> Filled {
    chunk.offset = content.read;
    content.read += lines.len() as u64;
    content.read_tail = Tail::of(&chunk.buffer[..lines.end]);
    content.handed_out = content.handed_out.max(content.read);
    content.partial = partial;
    chunk.lines = lines;
    if usize::from(content.head.len) < HISTORY {
        // The head only matters for telling a replaced file; without it the bytes before the offset do.
        let _ = content.grow_head();
    }
    Filled::Lines
}

/// Looks for the end of an over-long line. The chunk then holds no line, only its count.
fn skip_line(content: &mut Content, chunk: &mut Chunk) -> io::Result<Filled> {
    let Some(mut at) = content.skipping else { return Ok(Filled::Nothing) };
    loop {
        let (have, failed) = read_block(content, chunk, at, READ);
        if let Some(end) = memchr::memchr(b'\n', &chunk.buffer[..have]) {
            let after = at + end as u64 + 1;
            let Some(reader) = content.place.as_mut().and_then(|p| p.reader.as_mut()) else {
                return Ok(Filled::Nothing);
            };
            let Some(tail) = reader.tail_before(after)? else { return Ok(Filled::Changed) };
            chunk.skipped_lines = 1;
            chunk.offset = after;
            // The mark of a chunk without lines is made of these bytes.
            let history = after.min(HISTORY as u64) as usize;
            chunk.buffer.resize(history, 0);
            reader.fill(&mut chunk.buffer, after - history as u64)?;
            tracing::warn!(path = %content.name(), offset_bytes = content.read, line_bytes = after - content.read - 1,
                "skipped a line that is longer than max_line; it is counted as dropped");
            chunk.lines = history..history;
            content.read = after;
            content.handed_out = content.handed_out.max(after);
            content.read_tail = tail;
            content.skipping = None;
            return Ok(Filled::Skipped);
        }
        at += have as u64;
        content.skipping = Some(at);
        if let Some(error) = failed {
            return Err(error);
        }
        if have < READ {
            content.partial = at - content.read;
            return Ok(Filled::Nothing);
        }
    }
}

/// For `start: end`: everything that is there now counts as read and settled.
fn skip_to_end(content: &mut Content, reader: &mut Reader, look: Look) -> io::Result<()> {
    if !reader.is_plain() {
        content.finished = true;
        content.drained = true;
        return Ok(());
    }
    let mut end = look.size;
    let mut block = vec![0; READ];
    while end > 0 {
        let start = end.saturating_sub(READ as u64);
        let part = &mut block[..(end - start) as usize];
        reader.fill(part, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', part) {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    let tail = reader.tail_before(end)?.unwrap_or_default();
    (content.read, content.read_tail) = (end, tail);
    (content.settled, content.settled_tail) = (end, tail);
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

#[cfg(test)]
mod tests;

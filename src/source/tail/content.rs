//! One file by what it holds, and where on the disk that lies now.
//!
//! Progress belongs to a content, not to a path or an inode: when a log is renamed, copied away and truncated, or
//! compressed, the content moves to another physical file and is read on there. What a physical file holds is proven by
//! its file key and by the bytes before the offset, never assumed.

use std::borrow::Cow;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::patterns::{Packing, packing};
use super::reader::Reader;
use crate::lane::{Before, HISTORY, Mark, Tail, UNPERSISTED_LIMIT};
use crate::model::FileKey;
use crate::source::checkpoint::Record;

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    pub device: u64,
    pub number: u64,
}

/// What a directory entry said when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub inode: Inode,
    pub size: u64,
    pub modified_ns: i64,
    pub links: u64,
}

impl Look {
    // Which of the types are signed depends on the processor.
    #[allow(clippy::unnecessary_cast)]
    pub fn of_stat(stat: &rustix::fs::Stat) -> Self {
        let (seconds, nanoseconds) = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        Self {
            inode: Inode { device: stat.st_dev as u64, number: stat.st_ino as u64 },
            size: stat.st_size as u64,
            modified_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
            links: stat.st_nlink as u64,
        }
    }

    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: Inode { device: metadata.dev(), number: metadata.ino() },
            size: metadata.len(),
            modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            links: metadata.nlink(),
        }
    }
}

/// Where a content lies now.
#[derive(Debug)]
pub struct Place {
    pub path: PathBuf,
    pub look: Look,
    /// Open while there is something to read, and for the live file.
    pub reader: Option<Box<Reader>>,
    /// Seen under a name of the source at the last listing.
    pub listed: bool,
}

impl Place {
    pub fn is_elsewhere(&self, path: &Path) -> bool {
        // Not part by part, as paths compare: both come from the same patterns.
        self.path.as_os_str() != path.as_os_str()
    }

    /// An open file is looked at itself.
    pub fn has_changed(&self, look: Look) -> bool {
        self.reader.is_none() && (self.look.size, self.look.modified_ns) != (look.size, look.modified_ns)
    }
}

/// What of a content stands in the spool, while its file is still open: the last part, from where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled {
    pub part: u64,
    pub start: u64,
    pub start_tail: Tail,
    pub end: u64,
    pub end_tail: Tail,
    /// Size of the file when all of its whole lines stood there.
    pub complete_at: Option<u64>,
}

#[derive(Debug)]
pub struct Content {
    pub key: FileKey,
    /// Fingerprint of the first bytes; grows until it covers [`HISTORY`].
    pub head: Tail,
    /// Everything before is handed out.
    pub read: u64,
    pub read_tail: Tail,
    /// Everything before is settled.
    pub settled: u64,
    pub settled_tail: Tail,
    pub place: Option<Place>,
    pub spooled: Option<Spooled>,
    /// Size of the file when behind `settled` stood nothing that the spool takes: half a line, or a hole.
    pub bare_at: Option<u64>,
    /// Everything before has been handed out at some time; a rewind does not lower it.
    pub handed_out: u64,
    /// Bytes behind `read` that were there when the place was lost, and since when nobody has shown them again.
    pub missing: Option<(u64, Instant)>,
    /// Path for people, of one that has no place. See [`Content::name`].
    pub name: Box<str>,
    /// Another file may be known to hold the same.
    pub aliased: bool,
    /// A compressed file was read to its end.
    pub finished: bool,
    /// Nothing more to read as far as we know; cleared by a look that shows a change.
    pub drained: bool,
    /// In the middle of an over-long line: where the search for its end goes on.
    pub skipping: Option<u64>,
    /// Longest line in bytes.
    pub max_line: usize,
    /// Bytes after the last newline at the end of the file.
    pub partial: u64,
    pub gone_since: Option<i64>,
    /// Lines that begin before `sent.0` may have been sent before this start.
    pub sent: (u64, Before),
    /// Last seen look, also when the place is lost.
    pub last_look: Look,
}

/// Does a physical file hold a content?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It begins with everything that was read of it.
    Yes,
    /// It holds something else.
    No,
    /// It is shorter than what was read: a copy in the making, or something else.
    Shorter,
}

impl Content {
    pub fn new(key: FileKey, look: Look) -> Self {
        Self {
            key,
            head: Tail::default(),
            read: 0,
            read_tail: Tail::of(b""),
            settled: 0,
            settled_tail: Tail::of(b""),
            place: None,
            spooled: None,
            bare_at: None,
            handed_out: 0,
            missing: None,
            name: Box::default(),
            aliased: false,
            finished: false,
            drained: false,
            skipping: None,
            max_line: 0,
            partial: 0,
            gone_since: None,
            sent: (0, Before::Never),
            last_look: look,
        }
    }

    pub fn restore(record: Record) -> Self {
        let look = Look {
            inode: Inode { device: record.device, number: record.inode },
            size: record.size,
            modified_ns: record.modified_ns,
            links: 1,
        };
        let unread = record.size.saturating_sub(record.offset);
        let plain = packing(Path::new(&record.path)) == Packing::Plain;
        let lost = plain && unread > 0 && record.gone_since.is_none();
        Self {
            head: record.head(),
            handed_out: record.offset,
            missing: lost.then(|| (unread, Instant::now())),
            read: record.offset,
            read_tail: record.tail(),
            settled: record.offset,
            settled_tail: record.tail(),
            finished: record.finished,
            gone_since: record.gone_since,
            name: record.path.into_boxed_str(),
            sent: (record.read.max(record.offset).saturating_add(UNPERSISTED_LIMIT), Before::SinceCheckpoint),
            ..Self::new(FileKey(record.key), look)
        }
    }

    pub fn record(&self, id: u32) -> Record {
        let look = self.place.as_ref().map_or(self.last_look, |p| p.look);
        Record {
            id,
            key: self.key.0,
            device: look.inode.device,
            inode: look.inode.number,
            path: self.name().into_owned(),
            size: look.size,
            modified_ns: look.modified_ns,
            head_len: self.head.len,
            head_hash: self.head.hash,
            offset: self.settled,
            tail_len: self.settled_tail.len,
            tail_hash: self.settled_tail.hash,
            read: self.read,
            finished: self.finished && self.settled == self.read,
            gone_since: self.gone_since,
        }
    }

    /// It lies there now. Whether something is to be read there, the caller says.
    pub fn lie_at(&mut self, path: &Path, look: Look, reader: Option<Box<Reader>>) {
        let name = std::mem::take(&mut self.name);
        // After a start nearly all lie where the checkpoint says.
        let path = match name.as_bytes() == path.as_os_str().as_bytes() {
            true => PathBuf::from(String::from(name)),
            false => path.to_path_buf(),
        };
        self.gone_since = None;
        self.missing = None;
        self.last_look = look;
        self.place = Some(Place { path, look, reader, listed: true });
    }

    /// It lies there as it did at the last listing. Also of one that lies nowhere.
    pub fn is_still(&self, path: &Path, look: Look) -> bool {
        self.place.as_ref().is_none_or(|place| place.listed && !place.is_elsewhere(path) && !place.has_changed(look))
    }

    /// Everything was read of a file of this name and size, as far as that can be known without opening it. The size of a
    /// packed file says nothing.
    pub fn is_whole(&self, path: &Path, size: u64) -> bool {
        self.finished || (self.read == size && packing(path) == Packing::Plain)
    }

    /// Path for people.
    pub fn name(&self) -> Cow<'_, str> {
        self.place.as_ref().map_or(Cow::Borrowed(&*self.name), |place| place.path.to_string_lossy())
    }

    /// Nothing is to be done with it until a listing shows a change.
    pub fn rests(&self) -> bool {
        let still = self.place.as_ref().is_none_or(|place| place.listed && place.reader.is_none() && self.drained);
        still && self.spooled.is_none() && self.missing.is_none() && self.lag() == 0
    }

    /// Proves by the bytes that `reader` holds this content, as far as it was read.
    pub fn is_held_by(&self, reader: &mut Reader) -> io::Result<Holds> {
        if reader.is_plain() && self.head.len > 0 {
            let mut window = vec![0; self.head.len as usize];
            if !reader.fill(&mut window, 0)? {
                return Ok(Holds::Shorter);
            }
            if Tail::of(&window) != self.head {
                return Ok(Holds::No);
            }
        }
        Ok(match reader.tail_before(self.read)? {
            None => Holds::Shorter,
            Some(tail) if tail == self.read_tail => Holds::Yes,
            Some(_) => Holds::No,
        })
    }

    /// Of a line at `offset`.
    pub fn before(&self, offset: u64) -> Before {
        if offset < self.sent.0 { self.sent.1 } else { Before::Never }
    }

    /// Lets the head's fingerprint grow while the file is short.
    pub fn grow_head(&mut self) -> io::Result<()> {
        let Some(reader) = self.place.as_mut().and_then(|p| p.reader.as_mut()) else { return Ok(()) };
        let want = self.read.min(HISTORY as u64) as usize;
        if !reader.is_plain() || usize::from(self.head.len) >= want {
            return Ok(());
        }
        let mut window = vec![0; want];
        if reader.fill(&mut window, 0)? {
            self.head = Tail::of(&window);
        }
        Ok(())
    }

    /// The file began anew under the same inode. Looks at its first bytes only.
    pub fn has_another_head(&mut self) -> io::Result<bool> {
        let Some(reader) = self.place.as_mut().and_then(|p| p.reader.as_mut()) else { return Ok(false) };
        if self.head.len == 0 {
            return Ok(false);
        }
        let mut window = vec![0; self.head.len.into()];
        Ok(reader.is_plain() && !(reader.fill(&mut window, 0)? && Tail::of(&window) == self.head))
    }

    /// All of it that anybody could still show is read and settled.
    pub fn is_over(&self) -> bool {
        self.place.is_none() && self.spooled.is_none() && self.settled == self.read
    }

    pub fn settle(&mut self, mark: Mark) {
        if mark.offset > self.settled {
            self.settled = mark.offset;
            self.settled_tail = mark.tail;
        }
    }

    /// Goes back to the lowest unsettled place.
    pub fn rewind(&mut self) {
        if self.read != self.settled {
            self.read = self.settled;
            self.read_tail = self.settled_tail;
            self.finished = false;
            self.drained = false;
            self.skipping = None;
        }
    }

    /// Bytes that are not settled, as far as they are known.
    pub fn lag(&self) -> u64 {
        self.behind(self.settled)
    }

    /// Bytes that are not handed out, as far as they are known.
    pub fn unread(&self) -> u64 {
        self.behind(self.read)
    }

    /// Bytes of whole lines from an offset on.
    fn behind(&self, offset: u64) -> u64 {
        let known = self.read.max(self.spooled.map_or(0, |spooled| spooled.end));
        let Some(place) = &self.place else { return known - offset };
        match packing(&place.path) {
            _ if self.finished => self.read - offset,
            Packing::Plain => (place.look.size.max(self.read) - offset).saturating_sub(self.partial),
            Packing::Gzip | Packing::Zstd => place.look.size,
        }
    }
}

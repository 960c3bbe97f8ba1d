//! Files that are out of reach: deleted, or moved to where no source looks.
//!
//! A deleted file can be read as long as we hold it open, and no longer. So what is not settled of it is put into the
//! spool at the look that finds it gone, before anything else can end this process. Then the open file is only worth what
//! its writer may still append, and costs the space that it keeps from being freed unseen: a few small ones are held for
//! as long as a moved one is, what is beyond is closed as soon as it is quiet.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::content::{Content, Spooled};
use super::fill::{Filled, fill};
use super::patterns::{Packing, packing};
use super::reader::Reader;
use super::{FileSource, Known, LINGER, LINGER_DELETED, unix_seconds};
use crate::lane::Tail;
use crate::source::spool::{Owner, Part, SpoolError};

/// Deleted files may keep so much space from being freed …
const HELD_DELETED_BYTES: u64 = 32 << 20;
/// … and be so many.
const HELD_DELETED_FILES: usize = 16;
/// A spool that could not be written is tried again after this time.
const SPOOL_RETRY: Duration = Duration::from_secs(5);
/// That something must be held is said again after this time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What stands in the way of the spool.
#[derive(Debug, Default)]
pub struct Hold {
    failed_at: Option<Instant>,
    said_at: Option<Instant>,
}

/// A deleted file that is held open.
struct Deleted {
    quiet: Duration,
    size: u64,
    id: u32,
    /// Nothing of it would be lost with it.
    covered: bool,
}

impl FileSource {
    /// Takes up the parts that an earlier run left.
    pub(super) fn attach(&mut self, owner: &Owner, parts: &[Part]) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return };
        for gap in parts.windows(2).filter(|pair| pair[0].end < pair[1].start) {
            tracing::error!(
                path = owner.path,
                offset_bytes = gap[0].end,
                lost_bytes = gap[1].start - gap[0].end,
                "a part of the spool is missing"
            );
            self.stats.lost_bytes.fetch_add(gap[1].start - gap[0].end, Relaxed);
        }
        let id = self.owner_of(owner, first.start, last.end);
        if id != owner.id {
            self.spool.rename(owner.id, id);
        }
        let tail = self.spool.tail_at(id, first.start).unwrap_or_default();
        let Some(content) = self.contents.get_mut(id) else { return };
        if content.settled < first.start {
            // What was before is settled: it would stand here otherwise.
            (content.settled, content.settled_tail) = (first.start, tail);
            (content.read, content.read_tail) = (first.start, tail);
        }
        let settled = content.settled;
        if self.spool.settle(id, settled) {
            return;
        }
        let end_tail = self.spool.tail_at(id, last.end).unwrap_or_default();
        let Some(content) = self.contents.get_mut(id) else { return };
        content.spooled = Some(Spooled {
            part: last.number,
            start: last.start,
            start_tail: Tail::default(),
            end: last.end,
            end_tail,
            complete_at: None,
        });
        content.max_line = owner.max_line;
        content.handed_out = content.settled;
        content.missing = None;
        content.gone_since = None;
        content.name = owner.path.as_str().into();
        self.touch(id);
    }

    /// Whose the parts are: a content of the checkpoint that is proven to be it, or a new one.
    fn owner_of(&mut self, owner: &Owner, start: u64, end: u64) -> u32 {
        let key = crate::model::FileKey(owner.key);
        let named = self.contents.get(owner.id).filter(|c| c.key == key);
        if named.is_some_and(|c| c.settled < start || c.settled >= end) {
            return owner.id;
        }
        let mut ids = self.with_key(key);
        // The named one first: of files that begin alike and are not settled at all, each would do.
        ids.sort_by_key(|id| *id != owner.id);
        for id in ids {
            let Some(content) = self.contents.get(id).filter(|c| c.spooled.is_none()) else { continue };
            let (settled, tail) = (content.settled, content.settled_tail);
            if (start..=end).contains(&settled) && self.spool.tail_at(owner.id, settled) == Some(tail) {
                return id;
            }
        }
        let look = super::Look { inode: super::Inode { device: 0, number: 0 }, size: 0, modified_ns: 0, links: 0 };
        let mut content = Content::new(key, look);
        content.head = Tail { len: owner.head_len, hash: owner.head_hash };
        content.sent = (u64::MAX, self.before_without_record());
        if self.contents.get(owner.id).is_some() {
            return self.add(content);
        }
        self.by_key.insert((key, owner.id));
        self.contents.insert(owner.id, content);
        owner.id
    }

    /// Puts what is not settled of deleted files into the spool, and closes those that nobody needs any more.
    pub(super) fn keep(&mut self) {
        for id in self.out_of_reach(true) {
            self.keep_one(id);
        }
        self.close_deleted();
        self.stats.spool_bytes.store(self.spool.size(), Relaxed);
        self.stats.spool_held.store(self.hold.failed_at.is_some().into(), Relaxed);
    }

    /// What the spool should hold cannot be put there.
    pub(super) fn is_held(&self) -> bool {
        self.hold.failed_at.is_some()
    }

    /// Files that are open and have no name that a source knows; `deleted` ones have none at all.
    pub(super) fn out_of_reach(&self, deleted: bool) -> Vec<u32> {
        let lost = |c: &Content| {
            c.place.as_ref().is_some_and(|p| !p.listed && p.reader.is_some() && (p.look.links == 0 || !deleted))
        };
        self.contents.awake().filter(|(_, c)| lost(c)).map(|(id, _)| id).collect()
    }

    fn keep_one(&mut self, id: u32) {
        if !self.has_uncovered(id) {
            return;
        }
        if self.hold.failed_at.is_some_and(|at| at.elapsed() < SPOOL_RETRY) {
            return;
        }
        if self.stands_elsewhere(id) {
            return self.lose_place(id);
        }
        match self.spool_up(id) {
            Ok(()) => {
                if self.hold.failed_at.take().is_some() {
                    tracing::info!(lane_dir = %self.config.spool.dir.display(), "the spool takes what must be kept again");
                    self.hold.said_at = None;
                }
            }
            Err(error) => self.say_held(id, &error),
        }
    }

    /// There are bytes that are not settled and that the spool does not hold.
    fn has_uncovered(&self, id: u32) -> bool {
        let Some(content) = self.contents.get(id) else { return false };
        let Some(place) = &content.place else { return false };
        let size = place.look.size;
        let complete_at = content.spooled.map_or(content.bare_at, |spooled| spooled.complete_at);
        // How much a packed file holds is known once it is read to its end.
        let settled = match packing(&place.path) {
            Packing::Plain => size <= content.settled,
            _ => content.finished && content.settled == content.read,
        };
        !settled && complete_at != Some(size)
    }

    /// Another file on the disk holds all of it: a copy, or what became of it by compression.
    fn stands_elsewhere(&mut self, id: u32) -> bool {
        let Some(content) = self.contents.get_mut(id).filter(|c| c.spooled.is_none()) else { return false };
        let Some(place) = &mut content.place else { return false };
        let Some(reader) = &mut place.reader else { return false };
        // Of a packed file that is not read to its end nobody knows where that is: it is kept.
        let size = match reader.is_plain() {
            true => place.look.size,
            false if content.finished => content.read,
            false => return false,
        };
        let Ok(Some(end)) = reader.tail_before(size) else { return false };
        self.by_inode.values().any(|known| match known {
            Known::Alias(alias) if alias.of == id => Reader::open(&alias.path)
                .and_then(|mut copy| copy.tail_before(size))
                .is_ok_and(|tail| tail == Some(end)),
            _ => false,
        })
    }

    /// Copies what is not settled, up to the last whole line. Parts that were written stay, whatever comes after.
    fn spool_up(&mut self, id: u32) -> Result<(), SpoolError> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(()) };
        let Some(place) = content.place.take() else { return Ok(()) };
        let size = place.look.size;
        let (from, tail, instead) = self.spool_from(id);
        let Some(content) = self.contents.get_mut(id) else { return Ok(()) };
        let owner = Owner {
            id,
            key: content.key.0,
            head_len: content.head.len,
            head_hash: content.head.hash,
            path: place.path.to_string_lossy().into_owned(),
            max_line: content.max_line,
        };
        let mut cursor = Content::new(content.key, content.last_look);
        cursor.head = Tail { len: crate::lane::HISTORY as u16, hash: 0 };
        (cursor.read, cursor.read_tail, cursor.max_line) = (from, tail, content.max_line);
        cursor.place = Some(place);
        let result = self.copy(id, &owner, &mut cursor, instead);
        if let Some(content) = self.contents.get_mut(id) {
            content.place = cursor.place.take();
            match (&result, &mut content.spooled) {
                (Err(_), _) => {}
                (Ok(()), Some(spooled)) => spooled.complete_at = Some(size),
                (Ok(()), None) => content.bare_at = Some(size),
            }
        }
        result
    }

    /// Where the copy goes on: offset, fingerprint before it, and the part that is written anew.
    fn spool_from(&self, id: u32) -> (u64, Tail, Option<u64>) {
        let Some(content) = self.contents.get(id) else { return (0, Tail::default(), None) };
        let settled = (content.settled, content.settled_tail);
        match (content.spooled, self.spool.last(id)) {
            (Some(spooled), Some(part)) if spooled.end > content.settled => {
                if part.number != spooled.part || !self.spool.is_small(part) {
                    (spooled.end, spooled.end_tail, None)
                } else if content.settled > spooled.start {
                    (settled.0, settled.1, Some(part.number))
                } else {
                    (spooled.start, spooled.start_tail, Some(part.number))
                }
            }
            _ => (settled.0, settled.1, None),
        }
    }

    fn copy(
        &mut self,
        id: u32,
        owner: &Owner,
        cursor: &mut Content,
        mut instead: Option<u64>,
    ) -> Result<(), SpoolError> {
        loop {
            let (start, start_tail) = (cursor.read, cursor.read_tail);
            let contents = &self.contents;
            let read = |id: u32| contents.get(id).map_or(0, |content| content.handed_out);
            let written = self.spool.write(owner, start, instead.take(), read, |chunk| {
                chunk.skipped_lines = 0;
                Ok(matches!(fill(cursor, chunk)?, Filled::Lines | Filled::Skipped))
            });
            self.stats.spool_given_up_lines.store(self.spool.given_up_lines(), Relaxed);
            let Some(written) = written? else { break };
            let (end, end_tail) = (written.part.end, written.tail);
            let spooled = Spooled { part: written.part.number, start, start_tail, end, end_tail, complete_at: None };
            if let Some(content) = self.contents.get_mut(id) {
                content.spooled = Some(spooled);
            }
            self.stats.spooled_lines.fetch_add(written.part.lines, Relaxed);
            tracing::info!(
                path = owner.path,
                offset_bytes = start,
                lines = written.part.lines,
                bytes = end - start,
                spool_bytes = written.part.size,
                "a log file was deleted before it was settled; the rest is in the spool"
            );
            if !written.more {
                break;
            }
            (cursor.read, cursor.read_tail, cursor.skipping) = (end, end_tail, None);
        }
        self.touch(id);
        Ok(())
    }

    fn say_held(&mut self, id: u32, error: &SpoolError) {
        self.stats.spool_failures.fetch_add(1, Relaxed);
        self.hold.failed_at = Some(Instant::now());
        if self.hold.said_at.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            self.hold.said_at = Some(Instant::now());
            let path = self.contents.get(id).map(|content| content.name().into_owned()).unwrap_or_default();
            tracing::error!(%path, %error,
                "a deleted log file is held open, because what is not settled of it cannot be put into the spool");
        }
    }

    /// Closes deleted files: quiet ones after [`LINGER`], and sooner what is beyond the limits, the quietest first.
    fn close_deleted(&mut self) {
        let mut held: Vec<Deleted> = self.out_of_reach(true).into_iter().filter_map(|id| self.deleted(id)).collect();
        self.stats.deleted_open_files.store(held.len() as u64, Relaxed);
        held.sort_unstable_by_key(|file| std::cmp::Reverse(file.quiet));
        let (mut bytes, mut files) = (held.iter().map(|file| file.size).sum::<u64>(), held.len());
        for file in held {
            let beyond = bytes > HELD_DELETED_BYTES || files > HELD_DELETED_FILES;
            let over = file.quiet > LINGER || (beyond && file.quiet > LINGER_DELETED);
            if over && file.covered {
                self.close(file.id);
                bytes -= file.size;
                files -= 1;
            }
        }
    }

    fn deleted(&self, id: u32) -> Option<Deleted> {
        let content = self.contents.get(id)?;
        let size = content.place.as_ref()?.look.size;
        let quiet = self.grown_at.get(&id).map_or(Duration::MAX, Instant::elapsed);
        let done = content.drained && content.settled == content.read;
        Some(Deleted { quiet, size, id, covered: done || !self.has_uncovered(id) })
    }

    /// Lets go of a deleted file. What the spool holds of it is read on from there.
    fn close(&mut self, id: u32) {
        let Some(content) = self.contents.get(id) else { return };
        if content.partial > 0 {
            tracing::warn!(path = %content.name(), lost_bytes = content.partial,
                "a deleted log file ends in the middle of a line, which nobody will end any more");
            self.stats.lost_bytes.fetch_add(content.partial, Relaxed);
        }
        self.lose_place(id);
        if let Some(content) = self.contents.get_mut(id) {
            content.missing = None;
        }
    }

    /// The spool holds nothing more of it: whoever else holds more on the disk may show it.
    pub(super) fn leave_spool(&mut self, id: u32) {
        let Some(content) = self.contents.get_mut(id) else { return };
        content.spooled = None;
        if content.place.is_none() {
            content.gone_since = Some(unix_seconds());
            self.drop_aliases(id);
            self.listing_wanted = true;
        }
    }

    /// The process ends: what the next start could not find any more is put into the spool.
    pub(super) fn keep_for_the_next_start(&mut self) {
        self.hold.failed_at = None;
        for id in self.out_of_reach(false) {
            if !self.has_uncovered(id) || self.stands_elsewhere(id) {
                continue;
            }
            if let Err(error) = self.spool_up(id) {
                self.say_lost(id, &error);
            }
        }
        self.stats.spool_bytes.store(self.spool.size(), Relaxed);
    }

    fn say_lost(&self, id: u32, error: &SpoolError) {
        let Some(content) = self.contents.get(id) else { return };
        let reach = content.spooled.map_or(content.settled, |spooled| spooled.end.max(content.settled));
        let bytes = content.last_look.size.saturating_sub(reach);
        tracing::error!(path = %content.name(), %error, lost_bytes = bytes,
            "what is not settled of a log file without a name is lost with this process");
        self.stats.lost_files.fetch_add(1, Relaxed);
        self.stats.lost_bytes.fetch_add(bytes, Relaxed);
    }
}

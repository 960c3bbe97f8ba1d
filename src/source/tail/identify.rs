//! What a physical file holds: a content that is known, a copy of one, or a new one; and where a content lies now.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::content::{Content, Holds, Look};
use super::patterns::{Packing, packing};
use super::reader::{self, Alike, Reader};
use super::{
    Alias, FileSource, Known, OLD_ON_ARRIVAL_SECONDS, OPEN_LIMIT, READ, Rule, Start, WAIT_LISTINGS, Waiting,
    unix_seconds,
};
use crate::lane::{Before, Memory, UNPERSISTED_LIMIT};
use crate::model::FileKey;

impl FileSource {
    /// A physical file that is not known yet, or no more what it was: what does it hold?
    pub(super) fn examine(&mut self, path: &Path, look: Look, rule: Rule) {
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

    pub(super) fn identify(&mut self, path: &Path, look: Look, rule: Rule, forced: bool) -> io::Result<Known> {
        if let Some(id) = self.untouched(path, look) {
            self.take_up(id, path, look, rule);
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
    pub(super) fn candidates(&self, key: FileKey) -> Vec<u32> {
        let mut ids = self.with_key(key);
        ids.sort_by_key(|id| {
            let content = self.contents.get(*id);
            std::cmp::Reverse(content.map(|c| (c.place.is_some() || c.spooled.is_some(), c.read)))
        });
        ids
    }

    pub(super) fn alias(&mut self, of: u32, path: PathBuf, look: Look) -> Known {
        if let Some(content) = self.contents.get_mut(of) {
            content.aliased = true;
        }
        Known::Alias(Box::new(Alias { of, path, look }))
    }

    /// By their ids.
    pub(super) fn with_key(&self, key: FileKey) -> Vec<u32> {
        self.by_key.range((key, 0)..=(key, u32::MAX)).map(|(_, id)| *id).collect()
    }

    /// A content that was not known before.
    pub(super) fn begin(
        &mut self,
        key: FileKey,
        path: &Path,
        look: Look,
        rule: Rule,
        mut reader: Reader,
    ) -> io::Result<Known> {
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

    /// Up to where a content that no checkpoint knows may have been sent before. What is written from now on was not.
    pub(super) fn may_have_been_sent(&self, reader: &Reader, look: Look) -> (u64, Before) {
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
    pub(super) fn before_without_record(&self) -> Before {
        match self.memory {
            Memory::Nothing => Before::Unknown,
            Memory::Note(_) => Before::SinceCheckpoint,
        }
    }

    /// A content of the checkpoint whose file shows no change since it was read, to its end or, of a packed one, to
    /// anywhere: it need not be opened. What is read on of a packed file is proven by [`super::fill`] when its turn comes;
    /// a proof now would unpack twice all that was read of it.
    fn untouched(&self, path: &Path, look: Look) -> Option<u32> {
        let id = *self.restored.get(&look.inode)?;
        let content = self.contents.get(id)?;
        let same = content.last_look.size == look.size && content.last_look.modified_ns == look.modified_ns;
        let known = content.is_whole(path, look.size) || (content.read > 0 && packing(path) != Packing::Plain);
        (content.place.is_none() && content.spooled.is_none() && same && known).then_some(id)
    }

    /// False: the file is not [`FileSource::untouched`].
    pub(super) fn adopt_untouched(&mut self, path: &Path, look: Look, rule: Rule) -> bool {
        let Some(id) = self.untouched(path, look) else { return false };
        self.take_up(id, path, look, rule);
        self.by_inode.insert(look.inode, Known::Content(id));
        true
    }

    /// An untouched file takes up its content, which stands in the checkpoint already.
    fn take_up(&mut self, id: u32, path: &Path, look: Look, rule: Rule) {
        self.restored.remove(&look.inode);
        self.contents.update(id, |content| {
            content.drained = content.is_whole(path, look.size);
            content.max_line = rule.max_line;
            content.lie_at(path, look, None);
        });
    }

    /// Whether a file holds the same as the one that the content is read from, as far as both go. What was read proves
    /// nothing here: of two files that begin alike and are not read yet, each would be taken for the other's copy.
    pub(super) fn alike(&mut self, id: u32, reader: &mut Reader) -> io::Result<Alike> {
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
    pub(super) fn alike_in_spool(&mut self, id: u32, reader: &mut Reader) -> io::Result<Alike> {
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
    pub(super) fn move_to_copy(&mut self, id: u32, path: &Path, look: Look, rule: Rule, reader: Reader) {
        let old = self.contents.get_mut(id).and_then(|content| content.place.take());
        if let Some(old) = old {
            let alias = self.alias(id, old.path, old.look);
            self.by_inode.insert(old.look.inode, alias);
        }
        self.adopt(id, path, look, rule, Some(reader));
    }

    /// The content can still be read where it was; otherwise the place is given up.
    pub(super) fn has_good_place(&mut self, id: u32) -> bool {
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

    pub(super) fn adopt(&mut self, id: u32, path: &Path, look: Look, rule: Rule, reader: Option<Reader>) {
        let open = self.open_files();
        let Some(content) = self.contents.get_mut(id) else { return };
        // An untouched file (no reader given) has nothing to read.
        content.drained = reader.is_none();
        content.max_line = rule.max_line;
        content.finished &= reader.is_none();
        let mut reader = reader.filter(|_| open < OPEN_LIMIT);
        if let Some(reader) = &mut reader {
            reader.restart();
            reader.count_in(&self.open);
            self.grown_at.insert(id, Instant::now());
            self.opened.insert(id);
        }
        content.lie_at(path, look, reader.map(Box::new));
        // A file that is as the checkpoint has it stands there already.
        let as_saved = self.restored.remove(&look.inode) == Some(id);
        if !content.drained || !as_saved {
            self.touch(id);
        }
    }

    /// The file does not hold the content any more (truncated, replaced, deleted). Whoever else holds it takes over: the
    /// spool, or another file.
    pub(super) fn lose_place(&mut self, id: u32) {
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
    pub(super) fn drop_aliases(&mut self, id: u32) {
        // A folder may lose all of its files at once.
        let aliased = self.contents.get_mut(id).is_some_and(|content| std::mem::take(&mut content.aliased));
        if aliased {
            self.by_inode.retain(|_, known| !matches!(known, Known::Alias(alias) if alias.of == id));
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

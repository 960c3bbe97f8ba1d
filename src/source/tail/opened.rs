//! Which files are held open: of one that is open nothing is lost when it is deleted, and its growth is seen at once.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::content::{Content, Holds, Look};
use super::patterns::{Packing, packing};
use super::reader::Reader;
use super::{FileSource, LINGER, OPEN_LIMIT, YOUNGEST};

impl FileSource {
    /// Opens what is not read yet, the oldest first: of a file that is open nothing is lost when it is deleted.
    pub(super) fn open_unread(&mut self) {
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
    pub(super) fn rest_decoder(&mut self, id: u32) {
        if self.queue.front() == Some(&id) {
            return;
        }
        let place = self.contents.get_mut(id).and_then(|content| content.place.as_mut());
        if let Some(reader) = place.and_then(|place| place.reader.as_mut()) {
            reader.restart();
        }
    }

    /// Opens the files that were written last: whether a file grows is only seen at once in one that is open.
    pub(super) fn open_youngest(&mut self) {
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

    pub(super) fn look_at_open_files(&mut self) {
        let mut lost = Vec::new();
        for id in self.contents.awake_ids() {
            let Some(content) = self.contents.get_mut(id) else { continue };
            let Some(place) = &mut content.place else { continue };
            let Some(reader) = &mut place.reader else { continue };
            let Ok(metadata) = reader.metadata() else { continue };
            let look = Look::of(&metadata);
            if look.size != place.look.size || look.modified_ns != place.look.modified_ns {
                content.drained = false;
                self.quiet.found = true;
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

    /// Makes sure that the content's file is open and still the same inode.
    pub(super) fn open_one(&mut self, id: u32) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        self.opened.insert(id);
        open_place(content, &self.open)
    }

    pub(super) fn open_files(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }

    /// Closes the drained file that was modified longest ago. False when there is none.
    pub(super) fn close_oldest(&mut self) -> bool {
        let contents = &self.contents;
        let place = |id: u32| contents.get(id).and_then(|c| c.place.as_ref()).filter(|p| p.reader.is_some());
        self.opened.retain(|id| place(*id).is_some());
        let drained = self.opened.iter().filter(|id| contents.get(**id).is_some_and(|c| c.drained));
        let oldest = drained.filter_map(|id| Some((place(*id).filter(|p| p.listed)?.look.modified_ns, *id))).min();
        let place = oldest.and_then(|(_, id)| self.contents.get_mut(id)?.place.as_mut());
        place.is_some_and(|place| place.reader.take().is_some())
    }
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
        // The next read compares the same bytes. Of a packed file all that was read must be unpacked for that, so it is
        // not done before its turn; only the search for the end of a line does not compare.
        let proven_by_reading = !reader.is_plain() && content.skipping.is_none();
        let holds = proven_by_reading || content.is_held_by(&mut reader)? == Holds::Yes;
        reader.count_in(open);
        if let Some(place) = &mut content.place {
            place.reader = Some(Box::new(reader));
        }
        return Ok(holds);
    }
    Ok(true)
}

//! What the directories show: which files are there, which are new, gone or moved.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, FileType, Stat};

use super::content::{Content, Inode, Look};
use super::patterns::{self, Packing, packing};
use super::{
    DIRECTORY_GRAIN, FUTURE_LISTING, FileSource, Known, LINGER, LINGER_DELETED, LISTING_INTERVAL, Listing,
    REMEMBER_GONE, REMEMBER_GONE_SECONDS, Rule, Set, WAIT_LISTINGS, Waiting, unix_seconds,
};
use crate::model::FileKey;

impl FileSource {
    /// Looks at the directories (when something may have changed there) and at every open file.
    pub(super) fn look_again(&mut self) {
        if self.listing_due() {
            self.list();
        }
        self.look_at_open_files();
        self.keep();
        self.queue_up();
        self.contents.rest();
        self.looked_at = Some(Instant::now());
    }

    pub(super) fn listing_due(&mut self) -> bool {
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

    pub(super) fn list(&mut self) {
        let first = self.listed_at.is_none();
        self.listed_at = Some(Instant::now());
        let mut listing = Listing::default();
        listing.seen.reserve(self.by_inode.len().max(self.restored.len()));
        let patterns = Arc::clone(&self.patterns);
        for (patterns, rule) in patterns.iter() {
            for (directory, names) in patterns.places() {
                self.list_directory(&directory, &names, *rule, &mut listing);
                listing.directories.push(directory);
            }
        }
        let Listing { seen, directories, unseen, waiting, elsewhere, .. } = listing;
        self.quiet.elsewhere = elsewhere;
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
        // What grew so long ago might as well never have.
        self.grown_at.retain(|_, at| at.elapsed() <= LINGER);
        self.first_start = false;
        let bad = self.by_inode.values().filter(|known| matches!(known, Known::Bad(_))).count() + self.unseen.len();
        self.stats.unreadable_files.store(bad as u64, Relaxed);
        self.stats.files.store(self.by_inode.len().saturating_sub(bad) as u64, Relaxed);
    }

    pub(super) fn list_directory(&mut self, directory: &Path, patterns: &[&OsStr], rule: Rule, listing: &mut Listing) {
        use rustix::fs::{Mode, OFlags};
        // Looking up each name from the root costs as much as the look itself.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = match rustix::fs::open(directory, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(error) => return listing.say(directory, error.into()),
        };
        listing.device = rustix::fs::fstat(&handle).map_or(0, |stat| Look::of_stat(&stat).inode.device);
        let mut path = Joined::new(directory);
        let mut others = Vec::new();
        let listed = patterns::names(directory, patterns, |name, regular| {
            // Nearly all files are as they were. They need no order, no path of their own and no second look.
            if !(regular && self.see_unchanged(&handle, name, path.with(name), rule, listing)) {
                others.push(name.to_os_string());
            }
        });
        if let Err(error) = listed {
            listing.say(directory, error);
        }
        // Of a file with several names the first one counts, at every listing.
        others.sort_unstable();
        for name in others {
            self.see_changed(&handle, directory.join(&name), &name, rule, listing);
        }
    }

    /// A name whose file is as it was at the last listing, or as the checkpoint has it. False: it must be looked at.
    fn see_unchanged(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        rule: Rule,
        listing: &mut Listing,
    ) -> bool {
        let Ok(Entry { look, kind: FileType::RegularFile, linked: false }) = look_at(directory, name) else {
            return false;
        };
        if look.links != 1 || listing.seen.contains(&look.inode) {
            return false;
        }
        listing.meet(look, false);
        let unchanged = match self.by_inode.get(&look.inode) {
            Some(Known::Content(id)) => self.contents.get(*id).is_some_and(|content| content.is_still(path, look)),
            Some(_) => false,
            None => self.adopt_untouched(path, look, rule),
        };
        unchanged && listing.seen.insert(look.inode)
    }

    fn see_changed(&mut self, directory: &OwnedFd, path: PathBuf, name: &OsStr, rule: Rule, listing: &mut Listing) {
        let look = match look_at(directory, name) {
            Ok(Entry { kind: FileType::Directory, .. }) => return,
            Ok(Entry { look, linked, .. }) => {
                listing.meet(look, linked);
                look
            }
            Err(error) => {
                // A link to nothing: its target may come, where nobody watches.
                listing.elsewhere |= is_link(directory, name);
                return listing.say(&path, error);
            }
        };
        if !listing.seen.insert(look.inode) {
            return;
        }
        self.see(&path, look, rule);
        let known = self.by_inode.get(&look.inode);
        if matches!(known, Some(Known::Waiting(waiting)) if waiting.listings == WAIT_LISTINGS) {
            listing.waiting.push((path, look, rule));
        }
    }

    /// Nothing that was written after this start can have been sent before it.
    pub(super) fn bound_sent(&mut self) {
        for content in self.contents.values_mut() {
            let Some(place) = content.place.as_ref().filter(|p| packing(&p.path) == Packing::Plain) else { continue };
            content.sent.0 = content.sent.0.min(place.look.size);
        }
    }

    /// Files and directories that may not even be looked at, each said once.
    pub(super) fn say_unseen(&mut self, unseen: BTreeMap<PathBuf, io::Error>) {
        for (path, error) in unseen.iter().filter(|(path, _)| !self.unseen.contains(*path)) {
            tracing::warn!(path = %path.display(), %error, "cannot look at a log file or its directory; it is tried again");
        }
        self.unseen = unseen.into_keys().collect();
    }

    /// One file of the listing.
    pub(super) fn see(&mut self, path: &Path, look: Look, rule: Rule) {
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

    pub(super) fn see_content(&mut self, id: u32, path: &Path, look: Look) {
        // What is as it was must not be woken.
        if self.contents.get(id).is_none_or(|content| content.is_still(path, look)) {
            return;
        }
        let Some(content) = self.contents.get_mut(id) else { return };
        let Some(place) = &mut content.place else { return };
        let (moved, changed) = (place.is_elsewhere(path), place.has_changed(look));
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

    /// Files that lost their names while they were waited for.
    pub(super) fn begin_gone(&mut self, seen: &Set<Inode>) {
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

    /// Files that the listing did not show any more.
    pub(super) fn unlist(&mut self, seen: &Set<Inode>) {
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

    /// Files that vanished before they were read to their end, and that nobody has shown again since.
    pub(super) fn count_lost(&mut self) {
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

    /// Forgets progress in contents that nobody will show again.
    pub(super) fn forget_gone(&mut self) {
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

    pub(super) fn forget(&mut self, id: u32) {
        let Some(content) = self.contents.remove(id) else { return };
        self.by_key.remove(&(content.key, id));
        self.grown_at.remove(&id);
        if self.restored.get(&content.last_look.inode) == Some(&id) {
            self.restored.remove(&content.last_look.inode);
        }
        self.recent.remove(&id);
        self.changed = true;
    }
}

impl Listing {
    /// A file: events of a write go to the directory by whose name it is written, which may be another.
    pub(super) fn meet(&mut self, look: Look, linked: bool) {
        self.elsewhere |= linked || look.links > 1 || look.inode.device != self.device;
    }

    /// What vanished since it was named, or never was there, is nothing to speak of.
    fn say(&mut self, path: &Path, error: io::Error) {
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            self.unseen.insert(path.to_path_buf(), error);
        }
    }
}

/// One name after the other in a directory, in one buffer.
struct Joined {
    path: OsString,
    directory: usize,
}

impl Joined {
    fn new(directory: &Path) -> Self {
        let path = directory.join("").into_os_string();
        Self { directory: path.len(), path }
    }

    fn with(&mut self, name: &OsStr) -> &Path {
        let mut path = std::mem::take(&mut self.path).into_vec();
        path.truncate(self.directory);
        path.extend_from_slice(name.as_bytes());
        self.path = OsString::from_vec(path);
        Path::new(&self.path)
    }
}

/// What a name stands for.
struct Entry {
    look: Look,
    kind: FileType,
    /// By a symbolic link.
    linked: bool,
}

fn look_at(directory: &OwnedFd, name: &OsStr) -> io::Result<Entry> {
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    let mut stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let linked = kind(&stat) == FileType::Symlink;
    if linked {
        stat = rustix::fs::statat(directory, name, AtFlags::empty())?;
    }
    Ok(Entry { look: Look::of_stat(&stat), kind: kind(&stat), linked })
}

fn is_link(directory: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

//! Taking letters out of a file, or changing them, while an agent may be writing beside us.
//!
//! The file is replaced as a whole (temporary file, fsync, rename, fsync of the directory), so that whatever happens a
//! reader finds the old letters or the new ones. The agent's writer looks under the lock whether its file is still the
//! one it opened, and begins another if not.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Real};
use super::lock::{Lock, lend};
use super::read::{Found, Segment, lines};
use super::{DeadLetterError, Line, io};

/// In place of a file's `ndjson`.
const TEMPORARY: &str = "ndjson.tmp";

/// Removes what a rewrite that was killed has left. No other may be at work.
pub fn sweep(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(TEMPORARY)) {
        // It is in nobody's way if it stays.
        let _ = std::fs::remove_file(path);
    }
}

/// What becomes of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<'a> {
    Keep,
    Gone,
    /// This line, newline included, stands in its place.
    Instead(&'a [u8]),
}

/// One file whose letters are being decided. It goes on from the letters that stood in it when it was opened, however
/// often it is replaced.
#[derive(Debug)]
pub struct Rewriting {
    dir: PathBuf,
    path: PathBuf,
    /// As it was when we opened it.
    source: File,
    /// Its length then. What was written behind it since is kept.
    end: u64,
    /// Device and inode of what stands under the name now; `None` when nothing does.
    there: Option<(u64, u64)>,
    disk: Box<dyn Disk>,
}

/// The lines of a file at one moment.
#[derive(Debug)]
pub struct Letters {
    source: File,
    end: u64,
}

impl Letters {
    /// As [`lines`].
    pub fn each<E: From<std::io::Error>>(
        &self,
        each: impl FnMut(u64, &[u8], Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        lines(&self.source, self.end, each)
    }
}

impl Rewriting {
    /// `None` when the file is gone by now.
    pub fn open(dir: &Path, segment: &Segment) -> Result<Option<Self>, DeadLetterError> {
        Self::open_on(dir, segment, Box::new(Real))
    }

    pub(super) fn open_on(dir: &Path, segment: &Segment, disk: Box<dyn Disk>) -> Result<Option<Self>, DeadLetterError> {
        let path = segment.path.clone();
        let source = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open", &path, error)),
        };
        let metadata = source.metadata().map_err(|error| io("look at", &path, error))?;
        let there = Some((metadata.dev(), metadata.ino()));
        Ok(Some(Self { dir: dir.to_path_buf(), path, source, end: metadata.len(), there, disk }))
    }

    /// What stood in it when it was opened, to be read while it is replaced.
    pub fn letters(&self) -> Result<Letters, DeadLetterError> {
        let source = self.source.try_clone().map_err(|source| io("open", &self.path, source))?;
        Ok(Letters { source, end: self.end })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by what `decide` makes of each letter, told with its offset. Lines that are no letters stay, half
    /// ones go. False when somebody took the file away meanwhile: then it stays away.
    pub fn replace<'a>(&mut self, mut decide: impl FnMut(u64, &Line<'_>) -> Fate<'a>) -> Result<bool, DeadLetterError> {
        let _lock = Lock::take(&self.dir).map_err(|source| io("lock", &self.dir, source))?;
        let there = std::fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if there.is_none() || there != self.there {
            return Ok(false);
        }
        let temporary = self.path.with_extension(TEMPORARY);
        let written = self.write(&temporary, &mut decide);
        let result = written.and_then(|(file, bytes)| self.put(&temporary, &file, bytes));
        if result.is_err() {
            // Left behind it would be no harm: nobody reads it, and the next try begins by removing it.
            let _ = self.disk.remove(&temporary);
        }
        result.map(|()| true)
    }

    fn write<'a>(
        &mut self,
        temporary: &Path,
        decide: &mut impl FnMut(u64, &Line<'_>) -> Fate<'a>,
    ) -> Result<(File, u64), DeadLetterError> {
        if temporary.exists() {
            self.disk.remove(temporary).map_err(|source| io("remove", temporary, source))?;
        }
        let mut file = self.disk.create(temporary).map_err(|source| io("create", temporary, source))?;
        lend(&file, &self.dir);
        let (disk, end, mut bytes) = (&mut self.disk, self.end, 0);
        // Up to the end of the file as it is now: behind `end` stands what the agent has written since.
        let copied = lines(&self.source, u64::MAX, |offset, line, found| {
            let kept: &[u8] = match found {
                Found::Half => b"",
                Found::Damaged => line,
                Found::Letter(_) if offset >= end => line,
                Found::Letter(letter) => match decide(offset, &letter) {
                    Fate::Keep => line,
                    Fate::Gone => b"",
                    Fate::Instead(other) => other,
                },
            };
            bytes += kept.len() as u64;
            disk.write_all(&mut file, kept)
        });
        copied.map_err(|source: std::io::Error| io("write", temporary, source))?;
        Ok((file, bytes))
    }

    fn put(&mut self, temporary: &Path, file: &File, bytes: u64) -> Result<(), DeadLetterError> {
        if bytes == 0 {
            self.disk.remove(temporary).map_err(|source| io("remove", temporary, source))?;
            self.disk.remove(&self.path).map_err(|source| io("remove", &self.path, source))?;
            self.there = None;
        } else {
            self.disk.sync(file).map_err(|source| io("sync", temporary, source))?;
            let metadata = file.metadata().map_err(|source| io("look at", temporary, source))?;
            self.disk.rename(temporary, &self.path).map_err(|source| io("rename", temporary, source))?;
            self.there = Some((metadata.dev(), metadata.ino()));
        }
        self.disk.sync_dir(&self.dir).map_err(|source| io("sync", &self.dir, source))
    }
}

//! Taking letters out of a file, or changing them, while an agent may be writing beside us.
//!
//! The file is replaced as a whole ([`crate::durable`]), so that whatever happens a reader finds the old letters or the new
//! ones; one without letters goes. The agent's writer looks under the lock whether its file is still the
//! one it opened, and begins another if not.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::read::{Found, Segment, lines};
use super::{DeadLetterError, Line, io};
use crate::durable::{Disk, is_unfinished};

/// Removes what a rewrite that was killed has left. No other may be at work.
pub fn sweep(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_unfinished(path)) {
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
    disk: Disk,
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
        Self::open_on(dir, segment, Disk::default())
    }

    pub(super) fn open_on(dir: &Path, segment: &Segment, disk: Disk) -> Result<Option<Self>, DeadLetterError> {
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
        if self.there.is_none() || identity(&self.path) != self.there {
            return Ok(false);
        }
        let mut bytes = 0;
        let result = self.disk.replace(&self.path, |out| {
            // Up to the end of the file as it is now: behind `end` stands what the agent has written since.
            lines(&self.source, u64::MAX, |offset, line, found| {
                let kept: &[u8] = match found {
                    Found::Half => b"",
                    Found::Damaged => line,
                    Found::Letter(_) if offset >= self.end => line,
                    Found::Letter(letter) => match decide(offset, &letter) {
                        Fate::Keep => line,
                        Fate::Gone => b"",
                        Fate::Instead(other) => other,
                    },
                };
                bytes += kept.len() as u64;
                out.write_all(kept)
            })
        });
        // A failure may have come after the new one was in place.
        self.there = identity(&self.path);
        result?;
        if bytes == 0 {
            self.disk.remove(&self.path)?;
            self.there = None;
        }
        Ok(true)
    }
}

/// Device and inode of what stands under a name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

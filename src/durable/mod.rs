//! Bytes that must survive a crash: a file replaced as a whole, one that grows, a folder made, a file removed.
//!
//! Promise of a replacement: whatever step fails, and whenever the process or the machine dies between two steps, the file
//! holds its old bytes or its new ones, never a part of either. Who lets a file grow calls its steps himself. One place for all rooms, so that each step can be made to fail by the
//! same tests. It does not retry and does not speak: who writes knows what a failure means.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub mod faults;

/// Files are for their owner alone: they hold what people logged.
pub const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// What is being written stands beside its file under this ending. A crash may leave it; [`Disk::clear`] removes it.
const UNFINISHED: &str = ".tmp";
const WRITE_BUFFER: usize = 64 << 10;

/// What can fail on the way to the disk, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    MakeDirectory,
    Create,
    Write,
    Sync,
    Truncate,
    Rename,
    Remove,
    /// The name must outlive a crash as surely as the bytes.
    SyncDirectory,
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Self::MakeDirectory => "make the folder",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "fsync",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDirectory => "fsync the folder of",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {} {}: {source}", step.verb(), path.display())]
pub struct DurableError {
    pub step: Step,
    pub path: PathBuf,
    pub source: io::Error,
}

/// The way to the disk. Tests put faults into it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    #[cfg(test)]
    faults: Option<faults::Faults>,
}

impl Disk {
    /// Replaces the file with what `write` gives: written beside it, synced, renamed, folder synced. After an error the
    /// old file stands, or (when only the last step failed) one of the two. It stays its owner's, whoever replaces it.
    ///
    /// `write` may fail with its own error, which comes back as [`Step::Write`].
    pub fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        let unfinished = unfinished(path);
        let result = self.write_beside(&unfinished, path, write).and_then(|()| {
            self.step(Step::Rename, path, || std::fs::rename(&unfinished, path))?;
            self.sync_directory_of(path)
        });
        if result.is_err() {
            // On a full disk the half of it is the space that others need.
            let _ = self.step(Step::Remove, &unfinished, || std::fs::remove_file(&unfinished));
        }
        result
    }

    fn write_beside(
        &self,
        path: &Path,
        like: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        let file = self.step(Step::Create, path, || {
            File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)
        })?;
        lend(&file, like);
        let fail = |source| DurableError { step: Step::Write, path: path.to_path_buf(), source };
        let mut out = BufWriter::with_capacity(WRITE_BUFFER, Stepped { disk: self, file: &file });
        write(&mut out).map_err(fail)?;
        out.into_inner().map_err(|e| fail(e.into_error()))?;
        self.sync(&file, path)
    }

    /// A new file that grows; one that exists is an error.
    pub fn create(&self, path: &Path) -> Result<File, DurableError> {
        self.step(Step::Create, path, || File::options().create_new(true).append(true).mode(FILE_MODE).open(path))
    }

    /// All of the bytes to the end of the file, or an error after some of them.
    pub fn append(&self, file: &File, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        let fail = |source| DurableError { step: Step::Write, path: path.to_path_buf(), source };
        Stepped { disk: self, file }.write_all(bytes).map_err(fail)
    }

    pub fn sync(&self, file: &File, path: &Path) -> Result<(), DurableError> {
        self.step(Step::Sync, path, || file.sync_all())
    }

    pub fn truncate(&self, path: &Path, size: u64) -> Result<(), DurableError> {
        self.step(Step::Truncate, path, || File::options().write(true).open(path)?.set_len(size))
    }

    /// Makes the folder and those above it, for their owner alone.
    pub fn make_directory(&self, path: &Path) -> Result<(), DurableError> {
        if path.is_dir() {
            return Ok(());
        }
        let mut builder = std::fs::DirBuilder::new();
        self.step(Step::MakeDirectory, path, || builder.recursive(true).mode(DIR_MODE).create(path))?;
        self.sync_directory_of(path)
    }

    /// Removes a file; one that is not there is removed already. The name may come back after a crash of the machine.
    pub fn remove(&self, path: &Path) -> Result<(), DurableError> {
        match self.step(Step::Remove, path, || std::fs::remove_file(path)) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes what a crash left unfinished for this file.
    pub fn clear(&self, path: &Path) -> Result<(), DurableError> {
        self.remove(&unfinished(path))
    }

    /// Of a name that was just made or changed.
    pub fn sync_directory_of(&self, path: &Path) -> Result<(), DurableError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        self.step(Step::SyncDirectory, path, || File::open(directory)?.sync_all())
    }

    fn step<T>(&self, step: Step, path: &Path, act: impl FnOnce() -> io::Result<T>) -> Result<T, DurableError> {
        #[cfg(test)]
        let result = match self.faults.as_ref().and_then(|faults| faults.strike(step)) {
            Some(fault) => {
                if fault == faults::Fault::CrashAfter {
                    let _ = act();
                }
                Err(fault.error())
            }
            None => act(),
        };
        #[cfg(not(test))]
        let result = act();
        result.map_err(|source| DurableError { step, path: path.to_path_buf(), source })
    }
}

/// `<name>.tmp`, whatever else the name ends in.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(UNFINISHED);
    name.into()
}

/// Whether it is a file that a crash left unfinished.
pub fn is_unfinished(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(UNFINISHED))
}

/// Gives a file to whom `like` belongs: a person may work as root beside an agent that is somebody else, who must be able
/// to open it afterwards. Who may not give files away makes them his own, as everywhere.
pub fn lend(file: &File, like: &Path) {
    let (Ok(file_is), Ok(like_is)) = (file.metadata(), std::fs::metadata(like)) else { return };
    if (file_is.uid(), file_is.gid()) != (like_is.uid(), like_is.gid()) {
        let _ = std::os::unix::fs::fchown(file, Some(like_is.uid()), Some(like_is.gid()));
    }
}

/// Each write to the file is a step.
struct Stepped<'a> {
    #[cfg_attr(not(test), allow(dead_code))]
    disk: &'a Disk,
    file: &'a File,
}

impl Write for Stepped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(fault) = self.disk.faults.as_ref().and_then(|faults| faults.strike(Step::Write)) {
            self.file.write_all(&bytes[..fault.written(bytes.len())])?;
            return Err(fault.error());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::faults::{Fault, every_fault};
    use super::*;

    #[test]
    fn every_step_of_a_replacement_leaves_old_or_new() {
        every_fault(|disk, clean| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x/file.json");
            clean.make_directory(path.parent().unwrap()).unwrap();
            clean.replace(&path, |out| out.write_all(b"old")).unwrap();
            let result = disk.replace(&path, |out| out.write_all(&[b'n'; WRITE_BUFFER * 2 + 1]));
            let found = std::fs::read(&path).unwrap();
            assert!(found == b"old" || found == [b'n'; WRITE_BUFFER * 2 + 1], "{result:?} left {} bytes", found.len());
            assert!(result.is_err() || found != b"old", "a success is the new state");
            // Whoever starts next clears up and goes on.
            clean.clear(&path).unwrap();
            clean.replace(&path, |out| out.write_all(b"newer")).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"newer");
            assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        });
    }

    #[test]
    fn a_failure_frees_the_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::with(faults::Faults::at(Step::Sync, Fault::Error(rustix::io::Errno::NOSPC)));
        let error = disk.replace(&path, |out| out.write_all(b"bytes")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(error.to_string(), format!("cannot fsync {}.tmp: {}", path.display(), error.source));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

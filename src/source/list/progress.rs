//! How far a list of files is settled: one small JSON file, replaced as a whole, so that a run that is killed while it writes leaves
//! the old progress or the new one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{Disk, DurableError};
use crate::lane::Tail;

const VERSION: u32 = 1;

/// Progress in one file, by what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The file key.
    pub key: u64,
    /// Where it was, its size on the disk and when it was modified, in nanoseconds.
    pub path: String,
    pub size: u64,
    pub modified_ns: i64,
    /// Lowest unsettled offset in the uncompressed file, and the fingerprint of the bytes before it.
    pub offset: u64,
    pub tail_len: u16,
    pub tail_hash: u64,
    /// Read to its end.
    pub finished: bool,
}

impl Record {
    pub fn tail(&self) -> Tail {
        Tail { len: self.tail_len, hash: self.tail_hash }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    /// What it is the progress of.
    pub purpose: String,
    /// The sink's own memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub files: Vec<Record>,
}

impl Saved {
    pub fn new(purpose: String, note: Option<String>, files: Vec<Record>) -> Self {
        Self { version: VERSION, purpose, note, files }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    #[error("cannot read the progress {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] DurableError),
    /// Nobody but a person can say whether to begin again.
    #[error("{path} holds no progress that this build can read; remove it to begin again", path = path.display())]
    Unknown { path: PathBuf },
    #[error("the progress {path} is of another run ({theirs}); give the arguments of that run, or another --resume FILE", path = path.display())]
    OtherPurpose { path: PathBuf, theirs: String },
}

#[derive(Debug, Clone)]
pub struct Progress {
    path: PathBuf,
}

impl Progress {
    /// In this file; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier run of this purpose left.
    pub fn load(&self, purpose: &str) -> Result<Option<Saved>, ProgressError> {
        let path = self.path.clone();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ProgressError::Read { path, source }),
        };
        match serde_json::from_slice::<Saved>(&text) {
            Ok(saved) if saved.version != VERSION => Err(ProgressError::Unknown { path }),
            Ok(saved) if saved.purpose != purpose => Err(ProgressError::OtherPurpose { path, theirs: saved.purpose }),
            Ok(saved) => Ok(Some(saved)),
            Err(_) => Err(ProgressError::Unknown { path }),
        }
    }

    pub fn save(&self, saved: &Saved) -> Result<(), ProgressError> {
        Disk::default().replace(&self.path, |out| Ok(serde_json::to_writer(out, saved)?))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_for_its_purpose_alone() {
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::new(folder.path().join("p.json"));
        assert_eq!(progress.load("a").unwrap(), None);
        let record = Record {
            key: u64::MAX,
            path: "/x".into(),
            size: 1,
            modified_ns: -1,
            offset: 7,
            tail_len: 7,
            tail_hash: u64::MAX - 1,
            finished: true,
        };
        let saved = Saved::new("a".into(), Some("note".into()), vec![record]);
        progress.save(&saved).unwrap();
        assert_eq!(progress.load("a").unwrap(), Some(saved.clone()));
        assert!(matches!(progress.load("b"), Err(ProgressError::OtherPurpose { .. })));
        let future = serde_json::to_string(&saved).unwrap().replace("\"version\":1", "\"version\":9");
        for text in ["", "{\"version\":1", future.as_str()] {
            std::fs::write(progress.path(), text).unwrap();
            assert!(matches!(progress.load("a"), Err(ProgressError::Unknown { .. })), "{text}");
        }
        // A crash between writing and renaming leaves the old one.
        progress.save(&saved).unwrap();
        std::fs::write(folder.path().join("p.json.tmp"), "half").unwrap();
        assert_eq!(progress.load("a").unwrap(), Some(saved));
    }
}

//! A lane's persisted bookmark: one small JSON file, replaced as a whole.
//!
//! Promise: whatever happens while it is written, a restart finds the old state or the new one. A file of a version that
//! this build does not know is refused and left alone; a file that is no checkpoint counts as lost, which costs a re-read
//! whose ids meet their own documents.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lane::Tail;

const VERSION: u32 = 1;

/// Progress in one file, by what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// File key, 16 hexadecimal digits.
    #[serde(with = "hex")]
    pub key: u64,
    /// Where it was last seen: device, inode, path (for people), size and modification time in nanoseconds.
    pub device: u64,
    pub inode: u64,
    pub path: String,
    pub size: u64,
    pub modified_ns: i64,
    /// Length and xxh3-64 of the file's first bytes, at most 1 KiB.
    pub head_len: u16,
    #[serde(with = "hex")]
    pub head_hash: u64,
    /// Lowest unsettled offset in the uncompressed file, and the fingerprint of the bytes before it.
    pub offset: u64,
    pub tail_len: u16,
    #[serde(with = "hex")]
    pub tail_hash: u64,
    /// How far it was read, and so perhaps sent; at least `offset`.
    #[serde(default)]
    pub read: u64,
    /// A compressed file that was read to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finished: bool,
    /// Unix seconds since when no file on the disk holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<i64>,
}

impl Record {
    pub fn tail(&self) -> Tail {
        Tail { len: self.tail_len, hash: self.tail_hash }
    }

    pub fn head(&self) -> Tail {
        Tail { len: self.head_len, hash: self.head_hash }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    lane: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    files: Vec<Record>,
}

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    pub records: Vec<Record>,
    /// The sink's own memory.
    pub note: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read checkpoint {path}: version {found} is not known to this build ({VERSION}); run the build that wrote it, or move the file away to read everything again", path = path.display())]
    UnknownVersion { path: PathBuf, found: u64 },
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

/// Where one lane's checkpoint lies.
#[derive(Debug)]
pub struct Store {
    lane: String,
    path: PathBuf,
    temporary: PathBuf,
    directory: PathBuf,
}

impl Store {
    pub fn new(state_dir: &Path, lane: &str) -> Self {
        Self {
            lane: lane.to_owned(),
            path: state_dir.join(format!("{lane}.json")),
            temporary: state_dir.join(format!("{lane}.json.tmp")),
            directory: state_dir.to_path_buf(),
        }
    }

    /// `None` when there is no checkpoint (a first start) or an unreadable one (said, set aside).
    pub fn load(&self) -> Result<Option<Saved>, CheckpointError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Io { what: "read", path: self.path.clone(), source }),
        };
        let version = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|v| v.get("version")?.as_u64());
        if let Some(found) = version.filter(|v| *v != u64::from(VERSION)) {
            return Err(CheckpointError::UnknownVersion { path: self.path.clone(), found });
        }
        match serde_json::from_slice::<Document>(&text) {
            Ok(document) => Ok(Some(Saved { records: document.files, note: document.note })),
            Err(error) => {
                let aside = self.path.with_extension("json.corrupt");
                let kept = std::fs::rename(&self.path, &aside).is_ok();
                tracing::error!(checkpoint = %self.path.display(), %error, kept_as = kept.then(|| aside.display().to_string()),
                    "checkpoint is damaged and counts as lost: everything on the disk is read again under the same ids");
                Ok(None)
            }
        }
    }

    /// Replaces the checkpoint: temporary file, fsync, rename, fsync of the directory.
    pub fn save(&self, files: Vec<Record>, note: Option<&str>) -> Result<(), CheckpointError> {
        let note = note.map(str::to_owned);
        let document = Document { version: VERSION, lane: self.lane.clone(), note, files };
        let fail = |what| move |source| CheckpointError::Io { what, path: self.temporary.clone(), source };
        let mut text = serde_json::to_vec(&document).map_err(|e| fail("write")(e.into()))?;
        text.push(b'\n');
        let mut file = File::create(&self.temporary).map_err(fail("create"))?;
        file.write_all(&text).map_err(fail("write"))?;
        file.sync_all().map_err(fail("fsync"))?;
        std::fs::rename(&self.temporary, &self.path).map_err(fail("rename"))?;
        File::open(&self.directory).and_then(|d| d.sync_all()).map_err(fail("fsync the directory of"))
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("not a hexadecimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64) -> Record {
        Record {
            key: u64::MAX - 1,
            device: 1,
            inode: 2,
            path: "/var/log/x".into(),
            size: 100,
            modified_ns: 5,
            head_len: 3,
            head_hash: 7,
            offset,
            tail_len: 9,
            tail_hash: u64::MAX,
            read: offset,
            finished: false,
            gone_since: Some(1),
        }
    }

    #[test]
    fn comes_back_as_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "elasticsearch");
        assert_eq!(store.load().unwrap(), None);
        store.save(vec![record(10)], None).unwrap();
        assert_eq!(store.load().unwrap(), Some(Saved { records: vec![record(10)], note: None }));
        store.save(vec![record(20), record(30)], Some("a note")).unwrap();
        let saved = Saved { records: vec![record(20), record(30)], note: Some("a note".into()) };
        assert_eq!(store.load().unwrap(), Some(saved));
    }

    #[test]
    fn an_unknown_version_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "siem-soc");
        let text = r#"{"version":3,"files":"of another shape"}"#;
        std::fs::write(&store.path, text).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("siem-soc.json: version 3 is not known to this build (1)"), "{error}");
        assert_eq!(std::fs::read_to_string(&store.path).unwrap(), text);
    }

    #[test]
    fn damage_counts_as_lost_and_is_set_aside() {
        for text in ["", "{\"version\":1,\"lane\":\"x\",\"files\":[{", "not json", "{\"version\":1}"] {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::new(dir.path(), "x");
            std::fs::write(&store.path, text).unwrap();
            assert_eq!(store.load().unwrap(), None, "{text}");
            assert!(dir.path().join("x.json.corrupt").exists());
        }
    }

    #[test]
    fn a_crash_between_write_and_rename_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), "x");
        let records = || store.load().unwrap().unwrap().records;
        store.save(vec![record(10)], None).unwrap();
        std::fs::write(&store.temporary, "{\"version\":1,\"la").unwrap();
        assert_eq!(records(), [record(10)]);
        store.save(vec![record(11)], None).unwrap();
        assert_eq!(records(), [record(11)]);
    }
}

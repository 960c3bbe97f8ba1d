//! A lane's persisted bookmark: two small JSON files, each replaced as a whole.
//!
//! `<lane>.json` holds what moved lately and is written every second. `<lane>.archive.json` holds the rest: a folder with
//! ten thousand rotated files, of which one grows, must not cost a rewrite of megabytes each second. Where both know a
//! file, the first one is right; the archive is written before the first one lets go of what went into it.
//!
//! Promise: whatever happens while they are written, a restart finds the old state or the new one. A file of a version
//! that this build does not know is refused and left alone; a file that is no checkpoint counts as lost, and the other
//! with it, which costs a re-read whose ids meet their own documents.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::durable::{Disk, DurableError};
use crate::lane::Tail;

/// Version 1 had one file and no ids. It is read, and written no more.
const VERSION: u32 = 2;
/// Files that the first checkpoint holds before they go into the archive.
pub const RECENT_LIMIT: usize = 512;

/// Progress in one file, by what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// This lane's number of the content, never used again.
    #[serde(default)]
    pub id: u32,
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

#[derive(Deserialize)]
struct Document {
    version: u64,
    #[serde(default)]
    note: Option<String>,
    /// There is an archive that belongs to it.
    #[serde(default)]
    archived: bool,
    files: Vec<Record>,
}

/// The same on its way out, without a list of it in memory.
#[derive(Serialize)]
struct Outgoing<'a, I: Iterator<Item: Serialize>> {
    version: u32,
    lane: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
    #[serde(serialize_with = "sequence")]
    files: Cell<Option<I>>,
}

fn sequence<I: Iterator<Item: Serialize>, S: Serializer>(files: &Cell<Option<I>>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(files.take().into_iter().flatten())
}

/// A record as the list of its members in their order. Ten thousand times their names would be a half of an archive and
/// of the time to read it. Every build of version 2 reads both shapes.
struct Row(Record);

#[derive(Serialize)]
struct Hex(#[serde(with = "hex")] u64);

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Record { id, key, device, inode, path, size, modified_ns, head_len, head_hash, .. } = &self.0;
        let Record { offset, tail_len, tail_hash, read, finished, gone_since, .. } = &self.0;
        let (key, head, tail) = (Hex(*key), Hex(*head_hash), Hex(*tail_hash));
        let row = (
            id,
            key,
            device,
            inode,
            path,
            size,
            modified_ns,
            head_len,
            head,
            offset,
            tail_len,
            tail,
            read,
            finished,
            gone_since,
        );
        row.serialize(serializer)
    }
}

/// Of an archive, on its way in, without a list of it in memory: what it says beside its files.
#[derive(Debug, Default)]
struct Archive {
    version: u64,
    complete: bool,
}

/// Takes the members of an archive, and hands out each file as it comes.
struct Incoming<'a>(&'a mut dyn FnMut(Record));

impl<'de> Visitor<'de> for Incoming<'_> {
    type Value = Archive;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a checkpoint's archive")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Archive, A::Error> {
        let mut archive = Archive::default();
        while let Some(member) = members.next_key::<Cow<'de, str>>()? {
            match &*member {
                "version" => archive.version = members.next_value()?,
                // Of a version that this build does not know the files may be of another shape.
                "files" if known(archive.version) => {
                    members.next_value_seed(Files(&mut *self.0))?;
                    archive.complete = true;
                }
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(archive)
    }
}

struct Files<'a>(&'a mut dyn FnMut(Record));

impl<'de> DeserializeSeed<'de> for Files<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut files: A) -> Result<(), A::Error> {
        while let Some(record) = files.next_element()? {
            (self.0)(record);
        }
        Ok(())
    }
}

fn known(version: u64) -> bool {
    (1..=u64::from(VERSION)).contains(&version)
}

/// What a checkpoint holds beside its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Ids of those that the archive does not hold as they are.
    pub recent: Vec<u32>,
    /// The sink's own memory.
    pub note: Option<String>,
}

/// What an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// No checkpoint: a first start.
    Nothing,
    /// There was one. It was damaged, and is set aside.
    Lost,
    Saved(Saved),
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read checkpoint {path}: version {found} is not known to this build (1, {VERSION}); run the build that wrote it, or move the file away to read everything again", path = path.display())]
    UnknownVersion { path: PathBuf, found: u64 },
    #[error("cannot read checkpoint {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] DurableError),
}

/// Where one lane's checkpoint lies.
#[derive(Debug)]
pub struct Store {
    lane: String,
    path: PathBuf,
    archive: PathBuf,
    archived: bool,
    disk: Disk,
}

impl Store {
    pub fn new(state_dir: &Path, lane: &str) -> Self {
        Self::on(Disk::default(), state_dir, lane)
    }

    /// With the way to the disk given.
    pub fn on(disk: Disk, state_dir: &Path, lane: &str) -> Self {
        let path = |ending| state_dir.join(format!("{lane}.{ending}"));
        Self { lane: lane.to_owned(), path: path("json"), archive: path("archive.json"), archived: false, disk }
    }

    pub fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// What an earlier run left; each of its records is given to `take`, in no order. After anything but
    /// [`Loaded::Saved`] what was taken is worth nothing. Damage is said and set aside.
    pub fn load(&mut self, mut take: impl FnMut(Record)) -> Result<Loaded, CheckpointError> {
        let Some(text) = read(&self.path)? else { return Ok(Loaded::Nothing) };
        let Some(recent) = parse(&self.path, &text)? else { return Ok(self.lost()) };
        drop(text);
        let mut recent_files = recent.files;
        if recent_files.len() > 1 && recent_files.iter().all(|record| record.id == 0) {
            // Version 1.
            recent_files.iter_mut().zip(0..).for_each(|(record, id)| record.id = id);
        }
        let ids: Vec<u32> = recent_files.iter().map(|record| record.id).collect();
        if recent.archived {
            let newer: HashSet<u32> = ids.iter().copied().collect();
            let Some(text) = read(&self.archive)? else { return Ok(self.lost()) };
            let older = |record: Record| {
                if !newer.contains(&record.id) {
                    take(record);
                }
            };
            if !parse_archive(&self.archive, &text, older)? {
                return Ok(self.lost());
            }
        }
        self.archived = recent.archived;
        recent_files.into_iter().for_each(take);
        Ok(Loaded::Saved(Saved { recent: ids, note: recent.note }))
    }

    fn lost(&self) -> Loaded {
        for path in [&self.path, &self.archive] {
            let aside = path.with_extension("json.corrupt");
            let kept = std::fs::rename(path, &aside).is_ok();
            tracing::error!(checkpoint = %path.display(), kept_as = kept.then(|| aside.display().to_string()),
                "checkpoint is damaged and counts as lost: everything on the disk is read again under the same ids");
        }
        Loaded::Lost
    }

    /// Replaces the checkpoint of what moved since [`Store::archive`] was last called.
    pub fn save(&mut self, files: impl Iterator<Item = Record>, note: Option<&str>) -> Result<(), CheckpointError> {
        self.write(&self.path, files, note, self.archived)
    }

    /// Replaces the archive by everything. What goes into [`Store::save`] afterwards is what moves from now on.
    pub fn archive(&mut self, files: impl Iterator<Item = Record>) -> Result<(), CheckpointError> {
        self.write(&self.archive, files.map(Row), None, false)?;
        self.archived = true;
        Ok(())
    }

    fn write(
        &self,
        path: &Path,
        files: impl Iterator<Item: Serialize>,
        note: Option<&str>,
        archived: bool,
    ) -> Result<(), CheckpointError> {
        let files = Cell::new(Some(files));
        let document = Outgoing { version: VERSION, lane: &self.lane, note, archived, files };
        Ok(self.disk.replace(path, |out| {
            serde_json::to_writer(&mut *out, &document)?;
            out.write_all(b"\n")
        })?)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Read { path: path.to_path_buf(), source }),
    }
}

/// `None`: it is no checkpoint.
fn parse(path: &Path, text: &[u8]) -> Result<Option<Document>, CheckpointError> {
    // The whole of it first: nearly always it is what it should be.
    match serde_json::from_slice::<Document>(text).ok().filter(|document| known(document.version)) {
        Some(document) => Ok(Some(document)),
        None => refuse_unknown_version(path, text).map(|()| None),
    }
}

/// False: it is no archive.
fn parse_archive(path: &Path, text: &[u8], mut take: impl FnMut(Record)) -> Result<bool, CheckpointError> {
    // Of all at once it is cheaper to know that it is text than of each word.
    let mut input = serde_json::Deserializer::from_str(std::str::from_utf8(text).unwrap_or_default());
    let archive = input.deserialize_map(Incoming(&mut take)).and_then(|archive| input.end().map(|()| archive));
    match archive {
        Ok(Archive { complete: true, .. }) => Ok(true),
        _ => refuse_unknown_version(path, text).map(|()| false),
    }
}

fn refuse_unknown_version(path: &Path, text: &[u8]) -> Result<(), CheckpointError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    match serde_json::from_slice(text).ok().map(|Versioned { version }| version).filter(|version| !known(*version)) {
        Some(found) => Err(CheckpointError::UnknownVersion { path: path.to_path_buf(), found }),
        None => Ok(()),
    }
}

mod hex {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(Digits)
    }

    /// Out of the text itself: a copy of each would be a third of what reading ten thousand records costs.
    struct Digits;

    impl Visitor<'_> for Digits {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("hexadecimal digits")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            u64::from_str_radix(text, 16).map_err(|_| E::custom("not a hexadecimal number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::faults::every_fault;

    fn record(offset: u64) -> Record {
        Record {
            id: 0,
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

    /// The records by their ids, and the note.
    fn saved(records: &[Record], note: Option<&str>) -> (Vec<Record>, Option<String>) {
        (records.to_vec(), note.map(str::to_owned))
    }

    fn load(store: &mut Store) -> (Vec<Record>, Option<String>) {
        let mut records = Vec::new();
        let loaded = store.load(|record| records.push(record)).unwrap();
        let Loaded::Saved(Saved { note, .. }) = loaded else { panic!("{loaded:?}") };
        records.sort_by_key(|record| record.id);
        (records, note)
    }

    fn nothing(store: &mut Store) -> Loaded {
        store.load(|_| ()).unwrap()
    }

    fn numbered(id: u32, offset: u64) -> Record {
        Record { id, ..record(offset) }
    }

    #[test]
    fn comes_back_as_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), "elasticsearch");
        assert_eq!(nothing(&mut store), Loaded::Nothing);
        store.save([record(10)].into_iter(), None).unwrap();
        assert_eq!(load(&mut store), saved(&[record(10)], None));
        store.save([numbered(1, 20), numbered(2, 30)].into_iter(), Some("a note")).unwrap();
        assert_eq!(load(&mut store), saved(&[numbered(1, 20), numbered(2, 30)], Some("a note")));
    }

    #[test]
    fn the_archive_holds_what_did_not_move() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), "x");
        store.archive([numbered(1, 10), numbered(2, 20), numbered(3, 30)].into_iter()).unwrap();
        store.save([numbered(2, 25), numbered(4, 40)].into_iter(), Some("n")).unwrap();
        let expected = [numbered(1, 10), numbered(2, 25), numbered(3, 30), numbered(4, 40)];
        let mut store = Store::new(dir.path(), "x");
        assert_eq!(load(&mut store), saved(&expected, Some("n")));
        let Loaded::Saved(Saved { recent, .. }) = nothing(&mut store) else { panic!("it is there") };
        assert_eq!(recent, [2, 4]);
        // A new process goes on with the archive of the old one.
        store.save([numbered(4, 41)].into_iter(), None).unwrap();
        let expected = [numbered(1, 10), numbered(2, 20), numbered(3, 30), numbered(4, 41)];
        assert_eq!(load(&mut Store::new(dir.path(), "x")), saved(&expected, None));
        // Half of a checkpoint is none.
        std::fs::remove_file(&store.archive).unwrap();
        assert_eq!(nothing(&mut store), Loaded::Lost);
        assert_eq!(nothing(&mut store), Loaded::Nothing);
    }

    /// As builds before this one wrote it: members with their names.
    #[test]
    fn an_archive_of_named_members_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), "x");
        let finished = Record { finished: true, gone_since: None, ..numbered(2, 20) };
        let records = [numbered(1, 10), finished];
        store.archive(records.iter().cloned()).unwrap();
        store.save([].into_iter(), None).unwrap();
        let rows = std::fs::read_to_string(&store.archive).unwrap();
        assert!(!rows.contains("inode"), "{rows}");
        assert_eq!(load(&mut store), saved(&records, None));
        let text = format!(r#"{{"version":2,"lane":"x","files":{}}}"#, serde_json::to_string(&records).unwrap());
        std::fs::write(&store.archive, text).unwrap();
        assert_eq!(load(&mut store), saved(&records, None));
    }

    #[test]
    fn the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), "x");
        let mut text = serde_json::json!({"version": 1, "lane": "x", "files": [record(10), record(11)]});
        for file in text["files"].as_array_mut().unwrap() {
            file.as_object_mut().unwrap().remove("id");
        }
        std::fs::write(&store.path, text.to_string()).unwrap();
        assert_eq!(load(&mut store), saved(&[numbered(0, 10), numbered(1, 11)], None));
    }

    #[test]
    fn an_unknown_version_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), "siem-soc");
        let text = r#"{"version":3,"files":"of another shape"}"#;
        std::fs::write(&store.path, text).unwrap();
        let error = store.load(|_| ()).unwrap_err().to_string();
        assert!(error.contains("siem-soc.json: version 3 is not known to this build (1, 2)"), "{error}");
        assert_eq!(std::fs::read_to_string(&store.path).unwrap(), text);
    }

    #[test]
    fn damage_counts_as_lost_and_is_set_aside() {
        for text in ["", "{\"version\":1,\"lane\":\"x\",\"files\":[{", "not json", "{\"version\":1}", "\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::new(dir.path(), "x");
            std::fs::write(&store.path, text).unwrap();
            assert_eq!(nothing(&mut store), Loaded::Lost, "{text}");
            assert!(dir.path().join("x.json.corrupt").exists());
        }
    }

    /// Open, write, short write, fsync, rename, fsync of the folder: each fails with each error, or the process dies there.
    #[test]
    fn every_step_that_fails_leaves_the_old_state_or_the_new_one() {
        let old = [numbered(1, 10), numbered(2, 20)];
        let new = [numbered(1, 10), numbered(2, 21), numbered(3, 30)];
        every_fault(|disk, clean| {
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::on(clean.clone(), dir.path(), "x");
            store.archive(old.iter().cloned()).unwrap();
            store.save([].into_iter(), Some("old")).unwrap();
            let mut faulty = Store::on(disk.clone(), dir.path(), "x");
            nothing(&mut faulty);
            let result = faulty.archive(new.iter().cloned()).and_then(|()| faulty.save([].into_iter(), Some("new")));
            let found = load(&mut Store::new(dir.path(), "x"));
            let states = [saved(&old, Some("old")), saved(&new, Some("old")), saved(&new, Some("new"))];
            assert!(states.contains(&found), "{result:?} left {found:?}");
            assert!(result.is_err() || found == states[2]);
        });
    }
}

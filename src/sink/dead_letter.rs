//! The dead letter: what a peer refused for good, with its reason, kept in files.
//!
//! One JSON object a line, so that it can be read by eye and sent again. Promises: a document whose [`DeadLetter::write`]
//! has returned is on the disk (synced); the folder never holds more than `max_size`; files are readable by their owner
//! alone, for they hold what people logged. A batch that is written twice (a crash between writing and settling) stands
//! there twice, under the same ids.
//!
//! Not here: waiting for room. Who writes decides what to do when the answer is [`DeadLetterError::Full`].

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

/// A folder is at most this many files, so that little is lost when the oldest gives way.
const SEGMENTS: u64 = 4;
/// Files are for their owner alone.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
const SUFFIX: &str = ".ndjson";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `<state_dir>/dead-letter/<lane>`; made when first needed.
    pub dir: PathBuf,
    pub lane: String,
    /// Bytes of all files together.
    pub max_size: u64,
    pub when_full: WhenFull,
}

/// 64 MiB.
pub const MAX_SIZE: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The lane waits until somebody makes room.
    #[default]
    Hold,
    /// The oldest file gives way.
    DropOldest,
}

/// A refused document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub id: String,
    pub index: Option<String>,
    pub status: u16,
    /// The peer's `error.type`.
    pub kind: String,
    pub reason: String,
    /// JSON text.
    pub document: Vec<u8>,
}

/// What one write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Letters that are on the disk now.
    pub kept: u64,
    /// Letters larger than the whole dead letter may be; given up (under [`WhenFull::DropOldest`] only).
    pub dropped: u64,
    /// Bytes of older files that gave way.
    pub evicted_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("the dead letter {dir} is full ({max_size} bytes); look at its files, move or delete them", dir = dir.display())]
    Full { dir: PathBuf, max_size: u64 },
    #[error("cannot write the dead letter {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

#[derive(Debug)]
pub struct DeadLetter {
    config: Config,
    /// Number, size and handle of the file being written.
    open: Option<(u64, u64, File)>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    lane: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    status: u16,
    #[serde(rename = "type")]
    kind: &'a str,
    reason: &'a str,
    document: Document<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Json(&'a RawValue),
    /// What the peer could not read as JSON is kept as text.
    Text(std::borrow::Cow<'a, str>),
}

impl DeadLetter {
    /// Touches nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, open: None }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Writes and syncs all letters, or none when there is no room for them.
    pub fn write(&mut self, letters: &[Letter]) -> Result<Written, DeadLetterError> {
        let result = self.try_write(letters);
        if result.is_err() {
            // The file may end in half a line now; the next write begins another.
            self.open = None;
        }
        result
    }

    fn try_write(&mut self, letters: &[Letter]) -> Result<Written, DeadLetterError> {
        // Somebody may have moved or deleted the file since: what went into it now would be lost.
        if self.open.as_ref().is_some_and(|(number, ..)| !self.path(*number).exists()) {
            self.open = None;
        }
        let lines: Vec<Vec<u8>> = letters.iter().map(|letter| self.line(letter)).collect();
        let most = self.config.max_size;
        let (lines, too_large): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.len() as u64 <= most);
        let mut written = Written { dropped: too_large.len() as u64, ..Written::default() };
        if self.config.when_full == WhenFull::Hold {
            let bytes: u64 = lines.iter().map(|line| line.len() as u64).sum();
            if !too_large.is_empty() || self.size()? + bytes > most {
                return Err(self.full());
            }
        }
        for line in &lines {
            if self.config.when_full == WhenFull::DropOldest {
                written.evicted_bytes += self.evict(line.len() as u64)?;
            }
            self.append(line)?;
            written.kept += 1;
        }
        if let Some((number, _, file)) = &self.open {
            file.sync_data().map_err(|source| self.io(&self.path(*number), source))?;
        }
        Ok(written)
    }

    /// All files' bytes.
    pub fn size(&self) -> Result<u64, DeadLetterError> {
        Ok(self.files()?.iter().map(|(_, size)| size).sum())
    }

    fn line(&self, letter: &Letter) -> Vec<u8> {
        let text = std::str::from_utf8(&letter.document).ok();
        let document = match text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()) {
            Some(json) if !letter.document.contains(&b'\n') => Document::Json(json),
            _ => Document::Text(String::from_utf8_lossy(&letter.document)),
        };
        let line = Line {
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            lane: &self.config.lane,
            id: &letter.id,
            index: letter.index.as_deref(),
            status: letter.status,
            kind: &letter.kind,
            reason: &letter.reason,
            document,
        };
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn append(&mut self, line: &[u8]) -> Result<(), DeadLetterError> {
        let segment = (self.config.max_size / SEGMENTS).max(1);
        if self.open.as_ref().is_none_or(|(_, size, _)| *size > 0 && size + line.len() as u64 > segment) {
            self.rotate()?;
        }
        let Some((number, size, file)) = &mut self.open else { return Err(self.full()) };
        let number = *number;
        match file.write_all(line) {
            Ok(()) => *size += line.len() as u64,
            Err(source) => return Err(self.io(&self.path(number), source)),
        }
        Ok(())
    }

    /// Begins the file after the newest.
    fn rotate(&mut self) -> Result<(), DeadLetterError> {
        if let Some((number, _, file)) = self.open.take() {
            file.sync_data().map_err(|source| self.io(&self.path(number), source))?;
        }
        let dir = &self.config.dir;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(DIR_MODE).create(dir).map_err(|source| self.io(dir, source))?;
        let number = self.files()?.last().map_or(1, |(number, _)| number + 1);
        let path = self.path(number);
        let file = OpenOptions::new().create_new(true).append(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(|source| self.io(&path, source))?;
        // The name must outlive a crash as surely as the bytes.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| self.io(dir, source))?;
        self.open = Some((number, 0, file));
        Ok(())
    }

    /// Removes the oldest files until `room` bytes are free.
    fn evict(&mut self, room: u64) -> Result<u64, DeadLetterError> {
        let mut files = self.files()?;
        let mut size: u64 = files.iter().map(|(_, size)| size).sum();
        let mut evicted = 0;
        files.reverse();
        while size + room > self.config.max_size {
            let Some((number, bytes)) = files.pop() else { break };
            if self.open.as_ref().is_some_and(|(open, ..)| *open == number) {
                self.open = None;
            }
            let path = self.path(number);
            std::fs::remove_file(&path).map_err(|source| self.io(&path, source))?;
            size -= bytes;
            evicted += bytes;
        }
        Ok(evicted)
    }

    /// Number and size of our files, oldest first. What else lies in the folder is not ours.
    fn files(&self) -> Result<Vec<(u64, u64)>, DeadLetterError> {
        let dir = &self.config.dir;
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(dir, source)),
        };
        let mut files: Vec<(u64, u64)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let number = entry.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
                Some((number, entry.metadata().ok()?.len()))
            })
            .collect();
        files.sort_unstable();
        Ok(files)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.config.dir.join(format!("{number:08}{SUFFIX}"))
    }

    fn full(&self) -> DeadLetterError {
        DeadLetterError::Full { dir: self.config.dir.clone(), max_size: self.config.max_size }
    }

    fn io(&self, path: &Path, source: std::io::Error) -> DeadLetterError {
        DeadLetterError::Io { path: path.to_path_buf(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn letter(n: u32, document: &str) -> Letter {
        Letter {
            id: format!("id-{n}"),
            index: Some(".ds-x".into()),
            status: 400,
            kind: "document_parsing_exception".into(),
            reason: "why\"not\"".into(),
            document: document.as_bytes().to_vec(),
        }
    }

    fn dead_letter(max_size: u64, when_full: WhenFull) -> (tempfile::TempDir, DeadLetter) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("dead-letter/elasticsearch");
        let config = Config { dir, lane: "elasticsearch".into(), max_size, when_full };
        (folder, DeadLetter::new(config))
    }

    fn kept(letters: &DeadLetter) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for (number, _) in letters.files().unwrap() {
            let text = std::fs::read_to_string(letters.path(number)).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
        }
        lines
    }

    fn ids(letters: &DeadLetter) -> Vec<String> {
        kept(letters).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_letter_says_what_who_and_why() {
        let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
        let written = letters.write(&[letter(1, "{\"a\":[1,\"é\"]}"), letter(2, "not json\n")]).unwrap();
        assert_eq!(written, Written { kept: 2, ..Written::default() });
        let lines = kept(&letters);
        let time = lines[0]["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        let mut line = lines[0].clone();
        line.as_object_mut().unwrap().remove("time");
        let expected = serde_json::json!({
            "lane": "elasticsearch", "id": "id-1", "index": ".ds-x", "status": 400,
            "type": "document_parsing_exception", "reason": "why\"not\"", "document": {"a": [1, "é"]},
        });
        assert_eq!(line, expected);
        assert_eq!(lines[1]["document"], "not json\n");
        let mode = std::fs::metadata(letters.path(1)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
    }

    #[test]
    fn a_full_one_refuses_whole_writes_until_there_is_room() {
        let (_folder, mut letters) = dead_letter(2_000, WhenFull::Hold);
        let mut count = 0;
        while letters.write(&[letter(count, "{}")]).is_ok() {
            count += 1;
        }
        assert!(count > 3, "{count}");
        let size = letters.size().unwrap();
        assert!(size <= 2_000);
        let error = letters.write(&[letter(90, "{}"), letter(91, "{}")]).unwrap_err();
        assert!(matches!(error, DeadLetterError::Full { .. }), "{error}");
        assert_eq!(letters.size().unwrap(), size, "nothing of it was written");
        // Somebody moves a file away while we run.
        let first = letters.files().unwrap()[0].0;
        std::fs::remove_file(letters.path(first)).unwrap();
        letters.write(&[letter(92, "{}")]).unwrap();
        assert_eq!(ids(&letters).last().map(String::as_str), Some("id-92"));
        assert!(letters.write(&[letter(93, &format!("\"{}\"", "x".repeat(3_000)))]).is_err(), "never fits: held");
    }

    #[test]
    fn drop_oldest_keeps_the_newest_within_the_bound() {
        let (_folder, mut letters) = dead_letter(2_000, WhenFull::DropOldest);
        let mut evicted = 0;
        for n in 0..50 {
            let written = letters.write(&[letter(n, "{}")]).unwrap();
            assert_eq!((written.kept, written.dropped), (1, 0));
            evicted += written.evicted_bytes;
            assert!(letters.size().unwrap() <= 2_000);
        }
        assert!(evicted > 0);
        let ids = ids(&letters);
        assert!(ids.len() > 3);
        let expected: Vec<_> = (50 - ids.len()..50).map(|n| format!("id-{n}")).collect();
        assert_eq!(ids, expected);
        let huge = letter(99, &format!("\"{}\"", "x".repeat(3_000)));
        assert_eq!(letters.write(&[huge]).unwrap().dropped, 1);
    }

    #[test]
    fn a_new_process_goes_on_in_a_new_file() {
        let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
        letters.write(&[letter(1, "{}")]).unwrap();
        let mut again = DeadLetter::new(letters.config().clone());
        again.write(&[letter(2, "{}")]).unwrap();
        assert_eq!(ids(&again), ["id-1", "id-2"]);
        assert_eq!(again.files().unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_was_taken_away_is_not_written_on() {
        let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
        letters.write(&[letter(1, "{}")]).unwrap();
        std::fs::remove_dir_all(&letters.config().dir).unwrap();
        letters.write(&[letter(2, "{}")]).unwrap();
        assert_eq!(ids(&letters), ["id-2"]);
    }

    #[test]
    fn an_unusable_folder_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let config = Config { dir: file.join("x"), lane: "l".into(), max_size: 1000, when_full: WhenFull::Hold };
        let error = DeadLetter::new(config).write(&[letter(1, "{}")]).unwrap_err();
        assert!(error.to_string().contains("file/x"), "{error}");
    }
}

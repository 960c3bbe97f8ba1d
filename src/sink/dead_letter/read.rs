//! Reading letters, while an agent may be writing them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::line::{self, Line};

const SUFFIX: &str = ".ndjson";
/// A longer line is no letter of ours: a flow line has at most a mebibyte, its document a few.
const LINE_LIMIT: u64 = 32 << 20;
const READ: usize = 64 << 10;

/// A file of letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub path: PathBuf,
    /// Bytes, when it was looked at.
    pub size: u64,
}

/// What stands at a place in a segment.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
pub enum Found<'a> {
    Letter(Line<'a>),
    /// A whole line that is no letter.
    Damaged,
    /// The end of the file without a newline: a write that is going on, or one that a crash cut off. The batch of a
    /// letter that was cut off was not settled, so that it is refused and written once more.
    Half,
}

/// The files of a folder, oldest first. What else lies in it is not ours; a folder that is not there has none.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found: Vec<Segment> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
            Some(Segment { number, path: entry.path(), size: entry.metadata().ok()?.len() })
        })
        .collect();
    found.sort_unstable_by_key(|segment| segment.number);
    Ok(found)
}

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{SUFFIX}"))
}

/// Calls `each` with offset, bytes (newline included) and meaning of every line, up to the offset `end`. `each` may end
/// it with an error.
pub fn lines<E: From<io::Error>>(
    file: &File,
    end: u64,
    mut each: impl FnMut(u64, &[u8], Found<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = BufReader::with_capacity(READ, At { file, offset: 0 }.take(end));
    let (mut offset, mut buffer) = (0, Vec::new());
    loop {
        buffer.clear();
        let read = reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut buffer)? as u64;
        let Some(last) = buffer.last() else { return Ok(()) };
        let found = match (*last, read) {
            (b'\n', _) => line::read(&buffer[..buffer.len() - 1]).map_or(Found::Damaged, Found::Letter),
            (_, LINE_LIMIT) => Found::Damaged,
            _ => Found::Half,
        };
        each(offset, &buffer, found)?;
        offset += read;
    }
}

/// Reads from its own place, wherever the file's other readers are.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Newlines in a file: its letters, near enough for a number that is only told.
pub fn count(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(READ, File::open(path)?);
    let mut lines = 0;
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', block).count() as u64;
        let len = block.len();
        reader.consume(len);
    }
}

//! Whole lines of a content into a chunk, from its file or from the spool.

use std::io;

use super::content::Content;
use super::{FileSource, LEAST_READ, READ};
use crate::lane::{Chunk, HISTORY, Tail};
use crate::model::filler;

pub(super) enum Filled {
    Lines,
    /// Only an over-long line, which was skipped.
    Skipped,
    Nothing,
    /// The bytes before the offset are not those that were read: another content.
    Changed,
}

impl FileSource {
    /// One read of one file. `Ok(false)`: nothing more there now.
    pub(super) fn read_from(&mut self, id: u32, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        if content.place.is_none() && content.spooled.is_some() {
            return self.read_from_spool(id, chunk);
        }
        if !self.open_one(id)? {
            self.lose_place(id);
            return Ok(false);
        }
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        chunk.file = id;
        chunk.key = content.key;
        chunk.skipped_lines = 0;
        say_path(chunk, content);
        chunk.max_line = content.max_line;
        chunk.before = content.before(content.read);
        match fill(content, chunk)? {
            Filled::Lines | Filled::Skipped => {
                self.touch(id);
                Ok(true)
            }
            Filled::Nothing => Ok(false),
            Filled::Changed => {
                self.lose_place(id);
                Ok(false)
            }
        }
    }

    pub(super) fn read_from_spool(&mut self, id: u32, chunk: &mut Chunk) -> io::Result<bool> {
        let Some(content) = self.contents.get_mut(id) else { return Ok(false) };
        chunk.file = id;
        chunk.key = content.key;
        say_path(chunk, content);
        chunk.max_line = content.max_line;
        chunk.before = content.before(content.read);
        if !self.spool.read(id, content.read, chunk).map_err(io::Error::other)? {
            return Ok(false);
        }
        content.read = chunk.offset + chunk.lines.len() as u64;
        content.read_tail = Tail::of(&chunk.buffer[..chunk.lines.end]);
        content.handed_out = content.handed_out.max(content.read);
        self.touch(id);
        Ok(true)
    }
}

fn say_path(chunk: &mut Chunk, content: &Content) {
    let name = content.name();
    if *chunk.path != *name {
        chunk.path = name.into();
    }
}

/// How many bytes before the read offset are looked at, and where they begin.
fn before(content: &Content) -> (usize, u64) {
    let history = content.read.min(HISTORY as u64) as usize;
    (history, content.read - history as u64)
}

/// Reads the next lines of a content into the chunk and moves its read offset behind them.
pub(super) fn fill(content: &mut Content, chunk: &mut Chunk) -> io::Result<Filled> {
    if content.skipping.is_some() {
        return skip_line(content, chunk);
    }
    let at_once = at_once(content);
    let (mut history, mut from) = before(content);
    let mut capacity = history + at_once;
    loop {
        let (have, failed) = read_block(content, chunk, from, capacity);
        if have < history || Tail::of(&chunk.buffer[..history]) != content.read_tail {
            return failed.map_or(Ok(Filled::Changed), Err);
        }
        let data = &chunk.buffer[history..have];
        let hole = filler(data);
        if hole > 0 && (hole < data.len() || have == capacity) {
            // A hole may be larger than any line.
            content.read += hole as u64;
            content.read_tail = Tail::of(&chunk.buffer[..history + hole]);
            (history, from) = before(content);
            capacity = history + at_once;
            continue;
        }
        if let Some(end) = memchr::memrchr(b'\n', data) {
            let at_end = have < capacity;
            let partial = if at_end { data.len() - end - 1 } else { 0 };
            return Ok(hand_out(content, chunk, history..history + end + 1, partial as u64));
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if data.len() > content.max_line {
            content.skipping = Some(content.read + data.len() as u64);
            return skip_line(content, chunk);
        }
        if have < capacity {
            content.partial = data.len() as u64;
            return Ok(Filled::Nothing);
        }
        capacity = (history + content.max_line + 1).min(history + data.len() * 4);
    }
}

/// Bytes of one read: what the last look showed and one more, by which its end is known. A lane that never has much to read
/// then never has a large buffer.
fn at_once(content: &Content) -> usize {
    match &content.place {
        Some(place) if place.reader.as_ref().is_some_and(|reader| reader.is_plain()) => {
            let rest = usize::try_from(place.look.size.saturating_sub(content.read)).unwrap_or(READ);
            rest.saturating_add(1).clamp(LEAST_READ, READ)
        }
        _ => READ,
    }
}

/// Fills the chunk's buffer up to `capacity` bytes from `from`. What was read before an error counts.
fn read_block(content: &mut Content, chunk: &mut Chunk, from: u64, capacity: usize) -> (usize, Option<io::Error>) {
    if chunk.buffer.len() < capacity {
        // What it holds is not asked for any more; zeros from the kernel cost nothing until they are written over.
        chunk.buffer = vec![0; capacity];
    }
    let Some(reader) = content.place.as_mut().and_then(|p| p.reader.as_mut()) else { return (0, None) };
    let mut have = 0;
    while have < capacity {
        match reader.read_at(&mut chunk.buffer[have..capacity], from + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (have, Some(e)),
        }
    }
    (have, None)
}

fn hand_out(content: &mut Content, chunk: &mut Chunk, lines: std::ops::Range<usize>, partial: u64) -> Filled {
    chunk.offset = content.read;
    content.read += lines.len() as u64;
    content.read_tail = Tail::of(&chunk.buffer[..lines.end]);
    content.handed_out = content.handed_out.max(content.read);
    content.partial = partial;
    chunk.lines = lines;
    if usize::from(content.head.len) < HISTORY {
        // The head only matters for telling a replaced file; without it the bytes before the offset do.
        let _ = content.grow_head();
    }
    Filled::Lines
}

/// Looks for the end of an over-long line. The chunk then holds no line, only its count.
fn skip_line(content: &mut Content, chunk: &mut Chunk) -> io::Result<Filled> {
    let Some(mut at) = content.skipping else { return Ok(Filled::Nothing) };
    loop {
        let (have, failed) = read_block(content, chunk, at, READ);
        if let Some(end) = memchr::memchr(b'\n', &chunk.buffer[..have]) {
            let after = at + end as u64 + 1;
            let Some(reader) = content.place.as_mut().and_then(|p| p.reader.as_mut()) else {
                return Ok(Filled::Nothing);
            };
            let Some(tail) = reader.tail_before(after)? else { return Ok(Filled::Changed) };
            chunk.skipped_lines = 1;
            chunk.offset = after;
            // The mark of a chunk without lines is made of these bytes.
            let history = after.min(HISTORY as u64) as usize;
            chunk.buffer.resize(history, 0);
            reader.fill(&mut chunk.buffer, after - history as u64)?;
            tracing::warn!(path = %content.name(), offset_bytes = content.read, line_bytes = after - content.read - 1,
                "skipped a line that is longer than max_line; it is counted as dropped");
            chunk.lines = history..history;
            content.read = after;
            content.handed_out = content.handed_out.max(after);
            content.read_tail = tail;
            content.skipping = None;
            return Ok(Filled::Skipped);
        }
        at += have as u64;
        content.skipping = Some(at);
        if let Some(error) = failed {
            return Err(error);
        }
        if have < READ {
            content.partial = at - content.read;
            return Ok(Filled::Nothing);
        }
    }
}

//! Lines of a stream with their offsets, in bounded memory.

use std::io::Read;

/// Longest line that is converted, without its newline: what the agent takes too.
pub const MAX_LINE: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its newline.
    Whole { offset: u64, bytes: &'a [u8] },
    /// More than [`MAX_LINE`] bytes; they are gone, but for the first ones of the stream's first line.
    TooLong { offset: u64, bytes: u64, head: &'a [u8] },
}

/// Reads lines. The last one needs no newline.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer has been given out.
    start: usize,
    /// Where newlines have been looked for.
    searched: usize,
    /// Bytes of the stream before `buffer[0]`.
    base: u64,
    ended: bool,
    /// The beginning of an over-long first line: the file key is made of it.
    head: Vec<u8>,
}

enum Found {
    Newline(usize),
    TooLong,
    End,
}

impl<R: Read> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, searched: 0, base: 0, ended: false, head: Vec::new() }
    }

    /// Whether the next line can be given without waiting for the stream.
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.start..]).is_some()
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> std::io::Result<Option<Line<'_>>> {
        let offset = self.base + self.start as u64;
        match self.find()? {
            Found::Newline(end) => {
                let begin = std::mem::replace(&mut self.start, end + 1);
                Ok(Some(Line::Whole { offset, bytes: &self.buffer[begin..end] }))
            }
            Found::End if self.start == self.buffer.len() => Ok(None),
            Found::End => {
                let begin = std::mem::replace(&mut self.start, self.buffer.len());
                Ok(Some(Line::Whole { offset, bytes: &self.buffer[begin..] }))
            }
            Found::TooLong => {
                if offset == 0 {
                    self.head = self.buffer[self.start..self.start + MAX_LINE].to_vec();
                }
                let bytes = self.skip()?;
                let head = if offset == 0 { &self.head[..] } else { &[] };
                Ok(Some(Line::TooLong { offset, bytes, head }))
            }
        }
    }

    fn find(&mut self) -> std::io::Result<Found> {
        self.searched = self.searched.max(self.start);
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let end = self.searched + at;
                return Ok(if end - self.start > MAX_LINE { Found::TooLong } else { Found::Newline(end) });
            }
            self.searched = self.buffer.len();
            if self.buffer.len() - self.start > MAX_LINE {
                return Ok(Found::TooLong);
            }
            if !self.fill()? {
                return Ok(Found::End);
            }
        }
    }

    /// Lets go of an over-long line, up to its newline. Returns its length.
    fn skip(&mut self) -> std::io::Result<u64> {
        let begin = self.base + self.start as u64;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start..]) {
                self.start += at + 1;
                self.searched = self.start;
                return Ok(self.base + self.start as u64 - 1 - begin);
            }
            self.start = self.buffer.len();
            self.searched = self.start;
            if !self.fill()? {
                return Ok(self.base + self.start as u64 - begin);
            }
        }
    }

    /// Reads on; `false` at the end of the stream.
    fn fill(&mut self) -> std::io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.base += self.start as u64;
        self.searched -= self.start;
        self.start = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(!self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most so many bytes a read, so that lines fall apart everywhere.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = self.0.len().min(self.1).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn check(text: &[u8], expected: &[(u64, usize, bool)]) {
        for step in [1, 7, 1000, READ_BYTES, usize::MAX] {
            // One byte at a time through a megabyte takes long and shows nothing more.
            if text.len() / step > 200_000 {
                continue;
            }
            let mut lines = Lines::new(Drip(text, step));
            let mut got = Vec::new();
            while let Some(line) = lines.next().expect("a slice reads") {
                got.push(match line {
                    Line::Whole { offset, bytes } => {
                        let at = usize::try_from(offset).unwrap();
                        assert_eq!(bytes, &text[at..at + bytes.len()]);
                        (offset, bytes.len(), true)
                    }
                    Line::TooLong { offset, bytes, .. } => (offset, usize::try_from(bytes).unwrap(), false),
                });
            }
            assert_eq!(got, expected, "{step} bytes a read");
        }
    }

    #[test]
    fn lines_and_offsets() {
        check(b"", &[]);
        check(b"\n", &[(0, 0, true)]);
        check(b"a\nbc\r\n\nd", &[(0, 1, true), (2, 3, true), (6, 0, true), (7, 1, true)]);
    }

    #[test]
    fn the_line_after_an_over_long_one_is_intact() {
        let mut text = b"a\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', MAX_LINE));
        text.extend_from_slice(b"\n");
        text.extend(std::iter::repeat_n(b'y', MAX_LINE + 1));
        text.extend_from_slice(b"\nb\n");
        text.extend(std::iter::repeat_n(b'z', 3 * MAX_LINE));
        let m = MAX_LINE as u64;
        check(
            &text,
            &[
                (0, 1, true),
                (2, MAX_LINE, true),
                (m + 3, MAX_LINE + 1, false),
                (2 * m + 5, 1, true),
                (2 * m + 7, 3 * MAX_LINE, false),
            ],
        );
    }
}

//! One read of a log file as it lies in a spool file: its lines, compressed, with their place and two checksums.
//!
//! ```text
//! bytes  0..4   "TGS1"
//!        4..8   kind: 0 what the file is of, 1 lines, 2 lines that are given up
//!        8..16  offset of the first line; of given-up lines: the offset after them
//!       16..20  history: bytes before the first line, of which a mark needs the fingerprint
//!       20..24  bytes of the lines
//!       24..28  bytes of the payload as it lies here
//!       28..36  lines, blank ones not counted
//!       36..44  xxh3-64 of the payload
//!       44..52  xxh3-64 of the 44 bytes before
//! payload       kind 0: JSON; else history and lines as deflate (RFC 1951)
//! ```
//!
//! Numbers are little-endian. A file is good up to the first frame whose header is not: what a crash or a disk left
//! behind it is no part of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use xxhash_rust::xxh3::xxh3_64;

use crate::lane::Chunk;

const MAGIC: &[u8; 4] = b"TGS1";
pub const HEADER: usize = 52;
/// Nothing that we write is larger: history, a line of 1 MiB and a read.
const PAYLOAD_LIMIT: u32 = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    About,
    Lines,
    GivenUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub offset: u64,
    pub history: u32,
    pub data: u32,
    pub packed: u32,
    pub lines: u64,
    pub hash: u64,
}

impl Header {
    /// Offset behind the last line.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.data)
    }

    /// Bytes of the frame in its file.
    pub fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.packed)
    }

    pub fn bytes(&self) -> [u8; HEADER] {
        let kind: u32 = match self.kind {
            Kind::About => 0,
            Kind::Lines => 1,
            Kind::GivenUp => 2,
        };
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(MAGIC);
        out[4..8].copy_from_slice(&kind.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..20].copy_from_slice(&self.history.to_le_bytes());
        out[20..24].copy_from_slice(&self.data.to_le_bytes());
        out[24..28].copy_from_slice(&self.packed.to_le_bytes());
        out[28..36].copy_from_slice(&self.lines.to_le_bytes());
        out[36..44].copy_from_slice(&self.hash.to_le_bytes());
        let hash = xxh3_64(&out[..44]);
        out[44..].copy_from_slice(&hash.to_le_bytes());
        out
    }

    /// `None`: no frame begins here.
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let small = |at: usize| bytes[at..at + 4].iter().rev().fold(0, |n: u32, b| n << 8 | u32::from(*b));
        let large = |at: usize| u64::from(small(at)) | u64::from(small(at + 4)) << 32;
        if &bytes[..4] != MAGIC || large(44) != xxh3_64(&bytes[..44]) {
            return None;
        }
        let kind = match small(4) {
            0 => Kind::About,
            1 => Kind::Lines,
            2 => Kind::GivenUp,
            _ => return None,
        };
        let header = Self {
            kind,
            offset: large(8),
            history: small(16),
            data: small(20),
            packed: small(24),
            lines: large(28),
            hash: large(36),
        };
        let sane = header.packed <= PAYLOAD_LIMIT
            && header.history.checked_add(header.data).is_some_and(|n| n <= PAYLOAD_LIMIT)
            && header.offset.checked_add(header.data.into()).is_some();
        sane.then_some(header)
    }

    /// Reads the header of the frame at `at`. `None` where none begins, or where the file ends within it.
    pub fn read(file: &File, at: u64, size: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER];
        if at + HEADER as u64 > size {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, at)?;
        Ok(Self::parse(&bytes).filter(|header| at + header.size() <= size))
    }

    /// Reads the payload of the frame at `at` as it lies there. An error of kind `InvalidData` is damage.
    pub fn payload(&self, file: &File, at: u64) -> io::Result<Vec<u8>> {
        let mut packed = vec![0; self.packed as usize];
        file.read_exact_at(&mut packed, at + HEADER as u64)?;
        if xxh3_64(&packed) != self.hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match"));
        }
        Ok(packed)
    }

    /// Puts history and lines of the frame at `at` into `buffer`.
    pub fn unpack(&self, file: &File, at: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let packed = self.payload(file, at)?;
        let whole = (self.history + self.data) as usize;
        buffer.resize(whole, 0);
        let mut decoder = DeflateDecoder::new(&packed[..]);
        decoder.read_exact(buffer).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// What the spool file is of, as the first frame.
pub fn about(offset: u64, json: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: Kind::About,
        offset,
        history: 0,
        data: 0,
        packed: json.len() as u32,
        lines: 0,
        hash: xxh3_64(json),
    };
    [&header.bytes()[..], json].concat()
}

/// The lines of `chunk`, or the ones skipped before it, as a frame.
pub fn lines(chunk: &Chunk) -> io::Result<(Header, Vec<u8>)> {
    let given_up = chunk.lines.is_empty() && chunk.skipped_lines > 0;
    let kind = if given_up { Kind::GivenUp } else { Kind::Lines };
    let lines = if given_up { chunk.skipped_lines } else { count(chunk.bytes()) };
    pack(kind, chunk.offset, &chunk.buffer[..chunk.lines.end], chunk.lines.start, lines)
}

/// `lines` lines before `offset` that are no more, with the bytes that stood before `offset`.
pub fn given_up(offset: u64, history: &[u8], lines: u64) -> io::Result<(Header, Vec<u8>)> {
    pack(Kind::GivenUp, offset, history, history.len(), lines)
}

fn pack(kind: Kind, offset: u64, bytes: &[u8], history: usize, lines: u64) -> io::Result<(Header, Vec<u8>)> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    let packed = encoder.finish()?;
    let header = Header {
        kind,
        offset,
        history: history as u32,
        data: (bytes.len() - history) as u32,
        packed: packed.len() as u32,
        lines,
        hash: xxh3_64(&packed),
    };
    Ok((header, packed))
}

/// Lines that are not blank: only these count as read.
pub fn count(bytes: &[u8]) -> u64 {
    bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(history: &[u8], lines: &[u8], offset: u64) -> Chunk {
        Chunk {
            offset,
            buffer: [history, lines].concat(),
            lines: history.len()..history.len() + lines.len(),
            ..Chunk::default()
        }
    }

    #[test]
    fn lines_are_counted_as_the_lane_counts_them() {
        for (text, expected) in [("", 0), ("\n", 0), ("a\n", 1), ("a\n \t\r\n\nb\n", 2)] {
            assert_eq!(count(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn comes_back_as_written(history in "[a-z]{0,30}", text in "([a-z]{0,9}\n){1,40}", offset in 0u64..1 << 40) {
            let dir = tempfile::tempdir().unwrap();
            let (header, packed) = lines(&chunk(history.as_bytes(), text.as_bytes(), offset)).unwrap();
            let path = dir.path().join("x");
            std::fs::write(&path, [b"before", &header.bytes()[..], &packed].concat()).unwrap();
            let file = File::open(&path).unwrap();
            let size = file.metadata().unwrap().len();
            prop_assert_eq!(Header::read(&file, 6, size).unwrap(), Some(header));
            let mut buffer = Vec::new();
            header.unpack(&file, 6, &mut buffer).unwrap();
            prop_assert_eq!(buffer, format!("{history}{text}").into_bytes());
            prop_assert_eq!(header.end(), offset + text.len() as u64);
            // Cut anywhere it is no frame.
            prop_assert_eq!(Header::read(&file, 6, size - 1).unwrap(), None);
            prop_assert_eq!(Header::read(&file, 5, size).unwrap(), None);
        }

        #[test]
        fn hostile_bytes_are_no_frame(bytes in proptest::collection::vec(any::<u8>(), HEADER), at in 0usize..HEADER, flip in 1u8..) {
            let random: [u8; HEADER] = bytes.try_into().unwrap();
            prop_assert_eq!(Header::parse(&random), None);
            let mut good = Header { kind: Kind::Lines, offset: 5, history: 1, data: 2, packed: 3, lines: 4, hash: 6 }.bytes();
            prop_assert!(Header::parse(&good).is_some());
            good[at] ^= flip;
            prop_assert_eq!(Header::parse(&good), None);
        }
    }
}

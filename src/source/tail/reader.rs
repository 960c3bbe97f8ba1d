//! The bytes of one file by their offset in the uncompressed text.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::patterns::{Packing, packing};
use super::zstd::ZstdDecoder;
use crate::lane::{HISTORY, Tail};
use crate::model::KEY_LINE_LIMIT;

/// Compressed input is read in pieces of this size.
const PACKED_READ: usize = 64 << 10;
/// How far a packed file can be read again without starting over: what is left of a read after its last whole line.
const REREAD_LIMIT: usize = 256 << 10;

#[derive(Debug)]
pub struct Reader {
    file: File,
    packing: Packing,
    stream: Option<Stream>,
    /// Held while it counts as an open file.
    counted: Option<Arc<()>>,
}

#[derive(Debug)]
enum Decoder {
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
    Zstd(Box<ZstdDecoder<BufReader<File>>>),
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// A packed file on its way forward.
#[derive(Debug)]
struct Stream {
    decoder: Decoder,
    /// What the last read gave: a line that was cut at its end is read again from here.
    window: Vec<u8>,
    /// Uncompressed offset after `window`.
    at: u64,
}

impl Stream {
    fn start(&self) -> u64 {
        self.at - self.window.len() as u64
    }
}

impl Reader {
    /// Opens without waiting: a FIFO or a device that matches a glob is refused, it must not stop the lane.
    pub fn open(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, packing: packing(path), stream: None, counted: None })
    }

    /// While it lives, `open` has one owner more.
    pub fn count_in(&mut self, open: &Arc<()>) {
        self.counted = Some(open.clone());
    }

    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.metadata()
    }

    /// Bytes of a compressed file that its decoder has taken so far.
    pub fn taken(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(&self.file)?)
    }

    pub fn is_plain(&self) -> bool {
        self.packing == Packing::Plain
    }

    /// Reads up to `buffer.len()` bytes at `offset`; 0 is the end for now. A packed file goes forward for free and starts
    /// over to go back. A packed file that ends too early is [`io::ErrorKind::UnexpectedEof`]: it may still grow.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.packing {
            Packing::Plain => self.file.read_at(buffer, offset),
            Packing::Gzip | Packing::Zstd => self.unpack_at(buffer, offset),
        }
    }

    fn unpack_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.stream.as_ref().is_none_or(|s| s.start() > offset) {
            let mut file = self.file.try_clone()?;
            io::Seek::rewind(&mut file)?;
            let input = BufReader::with_capacity(PACKED_READ, file);
            let decoder = match self.packing {
                Packing::Zstd => Decoder::Zstd(Box::new(ZstdDecoder::new(input))),
                _ => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            };
            self.stream = Some(Stream { decoder, window: Vec::new(), at: 0 });
        }
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let result = unpack_forward(stream, buffer, offset);
        if result.is_err() {
            // The decoder is of no use after an error; the next read starts over.
            self.stream = None;
        }
        result
    }

    /// Forgets the decoder of a packed file that grew, so that the new bytes are seen.
    pub fn restart(&mut self) {
        self.stream = None;
    }

    /// Reads exactly the bytes before `offset` that its fingerprint covers. `None` when the file is shorter.
    pub fn tail_before(&mut self, offset: u64) -> io::Result<Option<Tail>> {
        let len = offset.min(HISTORY as u64) as usize;
        let mut window = vec![0; len];
        Ok(self.fill(&mut window, offset - len as u64)?.then(|| Tail::of(&window)))
    }

    /// Fills the whole buffer from `offset`; false when the file ends before.
    pub fn fill(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut have = 0;
        while have < buffer.len() {
            match self.read_at(&mut buffer[have..], offset + have as u64)? {
                0 => return Ok(false),
                n => have += n,
            }
        }
        Ok(true)
    }

    /// Bytes of the uncompressed text. A packed file is read to its end for that.
    pub fn length(&mut self) -> io::Result<u64> {
        if self.is_plain() {
            return Ok(self.metadata()?.len());
        }
        self.read_at(&mut [0], u64::MAX)?;
        Ok(self.stream.as_ref().map_or(0, |stream| stream.at))
    }

    /// The first line without its newline, cut at [`KEY_LINE_LIMIT`]. `None` while it is incomplete.
    pub fn first_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut line, mut have) = (vec![0; 4 << 10], 0);
        loop {
            let read = self.read_at(&mut line[have..], have as u64)?;
            if let Some(end) = memchr::memchr(b'\n', &line[have..have + read]) {
                line.truncate((have + end).min(KEY_LINE_LIMIT));
                return Ok(Some(line));
            }
            have += read;
            if have >= KEY_LINE_LIMIT {
                line.truncate(KEY_LINE_LIMIT);
                return Ok(Some(line));
            }
            if read == 0 {
                return Ok(None);
            }
            if have == line.len() {
                line.resize((line.len() * 4).min(KEY_LINE_LIMIT), 0);
            }
        }
    }
}

/// How two files compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    No,
    /// The same text, as far as the shorter one goes; the second file goes no further.
    Yes,
    /// The same, and the second file goes on.
    Longer,
}

/// Looks at the first and the last bytes, as far as the shorter one of two files goes.
pub fn compare(a: &mut Reader, b: &mut Reader) -> io::Result<Alike> {
    let known = |reader: &Reader| if reader.is_plain() { reader.metadata().map(|m| m.len()) } else { Ok(u64::MAX) };
    let mut end = known(a)?.min(known(b)?);
    if end == u64::MAX {
        end = a.length()?;
    }
    let (mut tails, mut ends) = ((a.tail_before(end)?, b.tail_before(end)?), end);
    if tails.0.is_none() || tails.1.is_none() {
        ends = a.length()?.min(b.length()?);
        tails = (a.tail_before(ends)?, b.tail_before(ends)?);
    }
    let mut heads = [(); 2].map(|()| vec![0; ends.min(HISTORY as u64) as usize]);
    let whole = a.fill(&mut heads[0], 0)? && b.fill(&mut heads[1], 0)?;
    Ok(if !whole || heads[0] != heads[1] || tails.0.is_none() || tails.0 != tails.1 {
        Alike::No
    } else if !a.fill(&mut [0], ends)? && b.fill(&mut [0], ends)? {
        Alike::Longer
    } else {
        Alike::Yes
    })
}

fn unpack_forward(stream: &mut Stream, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    if offset < stream.at {
        let again = &stream.window[(offset - stream.start()) as usize..];
        let n = again.len().min(buffer.len());
        buffer[..n].copy_from_slice(&again[..n]);
        return Ok(n);
    }
    if stream.at < offset {
        stream.window.clear();
        stream.at += io::copy(&mut stream.decoder.by_ref().take(offset - stream.at), &mut io::sink())?;
        if stream.at < offset {
            return Ok(0);
        }
    }
    let read = stream.decoder.read(buffer)?;
    stream.at += read as u64;
    let keep = (HISTORY + REREAD_LIMIT).saturating_sub(read).min(stream.window.len());
    stream.window.drain(..stream.window.len() - keep);
    stream.window.extend_from_slice(&buffer[..read]);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(members: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for member in members {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(member).unwrap();
            encoder.finish().unwrap();
        }
        out
    }

    fn reader(dir: &Path, name: &str, bytes: &[u8]) -> Reader {
        std::fs::write(dir.join(name), bytes).unwrap();
        Reader::open(&dir.join(name)).unwrap()
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"first\nsecond\nthird\n";
        for mut r in [reader(dir.path(), "a", text), reader(dir.path(), "a.gz", &gzip(&[&text[..8], &text[8..]]))] {
            assert_eq!(r.first_line().unwrap().unwrap(), b"first");
            let mut part = [0; 6];
            assert!(r.fill(&mut part, 13).unwrap());
            assert_eq!(&part, b"third\n");
            assert!(r.fill(&mut part, 6).unwrap(), "going back starts over");
            assert_eq!(&part, b"second");
            assert_eq!(r.tail_before(13).unwrap(), Some(Tail::of(&text[..13])));
            assert_eq!(r.tail_before(100).unwrap(), None);
        }
    }

    #[test]
    fn a_cut_gzip_file_is_an_early_end() {
        let dir = tempfile::tempdir().unwrap();
        let whole = gzip(&[&b"line of text\n".repeat(100)]);
        let mut r = reader(dir.path(), "cut.gz", &whole[..whole.len() / 2]);
        let mut buffer = vec![0; 4096];
        let error = r.fill(&mut buffer, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_incomplete_first_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(reader(dir.path(), "b", b"half").first_line().unwrap(), None);
        let long = vec![b'x'; KEY_LINE_LIMIT + 10];
        assert_eq!(reader(dir.path(), "c", &long).first_line().unwrap().unwrap().len(), KEY_LINE_LIMIT);
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Reader::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

//! A batch: documents on their way into one compressed body, and what can be taken out of that body again.
//!
//! The lane's thread writes each document into a plain piece of at most about [`PIECE`] bytes, which still lies in the
//! processor's cache when it is deflated. A sealed batch keeps nothing but its own body: what must be sent once more is
//! inflated out of it, so that no retry needs the file, which may be gone by then. A retry costs an inflation of the
//! whole body (a few milliseconds a MiB); the ordinary way costs nothing for it.
//!
//! What this room does not do: it knows no answers and no peers.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::net::gzip::Packer;
use crate::sink::limits::Limits;

/// Plain bytes gathered before they are deflated: as fast as any larger piece, and no megabyte of plain text is held.
pub const PIECE: usize = 64 * 1024;
/// A piece is deflated once this little room is left in it: an ordinary document still fits.
const MARGIN: usize = 4 * 1024;

const ACTION_HEAD: &[u8] = b"{\"create\":{\"_id\":\"";
const ACTION_TAIL: &[u8] = b"\"}}\n";

/// Whole bulk body of some documents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealed {
    body: Bytes,
    documents: u32,
    plain: u64,
    /// Compression level; 0 = the body is plain.
    level: u32,
}

impl Sealed {
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    pub fn is_gzip(&self) -> bool {
        self.level > 0
    }

    pub fn documents(&self) -> u32 {
        self.documents
    }

    /// Bytes before compression.
    pub fn plain(&self) -> u64 {
        self.plain
    }

    /// Calls `each` with index, id and JSON text of the wanted documents. `wanted` ascends.
    pub fn read(&self, wanted: &[u32], mut each: impl FnMut(u32, &str, &[u8])) {
        let mut wanted = wanted.iter().copied().peekable();
        let mut reader = self.reader();
        let (mut action, mut document) = (Vec::new(), Vec::new());
        for index in 0..self.documents {
            if wanted.peek().is_none() {
                break;
            }
            action.clear();
            document.clear();
            line(&mut reader, &mut action);
            line(&mut reader, &mut document);
            if wanted.next_if_eq(&index).is_some() {
                let id = action.strip_prefix(ACTION_HEAD).and_then(|rest| rest.strip_suffix(ACTION_TAIL));
                let id = id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
                each(index, id, document.strip_suffix(b"\n").unwrap_or(&document));
            }
        }
    }

    /// The id of every document, in order.
    pub fn ids(&self) -> Vec<String> {
        let mut ids = Vec::with_capacity(self.documents as usize);
        self.read(&(0..self.documents).collect::<Vec<_>>(), |_, id, _| ids.push(id.to_owned()));
        ids
    }

    /// A batch of these documents alone, in their order.
    pub fn pick(&self, wanted: &[u32]) -> Self {
        let mut builder = Builder::new(self.level, Limits::new(usize::MAX, usize::MAX));
        self.read(wanted, |_, id, document| builder.add(id, |out| out.extend_from_slice(document)));
        builder.seal()
    }

    /// The first and the second half; `None` when there is nothing to halve.
    pub fn halves(&self) -> Option<(Self, Self)> {
        let middle = self.documents / 2;
        let pick = |range: std::ops::Range<u32>| self.pick(&range.collect::<Vec<_>>());
        (middle > 0).then(|| (pick(0..middle), pick(middle..self.documents)))
    }

    fn reader(&self) -> Box<dyn BufRead + '_> {
        match self.level {
            0 => Box::new(&*self.body),
            _ => Box::new(BufReader::with_capacity(PIECE, GzDecoder::new(&*self.body))),
        }
    }
}

/// One line with its newline. The body is our own and lies in memory: that it cannot be read back would be a bug of
/// ours, and going on would lose lines.
fn line(reader: &mut dyn BufRead, into: &mut Vec<u8>) {
    reader.read_until(b'\n', into).expect("a body that we compressed ourselves inflates");
}

/// The open batch. Its buffers and its compressor live as long as the lane.
pub struct Builder {
    limits: Arc<Limits>,
    piece: Vec<u8>,
    packer: Packer,
    documents: u32,
    plain: u64,
}

impl Builder {
    /// `level` 0 leaves the body plain, 1 to 9 are gzip's.
    pub fn new(level: u32, limits: Arc<Limits>) -> Self {
        Self { limits, piece: Vec::new(), packer: Packer::new(level), documents: 0, plain: 0 }
    }

    /// Adds one document; `write` appends its JSON text, without a newline in or after it.
    pub fn add(&mut self, id: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE);
        }
        let start = self.piece.len();
        self.piece.extend_from_slice(ACTION_HEAD);
        self.piece.extend_from_slice(id.as_bytes());
        self.piece.extend_from_slice(ACTION_TAIL);
        let document = self.piece.len();
        write(&mut self.piece);
        debug_assert!(!self.piece[document..].contains(&b'\n'), "a document is one line");
        self.piece.push(b'\n');
        self.documents += 1;
        self.plain += (self.piece.len() - start) as u64;
        if self.piece.len() + MARGIN > PIECE {
            self.flush();
        }
    }

    pub fn documents(&self) -> u32 {
        self.documents
    }

    pub fn is_full(&self) -> bool {
        self.limits.are_reached(self.plain, self.documents as usize)
    }

    /// The batch so far; the next one starts empty.
    pub fn seal(&mut self) -> Sealed {
        self.flush();
        let sealed = Sealed {
            body: self.packer.finish(),
            documents: self.documents,
            plain: self.plain,
            level: self.packer.level(),
        };
        (self.documents, self.plain) = (0, 0);
        sealed
    }

    /// Forgets the batch so far.
    pub fn abandon(&mut self) {
        self.piece.clear();
        self.packer.reset();
        (self.documents, self.plain) = (0, 0);
    }

    fn flush(&mut self) {
        self.packer.push(&self.piece);
        self.piece.clear();
        // One huge document must not hold its memory for ever.
        self.piece.shrink_to(PIECE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::limits::LEAST_BYTES;
    use proptest::prelude::*;
    use std::io::Read as _;

    fn batch(level: u32, documents: &[String]) -> Sealed {
        let mut builder = Builder::new(level, Limits::new(1 << 20, 2000));
        for (n, document) in documents.iter().enumerate() {
            builder.add(&format!("id-{n}"), |out| out.extend_from_slice(document.as_bytes()));
        }
        builder.seal()
    }

    fn plain(sealed: &Sealed) -> String {
        let mut text = String::new();
        if sealed.is_gzip() {
            // An independent reader of whole gzip members: our own decoder would forgive what it wrote itself.
            flate2::read::MultiGzDecoder::new(&*sealed.body()).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(sealed.body().to_vec()).unwrap();
        }
        text
    }

    fn body_of(documents: &[(usize, &String)]) -> String {
        documents.iter().map(|(n, d)| format!("{{\"create\":{{\"_id\":\"id-{n}\"}}}}\n{d}\n")).collect()
    }

    proptest! {
        #[test]
        fn any_documents_come_back_whole_and_picked(
            documents in prop::collection::vec("[ -~é]{0,300}", 1..60),
            level in 0u32..4,
            chosen in any::<u64>(),
        ) {
            let sealed = batch(level, &documents);
            let numbered: Vec<_> = documents.iter().enumerate().collect();
            prop_assert_eq!(plain(&sealed), body_of(&numbered));
            prop_assert_eq!(sealed.plain() as usize, plain(&sealed).len());

            let wanted: Vec<u32> = (0..documents.len() as u32).filter(|n| chosen >> n & 1 == 1).collect();
            let some: Vec<_> = wanted.iter().map(|n| (*n as usize, &documents[*n as usize])).collect();
            let picked = sealed.pick(&wanted);
            prop_assert_eq!(picked.documents() as usize, wanted.len());
            prop_assert_eq!(plain(&picked), body_of(&some));
        }
    }

    #[test]
    fn a_builder_is_reused_without_a_trace_of_the_last_batch() {
        let mut builder = Builder::new(1, Limits::new(1 << 20, 2000));
        let add = |builder: &mut Builder, text: &str| builder.add("id-0", |out| out.extend_from_slice(text.as_bytes()));
        add(&mut builder, "{\"lost\":1}");
        builder.abandon();
        assert_eq!(builder.documents(), 0);
        for text in ["{\"a\":1}", "{\"b\":2}"] {
            add(&mut builder, text);
            let sealed = builder.seal();
            assert_eq!(plain(&sealed), format!("{{\"create\":{{\"_id\":\"id-0\"}}}}\n{text}\n"));
            assert_eq!(sealed.documents(), 1);
        }
    }

    #[test]
    fn documents_larger_than_a_piece_pass() {
        let huge = format!("{{\"x\":\"{}\"}}", "y".repeat(5 * PIECE));
        let documents = vec!["{}".to_owned(), huge, "{}".to_owned()];
        let sealed = batch(1, &documents);
        let numbered: Vec<_> = documents.iter().enumerate().collect();
        assert_eq!(plain(&sealed), body_of(&numbered));
    }

    #[test]
    fn halves_hold_everything_once() {
        let documents: Vec<_> = (0..5).map(|n| format!("{{\"n\":{n}}}")).collect();
        let sealed = batch(1, &documents);
        let (first, second) = sealed.halves().unwrap();
        assert_eq!((first.documents(), second.documents()), (2, 3));
        assert_eq!(plain(&first) + &plain(&second), plain(&sealed));
        assert!(batch(1, &documents[..1]).halves().is_none());
    }

    #[test]
    fn full_by_bytes_by_lines_and_by_what_413_taught() {
        let limits = Limits::new(100_000, 3);
        let mut builder = Builder::new(1, Arc::clone(&limits));
        let add = |builder: &mut Builder, size: usize| builder.add("i", |out| out.resize(out.len() + size, b'x'));
        add(&mut builder, 50_000);
        assert!(!builder.is_full());
        add(&mut builder, 50_000);
        assert!(builder.is_full(), "by bytes");
        builder.seal();
        (0..3).for_each(|_| add(&mut builder, 1));
        assert!(builder.is_full(), "by lines");
        builder.seal();
        assert!(limits.too_large(60_000));
        assert!(!limits.too_large(90_000), "never up again");
        add(&mut builder, 30_000);
        assert!(builder.is_full(), "by the learned limit");
        assert!(limits.too_large(1));
        assert_eq!(limits.bytes(), LEAST_BYTES);
    }
}

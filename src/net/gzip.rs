//! Bodies of requests, compressed piece by piece while they are made.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Deflate's window: 32 KiB, the largest.
const WINDOW_BITS: u8 = 15;
/// How much room the compressed body gets at a time.
const STEP: usize = 32 * 1024;

/// Plain pieces in, one gzip member (or the plain bytes) out.
pub struct Packer {
    level: u32,
    deflate: Option<Compress>,
    out: Vec<u8>,
}

impl Packer {
    /// `level` 0 leaves the body plain, 1 to 9 are gzip's.
    pub fn new(level: u32) -> Self {
        let deflate = (level > 0).then(|| Compress::new_gzip(Compression::new(level.min(9)), WINDOW_BITS));
        Self { level, deflate, out: Vec::new() }
    }

    pub fn push(&mut self, plain: &[u8]) {
        match &mut self.deflate {
            Some(_) => self.run(plain, FlushCompress::None),
            None => self.out.extend_from_slice(plain),
        }
    }

    /// The whole body at its exact size; the larger buffer stays with us for the next.
    pub fn finish(&mut self) -> Bytes {
        self.run(&[], FlushCompress::Finish);
        let body = Bytes::copy_from_slice(&self.out);
        self.reset();
        body
    }

    pub fn level(&self) -> u32 {
        self.level
    }

    /// Forgets what was pushed.
    pub fn reset(&mut self) {
        self.out.clear();
        if let Some(deflate) = &mut self.deflate {
            deflate.reset();
        }
    }

    fn run(&mut self, mut input: &[u8], flush: FlushCompress) {
        let Some(deflate) = &mut self.deflate else { return };
        loop {
            self.out.reserve(STEP);
            let before = deflate.total_in();
            let status = deflate.compress_vec(input, &mut self.out, flush);
            // It fails only when its own state is damaged; nobody else holds it.
            let status = status.expect("deflate takes whatever input while its state is its own");
            let taken = usize::try_from(deflate.total_in() - before).unwrap_or(input.len());
            input = &input[taken..];
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => input.is_empty(),
            };
            if done {
                break;
            }
        }
    }
}

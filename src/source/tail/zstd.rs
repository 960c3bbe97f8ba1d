//! Zstandard files (RFC 8878), frame by frame, in bounded memory.
//!
//! A frame says how much of what came before it may refer back to. More than [`WINDOW_LIMIT`] is refused: what `zstd`
//! itself writes at any of its nineteen levels fits, `--ultra` and `--long` do not.

use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a decoder must support at least (RFC 8878, 3.1.1.1.2). The decoder takes up to twice of it.
const WINDOW_LIMIT: u64 = 8 << 20;

pub struct ZstdDecoder<R> {
    input: Watched<R>,
    decoder: FrameDecoder,
    /// Within a frame.
    open: bool,
}

impl<R> std::fmt::Debug for ZstdDecoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZstdDecoder")
    }
}

/// Remembers that the input ended.
struct Watched<R> {
    input: R,
    ended: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.ended |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}

impl<R: BufRead> ZstdDecoder<R> {
    pub fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_LIMIT);
        Self { input: Watched { input, ended: false }, decoder, open: false }
    }

    /// Begins the next frame. False at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.input).take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
        Ok(false)
    }

    /// A file that ends too early may still grow; another fault is one for good.
    fn fault(&self, error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
        let kind = if self.input.ended { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
        io::Error::new(kind, error)
    }

    fn decode_block(&mut self) -> io::Result<()> {
        let (decoder, input) = (&mut self.decoder, &mut self.input);
        // A damaged file must not end the process, whatever it meets in a decoder: it would be met again at each start.
        let decoded =
            catch_unwind(AssertUnwindSafe(|| decoder.decode_blocks(input, BlockDecodingStrategy::UptoBlocks(1))));
        match decoded {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.fault(error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the decoder failed")),
        }
    }

    /// The frame is decoded and given out. Its checksum, if it has one, is that of what was given out.
    fn end_frame(&mut self) -> io::Result<()> {
        self.open = false;
        let stated = self.decoder.get_checksum_from_data();
        if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.open && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decode_block()?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.end_frame()?,
                n => return Ok(n),
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    /// One frame for each part.
    pub fn zstd(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().flat_map(|part| compress_to_vec(*part, CompressionLevel::Fastest)).collect()
    }

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        ZstdDecoder::new(bytes).read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn frames_follow_each_other_and_skippable_ones_are_skipped() {
        let text: Vec<u8> = (0..40_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut packed = zstd(&[&text[..100], &text[100..]]);
        packed.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        packed.extend(zstd(&[b"end\n"]));
        assert!(unpack(&packed).unwrap() == [&text[..], b"end\n"].concat());
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    #[test]
    fn cut_anywhere_is_an_early_end_and_damage_is_damage() {
        let text: Vec<u8> = (0..300).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let packed = zstd(&[&text]);
        for cut in 1..packed.len() {
            assert_eq!(unpack(&packed[..cut]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x55;
            // What it is taken for may be anything but the text with a part missing or changed.
            if let Ok(found) = unpack(&damaged) {
                assert!(found == text || at < 18, "byte {at} went unseen");
            }
        }
        assert_eq!(unpack(b"no zstd at all").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_window_over_the_limit_is_refused() {
        // Magic, descriptor without single segment, window 2^(10 + 17), then a last raw block of nothing.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
        let error = unpack(&frame).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        let fits = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1, 0, 0];
        assert_eq!(unpack(&fits).unwrap(), b"");
    }
}

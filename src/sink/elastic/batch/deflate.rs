//! gzip's level 1, made for documents that resemble each other: each text of 4 bytes is looked for at one place, the last
//! one that began alike, and what is found is written at once, in the fixed codes of RFC 1951.
//!
//! It is what zlib's level 1 does, for half the instructions: the documents are compressed where the encoder wrote them,
//! without a copy into a window; places count on over the members, so that nothing is cleared or moved for the next one;
//! and the distance that served last is tried first, because a document repeats the one before it field by field.
//! Any gzip reader reads it. The other levels are zlib-rs's.

use flate2::Crc;

/// The farthest that a match may lie back.
pub const WINDOW: usize = 32 * 1024;
/// Shortest match worth its code, and what a place is found by.
const LEAST: usize = 4;
/// Longest match.
const MOST: usize = 258;
/// Places remembered, as a power of two: with their 4 bytes each they stay in the processor's first cache.
const SLOT_BITS: u32 = 13;
/// Member header: deflate, no name, no time, fastest, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// One gzip member after the other. The caller keeps the plain text: [`Deflater::run`] reads it where it stands.
pub struct Deflater {
    /// Where a text that begins so was seen last, counted over all members.
    slots: Box<[u32; 1 << SLOT_BITS]>,
    /// The place of the present member's first byte.
    origin: u32,
    /// Bytes of the member that are compressed.
    taken: usize,
    crc: Crc,
    bits: Bits,
}

impl Deflater {
    pub fn new() -> Self {
        Self { slots: Box::new([0; 1 << SLOT_BITS]), origin: 0, taken: 0, crc: Crc::new(), bits: Bits::default() }
    }

    /// Compresses `text[from..]`. What stands before is at most [`WINDOW`] bytes (or all) of the same member, as it was
    /// given before.
    pub fn run(&mut self, text: &[u8], from: usize, out: &mut Vec<u8>) {
        let new = &text[from..];
        if new.is_empty() {
            return;
        }
        if self.taken == 0 {
            self.begin(out);
        }
        self.crc.update(new);
        // The place of text[0]; it goes round after 4 GiB. A place that seems near and is not costs a comparison.
        let base = self.origin.wrapping_add((self.taken as u32).wrapping_sub(from as u32));
        self.matches(text, from, base, out);
        self.taken += new.len();
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        self.bits = Bits { waiting: OPEN_BLOCK, count: 3 };
    }

    fn matches(&mut self, text: &[u8], from: usize, base: u32, out: &mut Vec<u8>) {
        let mut bits = Writer::new(self.bits, out);
        let (mut at, mut last) = (from, usize::MAX / 2);
        while let Some(here) = long(text, at) {
            let place = base.wrapping_add(at as u32);
            let slot = &mut self.slots[(here as u32).wrapping_mul(0x9E37_79B1) as usize >> (32 - SLOT_BITS)];
            let seen = std::mem::replace(slot, place);
            let mut distance = last;
            // What would stand before the text is nowhere in it, so the difference comes out as none to use.
            let mut differ = here ^ long(text, at.wrapping_sub(distance)).unwrap_or(!here);
            if differ as u32 != 0 {
                distance = place.wrapping_sub(seen) as usize;
                differ = !0;
                if distance <= WINDOW && distance > 0 {
                    differ = here ^ long(text, at.wrapping_sub(distance)).unwrap_or(!here);
                }
            }
            if differ as u32 != 0 {
                bits.put_literal(here as u8);
                at += 1;
                continue;
            }
            let length = match differ {
                0 => 8 + alike(text, at + 8, distance),
                _ => differ.trailing_zeros() as usize / 8,
            };
            bits.put_match(length, distance);
            at += length;
            last = distance;
        }
        text[at..].iter().for_each(|&byte| bits.put_literal(byte));
        self.bits = bits.stop();
    }

    /// Ends the member, which may be empty.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.taken == 0 {
            self.begin(out);
        }
        let mut bits = Writer::new(self.bits, out);
        bits.put(0, 7);
        bits.put(LAST_BLOCK, 10);
        let rest = bits.stop();
        out.extend_from_slice(&rest.waiting.to_le_bytes()[..rest.count.div_ceil(8) as usize]);
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.reset();
    }

    /// Forgets the member so far.
    pub fn reset(&mut self) {
        self.origin = self.origin.wrapping_add(self.taken as u32);
        self.taken = 0;
        self.crc.reset();
        self.bits = Bits::default();
    }
}

/// Eight bytes; `None` where so many do not follow.
#[inline(always)]
fn long(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// How many bytes from `at` on are as those `distance` before, to the longest match's end.
#[inline]
fn alike(text: &[u8], at: usize, distance: usize) -> usize {
    let (ahead, behind) = (&text[at..], &text[at - distance..]);
    let limit = (MOST - 8).min(ahead.len());
    let (ahead, behind) = (&ahead[..limit], &behind[..limit]);
    let (here, here_rest) = ahead.as_chunks::<8>();
    let (there, there_rest) = behind.as_chunks::<8>();
    let mut length = 0;
    for (here, there) in here.iter().zip(there) {
        let differ = u64::from_le_bytes(*here) ^ u64::from_le_bytes(*there);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + here_rest.iter().zip(there_rest).take_while(|(here, there)| here == there).count()
}

/// A block of fixed codes that is not the last.
const OPEN_BLOCK: u64 = 0b010;
/// The last block, with nothing in it but its end.
const LAST_BLOCK: u64 = 0b011;

/// Bits that make no whole byte yet, the first in the lowest.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    waiting: u64,
    /// Below 8 between two codes.
    count: u32,
}

/// Bytes written before they go to the caller's buffer.
const BLOCK: usize = 1024;

/// Codes into bytes, without a branch for each: all that waits is stored, and stored again over what was no whole byte.
struct Writer<'o> {
    bits: Bits,
    block: [u8; BLOCK + 8],
    used: usize,
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    fn new(bits: Bits, out: &'o mut Vec<u8>) -> Self {
        Self { bits, block: [0; BLOCK + 8], used: 0, out }
    }

    /// At most 56 bits.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.bits.waiting |= bits << self.bits.count;
        self.bits.count += count;
        // It is below `BLOCK` here; the mask says so to the compiler.
        let used = self.used & (BLOCK - 1);
        self.block[used..used + 8].copy_from_slice(&self.bits.waiting.to_le_bytes());
        let bytes = self.bits.count / 8;
        self.bits.waiting >>= bytes * 8;
        self.bits.count %= 8;
        self.used = used + bytes as usize;
        if self.used >= BLOCK {
            self.spill();
        }
    }

    #[cold]
    fn spill(&mut self) {
        self.out.extend_from_slice(&self.block[..self.used]);
        self.used = 0;
    }

    #[inline(always)]
    fn put_literal(&mut self, byte: u8) {
        let code = LITERALS[usize::from(byte)];
        self.put(u64::from(code.bits), code.count);
    }

    #[inline(always)]
    fn put_match(&mut self, length: usize, distance: usize) {
        let code = LENGTHS[(length - LEAST) & 255];
        // The symbol of a distance says where its highest bit is and what the next one is; the bits below follow.
        let back = distance as u64 - 1;
        let (symbol, extra) = match back {
            0..4 => (back, 0),
            _ => {
                let extra = back.ilog2() - 1;
                (u64::from(2 * extra) + (back >> extra), extra)
            }
        };
        let tail = u64::from(DISTANCES[symbol as usize & 31]) | (back & ((1 << extra) - 1)) << 5;
        // At most 13 bits of the length and 18 of the distance.
        self.put(u64::from(code.bits) | tail << code.count, code.count + 5 + extra);
    }

    /// What makes no whole byte.
    fn stop(mut self) -> Bits {
        self.spill();
        self.bits
    }
}

#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    count: u32,
}

/// The fixed codes of RFC 1951, section 3.2.6; Huffman codes begin with their highest bit.
const fn fixed(symbol: u32) -> Code {
    let (code, count) = match symbol {
        0..144 => (0b0011_0000 + symbol, 8),
        144..256 => (0b1_1001_0000 + symbol - 144, 9),
        256..280 => (symbol - 256, 7),
        _ => (0b1100_0000 + symbol - 280, 8),
    };
    Code { bits: code.reverse_bits() >> (32 - count), count }
}

static LITERALS: [Code; 256] = {
    let mut codes = [fixed(0); 256];
    let mut byte = 0;
    while byte < 256 {
        codes[byte] = fixed(byte as u32);
        byte += 1;
    }
    codes
};

/// By length less [`LEAST`]: the symbol with its extra bits behind it.
static LENGTHS: [Code; 256] = {
    let mut codes = [fixed(0); 256];
    let mut length = LEAST as u32;
    while length <= MOST as u32 {
        let (symbol, extra, count) = match length {
            258 => (285, 0, 0),
            0..11 => (254 + length, 0, 0),
            _ => {
                let count = (length - 3).ilog2() - 2;
                (257 + 4 * count + ((length - 3) >> count), (length - 3) & ((1 << count) - 1), count)
            }
        };
        let code = fixed(symbol);
        codes[length as usize - LEAST] = Code { bits: code.bits | extra << code.count, count: code.count + count };
        length += 1;
    }
    codes
};

/// Five bits each, the highest first.
static DISTANCES: [u8; 32] = {
    let mut codes = [0; 32];
    let mut symbol = 0;
    while symbol < 32 {
        codes[symbol] = (symbol as u8).reverse_bits() >> 3;
        symbol += 1;
    }
    codes
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

    /// By zlib-rs, which checks the sums.
    fn inflate(body: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text).expect("a gzip member");
        text
    }

    /// Compresses `text` in pieces cut as `cuts` says, forgetting what the window does not hold.
    fn deflate(deflater: &mut Deflater, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            let end = (at + cut).min(text.len());
            let start = at.saturating_sub(WINDOW);
            deflater.run(&text[start..end], at - start, &mut out);
            at = end;
        }
        deflater.finish(&mut out);
        out
    }

    #[test]
    fn every_length_and_distance() {
        let mut deflater = Deflater::new();
        let noise = |n: usize| (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8);
        for length in (1..70).chain(110..120).chain(250..270).chain([515, 516, 1000]) {
            for distance in [1, 2, 3, 4, 5, 7, 8, 9, 24, 256, 257, 4095, WINDOW - 1, WINDOW, WINDOW + 1] {
                let mut text: Vec<u8> = noise(distance).collect();
                (0..length).for_each(|at| text.push(text[at]));
                text.extend(noise(3));
                assert_eq!(inflate(&deflate(&mut deflater, &text, &[])), text, "{length} from {distance}");
            }
        }
    }

    #[test]
    fn an_empty_member_is_one() {
        let mut deflater = Deflater::new();
        assert_eq!(inflate(&deflate(&mut deflater, b"", &[0, 0])), b"");
        assert_eq!(inflate(&deflate(&mut deflater, b"x", &[0])), b"x");
    }

    #[test]
    fn places_go_round() {
        let mut deflater = Deflater::new();
        let text = b"all the same, all the same, all the same, all the same".repeat(40);
        for origin in [u32::MAX - 3000, u32::MAX - 1000, u32::MAX - 10, u32::MAX] {
            deflater.origin = origin;
            assert_eq!(inflate(&deflate(&mut deflater, &text, &[100, 1000])), text);
        }
    }

    #[test]
    fn documents_shrink_as_by_zlib() {
        let text = include_bytes!("../../../../fixtures/flows/level-0-allow/expected.ecs.jsonl").repeat(50);
        let ours = deflate(&mut Deflater::new(), &text, &[]).len();
        let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zlib, &text).expect("memory");
        let theirs = zlib.finish().expect("memory").len();
        assert!(ours * 100 < theirs * 115, "{ours} bytes, zlib-rs {theirs}");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(
            words in prop::collection::vec(prop_oneof![
                "[a-c]{1,9}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..40),
                (any::<u8>(), 1..700usize).prop_map(|(byte, count)| vec![byte; count]),
                Just(b"\"destination\":{\"address\":\"10.0.0.1\",".to_vec()),
            ], 0..300),
            repeats in 1..40usize,
            cuts in prop::collection::vec(0..40_000usize, 0..6),
        ) {
            let text = words.concat().repeat(repeats);
            let mut deflater = Deflater::new();
            for _ in 0..2 {
                prop_assert!(inflate(&deflate(&mut deflater, &text, &cuts)) == text);
            }
            // A member that was given up leaves nothing behind.
            deflater.run(&text, 0, &mut Vec::new());
            deflater.reset();
            prop_assert!(inflate(&deflate(&mut deflater, &text, &cuts)) == text);
        }
    }
}

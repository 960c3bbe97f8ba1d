//! Writing JSON by hand into the caller's buffer, in static runs.
//!
//! Every member is written with its comma behind it: `"name":value,`. [`close`] turns the last comma into the closing
//! brace, or takes the whole object back when nothing was written into it. So no writer needs to know whether it is the
//! first, and no empty object ever appears. Nothing here allocates beyond the buffer's growth.

use std::net::IpAddr;

use super::octets::{self, put};
use crate::model::Flow;

/// The bytes `"name":`, put together by the compiler.
#[macro_export]
#[doc(hidden)]
macro_rules! __json_key {
    ($name:literal) => {
        concat!("\"", $name, "\":").as_bytes()
    };
}
pub use __json_key as key;

/// Where an object or an array began: before its key, and behind its brace.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Mark {
    start: usize,
    inside: usize,
}

#[inline(always)]
pub fn object(out: &mut Vec<u8>, key: &[u8]) -> Mark {
    begin(out, key, b'{')
}

#[inline(always)]
pub fn array(out: &mut Vec<u8>, key: &[u8]) -> Mark {
    begin(out, key, b'[')
}

#[inline(always)]
fn begin(out: &mut Vec<u8>, key: &[u8], brace: u8) -> Mark {
    let start = out.len();
    out.extend_from_slice(key);
    out.push(brace);
    Mark { start, inside: out.len() }
}

/// Ends what `mark` began. An empty object or array disappears, its key too.
#[inline]
pub fn close(out: &mut Vec<u8>, mark: Mark) {
    if out.len() == mark.inside {
        out.truncate(mark.start);
    } else {
        // In ASCII, `}` is two behind `{`, and `]` two behind `[`.
        let brace = out[mark.inside - 1] + 2;
        end(out, brace);
    }
}

/// Turns the comma behind the last member into `brace` and a comma.
#[inline]
pub fn end(out: &mut Vec<u8>, brace: u8) {
    finish(out, brace);
    out.push(b',');
}

/// As [`end`], without the comma: the end of the document.
#[inline]
pub fn finish(out: &mut [u8], brace: u8) {
    debug_assert_eq!(out.last(), Some(&b','), "a member ends with its comma");
    if let Some(last) = out.last_mut() {
        *last = brace;
    }
}

/// How the texts of a flow are written.
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    escape_free: bool,
}

impl Texts {
    /// Of words that need no escape.
    pub const WORDS: Self = Self { escape_free: true };

    /// Of texts of which nothing is known.
    pub const ANY: Self = Self { escape_free: false };

    pub fn have_no_controls(self) -> bool {
        self.escape_free
    }

    pub fn of(flow: &Flow<'_>) -> Self {
        Self { escape_free: flow.escape_free }
    }

    /// As it stands between quotes.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, value: &str) {
        if self.escape_free { put(out, value.as_bytes()) } else { escape(out, value) }
    }

    pub fn item(self, out: &mut Vec<u8>, value: &str) {
        out.push(b'"');
        self.write(out, value);
        out.extend_from_slice(b"\",");
    }

    #[inline(always)]
    pub fn text(self, out: &mut Vec<u8>, key: &[u8], value: &str) {
        out.extend_from_slice(key);
        self.item(out, value);
    }
}

#[inline(always)]
pub fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    Texts::ANY.text(out, key, value);
}

/// A text without a key: an array's item.
pub fn item(out: &mut Vec<u8>, value: &str) {
    Texts::ANY.item(out, value);
}

/// Numbers are `long` in Elasticsearch, which refuses a document with a larger one; no counter honestly gets there.
#[inline(always)]
pub fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    number_item(out, value);
}

pub fn number_item(out: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(digit @ 0..=9) => out.extend_from_slice(&[b'0' + digit, b',']),
        _ => {
            let mut digits = itoa::Buffer::new();
            put(out, digits.format(value.min(i64::MAX.unsigned_abs())).as_bytes());
            out.push(b',');
        }
    }
}

#[inline(always)]
pub fn bool(out: &mut Vec<u8>, key: &[u8], value: bool) {
    out.extend_from_slice(key);
    out.extend_from_slice(if value { b"true," } else { b"false," });
}

#[inline(always)]
pub fn ip(out: &mut Vec<u8>, key: &[u8], value: IpAddr) {
    out.extend_from_slice(key);
    ip_item(out, value);
}

pub fn ip_item(out: &mut Vec<u8>, value: IpAddr) {
    out.push(b'"');
    octets::address(out, value);
    out.extend_from_slice(b"\",");
}

/// The text as it stands between the quotes of a JSON string.
///
/// Most texts are short and hold nothing to escape. By their length they are looked at and copied as a first and a last
/// word that may overlap: without a loop, and without a call for each copy.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let clean = match bytes.len() {
        0..4 => !bytes.iter().copied().any(is_special),
        4..8 => !has_special(u64::from(first_word(bytes)) | u64::from(last_word(bytes)) << 32),
        8..=16 => !(has_special(first_long(bytes)) | has_special(last_long(bytes))),
        _ => first_special(bytes).is_none(),
    };
    if clean { put(out, bytes) } else { escape_from(out, bytes) }
}

/// Needs a backslash in JSON: control characters, the quote, the backslash. Everything else may stand as it is.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether any of eight bytes [is special](is_special), by arithmetic on all of them at once
/// (<https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>).
#[inline(always)]
const fn has_special(word: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let quote = word ^ (EACH * b'"' as u64);
    let backslash = word ^ (EACH * b'\\' as u64);
    let found = (word.wrapping_sub(EACH * 0x20) & !word)
        | (quote.wrapping_sub(EACH) & !quote)
        | (backslash.wrapping_sub(EACH) & !backslash);
    found & (EACH << 7) != 0
}

// Of texts that are long enough; others never get here.

#[inline(always)]
fn first_word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word))
}

#[inline(always)]
fn last_word(bytes: &[u8]) -> u32 {
    bytes.last_chunk().map_or(0, |word| u32::from_ne_bytes(*word))
}

#[inline(always)]
fn first_long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

#[inline(always)]
fn last_long(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}

/// Sixteen at a time, without a branch inside: the compiler makes vector instructions of it.
fn first_special(bytes: &[u8]) -> Option<usize> {
    let odd = |chunk: &[u8; 16]| chunk.iter().fold(false, |found, &byte| found | is_special(byte));
    let (chunks, rest) = bytes.as_chunks::<16>();
    let at = 16 * chunks.iter().position(odd).unwrap_or(chunks.len());
    // What is left of a longer text is looked at with some of what stands before it.
    if at + rest.len() == bytes.len() && bytes.last_chunk().is_some_and(|last| !odd(last)) {
        return None;
    }
    bytes[at..].iter().position(|&byte| is_special(byte)).map(|offset| at + offset)
}

#[cold]
fn escape_from(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut clean = 0;
    let mut at = first_special(bytes).unwrap_or(bytes.len());
    while at < bytes.len() {
        let byte = bytes[at];
        if is_special(byte) {
            out.extend_from_slice(&bytes[clean..at]);
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => {
                    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
            clean = at + 1;
        }
        at += 1;
    }
    out.extend_from_slice(&bytes[clean..]);
}

/// At most `limit` bytes of `text`, cut between characters.
pub fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_objects_disappear() {
        let mut out = Vec::new();
        let root = object(&mut out, b"");
        let outer = object(&mut out, key!("a"));
        let inner = array(&mut out, key!("b"));
        close(&mut out, inner);
        close(&mut out, outer);
        number(&mut out, key!("n"), u64::MAX);
        let list = array(&mut out, key!("c"));
        item(&mut out, "x");
        number_item(&mut out, 7);
        close(&mut out, list);
        close(&mut out, root);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"n":9223372036854775807,"c":["x",7]},"#);
    }

    #[test]
    fn cuts_between_characters() {
        for (text, limit, expected) in [("abc", 3, "abc"), ("abc", 2, "ab"), ("aä", 2, "a"), ("ä", 1, ""), ("", 0, "")]
        {
            assert_eq!(cut(text, limit), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in "(?s).{0,80}") {
            let mut out = Vec::new();
            item(&mut out, &text);
            out.pop();
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_control_character_reads_back(bytes in proptest::collection::vec(0u8..128, 0..64)) {
            let text = String::from_utf8(bytes).unwrap();
            let mut out = Vec::new();
            item(&mut out, &text);
            out.pop();
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_address_reads_back(v4: u32, v6: u128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                let mut out = Vec::new();
                ip_item(&mut out, address);
                out.pop();
                prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap().parse::<IpAddr>().unwrap(), address);
            }
        }
    }
}

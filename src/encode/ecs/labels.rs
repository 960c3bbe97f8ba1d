//! Names and values that others made up: labels, and fields that this version does not know.
//!
//! They go into flattened fields, where no name can clash with another's type and none adds to the mapping. What such a
//! field still refuses is taken out here, because it would cost the whole document: a name twice, an empty name, a NUL in
//! a name, nesting without end, a term beyond Lucene's limit of 32,766 bytes. What is cut or left out is counted.

use crate::model::{Labels, Text};

use super::json::{self, Texts, key};

/// Entries of one object.
const MAX_ENTRIES: usize = 256;
/// Kubernetes allows 317 bytes: prefix 253, slash, name 63.
const MAX_NAME: usize = 512;
/// Kubernetes allows 63 bytes in a label's value.
const MAX_VALUE: usize = 8191;
const MAX_NUMBER: usize = 64;
/// Elasticsearch refuses a flattened field deeper than 20, the field itself included.
const MAX_DEPTH: usize = 16;

/// The entries of `labels` that may be written, the first of a name's.
fn kept<'l>(labels: &'l Labels<'_>, texts: Texts) -> impl Iterator<Item = (&'l str, &'l str)> {
    let mut seen = Seen::default();
    labels.iter().take(MAX_ENTRIES).enumerate().filter_map(move |(at, (name, value))| {
        let first = seen.is_new(name, || labels[..at].iter().map(|(name, _)| name.as_ref()));
        (first && is_fit_name(name, texts)).then_some((name.as_ref(), value.as_ref()))
    })
}

/// A label object: `"labels":{"app":"nginx"}`.
pub fn write(out: &mut Vec<u8>, texts: Texts, labels: &Labels<'_>, capped: &mut u64) {
    if labels.is_empty() {
        return;
    }
    let object = json::object(out, key!("labels"));
    let mut written = 0;
    for (name, value) in kept(labels, texts) {
        let cut = json::cut(value, MAX_VALUE);
        *capped += u64::from(cut.len() < value.len());
        written += 1;
        out.push(b'"');
        texts.write(out, name);
        out.extend_from_slice(b"\":\"");
        texts.write(out, cut);
        out.extend_from_slice(b"\",");
    }
    *capped += labels.len() as u64 - written;
    json::close(out, object);
}

/// The labels as ECS has them: `["app:nginx"]`. Counts nothing: the same labels are written as an object too.
pub fn write_list(out: &mut Vec<u8>, texts: Texts, key: &[u8], labels: &Labels<'_>) {
    let list = json::array(out, key);
    for (name, value) in kept(labels, texts) {
        out.push(b'"');
        texts.write(out, name);
        out.push(b':');
        texts.write(out, json::cut(value, MAX_VALUE));
        out.extend_from_slice(b"\",");
    }
    json::close(out, list);
}

/// `"extra":{"new_field":…}` from names and JSON texts. A nested value that a flattened field might refuse is written as
/// one string, its JSON text.
pub fn write_extra(out: &mut Vec<u8>, extra: &[(Text<'_>, Text<'_>)], capped: &mut u64) {
    if extra.is_empty() {
        return;
    }
    let object = json::object(out, key!("extra"));
    let mut seen = Seen::default();
    for (at, (name, value)) in extra.iter().enumerate() {
        let value = value.trim();
        if matches!(value, "null" | "" | r#""-""# | r#""*""#) {
            // The log's own words for "nothing to say".
            continue;
        }
        let first = seen.is_new(name, || extra[..at].iter().map(|(name, _)| name.as_ref()));
        if at >= MAX_ENTRIES || !first || !is_fit_name(name, Texts::ANY) {
            *capped += 1;
            continue;
        }
        json::item(out, name);
        let last = out.len() - 1;
        out[last] = b':';
        if is_fit(value) {
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
        } else {
            *capped += 1;
            json::item(out, json::cut(value, MAX_VALUE));
        }
    }
    json::close(out, object);
}

fn is_fit_name(name: &str, texts: Texts) -> bool {
    let bytes = name.as_bytes();
    let blank = !bytes.first().is_some_and(u8::is_ascii_graphic) && name.trim().is_empty();
    name.len() <= MAX_NAME && !blank && (texts.have_no_controls() || !has_nul(bytes))
}

/// Names are short: a call for each costs more than the search.
fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == 0))
}

/// Tells a new name from one seen before. One bit for each name's shape makes the usual answer, "new", cheap, also for as
/// many names as an object may have.
#[derive(Default)]
struct Seen {
    shapes: [u64; 16],
}

impl Seen {
    fn is_new<'n, I: Iterator<Item = &'n str>>(&mut self, name: &str, before: impl FnOnce() -> I) -> bool {
        let shape = shape(name.as_bytes());
        let (word, bit) = (&mut self.shapes[shape >> 6], 1 << (shape & 63));
        let maybe_seen = *word & bit != 0;
        *word |= bit;
        !maybe_seen || before().all(|other| other != name)
    }
}

/// A number below 1024 out of the length, the first eight octets and the last: where names of labels differ.
fn shape(name: &[u8]) -> usize {
    let short = || name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let first = name.first_chunk().map_or_else(short, |octets| u64::from_le_bytes(*octets));
    let last = name.last_chunk().map_or(0, |octets| u64::from_le_bytes(*octets));
    let mixed = (first.rotate_left(29) ^ last ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 54) as usize
}

/// True when the JSON text may stand in a flattened field as it is.
fn is_fit(value: &str) -> bool {
    let bytes = value.as_bytes();
    match bytes.first() {
        Some(b'"') => value.len() <= MAX_VALUE,
        Some(b'{' | b'[') => value.len() <= MAX_VALUE && Nested { bytes, at: 0 }.value(0).is_some(),
        Some(_) => is_fit_scalar(bytes),
        None => false,
    }
}

/// A number beyond what readers of JSON have (`1e999`) would make them refuse the document.
fn is_fit_scalar(bytes: &[u8]) -> bool {
    match bytes {
        b"true" | b"false" | b"null" => true,
        number => {
            let parsed = std::str::from_utf8(number).ok().and_then(|text| text.parse::<f64>().ok());
            number.len() <= MAX_NUMBER && parsed.is_some_and(f64::is_finite)
        }
    }
}

/// Walks a JSON text that is known to be valid and answers `None` at the first thing that a flattened field might refuse.
struct Nested<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Nested<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' => self.members(depth + 1),
            b'[' => self.items(depth + 1),
            b'"' => self.string().map(|_| ()),
            _ => self.scalar(),
        }
    }

    fn members(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let begin = self.at;
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let mut names: [&[u8]; 32] = [b""; 32];
        for count in 0.. {
            let name = self.string()?;
            let blank = name.iter().all(u8::is_ascii_whitespace);
            // A name with an escape could be another's twin in disguise; one object of so many names is no flow field.
            if blank || name.contains(&b'\\') || names.get(..count)?.contains(&name) {
                return None;
            }
            *names.get_mut(count)? = name;
            self.expect(b':')?;
            self.value(depth)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        debug_assert!(self.at > begin);
        Some(())
    }

    fn items(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.value(depth)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// The text between the quotes, its escapes as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let begin = self.at;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let text = self.bytes.get(begin..self.at)?;
        self.at += 1;
        Some(text)
    }

    fn scalar(&mut self) -> Option<()> {
        let begin = self.at;
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| !matches!(byte, b',' | b']' | b'}') && !byte.is_ascii_whitespace())
        {
            self.at += 1;
        }
        is_fit_scalar(&self.bytes[begin..self.at]).then_some(())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

//! Text that others chose, made harmless on its way into a record.
//!
//! Process names and arguments, DNS answers and the log file itself may hold anything. What is promised of every value
//! written here, in every format: no control character, no line end, no character that turns or hides text; no `CEF:` or
//! `LEEF:` inside it, since receivers look for these with greedy expressions; no white space around it; at most `cut`
//! octets with its escapes, cut where neither an escape nor a character is split. What would end the value or begin
//! another is escaped as the format says, or replaced where it knows no escapes ([`Style`]).

use crate::encode::octets::put;

/// Stands for each character that is not let through.
const HIDDEN: &[u8] = b"?";

/// Where a text stands, and so what may not stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One of CEF's seven fields between pipes: `\` and `|` are escaped, a line end is a space.
    CefHeader,
    /// The value of a CEF key: `\` and `=` are escaped, a line end is `\n` or `\r`.
    CefValue,
    /// One of LEEF's fields between pipes: it knows no escapes, so `|` becomes `;`, a line end or tab a space.
    LeefHeader,
    /// The value of a LEEF key. As its header; the delimiter becomes `_` (a tab: a space) and `=` becomes `:`, so that
    /// not even a search for `key=` finds what is not a key.
    LeefValue { delimiter: u8 },
    /// A PARAM-VALUE of RFC 5424 §6.3.3: `"`, `\` and `]` are escaped, a line end or tab is a space.
    Param,
    /// For people: a line end or tab is a space.
    Plain,
}

/// What becomes of a character in a style.
enum Put {
    Same,
    /// Another character, which is then looked at in its turn.
    Swapped(char),
    Escaped(&'static [u8]),
}

impl Style {
    fn of(self, c: char) -> Put {
        match (self, c) {
            (Self::CefValue, '\n') => Put::Escaped(b"\\n"),
            (Self::CefValue, '\r') => Put::Escaped(b"\\r"),
            (_, '\n' | '\r') => Put::Swapped(' '),
            (Self::CefHeader | Self::CefValue, '\\') => Put::Escaped(b"\\\\"),
            (Self::CefHeader, '|') => Put::Escaped(b"\\|"),
            (Self::CefValue, '=') => Put::Escaped(b"\\="),
            // A tab is hidden like any control character: CEF has no escape for it.
            (Self::CefHeader | Self::CefValue, _) => Put::Same,
            (_, '\t') => Put::Swapped(' '),
            (Self::LeefValue { delimiter }, _) if c == char::from(delimiter) => Put::Swapped('_'),
            (Self::LeefHeader | Self::LeefValue { .. }, '|') => Put::Swapped(';'),
            (Self::LeefValue { .. }, '=') => Put::Swapped(':'),
            (Self::Param, '"') => Put::Escaped(b"\\\""),
            (Self::Param, '\\') => Put::Escaped(b"\\\\"),
            (Self::Param, ']') => Put::Escaped(b"\\]"),
            _ => Put::Same,
        }
    }

    /// Whether the octet may stand as it is without a further look.
    const fn is_plain(self, octet: u8) -> bool {
        // A colon may end a token; white space may stand at an end.
        let plain = is_printable(octet) && octet != b':';
        plain
            && match self {
                Self::CefHeader => !matches!(octet, b'\\' | b'|'),
                Self::CefValue => !matches!(octet, b'\\' | b'='),
                Self::LeefHeader => octet != b'|',
                Self::LeefValue { delimiter } => !matches!(octet, b'|' | b'=') && octet != delimiter,
                Self::Param => !matches!(octet, b'"' | b'\\' | b']'),
                Self::Plain => true,
            }
    }
}

/// A style, with what it lets pass as a table, and as the few printable octets that it does not.
#[derive(Debug)]
pub(crate) struct Rules {
    style: Style,
    plain: [bool; 256],
    /// Of `!` to `~`; repeated where there are fewer.
    special: [u8; SPECIAL],
    /// Letters, digits, `:`, `.`, `_` and `-` may stand as they are; a colon where it ends no token.
    pub(crate) words: bool,
}

/// Printable octets that a style looks at, at most: a colon and three of its own.
const SPECIAL: usize = 4;

impl Rules {
    pub(crate) const fn new(style: Style) -> Self {
        let mut plain = [false; 256];
        let (mut special, mut found, mut words) = ([b':'; SPECIAL], 0, true);
        let mut octet = 0;
        while octet < 256 {
            plain[octet] = style.is_plain(octet as u8);
            words &= plain[octet] || !is_of_word(octet as u8);
            if !plain[octet] && is_printable(octet as u8) {
                special[found] = octet as u8;
                found += 1;
            }
            octet += 1;
        }
        if let Style::LeefValue { delimiter: b':' } = style {
            words = false;
        }
        Self { style, plain, special, words }
    }

    /// Whether all of a text may stand as it is. By its length, it is looked at as a first and a last piece that may
    /// overlap: the compiler makes vector instructions of each.
    #[inline]
    pub(crate) fn lets_pass(&self, text: &str) -> bool {
        let octets = text.as_bytes();
        match octets.len() {
            0..4 => octets.iter().all(|&octet| self.plain[usize::from(octet)]),
            4..8 => self.ends_pass::<4>(octets),
            8..16 => self.ends_pass::<8>(octets),
            _ => {
                let (chunks, _) = octets.as_chunks::<16>();
                chunks.iter().all(|chunk| self.passes(chunk))
                    && octets.last_chunk::<16>().is_some_and(|l| self.passes(l))
            }
        }
    }

    #[inline(always)]
    fn ends_pass<const N: usize>(&self, octets: &[u8]) -> bool {
        let ends = octets.first_chunk::<N>().zip(octets.last_chunk::<N>());
        ends.is_some_and(|(first, last)| self.passes(first) & self.passes(last))
    }

    #[inline(always)]
    fn passes<const N: usize>(&self, octets: &[u8; N]) -> bool {
        let [a, b, c, d] = self.special;
        let is_odd = |octet| !is_printable(octet) | (octet == a) | (octet == b) | (octet == c) | (octet == d);
        !octets.iter().fold(false, |odd, &octet| odd | is_odd(octet))
    }
}

/// What words of our own are made of, beside a colon.
pub(crate) const fn is_of_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-')
}

/// ASCII, neither a control character nor a space.
const fn is_printable(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~')
}

/// Writes one value in pieces to the end of a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    rules: &'a Rules,
    start: usize,
    /// The buffer must not grow beyond this.
    limit: usize,
    /// End of the last character that is no white space.
    solid: usize,
    escaped: bool,
    sanitised: bool,
    /// A character did not fit: nothing behind it may stand.
    full: bool,
    cut: bool,
}

/// What a finished value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) empty: bool,
    /// Something in it is written as the format wants it: by an escape, or by what stands for it.
    pub(crate) escaped: bool,
    /// Something in it that no record may hold was replaced.
    pub(crate) sanitised: bool,
    pub(crate) cut: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, rules: &'a Rules, cut: usize) -> Self {
        let start = out.len();
        let limit = start + cut;
        Self { out, rules, start, limit, solid: start, escaped: false, sanitised: false, full: false, cut: false }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        if text.is_empty() || self.cut {
            return self;
        }
        // Nearly every text is one run.
        if self.rules.lets_pass(text) {
            self.put_plain(text.as_bytes());
            return self;
        }
        let mut rest = text;
        while !rest.is_empty() && !self.cut {
            let run = rest.bytes().position(|octet| !self.rules.plain[usize::from(octet)]).unwrap_or(rest.len());
            if run > 0 {
                self.put_plain(&rest.as_bytes()[..run]);
                rest = &rest[run..];
            } else if let Some(c) = rest.chars().next() {
                self.put(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        self
    }

    pub(crate) fn finish(&mut self) -> Written {
        self.out.truncate(self.solid);
        Written { empty: self.solid == self.start, escaped: self.escaped, sanitised: self.sanitised, cut: self.cut }
    }

    /// Octets that may stand as they are, none of them white space, as many as there is room for.
    fn put_plain(&mut self, run: &[u8]) {
        let room = if self.full { 0 } else { self.limit - self.out.len() };
        self.cut = run.len() > room;
        if room > 0 {
            put(self.out, &run[..run.len().min(room)]);
            self.solid = self.out.len();
        }
    }

    fn put(&mut self, c: char) {
        if self.solid == self.start && c.is_whitespace() {
            return;
        }
        let mut utf8 = [0; 4];
        let (c, escape) = match self.rules.style.of(c) {
            Put::Same => (c, None),
            Put::Swapped(other) => {
                self.escaped = true;
                (other, None)
            }
            Put::Escaped(escape) => (c, Some(escape)),
        };
        let bytes: &[u8] = match (escape, c) {
            (Some(escape), _) => {
                self.escaped = true;
                escape
            }
            (None, ':') if self.ends_a_token() => {
                self.sanitised = true;
                b"_"
            }
            (None, _) if is_hidden(c) => {
                self.sanitised = true;
                HIDDEN
            }
            (None, _) => c.encode_utf8(&mut utf8).as_bytes(),
        };
        if self.full || self.out.len() + bytes.len() > self.limit {
            self.full = true;
            // White space that would be trimmed anyway is no loss.
            self.cut |= !c.is_whitespace();
            return;
        }
        self.out.extend_from_slice(bytes);
        if !c.is_whitespace() || bytes == HIDDEN {
            self.solid = self.out.len();
        }
    }

    fn ends_a_token(&self) -> bool {
        ends_a_token(&self.out[self.start..])
    }
}

/// Whether a colon behind this text would make a token that receivers look for.
pub(crate) fn ends_a_token(before: &[u8]) -> bool {
    let ends_with =
        |token: &[u8]| before.len() >= token.len() && before[before.len() - token.len()..].eq_ignore_ascii_case(token);
    ends_with(b"CEF") || ends_with(b"LEEF")
}

/// Control characters, line and paragraph separators, and what turns, joins or hides text on a screen.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_look_at_many_octets_is_the_look_at_each(text in "[ -~]{0,40}|[!-~]{0,40}|(?s).{0,20}", delimiter: u8) {
            use Style::*;
            for style in [CefHeader, CefValue, LeefHeader, LeefValue { delimiter }, Param, Plain] {
                let each = text.bytes().all(|octet| style.is_plain(octet));
                prop_assert_eq!(Rules::new(style).lets_pass(&text), each, "{:?}", style);
            }
        }
    }
}

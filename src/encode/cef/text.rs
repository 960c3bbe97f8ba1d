//! Text that others chose, made harmless on its way into a record.
//!
//! Process names and arguments, DNS answers and the log file itself may hold anything. What is promised of every value
//! written here: no control character, no line end, no character that turns or hides text; `=`, `\`, LF and CR escaped
//! as CEF says; no `CEF:` or `LEEF:` inside it, since receivers look for these with greedy expressions; no white space
//! around it; at most `cut` octets with its escapes, cut where neither an escape nor a character is split.

/// Stands for each character that is not let through.
const HIDDEN: &[u8] = b"?";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// One of the seven fields between pipes: `|` is escaped, a line end is a space.
    Header,
    /// The value of a key: `=` is escaped, a line end is `\n` or `\r`.
    Value,
}

/// Writes one value in pieces to the end of a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    place: Place,
    start: usize,
    /// The buffer must not grow beyond this.
    limit: usize,
    /// End of the last character that is no white space.
    solid: usize,
    sanitised: bool,
    /// A character did not fit: nothing behind it may stand.
    full: bool,
    cut: bool,
}

/// What a finished value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) empty: bool,
    /// Something in it was replaced.
    pub(super) sanitised: bool,
    pub(super) cut: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, place: Place, cut: usize) -> Self {
        let start = out.len();
        Self { out, place, start, limit: start + cut, solid: start, sanitised: false, full: false, cut: false }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        // Nothing must not make white space before it solid.
        if self.cut || text.is_empty() {
            return self;
        }
        if self.is_plain(text.as_bytes()) {
            self.put_plain(text);
        } else {
            text.chars().for_each(|c| self.put(c));
        }
        self
    }

    pub(super) fn finish(&mut self) -> Written {
        self.out.truncate(self.solid);
        Written { empty: self.solid == self.start, sanitised: self.sanitised, cut: self.cut }
    }

    /// Printable ASCII without anything that needs a look, and room for all of it: nearly every value there is.
    fn is_plain(&self, text: &[u8]) -> bool {
        !self.full
            && self.out.len() + text.len() <= self.limit
            && text.iter().all(|&b| matches!(b, b'!'..=b'~') && !matches!(b, b'\\' | b'=' | b'|' | b':'))
    }

    fn put_plain(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.solid = self.out.len();
    }

    fn put(&mut self, c: char) {
        let mut utf8 = [0; 4];
        let header = self.place == Place::Header;
        let bytes: &[u8] = match c {
            _ if self.solid == self.start && c.is_whitespace() => return,
            '\n' | '\r' if header => b" ",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\\' => b"\\\\",
            '|' if header => b"\\|",
            '=' if !header => b"\\=",
            ':' if self.ends_a_token() => {
                self.sanitised = true;
                b"_"
            }
            _ if is_hidden(c) => {
                self.sanitised = true;
                HIDDEN
            }
            _ => c.encode_utf8(&mut utf8).as_bytes(),
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
        let before = &self.out[self.start..];
        let ends_with = |token: &[u8]| {
            before.len() >= token.len() && before[before.len() - token.len()..].eq_ignore_ascii_case(token)
        };
        ends_with(b"CEF") || ends_with(b"LEEF")
    }
}

/// Control characters, line and paragraph separators, and what turns, joins or hides text on a screen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

//! Places inside a text: the text as it is written, walked beside its value.

use std::iter::Peekable;
use std::str::Chars;

use super::Place;

/// Where the text goes on behind `before`, the beginning of the value whose node stands at `begins`. `None` where value and
/// writing go apart: at an escape other than that of a quote or a backslash.
pub(super) fn place(text: &str, begins: Place, before: &str) -> Option<Place> {
    let lines_before = text.split_inclusive('\n').take(begins.line as usize - 1);
    let skipped: usize = lines_before.map(|line| line.chars().count()).sum();
    let mut written = Written { chars: text.chars().peekable(), place: Place { line: 1, column: 1 } };
    (0..skipped + begins.column as usize - 1).for_each(|_| written.step());
    let quote = written.peek().filter(|c| matches!(c, '"' | '\''));
    match (quote, written.peek()) {
        (Some(_), _) => written.step(),
        (None, Some('|' | '>')) => {
            while written.peek().is_some_and(|c| c != '\n') {
                written.step();
            }
            written.skip_space();
        }
        _ => {}
    }
    let mut before = before.chars().peekable();
    while let Some(c) = before.next() {
        if c.is_whitespace() {
            // Lines are folded: one space of the value is any run of spaces and line ends.
            while before.next_if(|c| c.is_whitespace()).is_some() {}
            written.peek().filter(|c| c.is_whitespace())?;
            written.skip_space();
            continue;
        }
        let escape = match quote {
            Some('"') => matches!(c, '"' | '\\').then_some('\\'),
            _ => (quote == Some(c)).then_some(c),
        };
        for expected in escape.into_iter().chain([c]) {
            written.peek().filter(|c| *c == expected)?;
            written.step();
        }
    }
    Some(written.place)
}

struct Written<'a> {
    chars: Peekable<Chars<'a>>,
    place: Place,
}

impl Written<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn step(&mut self) {
        match self.chars.next() {
            Some('\n') => self.place = Place { line: self.place.line + 1, column: 1 },
            Some(_) => self.place.column += 1,
            None => {}
        }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.step();
        }
    }
}

//! Text to [`Selector`], with the place of the first mistake and what to write instead.

use super::{Comparison, Label, Selector};

/// Parentheses in parentheses; far above what anyone writes, far below what the stack holds.
const MAX_DEPTH: usize = 64;
/// Calico's own limit.
const MAX_LABEL_LEN: usize = 512;

/// What is wrong with a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", self.column())]
pub struct Error {
    /// Byte offset into the selector.
    pub offset: usize,
    column: usize,
    pub message: String,
}

impl Error {
    /// Characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

pub fn parse(text: &str) -> Result<Selector, Error> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(Selector::All);
    }
    let selector = parser.or()?;
    match parser.rest() {
        "" => Ok(selector),
        rest => {
            let message = match rest.chars().next() {
                Some(')') => "this ) closes nothing; remove it".into(),
                Some('&' | '|') => "write && or || between two parts".into(),
                _ if parser.word_is("and") => "write && for \"and\"".into(),
                _ if parser.word_is("or") => "write || for \"or\"".into(),
                _ => "expected && or || here, or the end".to_owned(),
            };
            Err(parser.error(message))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> Error {
        self.error_at(self.at, message)
    }

    fn error_at(&self, offset: usize, message: impl Into<String>) -> Error {
        Error { offset, column: self.text[..offset].chars().count() + 1, message: message.into() }
    }

    fn skip_space(&mut self) {
        let trimmed = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
        self.at = self.text.len() - trimmed.len();
    }

    /// Takes `token` and the space after it.
    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.skip_space();
        }
        found
    }

    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_label_char(c)).unwrap_or(rest.len());
        &rest[..end]
    }

    fn word_is(&self, word: &str) -> bool {
        self.word().eq_ignore_ascii_case(word)
    }

    fn or(&mut self) -> Result<Selector, Error> {
        self.joined("||", Self::and, Selector::Or)
    }

    fn and(&mut self) -> Result<Selector, Error> {
        self.joined("&&", Self::operation, Selector::And)
    }

    fn joined(
        &mut self,
        operator: &str,
        part: fn(&mut Self) -> Result<Selector, Error>,
        join: fn(Vec<Selector>) -> Selector,
    ) -> Result<Selector, Error> {
        let first = part(self)?;
        if !self.rest().starts_with(operator) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(operator) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    fn operation(&mut self) -> Result<Selector, Error> {
        let mut negated = false;
        while !self.rest().starts_with("!=") && self.take("!") {
            negated = !negated;
        }
        let selector = if self.rest().starts_with('(') { self.parenthesised()? } else { self.atom()? };
        Ok(if negated { Selector::Not(Box::new(selector)) } else { selector })
    }

    fn parenthesised(&mut self) -> Result<Selector, Error> {
        let open = self.at;
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("more than {MAX_DEPTH} parentheses in each other; write it flatter")));
        }
        self.depth += 1;
        self.take("(");
        let selector = self.or()?;
        if !self.take(")") {
            return Err(match self.rest() {
                "" => self.error_at(open, "this ( is never closed; add )"),
                _ => self.error("expected ), && or || here"),
            });
        }
        self.depth -= 1;
        Ok(selector)
    }

    fn atom(&mut self) -> Result<Selector, Error> {
        let start = self.at;
        let word = self.word();
        if word.is_empty() {
            return Err(self.error(match self.rest().chars().next() {
                None => "the selector ends here; a label name, has(…), all() or ( must follow",
                Some('\'' | '"') => "a label name comes first, without quotes: label == 'value'",
                Some('=' | '!') => "a label name is missing before the operator",
                Some(_) => "expected a label name, has(…), all(), global(), ! or (",
            }));
        }
        if word.len() > MAX_LABEL_LEN {
            return Err(self.error(format!("a label name has at most {MAX_LABEL_LEN} characters")));
        }
        self.at += word.len();
        self.skip_space();
        if self.take("(") {
            return self.function(word, start);
        }
        self.comparison(word, start)
    }

    fn function(&mut self, word: &str, start: usize) -> Result<Selector, Error> {
        let selector = match word {
            "all" => Selector::All,
            "global" => Selector::Global,
            "has" => {
                let label = self.word();
                if label.is_empty() {
                    return Err(self.error("a label name must follow has(, without quotes"));
                }
                self.at += label.len();
                self.skip_space();
                Selector::Has(Label::new(label))
            }
            _ => return Err(self.error_at(start, format!("there is no {word}(); known: all(), global(), has(label)"))),
        };
        if self.take(")") { Ok(selector) } else { Err(self.error(format!("expected ) to close {word}("))) }
    }

    fn comparison(&mut self, word: &str, start: usize) -> Result<Selector, Error> {
        let label = Label::new(word);
        let compared = [("==", Comparison::Equal), ("!=", Comparison::NotEqual), ("contains", Comparison::Contains)];
        for (token, comparison) in compared {
            if self.take(token) {
                return Ok(Selector::Compare(label, comparison, self.quoted()?));
            }
        }
        for (token, comparison) in [("starts", Comparison::StartsWith), ("ends", Comparison::EndsWith)] {
            if self.take(token) {
                if !self.take("with") {
                    return Err(self.error(format!("write \"{token} with\"")));
                }
                return Ok(Selector::Compare(label, comparison, self.quoted()?));
            }
        }
        if self.word_is("notin") {
            return Err(self.error("write \"not in\" in two words"));
        }
        if self.take("not") {
            if !self.take("in") {
                return Err(self.error("write \"not in\" after a label; to negate, put ! before the part"));
            }
            return Ok(Selector::NotIn(label, self.set()?));
        }
        if self.take("in") {
            return Ok(Selector::In(label, self.set()?));
        }
        Err(match self.rest().chars().next() {
            Some('=') => self.error("write == to compare"),
            Some('<' | '>' | '~') => {
                self.error("there is no such operator; known: ==, !=, in, not in, contains, starts with, ends with")
            }
            _ if word.eq_ignore_ascii_case("not") => self.error_at(start, "write ! for \"not\""),
            _ => self.error(format!(
                "an operator must follow the label \"{word}\": ==, !=, in, not in, contains, starts with, ends with; \
                 or write has({word})"
            )),
        })
    }

    fn set(&mut self) -> Result<Vec<Box<str>>, Error> {
        if !self.take("{") {
            return Err(self.error("expected a set in braces: {'a', 'b'}"));
        }
        let mut texts = Vec::new();
        while !self.take("}") {
            texts.push(self.quoted()?);
            if !self.take(",") && !self.rest().starts_with('}') {
                return Err(self.error("expected , or } in the set"));
            }
        }
        Ok(texts)
    }

    fn quoted(&mut self) -> Result<Box<str>, Error> {
        let rest = self.rest();
        let Some(quote @ ('\'' | '"')) = rest.chars().next() else {
            return Err(match self.word() {
                "" => self.error("expected a value in quotes: 'value'"),
                word => self.error(format!("put the value in quotes: '{word}'")),
            });
        };
        let Some(len) = rest[1..].find(quote) else {
            return Err(self.error("this quote is never closed"));
        };
        self.at += len + 2;
        self.skip_space();
        Ok(rest[1..=len].into())
    }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

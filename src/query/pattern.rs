//! What text is held against: itself, wildcards, regular expressions.

use regex_automata::meta;

use super::MAX_REGEX_BYTES;
use crate::model::wildcard;

/// Text, or text with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    Exact(Box<str>),
    Glob(Box<str>),
}

impl Pattern {
    /// Without quotes a `*` is a wildcard, in quotes it is itself.
    pub fn new(text: &str, quoted: bool) -> Self {
        if !quoted && text.contains('*') { Self::Glob(text.into()) } else { Self::Exact(text.into()) }
    }

    /// As it is written, without quotes.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) => text,
        }
    }

    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Glob(pattern) => has_stars(pattern, text),
        }
    }
}

fn has_stars(pattern: &str, text: &str) -> bool {
    wildcard::matches(pattern.as_bytes(), text.as_bytes(), |a, b| a == b)
}

/// One of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// Sorted, each once.
    pub exact: Box<[Box<str>]>,
    pub globs: Box<[Box<str>]>,
}

/// Up to so many are looked through one by one.
const FEW: usize = 8;

impl Texts {
    pub fn new(patterns: Vec<Pattern>) -> Self {
        let (mut exact, mut globs) = (Vec::new(), Vec::new());
        for pattern in patterns {
            match pattern {
                Pattern::Exact(text) => exact.push(text),
                Pattern::Glob(text) => globs.push(text),
            }
        }
        for list in [&mut exact, &mut globs] {
            list.sort_unstable();
            list.dedup();
        }
        Self { exact: exact.into(), globs: globs.into() }
    }

    pub fn has(&self, text: &str) -> bool {
        let exact = match self.exact.len() {
            0..=FEW => self.exact.iter().any(|exact| **exact == *text),
            _ => self.exact.binary_search_by(|exact| (**exact).cmp(text)).is_ok(),
        };
        exact || self.globs.iter().any(|pattern| has_stars(pattern, text))
    }

    pub fn len(&self) -> usize {
        self.exact.len() + self.globs.len()
    }
}

/// A regular expression that is found anywhere in the text. Time is linear in the text: there are no back references and no
/// look-around.
#[derive(Debug, Clone)]
pub struct Regex {
    text: Box<str>,
    compiled: meta::Regex,
}

/// Memory of one compiled expression, and of its cache: `\w{100}` passes, `\w{1000}` does not.
const COMPILED_BYTES: usize = 512 << 10;
const CACHE_BYTES: usize = 256 << 10;
/// Groups in each other.
const NESTING: u32 = 20;

impl Regex {
    /// # Errors
    /// What is wrong with it, and at which byte of it.
    pub fn new(text: &str) -> Result<Self, (usize, String)> {
        if text.len() > MAX_REGEX_BYTES {
            return Err((0, format!("a regular expression has at most {MAX_REGEX_BYTES} bytes")));
        }
        let config = meta::Config::new()
            .nfa_size_limit(Some(COMPILED_BYTES))
            .onepass_size_limit(Some(COMPILED_BYTES))
            .dfa_size_limit(Some(COMPILED_BYTES))
            .hybrid_cache_capacity(CACHE_BYTES);
        let syntax = regex_automata::util::syntax::Config::new().nest_limit(NESTING);
        match meta::Regex::builder().configure(config).syntax(syntax).build(text) {
            Ok(compiled) => Ok(Self { text: text.into(), compiled }),
            Err(error) => Err(explain(&error)),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn explain(error: &meta::BuildError) -> (usize, String) {
    match error.syntax_error() {
        Some(regex_syntax::Error::Parse(error)) => (error.span().start.offset, error.kind().to_string()),
        Some(regex_syntax::Error::Translate(error)) => (error.span().start.offset, error.kind().to_string()),
        _ => (0, "it would take too much memory; write less repetition".to_owned()),
    }
}

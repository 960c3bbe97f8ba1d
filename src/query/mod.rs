//! The one filter language over flows: of the SIEM's filters and classes, of `convert --filter`, and of whatever asks for
//! flows later.
//!
//! ```text
//! verdict = deny and dest.zone in (restricted, mgmt) and not source.ip in 10.0.0.0/8
//! zones = dmz -> restricted and dest.port != 443
//! namespace = kube-* or source.label.app =~ "^web-[0-9]+$" or bytes >= 10MiB
//! ```
//!
//! [`Query::parse`] checks names and types at once, and tells every mistake with its place and what to write instead.
//! [`Query::matches`] asks one event; it allocates nothing, but for what a regular expression warms up once. The text that
//! a query prints is its one fixed form: it parses to the same query.
//!
//! **What is not known is equal to nothing.** A comparison with an absent value does not hold, so `!=`, `!~` and `not in`,
//! which are the negations of `=`, `=~` and `in`, do: as in KQL and in Calico's selectors. There are two truth values, and
//! `not` swaps them. A field of either end (`namespace`) holds when one end does; its negation when neither does.
//!
//! Not here: time, aggregation, and joins of two lines.

mod errors;
mod eval;
mod field;
mod lex;
mod literal;
mod parse;
mod pattern;
mod print;
mod tree;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

pub use errors::{Error, Errors};
pub use field::{Ends, FIELDS, Kind, Spec, Unit};

pub use pattern::Pattern;

use self::tree::Node;

/// Longest text.
pub const MAX_TEXT_BYTES: usize = 16 << 10;
/// Parentheses and `not` in each other: far above what anyone writes, far below what the stack holds.
pub const MAX_DEPTH: usize = 32;
/// Values of one `in (…)`.
pub const MAX_SET: usize = 1_000;
/// Longest regular expression, and how many there may be: each has a cache of its own.
pub const MAX_REGEX_BYTES: usize = 512;
pub const MAX_REGEXES: usize = 16;

/// An expression, ready to be asked.
#[derive(Debug, Clone)]
pub struct Query {
    text: Box<str>,
    root: Node,
    zones: Vec<NamedZone>,
}

/// A zone that a query names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedZone {
    pub name: Box<str>,
    /// Byte of the text where it stands.
    pub offset: usize,
}

impl Query {
    /// Reads an expression.
    ///
    /// # Errors
    /// Every wrong name and value, and the first fault of the grammar, at which reading ends.
    pub fn parse(text: &str) -> Result<Self, Errors> {
        let (root, zones) = parse::parse(text)?;
        Ok(Self { text: text.into(), root, zones })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zones that it names, but for `unknown` and wildcards: the zones' own file says whether there are such.
    pub fn zones(&self) -> &[NamedZone] {
        &self.zones
    }
}

/// The same question, however it is written.
impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Eq for Query {}

/// In the one fixed form.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

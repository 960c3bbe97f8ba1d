//! The two peers that the demo brings along: an Elasticsearch that takes `_bulk`, and a SIEM that takes syslog.
//!
//! They are correct receivers on the loopback address, and they check what they get: every document and every record is
//! read in full, by code that shares nothing with the encoders, and each thing that is wrong with it is a violation. They
//! store nothing but ids and the last few items.

mod bulk;
mod cef;
mod document;
mod rfc5424;
mod syslog;

use std::collections::HashSet;

pub use bulk::{BulkReceiver, BulkSeen};
pub use cef::{Record, Verdict};
pub use syslog::{SyslogReceiver, SyslogSeen};

/// How many violations are kept as text; all are counted.
const KEPT_VIOLATIONS: usize = 5;
/// Ids are remembered in two halves of this size; the older half is forgotten when the newer is full.
const REMEMBERED_IDS: usize = 200_000;

/// What was wrong, counted, the first few in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    pub count: u64,
    pub first: Vec<String>,
}

impl Violations {
    pub fn add(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.first.len() < KEPT_VIOLATIONS {
            self.first.push(what.into());
        }
    }

    fn add_all(&mut self, subject: &str, faults: Vec<String>) {
        for fault in faults {
            self.add(format!("{subject}: {fault}"));
        }
    }
}

/// Ids seen, within bounds.
#[derive(Debug, Clone)]
pub struct Ids {
    newer: HashSet<Box<str>>,
    older: HashSet<Box<str>>,
    half: usize,
    /// An id was forgotten: what is not in here may have been seen all the same.
    pub forgot: bool,
}

impl Default for Ids {
    fn default() -> Self {
        Self::with_half(REMEMBERED_IDS)
    }
}

impl Ids {
    fn with_half(half: usize) -> Self {
        Self { newer: HashSet::new(), older: HashSet::new(), half, forgot: false }
    }

    /// False when it was there.
    fn insert(&mut self, id: &str) -> bool {
        if self.contains(id) {
            return false;
        }
        if self.newer.len() >= self.half {
            self.forgot |= !self.older.is_empty();
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(id.into())
    }

    pub fn contains(&self, id: &str) -> bool {
        self.newer.contains(id) || self.older.contains(id)
    }

    /// How many ids of `self` are not in `other`.
    pub fn missing_in(&self, other: &Self) -> usize {
        self.newer.iter().chain(&self.older).filter(|id| !other.contains(id)).count()
    }
}

/// An id has 35 characters of `-0-9A-Z_a-z`.
fn is_id(id: &str) -> bool {
    id.len() == 35 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What is wrong with a document, for tests of what makes them.
#[cfg(test)]
pub(super) fn check_document(id: &str, source: &[u8]) -> Vec<String> {
    document::check(id, source).1
}

/// What is wrong with a record, for tests of what makes them.
#[cfg(test)]
pub(super) fn check_record(text: &str) -> Vec<String> {
    cef::Cef::parse(text).map_or_else(|error| vec![error], |cef| cef.faults())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded() {
        let mut ids = Ids::with_half(2);
        for (id, new) in [("a", true), ("b", true), ("a", false), ("c", true), ("b", false), ("d", true)] {
            assert_eq!(ids.insert(id), new, "{id}");
        }
        assert!(!ids.forgot);
        assert!(ids.insert("e"), "the first half makes room");
        assert!(ids.forgot && !ids.contains("a") && ids.contains("c"));
        let mut other = Ids::default();
        other.insert("c");
        assert_eq!(ids.missing_in(&other), 2);
    }
}

//! What travels through a lane: where a line came from, what it says, and the zones of its ends.

use super::flow::Flow;
use super::id::LineId;

/// The name of the zone that an end belongs to when no zone matches. It is a zone, but never makes a flow cross-zone.
pub const UNKNOWN_ZONE: &str = "unknown";

#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub origin: Origin<'a>,
    pub body: Body<'a>,
    /// `None` when no zones are configured, and for lines that are no flows.
    pub zones: Option<ZonePair<'a>>,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The configured cluster name.
    pub cluster: &'a str,
    /// The configured node name.
    pub node: &'a str,
    /// Path of the file, for people; it is no part of the identity. `None` when read from standard input.
    pub path: Option<&'a str>,
    /// Bytes from the start of the uncompressed file to the line's first byte.
    pub offset: u64,
    pub id: LineId,
    /// When the line was read, Unix milliseconds. `None` leaves out the document's clock fields (conversions, tests).
    pub read_at_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Flow(&'a Flow<'a>),
    Raw(&'a RawLine<'a>),
}

/// A line that is no flow. It is delivered all the same, with its error.
#[derive(Debug, Clone)]
pub struct RawLine<'a> {
    /// The line, invalid UTF-8 replaced by U+FFFD.
    pub original: std::borrow::Cow<'a, str>,
    /// Stable kind of the error, for `error.type`: `not_json`, `not_a_flow`, …
    pub error_type: &'static str,
    pub error_message: String,
}

/// Source zone and destination zone by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZonePair<'a> {
    pub source: &'a str,
    pub dest: &'a str,
}

impl ZonePair<'_> {
    /// Both zones known and different. `unknown_counts` also takes [`UNKNOWN_ZONE`] for a zone like any other.
    pub fn is_cross(&self, unknown_counts: bool) -> bool {
        let known = self.source != UNKNOWN_ZONE && self.dest != UNKNOWN_ZONE;
        self.source != self.dest && (known || unknown_counts)
    }
}

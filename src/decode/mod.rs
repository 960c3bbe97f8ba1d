//! Bytes to [`Flow`](crate::model::Flow), one file per input format. No I/O, no clock, nothing that lasts.

pub mod calico;

pub use calico::{Decoder, decode};

/// Why a line is no flow. The line is delivered all the same, as a raw event with this error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// Stable, for `error.type`: `not_json` or `not_a_flow`.
    pub kind: &'static str,
    /// What is wrong, where, and what a flow line looks like. Quotes at most [`QUOTE_LIMIT`] characters of the line.
    pub message: String,
}

/// Longest piece of a line that an error message shows, escapes included.
pub const QUOTE_LIMIT: usize = 60;

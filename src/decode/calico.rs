//! One line of Calico Enterprise's or Calico Cloud's `flows.log`: a JSON object.
//!
//! Every field is optional. `null`, `"-"`, `"*"` and `""` say that nothing is known, and become `None` or an empty list.
//! What the line has and [`Flow`] has no place for is kept in [`Flow::extra`] as it was written: fields nobody knows here,
//! and known ones whose value cannot be what it should (a float port, a negative counter, a malformed address). Such a
//! value never refuses the line.
//!
//! Where JSON leaves room, this decoder decides:
//! - of a repeated key the last one counts, whatever the earlier ones held;
//! - a decimal string does for a number;
//! - port 0 means "not known", for any protocol: no connection has it, and old logs wrote it where others write `null`;
//! - half a surrogate pair in an escape, and bytes that are not UTF-8, become U+FFFD;
//! - a byte order mark before the line and a carriage return after it are not part of it.
//!
//! Three readers, each surer and slower than the one before. The [scanner](scan) takes the ordinary line and answers
//! only where it is sure. The first pass reads values off serde's parser straight into the flow and gives up at the first
//! oddity; the second captures every value as text and interprets one by one, so that a bad one spoils only itself. The
//! second alone tells errors, so what stands before it changes nothing of what is accepted.

mod crosscheck;
mod error;
mod fields;
#[cfg(test)]
mod fixtures;
mod passes;
#[cfg(test)]
mod properties;
mod repair;
mod reuse;
mod scan;
#[cfg(test)]
mod tests;
mod values;

pub use crosscheck::{Agreement, cross_check};

use super::DecodeError;
use crate::model::Flow;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads line after line. What a flow's lists took is used again for the next when the flow is [given
/// back](Self::give_back); then an ordinary line costs no allocation.
#[derive(Debug, Default)]
pub struct Decoder {
    spare: reuse::Lists,
    slow: u64,
}

impl Decoder {
    /// Reads one line (without its newline). Strings are borrowed from `line`, or from `scratch`, which holds the repaired
    /// text when the line is not valid Unicode; otherwise `scratch` is not touched.
    ///
    /// # Errors
    /// `not_json` when the line is not JSON; `not_a_flow` when it is, but no object or one with none of the keys that make
    /// a flow (`source_*`, `dest_*`, `proto`, `action`, `reporter`).
    pub fn decode<'a>(&mut self, line: &'a [u8], scratch: &'a mut String) -> Result<Flow<'a>, DecodeError> {
        let content = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let clean = std::str::from_utf8(content).ok();
        let mut flow = self.spare.flow();
        if clean.and_then(|text| scan::scan(text, &mut flow)).is_some() {
            // It takes plain lines only: no backslash, no control character, and every string ends at its quote.
            flow.escape_free = true;
            return Ok(flow);
        }
        self.give_back(flow);
        self.slow += 1;
        if let Some(flow) = clean.and_then(passes::first) {
            return Ok(flow);
        }
        let text: &'a str = match clean {
            Some(text) if !repair::has_lone_surrogate(text) => text,
            _ => {
                repair::into(content, scratch);
                scratch
            }
        };
        passes::second(text).map_err(|refusal| error::explain(&refusal, text, line))
    }

    /// A flow that is done with.
    pub fn give_back(&mut self, flow: Flow<'_>) {
        self.spare.keep(flow);
    }

    /// How many lines the scanner left to the other passes since this was last asked.
    pub fn take_slow(&mut self) -> u64 {
        std::mem::take(&mut self.slow)
    }
}

/// Reads one line, as [`Decoder::decode`].
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode<'a>(line: &'a [u8], scratch: &'a mut String) -> Result<Flow<'a>, DecodeError> {
    Decoder::default().decode(line, scratch)
}

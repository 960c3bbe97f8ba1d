//! The scanner held against the passes that it stands before: for properties and for fuzzing.

use super::{BYTE_ORDER_MARK, Decoder, passes, scan};
use crate::model::Flow;

/// What came out of reading a line twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// The scanner was sure, and right.
    Scanned,
    /// The scanner left the line to the other passes.
    Declined,
}

/// Reads a line by the scanner and by the last pass, which alone defines what is right, and by a [`Decoder`] whose lists
/// were used before.
///
/// # Panics
/// When they do not agree. That is what it is for.
pub fn cross_check(line: &[u8], used: &mut Decoder) -> Agreement {
    let (mut fresh, mut scratch) = (String::new(), String::new());
    let content = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    let text = std::str::from_utf8(content).ok();
    let mut flow = Flow::default();
    let agreement = match text.filter(|text| scan::scan(text, &mut flow).is_some()) {
        Some(text) => {
            let right = passes::second(text).map_err(|refusal| format!("{refusal:?}"));
            assert_eq!(Ok(flow), right, "the scanner and the last pass differ on {text}");
            Agreement::Scanned
        }
        None => Agreement::Declined,
    };
    let again = used.decode(line, &mut scratch);
    let first = Decoder::default().decode(line, &mut fresh);
    assert_eq!(again, first, "a used decoder and a new one differ on {}", line.escape_ascii());
    if let Ok(flow) = again {
        used.give_back(flow);
    }
    agreement
}

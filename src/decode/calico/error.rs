//! What is told about a line that is no flow.

use super::passes::Refusal;
use super::{BYTE_ORDER_MARK, DecodeError};
use crate::decode::QUOTE_LIMIT;

/// What a flow line looks like, at its shortest.
const EXAMPLE: &str = r#"{"start_time":1767225600,"source_name_aggr":"web-*","dest_port":443,"proto":"tcp","action":"allow","reporter":"src"}"#;
/// Shown before the place of the error.
const QUOTE_BEFORE: usize = 20;

/// `text` is what was read of `line`: without its byte order mark, repaired where it was no Unicode.
pub(super) fn explain(refusal: &Refusal, text: &str, line: &[u8]) -> DecodeError {
    match refusal {
        Refusal::NotJson(error) => {
            let at = byte_offset(text, error);
            DecodeError {
                kind: "not_json",
                message: format!(
                    "the line is not JSON: {} at byte {}{}; a flow line is one JSON object such as {EXAMPLE}",
                    reason(error),
                    column(line, at),
                    quote(text, at, ", near "),
                ),
            }
        }
        Refusal::NotAnObject(what) => DecodeError {
            kind: "not_a_flow",
            message: format!(
                "the line is {what} where an object is expected, at byte {}{}; a flow line looks like {EXAMPLE}",
                column(line, text.len() - text.trim_start().len()),
                quote(text, 0, ": "),
            ),
        },
        Refusal::NoFlowKey => DecodeError {
            kind: "not_a_flow",
            message: format!(
                "the JSON object has none of the keys of a flow (source_*, dest_*, proto, action, reporter){}; a flow line looks like {EXAMPLE}",
                quote(text, 0, ": "),
            ),
        },
    }
}

/// The parser's reason without the place that it appends.
fn reason(error: &serde_json::Error) -> String {
    let mut reason = error.to_string();
    if let Some(at) = reason.rfind(" at line ") {
        reason.truncate(at);
    }
    reason
}

/// The place of the error in the text, from the parser's line and column (both from 1; newlines are white space to it).
fn byte_offset(text: &str, error: &serde_json::Error) -> usize {
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
    let line_start = std::iter::once(0).chain(newlines).nth(error.line().saturating_sub(1)).unwrap_or(0);
    // The parser counts what it has taken, and a control character it does not take.
    let untaken = usize::from(error.to_string().starts_with("control character"));
    (line_start + error.column().saturating_sub(1) + untaken).min(text.len())
}

/// Counted from 1 in the line as it was, with what is at `at` bytes of the repaired text.
fn column(line: &[u8], at: usize) -> usize {
    let mark = if line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let (mut repaired, mut original) = (0, mark);
    for chunk in line[mark..].utf8_chunks() {
        let valid = chunk.valid().len();
        if at <= repaired + valid {
            break;
        }
        let bad = chunk.invalid().len();
        repaired += valid + if bad == 0 { 0 } else { char::REPLACEMENT_CHARACTER.len_utf8() };
        original += valid + bad;
    }
    original + at.saturating_sub(repaired) + 1
}

/// A short piece of the text around a place, with what cannot be printed escaped.
fn quote(text: &str, at: usize, before: &str) -> String {
    let start = text.floor_char_boundary(at.saturating_sub(QUOTE_BEFORE));
    let (mut piece, mut length) = (String::new(), 0);
    for character in text[start..].chars() {
        // Quotes and backslashes stay as they are: JSON is full of them.
        let plain = matches!(character, '"' | '\'' | '\\');
        length += if plain { 1 } else { character.escape_debug().len() };
        // One is left for the ellipsis.
        if length >= QUOTE_LIMIT {
            piece.push('…');
            break;
        }
        if plain {
            piece.push(character);
        } else {
            piece.extend(character.escape_debug());
        }
    }
    if piece.is_empty() { String::new() } else { format!("{before}`{piece}`") }
}

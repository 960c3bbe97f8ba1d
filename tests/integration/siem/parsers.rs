//! Three parsers read the golden records: a strict one of our own, and two that others wrote. They must agree key by key.

use std::collections::BTreeMap;
use std::process::Command;

use super::golden;
use crate::support;

/// A strict reader of CEF by the letter of the standard: seven fields, then `key=value` pairs, each key once.
///
/// # Panics
/// At anything that is not CEF.
pub fn strict(record: &str) -> Vec<(String, String)> {
    assert!(record.starts_with("CEF:0|"), "{record}");
    let mut pipes = 0;
    let mut escaped = false;
    let body = record.find(|c: char| {
        pipes += usize::from(c == '|' && !escaped);
        escaped = c == '\\' && !escaped;
        pipes == 7
    });
    let body = &record[body.expect("seven fields") + 1..];
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').expect("a key");
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "key {key:?} in {record}");
        let (value, next) = value(after, record);
        assert!(!value.is_empty() && value.trim() == value, "value {value:?} of {key} in {record}");
        assert!(pairs.iter().all(|(known, _)| known != key), "{key} twice in {record}");
        pairs.push((key.to_owned(), value));
        rest = next;
    }
    pairs
}

/// The value up to the space before the next key.
fn value<'r>(text: &'r str, record: &str) -> (String, &'r str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    // Where the last space stands, in the text and in the value.
    let mut space = None;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, c @ ('\\' | '='))) => c,
                other => panic!("escape {other:?} in {record}"),
            }),
            '=' => {
                let (in_text, in_value) = space.expect("a space before the next key");
                value.truncate(in_value);
                return (value, &text[in_text + 1..]);
            }
            _ => {
                if c == ' ' {
                    space = Some((at, value.len()));
                }
                assert!(!c.is_control(), "raw {c:?} in {record}");
                value.push(c);
            }
        }
    }
    (value, "")
}

/// Runs one of `tests/siem/parse`'s parsers over records; `None` when it is not there.
fn run(parser: &str, records: &[String]) -> Option<String> {
    let mut command = Command::new(support::root().join("tests/siem/parse"));
    let ran = support::run_command(command.arg(parser), records.join("\n"));
    if ran.code() == Some(3) {
        support::went_without(parser, "tests/siem/parse does not find it");
        return None;
    }
    assert_eq!(ran.code(), Some(0), "{parser}\n{}{}", ran.stdout, ran.stderr);
    Some(ran.stdout)
}

#[track_caller]
fn agrees(parser: &str) {
    let records = golden::all();
    let Some(output) = run(parser, &records) else { return };
    assert_eq!(output.lines().count(), records.len());
    for (record, parsed) in records.iter().zip(output.lines()) {
        let theirs: BTreeMap<String, String> = serde_json::from_str(parsed).expect("an object of texts");
        let ours: BTreeMap<String, String> = strict(record).into_iter().collect();
        assert_eq!(ours, theirs, "{record}");
    }
}

#[test]
fn cefp_agrees() {
    agrees("cefp");
}

#[test]
fn liblognorm_agrees() {
    agrees("liblognorm");
}

#[test]
fn lint_finds_nothing() {
    if let Some(output) = run("lint", &golden::all()) {
        // A warning is about what is legal and breaks some receiver: only great counters are unavoidable.
        let warned: Vec<_> = output.lines().filter(|line| line.trim_start().starts_with("W ")).collect();
        assert!(warned.iter().all(|line| line.contains("> 2^31-1")), "{warned:#?}");
    }
}

//! Every fixture line, as the two passes see it.

use std::path::PathBuf;

use super::*;

/// Cases of lines that are no flows begin so.
const NOT_FLOWS: &str = "not-flows";

/// Name and lines of every folder under `fixtures/flows`.
pub(super) fn cases() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/flows");
    let folders = std::fs::read_dir(&root).expect("fixtures/flows");
    let mut cases: Vec<_> = folders
        .map(|folder| folder.expect("a folder").path())
        .filter(|folder| folder.is_dir())
        .map(|folder| {
            let name = folder.file_name().expect("its name").to_string_lossy().into_owned();
            (name, std::fs::read(folder.join("input.jsonl")).expect("input.jsonl"))
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    cases
}

#[test]
fn fixtures_are_what_their_names_say() {
    for (case, input) in cases() {
        for (number, line) in input.strip_suffix(b"\n").unwrap_or(&input).split(|byte| *byte == b'\n').enumerate() {
            let mut scratch = String::new();
            let decoded = decode(line, &mut scratch);
            assert_eq!(decoded.is_err(), case.starts_with(NOT_FLOWS), "{case}, line {}: {decoded:?}", number + 1);
        }
    }
}

#[test]
fn the_passes_agree_where_the_first_answers() {
    let mut answered = 0;
    for (case, input) in cases() {
        for line in input.split(|byte| *byte == b'\n') {
            let Ok(text) = std::str::from_utf8(line) else { continue };
            if let Some(flow) = passes::first(text) {
                assert_eq!(Some(flow), passes::second(text).ok(), "{case}: {text}");
                answered += 1;
            }
        }
    }
    assert!(answered > 80, "the first pass answered only {answered} lines");
}

#[test]
fn the_scanner_agrees_where_it_answers() {
    let (mut scanned, mut lines, mut decoder) = (0, 0, Decoder::default());
    for (_, input) in cases() {
        for line in input.split(|byte| *byte == b'\n') {
            lines += 1;
            scanned += usize::from(cross_check(line, &mut decoder) == Agreement::Scanned);
        }
    }
    assert!(scanned > 80, "the scanner answered only {scanned} of {lines} lines");
}

//! The demo as a user runs it: the built program, with nothing but itself.

use std::process::{Command, Output};

/// Runs `tidegate demo --once` with few lines: the whole way, through the real agent.
fn demo(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(["demo", "--once"]).args(arguments).output().expect("the program runs");
    let text = String::from_utf8(output.stdout.clone()).expect("what it prints is UTF-8");
    (output, text)
}

/// The numbers of a line, thousands separators aside.
fn numbers(line: &str) -> Vec<u64> {
    let words = line.split_whitespace().map(|word| word.replace([',', ';'], ""));
    words.filter_map(|word| word.parse().ok()).collect()
}

fn line<'a>(text: &'a str, beginning: &str) -> &'a str {
    let mut lines = text.lines().filter(|line| line.trim_start().starts_with(beginning));
    lines.next_back().unwrap_or_else(|| panic!("no line begins with {beginning:?} in:\n{text}"))
}

#[test]
fn demo_once_ends_with_numbers_that_add_up() {
    let (output, text) = demo(&["--lines", "6000"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    let written = numbers(line(&text, "written "));
    assert_eq!(written[0], 6000, "{text}");
    let mut delivered = Vec::new();
    for lane in ["elasticsearch  read", "siem-demo      read"] {
        let numbers = numbers(line(&text, lane));
        let [read, parts @ ..] = &numbers[..] else { panic!("no numbers for {lane}: {text}") };
        assert_eq!((*read, parts.len()), (6000, 4), "{text}");
        assert_eq!(*read, parts.iter().sum::<u64>(), "{text}");
        delivered.push(parts[0]);
    }
    assert_eq!(delivered[0], 6000, "every line is indexed: {text}");
    assert!(delivered[1] > 1000 && delivered[1] < 3000, "the SIEM gets what crosses a zone: {text}");
    assert!(text.contains("The numbers add up.") && !text.contains("FAIL"), "{text}");
    assert!(!text.contains('\u{1b}'), "nothing but text goes into a pipe: {text:?}");
}

#[test]
fn demo_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["demo", "--once", "--lines", "500"]).env("TMPDIR", temporary.path());
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("the folder is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

//! The order of the house: no room uses a room of a higher layer, or of its own, and the top level holds what it may.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support;

/// Rooms by layer, as ARCHITECTURE.md shows them. A room uses only rooms of earlier rows.
const LAYERS: [&[&str]; 6] = [
    &["model", "unit", "yaml"],
    &["decode", "encode", "query", "zone"],
    &["telemetry", "net", "durable", "lane"],
    &["source", "sink", "setup"],
    &["serve"],
    &["agent", "cli", "config", "demo"],
];

/// Pairs of one layer where the first may use the second. No circle of them, and no long list: outside of the frame, where
/// everything is put together, each is a step towards a knot.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("encode", "query"),
    ("lane", "telemetry"),
    ("agent", "config"),
    ("demo", "agent"),
    ("demo", "config"),
    ("cli", "agent"),
    ("cli", "config"),
    ("cli", "demo"),
];

/// Everything that may stand at the top of the repository, whether it stands there yet or not.
const TOP: [&str; 19] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "fixtures",
    "mappings",
    "rustfmt.toml",
    "src",
    "tests",
];

fn layer_of(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// What is wrong with one file's text; `path` is relative to `src/`.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().expect("a path in UTF-8")).collect();
    let file = parts.pop().expect("a file name");
    let stem = file.strip_suffix(".rs").expect("a Rust file");
    if stem != "mod" {
        parts.push(stem);
    }
    // core.rs and lib.rs name the rooms, main.rs calls the frame, link.rs links it.
    if parts == ["link"] || parts == ["core"] || parts == ["lib"] || parts == ["main"] {
        return Vec::new();
    }
    let place = |line: usize, what: String| format!("src/{}:{line}: {what}", path.display());
    let room = parts[0];
    let Some(layer) = layer_of(room) else {
        return vec![place(1, format!("the room {room} has no layer; name it in tests/integration/layers.rs"))];
    };
    let mut faults = Vec::new();
    for (line, used) in rooms_used(&code_of(text), parts.len()) {
        let Some(other) = layer_of(&used) else {
            faults.push(place(line, format!("crate::{used} is no room")));
            continue;
        };
        let allowed = used == room || other < layer || (other == layer && NEIGHBOURS.contains(&(room, used.as_str())));
        if !allowed {
            faults.push(place(line, format!("{room} (layer {layer}) uses {used} (layer {other})")));
        }
    }
    faults
}

/// Rooms named in `code`, a module `depth` steps below the crate, with the line of each: after `crate::`, after as many
/// `super::` as lead out of the room (inline modules lie deeper, and need more), after `tidegate::`, and in groups
/// (`crate::{model::Flow, zone}`).
fn rooms_used(code: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let mut used = Vec::new();
    // `super` leads one step less far in an inline module; each knows how deep its braces are.
    let (mut braces, mut modules) = (0usize, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "{" => {
                braces += 1;
                if at >= 2 && word(at - 2) == "mod" {
                    modules.push(braces);
                }
            }
            "}" => {
                if modules.last() == Some(&braces) {
                    modules.pop();
                }
                braces = braces.saturating_sub(1);
            }
            // Within a path, `crate` and `super` stand first; `pub(super)` and `pub(crate)` have no `::` behind them.
            "crate" | "tidegate" if word(at + 1) == "::" && (at == 0 || word(at - 1) != "::") => {
                at = take_group(&tokens, at + 2, &mut used);
                continue;
            }
            "super" if word(at + 1) == "::" => {
                let mut steps = 0;
                while word(at) == "super" && word(at + 1) == "::" {
                    (steps, at) = (steps + 1, at + 2);
                }
                if steps >= depth + modules.len() {
                    at = take_group(&tokens, at, &mut used);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    used
}

/// Reads what follows `crate::`: one name, or a group whose members each begin with one. Gives the place to read on at.
fn take_group(tokens: &[(usize, String)], at: usize, used: &mut Vec<(usize, String)>) -> usize {
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    match tokens.get(at) {
        Some((line, token)) if is_name(token) => {
            used.push((*line, token.clone()));
            at + 1
        }
        Some((_, token)) if token == "{" => {
            let (mut depth, mut first, mut here) = (1, true, at + 1);
            while let Some((line, token)) = tokens.get(here)
                && depth > 0
            {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => first = true,
                    name => {
                        if depth == 1 && first && is_name(name) {
                            used.push((*line, name.to_owned()));
                        }
                        first = false;
                    }
                }
                here += 1;
            }
            here
        }
        _ => at,
    }
}

/// Names, `::` and single signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(c) = rest.chars().next() {
            let len = if c.is_alphanumeric() || c == '_' {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            tokens.push((index + 1, rest[..len].to_owned()));
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// The text with comments, strings and characters blanked out, lines kept.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let blank = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !after_name => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if blank == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..blank].chars().filter(|c| *c == '\n'));
            rest = &rest[blank..];
        }
    }
    code
}

/// Length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the string with escapes that `text` begins with.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// Length of the raw, byte or C string that `text` begins with; 0 when it begins with a plain name.
fn prefixed_string(text: &str) -> usize {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let opening = &text[prefix..];
    let hashes = opening.len() - opening.trim_start_matches('#').len();
    if prefix > 2 || !opening[hashes..].starts_with('"') {
        return 0;
    }
    if !text[..prefix].contains('r') {
        return if hashes == 0 { prefix + string(opening) } else { 0 };
    }
    let body = prefix + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

/// Length of the character that `text` begins with; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        // The escaped sign itself may be a quote.
        Some((_, '\\')) => text[3.min(text.len())..].find('\'').map_or(0, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

fn rust_files(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a file type").is_dir() {
            rust_files(&entry.path(), into);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            into.push(entry.path());
        }
    }
}

#[test]
fn rooms_use_only_rooms_of_lower_layers() {
    let src = support::root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the rooms are there");
    let all: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("a source file");
            faults(file.strip_prefix(&src).expect("below src"), &text)
        })
        .collect();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

#[test]
fn every_room_has_a_layer_and_every_layer_its_rooms() {
    let text = |name: &str| std::fs::read_to_string(support::root().join("src").join(name)).expect("a crate's root");
    let both = text("core.rs") + &text("lib.rs");
    let mut declared: BTreeSet<&str> =
        both.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    // A package by itself.
    assert!(both.contains("pub use tidegate_yaml as yaml;") && declared.insert("yaml"));
    assert_eq!(declared, LAYERS.iter().flat_map(|rooms| rooms.iter().copied()).collect());
}

#[test]
fn a_doctored_file_is_found_out() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        assert_eq!(faults(Path::new(path), text), expected, "{text}");
    };
    check(
        "model/flow.rs",
        "\nuse crate::decode::decode;",
        &["src/model/flow.rs:2: model (layer 0) uses decode (layer 1)"],
    );
    check(
        "decode/calico.rs",
        "fn f() { crate::zone::Table::new() }",
        &["src/decode/calico.rs:1: decode (layer 1) uses zone (layer 1)"],
    );
    check(
        "lane/mod.rs",
        "use crate::telemetry::Metrics;\nuse crate::net;",
        &["src/lane/mod.rs:2: lane (layer 2) uses net (layer 2)"],
    );
    check(
        "sink/syslog/mod.rs",
        "use crate::{\n    model::{Event, agent},\n    source::tail,\n    serve,\n};",
        &[
            "src/sink/syslog/mod.rs:3: sink (layer 3) uses source (layer 3)",
            "src/sink/syslog/mod.rs:4: sink (layer 3) uses serve (layer 4)",
        ],
    );
    // Out of the room by `super`: two steps from a file below it, three from an inline module in that file.
    check(
        "sink/elastic/bulk.rs",
        "use super::super::super::agent;",
        &["src/sink/elastic/bulk.rs:1: sink (layer 3) uses agent (layer 5)"],
    );
    check("sink/elastic/bulk.rs", "use super::super::dead_letter;\nuse super::agent;", &[]);
    check(
        "unit/mod.rs",
        "mod tests {\n use super::*;\n use super::super::lane::Wake; }\nuse super::zone;",
        &[
            "src/unit/mod.rs:3: unit (layer 0) uses lane (layer 2)",
            "src/unit/mod.rs:4: unit (layer 0) uses zone (layer 1)",
        ],
    );
    check(
        "unit/mod.rs",
        "type T = crate :: lane :: Ticket;",
        &["src/unit/mod.rs:1: unit (layer 0) uses lane (layer 2)"],
    );
    check("unit/mod.rs", "use tidegate::agent;", &["src/unit/mod.rs:1: unit (layer 0) uses agent (layer 5)"]);
    check("unit/mod.rs", "use crate::util;", &["src/unit/mod.rs:1: crate::util is no room"]);
    check("util.rs", "", &["src/util.rs:1: the room util has no layer; name it in tests/integration/layers.rs"]);
    // What is no code.
    for text in [
        "// use crate::agent;\n//! [`crate::agent`]\n/* /* crate::agent */ crate::agent */",
        r##"const A: &str = "crate::agent \" crate::agent"; const B: &str = r#"" crate::agent"#; const C: &[u8] = b"crate::agent";"##,
        "const Q: [char; 3] = ['\"', '\\'', '\\u{41}']; // crate::agent \"",
        "pub(crate) fn f<'a>(x: &'a str) {} pub(super) struct crates;",
    ] {
        check("model/mod.rs", text, &[]);
    }
    // What is code again behind it.
    check(
        "model/mod.rs",
        "const Q: char = '\"'; use crate::agent; // \"",
        &["src/model/mod.rs:1: model (layer 0) uses agent (layer 5)"],
    );
    check(
        "model/mod.rs",
        "const R: &str = r\"\\\"; use crate::agent;",
        &["src/model/mod.rs:1: model (layer 0) uses agent (layer 5)"],
    );
}

#[test]
fn the_top_level_holds_what_it_may() {
    let listed = std::process::Command::new("git")
        .args(["ls-tree", "--name-only", "HEAD"])
        .current_dir(support::root())
        .output()
        .expect("git runs");
    // An unpacked archive has no history to ask, and nothing stray in it either.
    if !listed.status.success() {
        support::went_without("a git work tree", "the top level is read from the last commit");
        return;
    }
    let stray: Vec<String> =
        String::from_utf8_lossy(&listed.stdout).lines().filter(|name| !TOP.contains(name)).map(str::to_owned).collect();
    assert!(stray.is_empty(), "not at the top level, please: {stray:?}");
}

//! What a case's script says: a head of `key: text` lines, then one step a line.
//!
//! Everything is judged before anything runs: an unknown word, a missing or a surplus argument, a number that is none are
//! errors with file and line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::support::data_stream::Fault;

/// A step's word, its arguments, and what it does. The arguments' names say what they may be; `[…]` may be missing.
pub const STEPS: &[(&str, &str, &str)] = &[
    // Files. A path is relative to the folder of the logs; `../state/` leads to the state directory.
    (
        "write",
        "FILE N [pieces=N] [from=N] [ends=NAME]",
        "appends N flows, in so many writes; `@NAME` writes to an open descriptor; `from=1` writes the first ones again; `ends=crlf` ends them so",
    ),
    ("unread", "FILE N", "appends N flows that nobody is to read"),
    ("part", "FILE", "appends the first half of a flow"),
    ("rest", "FILE", "appends the other half"),
    ("raw", "FILE TEXT", "appends bytes; escapes: \\n \\r \\t \\0 \\\" \\\\ \\xHH"),
    ("overlong", "FILE SIZE", "appends a line that is longer than a line may be"),
    ("long", "FILE SIZE", "appends a flow that is so long"),
    ("flow-with", "FILE NAME TEXT", "appends a flow whose field NAME has this text, escapes as in raw"),
    ("open", "NAME FILE", "opens a descriptor and keeps it, as a writer does across a rotation"),
    ("close", "NAME", "closes it"),
    ("rename", "FILE FILE", "also over an existing name"),
    ("copy", "FILE FILE", "a copy of the bytes"),
    ("half-copy", "FILE FILE", "a copy that is only half done"),
    ("truncate", "FILE [SIZE]", "to nothing, or to a size (also beyond the end: a hole)"),
    ("recreate", "FILE", "removes the file and makes an empty one with the same inode, where the file system lets us"),
    ("gzip", "FILE FILE [members=N]", "compresses into another file, in so many members"),
    ("zstd", "FILE FILE [frames=N]", "the same as zstd, by the program zstd"),
    ("damage", "FILE SIZE", "turns the bits of a byte at this place"),
    ("link", "FILE FILE", "a hard link: existing, new"),
    ("symlink", "TEXT FILE", "a symbolic link to TEXT, put in place by a rename"),
    ("chmod", "FILE MODE", "permissions in octal"),
    ("mkdir", "FILE", "with its parents"),
    ("mkfifo", "FILE", "a named pipe"),
    ("remove", "FILE", "a file, or a folder with all that is in it"),
    ("touch", "FILE TIME", "sets the modification time to so long before now, or after (+1h)"),
    ("many", "FILE N N", "so many files FILE-00001.log … with so many flows each"),
    ("noise", "FILE N", "so many changes of an empty file beside the log and of another: events for inotify"),
    ("name-not-utf8", "FILE FILE", "renames to a name in which `?` is the byte FF"),
    ("tmpfs", "FILE SIZE", "mounts a file system of this size (root only)"),
    ("bind", "FILE FILE", "mounts a folder a second time (root only)"),
    ("unmount", "FILE", "takes the mount away"),
    ("fill", "FILE", "fills the file system of this folder to the last byte"),
    ("unfill", "FILE", "gives that room back"),
    // The agent.
    (
        "start",
        "[as=NAME] [without=NAME]",
        "`as=nobody` runs it as another user (root only), `without=watches` and `without=inotify` where the kernel gives none",
    ),
    ("stop", "[N]", "SIGTERM, and waits for its end and its exit code, 0 or N"),
    ("kill", "", "SIGKILL"),
    ("restart", "", "stop and start"),
    ("once", "[N]", "run --once to its end; its exit code, 0 or N"),
    ("once-gives-up", "TIME", "run --once --timeout TIME, which must fail with 1"),
    ("pause", "", "SIGSTOP: nothing is looked at"),
    ("resume", "", "SIGCONT"),
    ("set", "KEY TEXT", "changes the configuration file; TEXT is JSON or a plain word, `$DIR` the case's folder"),
    ("spoil", "", "puts a broken configuration file in place"),
    ("mend", "", "puts the good one back"),
    ("reload", "", "SIGHUP"),
    // The peers.
    ("answer", "FAULT WHEN N", "`next N` requests or `every N`-th bulk request goes wrong so"),
    ("answer-well", "", "no more faults"),
    ("down", "[N]", "the cluster's address N (0) refuses and breaks connections"),
    ("up", "[N]", "and takes them again"),
    ("rollover", "", "a new write index"),
    ("refuse-lookups", "", "_mget, _resolve and settings answer 403"),
    ("siem-down", "", "the receiver refuses and breaks connections"),
    ("siem-up", "", "and takes them again"),
    // Waiting, with a deadline of 30 s.
    ("wait", "WHAT [OP] [TEXT]", "until it is so; see below"),
    ("hold-for", "TIME", "lets time pass, for what takes time by its nature"),
    // Judging.
    ("expect", "WHAT [OP] [TEXT]", "see below"),
];

/// What can be waited for or expected: word, argument, meaning, and whether it can be waited for.
pub const FACTS: &[(&str, Argument, &str)] = &[
    ("delivered", Argument::Count, "ids of our lines that the cluster holds; `wait delivered` alone: all of them"),
    ("at-siem", Argument::Count, "ids of our lines that the receiver holds; `wait at-siem` alone: all of them"),
    ("log", Argument::Text, "the running agent has said this text"),
    ("no-log", Argument::Text, "it has not"),
    ("metric", Argument::Metric, "a metric by its name, with labels if it has some: `metric NAME{lane=\"x\"} = 3`"),
    ("requests", Argument::Count, "bulk requests that began"),
    ("lookups", Argument::Count, "_mget requests"),
    ("at-a-time", Argument::Count, "most bulk requests at a time"),
    ("settled", Argument::None, "everything that was written is in the checkpoint"),
    ("saved", Argument::None, "the checkpoint exists"),
    ("ended", Argument::None, "the agent has ended by itself"),
    ("ready", Argument::Count, "the status of /readyz"),
    ("document", Argument::Text, "some delivered document holds this text"),
    ("letter", Argument::Text, "some dead letter holds this text"),
    ("rss", Argument::Size, "most memory that the running agent ever had resident"),
    ("files", Argument::Count, "descriptors that the running agent holds"),
    // At the end of the script; each has a default.
    ("lost", Argument::Count, "at the end: lines that are nowhere (default: = 0)"),
    ("copies", Argument::Count, "at the end: second documents of one line (= 0)"),
    ("rejected", Argument::Count, "at the end: lines in the dead letter only (= 0)"),
    ("dropped", Argument::Count, "at the end: lines given up by rule, as the agent counts them (= 0)"),
    (
        "read-again",
        Argument::Count,
        "at the end: lines that were read more than once; without it none may be, unless the script kills",
    ),
    ("refused-again", Argument::Count, "at the end: documents that were offered again and refused with 409"),
    ("foreign", Argument::Count, "at the end: ids that no line has (= 0)"),
    ("siem-lost", Argument::Count, "at the end: lines that the receiver does not hold (= 0 where there is one)"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    None,
    Count,
    Size,
    Text,
    Metric,
}

/// Keys of the head.
pub const HEAD: &[(&str, &str)] = &[
    ("about", "what is shown, in a sentence; required"),
    ("from", "where it comes from: rows of tables, threads as repo#number"),
    ("needs", "a feature that the agent has not: the case does not count as passed"),
    ("source", "the source's path (flows.log); several by spaces"),
    ("rotated", "globs of rotated files instead of the derived ones, by spaces"),
    ("hosts", "addresses of the cluster (1)"),
    ("siem", "a receiver as well: tcp"),
    ("set", "KEY TEXT: as the step, before the start; may stand several times"),
];

#[derive(Debug, Clone, Default)]
pub struct Script {
    pub about: String,
    pub from: String,
    pub needs: Option<String>,
    pub head: BTreeMap<String, Vec<String>>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub line: usize,
    pub verb: &'static str,
    pub words: Vec<String>,
    pub options: BTreeMap<String, String>,
}

impl Step {
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    pub fn number(&self, at: usize, default: u64) -> u64 {
        self.words.get(at).map_or(default, |word| word.parse().expect("judged before"))
    }

    pub fn size(&self, at: usize) -> u64 {
        size(self.word(at)).expect("judged before")
    }

    pub fn option(&self, name: &str, default: u64) -> u64 {
        self.options.get(name).map_or(default, |value| value.parse().expect("judged before"))
    }
}

/// Every fault as `PATH:LINE: what`.
pub fn parse(path: &Path, text: &str) -> Result<Script, Vec<String>> {
    let mut script = Script::default();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(fault) = script.line(number, line) {
            faults.push(format!("{}:{number}: {fault}", path.display()));
        }
    }
    if script.about.is_empty() {
        faults.push(format!("{}:1: no `about:` line says what is shown", path.display()));
    }
    if faults.is_empty() { Ok(script) } else { Err(faults) }
}

impl Script {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some(key) = first.strip_suffix(':') {
            if !self.steps.is_empty() {
                return Err(format!("{first} stands in the head, before the first step"));
            }
            return self.head_line(key, line[first.len()..].trim());
        }
        self.steps.push(step(number, line)?);
        Ok(())
    }

    fn head_line(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{key}: has no text"));
        }
        match key {
            "about" => self.about = value.to_owned(),
            "from" => self.from = value.to_owned(),
            "needs" => self.needs = Some(value.to_owned()),
            _ if HEAD.iter().any(|(known, _)| *known == key) => {
                self.head.entry(key.to_owned()).or_default().push(value.to_owned());
            }
            _ => return Err(unknown("key", key, HEAD.iter().map(|(known, _)| *known))),
        }
        Ok(())
    }

    pub fn list(&self, key: &str) -> Option<Vec<String>> {
        let values = self.head.get(key)?;
        Some(values.iter().flat_map(|value| value.split_whitespace()).map(str::to_owned).collect())
    }
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.min_by_key(|other| distance(word, other)).filter(|other| distance(word, other) <= 2);
    match near {
        Some(near) => format!("unknown {what} {word:?}; did you mean {near:?}?"),
        None => format!("unknown {what} {word:?}"),
    }
}

/// Of Levenshtein.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let next = (corner + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[other.len()]
}

fn step(line: usize, text: &str) -> Result<Step, String> {
    let mut words = words(text)?;
    let first = words.remove(0);
    let Some((verb, usage, _)) = STEPS.iter().find(|(verb, ..)| *verb == first) else {
        return Err(unknown("step", &first, STEPS.iter().map(|(verb, ..)| *verb)));
    };
    let mut step = Step { line, verb, words: Vec::new(), options: BTreeMap::new() };
    if matches!(*verb, "wait" | "expect") {
        fact(&words)?;
        step.words = words;
        return Ok(step);
    }
    let usual = || format!("it is written: {verb} {usage}");
    let mut places = usage.split(' ').filter(|place| !place.is_empty() && !place.contains('=')).peekable();
    for word in words {
        if let Some((name, value)) = word.split_once('=')
            && usage.contains(&format!("[{name}="))
        {
            let kind = if usage.contains(&format!("[{name}=N]")) { "N" } else { "NAME" };
            argument(kind, value)?;
            step.options.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let place = places.next().ok_or_else(|| format!("{word:?} is too much; {}", usual()))?;
        argument(place.trim_matches(['[', ']']), &word)?;
        step.words.push(word);
    }
    match places.next() {
        Some(place) if !place.starts_with('[') => Err(format!("{place} is missing; {}", usual())),
        _ => Ok(step),
    }
}

fn argument(kind: &str, word: &str) -> Result<(), String> {
    let good = match kind {
        "N" => word.parse::<u64>().is_ok(),
        "SIZE" => size(word).is_some(),
        "TIME" => humantime::parse_duration(word.trim_start_matches(['+', '-'])).is_ok(),
        "MODE" => u32::from_str_radix(word, 8).is_ok(),
        "WHEN" => matches!(word, "next" | "every"),
        "FAULT" if Fault::parse(word).is_none() => {
            let names = crate::support::data_stream::FAULTS.iter();
            let bare = |name: &'static str| name.split(['[', ':']).next().unwrap_or(name);
            let word = word.split(':').next().unwrap_or_default();
            let mut names = names.map(|(name, _)| bare(name));
            if names.clone().any(|name| name == word) {
                return Err(format!("what stands behind the colon of {word}: is not what it takes"));
            }
            return Err(unknown("fault", word, &mut names));
        }
        "TEXT" => bytes(word).is_ok(),
        _ => !word.is_empty(),
    };
    if good { Ok(()) } else { Err(format!("{word:?} is no {kind}")) }
}

fn fact(words: &[String]) -> Result<(), String> {
    let Some(word) = words.first() else { return Err("what?".to_owned()) };
    let Some((_, argument, _)) = FACTS.iter().find(|(fact, ..)| fact == word) else {
        return Err(unknown("fact", word, FACTS.iter().map(|(fact, ..)| *fact)));
    };
    let rest: Vec<_> = words[1..].iter().map(String::as_str).collect();
    let is_op = |op: &str| OPS.contains(&op);
    let is_number = |number: &str| number.parse::<f64>().is_ok();
    let good = match (argument, &rest[..]) {
        (Argument::None, []) | (Argument::Text, [_]) => true,
        (Argument::Count, []) => matches!(word.as_str(), "delivered" | "at-siem"),
        (Argument::Count, [op, number]) => is_op(op) && is_number(number),
        (Argument::Size, [op, number]) => is_op(op) && size(number).is_some(),
        (Argument::Metric, [_, op, number]) => is_op(op) && is_number(number),
        _ => false,
    };
    let form = match argument {
        Argument::None => "",
        Argument::Count => " OP NUMBER",
        Argument::Size => " OP SIZE",
        Argument::Text => " TEXT",
        Argument::Metric => " NAME OP NUMBER",
    };
    if good { Ok(()) } else { Err(format!("it is written: {word}{form}, with OP one of {}", OPS.join(" "))) }
}

pub const OPS: [&str; 3] = ["=", "<=", ">="];

/// Words by white space; `"…"` holds one together, its escapes left as they are.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.char_indices().find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                let (end, _) = end.ok_or("a quotation mark is open")?;
                words.push(quoted[..end].to_owned());
                rest = quoted[end + 1..].trim_start();
                continue;
            }
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

/// A text with its escapes as the bytes that it stands for.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [escape, tail @ ..] = rest else { return Err("a backslash at the end".to_owned()) };
        rest = tail;
        out.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'"' | b'\\' => *escape,
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = &rest[2.min(rest.len())..];
                byte.ok_or("\\x wants two hexadecimal digits")?
            }
            other => return Err(format!("unknown escape \\{}", char::from(*other))),
        });
    }
    Ok(out)
}

/// `300`, `300KiB`, `2MiB`.
pub fn size(text: &str) -> Option<u64> {
    let (number, shift) = match text {
        _ if text.ends_with("KiB") => (&text[..text.len() - 3], 10),
        _ if text.ends_with("MiB") => (&text[..text.len() - 3], 20),
        _ => (text, 0),
    };
    Some(number.parse::<u64>().ok()? << shift)
}

/// `1h` is before now, `+1h` after it.
pub fn shift(text: &str) -> (Duration, bool) {
    let time = humantime::parse_duration(text.trim_start_matches(['+', '-'])).expect("judged before");
    (time, text.starts_with('+'))
}

mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let faults = parse(Path::new("x/script"), &format!("about: x\n{text}")).err().unwrap_or_default();
        assert_eq!(faults, expected, "{text}");
    }

    #[test]
    fn a_slip_of_the_pen_is_an_error_with_file_and_line() {
        check("write flows.log 3\nwait delivered\nexpect metric a{b=\"c\"} >= 3", &[]);
        check("\nwirte flows.log 3", &["x/script:3: unknown step \"wirte\"; did you mean \"write\"?"]);
        check(
            "write flows.log",
            &["x/script:2: N is missing; it is written: write FILE N [pieces=N] [from=N] [ends=NAME]"],
        );
        check("write flows.log many", &["x/script:2: \"many\" is no N"]);
        check("stop 3 4", &["x/script:2: \"4\" is too much; it is written: stop [N]"]);
        check("answer red-only next 3", &["x/script:2: unknown fault \"red-only\"; did you mean \"read-only\"?"]);
        check(
            "answer item-429:x next 3",
            &["x/script:2: what stands behind the colon of item-429: is not what it takes"],
        );
        check("answer item-429 for 3", &["x/script:2: \"for\" is no WHEN"]);
        check("expect losst = 3", &["x/script:2: unknown fact \"losst\"; did you mean \"lost\"?"]);
        check("expect lost == 3", &["x/script:2: it is written: lost OP NUMBER, with OP one of = <= >="]);
        check("kill\nneeds: spool", &["x/script:3: needs: stands in the head, before the first step"]);
        check("nedes: spool", &["x/script:2: unknown key \"nedes\"; did you mean \"needs\"?"]);
        check("raw flows.log \"\\q\"", &["x/script:2: \"\\\\q\" is no TEXT"]);
        check("raw flows.log \"open", &["x/script:2: a quotation mark is open"]);
        assert_eq!(parse(Path::new("x"), "kill").unwrap_err(), ["x:1: no `about:` line says what is shown"]);
    }

    #[test]
    fn text_has_escapes_and_sizes_have_units() {
        assert_eq!(bytes(r#"a\n\xff\"\\"#).unwrap(), b"a\n\xff\"\\");
        assert_eq!((size("3"), size("2KiB"), size("1MiB"), size("x")), (Some(3), Some(2048), Some(1 << 20), None));
    }
}

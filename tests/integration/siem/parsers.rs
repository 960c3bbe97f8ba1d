//! Parsers read the golden records: a strict one of our own for each format, and those that others wrote. They must agree
//! key by key.

use std::collections::BTreeMap;
use std::process::Command;

use tidegate::encode::record::Format;

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

/// A strict reader of LEEF 2.0: seven fields between pipes, then `key=value` pairs with the delimiter that the sixth says,
/// each key once. There are no escapes.
///
/// # Panics
/// At anything that is not LEEF.
pub fn strict_leef(record: &str, delimiter: char) -> Vec<(String, String)> {
    let mut fields = record.splitn(7, '|');
    let mut next = || fields.next().unwrap_or_else(|| panic!("seven fields: {record}"));
    assert_eq!(next(), "LEEF:2.0", "{record}");
    for name in ["vendor", "product", "version", "event id"] {
        assert!(!next().is_empty(), "{name} is empty: {record}");
    }
    let said = next();
    assert!(said == "x09" && delimiter == '\t' || said == delimiter.to_string(), "the delimiter {said:?}: {record}");
    let body = next();
    assert!(!body.contains('|'), "a pipe behind the head: {record}");
    assert!(!body.chars().any(|c| c.is_control() && c != delimiter), "a control character: {record:?}");
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("no `=` in {pair:?}: {record}"));
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "key {key:?} in {record}");
        assert!(!value.is_empty() && value.trim() == value && !value.contains('='), "{key} is {value:?}: {record}");
        (key.to_owned(), value.to_owned())
    };
    let pairs: Vec<_> = body.split(delimiter).map(pair).collect();
    assert!(each_once(&pairs), "a key stands twice: {record}");
    pairs
}

fn each_once(pairs: &[(String, String)]) -> bool {
    pairs.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len() == pairs.len()
}

/// A strict reader of one element `[flow@NUMBER …]` and the text behind it, by RFC 5424 §6.3.
///
/// # Panics
/// At anything else.
pub fn strict_sd(record: &str) -> (Vec<(String, String)>, String) {
    let rest = record.strip_prefix("[flow@").unwrap_or_else(|| panic!("{record}"));
    let number = rest.find(' ').expect("a space behind the SD-ID");
    assert!(rest[..number].bytes().all(|b| b.is_ascii_digit()), "{record}");
    let mut rest = &rest[number..];
    let mut pairs: Vec<(String, String)> = Vec::new();
    while let Some(param) = rest.strip_prefix(' ') {
        let (name, value) = param.split_once("=\"").unwrap_or_else(|| panic!("no value at {param:?}: {record}"));
        assert!(!name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name:?}");
        let (mut text, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in value.char_indices() {
            assert!(!c.is_control(), "raw {c:?} in {record:?}");
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, ']') => panic!("a bare ] in {record}"),
                (true, c) => {
                    assert!(matches!(c, '"' | '\\' | ']'), "the escape of {c:?} in {record}");
                    text.push(c);
                    escaped = false;
                }
                (false, c) => text.push(c),
            }
        }
        assert!(!text.is_empty() && text.trim() == text, "{name} is {text:?}: {record}");
        pairs.push((name.to_owned(), text));
        rest = &value[end.expect("a closing quote") + 1..];
    }
    assert!(each_once(&pairs), "a name stands twice: {record}");
    let text = rest.strip_prefix(']').unwrap_or_else(|| panic!("no ] at {rest:?}: {record}"));
    assert!(text.is_empty() || text.starts_with(' '), "{record}");
    (pairs, text.trim_start().to_owned())
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

type Pairs = BTreeMap<String, String>;

/// A parser of others reads from each record what our strict one reads.
#[track_caller]
fn agrees(parser: &str, records: &[String], ours: impl Fn(&str) -> Pairs) {
    let Some(output) = run(parser, records) else { return };
    assert_eq!(output.lines().count(), records.len(), "{parser}");
    for (record, parsed) in records.iter().zip(output.lines()) {
        let theirs: Pairs = serde_json::from_str(parsed).expect("an object of texts");
        let shortest = |pairs: Pairs| pairs.into_iter().map(shortest).collect::<Pairs>();
        assert_eq!(shortest(ours(record)), shortest(theirs), "{parser}: {record}");
    }
}

/// An IPv6 address has many spellings; Java takes one that holds an IPv4 address for that.
fn shortest((key, value): (String, String)) -> (String, String) {
    let address = value.parse::<std::net::IpAddr>().map(|ip| ip.to_canonical().to_string());
    (key, address.unwrap_or(value))
}

fn cef(record: &str) -> Pairs {
    strict(record).into_iter().collect()
}

#[test]
fn cefp_agrees() {
    agrees("cefp", &golden::all(Format::Cef), cef);
}

#[test]
fn liblognorm_agrees() {
    agrees("liblognorm", &golden::all(Format::Cef), cef);
}

/// It knows the keys of the dictionary and passes over all others.
#[test]
fn parcefone_agrees() {
    agrees("parcefone", &golden::all(Format::Cef), |record| {
        let mut pairs = cef(record);
        pairs.retain(|key, _| !key.starts_with("Tidegate"));
        pairs
    });
}

/// It gives custom keys the names of their labels: a label that stood twice would hide a value.
#[test]
fn pycef_agrees() {
    agrees("pycef", &golden::all(Format::Cef), |record| {
        let mut pairs = cef(record);
        let labels: Vec<_> = pairs.keys().filter_map(|key| key.strip_suffix("Label").map(str::to_owned)).collect();
        for key in labels {
            let label = pairs.remove(&format!("{key}Label")).expect("a label");
            let value = pairs.remove(&key).expect("a labelled key");
            pairs.insert(label, value);
        }
        pairs
    });
}

/// It knows no escapes, and ends a value at the first `\=`: it stands for the careless, whom records without any must suit.
#[test]
fn nsyslog_parser_agrees_where_nothing_is_escaped() {
    let records: Vec<_> = golden::all(Format::Cef).into_iter().filter(|record| !record.contains('\\')).collect();
    assert!(records.len() > 80, "{}", records.len());
    agrees("nsyslog", &records, cef);
}

/// It takes the delimiter `x09` for its three letters, so it is given another.
#[test]
fn nsyslog_parser_agrees_on_leef() {
    let records = golden::all(Format::Leef { delimiter: b'^' });
    agrees("nsyslog-leef", &records, |record| strict_leef(record, '^').into_iter().collect());
}

#[test]
fn syslog_rfc5424_parser_agrees() {
    let header = "<132>1 2026-08-22T09:14:58.000Z node-a1 tidegate 7 TRAFFIC [meta sequenceId=\"1\"]";
    let records: Vec<_> = golden::all(golden::SD).iter().map(|record| format!("{header}{record}")).collect();
    agrees("sd", &records, |record| strict_sd(&record[header.len()..]).0.into_iter().collect());
}

#[test]
fn lint_finds_nothing() {
    if let Some(output) = run("lint", &golden::all(Format::Cef)) {
        // A warning is about what is legal and breaks some receiver: only great counters are unavoidable.
        let warned: Vec<_> = output.lines().filter(|line| line.trim_start().starts_with("W ")).collect();
        assert!(warned.iter().all(|line| line.contains("> 2^31-1")), "{warned:#?}");
    }
}

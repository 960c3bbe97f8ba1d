//! The regular expressions of `deploy/siem/` over the golden records: they give what a strict reader finds, of ordinary and of
//! hostile records. They keep to what all engines read alike (no looking around, no references back), so ours stands for
//! Splunk's PCRE, QRadar's Java and Kusto's RE2.

use std::collections::BTreeMap;

use regex_automata::meta::Regex;
use tidegate::encode::record::Format;

use super::content::{Stanzas, known, kusto_parser, properties, read, stanzas};
use super::golden;
use super::parsers::{strict, strict_leef};

/// A heartbeat, and a stop on a node with a hostile name, in which something was cut.
const OWN: [&str; 2] = [
    "CEF:0|Tidegate|Tidegate|0.0.0|tidegate:heartbeat|Tidegate heartbeat|1|rt=1787390098123 start=1787390000000 cat=tidegate dvchost=test-node deviceExternalId=test-cluster/test-node cs6Label=Cluster cs6=test-cluster",
    "CEF:0|Tidegate|Tidegate|0.0.0|tidegate:stop|Tidegate stopped in good order|2|rt=1787390098123 cat=tidegate dvchost=a\\=b|c \\\\\"]\\nCEF_0|x? cs6Label=Cluster cs6=a\\=b|c \\\\ TidegateTruncated=1",
];

fn regex(pattern: &str) -> Regex {
    for more in ["(?=", "(?!", "(?<", "\\1", "++", "*+"] {
        assert!(!pattern.contains(more), "not every engine reads {more}: {pattern}");
    }
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// All groups of each match.
fn groups(regex: &Regex, text: &str) -> Vec<Vec<String>> {
    let group = |span: Option<regex_automata::Span>| span.map_or_else(String::new, |span| text[span].to_owned());
    regex.captures_iter(text).map(|found| (1..found.group_len()).map(|n| group(found.get_group(n))).collect()).collect()
}

fn first(regex: &Regex, group: usize, text: &str) -> Option<String> {
    groups(regex, text).first().map(|groups| groups[group - 1].clone())
}

fn splunk(file: &str) -> Stanzas {
    stanzas(&read(&format!("deploy/siem/splunk/tidegate/default/{file}.conf")))
}

fn setting<'s>(stanzas: &'s Stanzas, stanza: &str, key: &str) -> &'s str {
    let found = stanzas[stanza].iter().find(|(k, _)| k == key);
    &found.unwrap_or_else(|| panic!("[{stanza}] has no {key}")).1
}

/// Line ends stay escaped in Splunk, as the comment in props.conf says.
fn one_line(value: &str) -> String {
    value.replace('\n', "\\n").replace('\r', "\\r")
}

#[test]
fn splunk_reads_the_pairs_of_every_record() {
    let (transforms, props) = (splunk("transforms"), splunk("props"));
    let head = regex(setting(&transforms, "tidegate_cef_head", "REGEX"));
    let pairs = regex(setting(&transforms, "tidegate_cef_pairs", "REGEX"));
    let time = regex(setting(&props, "calico:flow:cef", "TIME_PREFIX"));
    let eval: Vec<(&str, &str, Regex)> = props["calico:flow:cef"]
        .iter()
        .filter_map(|(_, value)| value.strip_prefix("replace(")?.strip_suffix(", \"\\1\")")?.split_once(", "))
        .map(|(key, pattern)| (key, pattern, regex(&pattern.trim_matches('"').replace("\\\\", "\\"))))
        .collect();
    assert!(eval.len() >= 9, "{eval:?}");
    let mut unescaped = 0;
    let records: Vec<String> = golden::all(Format::Cef).into_iter().chain(OWN.map(str::to_owned)).collect();
    for record in &records {
        // As SC4S or a file may hold it, with a header that has an `=` of its own.
        let event =
            format!("<134>1 2026-01-01T00:00:00.000Z node-a1 tidegate 7 TRAFFIC [meta sequenceId=\"2\"] {record}");
        let found = groups(&head, &event);
        let [head] = &found[..] else { panic!("{found:?}") };
        let (fields, extension) = head.split_at(6);
        assert!(record.starts_with(&format!("CEF:0|{}|", fields.join("|"))), "{record}: {fields:?}");
        let read: BTreeMap<String, String> =
            groups(&pairs, &extension[0]).into_iter().map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let ours: BTreeMap<String, String> = strict(record).into_iter().collect();
        assert!(read.keys().eq(ours.keys()), "{record}\n{read:?}");
        for (key, value) in &ours {
            let escaped = value.replace('\\', "\\\\").replace('=', "\\=");
            assert_eq!(read[key], one_line(&escaped), "{key} of {record}");
        }
        for (key, _, regex) in &eval {
            let Some(value) = read.get(*key) else { continue };
            let mut made = String::new();
            let mut at = 0;
            for found in regex.captures_iter(value) {
                let (all, kept) = (found.get_match().expect("a match"), found.get_group(1).expect("a group"));
                made += &value[at..all.start()];
                made += &value[kept.start..kept.end];
                at = all.end();
                unescaped += 1;
            }
            made += &value[at..];
            assert_eq!(made, one_line(&ours[*key]), "{key} of {record}");
        }
        // Golden records without a time of their own have none; sent ones have that of the reading.
        let after = time.find(&event).map(|found| &event[found.end()..found.end() + 13]);
        assert_eq!(after, ours.get("rt").map(String::as_str), "{record}");
    }
    assert!(records.len() > 100 && unescaped >= 5, "{} records, {unescaped} escapes", records.len());
}

#[test]
fn qradar_reads_the_properties_of_every_record() {
    let properties = properties();
    let own = "LEEF:2.0|Tidegate|Tidegate|0.0.0|tidegate:heartbeat|x09|sev=1\tdevTime=1787390098123\tcat=tidegate\tnode=test-node\tsensor=c/test-node\tcluster=c\ttruncated=1";
    let records: Vec<String> = golden::all(golden::LEEF).into_iter().chain([own.to_owned()]).collect();
    let mut seen = BTreeMap::new();
    for property in &properties {
        let regex = regex(&property.regex);
        for record in &records {
            let payload = format!("<134>Jan  1 00:00:00 node-a1 {record}");
            let expected = match &property.leef {
                Some(key) => {
                    strict_leef(record, '\t').into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
                }
                None => record.split('|').nth(4).map(str::to_owned),
            };
            assert_eq!(first(&regex, property.group, &payload), expected, "{} of {record}", property.name);
            if let Some(value) = expected {
                assert!(property.kind == "string" || value.parse::<u64>().is_ok(), "{}: {value}", property.name);
                *seen.entry(&property.name).or_insert(0) += 1;
            }
        }
    }
    let unseen: Vec<_> = properties.iter().filter(|property| !seen.contains_key(&property.name)).collect();
    assert!(unseen.is_empty(), "in no record: {unseen:#?}");
}

/// The patterns of the parser by the name that they give: pattern, group and the column they read.
fn kusto_patterns() -> BTreeMap<String, (Regex, usize, String)> {
    let parser = kusto_parser();
    let pattern = |line: &str| {
        let (name, rest) = line.trim().split_once(" = extract(@\"")?;
        let (pattern, rest) = rest.split_once("\", ")?;
        let (group, rest) = rest.split_once(", ")?;
        let column = rest.split(')').next()?;
        Some((name.to_owned(), (regex(pattern), group.parse().ok()?, column.to_owned())))
    };
    parser.lines().filter_map(pattern).collect()
}

#[test]
fn sentinel_reads_what_it_takes_apart() {
    let (patterns, known) = (kusto_patterns(), known());
    assert_eq!(patterns.len(), kusto_parser().matches("extract(").count());
    let (mut rules, mut truncated) = (0, 0);
    for record in golden::all(Format::Cef).iter().map(String::as_str).chain(OWN) {
        let ours: BTreeMap<String, String> = strict(record).into_iter().collect();
        let more =
            ours.iter().filter(|(key, _)| key.starts_with("Tidegate")).map(|(key, value)| format!("{key}={value}"));
        let extensions = more.chain(["other=1".to_owned()]).collect::<Vec<_>>().join(";");
        let value = |column: &str| match column {
            "AdditionalExtensions" => extensions.clone(),
            column => {
                let key = known.sentinel.iter().find(|(_, name)| *name == column).map(|(key, _)| key.as_str());
                key.and_then(|key| ours.get(key)).cloned().unwrap_or_default()
            }
        };
        let given = |name: &str| {
            let (regex, group, column) = &patterns[name];
            first(regex, *group, &value(column)).unwrap_or_default()
        };
        let namespace =
            |key: &str| ours.get(key).and_then(|w| w.split_once('/')).map_or("", |(namespace, _)| namespace);
        assert_eq!(given("SrcNamespace"), namespace("cs2"), "{record}");
        assert_eq!(given("DstNamespace"), namespace("cs3"), "{record}");
        let rule: Vec<&str> = ours.get("cs1").map_or("", String::as_str).split('|').collect();
        if let [tier, policy, _, _] = rule[..] {
            assert_eq!((&*given("RuleTier"), &*given("RulePolicy")), (tier, policy), "{record}");
            rules += 1;
        }
        assert_eq!(given("Truncated"), ours.get("TidegateTruncated").map_or("", String::as_str), "{record}");
        truncated += usize::from(given("Truncated") == "1");
    }
    assert!(rules > 30 && truncated > 0, "{rules}, {truncated}");
}

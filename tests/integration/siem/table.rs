//! `mappings/cef/record.yaml`, the encoder and the page for the SIEM team say the same.

use std::collections::BTreeSet;

use serde::Deserialize;
use tidegate::encode::cef::{CLASSES, keys};

use super::golden;
use crate::support;

#[derive(Deserialize)]
struct Table {
    classes: Vec<ClassRow>,
    keys: Vec<KeyRow>,
    own: Vec<OwnRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRow {
    id: String,
    name: String,
    severity: u8,
    syslog: u8,
    act: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRow {
    key: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    max: Option<usize>,
    #[serde(default)]
    cut: usize,
    #[serde(default)]
    drop: u8,
    label: Option<String>,
    from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnRow {
    key: String,
    from: String,
}

fn table() -> Table {
    let text = std::fs::read_to_string(support::root().join("mappings/cef/record.yaml")).expect("the table");
    serde_saphyr::from_str(&text).expect("a table")
}

#[test]
fn classes_are_those_of_the_encoder() {
    let rows = table().classes;
    assert_eq!(rows.len(), CLASSES.len());
    for (row, class) in rows.iter().zip(&CLASSES) {
        let texts = (row.act.as_deref(), row.outcome.as_deref(), row.reason.as_deref());
        let same = (&*row.id, &*row.name, row.severity, row.syslog)
            == (class.id, class.name, class.severity, class.syslog_severity)
            && texts == (class.act, class.outcome, class.reason);
        assert!(same, "{row:?} and {class:?}");
    }
}

#[test]
fn keys_are_those_of_the_encoder_in_their_order() {
    let table = table();
    assert_eq!(table.keys.len(), keys::KEYS.len());
    for (index, (row, spec)) in table.keys.iter().zip(&keys::KEYS).enumerate() {
        let same = (&*row.key, row.label.as_deref(), row.cut, row.drop) == (spec.name, spec.label, spec.cut, spec.drop);
        assert!(same && spec.key as usize == index, "{row:?} and {spec:?}");
        assert_eq!(row.kind == "string", row.cut > 0, "{row:?}");
        assert!(row.cut <= row.max.unwrap_or(0), "longer than the dictionary allows: {row:?}");
        assert!(!row.name.is_empty() && !row.from.is_empty(), "{row:?}");
    }
    let own: Vec<_> = table.own.iter().map(|row| (row.key.as_str(), !row.from.is_empty())).collect();
    assert_eq!(own, [(keys::TRUNCATED, true), (keys::SEQUENCE, true)]);
    let mut drops: Vec<u8> = keys::KEYS.iter().map(|spec| spec.drop).filter(|&drop| drop > 0).collect();
    drops.sort_unstable();
    assert!(drops.iter().copied().eq(1..=drops.len() as u8), "the order of leaving out has a gap: {drops:?}");
}

/// Both ways: a record holds no key that is not in the table, and every key of the table is in some golden record.
#[test]
fn golden_records_use_all_keys_and_no_others() {
    let table = table();
    let known: BTreeSet<String> = table
        .keys
        .iter()
        .flat_map(|row| [Some(row.key.clone()), row.label.as_ref().map(|_| format!("{}Label", row.key))])
        .flatten()
        .collect();
    let used: BTreeSet<String> =
        golden::all().iter().flat_map(|record| super::parsers::strict(record)).map(|(key, _)| key).collect();
    let own: BTreeSet<String> = table.own.into_iter().map(|row| row.key).collect();
    assert_eq!(used.difference(&known).filter(|key| !own.contains(*key)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "no fixture shows these");
}

#[test]
fn the_page_for_the_siem_team_names_every_key() {
    let page = std::fs::read_to_string(support::root().join("deploy/docs/siem.md")).expect("the page");
    let table = table();
    let rows = table.keys.iter().map(|row| &row.key).chain(table.own.iter().map(|row| &row.key));
    for name in rows.chain(table.classes.iter().map(|row| &row.id)) {
        assert!(page.contains(&format!("`{name}`")), "deploy/docs/siem.md does not name {name}");
    }
}

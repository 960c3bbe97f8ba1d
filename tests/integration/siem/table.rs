//! The tables of `mappings/`, the encoders, the printed dictionary and the page for the SIEM team say the same.

use std::collections::BTreeSet;

use serde::Deserialize;
use tidegate::encode::record::field::{FIELDS, Field};
use tidegate::encode::record::layout::Key;
use tidegate::encode::record::{CLASSES, Format, OWN_CLASSES};
use tidegate::encode::{cef, leef, structured_data};

use super::{golden, parsers};
use crate::support::{self, run};

/// `mappings/record/fields.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    classes: Vec<ClassRow>,
    own: Vec<OwnRow>,
    fields: Vec<FieldRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRow {
    id: String,
    name: String,
    within: String,
    severity: u8,
    syslog: u8,
    act: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnRow {
    id: String,
    name: String,
    category: String,
    severity: u8,
    syslog: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldRow {
    field: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    cut: usize,
    #[serde(default)]
    drop: u8,
    from: String,
}

/// `mappings/<format>/record.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<KeyRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRow {
    field: String,
    key: String,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    max: Option<usize>,
    label: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
}

/// A format made of facts: its name in `mappings/` and on the command line, its keys, its golden records, a strict parser.
struct Form {
    name: &'static str,
    keys: &'static [Key],
    format: Format,
    parse: fn(&str) -> Vec<(String, String)>,
    /// Facts that the head or the syslog header has.
    elsewhere: &'static [Field],
}

const FORMS: [Form; 3] = [
    Form {
        name: "cef",
        keys: &cef::KEYS,
        format: Format::Cef,
        parse: parsers::strict,
        elsewhere: &[Field::Class, Field::Severity, Field::Version],
    },
    Form {
        name: "leef",
        keys: &leef::KEYS,
        format: golden::LEEF,
        parse: |record| parsers::strict_leef(record, '\t'),
        elsewhere: &[Field::Class, Field::Version],
    },
    Form {
        name: "structured-data",
        keys: &structured_data::KEYS,
        format: golden::SD,
        parse: |record| parsers::strict_sd(record).0,
        elsewhere: &[Field::Sequence],
    },
];

fn read<T: serde::de::DeserializeOwned>(path: &str) -> T {
    let text = std::fs::read_to_string(support::root().join("mappings").join(path)).expect("the table");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn facts() -> Facts {
    read("record/fields.yaml")
}

fn keys(form: &Form) -> Vec<KeyRow> {
    read::<Keys>(&format!("{}/record.yaml", form.name)).keys
}

#[test]
fn classes_are_those_of_the_encoder() {
    let rows = facts().classes;
    assert_eq!(rows.len(), CLASSES.len());
    for (row, class) in rows.iter().zip(&CLASSES) {
        let texts = (row.act.as_deref(), row.outcome.as_deref(), row.reason.as_deref());
        let same = (&*row.id, &*row.name, &*row.within, row.severity, row.syslog)
            == (&*class.id, &*class.name, class.within, class.severity, class.syslog_severity)
            && texts == (class.act, class.outcome, class.reason);
        assert!(same, "{row:?} and {class:?}");
    }
    let own = facts().own;
    assert_eq!(own.len(), OWN_CLASSES.len());
    for (row, class) in own.iter().zip(&OWN_CLASSES) {
        let same = (&*row.id, &*row.name, &*row.category, row.severity, row.syslog)
            == (&*class.id, &*class.name, class.category, class.severity, class.syslog_severity);
        assert!(same, "{row:?} and {class:?}");
    }
}

#[test]
fn facts_are_those_of_the_encoder_in_their_order() {
    let rows = facts().fields;
    assert_eq!(rows.len(), FIELDS.len());
    for (index, (row, spec)) in rows.iter().zip(&FIELDS).enumerate() {
        let same = (&*row.field, row.cut, row.drop) == (spec.name, spec.cut, spec.drop);
        assert!(same && spec.field as usize == index, "{row:?} and {spec:?}");
        assert_eq!(row.kind == "string", row.cut > 0, "{row:?}");
        assert!(!row.from.is_empty(), "{row:?}");
    }
    let mut drops: Vec<u8> = FIELDS.iter().map(|spec| spec.drop).filter(|&drop| drop > 0).collect();
    drops.sort_unstable();
    assert!(drops.iter().copied().eq(1..=drops.len() as u8), "the order of leaving out has a gap: {drops:?}");
}

#[test]
fn keys_are_those_of_each_format() {
    for form in &FORMS {
        let rows = keys(form);
        assert_eq!(rows.len(), form.keys.len(), "{}", form.name);
        for (row, key) in rows.iter().zip(form.keys) {
            let same = (&*row.field, &*row.key, row.label.as_deref()) == (key.field.spec().name, key.name, key.label);
            assert!(same, "{}: {row:?} and {key:?}", form.name);
            let cut = key.field.spec().cut;
            assert!(cut <= row.max.unwrap_or(cut), "longer than the dictionary allows: {row:?}");
            let is_cef = form.name == "cef";
            assert!((row.name.is_some() && row.kind.is_some()) == is_cef, "{}: {row:?}", form.name);
            assert_eq!(row.purpose.is_some(), form.name == "leef", "{row:?}");
        }
        // Every fact has its place.
        for spec in &FIELDS {
            let count = form.keys.iter().filter(|key| key.field == spec.field).count();
            assert_eq!(count, usize::from(!form.elsewhere.contains(&spec.field)), "{}: {}", form.name, spec.name);
        }
    }
}

/// RFC 5424 §6.3.3.
#[test]
fn names_of_parameters_are_legal() {
    for key in &structured_data::KEYS {
        assert!(key.name.len() <= 32 && key.name.bytes().all(|octet| octet.is_ascii_alphanumeric()), "{key:?}");
    }
}

/// Both ways: a record holds no key that is not in the table, and every key of the table is in some golden record.
#[test]
fn golden_records_use_all_keys_and_no_others() {
    for form in &FORMS {
        let known: BTreeSet<String> = keys(form)
            .into_iter()
            .flat_map(|row| [row.label.as_ref().map(|_| format!("{}Label", row.key)), Some(row.key)])
            .flatten()
            .collect();
        let used: BTreeSet<String> =
            golden::all(form.format).iter().flat_map(|record| (form.parse)(record)).map(|(key, _)| key).collect();
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} are in no table", form.name);
        // Of records that were cut, and of headers without a place for the number.
        let own = [Field::Truncated, Field::Sequence].map(|field| form.keys.iter().find(|key| key.field == field));
        let is_own = |name: &&String| own.iter().flatten().any(|key| key.name == **name);
        let unused: Vec<_> = known.difference(&used).filter(|name| !is_own(name)).collect();
        assert!(unused.is_empty(), "{}: no fixture shows {unused:?}", form.name);
    }
}

#[test]
fn the_dictionary_is_printed_in_three_forms() {
    for form in &FORMS {
        let print =
            |how: &str| run(&["siem", "schema", "--record", form.name, "--format", how], "").expect_code(0).stdout;
        let (markdown, csv) = (print("markdown"), print("csv"));
        let json: serde_json::Value = serde_json::from_str(&print("json")).expect("JSON");
        let rows = keys(form);
        assert_eq!(json["keys"].as_array().map(Vec::len), Some(rows.len()));
        assert_eq!(json["classes"].as_array().map(Vec::len), Some(CLASSES.len() + OWN_CLASSES.len()));
        assert_eq!(csv.lines().count(), rows.len() + 1);
        for (row, key) in rows.iter().zip(json["keys"].as_array().expect("keys")) {
            assert_eq!((&key["key"], &key["field"]), (&row.key.as_str().into(), &row.field.as_str().into()));
            assert!(key["from"].as_str().is_some_and(|from| !from.is_empty()), "{key}");
            assert!(markdown.contains(&format!("| `{}` |", row.key)), "{}", row.key);
            assert!(csv.lines().any(|line| line.starts_with(&format!("{},", row.key))), "{}", row.key);
        }
    }
}

#[test]
fn the_page_for_the_siem_team_names_every_key() {
    let page = std::fs::read_to_string(support::root().join("deploy/docs/siem/README.md")).expect("the page");
    let keys = FORMS.iter().flat_map(keys).map(|row| row.key);
    let facts = facts();
    let classes = facts.classes.into_iter().map(|class| class.id).chain(facts.own.into_iter().map(|class| class.id));
    for name in keys.chain(classes) {
        assert!(page.contains(&format!("`{name}`")), "deploy/docs/siem/README.md does not name {name}");
    }
}

//! The field table, and the encoder held against it both ways.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::encode::ecs::FIELDS;

use super::golden;

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    /// Elasticsearch's type.
    pub kind: &'static str,
    pub level: &'static str,
    pub array: bool,
    pub when: &'static str,
    pub log: &'static str,
    pub description: &'static str,
}

impl Field {
    /// OpenSearch's type: `constant_keyword` needs its value there, `match_only_text` is younger than 2.x.
    pub fn opensearch_kind(&self) -> &'static str {
        match self.kind {
            "flattened" => "flat_object",
            "constant_keyword" => "keyword",
            "match_only_text" => "text",
            kind => kind,
        }
    }

    fn fits(&self, value: &Value) -> bool {
        match self.kind {
            "keyword" | "constant_keyword" | "match_only_text" => value.is_string(),
            "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            "date" => value.as_str().is_some_and(|text| text.len() == 24 && text.parse::<jiff::Timestamp>().is_ok()),
            "long" => value.as_i64().is_some_and(|number| number >= 0),
            "boolean" => value.is_boolean(),
            "flattened" => value.is_object(),
            kind => panic!("{kind} is no type of the table"),
        }
    }
}

pub fn fields() -> Vec<Field> {
    read(FIELDS)
}

/// The table of the hourly history.
pub fn history() -> Vec<Field> {
    read(include_str!("../../../mappings/history/fields.tsv"))
}

fn read(text: &'static str) -> Vec<Field> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("field\ttype\tlevel\tshape\twhen\tlog\tdescription"));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, kind, level, shape, when, log, description] = columns[..] else { panic!("{line:?}") };
            Field { name, kind, level, array: shape == "array", when, log, description }
        })
        .collect()
}

/// Every leaf with its full name: flattened fields are leaves, lists are leaves with their items.
pub fn leaves(document: &Value) -> Vec<(String, Value)> {
    fn walk(name: &str, value: &Value, flattened: &BTreeSet<&str>, out: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) if !flattened.contains(name) => {
                for (key, value) in members {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    walk(&name, value, flattened, out);
                }
            }
            leaf => out.push((name.to_owned(), leaf.clone())),
        }
    }
    let fields = fields();
    let flattened = fields.iter().filter(|field| field.kind == "flattened").map(|field| field.name).collect();
    let mut out = Vec::new();
    walk("", document, &flattened, &mut out);
    out
}

/// What is wrong with a document by the table.
fn faults(document: &Value, fields: &BTreeMap<&str, Field>) -> Vec<String> {
    let fault = |(name, value): (String, Value)| {
        let Some(field) = fields.get(name.as_str()) else { return Some(format!("{name} is not in the table")) };
        let fits = match &value {
            Value::Array(items) => field.array && items.iter().all(|item| field.fits(item)),
            value => !field.array && field.fits(value),
        };
        (!fits).then(|| format!("{name} does not fit the table: {value}"))
    };
    leaves(document).into_iter().filter_map(fault).collect()
}

fn by_name() -> BTreeMap<&'static str, Field> {
    fields().into_iter().map(|field| (field.name, field)).collect()
}

#[test]
fn the_table_is_sound() {
    let fields = fields();
    assert!(fields.len() > 100);
    assert_eq!(by_name().len(), fields.len(), "a field stands twice");
    for field in fields {
        assert_eq!(field.level == "own", field.name.starts_with("calico."), "{}", field.name);
        assert!(matches!(field.when, "always" | "flow" | "raw" | "clock" | "zones"), "{field:?}");
        assert!(field.description.ends_with('.'), "{field:?}");
    }
}

#[test]
fn the_history_is_made_from_what_there_is() {
    let flows = by_name();
    for field in history() {
        let source = flows.get(field.log).unwrap_or_else(|| panic!("{} is no field of a flow", field.log));
        assert!(matches!(field.when, "hour" | "group" | "sum" | "count"), "{field:?}");
        assert_eq!(field.level == "own", field.name.starts_with("calico."), "{field:?}");
        // A summary of a field has its name and type, so that one filter serves both.
        if field.when != "count" {
            assert_eq!((field.name, field.kind), (field.log, source.kind), "{field:?}");
        }
    }
}

#[test]
fn every_document_fits_the_table() {
    let fields = by_name();
    for document in golden::documents() {
        let value = serde_json::from_str(&document.text).expect("JSON");
        assert_eq!(faults(&value, &fields), [""; 0], "{}:{}", document.case, document.line);
    }
}

#[test]
fn every_field_of_the_table_is_in_a_document() {
    let mut produced = BTreeSet::new();
    for document in golden::documents() {
        let value: Value = serde_json::from_str(&document.text).expect("JSON");
        produced.extend(leaves(&value).into_iter().map(|(name, _)| name));
    }
    let missing: Vec<_> =
        fields().into_iter().filter(|field| !produced.contains(field.name)).map(|field| field.name).collect();
    assert_eq!(missing, [""; 0], "no fixture's document has these fields");
}

#[test]
fn a_doctored_document_does_not_fit() {
    let fields = by_name();
    for (document, fault) in [
        (r#"{"source":{"pod":"x"}}"#, "source.pod is not in the table"),
        (r#"{"tags":"calico"}"#, "tags does not fit the table: \"calico\""),
        (r#"{"host":{"name":["a"]}}"#, "host.name does not fit the table: [\"a\"]"),
        (r#"{"source":{"ip":"pub"}}"#, "source.ip does not fit the table: \"pub\""),
        (r#"{"source":{"port":"80"}}"#, "source.port does not fit the table: \"80\""),
        (r#"{"source":{"bytes":-1}}"#, "source.bytes does not fit the table: -1"),
        (r#"{"@timestamp":1}"#, "@timestamp does not fit the table: 1"),
        (r#"{"calico":{"aggregated":"no"}}"#, "calico.aggregated does not fit the table: \"no\""),
        (r#"{"calico":{"extra":[]}}"#, "calico.extra does not fit the table: []"),
    ] {
        assert_eq!(faults(&serde_json::from_str(document).expect("JSON"), &fields), [fault]);
    }
}

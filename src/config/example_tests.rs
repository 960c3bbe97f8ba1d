//! The example against the schema, both ways: it is documentation that cannot grow old.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schema::{MARK, resolved};
use super::{EXAMPLE, Input, Surroundings};
use crate::yaml::{Document, Node, child};

/// Keys that have a default and stand in the example with another value, because the example shows what must be given.
const GIVEN: &[&str] =
    &["sources", "sources[].path", "sinks", "sinks.elasticsearch.hosts", "sinks.siem", "sinks.siem[].name"];

fn example_with_all_keys() -> String {
    EXAMPLE.replace("#: ", "")
}

fn input() -> Input {
    Input { surroundings: Surroundings { node_name: None, host_name: Some("node-a1".to_owned()) }, ..Input::default() }
}

/// Every key of the schema by its path, lists as `[]`, with its default. Not within values that have a form of their own.
fn keys(schema: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
    if schema.get(MARK).is_some() {
        return;
    }
    if let Some(items) = schema.get("items") {
        keys(items, &format!("{path}[]"), out);
    }
    for (key, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = child(path, key);
        keys(below, &path, out);
        out.insert(path, below.get("default").cloned().unwrap_or_default());
    }
}

/// Every key of the text by its path, with its text if it has one.
fn keys_of_text(node: &Node, path: &str, out: &mut BTreeMap<String, String>) {
    for item in node.items() {
        keys_of_text(item, &format!("{path}[]"), out);
    }
    for entry in node.entries() {
        let path = child(path, &entry.key);
        keys_of_text(&entry.node, &path, out);
        out.insert(path, entry.node.value.to_string());
    }
}

#[test]
fn example_is_valid() {
    let loaded = input().load_text(Some(("example", EXAMPLE))).expect("the example is valid");
    assert_eq!(loaded.warnings, []);
}

#[test]
fn example_with_all_keys_is_valid() {
    let told: Vec<String> = input()
        .load_text(Some(("example", &example_with_all_keys())))
        .expect_err("three kinds of credentials stand in it")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].ends_with("auth: more than one is given; write one of api_key, basic and bearer"), "{told:#?}");
}

#[test]
fn example_holds_every_key_and_no_other() {
    let mut schema = BTreeMap::new();
    keys(&resolved(), "", &mut schema);
    let document = Document::parse(&example_with_all_keys()).expect("YAML");
    let mut text = BTreeMap::new();
    keys_of_text(document.root(), "", &mut text);
    let is_secret = |key: &&String| key.ends_with(".file") || key.ends_with(".env");
    let text: BTreeSet<&String> = text.keys().filter(|key| !is_secret(key)).collect();
    assert_eq!(text, schema.keys().collect());
}

#[test]
fn values_of_the_example_are_the_defaults() {
    let mut defaults = BTreeMap::new();
    keys(&resolved(), "", &mut defaults);
    let document = Document::parse(EXAMPLE).expect("YAML");
    let mut text = BTreeMap::new();
    keys_of_text(document.root(), "", &mut text);
    let mut compared = 0;
    for (key, value) in text {
        let default = match defaults.get(&key) {
            Some(default) if !default.is_null() && !default.is_object() => default,
            _ => continue,
        };
        if GIVEN.contains(&key.as_str()) {
            continue;
        }
        let written =
            if default.as_array().is_some_and(Vec::is_empty) { "a list".to_owned() } else { default.to_string() };
        assert_eq!(value, written, "{key}");
        compared += 1;
    }
    assert!(compared > 25, "only {compared} values were compared");
}

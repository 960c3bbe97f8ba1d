//! Detection rules of Kibana Security, as its import takes them: one rule a line.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::source::read;

const RULES: &str = include_str!("../../../mappings/kibana/rules.yaml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    common: Common,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    index: Vec<String>,
    tags: Vec<String>,
    interval: String,
    timestamp_override: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: String,
    query: String,
    from: String,
    threshold: Option<Threshold>,
    new_terms_fields: Option<Vec<String>>,
    history_window_start: Option<String>,
    severity: String,
    risk_score: u8,
    false_positives: Vec<String>,
    note: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    field: Vec<String>,
    value: u64,
}

/// The rules, with the fields that every rule has.
pub fn objects() -> Vec<Value> {
    let page: Page = read(RULES);
    page.rules.iter().map(|rule| object(&page.common, rule)).collect()
}

/// The file for `/api/detection_engine/rules/_import`.
pub fn import() -> String {
    super::lines(&objects())
}

fn object(common: &Common, rule: &Rule) -> Value {
    let mut object = json!({
        "rule_id": rule.id, "name": rule.name, "description": rule.description, "type": rule.kind,
        "query": rule.query, "language": if rule.kind == "esql" { "esql" } else { "kuery" },
        "from": rule.from, "to": "now", "interval": common.interval,
        "severity": rule.severity, "risk_score": rule.risk_score, "tags": common.tags,
        "false_positives": rule.false_positives, "note": rule.note,
        "author": ["Tidegate"], "license": "Apache-2.0", "version": 1, "enabled": false, "immutable": false,
        "max_signals": 100, "references": [], "threat": [], "actions": [], "exceptions_list": [],
    });
    let members = object.as_object_mut().into_iter();
    members.for_each(|members| add_kind(members, common, rule));
    object
}

/// What only some kinds of rule have.
fn add_kind(members: &mut Map<String, Value>, common: &Common, rule: &Rule) {
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    if rule.kind != "esql" {
        add("index", json!(common.index));
        add("timestamp_override", json!(common.timestamp_override));
    }
    if let Some(threshold) = &rule.threshold {
        add("threshold", json!({"field": threshold.field, "value": threshold.value, "cardinality": []}));
    }
    if let Some(fields) = &rule.new_terms_fields {
        add("new_terms_fields", json!(fields));
    }
    if let Some(start) = &rule.history_window_start {
        add("history_window_start", json!(start));
    }
}

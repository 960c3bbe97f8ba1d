//! The JSON schema of the configuration, and walks along it.
//!
//! It is a file, `schema.json`, which a test holds to the types of [`super::shape`]: what makes a schema of types would be
//! half a megabyte of the program.
//!
//! The published schema is for editors and CI. The checks use the same schema with its references resolved, and mark
//! values that have a form of their own (durations, addresses, secrets) by [`MARK`], so that each of them can be judged
//! by its own parser, whose message is better than that of a pattern.

use serde_json::{Map, Value};

use crate::yaml::{child, index};

/// Keyword that names a value's own form: `duration`, `size`, `listen`, `http-url`, `siem-url`, `query`,
/// `secret`.
pub(super) const MARK: &str = "x-tidegate";

/// What `tidegate config schema` prints.
pub fn published() -> Value {
    let mut schema = kept();
    for_each_node(&mut schema, &mut |node| {
        node.remove(MARK);
        // These stand for "must be given" or "found out at the start".
        if node.get("default").is_some_and(|value| value.is_null() || value == "") {
            node.remove("default");
        }
        // Doc comments are wrapped; descriptions are shown by whoever wraps them himself.
        if let Some(Value::String(text)) = node.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    });
    schema
}

/// Read each time: it is needed once or twice, when a configuration is checked.
fn kept() -> Value {
    serde_json::from_str(include_str!("schema.json")).expect("a test holds it to the types")
}

/// The schema without references, where `X or null` is X marked as nullable.
pub(super) fn resolved() -> Value {
    let mut root = kept();
    let definitions = root.as_object_mut().and_then(|root| root.remove("$defs")).unwrap_or_default();
    resolve(&mut root, &definitions);
    root
}

fn resolve(node: &mut Value, definitions: &Value) {
    if let Value::Object(map) = node {
        resolve_reference(map, definitions);
        resolve_nullable(map, definitions);
    }
    match node {
        Value::Object(map) => map.values_mut().for_each(|child| resolve(child, definitions)),
        Value::Array(items) => items.iter_mut().for_each(|child| resolve(child, definitions)),
        _ => {}
    }
}

/// `{"$ref": "#/$defs/X", …}` becomes X with what stands beside the reference.
fn resolve_reference(map: &mut Map<String, Value>, definitions: &Value) {
    let Some(Value::String(reference)) = map.remove("$ref") else { return };
    let name = reference.rsplit('/').next().unwrap_or_default();
    if let Some(Value::Object(target)) = definitions.get(name) {
        for (key, value) in target {
            map.entry(key).or_insert_with(|| value.clone());
        }
    }
}

/// `{"anyOf": [X, {"type": "null"}], …}` becomes X, of type "… or null".
fn resolve_nullable(map: &mut Map<String, Value>, definitions: &Value) {
    let is_null = |value: &Value| value.get("type").is_some_and(|kind| kind == "null");
    let Some(Value::Array(choices)) = map.get("anyOf") else { return };
    let [Value::Object(some), none] = choices.as_slice() else { return };
    if !is_null(none) {
        return;
    }
    let mut some = some.clone();
    map.remove("anyOf");
    resolve_reference(&mut some, definitions);
    for (key, value) in some {
        map.entry(key).or_insert(value);
    }
    if let Some(kind @ Value::String(_)) = map.get_mut("type") {
        *kind = Value::Array(vec![kind.take(), Value::from("null")]);
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.push(Value::Null);
    }
}

/// The resolved schema for checks of structure: marked values and what must be given are judged elsewhere. A section whose
/// keys are all commented out is an empty one.
pub(super) fn structure() -> Value {
    let mut schema = resolved();
    for_each_node(&mut schema, &mut |node| {
        node.remove("required");
        if node.contains_key(MARK) {
            node.clear();
        }
        if node.get("type").is_some_and(|kind| kind == "object") {
            node.insert("type".to_owned(), Value::from(vec!["object", "null"]));
        }
    });
    schema
}

/// Visits every schema node that describes a value, outer ones first.
fn for_each_node(node: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(map) = node else { return };
    visit(map);
    for key in ["properties", "$defs"] {
        if let Some(Value::Object(children)) = map.get_mut(key) {
            children.values_mut().for_each(|child| for_each_node(child, visit));
        }
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(children)) = map.get_mut(key) {
            children.iter_mut().for_each(|child| for_each_node(child, visit));
        }
    }
    if let Some(items) = map.get_mut("items") {
        for_each_node(items, visit);
    }
}

/// Visits every value of `value` that the resolved schema marks: its mark, whether it may be null, its path.
pub(super) fn marked<'v>(
    schema: &Value,
    value: &'v Value,
    path: &str,
    visit: &mut impl FnMut(&str, bool, &'v Value, &str),
) {
    if let Some(Value::String(mark)) = schema.get(MARK) {
        let nullable = schema.get("type").is_some_and(|kind| kind.as_array().is_some())
            || schema.get("default").is_some_and(Value::is_null);
        return visit(mark, nullable, value, path);
    }
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                if let Some(schema) = schema.get("properties").and_then(|all| all.get(key)) {
                    marked(schema, below, &child(path, key), visit);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (number, below) in items.iter().enumerate() {
                marked(schema, below, &index(path, number), visit);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_FIXTURES=1` writes it anew. A line a key, so that a difference can be read; no indentation, so that it is small.
    #[test]
    fn the_schema_kept_is_that_of_the_types() {
        let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        let made = generator.into_root_schema_for::<super::super::shape::Config>().to_value();
        let made: String = format!("{made:#}\n").split_inclusive('\n').map(str::trim_start).collect();
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json"), made).unwrap();
            return;
        }
        let differs = include_str!("schema.json").lines().zip(made.lines()).find(|(kept, made)| kept != made);
        assert!(
            include_str!("schema.json") == made,
            "src/config/schema.json is not what the types give {differs:?}; write it anew with \
             `UPDATE_FIXTURES=1 cargo test --lib the_schema_kept`, and read the difference"
        );
    }

    #[test]
    fn every_key_is_described() {
        let mut schema = published();
        let mut silent = Vec::new();
        for_each_node(&mut schema, &mut |node| {
            // A variant with one key is described as a whole.
            let variant = node.contains_key("required") && node.contains_key("description");
            if variant && node.get("properties").and_then(Value::as_object).is_some_and(|keys| keys.len() == 1) {
                return;
            }
            for (key, child) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if child.get("description").is_none() {
                    silent.push(key.clone());
                }
            }
        });
        assert_eq!(silent, Vec::<String>::new());
        assert!(!schema.to_string().contains(MARK), "marks are our own business");
    }

    #[test]
    fn resolved_has_no_reference_left() {
        let text = resolved().to_string();
        assert!(!text.contains("$ref") && !text.contains("anyOf"), "{text}");
    }

    #[test]
    fn unknown_keys_are_refused_everywhere() {
        for_each_node(&mut resolved(), &mut |node| {
            if node.get("type").is_some_and(|kind| kind.to_string().contains("object")) {
                assert_eq!(node.get("additionalProperties"), Some(&Value::Bool(false)), "{node:?}");
            }
        });
    }
}

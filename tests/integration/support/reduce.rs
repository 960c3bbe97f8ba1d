//! Our templates for the small servers that run in tests.
//!
//! The Elasticsearch there lacks some field types and the lifecycle; the OpenSearch lacks index state management. So the
//! shipped objects are reduced, by this code and never by hand, so that what is tested cannot drift from what is shipped.
//! It prints all that it takes away.

use serde_json::{Map, Value};
use tidegate::net::product::Kind;
use tidegate::setup::{Object, What};

/// What the small Elasticsearch does not know, and what stands in for it.
const TYPES: [(&str, &str); 5] = [
    ("constant_keyword", "keyword"),
    ("match_only_text", "text"),
    ("wildcard", "keyword"),
    ("scaled_float", "double"),
    ("version", "keyword"),
];

/// The objects that a small server takes.
pub fn reduce(kind: Kind, objects: Vec<Object>) -> Vec<Object> {
    let kept = |object: &Object| {
        // Its Elasticsearch has ingest, but no processor.
        let missing = matches!(object.what, What::Ilm | What::Ism | What::Transform | What::Pipeline);
        if missing {
            println!("reduced: no {} {}", object.title(), object.name);
        }
        !missing
    };
    let mut objects: Vec<_> = objects.into_iter().filter(kept).collect();
    if kind == Kind::Elasticsearch {
        for object in &mut objects {
            let name = object.name.clone();
            walk(&mut object.body, &name);
        }
    }
    objects
}

fn walk(value: &mut Value, path: &str) {
    match value {
        Value::Object(map) => {
            settings(map, path);
            field(map, path);
            for (key, value) in map {
                walk(value, &format!("{path}.{key}"));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, path)),
        _ => {}
    }
}

fn settings(map: &mut Map<String, Value>, path: &str) {
    if !path.contains(".settings") {
        return;
    }
    let lifecycle = |key: &String| key.starts_with("index.lifecycle") || key == "lifecycle";
    for key in map.keys().filter(|key| lifecycle(key)).cloned().collect::<Vec<_>>() {
        println!("reduced: no {path}.{key}");
        map.remove(&key);
    }
}

fn field(map: &mut Map<String, Value>, path: &str) {
    let Some((from, to)) = TYPES.iter().find(|(from, _)| map.get("type").and_then(Value::as_str) == Some(from)) else {
        return;
    };
    println!("reduced: {path} is {to} instead of {from}");
    map.insert("type".to_owned(), (*to).into());
    // Parameters that only the other type has.
    for key in ["value", "scaling_factor"] {
        map.remove(key);
    }
}

mod tests {
    use super::*;

    #[test]
    fn what_the_small_server_lacks_is_taken_away_and_nothing_else() {
        let body = serde_json::json!({"template": {
            "settings": {"index": {"lifecycle": {"name": "x"}, "codec": "best_compression"}, "index.lifecycle.name": "x"},
            "mappings": {"properties": {
                "type": {"type": "constant_keyword", "value": "logs"}, "ip": {"type": "ip"},
                "text": {"properties": {"a": {"type": "match_only_text"}}},
            }},
        }});
        let object = |what| Object { what, name: "x".into(), body: body.clone() };
        let reduced = reduce(Kind::Elasticsearch, vec![object(What::Ilm), object(What::Component)]);
        let expected = serde_json::json!({"template": {
            "settings": {"index": {"codec": "best_compression"}},
            "mappings": {"properties": {
                "type": {"type": "keyword"}, "ip": {"type": "ip"}, "text": {"properties": {"a": {"type": "text"}}},
            }},
        }});
        assert_eq!(reduced.len(), 1);
        assert_eq!(reduced[0].body, expected);
        assert_eq!(reduce(Kind::OpenSearch, vec![object(What::Ism), object(What::Component)])[0].body, body);
    }
}

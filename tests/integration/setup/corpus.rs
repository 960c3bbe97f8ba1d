//! Documents that would have broken, or grown, a mapping: none is refused, none is ignored, nothing grows.

use std::net::IpAddr;

use reqwest::Method;
use serde_json::{Map, Value, json};

use tidegate::net::auth::Auth;
use tidegate::setup::{self, Choice, IndexMode, Options};

use super::{Peer, apart, beside_others, block, connect, convert, ignored, line, mapping, stream};
use crate::support::reduce::reduce;
use crate::support::root;
use crate::support::servers::Server;

super::on_all!(
    hostile_documents_are_taken_and_nothing_grows,
    every_fixture_lands_with_nothing_ignored,
    what_comes_back_is_what_was_sent,
);

fn labels(labels: &[String]) -> Value {
    json!({"source_labels": {"labels": labels}})
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("end"), |inner, level| json!({ format!("level_{level}"): inner }))
}

fn hostile() -> Vec<String> {
    let mut lines = vec![
        line(&labels(&["app=x".into()])),
        line(&labels(&["app=x".into(), "app.kubernetes.io/name=y".into(), "app.kubernetes.io=z".into()])),
        line(&labels(&["a.b.c=1".into(), "a.b=2".into(), "a=3".into()])),
        line(&labels(&[format!("big={}", "v".repeat(32_000)), format!("{}=v", "k".repeat(32_000))])),
        line(&json!({"source_port": "41890", "bytes_in": "12", "num_flows": "3"})),
        line(&json!({"new_field": 1})),
        line(&json!({"new_field": "one"})),
        line(&json!({"new_field": {"a": 1}})),
        line(&json!({"new_field": [1, "two", {"three": 3}, null, [4]]})),
        line(&json!({"new_field": "x".repeat(32_000)})),
        line(&json!({"new_field": deep(30)})),
        line(&json!({"a.b": 1, "a": {"b": 2}, "": 3, ".": 4, "..": 5, " ": 6})),
    ];
    // 10,000 label keys in one flow, of which the encoder keeps a part, and as many more, ten a flow.
    let wide: Vec<String> = (0..10_000).map(|key| format!("wide-{key}=v")).collect();
    lines.push(line(&labels(&wide)));
    lines.extend((0..1_000).map(|flow| {
        let keys: Vec<String> = (0..10).map(|key| format!("example.com/key-{flow}-{key}=v")).collect();
        line(&labels(&keys))
    }));
    lines
}

/// Fails with the first items that were refused.
#[track_caller]
pub fn all_taken(items: &[Value]) {
    let refused: Vec<_> = items.iter().enumerate().filter(|(_, item)| item["status"] != 201).take(3).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

fn hostile_documents_are_taken_and_nothing_grows(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let stream = stream("hostile");
    all_taken(&server.bulk(&stream, &convert(&[line(&json!({}))])));
    let before = mapping(server, &stream);
    let documents = convert(&hostile());
    all_taken(&server.bulk(&stream, &documents));
    assert_eq!(mapping(server, &stream), before);
    // The one label of 32 kB, which with its name is longer than a term may be: only where it is repeated as one text.
    let told = ignored(server, &stream);
    assert!(told.len() <= 1 && told.iter().all(|it| it.starts_with("[\"orchestrator.resource.label\"]")), "{told:?}");
    assert_eq!(server.count(&stream), documents.len() as u64 + 1);
    // And the labels can be asked for, whatever stands in their names.
    for (key, value) in [("app", "x"), ("app.kubernetes.io/name", "y"), ("example.com/key-999-9", "v")] {
        assert!(found(server, &stream, &format!("calico.source.labels.{key}"), value) > 0, "{key}={value}");
    }
}

fn found(server: &Server, stream: &str, field: &str, value: &str) -> u64 {
    let query = json!({"query": {"term": {field: value}}, "size": 0});
    server.ok(Method::POST, &format!("/{stream}/_search"), Some(&query))["hits"]["total"]["value"]
        .as_u64()
        .expect("a total")
}

/// Every golden document.
pub fn golden() -> Vec<String> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(root().join("fixtures/flows")).expect("fixtures") {
        let Ok(text) = std::fs::read_to_string(entry.expect("an entry").path().join("expected.ecs.jsonl")) else {
            continue;
        };
        documents.extend(text.lines().map(str::to_owned));
    }
    assert!(documents.len() > 50, "{}", documents.len());
    documents
}

fn every_fixture_lands_with_nothing_ignored(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let stream = stream("fixtures");
    all_taken(&server.bulk(&stream, &golden()));
    assert_eq!(ignored(server, &stream), [""; 0]);
}

/// What LogsDB rebuilds: an address or a number is what it means, a list of one is its member, and labels with dots in their
/// names are nested where no other label is in the way. Of members of a line that we do not
/// know, lists lose shape and order, and numbers are texts: that there are some is all that is compared.
fn as_rebuilt(value: &Value) -> Value {
    match value {
        Value::Array(items) => match &items[..] {
            [one] => as_rebuilt(one),
            items => items.iter().map(as_rebuilt).collect(),
        },
        Value::Object(members) => {
            let rebuilt = |(name, value): (&String, &Value)| match name.as_str() {
                "extra" => (name.clone(), json!(value.is_object())),
                "labels" => (name.clone(), Value::Object(leaves("", value))),
                _ => (name.clone(), as_rebuilt(value)),
            };
            members.iter().map(rebuilt).collect()
        }
        Value::String(text) => {
            text.parse::<IpAddr>().map_or_else(|_| value.clone(), |ip| json!(ip.to_canonical().to_string()))
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number that a float holds")]
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => json!(float as i64),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

/// Values by their names with dots.
fn leaves(path: &str, value: &Value) -> Map<String, Value> {
    let Value::Object(members) = value else { return Map::from_iter([(path.to_owned(), value.clone())]) };
    let path = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    members.iter().flat_map(|(name, value)| leaves(&path(name), value)).collect()
}

/// The source as it is stored, which is what was sent, and as LogsDB rebuilds it: the fixtures, and labels whose names hold
/// one another.
fn what_comes_back_is_what_was_sent(peer: Peer) {
    let Some(server) = peer.server() else { return };
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let mut documents = golden();
    documents.extend(convert(&hostile()[..12]));
    for mode in [IndexMode::Standard, IndexMode::Logsdb] {
        let choice = Choice { index_mode: mode, ..Choice::default() };
        let Ok(objects) = setup::catalogue(product, &choice, false) else {
            assert!(!peer.is_elasticsearch());
            continue;
        };
        let (objects, stream) = apart(reduce(product.kind, objects), &format!("back{mode:?}").to_lowercase());
        block(setup::apply(&wire, &objects, Options::default(), &mut Vec::new())).expect("installed");
        all_taken(&server.bulk(&stream, &documents));
        let answer = server.ok(Method::GET, &format!("/{stream}/_search?size=10000"), None);
        let rebuilt = |value: &Value| if mode == IndexMode::Logsdb { as_rebuilt(value) } else { value.clone() };
        let hits = answer["hits"]["hits"].as_array().expect("hits");
        let mut back: Vec<Value> = hits.iter().map(|hit| rebuilt(&hit["_source"])).collect();
        for text in &documents {
            let sent: Value = serde_json::from_str(text).expect("JSON");
            let found = back.iter().position(|back| *back == rebuilt(&sent));
            let near = || back.iter().find(|back| back["event"]["id"] == sent["event"]["id"]);
            let at = found.unwrap_or_else(|| {
                panic!("{mode:?}: {:#} came back as {:#}", rebuilt(&sent), near().unwrap_or(&Value::Null))
            });
            back.swap_remove(at);
        }
        assert_eq!(back, [Value::Null; 0]);
    }
}

//! Documents that would have broken, or grown, a mapping: none is refused, none is ignored, nothing grows.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Peer, beside_others, convert, ignored, line, mapping, stream};
use crate::support::root;
use crate::support::servers::Server;

super::on_all!(hostile_documents_are_taken_and_nothing_grows, every_fixture_lands_with_nothing_ignored);

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
    // 10,000 label keys, ten a flow.
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

fn every_fixture_lands_with_nothing_ignored(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let stream = stream("fixtures");
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(root().join("fixtures/flows")).expect("fixtures") {
        let Ok(text) = std::fs::read_to_string(entry.expect("an entry").path().join("expected.ecs.jsonl")) else {
            continue;
        };
        documents.extend(text.lines().map(str::to_owned));
    }
    assert!(documents.len() > 50, "{}", documents.len());
    all_taken(&server.bulk(&stream, &documents));
    assert_eq!(ignored(server, &stream), [""; 0]);
}

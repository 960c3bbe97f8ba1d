//! The main job against real peers: the fixtures' flows through the built program into Elasticsearch, OpenSearch and
//! rsyslog, asked back and compared with the golden files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use tidegate::net::product::Kind;

use crate::elastic::real::ready;
use crate::support::servers::Server;
use crate::support::{root, run, temp_dir};

/// Cases whose golden files are made without zones.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = std::fs::read_dir(root().join("fixtures/flows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|case| case.join("expected.ecs.jsonl").exists())
        .collect();
    cases.sort_unstable();
    assert!(cases.len() > 30, "the fixtures are there");
    cases
}

/// Golden documents by id.
fn golden() -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    for case in cases() {
        for line in std::fs::read_to_string(case.join("expected.ecs.jsonl")).unwrap().lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            let id = document["event"]["id"].as_str().unwrap().to_owned();
            documents.insert(id, document);
        }
    }
    documents
}

/// What only a live run fills in (decisions of detail, 24).
fn without_clock(mut document: Value) -> Value {
    if let Some(event) = document.get_mut("event").and_then(Value::as_object_mut) {
        event.remove("created");
        event.remove("ingested");
    }
    if let Some(log) = document.get_mut("log").and_then(Value::as_object_mut) {
        log.remove("file");
        if log.is_empty() {
            document.as_object_mut().unwrap().remove("log");
        }
    }
    document
}

/// Ships all fixtures once and asks every document back.
fn ship(server: &Server, namespace: &str, state: &Path) -> BTreeMap<String, Value> {
    let source = root().join("fixtures/flows/*/input.jsonl");
    let config = temp_dir();
    let file = config.path().join("tidegate.yaml");
    let yaml = json!({
        "cluster": "test-cluster",
        "node": "test-node",
        "sources": [{"path": source}],
        "sinks": {"elasticsearch": {"hosts": [server.url()], "namespace": namespace}},
        "state_dir": state,
        "listen": "127.0.0.1:0",
    });
    std::fs::write(&file, yaml.to_string()).unwrap();
    run(&["run", "-c", file.to_str().unwrap(), "--once", "--timeout", "60s"], "").expect_code(0);
    let stream = format!("logs-calico.flow-{namespace}");
    server.ok(Method::POST, &format!("/{stream}/_refresh"), None);
    let query = json!({"size": 1000, "query": {"match_all": {}}});
    let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&query));
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    hits.iter().map(|hit| (hit["_id"].as_str().unwrap().to_owned(), without_clock(hit["_source"].clone()))).collect()
}

fn check(server: &Server, product: &str) {
    let state = temp_dir();
    let namespace = format!("e2e{}", std::process::id());
    let (found, golden) = (ship(server, &namespace, state.path()), golden());
    let missing: Vec<_> = golden.keys().filter(|id| !found.contains_key(*id)).collect();
    assert_eq!((missing.len(), found.len()), (0, golden.len()), "{product}: {missing:?}");
    for (id, document) in &golden {
        assert_eq!(&found[id], document, "{product}: {id}");
    }
    // A second whole run, with its own state, changes nothing.
    let again = ship(server, &namespace, temp_dir().path());
    assert_eq!(again.len(), golden.len());
}

#[test]
fn every_fixture_into_elasticsearch_and_back() {
    if let Some(server) = ready(Kind::Elasticsearch) {
        check(server, "Elasticsearch");
    }
}

#[test]
fn every_fixture_into_opensearch_and_back() {
    if let Some(server) = ready(Kind::OpenSearch) {
        check(server, "OpenSearch");
    }
}

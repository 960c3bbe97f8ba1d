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
            documents.insert(id, comparable(document));
        }
    }
    documents
}

/// Without what depends on the run: the clock, the file's path, our version, the stream's namespace.
fn comparable(mut document: Value) -> Value {
    let remove = |document: &mut Value, parent: &str, key: &str| {
        if let Some(parent) = document.get_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(key);
        }
    };
    remove(&mut document, "event", "created");
    remove(&mut document, "event", "ingested");
    remove(&mut document, "agent", "version");
    remove(&mut document, "data_stream", "namespace");
    document.as_object_mut().unwrap().remove("log");
    // A line without any usable time has the time of its reading.
    let timeless = document["event"]["id"].as_str().unwrap().starts_with("------");
    if timeless && document["event"].get("end").is_none() {
        document.as_object_mut().unwrap().remove("@timestamp");
    }
    document
}

/// Ships all fixtures once, cases with zones of their own apart, and asks every document back.
fn ship(server: &Server, namespace: &str, state: &Path) -> BTreeMap<String, Value> {
    let (with_zones, without): (Vec<_>, Vec<_>) =
        cases().into_iter().partition(|case| case.join("zones.yaml").exists());
    run_over(server, namespace, &state.join("plain"), &without, None);
    for case in &with_zones {
        let state = state.join(case.file_name().unwrap());
        run_over(server, namespace, &state, std::slice::from_ref(case), Some(case.join("zones.yaml")));
    }
    let stream = format!("logs-calico.flow-{namespace}");
    server.ok(Method::POST, &format!("/{stream}/_refresh"), None);
    let query = json!({"size": 1000, "query": {"match_all": {}}});
    let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&query));
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    hits.iter().map(|hit| (hit["_id"].as_str().unwrap().to_owned(), comparable(hit["_source"].clone()))).collect()
}

fn run_over(server: &Server, namespace: &str, state: &Path, cases: &[PathBuf], zones: Option<PathBuf>) {
    let folder = temp_dir();
    let file = folder.path().join("tidegate.yaml");
    let sources: Vec<_> = cases.iter().map(|case| json!({"path": case.join("input.jsonl"), "rotated": []})).collect();
    let mut yaml = json!({
        "cluster": "test-cluster",
        "node": "test-node",
        "sources": sources,
        "sinks": {"elasticsearch": {"hosts": [server.url()], "namespace": namespace}},
        "state_dir": state,
        "listen": "127.0.0.1:0",
    });
    if let Some(zones) = zones {
        yaml["zones"] = json!(zones);
    }
    std::fs::write(&file, yaml.to_string()).unwrap();
    run(&["run", "-c", file.to_str().unwrap(), "--once", "--timeout", "60s"], "").expect_code(0);
}

fn check(server: &Server, product: &str) {
    let state = temp_dir();
    let namespace = format!("e2e{}", std::process::id());
    let (found, golden) = (ship(server, &namespace, state.path()), golden());
    let missing: Vec<_> = golden.keys().filter(|id| !found.contains_key(*id)).collect();
    assert_eq!((missing.len(), found.len()), (0, golden.len()), "{product}: {missing:?}");
    for (id, document) in &golden {
        assert!(&found[id] == document, "{product}: {id}\n{}\n{document}", found[id]);
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

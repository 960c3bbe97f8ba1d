//! Every panel, search and control of the shipped boards is asked of a real server, and of the documents in plain code.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::http::{Http, HttpConfig};
use tidegate::net::product::Kind;
use tidegate::setup::boards::source::{Board, Chart, Panel, Sources};
use tidegate::setup::boards::{self, Target};

use super::answer::{Table, computed, most_buckets, request, served};
use super::corpus::{WINDOW, documents};
use super::kql::{parse, values};
use super::question::{Question, asked, asked_of_opensearch, embedded, shipped, shipped_for_opensearch};
use super::validate::objects;
use crate::elastic::real;
use crate::support::servers::Server;

/// The most buckets that one panel may make a server build.
const MOST_BUCKETS: u64 = 4_000;
/// How long a server may compute one panel over two days of a shop, on a machine that does much else.
const MOST_MILLISECONDS: u64 = 10_000;

/// Writes documents into a stream and makes them visible.
#[track_caller]
pub fn index(server: &Server, stream: &str, documents: &[Value]) {
    let body: String = documents.iter().map(|document| format!("{{\"create\":{{}}}}\n{document}\n")).collect();
    let timeout = Duration::from_secs(120);
    let http = Http::new(HttpConfig { tls: None, connect_timeout: timeout, timeout }).expect("a client");
    let request = http.client().post(format!("{}/{stream}/_bulk?refresh=true", server.url()));
    let request = request.header("content-type", "application/x-ndjson").body(body);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer: Value = runtime.block_on(async {
        let bytes = request.send().await.expect("an answer").bytes().await.expect("a whole answer");
        serde_json::from_slice(&bytes).expect("JSON")
    });
    assert_eq!(answer["errors"], false, "{answer}");
}

/// A server with the corpus in it, and the stream's name.
pub fn corpus(kind: Kind) -> Option<(&'static Server, String)> {
    static DONE: [OnceLock<()>; 2] = [OnceLock::new(), OnceLock::new()];
    let server = real::ready(kind)?;
    let stream = format!("logs-calico.flow-boards_{}", std::process::id());
    DONE[kind as usize].get_or_init(|| index(server, &stream, documents()));
    Some((server, stream))
}

#[track_caller]
fn ask(server: &Server, stream: &str, question: &Question) -> Table {
    let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&request(question, WINDOW)));
    let took = answer["took"].as_u64();
    assert!(took.is_some_and(|took| took < MOST_MILLISECONDS), "{took:?} ms: {question:?}");
    assert_eq!(answer["_shards"]["total"], 1, "no more than the stream's own: {answer}");
    served(question, WINDOW, &answer)
}

/// What is wrong with one panel.
fn fault(server: &Server, stream: &str, question: &Question) -> Option<String> {
    let most = most_buckets(question);
    if most > MOST_BUCKETS {
        return Some(format!("up to {most} buckets"));
    }
    let expected = computed(question, WINDOW, documents());
    if expected.is_empty() {
        return Some(format!("nothing to see: {expected:?}"));
    }
    expected.differs_from(&ask(server, stream, question))
}

fn named<'a>(objects: &'a [Value], kind: &str, id: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["type"] == kind && object["id"] == id)
        .unwrap_or_else(|| panic!("no {kind} {id}"))
}

fn shown<'a>(sources: &'a Sources) -> impl Iterator<Item = (&'a Board, &'a Panel)> {
    let of = |board: &'a Board| board.panels.iter().map(move |panel| (board, panel));
    sources.boards.iter().flat_map(of).filter(|(_, panel)| panel.chart != Chart::Search)
}

#[test]
fn every_panel_of_kibana_is_computed() {
    let Some((server, stream)) = corpus(Kind::Elasticsearch) else { return };
    let sources = Sources::shipped();
    let mut faults = Vec::new();
    let mut number = 0;
    for target in [Target::Kibana8, Target::Kibana9] {
        let objects = objects(&boards::import(target));
        for (board, panel) in shown(&sources) {
            let dashboard = named(&objects, "dashboard", &format!("tidegate-{}", board.id));
            let panels = embedded(&dashboard["attributes"]["panelsJSON"]);
            let found =
                panels.as_array().expect("panels").iter().find(|found| found["panelIndex"] == panel.id.as_str());
            let question = shipped(dashboard, found.expect("the panel"));
            assert_eq!(question, asked(&sources.common, board, panel), "{} {}", board.id, panel.id);
            faults.extend(fault(server, &stream, &question).map(|fault| format!("{}/{}: {fault}", board.id, panel.id)));
            number += 1;
        }
    }
    println!("{number} panels of Kibana computed over {} documents", documents().len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_panel_of_opensearch_dashboards_is_computed() {
    let Some((server, stream)) = corpus(Kind::OpenSearch) else { return };
    let sources = Sources::shipped();
    let objects = objects(&boards::import(Target::OpenSearchDashboards));
    let mut faults = Vec::new();
    let mut number = 0;
    for (board, panel) in shown(&sources) {
        let dashboard = named(&objects, "dashboard", &format!("tidegate-{}", board.id));
        let vis = named(&objects, "visualization", &format!("tidegate-{}-{}", board.id, panel.id));
        let question = shipped_for_opensearch(dashboard, vis);
        assert_eq!(question, asked_of_opensearch(&sources.common, board, panel), "{} {}", board.id, panel.id);
        faults.extend(fault(server, &stream, &question).map(|fault| format!("{}/{}: {fault}", board.id, panel.id)));
        number += 1;
    }
    println!("{number} panels of OpenSearch Dashboards computed over {} documents", documents().len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn every_search_finds(kind: Kind, target: Target) {
    let Some((server, stream)) = corpus(kind) else { return };
    for search in objects(&boards::import(target)).iter().filter(|object| object["type"] == "search") {
        let source = embedded(&search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let text = source["query"]["query"].as_str().expect("a query");
        let kql = parse(text).expect("KQL");
        let columns: Vec<&str> =
            search["attributes"]["columns"].as_array().expect("columns").iter().filter_map(Value::as_str).collect();
        let body = json!({"query": kql.query(), "size": 50, "track_total_hits": true, "_source": columns,
            "sort": [{"@timestamp": "desc"}]});
        let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&body));
        let expected: Vec<&Value> = documents().iter().filter(|document| kql.matches(document)).collect();
        assert!(!expected.is_empty(), "{text}");
        assert_eq!(answer["hits"]["total"]["value"], expected.len(), "{text}");
        for column in columns {
            assert!(
                expected.iter().any(|document| !values(document, column).is_empty()),
                "{text}: the column {column} is always empty"
            );
        }
    }
}

#[test]
fn every_search_of_kibana_finds() {
    every_search_finds(Kind::Elasticsearch, Target::Kibana9);
}

#[test]
fn every_search_of_opensearch_dashboards_finds() {
    every_search_finds(Kind::OpenSearch, Target::OpenSearchDashboards);
}

#[test]
fn every_control_has_choices() {
    for kind in [Kind::Elasticsearch, Kind::OpenSearch] {
        let Some((server, stream)) = corpus(kind) else { return };
        for control in Sources::shipped().common.controls {
            let body = json!({"size": 0, "aggs": {"c": {"terms": {"field": control.field, "size": 100}}}});
            let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&body));
            let choices = answer["aggregations"]["c"]["buckets"].as_array().expect("buckets").len();
            assert!(choices > 1, "{} has {choices} choices", control.id);
        }
    }
}

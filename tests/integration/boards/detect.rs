//! Each detection rule is run over data that must trigger it, and data that must not, on a real server: the searches that
//! Kibana's rule types make of the shipped rule. ES|QL does not run on the server of the tests; its text is taken apart
//! and run as an aggregation of the same meaning.

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::product::Kind;
use tidegate::setup::boards::rules;

use super::computed::{corpus, index};
use super::kql::parse;
use super::validate::{mapping, objects};
use crate::elastic::real;
use crate::support::servers::Server;

/// Now, in milliseconds: the evening of the second of January 2026.
const NOW: i64 = 1_767_380_400_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 1440 * MINUTE;

fn rule(id: &str) -> Value {
    rules::objects().into_iter().find(|rule| rule["rule_id"] == id).unwrap_or_else(|| panic!("no rule {id}"))
}

/// A document as ours are, some minutes before now.
fn flow(minutes: i64, change: Value) -> Value {
    let time = jiff::Timestamp::from_millisecond(NOW - minutes * MINUTE).expect("a time").to_string();
    let mut document = json!({
        "@timestamp": time,
        "event": {"kind": "event", "type": ["connection", "allowed"], "ingested": time},
        "host": {"name": "node-a1"}, "network": {"direction": "egress"}, "tags": ["calico"],
        "source": {"address": "10.0.0.1"}, "destination": {"address": "10.0.0.2", "port": 443},
        "rule": {"id": "app|shop/web|allow|0", "category": "policy"},
        "calico": {"action": "allow", "num_flows": 1,
            "source": {"namespace": "shop", "name_aggr": "web-*", "type": "wep"},
            "dest": {"namespace": "shop", "name_aggr": "api-*", "type": "wep"}},
    });
    merge(&mut document, change);
    document
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            change.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, change) => *into = change,
    }
}

/// What follows "now" in a rule's time, in milliseconds before now.
fn ago(text: &Value) -> i64 {
    let text = text.as_str().expect("a time").strip_prefix("now-").expect("before now");
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "d" => DAY,
        "h" => DAY / 24,
        _ => MINUTE,
    };
    number.parse::<i64>().expect("a number") * unit
}

fn since(from: i64, to: i64) -> Value {
    json!({"range": {"event.ingested": {"gte": NOW - from, "lt": NOW - to, "format": "epoch_millis"}}})
}

fn search(server: &Server, stream: &str, filters: Vec<Value>, aggs: Value) -> Value {
    let body = json!({"size": 0, "query": {"bool": {"filter": filters}}, "aggs": aggs});
    server.ok(Method::POST, &format!("/{stream}/_search"), Some(&body))["aggregations"].clone()
}

/// The combinations of fields, with their numbers of documents, by a composite aggregation as Kibana's.
fn combinations(server: &Server, stream: &str, filters: Vec<Value>, fields: &Value) -> Vec<(Value, u64)> {
    let names = fields.as_array().expect("fields").iter().filter_map(Value::as_str);
    let sources: Vec<Value> = names.map(|name| json!({name: {"terms": {"field": name}}})).collect();
    let answer = search(server, stream, filters, json!({"c": {"composite": {"size": 1000, "sources": sources}}}));
    let bucket = |bucket: &Value| (bucket["key"].clone(), bucket["doc_count"].as_u64().expect("a count"));
    answer["c"]["buckets"].as_array().expect("buckets").iter().map(bucket).collect()
}

/// How many alerts a rule raises now.
fn alerts(server: &Server, stream: &str, rule: &Value) -> usize {
    let kql = || parse(rule["query"].as_str().expect("a query")).expect("KQL").query();
    let from = || ago(&rule["from"]);
    match rule["type"].as_str() {
        Some("threshold") => {
            let least = rule["threshold"]["value"].as_u64().expect("a number");
            let found = combinations(server, stream, vec![kql(), since(from(), 0)], &rule["threshold"]["field"]);
            found.iter().filter(|(_, count)| *count >= least).count()
        }
        Some("new_terms") => {
            let fields = &rule["new_terms_fields"];
            let now = combinations(server, stream, vec![kql(), since(from(), 0)], fields);
            let history = vec![kql(), since(ago(&rule["history_window_start"]), from())];
            let before = combinations(server, stream, history, fields);
            now.iter().filter(|(key, _)| !before.iter().any(|(other, _)| other == key)).count()
        }
        Some("esql") => silent(server, stream, rule, from()),
        other => panic!("{other:?} is no type of rule that we can run"),
    }
}

/// `STATS name = MAX(field) BY key | WHERE name < NOW() - n minutes`
fn silent(server: &Server, stream: &str, rule: &Value, from: i64) -> usize {
    let text = rule["query"].as_str().expect("a query");
    let between = |a: &str, b: &str| {
        text.split_once(a).and_then(|(_, rest)| rest.split_once(b)).map(|(found, _)| found.trim()).expect("its form")
    };
    let (field, key) = (between("MAX(", ")"), between(" BY ", "|"));
    let minutes: i64 = between("NOW() - ", "minutes").parse().expect("a number");
    let types = mapping(Kind::Elasticsearch);
    assert_eq!((types[field].as_str(), types[key].as_str()), ("date", "keyword"));
    let aggs = json!({"k": {"terms": {"field": key, "size": 1000}, "aggs": {"last": {"max": {"field": field}}}}});
    let answer = search(server, stream, vec![since(from, 0)], aggs);
    let late =
        |bucket: &&Value| bucket["last"]["value"].as_f64().is_some_and(|last| (last as i64) < NOW - minutes * MINUTE);
    answer["k"]["buckets"].as_array().expect("buckets").iter().filter(late).count()
}

#[track_caller]
fn check(server: &Server, case: &str, id: &str, documents: &[Value], expected: usize) {
    let stream = format!("logs-calico.flow-rules_{}_{case}", std::process::id());
    index(server, &stream, documents);
    assert_eq!(alerts(server, &stream, &rule(id)), expected, "{id}: {case}");
}

#[test]
fn rules_fire_when_they_must_and_only_then() {
    let Some(server) = real::ready(Kind::Elasticsearch) else { return };
    let denied =
        |minutes| flow(minutes, json!({"event": {"type": ["connection", "denied"]}, "calico": {"action": "deny"}}));
    let many = |minutes: i64, number: usize| vec![denied(minutes); number];
    check(server, "spike", "tidegate-denied-spike", &many(3, 50), 1);
    check(
        server,
        "no_spike",
        "tidegate-denied-spike",
        &[many(3, 49), many(11, 30), vec![flow(3, json!({})); 60]].concat(),
        0,
    );

    let crossing = |minutes, from, to| {
        flow(
            minutes,
            json!({"tags": ["calico", "cross-zone"], "observer": {"ingress": {"zone": from}, "egress": {"zone": to}}}),
        )
    };
    let known = crossing(2000, "dmz", "trusted");
    check(server, "new_pair", "tidegate-first-zone-pair", &[known.clone(), crossing(2, "trusted", "dmz")], 1);
    check(
        server,
        "known_pair",
        "tidegate-first-zone-pair",
        &[known, crossing(2, "dmz", "trusted"), flow(2, json!({}))],
        0,
    );

    let out = |minutes, address: &str| {
        flow(minutes, json!({"destination": {"address": address}, "calico": {"dest": {"type": "net"}}}))
    };
    let known = out(2000, "203.0.113.1");
    check(server, "new_egress", "tidegate-new-egress", &[known.clone(), out(2, "203.0.113.2")], 1);
    let inside = flow(2, json!({"destination": {"address": "10.9.9.9"}}));
    check(server, "known_egress", "tidegate-new-egress", &[known, out(2, "203.0.113.1"), inside], 0);

    let decided = |minutes, id: &str| flow(minutes, json!({"rule": {"id": id}}));
    let was = flow(2000, json!({"event": {"type": ["connection", "denied"]}, "rule": {"id": "app|shop/api|deny|1"}}));
    check(server, "opened", "tidegate-policy-now-allows", &[was.clone(), decided(2, "app|shop/api|allow|1")], 1);
    check(
        server,
        "as_ever",
        "tidegate-policy-now-allows",
        &[was, decided(2000, "app|shop/api|allow|1"), decided(2, "app|shop/api|allow|1")],
        0,
    );

    let node = |minutes, name: &str| flow(minutes, json!({"host": {"name": name}}));
    check(server, "silent", "tidegate-silent-node", &[node(1, "node-a1"), node(40, "node-b1")], 1);
    check(
        server,
        "all_speak",
        "tidegate-silent-node",
        &[node(1, "node-a1"), node(40, "node-b1"), node(5, "node-b1")],
        0,
    );
}

#[test]
fn rules_are_whole() {
    let types = mapping(Kind::Elasticsearch);
    let rules = objects(&rules::import());
    assert_eq!(rules.len(), 5);
    for rule in rules {
        let id = rule["rule_id"].as_str().expect("an id");
        for name in [
            "name",
            "description",
            "type",
            "query",
            "language",
            "severity",
            "risk_score",
            "from",
            "to",
            "interval",
            "author",
        ] {
            assert!(!rule[name].is_null(), "{id} lacks {name}");
        }
        assert!(matches!(rule["severity"].as_str(), Some("low" | "medium" | "high" | "critical")), "{id}");
        assert_eq!((&rule["enabled"], &rule["immutable"]), (&false.into(), &false.into()), "{id}");
        if rule["language"] == "kuery" {
            assert_eq!(rule["index"], json!(["logs-calico.flow-*"]));
            let kql = parse(rule["query"].as_str().expect("a query")).unwrap_or_else(|error| panic!("{id}: {error}"));
            let lists = [&rule["new_terms_fields"], &rule["threshold"]["field"]];
            let named = lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
            for field in kql.fields().into_iter().map(|(field, _)| field).chain(named) {
                assert_eq!(types.get(field).map(String::as_str), Some("keyword"), "{id}: {field}");
            }
        }
    }
}

/// The fields that the Network and Hosts pages of Kibana Security read, by what they do with them: each must be there in our
/// documents, with the type that the page needs. Places on a map need a GeoIP pipeline, and are not ours.
#[test]
fn kibanas_network_and_hosts_pages_find_what_they_read() {
    let Some((server, stream)) = corpus(Kind::Elasticsearch) else { return };
    let value = |aggs: Value| search(server, &stream, Vec::new(), json!({"v": aggs}));
    for field in
        ["host.name", "source.ip", "destination.ip", "source.domain", "destination.domain", "network.transport"]
    {
        let answer = value(json!({"terms": {"field": field}}));
        assert!(!answer["v"]["buckets"].as_array().expect("buckets").is_empty(), "{field}");
    }
    for field in ["network.community_id", "source.ip", "destination.ip"] {
        assert!(value(json!({"cardinality": {"field": field}}))["v"]["value"].as_u64() > Some(0), "{field}");
    }
    for field in ["source.bytes", "destination.bytes"] {
        assert!(value(json!({"sum": {"field": field}}))["v"]["value"].as_f64() > Some(0.0), "{field}");
    }
    // Private addresses are counted by range, which only a field of type ip can.
    for field in ["source.ip", "destination.ip"] {
        let private = value(json!({"filter": {"term": {field: "10.0.0.0/8"}}}));
        assert!(private["v"]["doc_count"].as_u64() > Some(0), "{field}");
    }
}

/// What the pages read of one document, without which it does not show there or is not counted.
fn unseen(document: &Value) -> Vec<String> {
    let at = |field: &str| document.pointer(&format!("/{}", field.replace('.', "/"))).filter(|value| !value.is_null());
    let mut missing: Vec<String> = [
        "@timestamp",
        "host.name",
        "event.kind",
        "event.category",
        "event.type",
        "event.action",
        "event.outcome",
        "event.dataset",
        "data_stream.dataset",
        "related.hosts",
        "observer.type",
        "orchestrator.cluster.name",
    ]
    .into_iter()
    .filter(|field| at(field).is_none())
    .map(str::to_owned)
    .collect();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            missing.push(what.to_owned());
        }
    };
    // An alert would show among the external alerts.
    need(at("event.kind") == Some(&json!("event")), "event.kind is event");
    need(at("event.category") == Some(&json!(["network"])), "event.category is network");
    for side in ["source", "destination"] {
        let Some(ip) = at(&format!("{side}.ip")) else { continue };
        let text = ip.as_str().unwrap_or_default();
        need(text.parse::<std::net::IpAddr>().is_ok(), "an address that is one");
        need(
            at("related.ip").and_then(Value::as_array).is_some_and(|all| all.contains(ip)),
            "related.ip holds both ends",
        );
        need(at("network.type").is_some(), "network.type");
    }
    let number = |field: &str| at(field).and_then(Value::as_u64);
    let ends = ["source.ip", "destination.ip", "source.port", "destination.port"];
    let transport = at("network.transport").and_then(Value::as_str).unwrap_or_default();
    if ends.iter().all(|field| at(field).is_some()) && matches!(transport, "tcp" | "udp" | "sctp") {
        need(at("network.community_id").is_some(), "network.community_id");
    }
    if let (Some(sent), Some(received)) = (number("source.bytes"), number("destination.bytes")) {
        // No more than a field of type long holds.
        let sum = sent.saturating_add(received).min(i64::MAX.unsigned_abs());
        need(number("network.bytes") == Some(sum), "network.bytes is the sum of both sides");
    }
    missing
}

#[test]
fn every_flow_shows_in_kibanas_network_and_hosts_pages() {
    let mut flows = 0;
    for document in crate::setup::corpus::golden() {
        let document: Value = serde_json::from_str(&document).expect("JSON");
        if document["event"]["kind"] == "pipeline_error" {
            continue;
        }
        flows += 1;
        assert_eq!(unseen(&document), [""; 0], "{document:#}");
    }
    assert!(flows > 100, "{flows}");
    // And what is missing is seen.
    let whole = &crate::setup::corpus::golden()[0];
    for (from, to) in [("\"event\"", "\"occurrence\""), ("\"related\"", "\"relatives\""), ("\"host\":", "\"hosts\":")] {
        let less = serde_json::from_str(&whole.replace(from, to)).expect("JSON");
        assert_ne!(unseen(&less), [""; 0], "{from}");
    }
}

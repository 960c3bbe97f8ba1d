//! The ingest pipeline and the rules of `deploy/siem/elastic/` over the golden records, named as `decode_cef` names them. The
//! pipeline runs in a real OpenSearch, whose `script` processor and Painless are the same; the Elasticsearch of the tests has
//! neither, and no Elastic Agent is at hand.

use reqwest::Method;
use serde_json::{Map, Value, json};
use tidegate::encode::record::Format;

use super::content::{elastic_rules, known, pipeline};
use super::golden;
use super::parsers::strict;
use crate::boards::kql;
use crate::support::servers::{self, Server};

/// `a.b` in a document.
fn at<'d>(document: &'d Value, path: &str) -> &'d Value {
    path.split('.').fold(document, |part, name| &part[name])
}

fn put(document: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(document.insert(path.to_owned(), value)),
        Some((name, rest)) => {
            let inner = document.entry(name).or_insert_with(|| json!({}));
            put(inner.as_object_mut().expect("an object"), rest, value);
        }
    }
}

/// What Elastic's integration hands to the pipeline of a record.
fn decoded(record: &str) -> Value {
    let known = known();
    let mut document = Map::new();
    let head: Vec<&str> = record.splitn(8, '|').collect();
    for (key, value) in ["deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity"]
        .iter()
        .zip(&head[1..])
    {
        put(&mut document, &known.elastic[*key], json!(value));
    }
    for (key, value) in strict(record) {
        let value = match value.parse::<u64>() {
            // Numbers of the dictionary; no text of ours is one there.
            Ok(number) if key == "cnt" => json!(number),
            _ => json!(value),
        };
        if let Some(name) = known.dictionary.get(&key) {
            put(&mut document, &format!("cef.extensions.{name}"), value.clone());
        }
        if let Some(name) = known.elastic.get(&key).filter(|name| !name.starts_with('@')) {
            put(&mut document, name, value);
        }
    }
    Value::Object(document)
}

/// What becomes of documents in the pipeline.
fn through(server: &Server, documents: &[Value]) -> Vec<Value> {
    let mut pipeline = pipeline();
    // OpenSearch's pipelines have no such note.
    pipeline.as_object_mut().expect("an object").remove("_meta");
    let docs: Vec<Value> = documents.iter().map(|source| json!({"_source": source})).collect();
    let body = json!({"pipeline": pipeline, "docs": docs});
    let answer = server.ok(Method::POST, "/_ingest/pipeline/_simulate", Some(&body));
    let source = |doc: &Value| {
        let source = &doc["doc"]["_source"];
        assert!(source.is_object(), "{doc}");
        source.clone()
    };
    answer["docs"].as_array().expect("documents").iter().map(source).collect()
}

#[test]
fn the_pipeline_names_what_our_own_documents_name() {
    let Some(server) = servers::opensearch() else { return };
    let records = golden::everything(Format::Cef);
    let ours = golden::everything(Format::EcsJson { cookie: false });
    let made = through(server, &records.lines().map(decoded).collect::<Vec<_>>());
    assert_eq!(made.len(), ours.lines().count());
    let mut rules = 0;
    for ((made, ours), record) in made.iter().zip(ours.lines()).zip(records.lines()) {
        let ours: Value = serde_json::from_str(ours).expect("a document");
        for field in [
            "observer.ingress.zone",
            "observer.egress.zone",
            "orchestrator.cluster.name",
            "event.id",
            "event.kind",
            "event.category",
        ] {
            assert_eq!(at(made, field), at(&ours, field), "{field}\n{record}");
        }
        let verdict = at(&ours, "event.type")
            .as_array()
            .into_iter()
            .flatten()
            .filter(|word| *word == "allowed" || *word == "denied");
        let connection = json!("connection");
        let expected: Vec<&Value> = [&connection].into_iter().chain(verdict).collect();
        assert_eq!(at(made, "event.type").as_array().expect("types").iter().collect::<Vec<_>>(), expected, "{record}");
        for end in ["source", "dest"] {
            // A text that was cut differs, and so does a name of DNS or a node that stands in the workload's place.
            let (namespace, name) = (format!("calico.{end}.namespace"), format!("calico.{end}.name_aggr"));
            // The first slash ends a namespace, and a hostile one may hold it.
            let plain = !at(&ours, &namespace).as_str().is_some_and(|namespace| namespace.contains('/'));
            if plain && at(made, &name).is_string() && at(&ours, &name).is_string() && !record.contains("Truncated") {
                assert_eq!(
                    (at(made, &namespace), at(made, &name)),
                    (at(&ours, &namespace), at(&ours, &name)),
                    "{record}"
                );
            }
        }
        if at(made, "rule.name").is_string() && !record.contains("Truncated") {
            for field in ["rule.name", "rule.ruleset"] {
                assert_eq!(at(made, field), at(&ours, field), "{field}\n{record}");
            }
            rules += 1;
        }
    }
    assert!(rules > 30, "{rules}");
}

const HEARTBEAT: &str = "CEF:0|Tidegate|Tidegate|0.0.0|tidegate:heartbeat|Tidegate heartbeat|1|rt=1787390098123 cat=tidegate dvchost=test-node deviceExternalId=test-cluster/test-node cs6Label=Cluster cs6=test-cluster";

#[test]
fn the_pipeline_leaves_others_alone_and_takes_a_heartbeat_for_no_flow() {
    let Some(server) = servers::opensearch() else { return };
    let foreign = json!({"observer": {"vendor": "Other"}, "cef": {"extensions": {"deviceCustomString4": "trust", "deviceCustomString5": "untrust"}}});
    let made = through(server, &[foreign.clone(), json!({"message": "no CEF"}), decoded(HEARTBEAT)]);
    assert_eq!(made[..2], [foreign, json!({"message": "no CEF"})]);
    assert_eq!(at(&made[2], "event.kind"), "metric");
    assert_eq!(at(&made[2], "orchestrator.cluster.name"), "test-cluster");
    assert!(at(&made[2], "observer.ingress").is_null());
}

/// The queries of the rules pick the documents they must. (How Kibana counts them is Kibana's.)
#[test]
fn the_rules_ask_for_the_right_documents() {
    let Some(server) = servers::opensearch() else { return };
    let records = golden::everything(Format::Cef);
    let records: Vec<&str> = records.lines().chain([HEARTBEAT]).collect();
    let made = through(server, &records.iter().map(|record| decoded(record)).collect::<Vec<_>>());
    for rule in elastic_rules().iter().filter(|rule| rule["language"] == "kuery") {
        let query = kql::parse(rule["query"].as_str().expect("a query")).expect("KQL");
        let wanted = match rule["type"].as_str() {
            Some("threshold") => "act=deny ",
            _ => "act=allow ",
        };
        let mut found = 0;
        for (record, document) in records.iter().zip(&made) {
            let matches = query.matches(document);
            assert_eq!(matches, record.contains(wanted), "{}\n{record}", rule["rule_id"]);
            found += usize::from(matches);
            for field in [&rule["threshold"]["field"], &rule["new_terms_fields"]] {
                for name in field.as_array().into_iter().flatten().filter_map(Value::as_str).filter(|_| matches) {
                    assert!(at(document, name).is_string(), "{name} of {record}");
                }
            }
        }
        assert!(found >= 5, "{}: {found}", rule["rule_id"]);
    }
}

/// What sigma-cli made for OpenSearch is asked of it.
#[test]
fn the_converted_sigma_rules_find_their_documents() {
    let Some(server) = servers::opensearch() else { return };
    let records = golden::everything(Format::Cef);
    let records: Vec<&str> = records.lines().chain([HEARTBEAT]).collect();
    let index = format!("sigma-{}", std::process::id());
    let text = json!({"mappings": {"dynamic_templates": [{"all": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 8000}}}]}});
    server.ok(Method::PUT, &format!("/{index}"), Some(&text));
    let documents: Vec<String> = records.iter().map(|record| decoded(record).to_string()).collect();
    let items = server.bulk(&index, &documents);
    assert!(items.iter().all(|item| item["status"] == 201), "{items:?}");
    let queries = super::content::read("deploy/siem/sigma/converted/opensearch.lucene");
    let queries: Vec<&str> = queries.trim().split("\n\n").collect();
    for (query, wanted) in queries.iter().zip(["act=allow ", "act=deny ", "|tidegate:heartbeat|"]) {
        let body = json!({"query": {"query_string": {"query": query}}, "track_total_hits": true, "size": 0});
        let answer = server.ok(Method::POST, &format!("/{index}/_search"), Some(&body));
        let expected = records.iter().filter(|record| record.contains(wanted)).count();
        assert!(expected > 0, "{wanted}");
        assert_eq!(answer["hits"]["total"]["value"], expected, "{query}");
    }
    server.ok(Method::DELETE, &format!("/{index}"), None);
}

//! A probe: one document into a stream of its own, read back, its mapping looked at, and all of it removed.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::wire::{Answer, Wire};
use super::{NAME, SetupError};
use crate::decode::decode;
use crate::encode::ecs::{self, Encoder, FIELDS};
use crate::model::{Body, Event, FileKey, LineId, Origin};
use crate::net::product::{Kind, Product};

/// First part of the namespace of a probe's stream. The rights of `tidegate-setup` go by it.
const NAMESPACE: &str = "tidegate_verify";

/// A denied flow between two pods whose labels cannot stand beside each other as fields of their own.
const FLOW: &str = r#"{"start_time":1,"end_time":2,"source_ip":"192.0.2.1","source_name":"probe-1","source_name_aggr":"probe-*",
"source_namespace":"tidegate","source_port":40000,"source_type":"wep","source_labels":{"labels":["app=probe","app.kubernetes.io/name=probe"]},
"dest_ip":"2001:db8::1","dest_name":"-","dest_name_aggr":"pub","dest_namespace":"-","dest_port":443,"dest_type":"net","proto":"tcp",
"action":"deny","reporter":"src","policies":{"all_policies":["0|default|tidegate/default.probe|deny|0"]},"bytes_in":0,"bytes_out":60,
"packets_in":0,"packets_out":1,"num_flows":1,"num_flows_started":1,"num_flows_completed":0}"#;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub good: bool,
    pub text: String,
}

/// Runs the probe and says each finding on `out`. The stream is removed in any case.
pub async fn verify(wire: &Wire, product: Product, out: &mut dyn Write) -> Result<Vec<Check>, SetupError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let namespace = format!("{NAMESPACE}_{:x}_{}", now.as_secs(), std::process::id());
    let (id, document) = probe(&namespace, i64::try_from(now.as_millis()).unwrap_or_default());
    let mut probe = Probe { wire, product, stream: format!("{NAME}-{namespace}"), id, document, checks: Vec::new() };
    let result = probe.run().await;
    for check in &probe.checks {
        writeln!(out, "{}: {}", if check.good { "good" } else { "bad" }, check.text)?;
    }
    result.map(|()| probe.checks)
}

/// The document as the agent would write it.
fn probe(namespace: &str, now_ms: i64) -> (String, Value) {
    let line = FLOW.replace('\n', "");
    let key = FileKey::new(NAMESPACE, NAMESPACE, line.as_bytes());
    let id = LineId::new(Some(now_ms / 1000), key, 0, line.as_bytes());
    let mut scratch = String::new();
    let mut text = Vec::new();
    if let Ok(mut flow) = decode(line.as_bytes(), &mut scratch) {
        (flow.start_time, flow.end_time) = (Some(now_ms / 1000 - 1), Some(now_ms / 1000));
        let origin =
            Origin { cluster: NAMESPACE, node: NAMESPACE, path: None, offset: 0, id, read_at_ms: Some(now_ms) };
        let config = ecs::Config { namespace: namespace.to_owned(), ..ecs::Config::default() };
        Encoder::new(config).encode(&Event { origin, body: Body::Flow(&flow), zones: None }, &mut text);
    }
    let document: Value = serde_json::from_slice(&text).unwrap_or_default();
    (document["event"]["id"].as_str().unwrap_or_default().to_owned(), document)
}

struct Probe<'a> {
    wire: &'a Wire,
    product: Product,
    stream: String,
    id: String,
    document: Value,
    checks: Vec<Check>,
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<(), SetupError> {
        let Some(index) = self.write().await? else { return self.remove_what_was_made().await };
        let is_stream = index.starts_with(".ds-");
        let text = if is_stream {
            format!("the document is in the data stream {}", self.stream)
        } else {
            format!("the document went into a plain index: the index template {NAME} is missing; run `tidegate setup`")
        };
        self.say(is_stream, text);
        let looked = match self.read_back().await {
            Ok(()) => self.mapping().await,
            error => error,
        };
        let removed = self.remove(&index).await;
        looked.and(removed)
    }

    fn say(&mut self, good: bool, text: String) {
        self.checks.push(Check { good, text });
    }

    /// A right that is missing, or whatever else the server refused.
    fn refused(&mut self, what: &str, answer: &Answer, right: &str) {
        let grant = match answer.status {
            StatusCode::FORBIDDEN => format!("; grant {right}"),
            _ => String::new(),
        };
        self.say(false, format!("{what}: {}{grant}", answer.error()));
    }

    /// The index that it went into.
    async fn write(&mut self) -> Result<Option<String>, SetupError> {
        let guarded = self.product.kind == Kind::Elasticsearch && self.product.version >= (8, 13, 0);
        let guard = if guarded { "&require_data_stream=true" } else { "" };
        let path = format!("/{}/_create/{}?refresh=true{guard}", self.stream, self.id);
        let answer = self.wire.send(Method::PUT, &path, Some(&self.document)).await?;
        if answer.status.is_success() {
            return Ok(Some(answer.body["_index"].as_str().unwrap_or_default().to_owned()));
        }
        if answer.status == StatusCode::NOT_FOUND {
            self.say(false, format!("the index template {NAME} is missing; run `tidegate setup`"));
        } else {
            self.refused(
                "the document was not taken",
                &answer,
                "create_doc and auto_configure on logs-calico.flow-tidegate_verify_*",
            );
        }
        Ok(None)
    }

    async fn read_back(&mut self) -> Result<(), SetupError> {
        let query = json!({"query": {"ids": {"values": [self.id]}}});
        let answer = self.wire.send(Method::POST, &format!("/{}/_search", self.stream), Some(&query)).await?;
        if !answer.status.is_success() {
            self.refused("the document cannot be read back", &answer, "read on logs-calico.flow-*");
            return Ok(());
        }
        let hit = &answer.body["hits"]["hits"][0];
        // Not the whole source: where it is synthetic, lists may come back in another order.
        let same = [
            "/event/id",
            "/source/ip",
            "/destination/ip",
            "/calico/source/labels/app",
            "/calico/source/labels/app.kubernetes.io~1name",
        ]
        .iter()
        .all(|field| {
            let ours = self.document.pointer(field);
            ours.is_some() && hit["_source"].pointer(field) == ours
        });
        let text = if same {
            "it was found by its id, with the fields that were sent"
        } else {
            "it was not found as it was sent"
        };
        self.say(same, text.to_owned());
        let ignored: Vec<&str> = hit["_ignored"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = if ignored.is_empty() {
            "no field was ignored".to_owned()
        } else {
            format!("these fields were ignored, so they cannot be searched: {}", ignored.join(", "))
        };
        self.say(ignored.is_empty(), text);
        Ok(())
    }

    async fn mapping(&mut self) -> Result<(), SetupError> {
        let answer = self.wire.send(Method::GET, &format!("/{}/_mapping", self.stream), None).await?;
        if !answer.status.is_success() {
            let right = "view_index_metadata (indices:admin/mappings/get) on logs-calico.flow-*";
            self.refused("the mapping cannot be looked at", &answer, right);
            return Ok(());
        }
        let mappings = answer.body.as_object().and_then(|indices| indices.values().next()).unwrap_or(&Value::Null);
        let wrong = mistyped(&mappings["mappings"], self.product.kind);
        let text = if wrong.is_empty() {
            "every field has its type".to_owned()
        } else {
            let more = wrong.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("{}{more}; run `tidegate setup --diff`", wrong[..wrong.len().min(SHOWN)].join(", "))
        };
        self.say(wrong.is_empty(), text);
        Ok(())
    }

    /// A server makes the stream, or an index, before it refuses the document.
    async fn remove_what_was_made(&mut self) -> Result<(), SetupError> {
        for path in [format!("/_data_stream/{}", self.stream), format!("/{}", self.stream)] {
            if self.wire.send(Method::DELETE, &path, None).await?.status.is_success() {
                self.say(true, format!("{} is removed", self.stream));
                break;
            }
        }
        Ok(())
    }

    async fn remove(&mut self, index: &str) -> Result<(), SetupError> {
        let path = if index.starts_with(".ds-") {
            format!("/_data_stream/{}", self.stream)
        } else {
            format!("/{}", self.stream)
        };
        let answer = self.wire.send(Method::DELETE, &path, None).await?;
        if answer.has_no_handler() {
            // Where streams cannot be removed, the document can.
            let answer = self.wire.send(Method::DELETE, &format!("/{index}/_doc/{}", self.id), None).await?;
            let good = answer.status.is_success();
            let text = format!("this server removes no data streams; {} stays, empty", self.stream);
            self.say(good, if good { text } else { answer.error() });
        } else if answer.status.is_success() {
            self.say(true, format!("{} is removed", self.stream));
        } else {
            let right = "delete_index (indices:admin/data_stream/delete) on logs-calico.flow-tidegate_verify_*";
            self.refused(&format!("{} was not removed; remove it by hand", self.stream), &answer, right);
        }
        Ok(())
    }
}

/// Fields named in one message.
const SHOWN: usize = 5;

/// The fields of the table that have another type, then those that have none. Types that only save space are not looked at.
fn mistyped(mappings: &Value, kind: Kind) -> Vec<String> {
    let (mut wrong, mut missing) = (Vec::new(), Vec::new());
    for line in FIELDS.lines().skip(1) {
        let mut columns = line.split('\t');
        let (Some(name), Some(ours)) = (columns.next(), columns.next()) else { continue };
        let ours = match (ours, kind) {
            ("constant_keyword" | "match_only_text", _) => continue,
            ("flattened", Kind::OpenSearch) => "flat_object",
            (ours, _) => ours,
        };
        let pointer = format!("/properties/{}/type", name.replace('.', "/properties/"));
        match mappings.pointer(&pointer).and_then(Value::as_str) {
            Some(theirs) if theirs == ours => {}
            Some(theirs) => wrong.push(format!("{name} is {theirs}, should be {ours}")),
            None => missing.push(format!("{name} has no type, should be {ours}")),
        }
    }
    wrong.extend(missing);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_whole_document() {
        let (id, document) = probe("x", 1_700_000_000_000);
        assert_eq!(id.len(), 35);
        for (field, expected) in [
            ("/data_stream/namespace", "x"),
            ("/@timestamp", "2023-11-14T22:13:20.000Z"),
            ("/destination/ip", "2001:db8::1"),
            ("/rule/ruleset", "default"),
            ("/calico/source/labels/app.kubernetes.io~1name", "probe"),
        ] {
            assert_eq!(document.pointer(field).and_then(Value::as_str), Some(expected), "{field}");
        }
    }

    #[test]
    fn wrong_and_missing_types_are_named() {
        let shipped: Value =
            serde_json::from_str(include_str!("../../mappings/elasticsearch/component-mappings.json")).unwrap();
        let mut mappings = shipped["template"]["mappings"].clone();
        assert_eq!(mistyped(&mappings, Kind::Elasticsearch), [""; 0]);
        mappings["properties"]["source"]["properties"]["ip"]["type"] = "keyword".into();
        mappings["properties"].as_object_mut().unwrap().remove("@timestamp");
        let expected = ["source.ip is keyword, should be ip", "@timestamp has no type, should be date"];
        assert_eq!(mistyped(&mappings, Kind::Elasticsearch), expected);
        assert_eq!(mistyped(&mappings, Kind::OpenSearch)[2..].len(), 3, "three flattened fields");
    }
}

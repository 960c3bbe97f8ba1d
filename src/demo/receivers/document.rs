//! What a document must be, to be taken for a good one.

use jiff::Timestamp;
use serde_json::Value;

use super::is_id;
use crate::demo::traffic::zone_of;
use crate::model::event::UNKNOWN_ZONE;

/// What a document is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flow,
    /// A line that is no flow, with its error.
    Raw,
}

/// Reads a document and says what it is and what is wrong with it.
pub(super) fn check(id: &str, source: &[u8]) -> (Kind, Vec<String>) {
    let document: Value = match serde_json::from_slice(source) {
        Ok(document) => document,
        Err(error) => return (Kind::Raw, vec![format!("not JSON: {error}")]),
    };
    let mut check = Check { document: &document, faults: Vec::new() };
    check.identity(id);
    let kind = match check.text("/event/kind") {
        Some("pipeline_error") => Kind::Raw,
        _ => Kind::Flow,
    };
    match kind {
        Kind::Flow => check.flow(),
        Kind::Raw => check.raw(),
    }
    (kind, check.faults)
}

struct Check<'a> {
    document: &'a Value,
    faults: Vec<String>,
}

impl<'a> Check<'a> {
    fn identity(&mut self, id: &str) {
        if !is_id(id) {
            self.fault(format!("_id {id:?} is not 35 characters of -0-9A-Z_a-z"));
        }
        match self.document.as_object() {
            None => self.fault("not an object"),
            Some(object) => {
                if let Some(dotted) = object.keys().find(|key| key.contains('.')) {
                    self.fault(format!("{dotted:?} is a dotted key, not an object"));
                }
            }
        }
        self.equals("/event/id", id);
        self.time("/@timestamp");
        self.text("/ecs/version");
        self.text("/host/name");
        self.equals("/data_stream/type", "logs");
        self.equals("/data_stream/dataset", "calico.flow");
        self.equals("/event/dataset", "calico.flow");
        self.text("/data_stream/namespace");
    }

    fn flow(&mut self) {
        self.equals("/event/kind", "event");
        self.list("/event/category", &["network"]);
        let action = self.one_of("/calico/action", &["allow", "deny"]);
        let (kind, outcome) = if action == Some("deny") { ("denied", "failure") } else { ("allowed", "success") };
        self.list("/event/type", &["connection", kind]);
        self.equals("/event/outcome", outcome);
        let direction = self.one_of("/network/direction", &["ingress", "egress"]);
        self.list("/calico/reporter", &[if direction == Some("egress") { "src" } else { "dst" }]);
        self.one_of("/network/transport", &["tcp", "udp", "icmp"]);
        self.text("/source/address");
        self.text("/destination/address");
        self.window();
        self.sum("bytes");
        self.sum("packets");
        self.zone("/calico/source", "/observer/ingress/zone");
        self.zone("/calico/dest", "/observer/egress/zone");
    }

    fn raw(&mut self) {
        self.text("/error/type");
        self.text("/error/message");
        self.text("/event/original");
        for absent in ["/event/category", "/event/type", "/event/outcome"] {
            if self.document.pointer(absent).is_some() {
                self.fault(format!("{absent} has no place in an event that is no flow"));
            }
        }
    }

    /// `event.duration` is end − start in nanoseconds, and the event's time is the end.
    fn window(&mut self) {
        let (start, end, time) = (self.time("/event/start"), self.time("/event/end"), self.time("/@timestamp"));
        if end != time {
            self.fault("@timestamp is not event.end");
        }
        let (Some(start), Some(end)) = (start, end) else { return };
        let duration = self.document.pointer("/event/duration").and_then(Value::as_i64).map(i128::from);
        if duration != Some(end.as_nanosecond() - start.as_nanosecond()) {
            self.fault("event.duration is not event.end - event.start");
        }
    }

    fn sum(&mut self, what: &str) {
        let number = |side: &str| self.document.pointer(&format!("/{side}/{what}")).and_then(Value::as_u64);
        let (source, dest, network) = (number("source"), number("destination"), number("network"));
        if source.zip(dest).map(|(source, dest)| source + dest) != network || network.is_none() {
            self.fault(format!("network.{what} {network:?} is not source {source:?} + destination {dest:?}"));
        }
    }

    /// The zone that the demo's own table gives to this end.
    fn zone(&mut self, end: &str, path: &str) {
        let kind = self.text(&format!("{end}/type")).unwrap_or_default();
        let namespace = self.document.pointer(&format!("{end}/namespace")).and_then(Value::as_str);
        let zone = zone_of(kind, namespace).map_or(UNKNOWN_ZONE, |zone| zone.name());
        self.equals(path, zone);
    }

    fn text(&mut self, path: &str) -> Option<&'a str> {
        let text = self.document.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text.is_none() {
            self.fault(format!("{path} is missing"));
        }
        text
    }

    fn equals(&mut self, path: &str, expected: &str) {
        if let Some(text) = self.text(path)
            && text != expected
        {
            self.fault(format!("{path} is {text:?}, not {expected:?}"));
        }
    }

    fn one_of(&mut self, path: &str, allowed: &[&str]) -> Option<&'a str> {
        let text = self.text(path)?;
        if !allowed.contains(&text) {
            self.fault(format!("{path} is {text:?}, not one of {allowed:?}"));
        }
        Some(text)
    }

    fn list(&mut self, path: &str, expected: &[&str]) {
        let list = self.document.pointer(path).and_then(Value::as_array);
        let found: Vec<_> = list.into_iter().flatten().filter_map(Value::as_str).collect();
        if found != expected {
            self.fault(format!("{path} is {found:?}, not {expected:?}"));
        }
    }

    fn time(&mut self, path: &str) -> Option<Timestamp> {
        let text = self.text(path)?;
        let time = text.parse().ok();
        if time.is_none() {
            self.fault(format!("{path} is {text:?}, no RFC 3339 time"));
        }
        time
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::demo::receivers) const ID: &str = "0UBhBjCiYoxqbKs3n-----IHBMYSXzwW4E5";

    pub(in crate::demo::receivers) fn flow() -> Value {
        json!({
            "@timestamp": "2026-08-22T09:14:58.000Z",
            "ecs": {"version": "9.4.0"},
            "host": {"name": "node-1"},
            "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
            "event": {"id": ID, "kind": "event", "category": ["network"], "type": ["connection", "denied"],
                "outcome": "failure", "dataset": "calico.flow", "start": "2026-08-22T09:14:48.000Z",
                "end": "2026-08-22T09:14:58.000Z", "duration": 10_000_000_000_i64},
            "source": {"address": "10.0.0.1", "bytes": 60, "packets": 1},
            "destination": {"address": "ledger/ledger-db-*", "bytes": 0, "packets": 0},
            "network": {"bytes": 60, "packets": 1, "transport": "tcp", "direction": "ingress"},
            "observer": {"ingress": {"zone": "dmz"}, "egress": {"zone": "restricted"}},
            "calico": {"action": "deny", "reporter": ["dst"], "source": {"type": "wep", "namespace": "storefront"},
                "dest": {"type": "wep", "namespace": "ledger"}},
        })
    }

    fn raw() -> Value {
        json!({
            "@timestamp": "2026-08-22T09:14:58.000Z",
            "ecs": {"version": "9.4.0"},
            "host": {"name": "node-1"},
            "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
            "event": {"id": ID, "kind": "pipeline_error", "dataset": "calico.flow", "original": "{"},
            "error": {"type": "not_json", "message": "cut short"},
        })
    }

    #[test]
    fn good_documents() {
        assert_eq!(check(ID, flow().to_string().as_bytes()), (Kind::Flow, vec![]));
        assert_eq!(check(ID, raw().to_string().as_bytes()), (Kind::Raw, vec![]));
        assert_eq!(check(ID, b"{").1.len(), 1);
    }

    /// Sets one value (or, with null, takes it out) and expects one fault that names it.
    fn doctored(mut document: Value, path: &str, value: Value, fault: &str) {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        if value.is_null() {
            parent.remove(key);
        } else {
            parent.insert(key.to_owned(), value);
        }
        let (_, faults) = check(ID, document.to_string().as_bytes());
        assert!(faults.iter().any(|found| found.contains(fault)), "{path}: {faults:?} lacks {fault:?}");
    }

    #[test]
    fn every_check_can_fail() {
        let flow_cases = [
            ("/event/id", json!("another"), "/event/id"),
            ("/@timestamp", json!("22 August"), "no RFC 3339 time"),
            ("/@timestamp", json!("2026-08-22T09:14:59.000Z"), "@timestamp is not event.end"),
            ("/event/duration", json!(10), "event.duration"),
            ("/ecs", Value::Null, "/ecs/version is missing"),
            ("/host", Value::Null, "/host/name is missing"),
            ("/data_stream/type", json!("metrics"), "/data_stream/type"),
            ("/data_stream/dataset", json!("x"), "/data_stream/dataset"),
            ("/data_stream/namespace", Value::Null, "/data_stream/namespace"),
            ("/event/dataset", json!("x"), "/event/dataset"),
            ("/event/kind", json!("metric"), "/event/kind"),
            ("/event/category", json!("network"), "/event/category"),
            ("/event/type", json!(["connection", "allowed"]), "/event/type"),
            ("/event/outcome", json!("success"), "/event/outcome"),
            ("/calico/action", json!("pass"), "/calico/action"),
            ("/calico/reporter", json!("dst"), "/calico/reporter"),
            ("/calico/reporter", json!(["src"]), "/calico/reporter"),
            ("/network/direction", json!("up"), "/network/direction"),
            ("/network/transport", json!("TCP"), "/network/transport"),
            ("/source/address", Value::Null, "/source/address"),
            ("/destination/address", Value::Null, "/destination/address"),
            ("/network/bytes", json!(61), "network.bytes"),
            ("/source/packets", Value::Null, "network.packets"),
            ("/observer/ingress/zone", json!("restricted"), "/observer/ingress/zone"),
            ("/observer/egress", Value::Null, "/observer/egress/zone"),
            ("/event.id", json!("x"), "dotted key"),
        ];
        for (path, value, fault) in flow_cases {
            doctored(flow(), path, value, fault);
        }
        let raw_cases = [
            ("/error/type", Value::Null, "/error/type"),
            ("/error/message", Value::Null, "/error/message"),
            ("/event/original", Value::Null, "/event/original"),
            ("/event/outcome", json!("failure"), "no place"),
        ];
        for (path, value, fault) in raw_cases {
            doctored(raw(), path, value, fault);
        }
        assert!(check("short", flow().to_string().as_bytes()).1[0].contains("35 characters"));
        assert!(check(ID, b"[]").1[0].contains("not an object"));
    }
}

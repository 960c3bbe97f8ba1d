//! Holds the demo's expectations and checks against the rooms that it shows: what they make of its lines must satisfy it.

use super::receivers::{check_document, check_record};
use super::traffic::{Expected, Traffic, Zone};
use crate::decode;
use crate::encode::{ecs, record};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::{Body, Event, FileKey, LineId, Origin, RawLine, ZonePair};
use crate::zone::Table;

/// Lines looked at: enough for each route to turn up.
const LINES: usize = 6000;

fn origin(line: &str, offset: u64) -> Origin<'static> {
    let id = LineId::new(Some(1_787_390_098), FileKey(7), offset, line.as_bytes());
    Origin { cluster: "demo", node: "demo-node", path: None, offset, id, read_at_ms: Some(1_787_390_099_000) }
}

/// Hands every line as an event, with what is expected of it.
fn each_event(mut look: impl FnMut(&str, &Event<'_>, Expected)) {
    let (table, warnings) = Table::load(include_str!("zones.yaml")).expect("the demo's zones");
    assert!(warnings.is_empty(), "{warnings:#?}");
    let (mut traffic, mut scratch) = (Traffic::new(7, "demo-node"), String::new());
    for offset in 0..LINES {
        let line = traffic.next(1_787_390_098);
        let origin = origin(&line.text, offset as u64);
        match decode::decode(line.text.as_bytes(), &mut scratch) {
            Ok(flow) => {
                assert!(flow.extra.is_empty(), "unknown fields {:?} in {}", flow.extra, line.text);
                let zones = Some(table.classify(&flow));
                look(&line.text, &Event { origin, body: Body::Flow(&flow), zones }, line.expected);
            }
            Err(error) => {
                let raw = RawLine {
                    original: line.text.as_str().into(),
                    error_type: error.kind,
                    error_message: error.message,
                };
                look(&line.text, &Event { origin, body: Body::Raw(&raw), zones: None }, line.expected);
            }
        }
    }
}

#[test]
fn lines_are_what_they_are_meant_to_be() {
    each_event(|line, event, expected| {
        assert_eq!(matches!(event.body, Body::Flow(_)), expected.flow, "{line}");
        let name = |zone: Option<Zone>| zone.map_or(UNKNOWN_ZONE, Zone::name);
        let zones = ZonePair { source: name(expected.zones.0), dest: name(expected.zones.1) };
        assert_eq!(event.zones, expected.flow.then_some(zones), "{line}");
        assert_eq!(record::Filter::default().takes(event), expected.siem, "{line}");
    });
}

#[test]
fn documents_pass_the_receiver() {
    let mut encoder = ecs::Encoder::new(ecs::Config::default());
    let mut document = Vec::new();
    each_event(|line, event, _| {
        document.clear();
        encoder.encode(event, &mut document);
        let faults = check_document(event.origin.id.as_str(), &document);
        assert!(faults.is_empty(), "{faults:?}\n{line}\n{}", String::from_utf8_lossy(&document));
    });
}

#[test]
fn records_pass_the_receiver() {
    let mut encoder = record::Encoder::new(record::Config::default());
    let mut record = Vec::new();
    each_event(|line, event, expected| {
        if !expected.siem {
            return;
        }
        record.clear();
        encoder.encode(event, &mut record);
        let text = std::str::from_utf8(&record).expect("UTF-8");
        let faults = check_record(text);
        assert!(faults.is_empty(), "{faults:?}\n{line}\n{text}");
    });
}

//! One flow as an event object of the collector: the document or record in an envelope.
//!
//! `time` is when it happened (seconds with milliseconds), `host` the node. `fields` are indexed by Splunk beside the
//! event, so that counts by zone pair need no event to be read; they have the names of Splunk's common information model
//! (network traffic). The id of the line stands in the event, not there: indexed, it would cost more than it gives.
//! What Tidegate says of itself has the same labels and the same form, and no zones and no action.
//!
//! Format: Splunk's manual "Format events for HTTP Event Collector", event metadata.

use crate::encode::ecs;
use crate::encode::json::{self, key};
use crate::encode::record::own::Report;
use crate::encode::record::{self, Class, Marks};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::{Event, Flow};

/// What stands in `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The ECS document, as a JSON object.
    #[default]
    EcsJson,
    /// The CEF record, as a string.
    Cef,
}

impl Format {
    /// The source type where the user names none.
    pub const fn source_type(self) -> &'static str {
        match self {
            Self::EcsJson => "calico:flow",
            Self::Cef => "calico:flow:cef",
        }
    }
}

/// How events are labelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// `None`: the token's default index.
    pub index: Option<String>,
    pub source: String,
    /// `None`: by the format.
    pub source_type: Option<String>,
}

impl Default for Labels {
    fn default() -> Self {
        Self { index: None, source: "tidegate".to_owned(), source_type: None }
    }
}

pub struct Encoder {
    format: Format,
    /// `"source":…,"sourcetype":…,"index":…,`, made once.
    labels: Vec<u8>,
    ecs: ecs::Encoder,
    /// Records of flows in CEF, and of our own in either format.
    record: record::Encoder,
    max_record: usize,
    /// The record before it becomes a JSON string.
    scratch: Vec<u8>,
}

impl Encoder {
    pub fn new(format: Format, labels: &Labels, ecs: ecs::Config, record: record::Config) -> Self {
        let form = match format {
            Format::EcsJson => record::Format::EcsJson { cookie: false },
            Format::Cef => record::Format::Cef,
        };
        Self {
            format,
            labels: labels_of(format, labels),
            ecs: ecs::Encoder::new(ecs),
            max_record: record.max_record,
            record: record::Encoder::new(record::Config { format: form, ..record }),
            scratch: Vec::new(),
        }
    }

    /// Appends the object of a flow. Gives the octets of what stands in `event`, by which Splunk is paid.
    pub fn encode(
        &mut self,
        event: &Event<'_>,
        flow: &Flow<'_>,
        class: &Class,
        marks: Marks,
        out: &mut Vec<u8>,
    ) -> usize {
        open(out, record::event_time_ms(event), event.origin.node, &self.labels);
        put_fields(out, event, class);
        out.extend_from_slice(key!("event"));
        match self.format {
            Format::EcsJson => {
                let start = out.len();
                self.ecs.encode(event, out);
                record::mark_document(marks, out);
                let octets = out.len() - start;
                out.push(b'}');
                octets
            }
            Format::Cef => {
                self.scratch.clear();
                let frame = record::Frame { budget: self.max_record, sequence: None };
                self.record.encode_marked(event, flow, class, frame, marks, &mut self.scratch);
                self.put_text(out)
            }
        }
    }

    /// Appends the object of a record of our own: its class as `signature_id`, and no flow's id.
    pub fn encode_own(&mut self, report: &Report<'_>, out: &mut Vec<u8>) {
        open(out, Some(report.time_ms), report.node, &self.labels);
        let fields = json::object(out, key!("fields"));
        json::text(out, key!("signature_id"), &self.record.class_of(&report.what).id);
        json::text(out, key!("cluster"), report.cluster);
        json::close(out, fields);
        out.extend_from_slice(key!("event"));
        let frame = record::Frame { budget: self.max_record, sequence: None };
        match self.format {
            Format::EcsJson => {
                self.record.write_own(report, frame, out);
                out.push(b'}');
            }
            Format::Cef => {
                self.scratch.clear();
                self.record.write_own(report, frame, &mut self.scratch);
                self.put_text(out);
            }
        }
    }

    /// Ends an object with the record as a string, and gives its octets.
    fn put_text(&self, out: &mut Vec<u8>) -> usize {
        // A record is UTF-8 whatever its flow held.
        json::item(out, &String::from_utf8_lossy(&self.scratch));
        json::finish(out, b'}');
        self.scratch.len()
    }

    /// Records in which something was cut or left out.
    pub fn truncated(&self) -> u64 {
        self.record.truncated() + self.ecs.capped()
    }

    /// Records in which a character was replaced.
    pub fn sanitised(&self) -> u64 {
        self.record.sanitised()
    }
}

fn labels_of(format: Format, labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    json::text(&mut out, key!("source"), &labels.source);
    json::text(&mut out, key!("sourcetype"), labels.source_type.as_deref().unwrap_or(format.source_type()));
    if let Some(index) = &labels.index {
        json::text(&mut out, key!("index"), index);
    }
    out
}

fn open(out: &mut Vec<u8>, time_ms: Option<i64>, node: &str, labels: &[u8]) {
    out.push(b'{');
    // Without a time the collector takes its own.
    if let Some(millis) = time_ms.and_then(|millis| u64::try_from(millis).ok()) {
        out.extend_from_slice(key!("time"));
        out.extend_from_slice(itoa::Buffer::new().format(millis / 1000).as_bytes());
        let rest = millis % 1000;
        out.extend([b'.', digit(rest / 100), digit(rest / 10), digit(rest), b',']);
    }
    json::text(out, key!("host"), node);
    out.extend_from_slice(labels);
}

fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

fn put_fields(out: &mut Vec<u8>, event: &Event<'_>, class: &Class) {
    let (source, dest) = event.zones.map_or((UNKNOWN_ZONE, UNKNOWN_ZONE), |zones| (zones.source, zones.dest));
    let fields = json::object(out, key!("fields"));
    json::text(out, key!("src_zone"), source);
    json::text(out, key!("dest_zone"), dest);
    if let Some(action) = action(class) {
        json::text(out, key!("action"), action);
    }
    json::text(out, key!("signature_id"), &class.id);
    json::text(out, key!("cluster"), event.origin.cluster);
    json::close(out, fields);
}

/// The words of the common information model.
fn action(class: &Class) -> Option<&'static str> {
    match class.act? {
        "deny" => Some("blocked"),
        _ => Some("allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::Action;
    use crate::model::{Body, FileKey, LineId, Origin, ZonePair};

    fn object(format: Format, labels: &Labels, zones: Option<ZonePair<'_>>) -> serde_json::Value {
        let flow = Flow { action: Some(Action::Deny), end_time: Some(1_787_390_098), ..Flow::default() };
        let id = LineId::new(flow.end_time, FileKey(1), 0, b"line");
        let origin = Origin { cluster: "c", node: "node-\"1", path: None, offset: 0, id, read_at_ms: None };
        let event = Event { origin, body: Body::Flow(&flow), zones };
        let mut out = Vec::new();
        Encoder::new(format, labels, ecs::Config::default(), record::Config::default()).encode(
            &event,
            &flow,
            Class::of(&flow),
            Marks::default(),
            &mut out,
        );
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.starts_with(r#"{"time":1787390098.000,"host":"node-\"1","#), "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let id = id.as_str();
        match format {
            Format::EcsJson => assert_eq!(object["event"]["event"]["id"], id),
            Format::Cef => {
                let record = object["event"].as_str().expect("a string");
                assert!(record.starts_with("CEF:0|") && record.contains(&format!(" externalId={id} ")), "{record}");
            }
        }
        object
    }

    #[test]
    fn flows_in_their_envelope() {
        let zones = Some(ZonePair { source: "dmz", dest: "data" });
        let plain = object(Format::EcsJson, &Labels::default(), zones);
        assert_eq!((&plain["source"], &plain["sourcetype"]), (&"tidegate".into(), &"calico:flow".into()));
        assert_eq!(plain.get("index"), None, "the token's own");
        let fields = serde_json::json!({"src_zone": "dmz", "dest_zone": "data", "action": "blocked",
            "signature_id": "flow:deny", "cluster": "c"});
        assert_eq!(plain["fields"], fields);
        let labels = Labels { index: Some("net".into()), source: "calico".into(), source_type: Some("x:y".into()) };
        let cef = object(Format::Cef, &labels, None);
        assert_eq!(
            (&cef["index"], &cef["source"], &cef["sourcetype"]),
            (&"net".into(), &"calico".into(), &"x:y".into())
        );
        assert_eq!(cef["fields"]["src_zone"], UNKNOWN_ZONE);
        assert_eq!(object(Format::Cef, &Labels::default(), None)["sourcetype"], "calico:flow:cef");
    }

    #[test]
    fn what_an_event_says_of_its_making() {
        let marks = Marks { aggregated: true, sample_rate: Some(10) };
        let flow = Flow { end_time: Some(1_787_390_098), ..Flow::default() };
        let id = LineId::new(flow.end_time, FileKey(1), 0, b"line");
        let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
        let event = Event { origin, body: Body::Flow(&flow), zones: None };
        for format in [Format::EcsJson, Format::Cef] {
            let (ecs, record) = (ecs::Config::default(), record::Config::default());
            let (mut out, mut encoder) = (Vec::new(), Encoder::new(format, &Labels::default(), ecs, record));
            let octets = encoder.encode(&event, &flow, Class::of(&flow), marks, &mut out);
            let object: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            match format {
                Format::EcsJson => {
                    let labels = serde_json::json!({"tidegate_aggregated": "1", "tidegate_sample_rate": "10"});
                    assert_eq!(object["event"]["labels"], labels);
                    assert_eq!(octets, object["event"].to_string().len(), "the body alone");
                }
                Format::Cef => {
                    let record = object["event"].as_str().expect("a string");
                    assert!(record.ends_with(" type=1 TidegateSampleRate=10"), "{record}");
                    assert_eq!(octets, record.len());
                }
            }
        }
    }

    #[test]
    fn what_we_say_of_ourselves() {
        use crate::encode::record::own::What;
        for (format, what, class) in [
            (Format::EcsJson, What::Start, "tidegate:start"),
            (Format::Cef, What::Start, "tidegate:start"),
            (Format::EcsJson, What::Test(1), "test"),
        ] {
            let labels = Labels { index: Some("net".into()), ..Labels::default() };
            let mut encoder = Encoder::new(format, &labels, ecs::Config::default(), record::Config::default());
            let mut out = Vec::new();
            encoder.encode_own(&Report { cluster: "c", node: "n", time_ms: 1_787_390_098_007, what }, &mut out);
            let object: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert!(String::from_utf8_lossy(&out).starts_with(r#"{"time":1787390098.007,"host":"n","#));
            assert_eq!((&object["index"], &object["source"]), (&"net".into(), &"tidegate".into()));
            assert_eq!(object["sourcetype"], format.source_type());
            assert_eq!(object["fields"], serde_json::json!({"signature_id": class, "cluster": "c"}));
            match format {
                Format::EcsJson => assert_eq!(object["event"]["event"]["code"], class),
                Format::Cef => assert!(object["event"].as_str().expect("a string").contains(&format!("|{class}|"))),
            }
        }
    }

    #[test]
    fn milliseconds_keep_their_zeros() {
        for (millis, expected) in
            [(1_787_390_098_007, "1787390098.007"), (1_000, "1.000"), (1_999_999_999_120, "1999999999.120")]
        {
            let mut out = Vec::new();
            open(&mut out, Some(millis), "n", b"");
            assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"time\":{expected},\"host\":\"n\","));
        }
    }
}

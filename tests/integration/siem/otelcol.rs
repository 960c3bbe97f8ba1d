//! The sink against a real OpenTelemetry Collector: its syslog receiver reads RFC 5424 with a grammar of its own, and hands
//! on the message as it came beside what it read. Both are compared with what was meant.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};
use tidegate::encode::record::{Encoder, Format, Frame, event_time_ms};
use tidegate::model::{Body, Event};
use tidegate::sink::syslog::{Config, Framing, Target};

use super::golden;
use super::lane::{Lane, config, tls};
use super::parsers::strict_sd;
use super::receiver::certificates;
use crate::support::{self, Running, SOON, free_port, temp_dir, wait_until};

/// Starts it with a configuration; `None` when it is not there.
pub fn start(configuration: &Path) -> Option<Running> {
    let mut command = Command::new(support::root().join("tests/siem/otelcol/run"));
    let mut running = Running::start(command.arg(configuration));
    let is_ready = |running: &Running| running.said().contains("Everything is ready");
    wait_until("the collector to be ready or to end", SOON, || is_ready(&running) || running.has_ended());
    if running.has_ended() {
        let ran = running.wait(SOON);
        assert_eq!(ran.code(), Some(77), "{}{}", ran.stdout, ran.stderr);
        support::went_without("OpenTelemetry Collector", "tests/siem/get-otelcol builds it");
        return None;
    }
    Some(running)
}

/// A log record as the collector hands it on.
#[derive(Debug)]
pub struct Stored {
    pub body: String,
    /// Unix nanoseconds.
    pub time: String,
    pub attributes: Map<String, Value>,
}

impl Stored {
    /// The text of the record as it was sent, and its parameters where it is an element of structured data.
    #[track_caller]
    pub fn says(&self, record: &str) {
        let (parameters, text) = match record.starts_with("[flow@") {
            true => strict_sd(record),
            false => (Vec::new(), record.to_owned()),
        };
        let sent: Map<String, Value> = parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let data = self.attributes["structured_data"].as_object().expect("elements");
        let theirs = data.get("flow@32473").and_then(Value::as_object).cloned().unwrap_or_default();
        // The number of the record stands in an element of its own.
        assert_eq!(data.len(), 1 + usize::from(!sent.is_empty()), "{record}");
        assert_eq!(theirs, sent, "{record}");
        assert_eq!(self.attributes["message"], text, "{record}");
    }
}

/// What its file exporter wrote.
pub fn stored(file: &Path) -> Vec<Stored> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let exports = whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let each = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    exports
        .flat_map(|export: Value| each(&export, "resourceLogs"))
        .flat_map(|resource| each(&resource, "scopeLogs"))
        .flat_map(|scope| each(&scope, "logRecords"))
        .map(|record| Stored {
            body: record["body"]["stringValue"].as_str().expect("a text").to_owned(),
            time: record["timeUnixNano"].as_str().unwrap_or_default().to_owned(),
            attributes: pairs(&record["attributes"]),
        })
        .collect()
}

/// OTLP's values as JSON has them; numbers stay text, as they stand there.
fn pairs(list: &Value) -> Map<String, Value> {
    let plain = |value: &Value| match &value["kvlistValue"] {
        Value::Null => value.as_object().and_then(|value| value.values().next()).cloned().unwrap_or_default(),
        list => Value::Object(pairs(&list["values"])),
    };
    let pair = |pair: &Value| (pair["key"].as_str().expect("a key").to_owned(), plain(&pair["value"]));
    list.as_array().into_iter().flatten().map(pair).collect()
}

struct Collector {
    folder: tempfile::TempDir,
    ports: [u16; 3],
    _running: Running,
}

impl Collector {
    fn start() -> Option<Self> {
        let (folder, ports) = (temp_dir(), [(); 3].map(|()| free_port()));
        let template = support::root().join("tests/siem/otelcol/collector.yaml.in");
        let configuration = std::fs::read_to_string(template)
            .expect("a template")
            .replace("@DIR@", folder.path().to_str().expect("a plain path"))
            .replace("@CERTS@", certificates().to_str().expect("a plain path"))
            .replace("@TLS_PORT@", &ports[0].to_string())
            .replace("@TCP_PORT@", &ports[1].to_string())
            .replace("@UDP_PORT@", &ports[2].to_string());
        let file = folder.path().join("collector.yaml");
        std::fs::write(&file, configuration).expect("a configuration");
        let running = start(&file)?;
        Some(Self { folder, ports, _running: running })
    }

    fn config(&self, transport: &str, format: Format) -> Config {
        let host = "localhost".to_owned();
        let [tls, tcp, udp] = self.ports;
        let (target, framing) = match transport {
            "tls" => (Target::Tls { host, port: tls }, None),
            "tcp" => (Target::Tcp { host, port: tcp }, Some(Framing::Lf)),
            _ => (Target::Udp { host: "127.0.0.1".to_owned(), port: udp }, None),
        };
        Config { framing, record: golden::config(format), ..config(target) }
    }

    fn stored(&self, transport: &str) -> Vec<Stored> {
        stored(&self.folder.path().join(transport).with_extension("jsonl"))
    }

    /// Sends every record of every fixture, and compares.
    #[track_caller]
    fn check(&self, transport: &str, format: Format) {
        let before = self.stored(transport).len();
        let config = self.config(transport, format);
        let mut lane = Lane::new(config.clone());
        let mut sent = 0;
        // In portions that a datagram socket's buffer holds.
        for cases in golden::cases().chunks(if transport == "udp" { 8 } else { usize::MAX }) {
            sent += lane.send(cases) as usize;
            wait_until("what was sent", SOON, || self.stored(transport).len() >= before + sent);
        }
        let settled = lane.finish();
        if transport != "udp" {
            assert_eq!(settled, Some(sent as u64), "all of it settled by a clean end");
        }
        let arrived = self.stored(transport).split_off(before);
        assert_eq!(arrived.len(), sent);
        assert!(sent >= 60, "{sent} records prove too little");
        are_what_was_sent(&arrived, &config, transport == "tls");
    }
}

/// In order; a few flows are not sent, as other traces of one that was. `counted`: the collector leaves the length before the
/// message in place.
#[track_caller]
fn are_what_was_sent(arrived: &[Stored], config: &Config, counted: bool) {
    let (table, mut encoder) = (golden::all_cross(), Encoder::new(config.record.clone()));
    let mut next = 0;
    for case in golden::cases() {
        golden::each_event(&case, &table, |event| {
            let Some(stored) = arrived.get(next).filter(|_| config.filter.takes(event)) else { return };
            let (header, record) = message(&mut encoder, config, event, next + 1);
            let message = format!("{header}{record}");
            let length = if counted { format!("{} ", message.len()) } else { String::new() };
            if stored.body == format!("{length}{message}") {
                next += 1;
                is_read_rightly(stored, event, &header, &record, next);
            }
        });
    }
    assert!(next == arrived.len(), "{:?} was sent otherwise, or out of order", arrived[next]);
}

/// Header and record as they stand on the wire.
fn message(encoder: &mut Encoder, config: &Config, event: &Event<'_>, number: usize) -> (String, String) {
    let Body::Flow(flow) = event.body else { panic!("no flow") };
    let class = config.record.classes.of(event).expect("a class");
    let (mut header, mut record) = (Vec::new(), Vec::new());
    let sequence =
        config.header_writer().write(&mut header, class.syslog_severity, event_time_ms(event), number as u32);
    let frame = Frame { budget: config.max_message() - header.len(), sequence };
    encoder.encode_flow(event, flow, class, frame, &mut record);
    (String::from_utf8(header).expect("UTF-8"), String::from_utf8(record).expect("UTF-8"))
}

/// The fields of the header, the parameters of structured data, and the text behind them.
#[track_caller]
fn is_read_rightly(stored: &Stored, event: &Event<'_>, header: &str, record: &str, number: usize) {
    let read = &stored.attributes;
    let header: Vec<&str> = header.split(' ').collect();
    let priority = header[0].trim_start_matches('<').trim_end_matches(">1");
    for (name, expected) in [
        ("priority", priority),
        ("version", "1"),
        ("hostname", header[2]),
        ("appname", header[3]),
        ("proc_id", header[4]),
        ("msg_id", header[5]),
    ] {
        assert_eq!(read.get(name), Some(&expected.into()), "{name}: {stored:?}");
    }
    let time = event_time_ms(event).map_or(String::new(), |ms| (ms * 1_000_000).to_string());
    assert_eq!(stored.time, time);
    assert_eq!(read["structured_data"]["meta"]["sequenceId"], number.to_string());
    stored.says(record);
}

#[test]
fn hands_on_what_was_sent() {
    let Some(collector) = Collector::start() else { return };
    for transport in ["tls", "tcp", "udp"] {
        for (format, _) in golden::FORMATS {
            collector.check(transport, format);
        }
    }
}

#[test]
fn a_refused_client_certificate_is_seen() {
    let Some(collector) = Collector::start() else { return };
    for (client, reason) in [(None, "set certificate_file and key_file"), (Some("rogue-client"), "client certificate")]
    {
        let error = Lane::new(Config { tls: tls(client), ..collector.config("tls", Format::Cef) }).refused();
        assert!(error.contains(reason), "{client:?}: {error}");
    }
    assert_eq!(collector.stored("tls").len(), 0);
}

//! An [`Event`] as one ECS 9.4 document, written straight into the caller's buffer.
//!
//! What becomes what is the table `mappings/ecs/fields.tsv`; tests hold this code, the index templates and
//! deploy/docs/fields.md against it. Promises: valid JSON for whatever a line holds; nested objects, never dotted keys;
//! no empty objects or lists; no sentinel (`-`, `*`, null); no member twice; nothing that a mapping of the table refuses.
//! In the steady state a document costs no allocation. What it does not do: resolve zones, read clocks, add geography.

mod calico;
mod endpoints;
mod frame;
mod labels;
pub(super) mod time;

use crate::model::{Body, Event, Flow, RawLine};

use super::ProcessArgs;
use super::json::{self, key};
use frame::Frame;
use time::Stamp;

/// The version of the Elastic Common Schema that documents follow.
pub const ECS_VERSION: &str = "9.4.0";
/// `data_stream.dataset` and `event.dataset`.
pub const DATASET: &str = "calico.flow";
/// The truth about fields: what a document may hold, as tab-separated values.
pub const FIELDS: &str = include_str!("../../../mappings/ecs/fields.tsv");

/// Bytes of a raw line that `event.original` keeps. The line itself may be 1 MiB, which is a whole batch.
const MAX_ORIGINAL: usize = 64 * 1024;
const MAX_ERROR_MESSAGE: usize = 1024;

/// `event.outcome` of a denied flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeniedOutcome {
    /// The connection failed: as Elastic's own flow sources have it, and what its detection rules read as denied.
    #[default]
    Failure,
    /// The firewall did its job: as the ECS guide's example of a firewall has it.
    Success,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// `data_stream.namespace`: the last part of the data stream's name.
    pub namespace: String,
    pub denied_outcome: DeniedOutcome,
    pub process_args: ProcessArgs,
    /// `agent.version`.
    pub version: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            denied_outcome: DeniedOutcome::default(),
            process_args: ProcessArgs::default(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Config {
    /// The data stream that documents belong to.
    pub fn data_stream(&self) -> String {
        format!("logs-{DATASET}-{}", self.namespace)
    }
}

/// Encodes the events of one lane. It remembers what the last event had in common with the one before: its place, its
/// host, its times.
#[derive(Debug)]
pub struct Encoder {
    config: Config,
    frame: Frame,
    end: Stamp,
    start: Stamp,
    read: Stamp,
    capped: u64,
}

impl Encoder {
    pub fn new(config: Config) -> Self {
        Self {
            frame: Frame::new(&config),
            config,
            end: Stamp::default(),
            start: Stamp::default(),
            read: Stamp::default(),
            capped: 0,
        }
    }

    /// Appends one document, without a newline.
    pub fn encode(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event.body {
            Body::Flow(flow) => self.flow(event, flow, out),
            Body::Raw(raw) => self.raw(event, raw, out),
        }
    }

    /// How many labels, unknown fields, names and texts were cut or left out since the encoder was made, because they
    /// passed a limit.
    pub fn capped(&self) -> u64 {
        self.capped
    }

    fn flow(&mut self, event: &Event<'_>, flow: &Flow<'_>, out: &mut Vec<u8>) {
        let host = flow.host.as_deref().unwrap_or(event.origin.node);
        let end = time::from_seconds(flow.end_time);
        // A document without a time would be refused: a line without any is dated 1970 when there is no clock.
        let timestamp = end.or(time::from_millis(flow.timestamp_ms)).or(time::from_millis(event.origin.read_at_ms));
        self.open(out, timestamp, event);

        out.extend_from_slice(match flow.action {
            Some(crate::model::Action::Allow) => ALLOWED,
            Some(crate::model::Action::Deny) => match self.config.denied_outcome {
                DeniedOutcome::Failure => DENIED_FAILURE,
                DeniedOutcome::Success => DENIED_SUCCESS,
            },
            None => UNDECIDED,
        });
        self.window(out, time::from_seconds(flow.start_time), end);
        self.close_event(out, event);

        endpoints::write(out, flow, host, &mut self.capped);
        endpoints::rule(out, flow);
        self.frame.host(out, host);
        if let Some(zones) = event.zones {
            endpoints::zones(out, zones);
        }
        json::end(out, b'}');
        self.frame.orchestrator(out, event.origin.cluster);
        endpoints::orchestrator(out, flow);
        json::end(out, b'}');
        endpoints::process(out, flow, self.config.process_args);
        endpoints::tags(out, flow, event.zones);
        calico::write(out, flow, event.origin.offset, &mut self.capped);
        json::finish(out, b'}');
    }

    fn raw(&mut self, event: &Event<'_>, raw: &RawLine<'_>, out: &mut Vec<u8>) {
        self.open(out, time::from_millis(event.origin.read_at_ms), event);
        out.extend_from_slice(RAW);
        json::text(out, key!("original"), self.limited(&raw.original, MAX_ORIGINAL));
        self.close_event(out, event);
        let error = json::object(out, key!("error"));
        json::text(out, key!("type"), raw.error_type);
        json::text(out, key!("message"), self.limited(&raw.error_message, MAX_ERROR_MESSAGE));
        json::close(out, error);
        self.frame.host(out, event.origin.node);
        json::end(out, b'}');
        self.frame.orchestrator(out, event.origin.cluster);
        json::end(out, b'}');
        out.extend_from_slice(b"\"tags\":[\"calico\",\"forwarded\"],\"calico\":{");
        calico::offset(out, event.origin.offset);
        json::end(out, b'}');
        json::finish(out, b'}');
    }

    fn open(&mut self, out: &mut Vec<u8>, timestamp: Option<i64>, event: &Event<'_>) {
        out.push(b'{');
        self.end.write(out, key!("@timestamp"), timestamp.unwrap_or(0));
        self.frame.origin(out, &event.origin);
    }

    /// The aggregation window; not the life of the connection, which the log does not tell.
    fn window(&mut self, out: &mut Vec<u8>, start: Option<i64>, end: Option<i64>) {
        const NANOS_PER_MILLI: u64 = 1_000_000;
        if let Some(start) = start {
            self.start.write(out, key!("start"), start);
        }
        if let Some(end) = end {
            self.end.write(out, key!("end"), end);
        }
        if let (Some(start), Some(end)) = (start, end)
            && let Ok(millis) = u64::try_from(end - start)
            && let Some(nanos) = millis.checked_mul(NANOS_PER_MILLI).filter(|n| i64::try_from(*n).is_ok())
        {
            json::number(out, key!("duration"), nanos);
        }
    }

    /// The members of `event` that every document has.
    fn close_event(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        if let Some(read_at) = time::from_millis(event.origin.read_at_ms) {
            self.read.write(out, key!("created"), read_at);
            self.read.write(out, key!("ingested"), read_at);
        }
        out.extend_from_slice(b"\"id\":\"");
        out.extend_from_slice(event.origin.id.as_bytes());
        out.extend_from_slice(b"\"},");
    }

    fn limited<'t>(&mut self, text: &'t str, limit: usize) -> &'t str {
        let cut = json::cut(text, limit);
        self.capped += u64::from(cut.len() < text.len());
        cut
    }
}

macro_rules! event {
    ($type:literal, $action:literal, $outcome:literal) => {
        concat!(
            r#""event":{"kind":"event","category":["network"],"type":["#,
            $type,
            r#"],"action":""#,
            $action,
            r#"","outcome":""#,
            $outcome,
            r#"","module":"calico","dataset":"calico.flow","provider":"felix","#
        )
        .as_bytes()
    };
}

const ALLOWED: &[u8] = event!(r#""connection","allowed""#, "network_flow", "success");
const DENIED_FAILURE: &[u8] = event!(r#""connection","denied""#, "flow_denied", "failure");
const DENIED_SUCCESS: &[u8] = event!(r#""connection","denied""#, "flow_denied", "success");
const UNDECIDED: &[u8] = event!(r#""connection""#, "network_flow", "unknown");
const RAW: &[u8] = br#""event":{"kind":"pipeline_error","module":"calico","dataset":"calico.flow","provider":"felix","#;

#[cfg(test)]
mod tests;

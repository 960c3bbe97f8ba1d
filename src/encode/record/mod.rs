//! A cross-zone flow as one record of a SIEM, whatever its format.
//!
//! What a record says stands here once: which events become records ([`Filter`], [`Seen`]), of which kind ([`Class`]), which
//! facts they have ([`tell`]), how long each may be and which go first when all is too long ([`field`]), and how text that
//! others chose is made harmless ([`text`]). A format ([`super::cef`], [`super::leef`], [`super::structured_data`]) adds the
//! names of its keys, its head and what stands around a value.
//!
//! Promises: the keys, their order and their limits are those of `mappings/`; a value is never empty; the record is no
//! longer than it may be, and says so when something had to go; no allocation once the caller's buffer has grown.
//!
//! What Tidegate says of itself ([`own`]) has classes of its own and its facts in the same tables.
//!
//! Not here: the syslog header (the sink's).

mod class;
mod ecs_json;
mod explain;
pub mod field;
mod filter;
pub mod layout;
pub mod own;
mod seen;
mod tell;
pub(super) mod text;
mod writer;

pub use class::{CLASSES, Class, Classes, Look, MAX_RULES, OWN_CLASSES, Own, Rule, TEST_CLASS};
pub use ecs_json::mark_document;
pub use explain::Explained;
pub use field::Field;
pub use filter::{Connections, Filter, Flows, Verdict};
pub use seen::Seen;
pub use tell::{Tell, event_time_ms};
pub(super) use tell::{workload, zones};
pub use writer::Record;

use std::sync::Arc;

use self::ecs_json::EcsJson;
use self::layout::Layout;
use self::text::{Rules, Style, Writer};
use self::writer::{Finished, Spans};
use super::{ProcessArgs, cef, leef, structured_data};
use crate::model::{Body, Event, Flow};

/// The form of a record behind its syslog header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// ArcSight Common Event Format, `CEF:0|…`.
    #[default]
    Cef,
    /// IBM Log Event Extended Format, `LEEF:2.0|…`, with this octet between its keys.
    Leef { delimiter: u8 },
    /// An element of RFC 5424 structured data, `[flow@32473 …]`, and behind it a text for people if wanted.
    StructuredData { enterprise_id: u32, text: bool },
    /// The ECS document of the flow on one line, behind the word `@cee:` if wanted.
    EcsJson { cookie: bool },
}

impl Format {
    /// The record is a part of the RFC 5424 header's structured data, with no space before it.
    pub const fn is_element(self) -> bool {
        matches!(self, Self::StructuredData { .. })
    }

    /// Room without which a record of this format may not be.
    pub const fn min_record(self) -> usize {
        match self {
            Self::EcsJson { .. } => MIN_DOCUMENT,
            Self::Cef | Self::Leef { .. } | Self::StructuredData { .. } => MIN_RECORD,
        }
    }
}

/// Where IPv6 addresses go in CEF; the other formats have one place for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// `c6a2` and `c6a3` with their labels, as the specification has it for CEF:0.
    #[default]
    C6a,
    /// `src` and `dst`, which most parsers take.
    Native,
}

/// Vendors disagree on what CEF's `in` and `out` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bytes {
    /// `in` went from source to destination: the specification's text, and PAN-OS to version 10.
    #[default]
    Spec,
    /// `out` was sent by the source: FortiGate, and PAN-OS from version 10 on.
    Session,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub format: Format,
    /// Vendor, product and version name the sender in CEF and LEEF; receivers route by the first two.
    pub vendor: String,
    pub product: String,
    pub version: String,
    pub ipv6: Ipv6,
    pub bytes: Bytes,
    pub process_args: ProcessArgs,
    /// Longest record in octets, its syslog header included.
    pub max_record: usize,
    /// Which kinds of records there are.
    pub classes: Arc<Classes>,
}

/// Longest vendor and product in octets: what CEF allows.
pub const MAX_DEVICE: usize = 63;
/// What RFC 5425 receivers should take, and rsyslog's default.
pub const DEFAULT_MAX_RECORD: usize = 8192;
/// Room for the keys that are never left out.
pub const MIN_RECORD: usize = 1024;
/// Room for the least document of ECS JSON, behind any header.
pub const MIN_DOCUMENT: usize = 2048;

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::default(),
            vendor: "Tidegate".to_owned(),
            product: "Tidegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ipv6: Ipv6::default(),
            bytes: Bytes::default(),
            process_args: ProcessArgs::default(),
            max_record: DEFAULT_MAX_RECORD,
            classes: Arc::default(),
        }
    }
}

/// What the syslog header leaves to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Octets that the record may have.
    pub budget: usize,
    /// Written into the record where the header has no place for it.
    pub sequence: Option<u32>,
}

/// What a record says of its own making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// It stands for several lines.
    pub aggregated: bool,
    /// It is one of so many allowed flows.
    pub sample_rate: Option<u32>,
}

#[derive(Debug)]
pub struct Encoder {
    config: Config,
    body: BodyWriter,
    truncated: u64,
    sanitised: u64,
}

#[derive(Debug)]
enum BodyWriter {
    Facts(Box<Facts>),
    Document(Box<EcsJson>),
}

/// A format made of facts.
#[derive(Debug)]
struct Facts {
    layout: Layout,
    /// What stands before the keys, for each class.
    heads: Vec<Vec<u8>>,
    /// CEF's severities begin with 0, LEEF's with 1.
    least_severity: u8,
    tail: Tail,
}

/// What stands behind the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    None,
    /// `]` and, if so, a text for people.
    Element {
        text: bool,
    },
}

impl Encoder {
    pub fn new(config: Config) -> Self {
        let facts = |layout, head: &dyn Fn(&Class) -> Vec<u8>, least_severity, tail| {
            BodyWriter::Facts(Box::new(Facts {
                layout,
                heads: config.classes.all().iter().map(head).collect(),
                least_severity,
                tail,
            }))
        };
        let body = match config.format {
            Format::Cef => {
                facts(cef::layout(config.ipv6, config.bytes), &|class| cef::head(&config, class), 0, Tail::None)
            }
            Format::Leef { delimiter } => {
                facts(leef::layout(delimiter), &|class| leef::head(&config, class, delimiter), 1, Tail::None)
            }
            Format::StructuredData { enterprise_id, text } => {
                facts(structured_data::layout(), &|_| structured_data::head(enterprise_id), 0, Tail::Element { text })
            }
            Format::EcsJson { cookie } => BodyWriter::Document(Box::new(EcsJson::new(config.process_args, cookie))),
        };
        Self { config, body, truncated: 0, sanitised: 0 }
    }

    /// Appends the record of an event without a syslog header. An event that is no flow, or that a rule drops, leaves
    /// `out` as it is.
    pub fn encode(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let classes = Arc::clone(&self.config.classes);
        if let (Body::Flow(flow), Some(class)) = (event.body, classes.of(event)) {
            let frame = Frame { budget: self.config.max_record, sequence: None };
            self.encode_flow(event, flow, class, frame, out);
        }
    }

    /// As [`Encoder::encode`], for a caller who wrote a header before it and knows the class.
    pub fn encode_flow(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, frame: Frame, out: &mut Vec<u8>) {
        self.encode_marked(event, flow, class, frame, Marks::default(), out);
    }

    /// As [`Encoder::encode_flow`], for a flow that stands for others.
    pub fn encode_marked(
        &mut self,
        event: &Event<'_>,
        flow: &Flow<'_>,
        class: &Class,
        frame: Frame,
        marks: Marks,
        out: &mut Vec<u8>,
    ) {
        let args = self.config.process_args;
        match &mut self.body {
            BodyWriter::Facts(facts) => {
                let tell = |record: &mut Record<'_>| {
                    tell::flow(record, event, flow, class, args);
                    tell::marks(record, marks);
                };
                let text = |text: &mut Writer<'_>| structured_data::text(text, event, flow, class);
                let done = facts.write(class, frame, out, tell, text, None);
                self.count(done.truncated, done.sanitised);
            }
            BodyWriter::Document(document) => {
                let done = document.write(event, flow, frame, marks, out);
                self.count(done.truncated, done.sanitised);
            }
        }
    }

    fn count(&mut self, truncated: bool, sanitised: bool) {
        self.truncated += u64::from(truncated);
        self.sanitised += u64::from(sanitised);
    }

    /// Records in which a value was cut or a fact left out.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Records in which a character was replaced that none may hold.
    pub fn sanitised(&self) -> u64 {
        self.sanitised
    }
}

/// Octets of the text for people, at most; so many more are kept free as its name needs.
const MAX_TEXT: usize = 512;

static TEXT: Rules = Rules::new(Style::Plain);

impl Facts {
    fn write(
        &self,
        class: &Class,
        frame: Frame,
        out: &mut Vec<u8>,
        tell: impl FnOnce(&mut Record<'_>),
        text: impl FnOnce(&mut Writer<'_>),
        spans: Option<&mut Spans>,
    ) -> Finished {
        let start = out.len();
        out.extend_from_slice(&self.heads[class.index]);
        let mut record = Record::new(out, &self.layout);
        record.text(Field::Class, Some(&class.id));
        record.number(Field::Severity, Some(class.severity.max(self.least_severity).into()));
        tell(&mut record);
        let tail = match self.tail {
            Tail::None => 0,
            Tail::Element { text: false } => 1,
            // `] ` and the name of the class at least.
            Tail::Element { text: true } => 2 + class.name.len(),
        };
        let done = record.finish(start, frame.budget.saturating_sub(tail), frame.sequence);
        if let Some(spans) = spans {
            spans.clone_from(record.spans());
        }
        if let Tail::Element { text: wanted } = self.tail {
            out.push(b']');
            if wanted {
                out.push(b' ');
                let room = frame.budget.saturating_sub(out.len() - start).clamp(class.name.len(), MAX_TEXT);
                let mut writer = Writer::new(out, &TEXT, room);
                text(&mut writer);
                writer.finish();
            }
        }
        done
    }
}

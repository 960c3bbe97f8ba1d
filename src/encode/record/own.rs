//! Records that are no flow's: what Tidegate says of itself, so that a SIEM can tell a quiet network from a silent sender.
//!
//! They have classes of their own (`tidegate:…`, and `test`), no zones, no addresses and no `externalId`, and a count only of
//! flows that were held back: nothing that counts flows finds one too many in them. Numbers are of this process and only grow, but for lag and age.

use super::ecs_json::Labels;
use super::field::{COUNT, FIELDS, Field};
use super::tell::Tell;
use super::text::Writer;
use super::{BodyWriter, CLASSES, Encoder, Frame, Own, Record};
use crate::encode::ecs::time::{Stamp, from_millis};
use crate::encode::json::{self, key};
use crate::encode::{ecs, record};

/// One record of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    pub cluster: &'a str,
    pub node: &'a str,
    /// Unix milliseconds.
    pub time_ms: i64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `since_ms`: when the process started, in Unix milliseconds.
    Heartbeat {
        since_ms: i64,
        numbers: Numbers,
    },
    Start,
    Stop {
        since_ms: i64,
        numbers: Numbers,
    },
    Outage(Outage),
    Suppressed(Suppressed),
    /// Stands in place of this verdict of [`CLASSES`].
    Test(usize),
}

/// Of one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// Records handed to a connection, repeats included.
    pub sent: u64,
    /// Lines that are not for this destination, suppressed ones included.
    pub filtered: u64,
    pub suppressed: u64,
    pub dropped: u64,
    pub rewinds: u64,
    /// Of the log, not settled.
    pub lag_bytes: u64,
    /// Since the oldest unsettled line was read.
    pub oldest_seconds: u64,
}

/// A time without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outage {
    /// Unix milliseconds.
    pub from_ms: i64,
    pub until_ms: i64,
    /// Of the log, not settled when it ended: what is late.
    pub lag_bytes: u64,
    /// Records that were sent before and not settled: they may come again.
    pub repeated: u64,
}

/// Flows that were held back on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suppressed {
    /// Unix milliseconds.
    pub from_ms: i64,
    pub until_ms: i64,
    pub flows: u64,
    /// `limit` or `budget`.
    pub reason: &'static str,
    /// What they have in common, as `source.zone=dmz dest.port=22`.
    pub alike: Option<String>,
}

impl Outage {
    pub fn seconds(&self) -> u64 {
        u64::try_from(self.until_ms.saturating_sub(self.from_ms)).unwrap_or_default() / 1000
    }
}

impl What {
    const fn own(&self) -> Own {
        match self {
            Self::Heartbeat { .. } => Own::Heartbeat,
            Self::Start => Own::Start,
            Self::Stop { .. } => Own::Stop,
            Self::Outage(_) => Own::Outage,
            Self::Suppressed(_) => Own::Suppressed,
            Self::Test(verdict) => Own::Test(*verdict),
        }
    }

    const fn numbers(&self) -> Option<&Numbers> {
        match self {
            Self::Heartbeat { numbers, .. } | Self::Stop { numbers, .. } => Some(numbers),
            Self::Start | Self::Outage(_) | Self::Suppressed(_) | Self::Test(_) => None,
        }
    }

    /// Begin and end of what the record speaks of.
    const fn span(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Heartbeat { since_ms, .. } | Self::Stop { since_ms, .. } => (Some(*since_ms), None),
            Self::Outage(outage) => (Some(outage.from_ms), Some(outage.until_ms)),
            Self::Suppressed(held) => (Some(held.from_ms), Some(held.until_ms)),
            Self::Start | Self::Test(_) => (None, None),
        }
    }

    fn message(&self, classes: &record::Classes) -> Option<String> {
        match self {
            Self::Outage(outage) => Some(format!(
                "No connection for {} s; what happened meanwhile comes late, each record with its own time",
                outage.seconds()
            )),
            Self::Test(verdict) => {
                let class = classes.verdict(*verdict);
                Some(format!("Tidegate test record in place of {}; no flow stands behind it", class.id))
            }
            Self::Suppressed(held) => Some(match held.reason {
                "budget" => format!("{} allowed flows gave way to the budget of records a second", held.flows),
                _ => format!("{} flows beyond the limit of their key", held.flows),
            }),
            Self::Heartbeat { .. } | Self::Start | Self::Stop { .. } => None,
        }
    }

    const fn suppressed(&self) -> Option<&Suppressed> {
        if let Self::Suppressed(held) = self { Some(held) } else { None }
    }
}

/// A test record in place of each verdict.
pub fn tests() -> impl Iterator<Item = What> {
    (0..CLASSES.len()).map(What::Test)
}

impl Report<'_> {
    fn tell(&self, to: &mut impl Tell, category: &str, message: Option<&str>, version: &str) {
        let mut time = |field, time: Option<i64>| to.number(field, time.and_then(|time| u64::try_from(time).ok()));
        let (start, end) = self.what.span();
        time(Field::Time, Some(self.time_ms));
        time(Field::Start, start);
        time(Field::End, end);
        let held = self.what.suppressed();
        to.number(Field::Count, held.map(|held| held.flows.min(i32::MAX.unsigned_abs().into())));
        to.text(Field::Reason, held.map(|held| held.reason));
        to.text(Field::Category, Some(category));
        to.text(Field::Node, Some(self.node));
        to.join(Field::Sensor, [self.cluster, "/", self.node]);
        to.text(Field::Cluster, Some(self.cluster));
        let outage = match &self.what {
            What::Outage(outage) => Some(outage),
            _ => None,
        };
        let numbers = self.what.numbers();
        let of = |number: fn(&Numbers) -> u64| numbers.map(number);
        to.number(Field::Duration, outage.map(Outage::seconds));
        to.text(Field::Message, message);
        to.text(Field::Version, Some(version));
        to.number(Field::Sent, of(|numbers| numbers.sent));
        to.number(Field::Lag, of(|numbers| numbers.lag_bytes).or(outage.map(|outage| outage.lag_bytes)));
        to.number(Field::Oldest, of(|numbers| numbers.oldest_seconds));
        to.number(Field::Filtered, of(|numbers| numbers.filtered));
        to.number(Field::Suppressed, of(|numbers| numbers.suppressed));
        to.number(Field::Dropped, of(|numbers| numbers.dropped));
        to.number(Field::Rewinds, of(|numbers| numbers.rewinds));
        to.number(Field::Repeated, outage.map(|outage| outage.repeated));
        to.text(Field::Alike, held.and_then(|held| held.alike.as_deref()));
    }
}

impl Encoder {
    /// The kind of a record of our own.
    pub fn class_of(&self, what: &What) -> &record::Class {
        self.config.classes.own(what.own())
    }

    /// Appends a record of our own, without a syslog header.
    pub fn write_own(&mut self, report: &Report<'_>, frame: Frame, out: &mut Vec<u8>) {
        let classes = std::sync::Arc::clone(&self.config.classes);
        let class = classes.own(report.what.own());
        let message = report.what.message(&classes);
        let message = message.as_deref();
        match &mut self.body {
            BodyWriter::Facts(facts) => {
                let version = &self.config.version;
                let tell = |record: &mut Record<'_>| report.tell(record, class.category, message, version);
                let text = |text: &mut Writer<'_>| {
                    text.push(&class.name);
                };
                let done = facts.write(class, frame, out, tell, text, None);
                self.count(done.truncated, done.sanitised);
            }
            BodyWriter::Document(document) => {
                let mut members = Members::default();
                report.tell(&mut members, class.category, message, &self.config.version);
                let in_place_of = match report.what {
                    What::Test(verdict) => Some(&*classes.verdict(verdict).id),
                    _ => None,
                };
                // Its facts are few, and each has its limit: it is never too long.
                let write = |_: &mut _, out: &mut Vec<u8>| {
                    members.document(report, class, in_place_of, frame.sequence, out);
                };
                let done = document.wrap(Labels::default(), out, write);
                self.count(done.truncated, done.sanitised);
            }
        }
    }
}

/// Facts that wait for their place in a document.
struct Members([Option<String>; COUNT]);

impl Default for Members {
    fn default() -> Self {
        Self([const { None }; COUNT])
    }
}

impl Tell for Members {
    fn join<'t>(&mut self, field: Field, pieces: impl IntoIterator<Item = &'t str> + Clone) {
        let text: String = pieces.into_iter().collect();
        self.0[field as usize] = Some(json::cut(&text, field.spec().cut).to_owned()).filter(|text| !text.is_empty());
    }

    fn number(&mut self, field: Field, value: Option<u64>) {
        self.0[field as usize] = value.map(|value| value.to_string());
    }

    fn address(&mut self, _: Field, _: std::net::IpAddr) {}
}

/// Facts that are no field of ECS: under `labels`, as `tidegate_<fact>`.
const LABELS: [Field; 10] = [
    Field::Sent,
    Field::Lag,
    Field::Oldest,
    Field::Filtered,
    Field::Suppressed,
    Field::Dropped,
    Field::Rewinds,
    Field::Repeated,
    Field::Count,
    Field::Alike,
];

impl Members {
    fn get(&self, field: Field) -> Option<&str> {
        self.0[field as usize].as_deref()
    }

    fn document(
        &self,
        report: &Report<'_>,
        class: &record::Class,
        in_place_of: Option<&str>,
        sequence: Option<u32>,
        out: &mut Vec<u8>,
    ) {
        let mut stamp = Stamp::default();
        out.push(b'{');
        stamp.write(out, key!("@timestamp"), from_millis(Some(report.time_ms)).unwrap_or(0));
        let put = |out: &mut Vec<u8>, key: &[u8], field| {
            if let Some(value) = self.get(field) {
                json::text(out, key, value);
            }
        };
        put(out, key!("message"), Field::Message);
        let event = json::object(out, key!("event"));
        let dataset = class.id.strip_prefix("tidegate:").unwrap_or(&class.id);
        json::text(out, key!("kind"), "event");
        json::text(out, key!("module"), "tidegate");
        json::text(out, key!("dataset"), &format!("tidegate.{dataset}"));
        json::text(out, key!("code"), &class.id);
        json::text(out, key!("action"), in_place_of.unwrap_or(dataset));
        json::number(out, key!("severity"), class.severity.into());
        put(out, key!("reason"), Field::Reason);
        let (start, end) = report.what.span();
        for (key, time) in [(key!("start"), start), (key!("end"), end)] {
            if let Some(time) = from_millis(time) {
                stamp.write(out, key, time);
            }
        }
        if let What::Outage(outage) = report.what {
            json::number(out, key!("duration"), outage.seconds().saturating_mul(1_000_000_000));
        }
        json::close(out, event);
        let agent = json::object(out, key!("agent"));
        json::text(out, key!("type"), "tidegate");
        put(out, key!("version"), Field::Version);
        put(out, key!("name"), Field::Node);
        json::close(out, agent);
        let host = json::object(out, key!("host"));
        put(out, key!("name"), Field::Node);
        json::close(out, host);
        let orchestrator = json::object(out, key!("orchestrator"));
        let cluster = json::object(out, key!("cluster"));
        put(out, key!("name"), Field::Cluster);
        json::close(out, cluster);
        json::close(out, orchestrator);
        let tags = json::array(out, key!("tags"));
        json::item(out, class.category);
        json::close(out, tags);
        self.labels(sequence, out);
        let ecs = json::object(out, key!("ecs"));
        json::text(out, key!("version"), ecs::ECS_VERSION);
        json::close(out, ecs);
        json::finish(out, b'}');
    }

    fn labels(&self, sequence: Option<u32>, out: &mut Vec<u8>) {
        let labels = json::object(out, key!("labels"));
        for field in LABELS {
            if let Some(value) = self.get(field) {
                let name = format!("\"tidegate_{}\":", FIELDS[field as usize].name);
                json::text(out, name.as_bytes(), value);
            }
        }
        if let Some(sequence) = sequence {
            json::text(out, key!("tidegate_sequence"), itoa::Buffer::new().format(sequence));
        }
        json::close(out, labels);
    }
}

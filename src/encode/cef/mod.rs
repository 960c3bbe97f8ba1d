//! A cross-zone flow as one CEF:0 record, in the slots in which firewalls put theirs.
//!
//! Promises: the keys, their order and their limits are those of `mappings/cef/record.yaml`; a value is never empty;
//! text that others chose is made harmless ([`text`]'s rules); the record is no longer than it may be, and says so when
//! something had to go; no allocation once the caller's buffer has grown. Aggregated flows, which have no addresses, are
//! ordinary: rule, workloads, zones and counters carry them.
//!
//! Not here: the syslog header (the sink's), and whether an event becomes a record at all ([`Filter`]).
//!
//! Grammar: ArcSight Common Event Format (CEF) Implementation Standard. `CEF:0` because widely used receivers refuse 1.

pub mod keys;
mod record;
mod text;

use std::net::IpAddr;

use self::keys::Key;
use self::record::Record;
use self::text::{Place, Writer};
use super::ProcessArgs;
pub use super::record::{CLASSES, Class, Connections, Filter, Verdict};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::flow::{End, Seat};
use crate::model::net::Protocol;
use crate::model::{Body, EndpointType, Event, Flow, Reporter, ZonePair};

/// Where IPv6 addresses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// `c6a2` and `c6a3` with their labels, as the specification has it for CEF:0.
    #[default]
    C6a,
    /// `src` and `dst`, which most parsers take.
    Native,
}

/// Vendors disagree on what `in` and `out` are.
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
    /// Vendor, product and version name the sender; receivers route by the first two.
    pub vendor: String,
    pub product: String,
    pub version: String,
    pub ipv6: Ipv6,
    pub bytes: Bytes,
    pub process_args: ProcessArgs,
    /// Longest record in octets, its syslog header included.
    pub max_record: usize,
}

/// What RFC 5425 receivers should take, and rsyslog's default.
pub const DEFAULT_MAX_RECORD: usize = 8192;
/// Room for the keys that are never left out.
pub const MIN_RECORD: usize = 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            vendor: "Tidegate".to_owned(),
            product: "Tidegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ipv6: Ipv6::default(),
            bytes: Bytes::default(),
            process_args: ProcessArgs::default(),
            max_record: DEFAULT_MAX_RECORD,
        }
    }
}

/// What the syslog header leaves to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Octets that the record may have.
    pub budget: usize,
    /// Written as `TidegateSequence` where the header has no place for it.
    pub sequence: Option<u32>,
}

#[derive(Debug)]
pub struct Encoder {
    config: Config,
    /// `CEF:0|…|` of each class.
    headers: [Vec<u8>; CLASSES.len()],
    truncated: u64,
    sanitised: u64,
}

impl Encoder {
    pub fn new(config: Config) -> Self {
        let headers = CLASSES.each_ref().map(|class| header(&config, class));
        Self { config, headers, truncated: 0, sanitised: 0 }
    }

    /// Appends the record of an event without a syslog header. An event that is no flow leaves `out` as it is.
    pub fn encode(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if let Body::Flow(flow) = event.body {
            let frame = Frame { budget: self.config.max_record, sequence: None };
            self.encode_flow(event, flow, Class::of(flow), frame, out);
        }
    }

    /// As [`Encoder::encode`], for a caller who wrote a header before it and knows the class.
    pub fn encode_flow(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, frame: Frame, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.headers[class.index]);
        let mut record = Record::new(out);
        put_times(&mut record, event, flow);
        record.text(Key::Act, class.act);
        record.text(Key::Outcome, class.outcome);
        self.put_addresses(&mut record, flow);
        self.put_counters(&mut record, flow);
        record.text(Key::Reason, class.reason);
        put_names(&mut record, flow);
        self.put_process(&mut record, flow);
        put_origin(&mut record, event);
        put_custom(&mut record, event, flow);
        let finished = record.finish(start, frame.budget, frame.sequence);
        self.truncated += u64::from(finished.truncated);
        self.sanitised += u64::from(finished.sanitised);
    }

    /// Records in which a value was cut or a key left out.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Records in which a character was replaced.
    pub fn sanitised(&self) -> u64 {
        self.sanitised
    }

    fn put_addresses(&self, record: &mut Record<'_>, flow: &Flow<'_>) {
        let mut put = |ip: Option<IpAddr>, plain, six| {
            if let Some(ip) = ip {
                let key = if ip.is_ipv6() && self.config.ipv6 == Ipv6::C6a { six } else { plain };
                record.address(key, ip);
            }
        };
        put(flow.source.ip, Key::Src, Key::SourceIpv6);
        put(flow.dest.ip, Key::Dst, Key::DestinationIpv6);
        record.number(Key::Spt, flow.source.port.map(u64::from));
        record.number(Key::Dpt, flow.dest.port.map(u64::from));
        if let Some(protocol) = flow.protocol {
            put_protocol(record, protocol);
        }
        record.text(Key::App, flow.service.port_name.as_deref());
    }

    fn put_counters(&self, record: &mut Record<'_>, flow: &Flow<'_>) {
        // A 32-bit number in CEF:0; a line stands for one flow at least.
        record.number(Key::Cnt, Some(flow.num_flows.unwrap_or(1).clamp(1, i32::MAX.unsigned_abs().into())));
        let bytes = flow.bytes();
        let (sent, received) = (bytes.source, bytes.destination);
        let (incoming, outgoing) = match self.config.bytes {
            Bytes::Spec => (sent, received),
            Bytes::Session => (received, sent),
        };
        record.number(Key::In, incoming.filter(fits_long));
        record.number(Key::Out, outgoing.filter(fits_long));
        let direction = match flow.reporter.map(Reporter::seat) {
            Some(Seat::Destination) => Some(0),
            Some(Seat::Source) => Some(1),
            Some(Seat::Forwarder) | None => None,
        };
        record.number(Key::DeviceDirection, direction);
    }

    /// The process at the reporting end. Its arguments only if asked for: they often hold secrets.
    fn put_process(&self, record: &mut Record<'_>, flow: &Flow<'_>) {
        let key = match flow.reporter.map(Reporter::seat) {
            Some(Seat::Source) => Key::Sproc,
            Some(Seat::Destination) => Key::Dproc,
            Some(Seat::Forwarder) | None => return,
        };
        let Some(name) = flow.process.name.as_deref() else { return };
        let args: &[_] = match self.config.process_args {
            ProcessArgs::Keep => &flow.process.args,
            ProcessArgs::Redact | ProcessArgs::Drop => &[],
        };
        record.join_all(key, std::iter::once(name).chain(args.iter().flat_map(|arg| [" ", arg])));
    }
}

fn header(config: &Config, class: &Class) -> Vec<u8> {
    let mut out = b"CEF:0|".to_vec();
    let severity = class.severity.to_string();
    let limits = [(&*config.vendor, 63), (&config.product, 63), (&config.version, 31), (class.id, 1023)];
    for (text, cut) in limits.into_iter().chain([(class.name, 512), (&severity, 2)]) {
        let written = Writer::new(&mut out, Place::Header, cut).push(text).finish();
        out.extend_from_slice(if written.empty { b"-|" } else { b"|" });
    }
    out
}

/// The event's time in Unix milliseconds: what happened, not what the clock says now.
pub fn event_time_ms(event: &Event<'_>) -> Option<i64> {
    let flow_time = match event.body {
        Body::Flow(flow) => {
            millis(flow.end_time).or(flow.timestamp_ms.filter(has_13_digits)).or(millis(flow.start_time))
        }
        Body::Raw(_) => None,
    };
    flow_time.or(event.origin.read_at_ms.filter(has_13_digits))
}

fn put_times(record: &mut Record<'_>, event: &Event<'_>, flow: &Flow<'_>) {
    let mut put = |key, time: Option<i64>| record.number(key, time.map(i64::unsigned_abs));
    put(Key::Rt, event_time_ms(event));
    put(Key::Start, millis(flow.start_time));
    put(Key::End, millis(flow.end_time));
}

fn millis(seconds: Option<i64>) -> Option<i64> {
    seconds?.checked_mul(1000).filter(has_13_digits)
}

/// Receivers tell milliseconds by their 13 digits (years 2001 to 2286); any other number is taken for something else.
fn has_13_digits(millis: &i64) -> bool {
    (1_000_000_000_000..10_000_000_000_000).contains(millis)
}

fn fits_long(value: &u64) -> bool {
    i64::try_from(*value).is_ok()
}

fn put_protocol(record: &mut Record<'_>, protocol: Protocol) {
    let mut upper = [0; 16];
    match protocol.keyword().map(str::as_bytes) {
        Some(keyword) if keyword.len() <= upper.len() => {
            let upper = &mut upper[..keyword.len()];
            upper.copy_from_slice(keyword);
            upper.make_ascii_uppercase();
            record.text(Key::Proto, std::str::from_utf8(upper).ok());
        }
        _ => record.text(Key::Proto, Some(itoa::Buffer::new().format(protocol.0))),
    }
}

fn put_names(record: &mut Record<'_>, flow: &Flow<'_>) {
    record.text(Key::Shost, host_name(&flow.source));
    record.text(Key::Dhost, host_name(&flow.dest).or(flow.dest_domains.first().map(AsRef::as_ref)));
    let service = &flow.service;
    let Some(name) = service.name.as_deref() else { return };
    let mut number = itoa::Buffer::new();
    let port = service.port_name.as_deref().or(service.port.map(|port| number.format(port)));
    let (namespace, slash) = prefix(service.namespace.as_deref());
    let (colon, port) = port.map_or(("", ""), |port| (":", port));
    record.join(Key::DestinationServiceName, &[namespace, slash, name, colon, port]);
}

/// The end's name where it is a machine's: a pod's, or the node's of a host endpoint (whose own name is an object's). An
/// aggregated pod name that ends with `*` stands for many.
fn host_name<'f>(end: &'f End<'_>) -> Option<&'f str> {
    let whole = end.name_aggr.as_deref().filter(|name| !name.ends_with('*'));
    match end.kind? {
        EndpointType::Workload => end.name.as_deref().or(whole),
        EndpointType::Host => whole.or(end.name.as_deref()),
        EndpointType::NetworkSet | EndpointType::Network => None,
    }
}

fn put_origin(record: &mut Record<'_>, event: &Event<'_>) {
    let origin = &event.origin;
    record.text(Key::Cat, Some("traffic:cross-zone"));
    record.text(Key::Dvchost, Some(origin.node));
    record.join(Key::DeviceExternalId, &[origin.cluster, "/", origin.node]);
    record.text(Key::ExternalId, Some(origin.id.as_str()));
}

fn put_custom(record: &mut Record<'_>, event: &Event<'_>, flow: &Flow<'_>) {
    record.text(Key::Rule, flow.deciding().map(|hit| without_index(hit.raw)));
    put_workload(record, Key::SourceWorkload, &flow.source);
    put_workload(record, Key::DestinationWorkload, &flow.dest);
    let zones = event.zones.unwrap_or(ZonePair { source: UNKNOWN_ZONE, dest: UNKNOWN_ZONE });
    record.text(Key::SourceZone, Some(zones.source));
    record.text(Key::DestinationZone, Some(zones.dest));
    record.text(Key::Cluster, Some(event.origin.cluster));
    let duration = flow.start_time.zip(flow.end_time).and_then(|(start, end)| end.checked_sub(start));
    record.number(Key::Duration, duration.and_then(|seconds| u64::try_from(seconds).ok()));
    let packets = flow.packets();
    record.number(Key::PacketsSent, packets.source.filter(fits_long));
    record.number(Key::PacketsReceived, packets.destination.filter(fits_long));
}

/// `tier|namespace/policy|action|rule` of a policy string: its place in the list says nothing to an analyst.
fn without_index(raw: &str) -> &str {
    raw.split_once('|').map_or(raw, |(_, rest)| rest)
}

fn put_workload(record: &mut Record<'_>, key: Key, end: &End<'_>) {
    let Some(name) = end.name_aggr.as_deref().or(end.name.as_deref()) else { return };
    let (namespace, slash) = prefix(end.namespace.as_deref());
    record.join(key, &[namespace, slash, name]);
}

fn prefix(namespace: Option<&str>) -> (&str, &'static str) {
    namespace.map_or(("", ""), |namespace| (namespace, "/"))
}

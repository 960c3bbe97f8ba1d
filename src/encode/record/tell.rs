//! Which facts a flow's record has, and with which values: the same in every format.

use std::net::IpAddr;

use super::field::Field;
use super::{Class, Marks};
use crate::encode::ProcessArgs;
use crate::model::event::UNKNOWN_ZONE;
use crate::model::flow::{End, Seat};
use crate::model::net::Protocol;
use crate::model::{Body, EndpointType, Event, Flow, Reporter, ZonePair};

/// Takes facts in the order of [`Field`]. An absent or empty value leaves no fact.
pub trait Tell {
    /// A text of several pieces.
    fn join<'t>(&mut self, field: Field, pieces: impl IntoIterator<Item = &'t str> + Clone);
    fn number(&mut self, field: Field, value: Option<u64>);
    fn address(&mut self, field: Field, value: IpAddr);

    fn text(&mut self, field: Field, value: Option<&str>) {
        if let Some(value) = value {
            self.join(field, [value]);
        }
    }

    /// A word that we chose, not the log: letters, digits, `:`, `.`, `_` and `-`, none of them a receiver's token.
    fn word(&mut self, field: Field, value: Option<&str>) {
        self.text(field, value);
    }
}

/// Tells a flow. Aggregated flows, which have no addresses, are ordinary: rule, workloads, zones and counters carry them.
pub(super) fn flow(to: &mut impl Tell, event: &Event<'_>, flow: &Flow<'_>, class: &Class, args: ProcessArgs) {
    times(to, event, flow);
    to.word(Field::Action, class.act);
    to.word(Field::Outcome, class.outcome);
    addresses(to, flow);
    counters(to, flow);
    to.word(Field::Reason, class.reason);
    names(to, flow);
    process(to, flow, args);
    origin(to, event, class);
    context(to, event, flow);
}

/// What a record says of its own making, behind all that it says of the flow.
pub(super) fn marks(to: &mut impl Tell, marks: Marks) {
    to.number(Field::Aggregated, marks.aggregated.then_some(1));
    to.number(Field::SampleRate, marks.sample_rate.map(u64::from));
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

fn times(to: &mut impl Tell, event: &Event<'_>, flow: &Flow<'_>) {
    let mut put = |field, time: Option<i64>| to.number(field, time.map(i64::unsigned_abs));
    put(Field::Time, event_time_ms(event));
    put(Field::Start, millis(flow.start_time));
    put(Field::End, millis(flow.end_time));
}

fn millis(seconds: Option<i64>) -> Option<i64> {
    seconds?.checked_mul(1000).filter(has_13_digits)
}

/// Receivers tell milliseconds by their 13 digits (years 2001 to 2286); any other number is taken for something else.
fn has_13_digits(millis: &i64) -> bool {
    (1_000_000_000_000..10_000_000_000_000).contains(millis)
}

fn addresses(to: &mut impl Tell, flow: &Flow<'_>) {
    let mut put = |ip: Option<IpAddr>, four, six| {
        if let Some(ip) = ip {
            to.address(if ip.is_ipv6() { six } else { four }, ip);
        }
    };
    put(flow.source.ip, Field::SourceIp, Field::SourceIpv6);
    put(flow.dest.ip, Field::DestinationIp, Field::DestinationIpv6);
    to.number(Field::SourcePort, flow.source.port.map(u64::from));
    to.number(Field::DestinationPort, flow.dest.port.map(u64::from));
    if let Some(number) = flow.protocol {
        protocol(to, number);
    }
    to.text(Field::Application, flow.service.port_name.as_deref());
}

fn protocol(to: &mut impl Tell, protocol: Protocol) {
    let mut upper = [0; 16];
    match protocol.keyword().map(str::as_bytes) {
        Some(keyword) if keyword.len() <= upper.len() => {
            let upper = &mut upper[..keyword.len()];
            upper.copy_from_slice(keyword);
            upper.make_ascii_uppercase();
            to.word(Field::Protocol, std::str::from_utf8(upper).ok());
        }
        _ => to.word(Field::Protocol, Some(itoa::Buffer::new().format(protocol.0))),
    }
}

fn counters(to: &mut impl Tell, flow: &Flow<'_>) {
    // A 32-bit number in CEF:0; a line stands for one flow at least.
    to.number(Field::Count, Some(flow.num_flows.unwrap_or(1).clamp(1, i32::MAX.unsigned_abs().into())));
    let bytes = flow.bytes();
    to.number(Field::SourceBytes, bytes.source.filter(fits_long));
    to.number(Field::DestinationBytes, bytes.destination.filter(fits_long));
    let direction = match flow.reporter.map(Reporter::seat) {
        Some(Seat::Destination) => Some(0),
        Some(Seat::Source) => Some(1),
        Some(Seat::Forwarder) | None => None,
    };
    to.number(Field::Direction, direction);
}

fn fits_long(value: &u64) -> bool {
    i64::try_from(*value).is_ok()
}

fn names(to: &mut impl Tell, flow: &Flow<'_>) {
    to.text(Field::SourceHost, host_name(&flow.source));
    to.text(Field::DestinationHost, host_name(&flow.dest).or(flow.dest_domains.first().map(AsRef::as_ref)));
    let service = &flow.service;
    let Some(name) = service.name.as_deref() else { return };
    let mut number = itoa::Buffer::new();
    let port = service.port_name.as_deref().or(service.port.map(|port| number.format(port)));
    let (namespace, slash) = prefix(service.namespace.as_deref());
    let (colon, port) = port.map_or(("", ""), |port| (":", port));
    to.join(Field::Service, [namespace, slash, name, colon, port]);
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

/// The process at the reporting end. Its arguments only if asked for: they often hold secrets.
fn process(to: &mut impl Tell, flow: &Flow<'_>, args: ProcessArgs) {
    let field = match flow.reporter.map(Reporter::seat) {
        Some(Seat::Source) => Field::SourceProcess,
        Some(Seat::Destination) => Field::DestinationProcess,
        Some(Seat::Forwarder) | None => return,
    };
    let Some(name) = flow.process.name.as_deref() else { return };
    let args: &[_] = match args {
        ProcessArgs::Keep => &flow.process.args,
        ProcessArgs::Redact | ProcessArgs::Drop => &[],
    };
    to.join(field, std::iter::once(name).chain(args.iter().flat_map(|arg| [" ", arg])));
}

fn origin(to: &mut impl Tell, event: &Event<'_>, class: &Class) {
    let origin = &event.origin;
    to.word(Field::Category, Some(class.category));
    to.text(Field::Node, Some(origin.node));
    to.join(Field::Sensor, [origin.cluster, "/", origin.node]);
    to.word(Field::Id, Some(origin.id.as_str()));
}

fn context(to: &mut impl Tell, event: &Event<'_>, flow: &Flow<'_>) {
    to.text(Field::Rule, flow.decided_by().map(without_index));
    to.join(Field::SourceWorkload, workload(&flow.source));
    to.join(Field::DestinationWorkload, workload(&flow.dest));
    let zones = zones(event);
    to.text(Field::SourceZone, Some(zones.source));
    to.text(Field::DestinationZone, Some(zones.dest));
    to.text(Field::Cluster, Some(event.origin.cluster));
    let duration = flow.start_time.zip(flow.end_time).and_then(|(start, end)| end.checked_sub(start));
    to.number(Field::Duration, duration.and_then(|seconds| u64::try_from(seconds).ok()));
    let packets = flow.packets();
    to.number(Field::SourcePackets, packets.source.filter(fits_long));
    to.number(Field::DestinationPackets, packets.destination.filter(fits_long));
}

pub(in crate::encode) fn zones<'e>(event: &Event<'e>) -> ZonePair<'e> {
    event.zones.unwrap_or(ZonePair { source: UNKNOWN_ZONE, dest: UNKNOWN_ZONE })
}

/// `tier|namespace/policy|action|rule` of a policy string: its place in the list says nothing to an analyst.
fn without_index(raw: &str) -> &str {
    raw.split_once('|').map_or(raw, |(_, rest)| rest)
}

/// `namespace/name` in pieces; nothing where the log names none.
pub(in crate::encode) fn workload<'f>(end: &'f End<'_>) -> [&'f str; 3] {
    let Some(name) = end.name_aggr.as_deref().or(end.name.as_deref()) else { return [""; 3] };
    let (namespace, slash) = prefix(end.namespace.as_deref());
    [namespace, slash, name]
}

fn prefix(namespace: Option<&str>) -> (&str, &'static str) {
    namespace.map_or(("", ""), |namespace| (namespace, "/"))
}

//! A tree against an event.

use std::cell::OnceCell;
use std::net::IpAddr;

use super::Query;
use super::field::{Field, Id, Side};
use super::tree::{Check, Node, Order, Pair, Test};
use crate::model::flow::{End, Traffic};
use crate::model::trace::{Hit, HitAction, PolicyKind};
use crate::model::{Action, Body, EndpointType, Event, Flow, ZonePair};

/// A value of a field. Words (verdict, type, …) are text in their one spelling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(i128),
    Address(IpAddr),
    Flag,
}

/// An event that is asked, and what is worked out of it once.
pub struct Subject<'e> {
    event: &'e Event<'e>,
    flow: &'e Flow<'e>,
    deciding: OnceCell<Option<Hit<'e>>>,
}

impl Query {
    /// Whether it holds for an event. For a line that is no flow nothing holds, `not` included.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        let Body::Flow(flow) = event.body else { return false };
        self.root.holds(&Subject { event, flow, deciding: OnceCell::new() })
    }
}

impl Node {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(subject)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(subject)),
            Self::Not(inner) => !inner.holds(subject),
            Self::Test(test) => test.holds(subject),
        }
    }
}

impl Test {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Field(field, check) => field.any(subject, |value| check.holds(value)),
            Self::Ends(source, dest) => field_equal(source, dest, subject),
            Self::Zones(pairs) => subject.event.zones.is_some_and(|zones| pairs.iter().any(|pair| pair.holds(zones))),
        }
    }
}

/// Either is known and they are the same.
fn field_equal(a: &Field, b: &Field, subject: &Subject<'_>) -> bool {
    a.any(subject, |a| b.any(subject, |b| a == b))
}

impl Pair {
    fn holds(&self, zones: ZonePair<'_>) -> bool {
        let along = |from, to| self.from.matches(from) && self.to.matches(to);
        along(zones.source, zones.dest) || (self.both && along(zones.dest, zones.source))
    }
}

impl Check {
    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::There, _) => true,
            (Self::Texts(texts), Value::Text(text)) => texts.has(text),
            (Self::Like(regex), Value::Text(text)) => regex.is_in(text),
            (Self::Numbers(ranges), Value::Number(number)) => {
                let at = ranges.partition_point(|(first, _)| *first <= number);
                at > 0 && number <= ranges[at - 1].1
            }
            (Self::Order(order, than), Value::Number(number)) => order.holds(number, *than),
            (Self::Nets(nets), Value::Address(ip)) => {
                let at = nets.partition_point(|net| net.addr() <= ip);
                at > 0 && nets[at - 1].contains(&ip)
            }
            // The parser lets no check stand behind a field of another kind.
            _ => false,
        }
    }
}

impl Order {
    const fn holds(self, number: i128, than: i128) -> bool {
        match self {
            Self::Less => number < than,
            Self::AtMost => number <= than,
            Self::More => number > than,
            Self::AtLeast => number >= than,
        }
    }
}

impl Field {
    /// Whether the test holds for one of its values.
    pub fn any<'e>(&self, subject: &Subject<'e>, mut test: impl FnMut(Value<'e>) -> bool) -> bool {
        let flow = subject.flow;
        match self.id {
            Id::Zone | Id::Namespace | Id::Name | Id::Pod | Id::Workload | Id::Ip | Id::Port | Id::Type | Id::Label => {
                let ends = match self.side {
                    Side::Source => [Some(Side::Source), None],
                    Side::Dest => [Some(Side::Dest), None],
                    Side::Either => [Some(Side::Source), Some(Side::Dest)],
                };
                ends.into_iter().flatten().filter_map(|side| self.of_end(subject, side)).any(test)
            }
            Id::Domain => flow.dest_domains.iter().any(|domain| test(Value::Text(domain))),
            Id::Client => flow.original_source_ips.iter().any(|ip| test(Value::Address(ip.to_canonical()))),
            Id::Reporter => flow.reporter.is_some_and(|reporter| {
                let said = [(reporter.src, "src"), (reporter.dst, "dst"), (reporter.fwd, "fwd")];
                said.into_iter().any(|(said, word)| said && test(Value::Text(word)))
            }),
            _ => self.of_flow(subject).is_some_and(test),
        }
    }

    fn of_end<'e>(&self, subject: &Subject<'e>, side: Side) -> Option<Value<'e>> {
        let at_source = side == Side::Source;
        let end: &'e End<'e> = if at_source { &subject.flow.source } else { &subject.flow.dest };
        match self.id {
            Id::Zone => {
                subject.event.zones.map(|zones| if at_source { zones.source } else { zones.dest }).map(Value::Text)
            }
            Id::Namespace => text(end.namespace.as_deref()),
            Id::Name => text(end.name.as_deref()),
            Id::Pod => text(end.name.as_deref().filter(|_| end.kind == Some(EndpointType::Workload))),
            Id::Workload => text(end.name_aggr.as_deref().or(end.name.as_deref())),
            Id::Ip => end.ip.map(|ip| Value::Address(ip.to_canonical())),
            Id::Port => end.port.map(|port| Value::Number(port.into())),
            Id::Type => end.kind.map(|kind| Value::Text(kind.as_str())),
            Id::Label => end.labels.iter().find(|(key, _)| **key == *self.key).map(|(_, value)| Value::Text(value)),
            _ => None,
        }
    }

    /// Of a field that has one value a flow.
    fn of_flow<'e>(&self, subject: &Subject<'e>) -> Option<Value<'e>> {
        let flow = subject.flow;
        match self.id {
            Id::Bytes => self.counted(flow.bytes()),
            Id::Packets => self.counted(flow.packets()),
            Id::Verdict => flow.action.map(|action| Value::Text(action.as_str())),
            Id::Staged => staged(flow).map(|action| Value::Text(action.as_str())),
            Id::Proto => flow.protocol.map(|protocol| Value::Number(protocol.0.into())),
            Id::Connections => number(flow.num_flows),
            Id::Started => number(flow.num_flows_started),
            Id::Completed => number(flow.num_flows_completed),
            Id::Policy => subject.deciding().filter(|hit| !hit.is_end_of_tier()).map(|hit| Value::Text(hit.policy)),
            Id::PolicyNamespace => text(subject.deciding()?.namespace),
            Id::PolicyKind => subject.deciding().map(|hit| Value::Text(kind(hit))),
            Id::Tier => subject.deciding().map(|hit| Value::Text(hit.tier)),
            Id::Rule => subject.deciding()?.rule_index.map(|index| Value::Number(index.into())),
            Id::Service => text(flow.service.name.as_deref()),
            Id::ServiceNamespace => text(flow.service.namespace.as_deref()),
            Id::ServicePort => flow.service.port.map(|port| Value::Number(port.into())),
            Id::ServicePortName => text(flow.service.port_name.as_deref()),
            Id::Process => text(flow.process.name.as_deref()),
            Id::Cluster => Some(Value::Text(subject.event.origin.cluster)),
            Id::Node => text(flow.host.as_deref()).or(Some(Value::Text(subject.event.origin.node))),
            Id::CrossZone => subject.event.zones.filter(|zones| zones.is_cross(false)).map(|_| Value::Flag),
            Id::Aggregated => flow.is_aggregated().then_some(Value::Flag),
            _ => None,
        }
    }

    fn counted<'e>(&self, traffic: Traffic) -> Option<Value<'e>> {
        number(match self.side {
            Side::Source => traffic.source,
            Side::Dest => traffic.destination,
            Side::Either => traffic.total,
        })
    }
}

impl<'e> Subject<'e> {
    fn deciding(&self) -> Option<Hit<'e>> {
        *self.deciding.get_or_init(|| self.flow.deciding())
    }
}

fn text(text: Option<&str>) -> Option<Value<'_>> {
    text.map(Value::Text)
}

fn number<'e>(number: Option<u64>) -> Option<Value<'e>> {
    number.map(|number| Value::Number(number.into()))
}

/// A tier's default names an arbitrary policy of it, of whatever kind.
fn kind(hit: Hit<'_>) -> &'static str {
    if hit.is_end_of_tier() { PolicyKind::EndOfTier.as_str() } else { hit.kind.as_str() }
}

/// What the staged policies that the flow met would have done; `None` if there was none that says.
fn staged(flow: &Flow<'_>) -> Option<Action> {
    let lists = [&flow.policies.pending, &flow.policies.all];
    let hits = || lists.into_iter().flatten().filter_map(|raw| Hit::parse(raw)).filter(|hit| hit.staged);
    if hits().any(|hit| hit.action == HitAction::Deny) {
        return Some(Action::Deny);
    }
    hits().any(|hit| hit.action == HitAction::Allow).then_some(Action::Allow)
}

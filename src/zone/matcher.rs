//! One `match` of a zone, ready to be asked: every key must hold.

use std::net::IpAddr;

use super::address::{Nets, is_public};
use super::file::EndpointKind;
use super::glob::Glob;
use super::selector::{Selector, View};
use crate::model::{End, EndpointType, Flow, Text};

/// Which end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Destination,
}

#[derive(Debug)]
pub(super) struct Matcher {
    /// Cheap ones first.
    pub keys: Vec<Key>,
    /// `pods: true`.
    pub pods: bool,
}

#[derive(Debug)]
pub(super) enum Key {
    EndpointType(EndpointKind),
    Namespace(Vec<Glob>),
    NetworkSet(Vec<SetName>),
    Public(bool),
    Cidr {
        nets: Nets,
        except: Nets,
    },
    Domain(Vec<Glob>),
    Labels(Selector),
    HostEndpoint(Selector),
    /// Flow logs do not carry what this key asks, so it never holds.
    Unknowable(Unknowable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknowable {
    ServiceAccount,
    NamespaceLabels,
}

/// A NetworkSet, or a GlobalNetworkSet where there is no namespace.
#[derive(Debug)]
pub(super) struct SetName {
    pub namespace: Option<Glob>,
    pub name: Glob,
}

/// One end of a flow, with what matchers ask of it worked out once.
pub(super) struct Subject<'a> {
    pub end: &'a End<'a>,
    pub kind: Kind,
    /// Canonical: IPv4 inside IPv6 is IPv4.
    pub ip: Option<IpAddr>,
    /// Names of the destination; none for a source.
    pub domains: &'a [Text<'a>],
    pub view: View<'a>,
}

/// What kind of end it is, also where an abbreviated line does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Known(EndpointType),
    /// Not said, but it is in a namespace: a pod, most probably.
    Namespaced,
    Unsaid,
}

impl Kind {
    fn of(end: &End<'_>) -> Self {
        match (end.kind, &end.namespace) {
            (Some(kind), _) => Self::Known(kind),
            (None, Some(_)) => Self::Namespaced,
            (None, None) => Self::Unsaid,
        }
    }

    pub fn is_pod(self) -> bool {
        matches!(self, Self::Known(EndpointType::Workload) | Self::Namespaced)
    }

    fn is(self, kind: EndpointType) -> bool {
        self == Self::Known(kind)
    }
}

impl<'a> Subject<'a> {
    pub fn of(flow: &'a Flow<'a>, side: Side, labels: &[Box<str>]) -> Self {
        match side {
            Side::Source => Self::new(&flow.source, &[], labels),
            Side::Destination => Self::new(&flow.dest, &flow.dest_domains, labels),
        }
    }

    pub fn new(end: &'a End<'a>, domains: &'a [Text<'a>], labels: &[Box<str>]) -> Self {
        let ip = end.ip.map(|ip| ip.to_canonical());
        Self { end, kind: Kind::of(end), ip, domains, view: View::new(end, labels) }
    }

    /// The name of a network set or host endpoint, aggregated or not.
    pub fn name(&self) -> Option<&str> {
        self.end.name.as_deref().or(self.end.name_aggr.as_deref())
    }

    /// Pods, host endpoints and network sets have labels, logged or not; a network has none.
    pub fn has_labels(&self) -> bool {
        !matches!(self.kind, Kind::Known(EndpointType::Network) | Kind::Unsaid) || !self.end.labels.is_empty()
    }

    /// The log's own word for an address that aggregation took away: `pub` or `pvt`.
    pub fn network(&self) -> Option<&str> {
        let network = self.kind.is(EndpointType::Network) || self.kind == Kind::Unsaid;
        self.end.name_aggr.as_deref().filter(|_| network && self.ip.is_none())
    }
}

impl Matcher {
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.keys.iter().all(|key| key.holds(subject, self.pods))
    }
}

impl Key {
    pub fn holds(&self, subject: &Subject<'_>, pods: bool) -> bool {
        match self {
            Self::EndpointType(kind) => subject.kind.matches(*kind),
            Self::Namespace(globs) => {
                subject.end.namespace.as_deref().is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
            }
            Self::NetworkSet(sets) => {
                subject.kind.is(EndpointType::NetworkSet) && sets.iter().any(|set| set.matches(subject))
            }
            Self::Public(public) => (pods || !subject.kind.is_pod()) && has_publicity(subject, *public),
            Self::Cidr { nets, except } => (pods || !subject.kind.is_pod()) && is_within(subject, nets, except),
            Self::Domain(globs) => {
                (pods || !subject.kind.is_pod())
                    && subject.domains.iter().any(|name| globs.iter().any(|glob| is_domain(glob, name)))
            }
            Self::Labels(selector) => subject.has_labels() && selector.holds(&subject.view),
            Self::HostEndpoint(selector) => subject.kind.is(EndpointType::Host) && selector.holds(&subject.view),
            Self::Unknowable(_) => false,
        }
    }

    /// Its name in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EndpointType(_) => "endpointType",
            Self::Namespace(_) => "namespace",
            Self::NetworkSet(_) => "networkSet",
            Self::Public(_) => "public",
            Self::Cidr { .. } => "cidr",
            Self::Domain(_) => "domain",
            Self::Labels(_) => "labels",
            Self::HostEndpoint(_) => "hostEndpoint",
            Self::Unknowable(Unknowable::ServiceAccount) => "serviceAccount",
            Self::Unknowable(Unknowable::NamespaceLabels) => "namespaceLabels",
        }
    }
}

impl Kind {
    fn matches(self, kind: EndpointKind) -> bool {
        match kind {
            EndpointKind::Workload => self.is_pod(),
            EndpointKind::Host => self.is(EndpointType::Host),
            EndpointKind::NetworkSet => self.is(EndpointType::NetworkSet),
            EndpointKind::Network => self.is(EndpointType::Network) || self == Self::Unsaid,
        }
    }
}

impl SetName {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let in_namespace = match (&self.namespace, subject.end.namespace.as_deref()) {
            (None, None) => true,
            (Some(glob), Some(namespace)) => glob.matches(namespace),
            _ => false,
        };
        in_namespace && subject.name().is_some_and(|name| self.name.matches(name))
    }
}

/// `pub` and `pvt` are asked only where the log gives no address: `pub` may be anything that is not RFC 1918, which is
/// good enough; `pvt` is RFC 1918, so never public.
fn has_publicity(subject: &Subject<'_>, public: bool) -> bool {
    match (subject.ip, subject.network()) {
        (Some(ip), _) => is_public(ip) == public,
        (None, Some("pub")) => public,
        (None, Some("pvt")) => !public,
        (None, _) => false,
    }
}

/// Without an address, `pub` is within 0.0.0.0/0 and ::/0, and no exception can be seen.
fn is_within(subject: &Subject<'_>, nets: &Nets, except: &Nets) -> bool {
    match subject.ip {
        Some(ip) => nets.contains(ip) && !except.contains(ip),
        None => subject.network() == Some("pub") && nets.has_everything(),
    }
}

/// DNS names have no case, and a last dot means nothing here.
fn is_domain(glob: &Glob, name: &str) -> bool {
    glob.matches_ignoring_case(name.strip_suffix('.').unwrap_or(name))
}

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

/// Matchers of a table lie one behind the other, and most have one key: so that key is inside.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    /// The kinds of ends that can match at all, a bit each by [`Kind::index`].
    kinds: u8,
    /// `pods: true`.
    pub pods: bool,
    /// Index of its zone.
    pub zone: u32,
    /// Cheap ones first.
    first: Key,
    others: Box<[Key]>,
}

#[derive(Debug, Clone)]
pub(super) enum Key {
    EndpointType(EndpointKind),
    Namespace(Vec<Glob>),
    NetworkSet(Vec<SetName>),
    Public(bool),
    Cidr(Box<Ranges>),
    Domain(Vec<Glob>),
    Labels(Selector),
    HostEndpoint(Selector),
    /// Flow logs do not carry what this key asks, so it never holds.
    Unknowable(Unknowable),
}

#[derive(Debug, Clone)]
pub(super) struct Ranges {
    pub nets: Nets,
    pub except: Nets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknowable {
    ServiceAccount,
    NamespaceLabels,
}

/// A NetworkSet, or a GlobalNetworkSet where there is no namespace.
#[derive(Debug, Clone)]
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
    pub const ALL: [Self; 6] = [
        Self::Known(EndpointType::Workload),
        Self::Known(EndpointType::Host),
        Self::Known(EndpointType::NetworkSet),
        Self::Known(EndpointType::Network),
        Self::Namespaced,
        Self::Unsaid,
    ];

    /// Its place in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Known(EndpointType::Workload) => 0,
            Self::Known(EndpointType::Host) => 1,
            Self::Known(EndpointType::NetworkSet) => 2,
            Self::Known(EndpointType::Network) => 3,
            Self::Namespaced => 4,
            Self::Unsaid => 5,
        }
    }

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

    /// Pods, host endpoints and network sets have labels, logged or not; an end of unsaid type may have.
    pub fn has_labels(&self) -> bool {
        match self.kind {
            Kind::Known(EndpointType::Network) => false,
            Kind::Unsaid => !self.end.labels.is_empty(),
            _ => true,
        }
    }

    /// The log's own word for an address that aggregation took away: `pub` or `pvt`.
    pub fn network(&self) -> Option<&str> {
        let network = self.kind.is(EndpointType::Network) || self.kind == Kind::Unsaid;
        self.end.name_aggr.as_deref().filter(|_| network && self.ip.is_none())
    }
}

impl Matcher {
    /// `None` without keys.
    pub fn new(zone: u32, keys: Vec<Key>, pods: bool) -> Option<Self> {
        let is_for = |kind: Kind| keys.iter().all(|key| key.is_for(kind, pods));
        let kinds = Kind::ALL.into_iter().filter(|kind| is_for(*kind)).fold(0, |kinds, kind| kinds | 1 << kind.index());
        let mut keys = keys.into_iter();
        Some(Self { kinds, pods, zone, first: keys.next()?, others: keys.collect() })
    }

    #[inline]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.is_for(subject.kind) && self.first.holds(subject) && self.others.iter().all(|key| key.holds(subject))
    }

    /// Whether it can take an end of this kind at all.
    #[inline]
    pub fn is_for(&self, kind: Kind) -> bool {
        self.kinds & 1 << kind.index() != 0
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub fn keys_mut(&mut self) -> impl Iterator<Item = &mut Key> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }
}

impl Key {
    /// Whether it can hold for ends of this kind.
    pub fn is_for(&self, kind: Kind, pods: bool) -> bool {
        match self {
            Self::EndpointType(of) => kind.matches(*of),
            Self::Namespace(_) => kind.is_pod() || kind.is(EndpointType::NetworkSet),
            Self::NetworkSet(_) => kind.is(EndpointType::NetworkSet),
            Self::Public(_) | Self::Cidr(_) | Self::Domain(_) => pods || !kind.is_pod(),
            Self::Labels(_) => !kind.is(EndpointType::Network),
            Self::HostEndpoint(_) => kind.is(EndpointType::Host),
            Self::Unknowable(_) => false,
        }
    }

    /// Whether it holds, for an end of a kind that it [is for](Self::is_for).
    #[inline]
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::EndpointType(_) => true,
            Self::Namespace(globs) => {
                subject.end.namespace.as_deref().is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
            }
            Self::NetworkSet(sets) => sets.iter().any(|set| set.matches(subject)),
            Self::Public(public) => has_publicity(subject, *public),
            Self::Cidr(ranges) => is_within(subject, ranges),
            Self::Domain(globs) => subject.domains.iter().any(|name| globs.iter().any(|glob| is_domain(glob, name))),
            Self::Labels(selector) => subject.has_labels() && selector.holds(&subject.view),
            Self::HostEndpoint(selector) => selector.holds(&subject.view),
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
            Self::Cidr(_) => "cidr",
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
fn is_within(subject: &Subject<'_>, ranges: &Ranges) -> bool {
    let Ranges { nets, except } = ranges;
    match subject.ip {
        Some(ip) => nets.contains(ip) && !except.contains(ip),
        None => subject.network() == Some("pub") && nets.has_everything(),
    }
}

/// DNS names have no case, and a last dot means nothing here.
fn is_domain(glob: &Glob, name: &str) -> bool {
    glob.matches_ignoring_case(name.strip_suffix('.').unwrap_or(name))
}

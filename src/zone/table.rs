//! The table: which zone an end of a flow is in.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::cache::Cache;
use super::check;
use super::explain::{self, EndExplanation, Explanation};
use super::index::{Index, Place};
use super::matcher::{Key, Matcher, Side, Subject, Unknowable};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::{End, Flow, Text, ZonePair};
use crate::yaml::Problem;

/// The zones of one file, ready to be asked. It does not change; a new file is a new table.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) zones: Vec<Zone>,
    /// Of all zones, in the order of the file.
    pub(super) matchers: Vec<Matcher>,
    /// Labels that selectors ask for, by slot.
    pub(super) labels: Vec<Box<str>>,
    pub(super) index: Index,
    /// Each table of a process has its own, from 1.
    pub(super) number: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub name: Box<str>,
    pub critical: bool,
}

/// A zone as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ZoneInfo<'t> {
    pub name: &'t str,
    /// Its place in the file, from 1: a lower rank is asked first.
    pub rank: usize,
    pub critical: bool,
}

impl Table {
    pub(super) fn new(zones: Vec<Zone>, mut matchers: Vec<Matcher>) -> Self {
        let mut labels = Vec::new();
        for key in matchers.iter_mut().flat_map(Matcher::keys_mut) {
            if let Key::Labels(selector) | Key::HostEndpoint(selector) = key {
                selector.assign(&mut labels);
            }
        }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let index = Index::new(&matchers);
        Self { zones, matchers, labels, index, number: NEXT.fetch_add(1, Relaxed) }
    }

    /// Reads `zones.yaml`: the table and the warnings, or everything that is wrong, warnings included.
    pub fn load(text: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        check::load(text)
    }

    /// As [`Table::classify`], and quicker the more of its like was asked before with this cache.
    pub fn classify_with<'t>(&'t self, flow: &Flow<'_>, cache: &mut Cache) -> ZonePair<'t> {
        let mut zone_of = |side| {
            let subject = Subject::of(flow, side, &self.labels);
            let look = cache.look(self, &subject);
            self.zone_at(self.index.first(&self.matchers, look, &subject))
        };
        ZonePair { source: zone_of(Side::Source), dest: zone_of(Side::Destination) }
    }

    /// [`NONE`](super::index::NONE) is at no place.
    fn zone_at(&self, place: Place) -> &str {
        self.matchers.get(place as usize).map_or(UNKNOWN_ZONE, |matcher| &self.zones[matcher.zone as usize].name)
    }

    /// The zones of both ends. The first zone in the file that matches wins; what none matches is `unknown`. Asks one
    /// matcher after the other.
    pub fn classify<'t>(&'t self, flow: &Flow<'_>) -> ZonePair<'t> {
        ZonePair { source: self.zone_of(flow, Side::Source), dest: self.zone_of(flow, Side::Destination) }
    }

    fn zone_of(&self, flow: &Flow<'_>, side: Side) -> &str {
        let subject = Subject::of(flow, side, &self.labels);
        match self.matchers.iter().find(|matcher| matcher.matches(&subject)) {
            Some(matcher) => &self.zones[matcher.zone as usize].name,
            None => UNKNOWN_ZONE,
        }
    }

    /// The matchers of a zone.
    pub(super) fn matchers_of(&self, zone: usize) -> impl Iterator<Item = &Matcher> {
        self.matchers.iter().filter(move |matcher| matcher.zone as usize == zone)
    }

    /// In the order of the file.
    pub fn zones(&self) -> impl ExactSizeIterator<Item = ZoneInfo<'_>> {
        let info = |(i, zone)| {
            let Zone { name, critical, .. }: &Zone = zone;
            ZoneInfo { name, rank: i + 1, critical: *critical }
        };
        self.zones.iter().enumerate().map(info)
    }

    /// Why both ends of a flow are in their zones.
    pub fn explain<'t>(&'t self, flow: &Flow<'_>) -> Explanation<'t> {
        Explanation {
            source: explain::explain(self, &Subject::of(flow, Side::Source, &self.labels)),
            destination: explain::explain(self, &Subject::of(flow, Side::Destination, &self.labels)),
        }
    }

    /// Why an end is in its zone. `domains` are the DNS names of a destination.
    pub fn explain_end<'t>(&'t self, end: &End<'_>, domains: &[Text<'_>]) -> EndExplanation<'t> {
        explain::explain(self, &Subject::new(end, domains, &self.labels))
    }

    /// What the flow log must carry for every match to work, and which zones ask for it; in a fixed order.
    pub fn needs(&self) -> Vec<Need<'_>> {
        let need = |field: Field| {
            let asks = |i: &usize| self.matchers_of(*i).any(|m| m.keys().any(|key| field.is_asked_by(key)));
            let zones: Vec<&str> = (0..self.zones.len()).filter(asks).map(|i| &*self.zones[i].name).collect();
            (!zones.is_empty()).then_some(Need { field, zones })
        };
        Field::ALL.into_iter().filter_map(need).collect()
    }
}

/// What a matcher reads of a flow line that a line may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    /// `source_ip`, `dest_ip`: absent at aggregation level 2 and above.
    Ip,
    /// `source_labels`, `dest_labels`: absent where labels are not logged.
    Labels,
    /// `dest_domains`: on lines that the source reports, for names resolved through trusted DNS servers.
    Domains,
    /// In no flow log.
    NamespaceLabels,
    /// In no flow log.
    ServiceAccount,
}

impl Field {
    const ALL: [Self; 5] = [Self::Ip, Self::Labels, Self::Domains, Self::NamespaceLabels, Self::ServiceAccount];

    fn is_asked_by(self, key: &Key) -> bool {
        match (self, key) {
            // `pub` answers for the ranges that hold everything.
            (Self::Ip, Key::Cidr(ranges)) => !ranges.nets.has_everything() || !ranges.except.is_empty(),
            (Self::Labels, Key::Labels(_) | Key::HostEndpoint(_)) | (Self::Domains, Key::Domain(_)) => true,
            (Self::NamespaceLabels, Key::Unknowable(what)) => *what == Unknowable::NamespaceLabels,
            (Self::ServiceAccount, Key::Unknowable(what)) => *what == Unknowable::ServiceAccount,
            _ => false,
        }
    }
}

/// A field, and the zones that cannot be told without it. Its `Display` says what is lost and what to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need<'t> {
    pub field: Field,
    /// In the order of the file.
    pub zones: Vec<&'t str>,
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones = self.zones.join(", ");
        match self.field {
            Field::Ip => write!(
                f,
                "zones by address ({zones}) need source_ip and dest_ip, which Calico leaves out of allowed flows at its \
                 default aggregation (2); set flowLogsFileAggregationKindForAllowed: 1 in FelixConfiguration"
            ),
            Field::Labels => write!(
                f,
                "zones by label ({zones}) need source_labels and dest_labels; set flowLogsFileIncludeLabels: true in \
                 FelixConfiguration"
            ),
            Field::Domains => {
                write!(f, "zones by domain ({zones}) need dest_domains, which only lines reported by the source carry")
            }
            Field::NamespaceLabels => write!(f, "flow logs carry no namespace labels, which zones {zones} ask for"),
            Field::ServiceAccount => write!(f, "flow logs carry no service accounts, which zones {zones} ask for"),
        }
    }
}

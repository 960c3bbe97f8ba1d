//! Which events become records.

use std::sync::Arc;

use crate::model::flow::{Action, Seat};
use crate::model::{Body, EndpointType, Event, Flow, Reporter};
use crate::query::Query;

/// Which flows are looked at in the first place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flows {
    /// Those that cross zones.
    #[default]
    CrossZone,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    #[default]
    Any,
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connections {
    /// One record a connection: every deny by whoever reports it, an allow by the destination's report. The source's
    /// report of an allow counts only where the destination has no reporter. A mere forwarder's report never does.
    #[default]
    One,
    /// Every report of every node.
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    pub flows: Flows,
    pub verdict: Verdict,
    /// The zone `unknown` counts as a zone like any other.
    pub unknown: bool,
    pub connections: Connections,
    /// What the user wants besides.
    pub query: Option<Arc<Query>>,
}

impl Filter {
    /// The zones that it names.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.query.iter().flat_map(|query| query.zones()).map(|zone| &*zone.name)
    }

    pub fn takes(&self, event: &Event<'_>) -> bool {
        let Body::Flow(flow) = event.body else { return false };
        (self.flows == Flows::All || event.zones.is_some_and(|zones| zones.is_cross(self.unknown)))
            && self.takes_verdict(flow.action)
            && (self.connections == Connections::Both || speaks_for_the_connection(flow))
            && self.query.as_ref().is_none_or(|query| query.matches(event))
    }

    fn takes_verdict(&self, action: Option<Action>) -> bool {
        match self.verdict {
            Verdict::Any => true,
            Verdict::Allow => action == Some(Action::Allow),
            Verdict::Deny => action == Some(Action::Deny),
        }
    }
}

/// Decided by one line on one node: the other half may be another node's.
fn speaks_for_the_connection(flow: &Flow<'_>) -> bool {
    match flow.reporter.map(Reporter::seat) {
        Some(Seat::Forwarder) => false,
        // Without a reporter nobody can tell the halves apart: one too many is better than none.
        Some(Seat::Destination) | None => true,
        Some(Seat::Source) => flow.action == Some(Action::Deny) || flow.dest.kind != Some(EndpointType::Workload),
    }
}

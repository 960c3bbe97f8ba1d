//! The kinds of records: what a SIEM routes and rates by.

use crate::model::flow::Action;
use crate::model::{Body, Event, Flow};

/// One kind of record (`mappings/record/fields.yaml` holds the same table).
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// The CEF `deviceEventClassId`: letters, digits, `:` and `-` only.
    pub id: &'static str,
    /// Constant text; no data of other fields.
    pub name: &'static str,
    /// CEF severity, 0 to 10.
    pub severity: u8,
    /// Syslog severity (RFC 5424 table 2): 4 warning, 5 notice, 6 informational.
    pub syslog_severity: u8,
    /// Of the CEF key `act`.
    pub act: Option<&'static str>,
    pub outcome: Option<&'static str>,
    pub reason: Option<&'static str>,
    pub(in crate::encode) index: usize,
}

pub static CLASSES: [Class; 4] = [
    Class {
        id: "flow:allow",
        name: "Cross-zone flow allowed",
        severity: 3,
        syslog_severity: 6,
        act: Some("allow"),
        outcome: Some("success"),
        reason: None,
        index: 0,
    },
    Class {
        id: "flow:deny",
        name: "Cross-zone flow denied",
        severity: 6,
        syslog_severity: 4,
        act: Some("deny"),
        outcome: Some("failure"),
        reason: Some("policy-deny"),
        index: 1,
    },
    Class {
        id: "flow:deny-staged",
        name: "Cross-zone flow allowed that a staged policy would deny",
        severity: 4,
        syslog_severity: 5,
        act: Some("allow"),
        outcome: Some("success"),
        reason: Some("staged-policy-deny"),
        index: 2,
    },
    Class {
        id: "flow:unknown",
        name: "Cross-zone flow without a verdict",
        severity: 4,
        syslog_severity: 5,
        act: None,
        outcome: None,
        reason: None,
        index: 3,
    },
];

impl Class {
    pub fn of(flow: &Flow<'_>) -> &'static Self {
        match flow.action {
            Some(Action::Deny) => &CLASSES[1],
            Some(Action::Allow) if flow.staged_deny() => &CLASSES[2],
            Some(Action::Allow) => &CLASSES[0],
            None => &CLASSES[3],
        }
    }

    /// `None`: the event is no flow, and no record comes of it.
    pub fn of_event(event: &Event<'_>) -> Option<&'static Self> {
        match event.body {
            Body::Flow(flow) => Some(Self::of(flow)),
            Body::Raw(_) => None,
        }
    }
}

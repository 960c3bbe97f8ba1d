//! Records as one element of RFC 5424 structured data, and a text for people behind it.
//!
//! Names are LEEF's where there is no older one: one vocabulary for what is not CEF. The element stands in the header, so
//! this needs the RFC 5424 header.
//!
//! Grammar: RFC 5424 §6.3; the SD-ID is `flow@` and a private enterprise number (§7.2.2).

use super::record::layout::{Key, Layout, key};
use super::record::text::Writer;
use super::record::{Class, Field};
use crate::encode::record::{workload, zones};
use crate::model::{Event, Flow};

/// Reserved for documentation (RFC 5612): whoever has no number of their own can try with it.
pub const DOCUMENTATION_ID: u32 = 32473;

/// The sequence number stands in `[meta sequenceId]`.
pub static KEYS: [Key; 52] = [
    key(Field::Class, "class"),
    key(Field::Severity, "severity"),
    key(Field::Time, "time"),
    key(Field::Start, "startTime"),
    key(Field::End, "endTime"),
    key(Field::Action, "action"),
    key(Field::Outcome, "outcome"),
    key(Field::SourceIp, "src"),
    key(Field::SourceIpv6, "src"),
    key(Field::DestinationIp, "dst"),
    key(Field::DestinationIpv6, "dst"),
    key(Field::SourcePort, "srcPort"),
    key(Field::DestinationPort, "dstPort"),
    key(Field::Protocol, "proto"),
    key(Field::Application, "app"),
    key(Field::Count, "count"),
    key(Field::SourceBytes, "srcBytes"),
    key(Field::DestinationBytes, "dstBytes"),
    key(Field::Direction, "direction"),
    key(Field::Reason, "reason"),
    key(Field::SourceHost, "srcHost"),
    key(Field::DestinationHost, "dstHost"),
    key(Field::Service, "service"),
    key(Field::SourceProcess, "srcProcess"),
    key(Field::DestinationProcess, "dstProcess"),
    key(Field::Category, "category"),
    key(Field::Node, "node"),
    key(Field::Sensor, "sensor"),
    key(Field::Id, "externalId"),
    key(Field::Rule, "policy"),
    key(Field::SourceWorkload, "srcWorkload"),
    key(Field::DestinationWorkload, "dstWorkload"),
    key(Field::SourceZone, "srcZone"),
    key(Field::DestinationZone, "dstZone"),
    key(Field::Cluster, "cluster"),
    key(Field::Duration, "duration"),
    key(Field::SourcePackets, "srcPackets"),
    key(Field::DestinationPackets, "dstPackets"),
    key(Field::Message, "msg"),
    key(Field::Version, "version"),
    key(Field::Sent, "sent"),
    key(Field::Lag, "lagBytes"),
    key(Field::Oldest, "oldestUnsettled"),
    key(Field::Filtered, "filtered"),
    key(Field::Suppressed, "suppressed"),
    key(Field::Dropped, "dropped"),
    key(Field::Rewinds, "rewinds"),
    key(Field::Repeated, "repeated"),
    key(Field::Alike, "alike"),
    key(Field::Aggregated, "aggregated"),
    key(Field::SampleRate, "sampleRate"),
    key(Field::Truncated, "truncated"),
];

pub(super) fn layout() -> Layout {
    Layout::params(&KEYS)
}

pub(super) fn head(enterprise_id: u32) -> Vec<u8> {
    format!("[flow@{enterprise_id}").into_bytes()
}

/// `Cross-zone flow denied: frontend/web-* (dmz) to data/db-0 (restricted)`.
pub(super) fn text(out: &mut Writer<'_>, event: &Event<'_>, flow: &Flow<'_>, class: &Class) {
    let zones = zones(event);
    out.push(&class.name);
    let mut end = |before: &str, workload: [&str; 3], zone: &str| {
        out.push(before);
        for piece in workload {
            out.push(piece);
        }
        let named = workload != [""; 3];
        out.push(if named { " (" } else { "" }).push(zone).push(if named { ")" } else { "" });
    };
    end(": ", workload(&flow.source), zones.source);
    end(" to ", workload(&flow.dest), zones.dest);
}

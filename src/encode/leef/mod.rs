//! Records as IBM Log Event Extended Format (LEEF 2.0), as QRadar takes them.
//!
//! LEEF knows no escapes: what would end a value is replaced ([`Style::LeefValue`]). Keys that QRadar normalises by itself
//! have its names (`src`, `dstPort`, `sev`, …), all others want a custom property there.
//!
//! Grammar: IBM Security QRadar, LEEF guide.

use super::record::layout::{Key, Layout, key};
use super::record::text::{Rules, Style, Writer};
use super::record::{Class, Config, Field, MAX_DEVICE};

/// Between keys when nobody chose another.
pub const TAB: u8 = b'\t';

/// What may stand between keys instead of a tab: what seldom stands in names and means nothing to syslog or LEEF itself.
pub const DELIMITERS: &str = "^~!#$%&+,@*";

/// The class stands in the head.
pub static KEYS: [Key; 51] = [
    key(Field::Severity, "sev"),
    key(Field::Time, "devTime"),
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
    key(Field::Category, "cat"),
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
    key(Field::Sequence, "sequence"),
];

pub(super) fn layout(delimiter: u8) -> Layout {
    Layout::pairs(&KEYS, delimiter, Style::LeefValue { delimiter })
}

static HEADER: Rules = Rules::new(Style::LeefHeader);

/// `LEEF:2.0|vendor|product|version|class|delimiter|`.
pub(super) fn head(config: &Config, class: &Class, delimiter: u8) -> Vec<u8> {
    let mut out = b"LEEF:2.0|".to_vec();
    for (text, cut) in
        [(&*config.vendor, MAX_DEVICE), (&config.product, MAX_DEVICE), (&config.version, 31), (&*class.id, 255)]
    {
        let written = Writer::new(&mut out, &HEADER, cut).push(text).finish();
        out.extend_from_slice(if written.empty { b"-|" } else { b"|" });
    }
    match delimiter {
        TAB => out.extend_from_slice(b"x09"),
        other => out.push(other),
    }
    out.push(b'|');
    out
}

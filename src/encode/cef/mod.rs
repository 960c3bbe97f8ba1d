//! Records as ArcSight Common Event Format (CEF:0), in the slots in which firewalls put theirs.
//!
//! Grammar: ArcSight Common Event Format (CEF) Implementation Standard. `CEF:0` because widely used receivers refuse 1.

use super::record::layout::{Key, Layout, key, labelled};
use super::record::text::{Rules, Style, Writer};
use super::record::{Bytes, Class, Config, Field, Ipv6, MAX_DEVICE};

/// Class and severity stand in the head.
pub static KEYS: [Key; 50] = [
    key(Field::Time, "rt"),
    key(Field::Start, "start"),
    key(Field::End, "end"),
    key(Field::Action, "act"),
    key(Field::Outcome, "outcome"),
    key(Field::SourceIp, "src"),
    labelled(Field::SourceIpv6, "c6a2", "Source IPv6 Address"),
    key(Field::DestinationIp, "dst"),
    labelled(Field::DestinationIpv6, "c6a3", "Destination IPv6 Address"),
    key(Field::SourcePort, "spt"),
    key(Field::DestinationPort, "dpt"),
    key(Field::Protocol, "proto"),
    key(Field::Application, "app"),
    key(Field::Count, "cnt"),
    key(Field::SourceBytes, "in"),
    key(Field::DestinationBytes, "out"),
    key(Field::Direction, "deviceDirection"),
    key(Field::Reason, "reason"),
    key(Field::SourceHost, "shost"),
    key(Field::DestinationHost, "dhost"),
    key(Field::Service, "destinationServiceName"),
    key(Field::SourceProcess, "sproc"),
    key(Field::DestinationProcess, "dproc"),
    key(Field::Category, "cat"),
    key(Field::Node, "dvchost"),
    key(Field::Sensor, "deviceExternalId"),
    key(Field::Id, "externalId"),
    labelled(Field::Rule, "cs1", "Rule"),
    labelled(Field::SourceWorkload, "cs2", "Source Workload"),
    labelled(Field::DestinationWorkload, "cs3", "Destination Workload"),
    labelled(Field::SourceZone, "cs4", "Source Zone"),
    labelled(Field::DestinationZone, "cs5", "Destination Zone"),
    labelled(Field::Cluster, "cs6", "Cluster"),
    labelled(Field::Duration, "cn1", "Duration"),
    labelled(Field::SourcePackets, "cn2", "Packets Sent"),
    labelled(Field::DestinationPackets, "cn3", "Packets Received"),
    key(Field::Message, "msg"),
    // Records of our own have no packets and no duration but an outage's: the slots are free.
    labelled(Field::Sent, "cn2", "Records Sent"),
    labelled(Field::Lag, "cn3", "Lag Bytes"),
    labelled(Field::Oldest, "cn1", "Oldest Unsettled Seconds"),
    // Our own, as the dictionary has none.
    key(Field::Filtered, "TidegateFiltered"),
    key(Field::Suppressed, "TidegateSuppressed"),
    key(Field::Dropped, "TidegateDropped"),
    key(Field::Rewinds, "TidegateRewinds"),
    key(Field::Repeated, "TidegateRepeated"),
    key(Field::Alike, "TidegateAlike"),
    key(Field::Aggregated, "type"),
    key(Field::SampleRate, "TidegateSampleRate"),
    key(Field::Truncated, "TidegateTruncated"),
    key(Field::Sequence, "TidegateSequence"),
];

pub(super) fn layout(ipv6: Ipv6, bytes: Bytes) -> Layout {
    let mut layout = Layout::pairs(&KEYS, b' ', Style::CefValue);
    if ipv6 == Ipv6::Native {
        layout.redirect(Field::SourceIpv6, Field::SourceIp);
        layout.redirect(Field::DestinationIpv6, Field::DestinationIp);
    }
    if bytes == Bytes::Session {
        layout.swap(Field::SourceBytes, Field::DestinationBytes);
    }
    layout
}

static HEADER: Rules = Rules::new(Style::CefHeader);

/// `CEF:0|vendor|product|version|class|name|severity|`.
pub(super) fn head(config: &Config, class: &Class) -> Vec<u8> {
    let mut out = b"CEF:0|".to_vec();
    let severity = class.severity.to_string();
    let limits =
        [(&*config.vendor, MAX_DEVICE), (&config.product, MAX_DEVICE), (&config.version, 31), (&*class.id, 1023)];
    for (text, cut) in limits.into_iter().chain([(&*class.name, 512), (&severity, 2)]) {
        let written = Writer::new(&mut out, &HEADER, cut).push(text).finish();
        out.extend_from_slice(if written.empty { b"-|" } else { b"|" });
    }
    out
}

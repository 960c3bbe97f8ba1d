//! The keys of a record, in its order. `mappings/cef/record.yaml` says the same with types and sources; a test holds the
//! two together.

/// A key and what may become of it. A labelled key carries its label key with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    Rt,
    Start,
    End,
    Act,
    Outcome,
    Src,
    SourceIpv6,
    Dst,
    DestinationIpv6,
    Spt,
    Dpt,
    Proto,
    App,
    Cnt,
    In,
    Out,
    DeviceDirection,
    Reason,
    Shost,
    Dhost,
    DestinationServiceName,
    Sproc,
    Dproc,
    Cat,
    Dvchost,
    DeviceExternalId,
    ExternalId,
    Rule,
    SourceWorkload,
    DestinationWorkload,
    SourceZone,
    DestinationZone,
    Cluster,
    Duration,
    PacketsSent,
    PacketsReceived,
}

pub const COUNT: usize = Key::PacketsReceived as usize + 1;

#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    pub key: Key,
    pub name: &'static str,
    pub label: Option<&'static str>,
    /// Longest value in octets, escapes included. Zero: not text, and bounded by its type.
    pub cut: usize,
    /// When the record is too long, keys go in the order of this number, 1 first; a key with 0 never does.
    pub drop: u8,
}

const fn plain(key: Key, name: &'static str, cut: usize, drop: u8) -> Spec {
    Spec { key, name, label: None, cut, drop }
}

const fn labelled(key: Key, name: &'static str, label: &'static str, cut: usize, drop: u8) -> Spec {
    Spec { key, name, label: Some(label), cut, drop }
}

/// Labels are an interface: some receivers name their fields by them.
pub static KEYS: [Spec; COUNT] = [
    plain(Key::Rt, "rt", 0, 0),
    plain(Key::Start, "start", 0, 12),
    plain(Key::End, "end", 0, 13),
    plain(Key::Act, "act", 63, 0),
    plain(Key::Outcome, "outcome", 63, 15),
    plain(Key::Src, "src", 0, 0),
    labelled(Key::SourceIpv6, "c6a2", "Source IPv6 Address", 0, 0),
    plain(Key::Dst, "dst", 0, 0),
    labelled(Key::DestinationIpv6, "c6a3", "Destination IPv6 Address", 0, 0),
    plain(Key::Spt, "spt", 0, 0),
    plain(Key::Dpt, "dpt", 0, 0),
    plain(Key::Proto, "proto", 31, 0),
    plain(Key::App, "app", 31, 4),
    plain(Key::Cnt, "cnt", 0, 0),
    plain(Key::In, "in", 0, 17),
    plain(Key::Out, "out", 0, 18),
    plain(Key::DeviceDirection, "deviceDirection", 0, 11),
    plain(Key::Reason, "reason", 1023, 16),
    plain(Key::Shost, "shost", 1023, 5),
    plain(Key::Dhost, "dhost", 1023, 6),
    plain(Key::DestinationServiceName, "destinationServiceName", 1023, 3),
    plain(Key::Sproc, "sproc", 1023, 1),
    plain(Key::Dproc, "dproc", 1023, 2),
    plain(Key::Cat, "cat", 1023, 10),
    plain(Key::Dvchost, "dvchost", 100, 14),
    plain(Key::DeviceExternalId, "deviceExternalId", 255, 20),
    plain(Key::ExternalId, "externalId", 40, 0),
    labelled(Key::Rule, "cs1", "Rule", 1023, 23),
    labelled(Key::SourceWorkload, "cs2", "Source Workload", 512, 21),
    labelled(Key::DestinationWorkload, "cs3", "Destination Workload", 512, 22),
    labelled(Key::SourceZone, "cs4", "Source Zone", 100, 0),
    labelled(Key::DestinationZone, "cs5", "Destination Zone", 100, 0),
    labelled(Key::Cluster, "cs6", "Cluster", 255, 19),
    labelled(Key::Duration, "cn1", "Duration", 0, 9),
    labelled(Key::PacketsSent, "cn2", "Packets Sent", 0, 7),
    labelled(Key::PacketsReceived, "cn3", "Packets Received", 0, 8),
];

/// Says that a value was cut or a key left out: our own key, as the dictionary has none.
pub const TRUNCATED: &str = "TidegateTruncated";
/// Number of the record where the syslog header has no room for one (RFC 3164).
pub const SEQUENCE: &str = "TidegateSequence";

impl Key {
    pub fn spec(self) -> &'static Spec {
        &KEYS[self as usize]
    }
}

//! The facts of a record, in its order. `mappings/record/fields.yaml` says the same with types and sources, and the table of
//! each format (`mappings/<format>/record.yaml`) under which key it has them; a test holds them together.

/// One fact. What it is called, and whether it is there at all, is the format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    Class,
    Severity,
    Time,
    Start,
    End,
    Action,
    Outcome,
    SourceIp,
    SourceIpv6,
    DestinationIp,
    DestinationIpv6,
    SourcePort,
    DestinationPort,
    Protocol,
    Application,
    Count,
    SourceBytes,
    DestinationBytes,
    Direction,
    Reason,
    SourceHost,
    DestinationHost,
    Service,
    SourceProcess,
    DestinationProcess,
    Category,
    Node,
    Sensor,
    Id,
    Rule,
    SourceWorkload,
    DestinationWorkload,
    SourceZone,
    DestinationZone,
    Cluster,
    Duration,
    SourcePackets,
    DestinationPackets,
    /// In words.
    Message,
    /// Of the program, where the head has no place for it.
    Version,
    /// Records handed over by this process.
    Sent,
    /// Octets of the log that are not settled.
    Lag,
    /// Seconds since the oldest unsettled line was read.
    Oldest,
    /// Lines by what became of them in this process.
    Filtered,
    Suppressed,
    Dropped,
    /// Times that this process read again after a broken connection.
    Rewinds,
    /// Records that may come twice.
    Repeated,
    /// What the flows have in common that a limit held back.
    Alike,
    /// Says that the record stands for several lines.
    Aggregated,
    /// Of how many allowed flows this is one.
    SampleRate,
    /// Says that a value was cut or a fact left out.
    Truncated,
    /// Number of the record where the syslog header has no room for one (RFC 3164).
    Sequence,
}

pub const COUNT: usize = Field::Sequence as usize + 1;

#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    pub field: Field,
    /// As the tables name it.
    pub name: &'static str,
    /// Longest value in octets, escapes included. Zero: not text, and bounded by its type.
    pub cut: usize,
    /// When the record is too long, facts go in the order of this number, 1 first; one with 0 never does.
    pub drop: u8,
}

const fn spec(field: Field, name: &'static str, cut: usize, drop: u8) -> Spec {
    Spec { field, name, cut, drop }
}

pub static FIELDS: [Spec; COUNT] = [
    spec(Field::Class, "class", 255, 0),
    spec(Field::Severity, "severity", 0, 0),
    spec(Field::Time, "time", 0, 0),
    spec(Field::Start, "start", 0, 12),
    spec(Field::End, "end", 0, 13),
    spec(Field::Action, "action", 63, 0),
    spec(Field::Outcome, "outcome", 63, 15),
    spec(Field::SourceIp, "source_ip", 0, 0),
    spec(Field::SourceIpv6, "source_ipv6", 0, 0),
    spec(Field::DestinationIp, "destination_ip", 0, 0),
    spec(Field::DestinationIpv6, "destination_ipv6", 0, 0),
    spec(Field::SourcePort, "source_port", 0, 0),
    spec(Field::DestinationPort, "destination_port", 0, 0),
    spec(Field::Protocol, "protocol", 31, 0),
    spec(Field::Application, "application", 31, 4),
    spec(Field::Count, "count", 0, 0),
    spec(Field::SourceBytes, "source_bytes", 0, 17),
    spec(Field::DestinationBytes, "destination_bytes", 0, 18),
    spec(Field::Direction, "direction", 0, 11),
    spec(Field::Reason, "reason", 1023, 16),
    spec(Field::SourceHost, "source_host", 1023, 5),
    spec(Field::DestinationHost, "destination_host", 1023, 6),
    spec(Field::Service, "service", 1023, 3),
    spec(Field::SourceProcess, "source_process", 1023, 1),
    spec(Field::DestinationProcess, "destination_process", 1023, 2),
    spec(Field::Category, "category", 1023, 10),
    spec(Field::Node, "node", 100, 14),
    spec(Field::Sensor, "sensor", 255, 20),
    spec(Field::Id, "id", 40, 0),
    spec(Field::Rule, "rule", 1023, 23),
    spec(Field::SourceWorkload, "source_workload", 512, 21),
    spec(Field::DestinationWorkload, "destination_workload", 512, 22),
    spec(Field::SourceZone, "source_zone", 100, 0),
    spec(Field::DestinationZone, "destination_zone", 100, 0),
    spec(Field::Cluster, "cluster", 255, 19),
    spec(Field::Duration, "duration", 0, 9),
    spec(Field::SourcePackets, "source_packets", 0, 7),
    spec(Field::DestinationPackets, "destination_packets", 0, 8),
    spec(Field::Message, "message", 512, 24),
    spec(Field::Version, "version", 31, 0),
    spec(Field::Sent, "sent", 0, 0),
    spec(Field::Lag, "lag", 0, 0),
    spec(Field::Oldest, "oldest", 0, 0),
    spec(Field::Filtered, "filtered", 0, 0),
    spec(Field::Suppressed, "suppressed", 0, 0),
    spec(Field::Dropped, "dropped", 0, 0),
    spec(Field::Rewinds, "rewinds", 0, 0),
    spec(Field::Repeated, "repeated", 0, 0),
    spec(Field::Alike, "alike", 512, 25),
    spec(Field::Aggregated, "aggregated", 0, 0),
    spec(Field::SampleRate, "sample_rate", 0, 0),
    spec(Field::Truncated, "truncated", 0, 0),
    spec(Field::Sequence, "sequence", 0, 0),
];

/// The order in which facts leave a record that is too long.
pub(super) const DROP_ORDER: [u8; COUNT] = {
    let mut order = [0; COUNT];
    let (mut rank, mut at) = (1, 0);
    while rank <= COUNT {
        let mut i = 0;
        while i < COUNT {
            if FIELDS[i].drop as usize == rank {
                order[at] = i as u8;
                at += 1;
            }
            i += 1;
        }
        rank += 1;
    }
    order
};

impl Field {
    pub fn spec(self) -> &'static Spec {
        &FIELDS[self as usize]
    }
}

//! One line of a Calico flow log: one half of a connection (or of many, aggregated) as one reporter saw it.
//!
//! Sentinels are gone by the time a [`Flow`] exists: what the log writes as `null`, `"-"` or `"*"` is `None` or an empty
//! list here, and so is what the line does not hold.

use std::borrow::Cow;
use std::net::IpAddr;

use super::net::Protocol;

/// Text borrowed from the line, or owned where the line had it escaped.
pub type Text<'a> = Cow<'a, str>;

/// One flow-log line. Field names follow the log's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flow<'a> {
    /// Start of the aggregation window on the node, Unix seconds.
    pub start_time: Option<i64>,
    /// End of the aggregation window, Unix seconds: the event's time.
    pub end_time: Option<i64>,
    /// A shipper's `@timestamp` in epoch milliseconds: used only where `end_time` is missing.
    pub timestamp_ms: Option<i64>,
    pub source: End<'a>,
    pub dest: End<'a>,
    /// The Service that was called, before destination NAT.
    pub service: Service<'a>,
    /// DNS names that the destination address was resolved from, at most a few.
    pub dest_domains: Vec<Text<'a>>,
    /// Source ports after SNAT.
    pub nat_outgoing_ports: Vec<u16>,
    pub protocol: Option<Protocol>,
    pub action: Option<Action>,
    pub reporter: Option<Reporter>,
    pub policies: Policies<'a>,
    /// Bytes that came in at the *reporting* endpoint. See [`Flow::bytes`] for source and destination.
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    pub packets_in: Option<u64>,
    pub packets_out: Option<u64>,
    pub num_flows: Option<u64>,
    pub num_flows_started: Option<u64>,
    pub num_flows_completed: Option<u64>,
    pub http_requests_allowed_in: Option<u64>,
    pub http_requests_denied_in: Option<u64>,
    /// The process at the reporting endpoint.
    pub process: Process<'a>,
    /// Clients in front of an ingress proxy (X-Forwarded-For).
    pub original_source_ips: Vec<IpAddr>,
    pub num_original_source_ips: Option<u64>,
    pub tcp: TcpStats,
    /// The node, where a shipper wrote it into the line.
    pub host: Option<Text<'a>>,
    /// No text above holds what JSON writes with a backslash: known of a line that has none. False: not known.
    pub escape_free: bool,
    /// Fields that this decoder does not know, and known ones whose value has an impossible type: name and JSON text.
    pub extra: Vec<(Text<'a>, Text<'a>)>,
}

/// One end of a flow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End<'a> {
    /// `None` when the log was aggregated (level 2, the default for allowed traffic).
    pub ip: Option<IpAddr>,
    pub port: Option<u16>,
    /// Pod, host endpoint or network set; `None` when aggregated.
    pub name: Option<Text<'a>>,
    /// Pod prefix (`nginx-86c57db685-*`), node name, set name, or `pub` / `pvt` for networks.
    pub name_aggr: Option<Text<'a>>,
    pub namespace: Option<Text<'a>>,
    pub kind: Option<EndpointType>,
    pub labels: Labels<'a>,
}

/// Labels in the order of the line, each split at its first `=`.
pub type Labels<'a> = Vec<(Text<'a>, Text<'a>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointType {
    /// `wep`: a workload endpoint, so a pod.
    Workload,
    /// `hep`: a host endpoint.
    Host,
    /// `ns`: a NetworkSet or GlobalNetworkSet.
    NetworkSet,
    /// `net`: any other address, `pub` or `pvt` when aggregated.
    Network,
}

impl EndpointType {
    /// The log's own spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "wep",
            Self::Host => "hep",
            Self::NetworkSet => "ns",
            Self::Network => "net",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service<'a> {
    pub namespace: Option<Text<'a>>,
    pub name: Option<Text<'a>>,
    pub port_name: Option<Text<'a>>,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Who reported the line. The log may name several (`"dst, fwd"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reporter {
    pub src: bool,
    pub dst: bool,
    pub fwd: bool,
}

/// A reporter list reduced to the one that decides: `dst` if the list holds it, else `src`, else `fwd` (decisions of
/// detail, 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seat {
    Source,
    Destination,
    Forwarder,
}

impl Reporter {
    pub const SRC: Self = Self { src: true, dst: false, fwd: false };
    pub const DST: Self = Self { src: false, dst: true, fwd: false };
    pub const FWD: Self = Self { src: false, dst: false, fwd: true };

    pub const fn seat(self) -> Seat {
        if self.dst {
            Seat::Destination
        } else if self.src {
            Seat::Source
        } else {
            Seat::Forwarder
        }
    }
}

/// Policy strings as logged, each list sorted by its leading index. [`super::trace::Hit`] reads one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies<'a> {
    pub enforced: Vec<Text<'a>>,
    /// `all_policies`: deprecated, mixes staged entries in; the only list up to Calico Enterprise 3.20.
    pub all: Vec<Text<'a>>,
    pub pending: Vec<Text<'a>>,
    pub transit: Vec<Text<'a>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process<'a> {
    pub name: Option<Text<'a>>,
    pub id: Option<Text<'a>>,
    pub args: Vec<Text<'a>>,
    pub num_names: Option<u64>,
    pub num_ids: Option<u64>,
    pub num_args: Option<u64>,
}

/// TCP statistics of the kernel; all zero or absent when the feature is off. Round-trip times in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpStats {
    pub mean_send_congestion_window: Option<u64>,
    pub min_send_congestion_window: Option<u64>,
    pub mean_smooth_rtt: Option<u64>,
    pub max_smooth_rtt: Option<u64>,
    pub mean_min_rtt: Option<u64>,
    pub max_min_rtt: Option<u64>,
    pub mean_mss: Option<u64>,
    pub min_mss: Option<u64>,
    pub total_retransmissions: Option<u64>,
    pub lost_packets: Option<u64>,
    pub unrecovered_to: Option<u64>,
}

/// A counter as the log has it and as a reader wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// From source to destination.
    pub source: Option<u64>,
    /// From destination to source.
    pub destination: Option<u64>,
    /// Both ways; known even where the direction is not (a pure forwarder's line).
    pub total: Option<u64>,
}

impl Flow<'_> {
    /// Bytes by direction: the log counts from the reporting endpoint's view, so source and destination swap by reporter.
    pub fn bytes(&self) -> Traffic {
        self.traffic(self.bytes_in, self.bytes_out)
    }

    /// Packets by direction, as [`Flow::bytes`].
    pub fn packets(&self) -> Traffic {
        self.traffic(self.packets_in, self.packets_out)
    }

    fn traffic(&self, incoming: Option<u64>, outgoing: Option<u64>) -> Traffic {
        let total = match (incoming, outgoing) {
            (Some(i), Some(o)) => Some(i.saturating_add(o)),
            _ => None,
        };
        match self.reporter.map(Reporter::seat) {
            Some(Seat::Destination) => Traffic { source: incoming, destination: outgoing, total },
            Some(Seat::Source) => Traffic { source: outgoing, destination: incoming, total },
            Some(Seat::Forwarder) | None => Traffic { source: None, destination: None, total },
        }
    }

    /// True when an address or a port that a connection has is missing here: the log was aggregated.
    pub fn is_aggregated(&self) -> bool {
        let ports_expected = self.protocol.is_none_or(Protocol::has_ports);
        self.source.ip.is_none()
            || self.dest.ip.is_none()
            || (ports_expected && (self.source.port.is_none() || self.dest.port.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_swap_by_reporter() {
        let half = |reporter, bytes_in, bytes_out| {
            Flow { reporter: Some(reporter), bytes_in: Some(bytes_in), bytes_out: Some(bytes_out), ..Flow::default() }
                .bytes()
        };
        // The two halves of one published flow: what goes in at one end goes out at the other.
        let (src, dst) = (half(Reporter::SRC, 52_311, 18_236), half(Reporter::DST, 18_236, 52_311));
        assert_eq!(src, dst);
        assert_eq!(src, Traffic { source: Some(18_236), destination: Some(52_311), total: Some(70_547) });
        assert_eq!(half(Reporter::FWD, 1, 2), Traffic { source: None, destination: None, total: Some(3) });
        let both = Reporter { dst: true, fwd: true, ..Reporter::default() };
        assert_eq!(half(both, 1, 2).source, Some(1));
    }
}

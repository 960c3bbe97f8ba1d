//! One half of a connection as a line of JSON, every field in the order in which Calico Enterprise writes it.

use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use serde::Serialize;

use super::policy::{Generation, Policies, Trace};
use super::shop::{End, Outcome, Route};
use super::{Expected, Line, WINDOW_SECONDS};

/// What an attacker would call a program: everything that a careless log pipeline trips over, harmless when escaped.
const HOSTILE_PROCESS: &str = "/tmp/.x\u{1b}[2J\u{1b}[31m src=10.0.0.1|act=allow\\";
/// One line in so many has TCP statistics.
const TCP_STATS_EVERY: u32 = 5;

/// How much the log keeps of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Aggregation 1, the default for denied flows: all but the source port.
    SourcePort,
    /// Aggregation 2, the default for allowed flows: neither addresses nor pod names.
    PrefixName,
}

/// Deltas of the window by direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    flows: u64,
    started: u64,
    completed: u64,
    /// From source to destination: packets, bytes.
    sent: (u64, u64),
    received: (u64, u64),
}

impl Counters {
    /// `serial` goes into the bytes, so that no two connections of a window look the same: the node would have made one
    /// line of them.
    pub(super) fn make(rng: &mut Rng, route: &Route, serial: u64) -> Self {
        let extra = serial % 65_536;
        if route.outcome != Outcome::Allowed {
            // Denied packets are counted one by one, and nothing comes back.
            let flows = if route.outcome == Outcome::Scan { 1 } else { rng.u64(1..=6) };
            let packets = flows * rng.u64(1..=3);
            return Self {
                flows,
                started: flows,
                completed: flows,
                sent: (packets, packets * 60 + extra),
                received: (0, 0),
            };
        }
        let flows = rng.u64(1..=40);
        let small = route.port == Some(53) || route.port.is_none();
        let packets = flows * if small { 1 } else { rng.u64(4..=30) };
        let (request, answer) = if small { (74, 138) } else { (rng.u64(90..=400), rng.u64(200..=1400)) };
        Self {
            flows,
            started: rng.u64(0..=flows),
            completed: rng.u64(0..=flows),
            sent: (packets, packets * request + extra),
            received: (packets, packets * answer),
        }
    }
}

/// One half of a connection, to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half<'a> {
    pub source: &'a End,
    pub dest: &'a End,
    pub route: &'a Route,
    pub dest_port: Option<u16>,
    pub level: Level,
    pub generation: Generation,
    pub staged: bool,
    pub counters: Counters,
    pub now: i64,
    /// The source reports; else the destination.
    pub at_source: bool,
    pub denied: bool,
}

impl Half<'_> {
    pub(super) fn line(&self, rng: &mut Rng) -> Line {
        // Strings, numbers and lists of them: their serialisation cannot fail.
        let text = serde_json::to_string(&self.record(rng)).unwrap_or_default();
        Line { text, expected: self.expected() }
    }

    fn expected(&self) -> Expected {
        let zones = (self.source.zone, self.dest.zone);
        let cross = zones.0.is_some() && zones.1.is_some() && zones.0 != zones.1;
        // One record a connection: a deny by whoever says it; an allow by the destination, unless that cannot speak.
        let speaks = self.denied || !self.at_source || self.dest.kind != "wep";
        Expected { flow: true, zones, denied: self.denied, siem: cross && speaks }
    }

    fn record(&self, rng: &mut Rng) -> Record<'_> {
        let Self { source, dest, route, counters, .. } = *self;
        let exact = self.level == Level::SourcePort;
        let name = |end: &'_ End| if exact { end.name.clone() } else { None }.unwrap_or_else(|| "-".to_owned());
        let (incoming, outgoing) =
            if self.at_source { (counters.received, counters.sent) } else { (counters.sent, counters.received) };
        let (service_namespace, service_name, service_port) = route.service.unwrap_or(("-", "-", "-"));
        let leaves = self.at_source && dest.kind != "wep" && !self.denied;
        let process = self.process(rng);
        let tcp = if route.proto == "tcp" && !self.denied && rng.u32(..TCP_STATS_EVERY) == 0 {
            tcp_stats(rng)
        } else {
            Tcp::default()
        };
        let originals = self.originals(rng);
        Record {
            start_time: self.now - WINDOW_SECONDS,
            end_time: self.now,
            source_ip: exact.then_some(source.ip),
            source_name: name(source),
            source_name_aggr: &source.name_aggr,
            source_namespace: source.namespace,
            nat_outgoing_ports: leaves.then(|| vec![rng.u16(32768..61000)]),
            source_port: None,
            source_type: source.kind,
            source_labels: Labels::of(source),
            dest_ip: exact.then_some(dest.ip),
            dest_name: name(dest),
            dest_name_aggr: &dest.name_aggr,
            dest_namespace: dest.namespace,
            dest_port: self.dest_port,
            dest_type: dest.kind,
            dest_labels: Labels::of(dest),
            dest_service_namespace: service_namespace,
            dest_service_name: service_name,
            dest_service_port: service_port,
            dest_service_port_num: route.service.and(route.port),
            dest_domains: (self.at_source && !route.domains.is_empty()).then_some(route.domains),
            proto: route.proto,
            action: if self.denied { "deny" } else { "allow" },
            reporter: if self.at_source { "src" } else { "dst" },
            policies: self.policies(rng),
            bytes_in: incoming.1,
            bytes_out: outgoing.1,
            num_flows: counters.flows,
            num_flows_started: counters.started,
            num_flows_completed: counters.completed,
            packets_in: incoming.0,
            packets_out: outgoing.0,
            http_requests_allowed_in: 0,
            http_requests_denied_in: 0,
            process_name: process.name,
            num_process_names: u32::from(process.id != "-"),
            num_process_ids: u32::from(process.id != "-"),
            num_process_args: u32::from(process.args[0] != "-"),
            process_id: process.id,
            process_args: process.args,
            num_original_source_ips: originals.as_ref().map_or(0, Vec::len),
            original_source_ips: originals,
            tcp,
        }
    }

    fn policies(&self, rng: &mut Rng) -> Policies {
        let reporter = if self.at_source { self.source } else { self.dest };
        // A policy decides at the destination, at a source that denies, and at one that leaves the cluster. Elsewhere
        // nothing selects the source but its namespace's profile.
        let selected = !self.at_source || self.denied || self.dest.kind != "wep";
        let trace = Trace {
            generation: self.generation,
            namespace: reporter.namespace,
            policy: (selected || self.staged).then_some(self.route.policy),
            denied: self.denied,
            staged: self.staged,
        };
        trace.policies(rng)
    }

    fn process(&self, rng: &mut Rng) -> Process {
        let reporter = if self.at_source { self.source } else { self.dest };
        let unknown = Process { name: "-", id: "-".to_owned(), args: vec!["-"] };
        if self.at_source && self.route.outcome == Outcome::DeniedAtDest {
            return Process { name: HOSTILE_PROCESS, id: rng.u16(900..).to_string(), args: vec!["-"] };
        }
        match rng.u32(..10) {
            0..2 => unknown,
            2..6 => Process { name: reporter.process, id: rng.u16(1..900).to_string(), args: vec!["-"] },
            6 => Process { name: reporter.process, id: "*".to_owned(), args: vec!["-"] },
            _ => Process {
                name: reporter.process,
                id: rng.u16(1..900).to_string(),
                args: vec!["--config=/etc/app/config.yaml"],
            },
        }
    }

    /// Customers behind a content network: their own addresses, as the ingress proxy was told.
    fn originals(&self, rng: &mut Rng) -> Option<Vec<IpAddr>> {
        let customer = self.source.kind == "net" && self.route.policy == "allow-customers" && rng.u32(..6) == 0;
        customer.then(|| (0..rng.u8(1..=3)).map(|_| Ipv4Addr::new(198, 51, 100, rng.u8(1..=254)).into()).collect())
    }
}

struct Process {
    name: &'static str,
    id: String,
    args: Vec<&'static str>,
}

fn tcp_stats(rng: &mut Rng) -> Tcp {
    let rtt = rng.u32(80..4000);
    Tcp {
        tcp_mean_send_congestion_window: 10,
        tcp_min_send_congestion_window: 10,
        tcp_mean_smooth_rtt: rtt,
        tcp_max_smooth_rtt: rtt * 4,
        tcp_mean_min_rtt: rtt / 2,
        tcp_max_min_rtt: rtt,
        tcp_mean_mss: 1398,
        tcp_min_mss: 536,
        tcp_total_retransmissions: rng.u32(..4),
        tcp_lost_packets: rng.u32(..2),
        tcp_unrecovered_to: 0,
    }
}

#[derive(Serialize)]
struct Labels<'a> {
    labels: &'a [String],
}

impl<'a> Labels<'a> {
    fn of(end: &'a End) -> Option<Self> {
        (!end.labels.is_empty()).then_some(Self { labels: &end.labels })
    }
}

#[derive(Serialize, Default)]
struct Tcp {
    tcp_mean_send_congestion_window: u32,
    tcp_min_send_congestion_window: u32,
    tcp_mean_smooth_rtt: u32,
    tcp_max_smooth_rtt: u32,
    tcp_mean_min_rtt: u32,
    tcp_max_min_rtt: u32,
    tcp_mean_mss: u32,
    tcp_min_mss: u32,
    tcp_total_retransmissions: u32,
    tcp_lost_packets: u32,
    tcp_unrecovered_to: u32,
}

#[derive(Serialize)]
struct Record<'a> {
    start_time: i64,
    end_time: i64,
    source_ip: Option<IpAddr>,
    source_name: String,
    source_name_aggr: &'a str,
    source_namespace: &'a str,
    nat_outgoing_ports: Option<Vec<u16>>,
    source_port: Option<u16>,
    source_type: &'a str,
    source_labels: Option<Labels<'a>>,
    dest_ip: Option<IpAddr>,
    dest_name: String,
    dest_name_aggr: &'a str,
    dest_namespace: &'a str,
    dest_port: Option<u16>,
    dest_type: &'a str,
    dest_labels: Option<Labels<'a>>,
    dest_service_namespace: &'a str,
    dest_service_name: &'a str,
    dest_service_port: &'a str,
    dest_service_port_num: Option<u16>,
    dest_domains: Option<&'a [&'a str]>,
    proto: &'a str,
    action: &'a str,
    reporter: &'a str,
    policies: Policies,
    bytes_in: u64,
    bytes_out: u64,
    num_flows: u64,
    num_flows_started: u64,
    num_flows_completed: u64,
    packets_in: u64,
    packets_out: u64,
    http_requests_allowed_in: u64,
    http_requests_denied_in: u64,
    process_name: &'a str,
    num_process_names: u32,
    process_id: String,
    num_process_ids: u32,
    process_args: Vec<&'a str>,
    num_process_args: u32,
    original_source_ips: Option<Vec<IpAddr>>,
    num_original_source_ips: usize,
    #[serde(flatten)]
    tcp: Tcp,
}

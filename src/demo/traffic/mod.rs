//! Calico-shaped flow logs of a small shop: the demo's input.
//!
//! [`Traffic`] makes one line after the other, the same ones for the same seed and the same times. With every line comes
//! what the generator knows of it ([`Expected`]), by its own reckoning and not by the code under show: so the demo can say
//! how many documents and how many SIEM records there must be in the end.
//!
//! The lines have the full field set of Calico Enterprise: allowed flows mostly without addresses (aggregation 2, the
//! default), denied ones with them (aggregation 1), both halves of a connection where both pods are on this node, and now
//! and then a line that is no flow at all. It is not a model of load: `tests/benches` has one.

mod policy;
mod record;
mod shop;
mod writer;

use std::collections::VecDeque;

use fastrand::Rng;

pub use shop::Zone;
pub(in crate::demo) use shop::zone_of;
pub use writer::{LIVE, LogWriter, Written};

use policy::Generation;
use record::{Counters, Half, Level};
use shop::{End, Outcome, ROUTES, Route, Shop};

/// Length of the window that a line sums up. Calico's default is 300 s; workshops and the demo are more impatient.
pub const WINDOW_SECONDS: i64 = 10;
/// One line in so many is no flow.
const RAW_EVERY: u32 = 1500;
/// One allowed connection in so many is logged with addresses, because a staged policy would deny it.
const STAGED_EVERY: u32 = 25;

/// One line of the log, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub expected: Expected,
}

/// What must become of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// False: it is indexed as a raw event.
    pub flow: bool,
    /// Source and destination zone; `None` stands for `unknown`.
    pub zones: (Option<Zone>, Option<Zone>),
    pub denied: bool,
    /// It becomes a record in the SIEM: cross-zone, and the half that speaks for its connection.
    pub siem: bool,
}

/// The generator.
#[derive(Debug)]
pub struct Traffic {
    rng: Rng,
    shop: Shop,
    /// Lines of the last connection that were not handed out yet.
    ready: VecDeque<Line>,
    /// Connections so far.
    serial: u64,
}

impl Traffic {
    /// `node` is the node that the log is of: the flows' host endpoint has its name.
    pub fn new(seed: u64, node: &str) -> Self {
        let mut rng = Rng::with_seed(seed);
        let shop = Shop::new(&mut rng, node);
        Self { rng, shop, ready: VecDeque::new(), serial: 0 }
    }

    /// The next line. `now` in Unix seconds is the end of its window (of the other half's too).
    pub fn next(&mut self, now: i64) -> Line {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return line;
            }
            if self.rng.u32(..RAW_EVERY) == 0 {
                return self.raw(now);
            }
            self.connection(now);
        }
    }

    /// What a shipper or a full disk leaves in a log: a message of the logger, or a line cut short.
    fn raw(&mut self, now: i64) -> Line {
        let text = if self.rng.bool() {
            format!(
                r#"{{"level":"warning","msg":"flow log reporter fell behind","dropped":{},"time":{now}}}"#,
                self.rng.u16(1..400)
            )
        } else {
            format!(
                r#"{{"start_time":{},"end_time":{now},"source_ip":null,"source_name":"-","source_na"#,
                now - WINDOW_SECONDS
            )
        };
        Line { text, expected: Expected { flow: false, zones: (None, None), denied: false, siem: false } }
    }

    fn connection(&mut self, now: i64) {
        let route = self.route();
        let repeats = if route.outcome == Outcome::Scan { self.rng.usize(4..=12) } else { 1 };
        let source = self.shop.pick(&mut self.rng, route.from, None);
        let near = source.local.then_some(());
        let dest = self.shop.pick(&mut self.rng, route.to, near.is_none().then_some(true));
        for _ in 0..repeats {
            self.halves(now, route, &source, &dest);
        }
    }

    fn route(&mut self) -> &'static Route {
        let total: u32 = ROUTES.iter().map(|route| route.weight).sum();
        let mut ticket = self.rng.u32(..total);
        // The weights add up to `total`, so the search ends.
        ROUTES
            .iter()
            .find(|route| {
                let hit = ticket < route.weight;
                ticket = ticket.saturating_sub(route.weight);
                hit
            })
            .unwrap_or(&ROUTES[0])
    }

    fn halves(&mut self, now: i64, route: &Route, source: &End, dest: &End) {
        self.serial += 1;
        let rng = &mut self.rng;
        let denied = route.outcome != Outcome::Allowed;
        let staged = !denied && rng.u32(..STAGED_EVERY) == 0;
        let generation = Generation::pick(rng);
        let level = if denied || staged { Level::SourcePort } else { Level::PrefixName };
        let counters = Counters::make(rng, route, self.serial);
        let dest_port =
            if route.outcome == Outcome::Scan { Some(*rng.choice(shop::SCANNED).unwrap_or(&22)) } else { route.port };
        let mut half = Half {
            source,
            dest,
            route,
            dest_port,
            level,
            generation,
            staged,
            counters,
            now,
            at_source: true,
            denied: false,
        };
        if source.local && source.kind == "wep" {
            half.denied = route.outcome == Outcome::DeniedAtSource;
            self.ready.push_back(half.line(rng));
        }
        if dest.local && route.outcome != Outcome::DeniedAtSource {
            half.at_source = false;
            half.denied = denied;
            self.ready.push_back(half.line(rng));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    const NOW: i64 = 1_787_390_098;

    fn lines(seed: u64, count: usize) -> Vec<Line> {
        let mut traffic = Traffic::new(seed, "node-1");
        (0..count).map(|_| traffic.next(NOW)).collect()
    }

    fn flows(count: usize) -> Vec<(Value, Expected)> {
        let flows = lines(7, count).into_iter().filter(|line| line.expected.flow);
        flows.map(|line| (serde_json::from_str(&line.text).expect("a flow is JSON"), line.expected)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_lines() {
        assert_eq!(lines(7, 2000), lines(7, 2000));
        assert_ne!(lines(7, 50), lines(8, 50));
    }

    #[test]
    fn every_field_of_the_log_in_its_order() {
        let expected = "start_time end_time source_ip source_name source_name_aggr source_namespace nat_outgoing_ports \
            source_port source_type source_labels dest_ip dest_name dest_name_aggr dest_namespace dest_port dest_type \
            dest_labels dest_service_namespace dest_service_name dest_service_port dest_service_port_num dest_domains \
            proto action reporter policies bytes_in bytes_out num_flows num_flows_started num_flows_completed packets_in \
            packets_out http_requests_allowed_in http_requests_denied_in process_name num_process_names process_id \
            num_process_ids process_args num_process_args original_source_ips num_original_source_ips \
            tcp_mean_send_congestion_window tcp_min_send_congestion_window tcp_mean_smooth_rtt tcp_max_smooth_rtt \
            tcp_mean_min_rtt tcp_max_min_rtt tcp_mean_mss tcp_min_mss tcp_total_retransmissions tcp_lost_packets \
            tcp_unrecovered_to";
        let line = lines(7, 50).into_iter().find(|line| line.expected.flow).expect("a flow");
        let mut at = 0;
        for name in expected.split_whitespace() {
            let key = format!("\"{name}\":");
            let found = line.text[at..].find(&key).unwrap_or_else(|| panic!("{name} is missing or out of order"));
            at += found + key.len();
        }
    }

    #[test]
    fn halves_mirror_each_other() {
        let mut traffic = Traffic::new(7, "node-1");
        let mut pairs = 0;
        for _ in 0..1500 {
            traffic.connection(NOW);
            let halves: Vec<Value> =
                traffic.ready.drain(..).map(|line| serde_json::from_str(&line.text).expect("JSON")).collect();
            let [src, dst] = &halves[..] else { continue };
            if src["reporter"] == dst["reporter"] {
                continue;
            }
            pairs += 1;
            for (one, other) in [("bytes_in", "bytes_out"), ("bytes_out", "bytes_in"), ("packets_in", "packets_out")] {
                assert_eq!(src[one], dst[other], "{src}\n{dst}");
            }
            for same in
                ["num_flows", "source_name_aggr", "dest_name_aggr", "source_ip", "dest_ip", "dest_port", "end_time"]
            {
                assert_eq!(src[same], dst[same], "{src}\n{dst}");
            }
            assert_eq!((&src["reporter"], &dst["reporter"]), (&"src".into(), &"dst".into()));
        }
        assert!(pairs > 200, "only {pairs} pairs of halves");
    }

    #[test]
    fn aggregation_hides_what_it_should() {
        for (flow, expected) in flows(1500) {
            let ports = flow["proto"] != "icmp";
            assert!(flow["source_port"].is_null(), "{flow}");
            assert_eq!(flow["dest_port"].is_u64(), ports, "{flow}");
            let named = flow["source_ip"].is_string() && flow["dest_ip"].is_string();
            let staged =
                flow["policies"].to_string().contains("staged:") || flow["policies"].to_string().contains("snp:");
            // The source's half of a flow that the destination denies: logged in detail too.
            let half_of_denied = flow["dest_port"] == 22
                || (flow["dest_namespace"] == "ledger" && flow["source_namespace"] == "storefront");
            assert_eq!(named, expected.denied || staged || half_of_denied, "{flow}");
            if !named {
                assert_eq!((&flow["source_name"], &flow["dest_name"]), (&"-".into(), &"-".into()));
            }
        }
    }

    /// Lines that differ in nothing but their policies would be taken for one flow, and the numbers would not add up.
    #[test]
    fn no_two_lines_are_one_flow() {
        let mut seen = std::collections::HashSet::new();
        for (mut flow, _) in flows(10_000) {
            flow.as_object_mut().expect("an object").remove("policies");
            let line = flow.to_string();
            assert!(seen.insert(line), "{flow} stands twice");
        }
    }

    /// The shop shows everything that the demo is for.
    #[test]
    fn everything_turns_up() {
        let flows = flows(10_000);
        let seen = |what: &str, test: &dyn Fn(&Value, &Expected) -> bool| {
            let count = flows.iter().filter(|(flow, expected)| test(flow, expected)).count();
            assert!(count > 0, "no {what} in 10,000 lines");
        };
        let text = |flow: &Value, key: &str| flow[key].to_string();
        seen("denied cross-zone flow", &|_, e| e.denied && e.siem);
        seen("denied flow within a zone", &|_, e| e.denied && !e.siem);
        seen("allowed cross-zone flow", &|_, e| !e.denied && e.siem);
        seen("source half that leaves the record to the destination", &|f, e| {
            !e.siem
                && !e.denied
                && f["reporter"] == "src"
                && e.zones.0.is_some()
                && e.zones.1.is_some()
                && e.zones.0 != e.zones.1
        });
        seen("UDP DNS", &|f, _| f["proto"] == "udp" && f["dest_port"] == 53);
        seen("ICMP", &|f, _| f["proto"] == "icmp");
        seen("IPv6", &|f, _| text(f, "source_ip").contains(':') || text(f, "dest_ip").contains(':'));
        seen("host endpoint", &|f, _| f["source_type"] == "hep");
        seen("network set", &|f, _| f["dest_type"] == "ns");
        seen("domain", &|f, _| f["dest_domains"].is_array());
        seen("process", &|f, _| text(f, "process_name").contains('/'));
        seen("old policy string", &|f, _| f["policies"]["enforced_policies"].is_null());
        seen("new policy string", &|f, _| text(f, "policies").contains("np:"));
        seen("end of tier", &|f, _| text(f, "policies").contains("|deny|-1"));
        seen("TCP statistics", &|f, _| f["tcp_mean_mss"] != 0);
        seen("forwarded client", &|f, _| f["original_source_ips"].is_array());
        seen("hostile process name", &|f, _| text(f, "process_name").contains("\\u001b"));
        let raw = lines(7, 10_000).iter().filter(|line| !line.expected.flow).count();
        assert!((1..40).contains(&raw), "{raw} lines that are no flows");
    }

    #[test]
    fn every_zone_is_left_and_entered() {
        let mut pairs = BTreeMap::<_, u32>::new();
        for (_, expected) in flows(10_000) {
            *pairs.entry(expected.zones).or_default() += u32::from(expected.siem);
        }
        for zone in [Zone::Dmz, Zone::Trusted, Zone::Restricted, Zone::Outside] {
            assert!(pairs.iter().any(|(pair, count)| pair.0 == Some(zone) && *count > 0), "nothing leaves {zone:?}");
            assert!(pairs.iter().any(|(pair, count)| pair.1 == Some(zone) && *count > 0), "nothing enters {zone:?}");
        }
        let unknown = pairs.iter().filter(|(pair, _)| pair.0.is_none() || pair.1.is_none());
        assert_eq!(unknown.map(|(_, count)| count).sum::<u32>(), 0, "unknown is never cross-zone");
    }
}

//! The ordinary line, at the least cost: compact JSON without escapes, its keys mostly in the order in which Felix writes
//! them. One walk, strings borrowed, no tree, lists filled in place.
//!
//! It answers only where it is sure, and then exactly as the other passes would; anything else (white space, escapes,
//! control characters, repeated keys, floats, values that do not fit) it leaves to them. What it does not know it keeps:
//! an unknown member costs no second pass. Tests hold it against the other passes on whatever lines they can think of.

mod cursor;

use serde::de::Deserialize as _;
use serde_json::value::RawValue;

use super::passes::keep_last;
use cursor::{Cursor, Next};

use crate::model::{Flow, Text};

/// After a known key out of order, the order is tried again so many times a line: trying costs a walk over all names.
const RETRIES: u32 = 8;

/// Reads `line` into `flow`, whose lists are empty and may have memory. `None`: not sure; what stands in `flow` then
/// means nothing.
pub(super) fn scan<'a>(line: &'a str, flow: &mut Flow<'a>) -> Option<()> {
    if !cursor::is_plain(line.as_bytes()) {
        return None;
    }
    let mut scan = Scan { from: Cursor::new(line), flow, seen: 0 };
    if !scan.from.eat(b"{") {
        return None;
    }
    scan.members()?;
    let is_flow = scan.seen & FLOW_KEYS != 0 && scan.from.is_at_end();
    keep_last(&mut flow.extra);
    is_flow.then_some(())
}

struct Scan<'a, 'f> {
    from: Cursor<'a>,
    flow: &'f mut Flow<'a>,
    /// A bit for each key that was there, by its place among [`NAMES`].
    seen: u64,
}

impl<'a> Scan<'a, '_> {
    /// All members and the closing brace.
    fn members(&mut self) -> Option<()> {
        let mut retries = 0;
        loop {
            if retries <= RETRIES && self.in_order()? == Next::End {
                return Some(());
            }
            let key = self.from.key()?;
            if !self.by_name(key)? {
                self.unknown(key)?;
            } else {
                retries += 1;
            }
            if self.from.next_member()? == Next::End {
                return Some(());
            }
        }
    }

    /// Of a repeated key the last counts: that is for the other passes.
    fn note(&mut self, place: usize) -> Option<()> {
        let bit = 1 << place;
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new.then_some(())
    }

    fn unknown(&mut self, key: &'a str) -> Option<()> {
        let rest = self.from.rest();
        if rest.starts_with([' ', '\t']) {
            return None;
        }
        let raw = <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(rest)).ok()?.get();
        self.from.skip(raw.len());
        self.flow.extra.push((Text::Borrowed(key), Text::Borrowed(raw)));
        Some(())
    }
}

/// The keys in Felix's order, and how each is read.
macro_rules! fields {
    ($flow:ident, $from:ident: $($name:literal => $read:expr,)*) => {
        const NAMES: &[&str] = &[$($name),*];

        impl Scan<'_, '_> {
            /// Reads on for as long as the keys come in this order; keys may be missing.
            fn in_order(&mut self) -> Option<Next> {
                $(
                    if self.from.eat(concat!('"', $name, "\":").as_bytes()) {
                        self.note(const { place($name) })?;
                        let ($flow, $from) = (&mut *self.flow, &mut self.from);
                        $read;
                        if self.from.next_member()? == Next::End {
                            return Some(Next::End);
                        }
                    }
                )*
                Some(Next::Member)
            }

            /// Reads the value of a known key; false when nobody here knows it.
            #[cold]
            fn by_name(&mut self, key: &str) -> Option<bool> {
                match key {
                    $(
                        $name => {
                            self.note(const { place($name) })?;
                            let ($flow, $from) = (&mut *self.flow, &mut self.from);
                            $read;
                        }
                    )*
                    _ => return Some(false),
                }
                Some(true)
            }
        }
    };
}

fields! { flow, from:
    "start_time" => flow.start_time = from.time()?,
    "end_time" => flow.end_time = from.time()?,
    "source_ip" => flow.source.ip = from.ip()?,
    "source_name" => flow.source.name = from.text()?,
    "source_name_aggr" => flow.source.name_aggr = from.text()?,
    "source_namespace" => flow.source.namespace = from.text()?,
    "nat_outgoing_ports" => from.list(&mut flow.nat_outgoing_ports, Cursor::port)?,
    "source_port" => flow.source.port = from.port()?,
    "source_type" => flow.source.kind = from.endpoint_type()?,
    "source_labels" => from.labels(&mut flow.source.labels)?,
    "dest_ip" => flow.dest.ip = from.ip()?,
    "dest_name" => flow.dest.name = from.text()?,
    "dest_name_aggr" => flow.dest.name_aggr = from.text()?,
    "dest_namespace" => flow.dest.namespace = from.text()?,
    "dest_port" => flow.dest.port = from.port()?,
    "dest_type" => flow.dest.kind = from.endpoint_type()?,
    "dest_labels" => from.labels(&mut flow.dest.labels)?,
    "dest_service_namespace" => flow.service.namespace = from.text()?,
    "dest_service_name" => flow.service.name = from.text()?,
    "dest_service_port" => flow.service.port_name = from.text()?,
    "dest_service_port_num" => flow.service.port = from.port()?,
    "dest_domains" => from.list(&mut flow.dest_domains, Cursor::text)?,
    "proto" => flow.protocol = from.protocol()?,
    "action" => flow.action = from.action()?,
    "reporter" => flow.reporter = from.reporter()?,
    "policies" => from.policies(&mut flow.policies)?,
    "bytes_in" => flow.bytes_in = from.count()?,
    "bytes_out" => flow.bytes_out = from.count()?,
    "num_flows" => flow.num_flows = from.count()?,
    "num_flows_started" => flow.num_flows_started = from.count()?,
    "num_flows_completed" => flow.num_flows_completed = from.count()?,
    "packets_in" => flow.packets_in = from.count()?,
    "packets_out" => flow.packets_out = from.count()?,
    "http_requests_allowed_in" => flow.http_requests_allowed_in = from.count()?,
    "http_requests_denied_in" => flow.http_requests_denied_in = from.count()?,
    "process_name" => flow.process.name = from.text()?,
    "num_process_names" => flow.process.num_names = from.count()?,
    "process_id" => flow.process.id = from.text()?,
    "num_process_ids" => flow.process.num_ids = from.count()?,
    "process_args" => from.arguments(&mut flow.process.args)?,
    "num_process_args" => flow.process.num_args = from.count()?,
    "original_source_ips" => from.list(&mut flow.original_source_ips, Cursor::ip)?,
    "num_original_source_ips" => flow.num_original_source_ips = from.count()?,
    "tcp_mean_send_congestion_window" => flow.tcp.mean_send_congestion_window = from.count()?,
    "tcp_min_send_congestion_window" => flow.tcp.min_send_congestion_window = from.count()?,
    "tcp_mean_smooth_rtt" => flow.tcp.mean_smooth_rtt = from.count()?,
    "tcp_max_smooth_rtt" => flow.tcp.max_smooth_rtt = from.count()?,
    "tcp_mean_min_rtt" => flow.tcp.mean_min_rtt = from.count()?,
    "tcp_max_min_rtt" => flow.tcp.max_min_rtt = from.count()?,
    "tcp_mean_mss" => flow.tcp.mean_mss = from.count()?,
    "tcp_min_mss" => flow.tcp.min_mss = from.count()?,
    "tcp_total_retransmissions" => flow.tcp.total_retransmissions = from.count()?,
    "tcp_lost_packets" => flow.tcp.lost_packets = from.count()?,
    "tcp_unrecovered_to" => flow.tcp.unrecovered_to = from.count()?,
    "host" => flow.host = from.text()?,
    "@timestamp" => flow.timestamp_ms = from.time()?,
}

/// The keys of which one makes an object a flow.
const FLOW_KEYS: u64 = {
    let (mut keys, mut at) = (0, 0);
    while at < NAMES.len() {
        if makes_a_flow(NAMES[at].as_bytes()) {
            keys |= 1 << at;
        }
        at += 1;
    }
    keys
};

const fn makes_a_flow(name: &[u8]) -> bool {
    matches!(name, [b's', b'o', b'u', b'r', b'c', b'e', b'_', ..] | [b'd', b'e', b's', b't', b'_', ..])
        || matches!(name, b"proto" | b"action" | b"reporter")
}

/// The place of a name among [`NAMES`].
const fn place(name: &str) -> usize {
    let mut at = 0;
    while !equal(NAMES[at].as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

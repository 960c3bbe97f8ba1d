//! Lines of one flow that differ in nothing but their policy trace: Calico writes one line a trace, each with the same
//! counters. A SIEM would count the connection once for each.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_secret};

use crate::encode::octets::put;
use crate::model::Flow;
use crate::model::flow::{End, Policies};

/// What the hash takes, and no more.
const SECRET: usize = 192;

/// Flows of the open batch: everything that tells them apart → the first trace.
#[derive(Debug)]
pub struct Seen {
    flows: HashMap<u128, u128>,
    /// Of this process: whoever writes names cannot aim at another flow's number and so hide behind it.
    secret: [u8; SECRET],
    /// What is hashed, reused: one hash over all of it is cheaper than one that is fed member by member.
    text: Text,
}

impl Default for Seen {
    fn default() -> Self {
        Self { flows: HashMap::default(), secret: std::array::from_fn(|_| fastrand::u8(..)), text: Text::default() }
    }
}

impl Seen {
    /// True for every line after the first of its flow with another trace. Two lines that are equal to the last byte are
    /// two flows' and both stay.
    pub fn is_another_trace(&mut self, flow: &Flow<'_>) -> bool {
        let trace = self.number(|text| trace(&flow.policies, text));
        let flow = self.number(|text| identity(flow, text));
        *self.flows.entry(flow).or_insert(trace) != trace
    }

    pub fn clear(&mut self) {
        self.flows.clear();
    }

    fn number(&mut self, write: impl FnOnce(&mut Text)) -> u128 {
        self.text.0.clear();
        write(&mut self.text);
        xxh3_128_with_secret(&self.text.0, &self.secret)
    }
}

/// Takes down what is to be hashed.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Hasher for Text {
    fn write(&mut self, bytes: &[u8]) {
        put(&mut self.0, bytes);
    }

    fn finish(&self) -> u64 {
        xxh3_64(&self.0)
    }
}

fn trace(policies: &Policies<'_>, h: &mut Text) {
    (&policies.enforced, &policies.all, &policies.pending, &policies.transit).hash(h);
}

/// What Calico tells flows apart by, and the counters. Labels go by the name of their end: they are most of a flow's text, and
/// tell nothing more.
fn identity(flow: &Flow<'_>, h: &mut Text) {
    (flow.start_time, flow.end_time, flow.protocol, flow.action, flow.reporter).hash(h);
    end(&flow.source, h);
    end(&flow.dest, h);
    let service = &flow.service;
    (&service.namespace, &service.name, &service.port_name, service.port).hash(h);
    (&flow.dest_domains, &flow.nat_outgoing_ports, &flow.original_source_ips).hash(h);
    (flow.bytes_in, flow.bytes_out, flow.packets_in, flow.packets_out).hash(h);
    (flow.num_flows, flow.num_flows_started, flow.num_flows_completed).hash(h);
    (&flow.process.name, &flow.process.id, &flow.process.args).hash(h);
}

fn end(end: &End<'_>, h: &mut Text) {
    (end.ip, end.port, &end.name, &end.name_aggr, &end.namespace, end.kind).hash(h);
}

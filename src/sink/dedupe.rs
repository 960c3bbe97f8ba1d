//! Lines of one flow that differ in nothing but their policy trace: Calico writes one line a trace, each with the same
//! counters. A SIEM would count the connection once for each.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use crate::model::Flow;
use crate::model::flow::{End, Policies};

/// Flows of the open batch: everything but the trace → the first trace.
#[derive(Debug, Default)]
pub struct Seen(HashMap<u64, u64>);

impl Seen {
    /// True for every line after the first of its flow with another trace. Two lines that are equal to the last byte are
    /// two flows' and both stay.
    pub fn is_another_trace(&mut self, flow: &Flow<'_>) -> bool {
        let trace = hash_of(|h| trace(&flow.policies, h));
        *self.0.entry(hash_of(|h| all_but_trace(flow, h))).or_insert(trace) != trace
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn hash_of(write: impl FnOnce(&mut Xxh3)) -> u64 {
    let mut hasher = Xxh3::new();
    write(&mut hasher);
    hasher.finish()
}

fn trace(policies: &Policies<'_>, h: &mut Xxh3) {
    (&policies.enforced, &policies.all, &policies.pending, &policies.transit).hash(h);
}

fn all_but_trace(flow: &Flow<'_>, h: &mut Xxh3) {
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

fn end(end: &End<'_>, h: &mut Xxh3) {
    (end.ip, end.port, &end.name, &end.name_aggr, &end.namespace, end.kind, &end.labels).hash(h);
}

//! Lines of one flow that differ in nothing but their policy trace: Calico writes one line a trace, each with the same
//! counters. A SIEM would count the connection once for each.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Flow;
use crate::model::flow::{End, Policies};

/// Flows of the open batch: everything but the trace → the first trace.
#[derive(Debug, Default)]
pub struct Seen {
    traces: HashMap<u64, u64>,
    octets: Octets,
}

impl Seen {
    /// True for every line after the first of its flow with another trace. Two lines that are equal to the last byte are
    /// two flows' and both stay.
    pub fn is_another_trace(&mut self, flow: &Flow<'_>) -> bool {
        let trace = self.octets.hash_of(|h| trace(&flow.policies, h));
        let flow = self.octets.hash_of(|h| all_but_trace(flow, h));
        *self.traces.entry(flow).or_insert(trace) != trace
    }

    pub fn clear(&mut self) {
        self.traces.clear();
    }
}

/// What is to be hashed, one after the other: the hash of all at once costs less than to feed it field by field.
#[derive(Debug, Default)]
struct Octets(Vec<u8>);

impl Octets {
    fn hash_of(&mut self, write: impl FnOnce(&mut Self)) -> u64 {
        self.0.clear();
        write(self);
        self.finish()
    }
}

impl Hasher for Octets {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn finish(&self) -> u64 {
        xxh3_64(&self.0)
    }
}

fn trace(policies: &Policies<'_>, h: &mut Octets) {
    (&policies.enforced, &policies.all, &policies.pending, &policies.transit).hash(h);
}

fn all_but_trace(flow: &Flow<'_>, h: &mut Octets) {
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

fn end(end: &End<'_>, h: &mut Octets) {
    (end.ip, end.port, &end.name, &end.name_aggr, &end.namespace, end.kind, &end.labels).hash(h);
}

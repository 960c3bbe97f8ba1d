//! Which key fills which field.

use serde_json::value::RawValue;

use super::passes::keep_last;
use super::values::{Arguments, LabelSet, Placed, PolicyLists, Rest, Value};
use crate::model::{End, Flow, Process, Service, TcpStats, Text};

/// A flow in the making.
#[derive(Default)]
pub(super) struct Reading<'de> {
    flow: Flow<'de>,
    /// A key that makes a flow was there, whatever its value.
    identified: bool,
    /// What the label and policy objects hold beside their lists. Apart from `extra` until the end, so that a repeated
    /// key replaces it.
    source_rest: Rest<'de>,
    dest_rest: Rest<'de>,
    policies_rest: Rest<'de>,
}

impl<'de> Reading<'de> {
    /// Reads the value of a known key into its field; what was there before is replaced.
    pub(super) fn put<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error> {
        let was_identified = std::mem::replace(&mut self.identified, true);
        if let Some(key) = key.strip_prefix("source_") {
            let placed = put_end(&mut self.flow.source, &mut self.source_rest, key, value)?;
            self.identified = was_identified || matches!(placed, Placed::Known);
            return Ok(placed);
        }
        if let Some(key) = key.strip_prefix("dest_") {
            let placed = self.put_dest(key, value)?;
            self.identified = was_identified || matches!(placed, Placed::Known);
            return Ok(placed);
        }
        match key {
            "proto" => self.flow.protocol = value.one()?,
            "action" => self.flow.action = value.one()?,
            "reporter" => self.flow.reporter = value.one()?,
            _ => {
                self.identified = was_identified;
                return self.put_other(key, value);
            }
        }
        Ok(Placed::Known)
    }

    fn put_dest<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error> {
        if let Some(key) = key.strip_prefix("service_") {
            return put_service(&mut self.flow.service, key, value);
        }
        match key {
            "domains" => self.flow.dest_domains = value.list()?,
            _ => return put_end(&mut self.flow.dest, &mut self.dest_rest, key, value),
        }
        Ok(Placed::Known)
    }

    fn put_other<V: Value<'de>>(&mut self, key: &str, value: V) -> Result<Placed<V>, V::Error> {
        let flow = &mut self.flow;
        match key {
            "start_time" => flow.start_time = value.one()?,
            "end_time" => flow.end_time = value.one()?,
            "policies" => {
                let PolicyLists { lists, rest } = value.read()?;
                (flow.policies, self.policies_rest) = (lists, rest);
            }
            "bytes_in" => flow.bytes_in = value.one()?,
            "bytes_out" => flow.bytes_out = value.one()?,
            "packets_in" => flow.packets_in = value.one()?,
            "packets_out" => flow.packets_out = value.one()?,
            "nat_outgoing_ports" => flow.nat_outgoing_ports = value.list()?,
            "original_source_ips" => flow.original_source_ips = value.list()?,
            "http_requests_allowed_in" => flow.http_requests_allowed_in = value.one()?,
            "http_requests_denied_in" => flow.http_requests_denied_in = value.one()?,
            "host" => flow.host = value.one()?,
            "@timestamp" => flow.timestamp_ms = value.one()?,
            _ => {
                if let Some(key) = key.strip_prefix("num_") {
                    return put_number(flow, key, value);
                }
                if let Some(key) = key.strip_prefix("tcp_") {
                    return put_tcp(&mut flow.tcp, key, value);
                }
                if let Some(key) = key.strip_prefix("process_") {
                    return put_process(&mut flow.process, key, value);
                }
                return Ok(Placed::Unknown(value));
            }
        }
        Ok(Placed::Known)
    }

    /// Keeps a value that has no place, as it was written.
    pub(super) fn keep(&mut self, key: Text<'de>, raw: &'de RawValue) {
        self.flow.extra.push((key, Text::Borrowed(raw.get())));
    }

    /// The flow, or `None` when no key made one.
    pub(super) fn finish(mut self) -> Option<Flow<'de>> {
        let extra = &mut self.flow.extra;
        for (parent, rest) in
            [("source_labels", self.source_rest), ("dest_labels", self.dest_rest), ("policies", self.policies_rest)]
        {
            extra.extend(rest.into_iter().map(|(key, raw)| (Text::Owned(format!("{parent}.{key}")), raw)));
        }
        keep_last(extra);
        self.identified.then_some(self.flow)
    }
}

fn put_end<'de, V: Value<'de>>(
    end: &mut End<'de>,
    rest: &mut Rest<'de>,
    key: &str,
    value: V,
) -> Result<Placed<V>, V::Error> {
    match key {
        "ip" => end.ip = value.one()?,
        "port" => end.port = value.one()?,
        "name" => end.name = value.one()?,
        "name_aggr" => end.name_aggr = value.one()?,
        "namespace" => end.namespace = value.one()?,
        "type" => end.kind = value.one()?,
        "labels" => {
            let read: LabelSet = value.read()?;
            (end.labels, *rest) = (read.labels, read.rest);
        }
        _ => return Ok(Placed::Unknown(value)),
    }
    Ok(Placed::Known)
}

fn put_service<'de, V: Value<'de>>(service: &mut Service<'de>, key: &str, value: V) -> Result<Placed<V>, V::Error> {
    match key {
        "namespace" => service.namespace = value.one()?,
        "name" => service.name = value.one()?,
        "port" => service.port_name = value.one()?,
        "port_num" => service.port = value.one()?,
        _ => return Ok(Placed::Unknown(value)),
    }
    Ok(Placed::Known)
}

fn put_number<'de, V: Value<'de>>(flow: &mut Flow<'de>, key: &str, value: V) -> Result<Placed<V>, V::Error> {
    match key {
        "flows" => flow.num_flows = value.one()?,
        "flows_started" => flow.num_flows_started = value.one()?,
        "flows_completed" => flow.num_flows_completed = value.one()?,
        "process_names" => flow.process.num_names = value.one()?,
        "process_ids" => flow.process.num_ids = value.one()?,
        "process_args" => flow.process.num_args = value.one()?,
        "original_source_ips" => flow.num_original_source_ips = value.one()?,
        _ => return Ok(Placed::Unknown(value)),
    }
    Ok(Placed::Known)
}

fn put_tcp<'de, V: Value<'de>>(tcp: &mut TcpStats, key: &str, value: V) -> Result<Placed<V>, V::Error> {
    match key {
        "mean_send_congestion_window" => tcp.mean_send_congestion_window = value.one()?,
        "min_send_congestion_window" => tcp.min_send_congestion_window = value.one()?,
        "mean_smooth_rtt" => tcp.mean_smooth_rtt = value.one()?,
        "max_smooth_rtt" => tcp.max_smooth_rtt = value.one()?,
        "mean_min_rtt" => tcp.mean_min_rtt = value.one()?,
        "max_min_rtt" => tcp.max_min_rtt = value.one()?,
        "mean_mss" => tcp.mean_mss = value.one()?,
        "min_mss" => tcp.min_mss = value.one()?,
        "total_retransmissions" => tcp.total_retransmissions = value.one()?,
        "lost_packets" => tcp.lost_packets = value.one()?,
        "unrecovered_to" => tcp.unrecovered_to = value.one()?,
        _ => return Ok(Placed::Unknown(value)),
    }
    Ok(Placed::Known)
}

fn put_process<'de, V: Value<'de>>(process: &mut Process<'de>, key: &str, value: V) -> Result<Placed<V>, V::Error> {
    match key {
        "name" => process.name = value.one()?,
        "id" => process.id = value.one()?,
        "args" => process.args = value.read::<Arguments>()?.0,
        _ => return Ok(Placed::Unknown(value)),
    }
    Ok(Placed::Known)
}

//! `calico.*`: what the log says and ECS has no field for, both ends alike.

use crate::model::flow::Seat;
use crate::model::{End, Flow, TcpStats, Text};

use super::json::{self, Texts, key};
use super::labels;

pub fn write(out: &mut Vec<u8>, flow: &Flow<'_>, place: u64, capped: &mut u64) {
    let texts = Texts::of(flow);
    let calico = json::object(out, key!("calico"));
    if let Some(action) = flow.action {
        Texts::WORDS.text(out, key!("action"), action.as_str());
    }
    reporter(out, flow);
    json::bool(out, key!("aggregated"), flow.is_aggregated());
    end(out, texts, key!("source"), &flow.source, capped);
    end(out, texts, key!("dest"), &flow.dest, capped);
    service(out, texts, flow);
    list(out, texts, key!("dest_domains"), &flow.dest_domains);
    nat_ports(out, &flow.nat_outgoing_ports);
    policies(out, texts, flow);
    counters(out, flow);
    process_counts(out, flow);
    original_sources(out, flow);
    tcp(out, &flow.tcp);
    labels::write_extra(out, &flow.extra, capped);
    offset(out, place);
    json::close(out, calico);
}

/// `log.offset`.
pub fn offset(out: &mut Vec<u8>, offset: u64) {
    let log = json::object(out, key!("log"));
    json::number(out, key!("offset"), offset);
    json::close(out, log);
}

/// The list that the log has, so that a search for one reporter finds a line of several.
fn reporter(out: &mut Vec<u8>, flow: &Flow<'_>) {
    let Some(reporter) = flow.reporter else { return };
    let list = json::array(out, key!("reporter"));
    for (word, named) in [("src", reporter.src), ("dst", reporter.dst), ("fwd", reporter.fwd)] {
        if named {
            Texts::WORDS.item(out, word);
        }
    }
    json::close(out, list);
}

fn end(out: &mut Vec<u8>, texts: Texts, key: &[u8], end: &End<'_>, capped: &mut u64) {
    let object = json::object(out, key);
    if let Some(kind) = end.kind {
        Texts::WORDS.text(out, key!("type"), kind.as_str());
    }
    text(out, texts, key!("namespace"), end.namespace.as_ref());
    text(out, texts, key!("name"), end.name.as_ref());
    text(out, texts, key!("name_aggr"), end.name_aggr.as_ref());
    labels::write(out, texts, &end.labels, capped);
    json::close(out, object);
}

fn service(out: &mut Vec<u8>, texts: Texts, flow: &Flow<'_>) {
    let service = &flow.service;
    let object = json::object(out, key!("dest_service"));
    text(out, texts, key!("namespace"), service.namespace.as_ref());
    text(out, texts, key!("name"), service.name.as_ref());
    text(out, texts, key!("port_name"), service.port_name.as_ref());
    number(out, key!("port"), service.port.map(u64::from));
    json::close(out, object);
}

fn nat_ports(out: &mut Vec<u8>, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let list = json::array(out, key!("nat_outgoing_ports"));
    for &port in ports {
        json::number_item(out, port.into());
    }
    json::close(out, list);
}

fn policies(out: &mut Vec<u8>, texts: Texts, flow: &Flow<'_>) {
    let object = json::object(out, key!("policies"));
    list(out, texts, key!("enforced"), &flow.policies.enforced);
    list(out, texts, key!("all"), &flow.policies.all);
    list(out, texts, key!("pending"), &flow.policies.pending);
    list(out, texts, key!("transit"), &flow.policies.transit);
    json::close(out, object);
}

fn counters(out: &mut Vec<u8>, flow: &Flow<'_>) {
    // Whoever forwards is at neither end: in and out cannot be told as source and destination, so they stay as they are.
    if matches!(flow.reporter.map(|reporter| reporter.seat()), None | Some(Seat::Forwarder)) {
        number(out, key!("bytes_in"), flow.bytes_in);
        number(out, key!("bytes_out"), flow.bytes_out);
        number(out, key!("packets_in"), flow.packets_in);
        number(out, key!("packets_out"), flow.packets_out);
    }
    number(out, key!("num_flows"), flow.num_flows);
    number(out, key!("num_flows_started"), flow.num_flows_started);
    number(out, key!("num_flows_completed"), flow.num_flows_completed);
    let http = json::object(out, key!("http"));
    number(out, key!("requests_allowed_in"), above_zero(flow.http_requests_allowed_in));
    number(out, key!("requests_denied_in"), above_zero(flow.http_requests_denied_in));
    json::close(out, http);
}

fn process_counts(out: &mut Vec<u8>, flow: &Flow<'_>) {
    let object = json::object(out, key!("process"));
    number(out, key!("count"), above_zero(flow.process.num_names));
    number(out, key!("ids_count"), above_zero(flow.process.num_ids));
    number(out, key!("args_count"), above_zero(flow.process.num_args));
    json::close(out, object);
}

fn original_sources(out: &mut Vec<u8>, flow: &Flow<'_>) {
    let list = json::array(out, key!("original_source_ips"));
    for &ip in &flow.original_source_ips {
        json::ip_item(out, ip);
    }
    json::close(out, list);
    number(out, key!("num_original_source_ips"), above_zero(flow.num_original_source_ips));
}

/// All zero says only that the feature is off; one number above zero gives the other zeros their meaning.
fn tcp(out: &mut Vec<u8>, tcp: &TcpStats) {
    let members: [(&[u8], Option<u64>); 11] = [
        (key!("mean_send_congestion_window"), tcp.mean_send_congestion_window),
        (key!("min_send_congestion_window"), tcp.min_send_congestion_window),
        (key!("mean_smooth_rtt"), tcp.mean_smooth_rtt),
        (key!("max_smooth_rtt"), tcp.max_smooth_rtt),
        (key!("mean_min_rtt"), tcp.mean_min_rtt),
        (key!("max_min_rtt"), tcp.max_min_rtt),
        (key!("mean_mss"), tcp.mean_mss),
        (key!("min_mss"), tcp.min_mss),
        (key!("total_retransmissions"), tcp.total_retransmissions),
        (key!("lost_packets"), tcp.lost_packets),
        (key!("unrecovered_to"), tcp.unrecovered_to),
    ];
    if members.iter().all(|(_, value)| value.unwrap_or(0) == 0) {
        return;
    }
    let object = json::object(out, key!("tcp"));
    for (key, value) in members {
        number(out, key, value);
    }
    json::close(out, object);
}

fn above_zero(value: Option<u64>) -> Option<u64> {
    value.filter(|&value| value > 0)
}

#[inline(always)]
fn number(out: &mut Vec<u8>, key: &[u8], value: Option<u64>) {
    if let Some(value) = value {
        json::number(out, key, value);
    }
}

#[inline(always)]
fn text(out: &mut Vec<u8>, texts: Texts, key: &[u8], value: Option<&Text<'_>>) {
    if let Some(value) = value {
        texts.text(out, key, value);
    }
}

#[inline(always)]
fn list(out: &mut Vec<u8>, texts: Texts, key: &[u8], values: &[Text<'_>]) {
    if values.is_empty() {
        return;
    }
    let list = json::array(out, key);
    for value in values {
        texts.item(out, value);
    }
    json::close(out, list);
}

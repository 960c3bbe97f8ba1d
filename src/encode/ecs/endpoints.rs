//! The ECS field sets of a flow: `source`, `destination`, `network`, `related`, `rule`, `service`, `process` and what
//! `orchestrator` and `observer` say of one flow.

use std::net::IpAddr;

use crate::encode::ProcessArgs;
use crate::model::flow::{Seat, Traffic};
use crate::model::trace::{END_OF_TIER, PolicyKind};
use crate::model::{End, EndpointType, Flow, ZonePair, net};

use super::json::{self, Texts, key};
use super::labels;

/// A line names its node, two ends (a host endpoint with its node) and at most five domains.
const MAX_HOSTS: usize = 16;
/// A line holds two addresses and at most fifty original sources.
const MAX_IPS: usize = 64;

pub fn write(out: &mut Vec<u8>, flow: &Flow<'_>, host: &str, capped: &mut u64) {
    let (bytes, packets) = (flow.bytes(), flow.packets());
    let texts = Texts::of(flow);
    let source = json::object(out, key!("source"));
    identity(out, texts, &flow.source, host_name(&flow.source));
    counters(out, bytes.source, packets.source);
    if let [port] = flow.nat_outgoing_ports[..] {
        let nat = json::object(out, key!("nat"));
        json::number(out, key!("port"), port.into());
        json::close(out, nat);
    }
    json::close(out, source);

    let destination = json::object(out, key!("destination"));
    identity(out, texts, &flow.dest, destination_domain(flow));
    counters(out, bytes.destination, packets.destination);
    json::close(out, destination);

    network(out, flow, bytes, packets);
    related(out, flow, host, capped);
    if let Some(name) = &flow.service.name {
        let service = json::object(out, key!("service"));
        let target = json::object(out, key!("target"));
        texts.text(out, key!("name"), name);
        json::close(out, target);
        json::close(out, service);
    }
}

fn identity(out: &mut Vec<u8>, texts: Texts, end: &End<'_>, domain: Option<&str>) {
    match (end.ip, end.name_aggr.as_deref().or(end.name.as_deref())) {
        (Some(ip), _) => {
            json::ip(out, key!("address"), ip);
            json::ip(out, key!("ip"), ip);
        }
        (None, Some(name)) => {
            out.extend_from_slice(b"\"address\":\"");
            if let Some(namespace) = &end.namespace {
                texts.write(out, namespace);
                out.push(b'/');
            }
            texts.write(out, name);
            out.extend_from_slice(b"\",");
        }
        (None, None) => {}
    }
    if let Some(port) = end.port {
        json::number(out, key!("port"), port.into());
    }
    if let Some(domain) = domain {
        texts.text(out, key!("domain"), domain);
    }
}

fn counters(out: &mut Vec<u8>, bytes: Option<u64>, packets: Option<u64>) {
    if let Some(bytes) = bytes {
        json::number(out, key!("bytes"), bytes);
    }
    if let Some(packets) = packets {
        json::number(out, key!("packets"), packets);
    }
}

/// The end's name where it names a machine. A network set's name is no host's.
fn host_name<'f>(end: &'f End<'_>) -> Option<&'f str> {
    match end.kind {
        Some(EndpointType::Workload | EndpointType::Host) | None => end.name.as_deref(),
        Some(EndpointType::NetworkSet | EndpointType::Network) => None,
    }
}

/// The one DNS name that the address was resolved from; a pod is known by its own name.
fn destination_domain<'f>(flow: &'f Flow<'_>) -> Option<&'f str> {
    match &flow.dest_domains[..] {
        [domain] if flow.dest.kind != Some(EndpointType::Workload) => Some(domain),
        _ => host_name(&flow.dest),
    }
}

fn network(out: &mut Vec<u8>, flow: &Flow<'_>, bytes: Traffic, packets: Traffic) {
    let network = json::object(out, key!("network"));
    if let Some(protocol) = flow.protocol {
        if let Some(keyword) = protocol.keyword() {
            Texts::WORDS.text(out, key!("transport"), keyword);
        }
        let mut digits = itoa::Buffer::new();
        Texts::WORDS.text(out, key!("iana_number"), digits.format(protocol.0));
    }
    match flow.source.ip.or(flow.dest.ip) {
        Some(IpAddr::V4(_)) => out.extend_from_slice(b"\"type\":\"ipv4\","),
        Some(IpAddr::V6(_)) => out.extend_from_slice(b"\"type\":\"ipv6\","),
        None => {}
    }
    match seat(flow) {
        Some(Seat::Source) => out.extend_from_slice(b"\"direction\":\"egress\","),
        Some(Seat::Destination) => out.extend_from_slice(b"\"direction\":\"ingress\","),
        Some(Seat::Forwarder) | None => {}
    }
    counters(out, bytes.total, packets.total);
    if let Some(id) = community_id(flow) {
        out.extend_from_slice(b"\"community_id\":\"");
        out.extend_from_slice(&id);
        out.extend_from_slice(b"\",");
    }
    if let [ip] = flow.original_source_ips[..] {
        json::ip(out, key!("forwarded_ip"), ip);
    }
    json::close(out, network);
}

fn community_id(flow: &Flow<'_>) -> Option<[u8; net::COMMUNITY_ID_LEN]> {
    let (source, dest) = (&flow.source, &flow.dest);
    net::community_id(flow.protocol?, (source.ip?, source.port), (dest.ip?, dest.port))
}

fn related(out: &mut Vec<u8>, flow: &Flow<'_>, host: &str, capped: &mut u64) {
    let related = json::object(out, key!("related"));
    related_ips(out, flow, capped);
    related_hosts(out, flow, host, capped);
    json::close(out, related);
}

fn related_ips(out: &mut Vec<u8>, flow: &Flow<'_>, capped: &mut u64) {
    let (source, dest, others) = (flow.source.ip, flow.dest.ip, &flow.original_source_ips[..]);
    let list = json::array(out, key!("ip"));
    if let Some(ip) = source {
        json::ip_item(out, ip);
    }
    if let Some(ip) = dest.filter(|_| dest != source) {
        json::ip_item(out, ip);
    }
    let (others, beyond) = others.split_at(others.len().min(MAX_IPS - 2));
    *capped += beyond.len() as u64;
    for (at, &ip) in others.iter().enumerate() {
        if Some(ip) != source && Some(ip) != dest && !others[..at].contains(&ip) {
            json::ip_item(out, ip);
        }
    }
    json::close(out, list);
}

fn related_hosts(out: &mut Vec<u8>, flow: &Flow<'_>, host: &str, capped: &mut u64) {
    let mut written: [&str; MAX_HOSTS] = [""; MAX_HOSTS];
    let mut count = 0;
    let ends = [&flow.source, &flow.dest].into_iter().flat_map(|end| [host_name(end), node_name(end)]).flatten();
    let domains = flow.dest_domains.iter().map(AsRef::as_ref);
    let texts = Texts::of(flow);
    let list = json::array(out, key!("hosts"));
    for name in std::iter::once(host).chain(ends).chain(domains) {
        if name.is_empty() || written[..count].contains(&name) {
            continue;
        }
        let Some(place) = written.get_mut(count) else {
            *capped += 1;
            continue;
        };
        *place = name;
        // The host, if there is one, need not be of the line.
        if count == 0 {
            json::item(out, name)
        } else {
            texts.item(out, name)
        }
        count += 1;
    }
    json::close(out, list);
}

/// A host endpoint's aggregated name is its node's host name.
fn node_name<'f>(end: &'f End<'_>) -> Option<&'f str> {
    end.name_aggr.as_deref().filter(|_| end.kind == Some(EndpointType::Host))
}

/// `rule.*` from the policy that decided.
pub fn rule(out: &mut Vec<u8>, flow: &Flow<'_>) {
    let Some(hit) = flow.deciding() else { return };
    let category = match (hit.kind, hit.rule_index) {
        (PolicyKind::Profile, _) => "profile",
        (PolicyKind::EndOfTier, _) | (_, Some(END_OF_TIER)) => "end-of-tier",
        _ => "policy",
    };
    // `index|tier|name|action[|rule index]`: what follows the index names the rule.
    let id = hit.raw.split_once('|').map_or(hit.raw, |(_, rest)| rest);
    let texts = Texts::of(flow);
    let rule = json::object(out, key!("rule"));
    texts.text(out, key!("name"), hit.name);
    texts.text(out, key!("ruleset"), hit.tier);
    texts.text(out, key!("id"), id);
    Texts::WORDS.text(out, key!("category"), category);
    json::close(out, rule);
}

/// ECS has one pair of zones: where traffic came in, and where it goes out.
pub fn zones(out: &mut Vec<u8>, zones: ZonePair<'_>) {
    for (key, zone) in [(key!("ingress"), zones.source), (key!("egress"), zones.dest)] {
        let object = json::object(out, key);
        json::text(out, key!("zone"), zone);
        json::close(out, object);
    }
}

/// The namespace and the pod that reported: `orchestrator` has room for one end only.
pub fn orchestrator(out: &mut Vec<u8>, flow: &Flow<'_>) {
    let end = match seat(flow) {
        Some(Seat::Source) => &flow.source,
        Some(Seat::Destination) => &flow.dest,
        Some(Seat::Forwarder) | None => return,
    };
    let texts = Texts::of(flow);
    if let Some(namespace) = &end.namespace {
        texts.text(out, key!("namespace"), namespace);
    }
    if end.kind != Some(EndpointType::Workload) {
        return;
    }
    let resource = json::object(out, key!("resource"));
    Texts::WORDS.text(out, key!("type"), "pod");
    if let Some(name) = &end.name {
        texts.text(out, key!("name"), name);
    }
    if let Some(ip) = end.ip {
        let list = json::array(out, key!("ip"));
        json::ip_item(out, ip);
        json::close(out, list);
    }
    labels::write_list(out, texts, key!("label"), &end.labels);
    json::close(out, resource);
}

pub fn process(out: &mut Vec<u8>, flow: &Flow<'_>, args: ProcessArgs) {
    let (process, texts) = (&flow.process, Texts::of(flow));
    let object = json::object(out, key!("process"));
    if let Some(name) = &process.name {
        // A path may end in a slash, or in what would look like the log's sentinels.
        let slash = memchr::memrchr(b'/', name.as_bytes());
        let base = slash.map_or(Some(&**name), |at| name.get(at + 1..)).filter(|base| !matches!(*base, "" | "-" | "*"));
        texts.text(out, key!("name"), base.unwrap_or(name));
        if name.starts_with('/') {
            texts.text(out, key!("executable"), name);
        }
    }
    // Text in the log, because it can be the sentinel of several.
    if let Some(pid) = process.id.as_deref().and_then(|id| id.parse::<u32>().ok()) {
        json::number(out, key!("pid"), pid.into());
    }
    let list = json::array(out, key!("args"));
    for arg in &process.args {
        match args {
            ProcessArgs::Keep => texts.item(out, arg),
            ProcessArgs::Redact => json::item(out, "***"),
            ProcessArgs::Drop => {}
        }
    }
    json::close(out, list);
    json::close(out, object);
}

pub fn tags(out: &mut Vec<u8>, flow: &Flow<'_>, zones: Option<ZonePair<'_>>) {
    let list = json::array(out, key!("tags"));
    out.extend_from_slice(b"\"calico\",\"forwarded\",");
    if flow.is_aggregated() {
        out.extend_from_slice(b"\"aggregated\",");
    }
    if zones.is_some_and(|zones| zones.is_cross(false)) {
        out.extend_from_slice(b"\"cross-zone\",");
    }
    json::close(out, list);
}

fn seat(flow: &Flow<'_>) -> Option<Seat> {
    flow.reporter.map(|reporter| reporter.seat())
}

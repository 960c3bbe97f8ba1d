//! What a document says of a flow, case by case.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::model::{
    Action, End, EndpointType, FileKey, LineId, Origin, Policies, Process, Reporter, Service, TcpStats, Text, ZonePair,
    net::Protocol,
};

mod limits;
mod properties;

const READ_AT: i64 = 1_597_166_392_118;

fn origin<'a>(read_at_ms: Option<i64>) -> Origin<'a> {
    Origin {
        cluster: "prod-eu-1",
        node: "node-1",
        path: Some("/var/log/calico/flowlogs/flows.log"),
        offset: 4096,
        id: LineId::new(Some(1_597_166_383), FileKey(1), 4096, b"{}"),
        read_at_ms,
    }
}

fn event<'a>(flow: &'a Flow<'a>, zones: Option<ZonePair<'a>>) -> Event<'a> {
    Event { origin: origin(Some(READ_AT)), body: Body::Flow(flow), zones }
}

fn encode_with(config: Config, event: &Event<'_>) -> Value {
    let mut out = Vec::new();
    Encoder::new(config).encode(event, &mut out);
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn encode(flow: &Flow<'_>) -> Value {
    encode_with(Config::default(), &event(flow, None))
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn some(text: &str) -> Option<Text<'_>> {
    Some(Cow::Borrowed(text))
}

fn texts<'a>(all: &[&'a str]) -> Vec<Text<'a>> {
    all.iter().copied().map(Cow::Borrowed).collect()
}

fn labels<'a>(all: &[(&'a str, &'a str)]) -> Vec<(Text<'a>, Text<'a>)> {
    all.iter().map(|&(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))).collect()
}

/// Pod to pod, allowed, as the destination saw it, nothing aggregated.
fn pods() -> Flow<'static> {
    Flow {
        start_time: Some(1_597_166_083),
        end_time: Some(1_597_166_383),
        source: End {
            ip: ip("192.168.47.9"),
            port: Some(42_106),
            name: some("access-6b687c8dcb-zn5s2"),
            name_aggr: some("access-6b687c8dcb-*"),
            namespace: some("policy-demo"),
            kind: Some(EndpointType::Workload),
            labels: labels(&[("app", "access"), ("pod-template-hash", "6b687c8dcb")]),
        },
        dest: End {
            ip: ip("192.168.138.79"),
            port: Some(80),
            name: some("nginx-86c57db685-h6792"),
            name_aggr: some("nginx-86c57db685-*"),
            namespace: some("policy-demo"),
            kind: Some(EndpointType::Workload),
            labels: labels(&[("app", "nginx"), ("pod-template-hash", "86c57db685")]),
        },
        protocol: Some(Protocol::TCP),
        action: Some(Action::Allow),
        reporter: Some(Reporter::DST),
        policies: Policies {
            enforced: texts(&[
                "0|tier1|ns1/tier1.policy1|pass|3",
                "1|default|policy-demo/default.access-nginx|allow|2",
            ]),
            ..Policies::default()
        },
        bytes_in: Some(388),
        bytes_out: Some(1113),
        packets_in: Some(6),
        packets_out: Some(5),
        num_flows: Some(1),
        num_flows_started: Some(1),
        num_flows_completed: Some(1),
        http_requests_allowed_in: Some(0),
        host: some("bz-n8kf-kadm-node-1"),
        tcp: TcpStats { mean_mss: Some(0), lost_packets: Some(0), ..TcpStats::default() },
        ..Flow::default()
    }
}

#[test]
fn the_ordinary_document_whole() {
    let expected = json!({
        "@timestamp": "2020-08-11T17:19:43.000Z", "ecs": {"version": "9.4.0"},
        "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
        "agent": {"type": "tidegate", "version": env!("CARGO_PKG_VERSION"), "name": "node-1"},
        "log": {"file": {"path": "/var/log/calico/flowlogs/flows.log"}},
        "event": {"kind": "event", "category": ["network"], "type": ["connection", "allowed"], "action": "network_flow",
            "outcome": "success", "module": "calico", "dataset": "calico.flow", "provider": "felix",
            "start": "2020-08-11T17:14:43.000Z", "end": "2020-08-11T17:19:43.000Z", "duration": 300_000_000_000_u64,
            "created": "2020-08-11T17:19:52.118Z", "ingested": "2020-08-11T17:19:52.118Z",
            "id": origin(None).id.as_str()},
        "source": {"address": "192.168.47.9", "ip": "192.168.47.9", "port": 42106, "domain": "access-6b687c8dcb-zn5s2",
            "bytes": 388, "packets": 6},
        "destination": {"address": "192.168.138.79", "ip": "192.168.138.79", "port": 80,
            "domain": "nginx-86c57db685-h6792", "bytes": 1113, "packets": 5},
        "network": {"transport": "tcp", "iana_number": "6", "type": "ipv4", "direction": "ingress", "bytes": 1501,
            "packets": 11, "community_id": "1:jsSUNIKPZA87snKVcO7leLM+Loo="},
        "related": {"ip": ["192.168.47.9", "192.168.138.79"],
            "hosts": ["bz-n8kf-kadm-node-1", "access-6b687c8dcb-zn5s2", "nginx-86c57db685-h6792"]},
        "rule": {"name": "policy-demo/default.access-nginx", "ruleset": "default", "category": "policy",
            "id": "default|policy-demo/default.access-nginx|allow|2"},
        "host": {"name": "bz-n8kf-kadm-node-1", "hostname": "bz-n8kf-kadm-node-1"},
        "observer": {"vendor": "Tigera", "product": "Calico Enterprise", "type": "firewall",
            "hostname": "bz-n8kf-kadm-node-1"},
        "orchestrator": {"type": "kubernetes", "cluster": {"name": "prod-eu-1"}, "namespace": "policy-demo",
            "resource": {"type": "pod", "name": "nginx-86c57db685-h6792", "ip": ["192.168.138.79"],
                "label": ["app:nginx", "pod-template-hash:86c57db685"]}},
        "tags": ["calico", "forwarded"],
        "calico": {"action": "allow", "reporter": ["dst"], "aggregated": false,
            "source": {"type": "wep", "namespace": "policy-demo", "name": "access-6b687c8dcb-zn5s2",
                "name_aggr": "access-6b687c8dcb-*", "labels": {"app": "access", "pod-template-hash": "6b687c8dcb"}},
            "dest": {"type": "wep", "namespace": "policy-demo", "name": "nginx-86c57db685-h6792",
                "name_aggr": "nginx-86c57db685-*", "labels": {"app": "nginx", "pod-template-hash": "86c57db685"}},
            "policies": {"enforced": ["0|tier1|ns1/tier1.policy1|pass|3",
                "1|default|policy-demo/default.access-nginx|allow|2"]},
            "num_flows": 1, "num_flows_started": 1, "num_flows_completed": 1, "log": {"offset": 4096}}
    });
    assert_eq!(encode(&pods()), expected);
}

/// Changes the ordinary flow and looks at parts of its document; `null` means that the part must be absent.
fn check(change: impl FnOnce(&mut Flow<'static>), expected: &[(&str, Value)]) {
    let mut flow = pods();
    change(&mut flow);
    look(&encode(&flow), expected);
}

fn look(document: &Value, expected: &[(&str, Value)]) {
    for (pointer, value) in expected {
        assert_eq!(document.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {document:#}");
    }
}

#[test]
fn times() {
    let (end, shipper, read) = ("2020-08-11T17:19:43.000Z", "2020-08-11T17:20:00.500Z", "2020-08-11T17:19:52.118Z");
    for (end_time, timestamp_ms, expected) in [
        (Some(1_597_166_383), Some(1), end),
        (None, Some(1_597_166_400_500), shipper),
        (Some(0), Some(1_597_166_400_500), shipper),
        (Some(i64::MAX), None, read),
        (Some(-62_167_219_201), Some(i64::MIN), read),
        (None, None, read),
    ] {
        let change = |flow: &mut Flow<'static>| {
            (flow.end_time, flow.timestamp_ms) = (end_time, timestamp_ms);
        };
        check(change, &[("/@timestamp", json!(expected))]);
    }
    check(|flow| flow.start_time = flow.end_time.map(|end| end + 1), &[("/event/duration", Value::Null)]);
    check(|flow| flow.end_time = None, &[("/event/end", Value::Null), ("/event/duration", Value::Null)]);
    check(
        |flow| (flow.start_time, flow.end_time) = (Some(1), Some(253_402_300_799)),
        &[("/event/end", json!("9999-12-31T23:59:59.000Z")), ("/event/duration", Value::Null)],
    );
}

#[test]
fn no_clock() {
    let flow = Flow::default();
    let document =
        encode_with(Config::default(), &Event { origin: origin(None), body: Body::Flow(&flow), zones: None });
    look(
        &document,
        &[
            ("/@timestamp", json!("1970-01-01T00:00:00.000Z")),
            ("/event/created", Value::Null),
            ("/event/ingested", Value::Null),
        ],
    );
}

#[test]
fn verdicts() {
    check(
        |flow| flow.action = Some(Action::Deny),
        &[
            ("/event/type", json!(["connection", "denied"])),
            ("/event/outcome", json!("failure")),
            ("/event/action", json!("flow_denied")),
            ("/calico/action", json!("deny")),
        ],
    );
    check(
        |flow| flow.action = None,
        &[
            ("/event/type", json!(["connection"])),
            ("/event/outcome", json!("unknown")),
            ("/calico/action", Value::Null),
        ],
    );
    let config = Config { denied_outcome: DeniedOutcome::Success, ..Config::default() };
    let flow = Flow { action: Some(Action::Deny), ..pods() };
    look(&encode_with(config, &event(&flow, None)), &[("/event/outcome", json!("success"))]);
}

#[test]
fn aggregated_ends_keep_what_is_known() {
    check(
        |flow| {
            (flow.source.ip, flow.source.port, flow.source.name) = (None, None, None);
            flow.dest = End { name_aggr: some("pub"), kind: Some(EndpointType::Network), ..End::default() };
        },
        &[
            ("/source", json!({"address": "policy-demo/access-6b687c8dcb-*", "bytes": 388, "packets": 6})),
            ("/destination", json!({"address": "pub", "bytes": 1113, "packets": 5})),
            ("/related", json!({"hosts": ["bz-n8kf-kadm-node-1"]})),
            ("/network/community_id", Value::Null),
            ("/network/type", Value::Null),
            ("/tags", json!(["calico", "forwarded", "aggregated"])),
            ("/calico/aggregated", json!(true)),
            ("/orchestrator", json!({"type": "kubernetes", "cluster": {"name": "prod-eu-1"}})),
        ],
    );
}

#[test]
fn protocols() {
    for (protocol, transport, number) in [
        (Protocol::ICMP6, json!("ipv6-icmp"), "58"),
        (Protocol(4), json!("ipv4"), "4"),
        (Protocol(200), Value::Null, "200"),
    ] {
        check(
            |flow| flow.protocol = Some(protocol),
            &[("/network/transport", transport), ("/network/iana_number", json!(number))],
        );
    }
    check(|flow| flow.protocol = Some(Protocol::ICMP), &[("/network/community_id", Value::Null)]);
}

#[test]
fn names_of_ends() {
    check(
        |flow| {
            flow.dest = End { kind: Some(EndpointType::NetworkSet), name: some("aws"), ..End::default() };
            flow.dest_domains = texts(&["api.example.com"]);
        },
        &[
            ("/destination/domain", json!("api.example.com")),
            ("/related/hosts", json!(["bz-n8kf-kadm-node-1", "access-6b687c8dcb-zn5s2", "api.example.com"])),
            ("/calico/dest_domains", json!(["api.example.com"])),
        ],
    );
    check(
        |flow| {
            flow.dest.kind = Some(EndpointType::NetworkSet);
            flow.dest_domains = texts(&["a.example.com", "b.example.com"]);
        },
        &[("/destination/domain", Value::Null)],
    );
    // A pod keeps its own name.
    check(
        |flow| flow.dest_domains = texts(&["api.example.com"]),
        &[("/destination/domain", json!("nginx-86c57db685-h6792"))],
    );
    check(
        |flow| {
            flow.source.kind = Some(EndpointType::Host);
            flow.source.name = some("worker-7-eth0");
            flow.source.name_aggr = some("worker-7");
        },
        &[
            ("/source/domain", json!("worker-7-eth0")),
            ("/related/hosts", json!(["bz-n8kf-kadm-node-1", "worker-7-eth0", "worker-7", "nginx-86c57db685-h6792"])),
        ],
    );
    check(|flow| flow.host = None, &[("/host/name", json!("node-1")), ("/observer/hostname", json!("node-1"))]);
}

#[test]
fn reporters() {
    check(
        |flow| flow.reporter = Some(Reporter::SRC),
        &[
            ("/network/direction", json!("egress")),
            ("/source/bytes", json!(1113)),
            ("/orchestrator/resource/name", json!("access-6b687c8dcb-zn5s2")),
        ],
    );
    check(
        |flow| flow.reporter = Some(Reporter::FWD),
        &[
            ("/network/direction", Value::Null),
            ("/network/bytes", json!(1501)),
            ("/source/bytes", Value::Null),
            ("/calico/bytes_in", json!(388)),
            ("/calico/packets_out", json!(5)),
            ("/orchestrator/namespace", Value::Null),
            ("/calico/reporter", json!(["fwd"])),
        ],
    );
    check(
        |flow| flow.reporter = Some(Reporter { dst: true, fwd: true, src: false }),
        &[
            ("/network/direction", json!("ingress")),
            ("/calico/reporter", json!(["dst", "fwd"])),
            ("/calico/bytes_in", Value::Null),
        ],
    );
}

#[test]
fn rules() {
    for (enforced, category, id) in [
        ("0|__PROFILE__|__PROFILE__.kns.shop|allow|0", "profile", "__PROFILE__|__PROFILE__.kns.shop|allow|0"),
        ("2|app|shop/app.cart|deny|-1", "end-of-tier", "app|shop/app.cart|deny|-1"),
        ("0|default|policy-demo/default.access|allow", "policy", "default|policy-demo/default.access|allow"),
    ] {
        check(
            |flow| flow.policies.enforced = texts(&[enforced]),
            &[("/rule/category", json!(category)), ("/rule/id", json!(id))],
        );
    }
    check(|flow| flow.policies = Policies::default(), &[("/rule", Value::Null), ("/calico/policies", Value::Null)]);
}

#[test]
fn zones() {
    let flow = pods();
    for (source, dest, tags) in [
        ("dmz", "internal", json!(["calico", "forwarded", "cross-zone"])),
        ("dmz", "dmz", json!(["calico", "forwarded"])),
        ("unknown", "dmz", json!(["calico", "forwarded"])),
    ] {
        look(
            &encode_with(Config::default(), &event(&flow, Some(ZonePair { source, dest }))),
            &[("/observer/ingress/zone", json!(source)), ("/observer/egress/zone", json!(dest)), ("/tags", tags)],
        );
    }
}

fn with_process() -> Flow<'static> {
    let process = Process {
        name: some("/usr/bin/python3.11"),
        id: some("4711"),
        args: texts(&["python3", "--password=hunter2"]),
        num_names: Some(1),
        num_ids: Some(2),
        num_args: Some(1),
    };
    Flow { process, ..pods() }
}

#[test]
fn processes() {
    let flow = with_process();
    for (process_args, args) in [
        (ProcessArgs::Keep, json!(["python3", "--password=hunter2"])),
        (ProcessArgs::Redact, json!(["***", "***"])),
        (ProcessArgs::Drop, Value::Null),
    ] {
        let config = Config { process_args, ..Config::default() };
        look(
            &encode_with(config, &event(&flow, None)),
            &[
                ("/process/name", json!("python3.11")),
                ("/process/executable", json!("/usr/bin/python3.11")),
                ("/process/pid", json!(4711)),
                ("/process/args", args),
                ("/calico/process", json!({"count": 1, "ids_count": 2, "args_count": 1})),
            ],
        );
    }
    // What follows the last slash would have looked like the log's "several".
    check(|flow| flow.process.name = some("/*"), &[("/process", json!({"name": "/*", "executable": "/*"}))]);
    check(
        |flow| flow.process.name = some("nginx: worker"),
        &[("/process", json!({"name": "nginx: worker"})), ("/calico/process", Value::Null)],
    );
}

#[test]
fn the_rest_of_the_log() {
    check(
        |flow| {
            flow.service =
                Service { namespace: some("shop"), name: some("cart"), port_name: some("http"), port: Some(8080) };
            flow.nat_outgoing_ports = vec![40_001];
            flow.http_requests_denied_in = Some(3);
            flow.original_source_ips = vec!["2001:db8::1".parse().unwrap()];
            flow.num_original_source_ips = Some(60);
            flow.tcp.mean_mss = Some(1408);
        },
        &[
            ("/service", json!({"target": {"name": "cart"}})),
            ("/calico/dest_service", json!({"namespace": "shop", "name": "cart", "port_name": "http", "port": 8080})),
            ("/source/nat", json!({"port": 40001})),
            ("/calico/http", json!({"requests_denied_in": 3})),
            ("/network/forwarded_ip", json!("2001:db8::1")),
            ("/related/ip", json!(["192.168.47.9", "192.168.138.79", "2001:db8::1"])),
            ("/calico/num_original_source_ips", json!(60)),
            ("/calico/tcp", json!({"mean_mss": 1408, "lost_packets": 0})),
        ],
    );
    check(
        |flow| {
            flow.nat_outgoing_ports = vec![40_001, 40_002];
            flow.original_source_ips = vec![ip("192.168.47.9").unwrap(); 2];
        },
        &[
            ("/source/nat", Value::Null),
            ("/network/forwarded_ip", Value::Null),
            ("/related/ip", json!(["192.168.47.9", "192.168.138.79"])),
        ],
    );
}

#[test]
fn the_frame_follows_its_event() {
    // One encoder, changing places: nothing of the last event may stay in the next one's document.
    let mut encoder = Encoder::new(Config { namespace: "edge".to_owned(), ..Config::default() });
    let flow = Flow { host: None, ..pods() };
    for (cluster, node, path) in
        [("c1", "n1", Some("/a")), ("c1", "n1", Some("/b")), ("c2", "n2", None), ("c1", "n\"1", Some("/a"))]
    {
        let mut out = Vec::new();
        let origin = Origin { cluster, node, path, ..origin(None) };
        encoder.encode(&Event { origin, body: Body::Flow(&flow), zones: None }, &mut out);
        let document = serde_json::from_slice(&out).unwrap();
        look(
            &document,
            &[
                ("/orchestrator/cluster/name", json!(cluster)),
                ("/agent/name", json!(node)),
                ("/host/hostname", json!(node)),
                ("/log/file/path", path.map_or(Value::Null, |path| json!(path))),
                ("/data_stream/namespace", json!("edge")),
            ],
        );
    }
}

#[test]
fn the_stream_has_the_documents_parts() {
    let config = Config { namespace: "edge".to_owned(), ..Config::default() };
    assert_eq!(config.data_stream(), "logs-calico.flow-edge");
}

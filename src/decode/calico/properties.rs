//! What holds for every line.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::net::Protocol;
use crate::model::{Action, End, EndpointType, Policies, Process, Reporter, Service, TcpStats, Text};

/// Name and JSON text of one member.
type Member = (String, String);

fn line(members: &[Member]) -> String {
    let members: Vec<String> = members.iter().map(|(name, json)| format!("{}:{json}", json!(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A flow as the log writes it, nulls and sentinels included.
fn members(flow: &Flow<'_>) -> Vec<Member> {
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut put = |name: &str, value: Value| all.push((name.to_owned(), value));
    for (prefix, end) in [("source", &flow.source), ("dest", &flow.dest)] {
        put(&format!("{prefix}_ip"), json!(end.ip.map(|ip| ip.to_string())));
        put(&format!("{prefix}_port"), json!(end.port));
        put(&format!("{prefix}_name"), word(&end.name));
        put(&format!("{prefix}_name_aggr"), word(&end.name_aggr));
        put(&format!("{prefix}_namespace"), word(&end.namespace));
        put(&format!("{prefix}_type"), json!(end.kind.map_or("-", EndpointType::as_str)));
        let labels: Vec<String> = end.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        put(&format!("{prefix}_labels"), if labels.is_empty() { Value::Null } else { json!({ "labels": labels }) });
    }
    put("start_time", json!(flow.start_time));
    put("end_time", json!(flow.end_time));
    put("@timestamp", json!(flow.timestamp_ms));
    put("dest_service_namespace", word(&flow.service.namespace));
    put("dest_service_name", word(&flow.service.name));
    put("dest_service_port", flow.service.port_name.as_ref().map_or(json!("*"), |name| json!(name)));
    put("dest_service_port_num", json!(flow.service.port));
    put("dest_domains", list(&flow.dest_domains));
    put("nat_outgoing_ports", json!(flow.nat_outgoing_ports));
    put("proto", json!(flow.protocol.map_or("-".to_owned(), |p| p.0.to_string())));
    put("action", json!(flow.action.map(Action::as_str)));
    put("reporter", flow.reporter.map_or(Value::Null, |reporter| json!(reporter_list(reporter))));
    put(
        "policies",
        json!({
            "enforced_policies": flow.policies.enforced, "all_policies": flow.policies.all,
            "pending_policies": flow.policies.pending, "transit_policies": list(&flow.policies.transit),
        }),
    );
    let tcp = &flow.tcp;
    for (name, number) in [
        ("bytes_in", flow.bytes_in),
        ("bytes_out", flow.bytes_out),
        ("packets_in", flow.packets_in),
        ("packets_out", flow.packets_out),
        ("num_flows", flow.num_flows),
        ("num_flows_started", flow.num_flows_started),
        ("num_flows_completed", flow.num_flows_completed),
        ("http_requests_allowed_in", flow.http_requests_allowed_in),
        ("http_requests_denied_in", flow.http_requests_denied_in),
        ("num_process_names", flow.process.num_names),
        ("num_process_ids", flow.process.num_ids),
        ("num_process_args", flow.process.num_args),
        ("num_original_source_ips", flow.num_original_source_ips),
        ("tcp_mean_send_congestion_window", tcp.mean_send_congestion_window),
        ("tcp_min_send_congestion_window", tcp.min_send_congestion_window),
        ("tcp_mean_smooth_rtt", tcp.mean_smooth_rtt),
        ("tcp_max_smooth_rtt", tcp.max_smooth_rtt),
        ("tcp_mean_min_rtt", tcp.mean_min_rtt),
        ("tcp_max_min_rtt", tcp.max_min_rtt),
        ("tcp_mean_mss", tcp.mean_mss),
        ("tcp_min_mss", tcp.min_mss),
        ("tcp_total_retransmissions", tcp.total_retransmissions),
        ("tcp_lost_packets", tcp.lost_packets),
        ("tcp_unrecovered_to", tcp.unrecovered_to),
    ] {
        put(name, json!(number));
    }
    put("process_name", word(&flow.process.name));
    put("process_id", word(&flow.process.id));
    put("process_args", if flow.process.args.is_empty() { json!(["-"]) } else { json!(flow.process.args) });
    put("original_source_ips", list(&flow.original_source_ips));
    put("host", json!(flow.host));
    all.into_iter().map(|(name, value)| (name, value.to_string())).collect()
}

fn word(text: &Option<Text<'_>>) -> Value {
    json!(text.as_deref().unwrap_or("-"))
}

fn list<T: ToString>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list.iter().map(T::to_string).collect::<Vec<_>>()) }
}

fn reporter_list(reporter: Reporter) -> String {
    let Reporter { src, dst, fwd } = reporter;
    let names = [(src, "src"), (dst, "dst"), (fwd, "fwd")];
    names.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// Any text that is no sentinel.
fn text() -> impl Strategy<Value = Text<'static>> {
    let any = prop_oneof!["[a-z0-9.-]{2,30}", any::<String>(), r#"[\\"/|=\x00-\x1f\x{202e}🦀é]{1,8}"#];
    any.prop_filter("a sentinel", |text| !matches!(text.as_str(), "" | "-" | "*")).prop_map(Text::Owned)
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn end() -> impl Strategy<Value = End<'static>> {
    let kind = proptest::sample::select(vec![
        EndpointType::Workload,
        EndpointType::Host,
        EndpointType::NetworkSet,
        EndpointType::Network,
    ]);
    let label = ("[a-z0-9./-]{2,12}".prop_map(Text::Owned), any::<String>().prop_map(Text::Owned));
    (of(any::<IpAddr>()), of(port()), of(text()), of(text()), of(text()), of(kind), vec(label, 0..4)).prop_map(
        |(ip, port, name, name_aggr, namespace, kind, labels)| End {
            ip,
            port,
            name,
            name_aggr,
            namespace,
            kind,
            labels,
        },
    )
}

/// In order, as the decoder leaves them.
fn trace() -> impl Strategy<Value = Vec<Text<'static>>> {
    vec(any::<String>(), 0..4).prop_map(|names| {
        names.iter().enumerate().map(|(at, name)| Text::Owned(format!("{at}|tier|{name}|allow|0"))).collect()
    })
}

fn tcp() -> impl Strategy<Value = TcpStats> {
    vec(of(any::<u64>()), 11).prop_map(|n| TcpStats {
        mean_send_congestion_window: n[0],
        min_send_congestion_window: n[1],
        mean_smooth_rtt: n[2],
        max_smooth_rtt: n[3],
        mean_min_rtt: n[4],
        max_min_rtt: n[5],
        mean_mss: n[6],
        min_mss: n[7],
        total_retransmissions: n[8],
        lost_packets: n[9],
        unrecovered_to: n[10],
    })
}

fn reporter() -> impl Strategy<Value = Reporter> {
    let any = any::<(bool, bool, bool)>().prop_map(|(src, dst, fwd)| Reporter { src, dst, fwd });
    any.prop_filter("nobody", |reporter| *reporter != Reporter::default())
}

fn a_flow() -> impl Strategy<Value = Flow<'static>> {
    let service = (of(text()), of(text()), of(text()), of(port()));
    let policies = (trace(), trace(), trace(), trace());
    let process = (of(text()), of(text()), vec(text(), 0..3));
    let action = proptest::sample::select(vec![Action::Allow, Action::Deny]);
    let lists = (vec(text(), 0..3), vec(port(), 0..3), vec(any::<IpAddr>(), 0..3));
    let words = (of(any::<u8>().prop_map(Protocol)), of(action), of(reporter()), of(text()));
    let numbers = (vec(of(any::<i64>()), 3), vec(of(any::<u64>()), 13));
    (end(), end(), service, policies, process, lists, words, numbers, tcp()).prop_map(
        |(source, dest, service, policies, process, lists, words, (times, counts), tcp)| Flow {
            start_time: times[0],
            end_time: times[1],
            timestamp_ms: times[2],
            source,
            dest,
            service: Service { namespace: service.0, name: service.1, port_name: service.2, port: service.3 },
            dest_domains: lists.0,
            nat_outgoing_ports: lists.1,
            original_source_ips: lists.2,
            protocol: words.0,
            action: words.1,
            reporter: words.2,
            host: words.3,
            policies: Policies { enforced: policies.0, all: policies.1, pending: policies.2, transit: policies.3 },
            bytes_in: counts[0],
            bytes_out: counts[1],
            packets_in: counts[2],
            packets_out: counts[3],
            num_flows: counts[4],
            num_flows_started: counts[5],
            num_flows_completed: counts[6],
            http_requests_allowed_in: counts[7],
            http_requests_denied_in: counts[8],
            process: Process {
                name: process.0,
                id: process.1,
                args: process.2,
                num_names: counts[9],
                num_ids: counts[10],
                num_args: counts[11],
            },
            num_original_source_ips: counts[12],
            tcp,
            escape_free: false,
            extra: Vec::new(),
        },
    )
}

/// What a line says, without the word on escapes; which must be true.
fn read<'a>(line: &'a [u8], scratch: &'a mut String) -> Result<Flow<'a>, DecodeError> {
    let flow = decode(line, scratch)?;
    let special = |c: char| c < ' ' || matches!(c, '"' | '\\');
    let odd = texts(&flow).into_iter().find(|text| text.contains(special));
    assert!(!flow.escape_free || odd.is_none(), "{odd:?} is said to need no escape");
    Ok(Flow { escape_free: false, ..flow })
}

/// All texts of a flow but the unknown fields'.
fn texts<'f>(flow: &'f Flow<'_>) -> Vec<&'f str> {
    let (service, process, policies) = (&flow.service, &flow.process, &flow.policies);
    let ends = [&flow.source, &flow.dest];
    let names = ends.into_iter().flat_map(|end| [&end.name, &end.name_aggr, &end.namespace]).chain([
        &service.namespace,
        &service.name,
        &service.port_name,
        &process.name,
        &process.id,
        &flow.host,
    ]);
    let labels = ends.into_iter().flat_map(|end| &end.labels).flat_map(|(name, value)| [name, value]);
    let lists =
        [&flow.dest_domains, &process.args, &policies.enforced, &policies.all, &policies.pending, &policies.transit];
    names.flatten().chain(labels).chain(lists.into_iter().flatten()).map(AsRef::as_ref).collect()
}

/// JSON text of any shape, some of it no value of any field.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| json!(text).to_string()),
        Just(r#""\u002d""#.to_owned()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let array = vec(inner.clone(), 0..4).prop_map(|items| format!("[ {}]", items.join(" ,")));
        let object = vec((any::<String>(), inner), 0..4).prop_map(|members| line(&members));
        prop_oneof![array, object]
    })
}

/// Names that no field has.
fn unknown_name() -> impl Strategy<Value = String> {
    prop_oneof!["source_[a-z]{9,12}", "dest_service_x[a-z]{0,9}", "tcp_x[a-z]{0,9}", "[A-Z🦀\"\\\\\n]{1,9}"]
}

/// What JSON can be made odd with.
const PIECES: &[&str] = &[
    "null",
    "true",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u00e9",
    "\\ud83d",
    "\\ud83d\\ude00",
    "\\\"",
    "-",
    "\"-\"",
    "\"*\"",
    "\"\"",
    "0",
    "00",
    "-0",
    "1.5",
    "1e3",
    "1e999",
    ".",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775808",
    "65535",
    "65536",
    "256",
    "10.0.0.01",
    "1.2.3.4",
    "::ffff:1.2.3.4",
    "\"end_time\":1,",
    "\"dest_port\":80,",
    "\"policies\":{},",
    "\"labels\":",
    "\"x\":[[[{}]]],",
    "\"source_x\":\"y\",",
    " ",
    "\t",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "\u{feff}",
    "é",
    "🦀",
    "|",
    "=",
    "labels",
    "all_policies",
    "host",
    "@timestamp",
];

/// One change: at a place, so many bytes replaced by a piece, by a stretch of the line itself, or by any bytes.
type Change = (proptest::sample::Index, usize, usize, proptest::sample::Index, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let cut = prop_oneof![4 => Just(0usize), 4 => 1..4usize, 2 => 4..40usize, 1 => 40..2000usize];
    let noise = vec(any::<u8>(), 0..4);
    vec((any::<proptest::sample::Index>(), cut, 0..PIECES.len() + 20, any::<proptest::sample::Index>(), noise), 0..4)
}

fn changed(mut line: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for (at, cut, piece, from, noise) in changes {
        let at = at.index(line.len() + 1);
        let end = (at + cut).min(line.len());
        let piece: Vec<u8> = match PIECES.get(piece) {
            Some(piece) => piece.as_bytes().to_vec(),
            None if piece % 2 == 0 => noise,
            None => {
                let from = from.index(line.len() + 1);
                line[from..(from + cut + 8).min(line.len())].to_vec()
            }
        };
        line.splice(at..end, piece);
    }
    line
}

/// Lines of the fixtures.
fn fixture_lines() -> Vec<Vec<u8>> {
    let cases = fixtures::cases();
    cases.iter().flat_map(|(_, input)| input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Lines of the fixtures with up to three changes, each read by all.
    #[test]
    fn the_scanner_agrees_on_changed_fixtures(
        line in proptest::sample::select(fixture_lines()),
        changes in vec(changes(), 1..12),
    ) {
        let mut decoder = Decoder::default();
        for changes in changes {
            cross_check(&changed(line.clone(), changes), &mut decoder);
        }
    }
}

proptest! {
    /// Generated lines: in order, shuffled, a member repeated or put in, then changed.
    #[test]
    fn the_scanner_agrees_on_changed_flows(
        (flow, shuffled) in a_flow().prop_flat_map(|flow| {
            let shuffled = Just(members(&flow)).prop_shuffle();
            (Just(flow), shuffled)
        }),
        more in vec((unknown_name(), json_text(), any::<proptest::sample::Index>()), 0..3),
        again: proptest::sample::Index,
        changes in vec(changes(), 4),
    ) {
        let mut decoder = Decoder::default();
        let mut ordered = members(&flow);
        let mut check = |members: &[Member]| {
            cross_check(line(members).as_bytes(), &mut decoder);
            for changes in &changes {
                cross_check(&changed(line(members).into_bytes(), changes.clone()), &mut decoder);
            }
        };
        check(&shuffled);
        for (name, value, at) in more {
            ordered.insert(at.index(ordered.len()), (name, value));
        }
        check(&ordered);
        ordered.push(shuffled[again.index(shuffled.len())].clone());
        check(&ordered);
    }

    /// The generator's own lines, plain words only: here the scanner must answer.
    #[test]
    fn the_scanner_takes_what_felix_writes(flow in a_flow()) {
        let text = line(&members(&flow));
        let plain = scan_is_for(&text, &flow);
        let agreement = cross_check(text.as_bytes(), &mut Decoder::default());
        if plain {
            prop_assert_eq!(agreement, Agreement::Scanned, "{}", text);
        }
    }
}

/// No escape, and every number small enough.
fn scan_is_for(text: &str, flow: &Flow<'_>) -> bool {
    let times = [flow.start_time, flow.end_time, flow.timestamp_ms];
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    !text.contains('\\') && times.iter().flatten().all(|time| *time >= 0) && longest < Some(20)
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, &mut String::new());
    }

    #[test]
    fn damaged_lines_never_panic(flow in a_flow(), at: proptest::sample::Index, cut in 0..20usize, noise in vec(any::<u8>(), 0..6)) {
        let mut damaged = line(&members(&flow)).into_bytes();
        let at = at.index(damaged.len());
        damaged.splice(at..(at + cut).min(damaged.len()), noise);
        let mut scratch = String::new();
        if let Err(error) = read(&damaged, &mut scratch) {
            prop_assert!(error.message.len() < 500, "{}", error.message);
        }
    }

    #[test]
    fn what_is_written_is_read(flow in a_flow()) {
        let (text, mut scratch) = (line(&members(&flow)), String::new());
        prop_assert_eq!(&read(text.as_bytes(), &mut scratch), &Ok(flow), "{}", text);
        prop_assert!(scratch.is_empty(), "a clean line was copied");
    }

    #[test]
    fn the_first_pass_takes_what_is_written(flow in a_flow()) {
        let text = line(&members(&flow));
        prop_assert_eq!(passes::first(&text), Some(flow));
    }

    #[test]
    fn order_does_not_matter((flow, shuffled) in a_flow().prop_flat_map(|flow| {
        let shuffled = Just(members(&flow)).prop_shuffle();
        (Just(flow), shuffled)
    })) {
        let (text, mut scratch) = (line(&shuffled), String::new());
        prop_assert_eq!(read(text.as_bytes(), &mut scratch), Ok(flow), "{}", text);
    }

    #[test]
    fn unknown_fields_are_kept(flow in a_flow(), name in unknown_name(), value in json_text(), at: proptest::sample::Index) {
        let mut members = members(&flow);
        members.insert(at.index(members.len()), (name.clone(), value.clone()));
        let (text, mut scratch) = (line(&members), String::new());
        let expected = Flow { extra: vec![(name.into(), value.into())], ..flow };
        prop_assert_eq!(read(text.as_bytes(), &mut scratch), Ok(expected), "{}", text);
    }

    /// Whatever stands in one field, the others are read, and the second pass agrees with the first.
    #[test]
    fn a_bad_value_spoils_only_itself(flow in a_flow(), value in json_text(), at: proptest::sample::Index) {
        let mut members = members(&flow);
        let at = at.index(members.len());
        members[at].1 = value;
        let (text, mut scratch) = (line(&members), String::new());
        let read = decode(text.as_bytes(), &mut scratch).map_err(|error| TestCaseError::fail(error.message))?;
        for (name, _) in &read.extra {
            prop_assert!(name.split('.').next() == Some(members[at].0.as_str()), "{name} of {text}");
        }
        // With that field taken out, nothing differs.
        let without = |flow: &Flow<'_>| {
            let mut rest = self::members(flow);
            rest.remove(at);
            rest
        };
        prop_assert_eq!(without(&read), without(&flow), "{}", text);
        if let Some(first) = passes::first(&text) {
            prop_assert_eq!(Ok(first), passes::second(&text).map_err(|_| ()), "{}", text);
        }
    }
}

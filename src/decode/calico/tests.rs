//! Field by field, oddity by oddity; properties over generated lines are in `properties.rs`.

use super::*;
use crate::model::net::Protocol;
use crate::model::{Action, EndpointType, Reporter};

/// The smallest thing that is a flow, to hang the fields of a test on.
fn with(fields: &str) -> String {
    format!(r#"{{"reporter":"src"{}{fields}}}"#, if fields.is_empty() { "" } else { "," })
}

/// All readers must read the line alike, unless one leaves it to the next.
#[track_caller]
fn flow<'a>(line: &'a str, scratch: &'a mut String) -> Flow<'a> {
    let flow = decode(line.as_bytes(), scratch).unwrap_or_else(|error| panic!("{line}: {error}"));
    if let Some(first) = passes::first(line) {
        assert_eq!(first, passes::second(line).expect("the first pass took it"), "{line}");
    }
    cross_check(line.as_bytes(), &mut Decoder::default());
    flow
}

/// What `show` prints of the flow that `fields` make.
#[track_caller]
fn check(fields: &str, show: impl Fn(&Flow<'_>) -> String, expected: &str) {
    let (line, mut scratch) = (with(fields), String::new());
    assert_eq!(show(&flow(&line, &mut scratch)), expected, "{line}");
}

fn shown(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

#[test]
fn numbers() {
    let count = |fields: &str, expected: &str| check(fields, |flow| shown((flow.bytes_in, &flow.extra)), expected);
    count("", "(None, [])");
    count(r#""bytes_in":0"#, "(Some(0), [])");
    count(r#""bytes_in":18446744073709551615"#, "(Some(18446744073709551615), [])");
    count(r#""bytes_in":"42""#, "(Some(42), [])");
    count(r#""bytes_in":null"#, "(None, [])");
    count(r#""bytes_in":"-""#, "(None, [])");
    for odd in [
        "18446744073709551616",
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "1e400",
        "true",
        "[1]",
        r#"{ "a" : 1 }"#,
        r#""+5""#,
        r#"" 5""#,
        r#""0x5""#,
        r#""18446744073709551616""#,
    ] {
        let quoted = format!("{odd:?}");
        count(&format!(r#""bytes_in": {odd} "#), &format!(r#"(None, [("bytes_in", {quoted})])"#));
    }
    let time = |fields: &str, expected: &str| check(fields, |flow| shown((flow.end_time, flow.extra.len())), expected);
    time(r#""end_time":1767225600"#, "(Some(1767225600), 0)");
    time(r#""end_time":-5"#, "(Some(-5), 0)");
    time(r#""end_time":"-5""#, "(Some(-5), 0)");
    time(r#""end_time":9223372036854775808"#, "(None, 1)");
    time(r#""end_time":"2026-01-01T00:00:00Z""#, "(None, 1)");
    time(r#""end_time":1767225600.25"#, "(None, 1)");
}

#[test]
fn ports() {
    let port = |value: &str, expected| {
        let fields = format!(r#""dest_port":{value}"#);
        check(&fields, |flow| shown((flow.dest.port, flow.extra.len())), expected);
    };
    port("443", "(Some(443), 0)");
    port("65535", "(Some(65535), 0)");
    port(r#""443""#, "(Some(443), 0)");
    port("0", "(None, 0)");
    port(r#""0""#, "(None, 0)");
    port("null", "(None, 0)");
    port(r#""*""#, "(None, 0)");
    port("65536", "(None, 1)");
    port("443.0", "(None, 1)");
    port("-1", "(None, 1)");
    port(r#""http""#, "(None, 1)");
    check(r#""nat_outgoing_ports":[40000,null,"40001",0]"#, |flow| shown(&flow.nat_outgoing_ports), "[40000, 40001]");
    check(r#""nat_outgoing_ports":[40000,70000]"#, |flow| shown(&flow.nat_outgoing_ports), "[]");
    check(r#""dest_service_port_num":8443"#, |flow| shown(flow.service.port), "Some(8443)");
}

#[test]
fn addresses() {
    let ip = |value: &str, expected| {
        let fields = format!(r#""source_ip":{value}"#);
        check(&fields, |flow| shown((flow.source.ip, flow.extra.len())), expected);
    };
    ip(r#""10.1.2.3""#, "(Some(10.1.2.3), 0)");
    ip(r#""2001:db8::7""#, "(Some(2001:db8::7), 0)");
    ip(r#""::ffff:10.0.0.1""#, "(Some(::ffff:10.0.0.1), 0)");
    ip("null", "(None, 0)");
    ip(r#""-""#, "(None, 0)");
    for odd in [r#""10.1.2""#, r#""10.1.2.300""#, r#""10.1.2.3/32""#, r#""fe80::1%eth0""#, r#""host""#, "167838211"] {
        ip(odd, "(None, 1)");
    }
    check(
        r#""original_source_ips":["203.0.113.9","2001:db8::1"]"#,
        |flow| shown(&flow.original_source_ips),
        "[203.0.113.9, 2001:db8::1]",
    );
    check(
        r#""original_source_ips":["203.0.113.9","unknown"]"#,
        |flow| shown((&flow.original_source_ips, &flow.extra)),
        r#"([], [("original_source_ips", "[\"203.0.113.9\",\"unknown\"]")])"#,
    );
}

#[test]
fn words() {
    let protocol = |value: &str, expected: Option<u8>| {
        let fields = format!(r#""proto":{value}"#);
        check(&fields, |flow| shown(flow.protocol), &format!("{:?}", expected.map(Protocol)));
    };
    for (text, number) in [("tcp", 6), ("UDP", 17), ("icmp", 1), ("icmp6", 58), ("sctp", 132), ("ipip", 4), ("esp", 50)]
    {
        protocol(&format!("{text:?}"), Some(number));
    }
    protocol(r#""99""#, Some(99));
    protocol("99", Some(99));
    protocol("null", None);
    protocol(r#""quic?""#, None);
    protocol("256", None);
    let action = |value: &str, expected| {
        let fields = format!(r#""action":{value}"#);
        check(&fields, |flow| shown((flow.action, flow.extra.len())), expected);
    };
    action(r#""allow""#, "(Some(Allow), 0)");
    action(r#""Deny""#, "(Some(Deny), 0)");
    action(r#""pass""#, "(None, 1)");
    action("null", "(None, 0)");
    let kind = |value: &str, expected: Option<EndpointType>| {
        let fields = format!(r#""dest_type":{value}"#);
        check(&fields, |flow| shown(flow.dest.kind), &format!("{expected:?}"));
    };
    kind(r#""wep""#, Some(EndpointType::Workload));
    kind(r#""hep""#, Some(EndpointType::Host));
    kind(r#""ns""#, Some(EndpointType::NetworkSet));
    kind(r#""net""#, Some(EndpointType::Network));
    kind(r#""mesh""#, None);
    kind(r#""-""#, None);
}

#[test]
fn reporters() {
    let check = |text: &str, expected: Option<Reporter>| {
        let (line, mut scratch) = (format!(r#"{{"proto":"tcp","reporter":{text:?}}}"#), String::new());
        let flow = flow(&line, &mut scratch);
        assert_eq!(flow.reporter, expected, "{text}");
        assert_eq!(flow.extra.len(), usize::from(expected.is_none() && !matches!(text, "" | "-")), "{text}");
    };
    let list = |src, dst, fwd| Some(Reporter { src, dst, fwd });
    check("src", Some(Reporter::SRC));
    check("dst", Some(Reporter::DST));
    check("fwd", Some(Reporter::FWD));
    check("dst, fwd", list(false, true, true));
    check("fwd,dst", list(false, true, true));
    check(" DST ,\tFwd , SRC", list(true, true, true));
    check("-", None);
    check("", None);
    check(" , ", None);
    check("dst, moon", None);
}

#[test]
fn sentinels_are_nothing() {
    for nothing in ["null", r#""-""#, r#""*""#, r#""""#] {
        let names = [
            "source_name",
            "source_name_aggr",
            "source_namespace",
            "source_type",
            "source_ip",
            "source_port",
            "dest_service_namespace",
            "dest_service_name",
            "dest_service_port",
            "dest_service_port_num",
            "dest_domains",
            "dest_labels",
            "source_labels",
            "policies",
            "nat_outgoing_ports",
            "proto",
            "action",
            "process_name",
            "process_id",
            "process_args",
            "num_process_ids",
            "original_source_ips",
            "host",
            "start_time",
            "tcp_mean_mss",
            "http_requests_denied_in",
        ];
        let fields: Vec<String> = names.iter().map(|name| format!("{name:?}:{nothing}")).collect();
        let expected = |escape_free| Flow { reporter: Some(Reporter::SRC), escape_free, ..Flow::default() };
        check(&fields.join(","), |flow| shown(*flow == expected(flow.escape_free)), "true");
    }
    check(r#""source_name_aggr":"web-7d9f-*""#, |flow| shown(&flow.source.name_aggr), r#"Some("web-7d9f-*")"#);
    check(r#""dest_domains":["-",null,"a.example"]"#, |flow| shown(&flow.dest_domains), r#"["a.example"]"#);
    let args = |fields: &str, expected: &str| check(fields, |flow| shown(&flow.process.args), expected);
    args(r#""process_args":["-"]"#, "[]");
    args(r#""process_args":["*"]"#, "[]");
    args(r#""process_args":["-","x"]"#, r#"["-", "x"]"#);
    args(r#""process_args":["tar -xf -",""]"#, r#"["tar -xf -", ""]"#);
}

#[test]
fn labels() {
    let labels = |value: &str, expected| {
        let fields = format!(r#""source_labels":{value}"#);
        check(&fields, |flow| shown((&flow.source.labels, &flow.extra)), expected);
    };
    labels(
        r#"{"labels":["app=web","app.kubernetes.io/name=web"]}"#,
        r#"([("app", "web"), ("app.kubernetes.io/name", "web")], [])"#,
    );
    labels(r#"["b=2","a=1"]"#, r#"([("b", "2"), ("a", "1")], [])"#);
    labels(
        r#"{"labels":["k=a=b==","empty=","bare","=v"]}"#,
        r#"([("k", "a=b=="), ("empty", ""), ("bare", ""), ("", "v")], [])"#,
    );
    labels(r#"{"labels":["a\u003d\"q\"=z"]}"#, r#"([("a", "\"q\"=z")], [])"#);
    labels(r#"{"labels":null}"#, "([], [])");
    labels("{}", "([], [])");
    labels(r#"{"labels":[1]}"#, r#"([], [("source_labels", "{\"labels\":[1]}")])"#);
    labels("7", r#"([], [("source_labels", "7")])"#);
    labels(r#"{"labels":["a=1"],"more":[true]}"#, r#"([("a", "1")], [("source_labels.more", "[true]")])"#);
}

#[test]
fn policies() {
    let fields = r#""policies":{"enforced_policies":["10|a|a.x|allow|0","2|b|b.y|pass|1","odd","2|b|b.z|deny|1"],
        "all_policies":[],"pending_policies":null,"transit_policies":["0|d|d.t|allow|0"]}"#;
    check(
        fields,
        |flow| shown(&flow.policies),
        r#"Policies { enforced: ["2|b|b.y|pass|1", "2|b|b.z|deny|1", "10|a|a.x|allow|0", "odd"], all: [], pending: [], transit: ["0|d|d.t|allow|0"] }"#,
    );
    check(r#""policies":{}"#, |flow| shown(flow.policies.enforced.len()), "0");
    check(
        r#""policies":{"all_policies":["0|a|a.x|allow"],"later_policies":["0|z"]}"#,
        |flow| shown((&flow.policies.all, &flow.extra)),
        r#"(["0|a|a.x|allow"], [("policies.later_policies", "[\"0|z\"]")])"#,
    );
    check(r#""policies":["0|a|a.x|allow"]"#, |flow| shown(flow.extra.len()), "1");
}

#[test]
fn unknown_fields_are_kept_as_written() {
    let extra = |fields: &str, expected: &str| check(fields, |flow| shown(&flow.extra), expected);
    extra(
        r#""new":{"a":[1, 2.50,{"b":null}]},"n":1e400"#,
        r#"[("new", "{\"a\":[1, 2.50,{\"b\":null}]}"), ("n", "1e400")]"#,
    );
    extra(r#""t\u0065xt":"\u00e9""#, r#"[("text", "\"\\u00e9\"")]"#);
    extra(
        r#""source_":1,"dest_service_":2,"tcp_":3,"num_":4,"process_":5"#,
        r#"[("source_", "1"), ("dest_service_", "2"), ("tcp_", "3"), ("num_", "4"), ("process_", "5")]"#,
    );
    // A misfit among fields that are fine spoils only itself.
    check(
        r#""source_name":{"x":1},"dest_port":80,"new":true"#,
        |flow| shown((&flow.source.name, flow.dest.port, &flow.extra)),
        r#"(None, Some(80), [("source_name", "{\"x\":1}"), ("new", "true")])"#,
    );
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    let port = |fields: &str, expected: &str| check(fields, |flow| shown((flow.dest.port, &flow.extra)), expected);
    port(r#""dest_port":80,"dest_port":81"#, "(Some(81), [])");
    port(r#""dest_port":80,"dest_port":null"#, "(None, [])");
    port(r#""dest_port":"x","dest_port":81"#, "(Some(81), [])");
    port(r#""dest_port":80,"dest_port":"x""#, r#"(None, [("dest_port", "\"x\"")])"#);
    port(r#""new":1,"dest_port":80,"new":2"#, r#"(Some(80), [("new", "2")])"#);
    port(r#""policies":{"x":1},"policies":{"y":2}"#, r#"(None, [("policies.y", "2")])"#);
    check(
        r#""source_labels":{"labels":["a=1"]},"source_labels":{"labels":["b=2"],"labels":["c=3"]}"#,
        |flow| shown(&flow.source.labels),
        r#"[("c", "3")]"#,
    );
}

#[test]
fn around_the_line() {
    for line in ["\u{feff}{\"proto\":\"tcp\"}", "{\"proto\":\"tcp\"}\r", " { \"proto\" : \"tcp\" }\t"] {
        let mut scratch = String::new();
        assert_eq!(flow_of(line.as_bytes(), &mut scratch).protocol, Some(Protocol::TCP), "{line:?}");
    }
}

fn flow_of<'a>(line: &'a [u8], scratch: &'a mut String) -> Flow<'a> {
    decode(line, scratch).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()))
}

#[test]
fn broken_unicode_is_repaired() {
    let mut scratch = String::new();
    let flow = flow_of(b"{\"proto\":\"tcp\",\"source_name\":\"a\xff\xfeb\",\"x\xff\":\"\xe2\x82\"}", &mut scratch);
    assert_eq!(flow.source.name.as_deref(), Some("a\u{fffd}\u{fffd}b"));
    assert_eq!(flow.extra, [("x\u{fffd}".into(), "\"\u{fffd}\"".into())]);
    let mut scratch = String::new();
    let line = br#"{"proto":"tcp","source_name":"\ud83d\ude00 \ud83d","n":["\udc00"],"source_labels":{"x":"\ud800"}}"#;
    let flow = flow_of(line, &mut scratch);
    assert_eq!(flow.source.name.as_deref(), Some("\u{1f600} \u{fffd}"));
    assert_eq!(flow.extra[0].1, r#"["\ufffd"]"#);
    assert_eq!(flow.extra[1], ("source_labels.x".into(), r#""\ufffd""#.into()));
}

#[test]
fn only_escaped_strings_are_copied() {
    let line =
        br#"{"reporter":"dst","source_name":"a","dest_name":"\u0062","dest_labels":{"labels":["k=v"]},"new":[1]}"#;
    let mut scratch = String::new();
    let flow = flow_of(line, &mut scratch);
    let borrowed = |text: &crate::model::Text<'_>| matches!(text, std::borrow::Cow::Borrowed(_));
    assert!(flow.source.name.as_ref().is_some_and(borrowed));
    assert_eq!(flow.dest.name.as_deref(), Some("b"));
    assert!(borrowed(&flow.dest.labels[0].0) && borrowed(&flow.dest.labels[0].1));
    assert!(borrowed(&flow.extra[0].0) && borrowed(&flow.extra[0].1));
    assert_eq!(flow.action, None::<Action>);
}

/// The error's kind, and what its message says of what and where.
#[track_caller]
fn refused(line: &[u8], kind: &str, says: &str) {
    let mut scratch = String::new();
    let error = decode(line, &mut scratch).expect_err("this is no flow");
    assert_eq!(error.kind, kind, "{}", error.message);
    assert!(error.message.contains(says), "{}", error.message);
    assert!(error.message.contains(r#""reporter":"src""#), "no example: {}", error.message);
    assert!(error.message.len() < 400 && !error.message.contains(char::is_control), "{}", error.message);
}

#[test]
fn lines_that_are_no_flows() {
    refused(b"", "not_json", "EOF while parsing a value at byte 1;");
    refused(b"hello world", "not_json", "expected value at byte 1, near `hello world`");
    refused(br#"{"proto":"tcp""#, "not_json", "EOF while parsing an object at byte 14, near");
    refused(br#"{"proto":"tcp"} {"#, "not_json", "trailing characters at byte 17");
    refused(
        b"{\"proto\":\"t\0p\"}",
        "not_json",
        "control character (\\u0000-\\u001F) found while parsing a string at byte 12",
    );
    refused(b"{\"proto\":\"t\x1bp\"}", "not_json", "at byte 12, near `{\"proto\":\"t\\u{1b}p\"}`");
    refused(br#"{"proto":"\x"}"#, "not_json", "invalid escape at byte 12");
    refused(b"\xef\xbb\xbf{", "not_json", "at byte 4");
    refused(b"{\"a\":\"\xff\xff\xff\", oops}", "not_json", "key must be a string at byte 13");
    refused(b"[{\"proto\":\"tcp\"}]", "not_a_flow", "the line is an array where an object is expected, at byte 1: `[");
    refused(b"  17", "not_a_flow", "a number where an object is expected, at byte 3");
    refused(b"\"x\"", "not_a_flow", "a string");
    refused(b"null", "not_a_flow", "null");
    refused(b"{}", "not_a_flow", "none of the keys of a flow (source_*, dest_*, proto, action, reporter): `{}`");
    refused(br#"{"start_time":1,"host":"n","source_file":"x"}"#, "not_a_flow", "none of the keys");
    refused(&[b"{\"long\":\"".as_slice(), "é\u{202e}".repeat(400).as_bytes(), b"\"}"].concat(), "not_a_flow", "…`");
}

#[test]
fn bombs() {
    let mib = 1 << 20;
    let mut scratch = String::new();
    refused("[".repeat(mib).as_bytes(), "not_json", "EOF");
    refused(["[".repeat(mib), "]".repeat(mib)].concat().as_bytes(), "not_a_flow", "an array");
    refused("{\"a\":".repeat(mib / 5).as_bytes(), "not_json", "EOF");
    let deep = with(&format!(
        r#""a":{}{},"source_name":{}{}"#,
        "[".repeat(mib),
        "]".repeat(mib),
        "[".repeat(300),
        "]".repeat(300)
    ));
    assert_eq!(flow(&deep, &mut scratch).extra.len(), 2);
    let number = with(&format!(r#""bytes_in":{0},"dest_port":{0}.{0}e{0},"x":-{0}"#, "9".repeat(mib / 8)));
    assert_eq!(flow(&number, &mut scratch).extra.len(), 3);
    // Many unknown keys, many repeats, many labels: all linear.
    let keys: Vec<String> = (0..50_000).map(|i| format!(r#""k{}":1"#, i % 40_000)).collect();
    assert_eq!(flow(&with(&keys.join(",")), &mut scratch).extra.len(), 40_000);
    let repeats = vec![r#""policies":{"x":["\ud800"]},"dest_port":"x""#; 20_000].join(",");
    assert_eq!(flow_of(with(&repeats).as_bytes(), &mut scratch).extra.len(), 2);
    let labels = with(&format!(r#""dest_labels":[{}"a=b"]"#, r#""a\\=b","#.repeat(90_000)));
    assert_eq!(flow(&labels, &mut scratch).dest.labels.len(), 90_001);
    let halves = with(&format!(r#""source_name":"{}""#, r"\ud83d".repeat(mib / 6)));
    assert_eq!(flow_of(halves.as_bytes(), &mut scratch).source.name.as_ref().map(|n| n.chars().count()), Some(mib / 6));
}

/// What the scanner takes, and what it leaves to the passes.
#[test]
fn who_reads_what() {
    let check = |line: &str, expected: Agreement| {
        assert_eq!(cross_check(line.as_bytes(), &mut Decoder::default()), expected, "{line}");
    };
    let scanned = [
        "",
        r#""dest_port":443,"bytes_in":18446744073709551,"source_ip":"10.0.0.1","dest_ip":"2001:db8::1""#,
        r#""bytes_in":"42","proto":17,"source_port":0,"dest_port":"-","source_type":"WEP""#,
        r#""source_labels":{"labels":["a=b=c","bare","-",null]},"dest_labels":["a=1"]"#,
        r#""policies":{"transit_policies":null,"all_policies":["2|b|b.y|allow|0","1|a|a.x|pass|0"]}"#,
        r#""process_args":["-"],"dest_domains":"-","original_source_ips":["1.2.3.4","::1"]"#,
        // Out of order, and unknown.
        r#""host":"n","end_time":7,"start_time":6,"new":{"a":[1, 2.5,{"b":null}]},"source_name":"é","later":1e400"#,
        r#""new":1,"new":2"#,
    ];
    scanned.iter().for_each(|fields| check(&with(fields), Agreement::Scanned));
    let declined = [
        r#""source_name":"a\n""#,
        r#""source_name":"a	b""#,
        r#""dest_port": 443"#,
        r#""dest_port":443 "#,
        r#""dest_port":443.0"#,
        r#""dest_port":65536"#,
        r#""dest_port":80,"dest_port":81"#,
        r#""bytes_in":18446744073709551615"#,
        r#""bytes_in":007"#,
        r#""end_time":-5"#,
        r#""source_ip":"10.0.0.01""#,
        r#""source_labels":{"labels":["a=1"],"more":1}"#,
        r#""policies":{"later_policies":[]}"#,
        r#""policies":{"all_policies":[],"all_policies":[]}"#,
        r#""source_name":7"#,
        r#""new": 1"#,
        r#""new":01"#,
        r#""new":}"#,
    ];
    declined.iter().for_each(|fields| check(&with(fields), Agreement::Declined));
    check("{}", Agreement::Declined);
    check(r#"{"end_time":1}"#, Agreement::Declined);
    check("\u{feff}{\"proto\":\"tcp\"}\r", Agreement::Scanned);
    for cut in 0..100 {
        let line =
            with(r#""source_labels":{"labels":["a=b"]},"policies":{"all_policies":["0|a|b|deny|1"]},"x":[{"y":1}]"#);
        check(&line[..cut], Agreement::Declined);
    }
}

//! Cases: what an expression means, how it prints, what is said of a wrong one.

use super::*;
use crate::model::flow::{Action, EndpointType, Reporter};
use crate::model::net::Protocol;
use crate::model::{Body, End, Event, FileKey, Flow, LineId, Origin, RawLine, Service, ZonePair};

fn event<'a>(flow: &'a Flow<'a>, zones: Option<ZonePair<'a>>) -> Event<'a> {
    let id = LineId::new(None, FileKey(1), 0, b"");
    let origin = Origin { cluster: "prod", node: "node-a1", path: None, offset: 0, id, read_at_ms: None };
    Event { origin, body: Body::Flow(flow), zones }
}

/// From a pod in the zone dmz to a database in restricted, denied at the source.
fn denied() -> Flow<'static> {
    Flow {
        source: End {
            ip: Some("10.10.1.23".parse().unwrap()),
            port: Some(51_514),
            name: Some("web-7d9c-x2x4z".into()),
            name_aggr: Some("web-7d9c-*".into()),
            namespace: Some("frontend".into()),
            kind: Some(EndpointType::Workload),
            labels: vec![("app".into(), "web".into()), ("app.kubernetes.io/part-of".into(), "shop".into())],
        },
        dest: End {
            ip: Some("2001:db8::9".parse().unwrap()),
            port: Some(22),
            name: Some("db-0".into()),
            namespace: Some("data".into()),
            kind: Some(EndpointType::Host),
            ..End::default()
        },
        service: Service { name: Some("db".into()), port: Some(5432), ..Service::default() },
        dest_domains: vec!["a.example.com".into(), "b.example.org".into()],
        protocol: Some(Protocol::TCP),
        action: Some(Action::Deny),
        reporter: Some(Reporter::SRC),
        policies: crate::model::Policies {
            enforced: vec!["0|security|security.pass-all|pass|1".into(), "1|app|data/app.db|deny|2".into()],
            pending: vec!["0|app|app.staged:later|allow|0".into()],
            ..Default::default()
        },
        bytes_in: Some(0),
        bytes_out: Some(2048),
        num_flows: Some(3),
        ..Flow::default()
    }
}

const PAIR: ZonePair<'static> = ZonePair { source: "dmz", dest: "restricted" };

#[test]
fn meaning() {
    let flow = denied();
    let event = event(&flow, Some(PAIR));
    let check = |text: &str, expected: bool| {
        let query = Query::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        assert_eq!(query.matches(&event), expected, "{text}");
        let negated = Query::parse(&format!("not ({text})")).expect("a negation");
        assert_eq!(negated.matches(&event), !expected, "not ({text})");
    };
    for text in [
        "verdict = deny",
        "action == DENIED",
        "source.zone = dmz and dest.zone = restricted",
        "zone = dmz",
        "zone = restricted",
        "not zone = internet",
        "zones = dmz -> restricted",
        "zones = * -> restricted",
        "zones = restricted <-> dmz",
        "zones in (a -> b, dmz -> *)",
        "zones != restricted -> dmz",
        "cross_zone",
        "cross-zone = true",
        "src.ns = frontend",
        "source_namespace = frontend",
        "namespace in {data, other}",
        "namespace in (kube-*, da*)",
        "source.name = web-7d9c-x2x4z",
        "workload = web-*",
        "workload = \"web-7d9c-*\"",
        "dest.workload = db-0",
        "pod =~ '^web-[0-9a-f]+-\\w+$'",
        "dest.name =~ \"b-\\d\"",
        "source.label.app = web",
        "label.app.kubernetes.io/part-of = shop",
        "exists source.labels.app",
        "has(source.ip)",
        "source.ip in 10.0.0.0/8",
        "source.ip = 10.10.1.23",
        "ip in (192.168.0.0/16, 2001:db8::/32)",
        "dest.ip = 2001:DB8::9",
        "dest.port in (443, 20-25)",
        "port > 50000",
        "dest.port != 443",
        "source.type = pod",
        "dest.type = hep",
        "proto = TCP",
        "proto in (6, 17)",
        "reporter = src",
        "bytes = 2KiB",
        "source.bytes >= 2kb",
        "dest.bytes = 0",
        "connections >= 3",
        "policy = db",
        "policy.namespace = data",
        "tier = app and rule = 2",
        "policy.kind = network_policy",
        "staged = allow",
        "service = db and service.port = 5432",
        "domain = *.example.org",
        "cluster = prod and node = node-a1",
        "source.namespace != dest.namespace",
        "source.ip != dest.ip",
        "not aggregated",
        // What is not known is equal to nothing.
        "not exists process",
        "process != sshd",
        "process not in (sshd, cron)",
        "dest.label.app != web",
        "packets != 0",
        "verdict = deny or verdict = allow and port = 1",
        "!(verdict = allow) && namespace = data || port = 9",
    ] {
        check(text, true);
    }
    for text in [
        "verdict = allow",
        "zone = unknown",
        "zones = restricted -> dmz",
        "namespace != data",
        "namespace = shop",
        "dest.pod = db-0",
        "workload = \"web-*\"",
        "source.name =~ '^web$'",
        "dest.label.app = web",
        "packets < 5",
        "packets >= 0",
        "process = sshd",
        "source.ip in (10.11.0.0/16, 2001:db8::/32)",
        "port in (1-21, 23-50)",
        "exists client.ip",
        "reporter in (dst, fwd)",
        "staged = deny",
        "policy = pass-all",
        "source.namespace = dest.namespace",
        "(verdict = deny or verdict = allow) and port = 1",
        "not verdict = deny and port = 22",
    ] {
        check(text, false);
    }
}

#[test]
fn what_is_no_flow_never_holds_and_no_zones_are_none() {
    let flow = denied();
    let without = event(&flow, None);
    for (text, expected) in
        [("zone = dmz", false), ("zone != dmz", true), ("exists zone", false), ("cross_zone", false)]
    {
        assert_eq!(Query::parse(text).unwrap().matches(&without), expected, "{text}");
    }
    let raw = RawLine { original: "x".into(), error_type: "not_json", error_message: String::new() };
    let raw = Event { body: Body::Raw(&raw), ..without };
    for text in ["verdict = deny", "not verdict = deny", "cluster = prod"] {
        assert!(!Query::parse(text).unwrap().matches(&raw), "{text}");
    }
}

#[test]
fn one_form() {
    let check = |text: &str, expected: &str| {
        let query = Query::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        assert_eq!(query.to_string(), expected);
        let again = Query::parse(expected).unwrap_or_else(|errors| panic!("{expected}: {errors}"));
        assert_eq!(again, query, "{text}");
        assert_eq!(query.text(), text);
    };
    check("action=DENY&&src.ns==\"shop\"", "verdict = deny and source.namespace = shop");
    check("not not cross_zone", "cross_zone");
    check("not(verdict=allow)", "verdict != allow");
    check("not (port = 1 or port = 2) AND (proto = udp)", "not (port = 1 or port = 2) and proto = udp");
    check("port = 1 and (port = 2 and port = 3)", "port = 1 and port = 2 and port = 3");
    check("port = 1 or port = 2 and port = 3", "port = 1 or port = 2 and port = 3");
    check("port in (443, 80, 443, 8000-8100, 8050-8200)", "port in (80, 443, 8000-8200)");
    check("not port in {80}", "port != 80");
    check("ip in (10.1.0.0/16, 10.0.0.0/8, 10.0.0.1, ::1)", "ip in (10.0.0.0/8, ::1/128)");
    check("source.ip = 10.0.0.0/8", "source.ip in 10.0.0.0/8");
    check("source.ip = 10.0.0.1/32", "source.ip = 10.0.0.1");
    check("source.ip not in ::ffff:10.0.0.1", "source.ip != 10.0.0.1");
    check("dst.labels.app != 'it\\'s'", "dest.label.app != \"it's\"");
    check("pod =~ '\\w+\\.\\\\\"x'", "pod =~ \"\\w+\\.\\\\\\\"x\"");
    check("name = \"back\\slash\\\\\"", "name = \"back\\slash\\\\\"");
    check(
        "name in ('and', \"dest.zone\", zone, \"a*\", a*, é, '')",
        "name in (\"\", \"a*\", \"and\", \"dest.zone\", zone, é, a*)",
    );
    check("bytes >= 1024mib and bytes < 1500", "bytes >= 1GiB and bytes < 1500");
    check("not bytes < 10kb", "not bytes < 10000");
    check("dest.zone = source.zone", "source.zone = dest.zone");
    check("zones != b <-> a", "zones != a <-> b");
    check("zones not in (b->a, a->b, a->b)", "zones not in (a -> b, b -> a)");
    check("reporter in (dest, source)", "reporter in (dst, src)");
    check("proto in (6, icmp6, 99)", "proto in (tcp, ipv6-icmp, 99)");
    check("has(dest.ip)\n  and not exists client.ip", "exists dest.ip and not exists client.ip");
    check("cross_zone = no", "not cross_zone");
    check("rule = -1", "rule = -1");
    check("namespace = *", "namespace = *");
}

#[test]
fn what_is_said_of_mistakes() {
    let check = |text: &str, expected: &[&str]| {
        let errors = Query::parse(text).map(|query| query.to_string()).expect_err(text);
        let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), expected.len(), "{text}: {told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{text}\n told {told}\n not {expected}");
        }
    };
    check("", &["1:1: the expression is empty"]);
    check("  \n ", &["2:2: the expression is empty"]);
    check("verdit = deny", &["1:1: there is no field \"verdit\"; did you mean verdict?"]);
    check("verdict = denny", &["1:11: \"denny\" is not known here; did you mean deny? (known: allow, deny)"]);
    check("source.namespce = x", &["1:1: there is no field \"source.namespce\"; did you mean source.namespace?"]);
    check("source.verdict = deny", &["1:1: there is no field \"source.verdict\""]);
    check("colour = red", &["1:1: there is no field \"colour\"; `tidegate query fields` lists them"]);
    check("label = x", &["1:1: a label's name must follow, as in label.app"]);
    // All names and values at once, in the order of the text.
    check(
        "verdit = x and port = http\nor ip = 10.0.0.1/8 or proto = tpc",
        &[
            "1:1: there is no field",
            "1:23: \"http\" is no port; write a number",
            "2:9: 10.0.0.1/8 is an address with a prefix; write 10.0.0.0/8 for the range, or 10.0.0.1 for the address",
            "2:31: there is no protocol \"tpc\"; did you mean tcp?",
        ],
    );
    check("port in (80, 70000, x)", &["1:14: 70000 is no port", "1:21: \"x\" is no port"]);
    check("port = 9-8", &["1:8: the range 9-8 is empty; write 8-9"]);
    check("bytes > 10m", &["1:9: \"10m\" is no number of bytes; write as 1500, 64KiB, 10MiB or 1GB"]);
    check("connections > 1.5", &["1:15: \"1.5\" is no whole number"]);
    check("ip = 10.0.0", &["1:6: \"10.0.0\" is no address"]);
    check("ip = *", &["1:6: \"*\" is no address; write a range as 10.0.0.0/8, or exists"]);
    check("namespace < x", &["1:11: namespace has no order"]);
    check("port =~ 8.*", &["1:6: a regular expression is for text; for port there are"]);
    check("name =~ 'a(b'", &["1:11: in the regular expression \"a(b\": unclosed group"]);
    check("name =~ '(?P<n>a)\\1'", &["1:18: in the regular expression"]);
    check("name =~ '\\w{9999}'", &["1:10: in the regular expression \"\\\\w{9999}\": it would take too much memory"]);
    check("source.zone = dest.namespace", &["1:15: dest.namespace is a field, and only"]);
    check("bytes = source.bytes", &["1:9: source.bytes is a field"]);
    check("exists cross_zone", &["1:8: cross_zone is always known"]);
    check("cross_zone in (a)", &["1:12: cross_zone is true or false"]);
    check("cross_zone = maybe", &["1:14: write true or false"]);
    check("cross_zon", &["1:1: there is no field \"cross_zon\"; did you mean cross_zone?"]);
    check("verdict", &["1:8: an operator must follow verdict: =, !=, in and not in, as verdict = allow"]);
    check("verdict = ", &["1:11: the expression ends here; a value must follow"]);
    check("verdict deny", &["1:8: an operator must follow verdict"]);
    check("= deny", &["1:1: a field is missing before ="]);
    check("'verdict' = deny", &["1:1: a field comes first, without quotes"]);
    check("verdict = deny and", &["1:19: the expression ends here; a condition must follow"]);
    check("verdict = and", &["1:11: a value is missing here"]);
    check("verdict = (allow, deny)", &["1:11: one value is expected here; write in before a set"]);
    check("namespace = kube system", &["1:18: expected and, or, or the end; put a value that holds spaces in quotes"]);
    check("(verdict = deny", &["1:1: this ( is never closed; add )"]);
    check("verdict = deny)", &["1:15: this closes nothing; remove it"]);
    check("port in (1, 2", &["1:9: this set is never closed; add )"]);
    check("port in ()", &["1:9: the set is empty"]);
    check("port in (1 2)", &["1:12: expected , or ) in the set"]);
    check("port in [1]", &["1:9: write ( and ) around the values of a set"]);
    check("name = \"x", &["1:8: this quote is never closed"]);
    check("verdict exists", &["1:9: write exists verdict"]);
    check("port = 1, port = 2", &["1:9: a comma stands only within a set"]);
    check("port = 1 & port = 2", &["1:10: write and"]);
    check("name ~ x", &["1:6: write =~"]);
    check("zones = dmz", &["1:12: expected -> or <-> and a zone"]);
    check("zones dmz -> x", &["1:7: write zones = dmz -> restricted"]);
    check("label.a$b = x", &["1:8: this character has no meaning here"]);
    check("é = $", &["1:1: there is no field", "1:5: this character"]);
    let deep = format!("{}port = 1{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
    check(&deep, &[&format!("1:{}: more than {MAX_DEPTH} of ( and not", MAX_DEPTH + 1)]);
    check(&"not ".repeat(2_000), &["1:129: more than 32"]);
    check(&"x".repeat(MAX_TEXT_BYTES + 1), &["1:1: the expression is longer than 16 KiB"]);
    let many: Vec<String> = (0..=MAX_SET).map(|n| n.to_string()).collect();
    check(&format!("port in ({})", many.join(",")), &["1:"]);
    let many = vec!["name =~ x"; MAX_REGEXES + 1].join(" or ");
    check(&many, &["1:"]);
    check(&format!("name =~ '{}'", "x".repeat(MAX_REGEX_BYTES + 1)), &["1:10: in the regular expression"]);
}

#[test]
fn limits_are_within_reach() {
    let deep = format!("{}port = 1{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    assert!(Query::parse(&deep).is_ok());
    let many: Vec<String> = (0..MAX_SET).map(|n| n.to_string()).collect();
    let query = Query::parse(&format!("dest.port in ({})", many.join(","))).expect("a large set");
    let mut flow = denied();
    for (port, expected) in [(0, true), (999, true), (1000, false)] {
        flow.dest.port = Some(port);
        assert_eq!(query.matches(&event(&flow, None)), expected, "{port}");
    }
}

#[test]
fn zones_that_are_named() {
    let text = "zone in (dmz, 'a b', *x, unknown) and zones in (a -> *, b <-> \"c\") or dest.zone != d and name = e";
    let named: Vec<(String, usize)> =
        Query::parse(text).unwrap().zones().iter().map(|zone| (zone.name.to_string(), zone.offset)).collect();
    let at = |part: &str| text.find(part).unwrap();
    let expected = [
        ("dmz", at("dmz")),
        ("a b", at("a b")),
        ("a", at("a -> *")),
        ("b", at("b <->")),
        ("c", at("c\")")),
        ("d", at("d and")),
    ];
    assert_eq!(named, expected.map(|(name, at)| (name.to_owned(), at)));
}

/// Every name of the table is read, and stands for one field only.
#[test]
fn every_name_is_read() {
    use super::field::{Ends, Field, Id};
    let mut seen = std::collections::HashMap::new();
    for spec in FIELDS.iter().filter(|spec| spec.id != Id::Label) {
        let prefixes: &[&str] = match spec.ends {
            Ends::None => &[""],
            _ => &["", "source.", "dest.", "src.", "dst.", "destination.", "source_", "dest_"],
        };
        for (prefix, name) in
            prefixes.iter().flat_map(|prefix| spec.aliases.iter().chain([&spec.name]).map(move |name| (prefix, name)))
        {
            let name = format!("{prefix}{name}");
            let field = Field::named(&name).unwrap_or_else(|message| panic!("{name}: {message}"));
            assert_eq!(field.id, spec.id, "{name}");
            assert_eq!(seen.insert(name.clone(), spec.id), None, "{name} twice");
            assert_eq!(Field::named(&field.to_string()), Ok(field));
        }
    }
}

/// The page's table is made of the fields' own.
#[test]
fn the_page_lists_the_fields() {
    use super::field::Ends;
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/docs/query.md");
    let text = std::fs::read_to_string(&page).expect("the page");
    let row = |spec: &Spec| {
        let ends = if spec.ends == Ends::None { "" } else { spec.ends.as_str() };
        let aliases = spec.aliases.iter().map(|alias| format!("`{alias}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {ends} | {} | {aliases} | {} |\n", spec.name, spec.kind.values(), spec.what)
    };
    let table: String = FIELDS.iter().map(row).collect();
    let begin = text.find("| `zone` |").expect("a table");
    let end = begin + text[begin..].find("\n\n").expect("its end") + 1;
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&page, format!("{}{table}{}", &text[..begin], &text[end..])).expect("the page is writable");
        return;
    }
    assert_eq!(&text[begin..end], table, "UPDATE_FIXTURES=1 rewrites it");
    for example in text.split("```").nth(1).expect("examples").lines().filter(|line| !line.is_empty()) {
        assert!(Query::parse(example).is_ok(), "{example}");
    }
}

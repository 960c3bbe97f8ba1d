//! Against an evaluator that knows nothing of the compiled form, and texts that are no expressions.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{MAX_DEPTH, Query};
use crate::model::flow::{Action, EndpointType, Reporter};
use crate::model::net::Protocol;
use crate::model::{Body, End, Event, FileKey, Flow, LineId, Origin, ZonePair};

const WORDS: [&str; 8] = ["shop", "kube-system", "web-1", "and", "a b", "it's \\", "dest.zone", "web-*"];
const PORTS: [u16; 4] = [22, 80, 443, 8080];

#[derive(Debug, Clone)]
enum Naive {
    And(Vec<Naive>),
    Or(Vec<Naive>),
    Not(Box<Naive>),
    /// Of the source, the destination or either.
    Namespace(usize, Vec<usize>),
    Starts(usize, &'static str),
    Port(usize, u16, u16),
    AtLeast(usize, u16),
    Within(usize, [u8; 4], u8),
    Zone(usize, usize),
    Pair(usize, usize),
    Verdict(bool),
    Proto(u8),
    Bytes(u64),
    There(usize),
    SameNamespace,
    Crosses,
}

const SIDES: [&str; 3] = ["source.", "dest.", ""];
const ZONES: [&str; 3] = ["dmz", "restricted", "unknown"];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Naive {
    fn text(&self) -> String {
        match self {
            Self::And(parts) => parts.iter().map(|part| format!("({})", part.text())).collect::<Vec<_>>().join(" AND "),
            Self::Or(parts) => parts.iter().map(|part| format!("({})", part.text())).collect::<Vec<_>>().join(" || "),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::Namespace(side, words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(WORDS[*word])).collect();
                format!("{}ns in ({})", SIDES[*side], words.join(", "))
            }
            Self::Starts(side, with) => format!("{}namespace = {with}*", SIDES[*side]),
            Self::Port(side, first, last) => format!("{}port = {first}-{last}", SIDES[*side]),
            Self::AtLeast(side, least) => format!("{}port >= {least}", SIDES[*side]),
            Self::Within(side, [a, b, _, _], 16) => format!("{}ip in {a}.{b}.0.0/16", SIDES[*side]),
            Self::Within(side, [a, b, c, d], _) => format!("{}ip = {a}.{b}.{c}.{d}", SIDES[*side]),
            Self::Zone(side, zone) => format!("{}zone = {}", SIDES[*side], ZONES[*zone]),
            Self::Pair(from, to) => format!("zones = {} -> {}", ZONES[*from], ZONES[*to]),
            Self::Verdict(deny) => format!("action={}", if *deny { "deny" } else { "allow" }),
            Self::Proto(proto) => format!("proto = {proto}"),
            Self::Bytes(least) => format!("source.bytes > {least}B"),
            Self::There(side) => format!("exists {}ip", SIDES[*side]),
            Self::SameNamespace => "source.namespace = dest.namespace".to_owned(),
            Self::Crosses => "cross_zone".to_owned(),
        }
    }

    fn holds(&self, flow: &Flow<'_>, zones: Option<ZonePair<'_>>) -> bool {
        let ends = |side: &usize| match side {
            0 => vec![&flow.source],
            1 => vec![&flow.dest],
            _ => vec![&flow.source, &flow.dest],
        };
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(flow, zones)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(flow, zones)),
            Self::Not(inner) => !inner.holds(flow, zones),
            Self::Namespace(side, words) => {
                ends(side).iter().any(|end| words.iter().any(|word| end.namespace.as_deref() == Some(WORDS[*word])))
            }
            Self::Starts(side, with) => {
                ends(side).iter().any(|end| end.namespace.as_deref().is_some_and(|name| name.starts_with(with)))
            }
            Self::Port(side, first, last) => {
                ends(side).iter().any(|end| end.port.is_some_and(|port| (*first..=*last).contains(&port)))
            }
            Self::AtLeast(side, least) => ends(side).iter().any(|end| end.port.is_some_and(|port| port >= *least)),
            Self::Within(side, octets, prefix) => ends(side).iter().any(|end| match end.ip {
                Some(IpAddr::V4(ip)) => ip.octets()[..usize::from(*prefix / 8)] == octets[..usize::from(*prefix / 8)],
                _ => false,
            }),
            Self::Zone(side, zone) => zones.is_some_and(|zones| match side {
                0 => zones.source == ZONES[*zone],
                1 => zones.dest == ZONES[*zone],
                _ => zones.source == ZONES[*zone] || zones.dest == ZONES[*zone],
            }),
            Self::Pair(from, to) => zones == Some(ZonePair { source: ZONES[*from], dest: ZONES[*to] }),
            Self::Verdict(deny) => flow.action == Some(if *deny { Action::Deny } else { Action::Allow }),
            Self::Proto(proto) => flow.protocol == Some(Protocol(*proto)),
            Self::Bytes(least) => flow.bytes().source.is_some_and(|bytes| bytes > *least),
            Self::There(side) => ends(side).iter().any(|end| end.ip.is_some()),
            Self::SameNamespace => flow.source.namespace.is_some() && flow.source.namespace == flow.dest.namespace,
            Self::Crosses => zones.is_some_and(|z| z.source != z.dest && z.source != "unknown" && z.dest != "unknown"),
        }
    }
}

fn naive() -> impl Strategy<Value = Naive> {
    let octets = prop::array::uniform4(0u8..2).prop_map(|[a, b, c, d]| [10 + a, b, c, d]);
    let leaf = prop_oneof![
        (0..3usize, prop::collection::vec(0..WORDS.len(), 1..12))
            .prop_map(|(side, words)| Naive::Namespace(side, words)),
        (0..3usize, prop_oneof![Just("shop"), Just("web"), Just("kube-s"), Just("x")])
            .prop_map(|(s, w)| Naive::Starts(s, w)),
        (0..3usize, prop::sample::select(&PORTS[..]), 0..500u16).prop_map(|(s, port, more)| Naive::Port(
            s,
            port,
            port + more
        )),
        (0..3usize, prop::sample::select(&PORTS[..])).prop_map(|(s, port)| Naive::AtLeast(s, port)),
        (0..3usize, octets, prop_oneof![Just(16u8), Just(32)]).prop_map(|(s, o, p)| Naive::Within(s, o, p)),
        (0..3usize, 0..3usize).prop_map(|(side, zone)| Naive::Zone(side, zone)),
        (0..3usize, 0..3usize).prop_map(|(from, to)| Naive::Pair(from, to)),
        any::<bool>().prop_map(Naive::Verdict),
        prop_oneof![Just(6u8), Just(17), Just(99)].prop_map(Naive::Proto),
        (0..3u64).prop_map(|n| Naive::Bytes(n * 1024)),
        (0..3usize).prop_map(Naive::There),
        Just(Naive::SameNamespace),
        Just(Naive::Crosses),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Naive::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Naive::Or),
            inner.prop_map(|inner| Naive::Not(Box::new(inner))),
        ]
    })
}

fn end() -> impl Strategy<Value = End<'static>> {
    let ip = prop_oneof![
        Just(None),
        prop::array::uniform4(0u8..2).prop_map(|[a, b, c, d]| Some(IpAddr::from([10 + a, b, c, d]))),
        Just(Some("2001:db8::1".parse().unwrap())),
    ];
    let namespace = prop::option::of(prop::sample::select(&WORDS[..]));
    (ip, namespace, prop::option::of(prop::sample::select(&PORTS[..]))).prop_map(|(ip, namespace, port)| End {
        ip,
        port,
        namespace: namespace.map(Into::into),
        kind: Some(EndpointType::Workload),
        ..End::default()
    })
}

fn flow() -> impl Strategy<Value = Flow<'static>> {
    let action = prop::option::of(prop_oneof![Just(Action::Allow), Just(Action::Deny)]);
    let reporter = prop::option::of(prop_oneof![Just(Reporter::SRC), Just(Reporter::DST), Just(Reporter::FWD)]);
    let protocol = prop::option::of(prop_oneof![Just(6u8), Just(17), Just(99)]);
    (end(), end(), action, reporter, protocol, prop::option::of(0..4096u64)).prop_map(
        |(source, dest, action, reporter, protocol, bytes)| Flow {
            source,
            dest,
            action,
            reporter,
            protocol: protocol.map(Protocol),
            bytes_in: bytes,
            bytes_out: bytes.map(|bytes| bytes / 2),
            ..Flow::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_form_means_what_the_text_says(
        naive in naive(), flow in flow(), zones in prop::option::of((0..3usize, 0..3usize)),
    ) {
        let text = naive.text();
        let query = Query::parse(&text);
        prop_assert!(query.is_ok(), "{}: {}", text, query.unwrap_err());
        let query = query.unwrap();
        let zones = zones.map(|(source, dest)| ZonePair { source: ZONES[source], dest: ZONES[dest] });
        let id = LineId::new(None, FileKey(1), 0, b"");
        let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
        let event = Event { origin, body: Body::Flow(&flow), zones };
        prop_assert_eq!(query.matches(&event), naive.holds(&flow, zones), "{}", &text);
        // The printed form is the same question, and its own printed form.
        let printed = query.to_string();
        let again = Query::parse(&printed);
        prop_assert!(again.is_ok(), "{} from {}: {}", printed, text, again.unwrap_err());
        let again = again.unwrap();
        prop_assert_eq!(&again, &query, "{} from {}", &printed, &text);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "\\PC*") {
        check_any(&text)?;
    }

    #[test]
    fn any_soup_of_words_is_read_or_refused_with_a_place(
        words in prop::collection::vec(prop::sample::select(&SOUP[..]), 0..14),
    ) {
        check_any(&words.join(" "))?;
        check_any(&words.concat())?;
    }
}

const SOUP: [&str; 30] = [
    "and",
    "or",
    "not",
    "in",
    "exists",
    "has",
    "(",
    ")",
    "{",
    "}",
    ",",
    "=",
    "!=",
    "=~",
    "!~",
    "<",
    ">=",
    "->",
    "<->",
    "zones",
    "namespace",
    "source.ip",
    "dest.port",
    "bytes",
    "10.0.0.0/8",
    "443",
    "\"a b\"",
    "'x",
    "*",
    "cross_zone",
];

fn check_any(text: &str) -> Result<(), TestCaseError> {
    match Query::parse(text) {
        Ok(query) => {
            let again = Query::parse(&query.to_string());
            prop_assert!(again.is_ok_and(|again| again == query), "{}", query.to_string());
        }
        Err(errors) => {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                prop_assert!(text.is_char_boundary(error.offset) && error.line > 0 && error.column > 0);
                prop_assert!(!error.message.is_empty());
            }
        }
    }
    Ok(())
}

/// Else what is printed could not be read again.
#[test]
fn the_printed_form_is_no_deeper_than_what_was_read() {
    for (open, close) in
        [("not (port = 2 or ", ")"), ("(port = 1 or port = 2 and ", ")"), ("port = 1 or port = 2 and (", ")")]
    {
        let depth = if open.starts_with("not") { MAX_DEPTH / 2 } else { MAX_DEPTH };
        let deep = format!("{}cross_zone{}", open.repeat(depth), close.repeat(depth));
        let query = Query::parse(&deep).expect("deep, and within the limit");
        assert_eq!(Query::parse(&query.to_string()), Ok(query));
    }
}

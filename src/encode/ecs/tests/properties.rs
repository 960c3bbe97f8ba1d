//! What holds for every flow, whatever its texts and numbers are.

use std::borrow::Cow;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Config, Encoder, encode, event, pods};
use crate::model::{Action, End, EndpointType, Flow, Policies, Process, Reporter, TcpStats, Text, net::Protocol};

fn any_text() -> impl Strategy<Value = Option<Text<'static>>> {
    option::of("(?s)[a-z\"\\\\\u{0}-\u{1f}é€𝄞/*-]{1,20}".prop_filter("no sentinel", |text| text != "-" && text != "*"))
        .prop_map(|text| text.map(Cow::Owned))
}

fn any_texts() -> impl Strategy<Value = Vec<Text<'static>>> {
    vec(any_text().prop_filter_map("some text", |text| text), 0..4)
}

fn any_labels() -> impl Strategy<Value = Vec<(Text<'static>, Text<'static>)>> {
    vec(
        ("(?s)[a-c./ \u{0}\"]{0,3}", "(?s).{0,6}").prop_map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))),
        0..12,
    )
}

fn any_end() -> impl Strategy<Value = End<'static>> {
    let kinds = vec![EndpointType::Workload, EndpointType::Host, EndpointType::NetworkSet, EndpointType::Network];
    (
        option::of(any::<IpAddr>()),
        option::of(any::<u16>()),
        (any_text(), any_text(), any_text()),
        option::of(proptest::sample::select(kinds)),
        any_labels(),
    )
        .prop_map(|(ip, port, (name, name_aggr, namespace), kind, labels)| End {
            ip,
            port,
            name,
            name_aggr,
            namespace,
            kind,
            labels,
        })
}

fn any_flow() -> impl Strategy<Value = Flow<'static>> {
    let times = (option::of(any::<i64>()), option::of(0i64..300_000_000_000), option::of(any::<i64>()));
    let counts = vec(option::of(0..u64::MAX / 4), 9);
    let verdict = (
        option::of(proptest::sample::select(vec![Action::Allow, Action::Deny])),
        option::of(any::<[bool; 3]>().prop_map(|[src, dst, fwd]| Reporter { src, dst, fwd })),
        option::of(any::<u8>().prop_map(Protocol)),
    );
    let process = (any_text(), any_text(), any_texts()).prop_map(|(name, id, args)| Process {
        name,
        id,
        args,
        ..Process::default()
    });
    let lists = (any_texts(), any_texts(), vec(any::<u16>(), 0..3), vec(any::<IpAddr>(), 0..4));
    let values =
        proptest::sample::select(vec!["1", "null", "\"x\"", "{\"a\":{\"a\":1}}", "[1,[2]]", "{\"a\":1,\"a\":2}"]);
    let extra =
        vec(("(?s)[a-c ]{0,2}", values).prop_map(|(name, value)| (Cow::Owned(name), Cow::Borrowed(value))), 0..5);
    ((any_end(), any_end()), times, counts, verdict, process, lists, (any_text(), extra)).prop_map(
        |((source, dest), times, counts, verdict, process, lists, (host, extra))| Flow {
            start_time: times.0,
            end_time: times.1,
            timestamp_ms: times.2,
            source,
            dest,
            bytes_in: counts[0],
            bytes_out: counts[1],
            packets_in: counts[2],
            packets_out: counts[3],
            num_flows: counts[4],
            http_requests_allowed_in: counts[5],
            num_original_source_ips: counts[6],
            tcp: TcpStats { mean_mss: counts[7], lost_packets: counts[8], ..TcpStats::default() },
            action: verdict.0,
            reporter: verdict.1,
            protocol: verdict.2,
            process,
            dest_domains: lists.0,
            policies: Policies { enforced: lists.1, ..Policies::default() },
            nat_outgoing_ports: lists.2,
            original_source_ips: lists.3,
            host,
            extra,
            ..Flow::default()
        },
    )
}

/// Fails on a member that stands twice, which `serde_json` forgives and Elasticsearch does not.
struct Unique;

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Unique;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON without members that stand twice")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut names = std::collections::HashSet::new();
                while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("{name:?} stands twice")));
                    }
                }
                Ok(Unique)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
                while seq.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// No sentinel, no null, no empty list or object. Labels and unknown fields hold what others wrote, whatever it is.
fn assert_plain(path: &str, value: &Value) {
    match value {
        _ if path.ends_with("/labels") || path == "/calico/extra" => {}
        Value::Null => panic!("null at {path}"),
        Value::String(text) => assert!(!matches!(text.as_str(), "-" | "*" | "null"), "{text:?} at {path}"),
        Value::Object(members) => {
            assert!(!members.is_empty(), "empty object at {path}");
            for (name, value) in members {
                assert!(!name.contains('.'), "dotted name {name} at {path}");
                assert_plain(&format!("{path}/{name}"), value);
            }
        }
        Value::Array(items) => {
            assert!(!items.is_empty(), "empty list at {path}");
            for item in items {
                assert_plain(path, item);
            }
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_flow_is_a_plain_document(flow in any_flow()) {
        let mut out = Vec::new();
        Encoder::new(Config::default()).encode(&event(&flow, None), &mut out);
        if let Err(error) = serde_json::from_slice::<Unique>(&out) {
            panic!("{error}: {}", String::from_utf8_lossy(&out));
        }
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_plain("", &document);
        // Text goes through unharmed.
        let text_at = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        prop_assert_eq!(text_at("/calico/source/name"), flow.source.name.as_deref().map(str::to_owned));
        prop_assert_eq!(text_at("/calico/dest/namespace"), flow.dest.namespace.as_deref().map(str::to_owned));
        prop_assert_eq!(text_at("/source/ip"), flow.source.ip.map(|ip| ip.to_string()));
        prop_assert_eq!(text_at("/host/name"), Some(flow.host.as_deref().unwrap_or("node-1").to_owned()));
        let all = |texts: &[Text<'_>]| (!texts.is_empty()).then(|| json!(texts));
        prop_assert_eq!(document.pointer("/calico/dest_domains").cloned(), all(&flow.dest_domains));
    }

    #[test]
    fn network_counters_are_the_sum(flow in any_flow()) {
        let document = encode(&flow);
        for unit in ["bytes", "packets"] {
            let at = |part: &str| document.pointer(&format!("/{part}/{unit}")).and_then(Value::as_u64);
            if let (Some(source), Some(destination)) = (at("source"), at("destination")) {
                prop_assert_eq!(at("network"), Some(source + destination));
            }
        }
    }

    #[test]
    fn halves_tell_the_same(flow in any_flow(), counts: [u32; 4]) {
        let [bytes_in, bytes_out, packets_in, packets_out] = counts.map(|count| Some(count.into()));
        let source = Flow { reporter: Some(Reporter::SRC), bytes_in, bytes_out, packets_in, packets_out, ..flow.clone() };
        let dest = Flow {
            reporter: Some(Reporter::DST),
            bytes_in: bytes_out,
            bytes_out: bytes_in,
            packets_in: packets_out,
            packets_out: packets_in,
            ..flow
        };
        let (source, dest) = (encode(&source), encode(&dest));
        for part in ["/source", "/destination", "/network/bytes", "/network/packets", "/network/community_id"] {
            prop_assert_eq!(source.pointer(part), dest.pointer(part), "{}", part);
        }
        prop_assert_eq!(&source["network"]["direction"], "egress");
        prop_assert_eq!(&dest["network"]["direction"], "ingress");
    }

    #[test]
    fn swapped_ends_keep_the_community_id(flow in any_flow()) {
        let swapped = Flow { source: flow.dest.clone(), dest: flow.source.clone(), ..flow.clone() };
        let (one, other) = (encode(&flow), encode(&swapped));
        prop_assert_eq!(one.pointer("/network/community_id"), other.pointer("/network/community_id"));
    }

    #[test]
    fn any_labels_are_an_object(source_labels in any_labels()) {
        let mut flow = pods();
        flow.source.labels = source_labels;
        let mut encoder = Encoder::new(Config::default());
        let mut out = Vec::new();
        encoder.encode(&event(&flow, None), &mut out);
        prop_assert!(serde_json::from_slice::<Unique>(&out).is_ok());
        let document: Value = serde_json::from_slice(&out).unwrap();
        let written = document.pointer("/calico/source/labels").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, value) in &written {
            let first = flow.source.labels.iter().find(|(other, _)| other == name);
            prop_assert_eq!(first.map(|(_, value)| value.as_ref()), value.as_str());
            prop_assert!(!name.trim().is_empty() && !name.contains('\0'));
        }
        prop_assert_eq!(written.len() as u64 + encoder.capped(), flow.source.labels.len() as u64);
    }
}

//! Ends of flows and the zones they are in.

use super::*;
use crate::model::{End, EndpointType, Flow, Labels};

fn table(zones: &str) -> Table {
    match Table::load(&format!("apiVersion: zones/v1\nzones:\n{zones}")) {
        Ok((table, _)) => table,
        Err(problems) => panic!("{zones}\n{problems:#?}"),
    }
}

/// An end as a line of test data: kind, namespace, name, aggregated name, address, labels; `-` for what is not there.
fn end(text: &'static str) -> End<'static> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let field = |i: usize| fields.get(i).copied().filter(|text| *text != "-");
    End {
        kind: field(0).map(|kind| match kind {
            "wep" => EndpointType::Workload,
            "hep" => EndpointType::Host,
            "ns" => EndpointType::NetworkSet,
            "net" => EndpointType::Network,
            _ => panic!("{text}: no kind {kind}"),
        }),
        namespace: field(1).map(Into::into),
        name: field(2).map(Into::into),
        name_aggr: field(3).map(Into::into),
        ip: field(4).map(|ip| ip.parse().unwrap()),
        port: None,
        labels: labels(field(5).unwrap_or_default()),
    }
}

fn labels(text: &'static str) -> Labels<'static> {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

fn check(zones: &str, cases: &[(&'static str, &str)]) {
    let table = table(zones);
    for (text, expected) in cases {
        let end = end(text);
        let explained = table.explain_end(&end, &[]);
        let flow = Flow { source: end.clone(), dest: end, ..Flow::default() };
        let zones = table.classify(&flow);
        assert_eq!((zones.source, zones.dest), (*expected, *expected), "{text}\n{zones:?}\n{explained}");
        assert_eq!(explained.zone, *expected, "explanations agree: {text}");
    }
}

/// The table that the demo and the recipes resemble.
const SHOP: &str = include_str!("../../fixtures/zones/shop/zones.yaml");

#[test]
fn the_shop_is_useful_at_the_default_aggregation() {
    let (table, _) = Table::load(SHOP).unwrap();
    for (text, expected) in [
        // Level 2: no address, no pod name.
        ("wep storefront - web-5d8f6c7b9-* - app=web,fw-zone=dmz", "dmz"),
        ("wep checkout - cart-6c9d7f4b5-* -", "trusted"),
        ("wep payments - payments-api-7f9c6d5b8-* - app=payments-api,fw-zone=restricted", "restricted"),
        ("wep ledger - ledger-db-* -", "restricted"),
        ("ns partners - acme-bank -", "partners"),
        ("net - - pub -", "internet"),
        ("net - - pvt -", "office"),
        ("wep kube-system - coredns-5d78c9869d-* - k8s-app=kube-dns", "unknown"),
        ("hep - - node-a1 -", "nodes"),
        // Level 0.
        ("wep storefront web-5d8f6c7b9-x2x4z web-5d8f6c7b9-* 10.244.1.7 fw-zone=dmz", "dmz"),
        ("net - - pub 34.117.59.81", "internet"),
        // Calico calls these public.
        ("net - - pub 100.64.3.4", "office"),
        ("net - - pub fd00::17", "office"),
        ("net - - pvt 192.168.14.2", "office"),
        ("net - - pub 198.51.100.9", "partners"),
        ("net - - pub 198.51.100.77", "internet"),
    ] {
        assert_eq!(table.explain_end(&end(text), &[]).zone, expected, "{text}");
    }
}

#[test]
fn the_first_zone_in_the_file_wins() {
    check(
        "- {name: wide, match: [{cidr: 10.0.0.0/8}]}\n- {name: narrow, match: [{cidr: [10.1.0.0/16, 11.0.0.0/8]}]}\n",
        &[("net - - pvt 10.1.2.3", "wide"), ("net - - pub 11.0.0.1", "narrow"), ("net - - pub 12.0.0.1", "unknown")],
    );
    check(
        "- {name: a, match: [{namespace: shop, labels: \"app == 'x'\"}]}\n- {name: b, match: [{namespace: shop}, {labels: \"app == 'x'\"}]}\n",
        &[
            ("wep shop - x-* - app=x", "a"),
            ("wep shop - y-* - app=y", "b"),
            ("wep other - x-* - app=x", "b"),
            ("wep other - y-* - app=y", "unknown"),
        ],
    );
}

#[test]
fn addresses_are_for_ends_that_are_no_pods() {
    let ends = &[
        ("net - - pvt 10.0.0.1", "z"),
        ("hep - node-1 node-1 10.0.0.1", "z"),
        ("ns partners - acme 10.0.0.1", "z"),
        ("wep shop web-1 web-* 10.0.0.1", "unknown"),
        // An abbreviated line: no type. With a namespace it is taken for a pod.
        ("- shop web-1 web-* 10.0.0.1", "unknown"),
        ("- - - - 10.0.0.1", "z"),
        ("net - - pvt -", "unknown"),
        ("net - - pvt 10.0.0.2", "unknown"),
        ("net - - pvt ::ffff:10.0.0.1", "z"),
        ("net - - pub ::1", "unknown"),
    ];
    check("- {name: z, match: [{cidr: [10.0.0.0/24, 2001:db8::/32], except: 10.0.0.2/32}]}\n", ends);
    check(
        "- {name: z, match: [{cidr: 10.0.0.0/24, pods: true}]}\n",
        &[("wep shop web-1 web-* 10.0.0.1", "z"), ("wep shop - web-* -", "unknown"), ("net - - pvt 10.0.0.1", "z")],
    );
    check("- {name: z, match: [{public: true, pods: true}]}\n", &[("wep shop web-1 web-* 8.8.8.8", "z")]);
}

#[test]
fn pub_and_pvt_answer_only_where_there_is_no_address() {
    let with_address = [("net - - pub 10.0.0.1", "unknown"), ("net - - pvt 8.8.8.8", "z")];
    for zone in [
        "- {name: z, match: [{public: true}]}\n",
        "- {name: z, match: [{cidr: [\"0.0.0.0/0\", \"::/0\"], public: true}]}\n",
    ] {
        check(zone, &[("net - - pub -", "z"), ("net - - pvt -", "unknown"), ("wep a - pub -", "unknown")]);
        check(zone, &with_address);
    }
    for zone in ["- {name: z, match: [{cidr: \"0.0.0.0/0\"}]}\n", "- {name: z, match: [{cidr: \"::/0\"}]}\n"] {
        check(zone, &[("net - - pub -", "z"), ("net - - pvt -", "unknown"), ("hep - - pub -", "unknown")]);
    }
    check("- {name: z, match: [{cidr: 128.0.0.0/1}]}\n", &[("net - - pub -", "unknown")]);
    check(
        "- {name: z, match: [{public: false}]}\n",
        &[
            ("net - - pvt -", "z"),
            ("net - - pub -", "unknown"),
            ("net - - pub 100.64.0.1", "z"),
            ("net - - pvt 8.8.8.8", "unknown"),
            ("hep - - node-1 -", "unknown"),
        ],
    );
}

#[test]
fn network_sets_by_namespace_and_name() {
    check(
        "- {name: local, match: [{networkSet: partners/acme}]}\n- {name: global, match: [{networkSet: [acme, \"pan.*\"]}]}\n\
         - {name: rest, match: [{networkSet: \"*/*\"}]}\n",
        &[
            ("ns partners acme - -", "local"),
            ("ns partners - acme -", "local"),
            ("ns - - acme -", "global"),
            ("ns - - pan.web 198.51.100.1", "global"),
            ("ns other - acme -", "rest"),
            ("ns - - other -", "unknown"),
            ("wep partners acme acme -", "unknown"),
        ],
    );
}

#[test]
fn labels_are_those_of_pods_hosts_and_sets() {
    let not_dmz = "- {name: z, match: [{labels: \"fw-zone != 'dmz'\"}]}\n";
    check(
        not_dmz,
        &[
            ("wep a - x-* - fw-zone=dmz", "unknown"),
            // As in Calico: an absent label is unequal to everything. So is one that the log left out.
            ("wep a - x-* -", "z"),
            ("ns - - acme -", "z"),
            ("hep - - node-1 -", "z"),
            ("net - - pub -", "unknown"),
        ],
    );
    check(
        "- {name: z, match: [{labels: \"projectcalico.org/namespace == 'shop'\"}]}\n",
        &[("wep shop - x-* -", "z"), ("wep shops - x-* -", "unknown")],
    );
}

#[test]
fn hosts_and_kinds() {
    check(
        "- {name: control, match: [{hostEndpoint: \"has(node-role.kubernetes.io/control-plane)\"}]}\n\
         - {name: nodes, match: [{endpointType: host}]}\n- {name: pods, match: [{endpointType: workload}]}\n\
         - {name: sets, match: [{endpointType: networkset}]}\n- {name: nets, match: [{endpointType: network}]}\n",
        &[
            ("hep - node-1 node-1 10.0.0.1 node-role.kubernetes.io/control-plane=", "control"),
            ("hep - - node-2 -", "nodes"),
            ("wep a - x-* - node-role.kubernetes.io/control-plane=", "pods"),
            ("ns - - acme -", "sets"),
            ("net - - pvt -", "nets"),
            ("- a - x-* -", "pods"),
            ("- - - - 1.2.3.4", "nets"),
        ],
    );
}

#[test]
fn namespaces_with_wildcards() {
    check(
        "- {name: pay, match: [{namespace: [\"pay-*\", payments]}]}\n- {name: dev, match: [{namespace: \"*-dev\"}]}\n",
        &[
            ("wep pay-eu - x-* -", "pay"),
            ("wep payments - x-* -", "pay"),
            ("wep pay - x-* -", "unknown"),
            ("wep pay-dev - x-* -", "pay"),
            ("wep shop-dev - x-* -", "dev"),
            ("net - - pub -", "unknown"),
        ],
    );
}

#[test]
fn domains_are_of_the_destination_only() {
    let table = table("- {name: z, match: [{domain: [\"*.acme.example\", Exact.example.]}]}\n");
    for (domains, kind, expected) in [
        (&["api.acme.example"][..], EndpointType::Network, "z"),
        (&["API.Acme.Example."], EndpointType::Network, "z"),
        (&["a.b.acme.example"], EndpointType::NetworkSet, "z"),
        (&["acme.example"], EndpointType::Network, "unknown"),
        (&["other.example", "exact.example"], EndpointType::Network, "z"),
        (&["api.acme.example"], EndpointType::Workload, "unknown"),
        (&[], EndpointType::Network, "unknown"),
    ] {
        let end = End { kind: Some(kind), ..End::default() };
        let dest_domains = domains.iter().map(|name| (*name).into()).collect();
        let flow = Flow { source: end.clone(), dest: end, dest_domains, ..Flow::default() };
        let zones = table.classify(&flow);
        assert_eq!((zones.source, zones.dest), ("unknown", expected), "{domains:?} {kind:?}");
    }
}

#[test]
fn what_no_flow_log_carries_matches_nothing() {
    check(
        "- {name: a, match: [{namespaceLabels: all()}, {namespace: pay, serviceAccount: ledger}]}\n- {name: b, match: [{namespace: pay}]}\n",
        &[("wep pay - x-* -", "b")],
    );
}

#[test]
fn explanations_name_the_key_and_the_reason() {
    let (table, _) = Table::load(SHOP).unwrap();
    let explained = table.explain_end(&end("wep ledger - ledger-db-* - app=ledger-db"), &[]);
    let text = explained.to_string();
    for line in [
        "a pod ledger/ledger-db-* is in zone restricted",
        "1. dmz: no",
        "match[0] labels: fw-zone == 'dmz' does not hold for its labels (app=ledger-db)",
        "match[1] namespace: its namespace is ledger",
        "3. restricted: takes it",
        "match[1] matches by namespace",
        "match[0] cidr: it is a pod, and cidr matches pods only with pods: true",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let explained = table.explain_end(&end("net - - pub 198.51.100.9"), &[]);
    let verdicts: Vec<_> = explained.zones.iter().map(|zone| (zone.name, zone.verdict)).collect();
    assert_eq!(verdicts[3..5], [("partners", Verdict::Takes), ("office", Verdict::No)]);
    assert_eq!(verdicts[6], ("internet", Verdict::Shadowed));
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["zones"][3]["verdict"], "takes");
    assert_eq!(json["zones"][0]["matches"][0]["key"], "labels");
}

#[test]
fn zones_and_needs() {
    let (table, _) = Table::load(SHOP).unwrap();
    let zones: Vec<_> = table.zones().collect();
    assert_eq!((zones[0].name, zones[0].rank, zones[0].critical), ("dmz", 1, false));
    assert_eq!((zones[2].name, zones[2].rank, zones[2].critical), ("restricted", 3, true));
    let needs: Vec<_> = table.needs().into_iter().map(|need| (need.field, need.zones)).collect();
    assert_eq!(needs, [(Field::Ip, vec!["partners"]), (Field::Labels, vec!["dmz", "restricted"])]);
}

#[test]
fn more_labels_than_slots() {
    let selectors: Vec<String> =
        (0..40).map(|i| format!("- {{name: z{i}, match: [{{labels: \"l{i} == 'x'\"}}]}}\n")).collect();
    check(
        &selectors.concat(),
        &[("wep a - x-* - l3=x", "z3"), ("wep a - x-* - l39=x,l15=y", "z39"), ("wep a - x-* - l40=x", "unknown")],
    );
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::model::Text;

    const NAMESPACES: &[&str] = &["shop", "shop-eu", "pay", "ledger"];
    const ADDRESSES: &[&str] = &[
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.255",
        "10.0.1.7",
        "11.0.0.1",
        "203.0.113.9",
        "255.255.255.255",
        "0.0.0.0",
        "fd00::1",
        "2001:db8::1",
        "2001:db8:1::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "::ffff:10.0.0.1",
    ];
    const NETS: &[&str] = &[
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.0.1/32",
        "10.0.1.0/24",
        "0.0.0.0/0",
        "128.0.0.0/1",
        "::/0",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "8000::/1",
        "203.0.113.0/24",
    ];

    /// Keys of a match, as written in the file.
    fn a_key() -> impl Strategy<Value = String> {
        let ranges = || vec(select(NETS), 1..4).prop_map(|nets| nets.join(", "));
        prop_oneof![
            4 => ranges().prop_map(|nets| format!("cidr: [{nets}]")),
            2 => (select(NETS), select(NETS)).prop_map(|(one, two)| {
                let parse = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
                let (wide, narrow) = if parse(one).contains(&parse(two)) { (one, two) } else { (two, one) };
                match parse(wide).contains(&parse(narrow)) {
                    true => format!("cidr: [{wide}, 11.0.0.0/8], except: [{narrow}]"),
                    false => format!("cidr: [{wide}]"),
                }
            }),
            2 => any::<bool>().prop_map(|public| format!("public: {public}")),
            3 => select(&["shop", "shop*", "*", "pay", "*-eu", "l?dger"][..]).prop_map(|name| format!("namespace: \"{name}\"")),
            3 => select(&["app == 'a'", "app != 'a'", "has(tier)", "all()", "!has(app)", "tier in {'x', 'y'}",
                "app == 'a' && has(tier)", "has(tier) && app in {'x', 'a', 'a'}", "tier in {'x'} || app == 'a'", "!(app == 'a')",
                "projectcalico.org/namespace == 'shop'"][..])
                .prop_map(|text| format!("labels: \"{text}\"")),
            1 => Just("hostEndpoint: \"has(app)\"".to_owned()),
            1 => select(&["acme", "partners/acme", "*"][..]).prop_map(|name| format!("networkSet: \"{name}\"")),
            1 => select(&["a.example.com", "*.example.com", "*"][..]).prop_map(|name| format!("domain: \"{name}\"")),
            1 => select(&["workload", "host", "networkset", "network"][..]).prop_map(|kind| format!("endpointType: {kind}")),
        ]
    }

    fn a_match() -> impl Strategy<Value = String> {
        (vec(a_key(), 1..3), prop::bool::weighted(0.3)).prop_map(|(mut keys, pods)| {
            keys.sort_by_key(|key| key.split(':').next().map(str::to_owned));
            keys.dedup_by_key(|key| key.split(':').next().map(str::to_owned));
            let pods = if pods { ", pods: true" } else { "" };
            format!("{{{}{pods}}}", keys.join(", "))
        })
    }

    fn a_table(most: usize) -> impl Strategy<Value = Table> {
        vec(vec(a_match(), 1..4), 1..most).prop_map(|zones| {
            let zones =
                zones.iter().enumerate().map(|(n, of)| format!("- {{name: z{n}, match: [{}]}}\n", of.join(", ")));
            table(&zones.collect::<String>())
        })
    }

    prop_compose! {
        fn an_end()(
            kind in prop::option::of(select(&[
                EndpointType::Workload, EndpointType::Host, EndpointType::NetworkSet, EndpointType::Network][..])),
            namespace in prop::option::of(select(NAMESPACES)),
            name in prop::option::of(select(&["acme", "other"][..])),
            aggr in prop::option::of(select(&["pub", "pvt", "acme", "web-*"][..])),
            ip in prop::option::of(select(ADDRESSES)),
            labels in vec((select(&["app", "tier", "other"][..]), select(&["a", "x", ""][..])), 0..3),
        ) -> End<'static> {
            End {
                kind,
                namespace: namespace.map(Text::Borrowed),
                name: name.map(Text::Borrowed),
                name_aggr: aggr.map(Text::Borrowed),
                ip: ip.map(|ip| ip.parse().unwrap()),
                port: None,
                labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            }
        }
    }

    proptest! {
        /// However much was asked before, of this table or another.
        #[test]
        fn a_cache_changes_no_answer(
            tables in (a_table(12), a_table(4)),
            flows in vec((an_end(), an_end(), prop::option::of(select(&["a.example.com", "b.example.org."][..])), any::<bool>()), 1..40),
        ) {
            let mut cache = Cache::default();
            for (source, dest, domain, second) in flows {
                let table = if second { &tables.1 } else { &tables.0 };
                let dest_domains = domain.into_iter().map(Text::Borrowed).collect();
                let flow = Flow { source, dest, dest_domains, ..Flow::default() };
                prop_assert_eq!(table.classify_with(&flow, &mut cache), table.classify(&flow), "{:?}\n{:#?}", flow, table);
            }
        }
    }
}

/// A label more than are looked up at once.
#[test]
fn a_table_of_many_labels_is_asked_through_a_cache_too() {
    let many: String =
        (0..40).map(|n| format!("- {{name: z{n}, match: [{{labels: \"label-{n} == 'x'\"}}]}}\n")).collect();
    let table = table(&many);
    let mut cache = Cache::default();
    for n in [0, 7, 39, 7, 40] {
        let labels = vec![("other".into(), "y".into()), (format!("label-{n}").into(), "x".into())];
        let end = End { kind: Some(EndpointType::Workload), labels, ..End::default() };
        let flow = Flow { source: end, ..Flow::default() };
        let expected = if n < 40 { format!("z{n}") } else { "unknown".to_owned() };
        assert_eq!(table.classify_with(&flow, &mut cache).source, expected);
    }
}

//! The hourly history: what the transform groups and sums, asked of a real server and held against plain code. The
//! transform itself runs on no server here; its request is checked in [`super::types`].

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value, json};
use tidegate::setup::{self, Choice, HISTORY, NEWEST, What};

use super::corpus::all_taken;
use super::{Peer, beside_others, connect, convert, ignored, line, stream};
use crate::support::reduce::reduce;
use tidegate::net::auth::Auth;

fn objects(product: tidegate::net::product::Product) -> Vec<setup::Object> {
    let choice = Choice { history: Some(std::time::Duration::from_secs(365 * 86_400)), ..Choice::default() };
    setup::catalogue(product, &choice, false).expect("a choice that fits")
}

/// Ten flows in two hours, of two pairs, one of them denied, one without a policy.
fn flows() -> Vec<String> {
    (0..10)
        .map(|number: i64| {
            let denied = number % 5 == 0;
            let mut members = json!({
                "end_time": 1_767_225_900 + (number % 2) * 3_600, "start_time": 1_767_225_600 + (number % 2) * 3_600,
                "action": if denied { "deny" } else { "allow" }, "bytes_out": number * 100, "bytes_in": number,
                "num_flows_started": number, "dest_name_aggr": if number < 7 { "orders-*" } else { "ledger-*" },
            });
            if number == 3 {
                members["policies"] = Value::Null;
            }
            line(&members)
        })
        .collect()
}

/// Groups and sums by the transform's own words, over documents.
fn reference(pivot: &Value, documents: &[Value]) -> BTreeMap<String, Map<String, Value>> {
    let at = |document: &Value, field: &str| document.pointer(&format!("/{}", field.replace('.', "/"))).cloned();
    let mut rows: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for document in documents {
        let mut key = Map::new();
        for (name, by) in pivot["group_by"].as_object().expect("groups") {
            let (kind, how) = by.as_object().and_then(|by| by.iter().next()).expect("one kind");
            let value = at(document, how["field"].as_str().expect("a field")).unwrap_or(Value::Null);
            let value = match (kind.as_str(), value.as_str()) {
                ("date_histogram", Some(text)) => {
                    let time: jiff::Timestamp = text.parse().expect("a time");
                    json!(time.as_millisecond() / 3_600_000 * 3_600_000)
                }
                _ => value,
            };
            key.insert(name.clone(), value);
        }
        let row = rows.entry(Value::Object(key.clone()).to_string()).or_insert_with(|| key);
        for (name, by) in pivot["aggregations"].as_object().expect("sums") {
            let (kind, how) = by.as_object().and_then(|by| by.iter().next()).expect("one kind");
            let value = at(document, how["field"].as_str().expect("a field"));
            let add = if kind == "value_count" {
                i64::from(value.is_some())
            } else {
                value.and_then(|v| v.as_i64()).unwrap_or(0)
            };
            let sum = row.get(name).and_then(Value::as_i64).unwrap_or(0) + add;
            row.insert(name.clone(), sum.into());
        }
    }
    rows
}

#[test]
fn the_transform_sums_what_plain_code_sums() {
    let peer = Peer::Elasticsearch8;
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let stream = stream("history");
    let documents = convert(&flows());
    all_taken(&server.bulk(&stream, &documents));
    let documents: Vec<Value> = documents.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();

    let transform =
        objects(NEWEST[0]).into_iter().find(|object| object.what == What::Transform).expect("a transform").body;
    let pivot = &transform["pivot"];
    let sources: Vec<Value> =
        pivot["group_by"].as_object().expect("groups").iter().map(|(name, by)| json!({name: by})).collect();
    let query = json!({"size": 0, "query": transform["source"]["query"],
        "aggs": {"rows": {"composite": {"size": 1000, "sources": sources}, "aggs": pivot["aggregations"]}}});
    let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&query));
    let rows: BTreeMap<String, Map<String, Value>> = answer["aggregations"]["rows"]["buckets"]
        .as_array()
        .expect("buckets")
        .iter()
        .map(|bucket| {
            let mut row = bucket["key"].as_object().expect("a key").clone();
            let key = Value::Object(row.clone()).to_string();
            for name in pivot["aggregations"].as_object().expect("sums").keys() {
                let value = bucket[name]["value"].as_f64().expect("a sum");
                #[expect(clippy::cast_possible_truncation, reason = "sums of small whole numbers")]
                row.insert(name.clone(), (value as i64).into());
            }
            (key, row)
        })
        .collect();
    let expected = reference(pivot, &documents);
    assert!(expected.len() > 4, "{expected:#?}");
    assert_eq!(rows, expected);
    the_rows_fit_their_template(server, &rows);
}

/// As the transform would write them: dotted names nested.
fn the_rows_fit_their_template(server: &crate::support::servers::Server, rows: &BTreeMap<String, Map<String, Value>>) {
    let (wire, product) = connect(server, Auth::None).expect("a connection");
    let mut objects = reduce(product.kind, objects(product));
    objects.retain(|object| object.name == HISTORY);
    assert_eq!(objects.len(), 1, "its index template");
    super::block(setup::apply(&wire, &objects, setup::Options::default(), &mut Vec::new())).expect("installed");
    let index = format!("{HISTORY}-test-{}", std::process::id());
    let mut before = None;
    for row in rows.values() {
        let mut document = json!({});
        for (name, value) in row.iter().filter(|(_, value)| !value.is_null()) {
            let mut place = &mut document;
            for part in name.split('.') {
                place = &mut place[part];
            }
            *place = value.clone();
        }
        server.ok(Method::POST, &format!("/{index}/_doc?refresh=true"), Some(&document));
        let mapping = super::mapping(server, &index);
        assert_eq!(before.get_or_insert_with(|| mapping.clone()), &mapping);
    }
    assert_eq!(ignored(server, &index), [""; 0]);
    server.ok(Method::DELETE, &format!("/{index}"), None);
}

//! Grafana's boards: no dangling reference, traffic that is found. What the agents' board asks is [`super::prometheus`]'s.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::product::Kind;
use tidegate::setup::boards::grafana;

use super::computed::corpus;
use super::corpus::WINDOW;
use super::validate::mapping;

/// What is wrong with a board.
fn faults(board: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let variables = board["templating"]["list"].as_array().expect("variables");
    let known: BTreeSet<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    for name in used(&board.to_string()) {
        if !known.contains(name.as_str()) {
            faults.push(format!("nothing is named ${name}"));
        }
    }
    let panels = board["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        let mut need = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{title}: {what}"));
            }
        };
        need(ids.insert(panel["id"].as_u64()), "its id is there twice");
        need(matches!(panel["type"].as_str(), Some("stat" | "timeseries" | "table")), "its type is not known");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(0));
        need(w > 0 && h > 0 && x + w <= 24, "it does not fit the grid");
        need((y..y + h).all(|row| (x..x + w).all(|column| taken.insert((column, row)))), "it overlaps another");
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        need(!targets.is_empty(), "it asks nothing");
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].to_string()).collect();
        need(refs.len() == targets.len(), "two queries have one refId");
        for target in targets {
            need(target["datasource"]["type"] == panel["datasource"]["type"], "a query asks another source");
            let ids: Vec<&Value> =
                target["metrics"].as_array().into_iter().flatten().map(|metric| &metric["id"]).collect();
            for bucket in
                target["bucketAggs"].as_array().into_iter().flatten().filter(|bucket| bucket["type"] == "terms")
            {
                let by = &bucket["settings"]["orderBy"];
                need(by == "_count" || ids.contains(&by), "a bucket is ordered by a number that is not there");
            }
        }
    }
    faults
}

/// Names behind `$` and in `${}`; Grafana's own begin with two underscores.
fn used(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        rest.trim_start_matches('{').chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    text.split('$').skip(1).map(name).filter(|name| !name.starts_with("__")).collect()
}

#[test]
fn nothing_dangles() {
    for (name, board) in grafana::boards() {
        assert_eq!(faults(&board), [""; 0], "{name}");
    }
}

#[test]
fn each_slip_is_found() {
    let boards = grafana::boards();
    let text = |index: usize| boards[index].1.to_string();
    for (index, from, to, expected) in [
        (0, "$lane", "$lanes", "nothing is named $lanes"),
        (0, "\"id\":2", "\"id\":1", "its id is there twice"),
        (0, "\"type\":\"stat\"", "\"type\":\"stats\"", "its type is not known"),
        (0, "\"refId\":\"B\"", "\"refId\":\"A\"", "two queries have one refId"),
        (1, "\"x\":12", "\"x\":13", "it does not fit the grid"),
        (1, "\"x\":12", "\"x\":11", "it overlaps another"),
        (1, "\"orderBy\":\"1\"", "\"orderBy\":\"3\"", "a bucket is ordered by a number that is not there"),
    ] {
        assert!(text(index).contains(from), "{from}");
        let broken = serde_json::from_str(&text(index).replacen(from, to, 1)).expect("JSON");
        let faults = faults(&broken);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
    }
}

#[test]
fn traffic_is_found() {
    let Some((server, stream)) = corpus(Kind::Elasticsearch) else { return };
    let types = mapping(Kind::Elasticsearch);
    for panel in grafana::boards()[1].1["panels"].as_array().expect("panels") {
        let target = &panel["targets"][0];
        let query = target["query"]
            .as_str()
            .expect("Lucene")
            .replace("${cluster:lucene}", "*")
            .replace("${namespace:lucene}", "*");
        let metric = &target["metrics"][0];
        let mut aggs = json!({});
        if let Some(field) = metric["field"].as_str() {
            assert_eq!(types.get(field).map(String::as_str), Some("long"), "{field}");
            aggs = json!({"1": {metric["type"].as_str().expect("a type"): {"field": field}}});
        }
        for bucket in target["bucketAggs"].as_array().expect("buckets").iter().rev() {
            let field = bucket["field"].as_str().expect("a field");
            let agg = match bucket["type"].as_str() {
                Some("terms") => {
                    assert_eq!(types.get(field).map(String::as_str), Some("keyword"), "{field}");
                    json!({"terms": {"field": field, "size": bucket["settings"]["size"].as_str().and_then(|size| size.parse::<u32>().ok())}})
                }
                _ => json!({"date_histogram": {"field": field, "fixed_interval": "30m"}}),
            };
            let mut agg = agg;
            agg["aggs"] = aggs;
            aggs = json!({"b": agg});
        }
        let time = json!({"range": {"@timestamp": {"gte": WINDOW.from, "lt": WINDOW.to, "format": "epoch_millis"}}});
        let filters = json!([time, {"query_string": {"query": query}}]);
        let body = json!({"size": 0, "query": {"bool": {"filter": filters}}, "aggs": aggs});
        let answer = server.ok(Method::POST, &format!("/{stream}/_search"), Some(&body));
        let buckets = answer["aggregations"]["b"]["buckets"].as_array().expect("buckets").len();
        assert!(buckets > 0, "{}: {query} finds nothing", panel["title"]);
    }
}

//! Boards of Grafana: the agents' own metrics from Prometheus, and the traffic from Elasticsearch.

use serde::Deserialize;
use serde_json::{Value, json};

use super::source::read;

const PAGES: [(&str, &str); 2] = [
    ("agent", include_str!("../../../mappings/grafana/agent.yaml")),
    ("traffic", include_str!("../../../mappings/grafana/traffic.yaml")),
];
/// Of the dashboard format: what Grafana 10 writes. Newer ones migrate it when they load it.
const SCHEMA_VERSION: u32 = 39;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    uid: String,
    title: String,
    description: String,
    /// Type of the data source.
    source: String,
    variables: Vec<Variable>,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    label: String,
    query: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    question: String,
    kind: String,
    unit: Option<String>,
    at: [u32; 4],
    #[serde(default)]
    queries: Vec<Query>,
    flows: Option<Flows>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    legend: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flows {
    query: String,
    number: String,
    field: Option<String>,
    by: Vec<By>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct By {
    field: Option<String>,
    size: Option<u32>,
    #[serde(default)]
    time: bool,
}

/// Name and body of each board.
pub fn boards() -> Vec<(&'static str, Value)> {
    PAGES.iter().map(|(name, text)| (*name, board(&read(text)))).collect()
}

fn source(page: &Page) -> Value {
    json!({"type": page.source, "uid": "${source}"})
}

fn board(page: &Page) -> Value {
    let mut variables = vec![json!({
        "name": "source", "label": "Data source", "type": "datasource", "query": page.source, "current": {},
        "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
    })];
    variables.extend(page.variables.iter().map(|variable| {
        json!({
            "name": variable.name, "label": variable.label, "type": "query", "datasource": source(page),
            "query": variable.query, "definition": variable.query, "current": {"text": "All", "value": "$__all"},
            "allValue": if page.source == "prometheus" { ".*" } else { "*" },
            "hide": 0, "includeAll": true, "multi": true, "options": [], "refresh": 2, "regex": "", "sort": 1,
        })
    }));
    let panels: Vec<_> = page.panels.iter().zip(1..).map(|(panel, id)| self::panel(page, panel, id)).collect();
    json!({
        "uid": page.uid, "title": page.title, "description": page.description, "tags": ["tidegate"],
        "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"}, "timezone": "", "annotations": {"list": []}, "links": [],
        "templating": {"list": variables}, "panels": panels,
    })
}

fn panel(page: &Page, panel: &Panel, id: u32) -> Value {
    let [x, y, w, h] = panel.at;
    let mut targets: Vec<Value> =
        panel.queries.iter().map(|query| json!({"expr": query.expr, "legendFormat": query.legend})).collect();
    targets.extend(panel.flows.iter().map(|flows| self::flows(page, flows)));
    for (target, letter) in targets.iter_mut().zip('A'..) {
        target["refId"] = json!(letter.to_string());
        target["datasource"] = source(page);
    }
    let options = match panel.kind.as_str() {
        "stat" => {
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "colorMode": "value"})
        }
        "timeseries" => {
            json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": {"mode": "multi"}})
        }
        _ => json!({"showHeader": true}),
    };
    json!({
        "id": id, "type": panel.kind, "title": panel.title, "description": panel.question, "datasource": source(page),
        "gridPos": {"x": x, "y": y, "w": w, "h": h}, "targets": targets, "options": options,
        "fieldConfig": {"defaults": {"unit": panel.unit.as_deref().unwrap_or("short")}, "overrides": []},
    })
}

/// Grafana's Elasticsearch query: one number, buckets outermost first. Variables narrow each.
fn flows(page: &Page, flows: &Flows) -> Value {
    let mut number = json!({"id": "1", "type": flows.number});
    if let Some(field) = &flows.field {
        number["field"] = json!(field);
    }
    let order = if flows.number == "count" { "_count" } else { "1" };
    let bucket = |(by, id): (&By, u32)| match &by.field {
        Some(field) => json!({
            "id": id.to_string(), "type": "terms", "field": field,
            "settings": {"size": by.size.unwrap_or(10).to_string(), "order": "desc", "orderBy": order, "min_doc_count": "1"},
        }),
        None => json!({
            "id": id.to_string(), "type": "date_histogram", "field": "@timestamp",
            "settings": {"interval": "auto", "min_doc_count": if by.time { "0" } else { "1" }, "trimEdges": "0"},
        }),
    };
    let narrowed = page.variables.iter().filter_map(|variable| {
        let asked: Value = serde_json::from_str(&variable.query).ok()?;
        Some(format!(" AND {}:${{{}:lucene}}", asked["field"].as_str()?, variable.name))
    });
    json!({
        "query": format!("({}){}", flows.query, narrowed.collect::<String>()),
        "timeField": "@timestamp", "metrics": [number], "alias": "",
        "bucketAggs": flows.by.iter().zip(2..).map(bucket).collect::<Vec<_>>(),
    })
}

//! Saved objects of OpenSearch Dashboards 2.x and 3.x: the same questions with the visualizations that it has.
//!
//! It has no Lens: every panel is a visualization of its own, named by the board. A share becomes a donut of its part and
//! the rest; a treemap a donut of two rings; rare values are the values with the fewest documents. What was "before" has
//! no counterpart and is left out, as are drill-downs: a click on a value filters the board, and pinned filters stay.

use serde_json::{Map, Value, json};

use super::source::{Agg, Board, Bucket, CONNECTIONS, Chart, Common, Metric, Panel, Search, Sources};
use super::{board_id, canonical, navigation_text, search_id};

/// Its versions of the old format, in which it keeps them to this day.
const VISUALIZATION: (&str, &str) = ("visualization", "7.10.0");
const DASHBOARD: (&str, &str) = ("dashboard", "7.9.3");
const SEARCH: (&str, &str) = ("search", "7.9.3");
const INDEX_PATTERN: (&str, &str) = ("index-pattern", "7.6.0");
/// In the panels of a board.
const PANEL_VERSION: &str = "2.0.0";
/// Rows of navigation and controls above the panels.
const NAVIGATION: [u32; 4] = [0, 0, 48, 4];
const CONTROLS: [u32; 4] = [0, 4, 48, 11];
/// How far the panels move down for them.
const SHIFT: u32 = 11;
const SOURCE_INDEX: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";
/// Rarest values shown.
pub const RAREST: u32 = 25;

fn panel_id(board: &Board, panel: &str) -> String {
    format!("tidegate-{}-{panel}", board.id)
}

/// Every object, each after those that it refers to.
pub fn objects(sources: &Sources) -> Vec<Value> {
    let common = &sources.common;
    let mut objects = vec![index_pattern(common), controls(common)];
    objects.extend(common.searches.iter().map(|search| saved_search(common, search)));
    for board in &sources.boards {
        objects.push(navigation(sources, board));
        let shown = board.panels.iter().filter(|panel| panel.chart != Chart::Search);
        objects.extend(shown.map(|panel| visualization(common, board, panel)));
        objects.push(dashboard(sources, board));
    }
    objects
}

fn object((kind, version): (&str, &str), id: &str, attributes: &Value, references: &[Value]) -> Value {
    json!({
        "type": kind, "id": id, "attributes": attributes, "references": references,
        "migrationVersion": {kind: version},
    })
}

fn index_pattern(common: &Common) -> Value {
    let view = &common.data_view;
    let bytes = json!({"id": "bytes"});
    let names = ["network.bytes", "source.bytes", "destination.bytes"];
    let formats: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), bytes.clone())).collect();
    let attributes = json!({
        "title": view.title, "timeFieldName": view.time_field, "fieldFormatMap": canonical(&formats.into()),
    });
    object(INDEX_PATTERN, &view.id, &attributes, &[])
}

fn index_reference(common: &Common, name: &str) -> Value {
    json!({"type": "index-pattern", "id": common.data_view.id, "name": name})
}

fn source(query: &str, indexed: bool) -> Value {
    let mut source = json!({"query": {"query": query, "language": "kuery"}, "filter": []});
    if indexed {
        source["indexRefName"] = json!(SOURCE_INDEX);
    }
    json!({"searchSourceJSON": canonical(&source)})
}

fn saved_search(common: &Common, search: &Search) -> Value {
    let attributes = json!({
        "title": search.title, "description": "", "hits": 0, "columns": search.columns,
        "sort": [[common.data_view.time_field, "desc"]], "version": 1,
        "kibanaSavedObjectMeta": source(&common.kql(&search.filter), true),
    });
    object(SEARCH, &search_id(&search.id), &attributes, &[index_reference(common, SOURCE_INDEX)])
}

fn vis(id: &str, title: &str, question: &str, state: &Value, meta: &Value, references: &[Value]) -> Value {
    let attributes = json!({
        "title": title, "description": question, "version": 1, "uiStateJSON": "{}", "visState": canonical(state),
        "kibanaSavedObjectMeta": meta,
    });
    object(VISUALIZATION, id, &attributes, references)
}

fn navigation(sources: &Sources, here: &Board) -> Value {
    let title = format!("{}: navigation", here.title);
    let state = json!({
        "title": title, "type": "markdown", "aggs": [],
        "params": {"fontSize": 12, "openLinksInNewTab": false, "markdown": navigation_text(sources, here)},
    });
    vis(&panel_id(here, "navigation"), &title, "", &state, &source("", false), &[])
}

const CONTROLS_ID: &str = "tidegate-controls";

fn controls(common: &Common) -> Value {
    let name = |index: usize| format!("control_{index}_index_pattern");
    let control = |(index, control): (usize, &super::source::Control)| {
        json!({
            "id": control.id, "fieldName": control.field, "label": control.label, "parent": "", "type": "list",
            "indexPatternRefName": name(index),
            "options": {"type": "terms", "multiselect": true, "dynamicOptions": true, "size": 20, "order": "desc"},
        })
    };
    let title = "Calico flows: controls";
    let state = json!({
        "title": title, "type": "input_control_vis", "aggs": [],
        "params": {
            "controls": common.controls.iter().enumerate().map(control).collect::<Vec<_>>(),
            "updateFiltersOnChange": true, "useTimeFilter": true, "pinFilters": true,
        },
    });
    let references: Vec<_> = (0..common.controls.len()).map(|index| index_reference(common, &name(index))).collect();
    vis(CONTROLS_ID, title, "", &state, &source("", false), &references)
}

fn visualization(common: &Common, board: &Board, panel: &Panel) -> Value {
    let title = format!("{}: {}", board.title, panel.title);
    let shares = panel.show.iter().any(|metric| metric.agg == Agg::Share);
    let kind = match panel.chart {
        Chart::Metric if shares => "pie",
        Chart::Metric => "metric",
        Chart::Bar => "histogram",
        Chart::Area => "area",
        Chart::Line => "line",
        Chart::Donut | Chart::Treemap => "pie",
        Chart::Heatmap => "heatmap",
        Chart::Table | Chart::Search => "table",
    };
    let aggs = aggs(common, panel, kind);
    let state = json!({"title": title, "type": kind, "aggs": aggs, "params": params(kind, &aggs)});
    let meta = source(&common.kql(&panel.filter), true);
    let reference = index_reference(common, SOURCE_INDEX);
    vis(&panel_id(board, &panel.id), &title, &panel.question, &state, &meta, &[reference])
}

/// Numbers first, then buckets; ids count from 1, and buckets order by number 1.
fn aggs(common: &Common, panel: &Panel, kind: &str) -> Vec<Value> {
    let mut aggs: Vec<Value> = Vec::new();
    let mut add = |kind: &str, schema: &str, params: Value| {
        let id = (aggs.len() + 1).to_string();
        aggs.push(json!({"id": id, "enabled": true, "type": kind, "schema": schema, "params": params}));
    };
    for metric in &panel.show {
        let (kind, params) = number(common, metric);
        add(kind, "metric", params);
    }
    for (index, bucket) in panel.nested() {
        let schema = match kind {
            "table" => "bucket",
            "pie" => "segment",
            _ if index == 0 => "segment",
            _ => "group",
        };
        let (kind, params) = self::bucket(common, bucket);
        add(kind, schema, params);
    }
    for metric in panel.show.iter().filter(|metric| metric.agg == Agg::Share) {
        let of = common.kql(metric.of.as_deref().unwrap_or_default());
        let filter =
            |label: &str, query: String| json!({"label": label, "input": {"query": query, "language": "kuery"}});
        let filters =
            json!([filter(&metric.label(common), of.clone()), filter("Everything else", format!("not ({of})"))]);
        add("filters", "segment", json!({"filters": filters}));
    }
    aggs
}

fn number(common: &Common, metric: &Metric) -> (&'static str, Value) {
    // Without a rate per second, the field's own name says what is shown.
    let label = match (&metric.field, metric.per_second, metric.agg) {
        (_, _, Agg::Share) => common.label(CONNECTIONS).to_owned(),
        (Some(field), true, _) => common.label(field).to_owned(),
        (None, true, _) => "Documents".to_owned(),
        _ => metric.label(common),
    };
    let mut params = json!({"customLabel": label});
    let field = if metric.agg == Agg::Share { Some(CONNECTIONS) } else { metric.field.as_deref() };
    if let Some(field) = field {
        params["field"] = json!(field);
    }
    let kind = match metric.agg {
        Agg::Count => "count",
        Agg::Sum | Agg::Share => "sum",
        Agg::Unique => "cardinality",
        Agg::Max => "max",
        Agg::Min => "min",
        Agg::Average => "avg",
        Agg::P95 => {
            params["percents"] = json!([95]);
            "percentiles"
        }
    };
    (kind, params)
}

fn bucket(common: &Common, bucket: &Bucket) -> (&'static str, Value) {
    let terms = |field: &str, size: u32, ascending: bool| {
        json!({
            "field": field, "customLabel": common.label(field), "orderBy": "1",
            "order": if ascending { "asc" } else { "desc" }, "size": size,
            "otherBucket": false, "otherBucketLabel": "Other", "missingBucket": false, "missingBucketLabel": "Missing",
        })
    };
    match bucket {
        Bucket::Time(_) => (
            "date_histogram",
            json!({
                "field": common.data_view.time_field, "interval": "auto", "useNormalizedOpenSearchInterval": true,
                "scaleMetricValues": false, "drop_partials": false, "min_doc_count": 1, "extended_bounds": {},
            }),
        ),
        Bucket::Top(bucket) => {
            let mut params = terms(&bucket.top, bucket.size, bucket.ascending);
            if let Some(include) = bucket.include() {
                params["include"] = json!(include);
            }
            ("terms", params)
        }
        Bucket::Rare(bucket) => ("terms", terms(&bucket.rare, RAREST, true)),
        Bucket::Filters(bucket) => {
            let filter = |filter: &super::source::Filter| json!({"label": filter.label, "input": {"query": common.kql(&filter.kql), "language": "kuery"}});
            ("filters", json!({"filters": bucket.filters.iter().map(filter).collect::<Vec<_>>()}))
        }
    }
}

fn params(kind: &str, aggs: &[Value]) -> Value {
    match kind {
        "metric" => json!({
            "type": "metric", "addTooltip": true, "addLegend": false,
            "metric": {
                "percentageMode": false, "useRanges": false, "colorSchema": "Green to Red", "metricColorMode": "None",
                "colorsRange": [{"from": 0, "to": 10_000}], "labels": {"show": true}, "invertColors": false,
                "style": {"bgFill": "#000", "bgColor": false, "labelColor": false, "subText": "", "fontSize": 36},
            },
        }),
        "pie" => json!({
            "type": "pie", "addTooltip": true, "addLegend": true, "legendPosition": "right", "isDonut": true,
            "labels": {"show": true, "values": true, "last_level": true, "truncate": 100},
        }),
        "table" => json!({
            "perPage": 10, "showPartialRows": false, "showMetricsAtAllLevels": false,
            "sort": {"columnIndex": null, "direction": null}, "showTotal": false, "totalFunc": "sum", "percentageCol": "",
        }),
        "heatmap" => json!({
            "type": "heatmap", "addTooltip": true, "addLegend": true, "enableHover": false, "legendPosition": "right",
            "times": [], "colorsNumber": 6, "colorSchema": "Blues", "setColorRange": false, "colorsRange": [],
            "invertColors": false, "percentageMode": false,
            "valueAxes": [{
                "show": false, "id": "ValueAxis-1", "type": "value", "scale": {"type": "linear", "defaultYExtents": false},
                "labels": {"show": false, "rotate": 0, "overwriteColor": false, "color": "black"},
            }],
        }),
        _ => axes(kind, aggs),
    }
}

fn axes(kind: &str, aggs: &[Value]) -> Value {
    let numbers = aggs.iter().filter(|agg| agg["schema"] == "metric");
    let series: Vec<_> = numbers
        .map(|agg| {
            json!({
                "show": true, "type": kind, "mode": if kind == "line" { "normal" } else { "stacked" },
                "data": {"label": agg["params"]["customLabel"], "id": agg["id"]}, "valueAxis": "ValueAxis-1",
                "drawLinesBetweenPoints": true, "lineWidth": 2, "interpolate": "linear", "showCircles": kind == "line",
            })
        })
        .collect();
    json!({
        "type": kind, "grid": {"categoryLines": false}, "addTooltip": true, "addLegend": true, "legendPosition": "right",
        "times": [], "addTimeMarker": false, "labels": {"show": false}, "seriesParams": series,
        "thresholdLine": {"show": false, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
        "categoryAxes": [{
            "id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true, "style": {},
            "scale": {"type": "linear"}, "labels": {"show": true, "filter": true, "truncate": 100}, "title": {},
        }],
        "valueAxes": [{
            "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": true, "style": {},
            "scale": {"type": "linear", "mode": "normal"},
            "labels": {"show": true, "rotate": 0, "filter": false, "truncate": 100},
            "title": {"text": aggs.first().map_or(&Value::Null, |agg| &agg["params"]["customLabel"])},
        }],
    })
}

fn dashboard(sources: &Sources, board: &Board) -> Value {
    let common = &sources.common;
    let mut panels = Vec::new();
    let mut references = Vec::new();
    let mut add = |kind: &str, object: String, index: &str, [x, y, w, h]: [u32; 4], title: &str| {
        let name = format!("panel_{}", panels.len());
        panels.push(json!({
            "panelIndex": index, "gridData": {"x": x, "y": y, "w": w, "h": h, "i": index}, "version": PANEL_VERSION,
            "panelRefName": name, "embeddableConfig": {"hidePanelTitles": title.is_empty()}, "title": title,
        }));
        references.push(json!({"type": kind, "id": object, "name": name}));
    };
    add("visualization", panel_id(board, "navigation"), "navigation", NAVIGATION, "");
    add("visualization", CONTROLS_ID.to_owned(), "controls", CONTROLS, "");
    for panel in &board.panels {
        let [x, y, w, h] = panel.at;
        let (kind, id) = match (&panel.search, panel.chart) {
            (Some(search), Chart::Search) => ("search", search_id(search)),
            _ => ("visualization", panel_id(board, &panel.id)),
        };
        add(kind, id, &panel.id, [x, y + SHIFT, w, h], &panel.title);
    }
    let attributes = json!({
        "title": board.title, "description": board.description, "hits": 0, "version": 1,
        "timeRestore": true, "timeFrom": common.time.from, "timeTo": common.time.to,
        "refreshInterval": {"pause": true, "value": 60_000},
        "panelsJSON": canonical(&panels.into()),
        "optionsJSON": canonical(&json!({"useMargins": true, "hidePanelTitles": false})),
        "kibanaSavedObjectMeta": source(&common.kql(&board.filter), false),
    });
    object(DASHBOARD, &board_id(&board.id), &attributes, &references)
}

//! A panel as Lens keeps it: layers of columns, and a visualization that names them.
//!
//! Lens imports anything and fails on screen, so the shapes here are held by the validator of
//! `tests/integration/boards`. Column ids are readable and stable: `by0`, `show0`, `show0before`, `show0X1`.

use serde_json::{Map, Value, json};

use super::source::{Agg, Bucket, CONNECTIONS, Chart, Common, Format, Metric, Panel};

/// The one layer of a panel.
pub(super) const LAYER: &str = "flows";

/// A panel's inner references, by name and with the id of the data view.
pub(super) fn reference(common: &Common) -> Value {
    json!({
        "type": "index-pattern",
        "id": common.data_view.id,
        "name": format!("indexpattern-datasource-layer-{LAYER}"),
    })
}

/// The attributes of a Lens object.
pub(super) fn attributes(common: &Common, panel: &Panel) -> Value {
    let columns = Columns::of(common, panel);
    json!({
        "title": "",
        "description": "",
        "visualizationType": kind(panel.chart),
        "type": "lens",
        "references": [reference(common)],
        "state": {
            "visualization": visualization(panel, &columns),
            "query": {"query": common.kql(&panel.filter), "language": "kuery"},
            "filters": [],
            "datasourceStates": {
                "formBased": {"layers": {LAYER: {
                    "columnOrder": columns.order,
                    "columns": columns.map,
                    "incompleteColumns": {},
                    "sampling": 1,
                    "ignoreGlobalFilters": false,
                }}},
                "textBased": {"layers": {}},
            },
            "internalReferences": [],
            "adHocDataViews": {},
        },
    })
}

fn kind(chart: Chart) -> &'static str {
    match chart {
        Chart::Metric => "lnsMetric",
        Chart::Bar | Chart::Area | Chart::Line => "lnsXY",
        Chart::Donut | Chart::Treemap => "lnsPie",
        Chart::Heatmap => "lnsHeatmap",
        Chart::Table | Chart::Search => "lnsDatatable",
    }
}

/// A layer's columns: buckets first, as Lens orders them.
#[derive(Default)]
struct Columns {
    order: Vec<String>,
    map: Map<String, Value>,
    /// As on the page: the first is the axis.
    buckets: Vec<String>,
    /// Those that are shown; a share's parts are not.
    metrics: Vec<String>,
}

impl Columns {
    fn of(common: &Common, panel: &Panel) -> Self {
        let mut columns = Self::default();
        for (index, bucket) in panel.nested() {
            columns.add(&format!("by{index}"), bucket_column(common, bucket));
        }
        columns.buckets = (0..panel.by.len()).map(|index| format!("by{index}")).collect();
        for (index, metric) in panel.show.iter().enumerate() {
            columns.metric(common, &format!("show{index}"), metric);
        }
        columns
    }

    fn add(&mut self, id: &str, column: Value) {
        self.order.push(id.to_owned());
        self.map.insert(id.to_owned(), column);
    }

    fn metric(&mut self, common: &Common, id: &str, metric: &Metric) {
        match metric.agg {
            Agg::Share => self.share(common, id, metric),
            _ => self.add(id, metric_column(common, metric)),
        }
        self.metrics.push(id.to_owned());
        if let Some(shift) = &metric.before {
            let mut column = metric_column(common, metric);
            column["timeShift"] = json!(shift);
            column["label"] = json!(format!("{} {shift} before", metric.label(common)));
            let id = format!("{id}before");
            self.add(&id, column);
            self.metrics.push(id);
        }
    }

    /// A formula and, as Lens keeps it, its parts.
    fn share(&mut self, common: &Common, id: &str, metric: &Metric) {
        let of = common.kql(metric.of.as_deref().unwrap_or_default());
        let whole = format!("sum({CONNECTIONS})");
        let formula = format!("sum({CONNECTIONS}, kql='{of}') / {whole}");
        let label = metric.label(common);
        let [part, all, math] = [0, 1, 2].map(|number| format!("{id}X{number}"));
        let base = |label: String, operation: &str| {
            json!({
                "label": label, "customLabel": true, "dataType": "number", "operationType": operation,
                "isBucketed": false, "scale": "ratio",
            })
        };
        let sum = || {
            let mut column = base(format!("Part of {label}"), "sum");
            column["sourceField"] = json!(CONNECTIONS);
            column["params"] = json!({"emptyAsNull": false});
            column
        };
        let mut filtered = sum();
        filtered["filter"] = json!({"query": of, "language": "kuery"});
        self.add(&part, filtered);
        self.add(&all, sum());
        let mut quotient = base(format!("Part of {label}"), "math");
        quotient["references"] = json!([part, all]);
        quotient["params"] = json!({"tinymathAst": {
            "type": "function", "name": "divide", "args": [part, all],
            "location": {"min": 0, "max": formula.len()}, "text": formula,
        }});
        self.add(&math, quotient);
        let mut column = base(label, "formula");
        column["references"] = json!([math]);
        column["params"] = json!({
            "formula": formula, "isFormulaBroken": false,
            "format": {"id": "percent", "params": {"decimals": 1}},
        });
        self.add(id, column);
    }
}

fn bucket_column(common: &Common, bucket: &Bucket) -> Value {
    let terms = |field: &str, params: Value| {
        json!({
            "label": common.label(field), "customLabel": true, "dataType": data_type(field), "operationType": "terms",
            "scale": "ordinal", "sourceField": field, "isBucketed": true, "params": params,
        })
    };
    match bucket {
        Bucket::Time(_) => json!({
            "label": "Time", "customLabel": true, "dataType": "date", "operationType": "date_histogram",
            "sourceField": common.data_view.time_field, "isBucketed": true, "scale": "interval",
            "params": {"interval": "auto", "includeEmptyRows": true, "dropPartials": false},
        }),
        Bucket::Top(bucket) => terms(
            &bucket.top,
            json!({
                "size": bucket.size,
                "orderBy": {"type": "column", "columnId": "show0", "fallback": false},
                "orderDirection": if bucket.ascending { "asc" } else { "desc" },
                "otherBucket": false, "missingBucket": false, "parentFormat": {"id": "terms"},
                "include": bucket.include().as_slice(), "exclude": [],
                "includeIsRegex": bucket.containing.is_some(), "excludeIsRegex": false,
            }),
        ),
        Bucket::Rare(bucket) => terms(
            &bucket.rare,
            json!({
                "size": 100, "orderBy": {"type": "rare", "maxDocCount": bucket.at_most}, "orderDirection": "asc",
                "otherBucket": false, "missingBucket": false, "parentFormat": {"id": "terms"},
                "include": [], "exclude": [], "includeIsRegex": false, "excludeIsRegex": false,
            }),
        ),
        Bucket::Filters(bucket) => json!({
            "label": "What", "customLabel": true, "dataType": "string", "operationType": "filters",
            "scale": "ordinal", "isBucketed": true,
            "params": {"filters": bucket.filters.iter().map(|filter| json!({
                "label": filter.label, "input": {"query": common.kql(&filter.kql), "language": "kuery"},
            })).collect::<Vec<_>>()},
        }),
    }
}

/// What Lens calls the type of a bucket's field. Ports are the only numbers that we bucket by.
fn data_type(field: &str) -> &'static str {
    if field.ends_with(".port") { "number" } else { "string" }
}

fn metric_column(common: &Common, metric: &Metric) -> Value {
    let mut params = json!({"emptyAsNull": false});
    if metric.format == Some(Format::Bytes) {
        params["format"] = json!({"id": "bytes", "params": {"decimals": 1}});
    }
    let operation = match metric.agg {
        Agg::Count | Agg::Share => "count",
        Agg::Sum => "sum",
        Agg::Unique => "unique_count",
        Agg::Max => "max",
        Agg::Min => "min",
        Agg::Average => "average",
        Agg::P95 => {
            params["percentile"] = json!(95);
            "percentile"
        }
    };
    let mut column = json!({
        "label": metric.label(common), "customLabel": true,
        "dataType": if metric.is_date() { "date" } else { "number" },
        "operationType": operation, "isBucketed": false, "scale": "ratio",
        "sourceField": metric.field.as_deref().unwrap_or("___records___"),
        "params": params,
    });
    if metric.per_second {
        column["timeScale"] = json!("s");
    }
    column
}

fn visualization(panel: &Panel, columns: &Columns) -> Value {
    let bucket = |index: usize| columns.buckets.get(index).map_or(Value::Null, |id| json!(id));
    let shown = &columns.metrics;
    let mut state = match panel.chart {
        Chart::Metric => {
            let mut state = json!({"layerId": LAYER, "layerType": "data", "metricAccessor": shown[0]});
            if let Some(second) = shown.get(1) {
                state["secondaryMetricAccessor"] = json!(second);
            }
            state
        }
        Chart::Bar | Chart::Area | Chart::Line => xy(panel, shown, &bucket),
        Chart::Donut | Chart::Treemap => json!({
            "shape": if panel.chart == Chart::Donut { "donut" } else { "treemap" },
            "layers": [{
                "layerId": LAYER, "layerType": "data", "primaryGroups": columns.buckets, "metrics": [shown[0]],
                "numberDisplay": "percent", "categoryDisplay": "default", "legendDisplay": "default",
                "nestedLegend": false,
            }],
        }),
        Chart::Heatmap => json!({
            "shape": "heatmap", "layerId": LAYER, "layerType": "data",
            "xAccessor": bucket(0), "yAccessor": bucket(1), "valueAccessor": shown[0],
            "legend": {"isVisible": true, "position": "right", "type": "heatmap_legend"},
            "gridConfig": {
                "type": "heatmap_grid", "isCellLabelVisible": false, "isXAxisLabelVisible": true,
                "isYAxisLabelVisible": true, "isXAxisTitleVisible": true, "isYAxisTitleVisible": true,
            },
        }),
        Chart::Table | Chart::Search => json!({
            "layerId": LAYER, "layerType": "data",
            "columns": columns.buckets.iter().chain(shown).map(|id| json!({"columnId": id})).collect::<Vec<_>>(),
            "sorting": {"columnId": shown.first(), "direction": direction(panel)},
            "paging": {"size": 10, "enabled": true},
        }),
    };
    state.as_object_mut().into_iter().for_each(|state| state.retain(|_, value| !value.is_null()));
    state
}

fn direction(panel: &Panel) -> &'static str {
    let ascending = |bucket: &Bucket| match bucket {
        Bucket::Top(top) => top.ascending,
        Bucket::Rare(_) => true,
        _ => false,
    };
    if panel.by.iter().any(ascending) { "asc" } else { "desc" }
}

fn xy(panel: &Panel, shown: &[String], bucket: &dyn Fn(usize) -> Value) -> Value {
    let series = match panel.chart {
        Chart::Area => "area_stacked",
        Chart::Line => "line",
        _ => "bar_stacked",
    };
    let mut layer = json!({
        "layerId": LAYER, "layerType": "data", "accessors": shown, "position": "top", "seriesType": series,
        "showGridlines": false, "xAccessor": bucket(0),
    });
    if panel.by.len() > 1 {
        layer["splitAccessor"] = bucket(1);
    }
    json!({
        "legend": {"isVisible": true, "position": "right", "showSingleSeries": true},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": {"x": false, "yLeft": true, "yRight": true},
        "tickLabelsVisibilitySettings": {"x": true, "yLeft": true, "yRight": true},
        "gridlinesVisibilitySettings": {"x": false, "yLeft": true, "yRight": true},
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "preferredSeriesType": series,
        "layers": [layer],
    })
}

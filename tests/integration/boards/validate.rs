//! What no import tells: Kibana takes almost anything, and fails on screen. Each rule here has a case that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tidegate::net::product::Kind;
use tidegate::setup;
use tidegate::setup::boards::{self, Target};

use super::kql;

/// Field names and types of the mapping that is shipped.
pub fn mapping(kind: Kind) -> BTreeMap<String, String> {
    fn walk(prefix: &str, properties: &Value, out: &mut BTreeMap<String, String>) {
        for (name, field) in properties.as_object().into_iter().flatten() {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match field["type"].as_str() {
                Some(kind) => drop(out.insert(name, kind.to_owned())),
                None => walk(&name, &field["properties"], out),
            }
        }
    }
    let mut out = BTreeMap::new();
    let ours = |object: &setup::Object| object.name.starts_with(&format!("{}@", setup::NAME));
    for object in setup::shipped(kind).into_iter().filter(ours) {
        walk("", &object.body["template"]["mappings"]["properties"], &mut out);
    }
    assert!(out.len() > 100, "{}", out.len());
    out
}

pub fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Collects what is wrong.
struct Check<'a> {
    mapping: &'a BTreeMap<String, String>,
    /// Where one is, for the messages.
    place: String,
    faults: Vec<String>,
}

/// What is wrong with a file for Kibana.
pub fn kibana_faults(objects: &[Value], mapping: &BTreeMap<String, String>) -> Vec<String> {
    let mut check = Check { mapping, place: String::new(), faults: Vec::new() };
    let known = check.envelopes(objects, &KIBANA);
    for object in objects {
        check.place = place(object);
        check.references(object, &known);
        match object["type"].as_str() {
            Some("dashboard") => check.kibana_dashboard(object),
            Some("search") => check.search(object),
            Some("index-pattern") => check.data_view(object),
            _ => {}
        }
    }
    check.faults
}

pub fn opensearch_faults(objects: &[Value], mapping: &BTreeMap<String, String>) -> Vec<String> {
    let mut check = Check { mapping, place: String::new(), faults: Vec::new() };
    let known = check.envelopes(objects, &OPENSEARCH);
    for object in objects {
        check.place = place(object);
        check.references(object, &known);
        match object["type"].as_str() {
            Some("dashboard") => check.opensearch_dashboard(object),
            Some("visualization") => check.visualization(object),
            Some("search") => check.search(object),
            _ => {}
        }
    }
    check.faults
}

fn place(object: &Value) -> String {
    format!("{} {}", object["type"].as_str().unwrap_or("?"), object["id"].as_str().unwrap_or("?"))
}

fn parts(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

/// Type, its newest version that may stand there, and the attributes it knows.
type Known = (&'static str, &'static str, &'static [&'static str]);

const KIBANA: [Known; 4] = [
    (
        "dashboard",
        "8.9.0",
        &[
            "title",
            "description",
            "kibanaSavedObjectMeta",
            "timeRestore",
            "timeFrom",
            "timeTo",
            "refreshInterval",
            "controlGroupInput",
            "panelsJSON",
            "optionsJSON",
            "hits",
            "version",
        ],
    ),
    (
        "search",
        "8.0.0",
        &[
            "title",
            "description",
            "columns",
            "sort",
            "grid",
            "hideChart",
            "isTextBasedQuery",
            "timeRestore",
            "kibanaSavedObjectMeta",
        ],
    ),
    (
        "index-pattern",
        "8.0.0",
        &[
            "title",
            "name",
            "timeFieldName",
            "fields",
            "fieldAttrs",
            "fieldFormatMap",
            "runtimeFieldMap",
            "sourceFilters",
            "typeMeta",
            "allowNoIndex",
        ],
    ),
    ("tag", "8.0.0", &["name", "description", "color"]),
];

const OPENSEARCH: [Known; 4] = [
    (
        "dashboard",
        "7.9.3",
        &[
            "title",
            "description",
            "kibanaSavedObjectMeta",
            "timeRestore",
            "timeFrom",
            "timeTo",
            "refreshInterval",
            "panelsJSON",
            "optionsJSON",
            "hits",
            "version",
        ],
    ),
    ("search", "7.9.3", &["title", "description", "hits", "columns", "sort", "version", "kibanaSavedObjectMeta"]),
    ("index-pattern", "7.6.0", &["title", "timeFieldName", "fieldFormatMap"]),
    (
        "visualization",
        "7.10.0",
        &["title", "description", "version", "uiStateJSON", "visState", "kibanaSavedObjectMeta"],
    ),
];

const OPERATIONS: [&str; 11] = [
    "date_histogram",
    "terms",
    "filters",
    "count",
    "sum",
    "unique_count",
    "max",
    "min",
    "average",
    "percentile",
    "formula",
];

impl Check<'_> {
    fn fault(&mut self, what: impl Into<String>) {
        let fault = format!("{}: {}", self.place, what.into());
        self.faults.push(fault);
    }

    fn need(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.fault(what);
        }
    }

    fn embedded(&mut self, value: &Value, what: &str) -> Value {
        match value.as_str().map(serde_json::from_str) {
            Some(Ok(value)) => value,
            _ => {
                self.fault(format!("{what} holds no JSON text"));
                Value::Null
            }
        }
    }

    /// Types, versions, unique ids, no unknown attribute. Gives all (type, id).
    fn envelopes(&mut self, objects: &[Value], known: &[Known]) -> BTreeSet<(String, String)> {
        let mut ids = BTreeSet::new();
        for object in objects {
            self.place = place(object);
            let name = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            self.need(ids.insert((name("type"), name("id"))), "its id is there twice");
            let Some((kind, newest, attributes)) = known.iter().find(|(kind, ..)| *kind == name("type")) else {
                self.fault("its type is not known");
                continue;
            };
            let version = object["typeMigrationVersion"].as_str().or_else(|| object["migrationVersion"][kind].as_str());
            let fits = version.is_some_and(|version| parts(version) <= parts(newest));
            self.need(fits, format!("its version is {version:?}, and {newest} is what all know"));
            for attribute in object["attributes"].as_object().into_iter().flatten().map(|(name, _)| name) {
                self.need(attributes.contains(&attribute.as_str()), format!("the attribute {attribute} is not known"));
            }
        }
        ids
    }

    /// Each reference leads somewhere and has a name of its own; the object uses each, and no other.
    fn references(&mut self, object: &Value, known: &BTreeSet<(String, String)>) {
        let mut names = BTreeSet::new();
        let used = used_names(object);
        for reference in object["references"].as_array().into_iter().flatten() {
            let part = |key: &str| reference[key].as_str().unwrap_or_default().to_owned();
            let name = part("name");
            self.need(
                known.contains(&(part("type"), part("id"))),
                format!("{name} leads to {} {}, which is not there", part("type"), part("id")),
            );
            self.need(names.insert(name.clone()), format!("the reference {name} is there twice"));
            self.need(
                name.starts_with("tag-ref-") || used.contains(&name),
                format!("nothing uses the reference {name}"),
            );
        }
        for name in used {
            self.need(names.contains(&name), format!("the reference {name} is missing"));
        }
    }

    fn kql(&mut self, text: &Value) {
        let text = text.as_str().unwrap_or_default();
        let kql = match kql::parse(text) {
            Ok(kql) => kql,
            Err(error) => return self.fault(format!("the query {text:?} cannot be read: {error}")),
        };
        for (field, how) in kql.fields() {
            let fits = match (self.mapping.get(field).map(String::as_str), how) {
                (None, _) => return self.fault(format!("the query {text:?} asks for {field}, which no mapping has")),
                (Some(_), "exists") | (Some("keyword" | "constant_keyword"), "is" | "wildcard") => true,
                (Some("long" | "ip" | "date" | "boolean"), "is") | (Some("long" | "date"), "range") => true,
                _ => false,
            };
            self.need(fits, format!("the query {text:?} asks of {field} what its type cannot answer ({how})"));
        }
    }

    fn data_view(&mut self, object: &Value) {
        let attributes = &object["attributes"];
        for name in ["fields", "fieldAttrs", "fieldFormatMap", "runtimeFieldMap", "sourceFilters", "typeMeta"] {
            self.embedded(&attributes[name], name);
        }
        let runtime = self.embedded(&attributes["runtimeFieldMap"], "runtimeFieldMap");
        self.need(runtime == json!({}), "it has runtime fields");
    }

    fn search(&mut self, object: &Value) {
        let attributes = &object["attributes"];
        let source = self.embedded(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"], "searchSourceJSON");
        self.kql(&source["query"]["query"]);
        for column in attributes["columns"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.need(self.mapping.contains_key(column), format!("the column {column} is not in the mapping"));
        }
    }

    fn grid(&mut self, panels: &[Value]) {
        let mut placed: Vec<([u64; 4], String)> = Vec::new();
        let mut indexes = BTreeSet::new();
        let mut rows = BTreeSet::new();
        for panel in panels {
            let index = panel["panelIndex"].as_str().unwrap_or_default().to_owned();
            let grid = &panel["gridData"];
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| grid[key].as_u64().unwrap_or(0));
            self.need(grid["i"].as_str() == Some(&index), format!("the panel {index} has another index on the grid"));
            self.need(indexes.insert(index.clone()), format!("the panel {index} is there twice"));
            self.need(w > 0 && h > 0 && x + w <= 48, format!("the panel {index} does not fit the grid"));
            rows.extend(y..y + h);
            let overlaps = |[a, b, c, d]: &[u64; 4]| x < a + c && *a < x + w && y < b + d && *b < y + h;
            if let Some((_, other)) = placed.iter().find(|(place, _)| overlaps(place)) {
                self.fault(format!("the panels {other} and {index} overlap"));
            }
            placed.push(([x, y, w, h], index));
        }
        let last = rows.last().copied().unwrap_or(0);
        self.need(rows.len() as u64 == last + 1, "there is an empty row");
    }

    fn kibana_dashboard(&mut self, object: &Value) {
        let attributes = &object["attributes"];
        self.embedded(&attributes["optionsJSON"], "optionsJSON");
        let source = self.embedded(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"], "searchSourceJSON");
        self.kql(&source["query"]["query"]);
        let group = &attributes["controlGroupInput"];
        self.embedded(&group["ignoreParentSettingsJSON"], "ignoreParentSettingsJSON");
        let controls = self.embedded(&group["panelsJSON"], "controlGroupInput.panelsJSON");
        for (id, control) in controls.as_object().into_iter().flatten() {
            let input = &control["explicitInput"];
            self.need(input["id"].as_str() == Some(id), format!("the control {id} has another id inside"));
            let field = input["fieldName"].as_str().unwrap_or_default();
            self.need(
                self.mapping.get(field).is_some_and(|kind| kind == "keyword"),
                format!("the control {id} asks for {field}, which is no keyword"),
            );
        }
        let panels = self.embedded(&attributes["panelsJSON"], "panelsJSON");
        let panels = panels.as_array().cloned().unwrap_or_default();
        self.grid(&panels);
        let board = self.place.clone();
        for panel in &panels {
            self.place = format!("{board}, panel {}", panel["panelIndex"].as_str().unwrap_or("?"));
            match panel["type"].as_str() {
                Some("lens") => self.lens(panel),
                Some("search" | "links" | "visualization") => {}
                other => self.fault(format!("{other:?} is no kind of panel")),
            }
        }
        self.place = board;
    }

    fn lens(&mut self, panel: &Value) {
        let attributes = &panel["embeddableConfig"]["attributes"];
        for name in attributes.as_object().into_iter().flatten().map(|(name, _)| name) {
            let known = ["title", "description", "visualizationType", "type", "references", "state"];
            self.need(known.contains(&name.as_str()), format!("the attribute {name} of Lens is not known"));
        }
        let state = &attributes["state"];
        self.kql(&state["query"]["query"]);
        let layers = state["datasourceStates"]["formBased"]["layers"].as_object().cloned().unwrap_or_default();
        let visualization = &state["visualization"];
        let named: BTreeSet<String> = strings(visualization, "layerId").into_iter().collect();
        let there: BTreeSet<String> = layers.keys().cloned().collect();
        self.need(named == there, format!("the visualization names the layers {named:?}, and there are {there:?}"));
        for (id, layer) in &layers {
            let name = format!("indexpattern-datasource-layer-{id}");
            let referred = attributes["references"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|reference| reference["name"] == name.as_str());
            self.need(referred, format!("the layer {id} has no data view"));
            self.layer(layer, attributes["visualizationType"].as_str().unwrap_or_default(), visualization);
        }
    }

    fn layer(&mut self, layer: &Value, kind: &str, visualization: &Value) {
        let columns = layer["columns"].as_object().cloned().unwrap_or_default();
        let order: Vec<&str> =
            layer["columnOrder"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let ordered: BTreeSet<&str> = order.iter().copied().collect();
        let there: BTreeSet<&str> = columns.keys().map(String::as_str).collect();
        self.need(ordered == there && ordered.len() == order.len(), "columnOrder is no order of the columns");
        let buckets =
            order.iter().take_while(|id| columns.get(**id).is_some_and(|column| column["isBucketed"] == true)).count();
        let bucketed =
            order.iter().filter(|id| columns.get(**id).is_some_and(|column| column["isBucketed"] == true)).count();
        self.need(buckets == bucketed, "buckets stand behind numbers");
        let mut reached: BTreeSet<String> = accessors(visualization).into_iter().collect();
        for id in reached.clone() {
            self.need(
                columns.contains_key(&id),
                format!("the visualization shows the column {id}, which is not there"),
            );
        }
        let mut open: Vec<String> = reached.iter().cloned().collect();
        while let Some(id) = open.pop() {
            for inner in columns.get(&id).and_then(|column| column["references"].as_array()).into_iter().flatten() {
                let inner = inner.as_str().unwrap_or_default().to_owned();
                self.need(
                    columns.contains_key(&inner),
                    format!("the column {id} refers to {inner}, which is not there"),
                );
                if reached.insert(inner.clone()) {
                    open.push(inner);
                }
            }
        }
        for id in columns.keys() {
            self.need(reached.contains(id), format!("nothing shows the column {id}"));
        }
        self.shape(kind, visualization);
        for (id, column) in &columns {
            self.column(id, column, &columns);
        }
    }

    /// What a kind of visualization cannot be without.
    fn shape(&mut self, kind: &str, visualization: &Value) {
        let layer = &visualization["layers"][0];
        let needed: &[(&str, &Value)] = match kind {
            "lnsMetric" => &[("metricAccessor", &visualization["metricAccessor"])],
            "lnsXY" => &[
                ("seriesType", &layer["seriesType"]),
                ("accessors", &layer["accessors"]),
                ("legend", &visualization["legend"]),
                ("xAccessor", &layer["xAccessor"]),
            ],
            "lnsPie" => &[
                ("shape", &visualization["shape"]),
                ("primaryGroups", &layer["primaryGroups"]),
                ("metrics", &layer["metrics"]),
            ],
            "lnsHeatmap" => &[
                ("xAccessor", &visualization["xAccessor"]),
                ("yAccessor", &visualization["yAccessor"]),
                ("valueAccessor", &visualization["valueAccessor"]),
                ("gridConfig", &visualization["gridConfig"]),
                ("legend", &visualization["legend"]),
            ],
            "lnsDatatable" => &[("columns", &visualization["columns"])],
            other => return self.fault(format!("{other} is no visualization of Lens")),
        };
        for (name, value) in needed {
            self.need(!value.is_null(), format!("{kind} lacks {name}"));
        }
    }

    fn column(&mut self, id: &str, column: &Value, columns: &serde_json::Map<String, Value>) {
        for name in ["label", "dataType", "operationType", "isBucketed", "scale"] {
            self.need(!column[name].is_null(), format!("the column {id} lacks {name}"));
        }
        let operation = column["operationType"].as_str().unwrap_or_default();
        if !OPERATIONS.contains(&operation) && operation != "math" {
            return self.fault(format!("the column {id}: {operation} is no operation"));
        }
        if !column["filter"].is_null() {
            self.kql(&column["filter"]["query"]);
        }
        let params = &column["params"];
        match operation {
            "filters" => {
                for filter in params["filters"].as_array().into_iter().flatten() {
                    self.kql(&filter["input"]["query"]);
                }
                return;
            }
            "formula" => {
                self.need(params["isFormulaBroken"] == false, format!("the formula {id} is broken"));
                self.formula(id, params["formula"].as_str().unwrap_or_default());
                return;
            }
            "math" => return,
            "terms" => self.terms(id, params, columns),
            _ => {}
        }
        self.source(id, operation, column);
    }

    fn formula(&mut self, id: &str, formula: &str) {
        let names =
            formula.split(|c: char| !(c.is_alphanumeric() || "._@".contains(c))).filter(|word| word.contains('.'));
        for field in names {
            let field = field.trim_matches('.');
            self.need(
                self.mapping.contains_key(field),
                format!("the formula {id} names {field}, which no mapping has"),
            );
        }
    }

    fn terms(&mut self, id: &str, params: &Value, columns: &serde_json::Map<String, Value>) {
        let size = params["size"].as_u64().unwrap_or(0);
        self.need((1..=1000).contains(&size), format!("the column {id} has a size of {size}"));
        self.need(
            matches!(params["orderDirection"].as_str(), Some("asc" | "desc")),
            format!("the column {id} has no direction"),
        );
        let by = &params["orderBy"];
        match by["type"].as_str() {
            Some("column") => {
                let column = by["columnId"].as_str().unwrap_or_default();
                self.need(
                    columns.contains_key(column),
                    format!("the column {id} is ordered by {column}, which is not there"),
                );
            }
            Some("rare") => {
                let most = by["maxDocCount"].as_u64().unwrap_or(0);
                self.need((1..=100).contains(&most), format!("the column {id} calls {most} documents rare"));
            }
            other => self.fault(format!("the column {id} is ordered by {other:?}")),
        }
        let many = params["secondaryFields"].is_array();
        let format = params["parentFormat"]["id"].as_str();
        self.need(
            format == Some(if many { "multi_terms" } else { "terms" }),
            format!("the column {id} has the format {format:?}"),
        );
    }

    fn source(&mut self, id: &str, operation: &str, column: &Value) {
        let field = column["sourceField"].as_str().unwrap_or_default();
        if operation == "count" && field == "___records___" {
            return;
        }
        let Some(kind) = self.mapping.get(field).map(String::as_str) else {
            return self.fault(format!("the column {id} asks for {field}, which no mapping has"));
        };
        let fits = match operation {
            "date_histogram" => kind == "date",
            "terms" => matches!(kind, "keyword" | "long" | "ip" | "boolean"),
            "sum" | "average" | "percentile" => kind == "long",
            "max" | "min" => matches!(kind, "long" | "date"),
            _ => !matches!(kind, "match_only_text" | "text" | "flattened" | "flat_object"),
        };
        self.need(fits, format!("the column {id}: {operation} over {field}, which is {kind}"));
        let expected = match (operation, kind) {
            ("terms", "keyword") => "string",
            ("terms", "long") => "number",
            ("terms", kind) => kind,
            ("date_histogram", _) | ("max" | "min", "date") => "date",
            _ => "number",
        };
        let data_type = column["dataType"].as_str();
        self.need(data_type == Some(expected), format!("the column {id} is called {data_type:?} and is {expected}"));
    }

    fn opensearch_dashboard(&mut self, object: &Value) {
        let attributes = &object["attributes"];
        self.embedded(&attributes["optionsJSON"], "optionsJSON");
        let source = self.embedded(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"], "searchSourceJSON");
        self.kql(&source["query"]["query"]);
        let panels = self.embedded(&attributes["panelsJSON"], "panelsJSON");
        self.grid(panels.as_array().map_or(&[], Vec::as_slice));
    }

    fn visualization(&mut self, object: &Value) {
        let attributes = &object["attributes"];
        self.embedded(&attributes["uiStateJSON"], "uiStateJSON");
        let source = self.embedded(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"], "searchSourceJSON");
        self.kql(&source["query"]["query"]);
        let state = self.embedded(&attributes["visState"], "visState");
        self.need(state["title"] == attributes["title"], "visState has another title");
        let kinds = ["metric", "histogram", "area", "line", "pie", "heatmap", "table", "markdown", "input_control_vis"];
        let kind = state["type"].as_str().unwrap_or_default().to_owned();
        self.need(kinds.contains(&kind.as_str()), format!("{kind} is no visualization"));
        for control in state["params"]["controls"].as_array().into_iter().flatten() {
            let field = control["fieldName"].as_str().unwrap_or_default();
            self.need(
                self.mapping.get(field).is_some_and(|kind| kind == "keyword"),
                format!("a control asks for {field}, which is no keyword"),
            );
        }
        let aggs = state["aggs"].as_array().cloned().unwrap_or_default();
        let ids: BTreeSet<&str> = aggs.iter().filter_map(|agg| agg["id"].as_str()).collect();
        self.need(ids.len() == aggs.len(), "two aggregations have one id");
        for agg in &aggs {
            self.agg(agg, &ids, &kind);
        }
    }

    fn agg(&mut self, agg: &Value, ids: &BTreeSet<&str>, vis: &str) {
        let (id, kind) = (agg["id"].as_str().unwrap_or_default(), agg["type"].as_str().unwrap_or_default());
        let params = &agg["params"];
        let schemas: &[&str] = match vis {
            "metric" => &["metric", "group"],
            "pie" => &["metric", "segment", "split"],
            "table" => &["metric", "bucket", "split"],
            _ => &["metric", "segment", "group", "split"],
        };
        let schema = agg["schema"].as_str().unwrap_or_default();
        self.need(schemas.contains(&schema), format!("{vis} has no place for {schema}"));
        for filter in params["filters"].as_array().into_iter().flatten() {
            self.kql(&filter["input"]["query"]);
        }
        if kind == "terms" {
            let by = params["orderBy"].as_str().unwrap_or_default();
            self.need(ids.contains(by), format!("aggregation {id} is ordered by {by}, which is not there"));
        }
        if matches!(kind, "count" | "filters") {
            return;
        }
        let field = params["field"].as_str().unwrap_or_default();
        let Some(found) = self.mapping.get(field).map(String::as_str) else {
            return self.fault(format!("aggregation {id} asks for {field}, which no mapping has"));
        };
        let fits = match kind {
            "date_histogram" => found == "date",
            "terms" => matches!(found, "keyword" | "long" | "ip" | "boolean"),
            "sum" | "avg" | "percentiles" => found == "long",
            "max" | "min" => matches!(found, "long" | "date"),
            "cardinality" => !matches!(found, "text" | "flat_object"),
            _ => return self.fault(format!("aggregation {id}: {kind} is none")),
        };
        self.need(fits, format!("aggregation {id}: {kind} over {field}, which is {found}"));
    }
}

/// The names by which an object uses its references.
fn used_names(object: &Value) -> BTreeSet<String> {
    let attributes = &object["attributes"];
    let parse =
        |value: &Value| value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
    let mut names = BTreeSet::new();
    let source = parse(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
    names.extend(source["indexRefName"].as_str().map(str::to_owned));
    for control in parse(&attributes["visState"])["params"]["controls"].as_array().into_iter().flatten() {
        names.extend(control["indexPatternRefName"].as_str().map(str::to_owned));
    }
    for id in parse(&attributes["controlGroupInput"]["panelsJSON"]).as_object().into_iter().flatten().map(|(id, _)| id)
    {
        names.insert(format!("controlGroup_{id}:optionsListDataView"));
    }
    for panel in parse(&attributes["panelsJSON"]).as_array().into_iter().flatten() {
        let index = panel["panelIndex"].as_str().unwrap_or_default();
        // OpenSearch Dashboards names panels without their index.
        let before = if panel["type"].is_null() { String::new() } else { format!("{index}:") };
        names.extend(panel["panelRefName"].as_str().map(|name| format!("{before}{name}")));
        let config = &panel["embeddableConfig"];
        for reference in config["attributes"]["references"].as_array().into_iter().flatten() {
            names.extend(reference["name"].as_str().map(|name| format!("{before}{name}")));
        }
        for link in config["attributes"]["links"].as_array().into_iter().flatten() {
            names.extend(link["destinationRefName"].as_str().map(|name| format!("{before}{name}")));
        }
        for event in config["enhancements"]["dynamicActions"]["events"].as_array().into_iter().flatten() {
            let kind = event["action"]["factoryId"].as_str().unwrap_or_default();
            let event = event["eventId"].as_str().unwrap_or_default();
            names.insert(format!("{before}drilldown:{kind}:{event}:dashboardId"));
        }
    }
    names
}

/// All values of a key, anywhere.
fn strings(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(text) if name == key => vec![text.to_owned()],
                _ => strings(value, key),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| strings(item, key)).collect(),
        _ => Vec::new(),
    }
}

/// Every column that a visualization shows.
fn accessors(visualization: &Value) -> Vec<String> {
    const ONE: [&str; 11] = [
        "xAccessor",
        "yAccessor",
        "valueAccessor",
        "splitAccessor",
        "metricAccessor",
        "secondaryMetricAccessor",
        "maxAccessor",
        "breakdownByAccessor",
        "columnId",
        "groupAccessor",
        "goalAccessor",
    ];
    const MANY: [&str; 5] = ["accessors", "metrics", "primaryGroups", "secondaryGroups", "splitAccessors"];
    let mut found: Vec<String> = ONE.iter().flat_map(|name| strings(visualization, name)).collect();
    let layers = visualization["layers"].as_array().into_iter().flatten();
    for list in layers.flat_map(|layer| MANY.map(|name| layer[name].as_array().cloned())).flatten() {
        found.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    found
}

#[test]
fn what_is_shipped_is_sound() {
    for target in [Target::Kibana8, Target::Kibana9] {
        let faults = kibana_faults(&objects(&boards::import(target)), &mapping(Kind::Elasticsearch));
        assert_eq!(faults, [""; 0], "{target:?}");
    }
    let faults = opensearch_faults(&objects(&boards::import(Target::OpenSearchDashboards)), &mapping(Kind::OpenSearch));
    assert_eq!(faults, [""; 0]);
}

/// Built once: a test breaks it in dozens of ways.
fn file(target: Target) -> &'static str {
    static FILES: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
    FILES[target as usize].get_or_init(|| boards::import(target))
}

/// Changes the first occurrence in a file, as somebody's slip would, and the rule must speak.
fn check(target: Target, from: &str, to: &str, expected: &str) {
    let text = file(target);
    assert!(text.contains(from), "{from} is not in the file");
    let objects = objects(&text.replacen(from, to, 1));
    let faults = match target {
        Target::OpenSearchDashboards => opensearch_faults(&objects, &mapping(Kind::OpenSearch)),
        _ => kibana_faults(&objects, &mapping(Kind::Elasticsearch)),
    };
    assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected:?} is not said of {to}, but {faults:?}");
}

#[test]
fn each_slip_is_found_in_kibanas_objects() {
    for (from, to, expected) in [
        (
            r#""id":"tidegate-search-denied","managed""#,
            r#""id":"tidegate-search-staged","managed""#,
            "its id is there twice",
        ),
        (r#""type":"tag""#, r#""type":"tags""#, "its type is not known"),
        (r#""typeMigrationVersion":"8.9.0""#, r#""typeMigrationVersion":"10.2.0""#, "8.9.0 is what all know"),
        (r#""timeRestore":true"#, r#""timeRestore":true,"sections":[]"#, "the attribute sections is not known"),
        (r#""panelsJSON":"["#, r#""panelsJSON":"[["#, "panelsJSON holds no JSON text"),
        (r#""optionsJSON":"{"#, r#""optionsJSON":"{{"#, "optionsJSON holds no JSON text"),
        (r#""runtimeFieldMap":"{}""#, r#""runtimeFieldMap":"{\"x\":{}}""#, "it has runtime fields"),
        (r#"\"i\":\"bytes\""#, r#"\"i\":\"byte\""#, "the panel bytes has another index on the grid"),
        (r#"\"panelIndex\":\"bytes\""#, r#"\"panelIndex\":\"connections\""#, "the panel connections is there twice"),
        (r#"\"w\":12,\"x\":36"#, r#"\"w\":13,\"x\":36"#, "does not fit the grid"),
        (r#"\"w\":12,\"x\":0"#, r#"\"w\":13,\"x\":0"#, "overlap"),
        (r#"\"h\":4,\"i\":\"navigation\""#, r#"\"h\":3,\"i\":\"navigation\""#, "there is an empty row"),
        (r#"\"type\":\"lens\",\"version\""#, r#"\"type\":\"lenses\",\"version\""#, "is no kind of panel"),
        (
            r#""id":"tidegate-denied","name""#,
            r#""id":"tidegate-denials","name""#,
            "leads to dashboard tidegate-denials, which is not there",
        ),
        (
            r#""name":"bytes:indexpattern-datasource-layer-flows""#,
            r#""name":"bites:indexpattern-datasource-layer-flows""#,
            "the reference bytes:indexpattern-datasource-layer-flows is missing",
        ),
        (
            r#""name":"bytes:indexpattern-datasource-layer-flows""#,
            r#""name":"bites:indexpattern-datasource-layer-flows""#,
            "nothing uses the reference bites:",
        ),
        (
            r#""name":"controlGroup_cluster:optionsListDataView""#,
            r#""name":"controlGroup_clusters:optionsListDataView""#,
            "controlGroup_cluster:optionsListDataView is missing",
        ),
        (
            r#"\"fieldName\":\"calico.action\""#,
            r#"\"fieldName\":\"network.bytes\""#,
            "network.bytes, which is no keyword",
        ),
        (r#"\"layerId\":\"flows\""#, r#"\"layerId\":\"flow\""#, "names the layers"),
        (
            r#"\"columnOrder\":[\"show0\",\"#,
            r#"\"columnOrder\":[\"show1\",\"#,
            "columnOrder is no order of the columns",
        ),
        (
            r#"\"columnOrder\":[\"by0\",\"by1\",\"show0\"]"#,
            r#"\"columnOrder\":[\"by0\",\"show0\",\"by1\"]"#,
            "buckets stand behind numbers",
        ),
        (
            r#"\"metricAccessor\":\"show0\""#,
            r#"\"metricAccessor\":\"show9\""#,
            "shows the column show9, which is not there",
        ),
        (
            r#"\"secondaryMetricAccessor\":\"show0before\""#,
            r#"\"secondary\":\"show0before\""#,
            "nothing shows the column show0before",
        ),
        (r#"\"references\":[\"show0X2\"]"#, r#"\"references\":[\"show0X3\"]"#, "refers to show0X3, which is not there"),
        (r#"\"operationType\":\"sum\""#, r#"\"operationType\":\"total\""#, "total is no operation"),
        (r#",\"scale\":\"ratio\",\"sourceField\""#, r#",\"sourceField\""#, "lacks scale"),
        (
            r#"\"sourceField\":\"network.bytes\""#,
            r#"\"sourceField\":\"network.octets\""#,
            "asks for network.octets, which no mapping has",
        ),
        (
            r#"\"sourceField\":\"network.bytes\""#,
            r#"\"sourceField\":\"rule.name\""#,
            "sum over rule.name, which is keyword",
        ),
        (
            r#"\"sourceField\":\"calico.action\""#,
            r#"\"sourceField\":\"error.message\""#,
            "terms over error.message, which is match_only_text",
        ),
        (
            r#"\"sourceField\":\"calico.action\""#,
            r#"\"sourceField\":\"destination.port\""#,
            "is called Some(\"string\") and is number",
        ),
        (r#"\"size\":2}"#, r#"\"size\":2000}"#, "has a size of 2000"),
        (
            r#"\"columnId\":\"show0\",\"fallback\""#,
            r#"\"columnId\":\"show7\",\"fallback\""#,
            "is ordered by show7, which is not there",
        ),
        (r#"\"orderDirection\":\"desc\""#, r#"\"orderDirection\":\"down\""#, "has no direction"),
        (r#"\"maxDocCount\":10"#, r#"\"maxDocCount\":1000"#, "calls 1000 documents rare"),
        (r#"\"parentFormat\":{\"id\":\"terms\"}"#, r#"\"parentFormat\":{\"id\":\"multi_terms\"}"#, "has the format"),
        (r#"\"isFormulaBroken\":false"#, r#"\"isFormulaBroken\":true"#, "is broken"),
        (
            r#"/ sum(calico.num_flows)\",\"isFormulaBroken"#,
            r#"/ sum(calico.flows)\",\"isFormulaBroken"#,
            "names calico.flows, which no mapping has",
        ),
        (r#"event.kind: event\"}}"#, r#"event.kind event\"}}"#, "cannot be read"),
        (r#"event.kind: event\"}}"#, r#"event.sort: event\"}}"#, "asks for event.sort, which no mapping has"),
        (r#"event.kind: event\"}}"#, r#"destination.port: 4*\"}}"#, "what its type cannot answer (wildcard)"),
        (
            r#"\"visualizationType\":\"lnsMetric\""#,
            r#"\"visualizationType\":\"lnsMetrics\""#,
            "is no visualization of Lens",
        ),
        (r#"\"visualizationType\":\"lnsMetric\""#, r#"\"visualizationType\":\"lnsHeatmap\""#, "lnsHeatmap lacks"),
        (
            r#"\"attributes\":{\"description\":\"\","#,
            r#"\"attributes\":{\"color\":1,\"description\":\"\","#,
            "the attribute color of Lens is not known",
        ),
        (
            r#""columns":["calico.source.namespace""#,
            r#""columns":["calico.src.namespace""#,
            "the column calico.src.namespace is not in the mapping",
        ),
    ] {
        check(Target::Kibana9, from, to, expected);
    }
}

#[test]
fn each_slip_is_found_in_the_objects_of_opensearch_dashboards() {
    for (from, to, expected) in [
        (r#""visualization":"7.10.0""#, r#""visualization":"8.0.0""#, "7.10.0 is what all know"),
        (r#""uiStateJSON":"{}""#, r#""uiStateJSON":"{""#, "uiStateJSON holds no JSON text"),
        (r#""visState":"{"#, r#""visState":"{{"#, "visState holds no JSON text"),
        (r#"\"type\":\"heatmap\"}""#, r#"\"type\":\"treemap\"}""#, "treemap is no visualization"),
        (r#"\"orderBy\":\"1\""#, r#"\"orderBy\":\"7\""#, "is ordered by 7, which is not there"),
        (r#"\"schema\":\"bucket\""#, r#"\"schema\":\"segment\""#, "table has no place for segment"),
        (r#"\"field\":\"network.bytes\""#, r#"\"field\":\"network.octets\""#, "asks for network.octets"),
        (r#"\"field\":\"network.bytes\""#, r#"\"field\":\"rule.name\""#, "sum over rule.name, which is keyword"),
        (r#"\"fieldName\":\"calico.action\""#, r#"\"fieldName\":\"network.bytes\""#, "which is no keyword"),
        (r#"\"panelRefName\":\"panel_3\""#, r#"\"panelRefName\":\"panel_333\""#, "the reference panel_333 is missing"),
        (
            r#""name":"control_0_index_pattern""#,
            r#""name":"control_00_index_pattern""#,
            "control_0_index_pattern is missing",
        ),
    ] {
        check(Target::OpenSearchDashboards, from, to, expected);
    }
}

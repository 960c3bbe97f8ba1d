//! What the field table says to Elasticsearch, OpenSearch and readers: the files are made from it here, and held to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tidegate::encode::ecs::{DATASET, ECS_VERSION};

use super::table::{Field, fields, history};
use super::{assert_file, in_repository};

#[derive(Clone, Copy, PartialEq)]
enum Product {
    Elasticsearch,
    OpenSearch,
}

impl Product {
    const BOTH: [Self; 2] = [Self::Elasticsearch, Self::OpenSearch];

    fn folder(self) -> &'static str {
        match self {
            Self::Elasticsearch => "mappings/elasticsearch",
            Self::OpenSearch => "mappings/opensearch",
        }
    }
}

const PATTERN: &str = "logs-calico.flow-*";
/// Above the built-in `logs-*-*` of Elasticsearch, which has 100, and what Fleet makes, which has 200.
const PRIORITY: u32 = 500;
const LIFECYCLE: &str = "tidegate-flows";

fn meta() -> Value {
    json!({"managed_by": "tidegate", "ecs_version": ECS_VERSION})
}

/// The mapping of one leaf.
fn leaf(field: &Field, product: Product) -> Value {
    let kind = match product {
        Product::Elasticsearch => field.kind,
        Product::OpenSearch => field.opensearch_kind(),
    };
    let value = match field.name {
        "data_stream.type" => Some("logs"),
        "data_stream.dataset" => Some(DATASET),
        _ => None,
    };
    match (field.name, kind) {
        // Kept and shown, never searched: a line may be longer than any term.
        ("event.original", _) => json!({"type": kind, "index": false, "doc_values": false}),
        (_, "constant_keyword") if value.is_some() => json!({"type": kind, "value": value}),
        // `name:value` of a label. More than this cannot be a term in every script.
        ("orchestrator.resource.label", _) => json!({"type": kind, "ignore_above": 8191}),
        (_, "keyword") => json!({"type": kind, "ignore_above": 1024}),
        // The encoder cuts values there; this is for documents that others put into the stream.
        (_, "flattened") => json!({"type": kind, "ignore_above": 8191}),
        _ => json!({"type": kind}),
    }
}

fn properties(fields: &[Field], product: Product) -> Map<String, Value> {
    let mut root = Map::new();
    for field in fields {
        let mut parts: Vec<&str> = field.name.split('.').collect();
        let last = parts.pop().expect("a name");
        let mut properties = &mut root;
        for part in parts {
            let object = properties.entry(part).or_insert_with(|| json!({"properties": {}}));
            properties =
                object["properties"].as_object_mut().unwrap_or_else(|| panic!("{part} is a leaf and an object"));
        }
        assert!(properties.insert(last.to_owned(), leaf(field, product)).is_none(), "{}", field.name);
    }
    root
}

fn mappings(product: Product) -> Value {
    let mut root = properties(&fields(), product);
    // Nothing that a document holds by surprise may grow the mapping; it stays in the source.
    // And should somebody's `@custom` open the root, ours stays closed, and no text becomes a date by its looks.
    root["calico"]["dynamic"] = json!(false);
    json!({"template": {"mappings": {"dynamic": false, "date_detection": false, "properties": root}}, "_meta": meta()})
}

fn settings(product: Product) -> Value {
    let mut index = json!({
        "codec": "best_compression",
        // Felix writes every few minutes; a longer pause would only delay whoever waits for a line.
        "refresh_interval": "10s",
        // A value that does not fit its field costs the field, not the document; `_ignored` names it.
        "mapping": {"ignore_malformed": true, "total_fields": {"limit": 500}},
    });
    if product == Product::Elasticsearch {
        // Elasticsearch 9 makes `logs-*-*` a logsdb index by itself, whose source is rebuilt: lists would lose their order.
        index["mode"] = json!("standard");
        index["lifecycle"] = json!({"name": LIFECYCLE});
    }
    json!({"template": {"settings": {"index": index}}, "_meta": meta()})
}

fn index_template(product: Product) -> Value {
    let own = ["mappings", "settings"].map(|part| format!("logs-{DATASET}@{part}"));
    let mut template = json!({
        "index_patterns": [PATTERN],
        "priority": PRIORITY,
        "data_stream": {},
        "composed_of": own,
        "_meta": meta(),
    });
    // OpenSearch refuses a template that names a missing part.
    if product == Product::Elasticsearch {
        let custom = format!("logs-{DATASET}@custom");
        template["composed_of"] = json!([own[0], own[1], custom]);
        template["ignore_missing_component_templates"] = json!([custom]);
    }
    template
}

/// A new index a day or at 30 GB a shard; thirty days are kept. Every phase is here; `setup` takes out what is not
/// chosen, and writes the chosen ages. Elasticsearch counts an index's age from its rollover, OpenSearch from its creation.
/// What a server would add of itself is written out, so that a comparison finds it.
fn lifecycle(product: Product) -> Value {
    match product {
        Product::Elasticsearch => json!({"policy": {"_meta": meta(), "phases": {
            "hot": {"min_age": "0ms", "actions": {
                "rollover": {"max_age": "1d", "max_primary_shard_size": "30gb"}, "set_priority": {"priority": 100}}},
            "warm": {"min_age": "2d", "actions": {"forcemerge": {"max_num_segments": 1}, "set_priority": {"priority": 50}}},
            "cold": {"min_age": "7d", "actions": {"set_priority": {"priority": 0}}},
            "frozen": {"min_age": "14d", "actions": {
                "searchable_snapshot": {"snapshot_repository": "flows", "force_merge_index": true}}},
            "delete": {"min_age": "30d", "actions": {"delete": {"delete_searchable_snapshot": true}}},
        }}}),
        Product::OpenSearch => json!({"policy": {
            "description": "Calico flow logs: a new index a day, old ones deleted",
            "default_state": "hot",
            "states": [
                {"name": "hot", "actions": [{"rollover": {"min_index_age": "1d", "min_primary_shard_size": "30gb"}}],
                    "transitions": []},
                {"name": "warm", "actions": [{"force_merge": {"max_num_segments": 1}}, {"index_priority": {"priority": 50}}],
                    "transitions": []},
                {"name": "delete", "actions": [{"delete": {}}], "transitions": []},
            ],
            "ism_template": [{"index_patterns": [PATTERN], "priority": PRIORITY}],
        }}),
    }
}

/// The rows of the history's table that are for `when`.
fn of_history(when: &str) -> impl Iterator<Item = Field> {
    history().into_iter().filter(move |field| field.when == when)
}

const HISTORY: &str = "tidegate-history";

/// The hourly summary. Not a data stream: an hour is written again when late flows arrive.
fn history_template(product: Product) -> Value {
    let mut root = properties(&history(), product);
    root["calico"]["dynamic"] = json!(false);
    let mut index = json!({
        "codec": "best_compression",
        "number_of_shards": 1,
        "mapping": {"ignore_malformed": true, "total_fields": {"limit": 200}},
    });
    if product == Product::Elasticsearch {
        index["lifecycle"] = json!({"name": HISTORY});
    }
    json!({
        "index_patterns": [format!("{HISTORY}-*")],
        "priority": PRIORITY,
        "template": {
            "settings": {"index": index},
            "mappings": {"dynamic": false, "date_detection": false, "properties": root},
        },
        "_meta": meta(),
    })
}

/// Monthly indices are deleted whole: no rollover, so their age is that of their creation.
fn history_lifecycle() -> Value {
    json!({"policy": {"_meta": meta(), "phases": {
        "hot": {"min_age": "0ms", "actions": {"set_priority": {"priority": 50}}},
        "delete": {"min_age": "365d", "actions": {"delete": {"delete_searchable_snapshot": true}}},
    }}})
}

/// An hour belongs to the index of its month, however late it is written.
fn history_pipeline() -> Value {
    json!({
        "description": "Tidegate: hours of history into the index of their month",
        "processors": [{"date_index_name": {
            "field": "@timestamp", "date_rounding": "M", "index_name_prefix": format!("{HISTORY}-"), "index_name_format": "yyyy.MM",
            "date_formats": ["ISO8601", "UNIX_MS"],
        }}],
        "_meta": meta(),
    })
}

fn history_transform() -> Value {
    let mut groups = Map::new();
    for field in of_history("hour") {
        groups.insert(field.name.to_owned(), json!({"date_histogram": {"field": field.log, "fixed_interval": "1h"}}));
    }
    for field in of_history("group") {
        groups.insert(field.name.to_owned(), json!({"terms": {"field": field.log, "missing_bucket": true}}));
    }
    let mut sums = Map::new();
    for field in of_history("sum") {
        sums.insert(field.name.to_owned(), json!({"sum": {"field": field.log}}));
    }
    for field in of_history("count") {
        sums.insert(field.name.to_owned(), json!({"value_count": {"field": field.log}}));
    }
    json!({
        "description": "Tidegate: an hourly summary of the flows",
        "source": {"index": [PATTERN], "query": {"term": {"event.kind": "event"}}},
        // Where the pipeline sends nothing; a transform wants one name.
        "dest": {"index": format!("{HISTORY}-unrouted"), "pipeline": HISTORY},
        "frequency": "10m",
        // Flows come late by their own window (5 min), their batch, and an outage.
        "sync": {"time": {"field": "event.ingested", "delay": "5m"}},
        "pivot": {"group_by": groups, "aggregations": sums},
        "settings": {"deduce_mappings": false, "dates_as_epoch_millis": false},
        "_meta": meta(),
    })
}

/// Keys in alphabetical order, whatever order `serde_json` was built to keep.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, Value> = members.iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(sorted.into_iter().map(|(name, value)| (name.clone(), value)).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn assert_json(file: &str, value: &Value) {
    let text = serde_json::to_string_pretty(&sorted(value)).expect("JSON");
    assert_file(&in_repository(&format!("{file}.json")), &format!("{text}\n"));
}

#[test]
fn templates_follow_the_table() {
    for product in Product::BOTH {
        for (name, value) in [
            ("component-mappings", mappings(product)),
            ("component-settings", settings(product)),
            ("index-template", index_template(product)),
            ("lifecycle", lifecycle(product)),
            ("history-index-template", history_template(product)),
        ] {
            assert_json(&format!("{}/{name}", product.folder()), &value);
        }
    }
    assert_json("mappings/elasticsearch/history-lifecycle", &history_lifecycle());
    assert_json("mappings/elasticsearch/history-pipeline", &history_pipeline());
    assert_json("mappings/elasticsearch/history-transform", &history_transform());
}

/// A field of a whole list, as Elastic's packages and other ingest tools have it.
fn list(fields: &[Field]) -> String {
    let mut out =
        String::from("# Made from fields.tsv: the field list that ingest tools and Elastic's packages read.\n");
    for field in fields {
        let description = field.description.replace('\'', "''");
        let _ = writeln!(out, "- name: '{}'\n  type: {}\n  description: '{description}'", field.name, field.kind);
    }
    out
}

#[test]
fn the_lists_follow_the_tables() {
    assert_file(&in_repository("mappings/ecs/fields.yml"), &list(&fields()));
    assert_file(&in_repository("mappings/history/fields.yml"), &list(&history()));
}

/// `ecs` and `own` fields by their first name, in the table's order.
fn page() -> String {
    let mut out = String::from(
        "# Fields\n\nWhat a document in `logs-calico.flow-*` may hold. This page is made from `mappings/ecs/fields.tsv`; \
         so are the index templates.\n\n\
         Names without `calico.` are of the Elastic Common Schema ",
    );
    let _ = writeln!(out, "{ECS_VERSION}. A field is absent where the log says nothing (`null`, `-`, `*`).");
    out.push_str(
        "*List*: always a list in the document. *When*: `always`; `flow` lines that are flows; `raw` lines that are \
         not; `clock` not in conversions; `zones` with `zones.yaml`.\n\
         OpenSearch has `flat_object` for `flattened`, `keyword` for `constant_keyword` and `text` for \
         `match_only_text`; in a `flat_object` labels can be searched but not counted by value, so count \
         `orchestrator.resource.label` there.\n",
    );
    for (level, title) in [("ecs", "Elastic Common Schema"), ("own", "Calico's own")] {
        let _ =
            write!(out, "\n## {title}\n\n| field | type | list | when | from the log | |\n|---|---|---|---|---|---|\n");
        for field in fields().iter().filter(|field| field.level == level) {
            let list = if field.array { "yes" } else { "" };
            let log = if field.log == "-" { String::new() } else { format!("`{}`", field.log) };
            let description = field.description.replace('|', "\\|");
            let _ = writeln!(
                out,
                "| `{}` | {} | {list} | {} | {log} | {description} |",
                field.name, field.kind, field.when
            );
        }
    }
    out.push_str(
        "\n## The hourly history\n\nWhat a document in `tidegate-history-*` may hold, where `setup.history` is chosen: one a hour and \
         combination of the fields marked *group*. Made from `mappings/history/fields.tsv`, and so is the transform.\n\n\
         | field | type | | |\n|---|---|---|---|\n",
    );
    for field in history() {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", field.name, field.kind, field.when, field.description);
    }
    out
}

#[test]
fn the_page_follows_the_table() {
    assert_file(&in_repository("deploy/docs/fields.md"), &page());
}

//! The boards: what Kibana and OpenSearch Dashboards import, built from the pages under `mappings/kibana/`.
//!
//! Everything here is pure but [`install`], which hands the built files to a running Kibana. The same page becomes
//! Kibana's saved objects ([`kibana`]) and those of OpenSearch Dashboards ([`opensearch`]), so the two cannot ask different
//! questions; Grafana's boards ([`grafana`]) have pages of their own. `deploy/` holds what is built here; a test compares.
//!
//! Not here: proof that the objects are sound. `tests/integration/boards` checks them and computes every panel.

pub mod grafana;
pub mod install;
pub mod kibana;
mod lens;
pub mod opensearch;
pub mod rules;
pub mod source;

use serde_json::Value;

/// Who imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Kibana 8.8 and later: navigation by a text panel, because links panels are younger.
    Kibana8,
    /// Kibana 9: navigation by a links panel, which keeps time and filters.
    Kibana9,
    OpenSearchDashboards,
}

/// The file for `/api/saved_objects/_import`: one object a line.
pub fn import(target: Target) -> String {
    let sources = source::Sources::shipped();
    let objects = match target {
        Target::Kibana8 => kibana::objects(&sources, kibana::Navigation::Text),
        Target::Kibana9 => kibana::objects(&sources, kibana::Navigation::Links),
        Target::OpenSearchDashboards => opensearch::objects(&sources),
    };
    lines(&objects)
}

/// Every file that is built, by its path under `deploy/`: for whoever applies files and not requests.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("kibana/tidegate-8.ndjson".to_owned(), import(Target::Kibana8)),
        ("kibana/tidegate-9.ndjson".to_owned(), import(Target::Kibana9)),
        ("kibana/detection-rules.ndjson".to_owned(), rules::import()),
        ("opensearch-dashboards/tidegate.ndjson".to_owned(), import(Target::OpenSearchDashboards)),
    ];
    for (name, board) in grafana::boards() {
        files.push((format!("grafana/tidegate-{name}.json"), canonical(&board) + "\n"));
    }
    files
}

/// The id of a board's saved object.
fn board_id(id: &str) -> String {
    format!("tidegate-{id}")
}

fn search_id(id: &str) -> String {
    format!("tidegate-search-{id}")
}

/// Links to the other boards and what this one is for, in Markdown.
fn navigation_text(sources: &source::Sources, here: &source::Board) -> String {
    let link = |board: &source::Board| {
        if board.id == here.id {
            format!("**{}**", board.nav)
        } else {
            format!("[{}](#/view/{})", board.nav, board_id(&board.id))
        }
    };
    let links: Vec<_> = sources.boards.iter().map(link).collect();
    links.join(" · ") + "\n\n" + &here.description
}

/// One JSON text a line.
pub(crate) fn lines(objects: &[Value]) -> String {
    objects.iter().map(|object| canonical(object) + "\n").collect()
}

/// JSON with its keys in order, whatever order `serde_json` was built to keep: what is built twice must be equal.
pub(crate) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            out.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(&members[name], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

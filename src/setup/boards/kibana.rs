//! Saved objects of Kibana 8.8 and later: data view, tag, saved searches, dashboards with their panels by value.
//!
//! Versions are the lowest that need no old migration, and no newer than what 8.8 to 9.x know of
//! (Kibana refuses an object of a version above its own, and migrates older ones).

use serde_json::{Value, json};

use super::lens;
use super::source::{Board, Chart, Common, Panel, Search, Sources};
use super::{board_id, canonical, navigation_text, search_id};

/// Versions of the migrations that an object has been through.
const CORE_VERSION: &str = "8.8.0";
/// Kibana 8.8 wrote 8.7.0 and knows no younger one; 8.9 to 9.x know 8.9.0.
const DASHBOARD_VERSION_8: &str = "8.7.0";
const DASHBOARD_VERSION_9: &str = "8.9.0";
/// In the panels, whose shapes are those of this version: so no older migration touches them.
const PANEL_VERSION: &str = "8.9.0";
const OTHER_VERSION: &str = "8.0.0";
const TAG: &str = "tidegate-tag";
/// The navigation's height on the grid.
const NAVIGATION_HEIGHT: u32 = 4;
const DRILLDOWN: &str = "DASHBOARD_TO_DASHBOARD_DRILLDOWN";

/// How one comes from board to board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Navigation {
    /// A text panel with links. Time and filters go with it only where they are pinned.
    Text,
    /// A links panel that hands over time and filters.
    Links,
}

/// Every object, each after those that it refers to as far as circles allow.
pub fn objects(sources: &Sources, navigation: Navigation) -> Vec<Value> {
    let common = &sources.common;
    let mut objects = vec![data_view(common), tag()];
    objects.extend(common.searches.iter().map(|search| saved_search(common, search)));
    objects.extend(sources.boards.iter().map(|board| dashboard(sources, board, navigation)));
    objects
}

fn object(kind: &str, id: &str, version: &str, attributes: &Value, references: &[Value]) -> Value {
    json!({
        "type": kind, "id": id, "attributes": attributes, "references": references,
        "coreMigrationVersion": CORE_VERSION, "typeMigrationVersion": version, "managed": false,
    })
}

fn data_view(common: &Common) -> Value {
    let view = &common.data_view;
    let bytes = json!({"id": "bytes"});
    let names = ["network.bytes", "source.bytes", "destination.bytes"];
    let formats: Value =
        names.iter().map(|name| ((*name).to_owned(), bytes.clone())).collect::<serde_json::Map<_, _>>().into();
    let attributes = json!({
        "title": view.title, "name": view.name, "timeFieldName": view.time_field,
        "fields": "[]", "fieldAttrs": "{}", "fieldFormatMap": canonical(&formats), "runtimeFieldMap": "{}",
        "sourceFilters": "[]", "typeMeta": "{}", "allowNoIndex": true,
    });
    object("index-pattern", &view.id, OTHER_VERSION, &attributes, &[])
}

fn tag() -> Value {
    let attributes = json!({"name": "Tidegate", "description": "Calico flow logs by Tidegate", "color": "#3c7bc0"});
    object("tag", TAG, OTHER_VERSION, &attributes, &[])
}

fn tag_reference() -> Value {
    json!({"type": "tag", "id": TAG, "name": format!("tag-ref-{TAG}")})
}

fn saved_search(common: &Common, search: &Search) -> Value {
    let source = json!({
        "query": {"query": common.kql(&search.filter), "language": "kuery"}, "filter": [],
        "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
    });
    let attributes = json!({
        "title": search.title, "description": "", "columns": search.columns, "sort": [[common.data_view.time_field, "desc"]],
        "grid": {}, "hideChart": false, "isTextBasedQuery": false, "timeRestore": false,
        "kibanaSavedObjectMeta": {"searchSourceJSON": canonical(&source)},
    });
    let view = json!({
        "type": "index-pattern", "id": common.data_view.id, "name": "kibanaSavedObjectMeta.searchSourceJSON.index",
    });
    object("search", &search_id(&search.id), OTHER_VERSION, &attributes, &[view, tag_reference()])
}

fn dashboard(sources: &Sources, board: &Board, navigation: Navigation) -> Value {
    let common = &sources.common;
    let mut references = vec![tag_reference()];
    let mut panels = vec![match navigation {
        Navigation::Text => text(sources, board),
        Navigation::Links => links(sources, board, &mut references),
    }];
    for panel in &board.panels {
        panels.push(self::panel(common, panel, &mut references));
    }
    let attributes = json!({
        "title": board.title, "description": board.description, "version": 1, "hits": 0,
        "timeRestore": true, "timeFrom": common.time.from, "timeTo": common.time.to,
        "refreshInterval": {"pause": true, "value": 60_000},
        "controlGroupInput": controls(common, &mut references),
        "panelsJSON": canonical(&panels.into()),
        "optionsJSON": canonical(&json!({
            "useMargins": true, "syncColors": true, "syncCursor": true, "syncTooltips": false, "hidePanelTitles": false,
        })),
        "kibanaSavedObjectMeta": {"searchSourceJSON": canonical(&json!({
            "query": {"query": common.kql(&board.filter), "language": "kuery"}, "filter": [],
        }))},
    });
    let version = match navigation {
        Navigation::Text => DASHBOARD_VERSION_8,
        Navigation::Links => DASHBOARD_VERSION_9,
    };
    object("dashboard", &board_id(&board.id), version, &attributes, &references)
}

fn controls(common: &Common, references: &mut Vec<Value>) -> Value {
    let mut panels = serde_json::Map::new();
    for (order, control) in common.controls.iter().enumerate() {
        references.push(json!({
            "type": "index-pattern", "id": common.data_view.id,
            "name": format!("controlGroup_{}:optionsListDataView", control.id),
        }));
        panels.insert(
            control.id.clone(),
            json!({
                "order": order, "width": "small", "grow": true, "type": "optionsListControl",
                "explicitInput": {
                    "id": control.id, "fieldName": control.field, "title": control.label,
                    "searchTechnique": "prefix", "selectedOptions": [], "sort": {"by": "_count", "direction": "desc"},
                },
            }),
        );
    }
    json!({
        "controlStyle": "oneLine", "chainingSystem": "HIERARCHICAL",
        "panelsJSON": canonical(&panels.into()),
        "ignoreParentSettingsJSON": canonical(&json!({
            "ignoreFilters": false, "ignoreQuery": false, "ignoreTimerange": false, "ignoreValidations": false,
        })),
    })
}

fn grid(id: &str, [x, y, w, h]: [u32; 4]) -> Value {
    json!({"x": x, "y": y, "w": w, "h": h, "i": id})
}

fn panel(common: &Common, panel: &Panel, references: &mut Vec<Value>) -> Value {
    let id = &panel.id;
    let mut config = json!({
        "title": panel.title, "description": panel.question, "hidePanelTitles": false, "enhancements": {},
    });
    if let Some(target) = &panel.open {
        config["enhancements"] = drilldown(id, target, references);
    }
    let mut object = json!({
        "panelIndex": id, "gridData": grid(id, panel.at), "version": PANEL_VERSION,
        "title": panel.title,
    });
    if panel.chart == Chart::Search {
        let name = format!("panel_{id}");
        let search = panel.search.as_deref().unwrap_or_default();
        references.push(json!({"type": "search", "id": search_id(search), "name": format!("{id}:{name}")}));
        object["type"] = json!("search");
        object["panelRefName"] = json!(name);
    } else {
        let mut reference = lens::reference(common);
        reference["name"] = json!(format!("{id}:{}", reference["name"].as_str().unwrap_or_default()));
        references.push(reference);
        config["attributes"] = lens::attributes(common, panel);
        object["type"] = json!("lens");
    }
    object["embeddableConfig"] = config;
    object
}

/// A click on a value leads to another board, with time and filters.
fn drilldown(panel: &str, target: &str, references: &mut Vec<Value>) -> Value {
    let event = format!("open-{target}");
    references.push(json!({
        "type": "dashboard", "id": board_id(target),
        "name": format!("{panel}:drilldown:{DRILLDOWN}:{event}:dashboardId"),
    }));
    json!({"dynamicActions": {"events": [{
        "eventId": event, "triggers": ["FILTER_TRIGGER"],
        "action": {
            "factoryId": DRILLDOWN, "name": format!("Open {target}"),
            "config": {"openInNewTab": false, "useCurrentDateRange": true, "useCurrentFilters": true},
        },
    }]}})
}

fn navigation_panel(kind: &str, config: &Value) -> Value {
    let id = "navigation";
    json!({
        "type": kind, "panelIndex": id, "gridData": grid(id, [0, 0, 48, NAVIGATION_HEIGHT]),
        "version": PANEL_VERSION, "embeddableConfig": config, "title": "",
    })
}

fn text(sources: &Sources, here: &Board) -> Value {
    navigation_panel(
        "visualization",
        &json!({
            "hidePanelTitles": true, "enhancements": {},
            "savedVis": {
                "id": "", "title": "", "description": "", "type": "markdown", "uiState": {},
                "params": {"fontSize": 12, "openLinksInNewTab": false, "markdown": navigation_text(sources, here)},
                "data": {"aggs": [], "searchSource": {"query": {"query": "", "language": "kuery"}, "filter": []}},
            },
        }),
    )
}

fn links(sources: &Sources, here: &Board, references: &mut Vec<Value>) -> Value {
    let others = sources.boards.iter().filter(|board| board.id != here.id);
    let mut links = Vec::new();
    for (order, board) in others.enumerate() {
        let name = format!("link_{}_dashboard", board.id);
        references.push(json!({"type": "dashboard", "id": board_id(&board.id), "name": format!("navigation:{name}")}));
        links.push(json!({
            "type": "dashboardLink", "id": board.id, "label": board.nav, "order": order, "destinationRefName": name,
            "options": {"openInNewTab": false, "useCurrentDateRange": true, "useCurrentFilters": true},
        }));
    }
    let attributes = json!({"layout": "horizontal", "links": links});
    navigation_panel("links", &json!({"hidePanelTitles": true, "enhancements": {}, "attributes": attributes}))
}

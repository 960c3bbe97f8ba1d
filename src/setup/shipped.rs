//! Everything that we install: the files under `mappings/`, changed as its user chose.

use serde_json::{Value, json};

use super::choice::{Choice, ChoiceError, Codec, DAY, IndexMode, Lifecycle, time};
use super::objects::{CUSTOM, HISTORY, LIFECYCLE, NAME, Object, What};
use crate::net::product::{Kind, Product};

/// Newest versions that tests install on; what is exported is for them unless another is named.
pub const NEWEST: [Product; 2] =
    [Product { kind: Kind::Elasticsearch, version: (9, 2, 8) }, Product { kind: Kind::OpenSearch, version: (3, 4, 0) }];

macro_rules! shipped {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../mappings/", $file, ".json")))
            .expect("the test of this file reads every shipped file")
    };
}

/// What is installed when nobody chooses anything, but for roles.
pub fn shipped(kind: Kind) -> Vec<Object> {
    let newest = NEWEST[usize::from(kind == Kind::OpenSearch)];
    catalogue(newest, &Choice::default(), false).expect("the defaults fit every product")
}

/// Everything, roles left out, in an order in which each object finds what it names. `custom`: whether the users' own
/// component template is there, which OpenSearch wants to know.
pub fn catalogue(product: Product, choice: &Choice, custom: bool) -> Result<Vec<Object>, Vec<ChoiceError>> {
    let choice = choice.fit(product)?;
    let mut objects = lifecycle(&choice);
    let (mappings, mut settings, mut index) = match product.kind {
        Kind::Elasticsearch => (
            shipped!("elasticsearch/component-mappings"),
            shipped!("elasticsearch/component-settings"),
            shipped!("elasticsearch/index-template"),
        ),
        Kind::OpenSearch => (
            shipped!("opensearch/component-mappings"),
            shipped!("opensearch/component-settings"),
            shipped!("opensearch/index-template"),
        ),
    };
    if product.kind == Kind::Elasticsearch {
        elasticsearch_settings(&choice, &mut settings["template"]);
    } else if custom && let Some(parts) = index["composed_of"].as_array_mut() {
        parts.push(CUSTOM.into());
    }
    settings["template"]["settings"]["index"]["codec"] = codec(choice.codec).into();
    objects.extend([
        object(What::Component, &format!("{NAME}@settings"), settings),
        object(What::Component, &format!("{NAME}@mappings"), mappings),
        object(What::Index, NAME, index),
    ]);
    if choice.history.is_some() {
        objects.extend(history(product.kind, &choice));
    }
    objects.sort_by_key(|object| object.what.part());
    Ok(objects)
}

/// Roles of least privilege.
pub fn roles(kind: Kind) -> Vec<Object> {
    let (what, roles) = match kind {
        Kind::Elasticsearch => (What::ElasticRole, shipped!("roles/elasticsearch")),
        Kind::OpenSearch => (What::OpenRole, shipped!("roles/opensearch")),
    };
    let roles = roles.as_object().into_iter().flatten();
    roles.map(|(name, body)| object(what, name, body.clone())).collect()
}

fn object(what: What, name: &str, body: Value) -> Object {
    Object { what, name: name.to_owned(), body }
}

const fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Default => "default",
        Codec::BestCompression => "best_compression",
    }
}

fn elasticsearch_settings(choice: &Choice, template: &mut Value) {
    let index = &mut template["settings"]["index"];
    index["mode"] = match choice.index_mode {
        IndexMode::Standard => "standard".into(),
        IndexMode::Logsdb => "logsdb".into(),
    };
    match choice.lifecycle {
        Lifecycle::DataStream => {
            // Where both are there, index lifecycle management wins, and the built-in settings may bring it in.
            index["lifecycle"] = json!({"prefer_ilm": false});
            template["lifecycle"] = json!({"enabled": true, "data_retention": time(choice.retention)});
        }
        Lifecycle::None => drop(index.as_object_mut().map(|index| index.remove("lifecycle"))),
        _ => {}
    }
    if choice.failure_store {
        template["data_stream_options"] = json!({"failure_store": {"enabled": true}});
    }
}

fn lifecycle(choice: &Choice) -> Vec<Object> {
    match choice.lifecycle {
        Lifecycle::Ilm => vec![object(What::Ilm, LIFECYCLE, ilm(choice))],
        Lifecycle::Ism => vec![object(What::Ism, LIFECYCLE, ism(choice))],
        _ => Vec::new(),
    }
}

/// The shipped policy has every phase; those not chosen are taken out.
fn ilm(choice: &Choice) -> Value {
    let mut body = shipped!("elasticsearch/lifecycle");
    let phases = &mut body["policy"]["phases"];
    let ages = [("warm", choice.warm), ("cold", choice.cold), ("frozen", choice.frozen.as_ref().map(|(age, _)| *age))];
    for (phase, age) in ages {
        match age {
            Some(age) => phases[phase]["min_age"] = time(age).into(),
            None => drop(phases.as_object_mut().map(|phases| phases.remove(phase))),
        }
    }
    if let Some((_, repository)) = &choice.frozen {
        phases["frozen"]["actions"]["searchable_snapshot"]["snapshot_repository"] = repository.as_str().into();
        // Else the snapshot would stay when its index goes.
        phases["delete"]["actions"]["delete"]["delete_searchable_snapshot"] = true.into();
    }
    phases["delete"]["min_age"] = time(choice.retention).into();
    body
}

/// Ages are counted from an index's creation, which is a day before its rollover.
fn ism(choice: &Choice) -> Value {
    let mut body = shipped!("opensearch/lifecycle");
    let day = std::time::Duration::from_secs(DAY);
    let policy = &mut body["policy"];
    let delete = json!({"state_name": "delete", "conditions": {"min_index_age": time(choice.retention + day)}});
    let warm = choice.warm.map(|age| json!({"state_name": "warm", "conditions": {"min_index_age": time(age + day)}}));
    let Some(states) = policy["states"].as_array_mut() else { return body };
    if warm.is_none() {
        states.retain(|state| state["name"] != "warm");
    }
    for state in states {
        state["transitions"] = match (state["name"].as_str(), &warm) {
            (Some("hot"), Some(warm)) => json!([warm]),
            (Some("hot" | "warm"), _) => json!([delete]),
            _ => json!([]),
        };
    }
    body
}

/// A transform makes it where there is one; its template is installed in any case.
fn history(kind: Kind, choice: &Choice) -> Vec<Object> {
    let mut objects = Vec::new();
    let mut index = match kind {
        Kind::Elasticsearch => shipped!("elasticsearch/history-index-template"),
        Kind::OpenSearch => shipped!("opensearch/history-index-template"),
    };
    if kind == Kind::Elasticsearch {
        let mut policy = shipped!("elasticsearch/history-lifecycle");
        match choice.history.filter(|_| choice.lifecycle == Lifecycle::Ilm) {
            Some(retention) => {
                policy["policy"]["phases"]["delete"]["min_age"] = time(retention).into();
                objects.push(object(What::Ilm, HISTORY, policy));
            }
            None => drop(index["template"]["settings"]["index"].as_object_mut().map(|index| index.remove("lifecycle"))),
        }
        objects.push(object(What::Pipeline, HISTORY, shipped!("elasticsearch/history-pipeline")));
        objects.push(object(What::Transform, HISTORY, shipped!("elasticsearch/history-transform")));
    }
    objects.push(object(What::Index, HISTORY, index));
    objects
}

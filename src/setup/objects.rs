//! What is installed: the files under `mappings/`, as requests.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::net::product::Kind;

/// Name of the index template, of the lifecycle, and stem of the component templates' names.
pub const NAME: &str = "logs-calico.flow";
/// Who owns our objects, in their `_meta.managed_by`.
pub const OWNER: &str = "tidegate";
/// Beside it: a hash of what we installed, so that a second run finds nothing to do.
const FINGERPRINT: &str = "fingerprint";

/// The kind of an object decides its path and where its mark of ownership is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Ilm,
    Ism,
    Component,
    Index,
}

/// One object to be installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub what: What,
    pub name: String,
    /// As it is put, without our fingerprint.
    pub body: Value,
}

/// Who an object belongs to that is installed already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// By us; with this fingerprint.
    Ours(String),
    /// By whom its `_meta` names, if it names anybody.
    Foreign(Option<String>),
}

impl Object {
    pub fn path(&self) -> String {
        let folder = match self.what {
            What::Ilm => "_ilm/policy",
            What::Ism => "_plugins/_ism/policies",
            What::Component => "_component_template",
            What::Index => "_index_template",
        };
        format!("/{folder}/{}", self.name)
    }

    pub const fn title(&self) -> &'static str {
        match self.what {
            What::Ilm => "lifecycle policy",
            What::Ism => "index state policy",
            What::Component => "component template",
            What::Index => "index template",
        }
    }

    /// A hash of the body.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.body.to_string());
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The body to put: marked as ours, with its fingerprint.
    pub fn marked(&self) -> Value {
        let mut body = self.body.clone();
        let fingerprint = self.fingerprint();
        match self.what {
            // It has no `_meta`: the description is all that is kept of what we say about it.
            What::Ism => {
                let text = body["policy"]["description"].as_str().unwrap_or_default();
                body["policy"]["description"] = format!("{text} ({OWNER} {fingerprint})").trim_start().into();
            }
            What::Ilm => mark(&mut body["policy"], &fingerprint),
            What::Component | What::Index => mark(&mut body, &fingerprint),
        }
        body
    }

    /// Reads the answer to `GET` of our path.
    pub fn installed(&self, answer: &Value) -> Installed {
        let meta = match self.what {
            What::Ilm => &answer[&self.name]["policy"]["_meta"],
            What::Component => &answer["component_templates"][0]["component_template"]["_meta"],
            What::Index => &answer["index_templates"][0]["index_template"]["_meta"],
            What::Ism => return described(answer["policy"]["description"].as_str().unwrap_or_default()),
        };
        match meta["managed_by"].as_str() {
            Some(OWNER) => Installed::Ours(meta[FINGERPRINT].as_str().unwrap_or_default().to_owned()),
            other => Installed::Foreign(other.map(str::to_owned)),
        }
    }
}

fn mark(holder: &mut Value, fingerprint: &str) {
    holder["_meta"]["managed_by"] = OWNER.into();
    holder["_meta"][FINGERPRINT] = fingerprint.into();
}

/// "… (tidegate 0123456789abcdef)"
fn described(description: &str) -> Installed {
    let ours = description.strip_suffix(')').and_then(|text| text.rsplit_once(&format!("({OWNER} ")));
    match ours {
        Some((_, fingerprint)) => Installed::Ours(fingerprint.to_owned()),
        None => Installed::Foreign(None),
    }
}

macro_rules! shipped {
    ($product:literal, $file:literal) => {
        include_str!(concat!("../../mappings/", $product, "/", $file, ".json"))
    };
}

/// Everything that we install, in an order in which each object finds what it names.
pub fn shipped(kind: Kind) -> Vec<Object> {
    let (lifecycle, texts) = match kind {
        Kind::Elasticsearch => (
            What::Ilm,
            [
                shipped!("elasticsearch", "lifecycle"),
                shipped!("elasticsearch", "component-settings"),
                shipped!("elasticsearch", "component-mappings"),
                shipped!("elasticsearch", "index-template"),
            ],
        ),
        Kind::OpenSearch => (
            What::Ism,
            [
                shipped!("opensearch", "lifecycle"),
                shipped!("opensearch", "component-settings"),
                shipped!("opensearch", "component-mappings"),
                shipped!("opensearch", "index-template"),
            ],
        ),
    };
    let object = |what, name: String, text: &str| Object {
        what,
        name,
        body: serde_json::from_str(text).expect("the test of this file reads every shipped file"),
    };
    let [policy, settings, mappings, index] = texts;
    vec![
        object(lifecycle, NAME.to_owned(), policy),
        object(What::Component, format!("{NAME}@settings"), settings),
        object(What::Component, format!("{NAME}@mappings"), mappings),
        object(What::Index, NAME.to_owned(), index),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files_fit_together() {
        for kind in [Kind::Elasticsearch, Kind::OpenSearch] {
            let objects = shipped(kind);
            let index = objects.last().unwrap();
            let composed: Vec<_> =
                index.body["composed_of"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
            for object in &objects[1..3] {
                assert!(
                    composed.contains(&object.name.as_str()),
                    "{kind}: {} is not used by the index template",
                    object.name
                );
            }
            assert_eq!(index.body["priority"], 500);
            assert!(index.body["data_stream"].is_object());
            assert_eq!(index.body["index_patterns"], serde_json::json!(["logs-calico.flow-*"]));
            let policy = &objects[1].body["template"]["settings"];
            if kind == Kind::Elasticsearch {
                let named = policy["index"]["lifecycle"]["name"].as_str().or(policy["index.lifecycle.name"].as_str());
                assert!(named.is_none_or(|name| name == NAME), "{named:?}");
            } else {
                assert!(!policy.to_string().contains("lifecycle"), "OpenSearch does not know it");
            }
        }
    }

    #[test]
    fn a_mark_is_found_again_in_every_kind() {
        for kind in [Kind::Elasticsearch, Kind::OpenSearch] {
            for object in shipped(kind) {
                let put = object.marked();
                let name = &object.name;
                let answer = match object.what {
                    What::Ilm => serde_json::json!({name: put}),
                    What::Ism => put,
                    What::Component => serde_json::json!({"component_templates": [{"component_template": put}]}),
                    What::Index => serde_json::json!({"index_templates": [{"index_template": put}]}),
                };
                assert_eq!(object.installed(&answer), Installed::Ours(object.fingerprint()), "{name}");
                assert!(matches!(object.installed(&Value::Null), Installed::Foreign(None)));
            }
        }
    }

    #[test]
    fn the_fingerprint_follows_the_body() {
        let mut object = shipped(Kind::Elasticsearch).remove(1);
        let before = object.fingerprint();
        assert_eq!(before.len(), 16);
        object.body["template"]["settings"]["index"]["number_of_shards"] = 3.into();
        assert_ne!(object.fingerprint(), before);
    }
}

//! One object that can be installed: where it lies, whose it is, and what is needed to put it there.

use reqwest::Method;
use serde_json::{Value, json};

use crate::net::product::Kind;

/// Name of the index template, and stem of the component templates' names.
pub const NAME: &str = "logs-calico.flow";
/// The users' own component template, which is never touched.
pub const CUSTOM: &str = "logs-calico.flow@custom";
/// Name of the lifecycle policy, as the shipped settings have it.
pub const LIFECYCLE: &str = "tidegate-flows";
/// Name and stem of everything about the hourly history.
pub const HISTORY: &str = "tidegate-history";
/// Who owns our objects, in their `_meta.managed_by`.
pub const OWNER: &str = "tidegate";

/// The kind of an object decides its path, its mark of ownership, and the right that it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Ilm,
    Ism,
    Pipeline,
    Component,
    Index,
    Transform,
    ElasticRole,
    OpenRole,
}

/// What can be installed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Lifecycle,
    Pipelines,
    Templates,
    Transforms,
    /// Imported by another API: [`super::boards::install`].
    Dashboards,
    Roles,
}

impl Part {
    /// What is installed when nobody says what. Roles are not: they want an administrator of security.
    pub const USUAL: [Self; 4] = [Self::Lifecycle, Self::Pipelines, Self::Templates, Self::Transforms];
    pub const ALL: [Self; 6] =
        [Self::Lifecycle, Self::Pipelines, Self::Templates, Self::Transforms, Self::Dashboards, Self::Roles];
}

impl Part {
    /// As users write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Pipelines => "pipelines",
            Self::Templates => "templates",
            Self::Transforms => "transforms",
            Self::Dashboards => "dashboards",
            Self::Roles => "roles",
        }
    }
}

impl What {
    pub const fn part(self) -> Part {
        match self {
            Self::Ilm | Self::Ism => Part::Lifecycle,
            Self::Pipeline => Part::Pipelines,
            Self::Component | Self::Index => Part::Templates,
            Self::Transform => Part::Transforms,
            Self::ElasticRole | Self::OpenRole => Part::Roles,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Ilm => "_ilm/policy",
            Self::Ism => "_plugins/_ism/policies",
            Self::Pipeline => "_ingest/pipeline",
            Self::Component => "_component_template",
            Self::Index => "_index_template",
            Self::Transform => "_transform",
            Self::ElasticRole => "_security/role",
            Self::OpenRole => "_plugins/_security/api/roles",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Ilm => "lifecycle policy",
            Self::Ism => "index state policy",
            Self::Pipeline => "ingest pipeline",
            Self::Component => "component template",
            Self::Index => "index template",
            Self::Transform => "transform",
            Self::ElasticRole | Self::OpenRole => "role",
        }
    }

    /// The right that reads and writes such objects.
    pub const fn right(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Ilm, _) => "manage_ilm",
            (Self::Ism, _) => "cluster:admin/opendistro/ism/policy/*",
            (Self::Pipeline, Kind::Elasticsearch) => "manage_ingest_pipelines",
            (Self::Pipeline, Kind::OpenSearch) => "cluster:admin/ingest/pipeline/*",
            (Self::Component | Self::Index, Kind::Elasticsearch) => "manage_index_templates",
            (Self::Component, Kind::OpenSearch) => "cluster:admin/component_template/*",
            (Self::Index, Kind::OpenSearch) => "indices:admin/index_template/*",
            (Self::Transform, _) => {
                "manage_transform, and read on logs-calico.flow-* and create_index, index, read on tidegate-history-*"
            }
            (Self::ElasticRole, _) => "manage_security",
            (Self::OpenRole, _) => "to the REST API of the security plugin (plugins.security.restapi.roles_enabled)",
        }
    }

    /// What to do where the server has no such thing.
    pub const fn without(self) -> &'static str {
        match self {
            Self::Ilm => {
                "this server has no index lifecycle management: nothing makes new indices or deletes old ones; choose lifecycle data_stream, or none and see to it yourself"
            }
            Self::Ism => {
                "this server has no index state management (the plugin opensearch-index-management): nothing makes new indices or deletes old ones; install it, or choose lifecycle none and see to it yourself"
            }
            Self::Transform => "this server has no transforms, so no history is made",
            Self::ElasticRole | Self::OpenRole => "this server has no security, so it needs no roles",
            Self::Pipeline | Self::Component | Self::Index => "this server is too old, or no such server",
        }
    }
}

/// One object to be installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub what: What,
    pub name: String,
    /// As it is put, without our mark.
    pub body: Value,
}

/// Whose an object is that is installed already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Ours; put there by this version, where that can be kept.
    Ours(Option<String>),
    /// Whoever its `_meta` names, if it names anybody.
    Other(Option<String>),
}

impl Object {
    pub fn path(&self) -> String {
        format!("/{}/{}", self.what.folder(), self.name)
    }

    pub const fn title(&self) -> &'static str {
        self.what.title()
    }

    /// The body to put: marked as ours, with our version.
    pub fn marked(&self) -> Value {
        let mut body = self.body.clone();
        match self.what {
            // They have no `_meta`: the description is all that is kept of what we say about them.
            What::Ism => describe(&mut body["policy"]),
            What::OpenRole => describe(&mut body),
            What::Ilm => mark(&mut body["policy"]["_meta"]),
            What::ElasticRole => mark(&mut body["metadata"]),
            What::Component | What::Index | What::Pipeline | What::Transform => mark(&mut body["_meta"]),
        }
        body
    }

    /// The part of the body that is compared with what is installed.
    pub fn content(&self) -> Value {
        let marked = self.marked();
        match self.what {
            What::Ilm | What::Ism => marked["policy"].clone(),
            _ => marked,
        }
    }

    /// The same part of the answer to `GET` of our path.
    pub fn installed<'a>(&self, answer: &'a Value) -> &'a Value {
        match self.what {
            What::Ilm => &answer[&self.name]["policy"],
            What::Ism => &answer["policy"],
            What::Component => &answer["component_templates"][0]["component_template"],
            What::Index => &answer["index_templates"][0]["index_template"],
            What::Transform => &answer["transforms"][0],
            What::Pipeline | What::ElasticRole | What::OpenRole => &answer[&self.name],
        }
    }

    /// Whether the server keeps all of this kind in one document, so that a write of any other one may meet ours. OpenSearch's
    /// security plugin answers 409 then, which says nothing of this object.
    pub fn shares_a_document(&self) -> bool {
        self.what == What::OpenRole
    }

    /// Whose that part is.
    pub fn owner(&self, installed: &Value) -> Owner {
        let meta = match self.what {
            What::Ism | What::OpenRole => {
                let description = installed["description"].as_str().unwrap_or_default();
                return if description.ends_with(&described()) { Owner::Ours(None) } else { Owner::Other(None) };
            }
            What::ElasticRole => &installed["metadata"],
            _ => &installed["_meta"],
        };
        match meta["managed_by"].as_str() {
            Some(OWNER) => Owner::Ours(meta["version"].as_str().map(str::to_owned)),
            other => Owner::Other(other.map(str::to_owned)),
        }
    }

    /// What has to be sent to install it, in order. `query` goes with the first path of an update.
    pub fn requests(&self, exists: bool, query: &str) -> Vec<(Method, String, Option<Value>)> {
        let path = self.path();
        match (self.what, exists) {
            // The streams that it reads need not exist yet.
            (What::Transform, false) => vec![
                (Method::PUT, format!("{path}?defer_validation=true"), Some(self.marked())),
                (Method::POST, format!("{path}/_start"), None),
            ],
            (What::Transform, true) => {
                let mut body = self.marked();
                // What it groups by can only be changed by a new transform, under a new name.
                if let Some(body) = body.as_object_mut() {
                    body.remove("pivot");
                }
                vec![(Method::POST, format!("{path}/_update?defer_validation=true"), Some(body))]
            }
            _ => vec![(Method::PUT, format!("{path}{query}"), Some(self.marked()))],
        }
    }
}

fn mark(meta: &mut Value) {
    meta["managed_by"] = OWNER.into();
    meta["version"] = env!("CARGO_PKG_VERSION").into();
}

fn describe(holder: &mut Value) {
    let text = holder["description"].as_str().unwrap_or_default();
    holder["description"] = format!("{text}{}", described()).into();
}

fn described() -> String {
    format!(" (managed by {OWNER})")
}

/// A request for an Elasticsearch API key with a role's rights.
pub fn api_key(role: &Object) -> Value {
    let mut rights = role.body.clone();
    if let Some(rights) = rights.as_object_mut() {
        rights.remove("description");
    }
    json!({"name": role.name, "role_descriptors": {&role.name: rights}, "metadata": {"managed_by": OWNER}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each server answers to the `GET` of an object that was put.
    fn answer(object: &Object) -> Value {
        let put = object.marked();
        let name = &object.name;
        match object.what {
            What::Ilm => json!({name: {"version": 3, "policy": put["policy"]}}),
            What::Ism => json!({"_id": name, "_seq_no": 7, "policy": put["policy"]}),
            What::Component => json!({"component_templates": [{"name": name, "component_template": put}]}),
            What::Index => json!({"index_templates": [{"name": name, "index_template": put}]}),
            What::Transform => json!({"count": 1, "transforms": [put]}),
            What::Pipeline | What::ElasticRole | What::OpenRole => json!({name: put}),
        }
    }

    #[test]
    fn what_was_put_is_known_again() {
        let kinds = [
            What::Ilm,
            What::Ism,
            What::Pipeline,
            What::Component,
            What::Index,
            What::Transform,
            What::ElasticRole,
            What::OpenRole,
        ];
        for what in kinds {
            let object = Object { what, name: "x".into(), body: json!({"policy": {"a": 1}, "description": "x"}) };
            let answer = answer(&object);
            let installed = object.installed(&answer);
            assert!(matches!(object.owner(installed), Owner::Ours(_)), "{what:?}");
            assert_eq!(super::super::compare::differences(what, &object.content(), installed), [], "{what:?}");
            assert_eq!(object.owner(&Value::Null), Owner::Other(None));
            assert!(!what.right(Kind::Elasticsearch).is_empty() && !what.without().is_empty());
        }
    }

    #[test]
    fn a_transform_is_started_once_and_never_regrouped() {
        let object = Object { what: What::Transform, name: "x".into(), body: json!({"pivot": {}, "frequency": "5m"}) };
        let told = |exists| -> Vec<String> {
            object
                .requests(exists, "")
                .iter()
                .map(|(method, path, body)| format!("{method} {path} {}", body.is_some()))
                .collect()
        };
        assert_eq!(told(false), ["PUT /_transform/x?defer_validation=true true", "POST /_transform/x/_start false"]);
        assert_eq!(told(true), ["POST /_transform/x/_update?defer_validation=true true"]);
        assert!(object.requests(true, "")[0].2.as_ref().is_some_and(|body| body.get("pivot").is_none()));
    }
}

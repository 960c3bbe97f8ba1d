//! The shape of `zones.yaml`, version 1. What each key means to a flow is said in `matcher`.

use std::collections::BTreeMap;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct File {
    /// The version of this file's form.
    pub api_version: ApiVersion,
    /// What holds where no rule says otherwise. Read by the policy compiler, not by the SIEM lane.
    #[serde(default)]
    pub defaults: Option<Defaults>,
    /// The zones. The first one that matches an end of a flow is its zone.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub zones: Vec<Zone>,
    /// Who may talk to whom, first match wins. Not enforced yet.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Source zone to destination zone to action: the short form for a whole pair; rules win. Not enforced yet.
    #[serde(default)]
    pub matrix: BTreeMap<String, BTreeMap<String, Action>>,
    /// What no compiled policy ever selects. Not enforced yet.
    #[serde(default)]
    pub exceptions: Option<Exceptions>,
    /// How rules become network policies. Not used yet.
    #[serde(default)]
    pub compile: Option<Compile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
pub enum ApiVersion {
    #[serde(rename = "zones/v1")]
    V1,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Within one zone.
    #[serde(default)]
    pub intra: Option<Action>,
    /// Between two zones.
    #[serde(default)]
    pub inter: Option<Action>,
    /// To and from what no zone matches.
    #[serde(default)]
    pub unknown: Option<Unknown>,
    /// What policies log.
    #[serde(default)]
    pub log: Option<Log>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    Report,
    Deny,
    Allow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Log {
    None,
    Denied,
    All,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Letters, digits, `.`, `_`, `-`; not `unknown` or `any`.
    pub name: String,
    /// Worth an alarm of its own.
    #[serde(default)]
    pub critical: bool,
    /// Any one of these is enough; within one, all its keys must hold.
    #[serde(rename = "match")]
    pub matches: Vec<Match>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Match {
    /// Namespaces by name; `*` and `?` are wildcards.
    #[serde(default)]
    pub namespace: Option<OneOrMany>,
    /// A selector in Calico's language over the labels of pods, host endpoints and network sets.
    #[serde(default)]
    pub labels: Option<String>,
    /// NetworkSets as `namespace/name`, GlobalNetworkSets as `name`; wildcards as in `namespace`.
    #[serde(default)]
    pub network_set: Option<OneOrMany>,
    /// Address ranges, for ends that are not pods.
    #[serde(default)]
    pub cidr: Option<OneOrMany>,
    /// Address ranges inside `cidr` that do not count.
    #[serde(default)]
    pub except: Option<OneOrMany>,
    /// Whether the address is a public one, for ends that are not pods.
    #[serde(default)]
    pub public: Option<bool>,
    /// DNS names that the destination was resolved from, for ends that are not pods; `*.example.com` is every name below.
    #[serde(default)]
    pub domain: Option<OneOrMany>,
    /// A selector over the labels of host endpoints.
    #[serde(default)]
    pub host_endpoint: Option<String>,
    /// What kind of end it is.
    #[serde(default)]
    pub endpoint_type: Option<EndpointKind>,
    /// The pod's service account. No flow log carries it.
    #[serde(default)]
    pub service_account: Option<OneOrMany>,
    /// A selector over the labels of the namespace. No flow log carries them.
    #[serde(default)]
    pub namespace_labels: Option<String>,
    /// Let `cidr`, `public` and `domain` match pods too.
    #[serde(default)]
    pub pods: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    Workload,
    Host,
    NetworkSet,
    Network,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique; it names the rule in policies and records.
    pub id: String,
    /// Zone names, or `any`.
    pub from: OneOrMany,
    pub to: OneOrMany,
    /// As `tcp/8443`, `udp/5000-5100`, `icmp`; without it, everything.
    #[serde(default)]
    pub ports: Option<OneOrMany>,
    pub action: Action,
    #[serde(default)]
    pub log: Option<Log>,
    /// The last day of the rule, as `2027-03-31`.
    #[serde(default)]
    pub expires: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub ticket: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    #[serde(default)]
    pub namespaces: Option<OneOrMany>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Compile {
    /// The Calico tier that policies go to.
    #[serde(default)]
    pub tier: Option<String>,
    /// The tier's order.
    #[serde(default)]
    pub order: Option<f64>,
    /// On whose side rules are written.
    #[serde(default)]
    pub side: Option<CompileSide>,
    /// Write staged policies, which only report.
    #[serde(default)]
    pub stage: Option<bool>,
    #[serde(default)]
    pub targets: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CompileSide {
    Destination,
    Source,
    Both,
}

/// The JSON Schema of the file, which `schema.json` keeps.
pub fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("schema.json")).expect("a test holds it to the types")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_FIXTURES=1` writes it anew. A line a key, so that a difference can be read; no indentation, so that it is small.
    #[test]
    fn the_schema_kept_is_that_of_the_types() {
        let made = format!("{:#}\n", schemars::schema_for!(File).to_value());
        let made: String = made.split_inclusive('\n').map(str::trim_start).collect();
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../zone/schema.json"), made).unwrap();
            return;
        }
        let differs = include_str!("schema.json").lines().zip(made.lines()).find(|(kept, made)| kept != made);
        assert!(
            include_str!("schema.json") == made,
            "src/zone/schema.json is not what the types give {differs:?}; write it anew with \
             `UPDATE_FIXTURES=1 cargo test --lib the_schema_kept`, and read the difference"
        );
    }
}

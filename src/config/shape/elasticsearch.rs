//! `sinks.elasticsearch`.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProcessArgs, SecretFrom, Tls};
use crate::config::scalar::{Size, Span};
use crate::config::url::HttpUrl;

/// Elasticsearch 8 and 9, OpenSearch 2 and 3: the data stream `logs-calico.flow-<namespace>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["hosts"])))]
pub struct Elasticsearch {
    /// Nodes of one cluster, as `https://HOST:PORT` with a path prefix if need be; at least one. A node that fails is
    /// left alone for a while and tried again.
    pub hosts: Vec<HttpUrl>,
    /// Namespace of the data stream: lower-case letters, digits, `_` and `.`, at most 100. Default: `default`.
    pub namespace: String,
    /// Who we are to the server: one of `api_key`, `basic` and `bearer`. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How `https://` hosts are checked, and our client certificate.
    pub tls: Tls,
    /// Gzip level of a request, 0 (none) to 9. Default: 1, which takes the least processor time a byte saved.
    #[cfg_attr(test, schemars(range(min = 0, max = 9)))]
    pub compression: u32,
    /// When a batch is sent: at whichever limit comes first.
    pub batch: Batch,
    /// Bytes of requests, compressed, that may be unanswered at a time; at this bound the lane stops reading. At least
    /// `batch.bytes`. Default: `8MiB`.
    pub in_flight: Size,
    /// How long the server may take to answer a request, 1s to 10m; then the outcome is uncertain and the batch is sent
    /// again. Default: `60s`.
    pub timeout: Span,
    /// Whether ids are looked up in older backing indices before something is sent again after a rollover, which would
    /// stand there twice: `auto` (where it is needed; it takes the rights `read` and `view_index_metadata`) or `never`
    /// (possible repeats are counted). Default: `auto`.
    pub lookup: Lookup,
    /// `event.outcome` of a denied flow. `failure`: the connection did not come about; `success`: the policy did its
    /// work. Default: `failure`.
    pub denied_outcome: DeniedOutcome,
    /// What becomes of process arguments: `keep`, `redact` (their number stays) or `drop`. Default: `redact`.
    pub process_args: ProcessArgs,
    /// Documents that the server refuses for good, kept in the state directory with the reason.
    pub dead_letter: DeadLetter,
    /// What `tidegate setup` installs on the server. Shipping does not look at it.
    pub setup: Setup,
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            namespace: "default".to_owned(),
            auth: None,
            tls: Tls::default(),
            compression: 1,
            batch: Batch::default(),
            in_flight: Size::mib(8),
            timeout: Span::seconds(60),
            lookup: Lookup::default(),
            denied_outcome: DeniedOutcome::default(),
            process_args: ProcessArgs::default(),
            dead_letter: DeadLetter::default(),
            setup: Setup::default(),
        }
    }
}

/// Who we are to the server: exactly one of the keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// An API key in its encoded form (base64 of `id:key`), as `{file: PATH}` or `{env: NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretFrom>,
    /// A user and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A bearer token, as `{file: PATH}` or `{env: NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretFrom>,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["username", "password"])))]
pub struct Basic {
    /// Name of the user.
    pub username: String,
    /// The password, as `{file: PATH}` or `{env: NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretFrom>,
}

/// When a batch is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Bytes before compression, 64KiB to 32MiB. Default: `1MiB`.
    pub bytes: Size,
    /// Documents. Default: 2000.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub lines: u32,
    /// Age of the oldest document in it, 10ms to 60s. Default: `1s`.
    pub age: Span,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: Size::mib(1), lines: 2000, age: Span::seconds(1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Lookup {
    #[default]
    Auto,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum DeniedOutcome {
    #[default]
    Failure,
    Success,
}

/// Documents that the server refuses for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetter {
    /// Most bytes on disk, 1MiB or more. Default: `64MiB`.
    pub max_size: Size,
    /// At that size: `hold` the lane until there is room, or `drop_oldest`: the oldest file gives way, and its letters,
    /// rejected once, are counted as evicted. Default: `hold`.
    pub when_full: WhenFull,
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { max_size: Size::mib(64), when_full: WhenFull::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum WhenFull {
    #[default]
    Hold,
    DropOldest,
}

/// What `tidegate setup` installs. Ages are counted from an index's rollover, and rise: warm, cold, frozen, retention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// Who makes new indices and deletes old ones: `ilm` or `data_stream` (Elasticsearch), `ism` (OpenSearch), `none`
    /// (somebody else's), or `auto`: `ilm` or `ism`. Default: `auto`.
    pub lifecycle: Lifecycle,
    /// Age at which flows are deleted, 1h to 3650d. Default: `30d`.
    pub retention: Span,
    /// Age at which an index is merged into one segment and moves to warm nodes. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm: Option<Span>,
    /// Age at which an index moves to cold nodes (`ilm`). Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<Span>,
    /// When an index becomes a searchable snapshot (`ilm`; wants an Enterprise licence). Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// `index.mode`: `standard`, or `logsdb` (Elasticsearch 8.17 or newer), which takes less disk. Default: `standard`.
    pub index_mode: IndexMode,
    /// `index.codec`: `best_compression` or `default`. Default: `best_compression`.
    pub codec: Codec,
    /// Whether documents that do not fit the mapping go to the failure store, where the server has one (Elasticsearch
    /// 8.19, and 9.1 or newer), instead of the dead letter. Default: true.
    pub failure_store: bool,
    /// Keep an hourly summary of the flows, and for how long, 1d to 3650d. Default: none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Span>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            lifecycle: Lifecycle::default(),
            retention: Span::seconds(30 * 86_400),
            warm: None,
            cold: None,
            frozen: None,
            index_mode: IndexMode::default(),
            codec: Codec::default(),
            failure_store: true,
            history: None,
        }
    }
}

/// When an index becomes a searchable snapshot, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["repository"])))]
pub struct Frozen {
    /// Age of the index. Default: `14d`.
    pub after: Span,
    /// Name of the snapshot repository, which must exist.
    pub repository: String,
}

impl Default for Frozen {
    fn default() -> Self {
        Self { after: Span::seconds(14 * 86_400), repository: String::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Lifecycle {
    #[default]
    Auto,
    Ilm,
    DataStream,
    Ism,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum IndexMode {
    #[default]
    Standard,
    Logsdb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Codec {
    Default,
    #[default]
    BestCompression,
}

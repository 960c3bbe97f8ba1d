//! The shape that users write, key by key. Its doc comments are the descriptions in the published schema.
//!
//! Every key says what it does, its unit, its default and what happens at the limit. Everything has a default here, so
//! that a file with a wrong value in it can still be judged as a whole; what must be given is told by [`super::rules`].

mod elasticsearch;
mod siem;
mod splunk;

use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use elasticsearch::{
    Auth, Basic, Batch, Codec, DeadLetter, DeniedOutcome, Elasticsearch, Frozen, IndexMode, Lifecycle, Lookup, Setup,
    WhenFull,
};
pub use siem::{
    Aggregate, Bytes, ClassRule, Connections, Eps, Facility, Flows, Format, Framing, Header, Ipv6, KeyField, Limit,
    Look, Profile, Replay, Sample, Siem, SiemTls, SyslogSeverity, Verdict, Verdicts, WhenExceeded,
};
pub use splunk::{Acknowledgement, Splunk, SplunkBatch, SplunkFormat};

use super::scalar::{Listen, Size, Span};

/// What Tidegate reads, where it sends it, and where it keeps its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(title = "Tidegate configuration", extend("required" = ["sources", "sinks"])))]
pub struct Config {
    /// Name of the Kubernetes cluster. It is part of every event's id and cannot change while the program runs.
    /// Default: `default`.
    pub cluster: String,
    /// Name of this node, part of every event's id as well. Default: the environment's `NODE_NAME` (from the downward
    /// API), else the host name.
    pub node: String,
    /// Flow-log files to read. At least one. Every lane reads them on its own.
    pub sources: Vec<Source>,
    /// File with the security zones. Without it no flow crosses zones, so a SIEM needs it. Read again when it changes.
    pub zones: Option<PathBuf>,
    /// Where flows go. At least one sink; each is a lane with its own checkpoint, and none waits for another.
    pub sinks: Sinks,
    /// What is kept of log files that are deleted before a lane has delivered them.
    pub spool: Spool,
    /// Directory of checkpoints, spools and dead letters; created if missing. One process at a time may use it: it is locked.
    /// Default: `/var/lib/tidegate`.
    pub state_dir: PathBuf,
    /// Address of `/metrics`, `/livez` and `/readyz`. Port 0 takes a free one. Default: `127.0.0.1:9464`.
    pub listen: Listen,
    /// How the program ends.
    pub shutdown: Shutdown,
    /// What the program says about itself, on standard error.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "default".to_owned(),
            node: String::new(),
            sources: Vec::new(),
            zones: None,
            sinks: Sinks::default(),
            spool: Spool::default(),
            state_dir: PathBuf::from("/var/lib/tidegate"),
            listen: Listen(std::net::SocketAddr::from(([127, 0, 0, 1], 9464))),
            shutdown: Shutdown::default(),
            log: Log::default(),
        }
    }
}

/// A live flow-log file and its rotated siblings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["path"])))]
pub struct Source {
    /// Absolute path of the live file, or a glob (`*`, `?`, `[a-z]`, `{a,b}`). Of a plain path the rotated siblings
    /// are read too: `flows-*.log` and `flows.log.*` beside `flows.log`, each also `.gz` and `.zst`. A glob is taken exactly.
    pub path: String,
    /// Globs of the rotated files, instead of the siblings derived from `path`. `[]`: the live file only.
    /// Default: derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Vec<String>>,
    /// Where a lane without a checkpoint begins: with the oldest rotated file, or at the end of the live one.
    /// Default: `oldest`.
    pub start: Start,
    /// Longest line, 1KiB to 1MiB. A longer one is skipped and counted as dropped. Default: `1MiB`.
    pub max_line: Size,
}

impl Default for Source {
    fn default() -> Self {
        Self { path: String::new(), rotated: None, start: Start::default(), max_line: Size::mib(1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Start {
    #[default]
    Oldest,
    End,
}

/// Where flows go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sinks {
    /// Every flow, as an ECS document, to Elasticsearch or OpenSearch. The lane is named `elasticsearch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elasticsearch: Option<Elasticsearch>,
    /// Every flow that crosses a zone, as a record over syslog or as events of a Splunk HTTP Event Collector. Each receiver
    /// is a lane named `siem-<name>`.
    pub siem: Vec<Siem>,
}

/// What is kept of log files that are deleted before a lane has delivered them: compressed, in the state directory, until
/// it is delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Most bytes on disk, of each lane, 1MiB or more. Default: `256MiB`.
    pub max_size: Size,
    /// At that size: `hold` the deleted file open (it takes space until it is delivered, and is lost if the program is
    /// killed), or `drop_oldest` and count it as dropped. Default: `hold`.
    pub when_full: WhenFull,
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_size: Size::mib(256), when_full: WhenFull::default() }
    }
}

/// How the program ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long a stop may take to deliver what has been read, 1s to 10m. What is not settled by then is read again at
    /// the next start, from the spool where its file is gone. Keep it below the pod's `terminationGracePeriodSeconds`. Default: `20s`.
    pub deadline: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline: Span::seconds(20) }
    }
}

/// What the program says about itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least important level that is written. Default: `info`.
    pub level: Level,
    /// One JSON object a line, or text for people. Default: `text` on a terminal, else `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum LogFormat {
    Json,
    Text,
}

/// Where a secret stands: in a file (read again when it changes) or in an environment variable. Never here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "secret")))]
pub enum SecretFrom {
    /// Path of a file that holds the secret and nothing else; white space around it is ignored.
    File(PathBuf),
    /// Name of an environment variable.
    Env(String),
}

/// How a TLS peer is checked, and who we are to it. Files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the CA certificates that the peer's certificate is checked against. Default: the system's store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with our client certificate and its chain. Goes with `key_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the client certificate's private key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// What becomes of process arguments, which often hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum ProcessArgs {
    Keep,
    #[default]
    Redact,
    Drop,
}

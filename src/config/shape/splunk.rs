//! `sinks.siem[].splunk`.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeadLetter, SecretFrom};
use crate::config::scalar::{Size, Span};

/// A Splunk HTTP Event Collector: what is sent to it, and as whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["token"])))]
pub struct Splunk {
    /// The collector's token, as `{file: PATH}` or `{env: NAME}`. A file is read again when the collector refuses the
    /// token, and every 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretFrom>,
    /// What an event holds: `ecs-json`, the document that Elasticsearch would get; `cef`, the record that a syslog
    /// receiver would get. Default: `ecs-json`.
    pub format: SplunkFormat,
    /// Index that events go to; the token must be allowed to write there. Default: the token's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// `source` of events. Default: `tidegate`.
    pub source: String,
    /// `sourcetype` of events. Default: `calico:flow`, with `format: cef` `calico:flow:cef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sourcetype: Option<String>,
    /// Whether an event counts as delivered only when the indexer says that it is indexed: `auto`, where the token has
    /// that; `required`, else nothing is sent; `never`. Without it an event counts when the collector has taken it into its
    /// queue, where a crash can lose it. Default: `auto`.
    pub acknowledgement: Acknowledgement,
    /// How long an acknowledgement may take, 5s to 1h; then the batch is sent again, under the same ids. Default: `2m`.
    pub ack_timeout: Span,
    /// Gzip level of a request, 0 (none) to 9. Default: 1.
    #[cfg_attr(test, schemars(range(min = 0, max = 9)))]
    pub compression: u32,
    /// When a batch is sent: at whichever limit comes first.
    pub batch: SplunkBatch,
    /// Bytes of batches, compressed, that may be unsettled at a time; at this bound the lane stops reading. At least
    /// `batch.bytes`. Default: `8MiB`.
    pub in_flight: Size,
    /// Events that the collector refuses for good, kept in the state directory with the reason.
    pub dead_letter: DeadLetter,
}

impl Default for Splunk {
    fn default() -> Self {
        Self {
            token: None,
            format: SplunkFormat::default(),
            index: None,
            source: "tidegate".to_owned(),
            sourcetype: None,
            acknowledgement: Acknowledgement::default(),
            ack_timeout: Span::seconds(120),
            compression: 1,
            batch: SplunkBatch::default(),
            in_flight: Size::mib(8),
            dead_letter: DeadLetter::default(),
        }
    }
}

/// When a batch of events is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SplunkBatch {
    /// Bytes before compression, 16KiB to 32MiB. What is too large for the collector (its `max_content_length`) is halved,
    /// and later batches are smaller. Default: `512KiB`.
    pub bytes: Size,
    /// Events. Default: 1000.
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub events: u32,
    /// Age of the oldest line in it, 10ms to 60s. Default: `1s`.
    pub age: Span,
}

impl Default for SplunkBatch {
    fn default() -> Self {
        Self { bytes: Size::kib(512), events: 1000, age: Span::seconds(1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum SplunkFormat {
    #[default]
    EcsJson,
    Cef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Acknowledgement {
    #[default]
    Auto,
    Required,
    Never,
}

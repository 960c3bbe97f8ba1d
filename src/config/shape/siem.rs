//! `sinks.siem[]`.

use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProcessArgs, Splunk};
use crate::config::expression::Expression;
use crate::config::scalar::{Size, Span};
use crate::config::url::SiemUrl;
use crate::encode::structured_data::DOCUMENTATION_ID;

/// A SIEM: every flow that crosses a zone, as a record over syslog, or as events of a Splunk HTTP Event Collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["name", "url"])))]
pub struct Siem {
    /// Name of the receiver: lower-case letters, digits, `.`, `_`, `-`; at most 64. It names the lane and its
    /// checkpoint, so another name starts from the oldest file again.
    pub name: String,
    /// The receiver. With an acknowledgement for each record: `relp+tls://HOST:2514`, `relp://HOST:2514`. Without:
    /// `tls://HOST:6514`, `tcp://HOST:514`, `udp://HOST:514`, `unix:///dev/log` (datagrams), `unix-stream:///PATH`.
    /// Splunk over HTTP: `splunk+https://HOST:8088`, with the key `splunk` beside it.
    pub url: Option<SiemUrl>,
    /// Further receivers of the same destination, in order of preference, at most 7. Records go to one at a time: to `url`
    /// if it can be had, else to the first of these. Default: none.
    pub failover: Vec<SiemUrl>,
    /// How often a preferred receiver is looked for while another one has the records, 1s to 1h; when it has answered
    /// twice, records go back to it. `0s`: they stay until that connection breaks. Default: `60s`.
    pub failback: Span,
    /// What suits a kind of receiver, in a word: it stands for values of `format`, `header`, `framing`, `facility`, `ipv6`,
    /// `bytes`, `cee_cookie` and `max_record` where these are not set. Default: `generic`, which stands for none, as
    /// `splunk-hec` does.
    pub profile: Profile,
    /// What a record is: `cef` (CEF:0), `leef` (LEEF 2.0), `structured-data` (an element of RFC 5424 structured data) or
    /// `ecs-json` (the ECS document on one line). Default: `cef`.
    pub format: Format,
    /// Vendor in CEF and LEEF, at most 63 octets. Receivers route by it. Default: `Tidegate`.
    pub device_vendor: String,
    /// Product in CEF and LEEF, at most 63 octets. Default: `Tidegate`.
    pub device_product: String,
    /// Between LEEF's keys: `tab`, or one of `^ ~ ! # $ % & + , @ *`. A value that holds it gets a space or `_` there.
    /// Default: `tab`.
    pub leef_delimiter: String,
    /// Private enterprise number (IANA) in the id of the structured data, `flow@NUMBER`. Default: `32473`, which is
    /// reserved for documentation and warns.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub enterprise_id: u32,
    /// Whether a short text for people stands behind the structured data, as the message. Default: `true`.
    pub message_text: bool,
    /// Whether the word `@cee:` stands before ECS JSON, by which rsyslog and others know it. Default: `false`.
    pub cee_cookie: bool,
    /// Syslog header: `rfc5424`; for old receivers `rfc3164`, or `rfc3164-tagged` where the first word is taken for a tag.
    /// Default: `rfc5424`.
    pub header: Header,
    /// How records are told apart on a stream: `octet-counting` (RFC 6587), or `lf`, a line feed after each. A datagram and
    /// RELP need none. Default: `octet-counting` on tcp and tls, `lf` on unix-stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// Syslog facility. Default: `local0`.
    pub facility: Facility,
    /// What a Splunk HTTP Event Collector needs: its token, index and so on. It stands beside a `splunk+https://` url,
    /// where `header`, `framing`, `facility`, `replay` and `reconnect` mean nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splunk: Option<Splunk>,
    /// How receivers over `tls://`, `relp+tls://` and `splunk+https://` are checked, and our client certificate.
    pub tls: SiemTls,
    /// Which flows are sent at all: `cross-zone`, those between two zones; `all`, so that `filter` alone says. Default:
    /// `cross-zone`.
    pub flows: Flows,
    /// Which of these flows are sent, in the filter language, as `dest.zone = restricted and not source.ip in
    /// 10.0.0.0/8`. The others are counted as filtered. Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Expression>,
    /// Which flows are sent by what became of them. Default: `any`.
    pub verdict: Verdict,
    /// Whether a flow with one end in no zone counts as crossing. Default: `false`.
    pub unknown: bool,
    /// `one`: one record a connection, although both of its nodes may report it. `both`: every report. Default: `one`.
    pub connections: Connections,
    /// What the record of a verdict is: its class, name and severities.
    pub verdicts: Verdicts,
    /// Which flows are another class or severity than their verdict says, or no record at all. The first rule that
    /// fits decides. At most 64. Default: none.
    pub classes: Vec<ClassRule>,
    /// Where IPv6 addresses go in CEF: `c6a` (`c6a2`, `c6a3`, as CEF:0 has it) or `native` (`src`, `dst`). Default: `c6a`.
    pub ipv6: Ipv6,
    /// What CEF `in` counts: `spec`, bytes from source to destination; `session`, bytes received by the source.
    /// Default: `spec`.
    pub bytes: Bytes,
    /// What becomes of process arguments: `keep`, `redact` (their number stays) or `drop`. Default: `redact`.
    pub process_args: ProcessArgs,
    /// Longest record, header and all, 1KiB (of ECS JSON 2KiB) to 64KiB; on udp never more than 2KiB. Of a longer one
    /// optional keys are left out, in a fixed order, and it is counted. Default: `8KiB`.
    pub max_record: Size,
    /// What is sent again when a connection breaks, because plain syslog has no acknowledgement. RELP has one, and needs
    /// no window.
    pub replay: Replay,
    /// Flows of one key in one window as one record, with sums. Default: none, each flow is a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// Most flows of one key in one window; of the others one record says how many there were. They count as filtered.
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Of which flows only a part is sent; they say so, and the others count as filtered. Default: none.
    pub sample: Sample,
    /// Most records a second. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<Eps>,
    /// How often a heartbeat record says what was sent, filtered and dropped, and how far behind this destination is; 10s to
    /// 1h. It is due only while there is a connection. `0s`: never. Default: `60s`.
    pub heartbeat: Span,
    /// Whether Tidegate says something of itself at all: heartbeat, start, stop, an outage once it is over, and what was held
    /// back. `false`: for a receiver that takes nothing but flows. Default: `true`.
    pub status_records: bool,
    /// How long connecting, the receiver's taking of a batch, and its next acknowledgement over RELP, or a whole request to a
    /// collector, may last, 1s to 10m. Default: `30s`.
    pub timeout: Span,
    /// Age at which a connection is closed in good order and made again, 10s to 24h: the receiver's close proves that it
    /// has read everything before, and nodes spread over the receivers behind a load balancer. `0s`: never. Default:
    /// `0s`.
    pub reconnect: Span,
}

impl Default for Siem {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: None,
            failover: Vec::new(),
            failback: Span::seconds(60),
            profile: Profile::default(),
            format: Format::default(),
            device_vendor: "Tidegate".to_owned(),
            device_product: "Tidegate".to_owned(),
            leef_delimiter: "tab".to_owned(),
            enterprise_id: DOCUMENTATION_ID,
            message_text: true,
            cee_cookie: false,
            header: Header::default(),
            framing: None,
            facility: Facility::default(),
            splunk: None,
            tls: SiemTls::default(),
            flows: Flows::default(),
            filter: None,
            verdict: Verdict::default(),
            unknown: false,
            connections: Connections::default(),
            verdicts: Verdicts::default(),
            classes: Vec::new(),
            ipv6: Ipv6::default(),
            bytes: Bytes::default(),
            process_args: ProcessArgs::default(),
            max_record: Size::kib(8),
            replay: Replay::default(),
            aggregate: None,
            limit: None,
            sample: Sample::default(),
            eps: None,
            heartbeat: Span::seconds(60),
            status_records: true,
            timeout: Span::seconds(30),
            reconnect: Span::seconds(0),
        }
    }
}

/// How a receiver is checked, and who we are to it. Files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SiemTls {
    /// PEM file with the CA certificates that the receiver's certificate is checked against. Default: the system's store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with our client certificate and its chain. Goes with `key_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the client certificate's private key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Name that the receiver's certificate must carry. Default: the host of its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Fingerprints of accepted certificates (RFC 5425), `sha-256:` and 32 octets in hex with colons (or `sha-1:` and 20);
    /// they stand instead of CA, name and validity. Default: none.
    pub fingerprints: Vec<String>,
}

/// What is sent again when a connection breaks. A record is settled when it falls out of this window; its `externalId`
/// lets the receiver drop repeats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// Records. 0: nothing is sent again, what the kernel had taken is lost. Default: 10000.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    pub records: u32,
    /// Age since sending, up to 10m. A receiver that is gone without a word is noticed within 30s: keep it above. Default:
    /// `60s`.
    pub age: Span,
}

impl Default for Replay {
    fn default() -> Self {
        Self { records: 10_000, age: Span::seconds(60) }
    }
}

/// Verdict, class, zones and the reporting side are always part of the key. What the flows of a window do not agree on is
/// left out of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Aggregate {
    /// Of event time, aligned; 1s to 1h. Default: `60s`.
    pub window: Span,
    /// How late a flow may come and still find its window open, 0s to 10m. A window closes by the clock when it has been
    /// open for `window` and `grace`. Default: `10s`.
    pub grace: Span,
    /// What flows of a record have in common. Default: source.namespace, source.workload, dest.namespace, dest.workload,
    /// dest.port, proto.
    pub by: Vec<KeyField>,
    /// Windows that are open at a time; beyond it the oldest closes early, which is counted. Default: 10000.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub max_keys: u32,
}

impl Default for Aggregate {
    fn default() -> Self {
        use KeyField::{DestNamespace, DestPort, DestWorkload, Proto, SourceNamespace, SourceWorkload};
        Self {
            window: Span::seconds(60),
            grace: Span::seconds(10),
            by: vec![SourceNamespace, SourceWorkload, DestNamespace, DestWorkload, DestPort, Proto],
            max_keys: 10_000,
        }
    }
}

/// How many flows of a key pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// Flows of a key in each window, 1 or more. Default: 1000.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000)))]
    pub per_key: u32,
    /// Of event time, aligned; 1s to 1h. Default: `60s`.
    pub window: Span,
    /// What flows have in common that are counted together. Default: source.zone, dest.zone, source.namespace,
    /// source.workload, verdict.
    pub key: Vec<KeyField>,
    /// Keys that are counted at a time; beyond it the oldest is counted anew. Default: 10000.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub max_keys: u32,
}

impl Default for Limit {
    fn default() -> Self {
        use KeyField::{DestZone, SourceNamespace, SourceWorkload, SourceZone, Verdict};
        Self {
            per_key: 1000,
            window: Span::seconds(60),
            key: vec![SourceZone, DestZone, SourceNamespace, SourceWorkload, Verdict],
            max_keys: 10_000,
        }
    }
}

/// Of which flows only a part is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Of allowed flows one in so many, 1 to 1000000, chosen by its id: a repeat is chosen alike. What any policy denied,
    /// staged ones too, is always sent. Default: 1, all.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub allow: u32,
}

impl Default for Sample {
    fn default() -> Self {
        Self { allow: 1 }
    }
}

/// A budget of records a second, by the clock, with bursts of one second's worth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(JsonSchema), schemars(extend("required" = ["limit"])))]
pub struct Eps {
    /// Records a second, 1 or more.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub limit: u32,
    /// What happens beyond it: `delay`, everything waits in the log file; `suppress-allowed`, allowed flows are not sent and
    /// count as filtered, others are sent all the same. Default: `delay`.
    pub when_exceeded: WhenExceeded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum WhenExceeded {
    #[default]
    Delay,
    SuppressAllowed,
}

/// A field of a flow, named as in the filter language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum KeyField {
    #[serde(rename = "source.zone")]
    SourceZone,
    #[serde(rename = "dest.zone")]
    DestZone,
    #[serde(rename = "source.namespace")]
    SourceNamespace,
    #[serde(rename = "dest.namespace")]
    DestNamespace,
    #[serde(rename = "source.workload")]
    SourceWorkload,
    #[serde(rename = "dest.workload")]
    DestWorkload,
    #[serde(rename = "source.ip")]
    SourceIp,
    #[serde(rename = "dest.ip")]
    DestIp,
    #[serde(rename = "dest.port")]
    DestPort,
    #[serde(rename = "proto")]
    Proto,
    #[serde(rename = "service")]
    Service,
    #[serde(rename = "process")]
    Process,
    #[serde(rename = "verdict")]
    Verdict,
}

/// Receivers that have a page in deploy/docs/siem/.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Profile {
    Arcsight,
    Sentinel,
    Qradar,
    #[serde(rename = "splunk-sc4s")]
    SplunkSc4s,
    SplunkHec,
    Elastic,
    Rsyslog,
    #[default]
    Generic,
}

/// What the record of each verdict is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Verdicts {
    /// Allowed. Default: class `flow:allow`, severity 3, informational.
    pub allow: Look,
    /// Denied. Default: class `flow:deny`, severity 6, warning.
    pub deny: Look,
    /// Allowed, but a staged policy would have denied it. Default: class `flow:deny-staged`, severity 4, notice.
    pub deny_staged: Look,
    /// The log does not say. Default: class `flow:unknown`, severity 4, notice.
    pub unknown: Look,
}

/// What a record says of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Look {
    /// What the SIEM knows the kind of event by (CEF `deviceEventClassId`): letters, digits, `:`, `.`, `_`, `-`; at most 63.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The kind of event for people, at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// CEF severity, 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 0, max = 10)))]
    pub severity: Option<u8>,
    /// Severity of the syslog header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog_severity: Option<SyslogSeverity>,
}

/// A rule: which flows, and what becomes of them. What it does not say stays what the verdict says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClassRule {
    /// The source's zone; `*` is any run of characters. Default: `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The destination's zone, as `from`. Default: `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which of these flows, in the filter language. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
    /// No record is sent; the flow is counted as filtered. Default: `false`.
    pub drop: bool,
    /// What the SIEM knows the kind of event by (CEF `deviceEventClassId`): letters, digits, `:`, `.`, `_`, `-`; at most 63.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The kind of event for people, at most 128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// CEF severity, 0 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 0, max = 10)))]
    pub severity: Option<u8>,
    /// Severity of the syslog header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog_severity: Option<SyslogSeverity>,
}

impl ClassRule {
    /// `any` is the word of `zones.yaml` for it, and no zone can be called so.
    pub fn is_any_zone(zone: &str) -> bool {
        matches!(zone, "any" | "*")
    }

    pub fn look(&self) -> Look {
        Look {
            class: self.class.clone(),
            name: self.name.clone(),
            severity: self.severity,
            syslog_severity: self.syslog_severity,
        }
    }
}

/// RFC 5424, table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum SyslogSeverity {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Informational,
    Debug,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Format {
    #[default]
    Cef,
    Leef,
    StructuredData,
    EcsJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Flows {
    #[default]
    CrossZone,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Header {
    #[default]
    Rfc5424,
    Rfc3164,
    #[serde(rename = "rfc3164-tagged")]
    Rfc3164Tagged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Framing {
    OctetCounting,
    Lf,
}

/// Facilities that a program other than the system's own may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Facility {
    User,
    Daemon,
    Auth,
    Authpriv,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

impl Facility {
    /// Its number in RFC 5424, table 1.
    pub fn code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Verdict {
    #[default]
    Any,
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Connections {
    #[default]
    One,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Ipv6 {
    #[default]
    C6a,
    Native,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline))]
pub enum Bytes {
    #[default]
    Spec,
    Session,
}

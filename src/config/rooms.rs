//! From the shape that users write to each room's own configuration. The only file that knows both sides.

use std::path::Path;
use std::sync::Arc;

use super::shape::{self, Config, Elasticsearch, SecretFrom, Siem, SiemTls, Tls};
use super::url::{SiemUrl, Transport};
use crate::encode::{self, ecs, leef, record};
use crate::net::auth::Auth;
use crate::net::tls::TlsConfig;
use crate::query::Pattern;
use crate::setup;
use crate::sink::siem::Status;
use crate::sink::{dead_letter, elastic, rate, splunk, syslog};
use crate::source::spool;
use crate::unit::SecretRef;

/// Lane and checkpoint of the Elasticsearch sink.
pub const ELASTICSEARCH_LANE: &str = "elasticsearch";

/// Lane and checkpoint of a SIEM receiver.
pub fn siem_lane(siem: &Siem) -> String {
    format!("siem-{}", siem.name)
}

/// The Elasticsearch sink, if there is one.
pub fn elastic(config: &Config) -> Option<elastic::Config> {
    let shape = config.sinks.elasticsearch.as_ref()?;
    let dead_letter = dead_letter(&shape.dead_letter, &config.state_dir, ELASTICSEARCH_LANE);
    let mut sink = elastic::Config::new(hosts(shape), dead_letter);
    ELASTICSEARCH_LANE.clone_into(&mut sink.name);
    sink.auth = auth(shape);
    sink.tls = tls(&shape.tls);
    sink.ecs = ecs(shape);
    sink.compression = shape.compression;
    sink.batch_bytes = shape.batch.bytes.bytes();
    sink.batch_lines = shape.batch.lines as usize;
    sink.in_flight_bytes = shape.in_flight.bytes();
    sink.timeout = shape.timeout.0;
    sink.lookup = match shape.lookup {
        shape::Lookup::Auto => elastic::Lookup::Auto,
        shape::Lookup::Never => elastic::Lookup::Never,
    };
    Some(sink)
}

/// Bytes of each lane's spool, and what becomes of more.
pub fn spool(config: &Config) -> (u64, spool::WhenFull) {
    let when_full = match config.spool.when_full {
        shape::WhenFull::Hold => spool::WhenFull::Hold,
        shape::WhenFull::DropOldest => spool::WhenFull::DropOldest,
    };
    (config.spool.max_size.0, when_full)
}

/// The sinks of all SIEM receivers that speak syslog, each with the name of its lane, in the order of the configuration.
pub fn syslog(config: &Config) -> Vec<(String, syslog::Config)> {
    let url = |siem: &'_ Siem| siem.url.clone().filter(|url| !url.transport.is_splunk());
    let receiver = |siem: &Siem| {
        let sink = receiver(siem, &url(siem)?, &config.node);
        Some((siem_lane(siem), syslog::Config { status: status(config, siem), ..sink }))
    };
    config.sinks.siem.iter().filter_map(receiver).collect()
}

/// What a destination is told of its sender.
fn status(config: &Config, shape: &Siem) -> Option<Status> {
    let (cluster, node) = (config.cluster.clone(), config.node.clone());
    shape.status_records.then_some(Status { cluster, node, heartbeat: shape.heartbeat.0 })
}

/// The sinks of all Splunk HTTP Event Collectors, each with the name of its lane, in the order of the configuration.
pub fn splunk(config: &Config) -> Vec<(String, splunk::Config)> {
    let url = |siem: &'_ Siem| siem.url.clone().filter(|url| url.transport.is_splunk());
    let collector = |siem: &Siem| {
        let (shape, lane) = (siem.splunk.as_ref()?, siem_lane(siem));
        let sink = collector(siem, shape, &url(siem)?, dead_letter(&shape.dead_letter, &config.state_dir, &lane))?;
        Some((lane, splunk::Config { status: status(config, siem), ..sink }))
    };
    config.sinks.siem.iter().filter_map(collector).collect()
}

fn collector(
    siem: &Siem,
    shape: &shape::Splunk,
    url: &SiemUrl,
    dead_letter: dead_letter::Config,
) -> Option<splunk::Config> {
    let receivers = std::iter::once(url).chain(&siem.failover).map(collector_url).collect();
    let token = secret(shape.token.as_ref()?);
    Some(splunk::Config {
        tls: siem_tls(&siem.tls),
        format: match shape.format {
            shape::SplunkFormat::EcsJson => splunk::Format::EcsJson,
            shape::SplunkFormat::Cef => splunk::Format::Cef,
        },
        labels: splunk::Labels {
            index: shape.index.clone(),
            source: shape.source.clone(),
            source_type: shape.sourcetype.clone(),
        },
        ecs: ecs::Config { process_args: process_args(siem.process_args), ..ecs::Config::default() },
        cef: record(siem),
        filter: filter(siem),
        rates: rates(siem),
        acknowledgement: match shape.acknowledgement {
            shape::Acknowledgement::Auto => splunk::Acknowledgement::Auto,
            shape::Acknowledgement::Required => splunk::Acknowledgement::Required,
            shape::Acknowledgement::Never => splunk::Acknowledgement::Off,
        },
        ack_timeout: shape.ack_timeout.0,
        compression: shape.compression,
        batch_bytes: shape.batch.bytes.bytes(),
        batch_events: shape.batch.events as usize,
        batch_age: shape.batch.age.0,
        in_flight_bytes: shape.in_flight.bytes(),
        timeout: siem.timeout.0,
        failback: siem.failback.0,
        ..splunk::Config::new(siem.name.as_str(), receivers, token, dead_letter)
    })
}

/// `splunk+https://HOST:8088` without the word that told it from others.
fn collector_url(url: &SiemUrl) -> String {
    url.to_string().trim_start_matches("splunk+").to_owned()
}

fn receiver(shape: &Siem, url: &SiemUrl, node: &str) -> syslog::Config {
    syslog::Config {
        header: match shape.header {
            shape::Header::Rfc5424 => syslog::Header::Rfc5424,
            shape::Header::Rfc3164 => syslog::Header::Rfc3164,
            shape::Header::Rfc3164Tagged => syslog::Header::Rfc3164Tagged,
        },
        framing: shape.framing.map(|framing| match framing {
            shape::Framing::Lf => syslog::Framing::Lf,
            shape::Framing::OctetCounting => syslog::Framing::OctetCounting,
        }),
        facility: shape.facility.code(),
        tls: siem_tls(&shape.tls),
        record: record(shape),
        filter: filter(shape),
        replay_records: shape.replay.records.into(),
        replay_age: shape.replay.age.0,
        timeout: shape.timeout.0,
        targets: std::iter::once(url).chain(&shape.failover).map(target).collect(),
        failback: shape.failback.0,
        rates: rates(shape),
        reconnect: Some(shape.reconnect.0).filter(|age| !age.is_zero()),
        ..syslog::Config::new(shape.name.as_str(), target(url), node)
    }
}

fn target(url: &SiemUrl) -> syslog::Target {
    let (host, port) = (url.host.clone(), url.port);
    match url.transport {
        Transport::Udp => syslog::Target::Udp { host, port },
        Transport::Tcp => syslog::Target::Tcp { host, port },
        Transport::Tls => syslog::Target::Tls { host, port },
        Transport::Relp => syslog::Target::Relp { host, port },
        Transport::RelpTls => syslog::Target::RelpTls { host, port },
        Transport::Unix => syslog::Target::Unix { path: url.path.clone() },
        // A collector is no target of syslog; the rules let none stand beside one.
        Transport::UnixStream | Transport::SplunkHttp | Transport::SplunkHttps => {
            syslog::Target::UnixStream { path: url.path.clone() }
        }
    }
}

/// What `setup` needs of the Elasticsearch sink, if there is one.
pub fn setup(config: &Config) -> Option<setup::Config> {
    let shape = config.sinks.elasticsearch.as_ref()?;
    Some(setup::Config { hosts: hosts(shape), auth: auth(shape), tls: tls(&shape.tls) })
}

/// What `setup` is to install. Without an Elasticsearch sink, the defaults.
pub fn choice(config: &Config) -> setup::Choice {
    let shape = config.sinks.elasticsearch.as_ref().map(|sink| sink.setup.clone()).unwrap_or_default();
    setup::Choice {
        lifecycle: match shape.lifecycle {
            shape::Lifecycle::Auto => setup::Lifecycle::Auto,
            shape::Lifecycle::Ilm => setup::Lifecycle::Ilm,
            shape::Lifecycle::DataStream => setup::Lifecycle::DataStream,
            shape::Lifecycle::Ism => setup::Lifecycle::Ism,
            shape::Lifecycle::None => setup::Lifecycle::None,
        },
        retention: shape.retention.0,
        warm: shape.warm.map(|age| age.0),
        cold: shape.cold.map(|age| age.0),
        frozen: shape.frozen.map(|frozen| (frozen.after.0, frozen.repository)),
        index_mode: match shape.index_mode {
            shape::IndexMode::Standard => setup::IndexMode::Standard,
            shape::IndexMode::Logsdb => setup::IndexMode::Logsdb,
        },
        codec: match shape.codec {
            shape::Codec::Default => setup::Codec::Default,
            shape::Codec::BestCompression => setup::Codec::BestCompression,
        },
        failure_store: shape.failure_store,
        history: shape.history.map(|age| age.0),
    }
}

fn hosts(shape: &Elasticsearch) -> Vec<String> {
    shape.hosts.iter().map(ToString::to_string).collect()
}

/// The rules let exactly one kind of credentials pass, and a user only with a password.
fn auth(shape: &Elasticsearch) -> Auth {
    let Some(auth) = &shape.auth else { return Auth::None };
    if let Some(key) = &auth.api_key {
        return Auth::ApiKey(secret(key));
    }
    if let Some(token) = &auth.bearer {
        return Auth::Bearer(secret(token));
    }
    match auth.basic.as_ref().and_then(|basic| Some((basic, basic.password.as_ref()?))) {
        Some((basic, password)) => Auth::Basic { username: basic.username.clone(), password: secret(password) },
        None => Auth::None,
    }
}

fn secret(from: &SecretFrom) -> SecretRef {
    match from {
        SecretFrom::File(path) => SecretRef::File(path.clone()),
        SecretFrom::Env(name) => SecretRef::Env(name.clone()),
    }
}

fn tls(shape: &Tls) -> TlsConfig {
    TlsConfig {
        ca_file: shape.ca_file.clone(),
        certificate_file: shape.certificate_file.clone(),
        key_file: shape.key_file.clone(),
        ..TlsConfig::default()
    }
}

fn siem_tls(shape: &SiemTls) -> TlsConfig {
    TlsConfig {
        ca_file: shape.ca_file.clone(),
        certificate_file: shape.certificate_file.clone(),
        key_file: shape.key_file.clone(),
        server_name: shape.server_name.clone(),
        fingerprints: shape.fingerprints.clone(),
        ..TlsConfig::default()
    }
}

fn dead_letter(shape: &shape::DeadLetter, state_dir: &Path, lane: &str) -> dead_letter::Config {
    dead_letter::Config {
        dir: state_dir.join("dead-letter").join(lane),
        lane: lane.to_owned(),
        max_size: shape.max_size.0,
        when_full: match shape.when_full {
            shape::WhenFull::Hold => dead_letter::WhenFull::Hold,
            shape::WhenFull::DropOldest => dead_letter::WhenFull::DropOldest,
        },
    }
}

fn ecs(shape: &Elasticsearch) -> ecs::Config {
    ecs::Config {
        namespace: shape.namespace.clone(),
        denied_outcome: match shape.denied_outcome {
            shape::DeniedOutcome::Failure => ecs::DeniedOutcome::Failure,
            shape::DeniedOutcome::Success => ecs::DeniedOutcome::Success,
        },
        process_args: process_args(shape.process_args),
        ..ecs::Config::default()
    }
}

/// What stands between LEEF's keys; `None` when it cannot.
pub fn delimiter(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"tab" => Some(leef::TAB),
        [octet] if leef::DELIMITERS.as_bytes().contains(octet) => Some(*octet),
        _ => None,
    }
}

/// What a destination's records are.
pub fn record(shape: &Siem) -> record::Config {
    record::Config {
        format: match shape.format {
            shape::Format::Cef => record::Format::Cef,
            // The rules let no other delimiter pass.
            shape::Format::Leef => {
                record::Format::Leef { delimiter: delimiter(&shape.leef_delimiter).unwrap_or(leef::TAB) }
            }
            shape::Format::StructuredData => {
                record::Format::StructuredData { enterprise_id: shape.enterprise_id, text: shape.message_text }
            }
            shape::Format::EcsJson => record::Format::EcsJson { cookie: shape.cee_cookie },
        },
        vendor: shape.device_vendor.clone(),
        product: shape.device_product.clone(),
        ipv6: match shape.ipv6 {
            shape::Ipv6::C6a => record::Ipv6::C6a,
            shape::Ipv6::Native => record::Ipv6::Native,
        },
        bytes: match shape.bytes {
            shape::Bytes::Spec => record::Bytes::Spec,
            shape::Bytes::Session => record::Bytes::Session,
        },
        process_args: process_args(shape.process_args),
        max_record: shape.max_record.bytes(),
        classes: Arc::new(classes(shape)),
        ..record::Config::default()
    }
}

fn classes(shape: &Siem) -> record::Classes {
    let shape::Verdicts { allow, deny, deny_staged, unknown } = &shape.verdicts;
    let rule = |rule: &shape::ClassRule| record::Rule {
        from: zone(&rule.from),
        to: zone(&rule.to),
        when: rule.when.as_ref().map(|when| Arc::clone(&when.0)),
        becomes: (!rule.drop).then(|| look(&rule.look())),
    };
    let rules = shape.classes.iter().map(rule).collect();
    record::Classes::new(&[allow, deny, deny_staged, unknown].map(look), rules, shape.unknown)
}

fn zone(shape: &Option<String>) -> Option<Pattern> {
    shape.as_deref().filter(|zone| !shape::ClassRule::is_any_zone(zone)).map(|zone| Pattern::new(zone, false))
}

fn look(shape: &shape::Look) -> record::Look {
    record::Look {
        id: shape.class.clone(),
        name: shape.name.clone(),
        severity: shape.severity,
        syslog_severity: shape.syslog_severity.map(|severity| severity as u8),
    }
}

fn filter(shape: &Siem) -> record::Filter {
    record::Filter {
        flows: match shape.flows {
            shape::Flows::CrossZone => record::Flows::CrossZone,
            shape::Flows::All => record::Flows::All,
        },
        query: shape.filter.as_ref().map(|filter| Arc::clone(&filter.0)),
        verdict: match shape.verdict {
            shape::Verdict::Any => record::Verdict::Any,
            shape::Verdict::Allow => record::Verdict::Allow,
            shape::Verdict::Deny => record::Verdict::Deny,
        },
        unknown: shape.unknown,
        connections: match shape.connections {
            shape::Connections::One => record::Connections::One,
            shape::Connections::Both => record::Connections::Both,
        },
    }
}

fn rates(shape: &Siem) -> rate::Rates {
    let keys = |fields: &[shape::KeyField]| fields.iter().map(|field| key(*field)).collect();
    rate::Rates {
        aggregate: shape.aggregate.as_ref().map(|shape| rate::Aggregate {
            window: shape.window.0,
            grace: shape.grace.0,
            by: keys(&shape.by),
            max_keys: shape.max_keys as usize,
        }),
        limit: shape.limit.as_ref().map(|shape| rate::Limit {
            per_key: shape.per_key.into(),
            window: shape.window.0,
            key: keys(&shape.key),
            max_keys: shape.max_keys as usize,
        }),
        sample: Some(shape.sample.allow).filter(|one_in| *one_in > 1),
        eps: shape.eps.as_ref().map(|shape| rate::Eps {
            limit: shape.limit,
            suppress: shape.when_exceeded == shape::WhenExceeded::SuppressAllowed,
        }),
    }
}

const fn key(field: shape::KeyField) -> rate::Key {
    match field {
        shape::KeyField::SourceZone => rate::Key::SourceZone,
        shape::KeyField::DestZone => rate::Key::DestZone,
        shape::KeyField::SourceNamespace => rate::Key::SourceNamespace,
        shape::KeyField::DestNamespace => rate::Key::DestNamespace,
        shape::KeyField::SourceWorkload => rate::Key::SourceWorkload,
        shape::KeyField::DestWorkload => rate::Key::DestWorkload,
        shape::KeyField::SourceIp => rate::Key::SourceIp,
        shape::KeyField::DestIp => rate::Key::DestIp,
        shape::KeyField::DestPort => rate::Key::DestPort,
        shape::KeyField::Proto => rate::Key::Proto,
        shape::KeyField::Service => rate::Key::Service,
        shape::KeyField::Process => rate::Key::Process,
        shape::KeyField::Verdict => rate::Key::Verdict,
    }
}

fn process_args(shape: shape::ProcessArgs) -> encode::ProcessArgs {
    match shape {
        shape::ProcessArgs::Keep => encode::ProcessArgs::Keep,
        shape::ProcessArgs::Redact => encode::ProcessArgs::Redact,
        shape::ProcessArgs::Drop => encode::ProcessArgs::Drop,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a user who writes nothing gets is what the room itself takes for a default.
    #[test]
    fn defaults_agree_with_the_rooms() {
        assert_eq!(choice(&Config::default()), setup::Choice::default());
        let config = Config {
            sinks: shape::Sinks { elasticsearch: Some(Elasticsearch::default()), siem: vec![Siem::default()] },
            ..Config::default()
        };
        let sink = elastic(&config).expect("a sink");
        let own = elastic::Config::new(Vec::new(), sink.dead_letter.clone());
        assert_eq!(
            (sink.compression, sink.batch_bytes, sink.batch_lines, sink.in_flight_bytes, sink.timeout, sink.lookup),
            (own.compression, own.batch_bytes, own.batch_lines, own.in_flight_bytes, own.timeout, own.lookup)
        );
        assert_eq!(
            (sink.name, sink.ecs.namespace, sink.ecs.denied_outcome),
            (own.name, own.ecs.namespace, own.ecs.denied_outcome)
        );
        assert_eq!(sink.dead_letter.max_size, dead_letter::MAX_SIZE);
        assert_eq!(super::spool(&config), (spool::MAX_SIZE, spool::WhenFull::default()));
        assert_eq!(sink.dead_letter.dir, Path::new("/var/lib/tidegate/dead-letter/elasticsearch"));
        let url: SiemUrl = "tls://siem".parse().expect("a URL");
        let got = receiver(&config.sinks.siem[0], &url, "node-a1");
        let own = syslog::Config::new("", target(&url), "node-a1");
        assert_eq!(format!("{got:?}"), format!("{own:?}"));
        let text = r#"{"url": "splunk+https://hec", "splunk": {"token": {"env": "T"}}}"#;
        let siem = vec![serde_json::from_str(text).expect("a collector")];
        let config = Config { sinks: shape::Sinks { elasticsearch: None, siem }, ..Config::default() };
        assert!(super::syslog(&config).is_empty());
        let (_, got) = splunk(&config).remove(0);
        let (token, letters) = (SecretRef::Env("T".into()), got.dead_letter.clone());
        let mut own = splunk::Config::new("", vec!["https://hec:8088".to_owned()], token, letters);
        let (cluster, node) = (config.cluster.clone(), config.node.clone());
        own.status = Some(Status { cluster, node, heartbeat: Duration::from_secs(60) });
        assert_eq!(format!("{got:?}"), format!("{own:?}"));
        assert_eq!(got.dead_letter.dir, Path::new("/var/lib/tidegate/dead-letter/siem-"));
    }

    #[test]
    fn receivers() {
        let siem: Vec<Siem> = serde_json::from_str(
            r#"[{"name": "a", "url": "udp://[::1]:514", "header": "rfc3164-tagged", "facility": "local4"},
                {"name": "b", "url": "unix:///dev/log"},
                {"name": "c", "url": "tcp://h", "failover": ["relp+tls://i", "unix-stream:///s"], "framing": "lf",
                 "verdict": "deny", "reconnect": "10m", "failback": "0s"}]"#,
        )
        .expect("receivers");
        let config = Config { sinks: shape::Sinks { elasticsearch: None, siem }, ..Config::default() };
        let [a, b, c] = &syslog(&config)[..] else { panic!("three receivers") };
        assert_eq!((a.0.as_str(), b.0.as_str(), c.0.as_str()), ("siem-a", "siem-b", "siem-c"));
        assert_eq!(a.1.targets, [syslog::Target::Udp { host: "::1".into(), port: 514 }]);
        assert_eq!((a.1.header, a.1.facility), (syslog::Header::Rfc3164Tagged, 20));
        assert_eq!(b.1.targets, [syslog::Target::Unix { path: "/dev/log".into() }]);
        assert_eq!((c.1.framing, c.1.filter.verdict), (Some(syslog::Framing::Lf), record::Verdict::Deny));
        let three = [
            syslog::Target::Tcp { host: "h".into(), port: 514 },
            syslog::Target::RelpTls { host: "i".into(), port: 2514 },
            syslog::Target::UnixStream { path: "/s".into() },
        ];
        assert_eq!(c.1.targets, three);
        assert_eq!((c.1.reconnect, c.1.failback), (Some(Duration::from_secs(600)), Duration::ZERO));
    }

    #[test]
    fn credentials() {
        let shape = |text: &str| Elasticsearch {
            auth: Some(serde_json::from_str(text).expect("credentials")),
            ..Elasticsearch::default()
        };
        let cases = [
            (r#"{"api_key": {"file": "/key"}}"#, Auth::ApiKey(SecretRef::File("/key".into()))),
            (r#"{"bearer": {"env": "TOKEN"}}"#, Auth::Bearer(SecretRef::Env("TOKEN".into()))),
            (
                r#"{"basic": {"username": "u", "password": {"env": "P"}}}"#,
                Auth::Basic { username: "u".into(), password: SecretRef::Env("P".into()) },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(auth(&shape(text)), expected, "{text}");
        }
    }
}

//! From the shape that users write to each room's own configuration. The only file that knows both sides.

use std::path::Path;

use super::shape::{self, Config, Elasticsearch, SecretFrom, Siem, SiemTls, Tls};
use crate::encode::{self, cef, ecs};
use crate::net::auth::Auth;
use crate::net::tls::TlsConfig;
use crate::setup;
use crate::sink::{dead_letter, elastic};
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
    let mut sink = elastic::Config::new(hosts(shape), dead_letter(shape, &config.state_dir));
    ELASTICSEARCH_LANE.clone_into(&mut sink.name);
    sink.auth = auth(shape);
    sink.tls = tls(&shape.tls);
    sink.ecs = ecs(shape);
    sink.compression = shape.compression;
    sink.batch_bytes = shape.batch.bytes.bytes();
    sink.batch_lines = shape.batch.lines as usize;
    sink.in_flight_bytes = shape.in_flight.bytes();
    sink.timeout = shape.timeout.0;
    Some(sink)
}

/// What `setup` needs of the Elasticsearch sink, if there is one.
pub fn setup(config: &Config) -> Option<setup::Config> {
    let shape = config.sinks.elasticsearch.as_ref()?;
    Some(setup::Config { hosts: hosts(shape), auth: auth(shape), tls: tls(&shape.tls) })
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

/// How a SIEM receiver is checked.
pub fn siem_tls(shape: &SiemTls) -> TlsConfig {
    TlsConfig {
        ca_file: shape.ca_file.clone(),
        certificate_file: shape.certificate_file.clone(),
        key_file: shape.key_file.clone(),
        server_name: shape.server_name.clone(),
        fingerprints: shape.fingerprints.clone(),
    }
}

fn dead_letter(shape: &Elasticsearch, state_dir: &Path) -> dead_letter::Config {
    dead_letter::Config {
        dir: state_dir.join("dead-letter").join(ELASTICSEARCH_LANE),
        lane: ELASTICSEARCH_LANE.to_owned(),
        max_size: shape.dead_letter.max_size.0,
        when_full: match shape.dead_letter.when_full {
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

/// The records of a SIEM receiver.
pub fn cef(shape: &Siem) -> cef::Config {
    cef::Config {
        ipv6: match shape.ipv6 {
            shape::Ipv6::C6a => cef::Ipv6::C6a,
            shape::Ipv6::Native => cef::Ipv6::Native,
        },
        bytes: match shape.bytes {
            shape::Bytes::Spec => cef::Bytes::Spec,
            shape::Bytes::Session => cef::Bytes::Session,
        },
        process_args: process_args(shape.process_args),
        max_record: shape.max_record.bytes(),
        ..cef::Config::default()
    }
}

/// Which events a SIEM receiver gets.
pub fn filter(shape: &Siem) -> cef::Filter {
    cef::Filter {
        verdict: match shape.verdict {
            shape::Verdict::Any => cef::Verdict::Any,
            shape::Verdict::Allow => cef::Verdict::Allow,
            shape::Verdict::Deny => cef::Verdict::Deny,
        },
        unknown: shape.unknown,
        connections: match shape.connections {
            shape::Connections::One => cef::Connections::One,
            shape::Connections::Both => cef::Connections::Both,
        },
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
    use super::*;

    /// What a user who writes nothing gets is what the room itself takes for a default.
    #[test]
    fn defaults_agree_with_the_rooms() {
        let config = Config {
            sinks: shape::Sinks { elasticsearch: Some(Elasticsearch::default()), siem: vec![Siem::default()] },
            ..Config::default()
        };
        let sink = elastic(&config).expect("a sink");
        let own = elastic::Config::new(Vec::new(), sink.dead_letter.clone());
        assert_eq!(
            (sink.compression, sink.batch_bytes, sink.batch_lines, sink.in_flight_bytes, sink.timeout),
            (own.compression, own.batch_bytes, own.batch_lines, own.in_flight_bytes, own.timeout)
        );
        assert_eq!(
            (sink.name, sink.ecs.namespace, sink.ecs.denied_outcome),
            (own.name, own.ecs.namespace, own.ecs.denied_outcome)
        );
        assert_eq!(sink.dead_letter.max_size, dead_letter::MAX_SIZE);
        assert_eq!(sink.dead_letter.dir, Path::new("/var/lib/tidegate/dead-letter/elasticsearch"));
        assert_eq!(cef(&config.sinks.siem[0]), cef::Config::default());
        assert_eq!(filter(&config.sinks.siem[0]), cef::Filter::default());
        assert_eq!(siem_tls(&SiemTls::default()), TlsConfig::default());
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

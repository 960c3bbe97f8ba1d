//! The whole configuration as what the agent runs.

use std::time::Duration;

use super::rooms;
use super::shape::{self, Config, Siem};
use super::url::{SiemUrl, Transport};
use crate::agent;
use crate::sink::syslog;
use crate::source::tail::{SourceConfig, Start};

/// What [`agent::Agent`] runs. `once` is the time that a peer may stay away before the agent gives up.
///
/// The rules have made sure that there is a sink and that every receiver has a URL.
pub fn agent(config: &Config, once: Option<Duration>) -> agent::Loaded {
    let batch_age = config.sinks.elasticsearch.as_ref().map_or(Duration::from_secs(1), |sink| sink.batch.age.0);
    let running = agent::Config {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        sources: config.sources.iter().map(source).collect(),
        state_dir: config.state_dir.clone(),
        listen: Some(config.listen.0),
        deadline: config.shutdown.deadline.0,
        batch_age,
        once,
        elasticsearch: rooms::elastic(config),
        siem: config.sinks.siem.iter().filter_map(|siem| receiver(config, siem)).collect(),
    };
    agent::Loaded { config: running, zones: config.zones.clone() }
}

fn source(shape: &shape::Source) -> SourceConfig {
    SourceConfig {
        path: shape.path.clone().into(),
        rotated: shape.rotated.clone(),
        start: match shape.start {
            shape::Start::Oldest => Start::Oldest,
            shape::Start::End => Start::End,
        },
        max_line: shape.max_line.bytes(),
    }
}

/// One SIEM receiver, `None` without a URL.
pub fn receiver(config: &Config, shape: &Siem) -> Option<syslog::Config> {
    let mut sink = syslog::Config::new(shape.name.clone(), target(shape.url.as_ref()?), config.node.clone());
    sink.header = match shape.header {
        shape::Header::Rfc5424 => syslog::Header::Rfc5424,
        shape::Header::Rfc3164 => syslog::Header::Rfc3164,
    };
    sink.framing = match shape.framing {
        Some(shape::Framing::Lf) => syslog::Framing::Lf,
        Some(shape::Framing::OctetCounting) | None => syslog::Framing::OctetCounting,
    };
    sink.facility = shape.facility.code();
    sink.tls = rooms::siem_tls(&shape.tls);
    sink.cef = rooms::cef(shape);
    sink.filter = rooms::filter(shape);
    sink.replay_records = shape.replay.records.into();
    sink.replay_age = shape.replay.age.0;
    sink.timeout = shape.timeout.0;
    Some(sink)
}

fn target(url: &SiemUrl) -> syslog::Target {
    let (host, port) = (url.host.clone(), url.port);
    match url.transport {
        Transport::Udp => syslog::Target::Udp { host, port },
        Transport::Tcp => syslog::Target::Tcp { host, port },
        Transport::Tls => syslog::Target::Tls { host, port },
        Transport::Unix => syslog::Target::Unix { path: url.path.clone() },
    }
}

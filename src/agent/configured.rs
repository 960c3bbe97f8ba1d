//! The whole configuration as what the agent runs.

use std::time::Duration;

use super::Loaded;
use crate::config::rooms;
use crate::config::shape::{self, Config};
use crate::source::tail::{SourceConfig, Start};

/// What [`super::Agent`] runs. `once` is the time that a peer may stay away before the agent gives up.
///
/// The rules have made sure that there is a sink and that every receiver has a URL.
pub fn configured(config: &Config, once: Option<Duration>) -> Loaded {
    let batch_age = config.sinks.elasticsearch.as_ref().map_or(Duration::from_secs(1), |sink| sink.batch.age.0);
    let running = super::Config {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        sources: config.sources.iter().map(source).collect(),
        state_dir: config.state_dir.clone(),
        listen: Some(config.listen.0),
        deadline: config.shutdown.deadline.0,
        batch_age,
        once,
        elasticsearch: rooms::elastic(config),
        spool: rooms::spool(config),
        siem: rooms::syslog(config),
        splunk: rooms::splunk(config),
    };
    Loaded { config: running, zones: config.zones.clone() }
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

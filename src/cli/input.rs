//! The flags that stand above the configuration file, shared by the verbs that load one.
//!
//! A flag, its twin in the environment and its field have one name: `--state-dir`, `TIDEGATE_STATE_DIR`, `state_dir`.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Value, json};

use crate::config::shape::{Level, LogFormat};
use crate::config::{Input, Origin, Override, Surroundings, What};

#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML); a first try needs none
    #[arg(short, long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Flow-log files to read, exactly as the glob names them; repeatable
    #[arg(long, value_name = "GLOB", env = "TIDEGATE_SOURCE", help_heading = "Above the file")]
    source: Vec<String>,

    /// Elasticsearch or OpenSearch node; repeatable
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEGATE_ELASTICSEARCH",
        value_delimiter = ',',
        help_heading = "Above the file"
    )]
    elasticsearch: Vec<String>,

    /// Namespace of the data stream logs-calico.flow-`<NAMESPACE>`
    #[arg(long, env = "TIDEGATE_NAMESPACE", help_heading = "Above the file")]
    namespace: Option<String>,

    /// File with an Elasticsearch API key in its encoded form
    #[arg(
        long,
        value_name = "FILE",
        env = "TIDEGATE_API_KEY_FILE",
        conflicts_with = "username",
        help_heading = "Above the file"
    )]
    api_key_file: Option<PathBuf>,

    /// Elasticsearch user; goes with --password-file
    #[arg(
        long,
        value_name = "NAME",
        env = "TIDEGATE_USERNAME",
        requires = "password_file",
        help_heading = "Above the file"
    )]
    username: Option<String>,

    /// File with the Elasticsearch user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "TIDEGATE_PASSWORD_FILE",
        requires = "username",
        help_heading = "Above the file"
    )]
    password_file: Option<PathBuf>,

    /// SIEM receiver; repeatable
    ///
    /// relp+tls://HOST:2514, relp://HOST:2514, tls://HOST:6514, tcp://HOST:514, udp://HOST:514, unix:///dev/log or
    /// unix-stream:///PATH, with options such as ?profile=qradar, ?format=leef&header=3164&framing=lf&name=soc&facility=local4,
    /// &verdict=deny, &flows=all, &filter=EXPRESSION and &failover=URL for each further receiver. The receivers of the file
    /// are not used then.
    #[arg(long, value_name = "URL", env = "TIDEGATE_SIEM", value_delimiter = ',', help_heading = "Above the file")]
    siem: Vec<String>,

    /// CA certificates (PEM) that every TLS peer is checked against
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CA_FILE", help_heading = "Above the file")]
    ca_file: Option<PathBuf>,

    /// Client certificate (PEM) for every TLS peer; goes with --key-file
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CERTIFICATE_FILE", help_heading = "Above the file")]
    certificate_file: Option<PathBuf>,

    /// Private key (PEM) of the client certificate
    #[arg(long, value_name = "FILE", env = "TIDEGATE_KEY_FILE", help_heading = "Above the file")]
    key_file: Option<PathBuf>,

    /// Security zones
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES", help_heading = "Above the file")]
    zones: Option<PathBuf>,

    /// Directory of checkpoints and dead letters
    #[arg(long, value_name = "DIR", env = "TIDEGATE_STATE_DIR", help_heading = "Above the file")]
    state_dir: Option<PathBuf>,

    /// Name of the cluster, a part of every event's id
    #[arg(long, value_name = "NAME", env = "TIDEGATE_CLUSTER", help_heading = "Above the file")]
    cluster: Option<String>,

    /// Name of this node, a part of every event's id [default: NODE_NAME of the environment, else the host name]
    #[arg(long, value_name = "NAME", env = "TIDEGATE_NODE", help_heading = "Above the file")]
    node: Option<String>,

    /// Address of /metrics, /livez and /readyz
    #[arg(long, value_name = "ADDRESS:PORT", env = "TIDEGATE_LISTEN", help_heading = "Above the file")]
    listen: Option<String>,

    /// Least important level that is logged
    #[arg(long, value_name = "LEVEL", env = "TIDEGATE_LOG_LEVEL", value_parser = parse_level, help_heading = "Above the file")]
    log_level: Option<Level>,

    /// Form of the log: json or text
    #[arg(long, value_name = "FORM", env = "TIDEGATE_LOG_FORMAT", value_parser = parse_log_format, help_heading = "Above the file")]
    log_format: Option<LogFormat>,
}

impl ConfigArgs {
    /// What the configuration is to be loaded from. Relative paths are meant from here.
    pub fn input(&self, matches: &ArgMatches) -> Input {
        let mut changes = Changes { matches, list: Vec::new() };
        changes.set("cluster", "cluster", self.cluster.as_ref().map(|name| json!(name)));
        changes.set("node", "node", self.node.as_ref().map(|name| json!(name)));
        changes.set(
            "source",
            "sources",
            list(&self.source, |glob| json!({ "path": absolute(Path::new(glob)), "rotated": [] })),
        );
        changes.set("zones", "zones", self.zones.as_deref().map(|path| json!(absolute(path))));
        changes.set("state_dir", "state_dir", self.state_dir.as_deref().map(|path| json!(absolute(path))));
        changes.set("listen", "listen", self.listen.as_ref().map(|address| json!(address)));
        changes.set("log_level", "log.level", self.log_level.map(|level| json!(level)));
        changes.set("log_format", "log.format", self.log_format.map(|format| json!(format)));
        changes.set("elasticsearch", "sinks.elasticsearch.hosts", list(&self.elasticsearch, |url| json!(url)));
        changes.set("namespace", "sinks.elasticsearch.namespace", self.namespace.as_ref().map(|name| json!(name)));
        let key = self.api_key_file.as_deref().map(|path| json!({ "api_key": { "file": absolute(path) } }));
        changes.set("api_key_file", "sinks.elasticsearch.auth", key);
        let basic = self.username.as_ref().zip(self.password_file.as_deref()).map(
            |(username, path)| json!({ "basic": { "username": username, "password": { "file": absolute(path) } } }),
        );
        changes.set("username", "sinks.elasticsearch.auth", basic);
        if !self.siem.is_empty() {
            changes.push("siem", What::Receivers(self.siem.clone()));
        }
        for (key, file) in
            [("ca_file", &self.ca_file), ("certificate_file", &self.certificate_file), ("key_file", &self.key_file)]
        {
            if let Some(file) = file {
                changes.push(key, What::TlsFile { key, file: absolute(file) });
            }
        }
        Input {
            file: self.config.clone(),
            overrides: changes.list,
            surroundings: Surroundings::read(),
            without_sources: false,
            without_zones: false,
        }
    }
}

/// What `input` is without sources. A verb that follows no files would ignore the flag: it says so. The variable may be
/// the agent's, in whose container the verb is run.
pub fn without_sources(mut input: Input) -> anyhow::Result<Input> {
    let flag = |change: &&Override| matches!(&change.origin, Origin::Flag(flag) if flag == "--source");
    if input.overrides.iter().any(|change| flag(&change)) {
        anyhow::bail!(
            "--source names files for `run` to follow, and this verb follows none; `backfill` takes its files without a flag"
        );
    }
    input.without_sources = true;
    Ok(input)
}

struct Changes<'a> {
    matches: &'a ArgMatches,
    list: Vec<Override>,
}

impl Changes<'_> {
    fn set(&mut self, id: &str, path: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.push(id, What::Set { path, value });
        }
    }

    fn push(&mut self, id: &str, what: What) {
        self.list.push(Override { what, origin: origin(self.matches, id) });
    }
}

/// A flag of one verb alone that stands above a key of the file.
pub fn above(matches: &ArgMatches, id: &str, path: &'static str, value: Value) -> Override {
    Override::set(path, value, origin(matches, id))
}

fn origin(matches: &ArgMatches, id: &str) -> Origin {
    match matches.value_source(id) {
        Some(ValueSource::EnvVariable) => Origin::Env(format!("TIDEGATE_{}", id.to_uppercase())),
        _ => Origin::Flag(format!("--{}", id.replace('_', "-"))),
    }
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(value).collect())
}

/// A path that does not exist yet has no canonical form, so only its beginning is made absolute.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn parse_level(text: &str) -> Result<Level, String> {
    serde_json::from_value(json!(text)).map_err(|_| "write error, warn, info, debug or trace".to_owned())
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    serde_json::from_value(json!(text)).map_err(|_| "write json or text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches, Parser};

    #[derive(Parser)]
    struct Probe {
        #[command(flatten)]
        args: ConfigArgs,
    }

    fn input(arguments: &[&str]) -> Input {
        let matches = Probe::command().try_get_matches_from(arguments).expect("flags parse");
        let mut input = Probe::from_arg_matches(&matches).expect("flags fit").args.input(&matches);
        input.surroundings = Surroundings { node_name: Some("node-a1".into()), host_name: None };
        input
    }

    #[test]
    fn a_first_try_needs_no_file() {
        let arguments = [
            "x",
            "--source",
            "/logs/*.log",
            "--elasticsearch",
            "https://es:9200",
            "--siem",
            "tls://siem?framing=lf",
            "--zones",
            "/z.yaml",
            "--state-dir",
            "/state",
            "--cluster",
            "c",
            "--ca-file",
            "/ca.pem",
            "--api-key-file",
            "/key",
        ];
        let loaded = input(&arguments).load().expect("a whole configuration");
        assert_eq!(loaded.config.sources[0].rotated, Some(vec![]), "a glob is taken exactly");
        assert_eq!(loaded.config.sinks.siem[0].name, "siem-6514");
        let ca = loaded.config.sinks.siem[0].tls.ca_file.clone();
        assert_eq!((ca, loaded.config.node.as_str()), (Some("/ca.pem".into()), "node-a1"));
        assert_eq!(loaded.origin("sinks.siem[0].url"), Origin::Flag("--siem".into()));
        assert_eq!(loaded.origin("sinks.siem[0].timeout"), Origin::Default);
        assert_eq!(loaded.origin("node"), Origin::Env("NODE_NAME".into()));
    }

    #[test]
    fn a_flag_that_would_be_ignored_is_refused() {
        let told = without_sources(input(&["x", "--source", "/l"])).unwrap_err().to_string();
        assert!(told.contains("--source") && told.contains("backfill"), "{told}");
        assert!(without_sources(input(&["x", "--elasticsearch", "https://es:9200"])).unwrap().without_sources);
    }

    #[test]
    fn problems_name_the_flag() {
        let arguments =
            ["x", "--source", "/l", "--elasticsearch", "es:9200", "--listen", "9464", "--siem", "kafka://x"];
        let told: Vec<String> =
            input(&arguments).load().expect_err("three mistakes").iter().map(ToString::to_string).collect();
        let expected = [
            "--siem: sinks.siem[0].url: the scheme kafka",
            "--listen: listen: \"9464\" has no address",
            "--elasticsearch: sinks.elasticsearch.hosts[0]: \"es:9200\" has no scheme",
            "zones: no zones are given",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for part in expected {
            assert!(told.iter().any(|line| line.starts_with(part)), "{part} in {told:#?}");
        }
    }
}

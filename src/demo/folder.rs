//! The demo's temporary folder: logs, zones, configuration, state. It is deleted at the end, unless something is wrong.

use std::fs;
use std::path::PathBuf;

use super::peers::Peers;
use super::traffic::LIVE;
use super::{DemoError, NODE, Options};

const ZONES: &str = include_str!("zones.yaml");
const CLUSTER: &str = "demo";

#[derive(Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// Leave it there.
    pub keep: bool,
}

impl Folder {
    pub(super) fn create() -> Result<Self, DemoError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("tidegate-demo-{:012x}", fastrand::u64(..1 << 48));
        let path = std::env::temp_dir().join(name);
        // Made new and for this user alone: nobody else's folder or link is taken over.
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| DemoError::Folder { path: path.clone(), source })?;
        Ok(Self { path, keep: false })
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("flowlogs")
    }

    /// Writes what the agent needs, and returns the path of its configuration.
    pub(super) fn fill(&self, options: &Options, peers: &Peers) -> Result<PathBuf, DemoError> {
        let fault = |source| DemoError::Folder { path: self.path.clone(), source };
        for folder in [self.logs(), self.path.join("state")] {
            fs::create_dir(folder).map_err(fault)?;
        }
        fs::write(self.path.join("zones.yaml"), ZONES).map_err(fault)?;
        let path = self.path.join("tidegate.yaml");
        fs::write(&path, self.configuration(options, peers)).map_err(fault)?;
        Ok(path)
    }

    /// As a user would write it.
    fn configuration(&self, options: &Options, peers: &Peers) -> String {
        let elasticsearch = match (&options.elasticsearch, &peers.bulk) {
            (Some(url), _) => format!("    hosts: [{}]\n{}{}", quoted(url), api_key(options), tls(options)),
            (None, Some(bulk)) => format!("    hosts: [{}]\n", quoted(&bulk.url())),
            (None, None) => String::new(),
        };
        let siem = match (&options.siem, &peers.syslog) {
            (Some(url), _) => format!("    url: {}\n{}", quoted(url), tls(options)),
            // A short replay window: the picture shows records settle.
            (None, Some(syslog)) => {
                format!("    url: {}\n    replay: {{records: 10000, age: 2s}}\n", quoted(&syslog.url()))
            }
            (None, None) => String::new(),
        };
        let path = |name: &str| quoted(&self.path.join(name).display().to_string());
        format!(
            "cluster: {CLUSTER}\nnode: {NODE}\nsources:\n- path: {logs}\nzones: {zones}\nsinks:\n  elasticsearch:\n\
             {elasticsearch}    batch: {{age: 500ms}}\n  siem:\n  - name: demo\n{siem}state_dir: {state}\nlisten: 127.0.0.1:0\n",
            logs = path(&format!("flowlogs/{}", LIVE)),
            zones = path("zones.yaml"),
            state = path("state"),
        )
    }
}

fn api_key(options: &Options) -> String {
    let file = options.api_key_file.as_ref();
    file.map(|file| format!("    auth: {{api_key: {{file: {}}}}}\n", quoted(&file.display().to_string())))
        .unwrap_or_default()
}

fn tls(options: &Options) -> String {
    let file = options.ca_file.as_ref();
    file.map(|file| format!("    tls: {{ca_file: {}}}\n", quoted(&file.display().to_string()))).unwrap_or_default()
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // A folder that cannot be deleted is the temporary directory's to clean.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Input};

    /// The demo's configuration, as the agent reads it.
    fn check(options: &Options, test: impl FnOnce(&Config)) {
        let peers = Peers::start(options, None).expect("receivers");
        let folder = Folder::create().expect("a folder");
        let path = folder.fill(options, &peers).expect("filled");
        let input = Input { file: Some(path), ..Input::default() };
        let loaded = input.load().unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
        assert_eq!(loaded.config.cluster, CLUSTER);
        test(&loaded.config);
    }

    #[test]
    fn configuration_is_good() {
        check(&Options::default(), |config| assert_eq!(config.sinks.siem.len(), 1));
        let options = Options {
            elasticsearch: Some("https://es.example.com:9200".into()),
            siem: Some("tls://siem.example.com:6514".into()),
            ..Options::default()
        };
        check(&options, |config| assert_eq!(config.sinks.siem[0].name, "demo"));
    }
}

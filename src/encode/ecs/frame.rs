//! What the documents of one lane have in common, as JSON made once: the place a line comes from, the host, the cluster.
//!
//! Each part is remembered with what it was made of and made again when that changes, which is when a lane goes on to
//! another file or a line names another host.

use crate::model::Origin;

use super::json::{self, key};
use super::{Config, DATASET, ECS_VERSION};

#[derive(Debug)]
pub struct Frame {
    namespace: String,
    version: &'static str,
    origin: Part,
    host: Part,
    cluster: Part,
}

/// A piece of JSON and what it was made of.
#[derive(Debug, Default)]
struct Part {
    made_of: Option<[String; 2]>,
    json: Vec<u8>,
}

impl Part {
    /// Appends the piece for `facts`, made by `make` if it was made of other facts.
    fn write(&mut self, out: &mut Vec<u8>, facts: [&str; 2], make: impl FnOnce(&mut Vec<u8>)) {
        let same = self.made_of.as_ref().is_some_and(|made_of| made_of[0] == facts[0] && made_of[1] == facts[1]);
        if !same {
            self.json.clear();
            make(&mut self.json);
            self.made_of = Some(facts.map(str::to_owned));
        }
        out.extend_from_slice(&self.json);
    }
}

impl Frame {
    pub fn new(config: &Config) -> Self {
        Self {
            namespace: config.namespace.clone(),
            version: config.version,
            origin: Part::default(),
            host: Part::default(),
            cluster: Part::default(),
        }
    }

    /// `ecs`, `data_stream`, `agent`, `log`.
    pub fn origin(&mut self, out: &mut Vec<u8>, origin: &Origin<'_>) {
        // No path of a file is empty, so an empty one can stand for none.
        let path = origin.path.unwrap_or_default();
        self.origin.write(out, [origin.node, path], |out| {
            let ecs = json::object(out, key!("ecs"));
            json::text(out, key!("version"), ECS_VERSION);
            json::close(out, ecs);
            let stream = json::object(out, key!("data_stream"));
            json::text(out, key!("type"), "logs");
            json::text(out, key!("dataset"), DATASET);
            json::text(out, key!("namespace"), &self.namespace);
            json::close(out, stream);
            let agent = json::object(out, key!("agent"));
            json::text(out, key!("type"), "tidegate");
            json::text(out, key!("version"), self.version);
            json::text(out, key!("name"), origin.node);
            json::close(out, agent);
            if !path.is_empty() {
                let log = json::object(out, key!("log"));
                let file = json::object(out, key!("file"));
                json::text(out, key!("path"), path);
                json::close(out, file);
                json::close(out, log);
            }
        });
    }

    /// `host`, and `observer` left open for its zones.
    pub fn host(&mut self, out: &mut Vec<u8>, host: &str) {
        self.host.write(out, [host, ""], |out| {
            let object = json::object(out, key!("host"));
            json::text(out, key!("name"), host);
            json::text(out, key!("hostname"), host);
            json::close(out, object);
            out.extend_from_slice(br#""observer":{"vendor":"Tigera","product":"Calico Enterprise","type":"firewall","#);
            json::text(out, key!("hostname"), host);
        });
    }

    /// `orchestrator` with its cluster, left open for what the reporting endpoint adds.
    pub fn orchestrator(&mut self, out: &mut Vec<u8>, cluster: &str) {
        self.cluster.write(out, [cluster, ""], |out| {
            out.extend_from_slice(br#""orchestrator":{"type":"kubernetes","#);
            let object = json::object(out, key!("cluster"));
            json::text(out, key!("name"), cluster);
            json::close(out, object);
        });
    }
}

//! A folder with logs, a state directory and a configuration.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::fake_bulk::{Act, Bulk};
use crate::support::{Ran, free_port, run, temp_dir, tidegate};

pub const CLUSTER: &str = "test-cluster";
pub const NODE: &str = "test-node";
/// Documents of flows to this port are refused by the peers of these tests.
pub const BAD_PORT: u16 = 6666;
pub const KIND: &str = "document_parsing_exception";

pub fn flow(n: usize, end_time: i64, port: u16) -> String {
    format!(
        r#"{{"start_time":{},"end_time":{end_time},"source_ip":"10.0.{}.{}","source_name":"web-{n}","source_name_aggr":"web-*","source_namespace":"shop","source_port":{},"source_type":"wep","dest_ip":"10.1.0.9","dest_name":"db-0","dest_name_aggr":"db-*","dest_namespace":"data","dest_port":{port},"dest_type":"wep","proto":"tcp","action":"allow","reporter":"dst","bytes_in":{n},"bytes_out":1,"packets_in":1,"packets_out":1,"num_flows":1}}"#,
        end_time - 300,
        n / 250 % 250,
        n % 250,
        30_000 + n % 30_000,
    )
}

pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { folder: temp_dir() };
        std::fs::create_dir(place.path("logs")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Appends flows `from..to`, one in `bad_every` of them to the bad port; a second of event time each.
    pub fn append(&self, file: &str, numbers: std::ops::Range<usize>, bad_every: usize) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.path(file)).unwrap();
        let port = |n: usize| if bad_every > 0 && n.is_multiple_of(bad_every) { BAD_PORT } else { 5432 };
        let text: String = numbers.map(|n| flow(n, 1_700_000_000 + n as i64, port(n)) + "\n").collect();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn compress(&self, from: &str, to: &str) {
        let bytes = std::fs::read(self.path(from)).unwrap();
        let file = std::fs::File::create(self.path(to)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
    }

    pub fn configure(&self, url: &str, change: impl FnOnce(&mut Value)) {
        let mut configuration = json!({
            "cluster": CLUSTER,
            "node": NODE,
            "sources": [{"path": self.path("logs/flows.log")}],
            "sinks": {"elasticsearch": {"hosts": [url], "batch": {"lines": 50, "age": "100ms"}}},
            "state_dir": self.path("state"),
            "listen": format!("127.0.0.1:{}", free_port()),
        });
        change(&mut configuration);
        std::fs::write(self.path("tidegate.yaml"), configuration.to_string()).unwrap();
    }

    /// The program with a verb, the configuration and more.
    pub fn command(&self, verb: &str, more: &[&str]) -> Command {
        let configuration = self.text("tidegate.yaml");
        tidegate(&[&[verb, "-c", &configuration], more].concat())
    }

    #[track_caller]
    pub fn run(&self, verb: &str, more: &[&str]) -> Ran {
        let configuration = self.text("tidegate.yaml");
        run(&[&[verb, "-c", &configuration], more].concat(), "")
    }

    /// As [`Place::run`], ending with this code and saying JSON.
    #[track_caller]
    pub fn json(&self, verb: &str, more: &[&str], code: i32) -> Value {
        let ran = self.run(verb, &[&["-o", "json"], more].concat()).expect_code(code);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// Letters of a lane by the lines in its files.
    pub fn letters(&self, lane: &str) -> Vec<Value> {
        let mut paths = Vec::new();
        if let Ok(entries) = std::fs::read_dir(self.path("state/dead-letter").join(lane)) {
            paths.extend(entries.map(|entry| entry.unwrap().path()));
        }
        paths.sort();
        let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ids that lines of a file, plain or gzip, have by the rule alone.
    pub fn ids(&self, files: &[&str]) -> BTreeSet<String> {
        use tidegate::model::{FileKey, LineId};
        let mut ids = BTreeSet::new();
        for file in files {
            let mut bytes = std::fs::read(self.path(file)).unwrap();
            if file.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            }
            let key = FileKey::new(CLUSTER, NODE, bytes.split(|byte| *byte == b'\n').next().unwrap());
            let mut offset = 0;
            for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
                let content = &line[..line.len() - 1];
                let value: Value = serde_json::from_slice(content).unwrap_or_default();
                ids.insert(LineId::new(value["end_time"].as_i64(), key, offset, content).as_str().to_owned());
                offset += line.len() as u64;
            }
        }
        ids
    }
}

/// Refuses flows to the bad port, takes the others.
pub fn picky(bulk: &Bulk) -> Act {
    refuse(bulk, KIND, |document| document.contains(&format!("\"port\":{BAD_PORT}")))
}

pub fn refuse(bulk: &Bulk, kind: &'static str, bad: impl Fn(&str) -> bool) -> Act {
    let rows = bulk.documents.iter().enumerate().filter(|(_, (_, document))| bad(document));
    Act::Items(rows.map(|(index, _)| (index, 400, kind)).collect())
}

/// The numbers of a run's summary add up.
#[track_caller]
pub fn balance(lane: &Value) {
    let number = |key: &str| lane[key].as_u64().unwrap_or_else(|| panic!("{key} in {lane}"));
    let parts = ["delivered", "filtered", "rejected", "dropped", "undecided"].map(number);
    assert_eq!(number("read"), parts.iter().sum::<u64>(), "{lane}");
}

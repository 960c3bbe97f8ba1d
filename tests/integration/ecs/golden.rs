//! Golden documents: `fixtures/flows/<case>/input.jsonl` → `expected.ecs.jsonl`, byte for byte; with zones where the case
//! has a `zones.yaml`.

use std::path::{Path, PathBuf};

use tidegate::decode::decode;
use tidegate::encode::ecs::{Config, Encoder};
use tidegate::model::{Body, Event, FileKey, LineId, Origin, RawLine};
use tidegate::zone::Table;

use super::{assert_file, in_repository};

const CLUSTER: &str = "test-cluster";
const NODE: &str = "test-node";
const PATH: &str = "/var/log/calico/flowlogs/flows.log";

pub struct Document {
    pub case: String,
    /// Line of the input, from 1.
    pub line: usize,
    pub text: String,
}

pub fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(in_repository("fixtures/flows"))
        .expect("fixtures/flows")
        .map(|entry| entry.expect("a folder").path())
        .filter(|path| path.join("input.jsonl").is_file())
        .collect();
    cases.sort();
    cases
}

/// The documents of every case as the golden files have them, and once more with a clock.
pub fn documents() -> Vec<Document> {
    const YEAR_2100: i64 = 4_102_444_800_000;
    cases().iter().flat_map(|case| [None, Some(YEAR_2100)].into_iter().flat_map(|now| encode(case, now))).collect()
}

fn zones(case: &Path) -> Option<Table> {
    let text = std::fs::read_to_string(case.join("zones.yaml")).ok()?;
    let (table, warnings) = Table::load(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(warnings.len(), 0, "{warnings:?}");
    Some(table)
}

/// What the agent would send for a case's input.
fn encode(case: &Path, read_at_ms: Option<i64>) -> Vec<Document> {
    let table = zones(case);
    let input = std::fs::read(case.join("input.jsonl")).expect("an input");
    let first_line = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let key = FileKey::new(CLUSTER, NODE, first_line);
    let mut encoder = Encoder::new(Config { version: "0.0.0", ..Config::default() });
    let mut documents = Vec::new();
    let mut offset = 0;
    for (number, line) in input.split(|&byte| byte == b'\n').enumerate() {
        let start = offset;
        offset += line.len() + 1;
        // Blank lines are not read.
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut scratch = String::new();
        let origin = |end_time| Origin {
            cluster: CLUSTER,
            node: NODE,
            path: Some(PATH),
            offset: start as u64,
            id: LineId::new(end_time, key, start as u64, line),
            read_at_ms,
        };
        let mut text = Vec::new();
        match decode(line, &mut scratch) {
            Ok(flow) => {
                let zones = table.as_ref().map(|table| table.classify(&flow));
                let event = Event { origin: origin(flow.end_time), body: Body::Flow(&flow), zones };
                encoder.encode(&event, &mut text);
            }
            Err(error) => {
                let original = String::from_utf8_lossy(line);
                let raw = RawLine { original, error_type: error.kind, error_message: error.message };
                encoder.encode(&Event { origin: origin(None), body: Body::Raw(&raw), zones: None }, &mut text);
            }
        }
        let case = case.file_name().expect("a folder's name").to_string_lossy().into_owned();
        documents.push(Document { case, line: number + 1, text: String::from_utf8(text).expect("UTF-8") });
    }
    documents
}

#[test]
fn documents_are_as_expected() {
    let cases = cases();
    assert!(cases.len() > 10, "only {} cases", cases.len());
    for case in cases {
        let documents: String = encode(&case, None).iter().map(|document| format!("{}\n", document.text)).collect();
        assert_file(&case.join("expected.ecs.jsonl"), &documents);
    }
}

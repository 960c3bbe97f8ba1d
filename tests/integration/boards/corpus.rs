//! The documents that the boards are computed over: every golden document, and two days of the demo's shop on three
//! nodes, converted by the program as a user would.
//!
//! `convert` leaves the clock out; the clock's fields are put in here as an agent would have filled them some seconds later,
//! and so is the time of lines that are no flows: that is when they were read.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tidegate::demo::traffic::Traffic;

use super::answer::Window;
use crate::support::{root, run};

/// Six hours of the first of January 2026, in which the golden documents lie, in intervals of half an hour.
pub const WINDOW: Window = Window { from: START * 1000, to: (START + HOURS * 3600) * 1000, step: 1_800_000 };
const START: i64 = 1_767_225_600;
const HOURS: i64 = 6;
const DAY: i64 = 86_400;
/// Nodes, with the lines that each has on that day.
const NODES: [(&str, usize); 3] = [("node-a1", 420), ("node-b1", 300), ("node-c1", 180)];

pub fn documents() -> &'static [Value] {
    static DOCUMENTS: OnceLock<Vec<Value>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| complete(golden(|_| true)))
}

/// For pictures: without the golden documents that are made to be odd.
pub fn presentable() -> &'static [Value] {
    const CASES: [&str; 4] = ["tcp-stats", "dest-domains", "both-halves", "not-flows"];
    static DOCUMENTS: OnceLock<Vec<Value>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| complete(golden(|case| CASES.contains(&case))))
}

fn complete(mut documents: Vec<Value>) -> Vec<Value> {
    for (seed, (node, lines)) in (1..).zip(NODES) {
        documents.extend(shop(seed, node, lines));
    }
    documents.iter_mut().enumerate().for_each(|(number, document)| arrived(number, document));
    documents
}

fn golden(wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut cases: Vec<_> = std::fs::read_dir(root().join("fixtures/flows"))
        .expect("fixtures")
        .map(|entry| entry.expect("a folder"))
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path().join("expected.ecs.jsonl"))
        .filter(|path| path.is_file())
        .collect();
    cases.sort();
    let texts = cases.iter().map(|path| std::fs::read_to_string(path).expect("a golden file"));
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>())
        .collect()
}

/// A node's log: a third of the lines the day before. The later in the window, the more often.
fn shop(seed: u64, node: &str, lines: usize) -> Vec<Value> {
    let mut traffic = Traffic::new(seed, node);
    let mut log = String::new();
    for (start, lines) in [(START - DAY, lines / 3), (START, lines)] {
        for line in 0..lines {
            let part = ((line + 1) as f64 / lines as f64).sqrt();
            let now = start + (part * (HOURS * 3600 - 60) as f64) as i64;
            log.push_str(&traffic.next(now).text);
            log.push('\n');
        }
    }
    let zones = root().join("src/demo/zones.yaml");
    let args =
        ["convert", "--to", "ecs", "--zones", zones.to_str().expect("UTF-8"), "--cluster", "shop-eu", "--node", node];
    let out = run(&args, log).expect_code(0).stdout;
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn arrived(number: usize, document: &mut Value) {
    if document["event"]["kind"] == "pipeline_error" {
        let read =
            jiff::Timestamp::from_second(START + 300 + number as i64 * 7 % (HOURS * 3600 - 600)).expect("a time");
        document["@timestamp"] = json!(read.to_string());
    }
    let Some(time) = super::answer::time(document) else { return };
    // Each node its own delay: the third is slow.
    let delay = document["host"]["name"].as_str().map_or(0, str::len) as i64 * 1000
        + i64::from(document["host"]["name"] == "node-c1") * 240_000;
    let at = jiff::Timestamp::from_millisecond(time + delay).expect("a time").to_string();
    document["event"]["created"] = json!(at);
    document["event"]["ingested"] = json!(at);
}

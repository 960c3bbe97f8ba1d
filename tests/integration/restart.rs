//! Stopped and killed at random points while the log is written and rotated: in the end the ids at the peer are those of
//! the lines on the disk, exactly.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tidegate::model::{FileKey, LineId};
use tidegate::net::product::Kind;

use crate::support::recorder::{Faults, Recorder};
use crate::support::servers::Server;
use crate::support::{Ran, Running, SOON, run, temp_dir, tidegate, wait_until};

const CLUSTER: &str = "test-cluster";
const NODE: &str = "test-node";

/// A deterministic stream of numbers, so that a failing run can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn flow(n: usize) -> String {
    format!(
        r#"{{"start_time":{},"end_time":{},"source_ip":"10.0.{}.{}","source_name":"web-{n}","source_name_aggr":"web-*","source_namespace":"shop","source_port":{},"source_type":"wep","source_labels":{{"labels":["app=web","n={n}"]}},"dest_ip":"10.1.0.9","dest_name":"db-0","dest_name_aggr":"db-*","dest_namespace":"data","dest_port":5432,"dest_type":"wep","dest_labels":null,"proto":"tcp","action":"allow","reporter":"dst","policies":{{"enforced_policies":["0|default|data/default.allow-db|allow|0"]}},"bytes_in":{n},"bytes_out":1,"packets_in":1,"packets_out":1,"num_flows":1,"num_flows_started":1,"num_flows_completed":1}}"#,
        1_700_000_000 + n / 100,
        1_700_000_300 + n / 100,
        n / 250 % 250,
        n % 250,
        30_000 + n % 30_000,
    )
}

/// Appends lines and rotates by rename, as the log's writer does.
struct Writer {
    dir: PathBuf,
    written: usize,
    rotations: usize,
}

impl Writer {
    fn write(&mut self, lines: usize) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.dir.join("flows.log")).unwrap();
        let text: String = (self.written..self.written + lines).map(|n| flow(n) + "\n").collect();
        // In two pieces that do not end with a line, as a reader may see them.
        let middle = text.len() / 2 + 3;
        file.write_all(&text.as_bytes()[..middle]).unwrap();
        file.write_all(&text.as_bytes()[middle..]).unwrap();
        self.written += lines;
    }

    fn rotate(&mut self) {
        let name = format!("flows-2026-01-02T03-04-05.{:03}.log", self.rotations);
        self.rotations += 1;
        std::fs::rename(self.dir.join("flows.log"), self.dir.join(name)).unwrap();
    }
}

/// The ids that the lines on the disk must have, by the rule alone.
pub fn expected_ids(dir: &Path) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        let first = text.split(|b| *b == b'\n').next().unwrap();
        let key = FileKey::new(CLUSTER, NODE, first);
        let mut offset = 0;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap();
            let value: serde_json::Value = serde_json::from_slice(content).unwrap();
            ids.insert(LineId::new(value["end_time"].as_i64(), key, offset, content).as_str().to_owned());
            offset += line.len() as u64;
        }
    }
    ids
}

/// Of this process, so that a server that was here before may be used again.
fn namespace() -> String {
    format!("restart_{}", std::process::id())
}

fn arguments(dir: &Path, state: &Path, url: &str) -> Vec<String> {
    let source = dir.join("flows*.log");
    [
        "run",
        "--source",
        source.to_str().unwrap(),
        "--elasticsearch",
        url,
        "--state-dir",
        state.to_str().unwrap(),
        "--cluster",
        CLUSTER,
        "--node",
        NODE,
        "--listen",
        "127.0.0.1:0",
        "--namespace",
        &namespace(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The same with a short time limit of requests: a look waits for it after a start.
fn with_short_requests(dir: &Path, state: &Path, url: &str) -> Vec<String> {
    let yaml = json!({
        "cluster": CLUSTER,
        "node": NODE,
        "sources": [{"path": dir.join("flows*.log")}],
        "sinks": {"elasticsearch": {"hosts": [url], "namespace": namespace(), "timeout": "2s"}},
        "state_dir": state,
        "listen": "127.0.0.1:0",
    });
    let file = state.with_extension("yaml");
    std::fs::write(&file, yaml.to_string()).unwrap();
    ["run", "-c", file.to_str().unwrap()].map(str::to_owned).to_vec()
}

fn once(mut arguments: Vec<String>) -> Vec<String> {
    arguments.push("--once".into());
    arguments
}

/// Delivers what is left, which on a busy machine can be nearly all.
fn finish(arguments: Vec<String>) -> Ran {
    Running::start(&mut tidegate(&once(arguments))).wait(Duration::from_secs(240)).expect_code(0)
}

/// Runs the agent over `lines` lines with rotation, ending it at seeded points by SIGKILL or SIGTERM; `between` is called
/// after each end.
fn torment(arguments: &[String], lines: usize, ends: usize, seed: u64, dir: &Path, mut between: impl FnMut(usize)) {
    let mut dice = Dice(seed);
    let mut writer = Writer { dir: dir.to_path_buf(), written: 0, rotations: 0 };
    let share = lines / ends;
    for end in 0..ends {
        let agent = Running::start(&mut tidegate(arguments));
        let mut left = share;
        while left > 0 {
            let some = usize::min(left, 50 + dice.roll(400) as usize);
            writer.write(some);
            left -= some;
            if dice.roll(6) == 0 {
                writer.rotate();
            }
        }
        std::thread::sleep(Duration::from_millis(dice.roll(300)));
        if dice.roll(3) == 0 {
            agent.terminate();
            let ran = agent.wait(SOON);
            // On a busy machine it may not have begun to listen for signals, nor said a word.
            if !ran.stderr.is_empty() {
                ran.expect_code(0);
            }
        } else {
            agent.kill();
        }
        // Sometimes the log turns while nobody looks.
        writer.write(1 + dice.roll(30) as usize);
        if dice.roll(2) == 0 {
            writer.rotate();
        }
        between(end);
    }
}

#[test]
fn killed_and_stopped_at_random_points_over_fifty_thousand_lines() {
    let (logs, state) = (temp_dir(), temp_dir());
    let peer = Recorder::start(Faults { lost_answer_every: 7, busy_items_every: 5 });
    torment(&arguments(logs.path(), state.path(), &peer.url()), 50_000, 25, 0x7469_6465, logs.path(), |_| {});
    let ran = finish(arguments(logs.path(), state.path(), &peer.url()));
    let expected = expected_ids(logs.path());
    assert!(expected.len() > 50_000);
    let found: BTreeSet<_> = peer.ids().into_iter().collect();
    let (lost, foreign) = (expected.difference(&found).count(), found.difference(&expected).count());
    assert_eq!((lost, foreign), (0, 0), "of {} lines\n{}", expected.len(), ran.stderr);
}

/// The same against real servers, whose stream rolls over between an end and the next start, and a state folder that is
/// lost now and then: what the server holds in the end is asked back, id by id.
fn killed_and_stopped_with_rollovers(kind: Kind) {
    let Some(server) = crate::elastic::real::ready(kind) else { return };
    let (logs, state) = (temp_dir(), temp_dir());
    let stream = format!("logs-calico.flow-{}", namespace());
    let state_dir = state.path().join("state");
    let arguments = with_short_requests(logs.path(), &state_dir, server.url());
    // A file of its own, so that the stream is there from the start.
    std::fs::write(logs.path().join("flows-0.log"), flow(1_000_000) + "\n").unwrap();
    finish(arguments.clone());
    torment(&arguments, 12_000, 8, 0x7265_616c, logs.path(), |end| {
        if end % 2 == 1 {
            server.ok(Method::POST, &format!("/{stream}/_rollover"), None);
        }
        if end % 4 == 3 {
            std::fs::remove_dir_all(&state_dir).unwrap();
        }
    });
    finish(arguments);
    let (expected, found) = (expected_ids(logs.path()), ids_of(server, &format!("/{stream}")));
    assert!(expected.len() > 12_000 && server.backing(&stream).len() == 5);
    let (lost, foreign) = (expected.difference(&found).count(), found.difference(&expected).count());
    assert_eq!((lost, foreign), (0, 0), "of {} lines", expected.len());
    assert_eq!(server.count(&stream) as usize, expected.len(), "no second copy");
}

#[test]
fn killed_and_stopped_with_rollovers_on_elasticsearch() {
    killed_and_stopped_with_rollovers(Kind::Elasticsearch);
}

#[test]
fn killed_and_stopped_with_rollovers_on_opensearch() {
    killed_and_stopped_with_rollovers(Kind::OpenSearch);
}

/// Every `_id` of a stream, page by page.
fn ids_of(server: &Server, stream: &str) -> BTreeSet<String> {
    server.ok(Method::POST, &format!("{stream}/_refresh"), None);
    let (mut ids, mut query) =
        (BTreeSet::new(), json!({"size": 10_000, "_source": false, "sort": [{"event.id": "asc"}]}));
    loop {
        let answer = server.ok(Method::POST, &format!("{stream}/_search"), Some(&query));
        let hits = answer["hits"]["hits"].as_array().expect("hits");
        let Some(last) = hits.last() else { return ids };
        query["search_after"] = last["sort"].clone();
        ids.extend(hits.iter().map(|hit| hit["_id"].as_str().expect("an id").to_owned()));
    }
}

#[test]
fn two_whole_runs_with_separate_state_leave_one_document_a_line() {
    let logs = temp_dir();
    let mut writer = Writer { dir: logs.path().to_path_buf(), written: 0, rotations: 0 };
    for _ in 0..3 {
        writer.write(700);
        writer.rotate();
    }
    let peer = Recorder::start(Faults::default());
    for _ in 0..2 {
        let state = temp_dir();
        run(&once(arguments(logs.path(), state.path(), &peer.url())), "").expect_code(0);
    }
    assert!(peer.ids().into_iter().collect::<BTreeSet<_>>() == expected_ids(logs.path()), "{} ids", peer.count());
    assert_eq!(peer.repeats(), 2100, "the second run offered each line once more");
}

#[test]
fn a_running_agent_follows_the_log_and_drains_on_sigterm() {
    let (logs, state) = (temp_dir(), temp_dir());
    let peer = Recorder::start(Faults::default());
    let mut writer = Writer { dir: logs.path().to_path_buf(), written: 0, rotations: 0 };
    let agent = Running::start(&mut tidegate(&arguments(logs.path(), state.path(), &peer.url())));
    writer.write(10);
    wait_until("the first lines", SOON, || peer.count() == 10);
    writer.rotate();
    writer.write(5);
    wait_until("lines after a rotation", SOON, || peer.count() == 15);
    writer.write(1);
    agent.terminate();
    agent.wait(SOON).expect_code(0);
    let ran = run(&once(arguments(logs.path(), state.path(), &peer.url())), "").expect_code(0);
    assert_eq!(peer.count(), 16);
    assert_eq!(peer.repeats(), 0, "{}", ran.stderr);
}

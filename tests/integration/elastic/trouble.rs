//! Real servers in trouble: too small for what they get, killed and restarted under load, read-only as a whole.
//!
//! One server of each kind for all of it, since it comes to harm.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate::net::product::Kind;

use super::lane::Lane;
use super::real::{install_plain, on_both};
use crate::support::cutter::Cutter;
use crate::support::servers::{self, Server};
use crate::support::{SOON, free_port, temp_dir, wait_for};

on_both!(a_server_in_trouble);

/// A write queue of one, bodies of at most a megabyte, and little memory for requests.
const SMALL: &[&str] = &[
    "-E",
    "thread_pool.write.size=1",
    "-E",
    "thread_pool.write.queue_size=1",
    "-E",
    "http.max_content_length=1mb",
    "-E",
    "indexing_pressure.memory.limit=1500kb",
];

/// What a small server on a busy machine may take.
const LONG: Duration = Duration::from_secs(120);

fn start(kind: Kind, port: u16, data: &Path) -> Option<Server> {
    let port = port.to_string();
    let mut args = vec!["--port", &port, "--data", data.to_str().expect("a path of ours")];
    args.extend(SMALL);
    servers::own(kind, &args)
}

fn a_server_in_trouble(kind: Kind) {
    let (folder, port) = (temp_dir(), free_port());
    let data = folder.path().join("data");
    let Some(server) = start(kind, port, &data) else { return };
    install_plain(&server, kind);
    // Several shards, so that one request takes more than one place in the queue.
    let template = json!({"template": {"settings": {"index.number_of_shards": 4, "index.number_of_replicas": 0}}});
    server.ok(Method::PUT, "/_component_template/logs-calico.flow@custom", Some(&template));
    full_queues(&server);
    too_large_a_body(&server);
    read_only_cluster(&server);
    from_one_host_to_the_other(&server);
    killed_under_load(kind, server, port, &data);
}

fn lane(url: &str, namespace: &str) -> Lane {
    Lane::new(url, |config, _| {
        config.ecs.namespace = namespace.to_owned();
        config.timeout = Duration::from_secs(10);
        // A server that cannot keep up is not asked a hundred times a second.
        (config.pace.retry_first, config.pace.retry_max) = (Duration::from_millis(100), Duration::from_secs(2));
    })
}

/// So many batches are delivered, however long a small and busy server takes.
fn expect(lane: &mut Lane, batches: u64) {
    for _ in 0..batches {
        let settled = wait_for("a settlement", LONG, || lane.try_settled());
        assert_eq!((settled.rejected, settled.dropped), (0, 0));
    }
}

fn document(number: u64) -> String {
    let text = "a line of a log ".repeat(40);
    format!(r#"{{"@timestamp":"2026-11-23T00:00:00Z","message":"{number} {text}"}}"#)
}

/// So many batches of so many documents.
fn load(lane: &mut Lane, batches: u64, size: u64) {
    for batch in 0..batches {
        (batch * size..(batch + 1) * size).for_each(|number| lane.add(number, &document(number)));
        lane.seal();
    }
}

/// Items are refused with 429 (queue) and requests with 429 (memory): all of it arrives, once.
fn full_queues(server: &Server) {
    let mut lanes: Vec<_> = (0..4).map(|number| lane(server.url(), &format!("full_{number}"))).collect();
    lanes.iter_mut().for_each(|lane| load(lane, 6, 200));
    lanes.iter_mut().for_each(|lane| expect(lane, 6));
    let total = |count: fn(&Lane) -> u64| lanes.iter().map(count).sum::<u64>();
    let retried = total(|lane| lane.stats.retried_documents.get());
    let uncertain = total(|lane| lane.stats.uncertain_requests.get());
    println!("full queues: {retried} documents retried, {uncertain} requests uncertain");
    assert!(retried > 0, "nothing was refused: the queue is not small enough");
    for number in 0..4 {
        assert_eq!(server.count(&format!("logs-calico.flow-full_{number}")), 1_200);
    }
}

fn too_large_a_body(server: &Server) {
    let mut lane = Lane::new(server.url(), |config, _| {
        config.ecs.namespace = "large".to_owned();
        config.batch_bytes = 4 << 20;
        config.batch_lines = 100_000;
    });
    load(&mut lane, 1, 4_000);
    expect(&mut lane, 1);
    assert!(lane.stats.split_requests.get() >= 1);
    assert_eq!(server.count("logs-calico.flow-large"), 4_000);
}

fn read_only_cluster(server: &Server) {
    let set = |value: Value| {
        server.ok(Method::PUT, "/_cluster/settings", Some(&json!({"persistent": {"cluster.blocks.read_only": value}})))
    };
    let mut lane = lane(server.url(), "large");
    set(true.into());
    (10_000..10_010).for_each(|number| lane.add(number, &document(number)));
    lane.seal();
    lane.expect_hold("blocked");
    lane.expect_nothing();
    assert!(lane.dead_letters().is_empty());
    set(Value::Null);
    expect(&mut lane, 1);
    assert_eq!(server.count("logs-calico.flow-large"), 4_010);
}

/// Two ways to the same cluster, of which one goes away in the middle, and then the other.
fn from_one_host_to_the_other(server: &Server) {
    let (one, two) = (Cutter::before(server.url()), Cutter::before(server.url()));
    let mut lane = Lane::new(&one.url, |config, _| {
        config.ecs.namespace = "hosts".to_owned();
        config.hosts.push(two.url.clone());
        config.timeout = Duration::from_secs(10);
    });
    for (round, (first, second)) in [(false, false), (true, false), (false, true)].into_iter().enumerate() {
        one.be_away(first);
        two.be_away(second);
        let start = round as u64 * 1_000;
        for batch in 0..5 {
            (start + batch * 200..start + (batch + 1) * 200).for_each(|number| lane.add(number, &document(number)));
            lane.seal();
        }
        expect(&mut lane, 5);
    }
    assert_eq!(server.count("logs-calico.flow-hosts"), 3_000);
}

/// Killed in the middle of its work, and started again on what it had written down: nothing lost, nothing doubled, with a
/// rollover on top.
fn killed_under_load(kind: Kind, server: Server, port: u16, data: &Path) {
    let stream = "logs-calico.flow-killed";
    let mut lane = lane(server.url(), "killed");
    load(&mut lane, 1, 500);
    expect(&mut lane, 1);
    load(&mut lane, 24, 500);
    expect(&mut lane, 3);
    server.kill();
    drop(server);
    lane.expect_hold("unreachable");
    let server = wait_for("a second start", SOON, || start(kind, port, data));
    expect(&mut lane, 1);
    server.call(Method::POST, &format!("/{stream}/_rollover"), None);
    expect(&mut lane, 20);
    // The batches begin with the first one's documents. A rollover in the very moment of a repeat is counted.
    assert_eq!(server.count(stream), 12_000 + lane.stats.second_copies.get());
    println!(
        "killed: {} uncertain requests, {} duplicates, {} of them found by a look, {} second copies",
        lane.stats.uncertain_requests.get(),
        lane.stats.duplicate_documents.get(),
        lane.stats.found_documents.get(),
        lane.stats.second_copies.get(),
    );
}

//! Real servers in trouble: too small for what they get, killed and restarted under load, read-only as a whole.
//!
//! One server of each kind for all of it, since it comes to harm.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate::net::product::Kind;

use super::lane::Lane;
use super::real::{install_plain, on_both};
use crate::support::cutter::Cutter;
use crate::support::servers::{self, Server};
use crate::support::{free_port, temp_dir, wait_for, wait_until};

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

/// Under such pressure Elasticsearch writes a request in pieces as it comes; OpenSearch knows nothing of the kind.
const IN_PIECES: &[&str] = &[
    "-E",
    "indexing_pressure.memory.split_bulk.watermark.low=128kb",
    "-E",
    "indexing_pressure.memory.split_bulk.watermark.low.bulk_size=64kb",
];

/// What a small server on a busy machine may take.
const LONG: Duration = Duration::from_secs(120);

fn start(kind: Kind, port: u16, data: &Path) -> Option<Server> {
    let port = port.to_string();
    let mut args = vec!["--port", &port, "--data", data.to_str().expect("a path of ours")];
    args.extend(SMALL);
    if kind == Kind::Elasticsearch {
        args.extend(IN_PIECES);
    }
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
    cut_requests(&server, kind);
    too_large_a_body(&server);
    read_only_cluster(&server);
    from_one_host_to_the_other(&server);
    let server = ended_under_load(kind, server, port, &data, Signal::TERM);
    ended_under_load(kind, server, port, &data, Signal::KILL);
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
    load_from(lane, 0, batches, size);
}

fn load_from(lane: &mut Lane, first: u64, batches: u64, size: u64) {
    for batch in first..first + batches {
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
        load_from(&mut lane, round as u64 * 5, 5, 200);
        expect(&mut lane, 5);
    }
    assert_eq!(server.count("logs-calico.flow-hosts"), 3_000);
}

/// Requests that are cut off in their middle. Elasticsearch has written a part of them, so that their documents meet
/// themselves when they are sent again; OpenSearch has not.
fn cut_requests(server: &Server, kind: Kind) {
    let cutter = Cutter::before(server.url());
    let mut lane = Lane::new(&cutter.url, |config, _| {
        config.ecs.namespace = "cut".to_owned();
        config.compression = 0;
        config.batch_lines = 1_000;
        config.timeout = Duration::from_secs(10);
    });
    load(&mut lane, 1, 100);
    expect(&mut lane, 1);
    cutter.cut_requests(3, 600_000);
    load_from(&mut lane, 1, 6, 1_000);
    expect(&mut lane, 6);
    assert_eq!(cutter.uncut_requests(), 0, "the requests are too short to be cut");
    assert_eq!(server.count("logs-calico.flow-cut"), 6_100);
    let (uncertain, met) = (lane.stats.uncertain_requests.get(), lane.stats.duplicate_documents.get());
    println!("cut requests: {uncertain} uncertain, {met} documents had been written nevertheless");
    assert!(uncertain >= 3);
    assert!(met > 0 || kind == Kind::OpenSearch, "nothing was written in pieces: what is asked here was not shown");
}

/// A server may well finish what it has before it ends, so there is always more to do. How many batches were sent in all,
/// and how many are not settled.
fn load_until_unreachable(lane: &mut Lane, mut sent: u64, mut waiting: u64) -> (u64, u64) {
    wait_until("the end of the server", LONG, || {
        if waiting < 8 {
            load_from(lane, sent, 1, 500);
            (sent, waiting) = (sent + 1, waiting + 1);
        }
        waiting -= u64::from(lane.try_settled().is_some());
        lane.is_held_by("unreachable")
    });
    (sent, waiting)
}

/// Ended in the middle of its work, and started again on what it had written down: nothing lost, nothing doubled, with a
/// rollover on top.
fn ended_under_load(kind: Kind, server: Server, port: u16, data: &Path, signal: Signal) -> Server {
    let namespace = format!("ended_{}", signal.as_raw());
    let stream = format!("logs-calico.flow-{namespace}");
    let mut lane = lane(server.url(), &namespace);
    load(&mut lane, 24, 500);
    expect(&mut lane, 3);
    server.end(signal);
    let (sent, waiting) = load_until_unreachable(&mut lane, 24, 21);
    server.gone();
    let server = start(kind, port, data).expect("what started once starts again");
    expect(&mut lane, 1);
    server.call(Method::POST, &format!("/{stream}/_rollover"), None);
    expect(&mut lane, waiting - 1);
    // A rollover in the very moment of a repeat is counted.
    assert_eq!(server.count(&stream), sent * 500 + lane.stats.second_copies.get());
    println!(
        "ended by {signal:?}: {} uncertain requests, {} duplicates, {} of them found by a look, {} second copies",
        lane.stats.uncertain_requests.get(),
        lane.stats.duplicate_documents.get(),
        lane.stats.found_documents.get(),
        lane.stats.second_copies.get(),
    );
    server
}

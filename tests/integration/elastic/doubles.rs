//! No second copy on real servers: kills and rollovers between a send and its repeat.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use tidegate::lane::{Before, Sink as _};
use tidegate::net::product::Kind;
use tidegate::sink::elastic::probe::Level;

use super::lane::Lane;
use super::real::{findings, namespace, on_both, ready, secure_lane};
use crate::support::cutter::Cutter;
use crate::support::servers::Server;
use crate::support::{SOON, wait_until};

const TIMEOUT: Duration = Duration::from_secs(2);

on_both!(
    what_was_sent_before_a_restart_and_a_rollover_stands_there_once,
    an_answer_that_was_lost_before_a_rollover_leaves_no_second_copy,
);

fn lane(url: &str, namespace: &str) -> Lane {
    Lane::new(url, |config, _| {
        config.ecs.namespace = namespace.to_owned();
        config.timeout = TIMEOUT;
    })
}

fn roll(server: &Server, stream: &str) {
    server.ok(Method::POST, &format!("/{stream}/_rollover"), None);
}

fn what_was_sent_before_a_restart_and_a_rollover_stands_there_once(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let namespace = namespace("rolled");
    let stream = format!("logs-calico.flow-{namespace}");
    let mut first = lane(server.url(), &namespace);
    first.send(0..500);
    first.expect(500, 0, 0);
    let note = first.sink.note().expect("a note").to_string();
    assert_eq!(note, server.backing(&stream)[0]);
    drop(first);

    // Without a rollover a restart looks nothing up.
    let mut again = lane(server.url(), &namespace);
    again.recall(&note);
    again.send_again(400..600, Before::SinceCheckpoint);
    again.expect(200, 0, 0);
    assert_eq!((again.stats.created_documents.get(), again.stats.duplicate_documents.get()), (100, 100));
    drop(again);

    roll(server, &stream);
    let mut rolled = lane(server.url(), &namespace);
    rolled.recall(&note);
    rolled.send_again(0..800, Before::SinceCheckpoint);
    rolled.expect(800, 0, 0);
    assert_eq!((rolled.stats.found_documents.get(), rolled.stats.created_documents.get()), (600, 200));
    assert_eq!(server.count(&stream), 800);
    drop(rolled);

    // A lost checkpoint over three backing indices.
    roll(server, &stream);
    let mut lost = lane(server.url(), &namespace);
    for start in [0, 500] {
        lost.send_again(start..start + 500, Before::Unknown);
        lost.expect(500, 0, 0);
    }
    assert_eq!((lost.stats.found_documents.get(), lost.stats.created_documents.get()), (800, 200));
    assert_eq!((server.count(&stream), server.backing(&stream).len()), (1_000, 3));
    drop(lost);

    if kind == Kind::Elasticsearch {
        // The next write rolls the stream over, and nothing shows it.
        server.ok(Method::POST, &format!("/{stream}/_rollover?lazy=true"), None);
        let mut lazy = lane(server.url(), &namespace);
        lazy.recall(&server.backing(&stream)[2]);
        lazy.send_again(800..1_200, Before::SinceCheckpoint);
        lazy.expect(400, 0, 0);
        assert_eq!((server.count(&stream), server.backing(&stream).len()), (1_200, 4));
        assert_eq!(lazy.stats.second_copies.get(), 0);
    }
}

fn an_answer_that_was_lost_before_a_rollover_leaves_no_second_copy(kind: Kind) {
    let Some(server) = ready(kind) else { return };
    let cutter = Cutter::before(server.url());
    let namespace = namespace("cut");
    let stream = format!("logs-calico.flow-{namespace}");
    let mut lane = Lane::new(&cutter.url, |config, _| {
        config.ecs.namespace = namespace.clone();
        config.timeout = TIMEOUT;
        // So that the rollover comes between the lost answer and the repeat.
        config.pace.retry_first = Duration::from_secs(8);
        config.pace.retry_max = Duration::from_secs(8);
    });
    lane.send(0..100);
    lane.expect(100, 0, 0);
    cutter.lose_answers(1);
    lane.send(100..700);
    wait_until("a lost answer", SOON, || cutter.lost_answers() == 1);
    roll(server, &stream);
    lane.expect(600, 0, 0);
    assert_eq!(lane.stats.found_documents.get(), 600);
    assert_eq!((server.count(&stream), server.backing(&stream).len()), (700, 2));
}

/// A shipper without and one with the rights that deploy/docs/elasticsearch.md names, on a secure server with our
/// templates.
pub fn with_and_without_the_right_to_look(server: &Server, folder: &Path) {
    for (user, copies) in [("shipper", 10), ("looker", 0)] {
        let namespace = format!("rights_{user}");
        let stream = format!("logs-calico.flow-{namespace}");
        let auth = || server.basic(folder, user);
        let mut first = secure_lane(server, &namespace, auth());
        first.send(0..10);
        first.expect(10, 0, 0);
        let note = first.sink.note().expect("a note").to_string();
        roll(server, &stream);
        let mut again = Lane::new(server.url(), |config, _| {
            config.ecs.namespace = namespace.clone();
            (config.tls, config.auth, config.timeout) = (server.tls(), auth(), TIMEOUT);
        });
        again.recall(&note);
        again.send_again(0..10, Before::SinceCheckpoint);
        again.expect(10, 0, 0);
        assert_eq!((server.count(&stream), again.stats.possible_repeats.get()), (10 + copies, copies), "{user}");
        let found = findings(server, |config| {
            config.ecs.namespace = namespace.clone();
            config.auth = auth();
        });
        let last = found.last().expect("a finding");
        let (level, words) =
            if copies > 0 { (Level::Note, "ids cannot be looked up") } else { (Level::Good, "ids can be looked up") };
        assert!(last.level == level && last.text.contains(words), "{user}: {found:?}");
    }
}

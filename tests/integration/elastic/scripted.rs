//! Against the scripted peer.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tidegate::net::auth::Auth;
use tidegate::sink::dead_letter::{Lock, WhenFull};
use tidegate::sink::elastic::stats::Class;
use tidegate::unit::SecretRef;

use tidegate::sink::elastic::Config;
use tidegate::sink::elastic::probe::probe;

use super::lane::{Lane, document, id, nowhere};
use crate::support::fake_bulk::{Act, Bulk, FakeBulk};
use crate::support::{SOON, free_port, wait_until};

/// Answers in this order, then takes everything.
fn in_order(acts: impl IntoIterator<Item = Act>) -> impl FnMut(&Bulk) -> Act + Send {
    let mut acts: std::collections::VecDeque<Act> = acts.into_iter().collect();
    move |_| acts.pop_front().unwrap_or(Act::Take)
}

fn plain(_: &mut Config, _: &std::path::Path) {}

fn one(config: &mut Config, _: &std::path::Path) {
    config.requests = 1;
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| id(number).as_str().to_owned()).collect()
}

fn sent(bulk: &Bulk) -> Vec<String> {
    bulk.documents.iter().map(|(id, _)| id.clone()).collect()
}

fn error(kind: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","reason":"scripted"}},"status":400}}"#)
}

#[test]
fn what_is_sent_is_what_the_endpoint_wants() {
    let fake = FakeBulk::start(|_| Act::Take);
    let url = format!("{}/some/prefix/", fake.url);
    let mut lane = Lane::new(&url, plain);
    lane.send(0..3);
    lane.expect(3, 0, 0);
    let bulk = &fake.seen()[0];
    assert!(bulk.path.starts_with("/some/prefix/logs-calico.flow-default/_bulk?filter_path=errors,items.*.status"));
    assert!(bulk.path.contains("&require_data_stream=true&include_source_on_error=false"), "{}", bulk.path);
    assert_eq!(bulk.headers["content-type"], "application/x-ndjson");
    assert_eq!(bulk.headers["content-encoding"], "gzip");
    assert_eq!(sent(bulk), ids(0..3));
    assert_eq!(bulk.documents[2].1, document(2));
    assert_eq!((lane.stats.requests.get(), lane.stats.created_documents.get()), (1, 3));
    assert!(lane.stats.sent_bytes.get() > 0);
    lane.finish();
}

#[test]
fn a_key_that_may_not_ask_still_ships_and_plain_bodies_are_plain() {
    let fake = FakeBulk::start_as("", |_| Act::Take);
    let mut lane = Lane::new(&fake.url, |config, _| config.compression = 0);
    lane.send(0..2);
    lane.expect(2, 0, 0);
    let bulk = &fake.seen()[0];
    assert!(!bulk.path.contains("require_data_stream"), "{}", bulk.path);
    assert!(!bulk.headers.contains_key("content-encoding"));
}

#[test]
fn only_the_items_that_need_it_are_sent_again() {
    let busy = "es_rejected_execution_exception";
    let fake = FakeBulk::start(in_order([
        Act::Items(vec![(1, 429, busy), (3, 503, "x"), (4, 400, "document_parsing_exception")]),
        Act::Items(vec![(1, 429, busy)]),
    ]));
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..5);
    lane.expect(4, 1, 0);
    let seen: Vec<_> = fake.seen().iter().map(sent).collect();
    assert_eq!(seen, [ids(0..5), ids([1, 3]), ids([3])]);
    assert_eq!(fake.taken().len(), 4);
    assert_eq!(lane.stats.retried_documents.get(), 3);
    assert_eq!(lane.stats.rejected(Class::Mapping).get(), 1);
    let letters = lane.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["id"], &letters[0]["reason"]), (&ids([4])[0].clone().into(), &"scripted".into()));
    assert_eq!(
        letters[0]["document"].to_string(),
        serde_json::from_str::<serde_json::Value>(&document(4)).unwrap().to_string()
    );
}

#[test]
fn retry_after_is_honoured() {
    let wish = vec![("retry-after", "1".to_owned())];
    let fake = FakeBulk::start(in_order([Act::Answer(429, wish, String::new())]));
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..2);
    lane.expect(2, 0, 0);
    let seen = fake.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
    assert_eq!(lane.stats.request_limit(), 1, "429 halves what may run at a time");
}

const TRICKLE: Duration = Duration::from_millis(100);

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n").as_bytes(), body].concat()
}

fn raw(headers: &str, body: &[u8]) -> Act {
    Act::Raw(answer(headers, body), Duration::ZERO)
}

/// So many blanks as gzip.
fn bomb(blanks: usize) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &vec![b' '; blanks]).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn uncertain_requests_are_repeated_under_the_same_ids() {
    let html = "<html>hello</html>".to_owned();
    let too_few = r#"{"errors":false,"items":[]}"#.to_owned();
    let rows = [
        ("reset in the middle of the answer", Act::CutAnswer, 3),
        ("closed without an answer", Act::Close, 0),
        ("a page with 200", Act::TakeAndAnswer(200, html), 3),
        ("a wrong item count", Act::TakeAndAnswer(200, too_few), 3),
        ("an answer that never ends", Act::TakeAndAnswer(200, " ".repeat(5 << 20)), 3),
        ("502 after all was taken", Act::TakeAndAnswer(502, String::new()), 3),
        ("429 after all was taken", Act::TakeAndAnswer(429, String::new()), 3),
        ("an answer that comes too late", Act::Slow(Duration::from_millis(900)), 3),
        ("closed after the headers", raw("content-length: 9\r\n", b""), 3),
        ("a body that trickles in", Act::Raw(answer("content-length: 9999999\r\n", &[b' '; 1 << 20]), TRICKLE), 3),
        ("a hundred megabytes", raw("content-length: 100000000\r\n", &vec![b'['; 100_000_000]), 3),
        ("gzip that nobody asked for, cut", raw("content-encoding: gzip\r\ncontent-length: 20\r\n", &bomb(9)[..20]), 3),
        ("a gzip bomb", raw("content-encoding: gzip\r\n", &bomb(50 << 20)), 3),
    ];
    for (what, act, duplicates) in rows {
        let fake = FakeBulk::start(in_order([act]));
        let mut lane = Lane::new(&fake.url, |config, _| config.timeout = Duration::from_millis(500));
        lane.send(0..3);
        lane.expect(3, 0, 0);
        assert_eq!(fake.taken().len(), 3, "{what}");
        assert_eq!(lane.stats.duplicate_documents.get(), duplicates, "{what}");
        assert_eq!(lane.stats.uncertain_requests.get(), 1, "{what}");
    }
}

#[test]
fn a_batch_that_stays_uncertain_is_halved_after_three_tries() {
    let fake = FakeBulk::start(|bulk| match bulk.documents.len() {
        0..=2 => Act::Take,
        _ => Act::TakeAndAnswer(200, "<html>".to_owned()),
    });
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..4);
    lane.expect(4, 0, 0);
    let sizes: Vec<_> = fake.seen().iter().map(|bulk| bulk.documents.len()).collect();
    assert_eq!(sizes, [4, 4, 4, 2, 2]);
}

#[test]
fn one_poisonous_document_is_found_and_put_away() {
    let poison = id(5).as_str().to_owned();
    let fake = FakeBulk::start(move |bulk| {
        let poisoned = bulk.documents.iter().any(|(id, _)| *id == poison);
        if poisoned { Act::Answer(400, vec![], error("parse_exception")) } else { Act::Take }
    });
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..9);
    lane.expect(8, 1, 0);
    let letters = lane.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["id"], id(5).as_str());
    assert_eq!((&letters[0]["status"], &letters[0]["type"]), (&400.into(), &"parse_exception".into()));
}

#[test]
fn too_large_requests_are_split_and_the_limit_is_learned() {
    let fake = FakeBulk::start(|bulk| {
        let bytes: usize = bulk.documents.iter().map(|(_, document)| document.len()).sum();
        if bytes > 50_000 { Act::Answer(413, vec![], String::new()) } else { Act::Take }
    });
    let mut lane = Lane::new(&fake.url, plain);
    let large = |bytes: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(bytes));
    (0..100).for_each(|number| lane.add(number, &large(1_500)));
    lane.add(100, &large(60_000));
    lane.seal();
    lane.expect(100, 1, 0);
    assert_eq!(lane.dead_letters()[0]["type"], "content_too_long");
    assert!(lane.stats.split_requests.get() > 0);
    assert_eq!(fake.taken().len(), 100);
    // The next batch is full before it becomes too large.
    let mut number = 200;
    while !lane.sink_is_full() {
        lane.add(number, &large(1_500));
        number += 1;
    }
    assert!((number - 200) * 1_500 < 50_000, "{number}");
    lane.seal();
    lane.expect(number - 200, 0, 0);
}

#[test]
fn documents_in_the_failure_store_are_delivered_and_counted_apart() {
    let fake = FakeBulk::start(in_order([Act::FailureStore]));
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..3);
    lane.expect(3, 0, 0);
    assert_eq!((lane.stats.redirected_documents.get(), lane.stats.created_documents.get()), (3, 0));
}

#[test]
fn a_plain_index_is_no_delivery() {
    let into =
        |index: &str| format!(r#"{{"errors":false,"items":[{{"create":{{"_index":"{index}","status":201}}}}]}}"#);
    let wrong = into("logs-calico.flow-default");
    let mended = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&mended);
    let fake = FakeBulk::start(move |_| match seen.load(Ordering::SeqCst) {
        0 => Act::Answer(200, vec![], wrong.clone()),
        _ => Act::Take,
    });
    let mut lane = Lane::new(&fake.url, plain);
    lane.send([1]);
    lane.expect_hold("no_template");
    lane.expect_nothing();
    mended.store(1, Ordering::SeqCst);
    lane.expect(1, 0, 0);
    assert_eq!(lane.stats.held(), None);
}

#[test]
fn a_lone_illegal_argument_waits_for_others_to_tell_whose_fault_it_is() {
    let suspect = id(1).as_str().to_owned();
    let fake = FakeBulk::start(move |bulk| {
        let rows = bulk.documents.iter().enumerate().filter(|(_, (id, _))| *id == suspect);
        Act::Items(rows.map(|(index, _)| (index, 400, "illegal_argument_exception")).collect())
    });
    // One request at a time: the waiting batch must let the others pass.
    let mut lane = Lane::new(&fake.url, one);
    let first = lane.send([1]);
    lane.expect_hold("misconfigured");
    lane.expect_nothing();
    let second = lane.send([2]);
    let (a, b) = (lane.settled(), lane.settled());
    assert_eq!((a.ticket, a.delivered, a.rejected), (second, 1, 0));
    assert_eq!((b.ticket, b.delivered, b.rejected), (first, 0, 1));
    assert_eq!(lane.dead_letters().len(), 1);
}

#[test]
fn a_whole_requests_illegal_arguments_are_held() {
    let fake = FakeBulk::start(|bulk| {
        Act::Items((0..bulk.documents.len()).map(|index| (index, 400, "illegal_argument_exception")).collect())
    });
    let mut lane = Lane::new(&fake.url, plain);
    lane.send(0..3);
    lane.expect_hold("misconfigured");
    lane.expect_nothing();
    assert!(lane.dead_letters().is_empty());
}

/// Refuses requests with one of these documents as a whole, in words that may mean the set-up.
fn refuses(numbers: impl IntoIterator<Item = u64>) -> impl FnMut(&Bulk) -> Act + Send {
    let bad = ids(numbers);
    move |bulk| match bulk.documents.iter().any(|(id, _)| bad.contains(id)) {
        true => Act::Answer(400, vec![], error("illegal_argument_exception")),
        false => Act::Take,
    }
}

#[test]
fn neighbours_in_its_own_batch_tell_that_a_document_is_at_fault() {
    // Nothing else comes, as at the end of `--once`; wherever it stands, the others are tried first.
    for bad in 0..4 {
        let fake = FakeBulk::start(refuses([bad]));
        let mut lane = Lane::new(&fake.url, one);
        lane.send(0..4);
        lane.expect(3, 1, 0);
        assert_eq!(lane.dead_letters()[0]["id"], id(bad).as_str());
    }
}

#[test]
fn documents_that_are_all_refused_alike_are_at_fault_when_others_are_taken() {
    let bad = ids(0..3);
    let fake = FakeBulk::start(move |bulk| {
        let rows = bulk.documents.iter().enumerate().filter(|(_, (id, _))| bad.contains(id));
        Act::Items(rows.map(|(index, _)| (index, 400, "illegal_argument_exception")).collect())
    });
    let mut lane = Lane::new(&fake.url, one);
    lane.send(0..2);
    lane.send([2]);
    lane.expect_hold("misconfigured");
    lane.expect_nothing();
    let good = lane.send([3]);
    let first = lane.settled();
    assert_eq!((first.ticket, first.delivered), (good, 1), "the only permit was given away");
    let rejected = lane.settled().rejected + lane.settled().rejected;
    assert_eq!((rejected, lane.dead_letters().len()), (3, 3));
}

#[test]
fn neighbours_of_a_poisonous_document_do_not_wait_ever_longer() {
    let fake = FakeBulk::start(refuses([0]));
    let second = Duration::from_secs(1);
    // Three tries a halving, eight halvings: without a new beginning at each the last waits would take `retry_max`.
    let mut lane = Lane::new(&fake.url, |config, _| {
        (config.pace.retry_first, config.pace.retry_max) = (Duration::from_millis(4), 20 * second);
    });
    let begun = std::time::Instant::now();
    lane.send(0..256);
    lane.expect(255, 1, 0);
    assert!(begun.elapsed() < 10 * second, "{:?}", begun.elapsed());
}

#[test]
fn other_hosts_take_over_from_one_that_is_down() {
    let down = free_port();
    let gateway = FakeBulk::start(|_| Act::Answer(503, vec![], "<html>".into()));
    let (one, two) = (FakeBulk::start(|_| Act::Take), FakeBulk::start(|_| Act::Take));
    let mut lane = Lane::new(&one.url, |config, _| {
        config.hosts.extend([format!("http://127.0.0.1:{down}"), gateway.url.clone(), two.url.clone()]);
    });
    for number in 0..20 {
        lane.send([number]);
        lane.expect(1, 0, 0);
    }
    assert_eq!(one.taken().len() + two.taken().len(), 20);
    // Questions after the gateway's refusals take their turn as well.
    assert!([&one, &two].iter().all(|host| !host.taken().is_empty() || !host.asked().is_empty()), "in turn");
    assert_eq!(lane.stats.held(), None);
}

#[test]
fn nobody_there_is_held_and_told_until_somebody_comes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut lane = Lane::new(&url, plain);
    // What `check --connect` says.
    let mut config = Config::new(vec![url.clone()], nowhere());
    config.connect_timeout = Duration::from_secs(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(probe(&config)).unwrap();
    assert!(found[0].text.starts_with(&format!("{url}: cannot connect: ")), "{}", found[0].text);

    lane.send(0..2);
    lane.expect_hold("unreachable");
    lane.expect_nothing();
    assert_eq!(lane.stats.requests.get(), 0, "nothing went out, so nothing is uncertain");
    // A lane that goes away leaves no task behind that would still send.
    drop(lane);
}

#[test]
fn a_refused_secret_is_read_again() {
    let fake = FakeBulk::start(|bulk| match bulk.headers.get("authorization").map(String::as_str) {
        Some("ApiKey new") => Act::Take,
        _ => Act::Answer(401, vec![], "Unauthorized".into()),
    });
    let mut lane = Lane::new(&fake.url, |config, folder| {
        let file = folder.join("key");
        std::fs::write(&file, "old\n").unwrap();
        config.auth = Auth::ApiKey(SecretRef::File(file));
    });
    lane.send(0..2);
    lane.expect_hold("unauthorized");
    lane.expect_nothing();
    std::fs::write(lane.folder.path().join("key"), "new\n").unwrap();
    lane.expect(2, 0, 0);
    assert_eq!(lane.stats.held(), None);
}

#[test]
fn an_unreadable_secret_is_held() {
    let fake = FakeBulk::start(|_| Act::Take);
    let mut lane = Lane::new(&fake.url, |config, folder| {
        config.auth = Auth::Bearer(SecretRef::File(folder.join("token")));
    });
    lane.send([1]);
    lane.expect_hold("no_secret");
    std::fs::write(lane.folder.path().join("token"), "t").unwrap();
    lane.expect(1, 0, 0);
    assert_eq!(fake.seen()[0].headers["authorization"], "Bearer t");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = FakeBulk::start(|_| Act::Take);
    let location = vec![("location", elsewhere.url.clone())];
    let fake = FakeBulk::start(move |_| Act::Answer(307, location.clone(), String::new()));
    let mut lane = Lane::new(&fake.url, plain);
    lane.send([1]);
    lane.expect_hold("wrong_peer");
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn a_full_dead_letter_holds_until_there_is_room() {
    let fake = FakeBulk::start(|bulk| {
        Act::Items((1..bulk.documents.len()).map(|index| (index, 400, "mapper_parsing_exception")).collect())
    });
    let mut lane = Lane::new(&fake.url, |config, _| config.dead_letter.max_size = 1_000);
    let mut settled = 0;
    while settled < 100 {
        lane.send([settled * 2, settled * 2 + 1]);
        wait_until("a settlement or a hold", SOON, || {
            lane.stats.held().is_some() || lane.stats.created_documents.get() > settled
        });
        if lane.stats.held().is_some() || lane.try_settled().is_none() {
            break;
        }
        settled += 1;
    }
    lane.expect_hold("dead_letter");
    lane.expect_nothing();
    let kept = lane.dead_letters().len() as u64;
    assert!((1..100).contains(&kept) && kept == settled, "{kept} {settled}");
    for file in lane.dead_letter_files() {
        std::fs::remove_file(file).unwrap();
    }
    lane.expect(1, 1, 0);
    assert_eq!(lane.dead_letters().len(), 1);
}

#[test]
fn a_batch_that_is_larger_than_the_dead_letter_goes_there_in_pieces() {
    let fake = FakeBulk::start(|bulk| {
        Act::Items((0..bulk.documents.len()).map(|index| (index, 400, "mapper_parsing_exception")).collect())
    });
    let mut lane = Lane::new(&fake.url, |config, _| config.dead_letter.max_size = 2_000);
    let mut ids = HashSet::new();
    lane.send(0..9);
    let settled = loop {
        // Somebody makes room, again and again.
        let dir = lane.folder.path().join("dead-letter/elasticsearch");
        let lock = dir.exists().then(|| Lock::take(&dir).unwrap());
        ids.extend(lane.dead_letters().iter().map(|letter| letter["id"].to_string()));
        lane.dead_letter_files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
        drop(lock);
        if let Some(settled) = lane.try_settled() {
            break settled;
        }
    };
    ids.extend(lane.dead_letters().iter().map(|letter| letter["id"].to_string()));
    assert_eq!((settled.delivered, settled.rejected, ids.len()), (0, 9, 9));
}

#[test]
fn drop_oldest_goes_on_and_says_what_it_cost() {
    let fake = FakeBulk::start(|bulk| {
        Act::Items((1..bulk.documents.len()).map(|index| (index, 400, "mapper_parsing_exception")).collect())
    });
    let mut lane = Lane::new(&fake.url, |config, _| {
        config.dead_letter.max_size = 1_000;
        config.dead_letter.when_full = WhenFull::DropOldest;
    });
    for number in 0..20 {
        lane.send([number * 2, number * 2 + 1]);
        lane.expect(1, 1, 0);
    }
    assert!(lane.stats.dead_letter_evicted_bytes.get() > 0);
    lane.add(100, &document(100));
    lane.add(101, &format!("{{\"x\":\"{}\"}}", "y".repeat(2_000)));
    lane.seal();
    lane.expect(1, 0, 1);
}

#[test]
fn so_many_requests_run_at_a_time_and_no_more() {
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&running);
    // The script runs one request at a time, so it counts those that wait for their slow answers.
    let fake = FakeBulk::start(move |_| {
        let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
        counts.1.fetch_max(now, Ordering::SeqCst);
        let counts = Arc::clone(&counts);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            counts.0.fetch_sub(1, Ordering::SeqCst);
        });
        Act::Slow(Duration::from_millis(400))
    });
    let mut lane = Lane::new(&fake.url, |config, _| config.requests = 2);
    for number in 0..8 {
        lane.send([number]);
    }
    (0..8).for_each(|_| lane.expect(1, 0, 0));
    assert_eq!(running.1.load(Ordering::SeqCst), 2);
    lane.finish();
}

#[test]
fn finishing_settles_what_was_sealed_first() {
    let fake = FakeBulk::start(in_order([Act::Close, Act::Answer(429, vec![], String::new())]));
    let mut lane = Lane::new(&fake.url, |config, _| {
        // Waits of a minute: stopping cuts them short.
        config.pace = tidegate::sink::elastic::Pace::default();
    });
    lane.send(0..3);
    lane.send(3..5);
    tidegate::lane::Sink::finish(&mut lane.sink);
    let (a, b) = (lane.settled(), lane.settled());
    assert_eq!(a.delivered + b.delivered, 5);
    lane.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a peer does for a while, in the end each line is settled once, and what was refused is put away.
    #[test]
    fn no_line_is_lost_or_settled_twice(
        acts in prop::collection::vec(0u8..10, 0..30),
        sizes in prop::collection::vec(1u64..12, 1..8),
    ) {
        let act = |number: &u8| match number {
            0 => Act::Close,
            1 => Act::CutAnswer,
            2 => Act::Answer(429, vec![], String::new()),
            3 => Act::TakeAndAnswer(503, "<html>".into()),
            4 => Act::Answer(413, vec![], String::new()),
            5 => Act::Items(vec![(0, 429, "es_rejected_execution_exception"), (2, 500, "x")]),
            6 => Act::Items(vec![(1, 403, "cluster_block_exception")]),
            7 => Act::TakeAndAnswer(200, r#"{"items":[]}"#.into()),
            8 => Act::Answer(401, vec![], String::new()),
            _ => Act::Items(vec![(1, 400, "document_parsing_exception")]),
        };
        let fake = FakeBulk::start(in_order(acts.iter().map(act).collect::<Vec<_>>()));
        let mut lane = Lane::new(&fake.url, plain);
        let mut expected = HashSet::new();
        let mut tickets = HashSet::new();
        let mut next = 0;
        for size in &sizes {
            expected.extend(ids(next..next + size));
            tickets.insert(lane.send(next..next + size));
            next += size;
        }
        let (mut delivered, mut rejected) = (0, 0);
        for size in 0..sizes.len() {
            let settled = lane.settled();
            prop_assert!(tickets.remove(&settled.ticket), "{} settled twice", size);
            prop_assert_eq!(settled.delivered + settled.rejected, sizes[settled.ticket.0 as usize - 1]);
            prop_assert_eq!(settled.dropped, 0);
            delivered += settled.delivered;
            rejected += settled.rejected;
        }
        let letters: HashSet<String> =
            lane.dead_letters().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
        prop_assert_eq!(letters.len() as u64, rejected);
        prop_assert!(delivered <= fake.taken().len() as u64);
        let everywhere: HashSet<String> = fake.taken().union(&letters).cloned().collect();
        prop_assert_eq!(everywhere, expected);
        lane.finish();
    }
}

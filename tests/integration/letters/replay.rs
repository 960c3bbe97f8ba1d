//! Dead letters and their replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::place::{KIND, Place, picky, refuse};
use crate::support::fake_bulk::{Act, Bulk, FakeBulk};
use crate::support::{Running, SOON, temp_dir, wait_until};

/// A peer that refuses by what its `mood` says, and a place whose 200 lines it has seen: 20 are dead letters.
fn refused_twenty() -> (Place, FakeBulk, Arc<AtomicUsize>) {
    refused(20)
}

fn refused(letters: usize) -> (Place, FakeBulk, Arc<AtomicUsize>) {
    let mood = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&mood);
    let fake = FakeBulk::start(move |bulk| match now.load(Ordering::Relaxed) {
        0 => picky(bulk),
        1 => Act::Take,
        2 => Act::Close,
        3 => Act::Slow(Duration::from_millis(300)),
        // Another reason, for every second one.
        _ => refuse(bulk, "strict_dynamic_mapping_exception", odd),
    });
    let place = Place::new();
    place.configure(&fake.url, |_| {});
    place.append("logs/flows.log", 0..letters * 10, 10);
    place.run("run", &["--once"]).expect_code(4);
    assert_eq!(place.letters("elasticsearch").len(), letters);
    (place, fake, mood)
}

/// Of its flow's number, by tens.
fn odd(document: &str) -> bool {
    let document: Value = serde_json::from_str(document).unwrap();
    (document["source"]["port"].as_u64().unwrap() - 30_000) / 10 % 2 == 1
}

fn ids(letters: &[Value]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

/// The documents that a request brought, by id.
fn documents(seen: &[Bulk]) -> BTreeMap<String, String> {
    seen.iter().flat_map(|bulk| bulk.documents.clone()).collect()
}

#[test]
fn the_dead_letter_is_shown_by_reason_and_letter_by_letter() {
    let (place, ..) = refused_twenty();
    let summary = place.json("dead-letter", &[], 0);
    let lane = &summary["lanes"][0];
    assert_eq!((&lane["lane"], &lane["letters"], &lane["repeats"]), (&json!("elasticsearch"), &json!(20), &json!(0)));
    let reason = &lane["reasons"][0];
    assert_eq!((&reason["type"], &reason["status"], &reason["count"]), (&json!(KIND), &json!(400), &json!(20)));
    assert!(reason["first"].as_str() <= reason["last"].as_str() && reason["reason"] == "scripted", "{reason}");

    let text = place.run("dead-letter", &[]).expect_code(0).stdout;
    assert!(text.starts_with("elasticsearch: 20 letters in 1 files, "), "{text}");
    assert!(text.contains(&format!("\n        20  400 {KIND}, 20")), "{text}");

    let shown = place.run("dead-letter", &["--show", "3", "-o", "json"]).expect_code(0).stdout;
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let letters = place.letters("elasticsearch");
    assert_eq!(shown, letters[17..]);
    let origin =
        json!({"cluster": "test-cluster", "node": "test-node", "path": place.path("logs/flows.log"), "offset": 0});
    assert_eq!(letters[0]["origin"], origin);
    let id = letters[5]["id"].as_str().unwrap();
    let one = place.run("dead-letter", &["--id", id]).expect_code(0).stdout;
    assert!(one.contains(&format!("  id: {id}\n")) && one.contains("node test-node"), "{one}");
    assert_eq!(place.json("dead-letter", &["--reason", "other"], 0)["lanes"][0]["letters"], 0);

    // Half a line at the end, as a crash leaves it, is skipped and told; by the state directory alone it is found too.
    let file = place.path("state/dead-letter/elasticsearch/00000001.ndjson");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 30]).unwrap();
    let state = place.text("state");
    let ran = crate::support::run(&["dead-letter", "--state-dir", &state], "").expect_code(0);
    assert!(ran.stdout.contains("19 letters") && ran.stderr.contains("1 half lines"), "{ran:?}");
    let nothing = temp_dir();
    let ran = crate::support::run(&["dead-letter", "--state-dir", nothing.path().to_str().unwrap()], "").expect_code(0);
    assert!(ran.stdout.starts_with("no dead letters in "), "{ran:?}");
    let ran = crate::support::run(&["dead-letter", "--state-dir", &state, "--lane", "siem-soc"], "").expect_code(0);
    assert!(ran.stderr.contains("over syslog nothing is refused"), "{ran:?}");
}

#[test]
fn what_is_mended_is_delivered_as_it_was_and_leaves() {
    let (place, fake, mood) = refused_twenty();
    let letters = place.letters("elasticsearch");
    let before = fake.seen().len();
    let refused = documents(&fake.seen());

    let dry = place.json("replay", &["--dry-run"], 0);
    assert_eq!((&dry["letters"], &dry["left"], &dry["delivered"]), (&json!(20), &json!(20), &json!(0)));
    assert_eq!(fake.seen().len(), before, "nothing was sent");

    mood.store(1, Ordering::Relaxed);
    let done = place.json("replay", &["--progress", "json"], 0);
    assert_eq!(
        (&done["delivered"], &done["refused"], &done["left"], &done["end"]),
        (&json!(20), &json!(0), &json!(0), &json!("done"))
    );
    let sent = documents(&fake.seen()[before..]);
    assert_eq!(sent.keys().cloned().collect::<BTreeSet<_>>(), ids(&letters));
    assert!(sent.iter().all(|(id, document)| refused[id] == *document), "byte for byte");
    assert!(place.letters("elasticsearch").is_empty());
    assert!(place.run("dead-letter", &[]).expect_code(0).stdout.starts_with("no dead letters"));
    let again = place.json("replay", &[], 0);
    assert_eq!(again["letters"], 0);
    // The folder of the replay's own is empty again.
    let left: Vec<_> = std::fs::read_dir(place.path("state/dead-letter/elasticsearch.replay")).unwrap().collect();
    assert!(left.len() <= 2, "{left:?}");
}

#[test]
fn what_is_refused_again_stays_with_its_new_reason_and_is_not_looped() {
    let (place, fake, mood) = refused_twenty();
    let before = fake.seen().len();
    mood.store(4, Ordering::Relaxed);
    let done = place.json("replay", &[], 4);
    assert_eq!((&done["delivered"], &done["refused"], &done["left"]), (&json!(10), &json!(10), &json!(0)));
    let letters = place.letters("elasticsearch");
    assert_eq!(letters.len(), 10);
    assert!(letters.iter().all(|letter| letter["type"] == "strict_dynamic_mapping_exception"));
    assert!(letters.iter().all(|letter| odd(&letter["document"].to_string())));
    assert_eq!(fake.seen().len(), before + 1, "each once");
    // Only the picked ones are sent; those that are there already count as delivered.
    mood.store(1, Ordering::Relaxed);
    assert_eq!(place.json("replay", &["--reason", KIND], 0)["letters"], 0);
    assert_eq!(place.json("replay", &["--status", "413"], 0)["letters"], 0);
    let id = letters[0]["id"].as_str().unwrap();
    assert_eq!(place.json("replay", &["--id", id], 0)["delivered"], 1);
    assert_eq!(ids(&place.letters("elasticsearch")), ids(&letters[1..]));
    assert_eq!(place.json("replay", &[], 0)["delivered"], 9);
}

#[test]
fn letters_that_are_there_already_or_stand_twice_are_duplicates() {
    let (place, _, mood) = refused_twenty();
    let file = place.path("state/dead-letter/elasticsearch/00000001.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    mood.store(1, Ordering::Relaxed);
    place.json("replay", &[], 0);
    // As after a crash: ten of them once more, twice, and something that is no letter.
    let ten: String = text.split_inclusive('\n').take(10).collect();
    let odd = r#"{"time":"t","lane":"l","id":"no id of ours","status":400,"type":"x","reason":"","document":{}}"#;
    std::fs::write(&file, format!("{ten}not a letter\n{ten}{odd}\n{{\"half")).unwrap();
    assert_eq!(place.json("dead-letter", &[], 0)["lanes"][0]["repeats"], 10);
    let done = place.json("replay", &[], 4);
    let expected = [21, 20, 20, 0, 1, 0];
    let got =
        ["letters", "delivered", "duplicates", "refused", "unsendable", "left"].map(|key| done[key].as_u64().unwrap());
    assert_eq!(got, expected);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("not a letter\n{odd}\n"), "what is none stays");
}

#[test]
fn an_absent_peer_an_interrupt_and_a_kill_lose_nothing() {
    let (place, fake, mood) = refused(100);
    // So much under way that a stop finds some letters not sent yet.
    place.configure(&fake.url, |c| {
        let sink = &mut c["sinks"]["elasticsearch"];
        (sink["compression"], sink["in_flight"]) = (json!(0), json!("64KiB"));
        sink["batch"] = json!({"lines": 2, "bytes": "64KiB"});
    });
    let all = ids(&place.letters("elasticsearch"));
    mood.store(2, Ordering::Relaxed);
    let away = place.json("replay", &["--timeout", "1s"], 1);
    assert_eq!((&away["delivered"], &away["left"], &away["end"]), (&json!(0), &json!(100), &json!("peer_away")));
    assert_eq!(ids(&place.letters("elasticsearch")), all);

    // Two documents a request, two requests at a time, 300 ms each.
    mood.store(3, Ordering::Relaxed);
    let running = Running::start(&mut place.command("replay", &["-o", "json"]));
    wait_until("some letters", SOON, || fake.taken().len() > 900 + 2);
    running.signal(Signal::INT);
    let ran = running.wait(SOON).expect_code(130);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let delivered = summary["delivered"].as_u64().unwrap();
    assert!((4..100).contains(&delivered), "{summary}");
    let left = place.letters("elasticsearch");
    assert_eq!(left.len() as u64, 100 - delivered, "it goes on where it was");

    let running = Running::start(&mut place.command("replay", &[]));
    let taken = fake.taken().len();
    wait_until("some more", SOON, || fake.taken().len() > taken);
    // A second one has to wait for the first.
    let second = place.run("replay", &[]).expect_code(1);
    assert!(second.stderr.contains("another replay"), "{}", second.stderr);
    running.kill();
    assert!(ids(&place.letters("elasticsearch")).is_subset(&all));
    mood.store(1, Ordering::Relaxed);
    let last = place.json("replay", &[], 0);
    assert_eq!(last["left"], 0);
    assert!(place.letters("elasticsearch").is_empty());
    assert!(all.is_subset(&fake.taken().into_iter().collect()), "every letter arrived");
}

/// A full dead letter holds the agent; a replay beside it makes room, and the agent goes on by itself. Both write into
/// the same folder, and in the end each line is where it belongs, once.
#[test]
fn a_replay_beside_a_held_agent_lets_it_go_on() {
    let mended = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&mended);
    let fake =
        FakeBulk::start(move |bulk| if now.load(Ordering::Relaxed) { Act::Take } else { refuse(bulk, KIND, |_| true) });
    let place = Place::new();
    place.configure(&fake.url, |c| {
        c["sinks"]["elasticsearch"]["dead_letter"] = json!({"max_size": "1MiB"});
    });
    place.append("logs/flows.log", 0..3_000, 0);
    let agent = Running::start(&mut place.command("run", &[]));
    let bytes = || {
        let files = std::fs::read_dir(place.path("state/dead-letter/elasticsearch"));
        files.map_or(0, |files| files.map(|file| file.unwrap().metadata().map_or(0, |m| m.len())).sum::<u64>())
    };
    wait_until("a full dead letter", SOON, || bytes() > 900 << 10);
    mended.store(true, Ordering::Relaxed);
    let everything = place.ids(&["logs/flows.log"]);
    wait_until("every line at the peer", Duration::from_secs(100), || {
        place.run("replay", &[]).expect_code(0);
        fake.taken().len() == everything.len()
    });
    agent.terminate();
    agent.wait(SOON).expect_code(0);
    assert!(fake.taken().into_iter().collect::<BTreeSet<_>>() == everything);
    assert!(place.letters("elasticsearch").is_empty());
}

/// Agent and replay at work at once on the same folder, with a peer that goes on refusing.
#[test]
fn a_replay_and_a_writing_agent_lose_no_letter() {
    let fake = FakeBulk::start(|bulk| refuse(bulk, KIND, |document| document.contains("\"port\":6666")));
    let place = Place::new();
    place.configure(&fake.url, |c| c["sinks"]["elasticsearch"]["batch"] = json!({"lines": 10, "age": "10ms"}));
    place.append("logs/flows.log", 0..100, 2);
    let agent = Running::start(&mut place.command("run", &[]));
    wait_until("the first letters", SOON, || !place.letters("elasticsearch").is_empty());
    for round in 1..6 {
        place.append("logs/flows.log", round * 100..round * 100 + 100, 2);
        place.run("replay", &[]).expect_code(4);
    }
    wait_until("every letter", SOON, || ids(&place.letters("elasticsearch")).len() == 300);
    agent.terminate();
    agent.wait(SOON).expect_code(0);
    let letters = place.letters("elasticsearch");
    assert_eq!((letters.len(), ids(&letters).len()), (300, 300), "each stands there once");
    assert_eq!(fake.taken().len(), 300);
}

#[test]
fn a_replay_needs_an_elasticsearch() {
    let place = Place::new();
    let state = place.text("state");
    let none = crate::support::run(
        &["replay", "--state-dir", &state, "--siem", "tcp://127.0.0.1:1", "--zones", "/z.yaml"],
        "",
    );
    assert!(none.expect_code(1).stderr.contains("no Elasticsearch is configured"));
    place.configure("http://127.0.0.1:1", |_| {});
    assert!(
        place.run("replay", &["--lane", "siem-soc"]).expect_code(1).stderr.contains("over syslog nothing is refused")
    );
    assert_eq!(place.json("replay", &[], 0)["letters"], 0, "nothing to send needs no peer");
}

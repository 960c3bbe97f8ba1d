//! Old files.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::place::{KIND, Place, balance, flow, picky, refuse};
use crate::support::fake_bulk::FakeBulk;
use crate::support::recorder::{Faults, Recorder};
use crate::support::{Running, SOON, wait_until};

fn place(peer: &Recorder) -> Place {
    let place = Place::new();
    place.configure(&peer.url(), |_| {});
    place
}

fn set(ids: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    ids.into_iter().collect()
}

#[test]
fn everything_below_a_directory_is_sent_under_the_ids_of_the_live_tail() {
    let peer = Recorder::start(Faults { lost_answer_every: 5, busy_items_every: 7 });
    let place = place(&peer);
    std::fs::create_dir_all(place.path("old/deeper/.hidden")).unwrap();
    place.append("old/flows-2.log", 400..700, 0);
    place.append("old/deeper/flows-1.log", 0..400, 0);
    place.compress("old/deeper/flows-1.log", "old/deeper/flows-1.log.gz");
    std::fs::remove_file(place.path("old/deeper/flows-1.log")).unwrap();
    place.append("old/deeper/.hidden/flows-9.log", 900..910, 0);
    place.append("old/other.txt", 910..920, 0);
    place.append("logs/flows.log", 700..800, 0);
    let files = ["old/flows-2.log", "old/deeper/flows-1.log.gz", "logs/flows.log"];
    let expected = place.ids(&files);

    let dry = place.json("backfill", &["--dry-run", &place.text("old"), &place.text("logs/flows.log")], 0);
    assert_eq!((&dry["lanes"][0]["read"], &dry["lanes"][0]["delivered"]), (&json!(800), &json!(800)));
    assert_eq!(
        (&dry["first_event"], &dry["last_event"]),
        (&json!("2023-11-14T22:13:20Z"), &json!("2023-11-14T22:26:39Z"))
    );
    assert_eq!(peer.count(), 0);
    assert!(!place.path("state").exists(), "a dry run leaves nothing behind");

    let arguments = ["--progress", "json", &place.text("old"), &place.text("logs/flows.log")];
    let ran = place.run("backfill", &[&["-o", "json"], &arguments[..]].concat()).expect_code(0);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    balance(&summary["lanes"][0]);
    assert_eq!((&summary["files"], &summary["lanes"][0]["delivered"]), (&json!(3), &json!(800)));
    assert!(set(peer.ids()) == expected, "{} ids", peer.count());
    let progress: Vec<Value> = ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(
        progress.iter().any(|line| line["progress"] == "backfill" && line["total_bytes"].as_u64() > Some(0)),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("1 files in directories have no .log"), "{}", ran.stderr);

    // Once more, and from the live tail: everything is there already.
    let again = place.json("backfill", &arguments[2..], 0);
    assert!(again["lanes"][0]["duplicates"].as_u64() >= Some(700), "{again}");
    place.run("run", &["--once"]).expect_code(0);
    assert_eq!(peer.count(), 800);
}

#[test]
fn a_time_window_filters_and_counts() {
    let peer = Recorder::start(Faults::default());
    let place = place(&peer);
    place.append("logs/flows.log", 0..100, 0);
    let mut file = std::fs::File::options().append(true).open(place.path("logs/flows.log")).unwrap();
    std::io::Write::write_all(&mut file, b"no flow at all\n\n").unwrap();
    let window = ["--from", "1700000010", "--to", "2023-11-14T22:13:40Z", &place.text("logs/flows.log")];
    let summary = place.json("backfill", &window, 0);
    let lane = &summary["lanes"][0];
    balance(lane);
    let got = ["read", "delivered", "filtered", "not_flows", "without_time"].map(|key| lane[key].as_u64().unwrap());
    assert_eq!(got, [101, 11, 90, 1, 1], "the line without a time is not known to be outside");
    assert_eq!(
        (&summary["first_event"], &summary["last_event"]),
        (&json!("2023-11-14T22:13:30Z"), &json!("2023-11-14T22:13:39Z"))
    );
    let ran = place.run("backfill", &window).expect_code(0);
    let line = "backfill-elasticsearch: read 101 = delivered 11 (11 were there already) + filtered 90 + rejected 0 + dropped 0 + not decided 0\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert_eq!(peer.count(), 11);
}

#[test]
fn bad_files_are_told_by_name_and_the_rest_is_read() {
    let peer = Recorder::start(Faults::default());
    let place = place(&peer);
    place.append("old-1.log", 0..2_000, 0);
    place.compress("old-1.log", "cut.log.gz");
    let whole = std::fs::read(place.path("cut.log.gz")).unwrap();
    std::fs::write(place.path("cut.log.gz"), &whole[..whole.len() / 2]).unwrap();
    place.append("old-2.log", 3_000..3_100, 0);
    place.compress("old-2.log", "misnamed.log");
    std::fs::write(place.path("packed.log"), b"\x28\xb5\x2f\xfd and so on").unwrap();
    place.append("good.log", 4_000..4_050, 0);
    std::io::Write::write_all(
        &mut std::fs::File::options().append(true).open(place.path("good.log")).unwrap(),
        b"{\"half",
    )
    .unwrap();
    std::fs::write(place.path("empty.log"), "").unwrap();
    let files = ["cut.log.gz", "misnamed.log", "packed.log", "good.log", "empty.log"].map(|name| place.text(name));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let summary = place.json("backfill", &files, 4);
    balance(&summary["lanes"][0]);
    let failed = summary["failed_files"].as_array().unwrap();
    let told = |name: &str| {
        failed.iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).map(|file| file["error"].to_string())
    };
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(told("misnamed.log").unwrap().contains(".gz"), "{failed:?}");
    assert!(told("packed.log").unwrap().contains("zstd") && told("cut.log.gz").is_some(), "{failed:?}");
    assert_eq!(summary["unterminated_files"], json!([place.text("good.log")]));
    let ids = set(peer.ids());
    assert!(ids.is_superset(&place.ids(&["good.log"])), "the good file is whole");
    let of_cut = ids.intersection(&place.ids(&["old-1.log"])).count();
    assert_eq!(of_cut + 50, ids.len());
    assert!(of_cut > 500, "what is whole before the cut was sent: {of_cut}");
    // A file that is not there is a slip, told before anything is sent.
    let ran = place.run("backfill", &["nowhere.log", files[3]]).expect_code(1);
    assert!(ran.stderr.contains("nowhere.log: No such file"), "{}", ran.stderr);
}

#[test]
fn an_interrupted_backfill_goes_on_and_a_copy_is_not_read_again() {
    let peer = Recorder::start(Faults::default());
    let place = place(&peer);
    place.append("a.log", 0..600, 0);
    place.append("b.log", 600..1_200, 0);
    place.compress("a.log", "a-copy.log.gz");
    let resume = place.text("progress.json");
    let arguments =
        [&place.text("a.log"), &place.text("a-copy.log.gz"), &place.text("b.log"), "--resume", &resume, "-o", "json"]
            .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let slow = [&arguments[..], &["--rate", "300"]].concat();
    let running = Running::start(&mut place.command("backfill", &slow));
    wait_until("some lines", SOON, || peer.count() > 100);
    running.signal(Signal::INT);
    let ran = running.wait(SOON).expect_code(130);
    let first: Value = serde_json::from_str(&ran.stdout).unwrap();
    balance(&first["lanes"][0]);
    let came = first["lanes"][0]["delivered"].as_u64().unwrap();
    assert!((100..1_200).contains(&came), "{first}");
    assert!(place.path("progress.backfill-elasticsearch.json").exists());

    // Another window is another purpose.
    let other = place.run("backfill", &[&arguments[..], &["--from", "5"]].concat()).expect_code(1);
    assert!(other.stderr.contains("is of another run"), "{}", other.stderr);

    let running = Running::start(&mut place.command("backfill", &slow));
    let before = peer.count();
    wait_until("some more", SOON, || peer.count() > before + 50);
    running.kill();
    let last: Value = serde_json::from_str(&place.run("backfill", &arguments).expect_code(0).stdout).unwrap();
    balance(&last["lanes"][0]);
    assert!(set(peer.ids()) == place.ids(&["a.log", "b.log"]), "{} ids", peer.count());
    // The kill may have come before the first progress of its run was noted.
    assert!(last["lanes"][0]["read"].as_u64() <= Some(1_200 - came), "{last}");
    // Only what was under way at the kill came twice, at most a second's lines and a batch: the copy was not read.
    assert!(peer.repeats() < 500, "{}", peer.repeats());
    let done: Value = serde_json::from_str(&place.run("backfill", &arguments).expect_code(0).stdout).unwrap();
    assert_eq!(done["lanes"][0]["read"], 0, "with its progress kept there is nothing left");
}

#[test]
fn too_many_refusals_stop_it_and_its_letters_are_its_own() {
    let fake = FakeBulk::start(|bulk| refuse(bulk, KIND, |_| true));
    let place = Place::new();
    place.configure(&fake.url, |c| c["sinks"]["elasticsearch"]["batch"] = json!({"lines": 10, "age": "50ms"}));
    place.append("a.log", 0..5_000, 0);
    let ran = place
        .run("backfill", &["--max-errors", "20", "--rate", "1000", "-o", "json", &place.text("a.log")])
        .expect_code(1);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    balance(&summary["lanes"][0]);
    let rejected = summary["lanes"][0]["rejected"].as_u64().unwrap();
    assert!((21..2_000).contains(&rejected), "{summary}");
    assert!(ran.stderr.contains("--max-errors 20"), "{}", ran.stderr);
    assert!(place.letters("elasticsearch").is_empty());
    assert_eq!(place.letters("backfill-elasticsearch").len() as u64, rejected);
    // With the peer mended they are sent from there.
    let peer = Recorder::start(Faults::default());
    place.configure(&peer.url(), |_| {});
    let done = place.json("replay", &["--lane", "backfill-elasticsearch"], 0);
    assert_eq!((&done["delivered"], peer.count() as u64), (&json!(rejected), rejected));
    // And some refusals are a partial success.
    let picky = FakeBulk::start(picky);
    place.configure(&picky.url, |_| {});
    place.append("b.log", 0..100, 10);
    let some = place.json("backfill", &[&place.text("b.log")], 4);
    assert_eq!((&some["lanes"][0]["delivered"], &some["lanes"][0]["rejected"]), (&json!(90), &json!(10)));
}

#[test]
fn a_siem_gets_old_flows_only_when_it_is_named() {
    let peer = Recorder::start(Faults::default());
    let place = place(&peer);
    place.append("a.log", 0..50, 0);
    let zones = "apiVersion: zones/v1\nzones:\n- {name: outer, match: [{namespace: shop}]}\n- {name: inner, match: [{namespace: data}]}\n";
    std::fs::write(place.path("zones.yaml"), zones).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    place.configure(&peer.url(), |c| {
        c["zones"] = json!(place.path("zones.yaml"));
        c["sinks"]["siem"] = json!([{"name": "soc", "url": url, "framing": "lf"}]);
    });
    let receiver = std::thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    let without = place.json("backfill", &[&place.text("a.log")], 0);
    assert_eq!(without["lanes"].as_array().unwrap().len(), 1);
    let dry = place.json("backfill", &["--sink", "elasticsearch,siem", "--dry-run", &place.text("a.log")], 0);
    assert_eq!(dry["lanes"][1]["delivered"], 50);
    let with = place.json("backfill", &["--sink", "siem-soc", "--from", "1700000040", &place.text("a.log")], 0);
    let lane = &with["lanes"][0];
    balance(lane);
    assert_eq!(
        (&lane["lane"], &lane["delivered"], &lane["filtered"]),
        (&json!("backfill-siem-soc"), &json!(10), &json!(40))
    );
    let text = receiver.join().unwrap();
    assert_eq!(text.lines().count(), 10, "{text}");
    let ids = place.ids(&["a.log"]);
    assert_eq!(ids.iter().filter(|id| text.contains(&format!("externalId={id}"))).count(), 10);
    let ran = place.run("backfill", &["--sink", "siem-other", &place.text("a.log")]).expect_code(1);
    assert!(ran.stderr.contains("no such sink is configured"), "{}", ran.stderr);
}

#[test]
fn over_long_lines_are_dropped_and_a_state_directory_must_be_writable() {
    let peer = Recorder::start(Faults::default());
    let place = place(&peer);
    let long = "x".repeat(3 << 20);
    let text = format!("{}\n{long}\n{}\n", flow(1, 1_700_000_000, 80), flow(2, 1_700_000_001, 80));
    std::fs::write(place.path("a.log"), text).unwrap();
    let summary = place.json("backfill", &[&place.text("a.log")], 4);
    balance(&summary["lanes"][0]);
    assert_eq!((&summary["lanes"][0]["dropped"], &summary["lanes"][0]["delivered"]), (&json!(1), &json!(2)));
    assert!(set(peer.ids()).is_subset(&place.ids(&["a.log"])));
    place.configure(&peer.url(), |c| c["state_dir"] = json!("/proc/nothing"));
    let ran = place.run("backfill", &[&place.text("a.log")]).expect_code(1);
    assert!(ran.stderr.contains("--resume FILE or --state-dir DIR"), "{}", ran.stderr);
}

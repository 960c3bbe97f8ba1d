//! Fewer events than flows, and what Tidegate says of itself: sums are whole, numbers balance, and neither a killed process nor
//! a collector that forgot loses a flow.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::support::run;

/// Milliseconds.
const WINDOW: i64 = 5_000;

fn aggregate(siem: &mut Value) {
    siem["aggregate"] = json!({"window": "5s", "grace": "1s"});
}

fn class(event: &Value) -> &str {
    event["fields"]["signature_id"].as_str().expect("a class")
}

/// Connections and bytes by the window of the event's time.
fn sums(hec: &Hec) -> BTreeMap<i64, (i64, i64)> {
    let mut sums = BTreeMap::new();
    for event in hec.indexed().iter().filter(|event| class(event) == "flow:deny") {
        let at = (event["time"].as_f64().expect("a time") * 1000.0) as i64;
        let sum: &mut (i64, i64) = sums.entry(at.div_euclid(WINDOW)).or_default();
        let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("no number in {event}"));
        let body = &event["event"];
        sum.0 += number(&body["calico"]["num_flows"]);
        sum.1 += number(&body["destination"]["bytes"]);
    }
    sums
}

/// What [`sums`] has to be: the lines of `faults` by number.
fn truth(lines: usize) -> BTreeMap<i64, (i64, i64)> {
    let mut sums = BTreeMap::new();
    for number in 0..lines as i64 {
        let time = (1_767_225_900 + number / 50) * 1000;
        let sum: &mut (i64, i64) = sums.entry(time.div_euclid(WINDOW)).or_default();
        *sum = (sum.0 + 1, sum.1 + number);
    }
    sums
}

fn balance(world: &World) -> [u64; 4] {
    ["delivered", "filtered", "rejected", "dropped"]
        .map(|what| world.metric(&format!("tidegate_lane_{what}_lines_total")))
}

/// Every line that was written is decided.
fn settled(world: &World) {
    settled_of(world, world.agent.written);
}

/// So many lines are read by this process, and decided.
fn settled_of(world: &World, lines: usize) {
    wait_until("every line settled", SOON, || {
        let read = world.metric("tidegate_lane_read_lines_total");
        read == lines as u64 && balance(world).iter().sum::<u64>() == read
    });
}

#[test]
fn sums_are_whole_and_lines_are_settled() {
    let mut world = World::start(|_| {}, aggregate);
    // The last window is over by the clock: nothing comes after it.
    settled(&world);
    assert_eq!(sums(&world.hec), truth(LINES));
    assert_eq!(balance(&world), [LINES as u64, 0, 0, 0], "folded lines are delivered");
    world.agent.write(LINES);
    wait_until("everything read", SOON, || world.metric("tidegate_lane_read_lines_total") == 2 * LINES as u64);
    world.agent.stop().expect_code(0);
    assert_eq!(sums(&world.hec), truth(2 * LINES), "a stop closes every window");
    let events = world.hec.indexed();
    assert!(events.len() < LINES / 50, "{} events: they are folded", events.len());
    for event in events {
        let body = &event["event"];
        assert_eq!(body["labels"], json!({"tidegate_aggregated": "1"}));
        assert_eq!(body["source"]["port"], Value::Null, "what they do not agree on");
        assert_eq!(body["destination"]["port"], 8080, "what they do");
    }
}

/// Killed with open windows, in the middle of it: every flow is in some event afterwards.
#[test]
fn killed_with_open_windows() {
    let mut world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_millis(300)), aggregate);
    for _ in 0..3 {
        let before = world.hec.count();
        wait_until("an event or two", SOON, || world.hec.count() > before + 1);
        world.agent.running.take().expect("it runs").kill();
        world.agent.write(LINES / 2);
        world.agent.run();
    }
    // The last windows close by the clock.
    wait_until("every flow", SOON, || is_at_least_the_truth(&world));
    world.agent.stop().expect_code(0);
}

/// No flow is missing; windows that had been sent may have come again.
fn is_at_least_the_truth(world: &World) -> bool {
    let (sums, truth) = (sums(&world.hec), truth(world.agent.written));
    let enough = |(sum, truth): (&(i64, i64), &(i64, i64))| sum.0 >= truth.0 && sum.1 >= truth.1;
    sums.keys().eq(truth.keys()) && sums.values().zip(truth.values()).all(enough)
}

/// Stopped in good order with open windows and started again: nothing is lost, and nothing counts twice.
#[test]
fn a_restart_with_open_windows_counts_each_flow_once() {
    let mut world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_millis(300)), aggregate);
    for _ in 0..2 {
        wait_until("open windows", SOON, || {
            world.metric("tidegate_splunk_open_windows") > 0 && world.metric("tidegate_lane_lag_bytes") > 0
        });
        world.agent.stop().expect_code(0);
        world.agent.write(LINES / 2);
        world.agent.run();
    }
    // A stop leaves nothing for the next start but what was written since.
    settled_of(&world, LINES / 2);
    world.agent.stop().expect_code(0);
    assert_eq!(sums(&world.hec), truth(world.agent.written));
}

/// The collector loses what it has not indexed, while windows are open.
#[test]
fn a_collector_that_forgets_windows_gets_them_again() {
    let change = |siem: &mut Value| {
        aggregate(siem);
        siem["splunk"]["ack_timeout"] = json!("5s");
    };
    let mut world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_millis(700)), change);
    for _ in 0..2 {
        wait_until("something that waits", SOON, || world.metric("tidegate_splunk_waiting_events") > 0);
        world.hec.restart();
        world.agent.write(LINES / 4);
    }
    settled(&world);
    assert!(is_at_least_the_truth(&world), "{:?}", sums(&world.hec));
    world.agent.stop().expect_code(0);
}

/// A refused event stands for all its lines: they are rejected, and it lies in the dead letter once.
#[test]
fn a_refused_window_is_as_many_rejected_lines() {
    // The window of the lines 250 to 499, by its end.
    let poison = "\"time\":1767225909.0";
    let world = World::start(|rules| rules.poison = Some(poison), aggregate);
    settled(&world);
    assert_eq!(balance(&world), [LINES as u64 - 250, 0, 250, 0]);
    assert_eq!(world.metric("tidegate_splunk_rejected_events_total"), 1);
    let letters = read_letters(&world.agent.path("state/dead-letter/siem-soc"));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["document"]["event"]["calico"]["num_flows"], 250);
    // The event before it in its request was taken, and comes a second time.
    let mut expected = truth(LINES);
    expected.retain(|window, _| *window != 1_767_225_909_000 / WINDOW);
    assert!(sums(&world.hec).keys().eq(expected.keys()));
}

/// What is beyond the limit is filtered, and the summaries say exactly how much.
#[test]
fn beyond_the_limit() {
    let change = |siem: &mut Value| {
        siem["limit"] = json!({"per_key": 100, "window": "5s", "key": ["source.namespace", "dest.port"]});
        siem["status_records"] = json!(true);
    };
    let mut world = World::start(|_| {}, change);
    settled(&world);
    let windows = truth(LINES);
    let passed: u64 = windows.values().map(|(flows, _)| (*flows as u64).min(100)).sum();
    let held = LINES as u64 - passed;
    assert_eq!(balance(&world), [passed, held, 0, 0]);
    assert_eq!(world.metric("tidegate_splunk_suppressed_lines_total{reason=\"limit\"}"), held);
    world.agent.stop().expect_code(0);
    let events = world.hec.indexed();
    let summaries: Vec<&Value> = events.iter().filter(|event| class(event) == "tidegate:suppressed").collect();
    assert_eq!(summaries.len(), windows.values().filter(|(flows, _)| *flows > 100).count());
    let count = |event: &&Value| -> u64 {
        event["event"]["labels"]["tidegate_count"].as_str().expect("a count").parse().expect("a number")
    };
    assert_eq!(summaries.iter().map(count).sum::<u64>(), held);
    for summary in summaries {
        let body = &summary["event"];
        assert_eq!(body["labels"]["tidegate_alike"], "source.namespace=storefront dest.port=8080");
        assert_eq!((&body["event"]["reason"], &body["event"]["id"]), (&json!("limit"), &Value::Null));
    }
    let stop = &events.last().expect("a stop")["event"];
    assert_eq!(stop["event"]["code"], "tidegate:stop");
    let number = |name: &str| stop["labels"][name].clone();
    assert_eq!([number("tidegate_suppressed"), number("tidegate_filtered")], [held.to_string(), held.to_string()]);
}

/// Start first, stop last, heartbeats between, in the format and with the labels of the flows; none of them is a line.
#[test]
fn start_heartbeat_and_stop() {
    for format in ["ecs-json", "cef"] {
        let change = |siem: &mut Value| {
            siem["splunk"]["format"] = json!(format);
            siem["splunk"]["index"] = json!("netfw");
            (siem["status_records"], siem["heartbeat"]) = (json!(true), json!("10s"));
        };
        let mut world = World::start(|_| {}, change);
        let own = |world: &World| -> Vec<Value> {
            world.hec.indexed().into_iter().filter(|event| class(event).starts_with("tidegate:")).collect()
        };
        wait_until("a heartbeat", SOON, || own(&world).len() >= 2);
        settled(&world);
        assert_eq!(balance(&world), [LINES as u64, 0, 0, 0]);
        world.agent.stop().expect_code(0);
        let events = world.hec.indexed();
        assert_eq!(class(&events[0]), "tidegate:start");
        assert_eq!(class(&events[events.len() - 1]), "tidegate:stop", "and nothing more");
        let own = own(&world);
        let classes: Vec<&str> = own.iter().map(class).collect();
        assert!(classes[1..classes.len() - 1].iter().all(|class| *class == "tidegate:heartbeat"), "{classes:?}");
        for event in &own {
            assert_eq!(event["fields"], json!({"signature_id": class(event), "cluster": "test-cluster"}));
            for key in ["host", "source", "sourcetype", "index"] {
                assert_eq!(event[key], events[1][key], "{key}");
            }
        }
        // Everything before the stop, as it says.
        let sent = (events.len() - 1).to_string();
        let stop = &own[own.len() - 1]["event"];
        match stop.as_str() {
            Some(record) => assert!(record.contains(&format!(" cn2={sent} ")), "{record}"),
            None => assert_eq!(stop["labels"]["tidegate_sent"], json!(sent)),
        }
    }
}

/// The collector was away for longer than a heartbeat, and there was no flow to find that out with: the heartbeat does, one
/// event says so once it is back, and heartbeats go on.
#[test]
fn an_outage_is_told_once_and_ends_without_a_flow() {
    let change = |siem: &mut Value| (siem["status_records"], siem["heartbeat"]) = (json!(true), json!("10s"));
    let mut world = World::start(|_| {}, change);
    settled(&world);
    let count = |world: &World, what: &str| world.hec.indexed().iter().filter(|event| class(event) == what).count();
    world.hec.set(|rules| rules.away = true);
    world.hec.cut();
    world.agent.says("lost the collector");
    let begun = Instant::now();
    wait_until("an outage", SOON, || begun.elapsed() > Duration::from_secs(11));
    world.hec.set(|rules| rules.away = false);
    wait_until("word of the outage", SOON * 3, || count(&world, "tidegate:outage") == 1);
    let beats = count(&world, "tidegate:heartbeat");
    wait_until("a heartbeat after it", SOON, || count(&world, "tidegate:heartbeat") > beats);
    world.agent.stop().expect_code(0);
    assert_eq!(count(&world, "tidegate:outage"), 1);
    let outage = world.hec.indexed().into_iter().find(|event| class(event) == "tidegate:outage").expect("one");
    let message = outage["event"]["message"].as_str().expect("words");
    assert!(message.starts_with("No connection for "), "{message}");
}

/// A stop waits for nobody when nothing but our own words is left to say.
#[test]
fn a_stop_does_not_wait_for_a_collector_that_is_away() {
    let change = |siem: &mut Value| (siem["status_records"], siem["heartbeat"]) = (json!(true), json!("10s"));
    let mut world = World::start(|_| {}, change);
    settled(&world);
    world.hec.set(|rules| rules.away = true);
    world.hec.cut();
    let begun = Instant::now();
    let ran = world.agent.stop().expect_code(0);
    assert!(ran.stderr.contains("\"clean\":true"), "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// A full dead letter holds the lane and loses nothing; with room again, it goes on.
#[test]
fn a_full_dead_letter_holds_until_there_is_room() {
    let change = |siem: &mut Value| {
        siem["splunk"]["format"] = json!("cef");
        siem["splunk"]["dead_letter"] = json!({"max_size": "1MiB"});
    };
    // Of a hundred events one: its source port ends so.
    let mut world = World::start(|rules| rules.poison = Some("07 dpt=8080"), change);
    settled(&world);
    let folder = world.agent.path("state/dead-letter/siem-soc");
    let first = world.metric("tidegate_splunk_rejected_events_total");
    assert_eq!(first, LINES as u64 / 100);
    // Many more of these until there is hardly any room.
    world.agent.stop().expect_code(0);
    fill(&folder, (1 << 20) - 20_000);
    world.agent.write(4 * LINES);
    world.agent.run();
    world.agent.says("\"hold\":\"dead_letter\"");
    assert_eq!(world.metric("tidegate_splunk_held"), 1);
    let size = |folder: &Path| -> u64 {
        std::fs::read_dir(folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").metadata().expect("a size").len())
            .sum()
    };
    assert!(size(&folder) <= 1 << 20, "{}", size(&folder));
    let rejected = || world.metric("tidegate_splunk_rejected_events_total");
    let bad: BTreeSet<String> = world.agent.ids_in_order().into_iter().skip(83).step_by(100).collect();
    let (before, all) = (rejected(), bad.len() as u64 - first);
    assert!(before > 0 && before < all, "{before} of {all}");
    let elsewhere = world.agent.path("moved");
    std::fs::rename(&folder, &elsewhere).expect("moved away");
    wait_until("the rest", SOON, || rejected() == all);
    let id = |letter: &Value| letter["id"].as_str().expect("an id").to_owned();
    let letters = [read_letters(&elsewhere), read_letters(&folder)].concat();
    assert_eq!(letters.iter().map(id).collect::<BTreeSet<_>>(), bad);
    assert_eq!(read_letters(&folder).len() as u64, all - before, "each once");
    settled_of(&world, 4 * LINES);
    assert_eq!(balance(&world), [4 * LINES as u64 - all, 0, all, 0]);
    world.agent.stop().expect_code(0);
    let expected: BTreeSet<String> = world.agent.expected().into_keys().filter(|id| !bad.contains(id)).collect();
    assert_eq!(world.hec.ids().into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Copies of the letters that are there, up to so many bytes of all files.
fn fill(folder: &Path, most: usize) {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "ndjson"));
    let mut text = std::fs::read_to_string(&files[0]).expect("letters");
    let lines: Vec<String> = text.lines().map(|line| line.to_owned() + "\n").collect();
    for line in lines.iter().cycle() {
        if text.len() + line.len() > most {
            return std::fs::write(&files[0], text).expect("more letters");
        }
        text.push_str(line);
    }
}

/// What the estimate counts is what the collector gets, octet for octet: in the body of the event, before compression.
#[test]
fn the_estimate_counts_what_the_collector_gets() {
    for (more, windows) in [(json!({}), false), (json!({"aggregate": {"window": "60s"}}), true)] {
        let change = |siem: &mut Value| {
            siem["splunk"]["format"] = json!("cef");
            for (key, value) in more.as_object().expect("keys") {
                siem[key] = value.clone();
            }
        };
        let mut world = World::start(|_| {}, change);
        wait_until("everything read", SOON, || world.metric("tidegate_lane_read_lines_total") == LINES as u64);
        world.agent.stop().expect_code(0);
        let events = world.hec.indexed();
        let octets: usize = events.iter().map(|event| event["event"].as_str().expect("a record").len()).sum();
        let [file, log] = ["tidegate.yaml", "flows.log"].map(|name| world.agent.path(name));
        let texts = [&file, &log].map(|path| path.to_str().expect("a plain path"));
        let estimate = |more: &[&str]| {
            run(&[&["siem", "estimate", "-c", texts[0], texts[1]][..], more].concat(), "").expect_code(0).stdout
        };
        let report: Value = serde_json::from_str(&estimate(&["-o", "json"])).expect("JSON");
        let destination = &report["destinations"][0];
        assert_eq!((&destination["records"], &destination["bytes"]), (&json!(events.len()), &json!(octets)));
        assert_eq!(windows, events.len() < LINES / 10);
        assert!(estimate(&[]).contains("(bodies of events before compression"), "{}", estimate(&[]));
        // A dry run of a backfill counts the lines.
        let dry = ["backfill", "-c", texts[0], "--sink", "siem", "--dry-run", "-o", "json", texts[1]];
        let dry: Value = serde_json::from_str(&run(&dry, "").expect_code(0).stdout).expect("JSON");
        assert_eq!(dry["lanes"][0]["delivered"], LINES, "{dry:#}");
    }
}

/// What is rendered is what is sent.
#[test]
fn rendered_as_sent() {
    for format in ["ecs-json", "cef"] {
        let mut world = World::start(|_| {}, |siem| siem["splunk"]["format"] = json!(format));
        settled(&world);
        world.agent.stop().expect_code(0);
        let [file, log] = ["tidegate.yaml", "flows.log"].map(|name| world.agent.path(name));
        let texts = [&file, &log].map(|path| path.to_str().expect("a plain path"));
        let render =
            |more: &[&str]| run(&[&["render", "-c", texts[0], texts[1]][..], more].concat(), "").expect_code(0).stdout;
        let whole = render(&[]);
        let mut objects: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let mut sent = world.hec.indexed();
        // Which clock the document was written by is no matter here.
        for event in objects.iter_mut().chain(&mut sent) {
            let Some(document) = event["event"].as_object_mut() else { continue };
            document.remove("log");
            for part in ["event", "calico"] {
                if let Some(part) = document.get_mut(part).and_then(Value::as_object_mut) {
                    part.retain(|key, _| !["created", "ingested", "log"].contains(&key.as_str()));
                }
            }
        }
        assert_eq!(objects.len(), sent.len());
        assert_eq!(objects[0], sent[0]);
        let alone = render(&["--message"]);
        let first = alone.lines().next().expect("a line");
        assert!(first.starts_with(if format == "cef" { "CEF:0|" } else { "{\"@timestamp\"" }), "{first}");
        let explained = render(&["--explain"]);
        let key = if format == "cef" { "dpt" } else { "destination.port" };
        assert!(explained.contains(key), "{key} is not in {}", explained.lines().take(30).collect::<String>());
    }
}

/// Letters go out as they stand: those that are taken leave, those that are refused again stay.
#[test]
fn letters_are_sent_again() {
    let world = World::start(|rules| rules.poison = Some("web-7d9c7b5d6c-77"), |_| {});
    wait_until("the dead letter", SOON, || world.metric("tidegate_splunk_rejected_events_total") == 11);
    let (file, folder) = (world.agent.path("tidegate.yaml"), world.agent.path("state/dead-letter/siem-soc"));
    let replay = |more: &[&str], code: i32| -> Value {
        let args = ["replay", "-c", file.to_str().expect("a plain path"), "--lane", "siem-soc", "-o", "json"];
        let ran = run(&[&args[..], more].concat(), "").expect_code(code);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    };
    assert_eq!(replay(&["--dry-run"], 0)["left"], 11);
    // Everything is refused again.
    let done = replay(&[], 4);
    assert_eq!((&done["refused"], &done["delivered"], &done["left"]), (&json!(11), &json!(0), &json!(0)), "{done}");
    assert_eq!(read_letters(&folder).len(), 11);
    world.hec.set(|rules| rules.poison = Some("web-7d9c7b5d6c-775"));
    let done = replay(&[], 4);
    assert_eq!((&done["refused"], &done["delivered"], &done["duplicates"]), (&json!(1), &json!(10), &Value::Null));
    assert_eq!(read_letters(&folder).len(), 1);
    world.hec.set(|rules| rules.poison = None);
    assert_eq!(replay(&[], 0)["delivered"], 1);
    assert!(read_letters(&folder).is_empty());
    let expected: BTreeSet<String> = world.agent.ids_in_order().into_iter().collect();
    let ids = world.hec.ids();
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
}

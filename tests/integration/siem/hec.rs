//! The built program and a HTTP Event Collector, good and bad: the ids that it has indexed are those of the cross-zone
//! lines, and an id stands there twice only where the collector left it open whether it has it.

mod rates;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::faults::{Agent, LINES};
use super::receiver::certificates;
use crate::support::hec::{Fault, Hec, Indexing, TOKEN};
use crate::support::{SOON, run_command, temp_dir, tidegate, wait_until};

/// A folder with a token in it.
fn token(text: &str) -> tempfile::TempDir {
    let folder = temp_dir();
    std::fs::write(folder.path().join("token"), format!("{text}\n")).expect("a token");
    folder
}

/// One that is told nothing but flows.
fn destination(hec: &Hec, folder: &Path) -> Value {
    json!({"url": hec.url(), "timeout": "5s", "status_records": false, "splunk": {
        "token": {"file": folder.join("token")}, "batch": {"events": 100, "age": "100ms"},
    }})
}

struct World {
    hec: Hec,
    agent: Agent,
    _token: tempfile::TempDir,
}

impl World {
    fn start(rules: impl FnOnce(&mut crate::support::hec::Rules), change: impl FnOnce(&mut Value)) -> Self {
        let (hec, folder) = (Hec::start(), token(TOKEN));
        hec.set(rules);
        let mut siem = destination(&hec, folder.path());
        change(&mut siem);
        Self { agent: Agent::start(siem), hec, _token: folder }
    }

    fn plain() -> Self {
        Self::start(|_| {}, |_| {})
    }

    fn metric(&self, name: &str) -> u64 {
        metric(&self.agent, name)
    }

    fn under_load(&self) {
        wait_until("the first events", SOON, || self.hec.count() >= 100);
        assert!(self.hec.count() < self.agent.written, "it is over before it began");
    }

    /// Waits until every id but `less` is there and everything is settled, looks at the balance, stops. Gives the number of
    /// repeats.
    #[track_caller]
    fn all_but(mut self, less: &BTreeSet<String>) -> usize {
        let expected: BTreeSet<String> = self.agent.expected().into_keys().filter(|id| !less.contains(id)).collect();
        let hec = self.hec.clone();
        let there = || hec.ids().into_iter().collect::<BTreeSet<_>>() == expected;
        wait_until("every event", SOON * 2, || hec.count() >= expected.len() && there());
        wait_until("every line settled", SOON, || {
            self.metric("tidegate_lane_in_flight_lines") == 0
                && self.metric("tidegate_lane_read_lines_total") == self.agent.written as u64
        });
        let sum = ["delivered", "filtered", "rejected", "dropped"]
            .map(|what| self.metric(&format!("tidegate_lane_{what}_lines_total")));
        assert_eq!(sum.iter().sum::<u64>(), self.agent.written as u64, "{sum:?}");
        assert_eq!(sum[2], less.len() as u64);
        assert_eq!(self.metric("tidegate_splunk_waiting_events"), 0);
        let told = self.metric("tidegate_splunk_repeated_events_total");
        self.agent.stop().expect_code(0);
        let repeats = hec.count() - expected.len();
        assert!(repeats as u64 <= told, "{repeats} repeats, and {told} were told");
        repeats
    }

    #[track_caller]
    fn all_there(self) -> usize {
        self.all_but(&BTreeSet::new())
    }
}

fn metric(agent: &Agent, name: &str) -> u64 {
    let (name, more) = name
        .split_once('{')
        .map_or((name, String::new()), |(name, rest)| (name, format!(",{}", rest.trim_end_matches('}'))));
    agent.metric(&format!("{name}{{lane=\"siem-soc\"{more}}}")).unwrap_or_default() as u64
}

#[test]
fn acknowledged_by_the_indexer() {
    let world = World::start(|_| {}, |siem| siem["splunk"]["index"] = json!("netfw"));
    let hec = world.hec.clone();
    wait_until("all settled", SOON, || {
        world.metric("tidegate_splunk_settled_events_total{proof=\"acknowledged\"}") == LINES as u64
    });
    assert_eq!(world.all_there(), 0, "nothing twice");
    let event = &hec.indexed()[0];
    assert_eq!(
        (&event["host"], &event["index"], &event["sourcetype"]),
        (&json!("test-node"), &json!("netfw"), &json!("calico:flow"))
    );
    assert_eq!(event["fields"]["action"], "blocked");
    assert_eq!(event["time"].as_f64(), Some(1_767_225_900.0));
    assert_eq!(event["event"]["event"]["outcome"], "failure");
}

#[test]
fn as_cef_without_compression() {
    let change = |siem: &mut Value| {
        siem["splunk"]["format"] = json!("cef");
        siem["splunk"]["compression"] = json!(0);
    };
    let world = World::start(|_| {}, change);
    let (hec, expected) = (world.hec.clone(), world.agent.expected());
    assert_eq!(world.all_there(), 0);
    for event in hec.indexed() {
        let id = crate::support::hec::id(&event);
        assert_eq!(event["event"].as_str(), expected.get(&id).map(String::as_str), "the record that syslog would send");
    }
}

/// A token without acknowledgement: what is taken is settled, and that is said.
#[test]
fn taken_where_the_token_has_no_acknowledgement() {
    let world = World::start(|rules| rules.acknowledges = false, |_| {});
    wait_until("all settled", SOON, || {
        world.metric("tidegate_splunk_settled_events_total{proof=\"taken\"}") == LINES as u64
    });
    world.agent.says("has no indexer acknowledgement");
    assert_eq!(world.metric("tidegate_splunk_ack_requests_total"), 0);
    assert_eq!(world.all_there(), 0);
}

/// Where acknowledgement is required, a token without it gets no event, and one that has it later gets each once.
#[test]
fn nothing_is_sent_where_acknowledgement_is_required_and_missing() {
    let change = |siem: &mut Value| siem["splunk"]["acknowledgement"] = json!("required");
    let world = World::start(|rules| rules.acknowledges = false, change);
    world.agent.says("ack_disabled");
    assert_eq!((world.hec.count(), world.metric("tidegate_splunk_held")), (0, 1));
    world.hec.set(|rules| rules.acknowledges = true);
    assert_eq!(world.all_there(), 0);
}

#[test]
fn never_asked_for_although_the_token_wants_it() {
    let world = World::start(|_| {}, |siem| siem["splunk"]["acknowledgement"] = json!("never"));
    world.agent.says("ack_wanted");
    assert_eq!(world.hec.count(), 0);
    world.hec.set(|rules| rules.acknowledges = false);
    assert_eq!(world.all_there(), 0);
}

#[test]
fn acknowledged_late() {
    let world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_millis(1500)), |_| {});
    assert_eq!(world.all_there(), 0, "patience costs nothing");
}

/// Taken and never indexed, as by a queue that died: sent again after the deadline, one batch at a time, until somebody
/// indexes.
#[test]
fn never_acknowledged() {
    let change = |siem: &mut Value| siem["splunk"]["ack_timeout"] = json!("5s");
    let world = World::start(|rules| rules.indexing = Indexing::Never, change);
    wait_until("the deadline", SOON, || world.metric("tidegate_splunk_unacknowledged_batches_total") >= 20);
    assert_eq!(world.hec.count(), 0);
    assert_eq!(world.metric("tidegate_lane_delivered_lines_total"), 0, "nothing is taken for delivered");
    let before = world.metric("tidegate_splunk_requests_total");
    assert!(before <= 22, "{before} requests: one at a time after the first deadline");
    world.agent.says("unacknowledged");
    world.hec.set(|rules| rules.indexing = Indexing::AtOnce);
    world.all_there();
}

/// A restart loses what is not indexed, and numbers begin again with 0.
#[test]
fn a_restarted_collector_has_forgotten_its_acknowledgements() {
    let change = |siem: &mut Value| siem["splunk"]["ack_timeout"] = json!("5s");
    let mut world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_millis(700)), change);
    for _ in 0..3 {
        wait_until("something that waits", SOON, || world.metric("tidegate_splunk_waiting_events") > 0);
        world.hec.restart();
        world.agent.write(LINES / 4);
    }
    wait_until("the deadline", SOON, || world.metric("tidegate_splunk_unacknowledged_batches_total") > 0);
    world.all_there();
}

/// One that forgot while no connection broke shows it by a number that was given before. An old batch must not be taken
/// for acknowledged because a new one has its number.
#[test]
fn a_number_given_twice_acknowledges_nothing() {
    let mut world = World::start(|rules| rules.indexing = Indexing::Never, |_| {});
    wait_until("all taken", SOON, || world.metric("tidegate_splunk_waiting_events") == LINES as u64);
    world.hec.forget();
    world.hec.set(|rules| rules.indexing = Indexing::AtOnce);
    world.agent.write(1);
    world.agent.says("an acknowledgement's number twice");
    world.all_there();
}

#[test]
fn busy_for_a_while() {
    let busy = Fault::Answer(503, r#"{"text":"Server is busy","code":9}"#);
    let world = World::start(|rules| rules.fault = Some(busy), |_| {});
    wait_until("some refusals", SOON, || world.metric("tidegate_splunk_busy_requests_total") >= 2);
    assert!(world.metric("tidegate_splunk_requests_total") < 10, "it backs off");
    world.hec.set(|rules| rules.fault = None);
    assert_eq!(world.all_there(), 0);
}

/// A wrong token is told once, with what to do; one that is put right while we run is taken.
#[test]
fn a_token_that_is_put_right() {
    let (hec, folder) = (Hec::start(), token("wrong"));
    let agent = Agent::start(destination(&hec, folder.path()));
    let world = World { hec, agent, _token: folder };
    wait_until("some refusals", SOON, || world.hec.served("/services/collector/event", 403) >= 2);
    world.agent.says("check the token in file");
    let said = world.agent.said();
    assert_eq!(said.matches("check the token in file").count(), 1, "{said}");
    assert!(!said.contains("wrong\"") && !said.contains("Splunk wrong"), "the token itself is told: {said}");
    std::fs::write(world._token.path().join("token"), TOKEN).expect("a token");
    assert_eq!(world.all_there(), 0);
}

#[test]
fn a_disabled_token_and_a_forbidden_index() {
    let world = World::start(|rules| rules.enabled = false, |siem| siem["splunk"]["index"] = json!("other"));
    world.agent.says("\"hold\":\"token\"");
    world.hec.set(|rules| rules.enabled = true);
    world.agent.says("\"hold\":\"index\"");
    world.agent.says("allow the index other for the token");
    world.hec.set(|rules| rules.indexes.push("other".to_owned()));
    assert_eq!(world.all_there(), 0);
}

#[test]
fn too_large_a_request_is_split_and_the_next_are_smaller() {
    let world = World::start(|rules| rules.most_bytes = 4096, |siem| siem["splunk"]["batch"]["events"] = json!(1000));
    wait_until("a split", SOON, || world.metric("tidegate_splunk_split_requests_total") > 0);
    assert_eq!(world.all_there(), 0);
}

/// Exactly the invalid events stand in the dead letter; what stood before one in its request may stand there twice.
#[test]
fn an_invalid_event_goes_to_the_dead_letter_alone() {
    let world = World::start(|rules| rules.poison = Some("web-7d9c7b5d6c-77"), |_| {});
    let poisoned = |number: usize| number.to_string().starts_with("77");
    let ids: Vec<String> = world.agent.ids_in_order();
    let bad: BTreeSet<String> =
        ids.into_iter().enumerate().filter(|(number, _)| poisoned(*number)).map(|(_, id)| id).collect();
    assert_eq!(bad.len(), 11, "77 and 770 to 779");
    wait_until("the dead letter", SOON, || world.metric("tidegate_splunk_rejected_events_total") == bad.len() as u64);
    let folder = world.agent.path("state/dead-letter/siem-soc");
    let letters = read_letters(&folder);
    assert_eq!(letters.iter().map(|l| l["id"].as_str().expect("an id").to_owned()).collect::<BTreeSet<_>>(), bad);
    assert_eq!(letters.len(), bad.len(), "each once");
    for letter in &letters {
        assert_eq!(
            (&letter["type"], &letter["status"], &letter["lane"]),
            (&json!("splunk-6"), &json!(400), &json!("siem-soc"))
        );
        assert_eq!(letter["document"]["event"]["event"]["id"], letter["id"]);
    }
    world.all_but(&bad);
}

fn read_letters(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let text: String = files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "ndjson"))
        .map(|f| std::fs::read_to_string(f).expect("letters"))
        .collect();
    text.lines().map(|line| serde_json::from_str(line).expect("a letter")).collect()
}

/// When everything is refused, it is not the events: nothing goes to the dead letter.
#[test]
fn a_collector_that_refuses_everything_fills_no_dead_letter() {
    let world = World::start(|rules| rules.poison = Some("storefront"), |_| {});
    world.agent.says("\"hold\":\"misconfigured\"");
    assert_eq!(world.metric("tidegate_splunk_rejected_events_total"), 0);
    assert!(world.metric("tidegate_splunk_requests_total") < 20);
    world.hec.set(|rules| rules.poison = None);
    world.all_there();
}

/// Whatever a proxy says in a collector's place settles nothing and rejects nothing.
#[test]
fn answers_of_somebody_in_between() {
    for (status, body) in [(200, "<html>Sign in</html>"), (502, "<html>Bad gateway</html>"), (404, "<html>no</html>")] {
        let world = World::start(|rules| rules.fault = Some(Fault::Answer(status, body)), |_| {});
        wait_until("such answers", SOON, || world.hec.served("/services/collector/event", status) >= 2);
        assert_eq!(world.metric("tidegate_lane_delivered_lines_total"), 0);
        assert_eq!(world.metric("tidegate_lane_rejected_lines_total"), 0);
        world.hec.set(|rules| rules.fault = None);
        assert_eq!(world.all_there(), 0, "{status}");
    }
}

/// What was taken before the connection or the server broke comes a second time under its id, and all of it is there.
#[test]
fn taken_and_not_answered() {
    let faults = [Fault::TakeAndClose, Fault::TakeAndAnswer(500, r#"{"text":"Internal server error","code":8}"#)];
    for fault in faults {
        let mut world = World::plain();
        world.under_load();
        world.hec.set(|rules| (rules.fault, rules.faults_left) = (Some(fault), 3));
        world.agent.write(LINES);
        let repeats = world.all_there();
        assert!(repeats <= 300, "{repeats} repeats of three batches");
    }
}

#[test]
fn closed_and_reset_connections() {
    let mut world = World::plain();
    world.under_load();
    world.hec.set(|rules| (rules.fault, rules.faults_left) = (Some(Fault::Close), 2));
    for _ in 0..5 {
        world.agent.write(LINES / 5);
        world.hec.cut();
    }
    let repeats = world.all_there();
    assert!(repeats <= 600, "{repeats}");
}

#[test]
fn frozen_for_a_while() {
    let mut world = World::start(
        |_| {},
        |siem| {
            siem["timeout"] = json!("1s");
            // A yes is said once; where the answer came too late for us, the deadline sends the batch again.
            siem["splunk"]["ack_timeout"] = json!("5s");
        },
    );
    world.under_load();
    world.hec.set(|rules| rules.fault = Some(Fault::Freeze));
    world.agent.write(LINES);
    wait_until("the agent to notice", SOON, || world.metric("tidegate_splunk_uncertain_requests_total") > 0);
    world.hec.set(|rules| rules.fault = None);
    world.all_there();
}

#[test]
fn away_and_back_again() {
    let mut world = World::plain();
    world.under_load();
    world.hec.set(|rules| rules.away = true);
    world.hec.cut();
    world.agent.write(LINES);
    world.agent.says("unreachable");
    assert!(world.agent.memory_kib() < super::faults::MEMORY_KIB, "{} KiB", world.agent.memory_kib());
    world.hec.set(|rules| rules.away = false);
    world.all_there();
}

#[test]
fn killed_in_the_middle_and_started_again() {
    for indexing in [Indexing::AtOnce, Indexing::After(Duration::from_millis(500))] {
        let mut world = World::start(|rules| rules.indexing = indexing, |_| {});
        world.under_load();
        let running = world.agent.running.take().expect("it runs");
        running.kill();
        world.agent.write(LINES);
        world.agent.run();
        let expected: BTreeSet<String> = world.agent.expected().into_keys().collect();
        wait_until("every event", SOON, || world.hec.ids().into_iter().collect::<BTreeSet<_>>() == expected);
        world.agent.stop().expect_code(0);
    }
}

/// A stop waits for the acknowledgements of what was taken, and leaves nothing for the next start.
#[test]
fn a_stop_drains() {
    let mut world = World::start(|rules| rules.indexing = Indexing::After(Duration::from_secs(2)), |_| {});
    let acknowledged = "tidegate_splunk_settled_events_total{proof=\"acknowledged\"}";
    let taken = || world.metric("tidegate_splunk_waiting_events") + world.metric(acknowledged);
    wait_until("all taken", SOON, || taken() == LINES as u64);
    let ran = world.agent.stop().expect_code(0);
    assert!(ran.stderr.contains("\"clean\":true"), "{}", ran.stderr);
    assert_eq!(world.hec.count(), LINES);
    world.agent.run();
    world.agent.write(1);
    wait_until("the one line more", SOON, || world.hec.count() == LINES + 1);
}

/// What the first had not acknowledged goes to the second; once the first is well again, events go back to it.
#[test]
fn another_collector_stands_in_and_the_first_gets_the_events_back() {
    let second = Hec::start();
    let mut world = World::start(
        |_| {},
        |siem| {
            siem["failover"] = json!([second.url()]);
            siem["failback"] = json!("1s");
        },
    );
    world.under_load();
    world.hec.set(|rules| rules.away = true);
    world.hec.cut();
    world.agent.write(LINES);
    wait_until("the second", SOON, || second.count() > 0);
    world.hec.set(|rules| rules.away = false);
    let first = format!("tidegate_splunk_receiver{{receiver=\"http://127.0.0.1:{}\"}}", world.hec.port);
    wait_until("the first again", SOON, || world.metric(&first) == 1);
    world.agent.write(10);
    let expected: BTreeSet<String> = world.agent.expected().into_keys().collect();
    let ids = || world.hec.ids().into_iter().chain(second.ids()).collect::<BTreeSet<_>>();
    wait_until("every event", SOON, || ids() == expected);
    assert!(world.metric("tidegate_splunk_receiver_switches_total") >= 2);
    world.agent.stop().expect_code(0);
}

/// A collector that stays busy is left for another one, although it says that it is well.
#[test]
fn a_busy_collector_is_left_for_another_one() {
    let (second, busy) = (Hec::start(), Fault::Answer(503, r#"{"text":"Server is busy","code":9}"#));
    let mut world = World::start(
        |rules| rules.fault = Some(busy),
        |siem| {
            siem["failover"] = json!([second.url()]);
            siem["failback"] = json!("0s");
        },
    );
    wait_until("every event at the second", SOON, || second.count() == LINES);
    assert_eq!((world.hec.count(), world.metric("tidegate_splunk_repeated_events_total")), (0, 0));
    world.agent.stop().expect_code(0);
}

#[test]
fn a_check_says_what_the_collector_answers() {
    let (hec, folder) = (Hec::start(), token(TOKEN));
    let mut agent = Agent::start(destination(&hec, folder.path()));
    agent.stop();
    let check = |code: i32, part: &str| {
        let path = agent.path("tidegate.yaml");
        let ran =
            run_command(&mut tidegate(&["check".as_ref(), "--connect".as_ref(), "-c".as_ref(), path.as_os_str()]), "");
        let ran = ran.expect_code(code);
        assert!(ran.stdout.contains(part), "{part} is not in {}", ran.stdout);
    };
    let before = hec.count();
    check(0, "siem-soc: good: http://127.0.0.1");
    check(0, "200 HEC is healthy, the token has indexer acknowledgement");
    hec.set(|rules| rules.acknowledges = false);
    check(0, "siem-soc: note: ");
    hec.set(|rules| rules.token = None);
    check(3, "it refuses the token: 403 Invalid token; check the token in file");
    hec.set(|rules| rules.unwell = true);
    check(3, "503 HEC is unhealthy, queues are full");
    assert_eq!(hec.count(), before, "nothing was written");
}

/// A collector whose certificate is not believed gets nothing; an authority that is replaced while we run is taken. The end
/// of its certificate is a metric, and is warned of, since it lies less than 30 days ahead.
#[test]
fn over_tls_with_an_authority_that_is_put_right() {
    let (hec, folder) = (Hec::start(), token(TOKEN));
    let authority = |name: &str| {
        let new = folder.path().join("new");
        std::fs::copy(certificates().join(name), &new).expect("a copy");
        std::fs::rename(new, folder.path().join("ca.pem")).expect("renamed");
    };
    authority("rogue-ca.pem");
    let mut siem = destination(&hec, folder.path());
    siem["url"] = json!(format!("splunk+https://localhost:{}", hec.over_tls(certificates(), "server")));
    siem["tls"] = json!({"ca_file": folder.path().join("ca.pem")});
    let world = World { hec, agent: Agent::start(siem), _token: temp_dir() };
    world.agent.says("its issuer is not believed");
    assert_eq!(world.hec.served("/", 200), 0, "nothing got through");
    authority("ca.pem");
    let expires = "tidegate_tls_certificate_expiry_timestamp_seconds{kind=\"peer\"}";
    wait_until("the events", SOON, || world.hec.count() == LINES);
    let days = (world.metric(expires) as i64 - jiff::Timestamp::now().as_second()) / 86_400;
    assert!((28..=29).contains(&days), "{days} days");
    world.agent.says("a certificate ends soon");
    world.agent.says("\"kind\":\"peer\"");
    assert_eq!(world.all_there(), 0);
}

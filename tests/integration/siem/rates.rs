//! The built program with fewer records than flows, against a real rsyslog: sums are whole, numbers balance, and a killed
//! process loses no flow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::faults::{Agent, LINES};
use super::parsers;
use super::receiver::Rsyslog;
use crate::support::{SOON, root, run, temp_dir, wait_until};

/// Milliseconds.
const WINDOW: i64 = 5_000;

pub(super) type Pairs = BTreeMap<String, String>;

fn records(rsyslog: &Rsyslog) -> Vec<(String, Pairs)> {
    records_of(&rsyslog.received())
}

/// Class and keys of each.
pub(super) fn records_of(messages: &[Value]) -> Vec<(String, Pairs)> {
    let of = |message: &Value| {
        let record = message["msg"].as_str()?.to_owned();
        let class = record.split('|').nth(4)?.to_owned();
        Some((class, parsers::strict(&record).into_iter().collect()))
    };
    messages.iter().filter_map(of).collect()
}

fn number(pairs: &Pairs, key: &str) -> i64 {
    pairs.get(key).unwrap_or_else(|| panic!("no {key} in {pairs:?}")).parse().expect("a number")
}

fn count(agent: &Agent, name: &str) -> f64 {
    agent.metric(&format!("{name}{{lane=\"siem-soc\"}}")).unwrap_or(-1.0)
}

/// Connections and bytes by the window of the event's time.
fn sums(rsyslog: &Rsyslog) -> BTreeMap<i64, (i64, i64)> {
    sums_of(&rsyslog.received())
}

pub(super) fn sums_of(messages: &[Value]) -> BTreeMap<i64, (i64, i64)> {
    let mut sums = BTreeMap::new();
    for (class, pairs) in records_of(messages) {
        if class == "flow:deny" {
            let sum: &mut (i64, i64) = sums.entry(number(&pairs, "rt").div_euclid(WINDOW)).or_default();
            *sum = (sum.0 + number(&pairs, "cnt"), sum.1 + number(&pairs, "out"));
        }
    }
    sums
}

/// What [`sums`] has to be: the lines of `faults` by number.
pub(super) fn truth(lines: usize) -> BTreeMap<i64, (i64, i64)> {
    let mut sums = BTreeMap::new();
    for number in 0..lines as i64 {
        let time = (1_767_225_900 + number / 50) * 1000;
        let sum: &mut (i64, i64) = sums.entry(time.div_euclid(WINDOW)).or_default();
        *sum = (sum.0 + 1, sum.1 + number);
    }
    sums
}

fn settled(agent: &Agent) {
    let read = || count(agent, "tidegate_lane_read_lines_total");
    wait_until("every line settled", SOON, || {
        let parts = ["delivered", "filtered"].map(|what| count(agent, &format!("tidegate_lane_{what}_lines_total")));
        read() > 0.0 && parts.iter().sum::<f64>() == read() && parts[0] >= 0.0 && agent.written as f64 == read()
    });
}

fn siem(rsyslog: &Rsyslog, transport: &str, more: Value) -> Value {
    let mut siem = json!({"url": rsyslog.target(transport).to_string(), "timeout": "5s", "replay": {"age": "2s"}});
    for (key, value) in more.as_object().expect("keys") {
        siem[key] = value.clone();
    }
    siem
}

fn aggregate() -> Value {
    json!({"aggregate": {"window": "5s", "grace": "1s"}})
}

#[test]
fn sums_are_whole_and_lines_are_settled() {
    for transport in ["tls", "relp"] {
        let Some(rsyslog) = Rsyslog::start() else { return };
        let mut agent = Agent::start(siem(&rsyslog, transport, aggregate()));
        // The last window is over by the clock: nothing comes after it.
        settled(&agent);
        assert_eq!(sums(&rsyslog), truth(LINES));
        assert_eq!(count(&agent, "tidegate_lane_delivered_lines_total"), LINES as f64, "folded lines are delivered");
        agent.write(LINES);
        agent.stop().expect_code(0);
        let records = records(&rsyslog);
        let flows = records.iter().filter(|(class, _)| class == "flow:deny");
        assert!(flows.clone().count() < LINES / 50, "they are folded");
        for (_, pairs) in flows {
            assert_eq!(pairs["type"], "1");
            assert_eq!(pairs["cs2"], "storefront/web-7d9c7b5d6c-*", "what all agree on");
            assert!(!pairs.contains_key("spt") && !pairs.contains_key("shost"), "what they do not: {pairs:?}");
            assert!(number(pairs, "start") + 300_000 <= number(pairs, "end"));
        }
    }
}

/// Killed with open windows, in the middle of it: every flow is in some record afterwards.
#[test]
fn killed_with_open_windows() {
    for transport in ["tls", "relp"] {
        let Some(rsyslog) = Rsyslog::start() else { return };
        let mut agent = Agent::start(siem(&rsyslog, transport, aggregate()));
        for _ in 0..3 {
            let before = rsyslog.count();
            wait_until("a record or two", SOON, || rsyslog.count() > before + 1);
            agent.running.take().expect("it runs").kill();
            agent.write(LINES / 2);
            agent.run();
        }
        // The last windows close by the clock.
        settled(&agent);
        agent.stop().expect_code(0);
        let (sums, truth) = (sums(&rsyslog), truth(agent.written));
        for (window, truth) in &truth {
            let sum = sums.get(window).copied().unwrap_or_default();
            assert!(sum.0 >= truth.0 && sum.1 >= truth.1, "{transport}, window {window}: {sum:?} of {truth:?}");
        }
        assert!(sums.keys().eq(truth.keys()));
    }
}

/// What is beyond the limit is filtered, and the summaries say exactly how much.
#[test]
fn beyond_the_limit() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let limit = json!({"limit": {"per_key": 100, "window": "5s", "key": ["source.namespace", "dest.port"]}});
    let mut agent = Agent::start(siem(&rsyslog, "relp", limit));
    settled(&agent);
    let windows = truth(LINES);
    let passed: i64 = windows.values().map(|(flows, _)| (*flows).min(100)).sum();
    let held = LINES as i64 - passed;
    let balance =
        ["read", "delivered", "filtered"].map(|what| count(&agent, &format!("tidegate_lane_{what}_lines_total")));
    assert_eq!(balance, [LINES as f64, passed as f64, held as f64]);
    let metric = "tidegate_syslog_suppressed_lines_total{lane=\"siem-soc\",reason=\"limit\"}";
    assert_eq!(agent.metric(metric), Some(held as f64));
    agent.stop().expect_code(0);
    let records = records(&rsyslog);
    let summaries: Vec<&Pairs> =
        records.iter().filter(|(class, _)| class == "tidegate:suppressed").map(|(_, pairs)| pairs).collect();
    assert_eq!(summaries.len(), windows.values().filter(|(flows, _)| *flows > 100).count());
    assert_eq!(summaries.iter().map(|pairs| number(pairs, "cnt")).sum::<i64>(), held);
    for pairs in summaries {
        assert_eq!(
            (&*pairs["TidegateAlike"], &*pairs["reason"]),
            ("source.namespace=storefront dest.port=8080", "limit")
        );
        assert_eq!(number(pairs, "end") - number(pairs, "start"), WINDOW);
    }
    let stop = &records.last().expect("a stop").1;
    assert_eq!((number(stop, "TidegateSuppressed"), number(stop, "TidegateFiltered")), (held, held));
}

/// A budget that delays: everything comes, and not sooner than it may.
#[test]
fn a_budget_delays() {
    const EPS: usize = 400;
    let Some(rsyslog) = Rsyslog::start() else { return };
    let begun = Instant::now();
    let mut agent = Agent::start(siem(&rsyslog, "relp", json!({"eps": {"limit": EPS}})));
    settled(&agent);
    // The first second's worth is a burst.
    let least = Duration::from_secs_f64((LINES - EPS) as f64 / EPS as f64 * 0.9);
    assert!(begun.elapsed() >= least, "{:?} for {LINES} records", begun.elapsed());
    assert_eq!(count(&agent, "tidegate_lane_delivered_lines_total"), LINES as f64);
    agent.stop().expect_code(0);
}

/// What it would cost is counted by the lane's own half.
#[test]
fn the_estimate_knows_all_of_it() {
    let folder = temp_dir();
    let lines: String = (0..1000)
        .map(|number| {
            let line = json!({
                "start_time": 1_767_225_600 + number, "end_time": 1_767_225_660 + number, "source_name_aggr": "web-*",
                "source_namespace": "storefront", "source_type": "wep", "source_name": format!("web-{number}"),
                "dest_name_aggr": "orders-api-*", "dest_namespace": "orders", "dest_type": "wep", "dest_port": 8080,
                "proto": "tcp", "action": "allow", "reporter": "dst", "num_flows": 1, "bytes_in": number,
            });
            line.to_string() + "\n"
        })
        .collect();
    let log = folder.path().join("flows.log");
    std::fs::write(&log, lines).expect("a log");
    let records = |more: Value| -> u64 {
        let mut siem = json!({"name": "soc", "url": "tcp://localhost"});
        for (key, value) in more.as_object().expect("keys") {
            siem[key] = value.clone();
        }
        let zones = root().join("fixtures/cef/all-cross/zones.yaml");
        let configuration = json!({"cluster": "c", "node": "n", "zones": zones, "sinks": {"siem": [siem]}});
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, configuration.to_string()).expect("a configuration");
        let texts = [&file, &log].map(|path| path.to_str().expect("a plain path"));
        let ran = run(&["siem", "estimate", "-c", texts[0], "-o", "json", texts[1]], "").expect_code(0);
        let estimate: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout));
        estimate["destinations"][0]["records"].as_u64().unwrap_or_else(|| panic!("{estimate:#}"))
    };
    assert_eq!(records(json!({})), 1000);
    // 1,000 s from a full minute on.
    assert_eq!(records(json!({"aggregate": {"window": "60s"}})), 17);
    assert_eq!(records(json!({"limit": {"per_key": 10, "window": "60s"}})), 170);
    let sampled = records(json!({"sample": {"allow": 10}}));
    assert!((60..=150).contains(&sampled), "{sampled}");
    assert_eq!(records(json!({"eps": {"limit": 1, "when_exceeded": "suppress-allowed"}})), 1000, "one a second");
    assert_eq!(records(json!({"eps": {"limit": 1}})), 1000, "what waits comes in the end");
}

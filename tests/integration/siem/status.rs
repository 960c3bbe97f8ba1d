//! What the built program says of itself to a real rsyslog: start, heartbeat, outage, stop.

use serde_json::{Value, json};

use super::faults::{Agent, LINES};
use super::parsers;
use super::receiver::Rsyslog;
use crate::support::{SOON, wait_until};

/// Class and keys of each status record, in the order of arrival; every record has its place in the sequence.
fn status(rsyslog: &Rsyslog) -> Vec<(String, Vec<(String, String)>)> {
    let of = |message: Value| {
        let record = message["msg"].as_str()?.to_owned();
        let class = record.split('|').nth(4)?.to_owned();
        class.starts_with("tidegate:").then(|| {
            assert_eq!(message["msgid"], "STATUS");
            assert!(!record.contains("externalId="), "{record}");
            (class, parsers::strict(&record))
        })
    };
    rsyslog.received().into_iter().filter_map(of).collect()
}

fn classes(rsyslog: &Rsyslog) -> Vec<String> {
    status(rsyslog).into_iter().map(|(class, _)| class).collect()
}

fn number(record: &(String, Vec<(String, String)>), key: &str) -> i64 {
    let value = record.1.iter().find(|(name, _)| name == key);
    value.unwrap_or_else(|| panic!("no {key} in {record:?}")).1.parse().expect("a number")
}

fn count(agent: &Agent, name: &str) -> f64 {
    agent.metric(&format!("{name}{{lane=\"siem-soc\"}}")).unwrap_or(-1.0)
}

fn url(rsyslog: &Rsyslog, transport: &str) -> String {
    rsyslog.target(transport).to_string()
}

/// Start first, stop last, heartbeats between; no status record counts as a line.
#[test]
fn start_heartbeat_and_stop() {
    for transport in ["tls", "relp+tls"] {
        let Some(rsyslog) = Rsyslog::start() else { return };
        let mut agent =
            Agent::start(json!({"url": url(&rsyslog, transport), "heartbeat": "10s", "replay": {"age": "2s"}}));
        wait_until("a heartbeat", SOON, || classes(&rsyslog).len() >= 2);
        wait_until("everything settled", SOON, || count(&agent, "tidegate_lane_delivered_lines_total") == LINES as f64);
        let balance = ["read", "delivered", "filtered", "rejected", "dropped"]
            .map(|what| count(&agent, &format!("tidegate_lane_{what}_lines_total")));
        assert_eq!(balance, [LINES as f64, LINES as f64, 0.0, 0.0, 0.0]);
        agent.write(10);
        wait_until("ten more", SOON, || rsyslog.count() >= LINES + 12);
        agent.stop().expect_code(0);
        let (messages, status) = (rsyslog.received(), status(&rsyslog));
        let classes: Vec<&str> = status.iter().map(|(class, _)| &**class).collect();
        let beats = classes.len() - 2;
        assert_eq!(classes[0], "tidegate:start");
        assert!(beats > 0 && classes[1..=beats].iter().all(|class| *class == "tidegate:heartbeat"), "{classes:?}");
        assert_eq!(classes[beats + 1], "tidegate:stop", "and nothing more");
        assert!(messages[0]["msg"].as_str().is_some_and(|text| text.contains("|tidegate:start|")));
        let sequence: Vec<String> = (1..=messages.len()).map(|n| format!("[meta sequenceId=\"{n}\"]")).collect();
        assert!(messages.iter().map(|message| &message["sd"]).eq(&sequence), "no gap, no repeat");
        let (start, stop) = (number(&status[0], "rt"), status.last().expect("a stop"));
        assert_eq!(number(&status[1], "start"), start);
        assert_eq!(number(&status[1], "cn2"), LINES as i64 + 1, "the flows and the start");
        assert_eq!(number(stop, "cn2"), messages.len() as i64 - 1);
        // The ten lines are not settled by then; they came before this record.
        for key in ["cn3", "TidegateFiltered", "TidegateSuppressed", "TidegateDropped", "TidegateRewinds"] {
            assert_eq!(number(stop, key), 0, "{key}");
        }
    }
}

/// The receiver was away for longer than a heartbeat: one record says so once it is back, and the flows come late.
#[test]
fn an_outage_is_told_once() {
    for (transport, replay) in [("tls", "60s"), ("relp", "60s")] {
        let Some(mut rsyslog) = Rsyslog::start() else { return };
        let siem =
            json!({"url": url(&rsyslog, transport), "heartbeat": "10s", "timeout": "5s", "replay": {"age": replay}});
        let mut agent = Agent::start(siem);
        wait_until("every record", SOON, || rsyslog.count() > LINES);
        let before = classes(&rsyslog).len();
        rsyslog.kill();
        agent.write(LINES);
        let begun = std::time::Instant::now();
        wait_until("an outage", SOON, || begun.elapsed().as_secs() >= 11);
        rsyslog.run();
        let outages =
            || -> Vec<_> { status(&rsyslog).into_iter().filter(|(class, _)| class == "tidegate:outage").collect() };
        wait_until("word of the outage", SOON * 3, || !outages().is_empty());
        wait_until("a heartbeat after it", SOON, || {
            let classes = classes(&rsyslog);
            classes.len() > before + 1 && classes.last().is_some_and(|class| class == "tidegate:heartbeat")
        });
        wait_until("the late ones", SOON, || {
            let ids: std::collections::BTreeSet<_> = rsyslog.received().iter().filter_map(id).collect();
            ids.len() == agent.written
        });
        agent.stop().expect_code(0);
        let outages = outages();
        assert_eq!(outages.len(), 1, "{outages:?}");
        let outage = &outages[0];
        let (from, until) = (number(outage, "start"), number(outage, "end"));
        let seconds = number(outage, "cn1");
        assert!(seconds >= 10 && (until - from) / 1000 == seconds, "{outage:?}");
        assert!(number(outage, "cn3") > 0, "something was late: {outage:?}");
        let repeated = number(outage, "TidegateRepeated");
        if transport == "tls" {
            assert!((LINES as i64..LINES as i64 + 10).contains(&repeated), "the whole window: {repeated}");
        } else {
            assert_eq!(repeated, 0, "everything was acknowledged");
        }
    }
}

fn id(message: &Value) -> Option<String> {
    let text = message["msg"].as_str()?;
    let rest = &text[text.find("externalId=")? + 11..];
    rest.split(' ').next().map(str::to_owned)
}

/// Nobody is there, from the start to the end: nothing is waited for on account of status records.
#[test]
fn a_stop_without_a_receiver_is_quick() {
    let port = crate::support::free_port();
    let mut agent = Agent::start(json!({"url": format!("tcp://127.0.0.1:{port}"), "filter": "dest.port = 1"}));
    wait_until("every line", SOON, || count(&agent, "tidegate_lane_filtered_lines_total") == LINES as f64);
    let begun = std::time::Instant::now();
    agent.stop().expect_code(0);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// Switched off, a receiver gets flows and nothing else.
#[test]
fn none_where_none_are_wanted() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let mut agent = Agent::start(json!({"url": url(&rsyslog, "relp"), "status_records": false}));
    wait_until("every record", SOON, || rsyslog.count() >= LINES);
    agent.stop().expect_code(0);
    assert_eq!((rsyslog.count(), classes(&rsyslog)), (LINES, Vec::new()));
}

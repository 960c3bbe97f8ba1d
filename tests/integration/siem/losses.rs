//! What a fault can cost, and that it is said: the bounds of the replay window, a receiver that shows a foreign certificate,
//! datagrams of which nobody knows.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use serde_json::{Value, json};

use super::faults::{Agent, LINES, all_there, flows, id, url};
use super::rates;
use super::receiver::Rsyslog;
use crate::support::{SOON, side_by_side, wait_until};

fn metric(agent: &Agent, lane: &str, name: &str) -> f64 {
    agent.metric(&format!("{name}{{lane=\"siem-{lane}\"}}")).unwrap_or(-1.0)
}

fn settled_by(agent: &Agent, lane: &str, proof: &str) -> f64 {
    let name = "tidegate_syslog_settled_records_total";
    agent.metric(&format!("{name}{{lane=\"siem-{lane}\",proof=\"{proof}\"}}")).unwrap_or(-1.0)
}

fn ids(rsyslog: &Rsyslog) -> BTreeSet<String> {
    flows(rsyslog).iter().map(|message| id(message["raw"].as_str().expect("text"))).collect()
}

/// A break sends again what is in the window, and nothing else: what had left it by number, or by age.
#[test]
fn a_break_repeats_the_window_alone() {
    let cases = [
        ("tcp", json!({"records": 500, "age": "60s"}), 700),
        ("tls", json!({"records": 500, "age": "60s"}), 700),
        ("tls", json!({"records": 10_000, "age": "1s"}), 0),
        ("tls", json!({"records": 0, "age": "60s"}), 0),
    ];
    side_by_side(cases, |(transport, replay, most)| {
        let Some(mut rsyslog) = Rsyslog::start() else { return };
        let mut agent = Agent::start(json!({
            "url": url(&rsyslog, transport), "timeout": "5s", "replay": replay, "status_records": false,
        }));
        wait_until("every record", SOON, || rsyslog.count() == LINES);
        wait_until("what the window lets go", SOON, || {
            let held = LINES as f64 - settled_by(&agent, "soc", "window");
            held <= most as f64
        });
        let held = LINES - settled_by(&agent, "soc", "window") as usize;
        rsyslog.kill();
        rsyslog.run();
        agent.write(LINES);
        assert_eq!(all_there(agent, &[&rsyslog]), held, "{transport} {replay}");
        assert!(most == 0 || held >= 500, "{held} is less than the window");
    });
}

/// A receiver takes records and dies before it has read them. Over RELP nothing is lost. Else what was beyond the window may
/// be, as the page says, and no other; a window that holds it all loses nothing.
#[test]
fn dead_with_more_than_the_window() {
    let cases = [("tcp", 500, true), ("tls", 500, true), ("tls", 10_000, false), ("relp", 0, false)];
    side_by_side(cases, |(transport, window, may_lose)| {
        let Some(mut rsyslog) = Rsyslog::start() else { return };
        let mut agent = Agent::start(json!({
            "url": url(&rsyslog, transport), "replay": {"records": window, "age": "60s"}, "status_records": false,
        }));
        wait_until("every record", SOON, || rsyslog.count() == LINES);
        rsyslog.freeze();
        agent.write(LINES);
        let least = if transport == "relp" { LINES + 10 } else { LINES * 2 };
        wait_until("the kernel to take them", SOON, || {
            metric(&agent, "soc", "tidegate_syslog_records_total") >= least as f64
        });
        rsyslog.kill();
        rsyslog.run();
        agent.write(10);
        let (ids_in_order, mut came) = (agent.ids_in_order(), BTreeSet::new());
        let (before, rest) = ids_in_order.split_at(LINES);
        let within = if may_lose { &rest[LINES - window..] } else { rest };
        wait_until("what is in the window", SOON, || {
            came = ids(&rsyslog);
            within.iter().all(|id| came.contains(id))
        });
        assert!(before.iter().all(|id| came.contains(id)), "what was read is there");
        let lost = rest.iter().filter(|id| !came.contains(*id)).count();
        println!("{lost} lost over {transport} with a window of {window}");
        assert_eq!(lost > 0, may_lose, "{lost} lost over {transport} with a window of {window}");
        agent.stop().expect_code(0);
    });
}

/// The receiver comes back with the certificate of a foreign authority: nothing is sent to it, the reason is said, and once it
/// shows its own again all goes on.
#[test]
fn a_foreign_certificate_holds_everything() {
    side_by_side([("tls", LINES), ("relp+tls", 0)], |(transport, repeats)| {
        let Some(mut rsyslog) = Rsyslog::start() else { return };
        let mut agent = Agent::start(json!({"url": url(&rsyslog, transport), "timeout": "5s"}));
        let delivered = || metric(&agent, "soc", "tidegate_lane_delivered_lines_total");
        wait_until("every record", SOON, || {
            flows(&rsyslog).len() == LINES && (transport == "tls" || delivered() == LINES as f64)
        });
        rsyslog.stop();
        rsyslog.show("rogue-server");
        rsyslog.run();
        let before = rsyslog.count();
        agent.write(LINES);
        wait_until("two refusals", SOON, || metric(&agent, "soc", "tidegate_syslog_tls_errors_total") >= 2.0);
        assert_eq!(rsyslog.count(), before, "nothing is sent to a stranger");
        assert_eq!(metric(&agent, "soc", "tidegate_syslog_connected"), 0.0);
        agent.says("set ca_file");
        rsyslog.stop();
        rsyslog.show("server");
        rsyslog.run();
        assert_eq!(all_there(agent, &[&rsyslog]), repeats, "repeats over {transport}: the window, and nothing else");
    });
}

/// Nobody reads: each record counts as sent and as confirmed by nothing.
#[test]
fn datagrams_are_unconfirmed() {
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    let url = format!("udp://{}", deaf.local_addr().expect("a bound socket"));
    let mut agent = Agent::start(json!({"url": url, "replay": {"age": "1s"}, "status_records": false}));
    wait_until("every line settled", SOON, || {
        metric(&agent, "soc", "tidegate_lane_delivered_lines_total") == LINES as f64
    });
    let proofs = ["acknowledged", "closed", "window", "none"].map(|proof| settled_by(&agent, "soc", proof));
    assert_eq!(proofs, [0.0, 0.0, 0.0, LINES as f64]);
    agent.stop().expect_code(0);
}

/// Status records and sums over every way on which nothing answers, side by side: each destination hears of its sender from
/// the start to the stop, without a gap, and gets every flow in one of its sums.
#[test]
fn status_and_sums_where_nothing_answers() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    // The destination, the input of rsyslog that it is, and what its records are settled by.
    let ways = [
        ("udp", "udp", "none"),
        ("unix", "imuxsock", "none"),
        ("unix-stream", "unix-stream", "window"),
        ("tcp", "tcp", "window"),
    ];
    let destination = |(transport, ..): &(&str, &str, &str)| {
        let mut siem = json!({
            "name": transport, "url": url(&rsyslog, transport), "heartbeat": "10s", "replay": {"age": "1s"},
            "aggregate": {"window": "5s", "grace": "1s"},
        });
        if *transport == "tcp" {
            siem["framing"] = json!("lf");
        }
        siem
    };
    let mut agent = Agent::start_all(ways.iter().map(destination).collect());
    for (name, ..) in &ways {
        wait_until("every line settled", SOON, || {
            metric(&agent, name, "tidegate_lane_delivered_lines_total") == LINES as f64
        });
    }
    let of = |input: &str| -> Vec<Value> {
        rsyslog.received().into_iter().filter(|message| message["input"] == input).collect()
    };
    let beats = |input: &str| {
        of(input).iter().any(|message| message["msg"].as_str().is_some_and(|msg| msg.contains("|tidegate:heartbeat|")))
    };
    wait_until("a heartbeat over each", SOON, || ways.iter().all(|(_, input, _)| beats(input)));
    for (name, _, proof) in &ways {
        wait_until("the heartbeat to be settled", SOON, || {
            settled_by(&agent, name, proof) == metric(&agent, name, "tidegate_syslog_records_total")
        });
    }
    agent.stop().expect_code(0);
    for (name, input, _) in ways {
        let messages = of(input);
        let classes: Vec<String> = rates::records_of(&messages).into_iter().map(|(class, _)| class).collect();
        let (first, last) = (classes.first().map(String::as_str), classes.last().map(String::as_str));
        assert_eq!((first, last), (Some("tidegate:start"), Some("tidegate:stop")), "{name}");
        let known = ["tidegate:heartbeat", "flow:deny"];
        assert!(
            classes[1..classes.len() - 1].iter().all(|class| known.contains(&class.as_str())),
            "{name}: {classes:?}"
        );
        let sequence: Vec<String> = (1..=messages.len()).map(|n| format!("[meta sequenceId=\"{n}\"]")).collect();
        assert!(messages.iter().map(|message| &message["sd"]).eq(&sequence), "{name}: no gap, no repeat");
        assert_eq!(rates::sums_of(&messages), rates::truth(LINES), "{name}");
    }
}

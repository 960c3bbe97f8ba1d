//! A network that takes packets and delivers none: no reset, no refusal, no answer.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::faults::{Agent, LINES};
use super::receiver::certificates;
use crate::support::{Running, SOON, bin, root, side_by_side, wait_until, went_without};

/// The kernel gives up after 30 s without an acknowledgement, and looks no more often than its own retries.
const NOTICED: Duration = Duration::from_secs(60);

fn check(scheme: &str) {
    let mut siem = json!({"name": "soc", "url": format!("{scheme}://10.99.0.2:6514"), "status_records": false});
    siem["tls"] = match scheme {
        "tls" => json!({"ca_file": certificates().join("ca.pem"), "server_name": "localhost"}),
        _ => json!(null),
    };
    let mut agent = Agent::prepared(vec![siem]);
    if scheme == "tls" {
        for name in ["server.pem", "server.key"] {
            std::fs::copy(certificates().join(name), agent.path(name)).expect("a copy");
        }
    }
    let mut command = Command::new(root().join("tests/siem/silent"));
    command.arg(agent.path("")).arg(bin()).args(["run", "-c"]).arg(agent.path("tidegate.yaml"));
    let mut running = Running::start(command.env_remove("RUST_LOG"));
    wait_until("records, or an end", SOON, || running.has_ended() || got(&agent).len() == LINES);
    if running.has_ended() {
        let ran = running.wait(SOON);
        assert_eq!(ran.code(), Some(77), "{}{}", ran.stdout, ran.stderr);
        return went_without("a silent network", "it takes network namespaces with veth, unshare, ip and python3");
    }
    agent.running = Some(running);
    order(&agent, "cut");
    let cut = Instant::now();
    // One after the other, so that there is always something unacknowledged, and more than the kernel holds.
    wait_until("a word of it", NOTICED, || {
        agent.write(20);
        std::thread::sleep(Duration::from_millis(200));
        agent.said().contains("lost the connection to the SIEM")
    });
    let noticed = cut.elapsed();
    assert!(noticed > Duration::from_secs(20), "{scheme}: {noticed:?} is too soon for a network that only stutters");
    agent.says("Connection timed out");
    order(&agent, "back");
    wait_until("every record", SOON * 2, || got(&agent).len() == agent.written);
    let expected: BTreeSet<String> = agent.expected().into_keys().collect();
    assert_eq!(got(&agent), expected);
    agent.stop().expect_code(0);
}

/// The network does as it is told.
fn order(agent: &Agent, what: &str) {
    std::fs::write(agent.path(what), "").expect("an order");
    wait_until(what, SOON, || agent.path(&format!("is-{what}")).exists());
}

/// Ids of the records that came.
fn got(agent: &Agent) -> BTreeSet<String> {
    let octets = std::fs::read(agent.path("got")).unwrap_or_default();
    let text = String::from_utf8_lossy(&octets);
    let whole = text.rfind("externalId=").map_or("", |last| match text[last..].find(' ') {
        Some(end) => &text[..last + end],
        None => &text[..last],
    });
    whole.split("externalId=").skip(1).filter_map(|rest| Some(rest.split([' ', '\n']).next()?.to_owned())).collect()
}

/// Every record comes all the same, since what no receiver can have acknowledged is sent again.
#[test]
fn a_silent_network_is_noticed_and_nothing_is_lost() {
    side_by_side(["tcp", "tls"], check);
}

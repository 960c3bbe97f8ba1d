//! The built program under load while its receiver fails: what arrived is compared with what was written, by `externalId`
//! and byte for byte.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::{Mode, Proxy};
use super::receiver::{Rsyslog, certificates};
use crate::support::{
    Ran, Running, SOON, free_port, http_get, root, run, side_by_side, temp_dir, tidegate, wait_until,
};

/// Lines that are there at the start, and as many that come while the fault is on.
pub(super) const LINES: usize = 2000;
/// Of the agent in a debug build; a release build needs a third.
pub(super) const MEMORY_KIB: u64 = 64 << 10;

pub(super) struct Agent {
    folder: tempfile::TempDir,
    port: u16,
    pub(super) written: usize,
    pub(super) running: Option<Running>,
}

fn line(number: usize) -> String {
    json!({
        "start_time": 1_767_225_600 + number / 50, "end_time": 1_767_225_900 + number / 50,
        "source_name": format!("web-7d9c7b5d6c-{number}"), "source_name_aggr": "web-7d9c7b5d6c-*",
        "source_namespace": "storefront", "source_type": "wep", "source_ip": "10.42.1.17", "source_port": 1024 + number % 60_000,
        "dest_name_aggr": "orders-api-*", "dest_namespace": "orders", "dest_type": "wep", "dest_ip": "10.42.3.41",
        "dest_port": 8080, "proto": "tcp", "action": "deny", "reporter": "src", "num_flows": 1, "bytes_in": number,
        "policies": {"enforced_policies": ["0|security|security.cluster-default-deny|deny|2"]},
    })
    .to_string()
}

impl Agent {
    /// Lines are there already. `siem`: the destination, which gets the name `soc`.
    pub(super) fn start(mut siem: Value) -> Self {
        siem["name"] = json!("soc");
        Self::start_all(vec![siem])
    }

    pub(super) fn start_all(siem: Vec<Value>) -> Self {
        let mut this = Self::prepared(siem);
        this.run();
        this
    }

    /// All but the program.
    pub(super) fn prepared(mut siem: Vec<Value>) -> Self {
        let mut this = Self { folder: temp_dir(), port: free_port(), written: 0, running: None };
        this.write(LINES);
        let file = |name: &str| certificates().join(name);
        for siem in &mut siem {
            let url = siem["url"].as_str().expect("a URL");
            if ["tls://", "relp+tls://"].iter().any(|scheme| url.starts_with(scheme)) && siem["tls"].is_null() {
                siem["tls"] = json!({"ca_file": file("ca.pem"), "certificate_file": file("client.pem"), "key_file": file("client.key")});
            }
        }
        let configuration = json!({
            "cluster": "test-cluster",
            "node": "test-node",
            "sources": [{"path": this.path("flows.log")}],
            "zones": root().join("fixtures/cef/all-cross/zones.yaml"),
            "sinks": {"siem": siem},
            "state_dir": this.path("state"),
            "listen": format!("127.0.0.1:{}", this.port),
        });
        std::fs::write(this.path("tidegate.yaml"), configuration.to_string()).expect("a configuration");
        this
    }

    pub(super) fn run(&mut self) {
        let path = self.path("tidegate.yaml");
        self.running = Some(Running::start(&mut tidegate(&["run".as_ref(), "-c".as_ref(), path.as_os_str()])));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&mut self, lines: usize) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.path("flows.log")).expect("a file");
        let text: String = (self.written..self.written + lines).map(|number| line(number) + "\n").collect();
        file.write_all(text.as_bytes()).expect("written");
        self.written += lines;
    }

    /// One number of the metrics; labels as they are printed.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let (_, answer) = http_get(self.port, "/metrics")?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> String {
        self.running.as_ref().expect("it runs").said()
    }

    /// Waits until it has said so.
    #[track_caller]
    pub(super) fn says(&self, text: &str) {
        self.running.as_ref().expect("it runs").says(text);
    }

    /// Highest resident memory so far.
    pub(super) fn memory_kib(&self) -> u64 {
        self.running.as_ref().expect("it runs").memory_kib("VmHWM").expect("a process")
    }

    /// Time on a processor so far.
    fn cpu(&self) -> Duration {
        let pid = self.running.as_ref().expect("it runs").pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name")..].split(' ').collect();
        let ticks: u64 = [12, 13].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(super) fn stop(&mut self) -> Ran {
        let running = self.running.take().expect("it runs");
        running.terminate();
        running.wait(SOON)
    }

    /// Every record that should arrive, by its id.
    pub(super) fn expected(&self) -> BTreeMap<String, String> {
        self.records().into_iter().collect()
    }

    /// Ids of the lines, in their order.
    pub(super) fn ids_in_order(&self) -> Vec<String> {
        self.records().into_iter().map(|(id, _)| id).collect()
    }

    fn records(&self) -> Vec<(String, String)> {
        let zones = root().join("fixtures/cef/all-cross/zones.yaml");
        let zones = zones.to_str().expect("a plain path");
        let arguments =
            ["convert", "--to", "cef", "--cluster", "test-cluster", "--node", "test-node", "--zones", zones];
        let text = std::fs::read(self.path("flows.log")).expect("the file");
        let records = run(&arguments, text).expect_code(0).stdout;
        records.lines().map(|record| (id(record), record.to_owned())).collect()
    }
}

pub(super) fn id(record: &str) -> String {
    let rest = &record[record.find("externalId=").expect("an id") + 11..];
    rest.split(' ').next().unwrap_or_default().to_owned()
}

/// What came that is no status record.
pub(super) fn flows(rsyslog: &Rsyslog) -> Vec<Value> {
    let is_flow = |message: &Value| !message["raw"].as_str().expect("text").contains("|tidegate:");
    rsyslog.received().into_iter().filter(is_flow).collect()
}

/// Waits until every record is there, ends the agent, and compares. Gives the number of repeats.
#[track_caller]
pub(super) fn all_there(mut agent: Agent, receivers: &[&Rsyslog]) -> usize {
    let count = || receivers.iter().map(|rsyslog| rsyslog.count()).sum::<usize>();
    let expected = agent.expected();
    assert_eq!(expected.len(), agent.written);
    let messages = || receivers.iter().flat_map(|rsyslog| flows(rsyslog)).collect::<Vec<_>>();
    let ids =
        || messages().iter().map(|m| id(m["raw"].as_str().expect("text"))).collect::<std::collections::BTreeSet<_>>();
    wait_until("every record", SOON * 2, || count() >= expected.len() && ids().len() == expected.len());
    let ran = agent.stop().expect_code(0);
    let messages = messages();
    for message in &messages {
        let record = message["msg"].as_str().expect("text");
        assert_eq!(expected.get(&id(record)).map(String::as_str), Some(record), "{}", ran.stderr);
    }
    messages.len() - expected.len()
}

#[track_caller]
fn under_load(agent: &Agent, rsyslog: &Rsyslog) {
    wait_until("the first records", SOON, || rsyslog.count() >= 50);
    assert!(rsyslog.count() < agent.written, "it is over before it began");
}

pub(super) fn url(rsyslog: &Rsyslog, transport: &str) -> String {
    rsyslog.target(transport).to_string()
}

/// A fault in the middle of the load, then as much load again.
#[track_caller]
fn survives(transport: &str, most_repeats: usize, fault: impl FnOnce(&mut Rsyslog, &mut Agent)) {
    let Some(mut rsyslog) = Rsyslog::start() else { return };
    let mut agent = Agent::start(json!({"url": url(&rsyslog, transport), "timeout": "5s"}));
    under_load(&agent, &rsyslog);
    fault(&mut rsyslog, &mut agent);
    let repeats = all_there(agent, &[&rsyslog]);
    println!("{repeats} repeats over {transport}");
    assert!(repeats <= most_repeats, "{repeats} repeats over {transport}");
}

/// In the session's window, and in the file but not yet acknowledged.
const RELP_REPEATS: usize = 1000;
/// All that was sent, of a window that holds more.
const WINDOW_REPEATS: usize = LINES * 2;

fn killed(rsyslog: &mut Rsyslog, agent: &mut Agent) {
    rsyslog.kill();
    agent.write(LINES);
    rsyslog.run();
}

#[test]
fn killed_over_tls() {
    survives("tls", WINDOW_REPEATS, killed);
}

#[test]
fn killed_over_relp() {
    survives("relp", RELP_REPEATS, killed);
}

#[test]
fn killed_over_relp_and_tls() {
    survives("relp+tls", RELP_REPEATS, killed);
}

#[test]
fn closed_over_tls_and_relp() {
    for (transport, repeats) in [("tls", WINDOW_REPEATS), ("relp+tls", RELP_REPEATS)] {
        survives(transport, repeats, |rsyslog, agent| {
            rsyslog.stop();
            agent.write(LINES);
            rsyslog.run();
        });
    }
}

#[test]
fn restarted_again_and_again() {
    for (transport, repeats) in
        [("tcp", WINDOW_REPEATS * 3), ("relp", RELP_REPEATS * 3), ("relp+tls", RELP_REPEATS * 3)]
    {
        survives(transport, repeats, |rsyslog, agent| {
            for _ in 0..3 {
                rsyslog.kill();
                rsyslog.run();
                let before = rsyslog.count();
                agent.write(LINES / 4);
                wait_until("some more", SOON, || rsyslog.count() > before);
            }
        });
    }
}

/// Nothing answers, and nothing is closed. Over RELP it is noticed; else the receiver takes all when it goes on.
#[test]
fn frozen_for_a_while() {
    for (transport, repeats) in
        [("relp", RELP_REPEATS), ("relp+tls", RELP_REPEATS), ("tcp", WINDOW_REPEATS), ("tls", WINDOW_REPEATS)]
    {
        survives(transport, repeats, |rsyslog, agent| {
            rsyslog.freeze();
            agent.write(LINES);
            if transport.starts_with("relp") {
                let errors = "tidegate_syslog_disconnects_total{lane=\"siem-soc\"}";
                wait_until("the agent to notice", SOON, || agent.metric(errors).is_some_and(|count| count > 0.0));
            }
            rsyslog.thaw();
        });
    }
}

/// Connections through a load balancer.
#[track_caller]
fn survives_behind_a_proxy(transport: &str, fault: impl FnOnce(&Proxy, &Rsyslog, &mut Agent)) {
    survives_behind_a_proxy_made_again(transport, "0s", fault);
}

/// With an age at which connections are made again.
#[track_caller]
fn survives_behind_a_proxy_made_again(
    transport: &str,
    reconnect: &str,
    fault: impl FnOnce(&Proxy, &Rsyslog, &mut Agent),
) {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let port = match transport {
        "tls" => rsyslog.tls,
        "relp" => rsyslog.relp,
        _ => rsyslog.relp_tls,
    };
    let proxy = Proxy::start(port);
    let url = format!("{transport}://localhost:{}", proxy.port);
    let mut agent = Agent::start(json!({"url": url, "timeout": "5s", "reconnect": reconnect}));
    under_load(&agent, &rsyslog);
    fault(&proxy, &rsyslog, &mut agent);
    all_there(agent, &[&rsyslog]);
}

#[test]
fn reset_by_a_load_balancer() {
    for transport in ["tls", "relp+tls"] {
        survives_behind_a_proxy(transport, |proxy, _, agent| {
            proxy.reset();
            agent.write(LINES);
        });
    }
}

/// An idle connection that was dropped without a word. Only an acknowledgement that does not come can show it.
#[test]
fn forgotten_by_a_load_balancer_over_relp() {
    side_by_side(["relp", "relp+tls"], |transport| {
        survives_behind_a_proxy(transport, |proxy, rsyslog, agent| {
            wait_until("an idle connection", SOON, || rsyslog.count() >= LINES);
            proxy.set(Mode::Forget);
            agent.write(10);
            let errors = "tidegate_syslog_disconnects_total{lane=\"siem-soc\"}";
            wait_until("the agent to notice", SOON, || agent.metric(errors).is_some_and(|count| count > 0.0));
            agent.says("acknowledged nothing for 5s");
            proxy.set(Mode::Forward);
            agent.write(LINES);
        });
    });
}

/// Nothing can show it over TLS. The age at which a connection is closed and made again bounds it: what nobody confirms then
/// is sent again.
#[test]
fn forgotten_by_a_load_balancer_over_tls() {
    survives_behind_a_proxy_made_again("tls", "10s", |proxy, rsyslog, agent| {
        wait_until("an idle connection", SOON, || rsyslog.count() >= LINES);
        proxy.set(Mode::Forget);
        agent.write(10);
        let sent = "tidegate_syslog_records_total{lane=\"siem-soc\"}";
        wait_until("the agent to send", SOON, || agent.metric(sent).is_some_and(|count| count > (LINES + 10) as f64));
        assert_eq!(flows(rsyslog).len(), LINES, "they are gone, and nobody has said so");
        proxy.set(Mode::Forward);
    });
}

#[test]
fn slower_than_the_rate() {
    for transport in ["tls", "relp+tls"] {
        survives_behind_a_proxy(transport, |proxy, rsyslog, agent| {
            proxy.set(Mode::Trickle);
            agent.write(LINES);
            let before = rsyslog.count();
            wait_until("a little more", SOON, || rsyslog.count() > before + 300);
            let unsent = agent.metric("tidegate_syslog_unsent_bytes{lane=\"siem-soc\"}").expect("metrics");
            assert!(unsent < (tidegate::sink::syslog::UNSENT_LIMIT + tidegate::sink::syslog::BATCH_BYTES) as f64);
            assert!(agent.memory_kib() < MEMORY_KIB, "{} KiB", agent.memory_kib());
            proxy.set(Mode::Forward);
        });
    }
}

/// Both receivers together have every record, and a restart of the first one brings the records back to it.
#[test]
fn another_receiver_stands_in_and_the_first_gets_the_records_back() {
    for (transport, other) in [("tls", "tls"), ("relp+tls", "tls")] {
        let (Some(mut first), Some(second)) = (Rsyslog::start(), Rsyslog::start()) else { return };
        let siem = json!({
            "url": url(&first, transport), "failover": [url(&second, other)], "failback": "1s", "timeout": "5s",
        });
        let mut agent = Agent::start(siem);
        under_load(&agent, &first);
        let receiver = |url: &str| format!("tidegate_syslog_receiver{{lane=\"siem-soc\",receiver=\"{url}\"}}");
        let (at_first, at_second) = (receiver(&url(&first, transport)), receiver(&url(&second, other)));
        first.kill();
        agent.write(LINES);
        wait_until("the second receiver", SOON, || agent.metric(&at_second) == Some(1.0));
        assert_eq!(agent.metric(&at_first), Some(0.0));
        first.run();
        wait_until("the first receiver", SOON, || agent.metric(&at_first) == Some(1.0));
        assert_eq!(agent.metric(&at_second), Some(0.0));
        let switches = agent.metric("tidegate_syslog_receiver_switches_total{lane=\"siem-soc\"}");
        assert!(switches.is_some_and(|count| count >= 2.0), "{switches:?}");
        let (before, there) = (first.count(), second.count());
        agent.write(10);
        wait_until("more of it at the first", SOON, || first.count() >= before + 10);
        assert_eq!(second.count(), there, "never both");
        all_there(agent, &[&first, &second]);
    }
}

/// A receiver that is away costs lag: no memory, no processor to speak of, a few lines of log.
#[test]
fn a_dead_receiver_costs_nothing_but_lag() {
    let Some(mut rsyslog) = Rsyslog::start() else { return };
    let mut agent = Agent::start(json!({"url": url(&rsyslog, "relp"), "timeout": "5s"}));
    under_load(&agent, &rsyslog);
    rsyslog.kill();
    let errors = "tidegate_syslog_connect_errors_total{lane=\"siem-soc\"}";
    wait_until("a failed try", SOON, || agent.metric(errors).is_some_and(|count| count > 0.0));
    agent.write(LINES);
    let unsent = "tidegate_syslog_unsent_bytes{lane=\"siem-soc\"}";
    let full = tidegate::sink::syslog::UNSENT_LIMIT as f64;
    wait_until("a full queue", SOON, || agent.metric(unsent).is_some_and(|bytes| bytes >= full));
    let (cpu, tries) = (agent.cpu(), agent.metric(errors));
    wait_until("another try", SOON, || agent.metric(errors) > tries);
    // Scrapes included, of which there is one each 10 ms.
    assert!(agent.cpu() - cpu < Duration::from_millis(1500), "{:?}", agent.cpu() - cpu);
    assert!(agent.memory_kib() < MEMORY_KIB, "{} KiB", agent.memory_kib());
    rsyslog.run();
    all_there(agent, &[&rsyslog]);
}

/// A client certificate that is replaced while the agent runs is shown at the next try.
#[test]
fn a_certificate_is_read_again() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let folder = temp_dir();
    let put = |name: &str| {
        for ending in ["pem", "key"] {
            let (new, place) = (folder.path().join("new"), folder.path().join(format!("own.{ending}")));
            std::fs::copy(certificates().join(format!("{name}.{ending}")), &new).expect("a copy");
            std::fs::rename(new, place).expect("renamed");
        }
    };
    put("rogue-client");
    let file = |folder: &Path, name: &str| folder.join(name);
    let tls = json!({
        "ca_file": file(certificates(), "ca.pem"),
        "certificate_file": file(folder.path(), "own.pem"), "key_file": file(folder.path(), "own.key"),
    });
    for transport in ["tls", "relp+tls"] {
        put("rogue-client");
        let before = rsyslog.count();
        let agent = Agent::start(json!({"url": url(&rsyslog, transport), "timeout": "5s", "tls": tls}));
        let errors = "tidegate_syslog_tls_errors_total{lane=\"siem-soc\"}";
        wait_until("a refusal", SOON, || agent.metric(errors).is_some_and(|count| count > 0.0));
        assert_eq!(rsyslog.count(), before, "nothing got through");
        put("client");
        wait_until("every record", SOON, || rsyslog.count() >= before + LINES);
        drop(agent);
    }
}

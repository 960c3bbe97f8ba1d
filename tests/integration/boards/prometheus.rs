//! The agents' board, asked of a real Prometheus that scrapes a running agent with a lane of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};
use tidegate::setup::boards::grafana;

use crate::siem::receiver::certificates;
use crate::support::hec::{Hec, TOKEN};
use crate::support::{
    Running, SOON, free_port, http_get, root, temp_dir, tidegate, wait_for, wait_until, went_without,
};

/// An agent with a lane of every kind: a collector over TLS, a receiver over TCP that throws away, an Elasticsearch that is
/// not there (its numbers are).
struct World {
    folder: tempfile::TempDir,
    port: u16,
    _hec: Hec,
    _agent: Running,
}

impl World {
    fn start() -> Self {
        let (folder, hec, port) = (temp_dir(), Hec::start(), free_port());
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("token"), TOKEN).expect("a token");
        std::fs::write(path("flows.log"), flow() + "\n").expect("a flow");
        let collector = format!("splunk+https://localhost:{}", hec.over_tls(certificates(), "server"));
        let configuration = json!({
            "sources": [{"path": path("flows.log")}],
            "zones": root().join("fixtures/cef/all-cross/zones.yaml"),
            "sinks": {
                "elasticsearch": {"hosts": [format!("http://127.0.0.1:{}", free_port())]},
                "siem": [
                    {"name": "soc", "url": collector, "splunk": {"token": {"file": path("token")}},
                     "tls": {"ca_file": certificates().join("ca.pem")}},
                    {"name": "archive", "url": format!("tcp://127.0.0.1:{}", throws_away())},
                ],
            },
            "state_dir": path("state"),
            "listen": format!("127.0.0.1:{port}"),
        });
        std::fs::write(path("tidegate.yaml"), configuration.to_string()).expect("a configuration");
        let agent = Running::start(&mut tidegate(&["run".as_ref(), "-c".as_ref(), path("tidegate.yaml").as_os_str()]));
        wait_until("events at the collector", SOON, || hec.count() > 0);
        Self { folder, port, _hec: hec, _agent: agent }
    }

    fn metrics(&self) -> String {
        wait_for("the metrics", SOON, || http_get(self.port, "/metrics")).1
    }

    /// Its port, once it has scraped the agent often enough for a rate. `None`: there is none here.
    fn prometheus(&self) -> Option<(Running, u16)> {
        let (file, port) = (self.folder.path().join("prometheus.json"), free_port());
        let targets = json!([{"targets": [format!("127.0.0.1:{}", self.port)]}]);
        let scrape = json!({"job_name": "tidegate", "scrape_interval": "1s", "static_configs": targets});
        std::fs::write(&file, json!({"scrape_configs": [scrape]}).to_string()).expect("a configuration");
        let mut command = Command::new(root().join("tests/boards/prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", self.folder.path().join("tsdb").display()));
        let mut running = Running::start(command.arg(format!("--web.listen-address=127.0.0.1:{port}")));
        let scraped = || series(port, "count_over_time(tidegate_build_info[1m]) > 2").is_some_and(|series| series > 0);
        wait_until("three scrapes", SOON, || running.has_ended() || scraped());
        if running.has_ended() {
            let ran = running.wait(SOON);
            assert_eq!(ran.code(), Some(77), "{}{}", ran.stdout, ran.stderr);
            went_without("Prometheus", "tests/boards/get-prometheus unpacks it");
            return None;
        }
        Some((running, port))
    }
}

/// From one zone to another.
fn flow() -> String {
    json!({
        "start_time": 1_767_225_600, "end_time": 1_767_225_900, "source_name_aggr": "web-*", "source_namespace": "storefront",
        "source_type": "wep", "source_ip": "10.42.1.17", "source_port": 1024, "dest_name_aggr": "orders-api-*",
        "dest_namespace": "orders", "dest_type": "wep", "dest_ip": "10.42.3.41", "dest_port": 8080, "proto": "tcp",
        "action": "deny", "reporter": "src", "num_flows": 1,
    })
    .to_string()
}

/// Port of a receiver that takes everything.
fn throws_away() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || while stream.read(&mut [0; 8 << 10]).is_ok_and(|n| n > 0) {});
        }
    });
    port
}

/// How many series an expression gives now; `None` while nobody answers, and where it is none.
fn series(port: u16, expression: &str) -> Option<u64> {
    let octets = format!("count({expression})").into_bytes();
    let query: String = octets.iter().map(|octet| format!("%{octet:02X}")).collect();
    let (_, body) = http_get(port, &format!("/api/v1/query?query={query}"))?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    Some(answer["data"]["result"][0]["value"][1].as_str().map_or(0, |count| count.parse().expect("a number")))
}

/// Every expression of the agents' board, with its panel, and all agents and lanes chosen.
fn expressions() -> Vec<(String, String)> {
    let board = grafana::boards().into_iter().find(|(name, _)| *name == "agent").expect("the agents' board").1;
    let panels = board["panels"].as_array().expect("panels").clone();
    let asked = |panel: Value| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().expect("queries").clone();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().expect("PromQL").to_owned()))
    };
    let all = panels.into_iter().flat_map(asked);
    all.map(|(title, expr)| (title, expr.replace("$instance", ".*").replace("$lane", ".*"))).collect()
}

/// Names in `text` that could be our metrics.
fn names(text: &str) -> BTreeSet<String> {
    let name =
        |(at, _): (usize, &str)| text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    text.match_indices("tidegate_").map(name).collect()
}

/// Counters and gauges by their names.
fn kinds(exposition: &str) -> BTreeMap<&str, &str> {
    exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// A rate of a gauge, or a counter as it stands, says nothing.
#[track_caller]
fn check(kinds: &BTreeMap<&str, &str>, expr: &str) {
    for name in names(expr) {
        let kind = kinds.get(name.strip_suffix("_total").unwrap_or(&name)).or(kinds.get(name.as_str()));
        let grows = expr.contains("rate(") || expr.contains("increase(");
        assert_eq!(kind, Some(&if grows { "counter" } else { "gauge" }), "{name} in {expr}");
    }
}

#[test]
fn every_panel_has_a_value() {
    let world = World::start();
    let (exposition, expressions) = (world.metrics(), expressions());
    let kinds = kinds(&exposition);
    expressions.iter().for_each(|(_, expr)| check(&kinds, expr));
    let asked: BTreeSet<String> = expressions.iter().flat_map(|(_, expr)| names(expr)).collect();
    for lane in ["tidegate_lane_", "tidegate_elastic_", "tidegate_syslog_", "tidegate_splunk_"] {
        assert!(asked.iter().filter(|name| name.starts_with(lane)).count() > 4, "{lane}: {asked:?}");
    }
    let Some((_running, port)) = world.prometheus() else { return };
    assert_eq!(series(port, "tidegate_no_such_metric"), Some(0), "nothing is seen as nothing");
    for (title, expr) in expressions {
        // The certificate is known from the first handshake on, and a scrape later here.
        wait_until(&format!("{title}: {expr}"), SOON, || series(port, &expr).is_some_and(|series| series > 0));
    }
}

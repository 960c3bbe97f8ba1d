//! The running agent as its operator sees it: metrics and health, one process a state directory, a checkpoint of the
//! future, files that change under it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::recorder::{Faults, Recorder};
use crate::support::{Running, SOON, free_port, http_get, run, temp_dir, tidegate, wait_until};

const FLOW: &str = r#"{"start_time":1767225600,"end_time":1767225900,"source_ip":"10.0.0.1","source_name":"a-1","source_name_aggr":"a-*","source_namespace":"shop","source_port":40000,"source_type":"wep","dest_ip":"10.0.0.2","dest_name":"b-1","dest_name_aggr":"b-*","dest_namespace":"data","dest_port":5432,"dest_type":"wep","proto":"tcp","action":"allow","reporter":"dst","bytes_in":1,"bytes_out":2,"packets_in":1,"packets_out":1,"num_flows":"#;

/// A folder with a log, a configuration and zones.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
    written: usize,
}

impl Place {
    fn new() -> Self {
        Self { folder: temp_dir(), port: free_port(), written: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file as a whole, as a mounted ConfigMap does.
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn configure(&self, change: impl FnOnce(&mut Value)) {
        let mut configuration = json!({
            "cluster": "test-cluster",
            "node": "test-node",
            "sources": [{"path": self.path("flows.log")}],
            "sinks": {},
            "state_dir": self.path("state"),
            "listen": format!("127.0.0.1:{}", self.port),
        });
        change(&mut configuration);
        self.put("tidegate.yaml", &configuration.to_string());
    }

    fn append(&mut self) {
        self.append_with("");
    }

    /// A line with more members, each behind a comma.
    fn append_with(&mut self, members: &str) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.path("flows.log")).unwrap();
        writeln!(file, "{FLOW}{}{members}}}", self.written).unwrap();
        self.written += 1;
    }

    fn arguments(&self) -> [String; 3] {
        ["run".into(), "-c".into(), self.path("tidegate.yaml").to_str().unwrap().into()]
    }

    fn start(&self) -> Running {
        Running::start(&mut tidegate(&self.arguments()))
    }

    /// Status and body; `None` while nobody listens.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        http_get(self.port, path)
    }
}

fn zones(of_shop: &str) -> String {
    format!(
        "apiVersion: zones/v1\nzones:\n- {{name: {of_shop}, match: [{{namespace: shop}}]}}\n- {{name: inner, match: [{{namespace: data}}]}}\n"
    )
}

/// Source zones of the documents, in the order of the log.
fn source_zones(peer: &Recorder) -> Vec<String> {
    let mut seen: Vec<_> = peer
        .documents()
        .iter()
        .map(|text| {
            let document: Value = serde_json::from_str(text).unwrap();
            let zone = document["observer"]["ingress"]["zone"].as_str().unwrap_or("none").to_owned();
            (document["calico"]["num_flows"].as_u64(), zone)
        })
        .collect();
    seen.sort_unstable();
    seen.into_iter().map(|(_, zone)| zone).collect()
}

#[test]
fn metrics_and_health_balance() {
    let mut place = Place::new();
    let peer = Recorder::start(Faults::default());
    place.configure(|c| c["sinks"] = json!({"elasticsearch": {"hosts": [peer.url()]}}));
    place.append();
    // Of 10,000 labels a document holds 256; the rest is counted.
    let labels: Vec<String> = (0..10_000).map(|number| format!("key-{number}=v")).collect();
    place.append_with(&format!(",\"source_labels\":{}", json!({"labels": labels})));
    let agent = place.start();
    let settled = "tidegate_lane_delivered_lines_total{lane=\"elasticsearch\"} 2\n";
    wait_until("two lines in the metrics", SOON, || {
        place.get("/metrics").is_some_and(|(_, body)| body.contains(settled))
    });
    let (status, body) = place.get("/metrics").unwrap();
    assert_eq!(status, 200);
    for line in [
        "tidegate_elastic_capped_values_total 9744\n",
        "tidegate_lane_read_lines_total{lane=\"elasticsearch\"} 2\n",
        "tidegate_lane_in_flight_lines{lane=\"elasticsearch\"} 0.0\n",
        "tidegate_elastic_created_documents_total 2\n",
        "node=\"test-node\"",
    ] {
        assert!(body.contains(line), "{line} is not in\n{body}");
    }
    assert_eq!(place.get("/livez").unwrap().0, 200);
    assert_eq!(place.get("/readyz").unwrap(), (200, "ok\n".to_owned()));
    agent.terminate();
    agent.wait(SOON).expect_code(0);
}

#[test]
fn one_process_a_state_directory() {
    let place = Place::new();
    let peer = Recorder::start(Faults::default());
    place.configure(|c| c["sinks"] = json!({"elasticsearch": {"hosts": [peer.url()]}}));
    let agent = place.start();
    wait_until("the agent", SOON, || place.get("/readyz").is_some_and(|(status, _)| status == 200));
    let second = run(&place.arguments(), "").expect_code(1);
    assert!(second.stderr.contains("is in use by another process"), "{}", second.stderr);
    agent.kill();
    // A lock of a process that is gone holds nobody up.
    run(&[&place.arguments()[..], &["--once".into()]].concat(), "").expect_code(0);
}

#[test]
fn a_checkpoint_of_the_future_stops_its_lane_alone() {
    let mut place = Place::new();
    let peer = Recorder::start(Faults::default());
    place.put("zones.yaml", &zones("outer"));
    let (zones, siem) = (place.path("zones.yaml"), format!("udp://127.0.0.1:{}", free_port()));
    place.configure(|c| {
        c["zones"] = json!(zones);
        c["sinks"] = json!({"elasticsearch": {"hosts": [peer.url()]}, "siem": [{"name": "soc", "url": siem}]});
    });
    place.append();
    std::fs::create_dir(place.path("state")).unwrap();
    let text = r#"{"version":99,"lane":"siem-soc"}"#;
    std::fs::write(place.path("state/siem-soc.json"), text).unwrap();
    let agent = place.start();
    wait_until("the other lane", SOON, || peer.count() == 1);
    let (status, why) = place.get("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(why.contains("siem-soc: cannot read checkpoint") && why.contains("version 99"), "{why}");
    assert_eq!(place.get("/livez").unwrap().0, 200);
    agent.terminate();
    agent.wait(SOON).expect_code(0);
    assert_eq!(std::fs::read_to_string(place.path("state/siem-soc.json")).unwrap(), text, "left as it was");
}

#[test]
fn an_agent_whose_only_lane_cannot_run_stays_and_says_so() {
    let place = Place::new();
    let peer = Recorder::start(Faults::default());
    place.configure(|c| c["sinks"] = json!({"elasticsearch": {"hosts": [peer.url()]}}));
    std::fs::create_dir(place.path("state")).unwrap();
    std::fs::write(place.path("state/elasticsearch.json"), r#"{"version":99}"#).unwrap();
    let mut agent = place.start();
    wait_until("the answer", SOON, || place.get("/readyz").is_some_and(|(status, _)| status == 503));
    // Longer than the agent takes to look at its lanes.
    std::thread::sleep(Duration::from_secs(3));
    assert!(!agent.has_ended());
    agent.terminate();
    agent.wait(SOON).expect_code(0);
    run(&[&place.arguments()[..], &["--once".into()]].concat(), "").expect_code(1);
}

#[test]
fn zones_and_configuration_are_read_again() {
    let mut place = Place::new();
    let (first, second) = (Recorder::start(Faults::default()), Recorder::start(Faults::default()));
    let zones_file = place.path("zones.yaml");
    let to = |place: &Place, peer: &Recorder, zones: &Path| {
        place.configure(|c| {
            c["zones"] = json!(zones);
            c["sinks"] = json!({"elasticsearch": {"hosts": [peer.url()]}});
        });
    };
    place.put("zones.yaml", &zones("outer"));
    to(&place, &first, &zones_file);
    place.append();
    let agent = place.start();
    wait_until("the first line", SOON, || first.count() == 1);

    // Bad zones are refused, good ones are taken in place.
    place.put("zones.yaml", "apiVersion: zones/v1\nzones: [{name: x, match: [{cidr: [10.0.0.0/99]}]}]\n");
    agent.signal(Signal::HUP);
    place.append();
    wait_until("the second line", SOON, || first.count() == 2);
    // One that nothing can be in is warned of.
    place.put("zones.yaml", &format!("{}- {{name: late, match: [{{namespace: data}}]}}\n", zones("rim")));
    let taken = |place: &mut Place, peer: &Recorder, zone: &str| {
        place.append();
        let lines = place.written;
        wait_until("one more line", SOON, || peer.count() == lines);
        source_zones(peer).last().is_some_and(|last| last == zone)
    };
    wait_until("the new zones", SOON, || taken(&mut place, &first, "rim"));
    assert_eq!(&source_zones(&first)[..2], ["outer", "outer"]);

    // A bad configuration changes nothing; nor does another cluster, which is part of every id.
    place.put("tidegate.yaml", "sources: [{path: flows.log, paht: x}]\n");
    agent.signal(Signal::HUP);
    assert!(taken(&mut place, &first, "rim"));
    place.configure(|c| {
        c["cluster"] = json!("another");
        c["sinks"] = json!({"elasticsearch": {"hosts": [second.url()]}});
    });
    agent.signal(Signal::HUP);
    assert!(taken(&mut place, &first, "rim"));

    // A good one goes on from the checkpoint, with the new peer.
    to(&place, &second, &zones_file);
    let before = first.count();
    wait_until("lines at the new peer", SOON, || {
        place.append();
        std::thread::sleep(Duration::from_millis(200));
        second.count() > 0
    });
    agent.terminate();
    let ran = agent.wait(SOON).expect_code(0);
    run(&[&place.arguments()[..], &["--once".into()]].concat(), "").expect_code(0);
    assert_eq!(first.count() + second.count(), place.written, "each line once\n{}", ran.stderr);
    assert!(first.count() >= before);
    for word in ["names bad zones and is refused", "the new configuration is refused", "part of every id", "read again"]
    {
        assert!(ran.stderr.contains(word), "{word} was not said\n{}", ran.stderr);
    }
    // Read when they changed, and once with the new configuration.
    assert_eq!(ran.stderr.matches("zones are loaded with a warning").count(), 2, "{}", ran.stderr);
}

//! An agent for tests: simple, slow, and wrong on request. It shows that the demo can fail.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::RunningAgent;
use super::summary::{ELASTICSEARCH, SIEM};
use super::traffic::zone_of;
use crate::telemetry::LaneSnapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    None,
    /// A document is counted as delivered, and was not sent.
    LosesDocument,
    /// Source and destination zone change places.
    SwapsZones,
    LosesRecord,
    /// A line is read and forgotten.
    LosesCount,
    /// Records have ids that no document has.
    OwnIds,
    NeverReads,
}

#[derive(Debug)]
pub(super) struct FakeAgent {
    defect: Defect,
    logs: PathBuf,
    bulk: String,
    siem: String,
    lanes: Vec<LaneSnapshot>,
}

impl FakeAgent {
    /// Reads as much of the configuration as it needs.
    pub(super) fn new(configuration: &Path, defect: Defect) -> Self {
        let text = fs::read_to_string(configuration).expect("a configuration");
        let after = |mark: &str| {
            let rest = text.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in {text}")).1;
            rest.split(['"', '/']).next().expect("an address").to_owned()
        };
        let folder = configuration.parent().expect("a folder");
        let lane = |name: &str| LaneSnapshot { name: name.into(), ..LaneSnapshot::default() };
        Self {
            defect,
            logs: folder.join("flowlogs"),
            bulk: after("http://"),
            siem: after("tcp://"),
            lanes: vec![lane(ELASTICSEARCH), lane(SIEM)],
        }
    }

    /// All lines, in order. (It is used with a log that rotates, but deletes nothing.)
    fn lines(&self) -> Vec<String> {
        loop {
            let files = self.files();
            let text: std::io::Result<String> = files.iter().map(fs::read_to_string).collect();
            // A rotation in between renames what was listed, or leaves the new file out.
            if let Ok(text) = text
                && files == self.files()
            {
                return text.lines().map(str::to_owned).collect();
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(&self.logs).expect("logs").map(|file| file.expect("a file").path()).collect();
        // `flows-2026…` sorts before `flows.log`.
        files.sort();
        files
    }

    fn deliver(&mut self) {
        let (mut documents, mut records) = (String::new(), String::new());
        let lines = self.lines();
        let mut delivered = 0;
        for (index, line) in lines.iter().enumerate() {
            let id = format!("{index:035}");
            let flow = serde_json::from_str::<Value>(line).ok().filter(|flow| flow.get("reporter").is_some());
            if !(self.defect == Defect::LosesDocument && index == 5) {
                let document = flow.as_ref().map_or_else(|| raw(&id, line), |flow| self.document(&id, flow));
                documents.push_str(&format!("{}\n{document}\n", json!({"create": {"_id": id}})));
            }
            let Some(flow) = flow.filter(is_record) else { continue };
            delivered += 1;
            if !(self.defect == Defect::LosesRecord && delivered == 3) {
                let record = record(
                    &flow,
                    &if self.defect == Defect::OwnIds { format!("x{}", &id[1..]) } else { id },
                    delivered,
                );
                records.push_str(&format!("{} {record}", record.len()));
            }
        }
        if !documents.is_empty() {
            self.post(&documents);
        }
        let mut siem = TcpStream::connect(&self.siem).expect("a SIEM");
        siem.write_all(records.as_bytes()).expect("sent");
        siem.shutdown(Shutdown::Write).expect("closed");
        siem.read_to_end(&mut Vec::new()).expect("closed by the peer");
        let read = lines.len() as u64;
        let lost = u64::from(self.defect == Defect::LosesCount);
        self.lanes[0].delivered = read;
        self.lanes[1].delivered = delivered;
        self.lanes[1].filtered = read - delivered - lost;
    }

    fn document(&self, id: &str, flow: &Value) -> Value {
        let at =
            |key: &str| format!("2026-08-22T09:{:02}:{:02}Z", seconds(flow, key) / 60 % 60, seconds(flow, key) % 60);
        let (denied, by_source) = (flow["action"] == "deny", flow["reporter"] == "src");
        let sides = |what: &str| {
            let (incoming, outgoing) = (number(flow, &format!("{what}_in")), number(flow, &format!("{what}_out")));
            if by_source { (outgoing, incoming) } else { (incoming, outgoing) }
        };
        let ((sent, received), (sent_packets, received_packets)) = (sides("bytes"), sides("packets"));
        let zones = zones(flow).map(|zone| zone.unwrap_or("unknown"));
        let zones = if self.defect == Defect::SwapsZones { [zones[1], zones[0]] } else { zones };
        json!({
            "@timestamp": at("end_time"), "ecs": {"version": "9.4.0"}, "host": {"name": "n"},
            "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
            "event": {"id": id, "kind": "event", "dataset": "calico.flow", "category": ["network"],
                "type": ["connection", if denied { "denied" } else { "allowed" }],
                "outcome": if denied { "failure" } else { "success" },
                "start": at("start_time"), "end": at("end_time"), "duration": 10_000_000_000_u64},
            "source": {"address": "x", "bytes": sent, "packets": sent_packets},
            "destination": {"address": "x", "bytes": received, "packets": received_packets},
            "network": {"bytes": sent + received, "packets": sent_packets + received_packets, "transport": flow["proto"],
                "direction": if by_source { "egress" } else { "ingress" }},
            "observer": {"ingress": {"zone": zones[0]}, "egress": {"zone": zones[1]}},
            "calico": {"action": flow["action"], "reporter": [flow["reporter"]],
                "source": {"type": flow["source_type"], "namespace": flow["source_namespace"]},
                "dest": {"type": flow["dest_type"], "namespace": flow["dest_namespace"]}},
        })
    }

    fn post(&self, body: &str) {
        let mut stream = TcpStream::connect(&self.bulk).expect("an endpoint");
        let head = format!(
            "POST /_bulk HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
    }
}

impl RunningAgent for FakeAgent {
    fn lanes(&self) -> Vec<LaneSnapshot> {
        let mut lanes = self.lanes.clone();
        for lane in &mut lanes {
            lane.read = if self.defect == Defect::NeverReads { 0 } else { self.lines().len() as u64 };
        }
        lanes
    }

    fn stop(&mut self, _deadline: Duration) -> Result<(), String> {
        self.deliver();
        Ok(())
    }
}

fn raw(id: &str, line: &str) -> Value {
    json!({
        "@timestamp": "2026-08-22T09:14:58Z", "ecs": {"version": "9.4.0"}, "host": {"name": "n"},
        "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
        "event": {"id": id, "kind": "pipeline_error", "dataset": "calico.flow", "original": line},
        "error": {"type": "not_a_flow", "message": "x"},
    })
}

fn zones(flow: &Value) -> [Option<&'static str>; 2] {
    ["source", "dest"].map(|end| {
        let text = |key: &str| flow[format!("{end}_{key}")].as_str();
        zone_of(text("type").unwrap_or_default(), text("namespace")).map(|zone| zone.name())
    })
}

fn is_record(flow: &Value) -> bool {
    let [source, dest] = zones(flow);
    let speaks = flow["action"] == "deny" || flow["reporter"] == "dst" || flow["dest_type"] != "wep";
    source.is_some() && dest.is_some() && source != dest && speaks
}

fn record(flow: &Value, id: &str, sequence: u64) -> String {
    let [source, dest] = zones(flow).map(Option::unwrap_or_default);
    let act = flow["action"].as_str().unwrap_or_default();
    format!(
        "<134>1 2026-08-22T09:14:58.000Z n tidegate 1 TRAFFIC [meta sequenceId=\"{sequence}\"] \
         CEF:0|Tidegate|Tidegate|0|flow:{act}|Flow|3|rt=1787390098000 start=1787390088000 end=1787390098000 act={act} \
         cnt=1 in=1 out=1 externalId={id} cs4Label=Source Zone cs4={source} cs5Label=Destination Zone cs5={dest}"
    )
}

fn number(flow: &Value, key: &str) -> u64 {
    flow[key].as_u64().unwrap_or_default()
}

fn seconds(flow: &Value, key: &str) -> u64 {
    // Within one hour, so that the start is never after the end.
    600 + number(flow, key) - number(flow, "start_time")
}

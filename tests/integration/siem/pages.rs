//! The pages of `deploy/docs/siem/`: our own configuration on each is one, its profile stands for what the page says, and the
//! receivers' configurations that can run here are started as they stand there and get a record.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::config::{Input, Surroundings, presets};

use super::otelcol;
use super::receiver::{certificates, has_rsyslog, start_rsyslog, start_syslog_ng};
use crate::support::{Running, SOON, free_port, root, run, temp_dir, wait_until};

const PROFILES: [&str; 8] =
    ["arcsight", "sentinel", "qradar", "splunk-sc4s", "splunk-hec", "elastic", "rsyslog", "generic"];

fn page(name: &str) -> String {
    let path = root().join("deploy/docs/siem").join(format!("{name}.md"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of each block of a language, without the indentation of the list it stands in.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start() != format!("```{language}") {
            continue;
        }
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        found.push(inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect());
    }
    found
}

/// The rest of a configuration around one of its parts.
fn whole(part: &str) -> String {
    format!("zones: /etc/tidegate/zones.yaml\nsources: [{{path: /var/log/calico/flowlogs/flows.log}}]\n{part}")
}

#[test]
fn our_side_of_every_page_is_a_configuration() {
    for profile in PROFILES {
        let page = page(profile);
        let parts = blocks(&page, "yaml");
        assert!(!parts.is_empty(), "{profile}.md shows no configuration of ours");
        let named = parts.iter().any(|part| part.contains(&format!("profile: {profile}\n")));
        assert!(named, "{profile}.md does not use its profile");
        for part in parts {
            let surroundings = Surroundings { node_name: Some("node-a1".to_owned()), host_name: None };
            let input = Input { surroundings, ..Input::default() };
            let loaded =
                input.load_text(Some((profile, &whole(&part)))).unwrap_or_else(|told| panic!("{told:#?}\n{part}"));
            assert_eq!(loaded.warnings, [], "{part}");
        }
    }
}

#[test]
fn a_page_says_what_its_profile_stands_for() {
    for profile in PROFILES {
        let page = page(profile).replace('\n', " ");
        for (key, value) in presets(profile) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(page.contains(&format!("`{key}: {value}`")), "{profile}.md does not say {key}: {value}");
        }
    }
    // And there is no other profile.
    let schema = run(&["config", "schema"], "").expect_code(0).stdout;
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let words = schema["$defs"]["Siem"]["properties"]["profile"]["enum"].as_array().expect("words").clone();
    assert!(words.iter().all(|word| PROFILES.contains(&word.as_str().expect("text"))), "{words:?}");
    assert_eq!(words.len(), PROFILES.len());
    let pages = std::fs::read_dir(root().join("deploy/docs/siem")).expect("pages").count();
    assert_eq!(pages, PROFILES.len() + 1, "a page for each profile, and README.md");
}

/// What a page's receiver wrote, by the name of its file in `/var/log`.
struct Receiver {
    folder: tempfile::TempDir,
    _running: Running,
}

impl Receiver {
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// A page's configuration with places of the test's own.
fn moved(text: &str, folder: &Path, port: (u16, u16)) -> String {
    text.replace("/var/log", folder.to_str().expect("a plain path"))
        .replace("/etc/rsyslog.d/tls", certificates().to_str().expect("a plain path"))
        .replace("/etc/otelcol-contrib/tls", certificates().to_str().expect("a plain path"))
        .replace("*.nodes.example.com", "forwarder.test")
        .replace(&format!("\"{}\"", port.0), &format!("\"{}\"", port.1))
        .replace(&format!("port({})", port.0), &format!("port({})", port.1))
        .replace(&format!("0.0.0.0:{}", port.0), &format!("0.0.0.0:{}", port.1))
        .replace("0.0.0.0", "127.0.0.1")
}

fn rsyslog(text: &str, port: (u16, u16)) -> Option<Receiver> {
    if !has_rsyslog() {
        return None;
    }
    let folder = temp_dir();
    let file = folder.path().join("rsyslog.conf");
    std::fs::write(&file, moved(text, folder.path(), port)).expect("a configuration");
    let mut running = start_rsyslog(&file);
    running.comes_to_listen(port.1);
    Some(Receiver { folder, _running: running })
}

fn syslog_ng(text: &str, port: (u16, u16)) -> Option<Receiver> {
    let folder = temp_dir();
    let file = folder.path().join("syslog-ng.conf");
    std::fs::write(&file, moved(text, folder.path(), port)).expect("a configuration");
    let running = start_syslog_ng(&file, folder.path(), port.1)?;
    Some(Receiver { folder, _running: running })
}

/// Runs the built program with our side of a page over one fixture; gives the records as `render` prints them.
fn send(part: &str, port: (u16, u16), case: &str) -> Vec<String> {
    let folder = temp_dir();
    let input = root().join("fixtures/flows").join(case).join("input.jsonl");
    let zones = root().join("fixtures/cef/all-cross/zones.yaml");
    let part = part
        .replace("/etc/tidegate/siem", certificates().to_str().expect("a plain path"))
        .replace(&format!("siem.example.com:{}", port.0), &format!("localhost:{}", port.1))
        // Of the fixtures that have one half alone, too.
        .replace("    url:", "    connections: both\n    url:");
    let text = format!(
        "cluster: test-cluster\nnode: test-node\nzones: {}\nsources: [{{path: {}, rotated: []}}]\nstate_dir: {}\n\
         listen: 127.0.0.1:0\n{part}",
        zones.display(),
        input.display(),
        folder.path().join("state").display(),
    );
    let path: PathBuf = folder.path().join("tidegate.yaml");
    std::fs::write(&path, text).expect("a configuration");
    let path = path.to_str().expect("a plain path");
    run(&["run", "-c", path, "--once"], "").expect_code(0);
    let rendered = run(&["render", "-c", path, "--message", input.to_str().expect("a plain path")], "");
    rendered.expect_code(0).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn rsyslog_reads_documents_as_its_page_says() {
    let page = page("rsyslog");
    let port = (2514, free_port());
    let Some(receiver) = rsyslog(&blocks(&page, "rsyslog")[0], port) else { return };
    let sent = send(&blocks(&page, "yaml")[0], port, "hostile-strings");
    assert!(!sent.is_empty());
    wait_until("every document", SOON, || receiver.file("tidegate.jsonl").lines().count() >= sent.len());
    let document = |text: &str| serde_json::from_str::<Value>(text.trim_start_matches("@cee: ")).expect("JSON");
    let id = |text: &str| {
        let event = &document(text)["event"];
        // One of its own has a code; how rsyslog spaces it is its own business.
        event["code"].is_null().then(|| event["id"].clone())
    };
    let stored: Vec<Value> = receiver.file("tidegate.jsonl").lines().filter_map(id).collect();
    assert_eq!(stored, sent.iter().filter_map(|text| id(text)).collect::<Vec<_>>());
    assert_eq!(receiver.file("tidegate-unparsed.log"), "");
    let lines = receiver.file("tidegate.log");
    assert!(lines.lines().any(|line| line.contains(" network_flow ") && line.contains(" > ")), "{lines}");
}

#[test]
fn rsyslog_archives_records_as_the_generic_page_says() {
    let page = page("generic");
    let port = (6514, free_port());
    let Some(receiver) = rsyslog(&blocks(&page, "rsyslog")[0], port) else { return };
    let sent = send(&blocks(&page, "yaml")[0], port, "both-halves");
    wait_until("every record", SOON, || receiver.file("tidegate-cef.log").lines().count() >= sent.len());
    let stored = receiver.file("tidegate-cef.log");
    assert_eq!(stored.lines().filter(|line| !line.contains("|tidegate:")).collect::<Vec<_>>(), sent);
}

/// The second opinion on structured data: what syslog-ng took for parameters is what a strict reader finds.
#[test]
fn syslog_ng_reads_structured_data_as_the_generic_page_says() {
    let page = page("generic");
    let port = (601, free_port());
    let Some(receiver) = syslog_ng(&blocks(&page, "syslog-ng")[0], port) else { return };
    for case in ["both-halves", "hostile-strings", "ipv6"] {
        let flows = || -> Vec<String> {
            let is_flow = |line: &&str| !line.contains("\"tidegate:");
            receiver.file("tidegate.jsonl").lines().filter(is_flow).map(str::to_owned).collect()
        };
        let before = flows().len();
        let sent = send(&blocks(&page, "yaml")[1], port, case);
        wait_until("every record", SOON, || flows().len() >= before + sent.len());
        for (record, stored) in sent.iter().zip(flows().iter().skip(before)) {
            let stored: Value = serde_json::from_str(stored).unwrap_or_else(|error| panic!("{error}: {stored}"));
            let (ours, text) = super::parsers::strict_sd(record);
            let theirs = stored["SDATA"]["flow@64999"].as_object().unwrap_or_else(|| panic!("{stored:#}"));
            assert_eq!(theirs.len(), ours.len(), "{stored:#}");
            for (name, value) in ours {
                assert_eq!(theirs[&name], Value::from(value), "{record}");
            }
            assert_eq!(stored["MESSAGE"], text.as_str());
        }
    }
}

/// What the collector hands on is each record, and its flow where the format is structured data.
#[test]
fn the_collector_hands_on_records_as_the_generic_page_says() {
    let page = page("generic");
    let port = (6514, free_port());
    let folder = temp_dir();
    let file = folder.path().join("collector.yaml");
    std::fs::write(&file, moved(&blocks(&page, "otelcol")[0], folder.path(), port)).expect("a configuration");
    let Some(_running) = otelcol::start(&file) else { return };
    let stored = || otelcol::stored(&folder.path().join("tidegate-otel.jsonl"));
    let ours = &blocks(&page, "yaml")[2];
    let mut before = 0;
    for format in ["cef", "structured-data"] {
        let part = ours.replace("    url:", &format!("    format: {format}\n    url:"));
        let sent = send(&part, port, "hostile-strings");
        // One of its own at the start, and one at the stop.
        wait_until("every record", SOON, || stored().len() == before + sent.len() + 2);
        let arrived = stored().split_off(before);
        let flows = arrived.iter().filter(|record| record.attributes["msg_id"] == "TRAFFIC");
        assert_eq!(flows.clone().count(), sent.len());
        for (stored, sent) in flows.zip(&sent) {
            stored.says(sent);
            assert!(stored.body.ends_with(sent), "{sent} {stored:?}");
        }
        before += arrived.len();
    }
}

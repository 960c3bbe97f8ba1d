//! The relays of `deploy/siem/`, started as they stand there: the built program sends the same flows through the relay and
//! straight to a receiver, and both arrivals are the same octets.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::golden;
use super::receiver::{INTERNAL_LOG, Rsyslog, certificates, internal_log, start_rsyslog, start_syslog_ng};
use crate::support::{Running, SOON, free_port, root, run, temp_dir, wait_until, within};

const RSYSLOG: &str = "rsyslog/relay.conf";
const SYSLOG_NG: &str = "syslog-ng/relay.conf";

/// A shipped configuration with places of the test's own, as `relay.conf` in a folder. Every place in it must be moved.
fn moved(file: &str, folder: &Path, places: &[(&str, &str)]) -> PathBuf {
    let mut text = std::fs::read_to_string(root().join("deploy/siem").join(file)).expect("a configuration");
    for (from, to) in places {
        assert!(text.contains(from), "{file} does not say {from}");
        text = text.replace(from, to);
    }
    let path = folder.join("relay.conf");
    std::fs::write(&path, text).expect("a configuration");
    path
}

struct Relay {
    folder: tempfile::TempDir,
    url: String,
    running: Running,
}

impl Relay {
    fn said(&self) -> String {
        format!("{}{}", self.running.said(), internal_log(self.folder.path()))
    }

    fn archive(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("tidegate-archive.log")).unwrap_or_default()
    }
}

/// rsyslog's, before a receiver whose TLS port it forwards to.
fn rsyslog(receiver: &Rsyslog, scheme: &str) -> Relay {
    let (folder, tls, relp) = (temp_dir(), free_port(), free_port());
    let path = folder.path().to_str().expect("a plain path").to_owned();
    let (tls_port, relp_port) =
        (format!("address=\"127.0.0.1\" port=\"{tls}\""), format!("address=\"127.0.0.1\" port=\"{relp}\""));
    let target = format!("target=\"localhost\" port=\"{}\"", receiver.tls);
    let file = moved(
        RSYSLOG,
        folder.path(),
        &[
            ("/etc/rsyslog.d/tls", certificates().to_str().expect("a plain path")),
            ("*.nodes.example.com", "forwarder.test"),
            ("/var/spool/rsyslog", &path),
            ("/var/log", &path),
            ("port=\"6514\"", &tls_port),
            ("port=\"2514\"", &relp_port),
            ("target=\"siem.example.com\" port=\"6515\"", &target),
            ("siem.example.com", "localhost"),
        ],
    );
    // What it says itself the shipped file leaves to the system's.
    let mut shipped = std::fs::File::options().append(true).open(&file).expect("a configuration");
    writeln!(shipped, "action(type=\"omfile\" file=\"{path}/{INTERNAL_LOG}\")").expect("a configuration");
    let mut running = start_rsyslog(&file);
    for port in [tls, relp] {
        assert!(running.comes_to_listen(port), "{}", running.said());
    }
    let port = if scheme == "tls" { tls } else { relp };
    Relay { folder, url: format!("{scheme}://localhost:{port}"), running }
}

fn syslog_ng(receiver: &Rsyslog) -> Option<Relay> {
    let (folder, port) = (temp_dir(), free_port());
    let path = folder.path().to_str().expect("a plain path").to_owned();
    let file = moved(
        SYSLOG_NG,
        folder.path(),
        &[
            ("/etc/syslog-ng/tls", certificates().to_str().expect("a plain path")),
            ("/var/log", &path),
            ("0.0.0.0", "127.0.0.1"),
            ("port(6514)", &format!("port({port})")),
            ("\"siem.example.com\" port(6515)", &format!("\"localhost\" port({})", receiver.tls)),
            // A test's disk has no 4 GiB to set aside.
            ("disk-buf-size(4294967296) mem-buf-size(67108864)", &format!("disk-buf-size(1048576) dir(\"{path}\")")),
        ],
    );
    let running = start_syslog_ng(&file, folder.path(), port)?;
    Some(Relay { folder, url: format!("tls://localhost:{port}"), running })
}

fn timeless(case: &Path) -> bool {
    let input = std::fs::read_to_string(case.join("input.jsonl")).unwrap_or_default();
    input.lines().any(|line| !line.contains("\"end_time\":"))
}

/// Everything the fixtures hold, through a relay and beside it, in one run of the program: so the two have the same process
/// id, and number their records alike.
fn send(urls: [&str; 2], format: &str) {
    let folder = temp_dir();
    let file = |name: &str| certificates().join(name);
    let tls =
        json!({"ca_file": file("ca.pem"), "certificate_file": file("client.pem"), "key_file": file("client.key")});
    let destinations: Vec<_> = ["direct", "relayed"]
        .iter()
        .zip(urls)
        .map(|(name, url)| json!({"name": name, "url": url, "tls": tls, "format": format, "connections": "both"}))
        .collect();
    // A record without a time of its own has that of the reading, which two lanes do not share.
    let sources: Vec<_> = golden::cases()
        .into_iter()
        .filter(|case| !case.ends_with("no-usable-time") && !timeless(case))
        .map(|case| json!({"path": case.join("input.jsonl"), "rotated": []}))
        .collect();
    let configuration = json!({
        "cluster": golden::CLUSTER,
        "node": golden::NODE,
        "sources": sources,
        "zones": root().join("fixtures/cef/all-cross/zones.yaml"),
        "sinks": {"siem": destinations},
        "state_dir": folder.path().join("state"),
        "listen": "127.0.0.1:0",
    });
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, configuration.to_string()).expect("a configuration");
    let ran = run(&["run", "-c", path.to_str().expect("a plain path"), "--once"], "");
    // 4: the fixtures hold lines that no receiver gets.
    assert!(matches!(ran.code(), Some(0 | 4)), "{:?}\n{}{}", ran.code(), ran.stdout, ran.stderr);
}

/// A lane sends one of its own at its start, and one as its last when it stops.
fn is_of_a_flow(message: &str) -> bool {
    !message.contains(" STATUS ")
}

fn has_stopped(messages: &[String]) -> bool {
    messages.iter().filter(|message| !is_of_a_flow(message)).count() == 2
}

fn raw(receiver: &Rsyslog) -> Vec<String> {
    receiver.received().iter().map(|message| message["raw"].as_str().expect("text").to_owned()).collect()
}

/// Two lanes read their sources side by side: the order of whole files may differ, what each message says may not. Only
/// the number in `sequenceId` goes with the order. A lane's own records say what each lane did and when.
fn sorted(messages: Vec<String>) -> Vec<String> {
    let unnumbered = |message: String| match message.split_once("sequenceId=\"") {
        Some((before, rest)) => {
            let (number, after) = rest.split_once('"').expect("a closing quote");
            assert!(number.parse::<u32>().is_ok(), "{message}");
            format!("{before}sequenceId=\"N\"{after}")
        }
        None => panic!("no number in {message}"),
    };
    let mut all: Vec<String> = messages.into_iter().filter(|message| is_of_a_flow(message)).map(unnumbered).collect();
    all.sort();
    all
}

#[track_caller]
fn passes_on(relay: &Relay, behind: &Rsyslog, scheme: &str, format: &str) {
    let Some(beside) = Rsyslog::start() else { return };
    let straight = match scheme {
        "tls" => format!("tls://localhost:{}", beside.tls),
        _ => format!("relp+tls://localhost:{}", beside.relp_tls),
    };
    let before = behind.count();
    send([&straight, &relay.url], format);
    wait_until("the last record beside the relay", SOON, || has_stopped(&raw(&beside)));
    let passed = within(SOON, || has_stopped(&raw(behind)[before..]).then_some(()));
    let arrived: Vec<String> = raw(behind).split_off(before);
    assert!(
        passed.is_some(),
        "{scheme}, {format}: {} records behind the relay, {} in its archive. It says:\n{}\nThe receiver says:\n{}",
        arrived.len(),
        relay.archive().lines().count() - before,
        relay.said(),
        behind.said(),
    );
    // The archive has the same, one a line, in the order of the arrivals.
    wait_until("the archive", SOON, || relay.archive().lines().count() >= before + arrived.len());
    let archive: Vec<String> = relay.archive().lines().skip(before).map(str::to_owned).collect();
    assert_eq!(archive, arrived);
    let (arrived, straight) = (sorted(arrived), sorted(raw(&beside)));
    assert!(arrived.len() >= 80, "{} records", arrived.len());
    assert_eq!(arrived, straight);
}

#[test]
fn rsyslog_passes_records_on_as_they_are() {
    for scheme in ["tls", "relp+tls"] {
        let Some(behind) = Rsyslog::start() else { return };
        let relay = rsyslog(&behind, scheme);
        for format in ["cef", "leef"] {
            passes_on(&relay, &behind, scheme, format);
        }
    }
}

#[test]
fn syslog_ng_passes_records_on_as_they_are() {
    let Some(behind) = Rsyslog::start() else { return };
    let Some(relay) = syslog_ng(&behind) else { return };
    for format in ["cef", "leef"] {
        passes_on(&relay, &behind, "tls", format);
    }
}

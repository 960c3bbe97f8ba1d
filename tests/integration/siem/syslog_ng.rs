//! The sink against a real syslog-ng, which is stricter about frames than rsyslog.

use tidegate::sink::syslog::{self, Framing, Target};

use super::golden;
use super::lane::{Lane, config, expected};
use super::parsers::strict_leef;
use super::receiver::{certificates, start_syslog_ng};
use crate::support::{self, Running, SOON, free_port, temp_dir, wait_until};

/// `None` when it is not there.
fn start(folder: &tempfile::TempDir) -> Option<(Running, [Target; 4])> {
    let (tls, tcp) = (free_port(), free_port());
    let path = folder.path().to_str().expect("a plain path");
    let template = std::fs::read_to_string(support::root().join("tests/siem/syslog-ng.conf.in")).expect("a template");
    let configuration = template
        .replace("@DIR@", path)
        .replace("@CERTS@", certificates().to_str().expect("a plain path"))
        .replace("@TLS_PORT@", &tls.to_string())
        .replace("@TCP_PORT@", &tcp.to_string());
    let file = folder.path().join("syslog-ng.conf");
    std::fs::write(&file, configuration).expect("a configuration");
    let running = start_syslog_ng(&file, folder.path(), tls)?;
    let host = || "localhost".to_owned();
    let targets = [
        Target::Tls { host: host(), port: tls },
        Target::Tcp { host: host(), port: tcp },
        Target::UnixStream { path: folder.path().join("stream") },
        Target::Unix { path: folder.path().join("datagram") },
    ];
    Some((running, targets))
}

#[test]
fn stores_what_was_meant() {
    let folder = temp_dir();
    let Some((_running, targets)) = start(&folder) else { return };
    let received = || std::fs::read_to_string(folder.path().join("received")).unwrap_or_default();
    for target in targets {
        let before = received().lines().count();
        let name = target.to_string();
        let mut lane = Lane::new(config(target));
        let sent = lane.send_all() as usize;
        assert_eq!(lane.finish(), Some(sent as u64), "{name}");
        wait_until("all records", SOON, || received().lines().count() >= before + sent);
        let text = received();
        let mut golden = expected().into_iter();
        for (number, line) in text.lines().skip(before).enumerate() {
            let start = format!("TRAFFIC [meta sequenceId=\"{}\"] ", number + 1);
            let record = line.strip_prefix(&start).unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(golden.any(|golden| golden == record), "{name}: no golden record, or out of order: {record}");
        }
    }
}

/// Its key-value parser, told the delimiter, reads from LEEF what a strict reader reads. (Tabs come through its sources
/// as they are; rsyslog wants to be told.)
#[test]
fn its_parser_agrees_on_leef() {
    let folder = temp_dir();
    let Some((_running, targets)) = start(&folder) else { return };
    let [_, tcp, ..] = targets;
    let mut lane = Lane::new(syslog::Config { record: golden::config(golden::LEEF), ..config(tcp) });
    let sent = lane.send_all() as usize;
    assert_eq!(lane.finish(), Some(sent as u64));
    let parsed = || std::fs::read_to_string(folder.path().join("leef.jsonl")).unwrap_or_default();
    wait_until("all records", SOON, || parsed().lines().count() >= sent);
    let mut golden = golden::everything(golden::LEEF).lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
    for line in parsed().lines() {
        let theirs: std::collections::BTreeMap<String, String> =
            serde_json::from_str(line).expect("an object of texts");
        let same = |record: &String| {
            strict_leef(record, '\t').into_iter().collect::<std::collections::BTreeMap<_, _>>() == theirs
        };
        assert!(golden.any(|record| same(&record)), "no golden record, or out of order: {line}");
    }
}

/// Its `syslog()` takes counted octets only: lines are an error there, and the agent's default is right.
#[test]
fn takes_no_lines_over_syslog() {
    let folder = temp_dir();
    let Some((_running, [_, tcp, ..])) = start(&folder) else { return };
    let mut configuration = config(tcp);
    configuration.framing = Some(Framing::Lf);
    let mut lane = Lane::new(configuration);
    lane.send_all();
    assert_eq!(lane.finish(), None, "the receiver broke off, so nothing counts as delivered");
    assert_eq!(std::fs::read_to_string(folder.path().join("received")).unwrap_or_default(), "");
}

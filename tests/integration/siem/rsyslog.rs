//! The sink against a real rsyslog: mutual TLS, TCP in both framings, UDP. What arrives is byte for byte what was meant,
//! and what goes wrong is told.

use serde_json::Value;
use tidegate::lane::{Sink as _, Wake};
use tidegate::net::tls::TlsConfig;
use tidegate::sink::syslog::{self, Config, Framing, Header, Proof};

use super::golden;
use super::lane::{Lane, config, expected, tls};
use super::receiver::{Rsyslog, certificates};
use crate::support::{self, SOON, temp_dir, wait_until};

#[track_caller]
fn arrives(transport: &str, change: impl FnOnce(&mut Config), header: &str) {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let mut config = config(rsyslog.target(transport));
    change(&mut config);
    let mut lane = Lane::new(config);
    let sent = lane.send_all();
    if ["udp", "unix"].contains(&transport) {
        // A datagram that is on its way when we are done is still on its way.
        lane.finish();
    } else {
        assert_eq!(lane.finish(), Some(sent), "all of it settled by a clean end");
        let proof = if transport.starts_with("relp") { Proof::Acknowledged } else { Proof::Closed };
        assert_eq!(lane.sink.stats().settled_by(proof), sent);
    }
    wait_until("all records", SOON, || rsyslog.received().len() as u64 >= sent);
    let received = rsyslog.received();
    assert_eq!(received.len() as u64, sent);
    // In order; a few are not sent, as other traces of a flow that was.
    let mut golden = expected().into_iter();
    for (number, message) in received.iter().enumerate() {
        let raw = message["raw"].as_str().expect("text");
        let (before, record) = raw.split_at(raw.find("CEF:").expect("a record"));
        let record = record.split(" TidegateSequence=").next().unwrap_or_default();
        assert!(golden.any(|golden| golden == record), "no golden record, or out of order: {record}");
        assert!(before.contains(header), "{before}");
        assert_eq!(message["host"], golden::NODE);
        if header.contains("TRAFFIC") {
            let sequence = format!("[meta sequenceId=\"{}\"]", number + 1);
            let fields = (&message["app"], &message["msgid"], &message["sd"]);
            assert_eq!(fields, (&"tidegate".into(), &"TRAFFIC".into(), &sequence.into()));
            assert_eq!(message["msg"].as_str(), Some(record));
        }
    }
}

#[test]
fn over_mutual_tls() {
    arrives("tls", |_| {}, " TRAFFIC ");
}

#[test]
fn over_tcp_with_counted_octets() {
    arrives("tcp", |_| {}, " TRAFFIC ");
}

#[test]
fn over_tcp_with_line_feeds() {
    arrives("tcp", |config| config.framing = Some(Framing::Lf), " TRAFFIC ");
}

#[test]
fn over_udp() {
    arrives("udp", |_| {}, " TRAFFIC ");
}

#[test]
fn over_relp() {
    arrives("relp", |_| {}, " TRAFFIC ");
}

#[test]
fn over_relp_and_mutual_tls() {
    arrives("relp+tls", |_| {}, " TRAFFIC ");
}

#[test]
fn over_sockets_of_a_local_daemon() {
    arrives("unix", |_| {}, " TRAFFIC ");
    arrives("unix-stream", |_| {}, " TRAFFIC ");
}

#[test]
fn with_the_old_header() {
    let old = |config: &mut Config| {
        config.header = Header::Rfc3164Tagged;
        config.framing = Some(Framing::Lf);
    };
    for transport in ["tcp", "tls", "udp", "relp", "relp+tls", "unix-stream"] {
        arrives(transport, old, " tidegate: ");
    }
}

#[test]
fn bad_server_certificates_are_refused() {
    for (server, reason) in
        [("wrongname", "set server_name"), ("expired", "it has expired"), ("rogue-server", "set ca_file")]
    {
        let Some(rsyslog) = Rsyslog::with_certificate(server) else { return };
        for transport in ["tls", "relp+tls"] {
            let error = Lane::new(config(rsyslog.target(transport))).refused();
            assert!(error.contains(reason), "{transport} {server}: {error}");
        }
    }
}

#[test]
fn a_refused_client_certificate_is_seen_and_nothing_is_sent() {
    for (client, reason) in [(None, "set certificate_file and key_file"), (Some("rogue-client"), "client certificate")]
    {
        let Some(rsyslog) = Rsyslog::start() else { return };
        for transport in ["tls", "relp+tls"] {
            let error = Lane::new(Config { tls: tls(client), ..config(rsyslog.target(transport)) }).refused();
            assert!(error.contains(reason), "{transport} {client:?}: {error}");
        }
        assert_eq!(rsyslog.received().len(), 0);
    }
}

#[test]
fn a_fingerprint_stands_for_authority_and_name() {
    let Some(rsyslog) = Rsyslog::with_certificate("wrongname") else { return };
    let probe = |tls: TlsConfig| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = Config { tls, ..config(rsyslog.target("tls")) };
        runtime.block_on(syslog::probe(&config)).pop().expect("one receiver").1
    };
    assert!(probe(tls(Some("client"))).is_err());
    let named =
        probe(TlsConfig { server_name: Some("other.test".to_owned()), ..tls(Some("client")) }).expect("its name");
    let seen = named.tls.as_ref().expect("TLS");
    assert_eq!(seen.version, "TLS 1.3");
    let pinned = TlsConfig { fingerprints: vec![seen.fingerprint.clone()], ca_file: None, ..tls(Some("client")) };
    assert_eq!(probe(pinned).expect("the pinned certificate").tls, named.tls);
}

#[test]
fn a_receiver_that_is_restarted_gets_everything_again() {
    let Some(mut rsyslog) = Rsyslog::start() else { return };
    let mut lane = Lane::new(config(rsyslog.target("tls")));
    let sent = lane.send_all();
    wait_until("the first time", SOON, || rsyslog.received().len() as u64 == sent);
    rsyslog.stop();
    assert!(matches!(lane.wakes.recv_timeout(SOON), Ok(Wake::Rewind)), "nothing of it is settled");
    lane.sink.abandon();
    let again = lane.send_all();
    rsyslog.run();
    assert_eq!(lane.finish(), Some(again));
    wait_until("the second time", SOON, || rsyslog.received().len() as u64 == sent + again);
    let id = |message: &Value| {
        let raw = message["raw"].as_str().expect("text");
        raw[raw.find("externalId=").expect("an id")..].split(' ').next().expect("a word").to_owned()
    };
    let received = rsyslog.received();
    let (first, second) = received.split_at(sent as usize);
    assert!(first.iter().map(id).eq(second.iter().map(id)), "the repeats have the same ids");
}

/// The whole way: the fixtures' files through the built program, over mutual TLS, with the shop's zones.
#[test]
fn the_built_program_delivers_the_golden_records() {
    let Some(rsyslog) = Rsyslog::start() else { return };
    let cases: Vec<_> = golden::cases().into_iter().filter(|case| !case.join("zones.yaml").exists()).collect();
    let sources: Vec<_> =
        cases.iter().map(|case| serde_json::json!({"path": case.join("input.jsonl"), "rotated": []})).collect();
    let file = |name: &str| certificates().join(name);
    let folder = temp_dir();
    let configuration = serde_json::json!({
        "cluster": golden::CLUSTER,
        "node": golden::NODE,
        "sources": sources,
        "zones": support::root().join("fixtures/zones/shop/zones.yaml"),
        "sinks": {"siem": [{
            "name": "soc",
            "url": format!("tls://localhost:{}", rsyslog.tls),
            "tls": {"ca_file": file("ca.pem"), "certificate_file": file("client.pem"), "key_file": file("client.key")},
        }]},
        "state_dir": folder.path().join("state"),
        "listen": "127.0.0.1:0",
    });
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, configuration.to_string()).expect("a configuration");
    support::run(&["run", "-c", path.to_str().expect("a plain path"), "--once"], "").expect_code(0);

    let golden: Vec<String> = cases
        .iter()
        .flat_map(|case| std::fs::read_to_string(case.join("expected.cef")))
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let received = || -> Vec<String> {
        let ours = concat!("|", env!("CARGO_PKG_VERSION"), "|");
        let messages = rsyslog.received();
        let texts = messages.iter().map(|message| message["msg"].as_str().expect("text"));
        texts.filter(|text| !text.contains("|tidegate:")).map(|text| text.replace(ours, "|0.0.0|")).collect()
    };
    // A golden record that did not come is another trace of a flow that did: it differs in its rule and its id alone.
    let flow = |record: &str| {
        let words = record.split(' ').filter(|word| !word.starts_with("cs1=") && !word.starts_with("externalId="));
        words.collect::<Vec<_>>().join(" ")
    };
    // The peer has read everything when it closes; its file may be a moment behind.
    wait_until("every golden record, or another trace of its flow", SOON, || {
        let came: Vec<_> = received().iter().map(|record| flow(record)).collect();
        golden.iter().all(|record| came.contains(&flow(record)))
    });
    let received = received();
    for record in &received {
        assert!(golden.contains(record), "no golden record: {record}");
    }
    assert!(received.len() >= 10, "only {} records", received.len());
}

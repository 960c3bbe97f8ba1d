//! The sink against a real rsyslog: mutual TLS, TCP in both framings, UDP. What arrives is byte for byte what was meant,
//! and what goes wrong is told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tidegate::encode::cef::{Connections, Filter};
use tidegate::lane::{Outcomes, Sink as _, Taken, Ticket, Wake};
use tidegate::net::tls::TlsConfig;
use tidegate::sink::syslog::{self, Config, Framing, Header, Syslog, Target};

use super::golden;
use crate::support::{self, Running, SOON, free_port, temp_dir, wait_until};

/// Certificates good and bad, made once a run.
fn certificates() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = temp_dir();
        let mut command = Command::new(support::root().join("tests/siem/gen-certs.sh"));
        support::run_command(command.arg(folder.path()), "").expect_code(0);
        folder
    });
    folder.path()
}

struct Rsyslog {
    folder: tempfile::TempDir,
    running: Option<Running>,
    tls: u16,
    tcp: u16,
    udp: u16,
}

impl Rsyslog {
    /// `None` when it is not installed. `server`: the certificate that it shows; it wants the client's.
    fn start(server: &str) -> Option<Self> {
        let there = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd"].iter().any(|path| Path::new(path).exists());
        if !there {
            support::went_without("rsyslog", "no rsyslogd (Debian: rsyslog, rsyslog-openssl)");
            return None;
        }
        let mut this = Self { folder: temp_dir(), running: None, tls: free_port(), tcp: free_port(), udp: free_port() };
        let folder = this.folder.path().to_str().expect("a plain path");
        let template = std::fs::read_to_string(support::root().join("tests/siem/rsyslog.conf.in")).expect("a template");
        let configuration = template
            .replace("@DIR@", folder)
            .replace("@CERTS@", certificates().to_str().expect("a plain path"))
            .replace("@AUTH@", "x509/name")
            .replace("@PEER@", "permittedPeer=[\"forwarder.test\"]")
            .replace("@SERVER@", server)
            .replace("@TLS_PORT@", &this.tls.to_string())
            .replace("@TCP_PORT@", &this.tcp.to_string())
            .replace("@UDP_PORT@", &this.udp.to_string());
        std::fs::write(this.path("rsyslog.conf"), configuration).expect("a configuration");
        this.run();
        Some(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self) {
        let mut command = Command::new("rsyslogd");
        command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg("-n");
        command.arg("-f").arg(self.path("rsyslog.conf")).arg("-i").arg(self.path("rsyslog.pid"));
        self.running = Some(Running::start(&mut command));
        for port in [self.tls, self.tcp] {
            wait_until("rsyslog to listen", SOON, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.terminate();
            running.wait(SOON);
        }
    }

    fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("received.jsonl")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    fn target(&self, transport: &str) -> Target {
        let host = "localhost".to_owned();
        match transport {
            "tls" => Target::Tls { host, port: self.tls },
            "tcp" => Target::Tcp { host, port: self.tcp },
            _ => Target::Udp { host: "127.0.0.1".to_owned(), port: self.udp },
        }
    }
}

fn tls(client: Option<&str>) -> TlsConfig {
    let file = |name: &str| Some(certificates().join(name));
    TlsConfig {
        ca_file: file("ca.pem"),
        certificate_file: client.and_then(|client| file(&format!("{client}.pem"))),
        key_file: client.and_then(|client| file(&format!("{client}.key"))),
        ..TlsConfig::default()
    }
}

fn config(target: Target) -> Config {
    Config {
        tls: tls(Some("client")),
        cef: golden::config(),
        filter: Filter { connections: Connections::Both, ..Filter::default() },
        backoff: (Duration::from_millis(10), Duration::from_millis(100)),
        replay_age: Duration::from_secs(3600),
        ..Config::new("soc", target, golden::NODE)
    }
}

struct Lane {
    sink: Syslog,
    wakes: Receiver<Wake>,
    next: u64,
    _runtime: tokio::runtime::Runtime,
}

impl Lane {
    fn new(config: Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (wake, wakes) = channel();
        let sink = syslog::sink(config, runtime.handle(), Outcomes::new(wake)).expect("a good configuration");
        Self { sink, wakes, next: 0, _runtime: runtime }
    }

    fn seal(&mut self) {
        if self.sink.fill().lines > 0 {
            self.sink.seal(Ticket(self.next));
            self.next += 1;
        }
    }

    /// Sends every record of every fixture; gives their number.
    fn send_all(&mut self) -> u64 {
        let (table, mut kept) = (golden::all_cross(), 0);
        for case in golden::cases() {
            golden::each_event(&case, &table, |event| {
                kept += u64::from(self.sink.add(event, tidegate::lane::Before::Never) == Taken::Kept);
            });
            self.seal();
        }
        kept
    }

    /// Ends, and gives the number of records that were settled; `None` when a rewind came instead.
    fn finish(&mut self) -> Option<u64> {
        self.sink.finish();
        let mut delivered = 0;
        loop {
            match self.wakes.recv_timeout(SOON).expect("an outcome") {
                Wake::Settled(settled) => delivered += settled.delivered,
                Wake::Finished => return Some(delivered),
                Wake::Rewind => return None,
                _ => {}
            }
        }
    }

    /// The error that the connection ends with, again and again; nothing is settled.
    fn refused(&mut self) -> String {
        self.send_all();
        wait_until("a refusal", SOON, || self.sink.stats().tls_errors.load(Relaxed) > 1);
        assert!(self.wakes.try_recv().is_err(), "an outcome although nothing was sent");
        assert_eq!(self.sink.stats().records.load(Relaxed), 0);
        self.sink.stats().last_error().expect("the reason")
    }
}

/// The golden records of every fixture.
fn expected() -> Vec<String> {
    golden::everything().lines().map(str::to_owned).collect()
}

#[track_caller]
fn arrives(transport: &str, change: impl FnOnce(&mut Config), header: &str) {
    let Some(rsyslog) = Rsyslog::start("server") else { return };
    let mut config = config(rsyslog.target(transport));
    change(&mut config);
    let mut lane = Lane::new(config);
    let sent = lane.send_all();
    if transport == "udp" {
        // A datagram that is on its way when we are done is still on its way.
        lane.finish();
    } else {
        assert_eq!(lane.finish(), Some(sent), "all of it settled by a clean end");
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
fn with_the_old_header() {
    let old = |config: &mut Config| {
        config.header = Header::Rfc3164Tagged;
        config.framing = Some(Framing::Lf);
    };
    arrives("tcp", old, " tidegate: ");
}

#[test]
fn bad_server_certificates_are_refused() {
    for (server, reason) in
        [("wrongname", "set server_name"), ("expired", "it has expired"), ("rogue-server", "set ca_file")]
    {
        let Some(rsyslog) = Rsyslog::start(server) else { return };
        let error = Lane::new(config(rsyslog.target("tls"))).refused();
        assert!(error.contains(reason), "{server}: {error}");
    }
}

#[test]
fn a_refused_client_certificate_is_seen_and_nothing_is_sent() {
    for (client, reason) in [(None, "set certificate_file and key_file"), (Some("rogue-client"), "client certificate")]
    {
        let Some(rsyslog) = Rsyslog::start("server") else { return };
        let error = Lane::new(Config { tls: tls(client), ..config(rsyslog.target("tls")) }).refused();
        assert!(error.contains(reason), "{client:?}: {error}");
        assert_eq!(rsyslog.received().len(), 0);
    }
}

#[test]
fn a_fingerprint_stands_for_authority_and_name() {
    let Some(rsyslog) = Rsyslog::start("wrongname") else { return };
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
    assert_eq!(probe(pinned).expect("the pinned certificate"), named);
}

#[test]
fn a_receiver_that_is_restarted_gets_everything_again() {
    let Some(mut rsyslog) = Rsyslog::start("server") else { return };
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
    let Some(rsyslog) = Rsyslog::start("server") else { return };
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
        messages.iter().map(|message| message["msg"].as_str().expect("text").replace(ours, "|0.0.0|")).collect()
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

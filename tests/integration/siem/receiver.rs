//! A real rsyslog that a test starts, stops, kills and freezes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::Value;
use tidegate::sink::syslog::Target;

use crate::support::{self, Running, SOON, free_port, listens, temp_dir, within};

/// Certificates good and bad, made once a run.
pub fn certificates() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = temp_dir();
        let mut command = Command::new(support::root().join("tests/siem/gen-certs.sh"));
        support::run_command(command.arg(folder.path()), "").expect_code(0);
        folder
    });
    folder.path()
}

/// Whether it is installed; says loudly when it is not.
pub fn has_rsyslog() -> bool {
    let there = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd"].iter().any(|path| Path::new(path).exists());
    if !there {
        support::went_without("rsyslog", "no rsyslogd (Debian: rsyslog, rsyslog-openssl, rsyslog-relp)");
    }
    there
}

pub fn start_rsyslog(configuration: &Path) -> Running {
    let mut command = Command::new("rsyslogd");
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-n", "-iNONE", "-f"]).arg(configuration);
    Running::start(&mut command)
}

/// Where a configuration lets rsyslog write what it says itself.
pub const INTERNAL_LOG: &str = "internal.log";

pub fn internal_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(INTERNAL_LOG)).unwrap_or_default()
}

/// A syslog-ng that listens on this port and has `folder` for its state; `None` when it is not there.
pub fn start_syslog_ng(configuration: &Path, folder: &Path, port: u16) -> Option<Running> {
    let mut command = Command::new(support::root().join("tests/siem/syslog-ng"));
    let mut running = Running::start(command.arg(configuration).arg(folder));
    if running.comes_to_listen(port) {
        return Some(running);
    }
    let ran = running.wait(SOON);
    assert_eq!(ran.code(), Some(77), "{}{}", ran.stdout, ran.stderr);
    support::went_without("syslog-ng", "tests/siem/get-syslog-ng unpacks it");
    None
}

pub struct Rsyslog {
    folder: tempfile::TempDir,
    running: Option<Running>,
    pub tls: u16,
    pub tcp: u16,
    pub udp: u16,
    pub relp: u16,
    pub relp_tls: u16,
}

impl Rsyslog {
    /// `None` when it is not installed.
    pub fn start() -> Option<Self> {
        Self::with_certificate("server")
    }

    /// The certificate that it shows; it wants the client's.
    pub fn with_certificate(server: &str) -> Option<Self> {
        if !has_rsyslog() {
            return None;
        }
        let mut this = Self {
            folder: temp_dir(),
            running: None,
            tls: free_port(),
            tcp: free_port(),
            udp: free_port(),
            relp: free_port(),
            relp_tls: free_port(),
        };
        this.show(server);
        this.run();
        Some(this)
    }

    /// Another certificate from the next [`Rsyslog::run`] on.
    pub fn show(&self, server: &str) {
        let folder = self.folder.path().to_str().expect("a plain path");
        let template = std::fs::read_to_string(support::root().join("tests/siem/rsyslog.conf.in")).expect("a template");
        let configuration = template
            .replace("@DIR@", folder)
            .replace("@CERTS@", certificates().to_str().expect("a plain path"))
            .replace("@SERVER@", server)
            .replace("@TLS_PORT@", &self.tls.to_string())
            .replace("@TCP_PORT@", &self.tcp.to_string())
            .replace("@UDP_PORT@", &self.udp.to_string())
            .replace("@RELP_PORT@", &self.relp.to_string())
            .replace("@RELP_TLS_PORT@", &self.relp_tls.to_string());
        std::fs::write(self.path("rsyslog.conf"), configuration).expect("a configuration");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&mut self) {
        self.running = Some(start_rsyslog(&self.path("rsyslog.conf")));
        for port in [self.tls, self.tcp, self.relp, self.relp_tls] {
            let found = within(SOON, || listens(port).then_some(()));
            assert!(found.is_some(), "rsyslog does not listen on {port}:\n{}", self.said());
        }
    }

    /// What it says itself: it goes on without a listener that it cannot have.
    pub fn said(&self) -> String {
        internal_log(self.folder.path())
    }

    /// Ends it as its service does.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.terminate();
            running.wait(SOON);
        }
    }

    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    pub fn freeze(&self) {
        self.running.as_ref().expect("it runs").signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.running.as_ref().expect("it runs").signal(Signal::CONT);
    }

    pub fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("received.jsonl")).unwrap_or_default();
        // The last line may be half written. One that a kill cut stands before the first line of the next start.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let json = |line: &str| serde_json::from_str(&line[line.rfind("{\"input\"").unwrap_or(0)..]);
        whole.lines().map(|line| json(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// How many lines stand there, without looking at them.
    pub fn count(&self) -> usize {
        std::fs::read(self.path("received.jsonl")).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
    }

    pub fn target(&self, transport: &str) -> Target {
        let host = "localhost".to_owned();
        match transport {
            "tls" => Target::Tls { host, port: self.tls },
            "tcp" => Target::Tcp { host, port: self.tcp },
            "relp" => Target::Relp { host, port: self.relp },
            "relp+tls" => Target::RelpTls { host, port: self.relp_tls },
            "unix" => Target::Unix { path: self.path("datagram") },
            "unix-stream" => Target::UnixStream { path: self.path("stream") },
            _ => Target::Udp { host: "127.0.0.1".to_owned(), port: self.udp },
        }
    }
}

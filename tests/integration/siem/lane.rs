//! The sink by itself, fed with every flow of the fixtures.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tidegate::encode::record::{Connections, Filter, Format};
use tidegate::lane::{Outcomes, Sink as _, Taken, Ticket, Wake};
use tidegate::net::tls::TlsConfig;
use tidegate::sink::syslog::{self, Config, Syslog, Target};

use super::golden;
use super::receiver::certificates;
use crate::support::{SOON, wait_until};

pub fn tls(client: Option<&str>) -> TlsConfig {
    let file = |name: &str| Some(certificates().join(name));
    TlsConfig {
        ca_file: file("ca.pem"),
        certificate_file: client.and_then(|client| file(&format!("{client}.pem"))),
        key_file: client.and_then(|client| file(&format!("{client}.key"))),
        ..TlsConfig::default()
    }
}

pub fn config(target: Target) -> Config {
    Config {
        tls: tls(Some("client")),
        record: golden::config(Format::Cef),
        filter: Filter { connections: Connections::Both, ..Filter::default() },
        backoff: (Duration::from_millis(10), Duration::from_millis(100)),
        replay_age: Duration::from_secs(3600),
        ..Config::new("soc", target, golden::NODE)
    }
}

pub struct Lane {
    pub sink: Syslog,
    pub wakes: Receiver<Wake>,
    next: u64,
    _runtime: tokio::runtime::Runtime,
}

impl Lane {
    pub fn new(config: Config) -> Self {
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
    pub fn send_all(&mut self) -> u64 {
        self.send(&golden::cases())
    }

    pub fn send(&mut self, cases: &[PathBuf]) -> u64 {
        let (table, mut kept) = (golden::all_cross(), 0);
        for case in cases {
            golden::each_event(case, &table, |event| {
                kept += u64::from(self.sink.add(event, tidegate::lane::Before::Never) == Taken::Kept);
            });
            self.seal();
        }
        kept
    }

    /// Ends, and gives the number of records that were settled; `None` when a rewind came instead.
    pub fn finish(&mut self) -> Option<u64> {
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
    pub fn refused(&mut self) -> String {
        self.send_all();
        // On a busy machine rsyslog's RELP leaves a handshake unanswered now and then: that is given up after 30 s, and tried again.
        let stats = self.sink.stats();
        wait_until("a refusal", 4 * SOON, || {
            let said = stats.last_error().is_some_and(|error| !error.contains("did not answer the handshake"));
            said && stats.tls_errors.load(Relaxed) > 1
        });
        assert!(self.wakes.try_recv().is_err(), "an outcome although nothing was sent");
        assert_eq!(self.sink.stats().records.load(Relaxed), 0);
        self.sink.stats().last_error().expect("the reason")
    }
}

/// The golden records of every fixture.
pub fn expected() -> Vec<String> {
    golden::everything(Format::Cef).lines().map(str::to_owned).collect()
}

//! The SIEM: cross-zone flows as records over syslog, by UDP, TCP, TLS, RELP or a local daemon's socket.
//!
//! Two halves. [`Syslog`] lives on the lane's thread: it filters ([`siem`]), encodes and collects messages in one buffer a
//! batch ([`writer`]). One task on the I/O runtime ([`task`]) connects to one of the receivers, frames and writes, and reads all the time.
//!
//! Promises: a batch is settled by the strongest [`Proof`] that its transport gives. RELP acknowledges each record: what is
//! not acknowledged stays in memory and is written again, and nothing else. Plain syslog has no acknowledgement, so a
//! successful write proves nothing: a batch is settled when it has been written and its replay window has passed (so
//! many records, or so much time, after it), or at a clean end, once the peer has closed in answer to our close: it has
//! then read everything. When a connection breaks, the lane reads again from the lowest unsettled place, so that what may
//! be lost is sent twice rather than never; `externalId` lets the receiver tell. A TLS link is believed only after the peer
//! had time to refuse our certificate. Of several receivers one has the records at a time, and what was unsettled with
//! one is sent to the next. A receiver that is away costs at most [`UNSENT_LIMIT`] octets of memory; the lane then waits.
//!
//! Not here: what a record says and in which format (`encode::record`).

mod batch;
mod connect;
mod header;
mod link;
mod relp;
mod stats;
mod target;
mod task;
mod trial;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use connect::{ConnectError, ProbeReport, TlsReport, probe};
pub use header::HeaderWriter;
pub use stats::{Proof, Stats};
pub use target::{Framing, Target};
pub use trial::trial;
pub use writer::{Syslog, Writer};

use crate::encode::record::{self, Filter};
use crate::lane::Outcomes;
use crate::net::tls::{self, TlsConfig, TlsError};
use crate::sink::rate::Rates;
use crate::sink::siem::{self, Measured, Status};

/// A batch is sealed when the longest record might not fit any more.
pub const BATCH_BYTES: usize = 64 << 10;
/// Octets that are sealed and not yet written (over RELP: acknowledged), at most; at this bound the lane stops reading.
pub const UNSENT_LIMIT: usize = 1 << 20;
/// RFC 5426: receivers should take so much in one datagram.
pub const MAX_DATAGRAM: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    #[default]
    Rfc5424,
    /// `Mmm dd hh:mm:ss HOST CEF:0|…`, no tag, as ArcSight and Microsoft's collectors expect it.
    Rfc3164,
    /// `Mmm dd hh:mm:ss HOST tidegate: CEF:0|…`: for receivers that take the first word for a tag.
    Rfc3164Tagged,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the receiver; the lane is `siem-<name>`.
    pub name: String,
    /// In order of preference: the first one that can be had gets the records.
    pub targets: Vec<Target>,
    pub header: Header,
    /// On plain streams. `None`: what the kind of receiver expects.
    pub framing: Option<Framing>,
    /// Number in RFC 5424 table 1, 0 to 23.
    pub facility: u8,
    /// HOSTNAME of the header: the node.
    pub hostname: String,
    /// For `tls` and `relp+tls`.
    pub tls: TlsConfig,
    /// A format that is an element of structured data needs the RFC 5424 header.
    pub record: record::Config,
    pub filter: Filter,
    /// A batch is settled when so many records were written after it …
    pub replay_records: u64,
    /// … or so much time has passed.
    pub replay_age: Duration,
    /// Of connecting (each address, with the handshake), of the peer's taking of one batch, and of the next
    /// acknowledgement.
    pub timeout: Duration,
    /// How many records it gets of how many flows.
    pub rates: Rates,
    /// Whether the destination is told of its sender, and how often. `None`: it gets records of flows and nothing else.
    pub status: Option<Status>,
    /// How often a preferred receiver is looked for while another has the records; it takes two good answers to go
    /// back. Zero: we stay until that one breaks.
    pub failback: Duration,
    /// Age at which a connection is closed in good order and made again. `None`: it stays.
    pub reconnect: Option<Duration>,
    /// How long the peer may take to close after we did.
    pub close_timeout: Duration,
    /// First and longest wait between tries to connect; each wait is random between half of it and all of it.
    pub backoff: (Duration, Duration),
}

impl Config {
    /// Defaults for everything that has one.
    pub fn new(name: impl Into<String>, target: Target, hostname: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            targets: vec![target],
            header: Header::default(),
            framing: None,
            facility: 16,
            hostname: hostname.into(),
            tls: TlsConfig::default(),
            record: record::Config::default(),
            filter: Filter::default(),
            replay_records: 10_000,
            replay_age: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            rates: Rates::default(),
            status: None,
            failback: Duration::from_secs(60),
            reconnect: None,
            close_timeout: Duration::from_secs(15),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }

    /// All of them in their order, for people and to tell one destination from another.
    pub fn receivers(&self) -> String {
        self.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What writes the header of each message.
    pub fn header_writer(&self) -> HeaderWriter {
        HeaderWriter::new(self.header, self.facility, &self.hostname, self.record.format.is_element())
    }

    /// Octets that a message may have, header included.
    pub fn max_message(&self) -> usize {
        let max = self.record.max_record.max(self.record.format.min_record());
        // Whichever receiver gets it.
        let udp = self.targets.iter().any(|target| matches!(target, Target::Udp { .. }));
        if udp { max.min(MAX_DATAGRAM) } else { max }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    #[error("facility {0} is not one; RFC 5424 knows 0 to 23")]
    Facility(u8),
    #[error("no receiver is given")]
    NoReceiver,
    #[error("a record of structured data needs the RFC 5424 header")]
    NoPlaceForElements,
}

/// The sink of one SIEM lane. Its task ends when the sink is dropped. Certificates are read now, so that a mistake in
/// them is an error at the start, and again at every connection.
pub fn sink(config: Config, runtime: &tokio::runtime::Handle, outcomes: Outcomes) -> Result<Syslog, SyslogError> {
    if config.facility > 23 {
        return Err(SyslogError::Facility(config.facility));
    }
    if config.targets.is_empty() {
        return Err(SyslogError::NoReceiver);
    }
    if config.record.format.is_element() && config.header != Header::Rfc5424 {
        return Err(SyslogError::NoPlaceForElements);
    }
    for host in config.targets.iter().filter(|target| target.is_tls()).filter_map(Target::host) {
        tls::client_config(&config.tls)?;
        tls::server_name(&config.tls, host)?;
    }
    let stats = Arc::new(Stats::new(&config.name, &config.targets));
    let (commands, received) = mpsc::unbounded_channel();
    let (spares_back, spares) = std_mpsc::channel();
    let (alive, gone) = oneshot::channel();
    let syslog = Syslog::new(&config, commands, spares, Arc::clone(&stats), alive);
    let task = task::run(config, received, outcomes, stats, spares_back);
    crate::sink::task::spawn(runtime, task, gone);
    Ok(syslog)
}

/// A destination that is only measured.
pub fn measured(config: &Config, outcomes: Outcomes) -> Measured<Writer> {
    let stats = Arc::new(Stats::new(&config.name, &config.targets));
    let (commands, mut received) = mpsc::unbounded_channel();
    let (_, spares) = std_mpsc::channel();
    let (alive, gone) = oneshot::channel();
    let half = Syslog::new(config, commands, spares, Arc::clone(&stats), alive);
    let drain = move || {
        let _behind = &gone;
        while received.try_recv().is_ok() {}
        stats.unsent_bytes.store(0, Relaxed);
    };
    siem::measured(half, &config.rates, Box::new(drain), outcomes)
}

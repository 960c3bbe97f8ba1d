//! What a SIEM lane's link did, for metrics and for people.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::target::Target;
use crate::sink::siem;

/// What stands for it that a settled record was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The receiver said so of this record (RELP).
    Acknowledged,
    /// The receiver closed in answer to our close: it has read all before.
    Closed,
    /// The connection held for the whole replay window after it.
    Window,
    /// Nothing: a datagram.
    None,
}

impl Proof {
    pub const ALL: [Self; 4] = [Self::Acknowledged, Self::Closed, Self::Window, Self::None];

    /// Its label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
            Self::Window => "window",
            Self::None => "none",
        }
    }
}

const NOBODY: usize = usize::MAX;

#[derive(Debug)]
pub struct Stats {
    /// Name of the destination.
    pub name: String,
    /// The addresses of its receivers, in order of preference.
    pub receivers: Vec<String>,
    /// Records handed to the kernel, repeats included.
    pub records: AtomicU64,
    /// Octets handed to the kernel, framing included.
    pub octets: AtomicU64,
    settled: [AtomicU64; Proof::ALL.len()],
    /// Connections that were up.
    pub connects: AtomicU64,
    /// Tries to connect that failed.
    pub connect_errors: AtomicU64,
    /// Of them: refused by TLS on either side.
    pub tls_errors: AtomicU64,
    /// Connections that broke.
    pub disconnects: AtomicU64,
    /// Connections to another receiver than the one before.
    pub switches: AtomicU64,
    /// Records in which something was cut or left out.
    pub truncated: AtomicU64,
    /// Records in which a character was replaced.
    pub sanitised: AtomicU64,
    /// Sealed and not yet written; over RELP, not yet acknowledged.
    pub unsent_bytes: AtomicUsize,
    pub siem: siem::Stats,
    /// The receiver that records go to, or [`NOBODY`].
    current: AtomicUsize,
    last: AtomicUsize,
    /// What went wrong last, for `check` and health; never a secret.
    last_error: Mutex<Option<String>>,
}

impl Stats {
    pub(super) fn new(name: &str, targets: &[Target]) -> Self {
        Self {
            name: name.to_owned(),
            receivers: targets.iter().map(ToString::to_string).collect(),
            records: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            settled: Default::default(),
            connects: AtomicU64::new(0),
            connect_errors: AtomicU64::new(0),
            tls_errors: AtomicU64::new(0),
            disconnects: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            sanitised: AtomicU64::new(0),
            unsent_bytes: AtomicUsize::new(0),
            siem: siem::Stats::default(),
            current: AtomicUsize::new(NOBODY),
            last: AtomicUsize::new(NOBODY),
            last_error: Mutex::new(None),
        }
    }

    /// Records that were settled by this proof.
    pub fn settled_by(&self, proof: Proof) -> u64 {
        self.settled[proof as usize].load(Relaxed)
    }

    pub(super) fn settled(&self, proof: Proof, records: u64) {
        self.settled[proof as usize].fetch_add(records, Relaxed);
    }

    /// Place of the receiver that records go to; `None` while there is no connection.
    pub fn current(&self) -> Option<usize> {
        Some(self.current.load(Relaxed)).filter(|receiver| *receiver != NOBODY)
    }

    pub(super) fn connected_to(&self, receiver: usize) {
        self.current.store(receiver, Relaxed);
        let last = self.last.swap(receiver, Relaxed);
        self.switches.fetch_add(u64::from(last != receiver && last != NOBODY), Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.current.store(NOBODY, Relaxed);
    }

    pub(super) fn set_error(&self, error: Option<String>) {
        // A poisoned lock holds a text all the same.
        *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = error;
    }

    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

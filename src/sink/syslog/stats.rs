//! What a SIEM lane's link did, for metrics and for people.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

#[derive(Debug, Default)]
pub struct Stats {
    /// Name of the receiver.
    pub name: String,
    /// Records handed to the kernel, repeats included.
    pub records: AtomicU64,
    /// Octets handed to the kernel, framing included.
    pub octets: AtomicU64,
    /// Records settled over a transport that tells nothing of its losses (UDP, local socket).
    pub unconfirmed: AtomicU64,
    /// Connections that were up.
    pub connects: AtomicU64,
    /// Tries to connect that failed.
    pub connect_errors: AtomicU64,
    /// Of them: refused by TLS on either side.
    pub tls_errors: AtomicU64,
    /// Connections that broke.
    pub disconnects: AtomicU64,
    /// Times that the lane was told to read again.
    pub rewinds: AtomicU64,
    /// Records in which something was cut or left out.
    pub truncated: AtomicU64,
    /// Records in which a character was replaced.
    pub sanitised: AtomicU64,
    /// Sealed and not yet written.
    pub unsent_bytes: AtomicUsize,
    pub connected: AtomicBool,
    /// What went wrong last, for `check` and health; never a secret.
    pub last_error: Mutex<Option<String>>,
}

impl Stats {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn set_error(&self, error: Option<String>) {
        // A poisoned lock holds a text all the same.
        *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = error;
    }

    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

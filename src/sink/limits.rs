//! When a batch of an HTTP body is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The batch limit learned from 413 never falls below this.
pub const LEAST_BYTES: usize = 16 * 1024;

/// Shared by both halves of a sink: an answer 413 lowers the bytes for the batches to come.
#[derive(Debug)]
pub struct Limits {
    bytes: AtomicUsize,
    items: usize,
}

impl Limits {
    /// At most so many plain bytes or documents, whichever comes first.
    pub fn new(bytes: usize, items: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(bytes), items: items.max(1) })
    }

    /// Plain bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether so much is a whole batch.
    pub fn are_reached(&self, plain: u64, items: usize) -> bool {
        plain >= self.bytes() as u64 || items >= self.items
    }

    /// A body of so many plain bytes was too large for the peer. True when that taught us a smaller limit.
    pub fn too_large(&self, plain: u64) -> bool {
        let half = usize::try_from(plain / 2).unwrap_or(usize::MAX).max(LEAST_BYTES);
        self.bytes.fetch_min(half, Ordering::Relaxed) > half
    }
}

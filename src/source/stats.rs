//! What the files of one lane say of themselves.

use std::sync::atomic::AtomicU64;

/// Written by the lane's thread, read by whoever asks.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Files that a content is read from, or was read from to its end.
    pub files: AtomicU64,
    /// Files that cannot be read now (permissions, damage).
    pub unreadable_files: AtomicU64,
    /// Deleted files that are held open.
    pub deleted_open_files: AtomicU64,
    pub spool_bytes: AtomicU64,
    /// 1 while something must stay open because the spool is full or cannot be written.
    pub spool_held: AtomicU64,
    pub spool_failures: AtomicU64,
    /// Lines put into the spool.
    pub spooled_lines: AtomicU64,
    /// Lines in the spool that gave way under `drop_oldest`. They count as dropped when their turn comes.
    pub spool_given_up_lines: AtomicU64,
    /// Files that were deleted or truncated before they were read to their end, and what is known to be lost of them.
    pub lost_files: AtomicU64,
    pub lost_bytes: AtomicU64,
}

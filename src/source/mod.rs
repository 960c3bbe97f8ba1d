//! Where lines enter: files on the node.

pub mod checkpoint;
pub mod spool;
pub mod stats;
pub mod list;
pub mod tail;
pub mod watch;

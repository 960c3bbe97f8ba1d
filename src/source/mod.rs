//! Where lines enter: files on the node.

pub mod checkpoint;
pub mod list;
pub mod spool;
pub mod stats;
pub mod tail;
pub mod watch;

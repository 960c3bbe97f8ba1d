//! Where lines enter: files on the node.

pub mod checkpoint;
pub mod tail;
pub mod watch;

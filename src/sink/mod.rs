//! Where lines leave: each sink turns events into what its peer takes, and the peer's answers into outcomes.

pub mod dead_letter;
pub mod elastic;
mod finding;
pub mod limits;
pub mod rate;
pub mod siem;
pub mod splunk;
pub mod syslog;
mod task;

pub use finding::{Finding, Level};

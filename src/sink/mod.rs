//! Where lines leave: each sink turns events into what its peer takes, and the peer's answers into outcomes.

pub mod dead_letter;
mod dedupe;
pub mod elastic;
pub mod syslog;

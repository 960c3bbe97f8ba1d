//! The SIEM lane: golden records, parsers that are not ours, and a real rsyslog.
//!
//! `UPDATE_FIXTURES=1 cargo test --test integration siem::golden` writes the golden records anew.

mod golden;
mod parsers;
mod properties;
mod rsyslog;
mod table;

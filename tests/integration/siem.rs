//! The SIEM lane: golden records, parsers that are not ours, a real rsyslog, syslog-ng and OpenTelemetry
//! Collector, and their faults.
//!
//! `UPDATE_FIXTURES=1 cargo test --test integration siem::golden` writes the golden records anew.

mod content;
mod faults;
mod golden;
mod hec;
mod ingest;
mod kusto;
mod lane;
mod losses;
mod otelcol;
mod pages;
mod parsers;
mod patterns;
mod properties;
mod proxy;
mod rates;
pub mod receiver;
mod relays;
mod rsyslog;
mod send_test;
mod sigma;
mod silence;
mod status;
mod syslog_ng;
mod table;

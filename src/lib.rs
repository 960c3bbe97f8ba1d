//! Tidegate reads a Kubernetes node's Calico flow logs and sends each flow where it belongs: every flow to
//! Elasticsearch as an ECS document, every flow that crosses a security zone to the SIEM as CEF over syslog.
//!
//! The rooms below stand in layers; a room uses only rooms above it in this list (`tests/integration/layers.rs` holds it).
//! ARCHITECTURE.md says why they are cut this way.
#![forbid(unsafe_code)]
// The docs are for those who work on it: they are built with private items, so links to them are sound.
#![allow(rustdoc::private_intra_doc_links)]

// 0, facts, and 1, pure: bytes and facts in, bytes and facts out. A package of their own, `src/core.rs`.
pub use tidegate_core::{decode, encode, model, query, unit, yaml, zone};
// 2, means.
pub mod durable;
pub mod lane;
pub mod net;
pub mod telemetry;
// 3, edges.
pub mod setup;
pub mod sink;
pub mod source;
// 4, view.
pub mod serve;
// 5, frame: the only rooms that name all the others.
pub mod agent;
pub mod cli;
pub mod config;
pub mod demo;

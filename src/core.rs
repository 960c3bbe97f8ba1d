//! What Tidegate knows of flows without asking anybody: the rooms of its two lowest layers, a package of their own
//! (`src/core/Cargo.toml`). The program uses them as `tidegate::model` and so on.
//!
//! No I/O and no clock.
#![forbid(unsafe_code)]
// The docs are for those who work on it: they are built with private items, so links to them are sound.
#![allow(rustdoc::private_intra_doc_links)]

// 0, facts.
pub mod model;
pub mod unit;
/// A package of its own, for its level of optimisation.
pub use tidegate_yaml as yaml;
// 1, pure: bytes and facts in, bytes and facts out.
pub mod decode;
pub mod encode;
pub mod query;
pub mod zone;

//! The one integration-test binary: real servers, real receivers, the built program.

mod agent;
mod boards;
mod config;
mod corpora;
mod demo;
mod ecs;
mod elastic;
mod end_to_end;
#[path = "../fuzz/src/targets.rs"]
mod fuzz_targets;
#[path = "../harness/kill.rs"]
mod kill;
mod kills;
mod kube;
mod layers;
mod letters;
mod render;
mod restart;
mod scenarios;
mod setup;
mod siem;
mod support;
#[path = "../harness/torment.rs"]
#[allow(dead_code, reason = "the long runs use more of it")]
mod torment;
mod zones;

use support::data_stream;

//! The one integration-test binary: real servers, real receivers, the built program.

mod agent;
mod config;
mod demo;
mod ecs;
mod elastic;
mod end_to_end;
mod kube;
mod layers;
mod letters;
mod restart;
mod siem;
mod support;
mod zones;

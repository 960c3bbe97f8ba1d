//! The Elasticsearch sink, driven as a lane drives it: against real Elasticsearch and OpenSearch, and against a scripted
//! peer for what real servers cannot be made to do.

mod doubles;
mod lane;
pub mod real;
mod rollover;
mod scripted;
mod trouble;
mod wire;

//! Elasticsearch and OpenSearch.

pub mod batch;
pub mod outcome;

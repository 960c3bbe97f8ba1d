//! The boards: built from their pages, held to what Kibana and OpenSearch Dashboards take, computed on real servers.
//!
//! Neither Kibana nor OpenSearch Dashboards runs here. What an import would say, and what a screen would show, is checked
//! by rule ([`validate`]) and by computing what each panel asks ([`computed`]).

mod answer;
pub mod built;
mod computed;
mod corpus;
mod detect;
mod grafana;
pub mod install;
pub mod kql;
mod opinion;
mod picture;
mod prometheus;
mod question;
mod validate;

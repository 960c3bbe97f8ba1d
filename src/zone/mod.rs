//! Zones: `zones.yaml` as a table, and the zone of each end of a flow.
//!
//! [`Table::load`] reads the file and tells every problem with its place; [`Table::classify`] names the zones of a flow;
//! [`Table::explain`] says why. **The first zone in the file wins**, for every kind of matcher; what no zone takes is
//! [`UNKNOWN_ZONE`](crate::model::event::UNKNOWN_ZONE).
//!
//! Classification is synchronous and deterministic and asks no clock and no peer. A lane keeps a [`Cache`]: ends that look
//! alike are worked out once, so that the size of the table does not matter from then on, and nothing is allocated. Rules, matrix, exceptions and compile options are read and checked here, but
//! nothing enforces them yet; `load` says so.

mod address;
mod cache;
mod check;
mod earlier;
mod explain;
mod file;
mod glob;
mod index;
mod matcher;
mod named;
mod reach;
mod rules;
pub mod selector;
mod table;
#[cfg(test)]
mod tests;

pub use address::is_public;
pub use cache::Cache;
pub use explain::{EndExplanation, Explanation, MatchExplanation, Verdict, ZoneExplanation};
pub use file::{Defaults, File, Log, Rule, schema};
pub use matcher::Side;
pub use table::{Field, Need, Table, ZoneInfo};

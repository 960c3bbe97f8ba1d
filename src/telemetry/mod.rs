//! What the process says of itself: logs, metrics and health. Every metric name stands in this room or beside the
//! numbers that a peer's sink keeps; nothing here is updated per line, only per batch.

mod complaint;
mod counter;
pub mod health;
pub mod lanes;
pub mod logging;
pub mod metrics;

pub use complaint::Complaint;
pub use counter::Counter;
pub use health::Health;
pub use lanes::{LaneSnapshot, LaneStats};
pub use metrics::{Metrics, Sample};

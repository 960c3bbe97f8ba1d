//! What the process says of itself: logs, metrics and health. Every metric name stands in this room or beside the
//! numbers that a peer's sink keeps; nothing here is updated per line, only per batch.

pub mod health;
pub mod lanes;
pub mod logging;
pub mod metrics;

pub use health::Health;
pub use lanes::{LaneSnapshot, LaneStats};
pub use metrics::{Metrics, Sample};

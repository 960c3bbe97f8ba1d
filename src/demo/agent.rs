//! The demo's view of an agent.

use std::path::Path;
use std::time::Duration;

use super::picture::Lane;

/// An agent at work. The real one stands behind this, and in tests one that makes mistakes.
pub trait RunningAgent {
    /// The lanes as they are now, also after the stop.
    fn lanes(&self) -> Vec<Lane>;

    /// Drains and ends the lanes.
    fn stop(&mut self, deadline: Duration) -> Result<(), String>;
}

/// Starts an agent with a configuration file.
pub type StartAgent = fn(&Path) -> Result<Box<dyn RunningAgent>, String>;

/// The real agent.
pub(super) fn start(_configuration: &Path) -> Result<Box<dyn RunningAgent>, String> {
    Err("this build has no agent yet".to_owned())
}

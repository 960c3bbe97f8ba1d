//! The demo's view of an agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::{self, Agent};
use crate::config::Input;
use crate::lane::Zones;
use crate::telemetry::{Health, LaneSnapshot, Metrics};

/// An agent at work. The real one stands behind this, and in tests one that makes mistakes.
pub trait RunningAgent {
    /// The lanes as they are now, also after the stop.
    fn lanes(&self) -> Vec<LaneSnapshot>;

    /// Drains and ends the lanes.
    fn stop(&mut self, deadline: Duration) -> Result<(), String>;
}

/// Starts an agent with a configuration file.
pub type StartAgent = fn(&Path) -> Result<Box<dyn RunningAgent>, String>;

/// The real agent.
pub(super) fn start(configuration: &Path) -> Result<Box<dyn RunningAgent>, String> {
    let input = Input { file: Some(configuration.to_path_buf()), ..Input::default() };
    let loaded =
        input.load().map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let wanted = agent::configured(&loaded.config, None);
    let zones = Zones::default();
    if let Some(path) = &wanted.zones {
        zones.store(Some(Arc::new(agent::load_zones(path)?)));
    }
    let agent = Agent::start(wanted.config, &zones, Metrics::default(), Health::default());
    Ok(Box::new(Real { agent: Some(agent.map_err(|e| e.to_string())?), last: Vec::new() }))
}

struct Real {
    agent: Option<Agent>,
    /// The numbers at the end.
    last: Vec<LaneSnapshot>,
}

impl RunningAgent for Real {
    fn lanes(&self) -> Vec<LaneSnapshot> {
        match &self.agent {
            Some(agent) => agent.lanes(),
            None => self.last.clone(),
        }
    }

    /// The agent keeps the deadline of its configuration.
    fn stop(&mut self, _deadline: Duration) -> Result<(), String> {
        let Some(agent) = self.agent.take() else { return Ok(()) };
        let ends = agent.stop();
        let unclean: Vec<_> = ends.iter().filter(|e| !e.ended.clean).map(|e| e.numbers.name.clone()).collect();
        self.last = ends.into_iter().map(|e| e.numbers).collect();
        if unclean.is_empty() { Ok(()) } else { Err(format!("not drained in time: {}", unclean.join(", "))) }
    }
}

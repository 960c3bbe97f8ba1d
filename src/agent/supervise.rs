//! A running agent over time: signals, and files that change under it.
//!
//! Configuration and zones are looked at by content (mounted ConfigMaps change by swapping symlinks). A new configuration
//! drains the lanes and starts them anew from their checkpoints; new zones are put in place between two reads. A bad new
//! one is refused and said once, and the old one stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Agent, AgentError, Config, LaneEnd, build_info, load_zones};
use crate::config::missing_zone;
use crate::lane::Zones;
use crate::telemetry::{Health, Metrics};
use crate::zone::Table;

/// Files are looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// Lanes that end by themselves are looked at more often.
const LOOK_ONCE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: drain and end.
    Stop,
    /// SIGHUP: read everything again, changed or not.
    Reload,
}

/// What the caller reads from its file and flags.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub zones: Option<PathBuf>,
}

/// How to read it again, and from which file.
pub struct Origin<'a> {
    pub file: Option<PathBuf>,
    pub load: Box<dyn Fn() -> Result<Loaded, String> + 'a>,
}

/// Contents at the last look; what cannot be read is no content.
#[derive(PartialEq, Eq, Default)]
struct Contents {
    config: Option<u64>,
    zones: Option<u64>,
}

impl Contents {
    fn look(file: Option<&Path>, zones: Option<&Path>) -> Self {
        let hash =
            |path: Option<&Path>| path.and_then(|p| std::fs::read(p).ok()).map(|b| xxhash_rust::xxh3::xxh3_64(&b));
        Self { config: hash(file), zones: hash(zones) }
    }
}

/// Runs until a stop comes, or until every lane has ended by itself (`once`).
pub fn supervise(first: Loaded, origin: &Origin<'_>, signals: &Receiver<Signal>) -> Result<Vec<LaneEnd>, AgentError> {
    let zones = Zones::default();
    let table = read_zones(&first).map_err(AgentError::Zones)?;
    take_zones(&first.config, table, &zones);
    let (metrics, health) = (Metrics::default(), Health::default());
    let mut running = first;
    let mut agent = start(&running, &zones, &metrics, &health)?;
    let mut seen = Contents::look(origin.file.as_deref(), running.zones.as_deref());
    let mut looked_at = Instant::now();
    loop {
        // Lanes that could not start are none that have ended: only `once` ends by itself.
        let once = running.config.once.is_some();
        let forced = match signals.recv_timeout(if once { LOOK_ONCE } else { LOOK }) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(agent.stop()),
            Ok(Signal::Reload) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        if once && agent.has_ended() {
            return Ok(agent.join());
        }
        if !forced && looked_at.elapsed() < LOOK {
            continue;
        }
        looked_at = Instant::now();
        agent.look();
        let now = Contents::look(origin.file.as_deref(), running.zones.as_deref());
        if forced || now.config != seen.config {
            if let Some(new) = read_again(origin, &running) {
                agent = swap(agent, &mut running, new, &zones, &metrics, &health)?;
            }
        } else if now.zones != seen.zones {
            swap_zones(&running, &zones);
        }
        seen = now;
    }
}

fn start(loaded: &Loaded, zones: &Zones, metrics: &Metrics, health: &Health) -> Result<Agent, AgentError> {
    metrics.clear();
    let node = loaded.config.node.clone();
    metrics.add(move || vec![build_info(&node)]);
    Agent::start(loaded.config.clone(), zones, metrics.clone(), health.clone())
}

/// The new configuration and its zones, unless they are bad or ask for what a reload cannot give.
fn read_again(origin: &Origin<'_>, running: &Loaded) -> Option<(Loaded, Option<Table>)> {
    let new = match (origin.load)() {
        Ok(new) => new,
        Err(problems) => {
            tracing::error!(%problems, "the new configuration is refused; the old one stays");
            return None;
        }
    };
    if (&new.config.cluster, &new.config.node) != (&running.config.cluster, &running.config.node) {
        tracing::error!(
            "the new configuration changes `cluster` or `node`, which are part of every id; \
            it is refused and the old one stays: restart the process to change them"
        );
        return None;
    }
    match read_zones(&new) {
        Ok(table) => Some((new, table)),
        Err(problems) => {
            tracing::error!(%problems, "the new configuration names bad zones and is refused; the old one stays");
            None
        }
    }
}

/// Drains the old lanes and starts the new ones; where these cannot start, the old ones come back with their zones.
fn swap(
    old: Agent,
    running: &mut Loaded,
    (new, table): (Loaded, Option<Table>),
    zones: &Zones,
    metrics: &Metrics,
    health: &Health,
) -> Result<Agent, AgentError> {
    old.stop();
    health.clear();
    let earlier = zones.load_full();
    take_zones(&new.config, table, zones);
    match start(&new, zones, metrics, health) {
        Ok(agent) => {
            *running = new;
            tracing::info!("the configuration is read again; lanes went on from their checkpoints");
            Ok(agent)
        }
        Err(error) => {
            tracing::error!(%error, "the new configuration cannot start; the old one stays");
            zones.store(earlier);
            swap_zones(running, zones);
            start(running, zones, metrics, health)
        }
    }
}

/// `None` where the configuration names none.
fn read_zones(loaded: &Loaded) -> Result<Option<Table>, String> {
    loaded.zones.as_deref().map(load_zones).transpose()
}

fn swap_zones(loaded: &Loaded, zones: &Zones) {
    match read_zones(loaded) {
        Ok(table) => {
            take_zones(&loaded.config, table, zones);
            tracing::info!("zones are read again");
        }
        Err(problems) => tracing::error!(%problems, "the new zones are refused; the old ones stay"),
    }
}

fn take_zones(config: &Config, table: Option<Table>, zones: &Zones) {
    if let Some(table) = &table {
        tell_missing_zones(config, table);
    }
    zones.store(table.map(Arc::new));
}

/// What names a zone that is none never fits: it may be a slip, or a zone that is gone.
fn tell_missing_zones(config: &Config, table: &Table) {
    for (lane, siem) in &config.siem {
        for zone in siem.filter.zones().chain(siem.record.classes.zones()) {
            if let Some(problem) = missing_zone(zone, table) {
                tracing::warn!(lane, zone, problem, "a filter or class names a zone that zones.yaml does not hold");
            }
        }
    }
}

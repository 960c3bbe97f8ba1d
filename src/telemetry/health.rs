//! Health as data. Live: the process answers. Ready: configured, and every lane could open its state. A sink that is away
//! makes nothing unready: restarting the agent would not bring it back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, Result<(), String>>>>);

impl Health {
    /// `part` (a lane, the configuration) is in order.
    pub fn good(&self, part: &str) {
        self.set(part, Ok(()));
    }

    /// `part` is not in order; `why` is told to whoever asks.
    pub fn bad(&self, part: &str, why: impl Into<String>) {
        self.set(part, Err(why.into()));
    }

    /// Forgets all parts (before a reload).
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn set(&self, part: &str, state: Result<(), String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned(), state);
    }

    /// Everything in order, or what is not, a line each.
    pub fn ready(&self) -> Result<(), String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.is_empty() {
            return Err("starting\n".to_owned());
        }
        let bad: String = parts
            .iter()
            .filter_map(|(part, state)| state.as_ref().err().map(|why| format!("{part}: {why}\n")))
            .collect();
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let health = Health::default();
        assert!(health.ready().is_err(), "nothing said yet");
        health.good("elasticsearch");
        assert_eq!(health.ready(), Ok(()));
        health.bad("siem-soc", "version 3 is not known");
        assert_eq!(health.ready(), Err("siem-soc: version 3 is not known\n".into()));
    }
}

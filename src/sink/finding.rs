//! What a peer turned out to be, as sentences for the people who asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::net::certificate::Seen;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Good,
    /// It ships all the same, or may.
    Note,
    Bad,
}

/// One thing that was found out, as a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub text: String,
}

impl Finding {
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into() }
    }
}

/// What a peer showed of itself and wanted of us in a handshake, whether it was believed or not.
pub fn certificates(seen: &Seen) -> Vec<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    let count = seen.chain.len();
    let line = |(number, certificate): (usize, &crate::net::certificate::Certificate)| {
        let level = match (certificate.not_after > now, number) {
            (true, _) => Level::Good,
            (false, 0) => Level::Bad,
            // It may be one that nobody needs.
            (false, _) => Level::Note,
        };
        let text = format!("certificate {} of {count}: {certificate}, {}", number + 1, certificate.expiry(now));
        Finding::new(level, text)
    };
    let mut found: Vec<Finding> = seen.chain.iter().enumerate().map(line).collect();
    let asked = match (seen.asked, &seen.own) {
        (true, Some(own)) => format!("it asked for a client certificate; ours is {own}, {}", own.expiry(now)),
        (true, None) => "it asked for a client certificate, and none is configured".to_owned(),
        (false, Some(_)) => "it did not ask for a client certificate, so it was not shown ours".to_owned(),
        (false, None) => "it did not ask for a client certificate".to_owned(),
    };
    if count > 0 {
        found.push(Finding::new(Level::Note, asked));
    }
    found
}

/// A short time, in the unit that people read.
pub fn short(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

//! `check --connect`: what the peers themselves say.

use std::io::Write as _;

use serde_json::json;

use super::{Exit, NotBuilt, Output, block_on};
use crate::config::{Config, rooms};
use crate::sink::elastic::probe::{self, Finding, Level};

/// Tries every peer and prints what it answered. Nothing is written to any of them.
pub fn try_peers(config: &Config, output: Output) -> anyhow::Result<Exit> {
    let mut bad = false;
    if let Some(sink) = rooms::elastic(config) {
        let findings = block_on(probe::probe(&sink))??;
        bad |= findings.iter().any(|finding| finding.level == Level::Bad);
        print(rooms::ELASTICSEARCH_LANE, &findings, output)?;
    }
    if !config.sinks.siem.is_empty() {
        return Err(NotBuilt("trying SIEM receivers (check --connect)").into());
    }
    Ok(if bad { Exit::CheckFailed } else { Exit::Done })
}

/// One finding a line, in either form: they come while other peers are still being tried.
fn print(lane: &str, findings: &[Finding], output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in findings {
        let level = match finding.level {
            Level::Good => "good",
            Level::Note => "note",
            Level::Bad => "bad",
        };
        match output {
            Output::Text => writeln!(out, "{lane}: {level}: {}", finding.text)?,
            Output::Json => writeln!(out, "{}", json!({ "lane": lane, "level": level, "text": finding.text }))?,
        }
    }
    Ok(())
}

//! `check --connect`: what the peers themselves say.

use std::io::Write as _;

use serde_json::json;

use super::{Exit, Output, block_on};
use crate::config::{Config, rooms};
use crate::sink::elastic::probe::probe;
use crate::sink::{Finding, Level, splunk, syslog};

/// Tries every peer and prints what it answered. Nothing is written to any of them.
pub fn try_peers(config: &Config, output: Output) -> anyhow::Result<Exit> {
    let mut bad = false;
    if let Some(sink) = rooms::elastic(config) {
        for Finding { level, text } in block_on(probe(&sink))?? {
            bad |= level == Level::Bad;
            print(rooms::ELASTICSEARCH_LANE, level, &text, output)?;
        }
    }
    for (lane, sink) in rooms::syslog(config) {
        for (target, found) in block_on(syslog::probe(&sink))? {
            let (level, text) = match found {
                Ok(report) if report.confirmed => (Level::Good, report.to_string()),
                Ok(report) => (Level::Note, report.to_string()),
                Err(error) => (Level::Bad, error.to_string()),
            };
            bad |= level == Level::Bad;
            print(&lane, level, &format!("{target}: {text}"), output)?;
        }
    }
    for (lane, sink) in rooms::splunk(config) {
        for (receiver, found) in block_on(splunk::probe(&sink))?? {
            let (level, text) = match found {
                Ok(report) if report.acknowledges == Some(false) => (Level::Note, report.to_string()),
                Ok(report) => (Level::Good, report.to_string()),
                Err(text) => (Level::Bad, text),
            };
            bad |= level == Level::Bad;
            print(&lane, level, &format!("{receiver}: {text}"), output)?;
        }
    }
    Ok(if bad { Exit::CheckFailed } else { Exit::Done })
}

/// One finding a line, in either form: they come while other peers are still being tried.
pub(super) fn print(lane: &str, level: Level, text: &str, output: Output) -> std::io::Result<()> {
    let level = match level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Bad => "bad",
    };
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(out, "{lane}: {level}: {text}"),
        Output::Json => writeln!(out, "{}", json!({ "lane": lane, "level": level, "text": text })),
    }
}

//! `tidegate demo`: the main job at work, without a server.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::Exit;
use crate::demo::{self, Options};
use crate::telemetry::logging::{self, Format};

/// Show the main job at work: flows of a small shop, the real agent, receivers that check what they get
///
/// Everything happens in a temporary directory and on the loopback interface, unless real peers are named.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate demo\n  \
    $ tidegate demo --once --elasticsearch http://localhost:9200 --siem tcp://localhost:514")]
pub struct Args {
    /// End by itself, with a summary whose numbers add up
    #[arg(long)]
    once: bool,

    /// Lines to write with --once
    #[arg(long, value_name = "N", default_value_t = Options::default().lines)]
    lines: u64,

    /// Lines to write a second
    #[arg(long, value_name = "N", default_value_t = Options::default().rate, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,

    /// Another seed gives another shop
    #[arg(long, value_name = "N", default_value_t = Options::default().seed)]
    seed: u64,

    /// Send to this Elasticsearch instead of the embedded receiver; `tidegate setup` it first
    #[arg(long, value_name = "URL")]
    elasticsearch: Option<String>,

    /// Send to this SIEM instead of the embedded receiver
    #[arg(long, value_name = "URL")]
    siem: Option<String>,

    /// CA certificates to check the real peers with [default: the system's store]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// File with the API key for the real Elasticsearch
    #[arg(long, value_name = "FILE", requires = "elasticsearch")]
    api_key_file: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // On a terminal the agent's own messages would break the picture.
    if !std::io::stdout().is_terminal() {
        logging::init("warn", Format::Text, false);
    }
    let options = Options {
        once: args.once,
        lines: args.lines,
        rate: args.rate,
        seed: args.seed,
        elasticsearch: args.elasticsearch.clone(),
        siem: args.siem.clone(),
        ca_file: args.ca_file.clone(),
        api_key_file: args.api_key_file.clone(),
        ..Options::default()
    };
    Ok(if demo::run(&options)? { Exit::Done } else { Exit::CheckFailed })
}

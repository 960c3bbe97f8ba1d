//! `cargo run --profile quick --example kill_harness -- --kills 1000 --seed 7`: see tests/harness/README.md.

#[path = "../integration/support/data_stream.rs"]
#[allow(dead_code, reason = "the scenarios use more of it")]
mod data_stream;
mod kill;
mod real;
#[allow(dead_code, reason = "the soak uses more of it")]
mod torment;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Kills the agent again and again, and counts what arrived.
#[derive(Parser)]
struct Args {
    /// How often.
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// The same seed gives the same lives, faults and loads, as far as the machine lets them be the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A rollover between every N-th kill and the restart.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rollover_every: u64,
    /// Every N-th request goes wrong, 0: none. Not against a real server.
    #[arg(long, value_name = "N", default_value_t = 8)]
    fault_every: u64,
    /// Against this server instead of the stand-in. It gets a template and a stream of its own, which are removed.
    #[arg(long, value_name = "URL")]
    elasticsearch: Option<String>,
    /// The agent [default: tidegate beside the examples' folder of this build]
    #[arg(long)]
    agent: Option<PathBuf>,
}

fn main() -> std::io::Result<ExitCode> {
    let args = Args::parse();
    let program = torment::agent(args.agent.as_deref())?;
    let dir = tempfile::Builder::new().prefix("tidegate-kill-").tempdir()?;
    let options = kill::Options {
        kills: args.kills,
        seed: args.seed,
        rollover_every: args.rollover_every,
        fault_every: args.fault_every,
    };
    println!("{} seed {}", program.display(), args.seed);
    let table = match &args.elasticsearch {
        Some(url) => real::torment(&program, dir.path(), url, &options)?,
        None => kill::torment(&program, dir.path(), &options)?,
    };
    print!("{table}");
    if table.is_exact() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("NOT EXACT; logs and state are kept in {}", dir.keep().display());
    Ok(ExitCode::FAILURE)
}

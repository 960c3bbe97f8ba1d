//! `tidegate version`.

use std::io::Write as _;

use super::{Exit, Output};

/// Print the version
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate version\n  $ tidegate version -o json | jq -r .version")]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let (name, version) = ("tidegate", env!("CARGO_PKG_VERSION"));
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => writeln!(out, "{name} {version} ({os}, {arch})")?,
        Output::Json => {
            writeln!(out, "{}", serde_json::json!({ "name": name, "version": version, "os": os, "arch": arch }))?;
        }
    }
    Ok(Exit::Done)
}

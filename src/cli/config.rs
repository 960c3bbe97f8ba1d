//! `tidegate config`: what there is to configure, and what is in force.

use std::io::Write as _;

use clap::ArgMatches;

use super::{Exit, check, input};
use crate::config;

/// Show the configuration's schema, an example, or what is in force
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the JSON schema of the configuration
    #[command(after_long_help = "Examples:\n  $ tidegate config schema > tidegate.schema.json\n  \
        $ tidegate config schema | jq '.properties | keys'")]
    Schema,
    /// Print the configuration in force, with the origin of each value
    ///
    /// File, environment and flags are merged; behind each value stands where it comes from. The output is a configuration
    /// again. It holds no secrets, only where to find them.
    #[command(after_long_help = "Examples:\n  $ tidegate config print -c tidegate.yaml\n  \
        $ TIDEGATE_CLUSTER=prod-eu-1 tidegate config print -c tidegate.yaml --listen 0.0.0.0:9464")]
    Print(Box<input::ConfigArgs>),
    /// Print an example with every key documented
    #[command(after_long_help = "Examples:\n  $ tidegate config example > tidegate.yaml\n  \
        $ tidegate config example | grep -A3 replay")]
    Example,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match &args.what {
        What::Schema => writeln!(out, "{:#}", config::schema())?,
        What::Example => out.write_all(config::EXAMPLE.as_bytes())?,
        What::Print(args) => {
            let input = args.input(matches);
            let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
            let file = args.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            out.write_all(loaded.print(&file)?.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

//! `tidegate setup`: what must stand in Elasticsearch before flows arrive.

use std::path::PathBuf;

use clap::ArgMatches;

use super::{Exit, NotBuilt, check, input};

/// Install templates and lifecycle in Elasticsearch or OpenSearch; can be repeated
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate setup -c tidegate.yaml --dry-run\n  $ tidegate setup --export templates")]
pub struct Args {
    #[command(flatten)]
    input: input::ConfigArgs,

    /// Say what would be changed, and change nothing
    #[arg(long, conflicts_with = "export")]
    dry_run: bool,

    /// Write the objects into this directory instead, for those who install them by other means
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    if args.export.is_none() && check::load_or_tell(&args.input.input(matches))?.is_none() {
        return Ok(Exit::CheckFailed);
    }
    let _ = args.dry_run;
    Err(NotBuilt("the set-up (tidegate setup)").into())
}

//! `tidegate siem`: what a SIEM would get, before it gets it.

mod estimate;
mod schema;

use clap::ArgMatches;

use super::Exit;

/// Look at what a SIEM would get
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Estimate(Box<estimate::Args>),
    Schema(schema::Args),
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    match &args.what {
        What::Estimate(args) => estimate::run(args, matches),
        What::Schema(args) => schema::run(args),
    }
}

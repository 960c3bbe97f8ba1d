//! `tidegate setup`: what must stand in Elasticsearch before flows arrive.

use std::io::Write as _;

use clap::ArgMatches;

use super::{Exit, check, input};
use crate::config::rooms;
use crate::setup;

/// Install templates and lifecycle in Elasticsearch or OpenSearch
///
/// Can be repeated: a second run changes nothing. Objects of the same name that others manage are left alone, unless
/// forced. It wants other rights than shipping does: manage_index_templates, and manage_ilm.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate setup -c tidegate.yaml --dry-run\n  \
    $ tidegate setup --elasticsearch https://es:9200 --username elastic --password-file password --ca-file ca.crt")]
pub struct Args {
    #[command(flatten)]
    input: input::ConfigArgs,

    /// Show the requests, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Put everything, also over what others manage
    #[arg(long)]
    force: bool,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let mut input = args.input.input(matches);
    input.without_sources = true;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let Some(config) = rooms::setup(&loaded.config) else {
        anyhow::bail!("no Elasticsearch is configured; give --elasticsearch URL, or -c FILE with sinks.elasticsearch");
    };
    let options = setup::Options { dry_run: args.dry_run, force: args.force };
    let mut out = std::io::stdout().lock();
    let summary = super::block_on(setup::run(&config, options, &mut out))??;
    out.flush()?;
    let would = if args.dry_run { "would be " } else { "" };
    eprintln!(
        "{would}created {}, {would}updated {}, unchanged {}",
        summary.created, summary.updated, summary.unchanged
    );
    Ok(Exit::Done)
}

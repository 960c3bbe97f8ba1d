//! `tidegate run`: the agent.

use clap::ArgMatches;

use super::{Exit, NotBuilt, check, input};
use crate::config::Span;

/// Read flow logs and send them, until told to stop
///
/// Reads the node's flow-log files and sends every flow to Elasticsearch and every cross-zone flow to the SIEM, each on its
/// own lane with its own checkpoint. SIGTERM drains and ends; SIGHUP, or a change of the files, reads configuration, zones
/// and keys again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate run -c /etc/tidegate/tidegate.yaml\n  \
    $ tidegate run --source '/var/log/calico/flowlogs/*.log' --elasticsearch https://es:9200 --api-key-file key \\\n      \
    --siem 'tcp://siem:514?header=3164&framing=lf' --zones zones.yaml --state-dir state --cluster c --node n --once")]
pub struct Args {
    #[command(flatten)]
    pub input: input::ConfigArgs,

    /// Read to the end, deliver, exit
    ///
    /// Exit code 0 when everything was delivered or filtered, 4 when something was rejected or dropped, 1 when a peer
    /// stayed away for --timeout. An unterminated last line is left and named.
    #[arg(long)]
    pub once: bool,

    /// With --once: how long a peer may stay away
    #[arg(long, value_name = "DURATION", default_value = "5m", env = "TIDEGATE_TIMEOUT")]
    pub timeout: Span,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = args.input.input(matches);
    let Some(_loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    Err(NotBuilt("the agent (tidegate run)").into())
}

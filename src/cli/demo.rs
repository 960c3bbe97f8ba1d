//! `tidegate demo`: the main job at work, without a server.

use super::{Exit, NotBuilt};

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

    /// Send to this Elasticsearch instead of the embedded receiver
    #[arg(long, value_name = "URL")]
    elasticsearch: Option<String>,

    /// Send to this SIEM instead of the embedded receiver
    #[arg(long, value_name = "URL")]
    siem: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let _ = args;
    Err(NotBuilt("the demo (tidegate demo)").into())
}

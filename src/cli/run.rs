//! `tidegate run`: the agent.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, check, input};
use crate::agent::{self, LaneEnd, Origin, Signal};
use crate::config::shape::{Config, LogFormat};
use crate::config::{Input, Span};
use crate::telemetry::logging::{self, Format};

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
    // First of all: a signal that comes before its handler ends the process as if it had been killed.
    let signals = signals()?;
    let input = args.input.input(matches);
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    set_up_logs(&loaded.config);
    let once = args.once.then_some(args.timeout.0);
    let origin = Origin { file: input.file.clone(), load: Box::new(move || load_again(&input, once)) };
    let ends = agent::supervise(agent::configured(&loaded.config, once), &origin, &signals)?;
    Ok(exit(&ends, args.once))
}

fn set_up_logs(config: &Config) {
    let on_terminal = std::io::stderr().is_terminal();
    let format = match config.log.format {
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Text) => Format::Text,
        None if on_terminal => Format::Text,
        None => Format::Json,
    };
    let colour = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    logging::init(config.log.level.as_str(), format, colour);
}

fn load_again(input: &Input, once: Option<Duration>) -> Result<agent::Loaded, String> {
    match input.load() {
        Ok(loaded) => Ok(agent::configured(&loaded.config, once)),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// SIGTERM and SIGINT stop, SIGHUP reads everything again. A thread of its own waits for them, so that they are heard
/// whatever the lanes do.
pub fn signals() -> std::io::Result<Receiver<Signal>> {
    let (sender, receiver) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut int, mut hup) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                let heard = tokio::select! {
                    _ = term.recv() => Signal::Stop,
                    _ = int.recv() => Signal::Stop,
                    _ = hup.recv() => Signal::Reload,
                };
                if sender.send(heard).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(receiver)
}

/// A stop is a good end, also when its deadline left something for the next start. `--once` promises more.
fn exit(ends: &[LaneEnd], once: bool) -> Exit {
    let refused = ends.iter().any(|end| end.numbers.rejected + end.numbers.dropped > 0);
    match once {
        true if ends.is_empty() || ends.iter().any(|end| !end.ended.clean) => Exit::Failed,
        true if refused => Exit::Partial,
        _ => Exit::Done,
    }
}

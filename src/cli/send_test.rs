//! `tidegate send-test`: test records to the SIEM, and what it did with them.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ArgMatches;

use super::connect::print;
use super::{Exit, Output, block_on, check, input};
use crate::config::{Config, rooms};
use crate::sink::{Finding, Level, splunk, syslog};

/// Send one test record of each class to each SIEM destination, and say what it did
///
/// Says for each receiver where its name leads, how long connecting took, which TLS was agreed on, the peer's certificates
/// with their names and days to expiry, whether it asked for a client certificate, and what became of the records: RELP's or
/// the indexer's acknowledgement, or whether the receiver closed, sent an alert or stayed quiet. Every receiver is tried,
/// those of `failover` too. Test records have the class id `test` and no flow's id, so that a rule can leave them out; the
/// zones are not read.
/// Exit code 0: every receiver took them, 1: one did not, 2: wrong usage, 3: errors in the configuration.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate send-test -c /etc/tidegate/tidegate.yaml\n  \
    $ tidegate send-test --siem 'tls://siem:6514?name=soc' --ca-file ca.pem --destination soc -o json")]
pub struct Args {
    #[command(flatten)]
    input: input::ConfigArgs,

    /// Name of a destination (`soc`, or its lane `siem-soc`); repeatable [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    destination: Vec<String>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let mut input = input::without_sources(args.input.input(matches))?;
    input.without_zones = true;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let config = &loaded.config;
    let names: Vec<&str> = config.sinks.siem.iter().map(|siem| siem.name.as_str()).collect();
    let wanted = |lane: &str| {
        let name = lane.strip_prefix("siem-").unwrap_or(lane);
        args.destination.is_empty() || args.destination.iter().any(|one| one == "all" || one == lane || one == name)
    };
    let unknown = args
        .destination
        .iter()
        .find(|one| *one != "all" && !names.iter().any(|name| one == name || one.strip_prefix("siem-") == Some(name)));
    if let Some(unknown) = unknown {
        eprintln!("tidegate: no SIEM destination is named {unknown:?}; there are: {}", names.join(", "));
        return Ok(Exit::WrongUsage);
    }
    if names.is_empty() {
        eprintln!("tidegate: no SIEM destination is configured; give --siem URL, or -c FILE with sinks.siem");
        return Ok(Exit::WrongUsage);
    }
    let bad = send(config, wanted, args.output)?;
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

/// Whether something went wrong.
fn send(config: &Config, wanted: impl Fn(&str) -> bool, output: Output) -> anyhow::Result<bool> {
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
    let mut bad = false;
    for (lane, sink) in rooms::syslog(config).into_iter().filter(|(lane, _)| wanted(lane)) {
        for (target, found) in block_on(syslog::trial(&sink, &config.cluster, time_ms))? {
            bad |= tell(&lane, &target.to_string(), &found, output)?;
        }
    }
    for (lane, sink) in rooms::splunk(config).into_iter().filter(|(lane, _)| wanted(lane)) {
        for (base, found) in block_on(splunk::trial(&sink, &config.cluster, &config.node, time_ms))?? {
            bad |= tell(&lane, &base, &found, output)?;
        }
    }
    Ok(bad)
}

fn tell(lane: &str, receiver: &str, found: &[Finding], output: Output) -> anyhow::Result<bool> {
    for Finding { level, text } in found {
        print(lane, *level, &format!("{receiver}: {text}"), output)?;
    }
    Ok(found.iter().any(|finding| finding.level == Level::Bad))
}

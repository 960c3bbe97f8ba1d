//! `tidegate replay`: dead letters once more.

use std::io::Write as _;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use clap::ArgMatches;
use serde_json::json;

use super::dead_letter::PickArgs;
use super::progress::{Moment, Progress, WorkArgs, grouped};
use super::{Exit, Output, check, input, run as agent_run};
use crate::agent::Signal;
use crate::agent::replay::{self, Counts, End, Peer};
use crate::config::{Config, rooms};

/// Send dead letters again
///
/// Sends the documents as they stand, under the same ids: mend the mapping, the pipeline or the template first. What is
/// delivered leaves the dead letter; what is there already counts as delivered; what is refused again stays, with its new
/// reason, and is not tried twice. An interrupted replay goes on where it was. It may run beside the agent. Letters are
/// those of Elasticsearch, or with --lane siem-NAME those of a Splunk HTTP Event Collector; it cannot say what was there
/// already.
/// Exit code 0: all delivered, 4: some were refused again, 1: the peer stayed away for --timeout, 130: interrupted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate replay -c /etc/tidegate/tidegate.yaml --dry-run\n  \
    $ tidegate replay -c /etc/tidegate/tidegate.yaml --reason document_parsing_exception --progress json")]
pub struct Args {
    #[command(flatten)]
    input: input::ConfigArgs,

    #[command(flatten)]
    pick: PickArgs,

    /// Lane whose letters are sent; backfill-elasticsearch and backfill-siem-NAME have those of backfills
    #[arg(long, value_name = "LANE", default_value = rooms::ELASTICSEARCH_LANE)]
    lane: String,

    /// Count the letters that would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    work: WorkArgs,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = input::without_sources(args.input.input(matches))?;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let mut peer = peer(&args.lane, &loaded.config)?;
    let who = match peer {
        Peer::Elastic(_) => "Elasticsearch",
        Peer::Splunk(_) => "the collector",
    };
    let dead_letter = peer.dead_letter_mut();
    dead_letter.dir.set_file_name(&args.lane);
    dead_letter.lane.clone_from(&args.lane);
    let config = replay::Config {
        peer,
        pick: args.pick.pick(),
        timeout: args.work.timeout.0,
        deadline: loaded.config.shutdown.deadline.0,
    };
    if args.dry_run {
        let counts = replay::count(&config.peer.dead_letter().dir, &config.pick)?;
        print(args.work.output, true, End::Done, &counts, 0.0)?;
        return Ok(Exit::Done);
    }
    let (signals, started) = (agent_run::signals()?, Instant::now());
    let mut progress = Progress::start("replay", args.work.progress, "warn");
    let mut last = Moment::default();
    let result = replay::replay(&config, |counts| {
        last = moment(counts);
        progress.show(&last);
        stop_wanted(&signals)
    });
    progress.end(&last);
    let (end, counts) = result?;
    print(args.work.output, false, end, &counts, started.elapsed().as_secs_f64())?;
    if end == End::Away {
        eprintln!("tidegate: {who} decided nothing for {}; what is left stays in the dead letter", args.work.timeout);
    }
    Ok(exit(end, &counts))
}

/// Whom a lane's letters go to.
fn peer(lane: &str, config: &Config) -> anyhow::Result<Peer> {
    let of = lane.strip_prefix("backfill-").unwrap_or(lane);
    if let Some((_, sink)) = rooms::splunk(config).into_iter().find(|(name, _)| name == of) {
        return Ok(Peer::Splunk(Box::new(sink)));
    }
    if of.starts_with("siem") {
        anyhow::bail!(
            "{lane}: no Splunk HTTP Event Collector of that name is configured, and over syslog nothing is refused; \
             give -c FILE with sinks.siem, or another --lane"
        );
    }
    let Some(sink) = rooms::elastic(config) else {
        anyhow::bail!("no Elasticsearch is configured; give --elasticsearch URL, or -c FILE with sinks.elasticsearch");
    };
    Ok(Peer::Elastic(Box::new(sink)))
}

pub fn stop_wanted(signals: &Receiver<Signal>) -> bool {
    signals.try_iter().any(|signal| signal == Signal::Stop)
}

fn exit(end: End, counts: &Counts) -> Exit {
    match end {
        End::Stopped => Exit::Interrupted,
        End::Away => Exit::Failed,
        End::Done if counts.refused + counts.unsendable > 0 => Exit::Partial,
        End::Done => Exit::Done,
    }
}

fn moment(counts: &Counts) -> Moment {
    Moment {
        done_bytes: counts.sent_bytes,
        total_bytes: counts.picked_bytes,
        lines: counts.picked - counts.left,
        numbers: vec![
            ("delivered", counts.delivered),
            ("duplicates", counts.duplicates.unwrap_or_default()),
            ("refused", counts.refused),
        ],
        file: None,
    }
}

fn print(output: Output, dry_run: bool, end: End, counts: &Counts, seconds: f64) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        let summary = json!({
            "dry_run": dry_run,
            "end": match end { End::Done => "done", End::Stopped => "interrupted", End::Away => "peer_away" },
            "letters": counts.picked,
            "bytes": counts.picked_bytes,
            "delivered": counts.delivered,
            "duplicates": counts.duplicates,
            "refused": counts.refused,
            "unsendable": counts.unsendable,
            "left": counts.left,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        });
        writeln!(out, "{summary}")?;
    } else if dry_run {
        writeln!(
            out,
            "would send {} letters, {} bytes; {} cannot be sent",
            grouped(counts.left),
            grouped(counts.picked_bytes),
            grouped(counts.unsendable)
        )?;
    } else {
        let there = counts.duplicates.map(|count| format!(" ({} were there already)", grouped(count)));
        let there = there.unwrap_or_default();
        writeln!(
            out,
            "letters {} = delivered {}{there} + refused again {} + not sendable {} + left {}, in {seconds:.1} s",
            grouped(counts.picked),
            grouped(counts.delivered),
            grouped(counts.refused),
            grouped(counts.unsendable),
            grouped(counts.left),
        )?;
    }
    out.flush()?;
    Ok(())
}

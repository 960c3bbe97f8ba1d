//! `tidegate backfill`: old files to the sinks.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use serde_json::{Value, json};

use super::progress::{Moment, Progress, WorkArgs, clock, grouped, safe};
use super::replay::stop_wanted;
use super::{Exit, Output, check, input, query, run as agent_run};
use crate::agent::LaneEnd;
use crate::agent::backfill::{self, Backfill, Look, Window};
use crate::config::{self, rooms};
use crate::lane::Zones;
use crate::query::Query;
use crate::source::list;

/// Between two looks at the lanes.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// The longest line, as the agent has it by default.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Send old flow-log files
///
/// Reads plain, gzip and zstd files, oldest first, and directories with all that lies below them and has .log in its
/// name. Every line gets the id that the agent gives it, so what the agent has sent is there already and counted as a
/// duplicate; for that --cluster and --node must be those of the agent, so files of several nodes take a run each. It may
/// run on any machine and touches nothing of a running agent's. Interrupted, the same command goes on where it was.
/// Exit code 0: all sent, 4: some lines were refused or some files could not be read, 1: a peer stayed away for --timeout,
/// or --max-errors was passed, 3: errors in the configuration, 130: interrupted, progress noted.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  $ tidegate backfill -c tidegate.yaml --node node-a1 /backup/node-a1/flowlogs --dry-run\n  \
    $ tidegate backfill --elasticsearch https://es:9200 --api-key-file key --cluster prod --node node-a1 \\\n      \
    --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z --state-dir ~/tidegate flows-*.log.gz"
)]
pub struct Args {
    /// Files and directories
    #[arg(value_name = "FILES", required = true)]
    files: Vec<PathBuf>,

    /// Only flows that ended at this time or later: RFC 3339, or Unix seconds. Lines without a time are sent
    #[arg(long, value_name = "TIME", env = "TIDEGATE_FROM", value_parser = parse_time)]
    from: Option<i64>,

    /// Only flows that ended before this time
    #[arg(long, value_name = "TIME", env = "TIDEGATE_TO", value_parser = parse_time)]
    to: Option<i64>,

    /// Only flows for which this holds, as 'dest.zone = restricted'; lines that are no flows are left out
    #[arg(long, value_name = "EXPRESSION", env = "TIDEGATE_FILTER", value_parser = query::parse)]
    filter: Option<Arc<Query>>,

    /// Where to send: elasticsearch, siem (all receivers) or siem-NAME; repeatable
    ///
    /// The SIEM is not among them unless named: old events among the new ones flood it and can set off its alarms.
    #[arg(long, value_name = "SINK", env = "TIDEGATE_SINK", value_delimiter = ',', default_value = rooms::ELASTICSEARCH_LANE)]
    sink: Vec<String>,

    /// Lines a second at most, each sink [default: as fast as the sink takes them]
    #[arg(long, value_name = "LINES", env = "TIDEGATE_RATE", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// File that keeps the progress, ending in .json; a second run with it goes on
    ///
    /// Each sink's progress is beside it under its lane's name. [default: one for these arguments in
    /// STATE_DIR/backfill, removed when all was read]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_RESUME", value_parser = parse_resume)]
    resume: Option<PathBuf>,

    /// Count lines and what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// Stop when more lines than this were refused or dropped
    #[arg(long, value_name = "LINES", env = "TIDEGATE_MAX_ERRORS", default_value_t = 10_000)]
    max_errors: u64,

    #[command(flatten)]
    work: WorkArgs,

    #[command(flatten)]
    input: input::ConfigArgs,
}

pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let seconds = text.parse().ok().or_else(|| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_second()));
    seconds.ok_or_else(|| "write 2026-11-23T10:00:00Z, or Unix seconds".to_owned())
}

fn parse_resume(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let fits = path.extension().is_some_and(|extension| extension == "json") && path.file_stem().is_some();
    if fits { Ok(path) } else { Err("write a file name that ends in .json".to_owned()) }
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = input::without_sources(args.input.input(matches))?;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let zones = Zones::default();
    if let Some(path) = &loaded.config.zones {
        let Some(table) = check::load_zones_or_tell(path)? else { return Ok(Exit::CheckFailed) };
        zones.store(Some(Arc::new(table)));
    }
    let listing = match list::find(&args.files) {
        Ok(listing) => listing,
        Err(errors) => {
            errors.iter().for_each(|(path, error)| eprintln!("{}: {error}", path.display()));
            anyhow::bail!("some of the files cannot be found; nothing was sent");
        }
    };
    if listing.others > 0 {
        eprintln!("{} files in directories have no .log in their names and are left alone", grouped(listing.others));
    }
    if listing.items.is_empty() {
        anyhow::bail!("there are no log files; name files, or directories with files that have .log in their names");
    }
    let config = configure(args, &loaded.config, listing.items)?;
    let (signals, started) = (agent_run::signals()?, Instant::now());
    let mut progress = Progress::start("backfill", args.work.progress, "warn");
    let backfill = Backfill::start(config.clone(), &zones)?;
    let (mut interrupted, mut too_many) = (false, false);
    while !backfill.has_ended() {
        std::thread::sleep(LOOK);
        let looks = backfill.look();
        progress.show(&moment(&looks));
        let errors: u64 = looks.iter().map(|look| look.numbers.rejected + look.numbers.dropped).sum();
        let stop = stop_wanted(&signals);
        if !interrupted && !too_many && (stop || errors > args.max_errors) {
            (interrupted, too_many) = (stop, !stop);
            backfill.stop();
        } else if stop {
            // Asked twice. What is not noted is sent again under the same ids.
            progress.end(&moment(&looks));
            return Ok(Exit::Interrupted);
        }
    }
    progress.end(&moment(&backfill.look()));
    let ends = backfill.join();
    let whole = ends.iter().all(|(end, look)| end.ended.clean && look.reading.failed().is_empty());
    if whole && !interrupted && !too_many && args.resume.is_none() && !args.dry_run {
        // The default progress is for going on, not for doing nothing the next time.
        for (_, look) in &ends {
            let _ = std::fs::remove_file(backfill::progress_file(&config, &look.name));
        }
    }
    let exit = exit(&ends, interrupted, too_many);
    Summary { ends: &ends, dry_run: args.dry_run, exit, time: started.elapsed() }.print(args.work.output)?;
    if too_many {
        eprintln!(
            "tidegate: stopped after more than --max-errors {} refused lines; see `tidegate dead-letter`, then \
                   run it again to go on",
            args.max_errors
        );
    } else if exit == Exit::Failed {
        eprintln!(
            "tidegate: not everything could be delivered (nothing was decided for {}, or the progress could not \
                   be kept); run it again to go on",
            args.work.timeout
        );
    }
    Ok(exit)
}

fn configure(args: &Args, config: &config::Config, items: Vec<list::Item>) -> anyhow::Result<backfill::Config> {
    let (mut siem, mut splunk) = (rooms::syslog(config), rooms::splunk(config));
    let wants = |lane: &str| args.sink.iter().any(|sink| sink == lane);
    for sink in &args.sink {
        let known = match sink.as_str() {
            rooms::ELASTICSEARCH_LANE => config.sinks.elasticsearch.is_some(),
            "siem" => !(siem.is_empty() && splunk.is_empty()),
            name => siem.iter().any(|(lane, _)| lane == name) || splunk.iter().any(|(lane, _)| lane == name),
        };
        if !known {
            anyhow::bail!("--sink {sink}: no such sink is configured; give --elasticsearch or --siem URL, or -c FILE");
        }
    }
    siem.retain(|(lane, _)| wants("siem") || wants(lane));
    for (lane, sink) in &mut siem {
        lane.insert_str(0, "backfill-");
        // Start and stop are the agent's.
        sink.status = None;
    }
    splunk.retain(|(lane, _)| wants("siem") || wants(lane));
    for (lane, sink) in &mut splunk {
        lane.insert_str(0, "backfill-");
        sink.dead_letter.dir.set_file_name(&*lane);
        sink.dead_letter.lane.clone_from(lane);
        sink.status = None;
    }
    let elasticsearch = rooms::elastic(config).filter(|_| wants(rooms::ELASTICSEARCH_LANE)).map(|mut sink| {
        // A flood of refused old lines must not fill the agent's dead letter, which would hold its lane.
        sink.name.insert_str(0, "backfill-");
        sink.dead_letter.dir.set_file_name(&sink.name);
        sink.dead_letter.lane.clone_from(&sink.name);
        sink
    });
    let window = Window { from: args.from, to: args.to };
    let purpose = purpose(config, window, args.filter.as_deref());
    let progress = match &args.resume {
        Some(file) => {
            let file = std::path::absolute(file)?;
            (file.parent().unwrap_or(Path::new("/")).to_path_buf(), stem(&file))
        }
        None => {
            let hosts = elasticsearch.iter().flat_map(|sink| sink.hosts.clone());
            let targets = hosts.chain(siem.iter().map(|(_, sink)| sink.receivers()));
            let targets: Vec<_> = targets.chain(splunk.iter().map(|(_, sink)| sink.receivers())).collect();
            let name = fingerprint(&format!("{purpose}, to {}", targets.join(" ")), &items);
            (config.state_dir.join("backfill"), name)
        }
    };
    let max_line = config.sources.iter().map(|source| source.max_line.bytes()).max().unwrap_or(MAX_LINE);
    Ok(backfill::Config {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        items,
        window,
        filter: args.filter.clone(),
        rate: args.rate,
        max_line,
        batch_age: config.sinks.elasticsearch.as_ref().map_or(Duration::from_secs(1), |sink| sink.batch.age.0),
        timeout: args.work.timeout.0,
        deadline: config.shutdown.deadline.0,
        dry_run: args.dry_run,
        fresh: false,
        elasticsearch,
        siem,
        splunk,
        progress,
        purpose,
    })
}

/// What a progress is for, on one line: with another of these it says nothing.
fn purpose(config: &config::Config, window: Window, filter: Option<&Query>) -> String {
    let time = |time: Option<i64>| time.map_or_else(|| "any".to_owned(), |time| time.to_string());
    let namespace = config.sinks.elasticsearch.as_ref().map_or("", |sink| &sink.namespace);
    let filter = filter.map_or_else(String::new, |filter| format!(", filter {filter}"));
    format!(
        "cluster {}, node {}, namespace {namespace}, from {}, to {}{filter}",
        config.cluster,
        config.node,
        time(window.from),
        time(window.to)
    )
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn fingerprint(purpose: &str, items: &[list::Item]) -> String {
    let mut text = purpose.as_bytes().to_vec();
    let mut paths: Vec<_> = items.iter().map(|item| std::path::absolute(&item.path).unwrap_or_default()).collect();
    paths.sort_unstable();
    for path in paths {
        text.push(b'\n');
        text.extend_from_slice(path.as_os_str().as_encoded_bytes());
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&text))
}

fn exit(ends: &[(LaneEnd, Look)], interrupted: bool, too_many: bool) -> Exit {
    let refused = |(end, look): &(LaneEnd, Look)| {
        end.numbers.rejected + end.numbers.dropped > 0 || !look.reading.failed().is_empty()
    };
    match () {
        () if interrupted => Exit::Interrupted,
        () if too_many || ends.iter().any(|(end, _)| !end.ended.clean) => Exit::Failed,
        () if ends.iter().any(refused) => Exit::Partial,
        () => Exit::Done,
    }
}

pub(super) fn moment(looks: &[Look]) -> Moment {
    use std::sync::atomic::Ordering::Relaxed;
    let sum = |number: fn(&Look) -> u64| looks.iter().map(number).sum();
    // The one that is furthest behind says when it is over.
    let slowest = looks.iter().min_by_key(|look| look.reading.done_bytes.load(Relaxed));
    let held = looks.iter().find_map(|look| look.held);
    Moment {
        done_bytes: slowest.map_or(0, |look| look.reading.done_bytes.load(Relaxed)),
        total_bytes: slowest.map_or(0, |look| look.reading.total_bytes),
        lines: slowest.map_or(0, |look| look.numbers.read),
        numbers: vec![
            ("delivered", sum(|look| look.numbers.delivered)),
            ("duplicates", sum(|look| look.duplicates)),
            ("filtered", sum(|look| look.numbers.filtered)),
            ("rejected", sum(|look| look.numbers.rejected)),
            ("dropped", sum(|look| look.numbers.dropped)),
            ("in_flight", sum(|look| look.numbers.in_flight)),
        ],
        file: match held {
            Some(why) => Some(format!("held: {why}")),
            None => slowest.map(|look| look.reading.file().to_string()),
        },
    }
}

struct Summary<'a> {
    ends: &'a [(LaneEnd, Look)],
    dry_run: bool,
    exit: Exit,
    time: Duration,
}

impl Summary<'_> {
    fn print(&self, output: Output) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match output {
            Output::Json => writeln!(out, "{}", self.json())?,
            Output::Text => out.write_all(self.text().as_bytes())?,
        }
        Ok(out.flush()?)
    }

    /// What is the same for every lane is told of the first.
    fn first(&self) -> Option<&Look> {
        self.ends.first().map(|(_, look)| look)
    }

    fn unterminated(&self) -> &[String] {
        self.ends.first().map_or(&[], |(end, _)| &end.ended.unterminated)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(look) = self.first() {
            let (files, bytes) = (look.reading.files as u64, look.reading.disk_bytes);
            let seconds = clock(self.time);
            text.push_str(&format!("{} files, {} bytes, in {seconds}\n", grouped(files), grouped(bytes)));
            if let Some((first, last)) = look.times.range() {
                text.push_str(&format!("flows that ended from {} to {}\n", time(first), time(last)));
            }
        }
        for (_, look) in self.ends {
            let n = &look.numbers;
            let sent = if self.dry_run { "would send" } else { "delivered" };
            let there = match look.duplicates {
                0 => String::new(),
                duplicates => format!(" ({} were there already)", grouped(duplicates)),
            };
            text.push_str(&format!(
                "{}: read {} = {sent} {}{there} + filtered {} + rejected {} + dropped {} + not decided {}\n",
                look.name,
                grouped(n.read),
                grouped(n.delivered),
                grouped(n.filtered),
                grouped(n.rejected),
                grouped(n.dropped),
                grouped(n.in_flight),
            ));
            if n.undecodable > 0 {
                text.push_str(&format!("  {} lines were no flows\n", grouped(n.undecodable)));
            }
        }
        for (file, error) in self.first().map(|look| look.reading.failed()).unwrap_or_default() {
            text.push_str(&format!("not read to its end: {}: {}\n", safe(&file), safe(&error)));
        }
        for file in self.unterminated() {
            text.push_str(&format!("the last line has no newline and was left: {}\n", safe(file)));
        }
        text
    }

    fn json(&self) -> Value {
        let lanes: Vec<_> = self.ends.iter().map(|(end, look)| lane(end, look)).collect();
        let range = self.first().and_then(|look| look.times.range());
        let failed = self.first().map(|look| look.reading.failed()).unwrap_or_default();
        json!({
            "dry_run": self.dry_run,
            "exit_code": self.exit.code(),
            "files": self.first().map_or(0, |look| look.reading.files),
            "bytes": self.first().map_or(0, |look| look.reading.disk_bytes),
            "seconds": (self.time.as_secs_f64() * 1000.0).round() / 1000.0,
            "first_event": range.map(|(first, _)| time(first)),
            "last_event": range.map(|(_, last)| time(last)),
            "lanes": lanes,
            "failed_files": failed.iter().map(|(path, error)| json!({"path": path, "error": error})).collect::<Vec<_>>(),
            "unterminated_files": self.unterminated(),
        })
    }
}

fn lane(end: &LaneEnd, look: &Look) -> Value {
    let n = &end.numbers;
    json!({
        "lane": look.name,
        "complete": end.ended.clean,
        "read": n.read,
        "delivered": n.delivered,
        "duplicates": look.duplicates,
        "filtered": n.filtered,
        "rejected": n.rejected,
        "dropped": n.dropped,
        "undecided": n.in_flight,
        "not_flows": n.undecodable,
        "without_time": look.times.timeless.load(std::sync::atomic::Ordering::Relaxed),
    })
}

pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("1700000000", Some(1_700_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000)),
            ("2023-11-14", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text).ok(), seconds, "{text}");
        }
    }

    #[test]
    fn a_window_takes_its_beginning_and_not_its_end() {
        let window = Window { from: Some(10), to: Some(20) };
        for (time, holds) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(window.holds(time), holds, "{time}");
        }
        assert!(Window::default().holds(i64::MIN) && Window::default().holds(i64::MAX));
    }
}

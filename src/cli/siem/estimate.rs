//! `tidegate siem estimate`: how much a SIEM would get, before it gets it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use serde_json::{Value, json};

use crate::agent::backfill::{self, Backfill, Look, Window};
use crate::cli::backfill::{LOOK, MAX_LINE, moment, parse_time, time};
use crate::cli::progress::{Progress, When, clock, grouped, safe};
use crate::cli::replay::stop_wanted;
use crate::cli::{Exit, Output, check, input, run as agent_run};
use crate::config::{self, rooms};
use crate::lane::Zones;
use crate::sink::siem::{Amount, Tally};
use crate::source::list;

/// No figure a day is made of less event time: two of Calico's flushes.
const LEAST: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Say how much each SIEM destination would get of recorded flow logs
///
/// Reads files as backfill does, and runs every line through zones, filter, classes and the encoder of each destination; it
/// opens no connection and keeps nothing. Figures are of the files given: of one node's logs they are one node's. Rates are
/// over event time, from the earliest begin to the latest end of a flow; of less than 10 minutes no figure a day is made.
/// Exit code 0: all was read, 4: some files could not be read, 3: errors in the configuration, 130: interrupted.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate siem estimate -c tidegate.yaml /var/log/calico/flowlogs\n  \
    $ tidegate siem estimate --siem 'tls://siem?name=soc&verdict=deny' --zones zones.yaml -o json flows-*.log.gz")]
pub struct Args {
    /// Files and directories
    #[arg(value_name = "FILES", required = true)]
    files: Vec<PathBuf>,

    /// Only these destinations, by name; repeatable [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    destination: Vec<String>,

    /// Only flows that ended at this time or later: RFC 3339, or Unix seconds
    #[arg(long, value_name = "TIME", env = "TIDEGATE_FROM", value_parser = parse_time)]
    from: Option<i64>,

    /// Only flows that ended before this time
    #[arg(long, value_name = "TIME", env = "TIDEGATE_TO", value_parser = parse_time)]
    to: Option<i64>,

    /// How many zone pairs to show, those with the most records first
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Show how far it is
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", env = "TIDEGATE_PROGRESS")]
    progress: When,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    input: input::ConfigArgs,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = input::without_sources(args.input.input(matches))?;
    let Some(loaded) = check::load_or_tell(&input)? else { return Ok(Exit::CheckFailed) };
    let zones = Zones::default();
    if let Some(path) = &loaded.config.zones {
        let Some(table) = check::load_zones_or_tell(path)? else { return Ok(Exit::CheckFailed) };
        loaded.zone_problems(&table).iter().for_each(|problem| eprintln!("{problem}"));
        zones.store(Some(Arc::new(table)));
    }
    let config = configure(args, &loaded.config)?;
    // In the order of the lanes.
    let syslog = config.siem.iter().map(|(_, sink)| (sink.receivers(), Counted::Messages));
    let splunk = config.splunk.iter().map(|(_, sink)| (sink.receivers(), Counted::Events));
    let targets: Vec<(String, Counted)> = syslog.chain(splunk).collect();
    let (signals, started) = (agent_run::signals()?, Instant::now());
    let mut progress = Progress::start("estimate", args.progress, "warn");
    let run = Backfill::start(config, &zones)?;
    let mut interrupted = false;
    while !run.has_ended() {
        std::thread::sleep(LOOK);
        progress.show(&moment(&run.look()));
        if stop_wanted(&signals) {
            interrupted = true;
            run.stop();
        }
    }
    progress.end(&moment(&run.look()));
    let looks: Vec<Look> = run.join().into_iter().map(|(_, look)| look).collect();
    let report = Report::new(&looks, &targets, args.top, started.elapsed());
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{:#}", report.json())?,
        Output::Text => out.write_all(report.text().as_bytes())?,
    }
    out.flush()?;
    Ok(match () {
        () if interrupted => Exit::Interrupted,
        () if report.failed.is_empty() => Exit::Done,
        () => Exit::Partial,
    })
}

fn configure(args: &Args, config: &config::Config) -> anyhow::Result<backfill::Config> {
    let (mut siem, mut splunk) = (rooms::syslog(config), rooms::splunk(config));
    if siem.is_empty() && splunk.is_empty() {
        anyhow::bail!("no SIEM destination is configured; write sinks.siem into the file, or give --siem URL");
    }
    let names: Vec<&str> = config.sinks.siem.iter().map(|siem| siem.name.as_str()).collect();
    if let Some(other) = args.destination.iter().find(|name| !names.contains(&name.as_str())) {
        anyhow::bail!("--destination {other}: there is none of that name; there are {}", names.join(", "));
    }
    // What is counted is what flows become: a heartbeat a minute is nothing beside it.
    siem.iter_mut().for_each(|(_, sink)| sink.status = None);
    splunk.iter_mut().for_each(|(_, sink)| sink.status = None);
    let wanted = |name: &String| args.destination.is_empty() || args.destination.contains(name);
    siem.retain(|(_, sink)| wanted(&sink.name));
    splunk.retain(|(_, sink)| wanted(&sink.name));
    let listing = list::find(&args.files).map_err(|errors| {
        errors.iter().for_each(|(path, error)| eprintln!("{}: {error}", path.display()));
        anyhow::anyhow!("some of the files cannot be found")
    })?;
    if listing.items.is_empty() {
        anyhow::bail!("there are no log files; name files, or directories with files that have .log in their names");
    }
    Ok(backfill::Config {
        cluster: config.cluster.clone(),
        node: config.node.clone(),
        items: listing.items,
        window: Window { from: args.from, to: args.to },
        filter: None,
        rate: None,
        max_line: config.sources.iter().map(|source| source.max_line.bytes()).max().unwrap_or(MAX_LINE),
        batch_age: Duration::from_secs(1),
        // Nobody is waited for.
        timeout: DAY,
        deadline: config.shutdown.deadline.0,
        dry_run: true,
        fresh: true,
        elasticsearch: None,
        siem,
        splunk,
        progress: (PathBuf::new(), String::new()),
        purpose: String::new(),
    })
}

/// What was found.
struct Report {
    files: u64,
    bytes: u64,
    took: Duration,
    failed: Vec<(String, String)>,
    destinations: Vec<Destination>,
    top: usize,
}

/// What the bytes of a destination are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Of syslog: header and record.
    Messages,
    /// Of a Splunk collector: what stands in `event`, by which Splunk is paid.
    Events,
}

impl Counted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "syslog header and record, without the transport's framing",
            Self::Events => "bodies of events before compression, without their envelope and indexed fields",
        }
    }
}

struct Destination {
    lane: String,
    target: String,
    counted: Counted,
    lines: u64,
    not_flows: u64,
    filtered: u64,
    tally: Tally,
}

impl Destination {
    /// Event time that was seen.
    fn span(&self) -> Option<Duration> {
        let (first, last) = self.tally.span?;
        Some(Duration::from_millis(u64::try_from(last - first).unwrap_or_default())).filter(|span| !span.is_zero())
    }

    fn per_second(&self, amount: u64) -> Option<f64> {
        self.span().map(|span| amount as f64 / span.as_secs_f64())
    }

    fn per_day(&self, amount: u64) -> Option<f64> {
        let enough = self.span().is_some_and(|span| span >= LEAST);
        self.per_second(amount).filter(|_| enough).map(|second| second * DAY.as_secs_f64())
    }

    fn bytes_per_record(&self) -> Option<f64> {
        let Amount { records, octets } = self.tally.sent;
        (records > 0).then(|| octets as f64 / records as f64)
    }

    /// The busiest first; names decide between equals.
    fn classes(&self) -> Vec<(String, Amount)> {
        sorted(self.tally.classes.iter().map(|(class, amount)| (class.clone(), *amount)))
    }

    fn pairs(&self) -> Vec<((String, String), Amount)> {
        sorted(
            self.tally
                .pairs
                .iter()
                .flat_map(|(from, pairs)| pairs.iter().map(move |(to, amount)| ((from.clone(), to.clone()), *amount))),
        )
    }

    /// How far the figures can be trusted.
    fn caveat(&self) -> Option<String> {
        match self.span() {
            None => Some("no event time was seen, so there are no rates".to_owned()),
            Some(span) if span < LEAST => {
                Some(format!("only {} of event time: too little for figures a day", length(span)))
            }
            Some(span) if span < DAY => Some(format!(
                "only {} of event time: figures a day take that rate for the whole day, its quiet and its busy hours",
                length(span)
            )),
            Some(_) => None,
        }
    }
}

fn sorted<K: Ord>(items: impl Iterator<Item = (K, Amount)>) -> Vec<(K, Amount)> {
    let mut items: Vec<_> = items.collect();
    items.sort_by(|(a, x), (b, y)| y.records.cmp(&x.records).then_with(|| a.cmp(b)));
    items
}

impl Report {
    fn new(looks: &[Look], targets: &[(String, Counted)], top: usize, took: Duration) -> Self {
        let destination = |(look, (target, counted)): (&Look, &(String, Counted))| Destination {
            lane: look.name.clone(),
            target: target.clone(),
            counted: *counted,
            lines: look.numbers.read,
            not_flows: look.numbers.undecodable,
            filtered: look.numbers.filtered,
            tally: look.measure.as_ref().map(|measure| measure.tally()).unwrap_or_default(),
        };
        let reading = looks.first().map(|look| &look.reading);
        Self {
            files: reading.map_or(0, |reading| reading.files as u64),
            bytes: reading.map_or(0, |reading| reading.disk_bytes),
            took,
            failed: reading.map(|reading| reading.failed()).unwrap_or_default(),
            destinations: looks.iter().zip(targets).map(destination).collect(),
            top,
        }
    }

    fn text(&self) -> String {
        let mut text =
            format!("{} files, {} bytes, in {}\n", grouped(self.files), grouped(self.bytes), clock(self.took));
        for destination in &self.destinations {
            // Writing into a String does not fail.
            let _ = destination.write(&mut text, self.top);
        }
        for (file, error) in &self.failed {
            let _ = writeln!(text, "not read to its end: {}: {}", safe(file), safe(error));
        }
        text
    }

    fn json(&self) -> Value {
        let failed: Vec<_> = self.failed.iter().map(|(path, error)| json!({"path": path, "error": error})).collect();
        json!({
            "files": self.files,
            "bytes": self.bytes,
            "seconds": rounded(self.took.as_secs_f64()),
            "destinations": self.destinations.iter().map(|destination| destination.json(self.top)).collect::<Vec<_>>(),
            "failed_files": failed,
        })
    }
}

impl Destination {
    fn write(&self, out: &mut String, top: usize) -> std::fmt::Result {
        let Amount { records, octets } = self.tally.sent;
        writeln!(out, "\n{} ({})", self.lane, self.target)?;
        if let Some((first, last)) = self.tally.span {
            let span = length(self.span().unwrap_or_default());
            writeln!(out, "  flows of            {} to {}: {span}", time(first / 1000), time(last / 1000))?;
        }
        writeln!(out, "  flows read          {}", grouped(self.tally.flows))?;
        if self.not_flows > 0 {
            writeln!(out, "  lines no flows      {}", grouped(self.not_flows))?;
        }
        let share = share(records, self.tally.flows);
        writeln!(out, "  records             {}{share} of the flows", grouped(records))?;
        if let Some(average) = self.per_second(records) {
            write!(out, "  records a second    {} on average", figure(average))?;
            if let Some((begin, busiest)) = self.tally.busiest_minute() {
                let busiest = figure(busiest.records as f64 / 60.0);
                write!(out, ", {busiest} in the busiest minute ({})", time(begin / 1000))?;
            }
            writeln!(out)?;
        }
        if let Some(bytes) = self.bytes_per_record() {
            writeln!(out, "  bytes a record      {bytes:.0} ({})", self.counted.as_str())?;
        }
        if let (Some(records), Some(bytes)) = (self.per_day(records), self.per_day(octets)) {
            writeln!(
                out,
                "  a day               {} GB, {} records",
                figure(bytes / 1e9),
                grouped(records.round() as u64)
            )?;
        }
        if let Some(caveat) = self.caveat() {
            writeln!(out, "  {caveat}")?;
        }
        let pair = |((from, to), amount): ((String, String), Amount)| (format!("{from} -> {to}"), amount);
        let pairs = self.pairs();
        let left = pairs.len().saturating_sub(top);
        write_table(out, "class", self.classes(), octets)?;
        write_table(out, "zone pair", pairs.into_iter().take(top).map(pair).collect(), octets)?;
        if left > 0 {
            writeln!(out, "    and {left} more pairs; --top shows more")?;
        }
        Ok(())
    }

    fn json(&self, top: usize) -> Value {
        let Amount { records, octets } = self.tally.sent;
        let busiest = self.tally.busiest_minute();
        let span = self.tally.span;
        json!({
            "lane": self.lane,
            "receivers": self.target,
            "lines_read": self.lines,
            "not_flows": self.not_flows,
            "flows_read": self.tally.flows,
            "filtered": self.filtered,
            "records": records,
            "bytes": octets,
            "bytes_are": self.counted.as_str(),
            "first_event": span.map(|(first, _)| time(first / 1000)),
            "last_event": span.map(|(_, last)| time(last / 1000)),
            "span_seconds": self.span().map(|span| span.as_secs()),
            "caveat": self.caveat(),
            "records_per_second": {
                "average": self.per_second(records).map(rounded),
                "busiest_minute": busiest.map(|(_, amount)| rounded(amount.records as f64 / 60.0)),
                "busiest_minute_at": busiest.map(|(begin, _)| time(begin / 1000)),
            },
            "bytes_per_record": self.bytes_per_record().map(rounded),
            "records_per_day": self.per_day(records).map(f64::round),
            "gb_per_day": self.per_day(octets).map(|bytes| rounded(bytes / 1e9)),
            "classes": self.classes().iter().map(|(class, amount)| {
                json!({"class": class, "records": amount.records, "bytes": amount.octets})
            }).collect::<Vec<_>>(),
            "zone_pairs": self.pairs().iter().take(top).map(|((from, to), amount)| {
                json!({"from": from, "to": to, "records": amount.records, "bytes": amount.octets})
            }).collect::<Vec<_>>(),
        })
    }
}

fn write_table(out: &mut String, what: &str, rows: Vec<(String, Amount)>, octets: u64) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(what.len());
    writeln!(out, "    {what:<width$}  {:>12}  {:>15}", "records", "bytes")?;
    for (name, amount) in rows {
        let (records, bytes) = (grouped(amount.records), grouped(amount.octets));
        writeln!(out, "    {name:<width$}  {records:>12}  {bytes:>15}{}", share(amount.octets, octets))?;
    }
    Ok(())
}

/// `  12.3 %`, or nothing where there is no whole.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("  {:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// Three digits that say something.
fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => grouped(v.round() as u64),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.4}"),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// `2 d 3 h`, `5 h 20 min`, `12 min`, `40 s`.
fn length(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(minutes: i64, records: u64) -> Destination {
        let tally = Tally {
            flows: records,
            sent: Amount { records, octets: records * 500 },
            span: Some((1_700_000_000_000, 1_700_000_000_000 + minutes * 60_000)),
            ..Tally::default()
        };
        let lane = "siem-soc".to_owned();
        Destination {
            lane,
            target: String::new(),
            counted: Counted::Messages,
            lines: records,
            not_flows: 0,
            filtered: 0,
            tally,
        }
    }

    #[test]
    fn a_day_is_not_made_of_minutes() {
        let check = |minutes, per_second: Option<f64>, per_day: Option<f64>, caveat: Option<&str>| {
            let destination = destination(minutes, 600);
            assert_eq!(destination.per_second(600), per_second, "{minutes}");
            assert_eq!(destination.per_day(600), per_day, "{minutes}");
            let told = destination.caveat();
            assert_eq!(told.is_some(), caveat.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().starts_with(caveat.unwrap_or_default()), "{minutes}");
        };
        check(0, None, None, Some("no event time was seen"));
        check(5, Some(2.0), None, Some("only 5 min of event time: too little"));
        check(10, Some(1.0), Some(86_400.0), Some("only 10 min of event time: figures a day take"));
        check(1440, Some(600.0 / 86_400.0), Some(600.0), None);
    }

    #[test]
    fn lengths() {
        for (seconds, expected) in [(40, "40 s"), (720, "12 min"), (19_200, "5 h 20 min"), (183_600, "2 d 3 h")] {
            assert_eq!(length(Duration::from_secs(seconds)), expected);
        }
    }
}

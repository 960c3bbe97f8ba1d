//! `tidegate dead-letter`: what was refused for good, and why.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::progress::{grouped, safe};
use super::{Exit, Output, check};
use crate::agent::replay::Pick;
use crate::config::{Config, Input, Surroundings};
use crate::sink::dead_letter::{Found, Line, Segment, lines, segments};

/// Show what was refused for good, by reason
///
/// Reads the dead letter in the state directory and changes nothing; it may run beside the agent. The Elasticsearch lane
/// and Splunk HTTP Event Collectors have dead letters; over syslog nothing is refused. `tidegate replay` sends them again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate dead-letter -c /etc/tidegate/tidegate.yaml\n  \
    $ tidegate dead-letter --state-dir /var/lib/tidegate --reason document_parsing_exception --show 5 -o json | jq .document")]
pub struct Args {
    /// Configuration file; its state_dir is looked at
    #[arg(short, long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,

    /// Directory of the dead letters, above the file [default: /var/lib/tidegate]
    #[arg(long, value_name = "DIR", env = "TIDEGATE_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// Lane to look at; repeatable [default: all that have letters]
    #[arg(long, value_name = "LANE", value_delimiter = ',')]
    lane: Vec<String>,

    #[command(flatten)]
    pick: PickArgs,

    /// Print this many letters, the newest last, instead of the summary
    #[arg(long, value_name = "N")]
    show: Option<usize>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Which letters.
#[derive(Debug, Clone, clap::Args)]
pub struct PickArgs {
    /// Only letters refused for this error type, as document_parsing_exception; repeatable
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    reason: Vec<String>,

    /// Only letters refused with this HTTP status; repeatable
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<u16>,

    /// Only the letter with this id; repeatable
    #[arg(long, value_name = "ID", value_delimiter = ',', allow_hyphen_values = true)]
    id: Vec<String>,
}

impl PickArgs {
    pub fn pick(&self) -> Pick {
        Pick { kinds: self.reason.clone(), statuses: self.status.clone(), ids: self.id.clone() }
    }
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(state_dir) = state_dir(args)? else { return Ok(Exit::CheckFailed) };
    let root = state_dir.join("dead-letter");
    let folders = folders(&root, &args.lane)?;
    let pick = args.pick.pick();
    let mut out = std::io::stdout().lock();
    match args.show.or((!pick.ids.is_empty()).then_some(usize::MAX)) {
        Some(most) => show(&folders, &pick, most, args.output, &mut out)?,
        None => summarise(&folders, &pick, &root, args.output, &mut out)?,
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// `None` when the configuration has errors, which are told.
fn state_dir(args: &Args) -> anyhow::Result<Option<PathBuf>> {
    match (&args.state_dir, &args.config) {
        (Some(dir), _) => Ok(Some(dir.clone())),
        (None, None) => Ok(Some(Config::default().state_dir)),
        (None, Some(file)) => {
            let input = Input {
                file: Some(file.clone()),
                surroundings: Surroundings::read(),
                without_sources: true,
                ..Input::default()
            };
            Ok(check::load_or_tell(&input)?.map(|loaded| loaded.config.state_dir))
        }
    }
}

/// Lane and folder. A folder that may not be read is an error, one that is not there has no letters.
fn folders(root: &Path, wanted: &[String]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    for lane in wanted.iter().filter(|lane| lane.starts_with("siem") && !root.join(lane).exists()) {
        eprintln!("{lane}: it has no dead letters: over syslog nothing is refused");
    }
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => anyhow::bail!("cannot list {}: {error}; dead letters are for their owner alone", root.display()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let lane = entry.file_name().to_string_lossy().into_owned();
        // What a replay keeps beside a folder of letters.
        let ours = entry.path().is_dir() && !lane.ends_with(".replay");
        if ours && (wanted.is_empty() || wanted.contains(&lane)) {
            found.push((lane, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Letters refused alike.
#[derive(Debug, Serialize)]
struct Reason {
    #[serde(rename = "type")]
    kind: String,
    status: u16,
    count: u64,
    first: String,
    last: String,
    /// An example: the newest.
    id: String,
    reason: String,
}

#[derive(Debug, Default, Serialize)]
struct Lane {
    lane: String,
    dir: PathBuf,
    files: usize,
    bytes: u64,
    letters: u64,
    /// Of these, under an id that stands there already: written twice around a crash.
    repeats: u64,
    /// Ends of files that a crash cut off, or that are being written.
    half_lines: u64,
    damaged_lines: u64,
    reasons: Vec<Reason>,
}

fn look(lane: &str, dir: &Path, pick: &Pick) -> anyhow::Result<Lane> {
    let mut found = Lane { lane: lane.to_owned(), dir: dir.to_path_buf(), ..Lane::default() };
    let mut reasons: BTreeMap<(u16, String), Reason> = BTreeMap::new();
    let mut ids = HashSet::new();
    for segment in list(dir)? {
        found.files += 1;
        found.bytes += segment.size;
        each(&segment, |_, letter| {
            match letter {
                Found::Half => found.half_lines += 1,
                Found::Damaged => found.damaged_lines += 1,
                Found::Letter(letter) if pick.takes(&letter) => {
                    found.letters += 1;
                    // By hash, so that a million letters cost megabytes.
                    found.repeats += u64::from(!ids.insert(xxhash_rust::xxh3::xxh3_128(letter.id.as_bytes())));
                    gather(&mut reasons, &letter);
                }
                Found::Letter(_) => {}
            }
            Ok(())
        })?;
    }
    found.reasons = reasons.into_values().collect();
    found.reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    Ok(found)
}

fn gather(reasons: &mut BTreeMap<(u16, String), Reason>, letter: &Line<'_>) {
    let reason = reasons.entry((letter.status, letter.kind.to_string())).or_insert_with(|| Reason {
        kind: letter.kind.to_string(),
        status: letter.status,
        count: 0,
        first: letter.time.to_string(),
        last: String::new(),
        id: String::new(),
        reason: String::new(),
    });
    reason.count += 1;
    if *letter.time < *reason.first {
        reason.first = letter.time.to_string();
    }
    if *letter.time >= *reason.last {
        (reason.last, reason.id) = (letter.time.to_string(), letter.id.to_string());
        reason.reason = letter.reason.to_string();
    }
}

fn list(dir: &Path) -> anyhow::Result<Vec<Segment>> {
    segments(dir).with_context(|| format!("cannot list {}", dir.display()))
}

/// A file that a replay or the agent removes at this moment has no letters any more.
fn each(segment: &Segment, mut each: impl FnMut(&[u8], Found<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = match File::open(&segment.path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => anyhow::bail!("cannot read {}: {error}", segment.path.display()),
    };
    lines(&file, u64::MAX, |_, line, found| each(line, found))
}

fn summarise(
    folders: &[(String, PathBuf)],
    pick: &Pick,
    root: &Path,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut lanes = Vec::new();
    for (lane, dir) in folders {
        let found = look(lane, dir, pick)?;
        if found.files > 0 {
            lanes.push(found);
        }
    }
    if output == Output::Json {
        writeln!(out, "{}", serde_json::json!({ "lanes": lanes }))?;
        return Ok(());
    }
    if lanes.iter().all(|lane| lane.letters == 0) {
        writeln!(out, "no dead letters in {}", root.display())?;
    }
    lanes.iter().try_for_each(|lane| print(lane, out))
}

fn print(lane: &Lane, out: &mut impl Write) -> anyhow::Result<()> {
    for (lines, what) in [
        (lane.half_lines, "half lines (cut off by a crash, or being written now) were skipped"),
        (lane.damaged_lines, "lines that are no letters were skipped"),
    ] {
        if lines > 0 {
            eprintln!("{}: {lines} {what}", lane.lane);
        }
    }
    if lane.letters == 0 {
        return Ok(());
    }
    let repeats = match lane.repeats {
        0 => String::new(),
        repeats => format!(" ({} of them repeats of one)", grouped(repeats)),
    };
    let (letters, bytes) = (grouped(lane.letters), grouped(lane.bytes));
    writeln!(
        out,
        "{}: {letters} letters{repeats} in {} files, {bytes} bytes, {}",
        lane.lane,
        lane.files,
        lane.dir.display()
    )?;
    for reason in &lane.reasons {
        let (count, status, kind) = (grouped(reason.count), reason.status, safe(&reason.kind));
        writeln!(out, "{count:>10}  {status} {kind}, {} to {}", safe(&reason.first), safe(&reason.last))?;
        writeln!(out, "{:>10}  as {}: {}", "", safe(&reason.id), safe(&reason.reason))?;
    }
    Ok(())
}

/// The newest `most` letters, in the order in which they were written.
fn show(
    folders: &[(String, PathBuf)],
    pick: &Pick,
    most: usize,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for (_, dir) in folders {
        let segments = list(dir)?;
        let mut total = 0usize;
        for segment in &segments {
            each(segment, |_, found| {
                total += usize::from(matches!(found, Found::Letter(letter) if pick.takes(&letter)));
                Ok(())
            })?;
        }
        let mut skip = total.saturating_sub(most);
        for segment in &segments {
            each(segment, |line, found| match found {
                Found::Letter(letter) if pick.takes(&letter) => {
                    if skip > 0 {
                        skip -= 1;
                        return Ok(());
                    }
                    write_letter(line, &letter, output, out)
                }
                _ => Ok(()),
            })?;
        }
    }
    Ok(())
}

fn write_letter(line: &[u8], letter: &Line<'_>, output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    if output == Output::Json {
        return Ok(out.write_all(line)?);
    }
    writeln!(out, "{} {} {}", safe(&letter.time), letter.status, safe(&letter.kind))?;
    writeln!(out, "  id: {}", safe(&letter.id))?;
    if let Some(index) = &letter.index {
        writeln!(out, "  index: {}", safe(index))?;
    }
    if let Some(origin) = &letter.origin {
        let text = |text: &Option<String>| safe(text.as_deref().unwrap_or("?"));
        let offset = origin.offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
        let (cluster, node, path) = (text(&origin.cluster), text(&origin.node), text(&origin.path));
        writeln!(out, "  origin: {path} at byte {offset}, node {node}, cluster {cluster}")?;
    }
    writeln!(out, "  reason: {}", safe(&letter.reason))?;
    writeln!(out, "  document: {}", safe(letter.document.get()))?;
    Ok(())
}

//! `tidegate check`: every problem of configuration and zones at once.

use std::io::Write as _;
use std::path::Path;

use clap::ArgMatches;

use super::{Exit, Output, connect, input};
use crate::config::{Input, Loaded, Located, load_zones};
use crate::yaml::Severity;
use crate::zone;

/// Check configuration and zones, and tell every problem at once
///
/// Each problem has its place and says what to write instead. Nothing is opened but the two files; certificates and
/// secrets need not be there, so that a configuration can be checked where it does not run.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate check -c tidegate.yaml --zones ./zones.yaml\n  \
    $ tidegate check -c tidegate.yaml --connect --deny-warnings -o json")]
pub struct Args {
    #[command(flatten)]
    input: input::ConfigArgs,

    /// Also try Elasticsearch and the SIEM, and say what they answered
    #[arg(long)]
    connect: bool,

    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let input = args.input.input(matches);
    let (loaded, mut problems) = match input.load() {
        Ok(loaded) => {
            let warnings = loaded.warnings.clone();
            (Some(loaded), warnings)
        }
        Err(problems) => (None, problems),
    };
    if let Some(zones) = loaded.as_ref().and_then(|loaded| loaded.config.zones.as_ref()) {
        match (load_zones(zones), &loaded) {
            (Ok((table, warnings)), Some(loaded)) => {
                problems.extend(warnings);
                problems.extend(loaded.zone_problems(&table));
            }
            (Ok((_, warnings)), None) => problems.extend(warnings),
            (Err(found), _) => problems.extend(found),
        }
    }
    let exit = conclude(&problems, args.output, args.deny_warnings)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    match loaded {
        Some(loaded) if args.connect => connect::try_peers(&loaded.config, args.output),
        _ => Ok(Exit::Done),
    }
}

/// The configuration, its warnings told on standard error; `None` when it has errors, which are told as well.
pub fn load_or_tell(input: &Input) -> anyhow::Result<Option<Loaded>> {
    match input.load() {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Ok(Some(loaded))
        }
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ok(None)
        }
    }
}

/// The zone table; `None` when it has errors, which are told on standard error. Warnings are for `check`.
pub fn load_zones_or_tell(path: &Path) -> anyhow::Result<Option<zone::Table>> {
    match load_zones(path) {
        Ok((table, _)) => Ok(Some(table)),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ok(None)
        }
    }
}

/// Prints the problems and says whether they let the check pass.
pub fn conclude(problems: &[Located], output: Output, deny_warnings: bool) -> anyhow::Result<Exit> {
    print(problems, output)?;
    let errors = problems.iter().filter(|found| found.problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    eprintln!("{}", summary(errors, warnings));
    Ok(if errors > 0 || (deny_warnings && warnings > 0) { Exit::CheckFailed } else { Exit::Done })
}

fn print(problems: &[Located], output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?,
        Output::Json => writeln!(out, "{:#}", serde_json::to_value(problems)?)?,
    }
    Ok(())
}

fn summary(errors: usize, warnings: usize) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "no problems".to_owned(),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

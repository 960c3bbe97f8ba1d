//! `tidegate check`: every problem of configuration and zones at once.

use std::io::Write as _;

use clap::ArgMatches;

use super::{Exit, NotBuilt, Output, input};
use crate::config::{Input, Loaded, Located};
use crate::yaml::{Problem, Severity};
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
    input: input::Args,

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
        problems.extend(zone_problems(zones));
    }
    print(&problems, args.output)?;
    let errors = problems.iter().filter(|found| found.problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    eprintln!("{}", summary(errors, warnings));
    if errors > 0 || (args.deny_warnings && warnings > 0) {
        return Ok(Exit::CheckFailed);
    }
    if args.connect {
        return Err(NotBuilt("trying the peers (check --connect)").into());
    }
    Ok(Exit::Done)
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

/// Problems of a zones file; that it cannot be read is one.
pub fn zone_problems(path: &std::path::Path) -> Vec<Located> {
    let name = path.display().to_string();
    let found = match std::fs::read_to_string(path) {
        Ok(text) => match zone::Table::load(&text) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        },
        Err(error) => vec![Problem::error(None, "", format!("cannot read the zones: {error}; check the path"))],
    };
    found.into_iter().map(|problem| Located::in_file(name.clone(), problem)).collect()
}

pub fn print(problems: &[Located], output: Output) -> anyhow::Result<()> {
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

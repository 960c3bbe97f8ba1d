//! The command line: one file per verb.
//!
//! Standard output carries data alone; messages go to standard error. A verb returns how it ended as an [`Exit`]; an
//! error that it returns is printed once, here, with its chain.

mod backfill;
mod check;
mod config;
mod connect;
mod convert;
mod dead_letter;
mod demo;
mod dictionary;
mod events;
mod input;
mod lines;
mod progress;
mod query;
mod render;
mod replay;
mod run;
mod send_test;
mod setup;
mod siem;
mod version;
mod zones;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Forwards Calico flow logs from a Kubernetes node: every flow to Elasticsearch as an ECS document, every flow that
/// crosses a security zone to the SIEM as a record over syslog.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a check found errors, 4 some lines were refused, \
                        130 interrupted.\nEvery flag has a twin in the environment, which stands below the flag and above the file."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    #[command(name = "dead-letter")]
    DeadLetter(dead_letter::Args),
    Replay(replay::Args),
    Backfill(backfill::Args),
    Check(check::Args),
    #[command(name = "send-test")]
    SendTest(send_test::Args),
    Config(config::Args),
    Convert(convert::Args),
    Render(render::Args),
    Siem(siem::Args),
    Zones(zones::Args),
    Query(query::Args),
    Setup(Box<setup::Args>),
    Demo(demo::Args),
    Version(version::Args),
}

/// How a verb ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// It ran and could not do what it was for.
    Failed,
    /// What was asked for does not exist.
    WrongUsage,
    /// A check found errors: in the configuration or in the zones.
    CheckFailed,
    /// Some lines were refused, the others are done.
    Partial,
    /// Somebody interrupted it; what was done is noted.
    Interrupted,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::WrongUsage => 2,
            Self::CheckFailed => 3,
            Self::Partial => 4,
            Self::Interrupted => 130,
        }
    }
}

pub fn main() -> ExitCode {
    // Two TLS libraries in one program would each want to choose; the choice is made here, once. It can only fail when
    // it was made before, which nothing precedes.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(run_with(std::env::args_os()))
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        // Help and version come as errors too, with the code 0 and on standard output.
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    match dispatch(&cli.verb, innermost(&matches)) {
        Ok(exit) => exit.code(),
        // Whoever read our output has seen enough: `| head` is no failure.
        Err(error) if is_broken_pipe(&error) => Exit::Done.code(),
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            Exit::Failed.code()
        }
    }
}

fn dispatch(verb: &Verb, matches: &ArgMatches) -> anyhow::Result<Exit> {
    match verb {
        Verb::Run(args) => run::run(args, matches),
        Verb::DeadLetter(args) => dead_letter::run(args),
        Verb::Replay(args) => replay::run(args, matches),
        Verb::Backfill(args) => backfill::run(args, matches),
        Verb::Check(args) => check::run(args, matches),
        Verb::SendTest(args) => send_test::run(args, matches),
        Verb::Config(args) => config::run(args, matches),
        Verb::Convert(args) => convert::run(args),
        Verb::Render(args) => render::run(args, matches),
        Verb::Siem(args) => siem::run(args, matches),
        Verb::Zones(args) => zones::run(args),
        Verb::Query(args) => query::run(args),
        Verb::Setup(args) => setup::run(args, matches),
        Verb::Demo(args) => demo::run(args),
        Verb::Version(args) => version::run(args),
    }
}

/// Runs a verb that talks to peers. One thread is enough for what a person waits for.
fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// The matches of the verb itself, which know whether a value came from a flag or from the environment.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| innermost(inner))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// How a verb prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every verb that does something has two examples in its long help.
    #[test]
    fn every_verb_shows_two_examples() {
        let mut command = Cli::command();
        command.build();
        let mut verbs: Vec<&clap::Command> = command.get_subcommands().collect();
        while let Some(verb) = verbs.pop() {
            if verb.get_name() == "help" {
                continue;
            }
            verbs.extend(verb.get_subcommands());
            if !verb.has_subcommands() {
                let help = verb.clone().render_long_help().to_string();
                assert!(help.matches("\n  $ ").count() >= 2, "{}: {help}", verb.get_name());
            }
        }
    }
}

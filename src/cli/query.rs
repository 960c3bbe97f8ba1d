//! `tidegate query`: the filter language, to be tried.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::{Exit, Output, check};
use crate::config::missing_zone;
use crate::query::{self, FIELDS, Query};

/// Check an expression of the filter language, or list its fields
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Check(Check),
    Fields(Fields),
}

/// Check an expression and print it in its one fixed form
///
/// Exit code 3: it is wrong. Each mistake is told with its place and what to write instead. With --zones, zones that are
/// not in the file are told as well.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate query check 'zones = dmz -> restricted and dest.port != 443'\n  \
    $ tidegate query check --zones zones.yaml 'verdict = deny and not source.ip in (10.0.0.0/8, fd00::/8)'")]
struct Check {
    /// The expression, in one argument
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true)]
    expression: String,

    /// Security zones
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES")]
    zones: Option<PathBuf>,
}

/// List the fields: names, what may be asked, what they are
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate query fields\n  $ tidegate query fields -o json | jq '.[].name'")]
struct Fields {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Check(args) => check_expression(args),
        What::Fields(args) => fields(args.output),
    }
}

/// For flags that take an expression.
pub fn parse(text: &str) -> Result<Arc<Query>, String> {
    Query::parse(text).map(Arc::new).map_err(|errors| shown(text, &errors))
}

fn check_expression(args: &Check) -> anyhow::Result<Exit> {
    let query = match Query::parse(&args.expression) {
        Ok(query) => query,
        Err(errors) => {
            eprintln!("{}", shown(&args.expression, &errors));
            return Ok(Exit::CheckFailed);
        }
    };
    if let Some(path) = &args.zones {
        let Some(table) = check::load_zones_or_tell(path)? else { return Ok(Exit::CheckFailed) };
        for zone in query.zones() {
            if let Some(message) = missing_zone(&zone.name, &table) {
                eprintln!("warning: {message}");
            }
        }
    }
    writeln!(std::io::stdout().lock(), "{query}")?;
    Ok(Exit::Done)
}

/// Each mistake under its line, with a mark below its place.
fn shown(text: &str, errors: &query::Errors) -> String {
    let show = |error: &query::Error| {
        let line = text.lines().nth(error.line - 1).unwrap_or_default();
        let before: String = line.chars().take(error.column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        format!("{error}\n  {line}\n  {before}^")
    };
    errors.0.iter().map(show).collect::<Vec<_>>().join("\n")
}

fn fields(output: Output) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            let field = |spec: &query::Spec| {
                json!({
                    "name": spec.name, "aliases": spec.aliases, "ends": spec.ends.as_str(), "operators": spec.kind.operators(),
                    "values": spec.kind.values(), "what": spec.what,
                })
            };
            writeln!(out, "{:#}", serde_json::Value::from_iter(FIELDS.iter().map(field)))?;
        }
        Output::Text => {
            for spec in FIELDS {
                let ends = if spec.has_ends() { "source. dest." } else { "" };
                writeln!(out, "{:<21} {ends:<13} {:<44} {}", spec.name, spec.kind.operators(), spec.what)?;
            }
            writeln!(
                out,
                "\nWith source. or dest. before it a field is that end's; without, either's (of bytes and packets: the sum)."
            )?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

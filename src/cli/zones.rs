//! `tidegate zones`: which zone, and why; whether a zones file is right.

use std::borrow::Cow;
use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Exit, Output, check};
use crate::decode::decode;
use crate::model::{End, EndpointType};
use crate::zone;

/// Ask the security zones: which zone takes an end, and why
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Which(Which),
    Check(Check),
    /// Print the JSON schema of the zones file
    #[command(after_long_help = "Examples:\n  $ tidegate zones schema > zones.schema.json\n  \
        $ tidegate zones schema | jq '.properties | keys'")]
    Schema,
}

/// Say which zone takes an end of a flow, and why the others do not
///
/// The end is described by flags; without any of them a flow-log line is read from standard input and both of its ends are
/// explained.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  $ tidegate zones which --zones zones.yaml --namespace shop --labels app=web,tier=front\n  \
    $ head -1 flows.log | tidegate zones which --zones zones.yaml"
)]
struct Which {
    /// Security zones
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES")]
    zones: PathBuf,

    /// Namespace of the end
    #[arg(long)]
    namespace: Option<String>,

    /// Name of the end: a pod, a network set, a node
    #[arg(long)]
    name: Option<String>,

    /// Labels of the end
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// Address of the end
    #[arg(long)]
    ip: Option<IpAddr>,

    /// Kind of the end: wep (pod), hep (host), ns (network set), net (anything else) [default: wep with --namespace or
    /// --labels, else net]
    #[arg(long = "type", value_name = "KIND", value_parser = parse_kind)]
    kind: Option<EndpointType>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Check a zones file, and tell every problem at once
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  $ tidegate zones check zones.yaml\n  $ tidegate zones check zones.yaml --deny-warnings -o json"
)]
struct Check {
    /// Security zones
    #[arg(value_name = "FILE", env = "TIDEGATE_ZONES")]
    file: PathBuf,

    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Which(args) => which(args),
        What::Check(args) => {
            let problems =
                crate::config::load_zones(&args.file).map_or_else(|problems| problems, |(_, warnings)| warnings);
            check::conclude(&problems, args.output, args.deny_warnings)
        }
        What::Schema => {
            writeln!(std::io::stdout().lock(), "{:#}", zone::schema())?;
            Ok(Exit::Done)
        }
    }
}

fn which(args: &Which) -> anyhow::Result<Exit> {
    let Some(table) = check::load_zones_or_tell(&args.zones)? else { return Ok(Exit::CheckFailed) };
    if let Some(end) = described(args) {
        let explanation = table.explain_end(&end, &[]);
        write(args.output, &explanation)?;
        return Ok(Exit::Done);
    }
    let mut line = Vec::new();
    std::io::stdin().lock().read_until(b'\n', &mut line)?;
    let mut scratch = String::new();
    match decode(line.trim_ascii(), &mut scratch) {
        Ok(flow) => write(args.output, &table.explain(&flow))?,
        Err(error) => anyhow::bail!("the line on standard input is no flow: {}", error.message),
    }
    Ok(Exit::Done)
}

fn write(output: Output, explanation: &(impl std::fmt::Display + serde::Serialize)) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(out, "{}", explanation.to_string().trim_end())?,
        Output::Json => writeln!(out, "{:#}", serde_json::to_value(explanation)?)?,
    }
    Ok(())
}

/// The end that the flags describe; `None` without any.
fn described(args: &Which) -> Option<End<'_>> {
    let has_address_only = matches!(args.name.as_deref(), None | Some("pub" | "pvt"));
    let is_pod = args.namespace.is_some() || !args.labels.is_empty() || (!has_address_only && args.ip.is_none());
    if !is_pod && args.name.is_none() && args.ip.is_none() && args.kind.is_none() {
        return None;
    }
    let kind = args.kind.unwrap_or(if is_pod { EndpointType::Workload } else { EndpointType::Network });
    let name = args.name.as_deref().map(Cow::from);
    Some(End {
        ip: args.ip,
        port: None,
        // An aggregated name stands for many; of a network it is all there is.
        name: name.clone().filter(|_| !has_address_only),
        name_aggr: name,
        namespace: args.namespace.as_deref().map(Cow::from),
        kind: Some(kind),
        labels: args.labels.iter().map(|(key, value)| (Cow::from(key), Cow::from(value))).collect(),
    })
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn parse_kind(text: &str) -> Result<EndpointType, String> {
    [EndpointType::Workload, EndpointType::Host, EndpointType::NetworkSet, EndpointType::Network]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| "write wep, hep, ns or net".to_owned())
}

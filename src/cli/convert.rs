//! `tidegate convert`: flow lines in, what the lanes would send out.
//!
//! One line at a time in bounded memory, so files of any size pass. What the lanes would send is what comes out: `ecs`
//! gives a document for every line, `cef` a record for those flows that the SIEM would get, without its syslog header.
//! There are no batches here, so of lines that differ only in their policy trace each has its record.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::events::{Complaints, Events};
use super::lines::Lines;
use super::{Exit, check, query};
use crate::config::Surroundings;
use crate::encode::{ecs, record};
use crate::model::{Body, Event};
use crate::query::Query;

/// Convert flow lines on standard input to what the lanes would send
///
/// Writes one ECS document or CEF record a line. Lines that are no flows become raw events in ecs, and are skipped with a
/// message in cef. Lines longer than 1 MiB are skipped with a message in both. Exit code 4: some lines were skipped.
/// Ids are those that the agent gives the same lines of a file that begins alike, with the same cluster and node.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate convert --to ecs --zones zones.yaml < flows.log | jq .rule\n  \
    $ tidegate convert --to ecs --filter 'verdict = deny and dest.port in (22, 3389)' < flows.log\n  \
    $ zcat flows.log.1.gz | tidegate convert --to cef --zones zones.yaml --cluster prod-eu-1 --node node-a1")]
pub struct Args {
    /// What to write
    #[arg(long, value_enum)]
    to: Form,

    /// Security zones; without them no flow crosses zones, and cef gives nothing
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES")]
    zones: Option<PathBuf>,

    /// Only flows for which this holds, as 'verdict = deny and dest.zone = restricted'; `tidegate query fields` lists the
    /// fields
    #[arg(long, value_name = "EXPRESSION", value_parser = query::parse)]
    filter: Option<Arc<Query>>,

    /// Name of the cluster, a part of every event's id
    #[arg(long, value_name = "NAME", env = "TIDEGATE_CLUSTER", default_value = "default")]
    cluster: String,

    /// Name of the node, a part of every event's id [default: NODE_NAME of the environment, else the host name]
    #[arg(long, value_name = "NAME", env = "TIDEGATE_NODE")]
    node: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Ecs,
    Cef,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let zones = match &args.zones {
        None => None,
        Some(path) => match check::load_zones_or_tell(path)? {
            Some(table) => Some(table),
            None => return Ok(Exit::CheckFailed),
        },
    };
    if args.to == Form::Cef && zones.is_none() {
        eprintln!("without --zones no flow crosses zones, so there is no record to write");
    }
    let Some(node) = args.node.clone().or_else(|| Surroundings::read().into_node()) else {
        anyhow::bail!("neither --node nor NODE_NAME is given, and the host has no name; give --node");
    };
    let mut writer = Writer::new(args.to, args.filter.clone());
    let mut events = Events::new(zones.as_ref(), &args.cluster, &node);
    let mut complaints = Complaints::default();
    let mut lines = Lines::new(std::io::stdin().lock());
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    loop {
        // Whoever watches a live file sees each line as soon as no other is waiting.
        if !lines.has_line() {
            out.flush()?;
        }
        let Some(line) = lines.next()? else { break };
        writer.buffer.clear();
        events.line(&line, &mut complaints, |event| writer.write(event));
        out.write_all(&writer.buffer)?;
    }
    out.flush()?;
    Ok(complaints.end())
}

/// The encoder of the chosen form.
struct Writer {
    encoder: Encoder,
    filter: Option<Arc<Query>>,
    buffer: Vec<u8>,
}

enum Encoder {
    Ecs(Box<ecs::Encoder>),
    Cef(Box<record::Encoder>, record::Filter),
}

impl Writer {
    fn new(form: Form, filter: Option<Arc<Query>>) -> Self {
        let encoder = match form {
            Form::Ecs => Encoder::Ecs(Box::new(ecs::Encoder::new(ecs::Config::default()))),
            Form::Cef => {
                Encoder::Cef(Box::new(record::Encoder::new(record::Config::default())), record::Filter::default())
            }
        };
        Self { encoder, filter, buffer: Vec::new() }
    }

    /// Appends what the form has for an event; false when it has no place for lines that are no flows. A filter holds for
    /// none of them.
    fn write(&mut self, event: &Event<'_>) -> bool {
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(event)) {
            return true;
        }
        match &mut self.encoder {
            Encoder::Ecs(encoder) => encoder.encode(event, &mut self.buffer),
            Encoder::Cef(..) if matches!(event.body, Body::Raw(_)) => return false,
            Encoder::Cef(encoder, filter) if filter.takes(event) => encoder.encode(event, &mut self.buffer),
            Encoder::Cef(..) => return true,
        }
        self.buffer.push(b'\n');
        true
    }
}

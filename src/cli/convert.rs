//! `tidegate convert`: flow lines in, what the lanes would send out.
//!
//! One line at a time in bounded memory, so files of any size pass. What the lanes would send is what comes out: `ecs`
//! gives a document for every line, `cef` a record for those flows that the SIEM would get, without its syslog header.
//! There are no batches here, so of lines that differ only in their policy trace each has its record.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use super::lines::{Line, Lines};
use super::{Exit, check};
use crate::config::Surroundings;
use crate::decode::decode;
use crate::encode::{cef, ecs};
use crate::model::{Body, Event, FileKey, LineId, Origin, RawLine, filler};
use crate::zone;

/// Convert flow lines on standard input to what the lanes would send
///
/// Writes one ECS document or CEF record a line. Lines that are no flows become raw events in ecs, and are skipped with a
/// message in cef. Lines longer than 1 MiB are skipped with a message in both. Exit code 4: some lines were skipped.
/// Ids are those that the agent gives the same lines of a file that begins alike, with the same cluster and node.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate convert --to ecs --zones zones.yaml < flows.log | jq .rule\n  \
    $ zcat flows.log.1.gz | tidegate convert --to cef --zones zones.yaml --cluster prod-eu-1 --node node-a1")]
pub struct Args {
    /// What to write
    #[arg(long, value_enum)]
    to: Form,

    /// Security zones; without them no flow crosses zones, and cef gives nothing
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES")]
    zones: Option<PathBuf>,

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
    let mut converter = Converter {
        writer: Writer::new(args.to),
        zones,
        cluster: &args.cluster,
        node: &node,
        key: None,
        scratch: String::new(),
        complaints: Complaints::default(),
    };
    let mut lines = Lines::new(std::io::stdin().lock());
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    loop {
        // Whoever watches a live file sees each line as soon as no other is waiting.
        if !lines.has_line() {
            out.flush()?;
        }
        let Some(line) = lines.next()? else { break };
        out.write_all(converter.convert(&line))?;
    }
    out.flush()?;
    Ok(converter.complaints.end())
}

struct Converter<'a> {
    writer: Writer,
    zones: Option<zone::Table>,
    cluster: &'a str,
    node: &'a str,
    /// Known from the first line on.
    key: Option<FileKey>,
    scratch: String,
    complaints: Complaints,
}

impl Converter<'_> {
    /// What is to be written for a line, newline and all; perhaps nothing.
    fn convert(&mut self, line: &Line<'_>) -> &[u8] {
        self.writer.buffer.clear();
        match *line {
            Line::Whole { offset, bytes } => {
                let key = *self.key.get_or_insert_with(|| FileKey::new(self.cluster, self.node, bytes));
                // Blank lines are not read.
                let hole = filler(bytes);
                if !bytes[hole..].trim_ascii().is_empty() {
                    self.line(key, offset + hole as u64, &bytes[hole..]);
                }
            }
            Line::TooLong { offset, bytes, head } => {
                self.key.get_or_insert_with(|| FileKey::new(self.cluster, self.node, head));
                self.complaints.add(offset, format_args!("the line has {bytes} bytes, more than 1 MiB"));
            }
        }
        &self.writer.buffer
    }

    fn line(&mut self, key: FileKey, offset: u64, bytes: &[u8]) {
        let origin = |end_time| Origin {
            cluster: self.cluster,
            node: self.node,
            path: None,
            offset,
            id: LineId::new(end_time, key, offset, bytes),
            read_at_ms: None,
        };
        match decode(bytes, &mut self.scratch) {
            Ok(flow) => {
                let zones = self.zones.as_ref().map(|table| table.classify(&flow));
                self.writer.flow(&Event { origin: origin(flow.end_time), body: Body::Flow(&flow), zones });
            }
            Err(error) => {
                let message = error.message.clone();
                let raw = RawLine {
                    original: String::from_utf8_lossy(bytes),
                    error_type: error.kind,
                    error_message: error.message,
                };
                let event = Event { origin: origin(None), body: Body::Raw(&raw), zones: None };
                if !self.writer.raw(&event) {
                    self.complaints.add(offset, format_args!("no flow: {message}"));
                }
            }
        }
    }
}

/// The encoder of the chosen form.
struct Writer {
    encoder: Encoder,
    buffer: Vec<u8>,
}

enum Encoder {
    Ecs(Box<ecs::Encoder>),
    Cef(Box<cef::Encoder>, cef::Filter),
}

impl Writer {
    fn new(form: Form) -> Self {
        let encoder = match form {
            Form::Ecs => Encoder::Ecs(Box::new(ecs::Encoder::new(ecs::Config::default()))),
            Form::Cef => Encoder::Cef(Box::new(cef::Encoder::new(cef::Config::default())), cef::Filter::default()),
        };
        Self { encoder, buffer: Vec::new() }
    }

    fn flow(&mut self, event: &Event<'_>) {
        match &mut self.encoder {
            Encoder::Ecs(encoder) => encoder.encode(event, &mut self.buffer),
            Encoder::Cef(encoder, filter) if filter.takes(event) => encoder.encode(event, &mut self.buffer),
            Encoder::Cef(..) => return,
        }
        self.buffer.push(b'\n');
    }

    /// Whether this form has a place for lines that are no flows.
    fn raw(&mut self, event: &Event<'_>) -> bool {
        let Encoder::Ecs(encoder) = &mut self.encoder else { return false };
        encoder.encode(event, &mut self.buffer);
        self.buffer.push(b'\n');
        true
    }
}

/// Lines that were skipped: the first few are told, all are counted.
#[derive(Debug, Default)]
struct Complaints {
    count: u64,
}

const TOLD: u64 = 20;

impl Complaints {
    fn add(&mut self, offset: u64, what: std::fmt::Arguments<'_>) {
        self.count += 1;
        if self.count <= TOLD {
            eprintln!("skipped the line at byte {offset}: {what}");
        }
    }

    fn end(&self) -> Exit {
        if self.count > TOLD {
            eprintln!("skipped {} lines, of which the first {TOLD} are told above", self.count);
        }
        if self.count == 0 { Exit::Done } else { Exit::Partial }
    }
}

//! `tidegate render`: flow lines in, records as they would stand on the wire out.
//!
//! Nothing is sent. A destination of a configuration file, or a profile and a format given here, says what a record looks
//! like; its sink's own configuration gives header or envelope, filter and limits, so what is printed is what its lane sends.
//! There are no batches here, so of lines that differ only in their policy trace each has its record, and no windows, so
//! `aggregate`, `limit`, `sample` and `eps` are left aside.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::ArgMatches;
use serde_json::{Value, json};

use super::events::{Complaints, Events};
use super::lines::Lines;
use super::{Exit, Output, check, dictionary, input};
use crate::config::shape::{Format, Header, Profile};
use crate::config::{Config, Input, Origin, Override, Surroundings, What, rooms};
use crate::encode::record::{
    self, Class, Classes, Connections, Encoder, Explained, Filter, Flows, Frame, Marks, event_time_ms,
};
use crate::model::event::UNKNOWN_ZONE;
use crate::model::{Body, Event, Flow};
use crate::sink::{splunk, syslog};

/// Print flow lines as the records a SIEM would get
///
/// Reads files, or standard input, and writes one record a line, its syslog header included; for a Splunk collector the
/// whole event object. Of a stream, the framing is left out. aggregate, limit, sample and eps of the destination are not
/// applied: each flow is a record here. Flows that give no record are left out as well; --explain says why. Lines that are
/// no flows are skipped with a message. Exit code 4: some lines were skipped.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  $ tidegate render --profile qradar --zones zones.yaml flows.log\n  \
    $ tail -n 20 flows.log | tidegate render -c tidegate.yaml --destination soc --explain")]
pub struct Args {
    /// Files with flow lines; none, or -: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Configuration file with the destination
    #[arg(short, long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,

    /// Name of the destination in the configuration; may be left out when there is one
    #[arg(long, value_name = "NAME", requires = "config")]
    destination: Option<String>,

    /// What suits a kind of receiver
    #[arg(long, value_parser = parse::<Profile>, conflicts_with = "config")]
    profile: Option<Profile>,

    /// Format of the records: cef, leef, structured-data or ecs-json
    #[arg(long, value_parser = parse::<Format>, conflicts_with = "config")]
    format: Option<Format>,

    /// Syslog header: rfc5424, rfc3164 or rfc3164-tagged
    #[arg(long, value_parser = parse::<Header>, conflicts_with = "config")]
    header: Option<Header>,

    /// Write the record alone, without its syslog header or its event object
    #[arg(long)]
    message: bool,

    /// Say of each key where it comes from and what became of it, and of each flow without a record why
    #[arg(long)]
    explain: bool,

    /// Form of the explanation
    #[arg(short, long, value_enum, default_value_t, requires = "explain")]
    output: Output,

    /// Security zones; without them no flow crosses zones
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ZONES", required_unless_present = "config")]
    zones: Option<PathBuf>,

    /// Name of the cluster, a part of every event's id [default: that of the configuration, else default]
    #[arg(long, value_name = "NAME", env = "TIDEGATE_CLUSTER")]
    cluster: Option<String>,

    /// Name of the node, a part of every event's id [default: that of the configuration, else NODE_NAME of the
    /// environment, else the host name]
    #[arg(long, value_name = "NAME", env = "TIDEGATE_NODE")]
    node: Option<String>,
}

/// A word of the configuration, by the configuration's own reader.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(json!(text)).map_err(|error| error.to_string())
}

pub fn run(args: &Args, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let Some(loaded) = check::load_or_tell(&input(args, matches))? else { return Ok(Exit::CheckFailed) };
    let config = loaded.config;
    let destination = destination(&config, args.destination.as_deref())?;
    let Some(path) = &config.zones else { anyhow::bail!("no zones are given, so no flow crosses any; give --zones") };
    let Some(zones) = check::load_zones_or_tell(path)? else { return Ok(Exit::CheckFailed) };
    let mut renderer = Renderer::new(args, &destination)?;
    let mut complaints = Complaints::default();
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let stdin = [PathBuf::from("-")];
    for file in if args.files.is_empty() { &stdin } else { &args.files[..] } {
        let events = Events::new(Some(&zones), &config.cluster, &config.node);
        if file.as_path() == Path::new("-") {
            render(std::io::stdin().lock(), events, &mut renderer, &mut complaints, &mut out)?;
        } else {
            let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            render(open, events, &mut renderer, &mut complaints, &mut out)?;
        }
    }
    out.flush()?;
    Ok(complaints.end())
}

fn render(
    stream: impl Read,
    mut events: Events<'_>,
    renderer: &mut Renderer,
    complaints: &mut Complaints,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut lines = Lines::new(stream);
    loop {
        if !lines.has_line() {
            out.flush()?;
        }
        let Some(line) = lines.next()? else { return Ok(()) };
        renderer.text.clear();
        events.line(&line, complaints, |event| renderer.take(event));
        out.write_all(&renderer.text)?;
    }
}

/// The configuration to take the destination from: the file's, or one made of what the flags say.
fn input(args: &Args, matches: &ArgMatches) -> Input {
    let mut overrides = Vec::new();
    if args.config.is_none() {
        // Nothing is connected to. A stream, since datagrams would bound the record's length.
        let mut url = match args.profile {
            Some(Profile::SplunkHec) => "splunk+https://receiver.invalid?name=render&token_env=NONE".to_owned(),
            _ => "tcp://receiver.invalid?name=render".to_owned(),
        };
        let mut add = |key: &str, word: Option<Value>| {
            if let Some(Value::String(word)) = word {
                url.push_str(&format!("&{key}={word}"));
            }
        };
        add("profile", args.profile.map(|word| json!(word)));
        add("format", args.format.map(|word| json!(word)));
        add("header", args.header.map(|word| json!(word)));
        overrides.push(Override { what: What::Receivers(vec![url]), origin: Origin::Flag("--format".to_owned()) });
    }
    let mut above = |id: &str, path: &'static str, value: Option<Value>| {
        overrides.extend(value.map(|value| input::above(matches, id, path, value)));
    };
    above("zones", "zones", args.zones.as_deref().map(|path| json!(input::absolute(path))));
    above("cluster", "cluster", args.cluster.as_ref().map(|name| json!(name)));
    above("node", "node", args.node.as_ref().map(|name| json!(name)));
    Input {
        file: args.config.clone(),
        overrides,
        surroundings: Surroundings::read(),
        without_sources: true,
        without_zones: false,
    }
}

/// Where records would go.
enum Destination {
    Syslog(Box<syslog::Config>),
    Splunk(Box<splunk::Config>),
}

fn destination(config: &Config, name: Option<&str>) -> anyhow::Result<Destination> {
    let names = || config.sinks.siem.iter().map(|siem| siem.name.as_str()).collect::<Vec<_>>().join(", ");
    let syslog =
        rooms::syslog(config).into_iter().map(|(_, sink)| (sink.name.clone(), Destination::Syslog(sink.into())));
    let splunk =
        rooms::splunk(config).into_iter().map(|(_, sink)| (sink.name.clone(), Destination::Splunk(sink.into())));
    let mut all: Vec<_> = syslog.chain(splunk).collect();
    let found = match name {
        Some(name) => all.into_iter().find(|(other, _)| other == name),
        None if all.len() == 1 => all.pop(),
        None => None,
    };
    match (found, name) {
        (Some((_, sink)), _) => Ok(sink),
        (None, _) if config.sinks.siem.is_empty() => anyhow::bail!("the configuration has no SIEM destination"),
        (None, Some(name)) => anyhow::bail!("no SIEM destination is named {name:?}; there are {}", names()),
        (None, None) => anyhow::bail!("there are several SIEM destinations; give --destination, one of {}", names()),
    }
}

/// How a record stands on the wire.
enum Form {
    Message {
        encoder: Box<Encoder>,
        header: Option<syslog::HeaderWriter>,
        max_message: usize,
        sequence: u32,
    },
    Object {
        encoder: Box<splunk::EventEncoder>,
        /// Of an event that is a CEF record.
        cef: Option<Box<Encoder>>,
        max_record: usize,
        /// Only what stands in it.
        alone: bool,
    },
}

impl Form {
    fn message(sink: &syslog::Config, alone: bool) -> Self {
        Self::Message {
            encoder: Box::new(Encoder::new(sink.record.clone())),
            header: (!alone).then(|| sink.header_writer()),
            max_message: sink.max_message(),
            sequence: 0,
        }
    }

    fn object(sink: &splunk::Config, alone: bool) -> Self {
        let cef = record::Config { format: record::Format::Cef, ..sink.cef.clone() };
        Self::Object {
            encoder: Box::new(sink.encoder()),
            cef: (sink.format == splunk::Format::Cef).then(|| Box::new(Encoder::new(cef))),
            max_record: sink.cef.max_record,
            alone,
        }
    }

    /// Appends the record. Gives where its body begins and ends, and what it was made for.
    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, out: &mut Vec<u8>) -> (Range<usize>, Frame) {
        let start = out.len();
        match self {
            Self::Message { encoder, header, max_message, sequence } => {
                *sequence += 1;
                let time = event_time_ms(event);
                let number =
                    header.as_mut().and_then(|header| header.write(out, class.syslog_severity, time, *sequence));
                let body = out.len();
                let frame = Frame { budget: max_message.saturating_sub(body - start), sequence: number };
                encoder.encode_flow(event, flow, class, frame, out);
                (body..out.len(), frame)
            }
            Self::Object { encoder, cef, max_record, alone } => {
                let frame = Frame { budget: *max_record, sequence: None };
                if let (Some(cef), true) = (cef, *alone) {
                    cef.encode_flow(event, flow, class, frame, out);
                    return (start..out.len(), frame);
                }
                let octets = encoder.encode(event, flow, class, Marks::default(), out);
                // Its brace closes the object.
                let end = out.len() - 1;
                let mut body = end.saturating_sub(octets)..end;
                if *alone {
                    out.truncate(end);
                    out.drain(start..body.start);
                    body = start..out.len();
                }
                (body, frame)
            }
        }
    }

    /// What knows where the keys of a record come from.
    fn explainer(&self) -> Option<&Encoder> {
        match self {
            Self::Message { encoder, .. } => Some(encoder),
            Self::Object { cef, .. } => cef.as_deref(),
        }
    }
}

struct Renderer {
    filter: Filter,
    classes: Arc<Classes>,
    form: Form,
    explain: Option<Output>,
    /// Where each fact comes from.
    dictionary: dictionary::Record,
    text: Vec<u8>,
}

impl Renderer {
    fn new(args: &Args, destination: &Destination) -> anyhow::Result<Self> {
        let (filter, classes, form) = match destination {
            Destination::Syslog(sink) => (&sink.filter, &sink.record.classes, Form::message(sink, args.message)),
            Destination::Splunk(sink) => (&sink.filter, &sink.cef.classes, Form::object(sink, args.message)),
        };
        Ok(Self {
            filter: filter.clone(),
            classes: Arc::clone(classes),
            form,
            explain: args.explain.then_some(args.output),
            dictionary: dictionary::record()?,
            text: Vec::new(),
        })
    }

    /// Whether the event is a flow.
    fn take(&mut self, event: &Event<'_>) -> bool {
        let Body::Flow(flow) = event.body else { return false };
        if !self.filter.takes(event) {
            if let Some(form) = self.explain {
                self.tell_why_not(event, form);
            }
            return true;
        }
        let classes = Arc::clone(&self.classes);
        let Some(class) = classes.of(event) else {
            if let Some(form) = self.explain {
                self.say_none(event, "a rule of classes drops it", form);
            }
            return true;
        };
        let start = self.text.len();
        let (body, frame) = self.form.write(event, flow, class, &mut self.text);
        match self.explain {
            Some(form) => self.explain(event, flow, class, frame, (start, body), form),
            None => self.text.push(b'\n'),
        }
        true
    }

    fn explain(
        &mut self,
        event: &Event<'_>,
        flow: &Flow<'_>,
        class: &Class,
        frame: Frame,
        (start, body): (usize, Range<usize>),
        form: Output,
    ) {
        let record = String::from_utf8_lossy(&self.text[start..]).into_owned();
        let keys = self.form.explainer().map(|encoder| encoder.explain(event, flow, class, frame));
        let mut facts: Vec<Fact> = keys.into_iter().flatten().map(|explained| self.fact(explained)).collect();
        if facts.is_empty() {
            facts = document(&self.text[body]);
        }
        self.text.truncate(start);
        match form {
            Output::Json => {
                let facts: Vec<Value> = facts.iter().map(Fact::json).collect();
                let line = json!({"offset": event.origin.offset, "class": class.id, "record": record, "keys": facts});
                self.line(&line.to_string());
            }
            Output::Text => {
                self.line(&record);
                self.line(&format!(
                    "  # the line at byte {}: {}, {} octets",
                    event.origin.offset,
                    class.id,
                    record.len()
                ));
                for fact in &facts {
                    self.line(&fact.text());
                }
            }
        }
    }

    fn fact(&self, explained: Explained) -> Fact {
        let name = explained.field.spec().name;
        let row = self.dictionary.fields.iter().find(|row| row.field == name);
        let mut became = Vec::new();
        for (is, what) in [
            (explained.escaped, "escaped"),
            (explained.sanitised, "sanitised"),
            (explained.cut, "cut"),
            (explained.left_out, "left out, the record is full"),
        ] {
            became.extend(is.then_some(what));
        }
        Fact {
            key: explained.key,
            label: explained.label,
            field: name.to_owned(),
            from: row.map(|row| row.from.clone()),
            value: explained.value,
            written: explained.written,
            became,
        }
    }

    fn tell_why_not(&mut self, event: &Event<'_>, form: Output) {
        let why = why_not(&self.filter, event);
        self.say_none(event, &why, form);
    }

    fn say_none(&mut self, event: &Event<'_>, why: &str, form: Output) {
        let offset = event.origin.offset;
        match form {
            Output::Json => self.line(&json!({"offset": offset, "no_record": why}).to_string()),
            Output::Text => self.line(&format!("# the line at byte {offset} gives no record: {why}")),
        }
    }

    fn line(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(b'\n');
    }
}

/// Why the filter does not take a flow: the first of its settings without which it would.
fn why_not(filter: &Filter, event: &Event<'_>) -> String {
    let Some(zones) = event.zones else { return "its zones are not known".to_owned() };
    let (source, dest) = (zones.source, zones.dest);
    let everything = Filter { flows: Flows::All, unknown: true, connections: Connections::Both, ..Filter::default() };
    let refused = |filter: Filter| !filter.takes(event);
    let crossing = Filter { flows: filter.flows, ..everything.clone() };
    let reasons = [
        (refused(crossing.clone()), format!("both ends are in zone {source}")),
        (
            refused(Filter { unknown: filter.unknown, ..crossing }),
            format!("an end is in zone {UNKNOWN_ZONE} ({source} to {dest}), and unknown is false"),
        ),
        (
            refused(Filter { verdict: filter.verdict, ..everything.clone() }),
            "its verdict is not the one that is wanted (verdict)".to_owned(),
        ),
        (
            refused(Filter { connections: filter.connections, ..everything.clone() }),
            "it is the other half: the record is the other end's to send (connections: one)".to_owned(),
        ),
        (
            refused(Filter { query: filter.query.clone(), ..everything }),
            format!(
                "the filter does not hold for it: {}",
                filter.query.as_ref().map_or_else(String::new, |q| q.to_string())
            ),
        ),
    ];
    let found = reasons.into_iter().find(|(refused, _)| *refused);
    found.map_or_else(|| "the filter does not take it".to_owned(), |(_, why)| why)
}

/// What is said of one key.
struct Fact {
    key: Option<String>,
    label: Option<String>,
    field: String,
    from: Option<String>,
    value: String,
    written: Option<String>,
    became: Vec<&'static str>,
}

impl Fact {
    fn json(&self) -> Value {
        json!({
            "key": self.key, "label": self.label, "field": self.field, "from": self.from, "value": self.value, "written": self.written,
            "became": self.became,
        })
    }

    fn text(&self) -> String {
        // What the head has, it has as it is.
        let key = self.key.as_deref().unwrap_or("(head)");
        let written = self.written.as_deref().unwrap_or(if self.key.is_some() { "-" } else { &self.value });
        let became = if self.became.is_empty() { String::new() } else { format!("  [{}]", self.became.join(", ")) };
        let from = self.from.as_deref().unwrap_or("the program");
        let label = self.label.as_deref().map_or_else(String::new, |label| format!(" ({label})"));
        let mut text = format!("  {key}{label}  {written}{became}  <- {from}");
        if self.written.as_deref() != Some(&self.value) && self.key.is_some() && !self.value.is_empty() {
            text.push_str(&format!("\n      was {:?}", self.value));
        }
        text
    }
}

/// Every member of an ECS document by its path.
fn document(record: &[u8]) -> Vec<Fact> {
    let Some(start) = record.iter().position(|&octet| octet == b'{') else { return Vec::new() };
    let mut facts = Vec::new();
    if let Ok(document) = serde_json::from_slice::<Value>(&record[start..]) {
        members("", &document, &mut facts);
    }
    facts
}

fn members(path: &str, value: &Value, facts: &mut Vec<Fact>) {
    if let Value::Object(object) = value {
        for (name, value) in object {
            members(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, facts);
        }
        return;
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    facts.push(Fact {
        key: Some(path.to_owned()),
        label: None,
        field: path.to_owned(),
        from: dictionary::of_document(path).map(str::to_owned),
        value: text.clone(),
        written: Some(text),
        became: Vec::new(),
    });
}

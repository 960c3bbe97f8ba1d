//! Flows of one key in one window as one flow: sums, the earliest begin, the latest end, and what all of them agree on.
//!
//! Verdict and class, zones and the reporter's side are always in the key. Of what else a record says, what differs between
//! the flows is left out. The id is the first flow's.

use std::time::{Duration, Instant};

use super::Key;
use super::key::put_all;
use super::windows::{Closed, Span, Windows};
use crate::model::flow::{Process, TcpStats};
use crate::model::{Body, End, Event, Flow, Origin, Policies, Reporter, Service, Text, ZonePair};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    pub window: Duration,
    /// How late a flow may come and still find its window open.
    pub grace: Duration,
    pub by: Vec<Key>,
    /// Windows that are open at a time.
    pub max_keys: usize,
}

/// Several flows, or one, as one.
#[derive(Debug)]
pub struct Folded {
    flow: Flow<'static>,
    zones: Option<(String, String)>,
    cluster: String,
    node: String,
    id: crate::model::LineId,
    offset: u64,
    read_at_ms: Option<i64>,
    /// Place of its class.
    pub class: usize,
    pub lines: u64,
    /// In which of the caller's batches its first line was.
    first_epoch: u64,
}

impl Folded {
    /// As the event that its record is made of.
    pub fn with<T>(&self, take: impl FnOnce(&Event<'_>, &Flow<'_>) -> T) -> T {
        let origin = Origin {
            cluster: &self.cluster,
            node: &self.node,
            path: None,
            offset: self.offset,
            id: self.id,
            read_at_ms: self.read_at_ms,
        };
        let zones = self.zones.as_ref().map(|(source, dest)| ZonePair { source, dest });
        take(&Event { origin, body: Body::Flow(&self.flow), zones }, &self.flow)
    }

    fn new(event: &Event<'_>, flow: &Flow<'_>, class: usize, epoch: u64) -> Self {
        let origin = &event.origin;
        Self {
            flow: own(flow),
            zones: event.zones.map(|zones| (zones.source.to_owned(), zones.dest.to_owned())),
            cluster: origin.cluster.to_owned(),
            node: origin.node.to_owned(),
            id: origin.id,
            offset: origin.offset,
            read_at_ms: origin.read_at_ms,
            class,
            lines: 1,
            first_epoch: epoch,
        }
    }

    fn fold(&mut self, flow: &Flow<'_>) {
        let mine = &mut self.flow;
        self.lines += 1;
        mine.start_time = match (mine.start_time, flow.start_time) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        mine.end_time = mine.end_time.max(flow.end_time);
        mine.timestamp_ms = mine.timestamp_ms.max(flow.timestamp_ms);
        mine.num_flows = Some(connections(mine).saturating_add(connections(flow)));
        for (mine, other) in [
            (&mut mine.bytes_in, flow.bytes_in),
            (&mut mine.bytes_out, flow.bytes_out),
            (&mut mine.packets_in, flow.packets_in),
            (&mut mine.packets_out, flow.packets_out),
            (&mut mine.num_flows_started, flow.num_flows_started),
            (&mut mine.num_flows_completed, flow.num_flows_completed),
        ] {
            // Not known of any is not known of all.
            if let Some(other) = other {
                *mine = Some(mine.unwrap_or(0).saturating_add(other));
            }
        }
        agree_end(&mut mine.source, &flow.source);
        agree_end(&mut mine.dest, &flow.dest);
        agree_text(&mut mine.service.namespace, &flow.service.namespace);
        agree_text(&mut mine.service.name, &flow.service.name);
        agree_text(&mut mine.service.port_name, &flow.service.port_name);
        agree(&mut mine.service.port, &flow.service.port);
        agree(&mut mine.protocol, &flow.protocol);
        agree_text(&mut mine.process.name, &flow.process.name);
        agree_text(&mut mine.host, &flow.host);
        if mine.dest_domains.first().map(AsRef::as_ref) != flow.dest_domains.first().map(AsRef::as_ref) {
            mine.dest_domains.clear();
        }
        let deciding = flow.decided_by();
        if mine.policies.enforced.first().map(AsRef::as_ref) != deciding {
            mine.policies.enforced.clear();
        }
    }
}

fn connections(flow: &Flow<'_>) -> u64 {
    flow.num_flows.unwrap_or(1).max(1)
}

fn agree<T: PartialEq>(mine: &mut Option<T>, other: &Option<T>) {
    if mine != other {
        *mine = None;
    }
}

fn agree_text(mine: &mut Option<Text<'static>>, other: &Option<Text<'_>>) {
    if mine.as_deref() != other.as_deref() {
        *mine = None;
    }
}

fn agree_end(mine: &mut End<'static>, other: &End<'_>) {
    agree(&mut mine.ip, &other.ip);
    agree(&mut mine.port, &other.port);
    agree(&mut mine.kind, &other.kind);
    agree_text(&mut mine.name, &other.name);
    agree_text(&mut mine.name_aggr, &other.name_aggr);
    agree_text(&mut mine.namespace, &other.namespace);
}

/// What a record is made of, without what it borrows.
fn own(flow: &Flow<'_>) -> Flow<'static> {
    let text = |text: &Option<Text<'_>>| text.as_deref().map(|text| Text::Owned(text.to_owned()));
    let end = |end: &End<'_>| End {
        ip: end.ip,
        port: end.port,
        name: text(&end.name),
        name_aggr: text(&end.name_aggr),
        namespace: text(&end.namespace),
        kind: end.kind,
        labels: Vec::new(),
    };
    let one = |text: Option<&str>| text.map(|text| Text::Owned(text.to_owned())).into_iter().collect();
    Flow {
        start_time: flow.start_time,
        end_time: flow.end_time,
        timestamp_ms: flow.timestamp_ms,
        source: end(&flow.source),
        dest: end(&flow.dest),
        service: Service {
            namespace: text(&flow.service.namespace),
            name: text(&flow.service.name),
            port_name: text(&flow.service.port_name),
            port: flow.service.port,
        },
        dest_domains: one(flow.dest_domains.first().map(AsRef::as_ref)),
        nat_outgoing_ports: Vec::new(),
        protocol: flow.protocol,
        action: flow.action,
        reporter: flow.reporter,
        policies: Policies { enforced: one(flow.decided_by()), ..Policies::default() },
        bytes_in: flow.bytes_in,
        bytes_out: flow.bytes_out,
        packets_in: flow.packets_in,
        packets_out: flow.packets_out,
        num_flows: flow.num_flows,
        num_flows_started: flow.num_flows_started,
        num_flows_completed: flow.num_flows_completed,
        http_requests_allowed_in: None,
        http_requests_denied_in: None,
        process: Process { name: text(&flow.process.name), ..Process::default() },
        original_source_ips: Vec::new(),
        num_original_source_ips: None,
        tcp: TcpStats::default(),
        host: text(&flow.host),
        escape_free: flow.escape_free,
        extra: Vec::new(),
    }
}

#[derive(Debug)]
pub struct Folder {
    by: Vec<Key>,
    windows: Windows<Folded>,
    scratch: Vec<u8>,
}

impl Folder {
    pub fn new(config: Aggregate) -> Self {
        let span = Span { window: config.window, grace: config.grace, most: config.max_keys };
        Self { by: config.by, windows: Windows::new(span), scratch: Vec::new() }
    }

    /// Folds a flow in. `epoch`: of the caller's batches, that which the line stands in. Gives the window that had to
    /// close for it.
    pub fn add(
        &mut self,
        event: &Event<'_>,
        flow: &Flow<'_>,
        class: usize,
        time_ms: i64,
        (now, now_ms): (Instant, i64),
        epoch: u64,
    ) -> Option<Folded> {
        let begin = self.windows.begin_of(time_ms);
        self.windows.see(time_ms, now_ms);
        self.scratch.clear();
        let fixed = [Key::SourceZone, Key::DestZone, Key::Verdict];
        put_all(&fixed, event, flow, &mut self.scratch);
        put_all(&self.by, event, flow, &mut self.scratch);
        let seat = flow.reporter.map(Reporter::seat).map_or(0, |seat| seat as u8 + 1);
        self.scratch.push(seat);
        self.scratch.extend_from_slice(&(class as u64).to_be_bytes());
        self.scratch.extend_from_slice(&begin.to_be_bytes());
        if let Some(folded) = self.windows.get(&self.scratch) {
            folded.fold(flow);
            return None;
        }
        let early = if self.windows.is_full() { self.windows.pop_early() } else { None };
        self.windows.insert(&self.scratch, begin, now, Folded::new(event, flow, class, epoch));
        early.map(|closed| closed.value)
    }

    pub fn pop_due(&mut self, now: Instant) -> Option<Folded> {
        self.windows.pop_due(now).map(|closed: Closed<Folded>| closed.value)
    }

    /// Any, since all must go.
    pub fn pop(&mut self) -> Option<Folded> {
        self.windows.pop_oldest().map(|closed| closed.value)
    }

    /// The earliest of the caller's batches of which a line is in an open window.
    pub fn first_epoch(&self) -> Option<u64> {
        // Windows are opened in the order of the batches.
        self.windows.oldest().map(|folded| folded.first_epoch)
    }

    pub fn clear(&mut self) {
        self.windows.clear();
    }

    pub fn open(&self) -> usize {
        self.windows.len()
    }

    /// Windows that closed before their time, for want of room.
    pub fn early(&self) -> u64 {
        self.windows.early()
    }
}

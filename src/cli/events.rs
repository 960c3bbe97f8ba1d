//! From lines to the events that the lanes make of them, for verbs that read a stream and not a source.

use super::Exit;
use super::lines::Line;
use crate::decode::decode;
use crate::model::{Body, Event, FileKey, LineId, Origin, RawLine, filler};
use crate::zone;

/// Events of one stream. Ids are those that the agent gives the same lines of a file that begins alike.
pub struct Events<'a> {
    pub zones: Option<&'a zone::Table>,
    pub cluster: &'a str,
    pub node: &'a str,
    /// Known from the first line on.
    key: Option<FileKey>,
    scratch: String,
    looks: zone::Cache,
}

impl<'a> Events<'a> {
    pub fn new(zones: Option<&'a zone::Table>, cluster: &'a str, node: &'a str) -> Self {
        Self { zones, cluster, node, key: None, scratch: String::new(), looks: zone::Cache::default() }
    }

    /// Gives the event of a line to `take`, which answers whether it has a place for it; what has none is told. Blank
    /// lines are not read.
    pub fn line(&mut self, line: &Line<'_>, complaints: &mut Complaints, mut take: impl FnMut(&Event<'_>) -> bool) {
        match *line {
            Line::Whole { offset, bytes } => {
                let key = *self.key.get_or_insert_with(|| FileKey::new(self.cluster, self.node, bytes));
                let hole = filler(bytes);
                if !bytes[hole..].trim_ascii().is_empty() {
                    self.whole(key, offset + hole as u64, &bytes[hole..], complaints, &mut take);
                }
            }
            Line::TooLong { offset, bytes, head } => {
                self.key.get_or_insert_with(|| FileKey::new(self.cluster, self.node, head));
                complaints.add(offset, format_args!("the line has {bytes} bytes, more than 1 MiB"));
            }
        }
    }

    fn whole(
        &mut self,
        key: FileKey,
        offset: u64,
        bytes: &[u8],
        complaints: &mut Complaints,
        take: &mut impl FnMut(&Event<'_>) -> bool,
    ) {
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
                let zones = self.zones.map(|table| table.classify_with(&flow, &mut self.looks));
                take(&Event { origin: origin(flow.end_time), body: Body::Flow(&flow), zones });
            }
            Err(error) => {
                let message = error.message.clone();
                let raw = RawLine {
                    original: String::from_utf8_lossy(bytes),
                    error_type: error.kind,
                    error_message: error.message,
                };
                if !take(&Event { origin: origin(None), body: Body::Raw(&raw), zones: None }) {
                    complaints.add(offset, format_args!("no flow: {message}"));
                }
            }
        }
    }
}

/// Lines that were skipped: the first few are told, all are counted.
#[derive(Debug, Default)]
pub struct Complaints {
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

    pub fn end(&self) -> Exit {
        if self.count > TOLD {
            eprintln!("skipped {} lines, of which the first {TOLD} are told above", self.count);
        }
        if self.count == 0 { Exit::Done } else { Exit::Partial }
    }
}

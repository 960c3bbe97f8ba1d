//! Event objects that are sent as they stand: those of dead letters. No filter, no class, no window.

use std::sync::Arc;

use super::writer::Writer;
use crate::lane::{Before, Fill, Memory, Sink, Taken, Ticket};
use crate::model::{Body, Event};
use crate::sink::siem::{RecordWriter as _, Seal};

pub struct Verbatim {
    writer: Writer,
    /// How many batches there were.
    epoch: u64,
}

impl Verbatim {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, epoch: 0 }
    }
}

impl Sink for Verbatim {
    fn recall(&mut self, _memory: Memory) {}

    fn note(&self) -> Option<Arc<str>> {
        None
    }

    fn add(&mut self, event: &Event<'_>, _before: Before) -> Taken {
        let Body::Raw(raw) = event.body else { return Taken::Filtered };
        self.writer.put(event.origin.id, &raw.original);
        Taken::Kept
    }

    fn fill(&self) -> Fill {
        Fill { lines: self.writer.records(), full: self.writer.is_full() }
    }

    fn seal(&mut self, ticket: Ticket) -> usize {
        self.epoch += 1;
        let (lines, epoch) = (self.writer.records() as u64, self.epoch);
        self.writer.hand_over(Seal { ticket: Some(ticket), lines, epoch, release: epoch })
    }

    fn abandon(&mut self) {
        self.writer.abandon();
    }

    fn finish(&mut self) {
        self.writer.finish();
    }

    fn in_flight_limit(&self) -> usize {
        if self.writer.has_room() { usize::MAX } else { 0 }
    }
}

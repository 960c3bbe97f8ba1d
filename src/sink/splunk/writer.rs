//! The lane thread's half, as far as it is the collector's: event objects, compressed as they come.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{mpsc, oneshot};

use super::batch::Builder;
use super::event::Encoder;
use super::task::{Batch, Command};
use super::{BATCH_OVERHEAD, Config, Stats};
use crate::encode::record::own::Report;
use crate::encode::record::{Class, Marks};
use crate::model::{Event, FileKey, Flow, LineId};
use crate::sink::limits::Limits;
use crate::sink::siem::{self, LaneHalf, RecordWriter, Seal};

/// The lane thread's half.
pub type Splunk = LaneHalf<Writer>;

pub struct Writer {
    encoder: Encoder,
    builder: Builder,
    /// Events of flows in the open batch.
    flows: usize,
    /// The highest number of a record of our own in it.
    own: u64,
    /// Records of our own so far.
    said: u64,
    /// Unbounded, because a lane must not wait for it; what bounds it is [`RecordWriter::has_room`], and that every batch
    /// counts for at least [`BATCH_OVERHEAD`].
    commands: mpsc::UnboundedSender<Command>,
    stats: Arc<Stats>,
    in_flight_limit: usize,
    /// Its drop tells the task that nobody is left.
    _alive: oneshot::Sender<()>,
}

impl Splunk {
    pub(super) fn new(
        config: &Config,
        limits: Arc<Limits>,
        commands: mpsc::UnboundedSender<Command>,
        stats: Arc<Stats>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let writer = Writer {
            encoder: config.encoder(),
            builder: Builder::new(config.compression, limits),
            flows: 0,
            own: 0,
            said: 0,
            commands,
            stats,
            in_flight_limit: config.in_flight_bytes,
            _alive: alive,
        };
        let classes = Arc::clone(&config.cef.classes);
        Self::of(writer, config.filter.clone(), classes, &config.rates, config.status.clone())
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.writer.stats)
    }
}

impl Writer {
    /// Puts an event object as it stands behind what stands in the open batch.
    pub(super) fn put(&mut self, id: LineId, object: &str) {
        self.flows += 1;
        self.builder.add(id, 1, |out| out.extend_from_slice(object.as_bytes()));
    }

    /// A lane whose task has died settles nothing any more; the process ends by the task's own panic.
    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl RecordWriter for Writer {
    /// What stands in `event`, before compression.
    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, marks: Marks, lines: u64) -> usize {
        self.flows += 1;
        let encoder = &mut self.encoder;
        self.builder.add(event.origin.id, lines, |out| encoder.encode(event, flow, class, marks, out))
    }

    /// The id stays here, for a dead letter: the event has none.
    fn say(&mut self, report: &Report<'_>, number: u64) {
        let id = LineId::new(Some(report.time_ms / 1000), FileKey::default(), self.said, b"");
        self.said += 1;
        let encoder = &mut self.encoder;
        self.builder.add(id, 0, |out| encoder.encode_own(report, out));
        self.own = self.own.max(number);
    }

    fn records(&self) -> usize {
        self.builder.events()
    }

    fn is_full(&self) -> bool {
        self.builder.is_full()
    }

    fn has_room(&self) -> bool {
        self.stats.held_bytes.load(Relaxed) < self.in_flight_limit
    }

    /// The compressed length, and a little for the batch itself.
    fn hand_over(&mut self, seal: Seal) -> usize {
        self.stats.truncated.store(self.encoder.truncated(), Relaxed);
        self.stats.sanitised.store(self.encoder.sanitised(), Relaxed);
        let sealed = self.builder.seal();
        let bytes = sealed.body().len() + BATCH_OVERHEAD;
        self.stats.held_bytes.fetch_add(bytes, Relaxed);
        let (flows, own) = (std::mem::take(&mut self.flows), std::mem::take(&mut self.own));
        self.tell(Command::Send(Batch { seal, sealed, flows: flows > 0, own, bytes }));
        bytes
    }

    /// What was handed over stays with the task, which never loses it.
    fn abandon(&mut self) {
        (self.flows, self.own) = (0, 0);
        self.builder.abandon();
    }

    fn finish(&mut self) {
        self.tell(Command::Finish);
    }

    fn is_connected(&self) -> bool {
        self.stats.takes_events()
    }

    fn stats(&self) -> &siem::Stats {
        &self.stats.siem
    }
}

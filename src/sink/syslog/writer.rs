//! The lane thread's half, as far as it is syslog's: messages in one buffer a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as std_mpsc;

use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::header::{HeaderWriter, STATUS};
use super::task::Command;
use super::{BATCH_BYTES, Config, Stats, UNSENT_LIMIT};
use crate::encode::record::own::Report;
use crate::encode::record::{self, Class, Encoder, Frame, Marks};
use crate::model::{Event, Flow};
use crate::sink::siem::{self, LaneHalf, RecordWriter, Seal};

/// The lane thread's half.
pub type Syslog = LaneHalf<Writer>;

#[derive(Debug)]
pub struct Writer {
    encoder: Encoder,
    header: HeaderWriter,
    max_message: usize,
    pub(super) sequence: u32,
    open: Batch,
    commands: mpsc::UnboundedSender<Command>,
    /// Buffers of batches that were written.
    spares: std_mpsc::Receiver<Batch>,
    pub(super) stats: Arc<Stats>,
    /// Its drop tells the task that nobody is left.
    _alive: oneshot::Sender<()>,
}

/// RFC 5424 §7.3.1: `sequenceId` begins again with 1 after this.
pub(super) const LAST_SEQUENCE: u32 = i32::MAX.unsigned_abs();

impl Syslog {
    pub(super) fn new(
        config: &Config,
        commands: mpsc::UnboundedSender<Command>,
        spares: std_mpsc::Receiver<Batch>,
        stats: Arc<Stats>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let writer = Writer {
            encoder: Encoder::new(config.record.clone()),
            header: config.header_writer(),
            max_message: config.max_message(),
            sequence: 0,
            open: Batch::default(),
            commands,
            spares,
            stats,
            _alive: alive,
        };
        let classes = Arc::clone(&config.record.classes);
        Self::of(writer, config.filter.clone(), classes, &config.rates, config.status.clone())
    }

    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.writer.stats)
    }
}

impl Writer {
    fn next_sequence(&mut self) -> u32 {
        self.sequence = if self.sequence >= LAST_SEQUENCE { 1 } else { self.sequence + 1 };
        self.sequence
    }

    /// A lane whose task has died settles nothing any more; the process ends by the task's own panic.
    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl RecordWriter for Writer {
    /// Header and record, without the transport's framing.
    fn write(&mut self, event: &Event<'_>, flow: &Flow<'_>, class: &Class, marks: Marks, _lines: u64) -> usize {
        let sequence = self.next_sequence();
        let batch = &mut self.open;
        let start = batch.bytes.len();
        let time = record::event_time_ms(event);
        let sequence = self.header.write(&mut batch.bytes, class.syslog_severity, time, sequence);
        let header = batch.bytes.len() - start;
        let frame = Frame { budget: self.max_message.saturating_sub(header), sequence };
        self.encoder.encode_marked(event, flow, class, frame, marks, &mut batch.bytes);
        batch.ends.push(batch.bytes.len());
        batch.flows += 1;
        batch.bytes.len() - start
    }

    fn say(&mut self, report: &Report<'_>, number: u64) {
        let sequence = self.next_sequence();
        let batch = &mut self.open;
        let start = batch.bytes.len();
        let severity = self.encoder.class_of(&report.what).syslog_severity;
        let sequence = self.header.write_as(STATUS, &mut batch.bytes, severity, Some(report.time_ms), sequence);
        let budget = self.max_message.saturating_sub(batch.bytes.len() - start);
        self.encoder.write_own(report, Frame { budget, sequence }, &mut batch.bytes);
        batch.ends.push(batch.bytes.len());
        batch.own = batch.own.max(number);
    }

    fn records(&self) -> usize {
        self.open.records()
    }

    fn is_full(&self) -> bool {
        self.open.bytes.len() + self.max_message > BATCH_BYTES
    }

    /// What was written costs no memory any more, although it is settled only when its window has passed: so there is no
    /// bound on it, and all the more on what is not written.
    fn has_room(&self) -> bool {
        self.stats.unsent_bytes.load(Relaxed) < UNSENT_LIMIT
    }

    fn hand_over(&mut self, seal: Seal) -> usize {
        self.stats.truncated.store(self.encoder.truncated(), Relaxed);
        self.stats.sanitised.store(self.encoder.sanitised(), Relaxed);
        let mut batch = std::mem::replace(&mut self.open, self.spares.try_recv().unwrap_or_default());
        batch.seal = seal;
        let bytes = batch.bytes.len();
        self.stats.unsent_bytes.fetch_add(bytes, Relaxed);
        self.tell(Command::Send(batch));
        bytes
    }

    fn abandon(&mut self) {
        self.open.clear();
        self.tell(Command::Abandon);
    }

    fn finish(&mut self) {
        self.tell(Command::Finish);
    }

    fn is_connected(&self) -> bool {
        self.stats.current().is_some()
    }

    fn stats(&self) -> &siem::Stats {
        &self.stats.siem
    }
}

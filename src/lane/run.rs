//! The loop itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;

use super::ledger::{Counts, Entry, Ledger};
use super::looks::Looks;
use super::{Chunk, LOOK, Mark, Sink, Source, Taken, Ticket, Wake};
use crate::decode::Decoder;
use crate::model::{Body, Event, LineId, Origin, RawLine, filler};
use crate::telemetry::{Health, LaneStats};
use crate::zone::{Cache, Table};

/// The checkpoint follows what is settled at most this late …
const PERSIST_INTERVAL: Duration = Duration::from_secs(1);
/// … and at most this much input.
const PERSIST_BYTES: u64 = 16 << 20;
/// With a state directory that cannot be written the lane goes on for this much input, then holds. So nothing further
/// behind the last checkpoint's read offset can have been sent.
pub const UNPERSISTED_LIMIT: u64 = 64 << 20;
/// A checkpoint that could not be written is tried again after this time.
const PERSIST_RETRY: Duration = Duration::from_secs(1);
/// Lines without a record for this sink are settled after so many, without waiting for a batch.
const IDLE_LINES: u64 = 10_000;
/// A lane says again that it cannot write its checkpoint after this time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct LaneConfig {
    pub cluster: String,
    pub node: String,
    /// A batch is sealed when its oldest line is this old.
    pub batch_age: Duration,
    /// Read to the end, deliver, end; give up when the peer decides nothing for so long.
    pub once: Option<Duration>,
    /// From [`Wake::Stop`] to the end.
    pub deadline: Duration,
}

/// How a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Everything that was read is settled and the checkpoint says so.
    pub clean: bool,
    /// Last lines without a newline, by file, left unread.
    pub unterminated: Vec<String>,
}

/// The zones of the moment; `None` inside when there are none.
pub type Zones = Arc<ArcSwapOption<Table>>;

pub struct Lane<S, K> {
    pub source: S,
    pub sink: K,
    pub config: LaneConfig,
    pub zones: Zones,
    pub wakes: Receiver<Wake>,
    pub stats: Arc<LaneStats>,
    pub health: Health,
}

/// Lines since the last ticket.
#[derive(Default)]
struct Open {
    marks: Vec<Mark>,
    counts: Counts,
    lines: u64,
    /// When the first of them was read, and when the files had been looked at before: none of them was there then.
    since: Option<Instant>,
    unseen: Option<Instant>,
}

impl Open {
    fn begin(&mut self, looked_before: Instant) {
        self.since.get_or_insert_with(Instant::now);
        self.unseen.get_or_insert(looked_before);
    }
}

struct State {
    ledger: Ledger,
    open: Open,
    next_ticket: u64,
    stopping: Option<Instant>,
    rewound: bool,
    finished: bool,
    woken: bool,
    unpersisted: u64,
    persisted_at: Instant,
    persist_failed: Option<Instant>,
    looks: Looks,
    /// Nothing is open, in flight or unsaid: the lane waits for a word.
    rests: bool,
    /// When the peer last decided something.
    progress_at: Instant,
    /// After a rewind: lines of a file that begin before this offset are counted as read already.
    counted: HashMap<u32, u64>,
    decoder: Decoder,
    zone_cache: Cache,
    scratch: String,
}

impl<S: Source, K: Sink> Lane<S, K> {
    /// Runs until [`Wake::Stop`], or to the end of what is there when `once`.
    pub fn run(mut self) -> Ended {
        let now = Instant::now();
        let mut state = State {
            ledger: Ledger::default(),
            open: Open::default(),
            next_ticket: 0,
            stopping: None,
            rewound: false,
            finished: false,
            woken: true,
            unpersisted: 0,
            persisted_at: now,
            persist_failed: None,
            looks: Looks::new(now, self.config.batch_age),
            rests: false,
            progress_at: now,
            counted: HashMap::new(),
            decoder: Decoder::default(),
            zone_cache: Cache::default(),
            scratch: String::new(),
        };
        self.health.good(self.stats.name());
        self.sink.recall(self.source.memory());
        let mut chunk = Chunk::default();
        let mut drained = false;
        while !drained && !self.given_up(&state) {
            self.attend(&mut state, Duration::ZERO);
            if state.stopping.is_some() {
                break;
            }
            self.keep_house(&mut state);
            if !self.has_room(&state) {
                self.attend(&mut state, LOOK);
                self.tend(&mut state);
                continue;
            }
            if std::mem::take(&mut state.woken) || self.next_look(&state) <= Instant::now() {
                state.looks.look(Instant::now());
                self.source.wake();
            }
            if self.source.next(&mut chunk) {
                self.process(&chunk, &mut state);
            } else if self.config.once.is_some() && !state.woken {
                drained = self.drain(&mut state);
            } else {
                self.all_is_read(&mut state);
                let wait = self.time_to_act(&state);
                self.attend(&mut state, wait);
            }
        }
        self.end(state, drained)
    }

    /// With `once`: the peer decided nothing for too long.
    fn given_up(&self, state: &State) -> bool {
        let waiting = !state.ledger.is_empty();
        self.config.once.is_some_and(|timeout| waiting && state.progress_at.elapsed() > timeout)
    }

    /// Takes what has come for this lane, waiting for the first at most `wait`.
    fn attend(&mut self, state: &mut State, wait: Duration) {
        let mut next = if wait.is_zero() {
            self.wakes.try_recv().map_err(|_| RecvTimeoutError::Timeout)
        } else {
            self.wakes.recv_timeout(wait)
        };
        while let Ok(wake) = next {
            match wake {
                Wake::Settled(settled) => {
                    state.rests = false;
                    state.progress_at = Instant::now();
                    state.ledger.settle(&settled);
                }
                Wake::Rewind => self.rewind(state),
                Wake::Finished => state.finished = true,
                Wake::Files => state.woken = true,
                // To be awake is all it takes.
                Wake::Room => {}
                Wake::Stop => {
                    state.stopping.get_or_insert_with(Instant::now);
                }
            }
            next = self.wakes.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        // Whoever could wake us is gone: the process is ending.
        if matches!(next, Err(RecvTimeoutError::Disconnected)) {
            state.stopping.get_or_insert_with(Instant::now);
        }
        self.book(state);
    }

    /// Moves the bookmark over everything that is settled without a gap.
    fn book(&mut self, state: &mut State) {
        while let Some((marks, counts)) = state.ledger.pop() {
            for mark in marks {
                self.source.settle(mark);
            }
            self.stats.delivered.fetch_add(counts.delivered, Relaxed);
            self.stats.filtered.fetch_add(counts.filtered, Relaxed);
            self.stats.rejected.fetch_add(counts.rejected, Relaxed);
            self.stats.dropped.fetch_add(counts.dropped, Relaxed);
        }
    }

    fn rewind(&mut self, state: &mut State) {
        self.book(state);
        for mark in state.ledger.clear().into_iter().chain(state.open.marks.drain(..)) {
            let counted = state.counted.entry(mark.file).or_default();
            *counted = mark.offset.max(*counted);
        }
        state.open = Open::default();
        state.rewound = true;
        state.woken = true;
        state.rests = false;
        self.sink.abandon();
        self.source.rewind();
        self.stats.rewinds.fetch_add(1, Relaxed);
    }

    fn has_room(&self, state: &State) -> bool {
        state.ledger.bytes() < self.sink.in_flight_limit() && state.unpersisted < UNPERSISTED_LIMIT
    }

    fn process(&mut self, chunk: &Chunk, state: &mut State) {
        state.rewound = false;
        state.rests = false;
        state.looks.read();
        let zones = self.zones.load_full();
        let read_at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        state.open.begin(state.looks.before());
        let counted = state.counted.get(&chunk.file).copied().unwrap_or(0);
        if chunk.skipped_lines > 0 {
            // A skipped line ends where the chunk begins.
            let new = if chunk.offset > counted { chunk.skipped_lines } else { 0 };
            self.stats.read.fetch_add(new, Relaxed);
            state.open.counts.dropped += chunk.skipped_lines;
            state.open.lines += chunk.skipped_lines;
        }
        let bytes = chunk.bytes();
        let (mut start, mut read) = (0, 0);
        for newline in memchr::memchr_iter(b'\n', bytes) {
            start += filler(&bytes[start..newline]);
            let offset = chunk.offset + start as u64;
            let line = &bytes[start..newline];
            start = newline + 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            read += u64::from(offset >= counted);
            state.open.lines += 1;
            self.offer(chunk, offset, line, zones.as_deref(), read_at_ms, state);
            if self.sink.fill().full {
                self.stats.read.fetch_add(std::mem::take(&mut read), Relaxed);
                note_mark(&mut state.open.marks, chunk.mark(start));
                self.seal(state);
                state.looks.fill();
                if !self.wait_for_room(state) {
                    return;
                }
                state.open.begin(state.looks.before());
            }
        }
        self.stats.read.fetch_add(read, Relaxed);
        self.stats.slow.fetch_add(state.decoder.take_slow(), Relaxed);
        note_mark(&mut state.open.marks, chunk.mark(bytes.len()));
        state.unpersisted += bytes.len() as u64;
        if counted > 0 && chunk.offset + bytes.len() as u64 >= counted {
            state.counted.remove(&chunk.file);
        }
    }

    /// Decodes, classifies and encodes one line.
    fn offer(
        &mut self,
        chunk: &Chunk,
        offset: u64,
        line: &[u8],
        zones: Option<&Table>,
        read_at_ms: i64,
        state: &mut State,
    ) {
        if line.len() > chunk.max_line {
            tracing::warn!(path = %chunk.path, offset_bytes = offset, line_bytes = line.len(),
                "skipped a line that is longer than max_line; it is counted as dropped");
            state.open.counts.dropped += 1;
            return;
        }
        let decoded = state.decoder.decode(line, &mut state.scratch);
        let end_time = decoded.as_ref().ok().and_then(|flow| flow.end_time);
        let origin = Origin {
            cluster: &self.config.cluster,
            node: &self.config.node,
            path: Some(&chunk.path),
            offset,
            id: LineId::new(end_time, chunk.key, offset, line),
            read_at_ms: Some(read_at_ms),
        };
        let taken = match decoded {
            Ok(flow) => {
                if !flow.extra.is_empty() {
                    self.stats.unknown_fields.fetch_add(flow.extra.len() as u64, Relaxed);
                }
                let zones = zones.map(|table| table.classify_with(&flow, &mut state.zone_cache));
                let taken = self.sink.add(&Event { origin, body: Body::Flow(&flow), zones }, chunk.before);
                state.decoder.give_back(flow);
                taken
            }
            Err(error) => {
                self.stats.undecodable.fetch_add(1, Relaxed);
                let raw = RawLine {
                    original: String::from_utf8_lossy(line),
                    error_type: error.kind,
                    error_message: error.message,
                };
                self.sink.add(&Event { origin, body: Body::Raw(&raw), zones: None }, chunk.before)
            }
        };
        state.open.counts.filtered += u64::from(taken == Taken::Filtered);
    }

    /// Closes the ticket of the lines since the last one, if there are any.
    fn seal(&mut self, state: &mut State) {
        if state.open.marks.is_empty() {
            return;
        }
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        let open = std::mem::take(&mut state.open);
        let kept = self.sink.fill().lines > 0;
        let note = self.sink.note();
        let bytes = if kept { self.sink.seal(ticket) } else { 0 };
        state.ledger.push(Entry {
            ticket,
            marks: open.marks,
            counts: open.counts,
            bytes,
            read_at: open.since.unwrap_or_else(Instant::now),
            note,
            settled: !kept,
        });
        self.book(state);
    }

    /// False when the rest of the chunk must be left: a stop or a rewind came.
    fn wait_for_room(&mut self, state: &mut State) -> bool {
        self.attend(state, Duration::ZERO);
        self.keep_house(state);
        while !self.has_room(state) && state.stopping.is_none() && !state.rewound {
            self.attend(state, LOOK);
            self.tend(state);
            self.keep_house(state);
        }
        state.stopping.is_none() && !state.rewound
    }

    /// While the lane may not read: its files are looked at as often as if it did.
    fn tend(&mut self, state: &mut State) {
        if std::mem::take(&mut state.woken) || state.looks.last().elapsed() >= LOOK {
            state.looks.tend(Instant::now());
            self.source.tend();
        }
    }

    /// What is due by time: the open batch, the checkpoint, the numbers.
    fn keep_house(&mut self, state: &mut State) {
        let old = state.open.since.is_some_and(|s| s.elapsed() >= self.config.batch_age);
        let idle = self.sink.fill().lines == 0 && state.open.lines >= IDLE_LINES;
        if old || idle {
            self.seal(state);
        }
        let due = state.persisted_at.elapsed() >= PERSIST_INTERVAL || state.unpersisted >= PERSIST_BYTES;
        let retry = state.persist_failed.is_none() || state.persisted_at.elapsed() >= PERSIST_RETRY;
        if due && retry {
            let written = self.persist(state);
            self.tend_sink(state, self.source.lag_bytes());
            state.rests = written && state.ledger.is_empty() && state.open.marks.is_empty();
        }
    }

    /// Lines that were written right after the look before need not wait for others.
    fn all_is_read(&mut self, state: &mut State) {
        if state.open.unseen.is_some_and(|look| look.elapsed() >= self.config.batch_age) {
            self.seal(state);
        }
        state.looks.drained(self.config.batch_age);
    }

    /// When to look at the files although nobody told of a change.
    fn next_look(&self, state: &State) -> Instant {
        state.looks.next(self.source.due(state.looks.last()))
    }

    fn tend_sink(&mut self, state: &State, lag_bytes: u64) {
        self.stats.lag_bytes.store(lag_bytes, Relaxed);
        let oldest = state.ledger.oldest().map(|entry| entry.read_at).or(state.open.since);
        let oldest = oldest.map_or(0, |at| at.elapsed().as_millis() as u64);
        self.stats.oldest_unsettled_ms.store(oldest, Relaxed);
        self.sink.tend(&self.stats);
    }

    fn persist(&mut self, state: &mut State) -> bool {
        state.persisted_at = Instant::now();
        let note = state.ledger.oldest().map_or_else(|| self.sink.note(), |entry| entry.note.clone());
        match self.source.persist(note.as_deref()) {
            Ok(()) => {
                if state.persist_failed.take().is_some() {
                    tracing::info!(lane = self.stats.name(), "the checkpoint is written again");
                }
                state.unpersisted = 0;
                true
            }
            Err(error) => {
                self.stats.checkpoint_failures.fetch_add(1, Relaxed);
                if state.persist_failed.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                    state.persist_failed = Some(Instant::now());
                    tracing::error!(lane = self.stats.name(), error = %error, limit_bytes = UNPERSISTED_LIMIT,
                        "cannot write the checkpoint; the lane goes on up to the limit, then holds until the state directory can be written");
                }
                false
            }
        }
    }

    /// How long nothing is due.
    fn time_to_act(&self, state: &State) -> Duration {
        let now = Instant::now();
        let batch = state.open.unseen.map(|look| look + self.config.batch_age);
        let other = if state.rests { self.sink.due() } else { Some(now + LOOK) };
        let next = [batch, other].into_iter().flatten().fold(self.next_look(state), Instant::min);
        // Never zero: a wait of zero would turn an idle lane into a spinning one.
        next.saturating_duration_since(now).max(Duration::from_millis(1))
    }

    /// Seals what is open and waits until the sink has settled everything and is closed. False when a rewind came or the
    /// time was up before.
    fn drain(&mut self, state: &mut State) -> bool {
        state.rewound = false;
        state.finished = false;
        self.seal(state);
        // What a sink says of itself at the end comes after all that was read: that is not late any more.
        self.tend_sink(state, self.source.unread_bytes());
        self.sink.finish();
        while !state.finished && !state.rewound && !self.given_up(state) {
            let left = state.stopping.map_or(LOOK, |begun| self.config.deadline.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                break;
            }
            self.attend(state, left.min(LOOK));
            self.tend(state);
            self.keep_house(state);
        }
        state.finished && !state.rewound && state.ledger.is_empty()
    }

    /// Drains up to the deadline and writes the checkpoint. What is not settled then is for the next start.
    fn end(mut self, mut state: State, drained: bool) -> Ended {
        let settled = drained || {
            state.stopping.get_or_insert_with(Instant::now);
            self.drain(&mut state)
        };
        self.source.part();
        let persisted = self.persist(&mut state);
        self.stats.lag_bytes.store(self.source.lag_bytes(), Relaxed);
        self.stats.oldest_unsettled_ms.store(0, Relaxed);
        Ended { clean: settled && persisted, unterminated: self.source.unterminated() }
    }
}

/// One mark a file: the latest.
fn note_mark(marks: &mut Vec<Mark>, mark: Mark) {
    match marks.iter_mut().find(|m| m.file == mark.file) {
        Some(known) => *known = mark,
        None => marks.push(mark),
    }
}

//! The loop against a source and a sink that do what a seed says: settle late, out of order, break, refuse.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::Body;
use crate::telemetry::{Health, LaneStats};

/// Lines in memory; remembers what was settled and persisted.
struct MemorySource {
    text: Vec<u8>,
    read: usize,
    settled: Arc<Mutex<u64>>,
    chunk: usize,
    /// The state directory cannot be written.
    full: Arc<AtomicBool>,
    handed_out: Arc<AtomicU64>,
}

impl Source for MemorySource {
    fn next(&mut self, chunk: &mut Chunk) -> bool {
        let rest = &self.text[self.read..];
        let Some(end) = memchr::memrchr(b'\n', &rest[..rest.len().min(self.chunk)]) else { return false };
        chunk.offset = self.read as u64;
        chunk.skipped_lines = 0;
        chunk.max_line = 1000;
        chunk.buffer = rest[..=end].to_vec();
        chunk.lines = 0..end + 1;
        self.read += end + 1;
        self.handed_out.store(self.read as u64, Relaxed);
        true
    }
    fn wake(&mut self) {}
    fn tend(&mut self) {}
    fn part(&mut self) {}
    fn settle(&mut self, mark: Mark) {
        let mut settled = self.settled.lock().unwrap();
        assert!(mark.offset >= *settled, "the bookmark never goes back");
        *settled = mark.offset;
    }
    fn rewind(&mut self) {
        self.read = *self.settled.lock().unwrap() as usize;
    }
    fn memory(&self) -> Memory {
        Memory::Nothing
    }
    fn persist(&mut self, _note: Option<&str>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.full.load(Relaxed) { Err("the disk is full".into()) } else { Ok(()) }
    }
    fn lag_bytes(&self) -> u64 {
        self.text.len() as u64 - *self.settled.lock().unwrap()
    }
    fn unterminated(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Answers from the script: how many sealed batches to hold back, which to answer first, when to break.
struct ScriptedSink {
    outcomes: Outcomes,
    open: Vec<u64>,
    held: Vec<(Ticket, Vec<u64>)>,
    script: Vec<u8>,
    step: usize,
    seen: Arc<Mutex<BTreeSet<u64>>>,
    rewinds: usize,
}

impl ScriptedSink {
    fn answer(&mut self, index: usize) {
        let (ticket, offsets) = self.held.remove(index);
        let lines = offsets.len() as u64;
        let rejected = lines / 3;
        self.seen.lock().unwrap().extend(offsets);
        self.outcomes.settled(Settled { ticket, delivered: lines - rejected, rejected, dropped: 0 });
    }
}

impl Sink for ScriptedSink {
    fn recall(&mut self, _memory: Memory) {}

    fn note(&self) -> Option<Arc<str>> {
        None
    }

    fn add(&mut self, event: &Event<'_>, _before: Before) -> Taken {
        let Body::Raw(_) = event.body else { panic!("the lines of this test are no flows") };
        if event.origin.offset.is_multiple_of(5) {
            self.seen.lock().unwrap().insert(event.origin.offset);
            return Taken::Filtered;
        }
        self.open.push(event.origin.offset);
        Taken::Kept
    }
    fn fill(&self) -> Fill {
        Fill { lines: self.open.len(), full: self.open.len() >= 7 }
    }
    fn seal(&mut self, ticket: Ticket) -> usize {
        self.held.push((ticket, std::mem::take(&mut self.open)));
        let word = self.script.get(self.step % self.script.len().max(1)).copied().unwrap_or(1);
        self.step += 1;
        match word {
            0 if self.rewinds < 5 => {
                self.rewinds += 1;
                self.held.clear();
                self.outcomes.rewind();
            }
            word => {
                while self.held.len() > usize::from(word % 4) {
                    self.answer(usize::from(word) % self.held.len());
                }
            }
        }
        if self.held.iter().any(|(held, _)| *held == ticket) { 10 } else { 0 }
    }
    fn abandon(&mut self) {
        self.open.clear();
    }
    fn finish(&mut self) {
        while !self.held.is_empty() {
            self.answer(self.held.len() - 1);
        }
        self.outcomes.finished();
    }
    fn in_flight_limit(&self) -> usize {
        1000
    }
}

struct Outcome {
    ended: Ended,
    settled: u64,
    seen: BTreeSet<u64>,
    stats: Arc<LaneStats>,
}

fn run(lines: usize, chunk: usize, script: Vec<u8>, prepare: impl FnOnce(&Sender<Wake>)) -> Outcome {
    let text: Vec<u8> =
        (0..lines).flat_map(|n| format!("line {n}\n{}", if n % 4 == 0 { "\n" } else { "" }).into_bytes()).collect();
    run_over(text, chunk, script, Arc::default(), Arc::default(), prepare)
}

fn run_over(
    text: Vec<u8>,
    chunk: usize,
    script: Vec<u8>,
    full: Arc<AtomicBool>,
    handed_out: Arc<AtomicU64>,
    prepare: impl FnOnce(&Sender<Wake>),
) -> Outcome {
    let (sender, wakes) = channel();
    prepare(&sender);
    let settled = Arc::new(Mutex::new(0));
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let stats = Arc::new(LaneStats::new("test"));
    let lane = Lane {
        source: MemorySource { text, read: 0, settled: settled.clone(), chunk, full, handed_out },
        sink: ScriptedSink {
            outcomes: Outcomes::new(sender),
            open: Vec::new(),
            held: Vec::new(),
            script,
            step: 0,
            seen: seen.clone(),
            rewinds: 0,
        },
        config: LaneConfig {
            cluster: "c".into(),
            node: "n".into(),
            batch_age: Duration::from_secs(1),
            once: Some(Duration::from_secs(10)),
            deadline: Duration::from_secs(10),
        },
        zones: Zones::default(),
        wakes,
        stats: stats.clone(),
        health: Health::default(),
    };
    let ended = lane.run();
    let (settled, seen) = (*settled.lock().unwrap(), seen.lock().unwrap().clone());
    Outcome { ended, settled, seen, stats }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever order the answers come in and however often the connection breaks: every line is seen, the numbers
    /// balance to the line, and the bookmark ends at the end.
    #[test]
    fn every_line_once_in_the_books(lines in 1usize..400, chunk in 20usize..500, script in proptest::collection::vec(0u8..8, 1..20)) {
        let outcome = run(lines, chunk, script, |_| {});
        let s = outcome.stats.snapshot();
        prop_assert_eq!(s.read, lines as u64);
        prop_assert_eq!(s.read, s.delivered + s.filtered + s.rejected + s.dropped);
        prop_assert_eq!(s.in_flight, 0);
        prop_assert_eq!(outcome.seen.len(), lines);
        prop_assert!(outcome.ended.clean);
        prop_assert_eq!(s.lag_bytes, 0);
    }
}

/// With a state directory that cannot be written the lane goes on up to its bound, holds there, and goes on when it can.
#[test]
fn a_full_state_disk_holds_the_lane_at_its_bound() {
    const LINE: usize = 64 << 10;
    // Over-long for the source's limit, so that the lane has little to do with them.
    let lines = UNPERSISTED_LIMIT as usize / LINE + 100;
    let text: Vec<u8> = std::iter::repeat_n([&[b'x'; LINE - 1][..], b"\n"].concat(), lines).flatten().collect();
    let (full, handed_out) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (disk, seen) = (full.clone(), handed_out.clone());
    let lane = std::thread::spawn(move || run_over(text, 4 * LINE, vec![1], disk, seen, |_| {}));
    while handed_out.load(Relaxed) < UNPERSISTED_LIMIT {
        std::thread::yield_now();
    }
    let held_at = handed_out.load(Relaxed);
    assert!(held_at < UNPERSISTED_LIMIT + 4 * LINE as u64, "{held_at}");
    full.store(false, Relaxed);
    let outcome = lane.join().unwrap();
    let s = outcome.stats.snapshot();
    assert_eq!((s.read, s.dropped, s.in_flight), (lines as u64, lines as u64, 0));
    assert!(outcome.stats.checkpoint_failures.load(Relaxed) > 0);
    assert!(outcome.ended.clean);
}

#[test]
fn a_stop_before_the_first_read_ends_cleanly() {
    let outcome = run(100, 50, vec![1], |wakes| wakes.send(Wake::Stop).unwrap());
    assert!(outcome.ended.clean);
    assert_eq!((outcome.settled, outcome.stats.read.load(Relaxed)), (0, 0));
}

/// Nothing to read, and a sink that counts how often it is called.
struct Quiet {
    looks: Arc<AtomicU64>,
    tends: Arc<AtomicU64>,
    /// Both are due after this time.
    due: Duration,
    outcomes: Option<Outcomes>,
}

impl Source for Quiet {
    fn next(&mut self, _chunk: &mut Chunk) -> bool {
        false
    }
    fn wake(&mut self) {
        self.looks.fetch_add(1, Relaxed);
    }
    fn due(&self, looked_at: Instant) -> Instant {
        looked_at + self.due
    }
    fn tend(&mut self) {}
    fn part(&mut self) {}
    fn settle(&mut self, _mark: Mark) {}
    fn rewind(&mut self) {}
    fn memory(&self) -> Memory {
        Memory::Nothing
    }
    fn persist(&mut self, _note: Option<&str>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
    fn lag_bytes(&self) -> u64 {
        0
    }
    fn unterminated(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Sink for Quiet {
    fn recall(&mut self, _memory: Memory) {}
    fn note(&self) -> Option<Arc<str>> {
        None
    }
    fn add(&mut self, _event: &Event<'_>, _before: Before) -> Taken {
        Taken::Filtered
    }
    fn fill(&self) -> Fill {
        Fill::default()
    }
    fn seal(&mut self, _ticket: Ticket) -> usize {
        0
    }
    fn abandon(&mut self) {}
    fn tend(&mut self, _numbers: &LaneStats) {
        self.tends.fetch_add(1, Relaxed);
    }
    fn due(&self) -> Option<Instant> {
        Some(Instant::now() + self.due)
    }
    fn finish(&mut self) {
        self.outcomes.iter().for_each(Outcomes::finished);
    }
    fn in_flight_limit(&self) -> usize {
        1
    }
}

/// A lane with nothing to do for 2.5 s: how often does it look at its files, and call its sink?
fn at_rest(due: Duration) -> (u64, u64) {
    let (sender, wakes) = channel();
    let (looks, tends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let half = |outcomes| Quiet { looks: looks.clone(), tends: tends.clone(), due, outcomes };
    let lane = Lane {
        source: half(None),
        sink: half(Some(Outcomes::new(sender.clone()))),
        config: LaneConfig {
            cluster: "c".into(),
            node: "n".into(),
            batch_age: Duration::from_secs(1),
            once: None,
            deadline: Duration::from_secs(10),
        },
        zones: Zones::default(),
        wakes,
        stats: Arc::new(LaneStats::new("test")),
        health: Health::default(),
    };
    let lane = std::thread::spawn(move || lane.run());
    std::thread::sleep(Duration::from_millis(2500));
    let counts = (looks.load(Relaxed), tends.load(Relaxed));
    sender.send(Wake::Files).unwrap();
    sender.send(Wake::Stop).unwrap();
    assert!(lane.join().unwrap().clean);
    counts
}

#[test]
fn a_lane_that_rests_waits_for_what_is_due() {
    // At the start, and once more when everything is seen to be done.
    assert_eq!(at_rest(Duration::from_secs(3600)), (1, 1));
    let (looks, tends) = at_rest(LOOK);
    assert!((2..=3).contains(&looks) && (2..=3).contains(&tends), "{looks} looks, {tends} calls");
}

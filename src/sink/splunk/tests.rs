//! Windows, limits and what we say of ourselves on their way to a collector: however its answers come, sums are those of the
//! flows, and every line is settled exactly once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::batch::Sealed;
use super::task::ledger::{Fate, Ledger};
use super::task::{Batch, Command};
use super::{Config, Format, Splunk, Stats};
use crate::encode::record::{Connections, Filter, Flows};
use crate::lane::{Memory, Outcomes, Sink as _, Taken, Ticket, Wake};
use crate::sink::dead_letter;
use crate::sink::limits::Limits;
use crate::sink::rate::{Eps, Key, Limit, Rates, Why};
use crate::sink::siem::Status;
use crate::sink::siem::traffic::{Line, aggregate, lines, offer, truth};
use crate::telemetry::LaneStats;
use crate::unit::SecretRef;

/// What the lane and the task do between lines.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read,
    Seal,
    /// One of the batches that were handed over is decided, by its place among them; its events in this number of parts.
    Decide(usize, usize),
}

struct World {
    sink: Splunk,
    stats: Arc<Stats>,
    commands: mpsc::UnboundedReceiver<Command>,
    lines: Vec<Line>,
    next: usize,
    next_ticket: u64,
    /// As the task's.
    ledger: Ledger,
    batches: Vec<(u64, Sealed)>,
    /// Every so many-th event is refused for good; 0: none.
    refuses: usize,
    decided: usize,
    settled: Vec<Ticket>,
    /// Delivered, rejected, dropped lines.
    counts: [u64; 3],
    /// Of events that were taken, and of those that were refused: connections and bytes.
    taken: (u64, u64),
    refused: (u64, u64),
    refused_lines: u64,
    events: Vec<Value>,
    _gone: oneshot::Receiver<()>,
}

fn config(rates: Rates) -> Config {
    let letters = dead_letter::Config {
        dir: "/nowhere".into(),
        lane: "t".to_owned(),
        max_size: 1,
        when_full: dead_letter::WhenFull::Hold,
    };
    Config {
        filter: Filter { flows: Flows::All, connections: Connections::Both, ..Filter::default() },
        rates,
        // Events are looked at one by one.
        compression: 0,
        ..Config::new("t", vec!["http://h:1".to_owned()], SecretRef::Env("T".to_owned()), letters)
    }
}

impl World {
    fn new(config: &Config, lines: Vec<Line>) -> Self {
        let stats = Arc::new(Stats::new(config.receivers.clone()));
        let (sender, commands) = mpsc::unbounded_channel();
        let (alive, gone) = oneshot::channel();
        let limits = Limits::new(config.batch_bytes, config.batch_events);
        Self {
            sink: Splunk::new(config, limits, sender, Arc::clone(&stats), alive),
            stats,
            commands,
            lines,
            next: 0,
            next_ticket: 0,
            ledger: Ledger::default(),
            batches: Vec::new(),
            refuses: 0,
            decided: 0,
            settled: Vec::new(),
            counts: [0; 3],
            taken: (0, 0),
            refused: (0, 0),
            refused_lines: 0,
            events: Vec::new(),
            _gone: gone,
        }
    }

    fn read(&mut self) -> Option<Taken> {
        let line = *self.lines.get(self.next)?;
        let taken = offer(&mut self.sink, self.next, line);
        self.next += 1;
        self.take();
        Some(taken)
    }

    fn seal(&mut self) {
        if self.sink.fill().lines > 0 {
            self.sink.seal(Ticket(self.next_ticket));
            // As in a lane: some numbers never reach the sink.
            self.next_ticket += 2;
        }
        self.take();
    }

    /// What the task does with what it is handed.
    fn take(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            let Command::Send(Batch { seal, sealed, flows, own, bytes }) = command else { continue };
            let number = self.ledger.push(seal, sealed.events(), flows, own, bytes);
            if sealed.events() > 0 {
                self.batches.push((number, sealed));
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some((_, all)) = self.ledger.settle() {
            for settled in all {
                assert!(!self.settled.contains(&settled.ticket), "{:?} is settled twice", settled.ticket);
                self.settled.push(settled.ticket);
                for (sum, new) in self.counts.iter_mut().zip([settled.delivered, settled.rejected, settled.dropped]) {
                    *sum += new;
                }
            }
        }
    }

    fn decide(&mut self, which: usize, parts: usize) {
        if self.batches.is_empty() {
            return;
        }
        let (number, sealed) = self.batches.remove(which % self.batches.len());
        let mut fates = vec![Fate::default(); parts.max(1)];
        for index in 0..sealed.events() {
            let event: Value = serde_json::from_slice(&sealed.event(index).1).expect("an object");
            let (lines, fate) = (sealed.lines(index), &mut fates[index % parts.max(1)]);
            fate.events += 1;
            self.decided += 1;
            let refused = self.refuses > 0 && self.decided.is_multiple_of(self.refuses);
            let sum = if refused { &mut self.refused } else { &mut self.taken };
            let calico = &event["event"]["calico"];
            sum.0 += calico["num_flows"].as_u64().unwrap_or_default();
            sum.1 += event["event"]["source"]["bytes"].as_u64().unwrap_or_default();
            if refused {
                fate.rejected += lines;
                self.refused_lines += lines;
            }
            self.events.push(event);
        }
        for fate in fates {
            self.ledger.decide(number, fate);
            self.settle();
        }
    }

    fn end(&mut self) {
        while self.read().is_some() {}
        self.seal();
        self.sink.finish();
        self.take();
        while !self.batches.is_empty() {
            self.decide(0, 1);
        }
    }

    fn classes(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["fields"]["signature_id"].as_str()).collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Read),
        2 => Just(Step::Seal),
        3 => (0usize..5, 1usize..4).prop_map(|(which, parts)| Step::Decide(which, parts)),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However many windows are open, in whatever order batches are decided, and whatever the collector refuses.
    #[test]
    fn sums_are_those_of_the_flows(
        lines in lines(),
        steps in steps(),
        keys in 1usize..8,
        refuses in 0usize..4,
        fold in any::<bool>(),
    ) {
        let rates = Rates { aggregate: fold.then(|| aggregate(keys)), ..Rates::default() };
        let mut world = World::new(&config(rates), lines.clone());
        world.refuses = refuses;
        for step in steps {
            match step {
                Step::Read => drop(world.read()),
                Step::Seal => world.seal(),
                Step::Decide(which, parts) => world.decide(which, parts),
            }
        }
        world.end();
        let all = (world.taken.0 + world.refused.0, world.taken.1 + world.refused.1);
        prop_assert_eq!(all, truth(&lines));
        prop_assert_eq!(world.counts, [lines.len() as u64 - world.refused_lines, world.refused_lines, 0]);
        prop_assert!(world.ledger.is_empty() && world.events.len() <= lines.len());
        prop_assert_eq!(world.settled.len() as u64 * 2, world.next_ticket, "every ticket");
    }
}

fn line(who: u8, at: i64) -> Line {
    Line { who, at, bytes: 10 }
}

/// What becomes of each line, by the reason for which it is held back.
#[track_caller]
fn check(rates: Rates, lines: &[Line], kept: usize, held: [u64; 3]) {
    let mut world = World::new(&config(rates), lines.to_vec());
    let taken = std::iter::from_fn(|| world.read()).filter(|taken| *taken == Taken::Kept).count();
    assert_eq!(taken, kept);
    assert_eq!(Why::ALL.map(|why| world.stats.siem.suppressed_by(why)), held);
}

#[test]
fn what_is_held_back_is_counted_by_its_reason() {
    let limit = Limit { per_key: 2, window: Duration::from_secs(60), key: vec![Key::SourceNamespace], max_keys: 2 };
    let [one, two] = [line(0, 5), line(1, 5)];
    check(Rates { limit: Some(limit), ..Rates::default() }, &[one, one, one, two, one], 3, [2, 0, 0]);
    let denied = line(2, 5);
    check(Rates { sample: Some(1_000_000), ..Rates::default() }, &[denied; 50], 50, [0; 3]);
    let eps = Rates { eps: Some(Eps { limit: 1, suppress: true }), ..Rates::default() };
    check(eps, &[one, one, denied, one], 2, [0, 0, 2]);
}

/// A budget that delays stops the reading, and what was handed over costs memory until it is through.
#[test]
fn the_lane_stops_at_its_limits() {
    let delay = Rates { eps: Some(Eps { limit: 1, suppress: false }), ..Rates::default() };
    let mut world = World::new(&config(delay), vec![line(0, 5); 3]);
    assert!(world.sink.in_flight_limit() > 0);
    (0..3).for_each(|_| assert_eq!(world.read(), Some(Taken::Kept)));
    assert_eq!(world.sink.in_flight_limit(), 0, "three of one a second");
    let mut world = World::new(&Config { in_flight_bytes: 10, ..config(Rates::default()) }, vec![line(0, 5)]);
    world.read();
    assert!(world.sink.in_flight_limit() > 0);
    world.seal();
    assert_eq!(world.sink.in_flight_limit(), 0);
}

/// In both formats: start first, the summary of a limit with its window, stop last; none of them is a line.
#[test]
fn what_is_said_of_ourselves() {
    for format in [Format::EcsJson, Format::Cef] {
        let limit = Limit { per_key: 1, window: Duration::from_secs(60), key: vec![Key::SourceNamespace], max_keys: 9 };
        let status = Status { cluster: "c".to_owned(), node: "n".to_owned(), heartbeat: Duration::from_secs(60) };
        let rates = Rates { limit: Some(limit), ..Rates::default() };
        let config = Config { format, status: Some(status), ..config(rates) };
        let mut world = World::new(&config, vec![line(0, 5), line(0, 6), line(0, 7)]);
        world.sink.recall(Memory::Nothing);
        world.end();
        assert_eq!(world.classes(), ["tidegate:start", "flow:allow", "tidegate:suppressed", "tidegate:stop"]);
        assert_eq!((world.counts, world.settled.len()), ([1, 0, 0], 1));
        let told = &world.events[2]["event"];
        match format {
            Format::EcsJson => {
                assert_eq!(
                    (&told["event"]["code"], &told["labels"]["tidegate_count"]),
                    (&"tidegate:suppressed".into(), &"2".into())
                );
                assert_eq!(told["labels"]["tidegate_alike"], "source.namespace=who-0");
            }
            Format::Cef => {
                let record = told.as_str().expect("a record");
                assert!(record.contains("|tidegate:suppressed|") && record.contains(" cnt=2 "), "{record}");
            }
        }
    }
}

/// A collector that takes everything and acknowledges nothing: as many acknowledgements as are asked for are denied.
fn never_indexes() -> String {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut next = 0;
        for mut stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("a second handle"));
            loop {
                let head: Vec<String> =
                    reader.by_ref().lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
                let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { break };
                let length =
                    head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).expect("a body");
                let answer = if path.contains("/ack") {
                    let asked: Value = serde_json::from_slice(&body).expect("a question");
                    let denied =
                        asked["acks"].as_array().expect("numbers").iter().map(|ack| (ack.to_string(), false.into()));
                    serde_json::json!({"acks": denied.collect::<serde_json::Map<_, _>>()})
                } else {
                    next += 1;
                    serde_json::json!({"text": "Success", "code": 0, "ackId": next - 1})
                };
                let answer = answer.to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                if stream.write_all(head.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    format!("http://{address}")
}

/// Nobody acknowledges them: the latest one waits, memory stays where it is, and a stop does not wait for ever.
#[test]
fn heartbeats_do_not_pile_up() {
    const BOUND: usize = 64 << 10;
    let soon = Duration::from_secs(30);
    let beat = Duration::from_millis(10);
    let status = Status { cluster: "c".to_owned(), node: "n".to_owned(), heartbeat: beat };
    let config = Config {
        receivers: vec![never_indexes()],
        token: SecretRef::Env("PATH".to_owned()),
        status: Some(status),
        ack_timeout: Duration::from_millis(100),
        ..config(Rates::default())
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (wake, wakes) = std::sync::mpsc::channel();
    let mut sink = super::sink(config, runtime.handle(), Outcomes::new(wake)).expect("a sink");
    let (stats, numbers) = (sink.stats(), LaneStats::new("siem-t"));
    sink.recall(Memory::Nothing);
    let begun = std::time::Instant::now();
    while stats.siem.discarded.load(Relaxed) < 200 {
        assert!(begun.elapsed() < soon, "{stats:?}");
        sink.tend(&numbers);
        let held = stats.held_bytes.load(Relaxed);
        assert!(held < BOUND, "{held} bytes after {} heartbeats", stats.siem.discarded.load(Relaxed));
        std::thread::yield_now();
    }
    sink.finish();
    let finished = std::iter::from_fn(|| wakes.recv_timeout(soon).ok()).any(|wake| matches!(wake, Wake::Finished));
    assert!(finished && stats.held_bytes.load(Relaxed) == 0, "{stats:?}");
}

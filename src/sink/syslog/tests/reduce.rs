//! Windows against a source that is read again and batches that are settled late: no flow is lost, and every line is settled
//! exactly once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::super::batch::Batch;
use super::super::task::Command;
use super::super::{Config, Stats, Syslog, Target};
use crate::encode::record::{Connections, Filter, Flows};
use crate::lane::{Sink as _, Taken, Ticket};
use crate::sink::rate::{Eps, Key, Limit, Rates, Why};
use crate::sink::siem::traffic::{Line, aggregate, lines, offer, truth};

/// What the lane and the task do between lines.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read,
    Seal,
    /// The oldest batch that was handed over is settled.
    Settle,
    /// The connection breaks.
    Rewind,
}

struct World {
    sink: Syslog,
    commands: mpsc::UnboundedReceiver<Command>,
    lines: Vec<Line>,
    next: usize,
    /// Ticket → lines in it that were kept.
    tickets: VecDeque<(u64, Ticket, u64)>,
    /// Ticket → up to which line it goes.
    ends: BTreeMap<u64, usize>,
    next_ticket: u64,
    batches: VecDeque<Batch>,
    settled: Vec<Ticket>,
    settled_lines: u64,
    /// By who: connections and bytes in settled records.
    seen: BTreeMap<String, (u64, u64)>,
    records: usize,
    _gone: oneshot::Receiver<()>,
}

impl World {
    fn new(rates: Rates, lines: Vec<Line>) -> Self {
        let target = Target::Tcp { host: "h".to_owned(), port: 1 };
        let config = Config {
            filter: Filter { flows: Flows::All, connections: Connections::Both, ..Filter::default() },
            rates,
            ..Config::new("t", target, "n")
        };
        let stats = Arc::new(Stats::new("t", &config.targets));
        let (sender, commands) = mpsc::unbounded_channel();
        let (_, spares) = std::sync::mpsc::channel();
        let (alive, gone) = oneshot::channel();
        Self {
            sink: Syslog::new(&config, sender, spares, stats, alive),
            commands,
            lines,
            next: 0,
            tickets: VecDeque::new(),
            ends: BTreeMap::new(),
            next_ticket: 0,
            batches: VecDeque::new(),
            settled: Vec::new(),
            settled_lines: 0,
            seen: BTreeMap::new(),
            records: 0,
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
            self.ends.insert(self.next_ticket, self.next);
            self.sink.seal(Ticket(self.next_ticket));
            // As in a lane: some numbers never reach the sink.
            self.next_ticket += 2;
        }
        self.take();
    }

    /// What the task does with what it is handed.
    fn take(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            let Command::Send(batch) = command else { continue };
            if let Some(ticket) = batch.seal.ticket {
                self.tickets.push_back((batch.seal.epoch, ticket, batch.seal.lines));
            }
            match (batch.records(), self.batches.back_mut()) {
                (0, Some(last)) => last.seal.release = last.seal.release.max(batch.seal.release),
                (0, None) => self.release(batch.seal.release),
                _ => self.batches.push_back(batch),
            }
        }
    }

    fn release(&mut self, release: u64) {
        while let Some((_, ticket, lines)) = self.tickets.pop_front_if(|(epoch, ..)| *epoch <= release) {
            assert!(!self.settled.contains(&ticket), "{ticket:?} is settled twice");
            self.settled.push(ticket);
            self.settled_lines += lines;
        }
    }

    fn settle(&mut self) {
        let Some(batch) = self.batches.pop_front() else { return };
        for index in 0..batch.records() {
            let text = String::from_utf8(batch.message(index).to_vec()).expect("UTF-8");
            let number = |key: &str| -> u64 {
                let rest = text.split(&format!(" {key}=")).nth(1).unwrap_or_else(|| panic!("no {key} in {text}"));
                rest.split(' ').next().and_then(|text| text.parse().ok()).expect("a number")
            };
            let who = text.split("cs2=").nth(1).map_or("-", |rest| rest.split(' ').next().expect("a word"));
            let seen = self.seen.entry(who.to_owned()).or_default();
            *seen = (seen.0 + number("cnt"), seen.1 + number("in"));
            self.records += 1;
        }
        self.release(batch.seal.release);
    }

    fn rewind(&mut self) {
        self.batches.clear();
        self.tickets.clear();
        self.sink.abandon();
        self.take();
        self.next = self.settled.last().map_or(0, |ticket| self.ends[&ticket.0]);
    }

    fn end(&mut self) {
        while self.read().is_some() {}
        self.seal();
        self.sink.finish();
        self.take();
        while !self.batches.is_empty() {
            self.settle();
        }
    }
}

fn steps(rewinds: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Read),
        2 => Just(Step::Seal),
        2 => Just(Step::Settle),
        1 => Just(if rewinds { Step::Rewind } else { Step::Read }),
    ];
    proptest::collection::vec(step, 0..400)
}

/// Everything that was read, and what was settled of it.
fn play(rates: Rates, lines: Vec<Line>, steps: &[Step]) -> World {
    let mut world = World::new(rates, lines);
    for step in steps {
        match step {
            Step::Read => drop(world.read()),
            Step::Seal => world.seal(),
            Step::Settle => world.settle(),
            Step::Rewind => world.rewind(),
        }
    }
    world.end();
    world
}

fn total(world: &World) -> (u64, u64) {
    world.seen.values().fold((0, 0), |sum, seen| (sum.0 + seen.0, sum.1 + seen.1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Sums over the records are sums over the flows, however many windows are open and however late batches are settled.
    #[test]
    fn sums_are_those_of_the_flows(lines in lines(), steps in steps(false), keys in 1usize..8) {
        let rates = Rates { aggregate: Some(aggregate(keys)), ..Rates::default() };
        let world = play(rates, lines.clone(), &steps);
        prop_assert_eq!(total(&world), truth(&lines));
        prop_assert_eq!(world.settled_lines, lines.len() as u64);
        prop_assert!(world.tickets.is_empty());
        prop_assert!(world.records <= lines.len());
    }

    /// With breaks, what was sent may come again: never less than the truth, and every line is settled exactly once.
    #[test]
    fn nothing_is_lost_when_connections_break(lines in lines(), steps in steps(true), keys in 1usize..8) {
        let rates = Rates { aggregate: Some(aggregate(keys)), ..Rates::default() };
        let world = play(rates, lines.clone(), &steps);
        let (seen, truth) = (total(&world), truth(&lines));
        prop_assert!(seen.0 >= truth.0 && seen.1 >= truth.1, "{:?} of {:?}", seen, truth);
        prop_assert_eq!(world.settled_lines, lines.len() as u64);
        prop_assert!(world.tickets.is_empty());
    }
}

fn line(who: u8, at: i64) -> Line {
    Line { who, at, bytes: 10 }
}

/// What becomes of each line, by the reason for which it is held back.
#[track_caller]
fn check(rates: Rates, lines: &[Line], kept: usize, held: [u64; 3]) {
    let mut world = World::new(rates, lines.to_vec());
    let mut count = 0;
    while let Some(taken) = world.read() {
        count += usize::from(taken == Taken::Kept);
    }
    assert_eq!(count, kept);
    assert_eq!(Why::ALL.map(|why| world.sink.stats().siem.suppressed_by(why)), held);
}

#[test]
fn what_is_held_back_is_counted_by_its_reason() {
    let limit =
        |per_key| Limit { per_key, window: Duration::from_secs(60), key: vec![Key::SourceNamespace], max_keys: 2 };
    let of = |limit: Limit| Rates { limit: Some(limit), ..Rates::default() };
    let [one, two] = [line(0, 5), line(1, 5)];
    check(of(limit(2)), &[one, one, one, two, one], 3, [2, 0, 0]);
    // Another window, another count.
    check(of(limit(1)), &[one, one, line(0, 65), line(0, 66)], 2, [2, 0, 0]);
    // A third key: the oldest is counted anew.
    check(of(limit(1)), &[one, two, line(3, 5), one], 4, [0; 3]);
    // Denials are never sampled and never give way.
    let denied = line(2, 5);
    let sample = Rates { sample: Some(1_000_000), ..Rates::default() };
    check(sample, &[denied; 50], 50, [0; 3]);
    let eps = Rates { eps: Some(Eps { limit: 1, suppress: true }), ..Rates::default() };
    check(eps.clone(), &[denied; 50], 50, [0; 3]);
    let mixed = [one, one, one, denied, one];
    let mut world = World::new(eps, mixed.to_vec());
    let taken: Vec<_> = std::iter::from_fn(|| world.read()).collect();
    assert_eq!(taken[0], Taken::Kept);
    assert_eq!(taken[3], Taken::Kept, "a denial");
    assert!(taken[1..].contains(&Taken::Filtered), "{taken:?}");
}

/// One in so many, the same ones whenever they are read.
#[test]
fn a_sample_is_the_same_again() {
    let lines: Vec<Line> = (0..2000).map(|number| line(0, number)).collect();
    let rates = Rates { sample: Some(10), ..Rates::default() };
    let taken = |()| -> Vec<_> {
        let mut world = World::new(rates.clone(), lines.clone());
        std::iter::from_fn(|| world.read()).collect()
    };
    let first = taken(());
    assert_eq!(first, taken(()));
    let kept = first.iter().filter(|taken| **taken == Taken::Kept).count();
    assert!((140..=260).contains(&kept), "{kept} of 2000 with one in ten");
}

/// What a limit let pass before a break passes again after it.
#[test]
fn a_limit_does_not_eat_what_is_read_again() {
    let limit = Limit { per_key: 3, window: Duration::from_secs(60), key: vec![Key::SourceNamespace], max_keys: 10 };
    let mut world = World::new(Rates { limit: Some(limit), ..Rates::default() }, vec![line(0, 5); 3]);
    for _ in 0..3 {
        while let Some(taken) = world.read() {
            assert_eq!(taken, Taken::Kept);
        }
        world.rewind();
    }
}

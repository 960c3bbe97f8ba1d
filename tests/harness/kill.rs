//! `kill -9` at seeded random points, under full load with rotation and a peer that goes wrong: in the end the ids at the
//! peer are those of the lines that were written, exactly.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::data_stream::DataStream;
use crate::torment::{Agent, Dice, Shared, Writer, arguments, lock, peer, some_fault, wait};

#[derive(Debug, Clone)]
pub struct Options {
    pub kills: u64,
    pub seed: u64,
    /// A rollover between every so-many-th kill and the restart; 0: never.
    pub rollover_every: u64,
    /// Every so-many-th request goes wrong; 0: none.
    pub fault_every: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub kills: u64,
    pub lines: u64,
    pub rotations: u64,
    pub rollovers: u64,
    pub requests: u64,
    pub lookups: u64,
    /// Lines that are nowhere, ids that no line has, second documents of one line.
    pub lost: u64,
    pub foreign: u64,
    pub copies: u64,
    /// Documents that were offered again and refused with 409.
    pub repeats: u64,
    pub peak_rss_kib: u64,
    pub time: Duration,
    /// Of the last `run --once`.
    pub exit: Option<i32>,
}

impl Table {
    pub fn is_exact(&self) -> bool {
        (self.lost, self.foreign, self.copies, self.exit) == (0, 0, 0, Some(0))
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows: [(&str, String); 13] = [
            ("kill -9", self.kills.to_string()),
            ("lines written", self.lines.to_string()),
            ("rotations", self.rotations.to_string()),
            ("rollovers", self.rollovers.to_string()),
            ("bulk requests", self.requests.to_string()),
            ("look-ups (_mget)", self.lookups.to_string()),
            ("lost", self.lost.to_string()),
            ("foreign", self.foreign.to_string()),
            ("second copies", self.copies.to_string()),
            ("offered again, refused with 409", self.repeats.to_string()),
            ("peak RSS, MiB", format!("{:.1}", self.peak_rss_kib as f64 / 1024.0)),
            ("time, s", format!("{:.0}", self.time.as_secs_f64())),
            ("last run --once, exit code", format!("{:?}", self.exit)),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<34}{value:>12}"))
    }
}

/// Where the documents go.
pub trait Target: Send + Sync {
    fn url(&self) -> String;
    /// Of the data stream.
    fn namespace(&self) -> String;
    /// A new write index.
    fn rollover(&self);
    /// Lines that were written and have not arrived.
    fn behind(&self) -> u64;
    /// Bulk requests so far, where that is known.
    fn requests(&self) -> Option<u64>;
    /// No more faults.
    fn calm(&self);
    /// Tells the ledger what there is, and the table the rest.
    fn count(&self, table: &mut Table);
}

struct StandIn {
    peer: DataStream,
    ledger: Shared,
}

impl Target for StandIn {
    fn url(&self) -> String {
        self.peer.urls()[0].clone()
    }

    fn namespace(&self) -> String {
        "default".to_owned()
    }

    fn rollover(&self) {
        self.peer.rollover();
    }

    fn behind(&self) -> u64 {
        lock(&self.ledger).missing() as u64
    }

    fn requests(&self) -> Option<u64> {
        Some(self.peer.requests())
    }

    fn calm(&self) {
        self.peer.answer_well();
    }

    fn count(&self, table: &mut Table) {
        table.requests = self.peer.requests();
        table.lookups = self.peer.lookups();
        table.copies = self.peer.copies();
        table.repeats = self.peer.repeats();
    }
}

/// Against the stand-in.
pub fn torment(program: &Path, dir: &Path, options: &Options) -> io::Result<Table> {
    let ledger = Shared::default();
    let peer = peer(&ledger);
    if options.fault_every > 0 {
        let (mut chaos, every) = (Dice::new(options.seed ^ 0xfa01), options.fault_every);
        peer.set_chaos(move || (chaos.roll(every) == 0).then(|| some_fault(&mut chaos)));
    }
    let target = Arc::new(StandIn { peer, ledger: Arc::clone(&ledger) });
    torment_with(program, dir, options, &ledger, &(target as Arc<dyn Target>))
}

/// Lets the agent live for a while. Sometimes not even until its first request, mostly a few requests long, so that a busy
/// machine has kills in the middle of the work as well; and sometimes beyond a checkpoint, which is at most a second old.
fn live(dice: &mut Dice, target: &dyn Target) {
    let (before, wanted) = (target.requests(), dice.roll(5));
    let long = dice.roll(10) < 3;
    let rest = if long { 1000 + dice.roll(900) } else { dice.roll(200) };
    if let Some(before) = before {
        wait(LONGEST_LIFE, || target.requests() >= Some(before + wanted));
    }
    std::thread::sleep(Duration::from_millis(rest));
}

/// An agent that waits for its peer is not waited for.
const LONGEST_LIFE: Duration = Duration::from_secs(3);

/// Runs the agent and ends it `kills` times.
pub fn torment_with(
    program: &Path,
    dir: &Path,
    options: &Options,
    ledger: &Shared,
    target: &Arc<dyn Target>,
) -> io::Result<Table> {
    let mut dice = Dice::new(options.seed);
    let (logs, state, log) = (dir.join("logs"), dir.join("state"), dir.join("agent.log"));
    std::fs::create_dir_all(&logs)?;
    let arguments = arguments(&logs, &state, &target.url(), &target.namespace());
    let mut table = Table::default();
    let began = Instant::now();
    let load = load(&logs, ledger, target, dice.clone());
    for kill in 1..=options.kills {
        let agent = Agent::start(program, &arguments, &log)?;
        live(&mut dice, target.as_ref());
        table.peak_rss_kib = table.peak_rss_kib.max(agent.memory("VmHWM"));
        agent.kill()?;
        table.kills = kill;
        if options.rollover_every > 0 && kill.is_multiple_of(options.rollover_every) {
            target.rollover();
            table.rollovers += 1;
        }
        if kill.is_multiple_of(100) {
            eprintln!("{kill} kills, {:.0} s, {} lines to come", began.elapsed().as_secs_f64(), target.behind());
        }
    }
    load.stop.store(true, Ordering::SeqCst);
    table.rotations = load.thread.join().expect("no panic")?;
    target.calm();
    let mut once = arguments.clone();
    once.push("--once".to_owned());
    table.exit = Agent::start(program, &once, &log)?.wait()?;
    target.count(&mut table);
    let ledger = lock(ledger);
    table.lines = ledger.written;
    (table.lost, table.foreign, table.time) = (ledger.missing() as u64, ledger.foreign, began.elapsed());
    Ok(table)
}

struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

/// So many lines may be written and not have arrived: beyond, the writer waits, so that a run ends.
const AHEAD: u64 = 20_000;

/// Writes for as long as the agent keeps up, and rotates as it likes. Gives the number of rotations.
fn load(logs: &Path, ledger: &Shared, target: &Arc<dyn Target>, mut dice: Dice) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, target) = (Arc::clone(&stop), Arc::clone(target));
    let mut writer = Writer::new(logs, Arc::clone(ledger));
    let thread = std::thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            if target.behind() > AHEAD {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            writer.write(1 + dice.roll(400))?;
            if dice.roll(6) == 0 {
                writer.rotate()?;
            }
            writer.clean()?;
            std::thread::sleep(Duration::from_millis(dice.roll(12)));
        }
        Ok(writer.rotations)
    });
    Load { stop, thread }
}

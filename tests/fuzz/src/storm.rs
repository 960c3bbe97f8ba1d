//! The targets by the hundred million: inputs made of what such formats trip over, without the cost of coverage.
//!
//! usage: storm TARGET[,TARGET…] EXECUTIONS [SEED]
//!
//! The executions are shared between the targets and all processors. Half of the inputs are changed files of the corpus, half
//! are made of pieces below. What breaks a promise is written to target/fuzz/failures, with its seed in the message, and ends
//! the run.

mod targets;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// So many executions are taken at a time, each batch with a seed of its own.
const BATCH: u64 = 10_000;
/// Inputs are mostly short, and now and then long enough for every cap.
const LONG: usize = 6_000;

/// What separates, escapes, hides or begins something in one of the formats or in the query language.
const PIECES: &[&str] = &[
    "|", "=", "\\", "\"", "]", "[", "^", "\t", "\n", "\r", "\r\n", "\0", " ", "  ", "\\n", "\\=", "\\|", "\\]", "\\\\", "CEF:0|",
    "cef:", "LEEF:2.0|", "leef:1.0|", "@cee: ", "<134>1 ", "[flow@32473", "{", "}", "\":", ",", "\u{85}", "\u{2028}",
    "\u{2029}", "\u{feff}", "\u{200b}", "\u{202e}", "\u{2066}", "\u{e0001}", "\u{fffd}", "\u{1f600}", "\u{301}", "ü", "ß",
    "\u{130}", "ſ", "K", "\u{7f}", "\u{1b}[0m", "rt=", "act=x", " cs1=", "externalId=", "sev=9\t", "devTime=", "-", "\\x7C",
    "password=x", "--token abc", "AKIA0123456789ABCDEF", "eyJhbGciOiJIUzI1NiJ9.e30.x", "a", "web-1", "kube-system", "=a=b",
    "and ", "or ", "not ", "in ", "(", ")", "!=", "=~", "source.", "dest.", "namespace", "10.0.0.0/8", "::1/64", "~", "*", "?",
    "bytes > 10MiB", "port in (80, 443)", "verdict = deny", "zone = outer -> inner", "'", "\u{0}", "\u{fff9}",
];

struct Pool {
    target: targets::Target,
    corpus: Vec<Vec<u8>>,
}

thread_local! {
    /// Seed and input of what runs now, for the panic hook.
    static INPUT: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(names), Some(count)) = (args.first(), args.get(1).and_then(|count| count.parse::<u64>().ok())) else {
        eprintln!("usage: storm TARGET[,TARGET…] EXECUTIONS [SEED]");
        std::process::exit(2);
    };
    let seed = args.get(2).map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("SEED is a number"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pools: Vec<Pool> = names.split(',').map(|name| pool(name, root)).collect();
    keep_failures(root.join("../../target/fuzz/failures"), names.clone());
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let batches = count.div_ceil(BATCH);
    let begun = Instant::now();
    println!("seed {seed}");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Relaxed);
                    if batch >= batches {
                        return;
                    }
                    let pool = &pools[batch as usize % pools.len()];
                    run(pool, seed ^ batch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    done.fetch_add(BATCH, Relaxed);
                }
            });
        }
        scope.spawn(|| say(&done, batches * BATCH, begun));
    });
    let (executions, seconds) = (done.load(Relaxed), begun.elapsed().as_secs_f64());
    println!("{names}: {executions} executions in {seconds:.0} s, {:.0} a second", executions as f64 / seconds);
}

fn pool(name: &str, root: &Path) -> Pool {
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    let target = found.unwrap_or_else(|| panic!("no target {name}")).1;
    let files = std::fs::read_dir(root.join("corpus").join(name)).expect("a corpus");
    let corpus = files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a file")).collect();
    Pool { target, corpus }
}

fn run(pool: &Pool, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..BATCH {
        INPUT.with_borrow_mut(|(of, input)| {
            *of = seed;
            input.clear();
            make(&mut rng, &pool.corpus, input);
        });
        INPUT.with_borrow(|(_, input)| (pool.target)(input));
    }
}

fn make(rng: &mut Rng, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
    if rng.bool() && !corpus.is_empty() {
        out.extend_from_slice(&corpus[rng.usize(..corpus.len())]);
        for _ in 0..rng.usize(1..8) {
            change(rng, out);
        }
        return;
    }
    out.push(rng.u8(..));
    for field in 0..rng.usize(1..14) {
        if field > 0 {
            out.push(0xff);
        }
        for _ in 0..rng.usize(..6) {
            piece(rng, out);
        }
    }
}

fn piece(rng: &mut Rng, out: &mut Vec<u8>) {
    match rng.u8(..32) {
        0 => out.extend((0..rng.usize(..12)).map(|_| rng.u8(..))),
        1 => {
            let most = if rng.u8(..64) == 0 { LONG } else { 300 };
            let (letter, length) = (rng.u8(b' '..b'~'), rng.usize(..most));
            out.resize(out.len() + length, letter);
        }
        2 => {
            let mut utf8 = [0; 4];
            out.extend_from_slice(rng.char(..).encode_utf8(&mut utf8).as_bytes());
        }
        _ => out.extend_from_slice(PIECES[rng.usize(..PIECES.len())].as_bytes()),
    }
}

fn change(rng: &mut Rng, out: &mut Vec<u8>) {
    let at = rng.usize(..=out.len());
    match rng.u8(..5) {
        0 => out.truncate(at),
        1 if at < out.len() => out[at] ^= 1 << rng.u8(..8),
        2 if at < out.len() => drop(out.remove(at)),
        3 => {
            let (from, to) = (rng.usize(..=out.len()), rng.usize(..=out.len()));
            let copy = out[from.min(to)..from.max(to)].to_vec();
            if out.len() < LONG {
                out.splice(at..at, copy);
            }
        }
        _ => {
            let mut new = Vec::new();
            piece(rng, &mut new);
            out.splice(at..at, new);
        }
    }
}

/// The input of the thread that panics is kept, and the process ends: other threads would go on for hours.
fn keep_failures(folder: PathBuf, names: String) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        INPUT.with_borrow(|(seed, input)| {
            let path = folder.join(format!("storm-{names}-{seed:016x}"));
            let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
            eprintln!("batch seed {seed:#x}; input kept in {}: {kept:?}", path.display());
        });
        std::process::exit(1);
    }));
}

fn say(done: &AtomicU64, all: u64, begun: Instant) {
    let mut said = Instant::now();
    while done.load(Relaxed) < all {
        std::thread::sleep(Duration::from_millis(200));
        if said.elapsed() >= Duration::from_secs(60) {
            said = Instant::now();
            println!("{} of {all} after {:.0} s", done.load(Relaxed), begun.elapsed().as_secs_f64());
        }
    }
}

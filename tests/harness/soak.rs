//! `cargo run --profile quick --example soak -- --minutes 30`: see tests/harness/README.md.

#[path = "../integration/support/data_stream.rs"]
#[allow(dead_code, reason = "the scenarios use more of it")]
mod data_stream;
#[allow(dead_code, reason = "the kill harness uses more of it")]
mod torment;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use data_stream::{DataStream, When};
use torment::{Agent, Dice, Shared, Writer, arguments, lock, peer, some_fault, wait};

/// Half an hour of a busy node: what grows, and whether everything arrives.
#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Flows a second.
    #[arg(long, default_value_t = 5000)]
    rate: u64,
    /// Seconds between rotations, and between faults.
    #[arg(long, default_value_t = 10.0)]
    rotate: f64,
    #[arg(long, default_value_t = 5.0)]
    fault: f64,
    /// Seconds between samples.
    #[arg(long, default_value_t = 10.0)]
    sample: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most growth of memory, in KiB a minute, after the first quarter.
    #[arg(long, default_value_t = 20.0)]
    max_rss_slope: f64,
    /// The agent [default: tidegate beside the examples' folder of this build]
    #[arg(long)]
    agent: Option<PathBuf>,
}

/// One look at the agent.
struct Sample {
    minute: f64,
    rss_kib: u64,
    descriptors: usize,
    lag_bytes: f64,
    delivered: f64,
    behind: usize,
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let program = torment::agent(args.agent.as_deref())?;
    let dir = tempfile::Builder::new().prefix("tidegate-soak-").tempdir()?;
    let (logs, state, log) = (dir.path().join("logs"), dir.path().join("state"), dir.path().join("agent.log"));
    std::fs::create_dir_all(&logs)?;
    let ledger = Shared::default();
    let peer = Arc::new(peer(&ledger));
    let agent = Agent::start(&program, &arguments(&logs, &state, &peer.urls()[0], "default"), &log)?;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write(Writer::new(&logs, Arc::clone(&ledger)), &args, &stop);
    let faulting = trouble(Arc::clone(&peer), &args, &stop);
    let samples = watch(&agent, &args, &ledger);
    stop.store(true, Ordering::SeqCst);
    let (rotations, late) = writing.join().expect("no panic")?;
    let faults = faulting.join().expect("no panic");
    peer.answer_well();
    let arrived = wait(Duration::from_secs(120), || lock(&ledger).missing() == 0);
    let lane =
        |name: &str| agent.metric(&format!("tidegate_lane_{name}{{lane=\"elasticsearch\"}}")).unwrap_or(f64::NAN);
    wait(Duration::from_secs(30), || lane("in_flight_lines") == 0.0);
    let read = lane("read_lines_total");
    let decided: f64 =
        ["delivered", "filtered", "rejected", "dropped"].iter().map(|word| lane(&format!("{word}_lines_total"))).sum();
    let in_flight = lane("in_flight_lines");
    let peak = agent.memory("VmHWM");
    let exit = agent.terminate()?;
    let ledger = lock(&ledger);

    let settled: Vec<_> = samples.iter().skip(samples.len() / 4).collect();
    let rss = slope(settled.iter().map(|s| (s.minute, s.rss_kib as f64)));
    let descriptors = slope(settled.iter().map(|s| (s.minute, s.descriptors as f64)));
    println!();
    for (name, value) in [
        ("lines written", ledger.written.to_string()),
        ("of these late, for want of time of the writer's", late.to_string()),
        ("rotations", rotations.to_string()),
        ("faults", faults.to_string()),
        ("bulk requests", peer.requests().to_string()),
        ("offered again, refused with 409", peer.repeats().to_string()),
        ("lost", ledger.missing().to_string()),
        ("foreign", ledger.foreign.to_string()),
        ("second copies", peer.copies().to_string()),
        ("read, by the metrics", format!("{read:.0}")),
        ("decided, by the metrics", format!("{decided:.0}")),
        ("in flight at the end", format!("{in_flight:.0}")),
        ("peak RSS, MiB", format!("{:.1}", peak as f64 / 1024.0)),
        ("RSS slope, KiB a minute", format!("{rss:.1}")),
        ("descriptors, first and last", format!("{} {}", first(&samples), last(&samples))),
        ("descriptor slope, a minute", format!("{descriptors:.2}")),
        ("exit code", format!("{exit:?}")),
    ] {
        println!("{name:<50}{value:>14}");
    }
    let exact = arrived && ledger.foreign == 0 && peer.copies() == 0 && exit == Some(0);
    let balanced = read == decided + in_flight && read == ledger.written as f64;
    let flat = rss <= args.max_rss_slope && descriptors.abs() < 1.0;
    println!("exact {exact}, balanced {balanced}, flat {flat}");
    Ok(if exact && balanced && flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn first(samples: &[Sample]) -> usize {
    samples.first().map_or(0, |sample| sample.descriptors)
}

fn last(samples: &[Sample]) -> usize {
    samples.last().map_or(0, |sample| sample.descriptors)
}

/// At a steady rate, in twenty pieces a second. Gives the rotations, and the lines that came late.
fn write(mut writer: Writer, args: &Args, stop: &Arc<AtomicBool>) -> JoinHandle<io::Result<(u64, u64)>> {
    let (stop, rate, rotate) = (Arc::clone(stop), args.rate, Duration::from_secs_f64(args.rotate));
    std::thread::spawn(move || {
        let (began, mut written, mut late) = (Instant::now(), 0u64, 0u64);
        let mut rotated_at = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            let piece = due.saturating_sub(written).min(rate);
            if piece > 0 {
                late += piece.saturating_sub(rate / 10);
                writer.write(piece)?;
                written += piece;
            }
            if rotated_at.elapsed() >= rotate {
                writer.rotate()?;
                rotated_at = Instant::now();
            }
            writer.clean()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok((writer.rotations, late))
    })
}

/// A fault that meets no request within this time is over.
const FAULT_LASTS: Duration = Duration::from_secs(1);

/// One fault after the other. Gives the number of those that met a request.
fn trouble(peer: Arc<DataStream>, args: &Args, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
    let (stop, every, mut dice) = (Arc::clone(stop), Duration::from_secs_f64(args.fault), Dice::new(args.seed));
    std::thread::spawn(move || {
        let mut faults = 0;
        while !stop.load(Ordering::SeqCst) {
            peer.answer(some_fault(&mut dice), When::Next(1));
            let began = Instant::now();
            while began.elapsed() < every && !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(50));
                // A passing trouble: it does not wait for an agent that has backed off.
                if began.elapsed() >= FAULT_LASTS && peer.has_fault_waiting() {
                    peer.answer_well();
                    faults -= 1;
                }
            }
            faults += 1;
        }
        faults
    })
}

fn watch(agent: &Agent, args: &Args, ledger: &Shared) -> Vec<Sample> {
    let began = Instant::now();
    let mut samples = Vec::new();
    println!("{:>8} {:>9} {:>6} {:>12} {:>12} {:>9}", "minute", "RSS KiB", "files", "lag bytes", "delivered", "behind");
    while began.elapsed().as_secs_f64() < args.minutes * 60.0 {
        std::thread::sleep(Duration::from_secs_f64(args.sample));
        let lane = |name: &str| agent.metric(&format!("tidegate_lane_{name}{{lane=\"elasticsearch\"}}"));
        let sample = Sample {
            minute: began.elapsed().as_secs_f64() / 60.0,
            rss_kib: agent.memory("VmRSS"),
            descriptors: agent.descriptors(),
            lag_bytes: lane("lag_bytes").unwrap_or(f64::NAN),
            delivered: lane("delivered_lines_total").unwrap_or(f64::NAN),
            behind: lock(ledger).missing(),
        };
        println!(
            "{:>8.2} {:>9} {:>6} {:>12.0} {:>12.0} {:>9}",
            sample.minute, sample.rss_kib, sample.descriptors, sample.lag_bytes, sample.delivered, sample.behind
        );
        samples.push(sample);
    }
    samples
}

/// Of the straight line through the points (least squares).
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = points.clone().count() as f64;
    let mean = |part: fn((f64, f64)) -> f64| points.clone().map(part).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (mut over, mut under) = (0.0, 0.0);
    for (a, b) in points {
        over += (a - x) * (b - y);
        under += (a - x) * (a - x);
    }
    if under > 0.0 { over / under } else { 0.0 }
}

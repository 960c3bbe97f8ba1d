//! The end of a case: what every case is held to, unless its script says otherwise.

use std::collections::BTreeSet;

use serde_json::Value;

use super::script::{Script, Step};
use super::world::{Done, Fail, World, compare};

/// The script's word about something that is judged at the end.
fn expectation<'a>(script: &'a Script, fact: &str) -> Option<&'a Step> {
    script.steps.iter().find(|step| step.verb == "expect" && step.word(0) == fact)
}

/// As the script has it, or by default.
fn held(script: &Script, fact: &str, now: u64, default: Option<u64>, faults: &mut Vec<String>) {
    let (op, wanted) = match (expectation(script, fact), default) {
        (Some(step), _) => (step.word(1), step.word(2).parse().expect("judged before")),
        (None, Some(default)) => ("=", default as f64),
        (None, None) => return,
    };
    if let Err(is) = compare(now as f64, op, wanted) {
        faults.push(format!("{fact}: {is}, not {op} {wanted}"));
    }
}

/// Brings the case to its end and judges it.
pub fn judge(world: &mut World, script: &Script) -> Done {
    let mut faults = Vec::new();
    if world.is_running() {
        if let Err(Fail::Wrong(fault)) = settle(world, script) {
            faults.push(fault);
        }
        balance(world, &mut faults);
        end(world.stop(0), &mut faults);
    }
    // A last look: whatever is left is delivered, and after a clean end there is nothing left.
    let refused = expectation(script, "rejected").is_some() || expectation(script, "dropped").is_some();
    if let Err(Fail::Wrong(fault)) = world.once(&[], 0)
        && !(refused && world.once(&[], 0).is_ok())
    {
        faults.push(fault);
    }
    count(world, script, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(Fail::Wrong(faults.join("; "))) }
}

fn end(done: Done, faults: &mut Vec<String>) {
    if let Err(Fail::Wrong(fault)) = done {
        faults.push(fault);
    }
}

/// Waits until everything that is to arrive has arrived and is decided.
fn settle(world: &mut World, script: &Script) -> Done {
    let may_lack: u64 =
        ["lost", "rejected"].iter().filter_map(|fact| expectation(script, fact)?.word(2).parse::<u64>().ok()).sum();
    let at_least = ["lost", "rejected"].iter().any(|f| expectation(script, f).is_some_and(|s| s.word(1) == ">="));
    world.until("everything is delivered and decided", |world| {
        let lacking = world.book.expected.iter().filter(|id| !world.peer.holds(id)).count() as u64;
        (at_least || lacking <= may_lack)
            && world.metric("tidegate_lane_in_flight_lines{lane=\"elasticsearch\"}") == Some(0.0)
    })
}

/// Decisions 7, as the metrics have it.
fn balance(world: &World, faults: &mut Vec<String>) {
    let lane = "{lane=\"elasticsearch\"}";
    let of = |name: &str| world.metric(&format!("tidegate_lane_{name}{lane}")).unwrap_or(f64::NAN);
    let decided: f64 =
        ["delivered", "filtered", "rejected", "dropped"].iter().map(|word| of(&format!("{word}_lines_total"))).sum();
    let (read, in_flight) = (of("read_lines_total"), of("in_flight_lines"));
    if read != decided + in_flight {
        faults.push(format!("the metrics do not balance: read {read}, decided {decided}, in flight {in_flight}"));
    }
}

/// The numbers of lanes that have ended by themselves, over all starts.
#[derive(Default, Debug)]
struct Sum {
    read: u64,
    decided: u64,
    rejected: u64,
    dropped: u64,
    in_flight: u64,
}

fn sum(world: &World) -> Sum {
    let mut sum = Sum::default();
    let ended = |line: &&str| line.contains("lane ended") && line.contains("\"elasticsearch\"");
    for line in world.said.iter().flat_map(|said| said.lines()).filter(ended) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let of = |key: &str| line[key].as_u64().unwrap_or(0);
        sum.read += of("read_lines");
        sum.decided += of("delivered_lines") + of("filtered_lines") + of("rejected_lines") + of("dropped_lines");
        sum.rejected += of("rejected_lines");
        sum.dropped += of("dropped_lines");
        sum.in_flight += of("in_flight_lines");
    }
    sum
}

fn count(world: &World, script: &Script, faults: &mut Vec<String>) {
    let found: BTreeSet<String> = world.peer.ids().into_iter().collect();
    let letters = letter_ids(&world.letters());
    let expected = &world.book.expected;
    let missing: Vec<_> = expected.difference(&found).collect();
    let (kept, lost): (Vec<&String>, Vec<&String>) = missing.iter().partition(|id| letters.contains(**id));
    let foreign = found.difference(expected).count() as u64;
    let numbers = sum(world);

    held(script, "lost", lost.len() as u64, Some(0), faults);
    held(script, "rejected", kept.len() as u64, Some(0), faults);
    held(script, "foreign", foreign, Some(0), faults);
    held(script, "copies", world.peer.copies(), Some(0), faults);
    held(script, "dropped", numbers.dropped, Some(0), faults);
    // Lines there are to read. What is lost was perhaps read before that.
    let all = expected.len() as u64 + world.book.overlong;
    let there = all - lost.len() as u64;
    let quiet = world.kills == 0;
    held(script, "read-again", numbers.read.saturating_sub(all), quiet.then_some(0), faults);
    let calm = quiet && world.faults == 0 && expectation(script, "read-again").is_none();
    held(script, "refused-again", world.peer.repeats(), calm.then_some(0), faults);
    if quiet && numbers.read < there {
        faults.push(format!("{} lines were read of {there} that are there", numbers.read));
    }
    if numbers.read != numbers.decided + numbers.in_flight {
        faults.push(format!("the last numbers do not balance: {numbers:?}"));
    }
    if world.peer.misplaced() > 0 && expectation(script, "metric").is_none() {
        faults.push(format!("{} documents went into a plain index", world.peer.misplaced()));
    }
    if let Some(siem) = &world.siem {
        let lost = world.book.flows.iter().filter(|id| !siem.holds(id)).count();
        held(script, "siem-lost", lost as u64, Some(0), faults);
    }
    for what in world.peer.unknown() {
        faults.push(format!("the cluster got {what}"));
    }
}

fn letter_ids(letters: &str) -> BTreeSet<String> {
    let id = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned());
    letters.lines().filter_map(id).collect()
}

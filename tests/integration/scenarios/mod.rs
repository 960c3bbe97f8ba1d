//! The life of a node as short scripts: `fixtures/tail/<case>/script` and `fixtures/sink/<case>/script`, one folder a case,
//! run against the built program and peers that go wrong on demand.
//!
//! What every case is held to, unless its script says otherwise: the ids that the cluster holds are those of the lines
//! that were written, by the rule alone, each once; nothing was read twice or offered twice without a reason; the lane's
//! numbers balance; the agent ends well; a last `run --once` finds nothing more to do. `fixtures/tail/README.md` has the
//! words and the list of cases.

mod judge;
mod lines;
mod readme;
mod script;
#[allow(clippy::unit_arg, reason = "a step is one expression, with and without a result")]
mod world;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use script::Script;
use world::{Fail, World};

use crate::support::{root, went_without};

/// Cases at a time: most of their time is waiting.
const AT_A_TIME: usize = 10;
/// At least so many, by the issue that asked for them.
const LEAST: usize = 90;
/// Names cases (parts of names, by commas): only these run, also those that need something. For working on one.
const ONLY: &str = "TIDEGATE_CASE";

pub struct Case {
    pub name: String,
    pub path: PathBuf,
    pub script: Script,
}

/// All cases of an area by name.
///
/// # Panics
/// When a script has a fault; the message has them all.
fn cases(area: &str) -> Vec<Case> {
    let folder = root().join("fixtures").join(area);
    let mut faults = Vec::new();
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder of the cases").map(|entry| entry.expect("an entry")) {
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = Path::new("fixtures").join(area).join(&name).join("script");
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        match script::parse(&path, &text) {
            Ok(script) => cases.push(Case { name, path, script }),
            Err(some) => faults.extend(some),
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// What one case came to.
struct Outcome {
    name: String,
    time: Duration,
    fault: Option<String>,
}

fn run_case(case: &Case) -> Option<String> {
    let mut world = World::new(&case.script);
    let mut at = 0;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for step in &case.script.steps {
            at = step.line;
            world.step(step)?;
        }
        judge::judge(&mut world, &case.script)
    }));
    let what = match result {
        Ok(Ok(())) => return None,
        Ok(Err(Fail::Without(peer, why))) => {
            went_without(peer, &format!("{}: {why}", case.path.display()));
            return None;
        }
        Ok(Err(Fail::Wrong(what))) => what,
        Err(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "a panic".to_owned(),
        },
    };
    Some(format!("{}:{at}: {what}\n{}", case.path.display(), shortened(&world.output())))
}

/// The last lines of what the agent said.
fn shortened(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].iter().map(|line| format!("    {line}\n")).collect()
}

fn run_all(area: &str) {
    let only = std::env::var(ONLY).unwrap_or_default();
    let wanted = |case: &Case| match only.as_str() {
        "" => case.script.needs.is_none(),
        only => only.split(',').any(|part| case.name.contains(part)),
    };
    let cases: Vec<_> = cases(area).into_iter().filter(wanted).collect();
    let queue: Mutex<VecDeque<_>> = Mutex::new(cases.iter().collect());
    let outcomes = Mutex::new(Vec::new());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().expect("no panic").pop_front() else { return };
                    let began = Instant::now();
                    let fault = run_case(case);
                    let outcome = Outcome { name: case.name.clone(), time: began.elapsed(), fault };
                    outcomes.lock().expect("no panic").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.time));
    let slow: Vec<_> = outcomes.iter().take(5).map(|o| format!("{} {:.1} s", o.name, o.time.as_secs_f64())).collect();
    println!("{} cases in {:.1} s; slowest: {}", outcomes.len(), began.elapsed().as_secs_f64(), slow.join(", "));
    let faults: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.fault.as_deref()).collect();
    assert!(faults.is_empty(), "{} of {} cases fail:\n{}", faults.len(), outcomes.len(), faults.join("\n"));
}

#[test]
fn tail() {
    run_all("tail");
}

#[test]
fn sink() {
    run_all("sink");
}

/// A marked case is a promise, not a proof.
#[test]
fn no_case_waits_for_a_feature() {
    let all = ["tail", "sink"].map(cases);
    let waiting = |case: &Case| Some(format!("{} needs: {}", case.path.display(), case.script.needs.as_ref()?));
    let waiting: Vec<_> = all.iter().flatten().filter_map(waiting).collect();
    assert!(
        waiting.is_empty(),
        "not passed, since the feature is not there; remove the line when it is:\n{}",
        waiting.join("\n")
    );
}

#[test]
fn there_are_enough_of_them() {
    let count: usize = ["tail", "sink"].map(|area| cases(area).len()).iter().sum();
    assert!(count >= LEAST, "{count} cases");
}

//! Steps that fail as a test says: by an error, after half of a write, or because the process died there.

use std::io;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::{Disk, Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Error(Errno),
    /// Half of the bytes are written, then the error.
    Short(Errno),
    /// Nothing more happens: not this step, not a later one.
    Crash,
    /// The same, in the middle of a write.
    CrashInWrite,
    /// The same, right after the step.
    CrashAfter,
}

impl Fault {
    pub fn error(self) -> io::Error {
        match self {
            Self::Error(errno) | Self::Short(errno) => errno.into(),
            Self::Crash | Self::CrashInWrite | Self::CrashAfter => io::Error::other("the process is dead"),
        }
    }

    pub fn is_crash(self) -> bool {
        matches!(self, Self::Crash | Self::CrashInWrite | Self::CrashAfter)
    }

    /// How many bytes of a write reach the file.
    pub(super) fn written(self, bytes: usize) -> usize {
        match self {
            Self::Short(_) | Self::CrashInWrite => bytes / 2,
            Self::CrashAfter => bytes,
            Self::Error(_) | Self::Crash => 0,
        }
    }
}

#[derive(Debug)]
struct Plan {
    /// The step that fails: by its number, or every one of a kind.
    at: At,
    fault: Fault,
    seen: Vec<Step>,
    dead: bool,
    mended: bool,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Never,
    Number(usize),
    Every(Step),
}

#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

impl Faults {
    fn new(at: At, fault: Fault) -> Self {
        Self(Arc::new(Mutex::new(Plan { at, fault, seen: Vec::new(), dead: false, mended: false })))
    }

    /// Every step of this kind fails.
    pub fn at(step: Step, fault: Fault) -> Self {
        Self::new(At::Every(step), fault)
    }

    /// The step of this number fails, counted from 0.
    pub fn nth(number: usize, fault: Fault) -> Self {
        Self::new(At::Number(number), fault)
    }

    /// None yet.
    pub fn none() -> Self {
        Self::new(At::Never, Fault::Crash)
    }

    /// The step that comes after so many others from now on fails.
    pub fn strike_after(&self, steps: usize, fault: Fault) {
        let mut plan = self.0.lock().unwrap();
        (plan.at, plan.fault) = (At::Number(plan.seen.len() + steps), fault);
    }

    /// From now on all goes well.
    pub fn mend(&self) {
        self.0.lock().unwrap().mended = true;
    }

    /// Steps until now.
    pub fn seen(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }

    /// What they were.
    pub fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(super) fn strike(&self, step: Step) -> Option<Fault> {
        let mut plan = self.0.lock().unwrap();
        if plan.mended {
            return None;
        }
        if plan.dead {
            return Some(Fault::Crash);
        }
        let hit = match plan.at {
            At::Never => false,
            At::Number(number) => plan.seen.len() == number,
            At::Every(kind) => kind == step,
        };
        plan.seen.push(step);
        plan.dead = hit && plan.fault.is_crash();
        hit.then_some(plan.fault)
    }
}

impl Disk {
    pub fn with(faults: Faults) -> Self {
        Self { faults: Some(faults) }
    }
}

/// Every way in which a step can fail.
pub fn all() -> impl Iterator<Item = Fault> {
    let errors = [Errno::NOSPC, Errno::IO, Errno::ACCESS];
    let faults = errors.map(Fault::Error).into_iter().chain(errors.map(Fault::Short));
    faults.chain([Fault::Crash, Fault::CrashInWrite, Fault::CrashAfter])
}

/// Runs `check` with each fault at each step that it comes to, until it comes to none. It is given the faulty disk and a
/// sound one.
pub fn every_fault(check: impl Fn(&Disk, &Disk)) {
    for fault in all() {
        let mut number = 0;
        loop {
            let faults = Faults::nth(number, fault);
            check(&Disk::with(faults.clone()), &Disk::default());
            if faults.seen() <= number {
                assert!(number >= 4, "the check has come to few steps: {number}");
                break;
            }
            number += 1;
        }
    }
}

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
}

impl Fault {
    pub fn error(self) -> io::Error {
        match self {
            Self::Error(errno) | Self::Short(errno) => errno.into(),
            Self::Crash | Self::CrashInWrite => io::Error::other("the process is dead"),
        }
    }

    pub fn is_short(self) -> bool {
        matches!(self, Self::Short(_) | Self::CrashInWrite)
    }
}

#[derive(Debug)]
struct Plan {
    /// The step that fails: by its number, or every one of a kind.
    at: At,
    fault: Fault,
    seen: usize,
    dead: bool,
    mended: bool,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Number(usize),
    Every(Step),
}

#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

impl Faults {
    fn new(at: At, fault: Fault) -> Self {
        Self(Arc::new(Mutex::new(Plan { at, fault, seen: 0, dead: false, mended: false })))
    }

    /// Every step of this kind fails.
    pub fn at(step: Step, fault: Fault) -> Self {
        Self::new(At::Every(step), fault)
    }

    /// The step of this number fails, counted from 0.
    pub fn nth(number: usize, fault: Fault) -> Self {
        Self::new(At::Number(number), fault)
    }

    /// From now on all goes well.
    pub fn mend(&self) {
        self.0.lock().unwrap().mended = true;
    }

    /// Steps until now.
    pub fn seen(&self) -> usize {
        self.0.lock().unwrap().seen
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
            At::Number(number) => plan.seen == number,
            At::Every(kind) => kind == step,
        };
        plan.seen += 1;
        plan.dead = hit && matches!(plan.fault, Fault::Crash | Fault::CrashInWrite);
        hit.then_some(plan.fault)
    }
}

impl Disk {
    pub fn with(faults: Faults) -> Self {
        Self { faults: Some(faults) }
    }
}

/// Runs `check` with each fault at each step that it comes to, until it comes to none. It is given the faulty disk and a
/// sound one.
pub fn every_fault(check: impl Fn(&Disk, &Disk)) {
    let errors = [Errno::NOSPC, Errno::IO, Errno::ACCESS];
    let faults = errors.map(Fault::Error).into_iter().chain(errors.map(Fault::Short));
    for fault in faults.chain([Fault::Crash, Fault::CrashInWrite]) {
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

//! Where a value comes from, and problems that say so.

use std::fmt;

use serde::Serialize;

use crate::yaml::{Place, Problem};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, as `--listen`.
    Flag(String),
    /// An environment variable.
    Env(String),
    File(Place),
    HostName,
    /// What a SIEM receiver's `profile` stands for.
    Profile(String),
    Default,
}

/// A problem of the configuration, and whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The file, the flag or the environment variable; `None` if nobody gave what is missing.
    pub origin: Option<String>,
    #[serde(flatten)]
    pub problem: Problem,
}

impl Located {
    /// A problem of a file that is not the configuration itself, such as the zones.
    pub fn in_file(file: impl Into<String>, problem: Problem) -> Self {
        Self { origin: Some(file.into()), problem }
    }
}

/// `tidegate.yaml:14:12: sinks.siem[0].timeout: "5" has no unit; write "5s"`, `--listen: …`.
impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.problem.place) {
            (Some(origin), Some(_)) => write!(f, "{origin}:{}", self.problem),
            (Some(origin), None) => write!(f, "{origin}: {}", self.problem),
            (None, _) => self.problem.fmt(f),
        }
    }
}

//! A problem in a text that a user wrote: where it is, what is wrong, what to write instead.

use std::fmt;

use serde::Serialize;

/// Line and column, both from 1; columns count characters, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text works, but probably not as its writer thinks.
    Warning,
}

/// `14:12: sinks.siem[0].timeout: "5" has no unit; write "5s"`. The caller puts the file's name in front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Where in the tree, as `sinks.siem[0].timeout`; empty for the whole text.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    pub fn error(place: Option<Place>, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, path: path.into(), message: message.into() }
    }

    pub fn warning(place: Option<Place>, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, path, message) }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// In the order of the text, problems of the whole text first.
    pub fn sort(problems: &mut [Self]) {
        problems.sort_by_key(|problem| problem.place);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well_and_serialises() {
        let place = Some(Place { line: 14, column: 12 });
        let problem = Problem::error(place, "sinks.siem[0].timeout", r#""5" has no unit; write "5s""#);
        assert_eq!(problem.to_string(), r#"14:12: sinks.siem[0].timeout: "5" has no unit; write "5s""#);
        assert_eq!(Problem::warning(None, "", "odd").to_string(), "warning: odd");
        assert_eq!(
            serde_json::to_string(&Problem::warning(place, "a", "b")).unwrap(),
            r#"{"severity":"warning","line":14,"column":12,"path":"a","message":"b"}"#
        );
        assert_eq!(
            serde_json::to_string(&Problem::error(None, "", "b")).unwrap(),
            r#"{"severity":"error","path":"","message":"b"}"#
        );
    }
}

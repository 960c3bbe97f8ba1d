//! The merged configuration as YAML, each value with its origin behind it.

use std::fmt::Write as _;

use super::load::Loaded;
use super::origin::Origin;
use crate::yaml::{self, Document};

impl Loaded {
    /// The configuration as it is in force, in the order of the schema. It can be loaded again. Secrets are not in it:
    /// a configuration holds only where to find them.
    pub fn print(&self, file: &str) -> Result<String, PrintError> {
        let text = serde_saphyr::to_string(&self.config).map_err(|error| PrintError(error.to_string()))?;
        let document = Document::parse(&text).map_err(|problem| PrintError(problem.to_string()))?;
        let mut notes = vec![None; text.lines().count()];
        note(document.root(), "", &mut |line, path| {
            if let Some(note) = notes.get_mut(line) {
                *note = Some(self.describe(path, file));
            }
        });
        let mut out = String::new();
        for (line, note) in text.lines().zip(notes) {
            let _ = match note {
                Some(note) => writeln!(out, "{line}  # {note}"),
                None => writeln!(out, "{line}"),
            };
        }
        Ok(out)
    }

    fn describe(&self, path: &str, file: &str) -> String {
        match self.origin(path) {
            Origin::Flag(name) => name,
            Origin::Env(name) => format!("environment {name}"),
            Origin::File(place) => format!("{file}:{place}"),
            Origin::Profile(name) => format!("profile {name}"),
            Origin::HostName => "host name".to_owned(),
            Origin::Default => "default".to_owned(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot print the configuration: {0}")]
pub struct PrintError(String);

/// Tells line (from 0) and path of every value that holds no other.
fn note(node: &yaml::Node, path: &str, tell: &mut impl FnMut(usize, &str)) {
    for entry in node.entries() {
        note(&entry.node, &yaml::child(path, &entry.key), tell);
    }
    for (index, item) in node.items().iter().enumerate() {
        note(item, &yaml::index(path, index), tell);
    }
    if node.entries().is_empty() && node.items().is_empty() {
        tell(node.place.line as usize - 1, path);
    }
}

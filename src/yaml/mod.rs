//! What users write, with places: a YAML text as a tree whose nodes know line and column, checked against the JSON
//! Schema of the Rust types it is meant for, so that **all** problems of a text are told at once.
//!
//! The steps: [`Document::parse`], [`Document::check_schema`], the caller's own checks (each problem placed with
//! [`Document::place`]), then [`Document::to`]. A text whose schema check gave no error deserialises, except for what
//! the types check themselves; formats known to the caller join the first round by [`Document::check_schema_with`].
//!
//! YAML 1.2 is meant: `yes`, `no`, `on`, `off` are text. Aliases and merge keys work, within the parser's budgets. A
//! text holds one document.
#![forbid(unsafe_code)]

mod de;
mod nearest;
mod node;
mod path;
mod problem;
mod schema;
mod within;

use serde::de::Deserialize;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Options};

pub use nearest::nearest;
pub use node::{Entry, Node, Value};
pub use path::{child, index};
pub use problem::{Place, Problem, Severity};

/// Larger texts are refused before they are parsed.
pub const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Lists and mappings in each other. Reading them is recursive, and one level costs up to 50 KB of stack in a debug build;
/// no file of ours needs ten.
pub const MAX_DEPTH: usize = 24;

/// What all aliases of a text together may stand for: values, keys, beginnings and ends.
pub const MAX_ALIAS_EVENTS: usize = 50_000;

/// A parsed text. [`Document::root`] of an empty text is null.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    root: Node,
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_TEXT_BYTES {
            let message = format!("the text is larger than {} MiB; split it", MAX_TEXT_BYTES >> 20);
            return Err(Problem::error(None, "", message));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let place = error.location().map(Place::from);
            let tab = place.filter(|_| is_about_tabs(&error)).and_then(|at| tab(at, text));
            match tab {
                Some(place) => Problem::error(Some(place), "", "a tab stands in the indentation; YAML wants spaces"),
                None => Problem::error(place, "", say(&error, place)),
            }
        })?;
        Ok(Self { text: text.to_owned(), root })
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The node at a path such as `sinks.siem[0].timeout`; the empty path is the whole.
    pub fn node(&self, path: &str) -> Option<&Node> {
        path::walk(&self.root, path).map(|found| found.node)
    }

    /// Where the value at a path stands. If the path is longer than the tree, where its deepest known part stands: the
    /// place to add what is missing.
    pub fn place(&self, path: &str) -> Option<Place> {
        Some(path::deepest(&self.root, path).place)
    }

    /// Where the key at a path stands: the place of an unknown, renamed or needless key.
    pub fn key_place(&self, path: &str) -> Option<Place> {
        path::walk(&self.root, path).and_then(|found| found.key)
    }

    /// Where the `offset`th byte of the text at a path stands: on one line or several, quoted or in a block. Behind an
    /// escape that is not understood here, and for an alias: where the text begins.
    pub fn place_in(&self, path: &str, offset: usize) -> Option<Place> {
        let node = self.node(path)?;
        let found = node.as_text().and_then(|value| within::place(&self.text, node.place, value.get(..offset)?));
        Some(found.unwrap_or(node.place))
    }

    /// Checks the tree against a JSON Schema as schemars writes it for Rust types, and tells every problem.
    ///
    /// Known keywords: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `$ref` into
    /// the schema, `anyOf`, `oneOf`, `allOf`, `minimum`, `maximum`, `exclusiveMinimum`, `minLength`, `minItems`. Others
    /// (`pattern` too) are not looked at. `x-renamed: {old: new}` beside `properties` names renamed keys.
    pub fn check_schema(&self, schema: &serde_json::Value) -> Vec<Problem> {
        self.check_schema_with(schema, &|_, _| Ok(()))
    }

    /// As [`Document::check_schema`]; each text whose schema has a `format` is also given to `check` with that format,
    /// and what it refuses is a problem like any other.
    pub fn check_schema_with(
        &self,
        schema: &serde_json::Value,
        check: &dyn Fn(&str, &str) -> Result<(), String>,
    ) -> Vec<Problem> {
        schema::check(&self.root, schema, check)
    }

    /// The tree as a Rust value, which may hold on to the tree's texts.
    pub fn to<'d, T: Deserialize<'d>>(&'d self) -> Result<T, Problem> {
        T::deserialize(&self.root).map_err(|error| Problem::error(Some(self.root.place), "", error.to_string()))
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
    }
}

/// The parser's errors in our users' words; where it already says it well, its own, without its second naming of the
/// place.
fn say(error: &Error, place: Option<Place>) -> String {
    let message = error.without_snippet().to_string();
    let message = match place {
        Some(Place { line, column }) => {
            message.strip_suffix(&format!(" at line {line}, column {column}")).map_or(message.clone(), str::to_owned)
        }
        None => message,
    };
    match error.without_snippet() {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(String::new, |key| format!(" \"{key}\""));
            format!("the key{key} stands twice in this mapping; keep one")
        }
        Error::MultipleDocuments { .. } => "a second document begins here; a file holds one, so remove \"---\"".into(),
        Error::UnknownAnchor { .. } => "this alias (*name) names no anchor (&name) above it".into(),
        Error::Unexpected { expected, .. } if *expected == "string scalar" => {
            "a key must be plain text; quote it if it begins with [ { * or &".into()
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("more than {MAX_DEPTH} lists and mappings in each other; write it flatter")
        }
        Error::NullIntoString { .. } => "a key must be text; put it in quotes".into(),
        _ if message.starts_with("mapping values are not allowed") => {
            "a second \": \" on this line, or wrong indentation; put the value in quotes if the colon belongs to it"
                .into()
        }
        _ => message,
    }
}

fn is_about_tabs(error: &Error) -> bool {
    let message = error.without_snippet().to_string();
    message.contains("found a tab") || message.contains("tabs disallowed")
}

/// The first tab in an indentation at or after the line where the parser gave up: it may notice one line too early.
fn tab(place: Place, text: &str) -> Option<Place> {
    let lines = text.lines().enumerate().skip((place.line as usize).saturating_sub(1));
    let tabs = lines.filter_map(|(i, line)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..indentation].find('\t').map(|column| (i + 1, column + 1))
    });
    let (line, column) = tabs.take(1).next()?;
    Some(Place { line: u32::try_from(line).ok()?, column: u32::try_from(column).ok()? })
}

#[cfg(test)]
mod tests;

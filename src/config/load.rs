//! From file, environment and flags to one configuration, every problem told at once.
//!
//! A wrong value is taken out of the tree before the rest is judged, so that one mistake hides no other and causes no
//! other: nothing is said about what hangs on a value that is already known to be wrong.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::expression::Expression;
use super::origin::{Located, Origin};
use super::overrides::Override;
use super::scalar::{Listen, Size, Span};
use super::shape::Config;
use super::url::{HttpUrl, SiemUrl};
use super::{profile, rules, schema};
use crate::query::{Error, Query};
use crate::yaml::{self, Document, Place, Problem, Severity};

/// Everything that a configuration is made from. It can be loaded again when the file has changed.
#[derive(Debug, Clone, Default)]
pub struct Input {
    pub file: Option<PathBuf>,
    /// In order of their application: a later one wins.
    pub overrides: Vec<Override>,
    pub surroundings: Surroundings,
    /// For verbs that read no flows: nothing is said of missing sources.
    pub without_sources: bool,
    /// For verbs that classify no flows: nothing is said of missing zones.
    pub without_zones: bool,
}

/// What the place where the program runs says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The environment's `NODE_NAME`.
    pub node_name: Option<String>,
    pub host_name: Option<String>,
}

impl Surroundings {
    pub fn read() -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            node_name: std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty()),
            host_name: host_name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        }
    }

    /// The node's name when nobody configures one.
    pub fn into_node(self) -> Option<String> {
        self.node_name.or(self.host_name)
    }
}

/// A configuration without errors.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Located>,
    pub(super) layers: Layers,
}

impl Loaded {
    /// Where the value at a path such as `sinks.siem[0].timeout` comes from.
    pub fn origin(&self, path: &str) -> Origin {
        self.layers.origin(path)
    }
}

impl Input {
    /// Reads the file and judges everything. An error is never alone if there are more.
    pub fn load(&self) -> Result<Loaded, Vec<Located>> {
        let Some(file) = &self.file else { return self.load_text(None) };
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => self.load_text(Some((&name, &text))),
            Err(error) => {
                let message = format!("cannot read the configuration: {error}; check the path given with -c");
                Err(vec![Located::in_file(name, Problem::error(None, "", message))])
            }
        }
    }

    /// As [`Input::load`], with the file's name and text given.
    pub fn load_text(&self, file: Option<(&str, &str)>) -> Result<Loaded, Vec<Located>> {
        let mut layers = Layers::default();
        let mut problems = Vec::new();
        if let Some((name, text)) = file {
            let document = Document::parse(text).map_err(|problem| vec![Located::in_file(name, problem)])?;
            // An empty file is a configuration in which everything is still to be said: by flags, perhaps.
            let empty = document.root().value == yaml::Value::Null;
            let found = if empty { Vec::new() } else { document.check_schema(&schema::structure()) };
            problems.extend(found.into_iter().map(|problem| Located::in_file(name, discreet(problem, &document))));
            layers.tree = document.root().to_json();
            layers.file = Some((name.to_owned(), document));
        }
        if layers.tree.is_null() {
            layers.tree = Value::Object(Map::new());
        }
        self.override_all(&mut layers, &mut problems);
        self.name_the_node(&mut layers);
        let presets = profile::apply(&mut layers.tree);
        layers.set.extend(presets.into_iter().map(|(path, name)| (path, Origin::Profile(name))));
        judge_forms(&layers, &mut problems);
        let config = judge_rules(&layers, self, &mut problems);
        sort(&mut problems);
        match config {
            Some(config) if problems.iter().all(|found| found.problem.severity == Severity::Warning) => {
                Ok(Loaded { config, warnings: problems, layers })
            }
            _ => Err(problems),
        }
    }

    fn override_all(&self, layers: &mut Layers, problems: &mut Vec<Located>) {
        for change in &self.overrides {
            let (paths, wrong) = change.apply(&mut layers.tree);
            layers.set.extend(paths.into_iter().map(|path| (path, change.origin.clone())));
            for (path, message) in wrong {
                problems.push(layers.locate(Severity::Error, path, message));
            }
        }
    }

    fn name_the_node(&self, layers: &mut Layers) {
        let Value::Object(tree) = &mut layers.tree else { return };
        if tree.get("node").is_some_and(|node| !node.is_null()) {
            return;
        }
        let found = match (&self.surroundings.node_name, &self.surroundings.host_name) {
            (Some(name), _) => (name, Origin::Env("NODE_NAME".to_owned())),
            (None, Some(name)) => (name, Origin::HostName),
            (None, None) => return,
        };
        tree.insert("node".to_owned(), Value::from(found.0.as_str()));
        layers.set.push(("node".to_owned(), found.1));
    }
}

/// The merged tree and who set what in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    tree: Value,
    file: Option<(String, Document)>,
    /// Paths set by others than the file, in order.
    set: Vec<(String, Origin)>,
}

impl Layers {
    fn setter(&self, path: &str) -> Option<&Origin> {
        self.set.iter().rev().find(|(set, _)| is_within(path, set)).map(|(_, origin)| origin)
    }

    fn origin(&self, path: &str) -> Origin {
        let stands = self.tree.pointer(&pointer(path)).is_some();
        match (self.setter(path), &self.file) {
            (Some(origin), _) if stands => origin.clone(),
            (None, Some((_, document))) if stands => document.place(path).map_or(Origin::Default, Origin::File),
            _ => Origin::Default,
        }
    }

    pub(super) fn locate(&self, severity: Severity, path: String, message: String) -> Located {
        let (origin, place) = match (self.setter(&path), &self.file) {
            (Some(Origin::Flag(name) | Origin::Env(name)), _) => (Some(name.clone()), None),
            (Some(Origin::HostName), _) => (Some("host name".to_owned()), None),
            // The place of the word that stands for it.
            (Some(Origin::Profile(_)), Some((name, document))) => (
                Some(name.clone()),
                path.rsplit_once('.').and_then(|(at, _)| place(document, &format!("{at}.profile"))),
            ),
            (_, Some((name, document))) => (Some(name.clone()), place(document, &path)),
            (_, None) => (None, None),
        };
        Located { origin, problem: Problem { severity, place, path, message } }
    }

    /// A problem within the text at a path.
    pub(super) fn locate_in(
        &self,
        severity: Severity,
        path: &str,
        (text, offset): (&str, usize),
        message: String,
    ) -> Located {
        let mut located = self.locate(severity, path.to_owned(), message);
        match (&mut located.problem.place, &self.file) {
            (place @ Some(_), Some((_, document))) => *place = document.place_in(path, offset).or(*place),
            // From a flag there is no place but the one within the text.
            _ => {
                let character = text.get(..offset).map_or(0, |before| before.chars().count()) + 1;
                located.problem.message = format!("at its character {character}: {}", located.problem.message);
            }
        }
        located
    }
}

/// What is missing as a whole has no place of its own; a line number would only look like one.
fn place(document: &Document, path: &str) -> Option<Place> {
    let top = path.split(['.', '[']).next().unwrap_or_default();
    document.node(top).and_then(|_| document.place(path))
}

/// Every value that has a form of its own is given to its parser.
fn judge_forms(layers: &Layers, problems: &mut Vec<Located>) {
    schema::marked(&schema::resolved(), &layers.tree, "", &mut |mark, nullable, value, path| {
        let known = problems.iter().any(|found| is_within(path, &found.problem.path));
        if known || (nullable && value.is_null()) {
            return;
        }
        match (mark, value) {
            ("query", Value::String(text)) => problems.extend(judge_query(layers, path, text)),
            _ => {
                if let Err(message) = judge_form(mark, value) {
                    problems.push(layers.locate(Severity::Error, path.to_owned(), message));
                }
            }
        }
    });
}

/// Each mistake at its own place.
fn judge_query(layers: &Layers, path: &str, text: &str) -> Vec<Located> {
    let errors = Query::parse(text).err().map_or_else(Vec::new, |errors| errors.0);
    let told = |error: Error| layers.locate_in(Severity::Error, path, (text, error.offset), error.message);
    errors.into_iter().map(told).collect()
}

fn judge_form(mark: &str, value: &Value) -> Result<(), String> {
    if mark == "secret" {
        return judge_secret(value);
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null => String::new(),
        Value::Bool(_) => return Err("expected text, found true or false".to_owned()),
        Value::Array(_) => return Err("expected text, found a list".to_owned()),
        Value::Object(_) => return Err("expected text, found a mapping".to_owned()),
    };
    match mark {
        "duration" => text.parse::<Span>().map(drop),
        "size" => text.parse::<Size>().map(drop),
        "listen" => text.parse::<Listen>().map(drop),
        "http-url" => text.parse::<HttpUrl>().map(drop),
        "siem-url" => text.parse::<SiemUrl>().map(drop),
        "query" => text.parse::<Expression>().map(drop).map_err(|errors| errors.to_string()),
        _ => Err(format!("no parser is known for the form {mark}")),
    }
}

/// Never repeats what it found: it may be the secret itself.
fn judge_secret(value: &Value) -> Result<(), String> {
    const FORM: &str = "write {file: PATH} or {env: NAME}";
    let Value::Object(map) = value else {
        return Err(match value {
            Value::Null => format!("nothing stands here; {FORM}"),
            _ => format!(
                "a secret must not stand in the configuration; put it in a file or in the environment and {FORM}"
            ),
        });
    };
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::String(text))), None) if matches!(key.as_str(), "file" | "env") && !text.is_empty() => {
            Ok(())
        }
        (Some((key, _)), None) if matches!(key.as_str(), "file" | "env") => {
            Err(format!("{key} must be text that is not empty; {FORM}"))
        }
        (Some(_), Some(_)) if map.keys().all(|key| matches!(key.as_str(), "file" | "env")) => {
            Err("file and env stand both here; keep one".to_owned())
        }
        _ => Err(format!("this names no secret; {FORM}")),
    }
}

/// A value of the wrong kind is repeated in the message, unless it may hold a secret: where credentials belong, and where
/// a URL has a user.
fn discreet(problem: Problem, document: &Document) -> Problem {
    let text = document.node(&problem.path).and_then(yaml::Node::as_text).unwrap_or_default();
    let credentials = is_within(&problem.path, "sinks.elasticsearch.auth") || problem.path.contains(".splunk");
    let secret = credentials || text.contains('@');
    match problem.message.split_once(", found the text") {
        Some((expected, _)) if secret => Problem { message: format!("{expected}, found text"), ..problem },
        _ => problem,
    }
}

/// What remains when all wrong values are taken out, judged by meaning.
fn judge_rules(layers: &Layers, input: &Input, problems: &mut Vec<Located>) -> Option<Config> {
    let mut tree = layers.tree.clone();
    let wrong: Vec<String> = problems.iter().map(|found| found.problem.path.clone()).collect();
    wrong.iter().for_each(|path| prune(&mut tree, path));
    drop_nulls(&mut tree);
    let config: Config = match serde_json::from_value(tree) {
        Ok(config) => config,
        Err(error) if wrong.is_empty() => {
            problems.push(layers.locate(Severity::Error, String::new(), error.to_string()));
            return None;
        }
        Err(_) => return None,
    };
    for (severity, path, message) in rules::judge(&config) {
        if input.without_sources && path == "sources" || input.without_zones && path == "zones" {
            continue;
        }
        let told = wrong.iter().any(|wrong| is_within(&path, wrong) || is_within(wrong, &path));
        if !told {
            problems.push(layers.locate(severity, path, message));
        }
    }
    Some(config)
}

/// Takes out the value at a path; of a list the whole, so that no other item gets another number.
fn prune(tree: &mut Value, path: &str) {
    let pointer = pointer(path);
    let mut parts: Vec<&str> = pointer.split('/').skip(1).collect();
    while let Some(last) = parts.pop() {
        let parent = parts.iter().map(|part| format!("/{part}")).collect::<String>();
        match tree.pointer_mut(&parent) {
            Some(Value::Object(map)) => {
                map.remove(last);
                return;
            }
            Some(Value::Array(_)) => {}
            _ => return,
        }
    }
}

/// A key without a value is a key that is not there.
fn drop_nulls(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// `sinks.siem[0].url` as a JSON pointer. Keys of this schema need no escape; a quoted key is unknown to it and is found
/// by its text.
fn pointer(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        pointer.push('/');
        pointer.push_str(part.trim_end_matches(']').trim_matches('"'));
    }
    pointer
}

/// Whether `path` is `outer` or below it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What has a place in the order of the file, then the rest in the order found.
fn sort(problems: &mut [Located]) {
    problems.sort_by_key(|found| (found.problem.place.is_none(), found.problem.place));
}

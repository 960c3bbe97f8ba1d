//! A tree against the JSON Schema of Rust types, every problem told.
//!
//! This is not a general validator: it knows what schemars writes, and it spends its care on saying what to write.

use serde_json::{Map, Value as Json};

use super::node::{Node, Value};
use super::{Problem, child, index, nearest};

/// How deep `$ref`s may nest at one node; schemars writes one or two.
const MAX_REFS: usize = 16;

pub(super) type CheckFormat<'a> = &'a dyn Fn(&str, &str) -> Result<(), String>;

pub(super) fn check(root: &Node, schema: &Json, check_format: CheckFormat<'_>) -> Vec<Problem> {
    let checker = Checker { root: schema, check_format };
    let mut problems = Vec::new();
    checker.node(root, schema, "", &mut problems);
    Problem::sort(&mut problems);
    // `allOf` and an alias used twice may tell one problem twice.
    problems.dedup();
    problems
}

struct Checker<'a> {
    root: &'a Json,
    check_format: CheckFormat<'a>,
}

impl<'a> Checker<'a> {
    fn node(&self, node: &Node, schema: &'a Json, path: &str, out: &mut Vec<Problem>) {
        if *schema == Json::Bool(false) {
            out.push(Problem::error(Some(node.place), path, "nothing may stand here; remove it"));
            return;
        }
        let Some(schema) = schema.as_object() else { return };
        if let Some(target) = self.target(schema) {
            self.node(node, target, path, out);
        }
        for part in list(schema, "allOf") {
            self.node(node, part, path, out);
        }
        for key in ["anyOf", "oneOf"] {
            let branches = list(schema, key);
            if !branches.is_empty() {
                self.branches(node, branches, path, out);
            }
        }
        if path.is_empty() && node.value == Value::Null {
            out.push(Problem::error(Some(node.place), path, "the text is empty"));
            return;
        }
        if let Some(message) = wrong_type(&node.value, schema).or_else(|| self.wrong_value(&node.value, schema)) {
            out.push(Problem::error(Some(node.place), path, message));
            return;
        }
        match &node.value {
            Value::Map(_) => self.map(node, schema, path, out),
            Value::List(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (i, item) in items.iter().enumerate() {
                    self.node(item, schema, &index(path, i), out);
                }
            }
            _ => {}
        }
    }

    fn target(&self, schema: &'a Map<String, Json>) -> Option<&'a Json> {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer)
    }

    /// Follows `$ref`s that stand alone or with notes.
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let mut schema = schema;
        for _ in 0..MAX_REFS {
            match schema.as_object().and_then(|object| self.target(object)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn map(&self, node: &Node, schema: &'a Map<String, Json>, path: &str, out: &mut Vec<Problem>) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").or_else(|| schema.get("unevaluatedProperties"));
        for entry in node.entries() {
            let path = child(path, &entry.key);
            match (properties.and_then(|known| known.get(&entry.key)), others) {
                (Some(schema), _) => self.node(&entry.node, schema, &path, out),
                (None, Some(Json::Bool(false))) => {
                    let message = unknown_key(&entry.key, node, properties.unwrap_or(&empty), schema);
                    out.push(Problem::error(Some(entry.place), path, message));
                }
                (None, Some(schema)) => self.node(&entry.node, schema, &path, out),
                (None, None) => {}
            }
        }
        for required in list(schema, "required").iter().filter_map(Json::as_str) {
            if node.entry(required).is_none() {
                out.push(Problem::error(Some(node.place), path, format!("\"{required}\" is missing; add it")));
            }
        }
    }

    /// `anyOf` and `oneOf`: options and enums. One branch that fits is enough; else the branch that was most probably
    /// meant says what is wrong with it.
    fn branches(&self, node: &Node, branches: &'a [Json], path: &str, out: &mut Vec<Problem>) {
        let mut failed = Vec::new();
        for branch in branches {
            let mut problems = Vec::new();
            self.node(node, branch, path, &mut problems);
            if problems.is_empty() {
                return;
            }
            failed.push((self.resolve(branch), problems));
        }
        failed.retain(|(branch, _)| branch.get("type").is_none_or(|ty| *ty != "null"));
        let words: Vec<&str> = failed.iter().flat_map(|(branch, _)| self.words(branch)).collect();
        let meant: Vec<&(&Json, Vec<Problem>)> =
            failed.iter().filter(|(branch, _)| self.is_meant(&node.value, branch)).collect();
        match (&node.value, meant.as_slice()) {
            (_, [(_, problems)]) => out.extend_from_slice(problems),
            (Value::Text(text), _) if !words.is_empty() => {
                out.push(Problem::error(Some(node.place), path, unknown_word(text, &words)));
            }
            (Value::Map(entries), []) if failed.iter().any(|(branch, _)| tag_key(branch).is_some()) => {
                self.untagged(node, entries, &failed, path, out);
            }
            // Several may be meant: the one with the fewest problems is the likeliest.
            (_, [_, ..]) => {
                if let Some((_, problems)) = meant.iter().min_by_key(|(_, problems)| problems.len()) {
                    out.extend_from_slice(problems);
                }
            }
            _ => {
                let mut nouns: Vec<String> = failed.iter().map(|(branch, _)| self.noun(branch)).collect();
                nouns.dedup();
                let message = format!("expected {}, found {}", nouns.join(" or "), node.value.noun());
                out.push(Problem::error(Some(node.place), path, message));
            }
        }
    }

    /// No variant of an enum is named by this mapping.
    fn untagged(
        &self,
        node: &Node,
        entries: &[super::Entry],
        failed: &[(&'a Json, Vec<Problem>)],
        path: &str,
        out: &mut Vec<Problem>,
    ) {
        // Internally tagged: the key is there with an unknown word, or not at all.
        if let Some((tag, _)) = failed.iter().find_map(|(branch, _)| const_tag(branch)) {
            let words: Vec<&str> =
                failed.iter().filter_map(|(branch, _)| const_tag(branch)).map(|(_, word)| word).collect();
            let (place, path, message) = match node.entry(tag) {
                Some(entry) => {
                    let path = child(path, tag);
                    match entry.node.as_text() {
                        Some(text) => (entry.node.place, path, unknown_word(text, &words)),
                        None => (entry.node.place, path, format!("write one of {}", words.join(", "))),
                    }
                }
                None => (node.place, path.to_owned(), format!("\"{tag}\" is missing; one of {}", words.join(", "))),
            };
            out.push(Problem::error(Some(place), path, message));
            return;
        }
        let known: Vec<&str> = failed.iter().filter_map(|(branch, _)| tag_key(branch)).collect();
        match entries.first() {
            Some(entry) => {
                let message = unknown_word(&entry.key, &known);
                out.push(Problem::error(Some(entry.place), child(path, &entry.key), message));
            }
            None => {
                out.push(Problem::error(Some(node.place), path, format!("write one of {}", known.join(", "))));
            }
        }
    }

    /// The words that a branch takes, if it takes words only.
    fn words(&self, branch: &'a Json) -> Vec<&'a str> {
        let nested = list_of(branch, "oneOf").iter().chain(list_of(branch, "anyOf"));
        let below: Vec<&str> = nested.flat_map(|branch| self.words(self.resolve(branch))).collect();
        let own = list_of(branch, "enum").iter().filter_map(Json::as_str);
        own.chain(branch.get("const").and_then(Json::as_str)).chain(below).collect()
    }

    /// Whether a user who wrote this value probably meant this branch.
    fn is_meant(&self, value: &Value, branch: &Json) -> bool {
        let Some(schema) = branch.as_object() else { return false };
        if !self.words_of(branch) && ["oneOf", "anyOf"].iter().any(|key| schema.contains_key(*key)) {
            return true;
        }
        if self.words_of(branch) || wrong_type(value, schema).is_some() {
            return false;
        }
        let Value::Map(entries) = value else { return true };
        match (const_tag(branch), tag_key(branch)) {
            (Some((tag, word)), _) => {
                entries.iter().any(|entry| entry.key == tag && entry.node.as_text() == Some(word))
            }
            (None, Some(key)) => entries.iter().any(|entry| entry.key == key),
            (None, None) => true,
        }
    }

    fn words_of(&self, branch: &Json) -> bool {
        branch.get("enum").is_some()
            || branch.get("const").is_some()
            || (!list_of(branch, "oneOf").is_empty() && list_of(branch, "oneOf").iter().all(|part| self.words_of(part)))
    }

    fn noun(&self, branch: &'a Json) -> String {
        let words = self.words(branch);
        if !words.is_empty() {
            return format!("one of {}", words.join(", "));
        }
        branch.as_object().map_or_else(|| "something else".into(), expected)
    }

    /// Words, ranges and formats. The type is right.
    fn wrong_value(&self, value: &Value, schema: &Map<String, Json>) -> Option<String> {
        if let Some(word) = schema.get("const") {
            let same = match (value, word) {
                (Value::Text(text), Json::String(word)) => text == word,
                (Value::Bool(value), Json::Bool(word)) => value == word,
                (Value::Integer(value), Json::Number(word)) => word.as_i128() == Some(*value),
                (Value::Null, Json::Null) => true,
                _ => false,
            };
            if !same {
                return Some(format!("{value} is not known here; write {word}"));
            }
        }
        let words: Vec<&str> = list(schema, "enum").iter().filter_map(Json::as_str).collect();
        match value {
            Value::Text(text) if !words.is_empty() && !words.contains(&text.as_str()) => {
                Some(unknown_word(text, &words))
            }
            Value::Text(text) => self.wrong_text(text, schema),
            Value::Integer(number) => wrong_range(*number as f64, value, schema),
            Value::Float(number) => wrong_range(*number, value, schema),
            Value::List(items) => (count(items.len()) < schema.get("minItems").and_then(Json::as_u64).unwrap_or(0))
                .then(|| "the list is empty; write at least one item, or remove the key".to_owned()),
            _ => None,
        }
    }

    fn wrong_text(&self, text: &str, schema: &Map<String, Json>) -> Option<String> {
        let shortest = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        if count(text.chars().count()) < shortest {
            return Some("the text is empty; write something, or remove the key".into());
        }
        (self.check_format)(schema.get("format")?.as_str()?, text).err()
    }
}

fn count(n: usize) -> u64 {
    n as u64
}

fn list<'a>(schema: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    schema.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn list_of<'a>(schema: &'a Json, key: &str) -> &'a [Json] {
    schema.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// The key that names a variant of an externally tagged enum, or that holds the tag of an internally tagged one.
fn tag_key(branch: &Json) -> Option<&str> {
    if let Some((tag, _)) = const_tag(branch) {
        return Some(tag);
    }
    match list_of(branch, "required") {
        [only] => only.as_str(),
        _ => None,
    }
}

/// Tag and word of an internally tagged variant.
fn const_tag(branch: &Json) -> Option<(&str, &str)> {
    let properties = branch.get("properties")?.as_object()?;
    properties.iter().find_map(|(key, schema)| Some((key.as_str(), schema.get("const")?.as_str()?)))
}

fn types(schema: &Map<String, Json>) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn expected(schema: &Map<String, Json>) -> String {
    let noun = |name: &str| match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    let names: Vec<&str> = types(schema).into_iter().filter(|name| *name != "null").map(noun).collect();
    names.join(" or ")
}

fn wrong_type(value: &Value, schema: &Map<String, Json>) -> Option<String> {
    let types = types(schema);
    let fits = types.iter().any(|name| match value {
        Value::Null => *name == "null",
        Value::Bool(_) => *name == "boolean",
        Value::Integer(_) => matches!(*name, "integer" | "number"),
        Value::Float(_) => *name == "number",
        Value::Text(_) => *name == "string",
        Value::List(_) => *name == "array",
        Value::Map(_) => *name == "object",
    });
    if types.is_empty() || fits {
        return None;
    }
    let takes = |name: &str| types.contains(&name);
    let remedy = match value {
        Value::Null => "; write it, or remove the key".to_owned(),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) if takes("string") => {
            format!("; put it in quotes: \"{value}\"")
        }
        Value::Text(text) if takes("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "; write true".to_owned(),
            "no" | "off" | "n" | "false" => "; write false".to_owned(),
            _ => String::new(),
        },
        Value::Text(text) if (takes("integer") || takes("number")) && text.trim().parse::<i64>().is_ok() => {
            format!("; write {} without quotes", text.trim())
        }
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) if takes("array") => {
            format!("; write [{value}]")
        }
        Value::Map(_) if takes("array") => "; begin each item with \"- \"".to_owned(),
        Value::List(_) if takes("object") => "; write \"key: value\" lines without \"- \"".to_owned(),
        _ => String::new(),
    };
    let found = match value {
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => format!("{} ({value})", value.noun()),
        Value::Text(_) => format!("the text {value}"),
        _ => value.noun().to_owned(),
    };
    Some(format!("expected {}, found {found}{remedy}", expected(schema)))
}

fn wrong_range(number: f64, value: &Value, schema: &Map<String, Json>) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(|bound| Some((bound.as_f64()?, bound)));
    if let Some((_, bound)) = bound("minimum").filter(|(bound, _)| number < *bound) {
        return Some(format!("{value} is too small; the least is {bound}"));
    }
    if let Some((_, bound)) = bound("exclusiveMinimum").filter(|(bound, _)| number <= *bound) {
        return Some(format!("{value} is too small; write more than {bound}"));
    }
    let (_, bound) = bound("maximum").filter(|(bound, _)| number > *bound)?;
    Some(format!("{value} is too large; the most is {bound}"))
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(word, known.iter().copied()) {
        Some(near) if known.len() == 1 => format!("{word:?} is not known here; did you mean {near:?}?"),
        Some(near) => format!("{word:?} is not known here; did you mean {near:?}? (known: {list})"),
        None => format!("{word:?} is not known here; write one of {list}"),
    }
}

fn unknown_key(key: &str, node: &Node, known: &Map<String, Json>, schema: &Map<String, Json>) -> String {
    if let Some(name) = schema.get("x-renamed").and_then(|renamed| renamed.get(key)).and_then(Json::as_str) {
        return format!("this key is now called \"{name}\"; rename it");
    }
    // A key that is there already is not what was meant.
    let free = known.keys().map(String::as_str).filter(|name| node.entry(name).is_none());
    match nearest(key, free) {
        Some(near) => format!("unknown key; did you mean \"{near}\"?"),
        None if known.is_empty() => "unknown key; no keys are known here".into(),
        None => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("unknown key; known here: {}", known.join(", "))
        }
    }
}

//! Paths into a tree: `sinks.siem[0].timeout`, `labels["a.b"]`.

use super::{Node, Place, Value};

/// `path` and a key below it.
pub fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'));
    match (plain, path.is_empty()) {
        (false, _) => format!("{path}[{key:?}]"),
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
    }
}

/// `path` and a list's item below it.
pub fn index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

pub(super) struct Found<'a> {
    pub node: &'a Node,
    /// Where the node's key stands, if it has one.
    pub key: Option<Place>,
}

pub(super) fn walk<'a>(root: &'a Node, path: &str) -> Option<Found<'a>> {
    follow(root, path).1
}

/// The last node of the path that there is.
pub(super) fn deepest<'a>(root: &'a Node, path: &str) -> &'a Node {
    follow(root, path).0
}

fn follow<'a>(root: &'a Node, path: &str) -> (&'a Node, Option<Found<'a>>) {
    let (mut node, mut key) = (root, None);
    let mut rest = path;
    while !rest.is_empty() {
        let Some((next, next_key, after)) = step(node, rest) else { return (node, None) };
        (node, key, rest) = (next, next_key, after);
    }
    (node, Some(Found { node, key }))
}

/// One step down the path: the node, the place of its key, the rest of the path.
fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(&'a Node, Option<Place>, &'p str)> {
    // Whichever child's own name the path begins with: so that there is one spelling of names, that of `child`.
    let below = |name: &str| {
        let rest = path.strip_prefix(name)?;
        let ends = rest.is_empty() || rest.starts_with(['.', '[']);
        ends.then(|| rest.strip_prefix('.').unwrap_or(rest))
    };
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .find_map(|entry| below(&child("", &entry.key)).map(|rest| (&entry.node, Some(entry.place), rest))),
        Value::List(items) => {
            let (number, _) = path.strip_prefix('[')?.split_once(']')?;
            let number = number.parse().ok()?;
            Some((items.get(number)?, None, below(&index("", number))?))
        }
        _ => None,
    }
}

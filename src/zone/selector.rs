//! Calico's selector language: `fw-zone == 'dmz' && !has(exempt)`.
//!
//! The meaning is Calico's: `!=` and `not in` hold where the label is absent, every other comparison does not; `!` binds
//! tightest, then `&&`, then `||`; an empty selector is `all()`; text is quoted by either quote and has no escapes;
//! `global()` holds for what is in no namespace. Calico's label `projectcalico.org/namespace` is known from the flow.

mod parse;

use std::fmt;

use crate::model::{End, Labels};

pub use parse::{Error, parse};

/// The label that Calico gives everything in a namespace. Flow logs leave it out; the namespace itself says the same.
pub const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";

/// Labels of a table that are looked up once for each end, not once for each selector.
pub(super) const MAX_SLOTS: usize = 16;

const NO_SLOT: u16 = u16::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    All,
    Global,
    Has(Label),
    Compare(Label, Comparison, Box<str>),
    In(Label, Vec<Box<str>>),
    NotIn(Label, Vec<Box<str>>),
    Not(Box<Selector>),
    And(Vec<Selector>),
    Or(Vec<Selector>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

/// A label's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    name: Box<str>,
    slot: u16,
}

impl Label {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), slot: NO_SLOT }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a table's [`View`] has its value.
    pub(super) fn slot(&self) -> Option<usize> {
        (self.slot != NO_SLOT).then_some(self.slot.into())
    }
}

impl Selector {
    /// Whether it holds for an end. A table asks many selectors of one end and goes another, quicker way.
    pub fn matches(&self, end: &End<'_>) -> bool {
        self.holds(&View::new(end, &[]))
    }

    pub(super) fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Global => view.namespace.is_none(),
            Self::Has(label) => view.get(label).is_some(),
            Self::Compare(label, comparison, text) => comparison.holds(view.get(label), text),
            Self::In(label, texts) => is_in(view.get(label), texts),
            Self::NotIn(label, texts) => !is_in(view.get(label), texts),
            Self::Not(inner) => !inner.holds(view),
            Self::And(all) => all.iter().all(|part| part.holds(view)),
            Self::Or(any) => any.iter().any(|part| part.holds(view)),
        }
    }

    /// A label and values of which it must have one for this to hold; there may be others that it needs as well.
    pub(super) fn needs(&self) -> Option<(&Label, &[Box<str>])> {
        match self {
            Self::Compare(label, Comparison::Equal, text) => Some((label, std::slice::from_ref(text))),
            Self::In(label, texts) => Some((label, texts)),
            Self::And(parts) => parts.iter().find_map(Self::needs),
            _ => None,
        }
    }

    /// Calls `f` for every label, in the order of the text.
    pub fn labels(&self, f: &mut dyn FnMut(&Label)) {
        match self {
            Self::All | Self::Global => {}
            Self::Has(label) | Self::Compare(label, ..) | Self::In(label, _) | Self::NotIn(label, _) => f(label),
            Self::Not(inner) => inner.labels(f),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.labels(f)),
        }
    }

    /// Gives each label its slot in `names`, which grows.
    pub(super) fn assign(&mut self, names: &mut Vec<Box<str>>) {
        match self {
            Self::All | Self::Global => {}
            Self::Has(label) | Self::Compare(label, ..) | Self::In(label, _) | Self::NotIn(label, _) => {
                let at = names.iter().position(|name| *name == label.name).unwrap_or_else(|| {
                    names.push(label.name.clone());
                    names.len() - 1
                });
                label.slot = u16::try_from(at).unwrap_or(NO_SLOT);
            }
            Self::Not(inner) => inner.assign(names),
            Self::And(parts) | Self::Or(parts) => parts.iter_mut().for_each(|part| part.assign(names)),
        }
    }
}

fn is_in(value: Option<&str>, texts: &[Box<str>]) -> bool {
    value.is_some_and(|value| texts.iter().any(|text| **text == *value))
}

impl Comparison {
    fn holds(self, value: Option<&str>, text: &str) -> bool {
        match (self, value) {
            (Self::NotEqual, value) => value != Some(text),
            (_, None) => false,
            (Self::Equal, Some(value)) => value == text,
            (Self::Contains, Some(value)) => value.contains(text),
            (Self::StartsWith, Some(value)) => value.starts_with(text),
            (Self::EndsWith, Some(value)) => value.ends_with(text),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Contains => "contains",
            Self::StartsWith => "starts with",
            Self::EndsWith => "ends with",
        }
    }
}

/// The labels of one end, those that a table asks for looked up once.
pub(super) struct View<'a> {
    labels: &'a Labels<'a>,
    namespace: Option<&'a str>,
    found: [Option<&'a str>; MAX_SLOTS],
    slots: usize,
    /// There are more labels than slots.
    crowded: bool,
}

impl<'a> View<'a> {
    pub fn new(end: &'a End<'_>, names: &[Box<str>]) -> Self {
        let slots = names.len().min(MAX_SLOTS);
        let crowded = names.len() > MAX_SLOTS;
        let mut view =
            Self { labels: &end.labels, namespace: end.namespace.as_deref(), found: [None; MAX_SLOTS], slots, crowded };
        for (found, name) in view.found.iter_mut().zip(names) {
            *found = look_up(view.labels, view.namespace, name);
        }
        view
    }

    /// What the end has under each label that the table asks for; `None` when those are too many to be looked up at once.
    pub fn all_found(&self) -> Option<&[Option<&'a str>]> {
        (!self.crowded).then(|| self.found())
    }

    /// What it has under the first of them, by slot.
    pub fn found(&self) -> &[Option<&'a str>] {
        &self.found[..self.slots]
    }

    #[inline]
    fn get(&self, label: &Label) -> Option<&'a str> {
        match self.found[..self.slots].get(usize::from(label.slot)) {
            Some(found) => *found,
            None => look_up(self.labels, self.namespace, &label.name),
        }
    }
}

/// The first label of that name: a line that names one twice is not Calico's.
fn look_up<'a>(labels: &'a Labels<'a>, namespace: Option<&'a str>, name: &str) -> Option<&'a str> {
    let found = labels.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value);
    found.or_else(|| namespace.filter(|_| name == NAMESPACE_LABEL))
}

/// The text of the selector, in one fixed form that parses to the same selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(label) => write!(f, "has({})", label.name),
            Self::Compare(label, comparison, text) => {
                write!(f, "{} {} {}", label.name, comparison.as_str(), Quoted(text))
            }
            Self::In(label, texts) => write_set(f, label, "in", texts),
            Self::NotIn(label, texts) => write_set(f, label, "not in", texts),
            Self::Not(inner) => write!(f, "!{}", Tight(inner)),
            Self::And(parts) => write_joined(f, parts, " && "),
            Self::Or(parts) => write_joined(f, parts, " || "),
        }
    }
}

/// A part in parentheses unless it binds tighter than anything around it.
struct Tight<'a>(&'a Selector);

impl fmt::Display for Tight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Selector::And(_) | Selector::Or(_) => write!(f, "({})", self.0),
            other => write!(f, "{other}"),
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('\'') { '"' } else { '\'' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, label: &Label, word: &str, texts: &[Box<str>]) -> fmt::Result {
    write!(f, "{} {word} {{", label.name)?;
    for (i, text) in texts.iter().enumerate() {
        write!(f, "{}{}", if i > 0 { ", " } else { "" }, Quoted(text))?;
    }
    f.write_str("}")
}

fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Selector], operator: &str) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        write!(f, "{}{}", if i > 0 { operator } else { "" }, Tight(part))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The two passes over a line.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Reading;
use super::repair::has_lone_surrogate;
use super::values::{Key, NextValue, Placed, Value as _};
use crate::model::{Flow, Text};

/// Up to so many entries, comparing each with each is cheaper than a set of them.
const FEW: usize = 12;

/// Why the second pass refuses a line.
#[derive(Debug)]
pub(super) enum Refusal {
    NotJson(serde_json::Error),
    /// JSON, but of this type.
    NotAnObject(&'static str),
    NoFlowKey,
}

/// The common line, at the least cost. `None`: look again, with the second pass.
pub(super) fn first(text: &str) -> Option<Flow<'_>> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let reading = parser.deserialize_map(Straight).ok()?;
    parser.end().ok()?;
    reading.finish()
}

/// Any line, each value apart from the others.
pub(super) fn second(text: &str) -> Result<Flow<'_>, Refusal> {
    match text.trim_start().bytes().next() {
        Some(b'{') => {}
        other => {
            serde_json::from_str::<IgnoredAny>(text).map_err(Refusal::NotJson)?;
            return Err(Refusal::NotAnObject(json_type(other)));
        }
    }
    let Captured(mut entries) = serde_json::from_str(text).map_err(Refusal::NotJson)?;
    keep_last(&mut entries);
    let mut reading = Reading::default();
    for (key, raw) in entries {
        // Unknown, or known with an impossible value: either way it stays as it was written.
        if !matches!(reading.put(&key, raw), Ok(Placed::Known)) {
            reading.keep(key, raw);
        }
    }
    reading.finish().ok_or(Refusal::NoFlowKey)
}

fn json_type(first: Option<u8>) -> &'static str {
    match first {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Of entries with the same name, the last stays. Never quadratic.
pub(super) fn keep_last<T>(entries: &mut Vec<(Text<'_>, T)>) {
    let repeats = |i: usize| entries[i + 1..].iter().any(|(name, _)| *name == entries[i].0);
    if entries.len() <= FEW && !(0..entries.len()).any(repeats) {
        return;
    }
    let mut seen = HashSet::with_capacity(entries.len());
    let last: Vec<bool> = entries.iter().rev().map(|(name, _)| seen.insert(name.as_ref())).collect();
    let mut last = last.into_iter().rev();
    entries.retain(|_| last.next().unwrap_or(true));
}

/// First pass: the object read straight into a flow.
struct Straight;

impl<'de> Visitor<'de> for Straight {
    type Value = Reading<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flow")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut reading = Reading::default();
        while let Some(Key(key)) = map.next_key()? {
            if let Placed::Unknown(value) = reading.put(&key, NextValue(&mut map))? {
                let raw: &RawValue = value.read()?;
                if has_lone_surrogate(raw.get()) {
                    return Err(A::Error::custom("lone surrogate"));
                }
                reading.keep(key, raw);
            }
        }
        Ok(reading)
    }
}

/// Second pass: the object's values as text.
struct Captured<'de>(Vec<(Text<'de>, &'de RawValue)>);

impl<'de> Deserialize<'de> for Captured<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Capture;
        impl<'de> Visitor<'de> for Capture {
            type Value = Captured<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), raw)) = map.next_entry()? {
                    entries.push((key, raw));
                }
                Ok(Captured(entries))
            }
        }
        deserializer.deserialize_map(Capture)
    }
}

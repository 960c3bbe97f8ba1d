//! What a lane has worked out about the ends it has seen: ends that look alike are asked once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::index::Look;
use super::matcher::{Kind, Subject};
use super::table::Table;
use crate::model::EndpointType;

/// Looks that are kept, and places of matchers in them; a node has some hundred pods and peers of some thousand kinds.
const MAX_LOOKS: usize = 8_192;
const MAX_PLACES: usize = 1 << 20;

/// For one lane, and one table at a time: given another table, it begins anew.
#[derive(Debug)]
pub struct Cache {
    /// Number of the table.
    of: u64,
    looks: HashMap<u128, Look, BuildHasherDefault<Ready>>,
    places: usize,
    /// Of this process: whoever writes labels cannot aim at another's look.
    seed: u64,
    /// A look written out, reused.
    text: Vec<u8>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { of: 0, looks: HashMap::default(), places: 0, seed: fastrand::u64(..), text: Vec::new() }
    }
}

impl Cache {
    pub(super) fn look(&mut self, table: &Table, subject: &Subject<'_>) -> &Look {
        if self.of != table.number || self.looks.len() >= MAX_LOOKS || self.places >= MAX_PLACES {
            (self.of, self.places) = (table.number, 0);
            self.looks.clear();
        }
        self.text.clear();
        write(subject, &mut self.text);
        // 128 bits and a secret seed: two looks of one number are not to be met with.
        let number = xxh3_128_with_seed(&self.text, self.seed);
        let places = &mut self.places;
        self.looks.entry(number).or_insert_with(|| {
            let look = unseen(table, subject);
            *places += look.mixed.len();
            look
        })
    }
}

/// Apart from the way that nearly all flows go.
#[cold]
#[inline(never)]
fn unseen(table: &Table, subject: &Subject<'_>) -> Look {
    table.index.look(&table.matchers, subject)
}

/// Ends in UTF-8 and so never in a text.
const END: u8 = 0xff;
const ABSENT: u8 = 0xfe;

/// Everything that matchers by name ask, and nothing that differs more often.
fn write(subject: &Subject<'_>, out: &mut Vec<u8>) {
    out.push(subject.kind.octet() << 2 | u8::from(subject.ip.is_some()) << 1 | u8::from(subject.has_labels()));
    text(subject.end.namespace.as_deref(), out);
    // Pods come and go, and no matcher asks their names.
    if subject.kind == Kind::Known(EndpointType::NetworkSet) {
        text(subject.name(), out);
    }
    text(subject.network(), out);
    match subject.view.all_found() {
        Some(found) => found.iter().for_each(|value| text(*value, out)),
        None => subject.end.labels.iter().for_each(|(key, value)| {
            text(Some(key), out);
            text(Some(value), out);
        }),
    }
}

fn text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => out.push(ABSENT),
    }
    out.push(END);
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only u128 is hashed")
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

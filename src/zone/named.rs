//! Matchers by name, found by a word that they cannot do without.
//!
//! Nearly every selector of a large table asks for one value of a label (`app == 'shop'`), and nearly every match of
//! namespaces names them: of ten thousand, an end is asked about the few that name its own.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::glob::Glob;
use super::index::{NONE, Place, first_before};
use super::matcher::{Key, Matcher, Subject};
use super::selector::MAX_SLOTS;

/// Where a namespace stands beside the labels' slots.
const NAMESPACE: usize = MAX_SLOTS;

#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    /// By hash of a needed word, then by place. Words of one hash are told apart by asking the matcher.
    needy: Vec<(u64, Place)>,
    /// Those that need no word, ascending.
    others: Vec<Place>,
}

impl Named {
    /// Of these matchers, by ascending places.
    pub fn new(matchers: Vec<(&Matcher, Place)>) -> Self {
        let mut new = Self::default();
        for (matcher, place) in matchers {
            match matcher.keys().find_map(needed) {
                Some(words) => new.needy.extend(words.into_iter().map(|word| (word, place))),
                None => new.others.push(place),
            }
        }
        new.needy.sort_unstable();
        new.needy.dedup();
        new
    }

    /// The first that takes this end.
    pub fn first(&self, matchers: &[Matcher], subject: &Subject<'_>) -> Place {
        let mut best = first_before(NONE, self.others.iter().copied(), matchers, subject);
        for word in words_of(subject) {
            let from = self.needy.partition_point(|needy| *needy < (word, 0));
            let of_word = self.needy[from..].iter().take_while(|(its, _)| *its == word).map(|(_, place)| *place);
            best = first_before(best, of_word, matchers, subject);
        }
        best
    }
}

/// Words of which an end must have one for this key to hold; `None` where it holds for others, or for too many to tell.
fn needed(key: &Key) -> Option<Vec<u64>> {
    match key {
        Key::Namespace(globs) => globs.iter().map(exact).collect(),
        Key::Labels(selector) | Key::HostEndpoint(selector) => {
            let (label, texts) = selector.needs()?;
            let slot = label.slot().filter(|slot| *slot < MAX_SLOTS)?;
            Some(texts.iter().map(|text| word(slot, text)).collect())
        }
        _ => None,
    }
}

fn exact(glob: &Glob) -> Option<u64> {
    match glob {
        Glob::Exact(name) => Some(word(NAMESPACE, name)),
        _ => None,
    }
}

fn words_of(subject: &Subject<'_>) -> impl Iterator<Item = u64> {
    let labels = subject.view.found().iter().enumerate();
    let labels = labels.filter_map(|(slot, value)| Some(word(slot, (*value)?)));
    labels.chain(subject.end.namespace.as_deref().map(|name| word(NAMESPACE, name)))
}

fn word(slot: usize, text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), slot as u64)
}

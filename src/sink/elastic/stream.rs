//! What is known of our data stream: its write index, and which backing indices may hold what was sent before.
//!
//! A repeated `_id` is refused by the write index alone. So whoever sends something a second time has to know whether the
//! stream has rolled over since the first. The steady state learns the write index from the answers to its own requests
//! and asks nobody.
//!
//! The index that is known may be older than the true one (somebody else rolled the stream over, or answers came out of
//! order), never newer: what is taken for the oldest index that may hold a copy is therefore old enough.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::lane::Memory;

/// Clocks of nodes and of the cluster may differ by so many seconds: a line counts as old enough to stand in an index
/// that ended so long before the line's time.
const SKEW_SECONDS: i64 = 3600;
/// What was asked is believed for so long, unless an answer speaks against it.
const FRESH: Duration = Duration::from_secs(60);
/// After a refusal the right to look is tried again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// Whether ids are looked up in older backing indices before documents are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookup {
    /// Where it is needed, and as far as our rights go.
    #[default]
    Auto,
    /// Never: repeats across a rollover make second copies, which are counted.
    Never,
}

/// Where copies of a part's documents may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// In this backing index or a later one.
    Index(Arc<str>),
    /// In any that was the write index at or after a document's own time.
    Its,
}

/// A backing index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    pub name: Arc<str>,
    /// Unix seconds; `None` where it is not known.
    pub created: Option<i64>,
}

/// The stream as the cluster showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Oldest first; the last is the write index. Empty when there is no such stream.
    pub backing: Vec<Backing>,
    /// Whether the next write rolls the stream over, whatever stands here; `None` where it cannot be known.
    pub lazy: Option<bool>,
}

/// An index to look into, and which documents: those of this time or earlier (Unix seconds; `None`: all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub index: Arc<str>,
    pub until: Option<i64>,
}

impl View {
    pub fn write_index(&self) -> Option<&Arc<str>> {
        self.backing.last().map(|backing| &backing.name)
    }

    /// The older backing indices that may hold copies. The write index is none of them: it refuses a repeat by itself.
    pub fn older(&self, since: &Since) -> Vec<Place> {
        let older = &self.backing[..self.backing.len().saturating_sub(1)];
        let known = match since {
            Since::Index(index) => self.backing.iter().position(|backing| backing.name == *index),
            Since::Its => None,
        };
        if let Some(first) = known {
            return older[first.min(older.len())..]
                .iter()
                .map(|b| Place { index: b.name.clone(), until: None })
                .collect();
        }
        // No index is remembered, or the remembered one is gone. An index was written until the next one was made.
        let ends = self.backing.iter().skip(1).map(|next| next.created);
        let place = |(backing, end): (&Backing, Option<i64>)| Place {
            index: backing.name.clone(),
            until: end.map(|end| end.saturating_add(SKEW_SECONDS)),
        };
        older.iter().zip(ends).map(place).collect()
    }
}

/// Why nothing is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind(pub String);

#[derive(Debug)]
pub struct Stream {
    pub name: String,
    pub lookup: Lookup,
    state: Mutex<State>,
    /// One asks at a time; the others take what it learned.
    pub asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// What the checkpoint remembered.
    recalled: Option<Arc<str>>,
    /// The newest write index known of.
    write: Option<Arc<str>>,
    /// It was so in this run, and no rollover was pending.
    confirmed: bool,
    view: Option<(Instant, Arc<View>)>,
    blind: Option<(Instant, Blind)>,
    /// It is known to be a data stream, or nobody can tell us.
    safe: bool,
}

impl Stream {
    pub fn new(name: String, lookup: Lookup) -> Self {
        Self { name, lookup, state: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// What an earlier run left.
    pub fn recall(&self, memory: Memory) {
        let Memory::Note(Some(index)) = memory else { return };
        let mut state = self.state();
        (state.recalled, state.write, state.safe) = (Some(index.clone()), Some(index), true);
    }

    /// The write index, as far as it is known.
    pub fn write_index(&self) -> Option<Arc<str>> {
        self.state().write.clone()
    }

    /// Where lines may stand that an earlier run has sent after its last checkpoint.
    pub fn recalled(&self) -> Since {
        self.state().recalled.clone().map_or(Since::Its, Since::Index)
    }

    /// Where documents may stand that are sent from now on.
    pub fn since_now(&self) -> Since {
        self.write_index().map_or(Since::Its, Since::Index)
    }

    /// The write index, if this run has seen it at work.
    pub fn confirmed(&self) -> Option<Arc<str>> {
        let state = self.state();
        state.write.clone().filter(|_| state.confirmed)
    }

    /// The answer to a write named the write index.
    pub fn learn(&self, index: &str) {
        let mut state = self.state();
        if state.write.as_deref() != Some(index) {
            state.write = Some(index.into());
        }
        (state.safe, state.confirmed) = (true, true);
        if let Some((_, view)) = &mut state.view
            && view.lazy != Some(false)
            && view.write_index().is_some_and(|known| **known == *index)
        {
            Arc::make_mut(view).lazy = Some(false);
        }
    }

    /// The answer to a question named it: a rollover may be pending.
    pub fn learn_asked(&self, index: &Arc<str>) {
        let mut state = self.state();
        (state.write, state.safe, state.confirmed) = (Some(index.clone()), true, false);
    }

    /// What was asked, if nothing speaks against it and it is younger than `after`.
    pub fn view(&self, after: Option<Instant>) -> Option<Arc<View>> {
        let state = self.state();
        let (at, view) = state.view.as_ref()?;
        let fresh = at.elapsed() < FRESH && after.is_none_or(|after| *at > after);
        (fresh && view.write_index() == state.write.as_ref()).then(|| Arc::clone(view))
    }

    pub fn see(&self, view: View) -> Arc<View> {
        let view = Arc::new(view);
        let mut state = self.state();
        // Where there is no stream, what was in the one that we remember is gone with it.
        state.write = view.write_index().cloned();
        state.safe |= state.write.is_some();
        state.confirmed = state.write.is_some() && view.lazy == Some(false);
        state.view = Some((Instant::now(), Arc::clone(&view)));
        state.blind = None;
        view
    }

    /// We may not look, for the present.
    pub fn blind(&self) -> Option<Blind> {
        let state = self.state();
        state.blind.as_ref().filter(|(at, _)| at.elapsed() < ASK_AGAIN).map(|(_, why)| why.clone())
    }

    pub fn blinded(&self, why: Blind) {
        self.state().blind = Some((Instant::now(), why));
    }

    /// Nothing needs to be asked before a write goes there.
    pub fn is_safe(&self) -> bool {
        self.state().safe
    }

    /// A write goes into a data stream, as far as anybody can tell.
    pub fn safe(&self) {
        self.state().safe = true;
    }

    /// It went elsewhere: ask before the next.
    pub fn unsafe_now(&self) {
        self.state().safe = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(rows: &[(&str, Option<i64>)]) -> View {
        let backing = |(name, created): &(&str, Option<i64>)| Backing { name: (*name).into(), created: *created };
        View { backing: rows.iter().map(backing).collect(), lazy: Some(false) }
    }

    fn places(view: &View, since: &Since) -> Vec<(String, Option<i64>)> {
        view.older(since).into_iter().map(|place| (place.index.to_string(), place.until)).collect()
    }

    #[test]
    fn where_copies_may_stand() {
        let four = view(&[("a", Some(100)), ("b", Some(200)), ("c", None), ("d", Some(400))]);
        let since = |name: &str| Since::Index(name.into());
        let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), None)).collect::<Vec<_>>();
        let end = |seconds: i64| Some(seconds + SKEW_SECONDS);
        let its = vec![("a".to_owned(), end(200)), ("b".to_owned(), None), ("c".to_owned(), end(400))];
        assert_eq!(places(&four, &since("d")), [], "the write index refuses by itself");
        assert_eq!(places(&four, &since("b")), all(&["b", "c"]));
        assert_eq!(places(&four, &since("a")), all(&["a", "b", "c"]));
        assert_eq!(places(&four, &Since::Its), its, "where b ended is not known");
        assert_eq!(places(&four, &since("gone")), its, "as if nothing were remembered");
        for short in [view(&[]), view(&[("a", Some(1))])] {
            assert_eq!(places(&short, &Since::Its), []);
            assert_eq!(places(&short, &since("a")), []);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_is_believed_until_something_speaks_against_it() {
        let stream = Stream::new("s".into(), Lookup::Auto);
        assert_eq!((stream.view(None), stream.since_now(), stream.is_safe()), (None, Since::Its, false));
        let seen = stream.see(view(&[("a", None), ("b", None)]));
        assert_eq!(stream.view(None), Some(seen));
        assert_eq!(stream.since_now(), Since::Index("b".into()));
        assert_eq!(stream.view(Some(Instant::now())), None, "a try that failed since");
        stream.learn("b");
        assert!(stream.view(None).is_some() && stream.is_safe());
        stream.learn("c");
        assert_eq!(stream.view(None), None, "an answer named another");
        assert_eq!(stream.confirmed(), Some("c".into()));
        stream.see(view(&[("c", None)]));
        tokio::time::advance(FRESH).await;
        assert_eq!(stream.view(None), None, "too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_is_where_the_next_run_begins() {
        let stream = Stream::new("s".into(), Lookup::Auto);
        stream.recall(Memory::Note(Some("a".into())));
        assert_eq!((stream.write_index(), stream.recalled()), (Some("a".into()), Since::Index("a".into())));
        assert_eq!(stream.confirmed(), None, "that was another run");
        stream.learn("b");
        assert_eq!((stream.write_index(), stream.recalled()), (Some("b".into()), Since::Index("a".into())));
        for memory in [Memory::Nothing, Memory::Note(None)] {
            let stream = Stream::new("s".into(), Lookup::Auto);
            stream.recall(memory);
            assert_eq!((stream.write_index(), stream.recalled(), stream.is_safe()), (None, Since::Its, false));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_rollover_is_over_with_the_first_write() {
        let stream = Stream::new("s".into(), Lookup::Auto);
        let lazy = |lazy| View { lazy, ..view(&[("a", None), ("b", None)]) };
        for pending in [None, Some(true)] {
            stream.see(lazy(pending));
            assert_eq!((stream.confirmed(), stream.view(None).unwrap().lazy), (None, pending));
            stream.learn("b");
            assert_eq!((stream.confirmed(), stream.view(None).unwrap().lazy), (Some("b".into()), Some(false)));
        }
        stream.see(lazy(Some(false)));
        assert_eq!(stream.confirmed(), Some("b".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_that_was_missing_is_tried_again() {
        let stream = Stream::new("s".into(), Lookup::Auto);
        stream.blinded(Blind("403".into()));
        assert_eq!(stream.blind(), Some(Blind("403".into())));
        tokio::time::advance(ASK_AGAIN).await;
        assert_eq!(stream.blind(), None);
    }
}

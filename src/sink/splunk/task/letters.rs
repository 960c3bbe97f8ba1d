//! Events that were refused for good, on their way into the dead letter.

use std::future::pending;
use std::sync::{Arc, PoisonError};

use super::super::outcome::{Held, Hold, Refusal};
use super::{Fate, Grave, MOST_ASIDE, MOST_REFUSED, Part, Task};
use crate::sink::dead_letter::{DeadLetterError, Letter, Written};

impl Task {
    /// One event is refused; the others are sent again. Those before it may have been taken.
    pub(super) fn refused(&mut self, part: &Part, event: usize, refusal: Refusal) {
        self.stats.repeated_events.add(event as u64);
        if let Some(rest) = part.sealed.without(event) {
            self.queue.push_front(part.of(rest));
        }
        let bad = part.of(part.sealed.pick([event]));
        if !self.config.suspicious || self.taken && self.refused_in_a_row < MOST_REFUSED {
            self.refused_in_a_row += 1;
            return self.condemn(&bad, refusal);
        }
        let detail = format!("{} {}", refusal.kind, refusal.reason);
        self.aside.push_back(bad);
        if self.queue.is_empty() || self.aside.len() >= MOST_ASIDE {
            self.hold(&Held { why: Hold::Misconfigured, detail }, None);
        }
    }

    fn condemn(&mut self, bad: &Part, refusal: Refusal) {
        let (id, document) = bad.sealed.event(0);
        if let Some(unsaid_times) = self.due("rejected") {
            tracing::warn!(
                siem = self.config.name,
                id = id.as_str(),
                kind = refusal.kind,
                reason = refusal.reason,
                unsaid_times,
                "events were refused for good, see the dead letter"
            );
        }
        let Refusal { status, kind, reason } = refusal;
        let letter = Letter { id: id.as_str().to_owned(), index: None, status, kind, reason, document };
        self.graves.push_back(Grave { batch: bad.batch, lines: bad.sealed.lines(0), letter });
    }

    /// Puts refused events into the dead letter, one by one where they do not fit together.
    pub(super) async fn bury(&mut self) {
        match self.put_away(self.graves.len()).await {
            Err(DeadLetterError::Full { .. }) if self.graves.len() > 1 => {}
            Err(error) => return self.hold(&Held { why: Hold::DeadLetter, detail: error.to_string() }, None),
            Ok(()) => return self.there_is_room(),
        }
        match self.put_away(1).await {
            Ok(()) => self.there_is_room(),
            Err(error) => self.hold(&Held { why: Hold::DeadLetter, detail: error.to_string() }, None),
        }
    }

    /// What held us was not the collector.
    fn there_is_room(&mut self) {
        self.released(&[]);
        if self.current.is_some() {
            self.start_taking();
        }
    }

    async fn put_away(&mut self, count: usize) -> Result<(), DeadLetterError> {
        let shelf = Arc::clone(&self.dead_letter);
        let letters: Vec<Letter> = self.graves.iter().take(count).map(|grave| grave.letter.clone()).collect();
        // A disk's sync can take long, and metrics and health are answered by this thread.
        let writing =
            tokio::task::spawn_blocking(move || shelf.lock().unwrap_or_else(PoisonError::into_inner).write(&letters));
        let written = match writing.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => result?,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(Err(_)) => pending().await,
        };
        self.buried(count, &written);
        Ok(())
    }

    /// Letters that are larger than the whole dead letter are dropped; which of several these were does not matter to the
    /// sums of a lane, but for the lines of folded ones, which then count as the one or the other.
    fn buried(&mut self, count: usize, written: &Written) {
        self.stats.rejected_events.add(written.kept);
        self.stats.dead_letter_evicted_events.add(written.evicted_letters);
        let mut dropped = written.dropped;
        for Grave { batch, lines, .. } in self.graves.drain(..count) {
            let drop = dropped.min(1);
            dropped -= drop;
            let fate = Fate { events: 1, rejected: lines * (1 - drop), dropped: lines * drop };
            self.ledger.decide(batch, fate);
        }
        self.settle();
    }
}

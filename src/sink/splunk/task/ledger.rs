//! What is not settled: batches in the order in which they were handed over, and the tickets that wait for them.
//!
//! Events are decided in any order. A batch is through when all its events are decided; batches settle in their order, and
//! each releases the tickets that it says. Of a ticket whose lines were folded, nobody knows which of them a refused event
//! stood for: its lines count against the next tickets that are settled. That sum is exact: the lines of a refused event
//! belong to tickets that are not settled before it.

use std::collections::VecDeque;

use crate::lane::{Settled, Ticket};
use crate::sink::siem::Seal;

/// What became of some events of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sink::splunk) struct Fate {
    pub(in crate::sink::splunk) events: usize,
    /// Lines that those of them stood for that are refused for good and lie in the dead letter.
    pub(in crate::sink::splunk) rejected: u64,
    /// Lines of those that a rule of the user's gave up.
    pub(in crate::sink::splunk) dropped: u64,
}

#[derive(Debug)]
struct Tally {
    seal: Seal,
    /// Events that are not decided.
    open: usize,
    /// There are flows among them.
    flows: bool,
    own: u64,
    bytes: usize,
    lost: Fate,
}

#[derive(Debug, Default)]
pub(in crate::sink::splunk) struct Ledger {
    /// Number of the first batch.
    first: u64,
    batches: VecDeque<Tally>,
    /// Number, ticket and lines.
    tickets: VecDeque<(u64, Ticket, u64)>,
    /// Of settled batches, not yet counted with a ticket.
    lost: Fate,
    /// Bytes of batches that are through.
    freed: usize,
}

impl Ledger {
    /// Gives the batch's number. `own`: the highest number of a record of our own in it; `bytes`: what it costs.
    pub(in crate::sink::splunk) fn push(
        &mut self,
        seal: Seal,
        events: usize,
        flows: bool,
        own: u64,
        bytes: usize,
    ) -> u64 {
        if let Some(ticket) = seal.ticket {
            self.tickets.push_back((seal.epoch, ticket, seal.lines));
        }
        self.batches.push_back(Tally { seal, open: events, flows, own, bytes, lost: Fate::default() });
        if let Some(tally) = self.batches.back_mut() {
            tally.free(&mut self.freed);
        }
        self.first + self.batches.len() as u64 - 1
    }

    pub(in crate::sink::splunk) fn decide(&mut self, batch: u64, fate: Fate) {
        let index = batch.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(tally) = index.and_then(|index| self.batches.get_mut(index)) else { return };
        tally.open = tally.open.saturating_sub(fate.events);
        tally.lost.rejected += fate.rejected;
        tally.lost.dropped += fate.dropped;
        tally.free(&mut self.freed);
    }

    /// Bytes of batches that are through since the last time, whatever stands before them.
    pub(in crate::sink::splunk) fn freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }

    /// Takes the first batch out if it is through. Gives the highest number of a record of our own in it, and the tickets
    /// that are settled with it.
    pub(in crate::sink::splunk) fn settle(&mut self) -> Option<(u64, Vec<Settled>)> {
        let tally = self.batches.pop_front_if(|tally| tally.open == 0)?;
        self.first += 1;
        self.lost.rejected += tally.lost.rejected;
        self.lost.dropped += tally.lost.dropped;
        let mut settled = Vec::new();
        while let Some((_, ticket, lines)) = self.tickets.pop_front_if(|(epoch, ..)| *epoch <= tally.seal.release) {
            let rejected = self.lost.rejected.min(lines);
            let dropped = self.lost.dropped.min(lines - rejected);
            self.lost.rejected -= rejected;
            self.lost.dropped -= dropped;
            settled.push(Settled { ticket, delivered: lines - rejected - dropped, rejected, dropped });
        }
        Some((tally.own, settled))
    }

    /// Whether a line waits for an event to be decided.
    pub(in crate::sink::splunk) fn matters(&self) -> bool {
        self.batches.iter().any(|tally| tally.flows && tally.open > 0)
    }

    pub(in crate::sink::splunk) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Nobody decides the rest any more.
    pub(in crate::sink::splunk) fn give_up(&mut self) {
        for tally in &mut self.batches {
            tally.open = 0;
            tally.free(&mut self.freed);
        }
    }
}

impl Tally {
    fn free(&mut self, freed: &mut usize) {
        if self.open == 0 {
            *freed += std::mem::take(&mut self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(epoch: u64, lines: u64, release: u64) -> Seal {
        Seal { ticket: (epoch > 0).then_some(Ticket(epoch)), lines, epoch, release }
    }

    fn all(ledger: &mut Ledger) -> Vec<Settled> {
        std::iter::from_fn(|| ledger.settle()).flat_map(|(_, settled)| settled).collect()
    }

    fn settled(ticket: u64, delivered: u64, rejected: u64, dropped: u64) -> Settled {
        Settled { ticket: Ticket(ticket), delivered, rejected, dropped }
    }

    #[test]
    fn tickets_follow_the_order_of_their_batches() {
        let mut ledger = Ledger::default();
        let one = ledger.push(seal(1, 2, 1), 2, true, 0, 10);
        let two = ledger.push(seal(2, 1, 2), 1, true, 0, 20);
        ledger.decide(two, Fate { events: 1, ..Fate::default() });
        assert_eq!((all(&mut ledger), ledger.freed(), ledger.freed()), (vec![], 20, 0), "memory waits for no order");
        ledger.decide(one, Fate { events: 1, rejected: 1, dropped: 0 });
        assert!(all(&mut ledger).is_empty() && ledger.matters());
        ledger.decide(one, Fate { events: 1, ..Fate::default() });
        assert_eq!((all(&mut ledger), ledger.freed()), (vec![settled(1, 1, 1, 0), settled(2, 1, 0, 0)], 10));
        assert!(ledger.is_empty() && !ledger.matters());
    }

    /// Two tickets whose lines stand in one window, which closes with the third.
    #[test]
    fn a_window_holds_its_tickets() {
        let mut ledger = Ledger::default();
        ledger.push(seal(1, 4, 0), 0, false, 0, 1);
        ledger.push(seal(2, 3, 0), 0, false, 0, 1);
        assert!(all(&mut ledger).is_empty() && ledger.is_empty() && !ledger.matters(), "nothing is decided any more");
        let window = ledger.push(seal(0, 0, 2), 1, true, 7, 5);
        let last = ledger.push(seal(3, 1, 3), 1, true, 0, 5);
        ledger.decide(window, Fate { events: 1, rejected: 6, dropped: 0 });
        ledger.decide(last, Fate { events: 1, rejected: 0, dropped: 1 });
        assert_eq!(ledger.settle(), Some((7, vec![settled(1, 0, 4, 0), settled(2, 1, 2, 0)])));
        assert_eq!(all(&mut ledger), [settled(3, 0, 0, 1)]);
    }

    #[test]
    fn what_is_given_up_holds_nobody() {
        let mut ledger = Ledger::default();
        ledger.push(seal(0, 0, 0), 1, false, 0, 3);
        ledger.push(seal(1, 2, 1), 0, false, 0, 3);
        assert!(!ledger.matters() && all(&mut ledger).is_empty());
        ledger.give_up();
        assert_eq!((all(&mut ledger), ledger.freed()), (vec![settled(1, 2, 0, 0)], 6));
    }
}

//! Acknowledgements: the channel in use, what waits for them, and what becomes of those that do not come.

use tokio::time::Instant;

use super::super::Acknowledgement;
use super::super::channel::{self, Channel};
use super::super::outcome::{self, Acks, Held, Hold};
use super::super::stats::Proof;
use super::{LAST_WAIT, ONE_BY_ONE, Part, Relaxed, Task};
use crate::net::http::Trouble;

impl Task {
    pub(super) fn is_waiting(&self) -> bool {
        self.channels.iter().any(Channel::is_waiting)
    }

    /// Asks for the acknowledgement of nothing, so that no event is sent to a token that has none.
    pub(super) async fn acknowledges(&mut self, receiver: usize) -> bool {
        let held = match self.peer.ask_acks(receiver, &channel::guid(), &[0]).await {
            Ok(answer) => match outcome::judge_acks(answer.status, &answer.body, &[0]) {
                Acks::Disabled => Held { why: Hold::AckDisabled, detail: format!("{} ACK is disabled", answer.status) },
                Acks::Hold(held) => held,
                Acks::Indexed(_) | Acks::NoChannel | Acks::Later => return true,
            },
            // A batch will meet the same.
            Err(Trouble::Failed(_)) => return true,
            Err(Trouble::Secret(error)) => Held { why: Hold::NoSecret, detail: error.to_string() },
        };
        self.hold(&held, None);
        false
    }

    /// The name of the channel in use, a new one where there is none.
    pub(super) fn channel(&mut self, receiver: usize) -> Option<String> {
        if self.config.acknowledgement == Acknowledgement::Off {
            return None;
        }
        if self.channels.last().is_none_or(|channel| channel.receiver != receiver || channel.is_closed()) {
            self.stats.channels.add(1);
            self.channels.push(Channel::new(receiver));
        }
        self.channels.last().map(|channel| channel.guid.clone())
    }

    pub(super) fn wait_for(&mut self, ack: u64, part: Part) {
        let events = part.sealed.events();
        if !self.is_waiting() {
            self.poll_wait = self.config.ack_poll.0;
            self.poll_at = Instant::now() + self.poll_wait;
        }
        // There is one: the request had its name.
        let Some(channel) = self.channels.last_mut() else { return self.again(vec![part]) };
        match channel.wait(ack, part) {
            Ok(()) => drop(self.stats.waiting_events.fetch_add(events, Relaxed)),
            Err((_, part)) => {
                if let Some(unsaid_times) = self.due("forgotten") {
                    tracing::warn!(
                        siem = self.config.name,
                        unsaid_times,
                        "the collector gave an acknowledgement's number twice: it was restarted, or a load balancer without \
                         sticky sessions stands before several; what it had not acknowledged is sent again"
                    );
                }
                self.stats.unacknowledged_batches.add(1);
                self.again(vec![part]);
                self.forget_channel();
            }
        }
    }

    /// What waits in the channel in use can be mistaken, or is not known there: it is sent again, on another one.
    pub(super) fn forget_channel(&mut self) {
        self.one_by_one_until = Some(Instant::now() + ONE_BY_ONE);
        let Some(mut channel) = self.channels.pop() else { return };
        let parts = channel.give_up();
        self.stats.unacknowledged_batches.add(parts.len() as u64);
        self.unwait(&parts);
        self.again(parts);
    }

    /// Acknowledgements that did not come in time.
    pub(super) fn give_up_overdue(&mut self) {
        let Some(limit) = Instant::now().checked_sub(self.config.ack_timeout) else { return };
        let parts: Vec<Part> = self.channels.iter_mut().flat_map(|channel| channel.overdue(limit)).collect();
        if parts.is_empty() {
            return;
        }
        self.unwait(&parts);
        self.stats.unacknowledged_batches.add(parts.len() as u64);
        self.one_by_one_until = Some(Instant::now() + ONE_BY_ONE);
        self.renew_channel();
        let detail = format!("no acknowledgement within {:?}", self.config.ack_timeout);
        self.show(&Held { why: Hold::Unacknowledged, detail });
        self.again(parts);
    }

    /// The next request begins another channel; what waits in this one is asked for still.
    pub(super) fn renew_channel(&mut self) {
        if let Some(channel) = self.channels.last_mut() {
            channel.close();
        }
        self.channels.retain(|channel| channel.is_waiting());
    }

    /// Asks every channel in which something waits.
    pub(super) async fn poll(&mut self) {
        let mut indexed = false;
        for index in (0..self.channels.len()).rev() {
            indexed |= self.poll_channel(index).await;
        }
        let in_use = self.channels.len().saturating_sub(1);
        let mut place = 0;
        self.channels.retain(|channel| {
            place += 1;
            channel.is_waiting() || place > in_use && !channel.is_closed()
        });
        let (first, longest) = self.config.ack_poll;
        let longest = if self.finishing.is_some() { longest.min(LAST_WAIT) } else { longest };
        self.poll_wait = if indexed { first } else { (self.poll_wait * 2).min(longest) };
        self.poll_at = Instant::now() + self.poll_wait;
    }

    /// Whether something in it was acknowledged.
    async fn poll_channel(&mut self, index: usize) -> bool {
        let channel = &self.channels[index];
        let asked = channel.asked();
        if asked.is_empty() {
            return false;
        }
        self.stats.ack_requests.add(1);
        let answer = match self.peer.ask_acks(channel.receiver, &channel.guid, &asked).await {
            Ok(answer) => answer,
            // Somebody who is away remembers nothing new; the batches' own time limit holds.
            Err(_) => return false,
        };
        match outcome::judge_acks(answer.status, &answer.body, &asked) {
            Acks::Indexed(acks) => return self.indexed(index, &acks),
            Acks::NoChannel => {
                let parts = self.channels[index].give_up();
                self.channels[index].close();
                self.stats.unacknowledged_batches.add(parts.len() as u64);
                self.unwait(&parts);
                self.again(parts);
            }
            Acks::Disabled => {
                let parts = self.channels[index].give_up();
                self.unwait(&parts);
                match self.config.acknowledgement {
                    Acknowledgement::Required => {
                        self.again(parts);
                        self.look_again();
                    }
                    // They were taken, and nobody will ever say more.
                    _ => parts.iter().for_each(|part| self.delivered(part, Proof::Taken)),
                }
            }
            Acks::Hold(held) => {
                if held.why != Hold::Token || !self.peer.credentials.refresh() {
                    self.show(&held);
                }
            }
            Acks::Later => {}
        }
        false
    }

    fn indexed(&mut self, index: usize, acks: &[u64]) -> bool {
        let parts = self.channels[index].acknowledged(acks);
        self.unwait(&parts);
        parts.iter().for_each(|part| self.delivered(part, Proof::Acknowledged));
        if !parts.is_empty() {
            // What fills the dead letter is not over by that.
            self.released(&[Hold::DeadLetter]);
        }
        !parts.is_empty()
    }

    pub(super) fn unwait(&self, parts: &[Part]) {
        let events: usize = parts.iter().map(|part| part.sealed.events()).sum();
        self.stats.waiting_events.fetch_sub(events, Relaxed);
    }
}

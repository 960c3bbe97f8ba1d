//! The I/O half: one task that sends batches, asks for acknowledgements, and settles events when they are decided.
//!
//! One request at a time: a channel's answers then come in the order of its requests, so that a number given twice is seen
//! before anything is taken for acknowledged under it. What waits for acknowledgements does not keep others from being
//! sent; memory is bounded by the lane, which stops reading at the sink's limit.

mod acks;
mod holds;
pub(super) mod ledger;
mod letters;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

use self::ledger::{Fate, Ledger};
use super::batch::Sealed;
use super::channel::Channel;
use super::outcome::{self, Doubt, Held, Hold, Verdict};
use super::peer::{Answer, Peer};
use super::stats::{Proof, Stats};
use super::{Acknowledgement, Config};
use crate::lane::Outcomes;
use crate::net::http::{Failure, Trouble};
use crate::net::receivers::Receivers;
use crate::sink::dead_letter::{DeadLetter, Letter};
use crate::sink::limits::Limits;
use crate::sink::siem::{Away, Seal};
use crate::sink::task::{maybe, until};
use crate::telemetry::Complaint;

/// A part that stays uncertain is halved after so many tries.
const DOUBTS: u32 = 3;
/// A receiver that is busy so often in a row is left, if there is another.
const PATIENCE: u32 = 3;
/// Events refused in a row before it is the set-up that is suspected, and not they.
const MOST_REFUSED: u32 = 100;
/// Events that are set aside under that suspicion before others are tried more slowly.
const MOST_ASIDE: usize = 3;
/// After a sign that acknowledgements are not to be relied on, one batch at a time waits for its own, for so long.
const ONE_BY_ONE: Duration = Duration::from_secs(300);
/// A receiver that was good for so long fails for another reason than before.
const STEADY: Duration = Duration::from_secs(10);
/// No wait is longer while the agent is stopping.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// For acknowledgements of what we say of ourselves, once nothing else waits and the agent is stopping.
const OWN_PATIENCE: Duration = Duration::from_secs(5);

/// What the lane's half hands over.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) seal: Seal,
    pub(super) sealed: Sealed,
    /// Events of flows are in it.
    pub(super) flows: bool,
    /// The highest number of a record of our own in it that must come; 0: there is none.
    pub(super) own: u64,
    /// What it costs.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) enum Command {
    Send(Batch),
    Finish,
}

/// Events that are still to be decided.
#[derive(Debug)]
struct Part {
    batch: u64,
    sealed: Sealed,
    doubts: u32,
    /// Nobody misses it: the next heartbeat says more.
    fleeting: bool,
}

impl Part {
    /// Other events of the same batch.
    fn of(&self, sealed: Sealed) -> Self {
        Self { batch: self.batch, sealed, doubts: 0, fleeting: self.fleeting }
    }
}

/// An event that was refused for good: its batch, the lines that it stands for, and what is kept of it.
#[derive(Debug)]
struct Grave {
    batch: u64,
    lines: u64,
    letter: Letter,
}

/// A receiver, and whether it answers that it is well.
type Probing = Pin<Box<dyn Future<Output = (usize, Result<(), String>)> + Send>>;

struct Task {
    config: Config,
    peer: Arc<Peer>,
    limits: Arc<Limits>,
    outcomes: Outcomes,
    stats: Arc<Stats>,
    dead_letter: Arc<Mutex<DeadLetter>>,
    receivers: Receivers,
    /// Where events go, and since when.
    current: Option<(usize, Instant)>,
    /// Whose turn it is, once its wait is over.
    next: Option<usize>,
    /// A look whether a preferred receiver is well, while events go to another.
    probing: Option<Probing>,
    ledger: Ledger,
    /// To be sent, in order.
    queue: VecDeque<Part>,
    /// Single events that were refused while nothing spoke for our set-up.
    aside: VecDeque<Part>,
    /// Single events that were refused for good, on their way into the dead letter.
    graves: VecDeque<Grave>,
    /// The last one is in use; in the others something waits still.
    channels: Vec<Channel<Part>>,
    /// Nothing is sent before.
    try_at: Instant,
    poll_at: Instant,
    poll_wait: Duration,
    one_by_one_until: Option<Instant>,
    failures: u32,
    busy: u32,
    /// The collector has taken something, so that our set-up was sound once.
    taken: bool,
    refused_in_a_row: u32,
    /// Since when.
    finishing: Option<Instant>,
    /// The last try failed.
    stuck: bool,
    away: Away,
    complaints: HashMap<&'static str, Complaint>,
}

/// Runs until the lane's half is gone.
pub(super) async fn run(
    config: Config,
    peer: Arc<Peer>,
    limits: Arc<Limits>,
    mut commands: UnboundedReceiver<Command>,
    outcomes: Outcomes,
    stats: Arc<Stats>,
) {
    let now = Instant::now();
    let mut task = Task {
        receivers: Receivers::new(config.receivers.len(), config.backoff, config.failback),
        dead_letter: Arc::new(Mutex::new(DeadLetter::new(config.dead_letter.clone()))),
        poll_wait: config.ack_poll.0,
        config,
        peer,
        limits,
        outcomes,
        stats,
        current: None,
        next: None,
        probing: None,
        ledger: Ledger::default(),
        queue: VecDeque::new(),
        aside: VecDeque::new(),
        graves: VecDeque::new(),
        channels: Vec::new(),
        try_at: now,
        poll_at: now,
        one_by_one_until: None,
        failures: 0,
        busy: 0,
        taken: false,
        refused_in_a_row: 0,
        finishing: None,
        stuck: false,
        away: Away::from_now(),
        complaints: HashMap::new(),
    };
    loop {
        while let Ok(command) = commands.try_recv() {
            task.obey(command);
        }
        if task.act().await {
            continue;
        }
        task.look_around();
        let deadline = task.next_deadline();
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => task.obey(command),
                None => return,
            },
            (receiver, found) = maybe(&mut task.probing) => task.probed(receiver, found),
            () = until(deadline) => {}
        }
    }
}

/// Whether it takes events. Any answer but "unavailable" is one: not every collector has the health endpoint, and what is
/// wrong with our token a batch will tell.
async fn look(peer: &Peer, receiver: usize) -> Result<(), String> {
    match peer.health(receiver).await {
        Ok(Answer { status: 503, body, .. }) => match outcome::judge(503, &body, 1) {
            Verdict::Busy => Err("it says that it is not well (503)".to_owned()),
            _ => Err("it is unavailable (503)".to_owned()),
        },
        Ok(_) | Err(Trouble::Secret(_)) => Ok(()),
        Err(Trouble::Failed(failure)) => Err(failure.to_string()),
    }
}

impl Task {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Send(batch) => self.take_in(batch),
            Command::Finish => {
                self.finishing = Some(Instant::now());
                self.try_at = self.try_at.min(Instant::now() + LAST_WAIT);
                self.poll_at = Instant::now();
                self.poll_wait = self.config.ack_poll.0;
            }
        }
    }

    fn take_in(&mut self, Batch { seal, sealed, flows, own, bytes }: Batch) {
        let fleeting = !flows && own == 0;
        if fleeting {
            self.forget_fleeting();
        }
        let batch = self.ledger.push(seal, sealed.events(), flows, own, bytes);
        if sealed.events() > 0 {
            self.queue.push_back(Part { batch, sealed, doubts: 0, fleeting });
        }
        self.settle();
    }

    /// Heartbeats that wait: at most the latest one does, so that they cost no memory however long they wait. It is also
    /// what finds out, when there is nothing else to send, whether the collector is back.
    fn forget_fleeting(&mut self) {
        let (mut old, queue): (VecDeque<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|part| part.fleeting);
        self.queue = queue;
        self.discard(old.make_contiguous());
    }

    /// Nobody misses these.
    fn discard(&mut self, parts: &[Part]) {
        for part in parts {
            let events = part.sealed.events();
            self.stats.siem.discarded.fetch_add(events as u64, Relaxed);
            self.ledger.decide(part.batch, Fate { events, ..Fate::default() });
        }
        self.settle();
    }

    /// The agent stops: what we say of ourselves is not worth waiting for somebody who is away, nor for long.
    fn let_go(&mut self) {
        let Some(since) = self.finishing else { return };
        if self.ledger.is_empty() || self.ledger.matters() || !self.stuck && since.elapsed() < OWN_PATIENCE {
            return;
        }
        let waiting: Vec<Part> = self.channels.iter_mut().flat_map(Channel::give_up).collect();
        self.unwait(&waiting);
        self.queue.clear();
        self.aside.clear();
        self.graves.clear();
        self.ledger.give_up();
        self.settle();
    }

    /// Does one thing that can be done now; false when there is nothing to do but wait.
    async fn act(&mut self) -> bool {
        self.let_go();
        if self.finishing.is_some() && self.ledger.is_empty() {
            self.finishing = None;
            self.outcomes.finished();
        }
        self.give_up_overdue();
        let now = Instant::now();
        if self.is_waiting() && self.poll_at <= now {
            self.poll().await;
            return true;
        }
        if self.try_at > now {
            return false;
        }
        if !self.graves.is_empty() {
            self.bury().await;
            return true;
        }
        if self.may_send() {
            self.send_next().await;
            return true;
        }
        false
    }

    fn may_send(&self) -> bool {
        let one_by_one = self.one_by_one_until.is_some_and(|until| until > Instant::now());
        !(self.queue.is_empty() && self.aside.is_empty() || one_by_one && self.is_waiting())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let poll = self.is_waiting().then_some(self.poll_at);
        let send = (self.may_send() || !self.graves.is_empty()).then_some(self.try_at);
        let overdue = self.channels.iter().filter_map(Channel::oldest).min().map(|at| at + self.config.ack_timeout);
        let patience = self.finishing.filter(|_| !self.ledger.matters()).map(|since| since + OWN_PATIENCE);
        [poll, send, overdue, patience].into_iter().flatten().min()
    }

    /// Looks out for somebody better.
    fn look_around(&mut self) {
        if self.current.is_none() || self.probing.is_some() {
            return;
        }
        if let Some((receiver, wait)) = self.receivers.next_probe() {
            let peer = Arc::clone(&self.peer);
            self.probing = Some(Box::pin(async move {
                sleep(wait).await;
                (receiver, look(&peer, receiver).await)
            }));
        }
    }

    fn probed(&mut self, receiver: usize, found: Result<(), String>) {
        self.probing = None;
        if self.receivers.probed(receiver, found.is_ok()) {
            tracing::info!(
                siem = self.config.name,
                receiver = self.peer.base(receiver),
                "going back to a preferred receiver"
            );
            self.receivers.returned(receiver);
            // The other one is well and still owes acknowledgements: they are asked for where they are owed.
            self.adopt(receiver);
        }
    }

    /// Whom to send to; `None` when nobody can be had now.
    async fn receiver(&mut self) -> Option<usize> {
        if let Some((receiver, _)) = self.current {
            return Some(receiver);
        }
        let receiver = match self.next.take() {
            Some(receiver) => receiver,
            None => {
                let (receiver, wait) = self.receivers.next_try();
                if !wait.is_zero() {
                    self.next = Some(receiver);
                    self.pause(wait);
                    return None;
                }
                receiver
            }
        };
        if let Err(why) = look(&self.peer, receiver).await {
            self.receivers.failed(receiver);
            self.stop_taking();
            self.show(&Held { why: Hold::Unreachable, detail: format!("{}: {why}", self.peer.base(receiver)) });
            return None;
        }
        if self.config.acknowledgement == Acknowledgement::Required && !self.acknowledges(receiver).await {
            self.next = Some(receiver);
            return None;
        }
        self.receivers.connected(receiver);
        self.adopt(receiver);
        self.give_up_others(receiver);
        Some(receiver)
    }

    /// Events go to this receiver from now on.
    fn adopt(&mut self, receiver: usize) {
        tracing::info!(siem = self.config.name, receiver = self.peer.base(receiver), "events go to this collector");
        self.current = Some((receiver, Instant::now()));
        self.stats.set_current(Some(receiver));
        self.busy = 0;
    }

    /// What another one had and did not acknowledge goes to this one: the other could not be had.
    fn give_up_others(&mut self, receiver: usize) {
        let others = self.channels.extract_if(.., |channel| channel.receiver != receiver);
        let parts: Vec<Part> = others.flat_map(|mut channel| channel.give_up()).collect();
        self.unwait(&parts);
        self.again(parts);
    }

    /// The same receiver once more, from the beginning: its token has changed.
    fn look_again(&mut self) {
        self.next = self.current.take().map(|(receiver, _)| receiver).or(self.next);
        self.stats.set_current(None);
    }

    /// The receiver is not to be had any more, at least for now. `deaf`: it is there and does not do what it is asked, so
    /// that it is the next one's turn.
    fn lost(&mut self, why: &str, deaf: bool) {
        let Some((receiver, since)) = self.current.take() else { return };
        self.stop_taking();
        self.stats.set_current(None);
        self.probing = None;
        self.receivers.lost(since.elapsed() >= STEADY && !deaf);
        if let Some(unsaid_times) = self.due("lost") {
            let receiver = self.peer.base(receiver);
            tracing::warn!(siem = self.config.name, receiver, reason = why, unsaid_times, "lost the collector");
        }
    }

    async fn send_next(&mut self) {
        let Some(receiver) = self.receiver().await else { return };
        // What was set aside comes last: others may show meanwhile that our set-up is sound.
        let Some(part) = self.queue.pop_front().or_else(|| self.aside.pop_front()) else {
            return;
        };
        let channel = self.channel(receiver);
        self.stats.requests.add(1);
        self.stats.sent_bytes.add(part.sealed.body().len() as u64);
        match self.peer.send(receiver, channel.as_deref(), &part.sealed).await {
            Ok(answer) => {
                let verdict = outcome::judge(answer.status, &answer.body, part.sealed.events());
                self.judged(part, verdict, answer.wish);
            }
            Err(Trouble::Secret(error)) => {
                self.queue.push_front(part);
                self.hold(&Held { why: Hold::NoSecret, detail: error.to_string() }, None);
            }
            Err(Trouble::Failed(Failure::NotSent(why))) => {
                self.queue.push_front(part);
                self.lost(&why, false);
            }
            Err(Trouble::Failed(Failure::Lost(why))) => {
                self.doubt(part, Doubt::Lost, None);
                self.lost(&why, false);
            }
        }
    }

    fn judged(&mut self, part: Part, verdict: Verdict, wish: Option<Duration>) {
        match verdict {
            Verdict::Taken { ack } => self.accepted(part, ack),
            Verdict::Split => {
                self.stats.split_requests.add(1);
                if self.limits.too_large(part.sealed.plain() as u64) {
                    let bytes = self.limits.bytes();
                    tracing::warn!(
                        siem = self.config.name,
                        bytes,
                        "a request was too large for the collector, batches are smaller from now on"
                    );
                }
                self.halve(part);
            }
            Verdict::Bad { event, refusal } => self.refused(&part, event, refusal),
            Verdict::BadSomewhere => self.halve(part),
            Verdict::NoChannel => {
                self.forget_channel();
                self.queue.push_front(part);
                self.retry_later(wish);
            }
            Verdict::Busy => {
                self.stats.busy_requests.add(1);
                self.queue.push_front(part);
                self.busy += 1;
                if let Some(unsaid_times) = self.due("busy") {
                    tracing::warn!(
                        siem = self.config.name,
                        unsaid_times,
                        "the collector is busy; trying again more slowly"
                    );
                }
                if self.busy >= PATIENCE && self.config.receivers.len() > 1 {
                    self.lost("it is busy", true);
                }
                self.retry_later(wish);
            }
            Verdict::Hold(held) => {
                self.queue.push_front(part);
                self.hold(&held, wish);
            }
            Verdict::Uncertain(doubt) => self.doubt(part, doubt, wish),
        }
    }

    /// The collector has it in its queue.
    fn accepted(&mut self, part: Part, ack: Option<u64>) {
        self.start_taking();
        (self.failures, self.busy, self.refused_in_a_row, self.taken) = (0, 0, 0, true);
        // Our set-up is sound now: what is refused again is bad itself.
        self.queue.extend(self.aside.drain(..));
        match (self.config.acknowledgement, ack) {
            (Acknowledgement::Off, _) => self.delivered(&part, Proof::Taken),
            (Acknowledgement::Auto, None) => {
                if !self.complaints.contains_key("unacknowledged_token") {
                    self.due("unacknowledged_token");
                    tracing::warn!(
                        siem = self.config.name,
                        remedy = "enable indexer acknowledgement for the token",
                        "the token has no indexer acknowledgement: what the collector has taken counts as delivered, and can be lost in its queue"
                    );
                }
                self.delivered(&part, Proof::Taken);
            }
            (Acknowledgement::Required, None) => {
                self.look_again();
                let detail = "the answer has no ackId".to_owned();
                self.hold(&Held { why: Hold::AckDisabled, detail }, None);
                return self.again(vec![part]);
            }
            (_, Some(ack)) => self.wait_for(ack, part),
        }
        self.released(&[Hold::Unacknowledged]);
    }

    /// Sent once more, before everything else: the collector may have taken it. Heartbeats are not worth it.
    fn again(&mut self, parts: Vec<Part>) {
        for part in parts.into_iter().rev() {
            // Unless it is all there is to find out with that the collector takes something again.
            if part.fleeting && (self.stats.takes_events() || !self.queue.is_empty()) {
                self.discard(&[part]);
                continue;
            }
            self.stats.repeated_events.add(part.sealed.events() as u64);
            self.queue.push_front(part);
        }
    }

    fn halve(&mut self, part: Part) {
        match part.sealed.halves() {
            Some((first, second)) => {
                self.queue.push_front(part.of(second));
                self.queue.push_front(part.of(first));
            }
            None => self.queue.push_front(part),
        }
    }

    fn doubt(&mut self, mut part: Part, doubt: Doubt, wish: Option<Duration>) {
        self.stats.uncertain_requests.add(1);
        self.stats.repeated_events.add(part.sealed.events() as u64);
        if let Some(unsaid_times) = self.due(doubt.as_str()) {
            tracing::warn!(
                siem = self.config.name,
                doubt = doubt.as_str(),
                unsaid_times,
                "a request proved nothing, its events are sent again under the same ids"
            );
        }
        // Its number may have been given, and its answer was lost.
        self.renew_channel();
        part.doubts += 1;
        if part.doubts >= DOUBTS {
            self.halve(part);
        } else {
            self.queue.push_front(part);
        }
        if doubt == Doubt::ServerError && self.config.receivers.len() > 1 {
            self.lost("it answered with a server error", true);
        }
        self.retry_later(wish);
    }

    fn delivered(&mut self, part: &Part, proof: Proof) {
        let events = part.sealed.events();
        self.stats.settled(proof, events as u64);
        self.ledger.decide(part.batch, Fate { events, ..Fate::default() });
        self.settle();
    }

    /// Tells the lane of tickets that wait for nothing any more, and of room that there is again.
    fn settle(&mut self) {
        while let Some((own, settled)) = self.ledger.settle() {
            self.stats.siem.own_settled.fetch_max(own, Relaxed);
            settled.into_iter().for_each(|settled| self.outcomes.settled(settled));
        }
        let freed = self.ledger.freed();
        let before = self.stats.held_bytes.fetch_sub(freed, Relaxed);
        let limit = self.config.in_flight_bytes;
        if before >= limit && before - freed < limit {
            self.outcomes.room();
        }
    }
}

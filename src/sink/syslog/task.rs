//! The I/O half: one task that connects, writes batches, and settles them when nothing can be lost any more.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout};

use super::batch::Batch;
use super::connect::{ConnectError, connect};
use super::link::{Broken, Event, Link};
use super::stats::Proof;
use super::{Config, Stats, UNSENT_LIMIT};
use crate::lane::{Outcomes, Settled, Ticket};
use crate::net::receivers::Receivers;
use crate::sink::siem::{Away, Seal};
use crate::sink::task::{maybe, until};
use crate::telemetry::Complaint;

/// A connection that lived so long ended for another reason than the last one's.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Command {
    Send(Batch),
    /// The lane has seen our rewind: what comes now is new.
    Abandon,
    Finish,
}

/// A batch that was written without an acknowledgement and may still be lost.
#[derive(Debug)]
struct Sent {
    /// As [`Batch::matters`].
    matters: bool,
    /// As [`Seal::release`].
    release: u64,
    /// As [`Batch::own`].
    own: u64,
    /// Of them, written to this link: others may have been acknowledged by one before.
    written: u64,
    at: Instant,
}

/// A try to connect to one of the receivers, by its place in the order of preference.
type Connecting = Pin<Box<dyn Future<Output = (usize, Result<Link, ConnectError>)> + Send>>;

struct Task {
    config: Arc<Config>,
    outcomes: Outcomes,
    stats: Arc<Stats>,
    spares: std_mpsc::Sender<Batch>,
    receivers: Receivers,
    /// Where records go: at most one link at a time.
    link: Option<(usize, Link)>,
    connecting: Option<Connecting>,
    /// A look whether a preferred receiver answers, while records go to another.
    probing: Option<Connecting>,
    /// The link that takes over as soon as the present one is closed.
    successor: Option<(usize, Link)>,
    /// When the link has lived long enough by the user's rule.
    old_at: Option<Instant>,
    /// Sealed, and not yet written; over RELP, not yet acknowledged.
    queue: VecDeque<Batch>,
    /// Of the present link, if it does not acknowledge.
    window: VecDeque<Sent>,
    window_records: u64,
    /// Number, ticket and lines of what is not settled.
    tickets: VecDeque<(u64, Ticket, u64)>,
    /// The lane was told to rewind and has not answered: everything it handed over before is void.
    rewinding: bool,
    finishing: bool,
    /// Closed after a finish: no new connection before there is something to send.
    parked: bool,
    away: Away,
    /// One for each receiver.
    complaints: Vec<Complaints>,
}

/// What is said of one receiver, each kind in its own time: that a connection was lost must not keep back why there is no new
/// one.
#[derive(Debug, Default)]
struct Complaints {
    lost: Reasons,
    cannot_connect: Reasons,
}

/// Another reason is another complaint. Tries are ever farther apart, so the log does not fill.
#[derive(Debug, Default)]
struct Reasons {
    last: String,
    complaint: Complaint,
}

impl Reasons {
    /// As [`Complaint::due`].
    fn due(&mut self, reason: &str) -> Option<u64> {
        if self.last != reason {
            reason.clone_into(&mut self.last);
            self.complaint = Complaint::default();
        }
        self.complaint.due()
    }
}

/// Runs until the lane's half is gone.
pub(super) async fn run(
    config: Config,
    mut commands: UnboundedReceiver<Command>,
    outcomes: Outcomes,
    stats: Arc<Stats>,
    spares: std_mpsc::Sender<Batch>,
) {
    let mut task = Task {
        receivers: Receivers::new(config.targets.len(), config.backoff, config.failback),
        complaints: config.targets.iter().map(|_| Complaints::default()).collect(),
        config: Arc::new(config),
        outcomes,
        stats,
        spares,
        link: None,
        connecting: None,
        probing: None,
        successor: None,
        old_at: None,
        queue: VecDeque::new(),
        window: VecDeque::new(),
        window_records: 0,
        tickets: VecDeque::new(),
        rewinding: false,
        finishing: false,
        parked: false,
        away: Away::from_now(),
    };
    loop {
        // Commands first: an abandon voids what stands before it.
        while let Ok(command) = commands.try_recv() {
            task.obey(command);
        }
        task.settle_acknowledged();
        task.settle_passed();
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
            (receiver, connected) = maybe(&mut task.connecting) => task.connected(receiver, connected),
            (receiver, probed) = maybe(&mut task.probing) => task.probed(receiver, probed),
            event = event(&mut task.link) => match event {
                Event::Acknowledged => {}
                Event::Broken(broken) => task.lost(&broken, false),
            },
            () = until(deadline) => {}
        }
    }
}

fn connect_after(wait: Duration, config: Arc<Config>, receiver: usize) -> Connecting {
    Box::pin(async move {
        sleep(wait).await;
        (receiver, connect(&config, &config.targets[receiver]).await)
    })
}

async fn event(link: &mut Option<(usize, Link)>) -> Event {
    match link {
        Some((_, link)) => link.event().await,
        None => pending().await,
    }
}

impl Task {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Abandon => self.rewinding = false,
            Command::Send(batch) if self.rewinding => self.give_back(batch),
            // The lane will ask again when it has read again.
            Command::Finish if self.rewinding => {}
            Command::Send(batch) => {
                self.parked = false;
                if let Seal { ticket: Some(ticket), epoch, lines, .. } = batch.seal {
                    self.tickets.push_back((epoch, ticket, lines));
                }
                match batch.records() {
                    0 => self.without_records(batch),
                    _ => self.queue.push_back(batch),
                }
            }
            Command::Finish => self.finishing = true,
        }
    }

    /// Does one thing that can be done now; false when there is nothing to do but wait.
    async fn act(&mut self) -> bool {
        let now = Instant::now();
        if let Some((_, link)) = &mut self.link {
            if link.answer_due().is_some_and(|due| due <= now) {
                // It may have come while we ourselves were stopped.
                match timeout(Duration::ZERO, link.event()).await {
                    Ok(Event::Acknowledged) => {}
                    Ok(Event::Broken(broken)) => self.lost(&broken, false),
                    Err(_) => self.lost(&Broken::Unanswered(self.config.timeout), false),
                }
                return true;
            }
            let retiring = self.successor.is_some() || self.old_at.is_some_and(|at| at <= now);
            if retiring && link.answer_due().is_none() {
                self.retire().await;
                return true;
            }
            if !retiring && link.room() > 0 && self.queue.iter().any(|batch| batch.unwritten() > 0) {
                self.write_next().await;
                return true;
            }
        }
        // Without a connection, what we say of ourselves alone is not worth waiting for one.
        if self.finishing && self.link.is_none() && !self.queue.iter().any(Batch::matters) {
            self.discard(|_| true);
        }
        if self.finishing && self.queue.is_empty() {
            self.finish().await;
            return true;
        }
        false
    }

    /// Sees to it that somebody is there to send to, and looks out for somebody better.
    fn look_around(&mut self) {
        if self.link.is_none() && self.connecting.is_none() && !self.parked {
            let (receiver, wait) = self.receivers.next_try();
            self.connecting = Some(connect_after(wait, Arc::clone(&self.config), receiver));
        }
        if self.link.is_some() && self.probing.is_none() && self.successor.is_none() {
            let probe = self.receivers.next_probe();
            self.probing = probe.map(|(receiver, wait)| connect_after(wait, Arc::clone(&self.config), receiver));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let window = self.window.front().map(|sent| sent.at + self.config.replay_age);
        let answer = self.link.as_ref().and_then(|(_, link)| link.answer_due());
        // A link that is old and waits for answers still is woken by them.
        let old = self.old_at.filter(|at| *at > Instant::now());
        [window, answer, old].into_iter().flatten().min()
    }

    fn connected(&mut self, receiver: usize, result: Result<Link, ConnectError>) {
        self.connecting = None;
        match result {
            Ok(link) => {
                self.receivers.connected(receiver);
                self.adopt(receiver, link);
            }
            Err(error) => {
                self.receivers.failed(receiver);
                self.stats.connect_errors.fetch_add(1, Relaxed);
                self.stats.tls_errors.fetch_add(u64::from(error.is_tls()), Relaxed);
                let text = error.to_string();
                if let Some(unsaid) = self.complaints[receiver].cannot_connect.due(&text) {
                    tracing::warn!(siem = self.config.name, receiver = %self.config.targets[receiver], error = text,
                        unsaid_times = unsaid, "cannot connect to the SIEM; trying again");
                }
                self.stats.set_error(Some(text));
            }
        }
    }

    fn adopt(&mut self, receiver: usize, link: Link) {
        tracing::info!(siem = self.config.name, receiver = %self.config.targets[receiver], peer = %link.report,
            "connected to the SIEM");
        self.stats.connects.fetch_add(1, Relaxed);
        if let Some(outage) = self.away.end(self.config.status.as_ref()) {
            self.stats.siem.outage(outage);
        }
        self.stats.connected_to(receiver);
        self.stats.set_error(None);
        self.complaints[receiver].cannot_connect = Reasons::default();
        self.old_at = self.config.reconnect.map(|age| link.since + age.mul_f64(0.9 + fastrand::f64() / 10.0));
        self.link = Some((receiver, link));
    }

    /// A preferred receiver was tried while another one has the records.
    fn probed(&mut self, receiver: usize, result: Result<Link, ConnectError>) {
        self.probing = None;
        if let Err(error) = &result {
            tracing::debug!(siem = self.config.name, receiver = %self.config.targets[receiver], %error,
                "a preferred receiver is still away");
        }
        let back = self.receivers.probed(receiver, result.is_ok());
        let Ok(link) = result else { return };
        match back {
            true => {
                tracing::info!(siem = self.config.name, receiver = %self.config.targets[receiver],
                    "going back to a preferred receiver");
                self.successor = Some((receiver, link));
            }
            // Closed in good order, beside the path of the records.
            false => drop(tokio::spawn(link.close(self.config.close_timeout))),
        }
    }

    async fn write_next(&mut self) {
        let Some((_, link)) = self.link.as_mut() else { return };
        let Some(batch) = self.queue.iter_mut().find(|batch| batch.unwritten() > 0) else { return };
        if let Err(broken) = link.look().await {
            return self.lost(&broken, false);
        }
        let before = batch.written;
        match link.write(batch, self.config.timeout).await {
            Err(broken) => return self.lost(&broken, true),
            Ok(octets) => self.stats.octets.fetch_add(octets as u64, Relaxed),
        };
        self.stats.records.fetch_add((batch.written - before) as u64, Relaxed);
        if link.acknowledges() {
            return;
        }
        // A link without acknowledgements writes batches whole and in order.
        let Some(batch) = self.queue.pop_front() else { return };
        let written = (batch.records() - batch.acknowledged) as u64;
        let (matters, release, own) = (batch.matters(), batch.seal.release, batch.own);
        self.window.push_back(Sent { matters, release, own, written, at: Instant::now() });
        self.window_records += written;
        self.give_back(batch);
    }

    /// Settles batches of which the receiver said that it has all.
    fn settle_acknowledged(&mut self) {
        let mut count = self.link.as_mut().map_or(0, |(_, link)| link.take_acknowledged());
        self.stats.settled(Proof::Acknowledged, count as u64);
        while let Some(batch) = self.queue.front_mut() {
            let here = count.min(batch.records() - batch.acknowledged);
            batch.acknowledged += here;
            count -= here;
            if batch.acknowledged < batch.records() {
                break;
            }
            let Some(batch) = self.queue.pop_front() else { break };
            self.settle(batch.seal.release, batch.own);
            self.give_back(batch);
        }
    }

    /// Settles what is out of the window: so many records were written after it, or it is so old.
    fn settle_passed(&mut self) {
        // A datagram settles by its window too, which proves nothing of it.
        let proof =
            if self.link.as_ref().is_some_and(|(_, link)| link.confirms()) { Proof::Window } else { Proof::None };
        while let Some(first) = self.window.front() {
            let after = self.window_records - first.written;
            if after < self.config.replay_records && first.at.elapsed() < self.config.replay_age {
                break;
            }
            self.settle_first(proof);
        }
    }

    fn settle_first(&mut self, proof: Proof) {
        let Some(sent) = self.window.pop_front() else { return };
        self.window_records -= sent.written;
        self.stats.settled(proof, sent.written);
        self.settle(sent.release, sent.own);
    }

    /// A batch is settled, and with it the tickets that wait for nothing else.
    fn settle(&mut self, release: u64, own: u64) {
        self.stats.siem.own_settled.fetch_max(own, Relaxed);
        while let Some((_, ticket, delivered)) = self.tickets.pop_front_if(|(epoch, ..)| *epoch <= release) {
            self.outcomes.settled(Settled { ticket, delivered, rejected: 0, dropped: 0 });
        }
    }

    /// A batch without a record: all its lines stand in open windows, or their records went before it.
    fn without_records(&mut self, batch: Batch) {
        let release = batch.seal.release;
        self.give_back(batch);
        match (self.queue.back_mut(), self.window.back_mut()) {
            (Some(last), _) => {
                last.seal.release = last.seal.release.max(release);
                last.carries = true;
            }
            (None, Some(last)) => last.release = last.release.max(release),
            (None, None) => self.settle(release, 0),
        }
    }

    /// The connection is over. What was not acknowledged is written again to the next one. What is out of our hands and
    /// not settled may be lost: the lane reads all of it again, in order, and so what waits behind it. `writing`: nobody
    /// knows how much of the next batch went out.
    fn lost(&mut self, broken: &Broken, writing: bool) {
        self.settle_acknowledged();
        let Some((receiver, link)) = self.take_link() else { return };
        let steady = link.since.elapsed() >= STEADY && !broken.is_deaf();
        self.receivers.lost(steady);
        self.stats.disconnects.fetch_add(1, Relaxed);
        let reason = broken.to_string();
        if let Some(unsaid) = self.complaints[receiver].lost.due(&reason) {
            tracing::warn!(
                siem = self.config.name,
                peer = link.report.address,
                reason,
                unsettled_records = self.window_records,
                unsaid_times = unsaid,
                "lost the connection to the SIEM"
            );
        }
        self.stats.set_error(Some(reason));
        self.away.begin(self.unsettled_records());
        // When the process ends, nobody waits for what it says of itself.
        let finishing = self.finishing;
        self.discard(|batch| batch.is_fleeting() || finishing && !batch.matters());
        let missed = self.window.iter().any(|sent| sent.matters || sent.own > 0);
        if link.acknowledges() {
            self.queue.iter_mut().for_each(Batch::forget_written);
        } else if missed || writing && self.queue.front().is_some_and(Batch::matters) {
            self.rewind();
        } else {
            // Heartbeats at most; what waited behind them waits for nothing any more.
            let release = self.window.iter().map(|sent| sent.release).max().unwrap_or(0);
            self.settle(release, 0);
            self.forget_window();
        }
        self.succeed();
    }

    /// Records that went out and are not settled.
    fn unsettled_records(&self) -> u64 {
        let waiting = self.queue.iter().map(|batch| (batch.written - batch.acknowledged) as u64);
        self.window_records + waiting.sum::<u64>()
    }

    fn forget_window(&mut self) {
        self.window.clear();
        self.window_records = 0;
    }

    /// Takes batches out of the queue that nobody misses.
    fn discard(&mut self, is_void: impl Fn(&Batch) -> bool) {
        for batch in std::mem::take(&mut self.queue) {
            match is_void(&batch) {
                true => self.give_back(batch),
                false => self.queue.push_back(batch),
            }
        }
    }

    /// The present link, which is none any more.
    fn take_link(&mut self) -> Option<(usize, Link)> {
        self.probing = None;
        self.old_at = None;
        self.stats.disconnected();
        self.link.take()
    }

    /// The link that was to take over does so.
    fn succeed(&mut self) {
        if let Some((receiver, link)) = self.successor.take() {
            self.receivers.returned(receiver);
            self.adopt(receiver, link);
        }
    }

    fn rewind(&mut self) {
        self.forget_window();
        self.tickets.clear();
        self.finishing = false;
        self.discard(|_| true);
        self.rewinding = true;
        self.stats.siem.rewinds.fetch_add(1, Relaxed);
        self.outcomes.rewind();
    }

    /// Closes a link that does its work, because another one takes over or because it is old.
    async fn retire(&mut self) {
        self.close().await;
        // The next one may not be had.
        self.away.begin(0);
        self.receivers.start_over();
        self.succeed();
    }

    /// Everything is written: close, and settle once the peer has closed in answer. A peer that does not leaves the rest
    /// unsettled, for the next start.
    async fn finish(&mut self) {
        self.finishing = false;
        self.parked = true;
        self.connecting = None;
        self.successor = None;
        self.receivers.start_over();
        self.away = Away::default();
        if self.close().await {
            self.outcomes.finished();
        }
    }

    /// Closes the link and settles what the peer has then read. False when it did not close in answer: not lost for sure
    /// and not delivered for sure, so a lane that stops leaves it to the next start, another one reads it again.
    async fn close(&mut self) -> bool {
        if let Some((_, link)) = self.take_link() {
            let proof = if link.confirms() { Proof::Closed } else { Proof::None };
            if let Err(broken) = link.close(self.config.close_timeout).await
                && self.window.iter().any(|sent| sent.matters)
            {
                tracing::warn!(siem = self.config.name, reason = %broken, unsettled_records = self.window_records,
                    "the SIEM did not close in answer to our close; what is not settled is sent again");
                self.rewind();
                return false;
            }
            while !self.window.is_empty() {
                self.settle_first(proof);
            }
        }
        true
    }

    fn give_back(&mut self, mut batch: Batch) {
        self.stats.siem.discarded.fetch_add(batch.unwritten() as u64, Relaxed);
        let bytes = batch.bytes.len();
        let before = self.stats.unsent_bytes.fetch_sub(bytes, Relaxed);
        if before >= UNSENT_LIMIT && before - bytes < UNSENT_LIMIT {
            self.outcomes.room();
        }
        batch.clear();
        // The lane's half may be gone.
        let _ = self.spares.send(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reason why there is no new connection was not said for a minute after the loss of the old one was.
    #[tokio::test(start_paused = true)]
    async fn a_new_reason_is_said_at_once_and_an_old_one_once_a_minute() {
        let (lost, refused, foreign) = ("closed", "connection refused", "unknown issuer");
        let mut complaints = Complaints::default();
        assert_eq!(complaints.lost.due(lost), Some(0));
        let said = [refused, refused, foreign, foreign, refused].map(|reason| complaints.cannot_connect.due(reason));
        assert_eq!(said, [Some(0), None, Some(0), None, Some(0)]);
        assert_eq!(complaints.lost.due(lost), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((complaints.lost.due(lost), complaints.cannot_connect.due(refused)), (Some(1), Some(0)));
    }
}

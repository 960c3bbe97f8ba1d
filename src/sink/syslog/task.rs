//! The I/O half: one task that connects, writes batches, and settles them when nothing can be lost any more.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::link::{Broken, ConnectError, Link};
use super::{Config, Stats, UNSENT_LIMIT};
use crate::lane::{Outcomes, Settled, Ticket};

/// A connection that lived so long ended for another reason than the last one's.
const STEADY: Duration = Duration::from_secs(10);
/// The same complaint is repeated after this time at the earliest.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Framed records, written in one go. Its buffers go back to the lane's thread and are used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ticket: Option<Ticket>,
    pub(super) bytes: Vec<u8>,
    /// Where each datagram ends; empty on a stream.
    pub(super) datagrams: Vec<usize>,
    pub(super) records: u64,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.ticket = None;
        self.bytes.clear();
        self.datagrams.clear();
        self.records = 0;
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Send(Batch),
    /// The lane has seen our rewind: what comes now is new.
    Abandon,
    Finish,
}

/// A batch that was written and may still be lost.
#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    records: u64,
    at: Instant,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

struct Task {
    config: Arc<Config>,
    outcomes: Outcomes,
    stats: Arc<Stats>,
    spares: std_mpsc::Sender<Batch>,
    link: Option<Link>,
    connecting: Option<Connecting>,
    backoff: Backoff,
    /// Sealed, not yet written.
    unsent: VecDeque<Batch>,
    window: VecDeque<Sent>,
    window_records: u64,
    /// The lane was told to rewind and has not answered: everything it handed over before is void.
    rewinding: bool,
    finishing: bool,
    /// Closed after a finish: no new connection before there is something to send.
    parked: bool,
    complaint: Complaint,
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
        backoff: Backoff::new(config.backoff),
        complaint: Complaint::default(),
        config: Arc::new(config),
        outcomes,
        stats,
        spares,
        link: None,
        connecting: None,
        unsent: VecDeque::new(),
        window: VecDeque::new(),
        window_records: 0,
        rewinding: false,
        finishing: false,
        parked: false,
    };
    loop {
        // Commands first: an abandon voids what stands before it.
        while let Ok(command) = commands.try_recv() {
            task.obey(command);
        }
        task.settle_passed();
        if task.link.is_some() && !task.unsent.is_empty() {
            task.write_next().await;
            continue;
        }
        if task.finishing && task.unsent.is_empty() {
            task.finish().await;
            continue;
        }
        if task.link.is_none() && task.connecting.is_none() && !task.parked {
            task.connecting = Some(connect(task.backoff.wait(), Arc::clone(&task.config)));
        }
        let deadline = task.window.front().map(|sent| sent.at + task.config.replay_age);
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => task.obey(command),
                None => return,
            },
            connected = maybe(&mut task.connecting) => task.connected(connected),
            broken = broken(&mut task.link) => task.lost(&broken, false),
            () = until(deadline) => {}
        }
    }
}

fn connect(wait: Duration, config: Arc<Config>) -> Connecting {
    Box::pin(async move {
        sleep(wait).await;
        Link::connect(&config).await
    })
}

async fn maybe(connecting: &mut Option<Connecting>) -> Result<Link, ConnectError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

async fn broken(link: &mut Option<Link>) -> Broken {
    match link {
        Some(link) => link.broken().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
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
                self.unsent.push_back(batch);
            }
            Command::Finish => self.finishing = true,
        }
    }

    fn connected(&mut self, result: Result<Link, ConnectError>) {
        self.connecting = None;
        match result {
            Ok(link) => {
                tracing::info!(siem = self.config.name, peer = %link.report, "connected to the SIEM");
                self.stats.connects.fetch_add(1, Relaxed);
                self.stats.connected.store(true, Relaxed);
                self.stats.set_error(None);
                self.complaint = Complaint::default();
                self.link = Some(link);
            }
            Err(error) => {
                self.stats.connect_errors.fetch_add(1, Relaxed);
                self.stats.tls_errors.fetch_add(u64::from(error.is_tls()), Relaxed);
                let text = error.to_string();
                if let Some(unsaid) = self.complaint.due() {
                    tracing::warn!(siem = self.config.name, target = %self.config.target, error = text,
                        unsaid_times = unsaid, "cannot connect to the SIEM; trying again");
                }
                self.stats.set_error(Some(text));
            }
        }
    }

    async fn write_next(&mut self) {
        let (Some(link), Some(batch)) = (self.link.as_mut(), self.unsent.front()) else { return };
        if let Err(broken) = link.look().await {
            return self.lost(&broken, false);
        }
        if let Err(broken) = link.write(batch, self.config.timeout).await {
            return self.lost(&broken, true);
        }
        let Some(batch) = self.unsent.pop_front() else { return };
        self.stats.records.fetch_add(batch.records, Relaxed);
        self.stats.octets.fetch_add(batch.bytes.len() as u64, Relaxed);
        if let Some(ticket) = batch.ticket {
            self.window.push_back(Sent { ticket, records: batch.records, at: Instant::now() });
            self.window_records += batch.records;
        }
        self.give_back(batch);
    }

    /// Settles what is out of the window: so many records were written after it, or it is so old.
    fn settle_passed(&mut self) {
        while let Some(first) = self.window.front() {
            let after = self.window_records - first.records;
            if after < self.config.replay_records && first.at.elapsed() < self.config.replay_age {
                break;
            }
            self.settle_first();
        }
    }

    fn settle_first(&mut self) {
        let Some(sent) = self.window.pop_front() else { return };
        self.window_records -= sent.records;
        if !self.config.target.is_stream() {
            self.stats.unconfirmed.fetch_add(sent.records, Relaxed);
        }
        self.outcomes.settled(Settled { ticket: sent.ticket, delivered: sent.records, rejected: 0, dropped: 0 });
    }

    /// The connection is over. Whatever of it is not settled may be lost: the lane reads all of it again, in order, and
    /// so what waits behind it. `writing`: nobody knows how much of the next batch went out.
    fn lost(&mut self, broken: &Broken, writing: bool) {
        let steady = self.link.take().is_some_and(|link| link.since.elapsed() >= STEADY);
        if steady {
            self.backoff.reset();
        }
        self.stats.disconnects.fetch_add(1, Relaxed);
        self.stats.connected.store(false, Relaxed);
        let reason = broken.to_string();
        tracing::warn!(siem = self.config.name, target = %self.config.target, reason,
            unsettled_records = self.window_records, "lost the connection to the SIEM");
        self.stats.set_error(Some(reason));
        if writing || !self.window.is_empty() {
            self.rewind();
        }
    }

    fn rewind(&mut self) {
        self.window.clear();
        self.window_records = 0;
        self.finishing = false;
        while let Some(batch) = self.unsent.pop_front() {
            self.give_back(batch);
        }
        self.rewinding = true;
        self.stats.rewinds.fetch_add(1, Relaxed);
        self.outcomes.rewind();
    }

    /// Everything is written: close, and settle once the peer has closed in answer. A peer that does not leaves the rest
    /// unsettled, for the next start.
    async fn finish(&mut self) {
        self.finishing = false;
        self.parked = true;
        self.connecting = None;
        self.backoff.reset();
        if let Some(link) = self.link.take() {
            self.stats.connected.store(false, Relaxed);
            match link.close(self.config.close_timeout).await {
                Ok(()) => {}
                // Not lost for sure and not delivered for sure: a lane that stops leaves it to the next start, another
                // one reads it again.
                Err(broken) => {
                    tracing::warn!(siem = self.config.name, reason = %broken,
                        unsettled_records = self.window_records,
                        "the SIEM did not close in answer to our close; what is not settled is sent again");
                    if !self.window.is_empty() {
                        return self.rewind();
                    }
                }
            }
        }
        while !self.window.is_empty() {
            self.settle_first();
        }
        self.outcomes.finished();
    }

    fn give_back(&mut self, mut batch: Batch) {
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

/// Keeps the log from filling with one and the same sentence.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<Instant>,
    unsaid: u64,
}

impl Complaint {
    /// How often it was not said since the last time, if it may be said now.
    fn due(&mut self) -> Option<u64> {
        if self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

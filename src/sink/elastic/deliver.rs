//! From a sealed batch to its settlement: what is sent again, when, and what is put away.
//!
//! A batch is worked off as a stack of parts. A part that is too large or stays uncertain is replaced by its halves, the
//! first on top, so that even an hour of trouble leaves a dozen parts, not thousands. Nothing here ever gives a line up:
//! a batch ends when each of its documents is delivered, stands in the dead letter, or was dropped by the user's rule.
//! What may stand there already goes by [`protect`] first.

mod protect;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Batch;
use super::batch::Sealed;
use super::outcome::{Doubt, Held, Hold, Items, Refusal, Verdict};
use super::peer::{Peer, Reply};
use super::stats::{Class, Holding, Stats};
use super::stream::{Since, Stream};
use crate::lane::{Before, ExitOnPanic, Outcomes, Settled, Ticket};
use crate::net::pace::{Gate, Pace, Permit};
use crate::sink::dead_letter::{DeadLetter, DeadLetterError, Letter, Written};
use crate::sink::limits::Limits;
use protect::Footing;

/// An uncertain part is halved after so many tries.
const DOUBTS: u32 = 3;
/// No wait is longer while the agent is stopping.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// A request counts as running on the server for so much longer than it may.
const GRACE: Duration = Duration::from_millis(500);

/// What all batches share.
#[derive(Debug)]
pub struct Ship {
    pub peer: Peer,
    pub stats: Arc<Stats>,
    pub limits: Arc<Limits>,
    pub gate: Arc<Gate>,
    pub pace: Pace,
    pub outcomes: Outcomes,
    pub dead_letter: Arc<Mutex<DeadLetter>>,
    /// The lane's name, for people.
    pub lane: String,
    pub stream: Arc<Stream>,
    /// An earlier run's requests may be worked on until then.
    pub quiet_at: Instant,
    /// True once no batch comes any more.
    pub closing: watch::Receiver<bool>,
    /// One batch waits for evidence without its permit.
    pub parked: AtomicBool,
    /// When the latest of the requests began that created documents: our set-up was sound then.
    pub taken: Mutex<Option<Instant>>,
    pub told: Mutex<Vec<(&'static str, Instant)>>,
}

/// Documents that are still to be decided.
#[derive(Debug)]
struct Part {
    sealed: Sealed,
    doubts: u32,
    /// When all of it was first refused in words that may mean our set-up.
    suspected: Option<Instant>,
    /// Its one document was refused alone in such words.
    alone: bool,
    /// Copies of these documents may stand there or later; `None`: nowhere.
    since: Option<Since>,
    footing: Footing,
    /// When the last try left it uncertain, and until when the server may be working on it.
    failed_at: Option<Instant>,
    quiet_at: Option<Instant>,
}

impl Part {
    fn new(batch: Batch, ship: &Ship) -> Self {
        let (since, quiet_at) = match batch.before {
            Before::Never => (None, None),
            Before::SinceCheckpoint => (Some(ship.stream.recalled()), Some(ship.quiet_at)),
            Before::Unknown => (Some(Since::Its), None),
        };
        let quiet_at = quiet_at.filter(|until| *until > Instant::now());
        Self {
            sealed: batch.sealed,
            doubts: 0,
            suspected: None,
            alone: false,
            since,
            footing: Footing::None,
            failed_at: None,
            quiet_at,
        }
    }

    /// Some of its documents as a part of their own, under the same suspicion.
    fn with(&self, sealed: Sealed) -> Self {
        Self {
            sealed,
            doubts: 0,
            suspected: self.suspected,
            alone: false,
            since: self.since.clone(),
            footing: self.footing.clone(),
            failed_at: self.failed_at,
            quiet_at: self.quiet_at,
        }
    }
}

/// One sending of a part: when it began, and what was known then.
struct Try {
    /// The write index.
    from: Since,
    at: Instant,
    /// [`Ship::taken`].
    taken: Option<Instant>,
}

impl Try {
    fn begin(ship: &Ship) -> Self {
        Self { from: ship.stream.since_now(), at: Instant::now(), taken: *ship.taken() }
    }

    /// Other documents were taken between the first refusal of this part and this one: it is not our set-up.
    fn clears_the_set_up(&self, part: &Part) -> bool {
        part.suspected.is_some_and(|since| self.taken.is_some_and(|taken| taken > since))
    }

    /// Any of its documents may have been written.
    fn left_uncertain(self, part: &mut Part, ship: &Ship) {
        part.since.get_or_insert(self.from);
        part.failed_at = Some(Instant::now());
        part.quiet_at = Some(self.at + ship.peer.timeout() + GRACE);
    }
}

/// One batch on its way.
struct Work {
    ship: Arc<Ship>,
    permit: Option<Permit>,
    parts: Vec<Part>,
    /// Failures in a row.
    failures: u32,
    holding: Option<Holding>,
    settled: Settled,
}

/// Works on a batch until every document in it is decided, then tells the lane.
pub async fn deliver(ship: Arc<Ship>, ticket: Ticket, batch: Batch, permit: Permit) {
    let _guard = ExitOnPanic;
    let settled = Settled { ticket, delivered: 0, rejected: 0, dropped: 0 };
    let parts = vec![Part::new(batch, &ship)];
    Work { ship, permit: Some(permit), parts, failures: 0, holding: None, settled }.run().await;
}

impl Work {
    async fn run(mut self) {
        while let Some(part) = self.parts.pop() {
            let Some(part) = self.ready(part).await else { continue };
            let this = Try::begin(&self.ship);
            match self.ship.peer.send(&part.sealed).await {
                Reply::Judged { verdict, wish } => self.judged(part, verdict, wish, this).await,
                Reply::NotSent => self.put_back(part),
                Reply::AllDown { wait, cause } => {
                    self.put_back(part);
                    self.wait_for_a_host(wait, cause).await;
                }
                Reply::NoSecret(error) => {
                    self.put_back(part);
                    self.hold(Held { why: Hold::NoSecret, detail: error.to_string() }, None).await;
                }
            }
        }
        self.ship.outcomes.settled(self.settled);
    }

    async fn judged(&mut self, mut part: Part, verdict: Verdict, wish: Option<Duration>, this: Try) {
        match verdict {
            Verdict::Items(items) => self.items(part, items, wish, this).await,
            Verdict::Split => {
                // A compressed body is measured while it is read, and so may have been written in part.
                if part.sealed.is_gzip() {
                    this.left_uncertain(&mut part, &self.ship);
                }
                self.split(part);
            }
            Verdict::Uncertain(doubt) => self.doubt(part, doubt, wish, this).await,
            Verdict::Hold(held) if held.why == Hold::Misconfigured && this.clears_the_set_up(&part) => self.halve(part),
            Verdict::Hold(held) if held.why == Hold::Misconfigured => {
                part.suspected.get_or_insert_with(Instant::now);
                self.put_back(part);
                self.hold_parked(held, wish).await;
            }
            Verdict::Hold(held) => {
                if held.why != Hold::Unauthorized {
                    this.left_uncertain(&mut part, &self.ship);
                }
                self.put_back(part);
                self.hold(held, wish).await;
            }
            Verdict::Refused(refusal) => self.bury(&part.sealed, &[(0, refusal)]).await,
            Verdict::Lone(refusal) => self.lone(part, refusal, &this).await,
        }
    }

    /// To be tried again; what was known of the write index may not hold by then.
    fn put_back(&mut self, mut part: Part) {
        part.failed_at = part.since.is_some().then(Instant::now).or(part.failed_at);
        self.parts.push(part);
    }

    async fn items(&mut self, part: Part, items: Items, wish: Option<Duration>, this: Try) {
        if let Some(index) = &items.write_index {
            self.ship.stream.learn(index);
        }
        self.audit(&part, &items.created_in).await;
        if items.created > 0 {
            let mut taken = self.ship.taken();
            *taken = taken.max(Some(this.at));
        }
        let stats = &self.ship.stats;
        stats.created_documents.add(items.created);
        stats.duplicate_documents.add(items.duplicates);
        stats.redirected_documents.add(items.redirected);
        if items.redirected > 0 {
            self.ship.tell("redirected", |lane, stream| {
                let remedy = "read them from the stream's ::failures and mend the mapping";
                tracing::warn!(
                    lane,
                    stream,
                    documents = items.redirected,
                    remedy,
                    "documents went into the failure store"
                );
            });
        }
        self.settled.delivered += items.delivered();
        if !items.rejected.is_empty() {
            self.bury(&part.sealed, &items.rejected).await;
        }
        let again = merged(&items.retry, &items.hold);
        if again.is_empty() {
            self.failures = 0;
            self.released();
            self.ship.gate.good(this.at.elapsed(), part.sealed.plain());
            return;
        }
        self.failures = if items.delivered() > 0 { 1 } else { self.failures.saturating_add(1) };
        self.send_again(&part, &again, items.unsure.then_some(this));
        if !items.retry.is_empty() {
            self.ship.gate.slower();
        }
        match items.held {
            Some(held) => self.hold(held, wish).await,
            None => self.retry_later(wish).await,
        }
    }

    fn send_again(&mut self, part: &Part, wanted: &[u32], uncertain: Option<Try>) {
        self.ship.stats.retried_documents.add(wanted.len() as u64);
        let all = wanted.len() == part.sealed.documents() as usize;
        let mut again = part.with(if all { part.sealed.clone() } else { part.sealed.pick(wanted) });
        if let Some(this) = uncertain {
            this.left_uncertain(&mut again, &self.ship);
        }
        self.put_back(again);
    }

    fn split(&mut self, part: Part) {
        self.ship.stats.split_requests.add(1);
        if self.ship.limits.too_large(part.sealed.plain()) {
            let bytes = self.ship.limits.bytes();
            tracing::warn!(
                lane = self.ship.lane,
                bytes,
                "a request was too large for the peer, batches are smaller from now on"
            );
        }
        self.halve(part);
    }

    fn halve(&mut self, part: Part) {
        match part.sealed.halves() {
            Some((first, second)) => {
                let halves = [part.with(second), part.with(first)];
                self.parts.extend(halves);
            }
            None => self.parts.push(part),
        }
    }

    async fn doubt(&mut self, mut part: Part, doubt: Doubt, wish: Option<Duration>, this: Try) {
        this.left_uncertain(&mut part, &self.ship);
        self.ship.stats.uncertain_requests.add(1);
        self.ship.stats.retried_documents.add(part.sealed.documents().into());
        let busy = matches!(doubt, Doubt::Busy | Doubt::ServerError | Doubt::Lost);
        if busy {
            self.ship.gate.slower();
        }
        self.ship.tell(doubt.as_str(), |lane, stream| {
            tracing::warn!(
                lane,
                stream,
                doubt = doubt.as_str(),
                "a request proved nothing, its documents are sent again under the same ids"
            );
        });
        if doubt == Doubt::BadRequest {
            part.suspected.get_or_insert_with(Instant::now);
        }
        part.doubts += 1;
        self.failures = self.failures.saturating_add(1);
        if doubt == Doubt::Oversized || part.doubts >= DOUBTS {
            // Where the peer is not in trouble, one of the documents is: its neighbours do not wait longer for that.
            if !busy && part.sealed.documents() > 1 {
                self.failures = 0;
            }
            self.halve(part);
        } else {
            self.parts.push(part);
        }
        self.retry_later(wish).await;
    }

    /// A document that is refused alone with `illegal_argument_exception`: the document's fault, or our set-up's? When
    /// other documents are created meanwhile, it is the document's. Until then it waits: behind the rest of its batch,
    /// and then without its permit, so that others can be tried.
    async fn lone(&mut self, mut part: Part, refusal: Refusal, this: &Try) {
        if this.clears_the_set_up(&part) {
            return self.bury(&part.sealed, &[(0, refusal)]).await;
        }
        part.suspected.get_or_insert_with(Instant::now);
        part.alone = true;
        part.failed_at = part.since.is_some().then(Instant::now).or(part.failed_at);
        let untried = self.parts.iter().any(|part| !part.alone);
        self.parts.insert(0, part);
        if untried {
            return;
        }
        let held = Held { why: Hold::Misconfigured, detail: format!("{}: {}", refusal.kind, refusal.reason) };
        self.hold_parked(held, None).await;
    }

    /// A hold that other documents may end: they can be tried meanwhile. One batch at a time waits like this, so that a
    /// set-up that is wrong is not asked by all that may be in flight.
    async fn hold_parked(&mut self, held: Held, wish: Option<Duration>) {
        let park = !self.ship.parked.swap(true, Ordering::Relaxed);
        if park {
            self.permit = None;
        }
        self.hold(held, wish).await;
        if park {
            // First: whoever has the only permit may be the next that has to give it away.
            self.ship.parked.store(false, Ordering::Relaxed);
            self.permit = Some(self.ship.gate.enter().await);
        }
    }

    /// Nothing can be delivered at present: a slow wait, told to people once a minute.
    async fn hold(&mut self, held: Held, wish: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        if held.why == Hold::Unauthorized && self.ship.peer.credentials.refresh() {
            return;
        }
        if held.why == Hold::NoTemplate {
            self.ship.stream.unsafe_now();
        }
        self.show(&held);
        let pace = &self.ship.pace;
        self.ship.pause(pace.obey(wish, pace.hold(self.failures))).await;
    }

    /// Until the next try of one that is down, or until somebody has reached one.
    async fn wait_for_a_host(&mut self, wait: Duration, cause: String) {
        self.show(&Held { why: Hold::Unreachable, detail: cause });
        tokio::select! {
            () = self.ship.pause(wait) => {}
            () = self.ship.peer.any_up() => {}
        }
    }

    fn show(&mut self, held: &Held) {
        if self.holding.as_ref().is_none_or(|holding| holding.why != held.why) {
            self.holding = Some(Holding::new(&self.ship.stats, held.why));
        }
        let remedy = self.ship.remedy(held.why);
        self.ship.tell(held.why.as_str(), |lane, stream| {
            let (hold, answer) = (held.why.as_str(), held.detail.as_str());
            tracing::warn!(lane, stream, hold, answer, remedy, "nothing can be delivered, everything is kept");
        });
    }

    fn released(&mut self) {
        if let Some(holding) = self.holding.take() {
            tracing::info!(lane = self.ship.lane, hold = holding.why.as_str(), "documents are delivered again");
        }
    }

    async fn retry_later(&self, wish: Option<Duration>) {
        let pace = &self.ship.pace;
        self.ship.pause(pace.obey(wish, pace.retry(self.failures))).await;
    }

    /// Puts refused documents into the dead letter, and waits for as long as it cannot take them.
    async fn bury(&mut self, sealed: &Sealed, refusals: &[(u32, Refusal)]) {
        let letters: Arc<[Letter]> = letters(sealed, refusals).into();
        // Those of one batch can be more than all that the dead letter may hold: what does not fit whole goes in pieces.
        let (mut done, mut piece) = (0, letters.len());
        while done < letters.len() {
            let end = letters.len().min(done + piece);
            match self.ship.put_away(Arc::clone(&letters), done..end).await {
                Ok(written) => {
                    self.put_away(written);
                    (done, piece) = (end, piece.saturating_mul(2));
                }
                Err(DeadLetterError::Full { .. }) if end - done > 1 => piece = (end - done) / 2,
                Err(error) => self.hold(Held { why: Hold::DeadLetter, detail: error.to_string() }, None).await,
            }
        }
        for (_, refusal) in refusals {
            self.ship.stats.rejected(Class::of(&refusal.kind)).add(1);
        }
        self.ship.tell("rejected", |lane, stream| {
            let Refusal { status, kind, reason, .. } = &refusals[0].1;
            let documents = refusals.len();
            tracing::warn!(
                lane,
                stream,
                documents,
                status,
                kind,
                reason,
                "documents were refused for good, see the dead letter"
            );
        });
    }

    fn put_away(&mut self, written: Written) {
        // The peer has answered, and what it said is kept.
        self.failures = 0;
        self.released();
        self.settled.rejected += written.kept;
        self.settled.dropped += written.dropped;
        self.ship.stats.dead_letter_evicted_bytes.add(written.evicted_bytes);
        self.ship.stats.dead_letter_evicted_documents.add(written.evicted_letters);
    }
}

impl Ship {
    async fn put_away(&self, letters: Arc<[Letter]>, these: Range<usize>) -> Result<Written, DeadLetterError> {
        let shelf = Arc::clone(&self.dead_letter);
        // A disk's sync can take long, and metrics and health are answered by this thread.
        let writing = tokio::task::spawn_blocking(move || {
            shelf.lock().unwrap_or_else(PoisonError::into_inner).write(&letters[these])
        });
        match writing.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Option<Instant>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, but not for long once the agent is stopping.
    async fn pause(&self, time: Duration) {
        let mut closing = self.closing.clone();
        let until = Instant::now() + time;
        let stopped = tokio::time::timeout_at(until, closing.wait_for(|closing| *closing)).await.is_ok();
        if stopped {
            tokio::time::sleep_until(until.min(Instant::now() + LAST_WAIT)).await;
        }
    }

    /// Says something at most once a minute by its key.
    fn tell(&self, key: &'static str, say: impl FnOnce(&str, &str)) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match told.iter_mut().find(|(other, _)| *other == key) {
            Some((_, last)) if now.duration_since(*last) < self.pace.tell_every => return,
            Some((_, last)) => *last = now,
            None => told.push((key, now)),
        }
        say(&self.lane, &self.stream.name);
    }

    /// What somebody has to do.
    fn remedy(&self, why: Hold) -> String {
        let stream = &self.stream.name;
        match why {
            Hold::Unauthorized => self.peer.credentials.remedy(),
            Hold::Forbidden => format!(
                "grant create_doc and auto_configure on {stream} (Elasticsearch), or the actions of the role tidegate-ship (OpenSearch); `tidegate setup --only roles` makes that role"
            ),
            Hold::NoTemplate => {
                format!("run `tidegate setup`; if a plain index {stream} exists already, delete it after that")
            }
            Hold::Blocked => "remove the write block; after the flood stage, free disk space first".to_owned(),
            Hold::Unavailable => {
                "bring the missing data nodes back, or lower index.write.wait_for_active_shards".to_owned()
            }
            Hold::Misconfigured => {
                format!("every document is refused alike: look at the template and pipelines of {stream}")
            }
            Hold::WrongPeer => {
                "check hosts: is it Elasticsearch or OpenSearch that answers there, under that path?".to_owned()
            }
            Hold::Unreachable => "check hosts, network policies and the peer's certificate".to_owned(),
            Hold::NoSecret => "make the secret readable".to_owned(),
            Hold::DeadLetter => {
                "see `tidegate dead-letter`, mend what is refused and run `tidegate replay`; or set when_full: drop_oldest"
                    .to_owned()
            }
        }
    }
}

impl Doubt {
    /// Stable name, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "connection_lost",
            Self::Unreadable => "unreadable_answer",
            Self::Oversized => "oversized_answer",
            Self::Miscounted => "wrong_item_count",
            Self::Busy => "busy",
            Self::BadRequest => "bad_request",
            Self::ServerError => "server_error",
        }
    }
}

/// Two ascending lists of different indices as one.
fn merged(one: &[u32], two: &[u32]) -> Vec<u32> {
    let mut all = [one, two].concat();
    all.sort_unstable();
    all
}

fn letters(sealed: &Sealed, refusals: &[(u32, Refusal)]) -> Vec<Letter> {
    let wanted: Vec<u32> = refusals.iter().map(|(index, _)| *index).collect();
    let mut refusals = refusals.iter();
    let mut letters = Vec::with_capacity(wanted.len());
    sealed.read(&wanted, |_, id, document| {
        let Some((_, refusal)) = refusals.next() else { return };
        letters.push(Letter {
            id: id.to_owned(),
            index: refusal.index.clone(),
            status: refusal.status,
            kind: refusal.kind.clone(),
            reason: refusal.reason.clone(),
            document: document.to_vec(),
        });
    });
    letters
}

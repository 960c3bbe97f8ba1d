//! What is made sure of before documents are sent that may stand there already.
//!
//! The write index refuses a repeat by itself, so nothing is asked as long as it is known to be the same one as at the
//! first try. Otherwise the ids are looked up in every backing index that may hold them, the write index included: what
//! is found counts as delivered, and what is found nowhere may go wherever the stream rolls to in between. A stream that
//! rolls over after we relied on its write index shows in the answer; then the look follows, and second copies are counted.

use super::super::lookup::{self, Ask, Standing};
use super::super::peer::Unanswered;
use super::super::stream::{Blind, Lookup, Place, Since, View};
use super::*;

/// Why a part may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Footing {
    /// Nobody could be asked, or nobody wanted to.
    #[default]
    None,
    /// This is the write index, and nothing stands in an older one.
    Index(Arc<str>),
    /// It stands nowhere.
    Looked,
}

impl Work {
    /// The part, when it may be sent now. `None`: it was decided, or put back to be tried again.
    pub(super) async fn ready(&mut self, part: Part) -> Option<Part> {
        let ship = Arc::clone(&self.ship);
        if let Err(ask) = ship.guard().await {
            self.parts.push(part);
            self.put_off(ask).await;
            return None;
        }
        match (&part.since, ship.stream.lookup) {
            (Some(_), Lookup::Auto) => self.protect(part).await,
            _ => Some(part),
        }
    }

    async fn protect(&mut self, mut part: Part) -> Option<Part> {
        let ship = Arc::clone(&self.ship);
        let since = part.since.clone()?;
        if part.failed_at.is_none()
            && let Some(index) = ship.stream.confirmed().filter(|index| since == Since::Index(index.clone()))
        {
            part.footing = Footing::Index(index);
            return Some(part);
        }
        let view = match ship.view(part.failed_at).await {
            Ok(view) => view,
            Err(ask) => return self.unseen(part, ask).await,
        };
        let places = places(&view, &since, part.failed_at.is_none());
        let Some(index) = view.write_index().cloned() else {
            part.footing = Footing::Looked;
            return Some(part);
        };
        if places.is_empty() {
            (part.footing, part.since) = (Footing::Index(index.clone()), Some(Since::Index(index)));
            return Some(part);
        }
        // Where it is only not known whether a rollover is pending, nothing is waited for.
        let rolled = view.lazy == Some(true) || !view.older(&since).is_empty();
        if let Some(until) = part.quiet_at.take_if(|_| rolled) {
            self.parts.push(part);
            self.wait_until_quiet(until).await;
            return None;
        }
        match lookup::find(&ship.peer, &part.sealed.ids(), &places).await {
            Ok(found) => {
                (part.footing, part.since) = (Footing::Looked, Some(Since::Index(index)));
                self.drop_found(part, &found)
            }
            Err(ask) => self.unseen(part, ask).await,
        }
    }

    /// Documents that stand there are delivered; gives what is left of the part.
    fn drop_found(&mut self, part: Part, found: &[bool]) -> Option<Part> {
        let missing: Vec<u32> = (0u32..).zip(found).filter(|(_, there)| !**there).map(|(n, _)| n).collect();
        let there = (found.len() - missing.len()) as u64;
        self.ship.stats.found_documents.add(there);
        self.ship.stats.duplicate_documents.add(there);
        self.settled.delivered += there;
        match missing.len() {
            0 => {
                self.failures = 0;
                self.released();
                None
            }
            all if all == found.len() => Some(part),
            _ => Some(part.with(part.sealed.pick(&missing))),
        }
    }

    /// A part whose look gave nothing: without the right to look it goes out all the same.
    async fn unseen(&mut self, mut part: Part, ask: Ask) -> Option<Part> {
        let Ask::Blind(why) = ask else {
            self.parts.push(part);
            self.put_off(ask).await;
            return None;
        };
        self.ship.stream.blinded(why.clone());
        self.ship.tell_blind(&why);
        part.footing = Footing::None;
        Some(part)
    }

    async fn put_off(&mut self, ask: Ask) {
        match ask {
            Ask::Hold(held) => self.hold(held, None).await,
            Ask::Unanswered(Unanswered::AllDown { wait, cause }) => self.wait_for_a_host(wait, cause).await,
            Ask::Unanswered(Unanswered::NoSecret(error)) => {
                self.hold(Held { why: Hold::NoSecret, detail: error.to_string() }, None).await;
            }
            Ask::Unanswered(Unanswered::Failed(answer)) | Ask::Blind(Blind(answer)) => {
                self.failures = self.failures.saturating_add(1);
                self.ship.tell("lookup", |lane, stream| {
                    tracing::warn!(
                        lane,
                        stream,
                        answer,
                        "a question about the stream came to nothing, it is asked again"
                    );
                });
                self.retry_later(None).await;
            }
        }
    }

    /// Until the server cannot be working on the last try any more. Others go on meanwhile; a stop does not shorten it,
    /// for what is not settled by then is looked up by the next start.
    async fn wait_until_quiet(&mut self, until: Instant) {
        self.permit = None;
        tokio::time::sleep_until(until).await;
        self.permit = Some(self.ship.gate.enter().await);
    }

    /// Whether what was just created may be a second copy: the stream rolled over after we had relied on its write index.
    pub(super) async fn audit(&mut self, part: &Part, created_in: &[(String, Vec<u32>)]) {
        let Some(since) = &part.since else { return };
        for (index, created) in created_in {
            match &part.footing {
                Footing::Looked => {}
                Footing::Index(relied) if **relied == **index => {}
                Footing::Index(relied) => self.recount(part, relied, created).await,
                Footing::None if *since == Since::Index(index.as_str().into()) => {}
                Footing::None => self.ship.stats.possible_repeats.add(created.len() as u64),
            }
        }
    }

    async fn recount(&mut self, part: &Part, relied: &Arc<str>, created: &[u32]) {
        if let Some(until) = part.quiet_at {
            self.wait_until_quiet(until).await;
        }
        let ids = part.sealed.pick(created).ids();
        let places = [Place { index: Arc::clone(relied), until: None }];
        let found = loop {
            match lookup::find(&self.ship.peer, &ids, &places).await {
                Ok(found) => break found,
                Err(Ask::Blind(why)) => {
                    self.ship.tell_blind(&why);
                    return self.ship.stats.possible_repeats.add(ids.len() as u64);
                }
                Err(ask) => self.put_off(ask).await,
            }
        };
        let copies = found.iter().filter(|there| **there).count();
        self.ship.stats.second_copies.add(copies as u64);
        if copies > 0 {
            self.ship.tell("second_copies", |lane, stream| {
                let remedy = format!("delete those in the newer index; the older one is {relied}");
                tracing::warn!(
                    lane,
                    stream,
                    documents = copies,
                    remedy,
                    "the stream rolled over between a look and a send, and documents stand there twice"
                );
            });
        }
    }
}

/// Where to look before sending. `lazily`: a roll-over that may be pending counts as one.
fn places(view: &View, since: &Since, lazily: bool) -> Vec<Place> {
    let mut places = view.older(since);
    let pending = view.lazy.unwrap_or(lazily);
    if pending || !places.is_empty() {
        places.extend(view.write_index().map(|index| Place { index: Arc::clone(index), until: None }));
    }
    places
}

impl Ship {
    /// Makes sure, before anything is written to a stream that we do not know, that it is one: where the server does not
    /// do so by itself, a missing template would make a plain index of its name.
    async fn guard(&self) -> Result<(), Ask> {
        if self.stream.is_safe() {
            return Ok(());
        }
        let _one = self.stream.asking.lock().await;
        self.peer.meet().await.map_err(Ask::Unanswered)?;
        if self.stream.is_safe() || self.peer.requires_data_stream() {
            return Ok(());
        }
        match lookup::standing(&self.peer, &self.stream.name).await {
            Ok(Standing::Stream(names)) => {
                names.last().into_iter().for_each(|index| self.stream.learn_asked(index));
                Ok(())
            }
            Ok(Standing::Other) => Err(Ask::Hold(lookup::astray(&self.stream.name))),
            Ok(Standing::Nothing) | Err(Ask::Blind(_)) => self.template().await,
            Err(ask) => Err(ask),
        }
    }

    async fn template(&self) -> Result<(), Ask> {
        match lookup::has_template(&self.peer, &self.stream.name).await {
            Ok(false) => {
                let detail = format!("no index template makes a data stream of {}", self.stream.name);
                Err(Ask::Hold(Held { why: Hold::NoTemplate, detail }))
            }
            Ok(true) | Err(Ask::Blind(_)) => {
                self.stream.safe();
                Ok(())
            }
            Err(ask) => Err(ask),
        }
    }

    /// The stream as it is now; younger than `after`.
    async fn view(&self, after: Option<Instant>) -> Result<Arc<View>, Ask> {
        let known = || match (self.stream.blind(), self.stream.view(after)) {
            (Some(why), _) => Some(Err(Ask::Blind(why))),
            (None, view) => view.map(Ok),
        };
        if let Some(known) = known() {
            return known;
        }
        let _one = self.stream.asking.lock().await;
        match known() {
            Some(known) => known,
            None => lookup::view(&self.peer, &self.stream.name).await.map(|view| self.stream.see(view)),
        }
    }

    fn tell_blind(&self, why: &Blind) {
        self.tell("blind", |lane, stream| {
            let answer = why.0.as_str();
            let remedy = "grant read and view_index_metadata on the stream (Elasticsearch), or the actions of the role tidegate-ship-lookup (OpenSearch); `tidegate setup --only roles` makes that role";
            tracing::warn!(
                lane,
                stream,
                answer,
                remedy,
                "ids cannot be looked up: what is sent again after a rollover may stand there twice, and is counted"
            );
        });
    }
}

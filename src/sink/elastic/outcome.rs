//! What a bulk endpoint's answer means, as a pure function: no I/O, no clock, no state.
//!
//! The order of the questions is fixed: the status first, then `error.type`, never the text of a reason. Whatever says
//! something about the cluster or about our rights is *held*, whatever says something about the document is *rejected*,
//! and what proves nothing leaves the whole request *uncertain*: a busy server may have written a part of a request that
//! it answered with 400, 429 or 5xx.
//!
//! Promise: the outcomes of an answer are exactly as many as the documents that were sent.

use std::borrow::Cow;

use serde::Deserialize;

/// A reason is cut to so many characters: it can hold a field's value, or the whole document.
pub const REASON_CHARS: usize = 200;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every document has its own outcome.
    Items(Items),
    /// Too large: both halves are to be sent by themselves.
    Split,
    /// Nothing of it was taken, for a reason that concerns all.
    Hold(Held),
    /// Any part of it may have been written.
    Uncertain(Doubt),
    /// The only document of the request was refused for good.
    Refused(Refusal),
    /// The only document of the request was refused in words that may as well mean our set-up. Who knows that others
    /// are taken meanwhile may reject it.
    Lone(Refusal),
}

/// Outcomes of single documents; indices ascend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Items {
    /// Written now.
    pub created: u64,
    /// There already, so delivered before.
    pub duplicates: u64,
    /// Written, but into the failure store.
    pub redirected: u64,
    pub retry: Vec<u32>,
    pub hold: Vec<u32>,
    /// Why the first of `hold` is held.
    pub held: Option<Held>,
    pub rejected: Vec<(u32, Refusal)>,
    /// What was created, by backing index. There is more than one when the stream rolled over meanwhile.
    pub created_in: Vec<(String, Vec<u32>)>,
    /// The write index, where the answer names it.
    pub write_index: Option<String>,
    /// Some of `retry` and `hold` failed in a way that does not prove that they were not written.
    pub unsure: bool,
}

impl Items {
    /// Documents that are where they belong.
    pub fn delivered(&self) -> u64 {
        self.created + self.duplicates + self.redirected
    }

    fn create(&mut self, index: u32, item: &Item<'_>) {
        self.created += 1;
        let Some(name) = item.index.as_deref() else { return };
        match self.created_in.last_mut() {
            Some((known, indices)) if known == name => indices.push(index),
            _ => self.created_in.push((name.to_owned(), vec![index])),
        }
    }
}

/// Why nothing can be delivered at present, with what the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub why: Hold,
    pub detail: String,
}

/// What is wrong with the cluster, our rights or our set-up: one value per remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// 401.
    Unauthorized,
    /// 403 `security_exception`.
    Forbidden,
    /// The data stream's template is not installed.
    NoTemplate,
    /// `cluster_block_exception`: a write block, a read-only cluster, the flood stage.
    Blocked,
    /// `unavailable_shards_exception`.
    Unavailable,
    /// Every document is refused with `illegal_argument_exception`.
    Misconfigured,
    /// An answer that no bulk endpoint gives.
    WrongPeer,
    /// No connection to any host.
    Unreachable,
    /// Our own secret cannot be read.
    NoSecret,
    /// Refused documents cannot be kept: the dead letter is full, or its disk fails.
    DeadLetter,
}

/// Why it is not known what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The connection broke, or the time was up, after bytes had gone out.
    Lost,
    /// The answer is not the JSON of a bulk endpoint.
    Unreadable,
    /// The answer is larger than we read.
    Oversized,
    /// The answer speaks of another number of documents.
    Miscounted,
    /// 429 for the whole request.
    Busy,
    /// 400 for the whole request.
    BadRequest,
    /// 5xx (or 408) for the whole request.
    ServerError,
}

/// Why a document was refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The peer's `error.type`.
    pub kind: String,
    /// Cut to [`REASON_CHARS`].
    pub reason: String,
    pub index: Option<String>,
}

/// The body of an answer, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    /// It went on after these bytes.
    Cut(&'a [u8]),
}

/// The verdict on an answer to a bulk request of `sent` documents.
pub fn judge(status: u16, body: Body<'_>, sent: usize) -> Verdict {
    match (status, body) {
        (200..=299, Body::Cut(_)) => Verdict::Uncertain(Doubt::Oversized),
        (200..=299, Body::Whole(bytes)) => items(bytes, sent),
        (_, Body::Whole(bytes) | Body::Cut(bytes)) => refused_request(status, bytes, sent),
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    items: Vec<Action<'a>>,
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    create: Item<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow, default, rename = "_index")]
    index: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    failure_store: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

/// What one item's answer means by itself.
enum Fate {
    Created,
    Duplicate,
    Redirected,
    Retry,
    Hold(Hold),
    Reject,
    /// `illegal_argument_exception`: the document's fault, unless all others are refused like it.
    Suspect,
}

fn items(bytes: &[u8], sent: usize) -> Verdict {
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(bytes) else {
        return Verdict::Uncertain(Doubt::Unreadable);
    };
    if answer.items.len() != sent {
        return Verdict::Uncertain(Doubt::Miscounted);
    }
    let mut items = Items::default();
    let mut suspects = 0;
    for (index, Action { create: item }) in (0u32..).zip(&answer.items) {
        match fate(item) {
            Fate::Created => items.create(index, item),
            Fate::Duplicate => items.duplicates += 1,
            Fate::Redirected => items.redirected += 1,
            Fate::Retry => {
                items.unsure |= item.status != 429;
                items.retry.push(index);
            }
            Fate::Hold(why) => {
                items.unsure |= item.status >= 500;
                items.hold.push(index);
                items.held.get_or_insert_with(|| Held { why, detail: item.detail() });
            }
            Fate::Reject => items.rejected.push((index, item.refusal())),
            Fate::Suspect => {
                suspects += 1;
                items.rejected.push((index, item.refusal()));
            }
        }
    }
    let written = |item: &&Item<'_>| matches!(fate(item), Fate::Created | Fate::Duplicate);
    let last = answer.items.iter().map(|action| &action.create).rfind(written);
    items.write_index = last.and_then(|item| item.index.as_deref()).map(str::to_owned);
    match (suspects, sent) {
        (1, 1) => Verdict::Lone(items.rejected.swap_remove(0).1),
        (n, sent) if n == sent && n > 1 => {
            Verdict::Hold(Held { why: Hold::Misconfigured, detail: answer.items[0].create.detail() })
        }
        _ => Verdict::Items(items),
    }
}

fn fate(item: &Item<'_>) -> Fate {
    let kind = item.kind();
    match (item.status, kind) {
        (200..=299, _) if item.failure_store.as_deref() == Some("used") => Fate::Redirected,
        // Only a backing index of a data stream has such a name: without our template the document just went into a
        // plain index with guessed types, or was there already.
        (200..=299 | 409, _) if item.index.as_deref().is_some_and(|name| !name.starts_with(".ds-")) => {
            Fate::Hold(Hold::NoTemplate)
        }
        (200..=299, _) => Fate::Created,
        (409, _) => Fate::Duplicate,
        (_, _) if hold_kind(kind).is_some() => Fate::Hold(hold_kind(kind).unwrap_or(Hold::Blocked)),
        (401, _) => Fate::Hold(Hold::Unauthorized),
        (403, _) => Fate::Hold(Hold::Forbidden),
        (404, _) => Fate::Hold(Hold::NoTemplate),
        (_, "illegal_argument_exception") => Fate::Suspect,
        (400..=499, _) if item.status != 408 && item.status != 429 => Fate::Reject,
        _ => Fate::Retry,
    }
}

impl Item<'_> {
    fn kind(&self) -> &str {
        self.error.as_ref().and_then(|error| error.kind.as_deref()).unwrap_or_default()
    }

    fn reason(&self) -> &str {
        self.error.as_ref().and_then(|error| error.reason.as_deref()).unwrap_or_default()
    }

    fn detail(&self) -> String {
        detail(self.status, self.kind(), self.reason())
    }

    fn refusal(&self) -> Refusal {
        Refusal {
            status: self.status,
            kind: cut(self.kind()),
            reason: cut(self.reason()),
            index: self.index.as_deref().map(str::to_owned),
        }
    }
}

/// Error types that speak of the cluster or of our rights, whatever the status beside them.
fn hold_kind(kind: &str) -> Option<Hold> {
    match kind {
        "cluster_block_exception" => Some(Hold::Blocked),
        "security_exception" => Some(Hold::Forbidden),
        "index_not_found_exception" => Some(Hold::NoTemplate),
        "unavailable_shards_exception" => Some(Hold::Unavailable),
        _ => None,
    }
}

fn refused_request(status: u16, body: &[u8], sent: usize) -> Verdict {
    let (kind, reason) = request_error(body);
    let hold = |why| Verdict::Hold(Held { why, detail: detail(status, &kind, &reason) });
    let refusal = || Refusal { status, kind: cut(&kind), reason: cut(&reason), index: None };
    match status {
        413 if sent == 1 => Verdict::Refused(Refusal { kind: "content_too_long".into(), ..refusal() }),
        413 => Verdict::Split,
        401 => hold(Hold::Unauthorized),
        _ if hold_kind(&kind).is_some() => hold(hold_kind(&kind).unwrap_or(Hold::Blocked)),
        403 => hold(Hold::Forbidden),
        // Alone, and by somebody who speaks like Elasticsearch: some other server's 400 must not fill the dead letter.
        400 if sent == 1 && kind == "illegal_argument_exception" => Verdict::Lone(refusal()),
        400 if sent == 1 && !kind.is_empty() => Verdict::Refused(refusal()),
        400 if sent == 1 => hold(Hold::WrongPeer),
        400 => Verdict::Uncertain(Doubt::BadRequest),
        429 => Verdict::Uncertain(Doubt::Busy),
        408 | 500..=599 => Verdict::Uncertain(Doubt::ServerError),
        _ => hold(Hold::WrongPeer),
    }
}

/// `error.type` and `error.reason` of a whole request; both empty when the body is something else (a proxy's page).
fn request_error(body: &[u8]) -> (String, String) {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
        return (String::new(), text_of(body));
    };
    let text = |key: &str| answer["error"][key].as_str().unwrap_or_default().to_owned();
    (text("type"), text("reason"))
}

/// What a body that is no JSON says, for a log line.
fn text_of(body: &[u8]) -> String {
    cut(String::from_utf8_lossy(&body[..body.len().min(4 * REASON_CHARS)]).trim())
}

fn detail(status: u16, kind: &str, reason: &str) -> String {
    let mut text = status.to_string();
    for part in [kind, reason].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(": ");
        text.push_str(part);
    }
    cut(&text)
}

/// The first [`REASON_CHARS`] characters, on one line.
pub fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(REASON_CHARS).is_some() {
        short.push('…');
    }
    short
}

impl Hold {
    pub const ALL: [Self; 10] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::NoTemplate,
        Self::Blocked,
        Self::Unavailable,
        Self::Misconfigured,
        Self::WrongPeer,
        Self::Unreachable,
        Self::NoSecret,
        Self::DeadLetter,
    ];

    /// Stable name, for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NoTemplate => "no_template",
            Self::Blocked => "blocked",
            Self::Unavailable => "unavailable_shards",
            Self::Misconfigured => "misconfigured",
            Self::WrongPeer => "wrong_peer",
            Self::Unreachable => "unreachable",
            Self::NoSecret => "no_secret",
            Self::DeadLetter => "dead_letter",
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;

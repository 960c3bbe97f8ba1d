//! A stand-in Elasticsearch that keeps the rules of one data stream, and breaks them when told to.
//!
//! It keeps: `create` alone, a repeated `_id` refused by the write index only, rollover on demand, `_mget` on backing
//! indices, `_resolve/index`, settings with creation dates. It breaks what real servers, and what stands before them,
//! break: see [`Fault`]. No async and a thread a connection, so that it can be stopped in the middle of anything.
//!
//! It stands by itself (no other module of the tests), so that the long runs in `tests/harness` use it as it is.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memmem};
use serde_json::{Value, json};

/// How much of a request is written before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    All,
    Half,
    None,
}

/// One way to misbehave in one bulk request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// HTTP 200; every `of`-th document is refused with this status and `error.type`, the others are taken.
    Items {
        status: u16,
        kind: &'static str,
        of: u64,
    },
    /// The request as a whole gets this status, a JSON error, and perhaps `Retry-After`.
    Status {
        take: Take,
        status: u16,
        kind: &'static str,
        retry_after: Option<u64>,
    },
    /// This status and a proxy's page.
    Page {
        take: Take,
        status: u16,
    },
    /// 413 as servers say it: no body, no product header.
    TooLarge,
    /// 413 for requests of more documents than so many.
    TooLargeAbove(u64),
    /// 400 for every request that holds a document with this text; nothing is taken of it.
    Poison(String),
    /// Answers for one document fewer than there were.
    WrongCount,
    /// HTTP 200 with a body that is no JSON, or none at all.
    Garbage,
    Empty,
    /// Half of the answer, or of its head, then the end.
    CutAnswer,
    CutHead,
    /// The answer byte by byte with pauses, so long in all.
    Drip(Duration),
    /// The connection is closed without an answer, before or after documents were taken.
    Close(Take),
    /// The connection is reset when half of the body has been read.
    CloseMidway,
    /// No answer for this time, then the end of the connection. Documents are taken first.
    Hang(Duration),
    /// The right answer, late.
    Slow(Duration),
    /// No template: taken into a plain index.
    PlainIndex,
    /// Taken into the failure store.
    FailureStore,
    /// The right answer with this many more bytes in it.
    Huge(usize),
    /// HTTP 200 with a gzip bomb of so many inflated bytes.
    Bomb(usize),
}

/// Names of faults as scripts have them: word, what it is. Sizes and times stand behind a colon.
pub const FAULTS: &[(&str, &str)] = &[
    ("item-400[:N]", "every N-th document (each, without N) is refused: document_parsing_exception"),
    ("item-429[:N]", "the same: 429 es_rejected_execution_exception"),
    ("item-429-opensearch[:N]", "the same: 429 rejected_execution_exception"),
    ("item-500[:N]", "the same: 500 exception"),
    ("item-503[:N]", "the same: 503 unavailable_shards_exception"),
    ("item-401[:N]", "the same: 401 security_exception"),
    ("item-403[:N]", "the same: 403 security_exception"),
    ("item-404[:N]", "the same: 404 index_not_found_exception"),
    ("item-illegal[:N]", "the same: 400 illegal_argument_exception"),
    ("flood-stage[:N]", "the same: 429 cluster_block_exception"),
    ("write-block[:N]", "the same: 403 cluster_block_exception"),
    ("request-400", "the request as a whole: 400, nothing taken"),
    ("request-400-half", "400 although half of it was taken"),
    ("request-401", "401 security_exception"),
    ("request-401-text", "401 as OpenSearch says it: no JSON"),
    ("request-403", "403 security_exception"),
    ("read-only", "403 cluster_block_exception for the request"),
    ("request-404", "404 index_not_found_exception"),
    ("request-429", "429, nothing taken"),
    ("request-429-half", "429 although half of it was taken"),
    ("request-429-after[:SECONDS]", "429 with Retry-After"),
    ("request-500", "500 although all of it was taken"),
    ("request-503", "503, nothing taken"),
    ("request-503-half", "503 although half of it was taken"),
    ("page-200", "200 with a proxy's page"),
    ("page-404", "404 with a page"),
    ("page-502", "502 with a page, all taken"),
    ("page-504", "504 with a page, all taken"),
    ("too-large", "413 without a body"),
    ("too-large-above:N", "413 for more than N documents"),
    ("poison:TEXT", "400 for a request as long as a document with TEXT is in it"),
    ("wrong-count", "all taken, an answer of one item fewer"),
    ("garbage", "all taken, 200 with a body that is no JSON"),
    ("empty", "all taken, 200 without a body"),
    ("cut-answer", "all taken, half of the answer, then the end"),
    ("cut-head", "all taken, half of the answer's head, then the end"),
    ("drip[:TIME]", "all taken, the answer comes byte by byte"),
    ("close", "closed before anything was taken"),
    ("close-half", "closed when half was taken"),
    ("close-all", "closed when all was taken"),
    ("close-midway", "reset when half of the body was read"),
    ("hang[:TIME]", "all taken, no answer"),
    ("slow[:TIME]", "all taken, the answer comes late"),
    ("plain-index", "taken into an index that is no data stream's"),
    ("failure-store", "taken into the failure store"),
    ("huge[:BYTES]", "all taken, an answer larger than it may be"),
    ("bomb[:BYTES]", "200 with a small gzip body that is large when unpacked"),
];

impl Fault {
    /// By its name; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, value) = text.split_once(':').map_or((text, None), |(word, value)| (word, Some(value)));
        let number = |default: u64| value.map_or(Some(default), |value| value.parse().ok());
        let time = |default: u64| match value {
            None => Some(Duration::from_millis(default)),
            Some(value) => humantime::parse_duration(value).ok(),
        };
        let items = |status, kind| Some(Self::Items { status, kind, of: number(1)? });
        let whole = |take, status, kind| Some(Self::Status { take, status, kind, retry_after: None });
        match word {
            "item-400" => items(400, "document_parsing_exception"),
            "item-429" => items(429, "es_rejected_execution_exception"),
            "item-429-opensearch" => items(429, "rejected_execution_exception"),
            "item-500" => items(500, "exception"),
            "item-503" => items(503, "unavailable_shards_exception"),
            "item-401" => items(401, "security_exception"),
            "item-403" => items(403, "security_exception"),
            "item-404" => items(404, "index_not_found_exception"),
            "item-illegal" => items(400, "illegal_argument_exception"),
            "flood-stage" => items(429, "cluster_block_exception"),
            "write-block" => items(403, "cluster_block_exception"),
            "request-400" => whole(Take::None, 400, "illegal_argument_exception"),
            "request-400-half" => whole(Take::Half, 400, "illegal_argument_exception"),
            "request-401" => whole(Take::None, 401, "security_exception"),
            "request-401-text" => Some(Self::Page { take: Take::None, status: 401 }),
            "request-403" => whole(Take::None, 403, "security_exception"),
            "read-only" => whole(Take::None, 403, "cluster_block_exception"),
            "request-404" => whole(Take::None, 404, "index_not_found_exception"),
            "request-429" => whole(Take::None, 429, "es_rejected_execution_exception"),
            "request-429-half" => whole(Take::Half, 429, "es_rejected_execution_exception"),
            "request-429-after" => Some(Self::Status {
                take: Take::None,
                status: 429,
                kind: "circuit_breaking_exception",
                retry_after: Some(number(1)?),
            }),
            "request-500" => whole(Take::All, 500, "exception"),
            "request-503" => whole(Take::None, 503, "unavailable"),
            "request-503-half" => whole(Take::Half, 503, "unavailable"),
            "page-200" => Some(Self::Page { take: Take::None, status: 200 }),
            "page-404" => Some(Self::Page { take: Take::None, status: 404 }),
            "page-502" => Some(Self::Page { take: Take::All, status: 502 }),
            "page-504" => Some(Self::Page { take: Take::All, status: 504 }),
            "too-large" => Some(Self::TooLarge),
            "too-large-above" => Some(Self::TooLargeAbove(value?.parse().ok()?)),
            "poison" => Some(Self::Poison(value?.to_owned())),
            "wrong-count" => Some(Self::WrongCount),
            "garbage" => Some(Self::Garbage),
            "empty" => Some(Self::Empty),
            "cut-answer" => Some(Self::CutAnswer),
            "cut-head" => Some(Self::CutHead),
            "drip" => Some(Self::Drip(time(500)?)),
            "close" => Some(Self::Close(Take::None)),
            "close-half" => Some(Self::Close(Take::Half)),
            "close-all" => Some(Self::Close(Take::All)),
            "close-midway" => Some(Self::CloseMidway),
            "hang" => Some(Self::Hang(time(3_000)?)),
            "slow" => Some(Self::Slow(time(1_000)?)),
            "plain-index" => Some(Self::PlainIndex),
            "failure-store" => Some(Self::FailureStore),
            "huge" => Some(Self::Huge(number(6 << 20)? as usize)),
            "bomb" => Some(Self::Bomb(number(64 << 20)? as usize)),
            _ => None,
        }
    }
}

/// When a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In the next so many bulk requests.
    Next(u64),
    /// In every so-many-th bulk request from now on.
    Every(u64),
}

/// Where an id was written: the numbers of backing indices, the latest first.
#[derive(Debug, Default)]
struct Places {
    last: u32,
    older: Vec<u32>,
}

#[derive(Debug)]
struct Backing {
    name: String,
    created_ms: u128,
}

/// Asked for each request; told each new id.
type Chaos = Box<dyn FnMut() -> Option<Fault> + Send>;
type Seen = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
struct State {
    /// Backing indices; the last is the write index.
    backing: Vec<Backing>,
    stream: String,
    known: HashMap<Box<str>, Places>,
    documents: Option<HashMap<Box<str>, String>>,
    once: Vec<(Fault, u64)>,
    periodic: Vec<(Fault, u64)>,
    /// Chosen for each request when nothing else is due.
    chaos: Option<Chaos>,
    /// Called with each id that is written for the first time.
    seen: Option<Seen>,
    copies: u64,
    repeats: u64,
    misplaced: u64,
    unknown: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    requests: AtomicU64,
    lookups: AtomicU64,
    refuse_lookups: AtomicBool,
    /// Requests that are being answered now, and the most there ever were.
    busy: AtomicU64,
    most_busy: AtomicU64,
}

/// One address of the cluster, which can be taken down and brought back.
struct Node {
    address: SocketAddr,
    running: Option<Arc<AtomicBool>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

/// A cluster of one or more addresses with one data stream. It stops when dropped.
pub struct DataStream {
    shared: Arc<Shared>,
    nodes: Mutex<Vec<Node>>,
}

impl DataStream {
    /// Remembers ids, and documents when `keep`.
    pub fn start(nodes: usize, keep: bool) -> Self {
        let state = State { documents: keep.then(HashMap::new), ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            requests: AtomicU64::new(0),
            lookups: AtomicU64::new(0),
            refuse_lookups: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            most_busy: AtomicU64::new(0),
        });
        let peer = Self { shared, nodes: Mutex::default() };
        for _ in 0..nodes.max(1) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
            let address = listener.local_addr().expect("a bound socket");
            let mut node = Node { address, running: None, connections: Arc::default() };
            serve(&peer.shared, &mut node, listener);
            peer.nodes().push(node);
        }
        peer
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes().iter().map(|node| format!("http://{}", node.address)).collect()
    }

    /// Refuses and resets everything at this address.
    pub fn down(&self, node: usize) {
        let mut nodes = self.nodes();
        let node = &mut nodes[node];
        if let Some(running) = node.running.take() {
            running.store(false, Ordering::SeqCst);
            // Wakes the thread that accepts, which then lets the listener go.
            let _ = TcpStream::connect(node.address);
        }
        for connection in lock(&node.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Gone only when a connection is refused.
        while TcpStream::connect(node.address).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// # Panics
    /// When somebody else has taken the port meanwhile.
    pub fn up(&self, node: usize) {
        let mut nodes = self.nodes();
        let node = &mut nodes[node];
        if node.running.is_none() {
            // The standard library sets SO_REUSEADDR: connections of before in TIME_WAIT do not matter.
            let listener = TcpListener::bind(node.address).expect("the port of before");
            serve(&self.shared, node, listener);
        }
    }

    pub fn answer(&self, fault: Fault, when: When) {
        let mut state = self.state();
        match when {
            When::Next(times) => state.once.push((fault, times)),
            When::Every(n) => state.periodic.push((fault, n)),
        }
    }

    /// A fault that was ordered for the next requests has not come yet.
    pub fn has_fault_waiting(&self) -> bool {
        !self.state().once.is_empty()
    }

    /// No more faults.
    pub fn answer_well(&self) {
        let mut state = self.state();
        state.once.clear();
        state.periodic.clear();
        state.chaos = None;
    }

    /// Asked before each request that has no other fault.
    pub fn set_chaos(&self, chaos: impl FnMut() -> Option<Fault> + Send + 'static) {
        self.state().chaos = Some(Box::new(chaos));
    }

    /// Told each id when it is written for the first time; it must not call back.
    pub fn on_first(&self, seen: impl FnMut(&str) + Send + 'static) {
        self.state().seen = Some(Box::new(seen));
    }

    /// A new write index.
    pub fn rollover(&self) {
        let mut state = self.state();
        if state.stream.is_empty() {
            state.stream = "logs-calico.flow-default".to_owned();
        }
        state.roll();
    }

    /// `_mget`, `_resolve` and settings answer 403.
    pub fn refuse_lookups(&self, refuse: bool) {
        self.shared.refuse_lookups.store(refuse, Ordering::SeqCst);
    }

    /// Distinct ids.
    pub fn count(&self) -> usize {
        self.state().known.len()
    }

    pub fn ids(&self) -> Vec<String> {
        self.state().known.keys().map(|id| id.to_string()).collect()
    }

    pub fn holds(&self, id: &str) -> bool {
        self.state().known.contains_key(id)
    }

    /// Second and further documents of one id.
    pub fn copies(&self) -> u64 {
        self.state().copies
    }

    /// Documents that were offered again and refused with 409.
    pub fn repeats(&self) -> u64 {
        self.state().repeats
    }

    /// Documents that went into a plain index.
    pub fn misplaced(&self) -> u64 {
        self.state().misplaced
    }

    /// Bulk requests that began.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// `_mget` requests.
    pub fn lookups(&self) -> u64 {
        self.shared.lookups.load(Ordering::SeqCst)
    }

    /// Most bulk requests at a time so far.
    pub fn most_at_a_time(&self) -> u64 {
        self.shared.most_busy.load(Ordering::SeqCst)
    }

    /// Some document holds this text. Only where documents are kept.
    pub fn any_document(&self, text: &str) -> bool {
        self.state().documents.as_ref().is_some_and(|all| all.values().any(|document| document.contains(text)))
    }

    /// Requests that no server would take, or that this stand-in does not know.
    pub fn unknown(&self) -> Vec<String> {
        self.state().unknown.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        lock(&self.nodes)
    }
}

impl Drop for DataStream {
    fn drop(&mut self) {
        let nodes = self.nodes().len();
        (0..nodes).for_each(|node| self.down(node));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Arc<Shared>, node: &mut Node, listener: TcpListener) {
    let running = Arc::new(AtomicBool::new(true));
    node.running = Some(Arc::clone(&running));
    let (shared, connections) = (Arc::clone(shared), Arc::clone(&node.connections));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if !running.load(Ordering::SeqCst) {
                return;
            }
            if let Ok(handle) = stream.try_clone() {
                let mut all = lock(&connections);
                all.retain(|stream| stream.peer_addr().is_ok());
                all.push(handle);
            }
            let shared = Arc::clone(&shared);
            // A peer that goes away is its own business.
            std::thread::spawn(move || drop(shared.converse(stream)));
        }
    });
}

/// What the request line and the headers say.
#[derive(Default)]
struct Head {
    method: String,
    path: String,
    query: String,
    length: usize,
    chunked: bool,
    gzip: bool,
}

/// What goes back, and whether the connection stays.
enum Reply {
    Json(u16, String),
    /// Status, content type, body.
    Other(u16, &'static str, Vec<u8>),
    TooLarge,
    RetryAfter(u16, String, u64),
    Gzip(Vec<u8>),
    Part(Vec<u8>, Duration),
    /// Unread bytes make it a reset.
    Close,
}

impl Shared {
    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        while let Some(head) = read_head(&mut reader)? {
            let is_bulk = head.path.ends_with("/_bulk");
            let fault = if is_bulk { self.begin() } else { None };
            let stays = self.exchange(&mut stream, &mut reader, &head, fault);
            if is_bulk {
                self.busy.fetch_sub(1, Ordering::SeqCst);
            }
            if !stays? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One request and its answer. False when the connection is over.
    fn exchange(
        &self,
        stream: &mut TcpStream,
        reader: &mut BufReader<TcpStream>,
        head: &Head,
        fault: Option<Fault>,
    ) -> io::Result<bool> {
        if fault == Some(Fault::CloseMidway) {
            reader.read_exact(&mut vec![0; head.length / 2])?;
            return send(stream, Reply::Close);
        }
        let body = read_body(reader, head)?;
        let reply = if head.path.ends_with("/_bulk") { self.bulk(head, &body, fault) } else { self.other(head, &body) };
        send(stream, reply)
    }

    /// A bulk request begins: which fault is due?
    fn begin(&self) -> Option<Fault> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_busy.fetch_max(busy, Ordering::SeqCst);
        let mut state = lock(&self.state);
        if let Some((fault, left)) = state.once.first_mut() {
            let fault = fault.clone();
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.once.remove(0);
            }
            return Some(fault);
        }
        let periodic = state.periodic.iter().find(|(_, n)| number.is_multiple_of(*n)).map(|(fault, _)| fault.clone());
        periodic.or_else(|| state.chaos.as_mut().and_then(|chaos| chaos()))
    }

    fn bulk(&self, head: &Head, body: &[u8], fault: Option<Fault>) -> Reply {
        let mut text = Vec::new();
        if head.gzip {
            if MultiGzDecoder::new(body).read_to_end(&mut text).is_err() {
                return Reply::Json(400, error("x_content_parse_exception", 400));
            }
        } else {
            text.extend_from_slice(body);
        }
        let documents = match documents(&text) {
            Ok(documents) => documents,
            Err(what) => {
                lock(&self.state).unknown.push(format!("a bulk body {what}"));
                return Reply::Json(400, error("illegal_argument_exception", 400));
            }
        };
        let stream = head.path.trim_end_matches("/_bulk").trim_start_matches('/');
        let mut state = lock(&self.state);
        state.name(stream);
        state.reply(&documents, fault)
    }

    /// Everything but bulk requests.
    fn other(&self, head: &Head, body: &[u8]) -> Reply {
        let path = head.path.trim_matches('/');
        if path.is_empty() {
            return Reply::Json(200, ROOT.to_owned());
        }
        let looks = path.contains("_mget") || path.contains("_resolve") || path.contains("_settings");
        if looks && self.refuse_lookups.load(Ordering::SeqCst) {
            return Reply::Json(403, error("security_exception", 403));
        }
        if path.ends_with("_mget") {
            self.lookups.fetch_add(1, Ordering::SeqCst);
        }
        let mut state = lock(&self.state);
        match state.answer(path, body) {
            Some(answer) => Reply::Json(200, answer.to_string()),
            None => {
                state.unknown.push(format!("{} /{path}?{}", head.method, head.query));
                Reply::Json(404, error("index_not_found_exception", 404))
            }
        }
    }
}

const ROOT: &str = r#"{"name":"stand-in","cluster_name":"stand-in","version":{"number":"9.2.8","build_flavor":"default"},"tagline":"You Know, for Search"}"#;

impl State {
    /// The stream begins with its first document.
    fn name(&mut self, stream: &str) {
        if self.backing.is_empty() {
            self.stream = stream.to_owned();
            self.roll();
        }
    }

    fn roll(&mut self) {
        let number = self.backing.len() + 1;
        let name = format!(".ds-{}-2026.11.23-{number:06}", self.stream);
        let created_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        self.backing.push(Backing { name, created_ms });
    }

    fn write_index(&self) -> u32 {
        self.backing.len() as u32 - 1
    }

    /// 201 or 409.
    fn create(&mut self, id: &str, document: &[u8]) -> u16 {
        let index = self.write_index();
        match self.known.get_mut(id) {
            Some(places) if places.last == index => {
                self.repeats += 1;
                return 409;
            }
            Some(places) => {
                places.older.push(std::mem::replace(&mut places.last, index));
                self.copies += 1;
            }
            None => {
                self.known.insert(id.into(), Places { last: index, older: Vec::new() });
                if let Some(seen) = &mut self.seen {
                    seen(id);
                }
            }
        }
        if let Some(documents) = &mut self.documents {
            documents.insert(id.into(), String::from_utf8_lossy(document).into_owned());
        }
        201
    }

    fn take(&mut self, documents: &[(&str, &[u8])], take: Take) -> Vec<u16> {
        let taken = match take {
            Take::All => documents.len(),
            Take::Half => documents.len() / 2,
            Take::None => 0,
        };
        documents[..taken].iter().map(|(id, document)| self.create(id, document)).collect()
    }

    fn reply(&mut self, documents: &[(&str, &[u8])], fault: Option<Fault>) -> Reply {
        let Some(fault) = fault else { return self.taken(documents) };
        match fault {
            Fault::Items { status, kind, of } => self.some(documents, status, kind, of),
            Fault::Status { take, status, kind, retry_after } => {
                self.take(documents, take);
                match retry_after {
                    Some(seconds) => Reply::RetryAfter(status, error(kind, status), seconds),
                    None => Reply::Json(status, error(kind, status)),
                }
            }
            Fault::Page { take, status } => {
                self.take(documents, take);
                Reply::Other(status, "text/html", b"<html><body>a proxy's page</body></html>".to_vec())
            }
            Fault::TooLarge => Reply::TooLarge,
            Fault::TooLargeAbove(most) if documents.len() as u64 > most => Reply::TooLarge,
            Fault::Poison(text) if documents.iter().any(|(_, d)| memmem::find(d, text.as_bytes()).is_some()) => {
                Reply::Json(400, error("x_content_parse_exception", 400))
            }
            Fault::WrongCount => {
                let statuses = self.take(documents, Take::All);
                Reply::Json(200, self.items(&statuses[1..]))
            }
            Fault::Garbage => {
                self.take(documents, Take::All);
                Reply::Json(200, r#"{"errors":false,"items":[{"create":"#.to_owned())
            }
            Fault::Empty => {
                self.take(documents, Take::All);
                Reply::Json(200, String::new())
            }
            Fault::CutAnswer => Reply::Part(cut(&self.whole(documents), false), Duration::ZERO),
            Fault::CutHead => Reply::Part(cut(&self.whole(documents), true), Duration::ZERO),
            Fault::Drip(time) => Reply::Part(whole(200, &self.whole(documents)), time),
            Fault::Close(take) => {
                self.take(documents, take);
                Reply::Close
            }
            // The body was not even read.
            Fault::CloseMidway => Reply::Close,
            Fault::Hang(time) => {
                self.take(documents, Take::All);
                DELAY.set(time);
                Reply::Close
            }
            Fault::Slow(time) => {
                let answer = self.whole(documents);
                DELAY.set(time);
                Reply::Json(200, answer)
            }
            Fault::PlainIndex => {
                self.misplaced += documents.len() as u64;
                let item = format!(r#"{{"create":{{"_index":"{}","status":201}}}}"#, self.stream);
                Reply::Json(200, list(documents.iter().map(|_| item.clone())))
            }
            Fault::FailureStore => {
                self.take(documents, Take::All);
                let item = r#"{"create":{"_index":".fs-x-000001","status":201,"failure_store":"used"}}"#;
                Reply::Json(200, list(documents.iter().map(|_| item.to_owned())))
            }
            Fault::Huge(bytes) => {
                let answer = self.whole(documents);
                Reply::Json(200, format!("{}{}", answer, " ".repeat(bytes)))
            }
            Fault::Bomb(bytes) => {
                self.take(documents, Take::All);
                Reply::Gzip(bomb(bytes))
            }
            Fault::TooLargeAbove(_) | Fault::Poison(_) => self.taken(documents),
        }
    }

    fn taken(&mut self, documents: &[(&str, &[u8])]) -> Reply {
        Reply::Json(200, self.whole(documents))
    }

    fn whole(&mut self, documents: &[(&str, &[u8])]) -> String {
        let statuses = self.take(documents, Take::All);
        self.items(&statuses)
    }

    /// Every `of`-th document is refused.
    fn some(&mut self, documents: &[(&str, &[u8])], status: u16, kind: &str, of: u64) -> Reply {
        let index = self.backing[self.write_index() as usize].name.clone();
        let mut items = Vec::with_capacity(documents.len());
        for (number, (id, document)) in (1u64..).zip(documents) {
            let (status, kind) =
                if number.is_multiple_of(of) { (status, kind) } else { (self.create(id, document), "") };
            items.push(item(&index, status, kind));
        }
        Reply::Json(200, list(items.into_iter()))
    }

    fn items(&self, statuses: &[u16]) -> String {
        let index = &self.backing[self.write_index() as usize].name;
        list(statuses.iter().map(|status| item(index, *status, "")))
    }

    /// What the control plane asks; `None` for what this stand-in does not know.
    fn answer(&mut self, path: &str, body: &[u8]) -> Option<Value> {
        let parts: Vec<_> = path.split('/').collect();
        match parts[..] {
            ["_mget"] => Some(self.many(None, body)),
            [index, "_mget"] => Some(self.many(Some(index), body)),
            ["_resolve", "index", _] => Some(self.resolve()),
            [_, "_rollover"] => {
                self.roll();
                Some(json!({"acknowledged": true, "rolled_over": true}))
            }
            ["_data_stream", _] => {
                let indices: Vec<_> = self.backing.iter().map(|b| json!({"index_name": b.name})).collect();
                Some(json!({"data_streams": [{"name": self.stream, "indices": indices}]}))
            }
            [names, "_settings"] | [names, "_settings", _] => Some(self.settings(names)),
            ["_index_template", name] => Some(json!({"index_templates": [
                {"name": name, "index_template": {"_meta": {"managed_by": "tidegate"}, "data_stream": {}}}]})),
            _ => None,
        }
    }

    fn number_of(&self, index: &str) -> Option<u32> {
        self.backing.iter().position(|backing| backing.name == index).map(|number| number as u32)
    }

    fn many(&self, index: Option<&str>, body: &[u8]) -> Value {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let docs = asked["docs"].as_array().into_iter().flatten().map(|doc| (doc["_index"].as_str(), &doc["_id"]));
        let ids = asked["ids"].as_array().into_iter().flatten().map(|id| (None, id));
        let found = docs.chain(ids).map(|(own, id)| {
            let (index, id) = (own.or(index).unwrap_or_default(), id.as_str().unwrap_or_default());
            let Some(number) = self.number_of(index) else {
                return json!({"_index": index, "_id": id, "error": {"type": "index_not_found_exception"}});
            };
            let places = self.known.get(id);
            let found = places.is_some_and(|places| places.last == number || places.older.contains(&number));
            json!({"_index": index, "_id": id, "found": found})
        });
        json!({"docs": found.collect::<Vec<_>>()})
    }

    fn resolve(&self) -> Value {
        let names: Vec<_> = self.backing.iter().map(|backing| &backing.name).collect();
        let streams = if names.is_empty() {
            json!([])
        } else {
            json!([{"name": self.stream, "backing_indices": names, "timestamp_field": "@timestamp"}])
        };
        json!({"indices": [], "aliases": [], "data_streams": streams})
    }

    fn settings(&self, names: &str) -> Value {
        let all = names == self.stream;
        let wanted = self.backing.iter().filter(|b| all || names.split(',').any(|name| name == b.name));
        let entry = |backing: &Backing| {
            let date = backing.created_ms.to_string();
            (backing.name.clone(), json!({"settings": {"index": {"creation_date": date}, "index.creation_date": date}}))
        };
        Value::Object(wanted.map(entry).collect())
    }
}

thread_local! {
    /// How long this connection's thread waits before it answers: after it has let go of the state, so that others are
    /// served meanwhile.
    static DELAY: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

fn item(index: &str, status: u16, kind: &str) -> String {
    let kind = if status == 409 { "version_conflict_engine_exception" } else { kind };
    match kind {
        "" => format!(r#"{{"create":{{"_index":"{index}","status":{status}}}}}"#),
        kind => format!(
            r#"{{"create":{{"_index":"{index}","status":{status},"error":{{"type":"{kind}","reason":"as told"}}}}}}"#
        ),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!(r#"{{"errors":false,"items":[{}]}}"#, items.collect::<Vec<_>>().join(","))
}

fn error(kind: &str, status: u16) -> String {
    json!({"error": {"type": kind, "reason": "as told"}, "status": status}).to_string()
}

/// Many members of a mebibyte each: one is made, the others are its copies.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b' '; 1 << 20]).expect("memory");
    encoder.finish().expect("memory").repeat(bytes >> 20)
}

fn whole(status: u16, body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn cut(body: &str, in_head: bool) -> Vec<u8> {
    let mut all = whole(200, body);
    let head = all.len() - body.len();
    all.truncate(if in_head { head / 2 } else { head + body.len() / 2 });
    all
}

/// False when the connection is over.
fn send(stream: &mut TcpStream, reply: Reply) -> io::Result<bool> {
    std::thread::sleep(DELAY.take());
    match reply {
        Reply::Json(status, body) => stream.write_all(&whole(status, &body))?,
        Reply::Other(status, kind, body) => {
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)?;
        }
        Reply::TooLarge => stream.write_all(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n")?,
        Reply::RetryAfter(status, body, seconds) => write!(
            stream,
            "HTTP/1.1 {status} X\r\nRetry-After: {seconds}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?,
        Reply::Gzip(body) => {
            write!(
                stream,
                "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )?;
            stream.write_all(&body)?;
        }
        Reply::Part(bytes, time) if time.is_zero() => {
            stream.write_all(&bytes)?;
            let _ = stream.shutdown(Shutdown::Both);
            return Ok(false);
        }
        Reply::Part(bytes, time) => {
            let pieces = 20;
            for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                stream.write_all(piece)?;
                std::thread::sleep(time / pieces as u32);
            }
        }
        Reply::Close => {
            let _ = stream.shutdown(Shutdown::Both);
            return Ok(false);
        }
    }
    Ok(true)
}

/// `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.replace("%2C", ",").replace("%2c", ",");
    let mut head = Head { method, path, query: query.to_owned(), ..Head::default() };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(head)) };
        match (name.to_ascii_lowercase().as_str(), value.trim().to_ascii_lowercase()) {
            ("content-length", value) => head.length = value.parse().map_err(io::Error::other)?,
            ("transfer-encoding", value) => head.chunked = value.contains("chunked"),
            ("content-encoding", value) => head.gzip = value.contains("gzip"),
            _ => {}
        }
    }
}

fn read_body(reader: &mut impl BufRead, head: &Head) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !head.chunked {
        body.resize(head.length, 0);
        reader.read_exact(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let at = body.len();
        body.resize(at + size, 0);
        reader.read_exact(&mut body[at..])?;
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Ids and documents of a bulk body; what is wrong with it otherwise.
fn documents(text: &[u8]) -> Result<Vec<(&str, &[u8])>, &'static str> {
    if !text.ends_with(b"\n") {
        return Err("does not end in a newline");
    }
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut all = Vec::new();
    while let Some(action) = lines.next() {
        if !action.starts_with(br#"{"create":"#) {
            return Err("has an action that is not create");
        }
        let document = lines.next().ok_or("has an action without a document")?;
        all.push((id(action).ok_or("has an action without an id")?, document));
    }
    Ok(all)
}

/// The `_id` of an action line (ids have nothing to escape).
fn id(action: &[u8]) -> Option<&str> {
    let value = action.get(memmem::find(action, b"\"_id\":\"")? + 7..)?;
    std::str::from_utf8(value.get(..memchr(b'"', value)?)?).ok()
}

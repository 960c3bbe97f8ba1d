//! A scripted bulk endpoint, for what real servers cannot be made to do on demand: broken answers, `Retry-After`,
//! connections that end in the middle.
//!
//! It speaks just enough HTTP/1.1, remembers every request and every document that it took, and answers by a script. It
//! keeps a data stream of several backing indices, of which only the last refuses a repeated id, and answers questions
//! about it as far as it is told to.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A bulk request as it came.
#[derive(Debug, Clone)]
pub struct Bulk {
    pub at: Instant,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Ids and documents, in order.
    pub documents: Vec<(String, String)>,
}

/// What the script has it do.
#[derive(Debug, Clone)]
pub enum Act {
    /// Each document gets this status; 201 and 409 by what was taken before.
    Take,
    /// As [`Act::Take`], but documents by index get another status and `error.type`.
    Items(Vec<(usize, u16, &'static str)>),
    /// Everything is taken into the failure store.
    FailureStore,
    /// This status, these headers, this body; nothing is taken.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Everything is taken, and then this is answered.
    TakeAndAnswer(u16, String),
    /// Everything is taken, half of the answer is sent, and the connection is cut.
    CutAnswer,
    /// Nothing is taken, nothing answered; the connection is closed.
    Close,
    /// Everything is taken, and answered after this time.
    Slow(Duration),
    /// The stream rolls over before this is done.
    RollThen(Box<Act>),
    /// The stream rolls over after this is done, before the next request.
    ThenRoll(Box<Act>),
    /// Exactly these bytes are sent at this pace, and then the connection is closed. Everything is taken before.
    Raw(Vec<u8>, Duration),
}

/// A backing index.
struct Index {
    name: String,
    /// Unix seconds.
    created: i64,
    ids: HashSet<String>,
}

type Script = Box<dyn FnMut(&Bulk) -> Act + Send>;

/// A running fake. It stops listening when the test's process ends.
#[derive(Clone)]
pub struct FakeBulk {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    root: String,
    script: Mutex<Script>,
    seen: Mutex<Vec<Bulk>>,
    indices: Mutex<Vec<Index>>,
    /// Every other request, as method and path.
    asked: Mutex<Vec<String>>,
    /// Parts of paths, and the status that is answered there.
    refused: Mutex<Vec<(&'static str, u16)>>,
    under_the_name: AtomicUsize,
}

/// What stands under the stream's name before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A data stream whose next write does not roll it over.
    Stream,
    /// One whose next write does.
    Lazy,
    /// As `Stream`, but `_data_stream` is not answered.
    Mute,
    /// Nothing, and a template or none.
    Free,
    NoTemplate,
    PlainIndex,
}

const NAMES: [Name; 6] = [Name::Stream, Name::Lazy, Name::Mute, Name::Free, Name::NoTemplate, Name::PlainIndex];

/// What `GET /` of Elasticsearch 9.2 says, as far as anybody reads it.
pub const ELASTICSEARCH: &str = r#"{"version":{"number":"9.2.8","build_flavor":"default"}}"#;
/// The same of OpenSearch, which knows no `require_data_stream`.
pub const OPENSEARCH: &str = r#"{"version":{"distribution":"opensearch","number":"3.4.0"}}"#;
const STREAM: &str = "logs-calico.flow-default";
/// When the first backing index was made; each further one is a day younger.
pub const FIRST_CREATED: i64 = 1_699_900_000;
pub const DAY: i64 = 86_400;

/// The name of the stream's nth backing index, from 1.
pub fn index(number: usize) -> String {
    format!(".ds-{STREAM}-2026.11.23-{number:06}")
}

impl FakeBulk {
    pub fn start(script: impl FnMut(&Bulk) -> Act + Send + 'static) -> Self {
        Self::start_as(ELASTICSEARCH, script)
    }

    /// `root` is answered to `GET /`; an empty one means 403.
    pub fn start_as(root: &str, script: impl FnMut(&Bulk) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            indices: Mutex::default(),
            asked: Mutex::default(),
            refused: Mutex::default(),
            under_the_name: AtomicUsize::new(0),
        });
        shared.roll();
        let fake = Self { url, shared };
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.connection(stream));
            }
        });
        fake
    }

    /// All bulk requests so far.
    pub fn seen(&self) -> Vec<Bulk> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// Ids of all documents that were taken.
    pub fn taken(&self) -> HashSet<String> {
        self.shared.indices.lock().expect("no panic").iter().flat_map(|index| index.ids.clone()).collect()
    }

    /// Documents that stand in more than one backing index, each time.
    pub fn copies(&self) -> usize {
        let all: usize = self.shared.indices.lock().expect("no panic").iter().map(|index| index.ids.len()).sum();
        all - self.taken().len()
    }

    /// What was asked beside bulk requests: the last part of each path that begins with `_`, without the query.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.shared.asked.lock().expect("no panic");
        let word = |path: &String| path.split(['/', '?']).find(|part| part.starts_with('_')).unwrap_or("/").to_owned();
        asked.iter().map(word).collect()
    }

    /// The same as they came.
    pub fn asked_paths(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no panic").clone()
    }

    /// A new write index.
    pub fn roll(&self) {
        self.shared.roll();
    }

    /// Questions with this in their path get this status; 200 ends it.
    pub fn refuse(&self, part: &'static str, status: u16) {
        let mut refused = self.shared.refused.lock().expect("no panic");
        refused.retain(|(other, _)| *other != part);
        if status != 200 {
            refused.push((part, status));
        }
    }

    pub fn put_under_the_name(&self, name: Name) {
        self.shared.under_the_name.store(name as usize, Ordering::SeqCst);
    }

    fn name(&self) -> Name {
        NAMES[self.shared.under_the_name.load(Ordering::SeqCst)]
    }

    fn question(&self, stream: &mut TcpStream, method: &str, path: &str, body: &[u8]) {
        let stands = matches!(self.name(), Name::Stream | Name::Lazy | Name::Mute);
        if path != "/" {
            self.shared.asked.lock().expect("no panic").push(format!("{method} {path}"));
        }
        let refused = self.shared.refused.lock().expect("no panic").clone();
        if let Some((_, status)) = refused.iter().find(|(part, _)| path.contains(part)) {
            return answer(stream, *status, &[], r#"{"error":{"type":"security_exception","reason":"scripted"}}"#);
        }
        let text = if path.contains("/_resolve/index/") {
            match self.name() {
                Name::PlainIndex => format!(r#"{{"indices":[{{"name":"{STREAM}"}}],"aliases":[],"data_streams":[]}}"#),
                _ if stands => self.shared.resolved(),
                _ => r#"{"indices":[],"aliases":[],"data_streams":[]}"#.to_owned(),
            }
        } else if path.contains("/_simulate_index/") {
            match self.name() {
                Name::NoTemplate => "{}".to_owned(),
                // As OpenSearch does.
                name if stands || name == Name::PlainIndex => {
                    let error = r#"{"error":{"type":"illegal_state_exception","reason":"scripted"},"status":500}"#;
                    return answer(stream, 500, &[], error);
                }
                _ => r#"{"template":{"mappings":{"_data_stream_timestamp":{"enabled":true}}}}"#.to_owned(),
            }
        } else if path.contains("/_data_stream/") {
            match self.name() {
                Name::Mute => return answer(stream, 400, &[], r#"{"error":"no handler found"}"#),
                name => format!(r#"{{"data_streams":[{{"rollover_on_write":{}}}]}}"#, name == Name::Lazy),
            }
        } else if path.contains("/_settings") {
            self.shared.settings()
        } else if path.contains("/_mget") {
            self.shared.found(path, body)
        } else {
            let status = if self.shared.root.is_empty() { 403 } else { 200 };
            return answer(stream, status, &[], &self.shared.root);
        };
        answer(stream, 200, &[], &text);
    }

    /// Serves requests until either side closes.
    fn connection(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut stream = stream;
        while let Some((method, path, headers, body)) = request(&mut reader) {
            if !path.contains("/_bulk") {
                self.question(&mut stream, &method, &path, &body);
                continue;
            }
            let documents = documents(&headers, &body);
            let bulk = Bulk { at: Instant::now(), path, headers, documents };
            self.shared.seen.lock().expect("no panic").push(bulk.clone());
            let act = (self.shared.script.lock().expect("no panic"))(&bulk);
            if !self.act(&mut stream, &bulk, act) {
                return;
            }
        }
    }

    /// False when the connection is to be closed.
    fn act(&self, stream: &mut TcpStream, bulk: &Bulk, act: Act) -> bool {
        match act {
            Act::Take => answer(stream, 200, &[], &self.take(bulk, &[])),
            Act::Items(rows) => answer(stream, 200, &[], &self.take(bulk, &rows)),
            Act::FailureStore => {
                self.take(bulk, &[]);
                let item = r#"{"create":{"_index":".fs-x-000001","status":201,"failure_store":"used"}}"#;
                answer(
                    stream,
                    200,
                    &[],
                    &format!(r#"{{"errors":false,"items":[{}]}}"#, vec![item; bulk.documents.len()].join(",")),
                );
            }
            Act::Answer(status, headers, body) => answer(stream, status, &headers, &body),
            Act::TakeAndAnswer(status, body) => {
                self.take(bulk, &[]);
                answer(stream, status, &[], &body);
            }
            Act::CutAnswer => {
                let body = self.take(bulk, &[]);
                let half = &body[..body.len() / 2];
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", body.len());
                let _ = stream.write_all(head.as_bytes());
                return false;
            }
            Act::Close => return false,
            Act::RollThen(act) => {
                self.shared.roll();
                return self.act(stream, bulk, *act);
            }
            Act::ThenRoll(act) => {
                let stays = self.act(stream, bulk, *act);
                self.shared.roll();
                return stays;
            }
            Act::Raw(bytes, pause) => {
                self.take(bulk, &[]);
                for some in bytes.chunks(64 << 10) {
                    if stream.write_all(some).is_err() {
                        break;
                    }
                    std::thread::sleep(pause);
                }
                return false;
            }
            Act::Slow(time) => {
                let body = self.take(bulk, &[]);
                std::thread::sleep(time);
                answer(stream, 200, &[], &body);
            }
        }
        true
    }

    fn take(&self, bulk: &Bulk, rows: &[(usize, u16, &str)]) -> String {
        if self.name() == Name::Lazy {
            self.shared.roll();
            self.put_under_the_name(Name::Stream);
        }
        let mut indices = self.shared.indices.lock().expect("no panic");
        let write = indices.last_mut().expect("a write index");
        let name = write.name.clone();
        let item = |(index, (id, _)): (usize, &(String, String))| {
            let (status, kind) = match rows.iter().find(|(row, ..)| *row == index) {
                Some((_, status, kind)) => (*status, *kind),
                None if write.ids.insert(id.clone()) => (201, ""),
                None => (409, "version_conflict_engine_exception"),
            };
            let error = if kind.is_empty() {
                String::new()
            } else {
                format!(r#","error":{{"type":"{kind}","reason":"scripted"}}"#)
            };
            format!(r#"{{"create":{{"_index":"{name}","status":{status}{error}}}}}"#)
        };
        let items: Vec<_> = bulk.documents.iter().enumerate().map(item).collect();
        format!(r#"{{"errors":false,"items":[{}]}}"#, items.join(","))
    }
}

impl Shared {
    fn roll(&self) {
        let mut indices = self.indices.lock().expect("no panic");
        let number = indices.len();
        let created = FIRST_CREATED + DAY * number as i64;
        indices.push(Index { name: index(number + 1), created, ids: HashSet::new() });
    }

    fn resolved(&self) -> String {
        let indices = self.indices.lock().expect("no panic");
        let names: Vec<&str> = indices.iter().map(|index| index.name.as_str()).collect();
        let stream = serde_json::json!({"name": STREAM, "backing_indices": names});
        serde_json::json!({"indices": [], "aliases": [], "data_streams": [stream]}).to_string()
    }

    fn settings(&self) -> String {
        let indices = self.indices.lock().expect("no panic");
        let row = |index: &Index| {
            let created = (index.created * 1000).to_string();
            (index.name.clone(), serde_json::json!({"settings": {"index": {"creation_date": created}}}))
        };
        serde_json::Value::Object(indices.iter().map(row).collect()).to_string()
    }

    fn found(&self, path: &str, body: &[u8]) -> String {
        let asked: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let indices = self.indices.lock().expect("no panic");
        let index = indices.iter().find(|index| path.contains(&index.name)).expect("a backing index");
        let ids = asked["ids"].as_array().expect("ids").iter().map(|id| id.as_str().expect("an id"));
        let docs: Vec<_> = ids.map(|id| serde_json::json!({"found": index.ids.contains(id)})).collect();
        serde_json::json!({ "docs": docs }).to_string()
    }
}

pub type Request = (String, String, BTreeMap<String, String>, Vec<u8>);

pub fn request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    let mut next = |reader: &mut BufReader<TcpStream>| {
        line.clear();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let first = next(reader)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let line = next(reader)?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, headers, body))
}

fn documents(headers: &BTreeMap<String, String>, body: &[u8]) -> Vec<(String, String)> {
    let mut text = String::new();
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        flate2::read::MultiGzDecoder::new(body).read_to_string(&mut text).expect("whole gzip");
    } else {
        text.push_str(std::str::from_utf8(body).expect("UTF-8"));
    }
    assert!(text.ends_with('\n'), "a bulk body ends in a newline");
    let lines: Vec<_> = text.lines().collect();
    let pair = |pair: &[&str]| {
        let action: serde_json::Value = serde_json::from_str(pair[0]).expect("an action line");
        (action["create"]["_id"].as_str().expect("an id").to_owned(), pair[1].to_owned())
    };
    lines.chunks(2).map(pair).collect()
}

/// Whoever closed meanwhile gets no answer.
fn answer(stream: &mut TcpStream, status: u16, headers: &[(&'static str, String)], body: &str) {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
}

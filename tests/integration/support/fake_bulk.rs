//! A scripted bulk endpoint, for what real servers cannot be made to do on demand: broken answers, `Retry-After`,
//! connections that end in the middle.
//!
//! It speaks just enough HTTP/1.1, remembers every request and every document that it took, and answers by a script.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
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
    taken: Mutex<HashSet<String>>,
}

/// What `GET /` of Elasticsearch 9.2 says, as far as anybody reads it.
pub const ELASTICSEARCH: &str = r#"{"version":{"number":"9.2.8","build_flavor":"default"}}"#;
const INDEX: &str = ".ds-logs-calico.flow-default-2026.11.23-000001";

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
            taken: Mutex::default(),
        });
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
        self.shared.taken.lock().expect("no panic").clone()
    }

    /// Serves requests until either side closes.
    fn connection(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut stream = stream;
        while let Some((method, path, headers, body)) = request(&mut reader) {
            if method == "GET" {
                let status = if self.shared.root.is_empty() { 403 } else { 200 };
                answer(&mut stream, status, &[], &self.shared.root);
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
            Act::Slow(time) => {
                let body = self.take(bulk, &[]);
                std::thread::sleep(time);
                answer(stream, 200, &[], &body);
            }
        }
        true
    }

    fn take(&self, bulk: &Bulk, rows: &[(usize, u16, &str)]) -> String {
        let mut taken = self.shared.taken.lock().expect("no panic");
        let item = |(index, (id, _)): (usize, &(String, String))| {
            let (status, kind) = match rows.iter().find(|(row, ..)| *row == index) {
                Some((_, status, kind)) => (*status, *kind),
                None if taken.insert(id.clone()) => (201, ""),
                None => (409, "version_conflict_engine_exception"),
            };
            let error = if kind.is_empty() {
                String::new()
            } else {
                format!(r#","error":{{"type":"{kind}","reason":"scripted"}}"#)
            };
            format!(r#"{{"create":{{"_index":"{INDEX}","status":{status}{error}}}}}"#)
        };
        let items: Vec<_> = bulk.documents.iter().enumerate().map(item).collect();
        format!(r#"{{"errors":false,"items":[{}]}}"#, items.join(","))
    }
}

type Request = (String, String, BTreeMap<String, String>, Vec<u8>);

fn request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
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

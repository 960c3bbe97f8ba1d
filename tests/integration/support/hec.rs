//! A stand-in for Splunk's HTTP Event Collector, after Splunk's public manuals ("HTTP Event Collector REST API endpoints",
//! "Format events", "About HTTP Event Collector Indexer Acknowledgment", "Troubleshoot HTTP Event Collector"): no real
//! Splunk can be had here. So what it shows is that we keep to the manuals, not that Splunk does.
//!
//! It has tokens, channels, acknowledgements that are told once and forgotten by a restart, and the manual's codes; it is
//! strict about bodies (JSON objects one behind the other, known keys only, flat `fields`), and it can be made to fail in
//! ways that a real one could not on demand. Where the manuals leave open whether the events before a refused one are
//! taken, it takes them: the case that costs a sender repeats.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::fake_bulk::request;

pub const TOKEN: &str = "b0221cd8-c4b4-465a-9a3c-273e3a75aa29";

/// When a request's events are indexed after they were taken, and so acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    AtOnce,
    After(Duration),
    Never,
}

/// What happens to a request with events instead of what should.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status and body; nothing is taken.
    Answer(u16, &'static str),
    /// Closed without an answer; nothing is taken.
    Close,
    /// Taken, and closed without an answer.
    TakeAndClose,
    /// Taken, and this is answered.
    TakeAndAnswer(u16, &'static str),
    /// Nothing is read from the connection, and nothing answered, until it is thawed.
    Freeze,
}

#[derive(Debug, Clone)]
pub struct Rules {
    /// `None`: the token is not known.
    pub token: Option<String>,
    pub enabled: bool,
    pub acknowledges: bool,
    pub indexes: Vec<String>,
    pub indexing: Indexing,
    /// Larger bodies (before decompression) get 413.
    pub most_bytes: usize,
    /// Events that hold this text are invalid.
    pub poison: Option<&'static str>,
    /// For each request with events that comes, or for so many of them.
    pub fault: Option<Fault>,
    pub faults_left: usize,
    /// Connections are closed as they come.
    pub away: bool,
    /// The health endpoint says that the queues are full.
    pub unwell: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            token: Some(TOKEN.to_owned()),
            enabled: true,
            acknowledges: true,
            indexes: vec!["main".to_owned(), "netfw".to_owned()],
            indexing: Indexing::AtOnce,
            most_bytes: usize::MAX,
            poison: None,
            fault: None,
            faults_left: usize::MAX,
            away: false,
            unwell: false,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Rules,
    /// By name; what it owes acknowledgements for.
    channels: BTreeMap<String, Channel>,
    /// Whole event objects, in the order of their taking. What is not indexed is lost by a restart.
    taken: Vec<(Value, Option<Instant>)>,
    indexed: Vec<Value>,
    /// Method, path and status of everything.
    served: Vec<(String, u16)>,
    connections: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Channel {
    next: u64,
    /// Number, and when it is indexed; `None`: never.
    owed: BTreeMap<u64, Option<Instant>>,
}

#[derive(Clone)]
pub struct Hec {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Hec {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let hec = Self { port, state: Arc::default() };
        let server = hec.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                if server.lock().rules.away {
                    continue;
                }
                std::thread::spawn(move || server.connection(stream));
            }
        });
        hec
    }

    pub fn url(&self) -> String {
        format!("splunk+http://127.0.0.1:{}", self.port)
    }

    /// A port that speaks TLS before it, with a certificate of this folder.
    pub fn over_tls(&self, certificates: &Path, name: &str) -> u16 {
        let file = |ending: &str| certificates.join(format!("{name}.{ending}"));
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(file("pem")).expect("a file").map(|der| der.expect("PEM")).collect();
        let key = PrivateKeyDer::from_pem_file(file("key")).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let (port, inside) = (listener.local_addr().expect("an address").port(), self.port);
        listener.set_nonblocking(true).expect("a socket");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((client, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    // A side that goes away is no concern of the relay's.
                    tokio::task::spawn_local(async move {
                        let mut client = acceptor.accept(client).await?;
                        let mut server = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, inside)).await?;
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    });
                }
            });
        });
        port
    }

    /// Changes what it does from now on; whoever is frozen looks again.
    pub fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.lock().rules);
        self.state.1.notify_all();
    }

    /// All connections break, what is not indexed is lost, and channels and acknowledgements are forgotten.
    pub fn restart(&self) {
        self.forget();
        self.cut();
    }

    /// As [`Hec::restart`], behind something that keeps the connections.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.index_due();
        state.taken.clear();
        state.channels.clear();
    }

    /// Connections break, nothing else.
    pub fn cut(&self) {
        for connection in self.lock().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub fn indexed(&self) -> Vec<Value> {
        let mut state = self.lock();
        state.index_due();
        state.indexed.clone()
    }

    /// Ids of the events that are indexed, repeats too.
    pub fn ids(&self) -> Vec<String> {
        self.indexed().iter().map(id).collect()
    }

    pub fn count(&self) -> usize {
        let mut state = self.lock();
        state.index_due();
        state.indexed.len()
    }

    /// Requests to a path with this status.
    pub fn served(&self, path: &str, status: u16) -> usize {
        self.lock().served.iter().filter(|(p, s)| p.contains(path) && *s == status).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("no panic in the stand-in")
    }

    fn connection(&self, stream: TcpStream) {
        self.lock().connections.push(stream.try_clone().expect("a second handle"));
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut stream = stream;
        while let Some((method, path, headers, body)) = request(&mut reader) {
            let Some((status, answer)) = self.serve(&method, &path, &headers, &body) else {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            };
            self.lock().served.push((format!("{method} {path}"), status));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Status and body; `None` closes the connection.
    fn serve(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Option<(u16, String)> {
        let mut state = self.lock();
        if state.rules.away {
            return None;
        }
        state.index_due();
        match (method, path.split('?').next().unwrap_or_default()) {
            ("GET", "/services/collector/health") if state.rules.unwell => {
                code(503, 18, "HEC is unhealthy, queues are full")
            }
            ("GET", "/services/collector/health") => code(200, 17, "HEC is healthy"),
            ("POST", "/services/collector/event") => self.events(state, headers, body),
            ("POST", "/services/collector/ack") => Some(state.acks(path, headers, body)),
            _ => {
                Some((404, json!({"text": "The requested URL was not found on this server.", "code": 404}).to_string()))
            }
        }
    }

    fn events(
        &self,
        mut state: MutexGuard<'_, State>,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Option<(u16, String)> {
        while state.rules.faults_left > 0 && matches!(state.rules.fault, Some(Fault::Freeze)) {
            state = self.state.1.wait(state).expect("no panic in the stand-in");
        }
        match state.next_fault() {
            None => Some(state.take(headers, body)),
            Some(Fault::Freeze | Fault::Close) => None,
            Some(Fault::Answer(status, body)) => Some((status, body.to_owned())),
            Some(Fault::TakeAndClose) => {
                state.take(headers, body);
                None
            }
            Some(Fault::TakeAndAnswer(status, answer)) => {
                state.take(headers, body);
                Some((status, answer.to_owned()))
            }
        }
    }
}

impl State {
    fn next_fault(&mut self) -> Option<Fault> {
        let fault = self.rules.fault.clone()?;
        self.rules.faults_left = self.rules.faults_left.checked_sub(1)?;
        Some(fault)
    }

    fn index_due(&mut self) {
        let now = Instant::now();
        let due = self.taken.extract_if(.., |(_, at)| at.is_some_and(|at| at <= now));
        self.indexed.extend(due.map(|(event, _)| event));
    }

    fn refuse(&self, headers: &BTreeMap<String, String>) -> Option<(u16, String)> {
        let Some(given) = headers.get("authorization") else { return code(401, 2, "Token is required") };
        let Some(token) = given.strip_prefix("Splunk ") else { return code(401, 3, "Invalid authorization") };
        match &self.rules.token {
            Some(known) if known == token && self.rules.enabled => None,
            Some(known) if known == token => code(403, 1, "Token disabled"),
            _ => code(403, 4, "Invalid token"),
        }
    }

    fn take(&mut self, headers: &BTreeMap<String, String>, body: &[u8]) -> (u16, String) {
        if let Some(refusal) = self.refuse(headers) {
            return refusal;
        }
        if body.len() > self.rules.most_bytes {
            return code(413, 27, "Content-Length is too large").expect("an answer");
        }
        let channel = headers.get("x-splunk-request-channel");
        match channel {
            None if self.rules.acknowledges => return code(400, 10, "Data channel is missing").expect("an answer"),
            Some(name) if !is_guid(name) => return code(400, 11, "Invalid data channel").expect("an answer"),
            _ => {}
        }
        let mut text = Vec::new();
        match headers.get("content-encoding").map(String::as_str) {
            None => text.extend_from_slice(body),
            Some("gzip") => drop(flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text).expect("whole gzip")),
            Some(other) => panic!("an encoding that Splunk does not know: {other}"),
        }
        if text.is_empty() {
            return code(400, 5, "No data").expect("an answer");
        }
        let at = match self.rules.indexing {
            Indexing::AtOnce => Some(Instant::now()),
            Indexing::After(time) => Some(Instant::now() + time),
            Indexing::Never => None,
        };
        let objects = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
        for (number, object) in objects.enumerate() {
            let judged = object.map_err(|_| (6, "Invalid data format")).and_then(|object| self.judge(object));
            match judged {
                Ok(event) => self.taken.push((event, at)),
                Err((code, text)) => {
                    return (400, json!({"text": text, "code": code, "invalid-event-number": number}).to_string());
                }
            }
        }
        if !self.rules.acknowledges {
            return code(200, 0, "Success").expect("an answer");
        }
        let channel = self.channels.entry(channel.expect("checked above").clone()).or_default();
        let ack = channel.next;
        channel.next += 1;
        channel.owed.insert(ack, at);
        (200, json!({"text": "Success", "code": 0, "ackId": ack}).to_string())
    }

    /// The event, or the code and text of what is wrong with it.
    fn judge(&self, object: Value) -> Result<Value, (u64, &'static str)> {
        const KEYS: [&str; 7] = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
        let map = object.as_object().ok_or((6, "Invalid data format"))?;
        let poison = self.rules.poison.is_some_and(|poison| object.to_string().contains(poison));
        if poison || map.keys().any(|key| !KEYS.contains(&key.as_str())) || !map["time"].is_number() {
            return Err((6, "Invalid data format"));
        }
        match map.get("event") {
            None => return Err((12, "Event field is required")),
            Some(Value::String(text)) if text.is_empty() => return Err((13, "Event field cannot be blank")),
            Some(Value::String(_) | Value::Object(_)) => {}
            Some(_) => return Err((6, "Invalid data format")),
        }
        if let Some(index) = map.get("index")
            && !self.rules.indexes.iter().any(|known| index == known)
        {
            return Err((7, "Incorrect index"));
        }
        let flat = |value: &Value| value.is_string() || value.is_array();
        if map.get("fields").is_some_and(|fields| !fields.as_object().is_some_and(|map| map.values().all(flat))) {
            return Err((15, "Error in handling indexed fields"));
        }
        Ok(object)
    }

    fn acks(&mut self, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> (u16, String) {
        if let Some(refusal) = self.refuse(headers) {
            return refusal;
        }
        if !self.rules.acknowledges {
            return code(400, 14, "ACK is disabled").expect("an answer");
        }
        let Some((_, name)) = path.split_once("channel=") else {
            return code(400, 10, "Data channel is missing").expect("an answer");
        };
        if !is_guid(name) {
            return code(400, 11, "Invalid data channel").expect("an answer");
        }
        let asked: Value = serde_json::from_slice(body).expect("a question in JSON");
        let channel = self.channels.entry(name.to_owned()).or_default();
        let mut told = serde_json::Map::new();
        for ack in asked["acks"].as_array().expect("a list of numbers") {
            let ack = ack.as_u64().expect("a number");
            let indexed = channel.owed.get(&ack).is_some_and(|at| at.is_some_and(|at| at <= Instant::now()));
            if indexed {
                // A yes is said once.
                channel.owed.remove(&ack);
            }
            told.insert(ack.to_string(), indexed.into());
        }
        (200, json!({ "acks": told }).to_string())
    }
}

fn code(status: u16, code: u64, text: &str) -> Option<(u16, String)> {
    Some((status, json!({"text": text, "code": code}).to_string()))
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hex)
}

/// The line's id: in an ECS document, or in a CEF record.
pub fn id(event: &Value) -> String {
    match &event["event"] {
        Value::String(record) => {
            let rest = &record[record.find("externalId=").expect("an id") + 11..];
            rest.split(' ').next().unwrap_or_default().to_owned()
        }
        document => document["event"]["id"].as_str().expect("an id").to_owned(),
    }
}

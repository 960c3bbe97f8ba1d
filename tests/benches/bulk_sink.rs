//! A stand-in Elasticsearch for measurements: it counts what it is sent, remembers ids, and fails on demand.
//!
//! ```text
//! POST [/<stream>]/_bulk   a bulk answer of one item per document, as short as `filter_path` asks
//! GET  /_stats             the counters as JSON
//! POST /_reset             zeroes them, forgets ids
//! GET  /                   product and version
//! anything else            200 {"acknowledged":true}
//! ```
//!
//! It costs as little as it can, so that one core is left to what is measured: no async, a thread a connection, bulk
//! bodies are split at newlines and not parsed. It is no judge of documents; real servers are.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use flate2::read::MultiGzDecoder;
use memchr::{memchr, memmem};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Parser)]
#[command(about = "A stand-in Elasticsearch that counts what it is sent")]
struct Options {
    /// Where to listen; port 0 takes a free one. The address is told on standard output.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: String,
    /// Wait so long before each bulk answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Every N-th bulk request is refused as a whole with 429 (0: none).
    #[arg(long, value_name = "N", default_value_t = 0)]
    http429_every: u64,
    /// Every N-th document is refused with 429.
    #[arg(long, value_name = "N", default_value_t = 0)]
    item429_every: u64,
    /// Every N-th document is refused with 400.
    #[arg(long, value_name = "N", default_value_t = 0)]
    item400_every: u64,
    /// Every N-th bulk request is applied, then the connection is closed without an answer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cut_every: u64,
    /// Remember every `_id` and answer 409 to its repeats, as a data stream's write index does.
    #[arg(long)]
    ids: bool,
    /// Look for "bench_seq":N in the documents and count distinct and repeated ones.
    #[arg(long)]
    seq: bool,
    /// Listen for TLS too, on a free port, with server.pem and server.key of this folder; the address is told likewise.
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// Write the first bulk body, inflated, to this file.
    #[arg(long)]
    dump: Option<PathBuf>,
    /// The version to claim.
    #[arg(long, default_value = "9.1.0")]
    product_version: String,
}

#[derive(Default)]
struct Counters {
    /// Those that brought a bulk request.
    connections: AtomicU64,
    requests: AtomicU64,
    /// Bytes of bulk bodies as they came, and inflated.
    wire_bytes: AtomicU64,
    raw_bytes: AtomicU64,
    max_request: AtomicU64,
    /// Documents seen, whatever became of them.
    seen: AtomicU64,
    docs: AtomicU64,
    refused_items: AtomicU64,
    conflicts: AtomicU64,
    rejected_requests: AtomicU64,
    cut_requests: AtomicU64,
    /// Action lines that are no `create`, bodies that end after one, bodies that do not inflate.
    malformed: AtomicU64,
    seq_repeats: AtomicU64,
    first_us: AtomicU64,
    last_us: AtomicU64,
}

#[derive(Default)]
struct Memory {
    ids: HashSet<Box<[u8]>>,
    /// Times that each sequence number was created.
    sequence: Vec<u8>,
}

struct Server {
    options: Options,
    counters: Counters,
    memory: Mutex<Memory>,
    start: Instant,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let listener = TcpListener::bind(&options.listen)?;
    println!("bulk_sink on {}", listener.local_addr()?);
    let tls = options.tls.as_deref().map(tls_config).transpose()?;
    let server: &'static Server = Box::leak(Box::new(Server {
        options,
        counters: Counters::default(),
        memory: Mutex::default(),
        start: Instant::now(),
    }));
    if let Some(tls) = tls {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("and for TLS on {}", listener.local_addr()?);
        std::thread::spawn(move || {
            accept(&listener, move |stream| {
                let connection = rustls::ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
                server.converse(rustls::StreamOwned::new(connection, stream))
            })
        });
    }
    accept(&listener, |stream| server.converse(stream))
}

/// A thread a connection.
fn accept<F>(listener: &TcpListener, converse: F) -> io::Result<()>
where
    F: Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
{
    for stream in listener.incoming() {
        let (stream, converse) = (stream?, converse.clone());
        stream.set_nodelay(true)?;
        std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            // A peer that goes away is no concern of the sink's.
            let _ = converse(stream);
        })?;
    }
    Ok(())
}

fn tls_config(folder: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).map_err(io::Error::other)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(io::Error::other)?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth().with_single_cert(chain, key);
    config.map(Arc::new).map_err(io::Error::other)
}

/// What the request line and the headers say.
#[derive(Default)]
struct Head {
    method: String,
    path: String,
    length: usize,
    chunked: bool,
    gzip: bool,
    expects: bool,
    closes: bool,
}

impl Head {
    fn is_bulk(&self) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with("/_bulk"))
    }
}

enum Answer {
    Status(&'static str),
    /// Close without one.
    None,
}

impl Server {
    fn converse(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let (mut body, mut inflated, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let mut counted = false;
        while let Some(head) = read_head(&mut reader)? {
            if head.is_bulk() && !std::mem::replace(&mut counted, true) {
                self.counters.connections.fetch_add(1, Relaxed);
            }
            if head.expects {
                reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            read_body(&mut reader, &head, &mut body)?;
            out.clear();
            let Answer::Status(status) = self.answer(&head, &body, &mut inflated, &mut out)? else { return Ok(()) };
            let stream = reader.get_mut();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                out.len()
            )?;
            if head.method != "HEAD" {
                stream.write_all(&out)?;
            }
            stream.flush()?;
            if head.closes {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, head: &Head, body: &[u8], inflated: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<Answer> {
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        match path {
            _ if head.is_bulk() => return self.bulk(head, query, body, inflated, out),
            "/_stats" => self.write_stats(out)?,
            "/_reset" => {
                self.counters.reset();
                *self.memory() = Memory::default();
                out.extend_from_slice(b"{}");
            }
            "/" => write!(
                out,
                r#"{{"name":"sink","cluster_name":"sink","cluster_uuid":"AAAAAAAAAAAAAAAAAAAAAA","version":{{"number":"{}","build_flavor":"default"}},"tagline":"You Know, for Search"}}"#,
                self.options.product_version
            )?,
            _ => out.extend_from_slice(br#"{"acknowledged":true}"#),
        }
        Ok(Answer::Status("200 OK"))
    }

    fn bulk(
        &self,
        head: &Head,
        query: &str,
        body: &[u8],
        inflated: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> io::Result<Answer> {
        let counters = &self.counters;
        let request = counters.requests.fetch_add(1, Relaxed) + 1;
        counters.wire_bytes.fetch_add(body.len() as u64, Relaxed);
        counters.max_request.fetch_max(body.len() as u64, Relaxed);
        let text = if head.gzip {
            inflated.clear();
            if MultiGzDecoder::new(body).read_to_end(inflated).is_err() {
                counters.malformed.fetch_add(1, Relaxed);
                out.extend_from_slice(br#"{"error":{"type":"not_gzip"},"status":400}"#);
                return Ok(Answer::Status("400 Bad Request"));
            }
            inflated.as_slice()
        } else {
            body
        };
        if request == 1 {
            counters.first_us.store(self.micros(), Relaxed);
            if let Some(file) = &self.options.dump {
                std::fs::write(file, text)?;
            }
        }
        if self.options.latency_ms > 0 {
            std::thread::sleep(Duration::from_millis(self.options.latency_ms));
        }
        if is_nth(request, self.options.http429_every) {
            counters.rejected_requests.fetch_add(1, Relaxed);
            out.extend_from_slice(br#"{"error":{"type":"es_rejected_execution_exception"},"status":429}"#);
            return Ok(Answer::Status("429 Too Many Requests"));
        }
        self.apply(text, Shape::asked(query), out);
        counters.last_us.store(self.micros(), Relaxed);
        if is_nth(request, self.options.cut_every) {
            counters.cut_requests.fetch_add(1, Relaxed);
            return Ok(Answer::None);
        }
        Ok(Answer::Status("200 OK"))
    }

    /// Judges each document of a bulk body and writes the answer.
    fn apply(&self, text: &[u8], shape: Shape, out: &mut Vec<u8>) {
        let mut memory = (self.options.ids || self.options.seq).then(|| self.memory());
        let (mut created, mut conflicts, mut refused, mut malformed) = (0u64, 0u64, 0u64, 0u64);
        let mut items = Vec::new();
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        while let Some(action) = lines.next() {
            let Some(document) = lines.next() else {
                malformed += 1;
                break;
            };
            malformed += u64::from(!action.starts_with(br#"{"create":"#));
            let item = self.judge(action, document, memory.as_deref_mut());
            *(match item {
                Item::Created => &mut created,
                Item::Conflict => &mut conflicts,
                Item::Busy | Item::Bad => &mut refused,
            }) += 1;
            if !items.is_empty() {
                items.push(b',');
            }
            item.write(shape, &mut items);
        }
        let counters = &self.counters;
        counters.raw_bytes.fetch_add(text.len() as u64, Relaxed);
        counters.docs.fetch_add(created, Relaxed);
        counters.conflicts.fetch_add(conflicts, Relaxed);
        counters.refused_items.fetch_add(refused, Relaxed);
        counters.malformed.fetch_add(malformed, Relaxed);
        let errors = conflicts + refused > 0;
        out.extend_from_slice(if errors { b"{\"errors\":true" } else { b"{\"errors\":false" });
        if shape == Shape::Full {
            out.extend_from_slice(b",\"took\":3");
        }
        out.extend_from_slice(b",\"items\":[");
        out.append(&mut items);
        out.extend_from_slice(b"]}");
    }

    fn judge(&self, action: &[u8], document: &[u8], memory: Option<&mut Memory>) -> Item {
        let number = self.counters.seen.fetch_add(1, Relaxed) + 1;
        if is_nth(number, self.options.item429_every) {
            return Item::Busy;
        }
        if is_nth(number, self.options.item400_every) {
            return Item::Bad;
        }
        let Some(memory) = memory else { return Item::Created };
        if self.options.ids
            && let Some(id) = id(action)
            && !memory.ids.insert(id.into())
        {
            return Item::Conflict;
        }
        if self.options.seq
            && let Some(number) = sequence_number(document)
        {
            if memory.sequence.len() <= number {
                memory.sequence.resize(number + 1, 0);
            }
            let times = &mut memory.sequence[number];
            self.counters.seq_repeats.fetch_add(u64::from(*times > 0), Relaxed);
            *times = times.saturating_add(1);
        }
        Item::Created
    }

    fn write_stats(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let counters = &self.counters;
        let distinct = self.memory().sequence.iter().filter(|times| **times > 0).count();
        let seconds = |micros: &AtomicU64| micros.load(Relaxed) as f64 / 1e6;
        write!(out, "{{")?;
        for (name, counter) in counters.counts() {
            write!(out, "\"{name}\":{},", counter.load(Relaxed))?;
        }
        write!(
            out,
            "\"seq_distinct\":{distinct},\"first_s\":{:.3},\"last_s\":{:.3},\"now_s\":{:.3}}}",
            seconds(&counters.first_us),
            seconds(&counters.last_us),
            self.start.elapsed().as_secs_f64()
        )
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Counters {
    fn counts(&self) -> [(&'static str, &AtomicU64); 13] {
        [
            ("docs", &self.docs),
            ("conflicts", &self.conflicts),
            ("refused_items", &self.refused_items),
            ("seen", &self.seen),
            ("requests", &self.requests),
            ("rejected_requests", &self.rejected_requests),
            ("cut_requests", &self.cut_requests),
            ("malformed", &self.malformed),
            ("connections", &self.connections),
            ("wire_bytes", &self.wire_bytes),
            ("raw_bytes", &self.raw_bytes),
            ("max_request", &self.max_request),
            ("seq_repeats", &self.seq_repeats),
        ]
    }

    fn reset(&self) {
        for counter in self.counts().map(|(_, counter)| counter).into_iter().chain([&self.first_us, &self.last_us]) {
            counter.store(0, Relaxed);
        }
    }
}

fn is_nth(number: u64, every: u64) -> bool {
    every > 0 && number.is_multiple_of(every)
}

/// How much of an item the answer tells.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// No `filter_path`: as a server answers.
    Full,
    /// Status, index, and the error where there is one.
    Short,
}

impl Shape {
    fn asked(query: &str) -> Self {
        if query.contains("filter_path=") { Self::Short } else { Self::Full }
    }
}

#[derive(Clone, Copy)]
enum Item {
    Created,
    Conflict,
    Busy,
    Bad,
}

impl Item {
    fn write(self, shape: Shape, out: &mut Vec<u8>) {
        const INDEX: &[u8] = br#"{"create":{"_index":".ds-logs-calico.flow-default-2026.01.01-000001","#;
        // The answer need not tell the ids: whoever sent them knows their order.
        const REST: &[u8] = br#""_id":"00000000000000000000000000000000000","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"#;
        let (status, error): (&[u8], &[u8]) = match self {
            Self::Created => (br#""status":201}}"#, b""),
            Self::Conflict => (
                br#""status":409}}"#,
                br#""error":{"type":"version_conflict_engine_exception","reason":"document already exists"},"#,
            ),
            Self::Busy => (
                br#""status":429}}"#,
                br#""error":{"type":"es_rejected_execution_exception","reason":"rejected execution"},"#,
            ),
            Self::Bad => (
                br#""status":400}}"#,
                br#""error":{"type":"document_parsing_exception","reason":"failed to parse field"},"#,
            ),
        };
        out.extend_from_slice(INDEX);
        if shape == Shape::Full {
            out.extend_from_slice(REST);
        }
        out.extend_from_slice(error);
        out.extend_from_slice(status);
    }
}

/// `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut head = Head {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_else(|| "/".to_owned()),
        ..Head::default()
    };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(head)) };
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().map_err(io::Error::other)?,
            "transfer-encoding" => head.chunked = value.contains("chunked"),
            "content-encoding" => head.gzip = value.contains("gzip"),
            "expect" => head.expects = true,
            "connection" => head.closes = value == "close",
            _ => {}
        }
    }
}

fn read_body(reader: &mut impl BufRead, head: &Head, body: &mut Vec<u8>) -> io::Result<()> {
    body.clear();
    if !head.chunked {
        body.resize(head.length, 0);
        return reader.read_exact(body);
    }
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        let at = body.len();
        body.resize(at + size, 0);
        reader.read_exact(&mut body[at..])?;
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// The `_id` of an action line (ids here have nothing escaped).
fn id(action: &[u8]) -> Option<&[u8]> {
    let value = action.get(memmem::find(action, b"\"_id\":\"")? + 7..)?;
    value.get(..memchr(b'"', value)?)
}

fn sequence_number(document: &[u8]) -> Option<usize> {
    let tail = document.get(memmem::find(document, b"bench_seq")? + 9..)?;
    let digits = tail.iter().skip_while(|byte| !byte.is_ascii_digit()).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

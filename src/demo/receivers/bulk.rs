//! An Elasticsearch as far as a shipper sees one: who it is, `_bulk`, and looking ids up.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::document::{self, Kind};
use super::{Ids, Violations};

/// Elasticsearch's own limit (`http.max_content_length`), for the body before and after it is unpacked.
const MAX_BODY: usize = 100 * 1024 * 1024;
/// Where a `_bulk` without an index in its path and lines goes.
const DEFAULT_STREAM: &str = "logs-calico.flow-default";

/// What was received so far.
#[derive(Debug, Clone, Default)]
pub struct BulkSeen {
    pub requests: u64,
    /// Uncompressed.
    pub bytes: u64,
    /// Documents created (201), of flows and of lines that are none.
    pub flows: u64,
    pub raw: u64,
    /// Documents that were there (409).
    pub repeats: u64,
    pub violations: Violations,
    /// The last document of a flow, as it came.
    pub last: Option<String>,
}

#[derive(Debug, Default)]
struct Ledger {
    seen: BulkSeen,
    ids: Ids,
}

type Shared = Arc<Mutex<Ledger>>;

/// The running endpoint. It lives as long as its runtime.
#[derive(Debug, Clone)]
pub struct BulkReceiver {
    address: SocketAddr,
    ledger: Shared,
}

impl BulkReceiver {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let ledger = Shared::default();
        let app = router(Arc::clone(&ledger));
        tokio::spawn(async move {
            // It ends with the runtime; an error of one connection does not end it.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, ledger })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> BulkSeen {
        lock(&self.ledger).seen.clone()
    }

    pub fn ids(&self) -> Ids {
        lock(&self.ledger).ids.clone()
    }
}

/// A panic elsewhere leaves counters that are still worth reading.
fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(ledger: Shared) -> Router {
    Router::new()
        .route("/", get(info))
        .route("/_bulk", post(bulk).put(bulk))
        .route("/{index}/_bulk", post(bulk).put(bulk))
        .route("/_mget", post(mget).get(mget))
        .route("/{index}/_mget", post(mget).get(mget))
        .route("/_resolve/index/{name}", get(resolve))
        .fallback(|| async {
            answer(
                StatusCode::NOT_FOUND,
                &error("resource_not_found_exception", "the demo's endpoint has no such thing", 404),
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(ledger)
}

async fn info() -> Response {
    let version = json!({"number": "9.1.0", "build_flavor": "default", "build_type": "demo", "build_snapshot": false});
    let info = json!({"name": "demo", "cluster_name": "tidegate-demo", "cluster_uuid": "dGlkZWdhdGUtZGVtbw", "version": version, "tagline": "You Know, for Search"});
    answer(StatusCode::OK, &info)
}

async fn bulk(State(ledger): State<Shared>, path: Option<Path<String>>, headers: HeaderMap, body: Bytes) -> Response {
    let stream = path.map(|Path(name)| name);
    let text = match unpack(&headers, &body) {
        Ok(text) => text,
        Err(reason) => return refuse(&ledger, reason),
    };
    let mut ledger_held = lock(&ledger);
    match ledger_held.take(stream.as_deref(), &text) {
        Ok(answered) => answer(StatusCode::OK, &answered),
        Err(reason) => {
            drop(ledger_held);
            refuse(&ledger, reason)
        }
    }
}

fn refuse(ledger: &Shared, reason: String) -> Response {
    let body = error("illegal_argument_exception", &reason, 400);
    lock(ledger).seen.violations.add(format!("_bulk: {reason}"));
    answer(StatusCode::BAD_REQUEST, &body)
}

fn unpack(headers: &HeaderMap, body: &Bytes) -> Result<Vec<u8>, String> {
    match headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        Some(kind) if kind.starts_with("application/x-ndjson") || kind.starts_with("application/json") => {}
        kind => return Err(format!("content type {kind:?} is not application/x-ndjson")),
    }
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(body.to_vec()),
        Some(b"gzip") => {
            let mut text = Vec::new();
            let limit = MAX_BODY as u64 + 1;
            MultiGzDecoder::new(&body[..])
                .take(limit)
                .read_to_end(&mut text)
                .map_err(|error| format!("bad gzip: {error}"))?;
            if text.len() > MAX_BODY { Err("the unpacked body is too large".to_owned()) } else { Ok(text) }
        }
        Some(other) => Err(format!("content encoding {other:?} is not known")),
    }
}

impl Ledger {
    /// Takes a whole body, one item a document, in order.
    fn take(&mut self, stream: Option<&str>, text: &[u8]) -> Result<Value, String> {
        if text.last() != Some(&b'\n') {
            return Err("the bulk request must be terminated by a newline [\\n]".to_owned());
        }
        self.seen.requests += 1;
        self.seen.bytes += text.len() as u64;
        let mut lines = text[..text.len() - 1].split(|byte| *byte == b'\n');
        let mut items = Vec::new();
        while let Some(action) = lines.next() {
            let (id, stream) = action_of(action, stream)?;
            let source = lines.next().ok_or("the last action has no document")?;
            items.push(self.document(&id, &stream, source));
        }
        let errors = items.iter().any(|item| item["create"]["status"] != 201);
        Ok(json!({"took": 1, "errors": errors, "items": items}))
    }

    fn document(&mut self, id: &str, stream: &str, source: &[u8]) -> Value {
        let index = backing_index(stream);
        let (kind, faults) = document::check(id, source);
        self.seen.violations.add_all(&format!("document {id}"), faults);
        if !self.ids.insert(id) {
            self.seen.repeats += 1;
            let reason = format!("[{id}]: version conflict, document already exists (current version [1])");
            let cause = json!({"type": "version_conflict_engine_exception", "reason": reason});
            return json!({"create": {"_index": index, "_id": id, "status": 409, "error": cause}});
        }
        match kind {
            Kind::Flow => {
                self.seen.flows += 1;
                self.seen.last = Some(String::from_utf8_lossy(source).into_owned());
            }
            Kind::Raw => self.seen.raw += 1,
        }
        json!({"create": {"_index": index, "_id": id, "_version": 1, "result": "created", "status": 201}})
    }
}

/// Id and stream of an action line. Only `create` can write to a data stream.
fn action_of(line: &[u8], stream: Option<&str>) -> Result<(String, String), String> {
    let action: Value = serde_json::from_slice(line).map_err(|error| format!("an action line is not JSON: {error}"))?;
    let create = action.get("create").ok_or("only write ops with an op_type of create are allowed in data streams")?;
    let id = create.get("_id").and_then(Value::as_str).ok_or("a document came without _id")?;
    let stream = create.get("_index").and_then(Value::as_str).or(stream).unwrap_or(DEFAULT_STREAM);
    Ok((id.to_owned(), stream.to_owned()))
}

fn backing_index(stream: &str) -> String {
    format!(".ds-{stream}-2026.01.01-000001")
}

async fn resolve(Path(name): Path<String>) -> Response {
    let stream = json!({"name": name, "backing_indices": [backing_index(&name)], "timestamp_field": "@timestamp"});
    answer(StatusCode::OK, &json!({"indices": [], "aliases": [], "data_streams": [stream]}))
}

/// Looks ids up: `{"ids": [..]}` or `{"docs": [{"_id": ..}]}`.
async fn mget(State(ledger): State<Shared>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let by_ids = asked["ids"].as_array().into_iter().flatten();
    let by_docs = asked["docs"].as_array().into_iter().flatten().map(|doc| &doc["_id"]);
    let ledger = lock(&ledger);
    let docs: Vec<_> = by_ids
        .chain(by_docs)
        .filter_map(Value::as_str)
        .map(|id| json!({"_index": backing_index(DEFAULT_STREAM), "_id": id, "found": ledger.ids.contains(id)}))
        .collect();
    answer(StatusCode::OK, &json!({"docs": docs}))
}

fn error(kind: &str, reason: &str, status: u16) -> Value {
    let cause = json!({"type": kind, "reason": reason});
    json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status})
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [("x-elastic-product", "Elasticsearch"), ("content-type", "application/json")];
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::document::tests::{ID, flow};
    use super::*;

    fn body(id: &str, document: &Value) -> Vec<u8> {
        format!("{}\n{document}\n", json!({"create": {"_id": id}})).into_bytes()
    }

    #[test]
    fn one_item_a_document_and_ids_are_honoured() {
        let mut ledger = Ledger::default();
        let mut text = body(ID, &flow());
        text.extend(body(ID, &flow()));
        let answered = ledger.take(Some("logs-calico.flow-default"), &text).expect("a good body");
        assert_eq!(answered["errors"], true);
        let items = answered["items"].as_array().expect("items");
        assert_eq!(
            items.iter().map(|item| item["create"]["status"].as_u64()).collect::<Vec<_>>(),
            [Some(201), Some(409)]
        );
        assert_eq!(items[0]["create"]["_id"], ID);
        assert!(
            items[0]["create"]["_index"]
                .as_str()
                .is_some_and(|index| index.starts_with(".ds-logs-calico.flow-default-"))
        );
        let seen = &ledger.seen;
        assert_eq!((seen.requests, seen.flows, seen.repeats, seen.violations.count), (1, 1, 1, 0));
        assert!(seen.last.as_ref().is_some_and(|last| last.contains(ID)));
    }

    #[test]
    fn a_bad_document_is_a_violation() {
        let mut ledger = Ledger::default();
        let mut document = flow();
        document["event"]["outcome"] = "success".into();
        ledger.take(None, &body(ID, &document)).expect("the server takes it all the same");
        assert_eq!(ledger.seen.violations.count, 1);
        assert!(ledger.seen.violations.first[0].starts_with(&format!("document {ID}: /event/outcome")));
    }

    #[test]
    fn bodies_that_a_server_refuses() {
        let cases: [(&[u8], &str); 5] = [
            (b"{\"create\":{\"_id\":\"a\"}}\n{}", "terminated by a newline"),
            (b"{\"index\":{\"_id\":\"a\"}}\n{}\n", "op_type of create"),
            (b"{\"create\":{}}\n{}\n", "without _id"),
            (b"nonsense\n{}\n", "not JSON"),
            (b"{\"create\":{\"_id\":\"a\"}}\n", "no document"),
        ];
        for (text, reason) in cases {
            let error = Ledger::default().take(None, text).expect_err("refused");
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
    }

    #[test]
    fn over_http() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let receiver = BulkReceiver::start().await.expect("it listens");
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&body(ID, &flow())).expect("packed");
            let packed = gzip.finish().expect("packed");
            let head = "POST /logs-calico.flow-default/_bulk HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/x-ndjson\r\ncontent-encoding: gzip\r\n";
            let answered = request(receiver.address, head, &packed).await;
            assert!(answered.starts_with("HTTP/1.1 200") && answered.contains("\"status\":201"), "{answered}");
            let answered = request(receiver.address, head, b"not gzip").await;
            assert!(answered.starts_with("HTTP/1.1 400") && answered.contains("bad gzip"), "{answered}");
            let asked = request(receiver.address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", b"").await;
            assert!(asked.contains("x-elastic-product: Elasticsearch"), "{asked}");
            let ids = json!({"ids": [ID, "another"]}).to_string();
            let head = "POST /_mget HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
            let looked = request(receiver.address, head, ids.as_bytes()).await;
            assert!(looked.contains("\"found\":true") && looked.contains("\"found\":false"), "{looked}");
            assert_eq!((receiver.seen().flows, receiver.seen().violations.count), (1, 1));
        });
    }

    async fn request(address: SocketAddr, head: &str, body: &[u8]) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(body).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }
}

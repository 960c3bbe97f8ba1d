//! A stand-in bulk endpoint that remembers what it took: for tests that count, at the speed of the loopback.
//!
//! It keeps a data stream's rule within one write index: a repeated `_id` is answered 409. It can be told to be faulty.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};

/// How often to misbehave, in requests: 0 never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The request is applied, then answered 503: an answer that was lost.
    pub lost_answer_every: u64,
    /// Every third document of the request is refused with 429.
    pub busy_items_every: u64,
}

#[derive(Default)]
struct Seen {
    /// Id → (document, how often it was offered).
    documents: BTreeMap<String, (String, u64)>,
}

struct Shared {
    faults: Faults,
    requests: AtomicU64,
    seen: Mutex<Seen>,
}

pub struct Recorder {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Recorder {
    pub fn start(faults: Faults) -> Self {
        let shared = Arc::new(Shared { faults, requests: AtomicU64::new(0), seen: Mutex::default() });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound socket");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let app = Router::new()
            .route("/", get(root))
            .route("/_bulk", post(bulk))
            .route("/{stream}/_bulk", post(bulk))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    _ = stopped => {}
                    result = axum::serve(listener, app) => result.expect("served"),
                }
            });
        });
        Self { address, shared, _stop: stop }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every id that was taken.
    pub fn ids(&self) -> Vec<String> {
        self.shared.seen.lock().expect("not poisoned").documents.keys().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.shared.seen.lock().expect("not poisoned").documents.len()
    }

    /// Documents that were offered more than once, by how often in all.
    pub fn repeats(&self) -> u64 {
        self.shared.seen.lock().expect("not poisoned").documents.values().map(|(_, n)| n - 1).sum()
    }

    pub fn documents(&self) -> Vec<String> {
        self.shared.seen.lock().expect("not poisoned").documents.values().map(|(d, _)| d.clone()).collect()
    }
}

async fn root() -> impl IntoResponse {
    let body = r#"{"name":"recorder","cluster_name":"recorder","version":{"number":"9.2.8","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::HeaderName::from_static("x-elastic-product"), "Elasticsearch"),
        ],
        body,
    )
}

async fn bulk(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let n = shared.requests.fetch_add(1, Relaxed) + 1;
    let every = |k: u64| k > 0 && n.is_multiple_of(k);
    let mut text = String::new();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("a whole gzip body");
    } else {
        text = String::from_utf8(body.to_vec()).expect("UTF-8");
    }
    let busy = every(shared.faults.busy_items_every);
    let items = apply(&mut shared.seen.lock().expect("not poisoned"), &text, busy);
    let json = [
        (header::CONTENT_TYPE, "application/json"),
        (header::HeaderName::from_static("x-elastic-product"), "Elasticsearch"),
    ];
    if every(shared.faults.lost_answer_every) {
        return (StatusCode::SERVICE_UNAVAILABLE, json, r#"{"error":{"type":"lost"},"status":503}"#.to_owned());
    }
    let errors = items.iter().any(|i| !i.contains("201"));
    (StatusCode::OK, json, format!(r#"{{"errors":{errors},"items":[{}]}}"#, items.join(",")))
}

fn apply(seen: &mut Seen, text: &str, busy: bool) -> Vec<String> {
    let mut lines = text.lines();
    let mut items = Vec::new();
    while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
        let action: serde_json::Value = serde_json::from_str(action).expect("an action line");
        let id = action["create"]["_id"].as_str().expect("an id").to_owned();
        if busy && items.len().is_multiple_of(3) {
            items.push(r#"{"create":{"_index":".ds-x-000001","status":429,"error":{"type":"es_rejected_execution_exception","reason":"busy"}}}"#.to_owned());
            continue;
        }
        let known = seen.documents.entry(id).or_insert_with(|| (document.to_owned(), 0));
        known.1 += 1;
        items.push(match known.1 {
            1 => r#"{"create":{"_index":".ds-x-000001","status":201}}"#.to_owned(),
            _ => r#"{"create":{"_index":".ds-x-000001","status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}}"#.to_owned(),
        });
    }
    items
}

//! The same against a real server: a stream of its own, a rollover between kill and restart, and in the end every `_id` asked
//! back, index by index.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kill::{Options, Table, Target, torment_with};
use crate::torment::{Shared, lock};

struct Server {
    url: String,
    namespace: String,
    ledger: Shared,
    /// Documents at the last look, and when that was (milliseconds since the start): not every question is worth a request.
    count: AtomicU64,
    looked_at: AtomicU64,
    began: Instant,
}

const LOOK_EVERY_MS: u64 = 500;
const PAGE: usize = 5_000;

/// Against this server, without faults.
pub fn torment(program: &Path, dir: &Path, url: &str, options: &Options) -> io::Result<Table> {
    let ledger = Shared::default();
    let namespace = format!("kill_{}", std::process::id());
    let server = Arc::new(Server {
        url: url.trim_end_matches('/').to_owned(),
        namespace,
        ledger: Arc::clone(&ledger),
        count: AtomicU64::new(0),
        looked_at: AtomicU64::new(0),
        began: Instant::now(),
    });
    server.install()?;
    let table = torment_with(program, dir, options, &ledger, &(Arc::clone(&server) as Arc<dyn Target>));
    server.remove()?;
    table
}

impl Server {
    fn stream(&self) -> String {
        format!("logs-calico.flow-{}", self.namespace)
    }

    /// A template that takes our documents and indexes what is asked back.
    fn install(&self) -> io::Result<()> {
        let template = json!({
            "index_patterns": [self.stream()],
            "data_stream": {},
            "priority": 900,
            "template": {
                "settings": {"number_of_replicas": 0},
                "mappings": {"dynamic": false, "properties": {
                    "@timestamp": {"type": "date"}, "event": {"properties": {"id": {"type": "keyword"}}}}},
            },
        });
        self.ok("PUT", &format!("/_index_template/{}", self.stream()), Some(&template)).map(drop)
    }

    fn remove(&self) -> io::Result<()> {
        for index in self.indices()? {
            // The write index goes with its stream only; a server without the stream's own endpoint keeps that one.
            let _ = self.ask("DELETE", &format!("/{index}"), None)?;
        }
        let _ = self.ask("DELETE", &format!("/_data_stream/{}", self.stream()), None)?;
        let _ = self.ask("DELETE", &format!("/_index_template/{}", self.stream()), None)?;
        Ok(())
    }

    fn indices(&self) -> io::Result<Vec<String>> {
        let answer = self.ok("GET", &format!("/_resolve/index/{}", self.stream()), None)?;
        let names = answer["data_streams"][0]["backing_indices"].as_array().cloned().unwrap_or_default();
        Ok(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// Every id, those of equal documents once for each.
    fn ids(&self) -> io::Result<Vec<String>> {
        self.ok("POST", &format!("/{}/_refresh", self.stream()), None)?;
        let mut ids = Vec::new();
        for index in self.indices()? {
            let mut query = json!({"size": PAGE, "_source": false, "sort": [{"event.id": "asc"}]});
            loop {
                let answer = self.ok("POST", &format!("/{index}/_search"), Some(&query))?;
                let hits = answer["hits"]["hits"].as_array().cloned().unwrap_or_default();
                let Some(last) = hits.last() else { break };
                query["search_after"] = last["sort"].clone();
                ids.extend(hits.iter().filter_map(|hit| Some(hit["_id"].as_str()?.to_owned())));
            }
        }
        Ok(ids)
    }

    fn ok(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Value> {
        let (status, answer) = self.ask(method, path, body)?;
        let good = (200..300).contains(&status);
        good.then_some(answer.clone()).ok_or_else(|| io::Error::other(format!("{method} {path}: {status} {answer}")))
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let host = self.url.strip_prefix("http://").ok_or_else(|| io::Error::other("only http:// is known here"))?;
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let body = body.map_or_else(String::new, Value::to_string);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        answer(BufReader::new(stream))
    }
}

fn answer(mut reader: BufReader<TcpStream>) -> io::Result<(u16, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
    }
    let mut body = Vec::new();
    if !chunked {
        reader.read_to_end(&mut body)?;
        return Ok((status, serde_json::from_slice(&body).unwrap_or_default()));
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            break;
        }
        reader.by_ref().take(size).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

impl Target for Server {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn namespace(&self) -> String {
        self.namespace.clone()
    }

    fn rollover(&self) {
        // Before the first document there is no stream to roll over.
        let _ = self.ask("POST", &format!("/{}/_rollover", self.stream()), None);
    }

    fn behind(&self) -> u64 {
        let now = self.began.elapsed().as_millis() as u64;
        if now.saturating_sub(self.looked_at.load(Ordering::SeqCst)) > LOOK_EVERY_MS {
            self.looked_at.store(now, Ordering::SeqCst);
            let _ = self.ask("POST", &format!("/{}/_refresh", self.stream()), None);
            if let Ok((200, answer)) = self.ask("GET", &format!("/{}/_count", self.stream()), None) {
                self.count.store(answer["count"].as_u64().unwrap_or(0), Ordering::SeqCst);
            }
        }
        lock(&self.ledger).written.saturating_sub(self.count.load(Ordering::SeqCst))
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    fn calm(&self) {}

    fn count(&self, table: &mut Table) {
        let mut ids = self.ids().unwrap_or_else(|error| panic!("cannot ask the ids back: {error}"));
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        table.copies = (all - ids.len()) as u64;
        let mut ledger = lock(&self.ledger);
        ids.iter().for_each(|id| ledger.arrived(id));
    }
}

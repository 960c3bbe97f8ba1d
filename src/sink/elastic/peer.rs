//! One bulk request to one host, and what came back.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::batch::Sealed;
use super::hosts::{Hosts, Pick};
use super::outcome::{self, Body, Doubt, Verdict};
use super::query::{query, requires_data_stream};
use super::stats::Stats;
use crate::net::auth::{AuthError, Credentials};
use crate::net::http::{self, Failure, Http, Trouble, wish};
use crate::net::product::Product;

/// No more of an answer is read. 2,000 created documents take about 200 kB.
const MAX_ANSWER: usize = 4 << 20;
/// `GET /` answers in a few hundred bytes, at once.
const MAX_ROOT: usize = 64 << 10;
const ROOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Something in between may swallow `GET /` for ever: no more of them are waited for.
const ROOT_TRIES: u8 = 3;
const ANSWERED: u8 = u8::MAX;

/// What became of one try.
#[derive(Debug)]
pub enum Reply {
    Judged {
        verdict: Verdict,
        /// `Retry-After`, where a server or proxy sent it.
        wish: Option<Duration>,
    },
    /// This host could not be reached: try the next.
    NotSent,
    /// No host can be reached; one is tried again after the wait.
    AllDown {
        wait: Duration,
        cause: String,
    },
    NoSecret(AuthError),
}

/// The answer to a question.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    /// `error.type`; empty where there is none.
    pub fn error_type(&self) -> String {
        let answer: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        answer["error"]["type"].as_str().unwrap_or_default().to_owned()
    }

    /// For people, on one line.
    pub fn short(&self) -> String {
        outcome::cut(&format!("{} {}", self.status.as_u16(), String::from_utf8_lossy(&self.body)))
    }
}

/// A question without an answer.
#[derive(Debug)]
pub enum Unanswered {
    AllDown {
        wait: Duration,
        cause: String,
    },
    NoSecret(AuthError),
    /// In words.
    Failed(String),
}

/// The cluster, as all its hosts together.
#[derive(Debug)]
pub struct Peer {
    pub http: Http,
    pub hosts: Hosts,
    pub credentials: Credentials,
    /// `/logs-calico.flow-<namespace>/_bulk`.
    pub path: String,
    pub stats: Arc<Stats>,
    timeout: Duration,
    known: Mutex<Known>,
    /// Times that `GET /` came to nothing; [`ANSWERED`] once it has been answered.
    asked: AtomicU8,
    last_failure: Mutex<String>,
}

#[derive(Debug)]
struct Known {
    product: Option<Product>,
    query: String,
}

impl Peer {
    pub fn new(http: Http, hosts: Hosts, credentials: Credentials, path: String, stats: Arc<Stats>) -> Self {
        let timeout = http.timeout();
        let known = Mutex::new(Known { product: None, query: query(None, timeout) });
        let (asked, last_failure) = (AtomicU8::new(0), Mutex::default());
        Self { http, hosts, credentials, path, stats, timeout, known, asked, last_failure }
    }

    /// Who answers, if that is known.
    pub fn product(&self) -> Option<Product> {
        self.known().product
    }

    /// Whether the server itself keeps documents out of plain indices.
    pub fn requires_data_stream(&self) -> bool {
        requires_data_stream(self.product())
    }

    /// How long a request is worked on, by us and by the server.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Ends as soon as one of its hosts is up.
    pub async fn any_up(&self) {
        self.hosts.any_up().await;
    }

    /// Finds out who answers, as far as they tell.
    pub async fn meet(&self) -> Result<(), Unanswered> {
        if self.asked.load(Ordering::Relaxed) >= ROOT_TRIES {
            return Ok(());
        }
        loop {
            let host = match self.hosts.pick() {
                Pick::Host(host) => host,
                Pick::Wait(wait) => return Err(Unanswered::AllDown { wait, cause: self.cause() }),
            };
            match self.identify(host).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Secret(error)) => return Err(Unanswered::NoSecret(error)),
                Err(Trouble::Failed(failure)) => self.down(host, &failure.to_string()),
            }
        }
    }

    /// Asks the first host that can be reached. Any status is an answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer, Unanswered> {
        loop {
            let host = match self.hosts.pick() {
                Pick::Host(host) => host,
                Pick::Wait(wait) => return Err(Unanswered::AllDown { wait, cause: self.cause() }),
            };
            match self.ask_host(host, method.clone(), path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Secret(error)) => return Err(Unanswered::NoSecret(error)),
                Err(Trouble::Failed(failure)) => {
                    self.down(host, &failure.to_string());
                    if let Failure::Lost(text) = failure {
                        return Err(Unanswered::Failed(text));
                    }
                }
            }
        }
    }

    async fn ask_host(&self, host: usize, method: Method, path: &str, body: Option<String>) -> Result<Answer, Trouble> {
        self.identify(host).await?;
        let mut request = self.request(method, &format!("{}{path}", self.hosts.base(host)))?;
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(Failure::from)?;
        let status = response.status();
        self.learn(Product::from_headers(response.headers()));
        let (body, _) = http::read(response, MAX_ANSWER).await?;
        self.hosts.up(host);
        Ok(Answer { status, body })
    }

    /// Sends one batch to the next host.
    pub async fn send(&self, batch: &Sealed) -> Reply {
        let host = match self.hosts.pick() {
            Pick::Host(host) => host,
            Pick::Wait(wait) => return Reply::AllDown { wait, cause: self.cause() },
        };
        match self.try_host(host, batch).await {
            Ok(reply) => reply,
            Err(Trouble::Secret(error)) => Reply::NoSecret(error),
            Err(Trouble::Failed(failure)) => {
                self.down(host, &failure.to_string());
                match failure {
                    Failure::NotSent(_) => Reply::NotSent,
                    Failure::Lost(_) => Reply::Judged { verdict: Verdict::Uncertain(Doubt::Lost), wish: None },
                }
            }
        }
    }

    async fn try_host(&self, host: usize, batch: &Sealed) -> Result<Reply, Trouble> {
        self.identify(host).await?;
        let url = format!("{}{}?{}", self.hosts.base(host), self.path, self.known().query);
        let mut request = self.request(Method::POST, &url)?.header(CONTENT_TYPE, "application/x-ndjson");
        if batch.is_gzip() {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let body = batch.body();
        self.stats.requests.add(1);
        self.stats.sent_bytes.add(body.len() as u64);
        let response = request.body(body).send().await.map_err(Failure::from)?;
        self.judge(host, response, batch.documents() as usize).await
    }

    async fn judge(&self, host: usize, response: Response, sent: usize) -> Result<Reply, Trouble> {
        let status = response.status();
        let wish = wish(response.headers());
        self.learn(Product::from_headers(response.headers()));
        let (body, cut) = http::read(response, MAX_ANSWER).await?;
        let body = if cut { Body::Cut(&body) } else { Body::Whole(&body) };
        let verdict = outcome::judge(status.as_u16(), body, sent);
        // What a gateway says in place of a server: another host may do better.
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            self.down(host, &format!("answered {status}"));
        } else if matches!(verdict, Verdict::Uncertain(_)) {
            self.hosts.strained(host);
        } else {
            self.hosts.up(host);
        }
        Ok(Reply::Judged { verdict, wish })
    }

    /// A request with our credentials.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, AuthError> {
        let request = self.http.client().request(method, url);
        Ok(match self.credentials.header()? {
            Some(header) => request.header(AUTHORIZATION, header),
            None => request,
        })
    }

    /// Asks once who it is. A refusal (a key without `monitor`) is an answer, too: then we go on without knowing.
    async fn identify(&self, host: usize) -> Result<(), Trouble> {
        if self.asked.load(Ordering::Relaxed) >= ROOT_TRIES {
            return Ok(());
        }
        let url = format!("{}/", self.hosts.base(host));
        let response = self.request(Method::GET, &url)?.timeout(ROOT_TIMEOUT).send().await;
        let response = match response.map_err(Failure::from) {
            Ok(response) => response,
            Err(failure @ Failure::NotSent(_)) => return Err(failure.into()),
            Err(Failure::Lost(_)) => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        };
        let status = response.status();
        // 401 and 5xx say nothing yet.
        let answered = status.is_success() || status == StatusCode::FORBIDDEN || status == StatusCode::NOT_FOUND;
        if answered {
            self.asked.store(ANSWERED, Ordering::Relaxed);
        }
        if status.is_success()
            && let Ok((body, false)) = http::read(response, MAX_ROOT).await
        {
            self.learn(Product::from_root(&body));
        }
        Ok(())
    }

    fn learn(&self, product: Option<Product>) {
        let Some(product) = product else { return };
        let mut known = self.known();
        if known.product != Some(product) {
            *known = Known { product: Some(product), query: query(Some(product), self.timeout) };
            tracing::info!(%product, "the bulk endpoint is known");
        }
    }

    fn down(&self, host: usize, cause: &str) {
        self.hosts.down(host);
        let cause = format!("{}: {cause}", self.hosts.base(host));
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != cause {
            tracing::debug!(%cause, "a host is left out for a while");
            *last = cause;
        }
    }

    fn cause(&self) -> String {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

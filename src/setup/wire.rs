//! The control plane's way to the cluster.
//!
//! Plain HTTP goes through the `elasticsearch` crate's transport, by raw calls to one node: no sniffing (it ends a task
//! in a panic when a node is down), no compression option, no typed bodies. HTTPS goes through our own client. The crate
//! cannot do what our users' clusters need there: its own authorities are *added* to a bundled public set that cannot be
//! taken away, the system's store is not read, and no fingerprint, server name or rustls configuration can be given. With
//! it, `setup` would trust others than the lane does that ships the data.

use std::time::Duration;

use elasticsearch::http::Method as CrateMethod;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Config, SetupError};
use crate::net::auth::Credentials;
use crate::net::http::{self, Failure, Http, HttpConfig};
use crate::net::product::Kind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A cluster that is busy with its own state may need long for a template.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Enough for any template; more is not read.
const MAX_ANSWER: usize = 8 << 20;

/// A connection to the first host that answers.
#[derive(Debug)]
pub struct Wire {
    base: String,
    credentials: Credentials,
    way: Way,
    kind: Kind,
}

#[derive(Debug)]
enum Way {
    Crate(Box<Transport>),
    Own(Box<Http>),
}

/// Status and JSON body of an answer; `Null` when the body is no JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// Whether the server has nothing at that path, as without a plugin: it says so in a bare string, not in an error
    /// object. A serverless project answers 410.
    pub fn has_no_handler(&self) -> bool {
        let bare = matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
        self.status == StatusCode::GONE || bare && self.body["error"].is_string()
    }

    /// `error.type` and reason, for people. OpenSearch's security plugin has a `message` instead.
    pub fn error(&self) -> String {
        let error = &self.body["error"];
        let part = |key: &str| error[key].as_str().unwrap_or_default();
        let bare = || error.as_str().or(self.body["message"].as_str()).unwrap_or_default();
        match (part("type"), part("reason")) {
            ("", _) => format!("{} {}", self.status, bare()).trim_end().to_owned(),
            (kind, reason) => format!("{}: {kind}: {reason}", self.status.as_u16()),
        }
    }
}

impl Wire {
    pub fn new(config: &Config, host: &str) -> Result<Self, SetupError> {
        let base = http::base(host)?;
        let credentials = Credentials::new(config.auth.clone());
        let way = if base.starts_with("https") { own(config)? } else { through_crate(&base)? };
        Ok(Self { base, credentials, way, kind: Kind::Elasticsearch })
    }

    /// Who answers, as far as it is known.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn know(&mut self, kind: Kind) {
        self.kind = kind;
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn remedy(&self) -> String {
        self.credentials.remedy()
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SetupError> {
        let mut headers = HeaderMap::new();
        if let Some(header) = self.credentials.header()? {
            headers.insert(AUTHORIZATION, header);
        }
        let body = body.map(Value::to_string);
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        match &self.way {
            Way::Own(http) => self.send_own(http, method, path, headers, body).await,
            Way::Crate(transport) => self.send_crate(transport, &method, path, headers, body).await,
        }
    }

    async fn send_own(
        &self,
        http: &Http,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<Answer, SetupError> {
        let mut request = http.client().request(method, format!("{}{path}", self.base)).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let unreachable = |failure: Failure| self.unreachable(failure.to_string());
        let response = request.send().await.map_err(|error| unreachable(error.into()))?;
        let status = response.status();
        let (bytes, _) = http::read(response, MAX_ANSWER).await.map_err(unreachable)?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    async fn send_crate(
        &self,
        transport: &Transport,
        method: &Method,
        path: &str,
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<Answer, SetupError> {
        let method = match *method {
            Method::PUT => CrateMethod::Put,
            Method::POST => CrateMethod::Post,
            Method::DELETE => CrateMethod::Delete,
            _ => CrateMethod::Get,
        };
        let sent = transport.send(method, path, headers, None::<&()>, body, None).await;
        let response = sent.map_err(|error| self.unreachable(innermost(&error)))?;
        let status = StatusCode::from_u16(response.status_code().as_u16()).unwrap_or_default();
        let text = response.text().await.map_err(|error| self.unreachable(innermost(&error)))?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    fn unreachable(&self, cause: String) -> SetupError {
        SetupError::Unreachable { host: self.base.clone(), cause }
    }
}

fn own(config: &Config) -> Result<Way, SetupError> {
    let config = HttpConfig { tls: Some(config.tls.clone()), connect_timeout: CONNECT_TIMEOUT, timeout: TIMEOUT };
    Ok(Way::Own(Box::new(Http::new(config)?)))
}

fn through_crate(base: &str) -> Result<Way, SetupError> {
    let fault = |cause: String| SetupError::Client { cause };
    // It joins paths to the URL, so the prefix must end in a slash to stay.
    let url = elasticsearch::http::Url::parse(&format!("{base}/")).map_err(|error| fault(error.to_string()))?;
    let pool = SingleNodeConnectionPool::new(url);
    let transport = TransportBuilder::new(pool).enable_meta_header(false).timeout(TIMEOUT).build();
    Ok(Way::Crate(Box::new(transport.map_err(|error| fault(error.to_string()))?)))
}

/// The cause behind the crate's wrapping.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

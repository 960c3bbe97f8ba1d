//! The HTTP client of every peer that speaks HTTP: one place for its time limits, its TLS and the meaning of its errors.
//!
//! Promises: HTTP/1.1 with keep-alive; connections are given up after [`IDLE`], before common proxies close them; no
//! redirect is followed, for it would carry credentials elsewhere; `HTTPS_PROXY` and `NO_PROXY` are obeyed; certificates
//! that changed on disk are used within [`LOOK_AGAIN`], and bad new ones are refused in favour of the old.
//!
//! Not here: retries, hosts, authentication.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

use super::auth::AuthError;
use super::pace::retry_after;
use super::tls::{self, TlsConfig, TlsError};

/// Below the 60 s and 75 s after which common proxies close: a request on a dying connection is the rarer.
const IDLE: Duration = Duration::from_secs(15);
/// How often certificate files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `None` where no peer's URL is https: then no certificate store needs to exist.
    pub tls: Option<TlsConfig>,
    pub connect_timeout: Duration,
    /// From the first byte of a request to the last of its answer.
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

/// A request that got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about (name, TCP, TLS, proxy): the peer has not seen a byte of the request.
    NotSent(String),
    /// The connection broke, or the time was up, when bytes may have gone out.
    Lost(String),
}

/// Why a request with credentials got no answer.
#[derive(Debug)]
pub enum Trouble {
    /// It was not made: the secret cannot be read.
    Secret(AuthError),
    Failed(Failure),
}

impl From<AuthError> for Trouble {
    fn from(error: AuthError) -> Self {
        Self::Secret(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(error) => write!(f, "{error}"),
            Self::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

/// How long the peer, or a proxy before it, wants us to wait, where it says so.
pub fn wish(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HostError {
    #[error("no host is given; write hosts: [https://HOST:9200]")]
    None,
    #[error("host {0:?} is no URL; write https://HOST:9200")]
    NoUrl(String),
    #[error("host {0:?} has another scheme than http or https; write https://HOST:9200")]
    Scheme(String),
    #[error("a host's URL holds a user or password; move them to auth: {{basic: {{username, password}}}}")]
    Credentials,
    #[error("host {0:?} has a query or a fragment, which has no meaning here; remove it")]
    Query(String),
}

/// The base of every URL to this host: a path prefix stays, a slash at the end goes.
pub fn base(host: &str) -> Result<String, HostError> {
    let url = Url::parse(host).map_err(|_| HostError::NoUrl(host.to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HostError::Credentials);
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(HostError::Scheme(host.to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(HostError::Query(host.to_owned()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A client that follows its certificates.
#[derive(Debug)]
pub struct Http {
    config: HttpConfig,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    client: Client,
    stamps: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Http {
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let loaded = Loaded { stamps: stamps(&config.tls), client: build(&config)?, looked: Instant::now() };
        Ok(Self { config, loaded: Mutex::new(loaded) })
    }

    /// Of a whole request.
    pub fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// The client to use now; cheap.
    pub fn client(&self) -> Client {
        let mut loaded = self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK_AGAIN {
            loaded.looked = Instant::now();
            let stamps = stamps(&self.config.tls);
            if stamps != loaded.stamps {
                match build(&self.config) {
                    Ok(client) => loaded.client = client,
                    Err(error) => tracing::warn!(%error, "new certificates are unusable, the old ones stay"),
                }
                loaded.stamps = stamps;
            }
        }
        loaded.client.clone()
    }
}

/// When each certificate file last changed. Links are followed, so a swapped mount shows.
fn stamps(tls: &Option<TlsConfig>) -> Vec<Option<SystemTime>> {
    let Some(tls) = tls else { return Vec::new() };
    let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    [&tls.ca_file, &tls.certificate_file, &tls.key_file].into_iter().flatten().map(changed).collect()
}

fn build(config: &HttpConfig) -> Result<Client, HttpError> {
    // Without any: a host named https by mistake still fails, since nothing is believed.
    let tls = match &config.tls {
        Some(tls) => (*tls::client_config(tls)?).clone(),
        None => tls::no_trust()?,
    };
    Client::builder()
        .use_preconfigured_tls(tls)
        .http1_only()
        .connect_timeout(config.connect_timeout)
        .timeout(config.timeout)
        .pool_idle_timeout(IDLE)
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| HttpError::Client(describe(&error)))
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let text = describe(&error);
        if error.is_connect() || error.is_builder() { Self::NotSent(text) } else { Self::Lost(text) }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotSent(text) | Self::Lost(text)) = self;
        f.write_str(text)
    }
}

/// The body, at most `cap` bytes of it, and whether it went on after them.
pub async fn read(mut response: Response, cap: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = cap - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// The cause in words. The URL is left out: it adds nothing, and somebody may have written a password into it.
fn describe(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = match error {
        error if error.is_timeout() => "no answer in time".to_owned(),
        error if error.is_connect() => "cannot connect".to_owned(),
        _ => "the connection broke".to_owned(),
    };
    while let Some(error) = cause {
        if let Some(remedy) = error.downcast_ref().and_then(explain_inside) {
            return format!("{text}: {remedy}");
        }
        if error.source().is_none() {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    text
}

/// TLS errors come as an I/O error inside another, whose `source` skips the inner one.
fn explain_inside(error: &std::io::Error) -> Option<String> {
    tls::explain(error).or_else(|| explain_inside(error.get_ref()?.downcast_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_keep_their_prefix_and_hold_no_secret() {
        let rows = [
            ("https://es:9200", Ok("https://es:9200")),
            ("https://es:9200/", Ok("https://es:9200")),
            ("http://proxy/es/main//", Ok("http://proxy/es/main")),
            ("http://[::1]:9200", Ok("http://[::1]:9200")),
            ("es:9200", Err(HostError::Scheme("es:9200".into()))),
            ("//es", Err(HostError::NoUrl("//es".into()))),
            ("ftp://es", Err(HostError::Scheme("ftp://es".into()))),
            ("https://u:p@es", Err(HostError::Credentials)),
            ("https://es/?a=b", Err(HostError::Query("https://es/?a=b".into()))),
        ];
        for (url, expected) in rows {
            assert_eq!(base(url), expected.map(str::to_owned), "{url}");
        }
    }
}

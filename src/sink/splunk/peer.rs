//! Requests to a collector's receivers, one at a time, and what came back of each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::batch::Sealed;
use crate::net::auth::{AuthError, Credentials};
use crate::net::http::{self, Failure, Http, Trouble, wish};

/// No more of an answer is read. A thousand acknowledgements take 16 kB.
const MAX_ANSWER: usize = 256 << 10;
/// The health endpoint answers at once, or is not well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Cookies of a load balancer that are sent back, and the longest.
const MOST_COOKIES: usize = 8;
const LONGEST_COOKIE: usize = 4096;

/// The name of the channel's header.
const CHANNEL: &str = "x-splunk-request-channel";

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// `Retry-After`, where somebody sent it.
    pub wish: Option<Duration>,
}

#[derive(Debug)]
pub struct Peer {
    http: Http,
    pub credentials: Credentials,
    receivers: Vec<Receiver>,
}

#[derive(Debug)]
struct Receiver {
    /// Scheme, authority and path prefix, without a slash at its end.
    base: String,
    /// By which a load balancer knows where we belong: acknowledgements are known to one indexer alone.
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Peer {
    pub fn new(http: Http, credentials: Credentials, bases: Vec<String>) -> Self {
        let receiver = |base| Receiver { base, cookies: Mutex::default() };
        Self { http, credentials, receivers: bases.into_iter().map(receiver).collect() }
    }

    pub fn base(&self, receiver: usize) -> &str {
        &self.receivers[receiver].base
    }

    /// Sends the events of a batch.
    pub async fn send(&self, receiver: usize, channel: Option<&str>, batch: &Sealed) -> Result<Answer, Trouble> {
        let mut request = self.request(Method::POST, receiver, "/services/collector/event")?;
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(channel) = channel {
            request = request.header(CHANNEL, channel);
        }
        if batch.is_gzip() {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        self.answer(receiver, request.body(batch.body())).await
    }

    /// Asks which of these are indexed.
    pub async fn ask_acks(&self, receiver: usize, channel: &str, acks: &[u64]) -> Result<Answer, Trouble> {
        let path = format!("/services/collector/ack?channel={channel}");
        let request = self.request(Method::POST, receiver, &path)?.header(CHANNEL, channel);
        let request = request.header(CONTENT_TYPE, "application/json").body(json!({ "acks": acks }).to_string());
        self.answer(receiver, request).await
    }

    /// Asks how the collector is.
    pub async fn health(&self, receiver: usize) -> Result<Answer, Trouble> {
        let request = self.request(Method::GET, receiver, "/services/collector/health")?;
        self.answer(receiver, request.timeout(HEALTH_TIMEOUT.min(self.http.timeout()))).await
    }

    fn request(&self, method: Method, receiver: usize, path: &str) -> Result<RequestBuilder, AuthError> {
        let receiver = &self.receivers[receiver];
        let mut request = self.http.client().request(method, format!("{}{path}", receiver.base));
        if let Some(header) = self.credentials.header()? {
            request = request.header(AUTHORIZATION, header);
        }
        let cookies = receiver.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        if !cookies.is_empty() {
            let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        Ok(request)
    }

    async fn answer(&self, receiver: usize, request: RequestBuilder) -> Result<Answer, Trouble> {
        let response = request.send().await.map_err(Failure::from)?;
        let status = response.status().as_u16();
        let wish = wish(response.headers());
        remember(
            &mut self.receivers[receiver].cookies.lock().unwrap_or_else(PoisonError::into_inner),
            response.headers(),
        );
        let (body, _) = http::read(response, MAX_ANSWER).await?;
        Ok(Answer { status, body, wish })
    }
}

/// Name and value of each; what else a cookie says does not matter between two machines and one host.
fn remember(cookies: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for cookie in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        let pair = cookie.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else { continue };
        let (name, value) = (name.trim(), value.trim());
        let known = cookies.contains_key(name) || cookies.len() < MOST_COOKIES;
        if !name.is_empty() && pair.len() <= LONGEST_COOKIE && known {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancers_cookies_are_kept_within_bounds() {
        let mut headers = HeaderMap::new();
        let long = format!("long={}", "x".repeat(LONGEST_COOKIE));
        for cookie in ["AWSELB=abc; Path=/; HttpOnly", "route = 1", "empty", "=x", &long] {
            headers.append(SET_COOKIE, cookie.parse().unwrap());
        }
        for n in 0..20 {
            headers.append(SET_COOKIE, format!("c{n}=1").parse().unwrap());
        }
        let mut cookies = BTreeMap::new();
        remember(&mut cookies, &headers);
        assert_eq!((cookies["AWSELB"].as_str(), cookies["route"].as_str()), ("abc", "1"));
        assert_eq!(cookies.len(), MOST_COOKIES);
    }
}

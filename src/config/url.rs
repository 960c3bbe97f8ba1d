//! Addresses of peers: Elasticsearch hosts and SIEM receivers.
//!
//! Credentials in a URL are refused, and never repeated in the message: URLs end in logs, metrics and process lists.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{as_text, quoted};

/// An Elasticsearch or OpenSearch node: `http://` or `https://`, host, port, perhaps a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "http-url", "pattern" = "^https?://[^/@?#]+(/[^@?#]*)?$")))]
pub struct HttpUrl(String);

impl HttpUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write https://HOST:PORT";
        let url = parse(text, FORM)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the scheme {}:// is not known here; {FORM}, or http:// without TLS", url.scheme()));
        }
        if has_credentials(&url) {
            return Err("credentials do not belong into a URL; put them under sinks.elasticsearch.auth, as in \
                        auth: {basic: {username: NAME, password: {file: PATH}}}"
                .to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("a host has no query and no fragment; {FORM}, with a path prefix if need be"));
        }
        // As written, without a last slash: users find their own text in logs and metrics.
        Ok(Self(text.trim().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A receiver: `tls://`, `tcp://`, `udp://`, `relp://` or `relp+tls://` with HOST:PORT, `unix:///PATH` or
/// `unix-stream:///PATH` for syslog; `splunk+https://` or `splunk+http://` with HOST:PORT for a HTTP Event Collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(
    test,
    derive(JsonSchema),
    schemars(inline, extend("x-tidegate" = "siem-url", "pattern" = "^((udp|tcp|tls|relp|relp\\+tls)://([^/@?#:]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]+)?|splunk\\+https?://([^/@?#:]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]+)?(/[^@?#]*)?|unix(-stream)?:///[^?#]+)$"))
)]
pub struct SiemUrl {
    pub transport: Transport,
    /// Empty for a socket in the file system. An IPv6 address stands without brackets.
    pub host: String,
    /// Zero for a socket in the file system.
    pub port: u16,
    /// The socket of `unix://` and `unix-stream://`; of a HTTP Event Collector the path before `/services`, seldom any;
    /// else empty.
    pub path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Relp,
    RelpTls,
    Unix,
    UnixStream,
    SplunkHttp,
    SplunkHttps,
}

impl Transport {
    const ALL: &[(Self, &str, u16)] = &[
        (Self::Udp, "udp", 514),
        (Self::Tcp, "tcp", 514),
        (Self::Tls, "tls", 6514),
        (Self::Relp, "relp", 2514),
        (Self::RelpTls, "relp+tls", 2514),
        (Self::Unix, "unix", 0),
        (Self::UnixStream, "unix-stream", 0),
        (Self::SplunkHttp, "splunk+http", 8088),
        (Self::SplunkHttps, "splunk+https", 8088),
    ];

    pub fn scheme(self) -> &'static str {
        Self::ALL.iter().find(|(t, ..)| *t == self).map_or("", |(_, scheme, _)| scheme)
    }

    /// A plain stream has records to frame; a datagram is its own frame, and RELP has its own.
    pub fn needs_framing(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::UnixStream)
    }

    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Unix)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::RelpTls | Self::SplunkHttps)
    }

    /// A HTTP Event Collector, which speaks no syslog.
    pub fn is_splunk(self) -> bool {
        matches!(self, Self::SplunkHttp | Self::SplunkHttps)
    }

    pub fn is_local(self) -> bool {
        matches!(self, Self::Unix | Self::UnixStream)
    }
}

impl SiemUrl {
    /// The URL and what stands behind its `?`: only the command line gives options there.
    pub fn with_options(text: &str) -> Result<(Self, Vec<(String, String)>), String> {
        const FORM: &str = "write tls://HOST:6514, relp+tls://HOST:2514, relp://, tcp:// or udp://HOST:PORT, \
                            unix:///dev/log or unix-stream:///PATH, or splunk+https://HOST:8088";
        let url = parse(text, FORM)?;
        let Some(&(transport, _, default_port)) = Transport::ALL.iter().find(|(_, scheme, _)| *scheme == url.scheme())
        else {
            return Err(format!("the scheme {}:// is not known here; {FORM}", url.scheme()));
        };
        if has_credentials(&url) {
            return Err(match transport.is_splunk() {
                true => "a collector knows no user and no password; write splunk: {token: {file: PATH}} beside the url",
                false => {
                    "syslog knows no user and no password; a receiver is told who we are by a client certificate \
                     (tls.certificate_file and tls.key_file)"
                }
            }
            .to_owned());
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let path = url.path().to_owned();
        match transport {
            local if local.is_local() && (!host.is_empty() || path.len() < 2) => {
                let scheme = local.scheme();
                return Err(format!("{} names no socket; write {scheme}:///dev/log (three slashes)", quoted(text)));
            }
            local if local.is_local() => {}
            _ if host.is_empty() => return Err(format!("{} names no host; {FORM}", quoted(text))),
            splunk if splunk.is_splunk() && path.contains("/services/collector") => {
                return Err(format!(
                    "{} has the collector's own path, which is added here; end it before /services",
                    quoted(text)
                ));
            }
            splunk if splunk.is_splunk() => {}
            _ if path.len() > 1 => return Err(format!("{} has a path; {FORM}", quoted(text))),
            _ => {}
        }
        let options = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        let (path, port) = match transport {
            local if local.is_local() => (PathBuf::from(path), 0),
            splunk if splunk.is_splunk() => (path.trim_end_matches('/').into(), url.port().unwrap_or(default_port)),
            _ => (PathBuf::new(), url.port().unwrap_or(default_port)),
        };
        Ok((Self { transport, host, port, path }, options))
    }
}

impl FromStr for SiemUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, options) = Self::with_options(text)?;
        match options.first() {
            Some((key, value)) => {
                Err(format!("options stand beside the url here; write {key}: {value} as a key of its own"))
            }
            None => Ok(url),
        }
    }
}

impl fmt::Display for SiemUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.scheme();
        match self.transport {
            local if local.is_local() => write!(f, "{scheme}://{}", self.path.display()),
            _ if self.host.contains(':') => {
                write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path.display())
            }
            _ => write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path.display()),
        }
    }
}

as_text!(HttpUrl, SiemUrl);

fn parse(text: &str, form: &str) -> Result<Url, String> {
    let text = text.trim();
    // The parser takes "host:9200" for a URL with the scheme "host".
    if !text.contains("://") {
        // What stands before an @ may be a password.
        let said = if text.contains('@') { "the address".to_owned() } else { quoted(text) };
        return Err(format!("{said} has no scheme; {form}"));
    }
    Url::parse(text).map_err(|why| format!("no valid URL ({why}); {form}"))
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = String> + fmt::Display>(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<T>(), expected) {
            (Ok(url), Ok(printed)) => assert_eq!(url.to_string(), printed),
            (Err(message), Err(part)) => {
                assert!(message.contains(part), "{text}: {message}");
                assert!(!message.contains("hunter2"), "a secret is told: {message}");
            }
            (Ok(url), Err(_)) => panic!("{text} passes as {url}"),
            (Err(message), Ok(_)) => panic!("{text}: {message}"),
        }
    }

    #[test]
    fn elasticsearch_hosts() {
        check::<HttpUrl>("https://es:9200", Ok("https://es:9200"));
        check::<HttpUrl>("http://[::1]:9200/prefix/", Ok("http://[::1]:9200/prefix"));
        for (text, part) in [
            ("es:9200", "has no scheme"),
            ("ftp://es", "the scheme ftp:// is not known here"),
            ("https://elastic:hunter2@es:9200", "put them under sinks.elasticsearch.auth"),
            ("elastic:hunter2@es:9200", "has no scheme"),
            ("https://elastic:hunter2@es:port", "no valid URL"),
            ("https://es:9200/?pretty", "no query"),
            ("https://", "no valid URL"),
        ] {
            check::<HttpUrl>(text, Err(part));
        }
    }

    #[test]
    fn siem_receivers() {
        for (text, printed) in [
            ("tls://siem", "tls://siem:6514"),
            ("tcp://siem:10514", "tcp://siem:10514"),
            ("udp://[2001:db8::1]:514", "udp://[2001:db8::1]:514"),
            ("unix:///dev/log", "unix:///dev/log"),
            ("unix-stream:///run/siem", "unix-stream:///run/siem"),
            ("relp://siem", "relp://siem:2514"),
            ("relp+tls://[::1]", "relp+tls://[::1]:2514"),
            ("splunk+https://hec", "splunk+https://hec:8088"),
            ("splunk+https://inputs.example.com:443/hec/", "splunk+https://inputs.example.com:443/hec"),
            ("splunk+http://[::1]:8089", "splunk+http://[::1]:8089"),
        ] {
            check::<SiemUrl>(text, Ok(printed));
        }
        for (text, part) in [
            ("siem:514", "has no scheme"),
            ("kafka://siem:514", "the scheme kafka:// is not known here"),
            ("tls://me:hunter2@siem", "client certificate"),
            ("splunk+https://x:hunter2@hec", "token: {file: PATH}"),
            ("splunk+https://hec:8088/services/collector/event", "end it before /services"),
            ("splunk+https://", "names no host"),
            ("unix://dev/log", "three slashes"),
            ("unix-stream://run/siem", "write unix-stream:///dev/log (three slashes)"),
            ("tcp://siem/x", "has a path"),
            ("tcp://siem?header=3164", "write header: 3164 as a key of its own"),
            ("tcp://", "names no host"),
            ("tcp://siem:99999", "no valid URL"),
        ] {
            check::<SiemUrl>(text, Err(part));
        }
    }
}

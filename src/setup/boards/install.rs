//! Hands what is built to a running Kibana or OpenSearch Dashboards, by their import of saved objects.
//!
//! Promises: repeating it is safe, for the objects have fixed ids and are overwritten; nothing of others is touched. It
//! looks first who answers and of which version, and imports the file made for it.
//!
//! Not here: users and rights in Kibana. It wants *all* on saved objects management and, for the rules, on Security.

use std::io::Write;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Target, import, rules};
use crate::net::auth::{Auth, AuthError, Credentials};
use crate::net::http::{self, Failure, HostError, Http, HttpConfig, HttpError};
use crate::net::tls::TlsConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An import of hundreds of objects takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_ANSWER: usize = 8 << 20;
/// Stands in no file of ours: they are JSON, and hold no line that begins with dashes.
const BOUNDARY: &str = "--------tidegate-boards";

#[derive(Debug, Clone)]
pub struct Config {
    /// URL of Kibana or OpenSearch Dashboards; a path before `/api`, such as `/s/my-space`, stays.
    pub host: String,
    pub auth: Auth,
    pub tls: TlsConfig,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Show what would be sent.
    pub dry_run: bool,
    /// Import the detection rules too.
    pub rules: bool,
}

/// How many objects and rules were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub objects: u64,
    pub rules: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("cannot reach {host}: {cause}")]
    Unreachable { host: String, cause: String },
    #[error("{host} does not let us in ({status}); {remedy}")]
    Refused { host: String, status: u16, remedy: String },
    #[error(
        "{host} does not say which version it is ({answer}); give the URL of Kibana or OpenSearch Dashboards, and credentials"
    )]
    Unknown { host: String, answer: String },
    #[error(
        "{host} is version {version}; boards are built for Kibana 8.8 and later, and OpenSearch Dashboards 2 and later"
    )]
    TooOld { host: String, version: String },
    #[error("{path} did not take everything: {}", .faults.join("; "))]
    Partly { path: String, faults: Vec<String> },
    #[error("cannot write what was done: {0}")]
    Output(#[from] std::io::Error),
}

/// One import: where to, and the file that goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// With its query.
    pub path: &'static str,
    pub file: &'static str,
    /// One JSON object a line.
    pub body: String,
}

/// What is sent to `target`, in order. The detection rules are Kibana's only.
pub fn imports(target: Target, with_rules: bool) -> Vec<Import> {
    let file = match target {
        Target::Kibana8 => "tidegate-8.ndjson",
        Target::Kibana9 => "tidegate-9.ndjson",
        Target::OpenSearchDashboards => "tidegate.ndjson",
    };
    let mut imports = vec![Import { path: "/api/saved_objects/_import?overwrite=true", file, body: import(target) }];
    if with_rules && target != Target::OpenSearchDashboards {
        let path = "/api/detection_engine/rules/_import?overwrite=true";
        imports.push(Import { path, file: "detection-rules.ndjson", body: rules::import() });
    }
    imports
}

/// The target for a version, as `/api/status` says it. The two products' numbers do not meet: OpenSearch Dashboards counts
/// from 1, and Kibana's boards begin at 8.8.
pub fn target(version: &str) -> Option<Target> {
    let mut parts = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (parts.next()?, parts.next().unwrap_or(0)) {
        (2 | 3, _) => Some(Target::OpenSearchDashboards),
        (8, minor) if minor >= 8 => Some(Target::Kibana8),
        (9.., _) => Some(Target::Kibana9),
        _ => None,
    }
}

/// Imports what is built, and says on `out` what it does.
pub async fn run(config: &Config, options: Options, out: &mut dyn Write) -> Result<Summary, InstallError> {
    let wire = Wire::new(config)?;
    let target = wire.target(out).await?;
    let mut summary = Summary::default();
    for import in imports(target, options.rules) {
        let lines = import.body.lines().count();
        if options.dry_run {
            writeln!(out, "would POST {} ({}, {lines} objects)", import.path, import.file)?;
            continue;
        }
        let taken = wire.import(&import).await?;
        writeln!(out, "imported {taken} of {lines} objects of {}", import.file)?;
        let count = if import.path.contains("detection_engine") { &mut summary.rules } else { &mut summary.objects };
        *count += taken;
    }
    Ok(summary)
}

struct Wire {
    base: String,
    credentials: Credentials,
    http: Http,
}

impl Wire {
    fn new(config: &Config) -> Result<Self, InstallError> {
        let base = http::base(&config.host)?;
        let tls = base.starts_with("https").then(|| config.tls.clone());
        let http = Http::new(HttpConfig { tls, connect_timeout: CONNECT_TIMEOUT, timeout: TIMEOUT })?;
        Ok(Self { base, credentials: Credentials::new(config.auth.clone()), http })
    }

    async fn target(&self, out: &mut dyn Write) -> Result<Target, InstallError> {
        let answer = self.send(Method::GET, "/api/status", None).await?;
        let host = self.base.clone();
        let Some(version) = answer["version"]["number"].as_str() else {
            let answer = answer.to_string().chars().take(200).collect();
            return Err(InstallError::Unknown { host, answer });
        };
        let target = target(version).ok_or_else(|| InstallError::TooOld { host, version: version.to_owned() })?;
        let name = if target == Target::OpenSearchDashboards { "OpenSearch Dashboards" } else { "Kibana" };
        writeln!(out, "{} is {name} {version}", self.base)?;
        Ok(target)
    }

    /// How many objects were taken; all must be.
    async fn import(&self, import: &Import) -> Result<u64, InstallError> {
        let answer = self.send(Method::POST, import.path, Some(multipart(import))).await?;
        let count = answer["successCount"].as_u64().or_else(|| answer["success_count"].as_u64());
        match (answer["success"].as_bool(), count) {
            (Some(true), Some(count)) => Ok(count),
            _ => Err(InstallError::Partly { path: import.path.to_owned(), faults: faults(&answer) }),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, InstallError> {
        let mut request = self.http.client().request(method, format!("{}{path}", self.base));
        // Each product asks for its own; the other's is ignored.
        request = request.header("kbn-xsrf", "tidegate").header("osd-xsrf", "tidegate");
        if let Some(header) = self.credentials.header()? {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            let kind = format!("multipart/form-data; boundary={BOUNDARY}");
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let lost = |failure: Failure| InstallError::Unreachable { host: self.base.clone(), cause: failure.to_string() };
        let response = request.send().await.map_err(|error| lost(error.into()))?;
        let status = response.status();
        let (bytes, _) = http::read(response, MAX_ANSWER).await.map_err(lost)?;
        if let Some(remedy) = self.remedy(status) {
            return Err(InstallError::Refused { host: self.base.clone(), status: status.as_u16(), remedy });
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn remedy(&self, status: StatusCode) -> Option<String> {
        match status {
            StatusCode::UNAUTHORIZED => Some(self.credentials.remedy()),
            StatusCode::FORBIDDEN => {
                Some("grant all on Saved Objects Management, and on Security for the rules".to_owned())
            }
            _ => None,
        }
    }
}

/// A form with one file.
fn multipart(import: &Import) -> String {
    let Import { file, body, .. } = import;
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\n\
         Content-Type: application/ndjson\r\n\r\n{body}\r\n--{BOUNDARY}--\r\n"
    )
}

/// What an answer says went wrong, each by object; both products' shapes.
fn faults(answer: &Value) -> Vec<String> {
    let fault = |error: &Value| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let what = text(&error["id"]).or_else(|| text(&error["rule_id"])).unwrap_or_default();
        let why = text(&error["error"]["message"]).or_else(|| text(&error["error"]["type"])).unwrap_or_default();
        format!("{what}: {why}")
    };
    let listed: Vec<String> = answer["errors"].as_array().into_iter().flatten().map(fault).collect();
    if listed.is_empty() {
        vec![answer["message"].as_str().unwrap_or("no answer that we know").to_owned()]
    } else {
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_what_to_import() {
        for (version, expected) in [
            ("8.8.0", Some(Target::Kibana8)),
            ("8.19.3", Some(Target::Kibana8)),
            ("9.2.0-SNAPSHOT", Some(Target::Kibana9)),
            ("10.0.0", Some(Target::Kibana9)),
            ("2.19.1", Some(Target::OpenSearchDashboards)),
            ("3.4.0", Some(Target::OpenSearchDashboards)),
            ("8.7.1", None),
            ("7.17.0", None),
            ("1.3.0", None),
            ("new", None),
        ] {
            assert_eq!(target(version), expected, "{version}");
        }
    }

    #[test]
    fn rules_are_kibanas_only() {
        let paths = |target| imports(target, true).iter().map(|import| import.file).collect::<Vec<_>>();
        assert_eq!(paths(Target::Kibana9), ["tidegate-9.ndjson", "detection-rules.ndjson"]);
        assert_eq!(paths(Target::OpenSearchDashboards), ["tidegate.ndjson"]);
        assert!(imports(Target::Kibana8, true).iter().all(|import| !import.body.contains(BOUNDARY)));
    }

    #[test]
    fn answers_tell_what_went_wrong() {
        for (answer, expected) in [
            (
                r#"{"success":false,"errors":[{"id":"a","error":{"type":"missing_references"}}]}"#,
                "a: missing_references",
            ),
            (r#"{"errors":[{"rule_id":"r","error":{"message":"is bad"}}]}"#, "r: is bad"),
            (r#"{"statusCode":400,"message":"no file"}"#, "no file"),
            ("null", "no answer that we know"),
        ] {
            assert_eq!(faults(&serde_json::from_str(answer).expect("JSON")), [expected]);
        }
    }
}

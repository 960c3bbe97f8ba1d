//! What flags and environment variables change in the configuration.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::origin::Origin;
use super::scalar::quoted;
use super::url::SiemUrl;

/// A value that stands above the file's.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    pub what: What,
    /// [`Origin::Flag`] or [`Origin::Env`].
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// This value, instead of the file's, at a path such as `log.level`.
    Set { path: &'static str, value: Value },
    /// These SIEM receivers, instead of the file's: URLs with options, `tcp://HOST:514?header=3164&framing=lf`.
    Receivers(Vec<String>),
    /// This file in the `tls` of every sink that speaks TLS: `ca_file`, `certificate_file` or `key_file`.
    TlsFile { key: &'static str, file: PathBuf },
}

impl Override {
    pub fn set(path: &'static str, value: impl Into<Value>, origin: Origin) -> Self {
        Self { what: What::Set { path, value: value.into() }, origin }
    }

    /// Changes the tree. Returns the paths that were set, and what is wrong, each with the path it is wrong at.
    pub(super) fn apply(&self, tree: &mut Value) -> (Vec<String>, Vec<(String, String)>) {
        match &self.what {
            What::Set { path, value } => {
                *at(tree, path) = value.clone();
                (vec![(*path).to_owned()], Vec::new())
            }
            What::Receivers(urls) => {
                let path = "sinks.siem".to_owned();
                let (receivers, problems) = receivers(urls);
                *at(tree, &path) = receivers;
                (vec![path], problems)
            }
            What::TlsFile { key, file } => (set_tls_file(tree, key, &json!(file)), Vec::new()),
        }
    }
}

/// The node at a path of plain keys; what is missing on the way is made.
fn at<'t>(tree: &'t mut Value, path: &str) -> &'t mut Value {
    path.split('.').fold(tree, |node, key| {
        if !node.is_object() {
            *node = Value::Object(Map::new());
        }
        &mut node[key]
    })
}

fn set_tls_file(tree: &mut Value, key: &str, file: &Value) -> Vec<String> {
    let mut set = Vec::new();
    if tree["sinks"]["elasticsearch"].is_object() {
        let path = format!("sinks.elasticsearch.tls.{key}");
        *at(tree, &path) = file.clone();
        set.push(path);
    }
    let siem = tree["sinks"]["siem"].as_array_mut().into_iter().flatten();
    for (index, receiver) in siem.enumerate() {
        let is_tls = |url: &Value| {
            url.as_str()
                .is_some_and(|url| ["tls://", "relp+tls://", "splunk+https://"].iter().any(|tls| url.starts_with(tls)))
        };
        let failover = receiver["failover"].as_array().into_iter().flatten();
        if failover.chain([&receiver["url"]]).any(is_tls) {
            *at(receiver, &format!("tls.{key}")) = file.clone();
            set.push(format!("sinks.siem[{index}].tls.{key}"));
        }
    }
    set
}

fn receivers(urls: &[String]) -> (Value, Vec<(String, String)>) {
    let mut list = Vec::new();
    let mut problems = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        match receiver(url) {
            Ok(receiver) => list.push(receiver),
            Err(message) => {
                problems.push((format!("sinks.siem[{index}].url"), message));
                // Named, so that nothing is said of a name that nobody could give.
                list.push(json!({ "name": format!("receiver-{index}") }));
            }
        }
    }
    (Value::Array(list), problems)
}

/// `tls://HOST:6514?header=3164&framing=lf` as the shape has it. Without `name`, host and port are the name, so that the
/// checkpoint is found again whatever the order of the flags.
fn receiver(text: &str) -> Result<Value, String> {
    let (url, options) = SiemUrl::with_options(text)?;
    let mut siem = json!({ "name": name(&url), "url": url.to_string() });
    for (key, value) in options {
        let value = value.as_str();
        match key.as_str() {
            "format" if url.transport.is_splunk() => siem["splunk"]["format"] = json!(value),
            "name" | "profile" | "format" | "facility" | "verdict" | "filter" | "flows" => siem[&key] = json!(value),
            // Given once for each further receiver, in order.
            "failover" => match siem["failover"].as_array_mut() {
                Some(list) => list.push(json!(value)),
                None => siem["failover"] = json!([value]),
            },
            "header" => siem[&key] = json!(header(value)?),
            "framing" => siem[&key] = json!(framing(value)?),
            "token_file" if url.transport.is_splunk() => siem["splunk"]["token"] = json!({ "file": value }),
            "token_env" if url.transport.is_splunk() => siem["splunk"]["token"] = json!({ "env": value }),
            "index" | "source" | "sourcetype" | "acknowledgement" if url.transport.is_splunk() => {
                siem["splunk"][&key] = json!(value);
            }
            _ => {
                let known = match url.transport.is_splunk() {
                    true => {
                        "token_file, token_env, index, source, sourcetype, acknowledgement, format, name, verdict, filter, flows and failover"
                    }
                    false => "profile, format, header, framing, name, facility, verdict, filter, flows and failover",
                };
                return Err(format!("the option {} is not known; there are {known}", quoted(&key)));
            }
        }
    }
    Ok(siem)
}

fn header(value: &str) -> Result<&'static str, String> {
    match value {
        "5424" | "rfc5424" => Ok("rfc5424"),
        "3164" | "rfc3164" => Ok("rfc3164"),
        "3164-tagged" | "rfc3164-tagged" => Ok("rfc3164-tagged"),
        _ => Err(format!(
            "the header {} is not known; write header=5424, header=3164 or header=3164-tagged",
            quoted(value)
        )),
    }
}

fn framing(value: &str) -> Result<&'static str, String> {
    match value {
        "octet-counting" => Ok("octet-counting"),
        "lf" => Ok("lf"),
        _ => Err(format!("the framing {} is not known; write framing=octet-counting or framing=lf", quoted(value))),
    }
}

fn name(url: &SiemUrl) -> String {
    let written = match url.port {
        0 => url.path.display().to_string(),
        port => format!("{}-{port}", url.host),
    };
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    written.chars().map(safe).collect::<String>().trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<Value, &str>) {
        match (receiver(url), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (got, expected) => panic!("{url}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn receivers_by_url() {
        check("tls://siem", Ok(json!({"name": "siem-6514", "url": "tls://siem:6514"})));
        check(
            "tcp://10.0.0.7:514?header=3164&framing=lf&format=cef",
            Ok(
                json!({"name": "10.0.0.7-514", "url": "tcp://10.0.0.7:514", "header": "rfc3164", "framing": "lf", "format": "cef"}),
            ),
        );
        check(
            "udp://[2001:db8::1]:514?name=soc&verdict=deny&facility=local4",
            Ok(json!({"name": "soc", "url": "udp://[2001:db8::1]:514", "verdict": "deny", "facility": "local4"})),
        );
        check("unix:///dev/log", Ok(json!({"name": "dev-log", "url": "unix:///dev/log"})));
        check(
            "relp+tls://a?name=soc&failover=relp%2Btls://b&failover=tls://c:6515",
            Ok(json!({"name": "soc", "url": "relp+tls://a:2514", "failover": ["relp+tls://b", "tls://c:6515"]})),
        );
        check(
            "splunk+https://hec?token_file=/t&index=net&format=cef&acknowledgement=required",
            Ok(json!({"name": "hec-8088", "url": "splunk+https://hec:8088", "splunk": {"token": {"file": "/t"},
                "index": "net", "format": "cef", "acknowledgement": "required"}})),
        );
        check("splunk+https://hec?framing=x", Err("write framing=octet-counting"));
        check("tcp://siem?token_file=/t", Err("there are profile, format, header, framing"));
        check(
            "tcp://a?name=soc&flows=all&filter=port%20%3D%2022",
            Ok(json!({"name": "soc", "url": "tcp://a:514", "flows": "all", "filter": "port = 22"})),
        );
        check("tcp://siem?header=1", Err("write header=5424, header=3164 or header=3164-tagged"));
        check("tcp://siem?framing=crlf", Err("write framing=octet-counting or framing=lf"));
        check(
            "tcp://siem?format=leef&profile=qradar",
            Ok(json!({"name": "siem-514", "url": "tcp://siem:514", "format": "leef", "profile": "qradar"})),
        );
        check("tcp://siem?heade=1", Err("there are profile, format, header, framing"));
    }

    #[test]
    fn tls_files_go_where_tls_is_spoken() {
        let mut tree = json!({"sinks": {"elasticsearch": {}, "siem": [{"url": "tcp://a"}, {"url": "tls://b"}]}});
        let what = What::TlsFile { key: "ca_file", file: "/ca.pem".into() };
        let (set, _) = Override { what, origin: Origin::Flag("--ca-file".into()) }.apply(&mut tree);
        assert_eq!(set, ["sinks.elasticsearch.tls.ca_file", "sinks.siem[1].tls.ca_file"]);
        assert_eq!(tree["sinks"]["siem"][1]["tls"]["ca_file"], "/ca.pem");
        assert_eq!(tree["sinks"]["siem"][0], json!({"url": "tcp://a"}));
    }
}

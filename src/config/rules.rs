//! What a schema cannot say: what must be given, what must not meet, what lies outside its limits.
//!
//! Each rule speaks of one thing and says what to write instead. Nothing here touches a file or a socket.

mod elasticsearch;
mod siem;
mod splunk;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::scalar::{Size, Span};
use super::shape::{Config, Flows, Source};
use crate::yaml::Severity;

/// Severity, path, message.
pub(super) type Finding = (Severity, String, String);

/// What the rules found, so that a rule can be one line.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((Severity::Error, path.into(), message.into()));
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push((Severity::Warning, path.into(), message.into()));
    }

    fn span(&mut self, path: String, span: Span, least: Span, most: Span) {
        if span < least || span > most {
            self.error(path, format!("{span} is out of range; write {least} to {most}"));
        }
    }

    fn size(&mut self, path: String, size: Size, least: Size, most: Size) {
        if size < least || size > most {
            self.error(path, format!("{size} is out of range; write {least} to {most}"));
        }
    }
}

const TEN_MINUTES: Span = Span(Duration::from_secs(600));
const SECOND: Span = Span(Duration::from_secs(1));

pub(super) fn judge(config: &Config) -> Vec<Finding> {
    let mut found = Findings::default();
    names(config, &mut found);
    sources(&config.sources, &mut found);
    zones(config, &mut found);
    if config.sinks.elasticsearch.is_none() && config.sinks.siem.is_empty() {
        found.error(
            "sinks",
            "no sink is given; write elasticsearch: {hosts: [https://HOST:9200]} or siem: [{name: soc, url: tls://HOST:6514}] \
             under sinks (or give --elasticsearch URL, --siem URL)",
        );
    }
    if let Some(elasticsearch) = &config.sinks.elasticsearch {
        elasticsearch::judge(elasticsearch, &mut found);
    }
    siem::judge(&config.sinks.siem, &mut found);
    if !config.state_dir.is_absolute() {
        found.error("state_dir", "the path must be absolute, as in /var/lib/tidegate");
    }
    found.size("spool.max_size".to_owned(), config.spool.max_size, Size::mib(1), Size::mib(1 << 20));
    found.span("shutdown.deadline".to_owned(), config.shutdown.deadline, SECOND, TEN_MINUTES);
    found.0
}

/// Both names are part of every event's id, so an accident here is forever.
fn names(config: &Config, found: &mut Findings) {
    const LONGEST: usize = 253;
    for (path, name, remedy) in [
        ("cluster", &config.cluster, "write the name of the cluster"),
        ("node", &config.node, "write the name of the node, or set NODE_NAME from the downward API"),
    ] {
        if name.trim().is_empty() {
            found.error(path, format!("the name is empty; {remedy}"));
        } else if name.len() > LONGEST || name.chars().any(char::is_control) {
            found.error(path, format!("a name has at most {LONGEST} bytes and no control characters"));
        }
    }
}

fn sources(sources: &[Source], found: &mut Findings) {
    if sources.is_empty() {
        found.error(
            "sources",
            "no source is given; write - path: /var/log/calico/flowlogs/flows.log under sources (or give --source GLOB)",
        );
    }
    for (index, source) in sources.iter().enumerate() {
        let at = |key: &str| format!("sources[{index}].{key}");
        glob(&at("path"), &source.path, found);
        for (number, pattern) in source.rotated.iter().flatten().enumerate() {
            glob(&format!("{}[{number}]", at("rotated")), pattern, found);
        }
        found.size(at("max_line"), source.max_line, Size::kib(1), Size::mib(1));
    }
    for (index, first) in repeated(sources.iter().map(|source| source.path.as_str())) {
        found.error(
            format!("sources[{index}].path"),
            format!("the path stands in sources[{first}] already; keep one, or every line is read twice"),
        );
    }
}

fn glob(path: &str, pattern: &str, found: &mut Findings) {
    if pattern.is_empty() {
        found.error(path, "no path is given; write the file's path, as in /var/log/calico/flowlogs/flows.log");
    } else if !Path::new(pattern).is_absolute() {
        found.error(path, format!("{pattern:?} is not absolute; begin it with /"));
    } else if pattern.contains("**") {
        found
            .error(path, format!("{pattern:?} holds **, which is not supported; write a * for each folder on the way"));
    } else if !brackets_close(pattern) {
        found.error(
            path,
            format!("{pattern:?} is no valid glob: a [ or {{ is not closed; close it, or write \\[ for itself"),
        );
    }
}

fn brackets_close(pattern: &str) -> bool {
    let (mut class, mut braces, mut escaped) = (false, 0usize, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if class => class = false,
            _ if class => {}
            '[' => class = true,
            '{' => braces += 1,
            '}' if braces == 0 => return false,
            '}' => braces -= 1,
            _ => {}
        }
    }
    !class && braces == 0 && !escaped
}

fn zones(config: &Config, found: &mut Findings) {
    match &config.zones {
        None if config.sinks.siem.iter().any(|siem| siem.flows == Flows::CrossZone) => found.error(
            "zones",
            "no zones are given, so no flow crosses zones and a SIEM would get nothing; write zones: /etc/tidegate/zones.yaml \
             (or give --zones FILE)",
        ),
        Some(path) if !path.is_absolute() => found.error("zones", "the path must be absolute, as in /etc/tidegate/zones.yaml"),
        _ => {}
    }
}

/// Index of each repeated text, and of its first. Empty ones are told elsewhere.
fn repeated<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<(usize, usize)> {
    let mut first = BTreeMap::new();
    let mut repeated = Vec::new();
    for (index, text) in texts.enumerate().filter(|(_, text)| !text.is_empty()) {
        match first.get(text) {
            Some(first) => repeated.push((index, *first)),
            None => {
                first.insert(text, index);
            }
        }
    }
    repeated
}

/// A client certificate is two files; one alone is a slip.
fn certificate_pair(path: &str, certificate: bool, key: bool, found: &mut Findings) {
    match (certificate, key) {
        (true, false) => found.error(format!("{path}.certificate_file"), "a certificate needs its key; add key_file"),
        (false, true) => found.error(format!("{path}.key_file"), "a key needs its certificate; add certificate_file"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, valid) in [
            ("/a/*.log", true),
            ("/a/[ab]*.{log,gz}", true),
            ("/a/[{]", true),
            ("/a/\\[x", true),
            ("/a/[b", false),
            ("/a/{b", false),
            ("/a/b}", false),
            ("/a/b\\", false),
        ] {
            assert_eq!(brackets_close(pattern), valid, "{pattern}");
        }
    }
}

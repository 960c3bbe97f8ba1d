//! Why an end of a flow is in its zone: for `tidegate zones which`.

use std::fmt;

use serde::Serialize;

use super::address::is_public;
use super::matcher::{Key, Kind, Matcher, Subject, Unknowable};
use super::table::{Table, Zone};
use crate::model::EndpointType;
use crate::model::event::UNKNOWN_ZONE;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation<'t> {
    pub source: EndExplanation<'t>,
    pub destination: EndExplanation<'t>,
}

/// One end: its zone, and what every zone said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndExplanation<'t> {
    /// What the flow tells of this end.
    pub end: String,
    pub zone: &'t str,
    /// All zones in the order of the file, also those after the one that took it: overlaps show.
    pub zones: Vec<ZoneExplanation<'t>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZoneExplanation<'t> {
    pub name: &'t str,
    pub rank: usize,
    pub verdict: Verdict,
    pub matches: Vec<MatchExplanation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The first zone that matches.
    Takes,
    /// It matches too, but a zone above took the end.
    Shadowed,
    No,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchExplanation {
    pub matched: bool,
    /// The first key that does not hold. Keys are asked in the order of cost, not of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'static str>,
    /// Why that key does not hold, or which keys hold.
    pub reason: String,
}

pub(super) fn explain<'t>(table: &'t Table, subject: &Subject<'_>) -> EndExplanation<'t> {
    let mut zone = None;
    let mut ask = |(i, of): (usize, &'t Zone)| {
        let matches: Vec<_> = table.matchers_of(i).map(|matcher| explain_match(matcher, subject)).collect();
        let verdict = match (matches.iter().any(|m| m.matched), zone) {
            (false, _) => Verdict::No,
            (true, None) => Verdict::Takes,
            (true, Some(_)) => Verdict::Shadowed,
        };
        if verdict == Verdict::Takes {
            zone = Some(&*of.name);
        }
        ZoneExplanation { name: &of.name, rank: i + 1, verdict, matches }
    };
    let zones = table.zones.iter().enumerate().map(&mut ask).collect();
    EndExplanation { end: describe(subject), zone: zone.unwrap_or(UNKNOWN_ZONE), zones }
}

fn explain_match(matcher: &Matcher, subject: &Subject<'_>) -> MatchExplanation {
    match matcher.keys().find(|key| !(key.is_for(subject.kind, matcher.pods) && key.holds(subject))) {
        Some(key) => {
            MatchExplanation { matched: false, key: Some(key.name()), reason: why_not(key, subject, matcher.pods) }
        }
        None => {
            let names: Vec<&str> = matcher.keys().map(Key::name).collect();
            MatchExplanation { matched: true, key: None, reason: names.join(" and ") }
        }
    }
}

fn why_not(key: &Key, subject: &Subject<'_>, pods: bool) -> String {
    let by_address = matches!(key, Key::Public(_) | Key::Cidr(_) | Key::Domain(_));
    if by_address && subject.kind.is_pod() && !pods {
        return format!("it is a pod, and {} matches pods only with pods: true", key.name());
    }
    match key {
        Key::EndpointType(_) => format!("it is {}", kind(subject)),
        Key::Namespace(_) => match &subject.end.namespace {
            Some(namespace) if key.is_for(subject.kind, pods) => format!("its namespace is {namespace}"),
            Some(_) => format!("it is {}, which is in no namespace", kind(subject)),
            None => "it is in no namespace".into(),
        },
        Key::NetworkSet(_) if subject.kind == Kind::Known(EndpointType::NetworkSet) => {
            format!("the set is {}", describe(subject))
        }
        Key::NetworkSet(_) => format!("it is {}, not a network set", kind(subject)),
        Key::Public(public) => match (subject.ip, subject.network()) {
            (Some(ip), _) => format!("{ip} is {}", if is_public(ip) { "public" } else { "not public" }),
            (None, Some(word)) => format!("the log has no address, only \"{word}\""),
            (None, None) => format!("the log has no address; public: {public} needs one"),
        },
        Key::Cidr(ranges) => match subject.ip {
            Some(ip) if ranges.nets.contains(ip) && ranges.except.contains(ip) => {
                format!("{ip} is among its exceptions")
            }
            Some(ip) => format!("{ip} is in none of its ranges"),
            None => "the log has no address (aggregated)".into(),
        },
        Key::Domain(_) if subject.domains.is_empty() => "the log has no domain for it".into(),
        Key::Domain(_) => format!("its domains are {}", subject.domains.join(", ")),
        Key::Labels(selector) => {
            if !subject.has_labels() {
                format!("it is {}, which has no labels", kind(subject))
            } else {
                format!("{selector} does not hold for its labels ({})", labels(subject))
            }
        }
        Key::HostEndpoint(_) if subject.kind != Kind::Known(EndpointType::Host) => {
            format!("it is {}, not a host endpoint", kind(subject))
        }
        Key::HostEndpoint(selector) => format!("{selector} does not hold for its labels ({})", labels(subject)),
        Key::Unknowable(Unknowable::ServiceAccount) => "flow logs carry no service accounts".into(),
        Key::Unknowable(Unknowable::NamespaceLabels) => "flow logs carry no namespace labels".into(),
    }
}

fn kind(subject: &Subject<'_>) -> &'static str {
    match subject.kind {
        Kind::Known(EndpointType::Workload) => "a pod",
        Kind::Known(EndpointType::Host) => "a host endpoint",
        Kind::Known(EndpointType::NetworkSet) => "a network set",
        Kind::Known(EndpointType::Network) => "a network",
        Kind::Namespaced => "an end of unsaid type in a namespace, taken for a pod",
        Kind::Unsaid => "an end of unsaid type",
    }
}

fn labels(subject: &Subject<'_>) -> String {
    let labels: Vec<String> = subject.end.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "none in the log".into() } else { labels.join(", ") }
}

fn describe(subject: &Subject<'_>) -> String {
    let mut text = kind(subject).to_owned();
    if let Some(name) = subject.name() {
        let namespace = subject.end.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        text += &format!(" {namespace}{name}");
    }
    if let Some(ip) = subject.end.ip {
        text += &format!(" {ip}");
    }
    text
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source: {}\ndestination: {}", self.source, self.destination)
    }
}

impl fmt::Display for EndExplanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in zone {}", self.end, self.zone)?;
        for zone in &self.zones {
            let verdict = match zone.verdict {
                Verdict::Takes => "takes it",
                Verdict::Shadowed => "would match too, but a zone above it took it",
                Verdict::No => "no",
            };
            write!(f, "\n  {}. {}: {verdict}", zone.rank, zone.name)?;
            for (i, part) in zone.matches.iter().enumerate() {
                match part.key {
                    Some(key) => write!(f, "\n       match[{i}] {key}: {}", part.reason)?,
                    None => write!(f, "\n       match[{i}] matches by {}", part.reason)?,
                }
            }
        }
        Ok(())
    }
}

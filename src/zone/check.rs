//! `zones.yaml` from its tree to the table: everything that is wrong at once, each problem at its place.
//!
//! The walk is over the tree, not over the deserialised file, so that a bad selector is told even if another zone has a
//! misspelt key. What has the wrong type is skipped here; the schema has told it.

use std::collections::HashMap;

use ipnet::IpNet;

use super::address::Nets;
use super::file::{self, EndpointKind, File};
use super::glob::Glob;
use super::matcher::{Key, Matcher, Ranges, SetName, Unknowable};
use super::selector::{self, NAMESPACE_LABEL, Selector};
use super::table::{Table, Zone};
use super::{reach, rules};
use crate::model::event::UNKNOWN_ZONE;
use crate::yaml::{Document, Node, Place, Problem, Value, child, index};

/// Stands for every zone in rules.
pub(super) const ANY_ZONE: &str = "any";
const MAX_NAME_LEN: usize = 63;

pub(super) fn load(text: &str) -> Result<(Table, Vec<Problem>), Vec<Problem>> {
    let document = Document::parse(text).map_err(|problem| vec![problem])?;
    let problems = document.check_schema(&file::schema());
    let mut check = Check { document: &document, problems };
    let (zones, matchers) = check.zones();
    rules::check(&mut check);
    if !check.has_errors() {
        match document.to::<File>() {
            Ok(file) => reach::check(&file, &mut check),
            Err(problem) => check.problems.push(problem),
        }
    }
    check.unused_sections();
    let failed = check.has_errors();
    let mut problems = check.problems;
    Problem::sort(&mut problems);
    if failed { Err(problems) } else { Ok((Table::new(zones, matchers), problems)) }
}

pub(super) struct Check<'d> {
    pub document: &'d Document,
    problems: Vec<Problem>,
}

impl<'d> Check<'d> {
    pub fn error(&mut self, path: &str, message: impl Into<String>) {
        let place = self.document.place(path);
        self.problems.push(Problem::error(place, path, message));
    }

    fn error_at(&mut self, place: Option<Place>, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(place, path, message));
    }

    /// At the key where there is one.
    pub fn warning(&mut self, path: &str, message: impl Into<String>) {
        let place = self.document.key_place(path).or_else(|| self.document.place(path));
        self.problems.push(Problem::warning(place, path, message));
    }

    fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// A text, or a list's texts, each with its path.
    pub fn texts(&self, path: &str) -> Vec<(String, &'d str)> {
        let Some(node) = self.document.node(path) else { return Vec::new() };
        match &node.value {
            Value::Text(text) => vec![(path.to_owned(), text)],
            Value::List(items) => {
                let texts = items.iter().enumerate();
                texts.filter_map(|(i, item)| Some((index(path, i), item.as_text()?))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn items(&self, path: &str) -> &'d [Node] {
        self.document.node(path).map_or(&[], Node::items)
    }

    fn zones(&mut self) -> (Vec<Zone>, Vec<Matcher>) {
        let (mut zones, mut matchers) = (Vec::new(), Vec::new());
        let mut seen = HashMap::new();
        for (node, i) in self.items("zones").iter().zip(0u32..) {
            let path = index("zones", i as usize);
            let below = child(&path, "match");
            for (j, node) in self.items(&below).iter().enumerate() {
                matchers.extend(self.matcher(i, &index(&below, j), node));
            }
            zones.push(self.zone(&path, node, &mut seen));
        }
        (zones, matchers)
    }

    fn zone(&mut self, path: &str, node: &'d Node, seen: &mut HashMap<&'d str, Place>) -> Zone {
        let name = node.get("name").and_then(|name| Some((name.as_text()?, name.place)));
        if let Some((name, place)) = name {
            self.name(&child(path, "name"), name);
            let first = *seen.entry(name).or_insert(place);
            if first != place {
                let message = format!("the zone \"{name}\" is already defined at line {}; merge or rename", first.line);
                self.error(&child(path, "name"), message);
            }
        }
        if node.get("match").is_some_and(|list| list.value == Value::List(Vec::new())) {
            let message = "the list is empty, so nothing matches; write at least one match, or remove the zone";
            self.error(&child(path, "match"), message);
        }
        let critical = matches!(node.get("critical"), Some(Node { value: Value::Bool(true), .. }));
        Zone { name: name.map_or_else(Box::default, |(name, _)| name.into()), critical }
    }

    fn name(&mut self, path: &str, name: &str) {
        if name == UNKNOWN_ZONE || name == ANY_ZONE {
            let message = match name {
                UNKNOWN_ZONE => "\"unknown\" is what no zone matches; choose another name",
                _ => "\"any\" stands for every zone in rules; choose another name",
            };
            return self.error(path, message);
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || !name.chars().all(good) || name.len() > MAX_NAME_LEN {
            let message = format!(
                "{name:?} is no zone name; write letters, digits, \".\", \"_\" and \"-\", a letter or digit first, at most {MAX_NAME_LEN}"
            );
            self.error(path, message);
        }
    }

    fn matcher(&mut self, zone: u32, path: &str, node: &'d Node) -> Option<Matcher> {
        let flag = |key: &str| match node.get(key)?.value {
            Value::Bool(value) => Some(value),
            _ => None,
        };
        let pods = flag("pods").unwrap_or(false);
        let has = |key: &str| node.get(key).is_some_and(|node| node.value != Value::Null);
        let at = |key: &str| child(path, key);
        let mut keys = Vec::new();
        if let Some(kind) = node.get("endpointType").and_then(Node::as_text).and_then(endpoint_kind) {
            keys.push(Key::EndpointType(kind));
        }
        if has("namespace") {
            keys.push(Key::Namespace(self.each(&at("namespace"), namespace_glob)));
        }
        if has("networkSet") {
            keys.push(Key::NetworkSet(self.each(&at("networkSet"), set_name)));
        }
        if let Some(public) = flag("public") {
            keys.push(Key::Public(public));
        }
        if has("cidr") {
            keys.push(self.cidr(&at("cidr"), &at("except")));
        } else if has("except") {
            self.error(&at("except"), "there is no cidr here to except from; add cidr, or remove except");
        }
        if has("domain") {
            keys.push(Key::Domain(self.each(&at("domain"), domain_glob)));
        }
        if let Some(selector) = self.selector(&at("labels"), node.get("labels")) {
            keys.push(Key::Labels(selector));
        }
        if let Some(selector) = self.selector(&at("hostEndpoint"), node.get("hostEndpoint")) {
            keys.push(Key::HostEndpoint(selector));
        }
        if has("serviceAccount") {
            keys.push(Key::Unknowable(Unknowable::ServiceAccount));
            self.warning(
                &at("serviceAccount"),
                "flow logs do not carry service accounts, so this match takes no flow; use namespace or labels",
            );
        }
        if has("namespaceLabels") {
            keys.push(Key::Unknowable(Unknowable::NamespaceLabels));
            self.selector(&at("namespaceLabels"), node.get("namespaceLabels"));
            self.warning(
                &at("namespaceLabels"),
                "flow logs do not carry labels of namespaces, so this match takes no flow; use namespace",
            );
        }
        let widened = has("cidr") || has("public") || has("domain");
        let written = node.entries().iter().any(|entry| !matches!(entry.key.as_str(), "pods" | "except"));
        if matches!(node.value, Value::Map(_)) && !written {
            self.error(path, "this match is empty; write at least one of namespace, labels, networkSet, cidr, public, domain, hostEndpoint, endpointType");
        } else if pods && !widened {
            self.warning(
                &at("pods"),
                "it only widens cidr, public and domain, and none of them stands here; remove it",
            );
        }
        Matcher::new(zone, keys, pods)
    }

    /// Each text read by `read`; what it refuses is a problem.
    pub fn each<T>(&mut self, path: &str, read: fn(&str) -> Result<T, String>) -> Vec<T> {
        if self.document.node(path).is_some_and(|node| node.value == Value::List(Vec::new())) {
            self.error(path, "the list is empty, so nothing matches; write at least one, or remove the key");
        }
        let texts = self.texts(path);
        let read =
            texts.into_iter().filter_map(|(path, text)| read(text).map_err(|message| self.error(&path, message)).ok());
        read.collect()
    }

    fn cidr(&mut self, path: &str, except_path: &str) -> Key {
        let nets = self.each(path, net);
        let texts = self.texts(except_path);
        let mut except = Vec::new();
        for (path, text) in texts {
            match net(text) {
                Err(message) => self.error(&path, message),
                Ok(net) if !nets.iter().any(|wide| wide.contains(&net)) && !nets.is_empty() => {
                    self.error(
                        &path,
                        format!("{net} is in none of the ranges of cidr, so it excepts nothing; remove it"),
                    );
                }
                Ok(net) => except.push(net),
            }
        }
        Key::Cidr(Box::new(Ranges { nets: Nets::new(&nets), except: Nets::new(&except) }))
    }

    fn selector(&mut self, path: &str, node: Option<&Node>) -> Option<Selector> {
        let text = node?.as_text()?;
        if text.trim().is_empty() {
            self.error(path, "the selector is empty; write all() if everything is meant");
            return None;
        }
        match selector::parse(text) {
            Err(error) => {
                let place = self.document.place_in(path, error.offset);
                self.error_at(place, path, format!("in the selector {text:?}: {error}"));
                None
            }
            Ok(selector) => {
                selector.labels(&mut |label| {
                    if label.name().starts_with("projectcalico.org/") && label.name() != NAMESPACE_LABEL {
                        let message = format!("flow logs leave out the label {}, so it counts as absent", label.name());
                        self.warning(path, message);
                    }
                });
                Some(selector)
            }
        }
    }

    fn unused_sections(&mut self) {
        let sections = [
            ("defaults", "they are for compiled policies: zones name flows here, nothing is allowed or denied by them"),
            ("rules", "they are for compiled policies: nothing is allowed or denied by them"),
            ("matrix", "it is for compiled policies: nothing is allowed or denied by it"),
            ("exceptions", "they are for compiled policies"),
            ("compile", "it is for compiled policies"),
        ];
        for (key, what) in sections {
            if self.document.node(key).is_some() {
                self.warning(key, format!("read and checked, but not used yet; {what}"));
            }
        }
    }
}

fn endpoint_kind(text: &str) -> Option<EndpointKind> {
    match text {
        "workload" => Some(EndpointKind::Workload),
        "host" => Some(EndpointKind::Host),
        "networkset" => Some(EndpointKind::NetworkSet),
        "network" => Some(EndpointKind::Network),
        _ => None,
    }
}

pub(super) fn namespace_glob(text: &str) -> Result<Glob, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    glob(text, "namespace", good).map(|()| Glob::new(text))
}

fn set_name(text: &str) -> Result<SetName, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace_glob(namespace)?), name),
        None => (None, text),
    };
    glob(name, "network set", good)?;
    Ok(SetName { namespace, name: Glob::new(name) })
}

fn domain_glob(text: &str) -> Result<Glob, String> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or(rest);
        return Err(format!("{text:?} is a URL; write the DNS name alone: {host}"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    glob(text, "DNS", good)?;
    Ok(Glob::new(&text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
}

fn glob(text: &str, what: &str, good: impl Fn(char) -> bool) -> Result<(), String> {
    match text.chars().find(|c| !good(*c) && !matches!(c, '*' | '?')) {
        _ if text.is_empty() => Err(format!("a {what} name is empty; write * for all")),
        Some(',') => Err(format!("{text:?} looks like several names; write a list: [{text}]")),
        Some('[' | ']' | '{' | '}' | '|' | '(' | ')') => {
            Err(format!("{text:?} has wildcards that are not known; known are * (any characters) and ? (one)"))
        }
        Some(c) => Err(format!("{text:?} is no {what} name: {c:?} cannot stand in one")),
        None => Ok(()),
    }
}

fn net(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Err(format!("\"{text}\" has no prefix length; write {}", IpNet::from(ip)));
    }
    let net: IpNet =
        text.parse().map_err(|_| format!("{text:?} is no address range; write it as 10.0.0.0/8 or 2001:db8::/32"))?;
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        return Err(format!("{text} is a range of IPv4; write {v4}/{}", v6.prefix_len() - 96));
    }
    if net.addr() != net.network() {
        let one = IpNet::from(net.addr());
        return Err(format!(
            "{text} has bits set behind its prefix; write {}, or {one} for the one address",
            net.trunc()
        ));
    }
    Ok(net)
}

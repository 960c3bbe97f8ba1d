//! Checks of what the policy compiler will read: rules, matrix, exceptions. Nothing of it touches classification.

use std::collections::HashSet;

use super::check::{ANY_ZONE, Check, namespace_glob};
use crate::model::event::UNKNOWN_ZONE;
use crate::yaml::{Node, child, index, nearest};

pub(super) fn check(check: &mut Check<'_>) {
    let document = check.document;
    let zones: Vec<&str> = document
        .node("zones")
        .map_or(&[][..], Node::items)
        .iter()
        .filter_map(|zone| zone.get("name")?.as_text())
        .collect();
    let mut ids = HashSet::new();
    for (i, node) in document.node("rules").map_or(&[][..], Node::items).iter().enumerate() {
        rule(check, &index("rules", i), node, &zones, &mut ids);
    }
    for row in document.node("matrix").map_or(&[][..], Node::entries) {
        let path = child("matrix", &row.key);
        zone_name(check, &path, &row.key, &zones);
        for cell in row.node.entries() {
            zone_name(check, &child(&path, &cell.key), &cell.key, &zones);
        }
    }
    check.each("exceptions.namespaces", namespace_glob);
}

fn rule<'d>(check: &mut Check<'d>, path: &str, node: &'d Node, zones: &[&str], ids: &mut HashSet<&'d str>) {
    if let Some(id) = node.get("id").and_then(Node::as_text)
        && !ids.insert(id)
    {
        check.error(
            &child(path, "id"),
            format!("the rule id \"{id}\" is used twice; ids name rules, so choose another"),
        );
    }
    for key in ["from", "to"] {
        for (path, name) in check.texts(&child(path, key)) {
            zone_name(check, &path, name, zones);
        }
    }
    check.each(&child(path, "ports"), port);
    if let Some(date) = node.get("expires").and_then(Node::as_text)
        && date.parse::<jiff::civil::Date>().is_err()
    {
        check.error(&child(path, "expires"), format!("{date:?} is no date; write it as 2027-03-31"));
    }
}

fn zone_name(check: &mut Check<'_>, path: &str, name: &str, zones: &[&str]) {
    if zones.contains(&name) || name == ANY_ZONE || name == UNKNOWN_ZONE {
        return;
    }
    let message = match nearest(name, zones.iter().copied()) {
        Some(near) => format!("there is no zone \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no zone \"{name}\"; known are {}, any, unknown", zones.join(", ")),
    };
    check.error(path, message);
}

/// `tcp/8443`, `udp/5000-5100`, `icmp`.
fn port(text: &str) -> Result<(), String> {
    let bad = || Err(format!("{text:?} is no port; write tcp/8443, udp/5000-5100, icmp"));
    let (protocol, ports) = match text.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(ports)),
        None => (text, None),
    };
    let Some(protocol) = crate::model::net::Protocol::parse(protocol) else { return bad() };
    let Some(ports) = ports else { return Ok(()) };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        _ if !protocol.has_ports() => Err(format!("{text:?}: this protocol has no ports; write it alone")),
        (Ok(first), Ok(last)) if first <= last => Ok(()),
        (Ok(first), Ok(last)) => Err(format!("{text:?} runs backwards; write {last}-{first}")),
        _ => bad(),
    }
}

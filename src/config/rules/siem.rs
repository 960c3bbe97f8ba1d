//! Rules of `sinks.siem[]`.

use super::{Findings, SECOND, TEN_MINUTES, certificate_pair, repeated};
use crate::config::rooms;
use crate::config::scalar::{Size, Span};
use crate::config::shape::{ClassRule, Format, Header, Look, Siem, SiemTls, Verdicts, WhenExceeded};
use crate::config::url::{SiemUrl, Transport};
use crate::encode::leef;
use crate::encode::record::{MAX_DEVICE, MAX_RULES};
use crate::encode::structured_data::DOCUMENTATION_ID;

/// The name becomes part of a file name and of metric labels.
const LONGEST_NAME: usize = 64;
/// Receivers behind the first one. Each is a label of a metric, and a round of tries takes up to a timeout for each.
const MOST_FAILOVER: usize = 7;

pub(super) fn judge(receivers: &[Siem], found: &mut Findings) {
    for (index, siem) in receivers.iter().enumerate() {
        receiver(&format!("sinks.siem[{index}]"), siem, found);
    }
    for (index, first) in repeated(receivers.iter().map(|siem| siem.name.as_str())) {
        found.error(
            format!("sinks.siem[{index}].name"),
            format!("the name {:?} is taken by sinks.siem[{first}]; give each receiver its own", receivers[index].name),
        );
    }
}

fn receiver(at: &str, siem: &Siem, found: &mut Findings) {
    name(&format!("{at}.name"), &siem.name, found);
    match &siem.url {
        None => found.error(format!("{at}.url"), "no receiver is given; write url: tls://HOST:6514"),
        Some(url) => receivers(at, siem, url, found),
    }
    if let Some(url) = &siem.url {
        super::splunk::judge(at, siem, url, found);
    }
    tls(&format!("{at}.tls"), &siem.tls, found);
    record(at, siem, found);
    kinds(at, siem, found);
    found.span(format!("{at}.replay.age"), siem.replay.age, Span::seconds(0), TEN_MINUTES);
    found.span(format!("{at}.timeout"), siem.timeout, SECOND, TEN_MINUTES);
    if siem.failback != Span::seconds(0) {
        found.span(format!("{at}.failback"), siem.failback, SECOND, Span::seconds(3600));
    }
    rates(at, siem, found);
    if siem.heartbeat != Span::seconds(0) {
        found.span(format!("{at}.heartbeat"), siem.heartbeat, Span::seconds(10), Span::seconds(3600));
    }
    if siem.reconnect != Span::seconds(0) {
        found.span(format!("{at}.reconnect"), siem.reconnect, Span::seconds(10), Span::seconds(24 * 3600));
    }
}

fn rates(at: &str, siem: &Siem, found: &mut Findings) {
    const HOUR: Span = Span::seconds(3600);
    const MOST_KEYS: u32 = 1_000_000;
    let mut number = |key: &str, number: u32, most: u32| {
        if !(1..=most).contains(&number) {
            found.error(format!("{at}.{key}"), format!("{number} is out of range; write 1 to {most}"));
        }
    };
    number("sample.allow", siem.sample.allow, 1_000_000);
    if let Some(eps) = &siem.eps {
        number("eps.limit", eps.limit, 1_000_000);
    }
    if let Some(aggregate) = &siem.aggregate {
        number("aggregate.max_keys", aggregate.max_keys, MOST_KEYS);
    }
    if let Some(limit) = &siem.limit {
        number("limit.per_key", limit.per_key, 1_000_000_000);
        number("limit.max_keys", limit.max_keys, MOST_KEYS);
        found.span(format!("{at}.limit.window"), limit.window, SECOND, HOUR);
    }
    if let Some(aggregate) = &siem.aggregate {
        found.span(format!("{at}.aggregate.window"), aggregate.window, SECOND, HOUR);
        found.span(format!("{at}.aggregate.grace"), aggregate.grace, Span::seconds(0), TEN_MINUTES);
        if siem.eps.as_ref().is_some_and(|eps| eps.when_exceeded == WhenExceeded::SuppressAllowed) {
            found.error(
                format!("{at}.eps.when_exceeded"),
                "suppress-allowed decides about flows, and aggregate makes one record of many; write delay, or remove aggregate",
            );
        }
    }
}

fn record(at: &str, siem: &Siem, found: &mut Findings) {
    let least = Size(rooms::record(siem).format.min_record() as u64);
    found.size(format!("{at}.max_record"), siem.max_record, least, Size::kib(64));
    for (key, name) in [("device_vendor", &siem.device_vendor), ("device_product", &siem.device_product)] {
        if name.trim().is_empty() || name.len() > MAX_DEVICE || name.chars().any(char::is_control) {
            found.error(
                format!("{at}.{key}"),
                format!("write a name of 1 to {MAX_DEVICE} octets without control characters"),
            );
        }
    }
    if rooms::delimiter(&siem.leef_delimiter).is_none() {
        found.error(
            format!("{at}.leef_delimiter"),
            format!("{:?} cannot stand between keys; write tab, or one of {}", siem.leef_delimiter, leef::DELIMITERS),
        );
    }
    if siem.format != Format::StructuredData {
        return;
    }
    if siem.header != Header::Rfc5424 {
        found.error(
            format!("{at}.header"),
            "structured data stands in the RFC 5424 header only; write header: rfc5424, or another format",
        );
    }
    if siem.enterprise_id == DOCUMENTATION_ID {
        found.warning(
            format!("{at}.enterprise_id"),
            "32473 is reserved for documentation; write your own number (IANA gives one to whoever asks)",
        );
    }
}

fn kinds(at: &str, siem: &Siem, found: &mut Findings) {
    let Verdicts { allow, deny, deny_staged, unknown } = &siem.verdicts;
    for (verdict, kind) in [("allow", allow), ("deny", deny), ("deny_staged", deny_staged), ("unknown", unknown)] {
        look(&format!("{at}.verdicts.{verdict}"), kind, found);
    }
    if siem.classes.len() > MAX_RULES {
        let most = MAX_RULES;
        found.error(
            format!("{at}.classes"),
            format!("there are too many rules; write at most {most}, or join some by or"),
        );
    }
    let is_open = |rule: &ClassRule| rule.when.is_none() && [&rule.from, &rule.to].iter().all(|zone| takes_any(zone));
    for (index, rule) in siem.classes.iter().enumerate() {
        let at = format!("{at}.classes[{index}]");
        look(&at, &rule.look(), found);
        match (rule.drop, rule.look() == Look::default()) {
            (false, true) => {
                found.error(
                    &at,
                    "the rule changes nothing; write drop: true, or one of class, name, severity, syslog_severity",
                );
            }
            (true, false) => found.error(&at, "what is dropped has no class and no severity; keep drop, or them"),
            _ => {}
        }
        if is_open(rule) && index + 1 < siem.classes.len() {
            found.warning(
                &at,
                "it takes every flow, so no rule behind it is ever asked; put it last, or write from, to or when",
            );
        }
    }
}

fn takes_any(zone: &Option<String>) -> bool {
    zone.as_deref().is_none_or(ClassRule::is_any_zone)
}

/// Receivers route by the class, and write it into fields of their own.
fn look(at: &str, look: &Look, found: &mut Findings) {
    const LONGEST_CLASS: usize = 63;
    const LONGEST_KIND: usize = 128;
    let safe = |c: char| c.is_ascii_alphanumeric() || ":._-".contains(c);
    let class = look.class.as_deref().unwrap_or("flow");
    if class.is_empty() || class.len() > LONGEST_CLASS || !class.chars().all(safe) {
        found.error(
            format!("{at}.class"),
            format!("{class:?} is no class; write up to {LONGEST_CLASS} letters, digits, : . _ and -, as in flow:deny"),
        );
    }
    let name = look.name.as_deref().unwrap_or("flow");
    if name.trim().is_empty() || name.chars().count() > LONGEST_KIND || name.chars().any(char::is_control) {
        found.error(format!("{at}.name"), format!("write a name of 1 to {LONGEST_KIND} characters on one line"));
    }
}

fn name(at: &str, name: &str, found: &mut Findings) {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if name.is_empty() {
        found.error(at, "no name is given; write name: soc (it names the lane and its checkpoint)");
    } else if name.len() > LONGEST_NAME || !name.chars().all(safe) || name.starts_with(['.', '-']) {
        found.error(
            at,
            format!(
                "{name:?} cannot be part of a file name; write up to {LONGEST_NAME} lower-case letters, digits, . _ and -, \
                 beginning with a letter or digit"
            ),
        );
    }
}

fn receivers(at: &str, siem: &Siem, first: &SiemUrl, found: &mut Findings) {
    let all: Vec<&SiemUrl> = std::iter::once(first).chain(&siem.failover).collect();
    let any = |is: fn(Transport) -> bool| all.iter().any(|url| is(url.transport));
    let scheme = first.transport.scheme();
    if siem.framing.is_some() && !any(Transport::needs_framing) && !first.transport.is_splunk() {
        let why =
            if any(Transport::is_datagram) { "sends datagrams, which need no framing" } else { "has its own framing" };
        found.error(format!("{at}.framing"), format!("{scheme}:// {why}; remove it"));
    }
    if siem.tls != SiemTls::default() && !any(Transport::is_tls) {
        found.error(
            format!("{at}.tls"),
            format!("{scheme}:// speaks no TLS; write {} in url, or remove tls", tls_schemes(first.transport)),
        );
    }
    if siem.failover.len() > MOST_FAILOVER {
        found.error(format!("{at}.failover"), format!("there are too many; write at most {MOST_FAILOVER}"));
    }
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    for (index, earlier) in repeated(texts.iter().map(String::as_str)) {
        let earlier = if earlier == 0 { format!("{at}.url") } else { format!("{at}.failover[{}]", earlier - 1) };
        found.error(format!("{at}.failover[{}]", index - 1), format!("it stands in {earlier} already; remove one"));
    }
    // Its end is not noticed, so the next one's turn never comes.
    if let Some(index) = all.iter().position(|url| url.transport.is_datagram()).filter(|index| index + 1 < all.len()) {
        found.warning(
            format!("{at}.failover"),
            format!("{} tells nothing of its end, so what stands behind it is seldom tried; put it last", all[index]),
        );
    }
}

fn tls_schemes(transport: Transport) -> &'static str {
    if transport.is_splunk() { "splunk+https://" } else { "tls:// or relp+tls://" }
}

fn tls(at: &str, tls: &SiemTls, found: &mut Findings) {
    certificate_pair(at, tls.certificate_file.is_some(), tls.key_file.is_some(), found);
    for (index, fingerprint) in tls.fingerprints.iter().enumerate() {
        if !is_fingerprint(fingerprint) {
            found.error(
                format!("{at}.fingerprints[{index}]"),
                "this is no fingerprint; write sha-256: and 32 bytes in hex with colons, as in \"sha-256:1F:A0:…\"",
            );
        }
    }
    if !tls.fingerprints.is_empty() && (tls.ca_file.is_some() || tls.server_name.is_some()) {
        found.warning(
            format!("{at}.fingerprints"),
            "they stand instead of CA and name: ca_file and server_name are not used",
        );
    }
}

/// RFC 5425 §4.2.2: SHA-256, and SHA-1 for old receivers.
fn is_fingerprint(text: &str) -> bool {
    let octet = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    [("sha-256:", 32), ("sha-1:", 20)].iter().any(|(kind, octets)| {
        text.strip_prefix(kind).is_some_and(|hex| hex.split(':').count() == *octets && hex.split(':').all(octet))
    })
}

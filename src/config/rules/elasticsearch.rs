//! Rules of `sinks.elasticsearch`.

use super::{Findings, SECOND, TEN_MINUTES, certificate_pair, repeated};
use crate::config::scalar::{Size, Span, quoted};
use crate::config::shape::{Auth, Elasticsearch, Setup, Tls};
use crate::config::url::HttpUrl;

const AT: &str = "sinks.elasticsearch";

pub(super) fn judge(elasticsearch: &Elasticsearch, found: &mut Findings) {
    let at = |key: &str| format!("{AT}.{key}");
    hosts(&elasticsearch.hosts, found);
    namespace(&elasticsearch.namespace, found);
    if let Some(auth) = &elasticsearch.auth {
        self::auth(auth, found);
    }
    tls(elasticsearch, found);
    let batch = &elasticsearch.batch;
    found.size(at("batch.bytes"), batch.bytes, Size::kib(64), Size::mib(32));
    found.span(at("batch.age"), batch.age, Span(std::time::Duration::from_millis(10)), Span::seconds(60));
    if elasticsearch.in_flight < batch.bytes {
        let message = format!(
            "{} is less than one batch (batch.bytes is {}); write at least that",
            elasticsearch.in_flight, batch.bytes
        );
        found.error(at("in_flight"), message);
    }
    found.span(at("timeout"), elasticsearch.timeout, SECOND, TEN_MINUTES);
    found.size(at("dead_letter.max_size"), elasticsearch.dead_letter.max_size, Size::mib(1), Size::mib(1 << 20));
    setup(&elasticsearch.setup, found);
}

const HOUR: Span = Span::seconds(3_600);
const DAY: Span = Span::seconds(86_400);
const TEN_YEARS: Span = Span::seconds(3_650 * 86_400);

fn setup(setup: &Setup, found: &mut Findings) {
    let at = |key: &str| format!("{AT}.setup.{key}");
    found.span(at("retention"), setup.retention, HOUR, TEN_YEARS);
    if let Some(history) = setup.history {
        found.span(at("history"), history, DAY, TEN_YEARS);
    }
    let mut before = None;
    for (key, age) in [
        ("warm", setup.warm),
        ("cold", setup.cold),
        ("frozen.after", setup.frozen.as_ref().map(|frozen| frozen.after)),
        ("retention", Some(setup.retention)),
    ] {
        let Some(age) = age else { continue };
        if let Some((earlier, least)) = before.filter(|(_, least)| *least >= age) {
            found.error(
                at(key),
                format!("{age} is not later than {earlier} ({least}); ages rise: warm, cold, frozen, retention"),
            );
        }
        before = Some((key, age));
    }
    if setup.frozen.as_ref().is_some_and(|frozen| frozen.repository.trim().is_empty()) {
        found.error(at("frozen.repository"), "no snapshot repository is named; write the name of one that exists");
    }
}

fn hosts(hosts: &[HttpUrl], found: &mut Findings) {
    let at = format!("{AT}.hosts");
    if hosts.is_empty() {
        found.error(&at, "no host is given; write hosts: [https://HOST:9200]");
    }
    for (index, first) in repeated(hosts.iter().map(HttpUrl::as_str)) {
        found.error(format!("{at}[{index}]"), format!("the host stands in {at}[{first}] already; keep one"));
    }
}

/// Less than Elasticsearch allows in the namespace part of a data stream's name: what needs no escape anywhere.
fn namespace(namespace: &str, found: &mut Findings) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    if namespace.is_empty() || namespace.len() > 100 || !namespace.chars().all(allowed) {
        let message =
            format!("{} is no namespace; write lower-case letters, digits, _ and ., at most 100", quoted(namespace));
        found.error(format!("{AT}.namespace"), message);
    }
}

fn auth(auth: &Auth, found: &mut Findings) {
    let at = format!("{AT}.auth");
    let given =
        usize::from(auth.api_key.is_some()) + usize::from(auth.basic.is_some()) + usize::from(auth.bearer.is_some());
    if given != 1 {
        let what = if given == 0 { "nothing is given" } else { "more than one is given" };
        found.error(&at, format!("{what}; write one of api_key, basic and bearer"));
    }
    if let Some(basic) = &auth.basic {
        if basic.username.is_empty() {
            found.error(format!("{at}.basic.username"), "no user is given; write username: NAME");
        }
        if basic.password.is_none() {
            found.error(
                format!("{at}.basic.password"),
                "no password is given; write password: {file: PATH} or {env: NAME}",
            );
        }
    }
}

fn tls(elasticsearch: &Elasticsearch, found: &mut Findings) {
    let tls = &elasticsearch.tls;
    certificate_pair(&format!("{AT}.tls"), tls.certificate_file.is_some(), tls.key_file.is_some(), found);
    let plain: Vec<_> = elasticsearch.hosts.iter().enumerate().filter(|(_, host)| !host.is_tls()).collect();
    if *tls != Tls::default() && !plain.is_empty() && plain.len() == elasticsearch.hosts.len() {
        found.error(format!("{AT}.tls"), "no host speaks TLS; write https:// in hosts, or remove tls");
    }
    if elasticsearch.auth.is_some() {
        for (index, host) in plain {
            let message = format!("credentials go to {host} unencrypted; write https://");
            found.warning(format!("{AT}.hosts[{index}]"), message);
        }
    }
}

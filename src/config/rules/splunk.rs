//! Rules of `sinks.siem[].splunk`, and of what stands beside it.

use super::Findings;
use crate::config::scalar::{Size, Span};
use crate::config::shape::{Profile, Siem, Splunk, SplunkFormat};
use crate::config::url::{SiemUrl, Transport};

const HOUR: Span = Span(std::time::Duration::from_secs(3600));

/// A destination speaks syslog or HTTP, and each has keys that mean nothing to the other.
pub(super) fn judge(at: &str, siem: &Siem, first: &SiemUrl, found: &mut Findings) {
    let scheme = first.transport.scheme();
    for (index, other) in siem.failover.iter().enumerate() {
        if other.transport.is_splunk() != first.transport.is_splunk() {
            let message = format!(
                "{}:// beside {scheme}://: one destination is either a HTTP Event Collector or speaks syslog; \
                 make it a destination of its own",
                other.transport.scheme()
            );
            found.error(format!("{at}.failover[{index}]"), message);
        }
    }
    let speaks_http = siem.profile == Profile::SplunkHec;
    if siem.profile != Profile::Generic && speaks_http != first.transport.is_splunk() {
        found.error(
            format!("{at}.profile"),
            "splunk-hec is for splunk+https://HOST:8088, and the other profiles are for syslog; change the url or remove profile",
        );
    }
    match (&siem.splunk, first.transport.is_splunk()) {
        (splunk, true) => collector(at, siem, splunk.as_ref(), first, found),
        (Some(_), false) => found.error(
            format!("{at}.splunk"),
            format!("{scheme}:// speaks syslog; write splunk+https://HOST:8088 in url, or remove splunk"),
        ),
        (None, false) => {}
    }
}

fn collector(at: &str, siem: &Siem, splunk: Option<&Splunk>, url: &SiemUrl, found: &mut Findings) {
    let scheme = url.transport.scheme();
    let usual = Siem::default();
    let syslog = [
        ("header", siem.header != usual.header),
        ("framing", siem.framing.is_some()),
        ("facility", siem.facility != usual.facility),
        ("replay", siem.replay != usual.replay),
        ("reconnect", siem.reconnect != usual.reconnect),
    ];
    for (key, _) in syslog.iter().filter(|(_, set)| *set) {
        found.error(format!("{at}.{key}"), format!("{scheme}:// sends no syslog, so this means nothing; remove it"));
    }
    if url.transport == Transport::SplunkHttp {
        found.warning(format!("{at}.url"), "the token goes there unencrypted; write splunk+https://");
    }
    let Some(splunk) = splunk.filter(|splunk| splunk.token.is_some()) else {
        let message = "no token is given; write splunk: {token: {file: /etc/tidegate/siem/hec-token}}";
        found.error(format!("{at}.splunk"), message);
        return;
    };
    let records = [
        ("ipv6", siem.ipv6 != usual.ipv6),
        ("bytes", siem.bytes != usual.bytes),
        ("max_record", siem.max_record != usual.max_record),
    ];
    for (key, _) in records.iter().filter(|(_, set)| *set && splunk.format != SplunkFormat::Cef) {
        found.error(
            format!("{at}.{key}"),
            "it shapes CEF records, and these events are ECS documents; remove it, or write splunk.format: cef",
        );
    }
    settings(&format!("{at}.splunk"), splunk, found);
}

fn settings(at: &str, splunk: &Splunk, found: &mut Findings) {
    if let Some(index) = &splunk.index
        && !is_index(index)
    {
        found.error(
            format!("{at}.index"),
            format!("{index:?} cannot be an index; write lower-case letters, digits, _ and -, beginning with a letter or digit"),
        );
    }
    let texts = [("source", Some(&splunk.source)), ("sourcetype", splunk.sourcetype.as_ref())];
    for (key, text) in texts {
        if text.is_some_and(|text| text.trim().is_empty() || text.len() > 255 || text.chars().any(char::is_control)) {
            found.error(format!("{at}.{key}"), "write 1 to 255 bytes without control characters");
        }
    }
    found.span(format!("{at}.ack_timeout"), splunk.ack_timeout, Span::seconds(5), HOUR);
    let batch = &splunk.batch;
    found.size(format!("{at}.batch.bytes"), batch.bytes, Size::kib(16), Size::mib(32));
    found.span(format!("{at}.batch.age"), batch.age, Span(std::time::Duration::from_millis(10)), Span::seconds(60));
    if splunk.in_flight < batch.bytes {
        let message =
            format!("{} is less than batch.bytes ({}); write at least that much", splunk.in_flight, batch.bytes);
        found.error(format!("{at}.in_flight"), message);
    }
    found.size(format!("{at}.dead_letter.max_size"), splunk.dead_letter.max_size, Size::mib(1), Size::mib(1 << 20));
}

/// Splunk's rule for names of indexes.
fn is_index(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    !name.is_empty() && name.len() <= 255 && !name.starts_with(['_', '-']) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_names() {
        for (name, valid) in
            [("main", true), ("net-fw_1", true), ("", false), ("_internal", false), ("Main", false), ("a b", false)]
        {
            assert_eq!(is_index(name), valid, "{name:?}");
        }
    }
}

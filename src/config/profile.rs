//! What a profile of a SIEM receiver stands for: values for keys that nobody set.
//!
//! deploy/docs/siem/ has a page for each with the reasons, and a test holds pages and table together.

use serde_json::{Value, json};

use super::url::SiemUrl;

/// Keys and values of a profile. The framing goes only where a receiver wants one.
pub fn presets(profile: &str) -> Vec<(&'static str, Value)> {
    match profile {
        // Syslog daemon connectors read lines, and CEF behind the host without a tag.
        "arcsight" => vec![
            ("format", json!("cef")),
            ("header", json!("rfc3164")),
            ("framing", json!("lf")),
            ("ipv6", json!("c6a")),
            ("bytes", json!("spec")),
        ],
        // CommonSecurityLog: out becomes SentBytes, src SourceIP; a facility of its own keeps CEF out of the Syslog table.
        "sentinel" => vec![
            ("format", json!("cef")),
            ("header", json!("rfc3164")),
            ("framing", json!("lf")),
            ("facility", json!("local4")),
            ("ipv6", json!("native")),
            ("bytes", json!("session")),
        ],
        // QRadar cuts longer payloads over TCP.
        "qradar" => vec![
            ("format", json!("leef")),
            ("header", json!("rfc3164")),
            ("framing", json!("lf")),
            ("max_record", json!("4KiB")),
        ],
        "splunk-sc4s" => vec![
            ("format", json!("cef")),
            ("header", json!("rfc5424")),
            ("framing", json!("octet-counting")),
            ("ipv6", json!("native")),
            ("bytes", json!("session")),
        ],
        // decode_cef: in becomes source.bytes; it does not know c6a2.
        "elastic" => vec![
            ("format", json!("cef")),
            ("header", json!("rfc5424")),
            ("framing", json!("lf")),
            ("ipv6", json!("native")),
            ("bytes", json!("spec")),
        ],
        // mmjsonparse looks for the cookie.
        "rsyslog" => vec![
            ("format", json!("ecs-json")),
            ("cee_cookie", json!(true)),
            ("header", json!("rfc5424")),
            ("framing", json!("octet-counting")),
        ],
        _ => Vec::new(),
    }
}

/// Puts the profile's values into the tree wherever a receiver names one and leaves a key out. Returns each path that was
/// set, with the profile's name.
pub(super) fn apply(tree: &mut Value) -> Vec<(String, String)> {
    let mut set = Vec::new();
    let receivers = tree.pointer_mut("/sinks/siem").and_then(Value::as_array_mut);
    for (index, receiver) in receivers.into_iter().flatten().enumerate() {
        let Some(profile) = receiver["profile"].as_str().map(str::to_owned) else { continue };
        let framed = wants_framing(receiver);
        for (key, value) in presets(&profile) {
            if receiver[key].is_null() && (key != "framing" || framed) {
                receiver[key] = value;
                set.push((format!("sinks.siem[{index}].{key}"), profile.clone()));
            }
        }
    }
    set
}

fn wants_framing(receiver: &Value) -> bool {
    let failover = receiver["failover"].as_array().into_iter().flatten();
    let urls = failover.chain([&receiver["url"]]).filter_map(Value::as_str);
    urls.filter_map(|url| url.parse::<SiemUrl>().ok()).any(|url| url.transport.needs_framing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mut receiver: Value, expected: &Value) {
        let mut tree = json!({"sinks": {"siem": [receiver.take()]}});
        apply(&mut tree);
        assert_eq!(tree["sinks"]["siem"][0], *expected);
    }

    #[test]
    fn a_profile_fills_what_nobody_set() {
        check(
            json!({"url": "tls://h", "profile": "qradar", "header": "rfc5424"}),
            &json!({"url": "tls://h", "profile": "qradar", "header": "rfc5424", "format": "leef", "framing": "lf", "max_record": "4KiB"}),
        );
        check(
            json!({"url": "udp://h", "profile": "qradar", "format": "cef"}),
            &json!({"url": "udp://h", "profile": "qradar", "format": "cef", "header": "rfc3164", "max_record": "4KiB"}),
        );
        check(json!({"url": "udp://h", "profile": "generic"}), &json!({"url": "udp://h", "profile": "generic"}));
        check(json!({"url": "udp://h", "profile": "siem"}), &json!({"url": "udp://h", "profile": "siem"}));
        check(json!({"url": "udp://h"}), &json!({"url": "udp://h"}));
    }
}

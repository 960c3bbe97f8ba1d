//! The dynamic templates that Elasticsearch's built-in templates bring (`ecs@mappings`) guess a type from a field's name.
//! Each guess that would have cost us a document is here, with the document: refused or mistyped by such a guess, taken by
//! our mapping as it is.

use reqwest::Method;
use serde_json::{Value, json};

use super::corpus::all_taken;
use super::{Peer, beside_others, convert, ignored, line, mapping, stream};
use crate::support::servers::Server;

super::on_all!(no_name_costs_a_document, a_closed_root_stays_closed);

/// What a guess makes of the document.
enum Fate {
    Refused,
    /// Taken, this field with this type.
    Typed(&'static str, &'static str),
    /// Taken, its value not searchable.
    Ignored,
}
use Fate::{Ignored, Refused, Typed};

/// Members of a flow-log line that this version does not know.
fn traps() -> Vec<(Value, Fate)> {
    vec![
        (json!({"peer_ip": "gateway-a"}), Refused),
        (json!({"peer": {"ip": "gateway-a"}}), Refused),
        (json!({"rack": {"location": "us-east-1a"}}), Refused),
        // Seconds, read as milliseconds: January 1970.
        (json!({"window": {"start": 1_767_225_600}}), Typed("window.start", "date")),
        (json!({"boot_timestamp": 1_767_225_600}), Typed("boot_timestamp", "date")),
        (json!({"risk_score": "high"}), Refused),
        (json!({"pod": {"name": "a"}}), Typed("pod.name.text", "text")),
        (json!({"policy": {"message": "a"}}), Typed("policy.message", "text")),
        (json!({"exports": "none"}), Refused),
        (json!({"comment": "x".repeat(2_000)}), Ignored),
    ]
}

/// The guesses, in our own words, for strings unless said otherwise. What the small server lacks is left out
/// (`match_only_text` is `text`).
fn guesses() -> Value {
    let guess = |patterns: Value, mapping: Value| json!({"x": {"path_match": patterns, "mapping": mapping}});
    let keyword = json!({"type": "keyword", "ignore_above": 1024, "fields": {"text": {"type": "text"}}});
    json!({"mappings": {"date_detection": false, "dynamic_templates": [
        guess(json!(["ip", "*.ip", "*_ip"]), json!({"type": "ip"})),
        guess(json!(["location", "*.location"]), json!({"type": "geo_point"})),
        guess(json!(["*_timestamp", "*.start", "*.end"]), json!({"type": "date"})),
        guess(json!(["*_score*"]), json!({"type": "float"})),
        guess(json!(["name", "*.name"]), keyword),
        guess(json!(["message", "*.message"]), json!({"type": "text"})),
        guess(json!(["*exports"]), json!({"type": "flattened"})),
        {"x": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}},
    ]}})
}

fn no_name_costs_a_document(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    // The guesses are Elasticsearch's, so they are tried there.
    if peer.is_elasticsearch() {
        for (number, (members, fate)) in traps().iter().enumerate() {
            guessed(server, &format!("tidegate-trap-{}-{number}", std::process::id()), members, fate);
        }
        labels_as_fields(server);
    }
    let ours = stream("traps");
    all_taken(&server.bulk(&ours, &convert(&[line(&json!({}))])));
    let before = mapping(server, &ours);
    let lines: Vec<String> = traps().iter().map(|(members, _)| line(members)).collect();
    all_taken(&server.bulk(&ours, &convert(&lines)));
    assert_eq!((ignored(server, &ours), mapping(server, &ours)), (Vec::new(), before));
}

#[track_caller]
fn guessed(server: &Server, index: &str, document: &Value, fate: &Fate) {
    server.ok(Method::PUT, &format!("/{index}"), Some(&guesses()));
    let (status, answer) = server.call(Method::POST, &format!("/{index}/_doc?refresh=true"), Some(document));
    match fate {
        Refused => assert_eq!(status, 400, "{document}: {answer}"),
        Ignored => assert_eq!(ignored(server, index).len(), 1, "{document}"),
        Typed(field, kind) => {
            let caps = server.ok(Method::GET, &format!("/{index}/_field_caps?fields={field}"), None);
            assert!(caps["fields"][field][kind].is_object(), "{document}: {caps}");
        }
    }
    server.ok(Method::DELETE, &format!("/{index}"), None);
}

/// Why labels are one flattened field: as fields of their own, the second of these is refused.
fn labels_as_fields(server: &Server) {
    let index = format!("tidegate-trap-{}-labels", std::process::id());
    server.ok(Method::PUT, &format!("/{index}"), Some(&guesses()));
    let send = |document: Value| server.call(Method::POST, &format!("/{index}/_doc"), Some(&document)).0;
    assert_eq!(send(json!({"labels": {"app": "x"}})), 201);
    assert_eq!(send(json!({"labels": {"app.kubernetes.io/name": "x"}})), 400);
    server.ok(Method::DELETE, &format!("/{index}"), None);
}

/// A document from elsewhere, with fields that are in no table: they stay in the source and out of the mapping. A value that
/// does not fit costs the field its search, not the document.
fn a_closed_root_stays_closed(peer: Peer) {
    let Some(server) = peer.ready() else { return };
    let _guard = beside_others();
    let ours = stream("closed");
    all_taken(&server.bulk(&ours, &convert(&[line(&json!({}))])));
    let before = mapping(server, &ours);
    let document = json!({
        "@timestamp": "2026-01-01T00:00:00Z", "kubernetes": {"pod": {"name": "a"}}, "calico": {"new": {"ip": "x"}},
        "source": {"ip": "not-an-address", "port": "eighty", "pod": "a"}, "event": {"start": "yesterday"},
    });
    all_taken(&server.bulk(&ours, &[document.to_string()]));
    assert_eq!(mapping(server, &ours), before);
    let told = ignored(server, &ours);
    assert_eq!(told.len(), 1, "{told:?}");
    for field in ["source.ip", "source.port", "event.start"] {
        assert!(told[0].contains(field), "{field} in {told:?}");
    }
}

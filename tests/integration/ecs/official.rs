//! Every fixture's document against the official ECS field list: the npm package `@elastic/ecs`, fetched on first use.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate::encode::ecs::ECS_VERSION;

use super::{golden, in_repository};
use crate::support;

#[derive(Deserialize)]
struct Verdict {
    line: usize,
    faults: Vec<Fault>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Fault {
    rule: String,
    field: String,
    why: String,
}

/// The folder with the package, or why there is none. One fetch for all tests.
static PACKAGE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let output = Command::new(in_repository("tests/ecs/get-ecs")).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
});

/// What the validator says of each document; `None` when it cannot be had here.
fn validate(documents: &[String]) -> Option<Vec<Verdict>> {
    let folder = match &*PACKAGE {
        Ok(folder) => folder,
        Err(why) => {
            support::went_without("@elastic/ecs", why);
            return None;
        }
    };
    let spawned = Command::new("node")
        .arg(in_repository("tests/ecs/validate.mjs"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            support::went_without("node", &error.to_string());
            return None;
        }
    };
    // It reads everything before it writes anything, so this cannot block for good.
    child.stdin.take().expect("a pipe").write_all(documents.join("\n").as_bytes()).expect("the validator reads");
    let output = child.wait_with_output().expect("the validator ends");
    assert!(matches!(output.status.code(), Some(0 | 1)), "the validator broke: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let verdicts: Vec<Verdict> = text.lines().map(|line| serde_json::from_str(line).expect("a verdict")).collect();
    assert_eq!(verdicts.len(), documents.len(), "a verdict for each document");
    Some(verdicts)
}

#[test]
fn every_document_is_ecs() {
    let documents = golden::documents();
    assert!(documents.len() > 50, "only {} documents", documents.len());
    let texts: Vec<String> = documents.iter().map(|document| document.text.clone()).collect();
    let Some(verdicts) = validate(&texts) else { return };
    let faults: Vec<String> = verdicts
        .iter()
        .flat_map(|verdict| {
            let document = &documents[verdict.line - 1];
            verdict.faults.iter().map(move |fault| {
                format!("{}:{}: {} {}: {}", document.case, document.line, fault.rule, fault.field, fault.why)
            })
        })
        .collect();
    assert_eq!(faults, [""; 0]);
}

/// The smallest document without a fault.
fn sound() -> Value {
    json!({
        "@timestamp": "2020-08-11T17:19:43.000Z", "ecs": {"version": ECS_VERSION},
        "data_stream": {"type": "logs", "dataset": "calico.flow", "namespace": "default"},
        "event": {"kind": "event", "category": ["network"], "type": ["connection"], "dataset": "calico.flow",
            "start": "2020-08-11T17:14:43.000Z", "end": "2020-08-11T17:19:43.000Z", "duration": 300_000_000_000_u64,
            "created": "2020-08-11T17:19:44.000Z", "ingested": "2020-08-11T17:19:44.000Z"},
        "source": {"bytes": 1, "mac": "00-00-5E-00-53-23"}, "destination": {"bytes": 2},
        "network": {"bytes": 3, "transport": "tcp", "direction": "egress"},
        "calico": {"source": {"labels": {"app.kubernetes.io/Name": "x"}}},
    })
}

#[test]
fn the_validator_sees_each_kind_of_fault() {
    // (where, what is put there, the rule that must speak, of which field)
    let doctored = [
        ("/source/pod", json!("x"), "unknown", "source.pod"),
        ("/flow", json!("x"), "unknown", "flow"),
        ("/source/bytes", json!("1"), "type", "source.bytes"),
        ("/source/ip", json!("pub"), "type", "source.ip"),
        ("/event/start", json!(1_597_166_083), "type", "event.start"),
        ("/event/start", json!("2020-13-11T17:14:43Z"), "type", "event.start"),
        ("/event/type", json!("connection"), "array", "event.type"),
        ("/source/domain", json!(["a"]), "scalar", "source.domain"),
        ("/event/kind", json!("flow"), "value", "event.kind"),
        ("/event/outcome", json!("denied"), "value", "event.outcome"),
        ("/network/direction", json!("sideways"), "value", "network.direction"),
        ("/event/type", json!(["deletion"]), "category-type", "event.type"),
        ("/event/type", json!(["protocol"]), "protocol", "event.type"),
        ("/network/transport", json!("TCP"), "lower-case", "network.transport"),
        ("/source/mac", json!("00:00:5e:00:53:23"), "pattern", "source.mac"),
        ("/event/dataset", json!("calico.dns"), "data-stream", "event.dataset"),
        ("/data_stream/namespace", json!("a-b"), "data-stream", "data_stream.namespace"),
        ("/source.port", json!(80), "dotted-key", "source.port"),
        ("/calico/BytesIn", json!(1), "name", "calico.BytesIn"),
        ("/event/duration", json!(300), "duration", "event.duration"),
        ("/event/created", json!("2020-08-11T17:19:45.000Z"), "order", "event.ingested"),
        ("/network/bytes", json!(4), "sum", "network.bytes"),
        ("/tags", json!([]), "empty", "tags"),
        ("/host", json!(null), "null", "host"),
        ("/ecs/version", json!("8.11.0"), "version", "ecs.version"),
        ("/@timestamp", Value::Null, "null", "@timestamp"),
    ];
    let mut documents = vec![sound().to_string()];
    for (place, value, ..) in &doctored {
        let mut document = sound();
        let (parent, name) = place.rsplit_once('/').expect("a pointer");
        let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.insert(name.to_owned(), value.clone());
        documents.push(document.to_string());
    }
    let Some(verdicts) = validate(&documents) else { return };
    assert_eq!(verdicts[0].faults, []);
    for ((place, value, rule, field), verdict) in doctored.iter().zip(&verdicts[1..]) {
        let seen = verdict.faults.iter().any(|fault| fault.rule == *rule && fault.field == *field);
        assert!(seen, "{place} = {value} should break {rule} of {field}: {:?}", verdict.faults);
    }
}

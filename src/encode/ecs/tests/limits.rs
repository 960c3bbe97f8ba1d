//! What others made up: labels, unknown fields, lines that are no flows, and the limits that each has.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{READ_AT, encode_with, event, labels, look, origin, pods};
use crate::encode::ecs::{Config, Encoder, MAX_ERROR_MESSAGE, MAX_ORIGINAL};
use crate::model::{Body, Event, Flow, RawLine};

/// Changes the ordinary flow, looks at one part of its document and at how much was capped.
fn check_capped(change: impl FnOnce(&mut Flow<'static>), pointer: &str, expected: &Value, capped: u64) {
    let mut flow = pods();
    change(&mut flow);
    let mut encoder = Encoder::new(Config::default());
    let mut out = Vec::new();
    encoder.encode(&event(&flow, None), &mut out);
    let document: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document.pointer(pointer).unwrap_or(&Value::Null), expected);
    assert_eq!(encoder.capped(), capped);
}

#[test]
fn labels_are_an_object_without_conflicts() {
    let labels_of = |all: &[(&'static str, &'static str)]| {
        let all = labels(all);
        move |flow: &mut Flow<'static>| flow.source.labels = all
    };
    let at = "/calico/source/labels";
    check_capped(
        labels_of(&[("app", "a"), ("app.kubernetes.io/name", "b"), ("empty", "")]),
        at,
        &json!({"app": "a", "app.kubernetes.io/name": "b", "empty": ""}),
        0,
    );
    check_capped(
        labels_of(&[("app", "first"), ("x", "1"), ("app", "second")]),
        at,
        &json!({"app": "first", "x": "1"}),
        1,
    );
    check_capped(labels_of(&[("", "a"), (" ", "b"), ("nul\0", "c")]), at, &Value::Null, 3);
    let long: &'static str = "é".repeat(8191).leak();
    check_capped(labels_of(&[("long", long)]), at, &json!({"long": "é".repeat(4095)}), 1);
    check_capped(labels_of(&[(long, "x"), ("app", "a")]), at, &json!({"app": "a"}), 1);
    let many: Vec<_> = (0..300).map(|n| (&*format!("l{n}").leak(), "x")).collect();
    let expected: serde_json::Map<_, _> = (0..256).map(|n| (format!("l{n}"), json!("x"))).collect();
    check_capped(labels_of(&many), at, &Value::Object(expected), 44);
}

#[test]
fn unknown_fields_stay_what_a_flattened_field_takes() {
    let extra_of = |all: &[(&'static str, &'static str)]| {
        let all = labels(all);
        move |flow: &mut Flow<'static>| flow.extra = all
    };
    let at = "/calico/extra";
    let kept =
        [("n", "7"), ("s", r#""a\"b""#), ("t", "true"), ("o", r#"{"a": {"b": [1, {"c": null}]}, "e":{}, "l":[]}"#)];
    let expected = json!({"n": 7, "s": "a\"b", "t": true, "o": {"a": {"b": [1, {"c": null}]}, "e": {}, "l": []}});
    check_capped(extra_of(&kept), at, &expected, 0);
    check_capped(extra_of(&[("a", "null"), ("b", r#""-""#), ("c", r#""*""#)]), at, &Value::Null, 0);
    check_capped(extra_of(&[("a", "1"), ("a", "2"), ("", "3")]), at, &json!({"a": 1}), 2);
    for unfit in [r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#, r#"{"":1}"#, r#"{"a":{" ":1}}"#] {
        check_capped(extra_of(&[("x", unfit)]), at, &json!({"x": unfit}), 1);
    }
    let deep = |levels: usize| &*format!("{}1{}", "[".repeat(levels), "]".repeat(levels)).leak();
    check_capped(extra_of(&[("x", deep(17))]), at, &json!({"x": deep(17)}), 1);
    check_capped(extra_of(&[("x", deep(16))]), at, &json!({"x": serde_json::from_str::<Value>(deep(16)).unwrap()}), 0);
    check_capped(extra_of(&[("x", deep(5000))]), at, &json!({"x": &deep(5000)[..8191]}), 1);
    // Valid JSON, but a document with such a number could not be read back.
    for unfit in ["1e999", "[-1e999]"] {
        check_capped(extra_of(&[("x", unfit)]), at, &json!({"x": unfit}), 1);
    }
    let digits: &'static str = "1".repeat(2000).leak();
    check_capped(extra_of(&[("x", digits)]), at, &json!({"x": digits}), 1);
}

#[test]
fn lines_that_are_no_flows() {
    let raw = RawLine {
        original: Cow::Borrowed("not \"json\" \u{fffd}\n"),
        error_type: "not_json",
        error_message: "expected value at column 1".to_owned(),
    };
    let event = Event { origin: origin(Some(READ_AT)), body: Body::Raw(&raw), zones: None };
    let document = encode_with(Config::default(), &event);
    look(
        &document,
        &[
            ("/@timestamp", json!("2020-08-11T17:19:52.118Z")),
            ("/event/kind", json!("pipeline_error")),
            ("/event/category", Value::Null),
            ("/event/type", Value::Null),
            ("/event/outcome", Value::Null),
            ("/event/original", json!("not \"json\" \u{fffd}\n")),
            ("/event/id", json!(origin(None).id.as_str())),
            ("/error", json!({"type": "not_json", "message": "expected value at column 1"})),
            ("/host/name", json!("node-1")),
            ("/tags", json!(["calico", "forwarded"])),
            ("/calico", json!({"log": {"offset": 4096}})),
        ],
    );
    let long = RawLine { original: Cow::Owned("x".repeat(1 << 20)), error_message: "y".repeat(5000), ..raw };
    let mut encoder = Encoder::new(Config::default());
    let mut out = Vec::new();
    encoder.encode(&Event { body: Body::Raw(&long), ..event }, &mut out);
    assert!(out.len() < MAX_ORIGINAL + MAX_ERROR_MESSAGE + 2048, "{}", out.len());
    assert_eq!(encoder.capped(), 2);
}

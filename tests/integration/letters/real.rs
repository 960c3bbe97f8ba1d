//! Against a real Elasticsearch and a real OpenSearch.

use reqwest::Method;
use serde_json::json;
use tidegate::net::product::Kind;

use super::place::{Place, balance};
use crate::elastic::real::on_both;

fn namespace(name: &str, kind: Kind) -> String {
    let kind = if kind == Kind::OpenSearch { "os" } else { "es" };
    format!("{name}_{kind}_{}", std::process::id())
}

/// A mapping that does not fit refuses documents; mended, a replay delivers them and the dead letter is empty.
fn a_replay_after_mending_the_mapping_empties_the_dead_letter(kind: Kind) {
    let Some(server) = crate::elastic::real::ready(kind) else { return };
    let namespace = namespace("mended", kind);
    let stream = format!("logs-calico.flow-{namespace}");
    // Somebody's template, more special than ours: it has a number where we send an object.
    let template = format!("/_index_template/mended-{namespace}");
    let mapping = |kind: &str| {
        json!({"index_patterns": [stream], "priority": 1_000, "data_stream": {},
            "template": {"mappings": {"dynamic": false, "properties": {"@timestamp": {"type": "date"}, "source": {"type": kind}}}}})
    };
    server.ok(Method::PUT, &template, Some(&mapping("long")));
    let place = Place::new();
    place.configure(server.url(), |c| c["sinks"]["elasticsearch"]["namespace"] = json!(namespace));
    place.append("logs/flows.log", 0..120, 0);
    place.run("run", &["--once"]).expect_code(4);
    let summary = place.json("dead-letter", &[], 0);
    assert_eq!(summary["lanes"][0]["letters"], 120, "{summary}");
    let again = place.json("replay", &[], 4);
    assert_eq!((&again["refused"], &again["left"]), (&json!(120), &json!(0)));

    server.ok(Method::PUT, &template, Some(&mapping("object")));
    server.ok(Method::POST, &format!("/{stream}/_rollover"), None);
    let done = place.json("replay", &[], 0);
    assert_eq!((&done["delivered"], &done["duplicates"]), (&json!(120), &json!(0)), "{done}");
    assert!(place.letters("elasticsearch").is_empty());
    assert_eq!(server.count(&stream), 120);
    // The checkpoint lost, the live tail sends the same again: the same documents.
    std::fs::remove_file(place.path("state/elasticsearch.json")).unwrap();
    place.run("run", &["--once"]).expect_code(0);
    assert_eq!(server.count(&stream), 120);
    // The small Elasticsearch cannot delete the stream, and its template goes only with it.
    server.call(Method::DELETE, &format!("/_data_stream/{stream}"), None);
    server.call(Method::DELETE, &template, None);
}

/// A backfill of what an agent has sent adds no document; what it had not sent is added.
fn a_backfill_after_a_live_run_adds_only_what_was_missing(kind: Kind) {
    let Some(server) = crate::elastic::real::ready(kind) else { return };
    let namespace = namespace("backfill", kind);
    let stream = format!("logs-calico.flow-{namespace}");
    let place = Place::new();
    place.configure(server.url(), |c| c["sinks"]["elasticsearch"]["namespace"] = json!(namespace));
    place.append("logs/flows-1.log", 0..1_000, 0);
    place.append("logs/flows.log", 1_000..1_500, 0);
    place.run("run", &["--once"]).expect_code(0);
    assert_eq!(server.count(&stream), 1_500);
    place.compress("logs/flows-1.log", "logs/flows-1.log.gz");
    std::fs::remove_file(place.path("logs/flows-1.log")).unwrap();
    place.append("logs/flows-0.log", 2_000..2_300, 0);
    let summary = place.json("backfill", &[&place.text("logs")], 0);
    let lane = &summary["lanes"][0];
    balance(lane);
    assert_eq!((&lane["delivered"], &lane["duplicates"]), (&json!(1_800), &json!(1_500)), "{summary}");
    assert_eq!(server.count(&stream), 1_800);
}

on_both!(
    a_replay_after_mending_the_mapping_empties_the_dead_letter,
    a_backfill_after_a_live_run_adds_only_what_was_missing,
);

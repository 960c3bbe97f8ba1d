//! Every row of what bulk endpoints were seen to answer, and what it means.

use proptest::prelude::*;

use super::*;

const DS: &str = ".ds-logs-calico.flow-default-2026.11.23-000001";

/// One item as both products write it.
fn item(status: u16, index: &str, error: &str) -> String {
    let error = match error {
        "" => String::new(),
        kind => format!(r#","error":{{"type":"{kind}","reason":"because of {kind}"}}"#),
    };
    format!(r#"{{"create":{{"_index":"{index}","status":{status}{error}}}}}"#)
}

fn answer(items: &[String]) -> String {
    format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","))
}

fn of(items: &[String]) -> Verdict {
    judge(200, Body::Whole(answer(items).as_bytes()), items.len())
}

/// A word for one item's outcome, taken from a request that also holds a good document.
fn word(status: u16, index: &str, error: &str) -> &'static str {
    let Verdict::Items(items) = of(&[item(status, index, error), item(201, DS, "")]) else { return "request" };
    match items {
        Items { created: 2, .. } => "created",
        Items { duplicates: 1, .. } => "duplicate",
        Items { retry, .. } if retry == [0] => "retry",
        Items { hold, held: Some(held), .. } if hold == [0] => held.why.as_str(),
        Items { rejected, .. } if rejected.len() == 1 && rejected[0].0 == 0 => "rejected",
        _ => "?",
    }
}

#[test]
fn every_item_answer_has_its_meaning() {
    let rows = [
        (201, DS, "", "created"),
        (200, DS, "", "created"),
        (409, DS, "version_conflict_engine_exception", "duplicate"),
        // No template: a plain index took it, now or before.
        (201, "logs-calico.flow-default", "", "no_template"),
        (409, "logs-calico.flow-default", "version_conflict_engine_exception", "no_template"),
        (404, "logs-calico.flow-default", "index_not_found_exception", "no_template"),
        (400, "logs-calico.flow-default", "index_not_found_exception", "no_template"),
        (400, DS, "document_parsing_exception", "rejected"),
        (400, DS, "mapper_parsing_exception", "rejected"),
        (400, DS, "strict_dynamic_mapping_exception", "rejected"),
        (400, DS, "illegal_argument_exception", "rejected"),
        (413, DS, "anything", "rejected"),
        (429, DS, "es_rejected_execution_exception", "retry"),
        (429, DS, "rejected_execution_exception", "retry"),
        (429, DS, "circuit_breaking_exception", "retry"),
        (500, DS, "internal_error", "retry"),
        (503, DS, "no_shard_available_action_exception", "retry"),
        (408, DS, "timeout", "retry"),
        // Flood stage and too few copies: retried, but as slowly as a hold and with its message.
        (429, DS, "cluster_block_exception", "blocked"),
        (403, DS, "cluster_block_exception", "blocked"),
        (503, DS, "unavailable_shards_exception", "unavailable_shards"),
        (403, DS, "security_exception", "forbidden"),
        (400, DS, "security_exception", "forbidden"),
        (403, DS, "", "forbidden"),
        (401, DS, "", "unauthorized"),
        (404, DS, "", "no_template"),
        // Statuses that no item should have prove nothing.
        (302, DS, "", "retry"),
        (0, DS, "", "retry"),
    ];
    for (status, index, error, expected) in rows {
        assert_eq!(word(status, index, error), expected, "{status} {error} in {index}");
    }
}

#[test]
fn failure_store_counts_apart_and_is_no_missing_template() {
    let stored =
        r#"{"create":{"_index":".fs-logs-calico.flow-default-2026.11.23-000002","status":201,"failure_store":"used"}}"#;
    let Verdict::Items(items) = of(&[stored.to_owned(), item(201, DS, "")]) else { panic!("items") };
    assert_eq!((items.created, items.redirected, items.delivered()), (1, 1, 2));
    // Refused although there is one: refused.
    let failed = r#"{"create":{"_index":"x","status":400,"failure_store":"failed","error":{"type":"document_parsing_exception"}}}"#;
    let Verdict::Items(items) = of(&[failed.to_owned(), item(201, DS, "")]) else { panic!("items") };
    assert_eq!(items.rejected.len(), 1);
}

#[test]
fn positions_follow_the_request() {
    let rows = [
        item(429, DS, "es_rejected_execution_exception"),
        item(201, DS, ""),
        item(400, DS, "document_parsing_exception"),
        item(403, DS, "cluster_block_exception"),
        item(409, DS, "version_conflict_engine_exception"),
        item(500, DS, "x"),
        item(401, DS, ""),
    ];
    let Verdict::Items(items) = of(&rows) else { panic!("items") };
    assert_eq!(items.retry, [0, 5]);
    assert_eq!(items.hold, [3, 6]);
    assert_eq!(items.held.unwrap().why, Hold::Blocked, "the first one's reason");
    let (index, refusal) = &items.rejected[0];
    assert_eq!(*index, 2);
    assert_eq!((refusal.status, &*refusal.kind), (400, "document_parsing_exception"));
    assert_eq!(refusal.reason, "because of document_parsing_exception");
    assert_eq!(refusal.index.as_deref(), Some(DS));
    assert_eq!((items.created, items.duplicates), (1, 1));
}

#[test]
fn the_answer_tells_where_it_was_written() {
    const NEXT: &str = ".ds-logs-calico.flow-default-2026.11.24-000002";
    let rows = [
        item(201, DS, ""),
        item(409, DS, "version_conflict_engine_exception"),
        item(201, DS, ""),
        // It rolled over in the middle of the request.
        item(201, NEXT, ""),
        item(429, NEXT, "es_rejected_execution_exception"),
    ];
    let Verdict::Items(items) = of(&rows) else { panic!("items") };
    assert_eq!(items.created_in, [(DS.to_owned(), vec![0, 2]), (NEXT.to_owned(), vec![3])]);
    assert_eq!(items.write_index.as_deref(), Some(NEXT));
    // What was refused, or taken by the failure store, tells nothing of the write index.
    for other in [item(429, NEXT, "x"), item(201, ".fs-x", "").replace("201", r#"201,"failure_store":"used""#)] {
        let Verdict::Items(items) = of(&[item(201, DS, ""), other]) else { panic!("items") };
        assert_eq!(items.write_index.as_deref(), Some(DS));
    }
}

#[test]
fn only_429_proves_that_an_item_was_not_written() {
    let rows = [
        (429, "es_rejected_execution_exception", false),
        (429, "cluster_block_exception", false),
        (403, "cluster_block_exception", false),
        (404, "index_not_found_exception", false),
        (503, "unavailable_shards_exception", true),
        (503, "x", true),
        (500, "x", true),
        (408, "x", true),
    ];
    for (status, kind, unsure) in rows {
        let Verdict::Items(items) = of(&[item(status, DS, kind), item(201, DS, "")]) else { panic!("items") };
        assert_eq!(items.unsure, unsure, "{status} {kind}");
    }
}

#[test]
fn illegal_arguments_of_all_are_ours_of_some_the_documents() {
    let bad = item(400, DS, "illegal_argument_exception");
    let Verdict::Hold(held) = of(&[bad.clone(), bad.clone()]) else { panic!("hold") };
    assert_eq!(held.why, Hold::Misconfigured);
    assert!(matches!(of(&[bad.clone(), item(409, DS, "x")]), Verdict::Items(i) if i.rejected.len() == 1));
    assert!(matches!(of(&[bad]), Verdict::Lone(refusal) if refusal.kind == "illegal_argument_exception"));
}

/// A word for the verdict on a whole request.
fn request(status: u16, body: &str, sent: usize) -> String {
    match judge(status, Body::Whole(body.as_bytes()), sent) {
        Verdict::Items(_) => "items".into(),
        Verdict::Split => "split".into(),
        Verdict::Hold(held) => held.why.as_str().into(),
        Verdict::Uncertain(doubt) => format!("{doubt:?}"),
        Verdict::Refused(refusal) => format!("refused {}", refusal.kind),
        Verdict::Lone(_) => "lone".into(),
    }
}

fn error(kind: &str) -> String {
    format!(r#"{{"error":{{"root_cause":[],"type":"{kind}","reason":"r"}},"status":400}}"#)
}

#[test]
fn every_request_answer_has_its_meaning() {
    let html = "<html><body>busy</body></html>";
    let rows = [
        (413, String::new(), 2, "split"),
        (413, String::new(), 1, "refused content_too_long"),
        (401, error("security_exception"), 2, "unauthorized"),
        (401, "Unauthorized".into(), 2, "unauthorized"),
        (403, error("security_exception"), 2, "forbidden"),
        (403, error("cluster_block_exception"), 2, "blocked"),
        (403, html.into(), 2, "forbidden"),
        (404, error("index_not_found_exception"), 2, "no_template"),
        (404, html.into(), 2, "wrong_peer"),
        (405, html.into(), 2, "wrong_peer"),
        (406, error("media_type_header_exception"), 2, "wrong_peer"),
        (302, String::new(), 2, "wrong_peer"),
        (429, error("es_rejected_execution_exception"), 2, "Busy"),
        (429, html.into(), 1, "Busy"),
        (429, error("cluster_block_exception"), 2, "blocked"),
        (503, error("cluster_block_exception"), 2, "blocked"),
        (503, error("unavailable_shards_exception"), 2, "unavailable_shards"),
        (503, html.into(), 2, "ServerError"),
        (500, String::new(), 2, "ServerError"),
        (502, html.into(), 2, "ServerError"),
        (408, String::new(), 2, "ServerError"),
        (400, error("parse_exception"), 2, "BadRequest"),
        (400, html.into(), 2, "BadRequest"),
        (400, error("parse_exception"), 1, "refused parse_exception"),
        (400, error("illegal_argument_exception"), 1, "lone"),
        // A proxy's 400 for one document must not empty everything into the dead letter.
        (400, html.into(), 1, "wrong_peer"),
        (200, html.into(), 2, "Unreadable"),
        (200, String::new(), 2, "Unreadable"),
        (200, "{}".into(), 2, "Unreadable"),
        (200, r#"{"errors":false}"#.into(), 2, "Unreadable"),
        (200, r#"{"errors":false,"items":[]}"#.into(), 2, "Miscounted"),
        (200, answer(&[item(201, DS, "")]), 2, "Miscounted"),
        (200, answer(&[item(201, DS, ""), item(201, DS, ""), item(201, DS, "")]), 2, "Miscounted"),
        (200, answer(&[item(201, DS, "")]).replace("create", "index"), 1, "Unreadable"),
        (200, answer(&[item(201, DS, "")]).replace("]}", ""), 1, "Unreadable"),
        (200, answer(&[item(201, DS, "")]), 1, "items"),
    ];
    for (status, body, sent, expected) in rows {
        assert_eq!(request(status, &body, sent), expected, "{status} for {sent}: {body}");
    }
}

#[test]
fn an_answer_over_the_cap_is_uncertain_but_keeps_its_status() {
    assert_eq!(judge(200, Body::Cut(b"{\"items\":["), 5), Verdict::Uncertain(Doubt::Oversized));
    assert_eq!(judge(413, Body::Cut(b"<html"), 5), Verdict::Split);
    assert!(matches!(judge(401, Body::Cut(b"<html"), 5), Verdict::Hold(Held { why: Hold::Unauthorized, .. })));
}

#[test]
fn reasons_are_cut_and_hold_no_line_break() {
    let long = format!("a\nb{}", "é".repeat(10_000));
    let short = cut(&long);
    assert_eq!(short.chars().count(), REASON_CHARS + 1);
    assert!(short.starts_with("a bé") && short.ends_with('…'));
    assert_eq!(cut("whole"), "whole");
    assert_eq!(cut("\u{85}"), " ", "shorter in bytes, but not cut");
}

proptest! {
    /// Never more outcomes than items, no item without one.
    #[test]
    fn outcomes_are_as_many_as_documents(rows in prop::collection::vec(
        (
            prop::sample::select(vec![200u16, 201, 302, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503]),
            prop::sample::select(vec![DS, "logs-calico.flow-default", ".fs-x"]),
            prop::sample::select(vec!["", "illegal_argument_exception", "cluster_block_exception", "security_exception", "x"]),
        ),
        1..40,
    )) {
        let answers: Vec<_> = rows.iter().map(|(status, index, error)| item(*status, index, error)).collect();
        match of(&answers) {
            Verdict::Items(items) => {
                let mut seen: Vec<u32> = items.retry.iter().chain(&items.hold).copied().collect();
                seen.extend(items.rejected.iter().map(|(index, _)| *index));
                let decided = seen.len();
                seen.sort_unstable();
                seen.dedup();
                prop_assert_eq!(seen.len(), decided, "an index twice");
                prop_assert!(seen.iter().all(|index| (*index as usize) < rows.len()));
                prop_assert_eq!(items.delivered() as usize + decided, rows.len());
                prop_assert_eq!(items.hold.is_empty(), items.held.is_none());
                let created: usize = items.created_in.iter().map(|(_, indices)| indices.len()).sum();
                prop_assert_eq!(created as u64, items.created);
            }
            Verdict::Hold(held) => prop_assert_eq!(held.why, Hold::Misconfigured),
            Verdict::Lone(_) => prop_assert_eq!(rows.len(), 1),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Whatever comes, there is a verdict, and a single document is never split.
    #[test]
    fn any_bytes_have_a_verdict(status in 0u16..1000, body in prop::collection::vec(any::<u8>(), 0..200), sent in 1usize..4) {
        let verdict = judge(status, Body::Whole(&body), sent);
        prop_assert!(!(sent == 1 && verdict == Verdict::Split));
    }
}

//! Questions to the cluster about our data stream: what stands under its name, and which ids are there already.
//!
//! They are asked over the data path's own client, so that hosts, credentials and proxies are the same. The answers are
//! read by pure functions. What may be asked depends on our rights; that we may not is an answer, too ([`Ask::Blind`]).

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::outcome::{Held, Hold, cut};
use super::peer::{Answer, Peer, Unanswered};
use super::stream::{Backing, Blind, Place, View};
use crate::model::LineId;
use crate::net::product::{Kind, Product};

/// Ids in one request: about 200 kB of it.
const IDS: usize = 5_000;

/// A question that gave nothing.
#[derive(Debug)]
pub enum Ask {
    /// We may not ask, or what answers does not know the question.
    Blind(Blind),
    /// What the answer says keeps us from sending as well.
    Hold(Held),
    /// Try again later.
    Unanswered(Unanswered),
}

/// What stands under the stream's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A data stream with these backing indices, oldest first.
    Stream(Vec<Arc<str>>),
    Nothing,
    /// A plain index, or an alias: documents would go astray.
    Other,
}

/// Asks for the stream's backing indices and their ages; without any when there is no such stream.
pub async fn view(peer: &Peer, stream: &str) -> Result<View, Ask> {
    let names = match standing(peer, stream).await? {
        Standing::Stream(names) => names,
        Standing::Nothing => Vec::new(),
        Standing::Other => return Err(Ask::Hold(astray(stream))),
    };
    // One index alone has nothing older beside it, so its age does not matter.
    let created = if names.len() > 1 { created(peer, stream).await? } else { HashMap::new() };
    let lazy = if names.is_empty() { Some(false) } else { rolls_with_the_next_write(peer, stream).await? };
    let backing = |name: Arc<str>| Backing { created: created.get(&*name).copied(), name };
    Ok(View { backing: names.into_iter().map(backing).collect(), lazy })
}

/// What a plain index under the stream's name means.
pub fn astray(stream: &str) -> Held {
    Held { why: Hold::NoTemplate, detail: format!("{stream} is a plain index or an alias, no data stream") }
}

pub async fn standing(peer: &Peer, stream: &str) -> Result<Standing, Ask> {
    let answer = ask(peer, Method::GET, &format!("/_resolve/index/{stream}"), None).await?;
    match answer.status {
        StatusCode::OK => read_standing(&answer.body, stream).ok_or_else(|| blind(&answer)),
        StatusCode::NOT_FOUND if answer.error_type() == "index_not_found_exception" => Ok(Standing::Nothing),
        _ => Err(refused(peer, &answer)),
    }
}

/// Whether a template would make a data stream of this name.
pub async fn has_template(peer: &Peer, stream: &str) -> Result<bool, Ask> {
    let answer = ask(peer, Method::POST, &format!("/_index_template/_simulate_index/{stream}"), None).await?;
    match answer.status {
        StatusCode::OK => read_template(&answer.body, peer.product()).ok_or_else(|| blind(&answer)),
        // OpenSearch simulates nothing under a name that is taken.
        StatusCode::INTERNAL_SERVER_ERROR if answer.error_type() == "illegal_state_exception" => Err(blind(&answer)),
        _ => Err(refused(peer, &answer)),
    }
}

/// Unix seconds by backing index.
async fn created(peer: &Peer, stream: &str) -> Result<HashMap<String, i64>, Ask> {
    let path = format!("/{stream}/_settings?filter_path=*.settings.index.creation_date&expand_wildcards=all");
    let answer = ask(peer, Method::GET, &path, None).await?;
    match answer.status {
        StatusCode::OK => Ok(read_created(&answer.body)),
        _ => Err(refused(peer, &answer)),
    }
}

/// Elasticsearch can mark a stream so that the next write rolls it over (`_rollover?lazy=true`), which nothing but
/// `_data_stream` shows. `None` where that does not answer; versions that say nothing of it know no such thing.
async fn rolls_with_the_next_write(peer: &Peer, stream: &str) -> Result<Option<bool>, Ask> {
    if peer.product().is_some_and(|product| product.kind == Kind::OpenSearch) {
        return Ok(Some(false));
    }
    let path = format!("/_data_stream/{stream}?filter_path=data_streams.rollover_on_write");
    let answer = ask(peer, Method::GET, &path, None).await?;
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let lazy = value["data_streams"][0]["rollover_on_write"].as_bool();
    Ok(answer.status.is_success().then(|| lazy.unwrap_or(false)))
}

/// Which of `ids` stand in these places, by position.
pub async fn find(peer: &Peer, ids: &[String], places: &[Place]) -> Result<Vec<bool>, Ask> {
    let mut found = vec![false; ids.len()];
    for place in places {
        let old_enough = |id: &str| match (place.until, LineId::seconds_in(id)) {
            (Some(until), Some(time)) => time <= until,
            _ => true,
        };
        let wanted: Vec<usize> = (0..ids.len()).filter(|n| !found[*n] && old_enough(&ids[*n])).collect();
        for some in wanted.chunks(IDS) {
            let asked: Vec<&str> = some.iter().map(|n| ids[*n].as_str()).collect();
            for (n, there) in some.iter().zip(mget(peer, &place.index, &asked).await?) {
                found[*n] = there;
            }
        }
    }
    Ok(found)
}

async fn mget(peer: &Peer, index: &str, ids: &[&str]) -> Result<Vec<bool>, Ask> {
    let path = format!("/{index}/_mget?_source=false&filter_path=docs.found,docs.error.type");
    let body = serde_json::json!({ "ids": ids }).to_string();
    let answer = ask(peer, Method::POST, &path, Some(body)).await?;
    match answer.status {
        StatusCode::OK => read_found(&answer.body, ids.len()).unwrap_or_else(|| Err(blind(&answer))),
        // Retention took it meanwhile.
        StatusCode::NOT_FOUND if answer.error_type() == "index_not_found_exception" => Ok(vec![false; ids.len()]),
        _ => Err(refused(peer, &answer)),
    }
}

async fn ask(peer: &Peer, method: Method, path: &str, body: Option<String>) -> Result<Answer, Ask> {
    peer.stats.lookup_requests.add(1);
    peer.ask(method, path, body).await.map_err(Ask::Unanswered)
}

fn blind(answer: &Answer) -> Ask {
    Ask::Blind(Blind(answer.short()))
}

fn refused(peer: &Peer, answer: &Answer) -> Ask {
    let hold = |why| Ask::Hold(Held { why, detail: answer.short() });
    match answer.status {
        StatusCode::UNAUTHORIZED => hold(Hold::Unauthorized),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Ask::Unanswered(Unanswered::Failed(answer.short()))
        }
        status if status.is_server_error() => Ask::Unanswered(Unanswered::Failed(answer.short())),
        StatusCode::FORBIDDEN if answer.error_type() == "cluster_block_exception" => hold(Hold::Blocked),
        StatusCode::FORBIDDEN if peer.credentials.refresh() => {
            Ask::Unanswered(Unanswered::Failed("the credentials have changed".to_owned()))
        }
        _ => blind(answer),
    }
}

fn read_standing(body: &[u8], stream: &str) -> Option<Standing> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let named = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|entry| entry["name"] == stream));
    let streams = answer["data_streams"].as_array()?;
    if let Some(found) = streams.iter().find(|entry| entry["name"] == stream) {
        // One of them may come as a bare string.
        let backing = &found["backing_indices"];
        let names: Option<Vec<Arc<str>>> = match backing {
            Value::String(name) => Some(vec![name.as_str().into()]),
            _ => backing.as_array()?.iter().map(|name| name.as_str().map(Arc::from)).collect(),
        };
        return Some(Standing::Stream(names?));
    }
    Some(if named(&answer["indices"]) || named(&answer["aliases"]) { Standing::Other } else { Standing::Nothing })
}

/// Elasticsearch shows in the mappings whether the template makes data streams; OpenSearch shows no more than that there
/// is one.
fn read_template(body: &[u8], product: Option<Product>) -> Option<bool> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let template = answer.as_object()?.get("template");
    let elasticsearch = product.is_some_and(|product| product.kind == Kind::Elasticsearch);
    let stream = |template: &Value| template["mappings"].get("_data_stream_timestamp").is_some();
    Some(template.is_some_and(|template| !elasticsearch || stream(template)))
}

fn read_created(body: &[u8]) -> HashMap<String, i64> {
    let Ok(Value::Object(indices)) = serde_json::from_slice(body) else { return HashMap::new() };
    let seconds = |settings: &Value| {
        let millis: i64 = settings["settings"]["index"]["creation_date"].as_str()?.parse().ok()?;
        Some(millis.div_euclid(1000))
    };
    indices.iter().filter_map(|(name, settings)| Some((name.clone(), seconds(settings)?))).collect()
}

/// Whether each id was found. `None`: no answer of this kind.
fn read_found(body: &[u8], asked: usize) -> Option<Result<Vec<bool>, Ask>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let docs = answer["docs"].as_array().filter(|docs| docs.len() == asked)?;
    let mut found = Vec::with_capacity(asked);
    for doc in docs {
        match (doc["found"].as_bool(), doc["error"]["type"].as_str()) {
            (Some(there), _) => found.push(there),
            (None, Some("index_not_found_exception")) => found.push(false),
            (None, Some("security_exception")) => return Some(Err(Ask::Blind(Blind("security_exception".to_owned())))),
            // A shard that does not answer may hold it.
            (None, Some(kind)) => return Some(Err(Ask::Unanswered(Unanswered::Failed(cut(kind))))),
            (None, None) => return None,
        }
    }
    Some(Ok(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_under_the_name() {
        let check = |body: &str, expected: Option<Standing>| {
            assert_eq!(read_standing(body.as_bytes(), "s"), expected, "{body}");
        };
        let stream = |names: &[&str]| Some(Standing::Stream(names.iter().map(|name| Arc::from(*name)).collect()));
        let two = r#"{"indices":[],"aliases":[],"data_streams":[{"name":"s","backing_indices":["a","b"]}]}"#;
        check(two, stream(&["a", "b"]));
        check(&two.replace(r#"["a","b"]"#, r#""a""#), stream(&["a"]));
        check(&two.replace("\"s\"", "\"t\""), Some(Standing::Nothing));
        check(r#"{"indices":[],"aliases":[],"data_streams":[]}"#, Some(Standing::Nothing));
        check(r#"{"indices":[{"name":"s"}],"aliases":[],"data_streams":[]}"#, Some(Standing::Other));
        check(r#"{"indices":[],"aliases":[{"name":"s","indices":["x"]}],"data_streams":[]}"#, Some(Standing::Other));
        for nonsense in ["", "<html>", "{}", "[]", r#"{"acknowledged":true}"#, &two.replace(r#"["a","b"]"#, "[1]")] {
            check(nonsense, None);
        }
    }

    #[test]
    fn whether_a_template_makes_data_streams() {
        let product = |kind| Some(Product { kind, version: (3, 0, 0) });
        let (es, os) = (product(Kind::Elasticsearch), product(Kind::OpenSearch));
        let plain = r#"{"template":{"mappings":{"dynamic":"false"}},"overlapping":[]}"#;
        let stream = r#"{"template":{"mappings":{"_data_stream_timestamp":{"enabled":true}}}}"#;
        let rows = [
            ("{}", es, Some(false)),
            ("{}", os, Some(false)),
            (plain, es, Some(false)),
            (plain, os, Some(true)),
            (plain, None, Some(true)),
            (stream, es, Some(true)),
            ("<html>", os, None),
            ("[]", os, None),
        ];
        for (body, product, expected) in rows {
            assert_eq!(read_template(body.as_bytes(), product), expected, "{body} {product:?}");
        }
    }

    #[test]
    fn ages_of_backing_indices() {
        let body = r#"{"b":{"settings":{"index":{"creation_date":"1795636716915"}}},"c":{"settings":{}},"d":1}"#;
        assert_eq!(read_created(body.as_bytes()), HashMap::from([("b".to_owned(), 1_795_636_716)]));
        assert_eq!(read_created(b"<html>"), HashMap::new());
    }

    #[test]
    fn what_was_found() {
        let check = |body: &str, expected: &str| {
            let text = match read_found(body.as_bytes(), 2) {
                None => "no answer".to_owned(),
                Some(Ok(found)) => format!("{found:?}"),
                Some(Err(Ask::Blind(_))) => "blind".to_owned(),
                Some(Err(Ask::Unanswered(_))) => "later".to_owned(),
                Some(Err(Ask::Hold(_))) => "hold".to_owned(),
            };
            assert_eq!(text, expected, "{body}");
        };
        let error = |kind: &str| format!(r#"{{"docs":[{{"found":true}},{{"error":{{"type":"{kind}"}}}}]}}"#);
        check(r#"{"docs":[{"found":true},{"found":false}]}"#, "[true, false]");
        check(&error("index_not_found_exception"), "[true, false]");
        check(&error("security_exception"), "blind");
        check(&error("no_shard_available_action_exception"), "later");
        for nonsense in ["", "{}", r#"{"docs":[{"found":true}]}"#, r#"{"docs":[{"found":true},{}]}"#] {
            check(nonsense, "no answer");
        }
    }
}

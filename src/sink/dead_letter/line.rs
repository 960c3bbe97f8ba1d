//! A letter as one line of JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Letter;

/// A letter as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line<'a> {
    /// When it was refused, RFC 3339 in UTC with milliseconds.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow)]
    pub lane: Cow<'a, str>,
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The backing index that refused it, where the peer named it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Cow<'a, str>>,
    pub status: u16,
    /// The peer's `error.type`.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Where the line came from, as far as the document says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// JSON; a text holds what the peer was sent and no JSON.
    #[serde(borrow)]
    pub document: &'a RawValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Bytes from the start of the uncompressed file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Line<'_> {
    /// The document if it can be sent: a JSON object.
    pub fn sendable(&self) -> Option<&str> {
        let text = self.document.get();
        text.starts_with('{').then_some(text)
    }
}

/// One line, newline included. `time` is when it was refused.
pub fn write(letter: &Letter, lane: &str, time: jiff::Timestamp) -> Vec<u8> {
    let text = String::from_utf8_lossy(&letter.document);
    let json = serde_json::from_str::<&RawValue>(&text).ok().filter(|_| !text.contains('\n'));
    // A text always becomes JSON.
    let quoted = json.is_none().then(|| serde_json::value::to_raw_value(&text).unwrap_or_default());
    let Some(document) = json.or(quoted.as_deref()) else { return Vec::new() };
    let line = Line {
        time: time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string().into(),
        lane: lane.into(),
        id: letter.id.as_str().into(),
        index: letter.index.as_deref().map(Cow::Borrowed),
        status: letter.status,
        kind: letter.kind.as_str().into(),
        reason: letter.reason.as_str().into(),
        origin: origin(document.get()),
        document,
    };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The letter of a whole line without its newline.
pub fn read(line: &[u8]) -> Option<Line<'_>> {
    serde_json::from_slice(line).ok()
}

/// What an ECS document of ours says of its origin.
fn origin(document: &str) -> Option<Origin> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Orchestrator {
        cluster: Option<Named>,
    }
    #[derive(Deserialize)]
    struct File {
        path: Option<String>,
    }
    #[derive(Deserialize)]
    struct Log {
        file: Option<File>,
    }
    #[derive(Deserialize)]
    struct Place {
        offset: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Calico {
        log: Option<Place>,
    }
    #[derive(Deserialize)]
    struct Document {
        agent: Option<Named>,
        orchestrator: Option<Orchestrator>,
        log: Option<Log>,
        calico: Option<Calico>,
    }
    let document: Document = serde_json::from_str(document).ok()?;
    let origin = Origin {
        cluster: document.orchestrator.and_then(|o| o.cluster).and_then(|c| c.name),
        node: document.agent.and_then(|agent| agent.name),
        path: document.log.and_then(|log| log.file).and_then(|file| file.path),
        offset: document.calico.and_then(|calico| calico.log).and_then(|log| log.offset),
    };
    (origin != Origin::default()).then_some(origin)
}

//! The tables of `mappings/` as the program carries them: what each key of a record is and where it comes from.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::encode::ecs;
use crate::yaml::Document;

/// `mappings/record/fields.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub classes: Vec<Class>,
    /// Of records that are no flows.
    pub own: Vec<Class>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub id: String,
    pub name: String,
    #[serde(rename = "within")]
    pub _within: Option<String>,
    #[serde(rename = "category")]
    pub _category: Option<String>,
    pub severity: u8,
    #[serde(rename = "syslog")]
    pub _syslog: u8,
    #[serde(rename = "act")]
    pub _act: Option<String>,
    #[serde(rename = "outcome")]
    pub _outcome: Option<String>,
    #[serde(rename = "reason")]
    pub _reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub field: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Octets.
    pub cut: Option<usize>,
    pub drop: Option<u8>,
    pub from: String,
}

/// `mappings/<format>/record.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub field: String,
    pub key: String,
    /// CEF's dictionary name.
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub max: Option<usize>,
    pub label: Option<String>,
    pub note: Option<String>,
    /// Of LEEF: normalised, predefined, own.
    #[serde(rename = "use")]
    pub purpose: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    #[default]
    Cef,
    Leef,
    StructuredData,
}

/// They are compiled in, and a test reads each: an error is a build's own.
pub fn record() -> anyhow::Result<Record> {
    read(include_str!("../../mappings/record/fields.yaml"))
}

pub fn keys(kind: Kind) -> anyhow::Result<Vec<Key>> {
    let text = match kind {
        Kind::Cef => include_str!("../../mappings/cef/record.yaml"),
        Kind::Leef => include_str!("../../mappings/leef/record.yaml"),
        Kind::StructuredData => include_str!("../../mappings/structured-data/record.yaml"),
    };
    Ok(read::<Keys>(text)?.keys)
}

fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let read = Document::parse(text).and_then(|document| document.to());
    read.map_err(|problem| anyhow::anyhow!("{problem}"))
}

/// Where a member of an ECS document comes from, by its dotted path.
pub fn of_document(path: &str) -> Option<&'static str> {
    let mut columns = ecs::FIELDS.lines();
    let log = columns.next()?.split('\t').position(|column| column == "log")?;
    let row = columns.find(|row| {
        let name = row.split('\t').next().unwrap_or_default();
        // Labels and unknown fields have members of any name.
        path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
    })?;
    row.split('\t').nth(log).filter(|log| *log != "-")
}

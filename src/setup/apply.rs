//! Looking at what is there, and putting what is missing or not as it should be.

use std::io::Write;
use std::time::Duration;

use reqwest::{Method, StatusCode};

use super::compare::{Difference, differences};
use super::objects::{Object, Owner};
use super::wire::{Answer, Wire};
use super::{Options, SetupError};
use crate::net::product::{Kind, Product};

/// How often and how far apart something is put again after somebody else wrote at the same time: 5 s in all.
const AFTER_CONFLICTS: usize = 20;
const BETWEEN_CONFLICTS: Duration = Duration::from_millis(250);

/// How many objects were (or in a dry run would be) …
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub created: usize,
    pub updated: usize,
    pub unchanged: usize,
    /// The server has no such thing.
    pub lacking: usize,
}

/// How one object stands on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Missing,
    Same,
    Differs {
        differences: Vec<Difference>,
        /// The version of ours that put it there, where it says so.
        version: Option<String>,
        /// What has to go with the path of an update, so that nobody's change is overwritten unseen.
        query: String,
    },
    /// Managed by whoever it names, if it names anybody.
    Foreign(Option<String>),
    /// Put there by this newer version of ours.
    Newer(String),
    /// We may not look.
    Forbidden(String),
    /// The server has no such things.
    Lacking,
}

/// Looks at every object. Nothing is written.
pub async fn survey(wire: &Wire, objects: &[Object]) -> Result<Vec<State>, SetupError> {
    let mut states = Vec::with_capacity(objects.len());
    for object in objects {
        let answer = wire.send(Method::GET, &object.path(), None).await?;
        states.push(state(object, &answer)?);
    }
    Ok(states)
}

fn state(object: &Object, answer: &Answer) -> Result<State, SetupError> {
    if answer.has_no_handler() {
        return Ok(State::Lacking);
    }
    match answer.status {
        StatusCode::NOT_FOUND => return Ok(State::Missing),
        StatusCode::FORBIDDEN => return Ok(State::Forbidden(answer.error())),
        status if !status.is_success() => {
            return Err(SetupError::Refused {
                method: Method::GET,
                path: object.path(),
                answer: answer.error(),
                hint: String::new(),
            });
        }
        _ => {}
    }
    let installed = object.installed(&answer.body);
    let version = match object.owner(installed) {
        Owner::Other(owner) => return Ok(State::Foreign(owner)),
        Owner::Ours(version) => version,
    };
    if let Some(version) = version.as_ref().filter(|version| newer(version)) {
        return Ok(State::Newer(version.clone()));
    }
    let differences = differences(object.what, &object.content(), installed);
    let query = match (&answer.body["_seq_no"], &answer.body["_primary_term"]) {
        (number, term) if number.is_number() => format!("?if_seq_no={number}&if_primary_term={term}"),
        _ => String::new(),
    };
    Ok(if differences.is_empty() { State::Same } else { State::Differs { differences, version, query } })
}

/// ` (tidegate 0.0.9 to 0.1.0)` where another version of ours stands there.
fn versions(installed: Option<&str>) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    installed
        .filter(|version| *version != ours)
        .map_or_else(String::new, |version| format!(" (tidegate {version} to {ours})"))
}

/// Whether a version is above our own. Whatever is no version is not.
fn newer(version: &str) -> bool {
    let numbers = |text: &str| text.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    numbers(version).zip(numbers(env!("CARGO_PKG_VERSION"))).is_some_and(|(theirs, ours)| theirs > ours)
}

/// Refuses, all at once, what must not be written or may not be looked at.
fn permitted(objects: &[Object], states: &[State], kind: Kind, force: bool) -> Result<(), SetupError> {
    let mut foreign = Vec::new();
    let mut rights: Vec<&str> = Vec::new();
    let mut refused = None;
    for (object, state) in objects.iter().zip(states) {
        match state {
            State::Foreign(owner) if !force => foreign.push((object.path(), owner.clone())),
            State::Newer(version) if !force => {
                foreign.push((object.path(), Some(format!("tidegate {version}, which is newer than this one"))));
            }
            State::Forbidden(answer) => {
                refused.get_or_insert_with(|| (object.path(), answer.clone()));
                if !rights.contains(&object.what.right(kind)) {
                    rights.push(object.what.right(kind));
                }
            }
            _ => {}
        }
    }
    match refused {
        Some((path, answer)) => {
            let hint = format!("; grant {}; nothing was written", rights.join(", "));
            Err(SetupError::Refused { method: Method::GET, path, answer, hint })
        }
        None if foreign.is_empty() => Ok(()),
        None => Err(SetupError::Foreign { objects: foreign }),
    }
}

/// Installs these objects. What the server has no room for is passed over and said.
pub async fn apply(
    wire: &Wire,
    objects: &[Object],
    options: Options,
    out: &mut dyn Write,
) -> Result<Summary, SetupError> {
    let states = survey(wire, objects).await?;
    permitted(objects, &states, wire.kind(), options.force)?;
    let mut summary = Summary::default();
    for (object, state) in objects.iter().zip(states) {
        let title = format!("{} {}", object.title(), object.name);
        let (exists, query, why, versions) = match state {
            State::Lacking => {
                summary.lacking += 1;
                writeln!(out, "passed over {title}: {}", object.what.without())?;
                continue;
            }
            State::Same if !options.force => {
                summary.unchanged += 1;
                writeln!(out, "unchanged {title}")?;
                continue;
            }
            State::Missing => (false, String::new(), Vec::new(), String::new()),
            State::Differs { query, differences, version } => (true, query, differences, versions(version.as_deref())),
            _ => (true, String::new(), Vec::new(), String::new()),
        };
        let word = if exists { "update" } else { "create" };
        *(if exists { &mut summary.updated } else { &mut summary.created }) += 1;
        let requests = object.requests(exists, &query);
        if options.dry_run {
            writeln!(out, "would {word} {title}{versions}:")?;
            show(&requests, out)?;
        } else {
            send(wire, object, requests).await?;
            writeln!(out, "{word}d {title}{versions}")?;
        }
        for difference in why {
            writeln!(out, "  {difference}")?;
        }
    }
    Ok(summary)
}

/// As the consoles of Kibana and OpenSearch Dashboards take them.
pub(super) fn show(
    requests: &[(Method, String, Option<serde_json::Value>)],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for (method, path, body) in requests {
        writeln!(out, "{method} {path}")?;
        if let Some(body) = body {
            writeln!(out, "{body:#}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

async fn send(
    wire: &Wire,
    object: &Object,
    requests: Vec<(Method, String, Option<serde_json::Value>)>,
) -> Result<(), SetupError> {
    for (method, path, body) in requests {
        let mut answer = wire.send(method.clone(), &path, body.as_ref()).await?;
        for _ in 0..AFTER_CONFLICTS {
            if !(object.shares_a_document() && answer.status == StatusCode::CONFLICT) {
                break;
            }
            tokio::time::sleep(BETWEEN_CONFLICTS).await;
            answer = wire.send(method.clone(), &path, body.as_ref()).await?;
        }
        if !answer.status.is_success() {
            let denied = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED);
            let hint = if denied { format!("; grant {}", object.what.right(wire.kind())) } else { String::new() };
            return Err(SetupError::Refused { method, path, answer: answer.error(), hint });
        }
    }
    Ok(())
}

/// What [`diff`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    pub equal: usize,
    /// Missing, not as it should be, or somebody else's.
    pub different: usize,
    pub lacking: usize,
}

/// Says of every object how it stands, field by field. Nothing is written.
pub async fn diff(wire: &Wire, objects: &[Object], out: &mut dyn Write) -> Result<Compared, SetupError> {
    let states = survey(wire, objects).await?;
    permitted(objects, &states, wire.kind(), true)?;
    let mut compared = Compared::default();
    for (object, state) in objects.iter().zip(states) {
        let title = format!("{} {}", object.title(), object.name);
        let count = match &state {
            State::Same => &mut compared.equal,
            State::Lacking => &mut compared.lacking,
            _ => &mut compared.different,
        };
        *count += 1;
        match state {
            State::Same => writeln!(out, "equal {title}")?,
            State::Missing => writeln!(out, "missing {title}")?,
            State::Differs { differences, version, .. } => {
                writeln!(out, "different {title}{}", versions(version.as_deref()))?;
                for difference in differences {
                    writeln!(out, "  {difference}")?;
                }
            }
            State::Foreign(Some(owner)) => writeln!(out, "foreign {title}: it is managed by {owner}")?,
            State::Foreign(None) => writeln!(out, "foreign {title}: it exists and is not ours")?,
            State::Newer(version) => writeln!(out, "newer {title}: it was installed by tidegate {version}")?,
            State::Lacking => writeln!(out, "impossible {title}: {}", object.what.without())?,
            State::Forbidden(answer) => writeln!(out, "hidden {title}: {answer}")?,
        }
    }
    Ok(compared)
}

/// Whether the server has no index lifecycle management. Settings that name a policy would be refused there.
pub(super) async fn lacks(wire: &Wire, object: &Object) -> Result<bool, SetupError> {
    Ok(wire.send(Method::GET, &object.path(), None).await?.has_no_handler())
}

/// Whether the users' own component template is there. Where we may not look, it is taken to be missing.
pub(super) async fn has_custom(wire: &Wire, product: Product) -> Result<bool, SetupError> {
    if product.kind == Kind::Elasticsearch {
        return Ok(false);
    }
    let path = format!("/_component_template/{}", super::objects::CUSTOM);
    Ok(wire.send(Method::GET, &path, None).await?.status.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_above_our_own() {
        for (version, expected) in
            [("0.0.9", false), (env!("CARGO_PKG_VERSION"), false), ("999.0.0", true), ("next", false)]
        {
            assert_eq!(newer(version), expected, "{version}");
        }
    }
}

//! What is installed in Elasticsearch and OpenSearch: templates, lifecycle, history and roles of the data streams
//! `logs-calico.flow-*`.
//!
//! Promises: a second run changes nothing; what others installed under our names, or a newer Tidegate did, is refused, all
//! of it named at once and nothing written, unless forced; what the server has no room for (no lifecycle management, no
//! transforms) is passed over and said, the rest is installed; a dry run and a comparison write nothing. It wants other
//! rights than shipping does, so other credentials.
//!
//! Not here: Kibana, and changes to streams that exist already (templates work from the next rollover on).

mod apply;
pub mod boards;
mod choice;
mod compare;
mod export;
mod objects;
mod shipped;
mod verify;
mod wire;

use std::io::Write;

use reqwest::{Method, StatusCode};

pub use apply::{Compared, State, Summary, apply, diff, survey};
pub use choice::{Choice, ChoiceError, Codec, IndexMode, Lifecycle};
pub use compare::{Difference, differences};
pub use export::{export, files, product};
pub use objects::{CUSTOM, HISTORY, LIFECYCLE, NAME, OWNER, Object, Owner, Part, What, api_key};
pub use shipped::{NEWEST, catalogue, roles, shipped};
pub use verify::{Check, verify};
pub use wire::{Answer, Wire};

use crate::net::auth::{Auth, AuthError};
use crate::net::http::{HostError, HttpError};
use crate::net::product::{Kind, Product};
use crate::net::tls::TlsConfig;

#[derive(Debug, Clone, Default)]
pub struct Config {
    /// One cluster's hosts; the first that answers is used.
    pub hosts: Vec<String>,
    pub auth: Auth,
    pub tls: TlsConfig,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Show the requests instead of sending them.
    pub dry_run: bool,
    /// Put everything, also over what others own and what seems unchanged.
    pub force: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("cannot set up the client: {cause}")]
    Client { cause: String },
    #[error("cannot reach {host}: {cause}")]
    Unreachable { host: String, cause: String },
    #[error("{host} does not let us in (401); {remedy}")]
    Unauthorized { host: String, remedy: String },
    #[error("{host} does not say whether it is Elasticsearch or OpenSearch ({answer}); check hosts, and grant {right}")]
    UnknownProduct { host: String, answer: String, right: &'static str },
    #[error("{}; rename them, or overwrite them with --force", foreign(.objects))]
    Foreign { objects: Vec<(String, Option<String>)> },
    #[error("{method} {path} was refused: {answer}{hint}")]
    Refused { method: Method, path: String, answer: String, hint: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Choice(Vec<ChoiceError>),
    #[error("{dir} holds {files}, which this does not write; take them away, or export into an empty folder")]
    NotEmpty { dir: String, files: String },
    #[error("cannot write what was done: {0}")]
    Output(#[from] std::io::Error),
}

fn foreign(objects: &[(String, Option<String>)]) -> String {
    let name = |(path, owner): &(String, Option<String>)| match owner {
        Some(owner) => format!("{path} is managed by {owner}"),
        None => format!("{path} exists and is not ours"),
    };
    objects.iter().map(name).collect::<Vec<_>>().join("; ")
}

/// The objects of these parts for the product that answers. Says on `out` what it finds, and what cannot be had.
pub async fn chosen(
    wire: &Wire,
    product: Product,
    choice: &Choice,
    parts: &[Part],
    out: &mut dyn Write,
) -> Result<Vec<Object>, SetupError> {
    writeln!(
        out,
        "{} is {product}{}",
        wire.base(),
        if tried(product) { "" } else { ", with which this was never tried" }
    )?;
    if let Some(word) = choice.without_effect(product).filter(|_| parts.contains(&Part::Templates)) {
        writeln!(out, "{word}")?;
    }
    let custom = parts.contains(&Part::Templates) && apply::has_custom(wire, product).await?;
    let mut objects = catalogue(product, choice, custom).map_err(SetupError::Choice)?;
    let policy = objects.iter().find(|object| object.what == What::Ilm).cloned();
    if let Some(policy) = policy
        && apply::lacks(wire, &policy).await?
    {
        // Its name in the settings would be refused; the policy itself stays in the list, to be passed over and said.
        let without = Choice { lifecycle: Lifecycle::None, ..choice.clone() };
        let policies: Vec<_> = objects.into_iter().filter(|object| object.what == What::Ilm).collect();
        objects = catalogue(product, &without, custom).map_err(SetupError::Choice)?;
        objects.splice(0..0, policies);
    }
    objects.extend(roles(product.kind));
    objects.retain(|object| parts.contains(&object.what.part()));
    for part in parts.iter().filter(|part| objects.iter().all(|object| object.what.part() != **part)) {
        if let Some(why) = nothing(*part, choice, parts) {
            writeln!(out, "{why}")?;
        }
    }
    Ok(objects)
}

/// Why a part is empty, where its user asked for it.
fn nothing(part: Part, choice: &Choice, parts: &[Part]) -> Option<&'static str> {
    let asked = parts.len() < Part::USUAL.len();
    match part {
        Part::Lifecycle if asked => Some("the chosen lifecycle needs no policy"),
        Part::Pipelines if asked => Some("flows need no ingest pipeline; the history has one, where it is chosen"),
        Part::Transforms if asked && choice.history.is_none() => Some("no history is chosen"),
        Part::Transforms if choice.history.is_some() => {
            Some("no transform ships for OpenSearch, so no history is made there")
        }
        _ => None,
    }
}

/// The versions that tests install on, by their major.
fn tried(product: Product) -> bool {
    match (product.kind, product.version) {
        (Kind::Elasticsearch, (8, minor, _)) => minor >= 15,
        (Kind::Elasticsearch, (9, ..)) | (Kind::OpenSearch, (2 | 3, ..)) => true,
        _ => false,
    }
}

/// The first host that answers, and who it is.
pub async fn connect(config: &Config) -> Result<(Wire, Product), SetupError> {
    let mut last = SetupError::Host(HostError::None);
    for host in &config.hosts {
        let mut wire = Wire::new(config, host)?;
        match identify(&wire).await {
            Ok(product) => {
                wire.know(product.kind);
                return Ok((wire, product));
            }
            Err(error @ SetupError::Unreachable { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn identify(wire: &Wire) -> Result<Product, SetupError> {
    let answer = wire.send(Method::GET, "/", None).await?;
    let host = wire.base().to_owned();
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(SetupError::Unauthorized { host, remedy: wire.remedy() });
    }
    let unknown = || SetupError::UnknownProduct {
        host,
        answer: answer.error(),
        right: "monitor (cluster_monitor on OpenSearch)",
    };
    Product::from_root(answer.body.to_string().as_bytes()).ok_or_else(unknown)
}

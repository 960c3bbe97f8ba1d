//! What is installed in Elasticsearch and OpenSearch: templates and lifecycle of the data streams `logs-calico.flow-*`.
//!
//! Promises: a second run changes nothing; what others installed under our names is refused, all of it named at once and
//! nothing written, unless forced; a dry run writes nothing. It wants other rights than shipping does
//! (`manage_index_templates`, `manage_ilm`), so other credentials.
//!
//! Not here: Kibana, and changes to streams that exist already (templates work from the next rollover on).

mod objects;
mod wire;

use std::io::Write;

use reqwest::{Method, StatusCode};

pub use objects::{Installed, NAME, OWNER, Object, What, shipped};
pub use wire::{Answer, Wire};

use crate::net::auth::{Auth, AuthError};
use crate::net::http::{HostError, HttpError};
use crate::net::product::Product;
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

/// How many objects were (or in a dry run would be) …
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub created: usize,
    pub updated: usize,
    pub unchanged: usize,
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
    #[error("{host} does not say whether it is Elasticsearch or OpenSearch ({answer}); check hosts, and grant monitor")]
    UnknownProduct { host: String, answer: String },
    #[error("{}; rename them, or overwrite them with --force", foreign(.objects))]
    Foreign { objects: Vec<(String, Option<String>)> },
    #[error("{method} {path} was refused: {answer}{hint}")]
    Refused { method: Method, path: String, answer: String, hint: &'static str },
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

/// Installs what is shipped for the product that answers, and says on `out` what it does.
pub async fn run(config: &Config, options: Options, out: &mut dyn Write) -> Result<Summary, SetupError> {
    let (wire, product) = connect(config).await?;
    writeln!(out, "{} is {product}", wire.base())?;
    apply(&wire, &shipped(product.kind), options, out).await
}

/// The first host that answers, and who it is.
pub async fn connect(config: &Config) -> Result<(Wire, Product), SetupError> {
    let mut last = SetupError::Host(HostError::None);
    for host in &config.hosts {
        let wire = Wire::new(config, host)?;
        match identify(&wire).await {
            Ok(product) => return Ok((wire, product)),
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
    let unknown = || SetupError::UnknownProduct { host, answer: answer.error() };
    Product::from_root(answer.body.to_string().as_bytes()).ok_or_else(unknown)
}

/// What has to be done about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Create,
    Update {
        /// What has to go with the path, so that nobody's change is overwritten unseen.
        query: String,
    },
    Keep,
}

/// Installs these objects.
pub async fn apply(
    wire: &Wire,
    objects: &[Object],
    options: Options,
    out: &mut dyn Write,
) -> Result<Summary, SetupError> {
    let mut steps = Vec::with_capacity(objects.len());
    let mut foreign = Vec::new();
    for object in objects {
        match plan(wire, object, options.force).await? {
            Ok(step) => steps.push(step),
            Err(owner) => foreign.push((object.path(), owner)),
        }
    }
    if !foreign.is_empty() {
        return Err(SetupError::Foreign { objects: foreign });
    }
    let mut summary = Summary::default();
    for (object, step) in objects.iter().zip(steps) {
        let (count, word, query) = match step {
            Step::Create => (&mut summary.created, "create", String::new()),
            Step::Update { query } => (&mut summary.updated, "update", query),
            Step::Keep => {
                summary.unchanged += 1;
                writeln!(out, "unchanged {} {}", object.title(), object.name)?;
                continue;
            }
        };
        *count += 1;
        let path = format!("{}{query}", object.path());
        if options.dry_run {
            writeln!(out, "would {word} {} {}:\nPUT {path}\n{:#}\n", object.title(), object.name, object.marked())?;
        } else {
            put(wire, object, &path).await?;
            writeln!(out, "{word}d {} {}", object.title(), object.name)?;
        }
    }
    Ok(summary)
}

/// `Err` names the foreign owner.
async fn plan(wire: &Wire, object: &Object, force: bool) -> Result<Result<Step, Option<String>>, SetupError> {
    let answer = wire.send(Method::GET, &object.path(), None).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(Ok(Step::Create));
    }
    if !answer.status.is_success() {
        return Err(refused(Method::GET, object, &object.path(), &answer));
    }
    let query = match (object.what, &answer.body["_seq_no"], &answer.body["_primary_term"]) {
        (What::Ism, number, term) => format!("?if_seq_no={number}&if_primary_term={term}"),
        _ => String::new(),
    };
    Ok(match object.installed(&answer.body) {
        _ if force => Ok(Step::Update { query }),
        Installed::Foreign(owner) => Err(owner),
        Installed::Ours(fingerprint) if fingerprint == object.fingerprint() => Ok(Step::Keep),
        Installed::Ours(_) => Ok(Step::Update { query }),
    })
}

async fn put(wire: &Wire, object: &Object, path: &str) -> Result<(), SetupError> {
    let answer = wire.send(Method::PUT, path, Some(&object.marked())).await?;
    if answer.status.is_success() { Ok(()) } else { Err(refused(Method::PUT, object, path, &answer)) }
}

fn refused(method: Method, object: &Object, path: &str, answer: &Answer) -> SetupError {
    let hint = match (answer.status, object.what) {
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, What::Ilm) => "; grant manage_ilm",
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, What::Ism) => {
            "; grant the actions of cluster:admin/opendistro/ism/policy"
        }
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => "; grant manage_index_templates",
        _ => "",
    };
    SetupError::Refused { method, path: path.to_owned(), answer: answer.error(), hint }
}

//! Asks a cluster what `check --connect` tells its user: who it is, whether it lets us in, whether our template is there,
//! what stands under the stream's name, and whether ids may be looked up after a rollover.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use super::hosts::Hosts;
use super::lookup::{self, Ask};
use super::peer::{Peer, Unanswered};
use super::stream::{Blind, Place};
use super::{Config, Credentials, Error, Gate, Http, Lookup, Stats, stream};
use crate::net::http::{self, Failure};
use crate::net::product::Product;
pub use crate::sink::{Finding, Level};

const MAX_ANSWER: usize = 1 << 20;
/// The name of the index template that `setup` installs.
pub const TEMPLATE: &str = "logs-calico.flow";

/// Tries every host. Nothing is written.
pub async fn probe(config: &Config) -> Result<Vec<Finding>, Error> {
    let stream = stream(&config.ecs)?;
    let stats = Stats::new(Gate::new(1), Arc::default());
    let mut findings = Vec::new();
    for host in &config.hosts {
        let hosts = Hosts::new(std::slice::from_ref(host), config.pace)?;
        let credentials = Credentials::new(config.auth.clone());
        let peer = Peer::new(Http::new(config.http())?, hosts, credentials, String::new(), stats.clone());
        findings.extend(host_findings(&peer, &stream, config.lookup).await);
    }
    Ok(findings)
}

async fn host_findings(peer: &Peer, stream: &str, look: Lookup) -> Vec<Finding> {
    let base = peer.hosts.base(0);
    let (status, body) = match ask(peer, "/").await {
        Ok(answer) => answer,
        Err(text) => return vec![Finding::new(Level::Bad, format!("{base}: {text}"))],
    };
    let who = match status {
        StatusCode::UNAUTHORIZED => {
            let remedy = peer.credentials.remedy();
            return vec![Finding::new(Level::Bad, format!("{base}: it does not let us in (401); {remedy}"))];
        }
        StatusCode::FORBIDDEN => Finding::new(
            Level::Note,
            format!(
                "{base}: it lets us in, but not ask who it is (403); shipping works without, grant monitor to see more"
            ),
        ),
        status if !status.is_success() => {
            let text = format!("{base}: answered {status}; is it Elasticsearch or OpenSearch, under that path?");
            return vec![Finding::new(Level::Bad, text)];
        }
        _ => match Product::from_root(&body) {
            Some(product) => Finding::new(Level::Good, format!("{base}: {product}, it lets us in")),
            None => {
                let text = format!("{base}: what answers is neither Elasticsearch nor OpenSearch");
                return vec![Finding::new(Level::Bad, text)];
            }
        },
    };
    let mut findings = vec![who, template(peer, stream).await];
    findings.extend(standing(peer, stream, look).await);
    findings
}

/// What stands under the stream's name, and whether we may look ids up in it.
async fn standing(peer: &Peer, stream: &str, look: Lookup) -> Option<Finding> {
    let base = peer.hosts.base(0);
    let blind = |Blind(answer): Blind| {
        let text = format!(
            "{base}: ids cannot be looked up ({answer}), so what is sent again after a rollover may stand there twice; \
             it is counted. Grant the rights of the role tidegate-ship-lookup to prevent it"
        );
        (look == Lookup::Auto).then(|| Finding::new(Level::Note, text))
    };
    let view = match lookup::view(peer, stream).await {
        Ok(view) => view,
        Err(Ask::Blind(why)) => return blind(why),
        Err(Ask::Hold(held)) => {
            let text = format!(
                "{base}: {}, so nothing will be delivered; run `tidegate setup`, then delete or rename what stands there",
                held.detail
            );
            return Some(Finding::new(Level::Bad, text));
        }
        Err(Ask::Unanswered(why)) => return Some(Finding::new(Level::Bad, format!("{base}: {}", words(&why)))),
    };
    // An id that nobody has: only the right to ask counts.
    let name = view.write_index()?;
    let place = Place { index: name.clone(), until: None };
    match lookup::find(peer, &["-".to_owned()], &[place]).await {
        Err(Ask::Blind(why)) => blind(why),
        _ => {
            let text = format!("{base}: {stream} is there, its write index is {name}, and ids can be looked up");
            Some(Finding::new(Level::Good, text))
        }
    }
}

fn words(why: &Unanswered) -> String {
    match why {
        Unanswered::AllDown { cause, .. } => cause.clone(),
        Unanswered::NoSecret(error) => error.to_string(),
        Unanswered::Failed(text) => text.clone(),
    }
}

async fn template(peer: &Peer, stream: &str) -> Finding {
    let base = peer.hosts.base(0);
    let (status, body) = match ask(peer, &format!("/_index_template/{TEMPLATE}")).await {
        Ok(answer) => answer,
        Err(text) => return Finding::new(Level::Bad, format!("{base}: {text}")),
    };
    match status {
        StatusCode::NOT_FOUND => {
            let text = format!(
                "{base}: the index template {TEMPLATE} is missing, so nothing will be delivered to {stream}; run `tidegate setup`"
            );
            Finding::new(Level::Bad, text)
        }
        status if status.is_success() => match managed_by(&body).as_deref() {
            Some("tidegate") => {
                Finding::new(Level::Good, format!("{base}: the index template {TEMPLATE} is installed"))
            }
            _ => Finding::new(
                Level::Note,
                format!("{base}: the index template {TEMPLATE} is installed, but not by tidegate"),
            ),
        },
        status => Finding::new(
            Level::Note,
            format!(
                "{base}: we may not see whether the index template {TEMPLATE} is installed ({}); shipping needs no such right",
                status.as_u16()
            ),
        ),
    }
}

fn managed_by(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(answer["index_templates"][0]["index_template"]["_meta"]["managed_by"].as_str()?.to_owned())
}

async fn ask(peer: &Peer, path: &str) -> Result<(StatusCode, Vec<u8>), String> {
    let request = peer.request(Method::GET, &format!("{}{path}", peer.hosts.base(0))).map_err(|e| e.to_string())?;
    let response = request.send().await.map_err(|error| Failure::from(error).to_string())?;
    let status = response.status();
    let (body, _) = http::read(response, MAX_ANSWER).await.map_err(|failure| failure.to_string())?;
    Ok((status, body))
}

//! What `check --connect` asks a collector, and what `send-test` sends it.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::batch::{Builder, Sealed};
use super::outcome::{self, Acks, Verdict};
use super::peer::{Answer, Peer};
use super::{Acknowledgement, Config, SplunkError, channel};
use crate::encode::record::own::{self, Report};
use crate::model::{FileKey, LineId};
use crate::net::certificate::Watch;
use crate::net::look::look;
use crate::sink::finding::{certificates, short};
use crate::sink::limits::Limits;
use crate::sink::{Finding, Level};

/// How long an acknowledgement of the test events is waited for.
const ACK_PATIENCE: Duration = Duration::from_secs(60);

/// What a collector said of itself and of our token. Nothing is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The text of its health endpoint.
    pub health: String,
    /// Whether the token has indexer acknowledgement; `None`: we do not ask for it.
    pub acknowledges: Option<bool>,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.health)?;
        match self.acknowledges {
            Some(true) => write!(f, ", the token has indexer acknowledgement"),
            Some(false) => write!(f, ", the token has no indexer acknowledgement: what is taken counts as delivered"),
            None => Ok(()),
        }
    }
}

/// Tries every receiver, in the order of preference, and gives each base URL with what was found or is wrong.
pub async fn probe(config: &Config) -> Result<Vec<(String, Result<ProbeReport, String>)>, SplunkError> {
    let peer = config.peer()?;
    let mut found = Vec::new();
    for receiver in 0..config.receivers.len() {
        found.push((peer.base(receiver).to_owned(), probe_one(config, &peer, receiver).await));
    }
    Ok(found)
}

async fn probe_one(config: &Config, peer: &Peer, receiver: usize) -> Result<ProbeReport, String> {
    let health = peer.health(receiver).await.map_err(|trouble| trouble.to_string())?;
    if health.status == 503 {
        return Err(format!("it says that it is not well: 503 {}", words(&health)));
    }
    // The health endpoint may not look at the token, so the acknowledgement of nothing is asked for: a token without them
    // is told from one that is wrong.
    let channel = super::channel::guid();
    let answer = peer.ask_acks(receiver, &channel, &[0]).await.map_err(|trouble| trouble.to_string())?;
    let acknowledges = match outcome::judge_acks(answer.status, &answer.body, &[0]) {
        Acks::Disabled => false,
        Acks::Indexed(_) | Acks::NoChannel => true,
        Acks::Hold(held) if held.why == super::Hold::Token => {
            return Err(format!("it refuses the token: {}; {}", held.detail, peer.credentials.remedy()));
        }
        Acks::Hold(held) => return Err(format!("what answers is no HTTP Event Collector: {}", held.detail)),
        Acks::Later => return Err(format!("it answered {} {}", answer.status, words(&answer))),
    };
    if !acknowledges && config.acknowledgement == Acknowledgement::Required {
        return Err("the token has no indexer acknowledgement, and splunk.acknowledgement is required".to_owned());
    }
    let asked = config.acknowledgement != Acknowledgement::Off;
    let health = format!("the collector answers: {} {}", health.status, words(&health));
    Ok(ProbeReport { health, acknowledges: asked.then_some(acknowledges) })
}

/// The collector's words, or what else stands there, on one line.
fn words(answer: &Answer) -> String {
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = told["text"].as_str().map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), str::to_owned);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// Sends one test event of each class to every receiver, in the order of preference, and gives each base URL with what it
/// did. `time_ms` (Unix milliseconds) is the events' time.
pub async fn trial(
    config: &Config,
    cluster: &str,
    node: &str,
    time_ms: i64,
) -> Result<Vec<(String, Vec<Finding>)>, SplunkError> {
    let peer = config.peer()?;
    let batch = events(config, cluster, node, time_ms);
    let mut found = Vec::new();
    for receiver in 0..config.receivers.len() {
        let mut findings = Vec::new();
        if let Err(failed) = try_one(config, &peer, receiver, &batch, &mut findings).await {
            findings.push(Finding::new(Level::Bad, failed));
        }
        found.push((peer.base(receiver).to_owned(), findings));
    }
    Ok(found)
}

fn events(config: &Config, cluster: &str, node: &str, time_ms: i64) -> Sealed {
    let mut builder = Builder::new(config.compression, Limits::new(usize::MAX, usize::MAX));
    let mut encoder = config.encoder();
    for (what, number) in own::tests().zip(0..) {
        let report = Report { cluster, node, time_ms, what };
        // The id stays here: a test event has none.
        let id = LineId::new(None, FileKey::default(), number, b"");
        builder.add(id, 0, |out| encoder.encode_own(&report, out));
    }
    builder.seal()
}

async fn try_one(
    config: &Config,
    peer: &Peer,
    receiver: usize,
    batch: &Sealed,
    found: &mut Vec<Finding>,
) -> Result<(), String> {
    path_to(config, peer.base(receiver), found).await;
    let begun = Instant::now();
    let health = peer.health(receiver).await.map_err(|trouble| trouble.to_string())?;
    let well = if health.status == 200 { Level::Good } else { Level::Note };
    let text = format!("health endpoint: {} {} after {}", health.status, words(&health), short(begun.elapsed()));
    found.push(Finding::new(well, text));
    let guid = channel::guid();
    let asks = config.acknowledgement != Acknowledgement::Off;
    let begun = Instant::now();
    let answer = peer.send(receiver, asks.then_some(&*guid), batch).await.map_err(|trouble| trouble.to_string())?;
    let said = format!("{} {}", answer.status, words(&answer));
    let ack = match outcome::judge(answer.status, &answer.body, batch.events()) {
        Verdict::Taken { ack } => ack,
        Verdict::Hold(held) if held.why == super::Hold::Token => {
            return Err(format!("it refused the test events: {said}; {}", peer.credentials.remedy()));
        }
        _ => return Err(format!("it did not take the test events: {said}")),
    };
    let text = format!("{} test events taken: {said} after {}", batch.events(), short(begun.elapsed()));
    found.push(Finding::new(Level::Good, text));
    match ack {
        Some(ack) if asks => acknowledged(peer, receiver, &guid, ack, begun, found).await,
        _ => {
            let text = "no acknowledgement: what is taken counts as delivered".to_owned();
            found.push(Finding::new(Level::Note, text));
            match config.acknowledgement {
                Acknowledgement::Required => {
                    Err("splunk.acknowledgement is required, and the token has none".to_owned())
                }
                _ => Ok(()),
            }
        }
    }
}

/// What the way there looks like. Behind a proxy of the environment it is not the way that events take.
async fn path_to(config: &Config, base: &str, found: &mut Vec<Finding>) {
    let Some((url, host)) = Url::parse(base).ok().and_then(|url| Some((url.clone(), url.host_str()?.to_owned())))
    else {
        return;
    };
    let mut tls = config.tls.clone();
    tls.watch = Watch::new();
    let secure = (url.scheme() == "https").then_some(&tls);
    let host = host.trim_matches(['[', ']']);
    let look = look(host, url.port_or_known_default().unwrap_or_default(), secure, config.timeout).await;
    if !look.addresses.is_empty() {
        let addresses: Vec<_> = look.addresses.iter().map(ToString::to_string).collect();
        let text = format!("{host} leads to {} (asked for {})", addresses.join(", "), short(look.resolved_in));
        found.push(Finding::new(Level::Good, text));
    }
    if let Some((address, took)) = look.connected {
        let tls = look.handshake.as_ref().map_or_else(String::new, |shaken| {
            format!(", {} with {} in {}", shaken.version, shaken.cipher, short(shaken.took))
        });
        found.push(Finding::new(Level::Good, format!("connected to {address} in {}{tls}", short(took))));
    }
    found.extend(certificates(&tls.watch.seen()));
    if let Some(failed) = look.failed {
        // The requests that follow have the last word: a proxy may stand between.
        found.push(Finding::new(Level::Note, failed));
    }
}

async fn acknowledged(
    peer: &Peer,
    receiver: usize,
    guid: &str,
    ack: u64,
    begun: Instant,
    found: &mut Vec<Finding>,
) -> Result<(), String> {
    let mut wait = Duration::from_millis(250);
    while begun.elapsed() < ACK_PATIENCE {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
        let answer = peer.ask_acks(receiver, guid, &[ack]).await.map_err(|trouble| trouble.to_string())?;
        match outcome::judge_acks(answer.status, &answer.body, &[ack]) {
            Acks::Indexed(acks) if acks.is_empty() => {}
            Acks::Indexed(_) => {
                let text = format!("the indexer acknowledged them after {}", short(begun.elapsed()));
                found.push(Finding::new(Level::Good, text));
                return Ok(());
            }
            Acks::Later => {}
            _ => return Err(format!("it gave no acknowledgement: {} {}", answer.status, words(&answer))),
        }
    }
    Err(format!(
        "it took the events and did not acknowledge them within {} s: look at the indexer's queues, and give a load balancer \
         before several collectors sticky sessions",
        ACK_PATIENCE.as_secs()
    ))
}

//! `send-test`: one test record of each class to each receiver, and what it did.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::batch::Batch;
use super::connect::connect;
use super::link::{Broken, Event, Link};
use super::{Config, Target};
use crate::encode::record::own::{self, Report};
use crate::encode::record::{Encoder, Frame};
use crate::net::certificate::Watch;
use crate::net::look::resolve;
use crate::sink::finding::{certificates, short};
use crate::sink::{Finding, Level};

/// How long we listen after the records for a close, an alert or an error.
const LISTEN: Duration = Duration::from_secs(2);
/// How long a receiver may take to close in answer to our close.
const CLOSE: Duration = Duration::from_secs(5);

/// Tries every receiver in the order of preference. `time_ms` (Unix milliseconds) is the records' time.
pub async fn trial(config: &Config, cluster: &str, time_ms: i64) -> Vec<(Target, Vec<Finding>)> {
    let mut found = Vec::new();
    for target in &config.targets {
        let mut findings = Vec::new();
        if let Err(failed) = try_one(config, target, &records(config, cluster, time_ms), &mut findings).await {
            findings.push(failed);
        }
        found.push((target.clone(), findings));
    }
    found
}

/// One record of each class, with the header that flows get.
fn records(config: &Config, cluster: &str, time_ms: i64) -> Batch {
    let mut header = config.header_writer();
    let mut encoder = Encoder::new(config.record.clone());
    let mut batch = Batch::default();
    for (what, sequence) in own::tests().zip(1..) {
        let start = batch.bytes.len();
        let severity = encoder.class_of(&what).syslog_severity;
        let sequence = header.write(&mut batch.bytes, severity, Some(time_ms), sequence);
        let budget = config.max_message().saturating_sub(batch.bytes.len() - start);
        let report = Report { cluster, node: &config.hostname, time_ms, what };
        encoder.write_own(&report, Frame { budget, sequence }, &mut batch.bytes);
        batch.ends.push(batch.bytes.len());
    }
    batch
}

async fn try_one(config: &Config, target: &Target, records: &Batch, found: &mut Vec<Finding>) -> Result<(), Finding> {
    let bad = |text: String| Finding::new(Level::Bad, text);
    if let (Some(host), Some(port)) = (target.host(), target.port()) {
        let begun = Instant::now();
        let addresses = resolve(host, port, config.timeout).await.map_err(bad)?;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let text = format!("{host} leads to {} (asked for {})", addresses.join(", "), short(begun.elapsed()));
        found.push(Finding::new(Level::Good, text));
    }
    let mut config = config.clone();
    config.tls.watch = Watch::new();
    let connected = connect(&config, target).await;
    let seen = config.tls.watch.seen();
    let mut link = match connected {
        Ok(link) => link,
        Err(error) => {
            found.extend(certificates(&seen));
            return Err(bad(error.to_string()));
        }
    };
    found.push(Finding::new(Level::Good, connection(&link)));
    found.extend(certificates(&seen));
    let mut batch = Batch { bytes: records.bytes.clone(), ends: records.ends.clone(), ..Batch::default() };
    send(&mut link, &mut batch, config.timeout, found).await.map_err(|broken| bad(refusal(&broken)))?;
    close(link, found).await
}

fn connection(link: &Link) -> String {
    let report = &link.report;
    let mut text = match report.confirmed {
        true => format!("connected to {} in {}", report.address, short(report.took.0)),
        false => format!("{} can be sent to; nobody answers a datagram", report.address),
    };
    if let (Some(tls), Some(handshake)) = (&report.tls, report.took.1) {
        text.push_str(&format!(", {} with {} in {}", tls.version, tls.cipher, short(handshake)));
    }
    if let Some(software) = &report.relp {
        text.push_str(&format!(", RELP with {software}"));
    }
    text
}

/// Writes the records and waits for what comes of it: acknowledgements, or a while without a complaint.
async fn send(link: &mut Link, batch: &mut Batch, limit: Duration, found: &mut Vec<Finding>) -> Result<(), Broken> {
    let (begun, count) = (Instant::now(), batch.records());
    let octets = link.write(batch, limit).await?;
    let written = format!("{count} test records written ({octets} octets)");
    if link.acknowledges() {
        let mut acknowledged = 0;
        while acknowledged < count {
            match timeout(limit, link.event()).await {
                Ok(Event::Acknowledged) => acknowledged += link.take_acknowledged(),
                Ok(Event::Broken(broken)) => return Err(broken),
                Err(_) => return Err(Broken::Unanswered(limit)),
            }
        }
        let text = format!("{written}, and all of them acknowledged after {}", short(begun.elapsed()));
        found.push(Finding::new(Level::Good, text));
        return Ok(());
    }
    if let Ok(Event::Broken(broken)) = timeout(LISTEN, link.event()).await {
        return Err(broken);
    }
    let text = format!(
        "{written}; no close, alert or error within {} s. Syslog without RELP has no acknowledgement: look for them in the SIEM",
        LISTEN.as_secs()
    );
    found.push(Finding::new(Level::Note, text));
    Ok(())
}

async fn close(link: Link, found: &mut Vec<Finding>) -> Result<(), Finding> {
    let (confirms, acknowledges, begun) = (link.confirms(), link.acknowledges(), Instant::now());
    match link.close(CLOSE).await {
        Ok(()) if confirms && !acknowledges => {
            let text =
                format!("it closed in answer to our close after {}, so it has read everything", short(begun.elapsed()));
            found.push(Finding::new(Level::Good, text));
        }
        Ok(()) => {}
        Err(broken) if acknowledges => drop(broken),
        Err(broken) => {
            let text =
                format!("it did not close in answer to our close ({broken}): whether it read the records is not known");
            found.push(Finding::new(Level::Note, text));
        }
    }
    Ok(())
}

fn refusal(broken: &Broken) -> String {
    match broken {
        Broken::Closed => {
            "the receiver closed the connection after the records: it may have refused our client certificate or our records; \
             look at its log"
                .to_owned()
        }
        other => format!("after the records: {other}"),
    }
}

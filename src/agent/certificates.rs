//! A word in time before a certificate ends: the peers' and our own, of every lane, once a day from 30 days ahead.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::net::certificate::{Certificate, Watch, days_left};

/// So long before its end a certificate is spoken of.
const AHEAD_DAYS: i64 = 30;
/// And so often.
const AGAIN: i64 = 86_400;
/// How often is looked.
const LOOK: Duration = Duration::from_secs(10);

/// The connections of lanes that speak TLS or may, each with its lane's name.
#[derive(Debug, Default)]
pub struct Certificates {
    watches: Vec<(String, Watch)>,
    told: Told,
    looked_at: Option<Instant>,
}

impl Certificates {
    pub fn add(&mut self, lane: &str, watch: Watch) {
        self.watches.push((lane.to_owned(), watch));
    }

    /// Warns of what ends soon; called as often as anybody likes.
    pub fn look(&mut self) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked_at = Some(Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        for (lane, watch) in &self.watches {
            let seen = watch.seen();
            let shown = [("peer", seen.chain.first()), ("client", seen.own.as_ref())];
            for (kind, certificate) in shown {
                if let Some(certificate) = certificate.filter(|shown| self.told.is_due(lane, kind, shown, now)) {
                    say(lane, kind, certificate, now);
                }
            }
        }
    }
}

fn say(lane: &str, kind: &str, certificate: &Certificate, now: i64) {
    let Certificate { subject, issuer, .. } = certificate;
    let days = days_left(certificate.not_after, now);
    let remedy = match kind {
        "client" => "renew our client certificate; the new files are taken without a restart",
        _ => "have the peer's certificate renewed",
    };
    tracing::warn!(
        lane,
        kind,
        subject,
        issuer,
        days_left = days,
        expiry = certificate.expiry(now),
        remedy,
        "a certificate ends soon"
    );
}

/// When each certificate was spoken of last.
#[derive(Debug, Default)]
struct Told(HashMap<(String, &'static str), (String, i64)>);

impl Told {
    fn is_due(&mut self, lane: &str, kind: &'static str, certificate: &Certificate, now: i64) -> bool {
        if days_left(certificate.not_after, now) >= AHEAD_DAYS {
            return false;
        }
        let last = self.0.entry((lane.to_owned(), kind)).or_default();
        let due = last.0 != certificate.fingerprint || now - last.1 >= AGAIN;
        if due {
            *last = (certificate.fingerprint.clone(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_day_in_the_last_thirty() {
        let end = 1_800_000_000;
        let certificate = |fingerprint: &str| Certificate {
            subject: "CN=siem".to_owned(),
            issuer: "CN=ca".to_owned(),
            names: Vec::new(),
            not_before: 0,
            not_after: end,
            fingerprint: fingerprint.to_owned(),
        };
        let mut told = Told::default();
        let mut check = |kind, fingerprint, before_end: i64, expected| {
            assert_eq!(told.is_due("l", kind, &certificate(fingerprint), end - before_end), expected, "{before_end}");
        };
        check("peer", "a", 30 * AGAIN, false);
        check("peer", "a", 30 * AGAIN - 1, true);
        check("client", "a", 30 * AGAIN - 1, true);
        check("peer", "a", 30 * AGAIN - 11, false);
        check("peer", "a", 29 * AGAIN - 1, true);
        check("peer", "b", 29 * AGAIN - 2, true);
        check("peer", "b", -AGAIN, true);
    }
}

//! When nothing can be delivered: how long to wait, what to tell people, and when it is over.

use std::time::Duration;

use tokio::time::Instant;

use super::super::outcome::{Held, Hold};
use super::{LAST_WAIT, Relaxed, Task};

impl Task {
    /// Nothing can be delivered at present: a slow wait, told to people once a minute.
    pub(super) fn hold(&mut self, held: &Held, wish: Option<Duration>) {
        self.stop_taking();
        self.failures = self.failures.saturating_add(1);
        // A token that was replaced is tried at once, but not for ever.
        if held.why == Hold::Token && self.peer.credentials.refresh() {
            return;
        }
        self.show(held);
        let pace = &self.config.pace;
        self.pause(pace.obey(wish, pace.hold(self.failures)));
    }

    pub(super) fn show(&mut self, held: &Held) {
        self.stats.set_held(Some(held.why));
        let remedy = self.remedy(held.why);
        if let Some(unsaid_times) = self.due(held.why.as_str()) {
            let (hold, answer) = (held.why.as_str(), held.detail.as_str());
            tracing::warn!(
                siem = self.config.name,
                hold,
                answer,
                remedy,
                unsaid_times,
                "nothing can be delivered, everything is kept"
            );
        }
    }

    /// Something went well. A hold for one of `except` is not over by it.
    pub(super) fn released(&mut self, except: &[Hold]) {
        let Some(why) = self.stats.held().filter(|why| !except.contains(why)) else { return };
        self.stats.set_held(None);
        self.complaints.remove(why.as_str());
        tracing::info!(siem = self.config.name, hold = why.as_str(), "events are delivered again");
    }

    pub(super) fn retry_later(&mut self, wish: Option<Duration>) {
        self.stop_taking();
        self.failures = self.failures.saturating_add(1);
        let pace = &self.config.pace;
        self.pause(pace.obey(wish, pace.retry(self.failures)));
    }

    /// Nothing is sent for a while, but not for long once the agent is stopping.
    pub(super) fn pause(&mut self, time: Duration) {
        let time = if self.finishing.is_some() { time.min(LAST_WAIT) } else { time };
        self.try_at = Instant::now() + time;
    }

    /// Nothing goes out until something does.
    pub(super) fn stop_taking(&mut self) {
        self.stuck = true;
        if self.stats.stops_taking() {
            self.away.begin(self.stats.waiting_events.load(Relaxed) as u64);
        }
    }

    pub(super) fn start_taking(&mut self) {
        self.stuck = false;
        self.stats.starts_taking();
        if let Some(outage) = self.away.end(self.config.status.as_ref()) {
            self.stats.siem.outage(outage);
        }
    }

    /// How often this was not said, if it may be said now.
    pub(super) fn due(&mut self, what: &'static str) -> Option<u64> {
        self.complaints.entry(what).or_default().due()
    }

    /// What somebody has to do.
    fn remedy(&self, why: Hold) -> String {
        match why {
            Hold::Token => self.peer.credentials.remedy(),
            Hold::Index => format!(
                "allow the index {} for the token in Splunk, or change splunk.index",
                self.config.labels.index.as_deref().unwrap_or("that is its default")
            ),
            Hold::AckWanted => {
                "the token has indexer acknowledgement: write splunk.acknowledgement: auto, or disable it for the token"
                    .to_owned()
            }
            Hold::AckDisabled => {
                "enable indexer acknowledgement for the token in Splunk, or write splunk.acknowledgement: auto"
                    .to_owned()
            }
            Hold::Unacknowledged => "look at the indexer's queues, and give a load balancer before several collectors \
                 sticky sessions; or raise splunk.ack_timeout"
                .to_owned(),
            Hold::Misconfigured => {
                "every event is refused alike: does something between us and the collector change bodies? \
                 try splunk.compression: 0"
                    .to_owned()
            }
            Hold::WrongPeer => {
                "check url: is it a HTTP Event Collector that answers there, and is it enabled in Splunk \
                 (HTTP Event Collector, Global Settings)?"
                    .to_owned()
            }
            Hold::Unreachable => "check url, network policies and the collector's certificate".to_owned(),
            Hold::NoSecret => "make the token readable".to_owned(),
            Hold::DeadLetter => {
                "see `tidegate dead-letter` and move files away; or set when_full: drop_oldest".to_owned()
            }
        }
    }
}

//! The sinks' own numbers as metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::net::certificate::Watch;
use crate::sink::rate::Why;
use crate::sink::{elastic, siem, splunk, syslog};
use crate::source::stats::SourceStats;
use crate::telemetry::{Counter, Sample};

pub fn source(lane: &str, stats: &SourceStats) -> Vec<Sample> {
    let counter = |name, help, value: &AtomicU64| Sample::counter(name, help, value.load(Relaxed)).label("lane", lane);
    let gauge =
        |name, help, value: &AtomicU64| Sample::gauge(name, help, value.load(Relaxed) as f64).label("lane", lane);
    vec![
        gauge("tidegate_source_files", "Log files that the lane knows", &stats.files),
        gauge("tidegate_source_unreadable_files", "Log files that cannot be read now", &stats.unreadable_files),
        gauge("tidegate_source_deleted_open_files", "Deleted log files that are held open", &stats.deleted_open_files),
        gauge("tidegate_source_spool_bytes", "Bytes in the lane's spool", &stats.spool_bytes),
        gauge(
            "tidegate_source_spool_held",
            "1 while a deleted file must stay open, because the spool is full or cannot be written",
            &stats.spool_held,
        ),
        counter("tidegate_source_spool_failures", "Failed writes of the spool", &stats.spool_failures),
        counter("tidegate_source_spooled_lines", "Lines put into the spool", &stats.spooled_lines),
        gauge(
            "tidegate_source_spool_given_up_lines",
            "Lines in the spool that gave way and will count as dropped when their turn comes",
            &stats.spool_given_up_lines,
        ),
        counter(
            "tidegate_source_lost_files",
            "Log files that were deleted or truncated before they were read to their end",
            &stats.lost_files,
        ),
        counter("tidegate_source_lost_bytes", "What is known to be lost of them", &stats.lost_bytes),
    ]
}

pub fn elastic(stats: &Arc<elastic::Stats>) -> Vec<Sample> {
    let counter = |name, help, value: &Counter| Sample::counter(name, help, value.get());
    let held = stats.held();
    let mut samples = vec![
        counter("tidegate_elastic_requests", "Bulk requests begun", &stats.requests),
        counter(
            "tidegate_elastic_uncertain_requests",
            "Of these, left unknown what was written",
            &stats.uncertain_requests,
        ),
        counter("tidegate_elastic_split_requests", "Requests answered 413 and split", &stats.split_requests),
        counter("tidegate_elastic_sent_bytes", "Bytes of request bodies on the wire", &stats.sent_bytes),
        counter("tidegate_elastic_created_documents", "Documents written", &stats.created_documents),
        counter(
            "tidegate_elastic_duplicate_documents",
            "Documents that were there already, those found by a look included",
            &stats.duplicate_documents,
        ),
        counter(
            "tidegate_elastic_redirected_documents",
            "Documents that went to the failure store",
            &stats.redirected_documents,
        ),
        counter("tidegate_elastic_retried_documents", "Documents sent once more, each time", &stats.retried_documents),
        counter(
            "tidegate_elastic_lookup_requests",
            "Questions about the data stream and about ids in older backing indices",
            &stats.lookup_requests,
        ),
        counter(
            "tidegate_elastic_found_documents",
            "Documents found in an older backing index, and so not sent again",
            &stats.found_documents,
        ),
        counter(
            "tidegate_elastic_possible_repeats",
            "Documents sent again across a rollover without a look",
            &stats.possible_repeats,
        ),
        counter(
            "tidegate_elastic_second_copies",
            "Documents that were seen to stand in two backing indices",
            &stats.second_copies,
        ),
        counter(
            "tidegate_elastic_dead_letter_evicted_documents",
            "Dead letters given up for newer ones under drop_oldest; they stay counted as rejected",
            &stats.dead_letter_evicted_documents,
        ),
        counter(
            "tidegate_elastic_dead_letter_evicted_bytes",
            "Dead letters given up for newer ones",
            &stats.dead_letter_evicted_bytes,
        ),
        counter(
            "tidegate_elastic_capped_values",
            "Labels, unknown members, names and texts cut or left out of documents, because they passed a limit",
            &stats.capped_values,
        ),
        Sample::gauge(
            "tidegate_elastic_in_flight_requests",
            "Batches being worked on",
            stats.in_flight_requests() as f64,
        ),
        Sample::gauge(
            "tidegate_elastic_request_limit",
            "Batches that may be worked on at a time now",
            stats.request_limit() as f64,
        ),
        Sample::gauge(
            "tidegate_elastic_held",
            "1 while something that is not the documents' fault keeps them",
            f64::from(u8::from(held.is_some())),
        ),
    ];
    samples.extend(elastic::stats::Class::ALL.map(|class| {
        counter(
            "tidegate_elastic_rejected_documents",
            "Documents refused for good, in the dead letter",
            stats.rejected(class),
        )
        .label("reason", class.as_str())
    }));
    samples
}

pub fn syslog(lane: &str, stats: &Arc<syslog::Stats>) -> Vec<Sample> {
    let counter = |name, help, value: &std::sync::atomic::AtomicU64| {
        Sample::counter(name, help, value.load(Relaxed)).label("lane", lane)
    };
    let gauge = |name, help, value: f64| Sample::gauge(name, help, value).label("lane", lane);
    let current = stats.current();
    let mut samples = vec![
        counter("tidegate_syslog_records", "Records handed to the kernel, repeats included", &stats.records),
        counter("tidegate_syslog_bytes", "Octets handed to the kernel, framing included", &stats.octets),
        counter("tidegate_syslog_connects", "Connections that were up", &stats.connects),
        counter("tidegate_syslog_connect_errors", "Tries to connect that failed", &stats.connect_errors),
        counter("tidegate_syslog_tls_errors", "Of these, refused by TLS on either side", &stats.tls_errors),
        counter("tidegate_syslog_disconnects", "Connections that broke", &stats.disconnects),
        counter(
            "tidegate_syslog_receiver_switches",
            "Connections to another receiver than the one before",
            &stats.switches,
        ),
        counter(
            "tidegate_syslog_truncated_records",
            "Records in which something was cut or left out",
            &stats.truncated,
        ),
        counter("tidegate_syslog_sanitised_records", "Records in which a character was replaced", &stats.sanitised),
        gauge(
            "tidegate_syslog_unsent_bytes",
            "Sealed and not written yet; over RELP, not acknowledged yet",
            stats.unsent_bytes.load(Relaxed) as f64,
        ),
        gauge("tidegate_syslog_connected", "1 while the link is up", f64::from(u8::from(current.is_some()))),
    ];
    let names = ["tidegate_syslog_suppressed_lines", "tidegate_syslog_open_windows", "tidegate_syslog_early_windows"];
    samples.extend(reduced(lane, names, &stats.siem));
    samples.extend(syslog::Proof::ALL.map(|proof| {
        let help = "Records settled, by what proves that they arrived";
        let records = stats.settled_by(proof);
        Sample::counter("tidegate_syslog_settled_records", help, records)
            .label("lane", lane)
            .label("proof", proof.as_str())
    }));
    samples.extend(stats.receivers.iter().enumerate().map(|(place, receiver)| {
        let here = f64::from(u8::from(current == Some(place)));
        gauge("tidegate_syslog_receiver", "1 for the receiver that records go to now", here).label("receiver", receiver)
    }));
    samples
}

/// Names of the held back lines, the open windows and those that closed early → their samples.
fn reduced(lane: &str, names: [&'static str; 3], stats: &siem::Stats) -> Vec<Sample> {
    let [suppressed, open, early] = names;
    let held = "Lines held back by a limit, a sample or a budget; they count as filtered";
    let over = "Windows of aggregation that closed before their time, for want of room (aggregate.max_keys)";
    let (open_windows, early_windows) = (stats.open_windows.load(Relaxed), stats.early_windows.load(Relaxed));
    let of = |why: Why| {
        let sample = Sample::counter(suppressed, held, stats.suppressed_by(why)).label("lane", lane);
        sample.label("reason", why.as_str())
    };
    let windows = [
        Sample::gauge(open, "Windows of aggregation that are open", open_windows as f64).label("lane", lane),
        Sample::counter(early, over, early_windows).label("lane", lane),
    ];
    Why::ALL.map(of).into_iter().chain(windows).collect()
}

/// Nothing before a lane's first handshake, and nothing where it speaks no TLS.
pub fn certificates(lane: &str, watch: &Watch) -> Vec<Sample> {
    let seen = watch.seen();
    let help = "When the certificate ends that the latest connection showed, Unix time: the peer's, and our own";
    let rows = [("peer", seen.chain.first()), ("client", seen.own.as_ref())];
    let sample = |kind, expires: i64| {
        Sample::gauge("tidegate_tls_certificate_expiry_timestamp_seconds", help, expires as f64)
            .label("lane", lane)
            .label("kind", kind)
    };
    rows.into_iter().filter_map(|(kind, shown)| Some(sample(kind, shown?.not_after))).collect()
}

pub fn splunk(lane: &str, stats: &Arc<splunk::Stats>) -> Vec<Sample> {
    let counter = |name, help, value: u64| Sample::counter(name, help, value).label("lane", lane);
    let gauge = |name, help, value: f64| Sample::gauge(name, help, value).label("lane", lane);
    let current = stats.current();
    let mut samples = vec![
        counter("tidegate_splunk_requests", "Requests with events begun", stats.requests.get()),
        counter(
            "tidegate_splunk_uncertain_requests",
            "Of these, left unknown what was taken",
            stats.uncertain_requests.get(),
        ),
        counter("tidegate_splunk_split_requests", "Requests answered 413 and split", stats.split_requests.get()),
        counter(
            "tidegate_splunk_busy_requests",
            "Requests answered that the collector is busy",
            stats.busy_requests.get(),
        ),
        counter("tidegate_splunk_sent_bytes", "Bytes of request bodies on the wire", stats.sent_bytes.get()),
        counter(
            "tidegate_splunk_repeated_events",
            "Events sent again that the collector may have taken before, under the same ids",
            stats.repeated_events.get(),
        ),
        counter("tidegate_splunk_ack_requests", "Questions for acknowledgements", stats.ack_requests.get()),
        counter(
            "tidegate_splunk_unacknowledged_batches",
            "Batches sent again because no acknowledgement came, or the collector had forgotten them",
            stats.unacknowledged_batches.get(),
        ),
        counter("tidegate_splunk_channels", "Channels begun", stats.channels.get()),
        counter(
            "tidegate_splunk_rejected_events",
            "Events refused for good, in the dead letter",
            stats.rejected_events.get(),
        ),
        counter(
            "tidegate_splunk_dead_letter_evicted_events",
            "Dead letters given up for newer ones under drop_oldest; they stay counted as rejected",
            stats.dead_letter_evicted_events.get(),
        ),
        counter(
            "tidegate_splunk_receiver_switches",
            "Times that another collector than the one before got the events",
            stats.switches.get(),
        ),
        counter(
            "tidegate_splunk_truncated_events",
            "Events in which something was cut or left out",
            stats.truncated.load(Relaxed),
        ),
        counter(
            "tidegate_splunk_sanitised_events",
            "CEF events in which a character was replaced",
            stats.sanitised.load(Relaxed),
        ),
        gauge(
            "tidegate_splunk_waiting_events",
            "Taken by the collector, and not yet acknowledged",
            stats.waiting_events.load(Relaxed) as f64,
        ),
        gauge(
            "tidegate_splunk_held",
            "1 while something that is not the events' fault keeps them",
            f64::from(u8::from(stats.held().is_some())),
        ),
    ];
    samples.push(gauge(
        "tidegate_splunk_held_bytes",
        "Compressed batches that are not settled, and a little for each",
        stats.held_bytes.load(Relaxed) as f64,
    ));
    let names = ["tidegate_splunk_suppressed_lines", "tidegate_splunk_open_windows", "tidegate_splunk_early_windows"];
    samples.extend(reduced(lane, names, &stats.siem));
    samples.extend(splunk::Proof::ALL.map(|proof| {
        let help = "Events settled, by what proves that they arrived";
        counter("tidegate_splunk_settled_events", help, stats.settled_by(proof)).label("proof", proof.as_str())
    }));
    samples.extend(stats.receivers.iter().enumerate().map(|(place, receiver)| {
        let here = f64::from(u8::from(current == Some(place)));
        gauge("tidegate_splunk_receiver", "1 for the collector that events go to now", here).label("receiver", receiver)
    }));
    samples
}

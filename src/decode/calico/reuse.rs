//! The memory of a flow's lists, for the next flow.

use crate::model::{Flow, Labels, Policies, Text};

/// A list longer than this gives its memory back: one odd line must not hold it for ever.
const KEPT: usize = 256;

/// Nothing of the flow but its lists' memory.
pub(super) fn emptied<'b>(flow: Flow<'_>) -> Flow<'b> {
    let mut empty = Flow {
        dest_domains: texts(flow.dest_domains),
        nat_outgoing_ports: kept(flow.nat_outgoing_ports),
        original_source_ips: kept(flow.original_source_ips),
        policies: Policies {
            enforced: texts(flow.policies.enforced),
            all: texts(flow.policies.all),
            pending: texts(flow.policies.pending),
            transit: texts(flow.policies.transit),
        },
        extra: pairs(flow.extra),
        ..Flow::default()
    };
    empty.source.labels = pairs(flow.source.labels);
    empty.dest.labels = pairs(flow.dest.labels);
    empty.process.args = texts(flow.process.args);
    empty
}

/// An empty list of another lifetime in the same memory: collecting what a list gives into one of equally sized items
/// works in place. A test counts allocations, because nothing promises it.
fn texts<'b>(list: Vec<Text<'_>>) -> Vec<Text<'b>> {
    kept(list).into_iter().map(|_| Text::Borrowed("")).collect()
}

fn pairs<'b>(list: Labels<'_>) -> Labels<'b> {
    kept(list).into_iter().map(|_| (Text::Borrowed(""), Text::Borrowed(""))).collect()
}

fn kept<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    if list.capacity() > KEPT {
        list = Vec::new();
    }
    list
}

//! The memory of a flow's lists, for the next flow.

use std::mem::take;
use std::net::IpAddr;

use crate::model::{Flow, Labels, Policies, Text};

/// A list longer than this gives its memory back: one odd line must not hold it for ever.
const KEPT: usize = 256;

/// Empty lists with memory.
#[derive(Debug, Default)]
pub(super) struct Lists {
    texts: [Vec<Text<'static>>; 6],
    pairs: [Labels<'static>; 3],
    ports: Vec<u16>,
    ips: Vec<IpAddr>,
}

impl Lists {
    /// An empty flow that has them.
    #[inline]
    pub(super) fn flow<'a>(&mut self) -> Flow<'a> {
        let [domains, args, enforced, all, pending, transit] = &mut self.texts;
        let [source, dest, extra] = &mut self.pairs;
        let mut flow = Flow {
            dest_domains: take(domains),
            nat_outgoing_ports: take(&mut self.ports),
            original_source_ips: take(&mut self.ips),
            policies: Policies {
                enforced: take(enforced),
                all: take(all),
                pending: take(pending),
                transit: take(transit),
            },
            extra: take(extra),
            ..Flow::default()
        };
        (flow.source.labels, flow.dest.labels) = (take(source), take(dest));
        flow.process.args = take(args);
        flow
    }

    /// Takes those of a flow that is done with.
    #[inline]
    pub(super) fn keep(&mut self, flow: Flow<'_>) {
        let Policies { enforced, all, pending, transit } = flow.policies;
        self.texts = [flow.dest_domains, flow.process.args, enforced, all, pending, transit].map(texts);
        self.pairs = [flow.source.labels, flow.dest.labels, flow.extra].map(pairs);
        (self.ports, self.ips) = (kept(flow.nat_outgoing_ports), kept(flow.original_source_ips));
    }
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

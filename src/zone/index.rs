//! Which matcher of a large table is the first to take an end, without asking them all.
//!
//! Matchers are of three sorts. Those by **name** (kind, namespace, labels, network set) give the same answer for all ends
//! that look alike, so it is worked out once for each look and kept ([`super::cache`]). Those by **address** alone (`cidr`,
//! `public`) are worked out beforehand: a sorted list of ranges says for each address which of them is first. What **mixes**
//! the two, or asks DNS names, is asked for each flow, but only where the names hold.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::address::{Nets, is_public};
use super::matcher::{Key, Kind, Matcher, Ranges, Subject};
use super::named::Named;

/// Place of a matcher in the table: the lowest one that takes an end decides.
pub(super) type Place = u32;
/// No matcher.
pub(super) const NONE: Place = Place::MAX;

#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_name: Named,
    /// Matchers by address that can take ends without one, which then go by a name.
    without_address: Vec<Place>,
    mixed: Vec<Place>,
    /// Matchers by address for ends that are no pods, and for all ends (`pods: true`).
    outside: Addresses,
    pods: Addresses,
}

/// The first matcher by address alone.
#[derive(Debug, Clone, Default)]
struct Addresses {
    v4: Segments<u32>,
    v6: Segments<u128>,
    /// Of `public: false` and `public: true`.
    public: [Option<Place>; 2],
}

/// From each of `starts`, ascending, up to the next one, `first` at the same place holds.
#[derive(Debug, Clone, Default)]
struct Segments<N> {
    starts: Vec<N>,
    first: Vec<Place>,
}

/// What all ends that look alike share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The first matcher that takes them by name.
    pub first: Place,
    /// Earlier ones that take them where address and DNS names are right too.
    pub mixed: Box<[Place]>,
}

impl Index {
    pub fn new(matchers: &[Matcher]) -> Self {
        let mut index = Self::default();
        let (mut outside, mut pods) = (Gathered::default(), Gathered::default());
        let mut by_name = Vec::new();
        for (matcher, place) in matchers.iter().zip(0..) {
            match sort(matcher) {
                Sort::Name => by_name.push((matcher, place)),
                Sort::Address(key) => {
                    if key.can_hold_without_address() {
                        index.without_address.push(place);
                    }
                    outside.add(key, place);
                    if matcher.pods {
                        pods.add(key, place);
                    }
                }
                Sort::Mixed => index.mixed.push(place),
            }
        }
        index.by_name = Named::new(by_name);
        (index.outside, index.pods) = (outside.addresses(), pods.addresses());
        index
    }

    pub fn look(&self, matchers: &[Matcher], subject: &Subject<'_>) -> Look {
        let mut first = self.by_name.first(matchers, subject);
        if subject.ip.is_none() {
            first = first_before(first, self.without_address.iter().copied(), matchers, subject);
        }
        let earlier = self.mixed.iter().copied().take_while(|place| *place < first);
        let mixed = earlier.filter(|place| matchers[*place as usize].may_match(subject)).collect();
        Look { first, mixed }
    }

    /// The first of all.
    pub fn first(&self, matchers: &[Matcher], look: &Look, subject: &Subject<'_>) -> Place {
        let addresses = if subject.kind.is_pod() { &self.pods } else { &self.outside };
        let by_address = subject.ip.map_or(NONE, |ip| addresses.first(ip));
        let best = look.first.min(by_address);
        first_before(best, look.mixed.iter().copied(), matchers, subject)
    }
}

/// The first of these places, which ascend, whose matcher takes the end, if it lies before `best`; else `best`.
#[inline]
pub(super) fn first_before(
    best: Place,
    places: impl Iterator<Item = Place>,
    matchers: &[Matcher],
    subject: &Subject<'_>,
) -> Place {
    let mut earlier = places.take_while(|place| *place < best);
    earlier.find(|place| matchers[*place as usize].matches(subject)).unwrap_or(best)
}

enum Sort<'m> {
    Name,
    Address(&'m Key),
    Mixed,
}

fn sort(matcher: &Matcher) -> Sort<'_> {
    let mut keys = matcher.keys();
    match (keys.next(), keys.next()) {
        (Some(key @ (Key::Cidr(_) | Key::Public(_))), None) => Sort::Address(key),
        _ if matcher.keys().any(Key::is_of_one_flow) => Sort::Mixed,
        _ => Sort::Name,
    }
}

impl Addresses {
    /// The address must be canonical, as in [`Subject`].
    fn first(&self, ip: IpAddr) -> Place {
        let of_ranges = match ip {
            IpAddr::V4(ip) => self.v4.first(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.first(ip.to_bits()),
        };
        match self.public {
            [None, None] => of_ranges,
            public => public[usize::from(is_public(ip))].map_or(of_ranges, |place| place.min(of_ranges)),
        }
    }
}

impl<N: Copy + Ord> Segments<N> {
    fn first(&self, at: N) -> Place {
        let after = self.starts.partition_point(|start| *start <= at);
        if after == 0 { NONE } else { self.first[after - 1] }
    }
}

/// Matchers by address, before they are sorted by it.
#[derive(Default)]
struct Gathered {
    v4: Vec<(u128, u128, Place)>,
    v6: Vec<(u128, u128, Place)>,
    public: [Option<Place>; 2],
}

impl Gathered {
    fn add(&mut self, key: &Key, place: Place) {
        match key {
            Key::Public(public) => {
                self.public[usize::from(*public)].get_or_insert(place);
            }
            Key::Cidr(ranges) => {
                let Ranges { nets, except } = &**ranges;
                self.v4.extend(left(nets.v4_ranges(), except.v4_ranges()).map(|(from, to)| (from, to, place)));
                self.v6.extend(left(nets.v6_ranges(), except.v6_ranges()).map(|(from, to)| (from, to, place)));
            }
            _ => {}
        }
    }

    fn addresses(self) -> Addresses {
        // An IPv4 address is the lower half of what it was widened to.
        let v4 = segments(&self.v4);
        let starts = v4.starts.into_iter().map_while(|start| u32::try_from(start).ok());
        let v4 = Segments { starts: starts.collect(), first: v4.first };
        Addresses { v4, v6: segments(&self.v6), public: self.public }
    }
}

/// What is left of ranges, first and last address of each, without the exceptions.
fn left(
    nets: impl Iterator<Item = (u128, u128)>,
    except: impl Iterator<Item = (u128, u128)>,
) -> impl Iterator<Item = (u128, u128)> {
    let mut holes: Vec<_> = except.collect();
    holes.sort_unstable();
    nets.flat_map(move |(from, to)| {
        let (mut pieces, mut from) = (Vec::new(), Some(from));
        for (hole_from, hole_to) in &holes {
            let Some(at) = from.filter(|at| *hole_from <= to && *hole_to >= *at) else { continue };
            if *hole_from > at {
                pieces.push((at, hole_from - 1));
            }
            from = hole_to.checked_add(1).filter(|next| *next <= to);
        }
        pieces.extend(from.map(|from| (from, to)));
        pieces
    })
}

/// Goes along the addresses and notes where the first of the ranges changes.
fn segments(ranges: &[(u128, u128, Place)]) -> Segments<u128> {
    let mut edges = Vec::with_capacity(2 * ranges.len());
    for (from, to, place) in ranges {
        edges.push((*from, true, *place));
        // What reaches up to the last address never ends.
        edges.extend(to.checked_add(1).map(|after| (after, false, *place)));
    }
    edges.sort_unstable();
    let (mut open, mut made) = (Counted::default(), Segments::default());
    let mut edges = edges.into_iter().peekable();
    while let Some((at, begins, place)) = edges.next() {
        open.change(place, begins);
        let more_here = edges.peek().is_some_and(|(next, ..)| *next == at);
        let first = open.first();
        if !more_here && made.first.last() != Some(&first) {
            made.starts.push(at);
            made.first.push(first);
        }
    }
    made
}

/// Ranges that are open, each matcher as often as its ranges overlap.
#[derive(Default)]
struct Counted {
    /// A matcher and which of its open ranges.
    open: BTreeSet<(Place, u32)>,
}

impl Counted {
    fn change(&mut self, place: Place, begins: bool) {
        let of_place = self.open.range((place, 0)..=(place, u32::MAX)).next_back().map(|(_, number)| *number);
        if begins {
            self.open.insert((place, of_place.map_or(0, |last| last + 1)));
        } else if let Some(last) = of_place {
            self.open.remove(&(place, last));
        }
    }

    fn first(&self) -> Place {
        self.open.first().map_or(NONE, |(place, _)| *place)
    }
}

impl Nets {
    fn v4_ranges(&self) -> impl Iterator<Item = (u128, u128)> {
        self.v4().map(|(net, mask)| (u128::from(net), u128::from(net | !mask)))
    }

    fn v6_ranges(&self) -> impl Iterator<Item = (u128, u128)> {
        self.v6().map(|(net, mask)| (net, net | !mask))
    }
}

impl Matcher {
    /// Whether it can take an end that looks like this one, if address and DNS names are right.
    fn may_match(&self, subject: &Subject<'_>) -> bool {
        self.is_for(subject.kind) && self.keys().all(|key| key.is_of_one_flow() || key.holds(subject))
    }
}

impl Key {
    /// Asks what differs between ends that look alike.
    fn is_of_one_flow(&self) -> bool {
        matches!(self, Self::Cidr(_) | Self::Public(_) | Self::Domain(_))
    }

    fn can_hold_without_address(&self) -> bool {
        match self {
            Self::Cidr(ranges) => ranges.nets.has_everything(),
            _ => true,
        }
    }
}

impl Kind {
    /// As part of a look.
    pub(super) const fn octet(self) -> u8 {
        self.index() as u8
    }
}

//! Matches that can never take an end: contradictions, and zones in the shadow of earlier ones. Only what is provable
//! simply is said, so silence proves nothing.

use ipnet::IpNet;

use super::check::Check;
use super::earlier::Earlier;
use super::file::{EndpointKind, File, Match, OneOrMany};
use super::glob::Glob;
use super::selector::{self, Selector};
use crate::yaml::{child, index};

/// Kinds of ends, as a set.
type Kinds = u8;
const PODS: Kinds = 1;
const HOSTS: Kinds = 2;
const SETS: Kinds = 4;
const NETWORKS: Kinds = 8;

pub(super) fn check(file: &File, check: &mut Check<'_>) {
    // Kinds of which every end is taken by the zones so far, with the last zone that added to them.
    let mut taken: (Kinds, &str) = (0, "");
    let mut earlier = Earlier::default();
    for (i, zone) in file.zones.iter().enumerate() {
        let path = index("zones", i);
        let told: Vec<Option<String>> = zone.matches.iter().map(|of| dead(of, taken, &earlier)).collect();
        match told.iter().flatten().next() {
            Some(why) if told.iter().all(Option::is_some) => {
                check.warning(&path, format!("zone \"{}\" can never match: {why}", zone.name));
            }
            _ => {
                for (j, why) in told.iter().enumerate() {
                    if let Some(why) = why {
                        check.warning(&index(&child(&path, "match"), j), format!("can never match: {why}"));
                    }
                }
            }
        }
        let whole = zone.matches.iter().fold(0, |kinds, of| kinds | certain(of));
        if taken.0 | whole != taken.0 {
            taken = (taken.0 | whole, &zone.name);
        }
        zone.matches.iter().for_each(|of| earlier.push(&zone.name, of));
    }
}

/// Why a match can take nothing.
fn dead(of: &Match, taken: (Kinds, &str), earlier: &Earlier<'_>) -> Option<String> {
    let kinds = possible(of);
    if kinds == 0 {
        let with_pods = possible(&Match { pods: Some(true), ..of.clone() });
        let remedy = if with_pods == 0 { "split it into several" } else { "add pods: true if pods are meant" };
        return Some(format!("its keys are for different kinds of ends; {remedy}"));
    }
    if kinds & !taken.0 == 0 {
        return Some(format!("zones above it, last \"{}\", take all such ends; move it up", taken.1));
    }
    let name = earlier.find(of, covers)?;
    Some(format!("all that it matches is already in zone \"{name}\" above it; move it up"))
}

/// The kinds of ends that a match may take.
fn possible(of: &Match) -> Kinds {
    let by_address = of.cidr.is_some() || of.public.is_some() || of.domain.is_some();
    let pods = if of.pods == Some(true) { PODS } else { 0 };
    let limits = [
        (of.namespace.is_some(), PODS | SETS),
        (of.labels.is_some(), PODS | HOSTS | SETS),
        (of.network_set.is_some(), SETS),
        (by_address, HOSTS | SETS | NETWORKS | pods),
        (of.host_endpoint.is_some(), HOSTS),
        (of.service_account.is_some() || of.namespace_labels.is_some(), PODS),
        (of.endpoint_type.is_some(), of.endpoint_type.map_or(0, kind)),
    ];
    let all = PODS | HOSTS | SETS | NETWORKS;
    limits.iter().filter(|(there, _)| *there).fold(all, |kinds, (_, limit)| kinds & limit)
}

/// The kinds of which a match takes every end, whatever the line lacks.
fn certain(of: &Match) -> Kinds {
    let uncertain = of.network_set.is_some()
        || of.cidr.is_some()
        || of.public.is_some()
        || of.domain.is_some()
        || of.service_account.is_some()
        || of.namespace_labels.is_some();
    if uncertain {
        return 0;
    }
    let everything = |text: &String| selector::parse(text) == Ok(Selector::All);
    let everywhere = |names: &OneOrMany| names.as_slice().iter().any(|name| Glob::new(name) == Glob::Any);
    let limits = [
        of.namespace.as_ref().map(|names| if everywhere(names) { PODS } else { 0 }),
        of.labels.as_ref().map(|text| if everything(text) { PODS | HOSTS | SETS } else { 0 }),
        of.host_endpoint.as_ref().map(|text| if everything(text) { HOSTS } else { 0 }),
        of.endpoint_type.map(kind),
    ];
    limits.into_iter().flatten().reduce(|kinds, limit| kinds & limit).unwrap_or(0)
}

const fn kind(kind: EndpointKind) -> Kinds {
    match kind {
        EndpointKind::Workload => PODS,
        EndpointKind::Host => HOSTS,
        EndpointKind::NetworkSet => SETS,
        EndpointKind::Network => NETWORKS,
    }
}

/// Whether every end that `below` takes is taken by `above`: each key of `above` follows from the same key of `below`.
fn covers(above: &Match, below: &Match) -> bool {
    let by_address = above.cidr.is_some() || above.public.is_some() || above.domain.is_some();
    let knowable = above.service_account.is_none() && above.namespace_labels.is_none();
    let pods = !by_address || above.pods == Some(true) || below.pods != Some(true);
    knowable
        && pods
        && follows(&above.namespace, &below.namespace, |a, b| all_in(a, b, glob_covers))
        && follows(&above.network_set, &below.network_set, |a, b| all_in(a, b, str::eq))
        && follows(&above.domain, &below.domain, |a, b| all_in(a, b, glob_covers))
        && follows(&above.cidr, &below.cidr, |a, b| above.except.is_none() && all_in(a, b, net_covers))
        && follows(&above.labels, &below.labels, |a, b| selector_covers(a, b))
        && follows(&above.host_endpoint, &below.host_endpoint, |a, b| selector_covers(a, b))
        && follows(&above.public, &below.public, |a, b| a == b)
        && follows(&above.endpoint_type, &below.endpoint_type, |a, b| a == b)
}

fn follows<T>(above: &Option<T>, below: &Option<T>, implied: impl Fn(&T, &T) -> bool) -> bool {
    match (above, below) {
        (None, _) => true,
        (Some(above), Some(below)) => implied(above, below),
        (Some(_), None) => false,
    }
}

fn all_in(above: &OneOrMany, below: &OneOrMany, covers: fn(&str, &str) -> bool) -> bool {
    below.as_slice().iter().all(|b| above.as_slice().iter().any(|a| covers(a, b)))
}

fn glob_covers(above: &str, below: &str) -> bool {
    let literal = below.split(['*', '?']).next().unwrap_or_default();
    above == below
        || match Glob::new(above) {
            Glob::Any => true,
            Glob::Prefix(prefix) => literal.starts_with(&*prefix),
            glob => literal == below && glob.matches(below),
        }
}

fn net_covers(above: &str, below: &str) -> bool {
    match (above.parse::<IpNet>(), below.parse::<IpNet>()) {
        (Ok(above), Ok(below)) => above.contains(&below),
        _ => false,
    }
}

fn selector_covers(above: &str, below: &str) -> bool {
    let above = selector::parse(above);
    above == Ok(Selector::All) || above == selector::parse(below)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn names(from: &'static [&'static str]) -> impl Strategy<Value = Option<OneOrMany>> {
        prop::option::weighted(
            0.4,
            vec(select(from), 1..3).prop_map(|names| OneOrMany::Many(names.into_iter().map(str::to_owned).collect())),
        )
    }

    prop_compose! {
        fn a_match()(
            namespace in names(&["a", "ab", "a*", "*b", "a?", "*", "abc", "*bc"]),
            network_set in names(&["a", "n/a", "a*"]),
            cidr in names(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00::1/128"]),
            domain in names(&["a.example.com", "*.example.com", "*", "*example.com", "example.com"]),
            labels in prop::option::weighted(0.3, select(&["all()", "a == 'b'", "a=='b'", "has(a)"][..])),
            public in prop::option::weighted(0.1, any::<bool>()),
            pods in prop::option::weighted(0.3, any::<bool>()),
        ) -> Match {
            let labels = labels.map(str::to_owned);
            Match { namespace, network_set, cidr, domain, labels, public, pods, ..Match::default() }
        }
    }

    proptest! {
        #[test]
        fn the_earliest_that_covers_is_found(matches in vec(a_match(), 1..30)) {
            let mut earlier = Earlier::default();
            let zones: Vec<String> = (0..matches.len()).map(|n| n.to_string()).collect();
            for (n, of) in matches.iter().enumerate() {
                let expected = matches[..n].iter().position(|above| covers(above, of)).map(|at| &*zones[at]);
                prop_assert_eq!(earlier.find(of, covers), expected, "{:?} of {:#?}", of, &matches[..n]);
                earlier.push(&zones[n], of);
            }
        }
    }
}

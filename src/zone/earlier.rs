//! The matches above one, found without asking each: by something that a match must have in common with one that covers it.

use std::collections::HashMap;

use ipnet::IpNet;

use super::file::{Match, OneOrMany};
use super::glob::Glob;
use super::selector::{self, Selector};

/// Earlier matches in the order of the file, with the names of their zones.
#[derive(Default)]
pub(super) struct Earlier<'f> {
    all: Vec<(&'f str, &'f Match)>,
    by_net: HashMap<IpNet, Vec<usize>>,
    /// By a selector in its fixed form.
    by_selector: HashMap<(Key, String), Vec<usize>>,
    by_text: HashMap<(Key, Part, &'f str), Vec<usize>>,
    /// What has nothing to be found by.
    others: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Labels,
    HostEndpoint,
    Namespace,
    NetworkSet,
    Domain,
}

/// What of a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Whole,
    Start,
    End,
}

/// Each of these finds a match; one of them is enough.
enum Handle<'f> {
    Nets(Vec<IpNet>),
    Selector(Key, String),
    Texts(Vec<(Key, Part, &'f str)>),
}

impl<'f> Earlier<'f> {
    /// The earliest that may cover `below` and of which `covers` says that it does: its zone.
    pub fn find(&self, below: &Match, covers: impl Fn(&Match, &Match) -> bool) -> Option<&'f str> {
        let mut found: Vec<usize> = self.others.clone();
        let mut take = |places: Option<&Vec<usize>>| found.extend(places.into_iter().flatten());
        if let Some(net) = first(&below.cidr).and_then(|text| text.parse::<IpNet>().ok()) {
            std::iter::successors(Some(net), |net| net.supernet()).for_each(|net| take(self.by_net.get(&net)));
        }
        for (key, text) in [(Key::Labels, &below.labels), (Key::HostEndpoint, &below.host_endpoint)] {
            let text = text.as_ref().and_then(|text| selector::parse(text).ok());
            take(text.and_then(|selector| self.by_selector.get(&(key, selector.to_string()))));
        }
        let names =
            [(Key::Namespace, &below.namespace), (Key::NetworkSet, &below.network_set), (Key::Domain, &below.domain)];
        for (key, name) in names.into_iter().filter_map(|(key, names)| Some((key, first(names)?))) {
            parts(name).for_each(|(part, text)| take(self.by_text.get(&(key, part, text))));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|place| self.all[place]).find(|(_, above)| covers(above, below)).map(|(zone, _)| zone)
    }

    pub fn push(&mut self, zone: &'f str, of: &'f Match) {
        let place = self.all.len();
        self.all.push((zone, of));
        // The one that fewest others have.
        match handles(of).into_iter().min_by_key(|handle| self.crowd(handle)) {
            None => self.others.push(place),
            Some(Handle::Nets(nets)) => {
                nets.into_iter().for_each(|net| self.by_net.entry(net).or_default().push(place))
            }
            Some(Handle::Selector(key, text)) => self.by_selector.entry((key, text)).or_default().push(place),
            Some(Handle::Texts(texts)) => {
                texts.into_iter().for_each(|text| self.by_text.entry(text).or_default().push(place));
            }
        }
    }

    fn crowd(&self, handle: &Handle<'_>) -> usize {
        let len = |places: Option<&Vec<usize>>| places.map_or(0, Vec::len);
        match handle {
            Handle::Nets(nets) => nets.iter().map(|net| len(self.by_net.get(net))).max(),
            Handle::Selector(key, text) => Some(len(self.by_selector.get(&(*key, text.clone())))),
            Handle::Texts(texts) => texts.iter().map(|text| len(self.by_text.get(text))).max(),
        }
        .unwrap_or(0)
    }
}

fn first(texts: &Option<OneOrMany>) -> Option<&str> {
    texts.as_ref()?.as_slice().first().map(String::as_str)
}

fn handles(of: &Match) -> Vec<Handle<'_>> {
    let mut handles = Vec::new();
    for (key, text) in [(Key::Labels, &of.labels), (Key::HostEndpoint, &of.host_endpoint)] {
        match text.as_ref().map(|text| selector::parse(text)) {
            None | Some(Err(_) | Ok(Selector::All)) => {}
            Some(Ok(selector)) => handles.push(Handle::Selector(key, selector.to_string())),
        }
    }
    if let Some(nets) = &of.cidr {
        let nets: Result<Vec<IpNet>, _> = nets.as_slice().iter().map(|net| net.parse()).collect();
        handles.extend(nets.ok().map(Handle::Nets));
    }
    let names = [(Key::NetworkSet, &of.network_set), (Key::Domain, &of.domain), (Key::Namespace, &of.namespace)];
    for (key, names) in names {
        let texts = names.as_ref().and_then(|names| {
            let each: Option<Vec<_>> = names.as_slice().iter().map(|name| written(key, name)).collect();
            Some(each?.concat())
        });
        handles.extend(texts.map(Handle::Texts));
    }
    handles
}

/// What a name that this one covers can be known by; `None` when that may be anything.
fn written(key: Key, name: &str) -> Option<Vec<(Key, Part, &str)>> {
    let whole = (key, Part::Whole, name);
    Some(match Glob::new(name) {
        _ if key == Key::NetworkSet => vec![whole],
        Glob::Any | Glob::Other(_) => return None,
        Glob::Exact(_) => vec![whole],
        Glob::Prefix(start) => vec![whole, (key, Part::Start, &name[..start.len()])],
        Glob::Suffix(end) => vec![whole, (key, Part::End, &name[name.len() - end.len()..])],
    })
}

/// Everything that a name which covers this one may be known by.
fn parts(name: &str) -> impl Iterator<Item = (Part, &str)> {
    let literal = name.split(['*', '?']).next().unwrap_or_default();
    let starts = (0..=literal.len()).filter_map(|len| Some((Part::Start, literal.get(..len)?)));
    // An end is covered only where all of the name is written.
    let ends = if literal == name { 0..name.len() + 1 } else { 0..0 };
    let ends = ends.filter_map(|from| Some((Part::End, name.get(from..)?)));
    std::iter::once((Part::Whole, name)).chain(starts).chain(ends)
}

//! An expression as a tree. Its shape is the fixed one: no `and` within an `and`, no `or` within an `or`, no `not` of a
//! `not`; the values of a set are sorted and stand once. So equal questions have equal trees.

use ipnet::IpNet;

use super::field::Field;
use super::pattern::{Pattern, Regex, Texts};

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    Test(Test),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Field(Field, Check),
    /// `source.x = dest.x`.
    Ends(Field, Field),
    Zones(Box<[Pair]>),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Known; of a flag: true.
    There,
    Texts(Texts),
    Like(Regex),
    /// Ranges, ends included, disjoint and in order.
    Numbers(Box<[(i128, i128)]>),
    Order(Order, i128),
    /// Disjoint and in order.
    Nets(Box<[IpNet]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// `dmz -> restricted`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub from: Pattern,
    pub to: Pattern,
    /// In the other direction too.
    pub both: bool,
}

impl Node {
    pub fn and(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::And(inner) => flat.extend(inner),
                part => flat.push(part),
            }
        }
        Self::joined(flat, Self::And)
    }

    pub fn or(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::Or(inner) => flat.extend(inner),
                part => flat.push(part),
            }
        }
        Self::joined(flat, Self::Or)
    }

    fn joined(mut parts: Vec<Self>, join: fn(Box<[Self]>) -> Self) -> Self {
        match parts.len() {
            1 => parts.remove(0),
            _ => join(parts.into()),
        }
    }

    pub fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            node => Self::Not(Box::new(node)),
        }
    }
}

/// Sorted, without repeats and without what lies within another.
pub fn nets(mut nets: Vec<IpNet>) -> Box<[IpNet]> {
    // A wider one stands before those within it.
    nets.sort();
    let mut kept: Vec<IpNet> = Vec::with_capacity(nets.len());
    for net in nets {
        if !kept.last().is_some_and(|wide| wide.contains(&net)) {
            kept.push(net);
        }
    }
    kept.into()
}

/// Sorted; those that overlap are one.
pub fn ranges(mut ranges: Vec<(i128, i128)>) -> Box<[(i128, i128)]> {
    ranges.sort_unstable();
    let mut kept: Vec<(i128, i128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match kept.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => kept.push((first, last)),
        }
    }
    kept.into()
}

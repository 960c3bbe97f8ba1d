//! How many records a destination gets: samples, limits and a budget hold flows back, and windows fold those of one key.
//!
//! Pure: whoever uses it says what time it is. Everything that is kept is bounded by a number of keys; at the bound the
//! oldest window closes early, which costs a record more and never a flow.

mod budget;
mod fold;
mod key;
mod limit;
mod windows;

pub use budget::{Budget, Eps};
pub use fold::{Aggregate, Folded, Folder};
pub use key::Key;
pub use limit::{Limit, Limiter, Suppressed};

use crate::encode::record::{CLASSES, Class};
use crate::model::{Flow, LineId};

/// What a destination is spared. The default spares nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rates {
    pub aggregate: Option<Aggregate>,
    pub limit: Option<Limit>,
    /// Of allowed flows, one in so many is sent; 1: all.
    pub sample: Option<u32>,
    pub eps: Option<Eps>,
}

/// Why a flow was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Limit,
    Sample,
    Budget,
}

impl Why {
    pub const ALL: [Self; 3] = [Self::Limit, Self::Sample, Self::Budget];

    /// Its label in metrics, and the reason in a record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Sample => "sample",
            Self::Budget => "budget",
        }
    }
}

/// Only what was allowed by every policy may be sampled or give way to a budget: never a denial, staged or not.
pub fn is_plain_allow(flow: &Flow<'_>) -> bool {
    Class::of(flow).index == CLASSES[0].index
}

/// By the id, so that a flow that is read again is decided as before.
pub fn is_sampled(id: &LineId, one_in: u32) -> bool {
    xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes()).is_multiple_of(u64::from(one_in.max(1)))
}

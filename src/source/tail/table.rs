//! Tables whose keys are numbers of the kernel's or ours: inodes and ids.
//!
//! Nobody chooses these to make them collide, so they need no keyed hash; a start with ten thousand files hashes some
//! hundred thousand of them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

pub type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;
pub type Set<K> = HashSet<K, BuildHasherDefault<Mix>>;

/// Multiplies by an odd number without a pattern (2⁶⁴ by the golden ratio), which carries every bit upwards.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// The tables look at the lowest bits and at the highest ones; the good ones are the highest.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

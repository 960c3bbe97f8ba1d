//! Fifty `kill -9` under full load, with rotation and faults: the short form of `tests/harness/kill_harness.rs`.

use crate::kill::{Options, torment};
use crate::support::{bin, temp_dir};

#[test]
fn fifty_kills_lose_and_double_nothing() {
    let dir = temp_dir();
    let options = Options { kills: 50, seed: 0x6b69_6c6c, rollover_every: 0, fault_every: 8 };
    let table = torment(bin(), dir.path(), &options).expect("a run");
    println!("{table}");
    assert!(table.lines > 5_000 && table.rotations > 2 && table.repeats > 0, "too little happened\n{table}");
    assert!(table.is_exact(), "{table}");
}

//! `fixtures/flows/<case>/input.jsonl` → `expected.cef`, `expected.leef`, `expected.sd`, `expected.cee`, byte for byte: what
//! the SIEM lane sends of a case in each format, one record a line. A case without zones of its own stands in the shop's. A
//! case of which nothing crosses has none of them.
//!
//! `fixtures/cef/all-cross` holds the records of all cases in zones where nearly everything crosses, both halves.

use std::path::{Path, PathBuf};

use tidegate::decode::decode;
use tidegate::encode::record::{Config, Connections, Encoder, Filter, Format};
use tidegate::model::{Body, Event, FileKey, LineId, Origin};
use tidegate::zone::Table;

use crate::support;

pub const CLUSTER: &str = "test-cluster";
pub const NODE: &str = "test-node";

fn zones(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).expect("zones");
    Table::load(&text).unwrap_or_else(|problems| panic!("{problems:?}")).0
}

/// The zones of a case.
pub fn zones_of(case: &Path) -> Table {
    let own = case.join("zones.yaml");
    zones(&if own.exists() { own } else { support::root().join("fixtures/zones/shop/zones.yaml") })
}

/// The zones in which nearly everything crosses.
pub fn all_cross() -> Table {
    zones(&support::root().join("fixtures/cef/all-cross/zones.yaml"))
}

/// Calls `take` with every flow of a case, as the lane would.
pub fn each_event(case: &Path, table: &Table, mut take: impl FnMut(&Event<'_>)) {
    let input = std::fs::read(case.join("input.jsonl")).expect("an input");
    let key = FileKey::new(CLUSTER, NODE, input.split(|&byte| byte == b'\n').next().unwrap_or_default());
    let mut offset = 0;
    for line in input.split(|&byte| byte == b'\n') {
        let start = offset;
        offset += line.len() as u64 + 1;
        let mut scratch = String::new();
        let Ok(flow) = decode(line, &mut scratch) else { continue };
        let id = LineId::new(flow.end_time, key, start, line);
        let origin = Origin { cluster: CLUSTER, node: NODE, path: None, offset: start, id, read_at_ms: None };
        take(&Event { origin, body: Body::Flow(&flow), zones: Some(table.classify(&flow)) });
    }
}

/// Every format, with the name of its golden files.
pub const FORMATS: [(Format, &str); 4] = [
    (Format::Cef, "expected.cef"),
    (LEEF, "expected.leef"),
    (SD, "expected.sd"),
    (Format::EcsJson { cookie: true }, "expected.cee"),
];
pub const LEEF: Format = Format::Leef { delimiter: b'\t' };
pub const SD: Format = Format::StructuredData { enterprise_id: 32473, text: true };

pub fn config(format: Format) -> Config {
    Config { format, version: "0.0.0".to_owned(), ..Config::default() }
}

pub fn cases() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(support::root().join("fixtures/flows")).expect("fixtures/flows");
    let mut cases: Vec<PathBuf> =
        folder.map(|entry| entry.expect("a folder").path()).filter(|path| path.join("input.jsonl").is_file()).collect();
    cases.sort();
    cases
}

/// What the golden file of a case holds: every line that passes the filter. (Folding the traces of one flow is the
/// sink's.)
fn records(case: &Path, table: &Table, filter: Filter, format: Format) -> String {
    let mut encoder = Encoder::new(config(format));
    let mut out = Vec::new();
    each_event(case, table, |event| {
        if filter.takes(event) {
            encoder.encode(event, &mut out);
            out.push(b'\n');
        }
    });
    // The document knows the version of the build.
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    String::from_utf8(out).expect("UTF-8").replace(version, "\"version\":\"0.0.0\"")
}

/// All records in the zones where nearly everything crosses.
pub fn everything(format: Format) -> String {
    let (table, filter) = (all_cross(), Filter { connections: Connections::Both, ..Filter::default() });
    cases().iter().map(|case| records(case, &table, filter.clone(), format)).collect()
}

/// All golden records of a format.
pub fn all(format: Format) -> Vec<String> {
    let shop: String = cases().iter().map(|case| records(case, &zones_of(case), Filter::default(), format)).collect();
    shop.lines().chain(everything(format).lines()).map(str::to_owned).collect()
}

fn assert_file(path: &Path, made: &str) {
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        match made.is_empty() {
            false => std::fs::write(path, made).expect("a writable file"),
            true => drop(std::fs::remove_file(path)),
        }
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    for (there, made) in there.lines().zip(made.lines()) {
        assert!(there == made, "{} holds\n{there}\nand should hold\n{made}", path.display());
    }
    let count = (there.lines().count(), made.lines().count());
    assert!(count.0 == count.1, "{} has {} records and should have {}", path.display(), count.0, count.1);
}

#[test]
fn every_case_gives_its_records() {
    for (format, name) in FORMATS {
        for case in cases() {
            assert_file(&case.join(name), &records(&case, &zones_of(&case), Filter::default(), format));
        }
        assert_file(&support::root().join("fixtures/cef/all-cross").join(name), &everything(format));
    }
    let everything = everything(Format::Cef);
    assert!(everything.lines().count() >= 60, "the fixtures hold too few cross-zone flows to prove anything");
}

//! `fixtures/flows/<case>/input.jsonl` → `expected.cef`, `expected.leef`, `expected.sd`, `expected.cee`, byte for byte: what
//! the SIEM lane sends of a case in each format, one record a line. A case without zones of its own stands in the shop's. A
//! case of which nothing crosses has none of them.
//!
//! `fixtures/cef/own` holds what Tidegate says of itself, `fixtures/cef/all-cross` the records of all cases in zones where nearly everything crosses, both halves.

use std::path::{Path, PathBuf};

use tidegate::decode::decode;
use tidegate::encode::record::own::{Numbers, Outage, Report, Suppressed, What, tests};
use tidegate::encode::record::{Class, Config, Connections, Encoder, Filter, Format, Frame, MIN_RECORD, Marks};
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
    of_any_version(out)
}

/// All records in the zones where nearly everything crosses.
pub fn everything(format: Format) -> String {
    let (table, filter) = (all_cross(), Filter { connections: Connections::Both, ..Filter::default() });
    cases().iter().map(|case| records(case, &table, filter.clone(), format)).collect()
}

/// One of each record that is no flow's, and a hostile cluster's.
pub fn own(format: Format) -> String {
    let numbers = Numbers {
        sent: 1201,
        filtered: 3402,
        suppressed: 17,
        dropped: 2,
        rewinds: 1,
        lag_bytes: 73_400_320,
        oldest_seconds: 93,
    };
    let (since_ms, time_ms) = (1_787_390_000_000, 1_787_390_098_123);
    let outage = Outage { from_ms: 1_787_390_004_500, until_ms: time_ms, lag_bytes: 73_400_320, repeated: 812 };
    let kinds = [
        What::Start,
        What::Heartbeat { since_ms, numbers },
        What::Heartbeat { since_ms, numbers: Numbers::default() },
        What::Outage(outage),
        What::Suppressed(Suppressed {
            from_ms: 1_787_390_040_000,
            until_ms: 1_787_390_100_000,
            flows: 4711,
            reason: "limit",
            alike: Some("source.zone=dmz source.namespace=- verdict=deny".to_owned()),
        }),
        What::Stop { since_ms, numbers },
    ];
    let mut encoder = Encoder::new(config(format));
    let mut out = Vec::new();
    let hostile = "a=b|c \\\"]\nCEF:0|x\u{202e}";
    let places = [(CLUSTER, NODE); 6].into_iter().chain([(hostile, hostile)].into_iter().cycle());
    for ((cluster, node), what) in places.zip(kinds.into_iter().chain(tests())) {
        let frame = Frame { budget: MIN_RECORD, sequence: None };
        encoder.write_own(&Report { cluster, node, time_ms, what }, frame, &mut out);
        out.push(b'\n');
    }
    // A flow that stands for others, and one that is a sample.
    let marks = [
        Marks { aggregated: true, sample_rate: None },
        Marks { aggregated: false, sample_rate: Some(100) },
        Marks { aggregated: true, sample_rate: Some(100) },
    ];
    let case = support::root().join("fixtures/flows/both-halves");
    let mut marks = marks.into_iter();
    each_event(&case, &all_cross(), |event| {
        let Body::Flow(flow) = event.body else { return };
        let Some(marks) = marks.next() else { return };
        let frame = Frame { budget: 8192, sequence: None };
        encoder.encode_marked(event, flow, Class::of(flow), frame, marks, &mut out);
        out.push(b'\n');
    });
    of_any_version(out)
}

/// The document knows the version of the build.
fn of_any_version(records: Vec<u8>) -> String {
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    String::from_utf8(records).expect("UTF-8").replace(version, "\"version\":\"0.0.0\"")
}

/// All golden records of a format.
pub fn all(format: Format) -> Vec<String> {
    let shop: String = cases().iter().map(|case| records(case, &zones_of(case), Filter::default(), format)).collect();
    let own = own(format);
    shop.lines().chain(everything(format).lines()).chain(own.lines()).map(str::to_owned).collect()
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
        assert_file(&support::root().join("fixtures/cef/own").join(name), &own(format));
    }
    let everything = everything(Format::Cef);
    assert!(everything.lines().count() >= 60, "the fixtures hold too few cross-zone flows to prove anything");
}

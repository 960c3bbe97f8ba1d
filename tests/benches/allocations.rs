//! An ordinary line costs no allocation on its way from the file's bytes into the request's body, or into a record; and what a
//! zones file takes to be read is given back.

use std::fs;
use std::path::Path;

use tidegate::decode::Decoder;
use tidegate::encode::ecs::{Config, Encoder};
use tidegate::encode::record::{self, Format};
use tidegate::model::{Body, Event, FileKey, LineId, Origin};
use tidegate::query::Query;
use tidegate::sink::elastic::batch::Builder;
use tidegate::sink::limits::Limits;
use tidegate::zone::{Cache, Table};

/// What a lane does with a line.
struct Lane {
    decoder: Decoder,
    scratch: String,
    encoder: Encoder,
    builder: Builder,
    zones: Table,
    looks: Cache,
}

impl Lane {
    fn new() -> Self {
        let zones = fs::read_to_string(fixtures().join("zones/shop/zones.yaml")).expect("zones");
        Self {
            decoder: Decoder::default(),
            scratch: String::new(),
            encoder: Encoder::new(Config::default()),
            builder: Builder::new(1, Limits::new(usize::MAX, usize::MAX)),
            zones: Table::load(&zones).expect("good zones").0,
            looks: Cache::default(),
        }
    }

    fn take(&mut self, line: &[u8], offset: u64) {
        let flow = self.decoder.decode(line, &mut self.scratch).expect("a flow");
        let id = LineId::new(flow.end_time, FileKey(1), offset, line);
        let origin = Origin { cluster: "c", node: "n", path: Some("/flows.log"), offset, id, read_at_ms: Some(1) };
        let zones = self.zones.classify_with(&flow, &mut self.looks);
        let event = Event { origin, body: Body::Flow(&flow), zones: Some(zones) };
        self.builder.add(id.as_str(), |out| self.encoder.encode(&event, out));
        self.decoder.give_back(flow);
    }

    fn take_all(&mut self, lines: &[Vec<u8>], rounds: u64) {
        for round in 0..rounds {
            lines.iter().enumerate().for_each(|(at, line)| self.take(line, round * 1000 + at as u64));
        }
    }
}

/// What a SIEM lane does with a flow, whether it crosses zones or not.
#[test]
fn a_record_of_any_format_allocates_nothing() {
    let formats = [
        Format::Cef,
        Format::Leef { delimiter: b'\t' },
        Format::StructuredData { enterprise_id: 32473, text: true },
        Format::EcsJson { cookie: true },
    ];
    let lines = ordinary();
    for format in formats {
        let mut encoder = record::Encoder::new(record::Config { format, ..record::Config::default() });
        let (mut decoder, mut scratch, mut out) = (Decoder::default(), String::new(), Vec::new());
        let mut rounds = |rounds: u64| {
            for (round, line) in (0..rounds).flat_map(|round| lines.iter().map(move |line| (round, line))) {
                let flow = decoder.decode(line, &mut scratch).expect("a flow");
                let id = LineId::new(flow.end_time, FileKey(1), round, line);
                let origin = Origin { cluster: "c", node: "n", path: None, offset: round, id, read_at_ms: Some(1) };
                out.clear();
                let zones = Some(tidegate::model::ZonePair { source: "a", dest: "b" });
                encoder.encode(&Event { origin, body: Body::Flow(&flow), zones }, &mut out);
                decoder.give_back(flow);
            }
        };
        rounds(20);
        let counted = allocation_counter::measure(|| rounds(20));
        assert_eq!(counted.count_total, 0, "{format:?}");
    }
}

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Lines of a fixture that the scanner takes.
fn lines(case: &str) -> Vec<Vec<u8>> {
    let input = fs::read(fixtures().join("flows").join(case).join("input.jsonl")).expect(case);
    input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn ordinary() -> Vec<Vec<u8>> {
    let cases = ["level-0-allow", "level-1", "aggregated-allow", "denied-at-source", "dest-domains", "services"];
    cases.iter().flat_map(|case| lines(case)).collect()
}

#[test]
fn the_steady_state_allocates_nothing() {
    let mut lane = Lane::new();
    let lines = ordinary();
    // More than a batch, so that every buffer has its size.
    lane.take_all(&lines, 400);
    assert_eq!(lane.decoder.take_slow(), 0, "these lines are for the scanner");
    lane.builder.abandon();
    let counted = allocation_counter::measure(|| lane.take_all(&lines, 200));
    assert_eq!(counted.count_total, 0, "{} allocations for {} lines", counted.count_total, 200 * lines.len());
}

#[test]
fn a_filter_allocates_nothing() {
    let text = "verdict = deny or zones = dmz -> * and not dest.ip in (10.0.0.0/8, fd00::/8) and dest.port in (22, 80-90) \
                or label.app = web-* or source.namespace =~ '^shop' or policy = x or reporter = dst and bytes > 1KiB";
    let query = Query::parse(text).expect("an expression");
    let zones =
        Table::load(&fs::read_to_string(fixtures().join("zones/shop/zones.yaml")).expect("zones")).expect("good").0;
    for case in ["level-0-allow", "aggregated-allow", "denied-at-source", "dest-domains", "services"] {
        for line in lines(case) {
            let mut scratch = String::new();
            let flow = Decoder::default().decode(&line, &mut scratch).expect("a flow");
            let id = LineId::new(flow.end_time, FileKey(1), 0, &line);
            let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
            let event = Event { origin, body: Body::Flow(&flow), zones: Some(zones.classify(&flow)) };
            // The regular expression warms up once.
            query.matches(&event);
            let counted = allocation_counter::measure(|| {
                (0..100).for_each(|_| {
                    std::hint::black_box(query.matches(&event));
                });
            });
            assert_eq!(counted.count_total, 0, "{case}");
        }
    }
}

/// Reading a table takes many times its memory: no MiB more after three times, and 16 where what reading took stays.
#[test]
fn zones_that_are_read_again_leave_no_memory_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zones.yaml");
    let each =
        |n: usize| format!("  - {{labels: \"app == 'shop-{n}'\"}}\n  - {{cidr: 10.{}.{}.0/24}}\n", n / 256, n % 256);
    let matches: String = (0..10_000).map(each).collect();
    fs::write(&file, format!("apiVersion: zones/v1\nzones:\n- name: shop\n  match:\n{matches}")).expect("zones");
    let mut table = tidegate::agent::load_zones(&file).expect("good zones");
    let before = resident_mib();
    for _ in 0..3 {
        // As an agent does: the old one is there until the new one is.
        table = tidegate::agent::load_zones(&file).expect("good zones");
    }
    let more = resident_mib() - before;
    assert!(more < 6.0, "{more} MiB more than {before}");
    assert_eq!(table.zones().len(), 1);
}

fn resident_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

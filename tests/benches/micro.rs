//! What each step of a flow's way costs in time, by itself, with everything warm.
//!
//! `cargo bench --bench micro [NAME]` prints the fastest, the median and the mean of [`FLOWS`] flows, and flows a second.
//! `TIDEGATE_FLOWS=FILE` takes that file's lines instead of generated ones (which needs Python 3). Seconds are this machine's:
//! instructions.py counts what is the same on all, and CI holds that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tidegate::decode::Decoder;
use tidegate::encode::ecs;
use tidegate::encode::record::{Connections, Filter};
use tidegate::lane::{Before, Outcomes, Sink as _};
use tidegate::model::{Body, Event, FileKey, Flow, LineId, Origin, ZonePair, net};
use tidegate::sink::elastic::batch::Builder;
use tidegate::sink::limits::Limits;
use tidegate::sink::syslog::{self, Config, Target};
use tidegate::zone::{Cache, Table};

/// Few enough to lie in the processor's caches: in the agent, a flow was decoded the moment before.
const FLOWS: usize = 500;
/// Selectors, and ranges, of the large table.
const MATCHERS: usize = 10_000;

static TEXT: LazyLock<String> = LazyLock::new(|| std::fs::read_to_string(input()).expect("lines in UTF-8"));
static LINES: LazyLock<Vec<&str>> = LazyLock::new(|| TEXT.lines().take(FLOWS).collect());
static IDS: LazyLock<Vec<LineId>> = LazyLock::new(|| LINES.iter().map(|line| id(line)).collect());
static FLOWS_OF_LINES: LazyLock<Vec<Flow<'static>>> = LazyLock::new(|| LINES.iter().map(|line| flow(line)).collect());

fn main() {
    println!(
        "{} flows of {} octets",
        FLOWS_OF_LINES.len(),
        LINES.iter().map(|line| line.len()).sum::<usize>() / LINES.len()
    );
    divan::main();
}

/// The file that the environment names, or one that is made for this run.
fn input() -> PathBuf {
    if let Some(given) = std::env::var_os("TIDEGATE_FLOWS") {
        return given.into();
    }
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/gen_flows.py");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("micro-flows.log");
    let status = Command::new("python3").arg(generator).arg(FLOWS.to_string()).arg(&made).status();
    assert!(status.is_ok_and(|status| status.success()), "gen_flows.py fails; name a file in TIDEGATE_FLOWS");
    made
}

fn id(line: &str) -> LineId {
    LineId::new(Some(1_760_000_300), FileKey(1), 4096, line.as_bytes())
}

/// Decoded for the whole run.
fn flow(line: &'static str) -> Flow<'static> {
    Decoder::default().decode(line.as_bytes(), Box::leak(Box::default())).expect("a flow")
}

fn event<'a>(flow: &'a Flow<'a>, id: LineId, zones: Option<ZonePair<'a>>) -> Event<'a> {
    let (path, read_at_ms) = (Some("/var/log/calico/flowlogs/flows.log"), Some(1_767_225_600_123));
    let origin = Origin { cluster: "bench", node: "bench-node", path, offset: 4096, id, read_at_ms };
    Event { origin, body: Body::Flow(flow), zones }
}

fn each(bencher: Bencher<'_, '_>, mut work: impl FnMut(&Flow<'static>, LineId)) {
    let (flows, ids) = (&*FLOWS_OF_LINES, &*IDS);
    bencher.counter(ItemsCount::new(flows.len())).bench_local(|| {
        flows.iter().zip(ids).for_each(|(flow, id)| work(flow, *id));
    });
}

#[divan::bench]
fn scan(bencher: Bencher<'_, '_>) {
    let (mut decoder, mut scratch) = (Decoder::default(), String::new());
    bencher.counter(ItemsCount::new(LINES.len())).bench_local(|| {
        for line in &*LINES {
            let flow = decoder.decode(black_box(line.as_bytes()), &mut scratch).expect("a flow");
            decoder.give_back(black_box(flow));
        }
    });
}

#[divan::bench]
fn line_id(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(LINES.len())).bench_local(|| {
        LINES.iter().for_each(|line| {
            black_box(id(black_box(line)));
        });
    });
}

#[divan::bench]
fn community_id(bencher: Bencher<'_, '_>) {
    each(bencher, |flow, _| {
        let ends = (flow.source.ip, flow.dest.ip);
        if let (Some(protocol), (Some(from), Some(to))) = (flow.protocol, ends) {
            black_box(net::community_id(protocol, (from, flow.source.port), (to, flow.dest.port)));
        }
    });
}

#[divan::bench]
fn ecs_document(bencher: Bencher<'_, '_>) {
    let (mut encoder, mut out) = (ecs::Encoder::new(ecs::Config::default()), Vec::new());
    each(bencher, |flow, id| {
        out.clear();
        encoder.encode(&event(flow, id, None), &mut out);
        black_box(&out);
    });
}

/// With its document: what a flow costs from `Flow` to the request.
#[divan::bench(args = [0, 1, 6])]
fn ecs_document_and_gzip(bencher: Bencher<'_, '_>, level: u32) {
    let mut encoder = ecs::Encoder::new(ecs::Config::default());
    let mut batch = Builder::new(level, Limits::new(1 << 20, 2_000));
    each(bencher, |flow, id| {
        batch.add(id.as_str(), |out| encoder.encode(&event(flow, id, None), out));
        if batch.is_full() {
            black_box(batch.seal());
        }
    });
}

/// Zones of both ends.
#[divan::bench(args = [10, MATCHERS])]
fn classify(bencher: Bencher<'_, '_>, matchers: usize) {
    let (table, mut cache) = (table(matchers), Cache::default());
    each(bencher, |flow, _| {
        black_box(table.classify_with(flow, &mut cache));
    });
}

/// The same by an agent that has seen none of them: every look is made once in this many flows.
#[divan::bench(args = [10, MATCHERS])]
fn classify_unseen(bencher: Bencher<'_, '_>, matchers: usize) {
    let table = table(matchers);
    let count = ItemsCount::new(FLOWS_OF_LINES.len());
    bencher.counter(count).with_inputs(Cache::default).bench_local_refs(|cache| {
        FLOWS_OF_LINES.iter().for_each(|flow| {
            black_box(table.classify_with(flow, cache));
        });
    });
}

/// Zones of both ends, filter, CEF, header and count of octets.
#[divan::bench(args = [10, MATCHERS])]
fn classify_and_cef_and_frame(bencher: Bencher<'_, '_>, matchers: usize) {
    let (table, mut cache) = (table(matchers), Cache::default());
    record(bencher, |flow| {
        let mut zones = table.classify_with(flow, &mut cache);
        // All of them cross, as those do that a record is made of.
        if zones.source == zones.dest {
            zones.dest = "restricted";
        }
        zones
    });
}

#[divan::bench]
fn cef_and_frame(bencher: Bencher<'_, '_>) {
    record(bencher, |_| ZonePair { source: "dmz", dest: "restricted" });
}

fn record<'z>(bencher: Bencher<'_, '_>, mut zones: impl FnMut(&Flow<'static>) -> ZonePair<'z>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Nobody listens and nobody drives the runtime: what is sealed goes nowhere.
    let target = Target::Tcp { host: "127.0.0.1".to_owned(), port: 1 };
    let filter = Filter { connections: Connections::Both, ..Filter::default() };
    let config = Config { filter, ..Config::new("bench", target, "node-a1") };
    let (wake, _wakes) = std::sync::mpsc::channel();
    let mut sink = syslog::sink(config, runtime.handle(), Outcomes::new(wake)).expect("a sink");
    each(bencher, |flow, id| {
        let zones = Some(zones(flow));
        black_box(sink.add(&event(flow, id, zones), Before::Never));
        if sink.fill().full {
            sink.abandon();
        }
    });
}

/// So many selectors and ranges that hold nothing, then zones that hold everything, as curves.py makes them.
fn table(matchers: usize) -> Table {
    let mut text = String::from("apiVersion: zones/v1\nzones:\n");
    for zone in 0..100 {
        text += &format!("- name: zone-{zone}\n  match:\n  - {{namespace: none-{zone}}}\n");
        for n in zone * matchers / 100..(zone + 1) * matchers / 100 {
            let (b, c, d) = (16 + (n >> 12 & 15), n >> 4 & 255, (n & 15) << 4);
            text += &format!("  - {{labels: \"app == 'none-{n}' && tier in {{'a', 'b{n}'}}\"}}\n");
            text += &format!("  - {{cidr: 172.{b}.{c}.{d}/28}}\n");
        }
    }
    for letter in 'a'..='z' {
        text += &format!("- name: {letter}\n  match:\n  - {{namespace: \"{letter}*\"}}\n");
    }
    text += "- name: public\n  match:\n  - {public: true}\n- name: private\n  match:\n  - {public: false}\n";
    Table::load(&text).expect("sound zones").0
}

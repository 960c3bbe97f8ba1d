//! What one record costs on the lane's thread: filter, header and CEF, from flows that are decoded already.
//!
//! usage: siem_rate FLOWS [ROUNDS [FILTER]]
//!
//! Prints one JSON line. The time is the thread's own on a processor, so that a busy machine does not count.

use std::sync::Arc;
use std::time::Duration;

use tidegate::decode::decode;
use tidegate::encode::record::{Connections, Filter};
use tidegate::lane::{Before, Outcomes, Sink as _, Taken};
use tidegate::model::{Body, Event, FileKey, LineId, Origin, ZonePair};
use tidegate::query::Query;
use tidegate::sink::syslog::{self, Config, Target};

/// Flows that are held decoded; a real lane's are as warm.
const FLOWS: usize = 2000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: siem_rate FLOWS [ROUNDS]");
    let rounds: usize = arguments.next().map_or(100, |text| text.parse().expect("a number of rounds"));
    let text = std::fs::read(&path).expect("a file of flows");
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(FLOWS).collect();
    let mut scratches = vec![String::new(); lines.len()];
    let flows: Vec<_> =
        lines.iter().zip(&mut scratches).map(|(line, scratch)| decode(line, scratch).expect("a flow")).collect();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Nobody listens and nobody drives the runtime: what is sealed goes nowhere.
    let target = Target::Tcp { host: "127.0.0.1".to_owned(), port: 1 };
    let query = arguments.next().map(|text| Arc::new(Query::parse(&text).expect("a filter")));
    let filter = Filter { connections: Connections::Both, query, ..Filter::default() };
    let config = Config { filter, ..Config::new("bench", target, "node-a1") };
    let (wake, _wakes) = std::sync::mpsc::channel();
    let mut sink = syslog::sink(config, runtime.handle(), Outcomes::new(wake)).expect("a sink");

    let (mut records, mut filtered) = (0u64, 0u64);
    let begun = on_processor();
    for _ in 0..rounds {
        for (number, flow) in flows.iter().enumerate() {
            let id = LineId::new(flow.end_time, FileKey(1), number as u64 * 1024, lines[number]);
            let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
            let zones = Some(ZonePair { source: "dmz", dest: "restricted" });
            match sink.add(&Event { origin, body: Body::Flow(flow), zones }, Before::Never) {
                Taken::Kept => records += 1,
                Taken::Filtered => filtered += 1,
            }
            if sink.fill().full {
                sink.abandon();
            }
        }
    }
    let spent = on_processor() - begun;
    let ns = spent.as_nanos() as f64 / (records + filtered) as f64;
    println!(
        "{{\"ns_per_flow\":{ns:.1},\"records\":{records},\"filtered\":{filtered},\"cpu_s\":{:.3},\"records_per_cpu_s\":{:.0}}}",
        spent.as_secs_f64(),
        records as f64 / spent.as_secs_f64()
    );
}

fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}

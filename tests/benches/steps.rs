//! One step of a line's way by itself, over so many lines of a file: instructions.py counts what each line costs.
//!
//! usage: steps STEP LINES INPUT [ZONES]
//!
//! Steps: read (nothing but split), decode, id, community-id, ecs, batch (ecs and gzip 1), classify, cef, leef, structured-data, ecs-json. Each does what it
//! needs of those before; the difference to the step before it is its own cost. Prints nothing but a number that keeps the
//! compiler from leaving the work out.

use std::error::Error;
use std::fs;

use tidegate::decode::Decoder;
use tidegate::encode::ecs;
use tidegate::encode::record::{self, Format};
use tidegate::model::{Body, Event, FileKey, Flow, LineId, Origin, ZonePair, net};
use tidegate::sink::elastic::batch::Builder;
use tidegate::sink::limits::Limits;
use tidegate::zone::{Cache, Table};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [step, lines, input, zones @ ..] = &args[..] else {
        return Err("usage: steps STEP LINES INPUT [ZONES]".into());
    };
    let count: usize = lines.parse()?;
    let input = fs::read(input)?;
    let zones = zones.first().map(fs::read_to_string).transpose()?.unwrap_or_default();
    let zones = Table::load(&zones).ok().map(|(table, _)| table);
    let mut work = Work::new(step, zones)?;
    let (mut start, mut kept, mut scratch) = (0, 0, String::new());
    for newline in memchr::memchr_iter(b'\n', &input).take(count) {
        kept ^= work.line(&input[start..newline], start as u64, &mut scratch);
        start = newline + 1;
    }
    println!("{kept}");
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Read,
    Decode,
    Id,
    CommunityId,
    Classify,
    Ecs,
    Batch,
    Record,
}

struct Work {
    step: Step,
    decoder: Decoder,
    zones: Option<Table>,
    looks: Cache,
    ecs: ecs::Encoder,
    record: record::Encoder,
    batch: Builder,
    out: Vec<u8>,
}

impl Work {
    fn new(step: &str, zones: Option<Table>) -> Result<Self, Box<dyn Error>> {
        let format = match step {
            "leef" => Format::Leef { delimiter: b'\t' },
            "structured-data" => Format::StructuredData { enterprise_id: 32473, text: true },
            "ecs-json" => Format::EcsJson { cookie: false },
            _ => Format::Cef,
        };
        let step = match step {
            "read" => Step::Read,
            "decode" => Step::Decode,
            "id" => Step::Id,
            "community-id" => Step::CommunityId,
            "classify" => Step::Classify,
            "ecs" => Step::Ecs,
            "batch" => Step::Batch,
            "cef" | "leef" | "structured-data" | "ecs-json" => Step::Record,
            other => return Err(format!("no step {other:?}").into()),
        };
        Ok(Self {
            step,
            decoder: Decoder::default(),
            zones,
            looks: Cache::default(),
            ecs: ecs::Encoder::new(ecs::Config::default()),
            record: record::Encoder::new(record::Config { format, ..record::Config::default() }),
            batch: Builder::new(1, Limits::new(1 << 20, 2_000)),
            out: Vec::new(),
        })
    }

    fn line(&mut self, line: &[u8], offset: u64, scratch: &mut String) -> u64 {
        if self.step == Step::Read {
            return line.len() as u64;
        }
        let Ok(flow) = self.decoder.decode(line, scratch) else { return 0 };
        let kept = match self.step {
            Step::Read => 0,
            Step::Decode => flow.bytes_in.unwrap_or(0),
            Step::CommunityId => community_id(&flow),
            Step::Classify => {
                self.zones.as_ref().map_or(0, |zones| zones.classify_with(&flow, &mut self.looks).source.len() as u64)
            }
            Step::Id | Step::Ecs | Step::Batch | Step::Record => {
                let id = LineId::new(flow.end_time, FileKey(1), offset, line);
                let (path, read_at_ms) = (Some("/var/log/calico/flowlogs/flows.log"), Some(1_767_225_600_123));
                let origin = Origin { cluster: "bench", node: "bench-node", path, offset, id, read_at_ms };
                let zones = (self.step == Step::Record).then_some(ZonePair { source: "shop", dest: "payments" });
                self.event(&Event { origin, body: Body::Flow(&flow), zones })
            }
        };
        self.decoder.give_back(flow);
        kept
    }

    fn event(&mut self, event: &Event<'_>) -> u64 {
        self.out.clear();
        match self.step {
            Step::Ecs => self.ecs.encode(event, &mut self.out),
            Step::Record => self.record.encode(event, &mut self.out),
            Step::Batch => {
                self.batch.add(event.origin.id.as_str(), |out| self.ecs.encode(event, out));
                if self.batch.is_full() {
                    return self.batch.seal().body().len() as u64;
                }
            }
            _ => return u64::from(event.origin.id.as_bytes()[30]),
        }
        self.out.len() as u64
    }
}

fn community_id(flow: &Flow<'_>) -> u64 {
    let (source, dest) = (&flow.source, &flow.dest);
    let (Some(protocol), Some(from), Some(to)) = (flow.protocol, source.ip, dest.ip) else { return 0 };
    net::community_id(protocol, (from, source.port), (to, dest.port)).map_or(0, |id| u64::from(id[10]))
}

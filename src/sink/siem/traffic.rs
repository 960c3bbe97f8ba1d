//! Flows for tests of what becomes of many of them: who, when, how much.

use std::time::Duration;

use proptest::prelude::*;

use crate::lane::{Before, Sink, Taken};
use crate::model::flow::{Action, Reporter};
use crate::model::{Body, End, Event, FileKey, Flow, LineId, Origin, ZonePair};
use crate::sink::rate::{Aggregate, Key};

/// One line of the log: who, when (seconds), bytes. Of three who's one is denied.
#[derive(Debug, Clone, Copy)]
pub(in crate::sink) struct Line {
    pub(in crate::sink) who: u8,
    pub(in crate::sink) at: i64,
    pub(in crate::sink) bytes: u64,
}

const ORIGIN: i64 = 1_700_000_000;

/// Offers a line, the so many-th of its file, as the lane does.
pub(in crate::sink) fn offer(sink: &mut impl Sink, number: usize, line: Line) -> Taken {
    let end = |name: String| End { namespace: Some(name.into()), ..End::default() };
    let flow = Flow {
        start_time: Some(ORIGIN + line.at - 10),
        end_time: Some(ORIGIN + line.at),
        source: end(format!("who-{}", line.who)),
        action: Some(if line.who % 3 == 2 { Action::Deny } else { Action::Allow }),
        reporter: Some(Reporter { dst: true, ..Reporter::default() }),
        bytes_in: Some(line.bytes),
        bytes_out: Some(0),
        num_flows: Some(2),
        ..Flow::default()
    };
    let id = LineId::new(flow.end_time, FileKey(1), number as u64, &number.to_be_bytes());
    let origin = Origin { cluster: "c", node: "n", path: None, offset: number as u64, id, read_at_ms: None };
    let zones = Some(ZonePair { source: "a", dest: "b" });
    sink.add(&Event { origin, body: Body::Flow(&flow), zones }, Before::Never)
}

/// A log, nearly in the order of its events.
pub(in crate::sink) fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (0u8..6, 0i64..20, 0i64..40, 0u64..1000);
    proptest::collection::vec(line, 1..200).prop_map(|parts| {
        let mut now = 0;
        let line = |(who, step, late, bytes)| {
            now += step;
            Line { who, at: now - late, bytes }
        };
        parts.into_iter().map(line).collect()
    })
}

pub(in crate::sink) fn aggregate(max_keys: usize) -> Aggregate {
    Aggregate {
        window: Duration::from_secs(60),
        grace: Duration::from_secs(10),
        by: vec![Key::SourceNamespace],
        max_keys,
    }
}

/// Connections and bytes of all lines.
pub(in crate::sink) fn truth(lines: &[Line]) -> (u64, u64) {
    (lines.len() as u64 * 2, lines.iter().map(|line| line.bytes).sum())
}

//! The demo as lines of text: what is seen on a terminal, and what is written into a pipe.
//!
//! Everything here is a pure function of a [`Snapshot`]. Bytes that came from outside (documents, records) pass
//! [`safe`] before they become text: nothing that a pod wrote can steer the terminal.

use std::time::Duration;

use serde_json::Value;

use super::receivers::{BulkSeen, Record, SyslogSeen, Verdict};
use super::traffic::Written;
use crate::telemetry::LaneSnapshot;

/// Lines of a picture at the least: below this nothing useful can be shown.
const MIN_HEIGHT: usize = 12;
/// Lines of the last document at the most.
const DOCUMENT_LINES: usize = 11;
const RECORD_LINES: usize = 10;
/// Lines of the last record as it came.
const RAW_LINES: usize = 3;
/// Field sets of a document worth their place, in this order.
const SHOWN_FIELDS: [&str; 12] = [
    "@timestamp",
    "event",
    "source",
    "destination",
    "network",
    "observer",
    "rule",
    "error",
    "process",
    "calico",
    "related",
    "orchestrator",
];

/// All that the picture needs to know.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub elapsed: Duration,
    pub written: Written,
    /// Lines written a second, lately.
    pub rate: u64,
    /// Each lane with the lines that it decides a second, lately.
    pub lanes: Vec<(LaneSnapshot, u64)>,
    /// `None`: a real peer answers.
    pub bulk: Option<BulkSeen>,
    pub syslog: Option<SyslogSeen>,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub colour: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Dim,
    Bold,
    Title,
    Key,
    Good,
    Bad,
    Warn,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Title => "1;36",
            Self::Key => "36",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warn => "33",
        }
    }
}

/// One line made of inked pieces.
#[derive(Debug, Default)]
struct Line(Vec<(Ink, String)>);

impl Line {
    fn with(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    /// Cut to the width, so that it never wraps; what is cut ends in `…`.
    fn render(&self, canvas: Canvas) -> String {
        let length: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        let mut room = if length > canvas.width { canvas.width.saturating_sub(1) } else { length };
        let mut out = String::new();
        for (ink, text) in &self.0 {
            let piece: String = text.chars().take(room).collect();
            room -= piece.chars().count();
            if piece.is_empty() {
                continue;
            }
            if canvas.colour && *ink != Ink::Plain {
                out.push_str(&format!("\x1b[{}m{piece}\x1b[0m", ink.code()));
            } else {
                out.push_str(&piece);
            }
        }
        if length > canvas.width {
            out.push('…');
        }
        out
    }
}

/// The picture, at most `canvas.height` lines of at most `canvas.width` columns.
pub fn draw(snapshot: &Snapshot, canvas: Canvas) -> Vec<String> {
    let mut lines = vec![header(snapshot), Line::default(), columns()];
    lines.extend(snapshot.lanes.iter().map(|(lane, rate)| lane_row(lane, *rate)));
    let room = canvas.height.max(MIN_HEIGHT).saturating_sub(lines.len());
    let (documents, records) = share(snapshot, room);
    if let Some(seen) = &snapshot.bulk {
        lines.extend(document_part(seen, documents));
    }
    if let Some(seen) = &snapshot.syslog {
        lines.extend(record_part(seen, records, canvas.width));
    }
    lines.truncate(canvas.height);
    lines.iter().map(|line| line.render(canvas)).collect()
}

/// Lines for the document and for the records, their titles and the blank lines above them included.
fn share(snapshot: &Snapshot, room: usize) -> (usize, usize) {
    match (&snapshot.bulk, &snapshot.syslog) {
        (Some(_), None) => (room, 0),
        (None, Some(_)) => (0, room),
        _ => {
            let documents = (room / 2).min(DOCUMENT_LINES + 2);
            (documents, room - documents)
        }
    }
}

fn header(snapshot: &Snapshot) -> Line {
    let Written { lines, denied, rotations, .. } = snapshot.written;
    let seconds = snapshot.elapsed.as_secs();
    Line::default()
        .with(Ink::Title, " TIDEGATE demo ")
        .with(Ink::Plain, format!(" {:02}:{:02} ", seconds / 60, seconds % 60))
        .with(Ink::Bold, format!("  {} lines written", grouped(lines)))
        .with(Ink::Plain, format!("  {}/s", grouped(snapshot.rate)))
        .with(Ink::Warn, format!("  {} denied", grouped(denied)))
        .with(Ink::Dim, format!("  {rotations} rotations"))
}

fn columns() -> Line {
    let titles = ["read", "delivered", "filtered", "rejected", "dropped", "in flight", "rate", "lag"];
    let cells: String = titles.iter().map(|title| format!("{title:>11}")).collect();
    Line::default().with(Ink::Dim, format!(" {:<14}{cells}", "lane"))
}

fn lane_row(lane: &LaneSnapshot, rate: u64) -> Line {
    let number = |value| format!("{:>11}", grouped(value));
    let alarm = |value| if value > 0 { Ink::Bad } else { Ink::Dim };
    Line::default()
        .with(Ink::Bold, format!(" {:<14}", safe(&lane.name)))
        .with(Ink::Plain, number(lane.read))
        .with(Ink::Good, number(lane.delivered))
        .with(Ink::Dim, number(lane.filtered))
        .with(alarm(lane.rejected), number(lane.rejected))
        .with(alarm(lane.dropped), number(lane.dropped))
        .with(Ink::Plain, number(lane.in_flight))
        .with(Ink::Plain, format!("{:>11}", format!("{}/s", grouped(rate))))
        .with(Ink::Plain, format!("{:>11}", size(lane.lag_bytes)))
}

fn title(name: &str, counts: &str, wrong: u64) -> Line {
    let ink = if wrong == 0 { Ink::Good } else { Ink::Bad };
    Line::default()
        .with(Ink::Title, format!(" {name}"))
        .with(Ink::Dim, format!("   {counts}  "))
        .with(ink, format!("{wrong} wrong"))
}

fn document_part(seen: &BulkSeen, room: usize) -> Vec<Line> {
    let counts =
        format!("{} documents, {} of no flow, {} repeats", grouped(seen.flows + seen.raw), seen.raw, seen.repeats);
    let mut lines = vec![Line::default(), title("Last ECS document", &counts, seen.violations.count)];
    let document = seen.last.as_ref().and_then(|last| serde_json::from_str(last).ok()).unwrap_or_default();
    lines.extend(document_lines(&document));
    lines.truncate(room);
    lines
}

/// One line a field set: what a screen has room for.
fn document_lines(document: &Value) -> Vec<Line> {
    SHOWN_FIELDS
        .iter()
        .filter_map(|name| document.get(name).map(|value| (name, value)))
        .take(DOCUMENT_LINES)
        .map(|(name, value)| {
            Line::default().with(Ink::Key, format!("   {:<12} ", name)).with(Ink::Plain, safe(&compact(value)))
        })
        .collect()
}

/// A value as people write it: `{kind: event, type: [connection, denied]}`.
fn compact(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {}", compact(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn record_part(seen: &SyslogSeen, room: usize, width: usize) -> Vec<Line> {
    let counts =
        format!("{} allowed, {} denied, {} repeats", grouped(seen.allowed), grouped(seen.denied), seen.repeats);
    let mut lines = vec![Line::default(), title("CEF at the SIEM", &counts, seen.violations.count)];
    let raw = seen.last.back().map(|record| raw_lines(record, width)).unwrap_or_default();
    let rows = room.saturating_sub(lines.len() + raw.len()).min(RECORD_LINES);
    let newest = seen.last.len().saturating_sub(rows);
    lines.extend(seen.last.iter().skip(newest).map(record_row));
    lines.extend(raw);
    lines.truncate(room);
    lines
}

fn record_row(record: &Record) -> Line {
    let (ink, verdict) = verdict(record.verdict);
    let zones = format!("{} → {}", record.zones.0, record.zones.1);
    let ends = format!("{} → {}", record.source, record.dest);
    Line::default()
        .with(ink, format!("   {verdict:<6}"))
        .with(Ink::Bold, format!("{:<24}", safe(&zones)))
        .with(Ink::Plain, format!("{:<10}", safe(&record.service)))
        .with(Ink::Plain, safe(&ends))
        .with(Ink::Dim, format!("  {}", safe(&record.rule)))
}

const fn verdict(verdict: Verdict) -> (Ink, &'static str) {
    match verdict {
        Verdict::Allow => (Ink::Good, "allow"),
        Verdict::Deny => (Ink::Bad, "DENY"),
    }
}

fn raw_lines(record: &Record, width: usize) -> Vec<Line> {
    let text: Vec<char> = safe(&record.raw).chars().collect();
    let (ink, _) = verdict(record.verdict);
    let ink = if ink == Ink::Bad { Ink::Warn } else { Ink::Dim };
    let room = width.saturating_sub(4).max(20);
    text.chunks(room)
        .take(RAW_LINES)
        .map(|piece| Line::default().with(ink, format!("   {}", String::from_iter(piece))))
        .collect()
}

/// One moment as a line for a pipe, and under it the latest record.
pub fn plain(snapshot: &Snapshot) -> Vec<String> {
    let mut status = format!("{:>4}s written={}", snapshot.elapsed.as_secs(), snapshot.written.lines);
    for (lane, rate) in &snapshot.lanes {
        let LaneSnapshot { name, read, delivered, filtered, rejected, dropped, in_flight, lag_bytes, .. } = lane;
        status.push_str(&format!(
            " | {} read={read} delivered={delivered} filtered={filtered} rejected={rejected} dropped={dropped} \
             in_flight={in_flight} rate={rate}/s lag={lag_bytes}B",
            safe(name)
        ));
    }
    let latest = snapshot.syslog.as_ref().and_then(|seen| seen.last.back());
    let record = latest.map(|record| format!("      {}", safe(&record.raw)));
    [Some(status), record].into_iter().flatten().collect()
}

/// The last document in full, for the end of a piped run.
pub fn document(source: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(source).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&document).unwrap_or_default();
    pretty.lines().map(safe).collect()
}

/// Text that cannot steer a terminal: controls become their pictures (␛), other invisible characters U+FFFD.
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => {
                '\u{fffd}'
            }
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0 B`, `12.3 KiB`.
fn size(bytes: u64) -> String {
    // Exact enough for a picture.
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verdict: Verdict) -> Record {
        Record {
            verdict,
            zones: ("dmz".into(), "restricted".into()),
            source: "storefront/web-5c-* 10.42.0.10".into(),
            dest: "ledger/ledger-db-7f-*".into(),
            service: "TCP/5432".into(),
            rule: "app|ledger/app.x|deny|1".into(),
            raw: "CEF:0|Tidegate|Tidegate|0.1.0|flow:deny|Cross-zone flow denied|6|act=deny sproc=\u{1b}[2J".into(),
        }
    }

    fn snapshot() -> Snapshot {
        let lane = |name: &str, delivered, filtered, in_flight| LaneSnapshot {
            name: name.into(),
            read: 29_770,
            delivered,
            filtered,
            in_flight,
            lag_bytes: 1_234,
            ..LaneSnapshot::default()
        };
        let written = Written { lines: 29_772, denied: 412, rotations: 4, ..Written::default() };
        let last = r#"{"@timestamp":"2026-08-22T09:14:58.000Z","event":{"kind":"event","type":["connection","denied"]},
            "source":{"address":"storefront/web-5c-*","bytes":60},"ecs":{"version":"9.4.0"}}"#;
        Snapshot {
            elapsed: Duration::from_secs(75),
            written,
            rate: 2_481,
            lanes: vec![
                (lane("elasticsearch", 28_500, 0, 1_270), 2_480),
                (lane("siem-demo", 6_120, 21_900, 1_750), 512),
            ],
            bulk: Some(BulkSeen { flows: 28_480, raw: 20, last: Some(last.into()), ..BulkSeen::default() }),
            syslog: Some(SyslogSeen {
                allowed: 6_000,
                denied: 120,
                last: [record(Verdict::Allow), record(Verdict::Deny)].into(),
                ..SyslogSeen::default()
            }),
        }
    }

    const PLAIN: Canvas = Canvas { width: 100, height: 40, colour: false };

    #[test]
    fn golden_picture() {
        let drawn = draw(&snapshot(), Canvas { width: 110, ..PLAIN });
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/picture.golden");
        let drawn = drawn.join("\n") + "\n";
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(golden, &drawn).expect("written");
        }
        assert_eq!(drawn, std::fs::read_to_string(golden).expect("the golden picture"));
    }

    #[test]
    fn colour_is_only_colour() {
        let coloured = draw(&snapshot(), Canvas { colour: true, ..PLAIN });
        assert!(coloured.iter().any(|line| line.contains("\x1b[1;31m   DENY  \x1b[0m")), "{coloured:?}");
        assert!(coloured.iter().any(|line| line.contains("\x1b[32m   allow \x1b[0m")), "{coloured:?}");
        let bare: Vec<String> = coloured.iter().map(|line| without_colour(line)).collect();
        assert_eq!(bare, draw(&snapshot(), PLAIN));
    }

    /// Takes out `ESC [ digits and ; m`, and nothing else.
    fn without_colour(line: &str) -> String {
        let mut parts = line.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |out, part| out + part.split_once('m').map_or(part, |(_, rest)| rest))
    }

    #[test]
    fn fits_every_terminal() {
        for (width, height) in [(20, 5), (40, 12), (80, 24), (100, 30), (250, 80)] {
            let drawn = draw(&snapshot(), Canvas { width, height, colour: false });
            assert!(drawn.len() <= height, "{} lines in {height}", drawn.len());
            assert!(drawn.iter().all(|line| line.chars().count() <= width), "{drawn:#?}");
        }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let mut hostile = snapshot();
        hostile.lanes[0].0.name = "x\u{1b}[2J".into();
        if let Some(bulk) = &mut hostile.bulk {
            bulk.last = Some("{\"event\":{\"a\\u001b\":\"\\u009b31m\\u202e\"}}".into());
        }
        let lines = [draw(&hostile, PLAIN), plain(&hostile), document("{\"a\":\"\\u009b\"}")].concat();
        let controls: Vec<_> =
            lines.iter().filter(|line| line.chars().any(|c| c.is_control() || c == '\u{202e}')).collect();
        assert!(controls.is_empty(), "{controls:?}");
        assert!(lines.iter().any(|line| line.contains("x␛[2J")));
    }

    #[test]
    fn plain_lines() {
        let expected = [
            "  75s written=29772 | elasticsearch read=29770 delivered=28500 filtered=0 rejected=0 dropped=0 in_flight=1270 \
             rate=2480/s lag=1234B | siem-demo read=29770 delivered=6120 filtered=21900 rejected=0 dropped=0 \
             in_flight=1750 rate=512/s lag=1234B",
            "      CEF:0|Tidegate|Tidegate|0.1.0|flow:deny|Cross-zone flow denied|6|act=deny sproc=␛[2J",
        ];
        assert_eq!(plain(&snapshot()), expected);
    }

    #[test]
    fn numbers() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
        for (bytes, expected) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}

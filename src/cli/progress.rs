//! How far a long verb is: one line on a terminal, drawn over itself, or one JSON object a line.
//!
//! Progress goes to standard error; standard output is for what the verb found.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Output;
use crate::config::Span;
use crate::telemetry::logging::{self, Format};

/// Between two pictures on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Rates are of the last while.
const RATE_WINDOW: Duration = Duration::from_secs(10);
const BAR: usize = 20;
/// Used when the terminal does not say.
const WIDTH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum When {
    /// On a terminal
    #[default]
    Auto,
    /// Everywhere; a line a second where there is no terminal
    Always,
    Never,
    /// One JSON object a second
    Json,
}

/// What every long verb takes.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// How long a peer may decide nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", env = "TIDEGATE_TIMEOUT")]
    pub timeout: Span,

    /// Show how far it is
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", env = "TIDEGATE_PROGRESS")]
    pub progress: When,

    /// Form of the summary
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// One look at the work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    /// Of `total_bytes`.
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Lines or letters read.
    pub lines: u64,
    /// Numbers to tell, by name.
    pub numbers: Vec<(&'static str, u64)>,
    /// What is being read.
    pub file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bar,
    Lines,
    Json,
    Off,
}

pub struct Progress {
    verb: &'static str,
    form: Form,
    out: Box<dyn Write>,
    started: Instant,
    shown: Option<Instant>,
    /// Time, bytes and lines of the last looks.
    past: VecDeque<(Instant, u64, u64)>,
}

impl Progress {
    /// Also sets up the log, so that its lines do not get mixed with the bar: `level` and worse are told.
    pub fn start(verb: &'static str, when: When, level: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        let form = match (when, terminal) {
            (When::Json, _) => Form::Json,
            (When::Never, _) | (When::Auto, false) => Form::Off,
            (When::Auto | When::Always, true) => Form::Bar,
            (When::Always, false) => Form::Lines,
        };
        let format = if form == Form::Json { Format::Json } else { Format::Text };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match form {
            Form::Bar => logging::init_with(level, format, colour, || Over(io::stderr())),
            _ => logging::init(level, format, colour),
        }
        Self { verb, form, out: Box::new(io::stderr()), started: Instant::now(), shown: None, past: VecDeque::new() }
    }

    /// Shows a moment if it is time for it. A closed standard error is no reason to stop the work.
    pub fn show(&mut self, moment: &Moment) {
        let every = if self.form == Form::Bar { DRAW_EVERY } else { LINE_EVERY };
        if self.shown.is_none_or(|at| at.elapsed() >= every) {
            self.draw(moment);
        }
    }

    fn draw(&mut self, moment: &Moment) {
        let now = Instant::now();
        self.shown = Some(now);
        self.past.push_back((now, moment.done_bytes, moment.lines));
        while self.past.len() > 2 && now - self.past[0].0 > RATE_WINDOW {
            self.past.pop_front();
        }
        let rate = self.rate();
        let text = match self.form {
            Form::Bar => format!("\r{}\x1b[K", cut(&line(self.verb, moment, rate), width())),
            Form::Lines => format!("{}\n", line(self.verb, moment, rate)),
            Form::Json => format!("{}\n", object(self.verb, moment, rate, self.started.elapsed())),
            Form::Off => return,
        };
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Bytes and lines a second.
    fn rate(&self) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.past.front(), self.past.back()) else { return (0.0, 0.0) };
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds <= 0.0 {
            return (0.0, 0.0);
        }
        (last.1.saturating_sub(first.1) as f64 / seconds, last.2.saturating_sub(first.2) as f64 / seconds)
    }

    /// Shows how it ended, and leaves the line free for what comes after.
    pub fn end(&mut self, last: &Moment) {
        if self.form == Form::Bar {
            let _ = self.out.write_all(b"\r\x1b[K").and_then(|()| self.out.flush());
        } else {
            self.draw(last);
        }
        self.form = Form::Off;
    }
}

/// Log lines over the bar, which is drawn again soon.
struct Over<W>(W);

impl<W: Write> Write for Over<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(b"\r\x1b[K")?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn line(verb: &str, moment: &Moment, (bytes, lines): (f64, f64)) -> String {
    let share = share(moment);
    let full = (share * BAR as f64) as usize;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let mut text =
        format!("{verb} {:3.0}% [{bar}] {} lines, {}/s", share * 100.0, grouped(moment.lines), grouped(lines as u64));
    if let Some(left) = remaining(moment, bytes) {
        text.push_str(&format!(", {} left", clock(left)));
    }
    for (name, number) in moment.numbers.iter().filter(|(_, number)| *number > 0) {
        text.push_str(&format!(", {name} {}", grouped(*number)));
    }
    if let Some(file) = &moment.file {
        text.push_str(&format!(", {}", safe(file)));
    }
    text
}

fn object(verb: &str, moment: &Moment, (bytes, lines): (f64, f64), elapsed: Duration) -> Value {
    let mut object = json!({
        "progress": verb,
        "elapsed_seconds": (elapsed.as_secs_f64() * 10.0).round() / 10.0,
        "done_bytes": moment.done_bytes,
        "total_bytes": moment.total_bytes,
        "lines": moment.lines,
        "lines_per_second": lines.round() as u64,
        "remaining_seconds": remaining(moment, bytes).map(|left| left.as_secs()),
    });
    for (name, number) in &moment.numbers {
        object[*name] = json!(number);
    }
    if let Some(file) = &moment.file {
        object["file"] = json!(file);
    }
    object
}

fn share(moment: &Moment) -> f64 {
    if moment.total_bytes == 0 {
        return 1.0;
    }
    (moment.done_bytes as f64 / moment.total_bytes as f64).min(1.0)
}

fn remaining(moment: &Moment, bytes_per_second: f64) -> Option<Duration> {
    let left = moment.total_bytes.saturating_sub(moment.done_bytes) as f64;
    (bytes_per_second > 0.0).then(|| Duration::try_from_secs_f64(left / bytes_per_second).ok()).flatten()
}

/// `1:02:03`, `2:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// `12,345,678`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Text from outside for a terminal: nothing in it can steer it.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The first `width` characters; what was cut ends in `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        // The last column stays free, so that nothing wraps.
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col) - 1,
        _ => WIDTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            done_bytes: 50,
            total_bytes: 200,
            lines: 1_234_567,
            numbers: vec![("delivered", 1_000), ("rejected", 0)],
            file: Some("a\x1b[2Jb.log".into()),
        }
    }

    #[test]
    fn one_line() {
        let expected =
            "x  25% [#####...............] 1,234,567 lines, 2,500/s, 0:15 left, delivered 1,000, a\u{fffd}[2Jb.log";
        assert_eq!(line("x", &moment(), (10.0, 2_500.4)), expected);
        assert_eq!(cut(expected, 10), "x  25% [#…");
        let done = Moment { done_bytes: 300, ..moment() };
        assert!(line("x", &done, (0.0, 0.0)).starts_with("x 100% [####################]"), "never more than all");
        assert!(line("x", &Moment::default(), (0.0, 0.0)).starts_with("x 100%"), "nothing to do is done");
    }

    #[test]
    fn one_object() {
        let object = object("backfill", &moment(), (10.0, 7.0), Duration::from_millis(1_234));
        let expected = json!({
            "progress": "backfill", "elapsed_seconds": 1.2, "done_bytes": 50, "total_bytes": 200, "lines": 1_234_567,
            "lines_per_second": 7, "remaining_seconds": 15, "delivered": 1000, "rejected": 0, "file": "a\u{1b}[2Jb.log",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn times_and_numbers() {
        for (seconds, text) in [(0, "0:00"), (61, "1:01"), (3_723, "1:02:03"), (360_000, "100:00:00")] {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}

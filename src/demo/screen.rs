//! Where the demo is shown: a terminal, redrawn in place, or a pipe that gets a line now and then.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use super::picture::{Canvas, Snapshot, draw, plain};

/// Used when the terminal does not say.
const DEFAULT_SIZE: (usize, usize) = (100, 30);

pub struct Screen {
    out: Box<dyn Write>,
    terminal: bool,
    colour: bool,
    /// Lines of the last picture, to be drawn over.
    drawn: usize,
}

impl Screen {
    pub fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { out: Box::new(io::stdout()), terminal, colour: terminal && !refused, drawn: 0 }
    }

    /// A pipe into anything.
    #[cfg(test)]
    pub fn pipe(out: impl Write + 'static) -> Self {
        Self { out: Box::new(out), terminal: false, colour: false, drawn: 0 }
    }

    pub const fn colour(&self) -> bool {
        self.colour
    }

    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Time between two pictures.
    pub const fn interval(&self) -> Duration {
        if self.terminal { Duration::from_millis(300) } else { Duration::from_secs(2) }
    }

    /// Shows a moment.
    pub fn show(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if !self.terminal {
            return self.print(&plain(snapshot));
        }
        let (width, height) = size();
        // The last line stays free for the cursor, so that nothing scrolls.
        let lines = draw(snapshot, Canvas { width, height: height.saturating_sub(1), colour: self.colour });
        let mut out = String::from("\x1b[?25l\r");
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.drawn = lines.len();
        self.write(&out)
    }

    /// Writes lines below whatever is there.
    pub fn print(&mut self, lines: &[String]) -> io::Result<()> {
        self.drawn = 0;
        self.write(&lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Gives the cursor back.
    pub fn restore(&mut self) {
        if self.terminal {
            // Nothing can be done when the terminal is gone.
            let _ = self.write("\x1b[?25h");
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.restore();
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => DEFAULT_SIZE,
    }
}

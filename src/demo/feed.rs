//! Writes the log at its rate, on a thread of its own, while the agent reads it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::traffic::{LogWriter, Traffic, Written};

/// Lines are written in strokes, as a node flushes: this far apart.
const STROKE: Duration = Duration::from_millis(25);

#[derive(Debug, Clone)]
pub struct Feed {
    pub seed: u64,
    pub node: String,
    /// Lines a second.
    pub rate: u32,
    /// Ends by itself after so many lines.
    pub lines: Option<u64>,
    pub rotate_every: Duration,
    pub keep: usize,
}

/// A feed at work.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    written: Mutex<Written>,
    unread_bytes: AtomicU64,
    unsettled_lines: AtomicU64,
}

impl Feed {
    /// Begins to write into `folder`.
    pub fn start(self, folder: &Path) -> io::Result<Running> {
        let shared = Arc::new(Shared::default());
        let folder: PathBuf = folder.to_owned();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("demo-feed".to_owned()).spawn(move || self.run(&folder, &theirs))?;
        Ok(Running { shared, thread })
    }

    fn run(&self, folder: &Path, shared: &Shared) -> io::Result<()> {
        let mut traffic = Traffic::new(self.seed, &self.node);
        let mut writer = LogWriter::create(folder, self.keep)?;
        let begun = Instant::now();
        let mut rotated = begun;
        while !shared.stop.load(Ordering::Relaxed) {
            let due = due(self.rate, begun.elapsed()).min(self.lines.unwrap_or(u64::MAX));
            while writer.written().lines < due {
                writer.append(&traffic.next(unix_ms() / 1000))?;
            }
            writer.flush()?;
            if rotated.elapsed() >= self.rotate_every {
                writer.rotate(unix_ms())?;
                rotated = Instant::now();
            }
            writer
                .prune(shared.unread_bytes.load(Ordering::Relaxed), shared.unsettled_lines.load(Ordering::Relaxed))?;
            *shared.written.lock().unwrap_or_else(PoisonError::into_inner) = writer.written();
            if self.lines == Some(writer.written().lines) {
                break;
            }
            thread::sleep(STROKE);
        }
        Ok(())
    }
}

impl Running {
    pub fn written(&self) -> Written {
        *self.shared.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the slowest lane has yet to do: what it has not read is not deleted.
    pub fn behind(&self, unread_bytes: u64, unsettled_lines: u64) {
        self.shared.unread_bytes.store(unread_bytes, Ordering::Relaxed);
        self.shared.unsettled_lines.store(unsettled_lines, Ordering::Relaxed);
    }

    /// It wrote all its lines, or cannot write.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to end; [`Running::join`] waits for it.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end. All is written by then.
    pub fn join(self) -> io::Result<Written> {
        let ended =
            self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes the log panicked")));
        ended.map(|()| *self.shared.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lines that should have been written by now.
fn due(rate: u32, elapsed: Duration) -> u64 {
    let lines = u128::from(rate) * elapsed.as_micros() / 1_000_000;
    u64::try_from(lines).unwrap_or(u64::MAX)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_by_the_clock() {
        for (rate, ms, expected) in
            [(1000, 0, 0), (1000, 25, 25), (3, 1000, 3), (u32::MAX, 3_600_000, 15_461_882_262_000)]
        {
            assert_eq!(due(rate, Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn writes_its_lines_and_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let feed = Feed {
            seed: 1,
            node: "node-1".into(),
            rate: 1_000_000,
            lines: Some(500),
            rotate_every: Duration::from_secs(3600),
            keep: 1,
        };
        let written = feed.start(folder.path()).expect("started").join().expect("written");
        let text = std::fs::read_to_string(folder.path().join("flows.log")).expect("a log");
        assert_eq!((written.lines, text.lines().count()), (500, 500));
    }
}

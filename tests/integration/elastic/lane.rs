//! What stands around the sink in these tests: a lane's thread, an I/O runtime, a state folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::lane::{Before, Memory, Outcomes, Settled, Sink as _, Ticket, Wake};
use tidegate::model::{Body, Event, FileKey, LineId, Origin, RawLine};
use tidegate::sink::dead_letter::{self, WhenFull};
use tidegate::sink::elastic::{self, Config, ElasticSink, Pace, Stats};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::support::{SOON, temp_dir, wait_until};

/// A current-thread runtime on its own thread, as the agent has it.
pub struct Io {
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Io {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        Self { handle, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Encode = fn(&Event<'_>, &mut Vec<u8>);

/// The documents of these tests are the lines themselves.
fn as_it_is(event: &Event<'_>, out: &mut Vec<u8>) {
    if let Body::Raw(raw) = event.body {
        out.extend_from_slice(raw.original.as_bytes());
    }
}

/// A lane's end: what is added goes out in batches, and the settlements come back.
pub struct Lane {
    pub sink: ElasticSink<Encode>,
    pub stats: Arc<Stats>,
    pub folder: tempfile::TempDir,
    wakes: Receiver<Wake>,
    ticket: u64,
    _io: Io,
}

/// A dead letter that nothing is put into.
pub fn nowhere() -> dead_letter::Config {
    dead_letter::Config { dir: "/nonexistent".into(), lane: "x".into(), max_size: 1, when_full: WhenFull::Hold }
}

/// Waits that a test can wait for.
pub fn fast() -> Pace {
    let ms = Duration::from_millis;
    Pace { retry_first: ms(5), retry_max: ms(40), hold_first: ms(20), hold_max: ms(80), ..Pace::default() }
}

impl Lane {
    pub fn new(url: &str, adjust: impl FnOnce(&mut Config, &std::path::Path)) -> Self {
        let folder = temp_dir();
        let dead_letter = dead_letter::Config {
            dir: folder.path().join("dead-letter/elasticsearch"),
            lane: "elasticsearch".into(),
            max_size: dead_letter::MAX_SIZE,
            when_full: WhenFull::Hold,
        };
        let mut config = Config::new(vec![url.to_owned()], dead_letter);
        config.pace = fast();
        adjust(&mut config, folder.path());
        let io = Io::start();
        let (sender, wakes) = channel();
        let sink = elastic::sink_of(config, &io.handle, Outcomes::new(sender), as_it_is as Encode).expect("a sink");
        Self { stats: sink.stats(), sink, folder, wakes, ticket: 0, _io: io }
    }

    /// One document; the same number gives the same id.
    pub fn add(&mut self, number: u64, document: &str) {
        self.add_line(number, document, Before::Never);
    }

    fn add_line(&mut self, number: u64, document: &str, before: Before) {
        let raw = RawLine { original: document.into(), error_type: "not_json", error_message: String::new() };
        let origin = Origin { cluster: "c", node: "n", path: None, offset: number, id: id(number), read_at_ms: None };
        self.sink.add(&Event { origin, body: Body::Raw(&raw), zones: None }, before);
    }

    /// An earlier run left this note.
    pub fn recall(&mut self, note: &str) {
        self.sink.recall(Memory::Note(Some(note.into())));
    }

    /// As [`Lane::send`], with lines that may have been sent before.
    pub fn send_again(&mut self, numbers: impl IntoIterator<Item = u64>, before: Before) -> Ticket {
        numbers.into_iter().for_each(|number| self.add_line(number, &document(number), before));
        self.seal()
    }

    pub fn seal(&mut self) -> Ticket {
        self.ticket += 1;
        assert!(self.sink.seal(Ticket(self.ticket)) > 0);
        Ticket(self.ticket)
    }

    /// A batch of documents with these numbers.
    pub fn send(&mut self, numbers: impl IntoIterator<Item = u64>) -> Ticket {
        numbers.into_iter().for_each(|number| self.add(number, &document(number)));
        self.seal()
    }

    /// The next word of the sink but that there is room, which comes whenever a batch that waited had its turn.
    fn wake(&self, wait: Duration) -> Result<Wake, RecvTimeoutError> {
        let until = Instant::now() + wait;
        loop {
            match self.wakes.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Wake::Room) => {}
                other => return other,
            }
        }
    }

    #[track_caller]
    pub fn settled(&mut self) -> Settled {
        match self.wake(SOON) {
            Ok(Wake::Settled(settled)) => settled,
            other => panic!("no settlement: {other:?}; held by {:?}", self.stats.held()),
        }
    }

    /// A settlement if one comes within a moment.
    pub fn try_settled(&mut self) -> Option<Settled> {
        match self.wake(Duration::from_millis(500)) {
            Ok(Wake::Settled(settled)) => Some(settled),
            _ => None,
        }
    }

    pub fn sink_is_full(&self) -> bool {
        self.sink.fill().full
    }

    /// As [`Lane::settled`], with these counts.
    #[track_caller]
    pub fn expect(&mut self, delivered: u64, rejected: u64, dropped: u64) {
        let settled = self.settled();
        assert_eq!((settled.delivered, settled.rejected, settled.dropped), (delivered, rejected, dropped));
    }

    /// Nothing is settled for a while.
    #[track_caller]
    pub fn expect_nothing(&self) {
        let waited = self.wake(Duration::from_millis(150));
        assert!(matches!(waited, Err(RecvTimeoutError::Timeout)), "{waited:?}");
    }

    pub fn is_held_by(&self, name: &str) -> bool {
        self.stats.held().is_some_and(|why| why.as_str() == name)
    }

    #[track_caller]
    pub fn expect_hold(&self, name: &str) {
        wait_until(&format!("the hold {name}"), SOON, || self.is_held_by(name));
    }

    #[track_caller]
    pub fn finish(mut self) {
        self.sink.finish();
        match self.wake(SOON) {
            Ok(Wake::Finished) => {}
            other => panic!("not finished: {other:?}"),
        }
    }

    /// Files of the dead letter, oldest first.
    pub fn dead_letter_files(&self) -> Vec<PathBuf> {
        let dir = self.folder.path().join("dead-letter/elasticsearch");
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    /// All dead letters of this lane.
    pub fn dead_letters(&self) -> Vec<Value> {
        let read = |path| std::fs::read_to_string(path).expect("a file");
        let text: String = self.dead_letter_files().iter().map(read).collect();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

pub fn id(number: u64) -> LineId {
    LineId::new(Some(1_700_000_000), FileKey(7), number, &number.to_be_bytes())
}

pub fn document(number: u64) -> String {
    format!(r#"{{"@timestamp":"2026-11-23T00:00:00Z","message":"{number}","event":{{"duration":{number}}}}}"#)
}

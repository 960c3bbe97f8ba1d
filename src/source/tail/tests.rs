//! What happens to log files, step by step, against the source alone. Sizes are small; the built program is put through
//! more in the integration tests.

use super::*;
use crate::durable::Disk;
use crate::lane::Before;
use std::io::Write;

mod hostile;
mod peers;
mod quiet;
mod spool;

/// A folder, the files in it and a source over them that may be stopped and started.
struct Bench {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
    source: Option<FileSource>,
    chunk: Chunk,
    max_line: usize,
    start: Start,
    pattern: &'static str,
    disk: Disk,
    max_spool: u64,
    when_full: crate::source::spool::WhenFull,
    /// Lines that the source reported as skipped: dropped by the lane.
    skipped: u64,
    /// Of the last chunk.
    before: Before,
    watched: Watched,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
            source: None,
            chunk: Chunk::default(),
            max_line: 1 << 20,
            start: Start::Oldest,
            pattern: "flows.log",
            disk: Disk::default(),
            max_spool: 4 << 20,
            when_full: crate::source::spool::WhenFull::Hold,
            skipped: 0,
            before: Before::Never,
            watched: Watched::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
        self
    }

    fn rename(&self, from: &str, to: &str) -> &Self {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
        self
    }

    fn gzip(&self, name: &str) -> &Self {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&std::fs::read(self.path(name)).unwrap()).unwrap();
        std::fs::write(self.path(&format!("{name}.gz")), out.finish().unwrap()).unwrap();
        std::fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn source(&mut self) -> &mut FileSource {
        if self.source.is_none() {
            let config = Config {
                sources: vec![SourceConfig {
                    path: self.path(self.pattern),
                    rotated: None,
                    start: self.start,
                    max_line: self.max_line,
                }],
                cluster: "c".into(),
                node: "n".into(),
                spool: crate::source::spool::Config {
                    dir: self.state.path().join("spool/test"),
                    max_size: self.max_spool,
                    when_full: self.when_full,
                },
                watched: self.watched.clone(),
            };
            let store = Store::on(self.disk.clone(), self.state.path(), "test");
            self.source = Some(FileSource::open(config, store).unwrap());
        }
        self.source.as_mut().unwrap()
    }

    /// Reads everything that is there now; settles and persists it when `settle`.
    fn read_as(&mut self, settle: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut chunk = std::mem::take(&mut self.chunk);
        let (mut skipped, mut before) = (0, self.before);
        let source = self.source();
        source.wake();
        while source.next(&mut chunk) {
            skipped += chunk.skipped_lines;
            before = chunk.before;
            let text = String::from_utf8_lossy(chunk.bytes()).into_owned();
            lines.extend(text.lines().map(str::to_owned));
            lines.extend((0..chunk.skipped_lines).map(|_| "<skipped>".to_owned()));
            if settle {
                source.settle(chunk.mark(chunk.bytes().len()));
            }
        }
        if settle {
            source.persist(None).unwrap();
        }
        self.chunk = chunk;
        self.skipped += skipped;
        self.before = before;
        lines
    }

    /// What a look finds while the lane may not read.
    fn tend(&mut self) -> &mut Self {
        self.source().looked_at = None;
        self.source().tend();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        std::fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn zstd(&self, name: &str) -> &Self {
        let packed = zstd::tests::zstd(&[&std::fs::read(self.path(name)).unwrap()]);
        std::fs::write(self.path(&format!("{name}.zst")), packed).unwrap();
        self.remove(name)
    }

    /// A clean end of the process with whatever is not settled.
    fn part(&mut self) -> &mut Self {
        self.source().part();
        self.source().persist(None).unwrap();
        self.restart()
    }

    /// Everything looks as if nothing had moved for a while.
    fn quiet(&mut self) -> &mut Self {
        let long_ago = Instant::now().checked_sub(LINGER * 2).unwrap();
        let source = self.source();
        source.grown_at.values_mut().for_each(|at| *at = long_ago);
        for content in source.contents.values_mut() {
            content.missing = content.missing.map(|(bytes, _)| (bytes, long_ago));
        }
        source.listing_wanted = true;
        self
    }

    fn spool_files(&self) -> usize {
        std::fs::read_dir(self.state.path().join("spool/test")).map_or(0, Iterator::count)
    }

    fn expect(&mut self, lines: &[&str]) -> &mut Self {
        assert_eq!(self.read_as(true), lines);
        self
    }

    fn restart(&mut self) -> &mut Self {
        self.source = None;
        self
    }
}

#[test]
fn append_restart_append() {
    let mut b = Bench::new();
    b.expect(&[]);
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]).expect(&[]);
    b.append("flows.log", "a3\n");
    b.expect(&["a3"]).restart().expect(&[]);
    b.append("flows.log", "a4\n");
    b.restart().expect(&["a4"]);
}

#[test]
fn what_was_read_but_not_settled_is_read_again() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    assert_eq!(b.read_as(false), ["a1", "a2"]);
    b.restart().expect(&["a1", "a2"]);
    b.append("flows.log", "a3\n");
    assert_eq!(b.read_as(false), ["a3"]);
    b.source().rewind();
    b.expect(&["a3"]);
}

#[test]
fn rename_and_create() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", "a2\n").rename("flows.log", "flows-2026.log").append("flows.log", "b1\n");
    b.expect(&["a2", "b1"]);
    // The writer keeps its old descriptor for a while.
    b.append("flows-2026.log", "a3\n").append("flows.log", "b2\n");
    let mut lines = b.read_as(true);
    lines.sort_unstable();
    assert_eq!(lines, ["a3", "b2"]);
    b.restart().expect(&[]);
}

#[test]
fn renamed_away_and_nothing_new_yet() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.rename("flows.log", "elsewhere.txt").append("elsewhere.txt", "a2\n");
    b.expect(&["a2"]);
}

#[test]
fn rotated_while_down() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]).restart();
    b.append("flows.log", "a2\n").rename("flows.log", "flows.log.1").append("flows.log", "b1\n");
    b.expect(&["a2", "b1"]);
}

#[test]
fn rotated_and_compressed_while_down() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]).restart();
    b.append("flows.log", "a3\n").rename("flows.log", "flows.log.1").gzip("flows.log.1").append("flows.log", "b1\n");
    b.expect(&["a3", "b1"]).restart().expect(&[]);
}

#[test]
fn compressed_while_running_is_not_read_again() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]);
    b.rename("flows.log", "flows-1.log").append("flows.log", "b1\n");
    b.expect(&["b1"]);
    b.gzip("flows-1.log");
    b.expect(&[]).restart().expect(&[]);
}

#[test]
fn unlinked_while_open() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", "a2\n");
    std::fs::remove_file(b.path("flows.log")).unwrap();
    b.append("flows.log", "b1\n");
    b.expect(&["a2", "b1"]);
}

#[test]
fn truncated_to_smaller_and_to_larger() {
    let mut b = Bench::new();
    b.append("flows.log", "a1 long enough\na2 long enough\n");
    b.expect(&["a1 long enough", "a2 long enough"]);
    std::fs::write(b.path("flows.log"), "b1\n").unwrap();
    b.expect(&["b1"]);
    std::fs::write(b.path("flows.log"), "c1 refilled beyond\nthe old offset\n").unwrap();
    b.expect(&["c1 refilled beyond", "the old offset"]);
    // While down, too.
    b.restart();
    std::fs::write(b.path("flows.log"), "d1 refilled beyond\nthe old offset again\n").unwrap();
    b.expect(&["d1 refilled beyond", "the old offset again"]);
}

#[test]
fn copied_and_truncated() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]);
    b.append("flows.log", "a3\n");
    std::fs::copy(b.path("flows.log"), b.path("flows.log.1")).unwrap();
    std::fs::write(b.path("flows.log"), "b1\n").unwrap();
    let mut lines = b.read_as(true);
    lines.sort_unstable();
    assert_eq!(lines, ["a3", "b1"], "the copy is read on where the original was left");
    b.restart().expect(&[]);
}

#[test]
fn a_copy_beside_its_original_is_not_read() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]);
    std::fs::copy(b.path("flows.log"), b.path("flows.log.1")).unwrap();
    std::fs::write(b.path("flows.log.2"), "a1\n").unwrap();
    b.expect(&[]);
    b.append("flows.log", "a3\n");
    b.expect(&["a3"]).restart().expect(&[]);
}

#[test]
fn same_head_different_tails_are_two_files() {
    let mut b = Bench::new();
    let head = "x".repeat(1500);
    b.append("flows.log", format!("{head}\na2\n"));
    b.expect(&[&head, "a2"]);
    b.rename("flows.log", "flows.log.1").append("flows.log", format!("{head}\nb2\nb3\n"));
    b.expect(&[&head, "b2", "b3"]).restart().expect(&[]);
}

#[test]
fn a_new_file_that_is_shorter_than_its_twin_is_read_after_a_wait() {
    let mut b = Bench::new();
    b.append("flows.log", "same\na2\na3\n");
    b.expect(&["same", "a2", "a3"]);
    std::fs::remove_file(b.path("flows.log")).unwrap();
    b.append("flows.log", "same\nb2\n");
    let mut lines = Vec::new();
    for _ in 0..usize::from(WAIT_LISTINGS) + 2 {
        lines.extend(b.read_as(true));
    }
    assert_eq!(lines, ["same", "b2"]);
}

#[test]
fn half_a_line_then_the_rest() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\nha");
    b.expect(&["a1"]);
    assert_eq!(b.source().unterminated().len(), 1);
    b.restart().expect(&[]);
    b.append("flows.log", "lf\n");
    b.expect(&["half"]);
    assert!(b.source().unterminated().is_empty());
    let mut b = Bench::new();
    b.append("flows.log", "no line yet");
    b.expect(&[]);
    b.append("flows.log", " but now\n");
    b.expect(&["no line yet but now"]);
}

#[test]
fn lines_up_to_the_limit_and_beyond() {
    for max_line in [100, 300 << 10, 1 << 20] {
        let mut b = Bench::new();
        b.max_line = max_line;
        let (fits, long) = ("f".repeat(max_line), "l".repeat(READ.max(max_line) * 2));
        b.append("flows.log", format!("a1\n{fits}\n{long}\na2\n"));
        // A shorter limit than a read is the lane's to judge; here only what no read can hold is skipped.
        b.expect(&["a1", &fits, "<skipped>", "a2"]);
        b.append("flows.log", &long);
        b.expect(&[]);
        b.append("flows.log", format!("{long}\na3\n"));
        b.expect(&["<skipped>", "a3"]).restart().expect(&[]);
    }
}

#[test]
fn two_names_of_one_file() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    std::fs::hard_link(b.path("flows.log"), b.path("flows.log.1")).unwrap();
    std::os::unix::fs::symlink(b.path("flows.log"), b.path("flows.log.2")).unwrap();
    b.expect(&["a1"]);
}

#[test]
fn a_symlink_that_is_turned() {
    let mut b = Bench::new();
    b.append("one.txt", "a1\n").append("two.txt", "b1\n");
    std::os::unix::fs::symlink(b.path("one.txt"), b.path("flows.log")).unwrap();
    b.expect(&["a1"]);
    b.append("one.txt", "a2\n");
    std::fs::remove_file(b.path("flows.log")).unwrap();
    std::os::unix::fs::symlink(b.path("two.txt"), b.path("flows.log")).unwrap();
    let mut lines = b.read_as(true);
    lines.sort_unstable();
    assert_eq!(lines, ["a2", "b1"]);
}

#[test]
fn oldest_first() {
    let mut b = Bench::new();
    let now = SystemTime::now();
    for (age, name) in [(30, "flows.log.2"), (20, "flows-x.log"), (10, "flows.log")] {
        b.append(name, format!("{name}\n"));
        let file = std::fs::File::options().append(true).open(b.path(name)).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    b.expect(&["flows.log.2", "flows-x.log", "flows.log"]);
}

#[test]
fn start_at_the_end() {
    let mut b = Bench::new();
    b.start = Start::End;
    b.append("flows.log", "old\nhalf").append("flows.log.1", "older\n").gzip("flows.log.1");
    b.expect(&[]);
    b.append("flows.log", " line\nnew\n");
    b.expect(&["half line", "new"]);
    b.restart().expect(&[]);
}

#[test]
fn a_broken_gzip_gives_its_whole_lines_and_stops_nothing() {
    let mut b = Bench::new();
    let text: String = (0..5000).map(|i| format!("line {i} {}\n", i * 7919)).collect();
    b.append("flows.log.1", &text).gzip("flows.log.1");
    let whole = std::fs::read(b.path("flows.log.1.gz")).unwrap();
    std::fs::write(b.path("flows.log.1.gz"), &whole[..whole.len() / 2]).unwrap();
    b.append("flows.log", "live\n");
    let lines = b.read_as(true);
    assert!(lines.contains(&"live".to_owned()));
    let some = lines.len() - 1;
    assert!(some > 100 && some < 5000, "{some}");
    // The rest arrives: it was still being written.
    std::fs::write(b.path("flows.log.1.gz"), &whole).unwrap();
    assert_eq!(b.read_as(true).len(), 5000 - some);
}

#[test]
fn not_a_file() {
    let mut b = Bench::new();
    std::fs::create_dir(b.path("flows.log.d")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        b.path("flows.log.fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
}

#[test]
fn late_directory() {
    let mut b = Bench::new();
    b.pattern = "late/flows.log";
    b.expect(&[]);
    std::fs::create_dir(b.path("late")).unwrap();
    b.append("late/flows.log", "a1\n");
    b.expect(&["a1"]);
}

#[test]
fn many_files_few_descriptors() {
    let mut b = Bench::new();
    for i in 0..OPEN_LIMIT * 3 {
        b.append(&format!("flows-{i:04}.log"), format!("{i}\n"));
    }
    let mut lines = b.read_as(true);
    lines.sort_unstable_by_key(|l| l.parse::<usize>().unwrap());
    assert_eq!(lines, (0..OPEN_LIMIT * 3).map(|i| i.to_string()).collect::<Vec<_>>());
    let open = b.source().contents.values().filter(|c| c.place.as_ref().is_some_and(|p| p.reader.is_some())).count();
    assert!(open <= OPEN_LIMIT, "{open}");
    b.append("flows-0003.log", "again\n");
    b.source().listing_wanted = true;
    b.expect(&["again"]).restart().expect(&[]);
}

/// What was there at the start may have been sent since the last checkpoint; what is written later was not.
#[test]
fn what_is_written_after_a_start_was_not_sent_before_it() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]).restart();
    b.append("flows.log", "a2\n");
    b.expect(&["a2"]);
    assert_eq!(b.before, Before::SinceCheckpoint);
    for line in ["a3", "a4"] {
        b.append("flows.log", format!("{line}\n"));
        b.expect(&[line]);
        assert_eq!(b.before, Before::Never, "{line}");
    }
    // A rotation does not change that.
    b.rename("flows.log", "flows.log.1").append("flows.log.1", "a5\n");
    b.source().listing_wanted = true;
    b.expect(&["a5"]);
    assert_eq!(b.before, Before::Never);
}

#[test]
fn what_rests_is_not_looked_at_until_it_changes() {
    let mut b = Bench::new();
    for n in 0..OPEN_LIMIT * 2 {
        b.append(&format!("flows-{n:04}.log"), format!("{n}\n"));
    }
    assert_eq!(b.read_as(true).len(), OPEN_LIMIT * 2);
    b.source().wake();
    b.expect(&[]);
    let awake = b.source().contents.awake().count();
    assert_eq!(awake, b.source().open_files(), "only what is open");
    assert!(awake < OPEN_LIMIT);
    b.restart().expect(&[]);
    assert_eq!(b.source().contents.awake().count(), YOUNGEST);
    b.append("flows-0000.log", "more\n");
    b.source().listing_wanted = true;
    b.expect(&["more"]);
}

#[test]
fn lag_counts_what_is_not_settled() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\npartial");
    assert_eq!(b.read_as(false), ["a1", "a2"]);
    assert_eq!((b.source().lag_bytes(), b.source().unread_bytes()), (6, 0));
    b.source().rewind();
    assert_eq!((b.source().lag_bytes(), b.source().unread_bytes()), (6, 6));
    b.expect(&["a1", "a2"]);
    assert_eq!((b.source().lag_bytes(), b.source().unread_bytes()), (0, 0));
}

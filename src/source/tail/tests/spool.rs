//! Files that are deleted before they are settled.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::*;
use crate::durable::Step;
use crate::durable::faults::{Fault, Faults};
use crate::source::spool::WhenFull;

fn many(from: usize, count: usize) -> (String, Vec<String>) {
    let lines: Vec<String> = (from..from + count).map(|n| format!("line {n} {:x}", n * 2_654_435_761)).collect();
    (lines.join("\n") + "\n", lines)
}

#[test]
fn deleted_before_it_was_read_and_killed() {
    let mut b = Bench::new();
    let (text, lines) = many(0, 50_000);
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", &text);
    b.remove("flows.log");
    b.tend();
    assert!(b.spool_files() >= 1);
    // Killed: no persist, no drain.
    b.restart();
    b.append("flows.log", "b1\n");
    let mut found = b.read_as(true);
    assert_eq!(found.len(), 50_001);
    found.retain(|line| line != "b1");
    assert!(found == lines, "in order, each once");
    assert_eq!(b.spool_files(), 0, "removed when settled");
    b.restart().expect(&[]);
}

#[test]
fn offsets_and_keys_stay_what_they_were() {
    let mut places = Vec::new();
    for deleted in [false, true] {
        let mut b = Bench::new();
        b.append("flows.log", "first\nsecond\nthird\n");
        b.tend();
        if deleted {
            b.remove("flows.log");
            b.tend().restart();
        }
        let mut chunk = Chunk::default();
        assert!(b.source().next(&mut chunk));
        places.push((chunk.key, chunk.offset, chunk.bytes().to_vec(), chunk.mark(6), chunk.max_line));
    }
    (places[0].3.file, places[1].3.file) = (0, 0);
    assert_eq!(places[0], places[1]);
}

#[test]
fn read_but_not_settled_is_read_again_from_the_spool() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    assert_eq!(b.read_as(false), ["a1", "a2"]);
    b.remove("flows.log");
    b.tend();
    assert_eq!(b.source().lag_bytes(), 6);
    b.source().rewind();
    assert_eq!(b.read_as(false), ["a1", "a2"]);
    b.quiet().tend();
    assert_eq!(b.source().open_files(), 0, "the descriptor is closed");
    assert_eq!(b.source().lag_bytes(), 6);
    b.source().rewind();
    assert_eq!(b.read_as(false), ["a1", "a2"], "now from the spool");
    b.restart().expect(&["a1", "a2"]);
    assert_eq!(b.spool_files(), 0);
}

#[test]
fn settled_in_the_middle_of_the_spool() {
    let mut b = Bench::new();
    let (text, lines) = many(0, 5_000);
    b.append("flows.log", &text);
    b.tend().remove("flows.log");
    b.tend();
    let mut chunk = Chunk::default();
    b.quiet().tend();
    assert!(b.source().next(&mut chunk));
    let some = memchr::memchr_iter(b'\n', chunk.bytes()).nth(99).unwrap() + 1;
    let mark = chunk.mark(some);
    b.source().settle(mark);
    b.source().persist(None).unwrap();
    b.restart();
    assert!(b.read_as(true) == lines[100..]);
    b.restart().expect(&[]);
}

#[test]
fn the_checkpoint_is_older_than_the_spool_or_lost() {
    for lost in [false, true] {
        let mut b = Bench::new();
        b.append("flows.log", "a1\na2\na3\n");
        let mut chunk = Chunk::default();
        b.source().persist(None).unwrap();
        assert!(b.source().next(&mut chunk));
        // Settled, and the checkpoint does not know it.
        b.source().settle(chunk.mark(3));
        b.remove("flows.log");
        b.tend().restart();
        if lost {
            let _ = std::fs::remove_file(b.state.path().join("test.json"));
        }
        b.expect(&["a2", "a3"]);
    }
}

#[test]
fn a_writer_that_keeps_its_descriptor() {
    let mut b = Bench::new();
    let mut writer = std::fs::File::create(b.path("flows.log")).unwrap();
    writer.write_all(b"a1\nhal").unwrap();
    b.tend();
    b.remove("flows.log");
    b.tend();
    writer.write_all(b"f\na3\n").unwrap();
    b.tend();
    writer.write_all(b"a4\n").unwrap();
    b.tend();
    assert_eq!(b.spool_files(), 1, "a small part grows");
    b.restart().expect(&["a1", "half", "a3", "a4"]);
    // Minutes of silence do not matter while few files are held.
    let mut b = Bench::new();
    let mut writer = std::fs::File::create(b.path("flows.log")).unwrap();
    writer.write_all(b"a1\n").unwrap();
    b.expect(&["a1"]);
    b.remove("flows.log");
    b.expect(&[]);
    let minutes_ago = Instant::now().checked_sub(Duration::from_secs(500)).unwrap();
    b.source().grown_at.values_mut().for_each(|at| *at = minutes_ago);
    b.expect(&[]);
    writer.write_all(b"a2\n").unwrap();
    b.expect(&["a2"]);
    b.quiet().expect(&[]);
    assert_eq!(b.source().open_files(), 0);
}

#[test]
fn many_deleted_files_are_not_held() {
    let mut b = Bench::new();
    for n in 0..40 {
        b.append("flows.log", format!("{n}\n"));
        b.expect(&[&n.to_string()]);
        b.remove("flows.log");
    }
    let ago = Instant::now().checked_sub(LINGER_DELETED * 2).unwrap();
    b.source().grown_at.values_mut().for_each(|at| *at = ago);
    b.expect(&[]);
    assert_eq!(b.source().open_files(), 16);
}

#[test]
fn a_copy_or_a_packed_copy_is_no_loss() {
    for how in ["copy", "gzip", "zstd"] {
        let mut b = Bench::new();
        let (text, lines) = many(0, 2_000);
        b.append("flows.log", &text).rename("flows.log", "flows.log.1");
        assert_eq!(b.read_as(false).len(), 2_000);
        match how {
            "copy" => {
                std::fs::copy(b.path("flows.log.1"), b.path("flows.log.2")).unwrap();
                b.remove("flows.log.1");
            }
            "gzip" => _ = b.gzip("flows.log.1"),
            _ => _ = b.zstd("flows.log.1"),
        }
        b.tend();
        assert_eq!(b.spool_files(), 0, "{how}");
        b.source().persist(None).unwrap();
        b.restart();
        assert!(b.read_as(true) == lines, "{how}");
        b.restart().expect(&[]);
    }
    // A packed copy that is cut is no copy.
    let mut b = Bench::new();
    let (text, lines) = many(0, 2_000);
    b.append("flows.log", &text).rename("flows.log", "flows.log.1");
    b.tend();
    b.gzip("flows.log.1");
    let packed = std::fs::read(b.path("flows.log.1.gz")).unwrap();
    std::fs::write(b.path("flows.log.1.gz"), &packed[..packed.len() / 2]).unwrap();
    b.tend();
    assert_eq!(b.spool_files(), 1);
    assert!(b.read_as(true) == lines);
}

#[test]
fn a_packed_copy_that_appears_later_is_not_read_again() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n").rename("flows.log", "flows.log.1");
    b.tend();
    let text = std::fs::read(b.path("flows.log.1")).unwrap();
    b.remove("flows.log.1");
    b.tend().restart();
    b.append("flows.log.1", text).gzip("flows.log.1");
    b.expect(&["a1", "a2"]).restart().expect(&[]);
}

#[test]
fn an_end_past_the_deadline_keeps_what_the_next_start_could_not_find() {
    // Deleted, and moved to where no source looks.
    for moved in [false, true] {
        let mut b = Bench::new();
        b.append("flows.log", "a1\na2\n");
        assert_eq!(b.read_as(false), ["a1", "a2"]);
        if moved {
            b.rename("flows.log", "elsewhere.txt");
        } else {
            b.remove("flows.log");
        }
        b.part().expect(&["a1", "a2"]);
        assert_eq!(b.spool_files(), 0);
    }
    // What can be found again is not copied.
    let mut b = Bench::new();
    b.append("flows.log", "a1\n").rename("flows.log", "flows.log.1").append("flows.log", "b1\n");
    b.read_as(false);
    b.part();
    assert_eq!(b.spool_files(), 0);
    b.expect(&["a1", "b1"]);
}

#[test]
fn a_full_spool_holds_the_file_open_until_there_is_room() {
    let mut b = Bench::new();
    b.max_spool = 64 << 10;
    let (text, lines) = many(0, 30_000);
    b.append("flows.log", &text);
    b.tend().remove("flows.log");
    b.tend();
    let stats = b.source().stats();
    assert_eq!((stats.spool_held.load(Relaxed), b.source().open_files()), (1, 1));
    assert!(stats.spool_bytes.load(Relaxed) <= 64 << 10);
    b.quiet().tend();
    assert_eq!(b.source().open_files(), 1, "quiet or not, it is held");
    assert!(b.read_as(true) == lines);
    b.quiet().tend();
    assert_eq!((b.source().open_files(), b.spool_files()), (0, 0));
}

#[test]
fn under_drop_oldest_the_numbers_add_up() {
    let mut b = Bench::new();
    b.max_spool = 300 << 10;
    b.when_full = WhenFull::DropOldest;
    let mut written = 0;
    for _ in 0..12 {
        let (text, _) = many(written, 5_000);
        written += 5_000;
        b.append("flows.log", &text).append("flows.log", "\n  \n");
        b.tend().remove("flows.log");
        b.tend();
        b.source().hold = Hold::default();
        b.quiet().tend();
        assert!(b.source().spool.size() <= 300 << 10);
    }
    let given_up = b.source().stats().spool_given_up_lines.load(Relaxed);
    assert!(given_up > 5_000, "{given_up}");
    b.restart();
    // Read twice: a rewind counts nothing twice that is not read twice.
    let first = b.read_as(false).len() as u64;
    b.source().rewind();
    b.skipped = 0;
    let lines = b.read_as(true);
    assert_eq!(lines.len() as u64, first);
    let blank = lines.iter().filter(|line| line.trim().is_empty()).count();
    assert_eq!((lines.len() - blank, b.skipped), (written, given_up));
    assert_eq!(b.spool_files(), 0);
    b.restart().expect(&[]);
}

#[test]
fn a_disk_that_fails_holds_and_recovers() {
    for step in [Step::MakeDirectory, Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncDirectory] {
        for errno in [Errno::NOSPC, Errno::IO, Errno::ACCESS] {
            let mut b = Bench::new();
            let faults = Faults::at(step, Fault::Error(errno));
            b.disk = Disk::with(faults.clone());
            b.append("flows.log", "a1\na2\n");
            b.tend().remove("flows.log");
            b.tend();
            assert_eq!(b.source().stats().spool_held.load(Relaxed), 1, "{step:?}");
            b.quiet().tend();
            assert_eq!(b.source().open_files(), 1);
            faults.mend();
            b.source().hold = Hold::default();
            b.tend();
            assert_eq!(b.source().stats().spool_held.load(Relaxed), 0);
            b.restart().expect(&["a1", "a2"]);
        }
    }
}

/// A small file system that is full for real, mounted where the state lies.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, size: &str) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tidegate-test"])
            .arg(path)
            .output();
        if mounted.as_ref().is_ok_and(|out| out.status.success()) {
            return Some(Self(path));
        }
        let why = "a tmpfs cannot be mounted here (it takes root, or CAP_SYS_ADMIN)";
        assert!(std::env::var_os("TIDEGATE_TEST_PEERS").is_none_or(|v| v != "required"), "{why}");
        eprintln!("WENT WITHOUT a full file system: {why}");
        None
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_file_system_that_is_really_full() {
    let mut b = Bench::new();
    let state = b.state.path().to_path_buf();
    let Some(disk) = SmallDisk::mount(&state, "1m") else { return };
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    let filler = disk.fill();
    let (text, lines) = many(0, 5_000);
    b.append("flows.log", &text);
    // The checkpoint cannot be written, the old one stands.
    let mut chunk = Chunk::default();
    b.source().wake();
    assert!(b.source().next(&mut chunk));
    let mark = chunk.mark(chunk.bytes().len());
    b.source().settle(mark);
    let error = b.source().persist(None).unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    let (more, more_lines) = many(5_000, 5_000);
    b.append("flows.log", &more).remove("flows.log");
    b.tend();
    assert_eq!((b.source().stats().spool_held.load(Relaxed), b.spool_files()), (1, 0));
    // Somebody makes room.
    std::fs::remove_file(filler).unwrap();
    b.source().hold = Hold::default();
    b.tend();
    assert_eq!(b.source().stats().spool_held.load(Relaxed), 0);
    b.source().persist(None).unwrap();
    b.restart();
    let mut found = lines;
    found.drain(..frame_lines(chunk.bytes()));
    found.extend(more_lines);
    assert!(b.read_as(true) == found);
    b.restart().expect(&[]);
    b.source = None;
}

fn frame_lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

#[test]
fn an_over_long_line_in_a_deleted_file_is_counted_once() {
    let mut b = Bench::new();
    b.max_line = 300 << 10;
    let long = "l".repeat(700 << 10);
    b.append("flows.log", format!("a1\n{long}\na2\n"));
    b.tend().remove("flows.log");
    b.tend().restart().expect(&["a1", "<skipped>", "a2"]);
}

/// Half a line, or what a truncated writer left: nobody can ever send it, so it must not hold the file open, nor be read
/// again at every look.
#[test]
fn a_deleted_file_that_ends_in_no_line_is_let_go() {
    for end in [b"half a line".to_vec(), vec![0; READ * 2 + 1]] {
        let mut b = Bench::new();
        b.append("flows.log", "a1\n").append("flows.log", &end);
        b.expect(&["a1"]);
        b.remove("flows.log");
        b.quiet().tend().quiet().tend();
        assert_eq!((b.spool_files(), b.source().open_files()), (0, 0), "{} bytes", end.len());
    }
}

//! What other forwarders are known to lose or double, as far as the source alone can show it, and what a node does to
//! files besides.

use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

fn hour(forward: bool) -> SystemTime {
    let now = SystemTime::now();
    if forward { now + Duration::from_secs(3600) } else { now - Duration::from_secs(3600) }
}

impl Bench {
    fn touch_at(&self, path: &Path, time: SystemTime) -> &Self {
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
        self
    }

    /// Changes the checkpoint's text.
    fn doctor(&self, change: impl Fn(&mut serde_json::Value)) {
        let path = self.state.path().join("test.json");
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        value["files"].as_array_mut().unwrap().iter_mut().for_each(change);
        std::fs::write(&path, value.to_string()).unwrap();
    }

    fn lost(&mut self) -> (u64, u64) {
        let stats = self.source().stats();
        (stats.lost_files.load(Relaxed), stats.lost_bytes.load(Relaxed))
    }
}

#[test]
fn times_that_make_no_sense() {
    let mut b = Bench::new();
    for (n, forward) in [true, false, true].into_iter().enumerate() {
        b.append("flows.log", format!("{n}\n"));
        b.touch_at(&b.path("flows.log"), hour(forward)).touch_at(b.dir.path(), hour(!forward));
        b.expect(&[&n.to_string()]).expect(&[]);
        b.rename("flows.log", &format!("flows.log.{n}"));
        b.touch_at(b.dir.path(), hour(forward));
        b.expect(&[]).restart().expect(&[]);
    }
}

#[test]
fn a_directory_from_the_future_does_not_cost_a_listing_at_every_wake() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n").touch_at(b.dir.path(), hour(true));
    b.expect(&["a1"]);
    b.touch_at(b.dir.path(), hour(true));
    b.expect(&[]);
    assert!(!b.source().listing_due());
}

#[test]
fn several_rotations_between_two_looks() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", "a2\n").rename("flows.log", "flows.log.3").append("flows.log", "b1\n");
    b.rename("flows.log", "flows.log.2").append("flows.log", "c1\n").rename("flows.log", "flows.log.1");
    b.append("flows.log", "d1\n");
    let mut lines = b.read_as(true);
    lines.sort_unstable();
    assert_eq!(lines, ["a2", "b1", "c1", "d1"]);
    b.restart().expect(&[]);
}

#[test]
fn rotated_over_a_name_that_is_not_read_yet() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.tend();
    b.rename("flows.log", "flows.log.1").append("flows.log", "b1\n");
    b.tend();
    b.rename("flows.log", "flows.log.1").append("flows.log", "c1\n");
    b.tend();
    assert_eq!(b.spool_files(), 1);
    let mut lines = b.read_as(true);
    lines.sort_unstable();
    assert_eq!(lines, ["a1", "b1", "c1"]);
    b.restart().expect(&[]);
}

#[test]
fn another_device_number_after_a_reboot() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n").append("flows.log.1", "b1\n");
    assert_eq!(b.read_as(true).len(), 2);
    b.restart();
    b.doctor(|file| file["device"] = (file["device"].as_u64().unwrap() + 7).into());
    b.expect(&[]);
}

#[test]
fn an_offset_far_beyond_the_file_does_not_silence_it() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\n");
    b.expect(&["a1", "a2"]).restart();
    b.doctor(|file| {
        file["offset"] = 1_000_000.into();
        file["read"] = 1_000_000.into();
    });
    let lines: Vec<_> = (0..usize::from(WAIT_LISTINGS) + 2).flat_map(|_| b.read_as(true)).collect();
    assert_eq!(lines, ["a1", "a2"]);
}

/// Makes a file until it has this inode; false when the file system gives other ones.
fn with_inode(path: &Path, inode: u64, text: &str) -> bool {
    for _ in 0..200 {
        std::fs::write(path, text).unwrap();
        if std::fs::metadata(path).unwrap().ino() == inode {
            return true;
        }
        std::fs::remove_file(path).unwrap();
    }
    false
}

#[test]
fn an_inode_that_is_used_again() {
    for text in ["n1\n", "new1 which is a longer line\nand one more\n", "b1\nb2\n"] {
        for running in [false, true] {
            let mut b = Bench::new();
            b.append("flows.log", "a1\na2\n");
            b.expect(&["a1", "a2"]);
            if !running {
                b.restart();
            } else {
                b.source().close_oldest();
            }
            let (path, inode) = (b.path("flows.log"), std::fs::metadata(b.path("flows.log")).unwrap().ino());
            b.remove("flows.log");
            if !with_inode(&path, inode, text) {
                eprintln!("this file system does not use an inode again; the case is not looked at");
                return;
            }
            b.quiet();
            let expected: Vec<&str> = text.lines().collect();
            b.expect(&expected).restart().expect(&[]);
        }
    }
}

#[test]
fn names_that_are_no_text() {
    let mut b = Bench::new();
    b.pattern = "flow*";
    let name = std::ffi::OsString::from_vec(b"flows-\xff\xfe.log".to_vec());
    std::fs::write(b.dir.path().join(&name), "a1\n").unwrap();
    b.expect(&["a1"]);
    std::fs::write(b.dir.path().join(&name), "a1\na2\n").unwrap();
    b.expect(&["a2"]).restart().expect(&[]);
}

#[test]
fn a_directory_that_is_removed_and_made_again() {
    let mut b = Bench::new();
    b.pattern = "logs/flows.log";
    std::fs::create_dir(b.path("logs")).unwrap();
    b.append("logs/flows.log", "a1\n");
    b.expect(&["a1"]);
    std::fs::remove_dir_all(b.path("logs")).unwrap();
    b.expect(&[]);
    std::fs::create_dir(b.path("logs")).unwrap();
    b.append("logs/flows.log", "b1\n");
    b.expect(&["b1"]).restart().expect(&[]);
}

#[test]
fn a_hole_at_the_beginning_is_no_line() {
    // A writer that does not append goes on behind what was truncated: zeros as far as it had come.
    for hole in [1u64, 3, 100_000, 3 << 20] {
        let mut b = Bench::new();
        b.append("flows.log", "");
        let file = std::fs::File::options().write(true).open(b.path("flows.log")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"a1\na2\n", hole).unwrap();
        let lines = b.read_as(true);
        let lines: Vec<_> = lines.iter().map(|line| line.trim_start_matches('\0')).collect();
        assert_eq!((lines, b.skipped), (vec!["a1", "a2"], 0), "{hole}");
        b.append("flows.log", "a3\n");
        b.restart().expect(&["a3"]);
    }
}

#[test]
fn a_source_that_names_fewer_files_for_a_while() {
    let mut b = Bench::new();
    b.pattern = "*.log";
    b.append("a.log", "a1\n").append("b.log", "b1\n");
    assert_eq!(b.read_as(true).len(), 2);
    b.restart();
    b.pattern = "a.log";
    b.append("a.log", "a2\n");
    b.expect(&["a2"]).restart();
    b.pattern = "*.log";
    b.append("b.log", "b2\n");
    b.expect(&["b2"]);
}

#[test]
fn a_damaged_checkpoint_reads_everything_whatever_start_says() {
    let mut b = Bench::new();
    b.start = Start::End;
    b.append("flows.log", "old\n");
    b.expect(&[]);
    b.append("flows.log", "a1\n");
    b.restart();
    std::fs::write(b.state.path().join("test.json"), "{").unwrap();
    b.expect(&["old", "a1"]);
}

#[test]
fn deleted_before_it_was_read_is_said() {
    // While we did not run: the checkpoint knew of six bytes more.
    let mut b = Bench::new();
    b.append("flows.log", "a1\na2\na3\n");
    let mut chunk = Chunk::default();
    assert!(b.source().next(&mut chunk));
    b.source().settle(chunk.mark(3));
    b.source().persist(None).unwrap();
    b.restart().remove("flows.log");
    b.expect(&[]);
    assert_eq!(b.lost(), (0, 0), "a copy may yet appear");
    b.quiet().expect(&[]);
    assert_eq!(b.lost(), (1, 6));
    b.restart().quiet().expect(&[]);
    assert_eq!(b.lost(), (0, 0), "once");
    // Truncated before it was read.
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", "a2\n");
    b.source().look_again();
    std::fs::write(b.path("flows.log"), "").unwrap();
    b.expect(&[]);
    b.quiet().expect(&[]);
    assert_eq!(b.lost(), (1, 3));
}

#[test]
fn truncated_before_it_was_read_with_a_copy_is_no_loss() {
    let mut b = Bench::new();
    b.append("flows.log", "a1\n");
    b.expect(&["a1"]);
    b.append("flows.log", "a2\n");
    std::fs::copy(b.path("flows.log"), b.path("flows.log.1")).unwrap();
    std::fs::write(b.path("flows.log"), "").unwrap();
    b.expect(&["a2"]);
    b.quiet().expect(&[]);
    assert_eq!(b.lost(), (0, 0));
}

#[test]
fn what_is_unread_is_open_so_that_it_can_be_deleted() {
    let mut b = Bench::new();
    let now = SystemTime::now();
    for n in 0..OPEN_LIMIT + 20 {
        let name = format!("flows-{n:03}.log");
        b.append(&name, format!("{n}\n"));
        b.touch_at(&b.path(&name), now - Duration::from_secs(1000 - n as u64));
    }
    b.tend();
    // The oldest go first, as a rotation has it.
    for n in 0..OPEN_LIMIT {
        b.remove(&format!("flows-{n:03}.log"));
    }
    b.tend();
    let mut lines = b.read_as(true);
    lines.sort_unstable_by_key(|line| line.parse::<usize>().unwrap());
    assert_eq!(lines, (0..OPEN_LIMIT + 20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_head_is_looked_at_when_the_end_looks_the_same() {
    // Truncated and refilled past the old place with lines that are equal but for the first ones.
    let same = "the same line over and over\n".repeat(200);
    let mut b = Bench::new();
    b.append("flows.log", format!("one\n{same}"));
    assert_eq!(b.read_as(true).len(), 201);
    std::fs::write(b.path("flows.log"), format!("two\n{same}{same}")).unwrap();
    assert_eq!(b.read_as(true).len(), 401);
}

/// A rotation that keeps everything. The figures are of a debug build on a busy machine; the bounds only hold what would
/// be wrong by a factor.
#[test]
fn ten_thousand_files() {
    const FILES: usize = 10_000;
    let mut b = Bench::new();
    b.pattern = "flows*.log";
    for n in 0..FILES {
        std::fs::write(b.path(&format!("flows-{n:05}.log")), format!("{n}\n")).unwrap();
    }
    b.append("flows.log", "live\n");
    // The file system's clock is too coarse to tell it from the last hundred others.
    b.touch_at(&b.path("flows.log"), SystemTime::now() + Duration::from_secs(1));
    assert_eq!(b.read_as(true).len(), FILES + 1);
    b.restart();
    let begun = Instant::now();
    b.source().tend();
    let started = begun.elapsed();
    assert!(b.source().open_files() < OPEN_LIMIT, "what did not change is not opened");
    b.append("flows.log", "more\n");
    b.expect(&["more"]);
    b.append("flows.log", "and more\n");
    b.source().listing_wanted = false;
    assert_eq!(b.read_as(false), ["and more"]);
    let begun = Instant::now();
    b.source().persist(None).unwrap();
    let persisted = begun.elapsed();
    let size = std::fs::metadata(b.state.path().join("test.json")).unwrap().len();
    println!("10,000 files: first look after a start {started:?}, checkpoint {persisted:?} and {size} bytes");
    assert!(started < Duration::from_secs(20), "{started:?}");
    assert!(size < 400_000, "only what moved is written: {size} bytes");
    b.restart().expect(&["and more"]);
}

#[test]
fn no_permission_now_and_later_granted() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut b = Bench::new();
    b.append("flows.log", "a1\n").append("flows.log.1", "b1\n");
    let path = b.path("flows.log");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("WENT WITHOUT a user that permissions apply to: nothing can be denied to root");
        return;
    }
    b.expect(&["b1"]);
    assert_eq!(b.source().stats().unreadable_files.load(Relaxed), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    b.source().listing_wanted = true;
    b.expect(&["a1"]);
    assert_eq!(b.source().stats().unreadable_files.load(Relaxed), 0);
}

#[test]
fn a_broken_zstd_file_gives_its_whole_lines_and_stops_nothing() {
    let mut b = Bench::new();
    let text: String = (0..200_000).map(|i| format!("line {i} {}\n", i * 7919)).collect();
    b.append("flows.log.1", &text).zstd("flows.log.1");
    let whole = std::fs::read(b.path("flows.log.1.zst")).unwrap();
    std::fs::write(b.path("flows.log.1.zst"), &whole[..whole.len() / 2]).unwrap();
    b.append("flows.log", "live\n");
    let lines = b.read_as(true);
    assert!(lines.contains(&"live".to_owned()));
    let some = lines.len() - 1;
    assert!(some > 100 && some < 200_000, "{some}");
    std::fs::write(b.path("flows.log.1.zst"), &whole).unwrap();
    assert_eq!(b.read_as(true).len(), 200_000 - some);
    b.restart().expect(&[]);
}

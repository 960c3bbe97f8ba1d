//! The spool alone: what goes in comes out, whatever fails on the way.

use super::*;
use crate::durable::Step;
use crate::durable::faults::{Fault, Faults, every_fault};
use rustix::io::Errno;

fn owner(id: u32) -> Owner {
    Owner { id, key: 7 + u64::from(id), head_len: 3, head_hash: 9, path: "/var/log/x".into(), max_line: 1000 }
}

fn config(dir: &Path, max_size: u64, when_full: WhenFull) -> Config {
    Config { dir: dir.join("spool/lane"), max_size, when_full }
}

fn open(dir: &Path, disk: &Disk) -> (Spool, Vec<(Owner, Vec<Part>)>) {
    Spool::open(config(dir, 4 << 20, WhenFull::Hold), disk.clone())
}

/// Chunks of a text, some lines each, from an offset on.
struct Text<'a> {
    text: &'a [u8],
    at: usize,
    chunk: usize,
}

impl Text<'_> {
    fn next(&mut self, chunk: &mut Chunk) -> bool {
        let rest = &self.text[self.at..];
        let Some(end) = memchr::memrchr(b'\n', &rest[..rest.len().min(self.chunk)]) else { return false };
        let history = self.at.min(HISTORY);
        chunk.offset = self.at as u64;
        chunk.skipped_lines = 0;
        chunk.buffer = self.text[self.at - history..=self.at + end].to_vec();
        chunk.lines = history..chunk.buffer.len();
        self.at += end + 1;
        true
    }
}

fn lines(from: usize, count: usize) -> Vec<u8> {
    (from..from + count)
        .flat_map(|n| format!("line {n:06} {:x}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

/// Puts everything of `text` from `at` on into the spool.
fn put(spool: &mut Spool, id: u32, text: &[u8], at: usize) -> Result<(), SpoolError> {
    let mut source = Text { text, at, chunk: 10_000 };
    while let Some(written) = {
        let start = source.at as u64;
        spool.write(&owner(id), start, None, |_| 0, |chunk| Ok(source.next(chunk)))?
    } {
        source.at = written.part.end as usize;
    }
    Ok(())
}

/// Reads a content to the end: its text, and how many lines were no more.
fn get(spool: &mut Spool, id: u32, mut at: u64) -> (Vec<u8>, u64) {
    let (mut text, mut missing, mut chunk) = (Vec::new(), 0, Chunk::default());
    while spool.read(id, at, &mut chunk).unwrap() {
        text.extend_from_slice(chunk.bytes());
        missing += chunk.skipped_lines;
        at = chunk.offset + chunk.lines.len() as u64;
    }
    (text, missing)
}

#[test]
fn what_went_in_comes_out_from_any_line_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines(0, 30_000);
    let (mut spool, kept) = open(dir.path(), &Disk::default());
    assert!(kept.is_empty());
    let from = memchr::memchr(b'\n', &text).unwrap() + 1;
    put(&mut spool, 5, &text, from).unwrap();
    assert!(spool.parts.len() > 1, "a part is not larger than a sixteenth");
    let (mut again, kept) = open(dir.path(), &Disk::default());
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0].0, kept[0].1.len()), (&owner(5), spool.parts.len()));
    for spool in [&mut spool, &mut again] {
        assert!(get(spool, 5, from as u64).0 == text[from..]);
        for nth in [17, 5_000, 29_998, 3] {
            let at = memchr::memchr_iter(b'\n', &text).nth(nth).unwrap() + 1;
            assert!(get(spool, 5, at as u64).0 == text[at..], "from line {nth}");
            assert_eq!(spool.tail_at(5, at as u64), Some(Tail::of(&text[..at])));
        }
        assert_eq!(spool.tail_at(5, text.len() as u64), Some(Tail::of(&text)));
        let total: u64 = spool.parts.values().map(|part| part.lines).sum();
        assert_eq!(total, 29_999);
    }
    // What is settled is removed, part by part.
    let middle = again.parts.values().next().unwrap().end;
    assert!(!again.settle(5, middle));
    assert_eq!(again.parts.len(), kept[0].1.len() - 1);
    assert!(again.settle(5, text.len() as u64));
    assert_eq!((again.size(), std::fs::read_dir(&again.config.dir).unwrap().count()), (0, 0));
}

/// Folder, open, write, short write, fsync, rename, fsync of the folder: each fails with each error, or the process dies
/// there. What is found then is the old state or the new one, and the spool can be gone on with.
#[test]
fn every_step_that_fails_leaves_the_old_state_or_the_new_one() {
    let text = lines(0, 6_000);
    let half = memchr::memchr_iter(b'\n', &text).nth(2_000).unwrap() + 1;
    for first in [0, half] {
        every_fault(|disk, clean| {
            let dir = tempfile::tempdir().unwrap();
            put(&mut open(dir.path(), clean).0, 1, &text[..first], 0).unwrap();
            let mut faulty = open(dir.path(), disk).0;
            let result = put(&mut faulty, 1, &text, first);
            let (mut found, _) = open(dir.path(), clean);
            let (kept, missing) = get(&mut found, 1, 0);
            assert!(text.starts_with(&kept) && kept.ends_with(b"\n") | kept.is_empty(), "{result:?}");
            assert!(kept.len() >= first && missing == 0, "{result:?}");
            assert!(result.is_err() || kept == text);
            // The one that lives on knows what stands there as well.
            if let Err(SpoolError::Write(error)) = &result
                && error.source.raw_os_error().is_some()
                && error.step != Step::SyncDirectory
            {
                assert!(get(&mut faulty, 1, 0).0 == kept);
            }
            put(&mut found, 1, &text, kept.len()).unwrap();
            assert!(get(&mut found, 1, 0).0 == text);
        });
    }
}

#[test]
fn a_torn_or_damaged_file_gives_what_is_whole() {
    let text = lines(0, 5_000);
    let written = |cut: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path(), &Disk::default());
        put(&mut spool, 1, &text, 0).unwrap();
        let path = spool.path(1);
        std::fs::write(&path, cut(std::fs::read(&path).unwrap())).unwrap();
        let (mut spool, kept) = open(dir.path(), &Disk::default());
        let (found, missing) = get(&mut spool, 1, 0);
        (found, missing, kept)
    };
    let (whole, ..) = written(&|bytes| bytes);
    assert!(whole == text);
    let size = whole.len();
    for keep in [0usize, 10, 60, 300, 5_000, 20_000, 50_000] {
        let (found, missing, kept) = written(&|mut bytes| {
            bytes.truncate(keep.min(bytes.len() - 1));
            bytes
        });
        assert!(text.starts_with(&found) && found.len() < size && missing == 0);
        assert_eq!(kept.is_empty(), found.is_empty());
        let (found, ..) = written(&|mut bytes| {
            let len = bytes.len();
            bytes[keep.min(len - 1)..].fill(0);
            bytes
        });
        assert!(text.starts_with(&found) && found.len() < size);
    }
    // A block whose bytes changed is counted, and what follows it is read.
    let (found, missing, _) = written(&|mut bytes| {
        let about = Header::parse(bytes[..frame::HEADER].try_into().unwrap()).unwrap().size() as usize;
        bytes[about + frame::HEADER + 100] ^= 1;
        bytes
    });
    assert!(missing > 100 && text.ends_with(&found));
    assert_eq!(missing + frame::count(&found), 5_000);
}

#[test]
fn a_full_spool_says_so_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(config(dir.path(), 100_000, WhenFull::Hold), Disk::default());
    let text = lines(0, 20_000);
    let error = put(&mut spool, 1, &text, 0).unwrap_err();
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert!(spool.size() <= 100_000 && spool.size() > 80_000, "{}", spool.size());
    let (kept, _) = get(&mut spool, 1, 0);
    assert!(text.starts_with(&kept) && kept.len() > 50_000);
    assert!(spool.settle(1, kept.len() as u64));
    let rest = &text[..kept.len() * 3 / 2];
    let rest = &rest[..=memchr::memrchr(b'\n', rest).unwrap()];
    put(&mut spool, 1, rest, kept.len()).unwrap();
}

#[test]
fn what_gives_way_is_counted_to_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines(0, 20_000);
    let (mut spool, _) = Spool::open(config(dir.path(), 300_000, WhenFull::DropOldest), Disk::default());
    put(&mut spool, 1, &text, 0).unwrap();
    assert!(spool.size() <= 300_000, "{}", spool.size());
    let given_up = spool.given_up_lines();
    assert!(given_up > 1_000);
    let (mut again, _) = Spool::open(config(dir.path(), 300_000, WhenFull::DropOldest), Disk::default());
    assert_eq!(again.given_up_lines(), given_up);
    for spool in [&mut spool, &mut again] {
        let (found, missing) = get(spool, 1, 0);
        assert_eq!((missing, frame::count(&found)), (given_up, 20_000 - given_up));
        assert!(text.ends_with(&found), "the newest are kept");
    }
}

#[test]
fn what_is_being_read_does_not_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let text = lines(0, 3_000);
    let (mut spool, _) = Spool::open(config(dir.path(), 100_000, WhenFull::DropOldest), Disk::default());
    let mut error = None;
    for id in 0..20 {
        let mut source = Text { text: &text, at: 0, chunk: 10_000 };
        let all_read = |_| u64::MAX;
        let result = spool.write(&owner(id), 0, None, all_read, |chunk| Ok(source.next(chunk)));
        error = error.or(result.err());
    }
    assert!(matches!(error, Some(SpoolError::Full { .. })), "{error:?}");
    assert_eq!(spool.given_up_lines(), 0);
}

#[test]
fn giving_up_is_safe_at_every_step() {
    let text = lines(0, 9_000);
    for step in [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncDirectory] {
        for fault in [Fault::Error(Errno::NOSPC), Fault::Short(Errno::IO), Fault::Crash, Fault::CrashInWrite] {
            let dir = tempfile::tempdir().unwrap();
            let small = || config(dir.path(), 100_000, WhenFull::DropOldest);
            let large = config(dir.path(), 1 << 20, WhenFull::Hold);
            put(&mut Spool::open(large, Disk::default()).0, 1, &text, 0).unwrap();
            let (mut faulty, _) = Spool::open(small(), Disk::with(Faults::at(step, fault)));
            let _ = put(&mut faulty, 2, &lines(0, 100), 0).unwrap_err();
            let (mut found, _) = Spool::open(small(), Disk::default());
            let (kept, missing) = get(&mut found, 1, 0);
            assert_eq!(missing + frame::count(&kept), 9_000, "{step:?} {fault:?}");
        }
    }
}

#[test]
fn an_unfinished_file_is_cleared_up() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("spool/lane");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("00000003.spool.tmp"), "half").unwrap();
    std::fs::write(folder.join("readme"), "not ours").unwrap();
    assert!(open(dir.path(), &Disk::default()).1.is_empty());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

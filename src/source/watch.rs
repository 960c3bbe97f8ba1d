//! inotify on the directories of the log files: it wakes the lanes when something moves there.
//!
//! Each lane also looks by itself: once a second wherever something could change without an event ([`Watched`] says
//! where), so that network file systems and a limit on watches cost latency, never lines; else only seldom, so that a
//! quiet node costs next to nothing.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lane::Wake;

/// Directories are watched anew this often: they may appear late, or be replaced.
const RENEW: Duration = Duration::from_secs(5);
/// Events within this time wake the lanes once …
const GATHER_NAMES: Duration = Duration::from_millis(200);
/// … and those that say only that a file was written, within this: a writer of single lines must not make the lanes look
/// at every line. A lane whose batches fill up looks more often by itself.
const GATHER_WRITES: Duration = Duration::from_secs(1);
/// Events are taken in so many pieces of [`BUFFER`] bytes before the lanes are told: whoever writes without end is told of.
const PIECES: usize = 16;
const BUFFER: usize = 4096;

/// What comes to a directory's names, and what becomes of the directory itself.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVE)
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::DELETE_SELF);
/// Events after which another directory may stand where one was watched.
const ELSEWHERE: EventMask = EventMask::ISDIR
    .union(EventMask::MOVE_SELF)
    .union(EventMask::DELETE_SELF)
    .union(EventMask::IGNORED)
    .union(EventMask::UNMOUNT)
    .union(EventMask::Q_OVERFLOW);

/// A directory of log files, or one on the way to them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Directory {
    pub path: PathBuf,
    /// Files of a source can stand in it.
    pub files: bool,
}

/// How far the kernel tells of changes, as seen by the lanes.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<State>);

#[derive(Debug, Default)]
struct State {
    complete: AtomicBool,
    events: AtomicU64,
}

impl Watched {
    /// Every directory is there and watched, and lies where all changes come by this kernel.
    pub fn is_complete(&self) -> bool {
        self.0.complete.load(Relaxed)
    }

    /// How often the lanes were told of something.
    pub fn events(&self) -> u64 {
        self.0.events.load(Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set(&self, complete: bool, events: u64) {
        self.0.complete.store(complete, Relaxed);
        self.0.events.store(events, Relaxed);
    }

    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Watches until nobody else holds `watched`. Runs on a thread of its own.
pub fn watch(directories: impl Fn() -> Vec<Directory>, lanes: &[Sender<Wake>], watched: Watched) {
    match Watch::new(lanes, watched) {
        Ok(mut watch) => watch.run(directories),
        Err(error) => tracing::warn!(%error, "inotify is not available; log files are looked at once a second"),
    }
}

struct Watch<'a> {
    /// Two, so that a wait for new names does not end at every write.
    names: Inotify,
    writes: Inotify,
    lanes: &'a [Sender<Wake>],
    watched: Watched,
    watches: HashMap<PathBuf, WatchDescriptor>,
    said: bool,
    buffer: Vec<u8>,
}

impl<'a> Watch<'a> {
    fn new(lanes: &'a [Sender<Wake>], watched: Watched) -> std::io::Result<Self> {
        let (names, writes) = (Inotify::init()?, Inotify::init()?);
        Ok(Self { names, writes, lanes, watched, watches: HashMap::new(), said: false, buffer: vec![0; BUFFER] })
    }

    fn run(&mut self, directories: impl Fn() -> Vec<Directory>) {
        while !self.watched.is_alone() {
            self.renew(directories());
            let renewed = Instant::now();
            let left = || RENEW.saturating_sub(renewed.elapsed());
            while !left().is_zero() && readable(&[&self.names, &self.writes], left()) {
                if self.take() {
                    break;
                }
            }
        }
    }

    /// Takes what happened, tells the lanes and gathers. True: directories are to be watched anew at once.
    fn take(&mut self) -> bool {
        let begun = Instant::now();
        let named = drain(&mut self.names, &mut self.buffer);
        // What was written does not matter, only that something was.
        drain(&mut self.writes, &mut self.buffer);
        let elsewhere = named.intersects(ELSEWHERE);
        if elsewhere {
            self.watched.0.complete.store(false, Relaxed);
        }
        self.tell();
        if !elsewhere {
            readable(&[&self.names], GATHER_WRITES);
        }
        std::thread::sleep(GATHER_NAMES.saturating_sub(begun.elapsed()));
        elsewhere
    }

    fn tell(&self) {
        self.watched.0.events.fetch_add(1, Relaxed);
        for lane in self.lanes {
            // A lane that has ended wants to know nothing more.
            let _ = lane.send(Wake::Files);
        }
    }

    /// Adding a watch again changes nothing. Lanes are told of what is new, after it is watched: so nothing happens unseen
    /// in between.
    fn renew(&mut self, directories: Vec<Directory>) {
        let (mut complete, mut new) = (true, false);
        for Directory { path, files } in directories {
            match self.add(&path, files) {
                Ok(descriptor) => {
                    complete &= tells_all(&path);
                    new |= self.watches.insert(path, descriptor.clone()) != Some(descriptor);
                }
                Err(error) => {
                    complete = false;
                    self.watches.remove(&path);
                    self.say(&path, &error);
                }
            }
        }
        if self.watched.0.complete.swap(complete, Relaxed) != complete || new {
            self.tell();
        }
    }

    fn add(&self, directory: &Path, files: bool) -> std::io::Result<WatchDescriptor> {
        let descriptor = self.names.watches().add(directory, NAMES)?;
        if files {
            self.writes.watches().add(directory, WatchMask::MODIFY)?;
        }
        Ok(descriptor)
    }

    fn say(&mut self, directory: &Path, error: &std::io::Error) {
        if error.kind() != ErrorKind::NotFound && !std::mem::replace(&mut self.said, true) {
            tracing::warn!(directory = %directory.display(), %error,
                "cannot watch a directory; its files are looked at once a second");
        }
    }
}

/// Waits for an event at most so long.
fn readable(all: &[&Inotify], wait: Duration) -> bool {
    let mut fds: Vec<_> = all.iter().map(|inotify| PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN)).collect();
    let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
    poll(&mut fds, Some(&wait)).is_ok_and(|n| n > 0)
}

/// Everything that the events say, together.
fn drain(inotify: &mut Inotify, buffer: &mut [u8]) -> EventMask {
    let mut all = EventMask::empty();
    for _ in 0..PIECES {
        let Ok(events) = inotify.read_events(buffer) else { break };
        all = events.fold(all, |all, event| all | event.mask);
    }
    all
}

/// Whether every change in this directory comes by this kernel: not where another machine, or a process outside, writes.
fn tells_all(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// Types of file systems that only this kernel writes to (statfs(2)): ext2 to ext4, XFS, Btrfs, F2FS, Bcachefs, ZFS, tmpfs,
/// ramfs, overlayfs. Of others nothing is taken for granted.
const LOCAL: [u32; 9] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xCA45_1A4E, 0x2FC1_2FC1, 0x0102_1994, 0x8584_58F6, 0x794C_7630];

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    const SOON: Duration = Duration::from_secs(60);

    /// A watched folder with a folder `logs` in it.
    struct Bench {
        dir: tempfile::TempDir,
        watched: Watched,
        wakes: Receiver<Wake>,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("logs")).unwrap();
            let (sender, wakes) = channel();
            let directory = |name: &str, files| Directory { path: dir.path().join(name), files };
            let directories = vec![directory("", false), directory("logs", true)];
            let watched = Watched::default();
            let (theirs, lanes) = (watched.clone(), [sender]);
            std::thread::spawn(move || watch(|| directories.clone(), &lanes, theirs));
            Self { dir, watched, wakes }
        }

        /// A word for the lanes came because of `what`.
        fn told(&self, what: &str) {
            assert!(matches!(self.wakes.recv_timeout(SOON), Ok(Wake::Files)), "{what}");
        }

        fn write(&self, name: &str) {
            std::fs::write(self.dir.path().join(name), "x").unwrap();
        }
    }

    #[test]
    fn lanes_are_told_of_what_moves_in_their_directories() {
        let bench = Bench::new();
        bench.told("watches are set");
        let local = tells_all(bench.dir.path());
        assert_eq!(bench.watched.is_complete(), local);
        bench.write("logs/a");
        bench.told("a new file");
        // More than one word may come of it: made, and then written.
        while bench.wakes.recv_timeout(2 * GATHER_WRITES).is_ok() {}
        let before = bench.watched.events();
        bench.write("logs/a");
        bench.told("a write");
        assert!(bench.watched.events() > before);
        while bench.wakes.recv_timeout(2 * GATHER_WRITES).is_ok() {}
        // Another directory in its place is watched at once.
        std::fs::rename(bench.dir.path().join("logs"), bench.dir.path().join("old")).unwrap();
        bench.told("a directory that moved");
        std::fs::create_dir(bench.dir.path().join("logs")).unwrap();
        bench.told("a new one");
        let until = Instant::now() + SOON;
        while bench.watched.is_complete() != local {
            assert!(Instant::now() < until, "everything is watched again");
            let _ = bench.wakes.recv_timeout(GATHER_NAMES);
        }
    }

    /// A log's parent folder may be full of other programs' logs.
    #[test]
    fn writes_beside_the_directories_wake_nobody() {
        let bench = Bench::new();
        bench.told("watches are set");
        bench.write("neighbour.log");
        bench.told("a new name");
        while bench.wakes.recv_timeout(2 * GATHER_NAMES).is_ok() {}
        bench.write("neighbour.log");
        assert!(bench.wakes.recv_timeout(2 * GATHER_WRITES).is_err());
    }

    #[test]
    fn a_watch_that_nobody_holds_ends() {
        let dir = tempfile::tempdir().unwrap();
        watch(|| vec![Directory { path: dir.path().to_path_buf(), files: true }], &[], Watched::default());
    }
}

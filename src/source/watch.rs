//! inotify on the directories of the log files: it wakes the lanes when something moves there. It only makes them
//! faster: each lane also looks once a second, so lost events, network file systems and a limit on watches cost latency,
//! never lines.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lane::Wake;

/// Directories are watched anew this often: they may appear late, or be replaced.
const RENEW: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Events within this time wake the lanes once: a writer of single lines must not make them look at every line.
const GATHER: Duration = Duration::from_millis(200);

/// Watches until every lane is gone. Runs on a thread of its own.
pub fn watch(directories: impl Fn() -> Vec<PathBuf>, lanes: &[Sender<Wake>]) {
    let mut inotify = match Inotify::init() {
        Ok(inotify) => inotify,
        Err(error) => {
            tracing::warn!(%error, "inotify is not available; log files are looked at once a second");
            return;
        }
    };
    let mut buffer = vec![0; 4096];
    let mut said = false;
    loop {
        said |= !renew(&inotify, directories(), said);
        let renewed = Instant::now();
        while renewed.elapsed() < Duration::from_secs(RENEW.tv_sec.unsigned_abs()) && readable(&inotify) {
            // What happened does not matter, only that something did: lost events are made good by the lanes' own looks.
            while inotify.read_events(&mut buffer).is_ok_and(|events| events.count() > 0) {}
            if lanes.iter().all(|lane| lane.send(Wake::Files).is_err()) {
                return;
            }
            std::thread::sleep(GATHER);
        }
        if lanes.iter().all(|lane| lane.send(Wake::Files).is_err()) {
            return;
        }
    }
}

/// Waits for an event up to [`RENEW`].
fn readable(inotify: &Inotify) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&RENEW)).is_ok_and(|n| n > 0)
}

/// Adding a watch again changes nothing. False when a directory that is there cannot be watched.
fn renew(inotify: &Inotify, directories: Vec<PathBuf>, said: bool) -> bool {
    let mask = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::MODIFY;
    let mut good = true;
    for directory in directories {
        let Err(error) = inotify.watches().add(&directory, mask) else { continue };
        if error.kind() != ErrorKind::NotFound {
            good = false;
            if !said {
                tracing::warn!(directory = %directory.display(), %error,
                    "cannot watch a directory; its files are looked at once a second");
            }
        }
    }
    good
}

//! Who may change a folder of letters now. The agent that writes and the replay that rewrites may run at once; each holds
//! the lock for one change only, never while it waits for a peer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::durable::{FILE_MODE, lend};

/// A change takes milliseconds, and a slow disk seconds. Whoever waits longer says so and tries again later.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Of the folder `dir`, in a file beside it, whose directory must exist. Waits a while for another holder, then is
    /// [`io::ErrorKind::WouldBlock`].
    pub fn take(dir: &Path) -> io::Result<Self> {
        let (path, started) = (beside(dir, "lock"), Instant::now());
        loop {
            match Self::try_take(&path).inspect(|lock| lend(&lock.file, dir)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
    }

    /// By the lock's own path, without waiting.
    pub fn try_take(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Somebody may have removed the file between our opening and locking it: then it is nobody's lock.
        let (ours, there) = (file.metadata()?, std::fs::metadata(path));
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if same { Ok(Self { file }) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

/// `…/elasticsearch` → `…/elasticsearch.<suffix>`.
pub fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    dir.with_file_name(name)
}

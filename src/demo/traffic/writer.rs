//! Writes lines as the node does: appends to `flows.log`, and now and then renames it and creates a new one.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Expected, Line};

/// The live file's name.
pub const LIVE: &str = "flows.log";
/// No line of the demo is longer; used to be careful about what was read.
const MAX_LINE: u64 = 8 * 1024;

/// What was written, exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub lines: u64,
    pub flows: u64,
    /// Lines that are no flows.
    pub raw: u64,
    pub denied: u64,
    /// Lines that must become a SIEM record each.
    pub siem: u64,
    pub bytes: u64,
    pub rotations: u64,
    /// Backups deleted after they were read.
    pub deleted: u64,
}

/// A log that rotates by rename and create, with the backup names of the rotation that Calico uses
/// (`flows-2006-01-02T15-04-05.000.log`, UTC).
///
/// It keeps `keep` backups. Unlike a node it never deletes one that was not read: the demo shows delivery, not loss, and
/// the numbers at its end must add up. On a slow disk the folder grows instead.
#[derive(Debug)]
pub struct LogWriter {
    folder: PathBuf,
    live: BufWriter<File>,
    live_bytes: u64,
    keep: usize,
    /// Oldest first, with their sizes.
    backups: VecDeque<(PathBuf, u64)>,
    last_backup_ms: i64,
    written: Written,
}

impl LogWriter {
    pub fn create(folder: &Path, keep: usize) -> io::Result<Self> {
        let live = open(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            live,
            live_bytes: 0,
            keep,
            backups: VecDeque::new(),
            last_backup_ms: 0,
            written: Written::default(),
        })
    }

    /// Adds a line. It is on its way to the file; [`LogWriter::flush`] brings it there.
    pub fn append(&mut self, line: &Line) -> io::Result<()> {
        self.live.write_all(line.text.as_bytes())?;
        self.live.write_all(b"\n")?;
        let Expected { flow, denied, siem, .. } = line.expected;
        let bytes = line.text.len() as u64 + 1;
        self.live_bytes += bytes;
        self.written.bytes += bytes;
        self.written.lines += 1;
        self.written.flows += u64::from(flow);
        self.written.raw += u64::from(!flow);
        self.written.denied += u64::from(denied);
        self.written.siem += u64::from(siem);
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.live.flush()
    }

    /// Renames the live file and creates a new one, as the node does at its size limit. `now_ms` is in Unix milliseconds.
    /// An empty file is left alone.
    pub fn rotate(&mut self, now_ms: i64) -> io::Result<()> {
        if self.live_bytes == 0 {
            return Ok(());
        }
        self.live.flush()?;
        // Two rotations in one millisecond would overwrite a backup.
        let stamp = now_ms.max(self.last_backup_ms + 1);
        let backup = self.folder.join(backup_name(stamp));
        fs::rename(self.folder.join(LIVE), &backup)?;
        self.live = open(&self.folder)?;
        self.backups.push_back((backup, self.live_bytes));
        self.live_bytes = 0;
        self.last_backup_ms = stamp;
        self.written.rotations += 1;
        Ok(())
    }

    /// Deletes the oldest backups beyond those to keep, as far as they were read: `unread_bytes` and `unsettled_lines` are
    /// what the slowest lane has yet to do.
    pub fn prune(&mut self, unread_bytes: u64, unsettled_lines: u64) -> io::Result<()> {
        let behind = unread_bytes.saturating_add(unsettled_lines.saturating_mul(MAX_LINE));
        while self.backups.len() > self.keep {
            let newer: u64 = self.backups.iter().skip(1).map(|(_, bytes)| bytes).sum();
            if behind > newer + self.live_bytes {
                break;
            }
            if let Some((path, _)) = self.backups.pop_front() {
                fs::remove_file(path)?;
                self.written.deleted += 1;
            }
        }
        Ok(())
    }

    pub const fn written(&self) -> Written {
        self.written
    }
}

fn open(folder: &Path) -> io::Result<BufWriter<File>> {
    let file = File::options().append(true).create(true).open(folder.join(LIVE))?;
    Ok(BufWriter::with_capacity(64 * 1024, file))
}

fn backup_name(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    time.strftime("flows-%Y-%m-%dT%H-%M-%S.%3f.log").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::Traffic;

    const NOW_MS: i64 = 1_787_390_098_042;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn rotates_and_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = LogWriter::create(folder.path(), 2).expect("created");
        let mut traffic = Traffic::new(1, "node-1");
        writer.rotate(NOW_MS).expect("nothing to rotate");
        let mut expected = String::new();
        for _ in 0..3 {
            for _ in 0..1000 {
                let line = traffic.next(NOW_MS / 1000);
                expected.push_str(&line.text);
                expected.push('\n');
                writer.append(&line).expect("appended");
            }
            writer.rotate(NOW_MS).expect("rotated");
        }
        let backups = [
            "flows-2026-08-22T09-14-58.042.log",
            "flows-2026-08-22T09-14-58.043.log",
            "flows-2026-08-22T09-14-58.044.log",
        ];
        assert_eq!(names(folder.path()), [&backups[..], &["flows.log"]].concat());
        let text: String =
            backups.iter().map(|name| fs::read_to_string(folder.path().join(name)).expect("read")).collect();
        assert_eq!(text, expected);
        let written = writer.written();
        assert_eq!((written.lines, written.bytes, written.rotations), (3000, expected.len() as u64, 3));
        assert_eq!(written.flows + written.raw, 3000);
        assert!(written.siem > 0 && written.siem < written.flows);

        // Not read, not deleted: neither unread bytes nor unsettled lines.
        writer.prune(written.bytes, 0).expect("pruned");
        writer.prune(0, 3000).expect("pruned");
        assert_eq!(names(folder.path()).len(), 4);
        writer.prune(0, 0).expect("pruned");
        assert_eq!(names(folder.path()), [&backups[1..], &["flows.log"]].concat());
        assert_eq!(writer.written().deleted, 1);
    }
}

//! Every step that touches the disk, in one place, so that tests can make each of them fail.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Files are for their owner alone: they hold what people logged.
pub const FILE_MODE: u32 = 0o600;
pub const DIR_MODE: u32 = 0o700;

pub trait Disk: fmt::Debug + Send {
    /// Makes a directory and what is missing above it.
    fn make_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// A new file; one that exists is an error.
    fn create(&mut self, path: &Path) -> io::Result<File>;
    /// Perhaps only a part, as the system call does.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&mut self, file: &File) -> io::Result<()>;
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
    fn truncate(&mut self, path: &Path, size: u64) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    fn write_all(&mut self, file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(file, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Disk for Real {
    fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn create(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().create_new(true).append(true).mode(FILE_MODE).open(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn truncate(&mut self, path: &Path, size: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(size)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

#[cfg(test)]
pub mod faulty {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// How a step goes wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum How {
        /// It fails with this error and does nothing; whatever comes after it works.
        Fails(i32),
        /// A write takes half of its bytes; the rest fails with this error.
        Short(i32),
        /// The process is gone before the step, or right after it: nothing happens any more.
        CrashBefore,
        CrashAfter,
    }

    #[derive(Debug, Default)]
    pub struct Script {
        /// Steps so far, by name.
        pub steps: Vec<&'static str>,
        /// The number of the step that goes wrong, from 0.
        pub at: Option<(usize, How)>,
        crashed: bool,
        /// The write after a short one fails.
        then: Option<i32>,
    }

    /// A disk that goes wrong at one step.
    #[derive(Debug, Clone, Default)]
    pub struct Faulty(pub Arc<Mutex<Script>>);

    impl Faulty {
        pub fn at(step: usize, how: How) -> Self {
            Self(Arc::new(Mutex::new(Script { at: Some((step, how)), ..Script::default() })))
        }

        pub fn steps(&self) -> Vec<&'static str> {
            self.0.lock().unwrap().steps.clone()
        }

        fn step<T>(&self, name: &'static str, act: impl FnOnce(bool) -> io::Result<T>) -> io::Result<T> {
            let mut script = self.0.lock().unwrap();
            let gone = || io::Error::other("the process is gone");
            if script.crashed {
                return Err(gone());
            }
            if let Some(errno) = script.then.take() {
                script.steps.push(name);
                return Err(io::Error::from_raw_os_error(errno));
            }
            let number = script.steps.len();
            script.steps.push(name);
            match script.at.filter(|(at, _)| *at == number).map(|(_, how)| how) {
                None => act(false),
                Some(How::Fails(errno)) => Err(io::Error::from_raw_os_error(errno)),
                Some(How::Short(errno)) if name == "write" => {
                    script.then = Some(errno);
                    act(true)
                }
                Some(How::Short(errno)) => Err(io::Error::from_raw_os_error(errno)),
                Some(How::CrashBefore) => {
                    script.crashed = true;
                    // A write that the crash interrupts leaves a part of itself.
                    if name == "write" {
                        let _ = act(true);
                    }
                    Err(gone())
                }
                Some(How::CrashAfter) => {
                    script.crashed = true;
                    let _ = act(false);
                    Err(gone())
                }
            }
        }
    }

    impl Disk for Faulty {
        fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
            self.step("make_dir", |_| Real.make_dir(dir))
        }

        fn create(&mut self, path: &Path) -> io::Result<File> {
            self.step("create", |_| Real.create(path))
        }

        fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
            self.step("write", |short| Real.write(file, if short { &bytes[..bytes.len() / 2] } else { bytes }))
        }

        fn sync(&mut self, file: &File) -> io::Result<()> {
            self.step("sync", |_| Real.sync(file))
        }

        fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
            self.step("sync_dir", |_| Real.sync_dir(dir))
        }

        fn truncate(&mut self, path: &Path, size: u64) -> io::Result<()> {
            self.step("truncate", |_| Real.truncate(path, size))
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step("rename", |_| Real.rename(from, to))
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.step("remove", |_| Real.remove(path))
        }
    }
}

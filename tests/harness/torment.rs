//! What the long runs share: a writer at full load that rotates, the book of what it wrote, faults by a seed, the agent's
//! process and its numbers.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate::model::{FileKey, LineId};

use crate::data_stream::{DataStream, Fault};

pub const CLUSTER: &str = "torment";
pub const NODE: &str = "node-1";
/// Rotated files that are kept beside the live one; an older one is removed once it is delivered.
const KEEP: usize = 20;

/// A deterministic stream of numbers, so that a run can be run again.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero; seeds that lie close together must not.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// What was written and has not arrived, and what arrived that nobody wrote.
#[derive(Debug, Default)]
pub struct Ledger {
    outstanding: HashSet<Box<str>>,
    pub written: u64,
    pub foreign: u64,
}

pub type Shared = Arc<Mutex<Ledger>>;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Before the line is on the disk, so that it cannot arrive first.
    fn write(&mut self, id: &str) {
        self.outstanding.insert(id.into());
        self.written += 1;
    }

    pub fn arrived(&mut self, id: &str) {
        self.foreign += u64::from(!self.outstanding.remove(id));
    }

    pub fn missing(&self) -> usize {
        self.outstanding.len()
    }
}

/// Appends flows and rotates by rename, as the log's writer does.
pub struct Writer {
    dir: PathBuf,
    ledger: Shared,
    file: Option<File>,
    key: FileKey,
    offset: u64,
    number: u64,
    pub rotations: u64,
    /// Rotated files with the number of the last line in each.
    rotated: Vec<PathBuf>,
}

impl Writer {
    pub fn new(dir: &Path, ledger: Shared) -> Self {
        let dir = dir.to_path_buf();
        Self { dir, ledger, file: None, key: FileKey(0), offset: 0, number: 0, rotations: 0, rotated: Vec::new() }
    }

    /// In two pieces that do not end with a line, as a reader may see them.
    pub fn write(&mut self, lines: u64) -> io::Result<()> {
        let mut text = String::with_capacity(lines as usize * 800);
        let ledger = Arc::clone(&self.ledger);
        let mut ledger = lock(&ledger);
        for _ in 0..lines {
            let line = flow(self.number);
            if self.offset == 0 && text.is_empty() {
                self.key = FileKey::new(CLUSTER, NODE, line.as_bytes());
            }
            let id =
                LineId::new(Some(end_time(self.number)), self.key, self.offset + text.len() as u64, line.as_bytes());
            ledger.write(id.as_str());
            self.number += 1;
            text.push_str(&line);
            text.push('\n');
        }
        drop(ledger);
        let path = self.dir.join("flows.log");
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let middle = text.len() / 2 + 3;
        file.write_all(&text.as_bytes()[..middle])?;
        file.write_all(&text.as_bytes()[middle..])?;
        self.offset += text.len() as u64;
        Ok(())
    }

    pub fn rotate(&mut self) -> io::Result<()> {
        if self.offset == 0 {
            return Ok(());
        }
        let name = self.dir.join(format!("flows-{:09}.log", self.rotations));
        std::fs::rename(self.dir.join("flows.log"), &name)?;
        self.rotated.push(name);
        self.rotations += 1;
        (self.file, self.offset) = (None, 0);
        Ok(())
    }

    /// Removes the oldest files, but only when everything has arrived: what a log rotation takes away from a forwarder
    /// that is behind is a loss by rule, and not what is shown here.
    pub fn clean(&mut self) -> io::Result<()> {
        if self.rotated.len() > 2 * KEEP && lock(&self.ledger).missing() == 0 {
            for old in self.rotated.drain(..KEEP) {
                std::fs::remove_file(old)?;
            }
        }
        Ok(())
    }
}

fn end_time(number: u64) -> i64 {
    (1_700_000_300 + number / 5000) as i64
}

/// About 760 bytes, each of its own.
fn flow(number: u64) -> String {
    format!(
        r#"{{"start_time":{},"end_time":{},"source_ip":"10.0.{}.{}","source_name":"web-{number}","source_name_aggr":"web-*","source_namespace":"shop","source_port":{},"source_type":"wep","source_labels":{{"labels":["app=web","n={number}"]}},"dest_ip":"10.1.0.9","dest_name":"db-0","dest_name_aggr":"db-*","dest_namespace":"data","dest_port":5432,"dest_type":"wep","dest_labels":null,"proto":"tcp","action":"allow","reporter":"dst","policies":{{"enforced_policies":["0|default|data/default.allow-db|allow|0"]}},"bytes_in":{number},"bytes_out":1,"packets_in":1,"packets_out":1,"num_flows":1,"num_flows_started":1,"num_flows_completed":1}}"#,
        end_time(number) - 300,
        end_time(number),
        number / 250 % 250,
        number % 250,
        30_000 + number % 30_000,
    )
}

/// Everything that a busy cluster and what stands before it do to a request. All of them pass.
const FAULTS: [&str; 16] = [
    "item-429:3",
    "item-429",
    "item-503:5",
    "request-429",
    "request-429-half",
    "request-503",
    "request-503-half",
    "request-500",
    "request-400-half",
    "page-502",
    "cut-answer",
    "garbage",
    "wrong-count",
    "close",
    "close-half",
    "close-all",
];

/// One of them by the dice.
pub fn some_fault(dice: &mut Dice) -> Fault {
    let word = FAULTS[dice.roll(FAULTS.len() as u64) as usize];
    Fault::parse(word).expect("a name of the list")
}

/// A peer that tells the ledger what arrives.
pub fn peer(ledger: &Shared) -> DataStream {
    let (peer, ledger) = (DataStream::start(1, false), Arc::clone(ledger));
    peer.on_first(move |id| lock(&ledger).arrived(id));
    peer
}

/// The running agent. It is killed on drop.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// What it says goes to `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> io::Result<Self> {
        let stderr = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(arguments).env_remove("RUST_LOG").env("TIDEGATE_TIMEOUT", "2m");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(mut self) -> io::Result<Option<i32>> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), rustix::process::Signal::TERM)?;
        Ok(self.child.wait()?.code())
    }

    pub fn wait(mut self) -> io::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `VmHWM`, `VmRSS`, … in KiB.
    pub fn memory(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// One series of `/metrics` by its whole name.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let said = std::fs::read_to_string(&self.log).ok()?;
        let line = said.lines().rfind(|line| line.contains("serving /metrics"))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let mut stream = TcpStream::connect(line["address"].as_str()?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of `tidegate run`.
pub fn arguments(logs: &Path, state: &Path, url: &str, namespace: &str) -> Vec<String> {
    let source = logs.join("flows*.log");
    let words: [&str; 17] = [
        "run",
        "--source",
        source.to_str().expect("UTF-8"),
        "--elasticsearch",
        url,
        "--state-dir",
        state.to_str().expect("UTF-8"),
        "--cluster",
        CLUSTER,
        "--node",
        NODE,
        "--listen",
        "127.0.0.1:0",
        "--namespace",
        namespace,
        "--log-format",
        "json",
    ];
    words.map(str::to_owned).to_vec()
}

/// Waits until `holds`, `patience` at most. False when it never did.
pub fn wait(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// The agent of this build, which `cargo run --example` does not build by itself.
pub fn agent(given: Option<&Path>) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().and_then(Path::parent).map(|folder| folder.join("tidegate"));
    let program = given.map(Path::to_path_buf).or(beside).unwrap_or_default();
    let age = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    match age(&program) {
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}; build it first: cargo build --profile quick --bin tidegate", program.display()),
        )),
        Ok(_) => Ok(program),
    }
}

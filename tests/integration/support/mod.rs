//! What the integration tests share: the built program, real peers (or a loud word about each that is missing),
//! temporary folders, free ports, waiting with a deadline.
//!
//! Nothing here knows a peer's protocol; whoever tests against a server keeps its harness beside that test.
#![allow(dead_code, reason = "one binary holds all tests; not every helper has a user at every moment")]

pub mod cutter;
pub mod data_stream;
pub mod fake_bulk;
pub mod hec;
pub mod recorder;
pub mod reduce;
pub mod servers;
pub mod siem_receiver;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once, on a machine that does other work too.
pub const SOON: Duration = Duration::from_secs(60);

/// Set to `required` where every peer must be there: `tests/run` and so CI.
pub const PEERS: &str = "TIDEGATE_TEST_PEERS";

/// A test's word that it cannot run because a real peer is missing: call it and return. Where peers are required, the
/// test fails here.
///
/// It writes to standard error itself because `eprintln!` is captured in a test that passes, and nobody would see it.
///
/// # Panics
/// Where `TIDEGATE_TEST_PEERS=required`.
pub fn went_without(peer: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(!peers_required(), "{peer} is required and missing: {why}");
    let word = format!("WENT WITHOUT {peer}: {test} did not run; tests/run sets it up ({why})\n");
    std::io::stderr().write_all(word.as_bytes()).expect("standard error is open");
}

pub fn peers_required() -> bool {
    std::env::var_os(PEERS).is_some_and(|value| value == "required")
}

/// The folder that holds `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The built program under test; `TIDEGATE_TEST_PROGRAM` names another build of it.
pub fn bin() -> &'static Path {
    static OTHER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let other = OTHER.get_or_init(|| std::env::var_os("TIDEGATE_TEST_PROGRAM").map(PathBuf::from));
    other.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_tidegate")))
}

/// A new folder that is removed on drop.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("tidegate-test-").tempdir().expect("a temporary folder")
}

/// Below what the system gives to those who ask for any port. There, an outgoing connection could take a port before the
/// program it is meant for, or meet itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port that nobody has bound, never the same twice in a run. Only for programs that cannot be given port 0.
///
/// It asks the system's tables. A socket of our own that tries the port is copied into each child that another thread
/// starts at that moment and lives there until the child's `exec`, tens of milliseconds on a busy machine: the port was
/// taken when the program came for it.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(PORTS)));
    let next = |port: u16| if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
    let bound = bound_ports();
    for _ in PORTS {
        let port = NEXT.fetch_update(Relaxed, Relaxed, |port| Some(next(port))).expect("always a next");
        if !bound.contains(&port) {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free")
}

fn bound_ports() -> Vec<u16> {
    sockets(&["tcp", "tcp6", "udp", "udp6"]).into_iter().map(|(port, _)| port).collect()
}

/// Local port and state of each socket, by proc_net_tcp(5): `sl local_address rem_address st …`, the port in hexadecimal.
fn sockets(protocols: &[&str]) -> Vec<(u16, String)> {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        Some((u16::from_str_radix(port, 16).ok()?, fields.nth(1)?.to_owned()))
    };
    let table = |name: &&str| std::fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    protocols.iter().map(table).flat_map(|table| table.lines().filter_map(of_line).collect::<Vec<_>>()).collect()
}

/// Status and body of a path on a port of loopback; `None` while nobody listens.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Whether somebody listens on a TCP port. It asks the system's tables: a connection of ours that says nothing is one more
/// that the receiver has to see off, beside the one that the test is about.
pub fn listens(port: u16) -> bool {
    sockets(&["tcp", "tcp6"]).iter().any(|(bound, state)| *bound == port && state == "0A")
}

/// Asks again and again until `probe` gives something; `None` when it has given nothing by the deadline.
pub fn within<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = probe();
        if found.is_some() || started.elapsed() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As [`within`].
///
/// # Panics
/// When the deadline is over; `what` then says what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(deadline, probe).unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
}

/// Asks again and again until `probe` says yes. See [`wait_for`].
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut probe: impl FnMut() -> bool) {
    wait_for(what, deadline, || probe().then_some(()));
}

/// Every case in a thread of its own, for tests that wait most of their time. What fails in one of them fails the test.
pub fn side_by_side<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let (name, test) = (std::thread::current().name().unwrap_or("a test").to_owned(), &test);
    std::thread::scope(|scope| {
        for case in cases {
            let thread = std::thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, move || test(case)).expect("a thread");
        }
    });
}

/// The built program with these arguments, free of what the caller's environment says to it.
pub fn tidegate<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(bin());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    for name in
        ["NODE_NAME", "RUST_LOG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").args(args);
    command
}

/// What a program that ended has left.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// # Panics
    /// When the exit code is another; the message holds all that the program said.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr);
        self
    }
}

/// Runs the built program to its end, with `stdin` as its standard input, for two minutes at most.
#[track_caller]
pub fn run<S: AsRef<std::ffi::OsStr>>(args: &[S], stdin: impl Into<Vec<u8>>) -> Ran {
    run_command(&mut tidegate(args), stdin)
}

/// Runs any command to its end; see [`run`].
#[track_caller]
pub fn run_command(command: &mut Command, stdin: impl Into<Vec<u8>>) -> Ran {
    let mut running = Running::start_with(command, Stdio::piped());
    let mut pipe = running.child.stdin.take().expect("standard input is a pipe");
    let input = stdin.into();
    // In a thread, since the program may write before it has read all. One that ends early breaks the pipe, as it may.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let ran = running.wait(2 * SOON);
    feeder.join().expect("the feeder does not panic");
    ran
}

/// A program that runs beside the test. It is killed on drop, so that a test that fails leaves nothing behind.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

/// What comes out of a pipe, as it comes.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts it without standard input. Its output is collected from the start, so that it never blocks on a full pipe.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    #[track_caller]
    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = Collected::start(child.stdout.take());
        let stderr = Collected::start(child.stderr.take());
        Self { name, child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A size of it in KiB by its name in proc_pid_status(5), as `VmHWM`, the highest resident memory so far.
    pub fn memory_kib(&self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        text.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until it has said so: a metric tells of a thing before its line has come through the pipe.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let said = within(SOON, || self.said().contains(text).then_some(()));
        assert!(said.is_some(), "{} has not said {text:?} but this:\n{}", self.name, self.said());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Waits until it listens on a port of loopback; false when it has ended instead.
    #[track_caller]
    pub fn comes_to_listen(&mut self, port: u16) -> bool {
        let what = format!("{} to listen or to end", self.name);
        wait_until(&what, SOON, || listens(port) || self.has_ended());
        !self.has_ended()
    }

    /// Asks it to end (SIGTERM); [`Running::wait`] tells what came of it.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// # Panics
    /// When the process is gone already.
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// Ends it with SIGKILL, as a crash would, and gives what it had said.
    #[track_caller]
    pub fn kill(mut self) -> Ran {
        self.child.kill().expect("our own child");
        self.wait(SOON)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended by the deadline; with what it said until then.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Ran {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            if started.elapsed() > deadline {
                let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
                panic!("{} has not ended in {deadline:?}\n--- stdout\n{stdout}--- stderr\n{stderr}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ran { status, stdout: self.stdout.whole(), stderr: self.stderr.whole() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = pipe.map(|mut pipe| {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || {
                let mut piece = [0; 8 << 10];
                // What was read before an error is what there is to show.
                while let Ok(n @ 1..) = pipe.read(&mut piece) {
                    bytes.lock().expect("no panic").extend_from_slice(&piece[..n]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic")).into_owned()
    }

    /// Waits for the end of the pipe.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader");
        }
        self.so_far()
    }
}

mod tests {
    use super::*;

    #[test]
    fn bound_ports_are_known() {
        let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let ports = [tcp.local_addr(), udp.local_addr()].map(|address| address.unwrap().port());
        let bound = bound_ports();
        assert!(ports.iter().all(|port| bound.contains(port)), "{ports:?} among {bound:?}");
        assert_eq!(ports.map(listens), [true, false]);
    }

    #[test]
    fn a_program_is_fed_and_read_without_blocking() {
        // More than a pipe holds, both ways.
        let much = vec![b'x'; 1 << 20];
        let ran = run_command(&mut Command::new("cat"), much.clone()).expect_code(0);
        assert_eq!(ran.stdout.as_bytes(), much);
    }

    #[test]
    fn a_running_program_is_ended_by_signal_and_by_drop() {
        let mut sleeping = Command::new("sleep");
        sleeping.arg("600");
        let running = Running::start(&mut sleeping);
        running.terminate();
        let ran = running.wait(SOON);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ran.status), Some(15));

        let running = Running::start(&mut sleeping);
        let proc_entry = PathBuf::from(format!("/proc/{}", running.pid()));
        assert!(proc_entry.exists());
        drop(running);
        assert!(!proc_entry.exists());
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let waited = std::panic::catch_unwind(|| wait_until("nothing", Duration::from_millis(20), || false));
        let message = waited.expect_err("it never comes true");
        assert!(message.downcast_ref::<String>().is_some_and(|m| m.contains("in vain for nothing")));
    }
}

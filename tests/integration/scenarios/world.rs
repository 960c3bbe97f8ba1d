//! A case's folder, files, agent and peers, and its steps.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::source::checkpoint::Record;

use super::lines::{Book, CLUSTER, NODE, ZONES, flow};
use super::script::{self, Script, Step};
use crate::support::data_stream::{DataStream, Fault, When};
use crate::support::siem_receiver::SiemReceiver;
use crate::support::{Running, bin, http_get, run, temp_dir, tidegate};

/// How long anything is waited for while nothing arrives, and in all: the machine does other work too.
pub const PATIENCE: Duration = Duration::from_secs(45);
const LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(10);
/// `nobody`, on every Linux that we know.
const NOBODY: u32 = 65_534;

/// What is wrong with a case, or why it cannot run here.
#[derive(Debug)]
pub enum Fail {
    Wrong(String),
    Without(&'static str, String),
}

impl<T: std::fmt::Display> From<T> for Fail {
    fn from(text: T) -> Self {
        Self::Wrong(text.to_string())
    }
}

pub type Done = Result<(), Fail>;

pub struct World {
    pub folder: TempDir,
    pub book: Book,
    pub peer: DataStream,
    pub siem: Option<SiemReceiver>,
    agent: Option<Running>,
    /// What ended agents have said.
    pub said: Vec<String>,
    configuration: Value,
    next_flow: u64,
    /// Second halves of lines.
    rests: Vec<Vec<u8>>,
    open: HashMap<String, (File, PathBuf)>,
    mounts: Vec<PathBuf>,
    pub kills: u64,
    pub faults: u64,
}

impl World {
    pub fn new(script: &Script) -> Self {
        let folder = temp_dir();
        let number = |key: &str| script.list(key).and_then(|list| list[0].parse().ok());
        let peer = DataStream::start(number("hosts").unwrap_or(1) as usize, true);
        let siem = script.list("siem").map(|_| SiemReceiver::start());
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).expect("a folder");
        let rotated = script.list("rotated");
        let source = |name: &String| {
            let mut source = json!({"path": logs.join(name)});
            if let Some(rotated) = &rotated {
                source["rotated"] = json!(rotated);
            }
            source
        };
        let sources = script.list("source").unwrap_or_else(|| vec!["flows.log".to_owned()]);
        let mut configuration = json!({
            "cluster": CLUSTER,
            "node": NODE,
            "sources": sources.iter().map(source).collect::<Vec<_>>(),
            "sinks": {"elasticsearch": {"hosts": peer.urls(), "batch": {"age": "50ms"}, "timeout": "5s"}},
            "state_dir": folder.path().join("state"),
            "listen": "127.0.0.1:0",
            "shutdown": {"deadline": "10s"},
        });
        if let Some(siem) = &siem {
            std::fs::write(folder.path().join("zones.yaml"), ZONES).expect("a file");
            configuration["zones"] = json!(folder.path().join("zones.yaml"));
            configuration["sinks"]["siem"] = json!([{"name": "soc", "url": format!("tcp://{}", siem.address)}]);
        }
        let book = Book::new();
        let mut world = Self {
            folder,
            book,
            peer,
            siem,
            agent: None,
            said: Vec::new(),
            configuration,
            next_flow: 0,
            rests: Vec::new(),
            open: HashMap::new(),
            mounts: Vec::new(),
            kills: 0,
            faults: 0,
        };
        for line in script.head.get("set").into_iter().flatten() {
            let (key, text) = line.split_once(' ').unwrap_or((line, ""));
            world.set(key, text);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(name)
    }

    pub fn step(&mut self, step: &Step) -> Done {
        match step.verb {
            "write" => {
                let text = match step.options.get("from") {
                    Some(from) => flows(from.parse::<u64>().expect("judged before") - 1, step.number(1, 0)),
                    None => self.flows(step.number(1, 0)),
                };
                let crlf = step.options.get("ends").is_some_and(|ends| ends == "crlf");
                let text = if crlf { text.replace('\n', "\r\n") } else { text };
                self.write(step.word(0), &text, step.option("pieces", 1))
            }
            "unread" => {
                let text = self.flows(step.number(1, 0));
                self.append(step.word(0), text.as_bytes())?;
                Ok(self.book.skip(&self.path(step.word(0))))
            }
            "part" => self.part(step.word(0)),
            "rest" => {
                let rest = self.rests.pop().ok_or("no half was written")?;
                self.add(step.word(0), &rest)
            }
            "raw" => self.add(step.word(0), &script::bytes(step.word(1)).expect("judged before")),
            "overlong" | "long" => self.long(step.word(0), step.size(1) as usize),
            "flow-with" => self.flow_with(step.word(0), step.word(1), step.word(2)),
            "open" => {
                let path = self.path(step.word(1));
                self.open.insert(step.word(0).to_owned(), (self.file(step.word(1))?, path));
                Ok(())
            }
            "close" => Ok(drop(self.open.remove(step.word(0)).ok_or("no such descriptor")?)),
            "rename" => self.rename(step.word(0), step.word(1)),
            "copy" => Ok(std::fs::copy(self.path(step.word(0)), self.path(step.word(1))).map(|_| ())?),
            "half-copy" => {
                let text = std::fs::read(self.path(step.word(0)))?;
                Ok(std::fs::write(self.path(step.word(1)), &text[..text.len() / 2])?)
            }
            "truncate" => {
                let path = self.path(step.word(0));
                self.book.forget(&path);
                let size = if step.words.len() > 1 { step.size(1) } else { 0 };
                Ok(OpenOptions::new().write(true).open(path)?.set_len(size)?)
            }
            "recreate" => self.recreate(step.word(0)),
            "gzip" => self.gzip(step.word(0), step.word(1), step.option("members", 1)),
            "zstd" => self.zstd(step.word(0), step.word(1), step.option("frames", 1)),
            "damage" => {
                let file = OpenOptions::new().read(true).write(true).open(self.path(step.word(0)))?;
                let mut byte = [0];
                file.read_exact_at(&mut byte, step.size(1))?;
                Ok(file.write_all_at(&[!byte[0]], step.size(1))?)
            }
            "link" => Ok(std::fs::hard_link(self.path(step.word(0)), self.path(step.word(1)))?),
            "symlink" => {
                let (new, path) = (self.path(".new-link"), self.path(step.word(1)));
                std::os::unix::fs::symlink(step.word(0), &new)?;
                Ok(std::fs::rename(new, path)?)
            }
            "chmod" => {
                let mode = u32::from_str_radix(step.word(1), 8).expect("judged before");
                Ok(std::fs::set_permissions(self.path(step.word(0)), Permissions::from_mode(mode))?)
            }
            "mkdir" => Ok(std::fs::create_dir_all(self.path(step.word(0)))?),
            "mkfifo" => command(Command::new("mkfifo").arg(self.path(step.word(0)))),
            "remove" => self.remove(step.word(0)),
            "touch" => {
                let ((time, after), now) = (script::shift(step.word(1)), SystemTime::now());
                let time = if after { now + time } else { now - time };
                Ok(OpenOptions::new().append(true).open(self.path(step.word(0)))?.set_modified(time)?)
            }
            "many" => {
                for number in 1..=step.number(1, 0) {
                    let text = self.flows(step.number(2, 0));
                    self.write(&format!("{}-{number:05}.log", step.word(0)), &text, 1)?;
                }
                Ok(())
            }
            "noise" => self.noise(step.word(0), step.number(1, 0)),
            "name-not-utf8" => {
                let name: Vec<u8> = step.word(1).bytes().map(|b| if b == b'?' { 0xff } else { b }).collect();
                let new = self.folder.path().join("logs").join(OsString::from_vec(name));
                Ok(std::fs::rename(self.path(step.word(0)), new)?)
            }
            "tmpfs" => self.mount(step.word(0), &["-t", "tmpfs", "-o", &format!("size={}", step.size(1)), "none"]),
            "bind" => {
                let from = self.path(step.word(0));
                self.mount(step.word(1), &["--bind", from.to_str().expect("UTF-8")])
            }
            "unmount" => {
                let path = self.path(step.word(0));
                self.mounts.retain(|mount| *mount != path);
                command(Command::new("umount").arg(path))
            }
            "fill" => self.fill(step.word(0)),
            "unfill" => Ok(std::fs::remove_file(self.path(step.word(0)).join("filler"))?),
            "start" => self.start(step),
            "stop" => self.stop(step.number(0, 0) as i32),
            "kill" => self.kill(),
            "restart" => {
                self.stop(0)?;
                self.start(step)
            }
            "once" => self.once(&[], step.number(0, 0) as i32).map(drop),
            "once-gives-up" => self.once(&["--timeout", step.word(0)], 1).map(drop),
            "pause" => Ok(self.running()?.signal(Signal::STOP)),
            "resume" => Ok(self.running()?.signal(Signal::CONT)),
            "reload" => Ok(self.running()?.signal(Signal::HUP)),
            "set" => {
                self.set(step.word(0), step.word(1));
                self.configure(&self.configuration.to_string())
            }
            "spoil" => self.configure("sources: [{paht: x}]\n"),
            "mend" => self.configure(&self.configuration.to_string()),
            "answer" => {
                let fault = Fault::parse(step.word(0)).expect("judged before");
                let number = step.number(2, 1);
                self.faults += 1;
                Ok(self
                    .peer
                    .answer(fault, if step.word(1) == "next" { When::Next(number) } else { When::Every(number) }))
            }
            "answer-well" => Ok(self.peer.answer_well()),
            "down" => {
                self.faults += 1;
                Ok(self.peer.down(step.number(0, 0) as usize))
            }
            "up" => Ok(self.peer.up(step.number(0, 0) as usize)),
            "rollover" => Ok(self.peer.rollover()),
            "refuse-lookups" => Ok(self.peer.refuse_lookups(true)),
            "siem-down" => Ok(self.receiver()?.down()),
            "siem-up" => Ok(self.receiver()?.up()),
            "wait" => self.wait(step),
            "hold-for" => {
                let (time, _) = script::shift(step.word(0));
                Ok(std::thread::sleep(time))
            }
            "expect" => self.judge_now(step),
            verb => Err(format!("{verb} is not built").into()),
        }
    }

    // Files.

    /// New ones.
    fn flows(&mut self, lines: u64) -> String {
        let first = self.next_flow;
        self.next_flow += lines;
        flows(first, lines)
    }

    /// For appending; with the folders that lead to it.
    fn file(&self, name: &str) -> Result<File, Fail> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        OpenOptions::new().create(true).append(true).open(&path).map_err(|error| format!("{name}: {error}").into())
    }

    /// Without a word in the book.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Done {
        Ok(self.file(name)?.write_all(bytes)?)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Done {
        self.append(name, bytes)?;
        Ok(self.book.enter(&self.path(name)))
    }

    fn write(&mut self, name: &str, text: &str, pieces: u64) -> Done {
        let size = text.len().div_ceil(pieces.max(1) as usize).max(1);
        if let Some(descriptor) = name.strip_prefix('@') {
            let (file, path) = self.open.get_mut(descriptor).ok_or("no such descriptor")?;
            for piece in text.as_bytes().chunks(size) {
                file.write_all(piece)?;
            }
            // The descriptor's file may have another name by now, or none.
            let own = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
            return Ok(self.book.enter(if file.metadata()?.nlink() > 0 { &own } else { path }));
        }
        let mut file = self.file(name)?;
        for piece in text.as_bytes().chunks(size) {
            file.write_all(piece)?;
        }
        Ok(self.book.enter(&self.path(name)))
    }

    fn part(&mut self, name: &str) -> Done {
        let text = self.flows(1).into_bytes();
        let (half, rest) = text.split_at(text.len() / 2);
        self.append(name, half)?;
        self.rests.push(rest.to_vec());
        Ok(())
    }

    /// A flow of a length, by a label.
    fn long(&mut self, name: &str, size: usize) -> Done {
        let plain = flow(self.next_flow, r#","source_labels":{"labels":["long="]}"#).len();
        let label = "x".repeat(size.saturating_sub(plain));
        let text = flow(self.next_flow, &format!(r#","source_labels":{{"labels":["long={label}"]}}"#)) + "\n";
        self.next_flow += 1;
        self.add(name, text.as_bytes())
    }

    /// The text as it stands: what is no JSON in it is the case's business.
    fn flow_with(&mut self, name: &str, field: &str, text: &str) -> Done {
        let flow = flow(self.next_flow, "\u{0}");
        self.next_flow += 1;
        let (before, after) = flow.split_once('\u{0}').expect("our own mark");
        let value = script::bytes(text).expect("judged before");
        let parts =
            [before.as_bytes(), format!(",\"{field}\":\"").as_bytes(), &value, b"\"", after.as_bytes(), b"\n"].concat();
        self.add(name, &parts)
    }

    fn rename(&mut self, from: &str, to: &str) -> Done {
        self.book.forget_if_last(&self.path(to));
        Ok(std::fs::rename(self.path(from), self.path(to))?)
    }

    fn remove(&mut self, name: &str) -> Done {
        let path = self.path(name);
        if std::fs::symlink_metadata(&path)?.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                self.book.forget_if_last(&entry?.path());
            }
            // The agent may be writing there.
            return self.until("the folder is gone", |_| std::fs::remove_dir_all(&path).is_ok());
        }
        self.book.forget_if_last(&path);
        Ok(std::fs::remove_file(path)?)
    }

    /// File systems that give freed inodes away at once (ext4, xfs) do so within a few tries. Where none does, the file is
    /// emptied in place, which looks the same but for the time of birth.
    fn recreate(&mut self, name: &str) -> Done {
        let path = self.path(name);
        let inode = std::fs::metadata(&path)?.ino();
        self.book.forget(&path);
        let aside = self.path(".aside");
        std::fs::rename(&path, &aside)?;
        std::fs::remove_file(&aside)?;
        for _ in 0..50 {
            if File::create(&path)?.metadata()?.ino() == inode {
                return Ok(());
            }
            std::fs::remove_file(&path)?;
        }
        File::create(&path)?;
        Ok(())
    }

    fn gzip(&mut self, from: &str, to: &str, members: u64) -> Done {
        let text = std::fs::read(self.path(from))?;
        let mut packed = Vec::new();
        for part in text.chunks(text.len().div_ceil(members as usize).max(1)) {
            let mut encoder = GzEncoder::new(&mut packed, Compression::default());
            encoder.write_all(part)?;
            encoder.finish()?;
        }
        // Under its name at once, as gzip itself never does: a compressor that is at work is a case by itself.
        std::fs::write(self.path(".packing"), packed)?;
        Ok(std::fs::rename(self.path(".packing"), self.path(to))?)
    }

    fn zstd(&mut self, from: &str, to: &str, frames: u64) -> Done {
        let text = std::fs::read(self.path(from))?;
        let mut packed = Vec::new();
        for part in text.chunks(text.len().div_ceil(frames as usize).max(1)) {
            std::fs::write(self.path(".part"), part)?;
            let output = Command::new("zstd").arg("-qc").arg(self.path(".part")).output();
            let output = output.map_err(|error| Fail::Without("zstd", error.to_string()))?;
            packed.extend(output.stdout);
        }
        std::fs::remove_file(self.path(".part"))?;
        std::fs::write(self.path(".packing"), packed)?;
        Ok(std::fs::rename(self.path(".packing"), self.path(to))?)
    }

    fn noise(&mut self, name: &str, times: u64) -> Done {
        let mut files = Vec::new();
        for end in ["a", "b"] {
            files.push(OpenOptions::new().create(true).append(true).open(self.path(&format!("{name}.{end}")))?);
        }
        // In turn: the kernel folds equal neighbours into one event.
        for time in 0..times as usize {
            files[time % 2].write_all(b".")?;
        }
        Ok(())
    }

    fn mount(&mut self, at: &str, arguments: &[&str]) -> Done {
        let path = self.path(at);
        std::fs::create_dir_all(&path)?;
        let mounted = Command::new("mount").args(arguments).arg(&path).output()?;
        if !mounted.status.success() {
            return Err(Fail::Without("mount rights", String::from_utf8_lossy(&mounted.stderr).trim().to_owned()));
        }
        self.mounts.push(path);
        Ok(())
    }

    fn fill(&mut self, at: &str) -> Done {
        let mut file = File::create(self.path(at).join("filler"))?;
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    // The agent.

    fn set(&mut self, key: &str, text: &str) {
        let text = &text.replace("$DIR", self.folder.path().to_str().expect("UTF-8"));
        let mut place = &mut self.configuration;
        for part in key.split('.') {
            place = match part.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[part],
            };
        }
        *place = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        if key.ends_with("max_line") {
            self.book.max_line = script::size(text).expect("a size") as usize;
        }
    }

    /// Replaces the file as a whole, as a mounted ConfigMap does.
    fn configure(&self, text: &str) -> Done {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("tidegate.yaml"));
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, file)?)
    }

    fn arguments(&self) -> Vec<String> {
        let file = self.folder.path().join("tidegate.yaml");
        vec!["run".to_owned(), "-c".to_owned(), file.to_str().expect("UTF-8").to_owned()]
    }

    fn start(&mut self, step: &Step) -> Done {
        if self.agent.is_some() {
            return Err("an agent runs already".into());
        }
        self.configure(&self.configuration.to_string())?;
        let mut command = match (step.options.get("as").map(String::as_str), step.options.get("without")) {
            (None, None) => tidegate(&self.arguments()),
            (Some("nobody"), None) => self.as_nobody()?,
            (None, Some(what)) => self.deprived(what)?,
            _ => return Err("as=nobody, without=watches, without=inotify".into()),
        };
        self.agent = Some(Running::start(&mut command));
        // Anything that is done to a process that does not know its signals yet would prove nothing.
        self.until("the agent listens", |world| {
            port(&world.agent.as_ref().expect("just started").said()).is_some() || world.has_ended()
        })?;
        if self.has_ended() { Err("the agent ended at once".into()) } else { Ok(()) }
    }

    fn as_nobody(&self) -> Result<Command, Fail> {
        if !rustix::process::geteuid().is_root() {
            // We are no root ourselves: permissions count for us as they are.
            return Ok(tidegate(&self.arguments()));
        }
        let state = self.folder.path().join("state");
        std::fs::create_dir_all(&state)?;
        std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY))?;
        std::fs::set_permissions(self.folder.path(), Permissions::from_mode(0o755))?;
        // The build's folder may be closed to others.
        let program = self.folder.path().join("tidegate");
        if !program.exists() {
            // Not by ourselves: a child that another case starts meanwhile would hold our descriptor, and the program be busy.
            command(Command::new("cp").arg(bin()).arg(&program))?;
        }
        let mut command = Command::new(&program);
        command.env_clear().env("NO_COLOR", "1").args(self.arguments()).uid(NOBODY).gid(NOBODY);
        Ok(command)
    }

    /// In a user namespace of its own, whose limits are its own.
    fn deprived(&self, what: &str) -> Result<Command, Fail> {
        let limit = if what == "watches" { "max_inotify_watches" } else { "max_inotify_instances" };
        let script = format!("echo 0 >/proc/sys/user/{limit} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]).arg(bin()).args(self.arguments());
        let tried = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
        match tried {
            Ok(output) if output.status.success() => Ok(command),
            _ => Err(Fail::Without("user namespaces", "unshare --user does not work here".to_owned())),
        }
    }

    fn running(&self) -> Result<&Running, Fail> {
        self.agent.as_ref().ok_or_else(|| "no agent runs".into())
    }

    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    fn has_ended(&mut self) -> bool {
        self.agent.as_mut().is_none_or(Running::has_ended)
    }

    pub fn stop(&mut self, code: i32) -> Done {
        let agent = self.agent.take().ok_or("no agent runs")?;
        if rustix::process::test_kill_process(pid(&agent)).is_ok() {
            agent.terminate();
        }
        let ran = agent.wait(PATIENCE);
        let ended = ran.code();
        self.said.push(ran.stderr);
        if ended == Some(code) { Ok(()) } else { Err(format!("the agent ended with {ended:?}, not {code}").into()) }
    }

    fn kill(&mut self) -> Done {
        let agent = self.agent.take().ok_or("no agent runs")?;
        self.said.push(agent.kill().stderr);
        self.kills += 1;
        Ok(())
    }

    /// Gives what it said.
    pub fn once(&mut self, more: &[&str], code: i32) -> Result<String, Fail> {
        self.configure(&self.configuration.to_string())?;
        let mut arguments = self.arguments();
        arguments.push("--once".to_owned());
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        let ran = run(&arguments, "");
        self.said.push(ran.stderr.clone());
        if ran.code() == Some(code) {
            return Ok(ran.stderr);
        }
        Err(format!("run --once ended with {:?}, not {code}", ran.code()).into())
    }

    fn receiver(&self) -> Result<&SiemReceiver, Fail> {
        self.siem.as_ref().ok_or_else(|| "the head has no `siem: tcp`".into())
    }

    // Facts.

    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Done {
        let (began, mut moved, mut seen) = (Instant::now(), Instant::now(), 0);
        while !holds(self) {
            let arrived = self.peer.count();
            if arrived != std::mem::replace(&mut seen, arrived) {
                moved = Instant::now();
            }
            if moved.elapsed() > PATIENCE || began.elapsed() > LIMIT {
                return Err(format!("waited {PATIENCE:?} in vain: {what}").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn wait(&mut self, step: &Step) -> Done {
        if step.word(0) == "metric" || step.word(0) == "log" {
            self.running()?;
        }
        let mut seen = String::new();
        let waited = self.until(&step.words.join(" "), |world| match world.holds(step) {
            Ok(now) => {
                seen = now;
                true
            }
            Err(now) => {
                seen = now;
                false
            }
        });
        waited.map_err(|_| format!("waited {PATIENCE:?} in vain for {}; {seen}", step.words.join(" ")).into())
    }

    fn judge_now(&mut self, step: &Step) -> Done {
        self.holds(step).map(drop).map_err(|now| format!("expected {}; {now}", step.words.join(" ")).into())
    }

    /// `Err` says what is instead.
    fn holds(&mut self, step: &Step) -> Result<String, String> {
        let text = || String::from_utf8_lossy(&script::bytes(step.word(1)).expect("judged before")).into_owned();
        let all = step.words.len() == 1;
        let counted = |now: u64| compare(now as f64, step.word(1), step.word(2).parse().unwrap_or(0.0));
        match step.word(0) {
            "delivered" if all => counted_all(self.delivered(), self.book.expected.len()),
            "delivered" => counted(self.delivered() as u64),
            "at-siem" if all => counted_all(self.at_siem(), self.book.flows.len()),
            "at-siem" => counted(self.at_siem() as u64),
            "log" => truth(self.says().contains(&text()), "it was not said"),
            "no-log" => truth(!self.says().contains(&text()), "it was said"),
            "metric" => {
                let value = self.metric(step.word(1)).ok_or("there is no such metric")?;
                compare(value, step.word(2), step.word(3).parse().expect("judged before"))
            }
            "requests" => counted(self.peer.requests()),
            "lookups" => counted(self.peer.lookups()),
            "at-a-time" => counted(self.peer.most_at_a_time()),
            "settled" => truth(self.book.is_settled(&self.checkpoint()), "the checkpoint is behind"),
            "saved" => truth(!self.checkpoint().is_null(), "there is no checkpoint"),
            "ended" => truth(self.has_ended(), "it runs"),
            "ready" => counted(self.get("/readyz").map_or(0, |(status, _)| status).into()),
            "document" => truth(self.peer.any_document(&text()), "no document holds it"),
            "letter" => truth(self.letters().contains(&text()), "no dead letter holds it"),
            "rss" => {
                let most = self.agent.as_ref().and_then(|agent| agent.memory_kib("VmHWM")).unwrap_or(0) << 10;
                compare(most as f64, step.word(1), step.size(2) as f64)
            }
            "files" => {
                let files = self.agent.as_ref().map(|agent| format!("/proc/{}/fd", agent.pid()));
                counted(files.and_then(|fd| Some(std::fs::read_dir(fd).ok()?.count())).unwrap_or(0) as u64)
            }
            // Judged at the end.
            _ => Ok(String::new()),
        }
    }

    fn delivered(&self) -> usize {
        self.book.expected.iter().filter(|id| self.peer.holds(id)).count()
    }

    fn at_siem(&self) -> usize {
        let holds = |id: &&String| self.siem.as_ref().is_some_and(|siem| siem.holds(id));
        self.book.flows.iter().filter(holds).count()
    }

    fn says(&self) -> String {
        self.agent.as_ref().map(Running::said).or_else(|| self.said.last().cloned()).unwrap_or_default()
    }

    /// Both parts of it as one.
    fn checkpoint(&self) -> Value {
        let part = |name: &str| -> Value {
            let text = std::fs::read(self.folder.path().join("state").join(name)).unwrap_or_default();
            serde_json::from_slice(&text).unwrap_or_default()
        };
        let (mut whole, mut archive) = (part("elasticsearch.json"), part("elasticsearch.archive.json"));
        // An archive leaves the members' names out.
        let archived: Vec<Record> = serde_json::from_value(archive["files"].take()).unwrap_or_default();
        // Not by index, which would make something of a checkpoint that is not there.
        if let Some(files) = whole.get_mut("files").and_then(Value::as_array_mut) {
            files.extend(archived.iter().filter_map(|record| serde_json::to_value(record).ok()));
        }
        whole
    }

    /// All dead letters as text.
    pub fn letters(&self) -> String {
        let folder = self.folder.path().join("state/dead-letter/elasticsearch");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// Status and body.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        http_get(port(&self.agent.as_ref()?.said())?, path)
    }

    /// One series by its name with labels, or the sum of all series of a name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let same = series == name || series.split('{').next() == Some(name);
            same.then(|| value.parse::<f64>().ok())?
        });
        values.reduce(|a, b| a + b)
    }

    /// Its output so far, for people.
    pub fn output(&self) -> String {
        let mut all = self.said.join("--- next start\n");
        if let Some(agent) = &self.agent {
            all.push_str(&format!("--- running\n{}", agent.said()));
        }
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent = None;
        for mount in self.mounts.drain(..).rev() {
            // What is left is a folder of a test that failed.
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

/// Flows by their numbers, a line each.
fn flows(first: u64, lines: u64) -> String {
    (first..first + lines).map(|number| flow(number, "") + "\n").collect()
}

fn pid(agent: &Running) -> rustix::process::Pid {
    i32::try_from(agent.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id")
}

/// Where the agent listens, by what it says.
fn port(said: &str) -> Option<u16> {
    // A reload listens anew.
    let line = said.lines().rfind(|line| line.contains("serving /metrics"))?;
    let line: Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.rsplit_once(':')?.1.parse().ok()
}

fn truth(holds: bool, otherwise: &str) -> Result<String, String> {
    if holds { Ok(String::new()) } else { Err(otherwise.to_owned()) }
}

fn counted_all(now: usize, all: usize) -> Result<String, String> {
    if now == all { Ok(String::new()) } else { Err(format!("it is {now} of {all}")) }
}

pub fn compare(now: f64, op: &str, wanted: f64) -> Result<String, String> {
    let holds = match op {
        "<=" => now <= wanted,
        ">=" => now >= wanted,
        _ => now == wanted,
    };
    if holds { Ok(String::new()) } else { Err(format!("it is {now}")) }
}

fn command(command: &mut Command) -> Done {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into())
}

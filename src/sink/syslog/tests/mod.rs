use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};

use super::writer::LAST_SEQUENCE;
use super::*;
use crate::lane::{Memory, Settled, Sink as _, Taken, Ticket, Wake};
use crate::model::{Action, Body, End, EndpointType, Event, FileKey, Flow, LineId, Origin, Reporter, Text, ZonePair};

mod failover;
mod reduce;
mod relp;

/// Waiting for what should come at once, on a machine that does other work too.
const SOON: Duration = Duration::from_secs(60);
/// Long enough that a window never passes by time in a test.
const NEVER: Duration = Duration::from_secs(3600);

struct Lane {
    sink: Syslog,
    wakes: Receiver<Wake>,
    runtime: tokio::runtime::Runtime,
    next: u64,
}

impl Lane {
    fn new(target: Target, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("test", target, "node-a1");
        config.replay_age = NEVER;
        config.backoff = (Duration::from_millis(1), Duration::from_millis(2));
        config.close_timeout = SOON;
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (wake, wakes) = channel();
        let sink = sink(config, runtime.handle(), Outcomes::new(wake)).unwrap();
        Self { sink, wakes, runtime, next: 0 }
    }

    fn add(&mut self, flow: &Flow<'_>) -> Taken {
        let id = LineId::new(Some(1), FileKey(1), 0, b"x");
        let origin = Origin { cluster: "c", node: "n", path: None, offset: 0, id, read_at_ms: None };
        let zones = Some(ZonePair { source: "a", dest: "b" });
        self.sink.add(&Event { origin, body: Body::Flow(flow), zones }, crate::lane::Before::Never)
    }

    /// A batch of one deny to this port.
    fn send(&mut self, port: u16) -> Ticket {
        assert_eq!(self.add(&deny(port)), Taken::Kept);
        self.seal()
    }

    fn seal(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        assert!(self.sink.seal(ticket) > 0);
        ticket
    }

    #[track_caller]
    fn wake(&self) -> Wake {
        self.wakes.recv_timeout(SOON).expect("an outcome")
    }

    #[track_caller]
    fn settled(&self, ticket: Ticket, delivered: u64) {
        match self.wake() {
            Wake::Settled(settled) => {
                assert_eq!(settled, Settled { ticket, delivered, rejected: 0, dropped: 0 });
            }
            other => panic!("{other:?} instead of {ticket:?} settled"),
        }
    }

    #[track_caller]
    fn nothing_yet(&self) {
        assert!(self.wakes.try_recv().is_err());
    }

    #[track_caller]
    fn wait(&self, what: &str, mut is_so: impl FnMut(&Stats) -> bool) {
        let begun = std::time::Instant::now();
        while !is_so(&self.sink.writer.stats) {
            assert!(begun.elapsed() < SOON, "waited in vain for {what}: {:?}", self.sink.writer.stats);
            std::thread::yield_now();
        }
    }
}

fn deny(port: u16) -> Flow<'static> {
    let end = |name: &'static str| End {
        name_aggr: Some(Text::Borrowed(name)),
        kind: Some(EndpointType::Workload),
        ..End::default()
    };
    Flow {
        end_time: Some(1_787_390_098),
        action: Some(Action::Deny),
        reporter: Some(Reporter::SRC),
        source: end("web"),
        dest: End { port: Some(port), ..end("db") },
        ..Flow::default()
    }
}

fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Target::Tcp { host: "127.0.0.1".to_owned(), port })
}

fn accept(listener: &TcpListener) -> std::net::TcpStream {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// One octet-counted frame.
fn frame(socket: &mut std::net::TcpStream) -> String {
    let mut length = 0;
    loop {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        match byte[0] {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut message = vec![0; length];
    socket.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}

#[track_caller]
fn is_deny_to(message: &str, port: u16, sequence: u32) {
    let start = format!(
        "<132>1 2026-08-22T09:14:58.000Z node-a1 tidegate {} TRAFFIC [meta sequenceId=\"{sequence}\"] CEF:0|",
        std::process::id()
    );
    assert!(message.starts_with(&start), "{message}");
    assert!(message.contains(&format!(" dpt={port} ")), "{message}");
}

#[test]
fn a_window_by_records_settles_what_stands_before_it() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.replay_records = 2);
    let tickets: Vec<Ticket> = (1..=3).map(|port| lane.send(port)).collect();
    let mut socket = accept(&listener);
    (1..=3).for_each(|port| is_deny_to(&frame(&mut socket), port, u32::from(port)));
    lane.settled(tickets[0], 1);
    lane.nothing_yet();
}

#[test]
fn a_window_by_age_settles_too_and_none_settles_at_once() {
    for (records, age) in [(10, Duration::from_millis(1)), (0, NEVER)] {
        let (_listener, target) = listen();
        let mut lane = Lane::new(target, |config| {
            config.replay_records = records;
            config.replay_age = age;
        });
        let ticket = lane.send(1);
        lane.settled(ticket, 1);
    }
}

#[test]
fn a_clean_end_settles_once_the_peer_has_closed() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    let ticket = lane.send(7);
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 7, 1);
    lane.sink.finish();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "we close first");
    lane.nothing_yet();
    drop(socket);
    lane.settled(ticket, 1);
    assert!(matches!(lane.wake(), Wake::Finished));
    // The lane may go on after that.
    let ticket = lane.send(8);
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 8, 2);
    drop(socket);
    assert!(matches!(lane.wake(), Wake::Rewind), "{ticket:?} may be lost");
}

#[test]
fn a_peer_that_closes_with_something_unread_settles_nothing() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    lane.send(7);
    let mut socket = accept(&listener);
    socket.read_exact(&mut [0]).unwrap();
    lane.wait("the batch to be written", |stats| stats.records.load(Relaxed) == 1);
    lane.sink.finish();
    // Unread octets make this a reset.
    drop(socket);
    assert!(matches!(lane.wake(), Wake::Rewind));
}

#[test]
fn a_silent_peer_is_not_waited_for_beyond_the_limit() {
    let (_listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.close_timeout = Duration::from_millis(20));
    lane.send(7);
    lane.sink.finish();
    assert!(matches!(lane.wake(), Wake::Rewind));
}

#[test]
fn a_break_rewinds_once_and_old_tickets_stay_void() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.replay_records = 1);
    lane.send(1);
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 1, 1);
    drop(socket);
    assert!(matches!(lane.wake(), Wake::Rewind));
    // The lane has not looked yet: what it seals now is void, and so is a finish.
    lane.send(2);
    lane.sink.finish();
    lane.sink.abandon();
    let (again, next) = (lane.send(1), lane.send(2));
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 1, 3);
    is_deny_to(&frame(&mut socket), 2, 4);
    lane.settled(again, 1);
    lane.sink.finish();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "we close first");
    drop(socket);
    lane.settled(next, 1);
    assert!(matches!(lane.wake(), Wake::Finished));
}

#[test]
fn a_receiver_that_is_away_holds_the_lane_at_its_limit() {
    let (listener, target) = listen();
    drop(listener);
    let mut lane = Lane::new(target.clone(), |_| {});
    lane.wait("a failed try", |stats| stats.connect_errors.load(Relaxed) > 1);
    assert!(lane.sink.writer.stats.last_error().unwrap().contains("check that the receiver listens"));
    let mut sealed = 0;
    while lane.sink.in_flight_limit() > 0 {
        while !lane.sink.fill().full {
            lane.add(&deny((sealed % 60_000) as u16));
            sealed += 1;
        }
        lane.seal();
    }
    let unsent = lane.sink.writer.stats.unsent_bytes.load(Relaxed);
    assert!((UNSENT_LIMIT..UNSENT_LIMIT + BATCH_BYTES).contains(&unsent), "{unsent}");
    // Nothing was written, so nothing can be lost: no rewind, and everything arrives when the receiver comes.
    lane.nothing_yet();
    let Target::Tcp { port, .. } = target else { unreachable!() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut socket = accept(&listener);
    (0..sealed).for_each(|n| is_deny_to(&frame(&mut socket), (n % 60_000) as u16, n as u32 + 1));
    assert!(matches!(lane.wake(), Wake::Room), "there is room again");
    lane.wait("an empty queue", |stats| stats.unsent_bytes.load(Relaxed) == 0);
}

#[test]
fn nothing_to_send_is_finished_without_a_connection() {
    let (listener, target) = listen();
    drop(listener);
    let mut lane = Lane::new(target, |_| {});
    lane.sink.finish();
    assert!(matches!(lane.wake(), Wake::Finished));
}

/// The receiver comes only after the lane has read all and asked for the end.
#[test]
fn a_short_run_says_its_start_and_its_stop() {
    let (listener, target) = listen();
    drop(listener);
    let Target::Tcp { port, .. } = target else { unreachable!() };
    let status = Status { cluster: "c".to_owned(), node: "node-a1".to_owned(), heartbeat: NEVER };
    let mut lane = Lane::new(target.clone(), |config| config.status = Some(status));
    lane.sink.recall(Memory::Nothing);
    let ticket = lane.send(7);
    lane.sink.finish();
    lane.wait("a failed try", |stats| stats.connect_errors.load(Relaxed) > 1);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut socket = accept(&listener);
    let [start, deny, stop] = [(); 3].map(|()| frame(&mut socket));
    assert!(start.contains("|tidegate:start|"), "{start}");
    is_deny_to(&deny, 7, 2);
    assert!(stop.contains("|tidegate:stop|"), "{stop}");
    drop(socket);
    lane.settled(ticket, 1);
    assert!(matches!(lane.wake(), Wake::Finished));
}

#[test]
fn traces_of_one_flow_are_one_record_a_batch() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    let traced = |policy: &'static str| {
        let mut flow = deny(1);
        flow.policies.enforced.push(policy.into());
        flow
    };
    assert_eq!(lane.add(&traced("0|a|a.one|deny|0")), Taken::Kept);
    assert_eq!(lane.add(&traced("0|a|a.two|deny|0")), Taken::Filtered);
    assert_eq!(lane.add(&traced("0|a|a.one|deny|0")), Taken::Kept, "two equal lines are two flows'");
    assert_eq!(lane.add(&deny(2)), Taken::Kept);
    assert_eq!(lane.sink.fill().lines, 3);
    lane.seal();
    assert_eq!(lane.add(&traced("0|a|a.two|deny|0")), Taken::Kept, "another batch");
    drop(listener);
}

#[test]
fn lf_framing_ends_each_record() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| {
        config.framing = Some(Framing::Lf);
        config.header = Header::Rfc3164;
    });
    lane.send(5);
    let mut socket = accept(&listener);
    lane.sink.finish();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("<132>Aug 22 09:14:58 node-a1 CEF:0|"), "{text}");
    assert!(text.ends_with(" TidegateSequence=1\n") && text.lines().count() == 1, "{text}");
}

#[test]
fn datagrams_are_one_record_each_and_settle_unconfirmed() {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let mut lane = Lane::new(Target::Udp { host: "127.0.0.1".to_owned(), port }, |_| {});
    lane.add(&deny(1));
    lane.add(&deny(2));
    let ticket = lane.seal();
    let mut buffer = [0; 4096];
    for port in 1..=2 {
        let length = receiver.recv(&mut buffer).unwrap();
        is_deny_to(std::str::from_utf8(&buffer[..length]).unwrap(), port, port.into());
    }
    lane.sink.finish();
    lane.settled(ticket, 2);
    assert!(matches!(lane.wake(), Wake::Finished));
    assert_eq!(lane.sink.writer.stats.settled_by(Proof::None), 2);
}

#[test]
fn a_local_daemon_is_sent_datagrams() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let receiver = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let mut lane = Lane::new(Target::Unix { path: path.clone() }, |_| {});
    lane.send(1);
    let mut buffer = [0; 4096];
    let length = receiver.recv(&mut buffer).unwrap();
    is_deny_to(std::str::from_utf8(&buffer[..length]).unwrap(), 1, 1);
    // The daemon is started again under the same path.
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    lane.send(2);
    assert!(matches!(lane.wake(), Wake::Rewind));
    let receiver = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    lane.sink.abandon();
    lane.send(2);
    let length = receiver.recv(&mut buffer).unwrap();
    is_deny_to(std::str::from_utf8(&buffer[..length]).unwrap(), 2, 3);
}

#[test]
fn the_sequence_begins_again_with_one() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    lane.sink.writer.sequence = LAST_SEQUENCE - 1;
    lane.send(1);
    lane.send(2);
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 1, LAST_SEQUENCE);
    is_deny_to(&frame(&mut socket), 2, 1);
}

#[test]
fn a_word_from_the_receiver_is_no_break() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    lane.send(1);
    let mut socket = accept(&listener);
    socket.write_all(b"hello\n").unwrap();
    is_deny_to(&frame(&mut socket), 1, 1);
    lane.send(2);
    is_deny_to(&frame(&mut socket), 2, 2);
    lane.nothing_yet();
}

#[test]
fn the_task_ends_with_the_sink() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |_| {});
    lane.send(1);
    let mut socket = accept(&listener);
    frame(&mut socket);
    let Lane { sink, wakes, runtime, .. } = lane;
    drop(sink);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the connection is gone");
    assert!(wakes.recv_timeout(SOON).is_err(), "and so is the way to the lane");
    drop(runtime);
}

#[test]
fn a_probe_tells_where_it_ended_up() {
    let (listener, target) = listen();
    let config = Config::new("test", target.clone(), "n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let peer = std::thread::spawn(move || drop(accept(&listener)));
    let probe = || runtime.block_on(probe(&config)).pop().unwrap().1;
    let report = probe().unwrap();
    peer.join().unwrap();
    let Target::Tcp { port, .. } = target else { unreachable!() };
    assert_eq!(report.to_string(), format!("connected to 127.0.0.1:{port}"));
    let error = probe().unwrap_err().to_string();
    assert!(error.contains("Connection refused") && error.contains("check that the receiver listens"), "{error}");
}

#[test]
fn mistakes_are_errors_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fail = |change: fn(&mut Config)| {
        let mut config = Config::new("test", Target::Tls { host: "siem.test".to_owned(), port: 1 }, "n");
        change(&mut config);
        sink(config, runtime.handle(), Outcomes::new(channel().0)).map(drop).unwrap_err().to_string()
    };
    assert!(fail(|config| config.facility = 24).contains("facility 24"));
    assert!(fail(|config| config.tls.ca_file = Some("/nowhere.pem".into())).contains("ca_file /nowhere.pem"));
}

//! A lane over RELP, with a receiver that answers as it is told.

use super::*;
use crate::sink::syslog::relp::WINDOW;

fn listen() -> (TcpListener, Target) {
    let (listener, target) = super::listen();
    let Target::Tcp { host, port } = target else { unreachable!() };
    (listener, Target::Relp { host, port })
}

struct Peer {
    socket: std::net::TcpStream,
}

impl Peer {
    /// Takes the connection and opens the session.
    fn accept(listener: &TcpListener) -> Self {
        let mut peer = Self { socket: super::accept(listener) };
        let (txnr, command, data) = peer.frame();
        assert_eq!((txnr, command.as_str()), (1, "open"));
        assert!(data.contains("commands=syslog"), "{data}");
        peer.say("1 rsp 22 200 OK\ncommands=syslog\n");
        peer
    }

    fn say(&mut self, frames: &str) {
        self.socket.write_all(frames.as_bytes()).unwrap();
    }

    fn acknowledge(&mut self, txnr: u32) {
        self.say(&format!("{txnr} rsp 6 200 OK\n"));
    }

    fn word(&mut self) -> String {
        let mut word = Vec::new();
        loop {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).unwrap();
            match byte[0] {
                b' ' | b'\n' => return String::from_utf8(word).unwrap(),
                other => word.push(other),
            }
        }
    }

    fn frame(&mut self) -> (u32, String, String) {
        let (txnr, command) = (self.word().parse().unwrap(), self.word());
        let length: usize = self.word().parse().unwrap();
        let mut data = vec![0; if length == 0 { 0 } else { length + 1 }];
        self.socket.read_exact(&mut data).unwrap();
        assert!(length == 0 || data.pop() == Some(b'\n'));
        (txnr, command, String::from_utf8(data).unwrap())
    }

    /// A record to this port; gives the frame's number.
    #[track_caller]
    fn record(&mut self, port: u16) -> u32 {
        let (txnr, command, data) = self.frame();
        assert_eq!(command, "syslog");
        assert!(data.contains(&format!(" dpt={port} ")), "{data}");
        txnr
    }
}

#[test]
fn a_record_is_settled_by_its_acknowledgement_alone() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.replay_records = 0);
    let tickets = [lane.send(1), lane.send(2)];
    let mut peer = Peer::accept(&listener);
    let numbers = [peer.record(1), peer.record(2)];
    assert_eq!(numbers, [2, 3]);
    lane.nothing_yet();
    peer.acknowledge(2);
    lane.settled(tickets[0], 1);
    lane.nothing_yet();
    peer.acknowledge(3);
    lane.settled(tickets[1], 1);
    assert_eq!(lane.sink.writer.stats.settled_by(Proof::Acknowledged), 2);
    lane.sink.finish();
    assert_eq!(peer.frame(), (4, "close".to_owned(), String::new()));
    peer.say("4 rsp 0\n0 serverclose 0\n");
    drop(peer);
    assert!(matches!(lane.wake(), Wake::Finished));
}

type Way = (&'static str, fn(Peer));

/// Each way in which a session ends: what was acknowledged is not sent again, and all the rest is, without a rewind.
#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let ways: [Way; 5] = [
        ("closed", drop),
        ("serverclose", |mut peer| peer.say("0 serverclose 0\n")),
        ("refused", |mut peer| peer.say("4 rsp 9 500 ERROR\n")),
        ("unasked", |mut peer| peer.say("9 rsp 6 200 OK\n")),
        ("nonsense", |mut peer| peer.say("HTTP/1.1 400 Bad Request\r\n\r\n")),
    ];
    for (way, end) in ways {
        let (listener, target) = listen();
        let mut lane = Lane::new(target, |_| {});
        lane.add(&deny(1));
        lane.add(&deny(2));
        let ticket = lane.seal();
        let next = lane.send(3);
        let mut peer = Peer::accept(&listener);
        (1..=3).for_each(|port| assert_eq!(peer.record(port), u32::from(port) + 1));
        peer.acknowledge(2);
        lane.wait("the acknowledgement", |stats| stats.settled_by(Proof::Acknowledged) == 1);
        end(peer);
        let mut peer = Peer::accept(&listener);
        assert_eq!((peer.record(2), peer.record(3)), (2, 3), "{way}");
        peer.acknowledge(2);
        lane.settled(ticket, 2);
        peer.acknowledge(3);
        lane.settled(next, 1);
        assert_eq!(lane.sink.writer.stats.siem.rewinds.load(Relaxed), 0);
        lane.wait("no memory in use", |stats| stats.unsent_bytes.load(Relaxed) == 0);
    }
}

#[test]
fn a_receiver_that_acknowledges_nothing_is_left() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.timeout = Duration::from_secs(2));
    let ticket = lane.send(1);
    let mut deaf = Peer::accept(&listener);
    deaf.record(1);
    let mut peer = Peer::accept(&listener);
    peer.record(1);
    assert!(lane.sink.writer.stats.disconnects.load(Relaxed) == 1);
    peer.acknowledge(2);
    lane.settled(ticket, 1);
}

#[test]
fn frames_without_an_answer_are_bounded() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.timeout = NEVER);
    let sealed = WINDOW as u64 + 100;
    while lane.next < sealed {
        lane.send(1);
    }
    let mut peer = Peer::accept(&listener);
    let mut last = 0;
    (0..WINDOW).for_each(|_| last = peer.record(1));
    lane.wait("a full window", |stats| stats.records.load(Relaxed) == WINDOW as u64);
    peer.acknowledge(2);
    assert_eq!(peer.record(1), last + 1, "one answer, one more frame");
    (3..=last + 1).for_each(|txnr| peer.acknowledge(txnr));
    (2..=100).for_each(|n| assert_eq!(peer.record(1), last + n));
    lane.wait("all of it", |stats| stats.records.load(Relaxed) == sealed);
}

#[test]
fn a_receiver_without_relp_is_told_so() {
    let (listener, target) = listen();
    let lane = Lane::new(target, |_| {});
    let mut socket = super::accept(&listener);
    socket.write_all(b"220 mail.example.com ESMTP\r\n").unwrap();
    lane.wait("the reason", |stats| stats.last_error().is_some());
    let error = lane.sink.writer.stats.last_error().unwrap();
    assert!(error.contains("does not speak RELP"), "{error}");
}

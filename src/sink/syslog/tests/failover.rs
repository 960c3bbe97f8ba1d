//! Several receivers in turn.

use super::*;

/// Two receivers, and a lane whose first choice is the first.
fn pair(change: impl FnOnce(&mut Config)) -> (TcpListener, TcpListener, Lane) {
    let ((first, target), (second, other)) = (listen(), listen());
    let lane = Lane::new(target, |config| {
        config.targets.push(other);
        config.failback = Duration::ZERO;
        change(config);
    });
    (first, second, lane)
}

fn again(listener: TcpListener) -> TcpListener {
    let address = listener.local_addr().unwrap();
    drop(listener);
    TcpListener::bind(address).unwrap()
}

/// A socket that must not come: whoever connects did so before we look.
#[track_caller]
fn nobody(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    listener.set_nonblocking(false).unwrap();
}

#[test]
fn what_the_first_had_within_the_window_is_sent_to_the_next() {
    let (first, second, mut lane) = pair(|_| {});
    lane.send(1);
    lane.send(2);
    let mut socket = accept(&first);
    (1..=2).for_each(|port| is_deny_to(&frame(&mut socket), port, port.into()));
    nobody(&second);
    assert_eq!(lane.sink.writer.stats.current(), Some(0));
    drop(first);
    drop(socket);
    assert!(matches!(lane.wake(), Wake::Rewind));
    lane.sink.abandon();
    let tickets = [lane.send(1), lane.send(2)];
    let mut socket = accept(&second);
    (1..=2).for_each(|port| is_deny_to(&frame(&mut socket), port, u32::from(port) + 2));
    assert_eq!((lane.sink.writer.stats.current(), lane.sink.writer.stats.switches.load(Relaxed)), (Some(1), 1));
    lane.sink.finish();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    drop(socket);
    tickets.iter().for_each(|ticket| lane.settled(*ticket, 1));
    assert!(matches!(lane.wake(), Wake::Finished));
    assert_eq!(lane.sink.writer.stats.settled_by(Proof::Closed), 2);
}

/// A load balancer with nothing behind it takes every connection and ends it.
#[test]
fn a_first_receiver_that_only_takes_connections_does_not_keep_the_records() {
    let (first, second, mut lane) = pair(|_| {});
    lane.send(1);
    is_deny_to(&frame(&mut accept(&first)), 1, 1);
    assert!(matches!(lane.wake(), Wake::Rewind));
    lane.sink.abandon();
    let ticket = lane.send(1);
    let mut socket = accept(&second);
    is_deny_to(&frame(&mut socket), 1, 2);
    lane.sink.finish();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    drop(socket);
    lane.settled(ticket, 1);
}

#[test]
fn records_go_back_to_a_first_receiver_that_answered_twice() {
    let (first, second, mut lane) = pair(|config| config.failback = Duration::from_millis(20));
    let mut socket = {
        // Nobody is there at the start.
        let address = first.local_addr().unwrap();
        drop(first);
        lane.wait("the second receiver", |stats| stats.connect_errors.load(Relaxed) > 0);
        let ticket = lane.send(1);
        let mut socket = accept(&second);
        is_deny_to(&frame(&mut socket), 1, 1);
        let first = TcpListener::bind(address).unwrap();
        let mut probe = accept(&first);
        assert_eq!(probe.read(&mut [0]).unwrap(), 0, "no record, and closed again");
        drop(probe);
        let back = accept(&first);
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the second one is closed first");
        lane.nothing_yet();
        drop(socket);
        lane.settled(ticket, 1);
        assert_eq!(lane.sink.writer.stats.settled_by(Proof::Closed), 1);
        back
    };
    lane.send(2);
    is_deny_to(&frame(&mut socket), 2, 2);
    assert_eq!((lane.sink.writer.stats.current(), lane.sink.writer.stats.switches.load(Relaxed)), (Some(0), 1));
    nobody(&second);
    lane.nothing_yet();
}

#[test]
fn the_last_of_a_round_is_followed_by_the_first() {
    let (first, second, lane) = pair(|_| {});
    let first = again(first);
    drop(accept(&first));
    drop(accept(&second));
    drop(accept(&first));
    drop(lane);
}

#[test]
fn relp_and_plain_streams_stand_in_for_each_other() {
    let (plain, target) = listen();
    let (relp, other) = listen();
    let Target::Tcp { host, port } = other else { unreachable!() };
    let mut lane = Lane::new(Target::Relp { host, port }, |config| config.targets.push(target));
    lane.add(&deny(1));
    lane.add(&deny(2));
    let ticket = lane.seal();
    let mut socket = accept(&relp);
    socket.write_all(b"1 rsp 22 200 OK\ncommands=syslog\n2 rsp 6 200 OK\n").ok();
    // An answer before its question: not to be believed.
    drop(relp);
    let mut socket = accept(&plain);
    is_deny_to(&frame(&mut socket), 1, 1);
    is_deny_to(&frame(&mut socket), 2, 2);
    lane.sink.finish();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    drop(socket);
    lane.settled(ticket, 2);
}

#[test]
fn a_connection_is_made_again_at_its_age_and_what_it_had_is_proved() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| config.reconnect = Some(Duration::from_secs(2)));
    let ticket = lane.send(1);
    let mut socket = accept(&listener);
    is_deny_to(&frame(&mut socket), 1, 1);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "closed in good order");
    lane.nothing_yet();
    drop(socket);
    lane.settled(ticket, 1);
    lane.send(2);
    is_deny_to(&frame(&mut accept(&listener)), 2, 2);
    assert_eq!(
        (lane.sink.writer.stats.disconnects.load(Relaxed), lane.sink.writer.stats.siem.rewinds.load(Relaxed)),
        (0, 0)
    );
}

#[test]
fn a_peer_that_lets_nothing_through_loses_nothing_at_its_age() {
    let (listener, target) = listen();
    let mut lane = Lane::new(target, |config| {
        config.reconnect = Some(Duration::from_secs(2));
        config.close_timeout = Duration::from_millis(50);
    });
    lane.send(1);
    let hole = accept(&listener);
    assert!(matches!(lane.wake(), Wake::Rewind));
    lane.sink.abandon();
    lane.send(1);
    is_deny_to(&frame(&mut accept(&listener)), 1, 2);
    drop(hole);
}

#[test]
fn a_stream_socket_of_a_local_daemon_takes_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("siem");
    let receiver = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut lane = Lane::new(Target::UnixStream { path }, |_| {});
    let ticket = lane.send(1);
    let (mut socket, _) = receiver.accept().unwrap();
    lane.wait("the batch to be written", |stats| stats.records.load(Relaxed) == 1);
    lane.sink.finish();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    is_deny_to(text.strip_suffix('\n').unwrap(), 1, 1);
    drop(socket);
    lane.settled(ticket, 1);
    assert!(matches!(lane.wake(), Wake::Finished));
    assert_eq!(lane.sink.writer.stats.settled_by(Proof::Closed), 1);
}

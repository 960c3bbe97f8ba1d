use super::*;

#[track_caller]
fn check(bytes: &str, expected: Result<Option<(u32, &str, &str)>, &str>) {
    match (parse(bytes.as_bytes()), expected) {
        (Ok(None), Ok(None)) => {}
        (Ok(Some((frame, _))), Ok(Some((txnr, command, data)))) => {
            assert_eq!(frame, Frame { txnr, command: command.as_bytes(), data: data.as_bytes() });
        }
        (Err(RelpError::NotRelp(reason)), Err(part)) => assert!(reason.contains(part), "{bytes:?}: {reason}"),
        (got, expected) => panic!("{bytes:?}: {got:?}, expected {expected:?}"),
    }
}

#[test]
fn frames() {
    check("2 rsp 6 200 OK\n", Ok(Some((2, "rsp", "200 OK"))));
    check("0 serverclose 0\n", Ok(Some((0, "serverclose", ""))));
    check("0 serverclose 0 \n", Ok(Some((0, "serverclose", ""))));
    check("999999999 rsp 3 a\nb\n3 rsp", Ok(Some((999_999_999, "rsp", "a\nb"))));
    let whole = "12 rsp 6 200 OK\n";
    (0..whole.len()).for_each(|length| check(&whole[..length], Ok(None)));
}

#[test]
fn hostile_frames() {
    check("rsp 6 200 OK\n", Err("begin with its number"));
    check(" 1 rsp", Err("begin with its number"));
    check("-1 rsp 0\n", Err("begin with its number"));
    check("1234567890", Err("a number is too long"));
    check("1\nrsp", Err("a space should follow the number"));
    check("1 rsp-x 0\n", Err("a command should be letters"));
    check("1  0\n", Err("a command should be letters"));
    check(&format!("1 {}", "a".repeat(33)), Err("a command is too long"));
    check("1 rsp x\n", Err("begin with its number"));
    check("1 rsp 4097 ", Err("an answer is too long"));
    check("1 rsp 9999999999 ", Err("a number is too long"));
    check("1 rsp 6\n200 OK\n", Err("a space should follow the length"));
    check("1 rsp 6 200 OKx", Err("end with a line feed"));
    check("HTTP/1.1 400 Bad Request\r\n", Err("begin with its number"));
    check("\u{16}\u{3}\u{1}", Err("begin with its number"));
}

#[test]
fn nothing_whole_is_kept_beyond_its_bound() {
    // The longest beginning of a frame that is not an error yet.
    let longest = format!("999999999 {} {MAX_ANSWER} {}", "a".repeat(32), "x".repeat(MAX_ANSWER));
    check(&longest, Ok(None));
    check(&format!("{longest}x"), Err("end with a line feed"));
}

const OPENED: &str =
    "1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog\n";

#[track_caller]
fn opens(answer: &str, expected: Result<Option<&str>, RelpError>) {
    let (mut session, _) = Session::open();
    let got = session.opened(answer.as_bytes());
    assert_eq!(got, expected.map(|software| software.map(str::to_owned)), "{answer:?}");
}

#[test]
fn a_session_is_opened() {
    let (_, wire) = Session::open();
    let version = env!("CARGO_PKG_VERSION");
    let offers = format!("relp_version=0\nrelp_software=tidegate,{version}\ncommands=syslog");
    assert_eq!(String::from_utf8(wire).unwrap(), format!("1 open {} {offers}\n", offers.len()));
    let data = "200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0\ncommands=syslog,more";
    opens(&format!("1 rsp {} {data}\n", data.len()), Ok(Some("librelp,1.11.0")));
    opens(OPENED, Ok(Some("librelp,1.11.0,http://librelp.adiscon.com")));
    opens(&OPENED[..40], Ok(None));
    opens("1 rsp 22 200 OK\ncommands=syslog\n", Ok(Some("")));
    opens("0 serverclose 0\n", Err(RelpError::Closed));
    opens("1 rsp 22 200 OK\ncommands=syslog\n2 rsp 6 200 OK\n", Err(RelpError::Unasked(2)));
    let refused = RelpError::RefusedSession { code: 500, text: "no? room".to_owned() };
    opens("1 rsp 12 500 no\u{1b} room\n", Err(refused));
    opens("1 rsp 20 200 OK\ncommands=echo\n", Err(RelpError::NoSyslog("echo".to_owned())));
    opens("1 rsp 6 200 OK\n", Err(RelpError::NoSyslog(String::new())));
    let first = RelpError::NotRelp("the first word should be the answer to open");
    opens("2 rsp 6 200 OK\n", Err(first.clone()));
    opens("1 syslog 1 x\n", Err(first));
    opens("1 rsp 2 OK\n", Err(RelpError::NotRelp("an answer should begin with a code of three digits")));
}

/// A session that is open, with so many frames sent.
fn session(frames: usize) -> Session {
    let (mut session, _) = Session::open();
    session.opened(OPENED.as_bytes()).unwrap().unwrap();
    send(&mut session, frames);
    session
}

fn send(session: &mut Session, frames: usize) -> String {
    let mut batch = Batch::default();
    for n in 0..frames {
        batch.bytes.extend_from_slice(format!("<1>{n}").as_bytes());
        batch.ends.push(batch.bytes.len());
    }
    let mut wire = Vec::new();
    session.frame(&batch, 0..frames, &mut wire);
    String::from_utf8(wire).unwrap()
}

#[test]
fn records_are_framed_and_numbered() {
    let mut session = session(0);
    assert_eq!(send(&mut session, 2), "2 syslog 4 <1>0\n3 syslog 4 <1>1\n");
    let mut wire = Vec::new();
    session.close(&mut wire);
    assert_eq!(wire, b"4 close 0\n");
    session.next = LAST_TXNR;
    assert_eq!(send(&mut session, 2), "999999999 syslog 4 <1>0\n1 syslog 4 <1>1\n");
    session.received(b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n999999999 rsp 6 200 OK\n1 rsp 6 200 OK\n").unwrap();
    assert_eq!((session.take_acknowledged(), session.is_waiting()), (4, false));
}

#[test]
fn answers_in_any_order_and_any_pieces_count_from_the_oldest() {
    let mut session = session(4);
    let mut heard = |bytes: &str| {
        session.received(bytes.as_bytes()).unwrap();
        session.take_acknowledged()
    };
    assert_eq!(heard("4 rsp 6 200 OK\n"), 0);
    assert_eq!(heard("2 rsp 6 200"), 0);
    assert_eq!(heard(" OK\n"), 1);
    assert_eq!(heard("3 rsp 6 200 OK\n5 rsp 3 200\n"), 3);
    assert!(!session.is_waiting() && session.received.is_empty());
}

#[track_caller]
fn fails(answers: &str, expected: RelpError, acknowledged: usize) {
    let mut session = session(3);
    assert_eq!(session.received(answers.as_bytes()), Err(expected), "{answers:?}");
    assert_eq!(session.take_acknowledged(), acknowledged, "{answers:?}");
}

#[test]
fn what_was_acknowledged_before_an_error_stays_so() {
    let refused = RelpError::RefusedRecord { code: 500, text: "ERROR".to_owned() };
    fails("2 rsp 6 200 OK\n3 rsp 9 500 ERROR\n4 rsp 6 200 OK\n", refused, 1);
    fails("2 rsp 6 200 OK\n2 rsp 6 200 OK\n", RelpError::Unasked(2), 1);
    fails("3 rsp 6 200 OK\n3 rsp 6 200 OK\n", RelpError::Unasked(3), 0);
    fails("5 rsp 6 200 OK\n", RelpError::Unasked(5), 0);
    fails("1 rsp 6 200 OK\n", RelpError::Unasked(1), 0);
    fails("0 rsp 6 200 OK\n", RelpError::Unasked(0), 0);
    fails("2 rsp 6 200 OK\n0 serverclose 0\n", RelpError::Closed, 1);
    fails("2 syslog 2 hi\n", RelpError::NotRelp("a receiver says rsp and serverclose, nothing else"), 0);
    fails("2 rsp 0\n", RelpError::NotRelp("an answer should begin with a code of three digits"), 0);
}

#[test]
fn the_window_is_bounded() {
    let mut session = session(WINDOW - 1);
    assert_eq!(session.room(), 1);
    send(&mut session, 1);
    assert_eq!(session.room(), 0);
    session.received(b"2 rsp 6 200 OK\n").unwrap();
    assert_eq!(session.room(), 1);
}

proptest::proptest! {
    /// Whatever comes: no panic, nothing acknowledged twice, and nothing kept beyond one frame.
    #[test]
    fn any_octets(pieces in proptest::collection::vec("([0-9]{1,2} (rsp|serverclose) [0-9]{1,2} ?(200|500)?.{0,3}\n?|.{0,8})", 0..12)) {
        let mut session = session(20);
        let mut acknowledged = 0;
        for piece in pieces {
            let ended = session.received(piece.as_bytes()).is_err();
            acknowledged += session.take_acknowledged();
            if ended {
                break;
            }
            assert!(session.received.len() <= MAX_ANSWER + 64);
        }
        assert!(acknowledged <= 20);
    }
}

//! A SIEM's front door: syslog over TCP, RFC 6587 framing of both kinds, RFC 5424 and CEF within.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cef::{Cef, Record, Verdict};
use super::rfc5424::Message;
use super::{Ids, Violations};

/// No record is longer; what claims to be is a framing error.
const MAX_FRAME: usize = 64 * 1024;
/// Digits of a frame's length.
const MAX_DIGITS: usize = 5;
/// Records kept for the picture.
const KEPT_RECORDS: usize = 12;

/// What was received so far.
#[derive(Debug, Clone, Default)]
pub struct SyslogSeen {
    pub connections: u64,
    /// Records of flows with an id not seen before, by verdict.
    pub allowed: u64,
    pub denied: u64,
    /// Records with an id seen before: a replay after a broken connection.
    pub repeats: u64,
    /// Records that are about no flow (heartbeats).
    pub notices: u64,
    pub bytes: u64,
    pub violations: Violations,
    /// The latest records, oldest first.
    pub last: VecDeque<Record>,
}

impl SyslogSeen {
    /// Connections that the SIEM knows of.
    pub const fn records(&self) -> u64 {
        self.allowed + self.denied
    }
}

#[derive(Debug, Default)]
struct Ledger {
    seen: SyslogSeen,
    ids: Ids,
}

type Shared = Arc<Mutex<Ledger>>;

/// The running endpoint. It lives as long as its runtime.
#[derive(Debug, Clone)]
pub struct SyslogReceiver {
    address: SocketAddr,
    ledger: Shared,
}

impl SyslogReceiver {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let ledger = Shared::default();
        tokio::spawn(accept(listener, Arc::clone(&ledger)));
        Ok(Self { address, ledger })
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    pub fn seen(&self) -> SyslogSeen {
        lock(&self.ledger).seen.clone()
    }

    pub fn ids(&self) -> Ids {
        lock(&self.ledger).ids.clone()
    }
}

/// A panic elsewhere leaves counters that are still worth reading.
fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, ledger: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        lock(&ledger).seen.connections += 1;
        tokio::spawn(connection(stream, Arc::clone(&ledger)));
    }
}

/// Reads one connection to its end; closing it (by dropping) is the answer to the peer's own close.
async fn connection(stream: TcpStream, ledger: Shared) {
    let mut reader = BufReader::with_capacity(MAX_FRAME, stream);
    let mut sequence = None;
    loop {
        match frame(&mut reader).await {
            Ok(Some(frame)) => lock(&ledger).take(&frame, &mut sequence),
            Ok(None) => return,
            Err(error) => {
                // Out of step: nothing that follows can be trusted.
                lock(&ledger).seen.violations.add(format!("framing: {error}"));
                return;
            }
        }
    }
}

/// One frame: `length SP message` where it begins with a digit, else up to a newline. `None` at a clean end.
async fn frame<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Vec<u8>>> {
    let Some(&first) = reader.fill_buf().await?.first() else { return Ok(None) };
    if first.is_ascii_digit() {
        let length = length(reader).await?;
        let mut frame = vec![0; length];
        reader.read_exact(&mut frame).await?;
        return Ok(Some(frame));
    }
    let mut frame = Vec::new();
    reader.take(MAX_FRAME as u64 + 1).read_until(b'\n', &mut frame).await?;
    match frame.pop() {
        Some(b'\n') => Ok(Some(frame)),
        _ => Err(invalid("a message without its newline")),
    }
}

async fn length<R: tokio::io::AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<usize> {
    let mut length = 0;
    for _ in 0..=MAX_DIGITS {
        match reader.read_u8().await? {
            b' ' if (1..=MAX_FRAME).contains(&length) => return Ok(length),
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            _ => break,
        }
    }
    Err(invalid("a frame's length is not 1 to 65536 and a space"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Ledger {
    /// Takes one message. `sequence` is the number of the one before it on this connection.
    fn take(&mut self, frame: &[u8], sequence: &mut Option<u32>) {
        self.seen.bytes += frame.len() as u64;
        let parsed = std::str::from_utf8(frame)
            .map_err(|_| "a message that is not UTF-8".to_owned())
            .and_then(|text| Message::parse(text).map_err(|error| format!("{error} in {text:.80?}")))
            .and_then(|message| Ok((Cef::parse(message.text)?, message)));
        match parsed {
            Ok((cef, message)) => {
                self.in_sequence(message.sequence, sequence);
                self.record(&cef, &message);
            }
            Err(fault) => self.seen.violations.add(format!("record: {fault}")),
        }
    }

    fn in_sequence(&mut self, now: Option<u32>, before: &mut Option<u32>) {
        let expected = before.map(|before| if before == 0x7fff_ffff { 1 } else { before + 1 });
        if now.is_none() || (expected.is_some() && expected != now) {
            self.seen.violations.add(format!("record: sequenceId {now:?} after {before:?}"));
        }
        *before = now;
    }

    fn record(&mut self, cef: &Cef, message: &Message<'_>) {
        if !cef.is_flow() {
            self.seen.notices += 1;
            return;
        }
        let id = cef.get("externalId").unwrap_or_default();
        let mut faults = cef.faults();
        let header_ms = message.time.map(|time| time.as_millisecond().to_string());
        if header_ms.as_deref() != cef.get("rt") {
            faults.push(format!("the header's time is {:?}, rt is {:?}", message.time, cef.get("rt")));
        }
        if message.app != "tidegate" {
            faults.push(format!("APP-NAME is {:?}", message.app));
        }
        self.seen.violations.add_all(&format!("record {id}"), faults);
        if !self.ids.insert(id) {
            self.seen.repeats += 1;
            return;
        }
        let record = cef.record(message.text);
        match record.verdict {
            Verdict::Allow => self.seen.allowed += 1,
            Verdict::Deny => self.seen.denied += 1,
        }
        self.seen.last.push_back(record);
        if self.seen.last.len() > KEPT_RECORDS {
            self.seen.last.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::super::cef::tests::good;
    use super::super::document::tests::ID;
    use super::*;

    fn message(sequence: u32, text: &str) -> String {
        format!("<132>1 2026-08-22T09:14:58.000Z node-1 tidegate 1 TRAFFIC [meta sequenceId=\"{sequence}\"] {text}")
    }

    /// Takes messages in order and returns what was seen.
    fn check(messages: &[String]) -> SyslogSeen {
        let (mut ledger, mut sequence) = (Ledger::default(), None);
        for message in messages {
            ledger.take(message.as_bytes(), &mut sequence);
        }
        ledger.seen
    }

    #[test]
    fn records_and_repeats() {
        let other = good().replace(ID, &ID.replace('0', "1")).replace("deny", "allow");
        let heartbeat = "CEF:0|Tidegate|Tidegate|0.1.0|heartbeat|Heartbeat|0|rt=1787390098000";
        let seen = check(&[message(7, &good()), message(8, &other), message(9, &good()), message(10, heartbeat)]);
        assert_eq!(seen.violations, Violations::default());
        assert_eq!((seen.denied, seen.allowed, seen.repeats, seen.notices), (1, 1, 1, 1));
        assert_eq!(seen.last.len(), 2);
    }

    #[test]
    fn every_check_can_fail() {
        let cases = [
            (vec![message(1, &good()).replace("<132>", "<999>")], "PRI"),
            (vec![message(1, "CEF:1|")], "CEF:0|"),
            (vec![message(1, &good()).replace("Z node", "+01:00 node")], "rt is"),
            (vec![message(1, &good()).replace("tidegate 1", "other 1")], "APP-NAME"),
            (vec![message(1, &good()), message(3, &good())], "sequenceId Some(3) after Some(1)"),
            (vec![message(1, &good()).replace("[meta sequenceId=\"1\"]", "-")], "sequenceId None"),
            (vec![message(1, &good().replace("cs5=restricted", "cs5=dmz"))], "both zones"),
        ];
        for (messages, fault) in cases {
            let violations = check(&messages).violations;
            assert!(violations.first.iter().any(|found| found.contains(fault)), "{violations:?} lacks {fault:?}");
        }
        let mut ledger = Ledger::default();
        ledger.take(b"\xff", &mut None);
        assert_eq!(ledger.seen.violations.count, 1);
    }

    /// Sends octets and waits until the receiver closes: by then it has read all.
    fn send(octets: &[u8]) -> SyslogSeen {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let receiver = SyslogReceiver::start().await.expect("it listens");
            let mut stream = TcpStream::connect(receiver.address).await.expect("connected");
            stream.write_all(octets).await.expect("sent");
            stream.shutdown().await.expect("closed");
            // A receiver that drops unread octets answers with a reset; closed is closed.
            let _ = stream.read(&mut [0; 1]).await;
            receiver.seen()
        })
    }

    #[test]
    fn both_framings() {
        let (one, two) = (message(1, &good()), message(2, &good()));
        let seen = send(format!("{} {one}{two}\n", one.len()).as_bytes());
        assert_eq!((seen.denied, seen.repeats, seen.violations.count, seen.connections), (1, 1, 0, 1));
    }

    #[test]
    fn framing_can_be_broken() {
        let one = message(1, &good());
        for octets in ["12x", "123456 ", "0 ", &format!("{} {one}", one.len() + 1), &one] {
            let seen = send(octets.as_bytes());
            assert_eq!((seen.violations.count, seen.denied), (1, 0), "{octets}");
            assert!(seen.violations.first[0].starts_with("framing"), "{:?}", seen.violations);
        }
    }
}

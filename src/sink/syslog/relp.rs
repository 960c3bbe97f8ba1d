//! RELP, the syslog protocol with acknowledgements: its wire format and the state of one session. Pure: octets in,
//! octets out.
//!
//! A frame is `TXNR SP COMMAND SP DATALEN [SP DATA] LF`. TXNR counts from 1 to 999999999 and then from 1 again; 0 stands
//! for a word that answers nothing. We send `open`, `syslog` and `close`; the receiver answers each frame with `rsp`, whose
//! data begins with a three-digit code, and may say `serverclose`. Source: the protocol's description (rsyslog.com,
//! "RELP – The Reliable Event Logging Protocol") and what librelp 1.11 says on the wire.
//!
//! Promises: whatever a peer sends, at most [`MAX_ANSWER`] octets of it are kept, and an answer counts for exactly one
//! frame that was sent and not yet answered. Not here: being a receiver.

use std::collections::VecDeque;
use std::ops::Range;

use super::batch::Batch;

/// Frames that were sent and not answered, at most; more are not written. A round trip of 50 ms allows 20,000 records
/// a second.
pub(super) const WINDOW: usize = 1000;
/// Data of an answer, at most. Only the answer to `open` has more than a few octets.
pub(super) const MAX_ANSWER: usize = 4096;
const LAST_TXNR: u32 = 999_999_999;
/// Octets of a number: no more than of [`LAST_TXNR`].
const MAX_DIGITS: usize = 9;
const MAX_COMMAND: usize = 32;
/// What is quoted of an answer, in characters.
const MAX_QUOTE: usize = 200;

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelpError {
    #[error("the receiver does not speak RELP here: {0}")]
    NotRelp(&'static str),
    #[error("the receiver answered a frame ({0}) that waits for no answer")]
    Unasked(u32),
    #[error("the receiver refused a record ({code} {text}); it is sent again")]
    RefusedRecord { code: u16, text: String },
    #[error("the receiver refused the session ({code} {text})")]
    RefusedSession { code: u16, text: String },
    #[error("the receiver takes no syslog over RELP: it offers {0}")]
    NoSyslog(String),
    #[error("the receiver closed the session")]
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    txnr: u32,
    command: &'a [u8],
    data: &'a [u8],
}

/// The first frame of what was received, and its length; `None` when it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, RelpError> {
    let Some((txnr, at)) = number(bytes, 0)? else { return Ok(None) };
    let at = match bytes.get(at) {
        None => return Ok(None),
        Some(b' ') => at + 1,
        Some(_) => return Err(RelpError::NotRelp("a space should follow the number of a frame")),
    };
    let letters = bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let end = at + letters;
    if letters > MAX_COMMAND {
        return Err(RelpError::NotRelp("a command is too long"));
    }
    let Some(&after) = bytes.get(end) else { return Ok(None) };
    if letters == 0 || after != b' ' {
        return Err(RelpError::NotRelp("a command should be letters with a space behind them"));
    }
    let Some((length, at_data)) = number(bytes, end + 1)? else { return Ok(None) };
    let length = length as usize;
    if length > MAX_ANSWER {
        return Err(RelpError::NotRelp("an answer is too long"));
    }
    let Some(&separator) = bytes.get(at_data) else { return Ok(None) };
    // Without data the space before it may be missing.
    let start = match separator {
        b' ' => at_data + 1,
        b'\n' if length == 0 => at_data,
        _ => return Err(RelpError::NotRelp("a space should follow the length of a frame")),
    };
    match bytes.get(start + length) {
        None => Ok(None),
        Some(b'\n') => {
            let frame = Frame { txnr, command: &bytes[at..end], data: &bytes[start..start + length] };
            Ok(Some((frame, start + length + 1)))
        }
        Some(_) => Err(RelpError::NotRelp("a frame should end with a line feed")),
    }
}

/// A number and where it ends; `None` when it may go on.
fn number(bytes: &[u8], start: usize) -> Result<Option<(u32, usize)>, RelpError> {
    let digits = bytes[start.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit());
    let (mut value, mut length) = (0, 0);
    for digit in digits {
        length += 1;
        if length > MAX_DIGITS {
            return Err(RelpError::NotRelp("a number is too long"));
        }
        value = value * 10 + u32::from(digit - b'0');
    }
    match bytes.get(start + length) {
        None => Ok(None),
        Some(_) if length == 0 => Err(RelpError::NotRelp("a frame should begin with its number")),
        Some(_) => Ok(Some((value, start + length))),
    }
}

fn write_frame(txnr: u32, command: &str, data: &[u8], wire: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    wire.extend_from_slice(digits.format(txnr).as_bytes());
    wire.push(b' ');
    wire.extend_from_slice(command.as_bytes());
    wire.push(b' ');
    wire.extend_from_slice(digits.format(data.len()).as_bytes());
    if !data.is_empty() {
        wire.push(b' ');
        wire.extend_from_slice(data);
    }
    wire.push(b'\n');
}

/// Code and text of an answer. What the peer says is cut and cleaned: it ends in logs.
fn answer(data: &[u8]) -> Result<(u16, String), RelpError> {
    let line = data.split(|b| *b == b'\n').next().unwrap_or_default();
    let code = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit));
    let code = code.ok_or(RelpError::NotRelp("an answer should begin with a code of three digits"))?;
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok((code, quotable(&line[3..])))
}

fn quotable(text: &[u8]) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    String::from_utf8_lossy(text).trim().chars().map(clean).take(MAX_QUOTE).collect()
}

/// One session, from our side.
#[derive(Debug)]
pub(super) struct Session {
    next: u32,
    /// Frames that wait for their answer, in order, and whether a later one's came first.
    waiting: VecDeque<(u32, bool)>,
    received: Vec<u8>,
    /// Frames at the beginning that were answered since [`Session::take_acknowledged`].
    acknowledged: usize,
}

const OPEN: u32 = 1;

impl Session {
    /// A session and the first octets to send.
    pub(super) fn open() -> (Self, Vec<u8>) {
        let offers = concat!("relp_version=0\nrelp_software=tidegate,", env!("CARGO_PKG_VERSION"), "\ncommands=syslog");
        let mut wire = Vec::new();
        write_frame(OPEN, "open", offers.as_bytes(), &mut wire);
        (Self { next: OPEN + 1, waiting: VecDeque::new(), received: Vec::new(), acknowledged: 0 }, wire)
    }

    /// What came in answer to the open frame: the receiver's name for itself, once the answer is whole.
    pub(super) fn opened(&mut self, bytes: &[u8]) -> Result<Option<String>, RelpError> {
        self.received.extend_from_slice(bytes);
        let Some((frame, length)) = parse(&self.received)? else { return Ok(None) };
        if frame.command == b"serverclose" {
            return Err(RelpError::Closed);
        }
        if frame.command != b"rsp" || frame.txnr != OPEN {
            return Err(RelpError::NotRelp("the first word should be the answer to open"));
        }
        let (code, text) = answer(frame.data)?;
        if code != 200 {
            return Err(RelpError::RefusedSession { code, text });
        }
        let offer = |name: &[u8]| {
            let lines = frame.data.split(|b| *b == b'\n');
            lines.filter_map(|line| line.strip_prefix(name)).next()
        };
        let commands = offer(b"commands=").unwrap_or_default();
        if !commands.split(|b| *b == b',').any(|command| command == b"syslog") {
            return Err(RelpError::NoSyslog(quotable(commands)));
        }
        let software = quotable(offer(b"relp_software=").unwrap_or_default());
        self.received.drain(..length);
        // Nothing else was asked yet; an answer that came too early must not stand for a record.
        self.received(&[])?;
        Ok(Some(software))
    }

    /// How many frames may be sent now.
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.waiting.len())
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// These messages as frames, each of which waits for its answer from now on.
    pub(super) fn frame(&mut self, batch: &Batch, messages: Range<usize>, wire: &mut Vec<u8>) {
        for index in messages {
            write_frame(self.next, "syslog", batch.message(index), wire);
            self.waiting.push_back((self.next, false));
            self.next = if self.next == LAST_TXNR { 1 } else { self.next + 1 };
        }
    }

    pub(super) fn close(&self, wire: &mut Vec<u8>) {
        write_frame(self.next, "close", b"", wire);
    }

    /// What the receiver said. What it acknowledged before an error stays acknowledged.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<(), RelpError> {
        self.received.extend_from_slice(bytes);
        let heard = self.hear();
        while self.waiting.pop_front_if(|(_, answered)| *answered).is_some() {
            self.acknowledged += 1;
        }
        self.received.drain(..heard?);
        Ok(())
    }

    /// Takes note of every whole frame; the octets that they have.
    fn hear(&mut self) -> Result<usize, RelpError> {
        let mut heard = 0;
        while let Some((frame, length)) = parse(&self.received[heard..])? {
            match frame.command {
                b"rsp" => match answer(frame.data)? {
                    (200, _) => mark(&mut self.waiting, frame.txnr)?,
                    (code, text) => return Err(RelpError::RefusedRecord { code, text }),
                },
                b"serverclose" => return Err(RelpError::Closed),
                _ => return Err(RelpError::NotRelp("a receiver says rsp and serverclose, nothing else")),
            }
            heard += length;
        }
        Ok(heard)
    }

    /// How many frames, in the order in which they were sent, were acknowledged since the last call.
    pub(super) fn take_acknowledged(&mut self) -> usize {
        std::mem::take(&mut self.acknowledged)
    }
}

fn mark(waiting: &mut VecDeque<(u32, bool)>, txnr: u32) -> Result<(), RelpError> {
    // A receiver that answers in order is found at once.
    match waiting.iter_mut().find(|(number, _)| *number == txnr) {
        Some((_, answered @ false)) => *answered = true,
        _ => return Err(RelpError::Unasked(txnr)),
    }
    Ok(())
}

#[cfg(test)]
mod tests;

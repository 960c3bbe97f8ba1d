//! Syslog headers: RFC 5424, and RFC 3164 as collectors of CEF and LEEF take it.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Header;

const APP_NAME: &str = "tidegate";
/// Of every flow record, so that a receiver can route by it.
pub(super) const TRAFFIC: &str = "TRAFFIC";
/// Of every record that is no flow's.
pub(super) const STATUS: &str = "STATUS";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// RFC 5424 §6.2.4.
const MAX_HOSTNAME: usize = 255;

#[derive(Debug)]
pub struct HeaderWriter {
    header: Header,
    facility: u8,
    /// The record begins with an element of structured data, which follows ours without a space.
    element: bool,
    /// What stands between the time and the message's kind, always the same.
    sender: Vec<u8>,
    time_ms: Option<i64>,
    /// That time as text: the flows of one flush share it.
    time: Vec<u8>,
}

impl HeaderWriter {
    pub(super) fn new(header: Header, facility: u8, hostname: &str, element: bool) -> Self {
        Self::of(header, facility, hostname, element, std::process::id())
    }

    fn of(header: Header, facility: u8, hostname: &str, element: bool, process: u32) -> Self {
        let hostname = printable(hostname);
        let sender = match header {
            Header::Rfc5424 => format!(" {hostname} {APP_NAME} {process} "),
            Header::Rfc3164 => format!(" {hostname} "),
            Header::Rfc3164Tagged => format!(" {hostname} {APP_NAME}: "),
        };
        let mut writer =
            Self { header, facility, element, sender: sender.into_bytes(), time_ms: None, time: Vec::new() };
        writer.set_time(None);
        writer
    }

    /// Writes all that stands before the record. The time is the event's, in UTC. Gives the sequence number back where the
    /// header has no place for it.
    pub fn write(&mut self, out: &mut Vec<u8>, severity: u8, time_ms: Option<i64>, sequence: u32) -> Option<u32> {
        self.write_as(TRAFFIC, out, severity, time_ms, sequence)
    }

    /// With another MSGID.
    pub(super) fn write_as(
        &mut self,
        msgid: &str,
        out: &mut Vec<u8>,
        severity: u8,
        time_ms: Option<i64>,
        sequence: u32,
    ) -> Option<u32> {
        if time_ms != self.time_ms {
            self.set_time(time_ms);
        }
        let pri = self.facility * 8 + severity;
        out.push(b'<');
        out.extend_from_slice(itoa::Buffer::new().format(pri).as_bytes());
        out.extend_from_slice(if self.header == Header::Rfc5424 { b">1 " } else { b">" });
        out.extend_from_slice(&self.time);
        out.extend_from_slice(&self.sender);
        if self.header != Header::Rfc5424 {
            return Some(sequence);
        }
        out.extend_from_slice(msgid.as_bytes());
        out.extend_from_slice(b" [meta sequenceId=\"");
        out.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
        out.extend_from_slice(if self.element { b"\"]" } else { b"\"] " });
        None
    }

    fn set_time(&mut self, time_ms: Option<i64>) {
        self.time_ms = time_ms;
        self.time.clear();
        let time = time_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match self.header {
            Header::Rfc5424 => put_rfc3339(&mut self.time, time),
            Header::Rfc3164 | Header::Rfc3164Tagged => put_bsd_time(&mut self.time, time),
        }
    }
}

/// `2026-08-22T09:14:58.000Z`: always with a fraction, which some receivers' expressions need.
fn put_rfc3339(out: &mut Vec<u8>, time: Option<Timestamp>) {
    let Some(time) = time else { return out.push(b'-') };
    let t = TimeZone::UTC.to_datetime(time);
    // Writing to a Vec never fails.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.millisecond()
    );
}

/// `Nov  3 10:11:12`: the day padded with a space (RFC 3164 §4.1.2), in UTC.
fn put_bsd_time(out: &mut Vec<u8>, time: Option<Timestamp>) {
    let t = TimeZone::UTC.to_datetime(time.unwrap_or(Timestamp::UNIX_EPOCH));
    let month = usize::try_from(t.month() - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or("Jan");
    let _ = write!(out, "{month} {:2} {:02}:{:02}:{:02}", t.day(), t.hour(), t.minute(), t.second());
}

/// PRINTUSASCII of RFC 5424: anything else would shift the fields behind it.
fn printable(hostname: &str) -> String {
    let text: String =
        hostname.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(MAX_HOSTNAME).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Header, hostname: &str, time_ms: Option<i64>, expected: &str) {
        let mut writer = HeaderWriter::of(header, 16, hostname, false, 7);
        let mut out = Vec::new();
        let left = writer.write(&mut out, 4, time_ms, 2);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(left.is_none(), header == Header::Rfc5424);
    }

    /// The `syslog` crate writes the same header, but for the time (always now) and the MSGID (a number there).
    #[test]
    fn another_formatter_agrees() {
        use syslog::{Facility, Formatter5424, LogFormat, Severity};
        let theirs = Formatter5424 {
            facility: Facility::LOG_LOCAL0,
            hostname: Some("node-a1".to_owned()),
            process: APP_NAME.to_owned(),
            pid: 7,
        };
        let meta = [("sequenceId".to_owned(), "2".to_owned())].into();
        let mut their = Vec::new();
        theirs.format(&mut their, Severity::LOG_WARNING, (1, [("meta".to_owned(), meta)].into(), "CEF:0|")).unwrap();
        let mut our = Vec::new();
        let mut writer = HeaderWriter::of(Header::Rfc5424, 16, "node-a1", false, 7);
        writer.write(&mut our, 4, Some(1_787_390_098_000), 2);
        our.extend_from_slice(b"CEF:0|");
        let words = |text: Vec<u8>| -> Vec<String> {
            let text = String::from_utf8(text).unwrap();
            let words = text.split(' ').enumerate().filter(|(place, _)| !matches!(place, 1 | 5));
            words.map(|(_, word)| word.to_owned()).collect()
        };
        assert_eq!(words(our), words(their));
    }

    #[test]
    fn headers() {
        let time = Some(1_787_390_098_000);
        let (new, old) = (Header::Rfc5424, Header::Rfc3164);
        check(
            new,
            "node-a1",
            time,
            "<132>1 2026-08-22T09:14:58.000Z node-a1 tidegate 7 TRAFFIC [meta sequenceId=\"2\"] ",
        );
        check(new, "", None, "<132>1 - - tidegate 7 TRAFFIC [meta sequenceId=\"2\"] ");
        check(
            new,
            "a b\né|",
            Some(-1),
            "<132>1 1969-12-31T23:59:59.999Z a_b__| tidegate 7 TRAFFIC [meta sequenceId=\"2\"] ",
        );
        check(old, "node-a1", time, "<132>Aug 22 09:14:58 node-a1 ");
        check(old, "node-a1", Some(1_788_426_672_345), "<132>Sep  3 09:11:12 node-a1 ");
        check(Header::Rfc3164Tagged, "node-a1", time, "<132>Aug 22 09:14:58 node-a1 tidegate: ");
        check(old, "n", None, "<132>Jan  1 00:00:00 n ");
    }
}

//! What a HTTP Event Collector's answer means, as a pure function: no I/O, no clock, no state.
//!
//! Codes and statuses are those of Splunk's manual "Troubleshoot HTTP Event Collector" (possible error codes). The code
//! counts where the body is the collector's JSON, the status alone where somebody else answers: nothing is taken for
//! delivered that does not say so in the collector's own words.

use serde::Deserialize;

/// A reason is cut to so many characters: it may quote an event.
const REASON_CHARS: usize = 200;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The collector has it in its queue. Whether it is indexed can be asked under this number, where the token gives one.
    Taken { ack: Option<u64> },
    /// Too large: both halves are to be sent by themselves.
    Split,
    /// This event is refused for good. Those before it may have been taken, those behind it were not read.
    Bad { event: usize, refusal: Refusal },
    /// Some event is refused for good, and nobody says which.
    BadSomewhere,
    /// The channel is not valid any more: another one, at once.
    NoChannel,
    /// The collector has not taken it and will later.
    Busy,
    /// Nothing of it was taken, for a reason that concerns all.
    Hold(Held),
    /// Any part of it may have been taken.
    Uncertain(Doubt),
}

/// Why an event was refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// `splunk-6`, from the collector's code; `content_too_long` for a lone event that is too large.
    pub kind: String,
    /// The collector's text, cut.
    pub reason: String,
}

/// Why nothing can be delivered at present, with what the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub why: Hold,
    pub detail: String,
}

/// What is wrong with the collector, our token or our set-up: one value per remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The token is missing, wrong or disabled (codes 1 to 4, 21, 22).
    Token,
    /// The token may not write to the index (code 7).
    Index,
    /// The token wants acknowledgements and we were told to ask for none (code 10).
    AckWanted,
    /// We were told to insist on acknowledgements and the token has none (code 14, or no number in the answer).
    AckDisabled,
    /// Taken and never acknowledged.
    Unacknowledged,
    /// Every event is refused alike.
    Misconfigured,
    /// An answer that no collector gives.
    WrongPeer,
    /// No connection to any receiver.
    Unreachable,
    /// Our own token cannot be read.
    NoSecret,
    /// Refused events cannot be kept: the dead letter is full, or its disk fails.
    DeadLetter,
}

impl Hold {
    pub const ALL: [Self; 10] = [
        Self::Token,
        Self::Index,
        Self::AckWanted,
        Self::AckDisabled,
        Self::Unacknowledged,
        Self::Misconfigured,
        Self::WrongPeer,
        Self::Unreachable,
        Self::NoSecret,
        Self::DeadLetter,
    ];

    /// Stable name, for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Index => "index",
            Self::AckWanted => "ack_wanted",
            Self::AckDisabled => "ack_disabled",
            Self::Unacknowledged => "unacknowledged",
            Self::Misconfigured => "misconfigured",
            Self::WrongPeer => "wrong_peer",
            Self::Unreachable => "unreachable",
            Self::NoSecret => "no_secret",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// Why it is not known what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The connection broke, or the time was up, after bytes had gone out.
    Lost,
    /// A good status without the collector's JSON: somebody in between answered.
    Unreadable,
    /// 5xx or 408 (code 8, or a proxy's page).
    ServerError,
    /// The collector saw no data in a request that had some (code 5).
    NoData,
}

impl Doubt {
    /// Stable name, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "connection_lost",
            Self::Unreadable => "unreadable_answer",
            Self::ServerError => "server_error",
            Self::NoData => "no_data",
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    code: u64,
    #[serde(default)]
    text: String,
    #[serde(default, rename = "invalid-event-number")]
    invalid: Option<usize>,
    #[serde(default, rename = "ackId")]
    ack: Option<u64>,
}

/// What a code says, for whatever events.
#[derive(Debug, Clone, Copy)]
enum Means {
    Success,
    Hold(Hold),
    BadEvent,
    NoData,
    NoChannel,
    Busy,
    Unknown,
}

/// The manual's table. Codes 17 to 20 belong to the health endpoint; where one of them answers a batch, the collector
/// has not taken it.
fn means(code: u64) -> Means {
    match code {
        0 => Means::Success,
        1..=4 | 21 | 22 => Means::Hold(Hold::Token),
        5 => Means::NoData,
        // Format, event required, event blank, indexed fields.
        6 | 12 | 13 | 15 => Means::BadEvent,
        7 => Means::Hold(Hold::Index),
        9 | 18..=20 | 23..=26 => Means::Busy,
        10 => Means::Hold(Hold::AckWanted),
        11 => Means::NoChannel,
        14 => Means::Hold(Hold::AckDisabled),
        16 => Means::Hold(Hold::WrongPeer),
        _ => Means::Unknown,
    }
}

/// The verdict on an answer to a request of `events` events.
pub fn judge(status: u16, body: &[u8], events: usize) -> Verdict {
    let answer = serde_json::from_slice::<Answer>(body).ok();
    if status == 413 {
        let reason = answer.map_or_else(|| text_of(body), |answer| cut(&answer.text));
        return too_large(reason, events);
    }
    match (status, answer) {
        (200..=299, Some(answer)) if answer.code == 0 => Verdict::Taken { ack: answer.ack },
        (200..=299, _) => Verdict::Uncertain(Doubt::Unreadable),
        (429, _) => Verdict::Busy,
        (_, Some(answer)) => by_code(status, &answer, events),
        (401 | 403, None) => hold(Hold::Token, status, &text_of(body)),
        // A proxy may have passed it on before it gave up.
        (408 | 500..=599, None) => Verdict::Uncertain(Doubt::ServerError),
        (_, None) => hold(Hold::WrongPeer, status, &text_of(body)),
    }
}

fn by_code(status: u16, answer: &Answer, events: usize) -> Verdict {
    match means(answer.code) {
        Means::Hold(why) => hold(why, status, &answer.text),
        Means::BadEvent => bad(status, answer, events),
        Means::NoData => Verdict::Uncertain(Doubt::NoData),
        Means::NoChannel => Verdict::NoChannel,
        Means::Busy => Verdict::Busy,
        // The status speaks against the code, or the code is a new one.
        Means::Success | Means::Unknown => match status {
            401 | 403 => hold(Hold::Token, status, &answer.text),
            503 => Verdict::Busy,
            408 | 500..=599 => Verdict::Uncertain(Doubt::ServerError),
            _ => hold(Hold::WrongPeer, status, &format!("code {} {}", answer.code, answer.text)),
        },
    }
}

fn bad(status: u16, answer: &Answer, events: usize) -> Verdict {
    let refusal = Refusal { status, kind: format!("splunk-{}", answer.code), reason: cut(&answer.text) };
    match answer.invalid {
        Some(event) if event < events => Verdict::Bad { event, refusal },
        _ if events == 1 => Verdict::Bad { event: 0, refusal },
        _ => Verdict::BadSomewhere,
    }
}

fn too_large(reason: String, events: usize) -> Verdict {
    match events {
        1 => Verdict::Bad { event: 0, refusal: Refusal { status: 413, kind: "content_too_long".to_owned(), reason } },
        _ => Verdict::Split,
    }
}

fn hold(why: Hold, status: u16, text: &str) -> Verdict {
    Verdict::Hold(Held { why, detail: cut(&format!("{status} {text}")) })
}

/// What the answer to a question for acknowledgements means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acks {
    /// These of the numbers that were asked are indexed; the others are not, or nobody remembers them.
    Indexed(Vec<u64>),
    /// The channel is not known there (any more).
    NoChannel,
    /// The token has no acknowledgements (code 14).
    Disabled,
    Hold(Held),
    /// Ask again later.
    Later,
}

/// The verdict on an answer of `/services/collector/ack`.
pub fn judge_acks(status: u16, body: &[u8], asked: &[u64]) -> Acks {
    #[derive(Deserialize)]
    struct Told {
        acks: std::collections::HashMap<String, bool>,
    }
    if let (200..=299, Ok(told)) = (status, serde_json::from_slice::<Told>(body)) {
        let is_indexed = |ack: &&u64| told.acks.get(&ack.to_string()) == Some(&true);
        return Acks::Indexed(asked.iter().filter(is_indexed).copied().collect());
    }
    let answer = serde_json::from_slice::<Answer>(body).ok();
    let text = answer.as_ref().map_or_else(|| text_of(body), |answer| answer.text.clone());
    let held = |why| Acks::Hold(Held { why, detail: cut(&format!("{status} {text}")) });
    match (status, answer.map(|answer| means(answer.code))) {
        (_, Some(Means::Hold(Hold::AckDisabled))) => Acks::Disabled,
        (_, Some(Means::NoChannel | Means::Hold(Hold::AckWanted))) => Acks::NoChannel,
        (_, Some(Means::Hold(why))) => held(why),
        (401 | 403, _) => held(Hold::Token),
        (404 | 405, _) => held(Hold::WrongPeer),
        _ => Acks::Later,
    }
}

/// What a body that is not the collector's says, for a log line.
fn text_of(body: &[u8]) -> String {
    cut(String::from_utf8_lossy(&body[..body.len().min(4 * REASON_CHARS)]).trim())
}

/// On one line, and not long.
fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, events: usize, expected: &str) {
        let told = match judge(status, body.as_bytes(), events) {
            Verdict::Taken { ack } => format!("taken {ack:?}"),
            Verdict::Bad { event, refusal } => format!("bad {event} {}", refusal.kind),
            Verdict::Hold(held) => format!("hold {}", held.why.as_str()),
            Verdict::Uncertain(doubt) => format!("uncertain {}", doubt.as_str()),
            other => format!("{other:?}"),
        };
        assert_eq!(told, expected, "{status} {body} of {events}");
    }

    /// Every row of the manual's table, with the status that it names.
    #[test]
    fn every_code_of_the_manual_has_its_outcome() {
        let rows = [
            (200, 0, "taken None"),
            (403, 1, "hold token"),
            (401, 2, "hold token"),
            (401, 3, "hold token"),
            (403, 4, "hold token"),
            (400, 5, "uncertain no_data"),
            (400, 6, "BadSomewhere"),
            (400, 7, "hold index"),
            (500, 8, "uncertain server_error"),
            (503, 9, "Busy"),
            (400, 10, "hold ack_wanted"),
            (400, 11, "NoChannel"),
            (400, 12, "BadSomewhere"),
            (400, 13, "BadSomewhere"),
            (400, 14, "hold ack_disabled"),
            (400, 15, "BadSomewhere"),
            (400, 16, "hold wrong_peer"),
            (503, 18, "Busy"),
            (503, 19, "Busy"),
            (503, 20, "Busy"),
            (400, 21, "hold token"),
            (400, 22, "hold token"),
            (503, 23, "Busy"),
            (429, 26, "Busy"),
        ];
        for (status, code, expected) in rows {
            check(status, &format!(r#"{{"text":"words","code":{code}}}"#), 3, expected);
        }
    }

    #[test]
    fn numbers_in_answers_count_within_their_bounds() {
        let rows = [
            (r#"{"text":"Success","code":0,"ackId":7}"#, 200, 3, "taken Some(7)"),
            (r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#, 400, 3, "bad 2 splunk-6"),
            (r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#, 400, 3, "BadSomewhere"),
            (r#"{"text":"Invalid data format","code":6,"invalid-event-number":9}"#, 400, 1, "bad 0 splunk-6"),
            (r#"{"text":"Error in handling indexed fields","code":15}"#, 400, 1, "bad 0 splunk-15"),
        ];
        for (body, status, events, expected) in rows {
            check(status, body, events, expected);
        }
    }

    #[test]
    fn what_others_say_is_never_a_delivery() {
        for body in ["", "<html>Welcome</html>", "{}", r#"{"code":17,"text":"HEC is healthy"}"#, r#"{"status":"ok"}"#] {
            check(200, body, 2, "uncertain unreadable_answer");
        }
        check(413, "<html>413 Request Entity Too Large</html>", 2, "Split");
        check(413, r#"{"text":"Content-Length is too large","code":27}"#, 1, "bad 0 content_too_long");
        check(429, "slow down", 2, "Busy");
        for status in [408, 500, 502, 503, 504] {
            check(status, "<html>Bad gateway</html>", 2, "uncertain server_error");
        }
        for status in [301, 302, 400, 404, 405] {
            check(status, "<html>no</html>", 2, "hold wrong_peer");
        }
        check(401, "", 2, "hold token");
        check(403, r#"{"text":"new","code":99}"#, 2, "hold token");
        check(503, r#"{"text":"new","code":99}"#, 2, "Busy");
        check(500, r#"{"text":"odd","code":0}"#, 2, "uncertain server_error");
    }

    #[test]
    fn acknowledgements() {
        let rows = [
            (200, r#"{"acks":{"1":true,"2":false,"9":true}}"#, Acks::Indexed(vec![1])),
            (200, r#"{"acks":{}}"#, Acks::Indexed(vec![])),
            (200, "<html>", Acks::Later),
            (400, r#"{"text":"ACK is disabled","code":14}"#, Acks::Disabled),
            (400, r#"{"text":"Invalid data channel","code":11}"#, Acks::NoChannel),
            (400, r#"{"text":"Data channel is missing","code":10}"#, Acks::NoChannel),
            (503, r#"{"text":"Server is busy","code":9}"#, Acks::Later),
        ];
        for (status, body, expected) in rows {
            assert_eq!(judge_acks(status, body.as_bytes(), &[1, 2, 3]), expected, "{body}");
        }
        assert!(matches!(judge_acks(403, b"", &[1]), Acks::Hold(Held { why: Hold::Token, .. })));
        assert!(matches!(judge_acks(404, b"", &[1]), Acks::Hold(Held { why: Hold::WrongPeer, .. })));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let Verdict::Hold(held) = judge(404, "a\nb\u{1b}[0m".repeat(200).as_bytes(), 1) else { panic!("a hold") };
        assert!(held.detail.chars().count() <= REASON_CHARS && !held.detail.contains(char::is_control));
    }
}

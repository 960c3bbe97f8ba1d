//! Reads one syslog message, strictly by RFC 5424 §6.

use jiff::Timestamp;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub facility: u8,
    pub severity: u8,
    pub time: Option<Timestamp>,
    pub host: &'a str,
    pub app: &'a str,
    /// `sequenceId` of the element `meta`.
    pub sequence: Option<u32>,
    pub text: &'a str,
}

type Parsed<T> = Result<T, String>;

impl<'a> Message<'a> {
    pub(super) fn parse(input: &'a str) -> Parsed<Self> {
        let (priority, rest) = priority(input)?;
        let rest = rest.strip_prefix("1 ").ok_or("the version is not 1")?;
        let (time, rest) = field(rest, "TIMESTAMP", 48)?;
        let (host, rest) = field(rest, "HOSTNAME", 255)?;
        let (app, rest) = field(rest, "APP-NAME", 48)?;
        let (_, rest) = field(rest, "PROCID", 128)?;
        let (_, rest) = field(rest, "MSGID", 32)?;
        let (sequence, rest) = structured_data(rest)?;
        let text = match rest.strip_prefix(' ') {
            Some(text) => text,
            None if rest.is_empty() => "",
            None => return Err("no space before MSG".to_owned()),
        };
        let time = if time == "-" { None } else { Some(timestamp(time)?) };
        Ok(Self { facility: priority / 8, severity: priority % 8, time, host, app, sequence, text })
    }
}

fn priority(input: &str) -> Parsed<(u8, &str)> {
    let (digits, rest) = input.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or("no <PRI>")?;
    let canonical = digits == "0" || !digits.starts_with('0');
    match digits.parse() {
        Ok(priority @ 0..=191) if canonical && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok((priority, rest)),
        _ => Err(format!("PRI {digits:?} is not 0 to 191")),
    }
}

/// One field of visible ASCII and the space after it.
fn field<'a>(input: &'a str, name: &str, max: usize) -> Parsed<(&'a str, &'a str)> {
    let (value, rest) = input.split_once(' ').ok_or_else(|| format!("the header ends at {name}"))?;
    let visible = value.bytes().all(|byte| (33..=126).contains(&byte));
    if value.is_empty() || value.len() > max || !visible {
        return Err(format!("{name} {value:?} is not 1 to {max} visible ASCII characters"));
    }
    Ok((value, rest))
}

/// `2026-08-22T09:14:58.000Z`: upper-case `T` and `Z`, at most six digits of a fraction.
fn timestamp(text: &str) -> Parsed<Timestamp> {
    let fault = || format!("TIMESTAMP {text:?} is not RFC 5424's");
    let (date, time) = text.split_once('T').ok_or_else(fault)?;
    let zone = time.find(['Z', '+', '-']).ok_or_else(fault)?;
    let fraction = time[..zone].split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if date.len() != 10 || fraction > 6 {
        return Err(fault());
    }
    text.parse().map_err(|_| fault())
}

/// `-`, or elements `[id name="value" …]`. Returns the sequence and what follows.
fn structured_data(input: &str) -> Parsed<(Option<u32>, &str)> {
    if let Some(rest) = input.strip_prefix('-') {
        return Ok((None, rest));
    }
    let mut sequence = None;
    let mut rest = input;
    if !rest.starts_with('[') {
        return Err("STRUCTURED-DATA is neither - nor [".to_owned());
    }
    while let Some(element) = rest.strip_prefix('[') {
        let (id, mut after) = sd_name(element)?;
        while let Some(parameter) = after.strip_prefix(' ') {
            let (name, value) = sd_name(parameter)?;
            let value = value.strip_prefix("=\"").ok_or("an SD-PARAM has no =\"")?;
            let end = value_end(value)?;
            if (id, name) == ("meta", "sequenceId") {
                sequence = Some(sequence_id(&value[..end])?);
            }
            after = &value[end + 1..];
        }
        rest = after.strip_prefix(']').ok_or("an SD-ELEMENT has no ]")?;
    }
    Ok((sequence, rest))
}

fn sd_name(input: &str) -> Parsed<(&str, &str)> {
    let end = input.find(['=', ' ', ']', '"']).ok_or("STRUCTURED-DATA ends in a name")?;
    let (name, rest) = input.split_at(end);
    let visible = name.bytes().all(|byte| (33..=126).contains(&byte));
    if name.is_empty() || name.len() > 32 || !visible { Err(format!("SD-NAME {name:?}")) } else { Ok((name, rest)) }
}

/// Place of the closing quote. `"`, `\` and `]` are escaped.
fn value_end(value: &str) -> Parsed<usize> {
    let mut bytes = value.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok(at),
            b']' => return Err("an unescaped ] in a PARAM-VALUE".to_owned()),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    Err("a PARAM-VALUE has no end".to_owned())
}

/// 1 to 2147483647, RFC 5424 §7.3.1.
fn sequence_id(text: &str) -> Parsed<u32> {
    match text.parse() {
        Ok(number @ 1..=0x7fff_ffff) => Ok(number),
        _ => Err(format!("sequenceId {text:?} is not 1 to 2147483647")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_messages() {
        let message = Message::parse(
            "<132>1 2026-08-22T09:14:58.000Z node-a1 tidegate 7 TRAFFIC [x@1 a=\"b\\\"\\]\"][meta sequenceId=\"2\"] CEF:0|",
        );
        let expected = Message {
            facility: 16,
            severity: 4,
            time: "2026-08-22T09:14:58Z".parse().ok(),
            host: "node-a1",
            app: "tidegate",
            sequence: Some(2),
            text: "CEF:0|",
        };
        assert_eq!(message, Ok(expected));
        let nil = Message::parse("<0>1 - - - - - -").expect("NIL values are legal");
        assert_eq!((nil.time, nil.sequence, nil.text), (None, None, ""));
    }

    #[test]
    fn every_rule_can_be_broken() {
        let cases = [
            ("132>1 - - - - - -", "no <PRI>"),
            ("<192>1 - - - - - -", "PRI"),
            ("<012>1 - - - - - -", "PRI"),
            ("<+12>1 - - - - - -", "PRI"),
            ("<12>2 - - - - - -", "version"),
            ("<12>1 2026-08-22 - - - - -", "TIMESTAMP"),
            ("<12>1 2026-08-22T09:14:58.1234567Z - - - - -", "TIMESTAMP"),
            ("<12>1 - a\u{e4} - - - -", "HOSTNAME"),
            ("<12>1 - -  - - -", "APP-NAME"),
            ("<12>1 - - calico flow 7 42 - x", "STRUCTURED-DATA"),
            ("<12>1 - - - - -", "header ends at MSGID"),
            ("<12>1 - - - - - [meta sequenceId=\"0\"] x", "sequenceId"),
            ("<12>1 - - - - - [meta sequenceId=\"1]\"] x", "unescaped ]"),
            ("<12>1 - - - - - [meta sequenceId=\"1] x", "unescaped ]"),
            ("<12>1 - - - - - [meta sequenceId=1] x", "=\""),
            ("<12>1 - - - - - -x", "no space before MSG"),
        ];
        for (input, fault) in cases {
            let error = Message::parse(input).expect_err(input);
            assert!(error.contains(fault), "{input}: {error:?} lacks {fault:?}");
        }
    }
}

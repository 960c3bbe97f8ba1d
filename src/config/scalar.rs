//! Values that carry their unit or their form in their text: durations, sizes, addresses.
//!
//! Each parses from the text that users write, says what to write instead when it cannot, and prints itself in a form
//! that parses again. No bare number is taken for a duration or a size: "5" could be anything.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time: `500ms`, `10s`, `1m30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "duration", "pattern" = "^([0-9]+(ms|s|m|h|d))+$")))]
pub struct Span(pub Duration);

/// Longest first where one is the beginning of another.
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_number(text) {
            return Err(format!("{text:?} has no unit; write \"{text}s\""));
        }
        parse_span(text).ok_or_else(|| {
            format!("{} is no duration; write a number and ms, s, m, h or d, as in \"10s\"", quoted(text))
        })
    }
}

fn parse_span(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let (unit, millis) = TIME_UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = &tail[unit.len()..];
    }
    Some(Span(Duration::from_millis(total)))
}

impl fmt::Display for Span {
    /// In the largest unit that says it exactly; one minute is `60s`, as people write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match () {
            () if millis == 0 => f.write_str("0s"),
            () if millis.is_multiple_of(86_400_000) => write!(f, "{}d", millis / 86_400_000),
            () if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            () if millis.is_multiple_of(60_000) && millis > 60_000 => write!(f, "{}m", millis / 60_000),
            () if millis.is_multiple_of(1_000) => write!(f, "{}s", millis / 1_000),
            () => write!(f, "{millis}ms"),
        }
    }
}

/// A number of bytes: `512B`, `8KiB`, `64MiB`, `1GiB`; also `kB`, `MB`, `GB` in thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "size", "pattern" = "^[0-9]+ ?(B|KiB|MiB|GiB|kB|MB|GB)$")))]
pub struct Size(pub u64);

const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    pub const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// For limits of memory: a size that no address space holds is as good as none.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_number(text) {
            let said = text.parse().map_or_else(|_| format!("{text}B"), |bytes| Self(bytes).to_string());
            return Err(format!("{text:?} has no unit; write \"{said}\""));
        }
        parse_size(text).ok_or_else(|| {
            format!("{} is no size; write a number and B, KiB, MiB or GiB, as in \"1MiB\"", quoted(text))
        })
    }
}

fn parse_size(text: &str) -> Option<Size> {
    let (number, unit) = split_number(text.trim())?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*bytes).map(Size)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, bytes): &&(&str, u64)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = SIZE_UNITS.iter().find(exact).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

/// An address to listen on: an IP address and a port. Port 0 lets the system choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(JsonSchema), schemars(inline, extend("x-tidegate" = "listen")))]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.trim_start_matches(':');
        text.parse().map(Self).map_err(|_| match port.parse::<u16>() {
            Ok(port) => format!("{text:?} has no address; write \"127.0.0.1:{port}\", or \"[::]:{port}\" for all"),
            Err(_) => format!(
                "{} is no address to listen on; write an IP address and a port, as in \"127.0.0.1:9464\"",
                quoted(text)
            ),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
pub(super) use as_text;

as_text!(Span, Size, Listen);

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A user's text in a message: quoted, escaped, and cut, so that a wrong file given by mistake does not fill the screen.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = String> + fmt::Display>(text: &str, expected: Result<&str, &str>) {
        let parsed = text.parse::<T>().map(|value| value.to_string());
        assert_eq!(parsed.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn durations() {
        for (text, printed) in [
            ("500ms", "500ms"),
            ("10s", "10s"),
            ("60s", "60s"),
            ("1m30s", "90s"),
            ("5m", "5m"),
            ("1h", "1h"),
            ("0s", "0s"),
        ] {
            check::<Span>(text, Ok(printed));
        }
        check::<Span>("5", Err("\"5\" has no unit; write \"5s\""));
        check::<Span>("1.5", Err("\"1.5\" has no unit; write \"1.5s\""));
        for text in ["", "s", "5 minutes", "-1s", "99999999999999999999s", "1s2", "18446744073709551615d"] {
            assert!(text.parse::<Span>().is_err_and(|e| e.contains("as in \"10s\"")), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, printed) in
            [("512B", "512B"), ("8KiB", "8KiB"), ("1024KiB", "1MiB"), ("64 MiB", "64MiB"), ("5MB", "5MB"), ("0B", "0B")]
        {
            check::<Size>(text, Ok(printed));
        }
        check::<Size>("1048576", Err("\"1048576\" has no unit; write \"1MiB\""));
        check::<Size>("1000001", Err("\"1000001\" has no unit; write \"1000001B\""));
        for text in ["", "MiB", "1 mebibyte", "1.5MiB", "99999999999999999999GiB", "1mib"] {
            assert!(text.parse::<Size>().is_err_and(|e| e.contains("as in \"1MiB\"")), "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        check::<Listen>("127.0.0.1:9464", Ok("127.0.0.1:9464"));
        check::<Listen>("[::]:0", Ok("[::]:0"));
        check::<Listen>(":9464", Err("\":9464\" has no address; write \"127.0.0.1:9464\", or \"[::]:9464\" for all"));
        assert!("localhost:9464".parse::<Listen>().is_err_and(|e| e.contains("as in \"127.0.0.1:9464\"")));
    }
}

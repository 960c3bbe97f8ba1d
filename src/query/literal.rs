//! Values as they are written, read by the kind of the field that they stand behind.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::field::Unit;
use crate::model::net::Protocol;
use crate::yaml::nearest;

#[derive(Debug, Clone)]
pub struct Literal<'a> {
    pub text: Cow<'a, str>,
    pub quoted: bool,
    /// Byte of the expression where it begins, quote and all.
    pub offset: usize,
}

/// Longest first where one ends another. Without a unit: bytes.
const UNITS: [(&str, u32, u32); 9] = [
    ("kib", 2, 10),
    ("mib", 2, 20),
    ("gib", 2, 30),
    ("tib", 2, 40),
    ("kb", 10, 3),
    ("mb", 10, 6),
    ("gb", 10, 9),
    ("tb", 10, 12),
    ("b", 2, 0),
];

/// A number, as `443`, `-1`, `10MiB`.
pub fn number(text: &str, unit: Unit) -> Result<i128, String> {
    let value = match unit {
        Unit::Bytes => bytes(text),
        Unit::Count | Unit::Port => plain(text),
    };
    match (value, unit) {
        (Some(port), Unit::Port) if !(0..=65_535).contains(&port) => {
            Err(format!("{port} is no port; write 0 to 65535"))
        }
        (Some(value), _) => Ok(value),
        (None, Unit::Bytes) => Err(format!("{text:?} is no number of bytes; write as 1500, 64KiB, 10MiB or 1GB")),
        (None, Unit::Port) => Err(format!("{text:?} is no port; write a number, as in 443 or 8000-8099")),
        (None, Unit::Count) if text.contains(['.', ',']) => Err(format!("{text:?} is no whole number")),
        (None, Unit::Count) => Err(format!("{text:?} is no number")),
    }
}

/// Digits only: what the standard library takes besides (`+1`) is written by nobody on purpose.
fn plain(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let good = !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

fn bytes(text: &str) -> Option<i128> {
    let lower = text.to_ascii_lowercase();
    let with_unit = UNITS.iter().find_map(|(unit, base, power)| Some((lower.strip_suffix(unit)?, *base, *power)));
    let (digits, base, power) = with_unit.unwrap_or((&lower, 2, 0));
    plain(digits)?.checked_mul(i128::from(base).checked_pow(power)?)
}

/// A number or a range of them, as `8000-8099`.
pub fn range(text: &str, unit: Unit) -> Result<(i128, i128), String> {
    match text.split_once('-').filter(|(first, _)| !first.is_empty()) {
        None => number(text, unit).map(|value| (value, value)),
        Some((first, last)) => {
            let (first, last) = (number(first, unit)?, number(last, unit)?);
            if first > last {
                return Err(format!("the range {text} is empty; write {last}-{first}"));
            }
            Ok((first, last))
        }
    }
}

/// An address, or all addresses of a range, as `10.0.0.0/8`.
pub fn net(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    match text.parse::<IpNet>() {
        Ok(net) if net.addr() != net.network() => Err(format!(
            "{text} is an address with a prefix; write {} for the range, or {} for the address",
            net.trunc(),
            net.addr()
        )),
        Ok(net) => Ok(net),
        Err(_) if text.contains('*') => {
            Err(format!("{text:?} is no address; write a range as 10.0.0.0/8, or exists for any address"))
        }
        Err(_) => {
            Err(format!("{text:?} is no address; write one as 10.0.0.7 or 2001:db8::7, or a range as 10.0.0.0/8"))
        }
    }
}

/// The number of a protocol, by name or number.
pub fn protocol(text: &str) -> Result<i128, String> {
    if let Some(protocol) = Protocol::parse(text) {
        return Ok(protocol.0.into());
    }
    let known = ["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "gre", "esp", "ah", "ipip"];
    Err(match nearest(text, known) {
        Some(near) => format!("there is no protocol {text:?}; did you mean {near}?"),
        None => format!("there is no protocol {text:?}; write a name, as tcp, or a number of 0 to 255"),
    })
}

/// The one spelling of a word.
pub fn word(text: &str, words: &[(&'static str, &[&'static str])]) -> Result<&'static str, String> {
    let same = |other: &&str| text.eq_ignore_ascii_case(other);
    if let Some((word, _)) = words.iter().find(|(word, more)| same(word) || more.iter().any(&same)) {
        return Ok(word);
    }
    let all = words.iter().flat_map(|(word, more)| std::iter::once(*word).chain(more.iter().copied()));
    let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    Err(match nearest(text, all) {
        Some(near) => format!("{text:?} is not known here; did you mean {near}? (known: {list})"),
        None => format!("{text:?} is not known here; write one of {list}"),
    })
}

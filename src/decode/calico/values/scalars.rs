//! Fields of one value, and lists of such.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::model::net::Protocol;
use crate::model::{Action, EndpointType, Reporter, Text};

/// The value cannot be what the field holds.
pub(in crate::decode::calico) struct Misfit;

/// How a field is read from the JSON scalars that it accepts; `None` where the value says that nothing is known.
pub(in crate::decode::calico) trait FromScalar<'de>: Sized {
    /// `-`, `*` and the empty string say that nothing is known.
    const SENTINELS: bool = true;

    /// From a string that is no sentinel.
    fn from_text(text: Text<'de>) -> Result<Option<Self>, Misfit>;

    fn from_unsigned(_: u64) -> Result<Option<Self>, Misfit> {
        Err(Misfit)
    }

    fn from_negative(_: i64) -> Result<Option<Self>, Misfit> {
        Err(Misfit)
    }
}

/// A scalar read by its field's rules.
pub(in crate::decode::calico) struct Maybe<T>(pub Option<T>);

impl<'de, T: FromScalar<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData)).map(Self)
    }
}

/// True for the strings that say "nothing known" (`-`), "several" (`*`), or nothing at all.
#[inline]
pub(in crate::decode::calico) fn is_sentinel(text: &str) -> bool {
    matches!(text.as_bytes(), [] | [b'-' | b'*'])
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: FromScalar<'de>> Visitor<'de> for ScalarVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the field's type")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        if T::SENTINELS && is_sentinel(text) { Ok(None) } else { fit(T::from_text(Text::Borrowed(text))) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if T::SENTINELS && is_sentinel(text) { Ok(None) } else { fit(T::from_text(Text::Owned(text.to_owned()))) }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        fit(T::from_unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        fit(T::from_negative(number))
    }
}

/// An array of scalars without those that say nothing; `null` and the sentinels are the empty list.
pub(in crate::decode::calico) struct List<T>(pub Vec<T>);

impl<'de, T: FromScalar<'de>> List<T> {
    pub(super) fn collect<A: SeqAccess<'de>>(mut elements: A) -> Result<Self, A::Error> {
        let mut list = Vec::new();
        while let Some(Maybe(value)) = elements.next_element()? {
            list.extend(value);
        }
        Ok(Self(list))
    }
}

impl<'de, T: FromScalar<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: FromScalar<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values of the field's type")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(List(Vec::new()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if is_sentinel(text) { Ok(List(Vec::new())) } else { Err(E::custom("a string for a list")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        List::collect(elements)
    }
}

fn fit<T, E: Error>(read: Result<T, Misfit>) -> Result<T, E> {
    read.map_err(|Misfit| E::custom("misfit"))
}

impl<'de> FromScalar<'de> for Text<'de> {
    fn from_text(text: Text<'de>) -> Result<Option<Self>, Misfit> {
        Ok(Some(text))
    }
}

/// A string whose every value is meant: `-` may be an argument of a process.
pub(super) struct Verbatim<'de>(pub Text<'de>);

impl<'de> FromScalar<'de> for Verbatim<'de> {
    const SENTINELS: bool = false;

    fn from_text(text: Text<'de>) -> Result<Option<Self>, Misfit> {
        Ok(Some(Self(text)))
    }
}

/// Process arguments; `["-"]` and `["*"]` are none.
pub(in crate::decode::calico) struct Arguments<'de>(pub Vec<Text<'de>>);

impl<'de> Deserialize<'de> for Arguments<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let List(list) = List::<Verbatim>::deserialize(deserializer)?;
        let nothing = matches!(list.as_slice(), [Verbatim(only)] if is_sentinel(only));
        Ok(Self(if nothing { Vec::new() } else { list.into_iter().map(|Verbatim(text)| text).collect() }))
    }
}

/// A label: split at the first `=`; without one, all of it is the key.
impl<'de> FromScalar<'de> for (Text<'de>, Text<'de>) {
    fn from_text(label: Text<'de>) -> Result<Option<Self>, Misfit> {
        let Some(at) = memchr::memchr(b'=', label.as_bytes()) else { return Ok(Some((label, Text::Borrowed("")))) };
        Ok(Some(match label {
            Text::Borrowed(label) => (Text::Borrowed(&label[..at]), Text::Borrowed(&label[at + 1..])),
            Text::Owned(label) => (Text::Owned(label[..at].to_owned()), Text::Owned(label[at + 1..].to_owned())),
        }))
    }
}

/// A key of an object, borrowed unless the line has it escaped.
pub(in crate::decode::calico) struct Key<'de>(pub Text<'de>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Text::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Text::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Counters.
impl FromScalar<'_> for u64 {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        decimal(&text, &text)
    }

    fn from_unsigned(number: u64) -> Result<Option<Self>, Misfit> {
        Ok(Some(number))
    }
}

/// Times.
impl FromScalar<'_> for i64 {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        decimal(&text, text.strip_prefix('-').unwrap_or(&text))
    }

    fn from_unsigned(number: u64) -> Result<Option<Self>, Misfit> {
        number.try_into().map(Some).map_err(|_| Misfit)
    }

    fn from_negative(number: i64) -> Result<Option<Self>, Misfit> {
        Ok(Some(number))
    }
}

/// Ports. 0 is not a port.
impl FromScalar<'_> for u16 {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        Ok(decimal(&text, &text)?.filter(|port| *port != 0))
    }

    fn from_unsigned(number: u64) -> Result<Option<Self>, Misfit> {
        let port = number.try_into().map_err(|_| Misfit)?;
        Ok(Some(port).filter(|port| *port != 0))
    }
}

/// Stricter than Rust's own reading, which takes `+5`.
fn decimal<T: std::str::FromStr>(text: &str, digits: &str) -> Result<Option<T>, Misfit> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map(Some).map_err(|_| Misfit)
    } else {
        Err(Misfit)
    }
}

impl FromScalar<'_> for IpAddr {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        text.parse().map(Some).map_err(|_| Misfit)
    }
}

impl FromScalar<'_> for Protocol {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        Self::parse(&text).map(Some).ok_or(Misfit)
    }

    fn from_unsigned(number: u64) -> Result<Option<Self>, Misfit> {
        number.try_into().map(|number| Some(Self(number))).map_err(|_| Misfit)
    }
}

impl FromScalar<'_> for Action {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        one_of(&text, &[Self::Allow, Self::Deny], Self::as_str)
    }
}

impl FromScalar<'_> for EndpointType {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        one_of(&text, &[Self::Workload, Self::Host, Self::NetworkSet, Self::Network], Self::as_str)
    }
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<Option<T>, Misfit> {
    all.iter().copied().find(|one| name(*one).eq_ignore_ascii_case(text)).map(Some).ok_or(Misfit)
}

/// One reporter, or a list such as `dst, fwd`.
impl FromScalar<'_> for Reporter {
    fn from_text(text: Text<'_>) -> Result<Option<Self>, Misfit> {
        let mut reporter = Self::default();
        for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            match word {
                _ if word.eq_ignore_ascii_case("src") => reporter.src = true,
                _ if word.eq_ignore_ascii_case("dst") => reporter.dst = true,
                _ if word.eq_ignore_ascii_case("fwd") => reporter.fwd = true,
                _ => return Err(Misfit),
            }
        }
        if reporter == Self::default() { Err(Misfit) } else { Ok(Some(reporter)) }
    }
}

//! How a format writes a fact: its key with what stands around it, made once.

use super::field::{COUNT, Field};
use super::text::{Rules, Style};

/// A key of a format, and which fact it has. Labels are an interface: some receivers name their fields by them.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    pub field: Field,
    pub name: &'static str,
    /// Of CEF's custom keys: the value of `<name>Label`, written before it.
    pub label: Option<&'static str>,
}

pub(in crate::encode) const fn key(field: Field, name: &'static str) -> Key {
    Key { field, name, label: None }
}

pub(in crate::encode) const fn labelled(field: Field, name: &'static str, label: &'static str) -> Key {
    Key { field, name, label: Some(label) }
}

/// Separator and key, up to the value's first octet. Empty: the format has no such key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix {
    octets: [u8; Self::MAX],
    length: usize,
}

impl Prefix {
    /// Above the longest key with its label.
    const MAX: usize = 48;
    const NONE: Self = Self { octets: [0; Self::MAX], length: 0 };

    fn push(&mut self, octets: &[u8]) {
        self.octets[self.length..][..octets.len()].copy_from_slice(octets);
        self.length += octets.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// Appends it; without its separator if `skip`. A copy of one length is cheaper than a call for each.
    #[inline]
    pub(super) fn write(&self, skip: bool, out: &mut Vec<u8>) {
        let start = out.len();
        if skip {
            out.extend_from_slice(&self.octets[1..]);
        } else {
            out.extend_from_slice(&self.octets);
        }
        out.truncate(start + self.length - usize::from(skip));
    }
}

#[derive(Debug)]
pub(in crate::encode) struct Layout {
    prefixes: [Prefix; COUNT],
    pub(super) suffix: &'static [u8],
    /// The separator stands before the first key as well.
    pub(super) leading: bool,
    pub(super) rules: Rules,
}

impl Layout {
    /// Keys as `key=value`, with one octet between them.
    pub(in crate::encode) fn pairs(keys: &[Key], separator: u8, style: Style) -> Self {
        Self::new(keys, separator, b"=", b"", false, style)
    }

    /// Keys as ` key="value"`.
    pub(in crate::encode) fn params(keys: &[Key]) -> Self {
        Self::new(keys, b' ', b"=\"", b"\"", true, Style::Param)
    }

    fn new(keys: &[Key], separator: u8, equals: &[u8], suffix: &'static [u8], leading: bool, style: Style) -> Self {
        let mut prefixes = [Prefix::NONE; COUNT];
        for key in keys {
            let prefix = &mut prefixes[key.field as usize];
            prefix.push(&[separator]);
            if let Some(label) = key.label {
                prefix.push(format!("{}Label={label} ", key.name).as_bytes());
            }
            prefix.push(key.name.as_bytes());
            prefix.push(equals);
        }
        Self { prefixes, suffix, leading, rules: Rules::new(style) }
    }

    /// Gives the key of one fact to another, and the other way round.
    pub(in crate::encode) fn swap(&mut self, one: Field, other: Field) {
        self.prefixes.swap(one as usize, other as usize);
    }

    /// Writes a fact under the key of another.
    pub(in crate::encode) fn redirect(&mut self, from: Field, to: Field) {
        self.prefixes[from as usize] = self.prefixes[to as usize];
    }

    pub(super) fn prefix(&self, field: Field) -> &Prefix {
        &self.prefixes[field as usize]
    }

    /// The name of a fact's key, and its label.
    pub(super) fn name(&self, field: Field) -> Option<(&str, Option<&str>)> {
        let prefix = std::str::from_utf8(self.prefix(field).as_bytes().get(1..)?).ok()?.trim_end_matches(['=', '"']);
        Some(match prefix.rsplit_once(' ') {
            // `cs1Label=Rule cs1`.
            Some((label, name)) => (name, label.split_once('=').map(|(_, label)| label)),
            None => (prefix, None),
        })
    }
}

//! A place in a plain line, and the values that can stand there. `None` from any of them: this is for the other passes.

use std::net::{IpAddr, Ipv4Addr};

use crate::decode::calico::values::{FromScalar, is_sentinel, leading_index};
use crate::model::find::{any, find};
use crate::model::net::Protocol;
use crate::model::{Action, EndpointType, Labels, Policies, Reporter, Text};

/// True when no byte is a control character or a backslash: then every string ends at the next quote, and is what it says.
pub fn is_plain(line: &[u8]) -> bool {
    !any(line, |byte| (byte < 0x20) | (byte == b'\\'))
}

/// What follows a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Member,
    End,
}

pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Of a line that [is plain](is_plain).
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte; 0, which no plain line holds, at the end.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Goes behind `token` if it stands here.
    #[inline(always)]
    pub fn eat(&mut self, token: &[u8]) -> bool {
        let here = self.bytes().starts_with(token);
        if here {
            self.at += token.len();
        }
        here
    }

    fn one(&mut self, byte: u8) -> Option<()> {
        (self.peek() == byte).then(|| self.at += 1)
    }

    /// Goes behind the comma or the brace that follows a member.
    #[inline]
    pub fn next_member(&mut self) -> Option<Next> {
        let next = match self.peek() {
            b',' => Next::Member,
            b'}' => Next::End,
            _ => return None,
        };
        self.at += 1;
        Some(next)
    }

    /// A key and its colon.
    pub fn key(&mut self) -> Option<&'a str> {
        let key = self.string()?;
        self.one(b':')?;
        Some(key)
    }

    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.one(b'"')?;
        let start = self.at;
        let end = start + find::<b'"'>(self.bytes())?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// As [`Cursor::string`], for those that are worth a call.
    #[inline]
    fn long_string(&mut self) -> Option<&'a str> {
        self.one(b'"')?;
        let start = self.at;
        let end = start + memchr::memchr(b'"', self.bytes())?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// A string that is no sentinel, read by `read`. Sentinels and `null` are `None` inside.
    #[inline(always)]
    fn scalar<T>(&mut self, read: impl FnOnce(&'a str) -> Option<Option<T>>) -> Option<Option<T>> {
        if self.eat(b"null") {
            return Some(None);
        }
        let text = self.string()?;
        if is_sentinel(text) { Some(None) } else { read(text) }
    }

    #[inline]
    pub fn text(&mut self) -> Option<Option<Text<'a>>> {
        self.scalar(|text| Some(Some(Text::Borrowed(text))))
    }

    #[inline]
    pub fn ip(&mut self) -> Option<Option<IpAddr>> {
        self.scalar(|text| match v4(text.as_bytes()) {
            Some(ip) => Some(Some(ip.into())),
            None => fit(text),
        })
    }

    pub fn endpoint_type(&mut self) -> Option<Option<EndpointType>> {
        self.scalar(|text| match text {
            "wep" => Some(Some(EndpointType::Workload)),
            _ => fit(text),
        })
    }

    pub fn action(&mut self) -> Option<Option<Action>> {
        self.scalar(|text| match text {
            "allow" => Some(Some(Action::Allow)),
            "deny" => Some(Some(Action::Deny)),
            _ => fit(text),
        })
    }

    pub fn reporter(&mut self) -> Option<Option<Reporter>> {
        self.scalar(|text| match text {
            "src" => Some(Some(Reporter::SRC)),
            "dst" => Some(Some(Reporter::DST)),
            _ => fit(text),
        })
    }

    pub fn protocol(&mut self) -> Option<Option<Protocol>> {
        if self.peek().is_ascii_digit() {
            return u8::try_from(self.digits()?).ok().map(|number| Some(Protocol(number)));
        }
        self.scalar(|text| match text {
            "tcp" => Some(Some(Protocol::TCP)),
            "udp" => Some(Some(Protocol::UDP)),
            _ => fit(text),
        })
    }

    /// A whole number without a sign, of so few digits that it cannot overflow.
    #[inline]
    fn digits(&mut self) -> Option<u64> {
        const MOST: usize = 19;
        let bytes = self.bytes();
        let (mut number, mut length) = (0u64, 0);
        while let Some(digit) = bytes.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            length += 1;
        }
        let leading_zero = length > 1 && bytes[0] == b'0';
        let goes_on = matches!(bytes.get(length), Some(b'.' | b'e' | b'E'));
        if length == 0 || length > MOST || leading_zero || goes_on {
            return None;
        }
        self.at += length;
        Some(number)
    }

    /// A number by its field's rules.
    #[inline(always)]
    fn number<T: FromScalar<'a>>(&mut self, read: impl FnOnce(u64) -> Option<Option<T>>) -> Option<Option<T>> {
        if self.peek().is_ascii_digit() { read(self.digits()?) } else { self.scalar(fit) }
    }

    #[inline]
    pub fn count(&mut self) -> Option<Option<u64>> {
        self.number(|number| Some(Some(number)))
    }

    pub fn time(&mut self) -> Option<Option<i64>> {
        self.number(|number| number.try_into().ok().map(Some))
    }

    /// 0 is not a port.
    pub fn port(&mut self) -> Option<Option<u16>> {
        self.number(|number| u16::try_from(number).ok().map(|port| Some(port).filter(|port| *port != 0)))
    }

    /// An array of what `element` reads, without those that say nothing; `null` and the sentinels are the empty list.
    #[inline(always)]
    pub fn list<T>(&mut self, into: &mut Vec<T>, element: impl Fn(&mut Self) -> Option<Option<T>>) -> Option<()> {
        match self.peek() {
            b'[' => self.items(into, element),
            _ => self.scalar(|_| None::<Option<()>>).map(|_| ()),
        }
    }

    #[inline(always)]
    fn items<T>(&mut self, into: &mut Vec<T>, element: impl Fn(&mut Self) -> Option<Option<T>>) -> Option<()> {
        self.one(b'[')?;
        if self.eat(b"]") {
            return Some(());
        }
        loop {
            if let Some(item) = element(self)? {
                into.push(item);
            }
            if !self.eat(b",") {
                return self.one(b']');
            }
        }
    }

    /// A string of which every value is meant.
    #[inline]
    fn verbatim(&mut self) -> Option<Option<Text<'a>>> {
        if self.eat(b"null") { Some(None) } else { self.long_string().map(|text| Some(Text::Borrowed(text))) }
    }

    /// Process arguments; a sentinel alone is none.
    pub fn arguments(&mut self, into: &mut Vec<Text<'a>>) -> Option<()> {
        self.list(into, Self::verbatim)?;
        if matches!(into.as_slice(), [only] if is_sentinel(only)) {
            into.clear();
        }
        Some(())
    }

    /// `{"labels":[…]}`, the bare array, or nothing.
    pub fn labels(&mut self, into: &mut Labels<'a>) -> Option<()> {
        let wrapped = self.eat(b"{\"labels\":");
        self.list(into, Self::label)?;
        if wrapped { self.one(b'}') } else { Some(()) }
    }

    #[inline]
    fn label(&mut self) -> Option<Option<(Text<'a>, Text<'a>)>> {
        self.scalar(|label| {
            let (name, value) = label.split_at(find::<b'='>(label.as_bytes()).unwrap_or(label.len()));
            Some(Some((Text::Borrowed(name), Text::Borrowed(value.strip_prefix('=').unwrap_or_default()))))
        })
    }

    /// `{"all_policies":[…],…}` or nothing; each list by its leading index.
    pub fn policies(&mut self, into: &mut Policies<'a>) -> Option<()> {
        if !self.eat(b"{") {
            return self.scalar(|_| None::<Option<()>>).map(|_| ());
        }
        if self.eat(b"}") {
            return Some(());
        }
        let mut seen = 0;
        loop {
            let (bit, list) = match self.key()? {
                "all_policies" => (1, &mut into.all),
                "enforced_policies" => (2, &mut into.enforced),
                "pending_policies" => (4, &mut into.pending),
                "transit_policies" => (8, &mut into.transit),
                _ => return None,
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            self.list(list, Self::verbatim)?;
            if !list.is_sorted_by_key(|policy| leading_index(policy)) {
                list.sort_by_key(|policy| leading_index(policy));
            }
            if self.next_member()? == Next::End {
                return Some(());
            }
        }
    }
}

/// As the other passes read such a text.
fn fit<'a, T: FromScalar<'a>>(text: &'a str) -> Option<Option<T>> {
    T::from_text(Text::Borrowed(text)).ok()
}

/// Four numbers of one to three digits without a leading zero; everything else is left to the standard library.
#[inline]
fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    if text.len() > 15 {
        return None;
    }
    let mut address = 0u32;
    let (mut octet, mut digits, mut dots) = (0u32, 0, 0);
    for &byte in text {
        if byte == b'.' {
            if digits == 0 {
                return None;
            }
            address = address << 8 | octet;
            (octet, digits, dots) = (0, 0, dots + 1);
        } else {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit > 9 || (digits > 0 && octet == 0) {
                return None;
            }
            octet = octet * 10 + digit;
            digits += 1;
            if octet > 255 {
                return None;
            }
        }
    }
    (dots == 3 && digits > 0).then(|| Ipv4Addr::from(address << 8 | octet))
}

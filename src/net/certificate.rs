//! What a certificate says of itself, and what was seen of certificates while connections were made.
//!
//! Nothing here decides whom we believe: that is [`super::tls`]'s, by other code. A certificate that cannot be read here
//! is one of which nothing is told.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::tls::fingerprint;

/// Certificates of a chain that are kept; longer chains are seldom good.
const MOST: usize = 8;
/// Names of one certificate that are told.
const MOST_NAMES: usize = 16;
const DAY: i64 = 86_400;

/// The parts of an X.509 certificate (RFC 5280) that people ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    /// Subject alternative names: DNS names and addresses, at most some.
    pub names: Vec<String>,
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// RFC 5425 fingerprint, SHA-256.
    pub fingerprint: String,
}

impl Certificate {
    /// `None`: the DER is none that we can read.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let told = certificate.tbs_certificate();
        let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
        let names = told.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
        Some(Self {
            subject: printable(&distinguished(told.subject())),
            issuer: printable(&distinguished(told.issuer())),
            names: names.iter().filter_map(name).take(MOST_NAMES).collect(),
            not_before: seconds(told.validity().not_before)?,
            not_after: seconds(told.validity().not_after)?,
            fingerprint: fingerprint(der),
        })
    }

    /// When it expires, in words, as seen at `now` (Unix seconds).
    pub fn expiry(&self, now: i64) -> String {
        let date = jiff::Timestamp::from_second(self.not_after)
            .map_or_else(|_| "a time out of range".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        match days_left(self.not_after, now) {
            _ if self.not_before > now => format!("not valid yet; until {date}"),
            days if self.not_after > now => format!("valid until {date} ({days} days left)"),
            days => format!("expired {date} ({} days ago)", -days),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "none".to_owned() } else { self.names.join(", ") };
        write!(f, "subject {}, issuer {}, names {names}, {}", self.subject, self.issuer, self.fingerprint)
    }
}

/// Whole days from `now` to `expires`, both Unix seconds; negative when that has passed.
pub fn days_left(expires: i64, now: i64) -> i64 {
    expires.saturating_sub(now).div_euclid(DAY)
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str())),
        GeneralName::IpAddress(octets) => match *octets.as_bytes() {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d]).to_string()),
            ref six => Some(IpAddr::from(<[u8; 16]>::try_from(six).ok()?).to_string()),
        },
        _ => None,
    }
}

/// What certificates' names are made of, by the short names of RFC 4519 and PKCS #9. The library has a table of all that was
/// ever registered, which would be a hundredth of the program.
const ATTRIBUTES: [(ObjectIdentifier, &str); 19] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "TITLE"),
    (ObjectIdentifier::new_unwrap("2.5.4.13"), "DESCRIPTION"),
    (ObjectIdentifier::new_unwrap("2.5.4.15"), "BUSINESSCATEGORY"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "POSTALCODE"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GN"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "INITIALS"),
    (ObjectIdentifier::new_unwrap("2.5.4.46"), "DNQUALIFIER"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "EMAIL"),
];

/// RFC 4514: the last part first.
fn distinguished(name: &Name) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

/// `NAME=text`, or `OID=#` and the value in hexadecimals.
fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let name = ATTRIBUTES.iter().find(|(oid, _)| *oid == attribute.oid).map(|(_, name)| name);
    match (name, text(&attribute.value)) {
        (Some(name), Some(text)) => format!("{name}={}", escaped(text)),
        _ => {
            let value = attribute.value.to_der().unwrap_or_default();
            value.iter().fold(format!("{}=#", attribute.oid), |out, octet| out + &format!("{octet:02x}"))
        }
    }
}

fn text(value: &Any) -> Option<&str> {
    match value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::Utf8String => Utf8StringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::Ia5String => Ia5StringRef::try_from(value).ok().map(|text| text.as_str()),
        Tag::TeletexString => TeletexStringRef::try_from(value).ok().map(|text| text.as_str()),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            '\x00'..='\x1f' | '\x7f' => out.push_str(&format!("\\{:02x}", c as u8)),
            _ => out.push(c),
        }
    }
    out
}

/// A peer chooses these texts, and people read them on terminals.
fn printable(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let text: String = plain.take(256).collect();
    if text.is_empty() { "(empty)".to_owned() } else { text }
}

/// Looks on while connections are made with a [`super::tls::TlsConfig`]. It is no part of what a user sets, so that any
/// two are equal; a clone looks on at the same. The default sees nothing.
#[derive(Debug, Clone, Default)]
pub struct Watch(Option<Arc<Mutex<Seen>>>);

/// What the latest handshake showed.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What the peer presented, its own first, believed or not.
    pub chain: Vec<Certificate>,
    /// The peer asked for a client certificate.
    pub asked: bool,
    /// Our own, as it was read last.
    pub own: Option<Certificate>,
}

impl PartialEq for Watch {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Watch {}

impl Watch {
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    pub fn seen(&self) -> Seen {
        let seen = self.0.as_ref().map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone());
        seen.unwrap_or_default()
    }

    pub(super) fn peer<'d>(&self, chain: impl Iterator<Item = &'d [u8]>) {
        self.note(|seen| seen.chain = chain.take(MOST).filter_map(Certificate::read).collect());
    }

    pub(super) fn own(&self, der: Option<&[u8]>) {
        self.note(|seen| seen.own = der.and_then(Certificate::read));
    }

    pub(super) fn asked(&self) {
        self.note(|seen| seen.asked = true);
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = &self.0 {
            change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn der() -> Vec<u8> {
        let names = vec!["siem.example.com".to_owned(), "10.1.2.3".to_owned(), "::1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "siem\u{1b}[31m");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 2), rcgen::date_time_ymd(2026, 12, 25));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_dates() {
        let read = Certificate::read(&der()).expect("a certificate");
        assert_eq!(read.names, ["siem.example.com", "10.1.2.3", "::1"]);
        assert!(read.subject.starts_with("CN=siem") && read.subject == read.issuer, "{read:?}");
        assert!(!read.subject.contains(char::is_control), "{read:?}");
        assert_eq!((read.not_before, read.not_after), (1_767_312_000, 1_798_156_800));
        for (now, expected) in [
            (read.not_after - 30 * DAY, "valid until 2026-12-25T00:00:00Z (30 days left)"),
            (read.not_after - 1, "valid until 2026-12-25T00:00:00Z (0 days left)"),
            (read.not_after + DAY, "expired 2026-12-25T00:00:00Z (1 days ago)"),
            (read.not_before - 1, "not valid yet; until 2026-12-25T00:00:00Z"),
        ] {
            assert_eq!(read.expiry(now), expected);
        }
        assert!(read.to_string().contains("names siem.example.com, 10.1.2.3, ::1, sha-256:"), "{read}");
    }

    /// The library's own text, with its table.
    #[test]
    fn a_name_is_told_as_the_library_would() {
        use std::str::FromStr as _;
        let texts = ["plain", " a, b+c; \"d\" <e> \\ ", "#5", "\u{7}\u{7f}", "Zürich", "", " "];
        for (oid, _) in ATTRIBUTES {
            for text in texts {
                let value = Any::new(Tag::Utf8String, text.as_bytes()).unwrap();
                let one = AttributeTypeAndValue { oid, value };
                assert_eq!(attribute(&one), one.to_string());
            }
        }
        for name in ["CN=a,OU=b+O=c,DC=example,DC=net", "1.3.6.1.4.1.1466.0=#04024869", "C=US,ST=California"] {
            let name = Name::from_str(name).unwrap();
            assert_eq!(distinguished(&name), name.to_string());
        }
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_is_read_or_not(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = der();
            let at = at.index(der.len());
            der[at] = byte;
            if let Some(read) = Certificate::read(&der) {
                let told = read.to_string() + &read.expiry(0);
                prop_assert!(!told.contains(char::is_control), "{}", told);
            }
            let _ = Certificate::read(&der[..at]);
        }
    }

    #[test]
    fn a_watch_is_no_setting_and_its_clones_see_the_same() {
        let watch = Watch::new();
        assert_eq!(watch, Watch::default());
        watch.clone().peer(std::iter::once(&der()[..]));
        watch.asked();
        assert_eq!((watch.seen().chain.len(), watch.seen().asked), (1, true));
        Watch::default().asked();
        assert!(!Watch::default().seen().asked);
    }
}

//! Protocols, and the community id of a connection.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// An IP protocol by its IANA number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

/// IANA number, IANA keyword in lower case (ECS `network.transport`), the name Calico logs.
const NAMES: &[(u8, &str, &str)] = &[
    (1, "icmp", "icmp"),
    (2, "igmp", "igmp"),
    (4, "ipv4", "ipip"),
    (6, "tcp", "tcp"),
    (17, "udp", "udp"),
    (47, "gre", "gre"),
    (50, "esp", "esp"),
    (51, "ah", "ah"),
    (58, "ipv6-icmp", "icmp6"),
    (89, "ospfigp", "ospfigp"),
    (103, "pim", "pim"),
    (112, "vrrp", "vrrp"),
    (132, "sctp", "sctp"),
    (136, "udplite", "udplite"),
];

impl Protocol {
    pub const ICMP: Self = Self(1);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const ICMP6: Self = Self(58);
    pub const SCTP: Self = Self(132);

    /// Reads what Calico logs: a name (`tcp`, `icmp6`, `ipip`), an IANA keyword, or a decimal number. Case is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self(number));
        }
        NAMES
            .iter()
            .find(|(_, iana, calico)| text.eq_ignore_ascii_case(calico) || text.eq_ignore_ascii_case(iana))
            .map(|(number, ..)| Self(*number))
    }

    /// The IANA keyword in lower case, where we know one.
    pub fn keyword(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, ..)| *number == self.0).map(|(_, iana, _)| *iana)
    }

    /// TCP, UDP, UDP-Lite, SCTP.
    pub const fn has_ports(self) -> bool {
        matches!(self.0, 6 | 17 | 132 | 136)
    }
}

/// Length of a version-1 community id.
pub const COMMUNITY_ID_LEN: usize = 30;

/// The community id (version 1, seed 0) of a connection, the same for both of its halves, as in
/// <https://github.com/corelight/community-id-spec>.
///
/// `None` where the log has too little: a missing address, mixed families, a missing port of TCP, UDP or SCTP, and ICMP,
/// whose type and code Calico does not log.
pub fn community_id(
    protocol: Protocol,
    source: (IpAddr, Option<u16>),
    dest: (IpAddr, Option<u16>),
) -> Option<[u8; COMMUNITY_ID_LEN]> {
    let ports = match (protocol, source.1, dest.1) {
        (Protocol::ICMP | Protocol::ICMP6, ..) => return None,
        (Protocol::TCP | Protocol::UDP | Protocol::SCTP, Some(s), Some(d)) => Some((s, d)),
        (Protocol::TCP | Protocol::UDP | Protocol::SCTP, ..) => return None,
        _ => None,
    };
    hash(protocol, source.0, dest.0, ports, 0)
}

fn hash(
    protocol: Protocol,
    source: IpAddr,
    dest: IpAddr,
    ports: Option<(u16, u16)>,
    seed: u16,
) -> Option<[u8; COMMUNITY_ID_LEN]> {
    let (sport, dport) = ports.unwrap_or((0, 0));
    // The smaller (address, port) goes first. Ports are compared as numbers, not as text.
    let ((a, aport), (b, bport)) = if (source, sport) <= (dest, dport) {
        ((source, sport), (dest, dport))
    } else {
        ((dest, dport), (source, sport))
    };
    let mut input = [0u8; 2 + 16 + 16 + 2 + 4];
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        input[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    push(&seed.to_be_bytes());
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            push(&a.octets());
            push(&b.octets());
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            push(&a.octets());
            push(&b.octets());
        }
        _ => return None,
    }
    push(&[protocol.0, 0]);
    if ports.is_some() {
        push(&aport.to_be_bytes());
        push(&bport.to_be_bytes());
    }
    let mut id = [0; COMMUNITY_ID_LEN];
    id[..2].copy_from_slice(b"1:");
    STANDARD.encode_slice(Sha1::digest(&input[..len]), &mut id[2..]).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: u8, source: (&str, u16), dest: (&str, u16), expected: &str) {
        let end = |(ip, port): (&str, u16)| (ip.parse().expect("an address"), Some(port));
        let id = community_id(Protocol(protocol), end(source), end(dest)).expect("enough is known");
        assert_eq!(std::str::from_utf8(&id), Ok(expected));
        assert_eq!(Some(id), community_id(Protocol(protocol), end(dest), end(source)), "both directions");
    }

    #[test]
    fn published_vectors() {
        check(6, ("1.2.3.4", 1122), ("5.6.7.8", 3344), "1:wCb3OG7yAFWelaUydu0D+125CLM=");
        check(17, ("1.2.3.4", 1122), ("5.6.7.8", 3344), "1:0Mu9InQx6z4ZiCZM/7HXi2WMhOg=");
        check(132, ("1.2.3.4", 1122), ("5.6.7.8", 3344), "1:EKt4MsxuyaE6mL+hmrEkQ9csDD8=");
        check(46, ("1.2.3.4", 0), ("5.6.7.8", 0), "1:ikv3kmf89luf73WPz1jOs49S768=");
        check(6, ("128.232.110.120", 34855), ("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        // Ports compare as numbers: 10 is below 11569.
        check(6, ("10.0.0.1", 10), ("10.0.0.2", 11569), "1:SXBGMX1lBOwhhoDrZynfROxnhnM=");
        let (a, b) = (("1.2.3.4").parse().unwrap(), ("5.6.7.8").parse().unwrap());
        let seeded = hash(Protocol::TCP, a, b, Some((1122, 3344)), 1).unwrap();
        assert_eq!(&seeded, b"1:HhA1B+6CoLbiKPEs5nhNYN4XWfk=");
    }

    #[test]
    fn too_little_known() {
        let (a, b): (IpAddr, IpAddr) = ("1.2.3.4".parse().unwrap(), "5.6.7.8".parse().unwrap());
        assert_eq!(community_id(Protocol::TCP, (a, None), (b, Some(1))), None);
        assert_eq!(community_id(Protocol::ICMP, (a, None), (b, None)), None);
        assert_eq!(community_id(Protocol::TCP, (a, Some(1)), ("::1".parse().unwrap(), Some(1))), None);
    }

    #[test]
    fn protocols_by_every_name() {
        assert_eq!(Protocol::parse("icmp6"), Some(Protocol::ICMP6));
        assert_eq!(Protocol::parse("ipip").and_then(Protocol::keyword), Some("ipv4"));
        assert_eq!(Protocol::parse("99"), Some(Protocol(99)));
        assert_eq!(Protocol(99).keyword(), None);
        assert_eq!(Protocol::parse("300"), None);
    }
}

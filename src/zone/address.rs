//! Address ranges, and what counts as public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A set of ranges that answers quickly and without allocation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Nets {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Nets {
    pub fn new(nets: &[IpNet]) -> Self {
        let mut all = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => all.v4.push((net.network().to_bits(), net.netmask().to_bits())),
                IpNet::V6(net) => all.v6.push((net.network().to_bits(), net.netmask().to_bits())),
            }
        }
        all
    }

    /// The address must be canonical: an IPv4 address mapped into IPv6 is an IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.iter().any(|(net, mask)| ip.to_bits() & mask == *net),
            IpAddr::V6(ip) => self.v6.iter().any(|(net, mask)| ip.to_bits() & mask == *net),
        }
    }

    /// Network and mask of each.
    pub fn v4(&self) -> impl Iterator<Item = (u32, u32)> {
        self.v4.iter().copied()
    }

    pub fn v6(&self) -> impl Iterator<Item = (u128, u128)> {
        self.v6.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// 0.0.0.0/0 or ::/0 is among them.
    pub fn has_everything(&self) -> bool {
        self.v4.iter().any(|(_, mask)| *mask == 0) || self.v6.iter().any(|(_, mask)| *mask == 0)
    }
}

/// Whether an address is reachable over the internet, by itself. Calico's own `pub` and `pvt` know RFC 1918 only and call
/// every IPv6 address public, so they are not asked where there is an address.
///
/// Not public: RFC 1918, carrier-grade NAT (100.64.0.0/10), loopback, link-local, ULA (fc00::/7), site-local, multicast,
/// "this network" (0.0.0.0/8), protocol assignments (192.0.0.0/24), benchmarking (198.18.0.0/15), reserved (240.0.0.0/4),
/// discard (100::/64), local-use NAT64 (64:ff9b:1::/48). An IPv4 address inside IPv6 (mapped, NAT64) counts as that.
///
/// Documentation ranges count as public: no real network has them, and examples then behave as they read.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 224;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let bits = u32::from(segments[6]) << 16 | u32::from(segments[7]);
        return is_public_v4(Ipv4Addr::from_bits(bits));
    }
    let special = ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || segments[0] & 0xffc0 == 0xfec0
        || segments[..4] == [0x100, 0, 0, 0]
        || segments[..3] == [0x64, 0xff9b, 1];
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for (text, expected) in [
            ("8.8.8.8", true),
            ("34.0.113.100", true),
            ("203.0.113.7", true),
            ("2001:db8::1", true),
            ("2606:4700::1111", true),
            ("172.32.0.1", true),
            ("100.63.255.255", true),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::808:808", true),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.168.0.1", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn ranges() {
        let parse = |texts: &[&str]| Nets::new(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        let nets = parse(&["203.0.113.0/24", "2001:db8::/32", "10.0.0.1/32"]);
        for (ip, expected) in [
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("2001:db8:ffff::", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(nets.contains(ip.parse().unwrap()), expected, "{ip}");
        }
        assert!(!nets.has_everything());
        let all = parse(&["0.0.0.0/0"]);
        assert!(all.has_everything() && all.contains("1.2.3.4".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()), "0.0.0.0/0 is IPv4 only");
    }
}

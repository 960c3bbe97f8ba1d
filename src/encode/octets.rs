//! Short runs of octets appended to a buffer, without a call for each.

use std::io::Write as _;
use std::net::IpAddr;

/// Appends bytes as they are; short ones without a call.
#[inline(always)]
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        0..4 => bytes.iter().for_each(|&byte| out.push(byte)),
        4..8 => ends::<4>(out, bytes),
        8..16 => ends::<8>(out, bytes),
        16..=32 => ends::<16>(out, bytes),
        _ => out.extend_from_slice(bytes),
    }
}

/// Appends `N` to `2 * N` bytes as the first `N` and the last.
#[inline(always)]
fn ends<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) else { return };
    let before_last = out.len() + bytes.len() - N;
    out.extend_from_slice(first);
    out.truncate(before_last);
    out.extend_from_slice(last);
}

/// An address as text: `10.0.0.1`, `fd00::1`.
#[inline]
pub fn address(out: &mut Vec<u8>, value: IpAddr) {
    match value {
        IpAddr::V4(v4) => {
            for octet in v4.octets() {
                let (text, length) = OCTETS[usize::from(octet)];
                let end = out.len() + usize::from(length);
                out.extend_from_slice(&text);
                out.truncate(end);
            }
            // The last octet has no dot behind it.
            out.pop();
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}"); // A Vec takes everything.
        }
    }
}

/// Each octet as text with a dot behind it, and how many bytes that is.
static OCTETS: [([u8; 4], u8); 256] = {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        all[octet] = match octet {
            0..10 => ([digits[2], b'.', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b'.', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b'.'], 4),
        };
        octet += 1;
    }
    all
};

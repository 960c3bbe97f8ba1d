//! Bytes in texts: where one stands, whether there is one.

/// Bytes before the first `BYTE`, eight at a time: texts of a line are short, and a call for each costs more.
#[inline]
pub fn find<const BYTE: u8>(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        // The byte is zero now. Taking one from each byte borrows from the high bit of zeros alone, or of what stands
        // behind one: so the lowest high bit is right.
        let word = u64::from_le_bytes(*word) ^ (ONES * BYTE as u64);
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(place * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == BYTE).map(|at| bytes.len() - rest.len() + at)
}

/// Whether any byte is one of these. Without a branch inside, the compiler makes vector instructions of it.
#[inline(always)]
pub fn any(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> bool {
    let among = |bytes: &[u8]| bytes.iter().fold(false, |found, &byte| found | is_one(byte));
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().fold(among(rest), |found, block| found | among(block))
}

#[cfg(test)]
mod tests {
    use super::{any, find};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_look_at_each(bytes in proptest::collection::vec(b'y'..=b'|', 0..40)) {
            prop_assert_eq!(find::<b'|'>(&bytes), bytes.iter().position(|byte| *byte == b'|'));
            prop_assert_eq!(find::<b'z'>(&bytes), bytes.iter().position(|byte| *byte == b'z'));
        }

        #[test]
        fn any_of_many(bytes in proptest::collection::vec(b'y'..=b'|', 0..200)) {
            prop_assert_eq!(any(&bytes, |byte| (byte == b'|') | (byte < b'y')), bytes.contains(&b'|'));
        }

        #[test]
        fn whatever_stands_beside_it(bytes: Vec<u8>) {
            prop_assert_eq!(find::<b'"'>(&bytes), bytes.iter().position(|byte| *byte == b'"'));
        }
    }
}

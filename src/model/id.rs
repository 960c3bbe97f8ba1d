//! The identity of a line: the Elasticsearch `_id`, `event.id` and the SIEM's `externalId` are this one string.
//!
//! 35 characters of an alphabet whose ASCII order is its numeric order, so that ids sort by time, file and place:
//! event time in Unix seconds (6) ‖ file key (11) ‖ offset in the uncompressed file (7) ‖ xxh3-64 of the line (11).
//! Nothing of the path, the inode or our own state is in it: a re-read, a copy, a compressed or backfilled file gives the
//! same ids, and two different lines never share one.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

/// Length of an id in characters (and bytes).
pub const LINE_ID_LEN: usize = 35;
/// ASCII order, six bits a character.
const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// The form never changes: a new one gets a new prefix.
const FORM: &[u8] = b"tidegate-id-1\0";
/// Bytes of a first line that its file key covers. A longer one is no flow; its first mebibyte tells files apart.
pub const KEY_LINE_LIMIT: usize = 1 << 20;
/// Times outside 1 ..= 2³⁶−1 are written as zero.
const TIME_LIMIT: i64 = 1 << 36;

/// Zero bytes at the beginning of a line, which are no part of it: a hole that a writer leaves when its file is truncated
/// under it. The line's offset is that of its first other byte.
pub fn filler(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == 0).count()
}

/// First 64 bits of SHA-256 over form, cluster, node and the file's first line (without its newline).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileKey(pub u64);

impl FileKey {
    /// `first_line` without its newline; what stands behind [`KEY_LINE_LIMIT`] does not count.
    pub fn new(cluster: &str, node: &str, first_line: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(FORM);
        hash.update(cluster.as_bytes());
        hash.update([0]);
        hash.update(node.as_bytes());
        hash.update([0]);
        hash.update(&first_line[..first_line.len().min(KEY_LINE_LIMIT)]);
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineId([u8; LINE_ID_LEN]);

impl LineId {
    /// `end_time` in Unix seconds, `offset` in bytes of the uncompressed file, `line` without its newline.
    pub fn new(end_time: Option<i64>, key: FileKey, offset: u64, line: &[u8]) -> Self {
        Self::from_parts(end_time, key, offset, xxh3_64(line))
    }

    /// As [`LineId::new`], with the line's hash given: for showing what a collision of it would do.
    pub fn from_parts(end_time: Option<i64>, key: FileKey, offset: u64, line_hash: u64) -> Self {
        let time = end_time.filter(|t| (1..TIME_LIMIT).contains(t)).unwrap_or(0).unsigned_abs();
        let mut id = [0; LINE_ID_LEN];
        put(&mut id[0..6], time);
        put(&mut id[6..17], key.0);
        put(&mut id[17..24], offset);
        put(&mut id[24..35], line_hash);
        Self(id)
    }

    /// The event time inside an id's text, in Unix seconds; `None` where it holds none (or is no id of ours).
    pub fn seconds_in(id: &str) -> Option<i64> {
        let digit = |c: &u8| ALPHABET.binary_search(c).ok().map(|digit| digit as i64);
        let time = id.as_bytes().get(..6)?.iter().try_fold(0, |sum, c| Some(sum << 6 | digit(c)?))?;
        (id.len() == LINE_ID_LEN && time > 0).then_some(time)
    }

    /// An id that was written before; `None` when the text has not its form.
    pub fn parse(text: &str) -> Option<Self> {
        let id: [u8; LINE_ID_LEN] = text.as_bytes().try_into().ok()?;
        id.iter().all(|byte| ALPHABET.contains(byte)).then_some(Self(id))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub const fn as_bytes(&self) -> &[u8; LINE_ID_LEN] {
        &self.0
    }
}

impl std::fmt::Debug for LineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the low bits of `value`, most significant character first.
fn put(out: &mut [u8], mut value: u64) {
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(value & 63) as usize];
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn alphabet_sorts_as_numbers() {
        assert!(ALPHABET.is_sorted());
    }

    #[test]
    fn form_is_fixed() {
        // This id must never change: it is what makes a replay meet its own documents. Computed once by other code (Python).
        let key = FileKey::new("default", "node-1", b"{\"a\":1}");
        let id = LineId::new(Some(1_597_166_383), key, 1234, b"{\"a\":1}");
        assert_eq!(id.as_str().len(), LINE_ID_LEN);
        assert_eq!(id.as_str(), "0UBhBjCiYoxqbKs3n-----IHBMYSXzwW4E5");
    }

    #[test]
    fn only_an_id_is_parsed_as_one() {
        let id = LineId::new(Some(7), FileKey(1), 3, b"x");
        assert_eq!(LineId::parse(id.as_str()), Some(id));
        let (short, foreign) = ("0".repeat(LINE_ID_LEN - 1), format!("{}\"", "0".repeat(LINE_ID_LEN - 1)));
        for text in ["", &short, &foreign] {
            assert_eq!(LineId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn unusable_times_are_zero() {
        for time in [None, Some(0), Some(-5), Some(TIME_LIMIT)] {
            assert!(LineId::new(time, FileKey(1), 0, b"x").as_str().starts_with("------"));
        }
    }

    #[test]
    fn a_foreign_id_holds_no_time() {
        for id in ["", "0UBhBj", "é234567890123456789012345678901234", &"~".repeat(LINE_ID_LEN)] {
            assert_eq!(LineId::seconds_in(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn an_id_gives_its_time_back(time in -9i64..TIME_LIMIT + 9, offset: u32) {
            let id = LineId::new(Some(time), FileKey(7), offset.into(), b"x");
            prop_assert_eq!(LineId::seconds_in(id.as_str()), Some(time).filter(|t| (1..TIME_LIMIT).contains(t)));
        }

        #[test]
        fn order_follows_time_then_place(t1 in 1..TIME_LIMIT, t2 in 1..TIME_LIMIT, o1: u32, o2: u32) {
            let at = |t, o: u32| LineId::new(Some(t), FileKey(7), o.into(), b"x");
            prop_assert_eq!(at(t1, o1).as_str().cmp(at(t2, o2).as_str()), (t1, o1).cmp(&(t2, o2)));
        }
    }
}

//! Channels: what a collector promises to acknowledge, and when such a promise is worth nothing.
//!
//! A collector numbers the requests of a channel from 0 and remembers in memory which of them are indexed. One that was
//! restarted has forgotten that, and begins again with 0: a number that comes twice on one channel says so. An old
//! request must then not be taken for acknowledged because a new one has its number; so such a channel is given up with
//! everything that waits in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tokio::time::Instant;

/// Numbers of one channel that are remembered above the lowest that is missing. More mean that answers get lost.
const MOST_GAPS: usize = 1024;
/// Numbers in one question.
pub const MOST_ASKED: usize = 1000;

/// The number was given on this channel before (or none fits): what waits in it may be mistaken for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

/// One channel and what waits in it for an acknowledgement; `T` is what a request carried.
#[derive(Debug)]
pub struct Channel<T> {
    /// The channel's name: a random GUID.
    pub guid: String,
    /// Which receiver knows it.
    pub receiver: usize,
    /// Every number below was given.
    floor: u64,
    /// Numbers given from there on.
    above: BTreeSet<u64>,
    /// Oldest first.
    waiting: Vec<Waiting<T>>,
    /// Nothing more is sent on it.
    closed: bool,
}

/// Taken by the collector, and not known to be indexed.
#[derive(Debug)]
struct Waiting<T> {
    ack: u64,
    since: Instant,
    carried: T,
}

impl<T> Channel<T> {
    pub fn new(receiver: usize) -> Self {
        Self { guid: guid(), receiver, floor: 0, above: BTreeSet::new(), waiting: Vec::new(), closed: false }
    }

    /// No request comes any more; what waits in it is asked for still.
    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// A request was taken under this number. Gives back what it carried when the number cannot be believed.
    pub fn wait(&mut self, ack: u64, carried: T) -> Result<(), (Forgotten, T)> {
        if ack < self.floor || !self.above.insert(ack) || self.above.len() > MOST_GAPS {
            return Err((Forgotten, carried));
        }
        while self.above.remove(&self.floor) {
            self.floor += 1;
        }
        self.waiting.push(Waiting { ack, since: Instant::now(), carried });
        Ok(())
    }

    /// The numbers to ask for, the oldest first.
    pub fn asked(&self) -> Vec<u64> {
        self.waiting.iter().take(MOST_ASKED).map(|waiting| waiting.ack).collect()
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Since when the oldest waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.first().map(|waiting| waiting.since)
    }

    /// Takes out what these numbers carried.
    pub fn acknowledged(&mut self, acks: &[u64]) -> Vec<T> {
        let taken = self.waiting.extract_if(.., |waiting| acks.contains(&waiting.ack));
        taken.map(|waiting| waiting.carried).collect()
    }

    /// Takes out what waits since before `limit`.
    pub fn overdue(&mut self, limit: Instant) -> Vec<T> {
        self.waiting.extract_if(.., |waiting| waiting.since <= limit).map(|waiting| waiting.carried).collect()
    }

    /// Takes out everything.
    pub fn give_up(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|waiting| waiting.carried).collect()
    }
}

/// RFC 9562 version 4. It tells channels apart and keeps nothing secret.
pub fn guid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let mut guid = String::with_capacity(36);
    for part in [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]] {
        let dash = if guid.is_empty() { "" } else { "-" };
        // Writing to a String cannot fail.
        let _ = write!(guid, "{dash}{part}");
    }
    guid
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_acknowledged_leaves_and_the_rest_waits() {
        let mut channel = Channel::new(0);
        for (ack, carried) in [(0, 'a'), (2, 'c'), (1, 'b')] {
            channel.wait(ack, carried).unwrap();
        }
        assert_eq!(channel.asked(), [0, 2, 1]);
        assert_eq!(channel.acknowledged(&[2, 7]), ['c']);
        assert!(channel.overdue(Instant::now() - Duration::from_secs(1)).is_empty());
        tokio::time::advance(Duration::from_secs(60)).await;
        channel.wait(3, 'd').unwrap();
        assert_eq!(channel.overdue(Instant::now() - Duration::from_secs(60)), ['a', 'b']);
        assert_eq!((channel.give_up(), channel.is_waiting(), channel.oldest()), (vec!['d'], false, None));
    }

    #[test]
    fn a_number_that_comes_again_is_that_of_a_server_that_forgot() {
        let mut channel = Channel::new(0);
        for ack in [0, 1, 5] {
            channel.wait(ack, ack).unwrap();
        }
        channel.acknowledged(&[0, 1, 5]);
        for ack in [0, 1, 5] {
            assert_eq!(channel.wait(ack, 9), Err((Forgotten, 9)), "{ack}");
        }
        let mut holes = Channel::new(0);
        let refused = (0..5000).find(|n| holes.wait(n * 2 + 1, ()).is_err());
        assert_eq!(refused, Some(MOST_GAPS as u64), "what is remembered has a bound");
    }

    #[test]
    fn guids_have_their_form() {
        for _ in 0..100 {
            let guid = guid();
            let parts: Vec<usize> = guid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12]);
            assert_eq!(&guid[14..15], "4", "{guid}");
            assert!("89ab".contains(&guid[19..20]), "{guid}");
        }
        assert_ne!(guid(), guid());
    }
}

//! A batch: event objects on their way into one body, and what can be taken out of that body again.
//!
//! As in the Elasticsearch sink, a sealed batch keeps nothing but its compressed body, so that no retry needs the log
//! file. Where each event begins and whose it is stands beside it (44 octets an event).

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::model::LineId;
use crate::net::gzip::Packer;
use crate::sink::limits::Limits;

/// Plain bytes gathered before they are deflated.
const PIECE: usize = 64 * 1024;

/// What stands beside the body for each event.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: LineId,
    /// Where it ends in the plain body.
    end: u32,
    /// Of the log, that it stands for.
    lines: u32,
}

/// Whole body of some events: JSON objects, one behind the other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealed {
    body: Bytes,
    events: Arc<[Entry]>,
    /// Compression level; 0 = the body is plain.
    level: u32,
}

impl Sealed {
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    pub fn is_gzip(&self) -> bool {
        self.level > 0
    }

    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Bytes before compression.
    pub fn plain(&self) -> usize {
        self.events.last().map_or(0, |entry| entry.end as usize)
    }

    /// Id and text of one event.
    pub fn event(&self, index: usize) -> (LineId, Vec<u8>) {
        let plain = self.inflate();
        (self.events[index].id, self.slice(&plain, index).to_vec())
    }

    /// Lines that one event stands for.
    pub fn lines(&self, index: usize) -> u64 {
        self.events[index].lines.into()
    }

    /// A batch of these events alone, in their order.
    pub fn pick(&self, wanted: impl IntoIterator<Item = usize>) -> Self {
        let plain = self.inflate();
        let mut builder = Builder::new(self.level, Limits::new(usize::MAX, usize::MAX));
        for index in wanted {
            let Entry { id, lines, .. } = self.events[index];
            builder.add(id, lines.into(), |out| out.extend_from_slice(self.slice(&plain, index)));
        }
        builder.seal()
    }

    /// All events but this one, if there are others.
    pub fn without(&self, event: usize) -> Option<Self> {
        (self.events() > 1).then(|| self.pick((0..self.events()).filter(|index| *index != event)))
    }

    /// The first and the second half; `None` when there is nothing to halve.
    pub fn halves(&self) -> Option<(Self, Self)> {
        let middle = self.events() / 2;
        (middle > 0).then(|| (self.pick(0..middle), self.pick(middle..self.events())))
    }

    fn slice<'p>(&self, plain: &'p [u8], index: usize) -> &'p [u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.events[before].end as usize);
        // The line feed behind it separates.
        &plain[start..self.events[index].end as usize - 1]
    }

    /// The body is our own and lies in memory: that it cannot be read back would be a bug of ours, and going on would
    /// lose events.
    fn inflate(&self) -> Vec<u8> {
        if self.level == 0 {
            return self.body.to_vec();
        }
        let mut plain = Vec::with_capacity(self.plain());
        GzDecoder::new(&*self.body).read_to_end(&mut plain).expect("a body that we compressed ourselves inflates");
        plain
    }
}

/// The open batch. Its buffers and its compressor live as long as the lane.
pub struct Builder {
    limits: Arc<Limits>,
    piece: Vec<u8>,
    packer: Packer,
    events: Vec<Entry>,
    plain: usize,
}

impl Builder {
    /// `level` 0 leaves the body plain, 1 to 9 are gzip's.
    pub fn new(level: u32, limits: Arc<Limits>) -> Self {
        Self { limits, piece: Vec::new(), packer: Packer::new(level), events: Vec::new(), plain: 0 }
    }

    /// Adds one event, which stands for so many lines; `write` appends its object.
    pub fn add<T>(&mut self, id: LineId, lines: u64, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.piece.len();
        let written = write(&mut self.piece);
        self.piece.push(b'\n');
        self.plain += self.piece.len() - start;
        self.events.push(Entry { id, end: self.plain as u32, lines: u32::try_from(lines).unwrap_or(u32::MAX) });
        if self.piece.len() >= PIECE {
            self.flush();
        }
        written
    }

    pub fn events(&self) -> usize {
        self.events.len()
    }

    pub fn is_full(&self) -> bool {
        self.limits.are_reached(self.plain as u64, self.events.len())
    }

    /// The batch so far; the next one starts empty.
    pub fn seal(&mut self) -> Sealed {
        self.flush();
        let sealed =
            Sealed { body: self.packer.finish(), events: self.events.as_slice().into(), level: self.packer.level() };
        self.events.clear();
        self.plain = 0;
        sealed
    }

    /// Forgets the batch so far.
    pub fn abandon(&mut self) {
        self.piece.clear();
        self.packer.reset();
        self.events.clear();
        self.plain = 0;
    }

    fn flush(&mut self) {
        self.packer.push(&self.piece);
        self.piece.clear();
        // One huge event must not hold its memory for ever.
        self.piece.shrink_to(2 * PIECE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileKey;
    use crate::sink::limits::LEAST_BYTES;
    use proptest::prelude::*;

    fn id(number: usize) -> LineId {
        LineId::new(Some(1_700_000_000), FileKey(7), number as u64, &number.to_be_bytes())
    }

    fn batch(level: u32, events: &[String]) -> Sealed {
        let mut builder = Builder::new(level, Limits::new(1 << 20, 2000));
        for (number, event) in events.iter().enumerate() {
            builder.add(id(number), number as u64, |out| out.extend_from_slice(event.as_bytes()));
        }
        builder.seal()
    }

    fn body(sealed: &Sealed) -> String {
        String::from_utf8(sealed.inflate()).unwrap()
    }

    fn lines<'e>(events: impl IntoIterator<Item = &'e String>) -> String {
        events.into_iter().map(|event| format!("{event}\n")).collect()
    }

    proptest! {
        #[test]
        fn any_events_come_back_whole_and_picked(
            events in prop::collection::vec("[ -~é]{0,300}", 1..60),
            level in 0u32..4,
            bad in any::<prop::sample::Index>(),
        ) {
            let sealed = batch(level, &events);
            prop_assert_eq!(body(&sealed), lines(&events));
            prop_assert_eq!(sealed.plain(), body(&sealed).len());
            let bad = bad.index(events.len());
            prop_assert_eq!(sealed.event(bad), (id(bad), events[bad].clone().into_bytes()));
            let others: Vec<_> = events.iter().enumerate().filter(|(n, _)| *n != bad).map(|(_, e)| e).collect();
            let rest = sealed.without(bad).map(|rest| body(&rest)).unwrap_or_default();
            prop_assert_eq!(rest, lines(others));
        }
    }

    #[test]
    fn halves_hold_everything_once() {
        let events: Vec<_> = (0..5).map(|n| format!("{{\"n\":{n}}}")).collect();
        let sealed = batch(1, &events);
        let (first, second) = sealed.halves().unwrap();
        assert_eq!((first.events(), second.events()), (2, 3));
        assert_eq!(body(&first) + &body(&second), body(&sealed));
        assert_eq!((second.event(0).0, second.lines(0)), (id(2), 2));
        assert!(batch(1, &events[..1]).halves().is_none());
    }

    #[test]
    fn full_by_bytes_by_events_and_by_what_413_taught() {
        let limits = Limits::new(100_000, 3);
        let mut builder = Builder::new(1, Arc::clone(&limits));
        let add = |builder: &mut Builder, size: usize| builder.add(id(0), 1, |out| out.resize(out.len() + size, b'x'));
        add(&mut builder, 99_999);
        assert!(builder.is_full(), "by bytes");
        builder.seal();
        (0..3).for_each(|_| add(&mut builder, 1));
        assert!(builder.is_full(), "by events");
        builder.abandon();
        assert_eq!((builder.events(), builder.is_full()), (0, false));
        assert!(limits.too_large(60_000));
        assert!(!limits.too_large(90_000), "never up again");
        add(&mut builder, 30_000);
        assert!(builder.is_full(), "by the learned limit");
        assert!(limits.too_large(1));
        assert_eq!(limits.bytes(), LEAST_BYTES);
    }
}

//! Keys and counters that must never be mistaken for one another.

use std::fmt;

/// Which core's world. Dense from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's place in a table of shards.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection of one shard: the row's place and which life of that row is meant.
///
/// Invariant: a key whose generation is not the row's own never resolves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey {
    index: u32,
    generation: u16,
}

impl ConnKey {
    /// `ring` is the chunk of the table (and the io_uring of the runtime), `slot` the place in it.
    pub fn new(ring: u16, slot: u16, generation: u16) -> Self {
        Self { index: u32::from(ring) << 16 | u32::from(slot), generation }
    }

    /// `ring << 16 | slot`.
    pub fn index(self) -> u32 {
        self.index
    }

    /// The chunk of the table, and the ring that holds the socket.
    pub fn ring(self) -> u16 {
        (self.index >> 16) as u16
    }

    /// The place in the chunk, and the ring's direct descriptor.
    pub fn slot(self) -> u16 {
        self.index as u16
    }

    /// Rises by one (wrapping) each time the slot is given to somebody else.
    pub fn generation(self) -> u16 {
        self.generation
    }
}

impl fmt::Debug for ConnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}#{}", self.ring(), self.slot(), self.generation)
    }
}

/// A connection anywhere in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnAddress {
    pub shard: ShardId,
    pub conn: ConnKey,
}

/// Which life of a room: random, never a counter, so that a room that forgot cannot be taken for its former self.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Parses the wire form: exactly 16 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        lower_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message's place in its room's epoch. Dense; the first message has 1, 0 is "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The place of the message after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// How many messages lie from `earlier` (inclusive) to `self` (exclusive); 0 when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A room's place in its home's table, and which life of the room is meant.
///
/// Invariant: a place whose epoch is not the room's own never resolves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HomePlace {
    pub at: u32,
    pub epoch: Epoch,
}

/// A room's place in the table of a shard that has seats in it.
///
/// Invariant: a place whose life is not the entry's own never resolves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LocalPlace {
    pub at: u32,
    /// Rises by one (wrapping) with each room that the shard takes in.
    pub life: u32,
}

/// The one true name of a message within its room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_ring_slot_and_generation_apart() {
        let key = ConnKey::new(7, 19_999, 65_535);
        assert_eq!((key.ring(), key.slot(), key.generation()), (7, 19_999, 65_535));
        assert_eq!(key.index(), 7 << 16 | 19_999);
    }

    #[test]
    fn an_epoch_survives_the_wire_and_nothing_else_parses() {
        let epoch = Epoch(0x00ab_cdef_0123_4567);
        assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        for bad in ["", "00ABCDEF01234567", "+0abcdef01234567", "00abcdef012345678"] {
            assert_eq!(Epoch::parse(bad), None, "{bad}");
        }
    }
}

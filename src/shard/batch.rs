//! What to write next: a plain value the shard fills and the runtime carries out.
//!
//! Promises: a connection stands in a batch at most once, so a short write never has a successor behind it.
//! Equal bytes for many readers lie in the arena once.

use crate::base::ConnKey;

/// What an idle shard keeps of its arena.
const ARENA_BYTES_KEPT: usize = 512 << 10;
/// A write of so many bytes counts as one more.
const LONG_WRITE_BYTES: u32 = 16 << 10;

/// One write: `arena[start..start + len]` to `conn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    pub conn: ConnKey,
    pub start: u32,
    pub len: u32,
}

impl Write {
    /// What it takes, in short writes: a write of many pages costs as much as several small ones.
    pub fn cost(&self) -> u32 {
        1 + self.len / LONG_WRITE_BYTES
    }
}

/// How a write ended that did not go out whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The socket took the first `taken` bytes and no more; the runtime watches for room and says `Writable`.
    Stalled { taken: u32 },
    /// The socket is dead; the runtime does nothing more for it until the shard closes it.
    Broken,
}

/// Writes and the bytes they point into.
#[derive(Default, Debug)]
pub struct Batch {
    pub(crate) arena: Vec<u8>,
    pub(crate) writes: Vec<Write>,
}

impl Batch {
    /// The bytes all writes point into.
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// In the order they were asked for; no connection twice.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Empties it for the next filling; a large arena is given back.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.writes.clear();
        self.arena.shrink_to(ARENA_BYTES_KEPT);
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of one write.
    pub fn bytes(&self, write: &Write) -> &[u8] {
        &self.arena[write.start as usize..(write.start + write.len) as usize]
    }
}

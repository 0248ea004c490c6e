//! The table of connections: chunks of rows, one chunk per ring of the runtime, addressed alike.
//!
//! Promises: a key of a former life never resolves; the lowest chunk with room is filled first, so that the
//! highest run empty and can be given back; memory is touched row by row, never doubled.

use super::row::{Row, Stage};
use crate::base::ConnKey;

#[derive(Debug)]
struct Chunk {
    /// Grows by pushing into memory reserved once.
    rows: Vec<Row>,
    free: Vec<u16>,
    used: u32,
}

/// All rows of one shard.
#[derive(Debug)]
pub(crate) struct Connections {
    chunks: Vec<Chunk>,
    slots_per_ring: u16,
    max: usize,
    len: usize,
    /// Generations go on counting when a chunk was given back and comes again.
    generation_floor: u16,
}

impl Connections {
    pub(crate) fn new(slots_per_ring: u16, max: usize) -> Self {
        Self { chunks: Vec::new(), slots_per_ring, max, len: 0, generation_floor: 0 }
    }

    pub(crate) fn slots_per_ring(&self) -> u16 {
        self.slots_per_ring
    }

    /// How many it may hold from now on; those above it stay until they go.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Whether [`Connections::open`] would give none.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.max
    }

    /// A free row, `None` when the shard holds as many as it may.
    pub(crate) fn open(&mut self) -> Option<ConnKey> {
        if self.len >= self.max {
            return None;
        }
        let slots = u32::from(self.slots_per_ring);
        let ring = match self.chunks.iter().position(|chunk| chunk.used < slots) {
            Some(ring) => ring,
            None => self.add_chunk()?,
        };
        let generation = self.generation_floor;
        let chunk = &mut self.chunks[ring];
        let slot = match chunk.free.pop() {
            Some(slot) => slot,
            None => {
                chunk.rows.push(Row { generation, ..Row::default() });
                (chunk.rows.len() - 1) as u16
            }
        };
        chunk.used += 1;
        self.len += 1;
        let row = &mut chunk.rows[usize::from(slot)];
        row.stage = Stage::Opening;
        Some(ConnKey::new(ring as u16, slot, row.generation))
    }

    /// The socket is let go of: the row may be somebody else's.
    pub(crate) fn release(&mut self, key: ConnKey) -> bool {
        let Some(chunk) = self.chunks.get_mut(usize::from(key.ring())) else { return false };
        let Some(row) = chunk.rows.get_mut(usize::from(key.slot())) else { return false };
        if row.stage != Stage::Gone || row.generation != key.generation() {
            return false;
        }
        *row = Row { generation: row.generation.wrapping_add(1), ..Row::default() };
        chunk.free.push(key.slot());
        chunk.used -= 1;
        self.len -= 1;
        self.give_back_chunks();
        true
    }

    /// The row of a connection that is somebody's and whose socket is ours.
    pub(crate) fn row_mut(&mut self, key: ConnKey) -> Option<&mut Row> {
        let row = self.chunks.get_mut(usize::from(key.ring()))?.rows.get_mut(usize::from(key.slot()))?;
        let alive = row.generation == key.generation() && !matches!(row.stage, Stage::Free | Stage::Gone);
        alive.then_some(row)
    }

    /// Like [`Connections::row_mut`].
    pub(crate) fn row(&self, key: ConnKey) -> Option<&Row> {
        let row = self.chunks.get(usize::from(key.ring()))?.rows.get(usize::from(key.slot()))?;
        let alive = row.generation == key.generation() && !matches!(row.stage, Stage::Free | Stage::Gone);
        alive.then_some(row)
    }

    /// The row at an index that a seat or a queue holds: those never outlive the row's life.
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Row {
        &mut self.chunks[(index >> 16) as usize].rows[index as usize & 0xffff]
    }

    /// Likewise.
    pub(crate) fn at(&self, index: u32) -> &Row {
        &self.chunks[(index >> 16) as usize].rows[index as usize & 0xffff]
    }

    /// The row at an index that may be of long ago, if the table still has it.
    pub(crate) fn get(&self, index: u32) -> Option<&Row> {
        self.chunks.get((index >> 16) as usize)?.rows.get(index as usize & 0xffff)
    }

    /// The first index of a row at or after `cursor` in the order of the table, for a sweep; `None` past the end.
    pub(crate) fn next_index(&self, cursor: u32) -> Option<u32> {
        let (ring, slot) = ((cursor >> 16) as usize, cursor & 0xffff);
        if slot < self.chunks.get(ring)?.rows.len() as u32 {
            return Some(cursor);
        }
        (ring + 1 < self.chunks.len()).then_some(((ring + 1) as u32) << 16)
    }

    /// Rows that exist, free ones included.
    pub(crate) fn rows_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.len()).sum()
    }

    /// Memory the rows have touched.
    pub(crate) fn bytes(&self) -> usize {
        self.rows_len() * size_of::<Row>()
    }

    /// Connections, from accept to release.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many chunks there are: the runtime needs as many rings and no more.
    pub(crate) fn chunks(&self) -> u16 {
        self.chunks.len() as u16
    }

    fn add_chunk(&mut self) -> Option<usize> {
        let ring = u16::try_from(self.chunks.len()).ok()?;
        let rows = Vec::with_capacity(usize::from(self.slots_per_ring));
        self.chunks.push(Chunk { rows, free: Vec::new(), used: 0 });
        Some(usize::from(ring))
    }

    /// Empty chunks at the end go, all but the first, when those below have room to spare: one connection coming
    /// and going at the seam must not make and unmake a ring each time.
    fn give_back_chunks(&mut self) {
        let spare = usize::from(self.slots_per_ring) / 8;
        while self.chunks.len() > 1 && self.chunks.last().is_some_and(|chunk| chunk.used == 0) {
            if (self.chunks.len() - 1) * usize::from(self.slots_per_ring) < self.len + spare {
                return;
            }
            if let Some(chunk) = self.chunks.pop() {
                let highest = chunk.rows.iter().map(|row| row.generation).max().unwrap_or(0);
                // Wrapping is harmless: a stale key would have to be 65,536 lives old.
                self.generation_floor = self.generation_floor.max(highest).wrapping_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(table: &mut Connections, key: ConnKey) {
        table.row_mut(key).unwrap().stage = Stage::Gone;
        assert!(table.release(key));
    }

    #[test]
    fn a_stale_key_never_resolves() {
        let mut table = Connections::new(4, 100);
        let first = table.open().unwrap();
        close(&mut table, first);
        let second = table.open().unwrap();
        assert_eq!(first.index(), second.index());
        assert!(table.row(first).is_none() && table.row(second).is_some());
        assert!(!table.release(first));
    }

    #[test]
    fn chunks_fill_from_below_and_are_given_back_from_above() {
        let mut table = Connections::new(4, 10);
        let keys: Vec<ConnKey> = (0..10).map(|_| table.open().unwrap()).collect();
        assert_eq!((table.open(), table.chunks(), table.len()), (None, 3, 10));
        for key in &keys[4..] {
            close(&mut table, *key);
        }
        assert_eq!((table.chunks(), table.len()), (1, 4));
        close(&mut table, keys[0]);
        assert_eq!(table.open().unwrap().index(), keys[0].index());
        let again = table.open().unwrap();
        assert_eq!(again.index(), keys[4].index());
        assert_ne!(again.generation(), keys[4].generation());
        assert!(table.row(keys[4]).is_none());
    }
}

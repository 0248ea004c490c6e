//! Who hears an announcement by its seat in the room where it is published, and is not to be told it besides.
//!
//! A home posts what its room says before it posts the announcement, and the answer to a join that came later behind it.
//! So whoever has a seat when an announcement comes is owed it there, and whoever gets one later is not, unless it asked
//! for what was said before. Until the errand has come to a connection it may take a seat, or give one up unserved.
//!
//! Promises: whoever stays hears an announcement once, wherever it sits down meanwhile. Costs a bit for each row up to the
//! highest that is noted, for as long as the announcement waits, and nothing where none waits.

use super::Shard;
use super::seats::LocalRoom;
use crate::base::{ConnKey, Offset};

/// Rows, a bit each, by ring and slot.
#[derive(Default, Debug)]
pub(crate) struct Hearers {
    rings: Vec<Vec<u64>>,
}

impl Hearers {
    /// Whoever has a seat there.
    pub(crate) fn of(room: &LocalRoom) -> Self {
        let mut hearers = Self::default();
        for seat in room.seats.iter().filter(|seat| !seat.is_joining()) {
            hearers.insert(seat.conn);
        }
        hearers
    }

    pub(crate) fn insert(&mut self, index: u32) {
        let (ring, word, bit) = place(index);
        if self.rings.len() <= ring {
            self.rings.resize_with(ring + 1, Vec::new);
        }
        let words = &mut self.rings[ring];
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= bit;
    }

    pub(crate) fn remove(&mut self, index: u32) {
        let (ring, word, bit) = place(index);
        if let Some(word) = self.rings.get_mut(ring).and_then(|words| words.get_mut(word)) {
            *word &= !bit;
        }
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        let (ring, word, bit) = place(index);
        self.rings.get(ring).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.rings.iter().map(|words| words.capacity() * size_of::<u64>()).sum()
    }
}

fn place(index: u32) -> (usize, usize, u64) {
    ((index >> 16) as usize, (index as usize & 0xffff) / 64, 1 << (index % 64))
}

impl Shard {
    /// A seat in this room hears what stands at `from` and behind it.
    pub(super) fn note_hears_from(&mut self, at: u32, conn: ConnKey, from: Offset) {
        if self.errands.tells_somebody() {
            let name = &self.seats.room(at).name;
            self.errands.each_told_in(name, |offset, hearers| {
                if from <= offset {
                    hearers.insert(conn.index());
                }
            });
        }
    }

    /// To be called before a seat is given up: what it has not been served by then it does not hear there.
    pub(super) fn note_hears_no_more(&mut self, conn: ConnKey, at: u32, seat: u32) {
        if !self.errands.tells_somebody() {
            return;
        }
        let room = self.seats.room(at);
        let here = room.seats[seat as usize];
        let next = if here.is_joining() {
            // It was not noted.
            return;
        } else if here.is_live() {
            room.cursor(seat)
        } else {
            let work = self.connections.row(conn).and_then(|row| row.work.as_ref());
            let behind = work.and_then(|work| work.behind.iter().find(|behind| behind.room == at));
            behind.map_or(Offset(0), |behind| behind.cursor)
        };
        self.errands.each_told_in(&room.name, |offset, hearers| {
            if next <= offset {
                hearers.remove(conn.index());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_noted_for_itself_alone() {
        let mut hearers = Hearers::default();
        let rows = [0, 63, 64, 18_999, 3 << 16 | 5];
        rows.iter().for_each(|row| hearers.insert(*row));
        hearers.remove(64);
        hearers.remove(7 << 16);
        for row in rows.into_iter().chain([1, 65, 1 << 16, 3 << 16 | 69, 7 << 16]) {
            assert_eq!(hearers.contains(row), rows.contains(&row) && row != 64, "{row}");
        }
        assert!(hearers.bytes() >= 8 * (297 + 1) && Hearers::default().bytes() == 0);
    }
}

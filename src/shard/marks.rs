//! By what a session's token can be revoked: when it was issued, and a hash of its `jti`.
//!
//! Beside the rows and not in them: a row is full, and many tokens carry neither. A ring's two lists are made when the
//! first token with such a claim sits there: 4 bytes a connection for `iat`, 8 more for `jti`, and nothing for servers
//! whose tokens have none. `docs/decisions/0019-tokens.md` has the sum.
//!
//! Promises: written at the beginning of each session, so that nobody is taken for who had the row before.

/// Marks of one shard's connections, by ring and slot.
#[derive(Default, Debug)]
pub(crate) struct Marks {
    rings: Vec<RingMarks>,
}

#[derive(Default, Debug)]
struct RingMarks {
    issued: Vec<u32>,
    tokens: Vec<u64>,
}

/// What is kept of one token.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Mark {
    /// `iat` in seconds since 1970, 0 if it has none (then it was issued before everything).
    pub(crate) issued_unix_s: u32,
    /// The keyed hash of its `jti`, 0 if it has none.
    pub(crate) token: u64,
}

impl Marks {
    /// Notes the mark of the connection at this index; `slots` is how many a ring has.
    pub(crate) fn set(&mut self, index: u32, mark: Mark, slots: u16) {
        let (ring, slot) = ((index >> 16) as usize, index as usize & 0xffff);
        if self.rings.len() <= ring {
            if mark == Mark::default() {
                return;
            }
            self.rings.resize_with(ring + 1, RingMarks::default);
        }
        let marks = &mut self.rings[ring];
        put(&mut marks.issued, slot, mark.issued_unix_s, slots);
        put(&mut marks.tokens, slot, mark.token, slots);
    }

    pub(crate) fn of(&self, index: u32) -> Mark {
        let (ring, slot) = ((index >> 16) as usize, index as usize & 0xffff);
        let Some(marks) = self.rings.get(ring) else { return Mark::default() };
        Mark {
            issued_unix_s: marks.issued.get(slot).copied().unwrap_or_default(),
            token: marks.tokens.get(slot).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let of =
            |ring: &RingMarks| ring.issued.capacity() * size_of::<u32>() + ring.tokens.capacity() * size_of::<u64>();
        self.rings.iter().map(of).sum()
    }

    /// The rings above were given back.
    pub(crate) fn keep_rings(&mut self, rings: u16) {
        self.rings.truncate(usize::from(rings));
    }
}

/// Memory is reserved once for the ring and touched row by row, never doubled.
fn put<T: Copy + Default + PartialEq>(list: &mut Vec<T>, slot: usize, value: T, slots: u16) {
    if list.len() <= slot {
        if value == T::default() {
            return;
        }
        list.reserve_exact(usize::from(slots).saturating_sub(list.len()).max(slot + 1 - list.len()));
        list.resize(slot + 1, T::default());
    }
    list[slot] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_that_of_the_last_session_and_costs_nothing_where_there_is_none() {
        let mut marks = Marks::default();
        let (first, other_ring) = (3, 2 << 16 | 1);
        marks.set(first, Mark::default(), 8);
        assert!(marks.rings.is_empty() && marks.of(first) == Mark::default());
        let mark = Mark { issued_unix_s: 7, token: 9 };
        marks.set(other_ring, mark, 8);
        assert_eq!((marks.of(other_ring), marks.of(first)), (mark, Mark::default()));
        assert_eq!(marks.rings[0].issued.capacity(), 0);
        marks.set(first, Mark { issued_unix_s: 5, token: 0 }, 8);
        assert_eq!(marks.rings[0].tokens.capacity(), 0, "no jti, no list");
        assert_eq!(marks.rings[0].issued.capacity(), 8);
        marks.set(first, Mark::default(), 8);
        assert_eq!(marks.of(first), Mark::default());
        marks.keep_rings(1);
        assert_eq!(marks.of(other_ring), Mark::default());
    }
}

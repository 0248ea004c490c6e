//! How many of each: counters under 32-bit hashes, in six bytes each.
//!
//! A user's home keeps one for every user that is somewhere in the process, so it has to be small: an open table of hashes
//! and counts side by side, seven eighths full at most, that grows by a quarter. Two users with one hash are counted as
//! one; among a million users that befalls one in four thousand.
//!
//! Promises: no count is lost or kept for nobody; a table that has emptied gives its memory back.

/// Counts by hash. A hash that nobody holds takes no place.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// 0 marks a free place; whoever hashes to 0 is taken for 1.
    hashes: Vec<u32>,
    counts: Vec<u16>,
    used: usize,
}

impl Tally {
    /// One more; gives the new count.
    pub(crate) fn add(&mut self, hash: u32) -> u16 {
        if (self.used + 1) * 8 > self.hashes.len() * 7 {
            self.resize((self.hashes.len() + self.hashes.len() / 4).max(PLACES_MIN));
        }
        let (hash, place) = (hash.max(1), self.place(hash.max(1)));
        if self.hashes[place] == 0 {
            self.hashes[place] = hash;
            self.used += 1;
        }
        self.counts[place] = self.counts[place].saturating_add(1);
        self.counts[place]
    }

    /// One less. The last takes the place along.
    pub(crate) fn take(&mut self, hash: u32) {
        if self.used == 0 {
            return;
        }
        let place = self.place(hash.max(1));
        if self.hashes[place] == 0 {
            return;
        }
        self.counts[place] -= 1;
        if self.counts[place] == 0 {
            self.free(place);
            if self.used * 4 < self.hashes.len() && self.hashes.len() > PLACES_MIN {
                self.resize((self.used * 2).max(PLACES_MIN));
            }
        }
    }

    pub(crate) fn count(&self, hash: u32) -> u16 {
        if self.used == 0 { 0 } else { self.counts[self.place(hash.max(1))] }
    }

    /// All counts together.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Where the hash is, or would be.
    fn place(&self, hash: u32) -> usize {
        let mut place = self.home(hash);
        while self.hashes[place] != hash && self.hashes[place] != 0 {
            place = self.after(place);
        }
        place
    }

    /// Where the search for a hash begins: its part of the table, so that any length will do.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.hashes.len() as u64) >> 32) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 < self.hashes.len() { place + 1 } else { 0 }
    }

    /// Empties a place; those behind it that were pushed over it move up, so that no search ends too early.
    fn free(&mut self, place: usize) {
        let (len, mut hole, mut next) = (self.hashes.len(), place, self.after(place));
        while self.hashes[next] != 0 {
            let distance = |from: usize, to: usize| (to + len - from) % len;
            if distance(self.home(self.hashes[next]), next) >= distance(hole, next) {
                self.hashes[hole] = self.hashes[next];
                self.counts[hole] = self.counts[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.hashes[hole] = 0;
        self.counts[hole] = 0;
        self.used -= 1;
    }

    fn resize(&mut self, places: usize) {
        let hashes = std::mem::replace(&mut self.hashes, vec![0; places]);
        let counts = std::mem::replace(&mut self.counts, vec![0; places]);
        for (hash, count) in hashes.into_iter().zip(counts).filter(|(hash, _)| *hash != 0) {
            let place = self.place(hash);
            self.hashes[place] = hash;
            self.counts[place] = count;
        }
    }
}

const PLACES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Few hashes, close together and at both ends, so that searches run into each other and around the end.
        #[test]
        fn it_counts_as_a_map_does(
            steps in proptest::collection::vec(
                (any::<bool>(), prop_oneof![0_u32..40, (u32::MAX - 40)..=u32::MAX, any::<u32>()]), 0..600)
        ) {
            let (mut tally, mut map) = (Tally::default(), BTreeMap::<u32, u16>::new());
            for (comes, hash) in steps {
                let hash = hash.max(1);
                if comes {
                    let count = map.entry(hash).or_default();
                    *count += 1;
                    prop_assert_eq!(tally.add(hash), *count);
                } else if map.contains_key(&hash) {
                    tally.take(hash);
                    *map.get_mut(&hash).unwrap() -= 1;
                    map.retain(|_, count| *count > 0);
                } else {
                    tally.take(hash);
                }
                prop_assert_eq!(tally.total(), map.values().map(|count| u64::from(*count)).sum::<u64>());
                prop_assert_eq!(tally.used, map.len());
            }
            for (hash, count) in map {
                prop_assert_eq!(tally.counts[tally.place(hash)], count);
            }
        }
    }

    #[test]
    fn it_is_small_when_full_and_gives_back_when_empty() {
        let (mut tally, spread) = (Tally::default(), |n: u32| n.wrapping_mul(0x9e37_79b9));
        (0..100_000).for_each(|n| assert_eq!(tally.add(spread(n)), 1));
        let bytes = tally.hashes.capacity() * 4 + tally.counts.capacity() * 2;
        assert!(bytes <= 100_000 * 9, "{bytes}");
        (0..100_000).for_each(|n| tally.take(spread(n)));
        assert!(tally.hashes.len() <= 64 && tally.total() == 0);
    }
}

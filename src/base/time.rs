//! Time and randomness, as arguments.

use std::collections::HashMap;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// The moment a turn began. Comes in from the runtime or from a simulated clock; floors 0–3 read no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    /// Milliseconds since the process began; never goes back.
    pub mono_ms: u64,
    /// Milliseconds since 1970 by the wall clock; for people and for tokens.
    pub unix_ms: u64,
}

impl Now {
    /// Milliseconds since `earlier`, a former `mono_ms`; 0 if it lies ahead.
    pub fn since(self, earlier_mono_ms: u64) -> u64 {
        self.mono_ms.saturating_sub(earlier_mono_ms)
    }
}

/// Where a shard's randomness comes from: hash keys, epochs, session codes. Equal seeds give equal worlds.
#[derive(Clone, Debug)]
pub struct Seed {
    keys: [u64; 2],
    drawn: u64,
}

impl Seed {
    pub fn new(keys: [u64; 2]) -> Self {
        Self { keys, drawn: 0 }
    }

    /// The next random number of this seed.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.mix(&self.drawn.to_le_bytes())
    }

    /// A keyed code over `bytes`: who does not know the seed cannot make it.
    pub fn mix(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.keys[0], self.keys[1]).hash(bytes)
    }

    /// A seed for one purpose alone: what is drawn from it cannot be put together from what others draw and tell.
    pub fn derive(&self, purpose: &str) -> Self {
        let key = |half: u8| self.mix(&[purpose.as_bytes(), &[half]].concat());
        Self::new([key(0), key(1)])
    }

    /// A hash state for tables whose keys come from outside: collisions cannot be made from there.
    pub fn state(&self) -> SeededState {
        SeededState { keys: [self.keys[0] ^ 0x7461_626c_6573, self.keys[1]] }
    }
}

/// A keyed, repeatable hash state.
#[derive(Clone, Debug)]
pub struct SeededState {
    keys: [u64; 2],
}

impl BuildHasher for SeededState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys[0], self.keys[1])
    }
}

/// A table whose order depends on nothing but seed and history.
pub type SeededMap<K, V> = HashMap<K, V, SeededState>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_alike_and_other_seeds_do_not() {
        let (mut a, mut b, mut c) = (Seed::new([1, 2]), Seed::new([1, 2]), Seed::new([1, 3]));
        let drawn: Vec<u64> = (0..4).map(|_| a.draw()).collect();
        assert_eq!(drawn, (0..4).map(|_| b.draw()).collect::<Vec<_>>());
        assert_ne!(drawn, (0..4).map(|_| c.draw()).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_drawn_for_one_purpose_is_drawn_for_no_other() {
        let seed = Seed::new([1, 2]);
        let draws = |mut seed: Seed| (0..16).map(|_| seed.draw()).collect::<Vec<u64>>();
        let all = [draws(seed.clone()), draws(seed.derive("a")), draws(seed.derive("b"))].concat();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert_eq!(draws(seed.derive("a")), draws(seed.derive("a")));
    }
}

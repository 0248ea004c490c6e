//! Cheap, repeatable mixing: seeded randomness, names of messages for the hash sums, checksums.
//!
//! Not cryptography: it must find accidents and a lying server, not an adversary who knows the seed.

/// The finaliser of splitmix64: every bit of the result depends on every bit of `value`.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The 64-bit name of one message, for order-free sums.
pub(crate) fn message_name(publisher: u32, seq: u32) -> u64 {
    mix((u64::from(publisher) << 32 | u64::from(seq)).wrapping_add(GOLDEN))
}

/// The name of "this message stands at this offset".
pub(crate) fn placed_name(offset: u32, name: u64) -> u64 {
    mix(name ^ u64::from(offset).wrapping_mul(GOLDEN))
}

/// The publisher and the number behind a [`message_name`]; of any other value some that nobody has, almost surely.
pub(crate) fn named_message(name: u64) -> (u32, u32) {
    let value = unmix(name).wrapping_sub(GOLDEN);
    ((value >> 32) as u32, value as u32)
}

/// The offset behind a [`placed_name`] of `name`.
pub(crate) fn named_place(placed: u64, name: u64) -> Option<u32> {
    u32::try_from((unmix(placed) ^ name).wrapping_mul(GOLDEN_INVERSE)).ok()
}

/// What [`mix`] made `value` of.
fn unmix(value: u64) -> u64 {
    let value = unshift(value, 31).wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    let value = unshift(value, 27).wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    unshift(value, 30)
}

/// What gives `value` when it is combined with itself, shifted right by so many bits: at least a third of them.
fn unshift(value: u64, bits: u32) -> u64 {
    value ^ (value >> bits) ^ (value >> (2 * bits))
}

/// Of an odd number modulo 2^64, by Newton: each step doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// 2^64 over the golden ratio: odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const GOLDEN_INVERSE: u64 = inverse(GOLDEN);

/// A 32-bit checksum over a head and a tail.
pub(crate) fn checksum(seed: u64, head: &[u8], tail: &[u8]) -> u32 {
    let sum = fold_bytes(fold_bytes(seed, head), tail);
    (sum ^ (sum >> 32)) as u32
}

fn fold_bytes(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        sum = fold(sum ^ word);
    }
    let rest = words.remainder().iter().fold(bytes.len() as u64, |value, byte| value << 8 | u64::from(*byte));
    fold(sum ^ rest)
}

fn fold(value: u64) -> u64 {
    let wide = u128::from(value ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db;
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// A seeded source of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x7468_726f_6e67_6c64))
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `0..bound` (the bias at 2^64 does not matter here); 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.draw()) * bound as u128) >> 64) as usize
    }

    /// Uniform in `(0, 1]`.
    pub(crate) fn fraction(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Fisher–Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_notices_every_single_changed_character() {
        let text = b"0123456789abcdef0123456789abcdef-tail";
        let whole = checksum(7, &text[..20], &text[20..]);
        for at in 0..text.len() {
            let mut other = *text;
            other[at] ^= 1;
            assert_ne!(checksum(7, &other[..20], &other[20..]), whole, "{at}");
        }
        assert_ne!(checksum(8, &text[..20], &text[20..]), whole, "another run's seed");
    }

    #[test]
    fn a_name_leads_back_to_its_message_and_its_place() {
        let mut random = Random::new(3);
        for _ in 0..1_000 {
            let (publisher, seq) = (random.draw() as u32, random.draw() as u32);
            let name = message_name(publisher, seq);
            assert_eq!(unmix(mix(name)), name);
            assert_eq!(named_message(name), (publisher, seq));
            let offset = random.draw() as u32;
            assert_eq!(named_place(placed_name(offset, name), name), Some(offset));
        }
    }

    #[test]
    fn a_shuffle_loses_nobody_and_is_repeated_by_its_seed() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
    }
}

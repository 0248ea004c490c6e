//! What a shard has none of for newcomers. The kernel deals them out over the shards and asks nobody: what one shard lacks
//! its share of them lacks, however much room the others have.
//!
//! Promises: looked at once a tick, so that it ends by itself; who had no place left has one again when a hundredth of the
//! places is free, so that one coming and going at the bound turns no balancer round each time.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::Now;
use crate::wire::CloseReason;

/// Something that newcomers need and did not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortage {
    /// All places of the shard are taken.
    Places,
    /// Somebody came a moment ago for whom the process had no descriptor.
    Descriptors,
    /// Somebody came a moment ago whom the engine could not take in: no ring, or no memory for one.
    Engine,
}

impl Shortage {
    const ALL: [Self; 3] = [Self::Places, Self::Descriptors, Self::Engine];

    /// What is missing at this shard, as a sentence.
    pub fn sentence(self, shard: usize) -> String {
        match self {
            Self::Places => format!("shard {shard} has no place left: newcomers that fall to it are answered 503"),
            Self::Descriptors => format!("shard {shard} had no descriptor left for somebody a moment ago"),
            Self::Engine => format!("shard {shard} had no room in its engine for somebody a moment ago"),
        }
    }
}

/// One shard's, as its own thread knows it.
#[derive(Default, Debug)]
pub(super) struct Shortages {
    /// No place was left, and there are still too few.
    full: bool,
    descriptors: Lately,
    engine: Lately,
}

/// A counter of refusals, and when it last rose.
#[derive(Default, Debug)]
struct Lately {
    count: u64,
    rose_mono_ms: Option<u64>,
}

impl Lately {
    fn look(&mut self, now: Now, count: u64) -> bool {
        if std::mem::replace(&mut self.count, count) < count {
            self.rose_mono_ms = Some(now.mono_ms);
        }
        self.rose_mono_ms.is_some_and(|at_ms| now.since(at_ms) < LATELY_MS)
    }
}

impl Shortages {
    /// Somebody was refused by the shard: did it find no place?
    pub(super) fn note_refused(&mut self, reason: CloseReason) {
        self.full |= reason == CloseReason::Full;
    }

    /// Once a tick: how many places are taken of how many there are, and how often somebody was refused so far for want of
    /// a descriptor, and by the engine.
    pub(super) fn on_tick(&mut self, now: Now, places: (usize, usize), refused: (u64, u64)) -> Option<Shortage> {
        self.full = is_full(self.full, places.0 as u64, places.1 as u64);
        let (descriptors, engine) = (self.descriptors.look(now, refused.0), self.engine.look(now, refused.1));
        let found = [(self.full, Shortage::Places), (descriptors, Shortage::Descriptors), (engine, Shortage::Engine)];
        found.into_iter().find_map(|(lacks, what)| lacks.then_some(what))
    }
}

/// Whether newcomers find no place: so when all are taken, and from then on until a hundredth is free.
pub(super) fn is_full(before: bool, taken: u64, max: u64) -> bool {
    taken >= max || before && u128::from(taken) * 100 > u128::from(max) * 99
}

/// Where a shard leaves it for others to read.
#[derive(Default, Debug)]
pub(super) struct SharedShortage(AtomicU8);

impl SharedShortage {
    /// Only the shard itself writes.
    pub(super) fn store(&self, shortage: Option<Shortage>) {
        self.0.store(shortage.map_or(0, |what| what as u8 + 1), Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> Option<Shortage> {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        Shortage::ALL.get(number.checked_sub(1)?).copied()
    }
}

/// How long a refusal counts whose cause nobody can look at beforehand.
const LATELY_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    #[test]
    fn a_full_shard_has_room_again_when_a_hundredth_of_its_places_is_free() {
        let mut shortages = Shortages::default();
        let mut look = |taken| shortages.on_tick(at(0), (taken, 1_000), (0, 0));
        assert_eq!(look(999), None);
        assert_eq!(look(1_000), Some(Shortage::Places));
        assert_eq!(look(991), Some(Shortage::Places));
        assert_eq!(look(990), None);
        assert_eq!(look(999), None);
        shortages.note_refused(CloseReason::AddressFull);
        assert_eq!(shortages.on_tick(at(0), (999, 1_000), (0, 0)), None, "that is no place missing");
        shortages.note_refused(CloseReason::Full);
        assert_eq!(shortages.on_tick(at(0), (999, 1_000), (0, 0)), Some(Shortage::Places), "between two ticks");
        assert_eq!(shortages.on_tick(at(0), (1, 2), (0, 0)), None, "few places have whole hundredths, too");
    }

    #[test]
    fn what_nobody_can_look_at_beforehand_is_told_for_ten_seconds_after_a_refusal() {
        let mut shortages = Shortages::default();
        let mut look = |ms, refused| shortages.on_tick(at(ms), (0, 1), refused);
        assert_eq!(look(0, (0, 0)), None);
        assert_eq!(look(100, (16, 0)), Some(Shortage::Descriptors));
        assert_eq!(look(5_000, (16, 1)), Some(Shortage::Descriptors));
        assert_eq!(look(10_100, (16, 1)), Some(Shortage::Engine));
        assert_eq!(look(15_000, (16, 1)), None);
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        let shared = SharedShortage::default();
        assert_eq!(shared.load(), None);
        for shortage in Shortage::ALL.map(Some).into_iter().chain([None]) {
            shared.store(shortage);
            assert_eq!(shared.load(), shortage);
        }
    }
}

//! How many connections the whole process may hold, counted in one place.
//!
//! Promises: never more than the bound, and none refused while a place is free, whichever shard the kernel's hash sends
//! a connection to. Touched only when a connection comes or goes, never by a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The places of the process. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: AtomicU64,
    max: AtomicU64,
}

impl Places {
    pub fn new(max: u64) -> Self {
        Self(Arc::new(Shared { taken: AtomicU64::new(0), max: AtomicU64::new(max) }))
    }

    /// From now on so many. Who is there beyond it stays; nobody comes in before enough have gone.
    pub fn set_max(&self, max: u64) {
        self.0.max.store(max, Ordering::Relaxed);
    }

    /// How many are taken, and how many there are.
    pub fn taken(&self) -> (u64, u64) {
        (self.0.taken.load(Ordering::Relaxed), self.0.max.load(Ordering::Relaxed))
    }

    /// Takes one place. False: all are taken.
    pub fn take(&self) -> bool {
        let max = self.0.max.load(Ordering::Relaxed);
        let one_more = |taken: u64| (taken < max).then_some(taken + 1);
        self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Gives back places that were taken.
    pub fn give_back(&self, places: u64) {
        let before = self.0.taken.fetch_sub(places, Ordering::Relaxed);
        assert!(before >= places, "{places} places given back, {before} were taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_the_bound_and_a_lower_bound_sends_nobody_away() {
        let places = Places::new(2);
        assert_eq!([places.take(), places.take(), places.take()], [true, true, false]);
        places.set_max(1);
        places.give_back(1);
        assert!(!places.take(), "one is still there");
        places.give_back(1);
        assert!(places.take() && !places.take());
        assert_eq!(places.taken(), (1, 1));
    }

    #[test]
    fn many_threads_share_the_places_without_losing_one() {
        const MAX: u64 = 7;
        let places = Places::new(MAX);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        if places.take() {
                            places.give_back(1);
                        }
                    }
                });
            }
        });
        let taken = std::iter::from_fn(|| places.take().then_some(())).count() as u64;
        assert_eq!(taken, MAX);
    }
}

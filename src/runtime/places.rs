//! How many connections the whole process may hold, counted in one place.
//!
//! Promises: never more than the bound, and none refused while a place is free, whichever shard the kernel's hash sends
//! a connection to. Touched only when a connection comes or goes, never by a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::shortage;

/// The places of the process. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: AtomicU64,
    max: AtomicU64,
    /// Somebody found none, or they were all taken when somebody looked.
    were_full: AtomicBool,
}

impl Places {
    pub fn new(max: u64) -> Self {
        Self(Arc::new(Shared { taken: AtomicU64::new(0), max: AtomicU64::new(max), were_full: AtomicBool::new(false) }))
    }

    /// From now on so many. Who is there beyond it stays; nobody comes in before enough have gone.
    pub fn set_max(&self, max: u64) {
        self.0.max.store(max, Ordering::Relaxed);
    }

    /// How many are taken, and how many there are.
    pub fn taken(&self) -> (u64, u64) {
        (self.0.taken.load(Ordering::Relaxed), self.0.max.load(Ordering::Relaxed))
    }

    /// Whether newcomers find none: so when all are taken, and from then on until a hundredth is free.
    pub fn are_full(&self) -> bool {
        let ((taken, max), were_full) = (self.taken(), &self.0.were_full);
        let are_full = shortage::is_full(were_full.load(Ordering::Relaxed), taken, max);
        were_full.store(are_full, Ordering::Relaxed);
        are_full
    }

    /// Takes one place. False: all are taken.
    pub fn take(&self) -> bool {
        let max = self.0.max.load(Ordering::Relaxed);
        let one_more = |taken: u64| (taken < max).then_some(taken + 1);
        let took = self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !took {
            self.0.were_full.store(true, Ordering::Relaxed);
        }
        took
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
    fn who_was_told_that_no_place_is_left_is_told_so_until_a_hundredth_is_free() {
        let places = Places::new(200);
        let take = |count: u64| (0..count).filter(|_| places.take()).count() as u64;
        assert_eq!(take(199), 199);
        assert!(!places.are_full());
        assert_eq!(take(2), 1);
        places.give_back(1);
        assert!(places.are_full(), "somebody was refused, and one place is free");
        places.give_back(1);
        assert!(!places.are_full());
        assert!(take(1) == 1 && !places.are_full(), "it was not full since");
        places.set_max(199);
        assert!(places.are_full());
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

//! The fan-out spread: for one message the time between the first and the last member of its room that heard it.
//!
//! A room's members all sit at one worker, so both ends are read from one clock and the figure is exact for each message
//! that is followed. "Heard" is when this worker took the bytes from the socket: its own way round its connections is in
//! it. Which messages are followed is a matter of their numbers, one in `every` of each publisher, never of how they
//! fared; one that was not heard by everybody is counted as unfinished, one for which there was no room as skipped.
//!
//! Promises: bounded to [`FOLLOWED_MAX`] messages at a time and a number for each publisher of whom one was skipped; a message
//! that is not followed costs an addition and a comparison; nothing is followed from another than its first hearing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::latency::Latencies;
use crate::payload::Marker;

/// Followed at a time: some 700 KiB.
const FOLLOWED_MAX: usize = 16_384;

/// A message on its way to everybody.
struct Followed {
    first_ns: u64,
    /// Who have not heard it yet.
    missing: u32,
}

/// All messages that are followed in a phase.
pub(super) struct Spreads {
    mask: u32,
    hearers: u32,
    /// By publisher and number.
    followed: HashMap<u64, Followed>,
    /// By publisher: the newest of its messages that was skipped, and how many of all were.
    newest_skipped: HashMap<u32, u32>,
    skipped: u64,
    measured: Latencies,
}

/// What came of following.
pub(super) struct Followings {
    pub(super) measured: Latencies,
    /// Followed, and not heard by everybody.
    pub(super) unfinished: u64,
    /// Not followed, since too many others were.
    pub(super) skipped: u64,
}

impl Spreads {
    /// One message in `every` (a power of two) of those that `hearers` hear. Where that is one, there is no spread.
    pub(super) fn new(every: u32, hearers: u32) -> Self {
        let mask = every.max(1).next_power_of_two() - 1;
        let (followed, newest_skipped) = (HashMap::new(), HashMap::new());
        Self { mask, hearers, followed, newest_skipped, skipped: 0, measured: Latencies::new() }
    }

    /// Somebody heard this message now, for the first time and in order.
    pub(super) fn heard(&mut self, now_ns: u64, marker: &Marker) {
        if stagger(marker.publisher).wrapping_add(marker.seq) & self.mask == 0 {
            self.follow(now_ns, marker);
        }
    }

    fn follow(&mut self, now_ns: u64, marker: &Marker) {
        if self.hearers < 2 {
            return;
        }
        let is_full = self.followed.len() >= FOLLOWED_MAX;
        match self.followed.entry(u64::from(marker.publisher) << 32 | u64::from(marker.seq)) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().missing -= 1;
                if entry.get().missing == 0 {
                    self.measured.record_ns(now_ns.saturating_sub(entry.remove().first_ns));
                }
            }
            // Everybody hears a publisher's messages in order: somebody has heard those before a skipped one already, and
            // what is not followed of them was skipped, too, or has been heard by everybody.
            Entry::Vacant(_) if self.newest_skipped.get(&marker.publisher).is_some_and(|seq| marker.seq <= *seq) => {}
            Entry::Vacant(_) if is_full => {
                self.newest_skipped.insert(marker.publisher, marker.seq);
                self.skipped += 1;
            }
            Entry::Vacant(entry) => {
                entry.insert(Followed { first_ns: now_ns, missing: self.hearers - 1 });
            }
        }
    }

    pub(super) fn end(self) -> Followings {
        Followings { measured: self.measured, unfinished: self.followed.len() as u64, skipped: self.skipped }
    }
}

/// So that not all publishers' first messages are followed.
fn stagger(publisher: u32) -> u32 {
    publisher.wrapping_mul(0x9e37_79b1) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn marker(publisher: u32, seq: u32) -> Marker {
        Marker { room: 0, publisher, seq, intended_ns: 0, late_us: 0 }
    }

    #[test]
    fn it_is_the_time_from_the_first_to_the_last_who_heard_a_message() {
        let mut spreads = Spreads::new(1, 3);
        // Two messages that overtake each other on the way to three people.
        for (at_ms, seq) in [(100, 0), (104, 1), (110, 0), (111, 1), (130, 1), (160, 0)] {
            spreads.heard(at_ms * MS, &marker(7, seq));
        }
        let Followings { measured, unfinished, skipped: 0 } = spreads.end() else { panic!("nothing was skipped") };
        let quantiles = measured.quantiles();
        assert_eq!((quantiles.count, unfinished), (2, 0));
        assert!((quantiles.p50_ms - 26.0).abs() < 0.1 && (quantiles.max_ms - 60.0).abs() < 0.1, "{quantiles:?}");
    }

    #[test]
    fn a_message_that_somebody_has_not_heard_has_no_spread() {
        let mut spreads = Spreads::new(1, 3);
        spreads.heard(MS, &marker(7, 0));
        spreads.heard(2 * MS, &marker(7, 0));
        let Followings { measured, unfinished, skipped: 0 } = spreads.end() else { panic!("nothing was skipped") };
        assert!(measured.is_empty() && unfinished == 1);
    }

    #[test]
    fn one_in_so_many_of_every_publisher_is_followed_and_by_its_number_alone() {
        let mut spreads = Spreads::new(8, 2);
        for at in 0..2 {
            for (publisher, seq) in (0..10).flat_map(|publisher| (0..80).map(move |seq| (publisher, seq))) {
                spreads.heard(at * MS, &marker(publisher, seq));
            }
        }
        let Followings { measured, unfinished, skipped: 0 } = spreads.end() else { panic!("nothing was skipped") };
        assert_eq!((measured.quantiles().count, unfinished), (100, 0));
    }

    #[test]
    fn where_one_hears_a_message_nothing_is_followed() {
        let mut spreads = Spreads::new(1, 1);
        (0..10).for_each(|seq| spreads.heard(MS, &marker(7, seq)));
        let Followings { measured, unfinished, skipped: 0 } = spreads.end() else { panic!("nothing was skipped") };
        assert!(measured.is_empty() && unfinished == 0);
    }

    /// What was skipped began to be followed at a later hearing, never ended, and was told as not having reached everybody.
    #[test]
    fn what_is_followed_is_bounded_and_what_was_skipped_is_counted_once_and_never_followed_later() {
        let mut spreads = Spreads::new(1, 3);
        let many = FOLLOWED_MAX as u32 + 10;
        let mut hear = |at_ms: u64, of: std::ops::Range<u32>| {
            of.for_each(|seq| spreads.heard(at_ms * MS, &marker(7, seq)));
        };
        // The last ten are heard once while there is no room.
        hear(1, 0..many);
        // By two more, when there is room for them; and by then the publisher has gone on.
        hear(3, 0..FOLLOWED_MAX as u32);
        hear(5, 0..many);
        hear(6, FOLLOWED_MAX as u32..many);
        (0..3).for_each(|hearing| hear(7 + hearing, many..many + 5));
        assert_eq!((spreads.followed.len(), spreads.newest_skipped.len()), (0, 1));
        let Followings { measured, unfinished, skipped } = spreads.end();
        let quantiles = measured.quantiles();
        assert_eq!((quantiles.count, unfinished, skipped), (FOLLOWED_MAX as u64 + 5, 0, 10));
        assert!((quantiles.p50_ms - 4.0).abs() < 0.01 && quantiles.p50_ms == quantiles.max_ms, "{quantiles:?}");
    }
}

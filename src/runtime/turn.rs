//! What one turn of a shard did and where its time went: a histogram of all, a line in the log for the slow.
//!
//! Promises: an idle turn costs two looks at the clock, a busy one another for each part that did something. Must never
//! decide anything.

use super::clock::Clock;
use super::scrape::RuntimeCounts;

/// Upper ends of the histogram's buckets, in microseconds. The last bucket, behind these, has no end.
pub const TURN_BUCKETS_US: [u64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// How long turns took: how many in each bucket of [`TURN_BUCKETS_US`] and behind, and all of them in sum.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TurnTimes {
    pub buckets: [u64; TURN_BUCKETS_US.len() + 1],
    pub sum_us: u64,
}

impl TurnTimes {
    fn add(&mut self, us: u64) {
        self.buckets[TURN_BUCKETS_US.partition_point(|end| *end < us)] += 1;
        self.sum_us += us;
    }
}

/// The parts of a turn, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Tick,
    Accept,
    Events,
    Read,
    Mail,
    Write,
    Post,
}

/// The turn at hand.
#[derive(Debug)]
pub(super) struct Turn {
    clock: Clock,
    began_us: u64,
    looked_us: u64,
    parts_us: [u64; 7],
    before: RuntimeCounts,
}

impl Turn {
    pub(super) fn begin(clock: Clock, counts: &RuntimeCounts) -> Self {
        let began_us = clock.mono_us();
        Self { clock, began_us, looked_us: began_us, parts_us: [0; 7], before: *counts }
    }

    /// A part is over. Time of parts that did nothing counts to the next that did something.
    pub(super) fn end_of(&mut self, part: Part, did_something: bool) -> bool {
        if did_something {
            let now_us = self.clock.mono_us();
            self.parts_us[part as usize] += now_us - self.looked_us;
            self.looked_us = now_us;
        }
        did_something
    }

    /// The turn is over: counted, and how long it took in microseconds.
    pub(super) fn end(&self, times: &mut TurnTimes) -> u64 {
        let took_us = self.clock.mono_us() - self.began_us;
        times.add(took_us);
        took_us
    }

    /// What a slow turn did. `letters` are those of the parcels it took in.
    pub(super) fn tell(&self, shard: u16, took_us: u64, after: &RuntimeCounts) {
        let ms = |part: Part| self.parts_us[part as usize] / 1_000;
        let before = &self.before;
        tracing::warn!(
            shard,
            took_ms = took_us / 1_000,
            accepts = after.accepted - before.accepted,
            reads = after.reads - before.reads,
            read_bytes = after.received_bytes - before.received_bytes,
            letters = after.letters - before.letters,
            writes = after.writes - before.writes,
            written_bytes = after.written_bytes - before.written_bytes,
            tick_ms = ms(Part::Tick),
            accept_ms = ms(Part::Accept),
            events_ms = ms(Part::Events),
            read_ms = ms(Part::Read),
            mail_ms = ms(Part::Mail),
            write_ms = ms(Part::Write),
            post_ms = ms(Part::Post),
            "a slow turn"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_whose_end_it_does_not_pass() {
        let mut times = TurnTimes::default();
        for us in [0, 50, 51, 1_000_000, 1_000_001] {
            times.add(us);
        }
        assert_eq!((times.buckets[0], times.buckets[1], times.buckets[12], times.buckets[13]), (2, 1, 1, 1));
        assert_eq!(times.sum_us, 2_000_102);
    }

    #[test]
    fn the_time_of_a_turn_is_the_time_of_its_parts() {
        let clock = Clock::start();
        let mut turn = Turn::begin(clock, &RuntimeCounts::default());
        assert!(!turn.end_of(Part::Accept, false));
        assert!(turn.end_of(Part::Read, true) && turn.end_of(Part::Write, true));
        let took_us = turn.end(&mut TurnTimes::default());
        assert!(turn.parts_us.iter().sum::<u64>() <= took_us);
        assert_eq!(turn.parts_us[Part::Accept as usize], 0);
    }
}

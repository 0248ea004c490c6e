//! Rates in virtual time (GCRA): how often something may happen, by key.
//!
//! Of each key the table holds one number: when everything that happened so far would be over if it had happened evenly.
//! Promises: a key that has been quiet for its burst costs nothing; the table is bounded, and whoever finds it full is let
//! through uncounted, so that strangers cannot lock anybody out by being many.

use super::{Now, Rate, Seed, SeededMap};

/// What somebody is told who wants to do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Passes,
    /// It passes, but the table is full and nobody counted it.
    Uncounted,
    /// Not before so many milliseconds have passed (at least 1).
    Wait(u32),
}

/// Virtual times by key.
#[derive(Debug)]
pub struct Meter {
    /// Nanoseconds of the monotonic clock.
    due_ns: SeededMap<u64, u64>,
    swept_mono_ms: u64,
}

impl Meter {
    pub fn new(seed: &Seed) -> Self {
        Self { due_ns: SeededMap::with_hasher(seed.state()), swept_mono_ms: 0 }
    }

    /// Whether `cost` of it may happen now; if so it is counted. What costs more than the burst passes when nothing else
    /// happened for as long as the burst takes.
    pub fn admit(&mut self, now: Now, key: u64, rate: Rate, cost: u64, keys_max: usize) -> Verdict {
        if rate.per_minute == 0 {
            return Verdict::Passes;
        }
        let each_ns = MINUTE_NS / u64::from(rate.per_minute);
        let burst_ns = each_ns.saturating_mul(u64::from(rate.burst.max(1)));
        let cost_ns = each_ns.saturating_mul(cost).min(burst_ns);
        let now_ns = now.mono_ms.saturating_mul(MS_NS);
        let due_ns = self.due_ns.get(&key).copied().unwrap_or(0).max(now_ns);
        let ahead_ns = (due_ns - now_ns).saturating_add(cost_ns);
        if ahead_ns > burst_ns {
            return Verdict::Wait((ahead_ns - burst_ns).div_ceil(MS_NS).min(u64::from(u32::MAX)) as u32);
        }
        if self.due_ns.len() >= keys_max && !self.due_ns.contains_key(&key) {
            self.sweep(now, FULL_SWEEP_MS);
            if self.due_ns.len() >= keys_max {
                return Verdict::Uncounted;
            }
        }
        self.due_ns.insert(key, due_ns.saturating_add(cost_ns));
        Verdict::Passes
    }

    /// Forgets who has been quiet, if that was not done within `every_ms`.
    pub fn sweep(&mut self, now: Now, every_ms: u64) {
        if self.due_ns.is_empty() || now.since(self.swept_mono_ms) < every_ms {
            return;
        }
        self.swept_mono_ms = now.mono_ms;
        let now_ns = now.mono_ms.saturating_mul(MS_NS);
        self.due_ns.retain(|_, due_ns| *due_ns > now_ns);
        if self.due_ns.capacity() > 64 + 4 * self.due_ns.len() {
            self.due_ns.shrink_to(2 * self.due_ns.len());
        }
    }

    /// Keys that are not quiet yet, or were not looked at since.
    pub fn len(&self) -> usize {
        self.due_ns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due_ns.is_empty()
    }
}

const MS_NS: u64 = 1_000_000;
const MINUTE_NS: u64 = 60_000 * MS_NS;
/// A full table is looked through so often at most: each look costs its length.
const FULL_SWEEP_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(&Seed::new([1, 2]))
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };

    #[test]
    fn a_burst_passes_at_once_and_then_one_a_second() {
        let mut meter = meter();
        for _ in 0..3 {
            assert_eq!(meter.admit(at(5_000), 1, RATE, 1, 10), Verdict::Passes);
        }
        assert_eq!(meter.admit(at(5_000), 1, RATE, 1, 10), Verdict::Wait(1_000));
        assert_eq!(meter.admit(at(5_001), 1, RATE, 1, 10), Verdict::Wait(999), "being refused costs nothing");
        assert_eq!(meter.admit(at(6_000), 1, RATE, 1, 10), Verdict::Passes);
        assert_eq!(meter.admit(at(6_000), 1, RATE, 1, 10), Verdict::Wait(1_000));
        assert_eq!(meter.admit(at(6_000), 2, RATE, 1, 10), Verdict::Passes, "somebody else");
        assert_eq!(meter.admit(at(6_000), 1, Rate { per_minute: 0, burst: 1 }, 1, 10), Verdict::Passes);
    }

    #[test]
    fn over_ten_minutes_nobody_gets_more_than_the_rate_and_the_burst() {
        let mut meter = meter();
        let passed = (0..600_000).filter(|ms| meter.admit(at(*ms), 1, RATE, 1, 10) == Verdict::Passes).count();
        assert_eq!(passed, 600 + 2);
    }

    #[test]
    fn what_is_heavy_waits_for_its_weight_and_what_is_too_heavy_for_the_whole_burst() {
        let mut meter = meter();
        assert_eq!(meter.admit(at(0), 1, RATE, 2, 10), Verdict::Passes);
        assert_eq!(meter.admit(at(0), 1, RATE, 2, 10), Verdict::Wait(1_000));
        assert_eq!(meter.admit(at(0), 2, RATE, 900, 10), Verdict::Passes);
        assert_eq!(meter.admit(at(0), 2, RATE, 900, 10), Verdict::Wait(3_000));
    }

    #[test]
    fn a_full_table_locks_nobody_out_and_the_quiet_make_room() {
        let mut meter = meter();
        for key in 0..4 {
            assert_eq!(meter.admit(at(0), key, RATE, 1, 4), Verdict::Passes);
        }
        assert_eq!(meter.admit(at(0), 9, RATE, 1, 4), Verdict::Uncounted);
        assert_eq!(meter.admit(at(500), 3, RATE, 1, 4), Verdict::Passes, "who is in it is counted on");
        assert_eq!(meter.admit(at(1_200), 9, RATE, 1, 4), Verdict::Passes);
        assert_eq!(meter.len(), 2, "those who have been quiet are forgotten");
        meter.sweep(at(60_000), 1_000);
        assert!(meter.is_empty());
    }
}

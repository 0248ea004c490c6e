//! Rates in virtual time (GCRA): how often something may happen, by key.
//!
//! Of each key the table holds one number: when everything that happened so far would be over if it had happened evenly.
//! Promises: a key that has been quiet for its burst costs nothing; the table is bounded. Whoever finds it full can be
//! counted in the crowd: in two of a fixed number of cells that are shared, as addresses are. So nobody is counted too low
//! there, and too high only who shares *both* cells with busy others: of A who are at their limit that is (A / 4,096)².

use super::{Now, Rate, Seed, SeededMap};

/// What somebody is told who wants to do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Passes,
    /// The table is full: nobody counted it.
    Uncounted,
    /// Not before so many milliseconds have passed (at least 1).
    Wait(u32),
}

/// Virtual times by key.
#[derive(Debug)]
pub struct Meter {
    /// Nanoseconds of the monotonic clock.
    due_ns: SeededMap<u64, u64>,
    /// Likewise of those for whom the table had no place, two rows of cells; empty while there are none.
    crowd_ns: Vec<u64>,
    swept_mono_ms: u64,
}

impl Meter {
    pub fn new(seed: &Seed) -> Self {
        Self { due_ns: SeededMap::with_hasher(seed.state()), crowd_ns: Vec::new(), swept_mono_ms: 0 }
    }

    /// Whether `cost` of it may happen now; if so it is counted. What costs more than the burst passes when nothing else
    /// happened for as long as the burst takes.
    pub fn admit(&mut self, now: Now, key: u64, rate: Rate, cost: u64, keys_max: usize) -> Verdict {
        if rate.per_minute == 0 {
            return Verdict::Passes;
        }
        let due_ns = match due(now, self.due_ns.get(&key).copied().unwrap_or(0), rate, cost) {
            Ok(due_ns) => due_ns,
            Err(wait_ms) => return Verdict::Wait(wait_ms),
        };
        if self.due_ns.len() >= keys_max && !self.due_ns.contains_key(&key) {
            self.sweep(now, FULL_SWEEP_MS);
            if self.due_ns.len() >= keys_max {
                return Verdict::Uncounted;
            }
        }
        self.due_ns.insert(key, due_ns);
        Verdict::Passes
    }

    /// For whom [`Meter::admit`] found no place: counted in two cells that others are counted in, too. `key` must be well
    /// mixed. Never says [`Verdict::Uncounted`].
    pub fn admit_in_crowd(&mut self, now: Now, key: u64, rate: Rate, cost: u64) -> Verdict {
        if rate.per_minute == 0 {
            return Verdict::Passes;
        }
        if self.crowd_ns.is_empty() {
            self.crowd_ns = vec![0; 2 * CELLS];
        }
        let cells = [key as usize % CELLS, CELLS + (key >> 32) as usize % CELLS];
        let had_ns = cells.into_iter().map(|at| self.crowd_ns[at]).min().unwrap_or(0);
        match due(now, had_ns, rate, cost) {
            Ok(due_ns) => {
                // What the other cell has more is somebody else's.
                cells.into_iter().for_each(|at| self.crowd_ns[at] = self.crowd_ns[at].max(due_ns));
                Verdict::Passes
            }
            Err(wait_ms) => Verdict::Wait(wait_ms),
        }
    }

    /// Forgets who has been quiet, if that was not done within `every_ms`.
    pub fn sweep(&mut self, now: Now, every_ms: u64) {
        if self.due_ns.is_empty() && self.crowd_ns.is_empty() || now.since(self.swept_mono_ms) < every_ms {
            return;
        }
        self.swept_mono_ms = now.mono_ms;
        let now_ns = now.mono_ms.saturating_mul(MS_NS);
        self.due_ns.retain(|_, due_ns| *due_ns > now_ns);
        if self.crowd_ns.iter().all(|due_ns| *due_ns <= now_ns) {
            self.crowd_ns = Vec::new();
        }
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

    /// What keys and crowd take.
    pub fn bytes(&self) -> usize {
        self.due_ns.len() * size_of::<(u64, u64)>() + size_of_val(&self.crowd_ns[..])
    }
}

/// Until when somebody is busy, by virtual time, who was busy until `had_ns` and does this now; or how long to wait first, in
/// milliseconds.
fn due(now: Now, had_ns: u64, rate: Rate, cost: u64) -> Result<u64, u32> {
    let each_ns = MINUTE_NS / u64::from(rate.per_minute);
    let burst_ns = each_ns.saturating_mul(u64::from(rate.burst.max(1)));
    let cost_ns = each_ns.saturating_mul(cost).min(burst_ns);
    let now_ns = now.mono_ms.saturating_mul(MS_NS);
    let due_ns = had_ns.max(now_ns);
    let ahead_ns = (due_ns - now_ns).saturating_add(cost_ns);
    if ahead_ns > burst_ns {
        return Err((ahead_ns - burst_ns).div_ceil(MS_NS).min(u64::from(u32::MAX)) as u32);
    }
    Ok(due_ns.saturating_add(cost_ns))
}

const MS_NS: u64 = 1_000_000;
const MINUTE_NS: u64 = 60_000 * MS_NS;
/// Of each of the two rows of the crowd: 64 KiB for both.
const CELLS: usize = 4_096;
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
        assert_eq!(meter.bytes(), 4 * 16);
        assert_eq!(meter.admit(at(500), 3, RATE, 1, 4), Verdict::Passes, "who is in it is counted on");
        assert_eq!(meter.admit(at(1_200), 9, RATE, 1, 4), Verdict::Passes);
        assert_eq!(meter.len(), 2, "those who have been quiet are forgotten");
        meter.sweep(at(60_000), 1_000);
        assert!(meter.is_empty());
    }

    #[test]
    fn in_the_crowd_everybody_has_a_rate_and_who_shares_one_cell_with_the_busy_has_its_own() {
        let (mut meter, key) = (meter(), 7 << 32 | 7);
        let mut admits = |ms, key| meter.admit_in_crowd(at(ms), key, RATE, 1);
        assert_eq!(
            [0; 4].map(|_| admits(0, key)),
            [Verdict::Passes, Verdict::Passes, Verdict::Passes, Verdict::Wait(1_000)]
        );
        for beside in [7 << 32 | 8, 8 << 32 | 7] {
            assert_eq!(admits(0, beside), Verdict::Passes);
        }
        assert_eq!(admits(1_000, key), Verdict::Passes);
        assert_eq!(meter.admit_in_crowd(at(1_000), key, Rate { per_minute: 0, burst: 1 }, 1), Verdict::Passes);
        assert!(meter.bytes() > 0);
        meter.sweep(at(60_000), 1_000);
        assert_eq!(meter.bytes(), 0, "when all are quiet nothing is kept");
    }
}

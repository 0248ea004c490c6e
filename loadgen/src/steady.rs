//! Whether a server is at the end of a phase what it was at its begin: memory, latency, and what it closed or refused.
//!
//! The first quarter of the measured time stands against the last: what fills up once (logs, buffers) belongs into the
//! warm-up, and what goes on growing shows. Promises: what could not be read is unknown, never steady; differences that
//! every process has are not called growth.

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::orders::Interval;
use crate::sys::SECOND_NS;
use crate::watch::{Counters, Named, Reading, moved};

/// Memory is read so often in each quarter at most: reading it makes the kernel walk all of it.
const LOOKS: u64 = 20;
/// Fewer deliveries have no p99.
const DELIVERIES_MIN: u64 = 100;
/// Memory that comes and goes in any process.
const MEMORY_NOISE: u64 = 1 << 20;
/// A reading so far from an edge says nothing of it: the answer to the next question may be that late.
const NEAR_NS: u64 = 10 * SECOND_NS;
/// Counts are as of the last tick; of a question put so long after the end they hold all of it.
const TICKS_NS: u64 = 350_000_000;
/// Milliseconds that a p99 may differ by on a quiet machine.
const P99_NOISE_MS: f64 = 5.0;

/// How the server was in the first and in the last quarter.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Steadiness {
    /// Medians of its memory: private and dirty by its process, else resident by its `/metrics`; none: nobody could read it.
    pub(crate) memory_bytes: Option<(u64, u64)>,
    /// Of the deliveries heard in them; none: too few.
    pub(crate) p99_ms: Option<(f64, f64)>,
    /// Connections sent away and things refused, by its `/metrics`: from the last answer before the measured time to the
    /// first behind it. None: one of these is missing.
    pub(crate) closes: Option<u64>,
    pub(crate) refusals: Option<u64>,
    /// The same by the server's names for them.
    #[serde(skip_serializing_if = "Named::is_empty", default)]
    pub(crate) closes_by: Named,
    #[serde(skip_serializing_if = "Named::is_empty", default)]
    pub(crate) refusals_by: Named,
}

/// Something that grew: by how many percent, and from what to what in words.
#[derive(PartialEq, Debug)]
pub(crate) struct Growth {
    pub(crate) percent: f64,
    pub(crate) words: String,
}

impl Steadiness {
    /// None: not known.
    pub(crate) fn memory(&self) -> Option<Growth> {
        let (first, last) = self.memory_bytes?;
        let percent =
            if last <= first + MEMORY_NOISE { 0.0 } else { (last as f64 / first.max(1) as f64 - 1.0) * 100.0 };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Some(Growth { percent, words: format!("{:.1} to {:.1} MiB", mib(first), mib(last)) })
    }

    /// None: not known.
    pub(crate) fn p99(&self) -> Option<Growth> {
        let (first, last) = self.p99_ms?;
        let percent = if last <= first + P99_NOISE_MS { 0.0 } else { (last / first.max(1e-3) - 1.0) * 100.0 };
        Some(Growth { percent, words: format!("{first:.1} to {last:.1} ms") })
    }

    /// `3 (silent 1, slow 2)`. None: not known.
    pub(crate) fn closes_text(&self) -> Option<String> {
        Some(counted(self.closes?, &self.closes_by))
    }

    /// Likewise.
    pub(crate) fn refusals_text(&self) -> Option<String> {
        Some(counted(self.refusals?, &self.refusals_by))
    }

    /// For people.
    pub(crate) fn sentence(&self) -> String {
        let known = |text: Option<String>| text.unwrap_or_else(|| "not known".to_owned());
        format!(
            "first quarter to last: server's memory {}, p99 {}; it sent away {} and refused {}",
            known(self.memory().map(|growth| growth.words)),
            known(self.p99().map(|growth| growth.words)),
            known(self.closes_text()),
            known(self.refusals_text())
        )
    }
}

fn counted(count: u64, by: &Named) -> String {
    let names: Vec<String> = by.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if names.is_empty() { count.to_string() } else { format!("{count} ({})", names.join(", ")) }
}

/// What is gathered of a phase under way. Times count from the run's origin.
pub(crate) struct Gathering {
    from_ns: u64,
    to_ns: u64,
    heard: [Latencies; 2],
    memory: [Vec<u64>; 2],
    /// Before and behind the measured time, for phases too short to have been looked at in it.
    memory_at_edges: [Option<u64>; 2],
    look_ns: u64,
    /// What `/metrics` said last before the measured time, and first behind it.
    read_at_edges: [Option<Reading>; 2],
    /// Resident bytes, by the same.
    resident: [Vec<u64>; 2],
}

impl Gathering {
    /// The measured time; and the memory before it, if it is to be read, and what `/metrics` has said last.
    pub(crate) fn new(from_ns: u64, to_ns: u64, memory: Option<u64>, newest: Option<&Reading>) -> Self {
        Self {
            from_ns,
            to_ns,
            heard: [Latencies::new(), Latencies::new()],
            memory: [Vec::new(), Vec::new()],
            memory_at_edges: [memory, None],
            look_ns: from_ns,
            read_at_edges: [newest.filter(|reading| reading.answered_ns <= from_ns).cloned(), None],
            resident: [Vec::new(), Vec::new()],
        }
    }

    fn quarter_ns(&self) -> u64 {
        (self.to_ns - self.from_ns) / 4
    }

    /// The first or the last quarter, if it is one of them.
    fn quarter(&self, at_ns: u64) -> Option<usize> {
        if at_ns < self.from_ns + self.quarter_ns() {
            Some(0)
        } else {
            // What is heard after the end was sent before it.
            (at_ns >= self.to_ns - self.quarter_ns()).then_some(1)
        }
    }

    /// What a worker heard; only what was measured is in it.
    pub(crate) fn take(&mut self, interval: &Interval) {
        if let Some(quarter) = self.quarter(interval.second * SECOND_NS + SECOND_NS / 2) {
            self.heard[quarter].add(&interval.delivery);
        }
    }

    /// Whether the server's memory is to be read now.
    pub(crate) fn wants_memory(&self, at_ns: u64) -> bool {
        let is_read = self.memory_at_edges[0].is_some();
        is_read && (self.look_ns..self.to_ns).contains(&at_ns) && self.quarter(at_ns).is_some()
    }

    pub(crate) fn take_memory(&mut self, at_ns: u64, bytes: u64) {
        if let Some(quarter) = self.quarter(at_ns) {
            self.memory[quarter].push(bytes);
        }
        self.look_ns = at_ns + self.quarter_ns() / LOOKS;
    }

    /// What `/metrics` said; in the order in which it was asked.
    pub(crate) fn take_reading(&mut self, reading: Reading) {
        let inside = (self.from_ns..self.to_ns).contains(&reading.asked_ns);
        if let Some(quarter) = self.quarter(reading.asked_ns).filter(|_| inside) {
            self.resident[quarter].extend(reading.counters.resident);
        }
        if reading.answered_ns <= self.from_ns {
            self.read_at_edges[0] = Some(reading);
        } else if reading.asked_ns >= self.to_ns + TICKS_NS && self.read_at_edges[1].is_none() {
            self.read_at_edges[1] = Some(reading);
        }
    }

    /// Whether what `/metrics` says behind the measured time is still to be waited for.
    pub(crate) fn waits(&self, at_ns: u64) -> bool {
        let [before, behind] = &self.read_at_edges;
        before.is_some() && behind.is_none() && at_ns < self.to_ns + NEAR_NS
    }

    /// The readings around the measured time, where both were made soon enough.
    fn readings(&self) -> Option<[&Reading; 2]> {
        let [before, behind] = &self.read_at_edges;
        let (before, behind) = (before.as_ref()?, behind.as_ref()?);
        let near = before.asked_ns + NEAR_NS >= self.from_ns && behind.answered_ns <= self.to_ns + NEAR_NS;
        near.then_some([before, behind])
    }

    /// By quarter, as `/metrics` has it. Asked once a second, it must have answered at least half of the time.
    fn resident(&mut self) -> Option<(u64, u64)> {
        let seconds = (self.quarter_ns() / SECOND_NS) as usize;
        if seconds == 0 {
            let [before, behind] = self.readings()?;
            return before.counters.resident.zip(behind.counters.resident);
        }
        let enough = self.resident.iter().all(|bytes| 2 * bytes.len() >= seconds);
        let [first, last] = std::mem::take(&mut self.resident).map(median);
        first.zip(last).filter(|_| enough)
    }

    /// What came of it; `memory` is the server's after the measured time.
    pub(crate) fn found(mut self, memory: Option<u64>) -> Steadiness {
        self.memory_at_edges[1] = memory;
        let resident = self.resident();
        let counted = |of: fn(&Counters) -> Option<&Named>| {
            let [before, behind] = self.readings()?;
            moved(of(&before.counters), of(&behind.counters))
        };
        let (closes, refusals) = (counted(|all| all.closes.as_ref()), counted(|all| all.refusals.as_ref()));
        let edges = self.memory_at_edges;
        let [first, last] = self.memory.map(median);
        let of_process = first.or(edges[0]).zip(last.or(edges[1]));
        let [early, late] = self.heard.map(|heard| heard.quantiles());
        let enough = early.count.min(late.count) >= DELIVERIES_MIN;
        let sum = |moved: &Option<Named>| moved.as_ref().map(|moved| moved.values().sum());
        Steadiness {
            memory_bytes: of_process.or(resident),
            p99_ms: enough.then_some((early.p99_ms, late.p99_ms)),
            closes: sum(&closes),
            refusals: sum(&refusals),
            closes_by: closes.unwrap_or_default(),
            refusals_by: refusals.unwrap_or_default(),
        }
    }
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::Progress;

    const MIB: u64 = 1 << 20;
    const MINUTE: u64 = 60;

    fn interval(second: u64, ms: u64) -> Interval {
        let mut delivery = Latencies::new();
        (0..50).for_each(|_| delivery.record_ns(ms * 1_000_000));
        let none = Latencies::new;
        let totals = Progress::default();
        Interval { second, totals, delivery, ack: none(), lateness: none(), opening: none(), cpu_ns: 0, waited_ns: 0 }
    }

    /// An hour after a minute of warm-up, second by second, with the memory and the latency of each.
    fn hour(memory: impl Fn(u64) -> u64, ms: impl Fn(u64) -> u64) -> Steadiness {
        let (from, to) = (MINUTE, MINUTE + 3_600);
        let mut gathering = Gathering::new(from * SECOND_NS, to * SECOND_NS, Some(MIB), None);
        let mut looks = 0;
        for second in from..to {
            gathering.take(&interval(second, ms(second - from)));
            if gathering.wants_memory(second * SECOND_NS) {
                gathering.take_memory(second * SECOND_NS, memory(second - from));
                looks += 1;
            }
        }
        assert!((2 * LOOKS - 2..=2 * LOOKS + 2).contains(&looks), "{looks}");
        gathering.found(Some(0))
    }

    #[test]
    fn a_leak_grows_and_noise_does_not() {
        // 40 bytes for each of 200 messages a second.
        let leak = hour(|second| 40 * MIB + second * 200 * 40, |_| 3).memory().expect("was read");
        assert!((45.0..55.0).contains(&leak.percent), "{leak:?}");
        let noise = hour(|second| 40 * MIB + second % 7 * 200_000, |_| 3).memory().expect("was read");
        assert_eq!(noise.percent, 0.0, "{noise:?}");
        let peak = hour(|second| if second == 3_000 { 400 * MIB } else { 40 * MIB }, |_| 3).memory().expect("was read");
        assert_eq!(peak.percent, 0.0, "one reading is not the median: {peak:?}");
        let less = hour(|second| 40 * MIB - second * 1_000, |_| 3).memory().expect("was read");
        assert_eq!(less.percent, 0.0);
    }

    #[test]
    fn a_p99_of_the_last_quarter_is_held_against_the_first() {
        let slower = hour(|_| MIB, |second| 10 + second / 180).p99().expect("enough were heard");
        assert!((100.0..160.0).contains(&slower.percent), "{slower:?}");
        let noise = hour(|_| MIB, |second| 2 + second / 1_000).p99().expect("enough were heard");
        assert_eq!(noise.percent, 0.0, "{noise:?}");
        let middle = hour(|_| MIB, |second| if (1_000..2_600).contains(&second) { 900 } else { 3 });
        assert_eq!(middle.p99().map(|growth| growth.percent), Some(0.0), "what happened between is the p99's of all");
    }

    #[test]
    fn what_was_not_read_is_not_known_and_a_short_phase_has_its_edges() {
        let short = |memory| Gathering::new(10 * SECOND_NS, 12 * SECOND_NS, memory, None);
        let found = short(None).found(Some(5));
        assert_eq!(found, Steadiness::default());
        assert!(found.sentence().contains("memory not known"), "{}", found.sentence());
        assert!(!short(None).wants_memory(10 * SECOND_NS) && short(Some(MIB)).wants_memory(10 * SECOND_NS));
        let edges = short(Some(30 * MIB)).found(Some(60 * MIB));
        assert_eq!(edges.memory().map(|growth| growth.percent), Some(100.0));
    }

    /// Answered within 100 ms.
    fn reading(at_ms: u64, slow: u64, resident: u64) -> Reading {
        let slow = Named::from([("slow".to_owned(), slow)]);
        let counters = Counters { closes: Some(slow), refusals: Some(Named::new()), resident: Some(resident) };
        Reading { asked_ns: at_ms * 1_000_000, answered_ns: (at_ms + 100) * 1_000_000, counters }
    }

    /// A minute from the tenth second on, read at these milliseconds, the `n`th with `n` closes before it.
    fn read_at(at_ms: &[u64]) -> Gathering {
        let mut gathering = Gathering::new(10 * SECOND_NS, 70 * SECOND_NS, None, None);
        let readings =
            (0..).zip(at_ms).map(|(n, at_ms)| reading(*at_ms, n, if *at_ms < 40_000 { 30 } else { 60 } * MIB));
        readings.for_each(|reading| gathering.take_reading(reading));
        gathering
    }

    /// A growth that was divided by 0.9997 s and rounded up was two, and the last part of a second was left out.
    #[test]
    fn what_the_server_counted_is_the_difference_of_the_readings_around_the_time() {
        // Closed in the last 0.1 s of the time, and seen 0.7 s behind it.
        let found = read_at(&[9_000, 9_950, 70_700, 71_700]).found(None);
        assert_eq!((found.closes, found.closes_text().as_deref()), (Some(2), Some("2 (slow 2)")));
        assert_eq!(read_at(&[9_000, 9_900, 70_700]).found(None).closes, Some(1), "of before it is nothing");
        assert_eq!((found.refusals, found.refusals_text().as_deref()), (Some(0), Some("0")));
        assert!(found.sentence().ends_with("it sent away 2 (slow 2) and refused 0"), "{}", found.sentence());
        let newest = reading(9_500, 3, MIB);
        let mut given = Gathering::new(10 * SECOND_NS, 70 * SECOND_NS, None, Some(&newest));
        assert!(given.waits(70 * SECOND_NS) && !given.waits(80 * SECOND_NS));
        given.take_reading(reading(70_400, 3, MIB));
        assert!(!given.waits(71 * SECOND_NS));
        assert_eq!(given.found(None).closes, Some(0));
    }

    /// One answer in an hour was enough for "it closed nothing".
    #[test]
    fn a_listener_that_stopped_answering_leaves_it_unknown() {
        for (at_ms, why) in [
            (&[9_000, 9_500][..], "nothing behind it"),
            (&[10_500, 70_700], "nothing before it"),
            (&[9_000, 70_100], "the last tick may be missing"),
            (&[9_000, 85_000], "far behind it"),
            (&[9_950, 70_700], "that was answered when it had begun"),
        ] {
            let found = read_at(at_ms).found(None);
            assert_eq!((found.closes, found.refusals), (None, None), "{why}");
            assert!(found.sentence().ends_with("it sent away not known and refused not known"), "{why}");
        }
        let mut far = Gathering::new(30 * SECOND_NS, 70 * SECOND_NS, None, Some(&reading(9_000, 0, MIB)));
        far.take_reading(reading(70_400, 0, MIB));
        assert_eq!(far.found(None).closes, None, "far before it");
    }

    /// The median of one reading is that reading.
    #[test]
    fn resident_memory_is_known_by_half_of_its_seconds() {
        let seconds = |of_each_quarter: u64| -> Vec<u64> {
            let first = (0..of_each_quarter).map(|second| 10_000 + second * 1_000);
            first.chain((0..of_each_quarter).map(|second| 55_500 + second * 1_000)).collect()
        };
        let found = read_at(&seconds(8)).found(None);
        assert_eq!(found.memory_bytes, Some((30 * MIB, 60 * MIB)));
        assert_eq!(read_at(&seconds(7)).found(None).memory_bytes, None, "of fifteen");
        let mut short = Gathering::new(10 * SECOND_NS, 12 * SECOND_NS, None, Some(&reading(9_000, 0, 30 * MIB)));
        short.take_reading(reading(12_400, 0, 60 * MIB));
        assert_eq!(short.found(None).memory_bytes, Some((30 * MIB, 60 * MIB)), "where no quarter has a second");
    }
}

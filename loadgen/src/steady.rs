//! Whether a server is at the end of a phase what it was at its begin: memory, latency, and what it closed or refused.
//!
//! The first quarter of the measured time stands against the last: what fills up once (logs, buffers) belongs into the
//! warm-up, and what goes on growing shows. Promises: what could not be read is unknown, never steady; differences that
//! every process has are not called growth.

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;
use crate::orders::Interval;
use crate::sys::SECOND_NS;

/// Memory is read so often in each quarter at most: reading it makes the kernel walk all of it.
const LOOKS: u64 = 20;
/// Fewer deliveries have no p99.
const DELIVERIES_MIN: u64 = 100;
/// Memory that comes and goes in any process.
const MEMORY_NOISE: u64 = 1 << 20;
/// Milliseconds that a p99 may differ by on a quiet machine.
const P99_NOISE_MS: f64 = 5.0;

/// How the server was in the first and in the last quarter.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Steadiness {
    /// Medians of its memory: private and dirty by its process, else resident by its `/metrics`; none: nobody could read it.
    pub(crate) memory_bytes: Option<(u64, u64)>,
    /// Of the deliveries heard in them; none: too few.
    pub(crate) p99_ms: Option<(f64, f64)>,
    /// Connections closed and things refused in the whole measured time, by its `/metrics`.
    pub(crate) closes: Option<u64>,
    pub(crate) refusals: Option<u64>,
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

    /// For people.
    pub(crate) fn sentence(&self) -> String {
        let grown = |growth: Option<Growth>| growth.map_or_else(|| "not known".to_owned(), |growth| growth.words);
        let moved = |count: Option<u64>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
        format!(
            "first quarter to last: server's memory {}, p99 {}; it closed {} and refused {}",
            grown(self.memory()),
            grown(self.p99()),
            moved(self.closes),
            moved(self.refusals)
        )
    }
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
}

/// What the server's `/metrics` said in a phase.
#[derive(Default)]
pub(crate) struct Said {
    /// By quarter.
    pub(crate) resident: [Vec<f64>; 2],
    pub(crate) closes: Vec<f64>,
    pub(crate) refusals: Vec<f64>,
}

impl Gathering {
    /// The measured time; and the memory before it.
    pub(crate) fn new(from_ns: u64, to_ns: u64, memory: Option<u64>) -> Self {
        Self {
            from_ns,
            to_ns,
            heard: [Latencies::new(), Latencies::new()],
            memory: [Vec::new(), Vec::new()],
            memory_at_edges: [memory, None],
            look_ns: from_ns,
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
        (self.look_ns..self.to_ns).contains(&at_ns) && self.quarter(at_ns).is_some()
    }

    pub(crate) fn take_memory(&mut self, at_ns: u64, bytes: u64) {
        if let Some(quarter) = self.quarter(at_ns) {
            self.memory[quarter].push(bytes);
        }
        self.look_ns = at_ns + self.quarter_ns() / LOOKS;
    }

    /// The whole seconds of the two quarters, and of all of it.
    pub(crate) fn seconds(&self) -> [(u64, u64); 3] {
        let (from, to) = (self.from_ns / SECOND_NS, self.to_ns / SECOND_NS);
        let quarter = self.quarter_ns() / SECOND_NS;
        [(from, from + quarter), (to.saturating_sub(quarter), to), (from, to)]
    }

    /// What came of it; `memory` is the server's after the measured time.
    pub(crate) fn found(mut self, memory: Option<u64>, said: Said) -> Steadiness {
        self.memory_at_edges[1] = memory;
        let edges = self.memory_at_edges;
        let [first, last] = self.memory.map(median);
        let of_process = first.or(edges[0]).zip(last.or(edges[1]));
        let [first, last] = said.resident.map(|bytes| median(bytes.into_iter().map(|bytes| bytes as u64).collect()));
        let [early, late] = self.heard.map(|heard| heard.quantiles());
        let enough = early.count.min(late.count) >= DELIVERIES_MIN;
        let sum = |grown: Vec<f64>| (!grown.is_empty()).then(|| grown.iter().sum::<f64>().ceil() as u64);
        Steadiness {
            memory_bytes: of_process.or_else(|| first.zip(last)),
            p99_ms: enough.then_some((early.p99_ms, late.p99_ms)),
            closes: sum(said.closes),
            refusals: sum(said.refusals),
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
        let mut gathering = Gathering::new(from * SECOND_NS, to * SECOND_NS, Some(MIB));
        let mut looks = 0;
        for second in from..to {
            gathering.take(&interval(second, ms(second - from)));
            if gathering.wants_memory(second * SECOND_NS) {
                gathering.take_memory(second * SECOND_NS, memory(second - from));
                looks += 1;
            }
        }
        assert!((2 * LOOKS - 2..=2 * LOOKS + 2).contains(&looks), "{looks}");
        gathering.found(Some(0), Said::default())
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
        let gathering = Gathering::new(10 * SECOND_NS, 12 * SECOND_NS, None);
        assert_eq!(gathering.seconds(), [(10, 10), (12, 12), (10, 12)]);
        let found = gathering.found(Some(5), Said::default());
        assert_eq!(found, Steadiness::default());
        assert!(found.sentence().contains("memory not known"), "{}", found.sentence());
        let edges =
            Gathering::new(10 * SECOND_NS, 12 * SECOND_NS, Some(30 * MIB)).found(Some(60 * MIB), Said::default());
        assert_eq!(edges.memory().map(|growth| growth.percent), Some(100.0));
        let said = Said { resident: [vec![4e7], vec![8e7]], closes: vec![0.0, 2.0], refusals: vec![0.0] };
        let by_metrics = Gathering::new(0, 60 * SECOND_NS, None).found(None, said);
        assert_eq!(by_metrics.memory().map(|growth| growth.percent), Some(100.0));
        assert_eq!((by_metrics.closes, by_metrics.refusals), (Some(2), Some(0)));
        assert!(by_metrics.sentence().ends_with("it closed 2 and refused 0"), "{}", by_metrics.sentence());
    }
}

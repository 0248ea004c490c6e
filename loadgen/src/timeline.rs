//! A run second by second: what the workers said of each, merged, and what was seen of the server beside it.
//!
//! Promises: a second is closed when every worker has gone beyond it, so that none is counted twice or left out; only
//! open seconds keep their histograms, and all calm ones together one, however long the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calm::{Calm, CalmSeconds};
use crate::latency::{Latencies, Quantiles};
use crate::orders::{Interval, Progress};
use crate::sys::SECOND_NS;
use crate::watch::Metrics;

/// One second of a run.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Since the run's origin; the second begins there.
    pub(crate) second: u64,
    /// Seconds it stands for: more than one when a worker had no core for longer, and could not speak.
    #[serde(default = "one")]
    pub(crate) span_s: u64,
    /// Connections that sat in their rooms at its end.
    pub(crate) open: u64,
    pub(crate) cut: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) refused: u64,
    pub(crate) faults: u64,
    /// From the intended time, of measured messages that were heard in it.
    pub(crate) delivery: Quantiles,
    pub(crate) lateness_p99_ms: f64,
    /// Answers to measured publishes that came in it, and openings that ended on a seat.
    #[serde(skip_serializing_if = "Quantiles::is_empty", default)]
    pub(crate) ack: Quantiles,
    #[serde(skip_serializing_if = "Quantiles::is_empty", default)]
    pub(crate) opening: Quantiles,
    /// Cores used by all workers together, and by the busiest one (waiting for a core included).
    pub(crate) generator_cores: f64,
    pub(crate) busiest_worker: f64,
    /// Share of all cores' time that the host of this virtual machine kept for others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) stolen: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) server: Option<ServerSecond>,
}

fn one() -> u64 {
    1
}

/// The server in one second.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerSecond {
    /// None: its process is not looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) cores: Option<f64>,
    /// Cores used by each of its threads; a shard is a thread.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) threads: BTreeMap<String, f64>,
    /// What its `/metrics` says: counters as what they grew by in a second, gauges as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) metrics: BTreeMap<String, f64>,
    /// The same of each shard, by family and then by the shard's number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) shards: BTreeMap<String, BTreeMap<String, f64>>,
    /// 99 of 100 turns of all shards took at most so long (the upper end of the bucket they were counted in).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) turn_p99_ms: Option<f64>,
}

/// The second of who says nothing more.
const LEFT: u64 = u64::MAX;

/// A second that is not closed yet.
struct OpenSecond {
    sums: Second,
    delivery: Latencies,
    lateness: Latencies,
    ack: Latencies,
    opening: Latencies,
    /// By worker: CPU, and CPU with waiting.
    usage: BTreeMap<usize, (u64, u64)>,
}

/// All seconds.
pub(crate) struct Timeline {
    closed: Vec<Second>,
    open: BTreeMap<u64, OpenSecond>,
    /// By worker: what it last said, and of which second. Nothing more is expected of one that has left.
    workers: BTreeMap<usize, (u64, Progress)>,
    server: BTreeMap<u64, ServerSecond>,
    calm: CalmSeconds,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self {
            closed: Vec::new(),
            open: BTreeMap::new(),
            workers: BTreeMap::new(),
            server: BTreeMap::new(),
            calm: CalmSeconds::new(),
        }
    }

    /// Worker `index` begins, so long after the run's origin: from now on seconds wait for it.
    pub(crate) fn joins(&mut self, index: usize, since_origin_ns: u64) {
        let before = (since_origin_ns / SECOND_NS).saturating_sub(1);
        self.workers.insert(index, (before, Progress::default()));
    }

    /// Worker `index` says nothing more.
    pub(crate) fn leaves(&mut self, index: usize) {
        if let Some((second, _)) = self.workers.get_mut(&index) {
            *second = LEFT;
        }
    }

    /// Takes what worker `index` says.
    pub(crate) fn take(&mut self, index: usize, interval: &Interval) {
        let first_open = self.closed.last().map_or(0, |last| last.second + 1);
        let second = interval.second.max(first_open);
        let (_, before) = self.workers.insert(index, (second, interval.totals)).unwrap_or_default();
        let gathering = self.open.entry(second).or_insert_with(|| OpenSecond::new(second));
        let (sums, totals) = (&mut gathering.sums, &interval.totals);
        sums.cut += totals.cut.saturating_sub(before.cut);
        sums.sent += totals.sent.saturating_sub(before.sent);
        sums.received += totals.received.saturating_sub(before.received);
        sums.refused += totals.refused.saturating_sub(before.refused);
        sums.faults += totals.faults.saturating_sub(before.faults);
        gathering.delivery.add(&interval.delivery);
        gathering.lateness.add(&interval.lateness);
        gathering.ack.add(&interval.ack);
        gathering.opening.add(&interval.opening);
        let usage = gathering.usage.entry(index).or_default();
        (usage.0, usage.1) = (usage.0 + interval.cpu_ns, usage.1 + interval.cpu_ns + interval.waited_ns);
        // At the end of a phase a worker speaks within a second, and goes on with it.
        let beyond = self.workers.values().map(|(second, _)| *second).min().unwrap_or(0);
        self.close(beyond);
    }

    /// What the server's process and its threads used in `second`.
    pub(crate) fn take_cpu(&mut self, second: u64, cores: f64, threads: BTreeMap<String, f64>) {
        let seen = self.server.entry(second).or_default();
        (seen.cores, seen.threads) = (Some(cores), threads);
    }

    /// What the host kept for others in `second`.
    pub(crate) fn take_stolen(&mut self, second: u64, share: f64) {
        self.calm.note(second, share);
    }

    /// What `/metrics` said in `second`.
    pub(crate) fn take_metrics(&mut self, second: u64, metrics: Metrics) {
        let seen = self.server.entry(second).or_default();
        (seen.metrics, seen.shards, seen.turn_p99_ms) = (metrics.sums, metrics.by_shard, metrics.turn_p99_ms);
    }

    /// The greatest value that `/metrics` gave for `name` in these seconds; none: it was not asked, or did not say.
    pub(crate) fn most(&self, name: &str, from: u64, to: u64) -> Option<f64> {
        let seconds = self.server.range(from..=to.max(from));
        seconds.filter_map(|(_, seen)| seen.metrics.get(name).copied()).max_by(f64::total_cmp)
    }

    /// The last second that is closed, with what is known of the server in it.
    pub(crate) fn last(&self) -> Option<Second> {
        let last = self.closed.last()?;
        Some(Second { server: self.server.get(&last.second).cloned(), ..last.clone() })
    }

    /// All workers' totals.
    pub(crate) fn totals(&self) -> Progress {
        let mut all = Progress::default();
        for (_, worker) in self.workers.values() {
            all.open += worker.open;
            all.cut += worker.cut;
            all.sent += worker.sent;
            all.received += worker.received;
            all.refused += worker.refused;
            all.faults += worker.faults;
        }
        all
    }

    /// Everything so far; nothing is expected any more of seconds still open.
    pub(crate) fn seconds(&mut self) -> Vec<Second> {
        self.close(u64::MAX);
        let mut seconds = self.closed.clone();
        for second in &mut seconds {
            second.server = self.server.get(&second.second).cloned();
        }
        seconds
    }

    /// What was heard since the last call in the seconds in which the host took nothing; to be asked after
    /// [`Self::seconds`].
    pub(crate) fn calm(&mut self) -> Option<Calm> {
        std::mem::replace(&mut self.calm, CalmSeconds::new()).found()
    }

    /// Closes all seconds before `beyond`.
    fn close(&mut self, beyond: u64) {
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() < beyond) {
            let gathered = first.remove();
            self.calm.take(gathered.sums.second, &gathered.delivery);
            let mut second = gathered.closed();
            second.stolen = self.calm.stolen(second.second);
            second.open = self.totals().open;
            second.span_s = self.closed.last().map_or(1, |last| second.second - last.second);
            self.closed.push(second);
        }
    }
}

impl OpenSecond {
    fn new(second: u64) -> Self {
        Self {
            sums: Second { second, ..Second::default() },
            delivery: Latencies::new(),
            lateness: Latencies::new(),
            ack: Latencies::new(),
            opening: Latencies::new(),
            usage: BTreeMap::new(),
        }
    }

    fn closed(self) -> Second {
        let cores = |ns: u64| ns as f64 / 1e9;
        Second {
            delivery: self.delivery.quantiles(),
            lateness_p99_ms: self.lateness.quantiles().p99_ms,
            ack: self.ack.quantiles(),
            opening: self.opening.quantiles(),
            generator_cores: cores(self.usage.values().map(|(cpu, _)| cpu).sum()),
            busiest_worker: self.usage.values().map(|(_, busy)| cores(*busy)).fold(0.0, f64::max),
            ..self.sums
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(second: u64, sent: u64, deliveries: u64) -> Interval {
        let mut delivery = Latencies::new();
        (0..deliveries).for_each(|_| delivery.record_ns(1_000_000 * (second + 1)));
        let totals = Progress { open: 10, sent, received: 2 * sent, ..Progress::default() };
        let (mut ack, mut opening) = (Latencies::new(), Latencies::new());
        ack.record_ns(3_000_000);
        opening.record_ns(9_000_000);
        let (cpu_ns, waited_ns) = (250_000_000, 250_000_000);
        Interval { second, totals, delivery, ack, lateness: Latencies::new(), opening, cpu_ns, waited_ns }
    }

    /// With so many workers from the beginning.
    fn of(workers: usize) -> Timeline {
        let mut timeline = Timeline::new();
        (0..workers).for_each(|index| timeline.joins(index, 0));
        timeline
    }

    #[test]
    fn who_joins_later_is_waited_for_from_then_on_and_who_leaves_is_not() {
        let mut timeline = of(1);
        (0..5).for_each(|second| timeline.take(0, &interval(second, second, 1)));
        assert_eq!(timeline.last().map(|last| last.second), Some(3));
        timeline.joins(1, 5 * SECOND_NS + 7);
        (5..9).for_each(|second| timeline.take(0, &interval(second, second, 1)));
        assert_eq!(timeline.last().map(|last| last.second), Some(3), "the new one may still speak of the next");
        timeline.take(1, &interval(6, 3, 1));
        assert_eq!(timeline.last().map(|last| (last.second, last.open)), Some((5, 20)));
        timeline.leaves(1);
        timeline.take(0, &interval(9, 9, 1));
        assert_eq!(timeline.last().map(|last| last.second), Some(8));
        assert_eq!(timeline.totals().sent, 12);
    }

    #[test]
    fn a_second_is_closed_when_every_worker_is_beyond_it() {
        let mut timeline = of(2);
        timeline.take(0, &interval(0, 5, 10));
        timeline.take(0, &interval(1, 9, 8));
        assert!(timeline.last().is_none(), "the other has said nothing yet");
        timeline.take(1, &interval(0, 7, 14));
        timeline.take(1, &interval(1, 8, 2));
        let first = timeline.last().expect("the first is closed");
        assert_eq!((first.second, first.sent, first.received, first.open), (0, 12, 24, 20));
        assert_eq!(first.span_s, 1);
        assert_eq!((first.ack.count, first.opening.count, first.opening.max_ms.round()), (2, 2, 9.0));
        assert_eq!((first.delivery.count, first.generator_cores, first.busiest_worker), (24, 0.5, 0.5));
        timeline.take_cpu(0, 0.5, BTreeMap::new());
        assert_eq!(timeline.last().and_then(|last| last.server?.cores), Some(0.5));
        // Either may come first.
        let sums = BTreeMap::from([("throng_gaps_total".to_owned(), 3.0)]);
        timeline.take_metrics(1, Metrics { sums, ..Metrics::default() });
        timeline.take_cpu(1, 1.5, BTreeMap::new());
        let most = |from, to| timeline.most("throng_gaps_total", from, to);
        assert_eq!((most(0, 5), most(0, 0), timeline.most("throng_other", 0, 5)), (Some(3.0), None, None));
        let all = timeline.seconds();
        assert_eq!(all.iter().map(|second| second.sent).collect::<Vec<_>>(), [12, 5]);
        let server = all[1].server.clone().expect("was seen");
        assert_eq!((server.cores, server.metrics["throng_gaps_total"]), (Some(1.5), 3.0));
        assert_eq!(timeline.totals().sent, 17);
    }

    #[test]
    fn the_two_halves_of_a_second_are_one() {
        let mut timeline = of(1);
        for part in [interval(3, 4, 1), interval(3, 6, 1), interval(4, 6, 0)] {
            timeline.take(0, &part);
        }
        let seconds = timeline.seconds();
        assert_eq!(seconds.iter().map(|second| (second.second, second.sent)).collect::<Vec<_>>(), [(3, 6), (4, 0)]);
        assert_eq!(seconds[0].delivery.count, 2);
    }

    #[test]
    fn a_worker_that_could_not_speak_has_a_long_second() {
        let mut timeline = of(1);
        [2, 5, 6].into_iter().for_each(|second| timeline.take(0, &interval(second, 10 * second, 1)));
        let spans: Vec<_> =
            timeline.seconds().iter().map(|second| (second.second, second.span_s, second.sent)).collect();
        assert_eq!(spans, [(2, 1, 20), (5, 3, 30), (6, 1, 10)]);
    }

    #[test]
    fn nothing_is_lost_of_a_worker_that_speaks_of_a_closed_second() {
        let mut timeline = of(1);
        timeline.take(0, &interval(5, 4, 1));
        timeline.take(0, &interval(6, 6, 1));
        timeline.take(0, &interval(4, 9, 1));
        assert_eq!(timeline.seconds().iter().map(|second| second.sent).sum::<u64>(), 9);
    }
}

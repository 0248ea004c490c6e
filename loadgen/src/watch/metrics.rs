//! What the server's `/metrics` says of itself, once a second: of all shards together, of each, and what it counts by name.
//!
//! Promises: asking a server that is slow to answer never delays the run: a thread of its own asks and waits. A second
//! without an answer has no figures; the first failure is said, and none is a verdict by itself. Pure but for [`Asking::start`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::counters::{Counters, Reading};
use crate::scrape;
use crate::sys::{self, SECOND_NS};

/// Families kept; each summed over its labels.
const KEPT: &[&str] = &[
    "throng_connections",
    "throng_publishes_total",
    "throng_deliveries_total",
    "throng_bytes_out_total",
    "throng_readers_behind",
    "throng_unsent_bytes",
    "throng_inbox_parcels",
    "throng_gaps_total",
    "throng_refusals_total",
    "throng_closes_total",
    "process_resident_memory_bytes",
    "throng_turns_slow_total",
    "throng_ticks_late_total",
    "throng_ticks_stretched_total",
    "throng_send_budget_exhausted_total",
    "throng_pings_put_off_total",
];
/// Families kept shard by shard.
const KEPT_BY_SHARD: &[&str] = &[
    "throng_shard_busy_seconds_total",
    "throng_shard_deliveries_total",
    "throng_shard_inbox_parcels",
    "throng_shard_readers_behind",
    "throng_shard_ticks_stretched_total",
];
/// How long turns took, all shards together: how many by the upper end of their bucket.
const TURNS: &str = "throng_turn_seconds_bucket";

/// What one answer says, or what of it fell into one second: counters then are what they grew by in a second.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) sums: BTreeMap<String, f64>,
    /// By family, then by the number of the shard.
    pub(crate) by_shard: BTreeMap<String, BTreeMap<String, f64>>,
    /// Upper ends in seconds, and how many were not above them.
    pub(crate) turns: Vec<(f64, f64)>,
    /// Upper end of the bucket in which 99 of 100 turns of that second ended, ms.
    pub(crate) turn_p99_ms: Option<f64>,
}

/// How asking went.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scrapes {
    pub(crate) address: String,
    pub(crate) times: u64,
    /// How often there was no answer, and why the first time.
    pub(crate) failed: u64,
    #[serde(default)]
    pub(crate) why: Option<String>,
}

impl Scrapes {
    /// For people.
    pub(crate) fn sentence(&self) -> String {
        let Self { address, times, failed, .. } = self;
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(" (first: {why})"));
        format!("http://{address}/metrics did not answer {failed} of {times} times{why}")
    }
}

/// One question: when it was put and answered, since the run's origin, and what came.
struct Answer {
    asked_ns: u64,
    answered_ns: u64,
    said: Result<(Metrics, Counters), String>,
}

/// What came since it was taken the last time.
#[derive(Default)]
pub(super) struct Taken {
    /// By the second that it is of.
    pub(super) seconds: Vec<(u64, Metrics)>,
    pub(super) readings: Vec<Reading>,
    /// What is to be said of the first failure.
    pub(super) failure: Option<String>,
}

/// The thread that asks, and what it found so far.
pub(super) struct Asking {
    answers: Receiver<Answer>,
    /// From before the first second; taken once.
    first: Option<Reading>,
    before: Option<(u64, Metrics)>,
    pub(super) asked: Scrapes,
}

impl Asking {
    /// Errors: an address at which nobody answers now. The thread ends when nobody listens any more.
    pub(super) fn start(admin: SocketAddr, origin_ns: u64) -> Result<Self> {
        let (sender, answers) = channel();
        let Answer { asked_ns, answered_ns, said } = ask_once(admin, origin_ns);
        let (_, counters) = said.map_err(|why| anyhow!("--admin http://{admin}/metrics: {why}"))?;
        let ask = move || ask(admin, origin_ns, &sender);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(ask)
            .context("starting the thread that scrapes")?;
        let first = Some(Reading { asked_ns, answered_ns, counters });
        Ok(Self { first, ..Self::new(answers, admin.to_string()) })
    }

    fn new(answers: Receiver<Answer>, address: String) -> Self {
        Self { answers, first: None, before: None, asked: Scrapes { address, ..Scrapes::default() } }
    }

    /// What came since the last time.
    pub(super) fn take(&mut self) -> Taken {
        let mut taken = Taken { readings: self.first.take().into_iter().collect(), ..Taken::default() };
        let answers: Vec<Answer> = self.answers.try_iter().collect();
        for Answer { asked_ns, answered_ns, said } in answers {
            self.asked.times += 1;
            match said {
                Ok((now, counters)) => {
                    let before = self.before.replace((asked_ns, now.clone()));
                    let grown = now.grown(before.as_ref(), asked_ns);
                    taken.seconds.push(((asked_ns / SECOND_NS).saturating_sub(1), grown));
                    taken.readings.push(Reading { asked_ns, answered_ns, counters });
                }
                Err(why) => {
                    self.asked.failed += 1;
                    if self.asked.why.is_none() {
                        taken.failure = Some(format!(
                            "http://{}/metrics: {why} (said once; such seconds have no figures of the server)",
                            self.asked.address
                        ));
                        self.asked.why = Some(why);
                    }
                }
            }
        }
        taken
    }
}

impl Metrics {
    /// Counters as what they grew by in a second since `before`; without one they are not known. Gauges as they are.
    fn grown(self, before: Option<&(u64, Self)>, at_ns: u64) -> Self {
        let seconds = before.map_or(1.0, |(before_ns, _)| at_ns.saturating_sub(*before_ns).max(1) as f64 / 1e9);
        let before = before.map(|(_, before)| before);
        let grew = |name: &str, now: f64, then: Option<f64>| {
            // A server that was started anew counts from nothing.
            if name.ends_with("_total") { then.map(|then| (now - then).max(0.0) / seconds) } else { Some(now) }
        };
        let shard_before = |name: &str, shard: &str| before?.by_shard.get(name)?.get(shard).copied();
        let turn_p99_ms = before.and_then(|before| p99_ms(&self.turns, &before.turns));
        let sums = self.sums.into_iter().filter_map(|(name, now)| {
            let grown = grew(&name, now, before.and_then(|before| before.sums.get(&name).copied()))?;
            Some((name, grown))
        });
        let sums = sums.collect();
        let by_shard = self.by_shard.into_iter().map(|(name, shards)| {
            let shards = shards.into_iter().filter_map(|(shard, now)| {
                let grown = grew(&name, now, shard_before(&name, &shard))?;
                Some((shard, grown))
            });
            let shards = shards.collect();
            (name, shards)
        });
        let by_shard = by_shard.filter(|(_, shards): &(String, BTreeMap<String, f64>)| !shards.is_empty()).collect();
        Self { sums, by_shard, turns: Vec::new(), turn_p99_ms }
    }

    fn parse(answer: &str) -> Self {
        let mut metrics = Self::default();
        for (name, value) in answer.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            let (family, labels) = name.split_once('{').unwrap_or((name, ""));
            if KEPT.contains(&family) {
                *metrics.sums.entry(family.to_owned()).or_default() += value;
            } else if family == TURNS
                && let Some(end) = label(labels, "le").and_then(|end| end.parse().ok())
            {
                metrics.turns.push((end, value));
            } else if KEPT_BY_SHARD.contains(&family)
                && let Some(shard) = label(labels, "shard")
            {
                metrics.by_shard.entry(family.to_owned()).or_default().insert(shard.to_owned(), value);
            }
        }
        metrics
    }
}

/// The value of a label in `a="1",b="2"}`.
pub(super) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels
        .trim_end_matches('}')
        .split(',')
        .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// The upper end of the bucket that holds the 99th of a hundred of those that came since; of the last one, which has
/// none, its lower end. Counts are those of a bucket and all below it.
fn p99_ms(now: &[(f64, f64)], before: &[(f64, f64)]) -> Option<f64> {
    let then = |end: f64| before.iter().find(|(other, _)| *other == end).map_or(0.0, |(_, count)| *count);
    let grown: Vec<(f64, f64)> = now.iter().map(|(end, count)| (*end, count - then(*end))).collect();
    let all = grown.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
    let (end, _) = grown.iter().find(|(_, count)| *count >= all * 0.99)?;
    let finite = grown.iter().map(|(end, _)| *end).filter(|end| end.is_finite()).fold(0.0, f64::max);
    Some(end.min(finite) * 1e3)
}

fn ask(admin: SocketAddr, origin_ns: u64, sender: &Sender<Answer>) {
    loop {
        let now_ns = sys::monotonic_ns() - origin_ns;
        sys::rest_until(origin_ns + (now_ns / SECOND_NS + 1) * SECOND_NS);
        if sender.send(ask_once(admin, origin_ns)).is_err() {
            return;
        }
    }
}

fn ask_once(admin: SocketAddr, origin_ns: u64) -> Answer {
    let asked_ns = sys::monotonic_ns() - origin_ns;
    let answer = scrape::get(admin, "/metrics");
    let answered_ns = sys::monotonic_ns() - origin_ns;
    let said = answer.map(|answer| (Metrics::parse(&answer), Counters::parse(&answer)));
    Answer { asked_ns, answered_ns, said: said.map_err(|error| format!("{error:#}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusals: u64, shard_1: f64, fast: u64, slow: u64) -> String {
        format!(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE throng_refusals counter\nthrong_refusals_total{{code=\"busy\"}} {refusals}\n\
             throng_refusals_total{{code=\"too_long\"}} 1\nthrong_connections 7\nthrong_connections_max 9\n\
             throng_shard_busy_seconds_total{{shard=\"0\"}} 5.0\nthrong_shard_busy_seconds_total{{shard=\"1\"}} {shard_1}\n\
             throng_shard_inbox_parcels{{shard=\"1\"}} 3\nthrong_turn_seconds_sum 1.5\n\
             throng_turn_seconds_bucket{{le=\"0.0001\"}} {fast}\nthrong_turn_seconds_bucket{{le=\"0.005\"}} {}\n\
             throng_turn_seconds_bucket{{le=\"+Inf\"}} {}\n# EOF\n",
            fast + slow,
            fast + slow
        )
    }

    /// Asked at these seconds.
    fn asked(answers: Vec<(u64, Result<Metrics, String>)>) -> (Vec<(u64, Metrics)>, Option<String>, Scrapes) {
        let (sender, receiver) = channel();
        let mut asking = Asking::new(receiver, "127.0.0.1:1".to_owned());
        for (second, answer) in answers {
            let (asked_ns, answered_ns) = (second * SECOND_NS, second * SECOND_NS + 7);
            let said = answer.map(|metrics| (metrics, Counters::default()));
            sender.send(Answer { asked_ns, answered_ns, said }).expect("is heard");
        }
        let taken = asking.take();
        let read: Vec<u64> = taken.readings.iter().map(|reading| reading.asked_ns / SECOND_NS - 1).collect();
        assert_eq!(read, taken.seconds.iter().map(|(second, _)| *second).collect::<Vec<_>>());
        (taken.seconds, taken.failure, asking.asked)
    }

    #[test]
    fn families_are_summed_and_counters_become_what_they_grew_by_in_a_second() {
        let parsed = |refusals, shard_1| Ok(Metrics::parse(&text(refusals, shard_1, 0, 0)));
        let (found, said, asked) = asked(vec![(3, parsed(4, 1.0)), (4, parsed(10, 1.5)), (6, parsed(30, 3.5))]);
        assert_eq!((said, asked.times, asked.failed), (None, 3, 0));
        let refusals = |at: usize| found[at].1.sums.get("throng_refusals_total").copied();
        assert_eq!([refusals(0), refusals(1), refusals(2)], [None, Some(6.0), Some(10.0)], "over two seconds");
        assert_eq!(found.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!(found[0].1.sums, BTreeMap::from([("throng_connections".to_owned(), 7.0)]));
        let busy = &found[2].1.by_shard["throng_shard_busy_seconds_total"];
        assert_eq!((busy["0"], busy["1"]), (0.0, 1.0));
        assert_eq!(found[0].1.by_shard.keys().collect::<Vec<_>>(), ["throng_shard_inbox_parcels"], "a gauge at once");
    }

    #[test]
    fn the_p99_of_turns_is_the_end_of_its_bucket_and_of_that_second_alone() {
        let parsed = |fast, slow| Ok(Metrics::parse(&text(0, 0.0, fast, slow)));
        // A thousand slow turns from before; then one in 200, one in 50, none at all.
        let turns =
            vec![(1, parsed(0, 1_000)), (2, parsed(995, 1_005)), (3, parsed(1_975, 1_025)), (4, parsed(1_975, 1_025))];
        let (found, ..) = asked(turns);
        let p99: Vec<_> = found.iter().map(|(_, metrics)| metrics.turn_p99_ms).collect();
        assert_eq!(p99, [None, Some(0.1), Some(5.0), None]);
        let (unbounded, finite) = (f64::INFINITY, 0.25);
        assert_eq!(p99_ms(&[(finite, 0.0), (unbounded, 9.0)], &[]), Some(250.0), "at least that");
    }

    #[test]
    fn a_failure_is_said_once_and_leaves_no_figures() {
        let good = || Ok(Metrics::parse(&text(0, 0.0, 0, 0)));
        let bad = |why: &str| Err(why.to_owned());
        let (found, said, asked) = asked(vec![(1, good()), (2, bad("no answer")), (3, bad("again")), (4, good())]);
        assert_eq!(found.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [0, 3]);
        assert!(said.is_some_and(|said| said.contains("no answer") && said.contains("once")));
        assert_eq!((asked.times, asked.failed, asked.why.as_deref()), (4, 2, Some("no answer")));
    }
}

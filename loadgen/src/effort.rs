//! How hard the generator itself worked while it measured others: how late it was, and what CPU it used and waited for.
//!
//! Promises: what it was late with is its own alone: waiting for the server, or for a place that the server had not given
//! back, is none of it. Where it was itself the limit it says so, and no figure of that time is passed off as the server's.

use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, Quantiles};
use crate::proc::Process;
use crate::sys::{self, SECOND_NS};

/// A process is saturated above this share of a core (waiting for one included).
const SATURATED: f64 = 0.95;
/// In less time a share of a core says nothing.
const SHARE_NS_MIN: u64 = SECOND_NS;

/// A reading of this process's first thread, on which everything is measured; or what passed from one to another.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// When it was read; or how long it took.
    pub(crate) ns: u64,
    pub(crate) cpu_ns: u64,
    /// Ready to run, and without a core.
    pub(crate) waited_ns: u64,
}

impl Usage {
    pub(crate) fn at(now_ns: u64) -> Self {
        Self { ns: now_ns, cpu_ns: sys::thread_cpu_ns(), waited_ns: Process::this().waited_for_cpu_ns() }
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(earlier.ns),
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
        }
    }

    /// Shares of one core: used, and used or waited for.
    fn shares(&self) -> (f64, f64) {
        let of_core = |ns: u64| ns as f64 / self.ns.max(1) as f64;
        (of_core(self.cpu_ns), of_core(self.cpu_ns + self.waited_ns))
    }
}

/// The generator's part in a ramp, a storm or a round.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Effort {
    /// From when something was due and could be begun, until it was.
    pub(crate) lateness: Quantiles,
    pub(crate) cpu_s: f64,
    /// Of one core, the busiest process; and the same with the time it waited for a core.
    pub(crate) busiest: f64,
    pub(crate) busiest_with_waiting: f64,
    /// Why it was the limit, if it was.
    pub(crate) limit: Option<String>,
}

impl Effort {
    /// Of each process what it spent; `what` was late ("its own …"), and at p99 no more than `late_ms_max` is allowed.
    pub(crate) fn new(what: &str, lateness: &Latencies, spent: &[Usage], late_ms_max: f64) -> Self {
        let lateness = lateness.quantiles();
        let long = spent.iter().filter(|usage| usage.ns >= SHARE_NS_MIN).map(Usage::shares);
        let (busiest, busiest_with_waiting) =
            long.fold((0.0, 0.0), |(used, all): (f64, f64), share| (used.max(share.0), all.max(share.1)));
        Self {
            lateness,
            cpu_s: spent.iter().map(|usage| usage.cpu_ns).sum::<u64>() as f64 / 1e9,
            busiest,
            busiest_with_waiting,
            limit: limit(what, lateness.p99_ms, late_ms_max, (busiest, busiest_with_waiting)),
        }
    }

    /// For people.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{:.2} s CPU, the busiest process {:.0} % of a core ({:.0} % with waiting for one), late by {:.1} ms at p99{}",
            self.cpu_s,
            self.busiest * 100.0,
            self.busiest_with_waiting * 100.0,
            self.lateness.p99_ms,
            self.limit.as_ref().map_or_else(String::new, |limit| format!(": at its own limit, {limit}"))
        )
    }
}

/// That the generator was the limit, if it was: late by `late_ms` at p99, or its busiest process used `shares.0` of a core, and
/// with waiting for one `shares.1`.
pub(crate) fn limit(what: &str, late_ms: f64, late_ms_max: f64, shares: (f64, f64)) -> Option<String> {
    let (busiest, with_waiting) = shares;
    if late_ms > late_ms_max {
        Some(format!("{what} {late_ms:.1} ms late at p99"))
    } else if with_waiting > SATURATED {
        Some(format!(
            "its busiest worker used {:.0} % of a core and waited for one {:.0} % of the time",
            busiest * 100.0,
            (with_waiting - busiest) * 100.0
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_limit_when_it_was_late_or_had_no_core_left_and_a_moment_says_nothing() {
        let usage = |ns, cpu_ns, waited_ns| Usage { ns, cpu_ns, waited_ns };
        let mut late = Latencies::new();
        (0..100).for_each(|_| late.record_ns(20_000_000));
        let of = |lateness: &Latencies, spent: Usage| Effort::new("its own sends were", lateness, &[spent], 10.0);
        let idle = usage(2 * SECOND_NS, SECOND_NS / 10, 0);
        let never = Latencies::new();
        assert_eq!(of(&never, idle).limit, None);
        assert!(of(&late, idle).limit.is_some_and(|why| why.starts_with("its own sends were 20.0 ms late")));
        let starved = of(&never, usage(2 * SECOND_NS, SECOND_NS, SECOND_NS));
        assert!(starved.limit.is_some_and(|why| why.contains("used 50 % of a core and waited for one 50 %")));
        assert_eq!(of(&never, usage(SECOND_NS / 2, SECOND_NS / 2, 0)).limit, None);
    }

    #[test]
    fn a_reading_counts_on() {
        let first = Usage::at(5);
        let second = Usage::at(9).since(&first);
        assert_eq!(second.ns, 4);
        assert!(first.cpu_ns > 0 && second.cpu_ns < SECOND_NS * 600);
    }
}

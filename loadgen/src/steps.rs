//! Coming in, step by step: how long each took, and all of it.
//!
//! Promises: all steps count the same openings, those that ended on a seat. Retries hide nothing: tries that failed, and
//! the waiting between them, count into the first step of the one that came in.

use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, Quantiles};

/// One figure for each step.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Steps<T: Default> {
    /// From when the ramp wanted it to begin until the TCP connection stood.
    pub(crate) connect: T,
    /// From the HTTP request until its 101 was read.
    pub(crate) upgrade: T,
    /// From the join until its answer. Empty with servers that answer none.
    pub(crate) join: T,
    /// From when the ramp wanted it to begin until it sat: what a server says in between (its welcome) is in it.
    pub(crate) whole: T,
}

/// The times of one opening; nanoseconds of one clock.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Times {
    pub(crate) intended_ns: u64,
    pub(crate) connected_ns: u64,
    pub(crate) requested_ns: u64,
    pub(crate) upgraded_ns: u64,
    /// 0: it did not ask, or was not to be answered.
    pub(crate) asked_ns: u64,
}

impl Steps<Latencies> {
    /// It sits.
    pub(crate) fn record(&mut self, times: &Times, now_ns: u64) {
        self.connect.record_ns(times.connected_ns.saturating_sub(times.intended_ns));
        self.upgrade.record_ns(times.upgraded_ns.saturating_sub(times.requested_ns));
        if times.asked_ns > 0 {
            self.join.record_ns(now_ns.saturating_sub(times.asked_ns));
        }
        self.whole.record_ns(now_ns.saturating_sub(times.intended_ns));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.connect.add(&other.connect);
        self.upgrade.add(&other.upgrade);
        self.join.add(&other.join);
        self.whole.add(&other.whole);
    }

    pub(crate) fn quantiles(&self) -> Steps<Quantiles> {
        Steps {
            connect: self.connect.quantiles(),
            upgrade: self.upgrade.quantiles(),
            join: self.join.quantiles(),
            whole: self.whole.quantiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn each_step_is_its_own_and_the_whole_is_from_the_intended_time() {
        let times = |asked_ns| Times {
            intended_ns: 100 * MS,
            connected_ns: 130 * MS,
            requested_ns: 131 * MS,
            upgraded_ns: 136 * MS,
            asked_ns,
        };
        let (mut one, mut other) = (Steps::<Latencies>::default(), Steps::<Latencies>::default());
        one.record(&times(140 * MS), 142 * MS);
        // A server that answers no join.
        other.record(&times(0), 142 * MS);
        one.add(&other);
        let steps = one.quantiles();
        let round = |quantiles: &Quantiles| (quantiles.count, quantiles.max_ms.round());
        assert_eq!((round(&steps.connect), round(&steps.upgrade)), ((2, 30.0), (2, 5.0)));
        assert_eq!((round(&steps.join), round(&steps.whole)), ((1, 2.0), (2, 42.0)));
    }
}

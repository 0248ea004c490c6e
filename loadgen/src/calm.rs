//! The seconds in which the host of this virtual machine left it its cores.
//!
//! Promises: a second is calm only if it and the one before were seen whole, and the host kept at most a hundredth of all
//! cores' time for others in each. What is heard in calm seconds explains a figure; it never decides a verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::{Latencies, Quantiles};

/// What the seconds of a run are sorted by.
pub(crate) struct CalmSeconds {
    /// Share of all cores' time that was kept for others, of the last seconds.
    stolen: BTreeMap<u64, f64>,
    heard: Latencies,
    seconds: u64,
    all: u64,
}

/// What was heard while nobody else had this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calm {
    /// Calm seconds in which something measured was heard, of so many.
    pub(crate) seconds: u64,
    pub(crate) of: u64,
    /// From the intended time, of what was heard in them.
    pub(crate) delivery: Quantiles,
}

/// Two ticks of a machine of two cores.
const STOLEN_MAX: f64 = 0.01;
/// Nobody asks about a second that is this long over.
const KEPT: usize = 64;

impl CalmSeconds {
    pub(crate) fn new() -> Self {
        Self { stolen: BTreeMap::new(), heard: Latencies::new(), seconds: 0, all: 0 }
    }

    /// The host kept this share of all cores' time in `second`.
    pub(crate) fn note(&mut self, second: u64, stolen: f64) {
        self.stolen.insert(second, stolen);
        if self.stolen.len() > KEPT {
            self.stolen.pop_first();
        }
    }

    /// What the host kept in `second`, if that was seen.
    pub(crate) fn stolen(&self, second: u64) -> Option<f64> {
        self.stolen.get(&second).copied()
    }

    /// A second is over, and this was heard in it.
    pub(crate) fn take(&mut self, second: u64, heard: &Latencies) {
        if heard.is_empty() {
            return;
        }
        self.all += 1;
        let left_alone = |second| self.stolen(second).is_some_and(|stolen| stolen <= STOLEN_MAX);
        if left_alone(second) && second.checked_sub(1).is_some_and(left_alone) {
            self.seconds += 1;
            self.heard.add(heard);
        }
    }

    /// `None`: nobody can say, or every second was calm.
    pub(crate) fn found(&self) -> Option<Calm> {
        let told = !self.stolen.is_empty() && self.seconds < self.all;
        told.then(|| Calm { seconds: self.seconds, of: self.all, delivery: self.heard.quantiles() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_calm_when_it_and_the_one_before_were_left_alone() {
        let mut calm = CalmSeconds::new();
        let stolen = [0.0, 0.01, 0.0, 0.3, 0.0, 0.0];
        for (second, stolen) in stolen.into_iter().enumerate() {
            calm.note(second as u64, stolen);
        }
        for second in 0..8 {
            let mut heard = Latencies::new();
            heard.record_ns((second + 1) * 1_000_000);
            calm.take(second, &heard);
        }
        calm.take(2, &Latencies::new());
        let found = calm.found().expect("not all were calm");
        assert_eq!((found.seconds, found.of), (3, 8), "1, 2 and 5: nothing is known of what was before 0 and after 5");
        assert!((5.9..6.1).contains(&found.delivery.max_ms), "{found:?}");
    }

    #[test]
    fn where_all_is_calm_or_nothing_is_known_there_is_nothing_to_say() {
        let mut heard = Latencies::new();
        heard.record_ns(1_000_000);
        let mut unknown = CalmSeconds::new();
        unknown.take(1, &heard);
        assert_eq!(unknown.found(), None);
        let mut all = CalmSeconds::new();
        (0..3).for_each(|second| all.note(second, 0.0));
        (1..3).for_each(|second| all.take(second, &heard));
        assert_eq!(all.found(), None);
    }
}

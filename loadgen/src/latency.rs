//! Latencies in microseconds: recorded per worker, carried as sparse counts, merged by adding.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A histogram of three significant digits up to an hour. Small until something large is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// The figures people read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Quantiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The p99 where anything was measured.
    pub(crate) fn known_p99_ms(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.p99_ms)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are few enough"))
    }

    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.record_us(ns / 1_000, 1);
    }

    fn record_us(&mut self, us: u64, count: u64) {
        self.0.record_n(us.min(HOUR_US), count).expect("it grows up to an hour");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("it grows up to an hour, and none goes beyond");
    }

    /// What came since `earlier`, which is a copy of this one from before.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.0.subtract(&earlier.0).expect("an earlier copy holds nothing that this one does not");
        since
    }

    /// Quantile (0 to 1) and milliseconds, closer towards the end; empty when nothing was recorded.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        // Beyond one in so many there is nothing but the greatest.
        let known = QUANTILES.iter().filter(|quantile| (1.0 - **quantile) * self.0.len() as f64 >= 1.0);
        let points = known.map(|quantile| (*quantile, self.0.value_at_quantile(*quantile) as f64 / 1_000.0));
        let end = (!self.0.is_empty()).then(|| (1.0, self.0.max() as f64 / 1_000.0));
        points.chain(end).collect()
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        Quantiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.0.max() as f64 / 1_000.0,
        }
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::new();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            all.record_us(value, count);
        }
        Ok(all)
    }
}

const QUANTILES: [f64; 17] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.999_5, 0.999_9, 0.999_95, 0.999_99, 0.999_995,
    0.999_999,
];
const HOUR_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_and_merged_histograms_say_what_one_histogram_says() {
        let (mut one, mut left, mut right) = (Latencies::new(), Latencies::new(), Latencies::new());
        for ns in (0..200_000_u64).map(|step| step * step) {
            one.record_ns(ns);
            if ns % 3 == 0 { left.record_ns(ns) } else { right.record_ns(ns) }
        }
        let carried: Latencies = serde_json::from_str(&serde_json::to_string(&right).expect("writes")).expect("reads");
        left.add(&carried);
        let (one, merged) = (one.quantiles(), left.quantiles());
        assert_eq!((one.count, one.p50_ms, one.p99_ms), (merged.count, merged.p50_ms, merged.p99_ms));
        assert!((one.max_ms - merged.max_ms).abs() <= one.max_ms / 1_000.0, "the greatest within its step");
    }

    #[test]
    fn a_histogram_grows_with_what_it_takes_and_ends_at_an_hour() {
        let mut all = Latencies::new();
        let small = all.0.distinct_values();
        for ns in [5_000, 7_000_000, 90_000_000_000, u64::MAX] {
            all.record_ns(ns);
        }
        assert!(all.0.distinct_values() > small);
        let (quantiles, hour_ms) = (all.quantiles(), HOUR_US as f64 / 1_000.0);
        assert_eq!(quantiles.count, 4);
        assert!((quantiles.max_ms - hour_ms).abs() <= hour_ms / 1_000.0, "{quantiles:?}");
        let (mut fresh, mut larger) = (Latencies::new(), all.clone());
        fresh.record_ns(1_000_000);
        larger.add(&fresh);
        fresh.add(&all);
        assert_eq!(fresh.quantiles(), larger.quantiles());
        assert_eq!(fresh.since(&all).quantiles().count, 1);
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let mut all = Latencies::new();
        (0..100).for_each(|_| all.record_ns(5_000_000));
        let earlier = all.clone();
        (0..50).for_each(|_| all.record_ns(80_000_000));
        let since = all.since(&earlier).quantiles();
        assert_eq!((since.count, since.p50_ms.round()), (50, 80.0));
        assert_eq!(all.since(&all).quantiles().count, 0);
    }

    #[test]
    fn points_end_where_there_is_nothing_left_to_tell_apart() {
        let mut all = Latencies::new();
        (1..=1_000_u64).for_each(|ms| all.record_ns(ms * 1_000_000));
        let points = all.points();
        assert!(points.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{points:?}");
        assert_eq!(
            points.iter().map(|point| point.0).filter(|quantile| *quantile > 0.99).collect::<Vec<_>>(),
            [0.995, 0.999, 1.0]
        );
        assert!(Latencies::new().points().is_empty());
    }

    #[test]
    fn nothing_recorded_is_zero_everywhere() {
        assert_eq!(Latencies::new().quantiles(), Quantiles::default());
    }
}

//! How long messages wait here: from the moment a publish has its offset until its readers have been written.
//!
//! One sample per room, shard and write: the oldest message of that write, when the kernel has taken it for the last live
//! reader of the shard. So it is an upper bound of what live readers waited; who is behind is not in it (it reads at its
//! own pace, and is counted as behind).

/// Upper ends of the buckets in milliseconds.
pub const LATENCY_BUCKETS_MS: [u64; 9] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000];

/// A histogram: counts by bucket, one more for what lies behind them all, and the sum in milliseconds.
#[derive(Clone, Default, Debug)]
pub(super) struct Latency([u64; Self::CELLS]);

impl Latency {
    pub(super) const CELLS: usize = LATENCY_BUCKETS_MS.len() + 2;

    pub(super) fn add(&mut self, ms: u64) {
        self.0[LATENCY_BUCKETS_MS.partition_point(|end| *end < ms)] += 1;
        self.0[Self::CELLS - 1] += ms;
    }

    pub(super) fn cells(&self) -> &[u64; Self::CELLS] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_falls_into_the_bucket_whose_end_it_does_not_pass() {
        let mut latency = Latency::default();
        for ms in [0, 1, 2, 1_000, 1_001] {
            latency.add(ms);
        }
        assert_eq!(*latency.cells(), [2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2_004]);
    }
}

//! What a hand-over of a crowd came to, in figures: `./tuning/measure/drain` takes them from the line that is printed.
//!
//! Promises: only what was measured, whether it is good or not; who judges is somebody else.

use serde_json::{Value, json};

use crate::crowd::{Judged, Life};

/// One hand-over as it was seen from outside, in milliseconds since the crowd gathered.
pub(crate) struct HandOver<'a> {
    pub(crate) lives: &'a [Life],
    pub(crate) judged: &'a Judged,
    /// When the old server was told to leave.
    pub(crate) told_ms: u64,
    /// When its process had ended.
    pub(crate) ended_ms: u64,
    pub(crate) exit_code: Option<i32>,
    pub(crate) budget_s: usize,
}

impl HandOver<'_> {
    /// How long after its slot each of those was back who came back, in order.
    pub(crate) fn back_after_slot_ms(&self) -> Vec<u64> {
        // Everybody's lives lie one behind the other.
        let lives_of_one = self.lives.windows(2).filter(|two| two[0].node == "old" && two[1].node == "new");
        let after = |two: &[Life]| {
            let slot_ms = two[0].slots.first().copied().unwrap_or(0);
            two[1].began_ms.saturating_sub(self.told_ms + slot_ms)
        };
        let mut after: Vec<u64> = lives_of_one.map(after).collect();
        after.sort_unstable();
        after
    }

    pub(crate) fn figures(&self) -> Value {
        let Self { lives, judged, told_ms, ended_ms, exit_code, budget_s } = *self;
        let of = |node: &str| lives.iter().filter(move |life| life.node == node).collect::<Vec<_>>();
        let (old, new) = (of("old"), of("new"));
        let mut came_ms: Vec<u64> = new.iter().map(|life| life.began_ms.saturating_sub(told_ms)).collect();
        came_ms.sort_unstable();
        let within_a_second = |first: &u64| came_ms.iter().filter(|ms| (*first..first + 1_000).contains(ms)).count();
        let goodbye_ms =
            |life: &&Life| life.ended_ms.saturating_sub(told_ms + life.slots.first().copied().unwrap_or(0));
        let acks = |from_ms: u64, to_ms: u64| {
            let moments = lives.iter().flat_map(|life| life.acked.values().map(|(_, ms)| *ms));
            moments.filter(|ms| (from_ms..to_ms).contains(ms)).count() as u64 * 1_000 / (to_ms - from_ms).max(1)
        };
        let back_ms = self.back_after_slot_ms();
        let percentile = |percent: usize| back_ms.get(back_ms.len().saturating_sub(1) * percent / 100);
        json!({
            "people": old.len(),
            "back": back_ms.len(),
            "owed": judged.owed,
            "missing": judged.missing.len(),
            "unanswered": judged.unanswered.len(),
            "exit_code": exit_code,
            "budget_ms": budget_s * 1_000,
            "left_after_ms": ended_ms - told_ms,
            "acks_per_s_before": acks(told_ms.saturating_sub(3_000), told_ms),
            "acks_per_s_while_leaving": acks(told_ms, ended_ms),
            "all_back_after_ms": came_ms.last(),
            "peak_connects_per_s": came_ms.iter().map(within_a_second).max(),
            "latest_goodbye_after_slot_ms": old.iter().map(goodbye_ms).max(),
            "back_after_slot_ms": {"p50": percentile(50), "p99": percentile(99), "max": percentile(100)},
        })
    }
}

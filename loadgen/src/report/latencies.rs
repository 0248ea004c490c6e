//! The kinds of latency of a run or of one phase: merged from what the workers measured, and named.
//!
//! Promises: merged by adding histograms, never by averaging quantiles; a kind that was not measured is left out, not zero.

use serde::{Deserialize, Serialize};

use super::Report;
use crate::latency::{Latencies, Quantiles};
use crate::orders::PhaseResult;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LatencyReport {
    /// The headline: from the time the schedule wanted.
    pub(crate) delivery: Quantiles,
    /// The headline's quantiles (0 to 1) and milliseconds, for its curve.
    #[serde(default)]
    pub(crate) delivery_points: Vec<(f64, f64)>,
    pub(crate) delivery_from_send: Quantiles,
    /// The same of answers to publishes, and of the spread.
    #[serde(default)]
    pub(crate) ack_points: Vec<(f64, f64)>,
    #[serde(default)]
    pub(crate) spread_points: Vec<(f64, f64)>,
    /// From the first to the last of a room who heard a message; none where one hears it.
    #[serde(default)]
    pub(crate) spread: Quantiles,
    /// Of one message in so many; 0: it was not measured.
    #[serde(default)]
    pub(crate) spread_every: u32,
    /// How many of those were not heard by everybody, so that they have none.
    #[serde(default)]
    pub(crate) spread_unfinished: u64,
    /// How many were not followed, since a worker followed as many as it may.
    #[serde(default)]
    pub(crate) spread_skipped: u64,
    pub(crate) ack: Quantiles,
    /// The generator's own.
    pub(crate) lateness: Quantiles,
}

impl LatencyReport {
    pub(super) fn merge(results: &[&PhaseResult]) -> Self {
        let merged = |pick: fn(&PhaseResult) -> &Latencies| {
            let mut all = Latencies::new();
            results.iter().for_each(|result| all.add(pick(result)));
            all
        };
        let delivery = merged(|result| &result.delivery);
        let (spread, ack) = (merged(|result| &result.spread), merged(|result| &result.ack));
        Self {
            delivery: delivery.quantiles(),
            delivery_points: delivery.points(),
            delivery_from_send: merged(|result| &result.delivery_from_send).quantiles(),
            ack_points: ack.points(),
            spread_points: spread.points(),
            spread: spread.quantiles(),
            spread_every: results.iter().map(|result| result.spread_every).max().unwrap_or(0),
            spread_unfinished: results.iter().map(|result| result.spread_unfinished).sum(),
            spread_skipped: results.iter().map(|result| result.spread_skipped).sum(),
            ack: ack.quantiles(),
            lateness: merged(|result| &result.lateness).quantiles(),
        }
    }
}

impl LatencyReport {
    /// What the fan-out says nothing of, a sentence each.
    pub(super) fn unfollowed(&self) -> Vec<String> {
        let unfinished =
            format!("{} messages were not followed to the end: not everybody heard them", self.spread_unfinished);
        let skipped = format!("{} messages were not followed: too many others were under way", self.spread_skipped);
        let counts = [(self.spread_unfinished, unfinished), (self.spread_skipped, skipped)];
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, sentence)| sentence).collect()
    }
}

impl Report {
    /// Every kind of latency that was measured, the headline first, by the names that people read.
    pub(super) fn kinds(&self) -> Vec<(String, &Quantiles)> {
        let (latency, opened) = (&self.latency, &self.opened);
        let spread = match latency.spread_every {
            0 | 1 => "fan-out: first to last hearer".to_owned(),
            every => format!("fan-out: first to last, 1 in {every}"),
        };
        let kinds: [(String, &Quantiles); 9] = [
            ("delivery from intended time".to_owned(), &latency.delivery),
            ("delivery from actual send".to_owned(), &latency.delivery_from_send),
            (spread, &latency.spread),
            ("ack from intended time".to_owned(), &latency.ack),
            ("coming in, all steps".to_owned(), &opened.latency),
            ("  connect from intended time".to_owned(), &opened.steps.connect),
            ("  upgrade: request to 101".to_owned(), &opened.steps.upgrade),
            ("  join: sent to answered".to_owned(), &opened.steps.join),
            ("own lateness of sends".to_owned(), &latency.lateness),
        ];
        kinds.into_iter().filter(|(_, quantiles)| !quantiles.is_empty()).collect()
    }
}

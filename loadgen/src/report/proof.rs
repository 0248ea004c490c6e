//! What was proved of everybody: accounts of all workers, merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OFFENDERS_MAX;
use crate::orders::{Offender, PhaseResult};
use crate::proof::{Fault, FaultCounts};

/// The sums of all workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) faults: FaultCounts,
    pub(crate) offenders: Vec<Offender>,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) count_only_rooms: u64,
    /// Of those lost, at most so many were told missing by gaps.
    #[serde(default)]
    pub(crate) told_missing: u64,
    /// Heard so far behind others that nobody knows whether it was late or a copy: so much more may be lost and duplicated.
    #[serde(default)]
    pub(crate) late_or_copies: u64,
    pub(crate) deliveries_per_connection_min: u64,
    pub(crate) heartbeats: u64,
    pub(crate) heartbeats_per_connection_min: u64,
    pub(crate) open_at_end: u64,
    pub(crate) closes: BTreeMap<u16, u64>,
    pub(crate) refusals: BTreeMap<String, u64>,
}

impl Proof {
    pub(crate) fn merge(hold: bool, results: &[&PhaseResult]) -> Self {
        let sum = |pick: fn(&PhaseResult) -> u64| results.iter().map(|result| pick(result)).sum::<u64>();
        let min = |pick: fn(&PhaseResult) -> u64| results.iter().map(|result| pick(result)).min().unwrap_or(0);
        let mut faults = FaultCounts::new();
        let (mut closes, mut refusals, mut offenders) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for result in results {
            add(&mut faults, &result.judgement.faults);
            add(&mut closes, &result.closes);
            add(&mut refusals, &result.refusals);
            offenders.extend_from_slice(&result.offenders);
        }
        offenders.sort_by_key(|offender: &Offender| offender.at_ms.unwrap_or(u64::MAX));
        offenders.truncate(OFFENDERS_MAX);
        let deliveries_min = min(|result| result.judgement.deliveries_min);
        if hold && deliveries_min == 0 && !faults.contains_key(&Fault::Silent) {
            // In a hold everybody must hear something, also those whom nothing was sent to.
            faults.insert(Fault::Silent, 1);
        }
        Self {
            faults,
            offenders,
            sent: sum(|result| result.judgement.sent),
            accepted: sum(|result| result.judgement.accepted),
            acked: sum(|result| result.judgement.acked),
            refused: sum(|result| result.judgement.refused),
            expected: sum(|result| result.judgement.expected),
            received: sum(|result| result.judgement.received),
            count_only_rooms: sum(|result| result.judgement.count_only_rooms),
            told_missing: sum(|result| result.judgement.told_missing),
            late_or_copies: sum(|result| result.judgement.late_or_copies),
            deliveries_per_connection_min: deliveries_min,
            heartbeats: sum(|result| result.heartbeats),
            heartbeats_per_connection_min: min(|result| result.heartbeats_min),
            open_at_end: sum(|result| result.open),
            closes,
            refusals,
        }
    }

    /// What is not known to the last message, in sentences.
    pub(super) fn inexact(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.told_missing > 0 {
            sentences.push(format!("gaps told of {} of the lost", self.told_missing));
        }
        if self.late_or_copies > 0 {
            sentences.push(format!(
                "lost and duplicated are at least that many: {} came more than 32 offsets late, each as likely a copy",
                self.late_or_copies
            ));
        }
        sentences
    }
}

fn add<K: Ord + Clone>(all: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *all.entry(key.clone()).or_default() += count;
    }
}

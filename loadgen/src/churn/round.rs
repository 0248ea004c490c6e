//! One crowd that came and went: what it said and heard, what returned, and the generator's own part in it.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::counts::Counts;
use crate::effort::{Effort, Usage};
use crate::latency::Latencies;
use crate::orders::{Offender, Parted, PhaseResult};
use crate::proof::FaultCounts;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) connections: u32,
    pub(super) open_s: f64,
    pub(super) tried_again: u64,
    /// The generator's own part in coming.
    pub(super) coming: Effort,
    #[serde(skip)]
    pub(super) asked_to_talk: bool,
    #[serde(flatten)]
    pub(super) said: Said,
    pub(super) parted: Parted,
    /// From the last goodbye or reset until the server said that nobody was there.
    pub(super) return_s: f64,
    /// Private dirty bytes: with everybody there, and after.
    pub(super) memory_joined: u64,
    pub(super) memory_after: u64,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// What was said and heard where everybody talks.
#[derive(Clone, Default, Debug, Serialize)]
pub(super) struct Said {
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) refused: u64,
    /// Faults of the proof: all of them, and by name.
    pub(super) faults: u64,
    pub(super) faults_by_name: FaultCounts,
    /// The first of them.
    pub(super) offenders: Vec<Offender>,
    /// The generator's own part in it.
    pub(super) talking: Effort,
}

/// How many offenders a round names.
const OFFENDERS_MAX: usize = 16;

impl Said {
    pub(super) fn of(results: &[PhaseResult], late_ms_max: f64) -> Self {
        let (mut all, mut lateness, mut spent) = (Self::default(), Latencies::new(), Vec::new());
        for result in results {
            all.said += result.judgement.sent;
            all.heard += result.judgement.received;
            all.refused += result.judgement.refused;
            for (fault, count) in &result.judgement.faults {
                all.faults += count;
                *all.faults_by_name.entry(*fault).or_default() += count;
            }
            all.offenders.extend_from_slice(&result.offenders);
            lateness.add(&result.lateness);
            spent.push(Usage { ns: result.window_ns, cpu_ns: result.cpu_ns, waited_ns: result.waited_for_cpu_ns });
        }
        all.offenders.sort_by_key(|offender| offender.at_ms.unwrap_or(u64::MAX));
        all.offenders.truncate(OFFENDERS_MAX);
        all.talking = Effort::new("its own sends were", &lateness, &spent, late_ms_max);
        all
    }

    /// The faults in words, if there were any.
    pub(super) fn broken(&self) -> Option<String> {
        let names: Vec<String> =
            self.faults_by_name.iter().map(|(fault, count)| format!("{count} {}", fault.name())).collect();
        (self.faults > 0).then(|| format!("{} faults while everybody talked: {}", self.faults, names.join(", ")))
    }
}

impl Round {
    pub(super) const TITLES: &'static str = "round  connections   open s  again     said      heard  goodbyes  answered    reset  back s  joined MiB   after MiB  rows  sockets  rings  rooms   keys  reads";

    /// Why the generator itself was the limit of it, if it was.
    pub(super) fn limit(&self) -> Option<&String> {
        self.said.talking.limit.as_ref().or(self.coming.limit.as_ref())
    }
}

impl Display for Round {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (parted, counts) = (&self.parted, &self.counts);
        write!(
            f,
            "{:>12} {:>8.1} {:>6} {:>8} {:>10} {:>9} {:>9} {:>8} {:>7.1} {:>11.2} {:>11.2} {:>5} {:>8} {:>6} {:>6} {:>6} {:>6}",
            self.connections,
            self.open_s,
            self.tried_again,
            self.said.said,
            self.said.heard,
            parted.goodbyes,
            parted.answered,
            parted.reset,
            self.return_s,
            mib(self.memory_joined),
            mib(self.memory_after),
            counts.rows,
            counts.sockets,
            counts.rings,
            counts.rooms,
            counts.keys,
            counts.receipts
        )
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

//! The result of one run: merged, judged, printed, written as JSON.
//!
//! Promises: the verdict follows from the figures printed and nothing else; a broken promise outranks everything;
//! a generator that was itself the limit is never passed off as the server's figure; too little to judge is unknown.

mod compare;
mod html;
mod latencies;
mod limit;
mod phase;
mod proof;
mod table;

use serde::{Deserialize, Serialize};

use crate::about::About;
use crate::agent::Agent;
use crate::calm::Calm;
use crate::dialect::Protocol;
use crate::effort::{self, Effort};
use crate::kernel::KernelReport;
use crate::latency::Quantiles;
use crate::lengths::Lengths;
use crate::orders::{Offender, PhaseResult, Wire};
use crate::ramp::{LimitedBy, Stopped};
use crate::schedule::Arrivals;
use crate::shape::Sizes;
use crate::slo::Slo;
use crate::steps::Steps;
use crate::timeline::Second;
use crate::watch;
use crate::worker::UNANSWERED_MAX;
pub(crate) use compare::{ReportArgs, command};
pub(crate) use html::write as write_html;
pub(crate) use latencies::LatencyReport;
pub(crate) use limit::Limit;
pub(crate) use phase::{Measured, PhaseReport};
pub(crate) use proof::Proof;

/// What a run came to; the exit code of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Passed,
    /// A latency or rate that was asked for did not hold, and the server's side was the limit.
    SloMissed,
    ProofFailed,
    /// Too little was sent or had to be heard: there is nothing to judge.
    Unknown,
    GeneratorLimited,
}

impl Verdict {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::SloMissed => 1,
            Self::ProofFailed | Self::Unknown => 2,
            Self::GeneratorLimited => 3,
        }
    }

    /// When not everybody came in, and all else held.
    fn of_ramp(by: LimitedBy) -> Self {
        match by {
            LimitedBy::Memory | LimitedBy::Generator => Self::GeneratorLimited,
            LimitedBy::Server => Self::SloMissed,
        }
    }

    /// How it outranks the verdicts of other phases of a run.
    fn rank(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Unknown => 1,
            Self::GeneratorLimited => 2,
            Self::SloMissed => 3,
            Self::ProofFailed => 4,
        }
    }
}

/// What was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) scenario: Option<String>,
    pub(crate) url: String,
    pub(crate) connections: u32,
    pub(crate) rooms: u32,
    /// Of every room, or of the largest.
    pub(crate) room_size: u32,
    #[serde(default)]
    pub(crate) sizes: Sizes,
    #[serde(default)]
    pub(crate) guests: u32,
    pub(crate) publishers_per_room: u32,
    /// Over all phases, by their time.
    pub(crate) rate_per_s: f64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    /// On average.
    pub(crate) payload_bytes: u32,
    /// As it was written; none: from before it could be anything but one length.
    #[serde(default)]
    pub(crate) payload: Option<Lengths>,
    #[serde(default)]
    pub(crate) protocol: Protocol,
    pub(crate) encoding: Wire,
    pub(crate) arrivals: Arrivals,
    pub(crate) acks: bool,
    pub(crate) own_copies: bool,
    pub(crate) presence: bool,
    pub(crate) hold: bool,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) slo: Slo,
    pub(crate) slo_p99_ms: Option<f64>,
    pub(crate) lateness_p99_ms_max: f64,
}

/// The crowd on its way in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) seconds: f64,
    pub(crate) per_s: f64,
    pub(crate) retries: u64,
    /// All of it, from when the ramp wanted a connection to begin.
    pub(crate) latency: Quantiles,
    /// The same by its steps; empty: from before they were told apart.
    #[serde(default)]
    pub(crate) steps: Steps<Quantiles>,
    /// The generator's own part in it; none: from before it was measured.
    #[serde(default)]
    pub(crate) effort: Option<Effort>,
    pub(crate) heartbeat_ms: u64,
    /// In what time a server asks everybody once who is silent, by its defaults on one shard; 0: before it was reckoned.
    #[serde(default)]
    pub(crate) heartbeat_round_ms: u64,
    /// How many sat in whole rooms then, and were the crowd; 0: from before it was counted, when it was all.
    #[serde(default)]
    pub(crate) seated: u32,
    /// Why they were fewer than asked, if they were.
    #[serde(default)]
    pub(crate) stopped: Option<Stopped>,
}

impl Opened {
    /// Why the generator itself was the limit of coming in, if it was.
    pub(crate) fn limit(&self) -> Option<&String> {
        self.effort.as_ref()?.limit.as_ref()
    }

    /// Before anybody has come.
    pub(crate) fn nobody() -> Self {
        let latency = Quantiles::default();
        Self {
            seconds: 0.0,
            per_s: 0.0,
            retries: 0,
            latency,
            steps: Steps::default(),
            effort: None,
            heartbeat_ms: 0,
            heartbeat_round_ms: 0,
            seated: 0,
            stopped: None,
        }
    }
}

/// Counted in the measured window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rates {
    pub(crate) offered_per_s: f64,
    pub(crate) sent_per_s: f64,
    pub(crate) accepted_per_s: f64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) bytes_per_s: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) cpu_s: f64,
    /// Of one core, the busiest worker; and the same with the time it waited for a core.
    pub(crate) busiest_worker: f64,
    pub(crate) busiest_worker_with_waiting: f64,
    pub(crate) memory_bytes: u64,
    /// Above what an empty worker has: rows, proof, accounts.
    pub(crate) memory_per_connection: f64,
    /// Why it was the limit, if it was.
    pub(crate) limit: Option<String>,
}

/// The server under test, where its process can be looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) cpu_s: f64,
    pub(crate) cores_busy: f64,
    pub(crate) cpu_s_per_million_deliveries: Option<f64>,
    pub(crate) memory_before: u64,
    pub(crate) memory_joined: u64,
    pub(crate) memory_after: u64,
    pub(crate) bytes_per_connection_joined: f64,
    pub(crate) bytes_per_connection_after: f64,
    /// Of the measured time; the busiest of its threads.
    #[serde(default)]
    pub(crate) busiest_thread: Option<Thread>,
}

/// A thread and the share of a core it used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) share: f64,
}

/// The host of the generator in the measured time: shares of all its cores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cores: usize,
    pub(crate) idle: f64,
    /// Kept by the host of a virtual machine for others.
    pub(crate) stolen: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The form of this; 0: before it was counted.
    #[serde(default)]
    pub(crate) schema: u32,
    #[serde(default)]
    pub(crate) about: Option<About>,
    pub(crate) verdict: Verdict,
    pub(crate) exit_code: u8,
    /// Each a sentence: what was missed or broken.
    pub(crate) reasons: Vec<String>,
    pub(crate) asked: Asked,
    pub(crate) opened: Opened,
    /// The figures below are those of all phases together.
    #[serde(default)]
    pub(crate) phases: Vec<PhaseReport>,
    pub(crate) proof: Proof,
    pub(crate) rates: Rates,
    pub(crate) latency: LatencyReport,
    pub(crate) generator: Generator,
    pub(crate) server: Option<Server>,
    #[serde(default)]
    pub(crate) host: Option<Host>,
    /// What the kernel of the generator's host holds, where it says so.
    #[serde(default)]
    pub(crate) host_kernel: Option<KernelReport>,
    /// What the limit was, where not everything held.
    #[serde(default)]
    pub(crate) limit: Option<Limit>,
    /// What this run was a probe of, and what came of looking, a sentence each; empty: it was a run by itself.
    #[serde(default)]
    pub(crate) search: Vec<String>,
    /// Machines that others lent, one for each worker.
    #[serde(default)]
    pub(crate) agents: Vec<Agent>,
    /// What was heard while the host left both programs its cores; none: all the time, or nobody can say.
    #[serde(default)]
    pub(crate) calm: Option<Calm>,
    /// How asking the server for its `/metrics` went, where it was asked.
    #[serde(default)]
    pub(crate) metrics: Option<watch::Scrapes>,
    /// From the run's origin on.
    #[serde(default)]
    pub(crate) timeline: Vec<Second>,
}

/// The form of a report's JSON; goes up when a field changes its meaning or goes. 2: an SLO says `open.` where it said `join.`,
/// and `steady.closes` are those sent away, no longer all.
pub(crate) const SCHEMA: u32 = 2;
/// A rate is kept if this share of it was sent and accepted.
const RATE_KEPT: f64 = 0.98;
/// Fewer deliveries than this prove nothing; in a hold it is one for everybody.
const DELIVERIES_MIN: u64 = 100;
const OFFENDERS_MAX: usize = 20;

impl Report {
    /// Merges what the workers found in each phase (at least one), and judges it.
    pub(crate) fn new(
        asked: Asked,
        opened: Opened,
        memory: (u64, f64),
        server: Option<Server>,
        host: Option<Host>,
        measured: &[Measured],
    ) -> Self {
        let mut phases: Vec<PhaseReport> =
            measured.iter().map(|phase| PhaseReport::new(&asked, &opened, memory, phase)).collect();
        for at in 1..phases.len() {
            let before = phases[at - 1].slow.is_none().then_some(phases[at - 1].latency.delivery.p99_ms);
            if let Some(slow) = &mut phases[at].slow {
                slow.p99_before_ms = before;
            }
        }
        let results: Vec<&PhaseResult> = measured.iter().flat_map(|phase| &phase.results).collect();
        let latency = LatencyReport::merge(&results);
        let mut proof = Proof::merge(asked.hold, &results);
        if let Some(last) = measured.last() {
            proof.open_at_end = last.results.iter().map(|result| result.open).sum();
        }
        let rates = Rates::merge(asked.rate_per_s, asked.duration_s, &proof, &results);
        let generator = Generator::merge(asked.lateness_p99_ms_max, &latency, memory, &results);
        // The worst phase speaks first; of equals the earliest.
        let mut by_rank: Vec<&PhaseReport> = phases.iter().collect();
        by_rank.sort_by_key(|phase| std::cmp::Reverse(phase.verdict.rank()));
        let mut verdict = by_rank.first().map_or(Verdict::Unknown, |phase| phase.verdict);
        let held = matches!(verdict, Verdict::Passed | Verdict::Unknown);
        let mut limit = by_rank.first().filter(|_| !held).map(|phase| Limit::of(phase));
        let name =
            |phase: &PhaseReport| if phases.len() > 1 { format!("{}: ", phase.stage.name) } else { String::new() };
        let mut reasons: Vec<String> = by_rank
            .iter()
            .flat_map(|phase| phase.reasons.iter().map(move |why| format!("{}{why}", name(phase))))
            .collect();
        if let Some(stopped) = &opened.stopped {
            let sentence = format!("only {} of {} connections came in: {stopped}", opened.seated, asked.connections);
            let of_ramp = Verdict::of_ramp(stopped.by);
            if of_ramp.rank() > verdict.rank() {
                (verdict, limit) = (of_ramp, Some(Limit::of_ramp(stopped)));
                reasons.insert(0, sentence);
            } else {
                reasons.push(sentence);
            }
        }
        Self {
            schema: SCHEMA,
            about: None,
            verdict,
            exit_code: verdict.exit_code(),
            reasons,
            asked,
            opened,
            phases,
            proof,
            rates,
            latency,
            generator,
            server,
            host,
            host_kernel: None,
            limit,
            search: Vec::new(),
            agents: Vec::new(),
            calm: None,
            metrics: None,
            timeline: Vec::new(),
        }
    }

    /// The first offenders, those that people beside the crowd met among them.
    pub(crate) fn offenders(&self) -> Vec<&Offender> {
        let beside = self.phases.iter().flat_map(PhaseReport::offenders_beside);
        let mut all: Vec<&Offender> = self.proof.offenders.iter().chain(beside).collect();
        all.sort_by_key(|offender| offender.at_ms.unwrap_or(u64::MAX));
        all.truncate(OFFENDERS_MAX);
        all
    }

    /// How many came in, and were the crowd.
    pub(crate) fn seated(&self) -> u32 {
        if self.opened.seated == 0 { self.asked.connections } else { self.opened.seated }
    }

    /// Whether every connection is still there and every account is settled: the crowd can be used again.
    pub(crate) fn crowd_is_whole(&self) -> bool {
        let all_there = self.opened.stopped.is_none() && self.proof.open_at_end == u64::from(self.asked.connections);
        all_there && self.proof.faults.is_empty()
    }
}

impl Rates {
    fn merge(offered_per_s: f64, duration_s: f64, proof: &Proof, results: &[&PhaseResult]) -> Self {
        let sum = |pick: fn(&PhaseResult) -> u64| results.iter().map(|result| pick(result)).sum::<u64>();
        let per_s = |pick: fn(&PhaseResult) -> u64| sum(pick) as f64 / duration_s;
        let sent_per_s = per_s(|result| result.sent_in_window);
        let accepted_share = if proof.sent == 0 { 0.0 } else { proof.accepted as f64 / proof.sent as f64 };
        Self {
            offered_per_s,
            sent_per_s,
            accepted_per_s: sent_per_s * accepted_share,
            deliveries_per_s: per_s(|result| result.received_in_window),
            bytes_per_s: per_s(|result| result.bytes_in_window),
        }
    }
}

impl Generator {
    fn merge(lateness_ms_max: f64, latency: &LatencyReport, memory: (u64, f64), results: &[&PhaseResult]) -> Self {
        let share = |ns: u64, result: &PhaseResult| ns as f64 / result.window_ns.max(1) as f64;
        let busiest = |pick: fn(&PhaseResult) -> u64| {
            results.iter().map(|result| share(pick(result), result)).fold(0.0, f64::max)
        };
        let busiest_worker = busiest(|result| result.cpu_ns);
        let with_waiting = busiest(|result| result.cpu_ns + result.waited_for_cpu_ns);
        let held_back: u64 = results.iter().map(|result| result.held_back).sum();
        let limit = if held_back > 0 {
            Some(format!(
                "{held_back} messages were not sent, each behind {UNANSWERED_MAX} of its publisher's without an answer"
            ))
        } else {
            let shares = (busiest_worker, with_waiting);
            effort::limit("its own sends were", latency.lateness.p99_ms, lateness_ms_max, shares)
        };
        Self {
            cpu_s: results.iter().map(|result| result.cpu_ns).sum::<u64>() as f64 / 1e9,
            busiest_worker,
            busiest_worker_with_waiting: with_waiting,
            memory_bytes: memory.0,
            memory_per_connection: memory.1,
            limit,
        }
    }
}

#[cfg(test)]
mod tests;

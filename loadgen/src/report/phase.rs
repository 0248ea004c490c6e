//! One phase of a run, judged by itself.

use serde::{Deserialize, Serialize};

use super::{Asked, DELIVERIES_MIN, Generator, Host, LatencyReport, Opened, Proof, RATE_KEPT, Rates, Thread, Verdict};
use crate::beside::{GuestReport, SlowReport};
use crate::edges::Spent;
use crate::orders::{Offender, PhaseResult};
use crate::schedule::Arrivals;
use crate::slo::Figures;
use crate::stage::Stage;
use crate::steady::Steadiness;

/// What the workers found in one phase.
pub(crate) struct Measured {
    pub(crate) stage: Stage,
    /// Where its measured time lies, in seconds since the run began.
    pub(crate) window_s: (f64, f64),
    /// CPU time of the server and of the host in it.
    pub(crate) spent: Spent,
    pub(crate) results: Vec<PhaseResult>,
    /// Whether everybody had to answer a heartbeat.
    pub(crate) heartbeat_needed: bool,
    /// Those beside the crowd.
    pub(crate) slow: Option<SlowReport>,
    pub(crate) guests: Option<GuestReport>,
    /// Its end beside its begin, where that is asked.
    pub(crate) steady: Option<Steadiness>,
}

impl Measured {
    /// Whether somebody was lost or heard something wrong: the crowd is no longer what it was.
    pub(crate) fn is_broken(&self) -> bool {
        self.results.iter().any(|result| !result.judgement.faults.is_empty())
    }
}

/// One phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PhaseReport {
    pub(crate) stage: Stage,
    pub(crate) window_s: (f64, f64),
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<String>,
    pub(crate) proof: Proof,
    pub(crate) rates: Rates,
    pub(crate) latency: LatencyReport,
    pub(crate) generator: Generator,
    /// The server in this phase, where its process can be looked at, and the host.
    pub(crate) server_cores: Option<f64>,
    pub(crate) busiest_thread: Option<Thread>,
    pub(crate) host: Option<Host>,
    /// Whether everybody had to answer a heartbeat: in a hold that is long enough for everybody's.
    #[serde(default)]
    pub(crate) heartbeat_needed: bool,
    /// Those beside the crowd, where there were any.
    #[serde(default)]
    pub(crate) slow: Option<SlowReport>,
    #[serde(default)]
    pub(crate) guests: Option<GuestReport>,
    /// Its end beside its begin, where that was asked.
    #[serde(default)]
    pub(crate) steady: Option<Steadiness>,
}

impl PhaseReport {
    pub(super) fn new(asked: &Asked, opened: &Opened, memory: (u64, f64), measured: &Measured) -> Self {
        let results: Vec<&PhaseResult> = measured.results.iter().collect();
        let stage = measured.stage.clone();
        let latency = LatencyReport::merge(&results);
        let proof = Proof::merge(asked.hold, &results);
        let rates = Rates::merge(stage.rate, stage.duration_s, &proof, &results);
        let generator = Generator::merge(asked.lateness_p99_ms_max, &latency, memory, &results);
        let seconds = stage.duration_s;
        let server_cores = measured.spent.cpu_ns.map(|ns| ns as f64 / 1e9 / seconds);
        let mut phase = Self {
            server_cores,
            busiest_thread: measured.spent.busiest_thread(seconds),
            host: measured.spent.host(),
            stage,
            window_s: measured.window_s,
            verdict: Verdict::Passed,
            reasons: Vec::new(),
            proof,
            rates,
            latency,
            generator,
            heartbeat_needed: measured.heartbeat_needed,
            slow: measured.slow.clone(),
            guests: measured.guests.clone(),
            steady: measured.steady.clone(),
        };
        phase.judge(asked, opened);
        phase
    }

    fn judge(&mut self, asked: &Asked, opened: &Opened) {
        let mut broken: Vec<String> =
            self.proof.faults.iter().map(|(fault, count)| format!("{count} {}", fault.name())).collect();
        broken.extend(self.slow.iter().flat_map(SlowReport::broken));
        broken.extend(self.guests.iter().flat_map(GuestReport::broken));
        if !broken.is_empty() {
            self.reasons.push(format!("the proof failed: {}", broken.join(", ")));
        }
        let slo = self.stage.slo.judge(&Figures {
            delivery: &self.latency.delivery,
            ack: &self.latency.ack,
            open: &opened.latency,
            refused: self.proof.refused,
            steady: self.steady.as_ref(),
        });
        let missed: Vec<String> = self.rate_not_sent(asked).into_iter().chain(slo.missed).collect();
        // Coming in had its own time, in which the generator may have been the limit or not.
        let excused = (missed.is_empty() || self.generator.limit.is_some())
            && (slo.missed_coming_in.is_empty() || opened.limit().is_some());
        let limits = [(&missed, self.generator.limit.clone()), (&slo.missed_coming_in, opened.limit().cloned())];
        let of_missed = limits.into_iter().filter(|(missed, _)| !missed.is_empty()).find_map(|(_, limit)| limit);
        self.generator.limit = of_missed.or_else(|| self.generator.limit.take());
        let missed: Vec<String> = missed.into_iter().chain(slo.missed_coming_in).collect();
        let mut in_any_case: Vec<String> = self.rate_not_taken().into_iter().collect();
        in_any_case.extend(self.guests.iter().flat_map(GuestReport::missed));
        in_any_case.extend(slo.missed_in_any_case);
        // In a hold everybody hears something, and that is what it is for.
        let needed = if asked.hold { 1 } else { DELIVERIES_MIN };
        let too_little = self.proof.expected < needed;
        if too_little {
            self.reasons.push(match self.proof.expected {
                0 => "nothing had to be heard: there is nothing to judge".to_owned(),
                few => format!(
                    "only {few} deliveries were owed, at least {needed} are needed to judge: a higher --rate, or longer"
                ),
            });
        }
        let beside = self.shows_nothing();
        self.verdict = if !broken.is_empty() {
            Verdict::ProofFailed
        } else if too_little || beside.is_some() {
            Verdict::Unknown
        } else if !in_any_case.is_empty() {
            Verdict::SloMissed
        } else if !missed.is_empty() {
            if excused { Verdict::GeneratorLimited } else { Verdict::SloMissed }
        } else if slo.unknown.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Unknown
        };
        self.reasons.extend(beside);
        self.reasons.extend(in_any_case);
        self.reasons.extend(missed);
        self.reasons.extend(slo.unknown);
        if let Some(limit) = &self.generator.limit {
            self.reasons.push(format!("the generator was at its own limit: {limit}"));
        }
    }

    /// Why those beside the crowd show nothing of the server, if they do not.
    fn shows_nothing(&self) -> Option<String> {
        let slow = self.slow.as_ref().and_then(SlowReport::shows_nothing);
        slow.or_else(|| self.guests.as_ref().and_then(GuestReport::shows_nothing))
    }

    /// Those that people beside the crowd met.
    pub(super) fn offenders_beside(&self) -> impl Iterator<Item = &Offender> {
        let slow = self.slow.iter().flat_map(|slow| &slow.offenders);
        slow.chain(self.guests.iter().flat_map(|guests| &guests.offenders))
    }

    /// The rate that was asked and that we did not send.
    fn rate_not_sent(&self, asked: &Asked) -> Option<String> {
        let Stage { rate, duration_s, .. } = self.stage;
        let measured = rate * duration_s;
        // Each worker rounds its share; Poisson arrivals scatter by the root of their number.
        let scatter = asked.workers as f64
            + 1.0
            + if self.stage.arrivals == Arrivals::Poisson { 4.0 * measured.sqrt() } else { 0.0 };
        (self.rates.sent_per_s * duration_s + scatter < measured * RATE_KEPT)
            .then(|| format!("the rate was not sent: {:.1} of {rate:.1} messages/s", self.rates.sent_per_s))
    }

    /// The rate that we sent and the server did not take.
    fn rate_not_taken(&self) -> Option<String> {
        ((self.proof.accepted as f64) < self.proof.sent as f64 * RATE_KEPT)
            .then(|| format!("the server refused {} of {} messages", self.proof.refused, self.proof.sent))
    }
}

//! What the limit was, by figures.
//!
//! Promises: says `server` only with a figure of the server; where no figure names anybody it says that only the wish
//! was missed.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::{PhaseReport, Verdict};
use crate::ramp::{LimitedBy, Stopped};

/// Who could do no more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "who")]
pub(crate) enum Limit {
    /// Everything tried held.
    NotReached,
    /// Lateness or CPU of the generator itself.
    Generator { sentence: String },
    /// A thread of the server, or all it may use, was busy.
    ServerCpu { sentence: String },
    /// Nobody on this host had CPU left.
    HostCpu { sentence: String },
    /// The ramp ended where the memory of the generator's host did.
    HostMemory { sentence: String },
    /// The ramp ended where the server let nobody in any more.
    Door { sentence: String },
    /// Something was lost or broken.
    Promise { sentence: String },
    /// What was asked was missed, with CPU left on both sides as far as can be seen.
    Slo { sentence: String },
    /// The crowd could not be brought there.
    SetUp { sentence: String },
}

/// A core is busy above this share.
const BUSY: f64 = 0.9;
/// A host has nothing left below this share of idle time.
const IDLE_LEFT: f64 = 0.05;

impl Limit {
    /// By the figures of a phase that did not hold.
    pub(crate) fn of(phase: &PhaseReport) -> Self {
        let why = phase.reasons.join("; ");
        if phase.verdict == Verdict::ProofFailed {
            return Self::Promise { sentence: why };
        }
        // What was missed in any case is not excused by the generator's own limit.
        let excused = phase.verdict != Verdict::SloMissed;
        if let Some(limit) = phase.generator.limit.as_ref().filter(|_| excused) {
            // It may have been anybody on this host who took its time.
            let crowded = phase.host.as_ref().filter(|host| host.idle <= IDLE_LEFT).map(|host| {
                format!(
                    " (this host was idle {:.1} % of the time, {:.1} % taken by other guests)",
                    host.idle * 100.0,
                    host.stolen * 100.0
                )
            });
            return Self::Generator { sentence: limit.clone() + &crowded.unwrap_or_default() };
        }
        if let Some(thread) = phase.busiest_thread.as_ref().filter(|thread| thread.share >= BUSY) {
            let sentence = format!("its thread {} used {:.0} % of a core ({why})", thread.name, thread.share * 100.0);
            return Self::ServerCpu { sentence };
        }
        if let Some(host) = phase.host.as_ref().filter(|host| host.idle <= IDLE_LEFT) {
            let server = phase
                .server_cores
                .map_or_else(String::new, |cores| format!("{cores:.2} cores busy in the server and "));
            let sentence = format!(
                "idle {:.1} % of the time, with {server}{:.2} in the generator, {:.1} % taken by other guests ({why})",
                host.idle * 100.0,
                phase.generator.cpu_s / phase.stage.duration_s,
                host.stolen * 100.0
            );
            return Self::HostCpu { sentence };
        }
        Self::Slo { sentence: why }
    }
}

impl Limit {
    /// Of a ramp that ended before everybody sat.
    pub(crate) fn of_ramp(stopped: &Stopped) -> Self {
        let sentence = stopped.sentence.clone();
        match stopped.by {
            LimitedBy::Memory => Self::HostMemory { sentence },
            LimitedBy::Generator => Self::Generator { sentence },
            LimitedBy::Server => Self::Door { sentence },
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached => f.write_str("none was reached: all that was tried held"),
            Self::Generator { sentence } => write!(f, "the generator, so the server may do more: {sentence}"),
            Self::ServerCpu { sentence } => write!(f, "the server's CPU: {sentence}"),
            Self::HostCpu { sentence } => write!(f, "the CPU of this host: {sentence}"),
            Self::HostMemory { sentence } => write!(f, "the memory of this host: {sentence}"),
            Self::Door { sentence } => write!(f, "the server, which let nobody more in: {sentence}"),
            Self::Promise { sentence } => write!(f, "a promise of the server: {sentence}"),
            Self::Slo { sentence } => write!(f, "what was asked; no figure says whose: {sentence}"),
            Self::SetUp { sentence } => write!(f, "the set-up: {sentence}"),
        }
    }
}

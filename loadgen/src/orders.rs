//! What coordinator and workers tell each other: one JSON object a line, orders down, reports up.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};
use throng::base::Encoding;

use crate::dialect::Dialect;
use crate::effort::Usage;
use crate::latency::Latencies;
use crate::lengths::Lengths;
use crate::proof::{Crowd, Fault, Judgement, Rules};
use crate::ramp::Stopped;
use crate::reach::Door;
use crate::schedule::{Arrivals, Slope};
use crate::source::Sources;
use crate::steps::Steps;

/// How envelopes are written; the form of [`Encoding`] that the command line and JSON know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wire {
    Msgpack,
    Json,
}

impl From<Wire> for Encoding {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Msgpack => Self::MessagePack,
            Wire::Json => Self::Json,
        }
    }
}

/// All a worker must know, sent once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Crew {
    pub(crate) worker: u32,
    /// At least one.
    pub(crate) doors: Vec<Door>,
    pub(crate) encoding: Wire,
    pub(crate) crowd: Crowd,
    pub(crate) rules: Rules,
    pub(crate) presence: bool,
    /// Every publish has a key of its own, and its publisher types before and has read after it.
    pub(crate) by_keys: bool,
    /// Names rooms and users of this run; 8 hex digits.
    pub(crate) run: String,
    pub(crate) seed: u64,
    /// For servers that are not throng.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) secret: Vec<u8>,
    pub(crate) token_ttl_s: u64,
    pub(crate) payload: Lengths,
    pub(crate) sources: Option<Sources>,
    /// Connections of this worker between `connect` and the answer to `join`, at most.
    pub(crate) connecting: usize,
    /// Connections begun a second by this worker; none: as fast as the server takes them.
    pub(crate) ramp_rate: Option<f64>,
    /// Somebody of another worker sits already: the server has let people in.
    pub(crate) others_sit: bool,
    /// How long nobody may be let in before the ramp ends with those who sit.
    pub(crate) give_up_ns: u64,
    /// Memory of its host that must stay; 0: it is not looked at.
    pub(crate) memory_floor_bytes: u64,
    pub(crate) pin: Option<usize>,
    /// The run's zero of CLOCK_MONOTONIC.
    pub(crate) origin_ns: u64,
    pub(crate) settle_ns: u64,
}

impl Crew {
    /// Where a local connection's room is, and the connection's number among those of this worker that go there: numbers begin
    /// anew at each door, as pairs of address and port do.
    pub(crate) fn door(&self, member: u32) -> (&Door, u32) {
        let Crowd { first_room, room_size, .. } = self.crowd;
        let (room, place, doors) = (member / room_size, member % room_size, self.doors.len() as u32);
        (&self.doors[((first_room + room) % doors) as usize], room / doors * room_size + place)
    }

    /// Whether its people need tokens.
    pub(crate) fn needs_secret(&self) -> bool {
        self.dialect.is_none()
    }
}

/// One measured phase for one worker. Times count from the origin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) arrivals: Arrivals,
    pub(crate) slope: Slope,
    pub(crate) start_ns: u64,
    /// Sent and proved, but not measured.
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    /// This worker's messages in warm-up and duration together.
    pub(crate) messages: u64,
    pub(crate) seed: u64,
    /// Zero heartbeats on a living connection are a fault (the phase is long enough for one).
    pub(crate) heartbeat_needed: bool,
    /// A send at most so late still counts for the rate.
    pub(crate) lateness_ns_max: u64,
    /// Time between two turns of the worker: where much is to be done, it is done in handfuls.
    pub(crate) pace_ns: u64,
    /// One message in so many is followed to the last who hears it; a power of two.
    pub(crate) spread_every: u32,
}

impl Phase {
    pub(crate) fn measured_from_ns(&self) -> u64 {
        self.start_ns + self.warmup_ns
    }

    pub(crate) fn end_ns(&self) -> u64 {
        self.measured_from_ns() + self.duration_ns
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Open(Box<Crew>),
    /// Nobody more is let in; those who sit in whole rooms stay.
    Enough,
    Run(Phase),
    /// Leave, all at once: half with a close frame, half by a reset.
    Part,
    Quit,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkerReport {
    /// Once a second, and at the end of a phase.
    Progress(Box<Interval>),
    /// Every connection sits in its room, or the ramp was stopped.
    Ready(Box<Ready>),
    Phase(Box<PhaseResult>),
    Parted(Parted),
    /// The worker cannot go on; the sentence says what to do.
    Failed {
        sentence: String,
    },
}

/// How everybody left.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Parted {
    /// Close frames sent, and how many of them the server answered with its own.
    pub(crate) goodbyes: u64,
    pub(crate) answered: u64,
    pub(crate) reset: u64,
}

/// Totals so far.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) open: u64,
    pub(crate) cut: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) refused: u64,
    pub(crate) faults: u64,
}

/// What passed at one worker since it said so the last time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// The second since the run's origin that this belongs to.
    pub(crate) second: u64,
    pub(crate) totals: Progress,
    /// Of measured messages.
    pub(crate) delivery: Latencies,
    pub(crate) ack: Latencies,
    pub(crate) lateness: Latencies,
    /// Of those who sat down: from the intended time of their connecting.
    pub(crate) opening: Latencies,
    /// CPU time, and time it waited for a core.
    pub(crate) cpu_ns: u64,
    pub(crate) waited_ns: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Rooms in which everybody sits; fewer than the crew has only if the ramp was stopped.
    pub(crate) rooms: u32,
    /// Why this worker stopped it, if it did.
    pub(crate) stopped: Option<Stopped>,
    /// How long coming in took, and how often an opening had to be tried again.
    pub(crate) opening: Steps<Latencies>,
    pub(crate) retries: u64,
    /// How late our own beginning was (from when somebody was due and a place was free), and what this process spent meanwhile.
    pub(crate) lateness: Latencies,
    pub(crate) spent: Usage,
    pub(crate) heartbeat_ms: u64,
    /// User memory of this worker, private and dirty; and before it had any connection.
    pub(crate) memory_bytes: u64,
    pub(crate) memory_empty_bytes: u64,
}

/// One who broke a promise, as far as known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offender {
    pub(crate) fault: Fault,
    pub(crate) room: u32,
    pub(crate) connection: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publisher: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u32>,
    /// Since the run's origin; none: found at the end of the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_ms: Option<u64>,
    pub(crate) detail: String,
}

impl Display for Offender {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} room {} connection {}", self.fault.name(), self.room, self.connection)?;
        if let (Some(publisher), Some(seq)) = (self.publisher, self.seq) {
            write!(f, " publisher {publisher} seq {seq}")?;
        }
        if let Some(at_ms) = self.at_ms {
            write!(f, " at {:.3} s", at_ms as f64 / 1_000.0)?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// What one worker found in one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PhaseResult {
    pub(crate) judgement: Judgement,
    pub(crate) offenders: Vec<Offender>,
    /// From the intended time (the headline), and from the moment of sending.
    pub(crate) delivery: Latencies,
    pub(crate) delivery_from_send: Latencies,
    /// From the first to the last of a room who heard a message, of one message in so many; how many of those were followed
    /// and not heard by everybody; and how many were not followed, since too many others were.
    pub(crate) spread: Latencies,
    pub(crate) spread_every: u32,
    pub(crate) spread_unfinished: u64,
    pub(crate) spread_skipped: u64,
    pub(crate) ack: Latencies,
    /// How late our own sends were.
    pub(crate) lateness: Latencies,
    /// Counted inside the measured window.
    pub(crate) sent_in_window: u64,
    pub(crate) received_in_window: u64,
    pub(crate) bytes_in_window: u64,
    pub(crate) cpu_ns: u64,
    /// Time this process was ready to run and did not get a core.
    pub(crate) waited_for_cpu_ns: u64,
    pub(crate) window_ns: u64,
    /// Messages that were due and not sent, since too many of their publisher's were unanswered.
    pub(crate) held_back: u64,
    pub(crate) heartbeats_min: u64,
    pub(crate) heartbeats: u64,
    pub(crate) open: u64,
    /// Close codes of connections that ended (0: without a close frame).
    pub(crate) closes: std::collections::BTreeMap<u16, u64>,
    /// Codes of refused publishes.
    pub(crate) refusals: std::collections::BTreeMap<String, u64>,
}

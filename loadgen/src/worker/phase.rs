//! One measured phase at a worker: send by schedule, drain, judge.
//!
//! Edges: sending begins at `start`; latency and counts are taken from `start + warmup` to the end; after the end
//! nothing is sent and everything that is owed is waited for, until it is there or nothing came for the settle time.

use anyhow::Result;
use throng::base::Offset;
use throng::wire::client::{CommandOut, write_command};
use throng::wire::payload::prove;

use super::spread::Spreads;
use super::{Stage, Worker};
use crate::effort::Usage;
use crate::latency::Latencies;
use crate::orders::{Offender, Phase, PhaseResult, WorkerReport};
use crate::payload::Marker;
use crate::proof::Fault;
use crate::schedule::Schedule;
use crate::sys::SECOND_NS;

/// After everything has arrived: time for a duplicate to show itself, more than two ticks.
const LINGER_NS: u64 = 300_000_000;
/// What is still unsent so long after the phase stays unsent, and shows in the rate; longer where more lateness is allowed.
const CATCH_UP_NS: u64 = 1_000_000_000;
/// Ids of publishes: 16 bits of the sequence number over 37 bits of microseconds (38 hours).
const ID_TIME_BITS: u32 = 37;
/// With more of one publisher's unanswered an answer could not be told from that to another one: they are not sent, which is
/// this generator's limit.
pub(crate) const UNANSWERED_MAX: u32 = 65_535;

/// A publish's id, from which its answer finds number and time without a table.
fn id_of(seq: u32, intended_ns: u64) -> u64 {
    u64::from(seq & 0xffff) << ID_TIME_BITS | (intended_ns / 1_000) & ((1 << ID_TIME_BITS) - 1)
}

/// The sequence number and the intended time behind an id; `next` is the publisher's next number, of which no more than
/// [`UNANSWERED_MAX`] are unanswered.
pub(super) fn seq_of(id: u64, next: u32) -> (u32, u64) {
    let low = (id >> ID_TIME_BITS) as u16;
    let back = (next as u16).wrapping_sub(1).wrapping_sub(low);
    (next.wrapping_sub(1).wrapping_sub(u32::from(back)), (id & ((1 << ID_TIME_BITS) - 1)) * 1_000)
}

/// A phase under way.
pub(super) struct Running {
    phase: Phase,
    schedule: Schedule,
    delivery_from_send: Latencies,
    spreads: Spreads,
    /// What was logged before, and what came since the last interval was reported.
    logged: Logged,
    since_logged: Logged,
    sent_in_window: u64,
    received_in_window: u64,
    bytes_in_window: u64,
    /// Messages that were due and not sent: too many of their publisher's were unanswered.
    held_back: u64,
    /// CPU and waiting at the window's edges.
    usage: [Option<Usage>; 2],
    last_arrival_ns: u64,
    settled_at_ns: Option<u64>,
}

/// What is logged each second.
#[derive(Default)]
pub(super) struct Logged {
    pub(super) delivery: Latencies,
    pub(super) ack: Latencies,
    pub(super) lateness: Latencies,
}

impl Running {
    /// `hearers` hear each message.
    pub(super) fn new(phase: Phase, publishers: u32, hearers: u32) -> Self {
        Self {
            phase,
            schedule: phase.schedule(publishers),
            delivery_from_send: Latencies::new(),
            spreads: Spreads::new(phase.spread_every, hearers),
            logged: Logged::default(),
            since_logged: Logged::default(),
            sent_in_window: 0,
            received_in_window: 0,
            bytes_in_window: 0,
            held_back: 0,
            usage: [None; 2],
            last_arrival_ns: 0,
            settled_at_ns: None,
        }
    }

    /// What came since this was asked the last time; from now on it is part of the totals.
    pub(super) fn log(&mut self) -> Logged {
        let since = std::mem::take(&mut self.since_logged);
        self.logged.delivery.add(&since.delivery);
        self.logged.ack.add(&since.ack);
        self.logged.lateness.add(&since.lateness);
        since
    }

    pub(super) fn wake_ns(&self, now_ns: u64) -> u64 {
        let send = self.schedule.next_ns().unwrap_or(u64::MAX);
        let edge = match self.usage {
            [None, _] => self.phase.measured_from_ns(),
            [_, None] => self.phase.end_ns(),
            // Draining: look every few milliseconds; nothing of it is measured.
            [Some(_), Some(_)] => now_ns + 5_000_000,
        };
        send.min(edge)
    }

    /// When the turn after one that began at `turn_ns` may begin.
    pub(super) fn next_turn_ns(&self, turn_ns: u64) -> u64 {
        turn_ns + self.phase.pace_ns
    }

    pub(super) fn count_bytes(&mut self, now_ns: u64, length: usize) {
        if self.is_measured(now_ns) {
            self.bytes_in_window += length as u64;
        }
    }

    pub(super) fn heard(&mut self, now_ns: u64, marker: &Marker, in_order: bool) {
        self.last_arrival_ns = now_ns;
        if !in_order {
            return;
        }
        self.received_in_window += u64::from(self.is_measured(now_ns));
        if self.is_measured(marker.intended_ns) {
            let latency_ns = now_ns.saturating_sub(marker.intended_ns);
            self.since_logged.delivery.record_ns(latency_ns);
            self.delivery_from_send.record_ns(latency_ns.saturating_sub(u64::from(marker.late_us) * 1_000));
            self.spreads.heard(now_ns, marker);
        }
    }

    pub(super) fn acked(&mut self, now_ns: u64, intended_ns: u64) {
        self.last_arrival_ns = now_ns;
        if self.is_measured(intended_ns) {
            self.since_logged.ack.record_ns(now_ns.saturating_sub(intended_ns));
        }
    }

    pub(super) fn answered(&mut self, now_ns: u64) {
        self.last_arrival_ns = now_ns;
    }

    fn is_measured(&self, at_ns: u64) -> bool {
        (self.phase.measured_from_ns()..self.phase.end_ns()).contains(&at_ns)
    }

    /// Whether a send is part of the rate: wanted in the window, and sent in it or only as late as is allowed.
    fn counts_for_rate(&self, intended_ns: u64, now_ns: u64) -> bool {
        let late_ns = now_ns.saturating_sub(intended_ns);
        self.is_measured(intended_ns) && (self.is_measured(now_ns) || late_ns <= self.phase.lateness_ns_max)
    }

    /// Takes the reading of an edge that has passed.
    fn pass_edges(&mut self, now_ns: u64) {
        let edges = [self.phase.measured_from_ns(), self.phase.end_ns()];
        for (usage, edge) in self.usage.iter_mut().zip(edges) {
            if usage.is_none() && edge <= now_ns {
                *usage = Some(Usage::at(now_ns));
            }
        }
    }

    /// Whether the phase is over: all there for a while, or nothing more to be hoped for.
    fn drained(&mut self, now_ns: u64, settled: bool, settle_ns: u64) -> bool {
        if self.usage[1].is_none() {
            return false;
        }
        if self.schedule.next_ns().is_some() {
            if now_ns > self.phase.end_ns() + CATCH_UP_NS.max(self.phase.lateness_ns_max) {
                self.schedule.stop();
            }
            return false;
        }
        if !settled {
            self.settled_at_ns = None;
            let quiet_since = self.last_arrival_ns.max(self.phase.end_ns());
            return now_ns.saturating_sub(quiet_since) >= settle_ns;
        }
        let since = *self.settled_at_ns.get_or_insert(now_ns);
        now_ns.saturating_sub(since) >= LINGER_NS
    }
}

impl<const OTHER: bool> Worker<OTHER> {
    /// Sends what the schedule wants by now, at most `sends_max`: whoever is late must not stop listening.
    pub(super) fn send_due(&mut self, sends_max: usize) {
        let Some(mut running) = self.running.take() else { return };
        for _ in 0..sends_max {
            let Some((intended_ns, publisher)) = running.schedule.take_due(self.now_ns) else { break };
            let member = self.crew.crowd.member_of(publisher);
            if !self.is_open(member) {
                continue;
            }
            if self.ledger.unanswered_by(publisher) >= UNANSWERED_MAX {
                running.held_back += 1;
                continue;
            }
            self.tick();
            let late_ns = self.now_ns.saturating_sub(intended_ns);
            if running.is_measured(intended_ns) {
                running.since_logged.lateness.record_ns(late_ns);
            }
            running.sent_in_window += u64::from(running.counts_for_rate(intended_ns, self.now_ns));
            self.publish(publisher, member, intended_ns, late_ns);
        }
        self.running = Some(running);
    }

    fn publish(&mut self, publisher: u32, member: u32, intended_ns: u64, late_ns: u64) {
        let crowd = self.crew.crowd;
        let seq = self.ledger.sent(publisher);
        self.progress.sent += 1;
        let marker = Marker {
            room: crowd.first_room + member / crowd.room_size,
            publisher: crowd.global(member),
            seq,
            intended_ns,
            late_us: u32::try_from(late_ns / 1_000).unwrap_or(u32::MAX),
        };
        if OTHER {
            if let Err(error) = self.other_publish(member, &marker) {
                self.on_send_failed(member, &error);
            }
            return;
        }
        let room = self.room_name(member);
        let rules = self.crew.rules;
        // With an id the copy does not come unless asked for; without one it comes unless declined.
        let echo = (rules.acks == rules.own_copy).then_some(rules.own_copy);
        let id = rules.acks.then(|| id_of(seq, intended_ns));
        let key = self.crew.by_keys.then(|| format!("{seq:x}"));
        let value = self.payloads.write(&marker);
        let data = prove(self.encoding, value, 1).expect("a string is one complete, portable value");
        let publish = CommandOut::Publish { room: &room, data, event: None, echo, key: key.as_deref() };
        self.envelope.clear();
        write_command(&mut self.envelope, self.encoding, id, &publish);
        if self.crew.by_keys {
            self.publish_in_company(member, &room);
        } else if let Err(error) = self.send_envelope(member) {
            self.on_send_failed(member, &error);
        }
    }

    /// Sends what the envelope holds as somebody at a keyboard does: typing before it, having read it after.
    fn publish_in_company(&mut self, member: u32, room: &str) {
        let publish = std::mem::take(&mut self.envelope);
        let (mut typing, mut read) = (Vec::new(), Vec::new());
        write_command(&mut typing, self.encoding, None, &CommandOut::Typing { room, on: true });
        // The first message of a room is there by then, since it is at most this one.
        write_command(&mut read, self.encoding, None, &CommandOut::Read { room, offset: Offset(1) });
        for envelope in [typing, publish, read] {
            self.envelope = envelope;
            if let Err(error) = self.send_envelope(member) {
                return self.on_send_failed(member, &error);
            }
        }
    }

    /// Takes readings at the window's edges; judges and reports when everything has arrived.
    pub(super) fn advance_phase(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.pass_edges(self.now_ns);
        if !running.drained(self.now_ns, self.ledger.settled(), self.crew.settle_ns) {
            return Ok(());
        }
        // What came since the last whole second belongs to this phase, and into its totals.
        self.report_interval(self.now_ns / SECOND_NS)?;
        let Some(running) = self.running.take() else { return Ok(()) };
        let result = self.judge(*running);
        self.report(&WorkerReport::Phase(Box::new(result)))
    }

    fn judge(&mut self, running: Running) -> PhaseResult {
        self.judge_heartbeats(&running.phase);
        let mut judgement = self.ledger.judge();
        let open = self.connections.iter().filter(|connection| connection.stage == Stage::Open);
        let (mut heartbeats, mut heartbeats_min) = (0, u64::MAX);
        for connection in open {
            heartbeats += u64::from(connection.heartbeats);
            heartbeats_min = heartbeats_min.min(u64::from(connection.heartbeats));
        }
        let mut offenders = std::mem::take(&mut self.offenders);
        offenders.extend(judgement.offenders.iter().map(|(fault, room, connection, count)| Offender {
            fault: *fault,
            room: *room,
            connection: *connection,
            publisher: None,
            seq: None,
            at_ms: None,
            detail: format!("{count} by the count at the end"),
        }));
        let losses = std::mem::take(&mut judgement.losses);
        let publishers = self.crew.crowd.rooms * self.crew.crowd.publishers;
        offenders.extend(super::dated::offenders(&losses, &running.phase, publishers, super::OFFENDERS_MAX));
        let [from, to] = running.usage.map(Option::unwrap_or_default);
        let spent = to.since(&from);
        let spread_every = running.phase.spread_every;
        let followed = running.spreads.end();
        PhaseResult {
            judgement,
            offenders,
            delivery: running.logged.delivery,
            delivery_from_send: running.delivery_from_send,
            spread: followed.measured,
            spread_every,
            spread_unfinished: followed.unfinished,
            spread_skipped: followed.skipped,
            ack: running.logged.ack,
            lateness: running.logged.lateness,
            sent_in_window: running.sent_in_window,
            received_in_window: running.received_in_window,
            bytes_in_window: running.bytes_in_window,
            cpu_ns: spent.cpu_ns,
            waited_for_cpu_ns: spent.waited_ns,
            window_ns: spent.ns,
            held_back: running.held_back,
            heartbeats_min: if heartbeats_min == u64::MAX { 0 } else { heartbeats_min },
            heartbeats,
            open: self.progress.open,
            closes: std::mem::take(&mut self.closes),
            refusals: std::mem::take(&mut self.refusals),
        }
    }

    /// Where the phase was long enough, a living connection without one heartbeat is a fault.
    fn judge_heartbeats(&mut self, phase: &Phase) {
        if !phase.heartbeat_needed {
            return;
        }
        let silent: Vec<u32> = (0..self.crew.crowd.connections())
            .filter(|member| self.is_open(*member) && self.connections[*member as usize].heartbeats == 0)
            .collect();
        for member in silent {
            self.ledger.fault(Fault::NoHeartbeat);
            self.blame(Fault::NoHeartbeat, member, None, || "no ping came".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_within_the_allowed_lateness_counts_for_the_rate() {
        let phase = |lateness_ns_max| Phase {
            arrivals: crate::schedule::Arrivals::Even,
            slope: crate::schedule::Slope::FLAT,
            start_ns: 0,
            warmup_ns: 1_000,
            duration_ns: 9_000,
            messages: 10,
            seed: 1,
            heartbeat_needed: false,
            lateness_ns_max,
            pace_ns: 0,
            spread_every: 1,
        };
        let counts = |lateness_ns_max, intended_ns, now_ns| {
            Running::new(phase(lateness_ns_max), 1, 1).counts_for_rate(intended_ns, now_ns)
        };
        assert!(counts(100, 1_000, 9_999), "sent in the window, however late");
        assert!(counts(100, 9_950, 10_050) && !counts(100, 9_950, 10_051));
        assert!(!counts(100, 999, 1_001), "the warm-up's");
    }

    #[test]
    fn an_id_leads_back_to_number_and_time_however_many_were_sent_since() {
        for seq in [0, 1, 65_535, 65_536, 1_000_000, u32::MAX - 70_000] {
            for since in [0, 1, 40_000, 65_535] {
                let id = id_of(seq, 123_456_789_000);
                assert!(id < 1 << 53);
                assert_eq!(seq_of(id, seq + 1 + since), (seq, 123_456_789_000), "{seq} {since}");
            }
            // Behind one more it would be another's: the ack of an honest server was called `disagreed`.
            let id = id_of(seq, 0);
            assert_ne!(seq_of(id, seq + 1 + UNANSWERED_MAX + 1).0, seq);
        }
    }
}

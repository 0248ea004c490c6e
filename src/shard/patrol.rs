//! Time passes: a sweep over the rows, a part of the table each tick, no timer per connection.
//!
//! Promises: only the silent are asked whether they live, and no more of them in a tick than the server can afford: where
//! there are more, each is asked less often, and is told so when it comes; nobody is declared dead who was not asked and given
//! time to answer.

use crate::base::Now;
use crate::wire::{CloseReason, Event, FrameKind, write_frame};

use super::row::{Flags, Stage};
use super::{CloseHow, Count, Shard, seconds};

/// Ticks for one round over the table: the precision of every time limit (2 s with a tick of 100 ms).
const TICKS_PER_ROUND: usize = 20;

/// Who fails too often has this part of the time for a handshake.
pub(super) const HASTE: u64 = 8;

/// Where the sweep is.
#[derive(Default, Debug)]
pub(crate) struct Patrol {
    cursor: u32,
    /// Heartbeats of this tick.
    pings: u32,
    /// Bytes of work spaces: of the round under way, and of the last.
    work_bytes: [usize; 2],
}

impl Patrol {
    pub(super) fn work_bytes(&self) -> u64 {
        self.work_bytes[1] as u64
    }
}

/// Silence after which a connection is asked whether it lives, and after which it does not.
#[derive(Clone, Copy)]
struct Patience {
    heartbeat_ms: u64,
    dead_after_ms: u64,
}

enum Overdue {
    Handshake,
    Hello,
    Goodbye,
    Token,
    Warning,
    Progress,
    Life,
    Ping,
}

impl Shard {
    /// How long a round takes where ticks come in time, for those who are asked to wait for the next one.
    pub(super) fn round_ms(&self) -> u32 {
        u32::try_from(self.limits().tick_ms.saturating_mul(TICKS_PER_ROUND as u64)).unwrap_or(u32::MAX)
    }

    /// This shard's part of the server's heartbeats.
    fn pings_per_tick(&self) -> u32 {
        self.limits().pings_per_tick.div_ceil(u32::from(self.config.shards.max(1)))
    }

    /// Silence after which a connection is asked whether it lives: as long as is configured, or as it takes to ask everybody
    /// who is here.
    pub(super) fn heartbeat_ms(&self) -> u64 {
        let limits = self.limits();
        let all_ms = (self.sessions as u64).saturating_mul(limits.tick_ms) / u64::from(self.pings_per_tick().max(1));
        limits.heartbeat_ms.max(all_ms)
    }

    fn patience(&self) -> Patience {
        let (limits, heartbeat_ms) = (self.limits(), self.heartbeat_ms());
        // Where all fall silent at once, the last of them is asked when twice the heartbeat is over.
        let longer_ms = (heartbeat_ms - limits.heartbeat_ms).saturating_mul(2);
        Patience { heartbeat_ms, dead_after_ms: limits.dead_after_ms.saturating_add(longer_ms) }
    }

    pub(super) fn patrol(&mut self, now: Now) {
        self.patrol.pings = 0;
        let patience = self.patience();
        let rows = self.connections.rows_len().div_ceil(TICKS_PER_ROUND);
        for _ in 0..rows {
            let Some(index) = self.connections.next_index(self.patrol.cursor) else {
                self.patrol.cursor = 0;
                self.patrol.work_bytes = [0, self.patrol.work_bytes[0]];
                return;
            };
            self.patrol.cursor = index + 1;
            self.connections.at_mut(index).flags.set(Flags::REFRESHED, false);
            if let Some(work) = &self.connections.at(index).work {
                self.patrol.work_bytes[0] += work.bytes();
            }
            if let Some(overdue) = self.overdue(now, index, patience) {
                self.act(now, index, &overdue);
            }
        }
    }

    fn overdue(&self, now: Now, index: u32, patience: Patience) -> Option<Overdue> {
        let limits = self.limits();
        let row = self.connections.at(index);
        let silent_ms = u64::from(seconds(now).saturating_sub(row.heard_mono_s)) * 1_000;
        match row.stage {
            Stage::Free | Stage::Gone => None,
            Stage::Opening | Stage::Parked => {
                (silent_ms >= self.handshake_ms(now, index)).then_some(Overdue::Handshake)
            }
            Stage::Greeting => (silent_ms >= self.handshake_ms(now, index)).then_some(Overdue::Hello),
            // What is still being taken is a sign of life, too: the goodbye stands behind it.
            Stage::Closing => {
                let stalled = row.work.as_ref().filter(|_| row.flags.has(Flags::STALLED));
                let quiet_ms = stalled.map_or(silent_ms, |work| silent_ms.min(now.since(work.progress_mono_ms)));
                (quiet_ms >= limits.close_grace_ms).then_some(Overdue::Goodbye)
            }
            // An echo has no token: it never ends by itself.
            Stage::Open | Stage::Echo => {
                let stuck = |since: u64| since > 0 && now.since(since) >= limits.no_progress_ms;
                if seconds(now) >= row.expires_mono_s {
                    Some(Overdue::Token)
                } else if !row.flags.has(Flags::WARNED) && self.ends_soon(now, row.expires_mono_s) {
                    Some(Overdue::Warning)
                } else if row.flags.has(Flags::STALLED)
                    && row.work.as_ref().is_some_and(|work| stuck(work.progress_mono_ms))
                {
                    Some(Overdue::Progress)
                } else if silent_ms >= patience.heartbeat_ms && !row.flags.has(Flags::PINGED) {
                    Some(Overdue::Ping)
                } else if silent_ms >= patience.dead_after_ms {
                    Some(Overdue::Life)
                } else {
                    None
                }
            }
        }
    }

    /// How long this handshake may take. Who holds many places and does nothing with them holds them for less time.
    fn handshake_ms(&self, now: Now, index: u32) -> u64 {
        let allowed_ms = self.limits().handshake_ms;
        if self.fails_too_often(now, index) { allowed_ms / HASTE } else { allowed_ms }
    }

    fn ends_soon(&self, now: Now, expires_mono_s: u32) -> bool {
        let limits = self.limits();
        let left_ms = (u64::from(expires_mono_s) * 1_000).saturating_sub(now.mono_ms);
        left_ms <= limits.expiring_notice_ms.saturating_add(limits.token_leeway_s * 1_000)
    }

    fn act(&mut self, now: Now, index: u32, overdue: &Overdue) {
        let conn = self.connections.at(index).key(index);
        match overdue {
            Overdue::Handshake => {
                let reason = CloseReason::HandshakeTimeout;
                self.turn_away(now, conn, reason, reason.message());
            }
            Overdue::Hello => self.fail(now, conn, CloseReason::NoHello),
            Overdue::Goodbye => self.let_go(conn, CloseHow::Abruptly),
            Overdue::Token => self.fail(now, conn, CloseReason::Expired),
            Overdue::Warning => {
                self.connections.at_mut(index).flags.set(Flags::WARNED, true);
                self.answer(conn, &Event::Expiring { in_ms: self.token_left_ms(now, conn) });
            }
            Overdue::Progress => self.fail(now, conn, CloseReason::Slow),
            Overdue::Life => self.fail(now, conn, CloseReason::Silent),
            Overdue::Ping if self.patrol.pings >= self.pings_per_tick() => {
                self.counters.add(Count::PingsPutOff, 1);
            }
            Overdue::Ping => {
                self.patrol.pings += 1;
                self.connections.at_mut(index).flags.set(Flags::PINGED, true);
                self.counters.add(Count::Pings, 1);
                self.append(conn, |out| write_frame(out, FrameKind::Ping, b"", None));
            }
        }
    }
}

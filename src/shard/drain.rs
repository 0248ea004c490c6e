//! How a shard leaves: everybody is told a slot of their own, and when it has come is answered and sent away.
//!
//! ```text
//!  Drain ─► told a slot ─► slot due: nothing more is taken ─► fence around all homes ─► what is owed, 1012
//! ```
//!
//! Promises: slots are spread evenly over the budget, in the order of the table; nobody is closed before its slot; every
//! publish that was accepted is answered before the goodbye, because letters are FIFO: an answer to the fence has all
//! earlier answers before it. What is unfinished when the budget ends is cut by `Input::Stop`.
//! Must never: let a session begin, or wait for a reader longer than the budget.

use std::collections::{BTreeSet, VecDeque};

use crate::base::{ConnKey, Now, ShardId};
use crate::wire::{CloseReason, Event};

use super::row::{SeatRef, Stage};
use super::{Count, Mail, Shard};

/// The end of the budget that has no slots: closing takes a moment, too. A fifth of the budget, but not more than this.
const CLOSING_MS_MAX: u64 = 5_000;
/// No slot comes before this, or a quarter of the time there is: the door is closed by then, and whoever comes back finds
/// the next server.
const HEAD_START_MS_MAX: u64 = 1_000;
/// Everybody is told within this part of the time the slots are spread over.
const TELLING_PARTS: u64 = 8;

/// A shard on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    began_mono_ms: u64,
    /// What the slots are spread over.
    window_ms: u64,
    /// Sessions at the beginning: the nth of them has the nth slot.
    sessions: u64,
    /// The next row to be told; `None`: all are.
    cursor: Option<u32>,
    told: u64,
    /// Who was told and whose slot has not come, in the order of their slots.
    queue: VecDeque<ConnKey>,
    /// Whose slot has come: nothing more is taken from them, what they asked for is still answered.
    called: BTreeSet<ConnKey>,
    /// Those of them who wait for the next fence.
    due: Vec<ConnKey>,
    /// Who goes when the fence that is out comes back.
    fenced: Vec<ConnKey>,
    fence: u32,
    answers_missing: u16,
    /// The rest of the handshakes was turned away.
    turned_away: bool,
}

impl Leaving {
    /// When the nth connection's slot comes.
    fn slot_mono_ms(&self, nth: u64) -> u64 {
        let nth = (nth + 1).min(self.sessions + 1);
        let head_start_ms = (self.window_ms / 4).min(HEAD_START_MS_MAX);
        self.began_mono_ms + head_start_ms + (self.window_ms - head_start_ms) * nth / (self.sessions + 1)
    }

    fn slots_are_over(&self, now: Now) -> bool {
        now.since(self.began_mono_ms) >= self.window_ms
    }
}

impl Shard {
    /// Whether this shard has been told to leave and nobody is here any more.
    pub fn is_drained(&self) -> bool {
        self.leaving.is_some() && self.connections.len() == 0 && self.outgoing.iter().all(Vec::is_empty)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether the slot of this connection has come.
    pub(super) fn is_called(&self, conn: ConnKey) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.called.contains(&conn))
    }

    pub(super) fn on_drain(&mut self, now: Now, budget_ms: u64) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Box::new(Leaving {
            began_mono_ms: now.mono_ms,
            window_ms: budget_ms - (budget_ms / 5).min(CLOSING_MS_MAX),
            sessions: self.sessions as u64,
            cursor: Some(0),
            told: 0,
            queue: VecDeque::new(),
            called: BTreeSet::new(),
            due: Vec::new(),
            fenced: Vec::new(),
            fence: 0,
            answers_missing: 0,
            turned_away: false,
        }));
        self.leave_on(now);
    }

    /// A tick's part of leaving.
    pub(super) fn leave_on(&mut self, now: Now) {
        let Some(mut leaving) = self.leaving.take() else { return };
        self.tell_slots(now, &mut leaving);
        self.call_slots(now, &mut leaving);
        self.raise_fence(&mut leaving);
        if leaving.slots_are_over(now) && !std::mem::replace(&mut leaving.turned_away, true) {
            self.turn_away_the_rest(now);
        }
        self.leaving = Some(leaving);
    }

    /// A shard says that it has answered everything that stood before our fence.
    pub(super) fn on_fenced(&mut self, now: Now, fence: u32) {
        let Some(leaving) = &mut self.leaving else { return };
        if leaving.fence != fence || leaving.answers_missing == 0 {
            self.counters.add(Count::StaleKeys, 1);
            return;
        }
        leaving.answers_missing -= 1;
        if leaving.answers_missing > 0 {
            return;
        }
        let patient = !leaving.slots_are_over(now);
        for conn in std::mem::take(&mut leaving.fenced) {
            if patient && self.still_pulls(conn) {
                // It is behind and reads: the log is still here, the next fence asks again.
                if let Some(leaving) = &mut self.leaving {
                    leaving.due.push(conn);
                }
                continue;
            }
            if let Some(leaving) = &mut self.leaving {
                leaving.called.remove(&conn);
            }
            // Who says goodbye already is not cut off in the middle of it.
            if self.stage_of(conn) == Some(Stage::Open) {
                self.send_away(now, conn, CloseReason::Restart);
            }
        }
    }

    pub(super) fn on_fence(&mut self, from: ShardId, fence: u32) {
        self.post(from, Mail::Fenced { fence });
    }

    /// Everything its rooms owe it, as far as an outbox holds it, and the close frame behind it. Who reads that slowly has
    /// its position, and pulls the rest where it comes back.
    pub(super) fn send_away(&mut self, now: Now, conn: ConnKey, reason: CloseReason) {
        while let Some(place) = self.seat_at(conn, 0) {
            self.collect_owed(conn, place, usize::MAX);
            self.give_up_seat(conn, place.room, reason.parting());
        }
        self.fail(now, conn, reason);
    }

    /// Tells the next rows which slot is theirs: half of a tick's writes, or more where the table is so large that the
    /// last would hear of it too late.
    fn tell_slots(&mut self, now: Now, leaving: &mut Leaving) {
        let ticks = (leaving.window_ms / TELLING_PARTS / self.limits().tick_ms).max(1);
        let share = self.connections.rows_len().div_ceil(usize::try_from(ticks).unwrap_or(usize::MAX));
        let most = share.max(self.limits().sends_per_tick as usize / 2);
        for _ in 0..most {
            let Some(cursor) = leaving.cursor else { return };
            let Some(index) = self.connections.next_index(cursor) else {
                leaving.cursor = None;
                return;
            };
            leaving.cursor = Some(index + 1);
            let row = self.connections.at(index);
            if row.stage != Stage::Open {
                continue;
            }
            let conn = row.key(index);
            let slot_mono_ms = leaving.slot_mono_ms(leaving.told);
            leaving.told += 1;
            leaving.queue.push_back(conn);
            self.answer(conn, &Event::Drain { reconnect_in_ms: slot_mono_ms.saturating_sub(now.mono_ms) });
        }
    }

    /// From now on nothing more is taken from those whose slot has come.
    fn call_slots(&self, now: Now, leaving: &mut Leaving) {
        while let Some(&conn) = leaving.queue.front() {
            let called = leaving.told - leaving.queue.len() as u64;
            if leaving.slot_mono_ms(called) > now.mono_ms {
                return;
            }
            leaving.queue.pop_front();
            if let Some(row) = self.connections.row(conn)
                && row.stage == Stage::Open
            {
                leaving.called.insert(conn);
                leaving.due.push(conn);
            }
        }
    }

    /// One at a time: whoever comes due meanwhile goes with the next.
    fn raise_fence(&mut self, leaving: &mut Leaving) {
        if leaving.due.is_empty() || leaving.answers_missing > 0 {
            return;
        }
        leaving.fenced.append(&mut leaving.due);
        leaving.fence = leaving.fence.wrapping_add(1);
        leaving.answers_missing = self.config.shards;
        for shard in 0..self.config.shards {
            self.post(ShardId(shard), Mail::Fence { fence: leaving.fence });
        }
    }

    /// Requests that are not complete when the slots are over, and those who are nobody and had no slot.
    fn turn_away_the_rest(&mut self, now: Now) {
        let mut cursor = 0;
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            let row = self.connections.at(index);
            let conn = row.key(index);
            match row.stage {
                Stage::Opening | Stage::Parked => self.turn_away_leaving(now, conn),
                Stage::Greeting | Stage::Echo => self.fail(now, conn, CloseReason::Restart),
                Stage::Free | Stage::Open | Stage::Closing | Stage::Gone => {}
            }
        }
    }

    fn still_pulls(&self, conn: ConnKey) -> bool {
        let work = self.connections.row(conn).and_then(|row| row.work.as_ref());
        work.is_some_and(|work| !work.behind.is_empty())
    }

    fn seat_at(&self, conn: ConnKey, nth: usize) -> Option<SeatRef> {
        self.connections.row(conn)?.seats.at(nth)
    }
}

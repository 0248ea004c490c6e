//! What is written when: pulled by the runtime, budgeted per tick, fair over rooms.
//!
//! `due` is what may be written now, `late` what waits for the tick. A room is served a bounded number of readers
//! at a time and then goes to the back of the queue, so that a whale does not make pairs wait.
//!
//! An eager room that was written less than a tick ago rests for most of a tick, unless there is budget to spare: so busy
//! rooms are written once a tick each, what they wait for their turn included, but not all at the tick.
//!
//! Past the peak a room waits for its turn while more is said in it, and is then written all of that at once: so the same
//! number of writes carries more. What has been due since before the last tick is written whatever it costs; where that
//! is not enough, and something has been due for [`OLDEST`] ticks, no input is taken until it is written.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::{ConnKey, Delivery, Form, Now, Offset};

use super::batch::{Batch, Fate, Write};
use super::config::Flush;
use super::due::{Due, OLDEST};
use super::laid::{End, Laid, lay};
use super::row::{Flags, Stage};
use super::seats::{Pending, Sweep};
use super::{ClassCount, CloseHow, Count, Shard, seconds};
use crate::wire::CloseReason;

/// A few hundred for each of a handful of rings.
const BATCH_WRITES_MAX: usize = 2_048;
/// The arena of a batch is closed when it holds this much.
const BATCH_BYTES_SOFT: usize = 256 << 10;
/// Samples of latency taken from one batch.
const SAMPLES_PER_BATCH: usize = 1_024;
/// Readers of one room served before it is another room's turn.
const SEATS_PER_VISIT: u32 = 512;

/// Queues of what has something to write, and this tick's budget.
#[derive(Default, Debug)]
pub(crate) struct FlushQueues {
    due_rooms: Due<u32>,
    due_conns: Due<ConnKey>,
    late_rooms: Vec<u32>,
    /// Eager rooms that rest, and until when on the monotonic clock, in ms; the first to end is the greatest.
    resting_rooms: BinaryHeap<Reverse<(u64, u32)>>,
    /// The time of the last call, in ms of the monotonic clock.
    now_ms: u64,
    /// When the tick came.
    tick_mono_ms: u64,
    late_conns: Vec<ConnKey>,
    /// Connections written in the running batch that may have something to do once it is out.
    after_write: Vec<ConnKey>,
    /// Readers whose pull did not fit the home's inbox.
    pub(super) pulls_to_retry: Vec<(ConnKey, u32)>,
    /// Bytes of pending messages, each counted once per encoding.
    pub(super) unsent_bytes: usize,
    pub(super) behind_readers: usize,
    /// Writes asked for since the tick.
    spent: u32,
    batch: u16,
    /// The server stops: everything is written, whatever it costs.
    stopping: bool,
    /// When the oldest message of each room whose sweep the running batch ends was accepted; a sample, bounded.
    written: Vec<u64>,
    /// The frame ends of the room being visited, by form; kept for their memory.
    ends: [Vec<End>; 4],
}

enum Visit {
    /// Everything of this room is in batches.
    Done,
    /// It goes to the back of the queue.
    Again,
    /// The batch must go out first.
    BatchFull,
}

impl FlushQueues {
    /// For how many ticks what is next has been due; `None`: nothing is due.
    fn age(&self) -> Option<usize> {
        self.due_conns.age().max(self.due_rooms.age())
    }

    /// Something has been due for so long that no input may be taken.
    pub(super) fn is_overdue(&self) -> bool {
        self.age() >= Some(OLDEST)
    }

    /// Something has been due since before this tick: nothing that can wait may be begun.
    pub(super) fn is_late(&self) -> bool {
        self.age() >= Some(1)
    }

    /// Whether anything waits to be written, due or late.
    pub(super) fn has_anything(&self) -> bool {
        let waits = !self.late_rooms.is_empty() || !self.late_conns.is_empty() || !self.resting_rooms.is_empty();
        self.age().is_some() || waits || !self.pulls_to_retry.is_empty()
    }

    pub(super) fn note_time(&mut self, now: Now) {
        self.now_ms = now.mono_ms;
    }

    /// When the first room that rests has rested enough, in ms of the monotonic clock.
    pub(super) fn rested_mono_ms(&self) -> Option<u64> {
        self.resting_rooms.peek().map(|Reverse((rested_ms, _))| *rested_ms)
    }

    pub(super) fn batch(&self) -> u16 {
        self.batch
    }

    pub(super) fn after_write(&mut self, conn: ConnKey) {
        self.after_write.push(conn);
    }
}

impl Shard {
    /// Clears `batch` and puts into it what to write next. False: nothing (more) may be written now.
    pub fn fill_batch(&mut self, now: Now, batch: &mut Batch) -> bool {
        batch.clear();
        self.flush.note_time(now);
        self.wake_rested();
        self.flush.batch = self.flush.batch.wrapping_add(1);
        let mut whale_was_served = false;
        while batch.writes.len() < BATCH_WRITES_MAX && batch.arena.len() < BATCH_BYTES_SOFT && self.may_write() {
            if let Some(age) = self.flush.due_conns.age().filter(|age| self.may_write_of(*age)) {
                let Some(conn) = self.flush.due_conns.pop(age) else { break };
                if !self.visit_conn(conn, batch) {
                    self.flush.due_conns.push_front(age, conn);
                    break;
                }
                continue;
            }
            // A whale that has been due for long lets one of the others go first, as far as the budget reaches.
            let fresh = whale_was_served && self.may_hurry() && self.flush.due_rooms.has(0);
            let Some(age) = self.flush.due_rooms.age().map(|age| if fresh { 0 } else { age }) else { break };
            let Some(room) = self.flush.due_rooms.pop(age) else { break };
            let visit = self.visit_room(room, age, batch);
            whale_was_served = age > 0 && matches!(visit, Visit::Again);
            match visit {
                Visit::Done => {}
                Visit::Again => self.flush.due_rooms.push_back(age, room),
                Visit::BatchFull => {
                    self.flush.due_rooms.push_front(age, room);
                    break;
                }
            }
        }
        self.counters.add(Count::Writes, batch.writes.len() as u64);
        if batch.is_empty() {
            self.flush.written.clear();
            // Nobody will report on an empty batch, and who was visited without having anything to write goes on here.
            self.finish_batch(now, batch, &[]);
        }
        !batch.is_empty()
    }

    /// Takes in how the writes of a batch ended; those not named went out whole.
    pub fn finish_batch(&mut self, now: Now, batch: &mut Batch, fates: &[(usize, Fate)]) {
        let mut bytes_out: u64 = batch.writes.iter().map(|write| u64::from(write.len)).sum();
        for (at, fate) in fates {
            let write = batch.writes[*at];
            match *fate {
                Fate::Stalled { taken } => {
                    bytes_out -= u64::from(write.len - taken);
                    self.on_stalled(now, write.conn, taken, &batch.bytes(&write)[taken as usize..]);
                }
                Fate::Broken => {
                    bytes_out -= u64::from(write.len);
                    self.counters.add(Count::WritesBroken, 1);
                    self.give_up(write.conn, CloseReason::Gone);
                }
            }
        }
        self.counters.add(Count::BytesOut, bytes_out);
        for accepted_mono_ms in self.flush.written.drain(..) {
            self.counters.waited(now.since(accepted_mono_ms));
        }
        batch.clear();
        for conn in std::mem::take(&mut self.flush.after_write) {
            self.on_written(now, conn);
        }
    }

    pub(super) fn on_writable(&mut self, conn: ConnKey) {
        let Some(row) = self.connections.row_mut(conn) else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        row.flags.set(Flags::STALLED, false);
        self.queue_conn(conn);
    }

    pub(super) fn queue_room(&mut self, at: u32) {
        let room = self.seats.room_mut(at);
        if room.queued {
            return;
        }
        room.queued = true;
        let rested_ms = room.written_mono_ms + rest_ms(self.config.rules.limits.tick_ms, at);
        let flush = self.class(self.seats.room(at).class).flush.unwrap_or(self.config.flush);
        let now_ms = self.flush.now_ms;
        match flush {
            Flush::Tick | Flush::Eager if self.flush.stopping => self.flush.due_rooms.push(at),
            Flush::Tick => self.flush.late_rooms.push(at),
            Flush::Eager if now_ms < rested_ms && !self.may_write_again() => {
                self.flush.resting_rooms.push(Reverse((rested_ms, at)));
            }
            Flush::Eager => self.hurry_room(at),
        }
    }

    /// At once, if the budget allows.
    fn hurry_room(&mut self, at: u32) {
        if self.may_hurry() {
            self.flush.due_rooms.push(at);
        } else {
            self.flush.late_rooms.push(at);
        }
    }

    /// Rooms that have rested are written again.
    fn wake_rested(&mut self) {
        while let Some(Reverse((rested_ms, at))) = self.flush.resting_rooms.peek().copied()
            && rested_ms <= self.flush.now_ms
        {
            self.flush.resting_rooms.pop();
            self.hurry_room(at);
        }
    }

    /// Nothing waits any more: the server stops.
    pub(super) fn flush_all(&mut self, now: Now) {
        self.flush.stopping = true;
        let resting = std::mem::take(&mut self.flush.resting_rooms);
        self.flush.late_rooms.extend(resting.into_iter().map(|Reverse((_, at))| at));
        self.flush_tick(now);
    }

    pub(super) fn queue_conn(&mut self, conn: ConnKey) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        if row.flags.has(Flags::QUEUED) || row.flags.has(Flags::STALLED) {
            return;
        }
        row.flags.set(Flags::QUEUED, true);
        // Handshakes and goodbyes never wait for a tick.
        let may_wait = matches!(row.stage, Stage::Open | Stage::Echo);
        if !may_wait || self.flush.stopping || self.config.flush == Flush::Eager && self.may_hurry() {
            self.flush.due_conns.push(conn);
        } else {
            self.flush.late_conns.push(conn);
        }
    }

    /// A new tick: its budget, and everything that waited for it.
    pub(super) fn flush_tick(&mut self, now: Now) {
        let flush = &mut self.flush;
        self.counters.add(Count::TicksStretched, u64::from(flush.is_late()));
        flush.note_time(now);
        flush.tick_mono_ms = now.mono_ms;
        let spent = std::mem::take(&mut flush.spent);
        self.counters.add(Count::BudgetSpent, u64::from(spent));
        self.counters.add(Count::BudgetExhausted, u64::from(spent >= self.config.rules.limits.sends_per_tick));
        flush.due_conns.tick(&mut flush.late_conns);
        flush.due_rooms.tick(&mut flush.late_rooms);
        flush.resting_rooms.shrink_to(64);
    }

    /// Whether there is something due that may be written now.
    pub(super) fn may_write(&self) -> bool {
        self.flush.age().is_some_and(|age| self.may_write_of(age))
    }

    /// What is past its tick is written whatever it costs.
    fn may_write_of(&self, age: usize) -> bool {
        age > 0 || self.flush.stopping || self.may_hurry()
    }

    /// What is eager is written at once while the budget lasts.
    fn may_hurry(&self) -> bool {
        self.flush.spent < self.config.rules.limits.sends_per_tick
    }

    /// Whether a room may be written a second time within a tick: as long as no more than a part of the budget is spent,
    /// an eighth of it when the tick begins and half of it when it ends.
    fn may_write_again(&self) -> bool {
        let limits = &self.config.rules.limits;
        let budget = u64::from(limits.sends_per_tick);
        let passed_ms = self.flush.now_ms.saturating_sub(self.flush.tick_mono_ms).min(limits.tick_ms);
        u64::from(self.flush.spent) < budget / 8 + budget * 3 / 8 * passed_ms / limits.tick_ms.max(1)
    }

    /// False: it stands in this batch already.
    fn visit_conn(&mut self, conn: ConnKey, batch: &mut Batch) -> bool {
        let id = self.flush.batch;
        let Some(row) = self.connections.row_mut(conn) else { return true };
        if row.batch == id && !batch.is_empty() {
            return false;
        }
        row.flags.set(Flags::QUEUED, false);
        if !row.flags.has(Flags::STALLED) {
            self.gather(conn.index(), None, batch);
        }
        true
    }

    fn visit_room(&mut self, at: u32, age: usize, batch: &mut Batch) -> Visit {
        if !self.seats.contains(at) || !self.seats.room(at).queued {
            return Visit::Done;
        }
        let (soft, now_ms) = (self.config.rules.limits.outbox_soft_bytes_max, self.flush.now_ms);
        let room = self.seats.room_mut(at);
        if room.pending.is_empty() {
            room.queued = false;
            return Visit::Done;
        }
        room.written_mono_ms = now_ms;
        let frames = room.frames_within(soft);
        let cut = (frames as usize) < room.pending.len();
        let sweep = *room.sweep.get_or_insert(Sweep { frames, next_seat: 0, cut });
        let last = (sweep.next_seat + SEATS_PER_VISIT).min(room.seats.len() as u32);
        let has_deflated = room.pending.iter().take(sweep.frames as usize).any(Pending::has_deflated);
        let mut laid = Laid { has_deflated, ..Laid::default() };
        for seat in sweep.next_seat..last {
            if batch.writes.len() >= BATCH_WRITES_MAX {
                return Visit::BatchFull;
            }
            if !self.may_write_of(age) {
                return Visit::Again;
            }
            if !self.serve_seat(at, seat, sweep.frames, &mut laid, batch) {
                return Visit::BatchFull;
            }
        }
        self.finish_visit(at, sweep.frames)
    }

    /// Writes the sweep's messages to one seat. False: the batch must go out first.
    fn serve_seat(&mut self, at: u32, seat: u32, frames: u32, laid: &mut Laid, batch: &mut Batch) -> bool {
        let here = self.seats.room(at).seats[seat as usize];
        if here.is_live() && here.taken() < frames {
            let cursor = self.seats.room(at).cursor(seat);
            let row = self.connections.at_mut(here.conn);
            let conn = row.key(here.conn);
            let outbox_bytes = row.work.as_ref().map_or(0, |work| work.outbox.len());
            if row.flags.has(Flags::STALLED)
                || !self.seats.room(at).fits(seat, frames, outbox_bytes, &self.config.rules.limits)
            {
                self.leave_behind(conn, at, seat, frames, cursor);
            } else if row.batch == self.flush.batch && !batch.is_empty() {
                return false;
            } else if row.seats.len() == 1 && !row.has_outbox() && !here.skips() {
                row.batch = self.flush.batch;
                let form = Form { deflated: here.form().deflated && laid.has_deflated, ..here.form() };
                let start = *laid.starts[form.index()].get_or_insert_with(|| {
                    lay(&self.seats.room(at).pending, form, frames, &mut self.flush.ends, batch)
                });
                let ends = &self.flush.ends[form.index()];
                let from = if here.taken() == 0 { End::default() } else { ends[here.taken() as usize - 1] };
                let to = ends[frames as usize - 1];
                if to.at > from.at {
                    self.push_write(batch, Write { conn, start: start + from.at, len: to.at - from.at });
                }
                self.counters.add(Count::Deliveries, u64::from(to.messages - from.messages));
                self.counters.add(Count::DeflateSaved, u64::from(to.saved - from.saved));
            } else if !batch.is_empty() && batch.arena.len() >= BATCH_BYTES_SOFT {
                // These bytes are this reader's alone: a visit must not copy a long message for hundreds of them at once.
                return false;
            } else {
                self.gather(here.conn, Some((at, frames)), batch);
            }
        }
        self.pass_seat(at, seat, frames);
        true
    }

    /// A reader that cannot take what is written now: it pulls later, or misses what is kept nowhere.
    fn leave_behind(&mut self, conn: ConnKey, at: u32, seat: u32, frames: u32, cursor: Offset) {
        let room = self.seats.room_mut(at);
        let here = &mut room.seats[seat as usize];
        if room.delivery == Delivery::Ephemeral {
            let missed = frames - here.taken();
            self.counters.add_of(room.class, ClassCount::Dropped, u64::from(missed));
            return;
        }
        here.set_behind();
        self.fall_behind(conn, at, cursor);
    }

    /// The sweep has passed this seat: from now on its `taken` counts from the mark that the sweep will leave.
    fn pass_seat(&mut self, at: u32, seat: u32, frames: u32) {
        let room = self.seats.room_mut(at);
        let here = &mut room.seats[seat as usize];
        if here.is_live() {
            let conn = self.connections.at(here.conn).key(here.conn);
            here.set_taken(here.taken().saturating_sub(frames));
            if here.skips() {
                let later = room.pending.iter().skip(frames as usize).any(|pending| pending.skip == Some(conn));
                room.seats[seat as usize].set_skips(later);
            }
        }
        if let Some(sweep) = &mut room.sweep {
            sweep.next_seat = seat + 1;
        }
    }

    fn finish_visit(&mut self, at: u32, frames: u32) -> Visit {
        let room = self.seats.room_mut(at);
        let passed = room.sweep.map_or(0, |sweep| sweep.next_seat);
        if (passed as usize) < room.seats.len() {
            return Visit::Again;
        }
        let cut = room.sweep.take().is_some_and(|sweep| sweep.cut);
        // What was passed over was written to nobody.
        if let Some(oldest) = room.pending.iter().take(frames as usize).find(|pending| !pending.is_hole())
            && self.flush.written.len() < SAMPLES_PER_BATCH
        {
            self.flush.written.push(oldest.accepted_mono_ms);
        }
        let bytes = room.forget_written(frames as usize);
        let more = !room.pending.is_empty();
        room.queued = more && cut;
        self.flush.unsent_bytes -= bytes;
        if more && cut {
            return Visit::Again;
        }
        if more {
            // It was said during the sweep: the room has been written, and rests.
            self.queue_room(at);
        }
        Visit::Done
    }

    pub(super) fn push_write(&mut self, batch: &mut Batch, write: Write) {
        batch.writes.push(write);
        self.flush.spent = self.flush.spent.saturating_add(write.cost());
    }

    fn on_stalled(&mut self, now: Now, conn: ConnKey, taken: u32, rest: &[u8]) {
        self.counters.add(Count::WritesStalled, 1);
        let Some(work) = self.work_mut(conn) else { return };
        // Nothing was appended since the batch was filled: the rest is all there is.
        work.outbox.splice(0..0, rest.iter().copied());
        if taken > 0 || work.progress_mono_ms == 0 {
            work.progress_mono_ms = now.mono_ms.max(1);
        }
        self.connections.at_mut(conn.index()).flags.set(Flags::STALLED, true);
    }

    fn on_written(&mut self, now: Now, conn: ConnKey) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        if row.flags.has(Flags::STALLED) || row.has_outbox() {
            return;
        }
        let was_stalled = row.work.as_mut().is_some_and(|work| std::mem::take(&mut work.progress_mono_ms) > 0);
        if row.stage == Stage::Closing && was_stalled {
            // Only now its goodbye is out.
            row.heard_mono_s = seconds(now);
        }
        if row.stage == Stage::Closing && row.flags.has(Flags::CLOSE_HEARD) {
            self.let_go(conn, CloseHow::Quietly);
            return;
        }
        self.catch_up(now, conn);
        self.take_back_work(conn);
    }
}

/// How long a room rests since it was written: an eighth to a quarter less than a tick, which is what it will wait for its
/// turn. Rooms that were written in one turn shall not be due in one turn for ever, or what comes in during that long turn
/// waits.
fn rest_ms(tick_ms: u64, at: u32) -> u64 {
    tick_ms - tick_ms * u64::from(16 + at % 16) / 128
}

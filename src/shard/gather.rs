//! Everything one connection is owed, in one write: its outbox first, then what its rooms still owe it.

use crate::base::ConnKey;

use super::batch::{Batch, Write};
use super::row::{Flags, SeatRef};
use super::{Count, Shard};

impl Shard {
    /// Copies what a connection is owed into the arena as one write. `must` names the room whose running sweep is
    /// at this connection and how many messages the sweep takes: those come along whatever their size; other rooms
    /// only as long as the write stays below the soft limit.
    pub(super) fn gather(&mut self, index: u32, must: Option<(u32, u32)>, batch: &mut Batch) {
        let soft = self.limits().outbox_soft_bytes_max;
        let start = batch.arena.len();
        let row = self.connections.at_mut(index);
        let conn = row.key(index);
        row.batch = self.flush.batch();
        if let Some(work) = &mut row.work {
            batch.arena.append(&mut work.outbox);
            // The memory of an outbox is lent, like everything of a connection that is not its row.
            work.outbox = Vec::new();
            if !work.behind.is_empty() || work.closing.is_some() || work.progress_mono_ms != 0 || work.is_idle() {
                self.flush.after_write(conn);
            }
        }
        let seats = self.connections.at(index).seats.len();
        if let Some((room, frames)) = must
            && let Some(place) = self.connections.at(index).seats.find(room)
        {
            self.append_owed(place, Some(frames as usize), usize::MAX, &mut batch.arena);
        }
        for n in 0..seats {
            let Some(place) = self.connections.at(index).seats.at(n) else { break };
            let room_left = (start + soft).saturating_sub(batch.arena.len());
            if room_left == 0 {
                break;
            }
            if must.is_none_or(|(room, _)| room != place.room) {
                self.append_owed(place, None, room_left, &mut batch.arena);
            }
        }
        let len = batch.arena.len() - start;
        if len > 0 {
            self.push_write(batch, Write { conn, start: start as u32, len: len as u32 });
        }
    }

    /// Before somebody leaves: what the room owes goes into the outbox, so that whoever published and left at once
    /// still hears it. About `bytes_max` of it, and never so much that there would be no room for a goodbye behind it.
    pub(super) fn collect_owed(&mut self, conn: ConnKey, place: SeatRef, bytes_max: usize) {
        let Some(row) = self.connections.row(conn) else { return };
        let (stalled_max, untried_max) = self.limits().outbox_bytes_max();
        let most = if row.flags.has(Flags::STALLED) { stalled_max } else { untried_max };
        let held = row.work.as_ref().map_or(0, |work| work.outbox.len());
        let left = most.saturating_sub(held + GOODBYE_BYTES);
        let mut owed = Vec::new();
        self.append_owed(place, None, bytes_max.min(left), &mut owed);
        if !owed.is_empty() {
            self.append(conn, |outbox| outbox.extend_from_slice(&owed));
        }
    }

    /// Appends what a live seat is owed, up to the pending message `to` (all of them if none is given) and about
    /// `bytes_max`, without its own; notes it as served.
    fn append_owed(&mut self, place: SeatRef, to: Option<usize>, bytes_max: usize, out: &mut Vec<u8>) {
        let room = self.seats.room_mut(place.room);
        let seat = room.seats[place.seat as usize];
        let conn = self.connections.at(seat.conn).key(seat.conn);
        if !seat.is_live() {
            return;
        }
        let owed = room.owed(place.seat);
        let to = to.unwrap_or(owed.end).min(owed.end);
        let (mut served, mut bytes, mut saved, mut deliveries) = (owed.start, 0, 0, 0);
        let form = seat.form();
        while served < to {
            let message = &room.pending[served];
            if message.skip != Some(conn)
                && let Some(frame) = message.frame(form.encoding)
            {
                let (frame, plain) = (frame.bytes(form.deflated), frame.plain());
                if bytes + frame.len() > bytes_max {
                    break;
                }
                bytes += frame.len();
                saved += plain.len() - frame.len();
                deliveries += 1;
                out.extend_from_slice(frame);
            }
            served += 1;
        }
        if served > owed.start {
            room.served(place.seat, served);
        }
        self.counters.add(Count::Deliveries, deliveries);
        self.counters.add(Count::DeflateSaved, saved as u64);
    }
}

/// More than the longest close frame, and the answer to a `leave`.
const GOODBYE_BYTES: usize = 1_024;

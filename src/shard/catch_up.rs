//! Readers that pull: a cursor in the log, moved at the reader's pace, until it is live again.

use crate::base::{ConnKey, Now, Offset};

use super::row::{Behind, Flags, Stage};
use super::seats::LocalRoom;
use super::{Count, Mail, Shard};

impl Shard {
    /// Moves every pulling seat of a connection whose outbox is empty: live if it has caught up, else the next piece.
    pub(super) fn catch_up(&mut self, now: Now, conn: ConnKey) {
        let mut at = 0;
        while let Some(behind) = self.behind_at(conn, at) {
            if behind.pulling {
                at += 1;
                continue;
            }
            let Some(place) = self.connections.row(conn).and_then(|row| row.seats.find(behind.room)) else { return };
            // What lies before its join comes from the log, its own words included: who sits live is not given those.
            let is_past = behind.cursor >= behind.own_from;
            if is_past && self.seats.room_mut(behind.room).make_live(place.seat, conn, behind.cursor) {
                self.counters.add(Count::CaughtUp, 1);
                self.flush.behind_readers -= 1;
                if let Some(work) = self.work_mut(conn) {
                    work.behind.swap_remove(at);
                }
                if !self.seats.room(behind.room).owed(place.seat).is_empty() {
                    self.queue_room(behind.room);
                }
                continue;
            }
            self.pull(conn, at, behind);
            at += 1;
        }
        self.settle(now);
    }

    /// Tries again what did not fit an inbox at the last tick.
    pub(super) fn retry_pulls(&mut self) {
        let mut waiting = std::mem::take(&mut self.flush.pulls_to_retry);
        // Who left and came back meanwhile may stand here twice.
        waiting.retain(|(conn, room)| {
            let behind = self.connections.row_mut(*conn).and_then(|row| row.work.as_mut()?.behind_in(*room));
            behind.is_some_and(|behind| std::mem::take(&mut behind.waits))
        });
        for (conn, room) in waiting {
            let at = self
                .connections
                .row(conn)
                .and_then(|row| row.work.as_ref()?.behind.iter().position(|b| b.room == room && !b.pulling));
            if let Some((at, behind)) = at.and_then(|at| Some((at, self.behind_at(conn, at)?))) {
                self.pull(conn, at, behind);
            }
        }
    }

    /// A live reader that cannot take anything now goes over to pulling. It joined before its cursor.
    pub(super) fn fall_behind(&mut self, conn: ConnKey, room: u32, cursor: Offset) {
        self.counters.add(Count::FellBehind, 1);
        self.flush.behind_readers += 1;
        if let Some(work) = self.work_mut(conn) {
            work.behind.push(Behind { room, cursor, own_from: cursor, pulling: false, waits: false, slow: true });
        }
    }

    /// More is pending than may be: everybody pulls from the log, where it stands as well.
    pub(super) fn put_all_behind(&mut self, at: u32) {
        let seats = self.seats.room(at).seats.len() as u32;
        for seat in 0..seats {
            let room = self.seats.room_mut(at);
            if !room.seats[seat as usize].is_live() {
                continue;
            }
            let cursor = room.cursor(seat);
            let index = room.seats[seat as usize].conn;
            room.seats[seat as usize].set_behind();
            let conn = self.connections.at(index).key(index);
            self.fall_behind(conn, at, cursor);
            self.flush.after_write(conn);
        }
        let room = self.seats.room_mut(at);
        room.sweep = None;
        let bytes = room.forget_written(room.pending.len());
        self.flush.unsent_bytes -= bytes;
    }

    fn pull(&mut self, conn: ConnKey, at: usize, behind: Behind) {
        let LocalRoom { home, home_place, .. } = *self.seats.room(behind.room);
        let Some(room) = home_place else { return };
        if !self.has_room_for(home) {
            let behind = self.connections.row_mut(conn).and_then(|row| row.work.as_mut()?.behind_in(behind.room));
            if let Some(behind) = behind.filter(|behind| !behind.waits) {
                behind.waits = true;
                self.flush.pulls_to_retry.push((conn, behind.room));
            }
            return;
        }
        let bytes_max = self.limits().outbox_soft_bytes_max as u32;
        let Some(row) = self.connections.row_mut(conn) else { return };
        let form = row.form();
        if let Some(entry) = row.work.as_mut().and_then(|work| work.behind.get_mut(at)) {
            entry.pulling = true;
        }
        let Behind { cursor, own_from, .. } = behind;
        self.post(home, Mail::Pull { room, conn, form, cursor, own_from, bytes_max });
    }

    fn behind_at(&self, conn: ConnKey, at: usize) -> Option<Behind> {
        let row = self.connections.row(conn)?;
        if row.stage != Stage::Open || row.flags.has(Flags::STALLED) {
            return None;
        }
        row.work.as_ref()?.behind.get(at).copied()
    }
}

//! Which shards have seats in a room, and what each of them has been sent.
//!
//! Promises: what a shard says of its seats is absolute, so that a later word may take the place of an earlier one.

use super::home::Room;
use crate::base::{Form, Identity, LocalPlace, Offset, Position, ShardId};

/// How many seats a shard has in a room, by encoding, and how many of them want to hear who comes and goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SeatCounts {
    pub by_encoding: [u32; 2],
    /// Of those, by encoding too: who agreed to be sent deflated messages.
    pub deflating: [u32; 2],
    pub watchers: u32,
}

impl SeatCounts {
    pub fn is_empty(self) -> bool {
        self.by_encoding == [0, 0]
    }

    pub fn total(self) -> u32 {
        self.by_encoding[0] + self.by_encoding[1]
    }

    /// One more that is written to in this form.
    pub fn add(&mut self, form: Form) {
        self.by_encoding[form.encoding.index()] += 1;
        self.deflating[form.encoding.index()] += u32::from(form.deflated);
    }

    /// One less.
    pub fn take(&mut self, form: Form) {
        self.by_encoding[form.encoding.index()] -= 1;
        self.deflating[form.encoding.index()] -= u32::from(form.deflated);
    }
}

/// One shard's part in a room.
#[derive(Debug)]
pub struct Attendance {
    pub shard: ShardId,
    /// Where that shard keeps the room.
    pub local: LocalPlace,
    pub seats: SeatCounts,
    /// The first offset this shard has not been sent, when a letter did not fit; `None`: it has everything.
    pub owed_from: Option<Offset>,
}

impl Room {
    /// Sets a shard's seats to this absolute value; none ends its attendance.
    pub fn set_seats(&mut self, shard: ShardId, local: LocalPlace, seats: SeatCounts) {
        match self.attendance.iter().position(|a| a.shard == shard) {
            Some(at) if seats.is_empty() => drop(self.attendance.swap_remove(at)),
            Some(at) => {
                let attendance = &mut self.attendance[at];
                (attendance.local, attendance.seats) = (local, seats);
            }
            None if seats.is_empty() => {}
            None => {
                self.idle_mark = 0;
                self.visited = true;
                self.attendance.reserve_exact(1);
                self.attendance.push(Attendance { shard, local, seats, owed_from: None });
            }
        }
    }

    /// Marks that this shard has not been sent `offset` and what follows.
    pub fn owe(&mut self, shard: ShardId, offset: Offset) {
        if let Some(a) = self.attendance.iter_mut().find(|a| a.shard == shard) {
            a.owed_from.get_or_insert(offset);
        }
    }

    /// Moves on what a shard is owed; `None`: it has everything.
    pub fn set_owed(&mut self, shard: ShardId, owed_from: Option<Offset>) {
        if let Some(a) = self.attendance.iter_mut().find(|a| a.shard == shard) {
            a.owed_from = owed_from;
        }
    }

    /// Connections that sit here, on all shards.
    pub fn seats(&self) -> u64 {
        self.attendance.iter().map(|attendance| u64::from(attendance.seats.total())).sum()
    }

    /// Whether somebody who comes back by another connection may have a seat beyond `seats_max`: its former one, which
    /// nobody has found dead yet, is among those that fill the room. So a user has two seats at most by it, and the room
    /// twice as many as it may.
    pub fn may_stand_twice(&self, who: &Identity, since: Option<Position>, seats_max: u32) -> bool {
        if self.keeps_people {
            return self.people.connections_of(who) == 1;
        }
        // Seats were limited after it was opened without knowing who sits here; but only who did knows which life of the
        // room this is.
        let knows = since.is_some_and(|since| since.epoch == self.epoch());
        knows && self.seats() <= 2 * u64::from(seats_max)
    }

    pub fn attendance(&self) -> &[Attendance] {
        &self.attendance
    }

    /// Nobody sits here on any shard.
    pub fn is_idle(&self) -> bool {
        self.attendance.is_empty()
    }

    pub fn watchers(&self) -> u32 {
        self.attendance.iter().map(|a| a.seats.watchers).sum()
    }
}

//! Rooms that are not granted any more are left: after a `refresh`, and after the default grants were narrowed.
//!
//! ```text
//!  refresh ─► this connection, at once
//!  Rules with other default grants ─► a round over the rows: those whose token has no `rooms`, so many seats a tick
//! ```
//!
//! Promises: who loses a seat has word of it (`removed`), and before it what was said until then, or a gap where that is
//! too much for it; nothing is heard of the
//! room afterwards; a change that concerns a million seats is no hole of seconds. Must never: take a seat that is granted
//! now, whatever held when the round began.

use super::grants::GrantTable;
use super::row::{SeatRef, Stage};
use super::{Count, Shard};
use crate::base::{ConnKey, Delivery, HomePlace, Offset};
use crate::room::Parting;
use crate::wire::{Event, GapWhy, RemovedWhy, Verb};

/// Ticks for one round over the rows, where few lose a seat: half a second with a tick of 100 ms.
const ROUND_TICKS: usize = 5;
/// Seats taken in one tick, more or less: the last row is finished. A quarter of what may be written in that time.
const UNSEATED_PER_TICK: u64 = 2_500;

impl Shard {
    /// A part of the round after the default grants changed.
    pub(super) fn unseat_by_default(&mut self) {
        let mut unseated = 0;
        for _ in 0..self.unseating.part(&self.connections, ROUND_TICKS) {
            if unseated >= UNSEATED_PER_TICK {
                return;
            }
            let Some(index) = self.unseating.next(&self.connections) else { return };
            #[cfg(feature = "planted-bugs")]
            if self.config.planted == Some(super::PlantedBug::SeatsOutliveGrants) {
                continue;
            }
            let row = self.connections.at(index);
            if row.stage == Stage::Open && row.grants == GrantTable::DEFAULT {
                let conn = row.key(index);
                unseated += self.leave_what_is_not_granted(conn);
            }
        }
    }

    /// What a slow reader is owed and will not be given any more.
    fn tell_left_out(&mut self, conn: ConnKey, place: SeatRef) {
        let room = self.seats.room(place.room);
        let seat = room.seats[place.seat as usize];
        let behind =
            || self.connections.row(conn)?.work.as_ref()?.behind.iter().find(|b| b.room == place.room).copied();
        let from = if seat.is_live() { Some(room.cursor(place.seat)) } else { behind().map(|behind| behind.cursor) };
        let (Some(from), Some(HomePlace { epoch, .. })) = (from, room.home_place) else { return };
        let to = Offset(room.next_offset().0 - 1);
        if room.delivery != Delivery::Reliable || from > to {
            return;
        }
        let room = room.name.clone();
        self.counters.add(Count::Gaps, 1);
        self.answer(conn, &Event::Gap { room: &room, epoch, from, to, why: GapWhy::Slow });
    }

    /// How many seats were taken.
    pub(super) fn leave_what_is_not_granted(&mut self, conn: ConnKey) -> u64 {
        let Some(row) = self.connections.row(conn) else { return 0 };
        let (grants, places) = (self.grants.grants(row.grants).clone(), row.seats.iter().collect::<Vec<_>>());
        let Some(identity) = row.identity.clone() else { return 0 };
        let mut unseated = 0;
        for SeatRef { room: at, .. } in places {
            // Who sits where may have changed with the seat before; and who reads nothing may be gone with it.
            let Some(place) = self.connections.row(conn).and_then(|row| row.seats.find(at)) else { continue };
            let name = self.seats.room(at).name.clone();
            let may = |verb| grants.allows(verb, name.as_str(), identity.user());
            if !may(Verb::Join) {
                self.collect_owed(conn, place, self.limits().outbox_soft_bytes_max);
                self.tell_left_out(conn, place);
                self.give_up_seat(conn, at, Parting::OnPurpose);
                self.answer(conn, &Event::Removed { room: &name, why: RemovedWhy::Grants });
                self.counters.add(Count::Unseated, 1);
                unseated += 1;
            } else if !may(Verb::Presence) && self.seats.room_mut(at).stop_watching(place.seat) {
                self.tell_counts(at);
            }
        }
        unseated
    }
}

//! Rooms that are not granted any more are left: after a `refresh`, and after the default grants, or what a class of rooms
//! allows, were narrowed.
//!
//! ```text
//!  refresh ─► this connection, at once
//!  Rules with other default grants ─► a round over the rows: those whose token has no `rooms`, so many seats a tick
//!  Rules with classes that allow less ─► the same, over all rows
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
    /// A part of the round after the rules changed.
    pub(super) fn unseat_by_default(&mut self) {
        let mut unseated = 0;
        for _ in 0..self.unseating.part(&self.connections, ROUND_TICKS) {
            if unseated >= UNSEATED_PER_TICK {
                return;
            }
            let Some(index) = self.unseating.next(&self.connections) else {
                self.unseats_everybody = false;
                return;
            };
            #[cfg(feature = "planted-bugs")]
            if self.config.planted == Some(super::PlantedBug::SeatsOutliveGrants) {
                continue;
            }
            let row = self.connections.at(index);
            if row.stage == Stage::Open && (self.unseats_everybody || row.grants == GrantTable::DEFAULT) {
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
            let room = self.seats.room(at);
            let (name, can) = (room.name.clone(), self.config.rules.classes.class(room.class).can);
            let may = |verb| can.has(verb) && grants.allows(verb, name.as_str(), identity.user());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::house::{House, class, rules, token};
    use super::super::{Input, Rules};
    use super::*;
    use crate::base::{Classes, Limits, RoomClass, Verbs};

    /// Regression: who sat in a room when a reload took `join` from its class heard on for ever; only the default grants were
    /// looked at.
    #[test]
    fn a_class_that_loses_join_by_a_reload_takes_the_seats_and_says_so_whatever_the_token_grants() {
        let of = |can| [("chat:*", class(|class| class.can = can))];
        let mut house = House::new(&of(Verbs::all()));
        let bearer = |rooms| format!("Authorization: Bearer {}\r\n", token("ann", None, rooms));
        let by_token = house.asks(0, &bearer(Some(r#"[{"match":"*","can":["join","publish","presence"]}]"#)), &[]);
        let by_default = house.asks(1, &bearer(None), &[]);
        for who in [by_token, by_default] {
            assert!(house.joins(who, "lobby").contains(r#""room":"lobby""#));
            let watches = r#"{"type":"join","id":1,"room":"chat:a","presence":true}"#;
            assert!(house.says(who, watches).contains(r#""room":"chat:a""#));
        }
        let reload = |house: &mut House, given: &[(&str, RoomClass)]| {
            let now = house.now;
            // The classes that held go on: a pattern keeps its id.
            let classes = Classes::new(&Limits::default(), given, Some(&house.shards[0].config.rules.classes)).unwrap();
            let rules = Arc::new(Rules { classes, ..rules(Limits::default(), given) });
            house.shards.iter_mut().for_each(|shard| shard.handle(now, Input::Rules(Arc::clone(&rules))));
            (0..10).for_each(|_| house.passes(100));
        };
        reload(&mut house, &of(Verbs::default().with(Verb::Join).with(Verb::Publish)));
        for who in [by_token, by_default] {
            assert!(!house.hears(who).contains("removed"), "who may sit there goes on");
        }
        reload(&mut house, &of(Verbs::default().with(Verb::Publish)));
        for who in [by_token, by_default] {
            let told = house.hears(who);
            assert_eq!(told.matches(r#""type":"removed""#).count(), 1, "{told}");
            assert!(told.contains(r#""room":"chat:a""#) && told.contains(r#""why":"grants""#), "{told}");
        }
        house.publishes(by_token, "chat:a", "", "1");
        assert!(!house.hears(by_default).contains("message"), "nothing is heard of it afterwards");
        house.publishes(by_token, "lobby", "", "1");
        assert!(house.hears(by_default).contains("message"), "and of other rooms everything");
        assert_eq!(house.shards.iter().map(|shard| shard.gauges().seats).sum::<u64>(), 2);
    }
}

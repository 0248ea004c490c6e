//! At the shard of those who sit: what they do is gathered and sent to the room's home once per tick.
//!
//! Promises: one letter per room and tick, however often somebody says it; of what one user does the last word counts
//! (typing, what is shown of them), or the highest (reads); what does not fit the home's inbox stays and is merged; what
//! somebody did before they left comes before their leaving, and what somebody has read is never lost; who asks for a seat
//! and is refused one has done nothing. Nothing is kept for a room in which nobody does anything.

use std::collections::{BTreeMap, BTreeSet};

use super::row::SeatRef;
use super::{Count, Mail, RoomRef, Shard};
use crate::base::{ConnKey, Delivery, Identity, Offset, RoomClass, RoomName};
use crate::room::{Doings, Gone};
use crate::wire::{Event, Refusal, Verb};

/// What people did since the last tick, by local room: at most one entry for each of its seats.
#[derive(Default, Debug)]
pub(crate) struct LocalDoings {
    told: BTreeMap<u32, OfRoom>,
    /// Of seats that wait for their answer, by room and connection: it may be that there is none for them.
    early: BTreeMap<(u32, ConnKey), Early>,
}

#[derive(Debug)]
struct Early {
    who: Identity,
    typing: Option<bool>,
    read: Option<Offset>,
}

#[derive(Default, Debug)]
struct OfRoom {
    typing: BTreeMap<Identity, bool>,
    reads: BTreeMap<Identity, Offset>,
    anew: BTreeSet<Identity>,
}

/// Who does something, and in which local room.
struct Doer {
    at: u32,
    who: Identity,
    /// Its seat waits for its answer.
    is_early: bool,
}

impl From<OfRoom> for Doings {
    fn from(OfRoom { typing, reads, anew }: OfRoom) -> Self {
        Self {
            typing: typing.into_iter().collect(),
            reads: reads.into_iter().collect(),
            anew: anew.into_iter().collect(),
        }
    }
}

impl LocalDoings {
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.early.is_empty()
    }

    fn early(&mut self, at: u32, conn: ConnKey, who: Identity) -> &mut Early {
        self.early.entry((at, conn)).or_insert(Early { who, typing: None, read: None })
    }

    fn read(&mut self, at: u32, who: Identity, to: Offset) {
        let highest = self.told.entry(at).or_default().reads.entry(who).or_default();
        *highest = to.max(*highest);
    }

    /// The seat was given: what was done on it before that counts.
    pub(super) fn on_seat(&mut self, at: u32, conn: ConnKey) {
        let Some(Early { who, typing, read }) = self.early.remove(&(at, conn)) else { return };
        if let Some(to) = read {
            self.read(at, who.clone(), to);
        }
        if let Some(on) = typing {
            self.told.entry(at).or_default().typing.insert(who, on);
        }
    }

    /// The seat was refused: nobody has done anything on it.
    pub(super) fn on_no_seat(&mut self, at: u32, conn: ConnKey) {
        self.early.remove(&(at, conn));
    }

    /// The seat is given up, or somebody asks, before it is known whether there is one. What was read is told, for it is
    /// never lost; that somebody types who may not be there is not.
    pub(super) fn without_answer(&mut self, at: u32, conn: ConnKey) {
        let Some(early) = self.early.get_mut(&(at, conn)) else { return };
        let (who, read) = (early.who.clone(), early.read.take());
        if let Some(to) = read {
            self.read(at, who, to);
        }
    }
}

impl Shard {
    pub(super) fn ask_typing(&mut self, conn: ConnKey, id: Option<u64>, room: &str, on: bool) -> Result<(), Refusal> {
        self.require(conn, Verb::Publish, room)?;
        let Doer { at, who, is_early } = self.doer(conn, room)?;
        if self.class_of(at).typing_ms == 0 {
            return Err(Refusal::Unsupported);
        }
        if is_early {
            self.doings.early(at, conn, who).typing = Some(on);
        } else {
            self.doings.told.entry(at).or_default().typing.insert(who, on);
        }
        self.answer_done(conn, id, at, |id, room| Event::TypingTaken { id, room });
        Ok(())
    }

    pub(super) fn ask_read(&mut self, conn: ConnKey, id: Option<u64>, room: &str, to: Offset) -> Result<(), Refusal> {
        let Doer { at, who, is_early } = self.doer(conn, room)?;
        let (room, class) = (self.seats.room(at), self.class_of(at));
        // What a room was opened as its home says with the first seat.
        let delivery = if room.home_place.is_some() { room.delivery } else { class.delivery };
        if !class.receipts || delivery != Delivery::Reliable {
            return Err(Refusal::Unsupported);
        }
        if is_early {
            let highest = &mut self.doings.early(at, conn, who).read;
            *highest = Some(to).max(*highest);
        } else {
            self.doings.read(at, who, to);
        }
        self.answer_done(conn, id, at, |id, room| Event::ReadTaken { id, room });
        Ok(())
    }

    /// A newer token says something else of this connection's user: its rooms are told.
    pub(super) fn note_said_anew(&mut self, conn: ConnKey, who: &Identity) {
        let Some(row) = self.connections.row(conn) else { return };
        for place in row.seats.iter() {
            self.doings.told.entry(place.room).or_default().anew.replace(who.clone());
        }
    }

    pub(super) fn ask_presence(&mut self, conn: ConnKey, id: Option<u64>, room: &str) -> Result<(), Refusal> {
        self.require(conn, Verb::Presence, room)?;
        let home = self.home_of(room);
        if !self.has_room_for(home) {
            self.counters.add(Count::LettersFull, 1);
            return Err(Refusal::Busy);
        }
        let room = RoomName::parse(room).map_err(|_| Refusal::BadRoom)?;
        self.post(home, Mail::AskPresence { room, conn, id });
        Ok(())
    }

    pub(super) fn ask_unread(&mut self, conn: ConnKey, id: Option<u64>, room: &str) -> Result<(), Refusal> {
        self.require(conn, Verb::Join, room)?;
        let home = self.home_of(room);
        let Some(who) = self.connections.row(conn).and_then(|row| row.identity.clone()) else { return Ok(()) };
        let Some(id) = id.filter(|_| self.has_room_for(home)) else {
            self.counters.add(Count::LettersFull, 1);
            return Err(Refusal::Busy);
        };
        if let Some(at) = self.seats.find(room) {
            // Whoever has just read something must not be told that it is unread.
            self.doings.without_answer(at, conn);
            self.tell_doings_of(at);
            self.tell_reads_by_name(at);
        }
        let room = RoomName::parse(room).map_err(|_| Refusal::BadRoom)?;
        self.post(home, Mail::AskUnread { room, conn, id, who });
        Ok(())
    }

    /// Once per tick: a letter to the home of each room in which somebody did something.
    pub(super) fn tell_doings(&mut self) {
        let rooms: Vec<u32> = self.doings.told.keys().copied().collect();
        for at in rooms {
            if self.has_room_for(self.seats.room(at).home) {
                self.tell_doings_of(at);
            }
        }
    }

    /// What was done in this room goes to its home now, whether there is room or not: it is one letter. Where the first
    /// seat has no answer yet it waits for that.
    pub(super) fn tell_doings_of(&mut self, at: u32) {
        let room = self.seats.room(at);
        let (home, Some(place)) = (room.home, room.home_place) else { return };
        let Some(doings) = self.doings.told.remove(&at) else { return };
        self.post(home, Mail::Doings { room: RoomRef::At(place), doings: Box::new(doings.into()) });
    }

    /// Somebody leaves. Where no answer named the room's place yet, what they have read goes by its name; that they type is
    /// not told: the home would take it for what somebody does who is there.
    pub(super) fn tell_doings_before_leaving(&mut self, at: u32, gone: &[Gone]) {
        self.tell_doings_of(at);
        self.tell_reads_by_name(at);
        if self.seats.room(at).seats.is_empty() {
            self.doings.told.remove(&at);
        } else if let Some(doings) = self.doings.told.get_mut(&at) {
            for gone in gone {
                doings.typing.remove(&gone.who);
                doings.anew.remove(&gone.who);
            }
        }
    }

    /// How far people have read in a room whose place is not known yet: its home has heard of the join before.
    fn tell_reads_by_name(&mut self, at: u32) {
        let room = self.seats.room(at);
        let (home, name) = (room.home, RoomRef::Named(room.name.clone()));
        let Some(doings) = self.doings.told.get_mut(&at).filter(|doings| !doings.reads.is_empty()) else { return };
        let reads = std::mem::take(&mut doings.reads);
        let doings = Doings { reads: reads.into_iter().collect(), ..Doings::default() };
        self.post(home, Mail::Doings { room: name, doings: Box::new(doings) });
    }

    /// The local room and the user of somebody who has a seat there, or has asked for one: its home hears of that first.
    fn doer(&self, conn: ConnKey, room: &str) -> Result<Doer, Refusal> {
        let SeatRef { room: at, seat } = self.seat_of(conn, room).ok_or(Refusal::NotJoined)?;
        let who = self.connections.row(conn).and_then(|row| row.identity.clone()).ok_or(Refusal::NotJoined)?;
        Ok(Doer { at, who, is_early: self.seats.room(at).seats[seat as usize].is_joining() })
    }

    fn class_of(&self, at: u32) -> &RoomClass {
        self.config.rules.classes.class(self.seats.room(at).class)
    }

    fn answer_done(
        &mut self,
        conn: ConnKey,
        id: Option<u64>,
        at: u32,
        event: impl for<'a> Fn(u64, &'a RoomName) -> Event<'a>,
    ) {
        if let Some(id) = id {
            let room = self.seats.room(at).name.clone();
            self.answer(conn, &event(id, &room));
        }
    }
}

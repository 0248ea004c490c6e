//! At the shard of those who sit: what they do is gathered and sent to the room's home once per tick.
//!
//! Promises: one letter per room and tick, however often somebody says it; of what one user does the last word counts
//! (typing, what is shown of them), or the highest (reads); what does not fit the home's inbox stays and is merged; what
//! somebody did before they left comes before their leaving, and what somebody has read is never lost. Nothing is kept for
//! a room in which nobody does anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mail, RoomRef, Shard};
use crate::base::{ConnKey, Identity, Offset, RoomClass, RoomName};
use crate::room::{Doings, Gone};
use crate::wire::{Event, Refusal, Verb};

/// What people did since the last tick, by local room: at most one entry for each of its seats.
#[derive(Default, Debug)]
pub(crate) struct LocalDoings(BTreeMap<u32, OfRoom>);

#[derive(Default, Debug)]
struct OfRoom {
    typing: BTreeMap<Identity, bool>,
    reads: BTreeMap<Identity, Offset>,
    anew: BTreeSet<Identity>,
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
        self.0.is_empty()
    }
}

impl Shard {
    pub(super) fn ask_typing(&mut self, conn: ConnKey, id: Option<u64>, room: &str, on: bool) -> Result<(), Refusal> {
        self.require(conn, Verb::Publish, room)?;
        let (at, who) = self.doer(conn, room)?;
        if self.class_of(at).typing_ms == 0 {
            return Err(Refusal::Unsupported);
        }
        self.doings.0.entry(at).or_default().typing.insert(who, on);
        self.answer_done(conn, id, at, |id, room| Event::TypingTaken { id, room });
        Ok(())
    }

    pub(super) fn ask_read(&mut self, conn: ConnKey, id: Option<u64>, room: &str, to: Offset) -> Result<(), Refusal> {
        let (at, who) = self.doer(conn, room)?;
        if !self.class_of(at).keeps_reads() {
            return Err(Refusal::Unsupported);
        }
        let highest = self.doings.0.entry(at).or_default().reads.entry(who).or_default();
        *highest = to.max(*highest);
        self.answer_done(conn, id, at, |id, room| Event::ReadTaken { id, room });
        Ok(())
    }

    /// A newer token says something else of this connection's user: its rooms are told.
    pub(super) fn note_said_anew(&mut self, conn: ConnKey, who: &Identity) {
        let Some(row) = self.connections.row(conn) else { return };
        for place in row.seats.iter() {
            self.doings.0.entry(place.room).or_default().anew.replace(who.clone());
        }
    }

    pub(super) fn ask_presence(&mut self, conn: ConnKey, id: Option<u64>, room: &str) -> Result<(), Refusal> {
        self.require(conn, Verb::Presence, room)?;
        let home = self.home_of(room);
        if !self.has_room_for(home) {
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
        let Some(id) = id.filter(|_| self.has_room_for(home)) else { return Err(Refusal::Busy) };
        if let Some(at) = self.seats.find(room) {
            // Whoever has just read something must not be told that it is unread.
            self.tell_doings_of(at);
            self.tell_reads_by_name(at);
        }
        let room = RoomName::parse(room).map_err(|_| Refusal::BadRoom)?;
        self.post(home, Mail::AskUnread { room, conn, id, who });
        Ok(())
    }

    /// Once per tick: a letter to the home of each room in which somebody did something.
    pub(super) fn tell_doings(&mut self) {
        let rooms: Vec<u32> = self.doings.0.keys().copied().collect();
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
        let Some(doings) = self.doings.0.remove(&at) else { return };
        self.post(home, Mail::Doings { room: RoomRef::At(place), doings: Box::new(doings.into()) });
    }

    /// Somebody leaves. Where no answer named the room's place yet, what they have read goes by its name; that they type is
    /// not told: the home would take it for what somebody does who is there.
    pub(super) fn tell_doings_before_leaving(&mut self, at: u32, gone: &[Gone]) {
        self.tell_doings_of(at);
        self.tell_reads_by_name(at);
        if self.seats.room(at).seats.is_empty() {
            self.doings.0.remove(&at);
        } else if let Some(doings) = self.doings.0.get_mut(&at) {
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
        let Some(doings) = self.doings.0.get_mut(&at).filter(|doings| !doings.reads.is_empty()) else { return };
        let reads = std::mem::take(&mut doings.reads);
        let doings = Doings { reads: reads.into_iter().collect(), ..Doings::default() };
        self.post(home, Mail::Doings { room: name, doings: Box::new(doings) });
    }

    /// The local room and the user of somebody who has a seat there, or has asked for one: its home hears of that first.
    fn doer(&self, conn: ConnKey, room: &str) -> Result<(u32, Identity), Refusal> {
        let place = self.seat_of(conn, room).ok_or(Refusal::NotJoined)?;
        let who = self.connections.row(conn).and_then(|row| row.identity.clone()).ok_or(Refusal::NotJoined)?;
        Ok((place.room, who))
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

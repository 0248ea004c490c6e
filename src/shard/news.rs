//! At a room's home: what its people do comes in by letter and goes out to those who watch, once per tick.
//!
//! Promises: one letter per room, shard and tick, whatever happened; what does not fit an inbox stays here and is merged
//! with what follows; what ends by itself (typing, being away) ends though nobody says so. Must never: look at a room in
//! which nothing happens.

use std::sync::Arc;

use super::{Count, Mail, RoomRef, Shard};
use crate::base::{ConnKey, Identity, LocalPlace, Now, Offset, Presence, RoomName, ShardId};
use crate::room::{Doings, Roll};
use crate::wire::Refusal;

impl Shard {
    /// To be called when something was done in a room.
    pub(super) fn note_news(&mut self, now: Now, at: u32) {
        let Some(room) = self.rooms.room_mut(at) else { return };
        if !room.queued && room.has_news(now) {
            room.queued = true;
            self.news.push(at);
        }
        // What is due by now is looked at with this tick, or is not over for another reason: nothing rings twice at once.
        let due = room.next_due().map(|due| due.max(now.mono_ms + 1));
        if let Some(due) = due {
            self.rooms.ring_at(at, due);
        }
    }

    /// What people at some shard did.
    pub(super) fn on_doings(&mut self, now: Now, room: &RoomRef, doings: &Doings) {
        let rules = Arc::clone(&self.config.rules);
        let found = match room {
            RoomRef::At(place) => self.rooms.at_mut(*place).map(|room| (place.at, room)),
            RoomRef::Named(name) => self.rooms.find_mut(name.as_str()),
        };
        let Some((at, room)) = found else {
            // A room with a seat is never forgotten, and who gave up a seat told of its doings first.
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let before = room.outlasting();
        let receipts_max = self.rooms.may_outlast(before, &rules.limits).reads;
        let Some(room) = self.rooms.room_mut(at) else { return };
        let class = rules.classes.class(room.class());
        let dropped = room.take_in(now, doings, class, &rules.limits, receipts_max);
        self.rooms.account_people(at, before);
        self.counters.add(Count::TypingFull, dropped.typing);
        self.counters.add(Count::ReadsForgotten, dropped.reads);
        self.note_news(now, at);
    }

    pub(super) fn on_ask_presence(&mut self, from: ShardId, name: RoomName, conn: ConnKey, id: Option<u64>) {
        let roll = self.roll_of(&name);
        let refusal = match roll.presence {
            Presence::Off => Some(Refusal::Unsupported),
            Presence::Counted | Presence::Announced => (!self.has_room_for(from)).then_some(Refusal::Busy),
        };
        match refusal {
            Some(refusal) => self.post(from, Mail::Refused { conn, id, refusal }),
            None => self.post(from, Mail::Presence { room: name, conn, id, roll }),
        }
    }

    pub(super) fn on_ask_unread(&mut self, from: ShardId, name: RoomName, conn: ConnKey, id: u64, who: &Identity) {
        if !self.has_room_for(from) {
            self.post(from, Mail::Refused { conn, id: Some(id), refusal: Refusal::Busy });
            return;
        }
        let rules = Arc::clone(&self.config.rules);
        let (epoch, head, read) = match self.rooms.find_mut(name.as_str()) {
            Some((_, room)) => {
                let class = rules.classes.class(room.class());
                (Some(room.epoch()), room.head(), room.read_of(who, class))
            }
            None => {
                let class = rules.classes.class(rules.classes.of_room(name.as_str()));
                (None, Offset(0), class.keeps_reads().then_some(Offset(0)))
            }
        };
        self.post(from, Mail::Unread { room: name, conn, id, epoch, head, read });
    }

    /// Who is in a room, for somebody who asks.
    pub(super) fn roll_of(&mut self, name: &RoomName) -> Roll {
        let rules = Arc::clone(&self.config.rules);
        match self.rooms.find_mut(name.as_str()) {
            Some((_, room)) => {
                let class = rules.classes.class(room.class());
                room.roll(true, class, &rules.limits)
            }
            None => {
                let class = rules.classes.class(rules.classes.of_room(name.as_str()));
                let names = class.presence != Presence::Off;
                let reads = class.keeps_reads().then(|| Arc::from([]));
                let members = names.then(|| Arc::from([]));
                Roll { presence: class.presence, members, count: 0, version: 0, reads }
            }
        }
    }

    /// Tells those who watch what happened since the last tick.
    pub(super) fn announce_news(&mut self, now: Now) {
        self.ring_alarms(now);
        for at in std::mem::take(&mut self.news) {
            self.announce_news_of(now, at);
        }
    }

    fn announce_news_of(&mut self, now: Now, at: u32) {
        let rules = Arc::clone(&self.config.rules);
        let Some(room) = self.rooms.room_mut(at) else { return };
        room.queued = false;
        let attending: Vec<(ShardId, LocalPlace, bool)> =
            room.attendance().iter().map(|a| (a.shard, a.local, a.seats.watchers > 0)).collect();
        if attending.iter().any(|(shard, ..)| !self.has_room_for(*shard)) {
            self.note_news(now, at);
            return;
        }
        let Some(room) = self.rooms.room_mut(at) else { return };
        let class = rules.classes.class(room.class());
        let names = room.presence(class) == Presence::Announced;
        let news = room.take_news(now, class, &rules.limits);
        #[cfg(feature = "planted-bugs")]
        let news = news.map(|news| self.planted_ghost_in_presence(news));
        let news = news.map(Arc::new);
        // What did not fit one telling follows with the next tick.
        self.note_news(now, at);
        let Some(news) = news else { return };
        let too_many = news.changes.as_ref().is_some_and(|changes| changes.counted);
        self.counters.add(Count::PresenceCounted, u64::from(too_many && names));
        for (shard, room, watches) in attending {
            if watches || !news.elsewhere.is_empty() {
                self.post(shard, Mail::News { room, news: Arc::clone(&news) });
            }
        }
    }

    /// What is over by now ends.
    fn ring_alarms(&mut self, now: Now) {
        let rules = Arc::clone(&self.config.rules);
        while let Some(at) = self.rooms.take_ringing(now) {
            let Some(room) = self.rooms.room_mut(at) else { continue };
            let before = room.outlasting();
            room.expire(now, rules.classes.class(room.class()), &rules.limits);
            self.rooms.account_people(at, before);
            self.note_news(now, at);
            self.rooms.settle(now, at, &rules.limits);
        }
    }
}

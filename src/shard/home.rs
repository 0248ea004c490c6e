//! Letters to a room's home: the only place that writes the room.

use std::hash::BuildHasher;
use std::sync::Arc;

use crate::base::{
    ConnAddress, Delivery, Encoding, Form, HomePlace, LocalPlace, LogBounds, Now, Offset, Position, RoomName, ShardId,
};
use crate::room::{Attendance, Gone, KeyUse, Own, Post, Room, SeatCounts, Seen};
use crate::wire::{Press, Refusal, SharedFrame};

use super::mail::{Deliver, Join, Joined, Publish, RoomRef};
use super::{ClassCount, Count, Mail, Shard};

impl Shard {
    pub(super) fn on_join(&mut self, now: Now, from: ShardId, join: Join) {
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        let (at, room) = self.rooms.open(&join.room, &rules.classes);
        let class = rules.classes.class(room.class());
        let bytes_before = room.log().bytes();
        room.set_seats(from, join.local, join.seats);
        let people_before = room.outlasting();
        trim(room, now, class.log.age_ms);
        let is_full = class.seats_max > 0 && room.seats() > u64::from(class.seats_max);
        if is_full && !(join.resumes && room.may_stand_twice(&join.identity, join.since, class.seats_max)) {
            self.rooms.account(at, bytes_before);
            self.note_news(now, at);
            self.turn_from_room(from, &join);
            return;
        }
        room.enter(&join.identity, class, limits);
        let history = join.history as usize;
        let start = match join.since {
            None if join.resumes => room.start_unknown(history, limits),
            since => room.start(since, history, limits),
        };
        #[cfg(feature = "planted-bugs")]
        let start = self.config.plant_start(start, join.resumes, room.head());
        let joined = Joined {
            conn: join.conn,
            ticket: join.ticket,
            id: join.id,
            epoch: room.epoch(),
            head: room.head(),
            start,
            read: room.read_of(&join.identity, class),
            roll: join.presence.then(|| room.roll(false, class, limits)),
            room: join.local,
            home_at: at,
            delivery: room.delivery(),
        };
        let class = room.class();
        self.rooms.account(at, bytes_before);
        self.rooms.account_people(at, people_before);
        self.note_news(now, at);
        self.counters.add_of(class, ClassCount::Joins, 1);
        self.post(from, Mail::Joined(Box::new(joined)));
    }

    /// The room is full. It counts until its shard has given the seat back, and nobody is told who wanted in.
    fn turn_from_room(&mut self, from: ShardId, join: &Join) {
        let Join { local: room, conn, ticket, id, .. } = *join;
        self.turned_away.insert((from, conn, ticket));
        self.post(from, Mail::NoSeat { room, conn, ticket, id, refusal: Refusal::RoomFull });
    }

    pub(super) fn on_leave(
        &mut self,
        now: Now,
        from: ShardId,
        name: &RoomName,
        local: LocalPlace,
        seats: SeatCounts,
        gone: &[Gone],
    ) {
        let rules = Arc::clone(&self.config.rules);
        let Some((at, room)) = self.rooms.find_mut(name.as_str()) else { return };
        room.set_seats(from, local, seats);
        let before = room.outlasting();
        let away_max = self.rooms.may_outlast(before, &rules.limits).away;
        let Some(room) = self.rooms.room_mut(at) else { return };
        let class = rules.classes.class(room.class());
        let turned_away = &mut self.turned_away;
        let mut never_sat =
            |gone: &Gone| gone.unanswered.is_some_and(|(conn, ticket)| turned_away.remove(&(from, conn, ticket)));
        let stays = |gone: &Gone| room.leave(now, gone, class, &rules.limits, away_max);
        let left_at_once = gone.iter().filter(|gone| !never_sat(gone)).map(stays).filter(|stays| !stays).count() as u64;
        self.counters.add(Count::AwayFull, left_at_once);
        self.rooms.account_people(at, before);
        self.note_news(now, at);
        self.rooms.settle(now, at, &rules.limits);
    }

    pub(super) fn on_publish(&mut self, now: Now, from: ShardId, publish: Publish) {
        let (conn, id) = (publish.conn, publish.ack.as_ref().map(|ack| ack.id));
        let (position, dup) = match self.take_publish(now, from, &publish) {
            Ok(Taken::Now(accepted)) => {
                self.publish_accepted(now, &accepted);
                (accepted.position, false)
            }
            Ok(Taken::Before(position)) => (position, true),
            Err(No::Refused(refusal)) => return self.post(from, Mail::Refused { conn, id, refusal }),
            Err(No::TooOften(retry_after_ms)) => return self.post(from, Mail::TooOften { conn, id, retry_after_ms }),
        };
        if let Some(ack) = publish.ack {
            self.post(from, Mail::Published { conn, ack, position, dup });
        }
    }

    /// By key, rate and room for it. What was said before is neither counted nor said again.
    fn take_publish(&mut self, now: Now, from: ShardId, publish: &Publish) -> Result<Taken, No> {
        let at = self.open_room(&publish.room)?;
        let taken = self.take_publish_at(now, from, at, publish);
        if taken.is_err() {
            self.settle_room(now, at);
        }
        taken
    }

    fn take_publish_at(&mut self, now: Now, from: ShardId, at: u32, publish: &Publish) -> Result<Taken, No> {
        let rules = Arc::clone(&self.config.rules);
        let wish = publish.key.as_deref().map(|key| self.key_use(publish, key));
        let Some(room) = self.rooms.room_mut(at) else { return Err(Refusal::Busy.into()) };
        let (class, epoch) = (room.class(), room.epoch());
        let window = rules.classes.class(class).idempotency;
        // Where the last value of each key is kept, a value that is set twice is the same value.
        let wish = wish.filter(|_| room.delivery() == Delivery::Reliable);
        let keys_before = room.keys_held();
        let seen = match wish {
            Some(_) if window.keys_max == 0 => return Err(Refusal::Unsupported.into()),
            Some(wish) => room.seen(now, wish, window),
            None => Seen::Never,
        };
        self.rooms.account_keys(at, keys_before);
        match seen {
            Seen::Never => {}
            Seen::Before(offset) => {
                self.counters.add_of(class, ClassCount::Duplicates, 1);
                return Ok(Taken::Before(Position { epoch, offset }));
            }
            Seen::Otherwise => return Err(Refusal::KeyReused.into()),
        }
        self.may_publish(now, at, publish.identity.user()).map_err(No::TooOften)?;
        let skip = publish.skip_own.then_some(ConnAddress { shard: from, conn: publish.conn });
        let (event, key) = (publish.event.as_deref(), publish.key.as_deref());
        let post = Post { from: &publish.identity, event, key, payload: &publish.payload, skip };
        let accepted = self.accept_at(now, at, &post)?;
        if wish.is_some() {
            self.make_room_for_key(now, at, rules.limits.idempotency_keys_max);
        }
        if let (Some(wish), Some(room)) = (wish, self.rooms.room_mut(at)) {
            let keys_before = room.keys_held();
            room.note_key(now, wish, accepted.offset, window);
            self.rooms.account_keys(at, keys_before);
        }
        Ok(Taken::Now(accepted))
    }

    /// Nobody's publish is refused because others use many keys: what is known longest is forgotten. Where the bound was
    /// lowered, each new one makes room for two.
    fn make_room_for_key(&mut self, now: Now, at: u32, keys_max: usize) {
        for _ in 0..2 {
            let Some(from) = self.rooms.make_room_for_key(at, keys_max) else { return };
            self.counters.add(Count::KeysFull, 1);
            if from != at {
                self.settle_room(now, from);
            }
        }
    }

    /// Gives a message its position, or says why not. [`Shard::publish_accepted`] must follow.
    pub(super) fn accept(&mut self, now: Now, room: &RoomRef, post: &Post<'_>) -> Result<Accepted, Refusal> {
        let at = self.open_room(room)?;
        let accepted = self.accept_at(now, at, post);
        if accepted.is_err() {
            self.settle_room(now, at);
        }
        accepted
    }

    /// Where the room is; a new one if it is named and not there. A refusal must be followed by a settling.
    fn open_room(&mut self, room: &RoomRef) -> Result<u32, Refusal> {
        let rules = Arc::clone(&self.config.rules);
        // Before it is opened: it may be the longest empty itself.
        self.rooms.is_full(&rules.limits);
        match room {
            RoomRef::Named(name) => Ok(self.rooms.open(name, &rules.classes).0),
            RoomRef::At(place) if self.rooms.at_mut(*place).is_some() => Ok(place.at),
            RoomRef::At(_) => {
                // Cannot be: a room is kept while a shard has seats in it, and its letters come in order.
                self.counters.add(Count::StaleKeys, 1);
                Err(Refusal::Busy)
            }
        }
    }

    fn accept_at(&mut self, now: Now, at: u32, post: &Post<'_>) -> Result<Accepted, Refusal> {
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        let is_full = self.rooms.bytes() > limits.logs_bytes_max;
        let Some(room) = self.rooms.room_mut(at) else { return Err(Refusal::Busy) };
        let class = rules.classes.class(room.class());
        if post.payload.bytes().len() > class.message_bytes_max {
            return Err(Refusal::TooLong);
        }
        let here = room.attendance().iter().find(|a| a.shard == self.config.id).map(|a| a.local);
        let unsent_here =
            here.and_then(|local| self.seats.resolve(local)).map_or(0, |at| self.seats.room(at).pending.len());
        let bytes_before = room.log().bytes();
        trim(room, now, class.log.age_ms);
        // What is said where all logs together are full costs its own room, and nobody else a refusal.
        let bytes_max = if is_full { room.log().bytes() / 2 } else { class.log.bytes_max };
        let bounds = LogBounds { bytes_max: bytes_max.min(class.log.bytes_max), ..class.log };
        let admits = room.admits(post, bounds) && unsent_here < limits.pending_messages_max;
        self.rooms.account(at, bytes_before);
        self.counters.add(Count::LogsFull, u64::from(is_full));
        if !admits {
            return Err(Refusal::Busy);
        }
        let Some(room) = self.rooms.room_mut(at) else { return Err(Refusal::Busy) };
        let bytes_before = room.log().bytes();
        let appended = room.append(now, post, bounds, &mut self.scratch);
        let told = if room.delivery() == Delivery::Reliable { appended.offset } else { Offset(0) };
        let (position, class) = (Position { epoch: room.epoch(), offset: told }, room.class());
        if room.has_news(now) {
            // Whoever was typing has said it.
            self.note_news(now, at);
        }
        self.counters.add(Count::Publishes, 1);
        self.counters.add_of(class, ClassCount::Publishes, 1);
        self.counters.add_of(class, ClassCount::PublishedBytes, post.payload.bytes().len() as u64);
        self.counters.add_of(class, ClassCount::Overtaken, appended.overtaken as u64);
        Ok(Accepted { at, position, offset: appended.offset, bytes_before })
    }

    /// Sends an accepted message to everybody's shard.
    pub(super) fn publish_accepted(&mut self, now: Now, accepted: &Accepted) {
        self.spread(accepted.at, accepted.offset);
        if let Some(room) = self.rooms.room_mut(accepted.at) {
            room.sent();
            #[cfg(feature = "planted-bugs")]
            if self.config.planted == Some(super::PlantedBug::LettersDoNotWait)
                && room.is_idle()
                && room.name().as_str().starts_with('@')
            {
                room.log_mut().clear();
            }
        }
        self.rooms.account(accepted.at, accepted.bytes_before);
        self.settle_room(now, accepted.at);
    }

    fn settle_room(&mut self, now: Now, at: u32) {
        let rules = Arc::clone(&self.config.rules);
        self.rooms.settle(now, at, &rules.limits);
    }

    /// By what a publish is known again: who said it by which key, and what.
    fn key_use(&self, publish: &Publish, key: &str) -> KeyUse {
        let state = self.seed.state();
        let user = publish.identity.user();
        #[cfg(feature = "planted-bugs")]
        let user = if self.config.planted == Some(super::PlantedBug::WrongDedupScope) { "" } else { user };
        let said = (publish.payload.encoding().index(), publish.event.as_deref(), &publish.payload.bytes()[..]);
        KeyUse { key: state.hash_one((user, key)), payload: state.hash_one(said) }
    }

    pub(super) fn on_pull(&mut self, own: Own, place: HomePlace, form: Form, cursor: Offset, bytes_max: u32) {
        let Some(room) = self.rooms.at_mut(place) else {
            // A room with a seat is never forgotten; only a reader that left meanwhile asks for one that is gone.
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let bytes_before = room.log().bytes();
        let ConnAddress { shard: from, conn } = own.reader;
        let page = room.page(cursor, form, own, bytes_max as usize, &mut self.scratch);
        #[cfg(feature = "planted-bugs")]
        let page = self.planted_foreign(place.at, cursor, form, page);
        let Some(room) = self.rooms.room_mut(place.at) else { return };
        let local = room.attendance().iter().find(|a| a.shard == from).map(|a| a.local);
        self.rooms.account(place.at, bytes_before);
        match local {
            Some(room) => self.post(from, Mail::Page { room, conn, cursor, page }),
            // It left meanwhile.
            None => self.counters.add(Count::StaleKeys, 1),
        }
    }

    /// Sends shards whose inbox was full what they are owed, from the log, as far as it fits now.
    pub(super) fn send_owed(&mut self) {
        for _ in 0..self.owed.len() {
            let Some((place, shard)) = self.owed.pop_front() else { return };
            if !self.refill(place, shard) {
                self.owed.push_back((place, shard));
            }
        }
    }

    /// One `Deliver` per shard that has a seat; a shard that cannot take it is owed it.
    fn spread(&mut self, at: u32, offset: Offset) {
        let Some(room) = self.rooms.room_mut(at) else { return };
        let Some(Spread { frames, skip, accepted_mono_ms }) = frames_of(room, offset, &mut self.scratch) else {
            return;
        };
        let (epoch, class, delivery) = (room.epoch(), room.class(), room.delivery());
        for n in 0..room.attendance().len() {
            let Some(&Attendance { shard, local, owed_from, .. }) =
                self.rooms.room_mut(at).and_then(|room| room.attendance().get(n))
            else {
                return;
            };
            if owed_from.is_some() {
                continue;
            }
            if self.has_room_for(shard) {
                let frames = frames.clone();
                self.post(shard, Mail::Deliver(Deliver { room: local, offset, frames, skip, accepted_mono_ms }));
            } else if delivery == Delivery::Ephemeral {
                self.counters.add_of(class, ClassCount::Dropped, 1);
            } else {
                self.counters.add(Count::Bounced, 1);
                self.owed.push_back((HomePlace { at, epoch }, shard));
                if let Some(room) = self.rooms.room_mut(at) {
                    room.owe(shard, offset);
                }
            }
        }
    }

    /// Whether the shard has everything now (or has no seat any more).
    fn refill(&mut self, place: HomePlace, shard: ShardId) -> bool {
        let Some(room) = self.rooms.at_mut(place) else { return true };
        let at = place.at;
        let attendance = room.attendance().iter().find(|a| a.shard == shard);
        let Some((local, Some(mut owed))) = attendance.map(|a| (a.local, a.owed_from)) else { return true };
        let bytes_before = room.log().bytes();
        let mut complete = false;
        while !complete && self.has_room_for(shard) {
            let Some(room) = self.rooms.room_mut(at) else { return true };
            let kept = room.log().next_from(owed).unwrap_or(owed);
            // In other rooms what was overtaken meanwhile is passed over; here the shard will find out, and pull.
            debug_assert!(
                kept == owed || room.delivery() != Delivery::Reliable,
                "room {:?} forgot {owed:?}, which {shard:?} is owed: admits() must prevent that",
                room.name()
            );
            owed = kept;
            if let Some(Spread { frames, skip, accepted_mono_ms }) = frames_of(room, owed, &mut self.scratch) {
                let deliver = Deliver { room: local, offset: owed, frames, skip, accepted_mono_ms };
                self.post(shard, Mail::Deliver(deliver));
                owed = owed.next();
            } else {
                complete = true;
            }
        }
        if let Some(room) = self.rooms.room_mut(at) {
            room.set_owed(shard, (!complete).then_some(owed));
        }
        self.rooms.account(at, bytes_before);
        complete
    }
}

/// What became of a wish to publish.
enum Taken {
    Now(Accepted),
    /// It was said before, and stands there.
    Before(Position),
}

/// Why a wish was not granted.
enum No {
    Refused(Refusal),
    /// Not before so many milliseconds.
    TooOften(u32),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A message that has its position and is on its way to nobody yet.
pub(super) struct Accepted {
    pub(super) at: u32,
    /// What its publisher is told: offset 0 where messages have none.
    pub(super) position: Position,
    /// In the order of the house.
    pub(super) offset: Offset,
    /// Of the room's log, before the message.
    bytes_before: usize,
}

/// Age empties a log only when no shard is still owed something of it.
pub(super) fn trim(room: &mut Room, now: Now, age_ms: u64) {
    if room.attendance().iter().all(|a| a.owed_from.is_none()) {
        room.log_mut().trim(now, age_ms);
    }
}

/// One message as it goes to a shard: in every encoding that somebody in the room reads.
struct Spread {
    frames: [Option<SharedFrame>; 2],
    skip: Option<ConnAddress>,
    accepted_mono_ms: u64,
}

fn frames_of(room: &mut Room, offset: Offset, scratch: &mut Press) -> Option<Spread> {
    let entry = room.log_mut().entry_mut(offset)?;
    let mut spread = Spread { frames: [None, None], skip: entry.skip, accepted_mono_ms: entry.at_mono_ms };
    for encoding in Encoding::ALL {
        if room.attendance().iter().any(|a| a.seats.by_encoding[encoding.index()] > 0) {
            let deflated = room.attendance().iter().any(|a| a.seats.deflating[encoding.index()] > 0);
            let (frame, skipped) = room.frame(offset, Form { encoding, deflated }, scratch)?;
            spread.frames[encoding.index()] = Some(frame);
            spread.skip = skipped;
        }
    }
    Some(spread)
}

//! Letters to a room's home: the only place that writes the room.

use std::sync::Arc;

use crate::base::{ConnAddress, ConnKey, Encoding, HomePlace, LocalPlace, Now, Offset, Position, RoomName, ShardId};
use crate::room::{Attendance, Gone, Post, Room, SeatCounts};
use crate::wire::{Refusal, SharedFrame};

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
        room.enter(&join.identity, class, limits);
        trim(room, now, limits);
        let joined = Joined {
            conn: join.conn,
            ticket: join.ticket,
            id: join.id,
            epoch: room.epoch(),
            head: room.head(),
            start: room.start(join.since, join.history as usize, limits),
            read: room.read_of(&join.identity, class),
            roll: join.presence.then(|| room.roll(false, class, limits)),
            room: join.local,
            home_at: at,
        };
        let class = room.class();
        self.counters.add_of(class, ClassCount::Joins, 1);
        self.rooms.account(at, bytes_before);
        self.note_news(now, at);
        self.post(from, Mail::Joined(Box::new(joined)));
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
        let class = rules.classes.class(room.class());
        for gone in gone {
            room.leave(now, gone, class, &rules.limits);
        }
        self.note_news(now, at);
        self.rooms.settle(now, at, &rules.limits);
    }

    pub(super) fn on_publish(&mut self, now: Now, from: ShardId, publish: Publish) {
        let skip = publish.skip_own.then_some(ConnAddress { shard: from, conn: publish.conn });
        let post = Post { from: &publish.identity, event: publish.event.as_deref(), payload: &publish.payload, skip };
        match self.accept(now, &publish.room, &post) {
            Err(refusal) => {
                let id = publish.ack.as_ref().map(|ack| ack.id);
                self.post(from, Mail::Refused { conn: publish.conn, id, refusal });
            }
            Ok(accepted) => {
                self.publish_accepted(now, &accepted);
                if let Some(ack) = publish.ack {
                    self.post(from, Mail::Published { conn: publish.conn, ack, position: accepted.position });
                }
            }
        }
    }

    /// Gives a message its position, or says why not. [`Shard::publish_accepted`] must follow.
    pub(super) fn accept(&mut self, now: Now, room: &RoomRef, post: &Post<'_>) -> Result<Accepted, Refusal> {
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        let has_room = self.rooms.has_room(limits);
        let (at, room) = match room {
            RoomRef::Named(name) => self.rooms.open(name, &rules.classes),
            RoomRef::At(place) => match self.rooms.at_mut(*place) {
                Some(room) => (place.at, room),
                None => {
                    // Cannot be: a room is kept while a shard has seats in it, and its letters come in order.
                    self.counters.add(Count::StaleKeys, 1);
                    return Err(Refusal::Busy);
                }
            },
        };
        let here = room.attendance().iter().find(|a| a.shard == self.config.id).map(|a| a.local);
        let unsent_here =
            here.and_then(|local| self.seats.resolve(local)).map_or(0, |at| self.seats.room(at).pending.len());
        let bytes_before = room.log().bytes();
        trim(room, now, limits);
        if !has_room || !room.admits(post, limits) || unsent_here >= limits.pending_messages_max {
            self.rooms.account(at, bytes_before);
            self.rooms.settle(now, at, limits);
            return Err(Refusal::Busy);
        }
        let offset = room.append(now, post, limits, &mut self.scratch);
        let (position, class) = (Position { epoch: room.epoch(), offset }, room.class());
        if room.has_news(now) {
            // Whoever was typing has said it.
            self.note_news(now, at);
        }
        self.counters.add(Count::Publishes, 1);
        self.counters.add_of(class, ClassCount::Publishes, 1);
        self.counters.add_of(class, ClassCount::PublishedBytes, post.payload.bytes().len() as u64);
        Ok(Accepted { at, position, bytes_before })
    }

    /// Sends an accepted message to everybody's shard.
    pub(super) fn publish_accepted(&mut self, now: Now, accepted: &Accepted) {
        self.spread(accepted.at, accepted.position.offset);
        self.rooms.account(accepted.at, accepted.bytes_before);
        self.rooms.settle(now, accepted.at, &self.config.rules.limits);
    }

    pub(super) fn on_pull(
        &mut self,
        from: ShardId,
        place: HomePlace,
        conn: ConnKey,
        encoding: Encoding,
        cursor: Offset,
        bytes_max: u32,
    ) {
        let Some(room) = self.rooms.at_mut(place) else {
            // A room with a seat is never forgotten; only a reader that left meanwhile asks for one that is gone.
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let bytes_before = room.log().bytes();
        let reader = ConnAddress { shard: from, conn };
        let page = room.page(cursor, encoding, reader, bytes_max as usize, &mut self.scratch);
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
        let epoch = room.epoch();
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
            if let Some(Spread { frames, skip, accepted_mono_ms }) = frames_of(room, owed, &mut self.scratch) {
                let deliver = Deliver { room: local, offset: owed, frames, skip, accepted_mono_ms };
                self.post(shard, Mail::Deliver(deliver));
                owed = owed.next();
            } else {
                let head = room.head();
                assert!(
                    owed > head,
                    "room {:?} forgot {owed:?}, which {shard:?} is owed: admits() must prevent that",
                    room.name()
                );
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

/// A message that has its position and is on its way to nobody yet.
pub(super) struct Accepted {
    pub(super) at: u32,
    pub(super) position: Position,
    /// Of the room's log, before the message.
    bytes_before: usize,
}

/// Age empties a log only when no shard is still owed something of it.
pub(super) fn trim(room: &mut Room, now: Now, limits: &crate::base::Limits) {
    if room.attendance().iter().all(|a| a.owed_from.is_none()) {
        room.log_mut().trim(now, limits);
    }
}

/// One message as it goes to a shard: in every encoding that somebody in the room reads.
struct Spread {
    frames: [Option<SharedFrame>; 2],
    skip: Option<ConnAddress>,
    accepted_mono_ms: u64,
}

fn frames_of(room: &mut Room, offset: Offset, scratch: &mut Vec<u8>) -> Option<Spread> {
    let entry = room.log_mut().entry_mut(offset)?;
    let mut spread = Spread { frames: [None, None], skip: entry.skip, accepted_mono_ms: entry.at_mono_ms };
    for encoding in Encoding::ALL {
        if room.attendance().iter().any(|a| a.seats.by_encoding[encoding.index()] > 0) {
            let (frame, skipped) = room.frame(offset, encoding, scratch)?;
            spread.frames[encoding.index()] = Some(frame);
            spread.skip = skipped;
        }
    }
    Some(spread)
}

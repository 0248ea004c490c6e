//! Letters to a room's home: the only place that writes the room.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{ConnAddress, ConnKey, Encoding, Identity, Now, Offset, Position, RoomName, ShardId};
use crate::room::{People, Post, Room, SeatCounts};
use crate::wire::Refusal;

use super::mail::{Deliver, Join, Joined, Publish};
use super::{Count, Mail, Shard};

impl Shard {
    pub(super) fn on_join(&mut self, now: Now, from: ShardId, join: Join) {
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        let (at, room) = self.rooms.open(&join.room);
        let (had_news, bytes_before) = (room.people().has_news(), room.log().bytes());
        room.set_seats(from, join.seats);
        room.enter(&join.identity);
        let news = !had_news && room.people().has_news();
        trim(room, now, limits);
        let joined = Joined {
            conn: join.conn,
            ticket: join.ticket,
            id: join.id,
            epoch: room.epoch(),
            head: room.head(),
            start: room.start(join.since, join.history as usize, limits),
            roll: join.presence.then(|| room.people_mut().roll(limits.members_max)),
            room: join.room,
        };
        self.rooms.account(at, bytes_before);
        if news {
            self.presence_news.push(at);
        }
        self.post(from, Mail::Joined(Box::new(joined)));
    }

    pub(super) fn on_leave(&mut self, now: Now, from: ShardId, name: &RoomName, seats: SeatCounts, gone: &[Identity]) {
        let Some((at, room)) = self.rooms.find_mut(name.as_str()) else { return };
        let had_news = room.people().has_news();
        room.set_seats(from, seats);
        for who in gone {
            room.leave(who);
        }
        if !had_news && room.people().has_news() {
            self.presence_news.push(at);
        }
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        self.rooms.settle(now, at, limits);
    }

    pub(super) fn on_publish(&mut self, now: Now, from: ShardId, publish: Publish) {
        let rules = Arc::clone(&self.config.rules);
        let limits = &rules.limits;
        let unsent_here = self.seats.find(publish.room.as_str()).map_or(0, |at| self.seats.room(at).pending.len());
        let has_room = self.rooms.has_room(limits);
        let (at, room) = self.rooms.open(&publish.room);
        let bytes_before = room.log().bytes();
        trim(room, now, limits);
        let skip = publish.skip_own.then_some(ConnAddress { shard: from, conn: publish.conn });
        let post = Post { from: &publish.identity, event: publish.event.as_deref(), payload: &publish.payload, skip };
        if !has_room || !room.admits(&post, limits) || unsent_here >= limits.pending_messages_max {
            self.rooms.account(at, bytes_before);
            self.rooms.settle(now, at, limits);
            self.post(from, Mail::Refused { conn: publish.conn, id: publish.id, refusal: Refusal::Busy });
            return;
        }
        let offset = room.append(now, &post, limits, &mut self.scratch);
        let position = Position { epoch: room.epoch(), offset };
        self.counters.add(Count::Publishes, 1);
        self.spread(at, offset);
        self.rooms.account(at, bytes_before);
        if let Some(id) = publish.id {
            self.post(from, Mail::Published { room: publish.room, conn: publish.conn, id, position });
        }
        self.rooms.settle(now, at, limits);
    }

    pub(super) fn on_pull(
        &mut self,
        from: ShardId,
        name: &RoomName,
        conn: ConnKey,
        encoding: Encoding,
        cursor: Offset,
        bytes_max: u32,
    ) {
        let Some((at, room)) = self.rooms.find_mut(name.as_str()) else {
            // A room with a seat is never forgotten; only a reader that left meanwhile asks for one that is gone.
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let bytes_before = room.log().bytes();
        let reader = ConnAddress { shard: from, conn };
        let page = room.page(cursor, encoding, reader, bytes_max as usize, &mut self.scratch);
        self.rooms.account(at, bytes_before);
        self.post(from, Mail::Page { room: name.clone(), conn, cursor, page });
    }

    pub(super) fn on_ask_presence(&mut self, from: ShardId, name: RoomName, conn: ConnKey, id: Option<u64>) {
        if !self.has_room_for(from) {
            self.post(from, Mail::Refused { conn, id, refusal: Refusal::Busy });
            return;
        }
        let members_max = self.limits().members_max;
        let roll = match self.rooms.find_mut(name.as_str()) {
            Some((_, room)) => room.people_mut().roll(members_max),
            None => People::default().roll(0),
        };
        self.post(from, Mail::Presence { room: name, conn, id, roll });
    }

    /// Tells those who watch who came and went since the last tick.
    pub(super) fn announce_presence(&mut self) {
        for at in std::mem::take(&mut self.presence_news) {
            let Some(room) = self.rooms.room_mut(at) else { continue };
            let watching: Vec<ShardId> =
                room.attendance().iter().filter(|a| a.seats.watchers > 0).map(|a| a.shard).collect();
            if watching.iter().any(|shard| !self.has_room_for(*shard)) {
                self.presence_news.push(at);
                continue;
            }
            let announced_max = self.limits().announced_max;
            let Some(room) = self.rooms.room_mut(at) else { continue };
            let name = room.name().clone();
            let changes = room.people_mut().take_changes(announced_max).map(Arc::new);
            if room.people().has_news() {
                self.presence_news.push(at);
            }
            let Some(changes) = changes else { continue };
            for shard in watching {
                self.post(shard, Mail::PresenceChanged { room: name.clone(), changes: Arc::clone(&changes) });
            }
        }
    }

    /// Sends shards whose inbox was full what they are owed, from the log, as far as it fits now.
    pub(super) fn send_owed(&mut self) {
        for _ in 0..self.owed.len() {
            let Some((name, shard)) = self.owed.pop_front() else { return };
            if !self.refill(&name, shard) {
                self.owed.push_back((name, shard));
            }
        }
    }

    /// One `Deliver` per shard that has a seat; a shard that cannot take it is owed it.
    fn spread(&mut self, at: u32, offset: Offset) {
        let Some(room) = self.rooms.room_mut(at) else { return };
        let Some(Spread { frames, skip, accepted_mono_ms }) = frames_of(room, offset, &mut self.scratch) else {
            return;
        };
        let attending: Vec<(ShardId, bool)> =
            room.attendance().iter().map(|a| (a.shard, a.owed_from.is_none())).collect();
        let name = room.name().clone();
        for (shard, up_to_date) in attending {
            if up_to_date && self.has_room_for(shard) {
                let (room, frames) = (name.clone(), frames.clone());
                self.post(shard, Mail::Deliver(Deliver { room, offset, frames, skip, accepted_mono_ms }));
            } else if up_to_date {
                self.counters.add(Count::Bounced, 1);
                self.owed.push_back((name.clone(), shard));
                if let Some(room) = self.rooms.room_mut(at) {
                    room.owe(shard, offset);
                }
            }
        }
    }

    /// Whether the shard has everything now (or has no seat any more).
    fn refill(&mut self, name: &RoomName, shard: ShardId) -> bool {
        let Some((at, room)) = self.rooms.find_mut(name.as_str()) else { return true };
        let owed = room.attendance().iter().find(|a| a.shard == shard).and_then(|a| a.owed_from);
        let (Some(mut owed), bytes_before) = (owed, room.log().bytes()) else { return true };
        let mut complete = false;
        while !complete && self.has_room_for(shard) {
            let Some(room) = self.rooms.room_mut(at) else { return true };
            if let Some(Spread { frames, skip, accepted_mono_ms }) = frames_of(room, owed, &mut self.scratch) {
                let room = name.clone();
                self.post(shard, Mail::Deliver(Deliver { room, offset: owed, frames, skip, accepted_mono_ms }));
                owed = owed.next();
            } else {
                let head = room.head();
                assert!(
                    owed > head,
                    "room {name:?} forgot {owed:?}, which {shard:?} is owed: admits() must prevent that"
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

/// Age empties a log only when no shard is still owed something of it.
fn trim(room: &mut Room, now: Now, limits: &crate::base::Limits) {
    if room.attendance().iter().all(|a| a.owed_from.is_none()) {
        room.log_mut().trim(now, limits);
    }
}

/// One message as it goes to a shard: in every encoding that somebody in the room reads.
struct Spread {
    frames: [Option<Bytes>; 2],
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

//! What the people of a room do, and what is told of it: presence, typing and read positions, together once per tick.
//!
//! Promises: what comes from a shard may come merged and late, and what goes to a shard is either a change with a version
//! (presence), a whole state (typing) or a maximum (reads): so each of them may be sent as one letter per tick. Must
//! never: cost a room anything in which nobody types, reads or is away.

use std::sync::Arc;

use super::home::Room;
use super::parting::{Gone, Parting};
use super::people::{Changes, Roll, Telling};
use super::reads::{Noted, Reads};
use super::typing::Typists;
use crate::base::{Delivery, Identity, Limits, Now, Offset, Presence, RoomClass};
use crate::wire::ReadBy;

/// What people at one shard did since its last tick.
#[derive(Default, Debug)]
pub struct Doings {
    /// Who began to type, or went on, and who stopped.
    pub typing: Vec<(Identity, bool)>,
    pub reads: Vec<(Identity, Offset)>,
    /// Who is shown to others as something else than before.
    pub anew: Vec<Identity>,
}

/// What could not be kept of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dropped {
    pub typing: u64,
    pub reads: u64,
}

/// What a room keeps of people who need not sit there any more: all rooms of a home together keep a bounded number.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outlasting {
    /// Users who are away.
    pub away: usize,
    /// Read positions.
    pub reads: usize,
}

/// What those who watch are told at one tick.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct News {
    pub changes: Option<Changes>,
    pub typing: Option<Typists>,
    pub reads: Vec<ReadBy>,
    /// Those of the reads whose users may have other connections in the room: they are told even where they do not watch.
    pub elsewhere: Vec<ReadBy>,
}

impl Room {
    /// One more seat of this user.
    pub fn enter(&mut self, who: &Identity, class: &RoomClass, limits: &Limits) {
        let telling = self.telling(class, limits);
        if self.keeps_people {
            self.people.enter(who, telling);
        }
    }

    /// One seat less. False: they would be away now, but `away_max` are, and so they have left.
    pub fn leave(&mut self, now: Now, gone: &Gone, class: &RoomClass, limits: &Limits, away_max: usize) -> bool {
        let telling = self.telling(class, limits);
        let is_told = self.presence(class) != Presence::Off;
        let stays = gone.parting == Parting::SocketDied && class.leave_delay_ms > 0 && is_told;
        let has_place = self.people.away() < away_max;
        let away_until = (stays && has_place).then(|| now.mono_ms + class.leave_delay_ms);
        let was_last = self.people.leave(&gone.who, away_until, telling);
        if self.people.connections_of(&gone.who) == 0 {
            self.ends_typing(&gone.who);
        }
        !(was_last && stays) || has_place
    }

    /// Whether this user may have a seat here: who was turned away does nothing in it. Exact where seats have been limited
    /// since the room was opened; else nobody is turned away.
    fn may_sit(&self, who: &Identity) -> bool {
        !self.keeps_people || self.people.connections_of(who) > 0
    }

    /// Takes in what people did at some shard; of reads it keeps `receipts_max`.
    pub fn take_in(
        &mut self,
        now: Now,
        doings: &Doings,
        class: &RoomClass,
        limits: &Limits,
        receipts_max: usize,
    ) -> Dropped {
        let mut dropped = Dropped::default();
        let telling = self.telling(class, limits);
        doings.anew.iter().for_each(|who| self.people.say_anew(who, telling));
        for (who, on) in doings.typing.iter().filter(|_| class.typing_ms > 0) {
            if *on && !self.may_sit(who) {
                continue;
            }
            if *on {
                let typing = self.typing.get_or_insert_default();
                dropped.typing += u64::from(!typing.begin(now, who, class.typing_ms, limits.typing_max));
            } else if let Some(typing) = &mut self.typing {
                typing.stop(now, who);
            }
        }
        let (head, keeps_reads) = (self.head(), self.keeps_reads(class));
        for (who, offset) in doings.reads.iter().filter(|_| keeps_reads && head > Offset(0)) {
            if !self.may_sit(who) {
                continue;
            }
            // Where nobody is counted, anybody may have another connection.
            let elsewhere = !self.keeps_people || self.people.connections_of(who) > 1;
            let reads = self.reads.get_or_insert_default();
            let noted = reads.note(who, (*offset).min(head), elsewhere, receipts_max);
            dropped.reads += u64::from(noted == Noted::Forgot);
        }
        dropped
    }

    /// What they said ends their typing.
    pub fn ends_typing(&mut self, who: &Identity) {
        if let Some(typing) = &mut self.typing {
            typing.end(who);
        }
    }

    /// What is over by now ends.
    pub fn expire(&mut self, now: Now, class: &RoomClass, limits: &Limits) {
        let telling = self.telling(class, limits);
        self.people.expire(now, telling);
        if let Some(typing) = &mut self.typing {
            typing.expire(now);
        }
        let unseen = !telling.watched && self.typists() == 0;
        if unseen || self.typing.as_ref().is_some_and(|typing| typing.is_over()) {
            self.typing = None;
        }
    }

    /// When something will be over; `None`: nothing will.
    pub fn next_due(&self) -> Option<u64> {
        let typing = self.typing.as_ref().and_then(|typing| typing.next_due());
        self.people.next_due().into_iter().chain(typing).min()
    }

    /// What is to be told now; `None` when that is nothing.
    pub fn take_news(&mut self, now: Now, class: &RoomClass, limits: &Limits) -> Option<News> {
        let watched = self.watchers() > 0;
        let mut news = News::default();
        if watched {
            news.changes = self.people.take_changes(self.presence(class));
            let typing = self.typing.as_mut();
            news.typing =
                typing.and_then(|typing| typing.take_change(now, class.typing_ms.max(1), limits.typing_named_max));
        }
        if self.typing.as_ref().is_some_and(|typing| typing.is_over()) {
            self.typing = None;
        }
        if let Some(reads) = &mut self.reads {
            [news.reads, news.elsewhere] = reads.take_changes(limits.announced_max);
        }
        (news != News::default()).then_some(news)
    }

    /// Whether the next tick has something to tell.
    pub fn has_news(&self, now: Now) -> bool {
        let reads = self.reads.as_ref().is_some_and(|reads| reads.has_news());
        let typing = || self.typing.as_ref().is_some_and(|typing| typing.has_news(now));
        reads || ((self.people.has_news() || typing()) && self.watchers() > 0)
    }

    /// Who is here and how far they have read, as far as the room tells: a room that only counts names people to those
    /// who `ask`, not to those who come in.
    pub fn roll(&mut self, asked: bool, class: &RoomClass, limits: &Limits) -> Roll {
        let telling = self.telling(class, limits);
        let names = match telling.presence {
            Presence::Off => false,
            Presence::Counted => asked,
            Presence::Announced => true,
        };
        let mut roll = match telling.presence {
            // They may be counted all the same, for their seats.
            Presence::Off => Roll { presence: Presence::Off, members: None, count: 0, version: 0, reads: None },
            Presence::Counted | Presence::Announced => self.people.roll(names.then_some(limits.members_max), telling),
        };
        let furthest = |reads: &mut Box<Reads>| reads.called(limits.members_max);
        roll.reads = self.keeps_reads(class).then(|| self.reads.as_mut().map_or_else(|| Arc::from([]), furthest));
        roll
    }

    /// How far this user has read; `None`: the room does not keep it.
    pub fn read_of(&self, who: &Identity, class: &RoomClass) -> Option<Offset> {
        self.keeps_reads(class).then(|| self.reads.as_ref().map_or(Offset(0), |reads| reads.of(who)))
    }

    /// Who has read this message, or further: the furthest first, bounded. `None`: the room does not keep it.
    pub fn read_by(&self, offset: Offset, class: &RoomClass, limits: &Limits) -> Option<Vec<ReadBy>> {
        self.keeps_reads(class).then(|| {
            let mut reads = self.reads.as_ref().map_or_else(Vec::new, |reads| reads.furthest(limits.members_max));
            reads.truncate(reads.partition_point(|read| read.offset >= offset));
            reads
        })
    }

    /// Users who are typing.
    pub fn typists(&self) -> usize {
        self.typing.as_ref().map_or(0, |typing| typing.len())
    }

    pub fn outlasting(&self) -> Outlasting {
        Outlasting { away: self.people.away(), reads: self.reads.as_ref().map_or(0, |reads| reads.len()) }
    }

    /// Whether it is kept who has read how far: only where messages have offsets, whatever its class says by now.
    fn keeps_reads(&self, class: &RoomClass) -> bool {
        class.receipts && self.delivery() == Delivery::Reliable
    }

    /// What is told of its people: nothing where they are not kept, whatever its class says by now.
    pub fn presence(&self, class: &RoomClass) -> Presence {
        if self.keeps_people { class.presence } else { Presence::Off }
    }

    fn telling(&self, class: &RoomClass, limits: &Limits) -> Telling {
        Telling { presence: self.presence(class), watched: self.watchers() > 0, named_max: limits.announced_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ClassId, Encoding, Epoch, LocalPlace, RoomName, ShardId};
    use crate::room::{Post, SeatCounts};
    use crate::wire::prove;

    fn class() -> RoomClass {
        RoomClass { leave_delay_ms: 1_000, ..RoomClass::default() }
    }

    fn who(name: &str) -> Identity {
        Identity::new(name, None).unwrap()
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    /// A room in which one of two seats watches.
    fn room() -> Room {
        room_of(&class())
    }

    fn room_of(class: &RoomClass) -> Room {
        let mut room = Room::new(RoomName::parse("r").unwrap(), Epoch(7), ClassId::DEFAULT, class);
        room.set_seats(
            ShardId(0),
            LocalPlace::default(),
            SeatCounts { by_encoding: [2, 0], watchers: 1, ..SeatCounts::default() },
        );
        for name in ["ann", "bob"] {
            room.enter(&who(name), class, &Limits::default());
        }
        room
    }

    fn news(room: &mut Room, mono_ms: u64) -> Option<News> {
        room.take_news(at(mono_ms), &class(), &Limits::default())
    }

    fn says(room: &mut Room, name: &str) {
        let payload = prove(Encoding::Json, b"1", 32).unwrap().to_payload();
        let from = who(name);
        let post = Post { from: &from, event: None, key: None, payload: &payload, skip: None };
        room.append(at(0), &post, class().log, &mut crate::wire::Press::default());
    }

    fn does(room: &mut Room, mono_ms: u64, typing: &[(&str, bool)], reads: &[(&str, u64)]) -> Dropped {
        let doings = Doings {
            typing: typing.iter().map(|(name, on)| (who(name), *on)).collect(),
            reads: reads.iter().map(|(name, offset)| (who(name), Offset(*offset))).collect(),
            anew: Vec::new(),
        };
        let limits = Limits { typing_max: 1, ..Limits::default() };
        room.take_in(at(mono_ms), &doings, &class(), &limits, 1)
    }

    #[test]
    fn typing_ends_with_a_message_and_with_the_last_connection() {
        let mut room = room();
        news(&mut room, 0);
        assert_eq!(does(&mut room, 0, &[("ann", true), ("bob", true)], &[]), Dropped { typing: 1, reads: 0 });
        assert_eq!(news(&mut room, 0).unwrap().typing.unwrap().users, [who("ann")]);
        says(&mut room, "ann");
        assert_eq!(news(&mut room, 0).unwrap().typing.unwrap().count, 0);
        does(&mut room, 0, &[("bob", true)], &[]);
        news(&mut room, 0);
        let gone = Gone { who: who("bob"), parting: Parting::SocketDied, unanswered: None };
        assert!(room.leave(at(0), &gone, &class(), &Limits::default(), 1));
        let told = news(&mut room, 0).unwrap();
        assert_eq!((told.typing.unwrap().count, told.changes.unwrap().away), (0, vec![who("bob")]));
        assert_eq!(room.next_due(), Some(1_000), "only that bob is away");
        room.expire(at(1_000), &class(), &Limits::default());
        assert_eq!((news(&mut room, 1_000).unwrap().changes.unwrap().left, room.next_due()), (vec![who("bob")], None));
    }

    #[test]
    fn reads_are_told_to_watchers_and_to_the_other_connections_of_their_user() {
        let mut room = room();
        news(&mut room, 0);
        assert_eq!(does(&mut room, 0, &[], &[("ann", 5)]), Dropped::default());
        assert!(!room.has_news(at(0)), "nothing was said yet, so nothing can have been read");
        says(&mut room, "bob");
        does(&mut room, 0, &[], &[("ann", 5)]);
        let told = news(&mut room, 0).unwrap();
        assert_eq!((told.reads[0].offset, told.elsewhere.len()), (Offset(1), 0));
        assert_eq!(does(&mut room, 0, &[], &[("bob", 1)]), Dropped { typing: 0, reads: 1 });
        room.enter(&who("ann"), &class(), &Limits::default());
        says(&mut room, "bob");
        does(&mut room, 0, &[], &[("ann", 2)]);
        assert_eq!(news(&mut room, 0).unwrap().elsewhere, [ReadBy { who: who("ann"), offset: Offset(2) }]);
        assert_eq!(room.read_of(&who("ann"), &class()), Some(Offset(2)));
        assert_eq!(room.roll(false, &class(), &Limits::default()).reads.unwrap().len(), 1);
    }

    /// Regression: who had come uncounted was missing when counting was turned on, and who left then was nobody's; turned
    /// off, those who watched were told `counted`.
    #[test]
    fn a_room_keeps_its_people_or_not_as_it_was_opened_whatever_a_reload_says() {
        let (on, off) = (class(), RoomClass { presence: Presence::Off, ..class() });
        let limits = Limits::default();
        let gone = |name| Gone { who: who(name), parting: Parting::OnPurpose, unanswered: None };
        let mut uncounted = room_of(&off);
        uncounted.enter(&who("cid"), &on, &limits);
        uncounted.leave(at(0), &gone("ann"), &on, &limits, 1);
        assert_eq!((uncounted.people().count(), uncounted.take_news(at(0), &on, &limits)), (0, None));
        assert_eq!(uncounted.roll(true, &on, &limits).presence, Presence::Off);
        // Who is counted only because seats are limited is told to nobody.
        let mut seated = room_of(&RoomClass { seats_max: 9, ..off.clone() });
        let roll = seated.roll(true, &off, &limits);
        assert_eq!((roll.presence, roll.count, roll.members.is_none()), (Presence::Off, 0, true));
        assert_eq!((seated.people().count(), seated.take_news(at(0), &off, &limits)), (2, None));
        let mut kept = room_of(&on);
        news(&mut kept, 0);
        kept.enter(&who("cid"), &off, &limits);
        kept.leave(at(0), &gone("ann"), &off, &limits, 1);
        assert_eq!((kept.take_news(at(0), &off, &limits), kept.has_news(at(0))), (None, false));
        assert_eq!(kept.roll(true, &off, &limits).presence, Presence::Off);
        kept.leave(at(0), &gone("bob"), &on, &limits, 1);
        let changes = news(&mut kept, 0).unwrap().changes.unwrap();
        assert_eq!((changes.counted, changes.count), (true, 1), "everybody was counted all the while");
        assert_eq!(kept.roll(true, &on, &limits).members.unwrap()[0].identity, who("cid"));
    }

    #[test]
    fn where_nobody_watches_nobody_is_told_and_nothing_piles_up() {
        let mut room = room();
        room.set_seats(ShardId(0), LocalPlace::default(), SeatCounts { by_encoding: [2, 0], ..SeatCounts::default() });
        does(&mut room, 0, &[("ann", true)], &[]);
        assert!(!room.has_news(at(0)) && news(&mut room, 0).is_none());
        room.expire(at(5_000), &class(), &Limits::default());
        assert_eq!((news(&mut room, 5_000), room.next_due(), room.typing.is_none()), (None, None, true));
    }
}

//! At the shard of those who watch: what a room's people did is written to them.
//!
//! Promises: encoded once per encoding, whatever the number of those who watch; the own connections of a user hear how far
//! the user has read, whether they watch or not. News of people are the first thing a slow reader goes without: typing as
//! soon as something waits for it, the rest with a full outbox, and then it is told, once, that its lists are `stale`.

use crate::base::{ConnKey, Encoding, Epoch, LocalPlace, Offset, RoomName};
use crate::room::{News, Roll};
use crate::wire::{Event, Members, ReadBy, Refusal, write_event};

use super::row::Flags;
use super::seat::Seat;
use super::{Count, Shard};

/// Frames of one telling, made for the first who needs them.
#[derive(Default)]
struct Telling {
    people: [Option<Vec<u8>>; 2],
    typing: [Option<Vec<u8>>; 2],
    told: u64,
    told_typing: u64,
}

impl Shard {
    pub(super) fn on_presence(&mut self, room: &RoomName, conn: ConnKey, id: Option<u64>, roll: &Roll) {
        let outbox_bytes =
            self.connections.row(conn).and_then(|row| row.work.as_ref()).map_or(0, |work| work.outbox.len());
        match id {
            Some(id) if outbox_bytes <= self.limits().outbox_hard_bytes_max => {
                self.answer(conn, &Event::Members { id, room, members: members_of(roll) });
            }
            id => self.refuse(conn, id, Refusal::Busy, None),
        }
    }

    pub(super) fn on_unread(
        &mut self,
        conn: ConnKey,
        id: u64,
        room: &RoomName,
        epoch: Option<Epoch>,
        head: Offset,
        read: Option<Offset>,
    ) {
        match read {
            Some(read) => self.answer(conn, &Event::Unread { id, room, epoch, head, read }),
            None => {
                self.refuse(conn, Some(id), Refusal::Unsupported, Some("this room does not keep who has read what"))
            }
        }
    }

    pub(super) fn on_news(&mut self, place: LocalPlace, news: &News) {
        let Some(at) = self.seats.resolve(place) else { return };
        let name = &self.seats.room(at).name.clone();
        let people = events_of(name, news);
        let typing = news.typing.as_ref().map(|typing| Event::Typing {
            room: name,
            users: &typing.users,
            count: typing.count,
            ttl_ms: typing.ttl_ms,
        });
        let mut telling = Telling::default();
        let concerned = |seat: &Seat| !seat.is_joining() && (seat.watches() || !news.elsewhere.is_empty());
        for index in self.sitting(at, concerned) {
            // Whoever was given up while others were told has no seat any more.
            let Some(seat) = self.connections.at(index).seats.find(at).map(|place| place.seat as usize) else {
                continue;
            };
            if !self.seats.room(at).seats[seat].watches() {
                self.tell_own_reads(at, seat, name, &news.elsewhere);
                continue;
            }
            if !people.is_empty() {
                self.tell_people(at, seat, &people, &mut telling);
            }
            if let Some(typing) = &typing
                && let Some(place) = self.connections.at(index).seats.find(at)
            {
                self.tell_typing(at, place.seat as usize, typing, &mut telling);
            }
        }
        people.iter().for_each(|event| self.counters.said(event, telling.told));
        if let Some(typing) = &typing {
            self.counters.said(typing, telling.told_typing);
        }
    }

    /// Who missed something and has read what waited for it is told so.
    pub(super) fn tell_missed(&mut self) {
        for place in std::mem::take(&mut self.missed).into_values() {
            let Some(at) = self.seats.resolve(place) else { continue };
            let name = self.seats.room(at).name.clone();
            for index in self.sitting(at, |seat| seat.has_missed()) {
                let Some(seat) = self.connections.at(index).seats.find(at) else { continue };
                if self.outbox_bytes(index) > self.limits().outbox_soft_bytes_max {
                    self.note_missed(at);
                    continue;
                }
                self.seats.room_mut(at).seats[seat.seat as usize].set_missed(false);
                let conn = self.connections.at(index).key(index);
                self.answer(conn, &Event::Stale { room: &name });
            }
        }
    }

    /// The connections of the seats of which this is true.
    fn sitting(&self, at: u32, concerned: impl Fn(&Seat) -> bool) -> Vec<u32> {
        let seats = self.seats.room(at).seats.iter();
        seats.filter(|seat| concerned(seat)).map(|seat| seat.conn).collect()
    }

    fn tell_people(&mut self, at: u32, seat: usize, events: &[Event<'_>], telling: &mut Telling) {
        let here = self.seats.room(at).seats[seat];
        if here.has_missed() || self.outbox_bytes(here.conn) > self.limits().outbox_soft_bytes_max {
            self.miss(at, seat);
            return;
        }
        let encoding = here.encoding();
        let frames = telling.people[encoding.index()].get_or_insert_with(|| frames_of(encoding, events));
        let conn = self.connections.at(here.conn).key(here.conn);
        self.append(conn, |outbox| outbox.extend_from_slice(frames));
        telling.told += 1;
    }

    fn tell_typing(&mut self, at: u32, seat: usize, event: &Event<'_>, telling: &mut Telling) {
        let here = self.seats.room(at).seats[seat];
        let row = self.connections.at(here.conn);
        let waits = self.outbox_bytes(here.conn) > self.limits().outbox_soft_bytes_max / TYPING_PARTS;
        if here.is_behind() || row.flags.has(Flags::STALLED) || waits {
            self.counters.add(Count::TypingDropped, 1);
            return;
        }
        let encoding = here.encoding();
        let conn = row.key(here.conn);
        let frame =
            telling.typing[encoding.index()].get_or_insert_with(|| frames_of(encoding, std::slice::from_ref(event)));
        self.append(conn, |outbox| outbox.extend_from_slice(frame));
        telling.told_typing += 1;
    }

    /// `reads` are in order of the users.
    fn tell_own_reads(&mut self, at: u32, seat: usize, room: &RoomName, reads: &[ReadBy]) {
        let index = self.seats.room(at).seats[seat].conn;
        let row = self.connections.at(index);
        let conn = row.key(index);
        let own = row.identity.as_ref().and_then(|own| reads.binary_search_by(|read| read.who.cmp(own)).ok());
        let Some(own) = own else { return };
        if self.outbox_bytes(index) > self.limits().outbox_soft_bytes_max {
            self.miss(at, seat);
        } else {
            self.answer(conn, &Event::Read { room, reads: &reads[own..=own] });
        }
    }

    fn miss(&mut self, at: u32, seat: usize) {
        self.counters.add(Count::PresenceDropped, 1);
        self.seats.room_mut(at).seats[seat].set_missed(true);
        self.note_missed(at);
    }

    fn note_missed(&mut self, at: u32) {
        let place = self.seats.place(at);
        self.missed.insert(at, place);
    }

    fn outbox_bytes(&self, index: u32) -> usize {
        self.connections.at(index).work.as_ref().map_or(0, |work| work.outbox.len())
    }
}

/// A filled outbox is a part of a full one: from there on nobody's typing is worth its bytes.
const TYPING_PARTS: usize = 8;

pub(super) fn members_of(roll: &Roll) -> Members<'_> {
    Members {
        presence: roll.presence,
        list: roll.members.as_deref(),
        count: roll.count,
        version: roll.version,
        reads: roll.reads.as_deref(),
    }
}

/// What is told of who came and went, and of who has read.
fn events_of<'a>(room: &'a RoomName, news: &'a News) -> Vec<Event<'a>> {
    let mut events = Vec::new();
    if let Some(changes) = &news.changes {
        let (count, version) = (changes.count, changes.version);
        if changes.counted {
            events.push(Event::PresenceCounted { room, count, version });
        } else {
            let lists = [
                Event::PresenceJoined { room, users: &changes.joined, count, version },
                Event::PresenceBack { room, users: &changes.back, count, version },
                Event::PresenceAway { room, users: &changes.away, count, version },
                Event::PresenceLeft { room, users: &changes.left, count, version },
            ];
            let lengths = [&changes.joined, &changes.back, &changes.away, &changes.left].map(Vec::len);
            events.extend(lists.into_iter().zip(lengths).filter(|(_, length)| *length > 0).map(|(event, _)| event));
        }
    }
    if !news.reads.is_empty() {
        events.push(Event::Read { room, reads: &news.reads });
    }
    events
}

fn frames_of(encoding: Encoding, events: &[Event<'_>]) -> Vec<u8> {
    let mut frames = Vec::new();
    events.iter().for_each(|event| write_event(&mut frames, encoding, event));
    frames
}

//! At the shard of those who watch: what a room's people did is written to them.
//!
//! Promises: encoded (and deflated) once per form, whatever the number of those who watch; the work is that of those who
//! are told, however many sit there; the own connections of a user hear how far
//! the user has read, whether they watch or not. News of people are the first thing a slow reader goes without: typing as
//! soon as something waits for it, the rest with a full outbox, and then it is told, once, that its lists are `stale`.

use crate::base::{ConnKey, Epoch, Form, Identity, LocalPlace, Offset, RoomName};
use crate::room::{News, Roll};
use crate::wire::{Event, Members, Press, ReadBy, Refusal, write_event};

use super::row::Flags;
use super::seat::Seat;
use super::seats::Watching;
use super::{Count, Shard};

/// Frames of one telling, made for the first who needs them, by form.
#[derive(Default)]
struct Telling {
    people: [Option<Told>; 4],
    typing: [Option<Told>; 4],
    told: u64,
    told_typing: u64,
}

/// Frames for one connection after the other.
struct Told {
    frames: Vec<u8>,
    /// Bytes that they are shorter than undeflated.
    saved: u64,
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
        let watching = self.take_watching(at);
        for index in watching.iter().flat_map(|watching| &watching.conns) {
            // Whoever was given up while others were told has no seat any more.
            if let Some(seat) = self.place_of(at, *index, |seat| !seat.is_joining())
                && !people.is_empty()
            {
                self.tell_people(at, seat, &people, &mut telling);
            }
            if let Some(typing) = &typing
                && let Some(seat) = self.place_of(at, *index, |seat| !seat.is_joining())
            {
                self.tell_typing(at, seat, typing, &mut telling);
            }
        }
        self.seats.room_mut(at).watching = watching;
        people.iter().for_each(|event| self.counters.said(event, telling.told));
        if let Some(typing) = &typing {
            self.counters.said(typing, telling.told_typing);
        }
        self.tell_elsewhere(at, name, &news.elsewhere);
    }

    /// Those who do not watch hear of their own users. Of all seats only those are looked at whose tag says that they may
    /// be one of theirs.
    fn tell_elsewhere(&mut self, at: u32, name: &RoomName, reads: &[ReadBy]) {
        if reads.is_empty() {
            return;
        }
        let mut wanted = [false; 256];
        reads.iter().for_each(|read| wanted[usize::from(self.seat_tag(&read.who))] = true);
        let concerned = |seat: &&Seat| !seat.is_joining() && !seat.watches() && wanted[usize::from(seat.tag())];
        let seats = self.seats.room(at).seats.iter();
        let conns: Vec<u32> = seats.filter(concerned).map(|seat| seat.conn).collect();
        for index in conns {
            if let Some(seat) = self.place_of(at, index, |_| true) {
                self.tell_own_reads(at, seat, name, reads);
            }
        }
    }

    /// Who missed something and has read what waited for it is told so.
    pub(super) fn tell_missed(&mut self) {
        for ((at, index), place) in std::mem::take(&mut self.missed) {
            if self.seats.resolve(place) != Some(at) {
                continue;
            }
            let Some(seat) = self.place_of(at, index, Seat::has_missed) else { continue };
            if self.outbox_bytes(index) > self.limits().outbox_soft_bytes_max {
                self.missed.insert((at, index), place);
                continue;
            }
            let room = self.seats.room_mut(at);
            room.seats[seat].set_missed(false);
            let name = room.name.clone();
            let conn = self.connections.at(index).key(index);
            self.answer(conn, &Event::Stale { room: &name });
        }
    }

    /// Which of the 256 kinds of users this is: all seats of one user are of the same.
    pub(super) fn seat_tag(&self, who: &Identity) -> u8 {
        self.homes.of_user(who.user()).0 as u8
    }

    /// Those who watch, each once; who does so no more is let go. To be put back.
    fn take_watching(&mut self, at: u32) -> Option<Box<Watching>> {
        let mut watching = self.seats.room_mut(at).watching.take()?;
        if std::mem::take(&mut watching.added) {
            watching.conns.sort_unstable();
            watching.conns.dedup();
        }
        watching.conns.retain(|index| self.place_of(at, *index, Seat::watches).is_some());
        if watching.conns.capacity() > 2 * watching.conns.len() + 8 {
            watching.conns.shrink_to_fit();
        }
        (!watching.conns.is_empty()).then_some(watching)
    }

    /// The place of this connection's seat in a room, if it has one of which this is true.
    fn place_of(&self, at: u32, index: u32, is: impl Fn(Seat) -> bool) -> Option<usize> {
        let place = self.connections.get(index)?.seats.find(at)?.seat as usize;
        is(self.seats.room(at).seats[place]).then_some(place)
    }

    fn tell_people(&mut self, at: u32, seat: usize, events: &[Event<'_>], telling: &mut Telling) {
        let here = self.seats.room(at).seats[seat];
        if here.has_missed() || self.outbox_bytes(here.conn) > self.limits().outbox_soft_bytes_max {
            self.miss(at, seat);
            return;
        }
        let (form, press) = (here.form(), &mut self.scratch);
        let told = telling.people[form.index()].get_or_insert_with(|| told_in(form, events, press));
        let conn = self.connections.at(here.conn).key(here.conn);
        self.append(conn, |outbox| outbox.extend_from_slice(&told.frames));
        self.counters.add(Count::DeflateSaved, told.saved);
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
        let (conn, form, press) = (row.key(here.conn), here.form(), &mut self.scratch);
        let told =
            telling.typing[form.index()].get_or_insert_with(|| told_in(form, std::slice::from_ref(event), press));
        self.append(conn, |outbox| outbox.extend_from_slice(&told.frames));
        self.counters.add(Count::DeflateSaved, told.saved);
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
        let here = &mut self.seats.room_mut(at).seats[seat];
        here.set_missed(true);
        let (index, place) = (here.conn, self.seats.place(at));
        self.missed.insert((at, index), place);
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

fn told_in(form: Form, events: &[Event<'_>], press: &mut Press) -> Told {
    let mut told = Told { frames: Vec::new(), saved: 0 };
    for event in events {
        let start = told.frames.len();
        write_event(&mut told.frames, form.encoding, event);
        if form.deflated {
            told.saved += press.press_last(&mut told.frames, start) as u64;
        }
    }
    told
}

//! The rooms this shard has seats in: who sits there and what they are still owed.
//!
//! All `Live` seats of a room share the room's mark: everything before it is written. What lies between mark and
//! head is `pending`, and flushing is "pending to each seat". Only a seat that joined meanwhile, was served ahead
//! of the others or cannot take anything has a place of its own.

use std::collections::VecDeque;

use slab::Slab;

use super::seat::Seat;
use crate::base::{
    ClassId, Classes, ConnKey, Delivery, Encoding, Form, HomePlace, Limits, LocalPlace, Offset, RoomName, Seed,
    SeededMap, ShardId,
};
use crate::room::{Gone, SeatCounts};
use crate::wire::SharedFrame;

/// A message that is not written to everybody yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) frames: [Option<SharedFrame>; 2],
    /// The publisher who gets no copy, if its connection is of this shard, whether it sits in the room by now or not.
    pub(crate) skip: Option<ConnKey>,
    /// When its home gave it its offset.
    pub(crate) accepted_mono_ms: u64,
}

impl Pending {
    pub(crate) fn frame(&self, encoding: Encoding) -> Option<&SharedFrame> {
        self.frames[encoding.index()].as_ref()
    }

    /// It stands for something that was overtaken or dropped on its way.
    pub(crate) fn is_hole(&self) -> bool {
        self.frames.iter().all(Option::is_none)
    }

    pub(crate) fn has_deflated(&self) -> bool {
        self.frames.iter().flatten().any(SharedFrame::has_deflated)
    }

    fn bytes(&self) -> usize {
        self.frames.iter().flatten().map(|frame| frame.bytes_held()).sum()
    }
}

/// A flush of the first `frames` pending messages that got as far as `next_seat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sweep {
    pub(crate) frames: u32,
    pub(crate) next_seat: u32,
    /// More was pending when it began than fits one write: it goes on at once.
    pub(crate) cut: bool,
}

/// One room as this shard sees it.
#[derive(Debug)]
pub(crate) struct LocalRoom {
    pub(crate) name: RoomName,
    pub(crate) home: ShardId,
    /// By this shard's own rules.
    pub(crate) class: ClassId,
    /// As its home says, with the first seat's answer.
    pub(crate) delivery: Delivery,
    /// Where the home keeps it, learned with the first seat's answer.
    pub(crate) home_place: Option<HomePlace>,
    /// Which of the rooms that had this place in the table it is.
    pub(crate) life: u32,
    /// The offset of the first pending message: what all live seats are owed next.
    pub(crate) mark: Offset,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) counts: SeatCounts,
    pub(crate) sweep: Option<Sweep>,
    /// Stands in the queue of rooms with something to write.
    pub(crate) queued: bool,
    /// When it was last flushed.
    pub(crate) written_mono_ms: u64,
    /// People whose leaving the home has not been told yet.
    pub(crate) gone: Vec<Gone>,
    /// The home must be told the counts.
    pub(crate) untold: bool,
    /// Only where somebody watches.
    pub(crate) watching: Option<Box<Watching>>,
}

/// The connections whose seats watch, so that news of people are a matter of those who hear them and not of all who sit
/// there. Who watches no more may still stand here, and who came back twice: both are found out when they are told.
#[derive(Default, Debug)]
pub(crate) struct Watching {
    pub(crate) conns: Vec<u32>,
    /// Somebody was added since it was looked through.
    pub(crate) added: bool,
}

impl LocalRoom {
    /// The offset that the next `Deliver` must have.
    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.mark.0 + self.pending.len() as u64)
    }

    /// Where the counting of `taken` begins for the seat at this place: a running sweep has passed those below.
    pub(crate) fn base(&self, seat: u32) -> u32 {
        self.sweep.map_or(0, |sweep| if seat < sweep.next_seat { sweep.frames } else { 0 })
    }

    /// Which pending messages (indices) a live seat is owed.
    pub(crate) fn owed(&self, seat: u32) -> std::ops::Range<usize> {
        let from = (self.base(seat) + self.seats[seat as usize].taken()) as usize;
        from.min(self.pending.len())..self.pending.len()
    }

    /// The next offset a live seat is owed.
    pub(crate) fn cursor(&self, seat: u32) -> Offset {
        Offset(self.mark.0 + u64::from(self.base(seat) + self.seats[seat as usize].taken()))
    }

    /// Notes that a live seat has been served up to (not including) the pending message `to`.
    pub(crate) fn served(&mut self, seat: u32, to: usize) {
        let base = self.base(seat);
        let seat = &mut self.seats[seat as usize];
        seat.set_taken(to as u32 - base);
    }

    /// Makes a seat live from this offset on, if that does not lie before what is pending for its place.
    pub(crate) fn make_live(&mut self, seat: u32, conn: ConnKey, from: Offset) -> bool {
        let base = Offset(self.mark.0 + u64::from(self.base(seat)));
        if from < base || from.since(base) > u64::from(Seat::TAKEN_MAX) {
            return false;
        }
        // What was spread before its encoding had readers here has no frame for it and must be pulled.
        let encoding = self.seats[seat as usize].encoding();
        let mut owed = self.pending.iter().skip(from.since(self.mark) as usize);
        if owed.any(|pending| pending.frame(encoding).is_none()) {
            return false;
        }
        self.seats[seat as usize].set_live(from.since(base) as u32);
        let skips = self.pending.iter().any(|pending| pending.skip == Some(conn));
        self.seats[seat as usize].set_skips(skips);
        true
    }

    /// How many of the pending messages fit into one write of about this many bytes (one at least).
    pub(crate) fn frames_within(&self, bytes_soft: usize) -> u32 {
        let mut bytes = 0;
        let fit = self.pending.iter().take_while(|pending| {
            bytes += pending.frames.iter().flatten().map(|frame| frame.plain().len()).max().unwrap_or(0);
            bytes <= bytes_soft
        });
        fit.count().max(1) as u32
    }

    /// Whether what a seat is owed of the first `frames` messages may be written together with a filled outbox.
    pub(crate) fn fits(&self, seat: u32, frames: u32, outbox_bytes: usize, limits: &Limits) -> bool {
        if outbox_bytes == 0 {
            return true;
        }
        // What is overtaken soon, or kept nowhere, is the first thing that a filled outbox goes without.
        if self.delivery != Delivery::Reliable && outbox_bytes > limits.outbox_soft_bytes_max {
            return false;
        }
        let (form, from) = (self.seats[seat as usize].form(), self.owed(seat).start);
        let owed =
            self.pending.iter().take(frames as usize).skip(from).filter_map(|pending| pending.frame(form.encoding));
        outbox_bytes + owed.map(|frame| frame.bytes(form.deflated).len()).sum::<usize>() <= limits.outbox_hard_bytes_max
    }

    /// Nobody is seated for sure: a first seat may begin anywhere.
    pub(crate) fn has_seated(&self) -> bool {
        self.seats.iter().any(|seat| !seat.is_joining())
    }

    pub(crate) fn add_seat(&mut self, conn: u32, form: Form, watches: bool, ticket: u16) -> u32 {
        if self.seats.len() == self.seats.capacity() {
            // Doubling would leave half of a room of thousands empty for ever.
            self.seats.reserve_exact((self.seats.len() / 4).clamp(1, 4_096));
        }
        let seat = Seat::joining(conn, form, watches, ticket);
        self.seats.push(seat);
        self.counts.add(form);
        self.counts.watchers += u32::from(watches);
        if watches {
            self.add_watching(conn);
        }
        (self.seats.len() - 1) as u32
    }

    fn add_watching(&mut self, conn: u32) {
        let watchers = self.counts.watchers as usize;
        let Watching { conns, added } = &mut **self.watching.get_or_insert_default();
        if conns.len() > 2 * watchers + WATCHING_SPARE {
            // Nothing was told for so long that most of those who stand here are gone.
            conns.clear();
            conns.extend(self.seats.iter().filter(|seat| seat.watches()).map(|seat| seat.conn));
            conns.shrink_to(watchers + WATCHING_SPARE);
            return;
        }
        if conns.len() == conns.capacity() {
            conns.reserve_exact((conns.len() / 4).clamp(1, 4_096));
        }
        conns.push(conn);
        *added = true;
    }

    /// The seat hears no more who comes and goes; false: it did not before.
    pub(crate) fn stop_watching(&mut self, seat: u32) -> bool {
        let seat = &mut self.seats[seat as usize];
        let watched = seat.watches();
        seat.stop_watching();
        self.counts.watchers -= u32::from(watched);
        self.forget_watching();
        watched
    }

    fn forget_watching(&mut self) {
        if self.counts.watchers == 0 {
            self.watching = None;
        }
    }

    /// Takes a seat away; tells which seats (place before, place after) moved, so that their rows can be told.
    pub(crate) fn remove_seat(&mut self, seat: u32) -> [Option<(u32, u32)>; 2] {
        let gone = self.seats[seat as usize];
        self.counts.take(gone.form());
        self.counts.watchers -= u32::from(gone.watches());
        self.forget_watching();
        let last = (self.seats.len() - 1) as u32;
        // The seats a running sweep has passed must stay below those it has not.
        let hole = match &mut self.sweep {
            Some(sweep) if seat < sweep.next_seat => {
                sweep.next_seat -= 1;
                let passed = sweep.next_seat;
                self.seats[seat as usize] = self.seats[passed as usize];
                Some(passed)
            }
            Some(_) | None => None,
        };
        let first_move = hole.filter(|from| *from != seat).map(|from| (from, seat));
        let hole = hole.unwrap_or(seat);
        self.seats[hole as usize] = self.seats[last as usize];
        self.seats.pop();
        let second_move = (last != hole).then_some((last, hole));
        if self.seats.capacity() > 2 * self.seats.len() + 8 {
            self.seats.shrink_to(self.seats.len() + self.seats.len() / 4);
        }
        [first_move, second_move]
    }

    /// Forgets what everybody has: the first `frames` of pending. Returns the bytes given back.
    pub(crate) fn forget_written(&mut self, frames: usize) -> usize {
        let bytes = self.pending.drain(..frames).map(|pending| pending.bytes()).sum();
        self.mark = Offset(self.mark.0 + frames as u64);
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        bytes
    }

    /// Live seats are given up what they are owed of the pending messages, and those are forgotten. Returns the bytes given
    /// back, and how many messages readers will miss.
    pub(crate) fn skip_pending(&mut self) -> (usize, u64) {
        let (next, mut missed) = (self.next_offset(), 0);
        for seat in 0..self.seats.len() as u32 {
            if self.seats[seat as usize].is_live() {
                missed += self.owed(seat).len() as u64;
                let ahead = self.cursor(seat).since(next);
                let seat = &mut self.seats[seat as usize];
                seat.set_taken(ahead as u32);
                seat.set_skips(false);
            }
        }
        self.sweep = None;
        (self.forget_written(self.pending.len()), missed)
    }

    pub(crate) fn push_pending(&mut self, pending: Pending) -> usize {
        let bytes = pending.bytes();
        self.pending.push_back(pending);
        bytes
    }
}

/// Watchers noted beyond twice as many as there are, before the list is made anew.
const WATCHING_SPARE: usize = 8;

/// All rooms with seats at this shard.
#[derive(Debug)]
pub(crate) struct Seats {
    rooms: Slab<LocalRoom>,
    by_name: SeededMap<RoomName, u32>,
    lives: u32,
}

impl Seats {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self { rooms: Slab::new(), by_name: SeededMap::with_hasher(seed.state()), lives: 0 }
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn open(&mut self, name: &RoomName, home: ShardId, classes: &Classes) -> u32 {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        self.lives = self.lives.wrapping_add(1);
        let at = self.rooms.insert(LocalRoom {
            name: name.clone(),
            home,
            class: classes.of_room(name.as_str()),
            delivery: Delivery::Reliable,
            home_place: None,
            life: self.lives,
            mark: Offset(1),
            pending: VecDeque::new(),
            seats: Vec::new(),
            counts: SeatCounts::default(),
            sweep: None,
            queued: false,
            written_mono_ms: 0,
            gone: Vec::new(),
            untold: false,
            watching: None,
        }) as u32;
        self.by_name.insert(name.clone(), at);
        at
    }

    /// To be called when other patterns hold. Costs a look at every name.
    pub(crate) fn classify(&mut self, classes: &Classes) {
        for (_, room) in &mut self.rooms {
            room.class = classes.of_room(room.name.as_str());
        }
    }

    pub(crate) fn room(&self, at: u32) -> &LocalRoom {
        &self.rooms[at as usize]
    }

    pub(crate) fn room_mut(&mut self, at: u32) -> &mut LocalRoom {
        &mut self.rooms[at as usize]
    }

    /// Its place, as letters name it.
    pub(crate) fn place(&self, at: u32) -> LocalPlace {
        LocalPlace { at, life: self.room(at).life }
    }

    /// The room that a letter means, if it is still there.
    pub(crate) fn resolve(&self, place: LocalPlace) -> Option<u32> {
        self.rooms.get(place.at as usize).filter(|room| room.life == place.life).map(|_| place.at)
    }

    pub(crate) fn contains(&self, at: u32) -> bool {
        self.rooms.contains(at as usize)
    }

    /// Takes away a room without seats that has told its home everything.
    pub(crate) fn remove(&mut self, at: u32) -> LocalRoom {
        let room = self.rooms.remove(at as usize);
        self.by_name.remove(&room.name);
        if self.rooms.is_empty() {
            self.rooms.shrink_to_fit();
            self.by_name.shrink_to_fit();
        }
        room
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &LocalRoom)> {
        self.rooms.iter().map(|(at, room)| (at as u32, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Form = Form { encoding: Encoding::Json, deflated: true };

    fn room_of(conns: &[u32]) -> (Seats, u32) {
        let mut seats = Seats::new(&Seed::new([1, 2]));
        let at = seats.open(&RoomName::parse("r").unwrap(), ShardId(0), &Classes::of(&Limits::default()));
        for conn in conns {
            let seat = seats.room_mut(at).add_seat(*conn, JSON, false, 0);
            seats.room_mut(at).make_live(seat, ConnKey::new(0, *conn as u16, 0), Offset(1));
        }
        (seats, at)
    }

    fn pending() -> Pending {
        Pending { frames: [None, Some(SharedFrame::from(&b"x"[..]))], skip: None, accepted_mono_ms: 0 }
    }

    #[test]
    fn a_seat_that_joined_after_a_message_is_not_owed_it() {
        let (mut seats, at) = room_of(&[1]);
        let room = seats.room_mut(at);
        room.push_pending(pending());
        let late = room.add_seat(2, JSON, false, 0);
        assert!(room.make_live(late, ConnKey::new(0, 2, 0), Offset(2)));
        room.push_pending(pending());
        assert_eq!((room.owed(0), room.owed(late)), (0..2, 1..2));
        assert!(!room.make_live(late, ConnKey::new(0, 2, 0), Offset(0)));
    }

    /// Regression: what a slow reader may miss was added to a filled outbox for as long as what it may not.
    #[test]
    fn latest_and_ephemeral_are_what_a_filled_outbox_goes_without_first() {
        let limits = Limits { outbox_soft_bytes_max: 1_000, outbox_hard_bytes_max: 5_000, ..Limits::default() };
        let (mut seats, at) = room_of(&[1]);
        let room = seats.room_mut(at);
        let mut frame = Vec::new();
        crate::wire::write_frame(&mut frame, crate::wire::FrameKind::Text, &[b'x'; 1_996], None);
        room.push_pending(Pending {
            frames: [0, 1].map(|_| Some(SharedFrame::from(&frame[..]))),
            skip: None,
            accepted_mono_ms: 0,
        });
        for (delivery, fits) in [
            (Delivery::Reliable, [true, true, true, false]),
            (Delivery::Latest, [true, true, false, false]),
            (Delivery::Ephemeral, [true, true, false, false]),
        ] {
            room.delivery = delivery;
            let told = [0, 1_000, 1_001, 3_001].map(|outbox_bytes| room.fits(0, 1, outbox_bytes, &limits));
            assert_eq!(told, fits, "{delivery:?}");
        }
    }

    #[test]
    fn taking_seats_away_during_a_sweep_neither_skips_nor_repeats_anybody() {
        for gone in 0..6_u32 {
            let (mut seats, at) = room_of(&[10, 11, 12, 13, 14, 15]);
            let room = seats.room_mut(at);
            room.push_pending(pending());
            room.sweep = Some(Sweep { frames: 1, next_seat: 3, cut: false });
            let (passed, waiting) = (vec![10, 11, 12], vec![13, 14, 15]);
            let moves = room.remove_seat(gone);
            let next = room.sweep.unwrap().next_seat as usize;
            let (mut now_passed, mut now_waiting): (Vec<u32>, Vec<u32>) = (
                room.seats[..next].iter().map(|s| s.conn).collect(),
                room.seats[next..].iter().map(|s| s.conn).collect(),
            );
            now_passed.sort_unstable();
            now_waiting.sort_unstable();
            let without = |conns: &[u32]| conns.iter().copied().filter(|c| *c != 10 + gone).collect::<Vec<u32>>();
            assert_eq!((now_passed, now_waiting), (without(&passed), without(&waiting)));
            for (before, after) in moves.into_iter().flatten() {
                assert_eq!(
                    room.seats[after as usize].conn,
                    [10, 11, 12, 13, 14, 15][before as usize],
                    "the moves tell the truth"
                );
            }
        }
    }

    #[test]
    fn what_is_skipped_is_owed_to_nobody_and_who_was_ahead_stays_ahead() {
        let (mut seats, at) = room_of(&[1, 2]);
        let room = seats.room_mut(at);
        for _ in 0..3 {
            room.push_pending(pending());
        }
        room.served(0, 2);
        let late = room.add_seat(3, JSON, false, 0);
        assert!(room.make_live(late, ConnKey::new(0, 3, 0), Offset(6)));
        room.sweep = Some(Sweep { frames: 1, next_seat: 1, cut: false });
        room.seats[0].set_taken(1);
        let (bytes, missed) = room.skip_pending();
        assert_eq!((bytes, missed, room.mark), (3, 1 + 3, Offset(4)));
        for _ in 0..3 {
            room.push_pending(pending());
        }
        assert_eq!((room.owed(0), room.owed(1), room.owed(late)), (0..3, 0..3, 2..3));
    }
}

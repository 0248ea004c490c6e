//! Work on many rows or rooms that the control plane asked for, done in slices between the turns.
//!
//! A user's connections stand in no index: an index would cost every idle connection something, and who asks is an
//! operator or a backend. So the table is scanned, a bounded number of places per turn, oldest errand first. Promises:
//! announcements of one home reach each connection in the order of their positions; no slice is long; what is told to a
//! whole server is paced, in connections and in bytes per tick, so that a broadcast starves nobody, and who is to be sent
//! away does not stay until a broadcast has ended. Must never: run while input has
//! to wait, nor tell while something has been due since before this tick.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use super::answers::facts_of;
use super::ask::{Announcement, Answer, AskId, Audience, Closed, ConnectionFacts, Question, RoomFacts};
use super::hearers::Hearers;
use super::row::{Flags, Row, Stage};
use super::{Count, Shard, seconds};
use crate::base::{ConnAddress, ConnKey, Identity, Now, Offset, RoomName};
use crate::wire::{CloseReason, Refusal, SharedFrame};

/// Errands that wait at one shard; one more is refused as `busy`.
const ERRANDS_MAX: usize = 1_024;
/// Bytes of announcements that wait at one shard; another one is then refused as `busy`.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Rows, rooms or seats looked at in one turn, by those that tell and by those that do not.
const PLACES_PER_TURN: u32 = 1_024;
/// Connections told between two ticks: a quarter of what may be written in that time.
const TOLD_PER_TICK: u32 = 2_500;
/// Bytes of announcements put into outboxes between two ticks; one that is longer passes alone.
const TOLD_BYTES_PER_TICK: usize = 16 << 20;

/// One piece of work and how far it is.
#[derive(Debug)]
struct Errand {
    id: AskId,
    chore: Chore,
    cursor: u32,
    reached: u64,
    passed_over: u64,
    /// What it holds, as counted when it began; 0 only where it tells nobody anything.
    bytes: usize,
}

#[derive(Debug)]
enum Chore {
    Tell {
        room: RoomName,
        offset: Offset,
        to: Audience,
        frames: [SharedFrame; 2],
        hearers: Hearers,
        /// Who had it before its turn, or was passed over then: they are counted.
        done: Hearers,
    },
    CloseUser {
        user: Identity,
        reason: CloseReason,
    },
    /// `left`: so many sat there when it began; who comes meanwhile does not make it longer.
    CloseRoom {
        room: RoomName,
        left: u64,
        reason: CloseReason,
    },
    ListConnections {
        user: Identity,
        list: Vec<ConnectionFacts>,
        connections_max: usize,
    },
    ListFullest {
        fullest: BTreeSet<Fullest>,
        rooms_max: usize,
    },
}

/// A room by its number of connections, then by its place.
#[derive(Debug)]
struct Fullest {
    rank: (u64, Reverse<u32>),
    facts: RoomFacts,
}

/// Errands in the order they came, and what this tick still allows.
#[derive(Default, Debug)]
pub(crate) struct Errands {
    /// Those that are paced.
    tells: VecDeque<Errand>,
    /// Bytes of the frames of these.
    tells_bytes: usize,
    /// All others: they look, list and close.
    looks: VecDeque<Errand>,
    told: u32,
    told_bytes: usize,
}

/// How a slice of an errand ended.
enum Step {
    Done,
    /// The places of this turn are used up.
    Later,
    /// The tick's allowance is.
    NextTick,
}

impl Chore {
    fn bytes(&self) -> usize {
        match self {
            Self::Tell { frames, hearers, done, .. } => {
                frames.iter().map(|frame| frame.bytes_held()).sum::<usize>() + hearers.bytes() + done.bytes()
            }
            Self::CloseUser { .. }
            | Self::CloseRoom { .. }
            | Self::ListConnections { .. }
            | Self::ListFullest { .. } => 0,
        }
    }
}

impl Errands {
    pub(super) fn on_tick(&mut self) {
        (self.told, self.told_bytes) = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tells.is_empty() && self.looks.is_empty()
    }

    /// Of the announcements that wait.
    pub(super) fn bytes(&self) -> usize {
        self.tells_bytes
    }

    /// The same, added up again.
    pub(super) fn bytes_recounted(&self) -> usize {
        self.tells.iter().map(|errand| errand.bytes).sum()
    }

    /// Whether an announcement waits, or is being told.
    pub(super) fn tells_somebody(&self) -> bool {
        !self.tells.is_empty()
    }

    /// For each announcement in this room: its place there, and who hears it by a seat.
    pub(super) fn each_told_in(&mut self, name: &RoomName, mut act: impl FnMut(Offset, &mut Hearers)) {
        for errand in &mut self.tells {
            if let Chore::Tell { room, offset, hearers, .. } = &mut errand.chore
                && room == name
            {
                act(*offset, hearers);
            }
        }
    }

    /// The connection is gone: whoever has its row next is somebody else.
    pub(super) fn forget_row(&mut self, index: u32) {
        for errand in &mut self.tells {
            if let Chore::Tell { hearers, done, .. } = &mut errand.chore {
                hearers.remove(index);
                done.remove(index);
            }
        }
    }

    fn may_tell(&self) -> bool {
        self.told < TOLD_PER_TICK && self.told_bytes < TOLD_BYTES_PER_TICK
    }
}

impl Shard {
    /// Takes up an ask that needs the whole table.
    pub(super) fn begin_errand(&mut self, now: Now, id: AskId, question: Question) {
        let chore = match question {
            Question::FullestRooms { rooms_max } => Chore::ListFullest { fullest: BTreeSet::new(), rooms_max },
            Question::Connections { user, connections_max } => {
                Chore::ListConnections { user, list: Vec::new(), connections_max }
            }
            Question::Close { whom: Closed::User(user), reason } => Chore::CloseUser { user, reason },
            Question::Close { whom: Closed::Room(room), reason } => {
                let left = self.seats.find(room.as_str()).map_or(0, |at| self.seats.room(at).seats.len() as u64);
                Chore::CloseRoom { room, left, reason }
            }
            Question::Close { whom: Closed::Connection(conn), reason } => {
                let is_open = self.connections.row(conn).is_some_and(|row| row.stage == Stage::Open);
                if is_open {
                    self.fail(now, conn, reason);
                }
                self.answer_ask(id, Answer::Reached { connections: u64::from(is_open), passed_over: 0 });
                return;
            }
            Question::Publish(_)
            | Question::Announce { .. }
            | Question::Presence { .. }
            | Question::History(_)
            | Question::Rooms { .. }
            | Question::Ticket(_)
            | Question::Revoke(_) => unreachable!("answered at once"),
        };
        self.add_errand(id, chore);
    }

    /// A home's announcement has come.
    pub(super) fn on_announce(&mut self, Announcement { id, room, offset, to, frames }: Announcement) {
        let hearers = match self.seats.find(room.as_str()) {
            Some(at) => Hearers::of(self.seats.room(at)),
            None => Hearers::default(),
        };
        self.add_errand(id, Chore::Tell { room, offset, to, frames, hearers, done: Hearers::default() });
    }

    fn add_errand(&mut self, id: AskId, chore: Chore) {
        let (errands, bytes) = (&mut self.errands, chore.bytes());
        let is_full = errands.tells.len() + errands.looks.len() >= ERRANDS_MAX;
        if is_full || bytes > 0 && errands.tells_bytes > WAITING_BYTES_MAX {
            self.answer_ask(id, Answer::Refused(Refusal::Busy));
            return;
        }
        errands.tells_bytes += bytes;
        let queue = if bytes > 0 { &mut errands.tells } else { &mut errands.looks };
        queue.push_back(Errand { id, chore, cursor: 0, reached: 0, passed_over: 0, bytes });
    }

    /// Whether the next turn has something to do for an errand even if nothing comes in.
    pub(super) fn errands_can_go_on(&self) -> bool {
        let may_tell = !self.errands.tells.is_empty() && self.errands.may_tell();
        !self.errands.looks.is_empty() && !self.flush.is_overdue() || may_tell && !self.flush.is_late()
    }

    /// A slice of the oldest errand of either kind, and of the next ones if places are left.
    pub(super) fn run_errands(&mut self, now: Now) {
        let mut places = PLACES_PER_TURN;
        while !self.flush.is_overdue()
            && let Some(errand) = self.errands.looks.pop_front()
        {
            if let Some(errand) = self.go_on(now, errand, &mut places) {
                self.errands.looks.push_front(errand);
                break;
            }
        }
        let mut places = PLACES_PER_TURN;
        while !self.flush.is_late()
            && self.errands.may_tell()
            && let Some(errand) = self.errands.tells.pop_front()
        {
            let bytes = errand.bytes;
            if let Some(errand) = self.go_on(now, errand, &mut places) {
                self.errands.tells.push_front(errand);
                break;
            }
            self.errands.tells_bytes -= bytes;
        }
    }

    /// One slice; gives the errand back if it is not at its end.
    fn go_on(&mut self, now: Now, mut errand: Errand, places: &mut u32) -> Option<Errand> {
        match self.step(now, &mut errand, places) {
            Step::Done => {
                self.finish(errand);
                None
            }
            Step::Later | Step::NextTick => Some(errand),
        }
    }

    fn step(&mut self, now: Now, errand: &mut Errand, places: &mut u32) -> Step {
        match &errand.chore {
            Chore::ListFullest { .. } => self.look_at_rooms(errand, places),
            Chore::CloseRoom { .. } => self.close_seats(now, errand, places),
            Chore::Tell { .. } | Chore::CloseUser { .. } | Chore::ListConnections { .. } => {
                self.look_at_rows(now, errand, places)
            }
        }
    }

    fn finish(&mut self, errand: Errand) {
        let answer = match errand.chore {
            Chore::Tell { .. } | Chore::CloseUser { .. } | Chore::CloseRoom { .. } => {
                Answer::Reached { connections: errand.reached, passed_over: errand.passed_over }
            }
            Chore::ListConnections { list, .. } => Answer::Connections { list, count: errand.reached },
            Chore::ListFullest { fullest, .. } => {
                let rooms = fullest.into_iter().rev().map(|one| one.facts).collect();
                Answer::Rooms { rooms, next: None }
            }
        };
        self.answer_ask(errand.id, answer);
    }

    fn look_at_rows(&mut self, now: Now, errand: &mut Errand, places: &mut u32) -> Step {
        while let Some(index) = self.connections.next_index(errand.cursor) {
            if *places == 0 {
                return Step::Later;
            }
            *places -= 1;
            if is_meant(self.connections.at(index), &errand.chore) {
                let conn = self.connections.at(index).key(index);
                if matches!(errand.chore, Chore::Tell { .. }) && !self.errands.may_tell() {
                    return Step::NextTick;
                }
                self.act_on(now, conn, errand);
            }
            errand.cursor = index + 1;
        }
        Step::Done
    }

    fn act_on(&mut self, now: Now, conn: ConnKey, errand: &mut Errand) {
        match &mut errand.chore {
            Chore::Tell { done, .. } if done.contains(conn.index()) => {}
            // By its seat.
            Chore::Tell { hearers, .. } if hearers.contains(conn.index()) => errand.reached += 1,
            Chore::Tell { frames, .. } => match self.tell(conn, frames) {
                true => errand.reached += 1,
                false => errand.passed_over += 1,
            },
            Chore::CloseUser { reason, .. } => {
                self.fail(now, conn, *reason);
                errand.reached += 1;
            }
            Chore::ListConnections { list, connections_max, .. } => {
                errand.reached += 1;
                if list.len() < *connections_max {
                    list.push(self.facts_of_connection(now, conn));
                }
            }
            Chore::CloseRoom { .. } | Chore::ListFullest { .. } => unreachable!("these do not look at rows"),
        }
    }

    /// Somebody is about to be told where its seat in this room begins. Announcements that stand before that place and wait
    /// for its turn come first: behind the answer they would look as if they had been heard before.
    pub(super) fn tell_before_seat(&mut self, now: Now, conn: ConnKey, name: &RoomName, from: Offset) {
        if !self.errands.tells_somebody() {
            return;
        }
        let mut tells = std::mem::take(&mut self.errands.tells);
        for errand in &mut tells {
            let stands_before =
                matches!(&errand.chore, Chore::Tell { room, offset, .. } if room == name && *offset < from);
            let waits = stands_before && errand.cursor <= conn.index();
            let row = self.connections.row(conn).filter(|_| waits);
            if row.is_some_and(|row| is_meant(row, &errand.chore)) {
                self.act_on(now, conn, errand);
                if let Chore::Tell { done, .. } = &mut errand.chore {
                    done.insert(conn.index());
                }
            }
        }
        self.errands.tells = tells;
        if self.connections.row(conn).is_none() {
            // That was one too many for its outbox, and nobody could be told meanwhile.
            self.errands.forget_row(conn.index());
        }
    }

    /// Whether it has it now.
    fn tell(&mut self, conn: ConnKey, frames: &[SharedFrame; 2]) -> bool {
        let Some(row) = self.connections.row(conn) else { return false };
        let unsent = row.work.as_ref().map_or(0, |work| work.outbox.len());
        if unsent > self.limits().outbox_soft_bytes_max {
            self.counters.add(Count::PassedOver, 1);
            return false;
        }
        let form = row.form();
        let (frame, plain) =
            (frames[form.encoding.index()].bytes(form.deflated), frames[form.encoding.index()].plain());
        self.counters.add(Count::DeflateSaved, (plain.len() - frame.len()) as u64);
        self.errands.told += 1;
        self.errands.told_bytes += frame.len();
        self.counters.add(Count::Announced, 1);
        self.append(conn, |outbox| outbox.extend_from_slice(frame));
        true
    }

    fn facts_of_connection(&self, now: Now, conn: ConnKey) -> ConnectionFacts {
        let row = self.connections.at(conn.index());
        ConnectionFacts {
            address: ConnAddress { shard: self.config.id, conn },
            encoding: row.encoding(),
            rooms: row.seats.iter().map(|place| self.seats.room(place.room).name.clone()).collect(),
            silent_s: seconds(now).saturating_sub(row.heard_mono_s),
            expires_in_s: row.expires_mono_s.saturating_sub(seconds(now)),
            stalled: row.flags.has(Flags::STALLED),
            unsent_bytes: row.work.as_ref().map_or(0, |work| work.outbox.len() as u64),
        }
    }

    fn close_seats(&mut self, now: Now, errand: &mut Errand, places: &mut u32) -> Step {
        let Chore::CloseRoom { room, left, reason } = &mut errand.chore else {
            unreachable!("asked for this chore only")
        };
        while *left > 0
            && let Some(seat) = self.seats.find(room.as_str()).and_then(|at| self.seats.room(at).seats.last().copied())
        {
            if *places == 0 {
                return Step::Later;
            }
            *places -= 1;
            *left -= 1;
            errand.reached += 1;
            let conn = self.connections.at(seat.conn).key(seat.conn);
            self.fail(now, conn, *reason);
        }
        Step::Done
    }

    fn look_at_rooms(&mut self, errand: &mut Errand, places: &mut u32) -> Step {
        let Chore::ListFullest { fullest, rooms_max } = &mut errand.chore else {
            unreachable!("asked for this chore only")
        };
        while errand.cursor < self.rooms.places() {
            if *places == 0 {
                return Step::Later;
            }
            *places -= 1;
            let place = errand.cursor;
            errand.cursor += 1;
            let Some(room) = self.rooms.room_mut(place) else { continue };
            let connections = room.attendance().iter().map(|a| u64::from(a.seats.total())).sum();
            let rank = (connections, Reverse(place));
            if fullest.len() < *rooms_max || fullest.first().is_some_and(|least| least.rank < rank) {
                fullest.insert(Fullest { rank, facts: facts_of(room) });
                if fullest.len() > *rooms_max {
                    fullest.pop_first();
                }
            }
        }
        Step::Done
    }
}

fn is_meant(row: &Row, chore: &Chore) -> bool {
    let user = match chore {
        Chore::Tell { to: Audience::Everybody, .. } => return row.stage == Stage::Open,
        Chore::Tell { to: Audience::User(user), .. }
        | Chore::CloseUser { user, .. }
        | Chore::ListConnections { user, .. } => user,
        Chore::CloseRoom { .. } | Chore::ListFullest { .. } => return false,
    };
    row.stage == Stage::Open && row.identity.as_ref() == Some(user)
}

impl PartialEq for Fullest {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Fullest {}

impl PartialOrd for Fullest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fullest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

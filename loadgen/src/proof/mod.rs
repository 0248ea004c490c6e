//! The proof: was every accepted message heard by everyone who sat there, once, in order? Pure.
//!
//! Promises: 32 bytes a membership; lost messages are counted exactly, not sampled, and the first of them named as far
//! as they can be told; a fault is never excused by another one; where something cannot be known exactly (a refusal without an
//! id, a socket cut with answers outstanding, what comes more than 32 offsets late and may be a copy) the reading says so. A connection that heard nothing when it should have is a fault: silence
//! cannot pass.
//!
//! How: each member keeps the newest offset, a window of recent ones, a count and two order-free sums of message
//! names; the sending side keeps the same sums of what was accepted. Rooms never cross workers, so both sides of
//! the comparison lie in one process.

mod hole;
mod judge;
mod loss;
mod membership;

pub(crate) use judge::Judgement;
#[cfg(test)]
pub(crate) use loss::SeenMissing;
pub(crate) use loss::{Loss, Message};
pub(crate) use membership::{Membership, Seen};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mix::{message_name, placed_name};
use crate::payload::Marker;
use hole::{Hole, Holes};

/// What can be wrong. Each one fails the proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Accepted and not heard by somebody who sat there.
    Lost,
    /// Heard twice, or the own copy that was not asked for.
    Duplicated,
    /// Heard after a later one, or a publisher's messages not in the order sent.
    Misordered,
    /// From a room not joined.
    Foreign,
    /// Not what anybody sent, or under another name.
    Corrupted,
    /// The server said itself that messages are missing.
    Gap,
    /// Two people saw different messages at one position, or the offsets are not dense.
    Disagreed,
    /// A command with an id without its one answer.
    Unanswered,
    /// A connection that heard nothing although it should have.
    Silent,
    /// A connection that answered no heartbeat although the time for one had passed.
    NoHeartbeat,
    /// A connection that ended while it should have lived.
    Cut,
}

impl Fault {
    pub(crate) const ALL: [Self; 11] = [
        Self::Lost,
        Self::Duplicated,
        Self::Misordered,
        Self::Foreign,
        Self::Corrupted,
        Self::Gap,
        Self::Disagreed,
        Self::Unanswered,
        Self::Silent,
        Self::NoHeartbeat,
        Self::Cut,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Misordered => "misordered",
            Self::Foreign => "foreign",
            Self::Corrupted => "corrupted",
            Self::Gap => "gap",
            Self::Disagreed => "disagreed",
            Self::Unanswered => "unanswered",
            Self::Silent => "silent",
            Self::NoHeartbeat => "no_heartbeat",
            Self::Cut => "cut",
        }
    }
}

/// Number of faults by kind.
pub(crate) type FaultCounts = BTreeMap<Fault, u64>;

/// Who gets what, decided by the run's options.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Publishes carry an id and are answered.
    pub(crate) acks: bool,
    /// A publisher hears its own message.
    pub(crate) own_copy: bool,
    /// The server gives messages positions. Without them a seat's own count stands for them.
    pub(crate) positions: bool,
}

/// The shape of one worker's crowd: `rooms` rooms of `room_size` members, the first `publishers` of each publish.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Crowd {
    /// The number of this worker's first room, counted over the run.
    pub(crate) first_room: u32,
    /// The number of its first connection, likewise.
    pub(crate) first_connection: u32,
    pub(crate) rooms: u32,
    pub(crate) room_size: u32,
    /// Publishers per room, at most `room_size`.
    pub(crate) publishers: u32,
}

impl Crowd {
    pub(crate) fn connections(&self) -> u32 {
        self.rooms * self.room_size
    }

    /// The number of a local connection over the whole run.
    pub(crate) fn global(&self, member: u32) -> u32 {
        self.first_connection + member
    }

    /// The local connection of a local publisher.
    pub(crate) fn member_of(&self, publisher: u32) -> u32 {
        publisher / self.publishers * self.room_size + publisher % self.publishers
    }

    /// The local publisher that a local connection is, if it is one.
    pub(crate) fn publisher_of(&self, member: u32) -> Option<u32> {
        let (room, place) = (member / self.room_size, member % self.room_size);
        (place < self.publishers).then(|| room * self.publishers + place)
    }
}

/// The sending side of one publisher, this phase.
#[derive(Clone, Default, Debug)]
struct Publisher {
    /// Over all phases.
    seq: u32,
    sent: u32,
    acked: u32,
    /// Refused with an id: exactly known.
    refused: u32,
    /// Refused without an id: only the number is known.
    refused_unnamed: u32,
    /// Names of what was sent and not (knowingly) refused.
    names: u64,
    /// Names with the offsets that the acks gave.
    places: u64,
    cut: bool,
}

impl Publisher {
    fn accepted(&self) -> u32 {
        self.sent - self.refused - self.refused_unnamed
    }
}

/// One room's ground: offsets count from `base`.
#[derive(Clone, Default, Debug)]
struct Room {
    base: u64,
    epoch: u64,
    known: bool,
}

/// All expectations and observations of one worker.
pub(crate) struct Ledger {
    crowd: Crowd,
    rules: Rules,
    rooms: Vec<Room>,
    publishers: Vec<Publisher>,
    members: Vec<Membership>,
    expected: u64,
    received: u64,
    unanswered: u64,
    faults: FaultCounts,
    holes: Holes,
    /// What gaps told members that they miss, in this phase.
    told_missing: BTreeMap<u32, u64>,
    late_or_copies: u64,
}

impl Ledger {
    pub(crate) fn new(crowd: Crowd, rules: Rules) -> Self {
        Self {
            crowd,
            rules,
            rooms: vec![Room::default(); crowd.rooms as usize],
            publishers: vec![Publisher::default(); (crowd.rooms * crowd.publishers) as usize],
            members: vec![Membership::default(); crowd.connections() as usize],
            expected: 0,
            received: 0,
            unanswered: 0,
            faults: FaultCounts::new(),
            holes: Holes::default(),
            told_missing: BTreeMap::new(),
            late_or_copies: 0,
        }
    }

    /// Only the first `rooms` are judged; the others never filled.
    pub(crate) fn keep_rooms(&mut self, rooms: u32) {
        self.crowd.rooms = rooms;
        self.rooms.truncate(rooms as usize);
        self.publishers.truncate((rooms * self.crowd.publishers) as usize);
        self.members.truncate(self.crowd.connections() as usize);
    }

    /// A member sits: the newest position before it. All members of a room must be told the same, since nobody
    /// publishes before everybody sits.
    pub(crate) fn joined(&mut self, member: u32, epoch: u64, offset: u64) -> Result<(), Fault> {
        let room = &mut self.rooms[(member / self.crowd.room_size) as usize];
        if !room.known {
            *room = Room { base: offset, epoch, known: true };
        }
        if (room.base, room.epoch) == (offset, epoch) { Ok(()) } else { Err(self.fault(Fault::Disagreed)) }
    }

    /// Takes the next sequence number of `publisher`, which is now on its way.
    pub(crate) fn sent(&mut self, publisher: u32) -> u32 {
        self.expected += self.hearers();
        self.unanswered += u64::from(self.rules.acks);
        let global = self.crowd.global(self.crowd.member_of(publisher));
        let state = &mut self.publishers[publisher as usize];
        let seq = state.seq;
        state.seq += 1;
        state.sent += 1;
        state.names = state.names.wrapping_add(message_name(global, seq));
        seq
    }

    /// How many of a publisher's messages have no answer yet; 0 where none is asked for.
    pub(crate) fn unanswered_by(&self, publisher: u32) -> u32 {
        let Publisher { sent, acked, refused, .. } = self.publishers[publisher as usize];
        if self.rules.acks { sent.saturating_sub(acked + refused) } else { 0 }
    }

    /// A gap told `member` that so many messages will not come. It is a fault, and so are they: this is only for whoever allows
    /// it (twice the peak).
    pub(crate) fn gap(&mut self, member: u32, missing: u64) -> Fault {
        let told = self.told_missing.entry(member).or_default();
        // The server gives the offsets: any number may come.
        *told = told.saturating_add(missing);
        self.fault(Fault::Gap)
    }

    /// The sequence number that [`Ledger::sent`] will give next.
    pub(crate) fn next_seq(&self, publisher: u32) -> u32 {
        self.publishers[publisher as usize].seq
    }

    /// The server gave `seq` a position.
    pub(crate) fn acked(&mut self, publisher: u32, seq: u32, epoch: u64, offset: u64) -> Result<(), Fault> {
        let room = &self.rooms[(publisher / self.crowd.publishers) as usize];
        let relative = offset.checked_sub(room.base).and_then(|relative| u32::try_from(relative).ok());
        let fits = room.epoch == epoch && relative.is_some_and(|relative| relative > 0);
        let global = self.crowd.global(self.crowd.member_of(publisher));
        let state = &mut self.publishers[publisher as usize];
        if state.acked + state.refused >= state.sent {
            return Err(self.fault(Fault::Corrupted));
        }
        state.acked += 1;
        state.places = state.places.wrapping_add(placed_name(relative.unwrap_or(0), message_name(global, seq)));
        self.unanswered = self.unanswered.saturating_sub(1);
        if fits { Ok(()) } else { Err(self.fault(Fault::Disagreed)) }
    }

    /// The server did not take a message; `seq` when the answer names it.
    pub(crate) fn refused(&mut self, publisher: u32, seq: Option<u32>) -> Result<(), Fault> {
        let hearers = self.hearers();
        let global = self.crowd.global(self.crowd.member_of(publisher));
        let state = &mut self.publishers[publisher as usize];
        if state.acked + state.refused + state.refused_unnamed >= state.sent {
            return Err(self.fault(Fault::Corrupted));
        }
        match seq {
            Some(seq) => {
                state.refused += 1;
                state.names = state.names.wrapping_sub(message_name(global, seq));
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            None => state.refused_unnamed += 1,
        }
        self.expected -= hearers;
        Ok(())
    }

    /// `member` heard a message whose checksum was right, under its own room's name, at `now_ns`.
    pub(crate) fn received(&mut self, member: u32, offset: u64, marker: &Marker, now_ns: u64) -> Result<(), Fault> {
        let crowd = self.crowd;
        let room = member / crowd.room_size;
        if marker.room != crowd.first_room + room {
            return Err(self.fault(Fault::Foreign));
        }
        let room_start = crowd.global(room * crowd.room_size);
        let place = marker.publisher.wrapping_sub(room_start);
        if place >= crowd.publishers {
            return Err(self.fault(Fault::Corrupted));
        }
        if marker.publisher == crowd.global(member) && !self.rules.own_copy {
            return Err(self.fault(Fault::Duplicated));
        }
        let base = self.rooms[room as usize].base;
        let Some(relative) = offset.checked_sub(base).filter(|relative| *relative > 0) else {
            return Err(self.fault(Fault::Duplicated));
        };
        let Ok(relative) = u32::try_from(relative) else {
            return Err(self.fault(Fault::Disagreed));
        };
        // Every publisher has a witness who checks the order of its messages: the member before it, round the room.
        let witnessed = place == (member % crowd.room_size + 1) % crowd.publishers;
        let name = message_name(marker.publisher, marker.seq);
        if self.jumps(member, relative) {
            let own = self.own_accepted(member);
            let from = own.is_none().then_some(self.members[member as usize].newest().saturating_add(1));
            self.holes.note(Hole { member, from, before: relative, at_ns: now_ns });
        }
        let state = &mut self.members[member as usize];
        match state.receive(relative, name, witnessed.then_some(marker.seq)) {
            Seen::InOrder => self.received += 1,
            seen @ (Seen::Misordered | Seen::LateOrCopy) => {
                self.received += 1;
                self.late_or_copies += u64::from(seen == Seen::LateOrCopy);
                return Err(self.fault(Fault::Misordered));
            }
            Seen::Duplicated => return Err(self.fault(Fault::Duplicated)),
        }
        Ok(())
    }

    /// Whether hearing `offset` next leaves out more than the member's own messages can account for. Those of them that have no
    /// offset yet hide as many losses, until they have.
    fn jumps(&self, member: u32, offset: u32) -> bool {
        let heard = &self.members[member as usize];
        if u64::from(offset) <= u64::from(heard.newest()) + 1 {
            return false;
        }
        let own = self.own_accepted(member).unwrap_or(0);
        u64::from(offset - 1) > u64::from(heard.heard()) + u64::from(own)
    }

    /// What a member said itself and will not hear. None: it hears all that is said in its room.
    fn own_accepted(&self, member: u32) -> Option<u32> {
        let own = self.crowd.publisher_of(member).filter(|_| !self.rules.own_copy);
        own.map(|publisher| self.publishers[publisher as usize].accepted())
    }

    /// The offset behind the newest that `member` heard.
    pub(crate) fn next_offset(&self, member: u32) -> u64 {
        let room = &self.rooms[(member / self.crowd.room_size) as usize];
        // The server gives the offsets: any number may come.
        room.base.saturating_add(u64::from(self.members[member as usize].newest()) + 1)
    }

    /// The connection ended while it should have lived.
    pub(crate) fn cut(&mut self, member: u32) -> Fault {
        self.members[member as usize].cut();
        if let Some(publisher) = self.crowd.publisher_of(member) {
            self.publishers[publisher as usize].cut = true;
        }
        self.fault(Fault::Cut)
    }

    /// Counts a fault that was found outside.
    pub(crate) fn fault(&mut self, fault: Fault) -> Fault {
        *self.faults.entry(fault).or_default() += 1;
        fault
    }

    /// Deliveries that are to come, by what is known now, and those that came.
    pub(crate) fn deliveries(&self) -> (u64, u64) {
        (self.expected, self.received)
    }

    /// Whether all that was sent has been answered (if it is to be) and heard.
    pub(crate) fn settled(&self) -> bool {
        self.unanswered == 0 && self.received >= self.expected
    }

    /// How many hear one message.
    fn hearers(&self) -> u64 {
        u64::from(self.crowd.room_size - 1) + u64::from(self.rules.own_copy)
    }
}

#[cfg(test)]
mod tests;

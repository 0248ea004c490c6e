//! What the control plane asks of a shard, and what comes back.
//!
//! An [`Ask`] is one letter with a number; the shard answers by [`Effect::Answer`](super::Effect) with the same number:
//! at once, after some turns of scanning, or, for a question that may wait, when there is news. Promises: every ask that
//! a shard took gets its answer, unless the server stops first; what an ask may cost is bounded here or by the asker.

use std::hash::BuildHasher;

use super::{Revocation, Revoked, TicketCode};
use crate::base::{
    ConnAddress, ConnKey, Encoding, Epoch, Identity, Offset, Position, RoomName, Seed, SeededState, ShardId,
};
use crate::room::Roll;
use crate::wire::{CloseReason, GapWhy, Payload, Refusal, SharedFrame, Verified};

pub use crate::wire::HistoryFrom;

/// The asker's own number for one ask; the shard only gives it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// One letter of the control plane.
#[derive(Debug)]
pub struct Ask {
    pub id: AskId,
    pub question: Question,
}

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// Of the home of all these rooms: to be published in this order. Answer: [`Answer::Published`].
    Publish(Vec<Notice>),
    /// Of the home of the notice's room: to be published there and told to these people wherever they sit. Answers:
    /// [`Answer::Announced`] by the home, [`Answer::Reached`] by every shard; or [`Answer::Refused`] by the home alone.
    Announce { to: Audience, notice: Box<Notice> },
    /// Of the room's home. Answer: [`Answer::Presence`].
    Presence { room: RoomName },
    /// Of the room's home. Answer: [`Answer::History`].
    History(Box<HistoryQuestion>),
    /// Of any shard: the rooms whose home it is, from this place of its table on. Answer: [`Answer::Rooms`].
    Rooms { from: u32, rooms_max: usize, prefix: Box<str> },
    /// Of any shard: the fullest of the rooms whose home it is. Answer: [`Answer::Rooms`].
    FullestRooms { rooms_max: usize },
    /// Of any shard: where this user sits. Answer: [`Answer::Connections`].
    Connections { user: Identity, connections_max: usize },
    /// Of any shard: whoever is meant is closed. Answer: [`Answer::Reached`].
    Close { whom: Closed, reason: CloseReason },
    /// Of any shard. Answer: [`Answer::Ticket`].
    Ticket(Box<Verified>),
    /// Of every shard. Answer: [`Answer::Revoked`].
    Revoke(Revocation),
}

/// Something to be published.
#[derive(Debug)]
pub struct Notice {
    pub room: RoomName,
    pub from: Identity,
    pub event: Option<Box<str>>,
    pub payload: Payload,
}

/// Who is told, whether they sit in the room or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    Everybody,
    User(Identity),
}

/// Whose connections are closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    User(Identity),
    Connection(ConnKey),
    /// Everybody who sits there now.
    Room(RoomName),
}

/// A wish for a piece of a room's log.
#[derive(Clone, Debug)]
pub struct HistoryQuestion {
    pub room: RoomName,
    pub from: HistoryFrom,
    pub messages_max: usize,
    /// Bytes of envelopes; one longer message passes alone.
    pub bytes_max: usize,
    /// How long the answer may wait for a message behind `After`.
    pub wait_ms: u64,
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// Nothing was done.
    Refused(Refusal),
    /// In the order of the notices.
    Published(Vec<Result<Position, Refusal>>),
    Announced(Position),
    /// How many connections were told or closed, and how many were not told because they read too slowly.
    Reached {
        connections: u64,
        passed_over: u64,
    },
    Presence(Roll),
    History(Box<HistoryPage>),
    /// `next`: where to go on; `None` at the table's end.
    Rooms {
        rooms: Vec<RoomFacts>,
        next: Option<u32>,
    },
    /// `None`: as many are waiting to be used as may be.
    Ticket(Option<TicketCode>),
    Revoked(Revoked),
    /// `count` is the true number.
    Connections {
        list: Vec<ConnectionFacts>,
        count: u64,
    },
}

/// A piece of a room's log. Of a room that is not there the epoch is `None` and the head 0.
#[derive(Debug)]
pub struct HistoryPage {
    pub epoch: Option<Epoch>,
    pub head: Offset,
    /// `message` frames of the asker's encoding (the control plane reads JSON), oldest first.
    pub messages: Vec<SharedFrame>,
    /// The offset of the last of them; else what was asked for, or the head.
    pub last: Offset,
    /// What lies between the position asked for and the first message (inclusive), and why.
    pub gap: Option<(Offset, Offset, GapWhy)>,
}

/// One room, as its home sees it.
#[derive(Clone, Debug)]
pub struct RoomFacts {
    pub name: RoomName,
    pub epoch: Epoch,
    pub head: Offset,
    /// For a moment they may outnumber the connections: who left is named after the count that a join brings along.
    pub users: u32,
    pub connections: u64,
    pub messages_kept: u64,
    pub bytes_kept: u64,
}

/// One connection of a user.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    pub address: ConnAddress,
    pub encoding: Encoding,
    pub rooms: Vec<RoomName>,
    /// Seconds since a byte came.
    pub silent_s: u32,
    /// Seconds until its token ends, grace included.
    pub expires_in_s: u32,
    /// Its socket takes nothing at the moment.
    pub stalled: bool,
    pub unsent_bytes: u64,
}

/// Which shard is the only writer of a room: the same for everybody who knows seed and number of shards.
#[derive(Clone, Debug)]
pub struct Homes {
    state: SeededState,
    shards: u16,
}

impl Homes {
    pub fn new(seed: [u64; 2], shards: u16) -> Self {
        Self { state: Seed::new(seed).state(), shards }
    }

    pub fn of(&self, room: &str) -> ShardId {
        ShardId((self.state.hash_one(room) % u64::from(self.shards)) as u16)
    }

    /// The hash a user is counted under, and the shard that counts.
    pub(super) fn of_user(&self, user: &str) -> (u32, ShardId) {
        let hash = self.state.hash_one(("user", user));
        ((hash >> 32) as u32, ShardId((hash as u32 % u32::from(self.shards)) as u16))
    }

    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }
}

/// A message for people wherever they sit, on its way from the room's home to one shard.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub id: AskId,
    pub room: RoomName,
    /// Its place there, in the order of the house.
    pub offset: Offset,
    pub to: Audience,
    /// By [`Encoding::index`].
    pub frames: [SharedFrame; 2],
}

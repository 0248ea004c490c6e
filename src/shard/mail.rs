//! Letters between shards. FIFO per pair of shards; what is control is absolute or stays with its sender until it fits.
//!
//! Who has exchanged places with a room's home (by a join and its answer) names the room by place from then on: no
//! name is hashed, compared or counted on the way of a message.

use std::sync::Arc;

use super::ask::Announcement;
use super::history::{AskHistory, HistoryTold};
use super::sessions::{SessionCode, Taken};
use super::tickets::TicketCode;
use super::users::UserNews;
use crate::base::{
    ConnAddress, ConnKey, Delivery, Epoch, Form, HomePlace, Identity, LocalPlace, Offset, Position, RoomName,
};
use crate::room::{Doings, Gone, News, Page, Roll, SeatCounts, Start};
use crate::wire::{Payload, Refusal, SharedFrame, Verified};

/// One letter.
#[derive(Debug)]
pub enum Mail {
    // To a room's home.
    Join(Box<Join>),
    /// "My shard has this many seats now, and these people's connections are gone."
    Leave {
        room: RoomName,
        local: LocalPlace,
        seats: SeatCounts,
        gone: Vec<Gone>,
    },
    Publish(Box<Publish>),
    /// A reader that is behind asks for the next piece of the log.
    Pull {
        room: HomePlace,
        conn: ConnKey,
        form: Form,
        cursor: Offset,
        /// It joined here: what it said itself from here on it does not get.
        own_from: Offset,
        bytes_max: u32,
    },
    AskPresence {
        room: RoomName,
        conn: ConnKey,
        id: Option<u64>,
    },
    /// How much is there to read for this user?
    AskUnread {
        room: RoomName,
        conn: ConnKey,
        id: u64,
        who: Identity,
    },
    /// What people here did since the last tick; merged until it fits.
    Doings {
        room: RoomRef,
        doings: Box<Doings>,
    },
    AskHistory(Box<AskHistory>),
    // From a user's shards to its home, and back.
    /// Whose connections came and went, in order.
    Users {
        news: Vec<UserNews>,
    },
    /// These are more than their users may have.
    TooManyOfUser {
        conns: Vec<ConnKey>,
    },
    /// Of these nothing like that will be said any more.
    UserSettled {
        conns: Vec<ConnKey>,
    },
    // To the shard that made a ticket, and back.
    Redeem {
        conn: ConnKey,
        ticket: TicketCode,
    },
    /// `None`: used, too old, or never made.
    Redeemed {
        conn: ConnKey,
        verified: Option<Box<Verified>>,
    },
    // To the shard of a session, and back.
    /// Somebody of this user goes on with it.
    TakeOver {
        conn: ConnKey,
        id: Option<u64>,
        session: SessionCode,
        user: Identity,
    },
    /// `None`: there is no such session of this user.
    TakenOver {
        conn: ConnKey,
        id: Option<u64>,
        taken: Option<Box<Taken>>,
    },
    /// Whoever it was taken for did not begin with it.
    GiveBack(Box<Taken>),
    /// "Say when you have answered everything I sent before this."
    Fence {
        fence: u32,
    },
    // From a room's home.
    Joined(Box<Joined>),
    Deliver(Deliver),
    Published {
        conn: ConnKey,
        ack: Ack,
        position: Position,
        /// It was there already.
        dup: bool,
    },
    /// A publish that may be tried again after so long.
    TooOften {
        conn: ConnKey,
        id: Option<u64>,
        retry_after_ms: u32,
    },
    /// A join that gets no seat.
    NoSeat {
        room: LocalPlace,
        conn: ConnKey,
        ticket: u16,
        id: Option<u64>,
        refusal: Refusal,
    },
    HistoryTold(Box<HistoryTold>),
    Refused {
        conn: ConnKey,
        id: Option<u64>,
        refusal: Refusal,
    },
    Page {
        room: LocalPlace,
        conn: ConnKey,
        cursor: Offset,
        page: Page,
    },
    Presence {
        room: RoomName,
        conn: ConnKey,
        id: Option<u64>,
        roll: Roll,
    },
    /// `read`: `None`: the room does not keep it.
    Unread {
        room: RoomName,
        conn: ConnKey,
        id: u64,
        epoch: Option<Epoch>,
        head: Offset,
        read: Option<Offset>,
    },
    News {
        room: LocalPlace,
        news: Arc<News>,
    },
    /// For people wherever they sit.
    Announce(Box<Announcement>),
    Fenced {
        fence: u32,
    },
}

impl Mail {
    /// Bytes of messages it carries; what else is in a letter is small.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.payload.bytes().len(),
            Self::Deliver(deliver) => deliver.frames.iter().flatten().map(|frame| frame.bytes_held()).sum(),
            Self::Announce(announcement) => announcement.frames.iter().map(|frame| frame.bytes_held()).sum(),
            Self::HistoryTold(told) => told.page.messages.iter().map(|frame| frame.bytes_held()).sum(),
            Self::Page { page, .. } => page.frames.iter().map(|frame| frame.bytes_held()).sum(),
            Self::Join(_)
            | Self::Leave { .. }
            | Self::Users { .. }
            | Self::TooManyOfUser { .. }
            | Self::Redeem { .. }
            | Self::Redeemed { .. }
            | Self::TakeOver { .. }
            | Self::TakenOver { .. }
            | Self::GiveBack(_)
            | Self::UserSettled { .. }
            | Self::Pull { .. }
            | Self::AskPresence { .. }
            | Self::AskUnread { .. }
            | Self::Doings { .. }
            | Self::AskHistory(_)
            | Self::TooOften { .. }
            | Self::NoSeat { .. }
            | Self::Fence { .. }
            | Self::Fenced { .. }
            | Self::Joined(_)
            | Self::Published { .. }
            | Self::Refused { .. }
            | Self::Presence { .. }
            | Self::Unread { .. }
            | Self::News { .. } => 0,
        }
    }
}

/// A wish for a seat.
#[derive(Debug)]
pub struct Join {
    pub room: RoomName,
    /// Where the sender keeps the room.
    pub local: LocalPlace,
    pub seats: SeatCounts,
    pub conn: ConnKey,
    /// Which of the connection's attempts this is, so that an answer to a former one does not seat it.
    pub ticket: u16,
    pub id: Option<u64>,
    pub identity: Identity,
    pub since: Option<Position>,
    pub history: u32,
    pub presence: bool,
    /// It sat here before: without a position it is told that something may be missing.
    pub resumes: bool,
}

/// A seat.
#[derive(Debug)]
pub struct Joined {
    pub room: LocalPlace,
    /// Where the room's home keeps it; the epoch says which life.
    pub home_at: u32,
    pub conn: ConnKey,
    pub ticket: u16,
    pub id: Option<u64>,
    pub epoch: Epoch,
    pub head: Offset,
    pub start: Start,
    /// How far the user has read; `None`: the room does not keep it.
    pub read: Option<Offset>,
    pub roll: Option<Roll>,
    pub delivery: Delivery,
}

/// Which room is meant.
#[derive(Debug)]
pub enum RoomRef {
    /// By somebody whose shard has seats in it.
    At(HomePlace),
    Named(RoomName),
}

/// What the answer to a publish will need: it travels along and comes back.
#[derive(Debug)]
pub struct Ack {
    pub id: u64,
    pub room: RoomName,
}

/// A wish to be heard.
#[derive(Debug)]
pub struct Publish {
    pub room: RoomRef,
    pub conn: ConnKey,
    /// The publisher wants an answer.
    pub ack: Option<Ack>,
    pub identity: Identity,
    /// The publisher gets no copy.
    pub skip_own: bool,
    pub event: Option<Box<str>>,
    pub key: Option<Box<str>>,
    pub payload: Payload,
}

/// One message for all readers of one shard.
#[derive(Debug)]
pub struct Deliver {
    pub room: LocalPlace,
    pub offset: Offset,
    pub frames: [Option<SharedFrame>; 2],
    pub skip: Option<ConnAddress>,
    /// When it got its offset, by the clock all shards share.
    pub accepted_mono_ms: u64,
}

/// What one shard has to say to another this turn.
pub type Parcel = Vec<Mail>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_stays_small() {
        assert!(size_of::<Mail>() <= 96, "{}", size_of::<Mail>());
    }
}

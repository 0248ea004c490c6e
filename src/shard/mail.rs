//! Letters between shards. FIFO per pair of shards; what is control is absolute or stays with its sender until it fits.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{ConnAddress, ConnKey, Encoding, Epoch, Identity, Offset, Position, RoomName};
use crate::room::{Changes, Page, Roll, SeatCounts, Start};
use crate::wire::{Payload, Refusal};

/// One letter.
#[derive(Debug)]
pub enum Mail {
    // To a room's home.
    Join(Box<Join>),
    /// "My shard has this many seats now, and these people's connections are gone."
    Leave {
        room: RoomName,
        seats: SeatCounts,
        gone: Vec<Identity>,
    },
    Publish(Box<Publish>),
    /// A reader that is behind asks for the next piece of the log.
    Pull {
        room: RoomName,
        conn: ConnKey,
        encoding: Encoding,
        cursor: Offset,
        bytes_max: u32,
    },
    AskPresence {
        room: RoomName,
        conn: ConnKey,
        id: Option<u64>,
    },
    /// "Say when you have answered everything I sent before this."
    Fence {
        fence: u32,
    },
    // From a room's home.
    Joined(Box<Joined>),
    Deliver(Deliver),
    Published {
        room: RoomName,
        conn: ConnKey,
        id: u64,
        position: Position,
    },
    Refused {
        conn: ConnKey,
        id: Option<u64>,
        refusal: Refusal,
    },
    Page {
        room: RoomName,
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
    PresenceChanged {
        room: RoomName,
        changes: Arc<Changes>,
    },
    Fenced {
        fence: u32,
    },
}

impl Mail {
    /// Bytes of messages it carries; what else is in a letter is small.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.payload.bytes().len(),
            Self::Deliver(deliver) => deliver.frames.iter().flatten().map(Bytes::len).sum(),
            Self::Page { page, .. } => page.frames.iter().map(Bytes::len).sum(),
            Self::Join(_)
            | Self::Leave { .. }
            | Self::Pull { .. }
            | Self::AskPresence { .. }
            | Self::Fence { .. }
            | Self::Fenced { .. }
            | Self::Joined(_)
            | Self::Published { .. }
            | Self::Refused { .. }
            | Self::Presence { .. }
            | Self::PresenceChanged { .. } => 0,
        }
    }
}

/// A wish for a seat.
#[derive(Debug)]
pub struct Join {
    pub room: RoomName,
    pub seats: SeatCounts,
    pub conn: ConnKey,
    /// Which of the connection's attempts this is, so that an answer to a former one does not seat it.
    pub ticket: u16,
    pub id: Option<u64>,
    pub identity: Identity,
    pub since: Option<Position>,
    pub history: u32,
    pub presence: bool,
}

/// A seat.
#[derive(Debug)]
pub struct Joined {
    pub room: RoomName,
    pub conn: ConnKey,
    pub ticket: u16,
    pub id: Option<u64>,
    pub epoch: Epoch,
    pub head: Offset,
    pub start: Start,
    pub roll: Option<Roll>,
}

/// A wish to be heard.
#[derive(Debug)]
pub struct Publish {
    pub room: RoomName,
    pub conn: ConnKey,
    pub id: Option<u64>,
    pub identity: Identity,
    /// The publisher gets no copy.
    pub skip_own: bool,
    pub event: Option<Box<str>>,
    pub payload: Payload,
}

/// One message for all readers of one shard.
#[derive(Debug)]
pub struct Deliver {
    pub room: RoomName,
    pub offset: Offset,
    pub frames: [Option<Bytes>; 2],
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
        assert!(size_of::<Mail>() <= 128, "{}", size_of::<Mail>());
    }
}

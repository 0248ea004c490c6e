//! One connection: the row it owns for life and the work space it is lent while something is incomplete.

use core::net::IpAddr;

use super::addresses::AddressKey;
use crate::base::{ConnKey, Encoding, Form, Identity, Offset};
use crate::wire::{CloseReason, Partial, Upgrade, Verified};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Stage {
    /// Nobody's.
    #[default]
    Free,
    /// The request head is not complete.
    Opening,
    /// A ticket is asked for elsewhere; nothing was answered yet.
    Parked,
    /// Upgraded without a token: `hello` is awaited.
    Greeting,
    /// A session.
    Open,
    /// Upgraded at `/echo`: nobody's session, whatever is said comes back.
    Echo,
    /// Our close frame or our refusal is written or on its way; only the peer's close is read.
    Closing,
    /// The runtime is letting go of the socket.
    Gone,
}

impl Stage {
    /// A handshake under way.
    pub(crate) fn is_pending(self) -> bool {
        matches!(self, Self::Opening | Self::Parked | Self::Greeting)
    }
}

/// A seat of this connection: which local room, which place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeatRef {
    pub(crate) room: u32,
    pub(crate) seat: u32,
}

/// The seats of one connection. The first needs no memory of its own.
#[derive(Default, Debug)]
pub(crate) struct SeatRefs {
    first: Option<SeatRefPacked>,
    #[expect(clippy::box_collection, reason = "8 bytes in the row of the many who sit in one room")]
    more: Option<Box<Vec<SeatRef>>>,
}

/// `room + 1` so that the option costs nothing.
#[derive(Clone, Copy, Debug)]
struct SeatRefPacked {
    room: std::num::NonZeroU32,
    seat: u32,
}

impl SeatRefs {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    pub(crate) fn at(&self, n: usize) -> Option<SeatRef> {
        if n == 0 {
            return self.first.map(|packed| SeatRef { room: packed.room.get() - 1, seat: packed.seat });
        }
        self.more.as_ref().and_then(|more| more.get(n - 1).copied())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SeatRef> + '_ {
        (0..self.len()).filter_map(|n| self.at(n))
    }

    pub(crate) fn find(&self, room: u32) -> Option<SeatRef> {
        self.iter().find(|seat| seat.room == room)
    }

    pub(crate) fn push(&mut self, seat: SeatRef) {
        if self.first.is_none() {
            self.set_first(Some(seat));
        } else {
            self.more.get_or_insert_default().push(seat);
        }
    }

    pub(crate) fn remove(&mut self, room: u32) {
        if self.at(0).is_some_and(|first| first.room == room) {
            let next = self.more.as_mut().and_then(|more| more.pop());
            self.set_first(next);
        } else if let Some(more) = &mut self.more {
            more.retain(|seat| seat.room != room);
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
    }

    /// The place in this room changed (another seat there was taken away).
    pub(crate) fn moved(&mut self, room: u32, seat: u32) {
        if let Some(first) = self.first.as_mut().filter(|first| first.room.get() - 1 == room) {
            first.seat = seat;
        } else if let Some(place) =
            self.more.iter_mut().flat_map(|more| more.iter_mut()).find(|place| place.room == room)
        {
            place.seat = seat;
        }
    }

    fn set_first(&mut self, seat: Option<SeatRef>) {
        self.first = seat.and_then(|seat| {
            let room = std::num::NonZeroU32::new(seat.room + 1)?;
            Some(SeatRefPacked { room, seat: seat.seat })
        });
    }
}

/// A reader that pulls: the next offset it is owed, and whether a piece of the log is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Behind {
    pub(crate) room: u32,
    pub(crate) cursor: Offset,
    /// Behind its join: from here on an ack stood for its own copy. What lies before is history, its own words included.
    pub(crate) own_from: Offset,
    pub(crate) pulling: bool,
    /// The home's inbox was full: it stands in the list of those who try again at the tick.
    pub(crate) waits: bool,
    /// It fell behind because it was slow (what it misses is then its own doing).
    pub(crate) slow: bool,
}

/// Lent by the shard while a frame is incomplete or a write is pending.
#[derive(Default, Debug)]
pub(crate) struct Work {
    pub(crate) partial: Partial,
    /// The request head so far, or what came behind it while `parked`.
    pub(crate) head: Vec<u8>,
    /// The request that waits for the answer to its ticket.
    pub(crate) parked: Option<Box<Upgrade>>,
    /// Whose `hello` waits for the answer about its session; what came behind it lies in `head`.
    pub(crate) greeted: Option<Box<Verified>>,
    /// Whom a trusted proxy speaks for, as far as is known: itself, or whom its PROXY header named. `None`: the peer is
    /// no trusted proxy.
    pub(crate) behind_proxy: Option<IpAddr>,
    /// A PROXY header is to come before the request.
    pub(crate) expects_proxy: bool,
    /// Complete frames (or the rest of one) that are not written yet.
    pub(crate) outbox: Vec<u8>,
    pub(crate) behind: Vec<Behind>,
    /// When a stalled socket last took something.
    pub(crate) progress_mono_ms: u64,
    /// Why we are closing, for the log and the counters once it is done.
    pub(crate) closing: Option<CloseReason>,
    /// It broke the framing: what still comes means nothing and is not looked at.
    pub(crate) deaf: bool,
}

impl Work {
    /// What it holds, itself included; messages that come in fragments are not in it.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.head.capacity() + self.outbox.capacity() + self.behind.capacity() * size_of::<Behind>()
    }

    /// Its cursor in this room, if it pulls there.
    pub(crate) fn behind_in(&mut self, room: u32) -> Option<&mut Behind> {
        self.behind.iter_mut().find(|behind| behind.room == room)
    }

    /// Whether it can be given back.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty()
            && self.behind.is_empty()
            && self.head.is_empty()
            && self.parked.is_none()
            && self.greeted.is_none()
            && self.behind_proxy.is_none()
            && self.partial.is_idle()
            && self.closing.is_none()
    }
}

/// One connection at rest. Nothing else is kept for it but its seat.
#[derive(Default, Debug)]
pub(crate) struct Row {
    pub(crate) identity: Option<Identity>,
    pub(crate) work: Option<Box<Work>>,
    pub(crate) seats: SeatRefs,
    /// Which interned set of grants.
    pub(crate) grants: u32,
    /// When the token ends, grace included, in seconds of the monotonic clock.
    pub(crate) expires_mono_s: u32,
    /// When a byte last came (Opening, Parked: when it was accepted; Greeting: when it was upgraded; Closing: when we began to), likewise.
    pub(crate) heard_mono_s: u32,
    /// Under which address it is counted.
    pub(crate) address: AddressKey,
    pub(crate) generation: u16,
    /// The batch it was last written in, so that it stands in one only once.
    pub(crate) batch: u16,
    /// Counts its joins, so that a late answer seats nobody.
    pub(crate) ticket: u16,
    pub(crate) stage: Stage,
    pub(crate) flags: Flags,
}

const _: () = assert!(size_of::<Row>() <= 64, "an idle connection costs its row: docs/architecture.md says how much");

/// Facts about a connection, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const JSON: Self = Self(1);
    /// Stands in the queue of connections with something to write.
    pub(crate) const QUEUED: Self = Self(1 << 1);
    /// The socket took a write only in part; the runtime watches for room.
    pub(crate) const STALLED: Self = Self(1 << 2);
    /// Asked whether it lives and not heard since.
    pub(crate) const PINGED: Self = Self(1 << 3);
    /// Agreed on deflated messages (RFC 7692): may send them, and is sent them.
    pub(crate) const DEFLATES: Self = Self(1 << 4);
    pub(crate) const CLOSE_HEARD: Self = Self(1 << 5);
    /// Was told that its token ends soon.
    pub(crate) const WARNED: Self = Self(1 << 6);
    /// Sent a `refresh` since the patrol last came by: another one waits for the next.
    pub(crate) const REFRESHED: Self = Self(1 << 7);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }
}

impl Row {
    pub(crate) fn encoding(&self) -> Encoding {
        if self.flags.has(Flags::JSON) { Encoding::Json } else { Encoding::MessagePack }
    }

    pub(crate) fn form(&self) -> Form {
        Form { encoding: self.encoding(), deflated: self.flags.has(Flags::DEFLATES) }
    }

    pub(crate) fn has_outbox(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.outbox.is_empty())
    }

    pub(crate) fn key(&self, index: u32) -> ConnKey {
        ConnKey::new((index >> 16) as u16, index as u16, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_found_moved_and_taken_away_in_any_order() {
        let mut seats = SeatRefs::default();
        for room in 0..4 {
            seats.push(SeatRef { room, seat: room * 10 });
        }
        seats.moved(0, 5);
        seats.moved(2, 7);
        assert_eq!(seats.find(0), Some(SeatRef { room: 0, seat: 5 }));
        assert_eq!(seats.find(2), Some(SeatRef { room: 2, seat: 7 }));
        seats.remove(0);
        assert_eq!((seats.len(), seats.find(0)), (3, None));
        for room in [2, 3, 1] {
            assert!(seats.find(room).is_some());
            seats.remove(room);
        }
        assert!(seats.len() == 0 && seats.more.is_none());
    }
}

//! Frames known by their bytes: what one member of a room has verified, the others need only compare.
//!
//! A server sends the members of a room the same bytes. The first member that hears a message takes the whole way:
//! RFC 6455, the envelope, the room's name, the payload's checksum, the sender's name. The frame is kept, and where
//! another member's next bytes are exactly the frame that stands at the offset it waits for, they mean the same and
//! only the seat's proof is left to do. Whatever differs in one bit goes the whole way, as if nothing were kept.
//!
//! Promises: bounded to [`BYTES_MAX`] a worker; nothing is kept for rooms that are too small to gain by it, nor
//! before a room's first message.

use crate::payload::Marker;
use crate::proof::Crowd;

/// Bytes of frames a worker keeps, about.
const BYTES_MAX: usize = 16 << 20;
/// What a frame has beside its payload, about: headers, names of room and publisher, position.
const BYTES_BESIDE: usize = 192;
/// More frames of one room than any reader lies behind another.
const FRAMES_MAX: usize = 4_096;
/// With fewer hearers of a message, keeping costs more than it saves.
const HEARERS_MIN: u32 = 3;

/// A frame and what it means.
#[derive(Clone, Debug)]
pub(super) struct Known {
    offset: u64,
    pub(super) marker: Marker,
    bytes: Vec<u8>,
}

impl Known {
    /// What follows the frame, if `bytes` begin with it.
    pub(super) fn strip<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.strip_prefix(self.bytes.as_slice())
    }
}

/// The newest frames of each room.
pub(super) struct Frames {
    /// By room, then by the low bits of the offset; empty before the first.
    rooms: Vec<Vec<Option<Known>>>,
    /// A power of two, or 0: nothing is kept.
    per_room: usize,
}

impl Frames {
    pub(super) fn new(crowd: Crowd, payload_bytes: usize) -> Self {
        let rooms = crowd.rooms as usize;
        let room_for = BYTES_MAX / (payload_bytes + BYTES_BESIDE) / rooms.max(1);
        let per_room = match room_for.min(FRAMES_MAX) {
            few if few < 2 || crowd.room_size <= HEARERS_MIN => 0,
            many => 1 << many.ilog2(),
        };
        Self { rooms: vec![Vec::new(); if per_room == 0 { 0 } else { rooms }], per_room }
    }

    /// Nothing is ever kept.
    pub(super) fn none() -> Self {
        Self { rooms: Vec::new(), per_room: 0 }
    }

    /// The frame at `offset` of a local room, if it is kept.
    pub(super) fn at(&self, room: u32, offset: u64) -> Option<&Known> {
        let known = self.rooms.get(room as usize)?.get(self.place(offset))?.as_ref()?;
        (known.offset == offset).then_some(known)
    }

    /// Keeps a frame that was verified. What is newer stays.
    pub(super) fn keep(&mut self, room: u32, offset: u64, marker: Marker, bytes: &[u8]) {
        let place = self.place(offset);
        let Some(frames) = self.rooms.get_mut(room as usize) else { return };
        if frames.is_empty() {
            frames.resize(self.per_room, None);
        }
        match &mut frames[place] {
            Some(known) if known.offset >= offset => {}
            Some(known) => {
                (known.offset, known.marker) = (offset, marker);
                known.bytes.clear();
                known.bytes.extend_from_slice(bytes);
            }
            empty => *empty = Some(Known { offset, marker, bytes: bytes.to_vec() }),
        }
    }

    fn place(&self, offset: u64) -> usize {
        offset as usize & self.per_room.wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(rooms: u32, room_size: u32) -> Crowd {
        Crowd { first_room: 0, first_connection: 0, rooms, room_size, publishers: 1 }
    }

    fn marker(seq: u32) -> Marker {
        Marker { room: 0, publisher: 0, seq, intended_ns: 0, late_us: 0 }
    }

    #[test]
    fn only_the_very_bytes_are_known_and_only_at_their_offset() {
        let mut frames = Frames::new(crowd(2, 50), 128);
        frames.keep(1, 7, marker(3), b"frame");
        let known = frames.at(1, 7).expect("kept");
        assert_eq!((known.marker.seq, known.strip(b"frame, next")), (3, Some(&b", next"[..])));
        assert_eq!((known.strip(b"frama, next"), known.strip(b"fram")), (None, None));
        assert!(frames.at(0, 7).is_none() && frames.at(1, 8).is_none());
        assert!(frames.at(1, 7 + frames.per_room as u64).is_none(), "another offset in the same place");
    }

    #[test]
    fn a_newer_frame_takes_the_place_and_an_older_one_does_not() {
        let mut frames = Frames::new(crowd(1, 50), 128);
        let later = 7 + frames.per_room as u64;
        frames.keep(0, 7, marker(1), b"old");
        frames.keep(0, later, marker(2), b"new");
        frames.keep(0, 7, marker(1), b"old");
        assert!(frames.at(0, 7).is_none());
        assert_eq!(frames.at(0, later).map(|known| known.marker.seq), Some(2));
    }

    #[test]
    fn what_is_kept_is_bounded_and_pairs_keep_nothing() {
        for (rooms, payload) in [(1, 128), (390, 128), (390, 65_535), (60_000, 128)] {
            let frames = Frames::new(crowd(rooms, 50), payload);
            assert!(frames.per_room * rooms as usize * payload <= BYTES_MAX, "{rooms} {payload}");
            assert!(frames.per_room == 0 || frames.per_room.is_power_of_two());
        }
        let mut pairs = Frames::new(crowd(100, 2), 128);
        pairs.keep(0, 1, marker(0), b"frame");
        assert!(pairs.at(0, 1).is_none());
    }
}

//! Frames known by their bytes: what one member of a room has verified, the others need only compare.
//!
//! A server sends the members of a room the same bytes. The first member that hears a message takes the whole way:
//! RFC 6455, the envelope, the room's name, the payload's checksum, the sender's name. The frame is kept, and where
//! another member's next bytes are exactly the frame that stands at the offset it waits for, they mean the same and
//! only the seat's proof is left to do. Whatever differs in one bit goes the whole way, as if nothing were kept.
//!
//! Promises: bounded to [`BYTES_MAX`] a worker; nothing is kept for rooms that are too small to gain by it, nor
//! before a room's first message; a room that says little keeps little.

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
pub(crate) struct Frames {
    /// By room, then by the low bits of the offset: a power of two of places, up to `per_room`; none before the first.
    rooms: Vec<Vec<Option<Known>>>,
    /// A power of two, or 0: nothing is kept.
    per_room: usize,
}

/// Places of a room that has said something.
const PLACES_MIN: usize = 2;

impl Frames {
    /// `payload_bytes` on average.
    pub(super) fn new(crowd: Crowd, payload_bytes: usize) -> Self {
        let rooms = crowd.rooms as usize;
        let room_for = BYTES_MAX / (payload_bytes + BYTES_BESIDE) / rooms.max(1);
        let per_room = match room_for.min(FRAMES_MAX) {
            few if few < 2 || crowd.room_size <= HEARERS_MIN => 0,
            many => 1 << many.ilog2(),
        };
        Self { rooms: vec![Vec::new(); if per_room == 0 { 0 } else { rooms }], per_room }
    }

    /// Bytes that one frame takes, about.
    pub(crate) fn bytes_each(payload_bytes: usize) -> f64 {
        (payload_bytes + BYTES_BESIDE) as f64
    }

    /// Bytes that a crowd's frames take at most, about.
    pub(crate) fn bytes_most(crowd: Crowd, payload_bytes: usize) -> f64 {
        let per_room = Self::new(crowd, payload_bytes).per_room;
        per_room as f64 * f64::from(crowd.rooms) * Self::bytes_each(payload_bytes)
    }

    /// Nothing is ever kept.
    pub(super) fn none() -> Self {
        Self { rooms: Vec::new(), per_room: 0 }
    }

    /// The frame at `offset` of a local room, if it is kept.
    pub(super) fn at(&self, room: u32, offset: u64) -> Option<&Known> {
        let frames = self.rooms.get(room as usize)?;
        let known = frames.get(place(offset, frames.len()))?.as_ref()?;
        (known.offset == offset).then_some(known)
    }

    /// Keeps a frame that was verified. What is newer stays; what is older makes room once the room has its full number.
    pub(super) fn keep(&mut self, room: u32, offset: u64, marker: Marker, bytes: &[u8]) {
        let Some(frames) = self.rooms.get_mut(room as usize) else { return };
        if frames.is_empty() {
            frames.resize(PLACES_MIN.min(self.per_room), None);
        }
        let is_older = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.offset < offset);
        while frames.len() < self.per_room && is_older(&frames[place(offset, frames.len())]) {
            grow(frames);
        }
        let place = place(offset, frames.len());
        match &mut frames[place] {
            Some(known) if known.offset >= offset => {}
            Some(known) => {
                (known.offset, known.marker) = (offset, marker);
                // A long one does not go on holding its room for the short ones that follow.
                if known.bytes.capacity() > 2 * bytes.len() {
                    known.bytes = Vec::new();
                }
                known.bytes.clear();
                known.bytes.extend_from_slice(bytes);
            }
            empty => *empty = Some(Known { offset, marker, bytes: bytes.to_vec() }),
        }
    }
}

/// Twice the places; everybody still has one.
fn grow(frames: &mut Vec<Option<Known>>) {
    let places = frames.len() * 2;
    let before = std::mem::replace(frames, vec![None; places]);
    for known in before.into_iter().flatten() {
        let at = place(known.offset, places);
        frames[at] = Some(known);
    }
}

/// Where an offset lies among `places`, a power of two or none.
fn place(offset: u64, places: usize) -> usize {
    offset as usize & places.wrapping_sub(1)
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
    fn a_room_takes_places_as_it_speaks_and_no_frame_is_lost_by_it() {
        let mut frames = Frames::new(crowd(2, 50), 128);
        frames.keep(0, 1_000, marker(0), b"one");
        assert_eq!((frames.rooms[0].len(), frames.rooms[1].len()), (PLACES_MIN, 0));
        let per_room = frames.per_room as u64;
        for offset in 1_001..1_000 + per_room {
            frames.keep(0, offset, marker(offset as u32), format!("{offset}").as_bytes());
        }
        assert_eq!(frames.rooms[0].len(), frames.per_room);
        assert!((1_000..1_000 + per_room).all(|offset| frames.at(0, offset).is_some()), "all of them are kept");
        frames.keep(0, 1_000 + per_room, marker(0), b"next");
        assert_eq!(frames.rooms[0].len(), frames.per_room, "and then no more");
        assert!(frames.at(0, 1_000).is_none() && frames.at(0, 1_000 + per_room).is_some());
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

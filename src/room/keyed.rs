//! The keys of all rooms together: how many there are, which is the oldest, and whose goes when there are too many.
//!
//! Promises: never more than are asked for, and nobody's publish is refused for them; who uses many keys in one room makes
//! that room forget its own. Where even the oldest of all has to go, it goes before its time.

use std::collections::BTreeSet;

use super::keys::KeysHeld;
use super::table::Rooms;
use crate::base::{Classes, Now};

/// What is known of the rooms that remember keys.
#[derive(Default, Debug)]
pub(super) struct Keyed {
    /// Keys of all of them.
    count: usize,
    /// (since when the oldest key of a room is known, the room's place).
    by_oldest: BTreeSet<(u64, u32)>,
    /// Where the sweep for old keys is.
    swept: usize,
}

impl Keyed {
    /// The room at this place remembered these keys, and remembers those now.
    pub(super) fn change(&mut self, at: u32, before: KeysHeld, now: KeysHeld) {
        self.count = self.count + now.count - before.count;
        if before == now {
            return;
        }
        if before.count > 0 {
            self.by_oldest.remove(&(before.oldest_mono_ms, at));
        }
        if now.count > 0 {
            self.by_oldest.insert((now.oldest_mono_ms, at));
        }
    }
}

impl Rooms {
    /// To be called with the keys a room remembered before that changed.
    pub fn account_keys(&mut self, at: u32, before: KeysHeld) {
        if let Some(room) = self.rooms.get(at as usize) {
            self.keyed.change(at, before, room.keys_held());
        }
    }

    /// Keys all rooms remember.
    pub fn keys(&self) -> usize {
        self.keyed.count
    }

    /// Makes room for a key of the room at `at`, where all together remember `keys_max` already: that room forgets its
    /// oldest if it has its share of all keys, else the oldest of all goes. Tells where from, for the caller to settle.
    pub fn make_room_for_key(&mut self, at: u32, keys_max: usize) -> Option<u32> {
        if self.keyed.count < keys_max {
            return None;
        }
        let share = self.keyed.count.div_ceil(self.keyed.by_oldest.len().max(1));
        let own = self.rooms.get(at as usize)?.keys_held().count;
        let (_, oldest_at) = *self.keyed.by_oldest.first()?;
        let from = if own >= share { at } else { oldest_at };
        let room = self.rooms.get_mut(from as usize)?;
        let before = room.keys_held();
        room.forget_oldest_key();
        self.account_keys(from, before);
        Some(from)
    }

    /// Keys of all rooms count towards one bound: those that nobody asks for again must not stand in others' way.
    pub(super) fn sweep_keys(&mut self, now: Now, classes: &Classes) {
        if self.keyed.count == 0 {
            return;
        }
        let places = self.rooms.capacity();
        for _ in 0..SWEPT_PER_CALL.max(places / ROUND_CALLS).min(places) {
            self.keyed.swept = if self.keyed.swept + 1 < places { self.keyed.swept + 1 } else { 0 };
            let (at, before) = match self.rooms.get(self.keyed.swept).map(|room| room.keys_held()) {
                Some(before) if before.count > 0 => (self.keyed.swept, before),
                Some(_) | None => continue,
            };
            let Some(room) = self.rooms.get_mut(at) else { continue };
            room.trim_keys(now, classes.class(room.class()).idempotency);
            self.account_keys(at as u32, before);
        }
    }

    /// Whether what is accounted is what there is; for invariants.
    pub fn keys_are_right(&self) -> bool {
        let mut held =
            self.rooms.iter().map(|(at, room)| (at as u32, room.keys_held())).filter(|(_, held)| held.count > 0);
        let right = |(at, held): (u32, KeysHeld)| self.keyed.by_oldest.contains(&(held.oldest_mono_ms, at));
        let (keyed, keys) = held.clone().fold((0, 0), |(rooms, keys), (_, held)| (rooms + 1, keys + held.count));
        (keyed, keys) == (self.keyed.by_oldest.len(), self.keyed.count) && held.all(right)
    }
}

/// Rooms looked at in a tick.
const SWEPT_PER_CALL: usize = 64;
/// Ticks in which the whole table is looked through for old keys: ten minutes of 100 ms.
const ROUND_CALLS: usize = 6_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{KeyWindow, Limits, Offset, RoomName, Seed};
    use crate::room::{KeyUse, Seen};

    const WINDOW: KeyWindow = KeyWindow { keys_max: 1_000, ms: 600_000 };
    const KEYS_MAX: usize = 10;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn wish(key: u64) -> KeyUse {
        KeyUse { key, payload: 7 }
    }

    fn open(rooms: &mut Rooms, room: &str) -> u32 {
        rooms.open(&RoomName::parse(room).unwrap(), &Classes::of(&Limits::default())).0
    }

    /// Says something by this key in this room.
    fn says(rooms: &mut Rooms, room: &str, now: Now, key: u64) {
        let at = open(rooms, room);
        rooms.make_room_for_key(at, KEYS_MAX);
        let before = rooms.room_mut(at).unwrap().keys_held();
        rooms.room_mut(at).unwrap().note_key(now, wish(key), Offset(1), WINDOW);
        rooms.account_keys(at, before);
        assert!(rooms.keys_are_right() && rooms.keys() <= KEYS_MAX);
    }

    fn knows(rooms: &mut Rooms, room: &str, key: u64) -> bool {
        let at = open(rooms, room);
        rooms.room_mut(at).unwrap().seen(at_the_end(), wish(key), WINDOW) != Seen::Never
    }

    fn at_the_end() -> Now {
        at(1_000)
    }

    /// Regression: whoever filled the table with keys of one room had everybody's next publish refused.
    #[test]
    fn a_room_with_many_keys_pays_for_them_itself() {
        let mut rooms = Rooms::new(Seed::new([1, 2]));
        says(&mut rooms, "quiet", at(0), 1);
        for key in 0..100 {
            says(&mut rooms, "loud", at(1 + key), key);
        }
        assert_eq!(rooms.keys(), KEYS_MAX);
        assert!(knows(&mut rooms, "quiet", 1) && knows(&mut rooms, "loud", 99) && !knows(&mut rooms, "loud", 50));
    }

    #[test]
    fn where_nobody_has_more_than_its_share_the_oldest_of_all_goes() {
        let mut rooms = Rooms::new(Seed::new([1, 2]));
        for room in 0..15_u64 {
            says(&mut rooms, &format!("r{room}"), at(room), room);
        }
        assert!(!knows(&mut rooms, "r4", 4) && knows(&mut rooms, "r5", 5) && knows(&mut rooms, "r14", 14));
        let new = open(&mut rooms, "new");
        assert_eq!(rooms.make_room_for_key(new, KEYS_MAX + 1), None);
    }
}

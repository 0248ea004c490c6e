//! By which keys was published: so that a publish that is sent twice is one message.
//!
//! Promises: within the window of its room a key of a user means one message at one position, whoever asks again from
//! wherever, unless all rooms together remember too many (`keyed`); another payload under the same key is told apart. Keys and payloads are known by hashes under the key of the
//! process, which nobody outside can aim at.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{KeyWindow, Now, Offset};

/// One wish to publish, by what it is recognized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// Hash of user and key.
    pub key: u64,
    /// Hash of what is said.
    pub payload: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    Never,
    /// The same was said and stands there.
    Before(Offset),
    /// Something else was said by this key.
    Otherwise,
}

/// How many keys a room remembers, and since when it knows the oldest of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeysHeld {
    pub count: usize,
    /// 0 where there is none.
    pub oldest_mono_ms: u64,
}

/// The keys of one room.
#[derive(Default, Debug)]
pub struct Keys {
    known: BTreeMap<u64, Known>,
    /// Oldest first; each of them is known.
    order: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    payload: u64,
    offset: Offset,
}

impl Keys {
    /// What one of them costs, without what the maps add.
    pub const BYTES_PER_KEY: usize = size_of::<(u64, Known)>() + size_of::<(u64, u64)>();

    /// Whether this was published before. Keys that are too old are forgotten first.
    pub fn look(&mut self, now: Now, wish: KeyUse, window: KeyWindow) -> Seen {
        self.trim(now, window);
        match self.known.get(&wish.key) {
            None => Seen::Never,
            Some(known) if known.payload == wish.payload => Seen::Before(known.offset),
            Some(_) => Seen::Otherwise,
        }
    }

    /// Remembers a key that was never seen, and forgets the oldest beyond the window.
    pub fn note(&mut self, now: Now, wish: KeyUse, offset: Offset, window: KeyWindow) {
        self.known.insert(wish.key, Known { payload: wish.payload, offset });
        self.order.push_back((wish.key, now.mono_ms));
        self.trim(now, window);
    }

    /// Forgets what is too old or too much.
    pub fn trim(&mut self, now: Now, window: KeyWindow) {
        let too_old = |at_mono_ms: u64| now.since(at_mono_ms) > window.ms;
        if self.order.back().is_some_and(|(_, at)| too_old(*at)) {
            *self = Self::default();
        }
        while self.order.len() > window.keys_max || self.order.front().is_some_and(|(_, at)| too_old(*at)) {
            if let Some((key, _)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
        if self.order.is_empty() {
            self.order = VecDeque::new();
        }
    }

    /// Forgets the oldest before its time.
    pub fn forget_oldest(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }

    /// What is known of them from outside.
    pub fn held(&self) -> KeysHeld {
        KeysHeld { count: self.order.len(), oldest_mono_ms: self.order.front().map_or(0, |(_, at)| *at) }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: KeyWindow = KeyWindow { keys_max: 2, ms: 1_000 };

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn wish(key: u64, payload: u64) -> KeyUse {
        KeyUse { key, payload }
    }

    #[test]
    fn a_key_means_one_message_until_it_is_too_old_or_one_of_too_many() {
        let mut keys = Keys::default();
        assert_eq!(keys.look(at(0), wish(1, 7), WINDOW), Seen::Never);
        keys.note(at(0), wish(1, 7), Offset(5), WINDOW);
        assert_eq!(keys.look(at(1_000), wish(1, 7), WINDOW), Seen::Before(Offset(5)));
        assert_eq!(keys.look(at(1_000), wish(1, 8), WINDOW), Seen::Otherwise);
        assert_eq!(keys.look(at(1_001), wish(1, 7), WINDOW), Seen::Never);
        for key in 2..5 {
            keys.note(at(2_000), wish(key, 7), Offset(key), WINDOW);
        }
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.look(at(2_000), wish(2, 7), WINDOW), Seen::Never, "the oldest of too many");
        assert_eq!(keys.look(at(2_000), wish(4, 7), WINDOW), Seen::Before(Offset(4)));
        keys.trim(at(9_000), WINDOW);
        assert!(keys.is_empty());
    }
}

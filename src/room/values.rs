//! The last value of each key: what a room keeps whose messages replace each other.
//!
//! It is a log with holes: each message gets the next offset, and the one before of the same key is forgotten. So a reader
//! that pulls gets every value as it is, and none that was overtaken, however slow it is. Promises: at most the bounded
//! number of keys, bytes and age; the newest message always stays.

use std::collections::BTreeMap;

use super::log::Entry;
use crate::base::{LogBounds, Now, Offset};

/// Values by key. One without a key is the value of the empty key.
#[derive(Default, Debug)]
pub(super) struct Values {
    by_offset: BTreeMap<Offset, Entry>,
    by_key: BTreeMap<Box<str>, Offset>,
    keys: BTreeMap<Offset, Box<str>>,
}

impl Values {
    /// Sets a value; gives the bytes that were let go, and how many values were overtaken or pushed out.
    pub(super) fn set(&mut self, key: &str, offset: Offset, entry: Entry, bounds: LogBounds, bytes: usize) -> Gone {
        let mut gone = Gone::default();
        let mut held = bytes + entry.bytes_held();
        if let Some(before) = self.by_key.insert(key.into(), offset) {
            self.keys.remove(&before);
            if let Some(entry) = self.by_offset.remove(&before) {
                gone.add(&entry, &mut held);
            }
        }
        self.keys.insert(offset, key.into());
        self.by_offset.insert(offset, entry);
        while self.by_offset.len() > 1 && (self.by_offset.len() > bounds.messages_max || held > bounds.bytes_max) {
            self.forget_oldest(&mut gone, &mut held);
        }
        gone
    }

    /// Forgets what is too old.
    pub(super) fn trim(&mut self, now: Now, age_ms: u64) -> Gone {
        let (mut gone, mut held) = (Gone::default(), usize::MAX);
        while self.by_offset.first_key_value().is_some_and(|(_, entry)| now.since(entry.at_mono_ms) > age_ms) {
            self.forget_oldest(&mut gone, &mut held);
        }
        gone
    }

    /// Forgets what has been unchanged for longest, until no more than this is held of `bytes`.
    pub(super) fn cut(&mut self, bytes: usize, bytes_max: usize) -> Gone {
        let (mut gone, mut held) = (Gone::default(), bytes);
        while held > bytes_max && !self.by_offset.is_empty() {
            self.forget_oldest(&mut gone, &mut held);
        }
        gone
    }

    /// The value that was set last.
    pub(super) fn newest(&self) -> Option<&Entry> {
        self.by_offset.last_key_value().map(|(_, entry)| entry)
    }

    pub(super) fn entry_mut(&mut self, offset: Offset) -> Option<&mut Entry> {
        self.by_offset.get_mut(&offset)
    }

    /// The oldest value at this offset or later.
    pub(super) fn next_from(&self, offset: Offset) -> Option<Offset> {
        self.by_offset.range(offset..).next().map(|(offset, _)| *offset)
    }

    pub(super) fn len(&self) -> usize {
        self.by_offset.len()
    }

    fn forget_oldest(&mut self, gone: &mut Gone, held: &mut usize) {
        let Some((offset, entry)) = self.by_offset.pop_first() else { return };
        gone.add(&entry, held);
        if let Some(key) = self.keys.remove(&offset) {
            self.by_key.remove(&key);
        }
    }
}

/// What was let go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Gone {
    pub(super) bytes: usize,
    pub(super) values: usize,
}

impl Gone {
    fn add(&mut self, entry: &Entry, held: &mut usize) {
        self.bytes += entry.bytes_held();
        self.values += 1;
        *held = held.saturating_sub(entry.bytes_held());
    }
}

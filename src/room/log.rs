//! The log is the queue: what was said in a room, by offset, as complete WebSocket frames.
//!
//! Promises: dense offsets; at most the configured messages, bytes and age (the newest message always stays);
//! a frame is encoded at most once per encoding, and each of them deflated at most once. Where the last value of each key is kept the log has holes, which are no
//! gaps: what is missing was overtaken.

use std::collections::VecDeque;

use super::values::{Gone, Values};
use crate::base::{ConnAddress, Encoding, Form, LogBounds, Now, Offset};
use crate::wire::{Press, SharedFrame, transcode_message};

/// One message as it is kept.
#[derive(Debug)]
pub struct Entry {
    /// When it was accepted, by the monotonic clock; for the age limit.
    pub at_mono_ms: u64,
    /// Who must not get a copy: the publisher who took the ack as receipt.
    pub skip: Option<ConnAddress>,
    /// The publisher's encoding, in which `frame` is written.
    pub origin: Encoding,
    /// By encoding: it was deflated, or that was tried in vain.
    pub pressed: [bool; 2],
    /// Where `data` begins in `frame`.
    pub data_at: u32,
    /// The complete frame in the publisher's encoding.
    pub frame: SharedFrame,
    /// The complete frame in the other encoding, once somebody needed it.
    pub other: Option<SharedFrame>,
}

impl Entry {
    /// The frame for readers of this form, transcoded and deflated on first need.
    pub fn frame_in(&mut self, form: Form, press: &mut Press) -> &SharedFrame {
        let frame = if form.encoding == self.origin {
            &mut self.frame
        } else {
            let (frame, data_at, origin) = (&self.frame, self.data_at as usize, self.origin);
            self.other.get_or_insert_with(|| {
                press.buffer.clear();
                transcode_message(frame.plain(), data_at, origin, &mut press.buffer);
                SharedFrame::from(&press.buffer[..])
            })
        };
        let pressed = &mut self.pressed[form.encoding.index()];
        // Who does not want it now may want it by other settings.
        if form.deflated && !*pressed && press.wants_frame(frame) {
            *pressed = true;
            if let Some(both) = press.pressed(frame) {
                *frame = both;
            }
        }
        frame
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.frame.bytes_held() + self.other.as_ref().map_or(0, |other| other.bytes_held())
    }
}

/// The newest messages of one room.
///
/// Invariant: `entries[i]` has offset `first + i`; `head() = first + entries.len() - 1`.
#[derive(Debug)]
pub struct Log {
    first: Offset,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Instead of entries, where the last value of each key is kept: `entries` is empty and `first` is behind the head.
    values: Option<Box<Values>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { first: Offset(1), entries: VecDeque::new(), bytes: 0, values: None }
    }
}

impl Log {
    /// Adds the next message and forgets the oldest beyond the limits. Returns its offset.
    pub fn append(&mut self, entry: Entry, bounds: LogBounds) -> Offset {
        if self.entries.len() == self.entries.capacity() {
            // Doubling would leave half of a quiet room's log empty for ever.
            self.entries.reserve_exact((self.entries.len() / 2).clamp(4, 64));
        }
        self.bytes += entry.bytes_held();
        self.entries.push_back(entry);
        while self.entries.len() > 1 && (self.entries.len() > bounds.messages_max || self.bytes > bounds.bytes_max) {
            self.forget_oldest();
        }
        self.head()
    }

    /// Adds the next message, which takes the place of the one before of the same key. Returns its offset, and how many
    /// values went.
    pub fn set(&mut self, key: &str, entry: Entry, bounds: LogBounds) -> (Offset, usize) {
        let (offset, bytes) = (self.first, entry.bytes_held());
        self.first = offset.next();
        let gone = self.values.get_or_insert_default().set(key, offset, entry, bounds, self.bytes);
        self.bytes += bytes;
        self.let_go(gone);
        (offset, gone.values)
    }

    /// Forgets everything and goes on counting.
    pub fn clear(&mut self) {
        (self.first, self.bytes) = (self.head().next(), 0);
        (self.entries, self.values) = (VecDeque::new(), None);
    }

    /// The oldest message at this offset or later that is kept.
    pub fn next_from(&self, offset: Offset) -> Option<Offset> {
        match &self.values {
            Some(values) => values.next_from(offset),
            None => Some(offset.max(self.first)).filter(|offset| *offset <= self.head()),
        }
    }

    /// The oldest offset still kept after a message of so many bytes has been added.
    pub fn first_after(&self, bytes: usize, bounds: LogBounds) -> Offset {
        let (mut first, mut len, mut held) = (self.first, self.entries.len() + 1, self.bytes + bytes);
        for entry in &self.entries {
            if len <= bounds.messages_max && held <= bounds.bytes_max {
                break;
            }
            (first, len, held) = (first.next(), len - 1, held - entry.bytes_held());
        }
        first
    }

    /// Forgets the oldest until it holds no more than this.
    pub fn cut(&mut self, bytes_max: usize) {
        if let Some(values) = &mut self.values {
            let gone = values.cut(self.bytes, bytes_max);
            self.let_go(gone);
        }
        while self.bytes > bytes_max && !self.entries.is_empty() {
            self.forget_oldest();
        }
    }

    /// When the newest message was accepted, by the monotonic clock.
    pub fn newest_mono_ms(&self) -> Option<u64> {
        let newest = self.values.as_ref().and_then(|values| values.newest()).or_else(|| self.entries.back());
        newest.map(|entry| entry.at_mono_ms)
    }

    /// Forgets what is older than the age limit.
    pub fn trim(&mut self, now: Now, age_ms: u64) {
        if let Some(values) = &mut self.values {
            let gone = values.trim(now, age_ms);
            self.let_go(gone);
        }
        while self.entries.front().is_some_and(|entry| now.since(entry.at_mono_ms) > age_ms) {
            self.forget_oldest();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    /// The message at `offset`, if it is still kept.
    pub fn entry_mut(&mut self, offset: Offset) -> Option<&mut Entry> {
        if let Some(values) = &mut self.values {
            return values.entry_mut(offset);
        }
        if offset < self.first {
            return None;
        }
        self.entries.get_mut(offset.since(self.first) as usize)
    }

    /// Counts bytes that frames made later than their message added.
    pub fn note_made(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The newest offset; 0 when nothing was ever said.
    pub fn head(&self) -> Offset {
        Offset(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// The oldest offset still kept (one past the head when nothing is).
    pub fn first(&self) -> Offset {
        self.next_from(Offset(0)).unwrap_or(self.first)
    }

    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(self.entries.len(), |values| values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn let_go(&mut self, gone: Gone) {
        self.bytes -= gone.bytes;
        self.values.take_if(|values| values.len() == 0);
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes_held();
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;

    fn bounds(limits: Limits) -> LogBounds {
        crate::base::RoomClass::of(&limits).log
    }

    fn entry(at_mono_ms: u64, len: usize) -> Entry {
        Entry {
            at_mono_ms,
            skip: None,
            origin: Encoding::Json,
            pressed: [false; 2],
            data_at: 0,
            frame: SharedFrame::from(&vec![b'x'; len][..]),
            other: None,
        }
    }

    #[test]
    fn offsets_are_dense_and_the_oldest_goes_first() {
        let limits = bounds(Limits { log_messages_max: 3, ..Limits::default() });
        let mut log = Log::default();
        assert_eq!((log.head(), log.first()), (Offset(0), Offset(1)));
        for n in 1..=5 {
            assert_eq!(log.append(entry(0, 10), limits), Offset(n));
        }
        assert_eq!((log.first(), log.head(), log.len(), log.bytes()), (Offset(3), Offset(5), 3, 30));
        assert!(
            log.entry_mut(Offset(2)).is_none()
                && log.entry_mut(Offset(3)).is_some()
                && log.entry_mut(Offset(6)).is_none()
        );
    }

    #[test]
    fn bytes_bound_the_log_but_the_newest_message_stays() {
        let limits = bounds(Limits { log_bytes_max: 25, ..Limits::default() });
        let mut log = Log::default();
        for _ in 0..4 {
            log.append(entry(0, 10), limits);
        }
        assert_eq!(log.len(), 2);
        log.append(entry(0, 100), limits);
        assert_eq!((log.len(), log.first()), (1, Offset(5)));
    }

    #[test]
    fn a_log_that_is_cut_keeps_the_newest_and_goes_on_counting() {
        let limits = bounds(Limits::default());
        let mut log = Log::default();
        for n in 0..4 {
            log.append(entry(n, 10), limits);
        }
        log.cut(20);
        assert_eq!((log.first(), log.head(), log.bytes(), log.newest_mono_ms()), (Offset(3), Offset(4), 20, Some(3)));
        log.cut(5);
        assert_eq!((log.len(), log.head(), log.first(), log.newest_mono_ms()), (0, Offset(4), Offset(5), None));
        let mut values = Log::default();
        for key in ["a", "b", "c"] {
            values.set(key, entry(7, 10), limits);
        }
        values.cut(15);
        assert_eq!((values.len(), values.bytes(), values.first()), (1, 10, Offset(3)));
        values.cut(0);
        assert_eq!((values.len(), values.bytes(), values.head()), (0, 0, Offset(3)));
    }

    #[test]
    fn age_empties_the_log_and_the_next_message_goes_on_counting() {
        let limits = bounds(Limits { log_age_ms: 1_000, ..Limits::default() });
        let mut log = Log::default();
        log.append(entry(0, 1), limits);
        log.append(entry(900, 1), limits);
        log.trim(Now { mono_ms: 1_500, unix_ms: 0 }, limits.age_ms);
        assert_eq!((log.first(), log.head()), (Offset(2), Offset(2)));
        log.trim(Now { mono_ms: 5_000, unix_ms: 0 }, limits.age_ms);
        assert_eq!((log.first(), log.head(), log.bytes()), (Offset(3), Offset(2), 0));
        assert_eq!(log.append(entry(5_000, 1), limits), Offset(3));
    }

    #[test]
    fn the_last_value_of_each_key_stays_and_holes_are_passed_over() {
        let bounds = bounds(Limits { log_messages_max: 3, log_age_ms: 1_000, ..Limits::default() });
        let mut log = Log::default();
        let set = |log: &mut Log, key: &str, at: u64| log.set(key, entry(at, 10), bounds);
        assert_eq!(set(&mut log, "a", 0), (Offset(1), 0));
        assert_eq!(set(&mut log, "b", 0), (Offset(2), 0));
        assert_eq!(set(&mut log, "a", 0), (Offset(3), 1));
        assert_eq!((log.first(), log.head(), log.len(), log.bytes()), (Offset(2), Offset(3), 2, 20));
        assert!(log.entry_mut(Offset(1)).is_none() && log.entry_mut(Offset(2)).is_some());
        set(&mut log, "c", 500);
        assert_eq!(set(&mut log, "d", 500), (Offset(5), 1), "one key too many: the longest unchanged goes");
        assert_eq!(log.next_from(Offset(0)), Some(Offset(3)));
        log.trim(Now { mono_ms: 1_200, unix_ms: 0 }, bounds.age_ms);
        assert_eq!((log.next_from(Offset(1)), log.len(), log.bytes()), (Some(Offset(4)), 2, 20));
        log.trim(Now { mono_ms: 9_000, unix_ms: 0 }, bounds.age_ms);
        assert_eq!((log.len(), log.bytes(), log.head(), log.first()), (0, 0, Offset(5), Offset(6)));
        assert_eq!(set(&mut log, "a", 9_000).0, Offset(6), "it goes on counting");
        assert_eq!(log.newest_mono_ms(), Some(9_000));
        log.clear();
        assert_eq!((log.len(), log.head(), log.next_from(Offset(0))), (0, Offset(6), None));
    }
}

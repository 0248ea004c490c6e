//! A room at its home: the only place where a message gets its offset.
//!
//! Promises: a publish is admitted only if no shard's unsent part of the log would be forgotten by it, so that
//! an accepted message reaches every shard that has seats.

use super::attendance::Attendance;
use super::keys::{KeyUse, Keys, KeysHeld, Seen};
use super::log::{Entry, Log};
use super::people::People;
use super::reads::Reads;
use super::typing::Typing;
use crate::base::{
    ClassId, ConnAddress, Delivery, Epoch, Form, Identity, KeyWindow, LogBounds, Now, Offset, Presence, RoomClass,
    RoomName,
};
use crate::wire::{MessageOut, Payload, Press, SharedFrame, write_message};

/// A piece of the log, as frames of one encoding, in all forms they have.
#[derive(Clone, Debug)]
pub struct Page {
    pub frames: Vec<SharedFrame>,
    /// The next offset after this piece.
    pub next: Offset,
    /// What the log no longer had before the piece.
    pub gap: Option<(Offset, Offset)>,
}

/// What a reader must not get of a page: its own words from where it joined on, of which it took the ack as receipt. A
/// connection's key is given to others after it, and messages live longer: what lies before the join concerns nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    pub reader: ConnAddress,
    pub from: Offset,
}

/// What somebody says.
#[derive(Debug)]
pub struct Post<'a> {
    pub from: &'a Identity,
    pub event: Option<&'a str>,
    /// Which value it is, where the last of each is kept; else the room does not look at it.
    pub key: Option<&'a str>,
    pub payload: &'a Payload,
    pub skip: Option<ConnAddress>,
}

/// A message that got its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    pub offset: Offset,
    /// Values that it took the place of, or pushed out.
    pub overtaken: usize,
}

/// One room, at its home shard.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    epoch: Epoch,
    log: Log,
    pub(super) attendance: Vec<Attendance>,
    pub(super) people: People,
    pub(super) typing: Option<Box<Typing>>,
    pub(super) reads: Option<Box<Reads>>,
    pub(super) idle_mark: u64,
    class: ClassId,
    /// What the class said when the room was opened: what is kept cannot become another kind.
    delivery: Delivery,
    /// Likewise, whether it is kept who sits here, because it is told or because seats are limited: who came uncounted
    /// cannot be counted when they go.
    pub(super) keeps_people: bool,
    /// Only where somebody published by a key.
    keys: Option<Box<Keys>>,
    /// Somebody sat here once.
    pub(super) visited: bool,
    /// When it stands in the table's alarms because something ends; 0: never.
    pub(super) alarm_mono_ms: u64,
    /// Stands in the queue of rooms with news.
    pub(crate) queued: bool,
}

impl Room {
    /// A room of this class, whose rules are `of`.
    pub fn new(name: RoomName, epoch: Epoch, class: ClassId, of: &RoomClass) -> Self {
        Self {
            name,
            epoch,
            log: Log::default(),
            attendance: Vec::new(),
            people: People::default(),
            typing: None,
            reads: None,
            idle_mark: 0,
            class,
            delivery: of.delivery,
            keeps_people: of.presence != Presence::Off || of.seats_max > 0,
            keys: None,
            visited: false,
            alarm_mono_ms: 0,
            queued: false,
        }
    }

    /// Gives the message its offset and keeps it. The caller has asked [`Room::admits`] first.
    ///
    /// Where the room is not reliable the offset is for the house alone: no reader is told.
    pub fn append(&mut self, now: Now, post: &Post<'_>, bounds: LogBounds, press: &mut Press) -> Appended {
        self.ends_typing(post.from);
        let told = if self.delivery == Delivery::Reliable { self.log.head().next() } else { Offset(0) };
        let key = post.key.filter(|_| self.delivery == Delivery::Latest);
        let origin = post.payload.encoding();
        let out = MessageOut {
            room: &self.name,
            offset: told,
            at_unix_ms: now.unix_ms,
            from: post.from,
            event: post.event,
            key,
            data: post.payload,
        };
        press.buffer.clear();
        let data_at = write_message(&mut press.buffer, origin, &out) as u32;
        let frame = SharedFrame::from(&press.buffer[..]);
        let (at_mono_ms, skip, pressed) = (now.mono_ms, post.skip, [false; 2]);
        let entry = Entry { at_mono_ms, skip, origin, pressed, data_at, frame, other: None };
        match self.delivery {
            Delivery::Reliable => Appended { offset: self.log.append(entry, bounds), overtaken: 0 },
            Delivery::Latest => {
                let (offset, overtaken) = self.log.set(key.unwrap_or(""), entry, bounds);
                Appended { offset, overtaken }
            }
            Delivery::Ephemeral => {
                self.log.clear();
                Appended { offset: self.log.append(entry, bounds), overtaken: 0 }
            }
        }
    }

    /// To be called when a message is on its way to everybody: some rooms keep nothing.
    pub fn sent(&mut self) {
        if self.delivery == Delivery::Ephemeral {
            self.log.clear();
        }
    }

    /// Whether this was published before, within the window.
    pub fn seen(&mut self, now: Now, wish: KeyUse, window: KeyWindow) -> Seen {
        self.keys.as_mut().map_or(Seen::Never, |keys| keys.look(now, wish, window))
    }

    /// Remembers by which key a message was published.
    pub fn note_key(&mut self, now: Now, wish: KeyUse, offset: Offset, window: KeyWindow) {
        self.keys.get_or_insert_default().note(now, wish, offset, window);
    }

    /// Forgets keys that are too old.
    pub fn trim_keys(&mut self, now: Now, window: KeyWindow) {
        if let Some(keys) = &mut self.keys {
            keys.trim(now, window);
        }
        self.keys.take_if(|keys| keys.is_empty());
    }

    /// Forgets the oldest key before its time.
    pub fn forget_oldest_key(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.forget_oldest();
        }
        self.keys.take_if(|keys| keys.is_empty());
    }

    /// The frame of one message for readers of this form, if it is still kept.
    pub fn frame(
        &mut self,
        offset: Offset,
        form: Form,
        press: &mut Press,
    ) -> Option<(SharedFrame, Option<ConnAddress>)> {
        let entry = self.log.entry_mut(offset)?;
        let held = entry.bytes_held();
        let (frame, skip) = (entry.frame_in(form, press).clone(), entry.skip);
        let made = entry.bytes_held() - held;
        self.log.note_made(made);
        Some((frame, skip))
    }

    /// The log from `cursor` on, at most `bytes_max` (one longer message passes alone), without what the reader must not
    /// get.
    pub fn page(&mut self, cursor: Offset, form: Form, own: Own, bytes_max: usize, press: &mut Press) -> Page {
        let start = cursor.max(self.log.first());
        // Elsewhere what is missing was overtaken, or was never meant to be kept.
        let gap = (cursor < start && self.delivery == Delivery::Reliable).then(|| (cursor, Offset(start.0 - 1)));
        let mut page = Page { frames: Vec::new(), next: start, gap };
        let mut bytes = 0;
        while let Some(offset) = self.log.next_from(page.next)
            && let Some((frame, skip)) = self.frame(offset, form, press)
        {
            if skip != Some(own.reader) || offset < own.from {
                if !page.frames.is_empty() && bytes + frame.bytes(form.deflated).len() > bytes_max {
                    return page;
                }
                bytes += frame.bytes(form.deflated).len();
                page.frames.push(frame);
            }
            page.next = offset.next();
        }
        page.next = page.next.max(self.head().next());
        page
    }

    /// Nothing is left for which it is kept when nobody sits here: no message, no key, nobody who may be back at once.
    pub(super) fn is_bare(&self) -> bool {
        self.log.is_empty() && self.keys_held().count == 0 && self.outlasting().away == 0
    }

    /// Half of what the log holds is given up, unless a shard is still owed something of it.
    pub(super) fn halve_log(&mut self) {
        if self.attendance.iter().all(|a| a.owed_from.is_none()) {
            let bytes = self.log.bytes();
            self.log.cut(bytes / 2);
        }
    }

    /// Which of its empty times this is, 0 when there are people; for the table of rooms.
    pub(super) fn set_idle_mark(&mut self, mark: u64) {
        self.idle_mark = mark;
    }

    pub(super) fn set_class(&mut self, class: ClassId) {
        self.class = class;
    }

    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Whether this message may be accepted: nothing a shard is still owed would be forgotten by it.
    pub fn admits(&self, post: &Post<'_>, bounds: LogBounds) -> bool {
        if self.delivery != Delivery::Reliable {
            return true;
        }
        let oldest_owed = self.attendance.iter().filter_map(|a| a.owed_from).min();
        oldest_owed.is_none_or(|owed| {
            let text = self.name.as_str().len() + post.event.map_or(0, str::len) + post.from.user().len();
            // `0.0` takes three bytes of JSON and nine of MessagePack.
            let info = 3 * post.from.info().map_or(0, str::len);
            // A control character of JSON text is six bytes long; the keys and the header are less than 256.
            let frame_bytes_max = post.payload.bytes().len() + 6 * text + info + 256;
            self.log.first_after(frame_bytes_max, bounds) <= owed
        })
    }

    pub fn name(&self) -> &RoomName {
        &self.name
    }

    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Keys it remembers.
    pub fn keys_held(&self) -> KeysHeld {
        self.keys.as_ref().map_or_else(KeysHeld::default, |keys| keys.held())
    }

    pub fn class(&self) -> ClassId {
        self.class
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn head(&self) -> Offset {
        self.log.head()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn people(&self) -> &People {
        &self.people
    }

    pub(super) fn idle_mark(&self) -> u64 {
        self.idle_mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Encoding, Limits, LocalPlace, Position, ShardId};
    use crate::room::{Gap, SeatCounts, Start};
    use crate::wire::{Compression, GapWhy, prove};

    const HERE: ShardId = ShardId(0);

    fn bounds(limits: &Limits) -> LogBounds {
        RoomClass::of(limits).log
    }

    fn empty_room(delivery: Delivery) -> Room {
        let class = RoomClass { delivery, ..RoomClass::default() };
        Room::new(RoomName::parse("r").unwrap(), Epoch(7), ClassId::DEFAULT, &class)
    }

    fn room_with(messages: u64, limits: &Limits) -> Room {
        let mut room = empty_room(Delivery::Reliable);
        for _ in 0..messages {
            say(&mut room, limits);
        }
        room
    }

    fn say(room: &mut Room, limits: &Limits) -> Offset {
        let payload = prove(Encoding::Json, b"1", 32).unwrap().to_payload();
        let from = Identity::new("ann", None).unwrap();
        room.append(
            Now::default(),
            &Post { from: &from, event: None, key: None, payload: &payload, skip: None },
            bounds(limits),
            &mut Press::default(),
        )
        .offset
    }

    fn plain(encoding: Encoding) -> Form {
        Form { encoding, deflated: false }
    }

    fn at(epoch: u64, offset: u64) -> Option<Position> {
        Some(Position { epoch: Epoch(epoch), offset: Offset(offset) })
    }

    #[test]
    fn a_joiner_gets_what_the_log_still_has_or_is_told() {
        let limits = Limits { log_messages_max: 10, history_on_join_max: 4, ..Limits::default() };
        let room = room_with(15, &limits);
        assert_eq!(room.start(None, 0, &limits).cursor, Offset(16));
        assert_eq!(room.start(None, 3, &limits).cursor, Offset(13));
        assert_eq!(room.start(None, 100, &limits).cursor, Offset(12));
        assert_eq!(room.start(at(7, 9), 0, &limits), Start { cursor: Offset(10), gap: None, recovered: Some(true) });
        assert_eq!(room.start(at(7, 15), 0, &limits), Start { cursor: Offset(16), gap: None, recovered: Some(true) });
        let lost = room.start(at(7, 2), 0, &limits);
        assert_eq!(lost.gap, Some(Gap { from: Offset(3), to: Offset(5), why: GapWhy::Retention }));
        assert_eq!((lost.cursor, lost.recovered), (Offset(6), Some(false)));
        let unknown = room.start_unknown(2, &limits);
        assert_eq!(unknown.gap, Some(Gap { from: Offset(1), to: Offset(13), why: GapWhy::Unknown }));
        assert_eq!((unknown.cursor, unknown.recovered), (Offset(14), Some(false)));
        for other_life in [at(8, 9), at(7, 99)] {
            let start = room.start(other_life, 0, &limits);
            assert_eq!((start.cursor, start.recovered), (Offset(12), Some(false)));
            assert_eq!(start.gap.unwrap().why, GapWhy::Epoch);
        }
    }

    #[test]
    fn a_publish_that_would_forget_what_a_shard_is_owed_is_not_admitted() {
        let limits = Limits { log_messages_max: 3, ..Limits::default() };
        let mut room = room_with(3, &limits);
        room.set_seats(HERE, LocalPlace::default(), SeatCounts { by_encoding: [1, 0], ..SeatCounts::default() });
        let (from, payload) =
            (Identity::new("ann", None).unwrap(), prove(Encoding::Json, b"1", 32).unwrap().to_payload());
        let post = Post { from: &from, event: None, key: None, payload: &payload, skip: None };
        assert!(room.admits(&post, bounds(&limits)));
        room.owe(HERE, Offset(1));
        assert!(!room.admits(&post, bounds(&limits)));
        room.set_owed(HERE, Some(Offset(2)));
        assert!(room.admits(&post, bounds(&limits)));
        // By bytes one message may push out several.
        let narrow = Limits { log_messages_max: 100, log_bytes_max: room.log().bytes() + 1, ..limits };
        assert!(!room.admits(&post, bounds(&narrow)));
        room.set_seats(HERE, LocalPlace::default(), SeatCounts::default());
        assert!(room.admits(&post, bounds(&narrow)) && room.is_idle());
    }

    #[test]
    fn a_page_says_what_it_no_longer_has_and_leaves_out_the_readers_own() {
        let limits = Limits { log_messages_max: 4, ..Limits::default() };
        let mut room = room_with(6, &limits);
        let reader = ConnAddress { shard: HERE, conn: crate::base::ConnKey::new(0, 1, 1) };
        room.log_mut().entry_mut(Offset(4)).unwrap().skip = Some(reader);
        let own = Own { reader, from: Offset(4) };
        let page = room.page(Offset(1), plain(Encoding::MessagePack), own, 1 << 20, &mut Press::default());
        assert_eq!((page.frames.len(), page.next, page.gap), (3, Offset(7), Some((Offset(1), Offset(2)))));
        let short = room.page(Offset(3), plain(Encoding::Json), own, 1, &mut Press::default());
        assert_eq!((short.frames.len(), short.next, short.gap), (1, Offset(5), None));
        let two = short.frames[0].plain().len() * 2;
        let full = room.page(Offset(3), plain(Encoding::Json), own, two + 1, &mut Press::default());
        assert_eq!((full.frames.len(), full.next), (2, Offset(6)), "not one byte more than asked for");
        // Regression: what somebody had said before it joined was left out of its history, too.
        let joined = Own { reader, from: Offset(5) };
        let history = room.page(Offset(3), plain(Encoding::Json), joined, 1 << 20, &mut Press::default());
        assert_eq!((history.frames.len(), history.next), (4, Offset(7)));
    }

    #[test]
    fn a_late_joiner_of_values_gets_each_as_it_is_and_no_gap() {
        let limits = Limits::default();
        let mut room = empty_room(Delivery::Latest);
        assert_eq!(room.start(None, 0, &limits).cursor, Offset(1));
        let (from, payload) =
            (Identity::new("ann", None).unwrap(), prove(Encoding::Json, b"1", 32).unwrap().to_payload());
        let set = |room: &mut Room, key| {
            let post = Post { from: &from, event: None, key, payload: &payload, skip: None };
            room.append(Now::default(), &post, bounds(&limits), &mut Press::default())
        };
        for (key, overtaken) in [(Some("a"), 0), (Some("b"), 0), (Some("a"), 1), (None, 0)] {
            assert_eq!(set(&mut room, key).overtaken, overtaken);
        }
        let start = room.start(None, 0, &limits);
        assert_eq!((start.cursor, start.gap, start.recovered), (Offset(2), None, None));
        assert_eq!(room.start(at(7, 3), 0, &limits).cursor, Offset(4));
        assert_eq!(room.start(at(9, 3), 0, &limits), Start { cursor: Offset(2), gap: None, recovered: Some(false) });
        let reader = ConnAddress { shard: HERE, conn: crate::base::ConnKey::new(0, 1, 1) };
        let own = Own { reader, from: Offset(1) };
        let page = room.page(Offset(1), plain(Encoding::Json), own, 1 << 20, &mut Press::default());
        assert_eq!((page.frames.len(), page.next, page.gap), (3, Offset(5), None));
        let texts: Vec<String> =
            page.frames.iter().map(|frame| String::from_utf8_lossy(frame.plain()).into_owned()).collect();
        assert!(texts.iter().all(|text| !text.contains("offset")) && texts[1].contains(r#""key":"a""#), "{texts:?}");
        set(&mut room, Some("b"));
        let page = room.page(Offset(5), plain(Encoding::Json), own, 1, &mut Press::default());
        assert_eq!((page.frames.len(), page.next), (1, Offset(6)));
    }

    #[test]
    fn what_is_ephemeral_is_kept_until_it_is_sent() {
        let limits = Limits::default();
        let mut room = empty_room(Delivery::Ephemeral);
        assert_eq!(say(&mut room, &limits), Offset(1));
        assert!(room.frame(Offset(1), plain(Encoding::Json), &mut Press::default()).is_some());
        room.sent();
        assert!(room.log().is_empty() && room.log().bytes() == 0);
        assert_eq!(say(&mut room, &limits), Offset(2));
        room.sent();
        assert_eq!(room.start(at(7, 1), 9, &limits), Start { cursor: Offset(3), gap: None, recovered: Some(false) });
    }

    #[test]
    fn a_long_message_is_deflated_once_when_somebody_wants_it_so_and_every_byte_is_counted() {
        let limits = Limits::default();
        let mut press = Press::new(Compression::default());
        let mut room = room_with(1, &limits);
        let long = format!("\"{}\"", "word after word ".repeat(200));
        let (from, payload) =
            (Identity::new("ann", None).unwrap(), prove(Encoding::Json, long.as_bytes(), 32).unwrap().to_payload());
        let post = Post { from: &from, event: None, key: None, payload: &payload, skip: None };
        room.append(Now::default(), &post, bounds(&limits), &mut press);
        let mut frame = |offset, encoding, deflated| {
            let frame = room.frame(offset, Form { encoding, deflated }, &mut press).unwrap().0;
            (frame, room.log().bytes())
        };
        let (alone, held) = frame(Offset(2), Encoding::Json, false);
        assert!(!alone.has_deflated());
        let (both, held_both) = frame(Offset(2), Encoding::Json, true);
        assert_eq!((both.plain(), held_both - held), (alone.plain(), both.bytes(true).len()));
        assert!(both.bytes(true).len() < 200);
        let (other, held_other) = frame(Offset(2), Encoding::MessagePack, true);
        assert_eq!(held_other - held_both, other.bytes_held());
        // A short one stays as it is; nothing is done twice.
        assert!(!frame(Offset(1), Encoding::Json, true).0.has_deflated());
        for encoding in Encoding::ALL {
            assert_eq!(frame(Offset(2), encoding, true).1, held_other);
        }
        let (reader, form) = (
            ConnAddress { shard: HERE, conn: crate::base::ConnKey::new(0, 1, 1) },
            Form { encoding: Encoding::Json, deflated: true },
        );
        let page = room.page(Offset(1), form, Own { reader, from: Offset(1) }, 500, &mut press);
        assert_eq!(page.frames.len(), 2, "a page is as long as what is sent of it");
        assert_eq!(press.take_pressed(), 2);
        // Regression: what was asked for while the operator had it switched off was never deflated again.
        room.append(Now::default(), &post, bounds(&limits), &mut press);
        press.set(Compression { enabled: false, ..Compression::default() });
        assert!(!room.frame(Offset(3), form, &mut press).unwrap().0.has_deflated());
        press.set(Compression::default());
        assert!(room.frame(Offset(3), form, &mut press).unwrap().0.has_deflated());
    }
}

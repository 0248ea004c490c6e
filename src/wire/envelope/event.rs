//! Events: what the server says, except `message`.
//!
//! Promises: every event is one complete frame; the keys and their order are frozen by `tests/golden.rs`.

use super::people::{Members, ReadBy, write_members, write_reads, write_users};
use super::shared::SharedFrame;
use super::writer::{Writer, content, frame};
use crate::base::{Encoding, Epoch, Identity, Limits, Offset, Position, RoomName};
use crate::wire::refusal::Refusal;

/// Why messages are missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GapWhy {
    /// The log no longer reaches back so far.
    Retention,
    /// The reader was too slow and the log moved on.
    Slow,
    /// The room forgot: another epoch.
    Epoch,
    /// It was resumed without a position, so nobody knows what is missing.
    Unknown,
}

impl GapWhy {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Retention, Self::Slow, Self::Epoch, Self::Unknown];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Slow => "slow",
            Self::Epoch => "epoch",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a seat was taken away without having been given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RemovedWhy {
    /// The token that came by `refresh` or with a `resume`, or the default grants or the class of the room as they are now,
    /// do not grant the room (any more).
    Grants,
    /// A resumed room could not be joined now: join it again a little later.
    Busy,
    /// A resumed room was one more than a connection may sit in.
    TooManyRooms,
}

impl RemovedWhy {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Grants, Self::Busy, Self::TooManyRooms];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::Busy => "busy",
            Self::TooManyRooms => "too_many_rooms",
        }
    }
}

/// What the server says to one connection. Answers carry the `id` of the command they answer.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Always the first.
    Welcome { session: &'a str, resumed: bool, user: &'a str, node: &'a str, heartbeat_ms: u64, limits: &'a Limits },
    /// Answers `join`.
    Joined {
        id: u64,
        room: &'a RoomName,
        epoch: Epoch,
        /// The newest message before the join.
        offset: Offset,
        /// With `since` and for a resumed room: whether every later message follows.
        recovered: Option<bool>,
        /// How far the user has read; `None`: the room does not keep it.
        read: Option<Offset>,
        /// With `presence` only.
        members: Option<Members<'a>>,
    },
    /// Answers `leave`.
    Left { id: u64, room: &'a RoomName },
    /// Answers `publish`: the message is in memory at this position. Offset 0: it has none and is kept nowhere for sure.
    /// `dup`: it was there already, by its key.
    Published { id: u64, room: &'a RoomName, position: Position, dup: bool },
    /// Answers `presence`.
    Members { id: u64, room: &'a RoomName, members: Members<'a> },
    /// Answers `typing`.
    TypingTaken { id: u64, room: &'a RoomName },
    /// Answers `read`.
    ReadTaken { id: u64, room: &'a RoomName },
    /// Answers `unread`. `epoch`: `None` where there is no such room at the moment.
    Unread { id: u64, room: &'a RoomName, epoch: Option<Epoch>, head: Offset, read: Offset },
    /// Answers `ping`.
    Pong { id: u64 },
    /// Answers `resume`; `resumed` is there if it named a session: whether that one goes on here.
    Resumed { id: u64, resumed: Option<bool> },
    /// A command was refused. `detail` is the sentence of this case; without it the refusal's own is sent.
    Error { id: Option<u64>, refusal: Refusal, detail: Option<&'a str> },
    /// Likewise, as `too_often`: it may be tried again after so long.
    TooOften { id: Option<u64>, retry_after_ms: u32 },
    /// These users came: their first connection.
    PresenceJoined { room: &'a RoomName, users: &'a [Identity], count: u32, version: u64 },
    /// These users went: their last connection.
    PresenceLeft { room: &'a RoomName, users: &'a [Identity], count: u32, version: u64 },
    /// The last connection of these users was lost: they may be back in a moment.
    PresenceAway { room: &'a RoomName, users: &'a [Identity], count: u32, version: u64 },
    /// These users were away and are here again.
    PresenceBack { room: &'a RoomName, users: &'a [Identity], count: u32, version: u64 },
    /// So many are here now; who came and went is not told.
    PresenceCounted { room: &'a RoomName, count: u32, version: u64 },
    /// Something about the people of the room was left out, because this reader was slow.
    Stale { room: &'a RoomName },
    /// Who is typing: all of them, as far as they are named.
    Typing { room: &'a RoomName, users: &'a [Identity], count: u32, ttl_ms: u64 },
    /// These users have read so far.
    Read { room: &'a RoomName, reads: &'a [ReadBy] },
    /// Messages `from` to `to` (inclusive; `to` below `from`: nothing is known to be missing) will not come.
    Gap { room: &'a RoomName, epoch: Epoch, from: Offset, to: Offset, why: GapWhy },
    /// Answers `refresh`: the new token ends so late.
    Refreshed { id: u64, expires_in_ms: u64 },
    /// The token ends soon: `refresh` it.
    Expiring { in_ms: u64 },
    /// The connection does not sit in this room any more.
    Removed { room: &'a RoomName, why: RemovedWhy },
    /// The server is being replaced: in this time the connection is closed with 1012, and may come again.
    Drain { reconnect_in_ms: u64 },
    /// Answers `history`.
    History { id: u64, room: &'a RoomName, answer: HistoryAnswer<'a> },
}

/// A piece of what was said in a room.
#[derive(Clone, Copy, Debug)]
pub struct HistoryAnswer<'a> {
    /// `None`: there is no such room now.
    pub epoch: Option<Epoch>,
    /// The newest offset there is.
    pub head: Offset,
    /// What is missing between the position asked for and the first message.
    pub gap: Option<(Offset, Offset, GapWhy)>,
    /// Who has read the first of these messages, or further, the furthest first; `None`: the room does not keep it, or it
    /// is not for this reader.
    pub reads: Option<&'a [ReadBy]>,
    /// `message` frames of the reader's encoding, oldest first.
    pub messages: &'a [SharedFrame],
}

impl Event<'_> {
    /// A name for each kind, in the order of [`Event::index`]; labels of counters and names of golden files.
    pub const NAMES: [&'static str; 25] = [
        "welcome",
        "reply_join",
        "reply_leave",
        "reply_publish",
        "reply_presence",
        "reply_ping",
        "error",
        "joined",
        "left",
        "gap",
        "reply_refresh",
        "expiring",
        "removed",
        "drain",
        "away",
        "back",
        "counted",
        "stale",
        "typing",
        "read",
        "reply_typing",
        "reply_read",
        "reply_unread",
        "reply_history",
        "reply_resume",
    ];

    /// The place in a table of all kinds.
    pub fn index(&self) -> usize {
        match self {
            Event::Welcome { .. } => 0,
            Event::Joined { .. } => 1,
            Event::Left { .. } => 2,
            Event::Published { .. } => 3,
            Event::Members { .. } => 4,
            Event::Pong { .. } => 5,
            Event::Error { .. } | Event::TooOften { .. } => 6,
            Event::PresenceJoined { .. } => 7,
            Event::PresenceLeft { .. } => 8,
            Event::Gap { .. } => 9,
            Event::Refreshed { .. } => 10,
            Event::Expiring { .. } => 11,
            Event::Removed { .. } => 12,
            Event::Drain { .. } => 13,
            Event::PresenceAway { .. } => 14,
            Event::PresenceBack { .. } => 15,
            Event::PresenceCounted { .. } => 16,
            Event::Stale { .. } => 17,
            Event::Typing { .. } => 18,
            Event::Read { .. } => 19,
            Event::TypingTaken { .. } => 20,
            Event::ReadTaken { .. } => 21,
            Event::Unread { .. } => 22,
            Event::History { .. } => 23,
            Event::Resumed { .. } => 24,
        }
    }

    /// The name of this kind.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Appends one complete frame.
pub fn write_event(out: &mut Vec<u8>, encoding: Encoding, event: &Event<'_>) {
    frame(out, encoding, length_guess(event), |out| write_fields(Writer::new(out, encoding), event));
}

fn write_fields(mut writer: Writer<'_>, event: &Event<'_>) {
    let w = &mut writer;
    match *event {
        Event::Welcome { session, resumed, user, node, heartbeat_ms, limits } => {
            start(w, "welcome", 6);
            w.text_field("session", session);
            w.boolean_field("resumed", resumed);
            w.text_field("user", user);
            w.text_field("node", node);
            w.unsigned_field("heartbeat_ms", heartbeat_ms);
            w.key("limits");
            w.map(3);
            w.unsigned_field("message_bytes", limits.message_bytes_max as u64);
            w.unsigned_field("rooms", limits.rooms_per_connection_max as u64);
            w.unsigned_field("depth", limits.depth_max as u64);
            w.end_map();
        }
        Event::Joined { id, room, epoch, offset, recovered, read, members } => {
            let fields = members.map_or(0, |members| members.fields());
            let optional = usize::from(recovered.is_some()) + 2 * usize::from(read.is_some()) + fields;
            start_reply(w, id, Some(room), 2 + optional);
            w.text_field("epoch", &epoch.to_string());
            w.unsigned_field("offset", offset.0);
            if let Some(recovered) = recovered {
                w.boolean_field("recovered", recovered);
            }
            if let Some(read) = read {
                write_unread(w, offset, read);
            }
            if let Some(members) = members {
                write_members(w, members);
            }
        }
        Event::Left { id, room } | Event::TypingTaken { id, room } | Event::ReadTaken { id, room } => {
            start_reply(w, id, Some(room), 0);
        }
        Event::Unread { id, room, epoch, head, read } => {
            start_reply(w, id, Some(room), 3 + usize::from(epoch.is_some()));
            if let Some(epoch) = epoch {
                w.text_field("epoch", &epoch.to_string());
            }
            w.unsigned_field("offset", head.0);
            write_unread(w, head, read);
        }
        Event::Published { id, room, position, .. } if position.offset == Offset(0) => {
            start_reply(w, id, Some(room), 1);
            w.text_field("level", "none");
        }
        Event::Published { id, room, position, dup } => {
            start_reply(w, id, Some(room), 3 + usize::from(dup));
            w.text_field("epoch", &position.epoch.to_string());
            w.unsigned_field("offset", position.offset.0);
            w.text_field("level", "memory");
            if dup {
                w.boolean_field("dup", true);
            }
        }
        Event::Members { id, room, members } => {
            start_reply(w, id, Some(room), members.fields());
            write_members(w, members);
        }
        Event::Pong { id } => start_reply(w, id, None, 0),
        Event::Resumed { id, resumed } => {
            start_reply(w, id, None, usize::from(resumed.is_some()));
            if let Some(resumed) = resumed {
                w.boolean_field("resumed", resumed);
            }
        }
        Event::Error { id, refusal, detail } => {
            let sentence = detail.unwrap_or_else(|| refusal.message());
            write_error(w, id, refusal, sentence, refusal.retry_after_ms());
        }
        Event::TooOften { id, retry_after_ms } => {
            let refusal = Refusal::TooOften;
            write_error(w, id, refusal, refusal.message(), Some(retry_after_ms));
        }
        Event::History { id, room, answer } => {
            let more = [answer.epoch.is_some(), answer.gap.is_some(), answer.reads.is_some()];
            start_reply(w, id, Some(room), 2 + more.into_iter().filter(|there| *there).count());
            if let Some(epoch) = answer.epoch {
                w.text_field("epoch", &epoch.to_string());
            }
            w.unsigned_field("offset", answer.head.0);
            if let Some((from, to, why)) = answer.gap {
                w.key("gap");
                w.map(3);
                w.unsigned_field("from", from.0);
                w.unsigned_field("to", to.0);
                w.text_field("why", why.name());
                w.end_map();
            }
            if let Some(reads) = answer.reads {
                write_reads(w, reads);
            }
            w.key("messages");
            w.array(answer.messages.len());
            for message in answer.messages {
                w.element();
                w.out.extend_from_slice(content(message.plain()));
            }
            w.end_array();
        }
        Event::PresenceJoined { room, users, count, version } => {
            write_presence(w, "joined", room, users, count, version);
        }
        Event::PresenceLeft { room, users, count, version } => {
            write_presence(w, "left", room, users, count, version);
        }
        Event::PresenceAway { room, users, count, version } => {
            write_presence(w, "away", room, users, count, version);
        }
        Event::PresenceBack { room, users, count, version } => {
            write_presence(w, "back", room, users, count, version);
        }
        Event::PresenceCounted { room, count, version } => {
            start(w, "counted", 3);
            w.text_field("room", room.as_str());
            w.unsigned_field("count", u64::from(count));
            w.unsigned_field("version", version);
        }
        Event::Stale { room } => {
            start(w, "stale", 1);
            w.text_field("room", room.as_str());
        }
        Event::Typing { room, users, count, ttl_ms } => {
            start(w, "typing", 4);
            write_users(w, room, users, count);
            w.unsigned_field("ttl_ms", ttl_ms);
        }
        Event::Read { room, reads } => {
            start(w, "read", 2);
            w.text_field("room", room.as_str());
            write_reads(w, reads);
        }
        Event::Gap { room, epoch, from, to, why } => {
            start(w, "gap", 5);
            w.text_field("room", room.as_str());
            w.text_field("epoch", &epoch.to_string());
            w.unsigned_field("from", from.0);
            w.unsigned_field("to", to.0);
            w.text_field("why", why.name());
        }
        Event::Refreshed { id, expires_in_ms } => {
            start_reply(w, id, None, 1);
            w.unsigned_field("expires_in_ms", expires_in_ms);
        }
        Event::Expiring { in_ms } => {
            start(w, "expiring", 1);
            w.unsigned_field("in_ms", in_ms);
        }
        Event::Removed { room, why } => {
            start(w, "removed", 2);
            w.text_field("room", room.as_str());
            w.text_field("why", why.name());
        }
        Event::Drain { reconnect_in_ms } => {
            start(w, "drain", 1);
            w.unsigned_field("reconnect_in_ms", reconnect_in_ms);
        }
    }
    w.end_map();
}

fn start(w: &mut Writer<'_>, kind: &str, more: usize) {
    w.map(1 + more);
    w.text_field("type", kind);
}

fn write_error(w: &mut Writer<'_>, id: Option<u64>, refusal: Refusal, sentence: &str, retry_after_ms: Option<u32>) {
    start(w, "error", 2 + usize::from(id.is_some()) + usize::from(retry_after_ms.is_some()));
    if let Some(id) = id {
        w.unsigned_field("id", id);
    }
    w.text_field("code", refusal.code());
    w.text_field("message", sentence);
    if let Some(retry_after_ms) = retry_after_ms {
        w.unsigned_field("retry_after_ms", u64::from(retry_after_ms));
    }
}

fn start_reply(w: &mut Writer<'_>, id: u64, room: Option<&RoomName>, more: usize) {
    start(w, "reply", 1 + usize::from(room.is_some()) + more);
    w.unsigned_field("id", id);
    if let Some(room) = room {
        w.text_field("room", room.as_str());
    }
}

/// How far somebody has read, and what is left.
fn write_unread(w: &mut Writer<'_>, head: Offset, read: Offset) {
    w.unsigned_field("read", read.0);
    w.unsigned_field("unread", head.since(read));
}

fn write_presence(w: &mut Writer<'_>, kind: &str, room: &RoomName, users: &[Identity], count: u32, version: u64) {
    start(w, kind, 4);
    write_users(w, room, users, count);
    w.unsigned_field("version", version);
}

/// Enough to guess the header's length; a wrong guess only costs a move.
fn length_guess(event: &Event<'_>) -> usize {
    let people = match event {
        Event::Joined { members, .. } => members.map_or(0, |members| members.lines()),
        Event::Members { members, .. } => members.lines(),
        Event::PresenceJoined { users, .. }
        | Event::PresenceLeft { users, .. }
        | Event::PresenceAway { users, .. }
        | Event::PresenceBack { users, .. }
        | Event::Typing { users, .. } => users.len(),
        Event::Read { reads, .. } => reads.len(),
        Event::Welcome { .. }
        | Event::Error { .. }
        | Event::TooOften { .. }
        | Event::Gap { .. }
        | Event::Unread { .. } => 1,
        Event::History { answer, .. } => {
            let reads = 60 * answer.reads.map_or(0, <[ReadBy]>::len);
            return 200 + reads + answer.messages.iter().map(|message| message.plain().len()).sum::<usize>();
        }
        Event::Left { .. }
        | Event::Published { .. }
        | Event::TypingTaken { .. }
        | Event::ReadTaken { .. }
        | Event::PresenceCounted { .. }
        | Event::Stale { .. }
        | Event::Pong { .. }
        | Event::Resumed { .. }
        | Event::Refreshed { .. }
        | Event::Expiring { .. }
        | Event::Removed { .. }
        | Event::Drain { .. } => 0,
    };
    100 + 60 * people
}

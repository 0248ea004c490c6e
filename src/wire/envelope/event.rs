//! Events: what the server says, except `message`.
//!
//! Promises: every event is one complete frame; the keys and their order are frozen by `tests/golden.rs`.

use super::shared::SharedFrame;
use super::writer::{Writer, content, frame, info_of};
use crate::base::{Encoding, Epoch, Identity, Limits, Offset, Position, RoomName};
use crate::wire::refusal::Refusal;

/// One line of an answer to "who is there".
#[derive(Clone, Debug)]
pub struct Member {
    pub identity: Identity,
    /// Connections of this user that sit in the room.
    pub connections: u32,
}

/// An answer to "who is there".
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// Sorted by user; may be cut short.
    pub list: &'a [Member],
    /// Distinct users in the room; the true number even when the list is cut.
    pub count: u32,
    /// Rises with every change of the room's presence.
    pub version: u64,
}

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
    /// The token that came by `refresh` or with a `resume`, or the default grants as they are now, do not grant the room
    /// (any more).
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
    /// `message` frames of the reader's encoding, oldest first.
    pub messages: &'a [SharedFrame],
}

impl Event<'_> {
    /// A name for each kind, in the order of [`Event::index`]; labels of counters and names of golden files.
    pub const NAMES: [&'static str; 16] = [
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
            Event::History { .. } => 14,
            Event::Resumed { .. } => 15,
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
        Event::Joined { id, room, epoch, offset, recovered, members } => {
            let optional = usize::from(recovered.is_some()) + members.map_or(0, |_| MEMBERS_FIELDS);
            start_reply(w, id, Some(room), 2 + optional);
            w.text_field("epoch", &epoch.to_string());
            w.unsigned_field("offset", offset.0);
            if let Some(recovered) = recovered {
                w.boolean_field("recovered", recovered);
            }
            if let Some(members) = members {
                write_members(w, members);
            }
        }
        Event::Left { id, room } => start_reply(w, id, Some(room), 0),
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
            start_reply(w, id, Some(room), MEMBERS_FIELDS);
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
            let more = usize::from(answer.epoch.is_some()) + usize::from(answer.gap.is_some());
            start_reply(w, id, Some(room), 2 + more);
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

fn write_members(w: &mut Writer<'_>, members: Members<'_>) {
    w.key("members");
    w.array(members.list.len());
    for member in members.list {
        w.element();
        w.person(member.identity.user(), info_of(&member.identity), 1);
        w.unsigned_field("connections", u64::from(member.connections));
        w.end_map();
    }
    w.end_array();
    w.unsigned_field("count", u64::from(members.count));
    w.unsigned_field("version", members.version);
}

fn write_presence(w: &mut Writer<'_>, kind: &str, room: &RoomName, users: &[Identity], count: u32, version: u64) {
    start(w, kind, 4);
    w.text_field("room", room.as_str());
    w.key("users");
    w.array(users.len());
    for user in users {
        w.element();
        w.person(user.user(), info_of(user), 0);
        w.end_map();
    }
    w.end_array();
    w.unsigned_field("count", u64::from(count));
    w.unsigned_field("version", version);
}

/// Enough to guess the header's length; a wrong guess only costs a move.
fn length_guess(event: &Event<'_>) -> usize {
    let people = match event {
        Event::Joined { members, .. } => members.map_or(0, |members| members.list.len()),
        Event::Members { members, .. } => members.list.len(),
        Event::PresenceJoined { users, .. } | Event::PresenceLeft { users, .. } => users.len(),
        Event::Welcome { .. } | Event::Error { .. } | Event::TooOften { .. } | Event::Gap { .. } => 1,
        Event::History { answer, .. } => {
            return 200 + answer.messages.iter().map(|message| message.plain().len()).sum::<usize>();
        }
        Event::Left { .. }
        | Event::Published { .. }
        | Event::Pong { .. }
        | Event::Resumed { .. }
        | Event::Refreshed { .. }
        | Event::Expiring { .. }
        | Event::Removed { .. }
        | Event::Drain { .. } => 0,
    };
    100 + 60 * people
}

/// `members`, `count`, `version`.
const MEMBERS_FIELDS: usize = 3;

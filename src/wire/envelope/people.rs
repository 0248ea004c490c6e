//! What envelopes say of people: who is there, how far they have read.

use super::writer::{Writer, info_of};
use crate::base::{Identity, Offset, Presence, RoomName};

/// One line of an answer to "who is there".
#[derive(Clone, Debug)]
pub struct Member {
    pub identity: Identity,
    /// Connections of this user that sit in the room; none: away.
    pub connections: u32,
}

/// An answer to "who is there".
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// What the room tells.
    pub presence: Presence,
    /// Sorted by user; may be cut short. `None`: nobody is named.
    pub list: Option<&'a [Member]>,
    /// Distinct users in the room; the true number even when the list is cut.
    pub count: u32,
    /// Rises by one with every change that is told.
    pub version: u64,
    /// Who has read how far, the furthest first; may be cut short. `None`: the room does not keep it.
    pub reads: Option<&'a [ReadBy]>,
}

/// Somebody's read position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadBy {
    pub who: Identity,
    pub offset: Offset,
}

impl Members<'_> {
    /// Fields that [`write_members`] writes.
    pub(super) fn fields(&self) -> usize {
        let counts = if self.presence == Presence::Off { 0 } else { 2 };
        1 + usize::from(self.list.is_some()) + counts + usize::from(self.reads.is_some())
    }

    /// Lines, for a guess of the length.
    pub(super) fn lines(&self) -> usize {
        self.list.map_or(0, <[Member]>::len) + self.reads.map_or(0, <[ReadBy]>::len)
    }
}

pub(super) fn write_members(w: &mut Writer<'_>, members: Members<'_>) {
    w.text_field("presence", members.presence.name());
    if let Some(list) = members.list {
        w.key("members");
        w.array(list.len());
        for member in list {
            w.element();
            w.person(member.identity.user(), info_of(&member.identity), 1);
            w.unsigned_field("connections", u64::from(member.connections));
            w.end_map();
        }
        w.end_array();
    }
    if members.presence != Presence::Off {
        w.unsigned_field("count", u64::from(members.count));
        w.unsigned_field("version", members.version);
    }
    if let Some(reads) = members.reads {
        write_reads(w, reads);
    }
}

pub(super) fn write_users(w: &mut Writer<'_>, room: &RoomName, users: &[Identity], count: u32) {
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
}

pub(super) fn write_reads(w: &mut Writer<'_>, reads: &[ReadBy]) {
    w.key("reads");
    w.array(reads.len());
    for read in reads {
        w.element();
        w.map(2);
        w.text_field("user", read.who.user());
        w.unsigned_field("offset", read.offset.0);
        w.end_map();
    }
    w.end_array();
}

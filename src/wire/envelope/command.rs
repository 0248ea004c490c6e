//! Commands: what a client asks for.

use std::borrow::Cow;
use std::fmt;

use super::resume::ResumeRoom;
use crate::base::{Epoch, Offset, Position};
use crate::wire::payload::Data;

/// One command and the number by which its answer is known.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope<'a> {
    /// At most 2^53 − 1.
    pub id: Option<u64>,
    pub command: Command<'a>,
}

/// What is asked. Room names are checked.
#[derive(Clone, PartialEq, Debug)]
pub enum Command<'a> {
    Join {
        room: Cow<'a, str>,
        since: Option<Position>,
        /// The newest n messages; not yet cut to the limit.
        history: Option<u32>,
        presence: bool,
    },
    Leave {
        room: Cow<'a, str>,
    },
    Publish {
        room: Cow<'a, str>,
        data: Data<'a>,
        event: Option<Cow<'a, str>>,
        echo: Option<bool>,
        /// By which it is known when it is sent again; where the last value of each key is kept, which value it is.
        key: Option<Cow<'a, str>>,
    },
    /// A message for one user's inbox.
    Send {
        user: Cow<'a, str>,
        data: Data<'a>,
        event: Option<Cow<'a, str>>,
        echo: Option<bool>,
        key: Option<Cow<'a, str>>,
    },
    /// Always with an `id`.
    Presence {
        room: Cow<'a, str>,
    },
    /// The user begins to type, goes on, or stops.
    Typing {
        room: Cow<'a, str>,
        on: bool,
    },
    /// The user has read up to here.
    Read {
        room: Cow<'a, str>,
        offset: Offset,
    },
    /// How much there is to read in a room. Always with an `id`.
    Unread {
        room: Cow<'a, str>,
    },
    Ping,
    /// Who somebody is, as the first message of a connection that brought no token otherwise.
    Hello {
        token: TokenText<'a>,
        /// The session to go on with.
        session: Option<Cow<'a, str>>,
    },
    /// A new token for the same user.
    Refresh {
        token: TokenText<'a>,
    },
    /// Goes on with a session that lost its connection: all its rooms at once.
    Resume {
        session: Option<Cow<'a, str>>,
        rooms: Vec<ResumeRoom<'a>>,
    },
    /// A piece of what was said before. Always with an `id`.
    History {
        room: Cow<'a, str>,
        from: HistoryFrom,
        /// Not yet cut to the limit.
        messages_max: Option<u32>,
    },
}

/// Which piece of what was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryFrom {
    Newest,
    /// The newest before this offset.
    Before(Offset),
    /// The oldest after this position. Without an epoch: of whatever life the room is in.
    After {
        epoch: Option<Epoch>,
        offset: Offset,
    },
}

/// A token inside a command. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText<'a>(pub Cow<'a, str>);

impl fmt::Debug for TokenText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({} bytes)", self.0.len())
    }
}

impl Command<'_> {
    /// The `type` of each command, in the order of [`Command::index`].
    pub const NAMES: [&'static str; 13] = [
        "join", "leave", "publish", "presence", "typing", "read", "unread", "ping", "hello", "refresh", "history",
        "resume", "send",
    ];

    /// The place in a table of all commands.
    pub fn index(&self) -> usize {
        match self {
            Command::Join { .. } => 0,
            Command::Leave { .. } => 1,
            Command::Publish { .. } => 2,
            Command::Presence { .. } => 3,
            Command::Typing { .. } => 4,
            Command::Read { .. } => 5,
            Command::Unread { .. } => 6,
            Command::Ping => 7,
            Command::Hello { .. } => 8,
            Command::Refresh { .. } => 9,
            Command::History { .. } => 10,
            Command::Resume { .. } => 11,
            Command::Send { .. } => 12,
        }
    }

    /// The `type` of this command.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

//! The other side of the wire: commands out, events in. For the load generator, the simulation and tests.
//!
//! Promises: commands come out as the golden files have them; an event is read into borrowed fields, and a `message`
//! as the server writes it without walking its payload and without allocating.

mod commands;

pub use commands::{CommandOut, ResumeOut, write_command};

use std::borrow::Cow;

use thiserror::Error;

use super::envelope::{Entries, GapWhy, MessageIn, Person, RemovedWhy, Value, read_message, read_person};
use super::payload::{Broken, DEPTH_CEILING};
use super::refusal::Refusal;
use crate::base::{Encoding, Epoch, Offset, Position, Presence};

/// What a client hears. Types and fields it does not know are no error.
#[derive(Clone, PartialEq, Debug)]
pub enum ServerEvent<'a> {
    Welcome(Welcome<'a>),
    Reply(Reply<'a>),
    Error {
        id: Option<u64>,
        refusal: Refusal,
        message: Cow<'a, str>,
        retry_after_ms: Option<u64>,
    },
    Message(MessageIn<'a>),
    PresenceJoined {
        room: Cow<'a, str>,
        users: Vec<Person<'a>>,
        count: u64,
        version: u64,
    },
    PresenceLeft {
        room: Cow<'a, str>,
        users: Vec<Person<'a>>,
        count: u64,
        version: u64,
    },
    PresenceAway {
        room: Cow<'a, str>,
        users: Vec<Person<'a>>,
        count: u64,
        version: u64,
    },
    PresenceBack {
        room: Cow<'a, str>,
        users: Vec<Person<'a>>,
        count: u64,
        version: u64,
    },
    /// Only how many are here now.
    PresenceCounted {
        room: Cow<'a, str>,
        count: u64,
        version: u64,
    },
    /// Something about the people of the room was left out.
    Stale {
        room: Cow<'a, str>,
    },
    /// All who are typing, as far as they are named.
    Typing {
        room: Cow<'a, str>,
        users: Vec<Person<'a>>,
        count: u64,
        ttl_ms: u64,
    },
    Read {
        room: Cow<'a, str>,
        reads: Vec<ReadIn<'a>>,
    },
    Gap {
        room: Cow<'a, str>,
        epoch: Epoch,
        from: Offset,
        to: Offset,
        why: GapWhy,
    },
    /// The token ends so soon.
    Expiring {
        in_ms: u64,
    },
    /// The connection does not sit in this room any more.
    Removed {
        room: Cow<'a, str>,
        why: RemovedWhy,
    },
    Drain {
        reconnect_in_ms: u64,
    },
    /// A `type` of a later version.
    Unknown {
        kind: Cow<'a, str>,
    },
}

/// The first event of every connection.
#[derive(Clone, PartialEq, Debug)]
pub struct Welcome<'a> {
    pub session: Cow<'a, str>,
    pub resumed: bool,
    pub user: Cow<'a, str>,
    pub node: Cow<'a, str>,
    pub heartbeat_ms: u64,
    /// Limits: bytes of a message, rooms of a connection, nesting of a payload.
    pub message_bytes: u64,
    pub rooms: u64,
    pub depth: u64,
}

/// An answer; which fields are there depends on the command.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reply<'a> {
    pub id: u64,
    pub room: Option<Cow<'a, str>>,
    pub epoch: Option<Epoch>,
    pub offset: Option<Offset>,
    pub recovered: Option<bool>,
    pub level: Option<Cow<'a, str>>,
    pub members: Option<Vec<MemberIn<'a>>>,
    pub count: Option<u64>,
    pub version: Option<u64>,
    /// What the room tells of its people.
    pub presence: Option<Presence>,
    pub read: Option<Offset>,
    pub unread: Option<u64>,
    pub reads: Option<Vec<ReadIn<'a>>>,
    pub expires_in_ms: Option<u64>,
    /// A publish whose key was known.
    pub dup: Option<bool>,
    /// Of `history`, each as it came.
    pub messages: Option<Vec<&'a [u8]>>,
    pub resumed: Option<bool>,
}

impl Reply<'_> {
    /// `epoch` and `offset`, when both are there.
    pub fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, offset: self.offset? })
    }
}

/// One line of "who is there".
#[derive(Clone, PartialEq, Debug)]
pub struct MemberIn<'a> {
    pub person: Person<'a>,
    pub connections: u64,
}

/// How far somebody has read.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadIn<'a> {
    pub user: Cow<'a, str>,
    pub offset: Offset,
}

/// What came is no event of throng.v1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReadError {
    #[error("byte {at}: {why}")]
    Broken { at: usize, why: &'static str },
    #[error("`{0}` is missing or not what it should be")]
    Field(&'static str),
}

impl From<Broken> for ReadError {
    fn from(broken: Broken) -> Self {
        Self::Broken { at: broken.at, why: broken.why }
    }
}

/// Reads one message of the server. The `data` of a `message` in the form our server writes is not walked.
pub fn read_event(encoding: Encoding, envelope: &[u8]) -> Result<ServerEvent<'_>, ReadError> {
    if let Some(message) = read_message(encoding, envelope) {
        return Ok(ServerEvent::Message(message));
    }
    let fields = Fields::read(encoding, envelope)?;
    let kind = fields.text("type")?;
    match kind.as_ref() {
        "welcome" => fields.welcome().map(ServerEvent::Welcome),
        "reply" => fields.reply().map(ServerEvent::Reply),
        "error" => Ok(ServerEvent::Error {
            id: fields.optional("id", Value::unsigned)?,
            refusal: Refusal::from_code(&fields.text("code")?).ok_or(ReadError::Field("code"))?,
            message: fields.text("message")?,
            retry_after_ms: fields.optional("retry_after_ms", Value::unsigned)?,
        }),
        "message" => Err(ReadError::Field("message")),
        "joined" => Ok(ServerEvent::PresenceJoined {
            room: fields.text("room")?,
            users: fields.list("users", read_person)?,
            count: fields.unsigned("count")?,
            version: fields.unsigned("version")?,
        }),
        "left" => Ok(ServerEvent::PresenceLeft {
            room: fields.text("room")?,
            users: fields.list("users", read_person)?,
            count: fields.unsigned("count")?,
            version: fields.unsigned("version")?,
        }),
        "away" => Ok(ServerEvent::PresenceAway {
            room: fields.text("room")?,
            users: fields.list("users", read_person)?,
            count: fields.unsigned("count")?,
            version: fields.unsigned("version")?,
        }),
        "back" => Ok(ServerEvent::PresenceBack {
            room: fields.text("room")?,
            users: fields.list("users", read_person)?,
            count: fields.unsigned("count")?,
            version: fields.unsigned("version")?,
        }),
        "counted" => Ok(ServerEvent::PresenceCounted {
            room: fields.text("room")?,
            count: fields.unsigned("count")?,
            version: fields.unsigned("version")?,
        }),
        "stale" => Ok(ServerEvent::Stale { room: fields.text("room")? }),
        "typing" => Ok(ServerEvent::Typing {
            room: fields.text("room")?,
            users: fields.list("users", read_person)?,
            count: fields.unsigned("count")?,
            ttl_ms: fields.unsigned("ttl_ms")?,
        }),
        "read" => Ok(ServerEvent::Read { room: fields.text("room")?, reads: fields.list("reads", read_read)? }),
        "gap" => Ok(ServerEvent::Gap {
            room: fields.text("room")?,
            epoch: fields.epoch()?.ok_or(ReadError::Field("epoch"))?,
            from: Offset(fields.unsigned("from")?),
            to: Offset(fields.unsigned("to")?),
            why: fields.why()?,
        }),
        "expiring" => Ok(ServerEvent::Expiring { in_ms: fields.unsigned("in_ms")? }),
        "removed" => {
            let (room, why) = (fields.text("room")?, fields.text("why")?);
            let why = RemovedWhy::ALL.into_iter().find(|known| known.name() == why);
            Ok(ServerEvent::Removed { room, why: why.ok_or(ReadError::Field("why"))? })
        }
        "drain" => Ok(ServerEvent::Drain { reconnect_in_ms: fields.unsigned("reconnect_in_ms")? }),
        _ => Ok(ServerEvent::Unknown { kind }),
    }
}

/// The fields of one event; few, so that a search through them is the quickest table.
struct Fields<'a> {
    entries: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Fields<'a> {
    fn read(encoding: Encoding, envelope: &'a [u8]) -> Result<Self, ReadError> {
        let mut entries = Entries::of_message(encoding, envelope, DEPTH_CEILING)?;
        let mut fields = Self { entries: Vec::new() };
        while let Some(entry) = entries.next_entry()? {
            fields.entries.push(entry);
        }
        entries.finish()?;
        Ok(fields)
    }

    fn find(&self, key: &str) -> Option<&Value<'a>> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        match self.find(key) {
            Some(value) => read(value).map(Some).ok_or(ReadError::Field(key)),
            None => Ok(None),
        }
    }

    fn text(&self, key: &'static str) -> Result<Cow<'a, str>, ReadError> {
        self.optional(key, Value::text)?.ok_or(ReadError::Field(key))
    }

    fn unsigned(&self, key: &'static str) -> Result<u64, ReadError> {
        self.optional(key, Value::unsigned)?.ok_or(ReadError::Field(key))
    }

    fn epoch(&self) -> Result<Option<Epoch>, ReadError> {
        self.optional("epoch", |value| Epoch::parse(&value.text()?))
    }

    fn why(&self) -> Result<GapWhy, ReadError> {
        let why = self.text("why")?;
        GapWhy::ALL.into_iter().find(|known| known.name() == why).ok_or(ReadError::Field("why"))
    }

    fn list<T>(&self, key: &'static str, read: impl Fn(&Value<'a>) -> Option<T>) -> Result<Vec<T>, ReadError> {
        let mut elements = self.optional(key, |value| value.array(DEPTH_CEILING))?.ok_or(ReadError::Field(key))?;
        let mut list = Vec::new();
        while let Some(value) = elements.next_element()? {
            list.push(read(&value).ok_or(ReadError::Field(key))?);
        }
        Ok(list)
    }

    fn welcome(&self) -> Result<Welcome<'a>, ReadError> {
        let mut limits =
            self.optional("limits", |value| value.map(DEPTH_CEILING))?.ok_or(ReadError::Field("limits"))?;
        let (mut message_bytes, mut rooms, mut depth) = (None, None, None);
        while let Some((key, value)) = limits.next_entry()? {
            match key.as_ref() {
                "message_bytes" => message_bytes = value.unsigned(),
                "rooms" => rooms = value.unsigned(),
                "depth" => depth = value.unsigned(),
                _ => {}
            }
        }
        Ok(Welcome {
            session: self.text("session")?,
            resumed: self.optional("resumed", Value::boolean)?.ok_or(ReadError::Field("resumed"))?,
            user: self.text("user")?,
            node: self.text("node")?,
            heartbeat_ms: self.unsigned("heartbeat_ms")?,
            message_bytes: message_bytes.ok_or(ReadError::Field("limits"))?,
            rooms: rooms.ok_or(ReadError::Field("limits"))?,
            depth: depth.ok_or(ReadError::Field("limits"))?,
        })
    }

    fn reply(&self) -> Result<Reply<'a>, ReadError> {
        let members = self.find("members").map(|_| self.list("members", read_member)).transpose()?;
        let reads = self.find("reads").map(|_| self.list("reads", read_read)).transpose()?;
        let messages = self.find("messages").map(|_| self.list("messages", |value| Some(value.raw()))).transpose()?;
        Ok(Reply {
            id: self.unsigned("id")?,
            room: self.optional("room", Value::text)?,
            epoch: self.epoch()?,
            offset: self.optional("offset", Value::unsigned)?.map(Offset),
            recovered: self.optional("recovered", Value::boolean)?,
            level: self.optional("level", Value::text)?,
            members,
            count: self.optional("count", Value::unsigned)?,
            version: self.optional("version", Value::unsigned)?,
            presence: self.optional("presence", |value| Presence::parse(&value.text()?))?,
            read: self.optional("read", Value::unsigned)?.map(Offset),
            unread: self.optional("unread", Value::unsigned)?,
            reads,
            expires_in_ms: self.optional("expires_in_ms", Value::unsigned)?,
            dup: self.optional("dup", Value::boolean)?,
            messages,
            resumed: self.optional("resumed", Value::boolean)?,
        })
    }
}

fn read_member<'a>(value: &Value<'a>) -> Option<MemberIn<'a>> {
    let person = read_person(value)?;
    let mut connections = None;
    let mut entries = value.map(DEPTH_CEILING)?;
    while let Some((key, value)) = entries.next_entry().ok()? {
        if key == "connections" {
            connections = value.unsigned();
        }
    }
    Some(MemberIn { person, connections: connections? })
}

fn read_read<'a>(value: &Value<'a>) -> Option<ReadIn<'a>> {
    let (mut user, mut offset) = (None, None);
    let mut entries = value.map(DEPTH_CEILING)?;
    while let Some((key, value)) = entries.next_entry().ok()? {
        match key.as_ref() {
            "user" => user = value.text(),
            "offset" => offset = value.unsigned(),
            _ => {}
        }
    }
    Some(ReadIn { user: user?, offset: Offset(offset?) })
}

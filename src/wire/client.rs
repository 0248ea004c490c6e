//! The other side of the wire: commands out, events in. For the load generator, the simulation and tests.
//!
//! Promises: commands come out as the golden files have them; an event is read into borrowed fields, and a `message`
//! as the server writes it without walking its payload and without allocating.

use std::borrow::Cow;

use thiserror::Error;

use super::envelope::{
    Entries, GapWhy, HistoryFrom, MessageIn, Person, RemovedWhy, Value, Writer, read_message, read_person,
};
use super::payload::{Broken, DEPTH_CEILING, Data};
use super::refusal::Refusal;
use crate::base::{Encoding, Epoch, Offset, Position};

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CommandOut<'a> {
    Join {
        room: &'a str,
        since: Option<Position>,
        history: Option<u32>,
        presence: bool,
    },
    Leave {
        room: &'a str,
    },
    Publish {
        room: &'a str,
        data: Data<'a>,
        event: Option<&'a str>,
        echo: Option<bool>,
        key: Option<&'a str>,
    },
    Send {
        user: &'a str,
        data: Data<'a>,
        event: Option<&'a str>,
        echo: Option<bool>,
        key: Option<&'a str>,
    },
    Presence {
        room: &'a str,
    },
    Ping,
    /// The first message of a connection that brought no token otherwise.
    Hello {
        token: &'a str,
        session: Option<&'a str>,
    },
    Refresh {
        token: &'a str,
    },
    History {
        room: &'a str,
        from: HistoryFrom,
        messages_max: Option<u32>,
    },
    Resume {
        session: Option<&'a str>,
        rooms: &'a [ResumeOut<'a>],
    },
}

/// A room of a `resume`, answered like a join if it has an `id`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ResumeOut<'a> {
    pub room: &'a str,
    pub id: Option<u64>,
    pub since: Option<Position>,
    pub history: Option<u32>,
    pub presence: bool,
}

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

/// Appends one envelope, without a WebSocket frame: the caller frames and masks.
pub fn write_command(out: &mut Vec<u8>, encoding: Encoding, id: Option<u64>, command: &CommandOut<'_>) {
    let mut writer = Writer::new(out, encoding);
    let w = &mut writer;
    let (kind, more) = match *command {
        CommandOut::Join { since, history, presence, .. } => {
            ("join", 1 + usize::from(since.is_some()) + usize::from(history.is_some()) + usize::from(presence))
        }
        CommandOut::Leave { .. } => ("leave", 1),
        CommandOut::Publish { event, echo, key, .. } | CommandOut::Send { event, echo, key, .. } => {
            let kind = if matches!(command, CommandOut::Send { .. }) { "send" } else { "publish" };
            (kind, 2 + [event.is_some(), echo.is_some(), key.is_some()].into_iter().filter(|there| *there).count())
        }
        CommandOut::History { from, messages_max, .. } => {
            ("history", 1 + usize::from(from != HistoryFrom::Newest) + usize::from(messages_max.is_some()))
        }
        CommandOut::Presence { .. } => ("presence", 1),
        CommandOut::Ping => ("ping", 0),
        CommandOut::Refresh { .. } => ("refresh", 1),
        CommandOut::Hello { session, .. } => ("hello", 1 + usize::from(session.is_some())),
        CommandOut::Resume { session, .. } => ("resume", 1 + usize::from(session.is_some())),
    };
    w.map(1 + usize::from(id.is_some()) + more);
    w.text_field("type", kind);
    if let Some(id) = id {
        w.unsigned_field("id", id);
    }
    match *command {
        CommandOut::Join { room, since, history, presence } => {
            w.text_field("room", room);
            if let Some(since) = since {
                write_since(w, Some(since.epoch), since.offset);
            }
            if let Some(history) = history {
                w.unsigned_field("history", u64::from(history));
            }
            if presence {
                w.boolean_field("presence", true);
            }
        }
        CommandOut::History { room, from, messages_max } => {
            w.text_field("room", room);
            match from {
                HistoryFrom::Newest => {}
                HistoryFrom::Before(offset) => w.unsigned_field("before", offset.0),
                HistoryFrom::After { epoch, offset } => write_since(w, epoch, offset),
            }
            if let Some(messages_max) = messages_max {
                w.unsigned_field("limit", u64::from(messages_max));
            }
        }
        CommandOut::Publish { room: to, data, event, echo, key }
        | CommandOut::Send { user: to, data, event, echo, key } => {
            w.text_field(if kind == "send" { "user" } else { "room" }, to);
            if let Some(event) = event {
                w.text_field("event", event);
            }
            if let Some(key) = key {
                w.text_field("key", key);
            }
            if let Some(echo) = echo {
                w.boolean_field("echo", echo);
            }
            w.data_field("data", data);
        }
        CommandOut::Leave { room } | CommandOut::Presence { room } => w.text_field("room", room),
        CommandOut::Hello { token, session } => {
            w.text_field("token", token);
            if let Some(session) = session {
                w.text_field("session", session);
            }
        }
        CommandOut::Resume { session, rooms } => {
            if let Some(session) = session {
                w.text_field("session", session);
            }
            w.key("rooms");
            w.array(rooms.len());
            for room in rooms {
                w.element();
                write_resume_room(w, room);
            }
            w.end_array();
        }
        CommandOut::Ping => {}
        CommandOut::Refresh { token } => w.text_field("token", token),
    }
    w.end_map();
}

fn write_since(w: &mut Writer<'_>, epoch: Option<Epoch>, offset: Offset) {
    w.key("since");
    w.map(1 + usize::from(epoch.is_some()));
    if let Some(epoch) = epoch {
        w.text_field("epoch", &epoch.to_string());
    }
    w.unsigned_field("offset", offset.0);
    w.end_map();
}

fn write_resume_room(w: &mut Writer<'_>, entry: &ResumeOut<'_>) {
    let ResumeOut { room, id, since, history, presence } = *entry;
    let position = 2 * usize::from(since.is_some());
    w.map(1 + usize::from(id.is_some()) + position + usize::from(history.is_some()) + usize::from(presence));
    w.text_field("room", room);
    if let Some(id) = id {
        w.unsigned_field("id", id);
    }
    if let Some(Position { epoch, offset }) = since {
        w.text_field("epoch", &epoch.to_string());
        w.unsigned_field("offset", offset.0);
    }
    if let Some(history) = history {
        w.unsigned_field("history", u64::from(history));
    }
    if presence {
        w.boolean_field("presence", true);
    }
    w.end_map();
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
        let members = match self.find("members") {
            Some(_) => Some(self.list("members", read_member)?),
            None => None,
        };
        let messages = match self.find("messages") {
            Some(_) => Some(self.list("messages", |value| Some(value.raw()))?),
            None => None,
        };
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

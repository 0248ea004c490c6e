//! Bytes of a client become a command.
//!
//! Promises: foreign bytes become a [`Command`] or a refusal with the sentence that says where it broke; never a panic.
//! A plain publish allocates nothing. The `id` is found even when another field is bad, so that the error carries it.

use std::borrow::Cow;

use super::command::{Command, Envelope, HistoryFrom, TokenText};
use super::entries::{Entries, Flaw, Value};
use super::resume::read_rooms;
use crate::base::{Encoding, Epoch, Limits, Offset, Position, RoomName};
use crate::wire::payload::{Broken, Data};
use crate::wire::refusal::Refusal;

/// A command that was not understood or not allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The command's `id`, when it could be read.
    pub id: Option<u64>,
    pub refusal: Refusal,
    /// A sentence: where it broke.
    pub detail: Option<String>,
}

/// Whether this may be an `event`: 1 to 64 bytes of `A-Z a-z 0-9 : _ . -`.
pub fn is_event_name(text: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.' | b'-');
    (1..=EVENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(allows)
}

/// Whether this may be a `key`: written like the name of a room.
pub fn is_key(text: &str) -> bool {
    RoomName::check(text).is_ok()
}

/// Reads one message. JSON is checked to be UTF-8 here too, so that nobody else's mistake can let other text through.
pub fn decode<'a>(encoding: Encoding, message: &'a [u8], limits: &Limits) -> Result<Envelope<'a>, Rejected> {
    let mut fields = Fields::default();
    let read = fields.read(encoding, message, limits.depth_max);
    let id = fields.id();
    let known_id = id.as_ref().ok().copied().flatten();
    let reject = |no: No| Rejected { id: known_id, refusal: no.refusal, detail: no.detail };
    read.map_err(|broken| reject(no_envelope(broken)))?;
    id.map_err(reject)?;
    let command = fields.command(known_id, limits).map_err(reject)?;
    Ok(Envelope { id: known_id, command })
}

/// A refusal on its way up, before it is known which `id` it belongs to.
pub(super) struct No {
    refusal: Refusal,
    detail: Option<String>,
}

impl No {
    pub(super) fn malformed(sentence: impl Into<String>) -> Self {
        Self { refusal: Refusal::Malformed, detail: Some(sentence.into()) }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None }
    }
}

/// The keys that mean something in some command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Id,
    Room,
    Since,
    History,
    Presence,
    Data,
    Event,
    Echo,
    Key,
    Token,
    On,
    Offset,
    Before,
    Limit,
    Session,
    Rooms,
    User,
}

impl Field {
    const COUNT: usize = 18;

    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "type" => Self::Type,
            "id" => Self::Id,
            "room" => Self::Room,
            "since" => Self::Since,
            "history" => Self::History,
            "presence" => Self::Presence,
            "data" => Self::Data,
            "event" => Self::Event,
            "echo" => Self::Echo,
            "key" => Self::Key,
            "token" => Self::Token,
            "on" => Self::On,
            "offset" => Self::Offset,
            "before" => Self::Before,
            "limit" => Self::Limit,
            "session" => Self::Session,
            "rooms" => Self::Rooms,
            "user" => Self::User,
            _ => return None,
        })
    }
}

/// What stood in the message, not yet looked at.
#[derive(Default)]
struct Fields<'a> {
    known: [Option<Value<'a>>; Field::COUNT],
    /// Only to find a key that is given twice.
    unknown: Vec<Cow<'a, str>>,
    /// The first value nested too deep, whichever key it has.
    too_deep: Option<usize>,
}

impl<'a> Fields<'a> {
    /// Reads the whole message; what was read before it broke stays.
    fn read(&mut self, encoding: Encoding, message: &'a [u8], depth_max: usize) -> Result<(), Broken> {
        if encoding == Encoding::Json
            && let Err(error) = std::str::from_utf8(message)
        {
            return Err(Broken { at: error.valid_up_to(), why: "this is not UTF-8" });
        }
        let mut entries = Entries::of_message(encoding, message, depth_max)?;
        while let Some((key, value)) = entries.next_entry()? {
            if let (Some(Flaw::TooDeep { at }), None) = (value.flaw(), self.too_deep) {
                self.too_deep = Some(at);
            }
            let twice = Broken { at: value.at(), why: "a key is given twice" };
            if let Some(field) = Field::of(&key) {
                if self.known[field as usize].replace(value).is_some() {
                    return Err(twice);
                }
            } else if self.unknown.contains(&key) {
                return Err(twice);
            } else if self.unknown.len() == UNKNOWN_KEYS_MAX {
                return Err(Broken { at: value.at(), why: "more unknown keys than anybody needs" });
            } else {
                self.unknown.push(key);
            }
        }
        entries.finish()
    }

    /// A field that is there; `null` is as if it were not.
    fn optional(&self, field: Field) -> Option<Value<'a>> {
        self.known[field as usize].filter(|value| !value.is_null())
    }

    fn id(&self) -> Result<Option<u64>, No> {
        let Some(value) = self.optional(Field::Id) else {
            return Ok(None);
        };
        match value.unsigned().filter(|id| *id <= ID_MAX) {
            Some(id) => Ok(Some(id)),
            None => Err(No::malformed(NO_ID)),
        }
    }

    fn command(&self, id: Option<u64>, limits: &Limits) -> Result<Command<'a>, No> {
        if let Some(at) = self.too_deep {
            let detail = format!("byte {at}: nested deeper than {}", limits.depth_max);
            return Err(No { refusal: Refusal::TooDeep, detail: Some(detail) });
        }
        let Some(kind) = self.optional(Field::Type) else {
            return Err(No::malformed("`type` is missing"));
        };
        let Some(kind) = kind.text() else {
            return Err(No::malformed("`type` is not a string"));
        };
        match kind.as_ref() {
            "join" => Ok(Command::Join {
                room: self.room()?,
                since: self.since(limits.depth_max)?,
                history: self.count(Field::History, "`history` is not an integer from 0 on")?,
                presence: self.boolean(Field::Presence, "`presence` is not a boolean")?.unwrap_or(false),
            }),
            "leave" => Ok(Command::Leave { room: self.room()? }),
            "publish" => self.publish(),
            "presence" if id.is_none() => Err(No::malformed("`presence` asks for an answer and needs an `id`")),
            "presence" => Ok(Command::Presence { room: self.room()? }),
            "typing" => Ok(Command::Typing { room: self.room()?, on: self.on()? }),
            "read" => Ok(Command::Read { room: self.room()?, offset: self.offset()? }),
            "unread" if id.is_none() => Err(No::malformed("`unread` asks for an answer and needs an `id`")),
            "unread" => Ok(Command::Unread { room: self.room()? }),
            "ping" => Ok(Command::Ping),
            "send" => self.send(),
            "hello" => Ok(Command::Hello { token: self.token()?, session: self.session()? }),
            "refresh" => Ok(Command::Refresh { token: self.token()? }),
            "history" if id.is_none() => Err(No::malformed("`history` asks for an answer and needs an `id`")),
            "history" => Ok(Command::History {
                room: self.room()?,
                from: self.history_from(limits.depth_max)?,
                messages_max: self.count(Field::Limit, "`limit` is not an integer from 0 on")?,
            }),
            "resume" => Ok(Command::Resume {
                session: self.session()?,
                rooms: read_rooms(self.optional(Field::Rooms), limits)?,
            }),
            _ => Err(Refusal::UnknownCommand.into()),
        }
    }

    fn on(&self) -> Result<bool, No> {
        match self.boolean(Field::On, "`on` is not a boolean")? {
            Some(on) => Ok(on),
            None => Err(No::malformed("`on` is missing")),
        }
    }

    fn offset(&self) -> Result<Offset, No> {
        match self.optional(Field::Offset).map(|value| value.unsigned()) {
            Some(Some(offset)) => Ok(Offset(offset)),
            Some(None) => Err(No::malformed("`offset` is not an integer from 0 on")),
            None => Err(No::malformed("`offset` is missing")),
        }
    }

    fn token(&self) -> Result<TokenText<'a>, No> {
        match self.optional(Field::Token).map(|value| value.text()) {
            Some(Some(token)) => Ok(TokenText(token)),
            Some(None) => Err(No::malformed("`token` is not a string")),
            None => Err(No::malformed("`token` is missing")),
        }
    }

    fn session(&self) -> Result<Option<Cow<'a, str>>, No> {
        match self.optional(Field::Session).map(|value| value.text()) {
            Some(None) => Err(No::malformed("`session` is not a string")),
            Some(session) => Ok(session),
            None => Ok(None),
        }
    }

    fn send(&self) -> Result<Command<'a>, No> {
        let Some(user) = self.optional(Field::User) else {
            return Err(No::malformed("`user` is missing"));
        };
        let Some(user) = user.text() else {
            return Err(No::malformed("`user` is not a string"));
        };
        let Words { data, event, echo, key } = self.words()?;
        Ok(Command::Send { user, data, event, echo, key })
    }

    fn publish(&self) -> Result<Command<'a>, No> {
        let room = self.room()?;
        let Words { data, event, echo, key } = self.words()?;
        Ok(Command::Publish { room, data, event, echo, key })
    }

    /// What is said, whoever hears it.
    fn words(&self) -> Result<Words<'a>, No> {
        let event = self.event()?;
        let key = self.key()?;
        let echo = self.boolean(Field::Echo, "`echo` is not a boolean")?;
        let Some(value) = self.known[Field::Data as usize] else {
            return Err(No::malformed("`data` is missing"));
        };
        let data = value.data().map_err(|flaw| match flaw {
            Flaw::TooDeep { .. } => No::from(Refusal::TooDeep),
            Flaw::Unportable(Broken { at, why }) => {
                No { refusal: Refusal::Unportable, detail: Some(format!("byte {at}: {why}")) }
            }
        })?;
        Ok(Words { data, event, echo, key })
    }

    fn room(&self) -> Result<Cow<'a, str>, No> {
        room_of(self.optional(Field::Room))
    }

    fn event(&self) -> Result<Option<Cow<'a, str>>, No> {
        let Some(value) = self.optional(Field::Event) else {
            return Ok(None);
        };
        match value.text().filter(|event| is_event_name(event)) {
            Some(event) => Ok(Some(event)),
            None => Err(No::malformed("`event` is not a string of 1 to 64 bytes of A-Z a-z 0-9 : _ . -")),
        }
    }

    fn key(&self) -> Result<Option<Cow<'a, str>>, No> {
        let Some(value) = self.optional(Field::Key) else {
            return Ok(None);
        };
        match value.text().filter(|key| is_key(key)) {
            Some(key) => Ok(Some(key)),
            None => Err(No::malformed("`key` is not a string of 1 to 128 bytes of A-Z a-z 0-9 : _ . - @ / +")),
        }
    }

    fn boolean(&self, field: Field, otherwise: &'static str) -> Result<Option<bool>, No> {
        let Some(value) = self.optional(field) else {
            return Ok(None);
        };
        match value.boolean() {
            Some(value) => Ok(Some(value)),
            None => Err(No::malformed(otherwise)),
        }
    }

    /// More than 32 bits can hold is as good as all of them.
    fn count(&self, field: Field, otherwise: &'static str) -> Result<Option<u32>, No> {
        let Some(value) = self.optional(field) else {
            return Ok(None);
        };
        match value.unsigned() {
            Some(count) => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
            None => Err(No::malformed(otherwise)),
        }
    }

    fn history_from(&self, depth_max: usize) -> Result<HistoryFrom, No> {
        match (self.optional(Field::Before), self.since(depth_max)?) {
            (None, None) => Ok(HistoryFrom::Newest),
            (Some(before), None) => match before.unsigned() {
                Some(offset) => Ok(HistoryFrom::Before(Offset(offset))),
                None => Err(No::malformed("`before` is not an integer from 0 on")),
            },
            (None, Some(Position { epoch, offset })) => Ok(HistoryFrom::After { epoch: Some(epoch), offset }),
            (Some(_), Some(_)) => Err(No::malformed("`before` and `since` exclude each other")),
        }
    }

    fn since(&self, depth_max: usize) -> Result<Option<Position>, No> {
        let Some(value) = self.optional(Field::Since) else {
            return Ok(None);
        };
        match position(&value, depth_max).map_err(no_envelope)? {
            Some(position) => Ok(Some(position)),
            None => Err(No::malformed("`since` is not {epoch: 16 lower-case hex digits, offset: integer}")),
        }
    }
}

/// What a publish and a direct message have in common.
struct Words<'a> {
    data: Data<'a>,
    event: Option<Cow<'a, str>>,
    echo: Option<bool>,
    key: Option<Cow<'a, str>>,
}

pub(super) fn room_of<'a>(value: Option<Value<'a>>) -> Result<Cow<'a, str>, No> {
    let Some(value) = value else {
        return Err(No::malformed("`room` is missing"));
    };
    let Some(room) = value.text() else {
        return Err(No::malformed("`room` is not a string"));
    };
    match RoomName::check(&room) {
        Ok(()) => Ok(room),
        Err(_) => Err(Refusal::BadRoom.into()),
    }
}

/// `{epoch, offset}`; `None` when it is something else.
fn position(value: &Value<'_>, depth_max: usize) -> Result<Option<Position>, Broken> {
    let Some(mut entries) = value.map(depth_max) else {
        return Ok(None);
    };
    let (mut epoch, mut offset) = (None, None);
    while let Some((key, value)) = entries.next_entry()? {
        let seen = match key.as_ref() {
            "epoch" => epoch.replace(value),
            "offset" => offset.replace(value),
            _ => None,
        };
        if seen.is_some() {
            return Err(Broken { at: value.at(), why: "a key is given twice" });
        }
    }
    let epoch = epoch.and_then(|value| value.text()).and_then(|text| Epoch::parse(&text));
    let offset = offset.and_then(|value| value.unsigned());
    Ok(epoch.zip(offset).map(|(epoch, offset)| Position { epoch, offset: Offset(offset) }))
}

pub(super) fn no_envelope(broken: Broken) -> No {
    No::malformed(format!("byte {}: {}", broken.at, broken.why))
}

/// The largest integer every client holds exactly.
pub(super) const ID_MAX: u64 = (1 << 53) - 1;
pub(super) const NO_ID: &str = "`id` is not an integer from 0 to 2^53-1";
const EVENT_BYTES_MAX: usize = 64;
/// Each is compared with all before it, so there cannot be many.
const UNKNOWN_KEYS_MAX: usize = 32;

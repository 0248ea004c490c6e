//! The one event that goes to everybody: `message`, written once per room and encoding, read by every client.
//!
//! Promises: `data` is the last field, so that where it begins is enough to find it; writing copies straight into
//! `out`; reading what this module wrote allocates nothing unless a name is escaped.

use std::borrow::Cow;

use super::entries::{Entries, Value};
use super::writer::{Writer, content, frame, info_of};
use crate::base::{Encoding, Identity, Offset, RoomName};
use crate::wire::payload::msgpack::{Token, token};
use crate::wire::payload::{DEPTH_CEILING, Data, Payload, text, walk};

/// A message about to be written.
#[derive(Clone, Copy, Debug)]
pub struct MessageOut<'a> {
    pub room: &'a RoomName,
    /// 0: it has none, because its room keeps no order of messages.
    pub offset: Offset,
    /// When it was accepted, milliseconds since 1970.
    pub at_unix_ms: u64,
    pub from: &'a Identity,
    /// 1–64 bytes of `[A-Za-z0-9:_.-]`, as the decoder has checked.
    pub event: Option<&'a str>,
    /// Which value of the room this is; only where the last value of each is kept.
    pub key: Option<&'a str>,
    pub data: &'a Payload,
}

/// Somebody, as a client reads of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Person<'a> {
    pub user: Cow<'a, str>,
    pub info: Option<Data<'a>>,
}

/// A message as a client reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct MessageIn<'a> {
    pub room: Cow<'a, str>,
    /// 0: it has none.
    pub offset: Offset,
    /// When it was accepted, milliseconds since 1970.
    pub at_unix_ms: u64,
    pub from: Person<'a>,
    pub event: Option<Cow<'a, str>>,
    pub key: Option<Cow<'a, str>>,
    /// As the server sent it. Read by the short way it is not walked again: the server's word is taken.
    pub data: Data<'a>,
}

/// Appends one complete frame. Returns where `data` begins, counted from the frame's start: it reaches to the frame's
/// end in MessagePack, to one byte (`}`) before it in JSON.
pub fn write_message(out: &mut Vec<u8>, encoding: Encoding, message: &MessageOut<'_>) -> usize {
    let parts = Parts {
        room: message.room.as_str(),
        offset: message.offset,
        at_unix_ms: message.at_unix_ms,
        user: message.from.user(),
        info: info_of(message.from),
        event: message.event,
        key: message.key,
        data: message.data.as_data(),
    };
    write_parts(out, encoding, &parts)
}

/// Appends the frame that [`write_message`] would have written in the other encoding than `from`. `frame` is one
/// complete frame of [`write_message`], `data_at` what that returned. Returns the same for the new frame.
pub fn transcode_message(frame: &[u8], data_at: usize, from: Encoding, out: &mut Vec<u8>) -> usize {
    let message = read_message(from, content(frame)).expect("a frame in the log was written by write_message");
    debug_assert_eq!(frame.len() - data_at - usize::from(from == Encoding::Json), message.data.raw().len());
    let parts = Parts {
        room: &message.room,
        offset: message.offset,
        at_unix_ms: message.at_unix_ms,
        user: &message.from.user,
        info: message.from.info,
        event: message.event.as_deref(),
        key: message.key.as_deref(),
        data: message.data,
    };
    let to = match from {
        Encoding::MessagePack => Encoding::Json,
        Encoding::Json => Encoding::MessagePack,
    };
    write_parts(out, to, &parts)
}

/// Reads a `message` envelope: the short way when it looks as [`write_message`] writes it, else field by field.
pub(crate) fn read_message(encoding: Encoding, envelope: &[u8]) -> Option<MessageIn<'_>> {
    let short = match encoding {
        Encoding::MessagePack => read_msgpack(envelope),
        Encoding::Json => read_json(envelope),
    };
    short.or_else(|| read_fields(encoding, envelope))
}

/// Reads `{user, info?}`.
pub(crate) fn read_person<'a>(value: &Value<'a>) -> Option<Person<'a>> {
    let (mut user, mut info) = (None, None);
    let mut entries = value.map(DEPTH_CEILING)?;
    while let Some((key, value)) = entries.next_entry().ok()? {
        match key.as_ref() {
            "user" => user = value.text(),
            "info" => info = Some(value.data().ok()?),
            _ => {}
        }
    }
    Some(Person { user: user?, info })
}

struct Parts<'a> {
    room: &'a str,
    offset: Offset,
    at_unix_ms: u64,
    user: &'a str,
    info: Option<Data<'a>>,
    event: Option<&'a str>,
    key: Option<&'a str>,
    data: Data<'a>,
}

fn write_parts(out: &mut Vec<u8>, encoding: Encoding, parts: &Parts<'_>) -> usize {
    let names = parts.room.len() + parts.user.len() + parts.event.map_or(0, str::len) + parts.key.map_or(0, str::len);
    let guess = ENVELOPE_GUESS + names + parts.info.map_or(0, |info| info.raw().len()) + parts.data.raw().len();
    let (header, head) = frame(out, encoding, guess, |out| {
        let begin = out.len();
        write_head(out, encoding, parts);
        let head = out.len() - begin;
        parts.data.write_as(encoding, out);
        if encoding == Encoding::Json {
            out.push(b'}');
        }
        head
    });
    header + head
}

/// Everything up to `data`'s first byte.
fn write_head(out: &mut Vec<u8>, encoding: Encoding, parts: &Parts<'_>) {
    let mut writer = Writer::new(out, encoding);
    match encoding {
        Encoding::MessagePack => {
            let more = [parts.offset > Offset(0), parts.event.is_some(), parts.key.is_some()];
            writer.map(5 + more.into_iter().filter(|there| *there).count());
            writer.out.extend_from_slice(MSGPACK_TYPE_ROOM);
        }
        Encoding::Json => writer.out.extend_from_slice(JSON_TYPE_ROOM),
    }
    writer.text(parts.room);
    if parts.offset > Offset(0) {
        writer.unsigned_field("offset", parts.offset.0);
    }
    writer.unsigned_field("at", parts.at_unix_ms);
    writer.key("from");
    writer.person(parts.user, parts.info, 0);
    writer.end_map();
    if let Some(event) = parts.event {
        writer.text_field("event", event);
    }
    if let Some(key) = parts.key {
        writer.text_field("key", key);
    }
    writer.key("data");
}

/// The short way: exactly the order and the forms of `write_head`.
fn read_msgpack(envelope: &[u8]) -> Option<MessageIn<'_>> {
    let with_event = match envelope.first()? {
        0x86 => false,
        0x87 => true,
        _ => return None,
    };
    let mut read = Short { rest: &envelope[1..] };
    read.literal(MSGPACK_TYPE_ROOM)?;
    let room = read.packed_text()?;
    read.literal(b"\xa6offset")?;
    let offset = read.packed_unsigned()?;
    read.literal(b"\xa2at")?;
    let at_unix_ms = read.packed_unsigned()?;
    read.literal(b"\xa4from")?;
    let with_info = match read.literal(b"\x81") {
        Some(()) => false,
        None => read.literal(b"\x82").map(|()| true)?,
    };
    read.literal(b"\xa4user")?;
    let user = Cow::Borrowed(read.packed_text()?);
    let info = match with_info {
        true => {
            read.literal(b"\xa4info")?;
            Some(read.value(Encoding::MessagePack)?)
        }
        false => None,
    };
    let event = match with_event {
        true => {
            read.literal(b"\xa5event")?;
            Some(Cow::Borrowed(read.packed_text()?))
        }
        false => None,
    };
    read.literal(b"\xa4data")?;
    Some(MessageIn {
        room: Cow::Borrowed(room),
        offset: Offset(offset),
        at_unix_ms,
        from: Person { user, info },
        event,
        key: None,
        data: Data::of_proved(Encoding::MessagePack, read.rest, false),
    })
}

/// The short way: exactly the order and the forms of `write_head`, nothing escaped.
fn read_json(envelope: &[u8]) -> Option<MessageIn<'_>> {
    let mut read = Short { rest: envelope.strip_suffix(b"}")? };
    read.literal(JSON_TYPE_ROOM)?;
    let room = read.quoted()?;
    read.literal(b",\"offset\":")?;
    let offset = read.decimal()?;
    read.literal(b",\"at\":")?;
    let at_unix_ms = read.decimal()?;
    read.literal(b",\"from\":{\"user\":")?;
    let user = Cow::Borrowed(read.quoted()?);
    let info = match read.literal(b",\"info\":") {
        Some(()) => Some(read.value(Encoding::Json)?),
        None => None,
    };
    read.literal(b"}")?;
    let event = match read.literal(b",\"event\":") {
        Some(()) => Some(Cow::Borrowed(read.quoted()?)),
        None => None,
    };
    read.literal(b",\"data\":")?;
    Some(MessageIn {
        room: Cow::Borrowed(room),
        offset: Offset(offset),
        at_unix_ms,
        from: Person { user, info },
        event,
        key: None,
        data: Data::of_proved(Encoding::Json, read.rest, false),
    })
}

/// The long way: any order, any form.
fn read_fields(encoding: Encoding, envelope: &[u8]) -> Option<MessageIn<'_>> {
    let (mut room, mut offset, mut at, mut from, mut event, mut data) = (None, Offset(0), None, None, None, None);
    let (mut kind, mut key) = (None, None);
    let mut entries = Entries::of_message(encoding, envelope, DEPTH_CEILING).ok()?;
    while let Some((name, value)) = entries.next_entry().ok()? {
        match name.as_ref() {
            "type" => kind = value.text(),
            "room" => room = value.text(),
            "offset" => offset = Offset(value.unsigned()?),
            "at" => at = value.unsigned(),
            "from" => from = read_person(&value),
            "event" => event = Some(value.text()?),
            "key" => key = Some(value.text()?),
            "data" => data = Some(value.data().ok()?),
            _ => {}
        }
    }
    entries.finish().ok()?;
    if kind? != "message" {
        return None;
    }
    Some(MessageIn { room: room?, offset, at_unix_ms: at?, from: from?, event, key, data: data? })
}

/// What is left of an envelope that is read in its known order.
struct Short<'a> {
    rest: &'a [u8],
}

impl<'a> Short<'a> {
    fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(bytes)?;
        Some(())
    }

    fn packed_text(&mut self) -> Option<&'a str> {
        let (Token::Str(raw), behind) = token(self.rest, 0).ok()? else {
            return None;
        };
        self.rest = &self.rest[behind..];
        std::str::from_utf8(raw).ok()
    }

    fn packed_unsigned(&mut self) -> Option<u64> {
        let (Token::Unsigned(value), behind) = token(self.rest, 0).ok()? else {
            return None;
        };
        self.rest = &self.rest[behind..];
        Some(value)
    }

    /// A string of JSON without escapes.
    fn quoted(&mut self) -> Option<&'a str> {
        self.literal(b"\"")?;
        let end = text::plain_end(self.rest, 0);
        let raw = &self.rest[..end];
        self.rest = self.rest[end..].strip_prefix(b"\"")?;
        std::str::from_utf8(raw).ok()
    }

    fn decimal(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        let mut digits = 0;
        while let Some(digit @ b'0'..=b'9') = self.rest.get(digits) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            digits += 1;
        }
        self.rest = &self.rest[digits..];
        (digits > 0).then_some(value)
    }

    fn value(&mut self, encoding: Encoding) -> Option<Data<'a>> {
        let walked = walk(encoding, self.rest, 0, DEPTH_CEILING).ok()?;
        let (value, rest) = self.rest.split_at(walked.end);
        self.rest = rest;
        Some(Data::of_proved(encoding, value, walked.spaced))
    }
}

/// Bytes of an envelope beside its names and its payload; a little more than JSON takes.
const ENVELOPE_GUESS: usize = 100;
const JSON_TYPE_ROOM: &[u8] = b"{\"type\":\"message\",\"room\":";
const MSGPACK_TYPE_ROOM: &[u8] = b"\xa4type\xa7message\xa4room";

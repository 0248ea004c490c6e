//! Writing envelopes: fields in either encoding, and the frame around them.
//!
//! Promises: what is written is tight and complete; nothing is copied but into `out` itself. The caller opens a map
//! with as many entries as it then writes.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data as DataCode, OpCode};

use crate::base::{Encoding, Identity};
use crate::wire::payload::{DEPTH_CEILING, Data, msgpack, prove, text};

/// Appends fields to `out`.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    encoding: Encoding,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, encoding: Encoding) -> Self {
        Self { out, encoding }
    }

    /// Opens a map of `pairs` entries.
    pub(crate) fn map(&mut self, pairs: usize) {
        match self.encoding {
            Encoding::MessagePack => msgpack::put_map_head(self.out, pairs),
            Encoding::Json => self.out.push(b'{'),
        }
    }

    pub(crate) fn end_map(&mut self) {
        if self.encoding == Encoding::Json {
            self.out.push(b'}');
        }
    }

    /// Opens an array of `values` elements; each is announced by [`Writer::element`].
    pub(crate) fn array(&mut self, values: usize) {
        match self.encoding {
            Encoding::MessagePack => msgpack::put_array_head(self.out, values),
            Encoding::Json => self.out.push(b'['),
        }
    }

    pub(crate) fn element(&mut self) {
        if self.encoding == Encoding::Json && self.out.last() != Some(&b'[') {
            self.out.push(b',');
        }
    }

    pub(crate) fn end_array(&mut self) {
        if self.encoding == Encoding::Json {
            self.out.push(b']');
        }
    }

    /// A key that needs no escape.
    pub(crate) fn key(&mut self, key: &str) {
        match self.encoding {
            Encoding::MessagePack => msgpack::put_str(self.out, key),
            Encoding::Json => {
                // No value ends in an opening brace, so one means that this is the first entry.
                if self.out.last() != Some(&b'{') {
                    self.out.push(b',');
                }
                self.out.push(b'"');
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
        }
    }

    pub(crate) fn text(&mut self, value: &str) {
        match self.encoding {
            Encoding::MessagePack => msgpack::put_str(self.out, value),
            Encoding::Json => text::put_string(self.out, value),
        }
    }

    pub(crate) fn unsigned(&mut self, value: u64) {
        match self.encoding {
            Encoding::MessagePack => msgpack::put_unsigned(self.out, value),
            Encoding::Json => text::put_decimal(self.out, value),
        }
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        match (self.encoding, value) {
            (Encoding::MessagePack, true) => self.out.push(0xc3),
            (Encoding::MessagePack, false) => self.out.push(0xc2),
            (Encoding::Json, true) => self.out.extend_from_slice(b"true"),
            (Encoding::Json, false) => self.out.extend_from_slice(b"false"),
        }
    }

    pub(crate) fn text_field(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text(value);
    }

    pub(crate) fn unsigned_field(&mut self, key: &str, value: u64) {
        self.key(key);
        self.unsigned(value);
    }

    pub(crate) fn boolean_field(&mut self, key: &str, value: bool) {
        self.key(key);
        self.boolean(value);
    }

    pub(crate) fn data_field(&mut self, key: &str, value: Data<'_>) {
        self.key(key);
        value.write_as(self.encoding, self.out);
    }

    /// `{user, info?}`, with room for `more` entries of the caller, who also ends the map.
    pub(crate) fn person(&mut self, user: &str, info: Option<Data<'_>>, more: usize) {
        self.map(1 + usize::from(info.is_some()) + more);
        self.text_field("user", user);
        if let Some(info) = info {
            self.data_field("info", info);
        }
    }
}

/// The public `info` of a person; one that is not what others may be shown is as if there were none.
pub(crate) fn info_of(person: &Identity) -> Option<Data<'_>> {
    prove(Encoding::Json, person.info()?.as_bytes(), DEPTH_CEILING).ok()
}

/// Appends one complete, unmasked, final data frame (RFC 6455 5.2) whose content `write` appends. Returns the length
/// of its header and what `write` gave. A good guess of the content's length saves moving it.
pub(crate) fn frame<T>(
    out: &mut Vec<u8>,
    encoding: Encoding,
    length_guess: usize,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> (usize, T) {
    let kind = match encoding {
        Encoding::MessagePack => DataCode::Binary,
        Encoding::Json => DataCode::Text,
    };
    let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
    let start = out.len();
    let guessed = header.len(length_guess as u64);
    out.reserve(guessed + length_guess);
    out.resize(start + guessed, 0);
    let given = write(out);
    let length = out.len() - start - guessed;
    let needed = header.len(length as u64);
    if needed != guessed {
        out.resize(start + needed.max(guessed) + length, 0);
        out.copy_within(start + guessed..start + guessed + length, start + needed);
        out.truncate(start + needed + length);
    }
    let mut place = &mut out[start..start + needed];
    header.format(length as u64, &mut place).expect("a header fits a place of the length it has named");
    (needed, given)
}

/// The content of a complete, unmasked frame of ours.
pub fn content(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1).map(|byte| byte & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        Some(_) | None => 2,
    };
    frame.get(header..).unwrap_or_default()
}

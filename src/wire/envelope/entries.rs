//! A map or an array of an envelope, read entry by entry without building anything.
//!
//! Promises: each value is walked before it is given out; nothing is allocated unless a key or a string of JSON is
//! escaped. A value that is too deep or unportable is given out with its flaw, so that the entries behind it are seen.

use std::borrow::Cow;

use crate::base::Encoding;
use crate::wire::payload::msgpack::{Token, token};
use crate::wire::payload::{Broken, Data, Fault, skim, skip_space, text, walk};

/// Why a value is not fit to be shown to others, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    TooDeep { at: usize },
    Unportable(Broken),
}

/// One value of an envelope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    /// Where it begins in the envelope, for sentences.
    at: usize,
    spaced: bool,
    flaw: Option<Flaw>,
}

impl<'a> Value<'a> {
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// Where it begins in the envelope.
    /// As it stands in the message.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_null(&self) -> bool {
        match self.encoding {
            Encoding::MessagePack => self.bytes == [0xc0],
            Encoding::Json => self.bytes == b"null",
        }
    }

    pub(crate) fn unsigned(&self) -> Option<u64> {
        match self.encoding {
            Encoding::MessagePack => {
                let (Token::Unsigned(value), _) = token(self.bytes, 0).ok()? else {
                    return None;
                };
                Some(value)
            }
            Encoding::Json => {
                let digits = self.bytes.iter().all(u8::is_ascii_digit);
                if digits { std::str::from_utf8(self.bytes).ok()?.parse().ok() } else { None }
            }
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match (self.encoding, self.bytes) {
            (Encoding::MessagePack, [0xc3]) | (Encoding::Json, b"true") => Some(true),
            (Encoding::MessagePack, [0xc2]) | (Encoding::Json, b"false") => Some(false),
            _ => None,
        }
    }

    /// A string; `None` also for one that is not UTF-8 or has a lone surrogate.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        match self.encoding {
            Encoding::MessagePack => {
                let (Token::Str(raw), _) = token(self.bytes, 0).ok()? else {
                    return None;
                };
                std::str::from_utf8(raw).ok().map(Cow::Borrowed)
            }
            Encoding::Json => match self.bytes {
                [b'"', inside @ .., b'"'] => text::unescape(std::str::from_utf8(inside).ok()?),
                _ => None,
            },
        }
    }

    /// The value as something that may be shown to others.
    pub(crate) fn data(&self) -> Result<Data<'a>, Flaw> {
        match self.flaw {
            None => Ok(Data::of_proved(self.encoding, self.bytes, self.spaced)),
            Some(flaw) => Err(flaw),
        }
    }

    /// The entries of a map; `None` when it is none.
    pub(crate) fn map(&self, depth_max: usize) -> Option<Entries<'a>> {
        Entries::open(self.encoding, self.bytes, self.at, Shape::Map, depth_max).ok()
    }

    /// The elements of an array; `None` when it is none.
    pub(crate) fn array(&self, depth_max: usize) -> Option<Entries<'a>> {
        Entries::open(self.encoding, self.bytes, self.at, Shape::Array, depth_max).ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Map,
    Array,
}

/// A place in a map or an array, moving forward.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begin in the envelope, for sentences.
    base: usize,
    shape: Shape,
    /// MessagePack: entries still to come. JSON: 1 until the closing bracket was seen.
    left: u32,
    first: bool,
    depth_max: usize,
}

impl<'a> Entries<'a> {
    /// The entries of a whole message. Errors: it is not a map.
    pub(crate) fn of_message(encoding: Encoding, bytes: &'a [u8], depth_max: usize) -> Result<Self, Broken> {
        Self::open(encoding, bytes, 0, Shape::Map, depth_max)
    }

    fn open(encoding: Encoding, bytes: &'a [u8], base: usize, shape: Shape, depth_max: usize) -> Result<Self, Broken> {
        let why = match shape {
            Shape::Map => "a map was expected",
            Shape::Array => "an array was expected",
        };
        let (at, left) = match encoding {
            Encoding::MessagePack => match (token(bytes, 0)?, shape) {
                ((Token::Map(left), at), Shape::Map) | ((Token::Array(left), at), Shape::Array) => (at, left),
                _ => return Err(Broken { at: base, why }),
            },
            Encoding::Json => {
                let at = skip_space(bytes, 0);
                match (bytes.get(at), shape) {
                    (Some(b'{'), Shape::Map) | (Some(b'['), Shape::Array) => (at + 1, 1),
                    _ => return Err(Broken { at: base + at, why }),
                }
            }
        };
        Ok(Self { encoding, bytes, at, base, shape, left, first: true, depth_max })
    }

    /// The next key and value of a map. Errors end the reading.
    pub(crate) fn next_entry(&mut self) -> Result<Option<(Cow<'a, str>, Value<'a>)>, Broken> {
        if !self.advance()? {
            return Ok(None);
        }
        // Keys are walked like values, so that a key that is a container is named, not followed.
        let start = self.at;
        let key = self.value()?.text().ok_or_else(|| self.broken(start, "a key was expected"))?;
        if self.encoding == Encoding::Json {
            self.at = skip_space(self.bytes, self.at);
            if self.bytes.get(self.at) != Some(&b':') {
                return Err(self.broken(self.at, "`:` was expected"));
            }
            self.at = skip_space(self.bytes, self.at + 1);
        }
        Ok(Some((key, self.value()?)))
    }

    /// The next element of an array. Errors end the reading.
    pub(crate) fn next_element(&mut self) -> Result<Option<Value<'a>>, Broken> {
        if self.advance()? { self.value().map(Some) } else { Ok(None) }
    }

    /// After the last entry: nothing but white space of JSON may follow.
    pub(crate) fn finish(&self) -> Result<(), Broken> {
        let end = match self.encoding {
            Encoding::MessagePack => self.at,
            Encoding::Json => skip_space(self.bytes, self.at),
        };
        if end == self.bytes.len() { Ok(()) } else { Err(self.broken(end, "something follows the envelope")) }
    }

    /// Moves to the start of the next entry; false at the end.
    fn advance(&mut self) -> Result<bool, Broken> {
        if self.left == 0 {
            return Ok(false);
        }
        if self.encoding == Encoding::MessagePack {
            self.left -= 1;
            return Ok(true);
        }
        self.at = skip_space(self.bytes, self.at);
        let close = if self.shape == Shape::Map { b'}' } else { b']' };
        let first = std::mem::replace(&mut self.first, false);
        match self.bytes.get(self.at) {
            Some(&byte) if byte == close => {
                self.left = 0;
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at = skip_space(self.bytes, self.at + 1);
                Ok(true)
            }
            Some(_) if first => Ok(true),
            Some(_) => Err(self.broken(self.at, "`,` or the end of the map was expected")),
            None => Err(self.broken(self.at, "the message ends inside a value")),
        }
    }

    fn value(&mut self) -> Result<Value<'a>, Broken> {
        let start = self.at;
        let (end, spaced, flaw) = match walk(self.encoding, self.bytes, start, self.depth_max) {
            Ok(walked) => (walked.end, walked.spaced, walked.unportable.map(|it| self.moved(it)).map(Flaw::Unportable)),
            Err(Fault::Malformed(broken)) => return Err(self.moved(broken)),
            Err(Fault::TooDeep { at }) => {
                let end = skim(self.encoding, self.bytes, start).map_err(|it| self.moved(it))?;
                (end, false, Some(Flaw::TooDeep { at: self.base + at }))
            }
        };
        self.at = end;
        Ok(Value { encoding: self.encoding, bytes: &self.bytes[start..end], at: self.base + start, spaced, flaw })
    }

    fn broken(&self, at: usize, why: &'static str) -> Broken {
        Broken { at: self.base + at, why }
    }

    fn moved(&self, broken: Broken) -> Broken {
        self.broken(broken.at, broken.why)
    }
}

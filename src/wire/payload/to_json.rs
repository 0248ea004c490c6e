//! MessagePack → JSON, by the table in `docs/protocol.md`, "Payloads".
//!
//! Promises: for a proved value it cannot fail and writes tight JSON; no recursion. One byte of MessagePack becomes at
//! most six of JSON (`false,`, or a control character in a string).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::msgpack::{Token, token};
use super::text;
use super::walk::{Broken, DEPTH_CEILING};

/// Appends the one value `bytes` hold.
pub(crate) fn transcode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let mut levels = Levels { left: [0; DEPTH_CEILING], maps: 0, depth: 0, fresh: false };
    let mut at = 0;
    loop {
        levels.separate(out);
        let (token, behind) = token(bytes, at)?;
        match token {
            Token::Nil | Token::Bool(_) | Token::Unsigned(_) | Token::Negative(_) | Token::Float(_) => {
                put_scalar(&token, out);
            }
            Token::Str(raw) => match std::str::from_utf8(raw) {
                Ok(text) => text::put_string(out, text),
                Err(_) => {
                    return Err(Broken { at, why: "a str is not UTF-8" });
                }
            },
            Token::Bin(raw) => put_base64(raw, out),
            Token::Ext => {
                return Err(Broken { at, why: "an ext has no counterpart in JSON" });
            }
            Token::Array(values) => levels.open(u64::from(values), false, at, out)?,
            Token::Map(pairs) => levels.open(2 * u64::from(pairs), true, at, out)?,
        }
        at = behind;
        levels.close(out);
        if levels.depth == 0 {
            return Ok(());
        }
    }
}

fn put_scalar(token: &Token<'_>, out: &mut Vec<u8>) {
    match *token {
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Unsigned(value) => put_integer(false, value, out),
        Token::Negative(value) => put_integer(true, value.unsigned_abs(), out),
        // `{:?}` gives the fewest digits that read back as the same number, always with a point or an exponent.
        Token::Float(value) if value.is_finite() => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Token::Float(_) | Token::Nil | Token::Str(_) | Token::Bin(_) | Token::Ext | Token::Array(_) | Token::Map(_) => {
            out.extend_from_slice(b"null")
        }
    }
}

fn put_integer(negative: bool, magnitude: u64, out: &mut Vec<u8>) {
    let exact = magnitude <= EXACT_MAX;
    if !exact {
        out.push(b'"');
    }
    if negative {
        out.push(b'-');
    }
    text::put_decimal(out, magnitude);
    if !exact {
        out.push(b'"');
    }
}

fn put_base64(raw: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // In slices of a multiple of three, so that only the last one is padded and nothing is allocated.
    for slice in raw.chunks(BASE64_SLICE) {
        let mut text = [0; BASE64_SLICE / 3 * 4];
        let length = STANDARD.encode_slice(slice, &mut text).expect("four letters fit for every three bytes");
        out.extend_from_slice(&text[..length]);
    }
    out.push(b'"');
}

/// The open containers.
struct Levels {
    /// Values still to come; in a map keys and values are counted, so a value is next when it is odd.
    left: [u64; DEPTH_CEILING],
    maps: u64,
    depth: usize,
    /// Nothing was written in the innermost container yet.
    fresh: bool,
}

impl Levels {
    /// Before a value: what stands between it and its elder.
    fn separate(&mut self, out: &mut Vec<u8>) {
        if self.depth > 0 {
            let left = &mut self.left[self.depth - 1];
            if self.maps & 1 == 1 && *left % 2 == 1 {
                out.push(b':');
            } else if !self.fresh {
                out.push(b',');
            }
            *left -= 1;
        }
        self.fresh = false;
    }

    fn open(&mut self, values: u64, map: bool, at: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
        if self.depth == DEPTH_CEILING {
            return Err(Broken { at, why: "nests deeper than any proved value" });
        }
        self.left[self.depth] = values;
        self.maps = self.maps << 1 | u64::from(map);
        self.depth += 1;
        self.fresh = true;
        out.push(if map { b'{' } else { b'[' });
        Ok(())
    }

    /// After a value: closes every container that is full.
    fn close(&mut self, out: &mut Vec<u8>) {
        while self.depth > 0 && self.left[self.depth - 1] == 0 {
            out.push(if self.maps & 1 == 1 { b'}' } else { b']' });
            self.depth -= 1;
            self.maps >>= 1;
            self.fresh = false;
        }
    }
}

/// The largest integer every reader of JSON holds exactly: 2^53 − 1.
const EXACT_MAX: u64 = (1 << 53) - 1;
const BASE64_SLICE: usize = 768;

//! MessagePack: tokens, the walk, and the few writers everybody here needs.
//!
//! Promises: every marker is known, the reserved one (0xc1) is refused; no claimed length is trusted.

use super::walk::{Broken, DEPTH_CEILING, Fault, Walked};

/// One scalar, or the head of one container.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// Always negative.
    Negative(i64),
    Float(f64),
    /// Not yet proved to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Ext,
    Array(u32),
    /// Pairs.
    Map(u32),
}

/// Reads the token at `at`; also gives the index behind it.
pub(crate) fn token(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), Broken> {
    let mut read = Read { bytes, at };
    let token = match read.take::<1>()?[0] {
        marker @ 0x00..=0x7f => Token::Unsigned(u64::from(marker)),
        marker @ 0x80..=0x8f => Token::Map(u32::from(marker & 0x0f)),
        marker @ 0x90..=0x9f => Token::Array(u32::from(marker & 0x0f)),
        marker @ 0xa0..=0xbf => Token::Str(read.run(u32::from(marker & 0x1f))?),
        0xc0 => Token::Nil,
        0xc1 => {
            return Err(Broken { at, why: "0xc1 is no MessagePack marker" });
        }
        0xc2 => Token::Bool(false),
        0xc3 => Token::Bool(true),
        marker @ 0xc4..=0xc6 => {
            let length = read.length(marker - 0xc4)?;
            Token::Bin(read.run(length)?)
        }
        marker @ 0xc7..=0xc9 => {
            let length = read.length(marker - 0xc7)?;
            read.take::<1>()?;
            read.run(length)?;
            Token::Ext
        }
        0xca => Token::Float(f64::from(f32::from_be_bytes(read.take()?))),
        0xcb => Token::Float(f64::from_be_bytes(read.take()?)),
        0xcc => Token::Unsigned(u64::from(read.take::<1>()?[0])),
        0xcd => Token::Unsigned(u64::from(u16::from_be_bytes(read.take()?))),
        0xce => Token::Unsigned(u64::from(u32::from_be_bytes(read.take()?))),
        0xcf => Token::Unsigned(u64::from_be_bytes(read.take()?)),
        0xd0 => signed(i64::from(i8::from_be_bytes(read.take()?))),
        0xd1 => signed(i64::from(i16::from_be_bytes(read.take()?))),
        0xd2 => signed(i64::from(i32::from_be_bytes(read.take()?))),
        0xd3 => signed(i64::from_be_bytes(read.take()?)),
        marker @ 0xd4..=0xd8 => {
            read.run(1 + (1 << (marker - 0xd4)))?;
            Token::Ext
        }
        marker @ 0xd9..=0xdb => {
            let length = read.length(marker - 0xd9)?;
            Token::Str(read.run(length)?)
        }
        marker @ 0xdc..=0xdd => Token::Array(read.length(marker - 0xdc + 1)?),
        marker @ 0xde..=0xdf => Token::Map(read.length(marker - 0xde + 1)?),
        marker @ 0xe0..=0xff => signed(i64::from(marker as i8)),
    };
    Ok((token, read.at))
}

/// Walks the one value that begins at `at`. `depth_max` is at most [`DEPTH_CEILING`].
pub(crate) fn walk(bytes: &[u8], at: usize, depth_max: usize) -> Result<Walked, Fault> {
    // Most values of an envelope are scalars: those need no stack.
    let (first, end) = token(bytes, at).map_err(Fault::Malformed)?;
    if container(&first).is_some() {
        return walk_container(bytes, at, depth_max);
    }
    let unportable = flaw(&first, false).map(|why| Broken { at, why });
    Ok(Walked { end, unportable, spaced: false })
}

fn walk_container(bytes: &[u8], at: usize, depth_max: usize) -> Result<Walked, Fault> {
    // Values still to come at each open level; a map counts keys and values, so a key is next when it is even.
    let mut left = [0_u64; DEPTH_CEILING];
    let mut maps = 0_u64;
    let mut depth = 0;
    let mut walked = Walked { end: at, unportable: None, spaced: false };
    loop {
        let start = walked.end;
        let (token, behind) = token(bytes, start).map_err(Fault::Malformed)?;
        walked.end = behind;
        let mut is_key = false;
        if depth > 0 {
            is_key = maps & 1 == 1 && left[depth - 1] % 2 == 0;
            left[depth - 1] -= 1;
        }
        if let Some(why) = flaw(&token, is_key) {
            walked.unportable.get_or_insert(Broken { at: start, why });
        }
        if let Some((values, is_map)) = container(&token) {
            if depth == depth_max {
                return Err(Fault::TooDeep { at: start });
            }
            if values > (bytes.len() - behind) as u64 {
                return Err(Fault::malformed(start, "claims more values than bytes follow"));
            }
            left[depth] = values;
            maps = maps << 1 | u64::from(is_map);
            depth += 1;
        }
        while depth > 0 && left[depth - 1] == 0 {
            depth -= 1;
            maps >>= 1;
        }
        if depth == 0 {
            return Ok(walked);
        }
    }
}

/// The end of the value at `at`, by counting values only.
pub(crate) fn skim(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    let (mut end, mut left) = (at, 1_u64);
    while left > 0 {
        let (token, behind) = token(bytes, end)?;
        left -= 1;
        if let Some((values, _)) = container(&token) {
            left += values;
            if left > (bytes.len() - behind) as u64 {
                return Err(Broken { at: end, why: "claims more values than bytes follow" });
            }
        }
        end = behind;
    }
    Ok(end)
}

/// The shortest form of a number that is not negative.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => put(out, 0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(out, 0xce, (value as u32).to_be_bytes()),
        0x1_0000_0000.. => put(out, 0xcf, value.to_be_bytes()),
    }
}

/// The shortest form of any number.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => put_unsigned(out, value.unsigned_abs()),
        -0x20..=-1 => out.push(value as i8 as u8),
        -0x80..=-0x21 => out.extend_from_slice(&[0xd0, value as i8 as u8]),
        -0x8000..=-0x81 => put(out, 0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put(out, 0xd2, (value as i32).to_be_bytes()),
        ..=-0x8000_0001 => put(out, 0xd3, value.to_be_bytes()),
    }
}

pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    put(out, 0xcb, value.to_be_bytes());
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_str_head(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// The head of a string of `length` bytes; lengths are bounded by the message limit, far below 2^32.
pub(crate) fn put_str_head(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=31 => out.push(0xa0 | length as u8),
        32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        0x100..=0xffff => put(out, 0xda, (length as u16).to_be_bytes()),
        _ => put(out, 0xdb, (length as u32).to_be_bytes()),
    }
}

pub(crate) fn put_array_head(out: &mut Vec<u8>, values: usize) {
    match values {
        0..=15 => out.push(0x90 | values as u8),
        16..=0xffff => put(out, 0xdc, (values as u16).to_be_bytes()),
        _ => put(out, 0xdd, (values as u32).to_be_bytes()),
    }
}

pub(crate) fn put_map_head(out: &mut Vec<u8>, pairs: usize) {
    match pairs {
        0..=15 => out.push(0x80 | pairs as u8),
        16..=0xffff => put(out, 0xde, (pairs as u16).to_be_bytes()),
        _ => put(out, 0xdf, (pairs as u32).to_be_bytes()),
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}

fn signed(value: i64) -> Token<'static> {
    if value < 0 { Token::Negative(value) } else { Token::Unsigned(value.unsigned_abs()) }
}

/// How many values a container holds, and whether it is a map.
fn container(token: &Token<'_>) -> Option<(u64, bool)> {
    match *token {
        Token::Array(values) => Some((u64::from(values), false)),
        Token::Map(pairs) => Some((2 * u64::from(pairs), true)),
        Token::Nil
        | Token::Bool(_)
        | Token::Unsigned(_)
        | Token::Negative(_)
        | Token::Float(_)
        | Token::Str(_)
        | Token::Bin(_)
        | Token::Ext => None,
    }
}

/// Why this token has no counterpart in JSON.
fn flaw(token: &Token<'_>, is_key: bool) -> Option<&'static str> {
    match token {
        Token::Str(text) if std::str::from_utf8(text).is_err() => Some("a str is not UTF-8"),
        Token::Str(_) => None,
        Token::Ext => Some("an ext has no counterpart in JSON"),
        Token::Nil
        | Token::Bool(_)
        | Token::Unsigned(_)
        | Token::Negative(_)
        | Token::Float(_)
        | Token::Bin(_)
        | Token::Array(_)
        | Token::Map(_) => is_key.then_some("a map key is not a str"),
    }
}

struct Read<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Read<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.ended()),
        }
    }

    /// A length of 1, 2 or 4 bytes for `size` 0, 1 and 2.
    fn length(&mut self, size: u8) -> Result<u32, Broken> {
        match size {
            0 => self.take::<1>().map(|[byte]| u32::from(byte)),
            1 => self.take().map(u16::from_be_bytes).map(u32::from),
            _ => self.take().map(u32::from_be_bytes),
        }
    }

    fn run(&mut self, length: u32) -> Result<&'a [u8], Broken> {
        match self.bytes[self.at..].get(..length as usize) {
            Some(run) => {
                self.at += run.len();
                Ok(run)
            }
            None => Err(self.ended()),
        }
    }

    fn ended(&self) -> Broken {
        Broken { at: self.bytes.len(), why: "the message ends inside a value" }
    }
}

//! The request head: is this somebody who wants to sit in rooms, and with what in hand?
//!
//! ```text
//!  bytes ──► read_head ──► Upgrade      GET /ws or /echo, everything right: the shard keeps it
//!                      ├─► BadUpgrade   meant as an upgrade of those, and something is wrong: answer and close
//!                      └─► Elsewhere    anything else: the control plane gets it with all bytes
//! ```
//!
//! Promises: a head is searched byte by byte once and parsed once, however small the reads are; nothing is decided about a
//! token here, only which one was carried. Must never write a token anywhere: not in an answer, not in `Debug`.

mod answer;
mod carried;
mod extensions;
mod offer;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::Request;
use tungstenite::http::header::{self, HeaderMap, HeaderName};

use crate::base::Encoding;

pub use answer::write_refusal;
use carried::Cookies;
pub use carried::{Carried, Carriers};
pub use extensions::Deflate;
use offer::Offer;

/// A complete request head.
#[derive(Debug)]
pub struct Head {
    /// Its bytes, the empty line included. What comes after them belongs to the WebSocket (a client may send frames
    /// without waiting for the answer).
    pub len: usize,
    /// The lines of `X-Forwarded-For` as they came, joined by commas; for whoever knows which proxies to trust.
    pub forwarded_for: Option<Hops>,
    pub what: Asked,
}

/// Why no head can be made of the bytes: answer with [`HeadError::status`] and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeadError {
    #[error("the request head is longer than the limit")]
    TooLong,
    #[error("this is not an HTTP/1 request")]
    Malformed,
}

impl HeadError {
    /// 431 or 400.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLong => 431,
            Self::Malformed => 400,
        }
    }
}

/// Who gets the connection.
#[derive(Debug)]
pub enum Asked {
    /// Ours. Whether the token is any good is for the shard to find out.
    Upgrade(Upgrade),
    /// Was meant to be ours: to be answered with [`write_refusal`] and closed.
    BadUpgrade { endpoint: Endpoint, status: u16, message: &'static str },
    /// Anything else, a `GET /ws` that asks for no upgrade included: hand all bytes to the control plane.
    Elsewhere,
}

/// What an upgrade is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `/ws`: people in rooms.
    Rooms,
    /// `/echo`: every message comes back. Whether it is there at all is for the operator to say.
    Echo,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/ws" => Some(Self::Rooms),
            "/echo" => Some(Self::Echo),
            _ => None,
        }
    }
}

/// A `GET /ws` or `GET /echo` that may become a WebSocket (RFC 6455, 4.2.1).
#[derive(Debug)]
pub struct Upgrade {
    pub endpoint: Endpoint,
    /// How envelopes are written: what was offered first, JSON if nothing of ours was.
    pub encoding: Encoding,
    /// The subprotocol to speak; `None`: without one.
    pub chosen: Option<&'static str>,
    /// A `throng.v1.*` was offered: the client understands our close codes, so a refusal completes the upgrade and closes.
    pub offers_ours: bool,
    /// Something of `throng.*` was offered (a token does not count), but nothing that we speak: close with 4505.
    pub unknown_version: bool,
    /// `permessage-deflate`, if it was offered in a way that can be granted; whether it is, is for the operator to say.
    pub deflate: Option<Deflate>,
    pub token: Carried,
    /// `Origin`, as the browser sent it; several, which no browser sends, are joined by commas and are no origin.
    pub origin: Option<String>,
    /// `Host`: the name by which the client knows this server.
    pub host: Option<String>,
    cookies: Cookies,
    /// The subprotocol the answer names. Besides `chosen` that is, for an unknown version, the one that was offered: a
    /// browser whose offers are all passed over fails the connection itself, and its script would never see 4505.
    answered: Option<String>,
    /// `Sec-WebSocket-Accept`.
    accept: String,
}

impl Upgrade {
    /// The token by all carriers, a cookie of this name included. Only for a page whose origin is listed: a browser
    /// sends cookies along whoever's page asks.
    pub fn token_or_cookie(&self, name: &str) -> Carried {
        self.token.with_cookie(&self.cookies, name)
    }

    /// The same for whoever has to wait: what a stranger sent along is not kept meanwhile.
    #[must_use]
    pub fn without_carriers(self) -> Self {
        Self { token: Carried::None, origin: None, host: None, cookies: Cookies::default(), ..self }
    }

    /// Appends the 101 response (RFC 6455, 4.2.2). Names at most one subprotocol, never the one that is a token; and
    /// `permessage-deflate` as it was offered, if `deflates`.
    pub fn write_accept(&self, out: &mut Vec<u8>, deflates: bool) {
        let extension = self.deflate.filter(|_| deflates).map(Deflate::answer);
        answer::write_accept(out, &self.accept, self.answered.as_deref(), extension);
    }
}

/// Reads a request head from the start of `bytes`, which are all that the connection has sent so far. `None`: more bytes
/// are needed.
///
/// `looked` says how many of `bytes` the last call with `None` has already seen (0 the first time): the search for the
/// head's end goes on there, so a client that writes byte by byte costs no more than any other.
///
/// A head ends with an empty line; a bare LF is a line's end too (RFC 9112, 2.2). One of more than `head_bytes_max` bytes
/// is [`HeadError::TooLong`] as soon as that many have come without an end.
pub fn read_head(bytes: &[u8], looked: usize, head_bytes_max: usize) -> Result<Option<Head>, HeadError> {
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).take(BLANK_BYTES_MAX + 1).count();
    if start > BLANK_BYTES_MAX || bytes.get(start).is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        // Waiting for the end of what cannot be a request (a TLS hello, say) would only tie up a row.
        return Err(HeadError::Malformed);
    }
    let Some(len) = find_end(bytes, start, looked) else {
        return if bytes.len() > head_bytes_max { Err(HeadError::TooLong) } else { Ok(None) };
    };
    if len > head_bytes_max {
        return Err(HeadError::TooLong);
    }
    let (what, forwarded_for) = parse(&bytes[start..len])?;
    Ok(Some(Head { len, forwarded_for, what }))
}

/// Where the first empty line ends, in a head that begins at `start` and had no end within its first `looked` bytes.
fn find_end(bytes: &[u8], start: usize, looked: usize) -> Option<usize> {
    // Of the line ends LF LF or LF CR LF all but the last byte may have been seen.
    let from = looked.saturating_sub(2).clamp(start, bytes.len());
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|at| {
        let end = from + at + 1;
        match &bytes[end..] {
            [b'\n', ..] => Some(end + 1),
            [b'\r', b'\n', ..] => Some(end + 2),
            _ => None,
        }
    })
}

/// What a whole head asks for, and for whom it says to speak.
fn parse(head: &[u8]) -> Result<(Asked, Option<Hops>), HeadError> {
    match Request::try_parse(head) {
        Ok(Some((_, request))) => {
            let (uri, headers) = (request.uri(), request.headers());
            Ok((asked(uri.path(), uri.query().unwrap_or_default(), headers, None), joined(headers, FORWARDED_FOR)))
        }
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => parse_other(head, WRONG_METHOD),
        Err(Error::Protocol(ProtocolError::WrongHttpVersion)) => parse_other(head, WRONG_VERSION),
        Err(Error::Capacity(CapacityError::TooManyHeaders)) => Err(HeadError::TooLong),
        // `None` cannot be: the empty line is there.
        Ok(None) | Err(_) => Err(HeadError::Malformed),
    }
}

/// A head that is good HTTP but not `GET` over HTTP/1.1, which is all tungstenite makes a request of.
fn parse_other(head: &[u8], fault: Fault) -> Result<(Asked, Option<Hops>), HeadError> {
    let line_len = memchr::memchr(b'\n', head).ok_or(HeadError::Malformed)? + 1;
    let line = std::str::from_utf8(&head[..line_len]).map_err(|_| HeadError::Malformed)?;
    let target = line.split(' ').nth(1).ok_or(HeadError::Malformed)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match HeaderMap::try_parse(&head[line_len..]) {
        Ok(Some((_, headers))) => Ok((asked(path, query, &headers, Some(fault)), joined(&headers, FORWARDED_FOR))),
        Ok(None) | Err(_) => Err(HeadError::Malformed),
    }
}

/// The lines of `X-Forwarded-For`, joined by commas.
pub type Hops = Box<[u8]>;

/// Status and sentence of a bad upgrade.
type Fault = (u16, &'static str);

fn asked(path: &str, query: &str, headers: &HeaderMap, fault: Option<Fault>) -> Asked {
    // A proxy may have taken `Upgrade` away (nginx does, unless told); the key shows what was meant.
    let meant = lists(headers, header::UPGRADE, "websocket") || headers.contains_key(header::SEC_WEBSOCKET_KEY);
    let Some(endpoint) = Endpoint::at(path).filter(|_| meant) else { return Asked::Elsewhere };
    match fault.map_or_else(|| check(headers), Err) {
        Ok(checked) => Asked::Upgrade(upgrade(endpoint, query, headers, checked)),
        Err((status, message)) => Asked::BadUpgrade { endpoint, status, message },
    }
}

/// What a good upgrade's headers come to.
struct Checked {
    /// `Sec-WebSocket-Accept`.
    accept: String,
    deflate: Option<Deflate>,
}

/// The rules of RFC 6455, 4.2.1, beyond method and version.
fn check(headers: &HeaderMap) -> Result<Checked, Fault> {
    match headers.get_all(header::HOST).iter().count() {
        0 => return Err((400, "the Host header is missing")),
        1 => {}
        // RFC 9112, 3.2: one of them is what a proxy looked at, and nobody knows which.
        _ => return Err((400, "there is more than one Host header")),
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err((400, "the Connection header does not name Upgrade; a proxy in front must pass it on"));
    }
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err((400, "the Upgrade header does not name websocket; a proxy in front must pass it on"));
    }
    let has_length = headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0");
    if has_length || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err((400, "a WebSocket upgrade has no body"));
    }
    let mut versions = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter().peekable();
    if versions.peek().is_none() || versions.any(|version| version != "13") {
        return Err((426, "Sec-WebSocket-Version must be 13"));
    }
    let deflate = Deflate::read(headers).map_err(|_| (400, "Sec-WebSocket-Extensions cannot be read"))?;
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Err((400, "the Sec-WebSocket-Key header is missing")),
        (Some(key), None) if is_key(key.as_bytes()) => {
            Ok(Checked { accept: derive_accept_key(key.as_bytes()), deflate })
        }
        (Some(_), None) => Err((400, "Sec-WebSocket-Key is not 16 bytes in base64")),
        (Some(_), Some(_)) => Err((400, "there is more than one Sec-WebSocket-Key header")),
    }
}

fn upgrade(endpoint: Endpoint, query: &str, headers: &HeaderMap, checked: Checked) -> Upgrade {
    let offer = Offer::read(headers);
    Upgrade {
        endpoint,
        encoding: offer.encoding(),
        chosen: offer.chosen,
        offers_ours: offer.offers_ours,
        unknown_version: offer.chosen.is_none() && offer.unknown.is_some(),
        deflate: checked.deflate,
        token: Carried::read(headers, query, offer.tokens),
        origin: text(headers, header::ORIGIN),
        host: text(headers, header::HOST),
        cookies: Cookies::read(headers),
        answered: offer.chosen.map(str::to_owned).or(offer.unknown),
        accept: checked.accept,
    }
}

/// All lines of this name, joined by commas; `None` if there are none.
fn joined(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<Hops> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    (!lines.is_empty()).then(|| lines.join(&b',').into())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    joined(headers, name).map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// Whether one of the headers of this name lists `wanted`, whatever the case.
fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let listed = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    headers.get_all(name).iter().any(|value| listed(value.as_bytes()))
}

/// 16 bytes in base64 (RFC 6455, 4.1).
fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == 24 && KEY_BASE64.decode_slice(key, &mut nonce) == Ok(16)
}

/// The example key of RFC 6455, 4.1 itself (`AQIDBAUGBwgJCgsMDQ4PEC==`) has stray bits at its end.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

const FORWARDED_FOR: &str = "x-forwarded-for";
const WRONG_METHOD: Fault = (405, "a WebSocket upgrade is a GET");
const WRONG_VERSION: Fault = (400, "a WebSocket upgrade needs HTTP/1.1; a proxy in front must not lower it");

/// Empty lines before a request are forgiven (RFC 9112, 2.2), up to so many bytes.
const BLANK_BYTES_MAX: usize = 8;

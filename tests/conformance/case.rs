//! One case of the table: what is sent, in which pieces, and everything that must be heard until the end.

use std::net::SocketAddr;

use throng::wire::{FrameKind, write_frame};

use super::extension::{DEFLATE, inflated};
use super::raw::{RSV1, Raw};

/// Named after the case of the Autobahn|Testsuite that it is, or `own.…`.
pub(crate) struct Case {
    pub(crate) id: String,
    /// Each piece is a write of its own.
    sends: Vec<Vec<u8>>,
    /// In order, up to and with the server's close frame.
    hears: Vec<Heard>,
    /// `permessage-deflate` is offered, and must be agreed on.
    deflates: bool,
}

/// One frame of the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// Its code; the reason is for people.
    Close(u16),
    /// An opcode that a server has no reason to send here.
    Other(u8),
}

impl Case {
    /// The server must answer our close, code 1000, after everything else.
    pub(crate) fn good(id: impl Into<String>, frames: &[Vec<u8>], hears: &[Heard]) -> Self {
        let sends = frames.iter().cloned().chain([close(1000_u16.to_be_bytes())]).collect();
        Self { id: id.into(), sends, hears: [hears, &[Heard::Close(1000)]].concat(), deflates: false }
    }

    /// The server must close by itself, after having answered what came before; nothing else is sent.
    pub(crate) fn fails(id: impl Into<String>, frames: &[Vec<u8>], hears: &[Heard], code: u16) -> Self {
        Self { id: id.into(), sends: frames.to_vec(), hears: [hears, &[Heard::Close(code)]].concat(), deflates: false }
    }

    /// With deflated messages, agreed on.
    pub(crate) fn deflated(mut self) -> Self {
        self.deflates = true;
        self
    }

    /// All in one write.
    pub(crate) fn at_once(mut self) -> Self {
        self.sends = vec![self.sends.concat()];
        self
    }

    /// In writes of so many bytes.
    pub(crate) fn chopped(mut self, bytes: usize) -> Self {
        self.sends = self.sends.concat().chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }

    /// What is wrong, if something is.
    pub(crate) fn run(&self, address: SocketAddr) -> Result<(), String> {
        let offer: &[&str] = if self.deflates { &[DEFLATE] } else { &[] };
        let (mut raw, head) = Raw::ask(address, "/echo", offer).switched_by();
        if head.contains("permessage-deflate") != self.deflates {
            return Err(format!("{}: {head}", self.id));
        }
        raw.stream.set_nodelay(true).map_err(|error| error.to_string())?;
        self.sends.iter().for_each(|piece| raw.send(piece));
        let mut heard = Vec::new();
        while let Some((first, payload)) = raw.frame_as_is() {
            heard.push(match first & RSV1 {
                0 => Heard::new(first & 15, payload),
                _ if self.deflates && first & 15 < CLOSE => Heard::new(first & 15, inflated(&payload)?),
                _ => return Err(format!("{}: a reserved bit that nobody agreed on", self.id)),
            });
            if matches!(heard.last(), Some(Heard::Close(_))) {
                break;
            }
        }
        if heard != self.hears {
            return Err(format!("{}: heard {heard:?}, expected {:?}", self.id, self.hears));
        }
        // A peer that ends sees the server end TCP, and nothing more said.
        raw.send(&close(b""));
        let _gone_already = raw.stream.shutdown(std::net::Shutdown::Write);
        match raw.frame() {
            None => Ok(()),
            Some((opcode, _)) => Err(format!("{}: opcode {opcode} after the close", self.id)),
        }
    }
}

impl Heard {
    fn new(opcode: u8, payload: Vec<u8>) -> Self {
        match (opcode, &payload[..]) {
            (1, _) => Self::Text(payload),
            (2, _) => Self::Binary(payload),
            (8, [high, low, reason @ ..]) if std::str::from_utf8(reason).is_ok() => {
                Self::Close(u16::from_be_bytes([*high, *low]))
            }
            (10, _) => Self::Pong(payload),
            _ => Self::Other(opcode),
        }
    }
}

/// Long ones by their length.
impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, payload) = match self {
            Self::Text(payload) => ("text", payload),
            Self::Binary(payload) => ("binary", payload),
            Self::Pong(payload) => ("pong", payload),
            Self::Close(code) => return write!(f, "close {code}"),
            Self::Other(opcode) => return write!(f, "opcode {opcode}"),
        };
        match payload.len() {
            0..100 => write!(f, "{name} {:?}", payload.escape_ascii().to_string()),
            len => write!(f, "{name} of {len} bytes"),
        }
    }
}

/// A masked frame by hand, so that wrong ones can be made: the first byte as it stands, the shortest length.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, FrameKind::Binary, payload, Some(MASK));
    out[0] = first;
    out
}

/// A frame whose reserved bits are these.
pub(crate) fn reserved(rsv: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | rsv << 4 | opcode, payload)
}

pub(crate) fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_ref())
}

pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | BINARY, payload.as_ref())
}

pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PING, payload.as_ref())
}

pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PONG, payload.as_ref())
}

pub(crate) fn close(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CLOSE, payload.as_ref())
}

/// A message in fragments of at most so many bytes, with as many frames as the bytes need.
pub(crate) fn fragments(opcode: u8, payload: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(bytes).max(1);
    let piece = |at: usize| &payload[at * bytes..payload.len().min((at + 1) * bytes)];
    let first = |at: usize| if at == 0 { opcode } else { 0 } | if at + 1 == count { FIN } else { 0 };
    (0..count).map(|at| frame(first(at), piece(at))).collect()
}

pub(crate) fn says(payload: impl AsRef<[u8]>) -> Heard {
    Heard::Text(payload.as_ref().to_vec())
}

pub(crate) fn pongs(payload: impl AsRef<[u8]>) -> Heard {
    Heard::Pong(payload.as_ref().to_vec())
}

pub(crate) const FIN: u8 = 0x80;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

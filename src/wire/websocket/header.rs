//! One frame's header, with all that can be said against it alone.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CONTROL_BYTES_MAX, FrameKind, Role, Violation};

/// Bytes of the longest header: two, a 64-bit length, a mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// What a frame does to the message it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opens {
    /// Begins a message (`Text`, `Binary`) or is a control frame.
    New(FrameKind),
    Continuation,
}

/// A header that keeps the rules of RFC 6455, 5.2 and 5.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) opens: Opens,
    pub(super) is_final: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload_len: usize,
    /// Begins a message whose payload is deflated (RFC 7692, 6).
    pub(super) is_deflated: bool,
}

impl Header {
    /// Reads a header and how many bytes it has from the start of `bytes`; `None`: more bytes are needed
    /// (never with [`HEADER_BYTES_MAX`] or more). Nothing is refused before the header is whole, and then in one fixed
    /// order, so that the outcome does not depend on how the bytes were cut.
    ///
    /// `deflates`: `permessage-deflate` was agreed on, so that the first reserved bit has a meaning where a message begins.
    pub(super) fn parse(bytes: &[u8], role: Role, deflates: bool) -> Result<Option<(Self, usize)>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let (raw, payload_len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            // A slice cannot fail to be read: what is left is an opcode that nobody knows.
            Err(_) => return Err(Violation::ReservedOpcode(bytes.first().map_or(0, |byte| byte & 0x0f))),
        };
        let header_len = cursor.position() as usize;
        let is_deflated = raw.rsv1 && deflates && matches!(raw.opcode, OpCode::Data(Data::Text | Data::Binary));
        if raw.rsv1 != is_deflated || raw.rsv2 || raw.rsv3 {
            return Err(Violation::ReservedBits);
        }
        check_raw(&raw, payload_len, header_len, role)?;
        let header = Self {
            opens: opens(raw.opcode)?,
            is_final: raw.is_final,
            mask: raw.mask,
            payload_len: usize::try_from(payload_len).map_err(|_| Violation::MessageTooBig)?,
            is_deflated,
        };
        header.check_control()?;
        Ok(Some((header, header_len)))
    }

    /// Whether this frame is a control frame (RFC 6455, 5.5).
    pub(super) fn is_control(&self) -> bool {
        match self.opens {
            Opens::New(FrameKind::Ping | FrameKind::Pong | FrameKind::Close) => true,
            Opens::New(FrameKind::Text | FrameKind::Binary) | Opens::Continuation => false,
        }
    }

    fn check_control(&self) -> Result<(), Violation> {
        if !self.is_control() {
            Ok(())
        } else if !self.is_final {
            Err(Violation::ControlFragmented)
        } else if self.payload_len > CONTROL_BYTES_MAX {
            Err(Violation::ControlTooLong)
        } else {
            Ok(())
        }
    }
}

fn check_raw(raw: &FrameHeader, payload_len: u64, header_len: usize, role: Role) -> Result<(), Violation> {
    match (role, raw.mask.is_some()) {
        (Role::Server, false) => return Err(Violation::Unmasked),
        (Role::Client, true) => return Err(Violation::Masked),
        (Role::Server, true) | (Role::Client, false) => (),
    }
    if payload_len >> 63 != 0 {
        return Err(Violation::LengthHighestBit);
    }
    if raw.len(payload_len) != header_len {
        return Err(Violation::LengthNotShortest);
    }
    Ok(())
}

fn opens(opcode: OpCode) -> Result<Opens, Violation> {
    Ok(match opcode {
        OpCode::Data(Data::Continue) => Opens::Continuation,
        OpCode::Data(Data::Text) => Opens::New(FrameKind::Text),
        OpCode::Data(Data::Binary) => Opens::New(FrameKind::Binary),
        OpCode::Control(Control::Close) => Opens::New(FrameKind::Close),
        OpCode::Control(Control::Ping) => Opens::New(FrameKind::Ping),
        OpCode::Control(Control::Pong) => Opens::New(FrameKind::Pong),
        OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
            return Err(Violation::ReservedOpcode(code));
        }
    })
}

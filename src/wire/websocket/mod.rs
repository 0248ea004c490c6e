//! WebSocket messages in and frames out (RFC 6455), as a pure function of bytes.
//!
//! Built on tungstenite's public parts (frame headers, opcodes, close codes). Its `WebSocket` is not used: it
//! allocates 128 KiB at birth, queues without a bound, and swallows any number of empty fragments in one call.
//!
//! ```text
//!  one read's bytes ──► Reader ──► Text | Binary | Ping | Pong | Close
//!                         ▲ │
//!                         │ ▼          only while a frame or a message is unfinished
//!                        Partial
//! ```
//!
//! Promises:
//! - a whole, unfragmented frame is unmasked in place and handed out as a slice: no copy, no allocation;
//! - an unfinished one costs what has really arrived, never what its header claims;
//! - every byte is unmasked once and checked once, however small the reads are;
//! - the outcome does not depend on how the bytes were cut into reads.
//!
//! Must never panic on foreign bytes or look at a clock. The one extension spoken is `permessage-deflate` (RFC 7692) without
//! context takeover, by a reader that was lent an [`Inflater`]; any other reserved bit is refused.

pub(crate) mod deflate;
mod header;
mod inflate;
mod mask;
mod partial;
mod reader;
#[cfg(test)]
mod tests;
mod utf8;
mod violation;
mod writer;

pub use inflate::Inflater;
pub use partial::Partial;
pub use reader::Reader;
pub use violation::Violation;
pub(crate) use writer::write_deflated;
pub use writer::{header_len, write_close, write_frame};

/// Payload bytes of a control frame at most (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Which end *we* are. A server demands masked frames, a client unmasked ones (RFC 6455, 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Server,
    Client,
}

/// Bounds on one message. Reaching one is a [`Violation`] with 1009.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameLimits {
    /// Payload bytes of one message, all its frames together. Checked from each header, before the payload comes; of a
    /// deflated one what came and what is made of it, each by itself.
    pub message_bytes_max: usize,
    /// Frames one message may be cut into; empty ones count.
    pub fragments_max: usize,
}

/// What a peer said: a complete message, or a control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload, of at most [`CONTROL_BYTES_MAX`] bytes.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer's code and reason; `None` when the frame was empty. Nothing after it is to be read.
    Close(Option<(u16, &'a str)>),
}

/// What a whole frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

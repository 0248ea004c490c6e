//! What reading holds between two reads: part of a header, of a frame, of a message.
//!
//! Promises: empty it owns no heap; it grows by what has arrived, never by what a header claims; a control frame
//! between two fragments does not touch the message being put together.

use std::{fmt, mem};

use super::header::{HEADER_BYTES_MAX, Header, Opens};
use super::utf8::Utf8Text;
use super::{FrameKind, FrameLimits, Violation};

/// One connection's unfinished reading.
///
/// An owner keeps it only while [`Partial::is_idle`] says no. It may lend one idle `Partial` to many connections in turn
/// and take it out (`mem::take`) for the one whose read ended in the middle.
#[derive(Default)]
pub struct Partial {
    /// `header[..header_len]` is a proper prefix of a header.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    frame: Option<OpenFrame>,
    message: Assembly,
    /// Frames of `message` so far.
    fragments: usize,
    /// Payload of an unfinished control frame.
    control: Vec<u8>,
    /// Handed out by the last call, to be forgotten by the next.
    delivered: Delivered,
    /// Empty; room for the next message.
    spare: Vec<u8>,
}

/// A frame whose header is known and whose payload is still coming.
#[derive(Clone, Copy)]
pub(super) struct OpenFrame {
    /// `None`: belongs to the message being put together.
    pub(super) control: Option<FrameKind>,
    pub(super) is_final: bool,
    /// Turned so that its first byte belongs to the next payload byte.
    pub(super) mask: Option<[u8; 4]>,
    pub(super) remaining: usize,
}

#[derive(Default)]
enum Assembly {
    #[default]
    Nothing,
    Text(Utf8Text),
    Binary(Vec<u8>),
    /// What will be this kind of message when it is inflated.
    Deflated(FrameKind, Vec<u8>),
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    #[default]
    Nothing,
    Message,
    Control,
}

/// A message put together from several frames or reads.
pub(super) enum Assembled<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Deflated(FrameKind, &'a [u8]),
}

impl Partial {
    /// Takes more bytes of a header; gives the header back once it is whole, and how many bytes of `bytes` it took.
    pub(super) fn extend_header(
        &mut self,
        bytes: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<Option<(Header, usize)>, Violation>,
    ) -> Result<(Option<Header>, usize), Violation> {
        let held = self.header_len;
        let added = bytes.len().min(HEADER_BYTES_MAX - held);
        self.header[held..held + added].copy_from_slice(&bytes[..added]);
        match parse(&self.header[..held + added])? {
            Some((header, len)) => {
                self.header_len = 0;
                Ok((Some(header), len - held))
            }
            None => {
                self.header_len = held + added;
                Ok((None, added))
            }
        }
    }

    /// Whether a new header may begin with `bytes` themselves, without looking here.
    pub(super) fn holds_header(&self) -> bool {
        self.header_len > 0
    }

    /// Says whether this frame may come now: order of fragments (RFC 6455, 5.4) and bounds.
    pub(super) fn admit(&self, header: &Header, limits: FrameLimits) -> Result<(), Violation> {
        if header.is_control() {
            return Ok(());
        }
        match (header.opens, self.is_assembling()) {
            (Opens::New(_), true) => return Err(Violation::MessageUnfinished),
            (Opens::Continuation, false) => return Err(Violation::NothingToContinue),
            (Opens::New(_), false) | (Opens::Continuation, true) => (),
        }
        if self.message.len().saturating_add(header.payload_len) > limits.message_bytes_max {
            return Err(Violation::MessageTooBig);
        }
        if self.is_assembling() && self.fragments >= limits.fragments_max {
            return Err(Violation::TooManyFragments);
        }
        Ok(())
    }

    /// Begins to put an admitted frame together.
    pub(super) fn open(&mut self, header: &Header) -> OpenFrame {
        let control = match header.opens {
            Opens::New(kind @ (FrameKind::Text | FrameKind::Binary)) if header.is_deflated => {
                self.message = Assembly::Deflated(kind, mem::take(&mut self.spare));
                None
            }
            Opens::New(FrameKind::Text) => {
                self.message = Assembly::Text(Utf8Text::within(mem::take(&mut self.spare)));
                None
            }
            Opens::New(FrameKind::Binary) => {
                self.message = Assembly::Binary(mem::take(&mut self.spare));
                None
            }
            Opens::Continuation => None,
            Opens::New(kind @ (FrameKind::Ping | FrameKind::Pong | FrameKind::Close)) => Some(kind),
        };
        if control.is_none() {
            self.fragments += 1;
        }
        OpenFrame { control, is_final: header.is_final, mask: header.mask, remaining: header.payload_len }
    }

    /// Keeps a frame until more of its payload comes.
    pub(super) fn keep_frame(&mut self, frame: OpenFrame) {
        self.frame = Some(frame);
    }

    pub(super) fn take_frame(&mut self) -> Option<OpenFrame> {
        self.frame.take()
    }

    /// Appends unmasked payload to what `frame` belongs to.
    pub(super) fn append(&mut self, frame: &OpenFrame, payload: &[u8]) -> Result<(), Violation> {
        if frame.control.is_some() {
            self.control.extend_from_slice(payload);
            return Ok(());
        }
        match &mut self.message {
            Assembly::Text(text) => text.push(payload).map_err(|_| Violation::TextNotUtf8),
            Assembly::Binary(bytes) | Assembly::Deflated(_, bytes) => {
                bytes.extend_from_slice(payload);
                Ok(())
            }
            Assembly::Nothing => Ok(()),
        }
    }

    /// The finished message, which lives here until [`Partial::forget_delivered`].
    pub(super) fn deliver_message(&mut self) -> Result<Assembled<'_>, Violation> {
        self.delivered = Delivered::Message;
        match &self.message {
            Assembly::Text(text) if text.is_whole() => Ok(Assembled::Text(text.as_str())),
            Assembly::Text(_) => Err(Violation::TextNotUtf8),
            Assembly::Binary(bytes) => Ok(Assembled::Binary(bytes)),
            Assembly::Deflated(kind, bytes) => Ok(Assembled::Deflated(*kind, bytes)),
            Assembly::Nothing => Ok(Assembled::Binary(&[])),
        }
    }

    /// The finished control frame's payload, which lives here until [`Partial::forget_delivered`].
    pub(super) fn deliver_control(&mut self) -> &[u8] {
        self.delivered = Delivered::Control;
        &self.control
    }

    /// Lets go of what the last call handed out.
    pub(super) fn forget_delivered(&mut self) {
        match mem::take(&mut self.delivered) {
            Delivered::Nothing => (),
            Delivered::Control => self.control.clear(),
            Delivered::Message => {
                self.fragments = 0;
                let mut buffer = match mem::take(&mut self.message) {
                    Assembly::Nothing => Vec::new(),
                    Assembly::Text(text) => text.into_buffer(),
                    Assembly::Binary(bytes) | Assembly::Deflated(_, bytes) => bytes,
                };
                if buffer.capacity() <= SPARE_BYTES_MAX {
                    buffer.clear();
                    self.spare = buffer;
                }
            }
        }
    }

    /// Nothing is unfinished: the owner may drop it, or lend it to another connection.
    pub fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && !self.is_assembling()
    }

    /// Bytes of heap this owns. The bytes of a message just handed out count until the next call.
    pub fn bytes_held(&self) -> usize {
        self.message.capacity() + self.control.capacity() + self.spare.capacity()
    }

    fn is_assembling(&self) -> bool {
        !matches!(self.message, Assembly::Nothing) && self.delivered != Delivered::Message
    }
}

/// Sizes only: what people say to each other does not belong into a log.
impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("header", &self.header_len)
            .field("frame_remaining", &self.frame.map(|frame| frame.remaining))
            .field("message", &self.message.len())
            .field("fragments", &self.fragments)
            .field("control", &self.control.len())
            .finish()
    }
}

impl Assembly {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Deflated(_, bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Text(text) => text.capacity(),
            Self::Binary(bytes) | Self::Deflated(_, bytes) => bytes.capacity(),
        }
    }
}

/// A finished message's buffer is kept for the next one up to this size.
const SPARE_BYTES_MAX: usize = 4 << 10;

//! From one read's bytes to messages.

use std::ops::Range;

use tungstenite::protocol::frame::coding::CloseCode;

use super::header::{Header, Opens};
use super::partial::{Assembled, OpenFrame, Partial};
use super::{FrameKind, FrameLimits, Incoming, Inflater, Role, Violation, mask};

/// Reads the messages of one read. Bytes it has looked at are changed (unmasked); the others are not.
///
/// After a [`Violation`] or a [`Incoming::Close`] there is nothing more to read on this connection: the owner
/// stops calling and throws the [`Partial`] away.
pub struct Reader<'a> {
    role: Role,
    limits: FrameLimits,
    input: &'a mut [u8],
    /// `input[..at]` has been looked at.
    at: usize,
    /// Only where deflated messages were agreed on.
    inflater: Option<&'a mut Inflater>,
    /// Nobody wants to know what deflated messages say.
    skips_deflated: bool,
}

/// What one frame, or one piece of it, came to.
enum Step {
    /// Nothing to hand out yet; more input is there to be looked at.
    Again,
    /// The input is used up.
    Starved,
    Whole(Whole),
}

/// Something complete, and where it lies.
enum Whole {
    Input(FrameKind, Range<usize>),
    InputDeflated(FrameKind, Range<usize>),
    PartialMessage,
    PartialControl(FrameKind),
}

impl<'a> Reader<'a> {
    /// `role` is what we are.
    pub fn new(role: Role, limits: FrameLimits, input: &'a mut [u8]) -> Self {
        Self { role, limits, input, at: 0, inflater: None, skips_deflated: false }
    }

    /// For a connection that agreed on `permessage-deflate` without context takeover of the peer's: whoever it is, for all
    /// its reads.
    #[must_use]
    pub fn inflating(mut self, inflater: Option<&'a mut Inflater>) -> Self {
        self.inflater = inflater;
        self
    }

    /// The next message or control frame; `None` when the input is used up, and then what is incomplete is in
    /// `partial`. Each connection has its own `partial`, the same one from read to read while it is not idle.
    /// Frames without a result of their own (fragments) are passed over; how many, `fragments_max` bounds.
    pub fn next<'p>(&'p mut self, partial: &'p mut Partial) -> Result<Option<Incoming<'p>>, Violation> {
        partial.forget_delivered();
        let whole = loop {
            match self.step(partial)? {
                Step::Again => (),
                Step::Starved => return Ok(None),
                Step::Whole(whole) => break whole,
            }
        };
        let (kind, deflated) = match whole {
            Whole::Input(kind, range) => return incoming(kind, &self.input[range]).map(Some),
            Whole::PartialControl(kind) => return incoming(kind, partial.deliver_control()).map(Some),
            Whole::PartialMessage => match partial.deliver_message()? {
                Assembled::Text(text) => return Ok(Some(Incoming::Text(text))),
                Assembled::Binary(bytes) => return Ok(Some(Incoming::Binary(bytes))),
                Assembled::Deflated(kind, bytes) => (kind, bytes),
            },
            Whole::InputDeflated(kind, range) => (kind, &self.input[range]),
        };
        if self.skips_deflated {
            return incoming(kind, &[]).map(Some);
        }
        // A frame is taken for deflated only where there is an inflater.
        let inflater = self.inflater.as_deref_mut().ok_or(Violation::ReservedBits)?;
        incoming(kind, inflater.inflate(deflated, self.limits.message_bytes_max)?).map(Some)
    }

    /// From here on deflated messages are not inflated but handed out as empty ones: nobody looks at them any more.
    pub fn skip_deflated(&mut self) {
        self.skips_deflated = true;
    }

    /// Bytes not looked at, as they came (still masked). With the `partial` of the last call, a new reader over them
    /// goes on where this one stopped.
    pub fn unread(&self) -> &[u8] {
        &self.input[self.at..]
    }

    fn step(&mut self, partial: &mut Partial) -> Result<Step, Violation> {
        if let Some(frame) = partial.take_frame() {
            return self.read_payload(frame, partial);
        }
        let Some(header) = self.read_header(partial)? else { return Ok(Step::Starved) };
        partial.admit(&header, self.limits)?;
        match header.opens {
            Opens::New(kind) if header.is_final && header.payload_len <= self.unread().len() => {
                let range = self.at..self.at + header.payload_len;
                self.at = range.end;
                unmask(&mut self.input[range.clone()], header.mask);
                let whole = if header.is_deflated { Whole::InputDeflated } else { Whole::Input };
                Ok(Step::Whole(whole(kind, range)))
            }
            Opens::New(_) | Opens::Continuation => {
                let frame = partial.open(&header);
                self.read_payload(frame, partial)
            }
        }
    }

    fn read_header(&mut self, partial: &mut Partial) -> Result<Option<Header>, Violation> {
        let (role, deflates) = (self.role, self.inflater.is_some());
        if !partial.holds_header()
            && let Some((header, len)) = Header::parse(self.unread(), role, deflates)?
        {
            self.at += len;
            return Ok(Some(header));
        }
        let (header, taken) = partial.extend_header(self.unread(), |bytes| Header::parse(bytes, role, deflates))?;
        self.at += taken;
        Ok(header)
    }

    /// Moves what there is of a frame's payload into `partial`.
    fn read_payload(&mut self, mut frame: OpenFrame, partial: &mut Partial) -> Result<Step, Violation> {
        let taken = frame.remaining.min(self.unread().len());
        let piece = &mut self.input[self.at..self.at + taken];
        unmask(piece, frame.mask);
        partial.append(&frame, piece)?;
        self.at += taken;
        frame.remaining -= taken;
        frame.mask = frame.mask.map(|mask| mask::advanced(mask, taken));
        if frame.remaining > 0 {
            partial.keep_frame(frame);
            return Ok(Step::Starved);
        }
        Ok(match frame.control {
            Some(kind) => Step::Whole(Whole::PartialControl(kind)),
            None if frame.is_final => Step::Whole(Whole::PartialMessage),
            None => Step::Again,
        })
    }
}

fn unmask(payload: &mut [u8], mask: Option<[u8; 4]>) {
    if let Some(mask) = mask {
        mask::apply(payload, mask);
    }
}

/// The meaning of one whole frame.
fn incoming(kind: FrameKind, payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    Ok(match kind {
        FrameKind::Text => Incoming::Text(std::str::from_utf8(payload).map_err(|_| Violation::TextNotUtf8)?),
        FrameKind::Binary => Incoming::Binary(payload),
        FrameKind::Ping => Incoming::Ping(payload),
        FrameKind::Pong => Incoming::Pong(payload),
        FrameKind::Close => Incoming::Close(close(payload)?),
    })
}

/// A close frame's payload (RFC 6455, 5.5.1 and 7.4).
fn close(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::CloseTooShort),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // 1014 (bad gateway) is registered with IANA; tungstenite does not know it.
            if code != 1014 && !CloseCode::from(code).is_allowed() {
                return Err(Violation::CloseCode(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseNotUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}

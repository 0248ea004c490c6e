//! A frame that many are sent: made once, in one allocation, whatever forms of it there are.

use std::fmt;
use std::sync::Arc;

/// A complete WebSocket frame, encoded once and shared by the log and everybody it is on its way to. Behind it, in the same
/// allocation, may stand its deflated form, as [`Press::pressed`](crate::wire::press::Press::pressed) makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedFrame(Arc<[u8]>);

impl SharedFrame {
    /// As every client can read it.
    pub fn plain(&self) -> &[u8] {
        &self.0[..self.plain_len()]
    }

    /// As somebody is sent it who agreed on `permessage-deflate` (`deflated`), or did not: the shortest it can read.
    pub fn bytes(&self, deflated: bool) -> &[u8] {
        match &self.0[self.plain_len()..] {
            [] => &self.0,
            behind if deflated => behind,
            _ => self.plain(),
        }
    }

    pub fn has_deflated(&self) -> bool {
        self.plain_len() < self.0.len()
    }

    /// Bytes of all its forms.
    pub fn bytes_held(&self) -> usize {
        self.0.len()
    }

    /// A frame says itself how long it is (RFC 6455, 5.2); the server's have no mask.
    fn plain_len(&self) -> usize {
        let len = match *self.0 {
            [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
            [_, 127, a, b, c, d, e, f, g, h, ..] => 10 + u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize,
            [_, len, ..] => 2 + usize::from(len),
            [..] => 0,
        };
        len.min(self.0.len())
    }
}

/// Of one whole frame, or of one with its deflated form behind it.
impl From<&[u8]> for SharedFrame {
    fn from(frame: &[u8]) -> Self {
        Self(Arc::from(frame))
    }
}

/// Sizes only: what people say to each other does not belong into a log.
impl fmt::Debug for SharedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedFrame({} of {} bytes)", self.plain_len(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FrameKind, write_frame};

    #[test]
    fn a_frame_of_every_length_knows_where_it_ends() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, FrameKind::Binary, &vec![7; len], None);
            let alone = SharedFrame::from(&bytes[..]);
            assert_eq!((alone.plain(), alone.bytes(true), alone.has_deflated()), (&bytes[..], &bytes[..], false));
            let plain = bytes.clone();
            write_frame(&mut bytes, FrameKind::Binary, b"shorter", None);
            let both = SharedFrame::from(&bytes[..]);
            assert_eq!((both.plain(), both.bytes(false), both.has_deflated()), (&plain[..], &plain[..], true));
            assert_eq!(both.bytes(true), &bytes[plain.len()..]);
            assert_eq!(both.bytes_held(), bytes.len());
        }
    }
}

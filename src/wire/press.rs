//! What frames are made with, and what makes them shorter: a buffer, and a deflater that exists once somebody needs it.
//!
//! Promises: nothing is deflated that is not longer than the operator says, and what does not shrink goes as it is; equal
//! bytes and settings give equal frames. One for each shard, lent to its rooms.

use super::envelope::SharedFrame;
use super::envelope::frame_content;
use super::websocket::deflate::Deflater;
use super::websocket::{FrameKind, write_deflated, write_frame};

/// What the operator says about `permessage-deflate` (RFC 7692).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Whether it is agreed on with clients that offer it, and anything is deflated.
    pub enabled: bool,
    /// Messages of more bytes than this are deflated for those who agreed.
    pub bytes_above: usize,
    /// 1 to 9: how much work is put into it.
    pub level: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self { enabled: true, bytes_above: 1_024, level: 2 }
    }
}

/// Makes frames.
#[derive(Default, Debug)]
pub struct Press {
    /// Where a frame is put together; what lies in it is nobody's.
    pub buffer: Vec<u8>,
    settings: Compression,
    deflater: Deflater,
    pressed: u64,
}

impl Press {
    pub fn new(settings: Compression) -> Self {
        Self { settings, ..Self::default() }
    }

    /// These hold from now on.
    pub fn set(&mut self, settings: Compression) {
        self.settings = settings;
        if !settings.enabled {
            self.deflater.give_back();
        }
    }

    /// Whether a message of so many bytes is worth the work.
    pub fn wants(&self, payload_bytes: usize) -> bool {
        self.settings.enabled && payload_bytes > self.settings.bytes_above
    }

    /// The same of a message that stands in its frame already.
    pub fn wants_frame(&self, frame: &SharedFrame) -> bool {
        self.settings.enabled && self.wants(frame_content(frame.plain()).len())
    }

    /// The frame with its deflated form beside it; `None`: it has none, and never will by these settings.
    pub fn pressed(&mut self, frame: &SharedFrame) -> Option<SharedFrame> {
        let plain = frame.plain();
        let (kind, payload) = (kind_of(plain), frame_content(plain));
        if !self.wants(payload.len()) {
            return None;
        }
        let deflated = self.deflater.deflate(payload, self.settings.level)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(plain);
        write_deflated(&mut self.buffer, kind, deflated, None);
        self.pressed += 1;
        Some(SharedFrame::from(&self.buffer[..]))
    }

    /// Puts the deflated form into the place of the whole frame that is the last in `out` and begins at `start`, if it is
    /// worth the work. Returns how many bytes shorter `out` is.
    pub fn press_last(&mut self, out: &mut Vec<u8>, start: usize) -> usize {
        let plain = &out[start..];
        let (kind, payload) = (kind_of(plain), frame_content(plain));
        if !self.wants(payload.len()) {
            return 0;
        }
        let Some(deflated) = self.deflater.deflate(payload, self.settings.level) else { return 0 };
        let before = out.len();
        out.truncate(start);
        write_deflated(out, kind, deflated, None);
        self.pressed += 1;
        before - out.len()
    }

    /// Appends a message as one frame, deflated if it is worth the work. A client masks it.
    pub fn write_message(
        &mut self,
        out: &mut Vec<u8>,
        kind: FrameKind,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) -> usize {
        let deflated =
            if self.wants(payload.len()) { self.deflater.deflate(payload, self.settings.level) } else { None };
        match deflated {
            Some(deflated) => {
                self.pressed += 1;
                write_deflated(out, kind, deflated, mask);
                payload.len() - deflated.len()
            }
            None => {
                write_frame(out, kind, payload, mask);
                0
            }
        }
    }

    /// How many messages were deflated since this was last asked.
    pub fn take_pressed(&mut self) -> u64 {
        std::mem::take(&mut self.pressed)
    }
}

/// Text or binary: the frames of the house are whole messages.
fn kind_of(frame: &[u8]) -> FrameKind {
    if frame.first().is_some_and(|first| first & 0x0f == 1) { FrameKind::Text } else { FrameKind::Binary }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FrameLimits, Incoming, Inflater, Partial, Reader, Role};

    const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };

    fn press(bytes_above: usize) -> Press {
        Press::new(Compression { bytes_above, ..Compression::default() })
    }

    fn frame(kind: FrameKind, payload: &[u8]) -> SharedFrame {
        let mut frame = Vec::new();
        write_frame(&mut frame, kind, payload, None);
        SharedFrame::from(&frame[..])
    }

    fn heard(frame: &[u8]) -> (FrameKind, Vec<u8>) {
        let (mut bytes, mut inflater, mut partial) = (frame.to_vec(), Inflater::default(), Partial::default());
        let mut reader = Reader::new(Role::Client, LIMITS, &mut bytes).inflating(Some(&mut inflater));
        match reader.next(&mut partial) {
            Ok(Some(Incoming::Text(text))) => (FrameKind::Text, text.as_bytes().to_vec()),
            Ok(Some(Incoming::Binary(bytes))) => (FrameKind::Binary, bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_forms_of_a_frame_say_the_same_and_the_deflated_one_is_shorter() {
        let mut press = press(100);
        for (kind, len) in [(FrameKind::Text, 101), (FrameKind::Binary, 300), (FrameKind::Text, 70_000)] {
            let payload = b"said again, ".iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let plain = frame(kind, &payload);
            assert_eq!((plain.bytes(true), plain.bytes(false)), (plain.plain(), plain.plain()), "it has one form");
            let both = press.pressed(&plain).expect("it repeats itself");
            assert_eq!(both.bytes(false), plain.plain());
            assert!(both.bytes(true).len() < both.bytes(false).len() / 2);
            assert_eq!(both.bytes_held(), both.bytes(true).len() + both.bytes(false).len());
            assert_eq!(heard(both.bytes(true)), (kind, payload.clone()));
            assert_eq!(heard(both.bytes(false)), (kind, payload.clone()));
            let mut out = [&b"before"[..], plain.plain()].concat();
            let shorter = press.press_last(&mut out, 6);
            assert_eq!(&out[6..], both.bytes(true));
            assert_eq!(shorter, plain.plain().len() + 6 - out.len());
            let mut out = Vec::new();
            press.write_message(&mut out, kind, &payload, None);
            assert_eq!(out, both.bytes(true));
        }
        assert_eq!(press.take_pressed(), 9);
        assert_eq!(press.take_pressed(), 0);
    }

    #[test]
    fn what_is_short_or_does_not_shrink_goes_as_it_is() {
        let mut press = press(100);
        let noise: Vec<u8> = (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for payload in [&[b'x'; 100][..], &noise] {
            let plain = frame(FrameKind::Binary, payload);
            assert!(press.pressed(&plain).is_none());
            let mut out = plain.plain().to_vec();
            assert_eq!((press.press_last(&mut out, 0), &out[..]), (0, plain.plain()));
            out.clear();
            assert_eq!(press.write_message(&mut out, FrameKind::Binary, payload, None), 0);
            assert_eq!(out, plain.plain());
        }
        press.set(Compression { enabled: false, bytes_above: 0, level: 9 });
        assert!(press.pressed(&frame(FrameKind::Text, &[b'x'; 5_000])).is_none());
        assert_eq!(press.take_pressed(), 0);
    }
}

//! Messages deflated (RFC 7692, 7.2.1), one at a time, with nothing remembered from one to the next: what is deflated once
//! can be read by everybody who agreed on `permessage-deflate` without context takeover.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress};

use super::inflate::TAIL;

/// Costs nothing before the first message, and then some 300 KiB: one for many connections.
#[derive(Default)]
pub(crate) struct Deflater {
    /// And of which level it is.
    state: Option<(Compress, u32)>,
    out: Vec<u8>,
}

impl Deflater {
    /// The payload of a frame whose first reserved bit is set; `None` if it would not be shorter. `level` is one of 1 to 9.
    pub(crate) fn deflate(&mut self, plain: &[u8], level: u32) -> Option<&[u8]> {
        if self.out.len() > BYTES_KEPT {
            self.out = Vec::new();
        }
        if self.state.as_ref().is_none_or(|(_, of)| *of != level) {
            self.state = Some((Compress::new(Compression::new(level), false), level));
        }
        let (state, _) = self.state.as_mut()?;
        state.reset();
        // No more room than a shorter one needs: what does not shrink is given up early. A full buffer may be a part.
        let room = plain.len() + TAIL.len();
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        state.compress(plain, &mut self.out[..room], FlushCompress::Sync).ok()?;
        let made = state.total_out() as usize;
        if state.total_in() as usize != plain.len() || made == room {
            return None;
        }
        self.out[..made].strip_suffix(&TAIL).filter(|deflated| deflated.len() < plain.len())
    }

    /// Gives back all it holds.
    pub(crate) fn give_back(&mut self) {
        *self = Self::default();
    }
}

/// Sizes only: what people say to each other does not belong into a log.
impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("held", &self.out.len()).finish_non_exhaustive()
    }
}

const BYTES_KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_not_deflated() {
        let mut deflater = Deflater::default();
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(5_000)
        .collect();
        for plain in [&b""[..], b"a", b"abc", &noise] {
            assert_eq!(deflater.deflate(plain, 6), None);
        }
        assert!(deflater.deflate(&noise.repeat(3), 6).is_some_and(|deflated| deflated.len() < 11_000));
    }

    #[test]
    fn a_message_is_deflated_the_same_whatever_came_before_it() {
        let said = b"the same words, the same words, the same words again".repeat(30);
        let fresh = |level| Deflater::default().deflate(&said, level).map(<[u8]>::to_vec);
        let mut used = Deflater::default();
        for level in [1, 1, 6, 9, 1] {
            assert_eq!(used.deflate(&said, level).map(<[u8]>::to_vec), fresh(level), "level {level}");
        }
    }
}

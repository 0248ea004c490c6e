//! Messages that came deflated (RFC 7692, 7.2.2), made whole again one at a time.
//!
//! Promises: not a byte more than the limit is made of a message, however little came in; what that costs is bounded by
//! what came and by the limit; nothing is remembered from one message to the next, so one inflater serves a whole shard.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::Violation;

/// Lent to a [`Reader`](super::Reader) whose connection agreed on `permessage-deflate`, by whoever owns many connections.
/// Costs nothing before the first deflated message.
#[derive(Default)]
pub struct Inflater {
    state: Option<Decompress>,
    /// Every byte of it is initialized; the last message lies at its beginning.
    out: Vec<u8>,
    messages: u64,
    /// What was made, in bytes.
    made: u64,
}

impl Inflater {
    /// Makes a whole message of the payload of its frames. At most `bytes_max` long, or [`Violation::InflatesTooBig`].
    pub(super) fn inflate(&mut self, deflated: &[u8], bytes_max: usize) -> Result<&[u8], Violation> {
        self.give_back();
        let state = self.state.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        // One byte more than the limit tells the longest message from one that is too long.
        let ceiling = bytes_max.saturating_add(1);
        let (mut filled, mut streams) = (0, 1);
        for mut input in [deflated, &TAIL] {
            loop {
                if filled == self.out.len().min(ceiling) {
                    self.out.resize((2 * filled).max(BYTES_FIRST).min(ceiling), 0);
                }
                let room = self.out.len().min(ceiling);
                let (taken_before, made_before) = (state.total_in(), state.total_out());
                let status = state
                    .decompress(input, &mut self.out[filled..room], FlushDecompress::Sync)
                    .map_err(|_| Violation::NotDeflate)?;
                let taken = (state.total_in() - taken_before) as usize;
                let made = (state.total_out() - made_before) as usize;
                (input, filled) = (&input[taken..], filled + made);
                self.made += made as u64;
                if filled > bytes_max {
                    return Err(Violation::InflatesTooBig);
                }
                match status {
                    // A sender that cannot flush ends its stream, and may begin another (7.2.3.4).
                    Status::StreamEnd if streams == STREAMS_MAX => return Err(Violation::NotDeflate),
                    Status::StreamEnd => {
                        streams += 1;
                        state.reset(false);
                    }
                    Status::Ok | Status::BufError if taken + made == 0 && !input.is_empty() && filled < room => {
                        return Err(Violation::NotDeflate);
                    }
                    Status::Ok | Status::BufError => {}
                }
                if input.is_empty() && filled < room {
                    break;
                }
            }
        }
        self.messages += 1;
        Ok(&self.out[..filled])
    }

    /// Gives back what a long message took.
    pub fn give_back(&mut self) {
        if self.out.len() > BYTES_KEPT {
            self.out = Vec::new();
        }
    }

    /// How many bytes were made of what came, since this was last asked.
    pub fn take_made(&mut self) -> u64 {
        std::mem::take(&mut self.made)
    }

    /// Takes over what another one, lent in its place, has counted.
    pub fn absorb(&mut self, other: &Self) {
        self.messages += other.messages;
        self.made += other.made;
    }

    /// How many messages were inflated since this was last asked.
    pub fn take_messages(&mut self) -> u64 {
        std::mem::take(&mut self.messages)
    }
}

/// Sizes only: what people say to each other does not belong into a log.
impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("held", &self.out.len()).finish_non_exhaustive()
    }
}

/// What a sender takes off the end of a deflated message, and a receiver puts back (RFC 7692, 7.2.1 and 7.2.2).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// DEFLATE streams in one message: each costs a reset.
const STREAMS_MAX: usize = 1_024;
const BYTES_FIRST: usize = 4 << 10;
const BYTES_KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::deflate::Deflater;

    fn deflated(plain: &[u8]) -> Vec<u8> {
        Deflater::default().deflate(plain, 6).expect("it repeats itself").to_vec()
    }

    #[test]
    fn what_was_deflated_comes_back_and_the_longest_is_told_from_one_too_long() {
        let mut inflater = Inflater::default();
        for len in [40, 4_095, 4_096, 4_097, 70_000, 1_000_000] {
            let plain: Vec<u8> = b"all the same ".iter().copied().cycle().take(len).collect();
            let deflated = deflated(&plain);
            for spare in [0, 1, 100_000] {
                assert!(inflater.inflate(&deflated, len + spare).unwrap() == plain, "{len} + {spare}");
            }
            assert_eq!(inflater.inflate(&deflated, len - 1).unwrap_err(), Violation::InflatesTooBig, "{len}");
        }
        assert_eq!(inflater.take_messages(), 18);
        inflater.give_back();
        assert!(inflater.out.is_empty(), "a long message leaves nothing behind");
    }

    #[test]
    fn a_bomb_is_put_out_at_the_limit() {
        let deflated = deflated(&vec![0; 16 << 20]);
        assert!(deflated.len() < 20_000);
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&deflated, 1_000).unwrap_err(), Violation::InflatesTooBig);
        assert!(inflater.out.len() <= BYTES_FIRST, "{} bytes were made of it", inflater.out.len());
    }

    #[test]
    fn the_examples_of_rfc_7692_7_2_3_say_hello() {
        let mut inflater = Inflater::default();
        let examples: [&[u8]; 5] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            // Without compression, with BFINAL, and as two blocks.
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            // A stream that was ended, and nothing behind it.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for example in examples {
            assert_eq!(inflater.inflate(example, 5), Ok(&b"Hello"[..]), "{example:x?}");
        }
        assert_eq!(inflater.inflate(&[0x00], 0), Ok(&b""[..]), "an empty message is one byte");
        assert_eq!(inflater.inflate(&[], 0), Ok(&b""[..]));
        // With context takeover the second `Hello` would be this, and without it means nothing.
        assert_eq!(inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], 5), Err(Violation::NotDeflate));
    }

    #[test]
    fn streams_one_after_the_other_are_one_message_and_endlessly_many_are_none() {
        let hello: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&[hello, hello, &[0x00]].concat(), 100), Ok(&b"HelloHello"[..]));
        let empty: &[u8] = &[0x03, 0x00];
        assert_eq!(inflater.inflate(&empty.repeat(STREAMS_MAX - 1), 100), Ok(&b""[..]));
        assert_eq!(inflater.inflate(&empty.repeat(STREAMS_MAX), 100), Err(Violation::NotDeflate));
    }

    #[test]
    fn what_is_no_deflate_is_refused() {
        let mut inflater = Inflater::default();
        // A reserved kind of block, a length that is not confirmed.
        for wrong in [&[0x07][..], &[0x00, 0x05, 0x00, 0x00, 0x00], &[0xff; 40]] {
            assert_eq!(inflater.inflate(wrong, 1_000), Err(Violation::NotDeflate), "{wrong:x?}");
        }
    }
}

//! A client's frames: masked, and cut into fragments with control frames between, as RFC 6455 allows.

use throng::base::Encoding;
use throng::wire::{FrameKind, write_frame};

use crate::dice::Dice;

/// Appends one message in one frame or several. Says which pings were slipped in between.
pub(crate) fn write_message(
    out: &mut Vec<u8>,
    encoding: Encoding,
    envelope: &[u8],
    pieces: usize,
    dice: &mut Dice,
) -> Vec<Vec<u8>> {
    let mut pings = Vec::new();
    let piece_len = envelope.len().div_ceil(pieces).max(1);
    let chunks: Vec<&[u8]> = envelope.chunks(piece_len).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        let opcode = match (n, encoding) {
            (0, Encoding::Json) => 1,
            (0, Encoding::MessagePack) => 2,
            (_, Encoding::Json | Encoding::MessagePack) => 0,
        };
        write_raw(out, opcode, n + 1 == chunks.len(), chunk, dice);
        if n + 1 < chunks.len() && dice.chance(300) {
            let payload = dice.roll().to_be_bytes()[..dice.between(0, 8)].to_vec();
            write_frame(out, FrameKind::Ping, &payload, Some(dice.mask()));
            pings.push(payload);
        }
    }
    pings
}

/// One frame with any opcode.
pub(crate) fn write_raw(out: &mut Vec<u8>, opcode: u8, is_final: bool, payload: &[u8], dice: &mut Dice) {
    let mask = dice.mask();
    out.push(u8::from(is_final) << 7 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(len).expect("no envelope here has 64 KiB").to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

//! A client's frames: masked, and cut into fragments with control frames between, as RFC 6455 allows; and deflated, as RFC
//! 7692 does.

use flate2::{Compress, Compression, FlushCompress};
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
    write_payload(out, encoding, (envelope, 0), pieces, dice)
}

/// The same, deflated.
pub(crate) fn write_deflated(
    out: &mut Vec<u8>,
    encoding: Encoding,
    envelope: &[u8],
    pieces: usize,
    dice: &mut Dice,
) -> Vec<Vec<u8>> {
    let mut payload = Vec::with_capacity(envelope.len() + 100);
    let mut state = Compress::new(Compression::new(dice.between(0, 9) as u32), false);
    state.compress_vec(envelope, &mut payload, FlushCompress::Sync).expect("there is room for it");
    let payload = payload.strip_suffix(&[0, 0, 0xff, 0xff]).expect("a flush ends with an empty block");
    write_payload(out, encoding, (payload, RSV1), pieces, dice)
}

fn write_payload(
    out: &mut Vec<u8>,
    encoding: Encoding,
    (payload, bits): (&[u8], u8),
    pieces: usize,
    dice: &mut Dice,
) -> Vec<Vec<u8>> {
    let mut pings = Vec::new();
    let piece_len = payload.len().div_ceil(pieces).max(1);
    let chunks: Vec<&[u8]> = payload.chunks(piece_len).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        let opcode = match (n, encoding) {
            (0, Encoding::Json) => bits | 1,
            (0, Encoding::MessagePack) => bits | 2,
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

/// The bit of a frame that begins a deflated message.
pub(crate) const RSV1: u8 = 0x40;

//! Frames out. Always whole messages: we never fragment.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CONTROL_BYTES_MAX, FrameKind, mask};

/// Appends one whole frame. A client gives a fresh random `mask` with each frame, a server gives none (RFC 6455, 5.3).
///
/// # Panics
/// A control frame of more than [`CONTROL_BYTES_MAX`] bytes is our own bug.
pub fn write_frame(out: &mut Vec<u8>, kind: FrameKind, payload: &[u8], mask: Option<[u8; 4]>) {
    write(out, FrameHeader { opcode: opcode(kind), mask, ..FrameHeader::default() }, payload);
}

/// The same around the deflated payload of a data message (RFC 7692, 6).
pub(crate) fn write_deflated(out: &mut Vec<u8>, kind: FrameKind, deflated: &[u8], mask: Option<[u8; 4]>) {
    let header = FrameHeader { opcode: opcode(kind), rsv1: true, mask, ..FrameHeader::default() };
    assert!(matches!(header.opcode, OpCode::Data(_)), "a control frame is never deflated");
    write(out, header, deflated);
}

fn write(out: &mut Vec<u8>, header: FrameHeader, payload: &[u8]) {
    let (opcode, mask) = (header.opcode, header.mask);
    assert!(
        matches!(opcode, OpCode::Data(_)) || payload.len() <= CONTROL_BYTES_MAX,
        "a control frame has at most 125 bytes, this one {}",
        payload.len()
    );
    out.reserve(header.len(payload.len() as u64) + payload.len());
    header.format(payload.len() as u64, out).expect("writing into a Vec does not fail");
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(&mut out[start..], mask);
    }
}

/// Appends a close frame. The reason is cut to the 123 bytes there is room for, between two characters.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    let room = CONTROL_BYTES_MAX - size_of::<u16>();
    let mut end = reason.len().min(room);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    write_frame(out, FrameKind::Close, &payload[..2 + end], mask);
}

/// Bytes of the header of an unmasked frame with so many bytes of payload.
pub fn header_len(payload_len: usize) -> usize {
    FrameHeader::default().len(payload_len as u64)
}

fn opcode(kind: FrameKind) -> OpCode {
    match kind {
        FrameKind::Text => OpCode::Data(Data::Text),
        FrameKind::Binary => OpCode::Data(Data::Binary),
        FrameKind::Ping => OpCode::Control(Control::Ping),
        FrameKind::Pong => OpCode::Control(Control::Pong),
        FrameKind::Close => OpCode::Control(Control::Close),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6455_5_7_come_out_byte_for_byte() {
        let mut out = Vec::new();
        write_frame(&mut out, FrameKind::Text, b"Hello", None);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        write_frame(&mut out, FrameKind::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        out.clear();
        write_frame(&mut out, FrameKind::Ping, b"Hello", None);
        assert_eq!(out, [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn a_header_is_as_long_as_header_len_says() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (127, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            write_frame(&mut out, FrameKind::Binary, &vec![7; len], None);
            assert_eq!((header_len(len), out.len()), (header, header + len));
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_between_two_characters() {
        let mut out = Vec::new();
        write_close(&mut out, 4001, &"é".repeat(100), None);
        assert_eq!((&out[..4], out.len()), (&[0x88, 124, 0x0f, 0xa1][..], 2 + 124));
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), "é".repeat(61));
        out.clear();
        write_close(&mut out, 1000, &"x".repeat(123), None);
        assert_eq!(out.len(), 2 + 125);
        out.clear();
        write_close(&mut out, 1000, "", None);
        assert_eq!(out, [0x88, 2, 0x03, 0xe8]);
    }
}

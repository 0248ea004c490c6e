//! Properties: what is sent comes out, and how the bytes are cut into reads changes nothing.

use std::io::{Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::{Message, WebSocket};

use super::*;
use crate::wire::websocket::deflate::Deflater;

/// A message or control frame and where to cut it into fragments.
#[derive(Clone, Debug)]
struct Sent {
    said: Said,
    fragment_lens: Vec<usize>,
    /// Sent after the fragment of the same place.
    between: Vec<Option<Said>>,
    /// If both sides agreed on that.
    deflated: bool,
    mask: [u8; 4],
}

fn control() -> impl Strategy<Value = Said> {
    prop_oneof![vec(any::<u8>(), 0..=125).prop_map(Said::Ping), vec(any::<u8>(), 0..=125).prop_map(Said::Pong),]
}

fn message() -> impl Strategy<Value = Said> {
    prop_oneof![
        vec(any::<char>(), 0..300).prop_map(|chars| Said::Text(chars.into_iter().collect())),
        vec(any::<u8>(), 0..700).prop_map(Said::Binary),
        (65_530_usize..65_540).prop_map(|len| Said::Text("x".repeat(len))),
        control(),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let pieces = (vec(0_usize..200, 0..6), vec(proptest::option::of(control()), 6));
    (message(), pieces, any::<bool>(), any::<[u8; 4]>()).prop_map(|(said, (fragment_lens, between), deflated, mask)| {
        Sent { said, fragment_lens, between, deflated, mask }
    })
}

impl Sent {
    /// The frames as bytes, and what a reader is to make of them, in order.
    fn frames(&self, role: Role, agreed: bool) -> (Vec<u8>, Vec<Said>) {
        let mask = (role == Role::Server).then_some(self.mask);
        let (opcode, mut payload) = match &self.said {
            Said::Text(text) => (1, text.as_bytes()),
            Said::Binary(bytes) => (2, &bytes[..]),
            control @ (Said::Ping(_) | Said::Pong(_) | Said::Close(_)) => {
                return (control_frame(control, mask), vec![control.clone()]);
            }
        };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        let mut deflater = Deflater::default();
        let pressed = if self.deflated && agreed { deflater.deflate(payload, 6) } else { None };
        let mut opcode = if pressed.is_some() { 0x40 | opcode } else { opcode };
        payload = pressed.unwrap_or(payload);
        for (len, between) in self.fragment_lens.iter().zip(&self.between) {
            let (head, tail) = payload.split_at(payload.len().min(*len));
            bytes.extend(frame(opcode, head, mask));
            if let Some(control) = between {
                bytes.extend(control_frame(control, mask));
                expected.push(control.clone());
            }
            (opcode, payload) = (0, tail);
        }
        bytes.extend(frame(0x80 | opcode, payload, mask));
        expected.push(self.said.clone());
        (bytes, expected)
    }
}

fn control_frame(control: &Said, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    match control {
        Said::Ping(payload) => write_frame(&mut out, FrameKind::Ping, payload, mask),
        Said::Pong(payload) => write_frame(&mut out, FrameKind::Pong, payload, mask),
        Said::Close(Some((code, reason))) => write_close(&mut out, *code, reason, mask),
        Said::Close(None) => write_frame(&mut out, FrameKind::Close, b"", mask),
        Said::Text(_) | Said::Binary(_) => panic!("not a control frame"),
    }
    out
}

/// `bytes` in reads whose lengths are `lens`, over and over.
fn cut<'a>(mut bytes: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    let mut reads = Vec::new();
    for len in lens.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (read, rest) = bytes.split_at(bytes.len().min(*len));
        reads.push(read);
        bytes = rest;
    }
    reads
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// Small enough that foreign bytes reach them.
const TIGHT: FrameLimits = FrameLimits { message_bytes_max: 60, fragments_max: 3 };

/// Bytes that look like frames more often than chance makes them: small frames, right or slightly wrong, and noise.
fn foreign() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => 0_u8..3, 8 => 0x80_u8..0x83, 4 => 0xc1_u8..0xc3, 2 => 0x41_u8..0x43, 4 => 0x88_u8..0x8b, 1 => any::<u8>()];
    let payload = prop_oneof![
        vec(any::<u8>(), 0..30),
        (0_usize..100, any::<u8>()).prop_map(|(len, byte)| {
            Deflater::default().deflate(&vec![byte; len], 1).map_or_else(Vec::new, <[u8]>::to_vec)
        }),
        vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect::<String>().into_bytes()),
        any::<u16>().prop_map(|code| code.to_be_bytes().to_vec()),
    ];
    let mask = proptest::option::weighted(0.9, any::<[u8; 4]>());
    let piece = prop_oneof![
        9 => (first, payload, mask).prop_map(|(first, payload, mask)| frame(first, &payload, mask)),
        1 => vec(any::<u8>(), 0..20),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_comes_out_however_it_is_fragmented_and_cut(
        role in role(),
        sent in vec(sent(), 1..6),
        lens in vec(prop_oneof![1_usize..20, 1_usize..5_000], 1..8),
    ) {
        for mut ear in [Ear::new(role, LIMITS), Ear::inflating(role, LIMITS)] {
            let agreed = ear.inflater.is_some();
            let (frames, expected): (Vec<_>, Vec<_>) = sent.iter().map(|sent| sent.frames(role, agreed)).unzip();
            prop_assert_eq!(ear.hear_all(cut(&frames.concat(), &lens)), Ok(()));
            prop_assert_eq!(ear.said, expected.concat());
            prop_assert!(ear.partial.is_idle());
        }
    }

    #[test]
    fn foreign_bytes_never_panic_and_come_to_the_same_however_they_are_cut(
        bytes in foreign(),
        lens in vec(1_usize..12, 1..8),
    ) {
        for ears in [[(); 2].map(|()| Ear::new(Role::Server, TIGHT)), [(); 2].map(|()| Ear::inflating(Role::Server, TIGHT))] {
            let [mut whole, mut parts] = ears;
            let outcome = whole.hear(&bytes);
            prop_assert_eq!(parts.hear_all(cut(&bytes, &lens)), outcome);
            prop_assert_eq!(parts.said, whole.said);
            prop_assert!(parts.partial.bytes_held() <= 2 * TIGHT.message_bytes_max + 2 * CONTROL_BYTES_MAX);
            if outcome.is_ok() {
                prop_assert_eq!(parts.partial.is_idle(), whole.partial.is_idle());
            }
        }
    }

    #[test]
    fn tungstenite_reads_what_we_write(
        said in vec(message(), 1..5),
        mask in any::<[u8; 4]>(),
    ) {
        for (mask, role) in [(Some(mask), tungstenite::protocol::Role::Server), (None, tungstenite::protocol::Role::Client)] {
            let mut out = Vec::new();
            for one in &said {
                match one {
                    Said::Text(text) => write_frame(&mut out, FrameKind::Text, text.as_bytes(), mask),
                    Said::Binary(bytes) => write_frame(&mut out, FrameKind::Binary, bytes, mask),
                    control @ (Said::Ping(_) | Said::Pong(_) | Said::Close(_)) => out.extend(control_frame(control, mask)),
                }
            }
            write_close(&mut out, 4001, "slow", mask);
            let mut socket = WebSocket::from_raw_socket(Deaf(Cursor::new(out)), role, None);
            for one in &said {
                prop_assert_eq!(&Said::from(socket.read().unwrap()), one);
            }
            prop_assert_eq!(Said::from(socket.read().unwrap()), Said::Close(Some((4001, "slow".to_owned()))));
        }
    }
}

/// Gives its bytes and swallows what is written to it.
struct Deaf(Cursor<Vec<u8>>);

impl Read for Deaf {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Deaf {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close(close) => {
                Self::Close(close.map(|close| (close.code.into(), close.reason.as_str().to_owned())))
            }
            Message::Frame(_) => panic!("reading gives no raw frames"),
        }
    }
}

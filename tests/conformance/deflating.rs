//! Deflated messages (RFC 7692): what the suite's cases 12 and 13 are about, by payload, length, fragments and offer; and
//! how a peer can go wrong with them.

use std::net::SocketAddr;

use super::MESSAGE_BYTES_MAX;
use super::case::{BINARY, CLOSE, Case, FIN, Heard, PING, TEXT, fragments, frame, ping, pongs, reserved, says, text};
use super::extension::{deflated, ended, inflated};
use super::raw::{RSV1, Raw};

const HELLO: &[u8] = b"Hello, world!";

pub(crate) fn cases() -> Vec<Case> {
    let cases = [messages(), fragmented(), senders(), mixed(), broken(), limits()].into_iter().flatten();
    cases.map(Case::deflated).chain(unasked()).collect()
}

/// A message in one deflated frame.
fn pressed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | RSV1 | opcode, &deflated(payload))
}

/// The same in fragments of so many deflated bytes: the bit stands in the first only (RFC 7692, 6.1).
fn pressed_fragments(opcode: u8, payload: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    fragments(RSV1 | opcode, &deflated(payload), bytes)
}

/// As people write to each other.
fn json(bytes: usize) -> Vec<u8> {
    let line = |n: usize| {
        format!("{{\"id\":{n},\"text\":\"message number {n} of a long conversation, äöü €\",\"read\":true}},")
    };
    let mut json: String = (0..=bytes / 60).map(line).collect();
    while !json.is_char_boundary(bytes) {
        json.insert(0, ' ');
    }
    json.truncate(bytes);
    json.into_bytes()
}

/// Bytes that do not shrink.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The lengths of the suite's cases 12.
const LENGTHS: [usize; 11] = [0, 16, 64, 256, 1_024, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072];

fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in LENGTHS {
        let (json, noise, same) = (json(len), noise(len), vec![0xfe; len]);
        cases.extend([
            Case::good(format!("12.json.{len}"), &[pressed(TEXT, &json)], &[says(&json)]),
            Case::good(format!("12.noise.{len}"), &[pressed(BINARY, &noise)], &[Heard::Binary(noise)]),
            Case::good(format!("12.same.{len}"), &[pressed(BINARY, &same)], &[Heard::Binary(same)]),
        ]);
    }
    let all: Vec<Vec<u8>> = (0..200).map(|n| json(n * 17)).collect();
    let (frames, heard): (Vec<_>, Vec<_>) = all.iter().map(|text| (pressed(TEXT, text), says(text))).unzip();
    cases.push(Case::good("12.many", &frames, &heard).at_once());
    cases.push(Case::good("12.many-in-pieces", &frames, &heard).chopped(1_460));
    cases
}

fn fragmented() -> Vec<Case> {
    let mut cases = Vec::new();
    for (len, bytes) in [(8_192, 256), (65_536, 256), (131_072, 1_024), (1_024, 1)] {
        let text = json(len);
        let case = || {
            Case::good(format!("12.fragments.{len}.{bytes}"), &pressed_fragments(TEXT, &text, bytes), &[says(&text)])
        };
        cases.push(case());
        let mut torn = case().chopped(bytes.max(7) - 1);
        torn.id.push_str(".torn");
        cases.push(torn);
    }
    let text = json(3_000);
    let [first, middle @ .., last] = &pressed_fragments(TEXT, &text, 200)[..] else { panic!("there are several") };
    let pinged = [&[first.clone(), ping("now")], middle, std::slice::from_ref(last)].concat();
    cases.push(Case::good("own.deflate.ping-between", &pinged, &[pongs("now"), says(&text)]));
    cases.push(Case::good("own.deflate.byte-by-byte", &pinged, &[pongs("now"), says(&text)]).chopped(1));
    // A fragment may hold nothing of it.
    let empty = [frame(RSV1 | TEXT, b""), frame(0, &deflated(&text)), frame(FIN, b"")];
    cases.push(Case::good("own.deflate.empty-fragments", &empty, &[says(&text)]).at_once());
    cases
}

/// RFC 7692, 7.2.3: whatever a DEFLATE may look like.
fn senders() -> Vec<Case> {
    let raw = |id: &str, payload: &[u8], says_what: &[u8]| {
        Case::good(format!("own.deflate.{id}"), &[frame(FIN | RSV1 | TEXT, payload)], &[says(says_what)])
    };
    let (one, two) = (ended(b"one, "), ended(b"two"));
    let twice = [&one[..one.len() - 1], &two].concat();
    vec![
        raw("rfc-7.2.3.1", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
        raw("rfc-7.2.3.3-stored", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
        raw("rfc-7.2.3.4-final", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
        raw(
            "rfc-7.2.3.5-two-blocks",
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            b"Hello",
        ),
        raw("rfc-7.2.3.6-empty", &[0x00], b""),
        raw("nothing-at-all", b"", b""),
        raw("ended", &ended(HELLO), HELLO),
        raw("two-streams", &twice, b"one, two"),
    ]
}

/// RFC 7692, 6: each message by itself is deflated or not.
fn mixed() -> Vec<Case> {
    let long = json(5_000);
    let frames = [text(HELLO), pressed(TEXT, &long), text(&long), pressed(TEXT, HELLO), ping("p")];
    let heard = [says(HELLO), says(&long), says(&long), says(HELLO), pongs("p")];
    vec![
        Case::good("own.deflate.mixed", &frames, &heard),
        Case::good("own.deflate.mixed-at-once", &frames, &heard).at_once(),
    ]
}

fn broken() -> Vec<Case> {
    let hello = deflated(HELLO);
    let fails = |id: &str, frames: &[Vec<u8>], code| Case::fails(format!("own.deflate.{id}"), frames, &[], code);
    let first = frame(RSV1 | TEXT, &hello[..4]);
    vec![
        fails("bit-on-continuation", &[first.clone(), frame(FIN | RSV1, &hello[4..])], 1002),
        fails("bit-on-later-only", &[frame(TEXT, b"x"), frame(FIN | RSV1, &hello)], 1002),
        fails("bit-on-ping", &[frame(FIN | RSV1 | PING, b"")], 1002),
        fails("bit-on-close", &[frame(FIN | RSV1 | CLOSE, b"")], 1002),
        fails("bit-on-reserved-opcode", &[frame(FIN | RSV1 | 3, &hello)], 1002),
        fails("other-bits-too", &[reserved(6, TEXT, &hello)], 1002),
        fails("second-bit", &[reserved(2, TEXT, HELLO)], 1002),
        fails("new-within", &[first, pressed(TEXT, HELLO)], 1002),
        fails("not-deflate", &[frame(FIN | RSV1 | BINARY, &[0xff; 40])], 1002),
        // What would be `Hello` again to whoever remembers the last one.
        fails("context-takeover", &[frame(FIN | RSV1 | TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00])], 1002),
        fails("not-utf8", &[pressed(TEXT, &[b'a'; 300].into_iter().chain([0xff]).collect::<Vec<u8>>())], 1007),
        fails("half-a-character", &[pressed(TEXT, &json(400).into_iter().chain([0xc3]).collect::<Vec<u8>>())], 1007),
    ]
}

fn limits() -> Vec<Case> {
    let most = vec![b'x'; MESSAGE_BYTES_MAX];
    let bomb = vec![b'x'; 64 << 20];
    let fails = |id: &str, frames: &[Vec<u8>]| Case::fails(format!("own.deflate.{id}"), frames, &[], 1009);
    vec![
        Case::good("own.deflate.longest", &[pressed(TEXT, &most)], &[says(&most)]),
        fails("one-too-long", &[pressed(TEXT, &[&most[..], b"x"].concat())]),
        fails("bomb", &[pressed(BINARY, &bomb)]),
        fails("bomb-in-fragments", &pressed_fragments(BINARY, &bomb, 1_000)),
    ]
}

/// Who did not offer it may not use it.
fn unasked() -> Vec<Case> {
    vec![Case::fails("own.deflate.unasked", &[pressed(TEXT, HELLO)], &[], 1002)]
}

/// What comes back to `line` with a long message, and how long its frame is.
pub(crate) fn agreed(address: SocketAddr, line: &str) -> (Option<String>, usize) {
    let (mut raw, head) = Raw::ask(address, "/echo", &[line]).switched_by();
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).map(str::to_owned);
    let long = json(10_000);
    raw.send(&text(&long));
    let (first, payload) = raw.frame_as_is().expect("it comes back");
    let said = if first & RSV1 == 0 { payload.clone() } else { inflated(&payload).expect("DEFLATE") };
    assert!(said == long && first & 15 == TEXT && (first & RSV1 != 0) == answer.is_some());
    (answer, payload.len())
}

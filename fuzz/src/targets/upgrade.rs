//! Request heads: the same however the bytes come, nothing carried is ever written back, and answers are whole heads.

use throng::wire::{Asked, Carried, Head, HeadError, Upgrade, read_head, write_refusal};

use super::feed::Feed;

const HEAD_BYTES_MAX: usize = 1_024;

const REQUESTS: [&[u8]; 6] = [
    b"GET /ws",
    b"GET /echo",
    b"GET /ws?ticket=0123456789abcdef",
    b"GET /ws?token=a.b.c&ticket=0123456789abcdef",
    b"POST /ws",
    b"GET /%77s?a=%41",
];
const UPGRADES: &[u8] = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
const LINES: [&[u8]; 15] = [
    b"Sec-WebSocket-Protocol: throng.v1.json",
    b"Sec-WebSocket-Protocol: throng.v1.msgpack",
    b"Sec-WebSocket-Protocol: throng.v9.json, throng.token.a.b.c",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Extensions: x, permessage-deflate; server_max_window_bits=9",
    b"Authorization: Bearer a.b.c",
    b"Cookie: a=b; session=a.b.c",
    b"Origin: null",
    b"Origin: https://a.example:443",
    b"X-Forwarded-For: 192.0.2.1, 2001:db8::1",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Version: 8",
    b"Host: b",
];

/// As bytes come in: the search goes on where it stopped.
fn read(bytes: &[u8], cut: usize) -> Result<Option<Head>, HeadError> {
    let (mut came, mut looked) = (0, 0);
    while came < bytes.len() {
        came = bytes.len().min(came + cut);
        match read_head(&bytes[..came], looked, HEAD_BYTES_MAX) {
            Ok(None) => looked = came,
            done @ (Ok(Some(_)) | Err(_)) => return done,
        }
    }
    Ok(None)
}

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let how = feed.byte();
    let cut = usize::from(how % 32) + 1;
    let composed;
    let bytes = if how & 128 == 0 {
        feed.rest()
    } else {
        composed = compose(&mut feed, how & 64 != 0);
        &composed[..]
    };
    let whole = read_head(bytes, 0, HEAD_BYTES_MAX);
    let parts = read(bytes, cut);
    // A long head may be refused before its end has come, or found in the very bytes that make it long enough.
    if let (Ok(Some(whole)), Ok(Some(parts))) = (&whole, &parts) {
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
    } else if bytes.len() <= HEAD_BYTES_MAX {
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"));
    }
    let Ok(Some(head)) = whole else { return false };
    assert!(head.len <= bytes.len() && head.len <= HEAD_BYTES_MAX);
    match head.what {
        Asked::Elsewhere => false,
        Asked::BadUpgrade { endpoint: _, status, message } => {
            let mut out = Vec::new();
            write_refusal(&mut out, status, "bad_handshake", message, None);
            assert!(is_one_head(&out));
            false
        }
        Asked::Upgrade(upgrade) => check(&upgrade),
    }
}

/// A head made of lines, with or without those that every upgrade has (RFC 6455, section 4.1).
fn compose(feed: &mut Feed<'_>, upgrades: bool) -> Vec<u8> {
    let mut out = REQUESTS[feed.below(REQUESTS.len())].to_vec();
    out.extend(b" HTTP/1.1\r\n");
    if upgrades {
        out.extend(UPGRADES);
    }
    while !feed.is_empty() {
        match feed.below(LINES.len() + 1) {
            known if known < LINES.len() => out.extend(LINES[known]),
            _ => out.extend(feed.piece()),
        }
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
    out
}

fn check(upgrade: &Upgrade) -> bool {
    let mut out = Vec::new();
    upgrade.write_accept(&mut out, false);
    let plain = out.len();
    assert!(!contains(&out, b"permessage-deflate"), "granted though it was switched off");
    out.clear();
    upgrade.write_accept(&mut out, true);
    assert_eq!(out.len() > plain, upgrade.deflate.is_some(), "an extension is granted if and only if it was offered");
    assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\r\n\r\n") && is_one_head(&out));
    let answer = String::from_utf8(out).expect("an answer is text");
    assert!(answer.lines().count() <= 7, "a header of somebody else's making: {answer:?}");
    assert!(!answer.contains(": throng.token."), "a token was written back: {answer:?}");
    let carried = upgrade.token_or_cookie("session");
    // Too short for what was carried to stand in it.
    let shown = format!("{carried:?}");
    assert!(shown.len() < 60, "{shown}");
    let Carried::Ticket(_) = carried else { return false };
    upgrade.chosen == Some("throng.v1.msgpack") && upgrade.origin.as_deref() == Some("null")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Exactly one empty line, and before it only lines that end in CR LF.
fn is_one_head(bytes: &[u8]) -> bool {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let Some(end) = end else { return false };
    bytes[..end].iter().enumerate().all(|(at, byte)| match byte {
        b'\n' => at > 0 && bytes[at - 1] == b'\r',
        b'\r' => bytes.get(at + 1) == Some(&b'\n'),
        byte => !byte.is_ascii_control(),
    })
}

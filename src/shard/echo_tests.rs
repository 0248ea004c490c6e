//! `/echo` without sockets: what comes back, and that every bound of a connection holds there, too.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::*;
use crate::base::{ConnKey, Nets};
use crate::wire::{CloseReason, FrameKind, Grants, Origins, TokenVerifier, write_close, write_frame};

const START: Now = Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 };
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One shard and what everybody was written.
struct House {
    shard: Shard,
    now: Now,
    /// Nobody reads: writes are taken in part, with nothing.
    deaf: bool,
    closed: Vec<CloseReason>,
    handed_over: usize,
}

impl House {
    fn new(limits: Limits, adjust: impl FnOnce(&mut Rules)) -> Self {
        let verifier = Arc::new(TokenVerifier::hs256(b"nobody is asked for a token here", &limits));
        let mut rules = Rules { echo: true, ..Rules::new(limits, verifier, Grants::nothing()) };
        adjust(&mut rules);
        let shard = Shard::new(ShardConfig::tried(ShardId(0), 1, Arc::new(rules)));
        Self { shard, now: START, deaf: false, closed: Vec::new(), handed_over: 0 }
    }

    /// Everything that is written until nothing is due.
    fn takes(&mut self, input: Input<'_>) -> Vec<u8> {
        self.shard.handle(self.now, input);
        self.shard.end_turn(self.now);
        let (mut batch, mut heard) = (Batch::default(), Vec::new());
        while self.shard.fill_batch(self.now, &mut batch) {
            let fates: Vec<(usize, Fate)> = match self.deaf {
                true => (0..batch.writes().len()).map(|at| (at, Fate::Stalled { taken: 0 })).collect(),
                false => Vec::new(),
            };
            if !self.deaf {
                heard.extend_from_slice(batch.arena());
            }
            self.shard.finish_batch(self.now, &mut batch, &fates);
        }
        let mut effects = Vec::new();
        self.shard.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Close { conn, .. } => self.shard.handle(self.now, Input::Released { conn }),
                Effect::HandOver { .. } => self.handed_over += 1,
                Effect::Closed { reason, .. } => self.closed.push(reason),
                Effect::Opened { .. } => panic!("nobody here has a session"),
                Effect::Answer { .. } => {}
            }
        }
        self.shard.check().unwrap();
        heard
    }

    fn asks(&mut self, target: &str, lines: &str) -> (ConnKey, Vec<u8>) {
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        )
        .into_bytes();
        let conn = self.shard.open(self.now, PEER).unwrap();
        let heard = self.takes(Input::Received { conn, bytes: &mut head });
        (conn, heard)
    }

    fn enters(&mut self) -> ConnKey {
        let (conn, heard) = self.asks("/echo", "");
        assert!(heard.starts_with(b"HTTP/1.1 101 ") && heard.ends_with(b"\r\n\r\n"), "{}", heard.escape_ascii());
        conn
    }

    fn says(&mut self, conn: ConnKey, kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, kind, payload, Some([1, 2, 3, 4]));
        self.takes(Input::Received { conn, bytes: &mut frame })
    }

    /// Time passes, with a round of the patrol in each second.
    fn passes(&mut self, ms: u64) -> Vec<u8> {
        let mut heard = Vec::new();
        for _ in 0..ms / 1_000 {
            self.now.mono_ms += 1_000;
            for _ in 0..25 {
                heard.extend(self.takes(Input::Tick));
            }
        }
        heard
    }
}

fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, kind, payload, None);
    out
}

fn goodbye(reason: CloseReason) -> Vec<u8> {
    let mut out = Vec::new();
    write_close(&mut out, reason.code().unwrap(), reason.message(), None);
    out
}

#[test]
fn what_is_said_comes_back_byte_for_byte_whatever_its_kind() {
    let mut house = House::new(Limits::default(), |_| {});
    let conn = house.enters();
    for (kind, payload) in [
        (FrameKind::Text, "no envelope, just words é😀".as_bytes()),
        (FrameKind::Binary, b"\0\xff\xfe"),
        (FrameKind::Text, b""),
        (FrameKind::Binary, &[7; 70_000]),
    ] {
        assert!(house.says(conn, kind, payload) == frame(kind, payload), "{kind:?}");
    }
    assert_eq!(house.says(conn, FrameKind::Ping, b"?"), frame(FrameKind::Pong, b"?"));
    assert_eq!(house.says(conn, FrameKind::Close, b"\x03\xe8later"), frame(FrameKind::Close, b"\x03\xe8"));
    assert_eq!(house.closed, [CloseReason::Bye]);
    let counters = house.shard.counters();
    assert_eq!((counters.count(Count::Echoes), counters.count(Count::Echoed)), (1, 4));
    assert_eq!(house.shard.gauges().sessions, 0);
}

#[test]
fn where_it_is_not_mounted_its_requests_go_where_all_others_go() {
    let mut house = House::new(Limits::default(), |rules| rules.echo = false);
    assert_eq!(house.asks("/echo", "").1, b"");
    // A bad upgrade of what is not there is not told what is bad about it.
    assert_eq!(house.asks("/echo", "Content-Length: 4\r\n").1, b"");
    assert_eq!(house.handed_over, 2);
    assert!(house.asks("/ws", "Content-Length: 4\r\n").1.starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn a_foreign_page_may_not_use_it_and_a_token_is_not_looked_at() {
    let list = Origins::parse(&["https://app.example"]).unwrap();
    let mut house = House::new(Limits::default(), |rules| rules.origins = list);
    assert!(house.asks("/echo", "Origin: https://evil.example\r\n").1.starts_with(b"HTTP/1.1 403 "));
    let lines = "Origin: https://app.example\r\nAuthorization: Bearer nonsense\r\n";
    assert!(house.asks("/echo?token=other", lines).1.starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn the_silent_are_asked_and_then_sent_away() {
    let mut house = House::new(Limits::default(), |_| {});
    let conn = house.enters();
    assert_eq!(house.passes(30_000), frame(FrameKind::Ping, b""));
    assert_eq!(house.says(conn, FrameKind::Pong, b""), b"");
    assert_eq!(house.passes(24_000), b"");
    let heard = house.passes(60_000);
    assert_eq!(heard, [frame(FrameKind::Ping, b""), goodbye(CloseReason::Silent)].concat());
    assert_eq!(house.closed, [CloseReason::Silent]);
}

#[test]
fn who_does_not_read_what_comes_back_is_ended_by_bytes_or_by_time() {
    let limits = Limits {
        message_bytes_max: 1_000,
        outbox_soft_bytes_max: 1_000,
        outbox_hard_bytes_max: 2_000,
        ..Limits::default()
    };
    let (held_max, _) = limits.outbox_bytes_max();
    let mut house = House::new(limits, |_| {});
    let conn = house.enters();
    house.deaf = true;
    let mut said = 0;
    while house.closed.is_empty() {
        house.says(conn, FrameKind::Binary, &[7; 996]);
        said += 1_000;
        assert!(said <= held_max + 2_000, "{said} bytes are held");
    }
    assert_eq!(house.closed, [CloseReason::Slow]);
    assert!(said >= held_max, "{said}");

    house.deaf = false;
    let conn = house.enters();
    house.deaf = true;
    house.says(conn, FrameKind::Text, b"x");
    for _ in 0..40 {
        house.says(conn, FrameKind::Pong, b"");
        house.passes(1_000);
    }
    assert_eq!(house.closed, [CloseReason::Slow, CloseReason::Slow]);
}

#[test]
fn messages_are_bounded_like_everybodys() {
    let limits = Limits { message_bytes_max: 10, fragments_max: 2, ..Limits::default() };
    for broken in [&b"\x82\x8b\0\0\0\0"[..], b"\x02\x80\0\0\0\0\0\x80\0\0\0\0\0\x80\0\0\0\0"] {
        let mut house = House::new(limits.clone(), |_| {});
        let conn = house.enters();
        let heard = house.takes(Input::Received { conn, bytes: &mut broken.to_vec() });
        assert_eq!(&heard[..1], b"\x88", "{}", heard.escape_ascii());
        assert_eq!(&heard[2..4], &1009_u16.to_be_bytes());
    }
}

#[test]
fn who_breaks_the_framing_hears_why_however_much_is_still_to_come() {
    let limits = Limits { message_bytes_max: 10, ..Limits::default() };
    let mut house = House::new(limits, |_| {});
    let conn = house.enters();
    let mut long = Vec::new();
    write_frame(&mut long, FrameKind::Binary, &[0xff; 50_000], Some([1, 2, 3, 4]));
    // All in one turn: nothing is written in between.
    for piece in long.chunks(4_000) {
        house.shard.handle(house.now, Input::Received { conn, bytes: &mut piece.to_vec() });
    }
    let heard = house.takes(Input::Received { conn, bytes: &mut long });
    assert_eq!((&heard[..1], &heard[2..4]), (&b"\x88"[..], &1009_u16.to_be_bytes()[..]));
    // It may still be sending; the socket is not closed in its face.
    assert_eq!(house.closed, []);
    assert_eq!(house.takes(Input::Ended { conn }), b"");
    assert_eq!(house.closed, [CloseReason::TooBig]);
}

#[test]
fn a_bad_goodbye_is_answered_and_the_socket_closed_at_once() {
    for bad in [&b"\x03"[..], b"\x03\xed", b"\x03\xe8\xff"] {
        let mut house = House::new(Limits::default(), |_| {});
        let conn = house.enters();
        assert_eq!(house.says(conn, FrameKind::Close, bad)[..1], b"\x88"[..]);
        assert_eq!(house.closed.len(), 1);
    }
}

#[test]
fn it_takes_a_place_of_its_address_like_everybody() {
    let limits = Limits { connections_per_address_max: 1, uncounted: Nets::none(), ..Limits::default() };
    let mut house = House::new(limits, |_| {});
    house.enters();
    assert_eq!(house.shard.open(START, PEER), Err(CloseReason::AddressFull));
}

#[test]
fn a_server_that_leaves_says_goodbye_when_the_slots_are_over_and_one_that_stops_at_once() {
    let mut house = House::new(Limits::default(), |_| {});
    let conn = house.enters();
    assert_eq!(house.takes(Input::Drain { budget_ms: 10_000 }), b"");
    assert_eq!(house.says(conn, FrameKind::Text, b"still here"), frame(FrameKind::Text, b"still here"));
    assert_eq!(house.passes(8_000), goodbye(CloseReason::Restart));
    house.says(conn, FrameKind::Close, b"");
    assert!(house.shard.is_drained());

    let mut house = House::new(Limits::default(), |_| {});
    house.enters();
    assert_eq!(house.takes(Input::Stop), goodbye(CloseReason::GoingAway));
}

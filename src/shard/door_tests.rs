//! The door over several shards without sockets: users counted across shards, tickets used once, hello, addresses, proxies.

mod arrivals;
mod heartbeats;

use core::net::IpAddr;
use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::base::{ConnKey, Nets};
use crate::wire::{
    Carriers, Claims, CloseReason, FrameKind, Grants, Origins, Proxies, TokenVerifier, Verified, sign_hs256,
    write_frame,
};

const SECRET: &[u8] = b"the secret of a house with two doors";
const START: Now = Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 };

/// Shards, their mail, and what everybody was written.
struct House {
    shards: Vec<Shard>,
    heard: BTreeMap<(usize, ConnKey), String>,
    ended: Vec<(usize, ConnKey, CloseReason)>,
    now: Now,
}

impl House {
    fn new(shards: u16, limits: Limits, adjust: impl FnOnce(&mut Rules)) -> Self {
        limits.check().unwrap();
        let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
        let mut rules = Rules::new(limits, verifier, Grants::everything());
        adjust(&mut rules);
        let rules = Arc::new(rules);
        let config = |id| ShardConfig::tried(ShardId(id), shards, Arc::clone(&rules));
        let shards = (0..shards).map(|id| Shard::new(config(id))).collect();
        Self { shards, heard: Default::default(), ended: Vec::new(), now: START }
    }

    fn comes_from(&mut self, shard: usize, peer: &str) -> Result<ConnKey, CloseReason> {
        let came = self.shards[shard].open(self.now, peer.parse().unwrap());
        self.settle();
        came
    }

    fn comes(&mut self, shard: usize) -> ConnKey {
        self.comes_from(shard, "127.0.0.1").unwrap()
    }

    fn receives(&mut self, shard: usize, conn: ConnKey, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.shards[shard].handle(self.now, Input::Received { conn, bytes: &mut bytes });
    }

    /// Comes with a token by the header.
    fn enters(&mut self, shard: usize, user: &str) -> ConnKey {
        let conn = self.comes(shard);
        self.receives(shard, conn, &head("/ws", &[&format!("Authorization: Bearer {}", token(user))]));
        self.settle();
        conn
    }

    fn heard(&self, shard: usize, conn: ConnKey) -> &str {
        self.heard.get(&(shard, conn)).map_or("", String::as_str)
    }

    fn reason(&self, shard: usize, conn: ConnKey) -> Option<CloseReason> {
        self.ended.iter().rev().find(|(at, who, _)| (*at, *who) == (shard, conn)).map(|(_, _, reason)| *reason)
    }

    /// Whoever it is, its socket is dead.
    fn vanishes(&mut self, shard: usize, conn: ConnKey) {
        self.shards[shard].handle(self.now, Input::Ended { conn });
        self.settle();
    }

    fn passes(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        for shard in &mut self.shards {
            // A whole round of the patrol.
            (0..20).for_each(|_| shard.handle(self.now, Input::Tick));
        }
        self.settle();
    }

    /// Turns of all shards until no letter is under way and nothing is to be written.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.shards.len() {
                moved |= self.turn(at);
            }
            if !moved {
                return;
            }
        }
    }

    fn turn(&mut self, at: usize) -> bool {
        let (now, mut moved) = (self.now, false);
        self.shards[at].end_turn(now);
        let mut batch = Batch::default();
        while self.shards[at].fill_batch(now, &mut batch) {
            for write in batch.writes() {
                let bytes = &batch.arena()[write.start as usize..][..write.len as usize];
                self.heard.entry((at, write.conn)).or_default().push_str(&String::from_utf8_lossy(bytes));
            }
            self.shards[at].finish_batch(now, &mut batch, &[]);
            moved = true;
        }
        let mut effects = Vec::new();
        self.shards[at].take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Closed { conn, reason, .. } => self.ended.push((at, conn, reason)),
                Effect::Close { conn, .. } | Effect::HandOver { conn, .. } => {
                    self.shards[at].handle(now, Input::Released { conn });
                }
                Effect::Opened { .. } | Effect::Answer { .. } => {}
            }
            moved = true;
        }
        let mut mail = VecDeque::new();
        for to in 0..self.shards.len() {
            let parcel = std::mem::take(self.shards[at].outgoing_mut(ShardId(to as u16)));
            mail.extend((!parcel.is_empty()).then_some((to, parcel)));
        }
        for (to, mut parcel) in mail {
            self.shards[to].handle_parcel(now, ShardId(at as u16), &mut parcel);
            moved = true;
        }
        self.shards[at].check().unwrap();
        moved
    }

    fn sessions(&self) -> u64 {
        self.shards.iter().map(|shard| shard.gauges().sessions).sum()
    }

    fn users_counted(&self) -> u64 {
        self.shards.iter().map(Shard::users_counted).sum()
    }
}

fn head(target: &str, more: &[&str]) -> Vec<u8> {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
    .into_bytes()
}

fn token(user: &str) -> String {
    let claims = Claims { sub: user, exp: START.unix_ms / 1_000 + 3_600, info: None, rooms: None };
    sign_hs256(SECRET, &claims).unwrap()
}

fn text(text: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, FrameKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
    frame
}

fn verified(user: &str) -> Verified {
    let verifier = TokenVerifier::hs256(SECRET, &Limits::default());
    verifier.verify(&token(user), START.unix_ms / 1_000).unwrap()
}

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";

// Users

#[test]
fn one_user_too_often_is_told_wherever_it_sits_and_may_come_when_another_went() {
    for shards in [1, 3] {
        let mut house = House::new(shards, Limits { connections_per_user_max: 4, ..Limits::default() }, |_| {});
        let at = |n: usize| n % usize::from(shards);
        let mut anns: Vec<(usize, ConnKey)> = (0..4).map(|n| (at(n), house.enters(at(n), "ann"))).collect();
        house.enters(0, "bob");
        let fifth = house.enters(at(1), "ann");
        assert!(house.heard(at(1), fifth).contains("as many connections as it may"), "{}", house.heard(at(1), fifth));
        assert!(anns.iter().all(|(at, conn)| house.reason(*at, *conn).is_none()));
        // It counts until its socket is gone.
        house.vanishes(at(1), fifth);
        assert_eq!(house.reason(at(1), fifth), Some(CloseReason::UserFull));
        assert_eq!((house.sessions(), house.users_counted()), (5, 5));
        let (shard, conn) = anns.pop().unwrap();
        house.vanishes(shard, conn);
        let again = house.enters(0, "ann");
        assert!(house.heard(0, again).contains("welcome") && house.reason(0, again).is_none());
        assert!(!house.heard(0, again).contains("as many"));
        assert_eq!((house.sessions(), house.users_counted()), (5, 5));
    }
}

#[test]
fn who_is_sent_away_for_another_reason_meanwhile_hears_that_one() {
    let mut house = House::new(2, Limits { connections_per_user_max: 1, ..Limits::default() }, |_| {});
    house.enters(1, "ann");
    let late = house.comes(0);
    house.receives(0, late, &head("/ws", &[OURS, &format!("Authorization: Bearer {}", token("ann"))]));
    house.receives(0, late, b"\x82\x80\x01\x02\x03\x04");
    let now = house.now;
    house.shards[0].handle_parcel(now, ShardId(1), &mut vec![Mail::TooManyOfUser { conns: vec![late] }]);
    house.settle();
    assert!(house.heard(0, late).contains("send text messages"), "{}", house.heard(0, late));
}

#[test]
fn who_comes_and_goes_in_one_turn_is_not_counted_for_ever() {
    let mut house = House::new(2, Limits { connections_per_user_max: 1, ..Limits::default() }, |_| {});
    for _ in 0..10 {
        let conn = house.comes(0);
        house.receives(0, conn, &head("/ws", &[&format!("Authorization: Bearer {}", token("ann"))]));
        house.shards[0].handle(house.now, Input::Ended { conn });
        house.settle();
        // What it was answered may have been written; then it is gone.
        house.passes(10_000);
    }
    assert_eq!((house.sessions(), house.users_counted()), (0, 0));
    let ann = house.enters(0, "ann");
    assert_eq!(house.reason(0, ann), None);
}

// Tickets

#[test]
fn a_ticket_lets_in_once_on_whichever_shard_and_not_when_it_is_old() {
    let mut house = House::new(3, Limits::default(), |_| {});
    for redeemer in 0..3 {
        let ticket = house.shards[1].make_ticket(house.now, verified("ann")).unwrap().to_string();
        let conn = house.comes(redeemer);
        // Its first frame comes along, and waits for the answer as it does.
        let bytes = [head(&format!("/ws?ticket={ticket}"), &[OURS]), text(r#"{"type":"ping","id":9}"#)].concat();
        house.receives(redeemer, conn, &bytes[..bytes.len() - 3]);
        house.receives(redeemer, conn, &bytes[bytes.len() - 3..]);
        house.settle();
        let heard = house.heard(redeemer, conn);
        assert!(
            heard.contains("101 Switching") && heard.contains(r#""user":"ann""#) && heard.contains(r#""id":9"#),
            "{heard}"
        );
        for again in 0..3 {
            let conn = house.comes(again);
            house.receives(again, conn, &head(&format!("/ws?ticket={ticket}"), &[]));
            house.settle();
            let heard = house.heard(again, conn);
            assert!(heard.contains("401") && heard.contains("used already"), "{heard}");
            assert_eq!(house.reason(again, conn), Some(CloseReason::Expired));
        }
    }
    let old = house.shards[0].make_ticket(house.now, verified("ann")).unwrap().to_string();
    house.passes(30_000);
    let conn = house.comes(2);
    house.receives(2, conn, &head(&format!("/ws?ticket={old}"), &[OURS]));
    house.settle();
    assert!(house.heard(2, conn).contains("101 Switching") && house.heard(2, conn).contains("too old"));
    for never_made in ["x", &format!("ffff{:032x}", 7), &format!("0000{:032X}", 0xa)] {
        let conn = house.comes(2);
        house.receives(2, conn, &head(&format!("/ws?ticket={never_made}"), &[]));
        house.settle();
        assert_eq!(house.reason(2, conn), Some(CloseReason::BadToken), "{never_made}");
    }
}

#[test]
fn a_ticket_cannot_be_put_together_from_what_rooms_tell_everybody() {
    let mut house = House::new(1, Limits::default(), |_| {});
    let ann = house.enters(0, "ann");
    for room in ["a", "b", "c", "d"] {
        house.receives(0, ann, &text(&format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#)));
    }
    house.settle();
    let tickets = [0; 2].map(|_| house.shards[0].make_ticket(house.now, verified("bob")).unwrap().to_string());
    let epochs: Vec<&str> = house.heard(0, ann).split(r#""epoch":""#).skip(1).map(|rest| &rest[..16]).collect();
    assert_eq!(epochs.len(), 4);
    for (ticket, epoch) in tickets.iter().flat_map(|ticket| epochs.iter().map(move |epoch| (ticket, epoch))) {
        assert!(!ticket.contains(epoch), "{ticket} holds the epoch {epoch}");
    }
}

#[test]
fn tickets_are_bounded_and_their_places_come_back_with_time() {
    let mut house = House::new(1, Limits { tickets_max: 3, ..Limits::default() }, |_| {});
    let now = house.now;
    let make = |house: &mut House| house.shards[0].make_ticket(house.now, verified("ann"));
    assert!((0..3).all(|_| make(&mut house).is_some()));
    assert_eq!(make(&mut house), None);
    assert_eq!(house.shards[0].counters().count(Count::TicketsFull), 1);
    house.now = Now { mono_ms: now.mono_ms + 30_000, ..now };
    assert!(make(&mut house).is_some());
}

#[test]
fn who_is_cut_while_its_ticket_is_asked_for_leaves_nothing_behind() {
    let mut house = House::new(2, Limits::default(), |_| {});
    let ticket = house.shards[1].make_ticket(house.now, verified("ann")).unwrap();
    let conn = house.comes(0);
    house.receives(0, conn, &[head(&format!("/ws?ticket={ticket}"), &[]), vec![1, 2, 3]].concat());
    house.shards[0].check().unwrap();
    house.shards[0].handle(house.now, Input::Ended { conn });
    house.settle();
    assert_eq!((house.sessions(), house.reason(0, conn)), (0, Some(CloseReason::Gone)));
}

// Hello

#[test]
fn hello_opens_a_session_and_what_comes_behind_it_is_carried_out() {
    let long = "x".repeat(5_000);
    for cut in [1, 20, 4_000] {
        let mut house = House::new(2, Limits::default(), |_| {});
        let conn = house.comes(0);
        house.receives(0, conn, &head("/ws", &[OURS]));
        house.settle();
        let answered = house.heard(0, conn).to_owned();
        assert!(answered.starts_with("HTTP/1.1 101") && !answered.contains("welcome"), "{answered}");
        let hello = text(&format!(r#"{{"type":"hello","id":1,"token":"{}"}}"#, token("ann")));
        // Longer than a hello may be: the limits of a session hold at once.
        let publish = text(&format!(r#"{{"type":"publish","id":2,"room":"a","data":"{long}"}}"#));
        let bytes = [hello, publish, text(r#"{"type":"hello","id":3,"token":"x"}"#)].concat();
        bytes.chunks(cut).for_each(|piece| house.receives(0, conn, piece));
        house.settle();
        let heard = &house.heard(0, conn)[answered.len()..];
        for part in [r#""user":"ann""#, r#"{"type":"reply","id":1}"#, r#""offset":1"#, r#""code":"unsupported""#] {
            assert!(heard.contains(part), "{part}: {heard}");
        }
        assert_eq!(house.reason(0, conn), None);
    }
}

#[test]
fn before_hello_nothing_is_served_and_it_ends_in_time() {
    let bad_token = format!(r#"{{"type":"hello","token":"{}x"}}"#, token("ann"));
    let table = [
        (text(r#"{"type":"join","id":1,"room":"a"}"#), CloseReason::BadToken),
        (text(r#"{"type":"ping"}"#), CloseReason::BadToken),
        (text("nonsense"), CloseReason::BadToken),
        (text(r#"{"type":"hello"}"#), CloseReason::BadToken),
        (text(&bad_token), CloseReason::BadToken),
        (text(&format!(r#"{{"type":"hello","token":"{}"}}"#, "x".repeat(4_096))), CloseReason::TooBig),
        (b"\x82\x80\x01\x02\x03\x04".to_vec(), CloseReason::WrongKind),
        (b"\xf1\x80\x01\x02\x03\x04".to_vec(), CloseReason::Protocol),
    ];
    for (bytes, reason) in table {
        let mut house = House::new(1, Limits::default(), |_| {});
        let conn = house.comes(0);
        house.receives(0, conn, &[head("/ws", &[OURS]), bytes].concat());
        house.settle();
        house.vanishes(0, conn);
        assert_eq!(house.reason(0, conn), Some(reason), "{}", house.heard(0, conn));
        assert!(!house.heard(0, conn).contains("welcome"));
    }
    let mut house = House::new(1, Limits::default(), |_| {});
    let conn = house.comes(0);
    house.receives(0, conn, &head("/ws", &[OURS]));
    house.receives(0, conn, b"\x89\x81\x01\x02\x03\x04x");
    house.passes(9_000);
    // A ping (of `y`, masked) is answered and buys no time.
    house.receives(0, conn, b"\x89\x81\x01\x02\x03\x04x");
    house.passes(1_000);
    let pongs = house.heard(0, conn).matches("\u{1}y").count();
    assert_eq!(pongs, 2);
    assert!(house.heard(0, conn).contains("no hello"), "{}", house.heard(0, conn));
    house.passes(3_000);
    assert_eq!(house.reason(0, conn), Some(CloseReason::NoHello));
}

/// Nobody knows who it is: what waits for it is bounded, whatever it sends and however little it reads.
#[test]
fn before_hello_the_latest_ping_is_answered_and_who_reads_no_answer_is_cut_off() {
    let ping = |letter: u8| {
        let mut frame = Vec::new();
        write_frame(&mut frame, FrameKind::Ping, &[letter; 125], Some([1, 2, 3, 4]));
        frame
    };
    let mut house = House::new(1, Limits::default(), |_| {});
    let conn = house.comes(0);
    let pings: Vec<u8> = (0..500).flat_map(|n| ping(if n < 499 { b'a' } else { b'z' })).collect();
    let hello = text(&format!(r#"{{"type":"hello","token":"{}"}}"#, token("ann")));
    house.receives(0, conn, &[head("/ws", &[OURS]), pings, hello].concat());
    house.settle();
    let heard = house.heard(0, conn);
    assert_eq!((heard.matches("aaaaa").count(), heard.matches(&"z".repeat(125)).count()), (0, 1), "{heard}");
    assert!(heard.contains("welcome"), "{heard}");

    let slow = house.comes(0);
    house.receives(0, slow, &head("/ws", &[OURS]));
    let waiting =
        |house: &House| house.shards[0].connections.row(slow).map(|row| row.work.as_ref().unwrap().outbox.len());
    let mut most = 0;
    // It takes nothing of what is written to it.
    for _ in 0..10_000 {
        let Some(bytes) = waiting(&house) else { break };
        most = most.max(bytes);
        house.receives(0, slow, &ping(b'b'));
    }
    house.settle();
    assert_eq!(house.reason(0, slow), Some(CloseReason::Slow));
    assert!((4_000..4_500).contains(&most), "{most}");
}

#[test]
fn without_a_subprotocol_of_ours_or_where_it_is_switched_off_no_hello_is_awaited() {
    let mut house = House::new(1, Limits::default(), |_| {});
    let conn = house.comes(0);
    house.receives(0, conn, &head("/ws", &[]));
    house.settle();
    assert!(house.heard(0, conn).starts_with("HTTP/1.1 401"));
    let mut house = House::new(1, Limits::default(), |rules| rules.carriers = Carriers { hello: false, cookie: None });
    let conn = house.comes(0);
    house.receives(0, conn, &head("/ws", &[OURS]));
    house.settle();
    house.vanishes(0, conn);
    assert_eq!(house.reason(0, conn), Some(CloseReason::BadToken));
}

// Cookies and origins

#[test]
fn a_cookie_speaks_only_for_a_page_that_is_listed() {
    let cookie = format!("Cookie: session={}", token("ann"));
    let listed = || Origins::parse(&["https://app.example", "same-host"]).unwrap();
    let any = || Origins::parse(&["*"]).unwrap();
    let table = [
        (listed(), Some("https://app.example"), None),
        (listed(), Some("https://h"), Some(CloseReason::BadToken)),
        (listed(), None, Some(CloseReason::BadToken)),
        (listed(), Some("https://evil.example"), Some(CloseReason::Origin)),
        (listed(), Some("null"), Some(CloseReason::Origin)),
        (any(), Some("https://app.example"), Some(CloseReason::BadToken)),
        (Origins::default(), Some("https://h"), Some(CloseReason::BadToken)),
    ];
    for (origins, origin, reason) in table {
        let mut house = House::new(1, Limits::default(), |rules| {
            rules.origins = origins;
            rules.carriers.cookie = Some("session".to_owned());
        });
        let conn = house.comes(0);
        let origin_line = origin.map_or_else(|| "X: y".to_owned(), |origin| format!("Origin: {origin}"));
        house.receives(0, conn, &head("/ws", &[&cookie, &origin_line]));
        house.settle();
        assert_eq!(house.reason(0, conn), reason, "{origin:?}: {}", house.heard(0, conn));
    }
}

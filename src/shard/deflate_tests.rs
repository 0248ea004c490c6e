//! Two shards, by hand: who agreed on deflated messages hears the same as everybody else, in fewer bytes.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::*;
use crate::base::{ConnKey, Encoding};
use crate::wire::client::{CommandOut, write_command};
use crate::wire::{
    Claims, Compression, FrameKind, FrameLimits, Grants, Incoming, Partial, Reader, Role, TokenVerifier, prove,
    sign_hs256, write_frame,
};

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
const NOW: Now = Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 };
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: usize = 5_000;

/// A connection and what it was written.
struct Client {
    at: usize,
    conn: ConnKey,
    encoding: Encoding,
    /// What it offered was agreed on.
    agreed: bool,
    bytes: Vec<u8>,
}

struct House {
    shards: Vec<Shard>,
    clients: Vec<Client>,
    closed: Vec<CloseReason>,
}

fn rules(limits: Limits, compression: Compression) -> Arc<Rules> {
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    Arc::new(Rules { compression, echo: true, ..Rules::new(limits, verifier, Grants::everything()) })
}

/// What somebody says at length.
fn long() -> String {
    "the same words again ".repeat(LONG / 21)
}

impl House {
    fn new(limits: Limits) -> Self {
        let rules = rules(limits, Compression::default());
        let config = |id| ShardConfig {
            id,
            shards: 2,
            rules: Arc::clone(&rules),
            seed: [1, 2],
            flush: Flush::Eager,
            node: Arc::from("test"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        };
        let shards = (0..2).map(|id| Shard::new(config(ShardId(id)))).collect();
        Self { shards, clients: Vec::new(), closed: Vec::new() }
    }

    fn rests(&mut self) {
        while (0..2).filter(|at| self.turn(*at)).count() > 0 {}
    }

    fn turn(&mut self, at: usize) -> bool {
        let shard = &mut self.shards[at];
        shard.end_turn(NOW);
        let (mut batch, mut busy) = (Batch::default(), shard.has_work());
        while shard.fill_batch(NOW, &mut batch) {
            busy = true;
            for write in batch.writes() {
                let to = self.clients.iter_mut().find(|client| client.at == at && client.conn == write.conn);
                to.expect("only who is here is written to").bytes.extend_from_slice(batch.bytes(write));
            }
            shard.finish_batch(NOW, &mut batch, &[]);
        }
        let mut effects = Vec::new();
        shard.take_effects(&mut effects);
        for effect in effects {
            if let Effect::Closed { reason, .. } = effect {
                self.closed.push(reason);
            }
        }
        self.shards[at].check().unwrap();
        for to in 0..2 {
            let mut parcel = std::mem::take(self.shards[at].outgoing_mut(ShardId(to)));
            if !parcel.is_empty() {
                busy = true;
                self.shards[usize::from(to)].handle_parcel(NOW, ShardId(at as u16), &mut parcel);
            }
        }
        busy
    }

    fn asks(&mut self, at: usize, target: &str, encoding: Encoding, lines: &str) -> usize {
        let offer = match encoding {
            Encoding::Json => "throng.v1.json",
            Encoding::MessagePack => "throng.v1.msgpack",
        };
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {offer}\r\n{lines}\r\n"
        )
        .into_bytes();
        let conn = self.shards[at].open(NOW, PEER).expect("a free row");
        self.clients.push(Client { at, conn, encoding, agreed: false, bytes: Vec::new() });
        self.shards[at].handle(NOW, Input::Received { conn, bytes: &mut head });
        self.rests();
        let client = self.clients.last_mut().expect("it came a moment ago");
        let end = client.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(client.bytes.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.agreed = head.contains("Sec-WebSocket-Extensions: permessage-deflate;");
        self.clients.len() - 1
    }

    fn comes(&mut self, at: usize, encoding: Encoding, offers: bool) -> usize {
        let user = format!("user-{}", self.clients.len());
        let claims = Claims { sub: &user, exp: NOW.unix_ms / 1_000 + 60_000, info: None, rooms: None };
        let token = sign_hs256(SECRET, &claims).unwrap();
        let extension = if offers { DEFLATE } else { "" };
        let who = self.asks(at, "/ws", encoding, &format!("Authorization: Bearer {token}\r\n{extension}"));
        self.hears(who);
        who
    }

    /// A message of this client's kind, deflated if it agreed on that.
    fn says(&mut self, who: usize, command: &CommandOut<'_>) {
        let mut envelope = Vec::new();
        write_command(&mut envelope, self.clients[who].encoding, Some(7), command);
        let frame = self.frame(who, &envelope);
        self.sends(who, frame);
    }

    fn frame(&self, who: usize, payload: &[u8]) -> Vec<u8> {
        let client = &self.clients[who];
        let kind = if client.encoding == Encoding::Json { FrameKind::Text } else { FrameKind::Binary };
        let mut press = Press::new(Compression { enabled: client.agreed, bytes_above: 0, level: 9 });
        let mut out = Vec::new();
        press.write_message(&mut out, kind, payload, Some([1, 2, 3, 4]));
        out
    }

    fn sends(&mut self, who: usize, mut bytes: Vec<u8>) {
        let Client { at, conn, .. } = self.clients[who];
        self.shards[at].handle(NOW, Input::Received { conn, bytes: &mut bytes });
        self.rests();
    }

    fn joins(&mut self, who: usize, history: Option<u32>) {
        self.says(who, &CommandOut::Join { room: "hall", since: None, history, presence: false });
    }

    fn publishes(&mut self, who: usize, text: &str) {
        let (json, mut raw) = (format!("\"{text}\""), Vec::new());
        let encoding = self.clients[who].encoding;
        prove(Encoding::Json, json.as_bytes(), 32).unwrap().write_as(encoding, &mut raw);
        let data = prove(encoding, &raw, 32).unwrap();
        self.says(who, &CommandOut::Publish { room: "hall", data, event: None, echo: None, key: None });
    }

    /// Everything since it was last asked: how many bytes that took, and the text of each message (bytes of MessagePack that
    /// are no text are left out).
    fn hears(&mut self, who: usize) -> (usize, Vec<String>) {
        let client = &mut self.clients[who];
        let mut bytes = std::mem::take(&mut client.bytes);
        let (len, mut inflater, mut partial, mut heard) =
            (bytes.len(), Inflater::default(), Partial::default(), Vec::new());
        let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
        let inflater = client.agreed.then_some(&mut inflater);
        let mut reader = Reader::new(Role::Client, limits, &mut bytes).inflating(inflater);
        while let Some(incoming) = reader.next(&mut partial).expect("a stream of frames") {
            match (incoming, client.encoding) {
                (Incoming::Text(text), Encoding::Json) => heard.push(text.to_owned()),
                (Incoming::Binary(bytes), Encoding::MessagePack) => {
                    heard.push(String::from_utf8_lossy(bytes).into_owned())
                }
                (Incoming::Close(Some((code, reason))), _) => heard.push(format!("closed {code} {reason}")),
                (other, encoding) => panic!("{other:?} on a connection of {encoding:?}"),
            }
        }
        assert!(partial.is_idle());
        (len, heard)
    }

    fn count(&self, count: Count) -> u64 {
        self.shards.iter().map(|shard| shard.counters().count(count)).sum()
    }
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

#[test]
fn a_long_message_is_deflated_once_for_each_encoding_and_everybody_hears_the_same() {
    let mut house = House::new(Limits::default());
    let mut readers = Vec::new();
    for at in 0..2 {
        for encoding in Encoding::ALL {
            readers.extend([true, false, true].map(|offers| house.comes(at, encoding, offers)));
        }
    }
    readers.iter().for_each(|who| house.joins(*who, None));
    readers.iter().for_each(|who| drop(house.hears(*who)));
    assert_eq!(house.count(Count::DeflateAgreed), 8);
    let publisher = house.comes(0, Encoding::Json, true);
    house.publishes(publisher, &long());
    let mut plain_bytes = [0; 2];
    for who in &readers {
        let (bytes, heard) = house.hears(*who);
        let Client { agreed, encoding, .. } = house.clients[*who];
        assert!(heard.len() == 1 && heard[0].contains(&long()), "{heard:?}");
        if agreed {
            assert!(bytes < LONG / 10, "{bytes}");
        } else {
            assert!(bytes > LONG, "{bytes}");
            plain_bytes[encoding.index()] = bytes;
        }
    }
    assert_eq!(house.count(Count::Deflated), 2, "once for each encoding, not for each of eight readers");
    let saved = house.count(Count::DeflateSaved) as usize;
    assert!((8 * LONG * 9 / 10..8 * plain_bytes[1]).contains(&saved), "{saved}");
    // A short one is the same bytes for all of an encoding, and nobody is lent anything for long.
    house.publishes(publisher, "short");
    let bytes: Vec<usize> = readers.iter().map(|who| house.hears(*who).0).collect();
    assert!(bytes.iter().all(|bytes| *bytes < 200), "{bytes:?}");
    assert_eq!(house.count(Count::Deflated), 2);
    assert!(house.count(Count::Inflated) > 0, "clients deflate, too");
    assert!(house.shards.iter().all(|shard| shard.gauges().work_spaces == 0));
}

#[test]
fn who_comes_later_pulls_the_same_deflated_frame() {
    let mut house = House::new(Limits::default());
    let publisher = house.comes(1, Encoding::Json, false);
    (0..3).for_each(|_| house.publishes(publisher, &long()));
    assert_eq!(house.count(Count::Deflated), 0, "nobody wants it so");
    for (late, pressed) in [(0, 3), (1, 3)] {
        let reader = house.comes(late, Encoding::Json, true);
        house.joins(reader, Some(10));
        let (bytes, heard) = house.hears(reader);
        assert_eq!(heard.iter().filter(|text| text.contains(&long())).count(), 3);
        assert!(bytes < LONG, "{bytes}");
        assert_eq!(house.count(Count::Deflated), pressed);
    }
    let plain = house.comes(0, Encoding::Json, false);
    house.joins(plain, Some(10));
    assert!(house.hears(plain).0 > 3 * LONG);
}

#[test]
fn an_answer_that_is_long_is_deflated_for_the_one_who_asked() {
    let mut house = House::new(Limits::default());
    let publisher = house.comes(0, Encoding::Json, false);
    (0..10).for_each(|_| house.publishes(publisher, &long()));
    for offers in [true, false] {
        let reader = house.comes(1, Encoding::Json, offers);
        let from = HistoryFrom::Newest;
        house.says(reader, &CommandOut::History { room: "hall", from, messages_max: Some(10) });
        let (bytes, heard) = house.hears(reader);
        assert!(heard[0].contains("reply") && heard[0].matches(&long()).count() == 10);
        assert_eq!(bytes < LONG, offers, "{bytes}");
    }
    let echo = house.asks(0, "/echo", Encoding::Json, DEFLATE);
    let frame = house.frame(echo, long().as_bytes());
    house.sends(echo, frame);
    let (bytes, heard) = house.hears(echo);
    assert!(heard == [long()] && bytes < LONG / 10, "{bytes}");
}

#[test]
fn a_bomb_ends_the_connection_and_is_counted_before_a_session_and_in_it() {
    let mut house = House::new(Limits { message_bytes_max: 10_000, ..Limits::default() });
    let guest = house.comes(0, Encoding::Json, true);
    let stranger = house.asks(1, "/ws", Encoding::Json, DEFLATE);
    assert!(house.clients[stranger].agreed);
    // Of a `hello` there may be less.
    for (nth, (who, bytes)) in [(guest, 10_001), (stranger, 4_097)].into_iter().enumerate() {
        let bomb = house.frame(who, "x".repeat(bytes).as_bytes());
        assert!(bomb.len() < 100);
        house.sends(who, bomb);
        let (_, heard) = house.hears(who);
        assert_eq!(heard, ["closed 1009 a deflated message is longer than the limit"]);
        assert_eq!(house.count(Count::BombsRefused), nth as u64 + 1);
    }
    let (mut wrong, other) = (Vec::new(), house.comes(0, Encoding::Json, true));
    write_frame(&mut wrong, FrameKind::Text, &[0xff; 9], Some([0; 4]));
    wrong[0] |= 0x40;
    house.sends(other, wrong);
    assert!(house.hears(other).1[0].starts_with("closed 1002 "));
    assert_eq!(house.count(Count::BombsRefused), 2);
}

#[test]
fn a_deflated_hello_is_a_hello() {
    let mut house = House::new(Limits::default());
    let claims = Claims { sub: "ann", exp: NOW.unix_ms / 1_000 + 60_000, info: None, rooms: None };
    let token = sign_hs256(SECRET, &claims).unwrap();
    let who = house.asks(0, "/ws", Encoding::Json, DEFLATE);
    let hello = house.frame(who, format!(r#"{{"type":"hello","token":"{token}"}}"#).as_bytes());
    let ping = house.frame(who, format!(r#"{{"type":"ping","id":1{}}}"#, " ".repeat(300)).as_bytes());
    assert!(ping[0] & 0x40 != 0);
    house.sends(who, [hello, ping].concat());
    let (_, heard) = house.hears(who);
    assert!(heard[0].contains("welcome") && heard[1].contains(r#""id":1"#), "{heard:?}");
}

#[test]
fn switched_off_it_is_agreed_on_no_more_and_who_agreed_is_still_understood() {
    let mut house = House::new(Limits::default());
    let reader = house.comes(0, Encoding::Json, true);
    house.joins(reader, None);
    house.hears(reader);
    let off = Compression { enabled: false, ..Compression::default() };
    for shard in &mut house.shards {
        shard.handle(NOW, Input::Rules(rules(Limits::default(), off)));
    }
    house.publishes(reader, &long());
    let (bytes, heard) = house.hears(reader);
    assert!(heard.iter().any(|text| text.contains(r#""offset":1"#)), "its deflated message was read: {heard:?}");
    let other = house.comes(0, Encoding::Json, true);
    assert!(!house.clients[other].agreed);
    house.publishes(other, &long());
    assert!(bytes < 500 && house.hears(reader).0 > LONG);
    assert_eq!((house.count(Count::Deflated), house.count(Count::DeflateAgreed)), (0, 1));
}

/// A command that says little, however much is made of it.
fn bomb(house: &House, who: usize, bytes: usize) -> Vec<u8> {
    house.frame(who, format!(r#"{{"type":"ping","id":1,"x":"{}"}}"#, "a".repeat(bytes)).as_bytes())
}

#[test]
fn who_has_more_inflated_than_is_allowed_in_a_tick_is_closed_and_then_nothing_is_inflated_for_it() {
    let mut house = House::new(Limits { inflated_per_tick_max: 1_000_000, ..Limits::default() });
    let [rude, calm] = [0, 1].map(|at| house.comes(at, Encoding::Json, true));
    let bombs = [bomb(&house, rude, 400_000), bomb(&house, rude, 400_000)].concat();
    house.sends(rude, bombs);
    house.sends(calm, bomb(&house, calm, 900_000));
    assert_eq!(house.hears(rude).1.len(), 2, "two answers");
    assert_eq!(house.count(Count::Inflated), 3);
    let bombs = [bomb(&house, rude, 400_000), bomb(&house, rude, 400_000)].concat();
    house.sends(rude, bombs);
    let last = house.hears(rude).1.pop().unwrap();
    assert!(last.starts_with("closed 4007"), "{last}");
    assert_eq!(house.count(Count::Inflated), 5);
    house.sends(rude, bomb(&house, rude, 900_000));
    assert_eq!(house.count(Count::Inflated), 5, "nobody looks at it any more");
    (0..2).for_each(|at| house.shards[at].handle(NOW, Input::Tick));
    house.sends(calm, bomb(&house, calm, 900_000));
    let heard = house.hears(calm).1;
    assert!(heard.len() == 2 && heard[1].contains("reply"), "another tick, another share: {heard:?}");
}

#[test]
fn answers_are_deflated_within_the_share_of_a_tick_and_sent_as_they_are_beyond_it() {
    let mut house = House::new(Limits { answers_deflated_per_tick_max: 2 * LONG, ..Limits::default() });
    let reader = house.comes(0, Encoding::Json, true);
    house.publishes(reader, &long());
    house.hears(reader);
    let page = CommandOut::History { room: "hall", from: HistoryFrom::Newest, messages_max: Some(10) };
    let bytes = [0; 3].map(|_| {
        house.says(reader, &page);
        house.hears(reader).0
    });
    assert!(bytes[0] < LONG / 2 && bytes[2] > LONG, "{bytes:?}");
    assert!(house.count(Count::DeflatePassedOver) > 0);
    house.shards[0].handle(NOW, Input::Tick);
    house.says(reader, &page);
    assert_eq!(house.hears(reader).0, bytes[0]);
}

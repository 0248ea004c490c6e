//! Two shards, by hand: who agreed on deflated messages hears the same as everybody else, in fewer bytes.

use std::sync::Arc;

use super::house::{House, Who, token};
use super::*;
use crate::base::Encoding;
use crate::wire::client::{CommandOut, write_command};
use crate::wire::{Compression, FrameKind, FrameLimits, Incoming, Partial, Reader, Role, prove, write_frame};

const LONG: usize = 5_000;

/// Two shards, and people who may send and take deflated messages of either encoding.
struct Hall {
    house: House,
    clients: Vec<Client>,
}

struct Client {
    who: Who,
    encoding: Encoding,
    /// What it offered was agreed on.
    agreed: bool,
    /// What it was written behind the answer to its request.
    bytes: Vec<u8>,
}

fn rules(limits: Limits, compression: Compression) -> Rules {
    Rules { compression, echo: true, ..house::rules(limits, &[]) }
}

/// What somebody says at length.
fn long() -> String {
    "the same words again ".repeat(LONG / 21)
}

impl Hall {
    fn new(limits: Limits) -> Self {
        Self { house: House::by(rules(limits, Compression::default())), clients: Vec::new() }
    }

    fn asks(&mut self, at: usize, target: &str, encoding: Encoding, lines: &str) -> usize {
        let offer = match encoding {
            Encoding::Json => "throng.v1.json",
            Encoding::MessagePack => "throng.v1.msgpack",
        };
        let lines = format!("Sec-WebSocket-Protocol: {offer}\r\n{lines}");
        let who = self.house.asks_for(target, at as u16, &lines, &[]);
        let mut bytes = self.house.hears_bytes(who);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let agreed = head.contains("Sec-WebSocket-Extensions: permessage-deflate;");
        self.clients.push(Client { who, encoding, agreed, bytes });
        self.clients.len() - 1
    }

    fn comes(&mut self, at: usize, encoding: Encoding, offers: bool) -> usize {
        let token = token(&format!("user-{}", self.clients.len()), None, None);
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
        let ((shard, conn), now) = (self.clients[who].who, self.house.now);
        self.house.shards[shard.index()].handle(now, Input::Received { conn, bytes: &mut bytes });
        self.house.rests();
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
        bytes.extend(self.house.hears_bytes(client.who));
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
        self.house.count(count)
    }
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

#[test]
fn a_long_message_is_deflated_once_for_each_encoding_and_everybody_hears_the_same() {
    let mut hall = Hall::new(Limits::default());
    let mut readers = Vec::new();
    for at in 0..2 {
        for encoding in Encoding::ALL {
            readers.extend([true, false, true].map(|offers| hall.comes(at, encoding, offers)));
        }
    }
    readers.iter().for_each(|who| hall.joins(*who, None));
    readers.iter().for_each(|who| drop(hall.hears(*who)));
    assert_eq!(hall.count(Count::DeflateAgreed), 8);
    let publisher = hall.comes(0, Encoding::Json, true);
    hall.publishes(publisher, &long());
    let mut plain_bytes = [0; 2];
    for who in &readers {
        let (bytes, heard) = hall.hears(*who);
        let Client { agreed, encoding, .. } = hall.clients[*who];
        assert!(heard.len() == 1 && heard[0].contains(&long()), "{heard:?}");
        if agreed {
            assert!(bytes < LONG / 10, "{bytes}");
        } else {
            assert!(bytes > LONG, "{bytes}");
            plain_bytes[encoding.index()] = bytes;
        }
    }
    assert_eq!(hall.count(Count::Deflated), 2, "once for each encoding, not for each of eight readers");
    let saved = hall.count(Count::DeflateSaved) as usize;
    assert!((8 * LONG * 9 / 10..8 * plain_bytes[1]).contains(&saved), "{saved}");
    // A short one is the same bytes for all of an encoding, and nobody is lent anything for long.
    hall.publishes(publisher, "short");
    let bytes: Vec<usize> = readers.iter().map(|who| hall.hears(*who).0).collect();
    assert!(bytes.iter().all(|bytes| *bytes < 200), "{bytes:?}");
    assert_eq!(hall.count(Count::Deflated), 2);
    assert!(hall.count(Count::Inflated) > 0, "clients deflate, too");
    assert!(hall.house.shards.iter().all(|shard| shard.gauges().work_spaces == 0));
}

#[test]
fn who_comes_later_pulls_the_same_deflated_frame() {
    let mut hall = Hall::new(Limits::default());
    let publisher = hall.comes(1, Encoding::Json, false);
    (0..3).for_each(|_| hall.publishes(publisher, &long()));
    assert_eq!(hall.count(Count::Deflated), 0, "nobody wants it so");
    for (late, pressed) in [(0, 3), (1, 3)] {
        let reader = hall.comes(late, Encoding::Json, true);
        hall.joins(reader, Some(10));
        let (bytes, heard) = hall.hears(reader);
        assert_eq!(heard.iter().filter(|text| text.contains(&long())).count(), 3);
        assert!(bytes < LONG, "{bytes}");
        assert_eq!(hall.count(Count::Deflated), pressed);
    }
    let plain = hall.comes(0, Encoding::Json, false);
    hall.joins(plain, Some(10));
    assert!(hall.hears(plain).0 > 3 * LONG);
}

#[test]
fn an_answer_that_is_long_is_deflated_for_the_one_who_asked() {
    let mut hall = Hall::new(Limits::default());
    let publisher = hall.comes(0, Encoding::Json, false);
    (0..10).for_each(|_| hall.publishes(publisher, &long()));
    for offers in [true, false] {
        let reader = hall.comes(1, Encoding::Json, offers);
        let from = HistoryFrom::Newest;
        hall.says(reader, &CommandOut::History { room: "hall", from, messages_max: Some(10) });
        let (bytes, heard) = hall.hears(reader);
        assert!(heard[0].contains("reply") && heard[0].matches(&long()).count() == 10);
        assert_eq!(bytes < LONG, offers, "{bytes}");
    }
    let echo = hall.asks(0, "/echo", Encoding::Json, DEFLATE);
    let frame = hall.frame(echo, long().as_bytes());
    hall.sends(echo, frame);
    let (bytes, heard) = hall.hears(echo);
    assert!(heard == [long()] && bytes < LONG / 10, "{bytes}");
}

#[test]
fn a_bomb_ends_the_connection_and_is_counted_before_a_session_and_in_it() {
    let mut hall = Hall::new(Limits { message_bytes_max: 10_000, ..Limits::default() });
    let guest = hall.comes(0, Encoding::Json, true);
    let stranger = hall.asks(1, "/ws", Encoding::Json, DEFLATE);
    assert!(hall.clients[stranger].agreed);
    // Of a `hello` there may be less.
    for (nth, (who, bytes)) in [(guest, 10_001), (stranger, 4_097)].into_iter().enumerate() {
        let bomb = hall.frame(who, "x".repeat(bytes).as_bytes());
        assert!(bomb.len() < 100);
        hall.sends(who, bomb);
        let (_, heard) = hall.hears(who);
        assert_eq!(heard, ["closed 1009 a deflated message is longer than the limit"]);
        assert_eq!(hall.count(Count::BombsRefused), nth as u64 + 1);
    }
    let (mut wrong, other) = (Vec::new(), hall.comes(0, Encoding::Json, true));
    write_frame(&mut wrong, FrameKind::Text, &[0xff; 9], Some([0; 4]));
    wrong[0] |= 0x40;
    hall.sends(other, wrong);
    assert!(hall.hears(other).1[0].starts_with("closed 1002 "));
    assert_eq!(hall.count(Count::BombsRefused), 2);
}

#[test]
fn a_deflated_hello_is_a_hello() {
    let mut hall = Hall::new(Limits::default());
    let token = token("ann", None, None);
    let who = hall.asks(0, "/ws", Encoding::Json, DEFLATE);
    let hello = hall.frame(who, format!(r#"{{"type":"hello","token":"{token}"}}"#).as_bytes());
    let ping = hall.frame(who, format!(r#"{{"type":"ping","id":1{}}}"#, " ".repeat(300)).as_bytes());
    assert!(ping[0] & 0x40 != 0);
    hall.sends(who, [hello, ping].concat());
    let (_, heard) = hall.hears(who);
    assert!(heard[0].contains("welcome") && heard[1].contains(r#""id":1"#), "{heard:?}");
}

#[test]
fn switched_off_it_is_agreed_on_no_more_and_who_agreed_is_still_understood() {
    let mut hall = Hall::new(Limits::default());
    let reader = hall.comes(0, Encoding::Json, true);
    hall.joins(reader, None);
    hall.hears(reader);
    let off = Compression { enabled: false, ..Compression::default() };
    let now = hall.house.now;
    for shard in &mut hall.house.shards {
        shard.handle(now, Input::Rules(Arc::new(rules(Limits::default(), off))));
    }
    hall.publishes(reader, &long());
    let (bytes, heard) = hall.hears(reader);
    assert!(heard.iter().any(|text| text.contains(r#""offset":1"#)), "its deflated message was read: {heard:?}");
    let other = hall.comes(0, Encoding::Json, true);
    assert!(!hall.clients[other].agreed);
    hall.publishes(other, &long());
    assert!(bytes < 500 && hall.hears(reader).0 > LONG);
    assert_eq!((hall.count(Count::Deflated), hall.count(Count::DeflateAgreed)), (0, 1));
}

/// A command that says little, however much is made of it.
fn bomb(hall: &Hall, who: usize, bytes: usize) -> Vec<u8> {
    hall.frame(who, format!(r#"{{"type":"ping","id":1,"x":"{}"}}"#, "a".repeat(bytes)).as_bytes())
}

#[test]
fn who_has_more_inflated_than_is_allowed_in_a_tick_is_closed_and_then_nothing_is_inflated_for_it() {
    let mut hall = Hall::new(Limits { inflated_per_tick_max: 1_000_000, ..Limits::default() });
    let [rude, calm] = [0, 1].map(|at| hall.comes(at, Encoding::Json, true));
    let bombs = [bomb(&hall, rude, 400_000), bomb(&hall, rude, 400_000)].concat();
    hall.sends(rude, bombs);
    hall.sends(calm, bomb(&hall, calm, 900_000));
    assert_eq!(hall.hears(rude).1.len(), 2, "two answers");
    assert_eq!(hall.count(Count::Inflated), 3);
    let bombs = [bomb(&hall, rude, 400_000), bomb(&hall, rude, 400_000)].concat();
    hall.sends(rude, bombs);
    let last = hall.hears(rude).1.pop().unwrap();
    assert_eq!(last, "closed 4007 more was made of its deflated messages at once than may be");
    assert_eq!((hall.count(Count::InflatedTooMuch), hall.count(Count::StruckOut)), (1, 0));
    assert_eq!(hall.count(Count::Inflated), 5);
    hall.sends(rude, bomb(&hall, rude, 900_000));
    assert_eq!(hall.count(Count::Inflated), 5, "nobody looks at it any more");
    let now = hall.house.now;
    (0..2).for_each(|at| hall.house.shards[at].handle(now, Input::Tick));
    hall.sends(calm, bomb(&hall, calm, 900_000));
    let heard = hall.hears(calm).1;
    assert!(heard.len() == 2 && heard[1].contains("reply"), "another tick, another share: {heard:?}");
}

/// Regression: whoever had the row of somebody who had been closed for that was closed for it, too.
#[test]
fn who_has_the_row_of_a_flooder_has_a_share_of_its_own() {
    let mut hall = Hall::new(Limits { inflated_per_tick_max: 1_000_000, ..Limits::default() });
    let rude = hall.comes(0, Encoding::Json, true);
    let bombs = [bomb(&hall, rude, 900_000), bomb(&hall, rude, 900_000)].concat();
    hall.sends(rude, bombs);
    assert_eq!(hall.count(Count::InflatedTooMuch), 1);
    hall.house.ends(hall.clients[rude].who);
    let calm = hall.comes(0, Encoding::Json, true);
    assert_eq!(hall.clients[calm].who.1.index(), hall.clients[rude].who.1.index());
    hall.sends(calm, bomb(&hall, calm, 900_000));
    assert_eq!(hall.count(Count::InflatedTooMuch), 1);
    assert!(hall.hears(calm).1[0].contains("reply"));
}

#[test]
fn answers_are_deflated_within_the_share_of_a_tick_and_sent_as_they_are_beyond_it() {
    let mut hall = Hall::new(Limits { answers_deflated_per_tick_max: 2 * LONG, ..Limits::default() });
    let reader = hall.comes(0, Encoding::Json, true);
    hall.publishes(reader, &long());
    hall.hears(reader);
    let page = CommandOut::History { room: "hall", from: HistoryFrom::Newest, messages_max: Some(10) };
    let bytes = [0; 3].map(|_| {
        hall.says(reader, &page);
        hall.hears(reader).0
    });
    assert!(bytes[0] < LONG / 2 && bytes[2] > LONG, "{bytes:?}");
    assert!(hall.count(Count::DeflatePassedOver) > 0);
    let now = hall.house.now;
    hall.house.shards[0].handle(now, Input::Tick);
    hall.says(reader, &page);
    assert_eq!(hall.hears(reader).0, bytes[0]);
}

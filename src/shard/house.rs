//! Two shards and who talks to them, by hand: what the tests of the house are told in.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::*;
use crate::base::{Classes, ConnKey, RoomClass};
use crate::wire::{Claims, FrameKind, Grants, TokenVerifier, sign_hs256, write_frame};

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
const UNIX_MS: u64 = 1_800_000_000_000;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

pub(super) type Who = (ShardId, ConnKey);

pub(super) struct House {
    pub(super) shards: Vec<Shard>,
    pub(super) now: Now,
    pub(super) heard: Vec<(Who, Vec<u8>)>,
    pub(super) closed: Vec<CloseReason>,
    pub(super) answers: Vec<(AskId, Answer)>,
    /// Questions of the control plane so far.
    pub(super) asked: u64,
    /// Whose sockets take nothing, or [`Self::sip`].
    pub(super) deaf: Vec<Who>,
    /// How many bytes the deaf take at a time.
    pub(super) sip: u32,
}

pub(super) fn rules(limits: Limits, given: &[(&str, RoomClass)]) -> Rules {
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    let classes = Classes::new(&limits, given, None).unwrap();
    Rules { classes, ..Rules::new(limits, verifier, Grants::everything()) }
}

impl House {
    pub(super) fn new(given: &[(&str, RoomClass)]) -> Self {
        Self::with(Limits::default(), given)
    }

    pub(super) fn with(limits: Limits, given: &[(&str, RoomClass)]) -> Self {
        Self::by(rules(limits, given))
    }

    pub(super) fn by(rules: Rules) -> Self {
        let rules = Arc::new(rules);
        let config = |id| ShardConfig::tried(ShardId(id), 2, Arc::clone(&rules));
        let shards = (0..2).map(|id| Shard::new(config(id))).collect();
        let now = Now { mono_ms: 5_000, unix_ms: UNIX_MS };
        let (heard, closed, answers, deaf) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { shards, now, heard, closed, answers, asked: 0, deaf, sip: 0 }
    }

    pub(super) fn rests(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it never rests");
            if (0..self.shards.len()).filter(|at| self.turn(*at)).count() == 0 {
                return;
            }
        }
    }

    pub(super) fn turn(&mut self, at: usize) -> bool {
        let (now, from) = (self.now, ShardId(at as u16));
        let shard = &mut self.shards[at];
        shard.end_turn(now);
        let (mut batch, mut busy) = (Batch::default(), shard.has_work());
        while shard.fill_batch(now, &mut batch) {
            busy = true;
            let mut fates = Vec::new();
            for (nth, write) in batch.writes().iter().enumerate() {
                let who = (from, write.conn);
                let is_deaf = self.deaf.contains(&who) && write.len > self.sip;
                let taken = if is_deaf { self.sip } else { write.len };
                if is_deaf {
                    fates.push((nth, Fate::Stalled { taken }));
                }
                if taken > 0 {
                    self.heard.push((who, batch.bytes(write)[..taken as usize].to_vec()));
                }
            }
            shard.finish_batch(now, &mut batch, &fates);
        }
        let mut effects = Vec::new();
        shard.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Close { conn, .. } | Effect::HandOver { conn, .. } => {
                    self.shards[at].handle(now, Input::Released { conn });
                }
                Effect::Closed { reason, .. } => self.closed.push(reason),
                Effect::Answer { id, answer } => self.answers.push((id, answer)),
                Effect::Opened { .. } => {}
            }
        }
        self.shards[at].check().unwrap();
        for to in 0..self.shards.len() {
            let mut parcel = std::mem::take(self.shards[at].outgoing_mut(ShardId(to as u16)));
            if !parcel.is_empty() {
                busy = true;
                self.shards[to].handle_parcel(now, from, &mut parcel);
            }
        }
        busy
    }

    pub(super) fn passes(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| shard.handle(now, Input::Tick));
        self.rests();
    }

    pub(super) fn comes(&mut self, shard: u16, user: &str) -> Who {
        let who = self.asks(shard, &format!("Authorization: Bearer {}\r\n", token(user, None, None)), &[]);
        assert!(self.hears(who).contains("welcome"));
        who
    }

    /// Somebody who asks for an upgrade with these lines of a head and sends these envelopes right behind it.
    pub(super) fn asks(&mut self, shard: u16, lines: &str, envelopes: &[&str]) -> Who {
        self.asks_for("/ws", shard, lines, envelopes)
    }

    /// Likewise, for something else than `/ws`.
    pub(super) fn asks_for(&mut self, target: &str, shard: u16, lines: &str, envelopes: &[&str]) -> Who {
        let mut bytes = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        )
        .into_bytes();
        envelopes.iter().for_each(|text| write_frame(&mut bytes, FrameKind::Text, text.as_bytes(), MASK));
        let conn = self.shards[usize::from(shard)].open(self.now, PEER).expect("a free row");
        self.shards[usize::from(shard)].handle(self.now, Input::Received { conn, bytes: &mut bytes });
        self.rests();
        (ShardId(shard), conn)
    }

    /// Somebody who brings a token with its first message, and behind it these envelopes.
    pub(super) fn greets(&mut self, shard: u16, token: &str, session: &str, envelopes: &[&str]) -> Who {
        let hello = format!(r#"{{"type":"hello","token":"{token}","session":"{session}"}}"#);
        let envelopes: Vec<&str> = std::iter::once(&*hello).chain(envelopes.iter().copied()).collect();
        self.asks(shard, "Sec-WebSocket-Protocol: throng.v1.json\r\n", &envelopes)
    }

    /// The socket is dead, and its shard hears of it.
    pub(super) fn ends(&mut self, (shard, conn): Who) {
        self.shards[shard.index()].handle(self.now, Input::Ended { conn });
        self.rests();
    }

    /// A room whose home is this shard.
    pub(super) fn room_at(&self, home: u16, prefix: &str) -> String {
        let mut names = (0..).map(|n| format!("{prefix}{n}"));
        names.find(|name| self.shards[0].home_of(name) == ShardId(home)).expect("names fall everywhere")
    }

    /// The sum over all shards.
    pub(super) fn count(&self, count: Count) -> u64 {
        self.shards.iter().map(|shard| shard.counters().count(count)).sum()
    }

    /// What comes in one read: envelopes, one after the other. Nothing has come to rest behind it.
    pub(super) fn reads(&mut self, (shard, conn): Who, envelopes: &[&str]) {
        let mut bytes = Vec::new();
        envelopes.iter().for_each(|text| write_frame(&mut bytes, FrameKind::Text, text.as_bytes(), MASK));
        self.shards[shard.index()].handle(self.now, Input::Received { conn, bytes: &mut bytes });
    }

    pub(super) fn says(&mut self, who: Who, text: &str) -> String {
        self.reads(who, &[text]);
        self.rests();
        self.hears(who)
    }

    pub(super) fn joins(&mut self, who: Who, room: &str) -> String {
        self.says(who, &format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#))
    }

    pub(super) fn publishes(&mut self, who: Who, room: &str, more: &str, data: &str) -> String {
        self.says(who, &format!(r#"{{"type":"publish","id":2,"room":"{room}"{more},"data":{data}}}"#))
    }

    /// Envelopes, one after the other.
    pub(super) fn hears(&mut self, who: Who) -> String {
        String::from_utf8_lossy(&self.hears_bytes(who)).into_owned()
    }

    /// What was written to it since somebody asked.
    pub(super) fn hears_bytes(&mut self, who: Who) -> Vec<u8> {
        self.heard.extract_if(.., |(whose, _)| *whose == who).flat_map(|(_, bytes)| bytes).collect()
    }

    /// Asks one shard as the control plane does, and gives all answers there are when the house rests.
    pub(super) fn answers_of(&mut self, to: ShardId, question: Question) -> Vec<Answer> {
        self.asked += 1;
        let id = AskId(self.asked);
        self.shards[to.index()].handle(self.now, Input::Ask(Ask { id, question }));
        self.rests();
        self.answers_to(id)
    }

    pub(super) fn answers_to(&mut self, id: AskId) -> Vec<Answer> {
        self.answers.extract_if(.., |(of, _)| *of == id).map(|(_, answer)| answer).collect()
    }

    pub(super) fn hears_again(&mut self, who: Who) -> String {
        self.deaf.retain(|deaf| *deaf != who);
        self.shards[who.0.index()].handle(self.now, Input::Writable { conn: who.1 });
        self.rests();
        self.hears(who)
    }
}

pub(super) fn class(change: impl FnOnce(&mut RoomClass)) -> RoomClass {
    let mut class = RoomClass::default();
    change(&mut class);
    class
}

/// A token of this user, with what is shown of it and what it grants, as JSON.
pub(super) fn token(user: &str, info: Option<&str>, rooms: Option<&str>) -> String {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (info, rooms) = (info.map(json), rooms.map(json));
    let claims = Claims { sub: user, exp: UNIX_MS / 1_000 + 60_000, info: info.as_ref(), rooms: rooms.as_ref() };
    sign_hs256(SECRET, &claims).unwrap()
}

/// The handle that a welcome gives.
pub(super) fn session_of(heard: &str) -> String {
    field(heard, r#""session":""#)
}

/// What stands behind these bytes, up to the next quotation mark.
pub(super) fn field(heard: &str, before: &str) -> String {
    let (_, rest) = heard.split_once(before).unwrap_or_else(|| panic!("no {before} in {heard}"));
    rest[..rest.find('"').expect("an end")].to_owned()
}

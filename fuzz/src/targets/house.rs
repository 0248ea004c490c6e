//! Shards without sockets: mail, clients that read or do not, and everything that is written read again by a client.
//!
//! Checked after each step: the shard's invariants; that each byte a client is written is a frame it understands, and its
//! content an envelope in the encoding it speaks, by decoders that are not ours.

use core::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use throng::base::{Classes, ConnKey, Encoding, Limits, Now, RoomClass, ShardId};
use throng::shard::{Batch, Effect, Fate, Flush, Input, Parcel, Rules, Shard, ShardConfig};
use throng::wire::client::read_event;
use throng::wire::{
    Claims, Compression, FrameKind, FrameLimits, Grants, Incoming, Inflater, Partial, Press, Reader, Role,
    TokenVerifier, sign_hs256, write_frame,
};

use super::payload::is_decodable;

pub(super) const SECRET: &[u8] = b"the secret of the fuzzed, no other";
pub(super) const UNIX_S: u64 = 1_800_000_000;
pub(super) const USERS: [&str; 3] = ["ann", "bob", "c\"é"];
pub(super) const SHARDS: u16 = 2;
pub(super) const SEED: [u64; 2] = [1, 2];
/// Letters of two shards to each other stop somewhere; more rounds are a circle.
const ROUNDS_MAX: usize = 100;

/// Tokens of [`USERS`], and one that has ended.
pub(super) static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let signed =
        |user, exp| sign_hs256(SECRET, &Claims { sub: user, exp, info: None, rooms: None }).expect("good claims");
    USERS.iter().map(|user| signed(user, UNIX_S + 1_000)).chain([signed("dave", UNIX_S - 1_000)]).collect()
});

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let limits = limits();
    let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
    let class = RoomClass { leave_delay_ms: 700, typing_ms: 500, ..RoomClass::of(&limits) };
    let classes = Classes::new(&limits, &[("*", class)], None).expect("good classes");
    let compression = Compression { enabled: true, bytes_above: 40, level: 1 };
    Arc::new(Rules { echo: true, classes, compression, ..Rules::new(limits, verifier, Grants::everything()) })
});

/// What a client asks for that wants messages deflated (RFC 7692).
pub(super) const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// Small, so that they are reached.
fn limits() -> Limits {
    let limits = Limits {
        message_bytes_max: 400,
        fragments_max: 4,
        head_bytes_max: 2_048,
        heads_bytes_max: 4_096,
        handshakes_pending_max: 6,
        rooms_per_connection_max: 2,
        connections_per_user_max: 3,
        history_on_join_max: 3,
        log_messages_max: 3,
        log_bytes_max: 1_500,
        logs_bytes_max: 6_000,
        idle_rooms_max: 2,
        members_max: 2,
        announced_max: 2,
        typing_max: 1,
        receipts_max: 2,
        receipts_kept_max: 3,
        away_max: 1,
        outbox_soft_bytes_max: 600,
        outbox_hard_bytes_max: 900,
        pending_messages_max: 4,
        letters_waiting_max: 8,
        letters_bytes_max: 3_000,
        sends_per_tick: 20,
        pings_per_tick: 2,
        slots_per_ring: 4,
        connections_per_shard_max: 6,
        grant_sets_bytes_max: 500,
        ..Limits::default()
    };
    assert_eq!(limits.check(), Ok(()));
    limits
}

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaks {
    Rooms(Encoding),
    Echo,
}

pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) conn: ConnKey,
    pub(super) speaks: Speaks,
    /// Takes nothing.
    pub(super) deaf: bool,
    /// Its socket took a write only in part: it is owed a `Writable` before it is written to again.
    stalled: bool,
    gone: bool,
    /// It has closed its side, or its socket broke: nothing more comes from it.
    ended: bool,
    /// The answer to its request is behind it.
    switched: bool,
    /// It offered to take deflated messages, and the answer agreed.
    offered: bool,
    deflates: bool,
    /// Written, and not read yet.
    inbox: Vec<u8>,
    partial: Partial,
}

pub(super) struct House {
    pub(super) shards: Vec<Shard>,
    pub(super) clients: Vec<Client>,
    pub(super) now: Now,
    mail: Vec<(usize, ShardId, Parcel)>,
    batch: Batch,
    /// Of all clients: each message stands for itself.
    press: Press,
    inflater: Inflater,
}

impl House {
    pub(super) fn new() -> Self {
        let shard = |id| {
            Shard::new(ShardConfig {
                id: ShardId(id),
                shards: SHARDS,
                rules: Arc::clone(&RULES),
                seed: SEED,
                flush: if id == 0 { Flush::Eager } else { Flush::Tick },
                node: Arc::from("fuzz"),
                #[cfg(feature = "planted-bugs")]
                planted: None,
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            clients: Vec::new(),
            now: Now { mono_ms: 5_000, unix_ms: UNIX_S * 1_000 },
            mail: Vec::new(),
            batch: Batch::default(),
            press: Press::new(Compression { enabled: true, bytes_above: 0, level: 1 }),
            inflater: Inflater::default(),
        }
    }

    /// A socket comes. `None`: there is no place.
    pub(super) fn connects(&mut self, shard: usize, speaks: Speaks) -> Option<usize> {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let conn = self.shards[shard].open(self.now, peer).ok()?;
        self.clients.push(Client {
            shard,
            conn,
            speaks,
            deaf: false,
            stalled: false,
            gone: false,
            ended: false,
            switched: false,
            offered: false,
            deflates: false,
            inbox: Vec::new(),
            partial: Partial::default(),
        });
        Some(self.clients.len() - 1)
    }

    /// Connects and asks for an upgrade; `lines` may hold a token.
    pub(super) fn asks(&mut self, shard: usize, speaks: Speaks, lines: &str) -> Option<usize> {
        let (target, offer) = match speaks {
            Speaks::Rooms(Encoding::Json) => ("/ws", "Sec-WebSocket-Protocol: throng.v1.json\r\n"),
            Speaks::Rooms(Encoding::MessagePack) => ("/ws", "Sec-WebSocket-Protocol: throng.v1.msgpack\r\n"),
            Speaks::Echo => ("/echo", ""),
        };
        let client = self.connects(shard, speaks)?;
        self.clients[client].offered = lines.contains(OFFER);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}{lines}\r\n"
        );
        self.receives(client, head.as_bytes());
        Some(client)
    }

    /// A message as this client sends it: deflated if it wants that and may.
    pub(super) fn message(
        &mut self,
        client: usize,
        kind: FrameKind,
        payload: &[u8],
        deflated: bool,
        out: &mut Vec<u8>,
    ) {
        match deflated && self.clients[client].deflates {
            true => drop(self.press.write_message(out, kind, payload, MASK)),
            false => write_frame(out, kind, payload, MASK),
        }
    }

    /// Bytes of a client, also of one that is gone: its key must not resolve.
    pub(super) fn receives(&mut self, client: usize, bytes: &[u8]) {
        let Client { shard, conn, ended, .. } = self.clients[client];
        if ended {
            return;
        }
        let mut bytes = bytes.to_vec();
        self.turn(shard, Input::Received { conn, bytes: &mut bytes });
    }

    /// One input, and what follows from it at this shard.
    pub(super) fn turn(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(self.now, input);
        self.follow(shard);
    }

    /// All mail that is under way, until none is.
    pub(super) fn deliver_mail(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mail = std::mem::take(&mut self.mail);
            if mail.is_empty() {
                return;
            }
            for (to, from, mut parcel) in mail {
                self.shards[to].handle_parcel(self.now, from, &mut parcel);
                self.follow(to);
            }
        }
        panic!("letters go to and fro without end");
    }

    /// The client reads again.
    pub(super) fn hears_again(&mut self, client: usize) {
        self.clients[client].deaf = false;
        if std::mem::take(&mut self.clients[client].stalled) && !self.clients[client].gone {
            let Client { shard, conn, .. } = self.clients[client];
            self.turn(shard, Input::Writable { conn });
        }
    }

    pub(super) fn vanishes(&mut self, client: usize) {
        if !std::mem::replace(&mut self.clients[client].ended, true) {
            let Client { shard, conn, .. } = self.clients[client];
            self.turn(shard, Input::Ended { conn });
        }
    }

    fn follow(&mut self, shard: usize) {
        self.shards[shard].end_turn(self.now);
        self.write(shard);
        self.carry_out(shard);
        for to in (0..usize::from(SHARDS)).filter(|to| *to != shard) {
            let parcel = std::mem::take(self.shards[shard].outgoing_mut(ShardId(to as u16)));
            if !parcel.is_empty() {
                self.mail.push((to, ShardId(shard as u16), parcel));
            }
        }
        if let Err(broken) = self.shards[shard].check() {
            panic!("shard {shard}: {broken}");
        }
    }

    fn write(&mut self, shard: usize) {
        let mut batch = std::mem::take(&mut self.batch);
        while self.shards[shard].fill_batch(self.now, &mut batch) {
            let mut fates = Vec::new();
            for (at, write) in batch.writes().iter().enumerate() {
                let bytes = batch.bytes(write);
                let client =
                    self.clients.iter_mut().find(|one| !one.gone && (one.shard, one.conn) == (shard, write.conn));
                let client = client.expect("only who is here is written to");
                assert!(!client.stalled, "a stalled socket is left alone until it has room");
                if client.deaf {
                    let taken = bytes.len() / 2;
                    client.hears(&bytes[..taken], &mut self.inflater);
                    client.stalled = true;
                    fates.push((at, Fate::Stalled { taken: taken as u32 }));
                } else {
                    client.hears(bytes, &mut self.inflater);
                }
            }
            self.shards[shard].finish_batch(self.now, &mut batch, &fates);
        }
        self.batch = batch;
    }

    fn carry_out(&mut self, shard: usize) {
        let mut effects = Vec::new();
        self.shards[shard].take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Close { conn, .. } | Effect::HandOver { conn, .. } => {
                    let client =
                        self.clients.iter_mut().find(|one| !one.gone && (one.shard, one.conn) == (shard, conn));
                    client.expect("only who is here is let go of").gone = true;
                    self.shards[shard].handle(self.now, Input::Released { conn });
                }
                Effect::Opened { identity, .. } => {
                    assert!(USERS.contains(&identity.user()), "nobody signed a token for {identity:?}");
                }
                Effect::Closed { .. } | Effect::Answer { .. } => {}
            }
        }
    }
}

impl Client {
    fn hears(&mut self, bytes: &[u8], inflater: &mut Inflater) {
        self.inbox.extend_from_slice(bytes);
        if !self.switched {
            let end = self.inbox.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end.map(|at| at + 4) else { return };
            let head: Vec<u8> = self.inbox.drain(..end).collect();
            if !head.starts_with(b"HTTP/1.1 101 ") {
                // A refusal, and its body: nothing of WebSocket follows.
                self.inbox.clear();
                return;
            }
            self.switched = true;
            self.deflates = head.windows(18).any(|word| word == b"permessage-deflate");
            assert!(self.offered || !self.deflates, "nobody is sent what it did not ask for");
        }
        let mut input = std::mem::take(&mut self.inbox);
        let limits = FrameLimits { message_bytes_max: limits().frame_bytes_max(), fragments_max: 1 };
        // Whoever did not agree takes a deflated message for a violation.
        let mut reader = Reader::new(Role::Client, limits, &mut input).inflating(self.deflates.then_some(inflater));
        loop {
            let heard = reader.next(&mut self.partial);
            let incoming =
                heard.unwrap_or_else(|violation| panic!("a client cannot read what it is sent: {violation}"));
            let (kind, bytes) = match incoming {
                None | Some(Incoming::Close(_)) => return,
                Some(Incoming::Ping(_) | Incoming::Pong(_)) => continue,
                Some(Incoming::Text(text)) => (Encoding::Json, text.as_bytes()),
                Some(Incoming::Binary(bytes)) => (Encoding::MessagePack, bytes),
            };
            let Speaks::Rooms(encoding) = self.speaks else { continue };
            assert_eq!(kind, encoding, "everybody is spoken to in their own encoding");
            assert!(is_decodable(encoding, bytes), "{}", bytes.escape_ascii());
            assert!(read_event(encoding, bytes).is_ok(), "{}", bytes.escape_ascii());
        }
    }
}

pub(super) const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

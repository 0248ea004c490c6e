//! A room of people at shards without sockets: bytes in, batches out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use throng::base::{ConnKey, Encoding, Limits, Now, ShardId};
use throng::shard::{Batch, Effect, Flush, Input, Rules, Shard, ShardConfig};
use throng::wire::client::{CommandOut, write_command};
use throng::wire::token::sign_hs256;
use throng::wire::{Claims, FrameKind, Grants, Payload, TokenVerifier, write_frame};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_790_000_000_000 };

/// Shards with one room of MessagePack readers, dealt out evenly.
pub(crate) struct Crowd {
    shards: Vec<Shard>,
    batch: Batch,
    publisher: ConnKey,
    /// What the publisher says, in turn.
    frames: Vec<Vec<u8>>,
    said: usize,
    read: Vec<u8>,
}

impl Crowd {
    /// Everybody joined, nothing unsent. `deflates`: they agreed on deflated messages.
    pub(crate) fn seat(shards: u16, members: usize, deflates: bool, payloads: Vec<Payload>) -> Self {
        let limits = Limits { sends_per_tick: u32::MAX, ..Limits::default() };
        let verifier = Arc::new(TokenVerifier::hs256(SECRET, &limits));
        let rules = Arc::new(Rules::new(limits, verifier, Grants::everything()));
        let config = |id| ShardConfig {
            id: ShardId(id),
            shards,
            rules: Arc::clone(&rules),
            seed: [1, 2],
            flush: Flush::Eager,
            node: Arc::from("bench"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        };
        let shards: Vec<Shard> = (0..shards).map(|id| Shard::new(config(id))).collect();
        let mut crowd = Self {
            shards,
            batch: Batch::default(),
            publisher: ConnKey::new(0, 0, 0),
            frames: payloads.iter().map(said).collect(),
            said: 0,
            read: Vec::new(),
        };
        for member in 0..members {
            let at = member % crowd.shards.len();
            let conn = crowd.join(at, member, deflates);
            if member == 0 {
                crowd.publisher = conn;
            }
        }
        crowd.settle();
        crowd
    }

    /// The first member publishes; everything is written. Returns the bytes written.
    pub(crate) fn publish(&mut self, times: u64) -> usize {
        for _ in 0..times {
            self.read.clear();
            self.read.extend_from_slice(&self.frames[self.said % self.frames.len()]);
            self.said += 1;
            self.shards[0].handle(NOW, Input::Received { conn: self.publisher, bytes: &mut self.read });
        }
        self.settle()
    }

    fn join(&mut self, at: usize, member: usize, deflates: bool) -> ConnKey {
        let sub = format!("user-{member:019}");
        let claims = Claims { sub: &sub, exp: NOW.unix_ms / 1_000 + 3_600, info: None, rooms: None };
        let token = sign_hs256(SECRET, &claims).expect("good claims");
        let extension = if deflates { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let mut bytes = format!(
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: throng.v1.msgpack\r\n\
             Authorization: Bearer {token}\r\n{extension}\r\n"
        )
        .into_bytes();
        let conn = self.shards[at].open(NOW, Ipv4Addr::LOCALHOST.into()).expect("room for a crowd");
        bytes.extend(framed(&CommandOut::Join { room: "chat:lobby", since: None, history: None, presence: false }));
        self.shards[at].handle(NOW, Input::Received { conn, bytes: &mut bytes });
        conn
    }

    fn settle(&mut self) -> usize {
        let (mut written, mut effects) = (0, Vec::<Effect>::new());
        loop {
            let mut moved = false;
            for at in 0..self.shards.len() {
                self.shards[at].end_turn(NOW);
                while self.shards[at].fill_batch(NOW, &mut self.batch) {
                    written += self.batch.arena().len();
                    self.shards[at].finish_batch(NOW, &mut self.batch, &[]);
                }
                self.shards[at].take_effects(&mut effects);
                effects.clear();
                for to in 0..self.shards.len() {
                    let mut parcel = std::mem::take(self.shards[at].outgoing_mut(ShardId(to as u16)));
                    moved |= !parcel.is_empty();
                    self.shards[to].handle_parcel(NOW, ShardId(at as u16), &mut parcel);
                    if self.shards[at].outgoing_mut(ShardId(to as u16)).is_empty() {
                        *self.shards[at].outgoing_mut(ShardId(to as u16)) = parcel;
                    }
                }
            }
            if !moved {
                return written;
            }
        }
    }
}

fn said(payload: &Payload) -> Vec<u8> {
    let (room, data) = ("chat:lobby", payload.as_data());
    framed(&CommandOut::Publish { room, data, event: None, echo: None, key: None })
}

/// A masked frame around a MessagePack command.
fn framed(command: &CommandOut<'_>) -> Vec<u8> {
    let (mut envelope, mut frame) = (Vec::new(), Vec::new());
    write_command(&mut envelope, Encoding::MessagePack, None, command);
    write_frame(&mut frame, FrameKind::Binary, &envelope, Some([1, 2, 3, 4]));
    frame
}

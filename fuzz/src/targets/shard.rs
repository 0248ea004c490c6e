//! Two shards as a stream of commands: whatever comes in whatever order, the invariants hold and everybody understands
//! what they hear.

use std::sync::Arc;

use throng::base::{Encoding, Identity, Offset, RoomName};
use throng::shard::{
    Ask, AskId, Audience, Closed, Count, HistoryFrom, HistoryQuestion, Homes, Input, Notice, Question, Revocation,
};
use throng::wire::{CloseReason, FrameKind, write_close, write_frame};

use super::command::{self, ROOMS, payload};
use super::feed::Feed;
use super::house::{House, MASK, OFFER, SEED, SHARDS, Speaks, TOKENS, USERS};

/// An input that asks for more is cut there.
const STEPS_MAX: usize = 120;

pub(crate) fn run(data: &[u8]) -> bool {
    let (mut house, mut feed) = (House::new(), Feed::new(data));
    let mut stopped = false;
    for _ in 0..STEPS_MAX {
        if feed.is_empty() || stopped {
            break;
        }
        stopped = step(&mut house, &mut feed);
    }
    if !stopped {
        house.deliver_mail();
    }
    let count = |which| house.shards.iter().map(|shard| shard.counters().count(which)).sum::<u64>();
    // Somebody missed something, and a deflated message was made whole and came back.
    count(Count::Gaps) > 0 && count(Count::Echoed) > 0 && count(Count::Inflated) > 0
}

/// One thing that happens. True: it was the last.
fn step(house: &mut House, feed: &mut Feed<'_>) -> bool {
    let what = feed.byte();
    if what < 6 || house.clients.is_empty() {
        comes(house, feed);
        return false;
    }
    match what {
        ..160 => {
            let client = feed.below(house.clients.len());
            speaks(house, feed, client, what);
        }
        160..200 => house.deliver_mail(),
        200..220 => {
            let ms = [10, 100, 2_000, 30_000][feed.below(4)];
            house.now.mono_ms += ms;
            house.now.unix_ms += ms;
            (0..house.shards.len()).for_each(|shard| house.turn(shard, Input::Tick));
        }
        220..228 => {
            let client = feed.below(house.clients.len());
            house.clients[client].deaf = true;
        }
        228..236 => {
            let client = feed.below(house.clients.len());
            house.hears_again(client);
        }
        236..240 => {
            let client = feed.below(house.clients.len());
            house.vanishes(client);
        }
        240..252 => {
            let (shard, question) = question(feed);
            house.turn(shard, Input::Ask(Ask { id: AskId(u64::from(what)), question }));
        }
        252 => {
            let (user, now_s) = (Box::from(USERS[feed.below(USERS.len())]), house.now.unix_ms / 1_000);
            let revocation = Revocation::User { user, issued_before_unix_s: now_s };
            let revocation = Arc::new(revocation);
            (0..house.shards.len()).for_each(|shard| house.turn(shard, Input::Revoke(Arc::clone(&revocation))));
        }
        253 => (0..house.shards.len()).for_each(|shard| house.turn(shard, Input::Drain { budget_ms: 5_000 })),
        254 => {
            (0..house.shards.len()).for_each(|shard| house.turn(shard, Input::Stop));
            return true;
        }
        255 => {}
    }
    false
}

fn comes(house: &mut House, feed: &mut Feed<'_>) {
    let shard = feed.below(house.shards.len());
    let how = feed.byte();
    let speaks = match how % 3 {
        0 => Speaks::Rooms(Encoding::Json),
        1 => Speaks::Rooms(Encoding::MessagePack),
        _ => Speaks::Echo,
    };
    let token = &TOKENS[usize::from(how / 3) % TOKENS.len()];
    let offer = if how / 12 % 2 == 1 { OFFER } else { "" };
    if how < 200 {
        house.asks(shard, speaks, &format!("Authorization: Bearer {token}\r\n{offer}"));
    } else if how < 230 {
        // Says hello later, if ever.
        house.asks(shard, speaks, offer);
    } else if let Some(client) = house.connects(shard, speaks) {
        house.receives(client, feed.piece());
    }
}

fn speaks(house: &mut House, feed: &mut Feed<'_>, client: usize, what: u8) {
    let encoding = match house.clients[client].speaks {
        Speaks::Rooms(encoding) => encoding,
        Speaks::Echo => Encoding::Json,
    };
    let kind = if encoding == Encoding::Json { FrameKind::Text } else { FrameKind::Binary };
    let (mut bytes, deflated) = (Vec::new(), what & 32 != 0);
    match what % 16 {
        0 => bytes.extend_from_slice(feed.piece()),
        1 => house.message(client, kind, feed.piece(), deflated, &mut bytes),
        2 => write_frame(&mut bytes, FrameKind::Binary, feed.piece(), MASK),
        3 => write_frame(&mut bytes, FrameKind::Ping, feed.take(5), MASK),
        4 => write_frame(&mut bytes, FrameKind::Pong, b"", MASK),
        5 => write_close(&mut bytes, 1000, "", MASK),
        _ => {
            let mut envelope = Vec::new();
            command::write(feed, what % 16, encoding, &mut envelope);
            house.message(client, kind, &envelope, deflated, &mut bytes);
        }
    }
    // In one read or in two.
    let cut = if what & 16 == 0 { bytes.len() } else { feed.below(bytes.len() + 1) };
    let (head, tail) = bytes.split_at(cut);
    house.receives(client, head);
    if !tail.is_empty() {
        house.receives(client, tail);
    }
}

fn identity(feed: &mut Feed<'_>) -> Identity {
    Identity::new(USERS[feed.below(USERS.len())], None).expect("a user")
}

/// What the control plane asks, and of whom: what concerns a room, of its home.
fn question(feed: &mut Feed<'_>) -> (usize, Question) {
    let room = RoomName::parse(ROOMS[feed.below(ROOMS.len())]).expect("a room");
    let options = feed.byte();
    let home = Homes::new(SEED, SHARDS).of(room.as_str()).index();
    let shard = if options % 9 < 5 { home } else { usize::from(options >> 7) };
    let question = match options % 9 {
        0 | 1 => Question::Publish(vec![notice(feed, room)]),
        2 => {
            let to = if options & 16 == 0 { Audience::Everybody } else { Audience::User(identity(feed)) };
            Question::Announce { to, notice: Box::new(notice(feed, room)) }
        }
        3 => Question::Presence { room },
        4 => {
            let from = if options & 16 == 0 { HistoryFrom::Newest } else { HistoryFrom::Before(Offset(2)) };
            Question::History(Box::new(HistoryQuestion { room, from, messages_max: 2, bytes_max: 300, wait_ms: 0 }))
        }
        5 => Question::Rooms { from: 0, rooms_max: 2, prefix: Box::from("") },
        6 => Question::FullestRooms { rooms_max: 2 },
        7 => Question::Connections { user: identity(feed), connections_max: 2 },
        _ => {
            let whom = if options & 16 == 0 { Closed::Room(room) } else { Closed::User(identity(feed)) };
            Question::Close { whom, reason: CloseReason::Kicked }
        }
    };
    (shard, question)
}

fn notice(feed: &mut Feed<'_>, room: RoomName) -> Notice {
    Notice { room, from: identity(feed), event: None, payload: payload(feed, Encoding::Json) }
}

//! Two shards as a stream of commands: whatever comes in whatever order, the invariants hold and everybody understands
//! what they hear.

use std::sync::Arc;

use throng::base::{Encoding, Epoch, Identity, Offset, Position, RoomName};
use throng::shard::{
    Ask, AskId, Audience, Closed, Count, HistoryFrom, HistoryQuestion, Homes, Input, Notice, Question, Revocation,
};
use throng::wire::client::{CommandOut, ResumeOut, write_command};
use throng::wire::{CloseReason, FrameKind, Payload, prove, write_close, write_frame};

use super::feed::Feed;
use super::house::{House, MASK, OFFER, SEED, SHARDS, Speaks, TOKENS, USERS};

const ROOMS: [&str; 4] = ["a", "room:two", "@all", "x/y"];
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
            envelope_of(feed, what % 16, encoding, &mut envelope);
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

/// A command; where a payload is none, what is written is the publish of `null`.
fn envelope_of(feed: &mut Feed<'_>, what: u8, encoding: Encoding, out: &mut Vec<u8>) {
    let room = ROOMS[feed.below(ROOMS.len())];
    let options = feed.byte();
    let id = (options & 1 == 1).then(|| u64::from(options));
    match what {
        6 | 7 => {
            let position = || Position { epoch: Epoch(u64::from(options)), offset: Offset(u64::from(options >> 4)) };
            let since = (options & 8 != 0).then(position);
            let history = (options & 4 != 0).then_some(u32::from(options >> 5));
            write_command(out, encoding, id, &CommandOut::Join { room, since, history, presence: options & 2 != 0 });
        }
        8 => write_command(out, encoding, id, &CommandOut::Leave { room }),
        9 => match options >> 6 {
            0 => write_command(out, encoding, Some(7), &CommandOut::Presence { room }),
            1 => write_command(out, encoding, id, &CommandOut::Typing { room, on: options & 2 != 0 }),
            2 => {
                let offset = Offset(u64::from(options & 63));
                write_command(out, encoding, id, &CommandOut::Read { room, offset });
            }
            _ => write_command(out, encoding, Some(7), &CommandOut::Unread { room }),
        },
        10 => write_command(out, encoding, id, &CommandOut::Ping),
        11 => {
            let token = &TOKENS[usize::from(options) % TOKENS.len()];
            let hello = CommandOut::Hello { token, session: None };
            let command = if options & 16 == 0 { CommandOut::Refresh { token } } else { hello };
            write_command(out, encoding, id, &command);
        }
        12 => {
            let from = match options >> 6 {
                0 => HistoryFrom::Newest,
                1 => HistoryFrom::Before(Offset(u64::from(options & 15))),
                _ => HistoryFrom::After { epoch: Some(Epoch(0)), offset: Offset(u64::from(options & 15)) },
            };
            let messages_max = (options & 32 != 0).then_some(u32::from(options & 3));
            write_command(out, encoding, Some(9), &CommandOut::History { room, from, messages_max });
        }
        13 => {
            let position = Position { epoch: Epoch(u64::from(options)), offset: Offset(u64::from(options >> 4)) };
            let since = (options & 8 != 0).then_some(position);
            let entry = ResumeOut { room, id: Some(9), since, history: None, presence: options & 2 != 0 };
            // A code that nobody made, of a connection that there may be.
            let session = format!("{:048x}", u64::from(options));
            let session = (options & 16 != 0).then_some(session.as_str());
            write_command(out, encoding, id, &CommandOut::Resume { session, rooms: &[entry, entry] });
        }
        _ => {
            let payload = payload(feed, encoding);
            let event = (options & 4 != 0).then_some("e");
            let echo = (options & 8 != 0).then_some(options & 16 != 0);
            let (data, key) = (payload.as_data(), (options & 32 != 0).then_some("k"));
            let user = USERS[usize::from(options) % USERS.len()];
            let command = match options & 192 {
                192 => CommandOut::Send { user, data, event, echo, key },
                _ => CommandOut::Publish { room, data, event, echo, key },
            };
            write_command(out, encoding, id, &command);
        }
    }
}

fn payload(feed: &mut Feed<'_>, encoding: Encoding) -> Payload {
    let piece = feed.piece();
    let nothing: &[u8] = if encoding == Encoding::Json { b"null" } else { b"\xc0" };
    let proved = prove(encoding, piece, 32).or_else(|_| prove(encoding, nothing, 32));
    proved.expect("`null` is a value").to_payload()
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

//! What is measured: each case does a number of rounds of one thing that happens on the hot path.

mod crowd;
mod deflating;

use std::hint::black_box;

use throng::base::{ClassId, Encoding, Epoch, Identity, Limits, Now, Offset, RoomClass, RoomName};
use throng::room::{Post, Room};
use throng::wire::client::{CommandOut, write_command};
use throng::wire::{
    FrameKind, FrameLimits, MessageOut, Partial, Payload, Press, Reader, Role, decode, prove, write_frame,
    write_message,
};

use crowd::Crowd;
pub(crate) use deflating::print_savings;

/// One thing to count.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What one of `per_round` is.
    pub(crate) unit: &'static str,
    pub(crate) per_round: u64,
    pub(crate) rounds: u64,
    pub(crate) run: Box<dyn FnMut(u64)>,
}

/// Every case, each with its own world made ready.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![frames_in("frame in, 64 B", 64), frames_in("frame in, 4 KiB", 4_096)];
    for (encoding, names) in [
        (
            Encoding::MessagePack,
            ["decode publish 128 B, msgpack", "write message 128 B, msgpack", "prove 1 KiB payload, msgpack"],
        ),
        (Encoding::Json, ["decode publish 128 B, json", "write message 128 B, json", "prove 1 KiB payload, json"]),
    ] {
        cases.push(decode_publish(names[0], encoding));
        cases.push(message_out(names[1], encoding));
        cases.push(proved(names[2], encoding));
    }
    cases.push(room_append());
    cases.push(delivered("one shard: publish to a room of 50", 1, 50, 1, 50));
    cases.push(delivered("two shards: publish to a room of 50", 2, 50, 1, 50));
    cases.push(delivered("one shard: 20 publishes a tick to a room of 50", 1, 50, 20, 1_000));
    cases.push(delivered("one shard: publish to a pair", 1, 2, 1, 2));
    cases.extend(deflating::all());
    cases
}

/// A text payload of about `bytes`, as it stands in `encoding`.
fn payload(encoding: Encoding, bytes: usize) -> Payload {
    let text = "x".repeat(bytes);
    let raw = match encoding {
        Encoding::Json => format!("\"{text}\"").into_bytes(),
        Encoding::MessagePack => {
            let mut raw = Vec::new();
            rmp::encode::write_str(&mut raw, &text).expect("a Vec takes everything");
            raw
        }
    };
    prove(encoding, &raw, 32).expect("a string is portable").to_payload()
}

fn frames_in(name: &'static str, bytes: usize) -> Case {
    let mut frame = Vec::new();
    write_frame(&mut frame, FrameKind::Binary, &vec![7; bytes], Some([1, 2, 3, 4]));
    let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 64 };
    let mut read = frame.clone();
    let run = move |rounds| {
        for _ in 0..rounds {
            // Unmasked in place: each round needs the masked bytes again.
            read.copy_from_slice(&frame);
            let mut partial = Partial::default();
            let mut reader = Reader::new(Role::Server, limits, &mut read);
            black_box(reader.next(&mut partial).is_ok());
        }
    };
    Case { name: name.to_owned(), unit: "frame", per_round: 1, rounds: 20_000, run: Box::new(run) }
}

fn decode_publish(name: &'static str, encoding: Encoding) -> Case {
    let payload = payload(encoding, 124);
    let mut message = Vec::new();
    let publish =
        CommandOut::Publish { room: "chat:lobby", data: payload.as_data(), event: None, echo: Some(false), key: None };
    write_command(&mut message, encoding, Some(7), &publish);
    let limits = Limits::default();
    let run = move |rounds| {
        for _ in 0..rounds {
            black_box(decode(encoding, black_box(&message), &limits).is_ok());
        }
    };
    Case { name: name.to_owned(), unit: "publish", per_round: 1, rounds: 20_000, run: Box::new(run) }
}

fn message_out(name: &'static str, encoding: Encoding) -> Case {
    let (payload, room) = (payload(encoding, 124), RoomName::parse("chat:lobby").expect("a good name"));
    let from = Identity::new("user-0123456789abcdef012", None).expect("a good user");
    let mut out = Vec::new();
    let run = move |rounds| {
        for round in 0..rounds {
            out.clear();
            let message = MessageOut {
                room: &room,
                offset: Offset(round),
                at_unix_ms: 1_790_000_000_000,
                from: &from,
                event: None,
                key: None,
                data: &payload,
            };
            black_box(write_message(&mut out, encoding, &message));
        }
    };
    Case { name: name.to_owned(), unit: "message", per_round: 1, rounds: 20_000, run: Box::new(run) }
}

fn proved(name: &'static str, encoding: Encoding) -> Case {
    let payload = payload(encoding, 1_024);
    let run = move |rounds| {
        for _ in 0..rounds {
            black_box(prove(encoding, black_box(payload.bytes()), 32).is_ok());
        }
    };
    Case { name: name.to_owned(), unit: "payload", per_round: 1, rounds: 20_000, run: Box::new(run) }
}

fn room_append() -> Case {
    let bounds = RoomClass::of(&Limits::default()).log;
    let mut room = Room::new(
        RoomName::parse("chat:lobby").expect("a good name"),
        Epoch(1),
        ClassId::DEFAULT,
        &RoomClass::default(),
    );
    let payload = payload(Encoding::MessagePack, 124);
    let from = Identity::new("user-0123456789abcdef012", None).expect("a good user");
    let mut scratch = Press::default();
    let run = move |rounds| {
        for _ in 0..rounds {
            let post = Post { from: &from, event: None, key: None, payload: &payload, skip: None };
            black_box(room.append(Now::default(), &post, bounds, &mut scratch));
        }
    };
    Case {
        name: "room: append to a full log".to_owned(),
        unit: "message",
        per_round: 1,
        rounds: 20_000,
        run: Box::new(run),
    }
}

/// Publishes by one member of a room, written to all others, from the publisher's bytes to the batch.
fn delivered(name: &'static str, shards: u16, members: usize, publishes: u64, per_round: u64) -> Case {
    let mut crowd: Option<Crowd> = None;
    let run = move |rounds| {
        let crowd =
            crowd.get_or_insert_with(|| Crowd::seat(shards, members, false, vec![payload(Encoding::MessagePack, 124)]));
        for _ in 0..rounds {
            black_box(crowd.publish(publishes));
        }
    };
    Case { name: name.to_owned(), unit: "delivery", per_round, rounds: 500, run: Box::new(run) }
}

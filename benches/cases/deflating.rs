//! What deflated messages cost and save, on what people say to each other: chat messages of several lengths.

use std::hint::black_box;

use throng::base::Encoding;
use throng::wire::{
    Compression, FrameKind, FrameLimits, Inflater, Partial, Payload, Press, Reader, Role, SharedFrame, prove,
    write_frame,
};

use super::Case;
use super::crowd::Crowd;

/// Bytes of a payload, in JSON.
const LENGTHS: [(usize, &str); 4] = [(200, "200 B"), (1_100, "1.1 KiB"), (4_096, "4 KiB"), (16_384, "16 KiB")];
const LEVELS: [u32; 3] = [1, 2, 6];
/// Different ones, so that no guess of the processor's fits all.
const MESSAGES: u64 = 16;

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (bytes, name) in LENGTHS {
        for level in LEVELS {
            cases.push(deflated(format!("deflate {name}, level {level}"), bytes, level));
        }
        cases.push(inflated(format!("inflate {name}"), bytes));
        for (members, room) in [(2, "a pair"), (50, "a room of 50")] {
            cases.push(delivered(format!("publish {name} to {room}, plain"), members, bytes, false));
            cases.push(delivered(format!("publish {name} to {room}, deflated"), members, bytes, true));
        }
    }
    cases
}

/// Bytes of the frames of what is said, plain and deflated.
pub(crate) fn print_savings() {
    println!("what deflating saves, bytes of an envelope's frame (mean of {MESSAGES})");
    println!("  {:<24} {:>8} {:>8} {:>8} {:>8}", "", "plain", "level 1", "level 2", "level 6");
    for (encoding, spoken) in [(Encoding::Json, "json"), (Encoding::MessagePack, "msgpack")] {
        for (bytes, name) in LENGTHS {
            let mean = |len: &dyn Fn(u64) -> usize| (0..MESSAGES).map(len).sum::<usize>() / MESSAGES as usize;
            let plain = mean(&|seed| frame(encoding, bytes, seed).len());
            let by_level = LEVELS.map(|level| {
                let mut press = press(level);
                let press = std::cell::RefCell::new(&mut press);
                mean(&|seed| {
                    let mut out = frame(encoding, bytes, seed);
                    press.borrow_mut().press_last(&mut out, 0);
                    out.len()
                })
            });
            let [one, two, six] = by_level;
            println!("  {:<24} {plain:>8} {one:>8} {two:>8} {six:>8}", format!("{name}, {spoken}"));
        }
    }
}

/// A payload of about so many bytes: a page of messages with names, times, words and reactions.
pub(super) fn payload(encoding: Encoding, bytes: usize, seed: u64) -> Payload {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut items = Vec::new();
    let mut len = 0;
    while len + 60 < bytes {
        let count = (bytes - len).min(260) / 9;
        let words: Vec<&str> = (0..count).map(|_| WORDS[roll(WORDS.len())]).collect();
        let item = format!(
            "{{\"id\":\"{:08x}{:08x}\",\"text\":\"{}\",\"at\":17{:08}}}",
            roll(1 << 31),
            roll(1 << 31),
            words.join(" "),
            roll(100_000_000)
        );
        len += item.len() + 1;
        items.push(item);
    }
    let json = match items.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(",")),
    };
    let proved = prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here");
    let mut raw = Vec::new();
    proved.write_as(encoding, &mut raw);
    prove(encoding, &raw, 32).expect("it was proved as JSON").to_payload()
}

/// A frame as readers get it, but for its envelope.
fn frame(encoding: Encoding, bytes: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = if encoding == Encoding::Json { FrameKind::Text } else { FrameKind::Binary };
    write_frame(&mut out, kind, payload(encoding, bytes, seed).bytes(), None);
    out
}

/// For everything, however short.
fn press(level: u32) -> Press {
    Press::new(Compression { enabled: true, bytes_above: 0, level })
}

fn deflated(name: String, bytes: usize, level: u32) -> Case {
    let frames: Vec<SharedFrame> =
        (0..MESSAGES).map(|seed| SharedFrame::from(&frame(Encoding::Json, bytes, seed)[..])).collect();
    let mut press = press(level);
    let run = move |rounds| {
        for round in 0..rounds {
            let frame = &frames[(round % MESSAGES) as usize];
            black_box(press.pressed(black_box(frame)).is_some());
        }
    };
    Case { name, unit: "message", per_round: 1, rounds: 2 * MESSAGES, run: Box::new(run) }
}

fn inflated(name: String, bytes: usize) -> Case {
    let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 64 };
    let frames: Vec<Vec<u8>> = (0..MESSAGES)
        .map(|seed| {
            let mut out = Vec::new();
            let said = payload(Encoding::Json, bytes, seed);
            press(6).write_message(&mut out, FrameKind::Text, said.bytes(), Some([1, 2, 3, 4]));
            out
        })
        .collect();
    let mut inflater = Inflater::default();
    let run = move |rounds| {
        for round in 0..rounds {
            // Unmasked in place: each round needs the masked bytes again.
            let mut read = frames[(round % MESSAGES) as usize].clone();
            let mut partial = Partial::default();
            let mut reader = Reader::new(Role::Server, limits, &mut read).inflating(Some(&mut inflater));
            assert!(black_box(reader.next(&mut partial)).is_ok_and(|said| said.is_some()));
        }
    };
    Case { name, unit: "message", per_round: 1, rounds: 10 * MESSAGES, run: Box::new(run) }
}

/// From the publisher's bytes to the batch, with one reader or many; each reader's part of it.
fn delivered(name: String, members: usize, bytes: usize, deflates: bool) -> Case {
    let mut crowd: Option<Crowd> = None;
    let run = move |rounds| {
        let crowd = crowd.get_or_insert_with(|| {
            let payloads = (0..MESSAGES).map(|seed| payload(Encoding::MessagePack, bytes, seed)).collect();
            Crowd::seat(1, members, deflates, payloads)
        });
        for _ in 0..rounds {
            black_box(crowd.publish(1));
        }
    };
    Case { name, unit: "publish", per_round: 1, rounds: 4 * MESSAGES, run: Box::new(run) }
}

const WORDS: [&str; 96] = [
    "the",
    "of",
    "meeting",
    "tomorrow",
    "I",
    "think",
    "we",
    "should",
    "really",
    "move",
    "server",
    "and",
    "to",
    "chat",
    "okay",
    "thanks",
    "see",
    "you",
    "later",
    "at",
    "office",
    "but",
    "not",
    "before",
    "lunch",
    "maybe",
    "someone",
    "could",
    "look",
    "into",
    "why",
    "build",
    "fails",
    "again",
    "on",
    "branch",
    "release",
    "deploy",
    "friday",
    "never",
    "please",
    "ping",
    "me",
    "when",
    "done",
    "good",
    "morning",
    "everyone",
    "coffee",
    "is",
    "ready",
    "did",
    "anyone",
    "read",
    "paper",
    "about",
    "consensus",
    "it",
    "was",
    "long",
    "interesting",
    "customers",
    "report",
    "slow",
    "images",
    "phones",
    "network",
    "train",
    "tunnel",
    "weather",
    "nice",
    "walk",
    "dog",
    "evening",
    "football",
    "match",
    "tonight",
    "who",
    "joins",
    "tickets",
    "left",
    "price",
    "went",
    "up",
    "ten",
    "percent",
    "crazy",
    "times",
    "über",
    "straße",
    "für",
    "naïve",
    "café",
    "señor",
    "déjà",
    "voilà",
];

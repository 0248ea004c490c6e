//! When a room is written: budgets, rests, sweeps, the end. Two shards, by hand. Who publishes sits nowhere: an answer
//! would take along what its connection is owed.

use super::house::{House, Who, class, token};
use super::*;
use crate::base::{Delivery, Rate};

fn heard_by(house: &House, people: &[Who], data: &str) -> usize {
    let hears = |who: &&Who| {
        house.heard.iter().any(|(whose, bytes)| whose == *who && String::from_utf8_lossy(bytes).contains(data))
    };
    people.iter().filter(hears).count()
}

fn publish(house: &mut House, who: Who, room: &str, data: &str) {
    house.reads(who, &[&format!(r#"{{"type":"publish","room":"{room}","data":"{data}"}}"#)]);
    house.rests();
}

/// A budget of `sends_per_tick`, somebody who publishes, and people who sit.
fn crowded(sends_per_tick: u32, seats: &[(&str, &str)]) -> (House, Who, Vec<Who>) {
    let mut house = House::with(Limits { sends_per_tick, ..Limits::default() }, &[]);
    let zoe = house.comes(0, "zoe");
    let mut people = Vec::new();
    for (user, room) in seats {
        // A tick, and no time: nobody falls silent.
        house.passes(1);
        let who = house.comes(0, user);
        house.passes(1);
        house.joins(who, room);
        people.push(who);
    }
    house.passes(200);
    house.heard.clear();
    (house, zoe, people)
}

const SIX: [(&str, &str); 6] = [("ann", "w"), ("bob", "w"), ("cat", "w"), ("dan", "w"), ("eve", "w"), ("fay", "w")];

#[test]
fn a_room_rests_since_its_own_writing_whoever_rests_before_it() {
    let (mut house, zoe, people) = crowded(8, &[("ann", "a"), ("bob", "b")]);
    let (ann, bob) = (&people[..1], &people[1..]);
    publish(&mut house, zoe, "a", "one");
    assert_eq!(heard_by(&house, ann, "one"), 1, "nothing was written before");
    house.now.mono_ms += 60;
    publish(&mut house, zoe, "b", "two");
    assert_eq!(heard_by(&house, bob, "two"), 1);
    publish(&mut house, zoe, "b", "three");
    publish(&mut house, zoe, "a", "four");
    assert_eq!((heard_by(&house, bob, "three"), heard_by(&house, ann, "four")), (0, 0), "both rest");
    house.passes(40);
    assert_eq!(heard_by(&house, ann, "four"), 1, "its rest is over");
    assert_eq!(heard_by(&house, bob, "three"), 0, "that of the other is not");
    house.now.mono_ms += 60;
    house.rests();
    assert_eq!(heard_by(&house, bob, "three"), 1);
}

#[test]
fn a_room_of_more_readers_than_the_budget_is_written_over_its_ticks() {
    let (mut house, zoe, people) = crowded(3, &SIX);
    publish(&mut house, zoe, "w", "all");
    let at_once = heard_by(&house, &people, "all");
    assert!((1..SIX.len()).contains(&at_once), "the budget is spent before: {at_once}");
    house.passes(100);
    assert_eq!(heard_by(&house, &people, "all"), SIX.len(), "past the tick it is written whatever it costs");
}

#[test]
fn what_is_said_during_a_sweep_waits_until_the_room_has_rested() {
    let (mut house, zoe, people) = crowded(3, &SIX);
    publish(&mut house, zoe, "w", "first");
    publish(&mut house, zoe, "w", "second");
    house.passes(100);
    assert_eq!(heard_by(&house, &people, "first"), SIX.len());
    assert_eq!(heard_by(&house, &people, "second"), 0, "it came after the sweep began");
    house.passes(100);
    house.passes(100);
    assert_eq!(heard_by(&house, &people, "second"), SIX.len());
}

/// Somebody in a room of values who is owed three of so many bytes, the second of which was overtaken on its way here; writes
/// have 1,024 bytes. The room's place at the first shard, and the length of a frame.
fn of_three_the_second_overtaken(bytes: usize) -> (House, u32, usize) {
    let latest = class(|class| class.delivery = Delivery::Latest);
    let limits = Limits { outbox_soft_bytes_max: 1_024, ..Limits::default() };
    let mut house = House::with(limits, &[("w*", latest)]);
    let (bob, room) = (house.comes(0, "bob"), house.room_at(0, "w"));
    house.joins(bob, &room);
    let (now, shard) = (house.now, &mut house.shards[0]);
    let at = shard.seats.find(&room).unwrap();
    let (room, next) = (shard.seats.place(at), shard.seats.room(at).next_offset());
    let mut frame = Vec::new();
    crate::wire::write_frame(&mut frame, crate::wire::FrameKind::Text, &vec![b'x'; bytes], None);
    for offset in [next, next.next().next()] {
        let frames = [0, 1].map(|_| Some(crate::wire::SharedFrame::from(&frame[..])));
        shard.on_deliver(Deliver { room, offset, frames, skip: None, accepted_mono_ms: now.mono_ms });
    }
    (house, at, frame.len())
}

/// Regression (seed 1642): who was owed nothing but what had been overtaken was written nothing, by a write.
#[test]
fn who_is_owed_only_what_was_overtaken_is_not_written() {
    // The third does not fit the same write.
    let (mut house, at, frame_len) = of_three_the_second_overtaken(800);
    let (now, shard) = (house.now, &mut house.shards[0]);
    // An answer took the first one along.
    shard.seats.room_mut(at).served(0, 1);
    let before = shard.counters().count(Count::Deliveries);
    let mut batch = Batch::default();
    let mut lens = Vec::new();
    while shard.fill_batch(now, &mut batch) {
        lens.extend(batch.writes.iter().map(|write| write.len as usize));
        shard.finish_batch(now, &mut batch, &[]);
    }
    assert_eq!((lens, shard.counters().count(Count::Deliveries) - before), (vec![frame_len], 1));
}

#[test]
fn a_whale_that_is_late_lets_a_pair_go_first() {
    let names: Vec<String> = (0..1_700).map(|n| format!("u{n}")).collect();
    let mut seats: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "whale")).collect();
    seats.push(("pat", "pair"));
    let (mut house, zoe, _) = crowded(1_000, &seats);
    publish(&mut house, zoe, "whale", "big");
    publish(&mut house, zoe, "pair", "small");
    house.passes(100);
    let place = |data: &str, last: bool| {
        let says = |(_, bytes): &(Who, Vec<u8>)| String::from_utf8_lossy(bytes).contains(data);
        if last { house.heard.iter().rposition(says) } else { house.heard.iter().position(says) }
    };
    let (pair, whale) = (place("small", false), place("big", true));
    assert!(pair.is_some() && pair < whale, "the pair at {pair:?}, the last of the whale at {whale:?}");
}

#[test]
fn a_server_that_stops_tells_everybody_whatever_the_budget() {
    for flush in [Flush::Eager, Flush::Tick] {
        let (mut house, zoe, people) = crowded(3, &SIX);
        house.shards.iter_mut().for_each(|shard| shard.config.flush = flush);
        publish(&mut house, zoe, "w", "last");
        let now = house.now;
        house.shards.iter_mut().for_each(|shard| shard.handle(now, Input::Stop));
        house.rests();
        assert_eq!(heard_by(&house, &people, "last"), SIX.len(), "{flush:?}");
        assert_eq!(heard_by(&house, &people, "\u{3}\u{fffd}"), SIX.len(), "{flush:?}: 1001 reaches everybody");
    }
}

/// Regression: who was owed more than an outbox holds was cut off without a word when its slot came.
#[test]
fn who_is_owed_more_than_an_outbox_holds_hears_what_fits_and_the_goodbye() {
    let limits = Limits {
        message_bytes_max: 200,
        outbox_soft_bytes_max: 1_024,
        outbox_hard_bytes_max: 1_024,
        ..Limits::default()
    };
    let mut house = House::with(limits, &[]);
    let (zoe, ann, room) = (house.comes(0, "zoe"), house.comes(0, "ann"), house.room_at(0, "w"));
    house.joins(ann, &room);
    let publish = format!(r#"{{"type":"publish","room":"{room}","data":"{}"}}"#, "x".repeat(100));
    house.reads(zoe, &vec![&*publish; 1_000]);
    let now = house.now;
    house.shards[0].send_away(now, ann.1, CloseReason::Restart);
    house.rests();
    let heard = house.hears(ann);
    assert!(heard.contains(CloseReason::Restart.message()), "{} bytes", heard.len());
    let messages = heard.matches(r#""type":"message""#).count();
    assert!((100..1_000).contains(&messages), "{messages}");
}

/// Regression: a goodbye behind much that was still being taken was cut off when its own time was over.
#[test]
fn a_goodbye_waits_while_what_stands_before_it_is_taken_and_no_longer() {
    for (sip, whole) in [(100, true), (0, false)] {
        let mut house = House::with(Limits { close_grace_ms: 2_000, ..Limits::default() }, &[]);
        let (zoe, ann, room) = (house.comes(0, "zoe"), house.comes(0, "ann"), house.room_at(0, "w"));
        house.joins(ann, &room);
        house.heard.clear();
        house.deaf.push(ann);
        house.sip = sip;
        publish(&mut house, zoe, &room, &"x".repeat(600));
        let now = house.now;
        house.shards[0].send_away(now, ann.1, CloseReason::Restart);
        for _ in 0..8 {
            (0..15).for_each(|_| house.passes(100));
            house.shards[0].handle(house.now, Input::Writable { conn: ann.1 });
            house.rests();
        }
        assert_eq!(house.hears(ann).contains(CloseReason::Restart.message()), whole, "{sip} bytes at a time");
        (0..45).for_each(|_| house.passes(100));
        assert_eq!(house.closed, [CloseReason::Restart], "it never answered the goodbye");
    }
}

/// Somebody who is let in by the tick, where nothing is written before it.
fn comes_by_ticks(house: &mut House, user: &str) -> Who {
    let who = house.asks(0, &format!("Authorization: Bearer {}\r\n", token(user, None, None)), &[]);
    house.passes(100);
    assert!(house.hears(who).contains("welcome"));
    who
}

#[test]
fn a_class_says_when_its_rooms_are_written_whatever_the_server_does() {
    let limits = Limits { tick_ms: 100, ..Limits::default() };
    let of = |flush| class(|class| class.flush = flush);
    let given = [("calm:*", of(Some(Flush::Tick))), ("quick:*", of(Some(Flush::Eager))), ("like:*", of(None))];
    for (server, at_once) in [(Flush::Eager, [0, 1, 1]), (Flush::Tick, [0, 1, 0])] {
        let mut house = House::with(limits.clone(), &given);
        house.shards.iter_mut().for_each(|shard| shard.config.flush = server);
        let zoe = comes_by_ticks(&mut house, "zoe");
        let ann = comes_by_ticks(&mut house, "ann");
        let rooms = ["calm:a", "quick:a", "like:a"];
        for room in rooms {
            house.reads(ann, &[&format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#)]);
            house.passes(100);
        }
        house.passes(100);
        let told = rooms.map(|room| {
            house.heard.clear();
            publish(&mut house, zoe, room, "now");
            let before = heard_by(&house, &[ann], "now");
            house.passes(100);
            assert_eq!(heard_by(&house, &[ann], "now"), 1, "{room}, {server:?}");
            house.passes(200);
            before
        });
        assert_eq!(told, at_once, "{server:?}");
    }
}

/// Regression: what had been overtaken on its way was taken for a message as old as the server.
#[test]
fn what_was_passed_over_is_no_sample_of_how_long_messages_wait() {
    // The first fills a write, so that the next one begins with what was overtaken.
    let (mut house, ..) = of_three_the_second_overtaken(1_200);
    let (now, shard) = (house.now, &mut house.shards[0]);
    let mut batch = Batch::default();
    while shard.fill_batch(now, &mut batch) {
        shard.finish_batch(now, &mut batch, &[]);
    }
    let cells = shard.counters().latency();
    assert_eq!((cells[0], cells[1..].iter().sum::<u64>()), (2, 0), "two writes, and nothing waited: {cells:?}");
}

/// Regression: whoever was saying goodbye when its slot came, or when it was told too often that it was too often, was cut
/// off, and what it had been answered was lost.
#[test]
fn who_says_goodbye_already_is_not_cut_off_by_another_goodbye() {
    let once = class(|class| class.publish_rate = Rate { per_minute: 1, burst: 1 });
    let limits = Limits { strikes_per_minute: 1, ..Limits::default() };
    for leaves in [true, false] {
        let mut house = House::with(limits.clone(), &[("*", once.clone())]);
        let (ann, room) = (house.comes(0, "ann"), house.room_at(1, "w"));
        house.deaf.push(ann);
        house.publishes(ann, &room, "", "1");
        if leaves {
            house.shards[0].handle(house.now, Input::Drain { budget_ms: 2_000 });
            house.now.mono_ms += 1_000;
            house.shards[0].handle(house.now, Input::Tick);
        } else {
            let publish = format!(r#"{{"type":"publish","room":"{room}","data":1}}"#);
            house.reads(ann, &[&*publish; 5]);
        }
        let mut bytes = Vec::new();
        crate::wire::write_close(&mut bytes, 1000, "", Some([0; 4]));
        house.shards[0].handle(house.now, Input::Received { conn: ann.1, bytes: &mut bytes });
        house.rests();
        assert_eq!(house.closed, [], "leaves {leaves}");
        let heard = house.hears_again(ann);
        let is_whole = heard.contains(r#""offset":1"#) && heard.ends_with("\u{2}\u{3}\u{fffd}");
        assert!(is_whole, "leaves {leaves}: {heard:?}");
        assert_eq!(house.closed, [CloseReason::Bye]);
        assert_eq!(house.count(Count::StruckOut), 0);
    }
}

//! A publisher's own copy: an answer stands for it while the publisher sits in the room, and for nothing else. Two shards,
//! by hand.

use super::house::{House, Who};
use super::*;

fn offsets(heard: &str) -> Vec<u64> {
    let messages = heard.split(r#"{"type":"message""#).skip(1);
    let number = |text: &str| text.split_once(r#""offset":"#)?.1.split(',').next()?.parse().ok();
    messages.map(|text| number(text).expect("an offset")).collect()
}

/// Ann publishes where bob sits at her own shard, and joins while the room rests: what she said is still pending there.
#[test]
fn what_is_pending_from_before_a_join_is_heard_by_whoever_said_it() {
    for home in [0, 1] {
        let mut house = House::with(Limits { sends_per_tick: 8, ..Limits::default() }, &[]);
        let (ann, bob, room) = (house.comes(0, "ann"), house.comes(0, "bob"), house.room_at(home, "r"));
        house.joins(bob, &room);
        house.passes(200);
        for data in ["1", "2"] {
            house.publishes(ann, &room, "", data);
        }
        let at = house.shards[0].seats.find(&room).unwrap();
        assert_eq!(house.shards[0].seats.room(at).pending.len(), 1, "the second waits until the room has rested");
        let heard = house.says(ann, &format!(r#"{{"type":"join","id":3,"room":"{room}","history":1}}"#));
        assert_eq!(offsets(&heard), [2], "home {home}: {heard}");
        house.publishes(ann, &room, "", "3");
        house.passes(200);
        assert_eq!(offsets(&house.hears(ann)), [0; 0], "for this the answer stands");
        house.publishes(bob, &room, "", "4");
        house.passes(200);
        assert_eq!(offsets(&house.hears(ann)), [4]);
    }
}

/// Who falls behind while it sits there is not given its own words when it pulls.
#[test]
fn whoever_falls_behind_pulls_without_its_own_words() {
    let limits = Limits { outbox_soft_bytes_max: 1_024, outbox_hard_bytes_max: 1_024, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let (ann, bob, room) = (house.comes(0, "ann"), house.comes(0, "bob"), house.room_at(0, "r"));
    house.publishes(ann, &room, "", "0");
    house.joins(ann, &room);
    house.deaf.push(ann);
    let long = format!("\"{}\"", "x".repeat(900));
    house.publishes(bob, &room, "", &long);
    house.passes(200);
    house.publishes(ann, &room, "", "1");
    house.publishes(bob, &room, "", &long);
    house.passes(200);
    assert_eq!(house.shards[0].flush.behind_readers, 1);
    assert_eq!(offsets(&house.hears_again(ann)), [2, 4]);
}

/// A key is used again after 65,536 connections, and messages may be older.
#[test]
fn whoever_has_the_key_of_a_publisher_hears_what_that_one_said() {
    let mut house = House::new(&[]);
    let (ann, room) = (house.comes(0, "ann"), house.room_at(0, "r"));
    house.publishes(ann, &room, "", "1");
    house.ends(ann);
    // The row's next life has the key of its first.
    house.shards[0].connections.at_mut(ann.1.index()).generation = ann.1.generation();
    let stranger: Who = house.comes(0, "bob");
    assert_eq!(stranger, ann);
    let heard = house.says(stranger, &format!(r#"{{"type":"join","id":3,"room":"{room}","history":5}}"#));
    assert_eq!(offsets(&heard), [1]);
}

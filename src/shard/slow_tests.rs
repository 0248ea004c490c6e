//! Readers that take little, by hand: what they wait for, and what they are told when they go. Two shards.

use super::house::{House, token};
use super::*;

/// Regression: as long as a home's inbox was full, a reader stood once more in the list with each of its writes, and all of
/// them again with each tick.
#[test]
fn a_reader_waits_once_for_the_inbox_of_its_home_however_often_it_asks() {
    let mut house = House::new(&[]);
    let (ann, bob, room) = (house.comes(0, "ann"), house.comes(1, "bob"), house.room_at(1, "r"));
    house.joins(ann, &room);
    house.publishes(bob, &room, "", "1");
    let now = house.now;
    let shard = &mut house.shards[0];
    let at = shard.seats.find(&room).expect("ann sits here");
    shard.put_all_behind(at);
    let full = shard.limits().letters_waiting_max;
    (0..full).for_each(|_| shard.post(ShardId(1), Mail::Fenced { fence: 0 }));
    // So far behind that it must pull.
    shard.seats.room_mut(at).mark = crate::base::Offset(100);
    for _ in 0..3 {
        (0..5).for_each(|_| shard.catch_up(now, ann.1));
        shard.retry_pulls();
        assert_eq!(shard.flush.pulls_to_retry, [(ann.1, at)]);
    }
    // Whoever left meanwhile and sat down again stands there twice, until the next tick.
    shard.flush.pulls_to_retry.push((ann.1, at));
    shard.retry_pulls();
    assert_eq!(shard.flush.pulls_to_retry, [(ann.1, at)]);
    shard.check().unwrap();
    shard.outgoing_mut(ShardId(1)).clear();
    shard.retry_pulls();
    assert!(shard.flush.pulls_to_retry.is_empty());
    assert!(matches!(shard.outgoing_mut(ShardId(1)).as_slice(), [Mail::Pull { .. }]));
}

/// Regression: who was behind when its seat was taken heard neither what had been said until then nor that it was missing.
#[test]
fn who_is_behind_when_its_seat_is_taken_is_told_what_it_will_not_hear() {
    let limits = Limits { outbox_soft_bytes_max: 2_000, outbox_hard_bytes_max: 8_000, ..Limits::default() };
    for home in [0, 1] {
        let mut house = House::with(limits.clone(), &[]);
        let (ann, bob, room) = (house.comes(0, "ann"), house.comes(1, "bob"), house.room_at(home, "r"));
        house.joins(ann, &room);
        house.deaf.push(ann);
        let long = format!("\"{}\"", "x".repeat(1_500));
        for _ in 0..5 {
            house.publishes(bob, &room, "", &long);
            house.passes(200);
        }
        assert_eq!(house.shards[0].flush.behind_readers, 1, "home {home}");
        let narrow = token("ann", None, Some(r#"[{"match":"elsewhere","can":["join"]}]"#));
        house.reads(ann, &[&format!(r#"{{"type":"refresh","id":7,"token":"{narrow}"}}"#)]);
        house.rests();
        let heard = house.hears_again(ann);
        let heard_all = heard.matches(r#""type":"message""#).count() as u64;
        let gap = format!(r#""from":{},"to":5,"why":"slow"}}"#, heard_all + 1);
        let places = [&*gap, r#""type":"removed""#].map(|text| heard.find(text));
        assert!((1..5).contains(&heard_all) && places[0].is_some() && places[0] < places[1], "home {home}: {heard}");
    }
}

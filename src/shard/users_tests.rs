//! How many connections one user has, on two shards, by hand: the ways past the limit that a review found.

use super::house::{House, Who, session_of, token};
use super::*;

const GREETS: &str = "Sec-WebSocket-Protocol: throng.v1.json\r\n";

fn house() -> House {
    House::with(Limits { connections_per_user_max: 1, ..Limits::default() }, &[])
}

/// A user who is counted at the other shard than where it comes.
fn counted_at(house: &House, shard: u16) -> String {
    let mut users = (0..).map(|n| format!("u{n}"));
    users.find(|user| house.shards[0].homes.of_user(user).1 == ShardId(shard)).expect("users fall everywhere")
}

fn hello(user: &str, session: Option<&str>) -> String {
    let session = session.map_or_else(String::new, |session| format!(r#","session":"{session}""#));
    format!(r#"{{"type":"hello","token":"{}"{session}}}"#, token(user, None, None))
}

fn resume(session: &str) -> String {
    format!(r#"{{"type":"resume","id":7,"session":"{session}","rooms":[]}}"#)
}

fn counted(house: &House) -> u64 {
    house.shards.iter().map(Shard::users_counted).sum()
}

/// Regression: who was one too many was taken over before it was told, and who took it over was never judged.
#[test]
fn a_chain_of_take_overs_is_no_way_past_the_limit() {
    for with_hello in [true, false] {
        let mut house = house();
        let user = counted_at(&house, 1);
        house.greets(0, &token(&user, None, None), "", &[]);
        let mut sat: Vec<Who> = Vec::new();
        for round in 0..8 {
            let [former, heir] = [0, 0].map(|shard| house.asks(shard, GREETS, &[]));
            house.reads(former, &[&hello(&user, None)]);
            // Its home knows of it, and what it says of it is not here yet.
            house.turn(0);
            let session = session_of(&house.hears(former));
            if with_hello {
                house.reads(heir, &[&hello(&user, Some(&session))]);
            } else {
                house.reads(heir, &[&hello(&user, None), &resume(&session)]);
            }
            house.rests();
            assert!(house.hears(heir).contains(r#""resumed":true"#), "round {round}");
            house.ends(former);
            sat.push(heir);
            let open = |who: &&Who| house.shards[0].stage_of(who.1) == Some(row::Stage::Open);
            assert_eq!(sat.iter().filter(open).count(), 0, "hello {with_hello}, round {round}");
        }
        sat.into_iter().for_each(|who| house.ends(who));
        assert_eq!(counted(&house), 1, "the first");
        assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
    }
}

/// Regression: the count of each former connection stood until its socket was gone, so that the limit was twice as high
/// for those who went on with sessions.
#[test]
fn three_who_follow_each_other_at_once_are_one_connection() {
    for with_hello in [true, false] {
        let mut house = house();
        let user = counted_at(&house, 1);
        let first = house.asks(0, GREETS, &[&hello(&user, None)]);
        let mut session = session_of(&house.hears(first));
        let heirs = [0; 3].map(|shard| house.asks(shard, GREETS, &[]));
        for heir in heirs {
            if with_hello {
                house.reads(heir, &[&hello(&user, Some(&session))]);
            } else {
                house.reads(heir, &[&hello(&user, None), &resume(&session)]);
            }
            // Their home knows of it, and what it says of it is not here yet.
            house.turn(0);
            session = session_of(&house.hears(heir));
        }
        house.rests();
        let open = heirs.map(|who| house.shards[0].stage_of(who.1) == Some(row::Stage::Open));
        assert_eq!((open, counted(&house)), ([false, false, true], 1), "hello {with_hello}");
        let beside = house.asks(0, GREETS, &[&hello(&user, None)]);
        assert!(house.hears(beside).contains("as many connections"));
        (0..80).for_each(|_| house.passes(500));
        assert_eq!(counted(&house), 1);
        house.ends(heirs[2]);
        assert_eq!(counted(&house), 0);
        assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
    }
}

/// Regression: whoever was taken over by somebody who did not begin after all was counted for ever, or never.
#[test]
fn a_count_that_moved_to_nobody_is_given_back_once() {
    for with_hello in [true, false] {
        for (user, shard) in [("ann", 0), ("ann", 1), ("bob", 0), ("bob", 1)] {
            let mut house = house();
            let first = house.asks(0, GREETS, &[&hello(user, None)]);
            let session = session_of(&house.hears(first));
            let heir = house.asks(shard, GREETS, &[]);
            if with_hello {
                house.reads(heir, &[&hello(user, Some(&session))]);
            } else {
                house.reads(heir, &[&hello(user, None), &resume(&session)]);
            }
            let now = house.now;
            house.shards[heir.0.index()].handle(now, Input::Ended { conn: heir.1 });
            house.rests();
            (0..80).for_each(|_| house.passes(500));
            assert_eq!(counted(&house), 0, "{user} at {shard}, hello {with_hello}");
            assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
            let again = house.asks(1 - shard, GREETS, &[&hello(user, Some(&session))]);
            assert!(house.hears(again).contains("welcome"));
            assert_eq!(counted(&house), 1);
        }
    }
}

/// Regression: who was told that it is one too many could not go on with its session, though it was told to come back.
#[test]
fn who_was_one_too_many_goes_on_with_its_session_when_there_is_a_place() {
    let mut house = house();
    let user = counted_at(&house, 1);
    let present = house.asks(0, GREETS, &[&hello(&user, None)]);
    let other = house.asks(0, GREETS, &[&hello(&user, None)]);
    let heard = house.hears(other);
    assert!(heard.contains("as many connections"), "{heard}");
    [present, other].into_iter().for_each(|who| house.ends(who));
    let again = house.asks(1, GREETS, &[&hello(&user, Some(&session_of(&heard)))]);
    assert!(house.hears(again).contains(r#""resumed":true"#));
}

/// Regression: who asked for one session after the other stayed for as long as it did.
#[test]
fn who_is_one_too_many_is_not_held_by_asking_on() {
    let mut house = house();
    let user = counted_at(&house, 1);
    house.greets(1, &token(&user, None, None), "", &[]);
    let other = house.asks(0, GREETS, &[]);
    let nobodys = resume(&format!("0001{}", "0".repeat(44)));
    house.reads(other, &[&hello(&user, None), &nobodys]);
    for _ in 0..10 {
        house.turn(0);
        // Asked before the answer to what was asked before it is back.
        house.reads(other, &[&nobodys]);
        house.turn(1);
    }
    assert!(house.hears(other).contains("as many connections"));
    house.rests();
    house.ends(other);
    assert_eq!(counted(&house), 1);
    assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
}

/// Regression: it heard `resumed: true`, then that it is one too many, and the handle was used up.
#[test]
fn who_is_one_too_many_uses_no_kept_session_up() {
    let mut house = house();
    let user = counted_at(&house, 1);
    let lost = house.greets(1, &token(&user, None, None), "", &[]);
    let session = session_of(&house.hears(lost));
    house.ends(lost);
    let present = house.greets(1, &token(&user, None, None), "", &[]);
    let other = house.asks(0, GREETS, &[]);
    house.reads(other, &[&hello(&user, None), &resume(&format!("0001{}", "0".repeat(44)))]);
    house.turn(0);
    // The home has judged, and this is on its way when that is told.
    house.reads(other, &[&resume(&session)]);
    house.rests();
    let heard = house.hears(other);
    assert!(heard.contains("as many connections") && !heard.contains(r#""resumed":true"#), "{heard}");
    house.ends(other);
    house.ends(present);
    let again = house.greets(0, &token(&user, None, None), &session, &[]);
    assert!(house.hears(again).contains(r#""resumed":true"#), "it is still good");
}

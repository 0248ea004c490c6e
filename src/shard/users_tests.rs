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
            assert!(sat.iter().filter(open).count() <= 2, "hello {with_hello}, round {round}");
        }
        sat.into_iter().for_each(|who| house.ends(who));
        assert_eq!(counted(&house), 1, "the first");
        assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
    }
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

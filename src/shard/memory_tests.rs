//! Rooms that remember, on two shards, by hand: what a review found is told here, so that it stays found.

use std::sync::Arc;

use super::house::{House, Who, class, field, rules, session_of, token};
use super::*;
use crate::base::{Presence, RoomClass};

const WATCH: &str = r#","presence":true"#;

fn join(room: &str, more: &str) -> String {
    format!(r#"{{"type":"join","id":1,"room":"{room}"{more}}}"#)
}

fn resume(session: &str, room: &str, epoch: &str) -> String {
    format!(
        r#"{{"type":"resume","id":7,"session":"{session}","rooms":[{{"room":"{room}","id":8,"epoch":"{epoch}","offset":0}}]}}"#
    )
}

fn pair(presence: Presence) -> RoomClass {
    class(|class| (class.seats_max, class.presence) = (2, presence))
}

/// Ann as she comes, with the session she may go on with.
fn ann_with_session(house: &mut House, shard: u16) -> (Who, String) {
    let ann = house.asks(shard, &format!("Authorization: Bearer {}\r\n", token("ann", None, None)), &[]);
    let session = session_of(&house.hears(ann));
    (ann, session)
}

/// Regression: the seat of a connection that was dead and not found dead filled the room against its own user.
#[test]
fn who_comes_back_to_a_full_room_is_not_kept_out_by_its_own_seat() {
    for presence in [Presence::Announced, Presence::Off] {
        for shard in [0, 1] {
            let mut house = House::new(&[("pair:*", pair(presence))]);
            // The join is there before the session is taken: its home is where she comes back.
            let room = house.room_at(shard, "pair:");
            let (ann, session) = ann_with_session(&mut house, 0);
            let epoch = field(&house.joins(ann, &room), r#""epoch":""#);
            let (bob, carl) = (house.comes(1, "bob"), house.comes(1, "carl"));
            assert!(house.joins(bob, &room).contains("epoch"));
            let again = house.comes(shard, "ann");
            let heard = house.says(again, &resume(&session, &room, &epoch));
            assert!(heard.contains(r#""recovered":true"#) && heard.contains(r#""resumed":true"#), "{heard}");
            assert!(house.joins(carl, &room).contains("room_full"), "they are two again");
            house.says(again, &format!(r#"{{"type":"leave","id":9,"room":"{room}"}}"#));
            assert!(house.joins(carl, &room).contains("epoch"), "and nobody else stands in it");
        }
    }
}

/// Regression: where presence is off anybody who knew the room's epoch could sit beside those who filled it.
#[test]
fn a_resume_is_no_way_into_a_full_room_for_others_nor_for_a_third_seat() {
    for presence in [Presence::Announced, Presence::Counted, Presence::Off] {
        let mut house = House::new(&[("pair:*", pair(presence))]);
        let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
        let epoch = field(&house.joins(ann, "pair:a"), r#""epoch":""#);
        house.joins(bob, "pair:a");
        let session = "0".repeat(48);
        let carl = house.comes(0, "carl");
        assert!(house.says(carl, &resume(&session, "pair:a", &epoch)).contains("room_full"), "{presence:?}");
        let (second, third) = (house.comes(1, "ann"), house.comes(0, "ann"));
        assert!(house.says(second, &resume(&session, "pair:a", &epoch)).contains("recovered"), "{presence:?}");
        assert!(house.says(third, &resume(&session, "pair:a", &epoch)).contains("room_full"), "{presence:?}");
        // Of those who are counted for their seats only nothing is told, and nobody is awaited.
        if presence == Presence::Off {
            let asked = house.says(bob, r#"{"type":"presence","id":9,"room":"pair:a"}"#);
            assert!(asked.contains("unsupported"), "{asked}");
            [ann, second].into_iter().for_each(|who| house.ends(who));
            assert!(house.joins(carl, "pair:a").contains("epoch"));
            assert_eq!(house.shards.iter().map(|shard| shard.gauges().away).sum::<u64>(), 0);
        }
    }
}

/// Regression: whoever was turned away had joined and left for those on other shards, and took a seat of the same user along.
#[test]
fn nobody_is_told_of_who_was_turned_away_and_nobody_goes_with_them() {
    let mut house = House::new(&[("pair:*", pair(Presence::Announced))]);
    let room = house.room_at(1, "pair:");
    let (bob, ann) = (house.comes(0, "bob"), house.comes(1, "ann"));
    house.says(bob, &join(&room, WATCH));
    house.joins(ann, &room);
    house.passes(100);
    house.hears(bob);
    let (carl, again) = (house.comes(0, "carl"), house.comes(0, "ann"));
    for who in [carl, again] {
        // Tick by tick, so that coming and going do not cancel each other out.
        house.reads(who, &[&join(&room, "")]);
        house.turn(0);
        house.passes(100);
        assert!(house.hears(who).contains("room_full"));
        // Left in the same breath: the leave overtakes the answer.
        house.reads(who, &[&join(&room, ""), &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#)]);
        house.turn(0);
        house.passes(100);
        house.ends(who);
        house.passes(100);
    }
    assert_eq!(house.hears(bob), "");
    let roll = house.says(bob, &format!(r#"{{"type":"presence","id":3,"room":"{room}"}}"#));
    assert!(roll.contains(r#"{"user":"ann","connections":1}"#) && roll.contains(r#""count":2"#), "{roll}");
    house.says(ann, &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
    house.passes(100);
    assert!(house.hears(bob).contains(r#""type":"left""#), "she herself is told of");
}

/// Regression: whoever was turned away in the breath of its join was seen typing for as long as nobody said otherwise.
#[test]
fn who_is_turned_away_has_neither_typed_nor_read_there() {
    for (presence, leaves) in
        [(Presence::Announced, false), (Presence::Off, false), (Presence::Announced, true), (Presence::Off, true)]
    {
        let full = class(|class| (class.seats_max, class.presence) = (3, presence));
        let mut house = House::new(&[("full:*", full)]);
        let room = house.room_at(1, "full:");
        let (bob, dan) = (house.comes(0, "bob"), house.comes(1, "dan"));
        house.says(bob, &join(&room, WATCH));
        house.says(dan, &join(&room, WATCH));
        house.publishes(dan, &room, "", "1");
        let typing = format!(r#"{{"type":"typing","room":"{room}","on":true}}"#);
        let read = format!(r#"{{"type":"read","room":"{room}","offset":1}}"#);
        let leave = format!(r#"{{"type":"leave","room":"{room}"}}"#);
        let breath = [&*join(&room, ""), &typing, &read, &leave];
        let breath = if leaves { &breath[..] } else { &breath[..3] };
        // Who is given the seat has done it, all the same.
        let eve = house.comes(0, "eve");
        house.reads(eve, &breath[..3]);
        house.rests();
        (0..3).for_each(|_| house.passes(100));
        let seen = house.hears(dan);
        assert!(seen.contains(r#""type":"typing""#) && seen.contains(r#"{"user":"eve","offset":1}"#), "{seen}");
        house.says(eve, r#"{"type":"ping"}"#);
        let ann = house.comes(0, "ann");
        house.reads(ann, breath);
        // A tick before the refusal is back, and some after it.
        let now = house.now;
        house.shards[0].handle(now, Input::Tick);
        house.rests();
        (0..3).for_each(|_| house.passes(100));
        assert_eq!(house.hears(ann).contains("room_full"), !leaves);
        for who in [bob, dan] {
            let seen = house.hears(who);
            assert!(!seen.contains(r#""ann""#), "{presence:?}, leaves {leaves}: {seen}");
        }
        assert!(house.shards.iter().all(|shard| shard.doings.is_empty()));
    }
}

fn one_each() -> Limits {
    Limits { connections_per_user_max: 1, ..Limits::default() }
}

/// Regression: the one that took the session over was one too many, and the one it was taken from was gone.
#[test]
fn who_takes_a_session_over_stands_in_the_place_of_the_former() {
    for (user, shard) in [("ann", 0), ("ann", 1), ("bob", 0), ("bob", 1)] {
        for with_hello in [true, false] {
            let mut house = House::with(one_each(), &[]);
            let bearer = format!("Authorization: Bearer {}\r\n", token(user, None, None));
            let first = house.asks(0, &bearer, &[]);
            let session = session_of(&house.hears(first));
            let again = if with_hello {
                house.greets(shard, &token(user, None, None), &session, &[])
            } else {
                house.asks(shard, &bearer, &[&resume(&session, "r", "0000000000000001")])
            };
            let heard = house.hears(again);
            assert!(heard.contains(r#""resumed":true"#), "{user} at {shard}: {heard}");
            assert!(house.says(again, r#"{"type":"ping","id":3}"#).contains(r#""id":3"#), "{user} at {shard}");
            (0..80).for_each(|_| house.passes(500));
            assert_eq!(house.closed, [CloseReason::TakenOver], "{user} at {shard}, hello {with_hello}");
            let counted: u64 = house.shards.iter().map(|shard| shard.users_counted()).sum();
            assert_eq!(counted, 1);
            assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
            // Whoever comes beside it is one too many as ever.
            let other = house.asks(1 - shard, &bearer, &[]);
            assert!(house.hears(other).contains("as many connections"), "the limit holds");
        }
    }
}

#[test]
fn a_session_that_is_nobodys_or_has_no_connection_makes_no_place() {
    for shard in [0, 1] {
        let mut house = House::with(one_each(), &[]);
        let (ann, session) = ann_with_session(&mut house, 0);
        house.ends(ann);
        let bearer = format!("Authorization: Bearer {}\r\n", token("ann", None, None));
        let present = house.asks(1, &bearer, &[]);
        assert!(house.hears(present).contains("welcome"));
        for session in [&session, &"0".repeat(48)] {
            let other = house.asks(shard, &bearer, &[&resume(session, "r", "0000000000000001")]);
            assert!(house.hears(other).contains("as many connections"), "{session} at {shard}");
        }
        assert!(house.says(present, r#"{"type":"ping","id":3}"#).contains(r#""id":3"#));
        (0..80).for_each(|_| house.passes(500));
        assert!(house.shards.iter().all(|shard| shard.take_overs.is_empty()));
    }
}

/// Regression: a `hello` that was turned away for another reason had used its session up.
#[test]
fn a_hello_that_fails_loses_no_session() {
    let narrow = r#"[{"match":"r*","can":["join"]}]"#;
    for (was_live, shard) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let mut house = House::with(Limits { grant_sets_bytes_max: 0, ..Limits::default() }, &[]);
        let (ann, session) = ann_with_session(&mut house, 0);
        if !was_live {
            house.ends(ann);
        }
        let turned_away = house.greets(shard, &token("ann", None, Some(narrow)), &session, &[]);
        let heard = house.hears(turned_away);
        assert!(heard.contains("no room") || heard.contains("\u{3}\u{fffd}"), "1013: {heard:?}");
        assert_eq!(house.count(Count::Resumed), 0);
        let again = house.greets(1 - shard, &token("ann", None, None), &session, &[]);
        let heard = house.hears(again);
        assert!(heard.contains(r#""resumed":true"#), "live {was_live}, at {shard}: {heard}");
        let third = house.greets(shard, &token("ann", None, None), &session, &[]);
        assert!(house.hears(third).contains(r#""resumed":false"#), "once is enough");
    }
}

/// Regression: the session was on its way to a socket that died meanwhile.
#[test]
fn a_session_whose_new_connection_dies_before_it_has_it_waits_for_the_next() {
    for is_greeted in [true, false] {
        let mut house = House::new(&[]);
        let (ann, session) = ann_with_session(&mut house, 0);
        house.ends(ann);
        let who = if is_greeted {
            house.asks(1, "Sec-WebSocket-Protocol: throng.v1.json\r\n", &[])
        } else {
            house.comes(1, "ann")
        };
        let asks = match is_greeted {
            true => format!(r#"{{"type":"hello","token":"{}","session":"{session}"}}"#, token("ann", None, None)),
            false => resume(&session, "r", "0000000000000001"),
        };
        house.reads(who, &[&asks]);
        let now = house.now;
        house.shards[1].handle(now, Input::Ended { conn: who.1 });
        house.rests();
        let again = house.greets(0, &token("ann", None, None), &session, &[]);
        assert!(house.hears(again).contains(r#""resumed":true"#), "greeted {is_greeted}");
    }
}

/// Regression: what a newer token said of its user was shown beside messages only.
#[test]
fn others_are_shown_what_a_user_said_last() {
    let mut house = House::new(&[]);
    let room = house.room_at(1, "r");
    let bob = house.comes(1, "bob");
    house.says(bob, &join(&room, WATCH));
    let with = |info| token("ann", Some(info), None);
    let first = house.asks(0, &format!("Authorization: Bearer {}\r\n", with("1")), &[&join(&room, "")]);
    house.passes(100);
    assert!(house.hears(bob).contains(r#"{"user":"ann","info":1}"#));
    let second = house.asks(1, &format!("Authorization: Bearer {}\r\n", with("2")), &[&join(&room, "")]);
    house.passes(100);
    let heard = house.hears(bob);
    assert!(heard.contains(r#""type":"joined""#) && heard.contains(r#"{"user":"ann","info":2}"#), "{heard}");
    house.says(first, &format!(r#"{{"type":"refresh","id":2,"token":"{}"}}"#, with("3")));
    // A tick for her shard to tell the home, one for the home to tell who watches.
    (0..2).for_each(|_| house.passes(100));
    let heard = house.hears(bob);
    assert!(heard.contains(r#""type":"joined""#) && heard.contains(r#"{"user":"ann","info":3}"#), "{heard}");
    let roll = house.says(bob, &format!(r#"{{"type":"presence","id":3,"room":"{room}"}}"#));
    assert!(roll.contains(r#"{"user":"ann","info":3,"connections":2}"#), "{roll}");
    house.says(second, &format!(r#"{{"type":"refresh","id":2,"token":"{}"}}"#, with("3")));
    (0..2).for_each(|_| house.passes(100));
    assert_eq!(house.hears(bob), "", "her other tab says what is shown already");
}

/// Regression: what was read in the breath of the join was forgotten when the reader left before the answer.
#[test]
fn what_was_read_before_the_join_was_answered_stays_read() {
    let mut house = House::new(&[]);
    let room = house.room_at(1, "r");
    let bob = house.comes(1, "bob");
    house.joins(bob, &room);
    (0..3).for_each(|_| drop(house.publishes(bob, &room, "", "1")));
    let read = |to| format!(r#"{{"type":"read","id":2,"room":"{room}","offset":{to}}}"#);
    let unread = format!(r#"{{"type":"unread","id":3,"room":"{room}"}}"#);
    let ann = house.comes(0, "ann");
    house.reads(ann, &[&join(&room, ""), &read(1), &format!(r#"{{"type":"leave","id":4,"room":"{room}"}}"#)]);
    house.rests();
    house.hears(ann);
    assert!(house.says(ann, &unread).contains(r#""read":1"#), "who left");
    house.reads(ann, &[&join(&room, ""), &read(2), &unread]);
    house.rests();
    assert!(house.hears(ann).contains(r#""read":2"#), "who asks in the same breath");
    house.says(ann, &format!(r#"{{"type":"leave","id":4,"room":"{room}"}}"#));
    house.reads(ann, &[&join(&room, ""), &read(3)]);
    house.ends(ann);
    let again = house.comes(0, "ann");
    assert!(house.says(again, &unread).contains(r#""read":3"#), "who was cut");
}

/// Regression: each telling looked at every seat of the room, and the list of those who watch must not grow either.
#[test]
fn news_of_people_are_a_matter_of_those_who_watch() {
    let limits = Limits { connections_per_user_max: 0, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let room = house.room_at(0, "r");
    let crowd: Vec<Who> = (0..50).map(|n| house.comes(0, &format!("u{n}"))).collect();
    crowd.iter().for_each(|who| drop(house.joins(*who, &room)));
    let (bob, dan) = (house.comes(0, "bob"), house.comes(0, "dan"));
    house.says(bob, &join(&room, WATCH));
    let noted = |house: &House| {
        let at = house.shards[0].seats.find(&room).expect("people sit here");
        house.shards[0].seats.room(at).watching.as_ref().map_or(0, |watching| watching.conns.len())
    };
    for n in 0..100 {
        house.says(dan, &join(&room, WATCH));
        house.says(dan, &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
        assert!(noted(&house) <= 2 * 2 + 9, "after {n}: {}", noted(&house));
    }
    house.passes(100);
    assert_eq!(noted(&house), 1);
    house.hears(bob);
    // Who comes back twice between two ticks hears once.
    for _ in 0..3 {
        house.says(dan, &join(&room, WATCH));
        house.says(dan, &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
    }
    house.says(dan, &join(&room, WATCH));
    house.passes(100);
    house.hears(dan);
    house.says(crowd[0], &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
    house.passes(100);
    assert_eq!((house.hears(dan).matches("left").count(), house.hears(bob).matches("left").count()), (1, 1));
    // One of a user's tabs reads: the other hears of it, though neither watches, and nobody else does.
    let tab = house.comes(0, "u7");
    house.joins(tab, &room);
    house.publishes(bob, &room, "", "1");
    crowd.iter().for_each(|who| drop(house.hears(*who)));
    house.hears(tab);
    house.says(crowd[7], &format!(r#"{{"type":"read","room":"{room}","offset":1}}"#));
    house.passes(100);
    let heard: Vec<usize> = (0..50).filter(|n| house.hears(crowd[*n]).contains(r#""type":"read""#)).collect();
    assert_eq!(heard, [7]);
    assert!(house.hears(tab).contains(r#""reads":[{"user":"u7","offset":1}]"#));
    for who in [bob, dan] {
        house.says(who, &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
    }
    assert_eq!(noted(&house), 0);
}

/// Regression: news of people went out as they are, however long.
#[test]
fn long_news_of_people_are_deflated_once_for_all_who_agreed() {
    let mut house = House::new(&[]);
    let room = house.room_at(0, "r");
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", token(user, None, None));
    let deflates = |user: &str| format!("{}Sec-WebSocket-Extensions: permessage-deflate\r\n", bearer(user));
    let watch = join(&room, WATCH);
    let agreed = ["bob", "eve"].map(|user| house.asks(0, &deflates(user), &[&watch]));
    let plain = house.asks(0, &bearer("dan"), &[&watch]);
    house.passes(100);
    [agreed[0], agreed[1], plain].into_iter().for_each(|who| drop(house.hears(who)));
    let deflated = house.count(Count::Deflated);
    for n in 0..60 {
        let who = house.comes(0, &format!("somebody-with-a-long-name-{n}"));
        house.joins(who, &room);
    }
    house.passes(100);
    let (heard, saved) = (house.hears(plain), house.count(Count::DeflateSaved));
    assert_eq!(heard.matches("somebody-with").count(), 60);
    assert_eq!(house.count(Count::Deflated), deflated + 1, "once for both");
    assert!(saved > heard.len() as u64, "half of it at least, twice: {saved} of {}", heard.len());
    for who in agreed {
        let frame = house.hears(who);
        assert!(!frame.is_empty() && frame.len() < heard.len() && !frame.contains("somebody-with-a-long-name-7"));
    }
}

/// Regression: those who came uncounted were missing once counting was turned on, and went as somebody else.
#[test]
fn a_reload_that_turns_presence_on_or_off_miscounts_nobody() {
    let off = class(|class| class.presence = Presence::Off);
    let mut house = House::new(&[("off:*", off.clone())]);
    let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
    let rooms = [house.room_at(1, "off:"), house.room_at(1, "on:")];
    for (who, room) in rooms.iter().flat_map(|room| [(ann, room), (bob, room)]) {
        assert!(house.says(who, &join(room, WATCH)).contains("epoch"));
    }
    house.passes(100);
    [ann, bob].into_iter().for_each(|who| drop(house.hears(who)));
    let now = house.now;
    for shard in &mut house.shards {
        let turned = Arc::new(rules(Limits::default(), &[("on:*", off.clone())]));
        shard.handle(now, Input::Rules(turned));
    }
    for room in &rooms {
        house.says(bob, &format!(r#"{{"type":"leave","id":2,"room":"{room}"}}"#));
        house.passes(100);
        assert_eq!(house.hears(ann), "", "nothing is told of {room}");
        assert!(house.says(ann, &format!(r#"{{"type":"presence","id":3,"room":"{room}"}}"#)).contains("unsupported"));
    }
    let fresh = house.room_at(1, "off:new");
    house.says(ann, &join(&fresh, WATCH));
    house.joins(bob, &fresh);
    house.passes(100);
    assert!(house.hears(ann).contains(r#"{"user":"bob"}],"count":2"#), "a room that is opened now counts");
}

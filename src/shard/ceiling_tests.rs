//! Every bound of what a shard remembers, reached: what happens then has a name, and nobody else feels it.
//!
//! `docs/operations.md`, "What is remembered, and how much of it", has the table of these.

use super::house::{House, Who, class, field, session_of, token};
use super::*;
use crate::base::{KeyWindow, Rate};

/// Rooms of one home.
fn rooms_at(house: &House, home: u16, count: usize) -> Vec<String> {
    let names = (0..).map(|n| format!("r{n}")).filter(|name| house.shards[0].home_of(name) == ShardId(home));
    names.take(count).collect()
}

fn long(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

/// Regression: while people sat in rooms whose logs were full together, everybody's publish was refused.
#[test]
fn all_logs_together_are_full_and_each_publish_costs_its_own_room_and_nobody_a_refusal() {
    let mut house = House::with(Limits { logs_bytes_max: 10_000, ..Limits::default() }, &[]);
    let (ann, bob, rooms) = (house.comes(0, "ann"), house.comes(1, "bob"), rooms_at(&house, 1, 4));
    rooms.iter().for_each(|room| drop(house.joins(ann, room)));
    house.joins(bob, &rooms[3]);
    for n in 0..40 {
        assert!(house.publishes(ann, &rooms[n % 2], "", &long(2_000)).contains("offset"), "{n}");
        assert!(house.shards[1].tables().logs <= 10_000 + 10_000 / 8 + 2_200);
    }
    assert!(house.count(Count::LogsFull) > 5);
    // Who has said nothing so far is heard, and what others said before is not taken for it.
    let small = house.publishes(bob, &rooms[3], "", "1");
    assert!(small.contains("offset") && house.hears(ann).contains(r#""data":1"#), "{small}");
    let kept = |house: &House, room: &str| {
        house.shards[1].homes().find(|home| home.name().as_str() == room).map_or(0, |home| home.log().len())
    };
    assert!(kept(&house, &rooms[0]) > 0 && kept(&house, &rooms[1]) > 0 && kept(&house, &rooms[3]) == 1);
    house.passes(100);
    assert_eq!(house.count(Count::RoomsForgotten), 0, "people sit in all of them");
    // A room that nobody sits in goes first.
    house.says(ann, &format!(r#"{{"type":"leave","id":3,"room":"{}"}}"#, rooms[0]));
    while house.shards[1].tables().logs <= 10_000 {
        house.publishes(ann, &rooms[1], "", &long(2_000));
    }
    house.publishes(ann, &rooms[2], "", "1");
    assert_eq!(kept(&house, &rooms[0]), 0);
}

#[test]
fn one_log_is_full_and_what_it_forgot_is_a_gap_with_a_reason() {
    let few = class(|class| class.log.messages_max = 3);
    let mut house = House::new(&[("few", few), ("short", class(|class| class.log.bytes_max = 5_000))]);
    let ann = house.comes(0, "ann");
    for room in ["few", "short"] {
        (0..9).for_each(|_| drop(house.publishes(ann, room, "", &long(1_500))));
        let late = house.comes(1, "late");
        let epoch =
            field(&house.says(late, &format!(r#"{{"type":"history","id":2,"room":"{room}"}}"#)), r#""epoch":""#);
        let join = format!(r#"{{"type":"join","id":3,"room":"{room}","since":{{"epoch":"{epoch}","offset":1}}}}"#);
        let heard = house.says(late, &join);
        assert!(heard.contains(r#""from":2,"to":6,"why":"retention""#), "{room}: {heard}");
    }
}

#[test]
fn too_many_empty_rooms_and_the_longest_empty_is_another_when_it_comes_back() {
    let mut house = House::with(Limits { idle_rooms_max: 4, ..Limits::default() }, &[]);
    let (ann, rooms) = (house.comes(0, "ann"), rooms_at(&house, 1, 8));
    let epochs: Vec<String> =
        rooms.iter().map(|room| field(&house.publishes(ann, room, "", "1"), r#""epoch":""#)).collect();
    assert_eq!(house.shards[1].gauges().rooms_home, 4);
    house.passes(100);
    assert_eq!(house.shards[1].counters().count(Count::RoomsForgotten), 4);
    let since = |n: usize| format!(r#","since":{{"epoch":"{}","offset":1}}"#, epochs[n]);
    let join = |n: usize| format!(r#"{{"type":"join","id":3,"room":"{}"{}}}"#, rooms[n], since(n));
    assert!(house.says(ann, &join(7)).contains(r#""recovered":true"#));
    let forgotten = house.says(ann, &join(0));
    assert!(forgotten.contains(r#""recovered":false"#) && forgotten.contains(r#""why":"epoch""#), "{forgotten}");
}

#[test]
fn too_many_sessions_and_the_oldest_is_not_resumed() {
    let mut house = House::with(Limits { sessions_kept_max: 3, ..Limits::default() }, &[]);
    let mut sessions = Vec::new();
    for n in 0..5 {
        let bearer = format!("Authorization: Bearer {}\r\n", token(&format!("u{n}"), None, None));
        let who = house.asks(0, &bearer, &[]);
        sessions.push(session_of(&house.hears(who)));
        house.ends(who);
        house.passes(100);
    }
    assert_eq!((house.shards[0].gauges().sessions_kept, house.count(Count::SessionsForgotten)), (3, 2));
    for (n, session) in sessions.iter().enumerate() {
        let who = house.greets(1, &token(&format!("u{n}"), None, None), session, &[]);
        let heard = house.hears(who);
        assert!(heard.contains(&format!(r#""resumed":{}"#, n >= 2)), "{n}: {heard}");
    }
}

/// Regression: a new one was refused as busy, whoever had used the others.
#[test]
fn too_many_keys_and_with_a_new_one_the_oldest_goes_of_those_who_have_many() {
    let mut house = House::with(Limits { idempotency_keys_max: 3, ..Limits::default() }, &[]);
    let (ann, rooms) = (house.comes(0, "ann"), rooms_at(&house, 1, 2));
    let key = |n: u32| format!(r#","key":"k{n}""#);
    (0..3).for_each(|n| assert!(house.publishes(ann, &rooms[0], &key(n), "1").contains("offset")));
    let dup =
        |house: &mut House, room: &str, n: u32| house.publishes(ann, room, &key(n), "1").contains(r#""dup":true"#);
    assert!(!dup(&mut house, &rooms[1], 9), "it is taken");
    assert!(dup(&mut house, &rooms[1], 9) && dup(&mut house, &rooms[0], 1), "what is known stays known");
    assert!(!dup(&mut house, &rooms[0], 3) && dup(&mut house, &rooms[1], 9), "who has more than its share pays itself");
    assert!(house.publishes(ann, &rooms[1], "", "1").contains("offset"));
    assert_eq!((house.count(Count::KeysFull), house.shards[1].gauges().idempotency_keys), (2, 3));
    house.passes(600_001);
    assert!(!dup(&mut house, &rooms[1], 9));
}

/// Regression: keys that were too old went only when somebody published by a key in their own room: a thousand rooms that
/// fell silent kept everybody else from publishing by key for a day.
#[test]
fn keys_that_are_too_old_go_though_nobody_says_anything_in_their_rooms() {
    let mut house = House::with(Limits { idempotency_keys_max: 300, ..Limits::default() }, &[]);
    let (ann, rooms) = (house.comes(0, "ann"), rooms_at(&house, 1, 301));
    for room in &rooms[..300] {
        assert!(house.publishes(ann, room, r#","key":"k""#, "1").contains("offset"));
    }
    assert_eq!(house.shards[1].gauges().idempotency_keys, 300);
    house.passes(600_001);
    house.says(ann, r#"{"type":"ping","id":3}"#);
    // So many are looked at in a tick.
    (0..10).for_each(|_| house.passes(1));
    assert_eq!(house.shards[1].gauges().idempotency_keys, 0);
    assert!(house.publishes(ann, &rooms[300], r#","key":"k""#, "1").contains("offset"));
    assert!(house.shards[1].gauges().rooms_home > 300, "what was said is kept");
}

/// Regression: whoever wrote to many fresh names pushed the letters out that waited for others.
#[test]
fn letters_wait_whatever_is_said_in_rooms_that_nobody_sits_in() {
    let limits = Limits { idle_rooms_max: 4, idle_inboxes_max: 4, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let (bob, inbox) = (house.comes(0, "bob"), house.room_at(1, "@ann"));
    let owner = inbox.trim_start_matches('@').to_owned();
    house.says(bob, &format!(r#"{{"type":"send","id":1,"user":"{owner}","data":"first"}}"#));
    for room in rooms_at(&house, 1, 50) {
        house.publishes(bob, &room, "", "1");
    }
    house.passes(100);
    assert!(house.count(Count::RoomsPushedOut) >= 40);
    let ann = house.comes(1, &owner);
    let heard = house.joins(ann, &inbox);
    assert!(heard.contains(r#""data":"first""#), "{heard}");
}

/// Regression: newcomers passed without any limit, and who says a word in each of many rooms fills the table alone.
#[test]
fn too_many_rates_and_a_newcomer_is_counted_by_its_user() {
    let once = class(|class| class.publish_rate = Rate { per_minute: 1, burst: 1 });
    let mut house = House::with(Limits { rate_keys_max: 2, ..Limits::default() }, &[("*", once)]);
    let room = rooms_at(&house, 1, 1).remove(0);
    let people: Vec<Who> = (0..4).map(|n| house.comes(0, &format!("u{n}"))).collect();
    let mut says_twice = |who: Who| [0, 1].map(|_| house.publishes(who, &room, "", "1").contains("too_often"));
    let told: Vec<[bool; 2]> = people.iter().map(|who| says_twice(*who)).collect();
    assert_eq!(told, [[false, true]; 4]);
    // Two times two of them, and the strike of each.
    assert_eq!((house.count(Count::RatesUncounted), house.shards[1].gauges().rate_keys), (6, 2));
    // Another room is no way round it, and who is in the table has its rate there.
    let others = rooms_at(&house, 1, 3);
    let says = |house: &mut House, who: Who, room: &str| house.publishes(who, room, "", "1").contains("too_often");
    assert_eq!([1, 2].map(|n| says(&mut house, people[3], &others[n])), [true; 2]);
    house.passes(70_000);
    assert_eq!((house.shards[1].gauges().rate_keys, house.shards[1].tables().rates), (0, 0));
    assert!(!says(&mut house, people[3], &others[1]));
}

#[test]
fn too_many_sets_of_grants_and_a_token_with_yet_another_is_to_come_again() {
    let brings = |n: u32| format!(r#"[{{"match":"r{n}","can":["join"]}}]"#);
    let of = crate::wire::Grants::from_claim(&serde_json::from_str(&brings(0)).unwrap()).unwrap();
    let two = 2 * grants::bytes_of(&of);
    let mut house = House::with(Limits { grant_sets_bytes_max: two, ..Limits::default() }, &[]);
    let comes = |house: &mut House, n: u32| {
        let bearer = format!("Authorization: Bearer {}\r\n", token("ann", None, Some(&brings(n))));
        let who = house.asks(0, &bearer, &[]);
        (who, house.hears(who))
    };
    let (first, _) = comes(&mut house, 0);
    assert!(comes(&mut house, 1).1.contains("welcome"));
    let (_, refused) = comes(&mut house, 2);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains(r#""busy""#), "{refused}");
    assert!(comes(&mut house, 1).1.contains("welcome"), "one that is known costs nothing");
    house.ends(first);
    assert!(comes(&mut house, 2).1.contains("welcome"), "a set that nobody has is forgotten");
}

#[test]
fn too_many_rooms_of_one_connection_and_the_next_is_refused() {
    let mut house = House::with(Limits { rooms_per_connection_max: 3, ..Limits::default() }, &[]);
    let ann = house.comes(0, "ann");
    (0..3).for_each(|n| assert!(house.joins(ann, &format!("r{n}")).contains("epoch")));
    assert!(house.joins(ann, "r3").contains("too_many_rooms"));
    house.says(ann, r#"{"type":"leave","id":2,"room":"r0"}"#);
    assert!(house.joins(ann, "r3").contains("epoch"));
}

/// What comes and goes leaves nothing behind: rooms, keys, names, sessions, rates, sets of grants.
#[test]
fn ten_thousand_rooms_keys_and_sessions_later_every_table_is_empty_again() {
    let brief = class(|class| {
        class.log.age_ms = 1_000;
        class.idempotency = KeyWindow { keys_max: 10, ms: 1_000 };
        class.publish_rate = Rate { per_minute: 6_000, burst: 10 };
        class.leave_delay_ms = 500;
    });
    let limits = Limits { resume_window_ms: 1_000, connections_per_user_max: 0, ..Limits::default() };
    let mut house = House::with(limits, &[("*", brief)]);
    for n in 0..100 {
        let grants = format!(r#"[{{"match":"r{n}:*","can":["join","publish"]}}]"#);
        let bearer = format!("Authorization: Bearer {}\r\n", token(&format!("u{n}"), None, Some(&grants)));
        let who = house.asks(n % 2, &bearer, &[]);
        for m in 0..100 {
            let room = format!("r{n}:{m}");
            house.joins(who, &room);
            house.reads(who, &[&format!(r#"{{"type":"publish","room":"{room}","key":"k","data":{m}}}"#)]);
            house.reads(who, &[&format!(r#"{{"type":"read","room":"{room}","offset":1}}"#)]);
        }
        house.ends(who);
        house.passes(100);
    }
    assert_eq!(house.count(Count::Publishes), 10_000);
    assert!(house.shards.iter().any(|shard| shard.gauges().rooms_home > 1_000), "they were there");
    for shard in &house.shards {
        let (gauges, tables) = (shard.gauges(), shard.tables());
        assert!(gauges.idempotency_keys > 0 && tables.people > 0, "{gauges:?} {tables:?}");
        assert_eq!(tables.idempotency_keys, 40 * gauges.idempotency_keys);
        assert_eq!(tables.addresses, 2 * 16_384 * (4 + 8 + 8));
    }
    (0..400).for_each(|_| house.passes(100));
    for shard in &house.shards {
        let (gauges, tables) = (shard.gauges(), shard.tables());
        let left = [
            gauges.rooms_home,
            gauges.rooms_seated,
            gauges.idempotency_keys,
            gauges.away,
            gauges.receipts,
            gauges.rate_keys,
            gauges.sessions_kept,
            gauges.connections,
            tables.logs,
            tables.sessions_kept,
            tables.idempotency_keys,
            tables.people,
            tables.rates,
            tables.tickets,
            tables.revocations,
            tables.grant_sets,
            tables.announcements,
            shard.users_counted(),
        ];
        assert_eq!(left, [0; 18], "{gauges:?} {tables:?}");
        assert_eq!(shard.grants.len(), 0);
    }
}

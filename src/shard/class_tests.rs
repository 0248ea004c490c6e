//! Two shards, by hand: what the classes of rooms say is what happens.

use std::sync::Arc;

use super::house::{House, Who, class, field, rules, token};
use super::*;
use crate::base::{Delivery, Identity, KeyWindow, Offset, Rate, RoomName, Verb, Verbs};
use crate::wire::{Refusal, prove};

#[test]
fn a_class_narrows_what_a_grant_allows_and_a_backend_is_not_asked() {
    let mut house = House::new(&[("ticker:*", class(|class| class.can = Verbs::default().with(Verb::Join)))]);
    let ann = house.comes(0, "ann");
    assert!(house.joins(ann, "ticker:a").contains(r#""offset":0"#));
    assert!(house.publishes(ann, "ticker:a", "", "1").contains("forbidden"));
    assert!(house.publishes(ann, "ticker:b", "", "1").contains("forbidden"), "nor where nobody sits");
    assert!(house.publishes(ann, "chat:a", "", "1").contains(r#""offset":1"#));
    let notice = Notice {
        room: RoomName::parse("ticker:a").unwrap(),
        from: Identity::new("backend", None).unwrap(),
        event: None,
        payload: prove(crate::base::Encoding::Json, b"7", 32).unwrap().to_payload(),
    };
    let (home, now) = (house.shards[0].home_of("ticker:a"), house.now);
    let ask = Ask { id: AskId(1), question: Question::Publish(vec![notice]) };
    house.shards[home.index()].handle(now, Input::Ask(ask));
    house.rests();
    assert!(house.hears(ann).contains(r#""data":7"#));
}

#[test]
fn a_publish_that_is_sent_again_on_another_shard_is_one_message() {
    let mut house = House::new(&[]);
    let (ann, again, bob) = (house.comes(0, "ann"), house.comes(1, "ann"), house.comes(1, "bob"));
    house.joins(bob, "r");
    let key = r#","key":"k""#;
    let first = house.publishes(ann, "r", key, r#"{"a":1}"#);
    assert!(first.contains(r#""offset":1"#) && !first.contains("dup"), "{first}");
    let second = house.publishes(again, "r", key, r#"{"a":1}"#);
    assert!(second.contains(r#""offset":1"#) && second.contains(r#""dup":true"#), "{second}");
    assert!(house.publishes(again, "r", key, r#"{"a":2}"#).contains("key_reused"));
    assert!(house.publishes(again, "r", r#","key":"k","event":"e""#, r#"{"a":1}"#).contains("key_reused"));
    assert_eq!(house.hears(bob).matches(r#""type":"message""#).count(), 1);
    let others = house.publishes(bob, "r", key, r#"{"a":2}"#);
    assert!(others.contains(r#""offset":2"#) && !others.contains("dup"), "bob's key is bob's: {others}");
    assert!(house.publishes(ann, "s", key, r#"{"a":2}"#).contains(r#""offset":1"#), "and each room's its own");
    house.passes(600_001);
    let late = house.publishes(ann, "r", key, r#"{"a":1}"#);
    assert!(late.contains(r#""offset":3"#) && !late.contains("dup"), "the window is over: {late}");
}

#[test]
fn keys_are_bounded_by_room_and_by_shard_and_can_be_switched_off() {
    let few = KeyWindow { keys_max: 2, ms: 60_000 };
    let off = class(|class| class.idempotency = KeyWindow { keys_max: 0, ms: 60_000 });
    let limits = Limits { idempotency_keys_max: 3, ..Limits::default() };
    let mut house = House::with(limits, &[("few", class(|class| class.idempotency = few)), ("off", off)]);
    let ann = house.comes(0, "ann");
    let key = |n: u32| format!(r#","key":"k{n}""#);
    for n in 0..9 {
        assert!(house.publishes(ann, "few", &key(n), "1").contains(&format!(r#""offset":{}"#, n + 1)), "{n}");
    }
    assert!(house.publishes(ann, "few", &key(0), "1").contains(r#""offset":10"#), "long forgotten");
    assert!(house.publishes(ann, "few", &key(0), "1").contains("dup"));
    assert!(house.publishes(ann, "off", &key(0), "1").contains("unsupported"));
    let home = house.shards[0].home_of("few").index();
    let full: Vec<String> =
        (0..40).map(|n| format!("r{n}")).filter(|r| house.shards[0].home_of(r).index() == home).collect();
    let told: Vec<String> = full.iter().map(|room| house.publishes(ann, room, &key(0), "1")).collect();
    // Regression: all of these were refused as busy, because ann had used as many keys elsewhere as all may.
    assert!(told.iter().all(|told| told.contains(r#""offset":1"#)), "{told:?}");
    assert_eq!(house.shards[home].gauges().idempotency_keys, 3);
    assert_eq!(house.count(Count::KeysFull), full.len() as u64 - 1, "one for each that is too many");
    let newest = full.last().unwrap();
    assert!(house.publishes(ann, newest, &key(0), "1").contains("dup"), "what was said last is known");
}

#[test]
fn people_who_are_away_and_what_was_read_are_bounded_over_all_rooms_and_end() {
    let limits = Limits { away_max: 2, receipts_kept_max: 3, ..Limits::default() };
    let mut house = House::with(limits, &[("*", class(|class| class.leave_delay_ms = 10_000))]);
    let home = house.shards[0].home_of("r").index();
    let other = (0..).map(|n| format!("r{n}")).find(|room| house.shards[0].home_of(room).index() == home).unwrap();
    let people: Vec<Who> = ["ann", "bob", "cid", "dan"].into_iter().map(|user| house.comes(1, user)).collect();
    for (who, room) in people.iter().flat_map(|who| [(*who, "r"), (*who, &*other)]) {
        house.joins(who, room);
    }
    for room in ["r", &other] {
        house.publishes(people[3], room, "", "1");
        for who in &people {
            house.says(*who, &format!(r#"{{"type":"read","id":3,"room":"{room}","offset":1}}"#));
            house.passes(100);
        }
    }
    let count = |house: &House, count| house.shards[home].counters().count(count);
    assert_eq!((house.shards[home].gauges().receipts, count(&house, Count::ReadsForgotten)), (3, 5));
    for (shard, conn) in &people[..3] {
        house.shards[shard.index()].handle(house.now, Input::Ended { conn: *conn });
    }
    house.passes(100);
    assert_eq!((house.shards[home].gauges().away, count(&house, Count::AwayFull)), (2, 4));
    house.passes(10_000);
    assert_eq!(house.shards[home].gauges().away, 0);
    assert_eq!(house.shards[home].gauges().receipts, 3, "what was read stays read");
}

#[test]
fn a_room_waits_for_its_only_person_and_is_gone_when_the_wait_is_over() {
    let mut house = House::new(&[("*", class(|class| class.leave_delay_ms = 10_000))]);
    let epoch = |joined: &str| joined.split_once(r#""epoch":"#).map(|(_, rest)| rest[..18].to_owned());
    let rooms = |house: &House| house.shards.iter().map(|shard| shard.gauges().rooms_home).sum::<u64>();
    let (ann, mut seen) = (house.comes(0, "ann"), Vec::new());
    seen.push(epoch(&house.joins(ann, "r")));
    for wait_ms in [9_000, 10_001] {
        let (shard, conn) = if seen.len() == 1 { ann } else { house.comes(1, "ann") };
        if seen.len() > 1 {
            house.joins((shard, conn), "r");
        }
        house.shards[shard.index()].handle(house.now, Input::Ended { conn });
        house.rests();
        house.passes(wait_ms);
        assert_eq!(rooms(&house), u64::from(wait_ms < 10_000));
        let again = house.comes(1, "ann");
        seen.push(epoch(&house.joins(again, "r")));
        house.says(again, r#"{"type":"leave","id":2,"room":"r"}"#);
    }
    assert!(seen[0] == seen[1] && seen[1] != seen[2], "{seen:?}");
}

#[test]
fn a_user_has_one_rate_over_all_connections_and_others_have_theirs() {
    let seldom = class(|class| class.publish_rate = Rate { per_minute: 60, burst: 2 });
    let mut house = House::new(&[("chat:*", seldom)]);
    let (ann, again, bob) = (house.comes(0, "ann"), house.comes(1, "ann"), house.comes(1, "bob"));
    assert!(house.publishes(ann, "chat:a", "", "1").contains(r#""offset":1"#));
    assert!(house.publishes(again, "chat:a", "", "1").contains(r#""offset":2"#));
    let refused = house.publishes(ann, "chat:a", "", "1");
    assert!(refused.contains("too_often") && refused.contains(r#""retry_after_ms":1000"#), "{refused}");
    assert!(house.publishes(bob, "chat:a", "", "1").contains(r#""offset":3"#));
    assert!(house.publishes(ann, "chat:b", "", "1").contains(r#""offset":1"#), "another room, another rate");
    assert!(house.publishes(ann, "lobby", "", "1").contains(r#""offset":1"#), "another class has none");
    house.passes(1_000);
    assert!(house.publishes(ann, "chat:a", "", "1").contains(r#""offset":4"#));
    let counted = house.shards.iter().map(|shard| shard.counters().refusals(Refusal::TooOften)).sum::<u64>();
    assert_eq!(counted, 1);
    assert!(house.shards.iter().map(|shard| shard.gauges().rate_keys).sum::<u64>() > 0);
    house.passes(60_000);
    assert_eq!(house.shards.iter().map(|shard| shard.gauges().rate_keys).sum::<u64>(), 0, "the quiet are forgotten");
}

#[test]
fn who_goes_on_is_sent_away_and_who_listens_is_not() {
    let once = class(|class| class.publish_rate = Rate { per_minute: 60, burst: 1 });
    let mut house = House::with(Limits { strikes_per_minute: 3, ..Limits::default() }, &[("*", once)]);
    let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
    for _ in 0..5 {
        assert!(house.publishes(bob, "b", "", "1").contains("offset"));
        house.passes(1_000);
    }
    for _ in 0..4 {
        house.publishes(ann, "a", "", "1");
        assert_eq!(house.closed, []);
    }
    let goodbye = house.publishes(ann, "a", "", "1");
    assert!(goodbye.contains("it went on"), "{goodbye}");
    for _ in 0..20 {
        // The patrol looks at a part of the table per tick.
        house.passes(500);
    }
    assert_eq!(house.closed, [CloseReason::Flooding]);
}

/// Regression: each shard admitted its share only, so that who connects to one shard had a part of what the limit says: of
/// 60 joins a minute on 16 shards ten.
#[test]
fn joins_messages_and_bytes_of_a_user_have_the_rates_that_are_written_wherever_it_connects() {
    let limits = Limits {
        joins_per_user_per_minute: 7,
        publishes_per_user_per_minute: 5,
        bytes_per_user_per_minute: 1_000,
        ..Limits::default()
    };
    let mut house = House::with(limits, &[]);
    let (ann, again, bob) = (house.comes(0, "ann"), house.comes(1, "ann"), house.comes(0, "bob"));
    // At each shard for itself: at most as many times as somebody has connections, or as there are shards.
    for who in [ann, again] {
        for n in 0..7 {
            assert!(!house.joins(who, &format!("r{n}")).contains("too_often"));
        }
        assert!(house.joins(who, "more").contains("too_often"));
    }
    let told: Vec<bool> = (0..6).map(|n| house.publishes(ann, &format!("r{n}"), "", "1").contains("offset")).collect();
    assert_eq!(told, [true, true, true, true, true, false], "in all rooms together");
    let data = format!("\"{}\"", "x".repeat(998));
    assert!(house.publishes(bob, "r", "", &data).contains("offset"));
    assert!(house.publishes(bob, "r", "", "1").contains("too_often"));
    let counts = [Count::JoinsTooOften, Count::MessagesTooOften, Count::BytesTooOften].map(|count| house.count(count));
    assert_eq!(counts, [2, 1, 1]);
    house.passes(60_000);
    assert!(house.publishes(bob, "r", "", "1").contains("offset") && house.joins(ann, "more").contains("epoch"));
}

#[test]
fn what_a_connection_is_closed_for_and_refused_for_is_told_apart() {
    let limits = Limits { strikes_per_minute: 1, publishes_per_user_per_minute: 1, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let ann = house.comes(0, "ann");
    let refresh = format!(r#"{{"type":"refresh","id":2,"token":"{}"}}"#, token("ann", None, None));
    assert!(house.says(ann, &refresh).contains("expires_in_ms"));
    assert!(house.says(ann, &refresh).contains("too_often"));
    assert!(house.publishes(ann, "r", "", "1").contains("offset"));
    assert!(house.publishes(ann, "r", "", "1").contains("too_often"));
    assert!(house.publishes(ann, "r", "", "1").contains("it went on"));
    let told = [Count::RefreshesTooOften, Count::MessagesTooOften, Count::StruckOut, Count::InflatedTooMuch];
    assert_eq!(told.map(|count| house.count(count)), [1, 2, 1, 0]);
}

/// Regression: whoever sent nothing but garbage, or only what is too deep or too long, was answered for ever.
#[test]
fn who_goes_on_with_what_cannot_be_taken_is_sent_away_and_who_is_only_denied_is_not() {
    let short = class(|class| class.message_bytes_max = 5);
    let say = |data: &str| format!(r#"{{"type":"publish","id":1,"room":"r","data":{data}}}"#);
    let deep = say(&format!("{}{}", "[".repeat(40), "]".repeat(40)));
    let (long, leave) = (say("123456"), r#"{"type":"leave","room":"r"}"#);
    for (text, is_strike) in [("nonsense", true), (&*deep, true), (&*long, true), (leave, false)] {
        let limits = Limits { strikes_per_minute: 3, ..Limits::default() };
        let mut house = House::with(limits, &[("*", short.clone())]);
        let ann = house.comes(0, "ann");
        for _ in 0..3 {
            assert!(house.says(ann, text).contains(r#""type":"error""#), "{text}");
        }
        assert_eq!(house.says(ann, text).contains("it went on"), is_strike, "{text}");
        assert_eq!(house.count(Count::StruckOut), u64::from(is_strike));
    }
}

/// Regression: what was neither publish nor join had no rate at all.
#[test]
fn commands_of_whatever_kind_have_a_rate_and_whoever_gave_an_id_hears_of_it() {
    let limits = Limits { commands_per_user_per_minute: 6, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let (ann, bob) = (house.comes(0, "ann"), house.comes(0, "bob"));
    let refused = |told: &str| told.contains("too_often");
    for command in ["ping", "history", "presence", "unread", "leave", "nonsense"] {
        assert!(!refused(&house.says(ann, &format!(r#"{{"type":"{command}","id":1,"room":"r"}}"#))), "{command}");
    }
    let told = house.says(ann, r#"{"type":"typing","id":7,"room":"r","on":true}"#);
    assert!(refused(&told) && told.contains(r#""id":7"#) && told.contains(r#""retry_after_ms":10000"#), "{told}");
    assert!(refused(&house.says(ann, "nonsense")) && !refused(&house.says(bob, r#"{"type":"ping","id":1}"#)));
    house.passes(10_000);
    assert!(house.says(ann, r#"{"type":"ping","id":8}"#).contains(r#""id":8"#));
    assert_eq!(house.count(Count::CommandsTooOften), 2);
}

#[test]
fn who_resumes_more_rooms_than_it_may_join_hears_of_each_and_has_one_strike() {
    let limits = Limits { joins_per_user_per_minute: 1, strikes_per_minute: 2, ..Limits::default() };
    let (joins, mut house) = (1, House::with(limits, &[]));
    let ann = house.comes(0, "ann");
    let mut rooms: Vec<String> = (0..joins + 5).map(|n| format!(r#"{{"room":"r{n}","id":{}}}"#, 10 + n)).collect();
    rooms.push(r#"{"room":"nameless"}"#.to_owned());
    let resume = format!(r#"{{"type":"resume","id":1,"rooms":[{}]}}"#, rooms.join(","));
    let heard = house.says(ann, &resume);
    assert_eq!(heard.matches(r#""code":"too_often""#).count(), 5, "{heard}");
    assert!(heard.contains(r#"{"type":"removed","room":"nameless","why":"busy"}"#), "{heard}");
    assert!(!house.says(ann, &resume).contains("it went on"));
    assert!(house.says(ann, &resume).contains("it went on"), "who asks again and again is sent away all the same");
}

#[test]
fn a_room_holds_as_many_as_it_may_and_a_place_that_is_given_up_is_free() {
    let mut house = House::new(&[("pair:*", class(|class| class.seats_max = 2))]);
    let [ann, bob, carl] = [(0, "ann"), (1, "bob"), (1, "carl")].map(|(shard, user)| house.comes(shard, user));
    assert!(house.joins(ann, "pair:a").contains("epoch") && house.joins(bob, "pair:a").contains("epoch"));
    assert!(house.joins(carl, "pair:a").contains("room_full"));
    let roll = house.says(ann, r#"{"type":"presence","id":3,"room":"pair:a"}"#);
    assert!(roll.contains(r#""count":2"#), "{roll}");
    house.says(bob, r#"{"type":"leave","id":3,"room":"pair:a"}"#);
    assert!(house.joins(carl, "pair:a").contains("epoch"));
}

#[test]
fn history_is_read_in_both_directions_page_by_page() {
    let limits = Limits { log_messages_max: 8, history_page_max: 3, ..Limits::default() };
    let mut house = House::with(limits, &[]);
    let ann = house.comes(0, "ann");
    let home = house.shards[0].home_of("r");
    let other = house.comes(1 - home.0, "bob");
    (0..10).for_each(|n| drop(house.publishes(ann, "r", "", &n.to_string())));
    let mut ask = |more: &str| {
        let told = house.says(other, &format!(r#"{{"type":"history","id":5,"room":"r"{more}}}"#));
        let json = &told[told.find(r#"{"type""#).unwrap()..];
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    };
    let offsets = |page: &serde_json::Value| {
        let messages = page["messages"].as_array().unwrap();
        messages.iter().map(|message| message["offset"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let newest = ask("");
    assert_eq!((offsets(&newest), newest["offset"].as_u64()), (vec![8, 9, 10], Some(10)));
    assert_eq!(offsets(&ask(r#","before":8"#)), [5, 6, 7]);
    assert_eq!(offsets(&ask(r#","before":5,"limit":2"#)), [3, 4]);
    assert_eq!(offsets(&ask(r#","before":3"#)), [0_u64; 0]);
    let epoch = newest["epoch"].as_str().unwrap().to_owned();
    let since = |offset: u64| format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#);
    let gap = ask(&since(0));
    assert_eq!((offsets(&gap), gap["gap"]["to"].as_u64()), (vec![3, 4, 5], Some(2)));
    assert_eq!((offsets(&ask(&since(5))), ask(&since(5)).get("gap")), (vec![6, 7, 8], None));
    assert_eq!(offsets(&ask(&since(10))), [0_u64; 0]);
    let nowhere = house.says(other, r#"{"type":"history","id":6,"room":"nowhere"}"#);
    assert!(nowhere.contains(r#""offset":0,"messages":[]"#), "{nowhere}");
}

#[test]
fn a_slow_reader_of_values_gets_the_last_of_each_and_a_late_one_gets_them_all() {
    let mut house = House::new(&[("ticker:*", class(|class| class.delivery = Delivery::Latest))]);
    let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
    house.joins(bob, "ticker:x");
    let set = |house: &mut House, key: &str, value: u32| {
        house.publishes(ann, "ticker:x", &format!(r#","key":"{key}""#), &value.to_string())
    };
    assert!(set(&mut house, "a", 1).contains(r#""level":"none""#));
    assert!(house.hears(bob).contains(r#""key":"a","data":1"#));
    house.deaf.push(bob);
    for value in 2..20 {
        set(&mut house, if value % 2 == 0 { "a" } else { "b" }, value);
        house.passes(100);
    }
    let heard = house.hears_again(bob);
    assert!(heard.contains(r#""key":"a","data":18"#) && heard.contains(r#""key":"b","data":19"#), "{heard}");
    assert!(heard.matches("message").count() < 6 && !heard.contains("gap") && !heard.contains("offset"), "{heard}");
    let late = house.comes(0, "late");
    let told = house.joins(late, "ticker:x");
    assert!(told.contains(r#""key":"a","data":18"#) && told.contains(r#""key":"b","data":19"#), "{told}");
    assert_eq!(told.matches(r#""type":"message""#).count(), 2);
    assert!(house.says(late, r#"{"type":"history","id":5,"room":"ticker:x"}"#).contains("unsupported"));
}

#[test]
fn a_slow_reader_of_what_is_ephemeral_misses_it_and_is_not_behind() {
    let mut house = House::new(&[("cursor:*", class(|class| class.delivery = Delivery::Ephemeral))]);
    let (ann, bob, carl) = (house.comes(0, "ann"), house.comes(1, "bob"), house.comes(1, "carl"));
    house.joins(bob, "cursor:x");
    house.joins(carl, "cursor:x");
    house.deaf.push(bob);
    for n in 0..10 {
        assert!(house.publishes(ann, "cursor:x", "", &n.to_string()).contains(r#""level":"none""#));
        house.passes(100);
    }
    assert_eq!(house.hears(carl).matches(r#""type":"message""#).count(), 10);
    assert_eq!(house.shards.iter().map(|shard| shard.gauges().behind_readers).sum::<u64>(), 0);
    let heard = house.hears_again(bob);
    assert_eq!(heard.matches(r#""type":"message""#).count(), 1, "what stalled it, and nothing else: {heard}");
    house.publishes(ann, "cursor:x", "", "77");
    assert!(house.hears(bob).contains(r#""data":77"#));
    let id = house.shards[1].config.rules.classes.of_room("cursor:x");
    let dropped: u64 = house.shards.iter().map(|shard| shard.counters().count_of(id, ClassCount::Dropped)).sum();
    assert_eq!(dropped, 9);
    assert_eq!(house.shards.iter().map(|shard| shard.tables().logs).sum::<u64>(), 0, "nothing is kept");
}

/// Regression: a seat cannot be as far ahead as a shard can be that took no mail for seconds; the next to join ended the
/// process.
#[test]
fn who_joins_a_shard_that_has_missed_more_than_a_seat_can_count_sits_and_hears_the_next() {
    const MISSED: u64 = 131_100;
    for (delivery, turns_first) in [(Delivery::Ephemeral, true), (Delivery::Ephemeral, false), (Delivery::Latest, true)]
    {
        let limits = Limits { letters_waiting_max: 4, bytes_per_user_per_minute: 0, ..Limits::default() };
        let mut house = House::with(limits, &[("cursor:*", class(|class| class.delivery = delivery))]);
        let room = house.room_at(0, "cursor:");
        let (ann, bob, carl) = (house.comes(0, "ann"), house.comes(1, "bob"), house.comes(1, "carl"));
        let epoch = field(&house.joins(bob, &room), r#""epoch":""#);
        let publish = format!(r#"{{"type":"publish","room":"{room}","echo":false,"key":"k","data":0}}"#);
        let last = publish.replace(":0}", ":77}");
        if turns_first {
            // Bob has all of what came, and his shard nothing pending.
            house.says(ann, &publish);
            assert!(house.hears(bob).contains(r#""data":0"#));
        }
        // One read, so that no letter leaves the home before all is said.
        house.reads(ann, &vec![&*publish; MISSED as usize]);
        let since = format!(r#","since":{{"epoch":"{epoch}","offset":{}}}"#, MISSED + u64::from(turns_first));
        house.reads(carl, &[&format!(r#"{{"type":"join","id":1,"room":"{room}"{since}}}"#)]);
        house.turn(1);
        house.rests();
        let heard = house.hears(carl);
        assert!(heard.contains("recovered") && !heard.contains(r#""type":"message""#), "{delivery:?}: {heard}");
        house.hears(bob);
        house.says(ann, &last);
        for who in [bob, carl] {
            house.passes(100);
            let heard = house.hears(who);
            assert_eq!(heard.matches(r#""type":"message""#).count(), 1, "{delivery:?}: {heard}");
            assert!(heard.contains(r#""data":77"#), "{delivery:?}: {heard}");
        }
        assert_eq!(house.shards.iter().map(|shard| shard.gauges().behind_readers).sum::<u64>(), 0);
    }
}

#[test]
fn a_reload_takes_hold_in_rooms_that_exist_but_not_in_what_kind_they_are() {
    let mut house = House::new(&[]);
    let ann = house.comes(0, "ann");
    house.joins(ann, "chat:a");
    let short = class(|class| (class.message_bytes_max, class.delivery) = (5, Delivery::Ephemeral));
    let now = house.now;
    for shard in &mut house.shards {
        shard.handle(now, Input::Rules(Arc::new(rules(Limits::default(), &[("chat:*", short.clone())]))));
    }
    assert!(house.publishes(ann, "chat:a", "", r#""longer""#).contains("too_long"));
    assert!(house.publishes(ann, "chat:a", "", "1").contains(r#""offset":1"#), "it keeps its offsets");
    assert!(house.publishes(ann, "chat:new", "", "1").contains(r#""level":"none""#));
}

/// Regression: by another class a room of values was asked who had read what, though nothing has an offset there; and of one
/// that was not there yet history was an empty page.
#[test]
fn a_room_of_values_keeps_no_reads_and_has_no_history_whatever_a_reload_says() {
    let of = |delivery| class(|class| class.delivery = delivery);
    let mut house = House::new(&[("ticker:*", of(Delivery::Latest)), ("chat:*", of(Delivery::Reliable))]);
    let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
    for who in [ann, bob] {
        let told = house.says(who, r#"{"type":"history","id":3,"room":"ticker:never"}"#);
        assert!(told.contains("unsupported"), "{told}");
        assert!(house.joins(who, "chat:a").contains(r#""unread":0"#));
        house.joins(who, "ticker:a");
    }
    let others = [("ticker:*", of(Delivery::Reliable)), ("chat:*", of(Delivery::Latest))];
    let now = house.now;
    for shard in &mut house.shards {
        shard.handle(now, Input::Rules(Arc::new(rules(Limits::default(), &others))));
    }
    let mut asks = |who, what: &str, room: &str| {
        house.says(who, &format!(r#"{{"type":"{what}","id":3,"room":"{room}","presence":true,"offset":0}}"#))
    };
    for who in [ann, bob] {
        for what in ["read", "unread", "history"] {
            assert!(asks(who, what, "ticker:a").contains("unsupported"), "{what}");
            assert!(asks(who, what, "chat:a").contains("reply"), "{what}");
        }
        asks(who, "leave", "ticker:a");
        let told = asks(who, "join", "ticker:a");
        assert!(told.contains(r#""type":"reply""#) && !told.contains("read"), "{told}");
        asks(who, "leave", "chat:a");
        assert!(asks(who, "join", "chat:a").contains(r#""reads":[]"#));
    }
}

/// Regression: a room whose log ended before those were back who had only lost their connection was another one for them.
#[test]
fn a_room_waits_for_those_who_are_away_though_its_log_is_over() {
    let limits = Limits { log_age_ms: 1_000, ..Limits::default() };
    let stays = RoomClass { leave_delay_ms: 10_000, ..RoomClass::of(&limits) };
    let mut house = House::with(limits, &[("*", stays)]);
    let (ann, room) = (house.comes(0, "ann"), house.room_at(0, "r"));
    let epoch = field(&house.joins(ann, &room), r#""epoch":""#);
    house.publishes(ann, &room, "", "1");
    house.ends(ann);
    (0..50).for_each(|_| house.passes(100));
    let again = house.comes(1, "ann");
    assert_eq!(field(&house.joins(again, &room), r#""epoch":""#), epoch);
    house.ends(again);
    (0..110).for_each(|_| house.passes(100));
    assert_eq!(house.shards[0].gauges().rooms_home, 0, "and no longer");
}

/// Regression: such a room has another life with each message, and each was the first one of its user.
#[test]
fn a_rate_holds_where_nothing_is_kept_and_nobody_sits() {
    let seldom = class(|class| {
        (class.delivery, class.publish_rate) = (Delivery::Ephemeral, Rate { per_minute: 60, burst: 2 });
    });
    let mut house = House::new(&[("cursor:*", seldom)]);
    let ann = house.comes(0, "ann");
    let told: Vec<bool> = (0..3).map(|_| house.publishes(ann, "cursor:a", "", "1").contains("too_often")).collect();
    assert_eq!(told, [false, false, true]);
}

/// Regression: a hole in what a home delivers, which cannot be, ended the whole process.
#[test]
fn what_is_missing_between_two_messages_of_a_home_is_pulled_from_its_log() {
    let mut house = House::new(&[]);
    let room = house.room_at(0, "r");
    let (ann, bob) = (house.comes(0, "ann"), house.comes(1, "bob"));
    house.joins(bob, &room);
    house.publishes(ann, &room, "", "1");
    assert!(house.hears(bob).contains(r#""data":1"#));
    house.reads(ann, &[&format!(r#"{{"type":"publish","room":"{room}","data":2}}"#)]);
    house.shards[0].outgoing_mut(ShardId(1)).clear();
    let at = house.shards[1].seats.find(&room).expect("bob sits here");
    house.shards[1].on_hole(at, Offset(3));
    house.publishes(ann, &room, "", "3");
    house.passes(100);
    let heard = house.hears(bob);
    let places = [r#""offset":2"#, r#""offset":3"#].map(|offset| heard.match_indices(offset).collect::<Vec<_>>());
    assert!(places.iter().all(|found| found.len() == 1) && places[0] < places[1], "{heard}");
    assert_eq!((house.count(Count::Holes), house.shards[1].gauges().behind_readers), (1, 0));
}

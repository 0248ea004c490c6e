//! Rooms without offsets: the last value of each key, and what is kept nowhere.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throng::base::{Delivery, Limits};
use throng::shard::{ClassCount, Count, Counters};

use crate::person::{Person, class};
use crate::support::until::until;
use crate::support::{serve_by, small};

fn value(person: &mut Person, key: &str, data: impl Into<Value>) {
    let answer = person.ask(json!({"type": "publish", "room": "ticker:1", "key": key, "data": data.into()}));
    assert_eq!((&answer["level"], &answer["offset"]), (&json!("none"), &Value::Null), "{answer}");
}

#[test]
fn who_joins_a_room_of_values_is_sent_the_last_of_each_and_then_every_change() {
    let of_values = |class: &mut throng::base::RoomClass| class.delivery = Delivery::Latest;
    let (running, _handed) = serve_by(2, small(), |rules| class(rules, "ticker:*", of_values), |_| {});
    let address = running.address();
    let mut bob = Person::comes(address, "bob");
    for (key, data) in [("ibm", 1), ("sap", 2), ("ibm", 3), ("dec", 4), ("ibm", 5)] {
        value(&mut bob, key, data);
    }
    let mut ann = Person::comes(address, "ann");
    let joined = ann.join("ticker:1");
    let heard: BTreeMap<String, Value> = (0..3)
        .map(|_| {
            let message = ann.hear();
            assert!(message["offset"].is_null(), "{message}");
            (message["key"].as_str().unwrap().to_owned(), message["data"].clone())
        })
        .collect();
    assert_eq!(json!(heard), json!({"dec": 4, "ibm": 5, "sap": 2}));
    value(&mut bob, "sap", 6);
    assert_eq!(ann.hear()["data"], 6);
    ann.vanishes();
    value(&mut bob, "dec", 7);
    value(&mut bob, "dec", 8);
    let mut ann = Person::comes(address, "ann");
    let since = json!({"epoch": joined["epoch"], "offset": joined["offset"]});
    ann.seated(json!({"type": "join", "room": "ticker:1", "since": since}));
    let mut changed = [ann.hear(), ann.hear()].map(|message| message["data"].clone());
    changed.sort_by_key(|data| data.as_u64());
    assert_eq!(changed, [json!(6), json!(8)], "what was set since, and only its last value");
    for command in [
        json!({"type": "history", "room": "ticker:1"}),
        json!({"type": "read", "room": "ticker:1", "offset": 1}),
        json!({"type": "unread", "room": "ticker:1"}),
    ] {
        assert_eq!(ann.ask(command.clone())["code"], "unsupported", "{command}");
    }
    assert_eq!(ann.heard_by_now(), [Value::Null; 0]);
    running.stop().unwrap();
}

/// Regression: a value was never sent to the connection that had set it, however often it joined.
#[test]
fn who_has_set_a_value_and_joins_is_sent_it_like_all_others() {
    let of_values = |class: &mut throng::base::RoomClass| class.delivery = Delivery::Latest;
    let (running, _handed) = serve_by(2, small(), |rules| class(rules, "ticker:*", of_values), |_| {});
    let mut ann = Person::comes(running.address(), "ann");
    value(&mut ann, "ibm", 1);
    ann.join("ticker:1");
    assert_eq!(ann.hear()["data"], 1);
    // The answer is her receipt while she sits there.
    value(&mut ann, "ibm", 2);
    assert_eq!(ann.heard_by_now(), [Value::Null; 0]);
    ann.ask(json!({"type": "leave", "room": "ticker:1"}));
    ann.join("ticker:1");
    assert_eq!(ann.hear()["data"], 2);
    assert_eq!(ann.heard_by_now(), [Value::Null; 0]);
    running.stop().unwrap();
}

/// Ann hears nothing while values are set over and over; then she misses those in between, never the last ones.
#[test]
fn a_slow_reader_of_values_misses_what_was_overtaken_and_never_the_last() {
    const KEYS: u64 = 5;
    let of_values = |class: &mut throng::base::RoomClass| class.delivery = Delivery::Latest;
    let limits = Limits { no_progress_ms: 3_600_000, ..small() };
    let (running, _handed) = serve_by(2, limits, |rules| class(rules, "ticker:*", of_values), |_| {});
    let counts = running.counts();
    let mut ann = Person::comes(running.address(), "ann");
    ann.join("ticker:1");
    let mut bob = Person::comes(running.address(), "bob");
    let long = "x".repeat(40_000);
    let (mut round, mut rounds_behind) = (0, 0);
    until("ann has been behind for twenty rounds", || {
        round += 1;
        for key in 0..KEYS {
            value(&mut bob, &format!("k{key}"), json!([round, long]));
        }
        rounds_behind += u64::from(counts.totals().cells[Count::FellBehind.index()] > 0);
        rounds_behind == 20
    });
    let (mut last, mut heard) = (BTreeMap::new(), 0);
    while last.values().filter(|known| **known == round).count() as u64 != KEYS {
        let message = ann.hear();
        assert_eq!(message["type"], "message", "nobody is told of a gap here: {message}");
        let known = message["data"][0].as_u64().unwrap();
        let before = last.insert(message["key"].as_str().unwrap().to_owned(), known);
        assert!(before.is_none_or(|before| before < known), "{known} after {before:?}");
        heard += 1;
    }
    assert!(heard < round * KEYS, "{heard} of {}: she missed nothing", round * KEYS);
    running.stop().unwrap();
}

#[test]
fn an_ephemeral_message_is_for_those_who_are_there_and_a_slow_one_misses_it_untold() {
    let fleeting = |class: &mut throng::base::RoomClass| class.delivery = Delivery::Ephemeral;
    let limits = Limits { no_progress_ms: 3_600_000, ..small() };
    let (running, _handed) = serve_by(2, limits, |rules| class(rules, "cursor:*", fleeting), |_| {});
    let address = running.address();
    let mut bob = Person::comes(address, "bob");
    bob.publish("cursor:1", "to nobody");
    let [mut ann, mut slow] = ["ann", "slow"].map(|user| Person::comes(address, user));
    for person in [&mut ann, &mut slow] {
        person.seated(json!({"type": "join", "room": "cursor:1", "history": 10}));
    }
    let counts = running.counts();
    let dropped = || {
        let cells = counts.totals().cells;
        (0..cells.len())
            .skip(Counters::CLASSES_AT)
            .step_by(ClassCount::LEN)
            .any(|class| cells.get(class + ClassCount::Dropped as usize).is_some_and(|dropped| *dropped > 0))
    };
    let long = "x".repeat(40_000);
    let mut said = 0;
    until("something is not told to the slow one", || {
        said += 1;
        let answer = bob.publish("cursor:1", json!([said, long]));
        assert_eq!((&answer["level"], &answer["offset"]), (&json!("none"), &Value::Null), "{answer}");
        let message = ann.hear();
        assert_eq!((&message["data"][0], &message["offset"]), (&json!(said), &Value::Null), "who reads misses nothing");
        dropped()
    });
    // She reads again: what still comes is in order, no gap is told, and she hears what is said from now on. The answer that
    // `heard_by_now` waits for may have overtaken something.
    let mut heard = slow.heard_by_now();
    bob.publish("cursor:1", json!([said + 1, ""]));
    while heard.last().is_none_or(|last| last["data"][0] != said + 1) {
        heard.push(slow.hear());
    }
    let mut known = 0;
    for message in &heard {
        assert_eq!(message["type"], "message", "{}", message["type"]);
        let number = message["data"][0].as_u64().unwrap();
        assert!(number > known, "{number} after {known}");
        known = number;
    }
    assert!((heard.len() as u64) < said + 1, "she heard all {said}");
    assert_eq!(ann.ask(json!({"type": "history", "room": "cursor:1"}))["code"], "unsupported");
    running.stop().unwrap();
}

//! Promise 3: a publish that is sent again by its key is one message, whichever connection sends it.

use serde_json::{Value, json};

use crate::person::{Person, offset};
use crate::support::{serve, small};

fn by_key(room: &str, key: &str, data: impl Into<Value>) -> Value {
    json!({"type": "publish", "room": room, "key": key, "data": data.into()})
}

#[test]
fn a_key_is_one_message_of_one_user_in_one_room_over_any_number_of_connections() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let mut carl = Person::comes(address, "carl");
    carl.join("hall");
    let mut ann = Person::comes(address, "ann");
    let first = ann.ask(by_key("hall", "k", "said once"));
    assert_eq!((offset(&first), &first["dup"]), (1, &Value::Null), "{first}");
    ann.vanishes();
    // Wherever the kernel puts her next connections.
    for _ in 0..8 {
        let mut ann = Person::comes(address, "ann");
        let again = ann.ask(by_key("hall", "k", "said once"));
        let place = (&again["epoch"], &again["offset"], &again["dup"]);
        assert_eq!(place, (&first["epoch"], &json!(1), &json!(true)), "{again}");
        assert_eq!(ann.ask(by_key("hall", "k", "something else"))["code"], "key_reused");
        let mut named = by_key("hall", "k", "said once");
        named["event"] = json!("another");
        assert_eq!(ann.ask(named)["code"], "key_reused");
        ann.vanishes();
    }
    // Another user's, and another room's, are other keys.
    let mut bob = Person::comes(address, "bob");
    assert_eq!(offset(&bob.ask(by_key("hall", "k", "of bob"))), 2);
    let elsewhere = bob.ask(by_key("yard", "k", "elsewhere"));
    assert_eq!((offset(&elsewhere), &elsewhere["dup"]), (1, &Value::Null), "{elsewhere}");
    bob.publish("hall", "the end");
    let heard: Vec<Value> = (0..3).map(|_| carl.hear()["data"].clone()).collect();
    assert_eq!(heard, [json!("said once"), json!("of bob"), json!("the end")]);
    running.stop().unwrap();
}

#[test]
fn a_letter_by_its_key_is_one_letter() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let mut bob = Person::comes(address, "bob");
    bob.join("@bob");
    let letter = |data: &str| json!({"type": "send", "user": "bob", "key": "k", "data": data});
    let first = Person::comes(address, "ann").ask(letter("once"));
    assert_eq!((&first["room"], offset(&first), &first["dup"]), (&json!("@bob"), 1, &Value::Null), "{first}");
    for _ in 0..8 {
        let mut ann = Person::comes(address, "ann");
        let again = ann.ask(letter("once"));
        let place = (&again["epoch"], &again["offset"], &again["dup"]);
        assert_eq!(place, (&first["epoch"], &json!(1), &json!(true)), "{again}");
        assert_eq!(ann.ask(letter("something else"))["code"], "key_reused");
    }
    // Carl's is another key.
    assert_eq!(offset(&Person::comes(address, "carl").ask(letter("once"))), 2);
    let heard: Vec<Value> = (0..2).map(|_| bob.hear()["from"]["user"].clone()).collect();
    assert_eq!(heard, [json!("ann"), json!("carl")]);
    assert_eq!(bob.heard_by_now(), [Value::Null; 0]);
    running.stop().unwrap();
}

/// Her connection is lost before she has the answer: she does not know whether it was accepted, and it does not matter. Every
/// other time it was, for carl has heard it.
#[test]
fn what_was_lost_with_its_answer_and_is_sent_again_is_heard_once() {
    const TIMES: u64 = 40;
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let mut carl = Person::comes(address, "carl");
    carl.join("hall");
    let mut known = 0;
    for n in 1..=TIMES {
        let (key, mut ann) = (format!("k{n}"), Person::comes(address, "ann"));
        let mut command = by_key("hall", &key, n);
        command["id"] = json!(1_000);
        ann.raw.say(&command.to_string());
        let heard = (n % 2 == 0).then(|| carl.hear());
        let session = ann.vanishes();
        let mut ann = Person::comes(address, "ann");
        ann.ask(json!({"type": "resume", "session": session, "rooms": []}));
        let again = ann.ask(by_key("hall", &key, n));
        assert_eq!(offset(&again), n, "{again}");
        known += u64::from(again["dup"] == true);
        let message = heard.unwrap_or_else(|| carl.hear());
        assert_eq!((offset(&message), &message["data"]), (n, &json!(n)), "{known} of them were known");
    }
    assert!(known >= TIMES / 2, "{known} of {TIMES} were known by their key");
    assert_eq!(carl.heard_by_now(), [Value::Null; 0]);
    running.stop().unwrap();
}

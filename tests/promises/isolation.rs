//! Promise 7: nothing comes from a room that was not joined, was left, or is not granted.

use serde_json::{Value, json};

use crate::person::Person;
use crate::support::{FAR_FUTURE, serve, small, token};

#[test]
fn nothing_comes_of_a_room_not_joined_left_not_granted_or_of_anothers_inbox() {
    const TIMES: u64 = 30;
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let rooms = ["own", "common", "left", "never", "secret", "lost"];
    let grants = |rooms: &[&str]| {
        let rooms: Vec<Value> = rooms.iter().map(|room| json!({"match": room, "can": ["join", "history"]})).collect();
        token("ann", FAR_FUTURE, Some(json!(rooms)))
    };
    // On whichever shard: some of them beside the homes, some not.
    let mut anns: Vec<Person> = (0..6)
        .map(|_| {
            let mut ann = Person::comes_with(address, &grants(&["own", "common", "left", "never", "lost"]));
            for room in ["common", "left", "lost"] {
                ann.join(room);
            }
            assert_eq!(ann.ask(json!({"type": "join", "room": "secret"}))["code"], "forbidden");
            assert_eq!(ann.ask(json!({"type": "join", "room": "@bob"}))["code"], "forbidden");
            ann.ask(json!({"type": "leave", "room": "left"}));
            // A token that grants less takes the seat.
            let narrow = grants(&["own", "common", "left", "never"]);
            assert_eq!(ann.ask(json!({"type": "refresh", "token": narrow}))["type"], "reply");
            assert_eq!(ann.next(&["removed"])["room"], "lost");
            ann
        })
        .collect();
    // They all are one user; bob sits everywhere and hears his own words, so that he knows when they have gone out.
    let mut bob = Person::comes(address, "bob");
    for room in rooms.iter().chain(&["@bob"]) {
        bob.join(room);
    }
    for n in 0..TIMES {
        for room in rooms.iter().chain(&["@bob"]) {
            bob.raw.say(&json!({"type": "publish", "room": room, "data": n}).to_string());
        }
    }
    for _ in 0..TIMES * (rooms.len() as u64 + 1) {
        bob.next(&["message"]);
    }
    for ann in &mut anns {
        for n in 0..TIMES {
            let message = ann.hear();
            assert_eq!((&message["room"], &message["data"]), (&json!("common"), &json!(n)), "{message}");
        }
        assert_eq!(ann.heard_by_now(), [Value::Null; 0]);
        for room in ["secret", "lost", "@bob"] {
            let page = ann.ask(json!({"type": "history", "room": room}));
            assert_eq!(page["code"], "forbidden", "{room}: {page}");
        }
    }
    running.stop().unwrap();
}

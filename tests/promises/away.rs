//! Who comes back within the leave delay by resuming has been away, and has neither left nor joined.

use std::net::SocketAddr;

use serde_json::{Value, json};
use throng::base::RoomClass;
use throng::wire::FrameKind;

use crate::person::{Person, class};
use crate::raw::Seen;
use crate::support::{serve_by, small};

const NEWS: &[&str] = &["joined", "left", "away", "back", "counted", "stale"];

/// What happened to bob, and by which version.
fn news_of_bob(ann: &mut Person) -> (String, u64) {
    let event = ann.next(NEWS);
    assert_eq!(event["users"], json!([{"user": "bob"}]), "{event}");
    (event["type"].as_str().unwrap().to_owned(), event["version"].as_u64().unwrap())
}

fn is(what: &str, version: u64) -> (String, u64) {
    (what.to_owned(), version)
}

#[test]
fn a_session_that_is_resumed_within_the_delay_is_away_and_back_and_a_takeover_is_no_news() {
    // It does not pass while this test runs.
    let waits = |class: &mut RoomClass| class.leave_delay_ms = 3_600_000;
    let (running, _handed) = serve_by(2, small(), |rules| class(rules, "*", waits), |_| {});
    let address = running.address();
    // Each time the kernel may put him on another shard.
    for room in ["a", "b", "c", "d"] {
        let mut ann = Person::comes(address, "ann");
        let sits = ann.seated(json!({"type": "join", "room": room, "presence": true}));
        let begins = sits["version"].as_u64().unwrap();
        let mut bob = Person::comes(address, "bob");
        let position = bob.join(room);
        // She may have been told of her own coming first.
        let joined = loop {
            let event = ann.next(NEWS);
            if event["users"].to_string().contains("bob") {
                break event["version"].as_u64().unwrap();
            }
        };
        assert!(joined > begins);

        // The line is cut; he comes back with his session.
        let session = bob.vanishes();
        assert_eq!(news_of_bob(&mut ann), is("away", joined + 1));
        let roll = ann.ask(json!({"type": "presence", "room": room}));
        assert_eq!((&roll["count"], &roll["members"][1]["connections"]), (&json!(2), &json!(0)), "{roll}");
        ann.publish(room, "while he was away");
        let mut bob = resumes(address, &session, &position);
        assert_eq!(bob.next(&["message"])["data"], "while he was away");
        assert_eq!(news_of_bob(&mut ann), is("back", joined + 2));

        // Half open: the server does not know yet that the old one is dead, and nobody hears anything of it.
        let old = bob;
        let mut bob = resumes(address, &old.session, &position);
        assert!(matches!(old.raw.end(), Seen::Close(4502, _)));
        bob.raw.send_frame(FrameKind::Close, &1_000_u16.to_be_bytes());
        // Not away, and nothing lies between: the versions say so.
        assert_eq!(news_of_bob(&mut ann), is("left", joined + 3));
        assert!(matches!(bob.raw.end(), Seen::Close(1000, _)));
    }
    running.stop().unwrap();
}

/// Comes with a new connection and goes on with a session, in the room of this position.
fn resumes(address: SocketAddr, session: &str, position: &Value) -> Person {
    let mut bob = Person::comes(address, "bob");
    let room = json!({"room": position["room"], "id": 77, "epoch": position["epoch"], "offset": position["offset"]});
    // Two answers, in whatever order; what is missed comes behind the room's.
    let answer = bob.ask(json!({"type": "resume", "session": session, "rooms": [room]}));
    assert_eq!(answer["resumed"], true, "{answer}");
    let seated = bob.next(&["reply"]);
    assert_eq!((&seated["id"], &seated["recovered"]), (&json!(77), &json!(true)), "{seated}");
    bob
}

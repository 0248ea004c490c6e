//! Sessions over lost connections, and letters to users, on real sockets.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/raw.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod raw;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raw::{Raw, Seen};
use serde_json::{Value, json};
use support::{FAR_FUTURE, serve, serve_at, small, token};
use throng::base::Limits;

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";

/// A session and its handle.
fn open(address: SocketAddr, token: &str) -> (Raw, String) {
    let mut raw = Raw::ask(address, "/ws", &[OURS, &format!("Authorization: Bearer {token}")]).switched();
    let welcome = hear(&mut raw);
    assert_eq!((&welcome["type"], &welcome["resumed"]), (&json!("welcome"), &json!(false)), "{welcome}");
    (raw, welcome["session"].as_str().unwrap().to_owned())
}

fn of(user: &str) -> String {
    token(user, FAR_FUTURE, None)
}

fn hear(raw: &mut Raw) -> Value {
    serde_json::from_str(&raw.hear()).unwrap()
}

/// Says it and gives what is heard until the answer with its `id`, the answer last.
fn ask(raw: &mut Raw, command: &Value) -> Vec<Value> {
    raw.say(&command.to_string());
    let mut heard = Vec::new();
    loop {
        heard.push(hear(raw));
        if heard.last().unwrap()["id"] == command["id"] {
            return heard;
        }
    }
}

fn answer(raw: &mut Raw, command: &Value) -> Value {
    ask(raw, command).pop().unwrap()
}

fn join(raw: &mut Raw, room: &str) -> Value {
    answer(raw, &json!({"type": "join", "id": 1, "room": room}))
}

fn publish(raw: &mut Raw, room: &str, data: u64) -> u64 {
    let reply = answer(raw, &json!({"type": "publish", "id": 2, "room": room, "data": data}));
    reply["offset"].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

fn resume(session: &str, rooms: &Value) -> Value {
    json!({"type": "resume", "id": 3, "session": session, "rooms": rooms})
}

#[test]
fn who_is_cut_again_and_again_under_load_hears_everything_once_and_in_order() {
    const LAST: u64 = 3_000;
    let limits = Limits { log_messages_max: 10_000, log_bytes_max: 64 << 20, ..small() };
    let (running, _handed) = serve(2, limits);
    let address = running.address();
    let (mut ann, mut session) = open(address, &of("ann"));
    let joined = join(&mut ann, "busy");
    let epoch = joined["epoch"].clone();
    let stop = AtomicBool::new(false);
    let (mut position, mut cuts) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut bob, _) = open(address, &of("bob"));
            for data in 1..=LAST {
                assert_eq!(publish(&mut bob, "busy", data), data);
            }
            stop.store(true, Ordering::Relaxed);
        });
        while position < LAST {
            // A hundred or so, then the line is cut in the middle of whatever is under way.
            for _ in 0..100 {
                if position == LAST {
                    return;
                }
                let message = hear(&mut ann);
                assert_eq!(message["type"], "message", "{message}");
                position += 1;
                assert_eq!((&message["offset"], &message["data"]), (&json!(position), &json!(position)));
            }
            if stop.load(Ordering::Relaxed) && cuts > 2 {
                continue;
            }
            drop(ann);
            cuts += 1;
            let (mut next, handle) = open(address, &of("ann"));
            let rooms = json!([{"room": "busy", "id": 4, "epoch": epoch, "offset": position}]);
            next.say(&resume(&session, &rooms).to_string());
            // The answers come in any order, the room's before its messages.
            let (mut resumed, mut seated) = (false, false);
            while !(resumed && seated) {
                let heard = hear(&mut next);
                match heard["id"].as_u64() {
                    Some(3) => {
                        assert_eq!(heard["resumed"], true, "{heard}");
                        resumed = true;
                    }
                    Some(4) => {
                        assert_eq!(heard["recovered"], true, "{heard}");
                        seated = true;
                    }
                    _ => {
                        assert!(seated, "before the room is answered nothing of it comes: {heard}");
                        position += 1;
                        assert_eq!(heard["offset"], json!(position));
                    }
                }
            }
            (ann, session) = (next, handle);
        }
    });
    assert!(cuts > 2, "{cuts} cuts");
    running.stop().unwrap();
}

#[test]
fn a_half_open_connection_is_taken_over_and_hears_nothing_more() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    for _ in 0..4 {
        let (mut old, session) = open(address, &of("ann"));
        join(&mut old, "a");
        let (mut new, _) = open(address, &of("ann"));
        assert_eq!(answer(&mut new, &resume(&session, &json!([])))["resumed"], true);
        let (mut thief, _) = open(address, &of("ann"));
        assert_eq!(answer(&mut thief, &resume(&session, &json!([])))["resumed"], false, "it is good once");
        publish(&mut new, "a", 1);
        assert!(matches!(old.end(), Seen::Close(4502, _)));
        let (mut bob, _) = open(address, &of("bob"));
        let (_live, of_ann) = open(address, &of("ann"));
        assert_eq!(answer(&mut bob, &resume(&of_ann, &json!([])))["resumed"], false, "it is ann's");
    }
    running.stop().unwrap();
}

#[test]
fn the_welcome_of_a_hello_with_a_session_says_whether_it_goes_on() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    for _ in 0..4 {
        let (old, session) = open(address, &of("ann"));
        for (handle, resumed) in [(session.as_str(), true), (session.as_str(), false), ("of another server", false)] {
            let mut raw = Raw::ask(address, "/ws", &[OURS]).switched();
            // What comes behind the hello waits for its welcome.
            raw.say(&json!({"type": "hello", "id": 5, "token": of("ann"), "session": handle}).to_string());
            raw.say(&json!({"type": "ping", "id": 6}).to_string());
            let welcome = hear(&mut raw);
            assert_eq!((&welcome["type"], &welcome["resumed"]), (&json!("welcome"), &json!(resumed)), "{welcome}");
            assert_eq!([hear(&mut raw), hear(&mut raw)].map(|reply| reply["id"].clone()), [json!(5), json!(6)]);
        }
        assert!(matches!(old.end(), Seen::Close(4502, _)));
    }
    running.stop().unwrap();
}

#[test]
fn a_token_that_lost_grants_brings_back_what_it_still_grants_and_names_the_rest() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let (mut ann, session) = open(address, &of("ann"));
    let positions: Vec<Value> = ["kept", "blind", "lost", "gone"].map(|room| join(&mut ann, room)).into();
    let (mut bob, _) = open(address, &of("bob"));
    for room in ["kept", "blind", "lost", "gone"] {
        publish(&mut bob, room, 7);
    }
    drop(ann);
    let narrow = token(
        "ann",
        FAR_FUTURE,
        Some(json!([{"match": "kept", "can": ["join", "history"]}, {"match": "blind", "can": ["join"]}])),
    );
    let (mut again, _) = open(address, &narrow);
    let entry = |at: usize, id: Value| {
        let position = &positions[at];
        json!({"room": position["room"], "id": id, "epoch": position["epoch"], "offset": position["offset"]})
    };
    let rooms = json!([entry(0, json!(10)), entry(1, json!(11)), entry(2, json!(12)), entry(3, Value::Null)]);
    again.say(&resume(&session, &rooms).to_string());
    again.say(r#"{"type":"ping","id":99}"#);
    // Four answers, a gap, a message, word of the room that has no id, and the pong.
    let heard: Vec<Value> = (0..8).map(|_| hear(&mut again)).collect();
    let find = |fits: &dyn Fn(&Value) -> bool| heard.iter().find(|it| fits(it)).unwrap_or_else(|| panic!("{heard:?}"));
    assert_eq!(find(&|it| it["id"] == json!(3))["resumed"], true);
    assert_eq!(find(&|it| it["id"] == json!(10))["recovered"], true);
    assert_eq!(find(&|it| it["type"] == json!("message"))["room"], "kept");
    assert_eq!(find(&|it| it["id"] == json!(11))["recovered"], false);
    let gap = find(&|it| it["type"] == json!("gap"));
    assert_eq!((&gap["room"], &gap["why"], &gap["to"]), (&json!("blind"), &json!("unknown"), &json!(1)));
    assert_eq!(find(&|it| it["id"] == json!(12))["code"], "forbidden");
    let removed = find(&|it| it["type"] == json!("removed"));
    assert_eq!((&removed["room"], &removed["why"]), (&json!("gone"), &json!("grants")));
    running.stop().unwrap();
}

#[test]
fn the_next_server_does_not_know_the_session_and_says_that_the_room_forgot() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (old, _handed) = serve_at(any, 2, small(), u64::MAX, false).unwrap();
    let address = old.address();
    let (mut ann, session) = open(address, &of("ann"));
    let epoch = join(&mut ann, "a")["epoch"].clone();
    // It has the ack: so the message was there.
    assert_eq!(publish(&mut ann, "a", 1), 1);
    let (new, _handed) = serve_at(address, 2, small(), u64::MAX, true).unwrap();
    old.drain(Duration::from_millis(500));
    assert!(matches!(ann.end(), Seen::Close(1012, _)));
    old.stop().unwrap();
    let (mut again, _) = open(address, &of("ann"));
    let rooms = json!([{"room": "a", "id": 4, "epoch": epoch, "offset": 1}]);
    again.say(&resume(&session, &rooms).to_string());
    let mut heard: Vec<Value> = (0..3).map(|_| hear(&mut again)).collect();
    assert!(heard.iter().any(|it| it["id"] == json!(3) && it["resumed"] == json!(false)), "{heard:?}");
    heard.retain(|it| it["id"] != json!(3));
    assert_eq!((&heard[0]["id"], &heard[0]["recovered"]), (&json!(4), &json!(false)), "{heard:?}");
    assert_ne!(heard[0]["epoch"], epoch);
    assert_eq!((&heard[1]["type"], &heard[1]["why"]), (&json!("gap"), &json!("epoch")), "{heard:?}");
    new.stop().unwrap();
}

/// They have come before it leaves: the door is closed behind them.
#[test]
fn who_resumes_while_the_server_leaves_has_its_rooms_and_its_session() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let (mut bob, _) = open(address, &of("bob"));
    let mut people: Vec<_> = (0..8)
        .map(|n| {
            let user = of(&format!("user{n}"));
            let (mut old, session) = open(address, &user);
            let joined = join(&mut old, "a");
            (old, session, joined, open(address, &user).0)
        })
        .collect();
    // An hour: nobody's slot comes while this test runs.
    running.drain(Duration::from_secs(3_600));
    let is_told = |raw: &mut Raw| assert_eq!(hear(raw)["type"], "drain");
    is_told(&mut bob);
    people.iter_mut().flat_map(|(old, _, _, new)| [old, new]).for_each(is_told);
    for (n, (old, session, joined, mut new)) in people.into_iter().enumerate() {
        // Half open, or cut and then missing something.
        let half_open = n % 2 == 0;
        let old = Some(old).filter(|_| half_open);
        let said = publish(&mut bob, "a", n as u64);
        let rooms = json!([{"room": "a", "id": 4, "epoch": joined["epoch"], "offset": said - 1}]);
        let heard = ask(&mut new, &resume(&session, &rooms));
        assert_eq!(heard.last().unwrap()["resumed"], true, "{heard:?}");
        let rest = (heard.len()..3).map(|_| hear(&mut new));
        let heard: Vec<Value> = heard.iter().cloned().chain(rest).collect();
        let find = |fits: &dyn Fn(&Value) -> bool| heard.iter().any(fits);
        assert!(find(&|it| it["id"] == json!(4) && it["recovered"] == json!(true)), "{heard:?}");
        assert!(find(&|it| it["offset"] == json!(said) && it["data"] == json!(n)), "{heard:?}");
        if let Some(old) = old {
            assert!(matches!(old.end(), Seen::Close(4502, _)));
        }
        assert_eq!(publish(&mut new, "b", 1), n as u64 + 1);
    }
    running.stop().unwrap();
}

#[test]
fn a_letter_waits_for_its_addressee_and_is_nobody_elses() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let (mut bob, _) = open(address, &of("bob"));
    let send = |raw: &mut Raw, user: &str, data: u64| {
        answer(raw, &json!({"type": "send", "id": 5, "user": user, "event": "note", "data": data}))
    };
    for data in 1..=3 {
        let reply = send(&mut bob, "ann", data);
        assert_eq!((&reply["room"], &reply["offset"]), (&json!("@ann"), &json!(data)), "{reply}");
    }
    assert_eq!(join(&mut bob, "@ann")["code"], "forbidden", "who may do everything may not read letters");
    assert_eq!(send(&mut bob, "no such name", 1)["code"], "bad_room");
    assert_eq!(send(&mut bob, "all", 1)["code"], "bad_room");
    // No grants at all: her own letters she reads, and writes none to others.
    let none = token("ann", FAR_FUTURE, Some(json!([])));
    let (mut ann, session) = open(address, &none);
    let joined = join(&mut ann, "@ann");
    assert_eq!(joined["offset"], 3, "{joined}");
    for data in 1..=3 {
        let letter = hear(&mut ann);
        let said = (&letter["room"], &letter["offset"], &letter["from"]["user"], &letter["event"], &letter["data"]);
        assert_eq!(said, (&json!("@ann"), &json!(data), &json!("bob"), &json!("note"), &json!(data)));
    }
    assert_eq!(send(&mut ann, "bob", 1)["code"], "forbidden");
    let (mut phone, _) = open(address, &none);
    assert_eq!(answer(&mut phone, &json!({"type": "join", "id": 1, "room": "@ann", "history": 0}))["offset"], 3);
    drop(ann);
    send(&mut bob, "ann", 4);
    assert_eq!(hear(&mut phone)["data"], 4, "every connection of hers that joined");
    let (mut again, _) = open(address, &none);
    let rooms = json!([{"room": "@ann", "epoch": joined["epoch"], "offset": 3}]);
    let mut heard = ask(&mut again, &resume(&session, &rooms));
    if heard.len() == 1 {
        heard.push(hear(&mut again));
    }
    assert!(heard.iter().any(|it| it["data"] == json!(4)), "{heard:?}");
    // To herself: the other connection hears it, this one has the receipt.
    assert_eq!(send(&mut again, "ann", 5)["offset"], 5);
    assert_eq!(hear(&mut phone)["data"], 5);
    running.stop().unwrap();
}

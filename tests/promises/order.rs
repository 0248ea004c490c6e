//! Promises 1 and 5: one message stands at one position, however it is seen, and what is said after an answer stands
//! behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use throng::base::{Encoding, Limits};
use throng::wire::FrameKind;
use throng::wire::client::{CommandOut, ServerEvent, read_event, write_command};

use crate::person::{Person, offset};
use crate::raw::Raw;
use crate::support::{FAR_FUTURE, serve, small, token};

const PUBLISHERS: u64 = 6;
const EACH: u64 = 50;
const ALL: u64 = PUBLISHERS * EACH;

/// What stands where.
type Places = BTreeMap<u64, Value>;

#[test]
fn live_replay_history_and_acks_show_each_message_at_one_position() {
    let limits = Limits { log_messages_max: 1_000, log_bytes_max: 16 << 20, ..small() };
    let (running, _handed) = serve(2, limits);
    let address = running.address();
    let mut listener = Person::comes(address, "listener");
    let joined = listener.join("hall");
    let mut other = packed_listener(address);
    let publishers: Vec<Person> = (0..PUBLISHERS).map(|n| enters(address, n)).collect();
    let told: Vec<Places> = std::thread::scope(|scope| {
        let talks = publishers.into_iter().zip(0..).map(|(person, n)| scope.spawn(move || talks(person, n)));
        let talks: Vec<_> = talks.collect();
        talks.into_iter().map(|talk| talk.join().unwrap()).collect()
    });

    let live: Places = (1..=ALL)
        .map(|expected| {
            let message = listener.next(&["message", "gap"]);
            assert_eq!(offset(&message), expected, "offsets are dense: {message}");
            (expected, message["data"].clone())
        })
        .collect();
    for places in told {
        assert!(places.len() as u64 == ALL, "acks and copies together are everything");
        assert_eq!(places, live);
    }
    assert_eq!(packed(&mut other), live, "the other encoding");
    let mut late = Person::comes(address, "late");
    let since = json!({"epoch": joined["epoch"], "offset": 0});
    let answer = late.seated(json!({"type": "join", "room": "hall", "since": since}));
    assert_eq!((&answer["epoch"], &answer["recovered"]), (&joined["epoch"], &json!(true)), "{answer}");
    let replayed: Places = (0..ALL).map(|_| late.hear()).map(|event| (offset(&event), event["data"].clone())).collect();
    assert_eq!(replayed, live, "replay");
    let page = late.ask(json!({"type": "history", "room": "hall", "before": 151, "limit": 100}));
    let page = page["messages"].as_array().unwrap().iter().map(|event| (offset(event), event["data"].clone()));
    assert_eq!(page.collect::<Places>(), live.range(51..151).map(|(at, data)| (*at, data.clone())).collect());
    running.stop().unwrap();
}

fn enters(address: SocketAddr, n: u64) -> Person {
    let mut person = Person::comes(address, &format!("publisher{n}"));
    person.join("hall");
    person
}

/// Says so many things, each acknowledged; gives the place of everything it knows of, its own by the acks.
fn talks(mut person: Person, n: u64) -> Places {
    let mut places = Places::new();
    for saying in 0..EACH {
        let data = json!([n, saying]);
        let answer = person.publish("hall", data.clone());
        assert_eq!(places.insert(offset(&answer), data), None, "{answer}");
    }
    while (places.len() as u64) < ALL {
        let message = person.next(&["message", "gap"]);
        assert_eq!(places.insert(offset(&message), message["data"].clone()), None, "{message}");
    }
    places
}

/// A seat that speaks MessagePack.
fn packed_listener(address: SocketAddr) -> Raw {
    let bearer = format!("Authorization: Bearer {}", token("packed", FAR_FUTURE, None));
    let raw = Raw::ask(address, "/ws", &["Sec-WebSocket-Protocol: throng.v1.msgpack", &bearer]);
    let mut raw = raw.switched();
    let mut join = Vec::new();
    let command = CommandOut::Join { room: "hall", since: None, history: None, presence: false };
    write_command(&mut join, Encoding::MessagePack, Some(1), &command);
    raw.send_frame(FrameKind::Binary, &join);
    // The welcome and the answer.
    for _ in 0..2 {
        assert_eq!(raw.frame().unwrap().0, 2);
    }
    raw
}

fn packed(raw: &mut Raw) -> Places {
    let mut places = Places::new();
    while (places.len() as u64) < ALL {
        let (opcode, payload) = raw.frame().unwrap();
        if opcode != 2 {
            continue;
        }
        let event = read_event(Encoding::MessagePack, &payload).unwrap();
        let ServerEvent::Message(message) = event else { panic!("{event:?}") };
        // Two small integers: an array of two in one byte, and each in one.
        let &[0x92, n, saying] = message.data.raw() else { panic!("{:?}", message.data.raw()) };
        places.insert(message.offset.0, json!([n, saying]));
    }
    places
}

/// Everybody waits for the answer of the one before, in rooms that are at home on this shard and that.
#[test]
fn what_is_said_after_an_answer_stands_behind_it_whoever_says_it() {
    let (running, _handed) = serve(2, small());
    let mut people: Vec<Person> = (0..8).map(|n| Person::comes(running.address(), &format!("relay{n}"))).collect();
    for room in ["a", "b", "c", "d"] {
        let mut last = 0;
        for n in 0..200 {
            let answer = people[n % 8].publish(room, n);
            assert!(offset(&answer) > last, "{answer} was said after {last} was acknowledged");
            last = offset(&answer);
        }
        assert_eq!(last, 200);
    }
    running.stop().unwrap();
}

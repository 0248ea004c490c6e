//! Pages of what was said, asked for from either end, without a seat.

use serde_json::{Value, json};
use throng::base::Limits;

use crate::person::{Person, offset};
use crate::support::{FAR_FUTURE, serve, small, token};

fn offsets(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    messages.iter().map(offset).collect()
}

#[test]
fn pages_from_both_ends_meet_and_hold_everything_once() {
    const SAID: u64 = 250;
    let limits = Limits { log_messages_max: 200, ..small() };
    let (running, _handed) = serve(2, limits);
    let mut bob = Person::comes(running.address(), "bob");
    for data in 1..=SAID {
        bob.publish("hall", data);
    }
    let grants = json!([{"match": "hall", "can": ["history"]}]);
    let mut ann = Person::comes_with(running.address(), &token("ann", FAR_FUTURE, Some(grants)));
    let newest = ann.ask(json!({"type": "history", "room": "hall", "limit": 1_000}));
    assert_eq!((offset(&newest), offsets(&newest)), (SAID, (151..=250).collect()), "a hundred at most");
    let epoch = newest["epoch"].clone();

    // Back from the newest, to the oldest that is kept.
    let (mut back, mut before) = (Vec::new(), SAID + 1);
    loop {
        let page = ann.ask(json!({"type": "history", "room": "hall", "before": before, "limit": 30}));
        assert!(page["gap"].is_null(), "{page}");
        let page = offsets(&page);
        let Some(first) = page.first() else { break };
        assert!(*first < before, "{first} is not further back than {before}");
        (before, back) = (*first, [page, back].concat());
    }
    assert_eq!(back, (51..=250).collect::<Vec<_>>());

    // On from before everything: what is gone is said, once, and the rest is there.
    let (mut on, mut since) = (Vec::new(), 0);
    loop {
        let position = json!({"epoch": epoch, "offset": since});
        let page = ann.ask(json!({"type": "history", "room": "hall", "since": position, "limit": 70}));
        let gap = if since == 0 { json!({"from": 1, "to": 50, "why": "retention"}) } else { Value::Null };
        assert_eq!(page["gap"], gap);
        let page = offsets(&page);
        let Some(last) = page.last() else { break };
        assert!(*last > since, "{last} does not go on from {since}");
        since = *last;
        on.extend(page);
    }
    assert_eq!(on, back);
    let beyond = ann.ask(json!({"type": "history", "room": "hall", "before": 51}));
    assert_eq!(offsets(&beyond), [0; 0]);
    assert_eq!(ann.ask(json!({"type": "history", "room": "yard"}))["code"], "forbidden");
    let nowhere = bob.ask(json!({"type": "history", "room": "yard"}));
    assert_eq!((&nowhere["epoch"], offset(&nowhere), offsets(&nowhere)), (&Value::Null, 0, vec![]));
    running.stop().unwrap();
}

/// Regression: what was published with an `id` was never in the history of any later join of the same connection.
#[test]
fn own_words_from_before_a_join_are_part_of_its_history() {
    let (running, _handed) = serve(2, small());
    let mut ann = Person::comes(running.address(), "ann");
    let mut bob = Person::comes(running.address(), "bob");
    // Of two shards both may be the room's home.
    for room in ["hall", "yard", "attic", "cellar"] {
        ann.publish(room, 1);
        bob.publish(room, 2);
        // While she sits there the answer is her receipt.
        let joined = ann.seated(json!({"type": "join", "room": room, "history": 50}));
        assert_eq!([ann.hear(), ann.hear()].map(|message| offset(&message)), [1, 2], "{room}: {joined}");
        ann.publish(room, 3);
        bob.publish(room, 4);
        assert_eq!(offset(&ann.hear()), 4, "{room}");
        ann.ask(json!({"type": "leave", "room": room}));
        ann.publish(room, 5);
        let since = json!({"epoch": joined["epoch"], "offset": 1});
        ann.seated(json!({"type": "join", "room": room, "since": since}));
        assert_eq!([(); 4].map(|()| offset(&ann.hear())), [2, 3, 4, 5], "{room}: all later ones");
        assert_eq!(ann.heard_by_now(), [Value::Null; 0], "{room}");
    }
    running.stop().unwrap();
}

//! Promise 2: a member gets every offset, or a gap says which are missing and why.

use serde_json::{Value, json};
use throng::base::Limits;
use throng::shard::Count;

use crate::person::{Person, offset};
use crate::support::until::until;
use crate::support::{serve, small};

#[test]
fn what_the_log_has_no_longer_is_said_by_one_gap_and_the_rest_follows() {
    let (running, _handed) = serve(2, Limits { log_messages_max: 10, ..small() });
    let mut bob = Person::comes(running.address(), "bob");
    let epoch = bob.publish("hall", 1)["epoch"].clone();
    for data in 2..=50 {
        assert_eq!(offset(&bob.publish("hall", data)), data);
    }
    let joins = |epoch: &Value, at: u64| {
        let mut ann = Person::comes(running.address(), "ann");
        let since = json!({"epoch": epoch, "offset": at});
        let answer = ann.seated(json!({"type": "join", "room": "hall", "since": since}));
        (ann, answer["recovered"].clone())
    };
    let gap = |from: u64, to: u64, why: &str| json!({"type": "gap", "room": "hall", "epoch": epoch, "from": from, "to": to, "why": why});
    let (mut ann, recovered) = joins(&epoch, 40);
    assert_eq!((recovered, offset(&ann.hear())), (json!(true), 41), "to the last one that is kept");
    let (mut ann, recovered) = joins(&epoch, 5);
    assert_eq!((recovered, ann.hear()), (json!(false), gap(6, 40, "retention")));
    assert_eq!((41..=50).map(|_| offset(&ann.hear())).collect::<Vec<_>>(), (41..=50).collect::<Vec<_>>());
    bob.publish("hall", 51);
    assert_eq!(offset(&ann.hear()), 51, "and live from there");
    // A room of another life has nothing to do with that position.
    let (mut ann, recovered) = joins(&json!("0123456789abcdef"), 5);
    let told = ann.hear();
    assert_eq!((recovered, &told["why"], &told["epoch"]), (json!(false), &json!("epoch"), &epoch), "{told}");
    running.stop().unwrap();
}

/// Ann hears nothing for so long that the log has moved on, then reads everything there is.
#[test]
fn a_reader_who_fell_behind_hears_each_offset_or_that_it_is_missing() {
    const KEPT: usize = 20;
    // Nobody is closed for being slow here.
    let limits = Limits { log_messages_max: KEPT, no_progress_ms: 3_600_000, ..small() };
    let (running, _handed) = serve(2, limits);
    let counts = running.counts();
    let count = |count: Count| counts.totals().cells[count.index()];
    let mut ann = Person::comes(running.address(), "ann");
    ann.join("hall");
    let mut bob = Person::comes(running.address(), "bob");
    let long = "x".repeat(40_000);
    let mut said = 0;
    until("ann falls behind", || {
        said = offset(&bob.publish("hall", long.as_str()));
        count(Count::FellBehind) > 0
    });
    // The page that is on its way to her may hold as many as the log, and as many may be in the log when she goes on.
    for _ in 0..5 * KEPT {
        said = offset(&bob.publish("hall", long.as_str()));
    }
    let (mut stands_at, mut gaps) = (0, 0);
    while stands_at < said {
        let event = ann.hear();
        match event["type"].as_str() {
            Some("message") => {
                stands_at += 1;
                assert_eq!(offset(&event), stands_at);
            }
            Some("gap") => {
                assert_eq!((event["from"].as_u64(), &event["why"]), (Some(stands_at + 1), &json!("slow")), "{event}");
                stands_at = event["to"].as_u64().unwrap();
                gaps += 1;
            }
            _ => panic!("{event}"),
        }
    }
    assert_eq!((stands_at, gaps > 0), (said, true), "{gaps} gaps");
    bob.publish("hall", "live again");
    assert_eq!(ann.hear()["data"], "live again");
    running.stop().unwrap();
}

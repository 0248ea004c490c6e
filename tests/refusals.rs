//! Every way to be refused and every way to end, provoked on a real socket: the tables of `docs/errors.md`, lived through.
//!
//! There is no `_` arm: a new variant does not compile until somebody has said how it comes about.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/raw.rs"]
mod raw;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use raw::{Raw, Seen, request};
use serde_json::json;
use support::until::{PATIENCE, until, until_some};
use support::{FAR_FUTURE, Handed, serve_by, small, token};
use throng::base::{Classes, Identity, Limits, Nets, Now, Rate, RoomClass, ShardId};
use throng::runtime::boot::Running;
use throng::shard::{Ask, AskId, Closed, Count, Question, Revocation, Revoked, Rules, Shard};
use throng::wire::{CloseReason, FrameKind, Proxies, Refusal};

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";
const LONG_AGO: u64 = 1_000_000_000;

/// One shard, so that who came first is first.
fn serve(limits: Limits) -> (Running, Handed) {
    serve_by(1, limits, |_| {}, |_| {})
}

fn bearer(user: &str) -> String {
    format!("Authorization: Bearer {}", token(user, FAR_FUTURE, None))
}

/// A session that has read its welcome.
fn open(address: SocketAddr, user: &str) -> Raw {
    let mut raw = Raw::ask(address, "/ws", &[OURS, &bearer(user)]).switched();
    assert!(raw.hear().contains(r#""type":"welcome""#));
    raw
}

/// A session after it said something.
fn after(address: SocketAddr, kind: FrameKind, payload: &[u8]) -> Seen {
    let mut raw = open(address, "ann");
    raw.send_frame(kind, payload);
    raw.end()
}

/// What a table of closes needs: the rules, and what somebody does to be told.
fn provoke(reason: CloseReason) -> (Option<Running>, Seen) {
    let with = |limits: Limits, seen: &dyn Fn(SocketAddr) -> Seen| {
        let (running, _handed) = serve(limits);
        let seen = seen(running.address());
        (Some(running), seen)
    };
    match reason {
        CloseReason::Bye => with(small(), &|at| after(at, FrameKind::Close, &1000_u16.to_be_bytes())),
        CloseReason::GoingAway => going_away(),
        CloseReason::Protocol => with(small(), &|at| {
            let mut raw = open(at, "ann");
            raw.send(b"\x81\x02no");
            raw.end()
        }),
        CloseReason::WrongKind => with(small(), &|at| after(at, FrameKind::Binary, b"\x80")),
        CloseReason::NotUtf8 => with(small(), &|at| after(at, FrameKind::Text, b"\xff")),
        CloseReason::TooBig => {
            with(Limits { message_bytes_max: 100, ..small() }, &|at| after(at, FrameKind::Text, &[b'x'; 101]))
        }
        CloseReason::Busy => with(Limits { grant_sets_bytes_max: 0, ..small() }, &|at| {
            let mut raw = Raw::ask(at, "/ws", &[OURS]).switched();
            let own_grants = token("ann", FAR_FUTURE, Some(json!([{ "match": "a", "can": ["join"] }])));
            raw.say(&format!(r#"{{"type":"hello","token":"{own_grants}"}}"#));
            raw.end()
        }),
        CloseReason::Slow => slow(),
        CloseReason::Silent => {
            with(Limits { heartbeat_ms: 1_000, dead_after_ms: 2_000, ..small() }, &|at| open(at, "ann").end())
        }
        CloseReason::Expired => with(small(), &|at| {
            let expired = format!("{OURS}, throng.token.{}", token("ann", LONG_AGO, None));
            Raw::ask(at, "/ws", &[&expired]).verdict()
        }),
        CloseReason::UserFull => with(Limits { connections_per_user_max: 1, ..small() }, &|at| {
            let first = open(at, "ann");
            let seen = open(at, "ann").end();
            drop(first);
            seen
        }),
        CloseReason::Flooding => {
            let seldom = |rules: &mut Rules| all_rooms(rules, |class| class.publish_rate = ONCE);
            let (running, _handed) = serve_by(1, Limits { strikes_per_minute: 2, ..small() }, seldom, |_| {});
            let mut raw = open(running.address(), "ann");
            for id in 1..=4 {
                raw.say(&format!(r#"{{"type":"publish","id":{id},"room":"a","data":1}}"#));
                let heard = raw.hear();
                assert_eq!(heard.contains("too_often"), id > 1, "{heard}");
            }
            (Some(running), raw.end())
        }
        CloseReason::NoHello => {
            with(Limits { handshake_ms: 1_000, ..small() }, &|at| Raw::ask(at, "/ws", &[OURS]).switched().end())
        }
        CloseReason::Kicked | CloseReason::Banned => sent_away(reason),
        CloseReason::TakenOver => with(small(), &|at| {
            let mut old = Raw::ask(at, "/ws", &[OURS, &bearer("ann")]).switched();
            let welcome: serde_json::Value = serde_json::from_str(&old.hear()).unwrap();
            let mut new = open(at, "ann");
            new.say(&format!(r#"{{"type":"resume","id":1,"session":{}}}"#, welcome["session"]));
            assert_eq!(new.hear(), r#"{"type":"reply","id":1,"resumed":true}"#);
            old.end()
        }),
        CloseReason::BadToken => {
            with(small(), &|at| Raw::ask(at, "/ws", &[OURS, "Authorization: Bearer a.b.c"]).verdict())
        }
        CloseReason::Revoked => {
            let everything = Revocation::Issued { before_unix_s: FAR_FUTURE };
            let born = move |shard: &mut Shard| assert_eq!(shard.revoke(Now::default(), &everything), Revoked::Kept);
            let (running, _handed) = serve_by(1, small(), |_| {}, born);
            let seen = Raw::ask(running.address(), "/ws", &[OURS, &bearer("ann")]).verdict();
            (Some(running), seen)
        }
        CloseReason::Origin => {
            with(small(), &|at| Raw::ask(at, "/ws", &[OURS, &bearer("ann"), "Origin: https://evil.example"]).verdict())
        }
        CloseReason::Version => with(small(), &|at| {
            Raw::ask(at, "/ws", &["Sec-WebSocket-Protocol: throng.v9.json", &bearer("ann")]).verdict()
        }),
        CloseReason::Gone => with(small(), &|at| {
            drop(open(at, "ann"));
            Seen::Nothing
        }),
        CloseReason::Full => with(Limits { connections_per_shard_max: 1, ..small() }, &|at| {
            let _first = open(at, "ann");
            Raw::connect(at).verdict()
        }),
        CloseReason::Restart => {
            let (running, _handed) = serve(small());
            let raw = open(running.address(), "ann");
            running.drain(Duration::from_secs(1));
            (Some(running), raw.end())
        }
        CloseReason::Draining => {
            let (running, _handed) = serve(small());
            // It has a place, so it is answered; that it is there is seen by the tick's count.
            let mut slow = Raw::connect(running.address());
            slow.send(b"GET /ws HTTP/1.1\r\n");
            until("it is read", || running.counts().totals().runtime.reads > 0);
            running.drain(Duration::from_secs(1));
            (Some(running), slow.verdict())
        }
        CloseReason::HandshakesFull => with(Limits { handshakes_pending_max: 1, ..small() }, &|at| {
            let _slow = Raw::connect(at);
            Raw::connect(at).verdict()
        }),
        CloseReason::AddressFull => {
            with(Limits { connections_per_address_max: 1, uncounted: Nets::none(), ..small() }, &|at| {
                let _first = open(at, "ann");
                Raw::connect(at).verdict()
            })
        }
        CloseReason::HandshakeRate => with(
            Limits { handshakes_per_address_per_s: 1, handshake_ms: 1_000, uncounted: Nets::none(), ..small() },
            // One a second is let in, and told after another that it was too slow; the others at once.
            &|at| {
                until_some("somebody is one too many", || {
                    let (_first, second) = (Raw::connect(at), Raw::connect(at));
                    Some(second.verdict()).filter(|seen| !matches!(seen, Seen::Http(408, _)))
                })
            },
        ),
        CloseReason::FailedTooOften => {
            with(Limits { failures_per_address_per_minute: 1, uncounted: Nets::none(), ..small() }, &|at| {
                until_some("an address has failed too often", || {
                    let seen = Raw::ask(at, "/ws", &["Authorization: Bearer no.good.token"]).verdict();
                    Some(seen).filter(|seen| !matches!(seen, Seen::Http(401, _)))
                })
            })
        }
        CloseReason::HandshakeTimeout => with(Limits { handshake_ms: 1_000, ..small() }, &|at| {
            let mut raw = Raw::connect(at);
            raw.send(b"GET /ws HTTP/1.1\r\nHost:");
            raw.verdict()
        }),
        CloseReason::HeadTooLong => {
            with(small(), &|at| Raw::ask(at, "/ws", &[&format!("X: {}", "x".repeat(65 << 10))]).verdict())
        }
        CloseReason::BadHandshake => with(small(), &|at| {
            let mut raw = Raw::connect(at);
            raw.send(request("/ws", &[]).replace("Host: throng.example\r\n", "").as_bytes());
            raw.verdict()
        }),
        CloseReason::BadProxy => {
            let proxied = |rules: &mut Rules| {
                rules.proxies = Proxies { trusted: Nets::loopback(), protocol: true };
            };
            let (running, _handed) = serve_by(1, small(), proxied, |_| {});
            let seen = Raw::ask(running.address(), "/ws", &[&bearer("ann")]).verdict();
            (Some(running), seen)
        }
        CloseReason::HandedOver => {
            let (running, handed) = serve(small());
            let mut raw = Raw::connect(running.address());
            raw.send(b"GET / HTTP/1.1\r\n\r\n");
            drop(handed.recv_timeout(PATIENCE).unwrap());
            (Some(running), raw.verdict())
        }
    }
}

/// By the control plane.
fn sent_away(reason: CloseReason) -> (Option<Running>, Seen) {
    let (running, _handed) = serve(small());
    let raw = open(running.address(), "ann");
    let whom = Closed::User(Identity::new("ann", None).unwrap());
    assert!(running.asks().post(ShardId(0), Ask { id: AskId(1), question: Question::Close { whom, reason } }));
    (Some(running), raw.end())
}

/// The server is gone, and its counters with it.
fn going_away() -> (Option<Running>, Seen) {
    let (running, _handed) = serve(small());
    let raw = open(running.address(), "ann");
    running.stop().unwrap();
    (None, raw.end())
}

/// Ann reads nothing while bob talks; carl hears that she was sent away, and then she reads why.
fn slow() -> (Option<Running>, Seen) {
    let limits = Limits { no_progress_ms: 1_000, close_grace_ms: 600_000, ..small() };
    let at_once = |rules: &mut Rules| all_rooms(rules, |class| class.leave_delay_ms = 0);
    let (running, _handed) = serve_by(1, limits, at_once, |_| {});
    let [mut ann, mut bob, mut carl] = ["ann", "bob", "carl"].map(|user| open(running.address(), user));
    ann.say(r#"{"type":"join","id":1,"room":"a"}"#);
    ann.hear();
    carl.say(r#"{"type":"join","id":1,"room":"b"}"#);
    carl.hear();
    carl.say(r#"{"type":"presence","id":2,"room":"a"}"#);
    assert!(carl.hear().contains(r#""count":1"#));
    let long = "x".repeat(500_000);
    until("ann is sent away", || {
        bob.say(&format!(r#"{{"type":"publish","id":3,"room":"a","data":"{long}"}}"#));
        bob.hear();
        carl.say(r#"{"type":"presence","id":4,"room":"a"}"#);
        carl.hear().contains(r#""count":0"#)
    });
    (Some(running), ann.end())
}

fn closes(cells: &[u64], reason: CloseReason) -> u64 {
    cells[Count::LEN + Refusal::ALL.len() + reason.index()]
}

#[test]
fn every_way_to_end_is_provoked_told_and_counted() {
    for reason in CloseReason::ALL {
        let (running, seen) = provoke(reason);
        match &seen {
            Seen::Close(code, sentence) => {
                assert_eq!(Some(*code), reason.code(), "{reason:?}: {sentence}");
                assert!(!sentence.is_empty() || reason == CloseReason::Bye, "{reason:?}");
            }
            Seen::Http(status, answer) => {
                assert_eq!((Some(*status), None), (reason.http_status(), reason.code()), "{reason:?}: {answer}");
                assert!(answer.contains(&format!(r#""error":"{}""#, reason.name())), "{reason:?}: {answer}");
                let wait = reason.retry_after_s().map(|wait_s| format!("\r\nRetry-After: {wait_s}\r\n"));
                assert!(wait.is_none_or(|wait| answer.contains(&wait)), "{reason:?}: {answer}");
            }
            Seen::Nothing => assert_eq!((reason.code(), reason.http_status()), (None, None), "{reason:?}"),
        }
        let Some(running) = running else { continue };
        // Counts are as of the last tick; a connection is counted when its socket is let go of.
        let counts = running.counts();
        until("it is counted", || closes(&counts.totals().cells, reason) > 0);
        running.stop().unwrap();
    }
}

const ONCE: Rate = Rate { per_minute: 1, burst: 1 };

/// One class for every room.
fn all_rooms(rules: &mut Rules, change: impl Fn(&mut RoomClass)) {
    let mut class = RoomClass::of(&rules.limits);
    change(&mut class);
    rules.classes = Classes::new(&rules.limits, &[("*", class)], None).unwrap();
}

/// What is said to be refused, under which limits and in rooms of which class.
fn refused(refusal: Refusal) -> String {
    let ask = |limits: Limits, rooms: Option<serde_json::Value>, says: &[&str]| {
        let (running, _handed) = serve_by(1, limits, |rules| all_rooms(rules, |class| forbid(refusal, class)), |_| {});
        let mut bob = open(running.address(), "bob");
        bob.say(r#"{"type":"join","id":1,"room":"full"}"#);
        bob.hear();
        let bearer = format!("Authorization: Bearer {}", token("ann", FAR_FUTURE, rooms));
        let mut raw = Raw::ask(running.address(), "/ws", &[OURS, &bearer]).switched();
        raw.hear();
        let mut heard = String::new();
        for text in says {
            raw.say(text);
            heard = raw.hear();
        }
        let counts = running.counts();
        until("it is counted", || counts.totals().cells[Count::LEN + refusal.index()] > 0);
        // It lives.
        raw.say(r#"{"type":"ping","id":77}"#);
        assert_eq!(raw.hear(), r#"{"type":"reply","id":77}"#);
        running.stop().unwrap();
        heard
    };
    let join = r#"{"type":"join","id":1,"room":"a"}"#;
    match refusal {
        Refusal::Malformed => ask(small(), None, &["{}"]),
        Refusal::UnknownCommand => ask(small(), None, &[r#"{"type":"dance","id":2}"#]),
        Refusal::Unsupported => ask(small(), None, &[r#"{"type":"hello","id":2,"token":"x"}"#]),
        Refusal::BadRoom => ask(small(), None, &[r#"{"type":"leave","id":2,"room":"no room"}"#]),
        Refusal::Forbidden => ask(small(), Some(json!([])), &[join]),
        Refusal::AlreadyJoined => ask(small(), None, &[join, join]),
        Refusal::NotJoined => ask(small(), None, &[r#"{"type":"leave","id":2,"room":"a"}"#]),
        Refusal::TooManyRooms => {
            let second = r#"{"type":"join","id":2,"room":"b"}"#;
            ask(Limits { rooms_per_connection_max: 1, ..small() }, None, &[join, second])
        }
        Refusal::Unportable => ask(small(), None, &[r#"{"type":"publish","id":2,"room":"a","data":1e999}"#]),
        Refusal::TooDeep => {
            let deep = r#"{"type":"publish","id":2,"room":"a","data":[[1]]}"#;
            ask(Limits { depth_max: 1, ..small() }, None, &[deep])
        }
        Refusal::Busy => {
            let another_set = token("ann", FAR_FUTURE, Some(json!([{ "match": "a", "can": ["join"] }])));
            let refresh = format!(r#"{{"type":"refresh","id":2,"token":"{another_set}"}}"#);
            ask(Limits { grant_sets_bytes_max: 0, ..small() }, None, &[&refresh])
        }
        Refusal::TooOften => {
            let publish = r#"{"type":"publish","id":2,"room":"a","data":1}"#;
            ask(small(), None, &[publish, publish])
        }
        Refusal::TooLong | Refusal::RoomFull | Refusal::KeyReused => of_classes(refusal, &ask),
        Refusal::BadToken => ask(small(), None, &[r#"{"type":"refresh","id":2,"token":"a.b.c"}"#]),
        Refusal::OtherUser => {
            let bob = token("bob", FAR_FUTURE, None);
            ask(small(), None, &[&format!(r#"{{"type":"refresh","id":2,"token":"{bob}"}}"#)])
        }
    }
}

type Asks<'a> = &'a dyn Fn(Limits, Option<serde_json::Value>, &[&str]) -> String;

/// What only a class of rooms can forbid; `ask` knows the class by then.
fn of_classes(refusal: Refusal, ask: Asks<'_>) -> String {
    let keyed = |data: &str| format!(r#"{{"type":"publish","id":2,"room":"a","key":"k","data":{data}}}"#);
    if refusal == Refusal::RoomFull {
        return ask(small(), None, &[r#"{"type":"join","id":2,"room":"full"}"#]);
    }
    if refusal == Refusal::TooLong {
        return ask(small(), None, &[r#"{"type":"publish","id":2,"room":"a","data":"xxxxxxxxx"}"#]);
    }
    ask(small(), None, &[&keyed("1"), &keyed("2")])
}

/// Makes a class under which a refusal comes about.
fn forbid(refusal: Refusal, class: &mut RoomClass) {
    if refusal == Refusal::TooOften {
        class.publish_rate = ONCE;
    }
    if refusal == Refusal::TooLong {
        class.message_bytes_max = 10;
    }
    class.seats_max = u32::from(refusal == Refusal::RoomFull);
}

#[test]
fn every_refusal_is_provoked_and_counted_and_the_connection_lives() {
    for refusal in Refusal::ALL {
        let heard = refused(refusal);
        assert!(heard.contains(r#""type":"error""#), "{refusal:?}: {heard}");
        assert!(heard.contains(&format!(r#""code":"{}""#, refusal.code())), "{refusal:?}: {heard}");
        // How long is said for each case.
        let wait = refusal.retry_after_ms().filter(|_| refusal != Refusal::TooOften);
        let wait = wait.map(|wait_ms| format!(r#""retry_after_ms":{wait_ms}"#));
        assert!(refusal != Refusal::TooOften || heard.contains("retry_after_ms"), "{heard}");
        assert!(wait.is_none_or(|wait| heard.contains(&wait)), "{refusal:?}: {heard}");
    }
}

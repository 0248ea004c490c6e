//! People who never finish their request and requests that never end, while verified users go on: nobody inside loses a
//! message, nobody new is kept out, and the attackers are sent away. How long it takes is not asked here
//! (`tuning/measure/attack` asks).

#[path = "support/raw.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod raw;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::net::SocketAddr;
use std::thread::scope;

use raw::{Raw, Seen};
use support::until::until;
use support::{FAR_FUTURE, hear, open, say, serve, small, token};
use throng::base::Limits;
use throng::wire::CloseReason;

const SLOW: usize = 60;
const BOMBERS: usize = 4;
const BOMBS_EACH: usize = 8;
const PEOPLE: usize = 10;
const ROUNDS: usize = 30;

#[test]
fn who_is_inside_loses_nothing_while_others_hammer_at_the_door() {
    // Large enough that the bombers' heads lie about, small enough that they are felt.
    let limits = Limits { handshake_ms: 5_000, heads_bytes_max: 256 << 10, slots_per_ring: 256, ..small() };
    let (running, _handed) = serve(2, limits);
    let address = running.address();
    let mut people: Vec<_> =
        (0..PEOPLE).map(|n| open(address, &token(&format!("user{n}"), FAR_FUTURE, None))).collect();
    for person in &mut people {
        say(person, r#"{"type":"join","id":1,"room":"hall"}"#);
        hear(person);
    }
    let slow: Vec<Raw> = (0..SLOW).map(|n| trickle(address, n)).collect();
    scope(|scope| {
        let bombers: Vec<_> = (0..BOMBERS).map(|_| scope.spawn(|| throw(address))).collect();
        for round in 0..ROUNDS {
            let speaker = round % PEOPLE;
            say(&mut people[speaker], &format!(r#"{{"type":"publish","room":"hall","data":{round},"echo":true}}"#));
            for person in &mut people {
                let heard = hear(person);
                assert!(
                    heard.contains(&format!(r#""offset":{}"#, round + 1))
                        && heard.ends_with(&format!(r#""data":{round}}}"#)),
                    "{heard}"
                );
            }
            // Somebody new comes in each round, attack or not.
            drop(open(address, &token(&format!("new{round}"), FAR_FUTURE, None)));
        }
        for bomber in bombers {
            for seen in bomber.join().unwrap() {
                // An answer, or a reset that overtook it: a bomb that is still being thrown when the socket closes.
                assert!(matches!(seen, Seen::Http(431 | 503, _) | Seen::Nothing), "{seen:?}");
            }
        }
    });
    for one in slow {
        assert!(matches!(one.verdict(), Seen::Http(408, _)));
    }
    let ends = |reason: CloseReason| {
        let cells = running.counts().totals().cells;
        cells[throng::shard::Count::LEN + throng::wire::Refusal::ALL.len() + reason.index()]
    };
    until("all who attacked are counted", || {
        let bombs = ends(CloseReason::HeadTooLong) + ends(CloseReason::HandshakesFull);
        ends(CloseReason::HandshakeTimeout) >= SLOW as u64 && bombs >= (BOMBERS * BOMBS_EACH) as u64
    });
    say(&mut people[0], r#"{"type":"presence","id":2,"room":"hall"}"#);
    assert!(hear(&mut people[0]).contains(r#""count":10"#), "nobody inside was sent away");
    running.stop().unwrap();
}

/// A request that stops somewhere in the middle.
fn trickle(address: SocketAddr, number: usize) -> Raw {
    let mut raw = Raw::connect(address);
    raw.send(&b"GET /ws HTTP/1.1\r\nHost: throng.example\r\nX-Slow: yes"[..number % 50]);
    raw
}

/// Headers without end, again and again.
fn throw(address: SocketAddr) -> Vec<Seen> {
    let bomb: String = (0..400).map(|n| format!("X-{n}: {}\r\n", "x".repeat(500))).collect();
    let once = || {
        let mut raw = Raw::connect(address);
        raw.send(format!("GET /ws HTTP/1.1\r\nHost: throng.example\r\n{bomb}").as_bytes());
        raw.verdict()
    };
    (0..BOMBS_EACH).map(|_| once()).collect()
}

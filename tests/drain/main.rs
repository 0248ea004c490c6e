//! A server leaves and another takes over, with real processes and people who go on talking.

mod crowd;
mod figures;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod process;
#[path = "../support/raw.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod raw;
mod revoking;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crowd::{Crowd, Plan};
use figures::HandOver;
use process::{Server, free_address};
use support::until::{connect, patient, until};
use support::{FAR_FUTURE, hear, open, say, serve_at, small, token};
use throng::base::Limits;
use tungstenite::Message;

const CROWD: Plan = Plan { people: 150, rooms: 30, pace_ms: 50 };

#[test]
fn everybody_comes_back_to_the_next_server_and_no_acknowledged_message_is_missing_for_those_who_stayed() {
    let address = free_address();
    let old = Server::start(address, &["--shards", "2", "--node", "old", "--drain-budget-ms", "6000"]);
    let crowd = Crowd::gather(address, CROWD);
    crowd.wait_until("everybody is heard on the old server", |sign| sign.node == "old" && sign.acks > 2);
    let new = Server::start(address, &["--shards", "2", "--node", "new", "--drain-budget-ms", "1000", "--takeover"]);
    let told = crowd.now();
    old.signal("TERM");
    assert_eq!(old.ended().code(), Some(0));
    crowd.wait_until("everybody is heard on the new server", |sign| sign.node == "new" && sign.acks > 2);
    let lives = crowd.disperse();
    assert_eq!(lives.len(), 2 * CROWD.people, "one life on each server");
    crowd::judge(&lives, told).must_be_good();
    new.signal("INT");
    assert_eq!(new.ended().code(), Some(0), "SIGINT is as good as SIGTERM");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start(free_address(), &["--shards", "1", "--drain-budget-ms", "3600000"]);
    let mut ann = open(server.address, &token("ann", FAR_FUTURE, None));
    server.signal("TERM");
    let drain = hear(&mut ann);
    assert!(drain.starts_with(r#"{"type":"drain","reconnect_in_ms":"#), "{drain}");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(1));
    assert!(ann.read().is_err(), "cut off without a goodbye");
}

#[test]
fn a_second_server_needs_to_say_that_it_takes_over() {
    let server = Server::start(free_address(), &["--shards", "1"]);
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(["serve", "--listen", &server.address.to_string(), "--admin-listen", "127.0.0.1:0"])
        .env("THRONG_JWT_HS256_SECRET", process::SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("--takeover"), "{said}");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

/// Somebody looks at the admin address all the time while a server leaves and the next one takes over.
#[test]
fn operators_are_always_answered_and_by_the_next_server_as_soon_as_one_leaves() {
    let (address, admin) = (free_address(), free_address().to_string());
    // An hour: nothing here happens because the time is over.
    let options = |more: &[&'static str]| {
        let own = ["--shards", "1", "--drain-budget-ms", "3600000", "--admin-listen"].map(str::to_owned);
        [&own[..], std::slice::from_ref(&admin), &more.iter().map(ToString::to_string).collect::<Vec<_>>()].concat()
    };
    let start = |more: &[&'static str]| {
        let options = options(more);
        Server::start(address, &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let old = start(&[]);
    let ann = open(address, &token("ann", FAR_FUTURE, None));
    let (over, looked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _over = Raised(&over);
        let look = || {
            while !over.load(Ordering::Relaxed) {
                is_ready(&admin);
                looked.fetch_add(1, Ordering::Relaxed);
            }
        };
        let looker = std::thread::Builder::new().spawn_scoped(scope, look).unwrap();
        until("it is looked at", || looked.load(Ordering::Relaxed) > 10);
        let new = start(&["--takeover"]);
        old.signal("TERM");
        // With both at the address the old one would answer every other time that it leaves.
        let mut in_a_row = 0;
        until("the next server alone answers", || {
            in_a_row = if is_ready(&admin) { in_a_row + 1 } else { 0 };
            in_a_row == 40
        });
        // Only ann keeps the old one here.
        drop(ann);
        assert_eq!(old.ended().code(), Some(0));
        let before = looked.load(Ordering::Relaxed);
        until("it is looked at again", || looked.load(Ordering::Relaxed) > before + 10);
        // Nobody takes over from this one: it goes on answering, and says why not to come.
        let bob = open(address, &token("bob", FAR_FUTURE, None));
        new.signal("TERM");
        until("it says that it leaves", || !is_ready(&admin));
        assert!(!is_ready(&admin), "and goes on saying so");
        over.store(true, Ordering::Relaxed);
        looker.join().unwrap();
        drop(bob);
        assert_eq!(new.ended().code(), Some(0));
    });
}

/// Raises a flag when it goes, also by a panic: threads of a scope that go on until then would keep the panic waiting.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What `/readyz` says on a connection of its own, which must be taken and answered.
fn is_ready(admin: &str) -> bool {
    let mut stream = patient(TcpStream::connect(admin).expect("somebody listens"));
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("nobody is reset");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("everybody is answered");
    let ready = answer.starts_with("HTTP/1.1 200 ");
    let has_a_reason = ["draining", "starting"].iter().any(|reason| answer.contains(reason));
    assert!(ready || answer.starts_with("HTTP/1.1 503 ") && has_a_reason, "{answer:?}");
    ready
}

/// Two data planes share an address, one leaves, and newcomers come all the time: none is reset or refused.
#[test]
fn newcomers_are_never_reset_while_a_door_closes() {
    let (old, _handed) = support::serve(2, small());
    let address = old.address();
    let (new, _handed) = serve_at(address, 2, small(), u64::MAX, true).unwrap();
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let newcomers: Vec<_> = (0..4)
        .map(|number| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            let head = format!(
                "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
                token(&format!("newcomer{number}"), FAR_FUTURE, None)
            );
            std::thread::Builder::new()
                .spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let mut stream = patient(TcpStream::connect(address).expect("nobody is refused"));
                        stream.write_all(head.as_bytes()).expect("nobody is reset");
                        let mut status = [0; 12];
                        stream.read_exact(&mut status).expect("everybody is answered");
                        assert!([b"HTTP/1.1 101", b"HTTP/1.1 503"].contains(&&status), "{status:?}");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .unwrap()
        })
        .collect();
    until("newcomers are served", || served.load(Ordering::Relaxed) > 200);
    old.drain(Duration::from_secs(2));
    old.join().unwrap();
    let before = served.load(Ordering::Relaxed);
    until("they are served by the next", || served.load(Ordering::Relaxed) > before + 200);
    over.store(true, Ordering::Relaxed);
    for newcomer in newcomers {
        newcomer.join().unwrap();
    }
    new.stop().unwrap();
}

#[test]
fn whoever_does_not_go_is_cut_off_when_the_budget_is_spent() {
    // Ten years: only the budget ends what they hold.
    let for_ever = Limits { close_grace_ms: 10 * 365 * 86_400_000, handshake_ms: 10 * 365 * 86_400_000, ..small() };
    let (running, _handed) = support::serve(1, for_ever);
    let mut silent = open(running.address(), &token("ann", FAR_FUTURE, None));
    let mut half = connect(running.address());
    half.write_all(b"GET /ws HT").unwrap();
    running.drain(Duration::from_secs(1));
    // She never answers the close frame; he never finishes his request.
    let leaving = std::thread::Builder::new().spawn(move || running.join()).unwrap();
    until("the budget is spent", || leaving.is_finished());
    leaving.join().unwrap().unwrap();
    assert!(hear(&mut silent).contains(r#""type":"drain""#));
    let goodbye = silent.read().unwrap();
    assert!(matches!(&goodbye, Message::Close(Some(frame)) if u16::from(frame.code) == 1012), "{goodbye:?}");
    let mut answer = String::new();
    match half.read_to_string(&mut answer) {
        Ok(_) => assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("draining"), "{answer}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn what_was_said_before_the_goodbye_is_answered_on_the_same_socket() {
    let (running, _handed) = support::serve(2, small());
    let mut ann = open(running.address(), &token("ann", FAR_FUTURE, None));
    // Rooms of both shards: the answers come from here and from next door. All of it waits in the socket before the
    // server hears that it shall leave, so it is read before any slot can come.
    for id in 1..=8 {
        say(&mut ann, &format!(r#"{{"type":"publish","id":{id},"room":"room{id}","data":1}}"#));
    }
    running.drain(Duration::from_secs(1));
    let (mut answered, mut code) = (0, None);
    while code.is_none() {
        let message = ann.read().unwrap();
        if let Message::Close(frame) = message {
            code = frame.map(|frame| u16::from(frame.code));
            continue;
        }
        let text = message.to_text().unwrap();
        let is_answer = text.contains(r#""type":"reply""#);
        assert!(is_answer || text.contains(r#""type":"drain""#), "{text}");
        answered += u32::from(is_answer);
    }
    assert_eq!((answered, code), (8, Some(1012)));
    drop(ann);
    running.join().unwrap();
}

/// The same with a crowd, and figures: `./tuning/measure/drain` runs it, many times, and ends it if it hangs.
#[test]
#[ignore = "it takes a minute and the whole machine: ./tuning/measure/drain runs it"]
fn a_crowd_is_handed_over() {
    let people = number("THRONG_DRAIN_PEOPLE").unwrap_or(5_000);
    let budget_s = number("THRONG_DRAIN_BUDGET_S").unwrap_or(30);
    throng::runtime::host::raise_open_files().unwrap();
    let plan = Plan { people, rooms: people.div_ceil(5), pace_ms: 1_000 };
    let (address, budget) = (free_address(), format!("{budget_s}000"));
    let old = Server::start(address, &["--node", "old", "--drain-budget-ms", &budget]);
    let crowd = Crowd::gather(address, plan);
    crowd.wait_until("everybody is heard on the old server", |sign| sign.node == "old" && sign.acks > 4);
    let _new = Server::start(address, &["--node", "new", "--drain-budget-ms", "1000", "--takeover"]);
    let told_ms = crowd.now();
    old.signal("TERM");
    let exit_code = old.ended().code();
    let ended_ms = crowd.now();
    crowd.wait_until("everybody is heard on the new server", |sign| sign.node == "new" && sign.acks > 2);
    let lives = crowd.disperse();
    let judged = crowd::judge(&lives, told_ms);
    let hand_over = HandOver { lives: &lives, judged: &judged, told_ms, ended_ms, exit_code, budget_s };
    // First of all the figures: they are wanted most where something was not good.
    println!("figures {}", hand_over.figures());
    assert_eq!(exit_code, Some(0));
    judged.must_be_good();
    // Whoever runs this has the machine for itself; where it is slower than that, the figures say so.
    let back_ms = hand_over.back_after_slot_ms();
    assert_eq!(back_ms.len(), people, "everybody came back");
    let latest_ms = back_ms.last().copied().unwrap_or(0);
    assert!(latest_ms <= BACK_WITHIN_MS, "somebody came back {latest_ms} ms after its slot");
    let left_ms = ended_ms - told_ms;
    assert!(left_ms <= budget_s as u64 * 1_000 + 2_000, "it left within its budget, or nearly: {left_ms} ms");
}

/// A tick, a fence, a connect and a handshake among hundreds a second.
const BACK_WITHIN_MS: u64 = 3_000;

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own: the size comes from outside")]
fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

//! Who is stopped or unplugged disappears from its rooms; who is merely silent and answers does not.

#[path = "process/mod.rs"]
#[expect(dead_code, reason = "only signals are sent here; the server is a value in this process")]
mod process;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use support::{FAR_FUTURE, hear, open, say, serve, small, token};
use throng::base::Limits;
use throng::shard::{Count, Counters};
use throng::wire::CloseReason;

#[test]
fn a_stopped_process_leaves_its_rooms_and_one_that_answers_pings_stays() {
    let limits = Limits { heartbeat_ms: 1_000, dead_after_ms: 4_000, ..small() };
    let (running, _handed) = serve(2, limits);
    let mut ann = open(running.address(), &token("ann", FAR_FUTURE, None));
    say(&mut ann, r#"{"type":"join","id":1,"room":"hall","presence":true}"#);
    assert!(hear(&mut ann).contains(r#""type":"reply""#));

    // This very program, once more, as somebody who sits in the room and answers pings.
    let mut bob = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_client_that_will_be_stopped"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(bob.stdin.take().unwrap(), "{} {}", running.address(), token("bob", FAR_FUTURE, None)).unwrap();
    // News of her own coming may be first.
    while !hear(&mut ann).contains(r#"{"user":"bob"}"#) {}

    // Many heartbeats long it says nothing but pongs, as ann does, and stays.
    let counts = running.counts();
    let cell = |at: usize| counts.totals().cells[at];
    ann.get_mut().set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
    while cell(Count::Pings.index()) < 12 {
        match ann.read() {
            Ok(message) => assert!(message.is_ping(), "{message:?}"),
            Err(tungstenite::Error::Io(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(cell(Counters::CLOSES_AT + CloseReason::Silent.index()), 0);

    process::signal(bob.id(), "STOP");
    ann.get_mut().set_read_timeout(None).unwrap();
    let left = loop {
        let message = ann.read().unwrap();
        if message.is_text() {
            break message.into_text().unwrap().to_string();
        }
    };
    assert!(left.contains(r#""type":"left""#) && left.contains(r#""user":"bob""#), "{left}");
    while cell(Counters::CLOSES_AT + CloseReason::Silent.index()) == 0 {
        std::thread::yield_now();
    }
    bob.kill().unwrap();
    bob.wait().unwrap();
    running.stop().unwrap();
}

/// Not a test: what the test above starts, with address and token on its standard input.
#[test]
#[ignore = "it is started by another test, which says where to connect"]
fn the_client_that_will_be_stopped() {
    let stdin = std::io::stdin();
    let mut line = String::new();
    if stdin.is_terminal() || stdin.lock().read_line(&mut line).unwrap() == 0 {
        return;
    }
    let (address, token) = line.trim_end().split_once(' ').unwrap();
    let mut socket = open(address.parse().unwrap(), token);
    say(&mut socket, r#"{"type":"join","id":1,"room":"hall"}"#);
    while socket.read().is_ok() {}
}

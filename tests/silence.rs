//! Who is stopped or unplugged disappears from its rooms, who is merely silent and answers does not; and what the others
//! are told of those who are away, type and read, over real sockets and shards.

#[path = "process/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only signals are sent here; the server is a value in this process")]
mod process;
mod support;

use std::io::{BufRead, IsTerminal, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::until::{PATIENCE, until};
use support::{FAR_FUTURE, hear, open, say, serve, serve_by, small, token};
use throng::base::{Classes, Limits, RoomClass};
use throng::shard::{Count, Counters};
use throng::wire::CloseReason;
use tungstenite::WebSocket;

#[test]
fn a_stopped_process_leaves_its_rooms_and_one_that_answers_pings_stays() {
    // Long enough for a client that gets no core for a while.
    let limits = Limits { heartbeat_ms: 1_000, dead_after_ms: 12_000, ..small() };
    // More than are sent to two people until they are dead.
    let many_pings = 3 * limits.dead_after_ms / limits.heartbeat_ms;
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
    until("bob is here", || hear(&mut ann).contains(r#"{"user":"bob"}"#));

    // Longer than the dead are waited for it says nothing but pongs, as ann does, and stays.
    let counts = running.counts();
    let cell = |at: usize| counts.totals().cells[at];
    ann.get_mut().set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
    until("many were asked whether they live", || {
        match ann.read() {
            Ok(message) => assert!(message.is_ping(), "{message:?}"),
            Err(tungstenite::Error::Io(_)) => {}
            Err(error) => panic!("{error}"),
        }
        cell(Count::Pings.index()) >= many_pings
    });
    assert_eq!(cell(Counters::CLOSES_AT + CloseReason::Silent.index()), 0);

    process::signal(bob.id(), "STOP");
    ann.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
    let away = loop {
        let message = ann.read().unwrap();
        if message.is_text() {
            break message.into_text().unwrap().to_string();
        }
    };
    assert!(away.contains(r#""type":"away""#) && away.contains(r#""user":"bob""#), "{away}");
    until("it is counted", || cell(Counters::CLOSES_AT + CloseReason::Silent.index()) > 0);
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

/// Nine connections in a room whose home is one of two shards, wherever the kernel has put them.
#[test]
fn people_on_two_shards_hear_who_is_away_who_types_and_who_has_read() {
    let (running, _handed) = serve_by(
        2,
        small(),
        |rules| {
            let class = RoomClass { leave_delay_ms: 3_600_000, typing_ms: 600_000, ..RoomClass::of(&rules.limits) };
            rules.classes = Classes::new(&rules.limits, &[("hall", class)], None).unwrap();
        },
        |_| {},
    );
    let enters = |user: &str, presence: bool| {
        let mut socket = open(running.address(), &token(user, FAR_FUTURE, None));
        say(&mut socket, &format!(r#"{{"type":"join","id":1,"room":"hall","presence":{presence}}}"#));
        let seated = hears(&mut socket, &[r#""type":"reply""#]);
        assert!(seated.contains(r#""read":0"#), "{seated}");
        socket
    };
    let mut people: Vec<_> = (0..8).map(|n| enters(&format!("u{n}"), true)).collect();
    for socket in &mut people {
        say(socket, r#"{"type":"presence","id":2,"room":"hall"}"#);
        hears(socket, &[r#""id":2"#, r#""count":8"#]);
    }

    drop(people.remove(7));
    for socket in &mut people {
        hears(socket, &[r#""type":"away""#, r#""user":"u7""#, r#""count":8"#]);
    }
    people.push(enters("u7", true));
    for socket in &mut people[..7] {
        hears(socket, &[r#""type":"back""#, r#""user":"u7""#, r#""count":8"#]);
    }

    say(&mut people[1], r#"{"type":"typing","room":"hall","on":true}"#);
    for socket in &mut people {
        hears(socket, &[r#""type":"typing""#, r#""user":"u1""#, r#""count":1"#]);
    }
    say(&mut people[1], r#"{"type":"publish","room":"hall","data":"so"}"#);
    for socket in &mut people {
        // What people do is told with the tick, and may be before the message that ended it.
        let mut missing =
            vec![[r#""type":"message""#, r#""data":"so""#], [r#""type":"typing""#, r#""users":[],"count":0"#]];
        while !missing.is_empty() {
            let heard = hear(socket);
            missing.retain(|words| !words.iter().all(|word| heard.contains(word)));
        }
    }

    let mut elsewhere = enters("u2", false);
    say(&mut people[2], r#"{"type":"read","room":"hall","offset":1}"#);
    for socket in people.iter_mut().chain([&mut elsewhere]) {
        hears(socket, &[r#""type":"read""#, r#"{"user":"u2","offset":1}"#]);
    }
    say(&mut elsewhere, r#"{"type":"unread","id":3,"room":"hall"}"#);
    hears(&mut elsewhere, &[r#""id":3"#, r#""offset":1,"read":1,"unread":0"#]);
    say(&mut people[3], r#"{"type":"unread","id":3,"room":"hall"}"#);
    hears(&mut people[3], &[r#""id":3"#, r#""read":0,"unread":1"#]);
    say(&mut people[3], r#"{"type":"presence","id":4,"room":"hall"}"#);
    hears(&mut people[3], &[r#""id":4"#, r#""presence":"announced""#, r#""reads":[{"user":"u2","offset":1}]"#]);
    running.stop().unwrap();
}

/// The next event that holds all these words.
fn hears(socket: &mut WebSocket<TcpStream>, words: &[&str]) -> String {
    loop {
        let heard = hear(socket);
        if words.iter().all(|word| heard.contains(word)) {
            return heard;
        }
    }
}

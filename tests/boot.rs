//! The data plane as a whole, on real executors: start, serve, sleep, stop.

#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use support::until::{PATIENCE, connect, until, until_some};
use support::{FAR_FUTURE, hear, open, say, serve, small, token, try_serve, try_serve_few};
use throng::base::Limits;
use throng::runtime::Given;
use throng::runtime::boot::BootError;
use throng::runtime::engine::Engine;
use throng::shard::Rules;
use throng::wire::{Claims, Grants, TokenVerifier, sign_hs256};
use tungstenite::{Message, WebSocket};

#[test]
fn what_is_not_a_websocket_is_handed_over_with_what_was_read() {
    let (running, handed) = serve(2, small());
    // More than one ring of each shard, one after the other and at once.
    let clients: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut client = connect(running.address());
            write!(client, "GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        })
        .collect();
    for _ in &clients {
        let Given { mut socket, read, client } = handed.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client, None, "nobody here is a trusted proxy");
        let head = String::from_utf8(read.to_vec()).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(head, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        socket.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{path}").as_bytes()).unwrap();
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("HTTP/1.0 200 OK\r\n\r\n/{number}"));
    }
    running.stop().unwrap();
}

#[test]
fn people_on_different_shards_hear_each_other_and_a_stop_ends_everything() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    // With 24 people nobody doubts that both shards have some.
    let mut people: Vec<WebSocket<TcpStream>> = (0..24).map(|number| join(address, &format!("user{number}"))).collect();
    for number in 0..people.len() {
        say(&mut people[number], &format!(r#"{{"type":"publish","room":"hall","data":{number},"echo":true}}"#));
        for person in &mut people {
            let heard = hear(person);
            assert!(
                heard.contains(r#""type":"message""#) && heard.ends_with(&format!(r#""data":{number}}}"#)),
                "{heard}"
            );
        }
    }
    // Counts are as of the last tick.
    let counts = running.counts();
    until("all are counted, and a shard has slept", || {
        counts.totals().runtime.sockets >= 24 && counts.totals().runtime.sleeps > 0
    });
    let totals = counts.totals();
    assert_eq!((totals.gauges.sessions, totals.runtime.accepted), (24, 24));
    assert!(totals.runtime.parcels > 0, "both shards had people");
    assert_eq!((totals.runtime.overflows, totals.runtime.stale, totals.runtime.broken), (0, 0, 0));

    running.stop().unwrap();
    for person in &mut people {
        let goodbye = person.read().unwrap();
        assert!(matches!(&goodbye, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{goodbye:?}");
        let mut nothing = [0; 1];
        let end = person.get_mut().read(&mut nothing).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    }
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_full_shard_answers_503_and_a_place_that_is_left_is_given_again() {
    let (running, _handed) = serve(1, Limits { connections_per_shard_max: 10, ..small() });
    let mut people: Vec<_> = (0..10).map(|number| join(running.address(), &format!("user{number}"))).collect();
    let mut late = connect(running.address());
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    for round in 0..30 {
        // Counts are as of the last tick: what is read must be news before it proves anything.
        until("it is full", || running.counts().totals().runtime.sockets >= 10);
        drop(people.remove(0));
        until("a place is left", || running.counts().totals().runtime.sockets <= 9);
        people.push(join(running.address(), &format!("late{round}")));
    }
    assert_eq!(running.counts().totals().runtime.rings, 2);
    drop(people);
    until("the second ring is given back", || running.counts().totals().runtime.rings <= 1);
    running.stop().unwrap();
}

#[test]
fn a_bound_on_the_whole_process_is_reached_to_the_last_place_whatever_shard_the_kernel_chooses() {
    const MAX: usize = 25;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (running, _handed) = try_serve_few(listen, 3, small(), MAX as u64).unwrap();
    let address = running.address();
    // Three shards have 25 places; the kernel's hash gives no shard exactly its third of them.
    let mut people: Vec<_> = (0..MAX).map(|number| join(address, &format!("user{number}"))).collect();
    let refused = || {
        let mut answer = String::new();
        connect(address).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    };
    refused();
    for round in 0..10 {
        drop(people.remove(0));
        // A place is free when its shard has let go of the socket; until then everybody is told to try again.
        people.push(join_at_last(address, &format!("late{round}")));
        refused();
    }
    running.places().set_max(MAX as u64 - 5);
    people.truncate(MAX - 5);
    drop(people.pop());
    people.push(join_at_last(address, "last"));
    refused();
    running.stop().unwrap();
}

#[test]
fn new_rules_reach_every_shard_even_the_sleeping() {
    let (running, _handed) = serve(3, small());
    let address = running.address();
    drop(open(address, &token("ann", FAR_FUTURE, None)));
    let secret = b"another secret of thirty-two bytes";
    let verifier = Arc::new(TokenVerifier::hs256(secret, &small()));
    let rules = Rules::new(small(), verifier, Grants::nothing());
    running.rules_change().tell(Arc::new(rules));
    let new = sign_hs256(secret, &Claims { sub: "ann", exp: FAR_FUTURE, info: None, rooms: None }).unwrap();
    // With 24 visits nobody doubts that each of the shards was asked.
    for _ in 0..24 {
        until("the new key is good", || is_welcome(address, &new));
    }
    assert!((0..24).all(|_| is_welcome(address, &new) && !is_welcome(address, &token("ann", FAR_FUTURE, None))));
    running.stop().unwrap();
}

fn is_welcome(address: SocketAddr, token: &str) -> bool {
    knock(address, token).is_some()
}

/// `None`: turned away.
fn knock(address: SocketAddr, token: &str) -> Option<WebSocket<TcpStream>> {
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/ws?token={token}"), connect(address)).ok()?;
    assert!(hear(&mut socket).contains(r#""type":"welcome""#));
    Some(socket)
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let refused = try_serve(taken.local_addr().unwrap(), 2, small());
    assert!(matches!(refused, Err(BootError::Taken { .. })));

    // Another throng is no exception: the kernel would share the port and split the rooms in two.
    let (first, _handed) = try_serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 2, small()).unwrap();
    let second = try_serve(first.address(), 2, small());
    assert!(matches!(second, Err(BootError::Taken { .. })));
    first.stop().unwrap();

    let nobody = try_serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 0, small());
    assert!(matches!(nobody, Err(BootError::NoShards)));
}

/// Slots are descriptors to io_uring only. The second shard fails like the first, and both are joined.
#[test]
fn io_uring_does_not_start_with_more_slots_than_the_process_may_have_files() {
    let slots_per_ring = u16::MAX;
    let open_files = throng::runtime::resource_limit(throng::runtime::Resource::OpenFiles).unwrap().soft;
    let skipped = match support::engine() {
        Engine::Epoll => Some("slots are no descriptors on epoll".to_owned()),
        Engine::IoUring if open_files >= u64::from(slots_per_ring) => Some(format!("{open_files} files may be open")),
        Engine::IoUring => None,
    };
    if let Some(why) = skipped {
        // Past the harness, which keeps to itself what a test prints that passes.
        writeln!(std::io::stderr(), "skipped: io_uring_does_not_start_with_more_slots…: {why}").unwrap();
        return;
    }
    let limits = Limits { slots_per_ring, ..Limits::default() };
    let refused = try_serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 2, limits);
    assert!(matches!(refused, Err(BootError::Shard { .. })));
}

/// Like `join`, as often as it takes: who is answered 503 comes again.
fn join_at_last(address: SocketAddr, user: &str) -> WebSocket<TcpStream> {
    let token = token(user, FAR_FUTURE, None);
    let mut socket = until_some("there is a place", || knock(address, &token));
    sit_down(&mut socket);
    socket
}

/// Opens a session and sits down in `hall`.
fn join(address: SocketAddr, user: &str) -> WebSocket<TcpStream> {
    let mut socket = open(address, &token(user, FAR_FUTURE, None));
    sit_down(&mut socket);
    socket
}

fn sit_down(socket: &mut WebSocket<TcpStream>) {
    say(socket, r#"{"type":"join","id":1,"room":"hall"}"#);
    let reply = hear(socket);
    assert!(reply.contains(r#""type":"reply""#), "{reply}");
}

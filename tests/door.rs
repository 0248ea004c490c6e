//! Who is let in, and what the others are told, on real sockets.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::{FAR_FUTURE, SECRET, hear, open, say, serve, serve_by, small, token};
use throng::base::{Encoding, Limits, Now};
use throng::shard::{Rules, Shard};
use throng::wire::client::{CommandOut, ServerEvent, read_event, write_command};
use throng::wire::{Origins, TokenVerifier};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderValue, Request};
use tungstenite::{Message, WebSocket};

const LONG_AGO: u64 = 1_000_000_000;

fn request(address: SocketAddr, query: &str) -> Request<()> {
    format!("ws://{address}/ws{query}").into_client_request().unwrap()
}

fn connect(address: SocketAddr, request: Request<()>) -> WebSocket<TcpStream> {
    tungstenite::client(request, support::until::connect(address)).unwrap().0
}

/// The close code and reason that end a completed upgrade.
fn closed(mut socket: WebSocket<TcpStream>) -> (u16, String) {
    loop {
        let message = socket.read().unwrap();
        if let Message::Close(Some(frame)) = message {
            return (frame.code.into(), frame.reason.to_string());
        }
        assert!(message.is_text(), "{message:?}");
    }
}

/// Sends an upgrade with these header lines added.
fn ask(address: SocketAddr, query: &str, extra: &str) -> TcpStream {
    let mut stream = support::until::connect(address);
    write!(
        stream,
        "GET /ws{query} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    )
    .unwrap();
    stream
}

/// The first line of an answer.
fn first_line(stream: TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// The status line and body of a plain HTTP answer.
fn answered(address: SocketAddr, extra: &str) -> (String, String) {
    let mut answer = String::new();
    ask(address, "", extra).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn every_carrier_of_a_token_lets_in_and_two_that_disagree_do_not() {
    let (running, _handed) = serve(2, small());
    let (address, ann) = (running.address(), token("ann", FAR_FUTURE, None));
    let mut by_header = request(address, "");
    by_header.headers_mut().insert("Authorization", HeaderValue::from_str(&format!("Bearer {ann}")).unwrap());
    let mut by_subprotocol = request(address, "");
    let offer = HeaderValue::from_str(&format!("throng.v1.json, throng.token.{ann}")).unwrap();
    by_subprotocol.headers_mut().insert("Sec-WebSocket-Protocol", offer);
    let by_query = request(address, &format!("?token={ann}"));
    for request in [by_header, by_subprotocol, by_query] {
        let welcome = hear(&mut connect(address, request));
        assert!(welcome.contains(r#""type":"welcome""#) && welcome.contains(r#""user":"ann""#), "{welcome}");
    }
    let mut twice = request(address, &format!("?token={ann}"));
    let bob = format!("throng.v1.json, throng.token.{}", token("bob", FAR_FUTURE, None));
    twice.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_str(&bob).unwrap());
    let (code, reason) = closed(connect(address, twice));
    assert_eq!(code, 4503, "{reason}");
    running.stop().unwrap();
}

#[test]
fn a_browser_is_told_by_a_close_code_and_a_terminal_by_http() {
    let (running, _handed) = serve(2, small());
    let address = running.address();
    let forged = format!("{}x", token("ann", FAR_FUTURE, None));
    for (offer, expected) in [
        (format!("throng.v1.json, throng.token.{}", token("ann", LONG_AGO, None)), 4003),
        (format!("throng.v1.msgpack, throng.token.{forged}"), 4503),
        (format!("throng.v9.cbor, throng.token.{}", token("ann", FAR_FUTURE, None)), 4505),
    ] {
        let mut request = request(address, "");
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_str(&offer).unwrap());
        let (code, reason) = closed(connect(address, request));
        assert!(code == expected && !reason.is_empty(), "{expected}: got {code} {reason}");
        assert!(!reason.contains("eyJ"), "no token in a reason: {reason}");
    }
    for (extra, status, word) in [
        (String::new(), "401", "no token"),
        (format!("Authorization: Bearer {forged}\r\n"), "401", "signature"),
        (format!("Authorization: Bearer {}\r\n", token("ann", LONG_AGO, None)), "401", "expired"),
    ] {
        let (line, body) = answered(address, &extra);
        assert!(line.contains(status) && body.contains(word), "{status} {word}: {line} {body}");
        assert!(!body.contains("eyJ"), "no token in an answer: {body}");
    }
    running.stop().unwrap();
}

#[test]
fn who_brings_no_token_may_say_hello_first() {
    let (running, _handed) = serve(2, small());
    for offer in ["throng.v1.json", "throng.v1.msgpack"] {
        let mut request = request(running.address(), "");
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(offer));
        let mut socket = connect(running.address(), request);
        let encoding = if offer.ends_with("json") { Encoding::Json } else { Encoding::MessagePack };
        let (ann, mut hello) = (token("ann", FAR_FUTURE, None), Vec::new());
        write_command(&mut hello, encoding, Some(7), &CommandOut::Hello { token: &ann, session: None });
        socket
            .send(match encoding {
                Encoding::Json => Message::text(String::from_utf8(hello).unwrap()),
                Encoding::MessagePack => Message::binary(hello),
            })
            .unwrap();
        let welcome = socket.read().unwrap().into_data();
        let ServerEvent::Welcome(welcome) = read_event(encoding, &welcome).unwrap() else { panic!("{welcome:?}") };
        assert_eq!(welcome.user, "ann");
        let reply = socket.read().unwrap().into_data();
        assert!(matches!(read_event(encoding, &reply), Ok(ServerEvent::Reply(reply)) if reply.id == 7));
    }
    running.stop().unwrap();
}

#[test]
fn of_many_who_present_one_ticket_at_once_on_all_shards_one_is_let_in() {
    const TICKETS: usize = 4;
    let (sender, tickets) = channel();
    let ann = token("ann", FAR_FUTURE, None);
    let limits = Limits { ticket_ms: 3_600_000, ..small() };
    let verified = TokenVerifier::hs256(SECRET, &limits).verify(&ann, LONG_AGO).unwrap();
    let mint = move |shard: &mut Shard| {
        for _ in 0..TICKETS {
            drop(sender.send(shard.make_ticket(Now::default(), verified.clone()).unwrap().to_string()));
        }
    };
    let (running, _handed) = serve_by(2, limits, |_| {}, mint);
    for ticket in tickets.iter().take(2 * TICKETS) {
        let query = format!("?ticket={ticket}");
        let asked: Vec<TcpStream> = (0..12).map(|_| ask(running.address(), &query, "")).collect();
        let answers: Vec<String> = asked.into_iter().map(first_line).collect();
        let of = |status: &str| answers.iter().filter(|line| line.contains(status)).count();
        assert_eq!((of("101"), of("401")), (1, 11), "{answers:?}");
    }
    running.stop().unwrap();
}

#[test]
fn pages_are_let_in_by_their_origin_and_a_cookie_speaks_for_listed_ones_only() {
    let adjust = |rules: &mut Rules| {
        rules.origins = Origins::parse(&["https://app.example", "same-host"]).unwrap();
        rules.carriers.cookie = Some("session".to_owned());
    };
    let (running, _handed) = serve_by(2, small(), adjust, |_| {});
    let ann = token("ann", FAR_FUTURE, None);
    let (bearer, cookie) = (format!("Authorization: Bearer {ann}\r\n"), format!("Cookie: a=b; session={ann}\r\n"));
    for (lines, status) in [
        (format!("{bearer}Origin: https://app.example\r\n"), "101"),
        (format!("{bearer}Origin: https://h\r\n"), "101"),
        (bearer.clone(), "101"),
        (format!("{bearer}Origin: null\r\n"), "403"),
        (format!("{bearer}Origin: https://app.example:8443\r\n"), "403"),
        (format!("{cookie}Origin: https://app.example\r\n"), "101"),
        (format!("{cookie}Origin: https://h\r\n"), "401"),
        (cookie.clone(), "401"),
        (format!("{cookie}{bearer}Origin: https://app.example\r\n"), "101"),
        (format!("{cookie}Authorization: Bearer other\r\nOrigin: https://app.example\r\n"), "401"),
    ] {
        let line = first_line(ask(running.address(), "", &lines));
        assert!(line.contains(status), "{status}: {line}");
    }
    running.stop().unwrap();
}

#[test]
fn a_token_grants_what_it_names_and_nothing_else() {
    let (running, _handed) = serve(2, small());
    let rooms = json!([{ "match": "chat:*", "can": ["join"] }, { "match": "box:{user}", "can": ["join", "publish"] }]);
    let mut ann = open(running.address(), &token("ann", FAR_FUTURE, Some(rooms)));
    let mut ask = |command: &str| {
        say(&mut ann, command);
        hear(&mut ann)
    };
    assert!(ask(r#"{"type":"join","id":1,"room":"chat:a"}"#).contains(r#""type":"reply""#));
    assert!(ask(r#"{"type":"join","id":2,"room":"box:ann"}"#).contains(r#""type":"reply""#));
    assert!(ask(r#"{"type":"publish","id":3,"room":"box:ann","data":1}"#).contains(r#""offset":1"#));
    for refused in [
        r#"{"type":"publish","id":4,"room":"chat:a","data":1}"#,
        r#"{"type":"join","id":5,"room":"box:bob"}"#,
        r#"{"type":"join","id":6,"room":"chat:b","presence":true}"#,
        r#"{"type":"join","id":7,"room":"chat:b","history":5}"#,
        r#"{"type":"presence","id":8,"room":"chat:a"}"#,
    ] {
        let answer = ask(refused);
        assert!(answer.contains(r#""code":"forbidden""#), "{refused}: {answer}");
    }
    running.stop().unwrap();
}

#[test]
fn a_session_ends_when_its_token_does() {
    let limits = Limits { token_leeway_s: 0, ..small() };
    let (running, _handed) = serve(1, limits);
    #[expect(clippy::disallowed_methods, reason = "a token's life is counted by the wall clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (code, _) = closed(open(running.address(), &token("ann", now + 2, None)));
    assert_eq!(code, 4003);
    running.stop().unwrap();
}

//! Who is let in, and what the others are told, on real sockets.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::{FAR_FUTURE, hear, open, say, serve, small, token};
use throng::base::Limits;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderValue, Request};
use tungstenite::{Message, WebSocket};

const LONG_AGO: u64 = 1_000_000_000;

fn request(address: SocketAddr, query: &str) -> Request<()> {
    format!("ws://{address}/ws{query}").into_client_request().unwrap()
}

fn connect(address: SocketAddr, request: Request<()>) -> WebSocket<TcpStream> {
    tungstenite::client(request, TcpStream::connect(address).unwrap()).unwrap().0
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

/// The status line and body of a plain HTTP answer.
fn answered(address: SocketAddr, extra: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
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
        ("throng.v1.json".to_owned(), 4503),
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

//! Plain requests on the public listener: a shard reads how they begin, and the control plane gets them whole.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::server::{Server, connect};

/// Everything that comes back until the server closes; a reset would fail it.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What operators see is on the public listener, and there alone.
fn start() -> Server {
    Server::with(&["--admin-listen", "off", "--admin-on-public"], true)
}

/// Regression: a shard went on reading what it had handed over already; all behind the first 8 KiB was lost.
#[test]
fn a_request_longer_than_one_read_arrives_whole() {
    let server = start();
    let body = format!(r#"{{"room":"lobby","data":"{}"}}"#, "x".repeat(20_000));
    let request = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        server.key,
        body.len()
    );
    for offset in 1..=20 {
        let answer = ask(server.public, &request);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(&format!(r#""offset":{offset}"#)), "{answer}");
    }
}

/// The first is answered whole, though more than one read lies unread behind it, and nothing else is said.
#[test]
fn of_many_requests_on_one_connection_the_first_is_answered_and_the_rest_by_nothing() {
    let server = start();
    let many = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300);
    for _ in 0..20 {
        let answer = ask(server.public, &many);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
}

#[test]
fn on_the_admin_listener_a_connection_serves_one_request_after_the_other() {
    let server = Server::start();
    let last = "GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer =
        ask(server.admin.unwrap(), &["GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".repeat(300), last.into()].concat());
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 301, "{answer}");
}

//! The control plane on real sockets of this host: handed over with bytes already read, as a shard does it.

use std::net::{Shutdown, TcpListener};

use bytes::Bytes;

use super::*;
use crate::base::Nets;
use crate::wire::{Origins, Proxies};

const REQUEST_END: &str = "Host: localhost\r\n\r\n";

fn start(dev: bool) -> (Control, HandOver) {
    start_with(dev, false)
}

fn start_with(dev: bool, admin_on_public: bool) -> (Control, HandOver) {
    start_looking(dev, admin_on_public, Arc::new(|| Standing { life: Life::Serving, ..Standing::starting() }))
}

fn start_looking(dev: bool, admin_on_public: bool, look: Look) -> (Control, HandOver) {
    let mint: Mint =
        Arc::new(|user| if user == "nobody" { Err("no such user".to_owned()) } else { Ok(format!("jwt-{user}")) });
    let scrape: Scrape = Arc::new(|| vec![Family::single("websocket_connections", "Open", Kind::Gauge, 7)]);
    let admin_rules = AdminRules {
        keys: Vec::new(),
        message_bytes_max: 1_000,
        depth_max: 8,
        revocations_max: 8,
        revocation_life_s: 60,
    };
    let proxies = Proxies { trusted: Nets::parse(&["127.0.0.1"]).unwrap(), protocol: false };
    let front: FrontDoor = Arc::new(move || (Origins::default(), proxies.clone()));
    let dev = dev.then_some(mint);
    let config = ControlConfig {
        scrape,
        front,
        admin: None,
        admin_on_public,
        admin_rules,
        look,
        watchdog: None,
        dev,
        sharing: None,
    };
    let (control, handover, _desk) = Control::start(config).unwrap();
    (control, handover)
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Somebody who does not go on after half a head, and is served all the same.
fn hold(handover: &HandOver, client: Option<IpAddr>) -> TcpStream {
    let (socket, server) = pair();
    handover.give(Given { socket: server, read: Bytes::from_static(b"GET /healthz HT"), client });
    // They are taken in one after the other: whoever is given after this one is looked at after it.
    while handover.queue.capacity() < HANDED_WAITING_MAX {
        std::thread::yield_now();
    }
    socket
}

/// Sends `request`, of which the shard has read the first `read` bytes, and gives everything that comes back.
fn ask(handover: &HandOver, request: &str, read: usize) -> String {
    let (mut client, mut server) = pair();
    client.write_all(request.as_bytes()).unwrap();
    let mut bytes = vec![0; read];
    server.read_exact(&mut bytes).unwrap();
    handover.give(Given { socket: server, read: Bytes::from(bytes), client: None });
    // Either may fail after the server has closed: what came until then is the answer.
    let _closed = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ended = client.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(handover: &HandOver, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{REQUEST_END}");
    ask(handover, &request, request.len() / 2)
}

fn assert_answer(answer: &str, status: &str, parts: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
}

#[test]
fn every_route_answers_and_the_rest_is_404_as_json() {
    let (control, handover) = start(false);
    assert_answer(&get(&handover, "/healthz"), "200", &["\r\n\r\nok\n"]);
    let upgrade = get(&handover, "/ws");
    assert_answer(&upgrade, "426", &["upgrade: websocket", r#""error":"upgrade_required""#, "throng.v1.json"]);
    for path in
        ["/", "/metrics", "/readyz", "/api/v1/rooms", "/page.js", "/dev/token?user=ann", "/../etc/passwd", "/ws/x"]
    {
        assert_answer(&get(&handover, path), "404", &["application/json", r#""error":"not_found""#]);
    }
    let request = format!("POST /healthz HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{REQUEST_END}");
    assert_answer(&ask(&handover, &request, 5), "405", &[r#""error":"method""#]);
    drop(handover);
    control.join();
}

#[test]
fn a_shard_that_stands_still_makes_the_house_ill_and_not_ready() {
    let silent_ms = Arc::new(AtomicU64::new(STALLED_MS - 1));
    let seen = Arc::clone(&silent_ms);
    let look: Look = Arc::new(move || Standing {
        life: Life::Serving,
        silent_ms: vec![0, seen.load(Ordering::Relaxed)],
        ..Standing::starting()
    });
    let (control, handover) = start_looking(false, true, look);
    assert_answer(&get(&handover, "/healthz"), "200", &["\r\n\r\nok\n"]);
    assert_answer(&get(&handover, "/readyz"), "200", &[r#"{"ready":true,"reasons":[]}"#]);
    silent_ms.store(7_200, Ordering::Relaxed);
    let why = r#""reasons":[{"reason":"stalled","message":"shard 1 has not turned for 7 s"}]}"#;
    let no_store = "cache-control: no-store";
    assert_answer(&get(&handover, "/healthz"), "503", &["application/json", no_store, r#"{"healthy":false,"#, why]);
    assert_answer(&get(&handover, "/readyz"), "503", &["application/json", no_store, r#"{"ready":false,"#, why]);
    silent_ms.store(0, Ordering::Relaxed);
    assert_answer(&get(&handover, "/healthz"), "200", &["\r\n\r\nok\n"]);
    drop(handover);
    control.join();
}

#[test]
fn the_dev_page_is_strict_and_mints_tokens_for_this_host_only() {
    let (control, handover) = start(true);
    let page = get(&handover, "/");
    assert_answer(&page, "200", &["text/html", "content-security-policy: default-src 'none'", "nosniff", "/page.js"]);
    for path in ["/page.js", "/throng.js", "/page.css", "/throng.svg"] {
        assert_answer(&get(&handover, path), "200", &["content-security-policy"]);
    }
    assert_answer(&get(&handover, "/dev/token?user=a%20b"), "200", &[r#"{"token":"jwt-a b"}"#, "no-store"]);
    assert_answer(&get(&handover, "/dev/token?user=nobody"), "400", &["no such user"]);
    assert_answer(&get(&handover, "/dev/token"), "400", &["?user=ann"]);
    let rebound = "GET /dev/token?user=ann HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n";
    assert_answer(&ask(&handover, rebound, 7), "403", &["throng token --user"]);
    drop(handover);
    control.join();
}

#[test]
fn a_token_is_minted_for_this_host_and_not_for_whoever_is_behind_a_proxy_on_it() {
    let (control, handover) = start(true);
    let ask_for = |hops: &str| {
        let request = format!(
            "GET /dev/token?user=ann HTTP/1.1\r\nConnection: close\r\nX-Forwarded-For: {hops}\r\n{REQUEST_END}"
        );
        ask(&handover, &request, 3)
    };
    assert_answer(&ask_for("127.0.0.1"), "200", &["jwt-ann"]);
    assert_answer(&ask_for("127.0.0.1, 203.0.113.9"), "403", &["this host only"]);
    // Named by a PROXY header.
    let (mut client, server) = pair();
    let request = format!("GET /dev/token?user=ann HTTP/1.1\r\nConnection: close\r\n{REQUEST_END}");
    handover.give(Given { socket: server, read: Bytes::from(request), client: Some([203, 0, 113, 9].into()) });
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_answer(&answer, "403", &["this host only"]);
    drop(handover);
    control.join();
}

#[test]
fn pages_of_allowed_origins_may_read_public_answers_and_nobody_the_figures() {
    let (control, handover) = start_with(false, true);
    let ask_from = |method: &str, path: &str, origin: &str| {
        let more = if method == "OPTIONS" { "Access-Control-Request-Method: GET\r\n" } else { "" };
        let request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nOrigin: {origin}\r\n{more}{REQUEST_END}");
        ask(&handover, &request, 3)
    };
    let (own, foreign) = ("http://localhost", "http://evil.example");
    let allow = "access-control-allow-origin";
    assert_answer(
        &ask_from("GET", "/healthz", own),
        "200",
        &["access-control-allow-origin: http://localhost\r\n", "vary: Origin"],
    );
    let answer = ask_from("GET", "/healthz", foreign);
    assert_answer(&answer, "200", &["vary: Origin"]);
    assert!(!answer.contains(allow), "{answer}");
    assert_answer(&ask_from("OPTIONS", "/healthz", own), "204", &[allow, "access-control-allow-methods: GET, POST"]);
    let answer = ask_from("OPTIONS", "/healthz", foreign);
    assert_answer(&answer, "403", &[r#""error":"origin""#]);
    assert!(!answer.contains(allow), "{answer}");
    for origin in [own, "null", foreign] {
        let answer = ask_from("GET", "/metrics", origin);
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains(allow), "{answer}");
    }
    drop(handover);
    control.join();
}

/// A proxy that keeps connections would send the upgrade by the one that the health check came by.
#[test]
fn a_connection_is_closed_behind_its_first_answer_and_a_later_upgrade_is_not_refused_by_it() {
    let (control, handover) = start(false);
    let first = format!("GET /healthz HTTP/1.1\r\nConnection: keep-alive\r\n{REQUEST_END}");
    let upgrade = format!("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{REQUEST_END}");
    let both = first.clone() + &upgrade;
    for read in [0, 1, first.len() - 1, first.len(), first.len() + 3, both.len()] {
        let answer = ask(&handover, &both, read);
        assert_answer(&answer, "200", &["\r\nconnection: close\r\n"]);
        assert!(answer.ends_with("\r\n\r\nok\n"), "nothing stands behind it: {answer}");
    }
    assert_answer(&ask(&handover, &upgrade, 9), "426", &["connection: upgrade, close\r\n"]);
    drop(handover);
    control.join();
}

#[test]
fn what_is_no_http_is_not_answered_with_more_than_400() {
    let (control, handover) = start(false);
    for garbage in ["\0\0\0\0", "GET", "\r\n\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}tls hello"] {
        let answer = ask(&handover, garbage, 1);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{garbage:?}: {answer}");
    }
    assert_answer(&get(&handover, "/healthz"), "200", &["ok"]);
    drop(handover);
    control.join();
}

#[test]
fn connections_beyond_the_bound_are_told_busy_and_room_comes_back() {
    let (control, handover) = start(false);
    let idle: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| hold(&handover, None)).collect();
    let busy = get(&handover, "/healthz");
    assert_answer(&busy, "503", &["retry-after: 1", r#""error":"busy""#]);
    let (head, body) = busy.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{busy}");
    drop(idle);
    // The thread learns of the closed ones in its own time: ask until it has.
    while get(&handover, "/healthz").starts_with("HTTP/1.1 503") {}
    drop(handover);
    control.join();
}

#[test]
fn one_address_cannot_hold_all_the_connections_there_are() {
    let (control, handover) = start(false);
    let ask_as = |client: [u8; 4]| {
        let (mut socket, server) = pair();
        let request = format!("GET /healthz HTTP/1.1\r\n{REQUEST_END}");
        handover.give(Given { socket: server, read: Bytes::from(request), client: Some(client.into()) });
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).unwrap();
        answer
    };
    let one = IpAddr::from([203, 0, 113, 5]);
    let held: Vec<TcpStream> = (0..guests::PER_ADDRESS_MAX).map(|_| hold(&handover, Some(one))).collect();
    assert_eq!(&ask_as([203, 0, 113, 5]), b"HTTP/1.1 503");
    assert_eq!(&ask_as([203, 0, 113, 6]), b"HTTP/1.1 200");
    drop(held);
    // The thread learns of the closed ones in its own time.
    while &ask_as([203, 0, 113, 5]) != b"HTTP/1.1 200" {}
    drop(handover);
    control.join();
}

#[test]
fn a_socket_given_after_the_end_is_answered_and_closed() {
    let (queue, handed) = mpsc::channel(1);
    let handover = HandOver { queue, refused: Arc::new(AtomicU64::new(0)) };
    drop(handed);
    assert_answer(&get(&handover, "/healthz"), "503", &["busy"]);
    assert_eq!(handover.refused.load(Ordering::Relaxed), 1);
}

//! What is revoked while one server takes over from another holds on both, and the next one remembers it.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use throng::control::NewKey;
use throng::wire::token::{Algorithm, sign_hmac};
use tungstenite::{Message, WebSocket};
use ureq::Agent;

use crate::process::{SECRET, Server, free_address};
use crate::raw::{Raw, Seen};
use crate::support::until::until;
use crate::support::{FAR_FUTURE, hear};

/// Servers of one address, and the key of their API.
struct House {
    address: SocketAddr,
    key: NewKey,
    agent: Agent,
}

impl House {
    fn new() -> Self {
        let key = NewKey::draw().expect("the system gives randomness");
        let agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        Self { address: free_address(), key, agent }
    }

    fn start(&self, node: &str, more: &[&str]) -> Server {
        let key = format!("backend={}", self.key.sha256);
        let own = ["--shards", "2", "--node", node, "--drain-budget-ms", "1000", "--api-key-sha256", &key];
        Server::start(self.address, &[&own, more].concat())
    }

    /// By this server's API; the answer.
    fn revokes(&self, at: &Server, body: &Value) -> Value {
        let request = self.agent.post(format!("http://{}/api/v1/revoke", at.admin));
        let request = request.header("authorization", format!("Bearer {}", self.key.text));
        let text = request.send(body.to_string()).expect("a 200").body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    fn metric(&self, at: &Server, name: &str) -> String {
        let url = format!("http://{}/metrics", at.admin);
        let text = self.agent.get(url).call().expect("a 200").body_mut().read_to_string().expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
    }

    /// Comes until the kernel has sent it to that server.
    fn sits_at(&self, node: &str, token: &str) -> WebSocket<TcpStream> {
        loop {
            let stream = TcpStream::connect(self.address).expect("a listening server");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");
            let url = format!("ws://{}/ws?token={token}", self.address);
            let (mut socket, _) = tungstenite::client(url, stream).expect("a good token is let in");
            if hear(&mut socket).contains(&format!(r#""node":"{node}""#)) {
                return socket;
            }
        }
    }

    /// So often that, with two of them, no server was missed.
    fn is_refused(&self, token: &str) {
        for _ in 0..64 {
            let seen = Raw::ask(self.address, &format!("/ws?token={token}"), &[OURS]).verdict();
            assert!(matches!(seen, Seen::Close(4500, _)), "{seen:?}");
        }
    }
}

fn token(user: &str, jti: Option<&str>) -> String {
    let mut claims = json!({"sub": user, "exp": FAR_FUTURE});
    if let Some(jti) = jti {
        claims["jti"] = jti.into();
    }
    sign_hmac(Algorithm::Hs256, None, SECRET.as_bytes(), &claims).expect("good claims")
}

/// Whoever sits in no room hears heartbeats at most: some of them, and it is not closed.
fn closed(mut socket: WebSocket<TcpStream>) -> u16 {
    for _ in 0..HEARTBEATS {
        match socket.read().expect("a close frame") {
            Message::Close(Some(frame)) => return frame.code.into(),
            Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
            other @ (Message::Close(None) | Message::Frame(_)) => panic!("{other:?}"),
        }
    }
    panic!("it is not closed")
}

fn ends(server: Server) {
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn what_is_revoked_holds_on_both_servers_of_a_take_over_and_on_the_next_one() {
    let house = House::new();
    let done = json!({"remembered": true, "complete": true});
    let early = token("early", Some("before the take-over"));
    let (ann, bob) = (token("ann", Some("ann's")), token("bob", None));
    let old = house.start("old", &[]);
    let sat = house.sits_at("old", &early);
    assert_eq!(house.revokes(&old, &json!({"jti": "before the take-over"})), done);
    assert_eq!(closed(sat), 4500);
    let new = house.start("new", &["--takeover"]);
    house.is_refused(&early);
    let (at_old, at_new) = (house.sits_at("old", &ann), house.sits_at("new", &bob));
    assert_eq!([&old, &new].map(|server| house.metric(server, "throng_siblings")), ["1", "1"]);
    assert_eq!(house.revokes(&old, &json!({"user": "bob"})), done);
    assert_eq!(closed(at_new), 4500, "asked of the old one, done by the new one");
    assert_eq!(house.revokes(&new, &json!({"jti": "ann's"})), done);
    assert_eq!(closed(at_old), 4500, "asked of the new one, done by the old one");
    for token in [&early, &ann, &bob] {
        house.is_refused(token);
    }
    ends(old);
    // Whatever stands behind the address now is the new one.
    for token in [&early, &ann, &bob] {
        house.is_refused(token);
    }
    let cyd = house.sits_at("new", &token("cyd", None));
    assert_eq!(house.revokes(&new, &json!({"user": "cyd"})), done);
    assert_eq!(closed(cyd), 4500);
    for gauge in ["throng_siblings", "throng_siblings_missing"] {
        assert_eq!(house.metric(&new, gauge), "0", "{gauge}");
    }
    // What the first one told the second, the second tells the third.
    let next = house.start("next", &["--takeover"]);
    ends(new);
    for token in [&early, &ann, &bob, &token("cyd", None)] {
        house.is_refused(token);
    }
    ends(next);
    // A server that takes over from nobody begins with nothing.
    let clean = house.start("clean", &[]);
    for token in [&early, &ann, &bob] {
        drop(house.sits_at("clean", token));
    }
    assert_eq!(house.revokes(&clean, &json!({"everybody": true})), done);
    house.is_refused(&ann);
    ends(clean);
}

#[test]
fn a_server_that_stands_still_makes_a_revocation_incomplete_and_does_it_when_it_goes_on() {
    let house = House::new();
    let old = house.start("old", &[]);
    let new = house.start("new", &["--takeover"]);
    let ann = token("ann", None);
    let sat = house.sits_at("old", &ann);
    old.signal("STOP");
    assert_eq!(house.revokes(&new, &json!({"user": "ann"})), json!({"remembered": false, "complete": false}));
    assert_eq!(house.metric(&new, "throng_revocations_unshared_total"), "1");
    old.signal("CONT");
    assert_eq!(closed(sat), 4500);
    assert_eq!(house.revokes(&new, &json!({"user": "ann"})), json!({"remembered": true, "complete": true}));
    house.is_refused(&ann);
    // One that dies without a word has nobody any more.
    old.signal("KILL");
    assert_eq!(old.ended().code(), None);
    let is_none = |gauge| house.metric(&new, gauge) == "0";
    until("the dead one is forgotten", || is_none("throng_siblings") && is_none("throng_siblings_missing"));
    // Nobody is sent to the address here: the kernel takes back the rings of the dead, and what listened in them, later.
    assert_eq!(house.revokes(&new, &json!({"user": "bob"})), json!({"remembered": true, "complete": true}));
    ends(new);
}

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";
const HEARTBEATS: usize = 4;
/// Nothing here takes this long; a machine that is very busy may.
const PATIENCE: Duration = Duration::from_secs(120);

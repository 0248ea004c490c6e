//! What a server as a process says in its log: which limits were reached, and nothing by which somebody else could come in.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/http.rs"]
mod http;
#[path = "process/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod process;
#[path = "support/raw.rs"]
mod raw;
#[expect(dead_code, reason = "other tests use more of it")]
mod support;

use http::get;
use process::{SECRET, Server, free_address};
use raw::{Raw, request};
use serde_json::{Value, json};
use support::{FAR_FUTURE, token};
use throng::control::NewKey;

const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";

#[test]
fn a_limit_that_is_reached_is_told_with_how_often_and_the_setting_that_moves_it() {
    let (server, log) = Server::start_heard(free_address(), &["--shards", "1", "THRONG_LIMITS_DEPTH_MAX=1"]);
    // Whoever answers this has begun to look at the counters.
    assert_eq!(get(server.admin, "/healthz").0, "200");
    let bearer = format!("Authorization: Bearer {}", token("ann", FAR_FUTURE, None));
    let mut ann = Raw::ask(server.address, "/ws", &[OURS, &bearer]).switched();
    assert!(ann.hear().contains("welcome"));
    ann.say(r#"{"type":"publish","id":1,"room":"hall","data":[[1]]}"#);
    assert!(ann.hear().contains("too_deep"));
    let told = std::iter::from_fn(|| log.next("a limit")).find(|line| line.contains("a limit was reached"));
    let told = told.expect("it goes on saying something");
    for part in ["WARN", "what=\"too_deep\"", "times=1", "in_s=10", "setting=\"limits.depth_max\""] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn nothing_that_lets_in_stands_in_the_log_however_much_is_logged() {
    let key = NewKey::draw().unwrap();
    let known = format!("backend={}", key.sha256);
    let options = ["--shards", "2", "--log-level", "trace", "--drain-budget-ms", "0", "--api-key-sha256", &known];
    let (server, log) = Server::start_heard(free_address(), &options);
    let mut secrets = vec![("the server's own", SECRET.to_owned()), ("the key of the API", key.text.clone())];

    // Good ones and bad ones, by everything that carries them.
    for (n, exp) in [FAR_FUTURE, 1_000_000_000].into_iter().enumerate() {
        let of = |carrier: &str| token(&format!("{carrier}{n}"), exp, None);
        let carried = ["header", "subprotocol", "query", "plain", "hello", "refresh"].map(|by| (by, of(by)));
        let by = |name: &str| carried.iter().find(|(by, _)| *by == name).map(|(_, token)| token.as_str()).unwrap();
        let header = format!("Authorization: Bearer {}", by("header"));
        let subprotocol = format!("{OURS}, throng.token.{}", by("subprotocol"));
        let query = format!("/ws?token={}", by("query"));
        for (target, lines) in [("/ws", vec![OURS, &header]), ("/ws", vec![&subprotocol]), (&query, vec![OURS])] {
            let mut raw = Raw::ask(server.address, target, &lines).switched();
            if exp == FAR_FUTURE {
                let welcome: Value = serde_json::from_str(&raw.hear()).unwrap();
                secrets.push(("a session", welcome["session"].as_str().unwrap().to_owned()));
                raw.say(&json!({"type": "refresh", "id": 1, "token": by("refresh")}).to_string());
                raw.hear();
            }
            drop(raw);
            // Nobody understands this one.
            let mut broken = Raw::connect(server.address);
            broken.send(request(target, &lines).replace("Host:", "Hos t:").as_bytes());
            broken.verdict();
        }
        let plain = format!("/healthz?token={}", by("plain"));
        for address in [server.address, server.admin] {
            assert_eq!(get(address, &plain).0, "200");
        }
        let mut raw = Raw::ask(server.address, "/ws", &[OURS]).switched();
        raw.say(&json!({"type": "hello", "id": 1, "token": by("hello")}).to_string());
        raw.frame();
        for (by, token) in carried {
            secrets.extend(token.split('.').skip(1).map(|part| (by, part.to_owned())));
        }
    }
    let made = ureq::post(format!("http://{}/api/v1/tickets", server.admin))
        .header("authorization", format!("Bearer {}", key.text))
        .send(json!({"user": "ann"}).to_string());
    let made: Value = serde_json::from_str(&made.unwrap().body_mut().read_to_string().unwrap()).unwrap();
    let ticket = made["ticket"].as_str().unwrap().to_owned();
    assert!(Raw::ask(server.address, &format!("/ws?ticket={ticket}"), &[]).switched().hear().contains("welcome"));
    secrets.push(("a ticket", ticket));

    server.signal("TERM");
    let said: Vec<String> = std::iter::from_fn(|| log.next("the end")).collect();
    assert!(server.ended().success());
    for word in ["session opened", "connection closed"] {
        assert!(said.iter().any(|line| line.contains("DEBUG") && line.contains(word)), "{word}: {said:#?}");
    }
    for (what, secret) in &secrets {
        let line = said.iter().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{what} stands in the log");
    }
}

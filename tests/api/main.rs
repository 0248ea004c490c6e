//! The HTTP API on a real server: every documented call, every kind of "no", and the verbs of the command line.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod crowd;
mod load;
mod public;
mod server;
mod session;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use crowd::Plan;
use serde_json::{Value, json};
use server::{Answer, Server, closed, hear, throng};
use tungstenite::Message;

#[test]
fn the_document_is_what_the_code_says() {
    let (path, said) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json"), throng::control::api_document());
    #[expect(clippy::disallowed_methods, reason = "who changes the API writes the document by this")]
    if std::env::var("THRONG_BLESS").is_ok() {
        std::fs::write(&path, &said).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == said,
        "docs/openapi.json is not what the code says: THRONG_BLESS=1 cargo test --test api writes it"
    );
}

/// Makes documented calls and remembers which.
struct Tour {
    server: Server,
    made: RefCell<BTreeSet<(String, String)>>,
}

impl Tour {
    /// `{…}` of the template is filled by `name`; `query` goes behind it.
    fn get(&self, template: &str, name: &str, query: &str) -> Answer {
        self.note("get", template);
        self.server.get(&format!("{}{query}", fill(template, name)))
    }

    fn post(&self, template: &str, name: &str, body: &Value) -> Answer {
        self.note("post", template);
        self.server.post(&fill(template, name), body)
    }

    fn note(&self, method: &str, template: &str) {
        self.made.borrow_mut().insert((method.to_owned(), template.to_owned()));
    }
}

fn fill(template: &str, name: &str) -> String {
    match (template.find('{'), template.find('}')) {
        (Some(from), Some(to)) => format!("{}{name}{}", &template[..from], &template[to + 1..]),
        _ => template.to_owned(),
    }
}

#[test]
fn every_documented_call_does_what_it_says() {
    let tour = Tour { server: Server::start(), made: RefCell::default() };
    says_something(&tour);
    speaks_to_people(&tour);
    looks_into_rooms(&tour);
    sends_people_away(&tour);
    vouches_and_revokes(&tour);
    let document: Value = serde_json::from_str(&throng::control::api_document()).unwrap();
    let documented = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
    });
    assert_eq!(documented.collect::<BTreeSet<_>>(), tour.made.take(), "each documented call is made here");
}

fn says_something(tour: &Tour) {
    let (mut ann, mut bob) = (tour.server.sits("ann", "lobby"), tour.server.sits("bob", "lobby"));
    let said = tour.post("/publish", "", &json!({"room": "lobby", "data": {"n": 1}, "event": "news"})).good();
    assert_eq!((&said["room"], &said["offset"], &said["level"]), (&json!("lobby"), &json!(1), &json!("memory")));
    let by_ann = json!({"room": "lobby", "data": 2, "from": {"user": "ann", "info": {"name": "Ann"}}});
    assert_eq!(tour.post("/publish", "", &by_ann).good()["offset"], 2);
    for socket in [&mut ann, &mut bob] {
        let heard: Value = serde_json::from_str(&hear(socket)).unwrap();
        assert_eq!((&heard["from"], &heard["event"]), (&json!({"user": "backend"}), &json!("news")));
        let heard: Value = serde_json::from_str(&hear(socket)).unwrap();
        assert_eq!((&heard["from"], &heard["data"]), (&json!({"user": "ann", "info": {"name": "Ann"}}), &json!(2)));
    }
    let many = json!({"messages": [
        {"room": "lobby", "data": "three"}, {"room": "no room", "data": 1}, {"room": "elsewhere", "data": 1},
        {"room": "lobby", "data": "four"}, {"room": "third", "data": 1, "event": "no event"}
    ]});
    let results = tour.post("/publish/batch", "", &many).good();
    let results = results["results"].as_array().unwrap().clone();
    let offsets: Vec<Option<u64>> = results.iter().map(|result| result["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(3), None, Some(1), Some(4), None]);
    assert_eq!((&results[1]["code"], &results[4]["code"]), (&json!("bad_room"), &json!("bad_event")));
    assert_eq!(results[0]["epoch"], said["epoch"]);
}

fn speaks_to_people(tour: &Tour) {
    let mut people = [tour.server.comes("cy"), tour.server.comes("cy"), tour.server.sits("dan", "elsewhere")];
    let all = tour.post("/broadcast", "", &json!({"data": "to all"})).good();
    assert_eq!((&all["room"], &all["complete"], &all["passed_over"]), (&json!("@all"), &json!(true), &json!(0)));
    // Ann and Bob of the other scene may or may not be gone by now.
    assert!(all["reached"].as_u64().unwrap() >= 3, "{all}");
    for socket in &mut people {
        let heard = hear(socket);
        assert!(heard.contains(r#""room":"@all""#) && heard.contains(r#""data":"to all""#), "{heard}");
    }
    let one = tour.post("/users/{user}/messages", "cy", &json!({"data": "to cy", "from": {"user": "dan"}})).good();
    assert_eq!((&one["room"], &one["reached"], &one["complete"]), (&json!("@cy"), &json!(2), &json!(true)));
    for socket in &mut people[..2] {
        assert!(hear(socket).contains(r#""from":{"user":"dan"},"data":"to cy""#));
    }
    let nobody = tour.post("/users/{user}/messages", "nobody", &json!({"data": 1})).good();
    assert_eq!((&nobody["reached"], &nobody["offset"]), (&json!(0), &json!(1)));
    let found = tour.get("/users/{user}/connections", "dan", "").good();
    assert_eq!((&found["count"], &found["connections"][0]["rooms"]), (&json!(1), &json!(["elsewhere"])));
    assert_eq!(tour.get("/users/{user}/connections", "no%20one", "?limit=1").good()["count"], 0);
}

fn looks_into_rooms(tour: &Tour) {
    let _people =
        [tour.server.sits("eve", "a/b+c"), tour.server.sits("eve", "a/b+c"), tour.server.sits("fay", "a/b+c")];
    let here = tour.get("/rooms/{room}/presence", "a%2Fb%2Bc", "").good();
    let expected = json!([{"user": "eve", "connections": 2}, {"user": "fay", "connections": 1}]);
    assert_eq!((&here["members"], &here["count"]), (&expected, &json!(2)));
    let newest = tour.get("/rooms/{room}/history", "lobby", "?limit=2").good();
    let data = |page: &Value| -> Vec<Value> {
        page["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
    };
    assert_eq!((data(&newest), &newest["next"]), (vec![json!("three"), json!("four")], &json!(4)));
    let older = tour.get("/rooms/{room}/history", "lobby", "?before=3").good();
    assert_eq!(data(&older), [json!({"n": 1}), json!(2)]);
    let epoch = newest["epoch"].as_str().unwrap();
    // It waits until something is said.
    std::thread::scope(|scope| {
        let query = format!("?after=4&epoch={epoch}&wait_ms=20000");
        let server = &tour.server;
        let waiting = std::thread::Builder::new()
            .spawn_scoped(scope, move || server.get(&format!("/rooms/lobby/history{query}")).good())
            .unwrap();
        // Whether it waits yet or not: it hears it.
        tour.post("/publish", "", &json!({"room": "lobby", "data": "five"})).good();
        let followed = waiting.join().unwrap();
        assert_eq!((data(&followed), &followed["next"]), (vec![json!("five")], &json!(5)));
    });
    let (mut rooms, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = tour.get("/rooms", "", &format!("?limit=2&prefix=a{cursor}")).good();
        rooms.extend(page["rooms"].as_array().unwrap().iter().map(|room| room["room"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(rooms, ["a/b+c"]);
    let top = tour.get("/top", "", "?limit=1").good();
    assert_eq!((&top["rooms"][0]["room"], &top["rooms"][0]["connections"]), (&json!("a/b+c"), &json!(3)));
    assert_eq!((&top["complete"], top["rooms"].as_array().unwrap().len()), (&json!(true), 1));
}

fn sends_people_away(tour: &Tour) {
    let (gil, other) = (tour.server.comes("gil"), tour.server.comes("gil"));
    let found = tour.get("/users/{user}/connections", "gil", "").good();
    let connection = found["connections"][0]["connection"].as_str().unwrap().to_owned();
    let one = tour.post("/connections/{connection}/disconnect", &connection, &json!({"come_back": true})).good();
    assert_eq!(one, json!({"closed": 1, "complete": true}));
    let rest = tour.post("/users/{user}/disconnect", "gil", &json!({})).good();
    assert_eq!(rest["closed"], 1);
    let mut codes = [closed(gil), closed(other)];
    codes.sort_unstable();
    assert_eq!(codes, [4006, 4501]);
    let seated = [tour.server.sits("hal", "sinking"), tour.server.sits("ida", "sinking")];
    let stays = tour.server.sits("joe", "floating");
    let room = tour.post("/rooms/{room}/disconnect", "sinking", &json!({"come_back": true})).good();
    assert_eq!(room, json!({"closed": 2, "complete": true}));
    assert_eq!(seated.map(closed), [4006, 4006]);
    assert_eq!(tour.server.get("/rooms/floating/presence").good()["count"], 1);
    drop(stays);
}

fn vouches_and_revokes(tour: &Tour) {
    let rooms = json!([{"match": "a", "can": ["join"]}]);
    let body = json!({"user": "kim", "info": {"name": "Kim"}, "rooms": rooms, "session_s": 60});
    let made = tour.post("/tickets", "", &body).good();
    let ticket = made["ticket"].as_str().unwrap();
    assert!(tour.server.comes_with_ticket(ticket).unwrap().contains(r#""user":"kim""#));
    assert!(tour.server.comes_with_ticket(ticket).is_err(), "once");
    for (wrong, word) in [
        (json!({"user": "kim", "session_s": 0}), "604800"),
        (json!({"user": "kim", "rooms": [{"match": "a", "can": ["shout"]}]}), "rooms"),
    ] {
        assert_no(&tour.server.post("/tickets", &wrong), 400, "malformed", word);
    }
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    assert_no(&tour.server.post("/tickets", &json!({"user": "kim", "info": deep})), 422, "too_deep", "deeper");
    let (lou, max) = (tour.server.comes("lou"), tour.server.comes("max"));
    let revoked = tour.post("/revoke", "", &json!({"user": "lou"})).good();
    assert_eq!(revoked, json!({"remembered": true, "complete": true}));
    assert_eq!(closed(lou), 4500);
    let mut named = [tour.server.comes_by("nia", Some("phone")), tour.server.comes_by("nia", Some("laptop"))];
    assert_eq!(tour.post("/revoke", "", &json!({"jti": "phone"})).good()["remembered"], true);
    named[1].send(Message::text(r#"{"type":"ping","id":9}"#)).unwrap();
    assert_eq!(hear(&mut named[1]), r#"{"type":"reply","id":9}"#, "her other token is as good as before");
    let [phone, _laptop] = named;
    assert_eq!(closed(phone), 4500);
    assert_eq!(tour.post("/revoke", "", &json!({"everybody": true})).good()["complete"], true);
    assert_eq!(closed(max), 4500);
    for wrong in [
        json!({}),
        json!({"jti": "a", "user": "b"}),
        json!({"jti": "a", "issued_before": 1}),
        json!({"jti": ""}),
        json!({"jti": "x".repeat(257)}),
        // Milliseconds: nobody could come in any more.
        json!({"everybody": true, "issued_before": 1_800_000_000_000_u64}),
    ] {
        assert_eq!(tour.server.post("/revoke", &wrong).json()["code"], "malformed");
    }
}

#[test]
fn nothing_happens_without_a_key() {
    let server = Server::start();
    let rooms = server.url("/api/v1/rooms");
    for key in [None, Some("throng_wrong"), Some("")] {
        let no = server.get_with(&rooms, key);
        assert_eq!((no.status, no.content_type.as_str()), (401, "application/problem+json"), "{no:?}");
        assert_eq!(no.json()["code"], "unauthorized");
    }
    assert_eq!(server.get("/rooms").status, 200);
    // Ten at once, then one a second: whoever goes on guessing is told to wait.
    let last = (0..1_000).map(|_| server.get_with(&rooms, Some("throng_guess"))).find(|no| no.status == 429).unwrap();
    assert_eq!((&last.json()["code"], last.retry_after), (&json!("guessing"), Some(1)));
    // Whoever has the key comes in all the same, from the very address of those who guess.
    assert_eq!(server.get("/rooms").status, 200);
    let metrics = server.get_with(&server.url("/metrics"), None);
    assert!(metrics.content_type.contains("openmetrics"), "{metrics:?}");
    assert!(!metrics.text.contains("throng_api_wrong_keys_total 0\n"), "{}", metrics.text);

    let without = Server::with(&["--admin-listen", "127.0.0.1:0"], false);
    let no = without.get("/rooms");
    assert_eq!((no.status, &no.json()["code"]), (403, &json!("no_keys")));
}

#[test]
fn a_call_that_is_made_again_is_done_once() {
    let server = Server::start();
    let body = json!({"room": "r", "data": 1}).to_string();
    let call = |path: &str, key: &str, body: &str| server.post_text(path, body, &[("Idempotency-Key", key)]);
    let first = call("/publish", "k1", &body);
    let again = call("/publish", "k1", &body);
    assert_eq!((first.status, first.replayed, again.status, again.replayed), (200, false, 200, true));
    assert_eq!((first.text.as_str(), first.json()["offset"].as_u64()), (again.text.as_str(), Some(1)));
    assert_eq!(call("/publish", "k2", &body).json()["offset"], 2, "another key is another message");
    for other in [call("/publish", "k1", r#"{"room":"r","data":2}"#), call("/broadcast", "k1", r#"{"data":1}"#)] {
        assert_eq!((other.status, &other.json()["code"]), (422, &json!("idempotency_other_request")));
    }
    let refused = call("/publish", "k3", r#"{"room":"no room","data":2}"#);
    let refused_again = call("/publish", "k3", r#"{"room":"no room","data":2}"#);
    assert_eq!((refused.status, refused_again.replayed), (422, true), "a refusal is an answer, too");
    assert_eq!(call("/publish", &"k".repeat(129), &body).json()["code"], "idempotency_key");
    assert_eq!(server.get("/rooms/r/history").good()["offset"], 2);
    let letter = |key: &str| call("/users/bob/messages", key, r#"{"data":"a letter"}"#);
    let (first, again, other) = (letter("k4"), letter("k4"), letter("k5"));
    assert_eq!((first.json()["offset"].as_u64(), again.replayed, &first.text), (Some(1), true, &again.text));
    assert_eq!((other.json()["offset"].as_u64(), other.replayed), (Some(2), false));
}

#[test]
fn every_no_is_a_code_and_a_sentence() {
    let server = Server::start();
    let deep = format!("{{\"room\":\"r\",\"data\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let long = format!("{{\"room\":\"r\",\"data\":\"{}\"}}", "x".repeat(1_000_001));
    let huge = "x".repeat((4 << 20) + 1);
    let crowd = json!({"messages": vec![json!({"room": "r", "data": 1}); 1_001]}).to_string();
    for (path, body, status, code, word) in [
        ("/publish", "", 400, "malformed", "EOF"),
        ("/publish", "[]", 400, "malformed", "body"),
        ("/publish", r#"{"room":"r","data":1,"evnt":"x"}"#, 400, "malformed", "evnt"),
        ("/publish", r#"{"room":"r"}"#, 400, "malformed", "data"),
        ("/publish", r#"{"room":"a b","data":1}"#, 422, "bad_room", "A-Z"),
        ("/publish", r#"{"room":"r","data":1,"event":"a b"}"#, 422, "bad_event", "a b"),
        ("/publish", r#"{"room":"r","data":1,"from":{"user":""}}"#, 422, "bad_user", "128"),
        ("/publish", r#"{"room":"r","data":"\ud800"}"#, 422, "unportable", "encoding"),
        ("/publish", &deep, 422, "too_deep", "deeper"),
        ("/publish", &long, 413, "too_big", "1000000"),
        ("/publish", &huge, 413, "too_big", "longer"),
        ("/publish/batch", &crowd, 413, "too_big", "1001"),
        ("/users/a%20b/messages", r#"{"data":1}"#, 422, "bad_room", "inbox"),
        ("/users/all/messages", r#"{"data":1}"#, 422, "bad_room", "everybody"),
        ("/users/%FF/disconnect", "", 400, "malformed", "UTF-8"),
        ("/connections/xyz/disconnect", "", 400, "malformed", "16 hex"),
        ("/connections/ffff000000000000/disconnect", "", 400, "malformed", "16 hex"),
        ("/rooms", "", 405, "method", "another method"),
        ("/nowhere", "", 404, "not_found", "openapi.json"),
    ] {
        let no = server.post_text(path, body, &[]);
        assert_no(&no, status, code, word);
    }
    for (path, status, code, word) in [
        ("/rooms?limit=0", 400, "malformed", "1 to 1000"),
        ("/rooms?limt=1", 400, "malformed", "limt"),
        ("/rooms?cursor=7.0", 400, "malformed", "cursor"),
        ("/rooms/a%20b/presence", 422, "bad_room", "A-Z"),
        ("/rooms/r/history?before=1&after=1", 400, "malformed", "give one"),
        ("/rooms/r/history?wait_ms=1", 400, "malformed", "after"),
        ("/rooms/r/history?after=0&wait_ms=20001", 400, "malformed", "20000"),
        ("/rooms/r/history?after=0&epoch=x", 400, "malformed", "hex"),
        ("/rooms/r/history?epoch=0000000000000000", 400, "malformed", "after"),
    ] {
        assert_no(&server.get(path), status, code, word);
    }
    assert_no(&server.get_with(&server.url("/nowhere"), None), 404, "not_found", "/api/v1");
    let document = server.get_with(&server.url("/api/v1/openapi.json"), None);
    assert_eq!(document.text, throng::control::api_document());
}

fn assert_no(no: &Answer, status: u16, code: &str, word: &str) {
    assert_eq!((no.status, no.content_type.as_str()), (status, "application/problem+json"), "{no:?}");
    let problem = no.json();
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{no:?}");
    assert!(problem["message"].as_str().unwrap().contains(word), "{word} is not in {no:?}");
}

#[test]
fn the_public_sees_nothing_of_it_unless_it_is_asked_for() {
    let server = Server::start();
    let public = |server: &Server, path: &str| server.get_with(&format!("http://{}{path}", server.public), None).status;
    let statuses = ["/healthz", "/metrics", "/api/v1/openapi.json", "/readyz"].map(|path| public(&server, path));
    assert_eq!(statuses, [200, 404, 404, 404]);
    let both = Server::with(&["--admin-listen", "off", "--admin-on-public"], true);
    assert!(both.admin.is_none());
    assert_eq!(["/healthz", "/metrics", "/api/v1/rooms"].map(|path| public(&both, path)), [200, 200, 401]);
    let url = format!("http://{}/api/v1/rooms", both.public);
    assert_eq!(both.get_with(&url, Some(&both.key)).status, 200);
}

#[test]
fn an_address_in_use_is_said_before_anything_runs() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let output = throng().args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", &admin]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("--admin-listen"), "{said}");
}

#[test]
fn the_command_line_speaks_looks_and_sends_away() {
    let server = Server::start();
    let run = |arguments: &[&str]| {
        let output = server.verb(arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let mut ann = server.sits("ann", "lobby");
    assert!(run(&["publish", "lobby", r#"{"n":1}"#, "--event", "news", "--from", "bob"]).starts_with("lobby #1 ("));
    assert!(hear(&mut ann).contains(r#""from":{"user":"bob"},"event":"news","data":{"n":1}"#));
    assert!(run(&["publish", "lobby", "plain words", "--text"]).starts_with("lobby #2 ("));
    assert!(hear(&mut ann).ends_with(r#""data":"plain words"}"#));
    // Regression: the verb made it anew, with its keys in another order and each of them once.
    let as_it_came = r#"{"z":1,"a":12345678901234567890123,"z":1.10}"#;
    assert!(run(&["publish", "lobby", as_it_came]).starts_with("lobby #3 ("));
    assert!(hear(&mut ann).ends_with(&format!(r#""data":{as_it_came}}}"#)));
    let kept = server.get("/rooms/lobby/history?limit=1");
    assert!(kept.text.contains(&format!(r#""data":{as_it_came}}}"#)), "{}", kept.text);
    assert!(run(&["publish", "@all", "3"]).ends_with("1 connection\n"));
    assert!(run(&["publish", "@ann", "4"]).ends_with("1 connection\n"));
    assert!(hear(&mut ann).contains("@all") && hear(&mut ann).contains("@ann"));
    let tail = run(&["tail", "lobby", "--count", "2"]);
    let lines: Vec<&str> = tail.lines().collect();
    assert!(lines[0].starts_with("#1 ") && lines[0].ends_with(r#" bob [news] {"n":1}"#), "{tail}");
    assert!(lines[1].starts_with("#2 ") && lines[1].ends_with(r#" backend "plain words""#), "{tail}");
    let tail = run(&["tail", "lobby", "--history", "1", "--count", "1"]);
    assert!(tail.starts_with("#3 ") && tail.ends_with(&format!(" backend {as_it_came}\n")), "{tail}");
    let tail = run(&["tail", "lobby", "--json", "--history", "1", "--count", "1"]);
    assert!(tail.contains(&format!(r#""data":{as_it_came}"#)), "{tail}");
    let tail: Value =
        serde_json::from_str(&run(&["tail", "lobby", "--json", "--history", "1", "--count", "1"])).unwrap();
    assert_eq!(tail["offset"], 3);
    assert!(run(&["who", "lobby"]).starts_with("1 user in lobby\n  ann "));
    assert!(run(&["who", "--user", "ann"]).starts_with("ann: 1 connection\n"));
    let top = run(&["top"]);
    assert!(top.lines().any(|line| line.ends_with("  lobby")), "{top}");
    let top: Value = serde_json::from_str(&run(&["top", "--json", "--limit", "1"])).unwrap();
    assert_eq!(top["rooms"][0]["room"], "lobby");
    assert_eq!(run(&["kick", "--user", "ann", "--come-back"]), "closed 1 connection\n");
    assert_eq!(closed(ann), 4006);
    let (seated, stays) = ([server.sits("bob", "cellar"), server.sits("cid", "cellar")], server.sits("dan", "attic"));
    assert_eq!(run(&["kick", "--room", "cellar"]), "closed 2 connections\n");
    assert_eq!(seated.map(closed), [4501, 4501]);
    let known = server.get("/users/dan/connections").good();
    let [one] = known["connections"].as_array().unwrap().as_slice() else { panic!("dan has stayed: {known}") };
    let kicked = run(&["kick", "--connection", one["connection"].as_str().unwrap(), "--come-back", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&kicked).unwrap(), json!({"closed": 1, "complete": true}));
    assert_eq!(closed(stays), 4006);

    let refused = server.verb(&["publish", "no room", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("(bad_room)"));
    let misused = server.verb(&["publish", "lobby", "not json"]);
    assert_eq!(misused.status.code(), Some(2));
    assert!(String::from_utf8(misused.stderr).unwrap().contains("--text"));
}

#[test]
fn a_new_key_lets_in_whoever_holds_it() {
    let made = throng().args(["api-key", "new", "--name", "ops", "--json"]).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let known = format!("ops={}", made["sha256"].as_str().unwrap());
    let server = Server::with(&["--admin-listen", "127.0.0.1:0", "--api-key-sha256", &known], true);
    let rooms = server.get_with(&server.url("/api/v1/rooms"), made["key"].as_str());
    assert_eq!(rooms.status, 200);
}

#[test]
fn what_the_backend_says_is_heard_by_everybody_who_sits_there() {
    let server = Server::start();
    let figures = crowd::speak(&server, Plan { readers: 40, messages: 50, pace_ms: 1 }, || ());
    assert_eq!((figures.call_us.len(), figures.last_us.len(), figures.heard), (50, 50, 40 * 50));
}

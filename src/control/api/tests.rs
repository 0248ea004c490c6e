//! Calls with an Idempotency-Key against shards that answer as a test says, or not at all.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use crossbeam_channel::Receiver;
use serde_json::{Value, json};
use tower_service::Service;

use super::*;
use crate::base::{Epoch, Offset, Position, ShardId};
use crate::control::keys::ApiKey;
use crate::control::routes::Peer;
use crate::runtime::Tell;
use crate::runtime::asks::connect;
use crate::runtime::mailbox::Bell;
use crate::shard::{Ask, Homes, Question, Revoked};
use crate::wire::Refusal;

const KEY: &str = "a key of more than thirty-two characters";
const SHARDS: u16 = 2;

/// The API, and the inboxes of shards that nobody serves but the test.
struct House {
    router: Router,
    inboxes: Vec<Receiver<Ask>>,
    tell: Tell,
    homes: Homes,
}

/// What came back.
#[derive(Debug)]
struct Heard {
    status: u16,
    replayed: bool,
    retry_after: bool,
    body: Value,
}

impl House {
    /// `patience`: of all kinds; a caller with a key is not told before the call has ended.
    fn new(patience: Duration) -> Self {
        let sha256 =
            digest(&SHA256, KEY.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = vec![ApiKey::new("backend", &sha256).unwrap()];
        let (desk, answers) = Desk::new(AdminRules {
            keys,
            message_bytes_max: 1_000,
            depth_max: 8,
            revocations_max: 8,
            revocation_life_s: 60,
        });
        tokio::spawn(desk.clone().listen(answers));
        let bells: Vec<_> = (0..SHARDS).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let (asks, inboxes) = connect(&bells, 1_024);
        let homes = Homes::new([1, 2], SHARDS);
        desk.open(asks, homes.clone());
        let tell = desk.tell();
        let patience = Patience { plain: patience, with_key: patience, told: LONG };
        let api = Api { patience, ..Api::new(desk.clone(), Revoker::new(desk), Arc::default()) };
        Self { router: api.router(), inboxes, tell, homes }
    }

    /// Makes a call; what it comes to is found by awaiting it.
    fn calls(&self, method: &str, path: &str, body: &Value, key: Option<&str>) -> tokio::task::JoinHandle<Heard> {
        let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Peer(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let mut router = self.router.clone();
        tokio::spawn(async move {
            poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut router, cx)).await.unwrap();
            let (parts, body) = router.call(request).await.unwrap().into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            Heard {
                status: parts.status.as_u16(),
                replayed: parts.headers.contains_key("idempotency-replayed"),
                retry_after: parts.headers.contains_key("retry-after"),
                body: serde_json::from_slice(&body).unwrap(),
            }
        })
    }

    /// The next question this shard is asked.
    async fn asked(&self, shard: ShardId) -> Ask {
        loop {
            if let Ok(ask) = self.inboxes[shard.index()].try_recv() {
                return ask;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Answers a `Publish` with these outcomes.
    async fn publishes(&self, shard: ShardId, outcomes: &[Result<u64, Refusal>]) {
        let Ask { id, question } = self.asked(shard).await;
        assert!(matches!(&question, Question::Publish(notices) if notices.len() == outcomes.len()), "{question:?}");
        let position = |offset: &u64| Position { epoch: Epoch(7), offset: Offset(*offset) };
        let outcomes = outcomes.iter().map(|outcome| outcome.as_ref().map(position).map_err(|refusal| *refusal));
        (self.tell)(id, Answer::Published(outcomes.collect()));
    }

    fn nobody_is_asked(&self) -> bool {
        self.inboxes.iter().all(Receiver::is_empty)
    }

    /// Some room of this shard.
    fn room_of(&self, shard: ShardId) -> String {
        (0..).map(|n| format!("room{n}")).find(|room| self.homes.of(room) == shard).unwrap()
    }
}

fn in_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(HANGS, test).await });
    ended.expect("nobody asks or answers any more");
}

#[test]
fn what_may_have_been_said_is_not_said_again_by_its_key() {
    in_time(async {
        let house = House::new(SOON);
        for (path, body) in [
            ("/publish", json!({"room": "r", "data": 1})),
            ("/broadcast", json!({"data": 1})),
            ("/users/ann/messages", json!({"data": 1})),
        ] {
            // The shards are asked and do not answer.
            let first = house.calls("POST", path, &body, Some(path)).await.unwrap();
            assert_eq!((first.status, &first.body["code"], first.replayed), (503, &json!("time_out"), false));
            assert!(!first.retry_after && first.body.get("retry_after_ms").is_none(), "{first:?}");
            assert_eq!(house.inboxes.iter().flat_map(Receiver::try_iter).count(), 1);
            let again = house.calls("POST", path, &body, Some(path)).await.unwrap();
            assert_eq!((again.status, &again.body["code"], again.replayed), (503, &json!("time_out"), true));
            assert!(house.nobody_is_asked(), "it may be published by now: {path}");
        }
    });
}

#[test]
fn what_was_not_done_is_done_when_it_is_called_again() {
    in_time(async {
        let house = House::new(LONG);
        let body = json!({"room": house.room_of(ShardId(1)), "data": 1});
        let call = || house.calls("POST", "/publish", &body, Some("k"));
        let refused = call();
        house.publishes(ShardId(1), &[Err(Refusal::Busy)]).await;
        let refused = refused.await.unwrap();
        assert_eq!((refused.status, &refused.body["code"], refused.retry_after), (503, &json!("busy"), true));
        let done = call();
        house.publishes(ShardId(1), &[Ok(1)]).await;
        assert_eq!(done.await.unwrap().body["offset"], 1);
        assert!(call().await.unwrap().replayed && house.nobody_is_asked());
    });
}

#[test]
fn of_a_batch_that_is_made_again_only_what_was_not_taken_is_published() {
    in_time(async {
        let house = House::new(LONG);
        let (here, there) = (house.room_of(ShardId(0)), house.room_of(ShardId(1)));
        let message = |room: &str| json!({"room": room, "data": 1});
        let body = json!({"messages": [message(&here), message("no room"), message(&there), message(&here)]});
        let call = || house.calls("POST", "/publish/batch", &body, Some("k"));
        let first = call();
        house.publishes(ShardId(0), &[Ok(1), Err(Refusal::Busy)]).await;
        house.publishes(ShardId(1), &[Err(Refusal::Busy)]).await;
        let first = first.await.unwrap();
        let codes = |heard: &Heard| {
            let results = heard.body["results"].as_array().unwrap().clone();
            results.iter().map(|result| result["code"].as_str().unwrap_or("done").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (first.status, codes(&first)),
            (200, ["done", "bad_room", "busy", "busy"].map(str::to_owned).into())
        );
        let second = call();
        house.publishes(ShardId(0), &[Err(Refusal::Busy)]).await;
        house.publishes(ShardId(1), &[Ok(1)]).await;
        let second = second.await.unwrap();
        assert_eq!((codes(&second)[2].as_str(), codes(&second)[3].as_str(), second.replayed), ("done", "busy", false));
        let third = call();
        house.publishes(ShardId(0), &[Ok(2)]).await;
        let third = third.await.unwrap();
        assert_eq!(codes(&third), ["done", "bad_room", "done", "done"]);
        let offsets = [0, 2, 3].map(|at| third.body["results"][at]["offset"].as_u64());
        assert_eq!(offsets, [Some(1), Some(1), Some(2)], "what was done before is told as it was");
        assert!(call().await.unwrap().replayed && house.nobody_is_asked());
    });
}

#[test]
fn of_a_batch_what_may_have_been_published_is_not_tried_again() {
    in_time(async {
        let house = House::new(SOON);
        let body = json!({"messages": [{"room": "r", "data": 1}]});
        let first = house.calls("POST", "/publish/batch", &body, Some("k")).await.unwrap();
        assert_eq!(first.body["results"][0]["code"], "time_out");
        assert_eq!(house.inboxes.iter().flat_map(Receiver::try_iter).count(), 1);
        let again = house.calls("POST", "/publish/batch", &body, Some("k")).await.unwrap();
        assert!(again.replayed && house.nobody_is_asked(), "{again:?}");
    });
}

#[test]
fn a_revocation_that_not_every_shard_knows_of_is_made_again_by_the_same_key() {
    in_time(async {
        let house = House::new(LONG);
        let call = || house.calls("POST", "/revoke", &json!({"user": "ann"}), Some("k"));
        let answer = async |shard: ShardId, answer: Answer| (house.tell)(house.asked(shard).await.id, answer);
        let first = call();
        answer(ShardId(0), Answer::Revoked(Revoked::Kept)).await;
        answer(ShardId(1), Answer::Refused(Refusal::Busy)).await;
        assert_eq!(first.await.unwrap().body, json!({"remembered": false, "complete": false}));
        let second = call();
        answer(ShardId(0), Answer::Revoked(Revoked::Kept)).await;
        answer(ShardId(1), Answer::Revoked(Revoked::Kept)).await;
        assert_eq!(second.await.unwrap().body, json!({"remembered": true, "complete": true}));
        assert!(call().await.unwrap().replayed && house.nobody_is_asked());
        let closing = || house.calls("POST", "/users/ann/disconnect", &json!({}), Some("k2"));
        let first = closing();
        answer(ShardId(0), Answer::Reached { connections: 1, passed_over: 0 }).await;
        answer(ShardId(1), Answer::Refused(Refusal::Busy)).await;
        assert_eq!(first.await.unwrap().body, json!({"closed": 1, "complete": false}));
        let second = closing();
        answer(ShardId(0), Answer::Reached { connections: 0, passed_over: 0 }).await;
        answer(ShardId(1), Answer::Reached { connections: 2, passed_over: 0 }).await;
        assert_eq!(second.await.unwrap().body, json!({"closed": 2, "complete": true}));
    });
}

#[test]
fn followers_leave_room_for_whoever_must_act() {
    in_time(async {
        let house = House::new(LONG);
        let follow = || house.calls("GET", "/rooms/r/history?after=0&wait_ms=20000", &json!(null), None);
        let home = house.homes.of("r");
        let mut waiting = Vec::new();
        for _ in 0..POLLS_MAX {
            waiting.push((follow(), house.asked(home).await.id));
        }
        let one_more = follow().await.unwrap();
        assert_eq!((one_more.status, &one_more.body["code"], one_more.retry_after), (503, &json!("busy"), true));
        assert!(house.nobody_is_asked());
        let revoking = house.calls("POST", "/revoke", &json!({"user": "ann"}), None);
        for shard in [ShardId(0), ShardId(1)] {
            (house.tell)(house.asked(shard).await.id, Answer::Revoked(Revoked::Kept));
        }
        assert_eq!(revoking.await.unwrap().body["complete"], true);
        // Whoever does not wait is served, and a place comes back with its answer.
        let look = house.calls("GET", "/rooms/r/history?after=0", &json!(null), None);
        (house.tell)(house.asked(home).await.id, Answer::Refused(Refusal::Busy));
        assert_eq!(look.await.unwrap().status, 503);
        let (first, id) = waiting.swap_remove(0);
        (house.tell)(id, Answer::Refused(Refusal::Busy));
        assert_eq!(first.await.unwrap().status, 503);
        let (next, asked) = (follow(), house.asked(home).await);
        (house.tell)(asked.id, Answer::Refused(Refusal::Busy));
        assert_eq!(next.await.unwrap().status, 503);
    });
}

/// What nobody answers is given up.
const SOON: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(600);
/// No test takes as long, on whatever machine.
const HANGS: Duration = Duration::from_secs(120);

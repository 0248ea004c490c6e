//! What becomes of a session when its token changes, ends or is revoked: one shard, letter by letter.

mod ends;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::base::ConnKey;
use crate::shard::Batch;
use crate::wire::token::{Algorithm, KeySet, VerifyingKey, sign_hmac};
use crate::wire::{Claims, CloseReason, FrameKind, Grants, TokenRules, TokenVerifier, sign_hs256, write_frame};

const SECRET: &[u8] = b"the secret of a shard that is told";
const START: Now = Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 };
const UNIX_S: u64 = START.unix_ms / 1_000;

/// One shard and its clock.
struct House {
    shard: Shard,
    now: Now,
}

impl House {
    fn new(limits: Limits) -> Self {
        Self::with_rules(limits, TokenRules::default())
    }

    fn with_rules(limits: Limits, rules: TokenRules) -> Self {
        let key = VerifyingKey::from_secret(Algorithm::Hs256, SECRET).unwrap();
        let verifier = TokenVerifier::new(KeySet::new([key.into()]).unwrap(), rules, &limits);
        let rules = Rules::new(limits, Arc::new(verifier), Grants::everything());
        let shard = Shard::new(ShardConfig::tried(ShardId(0), 1, Arc::new(rules)));
        Self { shard, now: START }
    }

    /// What everybody is written after the shard has taken this in.
    fn hears(&mut self, input: Input<'_>) -> String {
        self.shard.handle(self.now, input);
        self.shard.end_turn(self.now);
        let (mut batch, mut heard) = (Batch::default(), Vec::new());
        while self.shard.fill_batch(self.now, &mut batch) {
            heard.extend_from_slice(batch.arena());
            self.shard.finish_batch(self.now, &mut batch, &[]);
        }
        self.shard.check().unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// So many ticks pass; one round of the patrol has 20.
    fn ticks(&mut self, ticks: usize) -> String {
        let tick_ms = self.shard.limits().tick_ms;
        let one = |house: &mut Self| {
            house.now.mono_ms += tick_ms;
            house.now.unix_ms += tick_ms;
            house.hears(Input::Tick)
        };
        (0..ticks).map(|_| one(self)).collect()
    }

    fn knocks(&mut self, token: &str) -> (ConnKey, String) {
        let mut head = format!(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: throng.v1.json\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        )
        .into_bytes();
        let conn = self.shard.open(self.now, std::net::Ipv4Addr::LOCALHOST.into()).expect("a free row");
        let heard = self.hears(Input::Received { conn, bytes: &mut head });
        (conn, heard)
    }

    fn comes(&mut self, claims: &Value) -> ConnKey {
        let (conn, heard) = self.knocks(&signed(claims));
        assert!(heard.contains("welcome"), "{heard}");
        conn
    }

    fn says(&mut self, conn: ConnKey, text: &str) -> String {
        let mut frame = Vec::new();
        write_frame(&mut frame, FrameKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.hears(Input::Received { conn, bytes: &mut frame })
    }

    fn refreshes(&mut self, conn: ConnKey, claims: &Value) -> String {
        let token = signed(claims);
        self.says(conn, &format!(r#"{{"type":"refresh","id":9,"token":"{token}"}}"#))
    }

    /// A reload brings other default grants.
    fn grants_by_default(&mut self, grants: &Value) -> String {
        let default_grants = Grants::from_claim(grants).unwrap();
        self.hears(Input::Rules(Arc::new(Rules { default_grants, ..self.shard.config.rules.as_ref().clone() })))
    }

    fn revokes(&mut self, revocation: Revocation) -> String {
        self.hears(Input::Revoke(Arc::new(revocation)))
    }

    /// Connections that end or have ended so.
    fn closed(&self, reason: CloseReason) -> u64 {
        let (mut cursor, mut found) = (0, self.shard.counters().closes(reason));
        while let Some(index) = self.shard.connections.next_index(cursor) {
            cursor = index + 1;
            let work = self.shard.connections.at(index).work.as_ref();
            found += u64::from(work.and_then(|work| work.closing) == Some(reason));
        }
        found
    }
}

fn signed(claims: &Value) -> String {
    sign_hmac(Algorithm::Hs256, None, SECRET, claims).unwrap()
}

fn ann(more: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": UNIX_S + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

#[test]
fn a_refreshed_session_outlives_its_first_token_and_is_told_once_before_each_end() {
    let mut house = House::new(Limits { expiring_notice_ms: 10_000, ..Limits::default() });
    let conn = house.comes(&ann(json!({"exp": UNIX_S + 20})));
    assert!(!house.ticks(21).contains("expiring"), "18 s before the end");
    let told = house.ticks(100);
    assert_eq!(told.matches(r#""type":"expiring","in_ms":"#).count(), 1, "{told}");
    let heard = house.refreshes(conn, &ann(json!({"exp": UNIX_S + 60})));
    let left_ms = 60_000 - (house.now.unix_ms - START.unix_ms);
    assert!(heard.contains(r#""type":"reply","id":9,"expires_in_ms":"#), "{heard}");
    let told_ms: u64 = heard.split("_in_ms\":").nth(1).unwrap().trim_end_matches('}').parse().unwrap();
    assert!(told_ms.abs_diff(left_ms) <= 1_000, "{told_ms} instead of {left_ms}");
    let told = house.ticks(300);
    assert_eq!(house.closed(CloseReason::Expired), 0);
    assert_eq!(told.matches("expiring").count(), 0, "42 s after the start");
    let told = house.ticks(300);
    assert_eq!(told.matches("expiring").count(), 1);
    assert_eq!(house.closed(CloseReason::Expired), 1, "exp, the grace of 5 s and a round of the patrol are over");
    assert!(told.contains("the token's time is over"), "{told:?}");
    assert_eq!(house.shard.counters().count(Count::Refreshes), 1);
}

#[test]
fn the_wall_clock_may_jump_without_ending_or_lengthening_a_session() {
    let mut house = House::new(Limits::default());
    house.comes(&ann(json!({"exp": UNIX_S + 60})));
    house.now.unix_ms += 3_600_000;
    assert!(!house.ticks(40).contains("over"));
    house.now.unix_ms -= 7_200_000;
    house.now.mono_ms += 66_000;
    house.ticks(21);
    assert_eq!(house.closed(CloseReason::Expired), 1);
}

#[test]
fn what_the_new_token_does_not_grant_is_left_with_word_of_it_and_what_it_grants_stays() {
    let mut house = House::new(Limits::default());
    let all = json!(["join", "publish", "presence", "history"]);
    let rooms = json!([{"match": "*", "can": all}]);
    let conn = house.comes(&ann(json!({"rooms": rooms, "info": {"n": 1}})));
    let watcher = house.comes(&json!({"sub": "bob", "exp": UNIX_S + 600}));
    for room in ["a", "b", "c"] {
        house.says(watcher, &format!(r#"{{"type":"join","id":1,"room":"{room}","presence":true}}"#));
        house.says(conn, &format!(r#"{{"type":"join","id":1,"room":"{room}","presence":true}}"#));
    }
    house.ticks(2);
    let fewer = json!([{"match": "a", "can": all}, {"match": "b", "can": ["join"]}]);
    let heard = house.refreshes(conn, &ann(json!({"rooms": fewer, "info": {"n": 2}})));
    assert!(heard.contains(r#"{"type":"removed","room":"c","why":"grants"}"#), "{heard}");
    assert_eq!(heard.matches("removed").count(), 1);
    assert!(house.ticks(2).contains(r#""type":"left","room":"c","users":[{"user":"ann""#), "bob watches it go");
    assert_eq!((house.shard.seated("a").len(), house.shard.seated("c").len()), (2, 1));
    assert!(house.says(conn, r#"{"type":"publish","id":2,"room":"b","data":1}"#).contains("forbidden"));
    let said = house.says(conn, r#"{"type":"publish","id":3,"room":"a","data":1}"#);
    assert!(said.contains(r#""info":{"n":2}"#), "the new info goes with what is said: {said}");
    let carl = house.comes(&json!({"sub": "carl", "exp": UNIX_S + 600}));
    house.says(carl, r#"{"type":"join","id":1,"room":"b"}"#);
    let news = house.ticks(2);
    assert_eq!(news.matches(r#""type":"joined","room":"b""#).count(), 1, "bob hears it, ann may no more: {news}");
}

#[test]
fn a_token_that_is_not_taken_changes_nothing() {
    let mut house = House::new(Limits { grant_sets_bytes_max: 150, ..Limits::default() });
    let conn = house.comes(&ann(json!({"rooms": [{"match": "a", "can": ["join"]}]})));
    house.says(conn, r#"{"type":"join","id":1,"room":"a"}"#);
    let others = json!({"sub": "bob", "exp": UNIX_S + 600});
    let another_set = ann(json!({"rooms": [{"match": "b", "can": ["join"]}]}));
    for (claims, code) in [
        (others, "other_user"),
        (ann(json!({"exp": UNIX_S - 60})), "bad_token"),
        (ann(json!({"rooms": 7})), "bad_token"),
        (another_set, "busy"),
    ] {
        let heard = house.refreshes(conn, &claims);
        assert!(heard.contains(&format!(r#""id":9,"code":"{code}""#)), "{heard}");
        assert!(!heard.contains("eyJ"), "{heard}");
        let again = house.refreshes(conn, &ann(json!({})));
        assert!(again.contains("too_often") && again.contains(r#""retry_after_ms":2000"#), "one try a round: {again}");
        house.ticks(21);
    }
    let heard = house.says(conn, r#"{"type":"refresh","id":9,"token":"no token"}"#);
    assert!(heard.contains("bad_token") && heard.contains("not a JWT"), "{heard}");
    assert_eq!(house.shard.seated("a"), ["ann"]);
    assert_eq!(house.shard.counters().count(Count::Refreshes), 0);
    assert_eq!(house.shard.counters().count(Count::GrantSetsFull), 1);
}

/// Regression: who was told to wait was told of a tick of 100 ms, whatever the tick is.
#[test]
fn who_refreshes_too_often_waits_for_a_round_of_this_servers_ticks() {
    for (tick_ms, wait_ms) in [(10, 200), (100, 2_000), (1_000, 20_000)] {
        let mut house = House::new(Limits { tick_ms, ..Limits::default() });
        let conn = house.comes(&ann(json!({})));
        assert!(house.refreshes(conn, &ann(json!({}))).contains("expires_in_ms"));
        let again = house.refreshes(conn, &ann(json!({})));
        assert!(again.contains(&format!(r#""retry_after_ms":{wait_ms}}}"#)), "{again}");
    }
}

/// What the one too many is told names what is full; a set that nobody holds any more makes room.
#[test]
fn who_brings_one_set_of_grants_too_many_hears_so_and_unused_sets_make_room() {
    let mut house = House::new(Limits { grant_sets_bytes_max: 150, ..Limits::default() });
    let of =
        |user: &str, room: &str| json!({"sub": user, "exp": UNIX_S + 600, "rooms": [{"match": room, "can": ["join"]}]});
    let (ann, bob) = (house.comes(&of("ann", "a")), house.comes(&json!({"sub": "bob", "exp": UNIX_S + 600})));
    for conn in [ann, bob] {
        assert!(house.says(conn, r#"{"type":"join","id":1,"room":"a"}"#).contains("reply"));
    }
    let heard = house.refreshes(bob, &of("bob", "b"));
    assert!(heard.contains(r#""code":"busy""#) && heard.contains("different sets of grants"), "{heard}");
    assert_eq!(house.shard.counters().count(Count::GrantSetsFull), 1);
    let heard = house.hears(Input::Ended { conn: ann });
    house.ticks(21);
    assert!(house.refreshes(bob, &of("bob", "b")).contains("expires_in_ms"), "ann took hers along: {heard}");
    assert_eq!(house.shard.counters().count(Count::GrantSetsFull), 1);
}

#[test]
fn a_join_that_waits_for_its_answer_is_given_up_when_the_room_is_not_granted_any_more() {
    let mut house = House::new(Limits::default());
    let conn = house.comes(&ann(json!({})));
    let (mut bytes, none) = (Vec::new(), signed(&ann(json!({"rooms": []}))));
    for text in [
        r#"{"type":"join","id":1,"room":"a"}"#.to_owned(),
        format!(r#"{{"type":"refresh","id":2,"token":"{none}"}}"#),
        r#"{"type":"join","id":3,"room":"a"}"#.to_owned(),
    ] {
        write_frame(&mut bytes, FrameKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
    }
    let heard = house.hears(Input::Received { conn, bytes: &mut bytes });
    assert!(heard.contains("removed") && heard.contains(r#""id":3,"code":"forbidden""#), "{heard}");
    assert!(house.shard.seated("a").is_empty());
}

#[test]
fn narrower_default_grants_take_the_seats_they_do_not_reach_and_wider_ones_take_none() {
    let mut house = House::new(Limits::default());
    let all = json!(["join", "publish", "presence", "history"]);
    let everywhere = json!([{"match": "*", "can": all}]);
    let conn = house.comes(&ann(json!({})));
    let own = house.comes(&json!({"sub": "bob", "exp": UNIX_S + 600, "rooms": everywhere}));
    for room in ["a", "b", "c:ann"] {
        for who in [conn, own] {
            house.says(who, &format!(r#"{{"type":"join","id":1,"room":"{room}","presence":true}}"#));
        }
    }
    house.ticks(2);
    let fewer = json!([{"match": "a", "can": ["join"]}, {"match": "c:{user}", "can": all}]);
    assert_eq!(house.grants_by_default(&fewer), "", "nobody is told before a tick has come");
    house.says(own, r#"{"type":"publish","room":"b","data":"the last she hears","echo":false}"#);
    let heard = house.ticks(7);
    assert_eq!(heard.matches(r#"{"type":"removed","room":"b","why":"grants"}"#).count(), 1, "{heard}");
    assert_eq!(heard.matches("removed").count(), 1, "{heard}");
    let rooms = ["a", "b", "c:ann"].map(|room| house.shard.seated(room));
    assert_eq!(rooms.each_ref().map(|seated| seated.join(" ")), ["ann bob", "bob", "ann bob"]);
    assert!(house.says(conn, r#"{"type":"join","id":2,"room":"b"}"#).contains("forbidden"));
    house.says(own, r#"{"type":"publish","room":"b","data":"not for her","echo":false}"#);
    let carl = house.comes(&json!({"sub": "carl", "exp": UNIX_S + 600, "rooms": everywhere}));
    house.says(carl, r#"{"type":"join","room":"a"}"#);
    let heard = house.ticks(2);
    assert!(!heard.contains("not for her"), "{heard}");
    assert_eq!(heard.matches(r#""type":"joined","room":"a""#).count(), 1, "ann may not ask who is there: {heard}");
    assert_eq!(house.shard.counters().count(Count::Unseated), 1);
    house.grants_by_default(&everywhere);
    assert!(!house.ticks(7).contains("removed"));
    assert!(house.says(conn, r#"{"type":"join","id":3,"room":"b"}"#).contains(r#""id":3,"room":"b""#));
}

#[test]
fn grants_that_came_back_before_the_round_was_over_take_nothing_away() {
    let mut house = House::new(Limits::default());
    let conn = house.comes(&ann(json!({})));
    house.says(conn, r#"{"type":"join","id":1,"room":"a"}"#);
    house.grants_by_default(&json!([]));
    house.grants_by_default(&json!([{"match": "*", "can": ["join"]}]));
    assert_eq!(house.ticks(7), "");
    assert_eq!(house.shard.seated("a"), ["ann"]);
}

#[test]
fn a_change_that_takes_many_seats_is_spread_over_the_ticks() {
    let limits = Limits { connections_per_user_max: 0, slots_per_ring: 64, ..Limits::default() };
    let (people, rooms) = (150, limits.rooms_per_connection_max);
    let mut house = House::new(limits);
    for _ in 0..people {
        let (conn, mut joins) = (house.comes(&ann(json!({}))), Vec::new());
        for room in 0..rooms {
            let join = format!(r#"{{"type":"join","room":"r{room}"}}"#);
            write_frame(&mut joins, FrameKind::Text, join.as_bytes(), Some([1, 2, 3, 4]));
        }
        house.hears(Input::Received { conn, bytes: &mut joins });
    }
    house.grants_by_default(&json!([]));
    let unseated = |house: &House| house.shard.counters().count(Count::Unseated);
    let mut ticks = 0;
    while unseated(&house) < (people * rooms) as u64 {
        let before = unseated(&house);
        let heard = house.ticks(1);
        let now = unseated(&house) - before;
        assert!(now > 0 && now <= 2_500 + rooms as u64, "{now} in one tick");
        assert_eq!(heard.matches("removed").count() as u64, now, "who loses a seat is told in the same tick");
        ticks += 1;
    }
    assert!(ticks >= 7, "a round without a budget would have taken five ticks, not {ticks}");
    assert!(house.shard.seated("r0").is_empty());
}

/// Those who came while a round was under way were counted as rows of it, and as many of the old were never looked at.
#[test]
fn newcomers_hide_nobody_from_a_revocation() {
    let mut house = House::new(Limits { slots_per_ring: 16, connections_per_user_max: 0, ..Limits::default() });
    for _ in 0..50 {
        house.comes(&ann(json!({"jti": "old"})));
    }
    house.revokes(Revocation::Token { jti: "nobody's".into() });
    house.ticks(2);
    house.revokes(Revocation::Token { jti: "old".into() });
    for _ in 0..40 {
        house.comes(&ann(json!({"jti": "new"})));
    }
    house.ticks(9);
    assert_eq!(house.closed(CloseReason::Revoked), 50);
}

#[test]
fn a_revocation_ends_whom_it_names_within_a_second_and_keeps_them_out() {
    let (old, new) = (json!({"iat": UNIX_S - 60}), json!({"iat": UNIX_S - 1}));
    let cases = [
        (Revocation::Token { jti: "t1".into() }, json!({"jti": "t1"}), json!({"jti": "t2"})),
        (Revocation::User { user: "ann".into(), issued_before_unix_s: UNIX_S - 30 }, old.clone(), new.clone()),
        (Revocation::User { user: "ann".into(), issued_before_unix_s: UNIX_S - 30 }, json!({}), new.clone()),
        (Revocation::User { user: "ann".into(), issued_before_unix_s: UNIX_S }, json!({}), json!({"sub": "bob"})),
        (Revocation::Issued { before_unix_s: UNIX_S - 30 }, old, new),
    ];
    for (revocation, named, spared) in cases {
        let mut house = House::new(Limits::default());
        let (gone, stays) = (house.comes(&ann(named.clone())), house.comes(&ann(spared.clone())));
        house.revokes(revocation.clone());
        let ticks = usize::try_from(1_000 / house.shard.limits().tick_ms).unwrap();
        let told = house.ticks(ticks);
        assert!(told.contains("the token was revoked"), "{revocation:?}: {told:?}");
        assert_eq!(house.closed(CloseReason::Revoked), 1, "{revocation:?}");
        assert!(house.says(gone, r#"{"type":"ping","id":1}"#).is_empty(), "nobody is listened to any more");
        assert!(house.says(stays, r#"{"type":"ping","id":1}"#).contains("reply"));
        let (_, heard) = house.knocks(&signed(&ann(named.clone())));
        assert!(heard.contains("the token was revoked") && !heard.contains("welcome"), "{heard:?}");
        house.comes(&ann(spared));
        let heard = house.refreshes(stays, &ann(named));
        assert!(heard.contains("revoked") || heard.contains("other_user"), "{heard}");
    }
}

#[test]
fn what_cannot_be_remembered_ends_who_is_here_all_the_same() {
    let mut house = House::new(Limits { revocations_max: 1, ..Limits::default() });
    let token = |jti: &str| Revocation::Token { jti: jti.into() };
    assert_eq!(house.shard.revoke(house.now, &token("t1")), Revoked::Kept);
    house.comes(&ann(json!({"jti": "t2"})));
    house.comes(&ann(json!({"jti": "t3"})));
    assert_eq!(house.shard.revoke(house.now, &token("t2")), Revoked::Full);
    assert_eq!(house.closed(CloseReason::Revoked), 1);
    assert_eq!(house.shard.counters().count(Count::RevocationsFull), 1);
    house.comes(&ann(json!({"jti": "t2"})));
}

#[test]
fn the_marks_of_a_row_are_those_of_who_has_it_now() {
    let mut house = House::new(Limits::default());
    let first = house.comes(&ann(json!({"jti": "t1", "iat": UNIX_S - 60})));
    house.shard.handle(house.now, Input::Ended { conn: first });
    house.shard.handle(house.now, Input::Released { conn: first });
    let second = house.comes(&ann(json!({"iat": UNIX_S - 1})));
    assert_eq!(second.index(), first.index());
    house.revokes(Revocation::Token { jti: "t1".into() });
    house.revokes(Revocation::Issued { before_unix_s: UNIX_S - 30 });
    house.ticks(10);
    assert_eq!(house.closed(CloseReason::Revoked), 0);
}

/// The handle in a welcome.
fn session_of(heard: &str) -> String {
    let (_, rest) = heard.split_once(r#""session":""#).unwrap_or_else(|| panic!("{heard}"));
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn a_session_is_not_resumed_whose_token_was_revoked_since_nor_by_another_nor_after_a_goodbye() {
    let resume = |session: &str| format!(r#"{{"type":"resume","id":1,"session":"{session}"}}"#);
    let later = ann(json!({"iat": UNIX_S - 1}));
    let lost = |house: &mut House| {
        let (conn, heard) = house.knocks(&signed(&ann(json!({"iat": UNIX_S - 60, "jti": "t1"}))));
        (conn, session_of(&heard))
    };
    for revocation in [
        Revocation::Token { jti: "t1".into() },
        Revocation::User { user: "ann".into(), issued_before_unix_s: UNIX_S - 30 },
        Revocation::Issued { before_unix_s: UNIX_S - 30 },
    ] {
        let mut house = House::new(Limits::default());
        let (conn, session) = lost(&mut house);
        house.hears(Input::Ended { conn });
        house.revokes(revocation);
        let again = house.comes(&later);
        assert!(house.says(again, &resume(&session)).contains(r#""resumed":false"#));
    }
    let mut house = House::new(Limits::default());
    let (conn, session) = lost(&mut house);
    house.hears(Input::Ended { conn });
    let bob = house.comes(&json!({"sub": "bob", "exp": UNIX_S + 600}));
    assert!(house.says(bob, &resume(&session)).contains(r#""resumed":false"#));
    let again = house.comes(&later);
    assert!(house.says(again, &resume(&session)).contains(r#""resumed":true"#), "a stranger's try costs her nothing");
    // 1000 means it; a browser that leaves the page, or a client that gave up, may be back.
    for (code, resumed) in [(1000_u16, false), (1001, true), (4900, true)] {
        let (conn, session) = lost(&mut house);
        let mut frame = Vec::new();
        write_frame(&mut frame, FrameKind::Close, &code.to_be_bytes(), Some([1, 2, 3, 4]));
        house.hears(Input::Received { conn, bytes: &mut frame });
        house.ticks(1);
        let again = house.comes(&later);
        let heard = house.says(again, &resume(&session));
        assert!(heard.contains(&format!(r#""resumed":{resumed}"#)), "{code}: {heard}");
    }
}

#[test]
fn sessions_without_a_connection_are_bounded_and_go_when_their_window_is_over() {
    let mut house = House::new(Limits { sessions_kept_max: 2, connections_per_user_max: 0, ..Limits::default() });
    for _ in 0..3 {
        let conn = house.comes(&ann(json!({})));
        house.hears(Input::Ended { conn });
        house.hears(Input::Released { conn });
    }
    assert_eq!(house.shard.gauges().sessions_kept, 2);
    assert_eq!(house.shard.counters().count(Count::SessionsForgotten), 1);
    house.now.mono_ms += 120_000;
    house.ticks(1);
    assert_eq!((house.shard.gauges().sessions_kept, house.shard.tables().sessions_kept), (0, 0));
}

#[test]
fn every_row_is_looked_at_however_often_something_new_is_revoked() {
    let mut house = House::new(Limits { slots_per_ring: 16, connections_per_user_max: 0, ..Limits::default() });
    for number in 0..50 {
        house.comes(&ann(json!({ "jti": format!("t{number}") })));
    }
    for number in 0..50 {
        house.revokes(Revocation::Token { jti: format!("t{number}").into() });
        house.ticks(1);
    }
    house.ticks(9);
    assert_eq!(house.closed(CloseReason::Revoked), 50);
}

#[test]
fn a_token_that_is_good_for_too_long_is_told_so() {
    let rules = TokenRules { life_max_s: 3_600, ..TokenRules::default() };
    let mut house = House::with_rules(Limits::default(), rules);
    let claims = Claims { sub: "ann", exp: UNIX_S + 3_700, info: None, rooms: None };
    let (_, heard) = house.knocks(&sign_hs256(SECRET, &claims).unwrap());
    assert!(heard.contains("good for longer than 3600 s"), "{heard}");
}

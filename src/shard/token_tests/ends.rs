//! That a token's end, and a revocation, do not wait for a tick.

use super::*;
use crate::shard::Count;

#[test]
fn nothing_is_taken_from_a_session_whose_token_has_ended_before_the_patrol_comes_by() {
    let mut house = House::new(Limits::default());
    let conn = house.comes(&ann(json!({"exp": UNIX_S + 20})));
    let publish = |id: u32| format!(r#"{{"type":"publish","id":{id},"room":"r","data":1}}"#);
    // Without a tick. The leeway is five seconds.
    house.now.mono_ms += 24_999;
    assert!(house.says(conn, &publish(1)).contains(r#""id":1,"room":"r""#), "it is good to its last moment");
    house.now.mono_ms += 1;
    let heard = house.says(conn, &publish(2));
    assert!(!heard.contains(r#""id":2"#) && heard.contains("the token's time is over"), "{heard}");
    assert_eq!((house.closed(CloseReason::Expired), house.shard.counters().count(Count::Publishes)), (1, 1));
    let late = house.refreshes(conn, &ann(json!({"exp": UNIX_S + 600})));
    assert!(!late.contains("expires_in_ms"), "{late}");
}

#[test]
fn a_revocation_ends_whom_it_names_within_a_second_where_a_tick_is_longer() {
    for tick_ms in [501, 10_000] {
        let mut house = House::new(Limits { tick_ms, ..Limits::default() });
        house.comes(&ann(json!({"jti": "t1"})));
        let stays = house.comes(&ann(json!({"jti": "t2"})));
        let heard = house.revokes(Revocation::Token { jti: "t1".into() });
        assert!(heard.contains("revoked"), "no tick has come: {heard}");
        assert_eq!(house.closed(CloseReason::Revoked), 1);
        assert!(house.says(stays, r#"{"type":"ping","id":1}"#).contains(r#""id":1"#));
        assert!(house.knocks(&signed(&ann(json!({"jti": "t1"})))).1.contains("revoked"), "and it is remembered");
    }
}

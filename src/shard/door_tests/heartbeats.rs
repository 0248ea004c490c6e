//! Whether people live: asked under a budget of the whole server.

use super::*;

const PEOPLE: u64 = 60;

#[test]
fn heartbeats_are_bounded_over_all_shards_and_who_comes_is_told_how_often_it_is_asked() {
    let limits = Limits { heartbeat_ms: 1_000, dead_after_ms: 4_000, pings_per_tick: 4, ..Limits::default() };
    let mut house = House::new(2, limits, |_| {});
    let people: Vec<ConnKey> = (0..PEOPLE).map(|n| house.enters(0, &format!("u{n}"))).collect();
    let told = |house: &House, conn: ConnKey| -> u64 {
        let (_, rest) = house.heard(0, conn).split_once(r#""heartbeat_ms":"#).expect("it is in the welcome");
        rest.split(',').next().unwrap().parse().unwrap()
    };
    // Two in a tenth of a second are this shard's part: sixty in three seconds.
    assert_eq!((told(&house, people[0]), told(&house, people[59])), (1_000, 3_000));
    let count = |house: &House| house.shards[0].counters().count(Count::Pings);
    let dead =
        |house: &House| people.iter().filter(|conn| house.reason(0, **conn) == Some(CloseReason::Silent)).count();
    // Nobody answers. The last of them is asked after twice as long, and has time then.
    for tick in 1..=80 {
        let before = count(&house);
        house.now.mono_ms += 100;
        house.shards[0].handle(house.now, Input::Tick);
        house.settle();
        assert!(count(&house) - before <= 2, "tick {tick}");
        assert!(tick >= 30 || count(&house) == 0, "tick {tick}: nobody is silent for long enough");
        assert!(tick >= 80 || dead(&house) == 0, "tick {tick}");
    }
    assert_eq!(count(&house), PEOPLE, "everybody was asked");
    for _ in 0..6 {
        house.passes(2_000);
    }
    assert_eq!(dead(&house), PEOPLE as usize);
}

//! Scenes of a server that leaves: slots, the fence before the goodbye, and who comes too late.

use throng::base::Encoding::{Json, MessagePack};
use throng::base::Limits;
use throng::shard::{Count, Flush};
use throng::wire::CloseReason;

use crate::client::Asked;
use crate::crowd::upgrade;
use crate::scene::{Scene, plainly};
use crate::tokens::Paper;
use crate::world::Happening::{Drain, Mail, Read, Tick};

const HERE: usize = 0;
const HOME: usize = 1;

#[test]
fn slots_are_spread_evenly_and_nobody_is_sent_away_before_its_own() {
    let mut scene = Scene::new(1);
    let people: Vec<usize> = (0..4).map(|user| scene.comes(HERE, user, Json)).collect();
    scene.turn(HERE, &[Drain(10_000)]);
    // A fifth of the budget is for the goodbyes, a second for the door to close; the other 7 s are cut into five.
    for (nth, who) in people.iter().enumerate() {
        assert_eq!(scene.hears(*who), [format!("drain {}", 1_000 + 1_400 * (nth + 1))]);
    }
    for tenths in 1..=80_usize {
        scene.world.pass_time(100);
        scene.turn(HERE, &[Tick]);
        let gone: Vec<bool> = people.iter().map(|who| scene.hears(*who) == ["closed 1012"]).collect();
        let due: Vec<bool> = (1..=4).map(|nth| tenths == 10 + 14 * nth).collect();
        assert_eq!(gone, due, "{tenths} tenths of a second");
    }
    scene.turn(HERE, &[Drain(1)]);
    scene.world.weather.drain_ms = Some(10_000);
    scene.ends();
}

#[test]
fn what_was_accepted_is_answered_before_the_goodbye_and_what_comes_after_the_slot_is_not_carried_out() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HOME, 1, MessagePack, room));
    // The last slot is bob's: his shard leaves later.
    scene.turn(HERE, &[Drain(2_000)]);
    assert_eq!(scene.hears(ann), ["drain 1000"]);
    scene.world.pass_time(1_000);
    scene.says(ann, room);
    scene.turn(HERE, &[Read(ann), Tick]);
    scene.says(ann, room);
    scene.turn(HERE, &[Read(ann), Tick]);
    assert_eq!(scene.count(HERE, Count::LeftUnread), 1, "her slot had come");
    assert_eq!(scene.hears(ann), [""; 0], "the home has not answered yet");
    scene.mail(HOME);
    scene.mail(HERE);
    assert_eq!(scene.hears(ann), ["ack 1", "closed 1012"]);
    assert_eq!(scene.hears(bob), ["#1"]);
    scene.turn(HOME, &[Drain(2_000)]);
    assert_eq!(scene.hears(bob), ["drain 1000"]);
    scene.world.pass_time(1_000);
    scene.comes_to_rest();
    assert_eq!(scene.hears(bob), ["closed 1012"]);
    scene.world.weather.drain_ms = Some(2_000);
    scene.ends();
}

#[test]
fn who_is_sent_away_has_first_all_that_its_rooms_owe_it() {
    let mut scene = Scene::with(2, |weather| {
        weather.flush = Flush::Tick;
        // Less than one message: the rest must not be forgotten.
        weather.limits = Limits { outbox_soft_bytes_max: 10, ..weather.limits.clone() };
    });
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HERE, 1, MessagePack, room));
    scene.turn(HERE, &[Drain(2_000), Tick]);
    assert_eq!((scene.hears(ann), scene.hears(bob)), (vec!["drain 800".into()], vec!["drain 1200".into()]));
    scene.world.pass_time(800);
    for _ in 0..3 {
        scene.says(bob, room);
    }
    scene.turn(HERE, &[Read(bob), Tick]);
    scene.mail(HOME);
    // The messages and the fence come in one parcel; nothing of it is written before.
    scene.turn(HERE, &[Mail, Tick]);
    assert_eq!(scene.hears(ann), ["#1", "#2", "#3", "closed 1012"]);
    scene.world.pass_time(600);
    scene.comes_to_rest();
    assert_eq!(scene.hears(bob), ["ack 1", "ack 2", "ack 3", "closed 1012"]);
    scene.world.weather.drain_ms = Some(2_000);
    scene.turn(HOME, &[Drain(0)]);
    scene.ends();
}

#[test]
fn a_handshake_in_progress_is_told_to_come_again_and_an_unfinished_one_is_not_waited_for() {
    let mut scene = Scene::new(1);
    let head = upgrade(Json, Some(&Paper::plain(0).signed()));
    let late = scene.world.connect(HERE, 0, Json, &head).expect("a free row");
    let slow = scene.world.connect(HERE, 1, Json, "GET /ws HT").expect("a free row");
    scene.turn(HERE, &[Read(slow), Drain(2_000)]);
    scene.turn(HERE, &[Read(late)]);
    scene.world.pass_time(2_000);
    scene.comes_to_rest();
    scene.world.pass_time(2_000);
    scene.comes_to_rest();
    for who in [late, slow] {
        assert!(scene.hears(who).is_empty(), "it never had a session");
    }
    assert_eq!(scene.count(HERE, Count::RefusedLeaving), 2);
    assert_eq!(scene.world.shards[HERE].counters().closes(CloseReason::Draining), 2);
    assert!(scene.world.shards[HERE].is_drained());
    scene.world.weather.drain_ms = Some(2_000);
    scene.ends();
}

#[test]
fn a_shard_that_is_empty_stays_for_the_rooms_of_the_others() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let ann = scene.sits(HERE, 0, Json, room);
    scene.turn(HOME, &[Drain(2_000)]);
    scene.turn(HERE, &[Drain(2_000)]);
    assert!(scene.world.shards[HOME].is_drained() && !scene.world.shards[HERE].is_drained());
    scene.says(ann, room);
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    assert_eq!(scene.hears(ann), ["drain 1000", "ack 1"]);
    scene.world.pass_time(1_000);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["closed 1012"]);
    scene.world.weather.drain_ms = Some(2_000);
    scene.ends();
}

#[test]
fn only_the_silent_are_asked_so_many_in_a_tick_and_nobody_is_dead_who_was_not_asked() {
    let mut scene = Scene::with(1, |weather| {
        weather.limits =
            Limits { heartbeat_ms: 1_000, dead_after_ms: 2_000, pings_per_tick: 1, ..weather.limits.clone() };
    });
    let people: Vec<usize> = (0..3).map(|user| scene.comes(HERE, user, Json)).collect();
    let talks = scene.comes(HERE, 3, Json);
    let pings = |scene: &Scene| scene.count(HERE, Count::Pings);
    // Four rows: one is looked at in each tick, so a round is four ticks; all three are overdue at once.
    scene.world.pass_time(5_000);
    scene.asks(talks, Asked::Ping);
    scene.turn(HERE, &[Read(talks)]);
    for _ in 0..5 {
        let before = pings(&scene);
        scene.turn(HERE, &[Tick]);
        assert!(pings(&scene) - before <= 1, "one a tick");
    }
    assert_eq!((pings(&scene), scene.world.shards[HERE].counters().closes(CloseReason::Silent)), (3, 0));
    scene.comes_to_rest();
    for who in people {
        assert!(scene.world.is_alive(who), "it answered when it was asked");
    }
    scene.asks(talks, Asked::Join(0, plainly()));
    scene.ends();
}

//! Scenes of sessions that go on by another connection: who has it, who has lost it, and what it is told of its rooms.

use throng::base::Encoding::{Json, MessagePack};
use throng::base::{Epoch, Offset, Position};
use throng::shard::Count;
use throng::wire::CloseReason;

use crate::scene::Scene;
use crate::world::Happening::{Drain, Ended, Read, Tick};

const HERE: usize = 0;
const HOME: usize = 1;
const THERE: usize = 2;

/// Three shards, a room at its home, ann in it here and bob there; nobody's dice change anything.
fn scene() -> (Scene, usize, usize, usize) {
    let mut scene = Scene::new(3);
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HOME, 1, MessagePack, room));
    (scene, room, ann, bob)
}

/// Ann's next connection, which has been answered everything.
fn comes_back(scene: &mut Scene, of: usize, shard: usize) -> usize {
    let again = scene.world.comes_back(of, shard).expect("a free row");
    scene.turn(shard, &[Read(again)]);
    scene.comes_to_rest();
    again
}

#[test]
fn who_was_cut_and_comes_back_anywhere_has_what_it_missed_and_nothing_twice() {
    for shard in [HERE, HOME, THERE] {
        let (mut scene, room, ann, bob) = scene();
        scene.says(bob, room);
        scene.comes_to_rest();
        assert_eq!(scene.hears(ann), ["#1"]);
        scene.vanishes(HERE, ann);
        scene.says(bob, room);
        scene.says(bob, room);
        scene.comes_to_rest();
        let again = comes_back(&mut scene, ann, shard);
        let mut heard = scene.hears(again);
        heard.sort();
        assert_eq!(heard, ["#2", "#3", "done 1", "joined 3 recovered", "welcome"], "at shard {shard}");
        assert_eq!(scene.count(HERE, Count::TakenOver), 0);
        scene.ends();
    }
}

#[test]
fn a_half_open_connection_is_closed_for_good_and_its_mail_dies() {
    for shard in [HERE, THERE] {
        let (mut scene, room, ann, bob) = scene();
        // She publishes, and the answer is on its way when the session goes on elsewhere.
        scene.says(ann, room);
        scene.turn(HERE, &[Read(ann)]);
        let again = scene.world.comes_back(ann, shard).expect("a free row");
        scene.turn(shard, &[Read(again)]);
        scene.mail(HERE);
        assert_eq!(scene.hears(ann), ["closed 4502"], "at shard {shard}");
        scene.comes_to_rest();
        assert_eq!(scene.hears(bob), ["#1"]);
        let heard = scene.hears(again);
        assert!(heard.contains(&"#1".to_owned()), "what she was not told was accepted she hears: {heard:?}");
        assert_eq!(scene.world.shards[HERE].counters().closes(CloseReason::TakenOver), 1);
        assert_eq!(scene.count(HERE, Count::TakenOver), 1);
        scene.ends();
    }
}

#[test]
fn the_death_may_be_noticed_before_or_after_and_it_is_one_takeover_or_none() {
    for noticed_first in [true, false] {
        let (mut scene, _, ann, _) = scene();
        scene.world.cut(ann);
        if noticed_first {
            scene.turn(HERE, &[Ended(ann)]);
        }
        let again = scene.world.comes_back(ann, THERE).expect("a free row");
        scene.turn(THERE, &[Read(again)]);
        scene.mail(HERE);
        assert_eq!(scene.count(HERE, Count::TakenOver), u64::from(!noticed_first));
        scene.turn(HERE, &[Ended(ann)]);
        scene.comes_to_rest();
        assert_eq!(scene.count(THERE, Count::Resumed), 1);
        scene.ends();
    }
}

#[test]
fn a_session_is_resumed_once_and_not_after_its_window_and_positions_work_all_the_same() {
    let (mut scene, room, ann, bob) = scene();
    scene.vanishes(HERE, ann);
    let first = comes_back(&mut scene, ann, THERE);
    let second = comes_back(&mut scene, ann, HERE);
    assert_eq!((scene.count(THERE, Count::Resumed), scene.count(HERE, Count::NotResumed)), (1, 1));
    assert!(scene.world.is_alive(first), "she who has the session keeps it");
    scene.vanishes(THERE, first);
    scene.says(bob, room);
    scene.comes_to_rest();
    scene.world.pass_time(120_000);
    scene.turn(THERE, &[Tick]);
    let late = comes_back(&mut scene, first, THERE);
    assert_eq!(scene.count(THERE, Count::NotResumed), 1);
    assert!(scene.hears(late).contains(&"joined 1 recovered".to_owned()));
    assert!(scene.world.is_alive(second));
    scene.ends();
}

/// All leave, and everybody is sent away in their slots.
fn leaves(mut scene: Scene, shards: &[usize]) {
    shards.iter().for_each(|shard| scene.turn(*shard, &[Drain(2_000)]));
    scene.world.weather.drain_ms = Some(2_000);
    scene.world.pass_time(2_000);
    scene.comes_to_rest();
    scene.ends();
}

#[test]
fn a_session_of_a_shard_that_leaves_goes_on_elsewhere_and_its_slot_is_nobodys() {
    for half_open in [true, false] {
        let (mut scene, room, ann, bob) = scene();
        scene.turn(HERE, &[Drain(10_000)]);
        assert_eq!(scene.hears(ann), ["drain 4500"]);
        if !half_open {
            scene.vanishes(HERE, ann);
        }
        // Where she comes nobody has heard of it yet.
        let again = comes_back(&mut scene, ann, THERE);
        assert_eq!(scene.hears(ann), if half_open { vec!["closed 4502"] } else { vec![] });
        assert_eq!(scene.count(HERE, Count::TakenOver), u64::from(half_open));
        scene.says(bob, room);
        scene.world.pass_time(10_000);
        scene.comes_to_rest();
        let mut heard = scene.hears(again);
        heard.sort();
        assert_eq!(heard, ["#1", "done 1", "joined 0 recovered", "welcome"]);
        assert!(scene.world.is_alive(again), "the slot was her old connection's");
        assert!(scene.world.shards[HERE].is_drained());
        leaves(scene, &[HOME, THERE]);
    }
}

#[test]
fn who_goes_on_at_a_shard_that_leaves_is_answered_and_hears_its_rooms_until_its_slot_and_not_behind_it() {
    for slot_has_come in [false, true] {
        let (mut scene, room, ann, bob) = scene();
        scene.vanishes(HERE, ann);
        scene.says(bob, room);
        scene.comes_to_rest();
        let memory = scene.world.clients[ann].memory(9, 0, &mut scene.world.dice).expect("a session");
        let again = scene.comes(THERE, 0, Json);
        scene.turn(THERE, &[Drain(2_000)]);
        assert_eq!(scene.hears(again), ["drain 1000"]);
        if slot_has_come {
            scene.world.pass_time(1_000);
            scene.turn(THERE, &[Tick]);
        }
        let mut out = Vec::new();
        scene.world.clients[again].resume(&memory, &mut out, &mut scene.world.dice);
        scene.world.send(again, &out);
        scene.turn(THERE, &[Read(again)]);
        scene.says(bob, room);
        scene.comes_to_rest();
        let mut heard = scene.hears(again);
        heard.sort();
        if slot_has_come {
            assert_eq!(heard, ["closed 1012"]);
            assert_eq!(scene.count(THERE, Count::Resumed), 0);
            // So the session is still there, for whoever comes to a shard that stays.
            let third = comes_back(&mut scene, ann, HERE);
            assert_eq!(scene.count(HERE, Count::Resumed), 1);
            assert!(scene.hears(third).contains(&"joined 2 recovered".to_owned()));
        } else {
            assert_eq!(heard, ["#1", "#2", "done 1", "joined 2 recovered"]);
            scene.says(again, room);
            scene.comes_to_rest();
            assert_eq!(scene.hears(again), ["ack 3"]);
            scene.world.pass_time(1_000);
            scene.comes_to_rest();
            assert_eq!(scene.hears(again), ["closed 1012"]);
        }
        leaves(scene, &[HERE, HOME]);
    }
}

#[test]
fn a_room_without_a_position_or_of_another_life_says_what_is_not_known() {
    let (mut scene, room, ann, bob) = scene();
    scene.says(bob, room);
    scene.comes_to_rest();
    scene.vanishes(HERE, ann);
    let mut memory = scene.world.clients[ann].memory(9, 0, &mut scene.world.dice).expect("a session");
    for (since, told) in
        [(None, "gap 1..=1 unknown"), (Some(Position { epoch: Epoch(7), offset: Offset(1) }), "gap 1..=0 epoch")]
    {
        let again = scene.comes(THERE, 0, Json);
        memory.rooms[0].1.since = since;
        let mut out = Vec::new();
        scene.world.clients[again].resume(&memory, &mut out, &mut scene.world.dice);
        // Whether the session goes on is not what this is about.
        scene.world.clients[again].resumes = None;
        scene.world.send(again, &out);
        scene.comes_to_rest();
        let heard = scene.hears(again);
        let place = heard.iter().position(|line| line.starts_with("joined ")).expect("a seat");
        assert_eq!(heard[place..=place + 1], ["joined 1 not recovered", told]);
        scene.vanishes(THERE, again);
    }
    scene.ends();
}

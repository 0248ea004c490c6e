//! Scenes of people: who is away, who types, who has read; and what those who watch are told of it, on which tick.

use throng::base::Encoding::{Json, MessagePack};
use throng::base::{Offset, Presence};
use throng::shard::Count;

use crate::client::Asked;
use crate::scene::Scene;
use crate::view::Wish;
use crate::weather::{PeopleRules, Weather};
use crate::world::Happening::{Ended, Mail, Read, Tick};

const HERE: usize = 0;
const HOME: usize = 1;

const RULES: PeopleRules =
    PeopleRules { presence: Presence::Announced, leave_delay_ms: 2_000, typing_ms: 3_000, receipts: true };

fn with_rules(adjust: impl Fn(&mut Weather)) -> impl Fn(&mut Weather) {
    move |weather| {
        weather.people = RULES;
        adjust(weather);
    }
}

/// Somebody who watches.
fn watches(scene: &mut Scene, shard: usize, user: usize, room: usize) -> usize {
    let who = scene.comes(shard, user, if user == 0 { Json } else { MessagePack });
    scene.asks(who, Asked::Join(room, Wish { since: None, history: 0, presence: true, resumes: false }));
    scene.comes_to_rest();
    scene.hears(who);
    who
}

/// One tick of everybody, and what lies in the inboxes by then.
fn ticks(scene: &mut Scene) {
    scene.world.pass_time(100);
    for shard in [HERE, HOME] {
        scene.turn(shard, &[Tick]);
    }
    for shard in [HERE, HOME] {
        scene.mail(shard);
    }
}

#[test]
fn a_tunnel_is_told_as_away_and_back_and_who_stays_away_has_left() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), watches(&mut scene, HOME, 1, room));
    assert_eq!(scene.hears(ann), ["+user-1"]);
    scene.vanishes(HOME, bob);
    ticks(&mut scene);
    assert_eq!(scene.hears(ann), ["~user-1"]);
    let bob = watches(&mut scene, HERE, 1, room);
    assert_eq!(scene.hears(ann), ["!user-1"], "a tunnel");
    scene.asks(ann, Asked::Presence(room));
    scene.vanishes(HERE, bob);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["2 there", "~user-1", "-user-1"], "nobody came out of that one");
    scene.ends();
}

/// Bob's next connection, with the session of this one.
fn comes_back(scene: &mut Scene, of: usize, shard: usize) -> usize {
    let again = scene.world.comes_back(of, shard).expect("a free row");
    scene.turn(shard, &[Read(again)]);
    again
}

#[test]
fn a_session_that_is_resumed_within_the_delay_is_nobody_who_left_or_joined() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), watches(&mut scene, HOME, 1, room));
    scene.says(ann, room);
    scene.asks(bob, Asked::Typing(room, true));
    scene.world.reference.types(room, "user-1");
    scene.turn(HERE, &[Read(ann)]);
    scene.turn(HOME, &[Read(bob)]);
    ticks(&mut scene);
    ticks(&mut scene);
    scene.hears(ann);
    // A tunnel, noticed at once, and the other shard at its end.
    scene.vanishes(HOME, bob);
    ticks(&mut scene);
    assert_eq!(scene.hears(ann), ["~user-1", "typing "], "who is not there does not type");
    let bob = comes_back(&mut scene, bob, HERE);
    assert_eq!(scene.count(HOME, Count::TakenOver), 0);
    scene.asks(bob, Asked::Typing(room, true));
    scene.asks(bob, Asked::Read(room, Offset(1)));
    scene.world.reference.reads(room, "user-1", Offset(1));
    scene.turn(HERE, &[Read(bob)]);
    for _ in 0..4 {
        ticks(&mut scene);
    }
    let mut heard = scene.hears(ann);
    heard.sort();
    assert_eq!(heard, ["!user-1", "read user-1 1", "typing user-1"], "and is at work again, by a new socket");
    // The next one nobody has noticed: the new socket takes the session from the old one.
    let told = scene.hears(bob);
    assert!(told.iter().any(|line| line.ends_with(" recovered")), "{told:?}");
    scene.world.cut(bob);
    let again = comes_back(&mut scene, bob, HOME);
    scene.mail(HERE);
    ticks(&mut scene);
    scene.turn(HERE, &[Ended(bob)]);
    assert_eq!(scene.count(HERE, Count::TakenOver), 1);
    scene.asks(again, Asked::Unread(room));
    scene.comes_to_rest();
    let heard = scene.hears(ann);
    let of_people = heard.iter().filter(|line| !line.starts_with("typing"));
    assert_eq!(of_people.count(), 0, "nobody was away for a moment: {heard:?}");
    assert_eq!(scene.count(HOME, Count::Resumed) + scene.count(HERE, Count::Resumed), 2);
    scene.asks(ann, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["2 there"]);
    scene.ends();
}

#[test]
fn a_session_that_is_resumed_too_late_has_left_and_joins() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), watches(&mut scene, HOME, 1, room));
    scene.hears(ann);
    scene.vanishes(HOME, bob);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["~user-1", "-user-1"]);
    comes_back(&mut scene, bob, HERE);
    scene.comes_to_rest();
    assert_eq!((scene.hears(ann), scene.count(HERE, Count::Resumed)), (vec!["+user-1".to_owned()], 1));
    scene.ends();
}

#[test]
fn who_types_before_the_answer_to_the_join_is_told_once_it_is_there_or_not_at_all() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let ann = watches(&mut scene, HOME, 0, room);
    for stays in [true, false] {
        let bob = scene.comes(HERE, 1, Json);
        scene.asks(bob, Asked::Join(room, crate::scene::plainly()));
        scene.asks(bob, Asked::Typing(room, true));
        scene.world.reference.types(room, "user-1");
        if !stays {
            scene.asks(bob, Asked::Leave(room));
        }
        scene.turn(HERE, &[Read(bob), Tick]);
        scene.comes_to_rest();
        let typed = scene.hears(ann).iter().any(|line| line == "typing user-1");
        assert_eq!(typed, stays);
        scene.vanishes(HERE, bob);
        scene.comes_to_rest();
        scene.hears(ann);
    }
    scene.ends();
}

#[test]
fn who_comes_and_goes_within_a_tick_is_no_news_and_a_crowd_is_one_number() {
    let mut scene = Scene::with(2, with_rules(|weather| weather.limits.announced_max = 3));
    let room = scene.room_at(HOME);
    let ann = watches(&mut scene, HERE, 0, room);
    let bob = scene.comes(HERE, 1, Json);
    scene.asks(bob, Asked::Join(room, crate::scene::plainly()));
    scene.asks(bob, Asked::Leave(room));
    scene.turn(HERE, &[Read(bob)]);
    scene.mail(HOME);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), [""; 0]);
    let crowd: Vec<usize> = (2..7).map(|user| scene.comes(HERE, user, Json)).collect();
    for who in &crowd {
        scene.asks(*who, Asked::Join(room, crate::scene::plainly()));
        scene.turn(HERE, &[Read(*who)]);
    }
    scene.mail(HOME);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["6 of version 2"], "one event, and the next version");
    assert_eq!(scene.count(HOME, Count::PresenceCounted), 1);
    scene.asks(crowd[0], Asked::Leave(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["-user-2"], "few are named again");
    scene.ends();
}

#[test]
fn typing_is_merged_repeated_and_ends_by_itself_or_with_the_message() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), watches(&mut scene, HOME, 1, room));
    scene.hears(ann);
    for who in [ann, bob, ann] {
        scene.asks(who, Asked::Typing(room, true));
        scene.world.reference.types(room, &scene.world.clients[who].name.clone());
    }
    scene.turn(HERE, &[Read(ann)]);
    scene.turn(HOME, &[Read(bob)]);
    ticks(&mut scene);
    ticks(&mut scene);
    let heard = scene.hears(ann);
    assert_eq!(heard.last().unwrap(), "typing user-0,user-1");
    assert!(heard.iter().filter(|line| line.starts_with("typing")).count() <= 2, "{heard:?}");
    scene.hears(bob);
    scene.says(bob, room);
    scene.turn(HOME, &[Read(bob)]);
    ticks(&mut scene);
    ticks(&mut scene);
    let mut heard = scene.hears(ann);
    heard.sort();
    assert_eq!(heard, ["#1", "typing user-0"], "what he typed he has said");
    scene.comes_to_rest();
    let heard = scene.hears(bob);
    assert_eq!(heard.last().unwrap(), "typing ", "nobody repeated it: {heard:?}");
    scene.ends();
}

#[test]
fn reads_reach_those_who_watch_and_the_other_connections_of_their_user() {
    let mut scene = Scene::with(2, with_rules(|_| {}));
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), scene.sits(HERE, 1, Json, room));
    let other_bob = scene.sits(HOME, 1, MessagePack, room);
    let stranger = scene.sits(HOME, 2, Json, room);
    (0..3).for_each(|_| scene.says(ann, room));
    scene.comes_to_rest();
    [ann, bob, other_bob, stranger].into_iter().for_each(|who| drop(scene.hears(who)));
    for offset in [2, 1, 9] {
        scene.asks(bob, Asked::Read(room, Offset(offset)));
        scene.world.reference.reads(room, "user-1", Offset(offset));
    }
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["read user-1 3"], "not beyond the newest, and one word for all three");
    assert_eq!(scene.hears(other_bob), ["read user-1 3"]);
    assert_eq!(scene.hears(stranger), [""; 0]);
    scene.asks(other_bob, Asked::Unread(room));
    scene.says(ann, room);
    scene.asks(stranger, Asked::Unread(room));
    scene.comes_to_rest();
    scene.ends();
}

#[test]
fn a_slow_reader_goes_without_news_of_people_and_is_told_so_once() {
    let mut scene = Scene::with(2, |weather| {
        with_rules(|weather| weather.limits.outbox_soft_bytes_max = 60)(weather);
        weather.socket_bytes = (400, 400);
    });
    let room = scene.room_at(HOME);
    let (ann, bob) = (watches(&mut scene, HERE, 0, room), watches(&mut scene, HOME, 1, room));
    scene.comes_to_rest();
    scene.hears(ann);
    scene.world.clients[ann].deaf = true;
    // Her socket is full, and answers she asked for wait behind it.
    for _ in 0..12 {
        scene.asks(ann, Asked::Presence(room));
        scene.turn(HERE, &[Read(ann)]);
        scene.mail(HOME);
        scene.turn(HERE, &[Mail]);
    }
    for user in 2..5 {
        let guest = scene.comes(HOME, user, Json);
        scene.asks(guest, Asked::Join(room, crate::scene::plainly()));
        scene.turn(HOME, &[Read(guest)]);
        ticks(&mut scene);
    }
    assert!(scene.count(HERE, Count::PresenceDropped) >= 2);
    scene.world.clients[ann].deaf = false;
    scene.comes_to_rest();
    let heard = scene.hears(ann);
    assert_eq!(heard.iter().filter(|line| *line == "stale").count(), 1, "{heard:?}");
    assert!(scene.hears(bob).contains(&"+user-4".to_owned()), "others are told as ever");
    scene.asks(ann, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["5 there"]);
    scene.ends();
}

#[test]
fn a_room_that_only_counts_names_nobody_unasked_and_one_that_is_off_has_nothing_to_tell() {
    let mut scene = Scene::with(2, with_rules(|weather| weather.people.presence = Presence::Counted));
    let room = scene.room_at(HOME);
    let ann = watches(&mut scene, HERE, 0, room);
    scene.sits(HERE, 1, Json, room);
    assert_eq!(scene.hears(ann), ["2 of version 2"]);
    scene.ends();
    let mut scene = Scene::with(2, with_rules(|weather| weather.people.presence = Presence::Off));
    let room = scene.room_at(HOME);
    let ann = watches(&mut scene, HERE, 0, room);
    scene.sits(HERE, 1, Json, room);
    scene.asks(ann, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["refused 2 unsupported"]);
    assert!(scene.world.shards[HOME].homes().all(|room| room.people().count() == 0), "nobody is even counted");
    scene.ends();
}

//! Two shards and a control plane, by hand: what is asked, and what comes back.

mod announcing;

use super::house::{House, Who};
use super::*;
use crate::base::{Encoding, Epoch, Identity, Offset, Position, RoomName};
use crate::wire::{CloseReason, GapWhy, Refusal, frame_content, prove};

impl House {
    fn sits(&mut self, shard: u16, user: &str, room: &str) -> Who {
        let who = self.comes(shard, user);
        assert!(self.joins(who, room).contains("reply"));
        who
    }

    fn home(&self, room: &str) -> ShardId {
        self.shards[0].home_of(room)
    }

    fn tick(&mut self) {
        self.passes(100);
    }

    fn speaks(&mut self, room: &str, data: &str) -> Result<Position, Refusal> {
        let answers = self.answers_of(self.home(room), Question::Publish(vec![notice(room, data)]));
        let [Answer::Published(outcomes)] = answers.as_slice() else { panic!("{answers:?}") };
        outcomes[0]
    }

    fn history(&mut self, room: &str, from: HistoryFrom, wait_ms: u64) -> Vec<Answer> {
        let question = HistoryQuestion { room: name(room), from, messages_max: 3, bytes_max: 1 << 20, wait_ms };
        self.answers_of(self.home(room), Question::History(Box::new(question)))
    }
}

fn name(room: &str) -> RoomName {
    RoomName::parse(room).unwrap()
}

fn user(user: &str) -> Identity {
    Identity::new(user, None).unwrap()
}

fn notice(room: &str, data: &str) -> Notice {
    let payload = prove(Encoding::Json, data.as_bytes(), 32).unwrap().to_payload();
    Notice { room: name(room), from: user("backend"), event: Some("news".into()), payload }
}

fn page(mut answers: Vec<Answer>) -> (Vec<String>, HistoryPage) {
    assert_eq!(answers.len(), 1, "{answers:?}");
    let Some(Answer::History(page)) = answers.pop() else { panic!("another answer") };
    let texts = page.messages.iter().map(|frame| String::from_utf8(frame_content(frame.plain()).to_vec()).unwrap());
    (texts.collect(), *page)
}

/// How many connections were reached, and passed over, by all shards that have answered.
fn reached(answers: &[Answer]) -> (u64, u64) {
    let of = |answer: &Answer| match answer {
        Answer::Reached { connections, passed_over } => Some((*connections, *passed_over)),
        Answer::Announced(_) => None,
        Answer::Refused(_)
        | Answer::Published(_)
        | Answer::Presence(_)
        | Answer::History(_)
        | Answer::Rooms { .. }
        | Answer::Ticket(_)
        | Answer::Revoked(_)
        | Answer::Connections { .. } => panic!("{answer:?}"),
    };
    answers.iter().filter_map(of).fold((0, 0), |(all, over), (one, slow)| (all + one, over + slow))
}

#[test]
fn what_the_api_publishes_is_heard_like_everything_else() {
    let mut house = House::new(&[]);
    let (ann, bob) = (house.sits(0, "ann", "r"), house.sits(1, "bob", "r"));
    let position = house.speaks("r", r#"{"n":1}"#).unwrap();
    assert_eq!(position.offset, Offset(1));
    for who in [ann, bob] {
        let heard = house.hears(who);
        assert!(heard.contains(r#""offset":1"#) && heard.contains(r#""from":{"user":"backend"}"#), "{heard}");
        assert!(heard.contains(r#""event":"news","data":{"n":1}"#), "{heard}");
    }
    house.says(ann, r#"{"type":"publish","id":2,"room":"r","data":2}"#);
    assert!(house.hears(bob).contains(r#""offset":2"#));
    assert_eq!(house.speaks("r", "3").unwrap(), Position { offset: Offset(3), ..position });
}

#[test]
fn a_batch_gets_a_position_each_in_the_order_given() {
    let mut house = House::new(&[]);
    let rooms: Vec<String> = (0..20).map(|n| format!("r{n}")).filter(|room| house.home(room) == ShardId(0)).collect();
    let notices = [&rooms[0], &rooms[1], &rooms[0]].map(|room| notice(room, "1")).into();
    let answers = house.answers_of(ShardId(0), Question::Publish(notices));
    let [Answer::Published(outcomes)] = answers.as_slice() else { panic!("{answers:?}") };
    let offsets: Vec<u64> = outcomes.iter().map(|outcome| outcome.unwrap().offset.0).collect();
    assert_eq!(offsets, [1, 1, 2]);
}

#[test]
fn a_broadcast_reaches_everybody_once_and_a_message_to_a_user_only_the_user() {
    let mut house = House::new(&[]);
    let (ann, again) = (house.comes(0, "ann"), house.sits(1, "ann", "elsewhere"));
    let (bob, seated) = (house.comes(1, "bob"), house.sits(0, "cy", "@all"));
    let to_all = Question::Announce { to: Audience::Everybody, notice: Box::new(notice("@all", "1")) };
    let answers = house.answers_of(house.home("@all"), to_all);
    assert!(matches!(answers[0], Answer::Announced(position) if position.offset == Offset(1)), "{answers:?}");
    assert_eq!((answers.len(), reached(&answers)), (3, (4, 0)));
    for who in [ann, again, bob, seated] {
        let heard = house.hears(who);
        assert_eq!(heard.matches(r#""room":"@all","offset":1"#).count(), 1, "{heard}");
    }
    let to_ann = Question::Announce { to: Audience::User(user("ann")), notice: Box::new(notice("@ann", "2")) };
    let answers = house.answers_of(house.home("@ann"), to_ann);
    assert_eq!(reached(&answers), (2, 0));
    for who in [ann, again] {
        assert!(house.hears(who).contains(r#""room":"@ann","offset":1"#));
    }
    assert_eq!([house.hears(bob), house.hears(seated)], ["", ""]);
}

#[test]
fn announcements_come_in_the_order_of_their_positions() {
    let mut house = House::new(&[]);
    let everybody: Vec<_> = (0..40).map(|n| house.comes(n % 2, &format!("u{n}"))).collect();
    for n in 1..=5 {
        let question = Question::Announce { to: Audience::Everybody, notice: Box::new(notice("@all", "1")) };
        let home = house.home("@all");
        house.shards[home.index()].handle(house.now, Input::Ask(Ask { id: AskId(100 + n), question }));
    }
    house.rests();
    house.tick();
    for who in everybody {
        let heard = house.hears(who);
        let places: Vec<usize> = (1..=5).map(|n| heard.find(&format!("\"offset\":{n},")).expect("it came")).collect();
        assert!(places.is_sorted(), "{heard}");
    }
}

#[test]
fn a_broadcast_to_a_crowd_is_paced_by_ticks() {
    let mut house = House::with(Limits { sends_per_tick: 100_000, ..Limits::default() }, &[]);
    let everybody: Vec<_> = (0..20).map(|n| house.comes(0, &format!("u{n}"))).collect();
    let long = format!("\"{}\"", "x".repeat(900_000));
    let question = Question::Announce { to: Audience::Everybody, notice: Box::new(notice("@all", &long)) };
    let mut answers = house.answers_of(house.home("@all"), question);
    let told = everybody.iter().filter(|who| house.heard.iter().any(|(whose, _)| whose == *who)).count();
    assert!((15..20).contains(&told), "16 MiB a tick: {told}");
    house.tick();
    answers.extend(house.answers_to(AskId(house.asked)));
    assert_eq!(reached(&answers), (20, 0));
}

#[test]
fn who_reads_too_slowly_is_passed_over_and_counted() {
    let mut house = House::with(Limits { outbox_soft_bytes_max: 10, ..Limits::default() }, &[]);
    let ann = house.comes(0, "ann");
    let work = house.shards[0].work_mut(ann.1).unwrap();
    work.outbox.extend_from_slice(&[0x8a, 0].repeat(10));
    work.progress_mono_ms = 5_000;
    house.shards[0].connections.at_mut(ann.1.index()).flags.set(row::Flags::STALLED, true);
    let question = Question::Announce { to: Audience::User(user("ann")), notice: Box::new(notice("@ann", "1")) };
    let answers = house.answers_of(house.home("@ann"), question);
    assert_eq!(reached(&answers), (0, 1));
    assert_eq!(house.shards[0].counters().count(Count::PassedOver), 1);
}

#[test]
fn connections_of_a_user_are_found_on_every_shard_and_closed() {
    let mut house = House::new(&[]);
    let (ann, again, bob) = (house.sits(0, "ann", "r"), house.sits(0, "ann", "s"), house.sits(0, "bob", "r"));
    let elsewhere = house.comes(1, "ann");
    let find = |house: &mut House, shard| {
        let question = Question::Connections { user: user("ann"), connections_max: 1 };
        let mut answers = house.answers_of(ShardId(shard), question);
        let Some(Answer::Connections { list, count }) = answers.pop() else { panic!("{answers:?}") };
        (list, count)
    };
    let (list, count) = find(&mut house, 0);
    assert_eq!((list.len(), count, list[0].address.conn, list[0].rooms.as_slice()), (1, 2, ann.1, &[name("r")][..]));
    assert_eq!((list[0].encoding, list[0].stalled, list[0].expires_in_s), (Encoding::Json, false, 60_005));
    assert_eq!(find(&mut house, 1).1, 1);
    let close = |whom| Question::Close { whom, reason: CloseReason::Kicked };
    assert_eq!(reached(&house.answers_of(ShardId(0), close(Closed::Connection(again.1)))), (1, 0));
    assert!(house.hears(again).contains("come back"));
    assert_eq!(
        reached(&house.answers_of(ShardId(0), close(Closed::Connection(again.1)))),
        (0, 0),
        "it is closing already"
    );
    for (shard, expected) in [(0, 1), (1, 1)] {
        assert_eq!(reached(&house.answers_of(ShardId(shard), close(Closed::User(user("ann"))))), (expected, 0));
    }
    assert!(house.hears(ann).contains("come back") && house.hears(elsewhere).contains("come back"));
    assert_eq!(house.hears(bob), "");
    let counts = house.shards[0].counters();
    assert_eq!(
        (counts.closes(CloseReason::Kicked), find(&mut house, 0).1),
        (0, 0),
        "they are counted when they are gone"
    );
}

#[test]
fn everybody_in_a_room_is_closed_and_nobody_else() {
    let mut house = House::new(&[]);
    let crowd: Vec<_> = (0..50).map(|n| house.sits(n % 2, &format!("u{n}"), "r")).collect();
    let out = house.sits(0, "out", "s");
    let closed: u64 = (0..2)
        .map(|shard| {
            let question = Question::Close { whom: Closed::Room(name("r")), reason: CloseReason::Banned };
            reached(&house.answers_of(ShardId(shard), question)).0
        })
        .sum();
    assert_eq!(closed, 50);
    for who in crowd {
        assert!(house.hears(who).contains("do not come back"));
    }
    assert_eq!(house.hears(out), "");
    assert_eq!(
        reached(
            &house
                .answers_of(ShardId(0), Question::Close { whom: Closed::Room(name("r")), reason: CloseReason::Banned })
        ),
        (0, 0)
    );
}

#[test]
fn history_is_read_from_both_ends() {
    let mut house = House::with(Limits { log_messages_max: 6, ..Limits::default() }, &[]);
    let epoch = (1..=8).map(|n| house.speaks("r", &n.to_string()).unwrap().epoch).last().unwrap();
    let offsets = |texts: &[String]| -> Vec<u64> {
        let offset =
            |text: &String| serde_json::from_str::<serde_json::Value>(text).unwrap()["offset"].as_u64().unwrap();
        texts.iter().map(offset).collect()
    };
    let (newest, facts) = page(house.history("r", HistoryFrom::Newest, 0));
    assert_eq!((offsets(&newest), facts.last, facts.head), (vec![6, 7, 8], Offset(8), Offset(8)));
    let (before, _) = page(house.history("r", HistoryFrom::Before(Offset(5)), 0));
    assert_eq!(offsets(&before), [3, 4], "the log begins at 3");
    let after = |offset, epoch| HistoryFrom::After { epoch, offset: Offset(offset) };
    let (texts, facts) = page(house.history("r", after(1, Some(epoch)), 0));
    assert_eq!((offsets(&texts), facts.last), (vec![3, 4, 5], Offset(5)));
    assert_eq!(facts.gap, Some((Offset(2), Offset(2), GapWhy::Retention)));
    let (texts, facts) = page(house.history("r", after(5, None), 0));
    assert_eq!((offsets(&texts), facts.gap), (vec![6, 7, 8], None));
    let (texts, facts) = page(house.history("r", after(7, Some(Epoch(1))), 0));
    assert_eq!((offsets(&texts), facts.gap), (vec![3, 4, 5], Some((Offset(1), Offset(2), GapWhy::Epoch))));
    let (texts, facts) = page(house.history("nowhere", HistoryFrom::Newest, 0));
    assert_eq!((texts.len(), facts.epoch, facts.head), (0, None, Offset(0)));
}

#[test]
fn who_waits_for_news_is_answered_by_the_tick_that_has_some_or_when_the_time_is_over() {
    let mut house = House::new(&[]);
    let from = |offset| HistoryFrom::After { epoch: None, offset: Offset(offset) };
    // Of a room that is not there yet, too.
    assert!(house.history("r", from(0), 1_000).is_empty());
    house.tick();
    assert!(house.answers.is_empty());
    house.speaks("r", "1").unwrap();
    house.tick();
    let (texts, facts) = page(house.answers_to(AskId(1)));
    assert_eq!((texts.len(), facts.last), (1, Offset(1)));
    assert!(house.history("r", from(1), 250).is_empty());
    (0..2).for_each(|_| house.tick());
    assert!(house.answers.is_empty());
    house.tick();
    let (texts, facts) = page(house.answers_to(AskId(house.asked)));
    assert_eq!((texts.len(), facts.last, facts.gap), (0, Offset(1), None));
    assert_eq!(page(house.history("r", from(0), 1_000)).0.len(), 1, "what is there is not waited for");
}

#[test]
fn every_room_is_on_one_page_and_the_fullest_come_first() {
    let mut house = House::new(&[]);
    for n in 0..30 {
        house.speaks(&format!("room{n}"), "1").unwrap();
    }
    house.speaks("other", "1").unwrap();
    let _full: Vec<_> = (0..3).map(|n| house.sits(n % 2, &format!("u{n}"), "room7")).collect();
    let mut names = Vec::new();
    for shard in [ShardId(0), ShardId(1)] {
        let mut from = Some(0);
        while let Some(place) = from {
            let question = Question::Rooms { from: place, rooms_max: 4, prefix: "room".into() };
            let mut answers = house.answers_of(shard, question);
            let Some(Answer::Rooms { rooms, next }) = answers.pop() else { panic!("{answers:?}") };
            assert!(rooms.len() <= 4);
            names.extend(rooms.into_iter().map(|room| room.name.as_str().to_owned()));
            from = next;
        }
    }
    let mut expected: Vec<String> = (0..30).map(|n| format!("room{n}")).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let mut answers = house.answers_of(house.home("room7"), Question::FullestRooms { rooms_max: 2 });
    let Some(Answer::Rooms { rooms, .. }) = answers.pop() else { panic!("{answers:?}") };
    let first = &rooms[0];
    assert_eq!((rooms.len(), first.name.as_str(), first.users, first.connections), (2, "room7", 3, 3));
    assert_eq!((first.head, first.messages_kept), (Offset(1), 1));
}

#[test]
fn presence_is_asked_of_the_home() {
    let mut house = House::new(&[]);
    let _people: Vec<_> = (0..3).map(|n| house.sits(n % 2, ["ann", "bob", "ann"][usize::from(n)], "r")).collect();
    let mut answers = house.answers_of(house.home("r"), Question::Presence { room: name("r") });
    let Some(Answer::Presence(roll)) = answers.pop() else { panic!("{answers:?}") };
    let here: Vec<(&str, u32)> =
        roll.members.as_ref().unwrap().iter().map(|m| (m.identity.user(), m.connections)).collect();
    assert_eq!((here, roll.count), (vec![("ann", 2), ("bob", 1)], 2));
    let mut answers = house.answers_of(house.home("empty"), Question::Presence { room: name("empty") });
    assert!(matches!(answers.pop(), Some(Answer::Presence(roll)) if roll.count == 0));
}

#[test]
fn a_full_list_of_errands_refuses_the_next() {
    let mut house = House::new(&[]);
    let question = || Question::Connections { user: user("ann"), connections_max: 1 };
    for id in 0..2_000 {
        house.shards[0].handle(house.now, Input::Ask(Ask { id: AskId(id), question: question() }));
    }
    house.rests();
    let refused = house.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Refused(Refusal::Busy))).count();
    assert_eq!((house.answers.len(), refused), (2_000, 2_000 - 1_024));
}

#[test]
fn who_is_sent_away_does_not_stay_until_a_broadcast_has_ended() {
    let mut house = House::new(&[]);
    // More than is told in one tick.
    let people: Vec<_> = (0..20).map(|n| house.comes(0, &format!("user{n}"))).collect();
    let home = house.home("@all");
    let long = Box::new(notice("@all", &format!("\"{}\"", "x".repeat(999_000))));
    let begun = house.answers_of(home, Question::Announce { to: Audience::Everybody, notice: long });
    let told = people.iter().filter(|who| house.hears(**who).contains("@all")).count();
    assert!((1..20).contains(&told), "{told}");
    assert!(!begun.iter().any(|answer| matches!(answer, Answer::Reached { connections: 20, .. })), "{begun:?}");
    let question = Question::Close { whom: Closed::User(user("user0")), reason: CloseReason::Banned };
    let closed = house.answers_of(ShardId(0), question);
    assert!(matches!(closed[..], [Answer::Reached { connections: 1, .. }]), "{closed:?}");
    house.tick();
    let rest = people.iter().filter(|who| house.hears(**who).contains("@all")).count();
    assert_eq!(told + rest, 20, "and the others are told all the same");
}

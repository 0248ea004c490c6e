//! Named scenes: the races that matter, letter by letter. Each is a sentence the house keeps.

use throng::base::Encoding::{Json, MessagePack};
use throng::shard::{Count, Flush};
use throng::wire::CloseReason;

use crate::client::{Asked, Key, Words};
use crate::scene::{Scene, plainly, with_history};
use crate::view::Wish;
use crate::world::Happening::{Mail, Read, Tick};

/// Whose shard people sit at, and where their room's home is.
const HERE: usize = 0;
const HOME: usize = 1;

#[test]
fn a_join_and_a_publish_in_one_breath_find_their_room_on_another_shard_in_that_order() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let bob = scene.sits(HOME, 1, MessagePack, room);
    let ann = scene.comes(HERE, 0, Json);
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.says(ann, room);
    scene.says_without_id(ann, room);
    scene.turn(HERE, &[Read(ann)]);
    assert_eq!(scene.hears(ann), [""; 0], "only the home can answer");
    scene.mail(HOME);
    assert_eq!(scene.hears(bob), ["#1", "#2"]);
    scene.mail(HERE);
    assert_eq!(
        scene.hears(ann),
        ["joined 0", "ack 1", "#2"],
        "the ack is the receipt of the first, the copy of the second"
    );
    scene.ends();
}

#[test]
fn who_publishes_and_leaves_at_once_gets_its_ack_and_everybody_else_the_message() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HERE, 1, Json, room));
    scene.says(ann, room);
    scene.asks(ann, Asked::Leave(room));
    scene.turn(HERE, &[Read(ann)]);
    assert_eq!(scene.hears(ann), ["done 3"]);
    scene.mail(HOME);
    scene.mail(HERE);
    assert_eq!((scene.hears(ann), scene.hears(bob)), (vec!["ack 1".into()], vec!["#1".into()]));
    scene.ends();
}

#[test]
fn who_publishes_and_leaves_at_once_hears_its_own_copy_before_the_leave_is_answered() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HERE);
    let ann = scene.sits(HERE, 0, MessagePack, room);
    scene.says_without_id(ann, room);
    scene.asks(ann, Asked::Leave(room));
    scene.turn(HERE, &[Read(ann)]);
    assert_eq!(scene.hears(ann), ["#1", "done 3"]);
    scene.ends();
}

#[test]
fn a_message_that_overtakes_the_join_reply_that_names_it_is_not_told_to_the_joiner() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let (bob, carl) = (scene.sits(HERE, 1, Json, room), scene.sits(HOME, 2, Json, room));
    let ann = scene.comes(HERE, 0, Json);
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.turn(HERE, &[Read(ann)]);
    scene.says(carl, room);
    scene.turn(HOME, &[Read(carl)]);
    scene.says(carl, room);
    scene.turn(HOME, &[Mail, Read(carl)]);
    // `Deliver 1`, the reply that says 1, `Deliver 2`: all before anything is written.
    scene.mail(HERE);
    assert_eq!((scene.hears(ann), scene.hears(bob)), (lines("joined 1|#2"), lines("#1|#2")));
    scene.ends();
}

#[test]
fn a_message_that_overtakes_the_join_reply_comes_once_to_a_joiner_who_wants_history() {
    for encoding in [Json, MessagePack] {
        let mut scene = Scene::new(2);
        let room = scene.room_at(HOME);
        let (bob, carl) = (scene.sits(HERE, 1, Json, room), scene.sits(HOME, 2, Json, room));
        let ann = scene.comes(HERE, 0, encoding);
        scene.says(carl, room);
        scene.turn(HOME, &[Read(carl)]);
        scene.asks(ann, Asked::Join(room, with_history(5)));
        scene.turn(HERE, &[Read(ann)]);
        scene.says(carl, room);
        scene.turn(HOME, &[Mail, Read(carl)]);
        scene.mail(HERE);
        scene.comes_to_rest();
        assert_eq!((scene.hears(ann), scene.hears(bob)), (lines("joined 1|#1|#2"), lines("#1|#2")));
        scene.ends();
    }
}

#[test]
fn the_last_message_arrives_although_its_letter_did_not_fit_and_nothing_follows_it() {
    let mut scene = Scene::with(2, |weather| {
        weather.limits.letters_waiting_max = 2;
        weather.inbox_parcels_max = 1;
    });
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HOME, 1, Json, room));
    (0..4).for_each(|_| scene.says(bob, room));
    scene.turn(HOME, &[Read(bob)]);
    assert_eq!(scene.count(HOME, Count::Bounced), 1, "two letters fit, the room is owed the rest from there");
    assert_eq!(scene.hears(bob), ["ack 1", "ack 2", "ack 3", "ack 4"]);
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), ["#1", "#2", "#3", "#4"]);
    scene.ends();
}

#[test]
fn nothing_of_a_connection_that_was_cut_reaches_the_next_user_of_its_slot() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let ann = scene.comes(HERE, 0, Json);
    let former = scene.world.sockets[&ann].key;
    scene.asks(ann, Asked::Join(room, Wish { since: None, history: 5, presence: true, ..Wish::default() }));
    scene.says(ann, room);
    scene.says_without_id(ann, room);
    scene.asks(ann, Asked::Presence(room));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    // All answers are on their way now.
    scene.vanishes(HERE, ann);
    let bob = scene.comes(HERE, 1, Json);
    let present = scene.world.sockets[&bob].key;
    assert_eq!((present.index(), present.generation()), (former.index(), former.generation() + 1));
    scene.asks(bob, Asked::Join(room, plainly()));
    scene.turn(HERE, &[Read(bob)]);
    // The answers for the former arrive while the present one waits for its seat.
    scene.mail(HERE);
    assert_eq!(scene.hears(bob), [""; 0]);
    scene.comes_to_rest();
    scene.asks(bob, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(bob), ["joined 2", "1 there"]);
    scene.ends();
}

#[test]
fn a_join_reply_with_a_stale_key_seats_nobody_and_the_home_forgets_who_asked() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let bob = scene.sits(HERE, 1, Json, room);
    let ann = scene.comes(HERE, 0, Json);
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.vanishes(HERE, ann);
    let stale = scene.count(HERE, Count::StaleKeys);
    scene.mail(HERE);
    assert_eq!(scene.count(HERE, Count::StaleKeys), stale + 1);
    scene.asks(bob, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(bob), ["1 there"]);
    scene.ends();
}

/// Regression: the join had no answer at all.
#[test]
fn a_join_that_is_left_and_asked_for_again_before_its_answer_is_answered_once_each() {
    let mut scene = Scene::new(2);
    let room = scene.room_at(HOME);
    let ann = scene.comes(HERE, 0, Json);
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.asks(ann, Asked::Leave(room));
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    assert_eq!(scene.hears(ann), ["done 2", "refused 1 not_joined", "joined 0"]);
    scene.ends();
}

/// Regression: what was spread while nobody read JSON here had no JSON frame, and was skipped without a word.
#[test]
fn a_joiner_hears_what_was_spread_before_its_encoding_had_readers() {
    let mut scene = Scene::with(2, |weather| weather.flush = Flush::Tick);
    let room = scene.room_at(HOME);
    let (bob, carl) = (scene.sits(HERE, 1, MessagePack, room), scene.sits(HOME, 2, MessagePack, room));
    let ann = scene.comes(HERE, 0, Json);
    scene.says(carl, room);
    scene.turn(HOME, &[Read(carl)]);
    scene.mail(HERE);
    // Message 1 is pending here, as MessagePack only.
    scene.asks(ann, Asked::Join(room, with_history(1)));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    scene.comes_to_rest();
    assert_eq!((scene.hears(ann), scene.hears(bob)), (lines("joined 1|#1"), lines("#1")));
    scene.ends();
}

/// Regression: the skip was kept only for publishers who sat in the room when the message came; and then for what they had
/// said before they joined as well.
#[test]
fn who_has_the_ack_gets_no_copy_even_if_it_takes_its_seat_while_the_message_is_pending() {
    let mut scene = Scene::with(2, |weather| weather.flush = Flush::Tick);
    let room = scene.room_at(HOME);
    let bob = scene.sits(HERE, 1, Json, room);
    let ann = scene.comes(HERE, 0, Json);
    scene.says(ann, room);
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    // Message 1 waits for the tick; its publisher takes a seat that begins before it, and says 2 behind its join.
    scene.asks(ann, Asked::Join(room, with_history(5)));
    scene.says(ann, room);
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    scene.comes_to_rest();
    assert_eq!((scene.hears(ann), scene.hears(bob)), (lines("ack 1|joined 1|ack 2|#1"), lines("#1|#2")));
    scene.ends();
}

/// Regression: one long message pushed out short ones a shard was still owed, and the home panicked.
#[test]
fn a_long_message_is_refused_while_it_would_push_out_of_the_log_what_a_shard_is_owed() {
    let mut scene = Scene::with(2, |weather| {
        weather.limits.log_bytes_max = 2_500;
        weather.limits.message_bytes_max = 2_000;
        weather.limits.letters_waiting_max = 2;
    });
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HOME, 1, Json, room));
    (0..9).for_each(|_| scene.says(bob, room));
    scene.utters(bob, Words { room, with_id: true, echo: None, filler: 1_800, pieces: 1, key: Key::None });
    scene.turn(HOME, &[Read(bob)]);
    assert_eq!(scene.hears(bob).last().map(String::as_str), Some("refused 11 busy"));
    scene.comes_to_rest();
    assert_eq!(scene.hears(ann), lines("#1|#2|#3|#4|#5|#6|#7|#8|#9"));
    scene.ends();
}

/// Regression: a page was put on top of the answers that had come in between, past the hard limit.
#[test]
fn a_page_waits_until_the_answers_that_came_in_between_are_written() {
    let mut scene = Scene::with(2, |weather| {
        weather.flush = Flush::Tick;
        weather.limits.message_bytes_max = 400;
        weather.limits.outbox_soft_bytes_max = 2_000;
        weather.limits.outbox_hard_bytes_max = 2_000;
    });
    let room = scene.room_at(HOME);
    let bob = scene.sits(HOME, 1, Json, room);
    let ann = scene.comes(HERE, 0, Json);
    for _ in 0..18 {
        scene.utters(bob, Words { room, with_id: true, echo: None, filler: 100, pieces: 1, key: Key::None });
        scene.comes_to_rest();
    }
    scene.asks(ann, Asked::Join(room, with_history(18)));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    scene.mail(HERE);
    scene.mail(HOME);
    // The first page is on its way.
    (0..60).for_each(|_| scene.asks(ann, Asked::Ping));
    scene.turn(HERE, &[Read(ann), Mail]);
    scene.comes_to_rest();
    let heard = scene.hears(ann);
    let messages: Vec<String> = heard.iter().filter(|line| line.starts_with('#')).cloned().collect();
    assert_eq!(messages, (1..=18).map(|n| format!("#{n}")).collect::<Vec<_>>());
    scene.ends();
}

fn lines(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

/// Regression: messages were written on top of answers, past the hard limit; who cannot take them pulls.
#[test]
fn messages_that_do_not_fit_on_top_of_the_answers_are_pulled() {
    let mut scene = Scene::with(2, |weather| {
        weather.flush = Flush::Tick;
        weather.limits.message_bytes_max = 700;
        weather.limits.outbox_soft_bytes_max = 2_000;
        weather.limits.outbox_hard_bytes_max = 2_000;
    });
    let room = scene.room_at(HERE);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HERE, 1, Json, room));
    (0..60).for_each(|_| scene.asks(ann, Asked::Ping));
    (0..3).for_each(|_| {
        scene.utters(bob, Words { room, with_id: true, echo: None, filler: 500, pieces: 1, key: Key::None })
    });
    let before = scene.count(HERE, Count::FellBehind);
    scene.turn(HERE, &[Read(bob)]);
    // The tick comes for the room; the answers are for the next one.
    scene.turn(HERE, &[Tick, Read(ann)]);
    scene.comes_to_rest();
    assert_eq!(scene.count(HERE, Count::FellBehind), before + 1);
    let heard = scene.hears(ann);
    assert_eq!(heard[60..], ["#1", "#2", "#3"]);
    scene.ends();
}

/// Regression: the answer to a join was one too many for its outbox, and the seat it named was gone.
#[test]
fn a_join_reply_that_is_one_too_many_for_an_outbox_ends_the_connection_and_seats_nobody() {
    let mut scene = Scene::with(2, |weather| {
        weather.flush = Flush::Tick;
        weather.limits.message_bytes_max = 400;
        weather.limits.outbox_soft_bytes_max = 1_000;
        weather.limits.outbox_hard_bytes_max = 1_000;
    });
    let room = scene.room_at(HOME);
    let (ann, bob) = (scene.comes(HERE, 0, Json), scene.sits(HOME, 1, Json, room));
    scene.asks(ann, Asked::Join(room, plainly()));
    scene.turn(HERE, &[Read(ann)]);
    scene.mail(HOME);
    // Unwritten answers may be 8 × (1,000 + 6 × 400 + 4,096) = 59,968 bytes; 2,181 answers to `ping` are 59,964 of them.
    (0..2_181).for_each(|_| scene.asks(ann, Asked::Ping));
    scene.turn(HERE, &[Read(ann), Mail]);
    assert_eq!(scene.world.shards[HERE].counters().closes(CloseReason::Slow), 1);
    scene.comes_to_rest();
    scene.asks(bob, Asked::Presence(room));
    scene.comes_to_rest();
    assert_eq!(scene.hears(bob), ["1 there"]);
    scene.ends();
}

/// Regression: a broken frame behind a goodbye took away the answer to the goodbye.
#[test]
fn nothing_behind_a_goodbye_is_carried_out() {
    let mut scene = Scene::new(1);
    let room = scene.room_at(HERE);
    let (ann, bob) = (scene.sits(HERE, 0, Json, room), scene.sits(HERE, 1, Json, room));
    scene.says_goodbye(ann);
    let publishes = scene.count(HERE, Count::Publishes);
    scene.says(ann, room);
    scene.world.send(ann, &[0x81, 0x02, b'{', b'}']);
    scene.turn(HERE, &[Read(ann)]);
    assert_eq!((scene.hears(ann), scene.hears(bob)), (lines("closed 1000"), Vec::new()));
    assert_eq!(scene.count(HERE, Count::Publishes), publishes);
    assert_eq!(scene.count(HERE, Count::MessagesIn), 2, "the two joins");
    scene.ends();
}

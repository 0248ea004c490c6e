//! Who hears an announcement that takes several ticks to tell, while people sit down in its room and get up again.

use super::*;

/// So long that some fifteen are told in one tick, and that no seat is served it in passing.
fn announces(house: &mut House, to: Audience, room: &str) -> (ShardId, Input<'static>) {
    let long = format!("\"{}\"", "x".repeat(900_000));
    let question = Question::Announce { to, notice: Box::new(notice(room, &long)) };
    house.asked += 1;
    (house.home(room), Input::Ask(Ask { id: AskId(house.asked), question }))
}

fn crowded() -> (House, Vec<Who>) {
    let mut house = House::with(Limits { sends_per_tick: 100_000, ..Limits::default() }, &[]);
    let home = house.home("@all");
    let everybody = (0..20).map(|n| house.comes(home.0, &format!("u{n}"))).collect();
    (house, everybody)
}

fn times_heard(house: &mut House, who: Who) -> usize {
    house.hears(who).matches(r#""room":"@all","offset":1,"#).count()
}

/// Regression: it was told when its turn came, behind an answer that says where it stands: whoever keeps positions took it
/// for one it had.
#[test]
fn who_sits_down_behind_a_broadcast_is_told_it_before_its_place() {
    let (mut house, mut everybody) = crowded();
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    house.shards[home.index()].handle(house.now, ask);
    house.rests();
    let late = *everybody.last().unwrap();
    assert_eq!(times_heard(&mut house, late), 0, "its turn has not come");
    let heard = house.says(late, r#"{"type":"join","id":1,"room":"@all"}"#);
    let places = [r#""room":"@all","offset":1,"at""#, r#""type":"reply","id":1"#].map(|text| heard.find(text));
    assert!(places[0].is_some() && places[0] < places[1], "{places:?}");
    assert_eq!(heard.matches(r#""type":"message""#).count(), 1);
    // What is announced meanwhile it hears by its seat, behind that.
    house.says(late, r#"{"type":"leave","id":2,"room":"@all"}"#);
    house.says(late, r#"{"type":"join","id":3,"room":"@all"}"#);
    house.answers_of(home, Question::Announce { to: Audience::Everybody, notice: Box::new(notice("@all", "2")) });
    house.tick();
    let heard = house.hears(late);
    assert_eq!(heard.matches(r#""type":"message""#).count(), 1, "{heard}");
    assert!(heard.contains(r#""room":"@all","offset":2,"#), "{heard}");
    everybody.retain(|who| *who != late);
    for who in everybody {
        assert_eq!(times_heard(&mut house, who), 1, "{who:?}");
    }
    let answers = house.answers_to(AskId(1));
    assert_eq!(reached(&answers), (20, 0), "{answers:?}");
}

#[test]
fn who_sits_down_and_asks_for_what_was_said_is_not_told_it_again() {
    let (mut house, everybody) = crowded();
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    house.shards[home.index()].handle(house.now, ask);
    house.rests();
    let late = *everybody.last().unwrap();
    house.reads(late, &[r#"{"type":"join","id":1,"room":"@all","history":5}"#]);
    (0..3).for_each(|_| house.tick());
    for who in everybody {
        assert_eq!(times_heard(&mut house, who), 1, "{who:?}");
    }
}

#[test]
fn who_has_heard_a_broadcast_by_its_seat_and_leaves_is_not_told_it_again() {
    let (mut house, everybody) = crowded();
    let late = *everybody.last().unwrap();
    house.says(late, r#"{"type":"join","id":1,"room":"@all"}"#);
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    house.shards[home.index()].handle(house.now, ask);
    house.rests();
    house.reads(late, &[r#"{"type":"leave","id":2,"room":"@all"}"#]);
    (0..3).for_each(|_| house.tick());
    for who in everybody {
        assert_eq!(times_heard(&mut house, who), 1, "{who:?}");
    }
}

#[test]
fn who_leaves_before_its_seat_was_served_is_told_with_the_others() {
    let (mut house, everybody) = crowded();
    let late = *everybody.last().unwrap();
    house.says(late, r#"{"type":"join","id":1,"room":"@all"}"#);
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    // Nothing is written between these two.
    house.shards[home.index()].handle(house.now, ask);
    house.reads(late, &[r#"{"type":"leave","id":2,"room":"@all"}"#]);
    house.rests();
    assert_eq!(times_heard(&mut house, late), 0, "it is longer than what is given to those who leave");
    (0..3).for_each(|_| house.tick());
    for who in everybody {
        assert_eq!(times_heard(&mut house, who), 1, "{who:?}");
    }
}

#[test]
fn who_cannot_take_a_broadcast_when_it_sits_down_is_passed_over_for_good() {
    let (mut house, everybody) = crowded();
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    house.shards[home.index()].handle(house.now, ask);
    house.rests();
    let late = *everybody.last().unwrap();
    let soft = house.shards[home.index()].limits().outbox_soft_bytes_max;
    let ping = "{\"type\":\"ping\",\"id\":1}".to_owned();
    house.deaf.push(late);
    // Answers pile up behind a socket that takes nothing.
    while house.shards[home.index()].work_mut(late.1).unwrap().outbox.len() <= soft {
        house.reads(late, &vec![&*ping; 1_000]);
        house.rests();
    }
    house.says(late, r#"{"type":"join","id":2,"room":"@all"}"#);
    (0..3).for_each(|_| house.tick());
    let heard = house.hears_again(late);
    assert!(heard.contains(r#""type":"reply","id":2"#) && !heard.contains(r#""type":"message""#));
    assert_eq!(reached(&house.answers_to(AskId(1))), (19, 1));
}

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

#[test]
fn who_sits_down_behind_a_broadcast_is_told_it_all_the_same() {
    let (mut house, everybody) = crowded();
    let (home, ask) = announces(&mut house, Audience::Everybody, "@all");
    house.shards[home.index()].handle(house.now, ask);
    house.rests();
    let late = *everybody.last().unwrap();
    assert_eq!(times_heard(&mut house, late), 0, "its turn has not come");
    let heard = house.says(late, r#"{"type":"join","id":1,"room":"@all"}"#);
    assert!(heard.contains(r#""type":"reply","id":1"#) && !heard.contains(r#""type":"message""#), "{heard}");
    house.tick();
    for who in everybody {
        assert_eq!(times_heard(&mut house, who), 1, "{who:?}");
    }
    let answers = house.answers_to(AskId(house.asked));
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

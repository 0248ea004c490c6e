//! Who is in a room, and what is told of it: from the first connection to the last, and back from a tunnel.

use std::sync::Arc;

use super::people::{Changes, People, Telling};
use crate::base::{Identity, Now, Presence};
use crate::wire::Member;

const TOLD: Telling = Telling { presence: Presence::Announced, watched: true, named_max: 10 };
const ALONE: Telling = Telling { watched: false, ..TOLD };

fn who(name: &str) -> Identity {
    Identity::new(name, None).unwrap()
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: 0 }
}

fn roll(people: &mut People, members_max: usize, telling: Telling) -> (Arc<[Member]>, u32, u64) {
    let roll = people.roll(Some(members_max), telling);
    (roll.members.unwrap(), roll.count, roll.version)
}

fn news(people: &mut People) -> Option<Changes> {
    people.take_changes(Presence::Announced)
}

#[test]
fn a_user_is_here_from_the_first_connection_to_the_last() {
    let mut people = People::default();
    people.enter(&who("ann"), TOLD);
    people.enter(&who("ann"), TOLD);
    people.leave(&who("ann"), None, TOLD);
    let (members, ..) = roll(&mut people, 10, TOLD);
    assert_eq!((members[0].identity.user(), members[0].connections), ("ann", 1));
    assert_eq!(news(&mut people).unwrap().joined, vec![who("ann")]);
    people.leave(&who("ann"), None, TOLD);
    people.leave(&who("ann"), None, TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.left, changes.count), (vec![who("ann")], 0));
}

#[test]
fn in_and_out_between_two_ticks_is_no_news_and_no_version() {
    let mut people = People::default();
    people.enter(&who("ann"), TOLD);
    let version = news(&mut people).unwrap().version;
    people.enter(&who("bob"), TOLD);
    people.leave(&who("bob"), None, TOLD);
    people.leave(&who("ann"), None, TOLD);
    people.enter(&who("ann"), TOLD);
    assert_eq!(news(&mut people), None);
    assert_eq!(roll(&mut people, 10, TOLD).2, version);
}

#[test]
fn a_tunnel_is_no_pair_of_left_and_joined() {
    let mut people = People::default();
    people.enter(&who("ann"), TOLD);
    news(&mut people);
    people.leave(&who("ann"), Some(1_000), TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.away, changes.count, people.next_due()), (vec![who("ann")], 1, Some(1_000)));
    assert_eq!(roll(&mut people, 10, TOLD).0[0].connections, 0);
    people.expire(at(999), TOLD);
    people.enter(&who("ann"), TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.back, changes.joined, people.next_due()), (vec![who("ann")], vec![], None));
    people.leave(&who("ann"), Some(2_000), TOLD);
    people.expire(at(2_000), TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.left, changes.away, people.count()), (vec![who("ann")], vec![], 0));
}

#[test]
fn too_many_to_be_named_are_counted_in_one_piece() {
    let mut people = People::default();
    (0..19_000).for_each(|n| people.enter(&who(&format!("u{n:05}")), TOLD));
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.counted, changes.joined.len(), changes.count, changes.version), (true, 0, 19_000, 1));
    assert!(!people.has_news() && news(&mut people).is_none());
    assert!((0..10).all(|n| people.leave(&who(&format!("u{n:05}")), None, TOLD)));
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.counted, changes.left.len(), changes.version), (false, 10, 2));
}

#[test]
fn who_was_seen_by_a_roll_between_two_ticks_is_told_to_be_gone() {
    let mut people = People::default();
    people.enter(&who("ann"), TOLD);
    let version = news(&mut people).unwrap().version;
    people.enter(&who("bob"), TOLD);
    let (members, _, seen) = roll(&mut people, 10, TOLD);
    assert_eq!((members.len(), seen), (2, version));
    people.leave(&who("bob"), None, TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.left, changes.version), (vec![who("bob")], version + 1));
    people.leave(&who("ann"), None, TOLD);
    roll(&mut people, 10, TOLD);
    people.enter(&who("ann"), TOLD);
    assert_eq!(news(&mut people).unwrap().joined, vec![who("ann")], "that roll did not have her");
}

#[test]
fn a_room_that_only_counts_tells_how_many() {
    let counted = Telling { presence: Presence::Counted, ..TOLD };
    let mut people = People::default();
    people.enter(&who("ann"), counted);
    let changes = people.take_changes(Presence::Counted).unwrap();
    assert_eq!((changes.counted, changes.count, changes.joined.len()), (true, 1, 0));
    let roll = people.roll(None, counted);
    assert_eq!((roll.members.is_none(), roll.count, roll.version), (true, 1, changes.version));
    people.enter(&who("bob"), counted);
    people.leave(&who("ann"), None, counted);
    assert_eq!(people.take_changes(Presence::Counted), None, "as many as before");
}

/// Regression: who was turned off was told `counted`, and who had been counted before kept a list of long ago.
#[test]
fn what_is_told_may_change_and_whoever_keeps_a_list_hears_that_it_is_not_right_any_more() {
    let off = Telling { presence: Presence::Off, ..TOLD };
    let mut people = People::default();
    people.enter(&who("ann"), TOLD);
    news(&mut people);
    people.enter(&who("bob"), off);
    assert_eq!((people.take_changes(Presence::Off), people.has_news(), people.count()), (None, false, 2));
    people.leave(&who("ann"), None, TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.counted, changes.left.len(), changes.count), (true, 0, 1), "bob was never named");
    people.enter(&who("cid"), TOLD);
    assert_eq!(news(&mut people).unwrap().joined, vec![who("cid")]);
}

/// Regression: whoever came back with another `info`, or brought it by a `refresh`, was shown with the old one.
#[test]
fn the_newest_that_is_said_of_somebody_is_told_and_listed() {
    let named = |info| Identity::new("ann", Some(info)).unwrap();
    let infos = |list: &[Identity]| list.iter().map(|who| who.info().map(str::to_owned)).collect::<Vec<_>>();
    let mut people = People::default();
    people.enter(&named("1"), TOLD);
    news(&mut people);
    people.enter(&named("2"), TOLD);
    assert_eq!(infos(&news(&mut people).unwrap().joined), [Some("2".to_owned())], "another tab says otherwise");
    people.say_anew(&named("3"), TOLD);
    assert_eq!(roll(&mut people, 9, TOLD).0[0].identity.info(), Some("3"));
    assert_eq!(infos(&news(&mut people).unwrap().joined), [Some("3".to_owned())]);
    people.say_anew(&named("3"), TOLD);
    people.say_anew(&who("nobody"), TOLD);
    assert_eq!((news(&mut people), people.count()), (None, 1));
    people.leave(&named("3"), None, TOLD);
    people.leave(&named("3"), Some(9), TOLD);
    people.enter(&named("4"), TOLD);
    assert_eq!(infos(&news(&mut people).unwrap().joined), [Some("4".to_owned())], "away and back in one tick");
    people.leave(&named("4"), None, TOLD);
    people.enter(&named("5"), TOLD);
    assert_eq!(infos(&news(&mut people).unwrap().joined), [Some("5".to_owned())], "gone and here in one tick");
    people.say_anew(&named("6"), TOLD);
    people.leave(&named("6"), None, TOLD);
    let changes = news(&mut people).unwrap();
    assert_eq!((changes.left.len(), changes.joined.len()), (1, 0), "who is gone is gone whatever was said last");
}

#[test]
fn a_long_roll_is_cut_and_says_the_true_number() {
    let mut people = People::default();
    for n in 0..20 {
        people.enter(&who(&format!("u{n:02}")), ALONE);
    }
    let (members, count, version) = roll(&mut people, 3, ALONE);
    assert_eq!((members.len(), count, version), (3, 20, 1));
    assert!(Arc::ptr_eq(&members, &roll(&mut people, 3, ALONE).0), "one roll for all who ask at once");
    people.leave(&who("u00"), None, ALONE);
    let (members, _, version) = roll(&mut people, 3, ALONE);
    assert_eq!((members[0].identity.user(), version), ("u01", 2));
    assert_eq!(news(&mut people), None, "nobody watches");
}

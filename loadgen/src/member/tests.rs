//! What is counted of what somebody hears.

use super::*;
use throng::base::Epoch;
use throng::wire::GapWhy;

fn member(epoch: u64, offset: u64) -> Member {
    let (room, run) = ("r".to_owned(), "00c0ffee".to_owned());
    let place = Place { room, number: 0, run, payload: 64.into(), seed: 1 };
    let mut member = Member::new(String::new(), Some(place));
    member.position = Some(Position { epoch: Epoch(epoch), offset: Offset(offset) });
    member
}

fn gap(epoch: u64, from: u64, to: u64) -> ServerEvent<'static> {
    let why = GapWhy::Epoch;
    ServerEvent::Gap { room: "r".into(), epoch: Epoch(epoch), from: Offset(from), to: Offset(to), why }
}

#[test]
fn what_is_passed_over_or_repeated_is_counted_and_what_is_told_is_not() {
    let mut it = member(1, 3);
    let mut news = Vec::new();
    [4, 5, 8, 8].into_iter().for_each(|offset| it.said(Offset(offset), None, &mut news));
    assert_eq!((it.lived.missing, it.lived.twice, it.lived.heard), (2, 1, 4));
    assert!(it.hears(&gap(1, 9, 10), &mut Vec::new()).is_ok());
    it.said(Offset(11), None, &mut Vec::new());
    assert_eq!((it.lived.missing, it.lived.gaps, it.lived.told_missing), (2, 1, 2));
    assert!(it.hears(&gap(1, 14, 15), &mut Vec::new()).is_ok());
    assert_eq!(it.lived.missing, 4, "a gap that begins too late hides two");
}

/// Members of storms, guests and slow readers counted their faults and told nobody which.
#[test]
fn each_fault_is_told_with_its_offsets_and_what_stood_there() {
    let (mut it, mut news) = (member(1, 3), Vec::new());
    let marker = Marker { room: 0, publisher: 9, seq: 70, intended_ns: 0, late_us: 0 };
    for offset in [5, 8, 8] {
        it.said(Offset(offset), Some(&marker), &mut news);
    }
    assert!(it.hears(&gap(1, 11, 12), &mut news).is_ok());
    let why = GapWhy::Slow;
    let foreign = ServerEvent::Gap { room: "q".into(), epoch: Epoch(1), from: Offset(4), to: Offset(9), why };
    assert!(it.hears(&foreign, &mut news).is_ok());
    let told = news.iter().map(|news| {
        let News::Wronged(offence) = news else { panic!("{news:?}") };
        (offence.fault, offence.marker, offence.describe())
    });
    let told: Vec<_> = told.collect();
    let lost = |place: &str| (Fault::Lost, None, place.to_owned());
    let twice = (Fault::Duplicated, Some((9, 70)), "offset 8".to_owned());
    let foreign = (Fault::Foreign, None, "no message".to_owned());
    assert_eq!(told, [lost("offset 4"), lost("offsets 6 to 7"), twice, lost("offsets 9 to 10"), foreign]);
}

#[test]
fn offsets_at_the_end_of_all_numbers_are_counted_and_no_panic() {
    let mut it = member(1, 3);
    for _ in 0..2 {
        assert!(it.hears(&gap(1, 0, u64::MAX), &mut Vec::new()).is_ok());
        it.said(Offset(u64::MAX), None, &mut Vec::new());
        it.position = Some(Position { epoch: Epoch(1), offset: Offset(3) });
        it.said(Offset(u64::MAX), None, &mut Vec::new());
    }
    assert_eq!((it.lived.missing, it.lived.told_missing, it.lived.twice), (u64::MAX, u64::MAX, 2));
}

#[test]
fn what_is_told_of_another_room_counts_as_foreign_and_moves_nobody() {
    let mut it = member(1, 3);
    let typing = ServerEvent::Typing { room: "q".into(), users: Vec::new(), count: 1, ttl_ms: 1 };
    let why = GapWhy::Slow;
    let gap = ServerEvent::Gap { room: "q".into(), epoch: Epoch(1), from: Offset(4), to: Offset(9), why };
    for event in [typing, gap] {
        assert!(it.hears(&event, &mut Vec::new()).is_ok());
    }
    assert_eq!((it.lived.foreign, it.lived.typing, it.lived.gaps), (2, 0, 0));
    assert_eq!(it.position, Some(Position { epoch: Epoch(1), offset: Offset(3) }));
}

#[test]
fn a_room_that_forgot_goes_on_where_its_gap_says() {
    let mut it = member(1, 30);
    it.awaits_gap = true;
    assert!(it.hears(&gap(2, 1, 4), &mut Vec::new()).is_ok());
    it.said(Offset(5), None, &mut Vec::new());
    assert_eq!((it.lived.missing, it.lived.twice, it.lived.gaps), (0, 0, 1));
    assert_eq!(it.position, Some(Position { epoch: Epoch(2), offset: Offset(5) }));
}

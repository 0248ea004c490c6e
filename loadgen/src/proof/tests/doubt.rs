//! What the proof cannot know to the last message, and that it says so.

use super::*;

/// One message of 400 was lost and another came again 33 offsets later: nothing was said of either.
#[test]
fn a_copy_too_old_to_be_known_beside_a_loss_is_said_to_hide_one() {
    for mut world in worlds() {
        world.rounds(50);
        let listener: Vec<usize> = (0..world.wire.len()).filter(|at| world.wire[*at].0 == 2).collect();
        // The ninetieth hears the tenth again, and the sixtieth and the eightieth are lost.
        let copy = world.wire[listener[10]];
        world.wire.insert(listener[90], copy);
        for lost in [80, 60] {
            world.wire.remove(listener[lost]);
        }
        assert_eq!(world.deliver(), [Fault::Misordered]);
        let judgement = world.ledger.judge();
        assert_eq!((judgement.faults[&Fault::Lost], judgement.late_or_copies), (1, 1), "two are: {judgement:?}");
        assert_eq!(world.ledger.judge().late_or_copies, 0, "the next phase begins anew");
    }
}

/// A copy that is remembered is exact beside any loss.
#[test]
fn a_copy_within_the_window_beside_a_loss_is_counted_and_so_is_the_loss() {
    for mut world in worlds() {
        world.rounds(50);
        let listener: Vec<usize> = (0..world.wire.len()).filter(|at| world.wire[*at].0 == 2).collect();
        let copy = world.wire[listener[70]];
        world.wire.insert(listener[95], copy);
        world.wire.remove(listener[60]);
        assert_eq!(world.deliver(), [Fault::Duplicated]);
        let judgement = world.ledger.judge();
        let faults = FaultCounts::from([(Fault::Lost, 1), (Fault::Duplicated, 1)]);
        assert_eq!((judgement.faults, judgement.late_or_copies), (faults, 0));
    }
}

#[test]
fn what_a_gap_told_is_lost_all_the_same_and_known_to_have_been_told() {
    for mut world in worlds() {
        world.rounds(50);
        world.wire.retain(|(member, offset, _)| *member != 2 || !(BASE + 40..BASE + 45).contains(offset));
        assert_eq!(world.deliver(), []);
        assert_eq!(world.ledger.gap(2, 3), Fault::Gap);
        let judgement = world.ledger.judge();
        assert_eq!((judgement.faults[&Fault::Gap], judgement.faults[&Fault::Lost]), (1, 5));
        assert_eq!(judgement.told_missing, 3);
        world.ledger.gap(0, u64::MAX);
        world.ledger.gap(0, u64::MAX);
        assert_eq!(world.ledger.judge().told_missing, 0, "nothing was lost");
    }
}

/// With 65,536 and more of one publisher's unanswered, an ack was taken for another's and the server called a liar.
#[test]
fn how_many_of_a_publisher_are_unanswered_is_known() {
    let mut world = World::new(true, false);
    let numbers = [(); 3].map(|()| world.ledger.sent(0));
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!((world.ledger.unanswered_by(0), world.ledger.unanswered_by(1)), (3, 0));
    world.ledger.acked(0, 1, EPOCH, BASE + 1).expect("it fits");
    world.ledger.refused(0, Some(0)).expect("it was sent");
    assert_eq!(world.ledger.unanswered_by(0), 1);
    let mut silent = World::new(false, false);
    silent.ledger.sent(0);
    assert_eq!(silent.ledger.unanswered_by(0), 0, "nobody is asked");
}

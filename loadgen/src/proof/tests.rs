//! A crowd of two rooms of three, two publishers each, lived through by hand.

use super::*;

mod doubt;

/// A room server in miniature: gives offsets and hands out what each member should hear.
struct World {
    ledger: Ledger,
    crowd: Crowd,
    rules: Rules,
    offsets: Vec<u64>,
    /// (member, offset, marker), in the order of delivery.
    wire: Vec<(u32, u64, Marker)>,
}

const EPOCH: u64 = 0xabc;
const BASE: u64 = 40;

impl World {
    fn new(acks: bool, own_copy: bool) -> Self {
        let crowd = Crowd { first_room: 10, first_connection: 30, rooms: 2, room_size: 3, publishers: 2 };
        let rules = Rules { acks, own_copy, positions: true };
        let mut ledger = Ledger::new(crowd, rules);
        for member in 0..6 {
            ledger.joined(member, EPOCH, BASE).expect("all are told the same");
        }
        Self { ledger, crowd, rules, offsets: vec![BASE; 2], wire: Vec::new() }
    }

    /// Publishes once and puts the deliveries on the wire; gives the sequence number and the offset.
    fn publish(&mut self, publisher: u32) -> (u32, u64) {
        let seq = self.ledger.sent(publisher);
        let room = publisher / self.crowd.publishers;
        self.offsets[room as usize] += 1;
        let offset = self.offsets[room as usize];
        let own = self.crowd.member_of(publisher);
        let marker = Marker {
            room: self.crowd.first_room + room,
            publisher: self.crowd.global(own),
            seq,
            intended_ns: 0,
            late_us: 0,
        };
        for member in room * 3..room * 3 + 3 {
            if member != own || self.rules.own_copy {
                self.wire.push((member, offset, marker));
            }
        }
        if self.rules.acks {
            self.ledger.acked(publisher, seq, EPOCH, offset).expect("the ack fits");
        }
        (seq, offset)
    }

    fn rounds(&mut self, rounds: u32) {
        for _ in 0..rounds {
            for publisher in 0..4 {
                self.publish(publisher);
            }
        }
    }

    fn deliver(&mut self) -> Vec<Fault> {
        let wire = std::mem::take(&mut self.wire);
        wire.iter()
            .filter_map(|(member, offset, marker)| self.ledger.received(*member, *offset, marker, 0).err())
            .collect()
    }
}

/// Every combination of acks and own copies.
fn worlds() -> impl Iterator<Item = World> {
    [(false, false), (false, true), (true, false), (true, true)].into_iter().map(|(acks, own)| World::new(acks, own))
}

fn only(judgement: &Judgement, fault: Fault) {
    assert_eq!(judgement.faults.keys().copied().collect::<Vec<_>>(), [fault], "{judgement:?}");
}

#[test]
fn a_clean_run_passes_and_so_does_the_next_phase_of_the_same_crowd() {
    for mut world in worlds() {
        for phase in 0..3 {
            world.rounds(50);
            assert!(!world.ledger.settled());
            assert_eq!(world.deliver(), []);
            assert!(world.ledger.settled());
            let judgement = world.ledger.judge();
            assert!(judgement.faults.is_empty(), "phase {phase}: {judgement:?}");
            assert_eq!((judgement.sent, judgement.accepted), (200, 200));
            assert_eq!(judgement.expected, judgement.received);
            assert!(judgement.deliveries_min >= 50);
            assert_eq!(judgement.count_only_rooms, 0);
        }
    }
}

#[test]
fn one_lost_message_is_counted_as_one_wherever_it_was() {
    for at in [0, 17, 399] {
        for mut world in worlds() {
            world.rounds(50);
            world.wire.remove(at);
            assert_eq!(world.deliver(), []);
            assert!(!world.ledger.settled());
            let judgement = world.ledger.judge();
            only(&judgement, Fault::Lost);
            assert_eq!(judgement.faults[&Fault::Lost], 1);
            assert!(judgement.offenders.is_empty() && judgement.losses.len() == 1, "{judgement:?}");
        }
    }
}

/// What the listener of the first room lost, when `lose` took from what came to it.
fn told(mut world: World, rounds: u32, lose: impl Fn(u64, &Marker) -> bool) -> Loss {
    world.rounds(rounds);
    world.wire.retain(|(member, offset, marker)| *member != 2 || !lose(offset - BASE, marker));
    for (at, (member, offset, marker)) in std::mem::take(&mut world.wire).into_iter().enumerate() {
        world.ledger.received(member, offset, &marker, at as u64).expect("all that comes is in order");
    }
    let judgement = world.ledger.judge();
    only(&judgement, Fault::Lost);
    assert_eq!(judgement.losses.len(), 1, "{judgement:?}");
    judgement.losses[0]
}

#[test]
fn a_lost_message_is_named_with_publisher_number_and_with_acks_its_offset() {
    for world in worlds() {
        let acks = world.rules.acks;
        let lost = told(world, 50, |offset, _| offset == 36);
        // The second publisher's eighteenth.
        let message = Message { publisher: 31, local: 1, seq: 17, nth: Some(17) };
        assert_eq!((lost.room, lost.connection, lost.count, lost.message), (10, 32, 1, Some(message)));
        assert_eq!(lost.offset, acks.then_some(BASE + 36));
        assert_eq!(lost.describe(), if acks { "offset 76" } else { "by the sum at the end" });
    }
}

#[test]
fn what_a_publisher_said_last_and_nobody_heard_is_named_as_one_loss() {
    for mut world in worlds() {
        world.rounds(30);
        world.wire.retain(|(_, _, marker)| marker.publisher != 33 || marker.seq < 25);
        world.deliver();
        let judgement = world.ledger.judge();
        let own = u32::from(world.rules.own_copy);
        assert_eq!(judgement.faults, FaultCounts::from([(Fault::Lost, 10 + 5 * u64::from(own))]));
        let [lost] = &judgement.losses[..] else { panic!("{:?}", judgement.losses) };
        assert_eq!(lost.message.map(|message| (message.publisher, message.seq, message.nth)), Some((33, 25, Some(25))));
        assert_eq!((lost.count, lost.others), (5, 1 + own));
        assert!(lost.describe().starts_with("5 in a row, to seq 29; nor did "), "{}", lost.describe());
    }
}

#[test]
fn many_losses_without_order_are_dated_by_the_jump_and_of_the_last_it_is_told_that_nothing_came_after() {
    for world in worlds() {
        let lost = told(world, 50, |offset, _| offset % 20 == 7);
        assert_eq!((lost.count, lost.message), (5, None));
        let seen = lost.seen.expect("it was seen");
        assert_eq!((seen.from, seen.to), (Some(BASE + 7), BASE + 7));
        assert!(seen.at_ns > 0 && lost.describe().contains("a hole at 47..=47"), "{seen:?} {}", lost.describe());
    }
    for world in worlds() {
        let lost = told(world, 50, |offset, _| offset > 60);
        assert_eq!((lost.count, lost.message, lost.seen, lost.newest), (40, None, None, Some(BASE + 60)));
        assert!(lost.describe().ends_with("nothing came after offset 100"), "{}", lost.describe());
    }
}

/// Somebody who does not hear itself leaves out its own messages all the time: that is no hole, a loss among them is.
#[test]
fn ones_own_messages_are_no_holes_and_a_loss_beside_them_is() {
    let mut world = World::new(true, false);
    for _ in 0..40 {
        // The second publisher has nothing under way when it hears the first.
        world.publish(1);
        world.wire.retain(|(member, ..)| *member != 1);
        world.deliver();
        world.publish(0);
        world.wire.retain(|(member, offset, _)| *member != 1 || ![42, 52, 62].contains(&(offset - BASE)));
        world.deliver();
    }
    assert_eq!(world.ledger.holes.of(0), None);
    assert_eq!(world.ledger.holes.of(1).map(|hole| (hole.from, hole.before)), Some((None, 44)));
    let losses = world.ledger.judge().losses;
    assert_eq!(losses[0].seen.map(|seen| (seen.from, seen.to)), Some((None, BASE + 43)), "{losses:?}");
    assert_eq!(losses[0].describe(), "3 by the count at the end; by offset 83 one was missing");
    assert_eq!(world.ledger.holes.of(1), None, "the next phase begins anew");
}

/// The hole was told at its own message, where nothing was lost.
#[test]
fn a_loss_hidden_by_ones_own_message_under_way_is_told_by_the_offset_at_which_it_was_missing() {
    let mut world = World::new(true, false);
    let said = |world: &mut World, offset, seq| {
        world.ledger.received(
            1,
            BASE + offset,
            &Marker { room: 10, publisher: 30, seq, intended_ns: 0, late_us: 0 },
            offset,
        )
    };
    for seq in 0..5 {
        world.ledger.sent(0);
        world.ledger.acked(0, seq, EPOCH, BASE + [1, 2, 3, 4, 6][seq as usize]).expect("it fits");
    }
    // Its own, under way while the second of the others is lost.
    world.ledger.sent(1);
    for (offset, seq) in [(1, 0), (3, 2), (4, 3)] {
        assert_eq!(said(&mut world, offset, seq), Ok(()));
        assert_eq!(world.ledger.holes.of(1), None, "it may be its own: nobody has said otherwise yet");
    }
    world.ledger.acked(1, 0, EPOCH, BASE + 5).expect("it fits");
    assert_eq!(said(&mut world, 6, 4), Ok(()));
    assert_eq!(world.ledger.holes.of(1).map(|hole| (hole.from, hole.before)), Some((None, 6)), "not at 5");
}

/// In a debug build the prover panicked.
#[test]
fn offsets_at_the_end_of_all_numbers_are_no_panic() {
    for base in [BASE, u64::MAX - u64::from(u32::MAX)] {
        let crowd = Crowd { first_room: 10, first_connection: 30, rooms: 1, room_size: 3, publishers: 2 };
        let mut ledger = Ledger::new(crowd, Rules { acks: true, own_copy: false, positions: true });
        (0..3).for_each(|member| ledger.joined(member, EPOCH, base).expect("all are told the same"));
        let marker = |seq| Marker { room: 10, publisher: 30, seq, intended_ns: 0, late_us: 0 };
        for seq in 0..2 {
            assert_eq!(ledger.sent(0), seq);
        }
        let last = base + u64::from(u32::MAX);
        for member in [1, 2] {
            assert_eq!(ledger.received(member, last, &marker(0), 0), Ok(()));
            assert_eq!(ledger.next_offset(member), last.saturating_add(1));
            assert_eq!(ledger.received(member, last - 1, &marker(1), 0), Err(Fault::Misordered));
            assert_eq!(ledger.received(member, last, &marker(0), 0), Err(Fault::Duplicated));
        }
        let judgement = ledger.judge();
        assert!(judgement.faults.contains_key(&Fault::Disagreed), "{judgement:?}");
        ledger.judge();
    }
}

#[test]
fn a_message_twice_is_found_at_once_or_at_the_end_however_late() {
    for later in [1, 20, 380] {
        for mut world in worlds() {
            world.rounds(50);
            let copy = world.wire[3];
            world.wire.insert(3 + later, copy);
            let found = world.deliver();
            let judgement = world.ledger.judge();
            assert!(judgement.faults.contains_key(&Fault::Duplicated), "{later}: {found:?} {judgement:?}");
        }
    }
}

#[test]
fn two_swapped_messages_are_misordered_and_not_lost() {
    for mut world in worlds() {
        world.rounds(20);
        let member = world.wire[0].0;
        let places: Vec<usize> = (0..world.wire.len()).filter(|at| world.wire[*at].0 == member).take(6).collect();
        world.wire.swap(places[4], places[5]);
        assert_eq!(world.deliver(), [Fault::Misordered]);
        only(&world.ledger.judge(), Fault::Misordered);
    }
}

#[test]
fn a_publishers_order_broken_before_the_offset_was_given_is_misordered() {
    for mut world in worlds() {
        world.publish(0);
        world.wire.clear();
        world.ledger.judge();
        let first = world.ledger.sent(0);
        let second = world.ledger.sent(0);
        let marker = |seq| Marker { room: 10, publisher: 30, seq, intended_ns: 0, late_us: 0 };
        let base = BASE + 1;
        let heard = |world: &mut World, offset, seq| {
            (0..3)
                .filter(|member| *member != 0 || world.rules.own_copy)
                .filter_map(|member| world.ledger.received(member, offset, &marker(seq), 0).err())
                .collect::<Vec<_>>()
        };
        assert_eq!(heard(&mut world, base + 1, second), []);
        assert!(heard(&mut world, base + 2, first).contains(&Fault::Misordered));
    }
}

#[test]
fn a_message_of_another_room_is_foreign_and_an_unknown_publisher_corrupt() {
    for mut world in worlds() {
        world.rounds(5);
        world.deliver();
        let marker = Marker { room: 11, publisher: 33, seq: 0, intended_ns: 0, late_us: 0 };
        assert_eq!(world.ledger.received(1, BASE + 21, &marker, 0), Err(Fault::Foreign));
        let stranger = Marker { room: 10, publisher: 32, ..marker };
        assert_eq!(world.ledger.received(1, BASE + 21, &stranger, 0), Err(Fault::Corrupted), "a listener never spoke");
        let judgement = world.ledger.judge();
        assert_eq!(judgement.faults, FaultCounts::from([(Fault::Foreign, 1), (Fault::Corrupted, 1)]));
    }
}

#[test]
fn one_lost_and_another_instead_does_not_balance() {
    for mut world in worlds() {
        world.rounds(5);
        let (member, ..) = world.wire[0];
        let invented = Marker { seq: 1_000, ..world.wire[0].2 };
        let last = world.wire.iter().rposition(|(other, ..)| *other == member).expect("it heard some");
        world.wire[last].2 = Marker { publisher: world.wire[last].2.publisher, ..invented };
        world.deliver();
        let judgement = world.ledger.judge();
        assert_eq!(judgement.faults.get(&Fault::Lost), Some(&1), "{judgement:?}");
    }
}

#[test]
fn two_who_saw_different_messages_at_one_position_disagree() {
    for (acks, own) in [(true, false), (true, true), (false, true)] {
        let mut world = World::new(acks, own);
        // The publishers 0 and 1 speak once each; the listener hears them the other way round than the ack says.
        let (_, first) = world.publish(0);
        let (_, second) = world.publish(1);
        for (member, offset, _) in &mut world.wire {
            if *member == 2 {
                *offset = first + second - *offset;
            }
        }
        world.wire.sort_by_key(|(member, offset, _)| (*member, *offset));
        world.deliver();
        only(&world.ledger.judge(), Fault::Disagreed);
    }
}

#[test]
fn silence_cannot_pass() {
    for mut world in worlds() {
        world.rounds(3);
        world.wire.retain(|(member, ..)| *member != 5);
        world.deliver();
        let judgement = world.ledger.judge();
        assert_eq!(judgement.faults.get(&Fault::Silent), Some(&1));
        assert_eq!(judgement.faults.get(&Fault::Lost), Some(&6));
        assert_eq!(judgement.deliveries_min, 0);
    }
}

#[test]
fn a_refusal_with_an_id_leaves_the_expectation_exactly() {
    let mut world = World::new(true, false);
    world.rounds(3);
    let seq = world.ledger.sent(0);
    world.ledger.refused(0, Some(seq)).expect("it was sent");
    world.deliver();
    assert!(world.ledger.settled());
    let judgement = world.ledger.judge();
    assert!(judgement.faults.is_empty(), "{judgement:?}");
    assert_eq!((judgement.refused, judgement.count_only_rooms), (1, 0));
}

#[test]
fn a_refusal_without_an_id_leaves_the_number_only_and_says_so() {
    let mut world = World::new(false, true);
    world.rounds(3);
    world.ledger.sent(0);
    world.ledger.refused(0, None).expect("it was sent");
    world.deliver();
    let judgement = world.ledger.judge();
    assert!(judgement.faults.is_empty(), "{judgement:?}");
    assert_eq!((judgement.refused, judgement.count_only_rooms), (1, 1));
}

#[test]
fn an_accepted_but_refused_looking_message_is_one_too_many() {
    let mut world = World::new(true, false);
    world.rounds(1);
    let (seq, _) = world.publish(0);
    assert_eq!(world.ledger.refused(0, Some(seq)), Err(Fault::Corrupted), "two answers to one command");
}

#[test]
fn a_missing_answer_is_counted() {
    let mut world = World::new(true, false);
    world.rounds(1);
    let seq = world.ledger.sent(2);
    let marker = Marker { room: 11, publisher: 33, seq, intended_ns: 0, late_us: 0 };
    for member in [4, 5] {
        world.wire.push((member, BASE + 3, marker));
    }
    world.deliver();
    assert!(!world.ledger.settled());
    let judgement = world.ledger.judge();
    assert_eq!(judgement.faults.get(&Fault::Unanswered), Some(&1));
}

#[test]
fn an_own_copy_that_was_not_asked_for_is_a_duplicate() {
    let mut world = World::new(true, false);
    let (seq, offset) = world.publish(0);
    let marker = Marker { room: 10, publisher: 30, seq, intended_ns: 0, late_us: 0 };
    assert_eq!(world.ledger.received(0, offset, &marker, 0), Err(Fault::Duplicated));
}

#[test]
fn a_cut_connection_is_a_fault_and_excuses_only_what_nobody_can_know() {
    let mut world = World::new(true, false);
    world.rounds(3);
    world.deliver();
    world.ledger.sent(0);
    world.ledger.cut(0);
    let judgement = world.ledger.judge();
    only(&judgement, Fault::Cut);
    assert_eq!(judgement.count_only_rooms, 1);
}

#[test]
fn who_joins_a_room_where_somebody_else_already_speaks_says_so() {
    let mut world = World::new(true, false);
    assert_eq!(world.ledger.joined(1, EPOCH, BASE + 1), Err(Fault::Disagreed));
    assert_eq!(world.ledger.joined(1, EPOCH + 1, BASE), Err(Fault::Disagreed));
}

#[test]
fn holes_in_the_offsets_that_are_not_ones_own_messages_are_found() {
    for mut world in worlds() {
        world.rounds(2);
        world.wire.iter_mut().for_each(|(_, offset, _)| *offset += 1);
        world.deliver();
        let judgement = world.ledger.judge();
        assert!(judgement.faults.contains_key(&Fault::Disagreed), "{judgement:?}");
    }
}

/// A server without positions, as its members count: what each hears is its next.
fn unplaced(acts: impl FnOnce(&mut Vec<(u32, Marker)>)) -> (Vec<Fault>, Judgement) {
    let crowd = Crowd { first_room: 10, first_connection: 30, rooms: 2, room_size: 3, publishers: 2 };
    let mut ledger = Ledger::new(crowd, Rules { acks: false, own_copy: false, positions: false });
    (0..6).for_each(|member| ledger.joined(member, 0, 0).expect("all begin at nothing"));
    let mut wire = Vec::new();
    for seq in 0..30 {
        for publisher in 0..4 {
            assert_eq!(ledger.sent(publisher), seq);
            let (own, room) = (crowd.member_of(publisher), publisher / 2);
            let marker = Marker { room: 10 + room, publisher: crowd.global(own), seq, intended_ns: 0, late_us: 0 };
            // Some hear the two publishers the other way round than others: nobody promised one order.
            let hearers = (room * 3..room * 3 + 3).filter(|member| *member != own);
            hearers.for_each(|member| wire.push((member, marker)));
        }
    }
    acts(&mut wire);
    let found = wire.iter().filter_map(|(member, marker)| {
        let offset = ledger.next_offset(*member);
        ledger.received(*member, offset, marker, 0).err()
    });
    let found = found.collect();
    (found, ledger.judge())
}

#[test]
fn without_positions_loss_duplicates_and_strangers_are_still_exact_and_interleaving_is_free() {
    let (found, judgement) = unplaced(|_| ());
    assert!(found.is_empty() && judgement.faults.is_empty(), "{found:?} {judgement:?}");
    // The listener of the first room hears the second publisher first.
    let (found, judgement) = unplaced(|wire| wire.sort_by_key(|(member, marker)| (*member, marker.publisher)));
    assert!(found.is_empty() && judgement.faults.is_empty(), "{found:?} {judgement:?}");
    only(&unplaced(|wire| wire.truncate(wire.len() - 1)).1, Fault::Lost);
    let (_, twice) = unplaced(|wire| wire.push(wire[7]));
    assert_eq!(twice.faults[&Fault::Duplicated], 1, "and its witness calls it misordered, too");
    let (_, swapped) = unplaced(|wire| wire[9] = wire[8]);
    assert!(swapped.faults.contains_key(&Fault::Lost), "one instead of another: {swapped:?}");
    let (found, _) = unplaced(|wire| wire[3].1.room = 11);
    assert_eq!(found, [Fault::Foreign]);
    let (found, _) = unplaced(|wire| wire.reverse());
    assert!(found.contains(&Fault::Misordered), "each publisher's order has its witness");
}

//! The end of a phase: what was accepted against what was heard, room by room.

use serde::{Deserialize, Serialize};

use super::loss::{Loss, Told};
use super::{Fault, FaultCounts, Ledger, Membership, Publisher};

/// How many offenders one judgement names.
const OFFENDERS_MAX: usize = 16;

/// What a phase proved.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Judgement {
    pub(crate) faults: FaultCounts,
    /// Faults seen only now, losses apart: (fault, room over the run, connection over the run, how many).
    pub(crate) offenders: Vec<(Fault, u32, u32, u64)>,
    /// What was lost, as far as it can be told; in the order of rooms.
    #[serde(skip)]
    pub(crate) losses: Vec<Loss>,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) acked: u64,
    /// Deliveries that had to be, and those that were (duplicates apart).
    pub(crate) expected: u64,
    pub(crate) received: u64,
    /// Rooms whose losses are known by number only: a refusal without an id, or a socket cut with answers outstanding.
    pub(crate) count_only_rooms: u64,
    /// Of those lost, at most so many were told missing by gaps.
    pub(crate) told_missing: u64,
    /// Heard so late that each may be a copy: if it was one, another message is lost and not counted.
    pub(crate) late_or_copies: u64,
    /// The fewest deliveries any living connection got.
    pub(crate) deliveries_min: u64,
}

/// What a room's members must have heard.
#[derive(Clone, Default)]
pub(super) struct Expectation {
    pub(super) accepted: u32,
    pub(super) names: u64,
    pub(super) places: u64,
    /// Accepted or not: nobody knows.
    pub(super) uncertain: u32,
    /// Sums can be compared, not only numbers.
    pub(super) exact: bool,
}

impl Expectation {
    fn of(publishers: &[Publisher], acks: bool) -> Self {
        let mut sum = Self { exact: true, ..Self::default() };
        for publisher in publishers {
            let unanswered = publisher.sent.saturating_sub(publisher.refused + publisher.acked);
            let uncertain = match (publisher.cut, acks) {
                (true, true) => unanswered,
                (true, false) => publisher.accepted(),
                (false, _) => 0,
            };
            sum.accepted += publisher.accepted();
            sum.names = sum.names.wrapping_add(publisher.names);
            sum.places = sum.places.wrapping_add(publisher.places);
            sum.uncertain += uncertain;
            sum.exact &= uncertain == 0 && publisher.refused_unnamed == 0;
        }
        sum
    }

    /// Without the part of somebody who does not hear itself.
    fn without(&self, own: &Publisher) -> Self {
        Self {
            accepted: self.accepted - own.accepted(),
            names: self.names.wrapping_sub(own.names),
            places: self.places.wrapping_sub(own.places),
            ..self.clone()
        }
    }
}

impl Ledger {
    /// Compares both sides, then starts the next phase's account at the offsets reached.
    pub(crate) fn judge(&mut self) -> Judgement {
        let mut found = Judgement { deliveries_min: u64::MAX, ..Judgement::default() };
        let mut told = Told::default();
        for room in 0..self.crowd.rooms {
            self.judge_room(room, &mut found, &mut told);
        }
        found.losses = told.losses;
        for publisher in &self.publishers {
            found.sent += u64::from(publisher.sent);
            found.accepted += u64::from(publisher.accepted());
            found.acked += u64::from(publisher.acked);
            found.refused += u64::from(publisher.refused + publisher.refused_unnamed);
        }
        (found.expected, found.received) = self.deliveries();
        found.late_or_copies = self.late_or_copies;
        if found.deliveries_min == u64::MAX {
            found.deliveries_min = 0;
        }
        for (fault, count) in std::mem::take(&mut self.faults) {
            *found.faults.entry(fault).or_default() += count;
        }
        self.next_phase();
        found
    }

    fn judge_room(&self, room: u32, found: &mut Judgement, told: &mut Told) {
        let (rules, crowd) = (self.rules, self.crowd);
        let publishers = &self.publishers[range(room, crowd.publishers)];
        let expectation = Expectation::of(publishers, rules.acks);
        found.count_only_rooms += u64::from(!expectation.exact);
        if rules.acks {
            for (place, publisher) in publishers.iter().enumerate().filter(|(_, publisher)| !publisher.cut) {
                let unanswered = publisher.sent.saturating_sub(publisher.acked + publisher.refused);
                self.blame(found, Fault::Unanswered, room * crowd.room_size + place as u32, u64::from(unanswered));
            }
        }
        // Without acks nobody told us the offsets: those who heard everything must at least agree among themselves.
        let mut reference = None;
        for (place, state) in self.members[range(room, crowd.room_size)].iter().enumerate() {
            if state.is_cut() {
                continue;
            }
            let member = room * crowd.room_size + place as u32;
            let own = publishers.get(place).filter(|_| !rules.own_copy);
            let mine = own.map_or_else(|| expectation.clone(), |own| expectation.without(own));
            found.deliveries_min = found.deliveries_min.min(u64::from(state.heard()));
            let complete = self.judge_member(member, state, &mine, found);
            if state.heard() < mine.accepted.saturating_sub(mine.uncertain) {
                told.take(self, member, &mine);
            }
            let whole_view = rules.acks || own.is_none_or(|own| own.sent == 0);
            if !complete || !whole_view || !mine.exact || !rules.positions {
                continue;
            }
            let expected = if rules.acks { mine.places } else { *reference.get_or_insert_with(|| state.places()) };
            self.blame(found, Fault::Disagreed, member, u64::from(state.places() != expected));
        }
    }

    /// Whether the member heard exactly what it should have.
    fn judge_member(&self, member: u32, state: &Membership, mine: &Expectation, found: &mut Judgement) -> bool {
        let (heard, must) = (state.heard(), mine.accepted.saturating_sub(mine.uncertain));
        if heard < must {
            *found.faults.entry(Fault::Lost).or_default() += u64::from(must - heard);
            found.told_missing += self.told_missing.get(&member).map_or(0, |told| u64::from(must - heard).min(*told));
            self.blame(found, Fault::Silent, member, u64::from(heard == 0));
            return false;
        }
        if heard > mine.accepted {
            self.blame(found, Fault::Duplicated, member, u64::from(heard - mine.accepted));
            return false;
        }
        if mine.exact && state.names() != mine.names {
            // As many as expected, but not the same ones: at least one is missing and one is too many.
            self.blame(found, Fault::Lost, member, 1);
            self.blame(found, Fault::Duplicated, member, 1);
            return false;
        }
        let room = member / self.crowd.room_size;
        let highest: u32 = self.publishers[range(room, self.crowd.publishers)].iter().map(Publisher::accepted).sum();
        let dense = !mine.exact || state.newest() <= highest;
        self.blame(found, Fault::Disagreed, member, u64::from(!dense));
        dense
    }

    fn blame(&self, found: &mut Judgement, fault: Fault, member: u32, count: u64) {
        if count == 0 {
            return;
        }
        *found.faults.entry(fault).or_default() += count;
        if found.offenders.len() < OFFENDERS_MAX {
            let room = self.crowd.first_room + member / self.crowd.room_size;
            found.offenders.push((fault, room, self.crowd.global(member), count));
        }
    }

    fn next_phase(&mut self) {
        for room in 0..self.crowd.rooms {
            let publishers = &mut self.publishers[range(room, self.crowd.publishers)];
            let accepted: u64 = publishers.iter().map(|publisher| u64::from(publisher.accepted())).sum();
            let base = &mut self.rooms[room as usize].base;
            *base = base.saturating_add(accepted);
            for publisher in publishers {
                *publisher = Publisher { seq: publisher.seq, cut: publisher.cut, ..Publisher::default() };
            }
        }
        self.members.iter_mut().for_each(Membership::next_phase);
        self.holes.clear();
        self.told_missing.clear();
        self.late_or_copies = 0;
        (self.expected, self.received, self.unanswered) = (0, 0, 0);
    }
}

pub(super) fn range(room: u32, each: u32) -> std::ops::Range<usize> {
    (room * each) as usize..((room + 1) * each) as usize
}

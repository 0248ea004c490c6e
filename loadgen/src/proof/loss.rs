//! Which messages a seat did not hear, read back from the sums: what remembers nothing of single messages can still name
//! those that are missing.
//!
//! What a member must have heard less what it heard is the sum of the names of what it lost. A name is a bijection of
//! publisher and number, so that the sum of one is the message itself; of two it is found by trying each as the first; of
//! more where they are one publisher's and stand in a row, as they do where somebody stopped hearing it. Every answer is
//! checked by 64 bits. Losses that are none of these stay a number.

use super::hole::Hole;
use super::judge::{Expectation, range};
use super::{Ledger, Publisher};
use crate::mix::{message_name, named_message, named_place};

/// How many seats (or messages that several did not hear) are told of at most.
const LOSSES_MAX: usize = 1_024;
/// Names that are tried for all of them together: a second's work.
const NAMES_MAX: u64 = 50_000_000;

/// A loss, as far as it can be told.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Loss {
    /// Over the run, as the connection is: the first one that did not hear it.
    pub(crate) room: u32,
    pub(crate) connection: u32,
    /// How many messages; and how many more connections did not hear the same.
    pub(crate) count: u32,
    pub(crate) others: u32,
    pub(crate) message: Option<Message>,
    /// Where it stood; only of a single message.
    pub(crate) offset: Option<u64>,
    /// Where nothing else is known.
    pub(crate) seen: Option<SeenMissing>,
    /// The newest offset heard; none: nothing was.
    pub(crate) newest: Option<u64>,
}

/// That something was missing by then: of the offsets up to this one, or between both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeenMissing {
    pub(crate) from: Option<u64>,
    pub(crate) to: u64,
    pub(crate) at_ns: u64,
}

/// The message that was lost, or the first of those in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// The publisher's connection over the run, and its number here.
    pub(crate) publisher: u32,
    pub(crate) local: u32,
    pub(crate) seq: u32,
    /// How many messages of this phase the publisher sent before it; none: not all of them as planned, since it was cut.
    pub(crate) nth: Option<u32>,
}

impl Loss {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let many = self.count;
        let mut text = match (self.message, self.offset, self.seen, self.newest) {
            (Some(_), Some(offset), ..) => format!("offset {offset}"),
            (Some(_), None, ..) if many == 1 => "by the sum at the end".to_owned(),
            (Some(message), ..) => format!("{many} in a row, to seq {}", message.seq + (many - 1)),
            (None, _, Some(SeenMissing { from: Some(from), to, .. }), _) => {
                format!("{many} by the count at the end; a hole at {from}..={to} was seen then")
            }
            (None, _, Some(SeenMissing { from: None, to, .. }), _) => {
                format!("{many} by the count at the end; by offset {to} one was missing")
            }
            (None, _, None, Some(newest)) => {
                format!("{many} by the count at the end; nothing came after offset {newest}")
            }
            (None, _, None, None) => format!("{many} by the count at the end"),
        };
        if self.others > 0 {
            text += &format!("; nor did {} more of the room", self.others);
        }
        text
    }
}

/// Losses told so far.
#[derive(Default)]
pub(super) struct Told {
    pub(super) losses: Vec<Loss>,
    names_tried: u64,
}

impl Told {
    /// A member heard less than it must have.
    pub(super) fn take(&mut self, ledger: &Ledger, member: u32, mine: &Expectation) {
        if self.losses.len() >= LOSSES_MAX {
            return;
        }
        let (crowd, state) = (ledger.crowd, &ledger.members[member as usize]);
        let room = member / crowd.room_size;
        let publishers = &ledger.publishers[range(room, crowd.publishers)];
        let count = mine.accepted.saturating_sub(mine.uncertain) - state.heard();
        let said = Said {
            publishers,
            first: crowd.global(room * crowd.room_size),
            deaf: Some(member % crowd.room_size).filter(|_| !ledger.rules.own_copy),
        };
        let all = u64::from(publishers.iter().map(|publisher| publisher.sent).sum::<u32>());
        self.names_tried += if count > 1 { all } else { 0 };
        let sum = mine.names.wrapping_sub(state.names());
        let can = mine.exact && self.names_tried <= NAMES_MAX;
        let missing = if can { said.find(sum, count) } else { None }.unwrap_or_default();
        let base = ledger.rooms[room as usize].base;
        let plain = Loss {
            room: crowd.first_room + room,
            connection: crowd.global(member),
            count,
            others: 0,
            message: None,
            offset: None,
            seen: None,
            newest: Some(base.saturating_add(u64::from(state.newest())))
                .filter(|_| state.newest() > 0 && ledger.rules.positions),
        };
        let message = |one: &Missing| {
            let publisher = &publishers[one.place as usize];
            let before = one.seq - (publisher.seq - publisher.sent);
            Message {
                publisher: said.first + one.place,
                local: room * crowd.publishers + one.place,
                seq: one.seq,
                nth: Some(before).filter(|_| !publisher.cut),
            }
        };
        match &missing[..] {
            [] => {
                let hole = ledger.holes.of(member);
                let seen = hole.map(|Hole { from, before, at_ns, .. }| {
                    let from = from.map(|from| base.saturating_add(u64::from(from)));
                    SeenMissing { from, to: base.saturating_add(u64::from(before - 1)), at_ns }
                });
                self.losses.push(Loss { seen, ..plain });
            }
            [one] => {
                let placed = mine.places.wrapping_sub(state.places());
                let name = message_name(said.first + one.place, one.seq);
                let offset = offset_of(placed, name, all as u32).filter(|_| ledger.rules.acks);
                let offset = offset.map(|offset| base.saturating_add(u64::from(offset)));
                self.add(Loss { message: Some(message(one)), offset, ..plain });
            }
            [one, other] if one.place != other.place || one.seq.abs_diff(other.seq) > 1 => {
                self.add(Loss { message: Some(message(one)), count: 1, ..plain });
                self.add(Loss { message: Some(message(other)), count: 1, ..plain });
            }
            [first, ..] => self.add(Loss { message: Some(message(first)), ..plain }),
        }
    }

    /// What several of a room did not hear is one loss.
    fn add(&mut self, lost: Loss) {
        let same = |other: &&mut Loss| (other.message, other.count) == (lost.message, lost.count);
        let of_room = self.losses.iter_mut().rev().take_while(|other| other.room == lost.room);
        match of_room.into_iter().find(same) {
            Some(told) => {
                told.others += 1;
                told.offset = told.offset.or(lost.offset);
            }
            None => self.losses.push(lost),
        }
    }
}

/// A message that was said in the room and not heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Missing {
    /// Its place among the room's publishers, and its number over all phases.
    place: u32,
    seq: u32,
}

/// The messages of one room and phase.
struct Said<'a> {
    publishers: &'a [Publisher],
    /// The first publisher's connection over the whole run.
    first: u32,
    /// Who does not hear itself.
    deaf: Option<u32>,
}

impl Said<'_> {
    /// The `count` messages whose names sum up to `sum`, if they can be told.
    fn find(&self, sum: u64, count: u32) -> Option<Vec<Missing>> {
        match count {
            0 => None,
            1 => self.named(sum).map(|one| vec![one]),
            2 => self.row(sum, 2).or_else(|| self.pair(sum)),
            many => self.row(sum, many),
        }
    }

    /// The message of that name, if it was said here.
    fn named(&self, name: u64) -> Option<Missing> {
        let (publisher, seq) = named_message(name);
        let place = publisher.checked_sub(self.first)?;
        let here = self.numbers(place)?.contains(&seq);
        here.then_some(Missing { place, seq })
    }

    /// A publisher's numbers in this phase.
    fn numbers(&self, place: u32) -> Option<std::ops::Range<u32>> {
        let publisher = self.publishers.get(place as usize).filter(|_| self.deaf != Some(place))?;
        Some(publisher.seq - publisher.sent..publisher.seq)
    }

    fn all(&self) -> impl Iterator<Item = Missing> {
        (0..self.publishers.len() as u32)
            .flat_map(|place| self.numbers(place).unwrap_or_default().map(move |seq| Missing { place, seq }))
    }

    fn name(&self, message: Missing) -> u64 {
        message_name(self.first + message.place, message.seq)
    }

    fn pair(&self, sum: u64) -> Option<Vec<Missing>> {
        self.all().find_map(|one| {
            let other = self.named(sum.wrapping_sub(self.name(one))).filter(|other| *other != one)?;
            Some(vec![one, other])
        })
    }

    /// So many of one publisher in a row.
    fn row(&self, sum: u64, count: u32) -> Option<Vec<Missing>> {
        (0..self.publishers.len() as u32).find_map(|place| {
            let numbers = self.numbers(place).filter(|numbers| numbers.len() >= count as usize)?;
            let name = |seq| self.name(Missing { place, seq });
            let mut window = (numbers.start..numbers.start + count).fold(0_u64, |all, seq| all.wrapping_add(name(seq)));
            let mut first = numbers.start;
            while window != sum {
                if first + count == numbers.end {
                    return None;
                }
                window = window.wrapping_sub(name(first)).wrapping_add(name(first + count));
                first += 1;
            }
            Some((first..first + count).map(|seq| Missing { place, seq }).collect())
        })
    }
}

/// Where a message of that name stood, by the sum of one "this message stands at this offset".
fn offset_of(placed: u64, name: u64, highest: u32) -> Option<u32> {
    named_place(placed, name).filter(|offset| (1..=highest).contains(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publishers() -> Vec<Publisher> {
        let said = |seq, sent| Publisher { seq, sent, ..Publisher::default() };
        // The third said nothing in this phase.
        vec![said(1_000, 600), said(40, 40), said(7, 0)]
    }

    fn lost(of: &[(u32, u32)], deaf: Option<u32>) -> Option<Vec<(u32, u32)>> {
        let publishers = publishers();
        let said = Said { publishers: &publishers, first: 500, deaf };
        let sum = of.iter().fold(0_u64, |sum, (place, seq)| sum.wrapping_add(message_name(500 + place, *seq)));
        let mut found = said.find(sum, of.len() as u32)?;
        found.sort_by_key(|missing| (missing.place, missing.seq));
        Some(found.into_iter().map(|missing| (missing.place, missing.seq)).collect())
    }

    #[test]
    fn one_two_and_a_row_are_named_and_others_are_not_guessed() {
        for of in [vec![(0, 400)], vec![(1, 39)], vec![(0, 700), (1, 3)], vec![(0, 998), (0, 999)]] {
            assert_eq!(lost(&of, None), Some(of));
        }
        let last: Vec<_> = (950..1_000).map(|seq| (0, seq)).collect();
        assert_eq!(lost(&last, None), Some(last));
        assert_eq!(lost(&[(0, 400), (0, 500), (1, 7)], None), None, "three that stand nowhere near each other");
        assert_eq!(lost(&[(0, 399)], None), None, "another phase's");
        assert_eq!(lost(&[(2, 6)], None), None);
        assert_eq!(lost(&[(1, 7)], Some(1)), None, "nobody who does not hear itself loses its own");
        assert_eq!(lost(&[], None), None);
    }

    #[test]
    fn where_it_stood_is_read_from_the_other_sum() {
        let name = message_name(3, 77);
        for offset in [1, 2, 4_000_000_000] {
            assert_eq!(offset_of(crate::mix::placed_name(offset, name), name, u32::MAX), Some(offset));
        }
        assert_eq!(offset_of(crate::mix::placed_name(8, name), name, 7), None, "nothing stands there");
        assert_eq!(offset_of(12_345, name, u32::MAX), None);
    }
}

//! One round over the table of rows, a part of it at each tick.
//!
//! Promises: every row that was there when the round was asked for is passed, however the table grows or shrinks
//! meanwhile and however often another round is asked for; nothing is kept by row.

use super::connections::Connections;

/// Where a round is. At rest until [`Round::begin`].
#[derive(Default, Debug)]
pub(crate) struct Round {
    cursor: u32,
    /// Where it began: the round ends when it comes by here again.
    until: u32,
    leg: Leg,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Leg {
    #[default]
    Rest,
    /// To the end of the table, which may move.
    ToTheEnd,
    /// From its beginning to where the round began.
    ToTheStart,
}

impl Round {
    /// Goes round once, or once more, from where it is.
    pub(crate) fn begin(&mut self) {
        self.until = self.cursor;
        self.leg = Leg::ToTheEnd;
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.leg == Leg::Rest
    }

    /// How many rows are a tick's part of a round of so many ticks.
    pub(crate) fn part(&self, connections: &Connections, ticks: usize) -> usize {
        if self.is_at_rest() { 0 } else { connections.rows_len().div_ceil(ticks).max(1) }
    }

    /// The next row of the round; `None`: it is over.
    pub(crate) fn next(&mut self, connections: &Connections) -> Option<u32> {
        loop {
            let found = connections.next_index(self.cursor);
            match self.leg {
                Leg::Rest => return None,
                Leg::ToTheEnd if found.is_none() => {
                    (self.cursor, self.leg) = (0, Leg::ToTheStart);
                    continue;
                }
                Leg::ToTheStart if found.is_none_or(|index| index >= self.until) => {
                    self.leg = Leg::Rest;
                    return None;
                }
                Leg::ToTheEnd | Leg::ToTheStart => {}
            }
            self.cursor = found? + 1;
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Connections {
        let mut table = Connections::new(4, 100);
        for _ in 0..count {
            table.open().unwrap();
        }
        table
    }

    fn walk(round: &mut Round, table: &Connections, most: usize) -> Vec<u32> {
        (0..most).map_while(|_| round.next(table)).map(|index| (index >> 16) * 4 + (index & 0xffff)).collect()
    }

    #[test]
    fn a_round_passes_every_row_once_and_rests() {
        let (mut round, table) = (Round::default(), rows(6));
        assert_eq!((walk(&mut round, &table, 9), round.part(&table, 5)), (vec![], 0));
        round.begin();
        assert_eq!(round.part(&table, 5), 2);
        assert_eq!(walk(&mut round, &table, 4), [0, 1, 2, 3]);
        round.begin();
        assert_eq!(walk(&mut round, &table, 9), [4, 5, 0, 1, 2, 3]);
        assert!(round.is_at_rest() && walk(&mut round, &table, 9).is_empty());
        round.begin();
        assert_eq!(walk(&mut round, &rows(0), 9), [0; 0]);
        assert!(round.is_at_rest(), "a table without rows is passed at once");
    }

    #[test]
    fn rows_that_come_meanwhile_take_nobodys_place() {
        let (mut round, mut table) = (Round::default(), rows(6));
        round.begin();
        assert_eq!(walk(&mut round, &table, 4), [0, 1, 2, 3]);
        round.begin();
        assert_eq!(walk(&mut round, &table, 1), [4]);
        for _ in 0..5 {
            table.open().unwrap();
        }
        assert_eq!(walk(&mut round, &table, 20), [5, 6, 7, 8, 9, 10, 0, 1, 2, 3]);
    }
}
